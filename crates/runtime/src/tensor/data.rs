//! Tensors: a shape, and as many elements as its product.

use super::element::Element;
use super::shape::elements;
use half::f16;
use std::ops::Range;

/// Bytes that the elements of a tensor of [`Element::Bytes`] may have together.
const BYTES_MAX: usize = 64 << 20;

/// Values that are looked at together.
const BLOCK: usize = 64;

/// The elements of a tensor, row by row.
#[derive(Debug, Clone, PartialEq)]
pub enum Data {
    /// Booleans.
    Bool(Vec<bool>),
    /// 8-bit unsigned integers.
    U8(Vec<u8>),
    /// 16-bit unsigned integers.
    U16(Vec<u16>),
    /// 32-bit unsigned integers.
    U32(Vec<u32>),
    /// 64-bit unsigned integers.
    U64(Vec<u64>),
    /// 8-bit signed integers.
    I8(Vec<i8>),
    /// 16-bit signed integers.
    I16(Vec<i16>),
    /// 32-bit signed integers.
    I32(Vec<i32>),
    /// 64-bit signed integers.
    I64(Vec<i64>),
    /// 16-bit floating point.
    F16(Vec<f16>),
    /// 32-bit floating point.
    F32(Vec<f32>),
    /// 64-bit floating point.
    F64(Vec<f64>),
    /// Bytes, such as texts in UTF-8.
    Bytes(Vec<Vec<u8>>),
}

/// Does the same with the elements whatever they are: `each!(data, values => values.len())`.
macro_rules! each {
    ($data:expr, $values:ident => $result:expr) => {
        match $data {
            Data::Bool($values) => $result,
            Data::U8($values) => $result,
            Data::U16($values) => $result,
            Data::U32($values) => $result,
            Data::U64($values) => $result,
            Data::I8($values) => $result,
            Data::I16($values) => $result,
            Data::I32($values) => $result,
            Data::I64($values) => $result,
            Data::F16($values) => $result,
            Data::F32($values) => $result,
            Data::F64($values) => $result,
            Data::Bytes($values) => $result,
        }
    };
}

impl Data {
    /// So many elements that are nought, no, or empty.
    pub fn zeros(element: Element, count: usize) -> Data {
        match element {
            Element::Bool => Data::Bool(vec![false; count]),
            Element::U8 => Data::U8(vec![0; count]),
            Element::U16 => Data::U16(vec![0; count]),
            Element::U32 => Data::U32(vec![0; count]),
            Element::U64 => Data::U64(vec![0; count]),
            Element::I8 => Data::I8(vec![0; count]),
            Element::I16 => Data::I16(vec![0; count]),
            Element::I32 => Data::I32(vec![0; count]),
            Element::I64 => Data::I64(vec![0; count]),
            Element::F16 => Data::F16(vec![f16::ZERO; count]),
            Element::F32 => Data::F32(vec![0.0; count]),
            Element::F64 => Data::F64(vec![0.0; count]),
            Element::Bytes => Data::Bytes(vec![Vec::new(); count]),
        }
    }

