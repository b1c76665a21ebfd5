//! What the stages before have declared, for those that read from them.

use super::flow::Flow;
use super::graph::Source;
use super::plugin::elements;
use super::stages::{self, Fitted, Input};
use crate::tensor::{Element, Port, is_regrouped};
use lineside_bundle::stages::Each;
use lineside_bundle::{BundleFile, Cut, Output, Stage, TensorRef};
use std::collections::BTreeMap;
use std::ops::Range;

/// The tensors that there are, by who makes them: what each is, and its place among those of a frame.
#[derive(Default)]
pub(super) struct Made {
    flows: BTreeMap<TensorRef, (usize, Flow)>,
    count: usize,
}

impl Made {
    /// Adds what a stage makes. Gives the places of its tensors in a frame.
    pub(super) fn add(&mut self, stage: &str, outputs: &[Flow]) -> Range<usize> {
        let first = self.count;
        self.count += outputs.len();
        for (place, flow) in (first..).zip(outputs) {
            let name = flow.port.name();
            let output = (!name.is_empty()).then(|| name.to_owned());
            let tensor = TensorRef { stage: stage.to_owned(), output };
            self.flows.insert(tensor, (place, flow.clone()));
        }
        first..self.count
    }

    /// How many tensors a frame has when all stages have run.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// The tensor that is meant, and its place in a frame.
    ///
    /// # Errors
    /// As [`Made::flow`].
    pub(super) fn source(&self, from: TensorRef) -> Result<Source, String> {
        Ok(Source { place: self.found(&from)?.0, from })
    }

    /// The tensor that is meant.
    ///
    /// # Errors
    /// Where there is none, with those that there are.
    pub(super) fn flow(&self, wanted: &TensorRef) -> Result<&Flow, String> {
        Ok(&self.found(wanted)?.1)
    }

    fn found(&self, wanted: &TensorRef) -> Result<&(usize, Flow), String> {
        self.flows.get(wanted).ok_or_else(|| {
            let made = self.flows.keys().filter(|tensor| tensor.stage == wanted.stage);
            let outputs: Vec<String> = made.map(ToString::to_string).collect();
            format!("there is no {wanted}, only [{}]", outputs.join(", "))
        })
    }

    /// Checks that what feeds a model or a plugin is in the units that it asks for.
    ///
    /// # Errors
    /// What is in another unit, by input.
    pub(super) fn check_units(
        &self,
        inputs: &BTreeMap<String, TensorRef>,
        units: &BTreeMap<String, Each<String>>,
    ) -> Result<(), String> {
        for (name, wanted) in units {
            let Some(from) = inputs.get(name) else { continue };
            let flow = self.flow(from)?;
            flow.check_units(&format!("units.{name}"), wanted).map_err(|problem| {
                format!("input {name}: {from} is {}, {problem}", flow.port.form())
            })?;
        }
        Ok(())
    }

    /// Finds, for each input of a model or a plugin in its own order, the tensor that feeds it.
    ///
    /// # Errors
    /// What does not fit what, by input.
    pub(super) fn connect(&self, stage: &Stage, inputs: &[Port]) -> Result<Vec<TensorRef>, String> {
        let wanted: BTreeMap<&str, &TensorRef> = stage.tensors().into_iter().collect();
        for name in wanted.keys() {
            if !inputs.iter().any(|port| port.name() == *name) {
                let names: Vec<_> = inputs.iter().map(Port::name).collect();
                return Err(format!("has no input {name}, only [{}]", names.join(", ")));
            }
        }
        let mut sources = Vec::new();
        for port in inputs {
            let source = wanted
                .get(port.name())
                .ok_or_else(|| format!("nothing feeds input {} ({})", port.name(), port.form()))?;
            let from = &self.flow(source)?.port;
            let is_fit =
                from.element() == port.element() && is_regrouped(from.shape(), port.shape());
            if !is_fit {
                let cure = match from.element() == port.element() {
                    true if from.len() == port.len() => ": a stage `transpose` changes the order",
                    false if from.element().is_number() && port.element().is_number() => {
                        ": a stage `cast` changes the type"
                    }
                    _ => "",
                };
                let (name, wanted, given) = (port.name(), port.form(), from.form());
                return Err(format!("input {name} takes {wanted}, {source} is {given}{cure}"));
            }
            sources.push((*source).clone());
        }
        Ok(sources)
    }

