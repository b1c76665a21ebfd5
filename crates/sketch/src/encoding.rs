//! How sketches are written: kind, version, and then whole numbers as short as they are.
//!
//! One way of writing each: equal sketches give equal bytes, and what could have been written
//! otherwise is not read. Nothing is reserved that the bytes at hand do not
//! fill.

use crate::wide::Wide;

/// The newest version of any sketch. Those of version 1 are read for ever.
pub const VERSION: u8 = 2;
/// No written sketch is longer: what is, is not read.
pub const ENCODED_BYTES_MAX: usize = 16 * 1024;
/// Values that a sketch may have taken to be read: 2^56, two thousand years of a million a second. All
/// sums are exact far beyond that, so no order of merging shows.
pub const COUNT_MAX: u64 = 1 << 56;

/// Why bytes are no sketch.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Longer than [`ENCODED_BYTES_MAX`].
    #[error("{0} bytes are more than any sketch has: at most {ENCODED_BYTES_MAX}")]
    TooLong(usize),
    /// The first byte names another sketch than the one asked for.
    #[error("a sketch of kind {found}, where one of kind {wanted} belongs")]
    OtherKind {
        /// The kind asked for.
        wanted: u8,
        /// The kind that is there.
        found: u8,
    },
    /// Written by a later program.
    #[error("a sketch of version {found}, and {known} is known here: update this program")]
    UnknownVersion {
        /// The version that is there.
        found: u8,
        /// The newest one of this kind that is read.
        known: u8,
    },
    /// The bytes end before the sketch does.
    #[error("a sketch that ends too early")]
    CutShort,
    /// No sketch is written like this.
    #[error("no sketch is written like this: {0}")]
    NotCanonical(&'static str),
}

/// What is written as kind, version and the parts of a sketch.
///
/// Only this crate's sketches are.
pub trait Sketch: Parts {
    /// The bytes of this sketch. Equal sketches give equal bytes, on every processor.
    fn encode(&self) -> Vec<u8> {
        let mut writer = Writer { bytes: vec![Self::KIND, Self::VERSION] };
        self.write(&mut writer);
        writer.bytes
    }

    /// Reads a sketch of this version or one before, to the last byte.
    ///
    /// # Errors
    /// [`DecodeError`]. Not every contradiction is looked for between parts that were written apart.
    fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        if bytes.len() > ENCODED_BYTES_MAX {
            return Err(DecodeError::TooLong(bytes.len()));
        }
        let mut reader = Reader { bytes, version: Self::VERSION };
        let found = reader.byte()?;
        if found != Self::KIND {
            return Err(DecodeError::OtherKind { wanted: Self::KIND, found });
        }
        reader.version = reader.byte()?;
        if !(1..=Self::VERSION).contains(&reader.version) {
            let (found, known) = (reader.version, Self::VERSION);
            return Err(DecodeError::UnknownVersion { found, known });
        }
        let sketch = Self::read(&mut reader)?;
        if !reader.bytes.is_empty() {
            return Err(DecodeError::NotCanonical("bytes behind its end"));
        }
        Ok(sketch)
    }
}

impl<T: Parts> Sketch for T {}

/// The parts of a sketch, without what names it.
pub trait Parts: Sized {
    /// The first byte.
    const KIND: u8;
    /// The second: how it is written.
    const VERSION: u8 = 1;
    /// Writes the parts.
    fn write(&self, writer: &mut Writer);
    /// Reads the parts, as [`Reader::version`] has them.
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError>;
}

