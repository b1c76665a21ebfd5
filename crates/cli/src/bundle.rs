//! `lineside bundle`: build, check and show.

mod layout;
mod new;
mod run;
mod snap;
mod source;

use crate::engines::options;
use crate::new_files::replace_with;
use crate::output::Output;
use crate::watch::{Patience, Watch, WatchedFiles};
use anyhow::{Context, bail};
use clap::Subcommand;
use lineside_bundle::stages::BuiltIn;
use lineside_bundle::{BuiltBundle, Manifest, Stage, archive};
use lineside_runtime::{
    Before, CheckError, CheckReport, Expected, LoadOptions, MemoryFiles, check_recordings,
    run_checks_watched,
};
use serde_json::json;
use snap::SnapArguments;
use source::{Answers, BundleProfile};

pub use source::models;
use std::fmt::Write as _;
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

#[derive(Subcommand)]
pub enum BundleCommand {
    /// Make a bundle of a folder with a bundle.toml: one file, an OCI image layout.
    Build {
        /// The folder.
        folder: PathBuf,
        /// Where to put the bundle.
        #[arg(short, long)]
        output: PathBuf,
        /// Change a key of bundle.toml, as in `--set version=2 --set stages.alarm.above=4.6`.
        #[arg(long = "set", value_name = "KEY=VALUE")]
        set: Vec<String>,
        /// The bundle's profile [default: profile.json in the folder, if it is there].
        #[arg(long, value_name = "FILE", conflicts_with = "without_profile")]
        profile: Option<PathBuf>,
        /// Leave the folder's profile out.
        #[arg(long)]
        without_profile: bool,
        /// Take what this bundle answers for the expected answers of its checks. They are in the bundle
        /// alone: the folder stays as it is.
        #[arg(long)]
        record_checks: bool,
        #[command(flatten)]
        patience: Patience,
        #[command(flatten)]
        snap: SnapArguments,
    },
    /// Start a bundle from a model: a folder with a bundle.toml that loads, and a check made of a CSV file.
    ///
    /// Ports, windows and outputs are guessed from the model's inputs and outputs and from the columns of the
    /// file. Each guess is told in a comment of bundle.toml, and is yours to change.
    #[command(after_help = new::EXAMPLES)]
    New(new::New),
    /// Run a recording through a bundle as a device would: agreement, latency, and what disagreed.
    #[command(after_help = run::EXAMPLES)]
    Run(run::Run),
    /// Verify digests, types and shapes, and replay the bundle's checks.
    Check {
        /// A bundle, an OCI image layout, or a folder with a bundle.toml.
        bundle: PathBuf,
        #[command(flatten)]
        patience: Patience,
    },
    /// Show what is in a bundle.
    Show {
        /// A bundle, an OCI image layout, or a folder with a bundle.toml.
        bundle: PathBuf,
    },
}

pub fn run(command: BundleCommand, output: &Output) -> anyhow::Result<()> {
    match command {
        BundleCommand::Build {
            folder,
            output: file,
            set,
            profile,
            without_profile,
            record_checks,
            patience,
            snap,
        } => {
            let profile = match profile {
                Some(file) => BundleProfile::File(file),
                None if without_profile => BundleProfile::None,
                None => BundleProfile::Folder,
            };
            let bundle = {
                let _working = output.working(format!("building {}", folder.display()));
                let watch = Watch::over_checks(&folder.display().to_string(), &patience, output);
                let answers = match record_checks {
                    true => Answers::Recorded(&watch),
                    false => Answers::Needed,
                };
                source::build(&folder, &set, answers, &profile)?
            };
            let bundle = match snap.of(record_checks)? {
                Some(snap) => snap.round(bundle, &patience, output)?,
                None => bundle,
            };
            write(&bundle, &file, output)
        }
        BundleCommand::New(new) => new::run(&new, output),
        BundleCommand::Run(run) => run::run(&run, output),
        BundleCommand::Check { bundle, patience } => check(&bundle, &patience, output),
        BundleCommand::Show { bundle } => show(&bundle, output),
    }
}

fn write(bundle: &BuiltBundle, file: &Path, output: &Output) -> anyhow::Result<()> {
    replace_with(file, |out| archive::write(bundle, out))?;
    let id = bundle.release_id();
    let bytes: usize = bundle.blobs.values().map(Vec::len).sum();
    let json = json!({ "file": file, "bundle": id.name, "version": id.version, "digest": id.digest,
        "size": id.size, "bytes": bytes, "snapped": bundle.manifest.snapped });
    let mut text = format!(
        "{}: {id}, {} in {} files\n{}",
        file.display(),
        size(bytes as u64),
        bundle.manifest.files.len(),
        id.digest
    );
    if let Some(snapped) = &bundle.manifest.snapped {
        let _ = write!(text, "\n{}", snap::told(snapped));
    }
    output.print(text, &json)
}

fn check(path: &Path, patience: &Patience, output: &Output) -> anyhow::Result<()> {
    let (bundle, report) = checked(path, patience, output)?;
    let id = bundle.release_id();
    let json = json!({ "bundle": id.name, "version": id.version, "digest": id.digest,
        "checks": report.checks });
    output.print(told(&id.to_string(), &report), &json)
}

