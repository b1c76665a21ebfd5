//! `bench drift`: sketching and testing a million rows of twenty features beside Evidently.

use crate::setup::{self, C_COMPILER};
use crate::shell::{cargo, root, step, target_dir};
use anyhow::{Context, bail};
use std::path::Path;
use std::process::Command;

/// Features of the data, as the package that generates them has it.
const FEATURES: &str = "20";

/// Generates the data, and measures both on them, one after the other.
///
/// # Errors
/// Something cannot be built, installed or run.
pub fn run() -> anyhow::Result<()> {
    setup::programs(&[C_COMPILER])?;
    let target = target_dir().join("drift-bench");
    let package = root().join("tests/drift-bench");
    let mut build = cargo(&["build", "--release", "--locked"]);
    step("sketches", build.env("CARGO_TARGET_DIR", &target).current_dir(package))?;
    let python = setup::python_with(&target.join("python"), &root().join("tests/tests/drift.txt"))?;
    let data = target.join("data");
    std::fs::create_dir_all(&data).context("cannot make a folder for the data")?;
    let ours = target.join("release/lineside-drift-bench");
    said(Command::new(&ours).arg("generate").arg(&data))?;

    let sketch = said(Command::new(&ours).arg("sketch").arg(&data))?;
    let device = said(Command::new(&ours).arg("device").arg(&data))?;
    let evidently = said(
        Command::new(python)
            .arg(root().join("crates/xtask/src/bench/drift.py"))
            .arg(&data)
            .arg(FEATURES)
            .env("DO_NOT_TRACK", "1"),
    )?;
    remove(&data)?;

    let (ours, device, theirs) = (numbers(&sketch)?, numbers(&device)?, numbers(&evidently)?);
    let (&[cpu, peak, drifted], &[cpu_device, ..]) = (ours.as_slice(), device.as_slice()) else {
        bail!("no figures in {sketch:?} {device:?}")
    };
    let &[report, whole, their_peak, their_drifted] = theirs.as_slice() else {
        bail!("no figures in {evidently:?}")
    };
    println!(
        "1,000,000 rows of 20 features on each side; processor time, peak memory, features that drift"
    );
    println!(
        "ours, reference twice and current once  {cpu:8.2} s  {:8.1} MiB  {drifted}",
        peak / 1024.0
    );
    println!("ours, current alone, as a device does   {cpu_device:8.2} s");
    println!("Evidently, the report alone             {report:8.2} s");
    println!(
        "Evidently, the process                  {whole:8.2} s  {:8.1} MiB  {their_drifted}",
        their_peak / 1024.0
    );
    println!(
        "times less processor time: {:.1} (the report beside all of ours), {:.1} (beside a device's)",
        report / cpu,
        report / cpu_device
    );
    println!("times less peak memory: {:.1}", their_peak / peak);
    Ok(())
}

fn said(command: &mut Command) -> anyhow::Result<String> {
    let output = command.output().context("cannot start the measurement")?;
    if !output.status.success() {
        bail!(
            "the measurement ended with {}: {}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// The figures behind the name in the last line.
fn numbers(said: &str) -> anyhow::Result<Vec<f64>> {
    let line = said.lines().last().context("nothing was told")?;
    line.split(' ').skip(1).map(|number| number.parse().context("no figure")).collect()
}

fn remove(data: &Path) -> anyhow::Result<()> {
    std::fs::remove_dir_all(data).with_context(|| format!("cannot remove {}", data.display()))
}
