//! The operators of ONNX's own domain.

use super::sample::{Sample, Set};
use crate::tensor::{Data, Tensor};
use half::f16;

fn tensor(shape: &[usize], data: Data) -> Tensor {
    Tensor::new(shape.to_vec(), data).unwrap()
}

fn refused(sample: &Sample, inputs: &[&Tensor], reason: &str) {
    let error = sample.run(inputs).unwrap_err();
    assert!(error.contains(reason), "{error}, not {reason}");
}

/// What the operator makes of a tensor of the shape [2, 3].
fn shaped(sample: &Sample) -> Result<Vec<usize>, String> {
    let given = tensor(&[2, 3], Data::I32(vec![1, 2, 3, 4, 5, 6]));
    let output = sample.run(&[&given])?.remove(0);
    assert_eq!(output.data(), given.data());
    Ok(output.shape().to_vec())
}

#[test]
fn shapes_change_and_the_elements_stay() {
    let reshape = |shape: &[i64]| Sample::plain("Reshape", 1).constant(Data::I64(shape.to_vec()));
    assert_eq!(shaped(&reshape(&[3, 2])), Ok(vec![3, 2]));
    assert_eq!(shaped(&reshape(&[-1])), Ok(vec![6]));
    assert_eq!(shaped(&reshape(&[0, -1, 1])), Ok(vec![2, 3, 1]));
    for shape in [&[4][..], &[-1, -1], &[4, -1], &[-2, -3], &[2, 3, 0], &[i64::MAX, i64::MAX]] {
        assert!(shaped(&reshape(shape)).unwrap_err().contains("does not fit"), "{shape:?}");
    }
    let none = reshape(&[0, 3]).with("allowzero", Set::Int(1));
    assert!(shaped(&none).unwrap_err().contains("does not fit"));
    let given = tensor(&[1], Data::I64(vec![6]));
    refused(&Sample::plain("Reshape", 1).input(), &[&given, &given], "shape is not a constant");

    let flatten = |axis| Sample::plain("Flatten", 1).with("axis", Set::Int(axis));
    assert_eq!(shaped(&Sample::plain("Flatten", 1)), Ok(vec![2, 3]));
    assert_eq!(shaped(&flatten(0)), Ok(vec![1, 6]));
    assert_eq!(shaped(&flatten(2)), Ok(vec![6, 1]));
    assert_eq!(shaped(&flatten(-1)), Ok(vec![2, 3]));
    assert!(shaped(&flatten(3)).unwrap_err().contains("no axis 3"));

    let unsqueeze = |axes: &[i64]| Sample::plain("Unsqueeze", 1).constant(Data::I64(axes.to_vec()));
    assert_eq!(shaped(&unsqueeze(&[0, -1])), Ok(vec![1, 2, 3, 1]));
    assert!(shaped(&unsqueeze(&[0, 0])).is_err());
    assert!(shaped(&unsqueeze(&[4])).unwrap_err().contains("no axis 4"));
    assert_eq!(shaped(&Sample::plain("Squeeze", 1)), Ok(vec![2, 3]));
    let squeeze = Sample::plain("Squeeze", 1).with("axes", Set::Ints(vec![0]));
    assert!(shaped(&squeeze).unwrap_err().contains("does not fit"));
    let column = tensor(&[2, 1], Data::I32(vec![1, 2]));
    let output = Sample::plain("Squeeze", 1).run(&[&column]).unwrap().remove(0);
    assert_eq!(output, tensor(&[2], Data::I32(vec![1, 2])));
    assert_eq!(shaped(&Sample::plain("Identity", 1)), Ok(vec![2, 3]));
}

#[test]
fn fractions_are_cut_off_floats_saturate_and_whole_numbers_wrap() {
    let cast = |data: Data, to: i64| {
        let given = tensor(&[data.len()], data);
        let output = Sample::plain("Cast", 1).with("to", Set::Int(to)).run(&[&given]);
        output.map(|mut outputs| outputs.remove(0).data().clone())
    };
    let floats = Data::F32(vec![-1.9, 0.0, 2.5]);
    assert_eq!(cast(floats.clone(), 7), Ok(Data::I64(vec![-1, 0, 2])));
    assert_eq!(cast(floats.clone(), 9), Ok(Data::Bool(vec![true, false, true])));
    assert_eq!(cast(floats.clone(), 11), Ok(Data::F64(vec![f64::from(-1.9f32), 0.0, 2.5])));
    assert_eq!(cast(floats.clone(), 1), Ok(floats.clone()));
    assert_eq!(cast(Data::F32(vec![0.5]), 10), Ok(Data::F16(vec![f16::from_f32(0.5)])));
    assert_eq!(cast(Data::F64(vec![1e300]), 6), Ok(Data::I32(vec![i32::MAX])));
    let odd = cast(Data::F32(vec![f32::NAN]), 7).unwrap_err();
    assert!(
        odd.starts_with("what goes into Cast for ") && odd.ends_with(" is not finite"),
        "{odd}"
    );
    assert_eq!(cast(Data::I64(vec![300, -1]), 2), Ok(Data::U8(vec![44, 255])));
    // No digit of a whole number is lost on the way.
    let large = i64::MAX - 1;
    assert_eq!(cast(Data::I64(vec![large]), 13), Ok(Data::U64(vec![large as u64])));
    assert_eq!(cast(Data::Bool(vec![true, false]), 7), Ok(Data::I64(vec![1, 0])));
    assert!(cast(floats.clone(), 8).unwrap_err().contains("between numbers and text"));
    assert!(cast(floats, 16).unwrap_err().contains("something unknown"));
}

