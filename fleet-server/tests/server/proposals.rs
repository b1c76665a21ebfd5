//! What rules want to be assigned or trained, and rules that look at several devices.

use crate::alerts::{fired_of, hour_of};
use crate::books::change;
use crate::channels::{SECRET, hook, listener, start, webhook};
use crate::mqtt::Client;
use crate::running::{As, PATIENCE, Running};
use crate::signers::Signers;
use crate::telemetry::tell;
use crate::tuf::site_policy;
use lineside_bundle::ReleaseId;
use lineside_wire::envelope::encode;
use lineside_wire::v1::{ReleaseRef, SlotStatus, Status, phase};
use serde_json::{Value, json};
use time::OffsetDateTime;

/// A policy with the rule `high` of slot `turbine`: the median of the score is at most 1.
pub fn policy(scope: &str, then: Value) -> Vec<u8> {
    let rule = json!({
        "signal": "median", "output": "score", "within": [0.0, 1.0], "hours": 1, "scope": scope, "then": then,
    });
    json!({ "slots": { "turbine": { "rules": { "high": rule } } } }).to_string().into_bytes()
}

fn named(id: &ReleaseId) -> ReleaseRef {
    let digest = id.digest.bytes();
    ReleaseRef { name: id.name.to_string(), version: id.version.to_string(), digest }
}

/// A server with two releases, a policy, and devices that say which of them they run.
struct Plant {
    server: Running,
    signers: Signers,
    releases: [ReleaseId; 2],
    data: tempfile::TempDir,
}

impl Plant {
    fn new(settings: &str, policy: &[u8]) -> Plant {
        let data = tempfile::tempdir().unwrap();
        let server = start(data.path(), settings);
        let signers = Signers::enrolled(&server);
        let releases = ["1", "2"].map(|version| signers.release(&server, version));
        site_policy(&server, &signers, "hill", policy);
        Plant { server, signers, releases, data }
    }

    /// A device of the site that runs the `at`th release in its slot, which is assigned to it after those
    /// before it.
    async fn device(&self, name: &str, at: usize) -> Client {
        let password = self.server.add_device(name);
        for release in &self.releases[..=at] {
            let path = format!("turbine/{}", release.version);
            assert_eq!(self.server.assign(name, "turbine", &path).status, 200);
        }
        let mut device = Client::device(&self.server, name, &password).await;
        let slot = SlotStatus {
            slot: "turbine".into(),
            active: Some(named(&self.releases[at])),
            previous: None,
            candidate: None,
            phase: phase::IDLE,
            note: String::new(),
            trouble: String::new(),
            floor: 0,
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
            wall_clock_unix_ms: 0,
        };
        let topic = format!("lineside/v1/{name}/up/status");
        device.publish(&topic, encode(&status).unwrap()).await;
        device
    }

    fn assigned(&self, device: &str) -> Value {
        let shown = self.server.get(&format!("/api/v1/devices/{device}")).json();
        shown["slots"]["turbine"]["assigned"].clone()
    }

    fn decide(&self, decision: &str) -> crate::running::Reply {
        let path = format!("/api/v1/alerts/1/{decision}");
        self.server.ask("POST", &path, As::Administrator, b"{\"by\":\"anna\"}")
    }
}

#[tokio::test]
async fn what_a_rule_proposes_waits_for_a_person_and_is_assigned_once_he_approves_it() {
    let plant = Plant::new("", &policy("device", json!({ "assign": "turbine/2" })));
    let mut device = plant.device("line-3", 0).await;
    let fires = fired_of(named(&plant.releases[0]), 1, 0, "high", 10);
    tell(&mut device, "line-3", vec![fires]).await;
    let proposal = plant.server.get("/api/v1/alerts/1").json()["proposal"].clone();
    assert_eq!((&proposal["state"], &proposal["release"]), (&"asked".into(), &"turbine/2".into()));
    let policy = proposal["policy"].as_str().unwrap();
    assert!(policy.starts_with("rule high of the policy of site hill, sha256:"), "{policy}");
    assert_eq!(plant.assigned("line-3"), "turbine/1");
    let attention = plant.server.get("/api/v1/devices/line-3").json()["attention"].to_string();
    assert!(attention.contains("lineside alerts approve 1"), "{attention}");
    assert!(plant.server.page("/").contains("lineside alerts approve 1"));

    let approved = plant.decide("approve").json()["proposal"].clone();
    assert_eq!((&approved["state"], &approved["decided_by"]), (&"done".into(), &"anna".into()));
    assert_eq!(approved["text"], "assigned turbine/2 to line-3");
    assert_eq!(plant.assigned("line-3"), "turbine/2");
    assert!(plant.decide("approve").error(409).contains("nobody is asked about alert 1"));
}

