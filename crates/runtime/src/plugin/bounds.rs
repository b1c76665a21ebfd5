//! What an instance may take, and what it has taken.

use wasmtime::{ResourceLimiter, Result, StoreLimits, StoreLimitsBuilder};

/// The bounds of one instance, and the linear memory that it has.
pub(super) struct Bounds {
    limits: StoreLimits,
    memory_bytes: usize,
}

impl Bounds {
    /// One memory of so many bytes, and the modules that make up one component: Python's has some twenty.
    pub(super) fn new(memory_bytes_max: usize) -> Bounds {
        let limits = StoreLimitsBuilder::new()
            .memory_size(memory_bytes_max)
            .table_elements(1 << 16)
            .instances(64)
            .memories(1)
            .tables(16)
            .trap_on_grow_failure(true)
            .build();
        Bounds { limits, memory_bytes: 0 }
    }

    /// Bytes of linear memory: it only grows.
    pub(super) fn memory_bytes(&self) -> usize {
        self.memory_bytes
    }
}

impl ResourceLimiter for Bounds {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> Result<bool> {
        let grows = self.limits.memory_growing(current, desired, maximum)?;
        if grows {
            self.memory_bytes = self.memory_bytes.max(desired);
        }
        Ok(grows)
    }

    fn memory_grow_failed(&mut self, error: wasmtime::Error) -> Result<()> {
        self.limits.memory_grow_failed(error)
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> Result<bool> {
        self.limits.table_growing(current, desired, maximum)
    }

    fn table_grow_failed(&mut self, error: wasmtime::Error) -> Result<()> {
        self.limits.table_grow_failed(error)
    }

    fn instances(&self) -> usize {
        self.limits.instances()
    }

    fn tables(&self) -> usize {
        self.limits.tables()
    }

    fn memories(&self) -> usize {
        self.limits.memories()
    }
}
