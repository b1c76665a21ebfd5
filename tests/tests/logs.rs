//! Lines of a device's log, asked for from the desk: for a while, without readings, and only where the site
//! lets it.

#![allow(clippy::unwrap_used)] // A test stops at what does not hold.

use lineside_tests::child::{Program, wait};
use lineside_tests::fleet::Fleet;
use lineside_tests::{complaint, root};
use serde_json::Value;
use std::fs;

/// Stands where a number should: what quotes it quotes a reading.
const SECRET: &str = "secret4711";

fn settings() -> String {
    "[slots.line]\nsource = \"recording\"\n[sources.recording]\nkind = \"file\"\n\
     paths = [\"rows.csv\"]\npace = 1200.0\n"
        .to_owned()
}

/// A recording with a row that is none.
fn rows() -> String {
    let path = root().join("examples/turbine/recordings/reference.csv");
    let text = fs::read_to_string(path).unwrap();
    let mut rows: Vec<String> = text.lines().take(2_000).map(str::to_owned).collect();
    let mut fields: Vec<&str> = rows[8].split(',').collect();
    fields[2] = SECRET;
    let row = fields.join(",");
    rows.insert(9, row);
    rows.join("\n")
}

/// Lines that the server has.
fn lines(fleet: &Fleet, device: &str) -> Vec<Value> {
    let shown = fleet.json(&["device", "logs", device]).unwrap();
    shown["lines"].as_array().unwrap().clone()
}

fn find(lines: &[Value], text: &str) -> Option<Value> {
    let has = |line: &&Value| line["message"].as_str().is_some_and(|it| it.contains(text));
    lines.iter().find(has).cloned()
}

#[test]
fn a_device_sends_what_it_is_asked_for_over_restarts_and_never_a_reading() {
    let folder = tempfile::tempdir().unwrap();
    let mut fleet = Fleet::start(folder.path()).unwrap();
    fleet.release("turbine", "1").unwrap();
    fleet.add_device("mill", &settings()).unwrap();
    fs::write(fleet.device_folder("mill").join("rows.csv"), rows()).unwrap();
    // Asked before it is there: it hears of it when it comes.
    let asked = ["device", "logs", "mill", "--minutes", "9", "--level", "debug"];
    assert_eq!(fleet.json(&asked).unwrap()["connected"], false);
    fleet.start_agent("mill").unwrap();
    wait("it has heard of it", || find(&lines(&fleet, "mill"), "debug and above")).unwrap();
    fleet.assign("mill", "line", "turbine/1").unwrap();
    let line = wait("it tells what happens", || find(&lines(&fleet, "mill"), "has the route"));
    let line = line.unwrap();
    assert_eq!((&line["level"], &line["fields"]["slot"]), (&"info".into(), &"line".into()));
    assert!(line["target"].as_str().unwrap().starts_with("lineside_agent::"), "{line}");
    // A row that is none is quoted on the device, and not here.
    let log = |fleet: &mut Fleet| fleet.agent("mill").map(|agent| Program::log(agent)).unwrap();
    wait("the device says which row it is", || log(&mut fleet).contains("rows.csv").then_some(()))
        .unwrap();
    let hold = ["hold", "line", "--reason", "a line after it"];
    assert!(fleet.on_device("mill", &hold).unwrap().status.success());
    wait("what came after it is told", || find(&lines(&fleet, "mill"), "a line after it")).unwrap();
    let told = lines(&fleet, "mill");
    assert!(find(&told, "rows.csv: ").is_none() && !format!("{told:?}").contains(SECRET));

    fleet.kill_agent("mill");
    fleet.start_agent("mill").unwrap();
    let began = |lines: &[Value]| {
        let of = |line: &&Value| line["message"].as_str().unwrap().contains("debug and above");
        lines.iter().filter(of).count()
    };
    wait("it is asked again", || (began(&lines(&fleet, "mill")) == 2).then_some(())).unwrap();
    // Another one takes the place of this one, and people read along.
    let one = ["device", "logs", "mill", "--minutes", "1", "--target", "lineside_agent::nothing"];
    fleet.json(&one).unwrap();
    wait("it hears of the other one", || {
        let shown = fleet.json(&["device", "logs", "mill"]).unwrap();
        (shown["heard"] == true).then_some(())
    })
    .unwrap();
    let before = lines(&fleet, "mill").len();
    assert!(fleet.on_device("mill", &["release-hold", "line"]).unwrap().status.success());
    let text = fleet.lineside(&["device", "logs", "mill"]);
    let text = String::from_utf8(text.stdout).unwrap();
    assert!(text.contains("a line after it slot=line\n"), "{text}");
    assert!(text.contains("mill sends lines until "), "{text}");
    assert_eq!(lines(&fleet, "mill").len(), before, "nothing else was asked for");
}

#[test]
fn a_site_forbids_it_and_who_asks_hears_why() {
    let folder = tempfile::tempdir().unwrap();
    let mut fleet = Fleet::start(folder.path()).unwrap();
    fleet.release("turbine", "1").unwrap();
    fleet.sign_policy("hill", "[log]\nallowed = false\n").unwrap();
    fleet.add_device_at("mill", "hill", &settings()).unwrap();
    fs::write(fleet.device_folder("mill").join("rows.csv"), rows()).unwrap();
    let never = fleet.lineside(&["device", "logs", "mill", "--follow"]);
    assert!(complaint(&never).contains("--minutes"), "{}", complaint(&never));
    fleet.start_agent("mill").unwrap();
    fleet.assign("mill", "line", "turbine/1").unwrap();
    fleet
        .wait_for("mill", "it runs", |it| (it["slots"]["line"]["phase"] == "trial").then_some(()))
        .unwrap();
    let asked = fleet.lineside(&["device", "logs", "mill", "--minutes", "1", "--follow"]);
    assert_eq!(asked.status.code(), Some(1));
    let why = complaint(&asked);
    assert!(why.contains("mill sends no lines: the policy of the device's site"), "{why}");
    assert!(lines(&fleet, "mill").is_empty());
}
