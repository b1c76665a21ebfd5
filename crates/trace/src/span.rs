//! Something that takes a while.

use crate::context::Context;
use crate::exporter::Shared;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// Attributes of a span; those beyond are left out.
const ATTRIBUTES_MAX: usize = 32;
/// Longest text of an attribute, in characters.
const TEXT_CHARS_MAX: usize = 256;

/// Whose side of it a span tells, by its number in OTLP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It stays within the program.
    Internal = 1,
    /// Somebody asked for it and waits.
    Server = 2,
    /// Somebody sent it and does not wait.
    Consumer = 5,
}

/// What is said of a span.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// A text; what is beyond 256 characters is left out.
    Text(String),
    /// A number.
    Integer(i64),
}

impl From<&str> for Value {
    fn from(text: &str) -> Value {
        Value::Text(text.chars().take(TEXT_CHARS_MAX).collect())
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Value {
        Value::Integer(number)
    }
}

/// A span that has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ended {
    pub context: Context,
    pub parent: Option<[u8; 8]>,
    pub name: String,
    pub kind: Kind,
    /// Nanoseconds since 1970, by the clock of the machine.
    pub start_unix_ns: u64,
    pub end_unix_ns: u64,
    pub attributes: Vec<(&'static str, Value)>,
    /// Why it failed, if it did.
    pub failed: Option<String>,
}

/// A span that is under way; it ends when it is dropped. Of a tracer that is off it is nothing.
#[derive(Debug)]
pub struct Span {
    open: Option<(Ended, Arc<Shared>)>,
}

impl Span {
    /// Nothing.
    pub fn off() -> Span {
        Span { open: None }
    }

    pub(crate) fn new(
        shared: &Arc<Shared>,
        context: Context,
        parent: Option<Context>,
        name: &str,
        kind: Kind,
    ) -> Span {
        let now = now_unix_ns();
        let ended = Ended {
            context,
            parent: parent.map(|parent| parent.span),
            name: name.to_owned(),
            kind,
            start_unix_ns: now,
            end_unix_ns: now,
            attributes: Vec::new(),
            failed: None,
        };
        Span { open: Some((ended, shared.clone())) }
    }

    /// Says something of it.
    pub fn set(&mut self, name: &'static str, value: impl Into<Value>) {
        if let Some((span, _)) = &mut self.open
            && span.attributes.len() < ATTRIBUTES_MAX
        {
            span.attributes.push((name, value.into()));
        }
    }

    /// Gives it another name.
    pub fn rename(&mut self, name: &str) {
        if let Some((span, _)) = &mut self.open {
            name.clone_into(&mut span.name);
        }
    }

    /// Says that it failed, and why.
    pub fn fail(&mut self, why: &str) {
        if let Some((span, _)) = &mut self.open {
            span.failed = Some(why.chars().take(TEXT_CHARS_MAX).collect());
        }
    }

    /// For spans within it; none where nothing is traced.
    pub fn context(&self) -> Option<Context> {
        self.open.as_ref().map(|(span, _)| span.context)
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        if let Some((mut span, shared)) = self.open.take() {
            // A clock that was set back makes no span that ends before it begins.
            span.end_unix_ns = now_unix_ns().max(span.start_unix_ns);
            shared.take(span);
        }
    }
}

fn now_unix_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
