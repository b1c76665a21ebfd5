//! A model that answers requests: loaded for the shapes that come, of which the last are kept.

use super::apart;
use super::models::{Offer, Offered};
use crate::engine::{Declared, Dimension, Engine, EngineError, Engines, Loader, OnnxModel};
use crate::files::Files;
use crate::tensor::{Data, Tensor};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// Shapes of which it is remembered whether rows stand by themselves.
const TRIED_MAX: usize = 64;
/// Rows that are made up to try that out.
const TRIED_ROWS_MAX: usize = 16;
/// Rows that are run at once: a batch is run in pieces of these sizes, so that a model is loaded for few.
const STEPS: [usize; 4] = [64, 16, 4, 1];

/// Why a request has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum ServeError {
    /// What came is nothing that the model takes.
    #[error("{0}")]
    Input(String),
    /// The model has failed.
    #[error("{0}")]
    Model(String),
}

impl From<EngineError> for ServeError {
    fn from(error: EngineError) -> ServeError {
        match error {
            EngineError::Input(_) | EngineError::Shape { .. } | EngineError::Port(_) => {
                ServeError::Input(error.to_string())
            }
            _ => ServeError::Model(error.to_string()),
        }
    }
}

/// A model at work.
pub(super) struct Served {
    file: String,
    /// The engine that the bundle wants.
    engine: Option<String>,
    offered: Offered,
    rows_max: usize,
    /// Shapes for which it is kept loaded.
    loaded_max: usize,
    /// By the shapes of the inputs, that which was used last at the end.
    loaded: Vec<(Shapes, Box<dyn Engine>)>,
    /// Whether each row is answered as by itself, by the shapes of single rows.
    are_apart: BTreeMap<Shapes, bool>,
}

/// The shape of every input, in order.
type Shapes = Vec<Vec<usize>>;
type Answer = Result<Vec<Tensor>, ServeError>;

/// What a model is loaded with: the bundle's files, and the engines of this machine.
struct Means<'a> {
    files: &'a dyn Files,
    engines: &'a Engines,
}

impl Served {
    /// Loads the model of a stage, given with its file and the engine that it wants.
    ///
    /// # Errors
    /// [`EngineError`], where no shape that may come could help.
    pub(super) fn load(
        (stage, file, engine): (&str, &str, Option<&str>),
        onnx: &OnnxModel<'_>,
        loaders: &[&dyn Loader],
        (rows_max, loaded_max): (usize, usize),
    ) -> Result<Served, EngineError> {
        let facts = onnx.facts();
        let ports = onnx.settle(&BTreeMap::new())?;
        let loaded = onnx.load(loaders, &ports);
        let is_free = |declared: &Declared| {
            let sizes = declared.shape.as_deref();
            sizes.is_none_or(|sizes| sizes.iter().any(|it| matches!(it, Dimension::Free(_))))
        };
        let loaded = match loaded {
            Ok((_, loaded)) => Some(loaded),
            // Some take no inputs of a single row or column.
            Err(EngineError::Unloaded(_)) if facts.inputs.iter().any(is_free) => None,
            Err(error) => return Err(error),
        };
        let has_rows = has_rows(&facts.inputs, &facts.outputs);
        let mut inputs = Vec::new();
        for (declared, port) in facts.inputs.iter().zip(&ports) {
            inputs.push(Offer {
                name: declared.name.clone(),
                datatype: port.element().oip().to_owned(),
                shape: sizes(declared).unwrap_or_else(|| vec![None]),
            });
        }
        let mut outputs = Vec::new();
        for (place, declared) in facts.outputs.iter().enumerate() {
            let port = loaded.as_ref().and_then(|loaded| loaded.outputs().get(place));
            let element = port.map(|port| port.element()).or(declared.element);
            let seen = || port.map(|port| port.shape().iter().copied().map(Some).collect());
            outputs.push(Offer {
                name: declared.name.clone(),
                datatype: element.ok_or_else(|| unknown(declared))?.oip().to_owned(),
                shape: sizes(declared).or_else(seen).unwrap_or_else(|| vec![None]),
            });
        }
        let shapes = ports.iter().map(|port| port.shape().to_vec()).collect();
        Ok(Served {
            file: file.to_owned(),
            engine: engine.map(str::to_owned),
            offered: Offered { stage: stage.to_owned(), inputs, outputs, has_rows },
            rows_max,
            loaded_max,
            loaded: loaded.map(|loaded| (shapes, loaded)).into_iter().collect(),
            are_apart: BTreeMap::new(),
        })
    }

    pub(super) fn offered(&self) -> &Offered {
        &self.offered
    }

    /// Runs requests, together where that changes no answer.
    pub(super) fn run(
        &mut self,
        requests: &[Vec<Tensor>],
        files: &dyn Files,
        engines: &Engines,
    ) -> Vec<Answer> {
        let means = Means { files, engines };
        if let [first, _, ..] = requests
            && let Some(single) = self.single(first)
            && requests.iter().all(|request| self.single(request).as_ref() == Some(&single))
            && self.are_apart(&single, &means)
            && let Ok(answers) = self.run_together(requests, &means)
        {
            return answers.into_iter().map(Ok).collect();
        }
        // Where together they fail, it is one of them that does.
        requests.iter().map(|request| self.run_alone(request, &means)).collect()
    }

