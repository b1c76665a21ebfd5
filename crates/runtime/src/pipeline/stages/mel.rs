//! A spectrum in bands that overlap and are equally wide to the ear: triangles that reach 1.
//!
//! `htk`: `2595 log10(1 + f / 700)` (O'Shaughnessy 1987, as in HTK). `slaney`: `3 f / 200` up to 1000 Hz and
//! `15 + 27 ln(f / 1000) / ln 6.4` above (Slaney's Auditory Toolbox, 1998).

use super::{Fitted, Input, Stage, narrow, numbers, tensor};
use crate::pipeline::flow::Flow;
use crate::pipeline::graph::{Failure, Frame};
use crate::tensor::{Element, Tensor};
use lineside_bundle::stages::{Mel, MelScale};

struct Bands {
    shape: Vec<usize>,
    bins: usize,
    /// First bin of each band, and the weights from there on.
    bands: Vec<(usize, Vec<f64>)>,
    log_floor: Option<f64>,
}

pub(super) fn fit(mel: &Mel, input: &Input<'_>) -> Result<Fitted, String> {
    input.check_numbers()?;
    let (size, bins) = (mel.size as usize, mel.size as usize / 2 + 1);
    if input.last() != bins {
        return Err(input.wrong(format!(
            "a spectrum of size = {size} has {bins} frequencies along its last dimension"
        )));
    }
    let count = mel.bands as usize;
    let (low, high) = (to_mel(mel.scale, mel.low_hz), to_mel(mel.scale, mel.high_hz()));
    let edge = |at: usize| to_hz(mel.scale, low + (high - low) * at as f64 / (count + 1) as f64);
    let hz = |bin: usize| bin as f64 * mel.rate_hz / size as f64;
    let mut bands = Vec::with_capacity(count);
    for band in 0..count {
        let [from, peak, to] = [band, band + 1, band + 2].map(edge);
        let weight = |bin: usize| {
            let (rise, fall) = ((hz(bin) - from) / (peak - from), (to - hz(bin)) / (to - peak));
            rise.min(fall).max(0.0)
        };
        let first = (0..bins).find(|bin| weight(*bin) > 0.0);
        let Some(first) = first else {
            return Err(input.wrong(format!(
                "band {band} of {count} lies between two of its frequencies: fewer bands or a larger size"
            )));
        };
        let weights = (first..bins).map(weight).take_while(|weight| *weight > 0.0).collect();
        bands.push((first, weights));
    }
    let shape = input.shape_with(Some(count));
    let output = Flow::new(Element::F32, shape.clone())?;
    Fitted::one(Bands { shape, bins, bands, log_floor: mel.log_floor }, output)
}

fn to_mel(scale: MelScale, hz: f64) -> f64 {
    match scale {
        MelScale::Htk => 2595.0 * libm::log10(1.0 + hz / 700.0),
        MelScale::Slaney if hz < 1000.0 => 3.0 * hz / 200.0,
        MelScale::Slaney => 15.0 + 27.0 * libm::log(hz / 1000.0) / libm::log(6.4),
    }
}

fn to_hz(scale: MelScale, mel: f64) -> f64 {
    match scale {
        MelScale::Htk => 700.0 * (libm::pow(10.0, mel / 2595.0) - 1.0),
        MelScale::Slaney if mel < 15.0 => 200.0 * mel / 3.0,
        MelScale::Slaney => 1000.0 * libm::exp((mel - 15.0) * libm::log(6.4) / 27.0),
    }
}

impl Stage for Bands {
    fn run(&mut self, _frame: &Frame<'_>, inputs: &[&Tensor]) -> Result<Vec<Tensor>, Failure> {
        let values = numbers(inputs, 0)?;
        let mut sums = Vec::with_capacity(values.len() / self.bins * self.bands.len());
        for spectrum in values.chunks_exact(self.bins) {
            for (first, weights) in &self.bands {
                let pairs = spectrum.iter().skip(*first).zip(weights);
                let sum: f64 = pairs.map(|(value, weight)| value * weight).sum();
                sums.push(self.log_floor.map_or(sum, |floor| libm::log(sum.max(floor))));
            }
        }
        Ok(vec![tensor(&self.shape, narrow(sums))?])
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Bench, close, refused, window};
    use super::*;

