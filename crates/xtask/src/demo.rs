//! `cargo xtask demo`: builds all programs and lets them play the story.

use crate::setup;
use crate::shell::{cargo, root, step, target_dir};
use anyhow::{Context, bail};
use std::process::Command;

/// Builds what the story needs, and plays it.
///
/// # Errors
/// What keeps it from being built, or how it ended.
pub fn run(arguments: &[String]) -> anyhow::Result<()> {
    setup::targets(&["wasm32-unknown-unknown"])?;
    setup::programs(&[("cc", "gcc")])?;
    step("build", &mut cargo(&["build", "--workspace", "--locked"]))?;
    let mut demo = Command::new(target_dir().join("debug/lineside-demo"));
    // Bundles build their plugins into the same folder.
    demo.args(arguments).current_dir(root()).env("CARGO_TARGET_DIR", target_dir());
    let status = demo.status().context("cannot start the demo")?;
    if !status.success() {
        bail!("the demo ended with {status}");
    }
    Ok(())
}
