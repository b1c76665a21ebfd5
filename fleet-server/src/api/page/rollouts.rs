//! Rollouts: how far each is, and what became of its devices.

use crate::api::page::html::{Column, escape, table};
use crate::api::page::routes::Shown;
use crate::error::Error;
use crate::fleet::Fleet;
use crate::rollout::RolloutShown;
use lineside_rollout::Tally;
use time::OffsetDateTime;

pub(super) async fn show(fleet: &Fleet, now: OffsetDateTime) -> Result<Shown, Error> {
    let rollouts = fleet.rollouts_shown(now).await?;
    let columns = [
        Column::Number("Number"),
        Column::Text("Release"),
        Column::Text("Slot"),
        Column::Text("State"),
        Column::Text("Wave"),
        Column::Number("Given"),
        Column::Number("Committed"),
        Column::Trouble("Refused"),
        Column::Trouble("Rolled back"),
        Column::Trouble("Stuck"),
    ];
    let rows: Vec<Vec<String>> = rollouts.iter().map(row).collect();
    let empty = "No release is brought to many devices yet: `lineside rollout begin PLAN`.";
    let body = table(&columns, &rows, empty);
    Ok(Shown { title: "Rollouts".into(), place: "/rollouts", body })
}

fn row(rollout: &RolloutShown) -> Vec<String> {
    let sum = |count: fn(&Tally) -> u32| {
        let counts = rollout.waves.iter().map(|wave| u64::from(count(&wave.devices)));
        counts.sum::<u64>().to_string()
    };
    let chip = match rollout.status {
        "running" | "standing" | "done" => "chip good",
        "stopped" | "rolling_back" | "rolled_back" => "chip bad",
        _ => "chip",
    };
    let (of, wave) = (rollout.waves.len(), rollout.wave);
    vec![
        rollout.id.to_string(),
        format!("<b>{}</b>", escape(&rollout.release)),
        escape(&rollout.slot),
        format!("<span class=\"{chip}\">{}</span>", escape(&rollout.text)),
        if wave == 0 { format!("none of {of}") } else { format!("{wave} of {of}") },
        sum(|devices| devices.entered),
        sum(|devices| devices.committed),
        sum(|devices| devices.refused),
        sum(|devices| devices.rolled_back),
        sum(|devices| devices.stuck),
    ]
}
