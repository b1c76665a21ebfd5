//! The shared library of onnxruntime, out of its Python package.

#[path = "../../tuf-client/tests/python/mod.rs"]
pub mod python;

use lineside_runtime::SharedLibrary;
use std::path::PathBuf;
use std::process::Command;

/// The package, without those that it needs for itself.
const WANTED: &[u8] = include_bytes!("wanted.txt");
/// Prints where it was installed.
const FIND: &str = "import glob, sysconfig; \
    print(*glob.glob(sysconfig.get_path('platlib') + '/onnxruntime/capi/libonnxruntime.so.*'))";

/// The library, installed at the first time.
///
/// # Panics
/// If it cannot be installed, with what pip says.
pub fn library() -> SharedLibrary {
    let python = python::python("onnxruntime", WANTED);
    let said = python::run("the package's folder", Command::new(python).args(["-c", FIND]));
    let path = PathBuf::from(String::from_utf8(said).unwrap().trim());
    assert!(path.is_file(), "the package onnxruntime brings no library: {}", path.display());
    SharedLibrary { path, digest: None }
}
