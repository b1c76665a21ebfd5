//! The command line.

use clap::{Parser, Subcommand};
use lineside_agent::daemon::{self, Until};
use lineside_agent::worker::serve;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use tracing_subscriber::EnvFilter;

/// Threads of the supervisor: it waits more than it computes.
const THREADS: usize = 2;
/// How long what still runs at the end may take to notice.
const LEAVE: Duration = Duration::from_millis(500);

/// Runs signed machine-learning bundles on live data, with or without a network.
#[derive(Parser)]
#[command(name = "lineside-agent", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run until told to stop.
    Run {
        /// The settings.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// Stop when all recordings are at their end and all findings are delivered.
        #[arg(long)]
        until_drained: bool,
    },
    /// What `run` starts for each release; not for people.
    #[command(hide = true)]
    Worker,
}

/// Does what the command line says. Exit code 0 is success, 1 a failure, 2 a wrong command line.
pub fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Worker => serve::main().map_err(anyhow::Error::from),
        Command::Run { config, until_drained } => {
            let until = if until_drained { Until::Drained } else { Until::Stopped };
            run(config, until)
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("lineside-agent: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(config: PathBuf, until: Until) -> anyhow::Result<()> {
    let filter = EnvFilter::try_from_env("LINESIDE_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .init();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(THREADS).enable_all().build()?;
    let done = runtime.block_on(daemon::run(&config, until));
    runtime.shutdown_timeout(LEAVE);
    done
}
