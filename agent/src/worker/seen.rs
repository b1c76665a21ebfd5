//! What was seen of a release since it took the route: the evidence of a trial.

use crate::worker::route::{Settled, says_nothing};
use lineside_rules::Observation;
use lineside_sketch::Histogram;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Counts of the release on the route.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    observation: Observation,
    latency_ms: Histogram,
    /// The outputs that its bundle has: what a worker calls otherwise is not kept.
    outputs: BTreeSet<String>,
    /// The worker has accounted for a frame since it was started.
    answers: bool,
}

impl Seen {
    /// Of a release that has taken the route, with the outputs of its bundle.
    pub fn of<'a>(outputs: impl IntoIterator<Item = &'a String>) -> Seen {
        Seen { outputs: outputs.into_iter().cloned().collect(), ..Seen::default() }
    }

    /// Takes a frame that was settled while the release had the route.
    ///
    /// A frame in which the recording ended, or its clock was set back, says nothing about the release. One
    /// whose readings gave way is counted apart, and only once the worker answers: while it is started, readings give way
    /// however fast the release is.
    pub fn settled(&mut self, settled: &Settled) {
        let seen = &mut self.observation;
        match &settled.result {
            Err(failure) if says_nothing(&failure.reason) => return,
            Err(failure) if failure.reason == "gap" => {
                seen.gaps += u64::from(self.answers);
                return;
            }
            Err(failure) => {
                seen.errors += 1;
                seen.traps += u64::from(failure.is_broken_plugin);
            }
            Ok(parts) => {
                seen.answers += parts.len() as u64;
                seen.alarms += u64::from(parts.iter().any(|part| part.alarm == Some(true)));
                let outputs = parts.iter().flat_map(|part| &part.outputs);
                for (name, value) in outputs.filter(|(name, _)| self.outputs.contains(*name)) {
                    let value = value.as_f64();
                    seen.values.add(name, value);
                    let range = seen.outputs.entry(name.clone()).or_insert((value, value));
                    // NaN stays: f64::min would forget it.
                    if value.is_nan() || value < range.0 {
                        range.0 = value;
                    }
                    if value.is_nan() || value > range.1 {
                        range.1 = value;
                    }
                }
                self.latency_ms.add(settled.elapsed.as_secs_f64() * 1e3);
            }
        }
        seen.frames += 1;
        // What plugins held back until the end accounts for none.
        seen.readings += settled.last.wrapping_add(1).saturating_sub(settled.first);
        seen.readings += settled.more.others.iter().map(|(_, span, _)| span.count()).sum::<u64>();
        self.answers = true;
    }

    /// Takes that it has had the route for so much longer while readings came.
    pub fn passed(&mut self, time: Duration) {
        self.observation.ran = self.observation.ran.saturating_add(time);
    }

    /// Takes the death of its worker.
    pub fn crashed(&mut self) {
        self.observation.crashes = self.observation.crashes.saturating_add(1);
        self.answers = false;
    }

    /// Takes that somebody else has ended its worker.
    pub fn killed(&mut self) {
        self.observation.kills = self.observation.kills.saturating_add(1);
        self.answers = false;
    }

    /// What was seen.
    pub fn observation(&self) -> Observation {
        Observation {
            latency_ms_p95: self.latency_ms.quantile(0.95),
            // What is news every second is enough.
            ran: Duration::from_secs(self.observation.ran.as_secs()),
            ..self.observation.clone()
        }
    }

    /// The ranges of outputs seen, for tests and people.
    pub fn outputs(&self) -> &BTreeMap<String, (f64, f64)> {
        &self.observation.outputs
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worker::route::Failure;
    use lineside_rules::Values;
    use lineside_runtime::{Part, Value};

    fn frame(result: Result<f64, &str>) -> Settled {
        Settled {
            key: String::new(),
            frame: 0,
            first: 0,
            last: 0,
            time_unix_ns: 0,
            elapsed: Duration::from_millis(2),
            result: match result {
                Ok(score) => {
                    let outputs = BTreeMap::from([("score".to_owned(), Value::Number(score))]);
                    Ok(vec![Part { outputs, alarm: Some(score > 1.0) }])
                }
                Err(reason) => Err(Failure {
                    is_broken_plugin: reason.starts_with("plugin_trap"),
                    ..Failure::new(reason, "")
                }),
            },
            inputs: vec![],
            more: Default::default(),
        }
    }

    #[test]
    fn a_trial_sees_errors_alarms_and_every_value_that_is_no_number() {
        let mut seen = Seen::of([&"score".to_owned()]);
        for result in [Ok(0.5), Ok(3.0), Err("stage"), Err("incomplete"), Err("gap"), Ok(-1.0)] {
            seen.settled(&frame(result));
        }
        let Observation { frames, errors, alarms, latency_ms_p95, outputs, .. } =
            seen.observation();
        assert_eq!((frames, errors, alarms), (4, 1, 1));
        assert_eq!(outputs["score"], (-1.0, 3.0));
        assert!((latency_ms_p95.unwrap() - 2.0).abs() < 0.1);
        seen.settled(&frame(Ok(f64::NAN)));
        seen.settled(&frame(Ok(0.0)));
        let (low, high) = seen.outputs()["score"];
        assert!(low.is_nan() && high.is_nan());
    }

    #[test]
    fn what_a_successor_is_compared_with_is_counted_by_readings_answers_and_values() {
        let mut seen = Seen::of([&"score".to_owned()]);
        for result in [Ok(0.5), Err("plugin_trap"), Err("plugin_refused"), Err("gap"), Ok(-1.0)] {
            let settled = Settled { first: 6, last: 11, ..frame(result) };
            seen.settled(&settled);
        }
        let mut twice = frame(Ok(0.5));
        let part = twice.result.as_ref().map(|parts| parts[0].clone()).unwrap_or_else(|_| panic!());
        twice.result = Ok(vec![part.clone(), part]);
        // What plugins held back until the end.
        seen.settled(&Settled { first: 12, last: 11, ..twice });
        let Observation { frames, errors, traps, readings, answers, values, .. } =
            seen.observation();
        assert_eq!((frames, errors, traps), (5, 2, 1));
        assert_eq!((readings, answers), (24, 4));
        let mut expected = Values::default();
        [0.5, -1.0, 0.5, 0.5].iter().for_each(|value| expected.add("score", *value));
        assert_eq!(values, expected);
    }

    #[test]
    fn what_a_worker_makes_up_is_neither_kept_nor_counted_beyond_all_bounds() {
        let mut seen = Seen::of([&"level".to_owned()]);
        seen.settled(&Settled { first: 0, last: u64::MAX, ..frame(Ok(0.5)) });
        let Observation { frames, readings, outputs, values, .. } = seen.observation();
        assert_eq!((frames, readings), (1, 0));
        assert!(outputs.is_empty() && values.is_empty());
    }

    #[test]
    fn readings_that_give_way_are_held_against_a_release_only_while_it_answers() {
        let mut seen = Seen::of([&"score".to_owned()]);
        let gaps = |seen: &mut Seen, results: &[Result<f64, &str>]| {
            for result in results {
                seen.settled(&frame(*result));
            }
            seen.observation().gaps
        };
        assert_eq!(gaps(&mut seen, &[Err("gap"), Err("gap"), Ok(0.5)]), 0);
        assert_eq!(gaps(&mut seen, &[Err("gap"), Err("stage"), Err("gap")]), 2);
        seen.crashed();
        assert_eq!(gaps(&mut seen, &[Err("gap"), Err("gap"), Ok(0.5), Err("gap")]), 3);
        seen.killed();
        assert_eq!(gaps(&mut seen, &[Err("gap"), Ok(0.5), Err("gap")]), 4);
        let seen = seen.observation();
        assert_eq!((seen.frames, seen.crashes, seen.kills), (4, 1, 1));
    }
}
