//! Runs plugins: WebAssembly components that import nothing but a log, within bounds.

mod bindings;
mod bounds;
mod cache;
mod error;
mod host;
mod instance;
mod ticker;

pub use cache::PluginCache;
pub use error::{NOT_RUN, PluginError, SandboxError};
pub use host::{CompiledPlugin, Sandbox, SandboxLimits};
pub use instance::{Instance, Results};