    fn run_alone(&mut self, request: &[Tensor], means: &Means<'_>) -> Answer {
        let rows = request.first().and_then(|input| input.shape().first()).copied();
        let Some(single) =
            self.single(request).filter(|_| !STEPS.iter().any(|it| Some(*it) == rows))
        else {
            return self.run_whole(&request.iter().collect::<Vec<_>>(), means);
        };
        if !self.are_apart(&single, means) {
            return self.run_whole(&request.iter().collect::<Vec<_>>(), means);
        }
        let answers = self.run_together(&[request], means)?;
        answers.into_iter().next().ok_or_else(|| ServeError::Model("it has no answer".to_owned()))
    }

    /// Runs inputs just as they are.
    fn run_whole(&mut self, inputs: &[&Tensor], means: &Means<'_>) -> Answer {
        let shapes: Shapes = inputs.iter().map(|input| input.shape().to_vec()).collect();
        Ok(self.loaded(shapes, means)?.run(inputs)?)
    }

    /// Runs requests one behind the other as rows, in pieces.
    fn run_together(
        &mut self,
        requests: &[impl AsRef<[Tensor]>],
        means: &Means<'_>,
    ) -> Result<Vec<Vec<Tensor>>, ServeError> {
        let counts: Vec<usize> = requests.iter().map(|it| rows(it.as_ref())).collect();
        let all: usize = counts.iter().sum();
        let inputs = self.offered.inputs.len();
        // What is there as it is wanted is not copied, here and below.
        let mut joined: Vec<Cow<'_, Tensor>> = Vec::with_capacity(inputs);
        for place in 0..inputs {
            let mut parts = requests.iter().filter_map(|request| request.as_ref().get(place));
            joined.push(match requests {
                [_] => Cow::Borrowed(parts.next().ok_or_else(odd)?),
                _ => Cow::Owned(Tensor::stacked(parts).ok_or_else(odd)?),
            });
        }
        let mut answers: Vec<Vec<Tensor>> = Vec::new();
        let mut at = 0;
        while at < all {
            let fits = |step: &usize| *step <= (all - at).min(self.rows_max.max(1));
            let step = STEPS.into_iter().find(fits).unwrap_or(1);
            let piece: Option<Vec<Cow<'_, Tensor>>> =
                joined.iter().map(|input| input.rows(at..at + step)).collect();
            let piece = piece.ok_or_else(odd)?;
            let answer =
                self.run_whole(&piece.iter().map(|it| &**it).collect::<Vec<_>>(), means)?;
            if answer.iter().any(|output| output.shape().first() != Some(&step)) {
                return Err(odd());
            }
            answers.push(answer);
            at += step;
        }
        let whole = match answers.len() {
            1 => answers.pop().unwrap_or_default(),
            _ => {
                let outputs = answers.first().map_or(0, Vec::len);
                let stacked = (0..outputs).map(|place| {
                    Tensor::stacked(answers.iter().filter_map(|answer| answer.get(place)))
                });
                stacked.collect::<Option<_>>().ok_or_else(odd)?
            }
        };
        if counts.len() == 1 {
            return Ok(vec![whole]);
        }
        let mut at = 0;
        let mut own = Vec::with_capacity(counts.len());
        for count in counts {
            let rows = |output: &Tensor| output.rows(at..at + count).map(Cow::into_owned);
            let part: Option<Vec<Tensor>> = whole.iter().map(rows).collect();
            own.push(part.ok_or_else(odd)?);
            at += count;
        }
        Ok(own)
    }

    /// The shapes of one row of a request; none where it is not made of rows.
    fn single(&self, request: &[Tensor]) -> Option<Shapes> {
        let count = rows(request);
        let is_made_of_rows = self.offered.has_rows
            && count > 0
            && request.len() == self.offered.inputs.len()
            && request.iter().all(|input| input.shape().first() == Some(&count));
        let single = |input: &Tensor| {
            let mut shape = input.shape().to_vec();
            shape[0] = 1;
            shape
        };
        is_made_of_rows.then(|| request.iter().map(single).collect())
    }

    /// Whether rows of these shapes are answered together as by themselves.
    fn are_apart(&mut self, single: &Shapes, means: &Means<'_>) -> bool {
        if let Some(known) = self.are_apart.get(single) {
            return *known;
        }
        let elements: Vec<_> = self
            .offered
            .inputs
            .iter()
            .filter_map(|input| crate::tensor::Element::from_oip(&input.datatype))
            .collect();
        // What is loaded for it is used again. Single rows show nothing, and none are run together.
        let fits = |step: &usize| *step <= self.rows_max.min(TRIED_ROWS_MAX);
        let rows = STEPS.into_iter().find(fits).unwrap_or(1);
        // Where it would have to be loaded again and again, that takes longer than it saves.
        let is_tried = rows > 1 && self.loaded_max >= STEPS.len();
        let run =
            |inputs: &[Tensor]| self.run_whole(&inputs.iter().collect::<Vec<_>>(), means).ok();
        let are_apart = is_tried && apart::are_rows_apart(&elements, single, rows, run);
        if self.are_apart.len() >= TRIED_MAX {
            self.are_apart.clear();
        }
        self.are_apart.insert(single.clone(), are_apart);
        are_apart
    }

