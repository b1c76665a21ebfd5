//! What the channels of an image are, and where they stand.

use super::image::{Size, size};
use super::{Fitted, Input, Stage, narrow, numbers, tensor};
use crate::pipeline::flow::Flow;
use crate::pipeline::graph::{Failure, Frame};
use crate::tensor::{Element, Tensor};
use lineside_bundle::stages::{Colour, Colours};

/// How much red, green and blue add to what is bright (ITU-R BT.601).
const BRIGHTNESS: [f64; 3] = [0.299, 0.587, 0.114];

struct Coloured {
    shape: Vec<usize>,
    from: Colours,
    to: Colours,
    channels: usize,
    planes: bool,
}

pub(super) fn fit(colour: &Colour, input: &Input<'_>) -> Result<Fitted, String> {
    let Size { height, width, channels } = size(input)?;
    let needed = count(colour.from);
    if channels != needed {
        let name = format!("{:?}", colour.from).to_lowercase();
        return Err(input.wrong(format!("{needed} channels are needed for {name}")));
    }
    let after = count(colour.to);
    let shape = match colour.planes {
        true => vec![after, height, width],
        false => vec![height, width, after],
    };
    let output = Flow::new(Element::F32, shape.clone())?;
    let Colour { from, to, planes, .. } = *colour;
    Fitted::one(Coloured { shape, from, to, channels, planes }, output)
}

fn count(colours: Colours) -> usize {
    match colours {
        Colours::Rgb | Colours::Bgr => 3,
        Colours::Grey => 1,
    }
}

impl Stage for Coloured {
    fn run(&mut self, _frame: &Frame<'_>, inputs: &[&Tensor]) -> Result<Vec<Tensor>, Failure> {
        let values = numbers(inputs, 0)?;
        let pixels: Vec<[f64; 3]> =
            values.chunks_exact(self.channels).map(|pixel| rgb(self.from, pixel)).collect();
        let channels = count(self.to);
        let value = |pixel: &[f64; 3], channel: usize| match self.to {
            Colours::Rgb => pixel[channel],
            Colours::Bgr => pixel[2 - channel],
            // What is grey already stays so to the last bit.
            Colours::Grey if self.from == Colours::Grey => pixel[0],
            Colours::Grey => {
                BRIGHTNESS[0] * pixel[0] + BRIGHTNESS[1] * pixel[1] + BRIGHTNESS[2] * pixel[2]
            }
        };
        let coloured: Vec<f64> = match self.planes {
            true => (0..channels)
                .flat_map(|channel| pixels.iter().map(move |pixel| (pixel, channel)))
                .map(|(pixel, channel)| value(pixel, channel))
                .collect(),
            false => pixels
                .iter()
                .flat_map(|pixel| (0..channels).map(move |channel| (pixel, channel)))
                .map(|(pixel, channel)| value(pixel, channel))
                .collect(),
        };
        Ok(vec![tensor(&self.shape, narrow(coloured))?])
    }
}

/// A pixel as red, green and blue.
fn rgb(from: Colours, pixel: &[f64]) -> [f64; 3] {
    match (from, pixel) {
        (Colours::Bgr, [blue, green, red]) => [*red, *green, *blue],
        (_, [red, green, blue]) => [*red, *green, *blue],
        (_, pixel) => [pixel.first().copied().unwrap_or(0.0); 3],
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Bench, close, refused, window};

    fn colour(from: &str, to: &str, planes: bool) -> String {
        format!("kind = 'colour'\ninput = 'image'\nfrom = '{from}'\nto = '{to}'\nplanes = {planes}")
    }

    #[test]
    fn channels_change_places_and_come_first_where_they_are_asked_to() {
        let pixels = [1., 2., 3., 4., 5., 6.];
        let mut bgr = Bench::new(&colour("rgb", "bgr", false), &[window(&[1, 2, 3])]);
        assert_eq!(bgr.forms(), ["f32 [1, 2, 3]"]);
        close(&bgr.numbers(&pixels), &[3., 2., 1., 6., 5., 4.]);
        let mut planes = Bench::new(&colour("bgr", "rgb", true), &[window(&[1, 2, 3])]);
        assert_eq!(planes.forms(), ["f32 [3, 1, 2]"]);
        close(&planes.numbers(&pixels), &[3., 6., 2., 5., 1., 4.]);
    }

    #[test]
    fn grey_is_as_bright_as_its_colours_and_white_stays_white() {
        let mut grey = Bench::new(&colour("rgb", "grey", false), &[window(&[2, 2, 3])]);
        assert_eq!(grey.forms(), ["f32 [2, 2, 1]"]);
        let pixels = [255., 0., 0., 0., 255., 0., 0., 0., 255., 255., 255., 255.];
        close(&grey.numbers(&pixels), &[76.245, 149.685, 29.07, 255.0]);
        let mut grey = Bench::new(&colour("bgr", "grey", false), &[window(&[1, 1, 3])]);
        close(&grey.numbers(&[255., 0., 0.]), &[29.07]);
        let mut back = Bench::new(&colour("grey", "rgb", false), &[window(&[1, 2])]);
        close(&back.numbers(&[7., 8.]), &[7., 7., 7., 8., 8., 8.]);
    }

    #[test]
    fn other_channels_than_are_said_and_a_change_of_nothing_are_refused() {
        assert_eq!(
            refused(&colour("rgb", "grey", false), window(&[2, 2])),
            "input input: image is f32 [2, 2], 3 channels are needed for rgb"
        );
        assert_eq!(
            refused(&colour("grey", "rgb", false), window(&[2, 2, 3])),
            "input input: image is f32 [2, 2, 3], 1 channels are needed for grey"
        );
        assert_eq!(
            refused(&colour("rgb", "rgb", false), window(&[2, 2, 3])),
            "changes nothing: `from` and `to` are the same, and `planes` is not set"
        );
    }
}
