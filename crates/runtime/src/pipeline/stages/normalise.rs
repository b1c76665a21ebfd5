//! Columns on a common scale.

use super::{Fitted, Input, Stage, narrow, numbers, tensor};
use crate::pipeline::flow::Flow;
use crate::pipeline::frame::Fault;
use crate::pipeline::graph::{Failure, Frame};
use crate::tensor::{Element, Tensor};
use lineside_bundle::stages::{Method, Normalise};

struct Normalised {
    shape: Vec<usize>,
    columns: usize,
    by: Figures,
}

/// By which figures: what is subtracted from a column, and what it is divided by.
enum Figures {
    /// Those of the training data.
    Given(Vec<(f64, f64)>),
    /// Those of the frame itself.
    Own(Method),
}

pub(super) fn fit(normalise: &Normalise, input: &Input<'_>) -> Result<Fitted, String> {
    input.check_numbers()?;
    input.check_unit(normalise.input_unit.as_ref())?;
    let columns = input.flow.columns();
    let by = match normalise.figures() {
        None => Figures::Own(normalise.method),
        Some([(first_key, first), (second_key, second)]) => {
            let firsts = input.spread(first_key, first)?;
            let seconds = input.spread(second_key, second)?;
            let spread = |(least, second): (f64, f64)| match normalise.method {
                Method::ZScore => (least, second),
                Method::MinMax => (least, second - least),
            };
            let figures: Vec<_> = firsts.into_iter().zip(seconds).map(spread).collect();
            if let Some(column) = figures.iter().position(|(_, spread)| *spread <= 0.0) {
                return Err(input.wrong(format!("max is not above min in column {column}")));
            }
            Figures::Given(figures)
        }
    };
    let shape = input.flow.port.shape().to_vec();
    let output = Flow::new(Element::F32, shape.clone())?.in_units("1").moving_as(input.flow);
    // Each frame by its own figures is no longer a piece of one stream.
    let output = match &by {
        Figures::Given(_) => output,
        Figures::Own(_) => Flow { stride: None, ..output },
    };
    Fitted::one(Normalised { shape, columns, by }, output)
}

impl Stage for Normalised {
    fn run(&mut self, _frame: &Frame<'_>, inputs: &[&Tensor]) -> Result<Vec<Tensor>, Failure> {
        let values = numbers(inputs, 0)?;
        let own;
        let figures = match &self.by {
            Figures::Given(figures) => figures,
            Figures::Own(method) => {
                let column = |column| values.iter().copied().skip(column).step_by(self.columns);
                own = (0..self.columns)
                    .map(|at| figures(*method, column(at)))
                    .collect::<Option<Vec<_>>>()
                    .ok_or_else(|| (Fault::NotFinite, "its figures are beyond 64 bits".into()))?;
                &own
            }
        };
        let normal = |(value, (least, spread)): (&f64, &(f64, f64))| match *spread > 0.0 {
            true => (value - least) / spread,
            // A column that never changes says nothing.
            false => 0.0,
        };
        let normal = narrow(values.iter().zip(figures.iter().cycle()).map(normal));
        Ok(vec![tensor(&self.shape, normal)?])
    }
}

