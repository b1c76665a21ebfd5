//! Whether a model answers each row as by itself. A free first dimension says nothing of it: it may as well
//! be the steps of a sequence.

use crate::tensor::{Data, Element, Tensor};

/// How far an answer may be from the same one by itself: engines add up in another order. What large numbers
/// leave when they cancel out is as far off as these are large.
const RELATIVE: f64 = 1e-4;
const ABSOLUTE: f64 = 1e-5;
const OF_SCALE: f64 = 1e-6;
/// How large the numbers of a row are, one row after the other, in each of several runs: what saturates for
/// small ones, or for large ones, shows what it does with others, and what lets one row change another only
/// where it is much larger has such a row. In the first the rows must be answered differently.
const SCALES: [[f64; 3]; 4] =
    [[1.0, 4.0, 16.0], [64.0, 256.0, 1024.0], [1e-3, 1.0, 1e3], [1e3, 1e-1, 1e6]];

/// Whether `rows` rows of the shapes `single` (each of one row) of these elements are answered together as by
/// themselves, seen from what `run` gives for some that are made up. Not where it gives nothing, nor where
/// the rows are all answered alike: then what one does to another would not show.
pub(super) fn are_rows_apart(
    elements: &[Element],
    single: &[Vec<usize>],
    rows: usize,
    mut run: impl FnMut(&[Tensor]) -> Option<Vec<Tensor>>,
) -> bool {
    let mut state = 0x9e37_79b9_7f4a_7c15;
    let mut looks = SCALES.into_iter().map(|scales| {
        let largest = scales.into_iter().fold(0.0, f64::max);
        let scales = scales.into_iter().cycle().take(rows);
        let rows: Option<Vec<Vec<Tensor>>> =
            scales.map(|scale| made_up(elements, single, scale, &mut state)).collect();
        look(elements.len(), &rows?, ABSOLUTE.max(largest * OF_SCALE), &mut run)
    });
    looks.next() == Some(Some(Seen::Apart))
        && looks.all(|seen| matches!(seen, Some(Seen::Apart | Seen::Alike)))
}

/// What was seen of some rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seen {
    /// Together they are answered as by themselves.
    Apart,
    /// So they are, and all of them alike: what one does to another does not show.
    Alike,
    /// One changes the answer to another.
    Mixed,
}

/// Looks at `made_up` rows, of so many inputs each, whose answers may be so far off; nothing if there are none.
fn look(
    inputs: usize,
    made_up: &[Vec<Tensor>],
    absolute: f64,
    run: &mut impl FnMut(&[Tensor]) -> Option<Vec<Tensor>>,
) -> Option<Seen> {
    let joined: Option<Vec<Tensor>> = (0..inputs).map(|place| stacked(made_up, place)).collect();
    let together = run(&joined?)?;
    let alone: Option<Vec<Vec<Tensor>>> = made_up.iter().map(|row| run(row)).collect();
    let alone = alone?;
    let mut seen = if together.is_empty() { None } else { Some(Seen::Apart) };
    for (place, together) in together.iter().enumerate() {
        let first = alone.first()?.get(place)?;
        let differs =
            |row: &Vec<Tensor>| row.get(place).is_some_and(|it| !is_close(it, first, absolute));
        if !is_close(together, &stacked(&alone, place)?, absolute) {
            return Some(Seen::Mixed);
        }
        if !alone.iter().any(differs) {
            seen = Some(Seen::Alike);
        }
    }
    seen
}

/// The tensors at this place of every row, behind each other.
fn stacked(rows: &[Vec<Tensor>], place: usize) -> Option<Tensor> {
    let parts = rows.iter().map(|row| row.get(place).filter(|it| it.shape().first() == Some(&1)));
    let parts: Option<Vec<&Tensor>> = parts.collect();
    Tensor::stacked(parts?.into_iter())
}

