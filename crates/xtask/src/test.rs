//! `cargo xtask test`: unit and system tests on this machine, the examples under emulated ARM.

use crate::setup;
use crate::shell::{cargo, step, target_dir};
use std::path::PathBuf;
use std::process::Command;

/// A machine that is not this one: Rust target, linker, emulator and where its libraries lie.
struct Foreign {
    target: &'static str,
    linker: (&'static str, &'static str),
    emulator: &'static str,
    /// Debian's compiler only recommends the C library that it links with.
    c_library: (&'static str, &'static str),
    libraries: &'static str,
}

const ARM: [Foreign; 2] = [
    Foreign {
        target: "aarch64-unknown-linux-gnu",
        linker: ("aarch64-linux-gnu-gcc", "gcc-aarch64-linux-gnu"),
        emulator: "qemu-aarch64-static",
        c_library: ("/usr/aarch64-linux-gnu/lib/crt1.o", "libc6-dev-arm64-cross"),
        libraries: "/usr/aarch64-linux-gnu",
    },
    Foreign {
        target: "armv7-unknown-linux-gnueabihf",
        linker: ("arm-linux-gnueabihf-gcc", "gcc-arm-linux-gnueabihf"),
        emulator: "qemu-arm-static",
        c_library: ("/usr/arm-linux-gnueabihf/lib/crt1.o", "libc6-dev-armhf-cross"),
        libraries: "/usr/arm-linux-gnueabihf",
    },
];

/// The versions of the examples whose answers are compared with the reference on every machine.
const BUNDLES: [(&str, &str, &[&str]); 4] = [
    ("ecg-v1", "examples/ecg", &[]),
    (
        "ecg-v2",
        "examples/ecg",
        &[
            "version=2",
            "stages.judge.file=models/ecg-v2.onnx",
            "checks.0.expected=checks/thirty-seconds-v2.jsonl",
        ],
    ),
    ("turbine-v1", "examples/turbine", &[]),
    (
        "turbine-v2",
        "examples/turbine",
        &[
            "version=2",
            "stages.judge.file=models/turbine-v2.onnx",
            "stages.alarm.above=4.61235",
            "checks.0.expected=checks/january-v2.jsonl",
        ],
    ),
];

/// Runs every test.
///
/// # Errors
/// At the first step that fails.
pub fn run() -> anyhow::Result<()> {
    setup::targets(&["wasm32-unknown-unknown", ARM[0].target, ARM[1].target])?;
    let mut programs = vec![("skopeo", "skopeo"), ("cc", "gcc")];
    for foreign in &ARM {
        let emulator = (foreign.emulator, "qemu-user-static");
        programs.extend([foreign.linker, foreign.c_library, emulator]);
    }
    setup::programs(&programs)?;

    step("build", &mut cargo(&["build", "--workspace", "--locked"]))?;
    let bundles = bundles()?;
    for foreign in &ARM {
        replay_on(foreign, &bundles)?;
    }
    step("tests", &mut cargo(&["test", "--workspace", "--locked"]))
}

fn bundles() -> anyhow::Result<Vec<PathBuf>> {
    let folder = target_dir().join("bundles");
    std::fs::create_dir_all(&folder)?;
    let mut built = Vec::new();
    for (name, source, changes) in BUNDLES {
        let file = folder.join(format!("{name}.lsb"));
        let lineside = target_dir().join("debug/lineside");
        let mut build = Command::new(lineside);
        build.args(["bundle", "build", source, "--output"]).arg(&file);
        for change in changes {
            build.args(["--set", change]);
        }
        step(
            &format!("bundle {name}"),
            build.current_dir(crate::shell::root()).env("CARGO_TARGET_DIR", target_dir()),
        )?;
        built.push(file);
    }
    Ok(built)
}

/// Cross-builds the small replayer and lets it compare every bundle's answers with the reference.
fn replay_on(foreign: &Foreign, bundles: &[PathBuf]) -> anyhow::Result<()> {
    let linker = format!("CARGO_TARGET_{}_LINKER", foreign.target.replace('-', "_").to_uppercase());
    let arguments =
        ["build", "--package", "lineside-runtime", "--bin", "lineside-replay", "--locked"];
    step(
        &format!("build the replayer for {}", foreign.target),
        cargo(&arguments).args(["--target", foreign.target]).env(linker, foreign.linker.0),
    )?;
    let replay = target_dir().join(foreign.target).join("debug/lineside-replay");
    step(
        &format!("replay the examples on {}", foreign.target),
        Command::new(foreign.emulator).args(["-L", foreign.libraries]).arg(replay).args(bundles),
    )
}
