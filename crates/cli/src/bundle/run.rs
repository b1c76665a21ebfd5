//! `lineside bundle run`: a recording through the bundle's pipeline, the same as on a device.

use super::{open_with, source::Answers};
use crate::confined::SECONDS;
use crate::engines::options;
use crate::new_files::replace;
use crate::output::{Output, Told};
use crate::plugin::{Taped, free_folder};
use crate::watch::{Watch, WatchedFiles};
use anyhow::{Context, bail};
use clap::{ArgAction, Args};
use lineside_bundle::{BuiltBundle, Check, Cut, Tolerance};
use lineside_runtime::{
    Agreed, Agreement, ExpectedFinding, FrameOutcome, LoadOptions, MemoryFiles, Pipeline, Replay,
    RowError, finish, in_engine_thread,
};
use serde::Serialize;
use serde_json::json;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::Read;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Disagreements, and frames and rows that failed, that are told a person.
const TOLD_MAX: usize = 5;
/// Readings from one sign of progress to the next.
const SIGN_EVERY: u64 = 256;
/// How far an output may be off where neither check nor command line says: sums in another order.
const OTHERWISE: Tolerance = Tolerance { absolute: 1e-4, relative: 1e-4 };

/// What is said where rows were left out of a recording whose windows go by number alone.
const CLOSES_OVER: &str = "\nwindows go by number and close over these rows: `gap_seconds` in the window's stage \
                           keeps frames over a gap without an answer";

pub const EXAMPLES: &str = "\
Examples:
  lineside bundle run pump --input january.csv                       does it answer, and how fast?
  lineside bundle run pump --input january.csv --expect python.jsonl are its answers those of Python?
  lineside bundle run pump.lsb --input january.csv --engine rten
  lineside bundle run pump --input january.csv --record              answers for a check of the bundle
  lineside bundle run pump --input january.csv --record-stage average january
  lineside plugin test average.wasm --frames january                 a plugin alone, on its real frames

