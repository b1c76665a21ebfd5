//! Sums of whole numbers of 64 bits, which tract makes in 32 (0.23.9).

use tract_onnx::Onnx;
use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_core::internal::tract_downcast_rs::Downcast;
use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::nn::{Reduce, Reducer};
use tract_onnx::tract_hir::internal::{
    Expansion, InferenceOp, InferenceResult, Solver, TensorProxy, expand,
};

/// Operators of ONNX that tract makes a sum for.
const ADDING: [&str; 7] = [
    "ReduceL1",
    "ReduceL2",
    "ReduceLogSum",
    "ReduceLogSumExp",
    "ReduceMean",
    "ReduceSum",
    "ReduceSumSquare",
];

/// An operator as tract makes it of others, but for its sums.
#[derive(Debug, Clone)]
struct Exact(Box<dyn Expansion>);

/// The sum along these axes, which keep a size of one. What overflows 64 bits goes round.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Sum {
    axes: TVec<usize>,
}

/// Has tract make what adds with sums of our own, in the file's graph and those within it.
pub(super) fn put_in(onnx: &mut Onnx) {
    for name in ADDING {
        onnx.op_register.insert(name, build);
    }
}

fn build(
    context: &ParsingContext<'_>,
    node: &NodeProto,
) -> TractResult<(Box<dyn InferenceOp>, Vec<String>)> {
    let onnx = tract_onnx::onnx();
    let build = onnx.op_register.0.get(&node.op_type).context("tract has the operator")?;
    let (operator, closures) = build(context, node)?;
    if !<dyn InferenceOp as Downcast>::as_any(&*operator).is::<Box<dyn Expansion>>() {
        return Ok((operator, closures));
    }
    let made = <dyn InferenceOp as Downcast>::into_any(operator);
    let made = made.downcast::<Box<dyn Expansion>>().map_err(|_| format_err!("it was one"))?;
    Ok((expand(Exact(*made)), closures))
}

impl Expansion for Exact {
    fn name(&self) -> StaticName {
        self.0.name()
    }

    fn nboutputs(&self) -> TractResult<usize> {
        self.0.nboutputs()
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        solver: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        self.0.rules(solver, inputs, outputs)
    }

    fn wire(
        &self,
        prefix: &str,
        model: &mut TypedModel,
        inputs: &[OutletId],
    ) -> TractResult<TVec<OutletId>> {
        let summed = model.outlet_fact(inputs[0])?.clone();
        if ![i64::datum_type(), TDim::datum_type()].contains(&summed.datum_type) {
            return self.0.wire(prefix, model, inputs);
        }
        // In a model of its own, where nothing is known of what is summed: what is constant would be summed
        // by tract as soon as it is wired.
        let mut made = TypedModel::default();
        let mut places = vec![made.add_source("summed", summed.datum_type.fact(summed.shape))?];
        for (at, input) in inputs.iter().enumerate().skip(1) {
            let fact = model.outlet_fact(*input)?.clone();
            places.push(made.add_source(format!("input {at}"), fact)?);
        }
        let outputs = self.0.wire(prefix, &mut made, &places)?;
        let mut wired: HashMap<OutletId, OutletId> =
            places.into_iter().zip(inputs.iter().copied()).collect();
        for node in &made.nodes {
            if wired.contains_key(&OutletId::new(node.id, 0)) {
                continue;
            }
            let from: TVec<OutletId> = node.inputs.iter().map(|input| wired[input]).collect();
            let operator: Box<dyn TypedOp> = match node.op_as::<Reduce>() {
                Some(Reduce { axes, reducer: Reducer::Sum })
                    if model.outlet_fact(from[0])?.datum_type == i64::datum_type() =>
                {
                    Box::new(Sum { axes: axes.clone() })
                }
                _ => node.op.clone(),
            };
            let to = model.wire_node(&node.name, operator, &from)?;
            wired.extend(to.iter().enumerate().map(|(at, to)| (OutletId::new(node.id, at), *to)));
        }
        Ok(outputs.iter().map(|output| wired[output]).collect())
    }
}

impl Op for Sum {
    fn name(&self) -> StaticName {
        "Sum".into()
    }

    op_as_typed_op!();
}

impl EvalOp for Sum {
    op_out_of_plan!();

