//! The ways in which a tensor's elements can be coded.

use crate::coder::Coder;
use crate::element::Element;
use crate::fresh::Fresh;
use crate::grid::{Grid, Step};
use crate::residual::Residual;

/// How a tensor is coded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Method {
    /// By itself.
    Fresh,
    /// By its differences from the old one, as whole numbers in the order of the values.
    Residual,
    /// As the old one plus multiples of a step.
    Grid(Step),
    /// By itself, but for elements that stay.
    Replace,
}

impl Method {
    /// Whether the elements at the same places of an old tensor are needed.
    pub(crate) fn needs_old(self) -> bool {
        self != Method::Fresh
    }

    /// Its model's place among all. What is learnt of elements by themselves is the same whether or not
    /// others stay.
    fn place(self) -> usize {
        match self {
            Method::Fresh | Method::Replace => 0,
            Method::Residual => 1,
            Method::Grid(_) => 2,
        }
    }
}

/// What a tensor's model knows when it begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Start {
    /// Nothing.
    Anew,
    /// What was learnt of the last tensor of the same method and kind of element. A bias vector is
    /// too short to learn much from; all of a model's together are not.
    GoOn,
}

/// The last models, by place.
#[derive(Default)]
pub(crate) struct Models([Option<(Element, Model)>; 3]);

impl Models {
    /// The model that a tensor in rows of this length begins with; a new one if there is none to
    /// go on with.
    pub(crate) fn begin(
        &self,
        method: Method,
        element: Element,
        row: usize,
        start: Start,
    ) -> Model {
        match &self.0[method.place()] {
            Some((kept, model)) if start == Start::GoOn && *kept == element => {
                let mut model = model.clone();
                match (&mut model, method) {
                    (Model::Grid(grid), Method::Grid(step)) => grid.go_on(step, row),
                    (Model::Residual(residual), _) => residual.go_on(row),
                    (Model::Fresh(fresh), _) => fresh.go_on(row),
                    (Model::Grid(_), _) => {}
                }
                model
            }
            _ => Model::new(method, element, row),
        }
    }

    /// Keeps what was learnt of a tensor.
    pub(crate) fn keep(&mut self, method: Method, element: Element, model: Model) {
        self.0[method.place()] = Some((element, model));
    }
}

/// What has been learnt of a tensor while it is coded by one method.
#[derive(Clone)]
pub(crate) enum Model {
    Fresh(Fresh),
    Residual(Residual),
    Grid(Grid),
}

impl Model {
    fn new(method: Method, element: Element, row: usize) -> Model {
        match method {
            Method::Fresh | Method::Replace => Model::Fresh(Fresh::new(element, row)),
            Method::Residual => Model::Residual(Residual::new(element, row)),
            Method::Grid(step) => Model::Grid(Grid::new(element, step, row)),
        }
    }

    /// Codes elements one after the other: `new` are written, or read into.
    ///
    /// `old` are the elements at the same places; empty where the method needs none, by which
    /// [`Method::Fresh`] and [`Method::Replace`] differ.
    pub(crate) fn code(
        &mut self,
        element: Element,
        coder: &mut impl Coder,
        old: &[u8],
        new: &mut [u8],
    ) {
        let width = element.bytes();
        let mut old = old.chunks_exact(width);
        for bytes in new.chunks_exact_mut(width) {
            let old = old.next().map(|bytes| element.read(bytes));
            let new = element.read(bytes);
            let new = match (&mut *self, old) {
                (Model::Fresh(model), None) => model.code(coder, new),
                (Model::Fresh(model), Some(old)) => model.replace(coder, old, new),
                (Model::Residual(model), old) => model.code(coder, old.unwrap_or(0), new),
                (Model::Grid(model), old) => model.code(coder, old.unwrap_or(0), new),
            };
            element.write(new, bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::coder::{Decoder, Encoder};
    use crate::grid::common_step;
    use proptest::prelude::*;

    /// Codes `new` and reads it again; the coded length.
    fn there_and_back(
        method: Method,
        element: Element,
        row: usize,
        old: &[u8],
        new: &[u8],
    ) -> usize {
        let mut encoder = Encoder::default();
        let mut given = new.to_vec();
        Model::new(method, element, row).code(element, &mut encoder, old, &mut given);
        let coded = encoder.finish();
        let mut decoder = Decoder::new(&coded[..]);
        let mut read = vec![0; new.len()];
        Model::new(method, element, row).code(element, &mut decoder, old, &mut read);
        assert_eq!(read, new, "{method:?} {element:?}");
        assert!(decoder.is_done(), "{method:?} {element:?}");
        coded.len()
    }

    proptest! {
        #[test]
        fn every_method_gives_back_every_element(
            pairs in prop::collection::vec((any::<u64>(), any::<u64>()), 0..60), row in 1usize..10
        ) {
            for element in Element::ALL {
                let bytes = |number: u64| number.to_le_bytes()[..element.bytes()].to_vec();
                let old: Vec<u8> = pairs.iter().flat_map(|(old, _)| bytes(*old)).collect();
                let new: Vec<u8> = pairs.iter().flat_map(|(_, new)| bytes(*new)).collect();
                there_and_back(Method::Fresh, element, row, &[], &new);
                there_and_back(Method::Residual, element, row, &old, &new);
                there_and_back(Method::Replace, element, row, &old, &new);
                if let Some(step) = common_step(element, &old, &new) {
                    there_and_back(Method::Grid(step), element, row, &old, &new);
                }
            }
        }
    }

    #[test]
    fn equal_tensors_cost_next_to_nothing() {
        let old: Vec<u8> = (0..40_000u32).flat_map(|i| (i as f32).sin().to_le_bytes()).collect();
        let coded = there_and_back(Method::Residual, Element::F32, 1, &old, &old);
        assert!(coded < 40, "{coded}");
    }

    #[test]
    fn a_column_that_never_changes_costs_next_to_nothing() {
        // Every other unit is dead; rows alone would have to ask for every element.
        let old: Vec<f32> = (0..40_000u32).map(|i| (i as f32).sin()).collect();
        let new = old.iter().enumerate().map(|(i, old)| old + (i % 2) as f32 * 0.125);
        let bytes = |floats: &[f32]| -> Vec<u8> {
            floats.iter().flat_map(|float| float.to_le_bytes()).collect()
        };
        let (new, old) = (bytes(&new.collect::<Vec<_>>()), bytes(&old));
        let step = common_step(Element::F32, &old, &new).expect("an eighth at least");
        let coded = there_and_back(Method::Grid(step), Element::F32, 100, &old, &new);
        assert!(coded < 1000, "{coded}");
    }
}
