//! What the elements of a tensor are, and what others call it.

use std::fmt;

/// What the elements of a tensor are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Element {
    /// Boolean.
    Bool,
    /// 8-bit unsigned integer.
    U8,
    /// 16-bit unsigned integer.
    U16,
    /// 32-bit unsigned integer.
    U32,
    /// 64-bit unsigned integer.
    U64,
    /// 8-bit signed integer.
    I8,
    /// 16-bit signed integer.
    I16,
    /// 32-bit signed integer.
    I32,
    /// 64-bit signed integer.
    I64,
    /// 16-bit floating point (IEEE 754 binary16).
    F16,
    /// 32-bit floating point.
    F32,
    /// 64-bit floating point.
    F64,
    /// Bytes of any number, such as a text in UTF-8.
    Bytes,
}

/// What is known of an element: our name, the name in the Open Inference Protocol v2 ("Tensor Data
/// Types"), the number in ONNX (`TensorProto.DataType`), and its size in bytes.
type Row = (Element, &'static str, &'static str, i32, Option<usize>);

/// In the order of the elements.
const TABLE: [Row; 13] = [
    (Element::Bool, "bool", "BOOL", 9, Some(1)),
    (Element::U8, "u8", "UINT8", 2, Some(1)),
    (Element::U16, "u16", "UINT16", 4, Some(2)),
    (Element::U32, "u32", "UINT32", 12, Some(4)),
    (Element::U64, "u64", "UINT64", 13, Some(8)),
    (Element::I8, "i8", "INT8", 3, Some(1)),
    (Element::I16, "i16", "INT16", 5, Some(2)),
    (Element::I32, "i32", "INT32", 6, Some(4)),
    (Element::I64, "i64", "INT64", 7, Some(8)),
    (Element::F16, "f16", "FP16", 10, Some(2)),
    (Element::F32, "f32", "FP32", 1, Some(4)),
    (Element::F64, "f64", "FP64", 11, Some(8)),
    (Element::Bytes, "bytes", "BYTES", 8, None),
];

impl Element {
    /// Every one there is.
    pub fn all() -> impl Iterator<Item = Element> {
        TABLE.iter().map(|row| row.0)
    }

    /// Its name in the Open Inference Protocol v2: `FP32`.
    pub fn oip(self) -> &'static str {
        self.row().2
    }

    /// The element with this name in the Open Inference Protocol v2.
    pub fn from_oip(name: &str) -> Option<Element> {
        TABLE.iter().find(|row| row.2 == name).map(|row| row.0)
    }

    /// Its number in ONNX, where bytes are strings.
    pub fn onnx(self) -> i32 {
        self.row().3
    }

    /// The element with this number in ONNX; none for what we do not pass on (bfloat16, complex
    /// numbers, numbers of less than a byte).
    pub fn from_onnx(number: i32) -> Option<Element> {
        TABLE.iter().find(|row| row.3 == number).map(|row| row.0)
    }

    /// Size of one in bytes; none where each has its own.
    pub fn size_bytes(self) -> Option<usize> {
        self.row().4
    }

    /// Whether each is a number, or yes or no, which is 1 or 0.
    pub fn is_number(self) -> bool {
        self != Element::Bytes
    }

    fn row(self) -> &'static Row {
        &TABLE[self as usize]
    }
}

impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.row().1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_element_has_its_own_names_and_is_found_by_them() {
        for (place, element) in Element::all().enumerate() {
            assert_eq!(element as usize, place, "{element} has another's row");
            assert_eq!(Element::from_oip(element.oip()), Some(element));
            assert_eq!(Element::from_onnx(element.onnx()), Some(element));
        }
        assert_eq!((Element::F32.oip(), Element::F32.onnx()), ("FP32", 1));
        assert_eq!((Element::Bytes.oip(), Element::Bytes.onnx()), ("BYTES", 8));
    }

    #[test]
    fn what_is_not_passed_on_is_no_element() {
        // Undefined, complex64, bfloat16, float8, int4.
        for number in [0, 14, 16, 17, 22, -1, i32::MAX] {
            assert_eq!(Element::from_onnx(number), None, "{number}");
        }
        for name in ["BF16", "fp32", "", "FP32 "] {
            assert_eq!(Element::from_oip(name), None, "{name}");
        }
    }
}
