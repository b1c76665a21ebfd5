//! A binary arithmetic coder whose probabilities follow what was coded: carry-less range coding as
//! in LZMA (I. Pavlov, LZMA specification, section "Range coder"), with counted probabilities.
//!
//! Both directions are integers only, so every machine writes and reads the same bits.

use std::io::{self, Read};

/// Bits of a probability as it is kept, and as the range is divided by it.
const KEPT_BITS: u32 = 22;
const KEPT: u32 = (1 << KEPT_BITS) - 1;
const USED_BITS: u32 = 15;
/// What probabilities are shares of.
pub(crate) const CERTAIN: u32 = 1 << USED_BITS;
/// Bits seen after which a probability stops settling and follows at a constant pace.
const SEEN_MAX: usize = 250;
/// Below this range a byte is moved out.
const RANGE_MIN: u32 = 1 << 24;
/// Bits without a probability that are coded at once; the range has room for them.
const PLAIN_BITS: u32 = 8;

/// By number of bits seen: how much of the distance to the next bit a probability goes, in 65,536ths.
///
/// 1/(n + 1.5), so that the probability is the share of zeros among what was seen, as after half a
/// bit of each kind (Krichevsky and Trofimov 1981). Small tensors then pay little for learning.
const PACES: [u16; SEEN_MAX + 1] = {
    let mut paces = [0; SEEN_MAX + 1];
    let mut seen = 0;
    while seen <= SEEN_MAX {
        paces[seen] = (2 * 65_536 / (2 * seen + 3)) as u16;
        seen += 1;
    }
    paces
};

/// The probability that a bit is 0, learnt from the bits coded with it before.
///
/// A device keeps tens of thousands of them, so the number of bits seen lies above the probability.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bit(u32);

impl Default for Bit {
    fn default() -> Bit {
        Bit(1 << (KEPT_BITS - 1))
    }
}

impl Bit {
    /// The probability of a 0, of [`CERTAIN`].
    pub(crate) fn zero(self) -> u32 {
        (self.0 & KEPT) >> (KEPT_BITS - USED_BITS)
    }

    pub(crate) fn learn(&mut self, bit: bool) {
        let (zero, seen) = (self.0 & KEPT, self.0 >> KEPT_BITS);
        let pace = u64::from(PACES[seen as usize]);
        let zero = match bit {
            true => zero - ((u64::from(zero) * pace) >> 16) as u32,
            false => zero + ((u64::from(KEPT - zero) * pace) >> 16) as u32,
        };
        let seen = seen + u32::from((seen as usize) < SEEN_MAX);
        self.0 = seen << KEPT_BITS | zero;
    }
}

/// Something that codes bits: writes the bit it is given, or gives the bit it reads.
///
/// One description of a model then serves both directions, so that they cannot drift apart.
pub(crate) trait Coder {
    /// Codes one bit that is 0 with a probability of `zero`, of [`CERTAIN`].
    fn likely(&mut self, zero: u32, bit: bool) -> bool;
    /// Codes the lowest `count` bits of `value`, at most 8, each as likely 0 as 1.
    fn few(&mut self, value: u32, count: u32) -> u32;

    /// Codes one bit with a probability that learns from it.
    fn bit(&mut self, probability: &mut Bit, bit: bool) -> bool {
        let bit = self.likely(probability.zero(), bit);
        probability.learn(bit);
        bit
    }

    /// Codes the lowest `count` bits of `value`, each as likely 0 as 1.
    fn plain(&mut self, value: u64, count: u32) -> u64 {
        let (mut left, mut coded) = (count, 0);
        while left > 0 {
            let now = left.min(PLAIN_BITS);
            left -= now;
            let bits = (value >> left) as u32 & ((1 << now) - 1);
            coded = coded << now | u64::from(self.few(bits, now));
        }
        coded
    }

    /// Codes a number below `tree.len()`, a power of two: its most significant bit first, each with
    /// a probability of its own for what came before it.
    fn symbol(&mut self, tree: &mut [Bit], value: u32) -> u32 {
        let bits = tree.len().trailing_zeros();
        let mut node = 1;
        for place in (0..bits).rev() {
            let bit = self.bit(&mut tree[node], value >> place & 1 == 1);
            node = node << 1 | usize::from(bit);
        }
        (node - tree.len()) as u32
    }
}

/// The part of the range that a 0 takes: never nothing, never all.
fn bound(range: u32, zero: u32) -> u32 {
    (range >> USED_BITS) * zero.clamp(1, CERTAIN - 1)
}

/// Writes.
#[derive(Debug)]
pub(crate) struct Encoder {
    low: u64,
    range: u32,
    /// The byte that a carry may still change, and how many bytes of 0xFF follow it.
    held: Option<u8>,
    full: usize,
    bytes: Vec<u8>,
}

impl Default for Encoder {
    fn default() -> Encoder {
        Encoder { low: 0, range: u32::MAX, held: None, full: 0, bytes: Vec::new() }
    }
}

