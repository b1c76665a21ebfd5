//! Rollouts, from the plan to what each device does with it.

use crate::alerts::fired_of;
use crate::books::change;
use crate::mqtt::Client;
use crate::proposals;
use crate::running::{As, Reply, Running};
use crate::signers::Signers;
use crate::telemetry::tell;
use crate::tuf::site_policy;
use lineside_bundle::ReleaseId;
use lineside_wire::envelope::encode;
use lineside_wire::v1::{
    Body, Event, Interval, Record, ReleaseRef, SlotStatus, Status, event, phase,
};
use serde_json::{Value, json};

fn named(id: &ReleaseId) -> ReleaseRef {
    let digest = id.digest.bytes();
    ReleaseRef { name: id.name.to_string(), version: id.version.to_string(), digest }
}

/// A server with two releases, and devices that run the first.
struct Plant {
    server: Running,
    signers: Signers,
    releases: [ReleaseRef; 2],
    data: tempfile::TempDir,
}

/// A device that says what it is told to say.
struct Device {
    name: String,
    password: String,
    client: Client,
    records: u64,
    floor: u64,
    wall_clock_unix_ms: i64,
}

impl Plant {
    async fn with(names: &[&str]) -> (Plant, Vec<Device>) {
        let data = tempfile::tempdir().unwrap();
        let server = Running::start(data.path());
        let signers = Signers::enrolled(&server);
        let releases = ["1", "2"].map(|version| named(&signers.release(&server, version)));
        let plant = Plant { server, signers, releases, data };
        let mut devices = Vec::new();
        for name in names {
            devices.push(plant.device(name).await);
        }
        (plant, devices)
    }

    /// A new device that runs the first release.
    async fn device(&self, name: &str) -> Device {
        let password = self.server.add_device(name);
        let client = Client::device(&self.server, name, &password).await;
        let mut device = Device {
            name: name.into(),
            password,
            client,
            records: 0,
            floor: 0,
            wall_clock_unix_ms: 0,
        };
        device.runs(&self.releases[0]).await;
        device
    }

    /// The same with the power taken from it.
    fn restarted(self) -> Plant {
        let Plant { server, signers, releases, data } = self;
        server.kill();
        let server = Running::start(data.path());
        Plant { server, signers, releases, data }
    }

    fn plan(waves: Value) -> Value {
        json!({
            "release": "turbine/2", "slot": "turbine", "selector": { "names": ["*"] }, "waves": waves,
        })
    }

    fn ask(&self, method: &str, path: &str, body: &Value) -> Reply {
        self.server.ask(method, path, As::Administrator, body.to_string().as_bytes())
    }

    /// Plans a rollout and has it begin.
    fn begin(&self, plan: &Value) -> u64 {
        let reply = self.ask("POST", "/api/v1/rollouts", plan);
        assert_eq!(reply.status, 201, "{}", reply.text());
        let id = reply.json()["id"].as_u64().unwrap();
        let begun = self.wish(id, json!({ "begin": { "conflicts": "refuse" } }));
        assert_eq!(begun.status, 200, "{}", begun.text());
        id
    }

    fn wish(&self, id: u64, wish: Value) -> Reply {
        let path = format!("/api/v1/rollouts/{id}/wishes");
        self.ask("POST", &path, &json!({ "wish": wish, "by": "anna" }))
    }

    /// Waits until the rollout is in this state.
    fn until(&self, id: u64, status: &str) -> Value {
        let path = format!("/api/v1/rollouts/{id}");
        self.server.wait_for(&path, |shown| shown["status"] == status)
    }

    /// Waits until so many devices of a wave have been given the release, and gives their names.
    fn given(&self, id: u64, count: usize) -> Vec<String> {
        let path = format!("/api/v1/rollouts/{id}/devices?state=assigned");
        let is_full = |shown: &Value| shown.as_array().is_some_and(|all| all.len() == count);
        let shown = self.server.wait_for(&path, is_full);
        let names = shown.as_array().unwrap().iter();
        names.map(|one| one["device"].as_str().unwrap().to_owned()).collect()
    }

