//! What takes how long, as OpenTelemetry tells it: spans, handed to a collector on this machine by OTLP over HTTP
//! (protocol buffers in JSON, OTLP 1.x, `/v1/traces`). It is off unless somebody names a collector, and then
//! costs nothing.
//!
//! Spans are told after they have ended, some at a time, from a thread of their own. Where the collector is away they
//! wait, [`WAITING_MAX`] at most; what comes beyond that is dropped and counted. Whoever traces never waits.

mod context;
mod exporter;
mod otlp;
mod span;

pub use context::Context;
pub use exporter::{NoCollector, Tracer, WAITING_MAX};
pub use span::{Kind, Span, Value};
