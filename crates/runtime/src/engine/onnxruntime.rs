//! The onnxruntime engine: whatever ONNX has, where its shared library is installed on the machine.
//!
//! The library is native code and none of ours. It is loaded by the process that runs a model, when it
//! loads the first one, and stays there: a process can have only one.

mod library;
mod meaning;

pub use library::SharedLibrary;

use super::error::EngineError;
use super::guard::{Guard, Habits, Passing, with_outputs};
use super::loader::{Engine, Loader, contained};
use super::model::OnnxModel;
use super::operator::{Operator, Reason};
use super::shapes::{seen, sizes};
use crate::tensor::{Data, Element, Port, Tensor};
use half::f16;
use ort::environment::Environment;
use ort::logging::LogLevel;
use ort::session::{Session, SessionInputValue};
use ort::value::{
    DynValue, PrimitiveTensorElementType, Tensor as Texts, TensorElementType, TensorRef, ValueType,
};
use serde::{Deserialize, Serialize};
use std::borrow::{Borrow, Cow};
use std::collections::BTreeMap;
use std::fmt::Debug;

/// The operators that onnxruntime 1.32 has for processors, as they are told. Those that draw lots are
/// left out, for nothing could check their answers, and those that make or take maps. The library does
/// not tell, so a test compares them with it.
const OPERATORS: &str = include_str!("onnxruntime/operators.txt");

/// These lose one NaN among many numbers.
const HABITS: Habits = Habits {
    engine: "onnxruntime",
    passing: Passing::AllBut(&[
        "ArgMax",
        "ArgMin",
        "GlobalMaxPool",
        "Hardmax",
        "MaxPool",
        "ReduceMax",
        "ReduceMin",
    ]),
    powers: false,
    narrow: false,
    widens: false,
};

/// The library of onnxruntime, as far as there is one: the engine that it makes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Onnxruntime {
    /// There is none.
    #[default]
    Absent,
    /// It cannot be used, and why.
    Unusable(String),
    /// It lies there.
    At(SharedLibrary),
}

/// A model in onnxruntime.
struct Loaded {
    session: Session,
    inputs: Vec<Port>,
    outputs: Vec<Port>,
    guard: Guard,
    /// Where each tensor within that is looked at lies among what is given.
    places: Vec<usize>,
}

impl Loader for Onnxruntime {
    fn name(&self) -> &'static str {
        "onnxruntime"
    }

    fn absence(&self) -> Option<String> {
        match self {
            Onnxruntime::Absent => Some("is not installed here".to_owned()),
            Onnxruntime::Unusable(why) => Some(format!("cannot be used here: {why}")),
            Onnxruntime::At(_) => None,
        }
    }

    fn objection(&self, operator: &Operator) -> Option<Reason> {
        let told = operator.to_string();
        let here = OPERATORS.lines().any(|line| line == told);
        (!here).then_some(Reason::Lacking)
    }

    fn load(&self, model: &OnnxModel<'_>, inputs: &[Port]) -> Result<Box<dyn Engine>, EngineError> {
        let Onnxruntime::At(library) = self else {
            let why = self.absence().unwrap_or_default();
            return Err(EngineError::Load(format!("onnxruntime {why}")));
        };
        let environment = library.environment()?;
        let loaded = contained(|| Loaded::load(&environment, model, inputs));
        let loaded = loaded.unwrap_or_else(|panic| Err(EngineError::Load(panic)))?;
        Ok(Box::new(loaded))
    }
}

