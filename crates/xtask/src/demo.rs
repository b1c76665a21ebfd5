//! `cargo xtask demo`: builds all programs and lets them play the story.

use crate::setup::{self, C_COMPILER, WASM};
use crate::shell::{cargo, root, step, target_dir};
use anyhow::{Context, bail};
use std::process::Command;

/// Builds what the story needs, and plays it.
///
/// # Errors
/// What keeps it from being built, or how it ended.
pub fn run(arguments: &[String]) -> anyhow::Result<()> {
    setup::targets(&[WASM])?;
    setup::programs(&[C_COMPILER])?;
    step("build", &mut cargo(&["build", "--workspace", "--locked"]))?;
    setup::plugins()?;
    let mut demo = Command::new(target_dir().join("debug/lineside-demo"));
    // Bundles build their plugins into the same folder.
    demo.args(arguments).current_dir(root()).env("CARGO_TARGET_DIR", target_dir());
    let status = demo.status().context("cannot start the demo")?;
    if !status.success() {
        bail!("the demo ended with {status}");
    }
    Ok(())
}
