//! Convolutions of our own for x86: tract's walk over those of each channel by itself (depthwise) takes several
//! times as long there, and its products half as long again.

use lineside_convolution::{Bounds, Ending, Gate, Geometry, Planes, Product};
use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::binary::TypedBinOp;
use tract_onnx::tract_core::ops::cnn::{Conv, KernelFormat};
use tract_onnx::tract_core::ops::einsum::EinSum;
use tract_onnx::tract_core::ops::element_wise::ElementWiseOp;
use tract_onnx::tract_core::ops::nn::{DataFormat, HardSwish};

/// Places that a product has at least: for fewer, tract has a kernel for a matrix and a vector.
const PLACES_MIN: usize = 12;

/// As tract computes it.
const HARD_SWISH: Gate =
    Gate { slope: 1.0, moved: 3.0, bounds: Bounds { low: 0.0, high: 6.0 }, scale: 1.0 / 6.0 };

/// The operator: one input, `[batch, channels, down, across]`, without the batch or `down` where the model has
/// none; and one output.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Convolution {
    work: Work,
    /// Of what comes out.
    shape: TVec<usize>,
}

/// How it is computed.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Work {
    Planes(Planes),
    Product(Product),
}

/// Puts it in for the convolutions of a model that is decluttered and not optimised, with what follows where
/// that can be computed on the way: scaling, moving, bounding and gating.
///
/// # Errors
/// What tract says.
pub(super) fn put_in(model: &mut TypedModel) -> TractResult<()> {
    for id in model.eval_order()? {
        let node = model.node(id);
        let Some(mut taken) = Taken::of(model, node)? else { continue };
        let mut last = id;
        while let Some(next) = taken.follow(model, last)? {
            last = next;
        }
        let Some(shape) = node.outputs[0].fact.shape.as_concrete().map(TVec::from_slice) else {
            continue;
        };
        let input = taken.input;
        let Some(work) = taken.work() else { continue };
        let mut patch = TypedModelPatch::default();
        let input = patch.tap_model(model, input)?;
        let name = model.node(last).name.clone();
        let wire = patch.wire_node(name, Convolution { work, shape }, &[input])?;
        patch.shunt_outside(model, last.into(), wire[0])?;
        patch.apply(model)?;
    }
    model.compact()
}

/// What is taken from a model's nodes.
struct Taken {
    input: OutletId,
    form: Form,
    /// Of each channel that comes out the weights, channel by channel.
    weights: Vec<f32>,
    bias: Vec<f32>,
    ending: Ending,
    /// The axis of the channels, of how many.
    axis: usize,
    rank: usize,
}

/// What is convolved.
enum Form {
    /// Each channel by itself.
    Depthwise(Geometry),
    /// All channels.
    Window(Geometry),
    /// All channels of each of so many places.
    Places(usize),
}

impl Taken {
    fn of(model: &TypedModel, node: &TypedNode) -> TractResult<Option<Taken>> {
        match (node.op_as::<Conv>(), node.op_as::<EinSum>()) {
            (Some(conv), _) => Taken::of_convolution(model, node, conv),
            (_, Some(sum)) => Taken::of_sum(model, node, sum),
            _ => Ok(None),
        }
    }

