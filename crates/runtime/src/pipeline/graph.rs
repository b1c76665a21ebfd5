//! The stages at work: frames go through them in an order fixed when the bundle was loaded.

use super::cutter::{Cutter, Ended, Framed};
use super::frame::{Fault, FrameError, FrameOutcome, Instead, Part, StandIn, Unused, Value};
use super::model::{Model, Seen};
use super::plugin::{Plugin, PluginCall};
use super::reading::ReadingRef;
use super::said::Said;
use super::stages::Stage;
use crate::recording::KEYS_MAX;
use crate::tensor::{Data, Tensor};
use lineside_bundle::{BundleFile, TensorRef};
use std::collections::BTreeMap;
use std::iter::repeat_n;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Results that plugins may make of one frame, one behind the other.
const PARTS_MAX: usize = 4096;
/// Streams that it keeps apart where each has plugin instances or a model's state of its own.
const STREAMS_WITH_STATE_MAX: usize = 256;

/// A bundle, loaded and ready for readings.
pub struct Pipeline {
    steps: Vec<Step>,
    /// What every part of every frame has from the beginning.
    constants: Tensors,
    /// Where a frame's windows become tensors.
    windows: Vec<Opening>,
    outputs: Outputs,
    alarm_output: Option<String>,
    cutter: Cutter,
    /// How far each stream was answered without a gap.
    answered: BTreeMap<String, Answered>,
    streams_max: usize,
    plugin_restarts: u64,
    frame_max: Duration,
}

/// How far a stream was answered without a gap.
struct Answered {
    /// The frame from which on every one was.
    since: u64,
    /// The first one that was not yet.
    next: u64,
}

pub(super) struct Step {
    pub name: String,
    pub work: Work,
    /// Where each input comes from, in order.
    pub sources: Vec<Source>,
    /// The places of what it gives.
    pub outputs: Range<usize>,
}

pub(super) enum Work {
    Model(Box<Model>),
    Plugin(Box<Plugin>),
    BuiltIn { stage: Box<dyn Stage>, has_state: bool },
}

/// A stage that is one of the frame's windows.
pub(super) struct Opening {
    pub name: String,
    /// Which of them.
    pub window: usize,
    pub shape: Vec<usize>,
    /// Its place among the tensors.
    pub place: usize,
}

/// A tensor of a frame, found by its place.
pub(super) struct Source {
    pub place: usize,
    /// Who makes it, for people.
    pub from: TensorRef,
}

/// The outputs of a bundle, by name, and where they come from.
pub(super) type Outputs = Vec<(String, Source)>;

/// The tensors of one part of a frame, each at its place; none of what has not been made. Parts share what
/// came before them.
pub(super) type Tensors = Vec<Option<Arc<Tensor>>>;

/// What a frame is to the stages.
pub(super) struct Frame<'a> {
    /// The stream.
    pub key: &'a str,
    /// Counts the stream's frames.
    pub number: u64,
    /// The frame from which on every one was answered: what a stage carries from before it belongs to
    /// another succession, and is not to be gone on from.
    pub since: u64,
    /// Sequence number of its first reading.
    pub first: u64,
    /// Whether frames go by time: then rows are none of the readings, and are counted since 1970.
    pub is_by_time: bool,
    /// Time of its last reading, nanoseconds since 1970; by time, its end.
    pub time_unix_ns: i64,
}

impl Frame<'_> {
    /// The number of its first row, in rows that move on by `stride` from a frame to the next.
    pub(super) fn row(&self, stride: usize) -> u64 {
        match self.is_by_time {
            true => self.number.saturating_mul(stride as u64),
            false => self.first,
        }
    }
}

impl Pipeline {
    pub(super) fn new(
        bundle: &BundleFile,
        steps: Vec<Step>,
        constants: Tensors,
        windows: Vec<Opening>,
        outputs: Outputs,
    ) -> Pipeline {
        let has_state = steps.iter().any(|step| match &step.work {
            Work::Plugin(_) => true,
            Work::Model(model) => model.has_state(),
            Work::BuiltIn { has_state, .. } => *has_state,
        });
        Pipeline {
            steps,
            constants,
            windows,
            outputs,
            alarm_output: bundle.alarm_output.clone(),
            cutter: Cutter::of(bundle),
            answered: BTreeMap::new(),
            streams_max: if has_state { STREAMS_WITH_STATE_MAX } else { KEYS_MAX },
            plugin_restarts: 0,
            frame_max: bundle.limits.frame(),
        }
    }