/// Bytes in the making.
pub struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// What is written alone.
    pub fn written(write: impl FnOnce(&mut Writer)) -> Vec<u8> {
        let mut writer = Writer { bytes: Vec::new() };
        write(&mut writer);
        writer.bytes
    }

    /// Seven binary digits a byte, the lowest first (LEB128).
    pub fn number(&mut self, mut number: u64) {
        while number > 0x7f {
            self.bytes.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.bytes.push(number as u8);
    }

    pub fn float(&mut self, number: f64) {
        self.bytes(&number.to_bits().to_le_bytes());
    }

    /// How many bytes, and these, the lowest first.
    pub fn wide(&mut self, number: Wide) {
        let bytes = number.to_le_bytes();
        let length = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        self.bytes.push(length as u8);
        self.bytes(&bytes[..length]);
    }

    /// How many bytes, with how many bytes of noughts below them (at most seven) above the fifth digit, and
    /// these: of sums of round numbers the lowest digits are noughts.
    pub fn wide_of_round(&mut self, number: Wide) {
        let bytes = number.to_le_bytes();
        let length = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        let noughts = bytes[..length].iter().take(7).take_while(|byte| **byte == 0).count();
        self.bytes.push((noughts << 5 | (length - noughts)) as u8);
        self.bytes(&bytes[noughts..length]);
    }

    /// Below nought are the odd numbers, so that small ones stay short.
    pub fn signed(&mut self, number: i128) {
        self.wide(Wide::from((number << 1 ^ number >> 127) as u128));
    }

    /// Their sum, and each by the code of R. F. Rice (Some practical universal noiseless coding
    /// techniques, 1979): what exceeds the `k` lowest digits as so many ones and a zero, then these
    /// digits, highest first. `k` follows from sum and number of numbers, so it is not written; as
    /// many as `n` numbers take at most `n (k + 3)` binary digits, however they are distributed.
    pub fn numbers(&mut self, numbers: &[u64]) {
        let sum = numbers.iter().fold(0, |sum, number| u64::saturating_add(sum, *number));
        self.number(sum);
        self.numbers_of(sum, numbers);
    }

    /// The same of numbers whose sum is written elsewhere.
    pub fn numbers_of(&mut self, sum: u64, numbers: &[u64]) {
        let k = rice(sum, numbers.len());
        let mut bits = self.bits();
        numbers.iter().for_each(|number| bits.rice(*number, k));
        bits.finish();
    }

    /// Binary digits from here on, up to [`BitWriter::finish`].
    pub fn bits(&mut self) -> BitWriter<'_> {
        BitWriter { bytes: &mut self.bytes, pending: 0, filled: 0 }
    }
}

/// Digits that numbers of this sum have in full: those of their mean, without its first.
fn rice(sum: u64, numbers: usize) -> u32 {
    (sum / (numbers as u64).max(1)).checked_ilog2().unwrap_or(0)
}

/// Binary digits in the making, the highest of a byte first.
pub struct BitWriter<'a> {
    bytes: &'a mut Vec<u8>,
    pending: u8,
    filled: u32,
}

impl BitWriter<'_> {
    pub fn push(&mut self, bit: bool) {
        self.pending |= u8::from(bit) << (7 - self.filled);
        self.filled += 1;
        if self.filled == 8 {
            self.bytes.push(self.pending);
            (self.pending, self.filled) = (0, 0);
        }
    }

    pub fn digits(&mut self, number: u64, digits: u32) {
        (0..digits).rev().for_each(|digit| self.push(number >> digit & 1 == 1));
    }

    /// What exceeds the `k` lowest digits as so many ones and a zero, then these digits.
    pub fn rice(&mut self, number: u64, k: u32) {
        (0..number >> k).for_each(|_| self.push(true));
        self.push(false);
        self.digits(number, k);
    }

    /// Noughts up to the end of the byte.
    pub fn finish(self) {
        if self.filled > 0 {
            self.bytes.push(self.pending);
        }
    }
}

/// Bytes that are left to read.
pub struct Reader<'a> {
    bytes: &'a [u8],
    /// How the sketch was written.
    version: u8,
}

impl<'a> Reader<'a> {
    pub fn version(&self) -> u8 {
        self.version
    }

    pub fn byte(&mut self) -> Result<u8, DecodeError> {
        Ok(self.bytes(1)?[0])
    }

