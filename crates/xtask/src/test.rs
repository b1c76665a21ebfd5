//! `cargo xtask test`: unit and system tests on this machine, the examples under emulated ARM.

use crate::setup;
use crate::shell::{cargo, root, step, target_dir};
use anyhow::Context;
use serde::Deserialize;
use std::collections::BTreeMap;
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

/// A version of an example, as far as it is of use here.
#[derive(Deserialize)]
struct Version {
    version: String,
    #[serde(default)]
    faulty: bool,
    #[serde(default)]
    set: Vec<String>,
}

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

/// Builds the versions of the examples whose answers are compared with the reference on every
/// machine: all that `examples/versions.toml` lists but the faulty ones.
fn bundles() -> anyhow::Result<Vec<PathBuf>> {
    let folder = target_dir().join("bundles");
    std::fs::create_dir_all(&folder)?;
    let list = root().join("examples/versions.toml");
    let versions: BTreeMap<String, Vec<Version>> =
        toml::from_str(&std::fs::read_to_string(&list)?).context("examples/versions.toml")?;
    let mut built = Vec::new();
    for (example, versions) in &versions {
        for version in versions.iter().filter(|version| !version.faulty) {
            let name = format!("{example} v{}", version.version);
            let file = folder.join(format!("{example}-v{}.lsb", version.version));
            let mut build = Command::new(target_dir().join("debug/lineside"));
            build.args(["bundle", "build", &format!("examples/{example}"), "--output"]).arg(&file);
            build.args(["--set", &format!("version={}", version.version)]);
            for change in &version.set {
                build.args(["--set", change]);
            }
            build.current_dir(root()).env("CARGO_TARGET_DIR", target_dir());
            step(&format!("bundle {name}"), &mut build)?;
            built.push(file);
        }
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
