//! `lineside device logs`: lines of a device's log, which it sends for a while where somebody asks.

use crate::connection::Connection;
use crate::output::{Output, Usage};
use crate::server::Server;
use anyhow::{Context, bail};
use clap::Args;
use lineside_wire::name::DeviceId;
use lineside_wire::v1::LogLevel;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

/// How often is looked whether there are more lines.
const LOOK_EVERY: Duration = Duration::from_millis(500);
const OTHER_FORM: &str =
    "the server describes logs in another form; are server and tool of one version?";

#[derive(Args)]
pub struct Logs {
    /// The device.
    device: DeviceId,
    /// Ask the device for its lines, for so many minutes, 60 at most; it stops by itself. Without this only what
    /// it was asked for before is shown.
    #[arg(long, value_name = "N")]
    minutes: Option<u32>,
    /// Ask for lines that matter so much, or more: error, warn, info, debug [default: info].
    #[arg(long, value_name = "LEVEL", requires = "minutes")]
    level: Option<LogLevel>,
    /// Ask for what this part of the agent says, as in lineside_agent::update; may be given several times
    /// [default: all].
    #[arg(long = "target", value_name = "TARGET", requires = "minutes")]
    targets: Vec<String>,
    /// Show lines as they come, until no more do; with --json one document a line.
    #[arg(long)]
    follow: bool,
}

/// What the server knows of a log, as far as it is shown here.
#[derive(Deserialize)]
struct Known {
    request: Option<u64>,
    until: Option<String>,
    open: bool,
    heard: bool,
    ended: String,
    dropped: u64,
    gave_way: u64,
    last: u64,
    lines: Vec<Line>,
}

#[derive(Serialize, Deserialize)]
struct Line {
    number: u64,
    time: String,
    level: String,
    target: String,
    message: String,
    fields: BTreeMap<String, String>,
}

pub fn run(logs: &Logs, connection: &Connection, output: &Output) -> anyhow::Result<()> {
    let server = Server::at(connection)?;
    let device = logs.device.as_str();
    let mut seen = 0;
    if let Some(minutes) = logs.minutes {
        if minutes == 0 {
            return Err(Usage("--minutes 0 asks for nothing".to_owned()).into());
        }
        seen = known(&server.log(device, u64::MAX)?)?.last;
        let level = logs.level.unwrap_or(LogLevel::Info);
        let question = json!({ "minutes": minutes, "level": level, "targets": logs.targets });
        let asked = server.ask_log(device, &question)?;
        let is_away = asked["connected"] == false;
        if !logs.follow {
            let when = if is_away { "when it connects" } else { "now" };
            let text = format!(
                "{device} is asked {when} for its log, {level} and above, for {minutes} minutes; \
                 next: lineside device logs {device} --follow"
            );
            return output.print(text, &asked);
        }
        if is_away {
            eprintln!(
                "{device} is not connected: it is asked when it is, within {minutes} minutes"
            );
        }
    }
    if logs.follow {
        return follow(&server, device, seen, output);
    }
    let shown = server.log(device, 0)?;
    output.print(text(device, &known(&shown)?), &shown)
}

fn follow(server: &Server, device: &str, mut seen: u64, output: &Output) -> anyhow::Result<()> {
    let (mut any, mut dropped) = (false, 0);
    loop {
        let known = known(&server.log(device, seen)?)?;
        if known.request.is_none() {
            bail!("{device} was not asked for its log: add --minutes 10");
        }
        for line in &known.lines {
            any = true;
            if !output.line(written(line), line)? {
                return Ok(());
            }
        }
        if known.dropped > dropped {
            eprintln!("... {} lines were too many and are left out", known.dropped - dropped);
        }
        dropped = known.dropped;
        let is_end = known.lines.is_empty() && !known.open;
        // A server that was started anew counts from one again.
        seen = known.lines.last().map_or(seen.min(known.last), |line| line.number);
        if !is_end {
            std::thread::sleep(LOOK_EVERY);
            continue;
        }
        return match (any, known.heard, known.ended.as_str()) {
            (_, true, "" | "the time is over") => Ok(()),
            (true, _, why) => {
                eprintln!("{device} sends no more lines: {why}");
                Ok(())
            }
            (false, false, _) => {
                bail!(
                    "{device} has not heard of it: it was not connected, or its agent knows no such request"
                )
            }
            (false, true, why) => bail!("{device} sends no lines: {why}"),
        };
    }
}

fn known(shown: &Value) -> anyhow::Result<Known> {
    Known::deserialize(shown).context(OTHER_FORM)
}

fn text(device: &str, known: &Known) -> String {
    let mut text = String::new();
    for line in &known.lines {
        let _ = writeln!(text, "{}", written(line));
    }
    if known.gave_way > 0 {
        let _ = writeln!(text, "{} lines before the first one are not kept", known.gave_way);
    }
    if known.dropped > 0 {
        let _ = writeln!(text, "{} lines were too many and are left out", known.dropped);
    }
    let until = known.until.as_deref().unwrap_or("?");
    text += &match (known.request, known.open) {
        (None, _) => format!("{device} was not asked for its log: add --minutes 10"),
        (Some(_), true) if known.heard => format!("{device} sends lines until {until}"),
        (Some(_), true) => format!("{device} has not heard of it yet; it is asked until {until}"),
        (Some(_), false) if !known.ended.is_empty() => {
            format!("{device} sends no more lines: {}", known.ended)
        }
        (Some(_), false) => format!("{device} sends no more lines: it was asked until {until}"),
    };
    text
}

fn written(line: &Line) -> String {
    let Line { time, level, target, message, fields, .. } = line;
    let mut text = format!("{time} {:>5} {target}: {message}", level.to_uppercase());
    for (name, value) in fields {
        let _ = write!(text, " {name}={value}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(change: impl Fn(&mut Value)) -> String {
        let mut shown = json!({ "request": 7, "until": "2026-03-01T10:00:00Z", "open": true,
            "heard": true, "ended": "", "dropped": 0, "gave_way": 0, "last": 2, "level": "info",
            "lines": [{ "number": 2, "time": "2026-03-01T09:59:00.5Z", "level": "warn",
                "target": "lineside_agent::plant", "message": "away", "fields": { "slot": "line" } }] });
        change(&mut shown);
        text("mill", &known(&shown).unwrap())
    }

    #[test]
    fn lines_stand_above_what_is_left_out_and_whether_more_come() {
        let line = "2026-03-01T09:59:00.5Z  WARN lineside_agent::plant: away slot=line\n";
        let told = shown(|_| ());
        assert_eq!(told, format!("{line}mill sends lines until 2026-03-01T10:00:00Z"));
        let told = shown(|it| {
            it["open"] = false.into();
            it["ended"] = "the time is over".into();
            (it["dropped"], it["gave_way"]) = (3.into(), 4.into());
        });
        let left_out = "4 lines before the first one are not kept\n\
                        3 lines were too many and are left out\n";
        assert_eq!(told, format!("{line}{left_out}mill sends no more lines: the time is over"));
        let told = shown(|it| (it["request"], it["lines"]) = (Value::Null, json!([])));
        assert!(told.contains("--minutes"), "{told}");
        let told = shown(|it| it["heard"] = false.into());
        assert!(told.contains("has not heard of it yet"), "{told}");
    }
}
