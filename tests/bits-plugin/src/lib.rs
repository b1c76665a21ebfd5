//! A plugin that computes what processors disagree about, so that tests can see that ours agree: NaN from
//! every operation that makes one, functions of the standard library, and instructions for several values.
//!
//! Input `x` f32 `[16]`, numbers that are finite. Outputs, i64 `[1]` each: `nan`, the bits of nought by
//! nought; and of all results' bits (FNV-1a, 32 bits) `nans`, `functions` and `vectors`.

// Nought by nought is what it is about.
#![allow(clippy::eq_op)]

use lineside_plugin::{Frame, Plugin, Ports, Settings, Tensor, export_plugin};

const VALUES: u32 = 16;
const OUTPUTS: [&str; 4] = ["nan", "nans", "functions", "vectors"];

struct Bits;

impl Plugin for Bits {
    fn configure(_: &Settings) -> Result<(Self, Ports), String> {
        let ports = Ports::new().input_f32("x", &[VALUES]);
        Ok((Bits, OUTPUTS.iter().fold(ports, |ports, name| ports.output_i64(name, &[1]))))
    }

    fn process(&mut self, _: &Frame, inputs: &[Tensor]) -> Result<Vec<Vec<Tensor>>, String> {
        let x = inputs[0].as_f32()?;
        let zero = x[0] - x[0];
        let values = [(zero / zero).to_bits(), nans(x), functions(x), vectors(x)];
        let tensors = OUTPUTS.iter().zip(values);
        Ok(vec![tensors.map(|(name, bits)| Tensor::i64(name, &[1], vec![bits.into()])).collect()])
    }
}

/// The bits of results, in their order (FNV-1a, <http://www.isthe.com/chongo/tech/comp/fnv/>).
struct Hash(u32);

impl Hash {
    fn new() -> Hash {
        Hash(0x811c_9dc5)
    }

    fn bytes(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
        }
    }

    fn f32(&mut self, value: f32) {
        self.bytes(&value.to_bits().to_le_bytes());
    }

    fn f64(&mut self, value: f64) {
        self.bytes(&value.to_bits().to_le_bytes());
    }
}

/// Operations that make NaN, and such that are given one: which of two a processor passes on, and with
/// which sign, differs where nobody says.
fn nans(x: &[f32]) -> u32 {
    let mut hash = Hash::new();
    for (at, value) in x.iter().enumerate() {
        let zero = value - value;
        let infinite = 1.0 / zero.abs();
        // Quiet and signalling, of both signs, each with a number of its own.
        let quiet = f32::from_bits(0x7fc0_0000 | at as u32 | value.to_bits() & 0x8000_0000);
        let loud = f32::from_bits(0xff80_0001 + at as u32 + (value.to_bits() & 0xff));
        for made in [
            zero / zero,
            infinite - infinite,
            infinite * zero,
            (-1.0 - value.abs()).sqrt(),
            quiet + value,
            value - quiet,
            quiet * loud,
            loud / quiet,
            loud + loud,
            loud.sqrt(),
            quiet.floor(),
            loud.ceil(),
            loud.round_ties_even(),
            quiet.min(*value),
            value.max(loud),
            infinite % zero,
        ] {
            hash.f32(made);
        }
        let (wide, loud_wide) =
            (f64::from(quiet), f64::from_bits(0x7ff0_0000_0000_0001 | at as u64));
        for made in [wide, wide + loud_wide, loud_wide * f64::from(*value), loud_wide.sqrt()] {
            hash.f64(made);
            hash.f32(made as f32);
        }
    }
    hash.0
}

/// Functions that every system's own library has, and none of them alike.
fn functions(x: &[f32]) -> u32 {
    let mut hash = Hash::new();
    for value in x {
        let wide = f64::from(*value);
        for made in [
            value.sin(),
            value.cos(),
            value.tan(),
            value.exp(),
            value.abs().ln(),
            value.abs().powf(0.37),
            value.tanh(),
            value.atan2(0.7),
            value.hypot(1.3),
            value.cbrt(),
            value.abs().sqrt(),
            value.mul_add(1.1, 0.3),
        ] {
            hash.f32(made);
        }
        for made in [wide.sin(), wide.exp(), wide.abs().ln(), wide.tanh(), wide.mul_add(1.1, 0.3)] {
            hash.f64(made);
        }
        hash.bytes(&(*value as i32).to_le_bytes());
        hash.bytes(&((*value * 1e30) as u8).to_le_bytes());
    }
    hash.0
}

/// Instructions for several values at once.
#[cfg(target_arch = "wasm32")]
fn vectors(x: &[f32]) -> u32 {
    use core::arch::wasm32::*;

    let mut hash = Hash::new();
    for four in x.as_chunks::<4>().0 {
        let [a, b, c, d] = *four;
        let some = f32x4(a, b, c, d);
        let zero = f32x4_sub(some, some);
        let nan = f32x4_div(zero, zero);
        let mixed = f32x4(a, f32::from_bits(0xffa0_0007 | a.to_bits() & 0xff), -0.0, d / (c - c));
        let double = f64x2_promote_low_f32x4(mixed);
        for made in [
            nan,
            f32x4_add(some, mixed),
            f32x4_mul(mixed, mixed),
            f32x4_div(some, mixed),
            f32x4_sqrt(f32x4_neg(some)),
            f32x4_min(some, mixed),
            f32x4_max(zero, mixed),
            f32x4_pmin(mixed, some),
            f32x4_pmax(mixed, some),
            f32x4_nearest(some),
            f32x4_floor(mixed),
            i32x4_trunc_sat_f32x4(mixed),
            u32x4_trunc_sat_f32x4(some),
            f32x4_convert_u32x4(u32x4_splat(a.to_bits())),
            f64x2_div(double, f64x2_splat(0.0)),
            f64x2_sqrt(double),
            f32x4_demote_f64x2_zero(f64x2_mul(double, double)),
            i16x8_q15mulr_sat(some, mixed),
            i8x16_swizzle(some, mixed),
            f32x4_lt(some, mixed),
        ] {
            hash.bytes(&i64x2_extract_lane::<0>(made).to_le_bytes());
            hash.bytes(&i64x2_extract_lane::<1>(made).to_le_bytes());
        }
    }
    hash.0
}

/// Only WebAssembly has those that are meant.
#[cfg(not(target_arch = "wasm32"))]
fn vectors(_: &[f32]) -> u32 {
    0
}

export_plugin!(Bits);
