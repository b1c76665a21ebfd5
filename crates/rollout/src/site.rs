//! A site: its time, its windows, and what its line to the server can carry.

use crate::window::{Window, local_minute, opens_in};
use serde::{Deserialize, Serialize};

/// What is known of a site.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct SiteFacts {
    /// Its name.
    pub site: String,
    /// Its offset from UTC in minutes as of now; the driver says so again when clocks change.
    #[serde(default)]
    pub offset_minutes: i16,
    /// When a release may begin there, in local time; none is always.
    #[serde(default)]
    pub windows: Vec<Window>,
    /// Devices there that may fetch at once, over all rollouts; 0 lets nothing begin.
    #[serde(default)]
    pub downloads_max: Option<u32>,
    /// What rollouts may ask of its line, in bytes a second.
    #[serde(default)]
    pub bytes_per_second_max: Option<u64>,
}

/// A site and what goes on there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Site {
    pub(crate) facts: SiteFacts,
    /// Bytes that were given out and that its line has not had the time for.
    pub(crate) owed_bytes: u64,
    /// Devices that fetch now; counted from the members of all rollouts.
    #[serde(skip)]
    pub(crate) loading: u32,
}

/// Why no device of a site may begin now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SiteBusy {
    /// It lets nothing begin at all.
    Frozen,
    /// Its windows are closed for so many minutes; none where nobody knows the time.
    Closed(Option<u16>),
    /// As many devices fetch as may.
    Downloads(u32),
    /// Its line is busy for so many seconds.
    Line(u64),
}

impl Site {
    /// Lets time pass on its line. The part of a second that is left over counts as passed.
    pub(crate) fn pass(&mut self, ran_ms: u64) {
        let carried = match self.facts.bytes_per_second_max {
            Some(rate) => (u128::from(rate) * u128::from(ran_ms)).div_ceil(1000),
            None => u128::from(self.owed_bytes),
        };
        self.owed_bytes -= carried.min(u128::from(self.owed_bytes)) as u64;
    }

    /// Whether a release may begin now, at this minute of UTC's week; `windows` are those of the plan.
    pub(crate) fn busy(&self, utc_minute: Option<u16>, windows: &[Window]) -> Option<SiteBusy> {
        if self.facts.downloads_max == Some(0) {
            return Some(SiteBusy::Frozen);
        }
        if !(self.facts.windows.is_empty() && windows.is_empty()) {
            let Some(utc) = utc_minute else { return Some(SiteBusy::Closed(None)) };
            let minute = local_minute(utc, self.facts.offset_minutes);
            let wait = opens_in(&self.facts.windows, minute).max(opens_in(windows, minute));
            if wait > 0 {
                return Some(SiteBusy::Closed(Some(wait)));
            }
        }
        if self.facts.downloads_max.is_some_and(|max| self.loading >= max) {
            return Some(SiteBusy::Downloads(self.loading));
        }
        match self.facts.bytes_per_second_max {
            Some(rate) if self.owed_bytes > 0 => {
                Some(SiteBusy::Line(self.owed_bytes.div_ceil(rate.max(1))))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_free_again_once_it_has_carried_what_was_given_out() {
        let facts = SiteFacts { bytes_per_second_max: Some(100), ..SiteFacts::default() };
        let mut site = Site { facts, ..Site::default() };
        assert_eq!(site.busy(None, &[]), None);
        site.owed_bytes = 250;
        assert_eq!(site.busy(None, &[]), Some(SiteBusy::Line(3)));
        site.pass(2000);
        assert_eq!(site.busy(None, &[]), Some(SiteBusy::Line(1)));
        site.pass(500);
        assert_eq!(site.busy(None, &[]), None);
    }

    #[test]
    fn both_the_sites_windows_and_the_plans_have_to_be_open() {
        let facts = SiteFacts { windows: vec![Window { from: 0, to: 60 }], ..SiteFacts::default() };
        let site = Site { facts, ..Site::default() };
        assert_eq!(site.busy(Some(30), &[]), None);
        let plan = [Window { from: 45, to: 100 }];
        assert_eq!(site.busy(Some(30), &plan), Some(SiteBusy::Closed(Some(15))));
        assert_eq!(site.busy(Some(50), &plan), None);
        assert_eq!(site.busy(None, &[]), Some(SiteBusy::Closed(None)));
    }
}
