//! What a command tells: text for people, or one JSON document for programs.

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use std::fmt::Display;
use std::io::{IsTerminal, Write, stderr, stdout};
use std::time::Duration;

/// Whom a command talks to.
pub struct Output {
    /// One JSON document on standard output instead of text.
    pub json: bool,
}

/// A command line that makes no sense, in a way that only the command itself can tell. Exit code 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Usage(pub String);

impl Output {
    /// Prints the result of a command.
    ///
    /// # Errors
    /// If standard output is closed.
    pub fn print(&self, human: impl Display, json: &impl Serialize) -> anyhow::Result<()> {
        let mut out = stdout().lock();
        if self.json {
            serde_json::to_writer_pretty(&mut out, json)?;
            writeln!(out)?;
        } else {
            writeln!(out, "{human}")?;
        }
        Ok(())
    }

    /// Prints an error with its causes: on standard error, and as JSON on standard output if asked.
    pub fn fail(&self, error: &anyhow::Error) {
        if self.json {
            let _ = writeln!(stdout(), "{}", serde_json::json!({ "error": format!("{error:#}") }));
        }
        let _ = writeln!(stderr(), "lineside: {error:#}");
    }

    /// Shows that something goes on; silent where nobody watches. Gone when the result is dropped.
    pub fn working(&self, what: String) -> Working {
        if self.json || !stderr().is_terminal() {
            return Working(ProgressBar::hidden());
        }
        let bar = ProgressBar::new_spinner();
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} ({elapsed})") {
            bar.set_style(style);
        }
        bar.set_message(what);
        bar.enable_steady_tick(Duration::from_millis(120));
        Working(bar)
    }
}

/// A sign that something goes on.
pub struct Working(ProgressBar);

impl Working {
    /// Says what goes on now.
    pub fn tell(&self, what: String) {
        self.0.set_message(what);
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
