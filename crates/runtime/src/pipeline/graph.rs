//! The stages at work: frames go through them in an order fixed when the bundle was loaded.

use super::frame::{FrameError, FrameOutcome, Part, Reading, Value};
use super::window::{Window, Windower};
use crate::engine::Engine;
use crate::plugin::{CompiledPlugin, Instance, PluginError, SandboxLimits};
use crate::tensor::{Data, Port, Tensor};
use lineside_bundle::{BundleFile, TensorRef};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// A bundle, loaded and ready for readings.
pub struct Pipeline {
    steps: Vec<Step>,
    outputs: BTreeMap<String, TensorRef>,
    alarm_output: Option<String>,
    fields: usize,
    rows: u32,
    stride: u32,
    streams: BTreeMap<String, Windower>,
    plugin_restarts: u64,
}

pub(super) struct Step {
    pub name: String,
    pub work: Work,
    pub sources: Vec<(TensorRef, Port)>,
    pub outputs: Vec<Port>,
}

pub(super) enum Work {
    Window { shape: Vec<usize> },
    Model(Box<dyn Engine>),
    Plugin(Box<Plugin>),
    Select(usize),
    Threshold { above: Option<f64>, below: Option<f64> },
}

/// A plugin and its instances: one a stream, because they carry that stream's state.
pub(super) struct Plugin {
    compiled: CompiledPlugin,
    settings: Vec<(String, String)>,
    limits: SandboxLimits,
    instances: BTreeMap<String, Instance>,
}

impl Work {
    pub(super) fn plugin(
        compiled: CompiledPlugin,
        settings: Vec<(String, String)>,
        limits: SandboxLimits,
    ) -> Work {
        Work::Plugin(Box::new(Plugin { compiled, settings, limits, instances: BTreeMap::new() }))
    }
}

/// The tensors of one part of a frame, by who made them.
type Tensors = BTreeMap<TensorRef, Tensor>;

/// What a frame is to the stages.
struct Frame<'a> {
    key: &'a str,
    number: u64,
    first: u64,
    time_unix_ns: i64,
}

impl Pipeline {
    pub(super) fn new(bundle: &BundleFile, steps: Vec<Step>) -> Pipeline {
        let (rows, stride) = bundle.window();
        let outputs = &bundle.outputs;
        Pipeline {
            steps,
            outputs: outputs.iter().map(|(name, o)| (name.clone(), o.from.clone())).collect(),
            alarm_output: bundle.alarm_output.clone(),
            fields: bundle.port().1.fields.len(),
            rows,
            stride,
            streams: BTreeMap::new(),
            plugin_restarts: 0,
        }
    }

    /// Takes a stream's next reading; gives the frame that it completes, if it does.
    pub fn push(&mut self, reading: Reading) -> Option<FrameOutcome> {
        let (key, sequence, time_unix_ns) =
            (reading.key.clone(), reading.sequence, reading.time_unix_ns);
        if reading.values.len() != self.fields {
            let result = Err(FrameError::Reading { have: reading.values.len(), want: self.fields });
            let frame = sequence / u64::from(self.stride);
            let elapsed = Duration::ZERO;
            let (first, last) = (sequence, sequence);
            return Some(FrameOutcome { key, frame, first, last, time_unix_ns, result, elapsed });
        }
        let (rows, stride) = (self.rows, self.stride);
        let windower =
            self.streams.entry(key.clone()).or_insert_with(|| Windower::new(rows, stride));
        let window = windower.push(reading)?;
        Some(self.run(key, window))
    }

    /// Ends every stream: plugins give what they held back, and readings of a window that never
    /// became whole are accounted for as such.
    pub fn finish(&mut self) -> Vec<FrameOutcome> {
        let mut outcomes = Vec::new();
        for (key, windower) in std::mem::take(&mut self.streams) {
            let started = Instant::now();
            let held_back = self.finish_plugins(&key);
            let Some((first, last, time_unix_ns)) = windower.open() else { continue };
            let have = (last + 1 - first) as u32;
            if matches!(&held_back, Ok(parts) if parts.is_empty()) && have == 0 {
                continue;
            }
            let stride = u64::from(self.stride);
            let outcome = |result| FrameOutcome {
                key: key.clone(),
                frame: first / stride,
                first,
                last,
                time_unix_ns,
                result,
                elapsed: started.elapsed(),
            };
            match held_back {
                Ok(parts) if parts.is_empty() => {
                    outcomes.push(outcome(Err(FrameError::Incomplete { have, rows: self.rows })));
                }
                held_back => outcomes.push(outcome(held_back)),
            }
        }
        outcomes
    }

    /// Plugin instances that had to be replaced so far.
    pub fn plugin_restarts(&self) -> u64 {
        self.plugin_restarts
    }

    fn run(&mut self, key: String, window: Window) -> FrameOutcome {
        let started = Instant::now();
        let (first, time_unix_ns) = (window.first, window.time_unix_ns);
        let number = first / u64::from(self.stride);
        let frame = Frame { key: &key, number, first, time_unix_ns };
        let result = self.stages(&frame, window.values);
        FrameOutcome {
            frame: number,
            first,
            last: first + u64::from(self.stride) - 1,
            time_unix_ns,
            result,
            elapsed: started.elapsed(),
            key,
        }
    }

