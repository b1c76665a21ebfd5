//! `cargo xtask test`: unit and system tests on this machine, the examples under emulated ARM.

use crate::foreign::{self, ARM, Foreign};
use crate::setup::{self, C_COMPILER, TOKENS, WASM};
use crate::shell::{cargo, step, target_dir};
use crate::test_programs;
use std::path::{Path, PathBuf};

/// Runs every test.
///
/// # Errors
/// At the first step that fails.
pub fn run() -> anyhow::Result<()> {
    setup::targets(&[WASM])?;
    let for_tokens = [("softhsm2-util", "softhsm2"), ("pkcs11-tool", "opensc")];
    let for_plugins = [("node", "nodejs"), ("npm", "npm")];
    let others = [("skopeo", "skopeo"), C_COMPILER];
    setup::programs(&[others, for_tokens, for_plugins].concat())?;
    foreign::compilers()?;
    foreign::emulators()?;
    setup::python()?;

    step("build", &mut cargo(&["build", "--workspace", "--locked"]))?;
    let mut replayers = Vec::new();
    for foreign in &ARM {
        replayers.push((foreign, replayer_for(foreign)?));
        sketches_on(foreign)?;
    }
    test_programs::run_all()?;
    zoo()?;
    tokens()?;
    for (foreign, replayer) in &replayers {
        replay_on(foreign, replayer)?;
    }
    Ok(())
}

/// The wider, partly GPL set of models, where it lies beside the workspace: each gives right answers in
/// some engine, or is refused with the operator and the cure.
fn zoo() -> anyhow::Result<()> {
    let folder = setup::zoo();
    if !folder.is_dir() {
        println!("==> {} is not there: its models are not tried", folder.display());
        return Ok(());
    }
    let tests = ["--test", "zoo", "--test", "desk"];
    let test = [&["test", "--workspace", "--locked"], &tests[..], &["--", "--ignored"]].concat();
    step("models of the zoo", cargo(&test).env("LINESIDE_ZOO", folder))
}

/// Keys in tokens: the tool is built once more, with what the default build leaves out.
fn tokens() -> anyhow::Result<()> {
    let with = ["--workspace", "--locked", "--features", TOKENS];
    let build = [&["build"], with.as_slice(), &["--bin", "lineside"]].concat();
    step("build the tool with PKCS#11", &mut cargo(&build))?;
    let test = [&["test"], with.as_slice(), &["--bin", "lineside", "--test", "token"]].concat();
    step("tests of keys in tokens", &mut cargo(&test))
}

/// Cross-builds the small program that replays a bundle.
fn replayer_for(foreign: &Foreign) -> anyhow::Result<PathBuf> {
    let linker = format!("CARGO_TARGET_{}_LINKER", foreign.target.replace('-', "_").to_uppercase());
    let arguments =
        ["build", "--package", "lineside-runtime", "--bin", "lineside-replay", "--locked"];
    step(
        &format!("build the replayer for {}", foreign.target),
        cargo(&arguments).args(["--target", foreign.target]).env(linker, foreign.linker.0),
    )?;
    Ok(target_dir().join(foreign.target).join("debug/lineside-replay"))
}

/// Compares the bytes and figures of sketches with those of this machine, emulated.
fn sketches_on(foreign: &Foreign) -> anyhow::Result<()> {
    let setting = |what: &str| {
        format!("CARGO_TARGET_{}_{what}", foreign.target.replace('-', "_").to_uppercase())
    };
    let arguments = ["test", "--package", "lineside-sketch", "--locked", "--test", "goldens"];
    let emulator = [foreign.emulator, "-L", foreign.libraries].join(" ");
    step(
        &format!("the bytes of sketches on {}", foreign.target),
        cargo(&arguments)
            .args(["--target", foreign.target])
            .env(setting("LINKER"), foreign.linker.0)
            .env(setting("RUNNER"), emulator),
    )
}

/// Lets the replayer compare every answer to the examples' recordings with the reference, emulated.
fn replay_on(foreign: &Foreign, replayer: &Path) -> anyhow::Result<()> {
    let replayer = replayer.display().to_string();
    let words = [foreign.emulator, "-L", foreign.libraries, &replayer];
    let arguments = ["test", "--workspace", "--locked", "--test", "predictions", "--"];
    // The tests that compare answers; the others are about the replayer itself.
    let filter = ["reference_runtime", "every_bit", "--show-output"];
    step(
        &format!("the examples' answers on {}", foreign.target),
        cargo(&arguments).args(filter).env("LINESIDE_REPLAYER", words.join("\n")),
    )
}
