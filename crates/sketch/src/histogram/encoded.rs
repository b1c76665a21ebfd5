//! A histogram as bytes.

use super::{BUCKET_FIRST, BUCKET_LAST, BUCKETS_MAX, Histogram, Side};
use crate::encoding::{COUNT_MAX, DecodeError, Parts, Reader, Writer};

/// What is no finite number; what is nought; then of each sign, those below nought first, how many
/// buckets there are, and unless there are none: the one nearest to nought, the gaps between them, and
/// their counts less one.
impl Parts for Histogram {
    const KIND: u8 = 2;

    fn write(&self, writer: &mut Writer) {
        writer.number(self.not_finite);
        writer.number(self.noughts);
        for side in [&self.below, &self.above] {
            match side.0.is_empty() {
                true => writer.number(0),
                false => side.write(writer),
            }
        }
    }

    fn read(reader: &mut Reader<'_>) -> Result<Histogram, DecodeError> {
        let mut histogram = Histogram { not_finite: reader.count()?, ..Histogram::default() };
        histogram.noughts = reader.count()?;
        for side in [&mut histogram.below, &mut histogram.above] {
            let length = reader.length(BUCKETS_MAX)?;
            if length > 0 {
                *side = Side::read(length, reader)?;
            }
        }
        histogram.checked()
    }
}

/// What a histogram has, by digits.
const HAS_NOT_FINITE: u8 = 1;
const HAS_NOUGHTS: u8 = 2;
const HAS_BELOW: u8 = 4;
const HAS_ABOVE: u8 = 8;

impl Histogram {
    /// What is written by [`Histogram::write_what_it_has`]: four digits.
    pub(crate) fn has(&self) -> u8 {
        let has = |digit: u8, is_there: bool| if is_there { digit } else { 0 };
        has(HAS_NOT_FINITE, self.not_finite > 0)
            | has(HAS_NOUGHTS, self.noughts > 0)
            | has(HAS_BELOW, !self.below.0.is_empty())
            | has(HAS_ABOVE, !self.above.0.is_empty())
    }

    /// Writes the parts that are not empty.
    pub(crate) fn write_what_it_has(&self, writer: &mut Writer) {
        let numbers = [self.not_finite, self.noughts].into_iter();
        numbers.filter(|number| *number > 0).for_each(|number| writer.number(number));
        let sides = [&self.below, &self.above].into_iter();
        sides.filter(|side| !side.0.is_empty()).for_each(|side| side.write(writer));
    }

    /// Reads these parts of it.
    pub(crate) fn read_what_it_has(
        reader: &mut Reader<'_>,
        has: u8,
    ) -> Result<Histogram, DecodeError> {
        let mut histogram = Histogram::default();
        if has & HAS_NOT_FINITE > 0 {
            histogram.not_finite = reader.count_of_some()?;
        }
        if has & HAS_NOUGHTS > 0 {
            histogram.noughts = reader.count_of_some()?;
        }
        for (digit, side) in [(HAS_BELOW, &mut histogram.below), (HAS_ABOVE, &mut histogram.above)]
        {
            if has & digit > 0 {
                let length = reader.length(BUCKETS_MAX)?;
                *side = Side::read(length, reader)?;
            }
        }
        histogram.checked()
    }

    fn checked(self) -> Result<Histogram, DecodeError> {
        if self.count() > COUNT_MAX {
            return Err(DecodeError::NotCanonical("more values than are read"));
        }
        Ok(self)
    }
}

impl Side {
    /// How many buckets, the one nearest to nought, the gaps, and the counts less one.
    fn write(&self, writer: &mut Writer) {
        let Side(side) = self;
        writer.number(side.len() as u64);
        if let Some((first, _)) = side.first() {
            writer.number(u64::from(first - BUCKET_FIRST.unsigned_abs()));
            let gaps = side.windows(2).map(|pair| u64::from(pair[1].0 - pair[0].0 - 1));
            writer.numbers(&gaps.collect::<Vec<_>>());
            let counts = side.iter().map(|(_, count)| count - 1);
            writer.numbers(&counts.collect::<Vec<_>>());
        }
    }

    /// Reads so many buckets, at least one.
    fn read(length: usize, reader: &mut Reader<'_>) -> Result<Side, DecodeError> {
        let mut bucket = reader.number()?.saturating_add(u64::from(BUCKET_FIRST.unsigned_abs()));
        let Some(gaps) = length.checked_sub(1) else {
            return Err(DecodeError::NotCanonical("no buckets where there are said to be some"));
        };
        let gaps = reader.numbers(gaps)?;
        let counts = reader.numbers(length)?;
        let mut side = Side::default();
        for (at, count) in counts.into_iter().enumerate() {
            if at > 0 {
                bucket = bucket.saturating_add(gaps[at - 1]).saturating_add(1);
            }
            if bucket > BUCKET_LAST as u64 {
                return Err(DecodeError::NotCanonical("a bucket of no number"));
            }
            side.0.push((bucket as u32, count + 1));
        }
        Ok(side)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoding::Sketch;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn histograms_come_back(
            values in prop::collection::vec(
                prop_oneof![-1e3f64..1e3, 0.9f64..1.1, -1e-308f64..1e-308, Just(f64::MAX), Just(f64::NAN)],
                0..300,
            ),
        ) {
            let mut histogram = Histogram::default();
            values.iter().for_each(|value| histogram.add(*value));
            prop_assert_eq!(Histogram::decode(&histogram.encode()), Ok(histogram));
        }
    }

    #[test]
    fn buckets_of_no_number_are_not_read() {
        let mut histogram = Histogram::default();
        histogram.add(f64::MAX);
        let mut bytes = histogram.encode();
        assert_eq!(Histogram::decode(&bytes), Ok(histogram));
        // Kind, version, no number, nought, none below: then one, at the last bucket less the first.
        assert_eq!(bytes[..6], [2, 1, 0, 0, 0, 1]);
        bytes[6] += 1;
        assert!(matches!(Histogram::decode(&bytes), Err(DecodeError::NotCanonical(_))));
    }
}
