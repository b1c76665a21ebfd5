//! Readings between two processes: the values of each in one piece, for a picture has hundreds of thousands.
//!
//! Windows have values of 32 bits, so that is what crosses. Where one of a reading is no finite number of 32
//! bits, all of it cross as they are: the worker tells what is wrong with it.

use lineside_runtime::Reading;
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::sync::Arc;

/// Bytes of a value as windows have it, and as it is.
const SINGLE_BYTES: usize = size_of::<f32>();
const DOUBLE_BYTES: usize = size_of::<f64>();
/// Bytes of values for which nothing is allocated.
const FEW_BYTES: usize = 128;

#[derive(Serialize)]
struct Packed<'a> {
    key: &'a str,
    sequence: u64,
    time_unix_ns: i64,
    values: Values<'a>,
}

#[derive(Deserialize)]
struct Unpacked {
    key: String,
    sequence: u64,
    time_unix_ns: i64,
    #[serde(deserialize_with = "values")]
    values: Vec<f64>,
}

/// Values as bytes, little-endian; the first byte says how many each has.
struct Values<'a>(&'a [f64]);

impl Serialize for Values<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // Looked at whole: that is done several values at once.
        let is_single = |single: bool, value: &f64| single & (*value as f32).is_finite();
        let single = self.0.iter().fold(true, is_single);
        let each = if single { SINGLE_BYTES } else { DOUBLE_BYTES };
        let length = 1 + self.0.len() * each;
        let (mut few, mut many) = ([0; FEW_BYTES], Vec::new());
        let bytes = match few.get_mut(..length) {
            Some(bytes) => bytes,
            None => {
                many.resize(length, 0);
                &mut many[..]
            }
        };
        bytes[0] = each as u8;
        if single {
            for (place, value) in bytes[1..].as_chunks_mut().0.iter_mut().zip(self.0) {
                *place = (*value as f32).to_le_bytes();
            }
        } else {
            for (place, value) in bytes[1..].as_chunks_mut().0.iter_mut().zip(self.0) {
                *place = value.to_le_bytes();
            }
        }
        serializer.serialize_bytes(bytes)
    }
}

fn values<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<f64>, D::Error> {
    struct Bytes;
    impl Visitor<'_> for Bytes {
        type Value = Vec<f64>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("values of four or of eight bytes each")
        }

        fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Vec<f64>, E> {
            let values = bytes.split_first().and_then(|(each, values)| match usize::from(*each) {
                SINGLE_BYTES => {
                    let single = |value: &[u8; SINGLE_BYTES]| f32::from_le_bytes(*value).into();
                    let (values, rest) = values.as_chunks();
                    rest.is_empty().then(|| values.iter().map(single).collect())
                }
                DOUBLE_BYTES => {
                    let (values, rest) = values.as_chunks();
                    rest.is_empty()
                        .then(|| values.iter().map(|value| f64::from_le_bytes(*value)).collect())
                }
                _ => None,
            });
            values.ok_or_else(|| E::invalid_length(bytes.len(), &self))
        }
    }
    deserializer.deserialize_bytes(Bytes)
}

/// Writes readings, as `serde(with = "packed")` wants it.
pub(super) fn serialize<S: Serializer>(
    readings: &[Arc<Reading>],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(readings.iter().map(|reading| Packed {
        key: &reading.key,
        sequence: reading.sequence,
        time_unix_ns: reading.time_unix_ns,
        values: Values(&reading.values),
    }))
}

/// Reads readings.
pub(super) fn deserialize<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<Arc<Reading>>, D::Error> {
    let unpacked = Vec::<Unpacked>::deserialize(deserializer)?;
    let reading = |Unpacked { key, sequence, time_unix_ns, values }| {
        Arc::new(Reading { key, sequence, time_unix_ns, values })
    };
    Ok(unpacked.into_iter().map(reading).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worker::message::ToWorker;

    fn reading(sequence: u64, values: &[f64]) -> Arc<Reading> {
        let values = values.to_vec();
        Arc::new(Reading { key: "a".into(), sequence, time_unix_ns: -7, values })
    }

    #[test]
    fn every_value_comes_as_windows_have_it_and_what_they_cannot_have_bit_for_bit() {
        let values = [0.1, -0.0, f64::MIN_POSITIVE / 2.0, f64::INFINITY, f64::from_bits(u64::MAX)];
        let sent = vec![
            reading(0, &values),
            reading(1, &[0.1, 1e300]),
            reading(2, &[1.5, -0.0, f64::from(0.1f32), f64::from(f32::MIN_POSITIVE / 2.0)]),
            reading(u64::MAX, &[]),
        ];
        let bytes = postcard::to_stdvec(&ToWorker::Readings(sent.clone())).unwrap();
        let ToWorker::Readings(came) = postcard::from_bytes(&bytes).unwrap() else { panic!() };
        assert_eq!(came.len(), 4);
        for (came, sent) in came.iter().zip(&sent) {
            let bits = |values: &[f64]| values.iter().map(|it| it.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(&came.values), bits(&sent.values));
            assert_eq!((&came.key, came.sequence), (&sent.key, sent.sequence));
            assert_eq!(came.time_unix_ns, -7);
        }
        let values = [0.1, -3e-50, 16_777_217.0, f64::from(f32::MAX)];
        let bytes = postcard::to_stdvec(&ToWorker::Readings(vec![reading(0, &values)])).unwrap();
        let ToWorker::Readings(came) = postcard::from_bytes(&bytes).unwrap() else { panic!() };
        assert!(bytes.len() < values.len() * DOUBLE_BYTES);
        let singles = |values: &[f64]| values.iter().map(|it| *it as f32).collect::<Vec<f32>>();
        assert_eq!(singles(&came[0].values), singles(&values));
    }

    #[test]
    fn half_a_value_is_none() {
        let whole = postcard::to_stdvec(&ToWorker::Readings(vec![reading(0, &[1.0])])).unwrap();
        // The length of the values, and one byte less of them.
        let at = whole.len() - SINGLE_BYTES - 2;
        let mut cut = whole[..whole.len() - 1].to_vec();
        cut[at] -= 1;
        assert!(postcard::from_bytes::<ToWorker>(&whole).is_ok());
        assert!(postcard::from_bytes::<ToWorker>(&cut).is_err());
    }
}
