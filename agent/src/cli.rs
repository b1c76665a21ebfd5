//! The command line.

use anyhow::Context;
use clap::{Parser, Subcommand};
use lineside_agent::config::Config;
use lineside_agent::daemon::{self, Until};
use lineside_agent::local::{self, AskError};
use lineside_agent::status::DeviceStatus;
use lineside_agent::worker::serve;
use serde::Serialize;
use std::fmt::Display;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;
use tracing_subscriber::EnvFilter;

/// Where settings are looked for.
const DEFAULT_CONFIG: &str = "agent.toml";
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
        #[arg(long, value_name = "FILE", default_value = DEFAULT_CONFIG)]
        config: PathBuf,
        /// Stop when all recordings are at their end and all findings are delivered.
        #[arg(long)]
        until_drained: bool,
    },
    /// Tell how the device is: its releases, what they counted, what waits.
    Status {
        /// The settings.
        #[arg(long, value_name = "FILE", default_value = DEFAULT_CONFIG)]
        config: PathBuf,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Install what `lineside device export` has packed, without a network.
    Install {
        /// The file.
        file: PathBuf,
        /// The settings.
        #[arg(long, value_name = "FILE", default_value = DEFAULT_CONFIG)]
        config: PathBuf,
        /// As JSON.
        #[arg(long)]
        json: bool,
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
        Command::Status { config, json } => status(&config, json),
        Command::Install { file, config, json } => install(&file, &config, json),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("lineside-agent: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn status(config: &Path, json: bool) -> anyhow::Result<()> {
    let config = Config::read(config)?;
    let status = match local::status(&config.state_dir) {
        Err(AskError::Nobody { .. }) => DeviceStatus::at_rest(&config)?,
        answer => answer?,
    };
    if json { print_json(&status) } else { print(&status) }
}

fn install(file: &Path, config: &Path, json: bool) -> anyhow::Result<()> {
    let config = Config::read(config)?;
    let file = file.canonicalize().with_context(|| format!("cannot read {}", file.display()))?;
    eprintln!("reading {}; large bundles take a while", file.display());
    let installed = match local::install(&config.state_dir, file) {
        Err(error @ AskError::Nobody { .. }) => {
            return Err(error).context("start the agent first: lineside-agent run");
        }
        answer => answer?,
    };
    if json {
        return print_json(&installed);
    }
    for (slot, release) in &installed.slots {
        print(&format_args!("slot {slot} shall hold {release}\n"))?;
    }
    for release in &installed.incomplete {
        print(&format_args!(
            "{release} is not whole in the file; the rest is fetched from the server\n"
        ))?;
    }
    for (release, reason) in &installed.unusable {
        print(&format_args!("{release} cannot be used: {reason}\n"))?;
    }
    for slot in &installed.unknown {
        print(&format_args!("slot {slot} is assigned, and this device has no such slot\n"))?;
    }
    print(&"`lineside-agent status` tells how it goes\n")
}

fn print_json(value: &impl Serialize) -> anyhow::Result<()> {
    print(&format_args!("{}\n", serde_json::to_string_pretty(value)?))
}

/// Prints, and says so where nobody takes it: a full disk behind `>` must not look like success.
fn print(text: &impl Display) -> anyhow::Result<()> {
    write!(std::io::stdout(), "{text}").context("cannot write the answer")
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
