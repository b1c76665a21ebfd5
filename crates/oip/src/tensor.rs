//! A tensor with its name, as the binary form of the protocol has it.

use crate::datatype::Datatype;

/// Elements that a tensor may have.
pub const ELEMENTS_MAX: usize = 16 << 20;
/// Dimensions that a shape may have.
pub(crate) const DIMENSIONS_MAX: usize = 16;
/// Longest name in bytes.
pub(crate) const NAME_BYTES_MAX: usize = 255;
/// Bytes in front of each element of [`Datatype::Bytes`]: its length.
pub(crate) const LENGTH_BYTES: usize = 4;

/// A named tensor. Only [`Tensor::new`] makes one: its bytes are as many elements as its shape says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tensor {
    name: String,
    datatype: Datatype,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

/// Why there is no such tensor.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TensorError {
    /// A name that no model has.
    #[error("a tensor has a name of more than {NAME_BYTES_MAX} bytes")]
    Name,
    /// Nothing can have this shape.
    #[error(
        "tensor {name:?} has the shape {shape:?}: at most {DIMENSIONS_MAX} dimensions and \
         {ELEMENTS_MAX} elements are possible"
    )]
    Shape {
        /// The tensor.
        name: String,
        /// Its shape.
        shape: Vec<usize>,
    },
    /// More or fewer bytes than the shape needs.
    #[error(
        "tensor {name:?}: {elements} elements of {datatype} need {needed} bytes, there are {bytes}"
    )]
    Length {
        /// The tensor.
        name: String,
        /// What its elements are.
        datatype: Datatype,
        /// How many there should be.
        elements: usize,
        /// Bytes needed; for BYTES at least so many.
        needed: usize,
        /// Bytes there are.
        bytes: usize,
    },
    /// A boolean that is neither.
    #[error("tensor {name:?}: element {index} is {value}, a boolean is 0 or 1")]
    Bool {
        /// The tensor.
        name: String,
        /// Which element.
        index: usize,
        /// Its byte.
        value: u8,
    },
    /// Lengths of BYTES that lead beyond the end, or not to it.
    #[error(
        "tensor {name:?}: the lengths of its {elements} elements do not add up to the bytes that \
         there are"
    )]
    Cut {
        /// The tensor.
        name: String,
        /// How many elements it should have.
        elements: usize,
    },
}

impl Tensor {
    /// A tensor of `shape` whose elements are `bytes`, row by row, little-endian.
    ///
    /// # Errors
    /// [`TensorError`].
    pub fn new(
        name: String,
        datatype: Datatype,
        shape: Vec<usize>,
        bytes: Vec<u8>,
    ) -> Result<Tensor, TensorError> {
        let count = elements(&name, &shape)?;
        let needed = count * datatype.size_bytes().unwrap_or(LENGTH_BYTES);
        let is_text = datatype == Datatype::Bytes;
        if bytes.len() < needed || (!is_text && bytes.len() > needed) {
            let bytes = bytes.len();
            return Err(TensorError::Length { name, datatype, elements: count, needed, bytes });
        }
        if datatype == Datatype::Bool
            && let Some((index, value)) = bytes.iter().enumerate().find(|(_, value)| **value > 1)
        {
            return Err(TensorError::Bool { name, index, value: *value });
        }
        if is_text && count_texts(&bytes) != Some(count) {
            return Err(TensorError::Cut { name, elements: count });
        }
        Ok(Tensor { name, datatype, shape, bytes })
    }

    /// What it is called.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What its elements are.
    pub fn datatype(&self) -> Datatype {
        self.datatype
    }

    /// Its shape.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Its elements.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Its elements, if they are BYTES, one by one.
    pub(crate) fn texts(&self) -> impl Iterator<Item = &[u8]> {
        Texts(&self.bytes)
    }
}

/// How many elements a tensor of `shape` has. A dimension of none makes the others no smaller.
///
/// # Errors
/// [`TensorError::Name`], [`TensorError::Shape`].
pub(crate) fn elements(name: &str, shape: &[usize]) -> Result<usize, TensorError> {
    if name.len() > NAME_BYTES_MAX {
        return Err(TensorError::Name);
    }
    let product = shape.iter().try_fold(1usize, |product, size| {
        product.checked_mul((*size).max(1)).filter(|product| *product <= ELEMENTS_MAX)
    });
    match product.filter(|_| shape.len() <= DIMENSIONS_MAX) {
        Some(_) if shape.contains(&0) => Ok(0),
        Some(product) => Ok(product),
        None => Err(TensorError::Shape { name: name.to_owned(), shape: shape.to_vec() }),
    }
}

/// Elements behind their lengths. Ends at the first that is not whole.
struct Texts<'a>(&'a [u8]);

impl<'a> Iterator for Texts<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let (length, rest) = self.0.split_first_chunk()?;
        let (text, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        self.0 = rest;
        Some(text)
    }
}

/// How many elements of BYTES these are; none if something is left.
fn count_texts(bytes: &[u8]) -> Option<usize> {
    let mut texts = Texts(bytes);
    let count = texts.by_ref().count();
    texts.0.is_empty().then_some(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(datatype: Datatype, shape: &[usize], bytes: &[u8]) -> String {
        let tensor = Tensor::new("x".into(), datatype, shape.to_vec(), bytes.to_vec());
        tensor.map(|_| "a tensor".to_owned()).unwrap_or_else(|error| error.to_string())
    }

    #[test]
    fn a_tensor_has_just_the_bytes_that_its_shape_needs() {
        for datatype in Datatype::all() {
            let size = datatype.size_bytes().unwrap_or(LENGTH_BYTES);
            assert_eq!(said(datatype, &[2, 3], &vec![0; 6 * size]), "a tensor", "{datatype}");
            assert_eq!(said(datatype, &[0, 3], &[]), "a tensor", "{datatype}");
            assert_ne!(said(datatype, &[2, 3], &vec![0; 7 * size]), "a tensor", "{datatype}");
        }
        assert_eq!(
            said(Datatype::Fp32, &[2, 2], &[0; 15]),
            "tensor \"x\": 4 elements of FP32 need 16 bytes, there are 15"
        );
        assert_eq!(
            said(Datatype::Bool, &[2], &[1, 2]),
            "tensor \"x\": element 1 is 2, a boolean is 0 or 1"
        );
        assert!(said(Datatype::Uint8, &[1; 17], &[0]).contains("at most 16 dimensions"));
        assert!(said(Datatype::Uint8, &[usize::MAX, 0], &[]).contains("elements are possible"));
    }

    #[test]
    fn texts_fill_their_bytes() {
        assert_eq!(said(Datatype::Bytes, &[2], b"\x02\0\0\0ab\0\0\0\0"), "a tensor");
        for bytes in [&[9, 0, 0, 0][..], &[0, 0, 0, 0, 7], &[0xff; 8], &[1, 0, 0, 0, 1, 0, 0, 0, 0]]
        {
            assert!(said(Datatype::Bytes, &[1], bytes).contains("do not add up"), "{bytes:?}");
        }
        let tensor =
            Tensor::new("x".into(), Datatype::Bytes, vec![2], b"\x02\0\0\0ab\0\0\0\0".to_vec());
        let tensor = tensor.unwrap();
        assert_eq!(tensor.texts().collect::<Vec<_>>(), [&b"ab"[..], b""]);
    }
}
