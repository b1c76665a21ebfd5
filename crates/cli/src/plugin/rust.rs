//! A plugin in Rust: a crate on the SDK, compiled by cargo and wrapped as a component.

use anyhow::{Context, bail};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use wit_component::ComponentEncoder;

const TARGET: &str = "wasm32-unknown-unknown";
/// Vector instructions whose answers are the same everywhere. Relaxed ones are no part of it.
const FLAGS: (&str, &str) =
    ("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUSTFLAGS", "-C target-feature=+simd128");

/// Compiles the crate in `dir` and makes a component of it.
///
/// # Errors
/// What the compiler says.
pub fn component(dir: &Path) -> anyhow::Result<Vec<u8>> {
    let manifest = dir.join("Cargo.toml");
    // Flags and wrappers for the machine's own programs are not meant for WebAssembly.
    let cargo = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()))
        .args(["build", "--release", "--target", TARGET, "--message-format=json", "--quiet"])
        .arg("--manifest-path")
        .arg(&manifest)
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env(FLAGS.0, FLAGS.1)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .context("cannot start cargo: it compiles plugins, install it through rustup")?;
    if !cargo.status.success() {
        let dir = dir.display();
        if !has_target() {
            bail!(
                "cannot build {dir}: Rust has no {TARGET} here; next: rustup target add {TARGET}"
            );
        }
        bail!("cargo could not build {dir} for {TARGET}: its words are above");
    }
    let manifest = manifest.canonicalize()?;
    let module = String::from_utf8_lossy(&cargo.stdout)
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|message| message["manifest_path"].as_str().map(Path::new) == Some(&manifest))
        .flat_map(|message| message["filenames"].as_array().cloned().unwrap_or_default())
        .filter_map(|file| file.as_str().map(PathBuf::from))
        .find(|file| file.extension().is_some_and(|extension| extension == "wasm"))
        .with_context(|| {
            format!("{} builds no .wasm: its [lib] needs crate-type = [\"cdylib\"]", dir.display())
        })?;
    let module =
        std::fs::read(&module).with_context(|| format!("cannot read {}", module.display()))?;
    ComponentEncoder::default()
        .validate(true)
        .module(&module)
        .and_then(|encoder| encoder.encode())
        .with_context(|| format!("{} is no plugin: does it call export_plugin!?", dir.display()))
}

/// Whether the compiler has the target's standard library.
fn has_target() -> bool {
    let mut rustc = Command::new(std::env::var_os("RUSTC").unwrap_or("rustc".into()));
    let said = rustc.args(["--print", "target-libdir", "--target", TARGET]).output();
    said.is_ok_and(|said| Path::new(String::from_utf8_lossy(&said.stdout).trim()).is_dir())
}
