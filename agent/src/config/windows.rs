//! Maintenance windows: times of the week, as people write them.

use std::fmt;
use std::str::FromStr;
use time::{Duration, OffsetDateTime, UtcOffset};

const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
const DAY_MINUTES: u32 = 24 * 60;

/// A time of the week, as in `Mon-Fri 22:00-05:00`: it begins on each of these days, and may end on
/// the next one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    /// Whether it begins on a day, from Monday.
    days: [bool; 7],
    /// Minute of that day in which it begins.
    start: u32,
    /// Minute after its last, counted from the same midnight.
    end: u32,
}

/// The windows of a slot, in the time of the site.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Windows {
    /// None: it is always open.
    pub windows: Vec<Window>,
    /// What the site's clocks are ahead of UTC. It is a fixed one: an hour of summer time shifts
    /// windows by an hour.
    pub offset: UtcOffset,
}

impl Default for Windows {
    fn default() -> Windows {
        Windows { windows: Vec::new(), offset: UtcOffset::UTC }
    }
}

impl Windows {
    /// Whether one is open at this time.
    pub fn is_open(&self, now: OffsetDateTime) -> bool {
        let now = now.to_offset(self.offset);
        let (today, minute) = (day(now), u32::from(now.hour()) * 60 + u32::from(now.minute()));
        let is_in = |window: &Window| {
            let since_yesterday = minute + DAY_MINUTES;
            window.days[today] && (window.start..window.end).contains(&minute)
                || window.days[(today + 6) % 7]
                    && (window.start..window.end).contains(&since_yesterday)
        };
        self.windows.is_empty() || self.windows.iter().any(is_in)
    }

    /// When the next one opens after this time, for people: `Mon 22:00 (+01:00)`.
    pub fn next(&self, now: OffsetDateTime) -> Option<String> {
        let now = now.to_offset(self.offset);
        let midnight = now.replace_time(time::Time::MIDNIGHT);
        let mut starts = Vec::new();
        for ahead in 0..=7 {
            let Some(date) = midnight.checked_add(Duration::days(ahead)) else { continue };
            let windows = self.windows.iter().filter(|window| window.days[day(date)]);
            starts.extend(
                windows
                    .filter_map(|window| date.checked_add(Duration::minutes(window.start.into()))),
            );
        }
        let next = starts.into_iter().filter(|start| *start > now).min()?;
        let (name, hour, minute) = (DAYS[day(next)], next.hour(), next.minute());
        Some(format!("{name} {hour:02}:{minute:02} ({})", offset_text(self.offset)))
    }
}

fn day(time: OffsetDateTime) -> usize {
    usize::from(time.weekday().number_days_from_monday())
}

impl FromStr for Window {
    type Err = String;

    fn from_str(text: &str) -> Result<Window, String> {
        let wrong = || format!("{text:?} is no window; write it as \"Mon-Fri 22:00-05:00\"");
        let (days, times) = text.split_once(' ').ok_or_else(wrong)?;
        let number = |name: &str| DAYS.iter().position(|day| *day == name).ok_or_else(wrong);
        let (first, last) = days.split_once('-').unwrap_or((days, days));
        let (first, last) = (number(first)?, number(last)?);
        let mut on = [false; 7];
        for ahead in 0..=(last + 7 - first) % 7 {
            on[(first + ahead) % 7] = true;
        }
        let (start, end) = times.split_once('-').ok_or_else(wrong)?;
        let (start, end) = (minutes(start).ok_or_else(wrong)?, minutes(end).ok_or_else(wrong)?);
        if start == end {
            return Err(format!("{text:?} begins when it ends; a whole day is 00:00-24:00"));
        }
        if start >= DAY_MINUTES {
            return Err(wrong());
        }
        let end = if end < start { end + DAY_MINUTES } else { end };
        Ok(Window { days: on, start, end })
    }
}

/// Minutes of a day up to `24:00`.
fn minutes(text: &str) -> Option<u32> {
    let (hour, minute) = text.split_once(':')?;
    if hour.len() != 2
        || minute.len() != 2
        || !text.bytes().all(|b| b.is_ascii_digit() || b == b':')
    {
        return None;
    }
    let (hour, minute): (u32, u32) = (hour.parse().ok()?, minute.parse().ok()?);
    let minutes = hour * 60 + minute;
    (minute < 60 && minutes <= DAY_MINUTES).then_some(minutes)
}

