//! The plant's broker goes away and comes back, and nothing is lost: through the real programs.
//!
//! Two things are meant by "away", and both are played, with and without an agent that is killed
//! meanwhile. Where only the *network* is cut the broker goes on, keeps what sensors publish for the
//! device, and hands it over later. Where the broker itself *dies* all that it knew is gone; what
//! the device has accepted and found must not depend on it.

#![allow(clippy::unwrap_used)] // A test stops at what does not hold.

use lineside_tests::account::{Counts, audit};
use lineside_tests::child::wait;
use lineside_tests::examples::{BEATS, check_beats_found, check_windows_found, turbine_rows};
use lineside_tests::fleet::Fleet;
use lineside_tests::line::Line;
use lineside_tests::plant::{Plant, STRANGER, first_contact};
use lineside_tests::root;
use serde_json::Value;
use tempfile::TempDir;

/// Rows of four turbines that give whole windows of six.
const ROWS: usize = 960;
const WINDOWS: usize = ROWS / 6;
/// Rows that are published before the network stands still; the others are on their way to the device
/// when it is cut, as many as the device lets the broker send, or wait at the broker.
const ROWS_BEFORE: usize = 240;
const ROWS_PER_SECOND: f64 = 500.0;

/// What happens to the agent while the broker is away.
#[derive(Clone, Copy, PartialEq)]
enum Meanwhile {
    GoesOn,
    IsKilled,
}

/// A device whose only way to the plant is a line that can be cut.
struct House {
    fleet: Fleet,
    line: Line,
    plant: Plant,
    // Last, so that programs have ended before their folder goes.
    folder: TempDir,
}

impl House {
    /// Turbine v1 answers what comes from the plant; a second slot has a recording of heart beats.
    fn build() -> House {
        let folder = tempfile::tempdir().unwrap();
        let plant = Plant::start(folder.path()).unwrap();
        let line = Line::to(plant.port()).unwrap();
        let mut fleet = Fleet::start(folder.path()).unwrap();
        let (port, beats) = (line.port(), root().join("examples/ecg/recordings/excerpt.csv"));
        let settings = format!(
            "[slots.turbine]\nsource = 'scada'\nsinks = ['plant']\n\
             [slots.ecg]\nsource = 'lead'\nsinks = ['plant']\n\
             [sources.scada]\nkind = 'mqtt'\nhost = '127.0.0.1'\nport = {port}\ntopic = 'scada'\n\
             [sources.lead]\nkind = 'file'\npaths = ['{}']\npace = 'flat-out'\n\
             [sinks.plant]\nkind = 'mqtt'\nhost = '127.0.0.1'\nport = {port}\n\
             topic = 'findings/mill'\n",
            beats.display()
        );
        fleet.release("turbine", "1").unwrap();
        fleet.release("ecg", "1").unwrap();
        fleet.add_device("mill", &settings).unwrap();
        fleet.start_agent("mill").unwrap();
        fleet.assign("mill", "turbine", "turbine/1").unwrap();
        first_contact(&plant, &fleet, "mill").unwrap();
        House { fleet, line, plant, folder }
    }

    fn publish(&self, rows: std::ops::Range<usize>) -> lineside_tests::plant::Publishing {
        let file = turbine_rows("reference", rows, self.folder.path()).unwrap();
        self.plant.publish(&[file], "scada", ROWS_PER_SECOND)
    }

    fn let_it_happen(&mut self, meanwhile: Meanwhile) {
        if meanwhile == Meanwhile::IsKilled {
            self.fleet.kill_agent("mill");
            self.fleet.start_agent("mill").unwrap();
            self.fleet.wait_for_status("mill").unwrap();
        }
    }

    fn counts(&self, slot: &str) -> Counts {
        Counts::of(&self.fleet.wait_for_status("mill").unwrap()["slots"][slot]).unwrap()
    }

    /// What has reached the control room of a slot, in the order of its frames.
    fn received(&self, slot: &str) -> Vec<Value> {
        let mut findings: Vec<Value> = self.plant.received().findings.into_values().collect();
        findings.retain(|finding| finding["slot"] == slot && !finding["frame"].is_null());
        findings.sort_by_key(|finding| finding["frame"].as_u64());
        findings
    }

