//! What replaying a release's checks on a device has taken, and the verdict on it.

use crate::verdict::Breach;
use std::fmt;
use std::time::Duration;

/// Frames that are judged at least, the cold ones not counted: fewer say nothing.
const FRAMES_MIN: u64 = 5;

/// What was measured while the checks were replayed. A check's first frame is cold and counted apart.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Replayed {
    /// How long loading took.
    pub load: Duration,
    /// How long the slowest of the first frames took.
    pub first: Duration,
    /// The frames after those.
    pub frames: u64,
    /// What half of these frames kept within.
    pub p50: Duration,
    /// What 95 of 100 kept within.
    pub p95: Duration,
    /// The longest of them.
    pub longest: Duration,
    /// Processor time that a frame took on average, at the least; none where the machine does not tell.
    pub processor: Option<Duration>,
    /// Most memory that the worker had for itself, in MiB; none where the machine does not tell.
    pub memory_mib: Option<f64>,
    /// Which engine runs each model and what was measured of it, for people; empty where there was
    /// nothing to choose.
    pub engines: String,
}

/// What a frame and the worker may need.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Budget {
    /// The trial's limit of latency, where there is one: what 95 of 100 frames keep within.
    pub latency_p95_ms_max: Option<f64>,
    /// Longest that a frame may take at all.
    pub frame_ms: f64,
    /// Memory of the worker, in MiB.
    pub memory_mib: f64,
}

/// Judges what replaying the checks has taken. A release that cannot keep to its limits is found out
/// before it has the route.
///
/// The device is doing other work at the same time, and a good release must not be refused for that.
/// So a latency is a breach only where half of the frames took longer than 95 of 100 may, and their
/// processor time says the same. What lies between is judged on the route.
pub fn judge_replay(budget: &Budget, seen: &Replayed) -> Result<(), Breach> {
    if let Some(mib) = seen.memory_mib
        && mib > budget.memory_mib
    {
        return Err(Breach::Memory { mib, max_mib: budget.memory_mib });
    }
    let Some(processor) = seen.processor.filter(|_| seen.frames >= FRAMES_MIN) else {
        return Ok(());
    };
    // What both agree on.
    let ms = milliseconds(seen.p50.min(processor));
    let limits =
        [("latency_p95_ms_max", budget.latency_p95_ms_max), ("frame_ms", Some(budget.frame_ms))];
    for (limit, max_ms) in limits {
        if let Some(max_ms) = max_ms
            && ms > max_ms
        {
            return Err(Breach::Replay { ms, limit, max_ms, frames: seen.frames });
        }
    }
    Ok(())
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

impl fmt::Display for Replayed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [p95, longest, first] = [self.p95, self.longest, self.first].map(milliseconds);
        match self.frames {
            0 => f.write_str("too few frames to measure")?,
            frames => write!(
                f,
                "{frames} frames, p95 {p95:.1} ms, longest {longest:.1} ms, the first {first:.1} ms"
            )?,
        }
        if let Some(mib) = self.memory_mib {
            write!(f, "; {mib:.0} MiB")?;
        }
        write!(f, "; loaded in {:.1} s", self.load.as_secs_f64())?;
        if self.engines.is_empty() { Ok(()) } else { write!(f, "; {}", self.engines) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    fn budget() -> Budget {
        Budget { latency_p95_ms_max: Some(50.0), frame_ms: 1000.0, memory_mib: 64.0 }
    }

    fn fine() -> Replayed {
        Replayed {
            load: MS(400),
            first: MS(180),
            frames: 287,
            p50: MS(50),
            p95: MS(70),
            longest: MS(90),
            processor: Some(MS(50)),
            memory_mib: Some(64.0),
            engines: String::new(),
        }
    }

    fn said(budget: &Budget, seen: &Replayed) -> String {
        judge_replay(budget, seen).map_or_else(|breach| breach.to_string(), |()| "fine".into())
    }

    #[test]
    fn a_release_that_cannot_keep_to_its_limits_is_named_with_limit_and_value() {
        assert_eq!(said(&budget(), &fine()), "fine");
        let slow = Replayed { p50: MS(5000), processor: Some(MS(4900)), frames: 5, ..fine() };
        assert_eq!(
            said(&budget(), &slow),
            "a frame of its checks takes 4900.0 ms, latency_p95_ms_max allows 50.0 ms (over 5 frames)"
        );
        let unlimited = Budget { latency_p95_ms_max: None, ..budget() };
        assert_eq!(
            said(&unlimited, &slow),
            "a frame of its checks takes 4900.0 ms, frame_ms allows 1000.0 ms (over 5 frames)"
        );
        let just = Replayed { p50: MS(1000), processor: Some(MS(1000)), ..fine() };
        assert_eq!(said(&unlimited, &just), "fine");
        let beyond = Replayed { p50: MS(1001), processor: Some(MS(1001)), ..fine() };
        assert!(said(&unlimited, &beyond).contains("frame_ms"));
        let large = Replayed { memory_mib: Some(64.5), frames: 0, ..fine() };
        assert_eq!(
            said(&budget(), &large),
            "its checks took 64.5 MiB of memory, memory_mib allows 64 MiB"
        );
    }

    #[test]
    fn a_good_release_is_not_refused_because_the_device_is_busy() {
        // It waited for the processor most of the time.
        let waited = Replayed { p50: MS(900), p95: MS(3000), longest: MS(9000), ..fine() };
        assert_eq!(said(&budget(), &waited), "fine");
        // A few frames were slow.
        let outliers = Replayed { p50: MS(1), processor: Some(MS(300)), ..fine() };
        assert_eq!(said(&budget(), &outliers), "fine");
        // Nobody knows whether it was busy, and a handful of frames says nothing.
        let slow = Replayed { p50: MS(5000), processor: Some(MS(5000)), ..fine() };
        assert_eq!(said(&budget(), &Replayed { processor: None, ..slow.clone() }), "fine");
        assert_eq!(said(&budget(), &Replayed { frames: 4, ..slow.clone() }), "fine");
        assert_ne!(said(&budget(), &slow), "fine");
        assert_eq!(said(&budget(), &Replayed { memory_mib: None, ..fine() }), "fine");
    }

    #[test]
    fn people_are_told_what_was_measured() {
        assert_eq!(
            fine().to_string(),
            "287 frames, p95 70.0 ms, longest 90.0 ms, the first 180.0 ms; 64 MiB; loaded in 0.4 s"
        );
        assert_eq!(Replayed::default().to_string(), "too few frames to measure; loaded in 0.0 s");
    }
}
