//! Whether a value is beyond a level, with what it takes to be so and to be so no longer.

use super::{Fitted, Input, Stage, numbers, tensor};
use crate::pipeline::flow::Flow;
use crate::pipeline::frame::Fault;
use crate::pipeline::graph::{Failure, Frame};
use crate::tensor::{Data, Element, Tensor};
use lineside_bundle::stages::{BuiltIn, Threshold};
use std::collections::BTreeMap;

struct Level {
    /// With its levels as the input's type has them: a reading of 37.2 is at the level 37.2.
    threshold: Threshold,
    /// What each stream has come to, and the frame since which it counts.
    streams: BTreeMap<String, (u64, Memory)>,
}

/// What a stream's frames have come to so far.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Memory {
    /// False; so many frames in a row are beyond the level.
    Off(u32),
    /// True; so many frames in a row are back.
    On(u32),
}

pub(super) fn fit(threshold: &Threshold, input: &Input<'_>) -> Result<Fitted, String> {
    input.check_single()?;
    input.check_unit(threshold.input_unit.as_ref())?;
    let mut threshold = threshold.clone();
    let Threshold { above, below, until, .. } = &mut threshold;
    for level in [above, below, until].into_iter().flatten() {
        *level = input.rounded(*level);
    }
    let level = Level { threshold, streams: BTreeMap::new() };
    Fitted::one(level, Flow::new(Element::Bool, vec![1])?)
}

impl Stage for Level {
    fn run(&mut self, frame: &Frame<'_>, inputs: &[&Tensor]) -> Result<Vec<Tensor>, Failure> {
        let value = numbers(inputs, 0)?.first().copied();
        let value = value.ok_or_else(|| (Fault::Input, "there is no number".to_owned()))?;
        // Behind a frame that was not answered it begins anew: what it counts is frames in a row.
        let before = self.streams.get(frame.key).filter(|(since, _)| *since == frame.since);
        let now = self.next(before.map_or(Memory::Off(0), |(_, memory)| *memory), value);
        if self.threshold.has_state() {
            self.streams.insert(frame.key.to_owned(), (frame.since, now));
        }
        Ok(vec![tensor(&[1], Data::Bool(vec![matches!(now, Memory::On(_))]))?])
    }

    fn finish(&mut self, key: &str) {
        self.streams.remove(key);
    }
}