    /// What they are.
    pub fn element(&self) -> Element {
        match self {
            Data::Bool(_) => Element::Bool,
            Data::U8(_) => Element::U8,
            Data::U16(_) => Element::U16,
            Data::U32(_) => Element::U32,
            Data::U64(_) => Element::U64,
            Data::I8(_) => Element::I8,
            Data::I16(_) => Element::I16,
            Data::I32(_) => Element::I32,
            Data::I64(_) => Element::I64,
            Data::F16(_) => Element::F16,
            Data::F32(_) => Element::F32,
            Data::F64(_) => Element::F64,
            Data::Bytes(_) => Element::Bytes,
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        each!(self, values => values.len())
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Element `index` as a number; yes is 1, no is 0, and integers beyond 2^53 are rounded. None for
    /// bytes, and where there is no such element.
    pub fn number(&self, index: usize) -> Option<f64> {
        match self {
            Data::Bool(values) => values.get(index).map(|value| f64::from(u8::from(*value))),
            Data::U8(values) => values.get(index).map(|value| f64::from(*value)),
            Data::U16(values) => values.get(index).map(|value| f64::from(*value)),
            Data::U32(values) => values.get(index).map(|value| f64::from(*value)),
            Data::U64(values) => values.get(index).map(|value| *value as f64),
            Data::I8(values) => values.get(index).map(|value| f64::from(*value)),
            Data::I16(values) => values.get(index).map(|value| f64::from(*value)),
            Data::I32(values) => values.get(index).map(|value| f64::from(*value)),
            Data::I64(values) => values.get(index).map(|value| *value as f64),
            Data::F16(values) => values.get(index).map(|value| f64::from(*value)),
            Data::F32(values) => values.get(index).map(|value| f64::from(*value)),
            Data::F64(values) => values.get(index).copied(),
            Data::Bytes(_) => None,
        }
    }

    /// The elements at these places; none where one of them is not there.
    pub(crate) fn picked(&self, places: &[usize]) -> Option<Data> {
        fn these<T: Clone>(values: &[T], places: &[usize]) -> Option<Vec<T>> {
            places.iter().map(|place| values.get(*place).cloned()).collect()
        }
        Some(match self {
            Data::Bool(values) => Data::Bool(these(values, places)?),
            Data::U8(values) => Data::U8(these(values, places)?),
            Data::U16(values) => Data::U16(these(values, places)?),
            Data::U32(values) => Data::U32(these(values, places)?),
            Data::U64(values) => Data::U64(these(values, places)?),
            Data::I8(values) => Data::I8(these(values, places)?),
            Data::I16(values) => Data::I16(these(values, places)?),
            Data::I32(values) => Data::I32(these(values, places)?),
            Data::I64(values) => Data::I64(these(values, places)?),
            Data::F16(values) => Data::F16(these(values, places)?),
            Data::F32(values) => Data::F32(these(values, places)?),
            Data::F64(values) => Data::F64(these(values, places)?),
            Data::Bytes(values) => Data::Bytes(these(values, places)?),
        })
    }

    /// The elements from one place to another; none where one of them is not there.
    pub(crate) fn part(&self, range: Range<usize>) -> Option<Data> {
        Some(match self {
            Data::Bool(values) => Data::Bool(values.get(range)?.to_vec()),
            Data::U8(values) => Data::U8(values.get(range)?.to_vec()),
            Data::U16(values) => Data::U16(values.get(range)?.to_vec()),
            Data::U32(values) => Data::U32(values.get(range)?.to_vec()),
            Data::U64(values) => Data::U64(values.get(range)?.to_vec()),
            Data::I8(values) => Data::I8(values.get(range)?.to_vec()),
            Data::I16(values) => Data::I16(values.get(range)?.to_vec()),
            Data::I32(values) => Data::I32(values.get(range)?.to_vec()),
            Data::I64(values) => Data::I64(values.get(range)?.to_vec()),
            Data::F16(values) => Data::F16(values.get(range)?.to_vec()),
            Data::F32(values) => Data::F32(values.get(range)?.to_vec()),
            Data::F64(values) => Data::F64(values.get(range)?.to_vec()),
            Data::Bytes(values) => Data::Bytes(values.get(range)?.to_vec()),
        })
    }

    /// Takes over others behind its own; not where they are of another kind.
    pub(crate) fn append(&mut self, others: &Data) -> bool {
        match (self, others) {
            (Data::Bool(own), Data::Bool(others)) => own.extend_from_slice(others),
            (Data::U8(own), Data::U8(others)) => own.extend_from_slice(others),
            (Data::U16(own), Data::U16(others)) => own.extend_from_slice(others),
            (Data::U32(own), Data::U32(others)) => own.extend_from_slice(others),
            (Data::U64(own), Data::U64(others)) => own.extend_from_slice(others),
            (Data::I8(own), Data::I8(others)) => own.extend_from_slice(others),
            (Data::I16(own), Data::I16(others)) => own.extend_from_slice(others),
            (Data::I32(own), Data::I32(others)) => own.extend_from_slice(others),
            (Data::I64(own), Data::I64(others)) => own.extend_from_slice(others),
            (Data::F16(own), Data::F16(others)) => own.extend_from_slice(others),
            (Data::F32(own), Data::F32(others)) => own.extend_from_slice(others),
            (Data::F64(own), Data::F64(others)) => own.extend_from_slice(others),
            (Data::Bytes(own), Data::Bytes(others)) => own.extend_from_slice(others),
            _ => return false,
        }
        true
    }

    /// Whether every element is a number; what cannot be anything else always is.
    pub fn is_finite(&self) -> bool {
        match self {
            Data::F16(values) => values.iter().all(|value| value.is_finite()),
            // In blocks, each looked at whole: that is done several values at once.
            Data::F32(values) => values
                .chunks(BLOCK)
                .all(|block| block.iter().fold(true, |finite, value| finite & value.is_finite())),
            Data::F64(values) => values.iter().all(|value| value.is_finite()),
            Data::Bool(_) | Data::Bytes(_) => true,
            Data::U8(_) | Data::U16(_) | Data::U32(_) | Data::U64(_) => true,
            Data::I8(_) | Data::I16(_) | Data::I32(_) | Data::I64(_) => true,
        }
    }
}

/// A tensor: a shape, and as many elements as its product.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    shape: Vec<usize>,
    data: Data,
}

impl Tensor {
    /// A tensor of `shape`; none if the number of elements is another than its product, or more than
    /// a tensor may have ([`ELEMENTS_MAX`](super::ELEMENTS_MAX), and 64 MiB of bytes).
    pub fn new(shape: Vec<usize>, data: Data) -> Option<Tensor> {
        if let Data::Bytes(values) = &data {
            let total = values.iter().try_fold(0usize, |sum, bytes| sum.checked_add(bytes.len()));
            total.filter(|total| *total <= BYTES_MAX)?;
        }
        (elements(&shape)? == data.len()).then_some(Tensor { shape, data })
    }

