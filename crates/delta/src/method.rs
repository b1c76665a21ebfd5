//! The ways in which a tensor's elements can be coded.

use crate::coder::Coder;
use crate::element::Element;
use crate::fresh::Fresh;
use crate::grid::{Grid, Step};
use crate::residual::Residual;
use std::collections::BTreeMap;

/// What an element's size is guessed from. Small tensors have too few elements to learn many
/// contexts, so the sender tries them all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Context {
    /// Nothing: all elements are alike.
    None = 0,
    /// The old element.
    Old = 1,
    /// The elements just before.
    Nearby = 2,
    /// The old element and those just before.
    Both = 3,
}

impl Context {
    pub(crate) const ALL: [Context; 4] =
        [Context::None, Context::Old, Context::Nearby, Context::Both];
}

/// How a tensor is coded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Method {
    /// By itself.
    Fresh(Context),
    /// By its differences from the old one, as whole numbers in the order of the values.
    Residual(Context),
    /// As the old one plus multiples of a step.
    Grid(Context, Step),
}

impl Method {
    /// Whether the elements at the same places of an old tensor are needed.
    pub(crate) fn needs_old(self) -> bool {
        !matches!(self, Method::Fresh(_))
    }

    fn slot(self) -> (u8, Context) {
        (self.number(), self.context())
    }

    /// Its number in a recipe.
    pub(crate) fn number(self) -> u8 {
        match self {
            Method::Fresh(_) => 0,
            Method::Residual(_) => 1,
            Method::Grid(..) => 2,
        }
    }

    /// What sizes are guessed from.
    pub(crate) fn context(self) -> Context {
        match self {
            Method::Fresh(context) | Method::Residual(context) | Method::Grid(context, _) => {
                context
            }
        }
    }
}

/// What a tensor's model knows when it begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Start {
    /// Nothing.
    Anew,
    /// What was learnt of the last tensor of the same method, context and kind of element. A bias
    /// vector is too short to learn much from; all of a model's together are not.
    GoOn,
}

/// The last model of each method and context.
#[derive(Default)]
pub(crate) struct Models(BTreeMap<(u8, Context), (Element, Model)>);

impl Models {
    /// The model that a tensor begins with; a new one if there is none to go on with.
    pub(crate) fn begin(&self, method: Method, element: Element, start: Start) -> Model {
        match self.0.get(&method.slot()) {
            Some((kept, model)) if start == Start::GoOn && *kept == element => {
                let mut model = model.clone();
                if let (Model::Grid(grid), Method::Grid(_, step)) = (&mut model, method) {
                    grid.go_on(step);
                }
                model
            }
            _ => Model::new(method, element),
        }
    }

    /// Keeps what was learnt of a tensor.
    pub(crate) fn keep(&mut self, method: Method, element: Element, model: Model) {
        self.0.insert(method.slot(), (element, model));
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
    fn new(method: Method, element: Element) -> Model {
        match method {
            Method::Fresh(context) => Model::Fresh(Fresh::new(element, context)),
            Method::Residual(context) => Model::Residual(Residual::new(element, context)),
            Method::Grid(context, step) => Model::Grid(Grid::new(element, context, step)),
        }
    }

    /// Codes elements one after the other: `new` are written, or read into.
    ///
    /// `old` are the elements at the same places; empty where the method needs none.
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
            let old = old.next().map_or(0, |bytes| element.read(bytes));
            let new = element.read(bytes);
            let new = match self {
                Model::Fresh(model) => model.code(coder, new),
                Model::Residual(model) => model.code(coder, old, new),
                Model::Grid(model) => model.code(coder, old, new),
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
    fn there_and_back(method: Method, element: Element, old: &[u8], new: &[u8]) -> usize {
        let mut encoder = Encoder::default();
        let mut given = new.to_vec();
        Model::new(method, element).code(element, &mut encoder, old, &mut given);
        let coded = encoder.finish();
        let mut decoder = Decoder::new(&coded[..]);
        let mut read = vec![0; new.len()];
        Model::new(method, element).code(element, &mut decoder, old, &mut read);
        assert_eq!(read, new, "{method:?} {element:?}");
        assert!(decoder.is_done(), "{method:?} {element:?}");
        coded.len()
    }

    proptest! {
        #[test]
        fn every_method_gives_back_every_element(
            pairs in prop::collection::vec((any::<u64>(), any::<u64>()), 0..60)
        ) {
            for element in Element::ALL {
                let bytes = |number: u64| number.to_le_bytes()[..element.bytes()].to_vec();
                let old: Vec<u8> = pairs.iter().flat_map(|(old, _)| bytes(*old)).collect();
                let new: Vec<u8> = pairs.iter().flat_map(|(_, new)| bytes(*new)).collect();
                for context in Context::ALL {
                    there_and_back(Method::Fresh(context), element, &old, &new);
                    there_and_back(Method::Residual(context), element, &old, &new);
                    if let Some(step) = common_step(element, &old, &new) {
                        there_and_back(Method::Grid(context, step), element, &old, &new);
                    }
                }
            }
        }
    }

    #[test]
    fn equal_tensors_cost_next_to_nothing() {
        let old: Vec<u8> = (0..40_000u32).flat_map(|i| (i as f32).sin().to_le_bytes()).collect();
        let coded = there_and_back(Method::Residual(Context::None), Element::F32, &old, &old);
        assert!(coded < 40, "{coded}");
    }
}
