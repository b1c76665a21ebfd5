//! Bytes of an interval as it is sent, and of the same content as JSON and as Sparkplug B, each with the
//! header of its MQTT message. Run by `cargo xtask bench telemetry`.
//!
//! All three say the same, the other two in what they have for it: the hashes or registers of different
//! values go as bytes (as base64 in JSON, which is shorter than a list), mean and deviation as numbers, a
//! histogram as a list of buckets and one of counts.

use lineside_sketch::{Distinct, Edges, NumberColumn, TextColumn};
use lineside_wire::envelope::encode;
use lineside_wire::v1::{
    Body, Column, Counts, Interval, Record, ReleaseRef, Resources, Summary, Telemetry,
};
use serde_json::{Map, Value, json};

/// What a device measures.
struct Device {
    what: &'static str,
    fields: usize,
    rows: u64,
    /// Steps of the sensor in its range.
    steps: u64,
    has_profile: bool,
}

const DEVICES: [Device; 6] = [
    Device { what: "1 field, 60 rows", fields: 1, rows: 60, steps: 4096, has_profile: false },
    Device { what: "1 field, 3,600 rows", fields: 1, rows: 3_600, steps: 4096, has_profile: false },
    Device { what: "5 fields, 600 rows", fields: 5, rows: 600, steps: 4096, has_profile: false },
    Device {
        what: "5 fields, 600 rows, profile",
        fields: 5,
        rows: 600,
        steps: 4096,
        has_profile: true,
    },
    Device {
        what: "12 fields, 36,000 rows, profile",
        fields: 12,
        rows: 36_000,
        steps: 65_536,
        has_profile: true,
    },
    Device {
        what: "12 fields of 20 steps, 3,600 rows",
        fields: 12,
        rows: 3_600,
        steps: 20,
        has_profile: false,
    },
];
/// Rows of a frame.
const STRIDE: u64 = 10;
const DEVICE: &str = "press-0042";

fn main() {
    println!(
        "| an interval of | bytes | of JSON | of Sparkplug B, aliases | of Sparkplug B, names |"
    );
    println!("|---|---|---|---|---|");
    for device in &DEVICES {
        let interval = interval(device);
        let json = json(&interval);
        let (code, body) = Body::Interval(Box::new(interval)).encode().expect("it can be written");
        let record = Record { boot: 31, sequence: 4_711, backfill: false, code, body };
        let ours = encode(&Telemetry { records: vec![record] }).expect("it can be sent");
        let topic = format!("lineside/v1/{DEVICE}/up/telemetry");
        let ours = message_bytes(&topic, ours.len());
        let json_bytes = message_bytes(&topic, json.to_string().len());
        let topic = format!("spBv1.0/site/NDATA/{DEVICE}");
        let sparkplug = |naming| message_bytes(&topic, sparkplug_bytes(&json, naming));
        let share = |other: usize| format!("{:.3} ({other})", ours as f64 / other as f64);
        println!(
            "| {} | {ours} | {} | {} | {} |",
            device.what,
            share(json_bytes),
            share(sparkplug(Naming::Aliases)),
            share(sparkplug(Naming::Names)),
        );
    }
}

/// An MQTT 5 PUBLISH with acknowledgement: fixed header, topic, packet identifier, no properties.
fn message_bytes(topic: &str, payload: usize) -> usize {
    let rest = 2 + topic.len() + 2 + 1 + payload;
    1 + varint(rest as u64) + rest
}

fn varint(number: u64) -> usize {
    number.max(1).ilog2() as usize / 7 + 1
}

/// Whole numbers of a bell, from a fixed seed: the sum of four even ones (D. Lehmer's generator).
struct Bell(u64);

impl Bell {
    fn next(&mut self, steps: u64) -> u64 {
        let sum: u64 = (0..4)
            .map(|_| {
                self.0 = self.0 * 48_271 % 0x7fff_ffff;
                self.0 % steps
            })
            .sum();
        sum / 4
    }
}

