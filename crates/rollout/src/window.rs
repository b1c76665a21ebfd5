//! Maintenance windows: when in its own week a site lets a release begin.

use serde::{Deserialize, Serialize};

/// Minutes of a week.
pub const WEEK_MINUTES: u16 = 7 * 24 * 60;
/// Most windows of a site or a plan.
pub const WINDOWS_MAX: usize = 64;

/// A span of each week in a site's local time: from minute `from` up to, not including, minute `to`.
///
/// Minute 0 is Monday 00:00. `to` below `from` goes over the end of the week; `to` equal to `from` is
/// the whole week. In the night in which clocks change, the offset that the driver hands in decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Window {
    /// First minute, 0 to 10,079.
    pub from: u16,
    /// First minute after it, 0 to 10,079.
    pub to: u16,
}

impl Window {
    /// A window on one day (0 is Monday), from `from` to `to` as hours and minutes.
    pub fn on(day: u16, from: (u16, u16), to: (u16, u16)) -> Window {
        let minute = |(hour, minute): (u16, u16)| {
            (u32::from(day) * 1440 + u32::from(hour) * 60 + u32::from(minute))
                % u32::from(WEEK_MINUTES)
        };
        Window { from: minute(from) as u16, to: minute(to) as u16 }
    }

    fn minutes_until(self, minute: u16) -> u16 {
        let length = (WEEK_MINUTES + self.to - self.from) % WEEK_MINUTES;
        let length = if length == 0 { WEEK_MINUTES } else { length };
        let since = (WEEK_MINUTES + minute - self.from) % WEEK_MINUTES;
        if since < length { 0 } else { WEEK_MINUTES - since }
    }

    pub(crate) fn is_of_a_week(self) -> bool {
        self.from < WEEK_MINUTES && self.to < WEEK_MINUTES
    }
}

/// The local minute of the week at a site, from that of UTC (0 is Monday 00:00) and its offset from UTC
/// in minutes at that time.
pub fn local_minute(utc_minute: u16, offset_minutes: i16) -> u16 {
    let sum = i32::from(utc_minute) + i32::from(offset_minutes);
    sum.rem_euclid(i32::from(WEEK_MINUTES)) as u16
}

/// Minutes until one of `windows` is open at a local minute; 0 if one is. No window at all is none that
/// closes anything.
pub fn opens_in(windows: &[Window], minute: u16) -> u16 {
    windows.iter().map(|window| window.minutes_until(minute)).min().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SATURDAY: u16 = 5;

    #[test]
    fn a_window_is_open_in_the_local_time_of_its_site() {
        let windows = [Window::on(SATURDAY, (2, 0), (5, 0))];
        let saturday = SATURDAY * 1440;
        // 01:30 UTC is 02:30 in winter at UTC+1, and 18:30 of the day before at UTC-7.
        assert_eq!(opens_in(&windows, local_minute(saturday + 90, 60)), 0);
        assert_eq!(opens_in(&windows, local_minute(saturday + 90, -7 * 60)), 450);
        assert_eq!(opens_in(&windows, local_minute(saturday + 90, 0)), 30);
        // It ends before its last minute is over.
        assert_eq!(opens_in(&windows, saturday + 299), 0);
        assert_eq!(opens_in(&windows, saturday + 300), WEEK_MINUTES - 180);
    }

    #[test]
    fn a_window_may_go_over_the_end_of_the_week() {
        let sunday_night = [Window { from: WEEK_MINUTES - 60, to: 60 }];
        assert_eq!([WEEK_MINUTES - 1, 0, 59].map(|minute| opens_in(&sunday_night, minute)), [0; 3]);
        assert_eq!(opens_in(&sunday_night, 60), WEEK_MINUTES - 120);
        assert_eq!(local_minute(10, -20), WEEK_MINUTES - 10);
        assert_eq!(local_minute(WEEK_MINUTES - 10, 14 * 60), 830);
    }

    #[test]
    fn without_windows_nothing_is_closed() {
        assert_eq!(opens_in(&[], 17), 0);
        assert_eq!(opens_in(&[Window { from: 5, to: 5 }], 17), 0);
    }
}
