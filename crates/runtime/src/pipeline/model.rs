//! Models at work, and what they carry from one frame of a stream to the next.

use super::graph::Frame;
use crate::engine::{Engine, EngineError};
use crate::tensor::{Data, Port, Tensor};
use std::collections::BTreeMap;

/// Elements that are kept of a recording.
const RECORDED_MAX: usize = 4 << 20;
/// Bytes that a model may carry, for each stream.
const STATE_BYTES_MAX: usize = 1 << 20;

/// A model of a pipeline.
pub(super) struct Model {
    name: &'static str,
    engine: Box<dyn Engine>,
    carried: Vec<Carried>,
    /// What each stream carries, in the order of `carried`, and the frame since which it does; none before
    /// its first frame.
    streams: BTreeMap<String, (u64, Vec<Tensor>)>,
    /// The last frames that may still be kept, and those that were.
    recording: (usize, Vec<Vec<Tensor>>),
}

/// A model as a recording has shown it.
pub(crate) struct Seen {
    /// What it takes.
    pub(crate) ports: Vec<Port>,
    /// The first frames, each with a tensor for every port.
    pub(crate) frames: Vec<Vec<Tensor>>,
}

/// An output that is an input of the stream's next frame.
struct Carried {
    output: usize,
    input: usize,
    /// What the input is at a stream's first frame.
    zero: Tensor,
}

impl Model {
    /// A model in the engine called `name`, with the outputs that it carries and the inputs that they
    /// become.
    ///
    /// # Errors
    /// What does not fit together, by both names.
    pub(super) fn new(
        name: &'static str,
        engine: Box<dyn Engine>,
        state: &BTreeMap<String, String>,
    ) -> Result<Model, String> {
        let mut carried = Vec::new();
        let mut bytes = 0;
        for (output, input) in state {
            let (output, from) = find("output", engine.outputs(), output)?;
            let (input, to) = find("input", engine.inputs(), input)?;
            if from.form() != to.form() {
                return Err(format!(
                    "output {} is {}, it cannot be input {}, which is {}",
                    from.name(),
                    from.form(),
                    to.name(),
                    to.form()
                ));
            }
            let each = to.element().size_bytes().unwrap_or(STATE_BYTES_MAX);
            bytes = to.len().saturating_mul(each).saturating_add(bytes);
            if bytes > STATE_BYTES_MAX {
                return Err(format!("its state has more than {STATE_BYTES_MAX} bytes"));
            }
            let zeros = Data::zeros(to.element(), to.len());
            let zero = Tensor::new(to.shape().to_vec(), zeros)
                .expect("a port has as many elements as its shape says");
            carried.push(Carried { output, input, zero });
        }
        Ok(Model { name, engine, carried, streams: BTreeMap::new(), recording: (0, vec![]) })
    }

    /// The engine's name.
    pub(super) fn engine_name(&self) -> &'static str {
        self.name
    }

    /// Whether it carries anything.
    pub(super) fn has_state(&self) -> bool {
        !self.carried.is_empty()
    }

    /// What it takes from other stages, in order.
    pub(super) fn fed(&self) -> Vec<Port> {
        let ports = self.engine.inputs().iter().enumerate();
        let fed = ports.filter(|(place, _)| !self.carried.iter().any(|it| it.input == *place));
        fed.map(|(_, port)| port.clone()).collect()
    }

    /// What it gives, in order.
    pub(super) fn outputs(&self) -> &[Port] {
        self.engine.outputs()
    }

    /// Runs it on a frame. Behind one that was not answered it begins anew; what fails here leaves the
    /// stream's state as it was.
    pub(super) fn run(
        &mut self,
        frame: &Frame<'_>,
        fed: &[&Tensor],
    ) -> Result<Vec<Tensor>, EngineError> {
        if self.carried.is_empty() {
            record(&mut self.recording, fed);
            return self.engine.run(fed);
        }
        let state = self.streams.get(frame.key);
        let state = state.filter(|(since, _)| *since == frame.since).map(|(_, state)| state);
        let mut inputs = Vec::with_capacity(fed.len() + self.carried.len());
        let mut fed = fed.iter();
        for place in 0..self.engine.inputs().len() {
            match self.carried.iter().position(|it| it.input == place) {
                Some(at) => inputs.push(state.map_or(&self.carried[at].zero, |state| &state[at])),
                // Where one is missing the engine says so.
                None => inputs.extend(fed.next()),
            }
        }
        record(&mut self.recording, &inputs);
        let outputs = self.engine.run(&inputs)?;
        let next = self.carried.iter().map(|it| outputs[it.output].clone()).collect();
        self.streams.insert(frame.key.to_owned(), (frame.since, next));
        Ok(outputs)
    }

    /// From now on so many frames are kept.
    pub(super) fn record(&mut self, frames: usize) {
        self.recording = (frames, vec![]);
    }

    /// Whether no more frames are kept.
    pub(super) fn has_recorded(&self) -> bool {
        self.recording.0 == 0
    }

    /// What it is, and what was kept so far.
    pub(super) fn seen(&mut self) -> Seen {
        let ports = self.engine.inputs().to_vec();
        Seen { ports, frames: std::mem::take(&mut self.recording.1) }
    }

    /// The stream `key` has ended.
    pub(super) fn finish(&mut self, key: &str) {
        self.streams.remove(key);
    }
}

