//! The rten engine: branches and loops, shapes that depend on the data within, a third of the memory.
//!
//! It computes whole numbers in 32 bits, and doubles not at all. Inputs, answers and constants that do not
//! fit are refused, never cut; what a model itself makes of smaller numbers is not seen.

mod habits;
mod meaning;
pub(super) mod pool;

use super::error::EngineError;
use super::guard::{Guard, Watch, with_outputs};
use super::loader::{Engine, Loader, contained};
use super::model::{Declared, OnnxModel};
use super::operator::{MICROSOFT_DOMAIN, Operator, Reason};
use super::shapes::{seen, zeros};
use crate::tensor::{Data, Element, Port, Tensor};
use habits::HABITS;
use half::f16;
use meaning::Meaning;
use pool::pool;
use rten::{Model, ModelOptions, NodeId, RunOptions, Value, ValueOrView, ValueView};
use rten_tensor::prelude::*;
use std::borrow::Borrow;

/// ONNX's own operators that rten 0.27 has. It does not tell, so a test compares them with it.
const OWN: &str = "\
    Abs Acos Acosh Add And ArgMax ArgMin Asin Asinh Atan Atanh Attention AveragePool \
    BatchNormalization BitCast Cast CastLike Ceil Clip Concat ConcatFromSequence \
    Constant ConstantOfShape Conv ConvInteger ConvTranspose Cos Cosh CumSum DFT \
    DepthToSpace DequantizeLinear Div DynamicQuantizeLinear Einsum Elu Equal Erf Exp \
    Expand EyeLike Flatten Floor GRU Gather GatherElements GatherND Gelu Gemm \
    GlobalAveragePool GlobalMaxPool Greater GreaterOrEqual GridSample HardSigmoid \
    HardSwish Identity If InstanceNormalization IsInf IsNaN LSTM LayerNormalization \
    LeakyRelu Less LessOrEqual Log LogSoftmax Loop LpNormalization MatMul MatMulInteger \
    Max MaxPool Mean Min Mod Mul Neg NonMaxSuppression NonZero Not OneHot Or PRelu Pad \
    Pow QuantizeLinear RMSNormalization Range Reciprocal ReduceL1 ReduceL2 ReduceLogSum \
    ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare \
    Relu Reshape Resize ReverseSequence RotaryEmbedding Round STFT Scatter \
    ScatterElements ScatterND SequenceAt SequenceConstruct SequenceEmpty SequenceErase \
    SequenceInsert SequenceLength Shape Sigmoid Sign SimplifiedLayerNormalization Sin \
    Sinh Size Slice Softmax Softplus Softsign Split SplitToSequence Sqrt Squeeze Sub Sum \
    Swish Tan Tanh Tile TopK Transpose Trilu Unsqueeze Upsample Where Xor";
/// Those of onnxruntime.
const MICROSOFT: &str = "\
    BiasGelu DynamicQuantizeLSTM FastGelu Gelu GroupQueryAttention MatMulNBits \
    MultiHeadAttention QuickGelu RotaryEmbedding SkipLayerNormalization \
    SkipSimplifiedLayerNormalization";

/// Operators whose answers are wrong (rten 0.27). Of numbers that are equal and the largest, ArgMax gives the
/// place of the last, and so does ArgMin of the smallest; NonMaxSuppression takes each box for one of its best
/// class alone, and compares it with boxes of other classes and pictures; and the sign of nought is 1.
const WRONG: [&str; 4] = ["ArgMax", "ArgMin", "NonMaxSuppression", "Sign"];

/// The loader.
pub(super) struct Rten;

/// A model in rten.
struct Loaded {
    model: Model,
    inputs: Vec<(NodeId, Port)>,
    outputs: Vec<NodeId>,
    /// These, and what is looked at.
    wanted: Vec<NodeId>,
    /// Where each tensor within that is looked at lies among them.
    places: Vec<usize>,
    /// As in `inputs`.
    input_ports: Vec<Port>,
    output_ports: Vec<Port>,
    guard: Guard,
}