    pub fn bytes(&mut self, length: usize) -> Result<&'a [u8], DecodeError> {
        let (taken, left) = self.bytes.split_at_checked(length).ok_or(DecodeError::CutShort)?;
        self.bytes = left;
        Ok(taken)
    }

    pub fn number(&mut self) -> Result<u64, DecodeError> {
        let mut number = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let digits = u64::from(byte & 0x7f);
            if digits << shift >> shift != digits {
                return Err(DecodeError::NotCanonical("a number of more than 64 binary digits"));
            }
            number |= digits << shift;
            if byte < 0x80 {
                return match byte {
                    0 if shift > 0 => {
                        Err(DecodeError::NotCanonical("a number with noughts before"))
                    }
                    _ => Ok(number),
                };
            }
        }
        Err(DecodeError::NotCanonical("a number of more than 64 binary digits"))
    }

    /// A number of things counted.
    pub fn count(&mut self) -> Result<u64, DecodeError> {
        let count = self.number()?;
        if count > COUNT_MAX {
            return Err(DecodeError::NotCanonical("more values than are read"));
        }
        Ok(count)
    }

    /// A number of things counted that is written only where there are any.
    pub fn count_of_some(&mut self) -> Result<u64, DecodeError> {
        match self.count()? {
            0 => Err(DecodeError::NotCanonical("none where there are said to be some")),
            count => Ok(count),
        }
    }

    /// A number of what follows, up to `max`.
    pub fn length(&mut self, max: usize) -> Result<usize, DecodeError> {
        let length = usize::try_from(self.number()?).unwrap_or(usize::MAX);
        if length > max {
            return Err(DecodeError::NotCanonical("more parts than a sketch has"));
        }
        Ok(length)
    }

    pub fn eight(&mut self) -> Result<[u8; 8], DecodeError> {
        let mut eight = [0; 8];
        eight.copy_from_slice(self.bytes(8)?);
        Ok(eight)
    }

    /// A finite number; of the two noughts the one without a sign.
    pub fn float(&mut self) -> Result<f64, DecodeError> {
        finite(u64::from_le_bytes(self.eight()?))
    }

    /// The same from its highest bytes, so many; below them there are noughts alone.
    pub fn float_of_round(&mut self, length: usize) -> Result<f64, DecodeError> {
        let bytes = self.bytes(length)?;
        if bytes.last() == Some(&0) {
            return Err(DecodeError::NotCanonical("a value with noughts behind"));
        }
        let mut all = [0; 8];
        all[..length].copy_from_slice(bytes);
        finite(u64::from_be_bytes(all))
    }

    pub fn wide_of_round(&mut self) -> Result<Wide, DecodeError> {
        let lengths = usize::from(self.byte()?);
        let (noughts, length) = (lengths >> 5, lengths & 31);
        let taken = self.bytes(length)?;
        let mut bytes = [0; 24];
        let Some(place) = bytes.get_mut(noughts..noughts + length) else {
            return Err(DecodeError::NotCanonical("a sum of more than 192 binary digits"));
        };
        place.copy_from_slice(taken);
        let is_short = match (taken.first(), taken.last()) {
            (Some(first), Some(last)) => *last != 0 && (noughts == 7 || *first != 0),
            _ => noughts == 0,
        };
        if !is_short {
            return Err(DecodeError::NotCanonical("a sum with noughts before or behind"));
        }
        Ok(Wide::from_le_bytes(bytes))
    }

    pub fn wide(&mut self) -> Result<Wide, DecodeError> {
        let length = usize::from(self.byte()?);
        let mut bytes = [0; 24];
        if length > bytes.len() {
            return Err(DecodeError::NotCanonical("a sum of more than 192 binary digits"));
        }
        bytes[..length].copy_from_slice(self.bytes(length)?);
        if length > 0 && bytes[length - 1] == 0 {
            return Err(DecodeError::NotCanonical("a sum with noughts before"));
        }
        Ok(Wide::from_le_bytes(bytes))
    }

    pub fn signed(&mut self) -> Result<i128, DecodeError> {
        let folded = self.wide()?.to_u128();
        let folded = folded.ok_or(DecodeError::NotCanonical("a sum of more than 128 digits"))?;
        Ok((folded >> 1) as i128 ^ -((folded & 1) as i128))
    }

    /// So many numbers, as [`Writer::numbers`] writes them.
    pub fn numbers(&mut self, length: usize) -> Result<Vec<u64>, DecodeError> {
        let sum = self.count()?;
        self.numbers_of(sum, length)
    }

    /// So many numbers of this sum, as [`Writer::numbers_of`] writes them.
    pub fn numbers_of(&mut self, sum: u64, length: usize) -> Result<Vec<u64>, DecodeError> {
        let k = rice(sum, length);
        let mut bits = self.bits();
        let mut numbers = Vec::new();
        let mut left = sum;
        for _ in 0..length {
            let number = bits.rice(k, left)?;
            left -= number;
            numbers.push(number);
        }
        self.pass(bits)?;
        if left != 0 {
            return Err(DecodeError::NotCanonical("numbers short of their sum"));
        }
        Ok(numbers)
    }

    /// Binary digits from here on; [`Reader::pass`] goes on behind them.
    pub fn bits(&self) -> BitReader<'a> {
        BitReader { bytes: self.bytes, passed: 0 }
    }

    /// Goes on behind the byte in which these digits end, the rest of which is noughts.
    pub fn pass(&mut self, mut bits: BitReader<'a>) -> Result<(), DecodeError> {
        while !bits.passed.is_multiple_of(8) {
            if bits.next()? {
                return Err(DecodeError::NotCanonical("digits behind the last number"));
            }
        }
        self.bytes(bits.passed / 8).map(|_| ())
    }
}

