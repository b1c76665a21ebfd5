//! The power a wind turbine does not give while it is in alarm: expected less mean actual power.
//!
//! Inputs: `window` f32 `[6, 5]`, rows of sensors; `expected_power_kw` f32 `[1]`; `alarm` bool `[1]`.
//! Output: `lost_kw` f32 `[1]`, zero while there is no alarm. Setting `power_column`: which sensor
//! is the actual power in kilowatt, from 0.

use lineside_plugin::{Frame, Plugin, Ports, Settings, Tensor, export_plugin};

const ROWS: usize = 6;
const SENSORS: usize = 5;

struct LostPower {
    power_column: usize,
}

impl Plugin for LostPower {
    fn configure(settings: &Settings) -> Result<(Self, Ports), String> {
        let column = settings.get("power_column").map_or("1", String::as_str);
        let power_column = column
            .parse()
            .ok()
            .filter(|column| *column < SENSORS)
            .ok_or_else(|| format!("power_column = {column:?} must be 0 to {}", SENSORS - 1))?;
        let ports = Ports::new()
            .input_bool("alarm", &[1])
            .input_f32("expected_power_kw", &[1])
            .input_f32("window", &[ROWS as u32, SENSORS as u32])
            .output_f32("lost_kw", &[1]);
        Ok((LostPower { power_column }, ports))
    }

    fn process(&mut self, _: &Frame, inputs: &[Tensor]) -> Result<Vec<Vec<Tensor>>, String> {
        let [alarm, expected, window] = inputs else {
            return Err(format!("three tensors are needed, not {}", inputs.len()));
        };
        let power = window.as_f32()?.iter().skip(self.power_column).step_by(SENSORS);
        let mean = power.sum::<f32>() / ROWS as f32;
        let lost = if alarm.as_bool()?[0] { expected.as_f32()?[0] - mean } else { 0.0 };
        Ok(vec![vec![Tensor::f32("lost_kw", &[1], vec![lost])]])
    }
}

export_plugin!(LostPower);

#[cfg(test)]
mod tests {
    use super::*;
    use lineside_plugin::Data;

    fn lost(alarm: bool) -> f32 {
        let (mut plugin, _) = LostPower::configure(&Settings::new()).unwrap();
        let mut window = vec![0.0; ROWS * SENSORS];
        for (row, power) in [600.0, 500.0, 400.0, 300.0, 200.0, 100.0].iter().enumerate() {
            window[row * SENSORS + 1] = *power;
        }
        let inputs = [
            Tensor { name: "alarm".into(), shape: vec![1], data: Data::Boolean(vec![alarm]) },
            Tensor::f32("expected_power_kw", &[1], vec![1350.0]),
            Tensor::f32("window", &[6, 5], window),
        ];
        let frame = Frame { number: 0, first_sequence: 0, time_ns: 0 };
        plugin.process(&frame, &inputs).unwrap()[0][0].as_f32().unwrap()[0]
    }

    #[test]
    fn power_is_lost_only_in_an_alarm() {
        assert_eq!(lost(true), 1000.0);
        assert_eq!(lost(false), 0.0);
    }

    #[test]
    fn a_column_that_is_not_there_is_refused() {
        let settings = Settings::from([("power_column".to_owned(), "5".to_owned())]);
        assert!(LostPower::configure(&settings).is_err());
    }
}
