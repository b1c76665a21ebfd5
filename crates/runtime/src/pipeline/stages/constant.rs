//! A tensor that is the same with every frame.

use crate::pipeline::flow::Flow;
use crate::tensor::{Data, Element, Tensor};
use half::f16;
use lineside_bundle::stages::Constant;

/// Up to here each whole number is an f64, and no other rounds to it.
const EXACT_MAX: f64 = ((1u64 << 53) - 1) as f64;

/// The tensor, and what it is to other stages.
///
/// # Errors
/// What is no tensor, by key.
pub(in crate::pipeline) fn tensor(constant: &Constant) -> Result<(Flow, Tensor), String> {
    let element = element(&constant.element)?;
    let shape = match &constant.shape {
        Some(shape) => shape.iter().map(|size| *size as usize).collect(),
        None => vec![constant.values.len()],
    };
    let flow = Flow::new(element, shape.clone())?;
    let data = data(element, &constant.values).map_err(|problem| format!("values: {problem}"))?;
    let tensor = Tensor::new(shape, data).ok_or_else(|| {
        let (form, values) = (flow.port.form(), constant.values.len());
        format!("is {form}, that is {} elements, and has {values} values", flow.port.len())
    })?;
    Ok((flow, tensor))
}

/// The type of numbers that is called so.
///
/// # Errors
/// Where there is none, with those that there are.
pub(super) fn element(name: &str) -> Result<Element, String> {
    let numbers = || Element::all().filter(|element| element.is_number());
    numbers().find(|element| element.to_string() == name).ok_or_else(|| {
        let names: Vec<String> = numbers().map(|element| element.to_string()).collect();
        format!("element = {name:?} is none of {}", names.join(", "))
    })
}

/// These numbers as elements of a type.
///
/// # Errors
/// A number that the type does not hold, and a whole number that may have been rounded before it came here.
pub(in crate::pipeline) fn data(element: Element, values: &[f64]) -> Result<Data, String> {
    let unfit = |value: f64| format!("{value} is no {element}");
    /// Each number as what it has to be, if it is just that.
    fn exact<T>(
        values: &[f64],
        unfit: impl Fn(f64) -> String,
        number: impl Fn(f64) -> (T, f64),
    ) -> Result<Vec<T>, String> {
        let one = |value: &f64| match number(*value) {
            (made, back) if back == *value => Ok(made),
            _ => Err(unfit(*value)),
        };
        values.iter().map(one).collect()
    }
    macro_rules! whole {
        ($number:ty) => {
            // A cast that saturates comes back as another number.
            exact(values, unfit, |value| {
                let back = value as $number as f64;
                (value as $number, if value.abs() <= EXACT_MAX { back } else { f64::NAN })
            })?
        };
    }
    Ok(match element {
        Element::Bool => Data::Bool(exact(values, unfit, |value| {
            (value == 1.0, if value == 1.0 { 1.0 } else { 0.0 })
        })?),
        Element::U8 => Data::U8(whole!(u8)),
        Element::U16 => Data::U16(whole!(u16)),
        Element::U32 => Data::U32(whole!(u32)),
        Element::U64 => Data::U64(whole!(u64)),
        Element::I8 => Data::I8(whole!(i8)),
        Element::I16 => Data::I16(whole!(i16)),
        Element::I32 => Data::I32(whole!(i32)),
        Element::I64 => Data::I64(whole!(i64)),
        // Rounding is what floating point does; becoming infinite is not.
        Element::F16 => Data::F16(exact(values, unfit, |value| {
            let number = f16::from_f64(value);
            (number, if number.is_finite() { value } else { f64::NAN })
        })?),
        Element::F32 => Data::F32(exact(values, unfit, |value| {
            let number = value as f32;
            (number, if number.is_finite() { value } else { f64::NAN })
        })?),
        Element::F64 => Data::F64(values.to_vec()),
        Element::Bytes => return Err("bytes are no numbers".into()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use lineside_bundle::stages::BuiltIn;

    fn constant(text: &str) -> Result<Tensor, String> {
        let constant: Constant = toml::from_str(text).map_err(|error| error.to_string())?;
        constant.check()?;
        let (flow, tensor) = tensor(&constant)?;
        assert_eq!((flow.port.element(), flow.port.shape()), (tensor.element(), tensor.shape()));
        Ok(tensor)
    }

    #[test]
    fn a_constant_is_what_is_written_in_the_type_that_is_asked_for() {
        let rate = constant("element = 'i64'\nshape = []\nvalues = [16000]").unwrap();
        assert_eq!((rate.shape(), rate.data()), (&[][..], &Data::I64(vec![16000])));
        let list = constant("values = [0.5, 1]").unwrap();
        assert_eq!((list.shape(), list.data()), (&[2][..], &Data::F32(vec![0.5, 1.0])));
        let yes = constant("element = 'bool'\nshape = [1, 2]\nvalues = [0, 1]").unwrap();
        assert_eq!((yes.shape(), yes.data()), (&[1, 2][..], &Data::Bool(vec![false, true])));
        for element in Element::all().filter(|element| element.is_number()) {
            let one = constant(&format!("element = '{element}'\nvalues = [1]")).unwrap();
            assert_eq!((one.element(), one.data().number(0)), (element, Some(1.0)));
        }
    }

    #[test]
    fn a_value_that_the_type_does_not_hold_is_refused() {
        for (text, said) in [
            ("element = 'u8'\nvalues = [256]", "values: 256 is no u8"),
            ("element = 'i64'\nvalues = [0.5]", "values: 0.5 is no i64"),
            ("element = 'u32'\nvalues = [-1]", "values: -1 is no u32"),
            ("element = 'bool'\nvalues = [2]", "values: 2 is no bool"),
            ("element = 'f16'\nvalues = [1e6]", "values: 1000000 is no f16"),
            ("values = [inf]", "values = inf must be finite"),
            ("values = []", "values has 0 values, 1 to 65536 are possible"),
            (
                "shape = [2, 2]\nvalues = [1, 2]",
                "is f32 [2, 2], that is 4 elements, and has 2 values",
            ),
        ] {
            assert_eq!(constant(text).unwrap_err(), said, "{text}");
        }
        let said = constant("element = 'text'\nvalues = [1]").unwrap_err();
        assert!(said.starts_with("element = \"text\" is none of bool, u8, "), "{said}");
    }
}
