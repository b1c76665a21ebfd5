//! Sketches of ours beside those of `sketches-ddsketch` and `datasketches`: time to take a value, to
//! merge, bytes written, memory.
//!
//! One after the other, many times around, so that what else the machine does falls on all alike; a time
//! is the median of its rounds, and what is told of two are ratios within a round.

use datasketches::frequencies::FrequentItemsSketch;
use datasketches::hll::{HllSketch, HllType, HllUnion};
use datasketches::kll::{KllFloat, KllSketch};
use lineside_sketch::{Distinct, Frequent, Histogram, NumberColumn, Sketch};
use sketches_ddsketch::{Config, DDSketch};
use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

/// Values that each takes in a round.
const VALUES: usize = 200_000;
/// Sketches that are merged into one, and the values of each.
const PARTS: usize = 200;
const ROUNDS: usize = 15;

/// Counts the bytes that are in use.
struct Counting;

static IN_USE: AtomicUsize = AtomicUsize::new(0);

// SAFETY: it does what the system's allocator does, and counts.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        IN_USE.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: as for the caller.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        IN_USE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as for the caller.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What one sketch took in a round, in nanoseconds, or takes at all, in bytes.
#[derive(Default, Clone)]
struct Measured {
    name: &'static str,
    insert: Vec<f64>,
    merge: Vec<f64>,
    written: usize,
    memory: usize,
}

/// Measures a sketch once.
fn round<V: ?Sized, O: std::borrow::Borrow<V>, S>(
    measured: &mut Measured,
    values: &[O],
    new: impl Fn() -> S,
    add: impl Fn(&mut S, &V),
    merge: impl Fn(Vec<S>) -> S,
    written: impl Fn(S) -> Vec<u8>,
) {
    let before = IN_USE.load(Ordering::Relaxed);
    let mut whole = new();
    let started = Instant::now();
    for value in values {
        add(&mut whole, value.borrow());
    }
    let whole = black_box(whole);
    measured.insert.push(started.elapsed().as_nanos() as f64 / values.len() as f64);
    measured.memory = IN_USE.load(Ordering::Relaxed) - before + size_of::<S>();
    measured.written = written(whole).len();
    let parts: Vec<S> = values
        .chunks(values.len() / PARTS)
        .map(|chunk| {
            let mut part = new();
            chunk.iter().for_each(|value| add(&mut part, value.borrow()));
            part
        })
        .collect();
    let started = Instant::now();
    black_box(merge(parts));
    measured.merge.push(started.elapsed().as_nanos() as f64 / PARTS as f64);
}

fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn table(title: &str, all: &[Measured]) {
    println!(
        "\n{title}\n\n| | a value, ns | ours / it | a merge, ns | ours / it | written, bytes | memory, bytes |"
    );
    println!("|---|---|---|---|---|---|---|");
    for one in all {
        let ratio = |of: fn(&Measured) -> &Vec<f64>| {
            let ratios: Vec<f64> =
                of(&all[0]).iter().zip(of(one)).map(|(ours, other)| ours / other).collect();
            median(&ratios)
        };
        println!(
            "| {} | {:.1} | {:.2} | {:.0} | {:.2} | {} | {} |",
            one.name,
            median(&one.insert),
            ratio(|one| &one.insert),
            median(&one.merge),
            ratio(|one| &one.merge),
            one.written,
            one.memory
        );
    }
}

/// A number that follows from `state` (xorshift64, Marsaglia 2003).
fn next(state: &mut u64) -> f64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    (*state >> 11) as f64 / (1u64 << 53) as f64
}

fn fold<S>(parts: Vec<S>, merge: impl Fn(&mut S, &S)) -> S {
    let mut parts = parts.into_iter();
    let mut whole = parts.next().expect("parts");
    parts.for_each(|part| merge(&mut whole, &part));
    whole
}

