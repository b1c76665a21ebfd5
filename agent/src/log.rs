//! What the agent says of itself: lines on standard error, for people or for programs.

use clap::ValueEnum;
use serde_json::json;
use std::io::IsTerminal;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt};

/// How lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Text,
    /// For programs: one JSON object a line, whatever else it says `timestamp` (RFC 3339, UTC), `level`,
    /// `target` and `message`.
    Json,
}

/// Has the lines of this process written, those that `LINESIDE_LOG` names. Once a process.
pub fn install(format: Format) {
    let filter = EnvFilter::try_from_env("LINESIDE_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let lines: Box<dyn Layer<Registry> + Send + Sync> = match format {
        Format::Text => fmt::layer()
            .with_writer(std::io::stderr)
            .with_ansi(std::io::stderr().is_terminal())
            .with_target(false)
            .with_filter(filter)
            .boxed(),
        Format::Json => fmt::layer()
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_span_list(false)
            .with_writer(std::io::stderr)
            .with_filter(filter)
            .boxed(),
    };
    tracing_subscriber::registry().with(lines).init();
    hook(format);
}

/// Has the panics of this process written like its lines: a program that reads these stops at what is none.
pub fn hook(format: Format) {
    if format == Format::Json {
        std::panic::set_hook(Box::new(|panic| eprintln!("{}", line(&panic.to_string()))));
    }
}

/// An error that ends the program, as one line of JSON like the others.
pub fn line(message: &str) -> String {
    let timestamp = OffsetDateTime::now_utc().format(&Rfc3339).unwrap_or_default();
    let target = env!("CARGO_CRATE_NAME");
    json!({ "timestamp": timestamp, "level": "ERROR", "message": message, "target": target })
        .to_string()
}
