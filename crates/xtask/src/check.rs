//! `cargo xtask check`: what can be said of the code without running it.

use crate::foreign::{self, ARM};
use crate::setup::{self, C_COMPILER, TOKENS};
use crate::shell::{cargo, root, step};
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
    foreign::compilers()?;
    step("format", &mut cargo(&["fmt", "--all", "--check"]))?;
    step(
        "lints",
        &mut cargo(&["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"]),
    )?;
    step(
        "lints of keys in tokens",
        cargo(&["clippy", "--workspace", "--all-targets", "--locked"]).args([
            "--features",
            TOKENS,
            "--",
            "-D",
            "warnings",
        ]),
    )?;
    step(
        "documentation",
        cargo(&["doc", "--workspace", "--no-deps", "--locked", "--quiet"])
            .env("RUSTDOCFLAGS", "-D warnings"),
    )?;
    // Not linked: that costs minutes, and the tests link what of it runs models.
    for foreign in &ARM {
        step(
            &format!("the agent for {}", foreign.target),
            cargo(&["check", "--package", "lineside-agent", "--locked"])
                .args(["--target", foreign.target]),
        )?;
    }
    deny()
}

fn deny() -> anyhow::Result<()> {
    let program = setup::tool("cargo-deny", CARGO_DENY)?;
    step(
        "dependencies, their licences and sources",
        Command::new(&program)
            .args(["--workspace", "check", "bans", "licenses", "sources"])
            .current_dir(root()),
    )
}