fn interval(device: &Device) -> Interval {
    let mut bell = Bell(17);
    let frames = device.rows / STRIDE;
    let edges = |range: f64| {
        let edges = (0..=20).map(|edge| f64::from(edge) * range / 20.0).collect();
        device.has_profile.then(|| Edges::new(edges).expect("edges rise"))
    };
    let mut numbers = |name: String, count: u64, range: f64| {
        let edges = edges(range);
        let mut column = NumberColumn::new(edges.as_ref());
        for _ in 0..count {
            let value = bell.next(device.steps) as f64 * range / device.steps as f64;
            column.add(edges.as_ref(), value).expect("these are its edges");
        }
        Summary { name, column: Column::Numbers(Box::new(column)), out_of_range: 0 }
    };
    let units = [("temperature", 90.0), ("pressure", 12.0), ("vibration", 3.0), ("speed", 1800.0)];
    let inputs = (0..device.fields).map(|number| {
        let (name, range) = units[number % units.len()];
        numbers(format!("{name}_{number}"), device.rows, range)
    });
    let inputs = inputs.collect();
    let score = numbers("score".into(), frames, 1.0);
    let mut alarm = TextColumn::default();
    (0..frames).for_each(|frame| alarm.add(if frame % 50 == 49 { "true" } else { "false" }));
    let alarm = Summary { name: "alarm".into(), column: Column::Texts(alarm), out_of_range: 0 };
    let mut bell = Bell(23);
    let mut latency_us = lineside_sketch::Histogram::default();
    (0..frames).for_each(|_| latency_us.add(180.0 + bell.next(400) as f64));
    Interval {
        readings: device.rows,
        frames,
        findings: frames,
        alarms: frames / 50,
        errors: vec![("stage".into(), 2)],
        dropped: vec![("malformed".into(), 3)],
        latency_us,
        inputs,
        outputs: vec![score, alarm],
        resources: Resources {
            cpu_ms: 912_340,
            resident_kib: 48_212,
            disk_free_mib: 9_731,
            temperature_c: Some(51.5),
            written_kib: 73_112,
            device_written_kib: Some(512_004),
            battery_percent: None,
        },
        ..Interval::of(
            "press",
            ReleaseRef { name: "press-wear".into(), version: "14".into(), digest: [0xa7; 32] },
            (1_795_752_000_000, 1_795_755_600_000),
        )
    }
}

fn json(interval: &Interval) -> Value {
    let Interval { release, resources, .. } = interval;
    let column = |summary: &Summary| (summary.name.clone(), summary_json(summary));
    json!({
        "boot": 31,
        "sequence": 4_711,
        "backfill": false,
        "slot": interval.slot,
        "release": {
            "name": release.name,
            "version": release.version,
            "digest": release.digest.map(|byte| format!("{byte:02x}")).concat(),
        },
        "start_unix_ms": interval.start_unix_ms,
        "end_unix_ms": interval.end_unix_ms,
        "readings": interval.readings,
        "late_readings": interval.late_readings,
        "frames": interval.frames,
        "findings": interval.findings,
        "alarms": interval.alarms,
        "doubled": interval.doubled,
        "errors": counts_json(&interval.errors),
        "dropped": counts_json(&interval.dropped),
        "latency_us": histogram_json(&interval.latency_us),
        "inputs": interval.inputs.iter().map(column).collect::<Map<_, _>>(),
        "outputs": interval.outputs.iter().map(column).collect::<Map<_, _>>(),
        "left_out": interval.left_out,
        "shadow_frames": interval.shadow_frames,
        "shadow_agreed": interval.shadow_agreed,
        "intervals": interval.intervals,
        "resources": {
            "cpu_ms": resources.cpu_ms,
            "resident_kib": resources.resident_kib,
            "disk_free_mib": resources.disk_free_mib,
            "temperature_c": resources.temperature_c,
            "written_kib": resources.written_kib,
            "device_written_kib": resources.device_written_kib,
        },
    })
}

fn counts_json(counts: &Counts) -> Value {
    counts
        .iter()
        .map(|(reason, count)| (reason.clone(), json!(count)))
        .collect::<Map<_, _>>()
        .into()
}

