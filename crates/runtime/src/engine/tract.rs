//! The tract engine: pure Rust, on every target.

use super::{Engine, EngineError};
use crate::tensor::{Data, Element, Port, Tensor};
use std::collections::BTreeSet;
use tract_onnx::prelude::{
    DatumType, Framework, InferenceFact, InferenceModelExt, IntoRunnable, TValue, TypedModel,
    TypedRunnableModel, tvec,
};
use tract_onnx::tract_hir::infer::Factoid;
use tract_onnx::tract_hir::internal::{DimLike, ToDim};

/// A model in tract, optimised for fixed shapes.
pub struct Tract {
    model: std::sync::Arc<TypedRunnableModel>,
    inputs: Vec<Port>,
    outputs: Vec<Port>,
}

impl Tract {
    /// Loads an ONNX model. A dimension without a size becomes 1.
    ///
    /// # Errors
    /// [`EngineError`]; operators that tract lacks are all named at once.
    pub fn load(bytes: &[u8]) -> Result<Tract, EngineError> {
        contained(|| Tract::read(bytes)).unwrap_or_else(|panic| Err(EngineError::Load(panic)))
    }

    /// What this engine is called.
    pub const NAME: &str = "tract";

    /// Those of `operators` that this engine does not have. It knows each by its name alone, whatever
    /// the domain in front of it.
    pub fn lacking<'a>(operators: impl IntoIterator<Item = &'a String>) -> Vec<&'a str> {
        let known = tract_onnx::onnx().op_register.0;
        let lacks = |operator: &&str| {
            let name = operator.rsplit('.').next().unwrap_or(operator);
            !known.contains_key(name)
        };
        operators.into_iter().map(String::as_str).filter(lacks).collect()
    }

    fn read(bytes: &[u8]) -> Result<Tract, EngineError> {
        let onnx = tract_onnx::onnx();
        let proto = onnx
            .proto_model_for_read(&mut &bytes[..])
            .map_err(|error| EngineError::Format(error.to_string()))?;
        let graph =
            proto.graph.as_ref().ok_or_else(|| EngineError::Format("it has no graph".into()))?;
        let missing: BTreeSet<String> = graph
            .node
            .iter()
            .map(|node| &node.op_type)
            .filter(|operator| !onnx.op_register.0.contains_key(*operator))
            .cloned()
            .collect();
        if !missing.is_empty() {
            return Err(EngineError::Operators(missing.into_iter().collect()));
        }
        let names: Vec<String> = graph.output.iter().map(|output| output.name.clone()).collect();
        // Quantised files and some with a symbolic batch load only when the shapes they claim for
        // intermediate values are ignored.
        let model = optimise(bytes, false)
            .or_else(|first| optimise(bytes, true).map_err(|_| first))
            .map_err(|error| EngineError::Load(sentence(&error)))?;
        let input_names = model
            .input_outlets()
            .map_err(load)?
            .iter()
            .map(|outlet| model.node(outlet.node).name.clone());
        let inputs = ports(input_names.collect(), model.input_outlets().map_err(load)?, &model)?;
        let outputs = ports(names, model.output_outlets().map_err(load)?, &model)?;
        let model = model.into_runnable().map_err(load)?;
        Ok(Tract { model, inputs, outputs })
    }
}

impl Engine for Tract {
    fn inputs(&self) -> &[Port] {
        &self.inputs
    }

    fn outputs(&self) -> &[Port] {
        &self.outputs
    }

    fn run(&mut self, inputs: &[Tensor]) -> Result<Vec<Tensor>, EngineError> {
        let run = |error: tract_onnx::prelude::TractError| EngineError::Run(sentence(&error));
        let mut values = tvec![];
        for input in inputs {
            values.push(to_tract(input).map_err(run)?);
        }
        let answers = contained(|| self.model.run(values)).map_err(EngineError::Run)?;
        let answers = answers.map_err(run)?;
        let mut outputs = Vec::with_capacity(answers.len());
        for (answer, port) in answers.iter().zip(&self.outputs) {
            let output = from_tract(answer, port.element()).map_err(run)?;
            if !output.is_finite() {
                return Err(EngineError::NotFinite(port.name().to_owned()));
            }
            outputs.push(output);
        }
        Ok(outputs)
    }
}