impl Loaded {
    fn load(
        environment: &Environment,
        model: &OnnxModel<'_>,
        inputs: &[Port],
    ) -> Result<Loaded, EngineError> {
        if let Some(wrong) = meaning::wrong(model.proto()) {
            return Err(EngineError::Load(format!("onnxruntime gets {wrong} wrong")));
        }
        let facts = model.facts();
        let elements = facts.outputs.iter().map(|output| {
            output.element.ok_or_else(|| EngineError::Element {
                tensor: output.name.clone(),
                element: output.form(),
                by: "a pipeline",
            })
        });
        let elements = elements.collect::<Result<Vec<Element>, _>>()?;
        let sizes = sizes(&facts.inputs, inputs);
        let failed = |error: ort::Error| EngineError::Load(sentence(&error));
        let guard = Guard::of(model.proto(), inputs, &HABITS)?;
        let mut names: Vec<&str> = facts.outputs.iter().map(|output| &*output.name).collect();
        let mut places = Vec::new();
        for watch in &guard.within {
            let place = names.iter().position(|name| *name == watch.tensor);
            places.push(place.unwrap_or(names.len()));
            names.extend(place.is_none().then_some(&*watch.tensor));
        }
        let more = &names[facts.outputs.len()..];
        let bytes = match more.is_empty() {
            true => Cow::Borrowed(model.bytes()),
            false => with_outputs(model.bytes(), more)
                .map(Cow::Owned)
                .ok_or_else(|| EngineError::Load("it has several graphs".to_owned()))?,
        };
        let session = |products| session(environment, &bytes, &sizes, products);
        let session = match are_cut() {
            // Not every kernel has its precise form.
            true => session(Products::Precise).or_else(|_| session(Products::Fast)),
            false => session(Products::Fast),
        };
        let session = session.map_err(failed)?;
        let taken = session.inputs().iter().map(|input| input.name());
        if !taken.eq(inputs.iter().map(Port::name)) {
            return Err(EngineError::Load("it takes other inputs than it declares".to_owned()));
        }
        let (inputs, outputs) = (inputs.to_vec(), vec![]);
        let mut loaded = Loaded { session, inputs, outputs, guard, places };
        let declared = &facts.outputs;
        let shapes = seen(&loaded.inputs.clone(), declared, |zeros| {
            let answers = loaded.answers(zeros)?;
            let answers = answers.iter().take(declared.len());
            Ok(answers.map(|answer| answer.shape().to_vec()).collect())
        })?;
        for ((declared, element), shape) in facts.outputs.iter().zip(elements).zip(shapes) {
            loaded.outputs.push(Port::new(declared.name.clone(), element, shape)?);
        }
        Ok(loaded)
    }

    fn answers<T: Borrow<Tensor>>(&mut self, tensors: &[T]) -> Result<Vec<Tensor>, EngineError> {
        let mut values = Vec::with_capacity(tensors.len());
        for (port, tensor) in self.inputs.iter().zip(tensors) {
            let value = passed(port, tensor.borrow()).map_err(|problem| {
                EngineError::Input(format!("input {}: {problem}", port.name()))
            })?;
            values.push(value);
        }
        let run = || {
            let answers = self.session.run(values.as_slice()).map_err(|error| sentence(&error))?;
            answers.values().map(|answer| taken(&answer)).collect::<Result<Vec<Tensor>, String>>()
        };
        contained(run).and_then(|answers| answers).map_err(EngineError::Run)
    }
}

impl Engine for Loaded {
    fn inputs(&self) -> &[Port] {
        &self.inputs
    }

    fn outputs(&self) -> &[Port] {
        &self.outputs
    }

    fn compute(&mut self, inputs: &[&Tensor]) -> Result<Vec<Tensor>, EngineError> {
        self.guard.check(|place| inputs[place].data())?;
        let mut answers = self.answers(inputs)?;
        for (watch, place) in self.guard.within.iter().zip(&self.places) {
            let seen = answers.get(*place);
            seen.map_or(Ok(()), |answer| watch.check_data(answer.data()))?;
        }
        answers.truncate(self.outputs.len());
        Ok(answers)
    }
}

/// How 8-bit numbers are multiplied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Products {
    /// Their sums fit.
    Precise,
    /// As fast as the processor can.
    Fast,
}

/// Whether fast sums of large products are cut to 16 bits on this processor, as on x86 without VNNI.
/// Where nothing but these is to be had, the checks of a bundle have to tell.
fn are_cut() -> bool {
    #[cfg(target_arch = "x86_64")]
    return !is_x86_feature_detected!("avx512vnni") && !is_x86_feature_detected!("avxvnni");
    #[cfg(not(target_arch = "x86_64"))]
    return false;
}