fn is_close(found: &Tensor, wanted: &Tensor, absolute: f64) -> bool {
    if found.shape() != wanted.shape() || found.element() != wanted.element() {
        return false;
    }
    match (found.data(), wanted.data()) {
        (Data::F16(_) | Data::F32(_) | Data::F64(_), _) => (0..found.len()).all(|place| {
            let numbers = (found.data().number(place), wanted.data().number(place));
            let (Some(found), Some(wanted)) = numbers else { return false };
            // Beyond what its numbers can hold it says the same both times.
            let is_same = found == wanted || (found.is_nan() && wanted.is_nan());
            is_same || (found - wanted).abs() <= absolute + RELATIVE * wanted.abs()
        }),
        (found, wanted) => found == wanted,
    }
}

/// Numbers up to `scale` on either side of nought; 0 or 1 where they are whole, since they may be places in a
/// table.
fn made_up(
    elements: &[Element],
    shapes: &[Vec<usize>],
    scale: f64,
    state: &mut u64,
) -> Option<Vec<Tensor>> {
    let made_up = |(element, shape): (&Element, &Vec<usize>)| {
        let count: usize = shape.iter().product();
        let mut data = Data::zeros(*element, count);
        fill(&mut data, scale, state);
        Tensor::new(shape.clone(), data)
    };
    elements.iter().zip(shapes).map(made_up).collect()
}

fn fill(data: &mut Data, scale: f64, state: &mut u64) {
    // The generator of Knuth's MMIX: the same numbers on every machine.
    let mut next = || {
        *state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (*state >> 33) as u32
    };
    let mut real = || (f64::from(next()) / f64::from(1u32 << 30) - 1.0) * scale;
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether a model of rows of two numbers is seen to answer them by themselves; it is given all numbers,
    /// and gives one for each row.
    fn is_apart(model: impl Fn(&[f32]) -> Vec<f32>) -> bool {
        are_rows_apart(&[Element::F32], &[vec![1, 2]], 16, |inputs| {
            let Data::F32(values) = inputs[0].data() else { return None };
            let answer = model(values);
            Some(vec![Tensor::new(vec![answer.len()], Data::F32(answer)).unwrap()])
        })
    }

    fn sums(values: &[f32]) -> Vec<f32> {
        values.as_chunks::<2>().0.iter().map(|[a, b]| a + b).collect()
    }

    #[test]
    fn rows_that_know_of_each_other_are_seen_to() {
        assert!(is_apart(sums));
        let running = |values: &[f32]| {
            let sum = |state: &mut f32, value: f32| {
                *state += value;
                Some(*state)
            };
            sums(values).into_iter().scan(0.0, sum).collect()
        };
        assert!(!is_apart(running));
        // Only from a distance.
        let lagging = |values: &[f32]| {
            let sums = sums(values);
            let before = |place: usize| place.checked_sub(5).map_or(0.0, |it| sums[it]);
            sums.iter().enumerate().map(|(place, sum)| sum - before(place)).collect()
        };
        assert!(!is_apart(lagging));
        // Only where numbers are large.
        let scaled = |values: &[f32]| {
            let largest = values.iter().fold(2.0f32, |largest, value| largest.max(value.abs()));
            sums(values).iter().map(|sum| sum / largest).collect()
        };
        assert!(!is_apart(scaled));
        // Only where one is much larger than others.
        for limit in [30.0, 100.0, 1e4, 1e5] {
            let pushed = |values: &[f32]| {
                let largest = values.iter().fold(0.0f32, |largest, value| largest.max(*value));
                sums(values).iter().map(|sum| sum - (largest - limit).max(0.0)).collect()
            };
            assert!(!is_apart(pushed), "{limit}");
        }
        // What saturates shows itself where it does not.
        assert!(is_apart(|values| sums(values).iter().map(|sum| sum.clamp(-50.0, 50.0)).collect()));
    }

    #[test]
    fn a_model_that_says_the_same_to_all_rows_shows_nothing() {
        assert!(!is_apart(|values| vec![0.0; values.len() / 2]));
        assert!(!is_apart(|values| vec![values[0]]));
        assert!(!are_rows_apart(&[Element::F32], &[vec![1, 2]], 16, |_| None));
    }
}