    /// Waits until a release is assigned to a device.
    fn until_assigned(&self, device: &str, release: &Value) {
        let path = format!("/api/v1/devices/{device}");
        self.server.wait_for(&path, |shown| shown["slots"]["turbine"]["assigned"] == *release);
    }

    fn assigned(&self, device: &str) -> Value {
        let shown = self.server.get(&format!("/api/v1/devices/{device}")).json();
        shown["slots"]["turbine"]["assigned"].clone()
    }

    /// What becomes of a device in a rollout.
    fn until_member(&self, id: u64, device: &str, state: &str) {
        let path = format!("/api/v1/rollouts/{id}/devices?state={state}");
        let is_in = |shown: &Value| {
            shown.as_array().unwrap().iter().any(|one| one["device"].as_str() == Some(device))
        };
        self.server.wait_for(&path, is_in);
    }
}

impl Device {
    async fn says(&mut self, active: &ReleaseRef, candidate: Option<&ReleaseRef>, phase: u16) {
        let slot = SlotStatus {
            slot: "turbine".into(),
            active: Some(active.clone()),
            previous: None,
            candidate: candidate.cloned(),
            phase,
            note: String::new(),
            trouble: String::new(),
            floor: self.floor,
            hold: None,
            hold_left_seconds: None,
            deadline_left_seconds: None,
        };
        let status = Status {
            boot: 1,
            agent_version: "0.1.0".into(),
            slots: vec![slot],
            assignment_version: 0,
            releases_version: 0,
            root_version: 1,
            timestamp_version: 0,
            wall_clock_unix_ms: self.wall_clock_unix_ms,
        };
        let topic = format!("lineside/v1/{}/up/status", self.name);
        self.client.publish(&topic, encode(&status).unwrap()).await;
    }

    async fn runs(&mut self, release: &ReleaseRef) {
        self.says(release, None, phase::IDLE).await;
    }

    async fn tells(&mut self, body: Body) {
        self.tells_all(vec![body]).await;
    }

    async fn tells_all(&mut self, bodies: Vec<Body>) {
        let record = |(sequence, body): (u64, Body)| {
            let (code, body) = body.encode().unwrap();
            Record { boot: 1, sequence, backfill: false, code, body }
        };
        let records: Vec<Record> = (self.records..).zip(bodies).map(record).collect();
        self.records += records.len() as u64;
        tell(&mut self.client, &self.name, records).await;
    }

    /// Says what became of a release.
    async fn ends(&mut self, kind: u16, release: &ReleaseRef) {
        let release = Some(release.clone());
        let text = "its checks differ".into();
        let event = Event { slot: "turbine".into(), kind, release, text, at_unix_ms: 0 };
        self.tells(Body::Event(event)).await;
    }

    async fn connects_again(&mut self, plant: &Plant) {
        self.client = Client::device(&plant.server, &self.name, &self.password).await;
    }
}

fn find<'a>(devices: &'a mut [Device], name: &str) -> &'a mut Device {
    devices.iter_mut().find(|device| device.name == name).unwrap()
}

/// One device, then all of them.
fn one_then_all() -> Value {
    json!([{ "size": { "count": 1 } }, { "size": { "percent": 100 } }])
}