/// A session with one thread: a model has the processor that its worker has. It keeps no memory beyond
/// what its model needs, for the worker's limit is the bundle's.
fn session(
    environment: &Environment,
    model: &[u8],
    sizes: &BTreeMap<&str, usize>,
    products: Products,
) -> ort::Result<Session> {
    let mut builder = Session::builder(environment)?
        .with_log_level(LogLevel::Fatal)?
        .with_intra_threads(1)?
        .with_intra_op_spinning(false)?
        .with_execution_providers([ort::ep::CPU::default().with_arena_allocator(false).build()])?;
    if products == Products::Precise {
        builder = builder.with_precise_qmm()?;
    }
    for (name, size) in sizes {
        builder =
            builder.with_dimension_override(name, i64::try_from(*size).unwrap_or(i64::MAX))?;
    }
    builder.commit_from_memory(model)
}

/// The tensor where it lies, but for texts, which are kept there in another way.
fn passed<'a>(port: &'a Port, tensor: &'a Tensor) -> Result<SessionInputValue<'a>, String> {
    fn view<'a, T>(port: &'a Port, values: &'a [T]) -> Result<SessionInputValue<'a>, String>
    where
        T: PrimitiveTensorElementType + Debug + Clone + 'static,
    {
        let view = TensorRef::from_array_view((port.shape(), values));
        view.map(Into::into).map_err(|error| sentence(&error))
    }
    match tensor.data() {
        Data::Bool(values) => view(port, values),
        Data::U8(values) => view(port, values),
        Data::U16(values) => view(port, values),
        Data::U32(values) => view(port, values),
        Data::U64(values) => view(port, values),
        Data::I8(values) => view(port, values),
        Data::I16(values) => view(port, values),
        Data::I32(values) => view(port, values),
        Data::I64(values) => view(port, values),
        Data::F16(values) => view(port, values),
        Data::F32(values) => view(port, values),
        Data::F64(values) => view(port, values),
        Data::Bytes(values) => {
            let texts = values.iter().map(|bytes| String::from_utf8(bytes.clone()));
            let texts = texts.collect::<Result<Vec<String>, _>>();
            let texts = texts.map_err(|_| "it is no text in UTF-8".to_owned())?;
            // They end at the first NUL there.
            let texts = Texts::from_string_array((port.shape(), texts.as_slice()));
            texts.map(Into::into).map_err(|error| sentence(&error))
        }
    }
}

/// The answer as a tensor.
fn taken(answer: &DynValue) -> Result<Tensor, String> {
    fn plain<T>(answer: &DynValue) -> Result<Vec<T>, String>
    where
        T: PrimitiveTensorElementType + Clone,
    {
        let (_, values) = answer.try_extract_tensor::<T>().map_err(|error| sentence(&error))?;
        Ok(values.to_vec())
    }
    let ValueType::Tensor { ty, shape, .. } = answer.dtype() else {
        return Err(format!("an answer is no tensor but {}", answer.dtype()));
    };
    let data = match ty {
        TensorElementType::Bool => Data::Bool(plain(answer)?),
        TensorElementType::Uint8 => Data::U8(plain(answer)?),
        TensorElementType::Uint16 => Data::U16(plain(answer)?),
        TensorElementType::Uint32 => Data::U32(plain(answer)?),
        TensorElementType::Uint64 => Data::U64(plain(answer)?),
        TensorElementType::Int8 => Data::I8(plain(answer)?),
        TensorElementType::Int16 => Data::I16(plain(answer)?),
        TensorElementType::Int32 => Data::I32(plain(answer)?),
        TensorElementType::Int64 => Data::I64(plain(answer)?),
        TensorElementType::Float16 => Data::F16(plain::<f16>(answer)?),
        TensorElementType::Float32 => Data::F32(plain(answer)?),
        TensorElementType::Float64 => Data::F64(plain(answer)?),
        TensorElementType::String => {
            let (_, texts) = answer.try_extract_strings().map_err(|error| sentence(&error))?;
            Data::Bytes(texts.into_iter().map(String::into_bytes).collect())
        }
        other => return Err(format!("an answer is {other}, which a pipeline does not take")),
    };
    let sizes = shape.iter().map(|size| usize::try_from(*size));
    let sizes = sizes.collect::<Result<Vec<usize>, _>>().ok();
    let tensor = sizes.and_then(|sizes| Tensor::new(sizes, data));
    tensor.ok_or_else(|| format!("an answer is not of its shape {shape:?}"))
}

/// The whole error on one line.
fn sentence(error: &dyn std::fmt::Display) -> String {
    error.to_string().replace('\n', " ")
}
