//! A plugin as a stage: an instance a stream, replaced when it breaks, and what is given then.

use super::frame::{Fault, StandIn};
use super::graph::{Failure, Frame, overdue};
use super::said::{Lines, Said};
use super::stages::data;
use crate::plugin::{CompiledPlugin, Instance, PluginError, Results, SandboxLimits};
use crate::tensor::{Data, Element, Port, Tensor};
use lineside_bundle::{FailSafe, OnTrap};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// A call of a plugin, as it was ([`Pipeline::record_plugin`](super::Pipeline::record_plugin)).
pub struct PluginCall {
    /// The stream.
    pub key: String,
    /// Number, sequence number of the first reading, and time in nanoseconds since 1970; none at the end of
    /// the stream.
    pub frame: Option<(u64, u64, i64)>,
    /// What it was given, by the names of its inputs.
    pub inputs: Vec<(String, Tensor)>,
    /// What each of its results holds.
    pub outputs: Vec<Port>,
    /// What it answered, in the order of its outputs.
    pub answer: Result<Results, PluginError>,
}

/// Frames in a row without a break after which one is forgiven.
const FORGIVEN_AFTER: u32 = 1000;

/// What a plugin gives where it breaks.
pub(super) enum Policy {
    /// Nothing.
    Drop,
    /// Its last result, by stream.
    HoldLast(BTreeMap<String, Vec<Tensor>>),
    /// These tensors, in the order of its outputs.
    FailSafe(Vec<Tensor>),
}

/// How a bundle wants a plugin to be run.
pub(super) struct Rules {
    /// Handed to `configure`.
    pub settings: Vec<(String, String)>,
    pub limits: SandboxLimits,
    pub policy: Policy,
    /// Breaks that it survives; one more, and it is not run any more.
    pub traps_max: u32,
    /// Lines that it may say in a second.
    pub lines_per_second: usize,
}

/// A plugin and its instances: one a stream, because they carry that stream's state.
pub(super) struct Plugin {
    compiled: CompiledPlugin,
    settings: Vec<(String, String)>,
    limits: SandboxLimits,
    instances: BTreeMap<String, Instance>,
    policy: Policy,
    breaks: Breaks,
    lines: Lines,
    /// Its calls, where they are kept.
    calls: Option<Vec<PluginCall>>,
}

impl Plugin {
    /// A stage of a plugin that is started anew for each stream.
    pub(super) fn new(compiled: CompiledPlugin, rules: Rules) -> Plugin {
        let Rules { settings, limits, policy, traps_max, lines_per_second } = rules;
        Plugin {
            compiled,
            settings,
            limits,
            instances: BTreeMap::new(),
            policy,
            breaks: Breaks { max: traps_max, ..Breaks::default() },
            lines: Lines::new(lines_per_second),
            calls: None,
        }
    }

    /// From now on its calls are kept until they are taken. Gives its settings.
    pub(super) fn record(&mut self) -> &[(String, String)] {
        self.calls.get_or_insert_default();
        &self.settings
    }

