//! What is written beside that which is kept because a rule has fired.

use lineside_bundle::Digest;
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

/// The file beside the segments.
const NAME: &str = "firing.json";
/// Longest that it is read.
const BYTES_MAX: u64 = 64 << 10;

/// A firing because of which what comes in is to be kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keep {
    /// The rule.
    pub rule: String,
    /// The release that it was judged of, as in `turbine/2`.
    pub release: String,
    /// Its digest.
    pub digest: Digest,
    /// When it has fired: the end of the interval that fired it, by the readings' own time, milliseconds since
    /// 1970.
    pub fired_unix_ms: i64,
    /// What it looks at, and where that should lie.
    pub why: String,
    /// Minutes of running for which what comes in is kept.
    pub minutes: u32,
    /// Fields of which no value is kept.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub redact: Vec<String>,
}

impl Keep {
    /// Whether both are one firing.
    pub fn is_same(&self, other: &Keep) -> bool {
        let id = |keep: &Keep| (keep.fired_unix_ms, keep.digest);
        id(self) == id(other) && self.rule == other.rule
    }
}

/// The file `firing.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Note {
    /// The firing.
    #[serde(flatten)]
    pub keep: Keep,
    /// When the device began to keep, by its clock, as RFC 3339 writes it.
    pub begun_at: String,
    /// Seconds of running for which it goes on.
    pub left_seconds: u64,
    /// When it has ended, by the device's clock; none while it goes on.
    pub until: Option<String>,
}

impl Note {
    /// What stands in `folder`; none where that cannot be read as one.
    pub(super) fn read(folder: &Path) -> io::Result<Option<Note>> {
        let path = folder.join(NAME);
        match fs::metadata(&path) {
            Ok(metadata) if metadata.len() <= BYTES_MAX => {}
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => return Ok(None),
        }
        Ok(serde_json::from_slice(&fs::read(&path)?).ok())
    }

    /// Has it stand in `folder` with so much time left, all of it or as before.
    pub(super) fn write(&mut self, folder: &Path, left: Duration) -> io::Result<()> {
        self.left_seconds = left.as_secs() + u64::from(left.subsec_nanos() > 0);
        let part = folder.join(format!("{NAME}.part"));
        // On the medium first: without this file all that lies beside it goes.
        let mut file = File::create(&part)?;
        file.write_all(&serde_json::to_vec_pretty(self)?)?;
        file.sync_all()?;
        fs::rename(&part, folder.join(NAME))
    }
}
