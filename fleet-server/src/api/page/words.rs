//! Words of the pages: how long ago, which release, what is not as it should be. All of it markup.

use crate::api::page::html::escape;
use crate::api::view::{DeviceShown, SILENT_MAX};
use crate::registry::ReleaseShown;
use lineside_bundle::spoken;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Silence of a device after which it counts as away, in seconds.
const AWAY_SECONDS: i64 = 3_600;

/// When something was, by how long ago that is, with the time itself behind it.
pub(super) fn ago(time: &str, now: OffsetDateTime) -> String {
    let shown = match seconds_since(time, now) {
        None => time.to_owned(),
        Some(..=-60) => "in the future".into(),
        Some(..=1) => "now".into(),
        Some(seconds @ ..120) => format!("{seconds} s ago"),
        Some(seconds @ ..7_200) => format!("{} min ago", seconds / 60),
        Some(seconds @ ..172_800) => format!("{} h ago", seconds / 3_600),
        Some(seconds) => format!("{} days ago", seconds / 86_400),
    };
    let time = escape(time);
    format!("<time datetime=\"{time}\" title=\"{time}\">{}</time>", escape(&shown))
}

/// A time as people read it, to the second: the page says that it is UTC.
pub(super) fn plain(time: &str) -> String {
    escape(&time.trim_end_matches('Z').replacen('T', " ", 1))
}

/// A count in groups of three digits.
pub(super) fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

/// When something was: how long ago, and the time itself beside it.
pub(super) fn ago_and_time(time: &str, now: OffsetDateTime) -> String {
    format!("{} <time class=\"quiet\">{}</time>", ago(time, now), plain(time))
}

/// When a device was last heard of.
pub(super) fn seen(device: &DeviceShown, now: OffsetDateTime) -> String {
    let Some(time) = &device.last_seen else {
        return "<span class=\"seen quiet\"><span class=\"dot\"></span>never</span>".into();
    };
    let class = match seconds_since(time, now) {
        Some(seconds) if seconds < SILENT_MAX.as_secs().cast_signed() => "dot good",
        Some(..AWAY_SECONDS) => "dot late",
        _ => "dot",
    };
    format!("<span class=\"seen\"><span class=\"{class}\"></span>{}</span>", ago(time, now))
}

fn seconds_since(time: &str, now: OffsetDateTime) -> Option<i64> {
    let time = OffsetDateTime::parse(time, &Rfc3339).ok()?;
    Some((now - time).whole_seconds())
}

/// A release, or `none`.
pub(super) fn release(release: Option<&ReleaseShown>, none: &str) -> String {
    match release {
        Some(release) => format!(
            "<span class=\"release\">{}</span>",
            escape(&spoken(&release.name, &release.version))
        ),
        None => format!("<span class=\"quiet\">{}</span>", escape(none)),
    }
}

/// What kind of thing happened; what people should look at stands out.
pub(super) fn event(kind: &str) -> String {
    let class = match kind {
        "rolled_back" | "refused" | "worker_failed" | "vacant" | "documents_refused"
        | "install_failed" | "quarantined" | "rule_fired" => "chip bad",
        "alarm" | "download_failed" | "records_dropped" | "trial_cancelled" | "held"
        | "overdue" | "worker_killed" => "chip warn",
        _ => "chip",
    };
    format!("<span class=\"{class}\">{}</span>", escape(&kind.replace('_', " ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    #[test]
    fn large_counts_are_written_in_groups() {
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(1_000), "1\u{202f}000");
        assert_eq!(grouped(1_234_567), "1\u{202f}234\u{202f}567");
    }

    #[test]
    fn a_time_is_told_by_how_long_ago_it_was_with_itself_behind_it() {
        let now = datetime!(2026-11-24 12:00 UTC);
        for (time, words) in [
            ("2026-11-24T12:00:00Z", "now"),
            ("2026-11-24T11:59:30Z", "30 s ago"),
            ("2026-11-24T11:57:00Z", "3 min ago"),
            ("2026-11-24T01:00:00Z", "11 h ago"),
            ("2026-11-01T12:00:00Z", "23 days ago"),
            ("2027-01-01T00:00:00Z", "in the future"),
            ("1e300 ms", "1e300 ms"),
        ] {
            let said = ago(time, now);
            assert!(said.contains(&format!(">{words}<")), "{said}");
            assert!(said.contains(&format!("title=\"{time}\"")), "{said}");
        }
    }
}
