//! Tensors as bytes, for whatever crosses a socket.
//!
//! The elements are those of the Open Inference Protocol v2's "Binary Tensor Data Extension": row by
//! row, little-endian, a boolean in one byte, and each of [`Element::Bytes`] behind its length in four.

use super::data::{Data, Tensor};
use super::element::Element;
use super::shape::elements;
use half::f16;
use serde::de::{Error as _, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;

/// Bytes in front of each element of [`Element::Bytes`]: its length.
const LENGTH_BYTES: usize = 4;

/// Why some bytes are no tensor.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BytesError {
    /// Nothing can have this shape.
    #[error("a tensor cannot have the shape {0:?}")]
    Shape(Vec<usize>),
    /// More or fewer bytes than the shape needs.
    #[error("{elements} elements of {element} need {needed} bytes, there are {bytes}")]
    Length {
        /// What they are.
        element: Element,
        /// How many there should be.
        elements: usize,
        /// Bytes needed.
        needed: usize,
        /// Bytes there are.
        bytes: usize,
    },
    /// A boolean that is neither.
    #[error("element {index} is {value}, a boolean is 0 or 1")]
    Bool {
        /// Which element.
        index: usize,
        /// Its byte.
        value: u8,
    },
    /// Lengths that lead beyond the end, or not to it.
    #[error("the lengths of {0} elements do not add up to the bytes that there are")]
    Cut(usize),
}

impl Tensor {
    /// Its elements as bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        fn numbers<T: Copy, const N: usize>(values: &[T], bytes: fn(T) -> [u8; N]) -> Vec<u8> {
            let mut written = vec![0; values.len() * N];
            for (place, value) in written.as_chunks_mut().0.iter_mut().zip(values) {
                *place = bytes(*value);
            }
            written
        }
        match self.data() {
            Data::Bool(values) => values.iter().map(|value| u8::from(*value)).collect(),
            Data::U8(values) => values.clone(),
            Data::U16(values) => numbers(values, u16::to_le_bytes),
            Data::U32(values) => numbers(values, u32::to_le_bytes),
            Data::U64(values) => numbers(values, u64::to_le_bytes),
            Data::I8(values) => numbers(values, i8::to_le_bytes),
            Data::I16(values) => numbers(values, i16::to_le_bytes),
            Data::I32(values) => numbers(values, i32::to_le_bytes),
            Data::I64(values) => numbers(values, i64::to_le_bytes),
            Data::F16(values) => numbers(values, f16::to_le_bytes),
            Data::F32(values) => numbers(values, f32::to_le_bytes),
            Data::F64(values) => numbers(values, f64::to_le_bytes),
            Data::Bytes(values) => {
                let mut bytes = Vec::new();
                for value in values {
                    // All of them together are far below 4 GiB: `Tensor::new` has looked.
                    bytes.extend((value.len() as u32).to_le_bytes());
                    bytes.extend(value);
                }
                bytes
            }
        }
    }

    /// The tensor of `shape` whose elements these bytes are.
    ///
    /// # Errors
    /// [`BytesError`]; nothing is allocated for elements that the bytes do not hold.
    pub fn from_bytes(
        element: Element,
        shape: Vec<usize>,
        bytes: &[u8],
    ) -> Result<Tensor, BytesError> {
        fn numbers<T, const N: usize>(bytes: &[u8], number: fn([u8; N]) -> T) -> Vec<T> {
            bytes.as_chunks().0.iter().map(|chunk| number(*chunk)).collect()
        }
        let Some(count) = elements(&shape) else { return Err(BytesError::Shape(shape)) };
        let size = element.size_bytes().unwrap_or(LENGTH_BYTES);
        // Within bounds: both are small.
        let needed = count * size;
        let wrong = match element {
            Element::Bytes => bytes.len() < needed,
            _ => bytes.len() != needed,
        };
        if wrong {
            let bytes = bytes.len();
            return Err(BytesError::Length { element, elements: count, needed, bytes });
        }
        let data = match element {
            Element::Bool => Data::Bool(booleans(bytes)?),
            Element::U8 => Data::U8(bytes.to_vec()),
            Element::U16 => Data::U16(numbers(bytes, u16::from_le_bytes)),
            Element::U32 => Data::U32(numbers(bytes, u32::from_le_bytes)),
            Element::U64 => Data::U64(numbers(bytes, u64::from_le_bytes)),
            Element::I8 => Data::I8(numbers(bytes, i8::from_le_bytes)),
            Element::I16 => Data::I16(numbers(bytes, i16::from_le_bytes)),
            Element::I32 => Data::I32(numbers(bytes, i32::from_le_bytes)),
            Element::I64 => Data::I64(numbers(bytes, i64::from_le_bytes)),
            Element::F16 => Data::F16(numbers(bytes, f16::from_le_bytes)),
            Element::F32 => Data::F32(numbers(bytes, f32::from_le_bytes)),
            Element::F64 => Data::F64(numbers(bytes, f64::from_le_bytes)),
            Element::Bytes => Data::Bytes(texts(bytes, count)?),
        };
        Tensor::new(shape.clone(), data).ok_or(BytesError::Shape(shape))
    }
}

