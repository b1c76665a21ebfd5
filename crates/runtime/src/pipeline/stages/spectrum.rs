//! The spectrum of each column: `|sum(w[n] x[n] exp(-2 pi i k n / size))|` for `k` from 0 to `size / 2`.
//!
//! The transform is rustfft's in plain arithmetic of 64 bits: its vector code adds in another order on each
//! processor. Its factors come from the C library's sine, so two devices may differ in the last of 64 bits.

use super::{Fitted, Input, Stage, narrow, numbers, tensor};
use crate::pipeline::flow::Flow;
use crate::pipeline::graph::{Failure, Frame};
use crate::tensor::{Element, Tensor};
use lineside_bundle::stages::{Gives, Spectrum, Taper};
use rustfft::num_complex::Complex;
use rustfft::{Fft, FftPlannerScalar};
use std::f64::consts::PI;
use std::sync::Arc;

struct Transformed {
    shape: Vec<usize>,
    columns: usize,
    /// First row of each transform.
    firsts: Vec<usize>,
    taper: Vec<f64>,
    fft: Arc<dyn Fft<f64>>,
    gives: Gives,
}

pub(super) fn fit(spectrum: &Spectrum, input: &Input<'_>) -> Result<Fitted, String> {
    input.check_numbers()?;
    let port = &input.flow.port;
    let is_list = port.shape().len() == 1;
    if !is_list && port.shape().len() != 2 {
        return Err(input.wrong("rows, or rows and columns, are needed"));
    }
    let (rows, columns) = (port.shape()[0], input.flow.columns());
    let size = spectrum.size.map_or(rows, |size| size as usize);
    let firsts: Vec<usize> = match spectrum.hop {
        None if size < rows => {
            return Err(input.wrong(format!("size = {size} leaves rows over: say `hop`")));
        }
        None => vec![0],
        Some(_) if size > rows => {
            return Err(input.wrong(format!("size = {size} is more than its rows")));
        }
        Some(hop) => (0..=rows - size).step_by(hop as usize).collect(),
    };
    // Before anything is allocated for it.
    let shape: Vec<usize> = spectrum
        .hop
        .map(|_| firsts.len())
        .into_iter()
        .chain([size / 2 + 1])
        .chain((!is_list).then_some(columns))
        .collect();
    let output = Flow::new(Element::F32, shape.clone())?;
    let stage = Transformed {
        shape,
        columns,
        firsts,
        taper: taper(spectrum.taper, size.min(rows)),
        fft: FftPlannerScalar::new().plan_fft_forward(size),
        gives: spectrum.gives,
    };
    Fitted::one(stage, output)
}

/// The factors of so many values; those of a period, as for the analysis of spectra.
fn taper(taper: Taper, length: usize) -> Vec<f64> {
    let cosine = |n: usize, times: f64| libm::cos(times * 2.0 * PI * n as f64 / length as f64);
    let factor = |n| match taper {
        Taper::None => 1.0,
        Taper::Hann => 0.5 - 0.5 * cosine(n, 1.0),
        Taper::Hamming => 0.54 - 0.46 * cosine(n, 1.0),
        Taper::Blackman => 0.42 - 0.5 * cosine(n, 1.0) + 0.08 * cosine(n, 2.0),
    };
    (0..length).map(factor).collect()
}

impl Stage for Transformed {
    fn run(&mut self, _frame: &Frame<'_>, inputs: &[&Tensor]) -> Result<Vec<Tensor>, Failure> {
        let values = numbers(inputs, 0)?;
        let size = self.fft.len();
        let bins = size / 2 + 1;
        let mut told = vec![0.0; self.firsts.len() * bins * self.columns];
        let mut buffer = vec![Complex::ZERO; size];
        let mut scratch = vec![Complex::ZERO; self.fft.get_inplace_scratch_len()];
        for (at, first) in self.firsts.iter().enumerate() {
            for column in 0..self.columns {
                let rows = values.iter().skip(first * self.columns + column).step_by(self.columns);
                buffer.fill(Complex::ZERO);
                for ((place, factor), value) in buffer.iter_mut().zip(&self.taper).zip(rows) {
                    place.re = factor * value;
                }
                self.fft.process_with_scratch(&mut buffer, &mut scratch);
                for (bin, value) in buffer.iter().take(bins).enumerate() {
                    let power = value.re * value.re + value.im * value.im;
                    told[(at * bins + bin) * self.columns + column] = match self.gives {
                        Gives::Magnitude => power.sqrt(),
                        Gives::Power => power,
                    };
                }
            }
        }
        Ok(vec![tensor(&self.shape, narrow(told))?])
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Bench, close, refused, window};
    use super::*;
    use proptest::prelude::*;

    const SPECTRUM: &str = "kind = 'spectrum'\ninput = 'window'\n";

    fn sine(periods: f64, length: usize) -> Vec<f32> {
        let value = |n: usize| (2.0 * PI * periods * n as f64 / length as f64).sin() as f32;
        (0..length).map(value).collect()
    }