fn finite(digits: u64) -> Result<f64, DecodeError> {
    let number = f64::from_bits(digits);
    if !number.is_finite() || (number == 0.0 && number.is_sign_negative()) {
        return Err(DecodeError::NotCanonical("a value that is no finite number"));
    }
    Ok(number)
}

/// Binary digits that are left to read.
pub struct BitReader<'a> {
    bytes: &'a [u8],
    passed: usize,
}

impl BitReader<'_> {
    pub fn next(&mut self) -> Result<bool, DecodeError> {
        let byte = self.bytes.get(self.passed / 8).ok_or(DecodeError::CutShort)?;
        let bit = byte >> (7 - self.passed % 8) & 1 == 1;
        self.passed += 1;
        Ok(bit)
    }

    pub fn digits(&mut self, digits: u32) -> Result<u64, DecodeError> {
        (0..digits).try_fold(0, |number, _| Ok(number << 1 | u64::from(self.next()?)))
    }

    /// A number up to `max`, as [`BitWriter::rice`] writes it.
    pub fn rice(&mut self, k: u32, max: u64) -> Result<u64, DecodeError> {
        let mut number = 0u64;
        while self.next()? {
            number += 1 << k;
            if number > max {
                return Err(DecodeError::NotCanonical("numbers beyond their sum"));
            }
        }
        number |= self.digits(k)?;
        if number > max {
            return Err(DecodeError::NotCanonical("numbers beyond their sum"));
        }
        Ok(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_could_be_written_shorter_is_not_read() {
        let number = |bytes: &[u8]| Reader { bytes, version: VERSION }.number();
        assert_eq!(number(&[0x80, 1]), Ok(128));
        assert!(matches!(number(&[0x80, 0]), Err(DecodeError::NotCanonical(_))));
        let most = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1];
        assert_eq!(number(&most), Ok(u64::MAX));
        assert!(matches!(number(&[0xff; 10]), Err(DecodeError::NotCanonical(_))));
        assert_eq!(number(&[0x80]), Err(DecodeError::CutShort));
        assert!(matches!(
            Reader { bytes: &[2, 1, 0], version: VERSION }.wide(),
            Err(DecodeError::NotCanonical(_))
        ));
        assert!(matches!(
            Reader { bytes: &[25; 26], version: VERSION }.wide(),
            Err(DecodeError::NotCanonical(_))
        ));
    }

    proptest! {
        #[test]
        fn numbers_come_back_and_take_no_more_than_they_may(
            numbers in prop::collection::vec(prop_oneof![0u64..4, 0u64..1 << 20, 0u64..1 << 45], 0..60),
        ) {
            let bytes = Writer::written(|writer| writer.numbers(&numbers));
            let mut reader = Reader { bytes: &bytes, version: VERSION };
            prop_assert_eq!(reader.numbers(numbers.len()), Ok(numbers.clone()));
            prop_assert!(reader.bytes.is_empty());
            let k = rice(numbers.iter().sum(), numbers.len()) as usize;
            prop_assert!(bytes.len() <= 10 + (numbers.len() * (k + 3)).div_ceil(8));
        }

        #[test]
        fn whole_numbers_come_back(number: i128, short: u64) {
            let bytes = Writer::written(|writer| { writer.signed(number); writer.number(short) });
            let mut reader = Reader { bytes: &bytes, version: VERSION };
            prop_assert_eq!((reader.signed(), reader.number()), (Ok(number), Ok(short)));
        }

        #[test]
        fn sums_of_round_numbers_come_back_in_their_only_form(
            number: u64, factor: u128, shift in 0u32..120, damaged: u8, at in any::<prop::sample::Index>(),
        ) {
            for wide in [Wide::product(number, factor >> shift << shift), Wide::from(u128::from(number) << (shift / 2))] {
                let mut bytes = Writer::written(|writer| writer.wide_of_round(wide));
                let mut reader = Reader { bytes: &bytes, version: VERSION };
                prop_assert_eq!(reader.wide_of_round(), Ok(wide));
                prop_assert!(reader.bytes.is_empty());
                let at = at.index(bytes.len());
                bytes[at] = damaged;
                let mut reader = Reader { bytes: &bytes, version: VERSION };
                if let Ok(wide) = reader.wide_of_round() {
                    let read = bytes.len() - reader.bytes.len();
                    prop_assert_eq!(Writer::written(|writer| writer.wide_of_round(wide)), &bytes[..read]);
                }
            }
        }
    }
}