/// tract asserts what it expects of a model, so a malformed one can make it panic: an error like
/// any other here. It shares no state between runs that could be left half changed.
fn contained<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no reason");
        format!("the engine gave up: {}", text.replace('\n', " "))
    })
}

fn optimise(bytes: &[u8], ignore_value_info: bool) -> tract_onnx::prelude::TractResult<TypedModel> {
    let onnx = tract_onnx::onnx().with_ignore_value_info(ignore_value_info);
    let mut model = onnx.model_for_read(&mut &bytes[..])?;
    for input in 0..model.input_outlets()?.len() {
        let fact = model.input_fact(input)?.clone();
        let mut shape = tvec![];
        for dim in fact.shape.dims() {
            let size = dim.concretize().and_then(|dim| dim.to_i64().ok()).unwrap_or(1);
            shape.push(size.max(1).to_dim());
        }
        let datum = fact.datum_type.concretize().unwrap_or(DatumType::F32);
        model.set_input_fact(input, InferenceFact::dt_shape(datum, shape))?;
    }
    model.into_optimized()
}

fn ports(
    names: Vec<String>,
    outlets: &[tract_onnx::prelude::OutletId],
    model: &TypedModel,
) -> Result<Vec<Port>, EngineError> {
    let mut ports = Vec::new();
    for (name, outlet) in names.into_iter().zip(outlets) {
        let fact = model.outlet_fact(*outlet).map_err(load)?;
        let shape = fact.shape.iter().map(|dim| dim.to_usize()).collect::<Result<Vec<_>, _>>();
        let shape = shape.map_err(|_| {
            EngineError::Load(format!("the shape of {name} depends on the data: {:?}", fact.shape))
        })?;
        let element = match fact.datum_type {
            DatumType::F32 => Element::F32,
            // Integer labels come out as dimensions.
            DatumType::I64 | DatumType::TDim => Element::I64,
            DatumType::Bool => Element::Bool,
            other => {
                return Err(EngineError::Element { tensor: name, element: format!("{other:?}") });
            }
        };
        ports.push(Port::new(name, element, shape)?);
    }
    Ok(ports)
}

fn to_tract(tensor: &Tensor) -> tract_onnx::prelude::TractResult<TValue> {
    use tract_onnx::prelude::Tensor as TractTensor;
    let shape = tensor.shape();
    Ok(match tensor.data() {
        Data::F32(values) => TractTensor::from_shape(shape, values)?,
        Data::I64(values) => TractTensor::from_shape(shape, values)?,
        Data::Bool(values) => TractTensor::from_shape(shape, values)?,
    }
    .into())
}

fn from_tract(value: &TValue, element: Element) -> tract_onnx::prelude::TractResult<Tensor> {
    let shape = value.shape().to_vec();
    let data = match element {
        Element::F32 => Data::F32(value.to_plain_array_view::<f32>()?.iter().copied().collect()),
        Element::I64 => {
            let cast = value.cast_to::<i64>()?;
            Data::I64(cast.to_plain_array_view::<i64>()?.iter().copied().collect())
        }
        Element::Bool => Data::Bool(value.to_plain_array_view::<bool>()?.iter().copied().collect()),
    };
    Ok(Tensor::new(shape, data).expect("an array has as many elements as its shape says"))
}

fn load(error: tract_onnx::prelude::TractError) -> EngineError {
    EngineError::Load(sentence(&error))
}

/// The whole chain of causes on one line.
fn sentence(error: &tract_onnx::prelude::TractError) -> String {
    format!("{error:#}").replace('\n', " ")
}
