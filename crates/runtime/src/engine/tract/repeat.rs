//! Arithmetic with a constant that repeats along the last axes, such as a scale for each of a few channels that
//! lie last: tract's own goes number by number where they are fewer than thirty-two.

use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::binary::TypedBinOp;

/// Numbers that are computed in one go, at least.
const RUN: usize = 64;

/// The operator: the constant's numbers over and over beside those of the input at `place`, in place of it.
#[derive(Debug, Clone, PartialEq)]
struct Repeated {
    arithmetic: Arithmetic,
    place: usize,
    numbers: Arc<Vec<f32>>,
}

/// What is done to each number.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Arithmetic {
    Add,
    Sub,
    Mul,
    Div,
}

impl Eq for Repeated {}

/// Puts it in for arithmetic that tract has left to go number by number in a model that is optimised.
///
/// # Errors
/// What tract says.
pub(super) fn put_in(model: &mut TypedModel) -> TractResult<()> {
    for id in 0..model.nodes.len() {
        let node = model.node(id);
        let Some(TypedBinOp(operator, None)) = node.op_as::<TypedBinOp>() else { continue };
        let (arithmetic, places): (_, &[usize]) = match operator.name() {
            "Add" => (Arithmetic::Add, &[0, 1]),
            "Mul" => (Arithmetic::Mul, &[0, 1]),
            "Sub" => (Arithmetic::Sub, &[0]),
            "Div" => (Arithmetic::Div, &[0]),
            _ => continue,
        };
        for &place in places {
            let (input, other) = (
                model.outlet_fact(node.inputs[place])?,
                model.outlet_fact(node.inputs[1 - place])?,
            );
            let (Some(shape), Some(constant)) = (input.shape.as_concrete(), &other.konst) else {
                continue;
            };
            let is_whole = node.outputs[0].fact.shape.as_concrete() == Some(shape);
            let is_plain = [input, other].iter().all(|it| it.datum_type == f32::datum_type());
            let ones = constant.shape().iter().take_while(|size| **size == 1).count();
            let repeats = shape.ends_with(&constant.shape()[ones..]);
            if !is_whole || !is_plain || !repeats || constant.is_exotic() || constant.len() == 0 {
                continue;
            }
            let numbers = constant.try_as_plain_ram()?.as_slice::<f32>()?;
            let numbers = Arc::new(numbers.repeat(RUN.div_ceil(numbers.len())));
            model.nodes[id].op = Box::new(Repeated { arithmetic, place, numbers });
            break;
        }
    }
    Ok(())
}

impl Repeated {
    #[inline(always)]
    fn each(&self, numbers: &mut [f32], of: impl Fn(f32, f32) -> f32) {
        for part in numbers.chunks_mut(self.numbers.len()) {
            for (number, by) in part.iter_mut().zip(&**self.numbers) {
                *number = of(*number, *by);
            }
        }
    }
}

impl Op for Repeated {
    fn name(&self) -> StaticName {
        "Repeated".into()
    }

    op_as_typed_op!();
}

impl EvalOp for Repeated {
    op_out_of_plan!();

    fn eval(&self, _: &EvalContext, mut inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let mut tensor = inputs.swap_remove(self.place).into_tensor();
        let mut view = tensor.try_as_plain_ram_mut()?;
        let numbers = view.as_slice_mut::<f32>()?;
        match self.arithmetic {
            Arithmetic::Add => self.each(numbers, |number, by| number + by),
            Arithmetic::Sub => self.each(numbers, |number, by| number - by),
            Arithmetic::Mul => self.each(numbers, |number, by| number * by),
            Arithmetic::Div => self.each(numbers, |number, by| number / by),
        }
        Ok(tvec!(tensor.into_tvalue()))
    }
}

