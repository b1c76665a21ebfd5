//! Two topics of the plant's broker that are joined in one slot, and one topic that feeds two ports: through the
//! real programs, and held against what the same bundle answers at the desk.

#![allow(clippy::unwrap_used)] // A test stops at what does not hold.

use lineside_tests::child::wait;
use lineside_tests::fleet::Fleet;
use lineside_tests::lineside_in;
use lineside_tests::plant::Plant;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The readings are of the seconds from 0 to this one.
const SECONDS: u64 = 400;
const KEYS: [&str; 2] = ["a", "b"];
/// Seconds of the readings that go by in one of the broker's.
const PACE: f64 = 100.0;

/// A frame begins every 4 s and spans 8: `x` is what port `fast` says in the last of these seconds, `y` what
/// `slow` says in the last but one. A port that is late, because the machine is busy, is waited for to the end.
const BUNDLE: &str = "format = 1\nname = 'pair'\nversion = '1'\njoin.wait_seconds = 400\n\
     [inputs.fast]\nkey = 'k'\ntime = 't'\nfields = [{ name = 'x' }]\n\
     [inputs.slow]\nkey = 'name'\ntime = 't'\nfields = [{ name = 'y' }]\n\
     [stages.seconds]\nkind = 'resample'\ninput = 'fast'\nrate_hz = 1\ngap_seconds = 3\n\
     [stages.pairs]\nkind = 'resample'\ninput = 'slow'\nrate_hz = 0.5\ngap_seconds = 3\n\
     [stages.short]\nkind = 'window'\ninput = 'seconds'\nseconds = 4\nstride_seconds = 4\n\
     [stages.long]\nkind = 'window'\ninput = 'pairs'\nseconds = 8\nstride_seconds = 4\n\
     [stages.last_x]\nkind = 'select'\ninput = 'short'\nindex = 3\n\
     [stages.last_y]\nkind = 'select'\ninput = 'long'\nindex = 3\n\
     [outputs]\nx = { from = 'last_x' }\ny = { from = 'last_y' }\n";

/// Something that is published to a topic: the rows of one CSV file.
struct Topic {
    name: &'static str,
    file: PathBuf,
    rows: u64,
}

/// Writes the rows that a topic has every so many seconds, one of each key, in these columns: each number of
/// `slow` is a half more than its second.
fn topic(folder: &Path, name: &'static str, every: usize, columns: &[&str]) -> Topic {
    let mut text = columns.join(",") + "\n";
    let mut rows = 0;
    for second in (0..=SECONDS).step_by(every) {
        for key in KEYS {
            let cell = |column: &&str| match *column {
                "x" => second.to_string(),
                "y" => format!("{second}.5"),
                "t" => time(second),
                _ => key.to_owned(),
            };
            text += &(columns.iter().map(cell).collect::<Vec<_>>().join(",") + "\n");
            rows += 1;
        }
    }
    let file = folder.join(format!("{name}.csv"));
    fs::write(&file, text).unwrap();
    Topic { name, file, rows }
}

fn time(second: u64) -> String {
    format!("1970-01-01T00:{:02}:{:02}Z", second / 60, second % 60)
}

/// What the two ports were given, in one recording for the desk.
fn recording(slow_every: u64) -> String {
    let mut text = "port,k,name,t,x,y\n".to_owned();
    for second in 0..=SECONDS {
        for key in KEYS {
            text += &format!("fast,{key},,{},{second},\n", time(second));
            if second % slow_every == 0 {
                text += &format!("slow,,{key},{},,{second}.5\n", time(second));
            }
        }
    }
    text
}

