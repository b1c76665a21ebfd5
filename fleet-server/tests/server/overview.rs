//! The fleet as a whole: merged by scope and time, and held against the profile of the release that answered.

use crate::mqtt::Client;
use crate::running::{As, Running};
use crate::signers::{Artifact, Signers, artifact};
use crate::telemetry::tell;
use lineside_bundle::{BundleFile, PROFILE, build};
use lineside_drift::{
    Chunk, ColumnProfile, ColumnSketch, Marks, Observed, Profile, Role, SketchMethod, learn,
};
use lineside_sketch::{Categories, Edges, Histogram, NumberColumn, TextColumn};
use lineside_wire::v1::{Body, Column, Interval, Record, ReleaseRef, Resources, Summary};
use serde_json::Value;
use std::collections::BTreeMap;

const HOUR_MS: i64 = 3_600_000;

fn edges() -> Edges {
    Edges::new((0..=20).map(|edge| f64::from(edge) / 20.0).collect()).unwrap()
}

/// An hour of scores around this level.
fn scores(level: f64) -> impl Iterator<Item = f64> {
    (0..100).map(move |at| level + f64::from(at % 10) / 100.0)
}

fn profile() -> Vec<u8> {
    let numbers = Marks::Edges(edges());
    let mut score = ColumnProfile {
        name: "score".into(),
        role: Role::Output,
        reference: numbers.empty(),
        marks: numbers.clone(),
        method: SketchMethod::PROFILE,
        threshold: 0.1,
        learnt: None,
    };
    let mut chunks = Vec::new();
    for level in [0.30, 0.31, 0.32, 0.33] {
        let mut sketch = numbers.empty();
        for value in scores(level) {
            sketch.add_number(&numbers, value).unwrap();
        }
        score.reference.merge(&sketch).unwrap();
        chunks.push(Observed { sketch, out_of_range: Some(0) });
    }
    let statistics: Vec<_> = chunks.iter().map(|chunk| score.statistics(chunk, 30)).collect();
    score.learnt = learn(&statistics, 3.0);
    let verdicts = Marks::Categories(Categories::new(vec!["0".into(), "1".into()]).unwrap());
    let mut worn = ColumnProfile {
        name: "worn".into(),
        reference: verdicts.empty(),
        marks: verdicts.clone(),
        learnt: None,
        ..score.clone()
    };
    for at in 0..1_000 {
        worn.reference.add_number(&verdicts, f64::from(u8::from(at % 50 == 0))).unwrap();
    }
    assert!(matches!(worn.reference, ColumnSketch::Categories(_)));
    let chunk = Some(Chunk::Milliseconds(HOUR_MS));
    Profile::new(chunk, 30, vec![score, worn]).unwrap().to_json()
}

/// A release with a profile.
pub fn with_profile(version: &str) -> Artifact {
    let text = format!(
        "format = 1\nname = 'turbine'\nversion = '{version}'\n\
         inputs.row = {{ time = 'time', fields = [{{ name = 'wind' }}] }}\n\
         stages.window = {{ kind = 'window', input = 'row', rows = 1, stride = 1 }}\n\
         stages.score = {{ kind = 'select', input = 'window', index = 0 }}\n\
         stages.worn = {{ kind = 'threshold', input = 'score', above = 0.5 }}\n\
         outputs = {{ score = {{ from = 'score' }}, worn = {{ from = 'worn' }} }}\n\
         monitor.outputs = ['score']\nvalue = {{ currency = 'EUR', precision = 0.9 }}\n"
    );
    let files = BTreeMap::from([(PROFILE.to_owned(), profile())]);
    let built = build(BundleFile::parse(&text).unwrap(), files).unwrap();
    Artifact {
        id: built.release_id(),
        manifest: built.oci_manifest,
        blobs: built.blobs.into_values().collect(),
    }
}

/// An hour whose number is `sequence`, in which scores were around this level and so many of a hundred were worn.
pub fn record(sequence: u64, artifact: &Artifact, level: f64, worn: u64) -> Record {
    let mut score = NumberColumn::new(Some(&edges()));
    scores(level).for_each(|value| score.add(Some(&edges()), value).unwrap());
    let mut verdicts = TextColumn::default();
    verdicts.add_times("true", worn);
    verdicts.add_times("false", 100 - worn);
    let summary = |name: &str, column| Summary { name: name.into(), column, out_of_range: 0 };
    let mut latency_us = Histogram::default();
    (0..100).for_each(|_| latency_us.add(2_000.0));
    let start = sequence as i64 * HOUR_MS;
    let (name, version) = (artifact.id.name.to_string(), artifact.id.version.to_string());
    let interval = Interval {
        readings: 600,
        frames: 100,
        findings: 100,
        alarms: worn,
        errors: vec![("stage".into(), 1)],
        latency_us,
        outputs: vec![
            summary("score", Column::Numbers(Box::new(score))),
            summary("worn", Column::Texts(verdicts)),
        ],
        resources: Resources { cpu_ms: sequence * 500, ..Resources::default() },
        ..Interval::of(
            "turbine",
            ReleaseRef { name, version, digest: artifact.id.digest.bytes() },
            (start, start + HOUR_MS),
        )
    };
    let (code, body) = Body::Interval(Box::new(interval)).encode().unwrap();
    Record { boot: 1, sequence, backfill: false, code, body }
}

