//! A running plugin: tensors go in, results come out, within bounds.

use super::bindings::Plugin;
use super::bindings::exports::lineside::plugin::processor as wit;
use super::bounds::Bounds;
use super::error::{Bound, PluginError, SandboxError, cut};
use super::host::{Metering, SandboxLimits};
use super::ticker::{self, ticks};
use crate::tensor::{Data, Element, Port, Tensor};
use std::collections::BTreeSet;
use std::time::Duration;
use wasmtime::Store;

/// Inputs, and outputs, that a plugin may have.
const PORTS_MAX: usize = 256;
/// Results that one call may give.
const RESULTS_MAX: usize = 1024;

/// Results, each with the tensors of [`Instance::outputs`] in their order.
pub type Results = Vec<Vec<Tensor>>;

/// What a call may burn where it is counted: more than there is time for.
const FUEL: u64 = u64::MAX / 2;

/// A running plugin: one stream's state.
pub struct Instance {
    store: Store<Bounds>,
    plugin: Plugin,
    limits: SandboxLimits,
    metering: Metering,
    inputs: Vec<Port>,
    /// Shapes of the inputs as the plugin is told them.
    shapes: Vec<Vec<u32>>,
    outputs: Vec<Port>,
}

impl Instance {
    /// Configures what was just started.
    pub(super) fn configured(
        mut store: Store<Bounds>,
        plugin: Plugin,
        settings: &[(String, String)],
        limits: SandboxLimits,
        metering: Metering,
    ) -> Result<Instance, SandboxError> {
        let settings: Vec<_> =
            settings.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        store.set_epoch_deadline(ticks(limits.call));
        let ports = plugin
            .lineside_plugin_processor()
            .call_configure(&mut store, &settings)
            .map_err(|error| SandboxError::Start(Bound::of(&limits, limits.call).broken(&error)))?
            .map_err(|text| SandboxError::Configure(cut(text)))?;
        let (inputs, outputs) = (declared(ports.inputs)?, declared(ports.outputs)?);
        let bytes: usize = outputs.iter().map(|port| bytes(port.element(), port.len())).sum();
        if bytes > limits.output_bytes {
            return Err(SandboxError::Ports(format!(
                "its outputs have {bytes} bytes together, {} are allowed",
                limits.output_bytes
            )));
        }
        let shape = |port: &Port| port.shape().iter().map(|size| *size as u32).collect();
        let shapes = inputs.iter().map(shape).collect();
        Ok(Instance { store, plugin, limits, metering, inputs, shapes, outputs })
    }

    /// What it takes.
    pub fn inputs(&self) -> &[Port] {
        &self.inputs
    }

    /// What each of its results holds.
    pub fn outputs(&self) -> &[Port] {
        &self.outputs
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
    ) -> Result<Results, PluginError> {
        let frame = wit::Frame { number, first_sequence, time_ns };
        let inputs = self.inputs.iter().zip(&self.shapes).zip(inputs);
        let given: Vec<wit::TensorParam<'_>> =
            inputs.filter_map(|((port, shape), tensor)| given(port, shape, tensor)).collect();
        let time = self.limits.call.min(left);
        refuel(&mut self.store, self.metering);
        self.store.set_epoch_deadline(ticks(time));
        let _ticking = ticker::ticking();
        let processor = self.plugin.lineside_plugin_processor();
        let answer = processor.call_process(&mut self.store, frame, &given);
        self.taken(answer, time)
    }

    /// Asks for what it held back, at the end of a recording.
    ///
    /// # Errors
    /// [`PluginError`].
    pub fn finish(&mut self) -> Result<Results, PluginError> {
        refuel(&mut self.store, self.metering);
        self.store.set_epoch_deadline(ticks(self.limits.call));
        let _ticking = ticker::ticking();
        let answer = self.plugin.lineside_plugin_processor().call_finish(&mut self.store);
        self.taken(answer, self.limits.call)
    }

    /// Bytes of linear memory that it has taken so far; it never gives any back.
    pub fn memory_bytes(&self) -> usize {
        self.store.data().memory_bytes
    }

