//! Windows of a week as people say them.

use anyhow::{Context, bail};
use serde::Deserialize;
use serde_json::{Value, json};
use std::fmt;

const MINUTES_OF_DAY: u32 = 24 * 60;
const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];

/// From one minute of the week up to another, 0 being Monday 00:00.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct Window {
    from: u32,
    to: u32,
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |minute: u32| {
            let day = DAYS.get((minute / MINUTES_OF_DAY) as usize).unwrap_or(&"?");
            let minute = minute % MINUTES_OF_DAY;
            format!("{day} {:02}:{:02}", minute / 60, minute % 60)
        };
        write!(f, "{} - {}", shown(self.from), shown(self.to))
    }
}

/// Reads `Mon 22:00 - Tue 05:00`, for the server.
///
/// # Errors
/// What is wrong with it, and how it is written.
pub fn read(said: &str) -> anyhow::Result<Value> {
    let Window { from, to } = parse(said).with_context(|| {
        format!("{said:?} is no window: write it as in \"Mon 22:00 - Tue 05:00\"")
    })?;
    Ok(json!({ "from": from, "to": to }))
}

fn parse(said: &str) -> anyhow::Result<Window> {
    let (from, to) = said.split_once('-').context("it has no '-'")?;
    Ok(Window { from: minute(from)?, to: minute(to)? })
}

/// `Tue 05:00` as a minute of the week.
fn minute(said: &str) -> anyhow::Result<u32> {
    let (day, time) = said.trim().split_once(' ').context("it lacks a day or a time")?;
    let number = DAYS.iter().position(|known| known.eq_ignore_ascii_case(day));
    let number = number.with_context(|| format!("{day:?} is no day: {}", DAYS.join(", ")))?;
    let (hours, minutes) = time.trim().split_once(':').context("a time is written as in 05:00")?;
    let (hours, minutes): (u32, u32) = (hours.parse()?, minutes.parse()?);
    if hours > 23 || minutes > 59 {
        bail!("{time:?} is no time of a day");
    }
    Ok(number as u32 * MINUTES_OF_DAY + hours * 60 + minutes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_written_and_told_as_people_say_them() {
        for said in ["Mon 22:00 - Tue 05:00", "Sun 00:00 - Sun 23:59"] {
            assert_eq!(parse(said).unwrap().to_string(), said);
        }
        assert_eq!(read("mon 22:00-TUE 5:00").unwrap(), json!({ "from": 1320, "to": 1740 }));
        for (wrong, words) in [
            ("Mon 22:00", "no '-'"),
            ("Mon 24:00 - Tue 05:00", "no time of a day"),
            ("Mo 22:00 - Tue 05:00", "no day"),
            ("22:00 - Tue 05:00", "lacks a day"),
        ] {
            let error = format!("{:#}", read(wrong).unwrap_err());
            assert!(error.contains(words), "{wrong}: {error}");
        }
    }
}
