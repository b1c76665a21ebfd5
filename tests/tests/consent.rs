//! A site and its people decide when the route of a slot may change: an update waits, says why on the
//! device and on the server, through a restart, and goes on when it may.

#![allow(clippy::unwrap_used)] // A test stops at what does not hold.

use lineside_tests::fleet::Fleet;
use lineside_tests::plant::Plant;
use lineside_tests::{complaint, root};
use serde_json::Value;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use time::format_description::well_known::Rfc3339;
use time::{Duration, OffsetDateTime};

/// The settings of a device whose site says more of its slot.
fn settings(slot: &str) -> String {
    let recording = root().join("examples/turbine/recordings/reference.csv");
    format!(
        "[slots.turbine]\nsource = \"scada\"\n{slot}\n\
         [sources.scada]\nkind = \"file\"\npaths = [{recording:?}]\npace = 6000.0\n"
    )
}

/// A fleet with a device whose slot runs v1; v2 is released.
fn on_v1(folder: &std::path::Path, slot: &str) -> Fleet {
    let mut fleet = Fleet::start(folder).unwrap();
    fleet.release("turbine", "1").unwrap();
    fleet.release("turbine", "2").unwrap();
    fleet.add_device("mill", &settings(slot)).unwrap();
    fleet.start_agent("mill").unwrap();
    fleet.assign("mill", "turbine", "turbine/1").unwrap();
    fleet.wait_for("mill", "v1 is committed", runs("1")).unwrap();
    fleet
}

/// The server says that this version runs and nothing is under way.
fn runs(version: &'static str) -> impl Fn(&Value) -> Option<()> {
    move |device| {
        let slot = &device["slots"]["turbine"];
        (slot["active"]["version"] == version && slot["phase"] == "idle").then_some(())
    }
}

/// The server says that v1 runs on, and that the update waits for all of `reasons` and for none of
/// `others`.
fn waits(
    reasons: &'static [&'static str],
    others: &'static [&'static str],
) -> impl Fn(&Value) -> Option<()> {
    move |device| {
        let slot = &device["slots"]["turbine"];
        let note = slot["note"].as_str()?;
        let told = reasons.iter().all(|it| note.contains(it));
        let held = slot["phase"] == "held" && slot["active"]["version"] == "1";
        (held && told && !others.iter().any(|it| note.contains(it))).then_some(())
    }
}