    /// The calls that were kept since this was last asked.
    pub(super) fn take_calls(&mut self) -> Vec<PluginCall> {
        self.calls.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// What it makes of one part of a frame, within the time that the frame has `left`.
    pub(super) fn process(
        &mut self,
        frame: &Frame<'_>,
        inputs: &[&Tensor],
        left: Duration,
        restarts: &mut u64,
    ) -> Result<Results, Failure> {
        if self.breaks.are_too_many() {
            return Err((Fault::PluginQuarantined, self.breaks.words()));
        }
        if !self.instances.contains_key(frame.key) {
            let started = self.compiled.start(&self.settings, self.limits);
            let instance = started.map_err(|error| (Fault::PluginStart, error.to_string()))?;
            self.instances.insert(frame.key.to_owned(), instance);
        }
        let Some(instance) = self.instances.get_mut(frame.key) else {
            return Err((Fault::PluginStart, "no instance of it is there".into()));
        };
        let told = (frame.number, frame.first, frame.time_unix_ns);
        let answer = instance.process(told, inputs, left);
        if let Some(calls) = &mut self.calls {
            let names = instance.inputs().iter().map(|port| port.name().to_owned());
            calls.push(PluginCall {
                key: frame.key.to_owned(),
                frame: Some(told),
                inputs: names.zip(inputs.iter().map(|tensor| (*tensor).clone())).collect(),
                outputs: instance.outputs().to_vec(),
                answer: answer.clone(),
            });
        }
        self.lines.add(instance.take_lines(), Instant::now);
        match &answer {
            Ok(results) => {
                self.breaks.answered();
                if let (Policy::HoldLast(held), Some(last)) = (&mut self.policy, results.last()) {
                    held.insert(frame.key.to_owned(), last.clone());
                }
            }
            Err(PluginError::Refused(_)) => {}
            // Its memory can no longer be relied on: the next frame gets a fresh instance.
            Err(_) => {
                self.instances.remove(frame.key);
                self.breaks.broke();
                *restarts += 1;
            }
        }
        answer.map_err(|error| match error {
            // It had what was left of the frame's time, which may have been next to nothing.
            PluginError::Time(_) => (Fault::PluginTime, overdue(self.limits.call).1),
            error => failure(error),
        })
    }

    /// What the stages behind it go on with although it has broken in such a way.
    pub(super) fn instead(&self, key: &str, fault: Fault) -> Option<(StandIn, Vec<Tensor>)> {
        if !fault.is_broken_plugin() && fault != Fault::PluginStart {
            return None;
        }
        match &self.policy {
            Policy::Drop => None,
            Policy::HoldLast(held) => Some((StandIn::Held, held.get(key)?.clone())),
            Policy::FailSafe(tensors) => Some((StandIn::FailSafe, tensors.clone())),
        }
    }

    /// What it has held back, at the end of a stream; its instance ends with it.
    pub(super) fn finish(
        &mut self,
        frame: &Frame<'_>,
        restarts: &mut u64,
    ) -> Result<Results, Failure> {
        if let Policy::HoldLast(held) = &mut self.policy {
            held.remove(frame.key);
        }
        let Some(mut instance) = self.instances.remove(frame.key) else { return Ok(vec![]) };
        let answer = instance.finish();
        if let Some(calls) = &mut self.calls {
            calls.push(PluginCall {
                key: frame.key.to_owned(),
                frame: None,
                inputs: vec![],
                outputs: instance.outputs().to_vec(),
                answer: answer.clone(),
            });
        }
        self.lines.add(instance.take_lines(), Instant::now);
        if !matches!(&answer, Ok(_) | Err(PluginError::Refused(_))) {
            self.breaks.broke();
            *restarts += 1;
        }
        answer.map_err(failure)
    }

    /// Tells what it has said since this was last asked.
    pub(super) fn tell(&mut self, stage: &str, said: &mut Said) {
        self.lines.tell(stage, said);
    }
}

/// How often a plugin has broken, and whether that is too often.
#[derive(Default)]
struct Breaks {
    count: u32,
    max: u32,
    answered_since: u32,
    are_too_many: bool,
}

impl Breaks {
    fn broke(&mut self) {
        self.count += 1;
        self.answered_since = 0;
        self.are_too_many |= self.count > self.max;
    }

    /// What breaks once in a long while is not to be given up after years.
    fn answered(&mut self) {
        self.answered_since += 1;
        if self.answered_since >= FORGIVEN_AFTER {
            (self.count, self.answered_since) = (self.count.saturating_sub(1), 0);
        }
    }

    fn are_too_many(&self) -> bool {
        self.are_too_many
    }

