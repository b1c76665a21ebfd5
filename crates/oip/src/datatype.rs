//! What the elements of a tensor are ("Tensor Data Types").

use serde::{Deserialize, Serialize};
use std::fmt;

/// What the elements of a tensor are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Datatype {
    /// Boolean, in one byte.
    Bool,
    /// 8-bit unsigned integer.
    Uint8,
    /// 16-bit unsigned integer.
    Uint16,
    /// 32-bit unsigned integer.
    Uint32,
    /// 64-bit unsigned integer.
    Uint64,
    /// 8-bit signed integer.
    Int8,
    /// 16-bit signed integer.
    Int16,
    /// 32-bit signed integer.
    Int32,
    /// 64-bit signed integer.
    Int64,
    /// 16-bit floating point (IEEE 754 binary16).
    Fp16,
    /// 32-bit floating point.
    Fp32,
    /// 64-bit floating point.
    Fp64,
    /// Bytes of any number, each element behind its length in four.
    Bytes,
}

/// Each with its name and its size in bytes, in order.
const TABLE: [(Datatype, &str, Option<usize>); 13] = [
    (Datatype::Bool, "BOOL", Some(1)),
    (Datatype::Uint8, "UINT8", Some(1)),
    (Datatype::Uint16, "UINT16", Some(2)),
    (Datatype::Uint32, "UINT32", Some(4)),
    (Datatype::Uint64, "UINT64", Some(8)),
    (Datatype::Int8, "INT8", Some(1)),
    (Datatype::Int16, "INT16", Some(2)),
    (Datatype::Int32, "INT32", Some(4)),
    (Datatype::Int64, "INT64", Some(8)),
    (Datatype::Fp16, "FP16", Some(2)),
    (Datatype::Fp32, "FP32", Some(4)),
    (Datatype::Fp64, "FP64", Some(8)),
    (Datatype::Bytes, "BYTES", None),
];

impl Datatype {
    /// Every one there is.
    pub fn all() -> impl Iterator<Item = Datatype> {
        TABLE.iter().map(|row| row.0)
    }

    /// Its name: `FP32`.
    pub fn name(self) -> &'static str {
        TABLE[self as usize].1
    }

    /// The one of this name. BF16, which one client adds to the protocol, is none.
    pub fn parse(name: &str) -> Option<Datatype> {
        TABLE.iter().find(|row| row.1 == name).map(|row| row.0)
    }

    /// Size of an element in bytes; none where each has its own.
    pub fn size_bytes(self) -> Option<usize> {
        TABLE[self as usize].2
    }
}

impl fmt::Display for Datatype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_datatype_is_found_by_its_name_and_written_as_it() {
        for (place, datatype) in Datatype::all().enumerate() {
            assert_eq!(datatype as usize, place, "{datatype} has another's row");
            assert_eq!(Datatype::parse(datatype.name()), Some(datatype));
            assert_eq!(serde_json::to_value(datatype).unwrap(), datatype.name());
        }
        for name in ["BF16", "fp32", "", "FP32 ", "STRING"] {
            assert_eq!(Datatype::parse(name), None, "{name}");
        }
    }
}