    fn of_convolution(
        model: &TypedModel,
        node: &TypedNode,
        conv: &Conv,
    ) -> TractResult<Option<Taken>> {
        let pool = &conv.pool_spec;
        let channels = [pool.input_channels, pool.output_channels];
        let fact = model.outlet_fact(node.inputs[0])?;
        let is_plain = conv.q_params.is_none()
            && conv.kernel_fmt == KernelFormat::OIHW
            && matches!(pool.data_format, DataFormat::NCHW | DataFormat::CHW)
            && fact.datum_type == f32::datum_type()
            && node.inputs.len() == 3;
        let (Some(shape), true) = (fact.shape.as_concrete(), is_plain) else { return Ok(None) };
        let (Some(weights), Some(bias)) =
            (known(model, node.inputs[1])?, known(model, node.inputs[2])?)
        else {
            return Ok(None);
        };
        let data = pool.data_format.shape(shape)?;
        let sides = pool.computed_padding(data.hw_dims());
        // Where there is one way only, it is across.
        let both = |of: &dyn Fn(usize) -> usize, other: usize| match sides.len() {
            1 => Some([other, of(0)]),
            2 => Some([of(0), of(1)]),
            _ => None,
        };
        let geometry = || {
            Some(Geometry {
                input: both(&|way| data.hw_dims()[way], 1)?,
                output: both(&|way| sides[way].convoluted, 1)?,
                kernel: both(&|way| pool.kernel_shape[way], 1)?,
                strides: both(&|way| pool.stride(way), 1)?,
                dilations: both(&|way| pool.dilation(way), 1)?,
                before: both(&|way| sides[way].pad_before, 0)?,
            })
        };
        let Some(geometry) = geometry() else { return Ok(None) };
        let places = geometry.output[0] * geometry.output[1];
        let form = match conv.group {
            1 if places >= PLACES_MIN => Form::Window(geometry),
            group if group > 1 && channels == [group, group] => Form::Depthwise(geometry),
            _ => return Ok(None),
        };
        let bias = if bias.len() == 1 { vec![bias[0]; channels[1]] } else { bias };
        let (axis, rank) = (data.c_axis(), shape.len());
        let input = node.inputs[0];
        Ok(Some(Taken { input, form, weights, bias, ending: Ending::NONE, axis, rank }))
    }

    /// A convolution of each place by itself, as tract writes it.
    fn of_sum(model: &TypedModel, node: &TypedNode, sum: &EinSum) -> TractResult<Option<Taken>> {
        let [first, second] = *node.inputs else { return Ok(None) };
        if sum.q_params.is_some() || sum.operating_dt != f32::datum_type() {
            return Ok(None);
        }
        for (given, weights, [input, other]) in [(0, 1, [first, second]), (1, 0, [second, first])] {
            let fact = model.outlet_fact(input)?;
            let Some(shape) = fact.shape.as_concrete() else { continue };
            let rank = sum.axes.rank(InOut::Out(0));
            if fact.datum_type != f32::datum_type() || sum.axes.rank(InOut::In(weights)) != 2 {
                continue;
            }
            // Where the channels lie, among the inputs and among the weights.
            let (mut taken, mut made, mut kept, mut is_plain) = (None, None, vec![], true);
            for axis in sum.axes.iter_all_axes() {
                let places = (&*axis.inputs[given], &*axis.inputs[weights], &*axis.outputs[0]);
                match places {
                    ([place], [], [out]) => kept.push((*place, *out)),
                    ([place], [], []) if shape[*place] == 1 => {}
                    ([place], [weight], []) => taken = Some((*place, *weight)),
                    ([], [weight], [out]) => made = Some((*out, *weight)),
                    _ => is_plain = false,
                }
            }
            let (Some((axis, depth)), Some((to, _)), true) = (taken, made, is_plain) else {
                continue;
            };
            kept.push((axis, to));
            kept.sort_unstable();
            let places = shape[axis + 1..].iter().product();
            if !kept.is_sorted_by_key(|(_, out)| *out) || places < PLACES_MIN {
                continue;
            }
            let Some(mut numbers) = known(model, other)? else { continue };
            let sizes = model.outlet_fact(other)?.shape.as_concrete().map(TVec::from_slice);
            let Some(&[one, two]) = sizes.as_deref() else { continue };
            let channels = if depth == 1 { one } else { two };
            if depth == 0 {
                numbers =
                    (0..two).flat_map(|at| numbers[at..].iter().step_by(two)).copied().collect();
            }
            return Ok(Some(Taken {
                input,
                form: Form::Places(places),
                weights: numbers,
                bias: vec![0.0; channels],
                ending: Ending::NONE,
                axis: to,
                rank,
            }));
        }
        Ok(None)
    }

