//! The sandbox: memory, time and output of a plugin are bounded, and it can reach nothing.

use super::bounds::Bounds;
use super::cache::PluginCache;
use super::ticker::{self, ticks};
use crate::tensor::{Data, Element, Port, Tensor};
use bindings::exports::lineside::plugin::processor as wit;
use lineside_bundle::Digest;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;
use wasmtime::component::{Component, Linker};
use wasmtime::{Config, Engine, OptLevel, Store, Trap};

#[allow(missing_docs)]
mod bindings {
    wasmtime::component::bindgen!({ path: "../../plugins/wit", world: "plugin" });
}

/// Address space kept free for a plugin's memory to grow into without moving.
const RESERVATION_BYTES: u64 = 1 << 20;
/// What plugins are compiled for where they are interpreted.
const INTERPRETER: &str = if cfg!(target_pointer_width = "64") { "pulley64" } else { "pulley32" };
/// Native stack that a plugin may use.
const STACK_BYTES: usize = 512 << 10;
/// Inputs, and outputs, that a plugin may have.
const PORTS_MAX: usize = 256;
/// Characters of what a plugin says that are passed on.
const WORDS_MAX: usize = 500;
/// Results that one call may give.
const RESULTS_MAX: usize = 1024;
/// Bytes of this process that the results of one call may take before they are looked at. A plugin
/// can name the same few bytes of its own memory many times over.
const ANSWER_BYTES_MAX: usize = 32 << 20;
/// Elements that the results of one call may have together.
const ELEMENTS_MAX: usize = 4 << 20;

/// What a call may burn where it is counted: more than there is time for.
const FUEL: u64 = u64::MAX / 2;

/// Bounds of one plugin instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SandboxLimits {
    /// Linear memory in bytes.
    pub memory_bytes: usize,
    /// Longest that one call may take.
    pub call: Duration,
}

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

/// Why a call gave no answer. After [`PluginError::Trap`] and the others but `Refused`, the
/// instance is gone.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PluginError {
    /// The plugin says why.
    #[error("the plugin refuses: {0}")]
    Refused(String),
    /// It took too long.
    #[error("the plugin took longer than {} ms", .0.as_millis())]
    Time(Duration),
    /// It broke: memory at its bound, unreachable code, a stack too deep.
    #[error("the plugin trapped: {0}")]
    Trap(String),
    /// It gave more than can be passed on, or something it had not declared.
    #[error("the plugin's answer cannot be used: {0}")]
    Answer(String),
}

/// Compiles and starts plugins.
#[derive(Clone)]
pub struct Sandbox {
    engine: Engine,
    compiler: String,
    cache: Option<PluginCache>,
    metering: Metering,
}

