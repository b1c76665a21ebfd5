//! A piece of an image.

use super::image::{Size, resized, size};
use super::{Fitted, Input, Stage, narrow, numbers, tensor};
use crate::pipeline::flow::Flow;
use crate::pipeline::graph::{Failure, Frame};
use crate::tensor::{Element, Tensor};
use lineside_bundle::stages::Crop;

struct Piece {
    shape: Vec<usize>,
    from: Size,
    top: usize,
    left: usize,
    height: usize,
    width: usize,
}

pub(super) fn fit(crop: &Crop, input: &Input<'_>) -> Result<Fitted, String> {
    let from = size(input)?;
    let (height, width) = (crop.height as usize, crop.width as usize);
    let start = |key: &str, start: Option<u32>, length: usize, all: usize| {
        let start = start.map_or(all.saturating_sub(length) / 2, |start| start as usize);
        match start.checked_add(length).filter(|end| *end <= all) {
            Some(_) => Ok(start),
            None => Err(input.wrong(format!("{length} from {key} = {start} on are beyond {all}"))),
        }
    };
    let top = start("top", crop.top, height, from.height)?;
    let left = start("left", crop.left, width, from.width)?;
    let shape = resized(input, height, width);
    let output = Flow::new(Element::F32, shape.clone())?;
    Fitted::one(Piece { shape, from, top, left, height, width }, output)
}

impl Stage for Piece {
    fn run(&mut self, _frame: &Frame<'_>, inputs: &[&Tensor]) -> Result<Vec<Tensor>, Failure> {
        let values = numbers(inputs, 0)?;
        let Size { width, channels, .. } = self.from;
        let rows = values.chunks_exact(width * channels).skip(self.top).take(self.height);
        let piece = rows.flat_map(|row| {
            row.iter().skip(self.left * channels).take(self.width * channels).copied()
        });
        Ok(vec![tensor(&self.shape, narrow(piece))?])
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Bench, close, refused, window};

    fn crop(settings: &str) -> String {
        format!("kind = 'crop'\ninput = 'image'\n{settings}")
    }

    #[test]
    fn the_piece_lies_where_it_is_said_or_in_the_middle() {
        let image: Vec<f32> = (0..12).map(|at| at as f32).collect();
        let piece = crop("height = 2\nwidth = 1\ntop = 1\nleft = 3");
        close(&Bench::new(&piece, &[window(&[3, 4])]).numbers(&image), &[7.0, 11.0]);
        let mut middle = Bench::new(&crop("height = 1\nwidth = 2"), &[window(&[3, 4])]);
        close(&middle.numbers(&image), &[5.0, 6.0]);
        let mut pairs = Bench::new(&crop("height = 3\nwidth = 1\nleft = 1"), &[window(&[3, 2, 2])]);
        assert_eq!(pairs.forms(), ["f32 [3, 1, 2]"]);
        close(&pairs.numbers(&image), &[2.0, 3.0, 6.0, 7.0, 10.0, 11.0]);
    }

    #[test]
    fn a_piece_that_reaches_beyond_the_image_is_refused() {
        let said = |settings: &str| refused(&crop(settings), window(&[3, 4]));
        assert_eq!(
            said("height = 2\nwidth = 1\ntop = 2"),
            "input input: image is f32 [3, 4], 2 from top = 2 on are beyond 3"
        );
        assert_eq!(
            said("height = 2\nwidth = 5"),
            "input input: image is f32 [3, 4], 5 from left = 0 on are beyond 4"
        );
        assert_eq!(said("height = 0\nwidth = 5"), "height = 0 must be 1 to 16384");
    }
}
