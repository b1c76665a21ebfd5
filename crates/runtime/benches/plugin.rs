//! What a call of a plugin costs beside a native copy with the same loop, and what loading one from the
//! private cache takes beside compiling it: `cargo xtask bench plugin`.
//!
//! Everything is measured in turns, several rounds in one run; a ratio is the median of the rounds' ratios.

use lineside_runtime::{Data, PluginCache, Sandbox, SandboxLimits, Tensor};
use std::error::Error;
use std::hint::black_box;
use std::time::{Duration, Instant};
use wasmtime::component::{Component, Linker};
use wasmtime::{Config, Engine, Store};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Floats of an image of 224 by 224 in three colours, and of a short window.
const LARGE: usize = 150_528;
const SMALL: usize = 256;
/// Rounds, and in each of them calls.
const ROUNDS: usize = 25;
const LARGE_CALLS: u32 = 40;
const SMALL_CALLS: u32 = 4000;
const LOAD_ROUNDS: usize = 15;
/// What the plugin does (`tests/gain-plugin`).
const GAIN: f32 = 1.5;
const OFFSET: f32 = 0.25;
const BLOCK: usize = 64;
/// A component whose only function, `run`, takes nothing, does nothing and gives nothing:
/// `(component (core module (func (export "run"))) … (func (export "run") (canon lift (core func 0))))`.
const EMPTY: &[u8] = b"\0asm\x0d\0\x01\0\
    \x01\x21\0asm\x01\0\0\0\x01\x04\x01\x60\0\0\x03\x02\x01\0\x07\x07\x01\x03run\0\0\x0a\x04\x01\x02\0\x0b\
    \x02\x04\x01\0\0\0\x06\x09\x01\0\0\x01\0\x03run\x07\x05\x01\x40\0\x01\0\
    \x08\x06\x01\0\0\0\0\0\x0b\x09\x01\0\x03run\x01\0\0";
const LIMITS: SandboxLimits = SandboxLimits {
    memory_bytes: 16 << 20,
    call: Duration::from_secs(1),
    output_bytes: 16 << 20,
    lines: 16,
};

fn main() -> Result<()> {
    let file = std::env::var("LINESIDE_BENCH_PLUGIN").map_err(
        |_| "LINESIDE_BENCH_PLUGIN has to name the plugin: run cargo xtask bench plugin",
    )?;
    let wasm = std::fs::read(file)?;
    println!("| what | floats | median | beside a native copy with the same loop | wanted |");
    println!("|---|---|---|---|---|");
    calls(&wasm)?;
    println!("\n| what | median | times faster than compiling | wanted |\n|---|---|---|---|");
    loads(&wasm)
}

/// What the sandbox itself takes: a function that does nothing, called without anything of ours.
fn bare() -> Result<impl FnMut() -> Result<()>> {
    let mut config = Config::new();
    config.epoch_interruption(true);
    let engine = Engine::new(&config)?;
    let mut store = Store::new(&engine, ());
    store.set_epoch_deadline(1);
    let component = Component::new(&engine, EMPTY)?;
    let instance = Linker::new(&engine).instantiate(&mut store, &component)?;
    let run = instance.get_typed_func::<(), ()>(&mut store, "run")?;
    Ok(move || Ok(run.call(&mut store, ())?))
}

/// A way to go through the frame once.
type Way<'a> = (&'a str, usize, &'a str, Box<dyn FnMut() -> Result<()> + 'a>);