    /// Takes the nodes behind this one, if nothing else sees what comes out of this one and it can be computed
    /// with it. The last of them.
    fn follow(&mut self, model: &TypedModel, id: usize) -> TractResult<Option<usize>> {
        let outlet = OutletId::new(id, 0);
        if self.ending.gate.is_some() || model.output_outlets()?.contains(&outlet) {
            return Ok(None);
        }
        let next = match &*model.node(id).outputs[0].successors {
            [next] => next.node,
            [one, other] => return self.gated(model, outlet, [one.node, other.node]),
            _ => return Ok(None),
        };
        if model.node(next).op_as::<ElementWiseOp>().is_some_and(|it| it.0.is::<HardSwish>()) {
            self.ending.gate = Some(HARD_SWISH);
            return Ok(Some(next));
        }
        let Some((operator, numbers)) = self.step(model, outlet, next)? else { return Ok(None) };
        let bounds = &mut self.ending.bounds;
        let is_free = *bounds == Bounds::NONE;
        let is_one = numbers.iter().all(|it| *it == numbers[0]);
        match operator {
            "Mul" if is_free => {
                let depth = self.weights.len() / self.bias.len();
                let weights = self.weights.iter().enumerate();
                let weights: Vec<f32> = weights.map(|(at, it)| it * numbers[at / depth]).collect();
                let bias: Vec<f32> =
                    self.bias.iter().zip(&numbers).map(|(it, by)| it * by).collect();
                if !weights.iter().chain(&bias).all(|it| it.is_finite()) {
                    return Ok(None);
                }
                (self.weights, self.bias) = (weights, bias);
            }
            "Add" if is_free => {
                let bias: Vec<f32> =
                    self.bias.iter().zip(&numbers).map(|(it, by)| it + by).collect();
                if !bias.iter().all(|it| it.is_finite()) {
                    return Ok(None);
                }
                self.bias = bias;
            }
            _ if is_one && bounded(bounds, operator, numbers[0]) => {}
            _ => return Ok(None),
        }
        Ok(Some(next))
    }

    /// Takes what multiplies a number with what slope, moving and bounds make of it. The last of those nodes.
    fn gated(
        &mut self,
        model: &TypedModel,
        outlet: OutletId,
        behind: [usize; 2],
    ) -> TractResult<Option<usize>> {
        let [one, other] = behind;
        for (begin, product) in [(one, other), (other, one)] {
            let mut gate = Gate { slope: 1.0, moved: 0.0, bounds: Bounds::NONE, scale: 1.0 };
            let (mut last, mut next, mut is_moved) = (outlet, begin, false);
            while next != product {
                let Some((operator, number)) = self.uniform(model, last, next)? else { break };
                let is_free = gate.bounds == Bounds::NONE && !is_moved;
                match operator {
                    "Mul" if is_free && last == outlet => gate.slope = number,
                    "Add" if is_free => (gate.moved, is_moved) = (number, true),
                    _ if bounded(&mut gate.bounds, operator, number) => {}
                    _ => break,
                }
                last = next.into();
                match self.only(model, last)? {
                    Some(behind) => next = behind,
                    None => break,
                }
            }
            let node = model.node(product);
            let is_product =
                node.op_as::<TypedBinOp>().is_some_and(|it| it.1.is_none() && it.0.name() == "Mul");
            let is_whole = node.inputs[..] == [outlet, last] || node.inputs[..] == [last, outlet];
            if next != product || last == outlet || !is_product || !is_whole {
                continue;
            }
            let mut end = product;
            if let Some(behind) = self.only(model, product.into())?
                && let Some(("Mul", number)) = self.uniform(model, product.into(), behind)?
            {
                (gate.scale, end) = (number, behind);
            }
            self.ending.gate = Some(gate);
            return Ok(Some(end));
        }
        Ok(None)
    }

    /// The node behind an outlet, if nothing else sees what comes out of it.
    fn only(&self, model: &TypedModel, outlet: OutletId) -> TractResult<Option<usize>> {
        let [next] = &*model.node(outlet.node).outputs[outlet.slot].successors else {
            return Ok(None);
        };
        Ok((!model.output_outlets()?.contains(&outlet)).then_some(next.node))
    }

    /// What a node does to an outlet with one number for each channel.
    fn step(
        &self,
        model: &TypedModel,
        outlet: OutletId,
        id: usize,
    ) -> TractResult<Option<(&'static str, Vec<f32>)>> {
        let node = model.node(id);
        let Some(TypedBinOp(operator, None)) = node.op_as::<TypedBinOp>() else { return Ok(None) };
        let [first, second] = *node.inputs else { return Ok(None) };
        let other = if first == outlet { second } else { first };
        let Some(other) = model.outlet_fact(other)?.konst.as_ref() else { return Ok(None) };
        Ok(self.of_channels(other)?.map(|numbers| (operator.name(), numbers)))
    }

