//! The table `[onnxruntime]`: the shared library of an engine that is not part of the agent.

use super::{Wrong, wrong};
use lineside_runtime::SharedLibrary;
use serde::Deserialize;
use std::path::{Path, PathBuf};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OnnxruntimeFile {
    library: PathBuf,
    sha256: Option<String>,
}

impl OnnxruntimeFile {
    /// Checks what was written; the path is relative to `folder`. Whether the library is there, and
    /// what it is, is found out by who loads it: the agent itself never does.
    pub(super) fn check(self, folder: &Path) -> Result<SharedLibrary, Wrong> {
        let digest = self.sha256.map(|hex| format!("sha256:{hex}").parse()).transpose();
        match digest {
            Ok(digest) => Ok(SharedLibrary { path: folder.join(self.library), digest }),
            Err(_) => {
                wrong("onnxruntime.sha256", "64 lower-case hex digits, as sha256sum prints them")
            }
        }
    }
}