/// The figures of a column itself; none if they are beyond all numbers. The standard deviation is that of
/// these values and no estimate.
fn figures(method: Method, values: impl Iterator<Item = f64> + Clone) -> Option<(f64, f64)> {
    let (least, spread) = match method {
        Method::ZScore => {
            // From the first value on, so that what never changes has a spread of nought.
            let first = values.clone().next().unwrap_or_default();
            let (sum, count) =
                values.clone().fold((0.0, 0.0), |(sum, n), value| (sum + (value - first), n + 1.0));
            let mean: f64 = first + sum / count;
            let squares: f64 = values.map(|value| (value - mean) * (value - mean)).sum();
            (mean, (squares / count).sqrt())
        }
        Method::MinMax => {
            let ends = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(least, most), value| {
                (least.min(value), most.max(value))
            });
            (ends.0, ends.1 - ends.0)
        }
    };
    spread.is_finite().then_some((least, spread))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Bench, close, refused, window};
    use super::*;
    use crate::tensor::Data;
    use proptest::prelude::*;

    const Z_SCORE: &str = "kind = 'normalise'\ninput = 'window'\nmethod = 'z-score'\n";
    const MIN_MAX: &str = "kind = 'normalise'\ninput = 'window'\nmethod = 'min-max'\n";

    #[test]
    fn figures_of_the_training_data_are_taken_column_by_column() {
        let stage = format!("{Z_SCORE}mean = [1, 10]\nstd = [2, 5]");
        let mut normalise = Bench::new(&stage, &[window(&[2, 2])]);
        close(&normalise.numbers(&[1.0, 0.0, 5.0, 20.0]), &[0.0, -2.0, 2.0, 2.0]);
        assert_eq!(normalise.units(), ["1", "1"]);
        let stage = format!("{MIN_MAX}min = -1\nmax = 3");
        let mut normalise = Bench::new(&stage, &[window(&[3])]);
        close(&normalise.numbers(&[-1.0, 1.0, 7.0]), &[0.0, 0.5, 2.0]);
    }

    #[test]
    fn a_frame_s_own_figures_are_each_column_s() {
        // Mean 2 and variance 2/3; mean 20; a column that never changes.
        let mut normalise = Bench::new(Z_SCORE, &[window(&[3, 3])]);
        let values = [1.0, 10.0, 7.0, 2.0, 20.0, 7.0, 3.0, 30.0, 7.0];
        let one = (1.5f64).sqrt();
        close(&normalise.numbers(&values), &[-one, -one, 0.0, 0.0, 0.0, 0.0, one, one, 0.0]);
        let mut normalise = Bench::new(MIN_MAX, &[window(&[3])]);
        close(&normalise.numbers(&[4.0, 2.0, 6.0]), &[0.5, 0.0, 1.0]);
    }

    #[test]
    fn what_never_changes_becomes_nought_in_64_bits_too() {
        let doubles = |values: Vec<f64>| {
            let flow = Flow::new(Element::F64, vec![values.len()]).unwrap();
            let answer = Bench::new(Z_SCORE, &[flow]).run("", &[Data::F64(values)]);
            answer.map(|tensors| tensors[0].data().clone())
        };
        assert_eq!(doubles(vec![0.1; 3]), Ok(Data::F32(vec![0.0; 3])));
        let beyond = doubles(vec![1e200, -1e200]).unwrap_err();
        assert_eq!(beyond, (Fault::NotFinite, "its figures are beyond 64 bits".into()));
    }

    #[test]
    fn figures_that_do_not_fit_the_method_or_the_columns_are_refused() {
        for (stage, said) in [
            (format!("{Z_SCORE}mean = 1"), "method \"z-score\" takes `mean` and `std`, or neither"),
            (format!("{Z_SCORE}min = 1"), "method \"z-score\" takes `mean` and `std`, or neither"),
            (
                format!("{MIN_MAX}min = 1\nmax = 2\nmean = 1"),
                "method \"min-max\" takes `min` and `max`, or neither",
            ),
            (format!("{Z_SCORE}mean = 1\nstd = [1, 0]"), "std = 0 must be above zero"),
            (format!("{Z_SCORE}mean = 1\nstd = nan"), "std = NaN must be finite"),
            (
                format!("{MIN_MAX}min = 1\nmax = [2, 1]"),
                "input input: window is f32 [4, 2], max is not above min in column 1",
            ),
            (
                format!("{Z_SCORE}mean = [1]\nstd = 1"),
                "input input: window is f32 [4, 2], mean has 1 values for 2 columns",
            ),
        ] {
            assert_eq!(refused(&stage, window(&[4, 2])), said, "{stage}");
        }
        let celsius = window(&[4]).in_units(vec!["degC".into()]);
        assert_eq!(
            refused(&format!("{Z_SCORE}input_unit = 'K'"), celsius),
            "input input: window is f32 [4], in degC: K is needed"
        );
    }

    proptest! {
        #[test]
        fn whatever_comes_its_own_z_scores_have_mean_0_and_variance_1(
            values in proptest::collection::vec(-1e6f32..1e6, 2..50),
        ) {
            let mut normalise = Bench::new(Z_SCORE, &[window(&[values.len()])]);
            let normal = normalise.numbers(&values);
            let count = normal.len() as f64;
            let mean = normal.iter().sum::<f64>() / count;
            let variance = normal.iter().map(|value| value * value).sum::<f64>() / count;
            prop_assert!(mean.abs() < 1e-5, "{mean}");
            let same = values.iter().all(|value| *value == values[0]);
            prop_assert!(same || (variance - 1.0).abs() < 1e-4, "{variance}");
        }
    }
}
