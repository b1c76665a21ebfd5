//! The values that operators pass on: what is known of them at load, and constants as files hold them.

use crate::tensor::{Data, Element, Tensor};
use half::f16;
use std::sync::Arc;
use tract_onnx::pb::TensorProto;

/// Bytes that the texts of one answer may have together, as in every tensor.
const TEXT_BYTES_MAX: usize = 64 << 20;

/// What is known of a value when a model is loaded.
#[derive(Debug, Clone)]
pub(super) struct Known {
    pub(super) element: Element,
    pub(super) shape: Vec<usize>,
    /// The elements of a value that is the same in every run.
    pub(super) constant: Option<Arc<Data>>,
}

impl Known {
    /// Rows and columns of a table; a value of one dimension is one row.
    pub(super) fn table(&self) -> Result<(usize, usize), String> {
        match *self.shape.as_slice() {
            [columns] if columns > 0 => Ok((1, columns)),
            [rows, columns] if columns > 0 => Ok((rows, columns)),
            _ => Err(format!("its input is {:?}, not rows and columns", self.shape)),
        }
    }

    /// The elements, if each is a number.
    pub(super) fn numeric(&self) -> Result<(), String> {
        match self.element.is_number() {
            true => Ok(()),
            false => Err("its input is text, not numbers".to_owned()),
        }
    }

    /// The whole numbers of a constant.
    pub(super) fn whole(&self, what: &str) -> Result<&[i64], String> {
        match self.constant.as_deref() {
            Some(Data::I64(values)) => Ok(values),
            _ => Err(format!("its {what} is not a constant of i64")),
        }
    }
}

/// Whether so many texts of this length are no more than a tensor may hold.
pub(super) fn texts_fit(count: usize, longest: usize) -> Result<(), String> {
    match count.checked_mul(longest) {
        Some(bytes) if bytes <= TEXT_BYTES_MAX => Ok(()),
        _ => Err(format!("its texts could have more than {TEXT_BYTES_MAX} bytes together")),
    }
}

/// The tensor as the file holds it. Nothing is allocated for what it merely claims.
pub(in super::super) fn constant(tensor: &TensorProto) -> Result<Tensor, String> {
    let name = &tensor.name;
    let element = Element::from_onnx(tensor.data_type)
        .ok_or_else(|| format!("constant {name} has elements of an unknown kind"))?;
    let size = |size: &i64| usize::try_from(*size).ok();
    let shape: Option<Vec<usize>> = tensor.dims.iter().map(size).collect();
    let shape = shape.ok_or_else(|| format!("constant {name} has a size below nought"))?;
    let made = match tensor.raw_data.is_empty() {
        false => Tensor::from_bytes(element, shape, &tensor.raw_data).ok(),
        true => listed(tensor, element).and_then(|data| Tensor::new(shape, data)),
    };
    made.ok_or_else(|| format!("constant {name} does not hold what its shape says"))
}

/// The elements, where they lie in a list of their kind (ONNX, onnx.proto, `TensorProto`).
fn listed(tensor: &TensorProto, element: Element) -> Option<Data> {
    fn narrowed<From: Copy, To: TryFrom<From>>(values: &[From]) -> Option<Vec<To>> {
        values.iter().map(|value| To::try_from(*value).ok()).collect()
    }
    let small = &tensor.int32_data;
    Some(match element {
        Element::Bool => Data::Bool(small.iter().map(|value| *value != 0).collect()),
        Element::U8 => Data::U8(narrowed(small)?),
        Element::U16 => Data::U16(narrowed(small)?),
        Element::I8 => Data::I8(narrowed(small)?),
        Element::I16 => Data::I16(narrowed(small)?),
        Element::I32 => Data::I32(small.clone()),
        Element::U32 => Data::U32(narrowed(&tensor.uint64_data)?),
        Element::U64 => Data::U64(tensor.uint64_data.clone()),
        Element::I64 => Data::I64(tensor.int64_data.clone()),
        Element::F16 => {
            Data::F16(narrowed::<i32, u16>(small)?.into_iter().map(f16::from_bits).collect())
        }
        Element::F32 => Data::F32(tensor.float_data.clone()),
        Element::F64 => Data::F64(tensor.double_data.clone()),
        Element::Bytes => Data::Bytes(tensor.string_data.clone()),
    })
}
