//! The sandbox: memory, time, output and words of a plugin are bounded, and it can reach nothing.

use super::bindings::lineside::plugin::log;
use super::bindings::{Plugin, PluginPre};
use super::bounds::Bounds;
use super::cache::PluginCache;
use super::error::{Bound, SandboxError};
use super::instance::{Instance, refuel};
use super::ticker::{self, ticks};
use lineside_bundle::{Digest, Limits};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;
use wasmtime::component::{Component, HasSelf, Linker};
use wasmtime::{Config, Engine, OptLevel, Store};

/// Address space kept free for a plugin's memory to grow into without moving.
const RESERVATION_BYTES: u64 = 1 << 20;
/// What plugins are compiled for where they are interpreted.
const INTERPRETER: &str = if cfg!(target_pointer_width = "64") { "pulley64" } else { "pulley32" };
/// Native stack that a plugin may use.
const STACK_BYTES: usize = 512 << 10;
/// Bytes of this process that an answer may take beside its tensors before it is looked at: names, shapes
/// and lists of up to 1,024 results. A plugin can name the same few bytes of its own memory many times over.
const AROUND_ANSWER_BYTES_MAX: usize = 16 << 20;

/// Bounds of one plugin instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SandboxLimits {
    /// Linear memory in bytes.
    pub memory_bytes: usize,
    /// Longest that one call may take.
    pub call: Duration,
    /// Bytes that the tensors which one call gives may have together.
    pub output_bytes: usize,
    /// Lines that it may say in one call; others are dropped and counted.
    pub lines: usize,
}

impl SandboxLimits {
    /// With these of memory and time; of what it gives and says, as much as a bundle allows unless it says
    /// otherwise.
    pub fn new(memory_bytes: usize, call: Duration) -> SandboxLimits {
        SandboxLimits { memory_bytes, call, ..SandboxLimits::of(&Limits::default()) }
    }

    /// As a bundle has them.
    pub fn of(limits: &Limits) -> SandboxLimits {
        SandboxLimits {
            memory_bytes: (limits.plugin_memory_mib as usize) << 20,
            call: limits.frame(),
            output_bytes: (limits.plugin_output_mib as usize) << 20,
            lines: limits.plugin_lines_per_call as usize,
        }
    }
}

/// Compiles and starts plugins.
#[derive(Clone)]
pub struct Sandbox {
    engine: Engine,
    linker: Linker<Bounds>,
    compiler: String,
    cache: Option<PluginCache>,
    metering: Metering,
}

/// Whether a sandbox counts the instructions that plugins run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Metering {
    None,
    Fuel,
}

impl Sandbox {
    /// The sandbox for this machine's processor.
    ///
    /// # Errors
    /// [`SandboxError::Setup`].
    pub fn native(cache: Option<PluginCache>) -> Result<Sandbox, SandboxError> {
        Sandbox::of(None, cache, Metering::None)
    }

    /// A sandbox that interprets: what machines without a compiler back end use. Same answers, slower.
    ///
    /// # Errors
    /// [`SandboxError::Setup`].
    pub fn interpreting(cache: Option<PluginCache>) -> Result<Sandbox, SandboxError> {
        Sandbox::of(Some(INTERPRETER), cache, Metering::None)
    }

    /// A sandbox that interprets and counts: what a call costs, by a measure that is the same on every
    /// machine ([`Instance::fuel`]). Much slower than the others, and never a device's.
    ///
    /// # Errors
    /// [`SandboxError::Setup`].
    pub fn metered() -> Result<Sandbox, SandboxError> {
        Sandbox::of(Some(INTERPRETER), None, Metering::Fuel)
    }

