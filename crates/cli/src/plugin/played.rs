//! Recorded frames through a plugin: what it answered, and what that took.

use super::compare::Answer;
use super::frames::Recording;
use anyhow::{Context, anyhow};
use lineside_runtime::{
    CompiledPlugin, Instance, PluginError, Port, Sandbox, SandboxLimits, Tensor,
};
use std::time::{Duration, Instant};

/// Calls that are timed, and longest that frames are given again until there are so many.
const CALLS: usize = 500;
const CALLS_TIME_MAX: Duration = Duration::from_secs(1);
/// Lines of its log that are kept of one recording.
const LINES_MAX: usize = 1000;
/// Longest that one call may take where it is interpreted and counted.
const METERED_CALL_MAX: Duration = Duration::from_secs(300);

/// What one recording came to.
pub struct Played {
    pub outputs: Vec<Port>,
    pub answers: Vec<Answer>,
    /// How long each call took but for an instance's first, which is cold.
    pub times: Vec<Duration>,
    /// How long it took to start and configure an instance.
    pub start: Duration,
    /// Linear memory that an instance took, at most.
    pub memory_bytes: usize,
    pub said: Said,
}

/// What a plugin has said over a recording.
#[derive(Default)]
pub struct Said {
    /// By the line of the recording; none of what it said when an instance was started.
    pub lines: Vec<(Option<usize>, String)>,
    /// How many lines more were dropped, as a bundle drops them.
    pub dropped: u64,
    /// How many lines more are not kept here.
    pub left_out: u64,
}

impl Said {
    fn add(&mut self, line: Option<usize>, (lines, dropped): (Vec<String>, u64)) {
        let taken = lines.len().min(LINES_MAX.saturating_sub(self.lines.len()));
        self.dropped = self.dropped.saturating_add(dropped);
        self.left_out += (lines.len() - taken) as u64;
        self.lines.extend(lines.into_iter().take(taken).map(|text| (line, text)));
    }
}

/// What the same recording came to where it was interpreted and counted.
pub struct Metered {
    /// Instructions of each call.
    pub fuel: Vec<u64>,
    /// Whether all answers were the same, bit for bit.
    pub is_alike: bool,
}

/// A plugin, ready to be started.
pub struct Compiled {
    /// For this machine.
    pub native: CompiledPlugin,
    /// How long that took.
    pub took: Duration,
    /// To be interpreted, and counted.
    pub metered: CompiledPlugin,
}

/// Compiles the plugin both ways, at once: one with an interpreter of its own takes long.
///
/// # Errors
/// Why there is no such plugin.
pub fn compiled(wasm: &[u8]) -> anyhow::Result<Compiled> {
    std::thread::scope(|scope| {
        let metered = scope.spawn(|| Sandbox::metered()?.compile(wasm));
        let sandbox = Sandbox::native(None)?;
        let started = Instant::now();
        let native = sandbox.compile(wasm)?;
        let took = started.elapsed();
        let metered = metered.join().map_err(|_| anyhow!("the compiler gave up over it"))??;
        Ok(Compiled { native, took, metered })
    })
}

/// Gives a plugin the frames of a recording, and then again until enough calls have been timed.
///
/// # Errors
/// The plugin cannot be started, or a frame is none that it takes, by line.
pub fn play(
    plugin: &CompiledPlugin,
    recording: &Recording,
    limits: SandboxLimits,
) -> anyhow::Result<Played> {
    let started = Instant::now();
    let instance = plugin.start(&recording.settings, limits)?;
    let start = started.elapsed();
    let outputs = instance.outputs().to_vec();
    let inputs = tensors(recording, instance.inputs())?;
    let mut round = Round::of(instance, plugin, recording, limits);
    let answers = round.run(&inputs)?;
    let Round { times, memory_bytes, said, .. } = round;
    let mut played = Played { outputs, answers, times, start, memory_bytes, said };
    let begun = Instant::now();
    let is_whole = played.answers.iter().all(survived);
    while is_whole && played.times.len() < CALLS && begun.elapsed() < CALLS_TIME_MAX {
        let instance = plugin.start(&recording.settings, limits)?;
        let mut round = Round::of(instance, plugin, recording, limits);
        round.run(&inputs)?;
        if round.times.is_empty() {
            break;
        }
        played.times.extend(round.times);
    }
    Ok(played)
}

