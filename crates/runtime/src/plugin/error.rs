//! Why there is no plugin to run, and why a call gave no answer.

use super::bounds::OutOfMemory;
use std::time::Duration;
use wasmtime::Trap;

/// Characters of what a plugin says that are passed on.
const WORDS_MAX: usize = 500;
/// What of WebAssembly no sandbox has, as wasmtime names it, and what to do without it.
pub const NOT_RUN: [(&str, &str); 2] = [
    (
        "relaxed SIMD",
        "its answers differ from processor to processor: build without -C target-feature=+relaxed-simd",
    ),
    (
        "threads",
        "a plugin is one thread, so that its answers are the same each time: build without shared memory \
         and +atomics",
    ),
];
/// How wasmtime says, behind its name, that something is not there.
const IS_MISSING: [&str; 2] = ["support is not enabled", "must be enabled"];
/// How wasmtime begins to say that an answer takes more of this process than it may.
const TOO_MUCH: &str = "too much data";

/// Why there is no plugin to run.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// The sandbox itself cannot be set up on this machine.
    #[error("cannot set up the plugin sandbox: {0}")]
    Setup(String),
    /// Not a component, or one that asks for something from outside.
    #[error("it is no plugin: {0}")]
    Component(String),
    /// It refused its settings.
    #[error("it refuses its settings: {0}")]
    Configure(String),
    /// It takes or gives what cannot be passed on.
    #[error("it has ports that cannot be: {0}")]
    Ports(String),
    /// It did not survive being configured.
    #[error("it failed while being configured")]
    Start(#[source] PluginError),
}

impl SandboxError {
    /// Why a component cannot be compiled, or not be linked.
    pub(super) fn of(error: &wasmtime::Error) -> SandboxError {
        let words = format!("{error:#}");
        let is_about = |name: &str| {
            IS_MISSING.iter().any(|missing| words.contains(&format!("{name} {missing}")))
        };
        SandboxError::Component(match NOT_RUN.iter().find(|(name, _)| is_about(name)) {
            Some((name, cure)) => format!("it uses {name}: {cure}"),
            None => cut(words),
        })
    }
}

/// Why a call gave no answer. After all of these but [`PluginError::Refused`] the instance is to be
/// given up: nobody knows what its memory holds.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PluginError {
    /// The plugin says why.
    #[error("the plugin refuses: {0}")]
    Refused(String),
    /// It took too long.
    #[error("the plugin took longer than {} ms", .0.as_millis())]
    Time(Duration),
    /// It wanted more linear memory than it may have, in bytes.
    #[error("the plugin wanted more than the {} KiB of memory that it may have", .0 >> 10)]
    Memory(usize),
    /// It broke: unreachable code, a stack too deep.
    #[error("the plugin trapped: {0}")]
    Trap(String),
    /// Its answer is larger than it may be, in bytes of its tensors.
    #[error("the plugin's answer is more than the {} KiB that it may be", .0 >> 10)]
    Output(usize),
    /// Its answer is not what it had declared, or too many results.
    #[error("the plugin's answer cannot be used: {0}")]
    Answer(String),
}

/// What bounds a call had when it ended without an answer.
pub(super) struct Bound {
    pub time: Duration,
    pub memory_bytes: usize,
    pub output_bytes: usize,
}

impl Bound {
    /// Which of them the error is about, if it is about any.
    pub(super) fn broken(&self, error: &wasmtime::Error) -> PluginError {
        if error.is::<OutOfMemory>() {
            return PluginError::Memory(self.memory_bytes);
        }
        if matches!(error.downcast_ref::<Trap>(), Some(Trap::Interrupt)) {
            return PluginError::Time(self.time);
        }
        match error.root_cause().to_string() {
            // Its type is nobody's but wasmtime's.
            words if words.starts_with(TOO_MUCH) => PluginError::Output(self.output_bytes),
            words => PluginError::Trap(cut(words)),
        }
    }
}

/// What a plugin says, short enough to be told.
pub(super) fn cut(text: String) -> String {
    match text.char_indices().nth(WORDS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