#[tokio::test]
async fn a_wave_follows_the_one_before_once_its_devices_run_the_release() {
    let (plant, mut devices) = Plant::with(&["a-1", "a-2", "a-3"]).await;
    let plan = Plant::plan(one_then_all());
    let ahead = plant.ask("POST", "/api/v1/rollouts/preflight", &plan).json();
    assert_eq!((&ahead["devices"], &ahead["waves"][1]["devices"]), (&json!(3), &json!(2)));
    assert!(ahead["bytes"].as_u64().unwrap() > 0);
    assert_eq!(plant.server.get("/api/v1/rollouts").json(), json!([]), "looking ahead makes none");

    let id = plant.begin(&plan);
    let first = plant.given(id, 1).remove(0);
    plant.until_assigned(&first, &json!("turbine/2"));
    let (old, new) = (plant.releases[0].clone(), plant.releases[1].clone());
    let device = find(&mut devices, &first);
    device.says(&old, Some(&new), phase::TRIAL).await;
    plant.until_member(id, &first, "trial");
    // As long as it is on trial, nobody else is given anything.
    let others: Vec<String> = ["a-1", "a-2", "a-3"].map(String::from).into_iter().collect();
    for other in others.iter().filter(|other| **other != first) {
        assert_ne!(plant.assigned(other), json!("turbine/2"), "{other}");
    }
    find(&mut devices, &first).runs(&new).await;
    for name in plant.given(id, 2) {
        plant.until_assigned(&name, &json!("turbine/2"));
        find(&mut devices, &name).runs(&new).await;
    }
    let shown = plant.until(id, "standing");
    assert_eq!(shown["waves"][1]["devices"]["committed"], 2);
    assert_eq!((&shown["release"], &shown["author"]), (&json!("turbine/2"), &json!("admin")));
    let told = shown["news"].to_string();
    for words in ["wave 1 begins", "wave 1 is through", "wave 2 begins", "all waves are through"] {
        assert!(told.contains(words), "{words}: {told}");
    }

    // Who is enrolled later is given it, too, until somebody closes the rollout.
    let mut late = plant.device("a-4").await;
    plant.until_assigned("a-4", &json!("turbine/2"));
    late.runs(&new).await;
    plant.until_member(id, "a-4", "committed");
    assert_eq!(plant.wish(id, json!("close")).json()["status"], "done");
}

#[tokio::test]
async fn a_gate_that_breaks_stops_the_rollout_and_a_retry_is_a_new_wish() {
    let (plant, mut devices) = Plant::with(&["a-1", "a-2", "a-3"]).await;
    let id = plant.begin(&Plant::plan(one_then_all()));
    let first = plant.given(id, 1).remove(0);
    plant.until_assigned(&first, &json!("turbine/2"));
    let (old, new) = (plant.releases[0].clone(), plant.releases[1].clone());
    let device = find(&mut devices, &first);
    device.ends(event::REFUSED, &new).await;
    device.runs(&old).await;
    let shown = plant.until(id, "stopped");
    let text = shown["text"].as_str().unwrap();
    assert_eq!(text, "stopped: wave 1: 1 of 1 devices refused it or rolled back, 10 % allowed");
    assert!(plant.server.page("/rollouts").contains(text));
    let waits = format!("rollout {id} has stopped: `lineside rollout show {id}`");
    assert!(plant.server.page("/").contains(&waits));
    let given = devices.iter().filter(|one| plant.assigned(&one.name) == json!("turbine/2"));
    assert_eq!(given.count(), 1);

    // What it said of the first attempt is not taken for what it says of the second.
    assert_eq!(plant.wish(id, json!({ "retry": { "devices": [] } })).status, 200);
    assert_eq!(plant.wish(id, json!("resume")).status, 200);
    plant.until_member(id, &first, "assigned");
    find(&mut devices, &first).runs(&new).await;
    plant.until_member(id, &first, "committed");
    plant.given(id, 2);
}

