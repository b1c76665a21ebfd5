//! `cargo xtask mutants`: changes what is ours in the verifier here and there, and sees that a test
//! notices each time.

use crate::setup::{self, C_COMPILER};
use crate::shell::{root, step, target_dir};
use std::process::Command;

const CARGO_MUTANTS: &str = "27.1.0";
/// What decides whether something is believed: signatures, versions, expiry, who may sign what, that
/// releases and assignment agree, floors; the verdicts on what runs; and who may have what of the server.
const FILES: [&str; 32] = [
    "agent/src/update/acceptance.rs",
    "agent/src/update/acceptance/policy.rs",
    "agent/src/update/acceptance/verified.rs",
    "agent/src/update/acceptance/vouched.rs",
    "agent/src/update/shelf.rs",
    "crates/rules/src/check.rs",
    "crates/rules/src/comparison.rs",
    "crates/rules/src/distribution.rs",
    "crates/rules/src/limits.rs",
    "crates/rules/src/shadow.rs",
    "crates/rules/src/staging.rs",
    "crates/rules/src/verdict.rs",
    "crates/trust/src/agree.rs",
    "crates/trust/src/assignment.rs",
    "crates/trust/src/delegation.rs",
    "crates/trust/src/document.rs",
    "crates/trust/src/freshness.rs",
    "crates/trust/src/key.rs",
    "crates/trust/src/provider.rs",
    "crates/trust/src/receipt.rs",
    "crates/trust/src/releases.rs",
    "crates/trust/src/repository/client.rs",
    "crates/trust/src/repository/link.rs",
    "crates/trust/src/repository/rules.rs",
    "crates/trust/src/role.rs",
    "crates/trust/src/root.rs",
    "crates/trust/src/withdrawn.rs",
    "crates/update/src/moves.rs",
    "fleet-server/src/access/role.rs",
    "fleet-server/src/fleet/opening.rs",
    "fleet-server/src/release/director.rs",
    "fleet-server/src/release/documents.rs",
];
const PACKAGES: [&str; 5] =
    ["lineside-agent", "lineside-rules", "lineside-server", "lineside-trust", "lineside-update"];

/// Tries every mutant. The list of those that no test noticed is printed, and lies with the rest in
/// `mutants.out` beside the builds.
///
/// # Errors
/// If a test fails without any mutant, or a mutant survives.
pub fn run() -> anyhow::Result<()> {
    setup::programs(&[C_COMPILER])?;
    let program = setup::tool("cargo-mutants", CARGO_MUTANTS)?;
    let mut mutants = Command::new(program);
    mutants.arg("mutants").current_dir(root());
    mutants.arg("--output").arg(target_dir());
    mutants.args(PACKAGES.iter().flat_map(|package| ["--package", package]));
    mutants.args(FILES.iter().flat_map(|file| ["--file", file]));
    // A copy of the workspace has builds of its own.
    mutants.env_remove("CARGO_TARGET_DIR");
    step("mutants of the verifier and of verdicts", &mut mutants)
}