Expected answers are JSON, a finding a line:
  {\"key\": \"mill-1\", \"frame\": 0, \"outputs\": {\"score\": 0.72, \"alarm\": false}}
`key` is left out where the port has none. A frame counts from 0: its first reading by the window's
stride; of windows by time, its beginning in strides since 1970. An output that is not named is not compared.

Exit code: 0 where every frame has an answer, and it is as expected; 1 where not; 2 for a wrong command.";

#[derive(Args)]
pub struct Run {
    /// A folder with a bundle.toml, a bundle, or an OCI image layout.
    bundle: PathBuf,
    /// The recording: CSV with the port's columns, or a JSON object a line. Where there are several ports,
    /// `port` says in each row which it is of.
    #[arg(long, value_name = "FILE")]
    input: PathBuf,
    /// Compare the answers with these, a finding a line.
    #[arg(long, value_name = "FILE", conflicts_with = "record")]
    expect: Option<PathBuf>,
    /// How far an output may be off, absolutely or as a share, where the bundle's checks do not say
    /// [default: 1e-4].
    #[arg(long, value_name = "NUMBER", requires = "expect")]
    tolerance: Option<f64>,
    /// The engine that has to run every model; else the first that does.
    #[arg(long)]
    engine: Option<String>,
    /// Write the answers as expected ones; beside the recording, ending in .jsonl, unless a file is named.
    #[arg(long, value_name = "FILE", num_args = 0..=1)]
    record: Option<Option<PathBuf>>,
    /// Write what the plugin that is this stage is given and answers into an empty folder, a file a stream:
    /// `lineside plugin test --frames DIR` takes it.
    #[arg(long, num_args = 2, value_names = ["STAGE", "DIR"], action = ArgAction::Set)]
    record_stage: Option<Vec<String>>,
    /// How long loading the bundle, or one frame, may take, in seconds.
    #[arg(long, value_name = "N", default_value_t = SECONDS)]
    seconds: NonZeroU32,
}

/// What a recording came to.
#[derive(Default)]
struct Seen {
    readings: u64,
    frames: u64,
    findings: u64,
    /// Frames without an answer, by reason.
    failed: BTreeMap<&'static str, u64>,
    /// The first of them, in words.
    failures: Vec<String>,
    /// Rows that are no readings, by reason.
    dropped: BTreeMap<&'static str, u64>,
    /// The first of them, in words.
    drops: Vec<String>,
    /// Readings that no window by time was made of, by reason.
    unused: BTreeMap<&'static str, u32>,
    /// How long each frame took but for the first, which is cold.
    times: Vec<Duration>,
    engines: BTreeMap<String, &'static str>,
    lines: String,
}

/// How long frames took, in milliseconds.
#[derive(Serialize)]
struct Latency {
    p50_ms: f64,
    p95_ms: f64,
    max_ms: f64,
}

pub fn run(run: &Run, output: &Output) -> anyhow::Result<()> {
    // Answers of checks that are still to be recorded cannot be there yet.
    let bundle = open_with(&run.bundle, Answers::Unneeded, output)?;
    let mut options = options();
    if let Some(name) = &run.engine {
        options.engines.engine(name)?;
        options.engines.site = Some(name.clone());
    }
    let mut agreement = run.expect.as_ref().map(|file| expected(file, run, &bundle)).transpose()?;
    let stage = run.record_stage.as_deref().and_then(|it| it.first().zip(it.get(1)));
    if let Some((_, folder)) = stage {
        free_folder(Path::new(folder))?;
    }
    let mut taped = stage.map(|(stage, _)| Taped::of(stage));
    let seen = replayed(run, &bundle, &options, agreement.as_mut(), taped.as_mut(), output)?;
    let agreed = agreement.map(Agreement::finish);
    let failed: u64 = seen.failed.values().sum();
    let recorded = match &run.record {
        Some(_) if failed > 0 || seen.findings == 0 => None,
        Some(file) => Some(record(run, file.as_deref(), &seen)?),
        None => None,
    };
    let stage = match (&taped, stage) {
        (Some(taped), Some((_, folder))) if taped.calls > 0 => {
            Some((taped, folder, taped.write(Path::new(folder))?))
        }
        _ => None,
    };
    let id = bundle.release_id();
    let latency = latency(&seen.times);
    let wrong = verdict(run, &seen, failed, agreed.as_ref()).or_else(|| {
        let silent = taped.as_ref().filter(|taped| taped.calls == 0)?;
        Some(format!("stage {} was given no frame, so nothing was recorded of it", silent.stage))
    });
    let recorded_stage = stage.as_ref().map(|(taped, folder, files)| {
        json!({ "stage": taped.stage, "folder": folder, "files": files, "calls": taped.calls,
            "left_out": taped.left_out })
    });
    let json = json!({ "bundle": id.name, "version": id.version, "readings": seen.readings,
        "frames": seen.frames, "findings": seen.findings, "engines": seen.engines,
        "failed": seen.failed, "dropped": seen.dropped, "unused": seen.unused, "latency": latency, "agreement": agreed,
        "recorded": recorded, "recorded_stage": recorded_stage, "error": wrong });
    let mut text = shown(&id.to_string(), &seen, &latency, agreed.as_ref());
    let description = &bundle.manifest.bundle;
    let closes_over = matches!(description.cut(), Cut::Count { rows: 2.., .. })
        && description.window_gap_ns().is_none();
    if closes_over && !seen.dropped.is_empty() {
        text.push_str(CLOSES_OVER);
    }
    if let Some(file) = &recorded {
        let _ = write!(text, "\n{}", entry(run, file, &bundle));
    }
    if let Some((taped, folder, files)) = &stage {
        let Taped { stage, calls, left_out, .. } = taped;
        let _ = write!(
            text,
            "\n{stage}: {calls} calls of {} streams; next: lineside plugin test PLUGIN --frames {folder}",
            files.len()
        );
        if *left_out > 0 {
            let _ = write!(text, "\n{left_out} calls more were left out: what is recorded is full");
        }
    }
    output.print(text, &json)?;
    wrong.map_or(Ok(()), |wrong| Err(Told(wrong).into()))
}

/// Why the answers are not as they should be, for scripts; nothing where they are.
fn verdict(run: &Run, seen: &Seen, failed: u64, agreed: Option<&Agreed>) -> Option<String> {
    let differ = agreed.filter(|it| it.agreed < it.findings);
    if let Some(Agreed { findings, agreed, .. }) = differ {
        return Some(format!("{} of {findings} findings disagree", findings - agreed));
    }
    let frames = seen.frames;
    let kept = if run.record.is_some() { ", so nothing was recorded" } else { "" };
    match (failed, frames, run.record.is_some() && seen.findings == 0) {
        (1.., ..) => Some(format!("{failed} of {frames} frames have no answer{kept}")),
        (0, 0, _) => Some(format!("{} readings make no frame", seen.readings)),
        (0, _, true) => Some("no frame has a finding, so nothing was recorded".into()),
        (0, _, false) => None,
    }
}

fn expected(file: &Path, run: &Run, bundle: &BuiltBundle) -> anyhow::Result<Agreement> {
    let name = file.display();
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {name}"))?;
    let expected = ExpectedFinding::read(&text).map_err(|problem| anyhow::anyhow!(problem));
    let expected = expected.with_context(|| name.to_string())?;
    if expected.is_empty() {
        bail!("{name} expects nothing");
    }
    let otherwise = match run.tolerance {
        Some(size) if size.is_finite() && size >= 0.0 => {
            Tolerance { absolute: size, relative: size }
        }
        Some(size) => bail!("--tolerance {size} must be finite and not negative"),
        None => OTHERWISE,
    };
    let mut tolerance = BTreeMap::new();
    // Whoever names one means it for this run.
    if run.tolerance.is_none() {
        for check in &bundle.manifest.bundle.checks {
            for (output, own) in &check.tolerance {
                tolerance.entry(output.clone()).or_insert(*own);
            }
        }
    }
    let agreement = Agreement::with(expected, tolerance, otherwise);
    agreement.map_err(|problem| anyhow::anyhow!(problem)).with_context(|| name.to_string())
}

fn replayed(
    run: &Run,
    bundle: &BuiltBundle,
    options: &LoadOptions,
    mut agreement: Option<&mut Agreement>,
    mut taped: Option<&mut Taped>,
    output: &Output,
) -> anyhow::Result<Seen> {
    let name = run.input.display();
    let file = File::open(&run.input).with_context(|| format!("cannot open {name}"))?;
    let length = file.metadata().with_context(|| format!("cannot open {name}"))?.len();
    let read = Arc::new(AtomicU64::new(0));
    let source = Counted { source: file, read: Arc::clone(&read) };
    let description = &bundle.manifest.bundle;
    let mut replay = Replay::open(description, source).with_context(|| name.to_string())?;
    let working = output.progress(format!("running {name}"), length);
    let watch = Watch::over_answers(&bundle.release_id().to_string(), run.seconds, output);
    let mut seen = Seen::default();
    in_engine_thread(|| -> anyhow::Result<()> {
        let files = WatchedFiles { files: &MemoryFiles(bundle), watch: &watch };
        let mut pipeline = Pipeline::load(&bundle.manifest, &files, options)
            .with_context(|| bundle.release_id().to_string())?;
        seen.engines = pipeline.engines();
        watch.step(format!("answering {name}"));
        if let Some(taped) = &mut taped {
            taped.begin(&mut pipeline).with_context(|| bundle.release_id().to_string())?;
        }
        while let Some(outcomes) = replay.push(&mut pipeline) {
            watch.again();
            match outcomes {
                Err(error) if error.reason == RowError::IO => {
                    return Err(error).with_context(|| name.to_string());
                }
                Err(error) => seen.drop(&error),
                Ok(outcomes) => {
                    for outcome in outcomes {
                        seen.frame(outcome, agreement.as_deref_mut(), run.record.is_some());
                    }
                }
            }
            if let Some(taped) = &mut taped {
                taped.take(&mut pipeline)?;
            }
            if replay.readings() % SIGN_EVERY == 0 {
                working.at(read.load(Ordering::Relaxed));
            }
        }
        for outcomes in finish(&mut pipeline) {
            watch.again();
            for outcome in outcomes {
                seen.frame(outcome, agreement.as_deref_mut(), run.record.is_some());
            }
        }
        if let Some(taped) = &mut taped {
            taped.take(&mut pipeline)?;
        }
        Ok(())
    })?;
    seen.readings = replay.readings();
    let unused = replay.unused();
    let unused = [("late", unused.late), ("twice", unused.twice)].into_iter();
    seen.unused = unused.filter(|(_, count)| *count > 0).collect();
    seen.times.sort_unstable();
    Ok(seen)
}

impl Seen {
    fn drop(&mut self, error: &RowError) {
        *self.dropped.entry(error.reason).or_default() += 1;
        if self.drops.len() < TOLD_MAX {
            self.drops.push(error.to_string());
        }
    }

    fn frame(&mut self, outcome: FrameOutcome, agreement: Option<&mut Agreement>, keep: bool) {
        if self.frames > 0 {
            self.times.push(outcome.elapsed);
        }
        self.frames += 1;
        let place = match outcome.key.as_str() {
            "" => format!("frame {}", outcome.frame),
            key => format!("frame {} of {key:?}", outcome.frame),
        };
        match ExpectedFinding::of(outcome) {
            Ok(findings) => {
                self.findings += findings.len() as u64;
                if let Some(agreement) = agreement {
                    findings.iter().for_each(|finding| agreement.see(finding));
                }
                if keep {
                    self.lines.extend(findings.iter().map(ExpectedFinding::line));
                }
            }
            Err(error) => {
                *self.failed.entry(error.reason()).or_default() += 1;
                if self.failures.len() < TOLD_MAX {
                    self.failures.push(format!("{place}: {error}"));
                }
            }
        }
    }
}

/// A file that counts what was read of it.
struct Counted {
    source: File,
    read: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, bytes: &mut [u8]) -> std::io::Result<usize> {
        let count = self.source.read(bytes)?;
        self.read.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

/// Writes the answers, and says where.
fn record(run: &Run, file: Option<&Path>, seen: &Seen) -> anyhow::Result<PathBuf> {
    let beside = || match run.input.extension().is_some_and(|it| it == "jsonl") {
        // Never in the place of the recording.
        true => run.input.with_extension("expected.jsonl"),
        false => run.input.with_extension("jsonl"),
    };
    let file = file.map_or_else(beside, Path::to_owned);
    replace(&file, seen.lines.as_bytes())?;
    Ok(file)
}

/// What makes a check of it, to be copied into a bundle.toml.
fn entry(run: &Run, file: &Path, bundle: &BuiltBundle) -> String {
    let within = |path: &Path| match path.strip_prefix(&run.bundle) {
        Ok(inside) => inside.display().to_string(),
        Err(_) => {
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
            format!("checks/{}", name.unwrap_or_default())
        }
    };
    let (input, expected) = (within(&run.input), within(file));
    let is_known = |check: &Check| check.input == input && check.expected == expected;
    let told = format!("{}: what it answers, to be expected from now on", file.display());
    if bundle.manifest.bundle.checks.iter().any(is_known) {
        return told;
    }
    let is_there = run.input.starts_with(&run.bundle) && file.starts_with(&run.bundle);
    let there = if is_there { "" } else { ", with both files in its folder checks" };
    let name = run.input.file_stem().map(|stem| stem.to_string_lossy().into_owned());
    let mut entry =
        Check { name: name.unwrap_or_default(), input, expected, tolerance: BTreeMap::new() };
    for output in bundle.manifest.bundle.outputs.keys() {
        entry.tolerance.insert(output.clone(), OTHERWISE);
    }
    let mut lines = format!(
        "{told}\nfor bundle.toml{there}:\n\n[[checks]]\nname = {:?}\ninput = {:?}\nexpected = {:?}",
        entry.name, entry.input, entry.expected
    );
    for (output, Tolerance { absolute, relative }) in &entry.tolerance {
        let _ = write!(
            lines,
            "\ntolerance.{output} = {{ absolute = {absolute:e}, relative = {relative:e} }}"
        );
    }
    lines
}

fn latency(times: &[Duration]) -> Option<Latency> {
    let at = |percent: usize| {
        let rank = (times.len() * percent).div_ceil(100).max(1);
        let time = times.get(rank - 1)?;
        Some((time.as_secs_f64() * 1e6).round() / 1e3)
    };
    Some(Latency { p50_ms: at(50)?, p95_ms: at(95)?, max_ms: at(100)? })
}

fn shown(id: &str, seen: &Seen, latency: &Option<Latency>, agreed: Option<&Agreed>) -> String {
    let mut text = format!(
        "{id}: {} readings, {} frames, {} findings",
        seen.readings, seen.frames, seen.findings
    );
    for (stage, engine) in &seen.engines {
        let _ = write!(text, "\n{stage} runs in {engine}");
    }
    if let Some(Latency { p50_ms, p95_ms, max_ms }) = latency {
        let _ = write!(
            text,
            "\nlatency: half of the frames within {p50_ms:.3} ms, 95 of 100 within {p95_ms:.3} ms, the longest \
             {max_ms:.3} ms"
        );
    }
    for (reason, count) in &seen.unused {
        let _ = write!(text, "\n{count} readings were not used: {reason}");
    }
    for (what, counts, first) in [
        ("rows are no readings", &seen.dropped, &seen.drops),
        ("frames have no answer", &seen.failed, &seen.failures),
    ] {
        if counts.is_empty() {
            continue;
        }
        let reasons = counts.iter().map(|(reason, count)| format!("{reason} {count}"));
        let total: u64 = counts.values().sum();
        let _ = write!(text, "\n{total} {what}: {}", reasons.collect::<Vec<_>>().join(", "));
        for line in first {
            let _ = write!(text, "\n  {line}");
        }
    }
    if let Some(agreed) = agreed {
        let Agreed { findings, agreed, worst, disagreements } = agreed;
        let share = *agreed as f64 * 100.0 / (*findings).max(1) as f64;
        let _ = write!(text, "\nagreement: {agreed} of {findings} findings ({share:.2} %)");
        let worst: Vec<String> =
            worst.iter().map(|(output, off)| format!("{output} {off:.1e}")).collect();
        if !worst.is_empty() {
            let _ = write!(text, "; largest difference: {}", worst.join(", "));
        }
        for disagreement in disagreements.iter().take(TOLD_MAX) {
            let _ = write!(text, "\n  {disagreement}");
        }
        if disagreements.len() > TOLD_MAX {
            let _ = write!(text, "\n  … and more: --json has up to a thousand");
        }
    }
    text
}
