//! `tuf-client`: the device's TUF client behind the command line of the official conformance suite
//! (`CLIENT-CLI.md` in <https://github.com/theupdateframework/tuf-conformance>).

mod durable;
mod files;
mod mirror;
mod shelf;

use anyhow::{Context, bail};
use clap::{Parser, Subcommand};
use files::Files;
use lineside_trust::repository::{Client, Shelf as _};
use mirror::HttpMirror;
use shelf::FileShelf;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use time::OffsetDateTime;

/// Follows a TUF repository.
#[derive(Parser)]
#[command(name = "tuf-client", version)]
struct Arguments {
    /// Folder of trusted metadata.
    #[arg(long)]
    metadata_dir: PathBuf,
    /// Where the repository's metadata is.
    #[arg(long)]
    metadata_url: Option<String>,
    /// A file to download; may be given several times.
    #[arg(long)]
    target_name: Vec<String>,
    /// Where the repository's files are.
    #[arg(long)]
    target_base_url: Option<String>,
    /// Folder of downloaded files.
    #[arg(long)]
    target_dir: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Trust a root.
    Init {
        /// The root's file.
        root: PathBuf,
    },
    /// Bring the metadata up to date.
    Refresh,
    /// Bring the metadata up to date, then download files.
    Download,
}

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // It goes to a terminal or nowhere.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::FAILURE } else { ExitCode::SUCCESS };
        }
    };
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tuf-client: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let folder = &arguments.metadata_dir;
    match &arguments.command {
        Command::Init { root } => init(folder, root),
        Command::Refresh => {
            let now = OffsetDateTime::now_utc();
            client(arguments)?.refresh(now)?;
            Ok(())
        }
        Command::Download => download(arguments),
    }
}

fn init(folder: &Path, root: &Path) -> anyhow::Result<()> {
    let bytes = std::fs::read(root).with_context(|| format!("cannot read {}", root.display()))?;
    let shelf = FileShelf::new(folder);
    // Whether it can be a root at all; there is nobody to ask for another one yet.
    Client::new(&bytes, HttpMirror::new(""), FileShelf::new(folder))?;
    shelf.keep("root.json", &bytes).map_err(anyhow::Error::from_boxed)
}

fn client(arguments: &Arguments) -> anyhow::Result<Client<HttpMirror, FileShelf>> {
    let Some(url) = &arguments.metadata_url else { bail!("--metadata-url is missing") };
    let shelf = FileShelf::new(&arguments.metadata_dir);
    let Some(root) = shelf.load("root.json").map_err(anyhow::Error::from_boxed)? else {
        bail!("{} has no root.json: run init first", arguments.metadata_dir.display());
    };
    Ok(Client::new(&root, HttpMirror::new(url), shelf)?)
}

fn download(arguments: &Arguments) -> anyhow::Result<()> {
    let Some(folder) = &arguments.target_dir else { bail!("--target-dir is missing") };
    let Some(url) = &arguments.target_base_url else { bail!("--target-base-url is missing") };
    if arguments.target_name.is_empty() {
        bail!("--target-name is missing");
    }
    let now = OffsetDateTime::now_utc();
    let mut client = client(arguments)?;
    client.refresh(now)?;
    let files = Files::new(folder, HttpMirror::new(url));
    for path in &arguments.target_name {
        let Some(file) = client.target(path, now)? else {
            bail!("nobody who may has signed a file {path}");
        };
        files.fetch(path, &file)?;
    }
    Ok(())
}
