//! What the server says of itself: lines on standard error, for people or for programs.

use clap::ValueEnum;
use serde_json::json;
use std::io::IsTerminal;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tracing_subscriber::{EnvFilter, fmt};

/// How lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Text,
    /// For programs: one JSON object a line, whatever else it says `timestamp` (RFC 3339, UTC), `level`,
    /// `target` and `message`.
    Json,
}

/// Has the lines of this process written, those that `RUST_LOG` names. Once a process.
pub fn install(format: Format) {
    let filter =
        EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info,sqlx=warn"));
    // Standard output is for the two addresses, so that a script can read them.
    let lines = fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        Format::Text => lines.with_ansi(std::io::stderr().is_terminal()).init(),
        Format::Json => {
            let lines = lines.json().flatten_event(true);
            lines.with_current_span(false).with_span_list(false).init();
            // A program that reads these lines stops at what is none.
            std::panic::set_hook(Box::new(|panic| eprintln!("{}", line(&panic.to_string()))));
        }
    }
}

/// An error that ends the program, as one line of JSON like the others.
pub fn line(message: &str) -> String {
    let timestamp = OffsetDateTime::now_utc().format(&Rfc3339).unwrap_or_default();
    let target = env!("CARGO_CRATE_NAME");
    json!({ "timestamp": timestamp, "level": "ERROR", "message": message, "target": target })
        .to_string()
}
