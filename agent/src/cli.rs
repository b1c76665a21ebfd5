//! The command line.

use anyhow::{Context, anyhow, bail};
use clap::{Parser, Subcommand};
use lineside_agent::capture::{self, Names};
use lineside_agent::config::Config;
use lineside_agent::daemon::{self, Until};
use lineside_agent::fleet::carry::Receipt;
use lineside_agent::local::{self, AskError, Delivered};
use lineside_agent::log::{self, Format};
use lineside_agent::status::DeviceStatus;
use lineside_agent::worker::serve;
use lineside_bundle::spoken;
use lineside_wire::name::SlotName;
use serde::Serialize;
use std::fmt::Display;
use std::fs::OpenOptions;
use std::io::{BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

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
        /// How the log on standard error is written: for people, or as one JSON object a line.
        #[arg(long, value_name = "FORMAT", default_value = "text")]
        log_format: Format,
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
    /// Hold the updates of a slot back, because it must not change now.
    Hold {
        /// The slot.
        slot: SlotName,
        /// Why, for whoever wonders.
        #[arg(long)]
        reason: String,
        /// For so many minutes of running; until `release-hold` unless given.
        #[arg(long)]
        minutes: Option<u64>,
        /// The settings.
        #[arg(long, value_name = "FILE", default_value = DEFAULT_CONFIG)]
        config: PathBuf,
    },
    /// Approve the release that is assigned to a slot, where a person has to before it takes the route.
    Approve {
        /// The slot.
        slot: SlotName,
        /// The release, as in turbine/2, where it shall be no other than this one
        /// [default: the one that is on its way in].
        #[arg(value_parser = as_shown)]
        release: Option<String>,
        /// The settings.
        #[arg(long, value_name = "FILE", default_value = DEFAULT_CONFIG)]
        config: PathBuf,
    },
    /// Let go of the updates of a slot that `hold` has held back.
    ReleaseHold {
        /// The slot.
        slot: SlotName,
        /// The settings.
        #[arg(long, value_name = "FILE", default_value = DEFAULT_CONFIG)]
        config: PathBuf,
    },
    /// Tell what is captured of each slot: how much, from when to when, and what may be; also what is kept
    /// because rules have fired. Or write readings of it into a file, for `lineside bundle run --input`.
    Capture {
        /// The settings.
        #[arg(long, value_name = "FILE", default_value = DEFAULT_CONFIG)]
        config: PathBuf,
        /// As JSON.
        #[arg(long)]
        json: bool,
        /// Write the ring of a slot, as in turbine, or what is kept of a firing, as in turbine/3.
        #[arg(long, value_name = "SLOT[/NUMBER]", requires = "output", conflicts_with = "json")]
        export: Option<String>,
        /// Where to: a new file.
        #[arg(short, long, value_name = "FILE", requires = "export")]
        output: Option<PathBuf>,
        /// What the time is called there, as the port of the bundle names it.
        #[arg(long, value_name = "NAME", default_value = "time")]
        time: String,
        /// What the stream is called.
        #[arg(long, value_name = "NAME", default_value = "key")]
        key: String,
    },
    /// Write what the server has not heard yet into a file, for `lineside device import`.
    Report {
        /// Where to put it: a new file, or a folder, in which it is named after the device and takes the
        /// place of the device's last one.
        #[arg(short, long, value_name = "FILE")]
        output: PathBuf,
        /// The settings.
        #[arg(long, value_name = "FILE", default_value = DEFAULT_CONFIG)]
        config: PathBuf,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// What `run` starts for each release; not for people.
    #[command(hide = true)]
    Worker {
        /// How a panic is written.
        #[arg(long, value_name = "FORMAT", default_value = "text")]
        log_format: Format,
    },
}

/// Does what the command line says. Exit code 0 is success, 1 a failure, 2 a wrong command line.
pub fn main() -> ExitCode {
    let command = Arguments::parse().command;
    let format = match command {
        Command::Run { log_format, .. } | Command::Worker { log_format } => log_format,
        _ => Format::Text,
    };
    let done = match command {
        Command::Worker { log_format } => {
            log::hook(log_format);
            serve::main().map_err(anyhow::Error::from)
        }
        Command::Run { config, until_drained, .. } => {
            let until = if until_drained { Until::Drained } else { Until::Stopped };
            run(config, until, format)
        }
        Command::Status { config, json } => status(&config, json),
        Command::Install { file, config, json } => install(&file, &config, json),
        Command::Hold { slot, reason, minutes, config } => hold(slot, reason, minutes, &config),
        Command::Approve { slot, release, config } => approve(slot, release.as_deref(), &config),
        Command::ReleaseHold { slot, config } => release_hold(slot, &config),
        Command::Capture { config, json: _, export: Some(what), output, time, key } => {
            export_captured(&what, output.as_deref(), &Names { time, key }, &config)
        }
        Command::Capture { config, json, .. } => capture(&config, json),
        Command::Report { output, config, json } => report(&output, &config, json),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            match format {
                Format::Text => eprintln!("lineside-agent: {error:#}"),
                Format::Json => eprintln!("{}", log::line(&format!("{error:#}"))),
            }
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
    let delivered = reached(local::install(&config.state_dir, file))?;
    if json {
        return print_json(&delivered);
    }
    let Delivered { installed, receipt } = delivered;
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
    match receipt {
        None => {}
        Some(Receipt::Taken { report, records }) => print(&format_args!(
            "the server has report {report}: {records} events and intervals are not told again\n"
        ))?,
        Some(Receipt::Refused(reason)) => {
            print(&format_args!("the server's receipt is not taken: {reason}\n"))?;
        }
    }
    print(&"`lineside-agent status` tells how it goes\n")
}

fn hold(slot: SlotName, reason: String, minutes: Option<u64>, config: &Path) -> anyhow::Result<()> {
    let config = Config::read(config)?;
    let held = reached(local::hold(&config.state_dir, slot.clone(), reason, minutes))?;
    print(&format_args!("slot {slot} is {}\n", held.told()))
}

fn approve(slot: SlotName, looked_at: Option<&str>, config: &Path) -> anyhow::Result<()> {
    let config = Config::read(config)?;
    let status = reached(local::status(&config.state_dir))?;
    let shown = status.slots.get(&slot);
    let shown = shown.with_context(|| format!("this device has no slot {slot}"))?;
    let release = shown.to_approve(looked_at).map_err(|reason| anyhow!("slot {slot}: {reason}"))?;
    let release = reached(local::approve(&config.state_dir, slot.clone(), release))?;
    print(&format_args!("{release} is approved for slot {slot}\n"))
}

/// A release as people write it at the desk, in the words of the status.
fn as_shown(release: &str) -> Result<String, String> {
    match release.split_once('/') {
        Some((name, version)) => Ok(spoken(name, version)),
        None => Err("write NAME/VERSION, as in turbine/2".to_owned()),
    }
}

fn release_hold(slot: SlotName, config: &Path) -> anyhow::Result<()> {
    let config = Config::read(config)?;
    let held = reached(local::release_hold(&config.state_dir, slot.clone()))?;
    print(&format_args!("slot {slot} is held back no longer: {}\n", held.reason))
}

/// An answer of the agent, or what to do where none runs.
fn reached<T>(answer: Result<T, AskError>) -> anyhow::Result<T> {
    match answer {
        Err(error @ AskError::Nobody { .. }) => {
            Err(error).context("start the agent first: lineside-agent run")
        }
        answer => Ok(answer?),
    }
}

fn capture(config: &Path, json: bool) -> anyhow::Result<()> {
    let config = Config::read(config)?;
    let captured = reached(local::captured(&config.state_dir))?;
    if json {
        return print_json(&captured);
    }
    for (slot, report) in &captured {
        print(&format_args!("slot {slot}: {report}\n"))?;
    }
    // Readings are the site's: they go where somebody carries them.
    print(
        &"It stays on this device and is sent nowhere. What the site's policy forbids, or agent.toml wants \
          no longer at the next start, is removed\n",
    )
}

fn export_captured(
    what: &str,
    output: Option<&Path>,
    names: &Names,
    config: &Path,
) -> anyhow::Result<()> {
    let config = Config::read(config)?;
    let output = output.context("name the file: --output FILE")?;
    let (slot, number) = match what.split_once('/') {
        Some((slot, number)) => (slot, Some(number)),
        None => (what, None),
    };
    let slot: SlotName = slot.parse()?;
    let mut folder = capture::folder(&config.state_dir, &slot);
    if let Some(number) = number {
        let number = number.parse().with_context(|| {
            format!("{number:?} is no number: `lineside-agent capture` tells them")
        })?;
        folder = capture::firing(&folder, number);
    }
    if !folder.exists() {
        bail!("nothing is kept of {what}: `lineside-agent capture` tells what is");
    }
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(output);
    let file = file.with_context(|| format!("cannot make {}", output.display()))?;
    let readings = capture::export(&folder, names, BufWriter::new(&file))?;
    file.sync_all()?;
    print(&format_args!("{readings} readings in {}\n", output.display()))
}

fn report(file: &Path, config: &Path, json: bool) -> anyhow::Result<()> {
    let config = Config::read(config)?;
    if file.is_file() {
        // On a stick for several devices it may be another one's, who needs it still.
        bail!(
            "{} is there already: name another file, or a folder, in which the report is named after \
             this device",
            file.display()
        );
    }
    let (carried, bytes) = reached(local::report(&config.state_dir))?;
    let file = match file.is_dir() {
        true => &file.join(format!("{}.lsr", carried.device)),
        false => file,
    };
    write_whole(file, &bytes).with_context(|| format!("cannot write {}", file.display()))?;
    if json {
        return print_json(&carried);
    }
    let more = if carried.more { "; more wait for the next report" } else { "" };
    print(&format_args!(
        "{}: report {} of {}, {} events and intervals{more}\n\
         Take it to the desk and run there: lineside device import {}\n",
        file.display(),
        carried.number,
        carried.device,
        carried.records,
        file.file_name().unwrap_or_default().to_string_lossy()
    ))
}

/// Puts `bytes` in the place of the file, whole: the stick may be pulled right after.
fn write_whole(file: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut part = file.as_os_str().to_owned();
    part.push(format!(".{}.part", std::process::id()));
    let part = PathBuf::from(part);
    let put = || {
        let mut out = std::fs::File::create_new(&part)?;
        out.write_all(bytes)?;
        out.sync_all()?;
        std::fs::rename(&part, file)?;
        // The name is on the medium only with its folder.
        let folder = file.parent().filter(|folder| *folder != Path::new(""));
        std::fs::File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
    };
    put().inspect_err(|_| drop(std::fs::remove_file(&part)))
}

fn print_json(value: &impl Serialize) -> anyhow::Result<()> {
    print(&format_args!("{}\n", serde_json::to_string_pretty(value)?))
}

/// Prints, and says so where nobody takes it: a full disk behind `>` must not look like success.
fn print(text: &impl Display) -> anyhow::Result<()> {
    write!(std::io::stdout(), "{text}").context("cannot write the answer")
}

fn run(config: PathBuf, until: Until, format: Format) -> anyhow::Result<()> {
    let log = log::install(format);
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(THREADS).enable_all().build()?;
    let done = runtime.block_on(daemon::run(&config, until, log));
    runtime.shutdown_timeout(LEAVE);
    done
}
