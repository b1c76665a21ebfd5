//! A Python with python-tuf, the reference implementation of TUF.

#![allow(clippy::unwrap_used)] // A test stops at what does not hold.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What is installed in it.
const WANTED: &[u8] = include_bytes!("../agreement/requirements.txt");

/// A folder for python-tuf and what it writes, apart from those of other versions of the scripts.
pub fn folder() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("tuf");
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

/// The Python, installed at the first time; by one test at a time.
pub fn python() -> PathBuf {
    let lock = fs::File::create(folder().join("python.lock")).unwrap();
    lock.lock().unwrap();
    let environment = folder().join("python");
    let (python, installed) = (environment.join("bin/python"), environment.join("installed.txt"));
    if fs::read(&installed).is_ok_and(|installed| installed == WANTED) {
        return python;
    }
    let venv = "python3 -m venv (Debian: apt-get install python3-venv)";
    run(venv, Command::new("python3").args(["-m", "venv", "--clear"]).arg(&environment));
    let wanted = environment.join("wanted.txt");
    fs::write(&wanted, WANTED).unwrap();
    let mut install = Command::new(&python);
    install.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]);
    run("pip install", install.arg("--requirement").arg(wanted));
    fs::write(&installed, WANTED).unwrap();
    python
}
