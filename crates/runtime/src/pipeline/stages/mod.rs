//! The stages that are built in. They compute in 64 bits, one operation after the other in the order in
//! which it is written, and give 32 bits: the same on every processor.

mod argmax;
mod cast;
mod colour;
mod constant;
mod crop;
mod difference;
mod filter;
mod image;
mod mel;
mod non_maximum_suppression;
mod normalise;
mod one_hot;
mod resize;
mod scale;
mod select;
mod softmax;
mod spectrum;
mod threshold;
mod top_k;
mod transpose;

pub(super) use constant::{data, tensor as constant};

use super::flow::{self, Flow};
use super::frame::Fault;
use super::graph::{Failure, Frame};
use crate::tensor::{Data, Element, Tensor};
use half::f16;
use lineside_bundle::stages::Each;
use lineside_bundle::{Stage as Described, TensorRef};
use std::cmp::Ordering;

/// A built-in stage at work.
pub(super) trait Stage: Send {
    /// What it makes of a frame, in the order of its outputs. What fails leaves the stream's state as it
    /// was. Inputs are those that it was fitted to, and finite.
    fn run(&mut self, frame: &Frame<'_>, inputs: &[&Tensor]) -> Result<Vec<Tensor>, Failure>;

    /// The stream `key` has ended.
    fn finish(&mut self, _key: &str) {}
}

/// A stage that fits what feeds it, and what it gives.
pub(super) struct Fitted {
    pub stage: Box<dyn Stage>,
    pub outputs: Vec<Flow>,
}

impl Fitted {
    /// A stage with one output.
    fn one(stage: impl Stage + 'static, output: Flow) -> Result<Fitted, String> {
        Ok(Fitted { stage: Box::new(stage), outputs: vec![output] })
    }
}

/// An input of a stage, and what feeds it.
pub(super) struct Input<'a> {
    /// The stage's name for it.
    pub name: &'a str,
    /// Where it comes from.
    pub from: &'a TensorRef,
    /// What comes.
    pub flow: &'a Flow,
}

impl Input<'_> {
    /// Says what is wrong with it: which input, what feeds it, and what that is.
    fn wrong(&self, problem: impl std::fmt::Display) -> String {
        format!("input {}: {} is {}, {problem}", self.name, self.from, self.flow.port.form())
    }

    /// Checks that there are numbers, or yes and no.
    fn check_numbers(&self) -> Result<(), String> {
        let port = &self.flow.port;
        match (port.element().is_number(), port.is_empty()) {
            (false, _) => Err(self.wrong("numbers are needed")),
            (true, true) => Err(self.wrong("which has no elements")),
            (true, false) => Ok(()),
        }
    }

    /// Checks that there is one number.
    fn check_single(&self) -> Result<(), String> {
        let port = &self.flow.port;
        match port.element().is_number() && port.len() == 1 {
            true => Ok(()),
            false => Err(self.wrong("one number is needed")),
        }
    }

    /// A number as the input's type has it: what 37.2 is to a tensor of 32 bits.
    fn rounded(&self, number: f64) -> f64 {
        match self.flow.port.element() {
            Element::F32 => f64::from(number as f32),
            Element::F16 => f16::from_f64(number).to_f64(),
            _ => number,
        }
    }

    /// Checks that it is in the unit that the stage asks for, as far as anybody knows.
    fn check_unit(&self, wanted: Option<&Each<String>>) -> Result<(), String> {
        wanted
            .map_or(Ok(()), |wanted| self.flow.check_units("input_unit", wanted))
            .map_err(|problem| self.wrong(problem))
    }

    /// The values of a setting, one for each column.
    fn spread<T: Clone>(&self, key: &str, values: &Each<T>) -> Result<Vec<T>, String> {
        values.spread(key, self.flow.columns()).map_err(|problem| self.wrong(problem))
    }

    /// The length of its last dimension; a number by itself is one of one.
    fn last(&self) -> usize {
        self.flow.port.shape().last().copied().unwrap_or(1)
    }

    /// Its shape with the last dimension replaced, or left out where nothing replaces it. A shape always
    /// has a dimension.
    fn shape_with(&self, last: Option<usize>) -> Vec<usize> {
        let shape = self.flow.port.shape();
        let before = &shape[..shape.len().saturating_sub(1)];
        let shape: Vec<usize> = before.iter().copied().chain(last).collect();
        if shape.is_empty() { vec![1] } else { shape }
    }
}

