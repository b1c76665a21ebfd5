//! The greatest values along the last dimension and their places, the greatest first.

use super::{Fitted, Input, Stage, descending, narrow, numbers, tensor};
use crate::pipeline::flow::Flow;
use crate::pipeline::graph::{Failure, Frame};
use crate::tensor::{Data, Element, Tensor};
use lineside_bundle::stages::TopK;

struct Best {
    shape: Vec<usize>,
    classes: usize,
    k: usize,
}

pub(super) fn fit(top_k: &TopK, input: &Input<'_>) -> Result<Fitted, String> {
    input.check_numbers()?;
    let (k, classes) = (top_k.k as usize, input.last());
    if k > classes {
        return Err(input.wrong(format!("k = {k} is more than it has")));
    }
    let shape = input.shape_with(Some(k));
    let outputs = vec![
        Flow::named("values", Element::F32, shape.clone())?,
        Flow::named("indices", Element::I64, shape.clone())?,
    ];
    Ok(Fitted { stage: Box::new(Best { shape, classes, k }), outputs })
}

impl Stage for Best {
    fn run(&mut self, _frame: &Frame<'_>, inputs: &[&Tensor]) -> Result<Vec<Tensor>, Failure> {
        let values = numbers(inputs, 0)?;
        let (mut best, mut places) = (Vec::new(), Vec::new());
        for scores in values.chunks_exact(self.classes) {
            let mut order: Vec<usize> = (0..scores.len()).collect();
            // Equal values stay in the order in which they came.
            order.sort_by(|a, b| descending(scores[*a], scores[*b]));
            for place in order.into_iter().take(self.k) {
                best.push(scores[place]);
                places.push(place as i64);
            }
        }
        Ok(vec![tensor(&self.shape, narrow(best))?, tensor(&self.shape, Data::I64(places))?])
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Bench, refused, window};
    use super::*;
    use proptest::prelude::*;

    fn top(k: u32) -> String {
        format!("kind = 'top-k'\ninput = 'judge.scores'\nk = {k}")
    }

    #[test]
    fn the_greatest_come_first_and_equals_in_their_order() {
        let mut top_k = Bench::new(&top(2), &[window(&[2, 3])]);
        assert_eq!(top_k.forms(), ["values f32 [2, 2]", "indices i64 [2, 2]"]);
        let scores = Data::F32(vec![1.0, 3.0, 3.0, 9.0, -8.0, 7.0]);
        let found = top_k.run("", &[scores]).unwrap();
        assert_eq!(*found[0].data(), Data::F32(vec![3.0, 3.0, 9.0, 7.0]));
        assert_eq!(*found[1].data(), Data::I64(vec![1, 2, 0, 2]));
        let zeros = Bench::new(&top(1), &[window(&[2])]).run("", &[Data::F32(vec![-0.0, 0.0])]);
        assert_eq!(*zeros.unwrap()[1].data(), Data::I64(vec![0]), "both are nought");
    }

    #[test]
    fn more_than_there_are_is_refused() {
        let said = "input input: judge.scores is f32 [2, 3], k = 4 is more than it has";
        assert_eq!(refused(&top(4), window(&[2, 3])), said);
        assert_eq!(refused(&top(0), window(&[3])), "k = 0 must be 1 to 65536");
    }

    proptest! {
        #[test]
        fn no_value_that_is_left_out_is_greater_and_each_lies_where_it_is_said(
            scores in proptest::collection::vec(-9f32..9.0, 1..30),
            k in 1..30usize,
        ) {
            let k = k.min(scores.len());
            let mut top_k = Bench::new(&top(k as u32), &[window(&[scores.len()])]);
            let found = top_k.run("", &[Data::F32(scores.clone())]).unwrap();
            let least = found[0].data().number(k - 1).unwrap();
            prop_assert!(scores.iter().filter(|score| f64::from(**score) > least).count() < k);
            for at in 0..k {
                let place = found[1].data().number(at).unwrap() as usize;
                prop_assert_eq!(found[0].data().number(at), Some(f64::from(scores[place])));
            }
        }
    }
}
