//! `lineside release`: what people sign for devices to run, and who may.

mod delegate;
mod publish;
mod signed;
mod withdraw;

pub use publish::put_draft;

use crate::ask::{self, Ask};
use crate::connection::Connection;
use crate::device::export::{self, Export};
use crate::output::Output;
use clap::{Args, Subcommand};
use time::Duration;

/// How long a list is good: after that, devices go on and take nothing new.
pub const LIST_LIFE: Duration = Duration::days(365);

#[derive(Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct Release {
    #[command(subcommand)]
    command: Option<ReleaseCommand>,
    #[command(flatten)]
    publish: publish::Publish,
}

#[derive(Subcommand)]
enum ReleaseCommand {
    /// Ask devices whether a release would run on them, before it is assigned.
    Ask(Ask),
    /// Put what is assigned to devices without a network into one file; the same as `lineside device export`.
    Export(Export),
    /// Let a vendor or a site sign by keys of its own, within paths: releases of bundles, or what holds
    /// at the site. It holds until it is changed or taken back, and as long as the list that says it.
    Delegate(delegate::Delegate),
    /// Take back what was delegated.
    Undelegate(delegate::Undelegate),
    /// Take releases off the list: nobody is given them any longer.
    Withdraw(withdraw::Withdraw),
}

pub fn run(release: &Release, connection: &Connection, output: &Output) -> anyhow::Result<()> {
    match &release.command {
        Some(ReleaseCommand::Ask(question)) => ask::run(question, connection, output),
        Some(ReleaseCommand::Delegate(delegate)) => {
            delegate::delegate(delegate, connection, output)
        }
        Some(ReleaseCommand::Export(export)) => export::run(export, connection, output),
        Some(ReleaseCommand::Undelegate(undelegate)) => {
            delegate::undelegate(undelegate, connection, output)
        }
        Some(ReleaseCommand::Withdraw(withdraw)) => withdraw::run(withdraw, connection, output),
        None => publish::run(&release.publish, connection, output),
    }
}
