//! What the agent's way costs above a bare loop of the same engine: source, slot, worker channel, windows,
//! plugin, model, answer, telemetry. `cargo xtask bench inference`.
//!
//! Arguments: the ECG bundle as a file, and the folder of the zoo; where not all bundles are wanted, what the
//! names of those begin with that are. Workers are processes of their own, as on a device: this program once
//! more.

mod bundles;
mod line;

use bundles::Case;
use line::{Answered, Line};
use lineside_runtime::{Engines, OnnxModel, Tensor, in_engine_thread};
use std::error::Error;
use std::hint::black_box;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// Rounds of a case: the bare loop, frames one at a time, frames without a pause.
const ROUNDS: usize = 15;
/// How long each of the three takes in a round, and how many frames at least.
const TURN: Duration = Duration::from_millis(400);
const TURN_FRAMES_MIN: usize = 6;
/// Frames that follow each other without a pause, over which their time is told.
const RUN_FRAMES: usize = 8;

fn main() -> Result<()> {
    // Cargo says that this is a benchmark.
    let arguments: Vec<String> =
        std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["worker"] => Ok(lineside_agent::worker::serve::main()?),
        [ecg, zoo, ref wanted @ ..] => measure(ecg.into(), zoo.into(), wanted),
        _ => Err("usage: way ECG_BUNDLE ZOO [BUNDLE...]".into()),
    }
}

fn measure(ecg: PathBuf, zoo: PathBuf, wanted: &[&str]) -> Result<()> {
    let is_wanted =
        |name: &str| wanted.is_empty() || wanted.iter().any(|wanted| name.starts_with(wanted));
    let runtime = Runtime::new()?;
    println!(
        "| bundle | values a frame | bare engine | stages | one at a time: median | 99th percentile | above \
         the bare engine | without a pause | above the bare engine | wanted | processor time of the slot |\n\
         |---|---|---|---|---|---|---|---|---|---|---|"
    );
    let _inside = runtime.enter();
    if is_wanted("ecg") {
        row(&bundles::ecg(&ecg)?)?;
    }
    for (model, height, width) in bundles::TEXT_MODELS {
        if !is_wanted(model) {
            continue;
        }
        row(&bundles::text(&zoo, model, height, width)?)?;
    }
    Ok(())
}

/// Measures a case and prints its row.
fn row(case: &Case) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut line = Line::open(folder.path(), case)?;
    let (mut bare, mut alone, mut dense) = (Vec::new(), Vec::new(), Vec::new());
    // What only the first frames cost is not of interest.
    one_at_a_time(&mut line, Duration::ZERO, 30)?;
    let (begun, given) = (line::slot_time()?, line.frames());
    for _ in 0..ROUNDS {
        bare.extend(bare_loop(case)?);
        alone.extend(one_at_a_time(&mut line, TURN, TURN_FRAMES_MIN)?);
        dense.extend(without_a_pause(&mut line)?);
    }
    let slot_us = us(line::slot_time()?.saturating_sub(begun)) / (line.frames() - given) as f64;
    let of_engine = quantile(&mut bare, 0.5);
    // Most frames of the ECG hold no beat, and the model does not run in them.
    let above = |frames: &[Timed]| {
        let mut above: Vec<f64> =
            frames.iter().map(|frame| frame.us - frame.parts * of_engine).collect();
        quantile(&mut above, 0.5)
    };
    let of = |frames: &[Timed], at: f64| {
        quantile(&mut frames.iter().map(|frame| frame.us).collect::<Vec<_>>(), at)
    };
    let mut stages: Vec<f64> = alone.iter().map(|frame| frame.stages_us).collect();
    let share = |us: f64| match case.wanted_share {
        Some(_) => format!("{us:.1} µs, {:.1} %", us / of_engine * 100.0),
        None => format!("{us:.1} µs"),
    };
    let wanted = match case.wanted_share {
        Some(share) => format!("{:.0} %", share * 100.0),
        None => "20 µs".to_owned(),
    };
    println!(
        "| {} | {} | {of_engine:.1} µs | {:.1} µs | {:.1} µs | {:.1} µs, {:.1} times | {} | {:.1} µs | {} | \
         {wanted}; 3 times | {slot_us:.1} µs |",
        case.name,
        case.rows * case.fields,
        quantile(&mut stages, 0.5),
        of(&alone, 0.5),
        of(&alone, 0.99),
        of(&alone, 0.99) / of(&alone, 0.5),
        share(above(&alone)),
        of(&dense, 0.5),
        share(above(&dense)),
    );
    line.close()
}

/// A frame on its way, in microseconds.
struct Timed {
    us: f64,
    /// Of these, what its stages took in the worker.
    stages_us: f64,
    /// How often the model ran.
    parts: f64,
}

/// Runs of the model alone, in microseconds.
fn bare_loop(case: &Case) -> Result<Vec<f64>> {
    in_engine_thread(|| {
        let model = OnnxModel::read(&case.model)?;
        let inputs = model.settle(&case.shapes)?;
        let engines = Engines::default();
        let (_, mut engine) = model.load(&[engines.engine(bundles::ENGINE)?], &inputs)?;
        let tensors: Vec<Tensor> = inputs.iter().map(bundles::filled).collect();
        let tensors: Vec<&Tensor> = tensors.iter().collect();
        for _ in 0..3 {
            black_box(engine.run(&tensors)?);
        }
        let (mut times, begun) = (Vec::new(), Instant::now());
        while begun.elapsed() < TURN || times.len() < TURN_FRAMES_MIN {
            let started = Instant::now();
            black_box(engine.run(&tensors)?);
            times.push(us(started.elapsed()));
        }
        Ok(times)
    })
}

/// A frame's readings are given when the frame before has its answer.
fn one_at_a_time(line: &mut Line<'_>, time: Duration, frames_min: usize) -> Result<Vec<Timed>> {
    let (mut frames, begun) = (Vec::new(), Instant::now());
    while begun.elapsed() < time || frames.len() < frames_min {
        let rows = line.next_rows();
        let given = Instant::now();
        line.give(rows)?;
        let Answered { at, stages, parts } = line.answer()?;
        frames.push(Timed { us: us(at - given), stages_us: us(stages), parts });
    }
    Ok(frames)
}

/// Readings are given as fast as they are taken; the time of a frame is that of a run of them, divided.
fn without_a_pause(line: &mut Line<'_>) -> Result<Vec<Timed>> {
    let (mut frames, begun) = (Vec::new(), Instant::now());
    let mut run: Vec<Answered> = Vec::new();
    let mut waiting = 0;
    let mut last = None;
    while begun.elapsed() < TURN || frames.len() < 2 {
        while waiting < 2 * RUN_FRAMES {
            let rows = line.next_rows();
            line.give(rows)?;
            waiting += 1;
        }
        run.push(line.answer()?);
        waiting -= 1;
        if run.len() == RUN_FRAMES {
            let count = run.len() as f64;
            let mean = |of: fn(&Answered) -> f64| run.iter().map(of).sum::<f64>() / count;
            let end = run[run.len() - 1].at;
            if let Some(before) = last.replace(end) {
                frames.push(Timed {
                    us: us(end - before) / count,
                    stages_us: mean(|answered| us(answered.stages)),
                    parts: mean(|answered| answered.parts),
                });
            }
            run.clear();
        }
    }
    for _ in 0..waiting {
        line.answer()?;
    }
    Ok(frames)
}

fn us(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

fn quantile(values: &mut [f64], at: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get((values.len() as f64 * at) as usize).copied().unwrap_or(f64::NAN)
}
