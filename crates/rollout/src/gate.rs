//! A gate: what has to hold of a wave before the next one begins.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Most minutes that a wave may soak: a year.
const SOAK_MINUTES_MAX: u32 = 366 * 24 * 60;

/// What has to hold of a wave's own devices. It goes on being judged when the wave is through: one that
/// turns bad later stops the rollout, too.
///
/// A device has *decided* when it has committed, refused, rolled back or got stuck. Shares are of the
/// devices that have decided, and of at least `devices_min`: so one failure among the first two does
/// not read as a half, and what can no longer come right is known early.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Gate {
    /// Devices of the wave that have to have decided.
    pub devices_min: u32,
    /// Smallest share of them that has committed, 0 to 1.
    pub success_share_min: f64,
    /// Largest share that has refused or rolled back, 0 to 1.
    pub failed_share_max: f64,
    /// Largest share that has rolled back, 0 to 1; none is that of all failures.
    pub rolled_back_share_max: Option<f64>,
    /// Largest share that may be stuck, 0 to 1. More of them pause the rollout and never take it back:
    /// devices that are switched off say nothing of the release.
    pub stuck_share_max: f64,
    /// Largest share of a device's frames that may end in an error, 0 to 1.
    pub error_share_max: Option<f64>,
    /// Largest 95th percentile of a device's latency, in milliseconds.
    pub latency_p95_ms_max: Option<f64>,
    /// Largest drift of a device, in the unit in which it is handed in, 0 to 1.
    pub drift_max: Option<f64>,
    /// Smallest agreement with the release before, 0 to 1.
    pub agreement_min: Option<f64>,
    /// Frames before a device's measures count.
    pub frames_min: u32,
    /// Devices that have to have been measured where a measure has a limit.
    pub measured_min: u32,
    /// Largest share of the measured devices that may be beyond a limit of a measure, 0 to 1. Of each
    /// device it is asked whether it is beyond, so that a bad one is not averaged away.
    pub beyond_share_max: f64,
    /// Minutes of running that the wave is watched after all of it has decided.
    pub soak_minutes: u32,
    /// What happens when it breaks.
    pub otherwise: Otherwise,
}

/// What happens when a gate breaks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Otherwise {
    /// The rollout stops where it is, until somebody decides.
    #[default]
    Stop,
    /// Every device that it gave the release is given what it had before.
    RollBack,
}

impl Default for Gate {
    fn default() -> Gate {
        Gate {
            devices_min: 1,
            success_share_min: 0.9,
            failed_share_max: 0.1,
            rolled_back_share_max: None,
            stuck_share_max: 0.1,
            error_share_max: None,
            latency_p95_ms_max: None,
            drift_max: None,
            agreement_min: None,
            frames_min: 30,
            measured_min: 1,
            beyond_share_max: 0.0,
            soak_minutes: 0,
            otherwise: Otherwise::Stop,
        }
    }
}

impl Gate {
    /// # Errors
    /// The first field that is wrong and what is wrong with it.
    pub(crate) fn check(&self) -> Result<(), (String, String)> {
        let shares = [
            ("success_share_min", Some(self.success_share_min)),
            ("failed_share_max", Some(self.failed_share_max)),
            ("rolled_back_share_max", self.rolled_back_share_max),
            ("stuck_share_max", Some(self.stuck_share_max)),
            ("error_share_max", self.error_share_max),
            ("drift_max", self.drift_max),
            ("agreement_min", self.agreement_min),
            ("beyond_share_max", Some(self.beyond_share_max)),
        ];
        for (field, share) in shares {
            if share.is_some_and(|share| !(0.0..=1.0).contains(&share)) {
                return Err((field.into(), "a share is from 0 to 1".into()));
            }
        }
        if self.latency_p95_ms_max.is_some_and(|max| !(max > 0.0 && max.is_finite())) {
            return Err(("latency_p95_ms_max".into(), "it is above 0".into()));
        }
        if self.soak_minutes > SOAK_MINUTES_MAX {
            return Err(("soak_minutes".into(), "a wave soaks for a year at most".into()));
        }
        Ok(())
    }

    fn measures(&self) -> bool {
        self.error_share_max.is_some()
            || self.latency_p95_ms_max.is_some()
            || self.drift_max.is_some()
            || self.agreement_min.is_some()
    }
}