#[tokio::test]
async fn what_breaks_a_gate_is_taken_back_where_the_plan_says_so() {
    let (plant, mut devices) = Plant::with(&["a-1", "a-2", "a-3"]).await;
    let gate = json!({ "error_share_max": 0.1, "frames_min": 10, "soak_minutes": 60, "otherwise": "roll-back" });
    let waves = json!([{ "size": { "count": 2 }, "gate": gate }, { "size": { "percent": 100 } }]);
    let id = plant.begin(&Plant::plan(waves));
    let (old, new) = (plant.releases[0].clone(), plant.releases[1].clone());
    let given = plant.given(id, 2);
    for name in &given {
        plant.until_assigned(name, &json!("turbine/2"));
        find(&mut devices, name).runs(&new).await;
    }
    // It soaks: all is well but for the errors of one.
    let errors = Interval {
        frames: 100,
        errors: vec![("the model failed".into(), 40)],
        ..Interval::of("turbine", new.clone(), (0, 60_000))
    };
    find(&mut devices, &given[0]).tells(Body::Interval(Box::new(errors))).await;
    let shown = plant.until(id, "rolling_back");
    assert!(shown["news"].to_string().contains("have too many errors"), "{shown}");
    for name in &given {
        plant.until_member(id, name, "returning");
        plant.until_assigned(name, &json!("turbine/1"));
        find(&mut devices, name).runs(&old).await;
    }
    plant.until(id, "rolled_back");
    let other = devices.iter().find(|one| !given.contains(&one.name)).unwrap();
    assert_eq!(plant.assigned(&other.name), Value::Null);
}

#[tokio::test]
async fn a_device_that_never_began_has_gone_back_as_soon_as_it_is_told_to() {
    let (plant, _devices) = Plant::with(&["a-1", "a-2"]).await;
    let id = plant.begin(&Plant::plan(one_then_all()));
    let first = plant.given(id, 1).remove(0);
    plant.until_assigned(&first, &json!("turbine/2"));
    assert_eq!(plant.wish(id, json!("roll-back")).status, 200);
    plant.until(id, "rolled_back");
    plant.until_assigned(&first, &json!("turbine/1"));
    plant.until_member(id, &first, "returned");
}

#[tokio::test]
async fn a_rollout_goes_on_where_it_was_after_the_power_went() {
    let (plant, mut devices) = Plant::with(&["a-1", "a-2"]).await;
    let id = plant.begin(&Plant::plan(one_then_all()));
    let first = plant.given(id, 1).remove(0);
    let new = plant.releases[1].clone();
    let plant = plant.restarted();
    for device in &mut devices {
        device.connects_again(&plant).await;
    }
    plant.until_assigned(&first, &json!("turbine/2"));
    find(&mut devices, &first).runs(&new).await;
    let second = plant.given(id, 1).remove(0);
    assert_ne!(first, second);
    let plant = plant.restarted();
    find(&mut devices, &second).connects_again(&plant).await;
    find(&mut devices, &second).runs(&new).await;
    plant.until(id, "standing");
    // Nothing of it is told twice.
    let shown = plant.server.get(&format!("/api/v1/rollouts/{id}")).json();
    assert_eq!(shown["news"].to_string().matches("wave 1 is through").count(), 1);
}

