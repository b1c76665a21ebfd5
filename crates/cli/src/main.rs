//! `lineside`: the tool of people and build machines.

mod bundle;
mod output;
mod plugin;

use clap::{Parser, Subcommand};
use output::Output;
use std::process::ExitCode;

/// Builds and checks bundles and plugins for Lineside devices.
#[derive(Parser)]
#[command(name = "lineside", version)]
struct Arguments {
    /// Print JSON for programs instead of text for people.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Build, check and look into bundles.
    #[command(subcommand)]
    Bundle(bundle::BundleCommand),
    /// Build plugins.
    #[command(subcommand)]
    Plugin(plugin::PluginCommand),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let output = Output { json: arguments.json };
    let done = match arguments.command {
        Command::Bundle(command) => bundle::run(command, &output),
        Command::Plugin(command) => plugin::run(command, &output),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            output.fail(&error);
            ExitCode::FAILURE
        }
    }
}