/// The server knows of an event of this kind whose text says all of `parts`.
fn heard(kind: &'static str, parts: &'static [&'static str]) -> impl Fn(&Value) -> Option<()> {
    move |device| {
        let events = device["events"].as_array()?;
        let says = |event: &&Value| {
            let text = event["text"].as_str().unwrap_or_default();
            event["kind"] == kind && parts.iter().all(|it| text.contains(it))
        };
        events.iter().find(says).map(|_| ())
    }
}

/// What the device answers on its command line to what it is told.
fn says(fleet: &Fleet, arguments: &[&str]) -> String {
    let output = fleet.on_device("mill", arguments).unwrap();
    assert!(output.status.success(), "{}", complaint(&output));
    String::from_utf8(output.stdout).unwrap()
}

/// What the agent answers to a program of the plant that speaks HTTP: status and body.
fn http(fleet: &Fleet, method: &str, slot: &str, body: &str) -> (u16, String) {
    let mut agent =
        UnixStream::connect(fleet.device_folder("mill").join("state/agent.sock")).unwrap();
    let length = body.len();
    write!(
        agent,
        "{method} /v1/slots/{slot}/hold HTTP/1.1\r\nhost: agent\r\ncontent-length: {length}\r\n\r\n{body}"
    )
    .unwrap();
    let mut answer = String::new();
    agent.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

/// What the desk prints.
fn printed(fleet: &Fleet, arguments: &[&str]) -> String {
    let output = fleet.lineside(arguments);
    assert!(output.status.success(), "{}", complaint(&output));
    String::from_utf8(output.stdout).unwrap()
}

/// The moment that the server names, by this machine's clock.
fn moment(slot: &Value, name: &str) -> Option<OffsetDateTime> {
    OffsetDateTime::parse(slot[name].as_str()?, &Rfc3339).ok()
}

#[test]
fn an_update_waits_while_the_line_is_in_use_or_held_by_hand_and_everybody_sees_why() {
    let folder = tempfile::tempdir().unwrap();
    let plant = Plant::start(folder.path()).unwrap();
    let slot = format!(
        "[slots.turbine.updates]\nlock_file = \"press.busy\"\ndeadline_hours = 72.0\n\
         [slots.turbine.updates.in_use]\nhost = \"127.0.0.1\"\nport = {}\ntopic = \"press/state\"\n",
        plant.port()
    );
    // The first release has nothing to take the route from, so nobody is asked.
    let mut fleet = on_v1(folder.path(), &slot);
    let lock = fleet.device_folder("mill").join("press.busy");
    fs::write(&lock, "").unwrap();

    let nowhere = ["hold", "press", "--reason", "cleaning"];
    let refused = complaint(&fleet.on_device("mill", &nowhere).unwrap());
    assert!(refused.contains("no slot press"), "{refused}");
    let hold = ["hold", "turbine", "--reason", "changing the belt"];
    let held = says(&fleet, &hold);
    assert!(held.contains("until it is released: changing the belt"), "{held}");
    // Seen at the desk before any update asks.
    let shows_hold = |device: &Value| {
        let slot = &device["slots"]["turbine"];
        assert!(slot["deadline"].is_null(), "nothing waits yet: {slot}");
        slot["hold"].as_str()?.contains("changing the belt").then_some(())
    };
    fleet.wait_for("mill", "the hold is known", shows_hold).unwrap();

    fleet.assign("mill", "turbine", "turbine/2").unwrap();
    let all = &["turbine v2 is held back", "press.busy is there", "nothing was heard", "the belt"];
    fleet.wait_for("mill", "v2 is held back", waits(all, &[])).unwrap();
    let running = waits(&["topic press/state says \"running\""], &[]);
    let told = |device: &Value| {
        plant.say("press/state", "running").unwrap();
        running(device)
    };
    fleet.wait_for("mill", "the topic is heard", told).unwrap();
    let shown = printed(&fleet, &["device", "show", "mill"]);
    for part in [
        "! slot turbine: turbine v2 is held back: in use",
        "candidate  turbine/2 (held)",
        "overdue after 72 hours of waiting",
        "updates are held back by hand",
        ", if the device runs until then",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let listed = printed(&fleet, &["device", "list"]);
    assert!(listed.contains("turbine/2 (held)"), "{listed}");
    let slot = fleet.show("mill").unwrap()["slots"]["turbine"].clone();
    let left = moment(&slot, "deadline").unwrap() - OffsetDateTime::now_utc();
    assert!(left > Duration::hours(70) && left <= Duration::hours(72), "{left}");
    let status = says(&fleet, &["status"]);
    assert!(status.contains("no update takes the route now: held back by hand"), "{status}");

    // Nothing of it ends with the agent.
    fleet.kill_agent("mill");
    fleet.start_agent("mill").unwrap();
    fleet
        .wait_until_says("mill", "it still waits", |it| {
            let slot = &it["slots"]["turbine"];
            slot["phase"] == "held" && slot["held"].as_array().map(Vec::len) == Some(3)
        })
        .unwrap();
    fs::remove_file(&lock).unwrap();
    let without_lock = waits(&["perhaps in use: topic press/state", "the belt"], &["press.busy"]);
    fleet.wait_for("mill", "the lock is gone", without_lock).unwrap();
    let by_hand = waits(&["changing the belt"], &["press"]);
    let free = |device: &Value| {
        plant.say("press/state", "free").unwrap();
        by_hand(device)
    };
    fleet.wait_for("mill", "only people hold it back", free).unwrap();
    says(&fleet, &["release-hold", "turbine"]);
    fleet.wait_for("mill", "v2 is committed", runs("2")).unwrap();
    for kind in ["hold_began", "hold_ended"] {
        fleet.wait_for("mill", kind, heard(kind, &["by hand (", "changing the belt"])).unwrap();
    }
    fleet.wait_for("mill", "held", heard("held", &["press.busy", "after 72 hours"])).unwrap();
    let gone = |device: &Value| {
        let slot = &device["slots"]["turbine"];
        (slot["hold"].is_null() && slot["deadline"].is_null()).then_some(())
    };
    fleet.wait_for("mill", "nothing of it is left", gone).unwrap();
}

#[test]
fn a_deadline_passes_over_starts_of_the_agent_and_overrules_machines_and_no_person() {
    let folder = tempfile::tempdir().unwrap();
    let slot = "[slots.turbine.updates]\nlock_file = \"press.busy\"\ndeadline_hours = 0.003\nthen = \"go\"\n";
    let mut fleet = on_v1(folder.path(), slot);
    fs::write(fleet.device_folder("mill").join("press.busy"), "").unwrap();
    let (status, answer) = http(&fleet, "PUT", "turbine", r#"{"reason":"surgery","minutes":600}"#);
    assert_eq!(status, 200, "{answer}");
    assert_eq!(http(&fleet, "PUT", "press", r#"{"reason":"surgery"}"#).0, 404);
    fleet.assign("mill", "turbine", "turbine/2").unwrap();
    let soon = &["press.busy is there", "for 600 minutes: surgery", "it goes after 0.003 hours"];
    fleet.wait_for("mill", "it waits", heard("held", soon)).unwrap();
    let ends = |device: &Value| {
        let left = moment(&device["slots"]["turbine"], "hold_ends")? - OffsetDateTime::now_utc();
        (left > Duration::minutes(590) && left <= Duration::minutes(600)).then_some(())
    };
    fleet.wait_for("mill", "when the hold ends is known", ends).unwrap();
    fleet.stop_agent("mill").unwrap();
    fleet.start_agent("mill").unwrap();
    // The machine is overruled by then, the person is not.
    let late = waits(&["longer than it should", "for 600 minutes: surgery"], &["press.busy"]);
    fleet.wait_for("mill", "only the person counts", late).unwrap();
    let shown = printed(&fleet, &["device", "show", "mill"]);
    assert!(shown.contains("Z, which has passed"), "{shown}");
    fleet.wait_for("mill", "it is overdue", heard("overdue", &["surgery"])).unwrap();
    let (status, hold) = http(&fleet, "GET", "turbine", "");
    assert!(status == 200 && hold.contains("surgery"), "{hold}");
    assert_eq!(http(&fleet, "DELETE", "turbine", "").0, 200);
    assert_eq!(http(&fleet, "DELETE", "turbine", "").0, 404);
    // The lock is still there.
    fleet.wait_for("mill", "v2 is committed", runs("2")).unwrap();
}

/// A window of a whole day that is not today, nor next to it.
fn another_day() -> String {
    let day = (OffsetDateTime::now_utc() + Duration::days(3)).weekday().to_string();
    format!("{} 00:00-24:00", &day[..3])
}

#[test]
fn an_approval_lets_an_update_go_on_and_opens_no_window_and_nobody_is_asked_on_the_way_back() {
    let folder = tempfile::tempdir().unwrap();
    let asking = |window: &str| {
        format!(
            "[slots.turbine.updates]\nwindows = [{window:?}]\ndeadline_hours = 100.0\n\
             [slots.turbine.shadow]\ndecide = \"ask\"\n"
        )
    };
    let closed = settings(&asking(&another_day()));
    let mut fleet = on_v1(folder.path(), "");
    fleet.stop_agent("mill").unwrap();
    fleet.set("mill", &closed).unwrap();
    fleet.start_agent("mill").unwrap();
    fleet.assign("mill", "turbine", "turbine/2").unwrap();
    let for_a_person = waits(&["waits for a person to approve it"], &["window"]);
    fleet.wait_for("mill", "it is to be approved", for_a_person).unwrap();
    let shown = fleet.show("mill").unwrap();
    assert!(shown["slots"]["turbine"]["deadline"].is_null(), "no deadline binds a person: {shown}");
    assert!(shown["attention"].to_string().contains("waits for a person"), "{shown}");
    let other = fleet.on_device("mill", &["approve", "turbine", "turbine/1"]).unwrap();
    assert!(complaint(&other).contains("but turbine v2 may"), "{}", complaint(&other));
    fleet.approve("mill", "turbine").unwrap();
    let for_a_window = waits(&["outside of the maintenance windows, the next opens"], &["approve"]);
    fleet.wait_for("mill", "the window is closed", for_a_window).unwrap();
    let has_deadline = |device: &Value| moment(&device["slots"]["turbine"], "deadline");
    fleet.wait_for("mill", "the deadline is known", has_deadline).unwrap();
    fleet.wait_for("mill", "the approval is known", heard("approved", &["turbine v2"])).unwrap();
    fleet.stop_agent("mill").unwrap();
    fleet.set("mill", &settings(&asking("Mon-Sun 00:00-24:00"))).unwrap();
    fleet.start_agent("mill").unwrap();
    fleet.wait_for("mill", "v2 is committed", runs("2")).unwrap();
    for kind in ["trial_started", "committed"] {
        fleet.wait_for("mill", kind, heard(kind, &["turbine v2"])).unwrap();
    }

    // Back again, though no window is open and nobody approves.
    fleet.stop_agent("mill").unwrap();
    fleet.set("mill", &closed).unwrap();
    fleet.start_agent("mill").unwrap();
    fleet.assign("mill", "turbine", "turbine/1").unwrap();
    fleet.wait_for("mill", "v1 is committed", runs("1")).unwrap();
}
