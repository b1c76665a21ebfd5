//! A plugin in Python: componentize-py puts it into one component with CPython, and has whatever would
//! ask for something from outside trap instead.

use super::build::toolchain;
use anyhow::Context;
use std::fs;
use std::path::Path;
use std::process::Command;

/// The environment within the plugin's folder.
const ENVIRONMENT: &str = ".venv";
const CURE: &str = "plugins in Python are built by Python 3.10 or later with its module venv (Debian: python3-venv)";

/// Builds the plugin in `dir`; its toolchain is installed there by its requirements.txt, if it is not yet.
///
/// # Errors
/// What pip and componentize-py say.
pub fn component(dir: &Path) -> anyhow::Result<Vec<u8>> {
    let name = dir.display();
    // Programs of an environment are found by a full path wherever they are started.
    let full = dir.canonicalize().with_context(|| format!("there is no {name}"))?;
    let environment = full.join(ENVIRONMENT);
    install(&full, &environment)?;
    let built = environment.join("plugin.wasm");
    let mut componentize = Command::new(environment.join("bin/componentize-py"));
    componentize
        .args(["--quiet", "--wit-path", "lineside/wit", "--world", "plugin", "componentize"])
        .args(["--stub-wasi", "plugin", "--output"])
        .arg(&built)
        .env("VIRTUAL_ENV", &environment)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .current_dir(&full);
    toolchain(
        &mut componentize,
        CURE,
        &format!("componentize-py could not build {name}/plugin.py"),
    )?;
    fs::read(&built).with_context(|| format!("cannot read {}", built.display()))
}

/// Makes the environment, if it is not there with these requirements.
fn install(dir: &Path, environment: &Path) -> anyhow::Result<()> {
    let requirements = dir.join("requirements.txt");
    let wanted = fs::read(&requirements)
        .with_context(|| format!("cannot read {}", requirements.display()))?;
    let installed = environment.join("installed.txt");
    if fs::read(&installed).is_ok_and(|installed| installed == wanted) {
        return Ok(());
    }
    let mut venv = Command::new("python3");
    venv.args(["-m", "venv", "--clear"]).arg(environment);
    toolchain(&mut venv, CURE, &format!("python3 could not make {}", environment.display()))?;
    let mut pip = Command::new(environment.join("bin/python"));
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement"]);
    let failed = format!("pip could not install what {} names", requirements.display());
    toolchain(pip.arg(&requirements), CURE, &failed)?;
    fs::write(&installed, wanted).with_context(|| format!("cannot write {}", installed.display()))
}