/// Fits a built-in stage to what feeds it.
///
/// # Errors
/// What does not fit, by input and key.
pub(super) fn fit(stage: &Described, inputs: &[Input<'_>]) -> Result<Fitted, String> {
    match (stage, inputs) {
        (Described::Select(it), [input]) => select::fit(it, input),
        (Described::Threshold(it), [input]) => threshold::fit(it, input),
        (Described::Scale(it), [input]) => scale::fit(it, input),
        (Described::Normalise(it), [input]) => normalise::fit(it, input),
        (Described::Difference(it), [input]) => difference::fit(it, input),
        (Described::OneHot(it), [input]) => one_hot::fit(it, input),
        (Described::Softmax(_), [input]) => softmax::fit(input),
        (Described::Argmax(_), [input]) => argmax::fit(input),
        (Described::TopK(it), [input]) => top_k::fit(it, input),
        (Described::Filter(it), [input]) => filter::fit(it, input),
        (Described::Spectrum(it), [input]) => spectrum::fit(it, input),
        (Described::Mel(it), [input]) => mel::fit(it, input),
        (Described::NonMaximumSuppression(it), [boxes, scores]) => {
            non_maximum_suppression::fit(it, boxes, scores)
        }
        (Described::Resize(it), [input]) => resize::fit(it, input),
        (Described::Crop(it), [input]) => crop::fit(it, input),
        (Described::Colour(it), [input]) => colour::fit(it, input),
        (Described::Transpose(it), [input]) => transpose::fit(it, input),
        (Described::Cast(it), [input]) => cast::fit(it, input),
        _ => Err("is no stage that is built in".into()),
    }
}

/// The tensor at a place among the inputs.
fn input<'a>(inputs: &[&'a Tensor], place: usize) -> Result<&'a Tensor, Failure> {
    inputs.get(place).copied().ok_or_else(|| (Fault::Input, "an input did not come".into()))
}

/// The numbers of the tensor at a place among the inputs.
fn numbers(inputs: &[&Tensor], place: usize) -> Result<Vec<f64>, Failure> {
    let tensor = input(inputs, place)?;
    flow::numbers(tensor).ok_or_else(|| (Fault::Input, "what came are no numbers".into()))
}

/// A tensor of the port's shape.
fn tensor(shape: &[usize], data: Data) -> Result<Tensor, Failure> {
    let unfit = || (Fault::Input, "what came has another shape than was declared".into());
    Tensor::new(shape.to_vec(), data).ok_or_else(unfit)
}

/// The order in which the greater of two finite numbers comes first; both noughts are equal.
fn descending(a: f64, b: f64) -> Ordering {
    b.partial_cmp(&a).unwrap_or(Ordering::Equal)
}