    fn of(
        target: Option<&str>,
        cache: Option<PluginCache>,
        metering: Metering,
    ) -> Result<Sandbox, SandboxError> {
        let setup = |error: wasmtime::Error| SandboxError::Setup(format!("{error:#}"));
        let mut config = Config::new();
        config
            .epoch_interruption(true)
            .max_wasm_stack(STACK_BYTES)
            .memory_reservation(RESERVATION_BYTES)
            .memory_reservation_for_growth(RESERVATION_BYTES)
            .memory_guard_size(64 << 10)
            // The same bits on every processor: one NaN, and no instruction whose answer may differ.
            .cranelift_nan_canonicalization(true)
            .wasm_relaxed_simd(false);
        if metering == Metering::Fuel {
            // Fuel is counted in instructions of WebAssembly, whatever becomes of them.
            config.consume_fuel(true).cranelift_opt_level(OptLevel::None);
        }
        if let Some(target) = target {
            config.target(target).map_err(setup)?;
        }
        let engine = Engine::new(&config).map_err(setup)?;
        let mut linker = Linker::new(&engine);
        Plugin::add_to_linker::<_, HasSelf<_>>(&mut linker, |bounds| bounds).map_err(setup)?;
        ticker::register(&engine)
            .map_err(|error| SandboxError::Setup(format!("no thread for its clock: {error}")))?;
        // Version, processor features and every setting that changes the code.
        let mut compiler = DefaultHasher::new();
        engine.precompile_compatibility_hash().hash(&mut compiler);
        let target = target.unwrap_or(std::env::consts::ARCH);
        let compiler = format!("{target} {:016x}", compiler.finish());
        Ok(Sandbox { engine, linker, compiler, cache, metering })
    }

    /// Compiles a plugin, or takes it from the cache.
    ///
    /// # Errors
    /// [`SandboxError::Component`]; a component that imports anything but the log is no plugin.
    pub fn compile(&self, wasm: &[u8]) -> Result<CompiledPlugin, SandboxError> {
        let wrong = |error: wasmtime::Error| SandboxError::of(&error);
        let digest = Digest::of(wasm);
        let (component, is_new) = match self.cached(&digest) {
            Some(component) => (component, false),
            None => (Component::new(&self.engine, wasm).map_err(wrong)?, true),
        };
        let ready = self.linker.instantiate_pre(&component).and_then(PluginPre::new);
        let ready = ready.map_err(wrong)?;
        if let (true, Some(cache)) = (is_new, &self.cache)
            && let Ok(code) = component.serialize()
        {
            cache.store(&digest, &self.compiler, &code);
        }
        Ok(CompiledPlugin { ready, metering: self.metering })
    }

    fn cached(&self, digest: &Digest) -> Option<Component> {
        let code = self.cache.as_ref()?.load(digest, &self.compiler)?;
        // SAFETY: the cache gives only bytes that carry this device's own authentication code,
        // which this function's caller made from a component compiled here.
        #[allow(unsafe_code)]
        unsafe {
            Component::deserialize(&self.engine, code).ok()
        }
    }
}

impl log::Host for Bounds {
    fn line(&mut self, text: String) {
        Bounds::line(self, text);
    }
}

/// A plugin that can be started any number of times.
#[derive(Clone)]
pub struct CompiledPlugin {
    ready: PluginPre<Bounds>,
    metering: Metering,
}

impl CompiledPlugin {
    /// Starts and configures an instance.
    ///
    /// # Errors
    /// [`SandboxError`].
    pub fn start(
        &self,
        settings: &[(String, String)],
        limits: SandboxLimits,
    ) -> Result<Instance, SandboxError> {
        let bounds = Bounds::new(limits.memory_bytes, limits.lines);
        let mut store = Store::new(self.ready.engine(), bounds);
        store.limiter(|bounds| bounds);
        store.set_hostcall_fuel(limits.output_bytes.saturating_add(AROUND_ANSWER_BYTES_MAX));
        store.set_epoch_deadline(ticks(limits.call));
        refuel(&mut store, self.metering);
        let _ticking = ticker::ticking();
        let plugin = self.ready.instantiate(&mut store).map_err(|error| {
            let bound = Bound::of(&limits, limits.call);
            match error.is::<super::bounds::OutOfMemory>() {
                true => SandboxError::Start(bound.broken(&error)),
                false => SandboxError::of(&error),
            }
        })?;
        Instance::configured(store, plugin, settings, limits, self.metering)
    }
}
