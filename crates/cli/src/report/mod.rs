//! `lineside report`: what the server knows of a slot, as one file for people and one for programs.

mod answer;
mod chart;
mod drift;
mod page;
mod quality;
mod value;

use crate::assign::ReleasePath;
use crate::connection::Connection;
use crate::new_files::replace;
use crate::output::Output;
use crate::server::Server;
use answer::{Drift, Summaries, unix_ms};
use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use lineside_wire::name::{DeviceId, SlotName};
use page::Text;
use quality::Quality;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Spans of a series that the server tells at once.
const SPANS_MAX: i64 = 400;
const DAY_SECONDS: i64 = 86_400;
const HOUR_SECONDS: i64 = 3_600;

#[derive(Subcommand)]
pub enum ReportCommand {
    /// How far what a slot reads and answers is from the training data, release by release.
    Drift(Report),
    /// How often its answers were right, by the outcomes that devices were told later.
    Quality(Report),
    /// What its answers were worth, by the assumptions of the bundle's table [value].
    Value(Report),
}

#[derive(Args)]
pub struct Report {
    /// The slot.
    #[arg(long)]
    slot: SlotName,
    /// Of this device [default: the whole fleet].
    #[arg(long, group = "scope")]
    device: Option<DeviceId>,
    /// Of all devices of this site.
    #[arg(long, group = "scope")]
    site: Option<String>,
    /// Of all devices with this label, as in line=3.
    #[arg(long, group = "scope", value_name = "NAME=VALUE")]
    label: Option<String>,
    /// What this release answered, as in turbine/2 [default: all releases].
    #[arg(long)]
    release: Option<ReleasePath>,
    /// From this moment on, by the readings' own time: 2026-02-01, or 2026-02-01T06:00:00Z.
    #[arg(long)]
    from: Option<String>,
    /// Before this moment.
    #[arg(long)]
    to: Option<String>,
    /// Seconds of a span of the series [default: as long as the chunks of the profile, or a day].
    #[arg(long, value_name = "SECONDS")]
    step: Option<i64>,
    /// The report. A file of the same name that ends in .json, for programs, is written beside it.
    #[arg(short, long, value_name = "REPORT.html")]
    output: PathBuf,
}

/// What a report is about.
pub struct Asked {
    pub slot: String,
    scope: String,
    release: Option<String>,
    from: Option<String>,
    to: Option<String>,
    written: String,
}

/// An alert that fired.
pub struct Alert {
    pub at_unix_ms: i64,
    /// The input or output that it is about.
    pub column: Option<String>,
    pub text: String,
}

impl Asked {
    /// In a sentence, as HTML.
    pub fn told(&self) -> String {
        let release = self.release.as_deref().map_or(String::new(), |it| format!(", {it} alone"));
        let time = match (&self.from, &self.to) {
            (None, None) => "all that is kept".to_owned(),
            (Some(from), None) => format!("from {from} on"),
            (None, Some(to)) => format!("until {to}"),
            (Some(from), Some(to)) => format!("from {from} to {to}"),
        };
        let said = format!(
            "{}{release}; {time}, by the readings' own time. Written {} UTC.",
            self.scope,
            unix_ms(&self.written).map_or_else(|| self.written.clone(), |ms| chart::day(ms, true))
        );
        Text(&said).to_string()
    }
}

