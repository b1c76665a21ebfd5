//! A plugin that does what its setting `deed` says, so that tests can see it contained.
//!
//! Input `x` f32 `[2]`, output `y` f32 `[1]`: the number of frames this instance has seen. The deed
//! is done in frames whose first value is negative; while it is configured if its name says so; or
//! at the end of a recording in which there was such a frame.

use lineside_plugin::{Frame, Plugin, Ports, Settings, Tensor, export_plugin, say};
use std::hint::black_box;

/// Elements of the output `z` of the deed `much`: five of them are more than one call may give.
const MUCH: u32 = 1 << 20;

struct Evil {
    deed: String,
    frames: f32,
    is_provoked: bool,
}

impl Plugin for Evil {
    fn configure(settings: &Settings) -> Result<(Self, Ports), String> {
        let deed = settings.get("deed").cloned().unwrap_or_default();
        let ports = Ports::new().input_f32("x", &[2]).output_f32("y", &[1]);
        let ports = match deed.as_str() {
            "refuse" => return Err("not with me".into()),
            "rant" => return Err("a".repeat(1 << 20)),
            "configure-trap" => panic!("as told"),
            "configure-loop" => spin(),
            "configure-hoard" => hoard(),
            "vast-port" => ports.output_f32("z", &[u32::MAX; 3]),
            "vast-ports" => ports.output_f32("z", &[1 << 22]).output_f32("w", &[1 << 22]),
            "many-ports" => (0..300).fold(ports, |all, n| all.output_f32(&format!("z{n}"), &[1])),
            "deep-port" => ports.output_f32("z", &[1; 1000]),
            "long-name" => ports.output_f32(&"z".repeat(1 << 16), &[1]),
            "much" => ports.output_f32("z", &[MUCH]),
            _ => ports,
        };
        Ok((Evil { deed, frames: 0.0, is_provoked: false }, ports))
    }

    fn process(&mut self, _: &Frame, inputs: &[Tensor]) -> Result<Vec<Vec<Tensor>>, String> {
        self.frames += 1.0;
        let good = || Tensor::f32("y", &[1], vec![self.frames]);
        let much = || Tensor::f32("z", &[MUCH], vec![0.0; MUCH as usize]);
        let is_much = self.deed == "much";
        let result = || if is_much { vec![good(), much()] } else { vec![good()] };
        if inputs[0].as_f32()?[0] >= 0.0 {
            return Ok(vec![result()]);
        }
        match self.deed.as_str() {
            "trap" => panic!("as told"),
            "deep" => Err(format!("the end of the stack is nowhere: {}", deep(1))),
            "loop" => spin(),
            "hoard" => hoard(),
            "flood" => Ok((0..2_000).map(|_| vec![good()]).collect()),
            "swarm" => Ok((0..1_000).map(|_| vec![good()]).collect()),
            "heap" => Ok(vec![vec![Tensor::f32("y", &[10 << 20], vec![1.0; 10 << 20])]]),
            "much" => Ok((0..5).map(|_| result()).collect()),
            "chatter" => {
                (0..100).for_each(|line| say(&format!("line {line}")));
                Ok(vec![vec![good()]])
            }
            "babble" => {
                say(&"a".repeat(1 << 20));
                Ok(vec![vec![good()]])
            }
            "last-words" => {
                say("I see it coming");
                panic!("as told")
            }
            "dawdle" => {
                (0..10_000_000).for_each(|turn| {
                    black_box(turn);
                });
                Ok(vec![vec![good()]])
            }
            "shape" => Ok(vec![vec![Tensor::f32("y", &[3], vec![1.0; 3])]]),
            "lie" => Ok(vec![vec![Tensor::f32("y", &[1], vec![])]]),
            "nan" => Ok(vec![vec![Tensor::f32("y", &[1], vec![f32::NAN])]]),
            "long-say" => Err("a".repeat(1 << 20)),
            deed if deed.starts_with("finish") => {
                let answer = Ok(vec![vec![good()]]);
                self.is_provoked = true;
                answer
            }
            _ => Err("a reason".into()),
        }
    }

    fn finish(&mut self) -> Result<Vec<Vec<Tensor>>, String> {
        let good = || Tensor::f32("y", &[1], vec![self.frames]);
        match self.deed.as_str() {
            _ if !self.is_provoked => Ok(vec![vec![good()]]),
            "finish-trap" => panic!("as told"),
            "finish-loop" => spin(),
            "finish-hoard" => hoard(),
            _ => Ok((0..2_000).map(|_| vec![good()]).collect()),
        }
    }
}

fn spin() -> ! {
    loop {
        black_box(0);
    }
}

fn hoard() -> ! {
    let mut hoard = Vec::new();
    loop {
        hoard.push(vec![1u8; 1 << 16]);
        black_box(&hoard);
    }
}

/// Calls itself until there is no stack; two operations, or the compiler makes a loop of it.
#[inline(never)]
fn deep(depth: u64) -> u64 {
    match depth {
        u64::MAX => 0,
        depth => deep(depth + 1).wrapping_mul(depth).rotate_left(1) ^ depth,
    }
}

export_plugin!(Evil);
