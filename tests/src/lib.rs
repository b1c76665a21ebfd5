//! What system tests share: the programs as built, the examples, the bundles made of them.

pub mod account;
pub mod child;
pub mod evil;
pub mod examples;
pub mod fleet;
pub mod line;
pub mod onnx;
pub mod plant;

use lineside_bundle::{BuiltBundle, archive};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The folder of the workspace.
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().expect("this package lies in the workspace").to_owned()
}

/// The program `name` as built beside the running test.
///
/// # Panics
/// If it was not built: `cargo xtask test` builds all programs before the tests.
pub fn program(name: &str) -> PathBuf {
    let this = std::env::current_exe().expect("a running program has a file");
    // Tests lie in `<profile>/deps`, programs in `<profile>`.
    let folders = this.ancestors().skip(1).take(2);
    let built = folders.map(|folder| folder.join(name)).find(|path| path.is_file());
    let built = built.unwrap_or_default();
    assert!(built.is_file(), "{name} is missing: run cargo build --workspace first");
    built
}

/// Runs `lineside` in the workspace.
pub fn lineside(arguments: &[&str]) -> Output {
    lineside_in(&root(), arguments)
}

/// Runs `lineside` in `folder`.
///
/// # Panics
/// If it cannot be started.
pub fn lineside_in(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(program("lineside"));
    command.current_dir(folder).args(arguments);
    command.output().expect("the tool was built and can be started")
}

/// What a program wrote to standard error, as text, but for what it said while it was at work.
pub fn complaint(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with("... ")).collect();
    lines.join("\n").trim().to_owned()
}

/// The turbine model with operators that nobody has: `Gemx` where it says `Gemm`, `Tanx` for `Tanh`.
///
/// # Panics
/// If it has no such operators.
pub fn with_unknown_operators(model: &[u8]) -> Vec<u8> {
    let mut model = model.to_vec();
    // In the protobuf of a node field 4, the operator, is a text of four bytes.
    for (known, unknown) in [(b"\x22\x04Gemm", b'x'), (b"\x22\x04Tanh", b'x')] {
        let places: Vec<usize> =
            model.windows(6).enumerate().filter(|(_, at)| at == known).map(|(at, _)| at).collect();
        assert!(!places.is_empty(), "the model has other operators now");
        for at in places {
            model[at + 5] = unknown;
        }
    }
    model
}

/// Builds a bundle of `folder` with changes to its description, into `file`; without the folder's profile where
/// another model is named, for that is not about it.
///
/// # Panics
/// With the tool's words if it refuses.
pub fn build(folder: &Path, changes: &[&str], file: &Path) -> BuiltBundle {
    let (folder, target) = (folder.to_string_lossy(), file.to_string_lossy());
    let mut arguments = vec!["bundle", "build", &*folder, "--output", &*target];
    for change in changes {
        arguments.extend(["--set", change]);
    }
    if changes.iter().any(|change| change.contains(".onnx")) {
        arguments.push("--without-profile");
    }
    let output = lineside(&arguments);
    assert!(output.status.success(), "{}", complaint(&output));
    let bytes = std::fs::read(file).expect("the tool wrote the bundle");
    archive::read(bytes.as_slice()).expect("the tool writes bundles that can be read")
}
