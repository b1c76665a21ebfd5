//! What a shadow answers against what the release on the route answered for the same readings. Pure.
//!
//! Frames belong together that end with the same reading of the same stream, or by time at the same time: whoever cuts readings
//! alike numbers them alike, and of two that cut them otherwise the frames meet where they can.

use crate::capture::Answer;
use crate::worker::route::{Settled, Shape, says_nothing};
use lineside_rules::{ShadowLimits, ShadowObservation, Tolerance};
use lineside_runtime::{FrameOutcome, Part, Value};
use lineside_sketch::Histogram;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// Answers of the route that may wait for the shadow's.
const ANSWERS_MAX: usize = 20_000;

/// What was seen of a shadow.
#[derive(Debug, Clone)]
pub struct Comparison {
    limits: ShadowLimits,
    active: Shape,
    shadow: Shape,
    /// By stream, in the order of their readings.
    waiting: BTreeMap<String, VecDeque<Answer>>,
    answers: usize,
    seen: ShadowObservation,
    latency_ms: Histogram,
    active_latency_ms: Histogram,
}

impl Comparison {
    /// Of a shadow that cuts readings as `shadow` says with a route that cuts them as `active` says.
    /// Outputs agree within the tolerance that `limits` have for them.
    pub fn new(limits: ShadowLimits, active: Shape, shadow: Shape) -> Comparison {
        Comparison {
            limits,
            active,
            shadow,
            waiting: BTreeMap::new(),
            answers: 0,
            seen: ShadowObservation::default(),
            latency_ms: Histogram::default(),
            active_latency_ms: Histogram::default(),
        }
    }

    /// From now on outputs are compared by other limits. What was counted stays.
    pub fn set_limits(&mut self, limits: ShadowLimits) {
        self.limits = limits;
    }

    /// Takes a frame of the route whose readings the shadow is shown. One without an answer is
    /// nothing to compare with.
    pub fn active(&mut self, settled: &Settled) {
        let Some(answer) = Answer::of(settled, self.active) else { return };
        if self.answers >= ANSWERS_MAX {
            return self.gap();
        }
        self.waiting.entry(answer.key.clone()).or_default().push_back(answer);
        self.answers += 1;
    }

    /// Takes what the release on the route has answered before, in that order, to readings that the
    /// shadow will see. The newest are compared where they are too many.
    pub fn past(&mut self, answers: Vec<Answer>) {
        let over = answers.len().saturating_sub(ANSWERS_MAX - self.answers.min(ANSWERS_MAX));
        for answer in answers.into_iter().skip(over) {
            let stream = self.waiting.entry(answer.key.clone()).or_default();
            // After a power cut a frame may have been answered again.
            if stream.back().is_none_or(|last| last.end < answer.end) {
                stream.push_back(answer);
                self.answers += 1;
            }
        }
    }

    /// A frame of the route was answered whose readings the shadow does not see.
    pub fn gap(&mut self) {
        self.seen.gaps += 1;
    }

    /// Frames that were compared so far, and those in which all agreed.
    pub fn agreement(&self) -> (u64, u64) {
        (self.seen.frames, self.seen.agreed)
    }

    /// Takes a frame of the shadow.
    pub fn shadow(&mut self, outcome: &FrameOutcome) {
        let Some(end) = self.shadow.end(outcome.frame) else { return };
        let Some(stream) = self.waiting.get_mut(&outcome.key) else { return };
        // Frames come in order, so what lies before has met nothing and never will.
        let before = stream.partition_point(|answer| answer.end < end);
        stream.drain(..before);
        self.answers -= before;
        let Some(answer) = stream.pop_front_if(|answer| answer.end == end) else { return };
        self.answers -= 1;
        self.compare(&answer, outcome);
    }

    /// Its worker is gone: what waits for it is not answered any more.
    pub fn restart(&mut self) {
        self.waiting.clear();
        self.answers = 0;
    }

    /// Its worker died over what it was given.
    pub fn crashed(&mut self) {
        self.seen.crashes = self.seen.crashes.saturating_add(1);
    }

    /// It has been there for so much longer while readings came.
    pub fn passed(&mut self, time: Duration) {
        self.seen.ran = self.seen.ran.saturating_add(time);
    }

    /// What was seen.
    pub fn observation(&self) -> ShadowObservation {
        ShadowObservation {
            latency_ms_p95: self.latency_ms.quantile(0.95),
            active_latency_ms_p95: self.active_latency_ms.quantile(0.95),
            // What is news every second is enough.
            ran: Duration::from_secs(self.seen.ran.as_secs()),
            ..self.seen.clone()
        }
    }

