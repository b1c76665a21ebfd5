//! `lineside site`: what holds at a site, whatever a release or its author allows.

mod policy;

use crate::connection::Connection;
use crate::output::Output;
use clap::Subcommand;

#[derive(Subcommand)]
pub enum SiteCommand {
    /// Sign and show what every device at a site keeps to.
    #[command(subcommand)]
    Policy(policy::PolicyCommand),
}

pub fn run(command: SiteCommand, connection: &Connection, output: &Output) -> anyhow::Result<()> {
    match command {
        SiteCommand::Policy(command) => policy::run(&command, connection, output),
    }
}
