//! What `inspect` has a process of its own do: read a model, or load it into an engine and run it.

use super::arrays;
use super::facts::{Facts, Tensor as Told, Trial};
use crate::confined::{MODEL_BYTES_MAX, confine};
use crate::engines::options;
use crate::output::Output;
use anyhow::{Context, bail};
use clap::Args;
use lineside_runtime::{
    Data, Declared, Dimension, Element, Engine, EngineError, Loader, ModelFacts, OnnxModel, Tensor,
    in_engine_thread,
};
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::{Duration, Instant};

/// Longest file that is read: protocol buffers end at 2 GiB.
const FILE_BYTES_MAX: u64 = 2 << 30;
/// Sizes that free dimensions are tried with where nobody says which, the batch excepted.
const SIZES: [usize; 6] = [1, 8, 32, 64, 224, 512];
/// Runs that are timed.
const RUNS_MAX: usize = 20;
/// Longest that they take together, beyond the first.
const RUNS_TIME_MAX: Duration = Duration::from_millis(500);

#[derive(Args)]
pub struct Probe {
    /// The model.
    file: PathBuf,
    /// The engine that shall load and run it; without one it is only read.
    #[arg(long)]
    engine: Option<String>,
    /// Arrays to run it on; noughts without.
    #[arg(long)]
    input: Option<PathBuf>,
    /// The shape of an input.
    #[arg(long = "shape")]
    shapes: Vec<Shape>,
}

/// The shape that an input shall have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shape {
    pub input: String,
    pub sizes: Vec<usize>,
}

impl FromStr for Shape {
    type Err = String;

    fn from_str(text: &str) -> Result<Shape, String> {
        let refused = || format!("{text:?} is not INPUT=SIZE,SIZE,…");
        let (input, sizes) = text.rsplit_once('=').ok_or_else(refused)?;
        let sizes = sizes.split(',').map(|size| size.trim().parse::<usize>());
        let sizes: Vec<usize> = sizes.collect::<Result<_, _>>().map_err(|_| refused())?;
        match input.is_empty() || sizes.contains(&0) {
            true => Err(refused()),
            false => Ok(Shape { input: input.to_owned(), sizes }),
        }
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sizes: Vec<String> = self.sizes.iter().map(usize::to_string).collect();
        write!(f, "{}={}", self.input, sizes.join(","))
    }
}

pub fn run(probe: &Probe, output: &Output) -> anyhow::Result<()> {
    confine(MODEL_BYTES_MAX)?;
    let before = memory("VmRSS:");
    let length = std::fs::metadata(&probe.file).context("cannot be read")?.len();
    if length > FILE_BYTES_MAX {
        bail!("it has more than {} GiB", FILE_BYTES_MAX >> 30);
    }
    let bytes = std::fs::read(&probe.file).context("cannot be read")?;
    let model = OnnxModel::read(&bytes)?;
    model.check_sound()?;
    let given = probe.input.as_deref().map(arrays::read).transpose()?;
    if let Some(arrays) = &given {
        arrays::check(model.facts(), arrays)?;
    }
    let engines = options().engines;
    let Some(name) = &probe.engine else {
        return output.print("", &Facts::of(model.facts(), &engines));
    };
    let loader = engines.engine(name)?;
    let shapes = probe.shapes.iter().map(|Shape { input, sizes }| (input.clone(), sizes.clone()));
    let shapes: BTreeMap<_, _> = shapes.collect();
    let mut trial = in_engine_thread(|| tried(&model, loader, given.as_ref(), &shapes))?;
    trial.memory_bytes =
        memory("VmHWM:").zip(before).map(|(most, before)| most.saturating_sub(before));
    output.print("", &trial)
}

