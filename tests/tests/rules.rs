//! A device judges by the rules of its site and of the bundle's profile, and acts, also over a kill; the server
//! hears of it: through the real programs, on the turbines' mild and frosty days.

#![allow(clippy::unwrap_used)] // A test stops at what does not hold.

use lineside_tests::examples::{build, turbine_rows};
use lineside_tests::fleet::{Fleet, frame_findings};
use serde_json::Value;
use std::collections::BTreeSet;
use std::ops::Range;

/// Rows of a day: four turbines, every ten minutes.
const DAY: usize = 4 * 144;

/// What the site has signed. In the mild week the power is too high for the second on two days in a row.
const POLICY: &str = "[slots.turbine.rules.frost]\nsignal = 'median'\noutput = 'score'\nlearnt = true\n\
     [slots.turbine.rules.frost.then]\nfail_safe = true\ninterval_seconds = 3600\ncapture_minutes = 60\n\
     [slots.turbine.rules.weather]\nsignal = 'median'\noutput = 'expected_power_kw'\nhours = 24\n\
     within = [-1000.0, 700.0]\n";

/// A device at the site that replays days of a recording.
fn settings(fleet: &Fleet, recording: &str, days: Range<usize>) -> String {
    let rows = turbine_rows(recording, days.start * DAY..days.end * DAY, fleet.folder()).unwrap();
    format!(
        "[slots.turbine]\nsource = 'scada'\nsinks = ['log']\n[slots.turbine.capture]\n\
         [sources.scada]\nkind = 'file'\npaths = [{rows:?}]\npace = 20000.0\n\
         [telemetry]\ninterval_seconds = 7200\n\
         [sinks.log]\nkind = 'file'\npath = 'findings.jsonl'\n"
    )
}

/// What the server has heard of rules, the oldest first.
fn heard(device: &Value) -> Vec<(String, String)> {
    let events = device["events"].as_array().into_iter().flatten();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let all = events.map(|event| (text(&event["kind"]), text(&event["text"])));
    let mut of_rules: Vec<_> = all.filter(|(kind, _)| kind.starts_with("rule_")).collect();
    of_rules.reverse();
    of_rules
}

