//! Readings between two processes: the values of each in one piece, for a picture has hundreds of thousands.
//!
//! Windows have values of 32 bits, so that is what crosses. Where one of a reading is no finite number of 32
//! bits, all of it cross as they are: the worker tells what is wrong with it. Each value is touched once here,
//! written where it leaves from, and once there, read where it has come.

use lineside_runtime::{Reading, ReadingRef, Values};
use serde::de::{Error, Visitor};
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serializer};
use std::fmt;
use std::sync::Arc;

/// Bytes of a value as windows have it, and as it is.
const SINGLE_BYTES: usize = size_of::<f32>();
const DOUBLE_BYTES: usize = size_of::<f64>();

/// Readings as the one end has them.
pub type Owned = Vec<Arc<Reading>>;

/// Readings as the other end has them: in the message with which they have come.
pub type Came<'a> = Vec<ReadingRef<'a>>;

/// Puts readings behind other bytes, as [`deserialize`] reads them.
///
/// # Errors
/// What postcard says.
pub(super) fn append(readings: &[Arc<Reading>], bytes: Vec<u8>) -> postcard::Result<Vec<u8>> {
    let mut bytes = postcard::to_extend(&readings.len(), bytes)?;
    for reading in readings {
        let Reading { key, sequence, time_unix_ns, values } = &**reading;
        bytes = postcard::to_extend(&(key.as_str(), sequence, time_unix_ns), bytes)?;
        let before = bytes.len();
        let single_bytes = 1 + values.len() * SINGLE_BYTES;
        bytes = postcard::to_extend(&(single_bytes, SINGLE_BYTES as u8), bytes)?;
        let at = bytes.len();
        bytes.resize(at + values.len() * SINGLE_BYTES, 0);
        if append_singles(values, &mut bytes[at..]) {
            continue;
        }
        bytes.truncate(before);
        let double_bytes = 1 + values.len() * DOUBLE_BYTES;
        bytes = postcard::to_extend(&(double_bytes, DOUBLE_BYTES as u8), bytes)?;
        values.iter().for_each(|value| bytes.extend(value.to_le_bytes()));
    }
    Ok(bytes)
}

/// Writes values as windows have them. False if one is no finite number so.
fn append_singles(values: &[f64], bytes: &mut [u8]) -> bool {
    const EXPONENT: u32 = f32::INFINITY.to_bits();
    // All of them, whatever is found: several are done at once.
    let mut not_finite = 0;
    for (place, value) in bytes.as_chunks_mut().0.iter_mut().zip(values) {
        let bits = (*value as f32).to_bits();
        not_finite |= u32::from(bits & EXPONENT == EXPONENT);
        *place = bits.to_le_bytes();
    }
    not_finite == 0
}

/// Readings as whoever writes a message has them.
pub trait Pack {
    /// Whether they follow.
    const FOLLOW: bool;
}

impl Pack for Owned {
    const FOLLOW: bool = false;
}

/// In place of readings that follow.
#[derive(Debug)]
pub struct Following;

impl Pack for Following {
    const FOLLOW: bool = true;
}

/// Readings as whoever reads a message has them.
pub trait Unpack<'de>: Sized {
    /// Reads them.
    ///
    /// # Errors
    /// What the deserializer says, and whatever is no reading.
    fn unpack<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error>;
}

#[derive(Deserialize)]
struct Unpacked<'a> {
    key: &'a str,
    sequence: u64,
    time_unix_ns: i64,
    #[serde(borrow, deserialize_with = "values")]
    values: Values<'a>,
}

fn values<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Values<'de>, D::Error> {
    struct Bytes;
    impl<'de> Visitor<'de> for Bytes {
        type Value = Values<'de>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("values of four or of eight bytes each")
        }

        fn visit_borrowed_bytes<E: Error>(self, bytes: &'de [u8]) -> Result<Values<'de>, E> {
            let values = bytes.split_first().and_then(|(each, values)| match usize::from(*each) {
                SINGLE_BYTES => match values.as_chunks() {
                    (values, []) => Some(Values::Singles(values)),
                    _ => None,
                },
                DOUBLE_BYTES => match values.as_chunks() {
                    (values, []) => Some(Values::Doubles(values)),
                    _ => None,
                },
                _ => None,
            });
            values.ok_or_else(|| E::invalid_length(bytes.len(), &self))
        }
    }
    deserializer.deserialize_bytes(Bytes)
}

