//! What one instance has and says, and the bounds of both.

use super::error::cut;
use wasmtime::ResourceLimiter;

/// Elements of a table of functions.
const TABLE_ELEMENTS_MAX: usize = 1 << 16;
/// Modules that a component may be made of: Python's has some twenty.
const MODULES_MAX: usize = 64;
/// Tables that they may have together.
const TABLES_MAX: usize = 16;

/// Why a plugin gets no more memory.
#[derive(Debug, thiserror::Error)]
#[error("more memory than it may have")]
pub(super) struct OutOfMemory;

/// What an instance has taken so far, and what it has said since somebody has asked.
pub(super) struct Bounds {
    memory_bytes_max: usize,
    /// Most linear memory that it has had.
    pub memory_bytes: usize,
    lines_max: usize,
    lines: Vec<String>,
    lines_dropped: u64,
}

impl Bounds {
    pub(super) fn new(memory_bytes_max: usize, lines_max: usize) -> Bounds {
        Bounds { memory_bytes_max, memory_bytes: 0, lines_max, lines: Vec::new(), lines_dropped: 0 }
    }

    /// Takes what it says.
    pub(super) fn line(&mut self, text: String) {
        match self.lines.len() < self.lines_max {
            true => self.lines.push(cut(text)),
            false => self.lines_dropped = self.lines_dropped.saturating_add(1),
        }
    }

    /// What it has said, and how many lines were dropped.
    pub(super) fn take_lines(&mut self) -> (Vec<String>, u64) {
        (std::mem::take(&mut self.lines), std::mem::take(&mut self.lines_dropped))
    }
}

impl ResourceLimiter for Bounds {
    fn memory_growing(
        &mut self,
        _current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        if desired > self.memory_bytes_max {
            return Err(OutOfMemory.into());
        }
        self.memory_bytes = self.memory_bytes.max(desired);
        Ok(true)
    }

    /// The process has none left, or the memory is at a bound of its own.
    fn memory_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        Err(error.context(OutOfMemory))
    }

    fn table_growing(
        &mut self,
        _current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        match desired <= TABLE_ELEMENTS_MAX {
            true => Ok(true),
            false => Err(OutOfMemory.into()),
        }
    }

    fn instances(&self) -> usize {
        MODULES_MAX
    }

    fn tables(&self) -> usize {
        TABLES_MAX
    }

    fn memories(&self) -> usize {
        1
    }
}
