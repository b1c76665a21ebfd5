//! `lineside profile`: what a bundle's columns looked like in its training data.

mod build;
mod chunk;
mod pipeline;

use crate::output::Output;
use clap::Subcommand;

pub const EXAMPLES: &str = "\
Examples:
  lineside profile build january.csv --bundle pump        writes pump/profile.json, a part of the bundle
  lineside profile build january.csv --bundle pump --chunk 6h -k 4
  lineside profile build january.csv -o january.json --time measured_at";

#[derive(Subcommand)]
pub enum ProfileCommand {
    /// Make a profile of known-good data: distributions, and limits from chunks of them.
    #[command(after_help = EXAMPLES)]
    Build(build::Build),
}

pub fn run(command: &ProfileCommand, output: &Output) -> anyhow::Result<()> {
    match command {
        ProfileCommand::Build(build) => build::run(build, output),
    }
}
