//! A tensor's elements by themselves: for tensors that are new, or that were trained again from
//! the beginning and resemble nothing.
//!
//! Of a float the exponent and the leading digits of the mantissa are worth coding; the sign and
//! the digits below are noise, except that weights which were rounded or pruned end in zeros.
//!
//! Where a tensor was small and grew in training, as biases do, nothing of the old elements is left in
//! the new ones either, but where a unit is dead they stay: then only that is asked of the old one.

use crate::coder::{Bit, Coder};
use crate::element::Element;
use crate::mixer::Mixer;
use crate::neighbors::Neighbors;

/// Digits of a mantissa that are coded with what precedes them.
const LEADING: u32 = 2;
/// Surroundings from which an exponent is guessed: nothing, the row, the column.
const CONTEXTS: usize = 3;

/// What has been learnt of a tensor's elements.
#[derive(Clone)]
pub(crate) struct Fresh {
    element: Element,
    neighbors: Neighbors,
    /// By each surrounding, one tree after the other: the exponent. Of whole numbers the upper eight
    /// digits.
    heads: [Vec<Bit>; CONTEXTS],
    /// By place in the tree.
    mixers: Vec<Mixer<CONTEXTS>>,
    /// By class of the exponent.
    leading: Vec<[Bit; 1 << LEADING]>,
    rest: Vec<Bit>,
    sign: Bit,
    /// Whether an element stays, by how many just before did in its row and its column.
    stays: Vec<Bit>,
}

impl Fresh {
    pub(crate) fn new(element: Element, row: usize) -> Fresh {
        let tree = 1 << element.float().map_or(8, |(exponent, _)| exponent);
        Fresh {
            element,
            neighbors: Neighbors::new(row),
            heads: Neighbors::nearness_counts().map(|count| vec![Bit::default(); count * tree]),
            mixers: vec![Mixer::default(); tree],
            leading: vec![Default::default(); 256],
            rest: vec![Bit::default(); 256],
            sign: Bit::default(),
            stays: vec![Bit::default(); Neighbors::STILLNESS],
        }
    }

    /// Goes on with another tensor.
    pub(crate) fn go_on(&mut self, row: usize) {
        self.neighbors = Neighbors::new(row);
    }

    /// Codes one element next to the old one at its place, both as bits: whether it stays, and else as
    /// [`Fresh::code`] does.
    pub(crate) fn replace(&mut self, coder: &mut impl Coder, old: u64, new: u64) -> u64 {
        let stays = &mut self.stays[self.neighbors.stillness()];
        if coder.bit(stays, old == new) {
            self.neighbors.learn(0, 0);
            return old;
        }
        self.code(coder, new)
    }

    /// Codes one element, as bits.
    pub(crate) fn code(&mut self, coder: &mut impl Coder, bits: u64) -> u64 {
        let (exponent, mantissa, sign) = match self.element.float() {
            Some((exponent, mantissa)) => (exponent, mantissa, true),
            None => (8, self.element.bits() - 8, false),
        };
        let head = self.head(coder, exponent, (bits >> mantissa) as u32);
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

    /// Codes the lowest `digits` of an exponent.
    fn head(&mut self, coder: &mut impl Coder, digits: u32, value: u32) -> u32 {
        let contexts = self.neighbors.nearness();
        let tree = 1 << digits;
        let mut node = 1;
        for place in (0..digits).rev() {
            let mut heads = self.heads.iter_mut().zip(contexts);
            let guesses = [(); CONTEXTS].map(|()| {
                let (heads, context) = heads.next().expect("as many as contexts");
                &mut heads[context * tree + node]
            });
            let bit = self.mixers[node].bit(coder, guesses, value >> place & 1 == 1);
            node = node << 1 | usize::from(bit);
        }
        let head = (node - tree) as u32;
        self.neighbors.learn(head, 1);
        head
    }
}
