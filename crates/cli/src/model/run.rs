//! `lineside model run`.

use super::arrays;
use crate::confined::SECONDS;
use crate::engines::options;
use crate::output::Output;
use crate::watch::Watch;
use anyhow::{Context, bail};
use clap::Args;
use lineside_runtime::{
    Engine, EngineError, Loader, OnnxModel, Port, Tensor, fit, in_engine_thread,
};
use serde_json::json;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::{Duration, Instant};

pub const EXAMPLES: &str = "\
Examples:
  python -c 'import numpy; numpy.savez(\"in.npz\", window=numpy.zeros((1, 32, 8), \"float32\"))'
  lineside model run pump.onnx --input in.npz -o out.npz
  lineside model run pump.onnx --input in.npz -o out.npz --engine rten --repeat 1000";

#[derive(Args)]
pub struct Run {
    /// The model, an ONNX file.
    file: PathBuf,
    /// Arrays named as the model's inputs (numpy.savez).
    #[arg(long, value_name = "IN.npz")]
    input: PathBuf,
    /// Where to put what comes out, named as the model's outputs.
    #[arg(short, long, value_name = "OUT.npz")]
    output: PathBuf,
    /// The engine that has to run it; else the first that does.
    #[arg(long)]
    engine: Option<String>,
    /// Run it so many times, and tell how long that takes.
    #[arg(long, value_name = "N", default_value = "1")]
    repeat: NonZeroU32,
    /// How long it may take to load, or to run once, in seconds.
    #[arg(long, value_name = "N", default_value_t = SECONDS)]
    seconds: NonZeroU32,
}

/// What a run came to.
struct Done {
    engine: &'static str,
    load: Duration,
    outputs: Vec<(String, Tensor)>,
    /// How long each run took, the shortest first.
    times: Vec<Duration>,
    /// Engines that come first and did not, with the reason.
    passed_over: Vec<(&'static str, String)>,
}

pub fn run(run: &Run, output: &Output) -> anyhow::Result<()> {
    let name = run.file.display();
    let bytes = std::fs::read(&run.file).with_context(|| format!("cannot read {name}"))?;
    let model = OnnxModel::read(&bytes).with_context(|| name.to_string())?;
    model.check_sound().with_context(|| name.to_string())?;
    let arrays = arrays::read(&run.input)?;
    let fits = arrays::check(model.facts(), &arrays);
    fits.with_context(|| run.input.display().to_string())?;
    let here = options().engines;
    let engines = match &run.engine {
        Some(engine) => vec![here.engine(engine)?],
        None => here.all(),
    };
    let done = {
        let _working = output.working(format!("running {name}"));
        let watch = Watch::over_answers(&name.to_string(), run.seconds, output);
        in_engine_thread(|| first(&model, &engines, &arrays, run, &watch))
            .with_context(|| name.to_string())?
    };
    arrays::write(&run.output, &done.outputs)?;
    let json = json!({ "file": run.output, "engine": done.engine,
        "load_ms": milliseconds(done.load), "runs": done.times.len(),
        "min_ms": milliseconds(done.at(0)), "p50_ms": milliseconds(done.at(50)),
        "p95_ms": milliseconds(done.at(95)), "max_ms": milliseconds(done.at(100)),
        "passed_over": done.passed_over.iter().cloned().collect::<BTreeMap<_, _>>() });
    output.print(shown(run, &done), &json)
}

/// Runs the model in the first of the engines that loads and runs it on these arrays.
fn first(
    model: &OnnxModel<'_>,
    engines: &[&dyn Loader],
    arrays: &BTreeMap<String, Tensor>,
    run: &Run,
    watch: &Watch,
) -> anyhow::Result<Done> {
    let shapes = arrays.iter().map(|(name, it)| (name.clone(), it.shape().to_vec())).collect();
    let ports = model.settle(&shapes)?;
    let inputs: Option<Vec<&Tensor>> = ports.iter().map(|port| arrays.get(port.name())).collect();
    let inputs = inputs.context("an input has no array")?;
    // Where operators are lacking, the cures are told once for all engines.
    let fitting = fit(engines, model.facts().operators.keys());
    let fitting = fitting.map_err(EngineError::Refused)?;
    let mut passed_over = Vec::new();
    for loader in fitting {
        watch.step(format!("running {} in {}", run.file.display(), loader.name()));
        match timed(model, loader, &ports, &inputs, run.repeat, watch) {
            Ok((load, outputs, times)) => {
                let engine = loader.name();
                let names = model.facts().outputs.iter().map(|output| output.name.clone());
                let outputs = names.zip(outputs).collect();
                return Ok(Done { engine, load, outputs, times, passed_over });
            }
            Err(error) => passed_over.push((loader.name(), error.to_string())),
        }
    }
    let said = passed_over.iter().map(|(engine, why)| format!("{engine}: {why}"));
    bail!("no engine here runs it: {}", said.collect::<Vec<_>>().join("; "))
}

/// How long loading took, what came out, and how long each run took, sorted.
type Timed = (Duration, Vec<Tensor>, Vec<Duration>);

fn timed(
    model: &OnnxModel<'_>,
    loader: &dyn Loader,
    ports: &[Port],
    inputs: &[&Tensor],
    repeat: NonZeroU32,
    watch: &Watch,
) -> Result<Timed, EngineError> {
    let started = Instant::now();
    let mut engine: Box<dyn Engine> = loader.load(model, ports)?;
    let load = started.elapsed();
    let mut outputs = Vec::new();
    let mut times = Vec::new();
    for _ in 0..repeat.get() {
        watch.again();
        let started = Instant::now();
        outputs = engine.run(inputs)?;
        times.push(started.elapsed());
    }
    times.sort_unstable();
    Ok((load, outputs, times))
}

impl Done {
    /// The time that so many of a hundred runs kept within.
    fn at(&self, percent: usize) -> Duration {
        let rank = (self.times.len() * percent).div_ceil(100).max(1);
        self.times.get(rank - 1).copied().unwrap_or_default()
    }
}

fn milliseconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}

fn shown(run: &Run, done: &Done) -> String {
    let ms = |time| format!("{:.3} ms", milliseconds(time));
    let mut text = format!("{}: run in {}", run.file.display(), done.engine);
    let _ = match done.times.len() {
        1 => write!(text, ", {}", ms(done.at(100))),
        runs => write!(
            text,
            ", {runs} times: half within {}, 95 of 100 within {}, the longest {}, the shortest {}",
            ms(done.at(50)),
            ms(done.at(95)),
            ms(done.at(100)),
            ms(done.at(0))
        ),
    };
    let _ = write!(text, "; loaded in {}", ms(done.load));
    for (engine, why) in &done.passed_over {
        let _ = write!(text, "\n{engine} does not: {why}");
    }
    let _ = write!(text, "\n{}", run.output.display());
    for (name, tensor) in &done.outputs {
        let _ = write!(text, "\n  {name}  {} {:?}", tensor.element(), tensor.shape());
    }
    text
}