#[tokio::test]
async fn what_a_person_assigns_is_his_and_no_rollout_takes_it_from_him() {
    let (plant, mut devices) = Plant::with(&["a-1", "a-2"]).await;
    let id = plant.begin(&Plant::plan(json!([{ "size": { "percent": 100 } }])));
    plant.given(id, 2);
    plant.until_assigned("a-1", &json!("turbine/2"));
    assert_eq!(plant.server.assign("a-1", "turbine", "turbine/1").status, 200);
    plant.until_member(id, "a-1", "taken");
    let new = plant.releases[1].clone();
    find(&mut devices, "a-2").runs(&new).await;
    plant.until(id, "standing");
    assert_eq!(plant.assigned("a-1"), json!("turbine/1"));
    // A device that is removed is not waited for.
    let reply = plant.ask("DELETE", "/api/v1/devices/a-2", &Value::Null);
    assert_eq!(reply.status, 204, "{}", reply.text());
    plant.until_member(id, "a-2", "left");
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_with_what_to_do() {
    let (plant, _devices) = Plant::with(&["a-1"]).await;
    let refused = |plan: &Value| plant.ask("POST", "/api/v1/rollouts", plan);
    let mut plan = Plant::plan(json!([]));
    assert!(refused(&plan).error(400).contains("waves: there are 1 to 32"));
    plan["release"] = json!("turbine/9");
    assert!(refused(&plan).error(404).contains("lineside release"));
    let mut plan = Plant::plan(one_then_all());
    plan["approvals"] = json!(1);
    plan["by"] = json!("anna");
    let id = plant.ask("POST", "/api/v1/rollouts", &plan).json()["id"].as_u64().unwrap();
    let begin = json!({ "begin": { "conflicts": "refuse" } });
    assert!(plant.wish(id, begin.clone()).error(409).contains("has 0 of 1 approvals"));
    assert!(plant.wish(id, json!("approve")).error(409).contains("somebody else has to approve"));
    let path = format!("/api/v1/rollouts/{id}/wishes");
    let approved = plant.ask("POST", &path, &json!({ "wish": "approve", "by": "ben" }));
    assert_eq!(approved.json()["approved_by"], json!(["ben"]));
    assert_eq!(plant.wish(id, begin.clone()).status, 200);
    // A second one that wants the same is told so.
    let other = plant.ask("POST", "/api/v1/rollouts", &Plant::plan(one_then_all()));
    let other = other.json()["id"].as_u64().unwrap();
    assert!(plant.wish(other, begin).error(409).contains("wants what others want, too"));
    assert!(plant.wish(9, json!("pause")).error(404).contains("no rollout 9"));
    let forget = format!("/api/v1/rollouts/{id}");
    assert_eq!(plant.ask("DELETE", &forget, &Value::Null).status, 409);
    assert_eq!(plant.wish(id, json!("abort")).json()["status"], "aborted");
    assert_eq!(plant.ask("DELETE", &forget, &Value::Null).status, 204);
    assert_eq!(plant.server.get(&forget).status, 404);
}

#[tokio::test]
async fn a_site_that_lets_nothing_begin_is_waited_for_and_holds_nobody_else() {
    let (plant, _devices) = Plant::with(&["a-1"]).await;
    let frozen = json!({ "time_zone": "Asia/Kolkata", "downloads_max": 0 });
    assert_eq!(plant.ask("PUT", "/api/v1/sites/hill", &frozen).status, 200);
    let plan = Plant::plan(one_then_all());
    let ahead = plant.ask("POST", "/api/v1/rollouts/preflight", &plan).json();
    assert!(ahead["warnings"].to_string().contains("site hill lets no download begin"), "{ahead}");
    let id = plant.begin(&plan);
    let path = format!("/api/v1/rollouts/{id}/devices");
    let waits =
        |shown: &Value| shown[0]["text"].to_string().contains("its site lets nothing begin");
    plant.server.wait_for(&path, waits);
    let broken = plant.ask("PUT", "/api/v1/sites/hill", &json!({ "time_zone": "Mars" }));
    assert!(broken.error(400).contains("there is no \"Mars\""));
    assert_eq!(plant.ask("DELETE", "/api/v1/sites/hill", &Value::Null).status, 204);
    plant.given(id, 1);
}

#[tokio::test]
async fn a_rule_that_fires_for_a_release_pauses_the_rollout_that_brings_it() {
    let (plant, mut devices) = Plant::with(&["a-1", "a-2"]).await;
    let policy = proposals::policy("device", json!({ "pause_rollout": true }));
    site_policy(&plant.server, &plant.signers, "hill", &policy);
    let gate = json!({ "soak_minutes": 60 });
    let waves = json!([{ "size": { "count": 1 }, "gate": gate }, { "size": { "percent": 100 } }]);
    let id = plant.begin(&Plant::plan(waves));
    let first = plant.given(id, 1).remove(0);
    let (old, new) = (plant.releases[0].clone(), plant.releases[1].clone());
    let device = find(&mut devices, &first);
    device.runs(&new).await;
    // For another release it may fire as it likes.
    for (release, sequence) in [(old, 0), (new, 1)] {
        assert_eq!(plant.server.get(&format!("/api/v1/rollouts/{id}")).json()["status"], "running");
        let fires = fired_of(release, 1, sequence, "high", 10);
        tell(&mut device.client, &first, vec![fires]).await;
    }
    plant.until(id, "paused");
    let why = "because rule high of site hill has fired for it";
    let path = format!("/api/v1/rollouts/{id}");
    plant.server.wait_for(&path, |shown| shown["news"].to_string().contains(why));
    assert_eq!(plant.wish(id, json!("resume")).json()["status"], "running");
}

#[tokio::test]
async fn an_assignment_that_is_refused_takes_nothing_from_a_rollout() {
    let (plant, _devices) = Plant::with(&["a-1"]).await;
    let id = plant.begin(&Plant::plan(json!([{ "size": { "percent": 100 } }])));
    plant.until_assigned("a-1", &json!("turbine/2"));
    assert_eq!(plant.server.assign("a-1", "turbine", "turbine/22").status, 404);
    plant.given(id, 1);
    assert_eq!(plant.server.assign("a-1", "turbine", "turbine/1").status, 200);
    plant.until_member(id, "a-1", "taken");
}

#[tokio::test]
async fn what_may_not_go_back_so_far_does_not_hold_the_others_up() {
    let (plant, mut devices) = Plant::with(&["a-1"]).await;
    let id = plant.begin(&Plant::plan(json!([{ "size": { "percent": 100 } }])));
    plant.until_assigned("a-1", &json!("turbine/2"));
    let new = plant.releases[1].clone();
    devices[0].floor = 2;
    devices[0].runs(&new).await;
    plant.until(id, "standing");
    assert_eq!(plant.wish(id, json!("roll-back")).status, 200);
    let shown = plant.until(id, "rolled_back");
    let news = shown["news"].to_string();
    for words in ["a-1 cannot be given what it is to run", "below number 2", "except 1 devices"] {
        assert!(news.contains(words), "{words}: {news}");
    }
}

#[tokio::test]
async fn what_was_refused_and_forgotten_since_is_not_held_against_a_device() {
    let (plant, mut devices) = Plant::with(&["a-1"]).await;
    let waves = json!([{ "size": { "percent": 100 } }]);
    let id = plant.begin(&Plant::plan(waves.clone()));
    plant.until_assigned("a-1", &json!("turbine/2"));
    let (old, new) = (plant.releases[0].clone(), plant.releases[1].clone());
    devices[0].ends(event::REFUSED, &new).await;
    plant.until(id, "stopped");
    assert_eq!(plant.wish(id, json!("roll-back")).status, 200);
    plant.until_assigned("a-1", &json!("turbine/1"));
    // An agent forgets what it has given up as soon as something else is assigned.
    devices[0].runs(&old).await;
    plant.until(id, "rolled_back");
    let id = plant.begin(&Plant::plan(waves));
    plant.until_assigned("a-1", &json!("turbine/2"));
    devices[0].says(&old, Some(&new), phase::STAGING).await;
    plant.until_member(id, "a-1", "staging");
    devices[0].runs(&new).await;
    plant.until(id, "standing");
}

#[tokio::test]
async fn what_people_assign_after_a_rollout_is_done_is_not_taken_back_with_it() {
    let (plant, mut devices) = Plant::with(&["a-1", "a-2"]).await;
    let id = plant.begin(&Plant::plan(json!([{ "size": { "percent": 100 } }])));
    let (old, new) = (plant.releases[0].clone(), plant.releases[1].clone());
    for device in &mut devices {
        plant.until_assigned(&device.name, &json!("turbine/2"));
        device.runs(&new).await;
    }
    plant.until(id, "standing");
    assert_eq!(plant.wish(id, json!("close")).json()["status"], "done");
    let third = named(&plant.signers.release(&plant.server, "3"));
    assert_eq!(plant.server.assign("a-1", "turbine", "turbine/3").status, 200);
    devices[0].runs(&third).await;
    assert_eq!(plant.wish(id, json!("roll-back")).status, 200);
    plant.until_assigned("a-2", &json!("turbine/1"));
    devices[1].runs(&old).await;
    plant.until(id, "rolled_back");
    plant.until_member(id, "a-1", "taken");
    assert_eq!(plant.assigned("a-1"), json!("turbine/3"));
}

#[tokio::test]
async fn a_device_that_fails_while_it_slows_down_is_seen() {
    let (plant, mut devices) = Plant::with(&["a-1"]).await;
    let gate = json!({ "error_share_max": 0.1, "frames_min": 10, "soak_minutes": 600 });
    let id = plant.begin(&Plant::plan(json!([{ "size": { "percent": 100 }, "gate": gate }])));
    let new = plant.releases[1].clone();
    plant.until_assigned("a-1", &json!("turbine/2"));
    devices[0].runs(&new).await;
    plant.until_member(id, "a-1", "committed");
    // As many as are looked at, well; then as many that fail, of half as many frames.
    for (frames, failed) in [(100, 0), (50, 40)] {
        let interval = Interval {
            frames,
            errors: vec![("the model failed".into(), failed)],
            ..Interval::of("turbine", new.clone(), (0, 60_000))
        };
        for _ in 0..5 {
            devices[0].tells_all(vec![Body::Interval(Box::new(interval.clone())); 100]).await;
        }
    }
    plant.until(id, "stopped");
}

#[tokio::test]
async fn what_disagreed_in_the_shadow_stops_a_rollout_though_the_other_release_has_counted_it() {
    let (plant, mut devices) = Plant::with(&["a-1"]).await;
    let gate = json!({ "agreement_min": 0.9, "frames_min": 10, "soak_minutes": 600 });
    let id = plant.begin(&Plant::plan(json!([{ "size": { "percent": 100 }, "gate": gate }])));
    let (old, new) = (plant.releases[0].clone(), plant.releases[1].clone());
    plant.until_assigned("a-1", &json!("turbine/2"));
    let interval = |release: ReleaseRef| Interval::of("turbine", release, (0, 60_000));
    let shadow = Interval { frames: 100, shadow_frames: 100, shadow_agreed: 80, ..interval(old) };
    devices[0].tells(Body::Interval(Box::new(shadow))).await;
    devices[0].runs(&new).await;
    plant.until_member(id, "a-1", "committed");
    let own = Interval { frames: 100, ..interval(new) };
    devices[0].tells(Body::Interval(Box::new(own))).await;
    let text = plant.until(id, "stopped")["text"].to_string();
    assert!(text.contains("agree too little with the release before"), "{text}");
}

#[tokio::test]
async fn a_server_that_does_not_believe_its_clock_holds_that_against_no_device() {
    let (plant, mut devices) = Plant::with(&["a-1"]).await;
    let frozen = json!({ "downloads_max": 0 });
    assert_eq!(plant.ask("PUT", "/api/v1/sites/hill", &frozen).status, 200);
    let gate = json!({ "otherwise": "roll-back" });
    let id = plant.begin(&Plant::plan(json!([{ "size": { "percent": 100 }, "gate": gate }])));
    let Plant { server, signers, releases, data } = plant;
    server.kill();
    let now = time::OffsetDateTime::now_utc();
    let before = (now - time::Duration::days(700)).unix_timestamp() * 1_000;
    let update =
        format!("UPDATE document SET accepted_unix_ms = {before} WHERE kind = 'timestamp'");
    change(data.path(), &update).await;
    let server = Running::start(data.path());
    let plant = Plant { server, signers, releases, data };
    assert_eq!(plant.ask("DELETE", "/api/v1/sites/hill", &Value::Null).status, 204);
    plant.given(id, 1);
    // A device that says the same of the time is enough: it is given what it was to be given.
    devices[0].connects_again(&plant).await;
    devices[0].wall_clock_unix_ms = now.unix_timestamp() * 1_000;
    let (old, new) = (plant.releases[0].clone(), plant.releases[1].clone());
    devices[0].runs(&old).await;
    plant.until_assigned("a-1", &json!("turbine/2"));
    devices[0].runs(&new).await;
    plant.until(id, "standing");
}

#[tokio::test]
async fn a_device_that_is_removed_and_added_again_is_another() {
    let (plant, mut devices) = Plant::with(&["a-1", "a-2"]).await;
    let gate = json!({ "otherwise": "roll-back" });
    let id = plant.begin(&Plant::plan(json!([{ "size": { "percent": 100 }, "gate": gate }])));
    let new = plant.releases[1].clone();
    for device in &mut devices {
        plant.until_assigned(&device.name, &json!("turbine/2"));
        device.runs(&new).await;
    }
    plant.until(id, "standing");
    assert_eq!(plant.ask("DELETE", "/api/v1/devices/a-2", &Value::Null).status, 204);
    let mut again = plant.device("a-2").await;
    plant.until_assigned("a-2", &json!("turbine/2"));
    again.runs(&new).await;
    plant.until_member(id, "a-2", "committed");
    assert_eq!(plant.server.get(&format!("/api/v1/rollouts/{id}")).json()["status"], "standing");
}

#[tokio::test]
async fn what_is_asked_wrongly_is_told_in_words() {
    let (plant, _devices) = Plant::with(&["a-1"]).await;
    let mut plan = Plant::plan(one_then_all());
    plan["slot"] = json!("Turbine One");
    assert!(plant.ask("POST", "/api/v1/rollouts", &plan).error(400).starts_with("slot: "));
    let id = plant.begin(&Plant::plan(one_then_all()));
    let path = format!("/api/v1/rollouts/{id}/devices?state=bogus");
    assert!(plant.server.get(&path).error(400).contains("\"bogus\" is none: waiting"));
}

/// The plan of the documentation, with what is commented out in it.
fn documented() -> Value {
    let text = include_str!("../../../docs/rollout.toml");
    let lines = text.lines().map(|line| match line.strip_prefix("# ") {
        Some(code) if code.contains(" = ") => code,
        _ => line,
    });
    let plan: toml::Table = lines.collect::<Vec<_>>().join("\n").parse().unwrap();
    serde_json::to_value(plan).unwrap()
}

#[tokio::test]
async fn the_plan_of_the_documentation_has_every_key_and_is_one() {
    let (plant, _devices) = Plant::with(&["a-1"]).await;
    let mut plan = documented();
    let schemas = plant.server.get("/api/v1/openapi.json").json()["components"]["schemas"].clone();
    let has_all = |part: &Value, schema: &str, but: &[&str]| {
        for key in schemas[schema]["properties"].as_object().unwrap().keys() {
            assert!(!part[key].is_null() || but.contains(&key.as_str()), "{schema}: {key}");
        }
    };
    has_all(&plan, "NewRollout", &["by"]);
    has_all(&plan["selector"], "Selector", &[]);
    // What is left out there is named in docs/rollouts.md.
    let but = ["beyond_share_max", "devices_min", "rolled_back_share_max"];
    has_all(&plan["waves"][1]["gate"], "Gate", &but);
    let page = include_str!("../../../docs/rollouts.md");
    assert!(but.iter().all(|key| page.contains(&format!("`{key}`"))));
    // The command line writes windows in minutes.
    plan["windows"] = json!([{ "from": 1320, "to": 1740 }]);
    let ahead = plant.ask("POST", "/api/v1/rollouts/preflight", &plan);
    assert_eq!(ahead.status, 200, "{}", ahead.text());
}
