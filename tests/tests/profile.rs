//! Profiles through the tool itself: made of a recording, carried by a bundle, and held against other weeks.

#![allow(clippy::unwrap_used)] // A test stops at what does not hold.

use lineside_drift::{Observed, Profile, Role, Statistic};
use lineside_tests::{complaint, lineside, root};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

const DAY_MS: i64 = 86_400_000;

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn said(arguments: &[&str]) -> Value {
    let output = lineside(&[&["--json"], arguments].concat());
    assert!(output.status.success(), "{}", complaint(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn refused(arguments: &[&str]) -> String {
    let output = lineside(arguments);
    assert!(!output.status.success());
    complaint(&output)
}

/// Days of a recording of the turbines since 1970, by turbine and row.
fn days(recording: &Path) -> BTreeMap<String, Vec<i64>> {
    let mut days: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    for line in std::fs::read_to_string(recording).unwrap().lines().skip(1) {
        let mut cells = line.split(',');
        let (key, time) = (cells.next().unwrap(), cells.next().unwrap());
        let time_ns = lineside_runtime::parse_time(time).unwrap();
        days.entry(key.to_owned()).or_default().push(time_ns / 1_000_000 / DAY_MS);
    }
    days
}

/// The scores that the bundle gives a recording, by day.
fn scores(recording: &Path, folder: &Path) -> BTreeMap<i64, Vec<f64>> {
    let record = folder.join("answers.jsonl");
    let turbine = root().join("examples/turbine");
    said(&["bundle", "run", text(&turbine), "--input", text(recording), "--record", text(&record)]);
    let days = days(recording);
    let mut scores: BTreeMap<i64, Vec<f64>> = BTreeMap::new();
    for line in std::fs::read_to_string(&record).unwrap().lines() {
        let finding: Value = serde_json::from_str(line).unwrap();
        // A frame is six rows, and its time that of the last one.
        let row = 6 * finding["frame"].as_u64().unwrap() as usize + 5;
        let day = days[finding["key"].as_str().unwrap()][row];
        scores.entry(day).or_default().push(finding["outputs"]["score"].as_f64().unwrap());
    }
    scores
}

#[test]
fn the_second_week_raises_no_alert_and_the_frosty_days_raise_one_within_seven_days() {
    let folder = tempfile::tempdir().unwrap();
    let recordings = root().join("examples/turbine/recordings");
    let [mild, frosty] = ["reference.csv", "shifted.csv"].map(|name| recordings.join(name));
    let week = folder.path().join("week.csv");
    let whole = std::fs::read_to_string(&mild).unwrap();
    let is_first =
        |line: &&str| !line.contains("2014") || line.split(',').nth(1).unwrap() < "2014-01-25";
    let first: Vec<&str> = whole.lines().filter(is_first).collect();
    std::fs::write(&week, first.join("\n")).unwrap();
    assert_eq!(first.len(), 1 + 7 * 144 * 4);

    let file = folder.path().join("profile.json");
    let turbine = root().join("examples/turbine");
    let told =
        said(&["profile", "build", text(&week), "--bundle", text(&turbine), "-o", text(&file)]);
    assert_eq!((&told["rows"], &told["left_out"]), (&(7 * 144 * 4).into(), &serde_json::json!({})));
    let profile = Profile::parse(&std::fs::read(&file).unwrap()).unwrap();
    let names: Vec<&str> = profile.columns().iter().map(|it| it.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "outdoor_c",
            "pitch_deg",
            "power_kw",
            "vane_deg",
            "wind_speed_m_s",
            "alarm",
            "expected_power_kw",
            "lost_kw",
            "score",
        ]
    );
    let score = profile.column(Role::Output, "score").unwrap();
    assert_eq!(score.learnt.as_ref().unwrap().chunks, 7);

    let judged = |recording: &Path| -> Vec<(f64, bool)> {
        let days = scores(recording, folder.path()).into_values().map(|scores| {
            let mut sketch = score.marks.empty();
            scores.iter().for_each(|score_of| sketch.add_number(&score.marks, *score_of).unwrap());
            let judged = score.judge(&Observed { sketch, out_of_range: Some(0) }, 30);
            let median = judged.iter().find(|it| it.statistic == Statistic::Median).unwrap();
            (median.estimate.value, median.is_outside)
        });
        days.collect()
    };
    let mild = judged(&mild);
    assert_eq!(mild.len(), 14);
    assert!(mild.iter().all(|(_, is_outside)| !is_outside), "{mild:?}");
    let frosty = judged(&frosty);
    let alert = frosty.windows(2).position(|pair| pair.iter().all(|(_, is_outside)| *is_outside));
    assert!(alert.is_some_and(|first| first + 2 <= 7), "{frosty:?}");
}

/// A bundle that hands on what comes in, and a recording of it.
fn echo(folder: &Path) {
    let bundle = "format = 1\nname = 'echo'\nversion = '1'\n\
        [inputs.p]\nrate_hz = 0.01\nfields = [{ name = 'x', range = [0.0, 9.0] }]\n\
        [stages.w]\nkind = 'window'\ninput = 'p'\nrows = 1\nstride = 1\n\
        [stages.last]\nkind = 'select'\ninput = 'w'\nindex = 0\n\
        [stages.high]\nkind = 'threshold'\ninput = 'last'\nabove = 5.0\n\
        [outputs]\nlevel = { from = 'last' }\nhigh = { from = 'high' }\n";
    std::fs::write(folder.join("bundle.toml"), bundle).unwrap();
    let mut rows = String::from("x\n");
    (0..4000).for_each(|at| writeln!(rows, "{}.5", at % 10).unwrap());
    std::fs::write(folder.join("good.csv"), rows).unwrap();
}

#[test]
fn a_profile_is_a_part_of_the_bundle_and_a_broken_one_is_refused_until_it_is_made_anew() {
    let folder = tempfile::tempdir().unwrap();
    echo(folder.path());
    let [good, profile, built] =
        ["good.csv", "profile.json", "echo.lsb"].map(|name| folder.path().join(name));
    let make = || said(&["profile", "build", text(&good), "--bundle", text(folder.path())]);
    let told = make();
    assert_eq!(told["profile"], text(&profile));
    let kinds: Vec<_> = told["columns"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| {
            (
                it["name"].as_str().unwrap(),
                it["role"].as_str().unwrap(),
                it["kind"].as_str().unwrap(),
            )
        })
        .collect();
    let wanted = [
        ("x", "input", "numerical"),
        ("high", "output", "categorical"),
        ("level", "output", "numerical"),
    ];
    assert_eq!(kinds, wanted);
    // 4,000 readings a hundred seconds apart: more than four days, of which a tenth is beyond the range.
    let x = &told["columns"][0]["learnt"];
    assert_eq!(x["chunks"], 5);
    assert!((x["limits"]["out_of_range"]["mean"].as_f64().unwrap() - 0.1).abs() < 0.01, "{x}");

    let build = ["bundle", "build", text(folder.path()), "-o", text(&built)];
    said(&build);
    let shown = said(&["bundle", "show", text(&built)]);
    let entry = &shown["manifest"]["files"]["profile.json"];
    assert_eq!(entry["media_type"], "application/vnd.lineside.profile.v1+json");

    let whole = std::fs::read_to_string(&profile).unwrap();
    std::fs::write(&profile, whole.replace("\"level\"", "\"livel\"")).unwrap();
    let other = refused(&build);
    assert!(other.contains("the bundle has no output livel: build the profile anew"), "{other}");
    std::fs::write(&profile, &whole[..whole.len() / 2]).unwrap();
    let cut = refused(&build);
    assert!(cut.contains("build it anew by `lineside profile build`"), "{cut}");
    // The cure works where the broken one lies.
    make();
    assert_eq!(std::fs::read_to_string(&profile).unwrap(), whole);
}

/// Some hours of a line: a number, a gear, and a gap.
fn hours(moved: bool) -> String {
    let mut rows = String::from("time,speed,gear,gap,note\n");
    for at in 0..600 {
        let speed = f64::from(at % 50) / 10.0 + if moved { 2.0 } else { 0.0 };
        let gear = ["low", "high", "top"][if moved { at % 2 } else { at % 3 } as usize];
        let gap = if moved && at % 4 == 0 { "" } else { "1.5" };
        writeln!(
            rows,
            "2026-01-01T{:02}:{:02}:00Z,{speed},{gear},{gap},note {at}",
            at / 60,
            at % 60
        )
        .unwrap();
    }
    rows
}

#[test]
fn files_are_compared_by_sketches_and_profiled_without_a_bundle() {
    let folder = tempfile::tempdir().unwrap();
    let [good, new, profile] =
        ["good.csv", "new.csv", "profile.json"].map(|name| folder.path().join(name));
    std::fs::write(&good, hours(false)).unwrap();
    std::fs::write(&new, hours(true)).unwrap();
    let sketched =
        said(&["drift", text(&good), text(&new), "--mode", "sketch", "--method", "gear=psi"]);
    let exact = said(&["drift", text(&good), text(&new), "--method", "gear=psi"]);
    assert_eq!(sketched["mode"], "sketch");
    for (column, method) in [("speed", "sketch:ks"), ("gear", "sketch:psi")] {
        let (ours, theirs) = (&sketched["columns"][column], &exact["columns"][column]);
        assert_eq!(ours["method"], method);
        let [low, score, high] =
            ["score_low", "score", "score_high"].map(|it| ours[it].as_f64().unwrap());
        let exact = theirs["score"].as_f64().unwrap();
        assert!(low <= score && score <= high, "{ours}");
        assert!(low <= exact + 1e-12 && exact <= high + 1e-12, "{ours} {theirs}");
        assert_eq!(ours["drifted"], true);
    }
    assert_eq!(sketched["columns"]["gap"]["missing"], exact["columns"]["gap"]["missing"]);
    let note = sketched["columns"]["note"]["not_computable"].as_str().unwrap();
    assert!(note.starts_with("it holds text"), "{note}");
    let wrong = refused(&[
        "drift",
        text(&good),
        text(&new),
        "--mode",
        "sketch",
        "--method",
        "gear=anderson",
    ]);
    assert!(wrong.contains("use one of sketch:ks, sketch:wasserstein"), "{wrong}");

    let told = said(&["profile", "build", text(&good), "--chunk", "2h", "-o", text(&profile)]);
    assert_eq!(told["columns"].as_array().unwrap().len(), 3);
    let left_out = told["left_out"].as_object().unwrap();
    assert_eq!(left_out.keys().collect::<Vec<_>>(), ["note"]);
    let profile = Profile::parse(&std::fs::read(&profile).unwrap()).unwrap();
    let speed = profile.column(Role::Input, "speed").unwrap();
    assert_eq!(speed.learnt.as_ref().unwrap().chunks, 5);
    let untimed = refused(&["profile", "build", text(&good), "--time", "speed"]);
    assert!(untimed.contains("has a time as in"), "{untimed}");
    let parquet = folder.path().join("good.parquet");
    for (bytes, problem) in [("PAR1", "Parquet file cannot be read"), ("a,b\n1,2\n", "is none")] {
        std::fs::write(&parquet, bytes).unwrap();
        let said = refused(&["profile", "build", text(&parquet)]);
        assert!(said.contains(problem), "{said}");
    }
}

#[test]
fn a_profile_of_another_models_outputs_is_no_part_of_a_bundle() {
    let run = said;
    let folder = tempfile::tempdir().unwrap();
    let [rows, profile, built] =
        ["rows.csv", "profile.json", "mill.lsb"].map(|name| folder.path().join(name));
    let recording = root().join("examples/turbine/recordings/reference.csv");
    let recording = std::fs::read_to_string(recording).unwrap();
    let some: Vec<&str> = recording.lines().take(1 + 2 * 144 * 4).collect();
    std::fs::write(&rows, some.join("\n")).unwrap();
    let turbine = root().join("examples/turbine");
    let set = ["--set", "stages.judge.file=models/turbine-v2.onnx"];
    let unchecked = [&set[..], &["--set", "checks.0.expected=checks/january-v2.jsonl"]].concat();
    let build = ["bundle", "build", text(&turbine), "-o", text(&built)];
    // The folder's own is of version 1.
    let said = refused(&[&build[..], &unchecked].concat());
    assert!(said.contains("other models than models/turbine-v2.onnx"), "{said}");
    assert!(said.contains("--without-profile"), "{said}");
    let make = ["profile", "build", text(&rows), "--bundle", text(&turbine), "-o", text(&profile)];
    run(&[&make[..], &set].concat());
    run(&[&build[..], &unchecked, &["--profile", text(&profile)]].concat());
    let said = refused(&[&build[..], &["--profile", text(&profile)]].concat());
    assert!(said.contains("other models than models/turbine-v1.onnx"), "{said}");
    run(&[&build[..], &unchecked, &["--without-profile"]].concat());
}