/// Loads and runs the model, with the first sizes of its free dimensions that work.
fn tried(
    model: &OnnxModel<'_>,
    loader: &dyn Loader,
    given: Option<&BTreeMap<String, Tensor>>,
    said: &BTreeMap<String, Vec<usize>>,
) -> anyhow::Result<Trial> {
    let facts = model.facts();
    if let Some(name) = said.keys().find(|name| !facts.inputs.iter().any(|it| it.name == **name)) {
        let inputs: Vec<&str> = facts.inputs.iter().map(|input| &*input.name).collect();
        bail!("it has no input {name}, only [{}]", inputs.join(", "));
    }
    let guesses = match given {
        Some(arrays) => {
            vec![arrays.iter().map(|(name, it)| (name.clone(), it.shape().to_vec())).collect()]
        }
        None if !said.is_empty() => vec![said.clone()],
        None => guesses(facts),
    };
    let tries = guesses.len();
    let mut first = None;
    for shapes in guesses {
        // What failed before does not count. Where the kernel does not have it, it does.
        let _ = std::fs::write("/proc/self/clear_refs", "5");
        match once(model, loader, &shapes, given) {
            Ok(trial) => return Ok(trial),
            Err(error) => first = first.or(Some(error)),
        }
    }
    let error = first.context("it has nothing to be tried with")?;
    if tries > 1 {
        let hint =
            "it runs with none of the sizes tried for what is free: say the right ones by --shape";
        return Err(error).context(hint);
    }
    Err(error)
}

fn once(
    model: &OnnxModel<'_>,
    loader: &dyn Loader,
    shapes: &BTreeMap<String, Vec<usize>>,
    given: Option<&BTreeMap<String, Tensor>>,
) -> anyhow::Result<Trial> {
    let ports = model.settle(shapes)?;
    let started = Instant::now();
    let mut engine = loader.load(model, &ports)?;
    let load_ms = milliseconds(started.elapsed());
    let tensors = ports.iter().map(|port| match given.and_then(|it| it.get(port.name())) {
        Some(tensor) => Some(tensor.clone()),
        None => Tensor::new(port.shape().to_vec(), Data::zeros(port.element(), port.len())),
    });
    let tensors: Option<Vec<Tensor>> = tensors.collect();
    let tensors = tensors.context("a port's shape has as many elements as the port")?;
    let (run, note) = match timed(&mut *engine, &tensors) {
        Ok(time) => (Some(time), None),
        // It computed, and what it was given was made up.
        Err(error) if error.is_not_finite() && given.is_none() => {
            (None, Some(format!("{error} when all inputs are nought")))
        }
        // No text at all is hardly ever one that a model knows.
        Err(error) if given.is_none() && ports.iter().any(|it| it.element() == Element::Bytes) => {
            (None, Some(format!("not run: {error}; --input gives it texts that it knows")))
        }
        Err(error) => return Err(error.into()),
    };
    Ok(Trial {
        shapes: ports.iter().map(|port| (port.name().to_owned(), port.shape().to_vec())).collect(),
        outputs: engine.outputs().iter().map(Told::settled).collect(),
        load_ms,
        run_ms: run.map(milliseconds),
        memory_bytes: None,
        note,
    })
}

/// The fastest of some runs.
fn timed(engine: &mut dyn Engine, tensors: &[Tensor]) -> Result<Duration, EngineError> {
    let inputs: Vec<&Tensor> = tensors.iter().collect();
    let begun = Instant::now();
    let mut fastest = Duration::MAX;
    for _ in 0..RUNS_MAX {
        let started = Instant::now();
        engine.run(&inputs)?;
        fastest = fastest.min(started.elapsed());
        if begun.elapsed() > RUNS_TIME_MAX {
            break;
        }
    }
    Ok(fastest)
}

fn milliseconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}