/// Whether a sandbox counts the instructions that plugins run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Metering {
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
        ticker::register(&engine)
            .map_err(|error| SandboxError::Setup(format!("no thread for its clock: {error}")))?;
        // Version, processor features and every setting that changes the code.
        let mut compiler = DefaultHasher::new();
        engine.precompile_compatibility_hash().hash(&mut compiler);
        let target = target.unwrap_or(std::env::consts::ARCH);
        let compiler = format!("{target} {:016x}", compiler.finish());
        Ok(Sandbox { engine, compiler, cache, metering })
    }

    /// Compiles a plugin, or takes it from the cache.
    ///
    /// # Errors
    /// [`SandboxError::Component`].
    pub fn compile(&self, wasm: &[u8]) -> Result<CompiledPlugin, SandboxError> {
        let digest = Digest::of(wasm);
        if let Some(component) = self.cached(&digest) {
            return Ok(CompiledPlugin { sandbox: self.clone(), component });
        }
        let component = Component::new(&self.engine, wasm)
            .map_err(|error| SandboxError::Component(cut(format!("{error:#}"))))?;
        if let (Some(cache), Ok(code)) = (&self.cache, component.serialize()) {
            cache.store(&digest, &self.compiler, &code);
        }
        Ok(CompiledPlugin { sandbox: self.clone(), component })
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

/// A plugin that can be started any number of times.
#[derive(Clone)]
pub struct CompiledPlugin {
    sandbox: Sandbox,
    component: Component,
}

impl CompiledPlugin {
    /// Starts and configures an instance.
    ///
    /// # Errors
    /// [`SandboxError`]; a component that imports anything cannot be started.
    pub fn start(
        &self,
        settings: &[(String, String)],
        limits: SandboxLimits,
    ) -> Result<Instance, SandboxError> {
        let engine = &self.sandbox.engine;
        let mut store = Store::new(engine, Bounds::new(limits.memory_bytes));
        store.limiter(|bounds| bounds);
        store.set_hostcall_fuel(ANSWER_BYTES_MAX);
        let metering = self.sandbox.metering;
        refuel(&mut store, metering);
        store.set_epoch_deadline(ticks(limits.call));
        let _ticking = ticker::ticking();
        let plugin =
            bindings::Plugin::instantiate(&mut store, &self.component, &Linker::new(engine))
                .map_err(|error| SandboxError::Component(cut(format!("{error:#}"))))?;
        let (inputs, outputs) = (Vec::new(), Vec::new());
        let mut instance = Instance { store, plugin, limits, metering, inputs, outputs };
        instance.store.set_epoch_deadline(ticks(limits.call));
        let ports = instance
            .plugin
            .lineside_plugin_processor()
            .call_configure(&mut instance.store, settings)
            .map_err(|error| SandboxError::Start(trap(&error, limits.call)))?
            .map_err(|text| SandboxError::Configure(cut(text)))?;
        instance.inputs = declared(ports.inputs)?;
        instance.outputs = declared(ports.outputs)?;
        let elements: usize = instance.outputs.iter().map(Port::len).sum();
        if elements > ELEMENTS_MAX {
            return Err(SandboxError::Ports(format!(
                "its outputs have {elements} elements together, {ELEMENTS_MAX} are allowed"
            )));
        }
        Ok(instance)
    }
}

/// A running plugin: one stream's state.
pub struct Instance {
    store: Store<Bounds>,
    plugin: bindings::Plugin,
    limits: SandboxLimits,
    metering: Metering,
    inputs: Vec<Port>,
    outputs: Vec<Port>,
}

impl Instance {
    /// What it takes.
    pub fn inputs(&self) -> &[Port] {
        &self.inputs
    }

    /// What each of its results holds.
    pub fn outputs(&self) -> &[Port] {
        &self.outputs
    }

    /// Bytes of linear memory that it has taken so far; it never gives any back.
    pub fn memory_bytes(&self) -> usize {
        self.store.data().memory_bytes()
    }

    /// Instructions that its last call ran (its start, before the first), where they are counted
    /// ([`Sandbox::metered`]).
    pub fn fuel(&self) -> Option<u64> {
        self.store.get_fuel().ok().map(|left| FUEL - left)
    }

    /// Hands it a frame: number, sequence number of its first reading, time in nanoseconds since
    /// 1970, and the tensors in the order of [`Instance::inputs`]. Gives results, each with the
    /// tensors of [`Instance::outputs`], within the time that the frame has `left`.
    ///
    /// # Errors
    /// [`PluginError`].
    pub fn process(
        &mut self,
        (number, first_sequence, time_ns): (u64, u64, i64),
        inputs: &[&Tensor],
        left: Duration,
    ) -> Result<Vec<Vec<Tensor>>, PluginError> {
        let frame = wit::Frame { number, first_sequence, time_ns };
        let inputs: Vec<wit::Tensor> =
            self.inputs.iter().zip(inputs).filter_map(|(port, it)| given(port, it)).collect();
        let time = self.limits.call.min(left);
        refuel(&mut self.store, self.metering);
        self.store.set_epoch_deadline(ticks(time));
        let _ticking = ticker::ticking();
        let processor = self.plugin.lineside_plugin_processor();
        let answer = processor.call_process(&mut self.store, frame, &inputs);
        self.taken(answer, time)
    }

    /// Asks for what it held back, at the end of a recording.
    ///
    /// # Errors
    /// [`PluginError`].
    pub fn finish(&mut self) -> Result<Vec<Vec<Tensor>>, PluginError> {
        refuel(&mut self.store, self.metering);
        self.store.set_epoch_deadline(ticks(self.limits.call));
        let _ticking = ticker::ticking();
        let answer = self.plugin.lineside_plugin_processor().call_finish(&mut self.store);
        self.taken(answer, self.limits.call)
    }

    fn taken(
        &self,
        answer: wasmtime::Result<Result<Vec<Vec<wit::Tensor>>, String>>,
        time: Duration,
    ) -> Result<Vec<Vec<Tensor>>, PluginError> {
        let results = answer
            .map_err(|error| trap(&error, time))?
            .map_err(|text| PluginError::Refused(cut(text)))?;
        if results.len() > RESULTS_MAX {
            let count = results.len();
            return Err(PluginError::Answer(format!("{count} results, {RESULTS_MAX} are allowed")));
        }
        let mut elements = 0;
        let mut taken = Vec::with_capacity(results.len());
        for result in results {
            let mut tensors = Vec::with_capacity(self.outputs.len());
            for port in &self.outputs {
                let tensor = result
                    .iter()
                    .find(|tensor| tensor.name == port.name())
                    .and_then(received)
                    .filter(|t| t.element() == port.element() && t.shape() == port.shape())
                    .ok_or_else(|| {
                        PluginError::Answer(format!("{} is not {}", port.name(), port.form()))
                    })?;
                if !tensor.is_finite() {
                    return Err(PluginError::Answer(format!("{} is not finite", port.name())));
                }
                elements += tensor.len();
                if elements > ELEMENTS_MAX {
                    return Err(PluginError::Answer(format!("more than {ELEMENTS_MAX} elements")));
                }
                tensors.push(tensor);
            }
            taken.push(tensors);
        }
        Ok(taken)
    }
}

/// Has the next call counted from nought.
fn refuel(store: &mut Store<Bounds>, metering: Metering) {
    if metering == Metering::Fuel {
        // Such a store takes any amount.
        let _ = store.set_fuel(FUEL);
    }
}

/// The ports that a plugin says it has.
fn declared(ports: Vec<wit::Port>) -> Result<Vec<Port>, SandboxError> {
    if ports.len() > PORTS_MAX {
        let count = ports.len();
        return Err(SandboxError::Ports(format!("{count} of them, {PORTS_MAX} are allowed")));
    }
    let port = |port: wit::Port| {
        let element = match port.element {
            wit::Element::Float32 => Element::F32,
            wit::Element::Signed64 => Element::I64,
            wit::Element::Boolean => Element::Bool,
        };
        let shape = port.shape.iter().map(|size| *size as usize).collect();
        Port::new(port.name, element, shape).map_err(|error| SandboxError::Ports(error.to_string()))
    };
    ports.into_iter().map(port).collect()
}

/// What a plugin says, short enough to be told.
fn cut(text: String) -> String {
    match text.char_indices().nth(WORDS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// A tensor as plugins take it; none of a type that no port of a plugin has.
fn given(port: &Port, tensor: &Tensor) -> Option<wit::Tensor> {
    let data = match tensor.data() {
        Data::F32(values) => wit::Data::Float32(values.clone()),
        Data::I64(values) => wit::Data::Signed64(values.clone()),
        Data::Bool(values) => wit::Data::Boolean(values.clone()),
        _ => return None,
    };
    let shape = port.shape().iter().map(|size| *size as u32).collect();
    Some(wit::Tensor { name: port.name().to_owned(), shape, data })
}

fn received(tensor: &wit::Tensor) -> Option<Tensor> {
    let shape = tensor.shape.iter().map(|size| *size as usize).collect();
    let data = match &tensor.data {
        wit::Data::Float32(values) => Data::F32(values.clone()),
        wit::Data::Signed64(values) => Data::I64(values.clone()),
        wit::Data::Boolean(values) => Data::Bool(values.clone()),
    };
    Tensor::new(shape, data)
}

fn trap(error: &wasmtime::Error, call: Duration) -> PluginError {
    match error.downcast_ref::<Trap>() {
        Some(Trap::Interrupt) => PluginError::Time(call),
        _ => PluginError::Trap(error.root_cause().to_string()),
    }
}
