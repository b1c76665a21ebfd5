//! `cargo xtask fuzz`: tries what strangers may send, for as long as one wants.

use crate::setup::{self, C_COMPILER};
use crate::shell::{cargo, root, step, target_dir};
use anyhow::{Context, bail};
use std::process::Command;

const CARGO_FUZZ: &str = "0.13.2";
/// Targets that run models, with what that takes.
const WITH_MODELS: ([&str; 2], [&str; 2]) = (["model", "tensor"], ["--features", "models"]);
/// How long a target is tried, unless somebody says so, in seconds.
const SECONDS: &str = "60";

/// Fuzzes the target that the first argument names.
///
/// What is found grows a folder of its own beside the builds; what breaks a promise goes to
/// `tests/hostile/corpus` by hand, together with what mends it, and so do a few small inputs that
/// lead far into the code.
///
/// # Errors
/// There is none of that name, or it broke a promise.
pub fn run(arguments: &[String]) -> anyhow::Result<()> {
    let folder = root().join("fuzz");
    let mut targets: Vec<String> = std::fs::read_dir(folder.join("fuzz_targets"))
        .context("cannot list the targets")?
        .filter_map(|entry| Some(entry.ok()?.path().file_stem()?.to_str()?.to_owned()))
        .collect();
    targets.sort();
    let Some(target) = arguments.first().filter(|target| targets.contains(target)) else {
        bail!("usage: cargo xtask fuzz {} [SECONDS]", targets.join(" | "));
    };
    let seconds = arguments.get(1).map_or(SECONDS, String::as_str);
    setup::programs(&[C_COMPILER, ("c++", "g++")])?;
    setup::nightly()?;
    let program = setup::tool("cargo-fuzz", CARGO_FUZZ)?;
    let fuzzed = target_dir().join("fuzz");
    let seeds = fuzzed.join("seeds");
    // With all others: engines would be built anew for it alone.
    let build = ["build", "--workspace", "--locked", "--bin", "lineside-seeds"];
    step("build", &mut cargo(&build))?;
    let mut begin = Command::new(target_dir().join("debug/lineside-seeds"));
    step("what it begins from", begin.arg(&seeds))?;
    let found = fuzzed.join("found").join(target);
    std::fs::create_dir_all(&found).context("cannot make a folder for what is found")?;
    let mut run = Command::new("rustup");
    run.args(["run", "nightly"]).arg(program).args(["run", target, "--target-dir"]);
    run.arg(fuzzed.join("build"));
    if WITH_MODELS.0.contains(&target.as_str()) {
        run.args(WITH_MODELS.1);
    }
    run.arg(&found).arg(seeds.join(target));
    let kept = root().join("tests/hostile/corpus").join(target);
    if kept.is_dir() {
        run.arg(kept);
    }
    run.args(["--", &format!("-max_total_time={seconds}"), "-timeout=20"]);
    // Cargo has told us which compiler this is for; the fuzzer has its own.
    run.current_dir(folder).env_remove("CARGO").env_remove("RUSTC").env_remove("CARGO_TARGET_DIR");
    step(&format!("fuzz {target} for {seconds} s"), &mut run)
}
