//! The tract engine: pure Rust, on every target.

#[cfg(target_arch = "x86_64")]
mod convolution;
mod habits;
mod meaning;
mod pad;
mod quantise;
mod repeat;
mod session;
mod wide;

use super::error::EngineError;
use super::guard::{Guard, Number, Watch};
use super::loader::{Engine, Loader, contained};
use super::model::OnnxModel;
use super::operator::{MICROSOFT_DOMAIN, ML_DOMAIN, Operator, Reason};
use crate::tensor::{Data, Element, Port, Tensor};
use habits::HABITS;
use session::Session;
use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::LazyLock;
use tract_onnx::pb::{ModelProto, ValueInfoProto};
use tract_onnx::prelude::{
    Datum, DatumType, Framework, InferenceFact, InferenceModelExt, IntoRunnable, OutletId, TValue,
    Tensor as TractTensor, TractError, TractResult, TypedModel, tvec,
};
use tract_onnx::tract_hir::internal::ToDim;

/// tract knows an operator by its name alone, whatever its domain. These are of the domain for
/// classical machine learning; all that are not listed here or below are ONNX's own.
const ML: [&str; 6] = [
    "ArrayFeatureExtractor",
    "CategoryMapper",
    "LinearClassifier",
    "LinearRegressor",
    "Normalizer",
    "TreeEnsembleClassifier",
];
/// These are onnxruntime's.
const MICROSOFT: [&str; 7] = [
    "BiasGelu",
    "FastGelu",
    "GatherBlockQuantized",
    "MatMulNBits",
    "QuickGelu",
    "SkipLayerNormalization",
    "SkipSimplifiedLayerNormalization",
];
/// These are in both domains.
const SHARED: [&str; 2] = ["Gelu", "RotaryEmbedding"];
/// Operators whose answers are wrong (tract 0.23.9). The classes of tree ensembles come out as positions,
/// and with two classes the wrong way round: the zoo's forest and LightGBM models show it. Linear
/// classifiers choose the label after the transform, where scores that were different are both 1, and give
/// the other of two scores as `-s`. Regressors apply a transform that others do not. Normalizer takes what
/// is less than 1e-12 for 1e-12, and the largest size for the largest number. What draws lots gives answers
/// that nothing could check.
const WRONG: [&str; 9] = [
    "LinearClassifier",
    "LinearRegressor",
    "Multinomial",
    "Normalizer",
    "RandomNormal",
    "RandomNormalLike",
    "RandomUniform",
    "RandomUniformLike",
    "TreeEnsembleClassifier",
];

static KNOWN: LazyLock<HashSet<String>> =
    LazyLock::new(|| tract_onnx::onnx().op_register.0.into_keys().collect());

/// The loader.
pub(super) struct Tract;

/// A model in tract, optimised for fixed shapes.
pub(super) struct Loaded {
    session: Session,
    inputs: Vec<Port>,
    outputs: Vec<Port>,
    guard: Guard,
    /// Where each tensor within that is looked at lies among what is given.
    places: Vec<usize>,
}

impl Loader for Tract {
    fn name(&self) -> &'static str {
        "tract"
    }

    fn objection(&self, operator: &Operator) -> Option<Reason> {
        let name = operator.name();
        let here = match operator.domain() {
            "" => !ML.contains(&name) && !MICROSOFT.contains(&name),
            ML_DOMAIN => ML.contains(&name),
            MICROSOFT_DOMAIN => MICROSOFT.contains(&name) || SHARED.contains(&name),
            _ => false,
        };
        match here && KNOWN.contains(name) {
            true if WRONG.contains(&name) => Some(Reason::Wrong),
            true => None,
            false => Some(Reason::Lacking),
        }
    }

    fn load(&self, model: &OnnxModel<'_>, inputs: &[Port]) -> Result<Box<dyn Engine>, EngineError> {
        let names: Vec<&str> =
            model.facts().outputs.iter().map(|output| output.name.as_str()).collect();
        Ok(Box::new(load(model.proto(), &names, inputs)?))
    }
}

