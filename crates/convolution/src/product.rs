//! Convolutions over all channels as products of matrices, in vectors along the places that come out.
//!
//! Of so many places as fill a few vectors, everything that goes into them is laid together once; then each
//! group of channels that come out takes it in one go, in registers.

use crate::planes::pick;
use crate::{Ending, Geometry};
use rten_simd::ops::{BitOps, NumOps};
use rten_simd::{Isa, SimdOp};

/// Channels that are computed together, which with [`WIDE`] vectors fit into 32 registers, and with one into
/// 16.
const GROUP: usize = 8;
const WIDE: usize = 3;
/// Processors with vectors as long as this have 32 registers.
const LONG: usize = 16;
/// The longest vector, in numbers of 32 bits.
const VECTOR_MAX: usize = 64;
/// Numbers in a line of a processor's cache.
const LINE: usize = 16;

/// A convolution: of each channel that comes out, the weights of all that goes into one place.
#[derive(Debug, Clone, PartialEq)]
pub struct Product {
    /// Group by group of channels that come out, each with zeros for those that are missing.
    weights: Vec<f32>,
    bias: Vec<f32>,
    ending: Ending,
    /// Channels that go in, and come out.
    channels: [usize; 2],
    /// Where places lie; none where each is made of the one where it lies.
    window: Option<Geometry>,
    /// Places of a channel that goes in, and of one that comes out.
    sizes: [usize; 2],
}

impl Eq for Product {}

/// Neighbours among places: where they lie in what is laid together, where in a channel, and how many.
struct Piece {
    to: usize,
    from: usize,
    count: usize,
}

impl Product {
    /// A product of weights `[channels out, channels in, down, across]` and a bias for each channel that comes
    /// out: over a window; or, where there is none, of so many places, each made of itself alone. None if the
    /// numbers do not fit each other.
    pub fn new(
        weights: &[f32],
        bias: &[f32],
        ending: Ending,
        places: usize,
        window: Option<Geometry>,
    ) -> Option<Product> {
        if window.as_ref().is_some_and(|window| !window.is_sound()) {
            return None;
        }
        let given = bias.len();
        let taps = window.as_ref().map_or(1, |it| it.kernel[0] * it.kernel[1]);
        let depth = weights.len().checked_div(given)?;
        if depth == 0 || depth * given != weights.len() || depth % taps != 0 {
            return None;
        }
        let groups = given.div_ceil(GROUP);
        let mut packed = vec![0.0; groups * depth * GROUP];
        for (channel, weights) in weights.chunks_exact(depth).enumerate() {
            let group = &mut packed[channel / GROUP * depth * GROUP..][..depth * GROUP];
            let places = group.iter_mut().skip(channel % GROUP).step_by(GROUP);
            places.zip(weights).for_each(|(place, weight)| *place = *weight);
        }
        let mut bias = bias.to_vec();
        bias.resize(groups * GROUP, 0.0);
        let sizes = match &window {
            None => [places, places],
            Some(of) => [of.input, of.output].map(|[down, across]| down * across),
        };
        let channels = [depth / taps, given];
        Some(Product { weights: packed, bias, ending, channels, window, sizes })
    }

    /// Convolves `[batch, channels in, down, across]` into `[batch, channels out, down, across]`.
    pub fn convolve(&self, input: &[f32], output: &mut [f32]) {
        Multiplying { product: self, input, output }.dispatch();
    }

    fn depth(&self) -> usize {
        self.channels[0] * self.window.as_ref().map_or(1, |it| it.kernel[0] * it.kernel[1])
    }
}

/// A product at work.
struct Multiplying<'a> {
    product: &'a Product,
    input: &'a [f32],
    output: &'a mut [f32],
}

impl SimdOp for Multiplying<'_> {
    type Output = ();

    #[inline(always)]
    fn eval<I: Isa>(self, isa: I) {
        let product = self.product;
        let vector = isa.f32().len();
        let wide = if vector < LONG { 1 } else { WIDE };
        let depth = product.depth();
        let mut laid = vec![0.0; depth * wide * vector + LINE];
        // What begins where a line of the cache does is read at once.
        let start = laid.as_ptr().align_offset(LINE * size_of::<f32>()).min(LINE);
        let [taken, given] = product.sizes;
        let [channels_in, channels_out] = product.channels;
        let mut padded = product.window.as_ref().map(|window| Padded::new(window, channels_in));
        let inputs = self.input.chunks_exact(channels_in * taken);
        let outputs = self.output.chunks_exact_mut(channels_out * given);
        for (input, output) in inputs.zip(outputs) {
            if let Some(padded) = &mut padded {
                padded.fill(input);
            }
            let mut place = 0;
            while place < given {
                let vectors = (given - place).div_ceil(vector).min(wide);
                let count = (given - place).min(vectors * vector);
                let laid = &mut laid[start..][..depth * vectors * vector];
                match &padded {
                    None => lay(input, taken, place, count, vectors * vector, laid),
                    Some(padded) => padded.lay(place, count, vectors * vector, laid),
                }
                match vectors {
                    1 => product.places::<I, 1>(isa, laid, place, count, output),
                    2 => product.places::<I, 2>(isa, laid, place, count, output),
                    _ => product.places::<I, WIDE>(isa, laid, place, count, output),
                }
                place += count;
            }
        }
    }
}