    fn compare(&mut self, answer: &Answer, outcome: &FrameOutcome) {
        let parts = match &outcome.result {
            Ok(parts) => parts,
            // Readings of it were skipped. That says nothing about the release.
            Err(error) if says_nothing(error.reason()) => return self.gap(),
            Err(_) => {
                self.seen.frames += 1;
                self.seen.errors += 1;
                return;
            }
        };
        self.seen.frames += 1;
        let alarms = |parts: &[Part]| parts.iter().any(|part| part.alarm == Some(true));
        self.seen.alarms += u64::from(alarms(parts));
        self.seen.active_alarms += u64::from(alarms(&answer.parts));
        self.latency_ms.add(outcome.elapsed.as_secs_f64() * 1e3);
        self.active_latency_ms.add(answer.elapsed.as_secs_f64() * 1e3);
        for (counted, parts) in
            [(&mut self.seen.values, parts), (&mut self.seen.active_values, &answer.parts)]
        {
            for (name, value) in parts.iter().flat_map(|part| &part.outputs) {
                counted.add(name, value.as_f64());
            }
        }
        // As many answers, with an output in common each, and all of those in common agree.
        let mut agrees = parts.len() == answer.parts.len();
        for (got, expected) in parts.iter().zip(&answer.parts) {
            let mut common = false;
            for (name, expected) in &expected.outputs {
                let Some(got) = got.outputs.get(name) else { continue };
                common = true;
                let agreed = same(*got, *expected, self.limits.tolerance(name));
                let seen = self.seen.outputs.entry(name.clone()).or_default();
                seen.count(agreed, difference(*got, *expected));
                agrees &= agreed;
            }
            agrees &= common;
        }
        self.seen.agreed += u64::from(agrees);
    }
}

/// Whether an output agrees: yes and no exactly, numbers by their tolerance.
fn same(got: Value, expected: Value, tolerance: Tolerance) -> bool {
    match (got, expected) {
        (Value::Bool(_), _) | (_, Value::Bool(_)) => got == expected,
        _ => tolerance.allows(expected.as_f64(), got.as_f64()),
    }
}

