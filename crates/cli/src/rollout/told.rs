//! Rollouts as the server describes them, for people.

use anyhow::Context;
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Write;

const OTHER_FORM: &str =
    "the server describes rollouts in another form; are server and tool of one version?";

#[derive(Deserialize)]
struct Rollout {
    id: u32,
    release: String,
    slot: String,
    text: String,
    author: String,
    approved_by: Vec<String>,
    wave: usize,
    selected: u32,
    waves: Vec<Wave>,
    #[serde(default)]
    news: Vec<News>,
}

#[derive(Deserialize)]
struct Wave {
    number: usize,
    size: Value,
    devices: Tally,
}

#[derive(Deserialize)]
struct Tally {
    entered: u32,
    on_trial: u32,
    committed: u32,
    refused: u32,
    rolled_back: u32,
    stuck: u32,
}

#[derive(Deserialize)]
struct News {
    at: String,
    text: String,
}

#[derive(Deserialize)]
struct Member {
    wave: u8,
    text: String,
}

#[derive(Deserialize)]
struct Ahead {
    devices: u32,
    have_it: u32,
    without_slot: u32,
    bytes: u64,
    waves: Vec<WaveAhead>,
    refusing: BTreeMap<String, Refusing>,
    conflicts: Vec<Conflict>,
    warnings: Vec<String>,
}

#[derive(Deserialize)]
struct WaveAhead {
    devices: u32,
    sites: u32,
    bytes: u64,
}

#[derive(Deserialize)]
struct Refusing {
    devices: u32,
    examples: Vec<String>,
}

#[derive(Deserialize)]
struct Conflict {
    rollout: u32,
    devices: u32,
    goes_first: bool,
}

fn read<'a, T: Deserialize<'a>>(value: &'a Value) -> anyhow::Result<T> {
    T::deserialize(value).context(OTHER_FORM)
}

/// The number of a rollout.
pub fn id(rollout: &Value) -> anyhow::Result<u32> {
    Ok(read::<Rollout>(rollout)?.id)
}

/// What it is and how far, in a line.
pub fn line(rollout: &Value) -> anyhow::Result<String> {
    Ok(read::<Rollout>(rollout)?.line())
}

/// A line for each.
pub fn list(rollouts: &Value) -> anyhow::Result<String> {
    let rollouts: Vec<Rollout> = read(rollouts)?;
    if rollouts.is_empty() {
        return Ok("no rollouts".into());
    }
    Ok(rollouts.iter().map(Rollout::line).collect::<Vec<_>>().join("\n"))
}

impl Rollout {
    fn line(&self) -> String {
        let Rollout { id, release, slot, text, wave, waves, .. } = self;
        let wave = match wave {
            0 => String::new(),
            wave => format!("wave {wave} of {}: ", waves.len()),
        };
        format!("rollout {id}: {release} to slot {slot}, {wave}{text}")
    }
}

/// Everything about one rollout.
pub fn paragraph(rollout: &Value) -> anyhow::Result<String> {
    let rollout: Rollout = read(rollout)?;
    let mut text = rollout.line();
    let _ = write!(text, "\n\nplanned by {}", rollout.author);
    if !rollout.approved_by.is_empty() {
        let _ = write!(text, ", approved by {}", rollout.approved_by.join(", "));
    }
    let _ = writeln!(text, "; {} devices are selected", rollout.selected);
    for wave in &rollout.waves {
        let Wave { number, size, devices } = wave;
        let sign = if *number == rollout.wave { '>' } else { ' ' };
        let _ = write!(text, "\n{sign} wave {number} ({}): ", self::size(size));
        let Tally { entered, on_trial, committed, refused, rolled_back, stuck } = devices;
        let counts = [
            (entered, "given it"),
            (on_trial, "on trial"),
            (committed, "committed"),
            (refused, "refused"),
            (rolled_back, "rolled back"),
            (stuck, "stuck"),
        ];
        let some = counts.iter().filter(|(count, _)| **count > 0);
        let some: Vec<String> = some.map(|(count, what)| format!("{count} {what}")).collect();
        text.push_str(if some.is_empty() { "nobody yet" } else { "" });
        text.push_str(&some.join(", "));
    }
    if !rollout.news.is_empty() {
        text.push('\n');
    }
    for news in rollout.news.iter().rev() {
        let _ = write!(text, "\n  {}  {}", news.at, news.text);
    }
    Ok(text)
}

fn size(size: &Value) -> String {
    match (&size["percent"], &size["count"], size["list"].as_array()) {
        (Value::Number(percent), _, _) => format!("{percent} %"),
        (_, Value::Number(count), _) => format!("up to {count} devices"),
        (_, _, Some(names)) => format!("{} devices by name", names.len()),
        _ => "of a kind that is not known here".into(),
    }
}

