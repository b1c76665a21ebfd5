//! What a plant notices of a swap: how much longer it waits for the first answer of the new release
//! than for any other.
//!
//! The plant reads the file of findings and notes when each arrives. Readings come at a known pace,
//! so the time between two findings of a stream beyond the time between their readings is what the
//! plant waits longer for the second: for the first answer of a release that is the *gap* of its swap
//! (the largest of all streams), and none of it is measured within the agent. An ordinary frame's
//! *processing time* is how much later than the fastest frame of the run it arrives, plus what the
//! stages of that one took: less than the truth, so the comparison is against us.

use anyhow::{Context, bail};
use lineside_tests::account::audit;
use lineside_tests::fleet::{Fleet, frame_findings};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Changes of the route that are measured.
const SWAPS: usize = 60;
/// Turbines, each a stream.
const STREAMS: usize = 4;
/// Seconds from a turbine's reading to its next one, as they are recorded.
const EVERY_S: usize = 10;
/// How much faster they are given: a reading each ten milliseconds from each turbine.
const PACE: f64 = 1000.0;
/// What is looked at around a swap.
const SECOND: Duration = Duration::from_secs(1);
/// Readings of each turbine that are there: more than the swaps need.
const READINGS: usize = 200_000;

fn main() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let mut fleet = Fleet::start(folder.path())?;
    let recording = folder.path().join("rows.csv");
    fs::write(&recording, rows()?).context("cannot write the recording")?;
    for version in ["1", "2"] {
        fleet.release("turbine", version)?;
    }
    fleet.add_device(
        "mill",
        &format!(
            "[slots.turbine]\nsource = 'scada'\nsinks = ['log']\n\
             [sources.scada]\nkind = 'file'\npaths = ['{}']\npace = {PACE:.1}\n\
             [sinks.log]\nkind = 'file'\npath = 'findings.jsonl'\n\
             [limits]\ncommit_every_ms = 10\n",
            recording.display()
        ),
    )?;
    let file = fleet.device_folder("mill").join("findings.jsonl");
    let watch = Watch::start(&file);
    fleet.start_agent("mill")?;
    for swap in 0..=SWAPS {
        let version = if swap % 2 == 0 { "1" } else { "2" };
        fleet.assign("mill", "turbine", &format!("turbine/{version}"))?;
        fleet.wait_for("mill", "the release stays", |device| {
            let slot = &device["slots"]["turbine"];
            (slot["active"]["version"] == version && slot["phase"] == "idle").then_some(())
        })?;
    }
    fleet.stop_agent("mill")?;
    let arrived = watch.end()?;
    let audit = audit(&frame_findings(&file)?, &["turbine"])?;
    if (audit.lost, audit.doubled, audit.unanswered) != (0, 0, 0) {
        bail!("a swap must cost nothing: {audit:?}");
    }
    print!("{}", told(&arrived)?);
    Ok(())
}

/// Readings of turbines that are well: each the same row of the reference with a little difference.
fn rows() -> anyhow::Result<String> {
    let mut text = "turbine,time,wind_speed_m_s,power_kw,pitch_deg,vane_deg,outdoor_c\n".to_owned();
    let start = OffsetDateTime::UNIX_EPOCH + Duration::from_secs(1_390_003_200);
    for reading in 0..READINGS {
        let time = start + Duration::from_secs((reading * EVERY_S) as u64);
        let time = time.format(&Rfc3339)?;
        for turbine in 0..STREAMS {
            let wind = 5.95 + ((reading + turbine) % 7) as f64 * 0.01;
            writeln!(text, "T{turbine},{time},{wind:.2},326.43,-0.99,-4.44,5.98")?;
        }
    }
    Ok(text)
}

/// A finding of a frame, and when it was there.
struct Arrived {
    at: Duration,
    /// When its last reading was due.
    due: Duration,
    key: String,
    release: String,
    stages: Duration,
}

/// Reads a file as it grows.
struct Watch {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<anyhow::Result<Vec<Arrived>>>,
}

impl Watch {
    fn start(file: &Path) -> Watch {
        let stop = Arc::new(AtomicBool::new(false));
        let (file, stopped) = (file.to_owned(), stop.clone());
        Watch { stop, thread: std::thread::spawn(move || follow(&file, &stopped)) }
    }

