//! A plan as people write it, in TOML, for the server.

use anyhow::{Context, anyhow, bail};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

const MINUTES_OF_DAY: u32 = 24 * 60;
const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

/// Reads a plan; `by` plans it.
///
/// # Errors
/// What is wrong with the file, and where. What is wrong with the plan is for the server to say.
pub fn read(path: &Path, by: &str) -> anyhow::Result<Value> {
    let shown = path.display();
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {shown}"))?;
    let plan = parse(&text, by);
    plan.with_context(|| format!("{shown} is no plan of a rollout"))
}

fn parse(text: &str, by: &str) -> anyhow::Result<Value> {
    let table: toml::Table = toml::from_str(text)?;
    let mut plan = serde_json::to_value(table)?;
    let windows = plan.get_mut("windows").and_then(Value::as_array_mut);
    for window in windows.into_iter().flatten() {
        let said = window.as_str();
        let said =
            said.ok_or_else(|| anyhow!("windows are texts, as in \"Mon 22:00 - Tue 05:00\""))?;
        *window = self::window(said).with_context(|| {
            format!("{said:?} is no window: write it as in \"Mon 22:00 - Tue 05:00\"")
        })?;
    }
    if !by.is_empty() {
        plan["by"] = json!(by);
    }
    Ok(plan)
}

/// A window as minutes of the week, 0 being Monday 00:00.
fn window(said: &str) -> anyhow::Result<Value> {
    let (from, to) = said.split_once('-').context("it has no '-'")?;
    Ok(json!({ "from": minute(from)?, "to": minute(to)? }))
}

/// `Tue 05:00` as a minute of the week.
fn minute(said: &str) -> anyhow::Result<u32> {
    let (day, time) = said.trim().split_once(' ').context("a day and a time, as in Tue 05:00")?;
    let day = day.to_lowercase();
    let number = DAYS.iter().position(|known| *known == day);
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
    fn windows_are_written_as_people_say_them() {
        let text =
            "release = 'turbine/2'\nwindows = ['Mon 22:00 - Tue 05:00', 'sun 00:00-sun 23:59']";
        let plan = parse(text, "anna").unwrap();
        assert_eq!(
            plan["windows"],
            json!([{ "from": 1320, "to": 1740 }, { "from": 8640, "to": 10079 }])
        );
        assert_eq!(plan["by"], "anna");
        for (wrong, words) in [
            ("windows = ['Mon 22:00']", "no '-'"),
            ("windows = ['Mon 24:00 - Tue 05:00']", "no time of a day"),
            ("windows = ['Mo 22:00 - Tue 05:00']", "no day"),
            ("windows = [3]", "windows are texts"),
            ("windows = [", "TOML"),
        ] {
            let said = format!("{:#}", parse(wrong, "").unwrap_err());
            assert!(said.contains(words), "{wrong}: {said}");
        }
    }

    #[test]
    fn the_plan_of_the_documentation_is_one() {
        let plan = parse(include_str!("../../../../docs/rollout.toml"), "").unwrap();
        let plan: Vec<&String> = plan.as_object().unwrap().keys().collect();
        assert!(plan.contains(&&"waves".to_owned()), "{plan:?}");
    }
}
