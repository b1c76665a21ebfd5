//! `lineside alerts`: what rules have seen, and saying that somebody knows of it.

use crate::connection::Connection;
use crate::output::Output;
use crate::server::Server;
use anyhow::Context;
use clap::{Args, Subcommand};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Write;

const OTHER_FORM: &str =
    "the server describes alerts in another form; are server and tool of one version?";

#[derive(Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Alerts {
    /// List those that are over, too; at most a hundred, the newest first.
    #[arg(long)]
    all: bool,
    #[command(subcommand)]
    command: Option<AlertsCommand>,
}

#[derive(Subcommand)]
pub enum AlertsCommand {
    /// Show an alert, with what was measured in its time.
    Show {
        /// Its number.
        id: u64,
    },
    /// Say that somebody knows of an alert. It is no longer among what is to be looked at.
    Acknowledge(Decision),
    /// Approve what a rule has proposed: it is assigned.
    Approve(Decision),
    /// Decline what a rule has proposed.
    Decline(Decision),
}

#[derive(Args)]
pub struct Decision {
    /// The number of the alert.
    id: u64,
    /// Who says so, which is written down [default: the administrator].
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    by: String,
}

pub fn run(alerts: Alerts, connection: &Connection, output: &Output) -> anyhow::Result<()> {
    let server = Server::at(connection)?;
    match alerts.command {
        None => {
            let listed = server.alerts(if alerts.all { "" } else { "open=true&limit=1000" })?;
            output.print(list(&listed)?, &listed)
        }
        Some(AlertsCommand::Show { id }) => {
            let shown = server.alert(id)?;
            output.print(paragraph(&shown)?, &shown)
        }
        Some(AlertsCommand::Approve(decision)) => decide(&server, "approve", &decision, output),
        Some(AlertsCommand::Decline(decision)) => decide(&server, "decline", &decision, output),
        Some(AlertsCommand::Acknowledge(Decision { id, by })) => {
            let shown = server.decide(id, "acknowledge", &by)?;
            let alert = Alert::deserialize(&shown).context(OTHER_FORM)?;
            let by = alert.acknowledged_by.as_deref().unwrap_or("nobody");
            output.print(format!("{by} knows of alert {id}"), &shown)
        }
    }
}

/// Decides on what a rule has proposed, and says what has come of it.
fn decide(
    server: &Server,
    decision: &str,
    Decision { id, by }: &Decision,
    output: &Output,
) -> anyhow::Result<()> {
    let shown = server.decide(*id, decision, by)?;
    let alert = Alert::deserialize(&shown).context(OTHER_FORM)?;
    let told = alert.proposal.map(|proposal| proposal.told()).unwrap_or_default();
    output.print(format!("alert {id}: {told}"), &shown)
}

