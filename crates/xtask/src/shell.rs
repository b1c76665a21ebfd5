//! Runs other programs, and says what it runs and how long it took.

use anyhow::{Context, bail};
use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Instant;

/// The folder of the workspace: as cargo says when it runs this, for clones that share a build folder share this
/// program, too.
pub fn root() -> PathBuf {
    let here = std::env::var_os("CARGO_MANIFEST_DIR");
    let here = here.map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    here.ancestors().nth(2).expect("this crate lies two folders below the workspace").to_owned()
}

/// Where builds go: as cargo was told, outside of the clone on build machines, else `target`.
///
/// A build machine clones afresh each time; what it has built stays warm in its cache folder.
pub fn target_dir() -> PathBuf {
    if let Some(dir) = std::env::var_os("CARGO_TARGET_DIR") {
        return root().join(dir);
    }
    let cache = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")));
    match cache {
        Some(cache) if std::env::var_os("CI").is_some() => cache.join("lineside/target"),
        _ => root().join("target"),
    }
}

/// Cargo, in the workspace and with its build folder.
pub fn cargo(arguments: &[&str]) -> Command {
    let mut cargo = bare(std::env::var_os("CARGO").unwrap_or("cargo".into()));
    cargo.args(arguments).current_dir(root());
    cargo
}

/// A program that is told of the build folder, and not what cargo has told this program about itself.
pub fn bare(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.env("CARGO_TARGET_DIR", target_dir());
    // The build script of ring looks at it, and would have ring and all of TLS built anew whenever
    // somebody else calls cargo, or the clone lies elsewhere.
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&*name);
        }
    }
    if std::env::var_os("CI").is_some() {
        // Every clone lies elsewhere, so nothing incremental is ever used again.
        command.env("CARGO_INCREMENTAL", "0");
    }
    command
}

/// Runs a step to its end.
///
/// # Errors
/// If it cannot start or does not succeed.
pub fn step(what: &str, command: &mut Command) -> anyhow::Result<()> {
    println!("==> {what}");
    let started = Instant::now();
    let program = command.get_program().to_string_lossy().into_owned();
    let status = command
        .stdin(Stdio::null())
        .status()
        .with_context(|| format!("{what}: cannot start {program}"))?;
    if !status.success() {
        bail!("{what}: {status}");
    }
    println!("    {what}: {:.0} s", started.elapsed().as_secs_f64());
    Ok(())
}

/// What a program prints, or nothing if it cannot be run.
pub fn said(program: &str, arguments: &[&str]) -> Option<String> {
    // In the workspace, where rustup knows which toolchain is meant.
    let mut command = Command::new(program);
    command.args(arguments).current_dir(root()).stdin(Stdio::null()).stderr(Stdio::null());
    let output = command.output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}
