//! What replaying a bundle's checks takes on this machine.

use serde::{Deserialize, Serialize};
use std::fs;
use std::time::Duration;

/// The kernel tells processor time in hundredths of a second on every platform of ours.
const TICK_MS: u64 = 10;
/// Fields of `/proc/PID/stat` behind the name, which may hold anything: user and system time (proc(5)).
const TIMES: std::ops::Range<usize> = 11..13;

/// What replaying all checks took. A pipeline's first frame is cold, so it is counted apart.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplayCost {
    /// How long loading took; the longest, where it was loaded for several checks.
    pub load: Duration,
    /// How long the slowest of the checks' first frames took.
    pub first: Duration,
    /// The frames after each check's first.
    pub frames: u64,
    /// What half of these frames kept within.
    pub p50: Duration,
    /// What 95 of 100 kept within.
    pub p95: Duration,
    /// The longest of them.
    pub longest: Duration,
    /// Processor time that one of them took on average, at the least; none where the machine does not
    /// tell. Unlike the others it does not grow when the machine is busy with something else.
    pub processor: Option<Duration>,
}

/// Counts while checks are replayed.
#[derive(Debug)]
pub(crate) struct Counting {
    load: Duration,
    first: Duration,
    /// Of the frames after each check's first.
    elapsed: Vec<Duration>,
    processor: Option<Duration>,
    /// The first frame of this check has come, at that processor time.
    warm_since: Option<Option<Duration>>,
}

impl Default for Counting {
    fn default() -> Counting {
        Counting {
            load: Duration::ZERO,
            first: Duration::ZERO,
            elapsed: Vec::new(),
            processor: Some(Duration::ZERO),
            warm_since: None,
        }
    }
}

impl Counting {
    /// A check begins, with a pipeline that took `load` to be there.
    pub(crate) fn begin(&mut self, load: Duration) {
        self.load = self.load.max(load);
        self.warm_since = None;
    }

    /// A frame took `elapsed`.
    pub(crate) fn frame(&mut self, elapsed: Duration) {
        if self.warm_since.is_some() {
            self.elapsed.push(elapsed);
        } else {
            self.first = self.first.max(elapsed);
            self.warm_since = Some(processor_time());
        }
    }

    /// The check has ended.
    pub(crate) fn end(&mut self) {
        let Some(since) = self.warm_since.take() else { return };
        let took = since.and_then(|since| Some(processor_time()?.saturating_sub(since)));
        self.processor = self.processor.and_then(|sum| Some(sum + took?));
    }

    pub(crate) fn cost(mut self) -> ReplayCost {
        self.elapsed.sort_unstable();
        let frames = self.elapsed.len();
        let rank = |percent: usize| {
            let rank = (frames * percent).div_ceil(100).max(1);
            self.elapsed.get(rank - 1).copied().unwrap_or_default()
        };
        // What is told may be a tick too much.
        let least = |sum: Duration| {
            let sum = sum.saturating_sub(Duration::from_millis(TICK_MS));
            sum.checked_div(u32::try_from(frames).ok()?)
        };
        ReplayCost {
            load: self.load,
            first: self.first,
            frames: frames as u64,
            p50: rank(50),
            p95: rank(95),
            longest: rank(100),
            processor: self.processor.and_then(least),
        }
    }
}

/// Processor time of this thread so far, which runs the pipeline.
fn processor_time() -> Option<Duration> {
    ticks(&fs::read_to_string("/proc/thread-self/stat").ok()?)
        .map(|ticks| Duration::from_millis(ticks.saturating_mul(TICK_MS)))
}

fn ticks(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let times = fields.split_whitespace().skip(TIMES.start).take(TIMES.len());
    times.map(|time| time.parse::<u64>().ok()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    #[test]
    fn the_cold_frame_of_each_check_is_told_apart_from_the_others() {
        let mut counting = Counting::default();
        counting.begin(MS(40));
        for elapsed in [90, 1, 2, 3] {
            counting.frame(MS(elapsed));
        }
        counting.end();
        counting.begin(MS(30));
        for elapsed in [70, 4, 200] {
            counting.frame(MS(elapsed));
        }
        counting.end();
        // A check without a frame.
        counting.begin(MS(1));
        counting.end();
        let cost = counting.cost();
        assert_eq!((cost.load, cost.first, cost.frames), (MS(40), MS(90), 5));
        assert_eq!((cost.p50, cost.p95, cost.longest), (MS(3), MS(200), MS(200)));
        assert_eq!(Counting::default().cost(), ReplayCost::default());
    }

    #[test]
    fn processor_time_counts_what_was_computed_and_never_more() {
        let stat = "7 (a ) b) S 1 7 7 0 -1 4194560 10 0 0 0 123 45 0 0 20 0 1 0 5 1 1";
        assert_eq!(ticks(stat), Some(168));
        assert_eq!((ticks(""), ticks("7 (a) S 1")), (None, Some(0)));
        let mut counting = Counting::default();
        counting.begin(Duration::ZERO);
        counting.frame(Duration::ZERO);
        (0..10).for_each(|_| counting.frame(MS(100)));
        counting.processor = Some(MS(500));
        counting.warm_since = None;
        assert_eq!(counting.cost().processor, Some(MS(49)));
        assert!(processor_time().is_some());
    }
}