#[tokio::test]
async fn what_a_person_declines_is_not_assigned() {
    let plant = Plant::new("", &policy("device", json!({ "assign": "turbine/2" })));
    let mut device = plant.device("line-3", 0).await;
    let fires = fired_of(named(&plant.releases[0]), 1, 0, "high", 10);
    tell(&mut device, "line-3", vec![fires]).await;
    let declined = plant.decide("decline").json()["proposal"].clone();
    assert_eq!((&declined["state"], &declined["decided_by"]), (&"declined".into(), &"anna".into()));
    assert_eq!(plant.decide("approve").status, 409);
    assert_eq!(plant.assigned("line-3"), "turbine/1");
}

#[tokio::test]
async fn a_rule_that_need_not_ask_goes_back_to_what_ran_before_and_says_who_has_done_so() {
    let plant = Plant::new("", &policy("device", json!({ "roll_back": true, "ask": false })));
    let mut device = plant.device("line-3", 1).await;
    let fires = fired_of(named(&plant.releases[1]), 1, 0, "high", 10);
    tell(&mut device, "line-3", vec![fires]).await;
    let is_done = |shown: &Value| shown["proposal"]["state"] == "done";
    let proposal = plant.server.wait_for("/api/v1/alerts/1", is_done)["proposal"].clone();
    assert_eq!((&proposal["release"], &proposal["decided_by"]), (&Value::Null, &Value::Null));
    assert_eq!(proposal["text"], "assigned turbine/1 to line-3");
    assert_eq!(plant.assigned("line-3"), "turbine/1");
}

#[tokio::test]
async fn where_people_have_assigned_something_else_since_a_rule_changes_nothing() {
    let plant = Plant::new("", &policy("device", json!({ "roll_back": true, "ask": false })));
    let mut device = plant.device("line-3", 0).await;
    plant.server.assign("line-3", "turbine", "turbine/2");
    let fires = fired_of(named(&plant.releases[0]), 1, 0, "high", 10);
    tell(&mut device, "line-3", vec![fires]).await;
    let has_failed = |shown: &Value| shown["proposal"]["state"] == "failed";
    let shown = plant.server.wait_for("/api/v1/alerts/1", has_failed);
    let text = shown["proposal"]["text"].as_str().unwrap();
    assert!(text.contains("turbine/2 is assigned there since"), "{text}");
    assert_eq!(plant.assigned("line-3"), "turbine/2");
}