impl Loader for Rten {
    fn name(&self) -> &'static str {
        "rten"
    }

    fn objection(&self, operator: &Operator) -> Option<Reason> {
        let known = match operator.domain() {
            "" => OWN,
            MICROSOFT_DOMAIN => MICROSOFT,
            _ => "",
        };
        match known.split(' ').any(|name| name == operator.name()) {
            true if operator.domain().is_empty() && WRONG.contains(&operator.name()) => {
                Some(Reason::Wrong)
            }
            true => None,
            false => Some(Reason::Lacking),
        }
    }

    fn load(&self, model: &OnnxModel<'_>, inputs: &[Port]) -> Result<Box<dyn Engine>, EngineError> {
        let loaded = contained(|| Loaded::load(model, inputs));
        let loaded = loaded.unwrap_or_else(|panic| Err(EngineError::Load(panic)))?;
        Ok(Box::new(loaded))
    }
}

impl Loaded {
    fn load(file: &OnnxModel<'_>, inputs: &[Port]) -> Result<Loaded, EngineError> {
        let failed = |error: &dyn std::fmt::Display| EngineError::Load(sentence(error));
        if file.proto().graph.as_ref().is_some_and(|graph| !graph.sparse_initializer.is_empty()) {
            return Err(EngineError::Sparse("rten"));
        }
        let facts = file.facts();
        let ports = inputs.iter().map(|port| (port.name(), Some(port.element())));
        let given = facts.outputs.iter().map(|output| (output.name.as_str(), output.element));
        for (name, element) in ports.chain(given) {
            computed(name, element)?;
        }
        let opset = facts.opsets.get("").copied().unwrap_or(1);
        let Meaning { wrong, last } = Meaning::of(file.proto(), opset);
        if !wrong.is_empty() {
            let wrong: Vec<String> = wrong.into_iter().collect();
            return Err(EngineError::Load(format!("rten gets {} wrong", wrong.join(", "))));
        }
        let guard = Guard::of(file.proto(), inputs, &HABITS)?;
        // Only what a file gives is sure to be there when all is optimised.
        let given = |name: &str| facts.outputs.iter().any(|output| output.name == name);
        let more = guard.within.iter().map(|watch| watch.tensor.as_str());
        let more: Vec<&str> = more.filter(|name| !given(name)).collect();
        let bytes = match more.is_empty() {
            true => file.bytes().to_vec(),
            false => with_outputs(file.bytes(), &more)
                .ok_or_else(|| EngineError::Load("it has several graphs".into()))?,
        };
        let model = ModelOptions::with_all_ops().load(bytes);
        let model = model.map_err(|error| failed(&error))?;
        let id = |name: &str| model.node_id(name).map_err(|error| failed(&error));
        let outputs: Vec<NodeId> =
            facts.outputs.iter().map(|output| id(&output.name)).collect::<Result<_, _>>()?;
        let mut wanted = outputs.clone();
        let mut places = Vec::new();
        for Watch { tensor, .. } in &guard.within {
            let id = id(tensor)?;
            let place = wanted.iter().position(|wanted| *wanted == id);
            places.push(place.unwrap_or(wanted.len()));
            wanted.extend(place.is_none().then_some(id));
        }
        let inputs = inputs.iter().map(|port| Ok((id(port.name())?, port.clone())));
        let inputs: Vec<(NodeId, Port)> = inputs.collect::<Result<_, EngineError>>()?;
        let input_ports = inputs.iter().map(|(_, port)| port.clone()).collect();
        let output_ports = vec![];
        let mut loaded =
            Loaded { model, inputs, outputs, wanted, places, input_ports, output_ports, guard };
        loaded.output_ports = loaded.settle(&facts.outputs)?;
        loaded.check_last(&last)?;
        Ok(loaded)
    }

    /// Checks, in a run on zeros, that these tensors have no dimension behind the one that is said.
    fn check_last(&self, tensors: &[(String, i64)]) -> Result<(), EngineError> {
        if tensors.is_empty() {
            return Ok(());
        }
        let wrong = || EngineError::Load("rten gets Softmax of earlier versions wrong".into());
        let ids = tensors.iter().map(|(name, _)| self.model.node_id(name).map_err(|_| wrong()));
        let ids = ids.collect::<Result<Vec<_>, _>>()?;
        let shapes = self.answers(&ids, &zeros(&self.input_ports)).map_err(|_| wrong())?;
        for ((_, axis), value) in tensors.iter().zip(shapes) {
            let (shape, axis) = (value.shape().to_vec(), *axis);
            let rank = shape.len() as i64;
            let place = if axis < 0 { axis + rank } else { axis };
            let behind = usize::try_from(place).ok().and_then(|place| shape.get(place + 1..));
            if behind.is_none_or(|behind| behind.iter().any(|size| *size != 1)) {
                return Err(wrong());
            }
        }
        Ok(())
    }

