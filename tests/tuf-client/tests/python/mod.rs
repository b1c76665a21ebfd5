//! Pythons with programs that are not ours.

#![allow(clippy::unwrap_used)] // A test stops at what does not hold.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A folder for such a Python and what it writes.
pub fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::create_dir_all(&folder).unwrap();
    folder
}

/// Runs a command that has to succeed, and gives what it wrote.
pub fn run(what: &str, command: &mut Command) -> Vec<u8> {
    let output = command.output().unwrap_or_else(|error| panic!("{what}: {error}"));
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{what}: {text}");
    output.stdout
}

/// The Python with these requirements in the folder of that name, installed at the first time; by one
/// test at a time.
pub fn python(name: &str, wanted: &[u8]) -> PathBuf {
    let lock = fs::File::create(folder(name).join("python.lock")).unwrap();
    lock.lock().unwrap();
    let environment = folder(name).join("python");
    let (python, installed) = (environment.join("bin/python"), environment.join("installed.txt"));
    if fs::read(&installed).is_ok_and(|installed| installed == wanted) {
        return python;
    }
    let venv = "python3 -m venv (Debian: apt-get install python3-venv)";
    run(venv, Command::new("python3").args(["-m", "venv", "--clear"]).arg(&environment));
    let requirements = environment.join("wanted.txt");
    fs::write(&requirements, wanted).unwrap();
    let mut install = Command::new(&python);
    install.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]);
    run("pip install", install.arg("--requirement").arg(requirements));
    fs::write(&installed, wanted).unwrap();
    python
}