fn difference(got: Value, expected: Value) -> f64 {
    let (got, expected) = (got.as_f64(), expected.as_f64());
    // Infinity is no further from itself than any other number.
    if got == expected { 0.0 } else { (got - expected).abs() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worker::route::More;
    use lineside_rules::Values;
    use lineside_runtime::{FrameError, Unused};

    const SIX: Shape = Shape { rows: 6, stride: 6, warm_up: 0, time: None };

    fn part(score: f64, alarm: bool) -> Part {
        let outputs = BTreeMap::from([
            ("score".to_owned(), Value::Number(score)),
            ("alarm".to_owned(), Value::Bool(alarm)),
        ]);
        Part { outputs, alarm: Some(alarm) }
    }

    fn settled(shape: Shape, frame: u64, result: Result<Vec<Part>, &str>) -> Settled {
        let first = frame * shape.stride;
        Settled {
            key: "k".into(),
            frame,
            first,
            last: first + shape.stride - 1,
            time_unix_ns: 0,
            elapsed: Duration::from_millis(2),
            result: result.map_err(|reason| crate::worker::route::Failure::new(reason, "")),
            inputs: vec![],
            more: More::default(),
        }
    }

    fn outcome(shape: Shape, frame: u64, result: Result<Vec<Part>, FrameError>) -> FrameOutcome {
        let first = frame * shape.stride;
        FrameOutcome {
            key: "k".into(),
            frame,
            first,
            last: first + shape.stride - 1,
            spans: vec![],
            unused: Unused::default(),
            time_unix_ns: 0,
            result,
            instead: None,
            said: Default::default(),
            elapsed: Duration::from_millis(8),
        }
    }

    fn stage() -> FrameError {
        FrameError::Reading { sequence: 0, problem: "no".into() }
    }

    fn of(active: Shape, shadow: Shape) -> Comparison {
        let near = Tolerance { absolute: 0.5, relative: 0.0 };
        let limits = ShadowLimits {
            tolerance: BTreeMap::from([("score".to_owned(), near)]),
            ..ShadowLimits::default()
        };
        Comparison::new(limits, active, shadow)
    }

    #[test]
    fn answers_to_the_same_readings_are_compared_output_by_output() {
        let mut comparison = of(SIX, SIX);
        let answers = [
            (part(1.0, false), Ok(vec![part(1.5, false)])), // within the tolerance
            (part(1.0, false), Ok(vec![part(2.0, false)])), // beyond it
            (part(1.0, false), Ok(vec![part(1.0, true)])),  // an alarm more
            (part(1.0, true), Ok(vec![])),                  // no answer to an alarm
            (part(1.0, false), Err(stage())),
        ];
        for (frame, (active, shadow)) in answers.into_iter().enumerate() {
            comparison.active(&settled(SIX, frame as u64, Ok(vec![active])));
            comparison.shadow(&outcome(SIX, frame as u64, shadow));
        }
        let seen = comparison.observation();
        assert_eq!((seen.frames, seen.agreed, seen.errors), (5, 1, 1));
        assert_eq!((seen.alarms, seen.active_alarms), (1, 1));
        let score = seen.outputs["score"];
        assert_eq!((score.compared, score.agreed, score.difference_max), (3, 2, 1.0));
        let alarm = seen.outputs["alarm"];
        assert_eq!((alarm.compared, alarm.agreed, alarm.difference_max), (3, 2, 1.0));
        // Of the frames that both have answered, what each has said.
        let of = |frames: &[(f64, f64)]| {
            let mut values = Values::default();
            for (score, alarm) in frames {
                values.add("score", *score);
                values.add("alarm", *alarm);
            }
            values
        };
        assert_eq!(seen.active_values, of(&[(1.0, 0.0), (1.0, 0.0), (1.0, 0.0), (1.0, 1.0)]));
        assert_eq!(seen.values, of(&[(1.5, 0.0), (2.0, 0.0), (1.0, 1.0)]));
        assert!((seen.latency_ms_p95.unwrap() - 8.0).abs() < 0.5);
        assert!((seen.active_latency_ms_p95.unwrap() - 2.0).abs() < 0.1);
    }

    #[test]
    fn what_one_of_both_did_not_answer_counts_in_neither() {
        let mut comparison = of(SIX, SIX);
        comparison.active(&settled(SIX, 0, Err("stage")));
        comparison.shadow(&outcome(SIX, 0, Ok(vec![part(1.0, true)])));
        comparison.active(&settled(SIX, 1, Err("stage")));
        comparison.shadow(&outcome(SIX, 1, Err(stage())));
        // The shadow passes over a frame, tells of one twice, and of one that nobody knows.
        comparison.active(&settled(SIX, 2, Ok(vec![part(1.0, true)])));
        comparison.active(&settled(SIX, 3, Ok(vec![part(1.0, true)])));
        for frame in [3, 3, 9] {
            comparison.shadow(&outcome(SIX, frame, Ok(vec![part(1.0, true)])));
        }
        let stranger = FrameOutcome { key: "x".into(), ..outcome(SIX, 3, Ok(vec![])) };
        comparison.shadow(&stranger);
        let seen = comparison.observation();
        assert_eq!((seen.frames, seen.agreed, seen.errors), (1, 1, 0));
        assert_eq!((seen.alarms, seen.active_alarms), (1, 1));
        // Its readings were skipped: that is nobody's fault.
        comparison.active(&settled(SIX, 4, Ok(vec![part(1.0, true)])));
        let broken = FrameError::Incomplete { have: 2, rows: 6 };
        comparison.shadow(&outcome(SIX, 4, Err(broken)));
        let seen = comparison.observation();
        assert_eq!((seen.frames, seen.errors, seen.gaps), (1, 0, 1));
    }

    #[test]
    fn where_windows_differ_those_are_compared_that_end_with_the_same_reading() {
        // 0-5 6-11 12-17 18-23 beside 0-8 3-11 6-14 9-17 12-20: 11 and 17 end windows of both.
        let nine = Shape { rows: 9, stride: 3, warm_up: 0, time: None };
        let mut comparison = of(SIX, nine);
        for frame in 0..4 {
            comparison.active(&settled(SIX, frame, Ok(vec![part(frame as f64, false)])));
        }
        for (frame, score) in [(0, 7.0), (1, 1.0), (2, 7.0), (3, 2.0), (4, 7.0)] {
            comparison.shadow(&outcome(nine, frame, Ok(vec![part(score, false)])));
        }
        let seen = comparison.observation();
        assert_eq!((seen.frames, seen.agreed), (2, 2));
    }

    #[test]
    fn a_number_that_is_none_agrees_with_nothing_and_names_of_others_are_not_compared() {
        let other = Part {
            outputs: BTreeMap::from([("level".to_owned(), Value::Number(1.0))]),
            alarm: None,
        };
        let mut comparison = of(SIX, SIX);
        let answers = [part(f64::NAN, false), other, part(f64::INFINITY, false)];
        for (frame, answer) in answers.into_iter().enumerate() {
            comparison.active(&settled(SIX, frame as u64, Ok(vec![part(f64::INFINITY, false)])));
            comparison.shadow(&outcome(SIX, frame as u64, Ok(vec![answer])));
        }
        let seen = comparison.observation();
        assert_eq!((seen.frames, seen.agreed), (3, 1));
        assert_eq!(seen.outputs["score"].difference_max, f64::MAX);
        assert!(!seen.outputs.contains_key("level"));
    }

    #[test]
    fn a_shadow_that_says_nothing_makes_nobody_remember_without_end() {
        let mut comparison = of(SIX, SIX);
        for frame in 0..3 * ANSWERS_MAX as u64 {
            comparison.active(&settled(SIX, frame, Ok(vec![part(1.0, false)])));
        }
        assert_eq!(comparison.answers, ANSWERS_MAX);
        assert_eq!(comparison.observation().gaps, 2 * ANSWERS_MAX as u64);
        comparison.restart();
        comparison.shadow(&outcome(SIX, 0, Ok(vec![part(1.0, false)])));
        assert_eq!(comparison.observation().frames, 0);
    }
}