impl Encoder {
    /// Everything that was coded.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        // Any number of the range will do: the one with the most zeros at its end is the shortest.
        for zeros in (0..32).rev() {
            let round = (self.low + (1 << zeros) - 1) >> zeros << zeros;
            if round < self.low + u64::from(self.range) {
                self.low = round;
                break;
            }
        }
        for _ in 0..5 {
            self.shift();
        }
        // A decoder reads zeros past the end.
        while self.bytes.last() == Some(&0) {
            self.bytes.pop();
        }
        self.bytes
    }

    fn shift(&mut self) {
        let carry = (self.low >> 32) as u8;
        if self.low < 0xFF00_0000 || carry == 1 {
            if let Some(held) = self.held {
                self.bytes.push(held.wrapping_add(carry));
            }
            self.bytes.extend(std::iter::repeat_n(0xFF_u8.wrapping_add(carry), self.full));
            self.full = 0;
            self.held = Some((self.low >> 24) as u8);
        } else {
            self.full += 1;
        }
        self.low = (self.low & 0x00FF_FFFF) << 8;
    }

    fn fill(&mut self) {
        while self.range < RANGE_MIN {
            self.range <<= 8;
            self.shift();
        }
    }
}

impl Coder for Encoder {
    fn likely(&mut self, zero: u32, bit: bool) -> bool {
        let bound = bound(self.range, zero);
        if bit {
            self.low += u64::from(bound);
            self.range -= bound;
        } else {
            self.range = bound;
        }
        self.fill();
        bit
    }

    fn few(&mut self, value: u32, count: u32) -> u32 {
        self.range >>= count;
        self.low += u64::from(self.range) * u64::from(value);
        self.fill();
        value
    }
}

/// Reads what [`Encoder::finish`] gave, and zeros past its end.
#[derive(Debug)]
pub(crate) struct Decoder<R> {
    range: u32,
    code: u32,
    source: R,
    bytes: Box<[u8; 4096]>,
    next: usize,
    filled: usize,
    failed: Option<io::Error>,
}

impl<R: Read> Decoder<R> {
    pub(crate) fn new(source: R) -> Decoder<R> {
        let mut decoder = Decoder {
            range: u32::MAX,
            code: 0,
            source,
            bytes: Box::new([0; 4096]),
            next: 0,
            filled: 0,
            failed: None,
        };
        for _ in 0..4 {
            decoder.code = decoder.code << 8 | u32::from(decoder.byte());
        }
        decoder
    }

    /// The error that reading met, if it met one; what was decoded since is nothing.
    pub(crate) fn check(&mut self) -> io::Result<()> {
        self.failed.take().map_or(Ok(()), Err)
    }

    /// Whether all that was coded has been used.
    pub(crate) fn is_done(&mut self) -> bool {
        self.next == self.filled && self.refill() == 0
    }

    fn byte(&mut self) -> u8 {
        if self.next == self.filled && self.refill() == 0 {
            return 0;
        }
        self.next += 1;
        self.bytes[self.next - 1]
    }

    fn refill(&mut self) -> usize {
        self.next = 0;
        self.filled = loop {
            match self.source.read(&mut self.bytes[..]) {
                Ok(read) => break read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.failed.get_or_insert(error);
                    break 0;
                }
            }
        };
        self.filled
    }

    fn fill(&mut self) {
        while self.range < RANGE_MIN {
            self.range <<= 8;
            self.code = self.code << 8 | u32::from(self.byte());
        }
    }
}

impl<R: Read> Coder for Decoder<R> {
    fn likely(&mut self, zero: u32, _: bool) -> bool {
        let bound = bound(self.range, zero);
        let bit = self.code >= bound;
        if bit {
            self.code -= bound;
            self.range -= bound;
        } else {
            self.range = bound;
        }
        self.fill();
        bit
    }

    fn few(&mut self, _: u32, count: u32) -> u32 {
        self.range >>= count;
        // Bytes that no encoder wrote may lie beyond the range.
        let value = (self.code / self.range).min((1 << count) - 1);
        self.code -= value * self.range;
        self.fill();
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_was_coded_is_read_again(
            symbols in prop::collection::vec((0u32..64, any::<bool>(), any::<u64>(), 0u32..=64), 0..400)
        ) {
            let mut encoder = Encoder::default();
            let (mut tree, mut flag) = ([Bit::default(); 64], Bit::default());
            let mask = |value: u64, count: u32| value & u64::MAX.checked_shr(64 - count).unwrap_or(0);
            for (symbol, bit, value, count) in &symbols {
                encoder.symbol(&mut tree, *symbol);
                encoder.bit(&mut flag, *bit);
                encoder.plain(mask(*value, *count), *count);
            }
            let bytes = encoder.finish();
            let mut decoder = Decoder::new(&bytes[..]);
            let (mut tree, mut flag) = ([Bit::default(); 64], Bit::default());
            for (symbol, bit, value, count) in symbols {
                prop_assert_eq!(decoder.symbol(&mut tree, 0), symbol);
                prop_assert_eq!(decoder.bit(&mut flag, false), bit);
                prop_assert_eq!(decoder.plain(0, count), mask(value, count));
            }
            prop_assert!(decoder.is_done());
        }

        #[test]
        fn bytes_that_no_encoder_wrote_decode_to_something(bytes: Vec<u8>) {
            let mut decoder = Decoder::new(&bytes[..]);
            let (mut tree, mut flag) = ([Bit::default(); 64], Bit::default());
            for _ in 0..500 {
                prop_assert!(decoder.symbol(&mut tree, 0) < 64);
                decoder.bit(&mut flag, false);
                decoder.plain(0, 23);
            }
        }
    }

    #[test]
    fn what_is_always_the_same_costs_next_to_nothing() {
        let mut encoder = Encoder::default();
        let mut probability = Bit::default();
        for _ in 0..100_000 {
            encoder.bit(&mut probability, false);
        }
        let bytes = encoder.finish();
        assert!(bytes.len() < 20, "{}", bytes.len());
    }
}