fn histogram_json(histogram: &lineside_sketch::Histogram) -> Value {
    let written = serde_json::to_value(histogram).expect("it has whole numbers");
    let buckets = written["buckets"].as_array().expect("it has buckets");
    let each = |at: usize| buckets.iter().map(|pair| pair[at].clone()).collect::<Vec<_>>();
    json!({ "buckets": each(0), "counts": each(1), "not_finite": written["not_finite"] })
}

/// Base64 of what is kept of the hashes, 32 digits each on average, or of a byte for each of the registers.
fn distinct_json(distinct: &Distinct) -> String {
    let bytes = if distinct.is_exact() { 4 * distinct.estimate() as usize } else { 512 };
    "A".repeat(bytes.div_ceil(3) * 4)
}

fn summary_json(summary: &Summary) -> Value {
    let missing = summary.column.missing();
    let mut json = match &summary.column {
        Column::Numbers(column) => {
            let moments = column.moments();
            let (min, max) = moments.range().unwrap_or_default();
            let mut json = json!({
                "count": moments.count(),
                "clamped": moments.clamped(),
                "min": min,
                "max": max,
                "mean": moments.mean(),
                "deviation": moments.deviation(),
                "histogram": histogram_json(column.histogram()),
                "distinct": distinct_json(column.distinct()),
            });
            if let Some(bins) = column.bins() {
                json["bins"] = json!({
                    "edges": bins.edges().to_string(),
                    "below": bins.below(),
                    "above": bins.above(),
                    "counts": bins.counts(),
                });
            }
            json
        }
        Column::Texts(column) => {
            let exact = column.frequent().exact().into_iter();
            let exact: Map<_, _> =
                exact.map(|(label, count)| (label.text.clone(), json!(count))).collect();
            json!({ "counts": exact, "distinct": distinct_json(column.distinct()) })
        }
    };
    json["missing"] = missing.into();
    json["out_of_range"] = summary.out_of_range.into();
    json
}

#[derive(Clone, Copy, PartialEq)]
enum Naming {
    /// As a birth message may agree on.
    Aliases,
    Names,
}

/// Bytes of a payload of Sparkplug B 3.0 (Eclipse Tahu's sparkplug_b.proto): a time, a sequence number, and
/// a metric for each value, with a time of its own, as the specification demands of data messages.
fn sparkplug_bytes(json: &Value, naming: Naming) -> usize {
    let mut metrics = Vec::new();
    flatten("", json, &mut metrics);
    let time = 1 + varint(1_795_755_600_000);
    let metrics = metrics.iter().enumerate().map(|(alias, (name, value))| {
        let name = match naming {
            // The datatype comes with the name, in the message of birth or in this one.
            Naming::Names => field(name.len()) + 2,
            Naming::Aliases => 1 + varint(alias as u64),
        };
        field(name + time + value)
    });
    time + metrics.sum::<usize>() + 2
}

/// A field with a length: tag, length, and so many bytes.
fn field(bytes: usize) -> usize {
    1 + varint(bytes as u64) + bytes
}

/// Each value with its name and the bytes that it takes as a field of a metric.
fn flatten(name: &str, value: &Value, metrics: &mut Vec<(String, usize)>) {
    let last = name.rsplit('/').next().unwrap_or(name);
    let bytes = match value {
        Value::Object(object) => {
            for (key, value) in object {
                let name = if name.is_empty() { key.clone() } else { format!("{name}/{key}") };
                flatten(&name, value, metrics);
            }
            return;
        }
        Value::Null => return,
        Value::Bool(_) => 2,
        Value::Number(number) => number.as_u64().map_or(1 + 8, |number| 1 + varint(number)),
        // The tags of values from 16 on take two bytes.
        Value::String(text) => match last {
            "digest" | "edges" => 1 + field(text.len() / 2),
            "distinct" => 1 + field(text.len() / 4 * 3),
            _ => field(text.len()),
        },
        // Packed: four bytes each, as none of these is larger.
        Value::Array(list) => 1 + field(4 * list.len()),
    };
    metrics.push((name.to_owned(), bytes));
}
