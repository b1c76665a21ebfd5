//! Convolutions of each channel with a kernel of its own, in vectors along whole planes.
//!
//! A plane is laid behind margins of zeros, so that what a tap of the kernel takes for all places of many
//! rows is one run of numbers, moved by the tap. What such a run takes from the end of a neighbouring row
//! instead of from beside the plane is masked.

use crate::{Ending, Geometry};
use rten_simd::ops::{BitOps, NumOps};
use rten_simd::{Isa, SimdOp};

/// Vectors that are computed together.
const TOGETHER: usize = 4;
/// Places of rows that are gone over in one go, at least, where there are as many.
const RUN: usize = 256;
/// The longest vector, in numbers of 32 bits.
const VECTOR_MAX: usize = 64;
/// Taps of a kernel that is as the geometry has it.
const ANY: usize = 0;
/// A mask's bits where a number is taken and where it is not.
const MASK: [u32; 2] = [0, u32::MAX];

/// What is convolved: planes of many channels, one behind the other.
#[derive(Debug, Clone)]
pub struct Planes {
    geometry: Geometry,
    /// Of each channel the kernel `[down, across]`, channel by channel.
    kernels: Vec<f32>,
    bias: Vec<f32>,
    ending: Ending,
    /// For each step across, which places of a run it takes; none if all.
    masks: Vec<Option<Vec<f32>>>,
    /// Rows in a run.
    rows: usize,
    /// Zeros before a plane, and the length of it all.
    margin: usize,
    length: usize,
}

impl PartialEq for Planes {
    fn eq(&self, other: &Planes) -> bool {
        self.geometry == other.geometry
            && self.kernels == other.kernels
            && self.bias == other.bias
            && self.ending == other.ending
    }
}

impl Eq for Planes {}

impl Planes {
    /// A convolution with a kernel `[down, across]` and a bias for each channel; none where zeros beside a
    /// plane would not do as they should, or where what comes out has more places than the steps of a plane.
    pub fn new(
        geometry: Geometry,
        kernels: Vec<f32>,
        bias: Vec<f32>,
        ending: Ending,
    ) -> Option<Planes> {
        let Geometry { input, output, kernel, strides, dilations, before } = &geometry;
        let taps = kernel[0] * kernel[1];
        let is_within = |way: usize| (output[way] - 1) * strides[way] < input[way];
        let is_sound = geometry.is_sound()
            && is_within(0)
            && is_within(1)
            && kernels.len() == taps * bias.len()
            && kernels.iter().all(|it| it.is_finite());
        if !is_sound {
            return None;
        }
        let width = input[1];
        let rows = if strides[0] == 1 { RUN.div_ceil(width).min(output[0]) } else { 1 };
        let run = rows * width;
        let mask = |step: usize| {
            let taken = |place: usize| {
                let at = place % width + step * dilations[1];
                (before[1]..before[1] + width).contains(&at)
            };
            let needed = (0..output[1]).all(|place| taken(place * strides[1]));
            let bits = (0..run + VECTOR_MAX).map(|place| MASK[usize::from(taken(place))]);
            (!needed).then(|| bits.map(f32::from_bits).collect())
        };
        let masks = (0..kernel[1]).map(mask).collect();
        let margin = before[0] * width + before[1];
        let down = (output[0] - 1) * strides[0] + (kernel[0] - 1) * dilations[0];
        let across = (kernel[1] - 1) * dilations[1];
        let last = (down + rows) * width + across;
        let length = last.max(margin + input[0] * width) + TOGETHER * VECTOR_MAX;
        Some(Planes { geometry, kernels, bias, ending, masks, rows, margin, length })
    }

    /// Numbers of a plane that goes in, and of one that comes out.
    fn sizes(&self) -> [usize; 2] {
        [self.geometry.input, self.geometry.output].map(|[down, across]| down * across)
    }

    /// Convolves planes `[batch, channels, down, across]` into as many, whose places it fills in that order.
    pub fn convolve(&self, input: &[f32], output: &mut [f32]) {
        Convolving { planes: self, input, output }.dispatch();
    }
}

/// A channel's share.
struct Of<'a> {
    taps: &'a [f32],
    bias: f32,
}

/// A convolution at work.
struct Convolving<'a> {
    planes: &'a Planes,
    input: &'a [f32],
    output: &'a mut [f32],
}

