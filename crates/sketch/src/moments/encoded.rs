//! Moments as bytes.

use super::{MAGNITUDE_MAX, Moments, steps};
use crate::encoding::{DecodeError, Parts, Reader, Writer};
use crate::wide::{Double, Wide};

/// The count; and unless that is nought: how many were clamped, extremes, sum, sum of squares.
impl Parts for Moments {
    const KIND: u8 = 1;

    fn write(&self, writer: &mut Writer) {
        writer.number(self.count);
        if self.count > 0 {
            writer.number(self.clamped);
            writer.float(self.min);
            writer.float(self.max);
            writer.signed(self.sum);
            writer.wide(self.squares);
        }
    }

    fn read(reader: &mut Reader<'_>) -> Result<Moments, DecodeError> {
        let count = reader.count()?;
        if count == 0 {
            return Ok(Moments::default());
        }
        let clamped = reader.count()?;
        let (min, max) = (reader.float()?, reader.float()?);
        let moments =
            Moments { count, clamped, min, max, sum: reader.signed()?, squares: reader.wide()? };
        if !moments.can_be() {
            return Err(DecodeError::NotCanonical("moments of no values"));
        }
        Ok(moments)
    }
}

/// Lengths of a float, nought to eight bytes.
const LENGTHS: u8 = 9;
const IS_BELOW: u8 = 128;

impl Moments {
    /// Writes, unless there is no value, what does not follow from count and clamped ones: how many bytes of
    /// the extremes there are, 9 times those of the least and those of the greatest, and 128 more if the sum is
    /// below nought; these bytes, the highest first, without the lowest ones that are noughts; sum without its
    /// sign, and sum of squares.
    pub(crate) fn write_sums(&self, writer: &mut Writer) {
        if self.count == 0 {
            return;
        }
        let extremes = [self.min, self.max].map(|value| value.to_bits().to_be_bytes());
        let [least, greatest] = extremes
            .map(|bytes| bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1));
        let below = if self.sum < 0 { IS_BELOW } else { 0 };
        writer.bytes(&[below | (least as u8 * LENGTHS + greatest as u8)]);
        writer.bytes(&extremes[0][..least]);
        writer.bytes(&extremes[1][..greatest]);
        writer.wide_of_round(Wide::from(self.sum.unsigned_abs()));
        writer.wide_of_round(self.squares);
    }

    /// Reads what [`Moments::write_sums`] has written.
    pub(crate) fn read_sums(
        reader: &mut Reader<'_>,
        count: u64,
        clamped: u64,
    ) -> Result<Moments, DecodeError> {
        let nothing = Moments { clamped, ..Moments::default() };
        let moments = if count == 0 { nothing } else { read_some(reader, count, clamped)? };
        if !moments.can_be() {
            return Err(DecodeError::NotCanonical("moments of no values"));
        }
        Ok(moments)
    }

    /// Whether there may be values of which these are the moments: whatever was read otherwise would
    /// give deviations of its own making.
    fn can_be(&self) -> bool {
        let Moments { count, clamped, min, max, sum, squares } = *self;
        if count == 0 {
            return *self == Moments::default();
        }
        let beyond = min < -MAGNITUDE_MAX || max > MAGNITUDE_MAX;
        if min > max || clamped > count || (clamped > 0) != beyond {
            return false;
        }
        // Below 2^56 values of at most 2^63 steps.
        let of_all = |value: f64| steps(value) * i128::from(count);
        let largest = steps(min).unsigned_abs().max(steps(max).unsigned_abs());
        let sum_squared = Double::product(sum.unsigned_abs(), sum.unsigned_abs());
        (of_all(min)..=of_all(max)).contains(&sum)
            && squares <= Wide::product(count, largest.pow(2))
            && squares.times(count) >= sum_squared
    }
}

fn read_some(reader: &mut Reader<'_>, count: u64, clamped: u64) -> Result<Moments, DecodeError> {
    let lengths = reader.byte()?;
    let is_below = lengths >= IS_BELOW;
    let lengths = lengths & (IS_BELOW - 1);
    if lengths >= LENGTHS * LENGTHS {
        return Err(DecodeError::NotCanonical("a value of more than eight bytes"));
    }
    let min = reader.float_of_round(usize::from(lengths / LENGTHS))?;
    let max = reader.float_of_round(usize::from(lengths % LENGTHS))?;
    let sum = reader.wide_of_round()?.to_u128().and_then(|sum| i128::try_from(sum).ok());
    let sum = sum.ok_or(DecodeError::NotCanonical("a sum of more than 127 digits"))?;
    if is_below && sum == 0 {
        return Err(DecodeError::NotCanonical("a nought below nought"));
    }
    let sum = if is_below { -sum } else { sum };
    Ok(Moments { count, clamped, min, max, sum, squares: reader.wide_of_round()? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoding::Sketch;
    use proptest::prelude::*;

    #[test]
    fn moments_of_no_values_are_not_read() {
        let mut moments = Moments::default();
        [1.0, 2.0, 2.5].into_iter().for_each(|value| moments.add(value));
        type Change = fn(&mut Moments);
        let changes: [Change; 6] = [
            |moments| moments.min = 2.75,
            |moments| moments.clamped = 1,
            |moments| moments.sum = i128::MIN,
            |moments| moments.sum += 2 << 23,
            |moments| moments.squares = Wide::default(),
            |moments| moments.squares = Wide::product(u64::MAX, u128::MAX),
        ];
        assert!(Moments::decode(&moments.encode()).is_ok());
        for (number, change) in changes.into_iter().enumerate() {
            let mut changed = moments.clone();
            change(&mut changed);
            assert!(Moments::decode(&changed.encode()).is_err(), "change {number}");
        }
    }

    proptest! {
        #[test]
        fn moments_come_back(values in prop::collection::vec(
            prop_oneof![-1e13f64..1e13, -1e-6f64..1e-6, Just(f64::MAX), Just(-0.0), Just(f64::NAN)],
            0..30,
        )) {
            let mut moments = Moments::default();
            values.iter().for_each(|value| moments.add(*value));
            prop_assert_eq!(Moments::decode(&moments.encode()), Ok(moments));
        }
    }
}
