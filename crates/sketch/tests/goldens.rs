//! Bytes that sketches had when they were first written: a change of the format is seen here, and so is
//! a processor that counts differently (`cargo xtask test` runs this on emulated ARM too). Only ever
//! added to.

#![allow(clippy::unwrap_used)] // A test stops at what does not hold.

use lineside_sketch::{
    Bins, CoMoments, Distinct, Edges, Frequent, Histogram, Moments, NumberColumn, Sketch,
    TextColumn,
};
use std::fmt::Write;

/// Values of many magnitudes, from whole numbers (xorshift64, Marsaglia 2003) by exact steps only.
fn values() -> impl Iterator<Item = f64> {
    let mut state = 1u64;
    (0..20_000).map(move |i| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let whole = (state >> 40) as f64 - 8_388_608.0;
        if i % 5 == 0 { whole / 65_536.0 } else { whole / 1024.0 + 100.0 }
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

/// Bytes of a sketch that is small enough to look at. What is written can be read.
fn small<T: Sketch + PartialEq + std::fmt::Debug>(sketch: T) -> String {
    assert_eq!(T::decode(&sketch.encode()).unwrap(), sketch);
    hex(&sketch.encode())
}

/// Number of bytes, and a checksum of them (FNV-1a, 64 digits).
fn large<T: Sketch + PartialEq + std::fmt::Debug>(sketch: &T) -> String {
    let bytes = sketch.encode();
    assert_eq!(T::decode(&bytes).unwrap(), *sketch);
    let sum = bytes.iter().fold(0xCBF2_9CE4_8422_2325u64, |sum, byte| {
        (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01B3)
    });
    format!("{} {sum:016x}", bytes.len())
}

fn few() -> [f64; 6] {
    [1.0, 1.0, -2.5, 0.0, 1e300, f64::NAN]
}

#[test]
fn small_sketches_have_these_bytes() {
    let edges = Edges::new(vec![-1.0, 0.0, 2.0]).unwrap();
    let mut moments = Moments::default();
    let mut histogram = Histogram::default();
    let mut bins = Bins::new(&edges);
    let mut distinct = Distinct::default();
    let mut co_moments = CoMoments::default();
    let mut frequent = Frequent::default();
    for value in few() {
        moments.add(value);
        histogram.add(value);
        bins.add(&edges, value).unwrap();
        distinct.add(value);
        co_moments.add(value, 3.0);
    }
    for text in ["ok", "worn", "ok", "a part with a name that is longer than is kept of it"] {
        frequent.add(text);
    }
    let written = [
        small(moments),
        small(histogram),
        small(bins),
        small(frequent),
        small(distinct),
        small(co_moments),
    ];
    assert_eq!(written, SMALL);
}

#[test]
fn large_sketches_have_these_bytes_and_give_these_figures_to_the_last_digit() {
    let edges =
        Edges::new((0..=40).map(|edge| f64::from(edge) * 400.0 - 8_000.0).collect()).unwrap();
    let mut numbers = NumberColumn::new(Some(&edges));
    let mut texts = TextColumn::default();
    let mut together = CoMoments::default();
    let mut before = 0.0;
    for value in values() {
        numbers.add(Some(&edges), value).unwrap();
        texts.add(&format!("class {}", value as i64 / 100));
        together.add(before, value);
        before = value;
    }
    let written = [large(&numbers), large(&texts), large(&together)];
    let figures = [
        numbers.moments().mean(),
        numbers.moments().deviation(),
        numbers.histogram().quantile(0.5),
        numbers.histogram().quantile(0.99),
        Some(numbers.distinct().estimate()),
        Some(texts.distinct().estimate()),
        together.covariance(),
        together.correlation(),
    ];
    let bits = figures.map(|figure| format!("{:016x}", figure.unwrap().to_bits()));
    assert_eq!(
        (written, bits),
        (LARGE.map(str::to_owned), FIGURES.map(str::to_owned)),
        "{figures:?}"
    );
}

const SMALL: [&str; 6] = [
    "0101050100000000000004c09c7500883ce4377e08000080ffffffffff1000000000001002000000000000000040",
    "0201010101e8ff0100000002c0ff018ef901bc8e0180",
    "03016f6f1219e854b59a010101020370",
    "04010308776f726e015161207061727420776974682061206e616d652074686174206973206c6f6e676572207468616e20\
     69badb21de3f3f06f001046f6b02",
    "050104bb1bdbcacd6ac93430764f15b654b25395a3a153f1229594e4f5719c3d7be298",
    "060105010108000080ffffffffff040000000f1000000000001002000000000000000040070000000000400b0b00000000\
     008001000000c0070000000000e001",
];
const LARGE: [&str; 3] = ["1215 fe2d13cdd6b33e54", "1143 863fe70710c21daa", "69 1fdd591498b11a65"];
/// Mean, deviation, median, 99th percentile, different numbers and texts, covariance, correlation.
const FIGURES: [&str; 8] = [
    "403372b54da1cac1",
    "40b078554d2fb634",
    "4006400000000000",
    "40bfc00000000000",
    "40d4d0c347214a18",
    "4064a13e20a41f9e",
    "c0c5c899aafb57f9",
    "bf448f35a9ea21b3",
];