/// Loads a model that takes `inputs`, in their order, and whose outputs have these names.
///
/// # Errors
/// [`EngineError`].
pub(super) fn load(
    model: &ModelProto,
    outputs: &[&str],
    inputs: &[Port],
) -> Result<Loaded, EngineError> {
    let loaded = contained(|| Loaded::load(model, outputs, inputs));
    loaded.unwrap_or_else(|panic| Err(EngineError::Load(panic)))
}

impl Loaded {
    fn load(model: &ModelProto, names: &[&str], inputs: &[Port]) -> Result<Loaded, EngineError> {
        let failed = |error: TractError| EngineError::Load(sentence(&error));
        if model.graph.as_ref().is_some_and(|graph| !graph.sparse_initializer.is_empty()) {
            return Err(EngineError::Sparse("tract"));
        }
        if let Some(wrong) = meaning::wrong(model, inputs) {
            return Err(EngineError::Load(format!("tract gets wrong: {wrong}")));
        }
        let guard = Guard::of(model, inputs, &HABITS)?;
        let (model, places) = with_outputs(model, names, &guard.within);
        // Quantised files and some with a symbolic batch load only when the shapes they claim for
        // intermediate values are ignored.
        let typed = optimise(&model, inputs, false)
            .or_else(|first| optimise(&model, inputs, true).map_err(|_| first))
            .map_err(failed)?;
        let mut outputs = Vec::new();
        for (name, outlet) in names.iter().zip(typed.output_outlets().map_err(failed)?) {
            outputs.push(output(name, *outlet, &typed)?);
        }
        let session = Session::new(typed.into_runnable().map_err(failed)?);
        Ok(Loaded { session, inputs: inputs.to_vec(), outputs, guard, places })
    }

    /// What it gives for data that fit its inputs.
    ///
    /// # Errors
    /// [`EngineError::Input`], [`EngineError::Run`], [`EngineError::NotFiniteWithin`],
    /// [`EngineError::Beyond`].
    pub(super) fn answers(&self, inputs: &[&Data]) -> Result<Vec<Tensor>, EngineError> {
        let run = |error: TractError| EngineError::Run(sentence(&error));
        self.guard.check(|place| inputs[place])?;
        let mut values = tvec![];
        for (port, input) in self.inputs.iter().zip(inputs) {
            values.push(given(port, input)?);
        }
        let answers = contained(|| self.session.run(values)).map_err(EngineError::Run)?;
        let answers = answers.map_err(run)?;
        for (watch, place) in self.guard.within.iter().zip(&self.places) {
            looked_at(watch, &answers[*place])?;
        }
        let ports = self.outputs.iter();
        answers.iter().zip(ports).map(|(answer, port)| taken(answer, port).map_err(run)).collect()
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
        let data: Vec<&Data> = inputs.iter().map(|input| input.data()).collect();
        self.answers(&data)
    }
}

/// The model with the tensors that are looked at among its outputs, which have these names; and where each of
/// them lies there.
fn with_outputs<'a>(
    model: &'a ModelProto,
    names: &[&str],
    watched: &[Watch],
) -> (Cow<'a, ModelProto>, Vec<usize>) {
    let mut model = Cow::Borrowed(model);
    let mut all = names.to_vec();
    let mut places = Vec::new();
    for Watch { tensor, .. } in watched {
        if let Some(place) = all.iter().position(|name| name == tensor) {
            places.push(place);
            continue;
        }
        places.push(all.len());
        all.push(tensor);
        if let Some(graph) = &mut model.to_mut().graph {
            graph.output.push(ValueInfoProto { name: tensor.clone(), ..Default::default() });
        }
    }
    (model, places)
}

