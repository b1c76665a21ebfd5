//! Operators that change each row of numbers by itself: scaling, norms, thresholds, missing values.

use super::node::{Made, Node, Operation};
use super::real::{Real, floats};
use crate::tensor::{Data, Element};

/// One value for all columns, or one for each.
#[derive(Debug, Clone)]
struct PerColumn<T>(Vec<T>);

impl<T: Copy> PerColumn<T> {
    fn new(name: &str, values: &[T], columns: usize) -> Result<PerColumn<T>, String> {
        match values.len() {
            1 => Ok(PerColumn(vec![values[0]; columns])),
            count if count == columns => Ok(PerColumn(values.to_vec())),
            count => Err(format!("it has {count} {name} for {columns} columns")),
        }
    }
}

struct Scaler {
    offset: PerColumn<f32>,
    scale: PerColumn<f32>,
    is_double: bool,
}

/// `Scaler`: less the offset, times the scale. In 64 bits where the input has as many.
pub(super) fn scaler(node: &Node<'_>) -> Result<Made, String> {
    node.knows(&["offset", "scale"])?;
    let input = node.input(0)?;
    input.numeric()?;
    let (_, columns) = input.table()?;
    let offset = PerColumn::new("offset", node.floats("offset")?, columns)?;
    let scale = PerColumn::new("scale", node.floats("scale")?, columns)?;
    let is_double = input.element == Element::F64;
    let scaler = Scaler { offset, scale, is_double };
    Ok(Made::one(Element::F32, input.shape.clone(), scaler))
}

impl Operation for Scaler {
    fn run(&self, inputs: &[&Data]) -> Result<Vec<Data>, String> {
        let columns = self.offset.0.len();
        let by = || self.offset.0.iter().zip(&self.scale.0);
        let scaled = if self.is_double {
            let numbers = f64::numbers(inputs[0]).ok_or("it takes numbers, text came")?;
            let rows = numbers.chunks_exact(columns).flat_map(|row| row.iter().zip(by()));
            let scaled = |(number, (offset, scale)): (&f64, (&f32, &f32))| {
                ((number - f64::from(*offset)) * f64::from(*scale)) as f32
            };
            rows.map(scaled).collect()
        } else {
            let numbers = floats(inputs[0])?;
            let rows = numbers.chunks_exact(columns).flat_map(|row| row.iter().zip(by()));
            rows.map(|(number, (offset, scale))| (number - offset) * scale).collect()
        };
        Ok(vec![Data::F32(scaled)])
    }
}

#[derive(Debug, Clone, Copy)]
enum Norm {
    Max,
    L1,
    L2,
}

struct Normalizer {
    norm: Norm,
    columns: usize,
}

/// `Normalizer`: each row divided by its norm; a row whose norm is nought stays.
pub(super) fn normalizer(node: &Node<'_>) -> Result<Made, String> {
    node.knows(&["norm"])?;
    let norm = node.word("norm", &[("MAX", Norm::Max), ("L1", Norm::L1), ("L2", Norm::L2)])?;
    let input = node.input(0)?;
    input.numeric()?;
    let (_, columns) = input.table()?;
    Ok(Made::one(Element::F32, input.shape.clone(), Normalizer { norm, columns }))
}

impl Operation for Normalizer {
    fn run(&self, inputs: &[&Data]) -> Result<Vec<Data>, String> {
        let mut numbers = floats(inputs[0])?.into_owned();
        for row in numbers.chunks_exact_mut(self.columns) {
            let wide = row.iter().map(|number| f64::from(*number));
            // In 64 bits, where no square of a number of 32 is too large or too small.
            let norm = match self.norm {
                // The largest number, not the largest size, as onnxruntime has it.
                Norm::Max => wide.fold(f64::MIN, f64::max),
                Norm::L1 => wide.map(f64::abs).sum(),
                Norm::L2 => wide.map(|number| number * number).sum::<f64>().sqrt(),
            };
            if norm != 0.0 {
                row.iter_mut().for_each(|number| *number = (f64::from(*number) / norm) as f32);
            }
        }
        Ok(vec![Data::F32(numbers)])
    }
}

struct Binarizer {
    threshold: f32,
}

/// `Binarizer`: 1 for what is above the threshold, else 0.
pub(super) fn binarizer(node: &Node<'_>) -> Result<Made, String> {
    node.knows(&["threshold"])?;
    let threshold = node.float("threshold")?.unwrap_or(0.0);
    let input = node.input(0)?;
    if !matches!(input.element, Element::F32 | Element::F64) {
        return Err(format!("it is not here for {}", input.element));
    }
    Ok(Made::one(input.element, input.shape.clone(), Binarizer { threshold }))
}