    /// What has arrived.
    fn end(self) -> anyhow::Result<Vec<Arrived>> {
        self.stop.store(true, Ordering::SeqCst);
        match self.thread.join() {
            Ok(arrived) => arrived,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

fn follow(file: &Path, stopped: &AtomicBool) -> anyhow::Result<Vec<Arrived>> {
    let began = Instant::now();
    let (mut arrived, mut rest, mut open) = (Vec::new(), Vec::new(), None::<File>);
    loop {
        let last_look = stopped.load(Ordering::SeqCst);
        if open.is_none() {
            open = File::open(file).ok();
        }
        if let Some(file) = &mut open {
            file.read_to_end(&mut rest)?;
        }
        let at = began.elapsed();
        let whole = rest.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let lines: Vec<u8> = rest.drain(..whole).collect();
        for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let finding: Value = serde_json::from_slice(line).context("a line is no finding")?;
            if finding["frame"].is_u64() {
                arrived.push(heard(&finding, at)?);
            }
        }
        if last_look {
            return Ok(arrived);
        }
        std::thread::sleep(Duration::from_micros(200));
    }
}

fn heard(finding: &Value, at: Duration) -> anyhow::Result<Arrived> {
    let text = |field: &str| finding[field].as_str().with_context(|| format!("no {field}"));
    let time = OffsetDateTime::parse(text("time")?, &Rfc3339)?.unix_timestamp_nanos();
    Ok(Arrived {
        at,
        due: Duration::from_secs_f64(time as f64 / 1e9 / PACE),
        key: text("key")?.to_owned(),
        release: text("release")?.to_owned(),
        stages: Duration::from_micros(finding["latency_us"].as_u64().unwrap_or_default()),
    })
}

/// What a plant noticed of one swap.
struct Gap<'a> {
    by: &'a str,
    /// When the first answer of the new release was there.
    at: Duration,
    /// How much longer each stream waited for it, in milliseconds.
    streams: BTreeMap<&'a str, f64>,
}

impl Gap<'_> {
    /// That of the stream that waited longest.
    fn longest(&self) -> f64 {
        self.streams.values().copied().fold(f64::MIN, f64::max)
    }
}

/// The figures, in milliseconds.
fn told(arrived: &[Arrived]) -> anyhow::Result<String> {
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    let delay = |frame: &Arrived| ms(frame.at) - ms(frame.due);
    let fastest = arrived.iter().min_by(|a, b| delay(a).total_cmp(&delay(b)));
    let fastest = fastest.context("nothing was answered")?;
    let took = |frame: &Arrived| delay(frame) - delay(fastest) + ms(fastest.stages);
    let mut last: BTreeMap<&str, &Arrived> = BTreeMap::new();
    let mut ordinary: Vec<&Arrived> = Vec::new();
    let mut gaps: Vec<Gap<'_>> = Vec::new();
    for frame in arrived {
        let before = last.insert(&frame.key, frame);
        let Some(before) = before.filter(|before| before.release != frame.release) else {
            ordinary.push(frame);
            continue;
        };
        let gap = delay(frame) - delay(before);
        let same = gaps
            .last_mut()
            .filter(|swap| swap.by == frame.release && !swap.streams.contains_key(&*frame.key));
        match same {
            Some(swap) => {
                swap.streams.insert(&frame.key, gap);
            }
            None => {
                let streams = BTreeMap::from([(&*frame.key, gap)]);
                gaps.push(Gap { by: &frame.release, at: frame.at, streams });
            }
        }
    }
    if gaps.len() < SWAPS {
        bail!("{} swaps were seen, {SWAPS} were asked for", gaps.len());
    }
    let [p50, p95, p99] = quantiles(ordinary.iter().map(|frame| took(frame)), [0.5, 0.95, 0.99]);
    // The next release is started, loads and is warmed up.
    let before = gaps.iter().flat_map(|gap| {
        let second = gap.at.saturating_sub(SECOND)..gap.at;
        ordinary.iter().filter(move |frame| second.contains(&frame.at))
    });
    let [before50, before95, before99] =
        quantiles(before.map(|frame| took(frame)), [0.5, 0.95, 0.99]);
    let stages = ordinary.iter().map(|frame| ms(frame.stages));
    let [_, stages95, stages99] = quantiles(stages, [0.5, 0.95, 0.99]);
    let [gap50, gap95, gap_max] = quantiles(gaps.iter().map(Gap::longest), [0.5, 0.95, 1.0]);
    // What holds all of the machine up, holds frames up as well as swaps.
    let long: Vec<&Gap<'_>> = gaps.iter().filter(|gap| gap.longest() > p99).collect();
    let as_long = |gap: &Gap<'_>| {
        let second = gap.at.saturating_sub(SECOND / 2)..gap.at + SECOND / 2;
        ordinary.iter().any(|frame| second.contains(&frame.at) && took(frame) >= gap.longest())
    };
    let beside = long.iter().filter(|gap| as_long(gap)).count();
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or_default();
    Ok(format!(
        "{} swaps, {} frames; nothing lost, nothing doubled; load of the machine {load} (all in ms)\n\
         stages of a frame              p95 {stages95:8.2}  p99 {stages99:8.2}\n\
         reading to finding, a frame    p50 {p50:8.2}  p95 {p95:8.2}  p99 {p99:8.2}\n\
         in the second before a swap    p50 {before50:8.2}  p95 {before95:8.2}  p99 {before99:8.2}\n\
         gap at a swap                  p50 {gap50:8.2}  p95 {gap95:8.2}  max {gap_max:8.2}\n\
         gap (p95) / frame (p99)        {:.2}\n\
         gaps longer than a frame's p99 {}, of these {beside} where in the same second an ordinary \
         frame took as long\n",
        gaps.len(),
        arrived.len(),
        gap95 / p99,
        long.len(),
    ))
}

fn quantiles<const N: usize>(values: impl Iterator<Item = f64>, wanted: [f64; N]) -> [f64; N] {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    wanted.map(|share| {
        let place = (values.len().saturating_sub(1) as f64 * share).round() as usize;
        values.get(place).copied().unwrap_or(f64::NAN)
    })
}