    #[test]
    fn a_sine_peaks_in_its_bin_and_a_constant_in_the_first() {
        // A sine of a whole number of periods has half of its length at its place, and nothing elsewhere.
        let mut spectrum = Bench::new(SPECTRUM, &[window(&[16])]);
        assert_eq!(spectrum.forms(), ["f32 [9]"]);
        close(&spectrum.numbers(&sine(3.0, 16)), &[0., 0., 0., 8., 0., 0., 0., 0., 0.]);
        close(&spectrum.numbers(&[2.0; 16]), &[32., 0., 0., 0., 0., 0., 0., 0., 0.]);
        // Odd lengths have no frequency of their own at the end.
        let mut spectrum = Bench::new(SPECTRUM, &[window(&[5])]);
        close(&spectrum.numbers(&[1.0, 0.0, 0.0, 0.0, 0.0]), &[1.0; 3]);
    }

    #[test]
    fn power_is_the_square_and_columns_and_transforms_are_kept_apart() {
        let stage = format!("{SPECTRUM}gives = 'power'\nsize = 4\nhop = 2");
        let mut spectrum = Bench::new(&stage, &[window(&[6, 2])]);
        assert_eq!(spectrum.forms(), ["f32 [2, 3, 2]"]);
        // The first column is 1, -1, 1, …; the second 1 in the last row, which only the second transform has.
        let values: Vec<f32> = (0..6)
            .flat_map(|row| [if row % 2 == 0 { 1.0 } else { -1.0 }, f32::from(row == 5)])
            .collect();
        close(&spectrum.numbers(&values), &[0., 0., 0., 0., 16., 0., 0., 1., 0., 1., 16., 1.]);
    }

    #[test]
    fn noughts_are_added_where_the_transform_is_longer() {
        let mut spectrum = Bench::new(&format!("{SPECTRUM}size = 4"), &[window(&[2])]);
        // 1 + exp(-i pi k / 2): 2, sqrt 2, 0.
        close(&spectrum.numbers(&[1.0, 1.0]), &[2.0, 2.0f64.sqrt(), 0.0]);
    }

    #[test]
    fn tapers_are_those_of_their_formulas() {
        let of = |name: &str| {
            let stage = format!("{SPECTRUM}taper = '{name}'");
            Bench::new(&stage, &[window(&[8])]).numbers(&[1.0; 8])
        };
        // The transform of the taper itself: N times its constant, then N / 2 times each cosine.
        close(&of("none"), &[8.0, 0.0, 0.0, 0.0, 0.0]);
        close(&of("hann"), &[4.0, 2.0, 0.0, 0.0, 0.0]);
        close(&of("hamming"), &[4.32, 1.84, 0.0, 0.0, 0.0]);
        close(&of("blackman"), &[3.36, 2.0, 0.32, 0.0, 0.0]);
    }

    #[test]
    fn sizes_that_do_not_fit_are_refused() {
        let spectrum = |settings: &str, shape: &[usize]| {
            refused(&format!("{SPECTRUM}{settings}"), window(shape))
        };
        for (settings, shape, said) in [
            ("size = 4", &[8][..], "window is f32 [8], size = 4 leaves rows over: say `hop`"),
            ("size = 9\nhop = 1", &[8], "window is f32 [8], size = 9 is more than its rows"),
            ("", &[2, 2, 2], "window is f32 [2, 2, 2], rows, or rows and columns, are needed"),
            ("", &[], "window is f32 [], rows, or rows and columns, are needed"),
        ] {
            assert_eq!(spectrum(settings, shape), format!("input input: {said}"));
        }
        assert_eq!(spectrum("size = 0", &[8]), "size = 0 must be 1 to 65536");
        assert_eq!(spectrum("hop = 0", &[8]), "hop = 0 must be 1 to 65536");
        assert!(spectrum("taper = 'hat'", &[8]).contains("unknown variant `hat`"));
        let much = spectrum("size = 65536\nhop = 1", &[1 << 17]);
        assert!(much.contains("more than 16777216 elements"), "{much}");
    }

    proptest! {
        /// Parseval: the powers of all frequencies are those of all values, times the length.
        #[test]
        fn no_power_is_lost(values in proptest::collection::vec(-9f32..9.0, 2..70)) {
            let length = values.len();
            let stage = format!("{SPECTRUM}gives = 'power'");
            let powers = Bench::new(&stage, &[window(&[length])]).numbers(&values);
            // All but the first, and the last of an even length, stand for two frequencies.
            let twice = |bin: usize| if bin == 0 || 2 * bin == length { 1.0 } else { 2.0 };
            let found: f64 = powers.iter().enumerate().map(|(bin, power)| twice(bin) * power).sum();
            let wanted: f64 = values.iter().map(|value| f64::from(*value).powi(2)).sum();
            let wanted = wanted * length as f64;
            prop_assert!((found - wanted).abs() <= 1e-5 * wanted.max(1.0), "{found} {wanted}");
        }
    }
}
