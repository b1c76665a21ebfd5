//! `lineside site`: what holds at a site, whatever a release or its author allows.

mod policy;
mod settings;

use crate::connection::Connection;
use crate::output::Output;
use clap::Subcommand;

#[derive(Subcommand)]
pub enum SiteCommand {
    /// Sign and show what every device at a site keeps to.
    #[command(subcommand)]
    Policy(policy::PolicyCommand),
    /// Say when and how fast rollouts may come to a site, instead of what was said before.
    Set(settings::Settings),
    /// Say nothing of a site any longer: rollouts come to it at any time.
    Unset {
        /// The site.
        site: String,
    },
    /// List the sites of which something is said.
    List,
}

pub fn run(command: SiteCommand, connection: &Connection, output: &Output) -> anyhow::Result<()> {
    match command {
        SiteCommand::Policy(command) => policy::run(&command, connection, output),
        SiteCommand::Set(settings) => settings::set(&settings, connection, output),
        SiteCommand::Unset { site } => settings::unset(&site, connection, output),
        SiteCommand::List => settings::list(connection, output),
    }
}
