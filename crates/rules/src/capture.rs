//! Limits of what is captured: whether and how much of the readings a device may keep.

use crate::check::whole;
use crate::limits::both;
use serde::{Deserialize, Serialize};

/// Most MiB that limits may speak of.
const MIB_MAX: u64 = 65_536;
/// Most hours that limits may speak of: ten years.
const HOURS_MAX: u64 = 87_600;

/// What may be kept of the readings of a slot, and of the answers to them. Where nothing is said, the
/// device's own settings hold alone.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CaptureLimits {
    /// Whether anything may be kept (default true); if not, what is there goes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowed: Option<bool>,
    /// Most MiB on disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mib_max: Option<u64>,
    /// Most hours that a reading is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hours_max: Option<u64>,
}

impl CaptureLimits {
    /// Whether anything may be kept.
    pub fn is_allowed(&self) -> bool {
        self.allowed.unwrap_or(true)
    }

    /// The limits that hold when all of `limits` hold: the strictest of each.
    pub fn strictest<'a>(limits: impl IntoIterator<Item = &'a CaptureLimits>) -> CaptureLimits {
        limits.into_iter().fold(CaptureLimits::default(), |all, one| CaptureLimits {
            allowed: both(all.allowed, one.allowed, |a, b| a && b),
            mib_max: both(all.mib_max, one.mib_max, u64::min),
            hours_max: both(all.hours_max, one.hours_max, u64::min),
        })
    }

    /// Whether each limit is one that can be kept. Nothing at all is what `allowed` says.
    ///
    /// # Errors
    /// The first field that is wrong, and what is wrong with it.
    pub fn check(&self) -> Result<(), (String, String)> {
        let wrong = |(field, problem): (&str, String)| (field.to_owned(), problem);
        whole("mib_max", self.mib_max, 1..=MIB_MAX).map_err(wrong)?;
        whole("hours_max", self.hours_max, 1..=HOURS_MAX).map_err(wrong)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_forbids_is_heard_and_the_smallest_of_each_holds() {
        let limits = |allowed, mib_max, hours_max| CaptureLimits { allowed, mib_max, hours_max };
        let all = [
            limits(Some(true), Some(16), None),
            limits(None, Some(4), Some(24)),
            limits(Some(true), None, Some(168)),
        ];
        let strictest = CaptureLimits::strictest(&all);
        assert_eq!(strictest, limits(Some(true), Some(4), Some(24)));
        let never = CaptureLimits::strictest(&[strictest, limits(Some(false), None, None)]);
        assert!(!never.is_allowed());
        assert!(CaptureLimits::default().is_allowed());
    }

    #[test]
    fn bounds_that_hold_nothing_are_told() {
        let none = CaptureLimits::default();
        for (limits, wanted) in [
            (CaptureLimits { mib_max: Some(0), ..none.clone() }, "mib_max"),
            (CaptureLimits { hours_max: Some(0), ..none.clone() }, "hours_max"),
            (CaptureLimits { hours_max: Some(HOURS_MAX + 1), ..none.clone() }, "hours_max"),
        ] {
            assert_eq!(limits.check().unwrap_err().0, wanted);
        }
        assert_eq!(none.check(), Ok(()));
    }
}
