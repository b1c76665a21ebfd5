//! Each engine beside onnxruntime called straight from Rust, one thread each, in interleaved rounds of one
//! run: `cargo xtask bench inference`.
//!
//! Arguments: the shared library of onnxruntime, the folder of the generated nets, and that of the zoo.

mod cases;
mod reference;

use cases::{CASES, Case, Folders, Wanted};
use lineside_runtime::{
    Engine, Engines, OnnxModel, Onnxruntime, SharedLibrary, Tensor, in_engine_thread,
};
use reference::Reference;
use std::error::Error;
use std::hint::black_box;
use std::time::{Duration, Instant};

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// The engines, in the order of the table's columns.
const ENGINES: [&str; 4] = ["onnxruntime", "tract", "rten", "classical"];
/// How long a model is measured, all engines together.
const CASE: Duration = Duration::from_secs(9);
/// Rounds of a model at least, however slow it is.
const ROUNDS_MIN: usize = 7;
/// How long an engine runs in a round, and how often at least.
const TURN: Duration = Duration::from_millis(12);
const TURN_RUNS_MIN: usize = 3;

fn main() -> Result<()> {
    // Cargo says that this is a benchmark.
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    let (Some(library), Some(nets), Some(zoo)) =
        (arguments.next(), arguments.next(), arguments.next())
    else {
        return Err("usage: engines LIBRARY NETS ZOO".into());
    };
    let only = arguments.next();
    let folders = Folders { nets: nets.into(), zoo: zoo.into() };
    // As in a worker.
    in_engine_thread(|| {
        let library = SharedLibrary { path: library.into(), digest: None };
        let reference = Reference::open(&library)?;
        let onnxruntime = Onnxruntime::At(library);
        let engines = Engines { onnxruntime, ..Engines::default() };
        println!(
            "| model | runs of each | onnxruntime from Rust | the engine onnxruntime | tract | rten | \
             classical | wanted |\n|---|---|---|---|---|---|---|---|"
        );
        for case in CASES.iter().filter(|case| only.as_ref().is_none_or(|it| case.name == *it)) {
            row(case, &folders, &reference, &engines)?;
        }
        Ok(())
    })
}

/// Measures a model and prints its row.
fn row(case: &Case, folders: &Folders, reference: &Reference, engines: &Engines) -> Result<()> {
    let file = folders.read(case)?;
    let model = OnnxModel::read(&file)?;
    let inputs = model.settle(&case.shapes())?;
    let tensors: Vec<Tensor> = inputs.iter().map(cases::filled).collect();
    let tensors: Vec<&Tensor> = tensors.iter().collect();
    let mut peer = reference.session(&file, &tensors)?;
    let mut loaded: Vec<Option<Box<dyn Engine>>> = Vec::new();
    for name in ENGINES {
        let engine = engines.engine(name)?;
        loaded.push(model.load(&[engine], &inputs).ok().map(|(_, engine)| engine));
    }
    let mut runs = vec![0; ENGINES.len()];
    let mut ratios: Vec<Vec<f64>> = vec![vec![]; ENGINES.len()];
    let (mut reference_us, mut reference_runs) = (Vec::new(), 0);
    let begun = Instant::now();
    while begun.elapsed() < CASE || reference_us.len() < ROUNDS_MIN {
        let (of_peer, count) = turn(|| peer.run())?;
        reference_us.push(of_peer);
        reference_runs += count;
        for (place, engine) in loaded.iter_mut().enumerate() {
            let Some(engine) = engine else { continue };
            let (of_engine, count) = turn(|| {
                black_box(engine.run(&tensors)?);
                Ok(())
            })?;
            runs[place] += count;
            ratios[place].push(of_engine / of_peer);
        }
    }
    let told = |place: usize| match median(&mut ratios[place].clone()) {
        Some(ratio) => format!("{ratio:.2}"),
        None => "–".to_owned(),
    };
    let wanted = match case.wanted {
        Wanted::Nothing => "onnxruntime 1.1".to_owned(),
        Wanted::Tract(most) => format!("onnxruntime 1.1, tract {most}"),
        Wanted::Classical(most) => format!("onnxruntime 1.1, classical {most}"),
    };
    let counts = runs.into_iter().filter(|runs| *runs > 0).chain([reference_runs]);
    println!(
        "| {} | {} | {:.1} µs | {} | {} | {} | {} | {wanted} |",
        case.name,
        counts.min().unwrap_or(0),
        median(&mut reference_us).unwrap_or(f64::NAN),
        told(0),
        told(1),
        told(2),
        told(3),
    );
    Ok(())
}

/// The median time of a run in microseconds, and how many there were.
fn turn(mut run: impl FnMut() -> Result<()>) -> Result<(f64, usize)> {
    let mut times = Vec::new();
    let begun = Instant::now();
    while begun.elapsed() < TURN || times.len() < TURN_RUNS_MIN {
        let started = Instant::now();
        run()?;
        times.push(started.elapsed().as_secs_f64() * 1e6);
    }
    Ok((median(&mut times).unwrap_or(f64::NAN), times.len()))
}

/// The one in the middle; none of none.
fn median(values: &mut [f64]) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}
