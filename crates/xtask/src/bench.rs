//! `cargo xtask bench`: what is measured on this machine, and printed rather than asserted.

mod delta;

use crate::setup::{self, C_COMPILER, WASM};
use crate::shell::{cargo, root, step, target_dir};
use anyhow::{Context, bail};
use std::process::Command;

/// Rounds of `bench crash`.
const CRASH_ROUNDS: &str = "200";

/// Runs the benchmark that the first argument names.
///
/// # Errors
/// There is none of that name, or it fails.
pub fn run(arguments: &[String]) -> anyhow::Result<()> {
    match arguments.first().map(String::as_str) {
        Some("crash") => crash(),
        Some("delta") => delta::run(),
        Some("footprint") => footprint(),
        _ => bail!("usage: cargo xtask bench crash | delta | footprint"),
    }
}

/// Kills agents and workers at random moments of updates, many times.
fn crash() -> anyhow::Result<()> {
    setup::programs(&[C_COMPILER])?;
    let test = ["test", "--workspace", "--locked", "--test", "crash", "--", "--nocapture"];
    step(
        &format!("{CRASH_ROUNDS} kills at random moments of updates"),
        cargo(&test).env("LINESIDE_CRASH_ROUNDS", CRASH_ROUNDS),
    )
}

/// Memory of an idle agent and of one with the ECG bundle, and the time to its first finding.
fn footprint() -> anyhow::Result<()> {
    setup::targets(&[WASM])?;
    setup::programs(&[C_COMPILER])?;
    step("build", &mut cargo(&["build", "--workspace", "--locked"]))?;
    setup::plugins()?;
    let mut footprint = Command::new(target_dir().join("debug/lineside-footprint"));
    let status = footprint
        .current_dir(root())
        .env("CARGO_TARGET_DIR", target_dir())
        .status()
        .context("cannot start the measurement")?;
    if !status.success() {
        bail!("the measurement ended with {status}");
    }
    Ok(())
}