    /// Takes a stream's next reading; gives the frames that it completes, the oldest first.
    ///
    /// A pipeline that starts in the middle of a stream answers from the next boundary on. Where windows
    /// count readings, those before it belong to no frame here, and from there on every reading that comes
    /// is accounted for by one frame: where some are missing, by one with [`FrameError::Incomplete`]. Where
    /// they go by time, the frame in which a stream begins is told ([`FrameError::Begins`]), and gaps are
    /// [`FrameError::Sparse`].
    pub fn push<'a>(&mut self, reading: impl Into<ReadingRef<'a>>) -> Vec<FrameOutcome> {
        let frames = self.cutter.push(reading, self.streams_max).into_iter();
        frames.map(|framed| self.answer(framed)).collect()
    }

    /// Ends every stream: plugins give what they held back, and readings of a window that never
    /// became whole are accounted for as such.
    pub fn finish(&mut self) -> Vec<FrameOutcome> {
        std::iter::from_fn(|| self.finish_one()).flatten().collect()
    }

    /// Ends one of the streams, as [`Pipeline::finish`] ends all. None if no stream is open.
    pub fn finish_one(&mut self) -> Option<Vec<FrameOutcome>> {
        let Ended { key, frames, number, next, spans, time_unix_ns } = self.cutter.end_one()?;
        let mut outcomes: Vec<_> = frames.into_iter().map(|framed| self.answer(framed)).collect();
        let started = Instant::now();
        let frame = Frame {
            since: self.since(&key, number),
            key: &key,
            number,
            first: next,
            is_by_time: self.cutter.is_by_time(),
            time_unix_ns,
        };
        let (result, instead) = self.flow(&frame, None);
        self.begin_anew(&key);
        if !matches!(&result, Ok(parts) if parts.is_empty()) {
            let said = self.said();
            outcomes.push(FrameOutcome {
                frame: number,
                first: next,
                last: next.wrapping_sub(1),
                spans,
                unused: Unused::default(),
                time_unix_ns,
                result,
                instead,
                said,
                elapsed: started.elapsed(),
                key,
            });
        }
        Some(outcomes)
    }

    /// Plugin instances that had to be replaced so far.
    pub fn plugin_restarts(&self) -> u64 {
        self.plugin_restarts
    }

    /// From now on the first frames that each model sees are kept.
    pub(crate) fn record_models(&mut self, frames: usize) {
        for step in &mut self.steps {
            if let Work::Model(model) = &mut step.work {
                model.record(frames);
            }
        }
    }

    /// From now on the calls of the plugin that is this stage are kept until they are taken. Gives its
    /// settings.
    ///
    /// # Errors
    /// There is no such stage, or it is no plugin: with those that are.
    pub fn record_plugin(&mut self, stage: &str) -> Result<&[(String, String)], String> {
        let mut names = Vec::new();
        for step in &mut self.steps {
            if let Work::Plugin(plugin) = &mut step.work {
                if step.name == stage {
                    return Ok(plugin.record());
                }
                names.push(step.name.as_str());
            }
        }
        Err(format!("no plugin is called {stage} in it, only [{}]", names.join(", ")))
    }

    /// The calls of plugins that were kept since this was last asked, the oldest first.
    pub fn take_plugin_calls(&mut self) -> Vec<PluginCall> {
        let plugins = self.steps.iter_mut().filter_map(|step| match &mut step.work {
            Work::Plugin(plugin) => Some(plugin.take_calls()),
            _ => None,
        });
        plugins.flatten().collect()
    }

    /// Whether each model has kept all that it was to keep.
    pub(crate) fn has_recorded(&self) -> bool {
        self.steps.iter().all(|step| match &step.work {
            Work::Model(model) => model.has_recorded(),
            Work::Plugin(_) | Work::BuiltIn { .. } => true,
        })
    }

    /// The models, with what was kept, by stage.
    pub(crate) fn models(&mut self) -> BTreeMap<String, Seen> {
        let models = self.steps.iter_mut().filter_map(|step| match &mut step.work {
            Work::Model(model) => Some((step.name.clone(), model.seen())),
            _ => None,
        });
        models.collect()
    }

    /// The engine that each model is in, by stage.
    pub fn engines(&self) -> BTreeMap<String, &'static str> {
        let models = self.steps.iter().filter_map(|step| match &step.work {
            Work::Model(model) => Some((step.name.clone(), model.engine_name())),
            _ => None,
        });
        models.collect()
    }

    /// What comes next of a stream follows nothing that came before. A plugin's instance ends when it gives what it
    /// has held back, and is told the time of each frame.
    fn begin_anew(&mut self, key: &str) {
        self.answered.remove(key);
        for step in &mut self.steps {
            match &mut step.work {
                Work::Model(model) => model.finish(key),
                Work::BuiltIn { stage, .. } => stage.finish(key),
                Work::Plugin(_) => {}
            }
        }
    }

    /// The frame from which on every one of the stream was answered, up to frame `number`.
    fn since(&self, key: &str, number: u64) -> u64 {
        let answered = self.answered.get(key).filter(|answered| answered.next == number);
        answered.map_or(number, |answered| answered.since)
    }

    fn answer(&mut self, framed: Framed) -> FrameOutcome {
        let started = Instant::now();
        let Framed {
            key,
            number,
            first,
            last,
            spans,
            unused,
            time_unix_ns,
            is_behind_gap,
            windows,
        } = framed;
        if is_behind_gap {
            self.begin_anew(&key);
        }
        let (result, instead) = match windows {
            Err(error) => (Err(error), None),
            Ok(windows) => {
                let since = self.since(&key, number);
                let is_by_time = self.cutter.is_by_time();
                let frame = Frame { key: &key, number, since, first, is_by_time, time_unix_ns };
                let flowed = self.flow(&frame, Some(windows));
                if flowed.0.is_ok() {
                    let answered = Answered { since, next: number + 1 };
                    match self.answered.get_mut(&key) {
                        Some(before) => *before = answered,
                        None => drop(self.answered.insert(key.clone(), answered)),
                    }
                }
                flowed
            }
        };
        FrameOutcome {
            key,
            frame: number,
            first,
            last,
            spans,
            unused,
            time_unix_ns,
            result,
            instead,
            said: self.said(),
            elapsed: started.elapsed(),
        }
    }

    /// What plugins have said since this was last asked.
    fn said(&mut self) -> Said {
        let mut said = Said::default();
        for step in &mut self.steps {
            if let Work::Plugin(plugin) = &mut step.work {
                plugin.tell(&step.name, &mut said);
            }
        }
        said
    }

    /// What becomes of a frame, and where a plugin broke in it, what the bundle wants to be told instead.
    fn flow(&mut self, frame: &Frame<'_>, windows: Option<Vec<Vec<f32>>>) -> Flowed {
        let mut broken = None;
        let flowed = self.flow_through(frame, windows, &mut broken);
        match broken {
            None => (flowed, None),
            // What a later stage makes of it matters less than why it had to.
            Some((error, by)) => (Err(error), flowed.ok().map(|parts| Instead { by, parts })),
        }
    }

    /// Sends windows through the stages, or at the end of a stream, without any, what its plugins held
    /// back. Each result of a plugin goes on by itself, as a part of the frame.
    ///
    /// No stage begins when the frame's time is over; an answer that is there all the same is given.
    ///
    /// Where a plugin is `broken` and the bundle says what to go on with, that goes on.
    fn flow_through(
        &mut self,
        frame: &Frame<'_>,
        windows: Option<Vec<Vec<f32>>>,
        broken: &mut Option<(FrameError, StandIn)>,
    ) -> Result<Vec<Part>, FrameError> {
        let (started, frame_max) = (Instant::now(), self.frame_max);
        let is_end = windows.is_none();
        let mut parts = Vec::new();
        if let Some(windows) = windows {
            parts.push(self.opened(windows)?);
        }
        for step in &mut self.steps {
            let mut next = Vec::with_capacity(parts.len());
            for part in parts {
                let left = frame_max.saturating_sub(started.elapsed());
                if left.is_zero() {
                    return Err(step.error(overdue(frame_max)));
                }
                let results = step.inputs(&part).and_then(|inputs| {
                    step.work.run(frame, &inputs, left, &mut self.plugin_restarts)
                });
                let results = match results {
                    Ok(results) => results,
                    Err(failure) => match step.work.instead(frame.key, failure.0) {
                        None => return Err(step.error(failure)),
                        Some((by, tensors)) => {
                            let (_, worst) = broken.get_or_insert((step.error(failure), by));
                            *worst = by.max(*worst);
                            vec![tensors]
                        }
                    },
                };
                step.join(part, results, &mut next);
                if next.len() > PARTS_MAX {
                    return Err(step.error(too_many()));
                }
            }
            if let (true, Work::Plugin(plugin)) = (is_end, &mut step.work) {
                let results = plugin.finish(frame, &mut self.plugin_restarts);
                let results = results.map_err(|failure| step.error(failure))?;
                step.join(self.constants.clone(), results, &mut next);
                if next.len() > PARTS_MAX {
                    return Err(step.error(too_many()));
                }
            }
            parts = next;
        }
        parts.iter().map(|part| self.part(part)).collect()
    }

    /// The tensors that a frame has before any stage has run.
    fn opened(&self, mut windows: Vec<Vec<f32>>) -> Result<Tensors, FrameError> {
        let mut tensors = self.constants.clone();
        for Opening { name, window, shape, place } in &self.windows {
            let values = windows.get_mut(*window).map(std::mem::take).unwrap_or_default();
            let tensor = Tensor::new(shape.clone(), Data::F32(values));
            let tensor = tensor.ok_or_else(|| FrameError::Stage {
                stage: name.clone(),
                fault: Fault::Input,
                problem: "the window is not whole".to_owned(),
            })?;
            tensors[*place] = Some(Arc::new(tensor));
        }
        Ok(tensors)
    }

    fn part(&self, tensors: &Tensors) -> Result<Part, FrameError> {
        let mut outputs = BTreeMap::new();
        for (name, Source { place, from }) in &self.outputs {
            let value = tensors[*place].as_ref().and_then(|tensor| Value::of(tensor));
            let value = value.ok_or_else(|| FrameError::Stage {
                stage: from.stage.clone(),
                fault: Fault::Input,
                problem: format!("gave nothing for output {name}"),
            })?;
            outputs.insert(name.clone(), value);
        }
        let alarm = self.alarm_output.as_ref().map(|name| outputs[name].is_alarm());
        Ok(Part { outputs, alarm })
    }
}