impl<'de> Unpack<'de> for Came<'de> {
    fn unpack<D: Deserializer<'de>>(deserializer: D) -> Result<Came<'de>, D::Error> {
        let unpacked = Vec::<Unpacked<'de>>::deserialize(deserializer)?;
        let reading = |Unpacked { key, sequence, time_unix_ns, values }| ReadingRef {
            key,
            sequence,
            time_unix_ns,
            values,
        };
        Ok(unpacked.into_iter().map(reading).collect())
    }
}

impl<'de> Unpack<'de> for Owned {
    fn unpack<D: Deserializer<'de>>(deserializer: D) -> Result<Owned, D::Error> {
        let came = Came::unpack(deserializer)?;
        Ok(came.into_iter().map(|reading| Arc::new(reading.to_reading())).collect())
    }
}

/// Writes what is there of readings before [`append`] puts them behind it.
pub(super) fn serialize<R: Pack, S: Serializer>(_: &R, serializer: S) -> Result<S::Ok, S::Error> {
    match R::FOLLOW {
        true => serializer.serialize_unit(),
        false => Err(S::Error::custom("readings are put behind the rest of their message")),
    }
}

/// Reads readings.
pub(super) fn deserialize<'de, R: Unpack<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<R, D::Error> {
    R::unpack(deserializer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worker::message::{ToWorker, ToWorkerWith, frame_in, read, read_in};

    fn reading(sequence: u64, values: &[f64]) -> Arc<Reading> {
        let values = values.to_vec();
        Arc::new(Reading { key: "a".into(), sequence, time_unix_ns: -7, values })
    }

    fn framed(readings: &[Arc<Reading>]) -> Vec<u8> {
        frame_in(&ToWorker::Readings(readings.to_vec()), vec![]).unwrap()
    }

    /// The readings, from a message that was read into a room in which others had been.
    fn came(message: &[u8]) -> Option<Owned> {
        let mut room = vec![0xff; 7];
        let came = read_in::<ToWorkerWith<Came<'_>>>(&mut &*message, &mut room).ok()??;
        let ToWorkerWith::Readings(came) = came else { panic!() };
        let came: Owned = came.iter().map(|it| Arc::new(it.to_reading())).collect();
        let Some(ToWorker::Readings(owned)) = read(&mut &*message).unwrap() else { panic!() };
        // NaN is not equal to itself.
        assert_eq!(format!("{owned:?}"), format!("{came:?}"));
        Some(came)
    }

    #[test]
    fn every_value_comes_as_windows_have_it_and_what_they_cannot_have_bit_for_bit() {
        let values = [0.1, -0.0, f64::MIN_POSITIVE / 2.0, f64::INFINITY, f64::from_bits(u64::MAX)];
        let many: Vec<f64> = (0..70_000).map(f64::from).chain([1e300]).collect();
        let sent = vec![
            reading(0, &values),
            reading(1, &[0.1, 1e300]),
            reading(2, &[1.5, -0.0, f64::from(0.1f32), f64::from(f32::MIN_POSITIVE / 2.0)]),
            reading(3, &many[..31]),
            reading(4, &many[..32]),
            reading(5, &many),
            reading(u64::MAX, &[]),
        ];
        let came = self::came(&framed(&sent)).unwrap();
        assert_eq!(came.len(), sent.len());
        for (came, sent) in came.iter().zip(&sent) {
            let bits = |values: &[f64]| values.iter().map(|it| it.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(&came.values), bits(&sent.values));
            assert_eq!((&came.key, came.sequence), (&sent.key, sent.sequence));
            assert_eq!(came.time_unix_ns, -7);
        }
        let values = [0.1, -3e-50, 16_777_217.0, f64::from(f32::MAX)];
        let message = framed(&[reading(0, &values)]);
        assert!(message.len() < values.len() * DOUBLE_BYTES);
        let singles = |values: &[f64]| values.iter().map(|it| *it as f32).collect::<Vec<f32>>();
        assert_eq!(singles(&self::came(&message).unwrap()[0].values), singles(&values));
    }

    #[test]
    fn half_a_value_is_none() {
        let whole = framed(&[reading(0, &[1.0])]);
        // The length of the message, that of the values, and one byte less of them.
        let mut cut = whole[..whole.len() - 1].to_vec();
        cut[0] -= 1;
        let at = whole.len() - SINGLE_BYTES - 2;
        cut[at] -= 1;
        assert!(came(&whole).is_some());
        assert!(came(&cut).is_none());
    }

    #[test]
    fn readings_are_not_written_where_nobody_puts_them_behind() {
        let readings = ToWorker::Readings(vec![reading(0, &[1.0])]);
        assert!(crate::worker::message::frame(&readings).is_err());
    }
}
