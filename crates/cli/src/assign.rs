//! `lineside assign`: has the server sign which release a slot of a device shall hold.
//! `lineside approve`: has it sign that a person approves that.
//! `lineside unassign`: has it say nothing of that any longer.

use crate::connection::Connection;
use crate::output::Output;
use crate::server::Server;
use anyhow::Context;
use clap::Args;
use lineside_bundle::{BundleName, BundleVersion};
use lineside_wire::name::{DeviceId, SlotName};
use serde_json::Value;
use std::fmt;
use std::str::FromStr;

#[derive(Args)]
pub struct Assign {
    /// The device.
    device: DeviceId,
    /// The slot, as the device's agent.toml names it.
    slot: SlotName,
    /// The release, as in turbine/2.
    release: ReleasePath,
    /// Have the device try the release again, though it has given it up there: refused it, or rolled it
    /// back. It goes the whole way of an update once more, and needs a new approval where a person has to
    /// give one. Said once, it counts once: what fails again is given up again. Otherwise a release that
    /// was given up waits until another one is assigned.
    #[arg(long)]
    again: bool,
}

#[derive(Args)]
pub struct Approve {
    /// The device.
    device: DeviceId,
    /// The slot.
    slot: SlotName,
    /// The release, where it shall be no other than this one [default: the one that is assigned].
    release: Option<ReleasePath>,
}

#[derive(Args)]
pub struct Unassign {
    /// The device.
    device: DeviceId,
    /// The slot.
    slot: SlotName,
}

/// A release as people write it: `turbine/2`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReleasePath {
    name: BundleName,
    version: BundleVersion,
}

impl FromStr for ReleasePath {
    type Err = String;

    fn from_str(text: &str) -> Result<ReleasePath, String> {
        let (name, version) =
            text.split_once('/').ok_or("write NAME/VERSION, as in turbine/2".to_owned())?;
        Ok(ReleasePath {
            name: name.parse().map_err(|error| format!("{error}"))?,
            version: version.parse().map_err(|error| format!("{error}"))?,
        })
    }
}

impl fmt::Display for ReleasePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.name, self.version)
    }
}

pub fn run(assign: &Assign, connection: &Connection, output: &Output) -> anyhow::Result<()> {
    let Assign { device, slot, release, again } = assign;
    let server = Server::at(connection)?;
    let answer = server.assign(device.as_str(), slot.as_str(), &release.to_string(), *again)?;
    let tried = if *again { ", and is to be tried again there" } else { "" };
    let text = format!(
        "{release} is assigned to slot {slot} of {device}{tried}; \
         what comes of it: lineside device show {device}{}{}",
        warning(&answer),
        withdrawn(&answer)
    );
    output.print(text, &answer)
}

pub fn approve(approve: &Approve, connection: &Connection, output: &Output) -> anyhow::Result<()> {
    let Approve { device, slot, release } = approve;
    let server = Server::at(connection)?;
    let release = match release {
        Some(release) => release.to_string(),
        None => {
            let shown = server.device(device.as_str())?;
            let assigned = shown["slots"][slot.as_str()]["assigned"].as_str().map(str::to_owned);
            assigned.with_context(|| format!("nothing is assigned to slot {slot} of {device}"))?
        }
    };
    let answer = server.approve(device.as_str(), slot.as_str(), &release)?;
    let text = format!(
        "{release} is approved for slot {slot} of {device}, until another release is assigned to it"
    );
    output.print(text, &answer)
}

pub fn end(unassign: &Unassign, connection: &Connection, output: &Output) -> anyhow::Result<()> {
    let Unassign { device, slot } = unassign;
    let answer = Server::at(connection)?.unassign(device.as_str(), slot.as_str())?;
    let text = format!(
        "nothing is assigned to slot {slot} of {device} any longer; what it runs there stays, what is on \
         its way is given up{}",
        withdrawn(&answer)
    );
    output.print(text, &answer)
}

/// What may not be as it was meant, on a line of its own.
fn warning(answer: &Value) -> String {
    answer["warning"].as_str().map_or_else(String::new, |warning| format!("\n! {warning}"))
}

/// What has ended beside it, a line each.
fn withdrawn(answer: &Value) -> String {
    let slots = answer["withdrawn"].as_object().into_iter().flatten();
    let line = |(slot, release): (&String, &Value)| {
        let release = release.as_str().unwrap_or_default();
        format!("\nnothing is assigned to slot {slot} any longer: {release} is no longer released")
    };
    slots.map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ended_beside_an_assignment_is_told() {
        let answer = serde_json::json!({ "withdrawn": { "spare": "turbine/1" } });
        assert!(withdrawn(&answer).contains("slot spare any longer: turbine/1"));
        assert_eq!(withdrawn(&serde_json::json!({})), "");
        assert_eq!(warning(&serde_json::json!({})), "");
        let answer = serde_json::json!({ "warning": "mill has told of no slot ward" });
        assert_eq!(warning(&answer), "\n! mill has told of no slot ward");
    }

    #[test]
    fn a_release_is_written_as_its_bundle_and_version() {
        let parse = |text: &str| text.parse::<ReleasePath>().map(|release| release.to_string());
        assert_eq!(parse("turbine/2").unwrap(), "turbine/2");
        assert_eq!(parse("turbine").unwrap_err(), "write NAME/VERSION, as in turbine/2");
        assert!(parse("turbine/../x").is_err());
        assert!(parse("Turbine/2").is_err());
    }
}
