//! Readings between two processes: the values of each in one piece, for a picture has hundreds of thousands.

use lineside_runtime::Reading;
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;

/// Bytes of a value.
const VALUE_BYTES: usize = size_of::<f64>();

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

/// Values as bytes, little-endian.
struct Values<'a>(&'a [f64]);

impl Serialize for Values<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut bytes = vec![0; self.0.len() * VALUE_BYTES];
        for (place, value) in bytes.as_chunks_mut().0.iter_mut().zip(self.0) {
            *place = value.to_le_bytes();
        }
        serializer.serialize_bytes(&bytes)
    }
}

fn values<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<f64>, D::Error> {
    struct Bytes;
    impl Visitor<'_> for Bytes {
        type Value = Vec<f64>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("values of eight bytes each")
        }

        fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Vec<f64>, E> {
            match bytes.as_chunks::<VALUE_BYTES>() {
                (values, []) => Ok(values.iter().map(|value| f64::from_le_bytes(*value)).collect()),
                _ => Err(E::invalid_length(bytes.len(), &self)),
            }
        }
    }
    deserializer.deserialize_bytes(Bytes)
}

/// Writes readings, as `serde(with = "packed")` wants it.
pub(super) fn serialize<S: Serializer>(
    readings: &[Reading],
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
) -> Result<Vec<Reading>, D::Error> {
    let unpacked = Vec::<Unpacked>::deserialize(deserializer)?;
    let reading = |Unpacked { key, sequence, time_unix_ns, values }| Reading {
        key,
        sequence,
        time_unix_ns,
        values,
    };
    Ok(unpacked.into_iter().map(reading).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worker::message::ToWorker;

    fn reading(sequence: u64, values: &[f64]) -> Reading {
        Reading { key: "a".into(), sequence, time_unix_ns: -7, values: values.to_vec() }
    }

    #[test]
    fn every_value_comes_as_it_went_bit_for_bit() {
        let values = [0.1, -0.0, f64::MIN_POSITIVE / 2.0, f64::INFINITY, f64::from_bits(u64::MAX)];
        let sent = vec![reading(0, &values), reading(u64::MAX, &[])];
        let bytes = postcard::to_stdvec(&ToWorker::Readings(sent.clone())).unwrap();
        let ToWorker::Readings(came) = postcard::from_bytes(&bytes).unwrap() else { panic!() };
        assert_eq!(came.len(), 2);
        for (came, sent) in came.iter().zip(&sent) {
            let bits = |values: &[f64]| values.iter().map(|it| it.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(&came.values), bits(&sent.values));
            assert_eq!((&came.key, came.sequence), (&sent.key, sent.sequence));
            assert_eq!(came.time_unix_ns, -7);
        }
    }

    #[test]
    fn half_a_value_is_none() {
        let whole = postcard::to_stdvec(&ToWorker::Readings(vec![reading(0, &[1.0])])).unwrap();
        // The length of the values, and one byte less of them.
        let at = whole.len() - VALUE_BYTES - 1;
        let mut cut = whole[..whole.len() - 1].to_vec();
        cut[at] -= 1;
        assert!(postcard::from_bytes::<ToWorker>(&whole).is_ok());
        assert!(postcard::from_bytes::<ToWorker>(&cut).is_err());
    }
}
