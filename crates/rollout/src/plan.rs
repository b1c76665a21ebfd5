//! A plan: which release, which devices, in what waves, held by what.

use crate::gate::Gate;
use crate::selector::Selector;
use crate::window::{WINDOWS_MAX, Window};
use serde::{Deserialize, Serialize};

/// Most waves of a plan.
pub const WAVES_MAX: usize = 32;
/// Most devices that a wave names.
pub const LIST_MAX: usize = 10_000;
/// Most entries of each table of a selector.
const TABLE_MAX: usize = 10_000;
/// Minutes of running within which a device has to have decided, unless somebody says otherwise.
const DEADLINE_MINUTES_DEFAULT: u32 = 24 * 60;

/// What brings a release to devices. A plan is never changed: who wants another one makes another
/// rollout, so that what people approved is what happens.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// The release, by the text of its digest; here nothing but sameness is known of it.
    pub release: String,
    /// The slot that is to run it.
    pub slot: String,
    /// The devices.
    pub selector: Selector,
    /// The waves, one after the other.
    pub waves: Vec<Wave>,
    /// Which goes first where several rollouts want the same slot of a device; the larger number does,
    /// and of equal ones the older rollout.
    #[serde(default)]
    pub priority: i32,
    /// Devices that may be between assignment and decision at once; none is as many as the wave has.
    #[serde(default)]
    pub on_trial_max: Option<u32>,
    /// Devices that may fetch at once; none is no limit but the sites'. Stuck ones that come back and fetch
    /// are not among them.
    #[serde(default)]
    pub downloads_max: Option<u32>,
    /// What a device fetches, in bytes.
    #[serde(default)]
    pub download_bytes: u64,
    /// When devices may begin, in the local time of each site; the site's own windows hold besides.
    #[serde(default)]
    pub windows: Vec<Window>,
    /// Minutes of running after its assignment from which on a device that has not decided counts as
    /// stuck (default a day).
    #[serde(default = "deadline_minutes")]
    pub deadline_minutes: u32,
    /// People other than the author who have to approve it.
    #[serde(default)]
    pub approvals: u8,
}

fn deadline_minutes() -> u32 {
    DEADLINE_MINUTES_DEFAULT
}

/// A wave and what has to hold before the next one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Wave {
    /// How many devices have the release with it.
    pub size: Size,
    /// What has to hold.
    #[serde(default)]
    pub gate: Gate,
    /// What follows when it holds.
    #[serde(default)]
    pub then: Then,
}

/// How many devices have been given the release when a wave is full, those of earlier waves among them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Size {
    /// A share of those who are selected now, in percent above 0 up to 100; rounded down, and at least
    /// one device.
    Percent(f64),
    /// A number of devices.
    Count(u32),
    /// The devices of earlier waves, and those of these names that are selected.
    List(Vec<String>),
}

impl Size {
    /// Whether names decide.
    pub(crate) fn names(&self) -> bool {
        matches!(self, Size::List(_))
    }

    /// Devices that may have been given the release, of `selected`; none where names decide.
    pub(crate) fn of(&self, selected: u32) -> Option<u32> {
        match self {
            Size::Percent(percent) if *percent >= 100.0 => Some(selected.max(1)),
            Size::Percent(percent) => {
                Some(((f64::from(selected) * percent / 100.0 + 1e-9) as u32).max(1))
            }
            Size::Count(count) => Some(*count),
            Size::List(_) => None,
        }
    }
}

/// What follows when a gate holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Then {
    /// The next wave.
    #[default]
    Next,
    /// The rollout pauses until somebody resumes it.
    Pause,
    /// Somebody is asked, and the wave goes on being watched meanwhile.
    Ask,
}

/// What is wrong with a plan, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct PlanError {
    /// The field, with its tables.
    pub field: String,
    /// What is wrong with it.
    pub problem: String,
}