/// A line for each device.
pub fn devices(members: &Value) -> anyhow::Result<String> {
    let members: Vec<Member> = read(members)?;
    if members.is_empty() {
        return Ok("no devices".into());
    }
    let line = |member: &Member| match member.wave {
        0 => member.text.clone(),
        wave => format!("wave {wave}: {}", member.text),
    };
    Ok(members.iter().map(line).collect::<Vec<_>>().join("\n"))
}

/// What a plan would do.
pub fn ahead(ahead: &Value) -> anyhow::Result<String> {
    let ahead: Ahead = read(ahead)?;
    let Ahead { devices, have_it, without_slot, bytes, .. } = &ahead;
    let mut text = format!("{devices} devices would be given the release, {} at most", mib(*bytes));
    if *have_it > 0 {
        let _ = write!(text, "; {have_it} have it");
    }
    if *without_slot > 0 {
        let _ = write!(
            text,
            "; {without_slot} have not said that they have the slot, and wait until they do"
        );
    }
    for (number, wave) in (1..).zip(&ahead.waves) {
        let WaveAhead { devices, sites, bytes } = wave;
        let _ =
            write!(text, "\n  wave {number}: {devices} devices at {sites} sites, {}", mib(*bytes));
    }
    for (reason, Refusing { devices, examples }) in &ahead.refusing {
        let _ = write!(text, "\n{devices} would refuse it, as {}: {reason}", examples.join(", "));
    }
    for Conflict { rollout, devices, goes_first } in &ahead.conflicts {
        let who = if *goes_first { "goes first" } else { "comes second" };
        let _ = write!(text, "\nrollout {rollout} wants {devices} of them, too, and {who}");
    }
    for warning in &ahead.warnings {
        let _ = write!(text, "\nnote: {warning}");
    }
    Ok(text)
}

fn mib(bytes: u64) -> String {
    match bytes {
        0..1_048_576 => format!("{} KiB", bytes.div_ceil(1_024)),
        bytes => format!("{:.1} MiB", bytes as f64 / 1_048_576.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_rollout_is_told_with_its_waves_and_what_happened() {
        let tally = |entered: u32, committed: u32, refused: u32| {
            json!({ "entered": entered, "on_trial": entered - committed - refused, "committed": committed,
                "refused": refused, "rolled_back": 0, "stuck": 0 })
        };
        let shown = json!({
            "id": 3, "release": "turbine/2", "slot": "turbine", "status": "running", "text": "running",
            "author": "anna", "approved_by": ["ben"], "wave": 2, "selected": 40,
            "waves": [
                { "number": 1, "size": { "count": 1 }, "devices": tally(1, 1, 0) },
                { "number": 2, "size": { "percent": 25.0 }, "devices": tally(9, 3, 1) },
                { "number": 3, "size": { "list": ["a", "b"] }, "devices": tally(0, 0, 0) },
            ],
            "news": [
                { "id": 2, "at": "2026-11-27T12:05:00Z", "text": "wave 2 begins" },
                { "id": 1, "at": "2026-11-27T12:00:00Z", "text": "wave 1 begins" },
            ],
        });
        insta::assert_snapshot!(paragraph(&shown).unwrap(), @"
        rollout 3: turbine/2 to slot turbine, wave 2 of 3: running

        planned by anna, approved by ben; 40 devices are selected

          wave 1 (up to 1 devices): 1 given it, 1 committed
        > wave 2 (25.0 %): 9 given it, 5 on trial, 3 committed, 1 refused
          wave 3 (2 devices by name): nobody yet

          2026-11-27T12:00:00Z  wave 1 begins
          2026-11-27T12:05:00Z  wave 2 begins
        ");
        assert!(format!("{:#}", list(&json!([{}])).unwrap_err()).contains("of one version"));
    }

    #[test]
    fn what_a_plan_would_do_is_told_with_what_stands_in_its_way() {
        let shown = json!({
            "devices": 12, "have_it": 1, "without_slot": 2, "bytes": 3_400_000, "waves": [
                { "devices": 1, "sites": 1, "bytes": 283_334, "refusing": 0 },
                { "devices": 11, "sites": 3, "bytes": 3_116_666, "refusing": 1 },
            ],
            "refusing": { "it may not go back below number 4 of turbine":
                { "devices": 1, "examples": ["mill-7"] } },
            "conflicts": [{ "rollout": 2, "devices": 4, "examples": [], "goes_first": true }],
            "warnings": ["3 devices are in no wave"],
        });
        insta::assert_snapshot!(ahead(&shown).unwrap(), @"
        12 devices would be given the release, 3.2 MiB at most; 1 have it; 2 have not said that they have the slot, and wait until they do
          wave 1: 1 devices at 1 sites, 277 KiB
          wave 2: 11 devices at 3 sites, 3.0 MiB
        1 would refuse it, as mill-7: it may not go back below number 4 of turbine
        rollout 2 wants 4 of them, too, and goes first
        note: 3 devices are in no wave
        ");
    }
}