    fn stages(&mut self, frame: &Frame<'_>, values: Vec<f32>) -> Result<Vec<Part>, FrameError> {
        let mut values = Some(values);
        let mut parts: Vec<Tensors> = vec![Tensors::new()];
        for step in &mut self.steps {
            let mut next = Vec::with_capacity(parts.len());
            for part in parts {
                let inputs = step.inputs(&part)?;
                let results = match &mut step.work {
                    Work::Window { shape } => {
                        let values = values.take().unwrap_or_default();
                        let tensor = Tensor::new(shape.clone(), Data::F32(values));
                        tensor.map(|tensor| vec![vec![tensor]]).ok_or_else(|| "no window".into())
                    }
                    Work::Model(engine) => {
                        engine.run(&inputs).map(|o| vec![o]).map_err(|error| error.to_string())
                    }
                    Work::Plugin(plugin) => {
                        plugin.process(frame, &inputs, &mut self.plugin_restarts)
                    }
                    work => work.compute(&inputs),
                };
                let results = results
                    .map_err(|problem| FrameError::Stage { stage: step.name.clone(), problem })?;
                next.extend(results.into_iter().map(|outputs| step.joined(&part, outputs)));
            }
            parts = next;
        }
        parts.iter().map(|part| self.part(part)).collect()
    }

    fn finish_plugins(&mut self, key: &str) -> Result<Vec<Part>, FrameError> {
        let mut parts: Vec<Tensors> = Vec::new();
        for step in &mut self.steps {
            let fail = |problem: String| FrameError::Stage { stage: step.name.clone(), problem };
            let mut next = Vec::new();
            // What an earlier plugin held back goes through this stage as in any frame.
            for part in parts {
                let inputs = step.inputs(&part)?;
                let results = match &mut step.work {
                    Work::Window { .. } => Ok(vec![]),
                    Work::Model(engine) => {
                        engine.run(&inputs).map(|o| vec![o]).map_err(|error| error.to_string())
                    }
                    Work::Plugin(plugin) => {
                        let frame = Frame { key, number: 0, first: 0, time_unix_ns: 0 };
                        plugin.process(&frame, &inputs, &mut self.plugin_restarts)
                    }
                    work => work.compute(&inputs),
                };
                for outputs in results.map_err(fail)? {
                    next.push(step.joined(&part, outputs));
                }
            }
            if let Work::Plugin(plugin) = &mut step.work
                && let Some(mut instance) = plugin.instances.remove(key)
            {
                for outputs in instance.finish().map_err(|error| fail(error.to_string()))? {
                    next.push(step.joined(&Tensors::new(), outputs));
                }
            }
            parts = next;
        }
        parts.iter().map(|part| self.part(part)).collect()
    }

    fn part(&self, tensors: &Tensors) -> Result<Part, FrameError> {
        let mut outputs = BTreeMap::new();
        for (name, from) in &self.outputs {
            let value = tensors.get(from).and_then(Value::of).ok_or_else(|| FrameError::Stage {
                stage: from.stage.clone(),
                problem: format!("gave nothing for output {name}"),
            })?;
            outputs.insert(name.clone(), value);
        }
        let alarm = self.alarm_output.as_ref().map(|name| outputs[name].is_alarm());
        Ok(Part { outputs, alarm })
    }
}

impl Step {
    fn inputs(&self, part: &Tensors) -> Result<Vec<Tensor>, FrameError> {
        self.sources
            .iter()
            .map(|(source, port)| {
                part.get(source).and_then(|tensor| tensor.reshaped(&port.shape)).ok_or_else(|| {
                    FrameError::Stage {
                        stage: self.name.clone(),
                        problem: format!("nothing came from {source}"),
                    }
                })
            })
            .collect()
    }

    fn joined(&self, part: &Tensors, outputs: Vec<Tensor>) -> Tensors {
        let mut joined = part.clone();
        for (port, tensor) in self.outputs.iter().zip(outputs) {
            let output = (!port.name.is_empty()).then(|| port.name.clone());
            joined.insert(TensorRef { stage: self.name.clone(), output }, tensor);
        }
        joined
    }
}

impl Work {
    fn compute(&self, inputs: &[Tensor]) -> Result<Vec<Vec<Tensor>>, String> {
        let input = inputs.first().ok_or("nothing came in")?;
        let output = match self {
            Work::Select(index) => input.select(*index),
            Work::Threshold { above, below } => match input.data() {
                Data::F32(values) if values.len() == 1 => {
                    let value = f64::from(values[0]);
                    let beyond = above.is_some_and(|level| value > level)
                        || below.is_some_and(|level| value < level);
                    Tensor::new(vec![1], Data::Bool(vec![beyond]))
                }
                _ => None,
            },
            Work::Window { .. } | Work::Model(_) | Work::Plugin(_) => None,
        };
        output.map(|tensor| vec![vec![tensor]]).ok_or_else(|| "cannot use what came in".into())
    }
}

impl Plugin {
    fn process(
        &mut self,
        frame: &Frame<'_>,
        inputs: &[Tensor],
        restarts: &mut u64,
    ) -> Result<Vec<Vec<Tensor>>, String> {
        let mut instance = match self.instances.remove(frame.key) {
            Some(instance) => instance,
            None => self
                .compiled
                .start(&self.settings, self.limits)
                .map_err(|error| error.to_string())?,
        };
        let answer = instance.process((frame.number, frame.first, frame.time_unix_ns), inputs);
        match &answer {
            Ok(_) | Err(PluginError::Refused(_)) => {
                self.instances.insert(frame.key.to_owned(), instance);
            }
            // Its memory can no longer be relied on: the next frame gets a fresh instance.
            Err(_) => *restarts += 1,
        }
        answer.map_err(|error| error.to_string())
    }
}
