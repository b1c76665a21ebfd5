//! The ways in which a tensor's elements can be coded.

use crate::coder::Coder;
use crate::element::Element;
use crate::fresh::Fresh;
use crate::grid::{Grid, Step};
use crate::residual::Residual;

/// What an element's size is guessed from. Small tensors have too few elements to learn many
/// contexts, so the sender tries them all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
}

/// What has been learnt of a tensor while it is coded by one method.
pub(crate) enum Model {
    Fresh(Fresh),
    Residual(Residual),
    Grid(Grid),
}

impl Model {
    pub(crate) fn new(method: Method, element: Element) -> Model {
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