    /// The model for inputs of these shapes.
    fn loaded(&mut self, shapes: Shapes, means: &Means<'_>) -> Result<&mut dyn Engine, ServeError> {
        match self.loaded.iter().position(|(of, _)| *of == shapes) {
            Some(place) if place + 1 == self.loaded.len() => {}
            Some(place) => {
                let used = self.loaded.remove(place);
                self.loaded.push(used);
            }
            None => {
                // First, so that there is never one more.
                let surplus = (self.loaded.len() + 1).saturating_sub(self.loaded_max);
                self.loaded.drain(..surplus);
                let loaded = self.load_for(&shapes, means)?;
                self.loaded.push((shapes, loaded));
            }
        }
        match self.loaded.last_mut() {
            Some((_, engine)) => Ok(&mut **engine),
            None => Err(odd()),
        }
    }

    fn load_for(&self, shapes: &Shapes, means: &Means<'_>) -> Result<Box<dyn Engine>, ServeError> {
        let bytes = means.files.read(&self.file);
        let bytes = bytes.map_err(|error| ServeError::Model(error.to_string()))?;
        let onnx = OnnxModel::read(&bytes)?;
        let names = self.offered.inputs.iter().map(|input| input.name.clone());
        let ports = onnx.settle(&names.zip(shapes.iter().cloned()).collect())?;
        let loaders = means.engines.of(&self.offered.stage, self.engine.as_deref())?;
        Ok(onnx.load(&loaders, &ports)?.1)
    }
}

/// How many rows a request has; none where it has no tensor with one.
fn rows(request: &[Tensor]) -> usize {
    request.first().and_then(|input| input.shape().first()).copied().unwrap_or(0)
}

fn odd() -> ServeError {
    ServeError::Model("its outputs have other shapes than rows would have".to_owned())
}

fn unknown(declared: &Declared) -> EngineError {
    EngineError::Element {
        tensor: declared.name.clone(),
        element: declared.form(),
        by: "a request",
    }
}

/// The declared shape; none where nothing is declared.
fn sizes(declared: &Declared) -> Option<Vec<Option<usize>>> {
    let size = |dimension: &Dimension| match dimension {
        Dimension::Fixed(size) => Some(*size),
        Dimension::Free(_) => None,
    };
    Some(declared.shape.as_ref()?.iter().map(size).collect())
}

/// Whether the file says that the first dimension of all inputs and outputs is one number of rows.
fn has_rows(inputs: &[Declared], outputs: &[Declared]) -> bool {
    let names: Option<Vec<&str>> = inputs
        .iter()
        .map(|input| match input.shape.as_deref() {
            Some([Dimension::Free(name), ..]) => Some(name.as_str()),
            _ => None,
        })
        .collect();
    let Some(names) = names.filter(|names| !names.is_empty()) else { return false };
    let is_one = names.iter().all(|name| *name == names[0]);
    // A size that is named like the rows would grow with them.
    let elsewhere = inputs.iter().chain(outputs).flat_map(|it| it.shape.iter().flatten().skip(1));
    let named = |dimension: &Dimension| matches!(dimension, Dimension::Free(name) if !name.is_empty() && name == names[0]);
    let gives_rows = |output: &Declared| match output.shape.as_deref() {
        Some([Dimension::Free(_), ..]) | None => true,
        Some(_) => false,
    };
    is_one && !elsewhere.into_iter().any(named) && outputs.iter().all(gives_rows)
}

impl Tensor {
    /// Tensors of one datatype behind each other, along their first dimension; none where their other
    /// dimensions differ.
    pub(super) fn stacked<'a>(mut parts: impl Iterator<Item = &'a Tensor>) -> Option<Tensor> {
        let first = parts.next()?;
        let (rows, rest) = first.shape().split_first()?;
        let (mut count, mut data) = (*rows, first.data().clone());
        for part in parts {
            let (rows, other) = part.shape().split_first()?;
            if other != rest || !data.append(part.data()) {
                return None;
            }
            count += rows;
        }
        Tensor::new([&[count], rest].concat(), data)
    }

    /// Some of its rows.
    fn rows(&self, range: std::ops::Range<usize>) -> Option<Cow<'_, Tensor>> {
        let (rows, rest) = self.shape().split_first()?;
        if range == (0..*rows) {
            return Some(Cow::Borrowed(self));
        }
        let each: usize = rest.iter().product();
        let data: Data = self.data().part(range.start * each..range.end * each)?;
        Tensor::new([&[range.len()], rest].concat(), data).map(Cow::Owned)
    }
}