fn booleans(bytes: &[u8]) -> Result<Vec<bool>, BytesError> {
    let boolean = |(index, value): (usize, &u8)| match value {
        0 => Ok(false),
        1 => Ok(true),
        value => Err(BytesError::Bool { index, value: *value }),
    };
    bytes.iter().enumerate().map(boolean).collect()
}

fn texts(mut bytes: &[u8], count: usize) -> Result<Vec<Vec<u8>>, BytesError> {
    let mut texts = Vec::with_capacity(count);
    for _ in 0..count {
        let (length, rest) = bytes.split_first_chunk().ok_or(BytesError::Cut(count))?;
        let length = u32::from_le_bytes(*length) as usize;
        let (text, rest) = rest.split_at_checked(length).ok_or(BytesError::Cut(count))?;
        texts.push(text.to_vec());
        bytes = rest;
    }
    if bytes.is_empty() { Ok(texts) } else { Err(BytesError::Cut(count)) }
}

/// A tensor between two processes: the element's number in ONNX, the shape, the elements as bytes.
#[derive(Serialize, Deserialize)]
struct Encoded<B> {
    element: i32,
    shape: Vec<usize>,
    bytes: B,
}

/// Bytes in one piece; to serde a `Vec<u8>` is a list of numbers.
struct Piece(Vec<u8>);

impl Serialize for Piece {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Piece {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Piece, D::Error> {
        struct Bytes;
        impl Visitor<'_> for Bytes {
            type Value = Piece;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes")
            }

            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Piece, E> {
                Ok(Piece(bytes.to_vec()))
            }

            fn visit_byte_buf<E>(self, bytes: Vec<u8>) -> Result<Piece, E> {
                Ok(Piece(bytes))
            }
        }
        deserializer.deserialize_byte_buf(Bytes)
    }
}

