//! `cargo xtask bench`: what is measured on this machine, and printed rather than asserted.

mod delta;
mod drift;
mod inference;

use crate::setup::{self, C_COMPILER, WASM};
use crate::shell::{cargo, root, step, target_dir};
use anyhow::{Context, bail};
use std::path::Path;
use std::process::Command;

/// Kills of `bench crash`, unless its second argument says how many.
const CRASH_ROUNDS: &str = "1000";

/// Runs the benchmark that the first argument names.
///
/// # Errors
/// There is none of that name, or it fails.
pub fn run(arguments: &[String]) -> anyhow::Result<()> {
    match arguments.first().map(String::as_str) {
        Some("api") => api(),
        Some("crash") => crash(arguments.get(1).map_or(CRASH_ROUNDS, String::as_str)),
        Some("delta") => delta::run(),
        Some("drift") => drift::run(),
        Some("footprint") => program("lineside-footprint", &[]),
        Some("inference") => inference::run(),
        Some("plugin") => plugin(),
        Some("rollout") => rollout(),
        Some("sketch") => sketch(),
        Some("start") => start(),
        Some("swap") => program("lineside-swaps", &[]),
        Some("telemetry") => telemetry(),
        _ => bail!(
            "usage: cargo xtask bench api | crash | delta | drift | footprint | inference | plugin | \
             rollout | sketch | start | swap | telemetry"
        ),
    }
}

/// Has the agent fail at every place in every way, then kills agents and workers at random moments of
/// updates, many times.
fn crash(rounds: &str) -> anyhow::Result<()> {
    setup::programs(&[C_COMPILER])?;
    let test = |name| ["test", "--workspace", "--locked", "--test", name, "--", "--nocapture"];
    step(
        "every place fails in every way",
        cargo(&test("failpoints")).env("LINESIDE_FAILPOINTS_ALL", "1"),
    )?;
    step(
        &format!("{rounds} kills at random moments of updates"),
        cargo(&test("crash")).env("LINESIDE_CRASH_ROUNDS", rounds),
    )
}

/// How long an agent's start takes up what waits on a disk of which nothing is in memory. Built like the
/// tests: another profile would build the engine anew.
fn start() -> anyhow::Result<()> {
    setup::programs(&[C_COMPILER])?;
    let bench = ["bench", "--workspace", "--locked", "--profile", "dev", "--bench", "start"];
    step("a start with what waits", &mut cargo(&bench))
}

/// The local API beside BentoML, which is installed for it.
fn api() -> anyhow::Result<()> {
    let wanted = root().join("crates/xtask/src/bench/api.txt");
    let python = setup::python_with(&target_dir().join("bentoml"), &wanted)?;
    program("lineside-ask", &[&python])
}

/// Bytes of an interval beside the same content as JSON and as Sparkplug B.
fn telemetry() -> anyhow::Result<()> {
    setup::programs(&[C_COMPILER])?;
    let run = ["run", "--workspace", "--locked", "--example", "interval_bytes"];
    step("an interval", &mut cargo(&run))
}

/// What a million devices cost the rollout engine, optimised: it needs little else.
fn rollout() -> anyhow::Result<()> {
    let run =
        ["run", "--release", "--locked", "--package", "lineside-rollout", "--example", "million"];
    step("a million devices", &mut cargo(&run))
}

/// Sketches beside those of other libraries, in a package of its own that has them.
fn sketch() -> anyhow::Result<()> {
    setup::programs(&[C_COMPILER])?;
    let package = root().join("tests/sketch-bench");
    let folder = target_dir().join("sketch-bench");
    let mut run = cargo(&["run", "--release", "--locked"]);
    step("sketches", run.env("CARGO_TARGET_DIR", folder).current_dir(package))
}

/// What a call of a plugin costs, and loading one. What is ours in it, and the sandbox, are optimised as in
/// a release, without the sandbox's assertions about itself; another profile would build all engines anew.
fn plugin() -> anyhow::Result<()> {
    setup::targets(&[WASM])?;
    setup::programs(&[C_COMPILER])?;
    step("build", &mut cargo(&["build", "--workspace", "--locked", "--bin", "lineside"]))?;
    let plugin = setup::plugin("tests/gain-plugin")?;
    let ours = ["opt-level=3", "debug-assertions=false", "overflow-checks=false"];
    let bench = ["bench", "--workspace", "--locked", "--profile", "dev", "--bench", "plugin"];
    let mut bench = cargo(&bench);
    for package in ["lineside-runtime", "wasmtime"] {
        for setting in ours {
            bench.args(["--config", &format!("profile.dev.package.{package}.{setting}")]);
        }
    }
    step("plugins", bench.env("LINESIDE_BENCH_PLUGIN", plugin))
}

/// Builds everything and runs a program that measures the others: `lineside-footprint` the memory of an
/// idle agent and of one with the ECG bundle, and the time to its first finding; `lineside-swaps` what
/// a plant notices when the route changes; `lineside-ask` what a program waits for an answer of a model.
fn program(name: &str, arguments: &[&Path]) -> anyhow::Result<()> {
    setup::targets(&[WASM])?;
    setup::programs(&[C_COMPILER])?;
    step("build", &mut cargo(&["build", "--workspace", "--locked"]))?;
    setup::plugins()?;
    let mut program = Command::new(target_dir().join("debug").join(name));
    let status = program
        .args(arguments)
        .current_dir(root())
        .env("CARGO_TARGET_DIR", target_dir())
        .status()
        .context("cannot start the measurement")?;
    if !status.success() {
        bail!("the measurement ended with {status}");
    }
    Ok(())
}