#[test]
fn frost_fires_within_seven_days_and_the_slot_is_safe_over_a_kill_while_mild_days_are_quiet() {
    let folder = tempfile::tempdir().unwrap();
    let mut fleet = Fleet::start(folder.path()).unwrap();
    fleet.release("turbine", "1").unwrap();
    fleet.sign_policy("mill", POLICY).unwrap();
    for (device, recording, days) in [("frosty", "shifted", 0..9), ("mild", "reference", 7..14)] {
        let settings = settings(&fleet, recording, days);
        fleet.add_device_at(device, "mill", &settings).unwrap();
        fleet.start_agent(device).unwrap();
        fleet.assign(device, "turbine", "turbine/1").unwrap();
    }
    let fires = |status: &Value| {
        let rules = status["slots"]["turbine"]["rules"].as_array();
        rules.is_some_and(|rules| rules.contains(&"frost".into()))
    };
    fleet.wait_until_says("frosty", "frost fires", fires).unwrap();
    fleet.kill_agent("frosty");
    let rests = |status: &Value| status["running"] == false;
    let at_rest = fleet.wait_until_says("frosty", "it is gone", rests).unwrap();
    assert!(fires(&at_rest), "{at_rest}");
    fleet.start_agent("frosty").unwrap();
    let told = fleet.wait_for("frosty", "the server hears of it", |device| {
        let heard = heard(device);
        let of = |rule: &str| heard.iter().find(|(_, text)| text.starts_with(rule)).cloned();
        Some((of("frost: ")?, of("profile.score: ")?))
    });
    let ((kind, frost), (_, profile)) = told.unwrap();
    assert_eq!(kind, "rule_fired");
    assert!(frost.contains("median of score is 1.") && frost.contains("where 0."), "{frost}");
    assert!(
        frost.ends_with("done: fail_safe, interval_seconds 3600, capture_minutes 60"),
        "{frost}"
    );
    assert!(profile.contains("median of score is 1.") && !profile.contains("done"), "{profile}");
    let whole = |rows: usize| {
        move |status: &Value| {
            let slot = &status["slots"]["turbine"];
            slot["counts"]["accepted"] == rows && slot["owed"] == 0
        }
    };
    fleet.wait_until_says("frosty", "the frosty days are over", whole(9 * DAY)).unwrap();
    what_came_is_kept(&fleet, "frosty");
    fleet.stop_agent("frosty").unwrap();
    let findings = frame_findings(&fleet.device_folder("frosty").join("findings.jsonl")).unwrap();
    let ids: BTreeSet<&str> = findings.iter().map(|it| it["id"].as_str().unwrap()).collect();
    assert_eq!((ids.len(), findings.len()), (9 * DAY / 6, 9 * DAY / 6), "each frame once");
    let first = findings.iter().position(|finding| finding["fail_safe"] == true).unwrap();
    let time = findings[first]["time"].as_str().unwrap();
    assert!(time < "2015-02-01", "within seven days: {time}");
    assert!(findings.len() - first > 2 * DAY / 6);
    for finding in &findings[first..] {
        assert_eq!(finding["outputs"], serde_json::json!({"alarm": true}), "{finding}");
        assert_eq!(
            (&finding["reason"], &finding["fail_safe"]),
            (&"rule frost".into(), &true.into())
        );
    }
    assert!(findings[..first].iter().all(|finding| finding["outputs"]["score"].is_f64()));

    // The week that is as the one before rings by no limit that was learnt, and all that would is told by now.
    let mild = fleet.wait_for("mild", "the weather is over", |device| {
        let heard = heard(device);
        heard.iter().any(|(kind, _)| kind == "rule_over").then_some(heard)
    });
    let mild: Vec<(String, String)> = mild.unwrap();
    fleet.wait_until_says("mild", "the mild days are over", whole(7 * DAY)).unwrap();
    let is_of_weather = |(_, text): &(String, String)| text.starts_with("weather: ");
    assert!(mild.len() == 2 && mild.iter().all(is_of_weather), "{mild:?}");
    fleet.stop_agent("mild").unwrap();
    let at_rest = fleet.wait_until_says("mild", "it is gone", rests).unwrap();
    assert_eq!(at_rest["slots"]["turbine"]["rules"], serde_json::json!([]));
}

/// The ring as it stood when the rule fired and what came since, also over the kill, as the desk reads it.
fn what_came_is_kept(fleet: &Fleet, device: &str) {
    let told = fleet.on_device(device, &["capture", "--json"]).unwrap();
    let told: Value = serde_json::from_slice(&told.stdout).unwrap();
    let firing = &told["turbine"]["firings"][0];
    assert_eq!((&firing["rule"], &firing["number"]), (&"frost".into(), &1.into()), "{told}");
    let export = ["capture", "--export", "turbine/1", "--output", "frost.csv", "--key", "turbine"];
    let output = fleet.on_device(device, &export).unwrap();
    assert!(output.status.success(), "{output:?}");
    let path = fleet.device_folder(device).join("frost.csv");
    let text = std::fs::read_to_string(&path).unwrap();
    let (header, rows) = text.split_once('\n').unwrap();
    assert_eq!(header, "time,turbine,wind_speed_m_s,power_kw,pitch_deg,vane_deg,outdoor_c");
    let rows: BTreeSet<&str> = rows.lines().collect();
    assert!(rows.len() > 5 * DAY && rows.len() <= 9 * DAY, "{}", rows.len());
    let bundle = build("turbine", "1", fleet.folder()).unwrap();
    let run = ["bundle", "run", bundle.to_str().unwrap(), "--input", path.to_str().unwrap()];
    let output = fleet.lineside(&run);
    assert!(output.status.success() && !output.stdout.is_empty(), "{output:?}");
}
