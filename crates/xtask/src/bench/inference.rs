//! `cargo xtask bench inference`: each engine beside onnxruntime called from Rust, and what the agent's
//! way costs above a bare engine.
//!
//! The models are the zoo's, which is no part of the project, and nets that are generated here.

use crate::setup::{self, C_COMPILER, WASM};
use crate::shell::{bare, cargo, root, step, target_dir};
use anyhow::{Context, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// How our own crates are built: as for devices. What they depend on stays as it is built for the tests.
const LEVEL: (&str, &str) = ("CARGO_PROFILE_DEV_OPT_LEVEL", "3");
/// Prints where Python has put the library of onnxruntime.
const FIND: &str = "import glob, sysconfig; \
    print(*glob.glob(sysconfig.get_path('platlib') + '/onnxruntime/capi/libonnxruntime.so.*'))";

/// Measures and prints the tables.
///
/// # Errors
/// What cannot be installed, built or run.
pub fn run() -> anyhow::Result<()> {
    let zoo = setup::zoo();
    if !zoo.is_dir() {
        bail!("{} is not there: LINESIDE_ZOO names the folder of the models", zoo.display());
    }
    setup::targets(&[WASM])?;
    setup::programs(&[C_COMPILER])?;
    let folder = target_dir().join("inference");
    let source = root().join("crates/runtime/benches/engines");
    let python = setup::python_with(&folder.join("python"), &source.join("wanted.txt"))?;
    let nets = folder.join("nets");
    step("nets", Command::new(&python).arg(source.join("nets.py")).arg(&nets))?;
    let library = library(&python)?;
    let tool = ["build", "--workspace", "--locked", "--bin", "lineside"];
    step("build", cargo(&tool).env(LEVEL.0, LEVEL.1))?;
    setup::plugins()?;
    let ecg = folder.join("ecg.lsb");
    let mut build = bare(target_dir().join("debug/lineside"));
    build.args(["bundle", "build", "examples/ecg", "--output"]).arg(&ecg).current_dir(root());
    step("the ECG bundle", &mut build)?;
    bench("engines", &[&library, &nets, &zoo])?;
    bench("way", &[&ecg, &zoo])
}

/// Builds a benchmark and runs it with these arguments.
fn bench(name: &str, arguments: &[&Path]) -> anyhow::Result<()> {
    let mut bench =
        cargo(&["bench", "--workspace", "--locked", "--profile", "dev", "--bench", name]);
    step(name, bench.arg("--").args(arguments).env(LEVEL.0, LEVEL.1))
}

/// The shared library in that environment of Python's.
fn library(python: &Path) -> anyhow::Result<PathBuf> {
    let output = Command::new(python).args(["-c", FIND]).output().context("cannot start Python")?;
    let path = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
    if !path.is_file() {
        bail!("the package onnxruntime brings no library: {}", path.display());
    }
    fs::canonicalize(&path).with_context(|| format!("cannot find {}", path.display()))
}
