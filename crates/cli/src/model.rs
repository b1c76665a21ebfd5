//! `lineside model`: what a model takes and gives, which engines run it, and what it answers.

mod advice;
mod arrays;
pub mod facts;
pub mod inspect;
mod npy;
pub mod probe;
mod run;

use crate::output::Output;
use clap::Subcommand;

#[derive(Subcommand)]
pub enum ModelCommand {
    /// Say what a model takes and gives, which engines run it, and what to change where none does.
    ///
    /// Each engine loads the model and runs it once, in a process of its own with 4 GiB of memory and a
    /// minute of time: "ok" was seen, and a model that is broken or hostile breaks nothing here.
    #[command(after_help = inspect::EXAMPLES)]
    Inspect(inspect::Inspect),
    /// Run a model on arrays of numpy's, as a device would.
    ///
    /// The arrays of a .npz file are named as the model's inputs, and have their types and shapes:
    /// nothing is cast. What comes out is named as its outputs.
    #[command(after_help = run::EXAMPLES)]
    Run(run::Run),
    /// What `inspect` has a process of its own do.
    #[command(hide = true)]
    Probe(probe::Probe),
}

pub fn run(command: ModelCommand, output: &Output) -> anyhow::Result<()> {
    match command {
        ModelCommand::Inspect(inspect) => inspect::run(&inspect, output),
        ModelCommand::Run(run) => run::run(&run, output),
        ModelCommand::Probe(probe) => probe::run(&probe, output),
    }
}
