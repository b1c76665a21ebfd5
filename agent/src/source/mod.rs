//! `SensorMessage -> Reading`: where readings come from. Each slot reads its sources on its own.

pub mod file;
pub mod joined;
pub mod json;
pub mod mqtt;
pub mod outcomes;
pub mod turns;

use crate::config::SourceKind;
use lineside_bundle::{BundleFile, Cut, Digest, Port};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// The ports of the release on the route.
#[derive(Debug, Clone, PartialEq)]
pub struct Ports {
    /// By name.
    pub ports: BTreeMap<String, Arc<Port>>,
    /// How long frames wait for a port that is silent.
    pub wait: Duration,
}

impl Ports {
    /// Those of a bundle.
    pub fn of(bundle: &BundleFile) -> Ports {
        let port = |(name, port): (&String, &Port)| (name.clone(), Arc::new(port.clone()));
        let wait = match bundle.cut() {
            Cut::Count { .. } => Duration::ZERO,
            Cut::Time(cut) => Duration::from_nanos(cut.wait_ns),
        };
        Ports { ports: bundle.inputs.iter().map(port).collect(), wait }
    }
}

/// One row: values of a port that have no number yet.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// The stream; empty where the port has no key.
    pub key: String,
    /// Nanoseconds since 1970-01-01 UTC.
    pub time_unix_ns: i64,
    /// The port's fields, in order.
    pub values: Vec<f64>,
}

/// What tells a source from another one, so that nobody goes on in it at a place of another. A file
/// is known by its path: one whose content is exchanged goes on at the row where it was.
pub fn marks(kind: &SourceKind) -> Vec<String> {
    let mark = |text: &[u8]| Digest::of(text).short();
    match kind {
        SourceKind::File { paths, .. } => {
            paths.iter().map(|path| mark(path.as_os_str().as_encoded_bytes())).collect()
        }
        SourceKind::Mqtt(end) => vec![end.mark()],
    }
}

/// How far the source has come with an arrival.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Rows of a file.
    File {
        /// The file, from 0.
        file: u32,
        /// Rows of it taken, this arrival's included.
        row: u64,
        /// Rows of all files before it.
        rows_before: u64,
    },
    /// A packet of a broker.
    Packet {
        /// Its identifier.
        identifier: u16,
        /// Digest of its payload.
        digest: u64,
    },
    /// The recording ends here.
    End,
}

/// What a source hands to its slot.
#[derive(Debug, Clone)]
pub struct Arrival {
    /// The port that the rows were read for.
    pub port: Arc<Port>,
    /// Its name, where the slot has a source for each port.
    pub feed: Option<Arc<str>>,
    /// The rows, in order.
    pub rows: Vec<Row>,
    /// What was no row, by reason.
    pub dropped: Vec<(&'static str, u64)>,
    /// How far the source has come.
    pub step: Option<Step>,
    /// What the source wants to hear once the rows are committed.
    pub receipt: Option<u64>,
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A port as a bundle's author writes it.
    pub(crate) fn port(text: &str) -> Arc<Port> {
        let text = format!(
            "format = 1\nname = 'x'\nversion = '1'\noutputs.y.from = 'w'\n\
             stages.w = {{ kind = 'window', input = 'p', rows = 1, stride = 1 }}\n[inputs.p]\n{text}"
        );
        Arc::new(lineside_bundle::BundleFile::parse(&text).unwrap().port().1.clone())
    }
}