fn calls(wasm: &[u8]) -> Result<()> {
    let (native, interpreting) = (Sandbox::native(None)?, Sandbox::interpreting(None)?);
    let large: Vec<f32> = (0..LARGE).map(|at| (at % 255) as f32).collect();
    let small = large[..SMALL].to_vec();
    let plugin = |sandbox: &Sandbox,
                  values: &[f32],
                  way: &str|
     -> Result<Box<dyn FnMut() -> Result<()>>> {
        let settings = [("length", values.len().to_string()), ("loop", way.to_owned())];
        let settings = settings.map(|(key, value)| (key.to_owned(), value));
        let mut instance = sandbox.compile(wasm)?.start(&settings, LIMITS)?;
        let x = Tensor::new(vec![values.len()], Data::F32(values.to_vec())).ok_or("no tensor")?;
        let mut number = 0;
        Ok(Box::new(move || {
            number += 1;
            let inputs: &[&Tensor] = if x.is_empty() { &[] } else { &[&x] };
            let results = instance.process((number, number, 0), inputs, Duration::from_secs(1))?;
            black_box(results);
            Ok(())
        }))
    };
    let copied = |values: &[f32]| {
        let values = values.to_vec();
        move || {
            let copy = black_box(&values).clone();
            black_box(multiply_add(black_box(&copy)));
            Ok(())
        }
    };
    let mut ways: Vec<Way<'_>> = vec![
        ("a native copy with the same loop", LARGE, "", Box::new(copied(&large))),
        ("in, through a multiply-add and out", LARGE, "1.6", plugin(&native, &large, "blocks")?),
        ("the same, one value a round", LARGE, "", plugin(&native, &large, "single")?),
        ("the same in blocks, interpreted", LARGE, "", plugin(&interpreting, &large, "blocks")?),
        ("a native copy with the same loop", SMALL, "", Box::new(copied(&small))),
        ("in, through a multiply-add and out", SMALL, "1 µs", plugin(&native, &small, "blocks")?),
        ("an empty call", 0, "0.3 µs", plugin(&native, &[], "blocks")?),
        ("the sandbox alone, a function without anything", 0, "", Box::new(bare()?)),
    ];
    let mut rounds: Vec<Vec<f64>> = vec![Vec::new(); ways.len()];
    // The first round warms up.
    for round in 0..=ROUNDS {
        for (way, micros) in ways.iter_mut().zip(&mut rounds) {
            let calls = if way.1 == LARGE { LARGE_CALLS } else { SMALL_CALLS };
            let started = Instant::now();
            for _ in 0..calls {
                way.3()?;
            }
            let took = started.elapsed().as_secs_f64() * 1e6 / f64::from(calls);
            if round > 0 {
                micros.push(took);
            }
        }
    }
    for (at, (what, floats, wanted, _)) in ways.iter().enumerate() {
        let base = ways.iter().position(|way| way.1 == *floats).filter(|base| *base != at);
        let ratio = base.filter(|_| *floats > 0).map(|base| {
            let pairs = rounds[at].iter().zip(&rounds[base]);
            median(pairs.map(|(one, other)| one / other).collect())
        });
        let ratio = ratio.map_or(String::new(), |ratio| format!("{ratio:.2}"));
        println!(
            "| {what} | {floats} | {:.3} µs | {ratio} | {wanted} |",
            median(rounds[at].clone())
        );
    }
    Ok(())
}

/// The loop of the SDK's `blocks::multiply_add`.
fn multiply_add(values: &[f32]) -> Vec<f32> {
    let mut made = Vec::with_capacity(values.len());
    let (blocks, rest) = values.as_chunks::<BLOCK>();
    for block in blocks {
        made.extend(block.iter().map(|value| GAIN * value + OFFSET));
    }
    made.extend(rest.iter().map(|value| GAIN * value + OFFSET));
    made
}

fn loads(wasm: &[u8]) -> Result<()> {
    let folder = std::env::temp_dir().join(format!("lineside-bench-{}", std::process::id()));
    let cache = PluginCache::new(folder.clone(), &[7; 32]);
    let (bare, cached) = (Sandbox::native(None)?, Sandbox::native(Some(cache))?);
    cached.compile(wasm)?;
    let (mut compiled, mut loaded, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..LOAD_ROUNDS {
        let millis = |sandbox: &Sandbox| -> Result<f64> {
            let started = Instant::now();
            black_box(sandbox.compile(wasm)?);
            Ok(started.elapsed().as_secs_f64() * 1e3)
        };
        let (one, other) = (millis(&bare)?, millis(&cached)?);
        compiled.push(one);
        loaded.push(other);
        ratios.push(one / other);
    }
    std::fs::remove_dir_all(folder)?;
    println!(
        "| compiled, {} KiB of component | {:.2} ms | | |",
        wasm.len() >> 10,
        median(compiled)
    );
    println!("| from the private cache | {:.3} ms | {:.0} | 100 |", median(loaded), median(ratios));
    Ok(())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