    /// What the model gives.
    fn settle(&self, declared: &[Declared]) -> Result<Vec<Port>, EngineError> {
        let shapes = seen(&self.input_ports, declared, |zeros| {
            let answers = self.answers(&self.outputs, zeros)?;
            Ok(answers.iter().map(|answer| answer.shape().to_vec()).collect())
        })?;
        let port = |(declared, shape): (&Declared, Vec<usize>)| {
            let element = computed(&declared.name, declared.element)?;
            Ok(Port::new(declared.name.clone(), element, shape)?)
        };
        declared.iter().zip(shapes).map(port).collect()
    }

    fn answers<T: Borrow<Tensor>>(
        &self,
        wanted: &[NodeId],
        tensors: &[T],
    ) -> Result<Vec<Value>, EngineError> {
        let mut values = Vec::with_capacity(tensors.len());
        for ((id, port), tensor) in self.inputs.iter().zip(tensors) {
            values.push((*id, given(port, tensor.borrow())?));
        }
        let options = RunOptions::default().with_thread_pool(Some(pool()));
        contained(|| self.model.run(values, wanted, Some(options)))
            .map_err(EngineError::Run)?
            .map_err(|error| EngineError::Run(sentence(&error)))
    }
}

impl Engine for Loaded {
    fn inputs(&self) -> &[Port] {
        &self.input_ports
    }

    fn outputs(&self) -> &[Port] {
        &self.output_ports
    }

    fn compute(&mut self, inputs: &[&Tensor]) -> Result<Vec<Tensor>, EngineError> {
        self.guard.check(|place| inputs[place].data())?;
        let answers = self.answers(&self.wanted, inputs)?;
        for (watch, place) in self.guard.within.iter().zip(&self.places) {
            looked_at(watch, &answers[*place])?;
        }
        let answers = answers.into_iter().zip(&self.output_ports);
        let taken = answers.map(|(answer, port)| {
            let problem = || EngineError::Run(format!("{} is not {}", port.name(), port.form()));
            taken(answer, port).ok_or_else(problem)
        });
        taken.collect()
    }
}

fn looked_at(watch: &Watch, value: &Value) -> Result<(), EngineError> {
    // Of the others, all are numbers and none is too large.
    let Value::FloatTensor(values) = value else { return Ok(()) };
    match values.data() {
        Some(values) => watch.check(values),
        None => watch.check(&values.iter().copied().collect::<Vec<f32>>()),
    }
}

/// The element if rten computes in it, or in one that holds all its values.
///
/// What it is given in 64-bit floating point it would compute in 32 bits. Whole numbers of 64 bits are
/// indices and labels, of which each is looked at.
fn computed(tensor: &str, element: Option<Element>) -> Result<Element, EngineError> {
    use Element::{Bool, F16, F32, I8, I32, I64, U8};
    match element {
        Some(element @ (Bool | F16 | F32 | I8 | I32 | I64 | U8)) => Ok(element),
        _ => Err(EngineError::Element {
            tensor: tensor.to_owned(),
            element: element.map_or("no tensor".to_owned(), |element| element.to_string()),
            by: "rten",
        }),
    }
}