/// An alert as the server describes it; what is not known here is not told.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Alert {
    id: u64,
    device: Option<String>,
    site: Option<String>,
    scope: String,
    slot: String,
    release: String,
    fired: Option<String>,
    over: Option<String>,
    start: String,
    end: String,
    text: String,
    acknowledged_by: Option<String>,
    acknowledged: Option<String>,
    evidence: Option<Evidence>,
    proposal: Option<Proposal>,
    deliveries: Vec<Delivery>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Proposal {
    release: Option<String>,
    policy: String,
    state: String,
    decided_by: Option<String>,
    text: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Delivery {
    channel: String,
    what: String,
    delivered: Option<String>,
    next: Option<String>,
    trouble: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Evidence {
    intervals: u64,
    readings: u64,
    frames: u64,
    inputs: BTreeMap<String, Column>,
    outputs: BTreeMap<String, Column>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Column {
    values: u64,
    missing: u64,
    out_of_range: u64,
    min: Option<f64>,
    median: Option<f64>,
    max: Option<f64>,
}

impl Proposal {
    /// What is proposed, and what has come of it.
    fn told(&self) -> String {
        let what = match &self.release {
            Some(release) => format!("{release} is to be assigned"),
            None => "what ran before is to be assigned".into(),
        };
        match (self.state.as_str(), &self.decided_by) {
            ("asked", _) => format!("{what}, which waits for a person to approve it"),
            ("declined", Some(by)) => format!("{what}, which {by} has declined"),
            (_, Some(by)) if !self.text.is_empty() => {
                format!("{}, as {by} has approved", self.text)
            }
            (_, None) if !self.text.is_empty() => self.text.clone(),
            _ => format!("{what}, and will be"),
        }
    }
}

impl Delivery {
    fn told(&self) -> String {
        let Delivery { channel, what, trouble, .. } = self;
        match (&self.delivered, &self.next) {
            (Some(delivered), _) => format!("{channel}  {what}  told {delivered}"),
            (None, Some(next)) if trouble.is_empty() => {
                format!("{channel}  {what}  from {next} on")
            }
            (None, Some(next)) => format!("{channel}  {what}  again {next}: {trouble}"),
            (None, None) => format!("{channel}  {what}  not told: {trouble}"),
        }
    }
}

impl Alert {
    fn place(&self) -> String {
        match (&self.device, &self.site) {
            (Some(device), _) => device.clone(),
            (_, Some(site)) if self.scope == "site" => format!("site {site}"),
            _ => "the fleet".into(),
        }
    }

    fn state(&self) -> String {
        match (&self.over, &self.acknowledged_by) {
            (Some(over), _) => format!("over since {over}"),
            (None, Some(by)) => format!("open, known to {by}"),
            (None, None) => "open".into(),
        }
    }
}

/// A line for each alert, what was seen below it.
fn list(alerts: &Value) -> anyhow::Result<String> {
    let alerts: Vec<Alert> = Vec::deserialize(alerts).context(OTHER_FORM)?;
    if alerts.is_empty() {
        return Ok("no alerts".into());
    }
    let line = |alert: &Alert| {
        let Alert { id, slot, release, fired, text, .. } = alert;
        let (place, state) = (alert.place(), alert.state());
        let fired = fired.as_deref().unwrap_or("-");
        format!("{id}  {fired}  {place}  slot {slot}  {release}  {state}\n   {text}")
    };
    Ok(alerts.iter().map(line).collect::<Vec<_>>().join("\n"))
}

/// Everything about one alert.
fn paragraph(alert: &Value) -> anyhow::Result<String> {
    let alert = Alert::deserialize(alert).context(OTHER_FORM)?;
    let Alert { id, slot, release, start, end, text: what, .. } = &alert;
    let mut text = format!("alert {id}: {}, slot {slot}, {release}\n{what}", alert.place());
    let fired = alert.fired.as_deref().unwrap_or("not told yet");
    let _ = write!(text, "\n\nstate  {}\nfired  {fired}\nseen   {start} to {end}", alert.state());
    if let (Some(by), Some(since)) = (&alert.acknowledged_by, &alert.acknowledged) {
        let _ = write!(text, "\nknown  to {by}, since {since}");
    }
    if let Some(proposal) = &alert.proposal {
        let _ = write!(text, "\n\n{}\n  by {}", proposal.told(), proposal.policy);
        if proposal.state == "asked" {
            let _ = write!(text, "\n  next: lineside alerts approve {id}, or decline {id}");
        }
    }
    if !alert.deliveries.is_empty() {
        text.push_str("\n\nchannels");
        for delivery in &alert.deliveries {
            let _ = write!(text, "\n  {}", delivery.told());
        }
    }
    match &alert.evidence {
        None => text.push_str("\n\nno interval of that time has come"),
        Some(evidence) => evidence.tell(&mut text),
    }
    Ok(text)
}

impl Evidence {
    fn tell(&self, text: &mut String) {
        let Evidence { intervals, readings, frames, .. } = self;
        let _ = write!(
            text,
            "\n\nmeasured: {intervals} intervals, {readings} readings, {frames} frames"
        );
        for (what, columns) in [("input", &self.inputs), ("output", &self.outputs)] {
            for (name, column) in columns {
                let Column { values, missing, out_of_range, .. } = column;
                let _ = write!(text, "\n  {what} {name}: {values} values");
                if let (Some(min), Some(median), Some(max)) =
                    (column.min, column.median, column.max)
                {
                    let _ = write!(text, ", {min:.4} to {max:.4}, median {median:.4}");
                }
                if *missing > 0 {
                    let _ = write!(text, ", {missing} missing");
                }
                if *out_of_range > 0 {
                    let _ = write!(text, ", {out_of_range} out of range");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn alert() -> Value {
        json!({
            "id": 7, "scope": "device", "device": "line-3", "site": null, "slot": "turbine",
            "rule": "high", "release": "turbine v1", "fired": "2026-11-24T12:00:00Z", "over": null,
            "start": "2026-01-21T00:00:00Z", "end": "2026-01-23T00:00:00Z",
            "text": "high: median of score is 1.25, where at most 1 is well",
            "acknowledged_by": "anna", "acknowledged": "2026-11-24T12:05:00Z",
            "evidence": { "intervals": 48, "readings": 2880, "frames": 288, "inputs": {},
                "outputs": { "score": { "values": 288, "missing": 1, "out_of_range": 0,
                    "min": 0.5, "median": 1.25, "max": 2.5 } } },
            "proposal": { "release": "turbine/2", "policy": "rule high of the policy of site hill",
                "state": "asked", "decided_by": null, "text": "" },
            "deliveries": [
                { "channel": "shift", "what": "fired", "delivered": "2026-11-24T12:00:01Z", "next": null,
                    "trouble": "" },
                { "channel": "plant", "what": "fired", "delivered": null, "next": "2026-11-24T13:00:00Z",
                    "trouble": "it answers 503" },
            ],
        })
    }

    #[test]
    fn alerts_are_told_with_what_was_seen_and_measured() {
        insta::assert_snapshot!(list(&json!([alert()])).unwrap(), @r"
        7  2026-11-24T12:00:00Z  line-3  slot turbine  turbine v1  open, known to anna
           high: median of score is 1.25, where at most 1 is well
        ");
        insta::assert_snapshot!(paragraph(&alert()).unwrap(), @r"
        alert 7: line-3, slot turbine, turbine v1
        high: median of score is 1.25, where at most 1 is well

        state  open, known to anna
        fired  2026-11-24T12:00:00Z
        seen   2026-01-21T00:00:00Z to 2026-01-23T00:00:00Z
        known  to anna, since 2026-11-24T12:05:00Z

        turbine/2 is to be assigned, which waits for a person to approve it
          by rule high of the policy of site hill
          next: lineside alerts approve 7, or decline 7

        channels
          shift  fired  told 2026-11-24T12:00:01Z
          plant  fired  again 2026-11-24T13:00:00Z: it answers 503

        measured: 48 intervals, 2880 readings, 288 frames
          output score: 288 values, 0.5000 to 2.5000, median 1.2500, 1 missing
        ");
        assert_eq!(list(&json!([])).unwrap(), "no alerts");
        assert!(format!("{:#}", list(&json!({})).unwrap_err()).contains("of one version"));
    }
}
