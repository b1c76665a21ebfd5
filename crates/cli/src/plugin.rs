//! `lineside plugin`: builds a plugin's crate as a component that imports nothing.

use crate::new_files::replace;
use crate::output::Output;
use anyhow::{Context, bail};
use clap::Subcommand;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use wit_component::{ComponentEncoder, DecodedWasm};

const TARGET: &str = "wasm32-unknown-unknown";

#[derive(Subcommand)]
pub enum PluginCommand {
    /// Build a plugin written in Rust.
    Build {
        /// The plugin's crate.
        dir: PathBuf,
        /// Where to put the component.
        #[arg(short, long)]
        output: PathBuf,
    },
}

pub fn run(command: PluginCommand, output: &Output) -> anyhow::Result<()> {
    match command {
        PluginCommand::Build { dir, output: file } => {
            let component = {
                let _working = output.working(format!("building {}", dir.display()));
                component(&dir)?
            };
            replace(&file, &component)?;
            let json = serde_json::json!({ "file": file, "bytes": component.len() });
            output.print(format!("{}: {} bytes", file.display(), component.len()), &json)
        }
    }
}

/// Compiles the crate in `dir` and makes a component of it.
///
/// # Errors
/// What the compiler says; a component that imports something, by name.
pub fn component(dir: &Path) -> anyhow::Result<Vec<u8>> {
    let manifest = dir.join("Cargo.toml");
    if !manifest.is_file() {
        bail!("{} has no Cargo.toml: a plugin is a crate that uses the SDK", dir.display());
    }
    // Flags and wrappers for the machine's own programs are not meant for WebAssembly.
    let cargo = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()))
        .args(["build", "--release", "--target", TARGET, "--message-format=json", "--quiet"])
        .arg("--manifest-path")
        .arg(&manifest)
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
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
    let component = ComponentEncoder::default()
        .validate(true)
        .module(&module)
        .and_then(|encoder| encoder.encode())
        .with_context(|| format!("{} is no plugin: does it call export_plugin!?", dir.display()))?;
    let imports = imports(&component)?;
    if !imports.is_empty() {
        bail!(
            "{} asks for {} from outside: a plugin gets its settings and its frames, nothing else",
            dir.display(),
            imports.join(", ")
        );
    }
    Ok(component)
}

/// Whether the compiler has the target's standard library.
fn has_target() -> bool {
    let mut rustc = Command::new(std::env::var_os("RUSTC").unwrap_or("rustc".into()));
    let said = rustc.args(["--print", "target-libdir", "--target", TARGET]).output();
    said.is_ok_and(|said| Path::new(String::from_utf8_lossy(&said.stdout).trim()).is_dir())
}

/// What a component wants from its host, by name.
fn imports(component: &[u8]) -> anyhow::Result<Vec<String>> {
    match wit_component::decode(component)? {
        DecodedWasm::Component(resolve, world) => {
            let imports = resolve.worlds[world].imports.keys();
            Ok(imports.map(|key| resolve.name_world_key(key)).collect())
        }
        DecodedWasm::WitPackage(..) => bail!("it is an interface, not a component"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_component_wants_from_outside_is_named() {
        // The smallest component there is, and one that imports an instance of an interface.
        let mut component = b"\0asm\x0d\0\x01\0".to_vec();
        assert_eq!(imports(&component).unwrap(), Vec::<String>::new());
        component.extend(b"\x07\x03\x01\x42\0");
        component.extend(b"\x0a\x16\x01\0\x11test:plugin/clock\x05\0");
        assert_eq!(imports(&component).unwrap(), ["test:plugin/clock"]);
    }
}