fn given<'a>(port: &'a Port, tensor: &'a Tensor) -> Result<ValueOrView<'a>, EngineError> {
    fn view<'a, T>(port: &'a Port, values: &'a [T]) -> Result<ValueOrView<'a>, EngineError>
    where
        ValueView<'a>: From<rten_tensor::TensorView<'a, T>>,
    {
        let view = ValueView::from_shape(port.shape(), values);
        view.map(Into::into).map_err(|error| EngineError::Input(sentence(&error)))
    }
    fn value<T>(port: &Port, values: Vec<T>) -> Result<ValueOrView<'static>, EngineError>
    where
        Value: From<rten_tensor::Tensor<T>>,
    {
        let value = Value::from_shape(port.shape(), values);
        value.map(Into::into).map_err(|error| EngineError::Input(sentence(&error)))
    }
    match tensor.data() {
        Data::F32(values) => view(port, values),
        Data::I32(values) => view(port, values),
        Data::I8(values) => view(port, values),
        Data::U8(values) => view(port, values),
        Data::F16(values) => value(port, values.iter().map(|value| value.to_f32()).collect()),
        Data::Bool(values) => value(port, values.iter().map(|value| i32::from(*value)).collect()),
        Data::I64(values) => {
            let narrow = values.iter().map(|value| {
                i32::try_from(*value).map_err(|_| {
                    let name = port.name();
                    EngineError::Input(format!("input {name} has {value}, rten takes 32 bits"))
                })
            });
            value(port, narrow.collect::<Result<_, _>>()?)
        }
        _ => Err(EngineError::Input(format!("input {} is {}", port.name(), tensor.element()))),
    }
}

/// The answer as a tensor of the port; none if it is something else.
fn taken(answer: Value, port: &Port) -> Option<Tensor> {
    let shape = answer.shape().to_vec();
    let data = match (port.element(), answer) {
        (Element::F32, Value::FloatTensor(values)) => Data::F32(values.into_data()),
        (Element::F16, Value::FloatTensor(values)) => {
            Data::F16(values.into_data().into_iter().map(f16::from_f32).collect())
        }
        (Element::I32, Value::Int32Tensor(values)) => Data::I32(values.into_data()),
        (Element::I64, Value::Int32Tensor(values)) => {
            Data::I64(values.into_data().into_iter().map(i64::from).collect())
        }
        (Element::Bool, Value::Int32Tensor(values)) => {
            Data::Bool(values.into_data().into_iter().map(|value| value != 0).collect())
        }
        (Element::I8, Value::Int8Tensor(values)) => Data::I8(values.into_data()),
        (Element::U8, Value::UInt8Tensor(values)) => Data::U8(values.into_data()),
        _ => return None,
    };
    Tensor::new(shape, data).filter(|tensor| tensor.shape() == port.shape())
}