/// Devices of a wave by what has become of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Tally {
    /// Those that are in the wave.
    pub entered: u32,
    /// Those that have not decided.
    pub undecided: u32,
    /// Those that were given the release and have not decided; stuck ones are not among them.
    pub on_trial: u32,
    /// Those that fetch it, or will do so at once.
    pub loading: u32,
    /// Those on which it stays.
    pub committed: u32,
    /// Those that refused it.
    pub refused: u32,
    /// Those that took it back.
    pub rolled_back: u32,
    /// Those that have not decided in time.
    pub stuck: u32,
    /// Those that run it and have been measured.
    pub measured: u32,
    /// Those of them whose share of errors is beyond the limit.
    pub beyond_errors: u32,
    /// Those whose latency is.
    pub beyond_latency: u32,
    /// Those whose drift is.
    pub beyond_drift: u32,
    /// Those that agree too little with the release before.
    pub beyond_agreement: u32,
}

impl Tally {
    /// The counts of bad things, of each the smaller number: what people have put up with.
    pub(crate) fn no_more_than(self, now: Tally) -> Tally {
        Tally {
            refused: self.refused.min(now.refused),
            rolled_back: self.rolled_back.min(now.rolled_back),
            stuck: self.stuck.min(now.stuck),
            beyond_errors: self.beyond_errors.min(now.beyond_errors),
            beyond_latency: self.beyond_latency.min(now.beyond_latency),
            beyond_drift: self.beyond_drift.min(now.beyond_drift),
            beyond_agreement: self.beyond_agreement.min(now.beyond_agreement),
            ..Tally::default()
        }
    }

    /// The counts without the bad things that people have put up with.
    fn without(self, forgiven: Tally) -> Tally {
        let beyond = [
            forgiven.beyond_errors,
            forgiven.beyond_latency,
            forgiven.beyond_drift,
            forgiven.beyond_agreement,
        ];
        Tally {
            entered: self.entered
                - (forgiven.refused + forgiven.rolled_back + forgiven.stuck).min(self.entered),
            refused: self.refused.saturating_sub(forgiven.refused),
            rolled_back: self.rolled_back.saturating_sub(forgiven.rolled_back),
            stuck: self.stuck.saturating_sub(forgiven.stuck),
            measured: self.measured - beyond.into_iter().max().unwrap_or(0).min(self.measured),
            beyond_errors: self.beyond_errors.saturating_sub(forgiven.beyond_errors),
            beyond_latency: self.beyond_latency.saturating_sub(forgiven.beyond_latency),
            beyond_drift: self.beyond_drift.saturating_sub(forgiven.beyond_drift),
            beyond_agreement: self.beyond_agreement.saturating_sub(forgiven.beyond_agreement),
            ..self
        }
    }

    fn decided(self) -> u32 {
        self.committed + self.refused + self.rolled_back + self.stuck
    }
}

/// What of a gate was broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Signal {
    /// Too few committed.
    Success,
    /// Too many refused or rolled back.
    Failures,
    /// Too many rolled back.
    RolledBack,
    /// Too many are stuck.
    Stuck,
    /// Too many have too many errors.
    Errors,
    /// Too many are too slow.
    Latency,
    /// Too many drift.
    Drift,
    /// Too many agree too little.
    Agreement,
}

/// How a gate was broken: `seen` of `devices`, where a share of `limit` is allowed.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Breach {
    /// What it is about.
    pub signal: Signal,
    /// Devices it is seen on.
    pub seen: u32,
    /// Devices it is judged by.
    pub devices: u32,
    /// The limit, as a share.
    pub limit: f64,
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Breach { signal, seen, devices, limit } = self;
        let percent = limit * 100.0;
        let what = match signal {
            Signal::Success => {
                return write!(f, "{seen} of {devices} devices committed, {percent} % wanted");
            }
            Signal::Failures => "refused it or rolled back",
            Signal::RolledBack => "rolled back",
            Signal::Stuck => "are stuck",
            Signal::Errors => "have too many errors",
            Signal::Latency => "are too slow",
            Signal::Drift => "drift too far",
            Signal::Agreement => "agree too little with the release before",
        };
        write!(f, "{seen} of {devices} devices {what}, {percent} % allowed")
    }
}