fn quantiles(title: &str, values: &[f64]) {
    let names = ["Histogram", "DDSketch of 1/64", "KLL of k = 200"];
    let mut all = names.map(|name| Measured { name, ..Measured::default() });
    for _ in 0..ROUNDS {
        round::<f64, _, _>(
            &mut all[0],
            values,
            Histogram::default,
            |sketch, value| sketch.add(*value),
            |parts| fold(parts, Histogram::merge),
            |sketch| sketch.encode(),
        );
        round::<f64, _, _>(
            &mut all[1],
            values,
            || DDSketch::new(Config::new(1.0 / 64.0, 2048, 1e-9)),
            |sketch, value| sketch.add(*value),
            |parts| fold(parts, |one, other| one.merge(other).expect("of one kind")),
            |sketch| postcard::to_stdvec(&sketch).expect("it can be written"),
        );
        round::<f64, _, _>(
            &mut all[2],
            values,
            || KllSketch::<KllFloat<f64>>::new(200).expect("a size"),
            |sketch, value| sketch.update(KllFloat::<f64>::new(*value).expect("a number")),
            |parts| fold(parts, |one, other| one.merge(other).expect("of one kind")),
            |sketch| sketch.serialize(),
        );
    }
    table(title, &all);
}

fn distinct(values: &[f64]) {
    let names = ["Distinct", "HLL of 2^9, 6 bits"];
    let mut all = names.map(|name| Measured { name, ..Measured::default() });
    for _ in 0..ROUNDS {
        round::<f64, _, _>(
            &mut all[0],
            values,
            Distinct::default,
            |sketch, value| sketch.add(*value),
            |parts| fold(parts, Distinct::merge),
            |sketch| sketch.encode(),
        );
        round::<f64, _, _>(
            &mut all[1],
            values,
            || HllSketch::new(9, HllType::Hll6).expect("a size"),
            |sketch, value| sketch.update(value.to_bits()),
            |parts| {
                let mut union = HllUnion::new(9).expect("a size");
                parts.iter().for_each(|part| union.update(part));
                union.to_sketch(HllType::Hll6)
            },
            |sketch| sketch.serialize(),
        );
    }
    table("Different values", &all);
}

fn frequent(title: &str, texts: &[String]) {
    let names = ["Frequent", "FrequentItemsSketch of 64"];
    let mut all = names.map(|name| Measured { name, ..Measured::default() });
    for _ in 0..ROUNDS {
        round::<String, _, _>(
            &mut all[0],
            texts,
            Frequent::default,
            |sketch, text| sketch.add(text),
            |parts| fold(parts, Frequent::merge),
            |sketch| sketch.encode(),
        );
        round::<String, _, _>(
            &mut all[1],
            texts,
            || FrequentItemsSketch::<String>::new(64).expect("a size"),
            |sketch, text| sketch.update_ref(text.as_str()),
            |parts| fold(parts, |one, other| one.merge(other)),
            |sketch| sketch.serialize(),
        );
    }
    table(title, &all);
}

fn column(values: &[f64]) {
    let mut all = [Measured { name: "NumberColumn", ..Measured::default() }];
    for _ in 0..ROUNDS {
        round::<f64, _, _>(
            &mut all[0],
            values,
            || NumberColumn::new(None),
            |sketch, value| sketch.add(None, *value).expect("it has no edges"),
            |parts| fold(parts, |one, other| one.merge(other).expect("none has edges")),
            |sketch| sketch.encode(),
        );
    }
    table("All of a column of numbers, without bins", &all);
}

fn main() {
    let mut state = 1;
    let mut level = 20.0;
    let sensor: Vec<f64> = (0..VALUES)
        .map(|_| {
            level += (next(&mut state) - 0.5) * 0.2 + (20.0 - level) * 0.001;
            level
        })
        .collect();
    let wide: Vec<f64> = (0..VALUES).map(|_| 10f64.powf(next(&mut state) * 12.0 - 6.0)).collect();
    let mut texts = |different: f64| -> Vec<String> {
        (0..VALUES)
            .map(|_| format!("part {}", (different * next(&mut state) * next(&mut state)) as u64))
            .collect()
    };
    let (few, many) = (texts(20.0), texts(5_000.0));
    println!("{VALUES} values, {PARTS} parts, {ROUNDS} rounds");
    quantiles("A sensor's walk around 20", &sensor);
    quantiles("Twelve powers of ten", &wide);
    distinct(&wide);
    frequent("Twenty texts", &few);
    frequent("Thousands of texts", &many);
    column(&sensor);
}
