//! How a tensor's elements differ from those at the same places of an older tensor.
//!
//! Elements are taken as whole numbers in the order of their values, so that a small change of a
//! weight is a small number. How large that number is depends on the weight: training moves all
//! weights of a tensor by about as much, which is many steps of a small float and few of a large
//! one. So sizes are counted together with the exponent of the old element.

use crate::coder::Coder;
use crate::element::Element;
use crate::neighbors::Neighbors;
use crate::signed::{Place, Signed};

/// What has been learnt of a tensor's differences.
#[derive(Clone)]
pub(crate) struct Residual {
    element: Element,
    differences: Signed,
    neighbors: Neighbors,
}

impl Residual {
    pub(crate) fn new(element: Element, row: usize) -> Residual {
        let differences = Signed::new(element.bits(), element.classes());
        Residual { element, differences, neighbors: Neighbors::new(row) }
    }

    /// Goes on with another tensor.
    pub(crate) fn go_on(&mut self, row: usize) {
        self.neighbors = Neighbors::new(row);
    }

    /// Codes one element next to the old one at its place; both as bits.
    pub(crate) fn code(&mut self, coder: &mut impl Coder, old: u64, new: u64) -> u64 {
        let element = self.element;
        let (from, to) = (element.ordered(old), element.ordered(new));
        let difference = element.signed(to.wrapping_sub(from));
        let place = Place {
            class: element.class(old),
            negative: element.is_negative(old),
            shift: element.exponent(old),
        };
        let difference = self.differences.code(coder, &mut self.neighbors, &place, difference);
        element.of_ordered(from.wrapping_add_signed(difference) & element.mask())
    }
}
