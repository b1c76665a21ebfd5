//! `lineside model inspect`.

use super::advice::{TARGETS, advice};
use super::facts::{Facts, Tensor, Trial};
use super::probe::Shape;
use crate::bundle::size;
use crate::confined::{self, SECONDS};
use crate::output::Output;
use anyhow::{Context, bail};
use clap::Args;
use lineside_runtime::ENGINES;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub const EXAMPLES: &str = "\
Examples:
  lineside model inspect pump.onnx
  lineside model inspect speech.onnx --input one-chunk.npz    run on arrays of the right sizes
  lineside model inspect pump.onnx --json | jq .engines       {\"tract\": \"ok\", \"rten\": \"lacks ...\"}";

#[derive(Args)]
pub struct Inspect {
    /// The model, an ONNX file.
    file: PathBuf,
    /// Run it on these arrays, named as its inputs, instead of noughts (numpy.savez).
    #[arg(long, value_name = "IN.npz")]
    input: Option<PathBuf>,
    /// Sizes of an input where the file leaves some free: `--shape x=1,3,48,320`.
    #[arg(long = "shape", value_name = "INPUT=SIZES", conflicts_with = "input")]
    shapes: Vec<Shape>,
    /// How long an engine may take to load and run it, in seconds.
    #[arg(long, value_name = "N", default_value_t = SECONDS)]
    seconds: NonZeroU32,
}

impl Inspect {
    /// With these shapes and the usual bounds.
    pub fn with(file: PathBuf, shapes: Vec<Shape>) -> Inspect {
        Inspect { file, input: None, shapes, seconds: SECONDS }
    }
}

/// What each engine did with the model, or why it did not.
pub type Tried = BTreeMap<String, Result<Trial, String>>;

/// A model that was looked at.
pub struct Inspected {
    pub facts: Facts,
    pub tried: Tried,
}

impl Inspected {
    /// Reads a model, and tries it with these shapes in each engine that has its operators.
    ///
    /// # Errors
    /// What keeps it from being read.
    pub fn of(inspect: &Inspect, output: &Output) -> anyhow::Result<Inspected> {
        let name = inspect.file.display();
        let working = output.working(format!("reading {name}"));
        let facts: Facts = probe(inspect, None).with_context(|| name.to_string())?;
        let mut tried = Tried::new();
        for engine in ENGINES.iter().map(|engine| engine.name()) {
            let outcome = match facts.unfit.get(engine) {
                Some(unfit) => Err(unfit.said.clone()),
                None => {
                    working.tell(format!("running {name} in {engine}"));
                    probe(inspect, Some(engine)).map_err(|error| format!("{error:#}"))
                }
            };
            tried.insert(engine.to_owned(), outcome);
        }
        Ok(Inspected { facts, tried })
    }
}

pub fn run(inspect: &Inspect, output: &Output) -> anyhow::Result<()> {
    let name = inspect.file.display();
    let file = std::fs::metadata(&inspect.file).with_context(|| format!("cannot read {name}"))?;
    if !file.is_file() {
        bail!("{name} is no file");
    }
    let Inspected { facts, tried } = Inspected::of(inspect, output)?;
    let advice = advice(&facts, &tried);
    let json = document(&inspect.file, file.len(), &facts, &tried, &advice);
    output.print(shown(&inspect.file, file.len(), &facts, &tried, &advice), &json)
}

/// Has a process of its own look at the model, in an engine where one is named.
fn probe<T: DeserializeOwned>(inspect: &Inspect, engine: Option<&str>) -> anyhow::Result<T> {
    let word = OsString::from;
    let mut arguments = vec![word("model"), word("probe")];
    if let Some(engine) = engine {
        arguments.extend([word("--engine"), word(engine)]);
    }
    if let Some(input) = &inspect.input {
        arguments.extend([word("--input"), input.into()]);
    }
    for shape in &inspect.shapes {
        arguments.extend([word("--shape"), shape.to_string().into()]);
    }
    arguments.extend([word("--"), (&inspect.file).into()]);
    confined::run(&arguments, Duration::from_secs(u64::from(inspect.seconds.get())), None)
}

fn document(file: &Path, bytes: u64, facts: &Facts, tried: &Tried, advice: &[String]) -> Value {
    let engines: BTreeMap<&str, &str> = tried
        .iter()
        .map(|(engine, outcome)| (&**engine, outcome.as_ref().map_or_else(|why| &**why, |_| "ok")))
        .collect();
    let measured: BTreeMap<&str, &Trial> = tried
        .iter()
        .filter_map(|(engine, outcome)| Some((&**engine, outcome.as_ref().ok()?)))
        .collect();
    let targets: BTreeMap<&str, Vec<&str>> =
        TARGETS.iter().map(|target| (target.name, target.engines(tried).collect())).collect();
    json!({ "file": file, "bytes": bytes, "producer": facts.producer, "opsets": facts.opsets,
        "parameters": facts.parameters, "parameter_bytes": facts.parameter_bytes,
        "inputs": facts.inputs, "outputs": facts.outputs, "operators": facts.operators,
        "engines": engines, "measured": measured, "targets": targets, "advice": advice })
}

fn shown(file: &Path, bytes: u64, facts: &Facts, tried: &Tried, advice: &[String]) -> String {
    let mut text = format!("{}: {}", file.display(), size(bytes));
    let _ = write!(text, ", {} parameters ({})", facts.parameters, size(facts.parameter_bytes));
    for (domain, version) in &facts.opsets {
        let domain = if domain.is_empty() { "opset" } else { domain };
        let _ = write!(text, ", {domain} {version}");
    }
    if !facts.producer.is_empty() {
        let _ = write!(text, ", by {}", facts.producer);
    }
    for (heading, tensors) in [("inputs", &facts.inputs), ("outputs", &facts.outputs)] {
        let _ =
            write!(text, "\n\n{heading}{}", table(tensors.iter().map(|it| (&*it.name, it.form()))));
    }
    let operators = facts.operators.iter().map(|(operator, count)| format!("{operator} {count}"));
    let _ = write!(text, "\n\noperators\n  {}", operators.collect::<Vec<_>>().join(", "));
    let engines = tried.iter().map(|(engine, outcome)| (&**engine, told(outcome)));
    let _ = write!(text, "\n\nengines{}", table(engines));
    if !advice.is_empty() {
        let _ = write!(text, "\n\nadvice");
        for sentence in advice {
            let _ = write!(text, "\n  - {sentence}");
        }
    }
    text
}

/// Two columns.
fn table<'a>(rows: impl Iterator<Item = (&'a str, String)>) -> String {
    let rows: Vec<_> = rows.collect();
    let width = rows.iter().map(|(name, _)| name.chars().count()).max().unwrap_or_default();
    rows.iter().map(|(name, text)| format!("\n  {name:width$}  {text}")).collect()
}

fn told(outcome: &Result<Trial, String>) -> String {
    let trial = match outcome {
        Err(reason) => return format!("no: {reason}"),
        Ok(trial) => trial,
    };
    let mut text = format!("ok: loaded in {:.1} ms", trial.load_ms);
    if let Some(run) = trial.run_ms {
        let _ = write!(text, ", run in {run:.3} ms");
    }
    let shapes = trial.shapes.iter().map(|(name, shape)| format!("{name} {shape:?}"));
    let _ = write!(text, " on {}", shapes.collect::<Vec<_>>().join(", "));
    if let Some(bytes) = trial.memory_bytes {
        let _ = write!(text, ", about {} MB of memory", bytes.div_ceil(1_000_000));
    }
    if let Some(note) = &trial.note {
        let _ = write!(text, "; {note}");
    }
    text
}

impl Tensor {
    /// Whether some of its sizes are free, the first excepted: that is the batch.
    pub fn is_open(&self) -> bool {
        use super::facts::Size;
        let shape = self.shape.as_deref().unwrap_or_default();
        self.shape.is_none() || shape.iter().skip(1).any(|size| matches!(size, Size::Free(_)))
    }
}
