//! Whether a model answers each row as by itself. A free first dimension says nothing of it: it may as well
//! be the steps of a sequence.

use crate::tensor::{Data, Element, Tensor};

/// Pairs of rows that are tried.
const PAIRS: u64 = 3;
/// How far an answer may be from the same one by itself: engines add up in another order.
const RELATIVE: f64 = 1e-4;
const ABSOLUTE: f64 = 1e-5;

/// Whether rows of the shapes `single` (each of one row) of these elements are answered together as by
/// themselves, seen from what `run` gives for some that are made up. Not where it gives nothing.
pub(super) fn are_rows_apart(
    elements: &[Element],
    single: &[Vec<usize>],
    mut run: impl FnMut(&[Tensor]) -> Option<Vec<Tensor>>,
) -> bool {
    let mut state = 0x9e37_79b9_7f4a_7c15;
    let mut agrees = || {
        let (one, other) =
            (made_up(elements, single, &mut state)?, made_up(elements, single, &mut state)?);
        let both: Option<Vec<Tensor>> =
            one.iter().zip(&other).map(|(one, other)| stacked(one, other)).collect();
        let both = run(&both?)?;
        let alone = [run(&one)?, run(&other)?];
        let same = both.iter().enumerate().all(|(place, both)| {
            let halves = alone.each_ref().map(|alone| alone.get(place));
            let [Some(one), Some(other)] = halves else { return false };
            stacked(one, other).is_some_and(|wanted| is_close(both, &wanted))
        });
        Some(same)
    };
    (0..PAIRS).all(|_| agrees() == Some(true))
}

fn stacked(one: &Tensor, other: &Tensor) -> Option<Tensor> {
    let ([1, rest @ ..], [1, ..]) = (one.shape(), other.shape()) else { return None };
    let shape = [&[2], rest].concat();
    let mut data = one.data().clone();
    (one.shape() == other.shape() && data.append(other.data())).then_some(())?;
    Tensor::new(shape, data)
}

fn is_close(found: &Tensor, wanted: &Tensor) -> bool {
    if found.shape() != wanted.shape() || found.element() != wanted.element() {
        return false;
    }
    match (found.data(), wanted.data()) {
        (Data::F16(_) | Data::F32(_) | Data::F64(_), _) => (0..found.len()).all(|place| {
            let numbers = (found.data().number(place), wanted.data().number(place));
            let (Some(found), Some(wanted)) = numbers else { return false };
            (found - wanted).abs() <= ABSOLUTE + RELATIVE * wanted.abs()
        }),
        (found, wanted) => found == wanted,
    }
}

/// Numbers from -1 to 1; 0 or 1 where they are whole, since they may be places in a table.
fn made_up(elements: &[Element], shapes: &[Vec<usize>], state: &mut u64) -> Option<Vec<Tensor>> {
    let made_up = |(element, shape): (&Element, &Vec<usize>)| {
        let count: usize = shape.iter().product();
        let mut data = Data::zeros(*element, count);
        fill(&mut data, state);
        Tensor::new(shape.clone(), data)
    };
    elements.iter().zip(shapes).map(made_up).collect()
}

fn fill(data: &mut Data, state: &mut u64) {
    // The generator of Knuth's MMIX: the same numbers on every machine.
    let mut next = || {
        *state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (*state >> 33) as u32
    };
    let mut real = || f64::from(next()) / f64::from(1u32 << 30) - 1.0;
    macro_rules! whole {
        ($values:ident) => {
            $values.iter_mut().for_each(|value| *value = (real() > 0.0).into())
        };
    }
    match data {
        Data::Bool(values) => whole!(values),
        Data::U8(values) => whole!(values),
        Data::U16(values) => whole!(values),
        Data::U32(values) => whole!(values),
        Data::U64(values) => whole!(values),
        Data::I8(values) => whole!(values),
        Data::I16(values) => whole!(values),
        Data::I32(values) => whole!(values),
        Data::I64(values) => whole!(values),
        Data::F16(values) => values.iter_mut().for_each(|it| *it = half::f16::from_f64(real())),
        Data::F32(values) => values.iter_mut().for_each(|it| *it = real() as f32),
        Data::F64(values) => values.iter_mut().for_each(|it| *it = real()),
        Data::Bytes(values) => values.iter_mut().for_each(|it| {
            *it = if real() > 0.0 { b"a".to_vec() } else { b"b".to_vec() };
        }),
    }
}