/// The whole error on one line.
fn sentence(error: &dyn std::fmt::Display) -> String {
    error.to_string().replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::model::tests::{field, model, node, value};
    use std::collections::BTreeMap;

    fn load(file: &[u8]) -> Result<Box<dyn Engine>, EngineError> {
        let model = OnnxModel::read(file)?;
        Rten.load(&model, &model.settle(&BTreeMap::new())?)
    }

    /// A model of one operator from `x` to `y`.
    fn single(operator: &str, domain: &str, element: Element, shape: &[u8]) -> Vec<u8> {
        let graph = [
            field(1, &node(operator, domain, (&["x"], &["y"]))),
            value(11, "x", element, shape),
            value(12, "y", element, shape),
        ];
        model(&graph.concat())
    }

    /// Whether rten itself says that it does not have the operator.
    fn is_unavailable(domain: &str, operator: &str) -> bool {
        let file = single(operator, domain, Element::F32, &[1]);
        let loaded = contained(|| ModelOptions::with_all_ops().load(file));
        let Ok(Err(error)) = loaded else { return false };
        let error = error.to_string();
        ["not supported or not enabled", "not enabled because"].iter().any(|it| error.contains(it))
    }

    #[test]
    fn the_operators_that_rten_is_said_to_have_are_those_it_has() {
        for (domain, names) in [("", OWN), (MICROSOFT_DOMAIN, MICROSOFT)] {
            for name in names.split(' ') {
                assert!(!is_unavailable(domain, name), "{domain} {name}");
            }
        }
        let tract = tract_onnx::onnx().op_register.0.into_keys();
        let others = ["Loop", "If", "Dropout", "Teleport", "RNN"].map(str::to_owned);
        for name in tract.chain(others) {
            let lacking = Rten.objection(&Operator::new("", &name)) == Some(Reason::Lacking);
            assert_eq!(lacking, is_unavailable("", &name), "{name}");
        }
    }

    #[test]
    fn whole_numbers_beyond_32_bits_are_refused_and_never_cut() {
        let mut engine = load(&single("Identity", "", Element::I64, &[2])).unwrap();
        assert_eq!(engine.outputs()[0].form(), "i64 [2]");
        let numbers = |values: [i64; 2]| Tensor::new(vec![2], Data::I64(values.to_vec())).unwrap();
        let small = numbers([i64::from(i32::MIN), i64::from(i32::MAX)]);
        assert_eq!(engine.run(&[&small]).unwrap(), [small]);
        for large in [i64::from(i32::MAX) + 1, i64::MIN] {
            let error = engine.run(&[&numbers([0, large])]).unwrap_err().to_string();
            assert_eq!(error, format!("input x has {large}, rten takes 32 bits"));
        }
    }

    #[test]
    fn what_would_be_cut_to_32_bits_in_a_cast_is_no_answer() {
        let to = field(5, &[field(1, b"to"), vec![3 << 3, Element::I64.onnx() as u8]].concat());
        let cast = [node("Cast", "", (&["a"], &["y"])), to].concat();
        let graph = [
            field(1, &node("Neg", "", (&["x"], &["a"]))),
            field(1, &cast),
            value(11, "x", Element::F32, &[2]),
            value(12, "y", Element::I64, &[2]),
        ];
        let mut engine = load(&model(&graph.concat())).unwrap();
        let given = |large: f32| Tensor::new(vec![2], Data::F32(vec![1.7, large])).unwrap();
        let whole = Tensor::new(vec![2], Data::I64(vec![-1, 2_147_483_520])).unwrap();
        assert_eq!(engine.run(&[&given(-2_147_483_520.0)]).unwrap(), [whole]);
        for large in [2_147_483_648.0, 1e10, -3e18] {
            let error = engine.run(&[&given(large)]).unwrap_err();
            assert!(
                matches!(&error, EngineError::Beyond { tensor, .. } if tensor == "a"),
                "{error}"
            );
        }
    }

    #[test]
    fn a_softmax_over_several_dimensions_at_once_is_refused() {
        let softmax = |shape: &[u8], axis: u8| {
            let axis = field(5, &[field(1, b"axis"), vec![3 << 3, axis]].concat());
            let softmax = [node("Softmax", "", (&["a"], &["y"])), axis].concat();
            let graph = [
                field(1, &node("Abs", "", (&["x"], &["a"]))),
                field(1, &softmax),
                value(11, "x", Element::F32, shape),
                value(12, "y", Element::F32, shape),
            ];
            let opset = [field(1, b""), vec![2 << 3, 11]].concat();
            load(&[vec![1 << 3, 8], field(8, &opset), field(7, &graph.concat())].concat())
        };
        assert!(softmax(&[1, 2], 1).is_ok());
        assert!(softmax(&[2, 2, 1], 1).is_ok());
        let error = softmax(&[1, 2, 2], 1).err().unwrap().to_string();
        assert_eq!(error, "cannot load it: rten gets Softmax of earlier versions wrong");
    }

    #[test]
    fn what_rten_would_compute_with_fewer_digits_is_refused_at_once() {
        for element in [Element::F64, Element::U32, Element::U64, Element::I16, Element::Bytes] {
            let error = load(&single("Identity", "", element, &[2])).err().unwrap().to_string();
            assert_eq!(error, format!("x is {element}, which rten does not take"));
        }
    }

    #[test]
    fn every_element_that_rten_takes_comes_back_as_it_went() {
        for element in [
            Element::Bool,
            Element::U8,
            Element::I8,
            Element::I32,
            Element::I64,
            Element::F16,
            Element::F32,
        ] {
            let mut engine = load(&single("Identity", "", element, &[0, 3])).unwrap();
            let zeros = vec![0; element.size_bytes().unwrap() - 1];
            let bytes: Vec<u8> =
                [0, 1, 1].into_iter().flat_map(|one| [vec![one], zeros.clone()].concat()).collect();
            let tensor = Tensor::from_bytes(element, vec![1, 3], &bytes).unwrap();
            assert_eq!(engine.run(&[&tensor]).unwrap(), [tensor], "{element}");
        }
    }

    #[test]
    fn an_answer_that_is_no_number_is_an_error() {
        let mut engine = load(&single("Sqrt", "", Element::F32, &[1])).unwrap();
        let minus = Tensor::new(vec![1], Data::F32(vec![-1.0])).unwrap();
        assert!(matches!(engine.run(&[&minus]), Err(EngineError::NotFinite(_))));
    }
}