/// Why a wave is not through yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Waiting {
    /// There are devices that it has not reached.
    Filling,
    /// So many of its devices have not decided.
    Undecided(u32),
    /// It soaks for so many seconds more.
    Soaking(u32),
}

/// What a gate asks for that a wave cannot give by itself any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Short {
    /// No device could be reached.
    Devices,
    /// So many have decided, so many are asked for.
    Decided(u32, u32),
    /// So many have been measured, so many are asked for.
    Measured(u32, u32),
}

impl fmt::Display for Short {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Short::Devices => write!(f, "no device could be reached"),
            Short::Decided(seen, min) => {
                write!(f, "its gate asks for {min} devices, and {seen} have decided")
            }
            Short::Measured(seen, min) => {
                write!(f, "its gate asks for {min} measured devices, and {seen} have been")
            }
        }
    }
}

/// What a gate says of a wave.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Verdict {
    /// It holds, and the wave is through.
    Passed,
    /// Nothing is wrong, and the wave is not through.
    Waits(Waiting),
    /// Nothing is wrong, and without people the wave never gets through.
    Short(Short),
    /// It is broken.
    Broken(Breach),
}

/// Whether a wave has all the devices that it can have now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fill {
    /// It takes more.
    Filling,
    /// It has all.
    Full,
}

/// Judges a wave. `forgiven` is what people have put up with, and `soaked_seconds` how long all its
/// devices have decided.
pub fn judge(
    gate: &Gate,
    tally: Tally,
    forgiven: Tally,
    fill: Fill,
    soaked_seconds: u32,
) -> Verdict {
    let all = tally;
    let tally = tally.without(forgiven.no_more_than(tally));
    let decided = tally.decided().max(gate.devices_min).max(1);
    let entered = tally.entered.max(gate.devices_min).max(1);
    let measured = tally.measured.max(gate.measured_min).max(1);
    let rolled_back_max = gate.rolled_back_share_max.unwrap_or(1.0);
    let beyond = gate.beyond_share_max;
    let limits = [
        (Signal::Failures, tally.refused + tally.rolled_back, decided, gate.failed_share_max),
        (Signal::RolledBack, tally.rolled_back, decided, rolled_back_max),
        (Signal::Stuck, tally.stuck, entered, gate.stuck_share_max),
        (Signal::Errors, tally.beyond_errors, measured, beyond),
        (Signal::Latency, tally.beyond_latency, measured, beyond),
        (Signal::Drift, tally.beyond_drift, measured, beyond),
        (Signal::Agreement, tally.beyond_agreement, measured, beyond),
    ];
    for (signal, seen, devices, limit) in limits {
        if exceeds(seen, devices, limit) {
            return Verdict::Broken(Breach { signal, seen, devices, limit });
        }
    }
    if tally.undecided > 0 {
        return Verdict::Waits(Waiting::Undecided(tally.undecided));
    }
    if fill == Fill::Filling {
        return Verdict::Waits(Waiting::Filling);
    }
    let limit = gate.success_share_min;
    let (seen, devices) = (tally.committed, tally.decided());
    if all.decided() >= gate.devices_min && exceeds(devices - seen, devices, 1.0 - limit) {
        return Verdict::Broken(Breach { signal: Signal::Success, seen, devices, limit });
    }
    let soak = gate.soak_minutes.saturating_mul(60);
    if soaked_seconds < soak {
        return Verdict::Waits(Waiting::Soaking(soak - soaked_seconds));
    }
    if all.entered == 0 {
        return Verdict::Short(Short::Devices);
    }
    if all.decided() < gate.devices_min {
        return Verdict::Short(Short::Decided(all.decided(), gate.devices_min));
    }
    if gate.measures() && all.measured < gate.measured_min {
        return Verdict::Short(Short::Measured(all.measured, gate.measured_min));
    }
    Verdict::Passed
}

