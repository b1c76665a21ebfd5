//! A tensor's elements by themselves: for tensors that are new, or that were trained again from
//! the beginning and resemble nothing.
//!
//! Of a float the exponent and the leading digits of the mantissa are worth coding; the sign and
//! the digits below are noise, except that weights which were rounded or pruned end in zeros.

use crate::coder::{Bit, Coder};
use crate::element::Element;
use crate::method::Context;

/// Digits of a mantissa that are coded with what precedes them.
const LEADING: u32 = 2;
/// Classes of exponents just before, next to those of the whole tensor.
const NEARBY: i32 = 9;
/// Averages of exponents are kept in sixteenths.
const UNIT: i32 = 16;

/// What has been learnt of a tensor's elements.
#[derive(Clone)]
pub(crate) struct Fresh {
    element: Element,
    context: Context,
    /// By exponents just before: the next one. For whole numbers: their upper eight digits.
    heads: Vec<Vec<Bit>>,
    /// By class of the exponent.
    leading: Vec<[Bit; 1 << LEADING]>,
    rest: Vec<Bit>,
    sign: Bit,
    soon: i32,
    late: i32,
}

impl Fresh {
    pub(crate) fn new(element: Element, context: Context) -> Fresh {
        let heads = 1 << element.float().map_or(8, |(exponent, _)| exponent);
        let contexts = if context == Context::None { 1 } else { NEARBY as usize };
        Fresh {
            element,
            context,
            heads: vec![vec![Bit::default(); heads]; contexts],
            leading: vec![Default::default(); 256],
            rest: vec![Bit::default(); 256],
            sign: Bit::default(),
            soon: 0,
            late: 0,
        }
    }

    /// Codes one element, as bits.
    pub(crate) fn code(&mut self, coder: &mut impl Coder, bits: u64) -> u64 {
        let (exponent, mantissa, sign) = match self.element.float() {
            Some((exponent, mantissa)) => (exponent, mantissa, true),
            None => (8, self.element.bits() - 8, false),
        };
        let nearby = match self.context {
            Context::None => 0,
            _ => ((self.soon - self.late) / (UNIT / 2) + NEARBY / 2).clamp(0, NEARBY - 1) as usize,
        };
        let head = (bits >> mantissa) as u32 & ((1 << exponent) - 1);
        let head = coder.symbol(&mut self.heads[nearby], head);
        self.soon += (head as i32 * UNIT - self.soon) / 8;
        self.late += (head as i32 * UNIT - self.late) / 128;

        let class = (head >> exponent.saturating_sub(8)) as usize;
        let leading = LEADING.min(mantissa);
        let rest = mantissa - leading;
        let top = (bits >> rest) as u32 & ((1 << leading) - 1);
        let top = coder.symbol(&mut self.leading[class][..1 << leading], top);
        let below = bits & ((1 << rest) - 1);
        let any = rest > 0 && coder.bit(&mut self.rest[class], below != 0);
        let below = if any { coder.plain(below, rest) } else { 0 };
        let sign = sign && coder.bit(&mut self.sign, bits >> (mantissa + exponent) & 1 == 1);
        let head = u64::from(sign) << exponent | u64::from(head);
        head << mantissa | u64::from(top) << rest | below
    }
}
