//! `lineside plugin test`: do its answers hold, and what does it cost?

use super::bounds::Bounds;
use super::compare::{compare, expected};
use super::frames::{self, Recording, Wanted};
use super::played::{Metered, Played, compiled, meter, play, survived};
use super::{build, component};
use crate::bundle::size;
use crate::new_files::replace;
use crate::output::{Output, Told};
use crate::watch::Watch;
use anyhow::{Context, bail};
use clap::Args;
use lineside_bundle::Limits;
use serde::Serialize;
use serde_json::json;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Disagreements that are told a person, and a program.
const TOLD_MAX: usize = 5;
const KEPT_MAX: usize = 1000;
/// How far an answer may be off where nobody says: sums in another order.
const TOLERANCE: f64 = 1e-4;
/// Lines of its log that are told a person.
const LINES_TOLD_MAX: usize = 20;

pub const EXAMPLES: &str = "\
Examples:
  lineside plugin test mill/plugins/mean                 built, and given its frames/*.jsonl
  lineside plugin test mill/plugins/mean --record        its answers are the expected ones from now on
  lineside plugin test mean.wasm --frames january.jsonl  a built one, and other frames

Frames are JSON, a call a line; each file is a stream, with an instance of its own:
  {\"settings\": {\"rows\": \"3\"}}                            what `configure` gets; may be left out
  {\"inputs\": {\"x\": [1, 2, 6]}, \"expected\": [{\"mean\": 3}]}  a frame, and its results
  {\"first_sequence\": 9, \"inputs\": {\"x\": [1, 2, 3]}, \"refused\": \"why\"}
  {\"finish\": true, \"expected\": []}                       the end of the recording
`number` counts from 0, `first_sequence` is as `number`, and `time_ns` 0, unless a line says so.

Exit code: 0 where every answer is as expected; 1 where not; 2 for a wrong command.";

#[derive(Args)]
pub struct Test {
    /// The plugin's folder, which is built first, or a built one, FILE.wasm.
    #[arg(default_value = ".")]
    plugin: PathBuf,
    /// Recorded frames, a file or a folder of them; `frames` in the folder, or beside the file, unless set.
    #[arg(long, value_name = "PATH")]
    frames: Option<PathBuf>,
    /// Write what the plugin answers into the recordings, to be expected from now on.
    #[arg(long)]
    record: bool,
    /// How far a number may be off, absolutely or as a share, whatever the recordings say
    /// [default: 1e-4].
    #[arg(long, value_name = "NUMBER", conflicts_with = "record")]
    tolerance: Option<f64>,
    #[command(flatten)]
    bounds: Bounds,
}

/// Of calls in order: half are within the first, 99 of 100 within the second.
#[derive(Serialize)]
struct Spread<T> {
    p50: T,
    p99: T,
    max: T,
}

/// What all recordings came to.
#[derive(Default)]
struct Seen {
    frames: usize,
    agreed: usize,
    /// Frames of which nobody has said what to expect.
    unknown: usize,
    /// Frames that have no answer to be recorded.
    broken: usize,
    disagreements: Vec<String>,
    recordings: Vec<serde_json::Value>,
    /// What it has said, and how many lines more.
    lines: Vec<serde_json::Value>,
    lines_dropped: u64,
    /// Lines that no bundle would drop, beyond what is told here.
    lines_left_out: u64,
    told: String,
    times: Vec<Duration>,
    fuel: Vec<u64>,
    start: Duration,
    memory_bytes: usize,
    is_alike: bool,
}

pub fn run(test: &Test, output: &Output) -> anyhow::Result<()> {
    if test.tolerance.is_some_and(|size| !(size.is_finite() && size >= 0.0)) {
        bail!("--tolerance must be finite and not negative");
    }
    let recordings = frames::read(&frames_of(test)?)?;
    let name = test.plugin.display().to_string();
    let is_source = test.plugin.is_dir();
    let working =
        output.working(format!("{} {name}", if is_source { "building" } else { "reading" }));
    let wasm = match is_source {
        true => build::component(&test.plugin)?,
        false => component::read(&test.plugin).with_context(|| name.clone())?,
    };
    working.tell(format!("compiling {name}"));
    let plugin = {
        let _watch = Watch::over_compiling(&name, test.bounds.seconds, output);
        component::accept(&wasm).and_then(|()| compiled(&wasm)).with_context(|| name.clone())?
    };
    let limits = test.bounds.limits();
    let mut seen = Seen { is_alike: true, ..Seen::default() };
    working.tell(format!("running {name}"));
    let mut rounds = Vec::new();
    for recording in &recordings {
        let at = || format!("{name}: {}", recording.file.display());
        let played = play(&plugin.native, recording, limits).with_context(at)?;
        seen.see(test, recording, &played);
        rounds.push(played);
    }
    if seen.broken == 0 {
        working.tell(format!("counting the instructions of {name}"));
        for (recording, played) in recordings.iter().zip(&rounds) {
            seen.count(meter(&plugin.metered, recording, &played.answers, limits.memory_bytes)?);
        }
    }
    drop(working);
    if test.record && seen.broken == 0 {
        for (recording, played) in recordings.iter().zip(&rounds) {
            record(recording, played)?;
        }
    }
    let wrong = seen.verdict(test);
    seen.times.sort_unstable();
    seen.fuel.sort_unstable();
    let times: Vec<f64> = seen.times.iter().map(|time| micro(*time)).collect();
    let (times, fuel) = (spread(&times), spread(&seen.fuel));
    let json = json!({ "plugin": test.plugin, "bytes": wasm.len(), "compile_ms": milli(plugin.took),
        "start_ms": milli(seen.start), "frames": seen.frames, "agreed": seen.agreed,
        "unknown": seen.unknown, "recordings": seen.recordings, "time_us": times,
        "memory_bytes": seen.memory_bytes, "fuel": fuel,
        "interpreted_alike": fuel.as_ref().map(|_| seen.is_alike),
        "disagreements": seen.disagreements, "lines": seen.lines, "lines_dropped": seen.lines_dropped,
        "lines_left_out": seen.lines_left_out,
        "recorded": test.record && seen.broken == 0,
        "error": wrong });
    let mut text = format!(
        "{name}: {}, compiled in {:.0} ms, started in {:.1} ms",
        size(wasm.len() as u64),
        milli(plugin.took),
        milli(seen.start)
    );
    text += &seen.told;
    text += &costs(&seen, times.as_ref(), fuel.as_ref());
    output.print(text, &json)?;
    wrong.map_or(Ok(()), |wrong| Err(Told(wrong).into()))
}

/// Where the recordings are.
fn frames_of(test: &Test) -> anyhow::Result<PathBuf> {
    if let Some(frames) = &test.frames {
        return Ok(frames.clone());
    }
    let plugin = test.plugin.display();
    if !test.plugin.exists() {
        bail!("there is no {plugin}");
    }
    let folder = match test.plugin.is_dir() {
        true => test.plugin.as_path(),
        false => test.plugin.parent().unwrap_or(Path::new("")),
    };
    let frames = folder.join("frames");
    if !frames.is_dir() {
        bail!(
            "there is no {}: recorded frames lie there, or --frames says where",
            frames.display()
        );
    }
    Ok(frames)
}

fn record(recording: &Recording, played: &Played) -> anyhow::Result<()> {
    let answers = played.answers.iter().map(|answer| expected(answer, &played.outputs));
    let answers = answers.map(|answer| answer.unwrap_or(Wanted::Anything)).collect();
    replace(&recording.file, recording.recorded(answers)?.as_bytes())
}

impl Seen {
    fn see(&mut self, test: &Test, recording: &Recording, played: &Played) {
        let tolerance = test.tolerance.or(recording.tolerance).unwrap_or(TOLERANCE);
        let file = recording.file.display();
        let (mut agreed, mut unknown, mut worst) = (0, 0, 0.0f64);
        let mut differ = Vec::new();
        for (call, answer) in recording.calls.iter().zip(&played.answers) {
            let is_broken = !survived(answer);
            self.broken += usize::from(is_broken);
            let wanted = if test.record { &Wanted::Anything } else { &call.wanted };
            match compare(answer, wanted, &played.outputs, tolerance) {
                Ok(_) if *wanted == Wanted::Anything => unknown += 1,
                Ok(off) => {
                    agreed += 1;
                    worst = worst.max(off);
                }
                Err(said) => differ.push(format!("{file} line {}: {said}", call.line)),
            }
        }
        let frames = recording.calls.len();
        self.recordings.push(json!({ "file": recording.file, "frames": frames, "agreed": agreed,
            "unknown": unknown, "worst": worst }));
        let of = format!("\n{file}: {frames} calls, ");
        let _ = match test.record {
            true => {
                write!(self.told, "{of}{} recorded", if self.broken == 0 { unknown } else { 0 })
            }
            false if agreed > 0 => {
                write!(self.told, "{of}{agreed} as expected; largest difference: {worst:.1e}")
            }
            false => write!(self.told, "{of}none as expected"),
        };
        for line in differ.iter().take(TOLD_MAX) {
            let _ = write!(self.told, "\n  {line}");
        }
        if differ.len() > TOLD_MAX {
            let _ = write!(self.told, "\n  … and {} more", differ.len() - TOLD_MAX);
        }
        self.hear(recording, played);
        self.frames += frames;
        self.agreed += agreed;
        self.unknown += unknown;
        let room = KEPT_MAX.saturating_sub(self.disagreements.len());
        self.disagreements.extend(differ.into_iter().take(room));
        self.times.extend(&played.times);
        self.start = self.start.max(played.start);
        self.memory_bytes = self.memory_bytes.max(played.memory_bytes);
    }

    /// What the plugin has said over a recording.
    fn hear(&mut self, recording: &Recording, played: &Played) {
        let file = recording.file.display();
        self.lines_dropped += played.said.dropped;
        self.lines_left_out += played.said.left_out;
        for (line, text) in &played.said.lines {
            if self.lines.len() == KEPT_MAX {
                self.lines_left_out += 1;
                continue;
            }
            if self.lines.len() < LINES_TOLD_MAX {
                let at = line.map_or("its start".to_owned(), |line| format!("line {line}"));
                let _ =
                    write!(self.told, "\n  log, {file} {at}: {}", text.replace(['\n', '\r'], " "));
            }
            self.lines.push(json!({ "file": recording.file, "line": line, "text": text }));
        }
    }

    fn count(&mut self, metered: Metered) {
        self.fuel.extend(metered.fuel);
        self.is_alike &= metered.is_alike;
    }

    /// Why the answers are not as they should be, for scripts; nothing where they are.
    fn verdict(&self, test: &Test) -> Option<String> {
        let Seen { frames, agreed, unknown, broken, .. } = self;
        let differ = frames - agreed - unknown;
        match () {
            () if *broken > 0 && test.record => {
                Some(format!("{broken} of {frames} calls have no answer, so nothing was recorded"))
            }
            () if differ > 0 => Some(format!("{differ} of {frames} calls are not as expected")),
            () if *unknown > 0 && !test.record => Some(format!(
                "of {unknown} of {frames} calls nobody has said what to expect: --record takes what the \
                 plugin answers"
            )),
            () if !self.is_alike => Some("interpreted, it answers otherwise".into()),
            () => None,
        }
    }
}

fn costs(seen: &Seen, times: Option<&Spread<f64>>, fuel: Option<&Spread<u64>>) -> String {
    let mut text = String::new();
    let untold = seen.lines.len().saturating_sub(LINES_TOLD_MAX) as u64 + seen.lines_left_out;
    if untold + seen.lines_dropped > 0 {
        let _ = write!(text, "\nlog: … and {} lines more", untold + seen.lines_dropped);
        if seen.lines_dropped > 0 {
            let _ = write!(
                text,
                ", of which {} were dropped: a bundle lets {} through in a call unless its bundle.toml says \
                 limits.plugin_lines_per_call",
                seen.lines_dropped,
                Limits::default().plugin_lines_per_call
            );
        }
    }
    if let Some(Spread { p50, p99, max }) = times {
        let _ = write!(
            text,
            "\ntime: half of the frames within {p50:.1} µs, 99 of 100 within {p99:.1} µs, the longest {max:.1} \
             µs"
        );
    }
    let usual = Limits::default().plugin_memory_mib as usize;
    let _ = write!(text, "\nmemory: {}", size(seen.memory_bytes as u64));
    let mib = seen.memory_bytes.div_ceil(1 << 20);
    if mib > usual {
        let _ = write!(
            text,
            "; a bundle gives {usual} MiB unless its bundle.toml says limits.plugin_memory_mib = {}",
            mib.next_multiple_of(16)
        );
    }
    if let Some(Spread { p50, max, .. }) = fuel {
        let _ = write!(text, "\nfuel: {p50} instructions a call in the median, {max} at most");
        let alike = if seen.is_alike { "the same answers, bit for bit" } else { "other answers" };
        let _ = write!(text, "\ninterpreted, as on 32-bit devices: {alike}");
    }
    text
}

fn spread<T: Copy>(sorted: &[T]) -> Option<Spread<T>> {
    let at = |percent: usize| {
        let rank = (sorted.len() * percent).div_ceil(100).max(1);
        sorted.get(rank - 1).copied()
    };
    Some(Spread { p50: at(50)?, p99: at(99)?, max: at(100)? })
}

fn micro(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e9).round() / 1e3
}

fn milli(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}