/// Shapes to try, where the file leaves some free: what is first in a shape is the batch, and 1; what
/// else is free may be anything, so some usual sizes are tried, for the first input that has any (others
/// of the same name follow), and then for all.
fn guesses(facts: &ModelFacts) -> Vec<BTreeMap<String, Vec<usize>>> {
    let shape = |input: &Declared| input.shape.clone().unwrap_or_default();
    let batches: Vec<Dimension> =
        facts.inputs.iter().filter_map(|input| shape(input).into_iter().next()).collect();
    let is_inner = |place: usize, dimension: &Dimension| match dimension {
        Dimension::Fixed(_) => false,
        Dimension::Free(name) => place > 0 && (name.is_empty() || !batches.contains(dimension)),
    };
    let open = facts.inputs.iter().filter(|input| {
        shape(input).iter().enumerate().any(|(place, dimension)| is_inner(place, dimension))
    });
    let open: Vec<&Declared> = open.collect();
    let with = |inputs: &[&Declared], size: usize| {
        let shapes = inputs.iter().map(|input| {
            let sized = shape(input).into_iter().enumerate();
            let sized = sized.map(|(place, dimension)| match dimension {
                Dimension::Fixed(fixed) => fixed,
                dimension if is_inner(place, &dimension) => size,
                Dimension::Free(_) => 1,
            });
            (input.name.clone(), sized.collect::<Vec<usize>>())
        });
        shapes.collect::<BTreeMap<_, _>>()
    };
    let Some(first) = open.get(..1) else { return vec![BTreeMap::new()] };
    let mut guesses: Vec<_> = SIZES.iter().map(|size| with(first, *size)).collect();
    if open.len() > 1 {
        guesses.extend(SIZES.iter().map(|size| with(&open, *size)));
    }
    guesses
}

/// Memory of this process in bytes, as the kernel tells it under this name.
pub fn memory(name: &str) -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guessed(inputs: &[(&str, &[&str])]) -> Vec<BTreeMap<String, Vec<usize>>> {
        let inputs = inputs.iter().map(|(name, shape)| Declared {
            name: (*name).to_owned(),
            element: Some(Element::F32),
            shape: Some(
                shape
                    .iter()
                    .map(|size| match size.parse() {
                        Ok(fixed) => Dimension::Fixed(fixed),
                        Err(_) => Dimension::Free((*size).to_owned()),
                    })
                    .collect(),
            ),
        });
        guesses(&ModelFacts {
            inputs: inputs.collect(),
            outputs: vec![],
            operators: BTreeMap::new(),
            opsets: BTreeMap::new(),
            parameters: 0,
            parameter_bytes: 0,
            producer: String::new(),
        })
    }

    #[test]
    fn a_free_batch_is_one_and_nothing_else_is_tried() {
        assert_eq!(guessed(&[("x", &["n", "30"])]), [BTreeMap::new()]);
        assert_eq!(guessed(&[("x", &["", "3"]), ("h", &["2", "1"])]), [BTreeMap::new()]);
        assert_eq!(guessed(&[]), [BTreeMap::new()]);
    }

    #[test]
    fn other_free_sizes_are_tried_where_the_batch_stays_one_wherever_it_is_named() {
        let tried = guessed(&[("x", &["batch", "steps"]), ("state", &["2", "batch", "8"])]);
        assert_eq!(tried.len(), SIZES.len());
        assert_eq!(tried[2], BTreeMap::from([("x".to_owned(), vec![1, 32])]));
        let tried = guessed(&[("x", &["", "3", "", ""]), ("h", &["", ""])]);
        assert_eq!(tried[1], BTreeMap::from([("x".to_owned(), vec![1, 3, 8, 8])]));
        let both = [("h".to_owned(), vec![1, 8]), ("x".to_owned(), vec![1, 3, 8, 8])];
        assert_eq!(tried[SIZES.len() + 1], BTreeMap::from(both));
    }

    #[test]
    fn a_shape_is_written_with_its_input() {
        let shape: Shape = "a=b=1, 3,48".parse().unwrap();
        assert_eq!((shape.input.as_str(), &shape.sizes), ("a=b", &vec![1, 3, 48]));
        assert_eq!(shape.to_string().parse(), Ok(shape));
        for none in ["x", "=1", "x=", "x=1,0", "x=1,,2", "x=-1"] {
            assert!(none.parse::<Shape>().is_err(), "{none}");
        }
    }

    #[test]
    fn the_kernel_tells_what_a_process_needs() {
        assert!(memory("VmHWM:").unwrap() >= 1 << 20);
        assert_eq!(memory("VmNothing:"), None);
    }
}