/// Reads a bundle from wherever `path` points to, and replays its checks.
///
/// # Errors
/// By file, digest, stage or check.
pub fn checked(
    path: &Path,
    patience: &Patience,
    output: &Output,
) -> anyhow::Result<(BuiltBundle, CheckReport)> {
    let bundle = open(path, output)?;
    let id = bundle.release_id();
    let _working = output.working(format!("replaying the checks of {id}"));
    let watch = Watch::over_checks(&id.to_string(), patience, output);
    let report = replayed(&bundle, &watch).with_context(|| format!("{id} does not pass"))?;
    Ok((bundle, report))
}

/// Replays the checks of a bundle while somebody watches.
fn replayed(bundle: &BuiltBundle, watch: &Watch) -> Result<CheckReport, CheckError> {
    let files = WatchedFiles { files: &MemoryFiles(bundle), watch };
    check_recordings(&bundle.manifest, &files, Expected::There)?;
    let options = LoadOptions { before: Before::Refused, ..options() };
    run_checks_watched(&bundle.manifest, &files, &options, &|check| watch.reading(check))
}

fn told(id: &str, report: &CheckReport) -> String {
    let mut text = format!("{id}: digests, types and shapes are right");
    if report.checks.is_empty() {
        text.push_str("\nno checks: nobody knows whether its answers are right");
    }
    for check in &report.checks {
        let worst: Vec<String> =
            check.worst.iter().map(|(output, off)| format!("{output} {off:.1e}")).collect();
        let _ = write!(
            text,
            "\ncheck {}: {} readings, {} findings as expected; largest difference: {}",
            check.name,
            check.readings,
            check.findings,
            worst.join(", ")
        );
    }
    text
}

fn show(path: &Path, output: &Output) -> anyhow::Result<()> {
    let bundle = open(path, output)?;
    let id = bundle.release_id();
    let json = json!({ "digest": id.digest, "size": id.size, "manifest": bundle.manifest });
    output.print(shown(&id.to_string(), &id.digest.to_string(), &bundle.manifest), &json)
}

fn shown(id: &str, digest: &str, manifest: &Manifest) -> String {
    let bundle = &manifest.bundle;
    let mut text = format!("{id}\n{}\n{digest}\n\ninputs", bundle.summary);
    for (name, port) in &bundle.inputs {
        for (mark, field) in [("key", &port.key), ("time", &port.time)] {
            if let Some(field) = field {
                let _ = write!(text, "\n  {name}.{field}  {mark}");
            }
        }
        for field in &port.fields {
            let range = field.range.map_or(String::new(), |r| format!("  {} to {}", r.low, r.high));
            let _ = write!(text, "\n  {name}.{}  {}{range}", field.name, field.unit);
        }
    }
    text.push_str("\n\nstages");
    for name in bundle.order().unwrap_or_default() {
        let told = match &bundle.stages[name] {
            Stage::Window(window) => window.told(),
            Stage::Resample(resample) => resample.told(),
            Stage::Model { file, .. } => format!("model {file}"),
            Stage::Plugin { plugin, .. } => format!("plugin {plugin}"),
            stage => stage.built_in().map_or(String::new(), BuiltIn::told),
        };
        let _ = write!(text, "\n  {name}  {told}");
    }
    text.push_str("\n\noutputs");
    for (name, from) in &bundle.outputs {
        let alarm = if bundle.alarm_output.as_ref() == Some(name) { "  alarm" } else { "" };
        let _ = write!(text, "\n  {name}  {} {}{alarm}", from.from, from.unit);
    }
    text.push_str("\n\nfiles");
    for (path, file) in &manifest.files {
        let _ = write!(text, "\n  {path}  {}  {}", size(file.size), file.digest.short());
    }
    if let Some(snapped) = &manifest.snapped {
        let _ = write!(text, "\n\n{}", snap::told(snapped));
    }
    text
}

/// Builds the bundle in `folder`, with `set` changed, without its profile, which may be broken and is to be made.
///
/// # Errors
/// By file or stage.
pub fn open_for_profile(
    folder: &Path,
    set: &[String],
    output: &Output,
) -> anyhow::Result<BuiltBundle> {
    let name = folder.display();
    if !folder.join("bundle.toml").is_file() {
        bail!("{name} has no bundle.toml: name the folder that the bundle is built of");
    }
    let _working = output.working(format!("building {name}"));
    source::build(folder, set, Answers::Unneeded, &BundleProfile::None)
}

/// Reads a bundle from wherever `path` points to, verified.
///
/// # Errors
/// By file, digest or stage.
pub fn open(path: &Path, output: &Output) -> anyhow::Result<BuiltBundle> {
    open_with(path, Answers::Needed, output)
}

/// As [`open`]; what is known of the answers that the checks of a folder expect is for the caller to say.
///
/// # Errors
/// As [`open`].
fn open_with(path: &Path, answers: Answers<'_>, output: &Output) -> anyhow::Result<BuiltBundle> {
    let name = path.display();
    if path.join("bundle.toml").is_file() {
        let _working = output.working(format!("building {name}"));
        return source::build(path, &[], answers, &BundleProfile::Folder);
    }
    let _working = output.working(format!("reading {name}"));
    if path.is_dir() {
        return layout::read(path);
    }
    if !path.exists() {
        bail!("there is no {name}");
    }
    let file = File::open(path).with_context(|| format!("cannot open {name}"))?;
    archive::read(BufReader::new(file)).with_context(|| format!("{name} is no bundle"))
}

/// A number of bytes for people.
pub fn size(bytes: u64) -> String {
    match bytes {
        0..10_000 => format!("{bytes} bytes"),
        10_000..10_000_000 => format!("{} kB", bytes / 1000),
        _ => format!("{} MB", bytes / 1_000_000),
    }
}