/// An offset from UTC, as in `+01:00`.
///
/// # Errors
/// What would be one.
pub fn offset(text: &str) -> Result<UtcOffset, String> {
    let wrong = || format!("{text:?} is no offset from UTC; write it as \"+01:00\" or \"-05:30\"");
    let (sign, rest) = match text.split_at_checked(1) {
        Some(("+", rest)) => (1, rest),
        Some(("-", rest)) => (-1, rest),
        _ => return Err(wrong()),
    };
    let minutes = minutes(rest).filter(|minutes| *minutes <= 14 * 60).ok_or_else(wrong)?;
    let minutes = i32::try_from(minutes).map_err(|_| wrong())?;
    UtcOffset::from_whole_seconds(sign * minutes * 60).map_err(|_| wrong())
}

fn offset_text(offset: UtcOffset) -> impl fmt::Display {
    let minutes = offset.whole_minutes();
    let sign = if minutes < 0 { '-' } else { '+' };
    format!("{sign}{:02}:{:02}", minutes.abs() / 60, minutes.abs() % 60)
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    fn windows(texts: &[&str], ahead: &str) -> Windows {
        let windows = texts.iter().map(|text| text.parse().unwrap()).collect();
        Windows { windows, offset: offset(ahead).unwrap() }
    }

    #[test]
    fn a_window_is_open_from_its_first_minute_to_the_one_before_its_last_and_over_midnight() {
        // 2026-11-23 is a Monday.
        let nights = windows(&["Mon-Fri 22:00-05:00"], "+00:00");
        for (time, open) in [
            (datetime!(2026-11-23 21:59:59 UTC), false),
            (datetime!(2026-11-23 22:00 UTC), true),
            (datetime!(2026-11-24 04:59:59 UTC), true),
            (datetime!(2026-11-24 05:00 UTC), false),
            (datetime!(2026-11-28 04:59 UTC), true),
            (datetime!(2026-11-28 22:30 UTC), false),
            (datetime!(2026-11-23 04:00 UTC), false),
        ] {
            assert_eq!(nights.is_open(time), open, "{time}");
        }
        let weekend = windows(&["Sat-Mon 00:00-24:00", "Wed 12:00-12:30"], "+00:00");
        for (time, open) in [
            (datetime!(2026-11-23 23:59:59 UTC), true),
            (datetime!(2026-11-24 00:00 UTC), false),
            (datetime!(2026-11-25 12:29 UTC), true),
            (datetime!(2026-11-25 12:30 UTC), false),
            (datetime!(2026-11-28 00:00 UTC), true),
        ] {
            assert_eq!(weekend.is_open(time), open, "{time}");
        }
        assert!(Windows::default().is_open(datetime!(2026-11-25 12:30 UTC)));
    }

    #[test]
    fn windows_are_in_the_time_of_the_site() {
        let night = windows(&["Mon 22:00-23:00"], "+05:30");
        assert!(night.is_open(datetime!(2026-11-23 16:30 UTC)));
        assert!(!night.is_open(datetime!(2026-11-23 22:30 UTC)));
        let east = windows(&["Mon 00:00-01:00"], "-08:00");
        assert!(east.is_open(datetime!(2026-11-23 08:30 UTC)));
    }

    #[test]
    fn the_next_window_is_named_with_its_day_and_offset() {
        let nights = windows(&["Mon-Fri 22:00-05:00", "Sun 10:00-11:00"], "+01:00");
        let next = |time| nights.next(time).unwrap();
        assert_eq!(next(datetime!(2026-11-23 12:00 UTC)), "Mon 22:00 (+01:00)");
        assert_eq!(next(datetime!(2026-11-28 12:00 UTC)), "Sun 10:00 (+01:00)");
        let weekly = windows(&["Mon 10:00-11:00"], "-05:30");
        assert_eq!(weekly.next(datetime!(2026-11-23 15:30 UTC)).unwrap(), "Mon 10:00 (-05:30)");
        assert_eq!(Windows::default().next(datetime!(2026-11-23 15:30 UTC)), None);
    }

    #[test]
    fn what_is_no_window_is_refused_with_one_that_is() {
        for text in [
            "",
            "Mon",
            "Mon-Fri",
            "mon 22:00-05:00",
            "Mon-Fri 22-05",
            "Mon 22:00",
            "Mon 22:60-23:00",
            "Mon 24:01-05:00",
            "Mon 24:00-05:00",
            "Mon 9:00-10:00",
            "Mon  22:00-23:00",
            "Mon +1:00-02:00",
        ] {
            let error = text.parse::<Window>().unwrap_err();
            assert!(error.contains("Mon-Fri 22:00-05:00"), "{text}: {error}");
        }
        assert!("Mon 05:00-05:00".parse::<Window>().unwrap_err().contains("00:00-24:00"));
        for text in ["", "01:00", "+1:00", "+15:00", "Z", "+01:00:00", "ä01:00"] {
            assert!(offset(text).is_err(), "{text}");
        }
    }
}