impl SimdOp for Convolving<'_> {
    type Output = ();

    #[inline(always)]
    fn eval<I: Isa>(self, isa: I) {
        let planes = self.planes;
        let Geometry { input, output, kernel, strides, .. } = &planes.geometry;
        let [size, given] = planes.sizes();
        let taps = kernel[0] * kernel[1];
        let mut laid = vec![0.0; planes.length];
        let is_direct = strides[1] == 1 && output[1] == input[1];
        let mut run = vec![0.0; planes.rows * input[1] + VECTOR_MAX];
        for (at, plane) in self.input.chunks_exact(size).enumerate() {
            laid[planes.margin..][..size].copy_from_slice(plane);
            let channel = at % planes.bias.len();
            let of =
                Of { taps: &planes.kernels[channel * taps..][..taps], bias: planes.bias[channel] };
            for row in (0..output[0]).step_by(planes.rows) {
                let rows = planes.rows.min(output[0] - row);
                let from = row * strides[0] * input[1];
                let count = rows * input[1];
                let target = at * given + row * output[1];
                if is_direct {
                    let output = &mut self.output[target..];
                    planes.run(isa, &laid[from..], &of, output, count);
                    continue;
                }
                planes.run(isa, &laid[from..], &of, &mut run, count);
                let output = &mut self.output[target..][..rows * output[1]];
                let lines = output.chunks_exact_mut(planes.geometry.output[1]);
                for (row, line) in lines.enumerate() {
                    pick(&run[row * input[1]..], strides[1], line);
                }
            }
        }
    }
}

/// Takes the first number, and of those behind it one in so many.
#[inline(always)]
pub(crate) fn pick(numbers: &[f32], stride: usize, to: &mut [f32]) {
    match stride {
        1 => to.copy_from_slice(&numbers[..to.len()]),
        // In vectors.
        2 if numbers.len() >= 2 * to.len() => {
            let pairs = numbers.chunks_exact(2);
            to.iter_mut().zip(pairs).for_each(|(to, pair)| *to = pair[0]);
        }
        stride => {
            let numbers = numbers.iter().step_by(stride);
            to.iter_mut().zip(numbers).for_each(|(to, from)| *to = *from);
        }
    }
}

impl Planes {
    /// So many places from the first of `laid` on; behind them, `output` may be written to.
    #[inline(always)]
    fn run<I: Isa>(&self, isa: I, laid: &[f32], of: &Of<'_>, output: &mut [f32], count: usize) {
        match self.geometry.kernel {
            [3, 3] => self.run_of::<I, 3>(isa, laid, of, output, count),
            [5, 5] => self.run_of::<I, 5>(isa, laid, of, output, count),
            _ => self.run_of::<I, ANY>(isa, laid, of, output, count),
        }
    }

    /// The same, with so many taps down and across: loops of a known length go without counting.
    #[inline(always)]
    fn run_of<I: Isa, const SIDE: usize>(
        &self,
        isa: I,
        laid: &[f32],
        of: &Of<'_>,
        output: &mut [f32],
        count: usize,
    ) {
        let vector = isa.f32().len();
        let mut place = 0;
        while place + (TOGETHER - 1) * vector < count {
            self.some::<I, TOGETHER, SIDE>(isa, &laid[place..], of, &mut output[place..], place);
            place += TOGETHER * vector;
        }
        while place < count {
            self.some::<I, 1, SIDE>(isa, &laid[place..], of, &mut output[place..], place);
            place += vector;
        }
    }

    /// So many vectors at a place of a run.
    #[inline(always)]
    fn some<I: Isa, const N: usize, const SIDE: usize>(
        &self,
        isa: I,
        laid: &[f32],
        of: &Of<'_>,
        output: &mut [f32],
        place: usize,
    ) {
        let ops = isa.f32();
        let vector = ops.len();
        let [down, across] = if SIDE == ANY { self.geometry.kernel } else { [SIDE; 2] };
        let [step_down, step_across] = self.geometry.dilations;
        let mut sums = [ops.splat(of.bias); N];
        for column in 0..across {
            let laid = &laid[column * step_across..];
            let mut part = [ops.zero(); N];
            for row in 0..down {
                let weight = ops.splat(of.taps[row * across + column]);
                let numbers = ops.load_many::<N>(&laid[row * step_down * self.geometry.input[1]..]);
                for (part, numbers) in part.iter_mut().zip(numbers) {
                    *part = ops.mul_add(numbers, weight, *part);
                }
            }
            if let Some(mask) = &self.masks[column] {
                let mask = ops.load_many::<N>(&mask[place..]);
                for (part, mask) in part.iter_mut().zip(mask) {
                    *part = ops.and(*part, mask);
                }
            }
            for (sum, part) in sums.iter_mut().zip(part) {
                *sum = ops.add(*sum, part);
            }
        }
        for (n, sum) in sums.into_iter().enumerate() {
            let sum = self.ending.apply(isa, sum);
            match output.get_mut(n * vector..) {
                Some(output) if output.len() >= vector => ops.store(sum, output),
                Some(output) => {
                    let mut last = [0.0; VECTOR_MAX];
                    ops.store(sum, &mut last);
                    output.copy_from_slice(&last[..output.len()]);
                }
                None => {}
            }
        }
    }
}