fn record((left, frames): &mut (usize, Vec<Vec<Tensor>>), inputs: &[&Tensor]) {
    let Some(fewer) = left.checked_sub(1) else { return };
    let kept: usize = frames.iter().flatten().map(Tensor::len).sum();
    if kept + inputs.iter().map(|input| input.len()).sum::<usize>() > RECORDED_MAX {
        *left = 0;
        return;
    }
    *left = fewer;
    frames.push(inputs.iter().map(|input| (*input).clone()).collect());
}

fn find<'a>(what: &str, ports: &'a [Port], name: &str) -> Result<(usize, &'a Port), String> {
    ports.iter().enumerate().find(|(_, port)| port.name() == name).ok_or_else(|| {
        let names: Vec<_> = ports.iter().map(Port::name).collect();
        format!("has no {what} {name}, only [{}]", names.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::Element;

    /// Adds what comes to what came before, and fails over minus one.
    struct Sum([Port; 2], [Port; 2]);

    impl Engine for Sum {
        fn inputs(&self) -> &[Port] {
            &self.0
        }

        fn outputs(&self) -> &[Port] {
            &self.1
        }

        fn compute(&mut self, inputs: &[&Tensor]) -> Result<Vec<Tensor>, EngineError> {
            let [before, now] = [0, 1].map(|place| inputs[place].data().number(0).unwrap());
            if now == -1.0 {
                return Err(EngineError::Run("minus one".into()));
            }
            let sum = tensor((before + now) as f32);
            Ok(vec![sum.clone(), sum])
        }
    }

    /// The sum behind a frame of a succession that began with frame `since`.
    fn run(model: &mut Model, key: &str, since: u64, value: f32) -> Result<Tensor, EngineError> {
        let (number, first, is_by_time, time_unix_ns) = (since, since, false, 0);
        let frame = Frame { key, number, since, first, is_by_time, time_unix_ns };
        model.run(&frame, &[&tensor(value)]).map(|outputs| outputs[0].clone())
    }

    fn tensor(value: f32) -> Tensor {
        Tensor::new(vec![1], Data::F32(vec![value])).unwrap()
    }

    fn sum(inner: usize, state: (&str, &str)) -> Result<Model, String> {
        let port = |name: &str, size| Port::new(name.into(), Element::F32, vec![size]).unwrap();
        let engine = Sum([port("before", inner), port("x", 1)], [port("sum", 1), port("after", 1)]);
        let state = BTreeMap::from([(state.0.to_owned(), state.1.to_owned())]);
        Model::new("sum", Box::new(engine), &state)
    }

    #[test]
    fn each_stream_carries_its_own_state_from_zero_on() {
        let mut model = sum(1, ("after", "before")).unwrap();
        assert_eq!(model.fed().iter().map(Port::name).collect::<Vec<_>>(), ["x"]);
        let mut push = |key: &str, value| run(&mut model, key, 0, value);
        assert_eq!(push("a", 1.0).unwrap(), tensor(1.0));
        assert_eq!(push("b", 10.0).unwrap(), tensor(10.0));
        assert_eq!(push("a", 2.0).unwrap(), tensor(3.0));
        assert!(push("a", -1.0).is_err());
        assert_eq!(push("a", 4.0).unwrap(), tensor(7.0), "what failed has changed nothing");
        model.finish("a");
        assert_eq!(run(&mut model, "a", 0, 5.0).unwrap(), tensor(5.0));
        assert_eq!(run(&mut model, "b", 0, 1.0).unwrap(), tensor(11.0));
    }

    #[test]
    fn behind_a_frame_that_was_not_answered_it_begins_anew() {
        let mut model = sum(1, ("after", "before")).unwrap();
        assert_eq!(run(&mut model, "a", 0, 1.0).unwrap(), tensor(1.0));
        assert_eq!(run(&mut model, "a", 0, 1.0).unwrap(), tensor(2.0));
        assert_eq!(run(&mut model, "a", 7, 1.0).unwrap(), tensor(1.0));
        assert_eq!(run(&mut model, "a", 7, 1.0).unwrap(), tensor(2.0));
    }

    #[test]
    fn state_that_does_not_fit_is_refused_with_both_forms() {
        let refused = |inner, state| sum(inner, state).err().unwrap();
        assert_eq!(refused(1, ("h", "before")), "has no output h, only [sum, after]");
        assert_eq!(refused(1, ("after", "h")), "has no input h, only [before, x]");
        assert_eq!(
            refused(2, ("after", "before")),
            "output after is f32 [1], it cannot be input before, which is f32 [2]"
        );
    }
}