    const MEL: &str = "kind = 'mel'\ninput = 'spectrum'\nsize = 16\nrate_hz = 1600\n";

    #[test]
    fn below_1000_hz_slaney_s_bands_are_triangles_of_equal_width() {
        // Edges at 0, 200, 400, 600 and 800 Hz; a bin every 100 Hz.
        let stage = format!("{MEL}bands = 3\nscale = 'slaney'");
        let mut mel = Bench::new(&stage, &[window(&[2, 9])]);
        assert_eq!(mel.forms(), ["f32 [2, 3]"]);
        let mut spectra = [0.0; 18];
        (spectra[2], spectra[3], spectra[8]) = (5.0, 4.0, 100.0);
        spectra[9..].fill(1.0);
        close(&mel.numbers(&spectra), &[7.0, 2.0, 0.0, 2.0, 2.0, 2.0]);
    }

    #[test]
    fn the_scales_are_those_that_were_published() {
        // 1000 Hz are 1000 mel (999.99) after O'Shaughnessy, and 15 after Slaney; 6400 Hz are 42.
        assert!((to_mel(MelScale::Htk, 1000.0) - 999.9855).abs() < 1e-3);
        assert_eq!(to_mel(MelScale::Slaney, 1000.0), 15.0);
        assert!((to_mel(MelScale::Slaney, 6400.0) - 42.0).abs() < 1e-12);
        for scale in [MelScale::Htk, MelScale::Slaney] {
            for hz in [0.0, 20.0, 700.0, 999.0, 1001.0, 8000.0] {
                assert!((to_hz(scale, to_mel(scale, hz)) - hz).abs() < 1e-9 * hz.max(1.0));
            }
        }
    }

    #[test]
    fn logarithms_are_natural_and_have_a_floor() {
        let stage = format!("{MEL}bands = 1\nlog_floor = 0.01\nscale = 'slaney'");
        let mut mel = Bench::new(&stage, &[window(&[9])]);
        // One triangle from 0 to 800 Hz with its peak at 400.
        let mut spectrum = [0.0; 9];
        close(&mel.numbers(&spectrum), &[0.01f64.ln()]);
        spectrum[4] = 3.0;
        close(&mel.numbers(&spectrum), &[3.0f64.ln()]);
    }

    #[test]
    fn bands_that_there_cannot_be_are_refused() {
        let mel =
            |settings: &str, shape: &[usize]| refused(&format!("{MEL}{settings}"), window(shape));
        assert_eq!(
            mel("bands = 2", &[9, 3]),
            "input input: spectrum is f32 [9, 3], a spectrum of size = 16 has 9 frequencies along its last dimension"
        );
        assert_eq!(
            mel("bands = 40", &[9]),
            "input input: spectrum is f32 [9], band 0 of 40 lies between two of its frequencies: \
             fewer bands or a larger size"
        );
        for (settings, said) in [
            (
                "bands = 2\nhigh_hz = 801",
                "bands from low_hz = 0 to high_hz = 801 do not lie within 0 to 800, half of rate_hz",
            ),
            (
                "bands = 2\nlow_hz = 800",
                "bands from low_hz = 800 to high_hz = 800 do not lie within 0 to 800, half of rate_hz",
            ),
            ("bands = 2\nlow_hz = nan", "low_hz = NaN must be finite"),
            ("bands = 2\nlog_floor = 0", "log_floor = 0 must be above zero"),
            ("bands = 0", "bands = 0 must be 1 to 4096"),
        ] {
            assert_eq!(mel(settings, &[9]), said);
        }
    }
}
