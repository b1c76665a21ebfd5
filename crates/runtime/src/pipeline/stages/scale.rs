//! `gain * x + offset`, column by column.

use super::{Fitted, Input, Stage, narrow, numbers, tensor};
use crate::pipeline::flow::{Flow, Units};
use crate::pipeline::graph::{Failure, Frame};
use crate::tensor::{Element, Tensor};
use lineside_bundle::stages::{Each, Scale};

struct Scaled {
    shape: Vec<usize>,
    /// Gain and offset of each column.
    columns: Vec<(f64, f64)>,
}

pub(super) fn fit(scale: &Scale, input: &Input<'_>) -> Result<Fitted, String> {
    input.check_numbers()?;
    input.check_unit(scale.input_unit.as_ref())?;
    let gain = input.spread("gain", scale.gain.as_ref().unwrap_or(&Each::All(1.0)))?;
    let offset = input.spread("offset", scale.offset.as_ref().unwrap_or(&Each::All(0.0)))?;
    // What was multiplied is in another unit, and only the author knows which.
    let units = match &scale.unit {
        Some(unit) => {
            unit.check_columns("unit", input.flow.columns()).map_err(|it| input.wrong(it))?;
            Units::from(unit)
        }
        None => Units::from(""),
    };
    let shape = input.flow.port.shape().to_vec();
    let output = Flow::new(Element::F32, shape.clone())?.in_units(units).moving_as(input.flow);
    Fitted::one(Scaled { shape, columns: gain.into_iter().zip(offset).collect() }, output)
}

impl Stage for Scaled {
    fn run(&mut self, _frame: &Frame<'_>, inputs: &[&Tensor]) -> Result<Vec<Tensor>, Failure> {
        let columns = self.columns.iter().cycle();
        let values = numbers(inputs, 0)?.into_iter().zip(columns);
        let scaled = narrow(values.map(|(value, (gain, offset))| value * gain + offset));
        Ok(vec![tensor(&self.shape, scaled)?])
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Bench, close, refused, window};
    use super::*;
    use crate::tensor::Data;

    const SCALE: &str = "kind = 'scale'\ninput = 'window'\n";

    fn units(units: &[&str]) -> Vec<String> {
        units.iter().map(|unit| (*unit).to_owned()).collect()
    }

    #[test]
    fn each_column_has_its_own_gain_and_offset_or_all_have_one() {
        let both = format!("{SCALE}gain = [2.0, -1]\noffset = [0.5, 10]");
        let mut scale = Bench::new(&both, &[window(&[2, 2])]);
        close(&scale.numbers(&[1.0, 1.0, 2.0, 3.0]), &[2.5, 9.0, 4.5, 7.0]);
        // A tensor of one dimension is one column, however long.
        let mut scale = Bench::new(&format!("{SCALE}offset = -1"), &[window(&[3])]);
        close(&scale.numbers(&[1.0, 2.0, 3.0]), &[0.0, 1.0, 2.0]);
        // Numbers of every kind are taken; 32 bits come out.
        let bytes = Flow::new(Element::U8, vec![2]).unwrap();
        let mut scale = Bench::new(&format!("{SCALE}gain = 0.5"), &[bytes]);
        let halves = scale.run("", &[Data::U8(vec![255, 1])]).unwrap();
        assert_eq!(*halves[0].data(), Data::F32(vec![127.5, 0.5]));
    }

    #[test]
    fn the_unit_that_is_asked_for_must_be_the_one_that_comes_and_the_new_one_goes_on() {
        let flow = || window(&[4, 2]).in_units(units(&["m/s", ""]));
        let stage = |wanted: &str| {
            format!("{SCALE}gain = 3.6\ninput_unit = {wanted}\nunit = ['km/h', 'kW']")
        };
        let scale = Bench::new(&stage("['m/s', 'kW']"), &[flow()]);
        assert_eq!(scale.units(), units(&["km/h", "kW"]));
        assert_eq!(
            refused(&stage("'kn'"), flow()),
            "input input: window is f32 [4, 2], column 0 in m/s: kn is needed"
        );
        let unknown = Bench::new(&format!("{SCALE}gain = 3.6"), &[flow()]);
        assert_eq!(unknown.units(), units(&["", ""]));
    }

    #[test]
    fn settings_for_other_columns_or_without_a_number_are_refused_by_key() {
        for (settings, said) in [
            (
                "gain = [1, 2, 3]",
                "input input: window is f32 [4, 2], gain has 3 values for 2 columns",
            ),
            ("unit = 'kW'", "needs `gain`, `offset` or both"),
            ("gain = nan", "gain = NaN must be finite"),
            ("offset = [1, inf]", "offset = inf must be finite"),
            ("gain = []", "gain has 0 values, 1 to 65536 are possible"),
            ("gain = 1\nunit = ''", "unit has an empty unit: \"1\" is what has none"),
        ] {
            assert_eq!(refused(&format!("{SCALE}{settings}"), window(&[4, 2])), said);
        }
        let said = refused(&format!("{SCALE}gain = 'much'"), window(&[4, 2]));
        assert!(said.contains("must be one value, or a list with one for each column"), "{said}");
        assert!(
            refused(&format!("{SCALE}gains = 1"), window(&[1])).contains("unknown field `gains`")
        );
    }
}