impl Level {
    fn next(&self, before: Memory, value: f64) -> Memory {
        let Threshold { above, below, until, after, hold, .. } = &self.threshold;
        let beyond =
            above.is_some_and(|level| value > level) || below.is_some_and(|level| value < level);
        // At the level where nothing says that it has to come further back.
        let is_back = !beyond
            && until
                .is_none_or(|until| if above.is_some() { value <= until } else { value >= until });
        match before {
            Memory::Off(beyond_before) if beyond => {
                let frames = beyond_before.saturating_add(1);
                if frames >= *after { Memory::On(0) } else { Memory::Off(frames) }
            }
            Memory::Off(_) => Memory::Off(0),
            Memory::On(back) if is_back && back >= *hold => Memory::Off(0),
            Memory::On(back) if is_back => Memory::On(back + 1),
            Memory::On(_) => Memory::On(0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Bench, refused, window};
    use super::*;

    fn threshold(settings: &str) -> String {
        format!("kind = 'threshold'\ninput = 'score'\n{settings}")
    }

    /// The answers to these values, one frame each: `-` for no and `#` for yes.
    fn answers(settings: &str, values: &[f32]) -> String {
        let mut bench = Bench::new(&threshold(settings), &[window(&[1])]);
        let told = |value: &f32| if bench.numbers(&[*value]) == [1.0] { '#' } else { '-' };
        values.iter().map(told).collect()
    }

    #[test]
    fn beyond_a_level_is_neither_at_it_nor_before_it() {
        assert_eq!(answers("above = 3", &[2.9, 3.0, 3.1, 3.0]), "--#-");
        assert_eq!(answers("below = 3", &[3.1, 3.0, 2.9, 3.0]), "--#-");
    }

    #[test]
    fn with_hysteresis_it_ends_only_where_it_is_said_to() {
        let values = [2.5, 3.5, 2.5, 2.1, 2.0, 2.5, 3.5, 1.0];
        assert_eq!(answers("above = 3\nuntil = 2", &values), "-###--#-");
        let mirrored = values.map(|value| -value);
        assert_eq!(answers("below = -3\nuntil = -2", &mirrored), "-###--#-");
        // At the level itself it has not come back further than there.
        assert_eq!(answers("above = 3\nuntil = 3", &[4.0, 3.0, 4.0]), "#-#");
    }

    #[test]
    fn it_waits_for_enough_frames_in_a_row_and_holds_for_as_many_as_it_is_told() {
        assert_eq!(answers("above = 0\nafter = 3", &[1., 1., 0., 1., 1., 1., 1., 0.]), "-----##-");
        assert_eq!(
            answers("above = 0\nhold = 2", &[1., 0., 0., 0., 1., 0., 1., 0., 0., 0.]),
            "###-#####-"
        );
        assert_eq!(answers("above = 0\nafter = 2\nhold = 1", &[1., 1., 0., 0., 1., 1.]), "-##--#");
    }

    #[test]
    fn a_level_that_no_binary_number_is_counts_as_the_reading_that_says_the_same() {
        assert_eq!(answers("above = 37.2", &[37.2, 37.3, 37.2]), "-#-");
        assert_eq!(answers("below = 0.7", &[0.7, 0.6, 0.7]), "-#-");
        assert_eq!(answers("above = 37.2\nuntil = 36.7", &[37.3, 36.8, 36.7]), "##-");
    }

    #[test]
    fn frames_in_a_row_are_counted_anew_behind_one_that_was_not_answered() {
        let mut bench = Bench::new(&threshold("above = 0\nafter = 2"), &[window(&[1])]);
        let mut at = |since: u64| {
            let yes = bench.run_since("a", since, &[Data::F32(vec![1.0])]).unwrap();
            yes[0].data().number(0) == Some(1.0)
        };
        assert!(!at(0));
        assert!(!at(1000));
        assert!(at(1000));
    }

    #[test]
    fn each_stream_has_its_own_and_its_end_is_a_new_beginning() {
        let mut bench = Bench::new(&threshold("above = 3\nuntil = 2"), &[window(&[1])]);
        let at = |bench: &mut Bench, key: &str, value: f32| {
            let yes = bench.run(key, &[Data::F32(vec![value])]).unwrap();
            yes[0].data().number(0) == Some(1.0)
        };
        assert!(at(&mut bench, "a", 4.0));
        assert!(!at(&mut bench, "b", 2.5));
        assert!(at(&mut bench, "a", 2.5));
        bench.finish("a");
        assert!(!at(&mut bench, "a", 2.5));
    }

    #[test]
    fn levels_that_mean_nothing_are_refused_by_key() {
        for (settings, said) in [
            ("", "needs a finite level, `above` or `below`"),
            ("above = 1\nbelow = 0", "has both `above` and `below`"),
            ("above = 1\nuntil = 2", "until = 2 must not be above the level, 1"),
            ("below = 1\nuntil = 0", "until = 0 must not be below the level, 1"),
            ("above = 1\nuntil = nan", "until = NaN must be finite"),
            ("above = 1\nafter = 0", "after = 0 must be 1 to 16777216"),
            ("above = 1\nhold = 99999999", "hold = 99999999 must be at most 16777216"),
        ] {
            assert_eq!(refused(&threshold(settings), window(&[1])), said);
        }
        assert_eq!(
            refused(&threshold("above = 1"), window(&[2])),
            "input input: score is f32 [2], one number is needed"
        );
        let power = window(&[1]).in_units(vec!["W".into()]);
        assert_eq!(
            refused(&threshold("above = 1\ninput_unit = 'kW'"), power),
            "input input: score is f32 [1], in W: kW is needed"
        );
    }
}