impl Plan {
    /// Whether a rollout can be made of it.
    ///
    /// # Errors
    /// The first field that is wrong.
    pub fn check(&self) -> Result<(), PlanError> {
        let wrong = |field: &str, problem: &str| {
            Err(PlanError { field: field.into(), problem: problem.into() })
        };
        if self.release.is_empty() || self.slot.is_empty() {
            return wrong("release, slot", "name both");
        }
        if self.selector.says_nothing() {
            return wrong("selector", "it says nothing; write names = [\"*\"] for every device");
        }
        let Selector { labels, sites, hardware, releases, names, .. } = &self.selector;
        let tables = [sites, hardware, releases, names].into_iter().chain(labels.values());
        if labels.len() > TABLE_MAX || tables.into_iter().any(|table| table.len() > TABLE_MAX) {
            return wrong("selector", "a table has at most 10,000 entries; use a label");
        }
        if self.waves.is_empty() || self.waves.len() > WAVES_MAX {
            return wrong("waves", "there are 1 to 32");
        }
        if self.windows.len() > WINDOWS_MAX || !self.windows.iter().all(|one| one.is_of_a_week()) {
            return wrong("windows", "there are at most 64, of minutes 0 to 10079 of a week");
        }
        if self.on_trial_max == Some(0) || self.downloads_max == Some(0) {
            return wrong(
                "on_trial_max, downloads_max",
                "0 would let nothing begin; pause instead",
            );
        }
        if self.deadline_minutes == 0 {
            return wrong("deadline_minutes", "a device needs at least a minute");
        }
        for (number, wave) in (1..).zip(&self.waves) {
            let size = format!("waves.{number}.size");
            match &wave.size {
                Size::Percent(percent) if !(*percent > 0.0 && *percent <= 100.0) => {
                    return wrong(&size, "a percentage is above 0 and at most 100");
                }
                Size::Count(0) => return wrong(&size, "a wave has at least one device"),
                Size::List(names) if names.is_empty() || names.len() > LIST_MAX => {
                    return wrong(&size, "a list names 1 to 10,000 devices");
                }
                Size::Percent(_) | Size::Count(_) | Size::List(_) => {}
            }
            wave.gate.check().map_err(|(field, problem)| PlanError {
                field: format!("waves.{number}.gate.{field}"),
                problem,
            })?;
        }
        Ok(())
    }

    /// The wave of this number, from 1.
    pub(crate) fn wave(&self, number: u8) -> Option<&Wave> {
        self.waves.get(usize::from(number).checked_sub(1)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(text: &str) -> Result<Plan, serde_json::Error> {
        serde_json::from_str(&format!(
            r#"{{"release": "sha256:1", "slot": "line", "selector": {{"names": ["*"]}}, {text}}}"#
        ))
    }

    #[test]
    fn a_share_is_rounded_down_and_is_at_least_one_device() {
        let of = |percent, selected| Size::Percent(percent).of(selected).unwrap();
        assert_eq!([of(10.0, 19), of(10.0, 20), of(10.0, 3), of(10.0, 0)], [1, 2, 1, 1]);
        assert_eq!([of(100.0, 7), of(29.0, 100), of(57.0, 100)], [7, 29, 57]);
    }

    #[test]
    fn a_plan_that_cannot_be_meant_is_refused_with_its_place() {
        for (text, wrong) in [
            (r#""waves": []"#, "waves: there are 1 to 32"),
            (
                r#""waves": [{"size": {"percent": 0}}]"#,
                "waves.1.size: a percentage is above 0 and at most 100",
            ),
            (
                r#""waves": [{"size": {"count": 0}}]"#,
                "waves.1.size: a wave has at least one device",
            ),
            (
                r#""waves": [{"size": {"count": 1}}, {"size": {"percent": 100}, "gate": {"failed_share_max": 2}}]"#,
                "waves.2.gate.failed_share_max: a share is from 0 to 1",
            ),
            (
                r#""on_trial_max": 0, "waves": [{"size": {"count": 1}}]"#,
                "on_trial_max, downloads_max: 0 would let nothing begin; pause instead",
            ),
        ] {
            assert_eq!(plan(text).unwrap().check().unwrap_err().to_string(), wrong);
        }
        let good = plan(r#""waves": [{"size": {"percent": 5}, "then": "ask"}]"#).unwrap();
        assert_eq!((good.check(), good.deadline_minutes), (Ok(()), 1440));
        let nothing = Plan { selector: Selector::default(), ..good };
        assert!(nothing.check().unwrap_err().problem.contains("it says nothing"));
        assert!(plan(r#""waves": [], "wavs": []"#).is_err());
    }
}