    /// Fits a built-in stage to what feeds it; what that is comes first, in its own order.
    ///
    /// # Errors
    /// What does not fit, by input and key.
    pub(super) fn fit(&self, stage: &Stage) -> Result<(Vec<TensorRef>, Fitted), String> {
        let tensors = stage.tensors();
        let mut inputs = Vec::with_capacity(tensors.len());
        for &(name, from) in &tensors {
            inputs.push(Input { name, from, flow: self.flow(from)? });
        }
        let fitted = stages::fit(stage, &inputs)?;
        Ok((tensors.into_iter().map(|(_, from)| from.clone()).collect(), fitted))
    }

    /// Checks that an output is one number, in the unit that it says as far as anybody knows.
    ///
    /// # Errors
    /// What it is instead.
    pub(super) fn check_output(&self, output: &Output) -> Result<(), String> {
        let Output { from, unit } = output;
        let flow = self.flow(from)?;
        if flow.port.len() != 1 || !flow.port.element().is_number() {
            return Err(format!("{from} is {}, one number is needed", flow.port.form()));
        }
        let known = flow.units.of(0);
        match known.is_empty() || unit.is_empty() || known == unit {
            true => Ok(()),
            false => Err(format!("{from} is in {known}, not in {unit}")),
        }
    }

    /// As [`check_told`], of an output whose tensor is known.
    ///
    /// # Errors
    /// What it is instead.
    pub(super) fn check_told(
        &self,
        bundle: &BundleFile,
        name: &str,
        output: &Output,
    ) -> Result<(), String> {
        check_told(bundle, name, output, self.flow(&output.from)?.port.element())
    }
}

/// Checks that the alarm is yes or no, and that what the plant is told where there is no answer is a value such as
/// the output has. Devices run what says otherwise: they have bundles of before.
///
/// # Errors
/// What it is instead.
pub(super) fn check_told(
    bundle: &BundleFile,
    name: &str,
    output: &Output,
    element: Element,
) -> Result<(), String> {
    let from = &output.from;
    if bundle.alarm_output.as_deref() == Some(name) && element != Element::Bool {
        return Err(format!(
            "alarm_output names it, and {from} is {element}: an alarm is yes or no, which a stage `threshold` \
             makes of a number"
        ));
    }
    let Some(value) = bundle.fail_safe.get(name) else { return Ok(()) };
    let fits = elements(element, &[*value]);
    fits.map(drop)
        .map_err(|problem| format!("fail_safe.{name}: {problem}, and {from} is {element}"))
}

/// Which of a frame's windows a stage is, and what it gives.
///
/// # Errors
/// More than can be passed on.
pub(super) fn window(bundle: &BundleFile, stage: &str) -> Result<(usize, Flow), String> {
    let (place, port, rows, stride) = match bundle.cut() {
        Cut::Count { rows, stride } => (0, 0, u64::from(rows), u64::from(stride)),
        Cut::Time(_) => {
            let windows = bundle.time_windows().into_iter().enumerate();
            let mut windows = windows.filter(|(_, window)| window.stage == stage);
            let (place, window) = windows.next().ok_or("is no window of a frame")?;
            (place, window.port, window.rows, window.stride)
        }
    };
    let port = bundle.inputs.values().nth(port).ok_or("is made of no port")?;
    let (rows, stride) = (rows as usize, stride as usize);
    let shape = match port.fields.len() {
        1 => vec![rows],
        fields => vec![rows, fields],
    };
    let units: Vec<String> = port.fields.iter().map(|field| field.unit.clone()).collect();
    let flow = Flow::new(Element::F32, shape)?.in_units(units);
    Ok((place, Flow { stride: Some(stride), ..flow }))
}
