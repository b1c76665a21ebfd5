//! `lineside release ask`: asks devices whether a release would run on them, before anybody assigns it.

use crate::assign::ReleasePath;
use crate::connection::Connection;
use crate::output::Output;
use crate::server::Server;
use anyhow::{Context, bail};
use clap::Args;
use lineside_wire::name::{DeviceId, SlotName};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write;

#[derive(Args)]
pub struct Ask {
    /// The release, as in turbine/2.
    release: ReleasePath,
    /// Ask this device; may be given several times. All are asked unless one is named.
    #[arg(long, value_name = "DEVICE")]
    device: Vec<DeviceId>,
    /// Ask about this slot only.
    #[arg(long, value_name = "SLOT")]
    slot: Option<SlotName>,
    /// How long devices have to answer.
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    wait: u64,
}

#[derive(Deserialize)]
struct Answers {
    release: String,
    devices: BTreeMap<String, Device>,
}

#[derive(Deserialize)]
struct Device {
    answered: bool,
    connected: bool,
    slots: BTreeMap<String, Slot>,
}

#[derive(Deserialize)]
struct Slot {
    would_run: bool,
    objections: Vec<Objection>,
}

#[derive(Deserialize)]
struct Objection {
    text: String,
    passes: bool,
}

pub fn run(ask: &Ask, connection: &Connection, output: &Output) -> anyhow::Result<()> {
    let Ask { release, device, slot, wait } = ask;
    let server = Server::at(connection)?;
    let question = json!({ "devices": device, "slot": slot, "wait_seconds": wait });
    let answers = {
        let _working = output.working(format!("asking devices about {release}"));
        server.would_run(&release.to_string(), &question)?
    };
    let (text, would) = told(&answers)?;
    output.print(text, &answers)?;
    // For scripts: whoever names devices wants it to run on each of them.
    let wanted = device.len().max(1);
    if would < wanted {
        bail!("{release} would run on {would} of the devices that were asked, and not on {wanted}");
    }
    Ok(())
}

/// A line for each slot of each device, those that have answered first, and what it comes to; and on how
/// many devices it would run.
///
/// # Errors
/// The server answers in another form.
fn told(answers: &Value) -> anyhow::Result<(String, usize)> {
    let Answers { release, devices } = Answers::deserialize(answers)
        .context("the server answers in another form; are server and tool of one version?")?;
    if devices.is_empty() {
        return Ok(("there are no devices to ask".into(), 0));
    }
    let mut would = 0;
    let (mut rows, mut silent) = (Vec::new(), Vec::new());
    for (name, device) in &devices {
        if device.slots.values().any(|slot| slot.would_run) {
            would += 1;
        }
        if !device.answered {
            let why =
                if device.connected { "no answer yet" } else { "no answer: it is not connected" };
            silent.push([name.clone(), "-".into(), why.into()]);
        }
        for (slot, answer) in &device.slots {
            let slot = if slot.is_empty() { "-" } else { slot };
            rows.push([name.clone(), slot.to_owned(), answer.told()]);
        }
    }
    let silent_count = silent.len();
    rows.append(&mut silent);
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let (device, slot) = (width(0).unwrap_or(0), width(1).unwrap_or(0));
    let mut text = String::new();
    for row in &rows {
        let _ = writeln!(text, "{:device$}  {:slot$}  {}", row[0], row[1], row[2]);
    }
    let _ = write!(text, "{would} of {} devices would run {release}", devices.len());
    if silent_count > 0 {
        let _ = write!(text, ", without an answer: {silent_count}");
    }
    Ok((text, would))
}

impl Slot {
    fn told(&self) -> String {
        if self.would_run {
            return "would run".into();
        }
        let texts: Vec<&str> = self.objections.iter().map(|it| it.text.as_str()).collect();
        let for_now = match self.objections.iter().all(|it| it.passes) {
            true => "not now",
            false => "would not run",
        };
        format!("{for_now}: {}", texts.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_that_would_run_it_that_would_not_and_that_are_silent_are_told_apart() {
        let slot = |objections: Value| {
            let would_run = objections.as_array().is_some_and(Vec::is_empty);
            json!({ "would_run": would_run, "objections": objections })
        };
        let device = |connected: bool, slots: Value| {
            let answered = slots.as_object().is_some_and(|slots| !slots.is_empty());
            json!({ "answered": answered, "connected": connected, "slots": slots })
        };
        let disk = json!([{ "text": "the disk is full", "passes": true }]);
        let both = json!([
            { "text": "the disk is full", "passes": true },
            { "text": "no licence", "passes": false }
        ]);
        let answers = json!({ "release": "turbine/2", "devices": {
            "line-1": device(true, json!({ "a": slot(json!([])), "spare": slot(disk) })),
            "line-2": device(false, json!({})),
            "line-3": device(true, json!({})),
            "line-4": device(true, json!({ "": slot(both) })),
        }});
        let (text, would) = told(&answers).unwrap();
        assert_eq!(would, 1);
        insta::assert_snapshot!(text, @r"
        line-1  a      would run
        line-1  spare  not now: the disk is full
        line-4  -      would not run: the disk is full; no licence
        line-2  -      no answer: it is not connected
        line-3  -      no answer yet
        1 of 4 devices would run turbine/2, without an answer: 2
        ");
        assert!(told(&json!({})).is_err());
    }
}
