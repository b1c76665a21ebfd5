//! Runs plugins: WebAssembly components that import nothing, within bounds.

mod bounds;
mod cache;
mod host;
mod ticker;

pub use cache::PluginCache;
pub use host::{CompiledPlugin, Instance, PluginError, Sandbox, SandboxError, SandboxLimits};