impl Operation for Binarizer {
    fn run(&self, inputs: &[&Data]) -> Result<Vec<Data>, String> {
        Ok(vec![match inputs[0] {
            Data::F64(numbers) => {
                let threshold = f64::from(self.threshold);
                let is_above = |number: &f64| f64::from(u8::from(*number > threshold));
                Data::F64(numbers.iter().map(is_above).collect())
            }
            other => {
                let is_above = |number: &f32| f32::from(u8::from(*number > self.threshold));
                Data::F32(floats(other)?.iter().map(is_above).collect())
            }
        }])
    }
}

/// What is missing, and what stands in for it.
enum Imputer {
    Floats { missing: f32, by: PerColumn<f32> },
    Ints { missing: i64, by: PerColumn<i64> },
}

/// `Imputer`.
pub(super) fn imputer(node: &Node<'_>) -> Result<Made, String> {
    node.knows(&[
        "imputed_value_floats",
        "imputed_value_int64s",
        "replaced_value_float",
        "replaced_value_int64",
    ])?;
    let input = node.input(0)?;
    let (_, columns) = input.table()?;
    let imputer = match input.element {
        Element::F32 => Imputer::Floats {
            missing: node.float("replaced_value_float")?.unwrap_or(0.0),
            by: PerColumn::new("values", node.floats("imputed_value_floats")?, columns)?,
        },
        Element::I64 => Imputer::Ints {
            missing: node.int("replaced_value_int64")?.unwrap_or(0),
            by: PerColumn::new("values", node.ints("imputed_value_int64s")?, columns)?,
        },
        other => return Err(format!("it is not here for {other}")),
    };
    Ok(Made::one(input.element, input.shape.clone(), imputer))
}

impl Operation for Imputer {
    fn run(&self, inputs: &[&Data]) -> Result<Vec<Data>, String> {
        fn filled<T: Copy>(values: &[T], by: &PerColumn<T>, missing: impl Fn(T) -> bool) -> Vec<T> {
            let rows = values.chunks_exact(by.0.len());
            let pairs = rows.flat_map(|row| row.iter().zip(&by.0));
            pairs.map(|(value, by)| if missing(*value) { *by } else { *value }).collect()
        }
        Ok(vec![match (self, inputs[0]) {
            (Imputer::Floats { missing, by }, Data::F32(values)) => {
                // What is no number equals nothing, itself not even.
                let is_missing =
                    |value: f32| value == *missing || (value.is_nan() && missing.is_nan());
                Data::F32(filled(values, by, is_missing))
            }
            (Imputer::Ints { missing, by }, Data::I64(values)) => {
                Data::I64(filled(values, by, |value| value == *missing))
            }
            _ => return Err("something else came than it takes".to_owned()),
        }])
    }
}

struct FeatureVectorizer {
    /// Columns of each input.
    columns: Vec<usize>,
    rows: usize,
}

/// `FeatureVectorizer`: the rows of all inputs one behind the other, as numbers of 32 bits.
pub(super) fn feature_vectorizer(node: &Node<'_>) -> Result<Made, String> {
    node.knows(&["inputdimensions"])?;
    let dimensions = node.ints("inputdimensions")?;
    let inputs = node.inputs()?;
    let rows = node.input(0)?.table()?.0;
    let mut columns = Vec::with_capacity(inputs.len());
    for input in &inputs {
        input.numeric()?;
        let (its, count) = input.table()?;
        if its != rows {
            return Err(format!("its inputs have {rows} and {its} rows"));
        }
        columns.push(count);
    }
    let is_same = |(count, said): (&usize, &i64)| i64::try_from(*count) == Ok(*said);
    if dimensions.len() != columns.len() || !columns.iter().zip(dimensions).all(is_same) {
        return Err(format!("its inputs have {columns:?} columns, not {dimensions:?}"));
    }
    let shape = vec![rows, columns.iter().sum()];
    Ok(Made::one(Element::F32, shape, FeatureVectorizer { columns, rows }))
}

impl Operation for FeatureVectorizer {
    fn run(&self, inputs: &[&Data]) -> Result<Vec<Data>, String> {
        let inputs: Vec<_> = inputs.iter().map(|input| floats(input)).collect::<Result<_, _>>()?;
        let mut joined = Vec::new();
        for row in 0..self.rows {
            for (input, columns) in inputs.iter().zip(&self.columns) {
                joined.extend_from_slice(&input[row * columns..(row + 1) * columns]);
            }
        }
        Ok(vec![Data::F32(joined)])
    }
}
