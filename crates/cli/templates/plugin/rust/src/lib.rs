//! The mean of a window of readings: an example to be replaced.

use lineside_plugin::{Frame, Plugin, Ports, Settings, Tensor, export_plugin};

struct Mean;

impl Plugin for Mean {
    fn configure(settings: &Settings) -> Result<(Self, Ports), String> {
        let rows = settings.get("rows").map_or("6", String::as_str);
        let rows: u32 = rows
            .parse()
            .ok()
            .filter(|rows| (1..=100_000).contains(rows))
            .ok_or_else(|| format!("rows = {rows:?} must be a whole number from 1 to 100000"))?;
        Ok((Mean, Ports::new().input_f32("x", &[rows]).output_f32("mean", &[1])))
    }

    fn process(&mut self, _: &Frame, inputs: &[Tensor]) -> Result<Vec<Vec<Tensor>>, String> {
        let x = inputs[0].as_f32()?;
        let mean = x.iter().sum::<f32>() / x.len() as f32;
        Ok(vec![vec![Tensor::f32("mean", &[1], vec![mean])]])
    }
}

export_plugin!(Mean);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_that_are_none_are_refused() {
        let settings = Settings::from([("rows".to_owned(), "0".to_owned())]);
        assert!(Mean::configure(&settings).is_err());
    }
}