impl Serialize for Tensor {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (element, shape) = (self.element().onnx(), self.shape().to_vec());
        Encoded { element, shape, bytes: Piece(self.to_bytes()) }.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Tensor {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Tensor, D::Error> {
        let Encoded { element, shape, bytes } = Encoded::<Piece>::deserialize(deserializer)?;
        let element = Element::from_onnx(element)
            .ok_or_else(|| D::Error::custom(format!("there is no element type {element}")))?;
        Tensor::from_bytes(element, shape, &bytes.0).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::fmt::Write;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().fold(String::new(), |mut text, byte| {
            write!(text, "{byte:02x}").unwrap();
            text
        })
    }

    /// Two elements of each kind and their bytes, as the protocol writes them.
    fn golden() -> [(Data, &'static str); 13] {
        [
            (Data::Bool(vec![true, false]), "0100"),
            (Data::U8(vec![1, 255]), "01ff"),
            (Data::U16(vec![1, 0xfffe]), "0100feff"),
            (Data::U32(vec![1, 0xffff_fffe]), "01000000feffffff"),
            (Data::U64(vec![1, u64::MAX - 1]), "0100000000000000feffffffffffffff"),
            (Data::I8(vec![1, -2]), "01fe"),
            (Data::I16(vec![1, -2]), "0100feff"),
            (Data::I32(vec![1, -2]), "01000000feffffff"),
            (Data::I64(vec![1, -2]), "0100000000000000feffffffffffffff"),
            (Data::F16(vec![f16::from_f32(1.5), f16::from_f32(-2.0)]), "003e00c0"),
            (Data::F32(vec![1.5, -2.0]), "0000c03f000000c0"),
            (Data::F64(vec![1.5, -2.0]), "000000000000f83f00000000000000c0"),
            (Data::Bytes(vec![b"ab".to_vec(), vec![]]), "02000000616200000000"),
        ]
    }

    #[test]
    fn the_bytes_of_a_tensor_are_those_of_the_protocol() {
        for (data, wanted) in golden() {
            let element = data.element();
            let tensor = Tensor::new(vec![1, 2], data).unwrap();
            let bytes = tensor.to_bytes();
            assert_eq!(hex(&bytes), wanted, "{element}");
            assert_eq!(Tensor::from_bytes(element, vec![1, 2], &bytes).unwrap(), tensor);
            // Between processes: type, shape, length, and the same bytes.
            let sent = postcard::to_stdvec(&tensor).unwrap();
            let head = format!("{:02x}020102{:02x}", element.onnx() * 2, bytes.len());
            assert_eq!(hex(&sent), head + wanted, "{element}");
            assert_eq!(postcard::from_bytes::<Tensor>(&sent).unwrap(), tensor);
        }
    }

    #[test]
    fn bytes_that_are_no_tensor_are_refused_with_both_numbers() {
        let said = |element, shape: &[usize], bytes: &[u8]| {
            Tensor::from_bytes(element, shape.to_vec(), bytes).unwrap_err().to_string()
        };
        assert_eq!(
            said(Element::F32, &[2, 2], &[0; 15]),
            "4 elements of f32 need 16 bytes, there are 15"
        );
        assert_eq!(said(Element::U8, &[], &[]), "1 elements of u8 need 1 bytes, there are 0");
        assert_eq!(said(Element::Bool, &[2], &[1, 2]), "element 1 is 2, a boolean is 0 or 1");
        let shape = format!("a tensor cannot have the shape [{}, 2]", usize::MAX);
        assert_eq!(said(Element::U8, &[usize::MAX, 2], &[]), shape);
        for bytes in [&[9, 0, 0, 0][..], &[1, 0, 0, 0], &[0, 0, 0, 0, 7], &[0xff; 8]] {
            assert!(said(Element::Bytes, &[1], bytes).starts_with("the lengths of 1 elements"));
        }
        // Nobody is made to hold a place for what is not there.
        assert!(said(Element::Bytes, &[1 << 24], &[]).contains("there are 0"));
        let unknown = postcard::to_stdvec(&(16 * 2, 0, 0)).unwrap();
        assert!(postcard::from_bytes::<Tensor>(&unknown).is_err());
    }

    proptest! {
        #[test]
        fn whatever_comes_is_a_tensor_with_just_these_bytes_or_an_error(
            kind in 0..13usize,
            shape in proptest::collection::vec(
                prop_oneof![0..4usize, any::<usize>()], 0..4),
            bytes in proptest::collection::vec(prop_oneof![Just(0), Just(1), any::<u8>()], 0..64),
        ) {
            let element = Element::all().nth(kind).unwrap();
            if let Ok(tensor) = Tensor::from_bytes(element, shape.clone(), &bytes) {
                prop_assert_eq!(tensor.shape(), shape.as_slice());
                prop_assert_eq!(tensor.to_bytes(), bytes);
            }
        }

        #[test]
        fn a_message_that_is_no_tensor_is_an_error(
            bytes in proptest::collection::vec(any::<u8>(), 0..64),
        ) {
            if let Ok(tensor) = postcard::from_bytes::<Tensor>(&bytes) {
                let again = postcard::to_stdvec(&tensor).unwrap();
                prop_assert_eq!(postcard::from_bytes::<Tensor>(&again).unwrap().to_bytes(),
                    tensor.to_bytes());
            }
        }
    }
}
