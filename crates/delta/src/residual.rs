//! How a tensor's elements differ from those at the same places of an older tensor.
//!
//! Elements are taken as whole numbers in the order of their values, so that a small change of a
//! weight is a small number. How large that number is depends on the weight: training moves all
//! weights of a tensor by about as much, which is many steps of a small float and few of a large
//! one. So a difference's size is guessed from the exponent of the old element, from the sizes of the
//! changes just before, or from both.

use crate::coder::{Bit, Coder};
use crate::element::Element;
use crate::method::Context;
use crate::signed::{Signed, digits};

/// Changes are measured in sixteenths of a binary digit.
const DIGIT: i32 = 16;
/// How changes just before compare with those of the whole tensor.
const NEARNESS: usize = 4;
/// Classes of how large 8-bit differences just before are.
const NEARBY_SMALL: usize = 8;

/// What has been learnt of a tensor's differences.
#[derive(Clone)]
pub(crate) struct Residual {
    element: Element,
    context: Context,
    differences: Differences,
    /// Size of the changes just before, as an average that follows soon and one that follows late.
    soon: i32,
    late: i32,
}

#[derive(Clone)]
enum Differences {
    /// Of up to 64 digits, by size.
    Wide(Signed),
    /// Of 8 digits, each of the 256 by itself.
    Small(Vec<[Bit; 256]>),
}

impl Residual {
    pub(crate) fn new(element: Element, context: Context) -> Residual {
        let small = element == Element::I8;
        let nearby = if small { NEARBY_SMALL } else { 2 * element.bits() as usize + 1 };
        let contexts = match context {
            Context::None => 1,
            Context::Old => element.classes(),
            Context::Nearby => nearby,
            Context::Both => element.classes() * NEARNESS,
        };
        let differences = match small {
            true => Differences::Small(vec![[Bit::default(); 256]; contexts]),
            false => Differences::Wide(Signed::new(element.bits(), contexts)),
        };
        Residual { element, context, differences, soon: 0, late: 0 }
    }

    /// Codes one element next to the old one at its place; both as bits.
    pub(crate) fn code(&mut self, coder: &mut impl Coder, old: u64, new: u64) -> u64 {
        let element = self.element;
        let (from, to) = (element.ordered(old), element.ordered(new));
        let context = self.context(old);
        let difference = element.signed(to.wrapping_sub(from));
        let difference = match &mut self.differences {
            Differences::Wide(signed) => {
                let negative = element.ordered(old) >> (element.bits() - 1) == 0;
                let shift = element.exponent(old);
                signed.code(coder, context, usize::from(negative), shift, difference)
            }
            Differences::Small(trees) => {
                let byte = coder.symbol(&mut trees[context], difference as u32 & 0xFF);
                element.signed(u64::from(byte))
            }
        };
        let size = digits(difference.unsigned_abs()) as i32 * DIGIT;
        let change = size + element.exponent(old) as i32 * DIGIT;
        self.soon += (change - self.soon) / 8;
        self.late += (change - self.late) / 128;
        element.of_ordered(from.wrapping_add_signed(difference) & element.mask())
    }

    fn context(&self, old: u64) -> usize {
        let element = self.element;
        let nearness = match self.soon - self.late {
            i32::MIN..-12 => 0,
            -12..0 => 1,
            0..12 => 2,
            12.. => 3,
        };
        match self.context {
            Context::None => 0,
            Context::Old => element.class(old),
            Context::Nearby if element == Element::I8 => {
                (self.soon / (DIGIT / 2)).clamp(0, NEARBY_SMALL as i32 - 1) as usize
            }
            Context::Nearby => {
                let expected = self.soon - element.exponent(old) as i32 * DIGIT;
                (expected / (DIGIT / 2)).clamp(0, 2 * element.bits() as i32) as usize
            }
            Context::Both => element.class(old) * NEARNESS + nearness,
        }
    }
}