/// Why a stage gave nothing: the kind, and the words for it.
pub(super) type Failure = (Fault, String);

/// What a stage makes of a part: results, each with its tensors in the order of its outputs.
type Results = Vec<Vec<Tensor>>;

/// What becomes of a frame, and what is told of it where a plugin broke.
type Flowed = (Result<Vec<Part>, FrameError>, Option<Instead>);

pub(super) fn overdue(frame_max: Duration) -> Failure {
    let problem = format!("the frame took longer than {} ms", frame_max.as_millis());
    (Fault::FrameTime, problem)
}

fn too_many() -> Failure {
    (Fault::Parts, format!("plugins made more than {PARTS_MAX} results of one frame"))
}

impl Step {
    fn inputs<'a>(&self, part: &'a Tensors) -> Result<Vec<&'a Tensor>, Failure> {
        let tensor = |source: &Source| match &part[source.place] {
            Some(tensor) => Ok(&**tensor),
            None => Err((Fault::Input, format!("nothing came from {}", source.from))),
        };
        self.sources.iter().map(tensor).collect()
    }

    fn error(&self, (fault, problem): Failure) -> FrameError {
        FrameError::Stage { stage: self.name.clone(), fault, problem }
    }

    /// Puts what it has made of a part behind `parts`: each result goes on by itself, with all that the
    /// part had.
    fn join(&self, part: Tensors, results: Results, parts: &mut Vec<Tensors>) {
        // The last of them takes the part itself.
        for (mut joined, outputs) in repeat_n(part, results.len()).zip(results) {
            for (place, tensor) in joined[self.outputs.clone()].iter_mut().zip(outputs) {
                *place = Some(Arc::new(tensor));
            }
            parts.push(joined);
        }
    }
}