    fn words(&self) -> String {
        format!(
            "the plugin broke {} times, {} are allowed: it is in quarantine and not run any more",
            self.count, self.max
        )
    }
}

/// What a plugin with such outputs gives where it breaks.
///
/// # Errors
/// Values that are none of its outputs', or not as many or not of the type that one has.
pub(super) fn policy(
    on_trap: OnTrap,
    values: &BTreeMap<String, Vec<FailSafe>>,
    outputs: &[Port],
) -> Result<Policy, String> {
    if let Some(name) = values.keys().find(|name| outputs.iter().all(|it| it.name() != *name)) {
        let names: Vec<_> = outputs.iter().map(Port::name).collect();
        return Err(format!("fail_safe: it has no output {name}, only [{}]", names.join(", ")));
    }
    let tensor = |port: &Port| {
        let (name, form) = (port.name(), port.form());
        let values = values.get(name);
        let values = values.ok_or_else(|| format!("fail_safe: nothing for {name} ({form})"))?;
        let data = elements(port.element(), values)
            .map_err(|problem| format!("fail_safe.{name}: {problem}"))?;
        Tensor::new(port.shape().to_vec(), data).ok_or_else(|| {
            let (needed, given) = (port.len(), values.len());
            format!(
                "fail_safe.{name}: it is {form}, that is {needed} values, and {given} are given"
            )
        })
    };
    Ok(match on_trap {
        OnTrap::Drop => Policy::Drop,
        OnTrap::HoldLast => Policy::HoldLast(BTreeMap::new()),
        OnTrap::FailSafe => Policy::FailSafe(outputs.iter().map(tensor).collect::<Result<_, _>>()?),
    })
}

/// The values as elements of this type.
///
/// # Errors
/// The first that is none.
pub(super) fn elements(element: Element, values: &[FailSafe]) -> Result<Data, String> {
    if element == Element::Bool {
        let truth = |value: &FailSafe| match value {
            FailSafe::Bool(value) => Ok(*value),
            FailSafe::Number(number) => Err(format!("{number} is neither true nor false")),
        };
        return values.iter().map(truth).collect::<Result<_, _>>().map(Data::Bool);
    }
    let number = |value: &FailSafe| match value {
        FailSafe::Number(number) => Ok(*number),
        FailSafe::Bool(value) => Err(format!("{value} is no number")),
    };
    data(element, &values.iter().map(number).collect::<Result<Vec<_>, _>>()?)
}

fn failure(error: PluginError) -> Failure {
    let fault = match &error {
        PluginError::Refused(_) => Fault::PluginRefused,
        PluginError::Trap(_) => Fault::PluginTrap,
        PluginError::Time(_) => Fault::PluginTime,
        PluginError::Memory(_) => Fault::PluginMemory,
        PluginError::Output(_) => Fault::PluginOutput,
        PluginError::Answer(_) => Fault::PluginAnswer,
    };
    (fault, error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_break_is_forgiven_after_a_thousand_answers_in_a_row_and_quarantine_has_no_end() {
        let mut breaks = Breaks { max: 2, ..Breaks::default() };
        let answered = |breaks: &mut Breaks, times| (0..times).for_each(|_| breaks.answered());
        breaks.broke();
        answered(&mut breaks, 999);
        breaks.broke();
        answered(&mut breaks, 999);
        assert_eq!(breaks.count, 2);
        answered(&mut breaks, 1);
        breaks.broke();
        assert!(!breaks.are_too_many(), "one was forgiven");
        breaks.broke();
        assert!(breaks.are_too_many());
        answered(&mut breaks, 10_000);
        assert!(breaks.are_too_many());
    }

    #[test]
    fn values_for_the_worst_are_checked_against_the_outputs() {
        let outputs = [
            Port::new("level".into(), Element::F32, vec![2, 1]).unwrap(),
            Port::new("count".into(), Element::I64, vec![1]).unwrap(),
            Port::new("alarm".into(), Element::Bool, vec![1]).unwrap(),
        ];
        let check = |text: &str| {
            let values: BTreeMap<String, Vec<FailSafe>> = toml::from_str(text).unwrap();
            match policy(OnTrap::FailSafe, &values, &outputs) {
                Ok(Policy::FailSafe(tensors)) => format!("{} tensors", tensors.len()),
                Ok(_) => "another policy".into(),
                Err(problem) => problem,
            }
        };
        let good = "level = [0, 1.5]\ncount = [-1.0]\nalarm = [true]";
        assert_eq!(check(good), "3 tensors");
        for (from, to, said) in [
            (
                "[0, 1.5]",
                "[0]",
                "fail_safe.level: it is f32 [2, 1], that is 2 values, and 1 are given",
            ),
            ("[-1.0]", "[0.5]", "fail_safe.count: 0.5 is no i64"),
            ("[-1.0]", "[true]", "fail_safe.count: true is no number"),
            ("[true]", "[1.0]", "fail_safe.alarm: 1 is neither true nor false"),
            ("alarm = [true]", "", "fail_safe: nothing for alarm (bool [1])"),
            ("alarm", "alert", "fail_safe: it has no output alert, only [level, count, alarm]"),
        ] {
            assert_eq!(check(&good.replace(from, to)), said);
        }
    }
}
