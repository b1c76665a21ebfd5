//! Columns as bytes.

use super::{CategoryColumn, NumberColumn, TextColumn};
use crate::bins::Bins;
use crate::categories::CategoryCounts;
use crate::distinct::Distinct;
use crate::encoding::{DecodeError, Parts, Reader, Writer};
use crate::frequent::Frequent;
use crate::histogram::Histogram;
use crate::moments::Moments;

/// What a column of numbers has, by the digits of its first byte: the number of each follows if there are
/// any.
const HAS_MISSING: u8 = 1;
const HAS_CLAMPED: u8 = 2;
const HAS_BINS: u8 = 64;
/// Of what a histogram has; all below [`HAS_BINS`].
const HISTOGRAM_SHIFT: u32 = 2;

/// A byte that says what there is, and what there is of it: rows without a value, values beyond the bounds of
/// sums; then the histogram, different values, and, if there is a finite value, moments; then bins. What
/// follows from another part is not written: moments and bins count what the histogram does.
///
/// Version 1: rows without a value, whether there are bins, and the parts, each as it is written alone.
impl Parts for NumberColumn {
    const KIND: u8 = 7;
    const VERSION: u8 = 2;

    fn write(&self, writer: &mut Writer) {
        let clamped = self.moments.clamped();
        let has = |digit: u8, is_there: bool| if is_there { digit } else { 0 };
        writer.bytes(&[has(HAS_MISSING, self.missing > 0)
            | has(HAS_CLAMPED, clamped > 0)
            | has(HAS_BINS, self.bins.is_some())
            | self.histogram.has() << HISTOGRAM_SHIFT]);
        [self.missing, clamped].into_iter().filter(|it| *it > 0).for_each(|it| writer.number(it));
        self.histogram.write_what_it_has(writer);
        self.distinct.write(writer);
        self.moments.write_sums(writer);
        if let Some(bins) = &self.bins {
            bins.write_of(self.histogram.count(), writer);
        }
    }

    fn read(reader: &mut Reader<'_>) -> Result<NumberColumn, DecodeError> {
        if reader.version() == 1 {
            return read_version_1(reader);
        }
        let has = reader.byte()?;
        if has >= HAS_BINS << 1 {
            return Err(DecodeError::NotCanonical("parts that no column has"));
        }
        let mut number = |digit: u8| if has & digit > 0 { reader.count_of_some() } else { Ok(0) };
        let (missing, clamped) = (number(HAS_MISSING)?, number(HAS_CLAMPED)?);
        let of_histogram = (has & (HAS_BINS - 1)) >> HISTOGRAM_SHIFT;
        let histogram = Histogram::read_what_it_has(reader, of_histogram)?;
        let count = histogram.count();
        let distinct = Distinct::read(reader)?;
        let moments = Moments::read_sums(reader, count, clamped)?;
        let bins = match has & HAS_BINS {
            0 => None,
            _ => Some(Bins::read_of(count, histogram.not_finite(), reader)?),
        };
        NumberColumn { missing, moments, histogram, distinct, bins }.checked()
    }
}

impl NumberColumn {
    /// Itself, if there may be values of which all its parts are.
    fn checked(self) -> Result<NumberColumn, DecodeError> {
        let count = self.histogram.count();
        if self.moments.count() != count
            || (self.distinct == Distinct::default()) != (count == 0)
            || (self.distinct.is_exact() && self.distinct.estimate() > count as f64)
        {
            return Err(DecodeError::NotCanonical("parts of different columns"));
        }
        Ok(self)
    }
}

fn read_version_1(reader: &mut Reader<'_>) -> Result<NumberColumn, DecodeError> {
    let missing = reader.count()?;
    let has_bins = reader.length(1)? == 1;
    let moments = Moments::read(reader)?;
    let histogram = Histogram::read(reader)?;
    let distinct = Distinct::read(reader)?;
    let bins = has_bins.then(|| Bins::read(reader)).transpose()?;
    let binned = bins.as_ref().map(|bins| (bins.count(), bins.not_finite()));
    if binned.is_some_and(|binned| binned != (histogram.count(), histogram.not_finite())) {
        return Err(DecodeError::NotCanonical("parts of different columns"));
    }
    NumberColumn { missing, moments, histogram, distinct, bins }.checked()
}

/// Rows without a text, frequent texts, and different ones: of few those alone that are not among the
/// frequent ones, from which theirs follow.
///
/// Version 1: different texts as they are written alone.
impl Parts for TextColumn {
    const KIND: u8 = 8;
    const VERSION: u8 = 2;

    fn write(&self, writer: &mut Writer) {
        writer.number(self.missing);
        self.frequent.write(writer);
        self.distinct.write_beside(writer, &Distinct::keys(self.frequent.hashes()));
    }

    fn read(reader: &mut Reader<'_>) -> Result<TextColumn, DecodeError> {
        let missing = reader.count()?;
        let frequent = Frequent::read(reader)?;
        let listed = Distinct::keys(frequent.hashes());
        let distinct = Distinct::read_beside(reader, &listed)?;
        let agree = match distinct.few() {
            Some(keys) if frequent.rest() == 0 => *keys == listed,
            Some(keys) => keys.is_superset(&listed),
            None => frequent.rest() > 0,
        };
        if !agree {
            return Err(DecodeError::NotCanonical("parts of different columns"));
        }
        Ok(TextColumn { missing, frequent, distinct })
    }
}

/// The texts, and the counts.
impl Parts for CategoryColumn {
    const KIND: u8 = 10;
    const VERSION: u8 = 2;

    fn write(&self, writer: &mut Writer) {
        self.texts.write(writer);
        self.counts.write(writer);
    }

    fn read(reader: &mut Reader<'_>) -> Result<CategoryColumn, DecodeError> {
        let (texts, counts) = (TextColumn::read(reader)?, CategoryCounts::read(reader)?);
        if texts.frequent.count_all() != counts.count_all() {
            return Err(DecodeError::NotCanonical("parts of different columns"));
        }
        Ok(CategoryColumn { texts, counts })
    }
}