fn looked_at(watch: &Watch, value: &TractTensor) -> Result<(), EngineError> {
    fn numbers<T: Datum + Number>(watch: &Watch, value: &TractTensor) -> Result<(), EngineError> {
        let view = value.to_plain_array_view::<T>();
        let view = view.map_err(|error| EngineError::Run(sentence(&error)))?;
        match view.as_slice() {
            Some(values) => watch.check(values),
            None => watch.check(&view.iter().copied().collect::<Vec<T>>()),
        }
    }
    match value.datum_type() {
        DatumType::F16 => numbers::<half::f16>(watch, value),
        DatumType::F32 => numbers::<f32>(watch, value),
        DatumType::F64 => numbers::<f64>(watch, value),
        DatumType::I64 => numbers::<i64>(watch, value),
        DatumType::U32 => numbers::<u32>(watch, value),
        DatumType::U64 => numbers::<u64>(watch, value),
        // Of the others, all are numbers and none is too large.
        _ => Ok(()),
    }
}

fn optimise(
    model: &ModelProto,
    inputs: &[Port],
    ignore_value_info: bool,
) -> TractResult<TypedModel> {
    let mut onnx = tract_onnx::onnx().with_ignore_value_info(ignore_value_info);
    wide::put_in(&mut onnx);
    let mut model = onnx.model_for_proto_model(model)?;
    for (place, port) in inputs.iter().enumerate() {
        let shape: Vec<_> = port.shape().iter().map(|size| size.to_dim()).collect();
        model.set_input_fact(place, InferenceFact::dt_shape(datum(port.element()), shape))?;
    }
    let mut model = model.into_typed()?.into_decluttered()?;
    #[cfg(target_arch = "x86_64")]
    put_in(&mut model, convolution::put_in);
    model.optimize()?;
    put_in(&mut model, pad::put_in);
    put_in(&mut model, quantise::put_in);
    put_in(&mut model, repeat::put_in);
    Ok(model)
}

/// Puts operators of our own in. Where that fails, tract runs the model with its own.
fn put_in(model: &mut TypedModel, operators: impl Fn(&mut TypedModel) -> TractResult<()>) {
    let mut ours = model.clone();
    if operators(&mut ours).is_ok() {
        *model = ours;
    }
}

/// What the optimised model gives there.
fn output(name: &str, outlet: OutletId, model: &TypedModel) -> Result<Port, EngineError> {
    let fact = model.outlet_fact(outlet).map_err(|error| EngineError::Load(sentence(&error)))?;
    let shape = fact.shape.as_concrete().ok_or_else(|| {
        EngineError::Load(format!("the shape of {name} depends on the data: {:?}", fact.shape))
    })?;
    // Integer labels come out as dimensions.
    let element = match fact.datum_type {
        DatumType::TDim => Some(Element::I64),
        found => Element::all().find(|element| datum(*element) == found),
    };
    let element = element.ok_or_else(|| EngineError::Element {
        tensor: name.to_owned(),
        element: format!("{:?}", fact.datum_type),
        by: "a pipeline",
    })?;
    Ok(Port::new(name.to_owned(), element, shape.to_vec())?)
}

fn datum(element: Element) -> DatumType {
    match element {
        Element::Bool => DatumType::Bool,
        Element::U8 => DatumType::U8,
        Element::U16 => DatumType::U16,
        Element::U32 => DatumType::U32,
        Element::U64 => DatumType::U64,
        Element::I8 => DatumType::I8,
        Element::I16 => DatumType::I16,
        Element::I32 => DatumType::I32,
        Element::I64 => DatumType::I64,
        Element::F16 => DatumType::F16,
        Element::F32 => DatumType::F32,
        Element::F64 => DatumType::F64,
        Element::Bytes => DatumType::String,
    }
}