#[tokio::test]
async fn a_training_is_asked_for_with_what_was_measured_and_only_those_who_are_named_are_told() {
    let ((train, port), (people, other)) = (listener(), listener());
    let (training, told) = (hook(train, SECRET), hook(people, SECRET));
    let settings =
        format!("{}{}", webhook("training", port, "retrain = true"), webhook("people", other, ""));
    let then = json!({ "retrain": true, "notify": ["people", "nobody"] });
    let plant = Plant::new(&settings, &policy("device", then));
    let mut device = plant.device("line-3", 0).await;
    let release = named(&plant.releases[0]);
    let fires = fired_of(release.clone(), 1, 0, "high", 10);
    tell(&mut device, "line-3", vec![fires]).await;
    assert_eq!(told.recv_timeout(PATIENCE).unwrap().json()["action"], "fired");
    // The intervals come after the alert, as devices send them.
    tell(&mut device, "line-3", vec![hour_of(release, 1, 1, 1, 1.25)]).await;
    let message = training.recv_timeout(PATIENCE).unwrap().json();
    assert_eq!(message["action"], "retrain");
    let data = &message["data"];
    assert_eq!((&data["bundle"], &data["version"]), (&"turbine".into(), &"1".into()));
    assert_eq!(data["digest"], plant.releases[0].digest.to_string());
    assert_eq!(data["evidence"]["outputs"]["score"]["values"], 30);
    let deliveries = plant.server.get("/api/v1/alerts/1").json()["deliveries"].clone();
    let nobody = deliveries.as_array().unwrap().iter().find(|one| one["channel"] == "nobody");
    let trouble = nobody.unwrap()["trouble"].as_str().unwrap().to_owned();
    assert!(trouble.contains("no channel of this name"), "{trouble}");
    assert_eq!(deliveries.as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn a_device_cannot_say_that_a_rule_fires_that_is_judged_here() {
    let then = json!({ "assign": "turbine/2", "ask": false });
    let plant = Plant::new("", &policy("site", then));
    let mut device = plant.device("line-3", 0).await;
    let fires = fired_of(named(&plant.releases[0]), 1, 0, "high", 10);
    tell(&mut device, "line-3", vec![fires]).await;
    let shown = plant.server.get("/api/v1/alerts/1").json();
    assert_eq!((&shown["scope"], &shown["proposal"]), (&"device".into(), &Value::Null));
}

#[tokio::test]
async fn a_rule_of_a_site_judges_its_devices_together_and_acts_on_all_of_them() {
    let then = json!({ "assign": "turbine/2", "ask": false });
    let plant = Plant::new("", &policy("site", then));
    let release = || named(&plant.releases[0]);
    let (mut one, mut other) = (plant.device("line-1", 0).await, plant.device("line-2", 0).await);
    // Alone each would be well half of the time; together their median is high for two hours in a row.
    for hour in 0_i64..4 {
        let sequence = hour.unsigned_abs();
        for _ in 0..2 {
            tell(&mut one, "line-1", vec![hour_of(release(), 1, sequence, hour, 1.5)]).await;
            tell(&mut other, "line-2", vec![hour_of(release(), 1, sequence, hour, 1.25)]).await;
        }
    }
    let is_done = |shown: &Value| shown[0]["proposal"]["state"] == "done";
    let shown = plant.server.wait_for("/api/v1/alerts", is_done);
    assert_eq!(shown.as_array().unwrap().len(), 1, "{shown}");
    let alert = &shown[0];
    assert_eq!((&alert["scope"], &alert["site"]), (&"site".into(), &"hill".into()));
    assert_eq!((&alert["rule"], &alert["device"]), (&"high".into(), &Value::Null));
    assert_eq!(alert["proposal"]["text"], "assigned turbine/2 to line-1, turbine/2 to line-2");
    for device in ["line-1", "line-2"] {
        assert_eq!(plant.assigned(device), "turbine/2");
    }
    assert!(plant.server.page("/").contains("site hill"));
    let evidence = plant.server.get("/api/v1/alerts/1").json()["evidence"].clone();
    assert!(evidence["outputs"]["score"]["values"].as_u64() >= Some(60), "{evidence}");
}

#[tokio::test]
async fn rules_of_a_site_do_not_judge_what_was_never_assigned_to_a_device() {
    let plant = Plant::new("", &policy("site", json!({ "assign": "turbine/2" })));
    let mut device = plant.device("line-1", 0).await;
    let [own, other] = plant.releases.each_ref().map(named);
    // Released, and invented.
    let invented = ReleaseRef { digest: [9; 32], ..own.clone() };
    for (boot, release) in [(1, other), (2, invented)] {
        for hour in 0_i64..4 {
            let interval = hour_of(release.clone(), boot, hour.unsigned_abs(), hour, 1.5);
            tell(&mut device, "line-1", vec![interval]).await;
        }
    }
    assert_eq!(plant.server.get("/api/v1/alerts").json(), json!([]));
    // In one message, too, each interval is judged.
    let hours = (0_i64..4).map(|hour| hour_of(own.clone(), 3, hour.unsigned_abs(), hour, 1.5));
    tell(&mut device, "line-1", hours.collect()).await;
    assert_eq!(plant.server.get("/api/v1/alerts").json()[0]["scope"], "site");
}

/// Tells hours of a release, one message each, in which the score was high.
async fn tell_high(device: &mut Client, name: &str, release: &ReleaseRef, boot: u64) {
    for hour in 0_i64..4 {
        let interval = hour_of(release.clone(), boot, hour.unsigned_abs(), hour, 1.5);
        tell(device, name, vec![interval]).await;
    }
}

#[tokio::test]
async fn a_rule_of_the_fleet_judges_every_site_and_waits_for_a_person() {
    let plant = Plant::new("", &policy("fleet", json!({ "assign": "turbine/2" })));
    let elsewhere = json!({ "name": "line-9", "site": "valley" }).to_string();
    let reply =
        plant.server.ask("POST", "/api/v1/devices", As::Administrator, elsewhere.as_bytes());
    let password = reply.json()["password"].as_str().unwrap().to_owned();
    assert_eq!(plant.server.assign("line-9", "turbine", "turbine/1").status, 200);
    let mut other = Client::device(&plant.server, "line-9", &password).await;
    let mut one = plant.device("line-1", 0).await;
    let release = named(&plant.releases[0]);
    for hour in 0_i64..4 {
        let at = hour.unsigned_abs();
        tell(&mut one, "line-1", vec![hour_of(release.clone(), 1, at, hour, 1.5)]).await;
        tell(&mut other, "line-9", vec![hour_of(release.clone(), 1, at, hour, 1.25)]).await;
    }
    let shown = plant.server.get("/api/v1/alerts").json();
    assert_eq!(shown.as_array().unwrap().len(), 1, "{shown}");
    assert_eq!((&shown[0]["scope"], &shown[0]["device"]), (&"fleet".into(), &Value::Null));
    assert_eq!(shown[0]["proposal"]["state"], "asked");
    let evidence = plant.server.get("/api/v1/alerts/1").json()["evidence"].clone();
    assert!(evidence["outputs"]["score"]["values"].as_u64() >= Some(60), "{evidence}");
}

#[tokio::test]
async fn rules_go_on_where_the_list_that_vouches_for_them_is_past_its_date() {
    let plant = Plant::new("", &policy("site", json!({ "assign": "turbine/2" })));
    let mut device = plant.device("line-1", 0).await;
    let soon = OffsetDateTime::now_utc() + time::Duration::seconds(2);
    let list = plant.signers.draft(&plant.server).sign(soon, &[&plant.signers.release]);
    assert_eq!(plant.server.put("/api/v1/releases", &list).status, 200);
    while OffsetDateTime::now_utc() <= soon {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    assert!(plant.server.assign("line-1", "turbine", "turbine/2").error(422).contains("expired"));
    tell_high(&mut device, "line-1", &named(&plant.releases[0]), 1).await;
    assert_eq!(plant.server.get("/api/v1/alerts").json()[0]["scope"], "site");
}

#[tokio::test]
async fn what_fires_of_a_release_that_nobody_has_run_for_a_week_is_over() {
    let plant = Plant::new("", &policy("site", json!({ "assign": "turbine/2" })));
    let [first, second] = plant.releases.each_ref().map(named);
    let mut device = plant.device("line-1", 0).await;
    tell_high(&mut device, "line-1", &first, 1).await;
    assert_eq!(plant.server.assign("line-1", "turbine", "turbine/2").status, 200);
    let is_over = |server: &Running| !server.get("/api/v1/alerts/1").json()["over"].is_null();
    assert!(!is_over(&plant.server));
    let Plant { server, data, .. } = plant;
    server.kill();
    let folder = data.path().join("data");
    change(&folder, "UPDATE monitor SET heard_unix_ms = heard_unix_ms - 604800001").await;
    let server = Running::start(&folder);
    let path = "/api/v1/devices/line-1/password";
    let reply = server.ask("POST", path, As::Administrator, b"").json();
    let password = reply["password"].as_str().unwrap().to_owned();
    let mut device = Client::device(&server, "line-1", &password).await;
    tell(&mut device, "line-1", vec![hour_of(second, 2, 0, 9, 0.5)]).await;
    assert!(is_over(&server));
}
