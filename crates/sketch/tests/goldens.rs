//! Bytes that sketches had when they were first written: a change of the format is seen here, and so is
//! a processor that counts differently (`cargo xtask test` runs this on emulated ARM too). Only ever
//! added to.

#![allow(clippy::unwrap_used)] // A test stops at what does not hold.

use lineside_sketch::{
    Bins, Categories, CategoryColumn, CoMoments, Distinct, Edges, Frequent, Histogram, Moments,
    NumberColumn, Sketch, TextColumn,
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

/// What version 1 wrote of a sketch is read as what is counted now, and merges with it.
fn read_of_version_1<T: Sketch + PartialEq + Clone + std::fmt::Debug>(
    hex: &str,
    now: &T,
    merge: impl Fn(&mut T, &T),
) {
    let bytes: Vec<u8> = (0..hex.len() / 2)
        .map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap())
        .collect();
    assert_eq!(bytes[1], 1);
    let before = T::decode(&bytes).unwrap();
    assert_eq!(before, *now);
    assert!(before.encode().len() < bytes.len());
    let (mut twice, mut mixed) = (now.clone(), now.clone());
    merge(&mut twice, now);
    merge(&mut mixed, &before);
    assert_eq!(mixed, twice);
}

#[test]
fn what_version_1_wrote_is_read() {
    let edges =
        Edges::new((0..=40).map(|edge| f64::from(edge) * 400.0 - 8_000.0).collect()).unwrap();
    let few_edges = Edges::new(vec![-1.0, 0.0, 2.0]).unwrap();
    let (mut numbers, mut texts) = (NumberColumn::new(Some(&edges)), TextColumn::default());
    for value in values() {
        numbers.add(Some(&edges), value).unwrap();
        texts.add(&format!("class {}", value as i64 / 100));
    }
    let (mut few_numbers, mut bare) =
        (NumberColumn::new(Some(&few_edges)), NumberColumn::new(None));
    let mut distinct = Distinct::default();
    for value in few() {
        few_numbers.add(Some(&few_edges), value).unwrap();
        bare.add(None, value).unwrap();
        distinct.add(value);
    }
    few_numbers.add_missing_rows(3);
    let categories = Categories::new(vec!["ok".into(), "worn".into()]).unwrap();
    let mut named = CategoryColumn::new(&categories);
    for at in 0..40 {
        named.add_times(&categories, &format!("part {at}"), 1 + at % 3).unwrap();
    }
    let mut some = TextColumn::default();
    for text in ["ok", "worn", "ok", "a part with a name that is longer than is kept of it"] {
        some.add(text);
    }
    some.add_missing_rows(2);
    let merge = |one: &mut NumberColumn, other: &NumberColumn| one.merge(other).unwrap();
    let lines: Vec<&str> = include_str!("version_1.txt").lines().collect();
    read_of_version_1(lines[0], &numbers, merge);
    read_of_version_1(lines[1], &texts, TextColumn::merge);
    read_of_version_1(lines[2], &few_numbers, merge);
    read_of_version_1(lines[3], &bare, merge);
    read_of_version_1(lines[4], &named, |one, other| one.merge(other).unwrap());
    read_of_version_1(lines[5], &some, TextColumn::merge);
    read_of_version_1(lines[6], &NumberColumn::new(None), merge);
    // Of nothing nothing could be saved.
    assert_eq!(TextColumn::default().encode(), [8, 2, 0, 0, 0]);
    let nothing = [8, 1, 0, 0, 0];
    assert_eq!((lines[7], TextColumn::decode(&nothing)), ("0801000000", Ok(TextColumn::default())));
    read_of_version_1(DISTINCT_OF_VERSION_1, &distinct, Distinct::merge);
    assert_eq!(
        [
            small(few_numbers),
            small(bare),
            small(named),
            small(some),
            small(NumberColumn::new(None))
        ],
        COLUMNS
    );
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
    "050204a992ddd9ee8e1d581c5ab2844d593e",
    "060105010108000080ffffffffff040000000f1000000000001002000000000000000040070000000000400b0b00000000\
     008001000000c0070000000000e001",
];
const DISTINCT_OF_VERSION_1: &str =
    "050104bb1bdbcacd6ac93430764f15b654b25395a3a153f1229594e4f5719c3d7be298";
/// Of the columns that version 1 wrote as in `version_1.txt`.
const COLUMNS: [&str; 5] = [
    "07027f0301010101e8ff0100000002c0ff018ef901bc8e018004a992ddd9ee8e1d581c5ab2844d593e1ac0047e37e43c88\
     00759c46c0ffffffff7fab10020000000000000000406f6f1219e854b59a01010270",
    "07023e01010101e8ff0100000002c0ff018ef901bc8e018004a992ddd9ee8e1d581c5ab2844d593e1ac0047e37e43c8800\
     759c46c0ffffffff7fab1002000000000000000040",
    "0a0200200e70617274203230030e70617274203232020c706172742030010e70617274203137030e70617274203238020e\
     70617274203135010e70617274203237010e70617274203239030e70617274203335030e70617274203331020e70617274\
     203234010e70617274203139020e70617274203333010e70617274203233030e70617274203134030c706172742039010e\
     70617274203236030e70617274203132010c706172742036010e70617274203330010c706172742038030e706172742031\
     36020e70617274203133020e70617274203338030e70617274203131030c706172742031020e70617274203334020e7061\
     7274203235020e70617274203130020c706172742033010c706172742035030e7061727420333901010f0007001c00c000\
     c4000006000101000000000f00000c0e040000201b80000000000010000c0f0e0000000001000020000000780600010038\
     08fffaaa784a0c2624e025f18a03e778e116d15da0a8bc9b8a8e61385f9cc3804724fb26e0fdf2334f020000",
    "0802020308776f726e015161207061727420776974682061206e616d652074686174206973206c6f6e676572207468616e\
     2069badb21de3f3f06f001046f6b0200",
    "07020000",
];
const LARGE: [&str; 3] = ["1015 65b67f481a29b1f6", "865 d1fdcf74ee444db8", "69 1fdd591498b11a65"];
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