/// Gives an interpreted plugin the same frames, and counts.
///
/// # Errors
/// The plugin cannot be started.
pub fn meter(
    plugin: &CompiledPlugin,
    recording: &Recording,
    answers: &[Answer],
    memory_bytes: usize,
) -> anyhow::Result<Metered> {
    let limits = SandboxLimits::new(memory_bytes, METERED_CALL_MAX);
    let instance = plugin.start(&recording.settings, limits)?;
    let inputs = tensors(recording, instance.inputs())?;
    let mut round = Round::of(instance, plugin, recording, limits);
    let again = round.run(&inputs)?;
    let is_alike = again.iter().zip(answers).all(|(again, answer)| is_same(again, answer));
    Ok(Metered { fuel: round.fuel, is_alike })
}

/// Whether the instance is still there after such an answer.
pub(super) fn survived(answer: &Answer) -> bool {
    matches!(answer, Ok(_) | Err(PluginError::Refused(_)))
}

/// Two answers are compared by their bits: no answer has a NaN.
fn is_same(one: &Answer, other: &Answer) -> bool {
    let bits = |answer: &Answer| answer.as_ref().map(|results| format!("{results:?}")).ok();
    match (one, other) {
        (Err(one), Err(other)) => one == other,
        _ => one.is_ok() == other.is_ok() && bits(one) == bits(other),
    }
}

/// The tensors of each call.
fn tensors(recording: &Recording, ports: &[Port]) -> anyhow::Result<Vec<Vec<Tensor>>> {
    let tensors = recording.calls.iter().map(|call| {
        let at = || format!("{} line {}", recording.file.display(), call.line);
        call.tensors(ports).with_context(at)
    });
    tensors.collect()
}

/// One time through a recording.
struct Round<'a> {
    instance: Instance,
    plugin: &'a CompiledPlugin,
    recording: &'a Recording,
    limits: SandboxLimits,
    times: Vec<Duration>,
    fuel: Vec<u64>,
    memory_bytes: usize,
    said: Said,
}

impl<'a> Round<'a> {
    fn of(
        instance: Instance,
        plugin: &'a CompiledPlugin,
        recording: &'a Recording,
        limits: SandboxLimits,
    ) -> Round<'a> {
        let (times, fuel, said) = (Vec::new(), Vec::new(), Said::default());
        Round { instance, plugin, recording, limits, times, fuel, memory_bytes: 0, said }
    }

    fn run(&mut self, inputs: &[Vec<Tensor>]) -> anyhow::Result<Vec<Answer>> {
        let mut answers = Vec::with_capacity(inputs.len());
        let mut is_cold = true;
        self.said.add(None, self.instance.take_lines());
        for (call, inputs) in self.recording.calls.iter().zip(inputs) {
            let inputs: Vec<&Tensor> = inputs.iter().collect();
            let started = Instant::now();
            let answer = match call.frame {
                Some(frame) => self.instance.process(frame, &inputs, self.limits.call),
                None => self.instance.finish(),
            };
            let elapsed = started.elapsed();
            if !is_cold && call.frame.is_some() {
                self.times.push(elapsed);
            }
            self.fuel.extend(self.instance.fuel());
            self.memory_bytes = self.memory_bytes.max(self.instance.memory_bytes());
            self.said.add(Some(call.line), self.instance.take_lines());
            is_cold = !survived(&answer);
            if is_cold {
                // As on a device: a fresh one goes on.
                self.instance = self.plugin.start(&self.recording.settings, self.limits)?;
                self.said.add(None, self.instance.take_lines());
            }
            answers.push(answer);
        }
        Ok(answers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_a_bundle_drops_and_those_that_are_not_kept_are_counted_apart() {
        let mut said = Said::default();
        said.add(Some(1), (vec!["one".into()], 2));
        said.add(Some(2), (vec!["more".into(); LINES_MAX], 0));
        assert_eq!((said.lines.len(), said.dropped, said.left_out), (LINES_MAX, 2, 1));
    }
}
