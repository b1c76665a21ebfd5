//! Padding of numbers of 32 bits in copies of whole rows, and from places that are known beforehand: tract's
//! own goes number by number.

use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::array::{Pad, PadMode};

/// The operator.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Padded {
    /// A constant around what goes in.
    Around(Around),
    /// Each number that comes out lies at such a place among those that go in.
    From { places: Arc<Vec<usize>>, shape: TVec<usize> },
}

/// A constant around a tensor.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Around {
    /// The tensor that comes out where nothing went in.
    blank: Arc<Tensor>,
    /// Where in it each row begins, and the length of a row.
    rows: Arc<Vec<usize>>,
    length: usize,
}

/// Puts it in for the paddings of a model that is optimised.
///
/// # Errors
/// What tract says.
pub(super) fn put_in(model: &mut TypedModel) -> TractResult<()> {
    for id in 0..model.nodes.len() {
        let node = model.node(id);
        let Some(pad) = node.op_as::<Pad>() else { continue };
        let (input, output) = (model.outlet_fact(node.inputs[0])?, &node.outputs[0].fact);
        let (Some(from), Some(to)) = (input.shape.as_concrete(), output.shape.as_concrete()) else {
            continue;
        };
        if input.datum_type != f32::datum_type() {
            continue;
        }
        let padded = match &pad.mode {
            PadMode::Constant(value) => {
                Padded::Around(Around::new(value.cast_to_scalar::<f32>()?, &pad.pads, from, to)?)
            }
            PadMode::Edge | PadMode::Reflect => {
                // tract pads the places themselves.
                let count = i64::try_from(from.iter().product::<usize>())?;
                let places = tensor1(&(0..count).collect::<Vec<i64>>()).into_shape(from)?;
                let Some(padded) = pad.eval_out_of_plan(tvec!(places.into_tvalue()))? else {
                    continue;
                };
                let places = padded[0].try_as_plain_ram()?.as_slice::<i64>()?;
                let places = places.iter().map(|place| usize::try_from(*place));
                let places = Arc::new(places.collect::<Result<Vec<usize>, _>>()?);
                Padded::From { places, shape: to.into() }
            }
        };
        model.nodes[id].op = Box::new(padded);
    }
    Ok(())
}

impl Around {
    /// Pads `from` to `to` with so many of a value before and behind on each axis.
    fn new(
        value: f32,
        pads: &[(usize, usize)],
        from: &[usize],
        to: &[usize],
    ) -> TractResult<Around> {
        let blank = vec![value; to.iter().product()];
        // Behind the last axis that is padded, everything lies together.
        let inner = pads.iter().rposition(|pad| *pad != (0, 0)).unwrap_or(0);
        let strides: Vec<usize> =
            (0..to.len()).map(|axis| to[axis + 1..].iter().product()).collect();
        let mut rows = vec![0];
        for axis in 0..inner {
            let at = |row: usize| (0..from[axis]).map(move |place| (row, place + pads[axis].0));
            let spread = rows.into_iter().flat_map(at);
            rows = spread.map(|(row, place)| row + place * strides[axis]).collect();
        }
        if let (Some((before, _)), Some(stride)) = (pads.get(inner), strides.get(inner)) {
            rows.iter_mut().for_each(|row| *row += before * stride);
        }
        let length = from.get(inner..).unwrap_or_default().iter().product();
        let blank = Arc::new(Tensor::from_shape(to, &blank)?);
        Ok(Around { blank, rows: Arc::new(rows), length })
    }
}

impl Op for Padded {
    fn name(&self) -> StaticName {
        "Padded".into()
    }

    op_as_typed_op!();
}

impl EvalOp for Padded {
    op_out_of_plan!();

    fn eval(&self, _: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let input = inputs[0].try_as_plain_ram()?.as_slice::<f32>()?;
        let mut output = match self {
            Padded::Around(around) => (*around.blank).clone(),
            Padded::From { shape, .. } => Tensor::zero_dt(f32::datum_type(), shape)?,
        };
        let mut view = output.try_as_plain_ram_mut()?;
        let given = view.as_slice_mut::<f32>()?;
        match self {
            Padded::Around(Around { length: 0, .. }) => {}
            Padded::Around(Around { rows, length, .. }) => {
                for (row, numbers) in rows.iter().zip(input.chunks_exact(*length)) {
                    given[*row..][..*length].copy_from_slice(numbers);
                }
            }
            Padded::From { places, .. } => {
                given.iter_mut().zip(&**places).for_each(|(to, place)| *to = input[*place]);
            }
        }
        Ok(tvec!(output.into_tvalue()))
    }
}

impl TypedOp for Padded {
    as_op!();

    fn output_facts(&self, _: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        Ok(tvec!(match self {
            Padded::Around(around) => f32::fact(around.blank.shape()),
            Padded::From { shape, .. } => f32::fact(shape),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn padding_gives_what_tract_gives(
            axes in proptest::collection::vec((0..5usize, 0..3usize, 0..3usize), 1..5),
            value in -1.0..1.0f32,
            way in 0..3usize,
        ) {
            // What is repeated or mirrored has to be there.
            let least = if way == 0 { 0 } else { 3 };
            let shape: Vec<usize> = axes.iter().map(|axis| axis.0 + least).collect();
            let mode = match way {
                0 => PadMode::Constant(Arc::new(value.into())),
                1 => PadMode::Edge,
                _ => PadMode::Reflect,
            };
            let pads = axes.iter().map(|(_, before, behind)| (*before, *behind)).collect();
            let given: Vec<f32> = (0..shape.iter().product()).map(|at| at as f32 + 2.0).collect();
            let mut model = TypedModel::default();
            let input = model.add_source("x", f32::fact(&shape)).unwrap();
            let pad = Pad::new(pads, mode);
            let wire = model.wire_node("pad", pad, &[input]).unwrap();
            model.select_output_outlets(&wire).unwrap();
            let mut ours = model.clone();
            put_in(&mut ours).unwrap();
            prop_assert_eq!(&*ours.node(wire[0].node).op.name(), "Padded");
            let answers = [model, ours].map(|model| {
                let input = Tensor::from_shape(&shape, &given).unwrap();
                model.into_runnable().unwrap().run(tvec!(input.into_tvalue())).unwrap().remove(0)
            });
            prop_assert_eq!(&answers[0], &answers[1]);
        }
    }
}
