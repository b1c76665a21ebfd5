//! The floating-point numbers that models compute in.

use crate::tensor::Data;
use std::borrow::Cow;
use std::ops::{Add, Div};

/// 32 or 64 bits: ensembles compute in 64 where their input has as many, and in 32 otherwise.
pub(super) trait Real:
    Copy + PartialOrd + Add<Output = Self> + Div<Output = Self> + From<f32> + Send + Sync + 'static
{
    /// Whether it is no number.
    fn is_nan(self) -> bool;
    /// Rounded to 32 bits.
    fn to_f32(self) -> f32;
    /// Rounded from 64 bits.
    fn from_f64(value: f64) -> Self;
    /// The elements, converted where they are others. None for texts.
    fn numbers(data: &Data) -> Option<Cow<'_, [Self]>>;
}

/// Converts the elements of `data`, but those of its own kind are borrowed.
macro_rules! numbers {
    ($data:expr, $to:ty, $own:ident, $other:ident) => {{
        match $data {
            Data::$own(values) => return Some(Cow::Borrowed(values)),
            Data::Bool(values) => values.iter().map(|it| <$to>::from(u8::from(*it))).collect(),
            Data::U8(values) => values.iter().map(|it| *it as $to).collect(),
            Data::U16(values) => values.iter().map(|it| *it as $to).collect(),
            Data::U32(values) => values.iter().map(|it| *it as $to).collect(),
            Data::U64(values) => values.iter().map(|it| *it as $to).collect(),
            Data::I8(values) => values.iter().map(|it| *it as $to).collect(),
            Data::I16(values) => values.iter().map(|it| *it as $to).collect(),
            Data::I32(values) => values.iter().map(|it| *it as $to).collect(),
            Data::I64(values) => values.iter().map(|it| *it as $to).collect(),
            Data::F16(values) => values.iter().map(|it| <$to>::from(f32::from(*it))).collect(),
            Data::$other(values) => values.iter().map(|it| *it as $to).collect(),
            Data::Bytes(_) => return None,
        }
    }};
}

impl Real for f32 {
    fn is_nan(self) -> bool {
        self.is_nan()
    }

    fn to_f32(self) -> f32 {
        self
    }

    fn from_f64(value: f64) -> f32 {
        value as f32
    }

    fn numbers(data: &Data) -> Option<Cow<'_, [f32]>> {
        let converted: Vec<f32> = numbers!(data, f32, F32, F64);
        Some(Cow::Owned(converted))
    }
}

impl Real for f64 {
    fn is_nan(self) -> bool {
        self.is_nan()
    }

    fn to_f32(self) -> f32 {
        self as f32
    }

    fn from_f64(value: f64) -> f64 {
        value
    }

    fn numbers(data: &Data) -> Option<Cow<'_, [f64]>> {
        let converted: Vec<f64> = numbers!(data, f64, F64, F32);
        Some(Cow::Owned(converted))
    }
}
/// The elements as numbers of 32 bits.
pub(super) fn floats(data: &Data) -> Result<Cow<'_, [f32]>, String> {
    f32::numbers(data).ok_or_else(|| "it takes numbers, text came".to_owned())
}
