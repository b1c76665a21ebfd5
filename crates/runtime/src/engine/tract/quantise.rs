//! Quantising numbers of 32 bits without a branch, which compilers make vectors of: tract's own goes number by
//! number.

use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::element_wise::ElementWiseOp;
use tract_onnx::tract_core::ops::quant::{QuantizeLinearI8, QuantizeLinearU8};

/// A sum of this and a number between -2^22 and 2^22 has no digits behind the point: what is rounded goes to
/// the nearest whole number, of two as near to the even one. Its last bits are that number.
const WHOLE: f32 = 12_582_912.0;

/// The operator: `saturate(round(x * by) + nought)`, ties to even (ONNX's `QuantizeLinear`, where `by` is one
/// divided by the scale). What is no number becomes `nought`, as in tract; what is too large, infinity as
/// well, becomes the largest, where tract ends with an error if its 32 bits overflow.
#[derive(Debug, Clone, PartialEq)]
struct Quantised {
    by: f32,
    nought: Nought,
}

/// What nought becomes, and of which type.
#[derive(Debug, Clone, PartialEq)]
enum Nought {
    U8(u8),
    I8(i8),
}

impl Eq for Quantised {}

/// Puts it in for what quantises numbers of 32 bits in a model that is optimised.
///
/// # Errors
/// What tract says.
pub(super) fn put_in(model: &mut TypedModel) -> TractResult<()> {
    for id in 0..model.nodes.len() {
        let node = model.node(id);
        let Some(ElementWiseOp(operator, None)) = node.op_as::<ElementWiseOp>() else { continue };
        let quantised = if let Some(it) = operator.downcast_ref::<QuantizeLinearU8>() {
            Quantised { by: it.scale, nought: Nought::U8(it.zero_point) }
        } else if let Some(it) = operator.downcast_ref::<QuantizeLinearI8>() {
            Quantised { by: it.scale, nought: Nought::I8(it.zero_point) }
        } else {
            continue;
        };
        if model.outlet_fact(node.inputs[0])?.datum_type == f32::datum_type() {
            model.nodes[id].op = Box::new(quantised);
        }
    }
    Ok(())
}

impl Quantised {
    fn datum_type(&self) -> DatumType {
        match self.nought {
            Nought::U8(_) => u8::datum_type(),
            Nought::I8(_) => i8::datum_type(),
        }
    }
}

/// Quantises numbers to whole ones from `low` to `high`, of at most 16 bits.
#[inline(always)]
fn quantise<T>(
    numbers: &[f32],
    by: f32,
    nought: i16,
    [low, high]: [i16; 2],
    to: &mut [T],
    narrow: impl Fn(i32) -> T,
) {
    // Between whole numbers, it is the same to round before or behind them.
    let [low, high] = [low, high].map(|bound| f32::from(bound - nought));
    let nought = (WHOLE.to_bits() as i32) - i32::from(nought);
    for (number, to) in numbers.iter().zip(to) {
        let scaled = number * by;
        let scaled = if scaled.is_nan() { 0.0 } else { scaled };
        let bounded = if scaled < low { low } else { scaled };
        let bounded = if bounded > high { high } else { bounded };
        *to = narrow(((bounded + WHOLE).to_bits() as i32).wrapping_sub(nought));
    }
}

impl Op for Quantised {
    fn name(&self) -> StaticName {
        "Quantised".into()
    }

    op_as_typed_op!();
}

impl EvalOp for Quantised {
    op_out_of_plan!();

    fn eval(&self, _: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let numbers = inputs[0].try_as_plain_ram()?.as_slice::<f32>()?;
        let mut output = Tensor::zero_dt(self.datum_type(), inputs[0].shape())?;
        let mut view = output.try_as_plain_ram_mut()?;
        match self.nought {
            Nought::U8(nought) => {
                let to = view.as_slice_mut::<u8>()?;
                quantise(numbers, self.by, nought.into(), [0, 255], to, |it| it as u8);
            }
            Nought::I8(nought) => {
                let to = view.as_slice_mut::<i8>()?;
                quantise(numbers, self.by, nought.into(), [-128, 127], to, |it| it as i8);
            }
        }
        Ok(tvec!(output.into_tvalue()))
    }
}

impl TypedOp for Quantised {
    as_op!();

    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        Ok(tvec!(self.datum_type().fact(inputs[0].shape.clone())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tract_onnx::tract_core::ops::quant::{quantize_linear_i8, quantize_linear_u8};

    /// A model that quantises with tract's operator, and one that does with ours.
    fn models(count: usize, by: f32, nought: i16, is_signed: bool) -> [TypedModel; 2] {
        let mut model = TypedModel::default();
        let input = model.add_source("x", f32::fact([count])).unwrap();
        let operator = match is_signed {
            true => quantize_linear_i8(by, nought as i8),
            false => quantize_linear_u8(by, nought as u8),
        };
        let wire = model.wire_node("q", operator, &[input]).unwrap();
        model.select_output_outlets(&wire).unwrap();
        let mut ours = model.clone();
        put_in(&mut ours).unwrap();
        assert_eq!(&*ours.node(wire[0].node).op.name(), "Quantised");
        [model, ours]
    }

    fn answer(model: TypedModel, numbers: &[f32]) -> Tensor {
        let input = tensor1(numbers).into_tvalue();
        model.into_runnable().unwrap().run(tvec!(input)).unwrap().remove(0).into_tensor()
    }

    fn numbers() -> impl Strategy<Value = f32> {
        prop_oneof![
            // Ties, and what is next to them.
            (-300..300i32, -1..2i32).prop_map(|(at, beside)| {
                f32::from_bits((at as f32 + 0.5).to_bits().wrapping_add_signed(beside))
            }),
            -400.0..400.0f32,
            // Tract's sums overflow beyond 2^31.
            -2e9..2e9f32,
            prop_oneof![Just(0.0), Just(-0.0), Just(f32::NAN), Just(-f32::NAN)],
            // With any digits that one that is no number may have.
            (1..0x80_0000u32).prop_map(|digits| f32::from_bits(0x7f80_0000 | digits)),
            prop_oneof![Just(f32::MIN_POSITIVE), Just(1e-45), Just(-1e-45), Just(0.499_999_97)],
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1000))]
        #[test]
        fn quantising_gives_what_tract_gives(
            numbers in proptest::collection::vec(numbers(), 1..70),
            by in prop_oneof![Just(1.0), Just(-1.0), 1e-3..1.0f32],
            nought in prop_oneof![Just(0), Just(255), 0..256i16],
            is_signed in any::<bool>(),
        ) {
            let nought = if is_signed { nought - 128 } else { nought };
            let models = models(numbers.len(), by, nought, is_signed);
            let [wanted, found] = models.map(|model| answer(model, &numbers));
            prop_assert_eq!(wanted, found);
        }
    }

    #[test]
    fn what_is_too_large_becomes_the_largest_whatever_nought_is() {
        let large = [f32::INFINITY, 3e38, 3e9, f32::NEG_INFINITY, -3e38, -3e9];
        for nought in 0..256i16 {
            let [_, ours] = models(large.len(), 1.0, nought, false);
            assert_eq!(answer(ours, &large), tensor1(&[255u8, 255, 255, 0, 0, 0]));
            let [_, ours] = models(large.len(), 1.0, nought - 128, true);
            assert_eq!(answer(ours, &large), tensor1(&[127i8, 127, 127, -128, -128, -128]));
        }
    }
}