    /// What a node does to an outlet with one number for all.
    fn uniform(
        &self,
        model: &TypedModel,
        outlet: OutletId,
        id: usize,
    ) -> TractResult<Option<(&'static str, f32)>> {
        let step = self.step(model, outlet, id)?;
        Ok(step
            .filter(|(_, numbers)| numbers.iter().all(|it| *it == numbers[0]))
            .map(|(operator, numbers)| (operator, numbers[0])))
    }

    /// One number for each channel that comes out.
    fn of_channels(&self, tensor: &Tensor) -> TractResult<Option<Vec<f32>>> {
        let channels = self.bias.len();
        let shape = tensor.shape();
        let is_along = shape.len() == self.rank
            && shape.iter().enumerate().all(|(axis, size)| *size == 1 || axis == self.axis);
        if tensor.datum_type() != f32::datum_type() || !is_along {
            return Ok(None);
        }
        let numbers = tensor.try_as_plain_ram()?.as_slice::<f32>()?;
        Ok(match numbers {
            _ if numbers.iter().any(|it| it.is_nan()) => None,
            [one] => Some(vec![*one; channels]),
            _ if numbers.len() == channels => Some(numbers.to_vec()),
            _ => None,
        })
    }

    /// How it is computed; none where it cannot be so.
    fn work(self) -> Option<Work> {
        let Taken { weights, bias, ending, .. } = self;
        Some(match self.form {
            Form::Depthwise(geometry) => {
                Work::Planes(Planes::new(geometry, weights, bias, ending)?)
            }
            Form::Window(geometry) => {
                Work::Product(Product::new(&weights, &bias, ending, 0, Some(geometry))?)
            }
            Form::Places(places) => {
                Work::Product(Product::new(&weights, &bias, ending, places, None)?)
            }
        })
    }
}

/// Whether this narrows bounds to others.
fn bounded(bounds: &mut Bounds, operator: &str, number: f32) -> bool {
    match operator {
        "Max" if number <= bounds.high => bounds.low = bounds.low.max(number),
        "Min" if number >= bounds.low => bounds.high = bounds.high.min(number),
        _ => return false,
    }
    true
}

/// The numbers of a tensor that a model has; none if they are computed, or no numbers of 32 bits.
fn known(model: &TypedModel, outlet: OutletId) -> TractResult<Option<Vec<f32>>> {
    let fact = model.outlet_fact(outlet)?;
    let Some(tensor) = fact.konst.as_ref().filter(|it| it.datum_type() == f32::datum_type()) else {
        return Ok(None);
    };
    if tensor.is_exotic() {
        return Ok(None);
    }
    Ok(Some(tensor.try_as_plain_ram()?.as_slice::<f32>()?.to_vec()))
}

impl Op for Convolution {
    fn name(&self) -> StaticName {
        match self.work {
            Work::Planes(_) => "Planes".into(),
            Work::Product(_) => "Product".into(),
        }
    }

    fn validation(&self) -> Validation {
        Validation::Rounding
    }

    op_as_typed_op!();
}

impl EvalOp for Convolution {
    op_out_of_plan!();

    fn eval(&self, _: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let input = inputs[0].try_as_plain_ram()?.as_slice::<f32>()?;
        let mut output = Tensor::zero_dt(f32::datum_type(), &self.shape)?;
        let mut view = output.try_as_plain_ram_mut()?;
        match &self.work {
            Work::Planes(planes) => planes.convolve(input, view.as_slice_mut::<f32>()?),
            Work::Product(product) => product.convolve(input, view.as_slice_mut::<f32>()?),
        }
        Ok(tvec!(output.into_tvalue()))
    }
}

impl TypedOp for Convolution {
    as_op!();

    fn output_facts(&self, _: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        Ok(tvec!(f32::fact(&self.shape)))
    }
}

#[cfg(test)]
mod tests;
