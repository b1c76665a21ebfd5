//! The engines of the desk.

use lineside_runtime::{Engines, LoadOptions, Onnxruntime, SharedLibrary};

/// Names the shared library of an engine that is not part of the tool.
const LIBRARY: &str = "LINESIDE_ONNXRUNTIME";

/// How bundles are loaded here: into any engine that this machine has.
pub fn options() -> LoadOptions {
    let path = std::env::var_os(LIBRARY).filter(|path| !path.is_empty());
    let library = path.map(|path| SharedLibrary { path: path.into(), digest: None });
    let onnxruntime = library.map_or(Onnxruntime::Absent, Onnxruntime::At);
    let engines = Engines { onnxruntime, ..Engines::default() };
    LoadOptions { engines, ..LoadOptions::default() }
}
