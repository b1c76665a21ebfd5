//! Sketching and testing a million rows of twenty features, beside Evidently on the same data.
//!
//! `generate FOLDER` writes both sides, eight bytes a number, row by row; `sketch FOLDER` does what `lineside
//! profile build` and `lineside drift --mode sketch` do with them, some hundreds of a column at a time, and tells
//! processor time and peak memory of its process; `device FOLDER` the time of the part that is a device's, which has edges and reference from its
//! profile: it sketches the current data and scores them.

use lineside_drift::{ColumnSketch, Marks, Method, SketchMethod, Survey, VALUES_MIN, score};
use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::Path;

const ROWS: u64 = 1_000_000;
const FEATURES: usize = 20;
/// Rows that are read before their numbers are counted.
const ROWS_AT_ONCE: usize = 256;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, what, folder] = arguments.as_slice() else {
        panic!("usage: drift-bench generate|sketch|device FOLDER")
    };
    let folder = Path::new(folder);
    match what.as_str() {
        "generate" => ["reference", "current"].into_iter().for_each(|side| generate(folder, side)),
        "sketch" => told(&compared(folder, false), "sketch"),
        "device" => told(&compared(folder, true), "device"),
        other => panic!("there is no {other}"),
    }
}

/// Writes one side: sums of four even numbers, each feature around another place; of the current data every
/// fifth feature has moved by half of its deviation.
fn generate(folder: &Path, side: &str) {
    let mut out = BufWriter::new(File::create(folder.join(side)).expect("a folder to write to"));
    let is_current = side == "current";
    let mut state = 1 + u64::from(is_current);
    let mut even = || {
        // SplitMix64 (Steele, Lea and Flood 2014).
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = (state ^ state >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((mixed ^ mixed >> 31) >> 11) as f64 / (1u64 << 53) as f64
    };
    for _ in 0..ROWS {
        for feature in 0..FEATURES {
            let moved = if is_current && feature % 5 == 0 { 0.5 } else { 0.0 };
            let normal = (even() + even() + even() + even() - 2.0) * 3f64.sqrt() + moved;
            let value = feature as f64 * 10.0 + normal * (1.0 + feature as f64);
            out.write_all(&value.to_le_bytes()).expect("room on the disk");
        }
    }
}

/// Gives each row to `take`.
fn rows(folder: &Path, side: &str, mut take: impl FnMut([f64; FEATURES])) {
    let mut source = BufReader::new(File::open(folder.join(side)).expect("data were generated"));
    let mut row = [0; FEATURES * 8];
    while source.read_exact(&mut row).is_ok() {
        let mut bytes = row.as_chunks::<8>().0.iter();
        take([(); FEATURES].map(|()| bytes.next().map_or(0.0, |it| f64::from_le_bytes(*it))));
    }
}

/// Gives the numbers of some rows at a time to `take`, by their feature.
fn columns(folder: &Path, side: &str, mut take: impl FnMut(usize, &[f64])) {
    let mut columns = vec![Vec::with_capacity(ROWS_AT_ONCE); FEATURES];
    let mut give = |columns: &mut [Vec<f64>]| {
        for (feature, values) in columns.iter_mut().enumerate() {
            take(feature, values);
            values.clear();
        }
    };
    rows(folder, side, |row| {
        columns.iter_mut().zip(row).for_each(|(values, value)| values.push(value));
        if columns[0].len() == ROWS_AT_ONCE {
            give(&mut columns);
        }
    });
    give(&mut columns);
}

fn count(folder: &Path, side: &str, marks: &[Marks]) -> Vec<ColumnSketch> {
    let mut sketches: Vec<ColumnSketch> = marks.iter().map(Marks::empty).collect();
    columns(folder, side, |feature, values| {
        sketches[feature].add_numbers(&marks[feature], values).expect("its own edges");
    });
    sketches
}

/// As they come to a device.
fn count_one_by_one(folder: &Path, side: &str, marks: &[Marks]) -> Vec<ColumnSketch> {
    let mut sketches: Vec<ColumnSketch> = marks.iter().map(Marks::empty).collect();
    rows(folder, side, |row| {
        for ((sketch, marks), value) in sketches.iter_mut().zip(marks).zip(row) {
            sketch.add_number(marks, value).expect("its own edges");
        }
    });
    sketches
}

/// Processor seconds, and how many features have drifted. A device has edges and reference from its profile, so what
/// they take is left out for it.
fn compared(folder: &Path, is_device: bool) -> (f64, usize) {
    let mut surveys = vec![Survey::default(); FEATURES];
    columns(folder, "reference", |feature, values| surveys[feature].add_numbers(values));
    let marks: Vec<Marks> =
        surveys.iter().map(|survey| survey.marks(None).expect("numbers")).collect();
    let reference = count(folder, "reference", &marks);
    let before = if is_device { seconds() } else { 0.0 };
    let current = match is_device {
        true => count_one_by_one(folder, "current", &marks),
        false => count(folder, "current", &marks),
    };
    let method = SketchMethod::of(Method::Wasserstein).expect("sketches know it");
    let drifted =
        marks.iter().zip(reference.iter().zip(&current)).filter(|(marks, (one, other))| {
            score(one, other, marks, method, None, VALUES_MIN).expect("a score").drifted
        });
    let drifted = drifted.count();
    (seconds() - before, drifted)
}

fn told((seconds, drifted): &(f64, usize), what: &str) {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak");
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
    println!("{what} {seconds:.3} {kib} {drifted}");
}

/// Processor time of this process.
fn seconds() -> f64 {
    let said = std::fs::read_to_string("/proc/self/schedstat").expect("Linux");
    let nanoseconds: f64 = said.split(' ').next().and_then(|it| it.parse().ok()).expect("a number");
    nanoseconds / 1e9
}