impl TypedOp for Repeated {
    as_op!();

    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        Ok(tvec!(f32::fact(inputs[self.place].shape.clone())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tract_onnx::tract_core::ops::math;

    fn number() -> impl Strategy<Value = f32> {
        prop_oneof![
            -9.0..9.0f32,
            -9.0..9.0f32,
            any::<u32>().prop_map(f32::from_bits),
            prop_oneof![Just(0.0), Just(-0.0), Just(1e-45), Just(-1e-40), Just(3e38)],
            prop_oneof![Just(f32::NAN), Just(f32::INFINITY), Just(f32::NEG_INFINITY)],
        ]
    }

    fn operator(which: usize) -> TypedBinOp {
        [math::add(), math::sub(), math::mul(), math::div()][which].clone()
    }

    /// A model of one operator, whose constant comes first or second.
    fn model(which: usize, shape: &[usize], constant: &Tensor, is_first: bool) -> TypedModel {
        let mut model = TypedModel::default();
        let input = model.add_source("x", f32::fact(shape)).unwrap();
        let constant = model.add_const("c", constant.clone()).unwrap();
        let inputs = if is_first { [constant, input] } else { [input, constant] };
        let wire = model.wire_node("n", operator(which), &inputs).unwrap();
        model.select_output_outlets(&wire).unwrap();
        model
    }

    fn bits(model: TypedModel, given: Tensor) -> Vec<u32> {
        let answers = model.into_runnable().unwrap().run(tvec!(given.into_tvalue())).unwrap();
        let numbers = answers[0].try_as_plain_ram().unwrap().as_slice::<f32>().unwrap().to_vec();
        // Which of two that are no numbers comes out is nobody's promise.
        numbers.iter().map(|it| if it.is_nan() { f32::NAN } else { *it }.to_bits()).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(600))]
        #[test]
        fn repeating_gives_what_tract_gives(
            (shape, axes, given, constant) in (
                proptest::collection::vec(1..12usize, 1..4),
                0..4usize,
            ).prop_flat_map(|(shape, axes)| {
                let from = shape.len().saturating_sub(axes);
                let sizes = [shape.iter().product::<usize>(), shape[from..].iter().product()];
                let [given, constant] = sizes.map(|size| proptest::collection::vec(number(), size));
                (Just(shape), Just(axes), given, constant)
            }),
            which in 0..4usize,
            is_first in any::<bool>(),
        ) {
            let from = shape.len().saturating_sub(axes);
            let along: Vec<usize> =
                shape.iter().enumerate().map(|(at, size)| if at < from { 1 } else { *size }).collect();
            let constant = Tensor::from_shape(&along, &constant).unwrap();
            let plain = model(which, &shape, &constant, is_first);
            let mut ours = plain.clone();
            put_in(&mut ours).unwrap();
            let is_ours = ours.nodes.iter().any(|node| node.op_is::<Repeated>());
            prop_assert_eq!(is_ours, !is_first || which % 2 == 0);
            let given = Tensor::from_shape(&shape, &given).unwrap();
            prop_assert_eq!(bits(plain, given.clone()), bits(ours, given));
        }
    }

    #[test]
    fn what_does_not_repeat_along_the_last_axes_is_left_to_tract() {
        for (shape, along) in
            [([2, 3, 4], [2, 3, 1]), ([2, 3, 4], [1, 3, 1]), ([2, 1, 4], [1, 3, 4])]
        {
            let constant = Tensor::zero_dt(f32::datum_type(), &along).unwrap();
            let mut model = model(0, &shape, &constant, false);
            put_in(&mut model).unwrap();
            assert!(!model.nodes.iter().any(|node| node.op_is::<Repeated>()), "{along:?}");
        }
    }

    #[test]
    fn what_goes_in_is_not_changed_for_others_who_see_it() {
        let constant = Tensor::from_shape(&[1, 2], &[1.0f32, 2.0]).unwrap();
        let mut model = model(0, &[2, 2], &constant, false);
        let outlets = [OutletId::new(0, 0), model.output_outlets().unwrap()[0]];
        model.select_output_outlets(&outlets).unwrap();
        put_in(&mut model).unwrap();
        let given = Tensor::from_shape(&[2, 2], &[5.0f32; 4]).unwrap();
        let answers =
            model.into_runnable().unwrap().run(tvec!(given.clone().into_tvalue())).unwrap();
        assert_eq!(*answers[0], given);
        assert_eq!(*answers[1], Tensor::from_shape(&[2, 2], &[6.0f32, 7.0, 6.0, 7.0]).unwrap());
    }
}