    /// Its shape.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Its elements.
    pub fn data(&self) -> &Data {
        &self.data
    }

    /// Its elements alone.
    pub(crate) fn into_data(self) -> Data {
        self.data
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.data.len()
    }

    /// Whether it has no elements.
    pub fn is_empty(&self) -> bool {
        self.data.is_empty()
    }

    /// What its elements are.
    pub fn element(&self) -> Element {
        self.data.element()
    }

    /// Element `index`, counted row by row, as a tensor of one element.
    pub fn select(&self, index: usize) -> Option<Tensor> {
        let data = self.data.picked(&[index])?;
        Some(Tensor { shape: vec![1], data })
    }

    /// Whether every element is a number; integers, booleans and bytes always are.
    pub fn is_finite(&self) -> bool {
        self.data.is_finite()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::ELEMENTS_MAX;

    #[test]
    fn a_tensor_has_as_many_elements_as_its_shape_says() {
        for element in Element::all() {
            let zeros =
                |shape: &[usize], count| Tensor::new(shape.to_vec(), Data::zeros(element, count));
            let tensor = zeros(&[2, 3], 6).unwrap();
            assert_eq!((tensor.element(), tensor.len()), (element, 6));
            assert!(tensor.is_finite());
            assert_eq!(tensor.select(5).unwrap(), zeros(&[1], 1).unwrap());
            assert_eq!(tensor.select(6), None);
            assert_eq!(tensor.data().number(5), element.is_number().then_some(0.0));
            assert_eq!(tensor.data().number(6), None);
            for (shape, count) in [(&[2, 3][..], 5), (&[2, 3], 7), (&[], 0), (&[0, 3], 1)] {
                assert_eq!(zeros(shape, count), None, "{element} {shape:?} {count}");
            }
            assert!(zeros(&[0, 3], 0).unwrap().is_empty());
            assert_eq!(zeros(&[usize::MAX, usize::MAX, 0], 0), None);
        }
        let many = Data::Bool(vec![false; ELEMENTS_MAX + 1]);
        assert_eq!(Tensor::new(vec![ELEMENTS_MAX + 1], many), None);
    }

    #[test]
    fn texts_of_more_than_the_bound_are_no_tensor() {
        let texts = |last: usize| Data::Bytes(vec![vec![b'x'; BYTES_MAX - 1], vec![b'x'; last]]);
        assert!(Tensor::new(vec![2], texts(1)).is_some());
        assert!(Tensor::new(vec![2], texts(2)).is_none());
    }

    #[test]
    fn what_is_no_number_is_seen_in_every_kind_of_floating_point() {
        for data in [
            Data::F16(vec![f16::ONE, f16::NAN]),
            Data::F32(vec![f32::NEG_INFINITY]),
            Data::F64(vec![0.0, f64::NAN]),
        ] {
            assert!(!data.is_finite(), "{data:?}");
        }
    }
}