    /// The windows of the turbines that the recording has.
    fn windows(&self) -> Vec<Value> {
        let mut windows = self.received("turbine");
        windows.retain(|window| window["key"] != STRANGER);
        windows
    }

    /// Waits until `windows` windows have arrived, and finds each of their readings answered once.
    fn check_windows(&self, windows: usize) {
        let arrived = || (self.windows().len() >= windows).then_some(());
        wait("all windows have reached the plant", arrived).unwrap_or_else(|error| {
            let status = self.fleet.status("mill").unwrap_or_default();
            let log = std::fs::read_to_string(self.folder.path().join("mill/agent.log"));
            let here = self.windows().len();
            panic!("{error}: {here} of {windows}\n{status:#}\n{}", log.unwrap_or_default())
        });
        assert_eq!(self.windows().len(), windows);
        let audit = audit(&self.received("turbine"), &["turbine"]).unwrap();
        assert_eq!((audit.lost, audit.doubled, audit.unanswered), (0, 0, 0));
        let counts = self.counts("turbine");
        assert_eq!((counts.lost, counts.doubled), (0, 0), "{counts:?}");
        assert_eq!((counts.dropped, counts.errors), (0, 0), "{counts:?}");
        assert_eq!(counts.findings, audit.answered, "the plant has all that was found");
    }
}

fn the_network_is_cut(meanwhile: Meanwhile) {
    let mut house = House::build();
    let before = house.counts("turbine").accepted;
    let publishing = house.publish(0..ROWS_BEFORE);
    house
        .fleet
        .wait_until_says("mill", "some readings are taken", |status| {
            let accepted = status["slots"]["turbine"]["counts"]["accepted"].as_u64();
            accepted.is_some_and(|accepted| accepted >= before + 100)
        })
        .unwrap();
    house.line.hold();
    publishing.reaches(ROWS_BEFORE as u64).unwrap();
    house.publish(ROWS_BEFORE..ROWS).reaches((ROWS - ROWS_BEFORE) as u64).unwrap();
    house.line.cut();
    house.let_it_happen(meanwhile);
    house.line.mend();
    // As many windows as there are rows for, without a hole or an overlap, each with its own rows.
    house.check_windows(WINDOWS);
    check_windows_found(&house.windows()).unwrap();
}

fn the_broker_dies(meanwhile: Meanwhile) {
    let mut house = House::build();
    house.publish(0..ROWS);
    house.check_windows(WINDOWS);
    // The line is cut, too, so that the control room listens before the device speaks again.
    house.line.cut();
    house.plant.stop_broker();
    house.fleet.assign("mill", "ecg", "ecg/1").unwrap();
    let all_wait = |status: &Value| {
        let waiting = status["waiting"]["plant"].as_u64();
        waiting.is_some_and(|waiting| waiting >= BEATS as u64)
    };
    house.fleet.wait_until_says("mill", "all beats wait for the plant", all_wait).unwrap();
    house.let_it_happen(meanwhile);
    house.plant.start_broker().unwrap();
    house.line.mend();

    let arrived = || (house.received("ecg").len() >= BEATS).then_some(());
    wait("all beats have reached the plant", arrived).unwrap();
    check_beats_found(&house.received("ecg")).unwrap();
    let counts = house.counts("ecg");
    assert_eq!((counts.lost, counts.doubled, counts.errors), (0, 0, 0), "{counts:?}");
    // The new broker knows nobody: the device has to ask for readings again.
    first_contact(&house.plant, &house.fleet, "mill").unwrap();
    house.publish(ROWS..2 * ROWS);
    house.check_windows(2 * WINDOWS);
    check_windows_found(&house.windows()).unwrap();
}

#[test]
fn what_sensors_publish_while_the_network_is_cut_is_answered_when_it_is_back() {
    the_network_is_cut(Meanwhile::GoesOn);
}

#[test]
fn what_sensors_publish_while_the_network_is_cut_and_the_agent_killed_is_answered_once() {
    the_network_is_cut(Meanwhile::IsKilled);
}

#[test]
fn findings_wait_for_a_broker_that_died_and_readings_come_from_the_new_one() {
    the_broker_dies(Meanwhile::GoesOn);
}

#[test]
fn findings_wait_for_a_broker_that_died_in_an_agent_that_was_killed() {
    the_broker_dies(Meanwhile::IsKilled);
}