pub fn run(command: ReportCommand, connection: &Connection, output: &Output) -> anyhow::Result<()> {
    let server = Server::at(connection)?;
    let (kind, report) = match &command {
        ReportCommand::Drift(report) => ("drift", report),
        ReportCommand::Quality(report) => ("quality", report),
        ReportCommand::Value(report) => ("value", report),
    };
    let json_file = beside(&report.output)?;
    let asked = report.asked()?;
    let working = output.working(format!("asking the server about {}", report.slot));
    let (title, body, told) = match kind {
        "drift" => {
            let told = report.drift(&server)?;
            let drift: Drift = read(&told)?;
            let (alerts, told_alerts) = alerts(&server, report)?;
            let body = drift::body(&asked, &drift, &alerts);
            let told = json!({ "drift": told, "alerts": told_alerts });
            ("Drift", body, told)
        }
        "value" => {
            let told = server.overview("summary", &report.query(None))?;
            let summaries: Summaries = read(&told)?;
            let quality = Quality::ask(&server, report)?;
            let worth = value::worth(&summaries, &quality);
            let body = value::body(&asked, &summaries, &worth);
            ("Value", body, json!({ "summary": told, "quality": quality, "value": worth }))
        }
        _ => {
            let quality = Quality::ask(&server, report)?;
            let drift: Drift = read(&server.overview("drift", &report.query(None))?)?;
            let estimated = drift.releases.into_iter();
            let estimated: Vec<_> =
                estimated.filter_map(|it| Some((it.release, it.estimated?))).collect();
            let body = quality::body(&asked, &quality, &estimated);
            let estimated: BTreeMap<_, _> = estimated.into_iter().collect();
            ("Quality", body, json!({ "quality": quality, "estimated": estimated }))
        }
    };
    drop(working);
    let mut document = json!({
        "report": kind,
        "slot": report.slot,
        "scope": asked.scope,
        "release": asked.release,
        "from": asked.from,
        "to": asked.to,
        "written": asked.written,
    });
    if let (Some(document), Value::Object(told)) = (document.as_object_mut(), told) {
        document.extend(told);
    }
    let html = page::page(&format!("{title} of {}", report.slot), &body);
    let mut bytes = serde_json::to_vec_pretty(&document)?;
    bytes.push(b'\n');
    replace(&report.output, html.as_bytes())?;
    replace(&json_file, &bytes)?;
    let text = format!("{} is written, and {}", report.output.display(), json_file.display());
    output.print(text, &document)
}

impl Report {
    fn asked(&self) -> anyhow::Result<Asked> {
        let scope = match (&self.device, &self.site, &self.label) {
            (Some(device), ..) => format!("Device {device}"),
            (_, Some(site), _) => format!("All devices of the site {site}"),
            (.., Some(label)) => format!("All devices with the label {label}"),
            _ => "The whole fleet".into(),
        };
        let now = OffsetDateTime::now_utc().replace_nanosecond(0)?;
        Ok(Asked {
            slot: self.slot.to_string(),
            scope,
            release: self.release.as_ref().map(ToString::to_string),
            from: self.from.clone(),
            to: self.to.clone(),
            written: now.format(&Rfc3339)?,
        })
    }

    /// The question, as it follows a path.
    fn query(&self, step: Option<i64>) -> String {
        let texts = [
            ("device", self.device.as_ref().map(ToString::to_string)),
            ("site", self.site.clone()),
            ("label", self.label.clone()),
            ("step", step.map(|step| step.to_string())),
        ];
        self.query_of_any() + &query(&texts)
    }

    /// The same, whichever devices it is about.
    fn query_of_any(&self) -> String {
        let texts = [
            ("release", self.release.as_ref().map(ToString::to_string)),
            ("from", self.from.clone()),
            ("to", self.to.clone()),
        ];
        format!("slot={}", escaped(&self.slot.to_string())) + &query(&texts)
    }

    /// Whether it is about this alert, where it is about these devices. What a rule says of a site or the fleet
    /// as one is none of a part of it.
    fn means(&self, alert: &Value, devices: &BTreeSet<String>) -> bool {
        let text = |name: &str| alert[name].as_str().unwrap_or_default();
        let is_part = self.device.is_some() || self.label.is_some();
        let is_there = match text("scope") {
            "fleet" => !is_part && self.site.is_none(),
            "site" => !is_part && self.site.as_ref().is_none_or(|site| site == text("site")),
            _ => devices.contains(text("device")),
        };
        let of_release = format!("{}/{}", text("bundle"), text("version"));
        is_there
            && text("slot") == self.slot.to_string()
            && self.release.as_ref().is_none_or(|release| release.to_string() == of_release)
    }