/// Lays some places of all channels together.
#[inline(always)]
fn lay(input: &[f32], size: usize, place: usize, count: usize, width: usize, laid: &mut [f32]) {
    for (channel, line) in input.chunks_exact(size).zip(laid.chunks_exact_mut(width)) {
        line[..count].copy_from_slice(&channel[place..][..count]);
    }
}

impl Product {
    /// All channels that come out of so many vectors of places.
    #[inline(always)]
    fn places<I: Isa, const V: usize>(
        &self,
        isa: I,
        laid: &[f32],
        place: usize,
        count: usize,
        output: &mut [f32],
    ) {
        let ops = isa.f32();
        let vector = ops.len();
        let groups =
            self.weights.chunks_exact(self.depth() * GROUP).zip(self.bias.chunks_exact(GROUP));
        for (group, (weights, bias)) in groups.enumerate() {
            let mut sums: [[I::F32; V]; GROUP] = std::array::from_fn(|at| [ops.splat(bias[at]); V]);
            for (line, weights) in laid.chunks_exact(V * vector).zip(weights.chunks_exact(GROUP)) {
                let numbers = ops.load_many::<V>(line);
                for (sums, weight) in sums.iter_mut().zip(weights) {
                    let weight = ops.splat(*weight);
                    for (sum, numbers) in sums.iter_mut().zip(numbers) {
                        *sum = ops.mul_add(numbers, weight, *sum);
                    }
                }
            }
            for (at, sums) in sums.into_iter().enumerate() {
                let channel = group * GROUP + at;
                if channel == self.channels[1] {
                    return;
                }
                let to = &mut output[channel * self.sizes[1] + place..][..count];
                for (sum, to) in sums.into_iter().zip(to.chunks_mut(vector)) {
                    let sum = self.ending.apply(isa, sum);
                    if to.len() == vector {
                        ops.store(sum, to);
                    } else {
                        let mut last = [0.0; VECTOR_MAX];
                        ops.store(sum, &mut last);
                        to.copy_from_slice(&last[..to.len()]);
                    }
                }
            }
        }
    }
}

/// What goes in, with the zeros beside it.
struct Padded<'a> {
    window: &'a Geometry,
    numbers: Vec<f32>,
    /// Sizes of a channel with its zeros.
    size: [usize; 2],
}

impl<'a> Padded<'a> {
    fn new(window: &'a Geometry, channels: usize) -> Padded<'a> {
        let size = window.padded();
        Padded { window, numbers: vec![0.0; channels * size[0] * size[1]], size }
    }

    #[inline(always)]
    fn fill(&mut self, input: &[f32]) {
        let [height, width] = self.window.input;
        let [before, left] = self.window.before;
        let channels = self.numbers.chunks_exact_mut(self.size[0] * self.size[1]);
        for (channel, input) in channels.zip(input.chunks_exact(height * width)) {
            let lines = channel.chunks_exact_mut(self.size[1]).skip(before);
            for (line, input) in lines.zip(input.chunks_exact(width)) {
                line[left..][..width].copy_from_slice(input);
            }
        }
    }

    /// Lays everything that goes into some places together.
    #[inline(always)]
    fn lay(&self, place: usize, count: usize, width: usize, laid: &mut [f32]) {
        let Geometry { output, kernel, strides, dilations, .. } = self.window;
        let mut pieces = Vec::with_capacity(count / output[1] + 2);
        let mut to = 0;
        while to < count {
            let (row, at) = ((place + to) / output[1], (place + to) % output[1]);
            let piece = (output[1] - at).min(count - to);
            let from = row * strides[0] * self.size[1] + at * strides[1];
            pieces.push(Piece { to, from, count: piece });
            to += piece;
        }
        let mut lines = laid.chunks_exact_mut(width);
        for channel in self.numbers.chunks_exact(self.size[0] * self.size[1]) {
            for down in 0..kernel[0] {
                for across in 0..kernel[1] {
                    let Some(line) = lines.next() else { return };
                    let tap = down * dilations[0] * self.size[1] + across * dilations[1];
                    let numbers = &channel[tap..];
                    for Piece { to, from, count } in &pieces {
                        pick(&numbers[*from..], strides[1], &mut line[*to..][..*count]);
                    }
                }
            }
        }
    }
}
