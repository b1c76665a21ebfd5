//! `lineside plugin`: begins, builds, tries and looks into what models cannot do.

mod bounds;
mod build;
mod check;
mod compare;
mod component;
mod frames;
mod javascript;
mod new;
mod played;
mod probe;
mod python;
mod rust;
mod taped;
mod test;

use crate::output::Output;
use clap::Subcommand;

pub use build::{component, is_source};
pub use component::accept;
pub use taped::{Taped, free_folder};

#[derive(Subcommand)]
pub enum PluginCommand {
    /// Start a plugin: a folder with its source, the interface, and recorded frames to try it on.
    #[command(after_help = new::EXAMPLES)]
    New(new::New),
    /// Build a plugin as a component that imports nothing but a log.
    ///
    /// The folder says the language: Rust by Cargo.toml, JavaScript by package.json, Python by
    /// requirements.txt. For the latter two the toolchain is installed in the folder at the first time.
    #[command(after_help = build::EXAMPLES)]
    Build(build::Build),
    /// Run recorded frames through a plugin: do its answers hold, and what does it cost?
    ///
    /// This goes on in a process of its own with half of the machine's memory: whoever made the plugin, it
    /// breaks nothing here.
    #[command(after_help = test::EXAMPLES)]
    Test(test::Test),
    /// Say what a built plugin takes, gives, asks for and needs, and whether devices load it.
    ///
    /// It is looked at in a process of its own with 4 GiB of memory: whoever made it, it breaks nothing
    /// here.
    #[command(after_help = check::EXAMPLES)]
    Check(check::Check),
    /// What `check` has a process of its own do.
    #[command(hide = true)]
    Probe(probe::Probe),
}

pub fn run(command: PluginCommand, output: &Output) -> anyhow::Result<()> {
    match command {
        PluginCommand::New(new) => new::run(&new, output),
        PluginCommand::Build(build) => build::run(&build, output),
        PluginCommand::Test(test) => test::run(&test, output),
        PluginCommand::Check(check) => check::run(&check, output),
        PluginCommand::Probe(probe) => probe::run(&probe, output),
    }
}