fn given(port: &Port, data: &Data) -> Result<TValue, EngineError> {
    let shape = port.shape();
    let made = match data {
        Data::Bool(values) => TractTensor::from_shape(shape, values),
        Data::U8(values) => TractTensor::from_shape(shape, values),
        Data::U16(values) => TractTensor::from_shape(shape, values),
        Data::U32(values) => TractTensor::from_shape(shape, values),
        Data::U64(values) => TractTensor::from_shape(shape, values),
        Data::I8(values) => TractTensor::from_shape(shape, values),
        Data::I16(values) => TractTensor::from_shape(shape, values),
        Data::I32(values) => TractTensor::from_shape(shape, values),
        Data::I64(values) => TractTensor::from_shape(shape, values),
        Data::F16(values) => TractTensor::from_shape(shape, values),
        Data::F32(values) => TractTensor::from_shape(shape, values),
        Data::F64(values) => TractTensor::from_shape(shape, values),
        Data::Bytes(values) => {
            let texts: Result<Vec<String>, _> =
                values.iter().map(|bytes| String::from_utf8(bytes.clone())).collect();
            let texts = texts.map_err(|_| {
                EngineError::Input(format!("input {} is no text in UTF-8", port.name()))
            })?;
            tract_onnx::prelude::tensor1(&texts).into_shape(shape)
        }
    };
    made.map(Into::into).map_err(|error| EngineError::Run(sentence(&error)))
}

fn taken(value: &TValue, port: &Port) -> TractResult<Tensor> {
    fn plain<T: Datum>(value: &TractTensor) -> TractResult<Vec<T>> {
        Ok(value.try_as_plain_ram()?.as_slice::<T>()?.to_vec())
    }
    let data = match port.element() {
        Element::Bool => Data::Bool(plain(value)?),
        Element::U8 => Data::U8(plain(value)?),
        Element::U16 => Data::U16(plain(value)?),
        Element::U32 => Data::U32(plain(value)?),
        Element::U64 => Data::U64(plain(value)?),
        Element::I8 => Data::I8(plain(value)?),
        Element::I16 => Data::I16(plain(value)?),
        Element::I32 => Data::I32(plain(value)?),
        Element::I64 => Data::I64(plain(&*value.cast_to::<i64>()?)?),
        Element::F16 => Data::F16(plain(value)?),
        Element::F32 => Data::F32(plain(value)?),
        Element::F64 => Data::F64(plain(value)?),
        Element::Bytes => {
            Data::Bytes(plain::<String>(value)?.into_iter().map(String::into_bytes).collect())
        }
    };
    Tensor::new(value.shape().to_vec(), data)
        .filter(|tensor| tensor.shape() == port.shape())
        .ok_or_else(|| TractError::msg(format!("{} is not {}", port.name(), port.form())))
}

/// The whole chain of causes on one line.
fn sentence(error: &TractError) -> String {
    format!("{error:#}").replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operator_that_tract_is_said_to_have_is_one_it_has() {
        for name in ML.iter().chain(&MICROSOFT).chain(&SHARED) {
            assert!(KNOWN.contains(*name), "{name}");
        }
    }

    #[test]
    fn an_operator_is_known_in_its_own_domain_and_in_no_other() {
        let objection = |text: &str| Tract.objection(&Operator::parse(text));
        for known in ["Conv", "Gelu", "com.microsoft.Gelu", "ai.onnx.ml.CategoryMapper"] {
            assert_eq!(objection(known), None, "{known}");
        }
        let lacking =
            ["Normalizer", "ai.onnx.ml.Conv", "com.microsoft.Attention", "com.acme.Conv", "Loop"];
        for lacking in lacking {
            assert_eq!(objection(lacking), Some(Reason::Lacking), "{lacking}");
        }
        for wrong in WRONG {
            let domain = if ML.contains(&wrong) { "ai.onnx.ml." } else { "" };
            assert_eq!(objection(&format!("{domain}{wrong}")), Some(Reason::Wrong), "{wrong}");
        }
    }
}