    /// Drift with a series: of spans as long as the chunks that limits were learnt from, where nobody says
    /// otherwise.
    fn drift(&self, server: &Server) -> anyhow::Result<Value> {
        if self.step.is_some() {
            return server.overview("drift", &self.query(self.step));
        }
        let told = server.overview("drift", &self.query(None))?;
        let whole: Drift = read(&told)?;
        match step(&whole) {
            None => Ok(told),
            step => server.overview("drift", &self.query(step)),
        }
    }
}

/// Seconds of a span that suit what came. None where nothing did.
fn step(drift: &Drift) -> Option<i64> {
    let start = drift.releases.iter().filter_map(|it| unix_ms(&it.start)).min()?;
    let end = drift.releases.iter().filter_map(|it| unix_ms(&it.end)).max()?;
    let seconds = (end - start).max(0) / 1_000;
    let chunks = drift.releases.iter().filter_map(|it| it.profile.as_ref()?.chunk_seconds);
    let chunk = chunks.map(|chunk| chunk as i64).find(|chunk| *chunk > 0);
    let few = if seconds > 3 * DAY_SECONDS { DAY_SECONDS } else { HOUR_SECONDS };
    let step = chunk.unwrap_or(few);
    // Whole chunks, as many as it takes.
    let times = seconds.div_euclid(step * SPANS_MAX) + 1;
    Some(step * times)
}

/// Where the document for programs goes.
fn beside(report: &Path) -> anyhow::Result<PathBuf> {
    let json = report.with_extension("json");
    if json == report {
        bail!(
            "{} is where the report for programs goes: name a file that ends in .html",
            json.display()
        );
    }
    Ok(json)
}

fn read<T: for<'de> Deserialize<'de>>(told: &Value) -> anyhow::Result<T> {
    T::deserialize(told)
        .context("the server answers in another form; are server and tool of one version?")
}

/// Alerts of the slot that fired, and the same as the server told them.
fn alerts(server: &Server, report: &Report) -> anyhow::Result<(Vec<Alert>, Value)> {
    let told = server.all_alerts(report.device.as_ref().map(DeviceId::as_str))?;
    let devices: BTreeSet<String> = quality::devices(server, report)?.into_iter().collect();
    let meant: Vec<Value> =
        told.into_iter().filter(|alert| report.means(alert, &devices)).collect();
    Ok((meant.iter().filter_map(alert).collect(), Value::Array(meant)))
}

/// An alert as it is marked: at the end of what had fired it, by the readings' own time.
fn alert(told: &Value) -> Option<Alert> {
    told["fired"].as_str()?;
    let signal = told["signal"].as_str()?;
    let column = signal.split_once(" of ").map(|(_, column)| column.to_owned());
    let place = ["device", "site"].iter().find_map(|name| told[name].as_str());
    let text = told["text"].as_str().unwrap_or(signal);
    let text = format!("{}: {text}", place.unwrap_or("the fleet"));
    Some(Alert { at_unix_ms: unix_ms(told["end"].as_str()?)?, column, text })
}

/// What devices have counted, as one: a sum too large for a count stays the largest.
fn sum(counts: impl Iterator<Item = u64>) -> u64 {
    counts.fold(0, u64::saturating_add)
}

/// What is said of these, as it follows another part of a query.
fn query(texts: &[(&str, Option<String>)]) -> String {
    let said = texts.iter().filter_map(|(name, text)| text.as_ref().map(|text| (name, text)));
    said.map(|(name, text)| format!("&{name}={}", escaped(text))).collect()
}

