//! What the agent says of itself: lines on standard error, for people or for programs, and those that the
//! server has asked for.

mod tap;

pub use tap::Tap;

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

/// The target of lines that quote what a source, a person or a plugin said, or name whose it is: readings may
/// be in them, and they are told to nobody beyond this device.
pub const OF_READINGS: &str = "lineside_agent::of_readings";

/// How the lines of this process are written, and what of them is told to the server.
#[derive(Clone)]
pub struct Log {
    /// How they are written.
    pub format: Format,
    /// What is told.
    pub tap: Tap,
}

/// Has the lines of this process written, those that `LINESIDE_LOG` names. Once a process.
pub fn install(format: Format) -> Log {
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
    let tap = Tap::default();
    let told = tap.clone().with_filter(tap.clone());
    tracing_subscriber::registry().with(lines).with(told).init();
    hook(format);
    Log { format, tap }
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
