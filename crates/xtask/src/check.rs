//! `cargo xtask check`: what can be said of the code without running it.

use crate::setup::{self, C_COMPILER};
use crate::shell::{cargo, root, step, target_dir};
use std::process::Command;

/// The version whose rules `deny.toml` is written for.
const CARGO_DENY: &str = "0.20.2";

/// Runs every check.
///
/// # Errors
/// At the first that fails.
pub fn run() -> anyhow::Result<()> {
    setup::components(&["clippy", "rustfmt"])?;
    setup::programs(&[C_COMPILER])?;
    step("format", &mut cargo(&["fmt", "--all", "--check"]))?;
    step(
        "lints",
        &mut cargo(&["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"]),
    )?;
    step(
        "documentation",
        cargo(&["doc", "--workspace", "--no-deps", "--locked", "--quiet"])
            .env("RUSTDOCFLAGS", "-D warnings"),
    )?;
    deny()
}

fn deny() -> anyhow::Result<()> {
    let tools = target_dir().join("tools");
    let program = tools.join("bin/cargo-deny");
    let version = crate::shell::said(&program.to_string_lossy(), &["--version"]);
    if !version.is_some_and(|text| text.contains(CARGO_DENY)) {
        step(
            "install cargo-deny",
            cargo(&["install", "cargo-deny", "--version", CARGO_DENY, "--locked", "--debug"])
                .arg("--root")
                .arg(&tools)
                // A tool that runs for a second needs neither optimisation nor debug information.
                .env("CARGO_PROFILE_DEV_DEBUG", "0")
                .env("CARGO_TARGET_DIR", tools.join("build")),
        )?;
        let _ = std::fs::remove_dir_all(tools.join("build"));
    }
    step(
        "dependencies, their licences and sources",
        Command::new(&program)
            .args(["--workspace", "check", "bans", "licenses", "sources"])
            .current_dir(root()),
    )
}
