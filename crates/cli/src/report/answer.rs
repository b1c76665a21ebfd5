//! What the server answers, as far as reports show it.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

#[derive(Deserialize)]
pub struct Drift {
    pub merged: Merged,
    pub releases: Vec<ReleaseDrift>,
}

#[derive(Deserialize)]
pub struct Merged {
    pub records: u64,
    pub unmerged: u64,
    pub unreadable: u64,
    pub longer_than_step: u64,
}

#[derive(Deserialize)]
pub struct ReleaseDrift {
    pub release: String,
    pub start: String,
    pub end: String,
    pub devices: u64,
    pub frames: u64,
    pub alarms: u64,
    pub profile: Option<Profile>,
    pub no_profile: Option<String>,
    #[serde(default)]
    pub watched_outputs: Option<Vec<String>>,
    #[serde(default)]
    pub estimated: Option<Estimated>,
    pub columns: Vec<Column>,
    pub series: Vec<SpanDrift>,
}

/// How good answers should be by their own probabilities.
#[derive(Debug, Clone, Deserialize, Serialize)]
pub struct Estimated {
    pub output: String,
    pub score: String,
    pub above: f64,
    pub values: u64,
    pub accuracy: Option<Estimate>,
    pub precision: Option<Estimate>,
    pub recall: Option<Estimate>,
    pub f1: Option<Estimate>,
}

#[derive(Deserialize)]
pub struct Profile {
    pub chunk_seconds: Option<f64>,
}

#[derive(Deserialize)]
pub struct Column {
    pub name: String,
    pub role: String,
    pub values: u64,
    pub method: Option<String>,
    pub score: Option<f64>,
    pub threshold: Option<f64>,
    pub comparison: Option<String>,
    pub drifted: Option<bool>,
    pub not_computable: Option<String>,
    pub missing: Missing,
    pub out_of_range_share: f64,
    pub median: Option<Estimate>,
    pub limits: Vec<Limit>,
    pub distribution: Option<Distribution>,
}

#[derive(Deserialize)]
pub struct Missing {
    pub current: f64,
    pub drifted: Option<bool>,
}

#[derive(Debug, Clone, Copy, Deserialize, Serialize)]
pub struct Estimate {
    pub value: f64,
    pub low: f64,
    pub high: f64,
}

#[derive(Deserialize)]
pub struct Limit {
    pub statistic: String,
    pub lower: Option<f64>,
    pub upper: Option<f64>,
}

#[derive(Deserialize)]
pub struct Distribution {
    pub edges: Option<Vec<f64>>,
    pub categories: Option<Vec<String>>,
    pub reference: Vec<u64>,
    pub current: Vec<u64>,
}

#[derive(Deserialize)]
pub struct SpanDrift {
    pub start: String,
    pub end: String,
    pub columns: Vec<Point>,
}

#[derive(Deserialize)]
pub struct Point {
    pub name: String,
    pub role: String,
    pub score: Option<f64>,
    pub drifted: Option<bool>,
    pub median: Option<Estimate>,
    pub outside: Option<bool>,
}

#[derive(Deserialize)]
pub struct Summaries {
    pub releases: Vec<Summary>,
}

#[derive(Deserialize, Clone)]
pub struct Summary {
    pub release: String,
    pub start: String,
    pub end: String,
    pub devices: u64,
    pub readings: u64,
    pub frames: u64,
    pub alarms: u64,
    pub errors: BTreeMap<String, u64>,
    pub dropped: BTreeMap<String, u64>,
    pub latency_ms: Latency,
    pub resources: Resources,
    pub reading_bytes: u64,
    pub record_bytes: u64,
    pub value: Option<lineside_bundle::Value>,
}

#[derive(Deserialize, Clone)]
pub struct Latency {
    pub p50: Option<f64>,
    pub p95: Option<f64>,
    pub p99: Option<f64>,
}

#[derive(Deserialize, Clone)]
pub struct Resources {
    pub cpu_seconds: f64,
}

/// Milliseconds since 1970 of what the server writes as a moment.
pub fn unix_ms(text: &str) -> Option<i64> {
    let time = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    i64::try_from(time.unix_timestamp_nanos() / 1_000_000).ok()
}