impl Work {
    /// What the stages behind it go on with although it has failed in such a way.
    fn instead(&self, key: &str, fault: Fault) -> Option<(StandIn, Vec<Tensor>)> {
        match self {
            Work::Plugin(plugin) => plugin.instead(key, fault),
            Work::Model(_) | Work::BuiltIn { .. } => None,
        }
    }

    /// The stage's results for one part of a frame: exactly one but for plugins.
    fn run(
        &mut self,
        frame: &Frame<'_>,
        inputs: &[&Tensor],
        left: Duration,
        plugin_restarts: &mut u64,
    ) -> Result<Results, Failure> {
        match self {
            Work::Model(model) => match model.run(frame, inputs) {
                Ok(outputs) => Ok(vec![outputs]),
                Err(error) if error.is_not_finite() => Err((Fault::NotFinite, error.to_string())),
                Err(error) => Err((Fault::Model, error.to_string())),
            },
            Work::Plugin(plugin) => plugin.process(frame, inputs, left, plugin_restarts),
            Work::BuiltIn { stage, .. } => {
                if inputs.iter().any(|input| !input.is_finite()) {
                    return Err((Fault::NotFinite, "what came in is not finite".into()));
                }
                let outputs = stage.run(frame, inputs)?;
                match outputs.iter().all(Tensor::is_finite) {
                    true => Ok(vec![outputs]),
                    false => Err((Fault::NotFinite, "the answer is beyond 32 bits".into())),
                }
            }
        }
    }
}