#[test]
fn sums_and_products_repeat_what_has_fewer_dimensions() {
    let left = tensor(&[2, 2], Data::F32(vec![1.0, 2.0, 3.0, 4.0]));
    for (operator, wanted) in [
        ("Add", [11.0, 22.0, 13.0, 24.0]),
        ("Sub", [-9.0, -18.0, -7.0, -16.0]),
        ("Mul", [10.0, 40.0, 30.0, 80.0]),
        ("Div", [0.1, 0.1, 0.3, 0.2]),
    ] {
        let sample = Sample::plain(operator, 1).constant(Data::F32(vec![10.0, 20.0]));
        let output = sample.run(&[&left]).unwrap().remove(0);
        assert_eq!(output, tensor(&[2, 2], Data::F32(wanted.to_vec())), "{operator}");
    }
    let whole = tensor(&[2], Data::I64(vec![7, i64::MIN]));
    let divided = |by: i64| Sample::plain("Div", 1).constant(Data::I64(vec![by])).run(&[&whole]);
    assert_eq!(*divided(2).unwrap()[0].data(), Data::I64(vec![3, i64::MIN / 2]));
    assert_eq!(*divided(-1).unwrap()[0].data(), Data::I64(vec![-7, i64::MIN]));
    assert!(divided(0).unwrap_err().contains("divides by nought"));
    let add = |data| Sample::plain("Add", 1).constant(data);
    refused(&add(Data::F32(vec![0.0; 3])), &[&left], "do not go together");
    refused(&add(Data::F64(vec![0.0; 2])), &[&left], "its inputs are f32 and f64");
    let texts = tensor(&[1], Data::Bytes(vec![vec![]]));
    refused(&add(Data::Bytes(vec![vec![]])), &[&texts], "not here for bytes");
}

#[test]
fn the_largest_number_is_found_along_any_axis() {
    let given = tensor(&[2, 3], Data::F32(vec![1.0, 5.0, 5.0, 7.0, 2.0, -1.0]));
    let arg_max = |attributes: &[(&'static str, i64)]| {
        let mut sample = Sample::plain("ArgMax", 1);
        for (name, value) in attributes {
            sample = sample.with(name, Set::Int(*value));
        }
        sample.run(&[&given]).unwrap().remove(0)
    };
    let places = |shape: &[usize], places: &[i64]| tensor(shape, Data::I64(places.to_vec()));
    assert_eq!(arg_max(&[("axis", 1)]), places(&[2, 1], &[1, 0]));
    assert_eq!(arg_max(&[("axis", -1), ("keepdims", 0)]), places(&[2], &[1, 0]));
    assert_eq!(arg_max(&[("axis", 1), ("select_last_index", 1)]), places(&[2, 1], &[2, 0]));
    assert_eq!(arg_max(&[]), places(&[1, 3], &[1, 0, 0]));
    let odd = tensor(&[2], Data::F32(vec![1.0, f32::NAN]));
    let error = Sample::plain("ArgMax", 1).run(&[&odd]).unwrap_err();
    assert!(error.starts_with("what goes into ArgMax for "), "{error}");
    let wide = tensor(&[1], Data::I64(vec![0]));
    refused(&Sample::plain("ArgMax", 1), &[&wide], "not here for i64");
}

#[test]
fn tensors_are_joined_along_an_axis() {
    let one = tensor(&[2, 1], Data::I64(vec![1, 2]));
    let two = tensor(&[2, 2], Data::I64(vec![3, 4, 5, 6]));
    let concat = |axis| Sample::plain("Concat", 1).input().with("axis", Set::Int(axis));
    let joined = concat(1).run(&[&one, &two]).unwrap().remove(0);
    assert_eq!(joined, tensor(&[2, 3], Data::I64(vec![1, 3, 4, 2, 5, 6])));
    let joined = concat(0).run(&[&two, &two]).unwrap().remove(0);
    assert_eq!(joined, tensor(&[4, 2], Data::I64(vec![3, 4, 5, 6, 3, 4, 5, 6])));
    refused(&concat(0), &[&one, &two], "do not go together");
    let floats = tensor(&[2, 1], Data::F32(vec![0.0; 2]));
    refused(&concat(1), &[&one, &floats], "do not go together");
    refused(&concat(2), &[&one, &two], "no axis 2");
}
