//! A plugin that does next to nothing, to measure what a call costs: `gain * x + offset` of each value.
//!
//! Input `x` and output `y` f32 `[length]`. Setting `length`, nought unless set: then it has no ports, and
//! every call is empty. Setting `loop`: `blocks`, as the SDK has them, unless set; or `single`, one value
//! a round, as one writes it without thinking of it.

use lineside_plugin::{Frame, Plugin, Ports, Settings, Tensor, blocks, export_plugin};

/// What is measured natively has to do the same.
const GAIN: f32 = 1.5;
const OFFSET: f32 = 0.25;

struct Gain {
    shape: Vec<u32>,
    is_single: bool,
}

impl Plugin for Gain {
    fn configure(settings: &Settings) -> Result<(Self, Ports), String> {
        let length = settings.get("length").map_or("0", String::as_str);
        let length: u32 =
            length.parse().map_err(|_| format!("length = {length:?} is no number"))?;
        let is_single = settings.get("loop").is_some_and(|way| way == "single");
        let ports = match length {
            0 => Ports::new(),
            length => Ports::new().input_f32("x", &[length]).output_f32("y", &[length]),
        };
        Ok((Gain { shape: vec![length], is_single }, ports))
    }

    fn process(&mut self, _: &Frame, inputs: &[Tensor]) -> Result<Vec<Vec<Tensor>>, String> {
        let Some(x) = inputs.first() else { return Ok(vec![]) };
        let x = x.as_f32()?;
        let y = match self.is_single {
            true => {
                let mut y = Vec::with_capacity(x.len());
                for value in x {
                    y.push(GAIN * value + OFFSET);
                }
                y
            }
            false => blocks::multiply_add(x, GAIN, OFFSET),
        };
        Ok(vec![vec![Tensor::f32("y", &self.shape, y)]])
    }
}

export_plugin!(Gain);