    fn eval(&self, _: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let mut sum = inputs[0].to_plain_array_view::<i64>()?.to_owned();
        for axis in self.axes.iter().map(|axis| tract_ndarray::Axis(*axis)) {
            sum = sum.fold_axis(axis, 0i64, |sum, it| sum.wrapping_add(*it)).insert_axis(axis);
        }
        Ok(tvec!(sum.into_tensor().into_tvalue()))
    }
}

impl TypedOp for Sum {
    as_op!();

    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        let mut shape = inputs[0].shape.to_tvec();
        for axis in &self.axes {
            shape[*axis] = 1.to_dim();
        }
        Ok(tvec!(i64::fact(shape)))
    }
}

#[cfg(test)]
mod tests {
    use crate::engine::loader::{Engine, Loader};
    use crate::engine::model::tests::{field, model, node, value};
    use crate::engine::tract::Tract;
    use crate::engine::{EngineError, OnnxModel};
    use crate::tensor::{Data, Element, Tensor};
    use std::collections::BTreeMap;

    fn load(file: &[u8]) -> Result<Box<dyn Engine>, EngineError> {
        let model = OnnxModel::read(file)?;
        Tract.load(&model, &model.settle(&BTreeMap::new())?)
    }

    /// What a model makes of these numbers, in the shape of its input.
    fn answer(file: &[u8], numbers: &[i64]) -> Vec<i64> {
        let mut engine = load(file).unwrap();
        let shape = engine.inputs()[0].shape().to_vec();
        let given = Tensor::new(shape, Data::I64(numbers.to_vec())).unwrap();
        let answers = engine.compute(&[&given]).unwrap();
        let Data::I64(numbers) = answers[0].data() else { panic!("{:?}", answers[0]) };
        numbers.clone()
    }

    fn constant(name: &str, numbers: &[i64]) -> Vec<u8> {
        let bytes: Vec<u8> = numbers.iter().flat_map(|it| it.to_le_bytes()).collect();
        let kind = vec![1 << 3, numbers.len() as u8, 2 << 3, Element::I64.onnx() as u8];
        field(5, &[kind, field(8, name.as_bytes()), field(9, &bytes)].concat())
    }

    /// A model that reduces `x`, along an axis where one is said.
    fn reducing(operator: &str, axis: Option<i64>, [input, output]: [&[u8]; 2]) -> Vec<u8> {
        let inputs: &[&str] = if axis.is_some() { &["x", "axes"] } else { &["x"] };
        let graph = [
            axis.map(|axis| constant("axes", &[axis])).unwrap_or_default(),
            field(1, &node(operator, "", (inputs, &["y"]))),
            value(11, "x", Element::I64, input),
            value(12, "y", Element::I64, output),
        ];
        model(&graph.concat())
    }

    #[test]
    fn whole_numbers_beyond_32_bits_are_summed_whole() {
        let large = (1i64 << 32) + 5;
        let all = |operator| reducing(operator, None, [&[2, 2], &[1, 1]]);
        let numbers = [large, 1, -(1 << 40), 3];
        assert_eq!(answer(&all("ReduceSum"), &numbers), [large + 4 - (1 << 40)]);
        assert_eq!(answer(&all("ReduceL1"), &numbers), [large + 4 + (1 << 40)]);
        assert_eq!(answer(&all("ReduceMean"), &[large, 1, large, 1]), [(large + 1) / 2]);
        // It overflows 32 bits on the way.
        assert_eq!(answer(&all("ReduceSum"), &[600_000_000; 4]), [2_400_000_000]);
        for (axis, wanted) in [(0, [large - (1 << 40), 4]), (1, [large + 1, 3 - (1 << 40)])] {
            let file = reducing("ReduceSum", Some(axis), [&[2, 2], &[1, 2]]);
            let file =
                if axis == 1 { reducing("ReduceSum", Some(1), [&[2, 2], &[2, 1]]) } else { file };
            assert_eq!(answer(&file, &numbers), wanted);
        }
    }

    #[test]
    fn what_is_summed_while_a_model_is_loaded_is_summed_whole() {
        let large = 1i64 << 40;
        let graph = [
            constant("c", &[large, 1, large]),
            field(1, &node("ReduceSum", "", (&["c"], &["s"]))),
            field(1, &node("Add", "", (&["s", "x"], &["y"]))),
            value(11, "x", Element::I64, &[2]),
            value(12, "y", Element::I64, &[2]),
        ];
        assert_eq!(answer(&model(&graph.concat()), &[1, 2]), [2 * large + 2, 2 * large + 3]);
    }
}