/// Whether `seen` of `devices` is more than a share of `limit`, with room for what decimal shares lose
/// in binary: 3 of 10 is not more than 0.3.
fn exceeds(seen: u32, devices: u32, limit: f64) -> bool {
    f64::from(seen) > limit * f64::from(devices) + 1e-9
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate() -> Gate {
        Gate { devices_min: 5, failed_share_max: 0.2, success_share_min: 0.8, ..Gate::default() }
    }

    fn tally(committed: u32, rolled_back: u32, undecided: u32) -> Tally {
        let entered = committed + rolled_back + undecided;
        Tally { entered, undecided, committed, rolled_back, ..Tally::default() }
    }

    fn judged(gate: &Gate, tally: Tally) -> Verdict {
        judge(gate, tally, Tally::default(), Fill::Full, 0)
    }

    fn broken(signal: Signal, seen: u32, devices: u32, limit: f64) -> Verdict {
        Verdict::Broken(Breach { signal, seen, devices, limit })
    }

    #[test]
    fn a_failure_is_a_share_of_no_fewer_devices_than_the_sample_has() {
        assert_eq!(judged(&gate(), tally(0, 1, 9)), Verdict::Waits(Waiting::Undecided(9)));
        assert_eq!(judged(&gate(), tally(0, 2, 8)), broken(Signal::Failures, 2, 5, 0.2));
        assert_eq!(judged(&gate(), tally(8, 2, 0)), Verdict::Passed);
        assert_eq!(judged(&gate(), tally(7, 3, 0)), broken(Signal::Failures, 3, 10, 0.2));
    }

    #[test]
    fn a_wave_is_through_only_with_its_sample_its_soak_and_its_last_device() {
        let gate = Gate { soak_minutes: 1, ..gate() };
        let whole = tally(5, 0, 0);
        let judged = |tally, fill, soaked| judge(&gate, tally, Tally::default(), fill, soaked);
        assert_eq!(judged(whole, Fill::Filling, 99), Verdict::Waits(Waiting::Filling));
        assert_eq!(judged(whole, Fill::Full, 59), Verdict::Waits(Waiting::Soaking(1)));
        assert_eq!(judged(whole, Fill::Full, 60), Verdict::Passed);
        let few = Verdict::Short(Short::Decided(4, 5));
        assert_eq!(judged(tally(4, 0, 0), Fill::Full, 60), few);
        assert_eq!(judged(Tally::default(), Fill::Full, 60), Verdict::Short(Short::Devices));
    }

    #[test]
    fn stuck_devices_hold_nobody_up_to_the_share_that_is_allowed() {
        let gate = Gate { stuck_share_max: 0.2, ..gate() };
        let stuck = |stuck| Tally { stuck, entered: 10, committed: 10 - stuck, ..Tally::default() };
        assert_eq!(judged(&gate, stuck(2)), Verdict::Passed);
        assert_eq!(judged(&gate, stuck(3)), broken(Signal::Stuck, 3, 10, 0.2));
    }

    #[test]
    fn a_device_beyond_a_limit_of_a_measure_is_not_averaged_away() {
        let gate = Gate { drift_max: Some(0.3), measured_min: 4, ..gate() };
        let measured = |measured, beyond_drift| Tally { measured, beyond_drift, ..tally(5, 0, 0) };
        assert_eq!(judged(&gate, measured(3, 0)), Verdict::Short(Short::Measured(3, 4)));
        assert_eq!(judged(&gate, measured(4, 0)), Verdict::Passed);
        assert_eq!(judged(&gate, measured(5, 1)), broken(Signal::Drift, 1, 5, 0.0));
        let lenient = Gate { beyond_share_max: 0.25, ..gate };
        assert_eq!(judged(&lenient, measured(4, 1)), Verdict::Passed);
    }

    #[test]
    fn what_people_put_up_with_is_judged_no_more_and_the_next_one_is() {
        let seen = tally(7, 3, 0);
        let judged = |tally, forgiven| judge(&gate(), tally, forgiven, Fill::Full, 0);
        let forgiven = Tally::default().no_more_than(seen);
        assert!(matches!(judged(seen, forgiven), Verdict::Broken(_)));
        let forgiven = seen.no_more_than(seen);
        assert_eq!(judged(seen, forgiven), Verdict::Passed);
        assert_eq!(judged(tally(5, 5, 0), forgiven), broken(Signal::Failures, 2, 7, 0.2));
    }

    #[test]
    fn a_breach_says_what_is_wrong_in_devices() {
        let breach = Breach { signal: Signal::Success, seen: 7, devices: 10, limit: 0.9 };
        assert_eq!(breach.to_string(), "7 of 10 devices committed, 90 % wanted");
        let breach = Breach { signal: Signal::Stuck, ..breach };
        assert_eq!(breach.to_string(), "7 of 10 devices are stuck, 90 % allowed");
    }
}
