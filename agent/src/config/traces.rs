//! The table `[traces]`.

use super::{Wrong, wrong};
use lineside_trace::Tracer;
use serde::Deserialize;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TracesFile {
    endpoint: String,
}

impl TracesFile {
    /// Checks what was written.
    pub(super) fn check(self) -> Result<Tracer, Wrong> {
        let [name, version] =
            [env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION")].map(str::to_owned);
        let resource = vec![("service.name", name), ("service.version", version)];
        let tracer = Tracer::to(&self.endpoint, resource);
        tracer.or_else(|problem| wrong("traces.endpoint", problem.to_string()))
    }
}