/// Has a device answer what is published to `topics`, from which port `fast` and port `slow` have what the sources
/// `sources` give them, and holds that against the desk's answers. The agent is killed in the middle.
fn answers_as_the_desk_does(folder: &Path, topics: &[Topic], sources: [&str; 2], slow_every: u64) {
    let source = folder.join("pair");
    fs::create_dir(&source).unwrap();
    fs::write(source.join("bundle.toml"), BUNDLE).unwrap();
    let bundle = folder.join("pair.lsb");
    lineside_tests::build(&source, &[], &bundle);

    let plant = Plant::start(folder).unwrap();
    let mut fleet = Fleet::start(folder).unwrap();
    fleet.json(&["release", &bundle.to_string_lossy()]).unwrap();
    let end = format!("kind = 'mqtt'\nhost = '127.0.0.1'\nport = {}\n", plant.port());
    let [fast, slow] = sources;
    let mut settings = format!(
        "[slots.pair]\nsources = {{ fast = '{fast}', slow = '{slow}' }}\nsinks = ['plant']\n\
         [sinks.plant]\n{end}topic = 'findings/mill'\n"
    );
    for Topic { name, .. } in topics {
        settings += &format!("[sources.{name}]\n{end}topic = '{name}'\n");
    }
    fleet.add_device("mill", &settings).unwrap();
    fleet.start_agent("mill").unwrap();
    fleet.assign("mill", "pair", "pair/1").unwrap();

    // A broker keeps nothing for a device that has not subscribed. This is a reading of neither port, and each
    // of them drops it for another reason, so that both are seen to listen.
    let neither = json!({ "k": "X", "name": "X", "t": time(0), "x": null, "y": true }).to_string();
    let listen = |status: &Value| {
        let dropped = &status["slots"]["pair"]["counts"]["dropped"];
        let hears = |reason: &str| dropped[reason].as_u64().is_some_and(|count| count > 0);
        let both = hears("missing") && hears("malformed");
        if !both {
            topics.iter().for_each(|topic| plant.say(topic.name, &neither).unwrap());
        }
        both
    };
    fleet.wait_until_says("mill", "both ports listen", listen).unwrap();

    let publishing: Vec<_> = topics
        .iter()
        .map(|topic| {
            let per_second = topic.rows as f64 / SECONDS as f64 * PACE;
            plant.publish(std::slice::from_ref(&topic.file), topic.name, per_second)
        })
        .collect();
    publishing[0].reaches(topics[0].rows / 2).unwrap();
    fleet.kill_agent("mill");
    fleet.start_agent("mill").unwrap();
    fleet.wait_for_status("mill").unwrap();
    for (publishing, topic) in publishing.iter().zip(topics) {
        publishing.reaches(topic.rows).unwrap();
    }

    // Each port has a reading at the end of all but the last frame that begins.
    let wanted: BTreeSet<(String, u64)> = KEYS
        .iter()
        .flat_map(|key| (0..SECONDS / 4 - 1).map(|frame| ((*key).to_owned(), frame)))
        .collect();
    let answered = || -> Vec<Value> {
        let findings = plant.received().findings.into_values();
        findings.filter(|it| !it["frame"].is_null() && it["fail_safe"] != true).collect()
    };
    wait("all frames are answered", || (answered().len() >= wanted.len()).then_some(()))
        .unwrap_or_else(|error| {
            let status = fleet.status("mill").unwrap_or_default();
            let here = answered().len();
            panic!("{error}: {here} of {}\n{status:#}", wanted.len())
        });
    let findings = answered();
    let frame = |finding: &Value| {
        (finding["key"].as_str().unwrap().to_owned(), finding["frame"].as_u64().unwrap())
    };
    assert_eq!(findings.iter().map(frame).collect::<BTreeSet<_>>(), wanted);
    assert_eq!(findings.len(), wanted.len(), "a frame was answered twice");
    for finding in &findings {
        let (at, outputs) = (frame(finding).1 * 4, &finding["outputs"]);
        assert_eq!(outputs["x"].as_f64(), Some((at + 7) as f64), "{finding}");
        assert_eq!(outputs["y"].as_f64(), Some((at + 6) as f64 + 0.5), "{finding}");
    }
    let status = fleet.status("mill").unwrap();
    let counts = &status["slots"]["pair"]["counts"];
    assert_eq!((&counts["lost"], &counts["doubled"]), (&json!(0), &json!(0)), "{status:#}");

    let line = |finding: &Value| {
        let (key, frame) = frame(finding);
        json!({ "key": key, "frame": frame, "outputs": finding["outputs"] }).to_string() + "\n"
    };
    fs::write(folder.join("found.jsonl"), findings.iter().map(line).collect::<String>()).unwrap();
    fs::write(folder.join("both.csv"), recording(slow_every)).unwrap();
    let run = ["--json", "bundle", "run", "pair", "--input", "both.csv", "--tolerance", "0"];
    let output = lineside_in(folder, &[&run[..], &["--expect", "found.jsonl"]].concat());
    let said: Value = serde_json::from_slice(&output.stdout).unwrap();
    let agreement = &said["agreement"];
    let all = json!(wanted.len());
    assert_eq!((&agreement["findings"], &agreement["agreed"]), (&all, &all), "{said:#}");
    assert_eq!(said["findings"], all, "{said:#}");
}

#[test]
fn two_topics_that_are_joined_in_one_slot_are_answered_as_at_the_desk() {
    let folder = tempfile::tempdir().unwrap();
    let fast = topic(folder.path(), "fast", 1, &["k", "t", "x"]);
    let slow = topic(folder.path(), "slow", 2, &["name", "t", "y"]);
    answers_as_the_desk_does(folder.path(), &[fast, slow], ["fast", "slow"], 2);
}

#[test]
fn one_topic_that_feeds_two_ports_is_answered_as_at_the_desk() {
    let folder = tempfile::tempdir().unwrap();
    let both = topic(folder.path(), "both-rows", 1, &["k", "name", "t", "x", "y"]);
    answers_as_the_desk_does(folder.path(), &[both], ["both-rows", "both-rows"], 1);
}