/// A text within a query (RFC 3986): what is not unreserved is written in percent.
fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                escaped.push(char::from(byte));
            }
            byte => escaped += &format!("%{byte:02X}"),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drift(days: i64, chunk_seconds: Option<f64>) -> Drift {
        let end = OffsetDateTime::UNIX_EPOCH + time::Duration::days(days);
        let profile = chunk_seconds.map(|chunk| json!({ "chunk_seconds": chunk }));
        read(&json!({
            "merged": { "records": 1, "unmerged": 0, "unreadable": 0, "longer_than_step": 0 },
            "releases": [{ "release": "turbine/1", "start": "1970-01-01T00:00:00Z",
                "end": end.format(&Rfc3339).unwrap(), "devices": 1, "frames": 1, "alarms": 0,
                "profile": profile, "no_profile": null, "columns": [], "series": [] }],
        }))
        .unwrap()
    }

    #[test]
    fn spans_are_as_long_as_the_chunks_of_the_profile_and_never_too_many() {
        assert_eq!(step(&drift(14, Some(3_600.0))), Some(3_600));
        assert_eq!(step(&drift(14, None)), Some(DAY_SECONDS));
        assert_eq!(step(&drift(1, None)), Some(HOUR_SECONDS));
        assert_eq!(step(&drift(365, Some(3_600.0))), Some(22 * 3_600));
        let nothing = Drift { releases: vec![], ..drift(1, None) };
        assert_eq!(step(&nothing), None);
    }

    #[test]
    fn alerts_of_a_report_are_those_of_the_devices_the_site_and_the_release_that_are_meant() {
        let fleet = || Report {
            slot: "turbine".parse().unwrap(),
            device: None,
            site: None,
            label: None,
            release: None,
            from: None,
            to: None,
            step: None,
            output: "report.html".into(),
        };
        let told = |scope: &str, device: Option<&str>, site: Option<&str>, version: &str| {
            json!({ "scope": scope, "device": device, "site": site, "slot": "turbine",
                "bundle": "turbine", "version": version })
        };
        let all = [
            told("device", Some("mill-1"), None, "1"),
            told("device", Some("mill-2"), None, "2"),
            told("site", None, Some("hill"), "1"),
            told("site", None, Some("vale"), "1"),
            told("fleet", None, Some("hill"), "2"),
        ];
        let meant = |report: Report, devices: &[&str]| -> Vec<usize> {
            let devices = devices.iter().map(|it| (*it).to_owned()).collect();
            let all = all.iter().enumerate();
            all.filter(|(_, alert)| report.means(alert, &devices)).map(|(at, _)| at).collect()
        };
        let both = ["mill-1", "mill-2"];
        assert_eq!(meant(fleet(), &both), [0, 1, 2, 3, 4]);
        let release = Some("turbine/2".parse().unwrap());
        assert_eq!(meant(Report { release, ..fleet() }, &both), [1, 4]);
        let site = || Some("hill".into());
        assert_eq!(meant(Report { site: site(), ..fleet() }, &["mill-1"]), [0, 2]);
        let label = Some("line=3".into());
        assert_eq!(meant(Report { label, ..fleet() }, &["mill-2"]), [1]);
        let device = Some("mill-1".parse().unwrap());
        assert_eq!(meant(Report { device, ..fleet() }, &["mill-1"]), [0]);
        let slot = "other".parse().unwrap();
        assert!(meant(Report { slot, ..fleet() }, &both).is_empty());
    }

    #[test]
    fn sums_that_are_too_large_stay_the_largest() {
        assert_eq!(sum([1, 2].into_iter()), 3);
        assert_eq!(sum([u64::MAX, 1].into_iter()), u64::MAX);
    }

    #[test]
    fn what_is_asked_goes_whole_through_a_path_and_alerts_are_marked_where_they_fired() {
        let told = json!({ "slot": "turbine", "rule": "profile.score", "fired": "2026-03-01T00:00:00Z",
            "device": "mill-1", "signal": "median of score", "text": "above 1.0",
            "end": "1970-01-02T00:00:00Z" });
        let marked = alert(&told).unwrap();
        assert_eq!((marked.at_unix_ms, marked.column.as_deref()), (86_400_000, Some("score")));
        assert_eq!(marked.text, "mill-1: above 1.0");
        assert_eq!(escaped("a b+c=ü&x"), "a%20b%2Bc%3D%C3%BC%26x");
        assert_eq!(beside(Path::new("x/report.html")).unwrap(), Path::new("x/report.json"));
        assert!(beside(Path::new("report.json")).unwrap_err().to_string().contains(".html"));
    }
}
