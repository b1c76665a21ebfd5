//! What is done when a rule fires.

use super::rule::Scope;
use crate::check::whole;
use serde::{Deserialize, Serialize};

/// Longest time for which raw input is captured, in minutes: a week.
const CAPTURE_MINUTES_MAX: u32 = 10_080;
/// Longest interval that a rule may ask for, in seconds: a day.
const INTERVAL_SECONDS_MAX: u32 = 86_400;
/// Channels that a rule may name.
const CHANNELS_MAX: usize = 16;
/// Longest name of a channel, or of a release, in bytes.
const NAME_BYTES_MAX: usize = 200;

/// What is done when a rule fires, beside telling it. Unknown keys are refused.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Actions {
    /// On the device: the slot gives its fail-safe values instead of findings until the rule is over.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub fail_safe: bool,
    /// On the device: minutes of running for which what comes in is kept, beyond the ring and apart from it,
    /// where the bundle allows it, and device and site let readings be captured at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capture_minutes: Option<u32>,
    /// On the device: the length of intervals, in seconds of the readings' own time, until the rule is over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval_seconds: Option<u32>,
    /// On the server: the channels that are told; all where this is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notify: Option<Vec<String>>,
    /// On the server: the release, as in `turbine/2`, that is assigned to the devices of the rule's scope which
    /// run the release that it fired for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assign: Option<String>,
    /// On the server: these devices are assigned what they ran before.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub roll_back: bool,
    /// On the server: whether a person is asked before anything is assigned (default true).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ask: Option<bool>,
    /// On the server: whether the hooks that begin a training anew are called, with the evidence.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub retrain: bool,
    /// On the server: whether rollouts that bring the release that it fired for pause, until somebody resumes
    /// them. Nobody is asked: what pauses does no harm.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub pause_rollout: bool,
}

impl Actions {
    /// Whether a person is asked before anything is assigned.
    pub fn asks(&self) -> bool {
        self.ask.unwrap_or(true)
    }

    /// Whether something is to be assigned.
    pub fn assigns(&self) -> bool {
        self.roll_back || self.assign.is_some()
    }

    /// Whether the device has something to do.
    pub fn is_for_device(&self) -> bool {
        self.fail_safe || self.capture_minutes.is_some() || self.interval_seconds.is_some()
    }

    pub(super) fn check(&self, scope: Scope) -> Result<(), (&'static str, String)> {
        let minutes = 1..=u64::from(CAPTURE_MINUTES_MAX);
        whole("capture_minutes", self.capture_minutes.map(u64::from), minutes)?;
        let seconds = 1..=u64::from(INTERVAL_SECONDS_MAX);
        whole("interval_seconds", self.interval_seconds.map(u64::from), seconds)?;
        if self.is_for_device() && scope != Scope::Device {
            let field = if self.fail_safe { "fail_safe" } else { "capture_minutes" };
            let problem = "a device does it, and judges by rules of `scope = \"device\"` alone";
            return Err((field, problem.into()));
        }
        if self.roll_back && self.assign.is_some() {
            return Err(("assign", "either this is assigned, or what ran before".into()));
        }
        if self.ask.is_some() && !self.assigns() {
            return Err(("ask", "nothing is assigned: there is nothing to ask for".into()));
        }
        if scope == Scope::Fleet && self.assigns() && !self.asks() {
            let problem = "a rule of the fleet concerns devices of other sites: a person is asked";
            return Err(("ask", problem.into()));
        }
        if let Some(channels) = &self.notify {
            let is_name = |name: &String| (1..=NAME_BYTES_MAX).contains(&name.len());
            if channels.len() > CHANNELS_MAX || !channels.iter().all(is_name) {
                return Err(("notify", format!("names of {CHANNELS_MAX} channels at most")));
            }
        }
        let is_release = |text: &String| {
            text.len() <= NAME_BYTES_MAX
                && text.split_once('/').is_some_and(|(name, version)| {
                    !name.is_empty() && !version.is_empty() && !version.contains('/')
                })
        };
        match &self.assign {
            Some(release) if !is_release(release) => {
                Err(("assign", format!("{release:?} is no release: turbine/2 would be one")))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn actions_that_make_no_sense_are_told_with_the_field() {
        let none = Actions::default;
        let good = [
            none(),
            Actions { assign: Some("turbine/2".into()), ..none() },
            Actions { roll_back: true, notify: Some(vec!["mail".into()]), ..none() },
        ];
        for actions in good {
            assert_eq!(actions.check(Scope::Fleet), Ok(()), "{actions:?}");
        }
        let device = Actions { fail_safe: true, interval_seconds: Some(60), ..none() };
        assert_eq!((device.check(Scope::Device), device.is_for_device()), (Ok(()), true));
        for (wrong, field) in [
            (device, "fail_safe"),
            (Actions { capture_minutes: Some(1), ..none() }, "capture_minutes"),
            (Actions { capture_minutes: Some(0), ..none() }, "capture_minutes"),
            (Actions { interval_seconds: Some(100_000), ..none() }, "interval_seconds"),
            (Actions { assign: Some("turbine".into()), ..none() }, "assign"),
            (Actions { assign: Some("a/1".into()), roll_back: true, ..none() }, "assign"),
            (Actions { ask: Some(true), ..none() }, "ask"),
            (Actions { notify: Some(vec![String::new()]), ..none() }, "notify"),
        ] {
            assert_eq!(wrong.check(Scope::Site).unwrap_err().0, field, "{wrong:?}");
        }
        let at_once = Actions { assign: Some("turbine/2".into()), ask: Some(false), ..none() };
        assert_eq!(at_once.check(Scope::Site), Ok(()));
        assert_eq!(at_once.check(Scope::Fleet).unwrap_err().0, "ask");
        assert!(none().asks() && !Actions { ask: Some(false), ..none() }.asks());
    }
}