/// These numbers in 32 bits.
fn narrow(values: impl IntoIterator<Item = f64>) -> Data {
    Data::F32(values.into_iter().map(|value| value as f32).collect())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::tensor::Port;

    /// A stage of `bundle.toml` and the tensors that feed it, each with its units and its stride.
    pub(in crate::pipeline) struct Bench {
        fitted: Fitted,
        first: u64,
        shapes: Vec<Vec<usize>>,
    }

    /// What feeds a stage in a test: `f32 [rows, columns]` of a window.
    pub(in crate::pipeline) fn window(shape: &[usize]) -> Flow {
        Flow::new(Element::F32, shape.to_vec()).unwrap()
    }

    /// Fits a stage, written as in `bundle.toml`, to what feeds it.
    pub(in crate::pipeline) fn fitted(stage: &str, flows: &[Flow]) -> Result<Fitted, String> {
        let stage: Described = toml::from_str(stage).map_err(|error| error.to_string())?;
        stage.built_in().unwrap().check()?;
        let tensors = stage.tensors();
        assert_eq!(tensors.len(), flows.len());
        let inputs =
            tensors.iter().zip(flows).map(|((name, from), flow)| Input { name, from, flow });
        fit(&stage, &inputs.collect::<Vec<_>>())
    }

    /// Why a stage does not fit.
    pub(in crate::pipeline) fn refused(stage: &str, flow: Flow) -> String {
        fitted(stage, &[flow]).err().unwrap_or_else(|| "accepted".into())
    }

    impl Bench {
        pub(in crate::pipeline) fn new(stage: &str, flows: &[Flow]) -> Bench {
            let shapes = flows.iter().map(|flow| flow.port.shape().to_vec()).collect();
            Bench { fitted: fitted(stage, flows).unwrap(), first: 0, shapes }
        }

        /// What the stage says its outputs are.
        pub(in crate::pipeline) fn forms(&self) -> Vec<String> {
            let form = |flow: &Flow| {
                let name = flow.port.name();
                let gap = if name.is_empty() { "" } else { " " };
                format!("{name}{gap}{}", flow.port.form())
            };
            self.fitted.outputs.iter().map(form).collect()
        }

        /// The units of the first output.
        pub(in crate::pipeline) fn units(&self) -> Vec<String> {
            let flow = &self.fitted.outputs[0];
            (0..flow.columns()).map(|column| flow.units.of(column).to_owned()).collect()
        }

        /// Runs it on the next frame of a stream; what comes out is as was declared.
        pub(in crate::pipeline) fn run(
            &mut self,
            key: &str,
            inputs: &[Data],
        ) -> Result<Vec<Tensor>, Failure> {
            let first = self.first;
            self.first += 1;
            self.run_at(key, first, inputs)
        }

        /// As [`Bench::run`], of a frame that begins with reading `first`.
        pub(in crate::pipeline) fn run_at(
            &mut self,
            key: &str,
            first: u64,
            inputs: &[Data],
        ) -> Result<Vec<Tensor>, Failure> {
            let (number, since, is_by_time, time_unix_ns) = (first, 0, false, 0);
            self.run_frame(Frame { key, number, since, first, is_by_time, time_unix_ns }, inputs)
        }

        /// As [`Bench::run`], of a frame of a succession that began with frame `since`.
        pub(in crate::pipeline) fn run_since(
            &mut self,
            key: &str,
            since: u64,
            inputs: &[Data],
        ) -> Result<Vec<Tensor>, Failure> {
            let number = since;
            let (first, is_by_time, time_unix_ns) = (number, false, 0);
            self.run_frame(Frame { key, number, since, first, is_by_time, time_unix_ns }, inputs)
        }

        fn run_frame(&mut self, frame: Frame<'_>, inputs: &[Data]) -> Result<Vec<Tensor>, Failure> {
            let tensors = inputs.iter().zip(&self.shapes);
            let tensors: Vec<Tensor> = tensors
                .map(|(data, shape)| Tensor::new(shape.clone(), data.clone()).unwrap())
                .collect();
            let outputs = self.fitted.stage.run(&frame, &tensors.iter().collect::<Vec<_>>())?;
            assert_eq!(outputs.len(), self.fitted.outputs.len());
            for (tensor, flow) in outputs.iter().zip(&self.fitted.outputs) {
                let name = flow.port.name().to_owned();
                let port = Port::new(name, tensor.element(), tensor.shape().to_vec()).unwrap();
                assert_eq!(port, flow.port, "another form than was declared");
            }
            Ok(outputs)
        }

        /// Runs it on numbers, for the numbers of its first output.
        pub(in crate::pipeline) fn numbers(&mut self, values: &[f32]) -> Vec<f64> {
            let outputs = self.run("", &[Data::F32(values.to_vec())]).unwrap();
            flow::numbers(&outputs[0]).unwrap()
        }

        /// The stream has ended.
        pub(in crate::pipeline) fn finish(&mut self, key: &str) {
            self.fitted.stage.finish(key);
        }
    }

    /// Checks that numbers are what was computed by hand, to the accuracy of 32 bits.
    pub(in crate::pipeline) fn close(found: &[f64], wanted: &[f64]) {
        assert_eq!(found.len(), wanted.len(), "{found:?} {wanted:?}");
        for (found_one, wanted_one) in found.iter().zip(wanted) {
            let error = (found_one - wanted_one).abs();
            assert!(error <= 1e-6 * wanted_one.abs().max(1.0), "{found:?} {wanted:?}");
        }
    }

    #[test]
    fn bytes_and_nothing_at_all_are_refused_with_stage_input_and_form() {
        for (stage, what) in [
            ("kind = 'scale'\ninput = 'texts'\ngain = 2", "numbers are needed"),
            ("kind = 'normalise'\ninput = 'texts'\nmethod = 'z-score'", "numbers are needed"),
            ("kind = 'difference'\ninput = 'texts'", "numbers are needed"),
            ("kind = 'one-hot'\ninput = 'texts'\nclasses = 2", "numbers are needed"),
            ("kind = 'softmax'\ninput = 'texts'", "numbers are needed"),
            ("kind = 'argmax'\ninput = 'texts'", "numbers are needed"),
            ("kind = 'top-k'\ninput = 'texts'\nk = 1", "numbers are needed"),
            ("kind = 'filter'\ninput = 'texts'\nfir = [1]", "numbers are needed"),
            ("kind = 'spectrum'\ninput = 'texts'", "numbers are needed"),
            (
                "kind = 'mel'\ninput = 'texts'\nsize = 8\nrate_hz = 8\nbands = 1",
                "numbers are needed",
            ),
            ("kind = 'threshold'\ninput = 'texts'\nabove = 2", "one number is needed"),
        ] {
            let texts = Flow::new(Element::Bytes, vec![3]).unwrap();
            assert_eq!(refused(stage, texts), format!("input input: texts is bytes [3], {what}"));
            assert!(
                refused(stage, window(&[0, 3])).starts_with("input input: texts is f32 [0, 3], ")
            );
        }
    }
}