fn column<'a>(release: &'a Value, name: &str) -> &'a Value {
    let mut columns = release["columns"].as_array().unwrap().iter();
    columns.find(|column| column["name"] == name).unwrap()
}

#[tokio::test]
async fn drift_is_judged_by_the_profile_of_each_release_over_any_time_and_scope() {
    let data = tempfile::tempdir().unwrap();
    let server = Running::start(data.path());
    Signers::enrolled(&server);
    let (one, two) = (with_profile("1"), artifact("turbine", "2"));
    one.push(&server);
    two.push(&server);
    let (first, second) = (server.add_device("line-3"), server.add_device("line-4"));
    let mut device = Client::device(&server, "line-3", &first).await;
    // Two good hours, two in which the score has moved, and one of a release without a profile.
    let levels = [(0, 0.31, 2), (1, 0.32, 2), (2, 0.70, 40), (3, 0.71, 60)];
    let records = levels.map(|(at, level, worn)| record(at, &one, level, worn));
    tell(&mut device, "line-3", records.to_vec()).await;
    let mut other = Client::device(&server, "line-4", &second).await;
    tell(&mut other, "line-4", vec![record(0, &one, 0.31, 3), record(4, &two, 0.5, 0)]).await;

    let drift = server.get("/api/v1/drift?slot=turbine&step=3600").json();
    assert_eq!(drift["merged"]["records"], 6);
    let names: Vec<&Value> =
        drift["releases"].as_array().unwrap().iter().map(|it| &it["release"]).collect();
    assert_eq!(names, ["turbine/1", "turbine/2"]);
    let release = &drift["releases"][0];
    assert_eq!((&release["devices"], &release["frames"]), (&2.into(), &500.into()));
    assert_eq!(release["profile"]["chunk_seconds"], 3_600.0);
    let score = column(release, "score");
    assert_eq!(
        (&score["method"], &score["drifted"]),
        (&"sketch:jensenshannon".into(), &true.into())
    );
    assert_eq!(score["distribution"]["current"].as_array().unwrap().len(), 22);
    // What devices count as true and false has a score against the profile's 1 and 0.
    let worn = column(release, "worn");
    assert_eq!((&worn["kind"], &worn["drifted"]), (&"categorical".into(), &true.into()));
    assert_eq!(worn["distribution"]["current"], serde_json::json!([393, 107, 0]));
    assert_eq!(release["outputs_drifted"], serde_json::json!(["score", "worn"]));
    assert_eq!(release["dataset_drift"], true);
    assert_eq!(release["watched_outputs"], serde_json::json!(["score"]));
    let spans = release["series"].as_array().unwrap();
    let outside: Vec<&Value> = spans.iter().map(|span| &column(span, "score")["outside"]).collect();
    assert_eq!(outside, [false, false, true, true]);
    assert_eq!(spans[0]["devices"], 2);
    assert_eq!(
        (&spans[2]["start"], &spans[2]["end"]),
        (&"1970-01-01T02:00:00Z".into(), &"1970-01-01T03:00:00Z".into())
    );

    let bare = &drift["releases"][1];
    assert!(bare["no_profile"].as_str().unwrap().contains("lineside profile build"), "{bare}");
    let said = column(bare, "score")["not_computable"].as_str().unwrap();
    assert_eq!((said, &bare["drifted_share"]), ("the release has no profile", &Value::Null));
    assert!(column(bare, "score")["median"]["value"].as_f64().unwrap() > 0.5);

    // Good hours alone, of one device, of one release.
    let good = server
        .get("/api/v1/drift?slot=turbine&release=turbine/1&device=line-3&to=1970-01-01T02:00:00Z");
    let good = good.json();
    assert_eq!(good["releases"].as_array().unwrap().len(), 1);
    let release = &good["releases"][0];
    assert_eq!((&release["frames"], &release["dataset_drift"]), (&200.into(), &false.into()));
    assert_eq!(column(release, "score")["outside"], false);
    assert!(release["series"].as_array().unwrap().is_empty());

    let summary = server.get("/api/v1/summary?slot=turbine&label=line=3&step=7200").json();
    let release = &summary["releases"][0];
    assert_eq!((&release["alarms"], &release["errors"]["stage"]), (&107.into(), &5.into()));
    let p95 = release["latency_ms"]["p95"].as_f64().unwrap();
    assert!((p95 - 2.0).abs() < 2.0 / 64.0, "{p95}");
    assert_eq!(release["resources"]["cpu_seconds"], 1.5);
    assert_eq!(release["value"], serde_json::json!({ "currency": "EUR", "precision": 0.9 }));
    assert_eq!(summary["releases"][1]["value"], Value::Null);
    assert_eq!(release["series"][0]["frames"], 300);

    for (query, status, words) in [
        ("slot=turbine&site=moon", 404, "device list"),
        ("slot=turbine&from=tomorrow", 400, "2026-02-01"),
        ("slot=turbine&site=hill&device=line-3", 400, "one of them"),
        ("device=line-3", 400, "slot"),
    ] {
        let said = server.get(&format!("/api/v1/drift?{query}")).error(status);
        assert!(said.contains(words), "{query}: {said}");
    }
    let device = As::Device("line-3", &first);
    let refused = server.ask("GET", "/api/v1/drift?slot=turbine", device, b"");
    assert_eq!(refused.status, 401);
}
