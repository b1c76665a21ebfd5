//! Images of another size. Pixels are squares whose middles lie at a half (OpenCV's, and `half_pixel` of
//! ONNX); nothing is smoothed before an image becomes smaller.

use super::image::{Size, resized, size};
use super::{Fitted, Input, Stage, narrow, numbers, tensor};
use crate::pipeline::flow::Flow;
use crate::pipeline::graph::{Failure, Frame};
use crate::tensor::{Element, Tensor};
use lineside_bundle::stages::{Interpolation, Resize};

struct Resized {
    shape: Vec<usize>,
    from: Size,
    rows: Vec<Between>,
    columns: Vec<Between>,
}

/// Two places next to each other, and how much of the second is taken.
struct Between(usize, usize, f64);

pub(super) fn fit(resize: &Resize, input: &Input<'_>) -> Result<Fitted, String> {
    let from = size(input)?;
    let (height, width) = (resize.height as usize, resize.width as usize);
    let shape = resized(input, height, width);
    let output = Flow::new(Element::F32, shape.clone())?;
    let rows = places(from.height, height, resize.interpolation);
    let columns = places(from.width, width, resize.interpolation);
    Fitted::one(Resized { shape, from, rows, columns }, output)
}

/// Where each of `to` pixels comes from among `from`.
fn places(from: usize, to: usize, interpolation: Interpolation) -> Vec<Between> {
    let last = from - 1;
    let place = |at: usize| {
        let middle = (at as f64 + 0.5) * from as f64 / to as f64;
        match interpolation {
            // Of two pixels as near the first (`round_prefer_floor`).
            Interpolation::Nearest => {
                Between((middle.ceil() as usize).saturating_sub(1).min(last), 0, 0.0)
            }
            Interpolation::Bilinear => {
                let place = (middle - 0.5).clamp(0.0, last as f64);
                let first = place as usize;
                Between(first, (first + 1).min(last), place - first as f64)
            }
        }
    };
    (0..to).map(place).collect()
}

impl Stage for Resized {
    fn run(&mut self, _frame: &Frame<'_>, inputs: &[&Tensor]) -> Result<Vec<Tensor>, Failure> {
        let values = numbers(inputs, 0)?;
        let Size { width, channels, .. } = self.from;
        let mut pixels = Vec::with_capacity(self.rows.len() * self.columns.len() * channels);
        for Between(top, bottom, down) in &self.rows {
            for Between(left, right, across) in &self.columns {
                for channel in 0..channels {
                    let value = |row: &usize, column: &usize| {
                        values[(row * width + column) * channels + channel]
                    };
                    let above = mixed(value(top, left), value(top, right), *across);
                    let below = mixed(value(bottom, left), value(bottom, right), *across);
                    pixels.push(mixed(above, below, *down));
                }
            }
        }
        Ok(vec![tensor(&self.shape, narrow(pixels))?])
    }
}

fn mixed(first: f64, second: f64, share: f64) -> f64 {
    first * (1.0 - share) + second * share
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Bench, close, refused, window};
    use proptest::prelude::*;

    fn resize(height: u32, width: u32, settings: &str) -> String {
        format!("kind = 'resize'\ninput = 'image'\nheight = {height}\nwidth = {width}\n{settings}")
    }

    #[test]
    fn pixels_are_mixed_by_how_near_their_middles_are() {
        let mut larger = Bench::new(&resize(1, 4, ""), &[window(&[1, 2])]);
        assert_eq!(larger.forms(), ["f32 [1, 4]"]);
        close(&larger.numbers(&[0.0, 1.0]), &[0.0, 0.25, 0.75, 1.0]);
        let mut smaller = Bench::new(&resize(1, 2, ""), &[window(&[2, 4])]);
        close(&smaller.numbers(&[0., 1., 2., 3., 10., 11., 12., 13.]), &[5.5, 7.5]);
        let nearest = resize(1, 4, "interpolation = 'nearest'");
        let mut nearest = Bench::new(&nearest, &[window(&[1, 2, 2])]);
        assert_eq!(nearest.forms(), ["f32 [1, 4, 2]"]);
        close(&nearest.numbers(&[1., 2., 3., 4.]), &[1., 2., 1., 2., 3., 4., 3., 4.]);
    }

    #[test]
    fn of_two_pixels_that_are_as_near_the_first_is_taken() {
        // onnxruntime's Resize, nearest with half_pixel and round_prefer_floor: 4 to 2 and 5 to 3.
        for (from, to, taken) in
            [(4, 2, &[0.0, 2.0][..]), (5, 3, &[0.0, 2.0, 4.0]), (6, 2, &[1.0, 4.0])]
        {
            let nearest = resize(1, to, "interpolation = 'nearest'");
            let pixels: Vec<f32> = (0..from).map(|at| at as f32).collect();
            close(&Bench::new(&nearest, &[window(&[1, from])]).numbers(&pixels), taken);
        }
    }

    #[test]
    fn what_is_no_image_or_too_large_is_refused() {
        assert_eq!(
            refused(&resize(2, 2, ""), window(&[4])),
            "input input: image is f32 [4], [height, width] or [height, width, channels] is needed"
        );
        assert_eq!(refused(&resize(0, 2, ""), window(&[2, 2])), "height = 0 must be 1 to 16384");
        let said = refused(&resize(16384, 16384, ""), window(&[2, 2]));
        assert!(said.contains("more than 16777216 elements"), "{said}");
    }

    proptest! {
        #[test]
        fn one_colour_stays_it_and_the_same_size_changes_nothing(
            (height, width) in (1..9usize, 1..9usize),
            (to_height, to_width) in (1..20u32, 1..20u32),
            colour in -9f32..9.0,
            name in prop_oneof![Just("nearest"), Just("bilinear")],
        ) {
            let settings = format!("interpolation = '{name}'");
            let flat = vec![colour; height * width];
            let mut other = Bench::new(&resize(to_height, to_width, &settings), &[window(&[height, width])]);
            let there = other.numbers(&flat);
            prop_assert!(there.iter().all(|it| (it - f64::from(colour)).abs() < 1e-5));
            let steps: Vec<f32> = (0..height * width).map(|at| at as f32).collect();
            let same = resize(height as u32, width as u32, &settings);
            let mut same = Bench::new(&same, &[window(&[height, width])]);
            let wanted: Vec<f64> = steps.iter().map(|step| f64::from(*step)).collect();
            prop_assert_eq!(same.numbers(&steps), wanted);
        }
    }
}
