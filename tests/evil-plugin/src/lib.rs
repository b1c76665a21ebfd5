//! A plugin that does what its setting `deed` says, so that tests can see it contained.
//!
//! Input `x` f32 `[2]`, output `y` f32 `[1]`: the number of frames this instance has seen. The deed
//! is done in frames whose first value is negative.

use lineside_plugin::{Frame, Plugin, Ports, Settings, Tensor, export_plugin};

struct Evil {
    deed: String,
    frames: f32,
    hoard: Vec<Vec<u8>>,
}

impl Plugin for Evil {
    fn configure(settings: &Settings) -> Result<(Self, Ports), String> {
        let deed = settings.get("deed").cloned().unwrap_or_default();
        if deed == "refuse" {
            return Err("not with me".into());
        }
        let ports = Ports::new().input_f32("x", &[2]).output_f32("y", &[1]);
        Ok((Evil { deed, frames: 0.0, hoard: Vec::new() }, ports))
    }

    fn process(&mut self, _: &Frame, inputs: &[Tensor]) -> Result<Vec<Vec<Tensor>>, String> {
        self.frames += 1.0;
        let good = || Tensor::f32("y", &[1], vec![self.frames]);
        if inputs[0].as_f32()?[0] >= 0.0 {
            return Ok(vec![vec![good()]]);
        }
        match self.deed.as_str() {
            "trap" => panic!("as told"),
            "loop" => loop {
                std::hint::black_box(&self.frames);
            },
            "hoard" => loop {
                self.hoard.push(vec![1; 1 << 16]);
            },
            "flood" => Ok((0..2_000).map(|_| vec![good()]).collect()),
            "shape" => Ok(vec![vec![Tensor::f32("y", &[3], vec![1.0; 3])]]),
            "lie" => Ok(vec![vec![Tensor::f32("y", &[1], vec![])]]),
            "nan" => Ok(vec![vec![Tensor::f32("y", &[1], vec![f32::NAN])]]),
            _ => Err("a reason".into()),
        }
    }
}

export_plugin!(Evil);
