//! What is looked at in each run: numbers within a model, before an engine could lose that one is none.

use crate::engine::EngineError;
use crate::tensor::Data;

/// A tensor that is looked at.
#[derive(Debug, Clone, PartialEq)]
pub(in super::super) struct Watch {
    /// Its name in the file.
    pub(in super::super) tensor: String,
    /// The largest size that its numbers may have; none where they only must be numbers.
    pub(in super::super) limit: Option<f64>,
}

/// Numbers that a tensor may have.
pub(in super::super) trait Number: Copy {
    /// Whether it is a number, and no larger than the limit where there is one.
    fn passes(self, limit: Option<f64>) -> bool;
}

macro_rules! float {
    ($kind:ty, $wide:ty) => {
        impl Number for $kind {
            #[inline(always)]
            fn passes(self, limit: Option<f64>) -> bool {
                match limit {
                    Some(limit) => <$wide>::from(self).abs() <= limit as $wide,
                    None => !self.is_nan(),
                }
            }
        }
    };
}
macro_rules! whole {
    ($($kind:ty)*) => {$(
        impl Number for $kind {
            #[inline(always)]
            fn passes(self, limit: Option<f64>) -> bool {
                limit.is_none_or(|limit| (self as f64).abs() <= limit)
            }
        }
    )*};
}
float!(half::f16, f32);
float!(f32, f32);
float!(f64, f64);
whole!(u8 u16 u32 u64 i8 i16 i32 i64);

impl Watch {
    /// Looks at some numbers of the tensor.
    ///
    /// # Errors
    /// [`EngineError::NotFiniteWithin`], [`EngineError::Beyond`].
    pub(in super::super) fn check<T: Number>(&self, values: &[T]) -> Result<(), EngineError> {
        // Without a way out within a part, the processor looks at many at once.
        let part = |part: &[T]| part.iter().fold(true, |all, it| all & it.passes(self.limit));
        if values.chunks(256).all(part) {
            return Ok(());
        }
        let tensor = self.tensor.clone();
        match (self.limit, values.iter().all(|value| value.passes(None))) {
            (Some(limit), true) => Err(EngineError::Beyond { tensor, limit }),
            _ => Err(EngineError::NotFiniteWithin(tensor)),
        }
    }

    /// Looks at all that there is of the tensor.
    ///
    /// # Errors
    /// As [`Watch::check`].
    pub(in super::super) fn check_data(&self, data: &Data) -> Result<(), EngineError> {
        match data {
            Data::U8(values) => self.check(values),
            Data::U16(values) => self.check(values),
            Data::U32(values) => self.check(values),
            Data::U64(values) => self.check(values),
            Data::I8(values) => self.check(values),
            Data::I16(values) => self.check(values),
            Data::I32(values) => self.check(values),
            Data::I64(values) => self.check(values),
            Data::F16(values) => self.check(values),
            Data::F32(values) => self.check(values),
            Data::F64(values) => self.check(values),
            Data::Bool(_) | Data::Bytes(_) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_number_or_beyond_the_limit_is_found_wherever_it_lies() {
        let watch = |limit| Watch { tensor: "t".into(), limit };
        for at in [0, 255, 256, 999] {
            let with = |odd: f32| {
                let mut values = vec![1.0f32; 1000];
                values[at] = odd;
                values
            };
            let said = |limit, odd| {
                let found = watch(limit).check_data(&Data::F32(with(odd)));
                found.err().map_or(String::new(), |error| error.to_string())
            };
            assert_eq!(said(None, 1e38), "");
            assert_eq!(said(None, f32::INFINITY), "", "only what is no number is lost");
            assert_eq!(said(None, f32::NAN), "t, within the model, is not finite");
            assert_eq!(said(Some(9.0), -9.0), "");
            assert_eq!(said(Some(9.0), f32::NAN), "t, within the model, is not finite");
            let beyond = said(Some(9.0), -10.0);
            assert!(beyond.starts_with("t, within the model, has numbers beyond 9e0"), "{beyond}");
            assert_eq!(said(Some(9.0), f32::INFINITY), beyond);
        }
        let whole = Data::I64(vec![0, i64::from(i32::MAX) + 1]);
        assert!(watch(None).check_data(&whole).is_ok());
        assert!(watch(Some(f64::from(i32::MAX))).check_data(&whole).is_err());
        assert!(watch(Some(1.0)).check_data(&Data::Bytes(vec![vec![1]])).is_ok());
    }
}