    /// Instructions that its last call ran (its start, before the first), where they are counted
    /// ([`Sandbox::metered`](super::Sandbox::metered)).
    pub fn fuel(&self) -> Option<u64> {
        self.store.get_fuel().ok().map(|left| FUEL - left)
    }

    /// What it has said since this was last asked, line by line, and how many lines more were dropped.
    pub fn take_lines(&mut self) -> (Vec<String>, u64) {
        self.store.data_mut().take_lines()
    }

    fn taken(
        &self,
        answer: wasmtime::Result<Result<Vec<Vec<wit::TensorResult>>, String>>,
        time: Duration,
    ) -> Result<Results, PluginError> {
        let results = answer
            .map_err(|error| Bound::of(&self.limits, time).broken(&error))?
            .map_err(|text| PluginError::Refused(cut(text)))?;
        if results.len() > RESULTS_MAX {
            let count = results.len();
            return Err(PluginError::Answer(format!("{count} results, {RESULTS_MAX} are allowed")));
        }
        let mut left = self.limits.output_bytes;
        let result = |mut result: Vec<wit::TensorResult>| {
            let tensors = self.outputs.iter().enumerate().map(|(place, port)| {
                let tensor = received(&mut result, place, port).ok_or_else(|| {
                    PluginError::Answer(format!("{} is not {}", port.name(), port.form()))
                })?;
                if !tensor.is_finite() {
                    return Err(PluginError::Answer(format!("{} is not finite", port.name())));
                }
                left = left
                    .checked_sub(bytes(tensor.element(), tensor.len()))
                    .ok_or(PluginError::Output(self.limits.output_bytes))?;
                Ok(tensor)
            });
            tensors.collect()
        };
        results.into_iter().map(result).collect()
    }
}

impl Bound {
    pub(super) fn of(limits: &SandboxLimits, time: Duration) -> Bound {
        let SandboxLimits { memory_bytes, output_bytes, .. } = *limits;
        Bound { time, memory_bytes, output_bytes }
    }
}

/// Has the next call counted from nought.
pub(super) fn refuel(store: &mut Store<Bounds>, metering: Metering) {
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
    let mut names = BTreeSet::new();
    if let Some(twice) = ports.iter().find(|port| !names.insert(&port.name)) {
        return Err(SandboxError::Ports(format!("two are called {}", cut(twice.name.clone()))));
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

/// Bytes of so many elements.
fn bytes(element: Element, count: usize) -> usize {
    count * element.size_bytes().unwrap_or_default()
}

/// A tensor as plugins take it; none of a type that no port of a plugin has.
fn given<'a>(port: &'a Port, shape: &'a [u32], tensor: &'a Tensor) -> Option<wit::TensorParam<'a>> {
    let data = match tensor.data() {
        Data::F32(values) => wit::DataParam::Float32(values),
        Data::I64(values) => wit::DataParam::Signed64(values),
        Data::Bool(values) => wit::DataParam::Boolean(values),
        _ => return None,
    };
    Some(wit::TensorParam { name: port.name(), shape, data })
}

/// Takes the tensor of a port out of a result: it is mostly in its place, and else under its name.
fn received(result: &mut [wit::TensorResult], place: usize, port: &Port) -> Option<Tensor> {
    let is_it = |tensor: &wit::TensorResult| tensor.name == port.name();
    let place = match result.get(place).is_some_and(is_it) {
        true => place,
        false => result.iter().position(is_it)?,
    };
    let tensor = &mut result[place];
    if !tensor.shape.iter().map(|size| *size as usize).eq(port.shape().iter().copied()) {
        return None;
    }
    let data = match &mut tensor.data {
        wit::DataResult::Float32(values) => Data::F32(std::mem::take(values)),
        wit::DataResult::Signed64(values) => Data::I64(std::mem::take(values)),
        wit::DataResult::Boolean(values) => Data::Bool(std::mem::take(values)),
    };
    Tensor::new(port.shape().to_vec(), data).filter(|tensor| tensor.element() == port.element())
}
