//! The command line.

use crate::backup::{back_up, restore};
use crate::config::{ClockSaid, Config, read_database};
use crate::log::Format;
use crate::server::Server;
use anyhow::Context;
use clap::{Args, Parser, Subcommand};
use std::io::{self, Write};
use std::path::PathBuf;
use tokio::signal::unix::{SignalKind, signal};

/// The centre of a fleet: decides which device runs which release, and keeps what devices report.
#[derive(Debug, Parser)]
#[command(name = "lineside-server", version)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serves until it is told to stop.
    Run(Run),
    /// Copies all that a server keeps into a new folder, while it runs.
    Backup(Backup),
    /// Makes a data folder of such a copy, for a server to go on from.
    Restore(Restore),
}

#[derive(Debug, Args)]
struct Run {
    /// Folder for database, artifacts, keys and the administrator's token; made if it is missing.
    #[arg(long, value_name = "DIR", default_value = "lineside-data")]
    data: PathBuf,
    /// Address of pages and HTTP interface; port 0 takes any free one.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    http: String,
    /// Address of the MQTT broker; port 0 takes any free one.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:1883")]
    mqtt: String,
    /// File with the address of a PostgreSQL database (15 or later), as in
    /// postgres://lineside:PASSWORD@HOST/lineside?sslmode=verify-full; nobody else may read it. Without it the
    /// database is SQLite, in the data folder.
    #[arg(long, value_name = "FILE")]
    database: Option<PathBuf>,
    /// File of settings, as docs/server.toml has them: by which channels people are told of alerts, and how
    /// others than this machine are served.
    #[arg(long, value_name = "FILE")]
    settings: Option<PathBuf>,
    /// Sign by this machine's clock though it is more than 14 days ahead of the last signature and no
    /// device says the same: look at it first.
    #[arg(long)]
    clock_is_right: bool,
    /// How the log on standard error is written: for people, or as one JSON object a line.
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    log_format: Format,
}

#[derive(Debug, Args)]
struct Backup {
    /// Data folder of the server.
    #[arg(long, value_name = "DIR", default_value = "lineside-data")]
    data: PathBuf,
    /// File with the address of its database, if it was started with one.
    #[arg(long, value_name = "FILE")]
    database: Option<PathBuf>,
    /// Folder to make. Keys lie in it: keep it as you keep the server's.
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
}

#[derive(Debug, Args)]
struct Restore {
    /// What `lineside-server backup` has made.
    backup: PathBuf,
    /// Data folder to make.
    #[arg(long, value_name = "DIR", default_value = "lineside-data")]
    data: PathBuf,
    /// File with the address of an empty PostgreSQL database to fill, instead of SQLite in the data folder.
    #[arg(long, value_name = "FILE")]
    database: Option<PathBuf>,
}

impl Cli {
    /// How the log is to be written.
    pub fn log_format(&self) -> Format {
        match &self.command {
            Command::Run(run) => run.log_format,
            Command::Backup(_) | Command::Restore(_) => Format::Text,
        }
    }

    /// Does what was asked for.
    ///
    /// # Errors
    /// A chain of sentences: what failed, on what, what to do.
    pub fn run(self) -> anyhow::Result<()> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .context("cannot start worker threads")?;
        let run = match self.command {
            Command::Run(run) => run,
            Command::Backup(Backup { data, database, output }) => {
                let database = database.as_deref().map(read_database).transpose()?;
                runtime.block_on(back_up(&data, database.as_ref(), &output))?;
                println!("{}", output.display());
                return Ok(());
            }
            Command::Restore(Restore { backup, data, database }) => {
                let database = database.as_deref().map(read_database).transpose()?;
                runtime.block_on(restore(&backup, &data, database.as_ref()))?;
                println!("{}", data.display());
                return Ok(());
            }
        };
        let clock = if run.clock_is_right { ClockSaid::Right } else { ClockSaid::Nothing };
        let config = Config::checked(run.data, &run.http, &run.mqtt)?.with_clock(clock);
        let config = match &run.settings {
            Some(path) => config.with_settings(path)?,
            None => config,
        };
        let config = match &run.database {
            Some(path) => config.with_database(path)?,
            None => config,
        };
        runtime.block_on(serve(config))
    }
}

async fn serve(config: Config) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen to signals")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen to signals")?;
    let mut server = Server::start(config).await?;
    // In one go; whoever started it may have read what he wanted, and be gone.
    let _ = io::stdout().lock().write_all(server.places().as_bytes());
    tracing::info!("the administrator's token is in {}", server.token_file().display());
    let ended = tokio::select! {
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
        ended = server.ended() => ended,
    };
    tracing::info!("stopping");
    server.stop().await;
    ended
}
