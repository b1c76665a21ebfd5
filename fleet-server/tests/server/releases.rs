//! Signed documents: what is taken, what is refused, what reaches a device.

use crate::books::change;
use crate::mqtt::Client;
use crate::running::{As, Running};
use crate::signers::{Signers, artifact, in_a_year, key};
use crate::tuf::delegate;
use lineside_bundle::ReleaseId;
use lineside_trust::repository::{self, Carried, InMemory};
use lineside_trust::{
    KeyPair, ReleasesDraft, Root, TargetsSpec, VERSION_MAX, agree, sign_root, sign_targets,
    verify_assignment, verify_releases,
};
use lineside_wire::envelope::{decode, encode};
use lineside_wire::v1::{Documents, ReleaseRef, Remind, SlotStatus, Status, phase};
use std::collections::BTreeMap;
use time::{Duration, OffsetDateTime};

/// A status of a device whose timestamp is as new as can be.
fn status(assignment_version: u64, releases_version: u64, root_version: u64) -> Vec<u8> {
    status_with(assignment_version, releases_version, root_version, VERSION_MAX)
}

fn status_with(
    assignment_version: u64,
    releases_version: u64,
    root_version: u64,
    timestamp_version: u64,
) -> Vec<u8> {
    let status = Status {
        boot: 1,
        agent_version: "0.1.0".into(),
        slots: Vec::new(),
        assignment_version,
        releases_version,
        root_version,
        timestamp_version,
        wall_clock_unix_ms: 0,
    };
    encode(&status).unwrap()
}

#[test]
fn a_root_is_taken_if_it_names_this_server_and_follows_the_last() {
    let data = tempfile::tempdir().unwrap();
    let server = Running::start(data.path());
    assert!(server.get("/api/v1/root").error(404).contains("lineside keys new"));
    let mut signers = Signers::new(&server);

    let mut foreign = signers.spec.clone();
    foreign.director = key().public();
    let error = server.put_root(&sign_root(&foreign, &[&signers.root])).error(422);
    assert!(error.contains("director"), "{error}");
    let unsigned = server.put_root(&sign_root(&signers.spec, &[])).error(422);
    assert!(unsigned.contains("signed"), "{unsigned}");
    let stranger = server.put_root(&sign_root(&signers.spec, &[&key()])).error(422);
    assert!(stranger.contains("signed"), "{stranger}");
    assert!(server.put_root(b"{}").error(422).contains("root"));

    let first = signers.root_bytes();
    assert_eq!(server.put_root(&first).json()["version"], 1);
    assert_eq!(server.put_root(&first).json()["version"], 1, "the same again");
    signers.spec.version = 3;
    assert!(server.put_root(&signers.root_bytes()).error(422).contains("version 3"));
    signers.spec.version = 2;
    assert_eq!(server.put_root(&signers.root_bytes()).json()["version"], 2);
    assert_eq!(server.get("/api/v1/root?version=1").body, first);
    assert_eq!(server.get("/api/v1/root").body, signers.root_bytes());
}

#[test]
fn releases_are_taken_only_if_signed_and_complete() {
    let data = tempfile::tempdir().unwrap();
    let server = Running::start(data.path());
    let early = server.put("/api/v1/releases", b"{}").error(409);
    assert!(early.contains("lineside keys new"), "{early}");
    let signers = Signers::enrolled(&server);
    let bundle = artifact("turbine", "1");
    let list = signers.releases(&server, std::slice::from_ref(&bundle.id), &[&signers.release]);

    let error = server.put("/api/v1/releases", &list).error(422);
    assert!(error.contains(&bundle.id.digest.to_string()), "{error}");
    bundle.push(&server);
    let ids = std::slice::from_ref(&bundle.id);
    for keys in [vec![], vec![key()]] {
        let list = signers.releases(&server, ids, &keys.iter().collect::<Vec<_>>());
        let error = server.put("/api/v1/releases", &list).error(422);
        assert!(error.contains("list of releases is not signed"), "{error}");
    }
    let mut damaged = list.clone();
    let at = damaged.windows(6).position(|part| part == b"turbin").unwrap();
    damaged[at] = b'T';
    assert_eq!(server.put("/api/v1/releases", &damaged).status, 422);
    let root = signers.root_bytes();
    assert_eq!(server.put("/api/v1/releases", &root).status, 422, "a root is no list of releases");
    let mut lying = bundle.id.clone();
    lying.size += 1;
    let lie = signers.releases(&server, &[lying], &[&signers.release]);
    assert!(server.put("/api/v1/releases", &lie).error(422).contains("bytes"));

    assert_eq!(server.put("/api/v1/releases", &list).json()["version"], 1);
    assert_eq!(server.put("/api/v1/releases", &list).json()["version"], 1, "the same again");
    assert_eq!(server.get("/api/v1/releases").body, list);
    signers.release(&server, "2");
    let older = server.put("/api/v1/releases", &list).error(422);
    assert!(older.contains("older"), "{older}");
}

#[test]
fn only_what_is_released_can_be_assigned() {
    let data = tempfile::tempdir().unwrap();
    let server = Running::start(data.path());
    let signers = Signers::enrolled(&server);
    server.add_device("line-3");
    let early = server.assign("line-3", "turbine", "turbine/1").error(404);
    assert!(early.contains("lineside release"), "{early}");
    let id = signers.release(&server, "1");
    let unknown = server.assign("line-3", "turbine", "turbine/9").error(404);
    assert!(unknown.contains("turbine/9") && unknown.contains("turbine/1"), "{unknown}");
    assert!(server.assign("line-9", "turbine", "turbine/1").error(404).contains("line-9"));
    assert!(server.assign("line-3", "no%20slot", "turbine/1").status == 400);
    let nothing = server.get("/api/v1/devices/line-3/documents").error(404);
    assert!(nothing.contains("lineside assign"), "{nothing}");

    assert_eq!(server.assign("line-3", "turbine", "turbine/1").json()["version"], 1);
    assert_eq!(server.assign("line-3", "spare", "turbine/1").json()["version"], 2);
    let shown = server.get("/api/v1/devices/line-3").json();
    assert_eq!(shown["slots"]["turbine"]["assigned"], "turbine/1");
    assert_eq!(shown["assignment_version"], 2);

    // What is carried to the device by hand is what the device will accept.
    let documents = server.get("/api/v1/devices/line-3/documents").json();
    let text = |value: &serde_json::Value| value.as_str().unwrap().as_bytes().to_vec();
    let root = Root::pin(&text(&documents["metadata"]["1.root.json"])).unwrap();
    let now = OffsetDateTime::now_utc();
    let metadata = documents["metadata"].as_object().unwrap();
    let metadata: Carried =
        metadata.iter().map(|(name, value)| (name.clone(), text(value))).collect();
    let mut repository =
        repository::Client::new(root.bytes(), metadata, InMemory::default()).unwrap();
    repository.refresh(now).unwrap();
    let device = "line-3".parse().unwrap();
    let assignment = text(&documents["assignment"]);
    let assignment = verify_assignment(&root, &assignment, &device, None, now).unwrap();
    let targets = agree(&mut repository, &assignment, now).unwrap();
    assert_eq!(targets.len(), 2);
    assert!(targets.iter().all(|target| *target.release() == id));
}

#[tokio::test]
async fn a_device_is_sent_what_it_lacks_and_nothing_else() {
    let data = tempfile::tempdir().unwrap();
    let server = Running::start(data.path());
    let mut signers = Signers::enrolled(&server);
    signers.release(&server, "1");
    let password = server.add_device("line-3");
    let mut device = Client::device(&server, "line-3", &password).await;
    let topic = "lineside/v1/line-3/up/status";

    // At once, because it is there.
    server.assign("line-3", "turbine", "turbine/1");
    let sent: Documents = decode(&device.receive("down/assignment").await).unwrap();
    let documents = server.get("/api/v1/devices/line-3/documents").json();
    assert_eq!(roots(&sent), Vec::<Vec<u8>>::new());
    for (name, bytes) in &sent.metadata {
        assert_eq!(*bytes, documents["metadata"][name].as_str().unwrap().as_bytes(), "{name}");
    }
    assert_eq!(documents["metadata"].as_object().unwrap().len(), sent.metadata.len() + 1);
    assert_eq!(sent.assignment, documents["assignment"].as_str().unwrap().as_bytes());
    drop(device);

    // While it is away a root, a release and an assignment come; it gets them when it is back.
    signers.spec.version = 2;
    server.put_root(&signers.root_bytes());
    signers.release(&server, "2");
    server.assign("line-3", "turbine", "turbine/2");
    let mut device = Client::device(&server, "line-3", &password).await;
    device.publish(topic, status(1, 1, 1)).await;
    let sent: Documents = decode(&device.receive("down/assignment").await).unwrap();
    assert_eq!(roots(&sent), [signers.root_bytes()]);
    assert!(String::from_utf8_lossy(&sent.assignment).contains("turbine/2"));

    // It has all of it now, so the next thing it hears is the next assignment.
    device.publish(topic, status(2, 2, 2)).await;
    server.wait_for("/api/v1/devices/line-3", |shown| shown["assignment_accepted"] == 2);
    server.assign("line-3", "turbine", "turbine/1");
    let sent: Documents = decode(&device.receive("down/assignment").await).unwrap();
    assert_eq!(roots(&sent), Vec::<Vec<u8>>::new());
    assert!(String::from_utf8_lossy(&sent.assignment).contains("\"version\":3"));

    // A timestamp that was signed anew is news as well: without it, nothing would be taken some day.
    device.publish(topic, status_with(3, 2, 2, 1)).await;
    let sent: Documents = decode(&device.receive("down/assignment").await).unwrap();
    assert!(sent.metadata.iter().any(|(name, _)| name == "timestamp.json"));
}

#[tokio::test]
async fn a_device_hears_of_a_vendor_what_becomes_of_all_that_it_holds_of_him() {
    let data = tempfile::tempdir().unwrap();
    let server = Running::start(data.path());
    let signers = Signers::enrolled(&server);
    signers.release(&server, "1");
    let vendors = [("acme", key()), ("bolt", key()), ("none", key())];
    let paths = ["pump/*", "fan/*", "valve/*"];
    let roles: Vec<_> =
        vendors.iter().zip(paths).map(|((name, key), path)| (*name, key, path)).collect();
    delegate(&server, &signers, &roles);
    let publish = |(role, key, _): (&str, &KeyPair, &str), version, bundles: &[&str]| {
        let mut draft = ReleasesDraft::after(None);
        let artifacts = bundles.iter().map(|bundle| artifact(bundle, "1"));
        let files = artifacts.map(|one| {
            one.push(&server);
            draft.add(one.id.clone(), None).unwrap();
            one.id
        });
        let ids: Vec<_> = files.collect();
        let list = match version {
            1 => draft.sign(in_a_year(), &[key]),
            version => {
                let (expires, delegations) = (in_a_year(), Vec::new());
                let spec = TargetsSpec { version, expires, files: BTreeMap::new(), delegations };
                sign_targets(&spec, &[key])
            }
        };
        let reply = server.put(&format!("/api/v1/targets/{role}"), &list);
        assert_eq!(reply.status, 200, "{}", reply.text());
        ids
    };
    let pump = publish(roles[0], 1, &["pump"]).remove(0);
    let fan = publish(roles[1], 1, &["fan"]).remove(0);
    publish(roles[2], 1, &["valve"]);
    let password = server.add_device("line-3");
    server.assign("line-3", "turbine", "turbine/1");
    let of_roles = |sent: &Documents| -> Vec<String> {
        let names = sent.metadata.iter().map(|(name, _)| name.clone());
        let is_of_one =
            |name: &String| ["acme", "bolt", "none"].iter().any(|role| name.contains(role));
        names.filter(is_of_one).collect()
    };

    let mut device = Client::device(&server, "line-3", &password).await;
    let named = |id: &ReleaseId| {
        let (name, version) = (id.name.to_string(), id.version.to_string());
        Some(ReleaseRef { name, version, digest: id.digest.bytes() })
    };
    let slot = SlotStatus {
        slot: "turbine".into(),
        active: named(&fan),
        previous: named(&pump),
        candidate: None,
        phase: phase::IDLE,
        note: String::new(),
        trouble: String::new(),
        floor: 0,
        hold: None,
        hold_left_seconds: None,
        deadline_left_seconds: None,
    };
    let mut holds: Status = decode(&status_with(1, 2, 1, 1)).unwrap();
    holds.slots.push(slot);
    device.publish("lineside/v1/line-3/up/status", encode(&holds).unwrap()).await;
    let sent: Documents = decode(&device.receive("down/assignment").await).unwrap();
    assert_eq!(of_roles(&sent), ["1.acme.json", "1.bolt.json"]);
    // He withdraws it, and it is told at once though nothing of his is assigned.
    publish(roles[0], 2, &[]);
    let sent: Documents = decode(&device.receive("down/assignment").await).unwrap();
    assert_eq!(of_roles(&sent), ["2.acme.json", "1.bolt.json"]);
    // So it is in a file that is carried to it.
    let carried = server.get("/api/v1/devices/line-3/documents").json();
    assert!(carried["metadata"]["2.acme.json"].is_string(), "{carried}");
}

fn roots(sent: &Documents) -> Vec<Vec<u8>> {
    let roots = sent.metadata.iter().filter(|(name, _)| name.ends_with(".root.json"));
    roots.map(|(_, bytes)| bytes.clone()).collect()
}

#[tokio::test]
async fn a_device_that_holds_a_newer_assignment_than_was_signed_here_is_asked_for_it() {
    let data = tempfile::tempdir().unwrap();
    let server = Running::start(data.path());
    let signers = Signers::enrolled(&server);
    signers.release(&server, "1");
    let password = server.add_device("line-3");
    assert_eq!(server.assign("line-3", "turbine", "turbine/1").json()["version"], 1);
    let mut device = Client::device(&server, "line-3", &password).await;
    let topic = "lineside/v1/line-3/up/status";

    // As after this server was restored from a copy.
    device.publish(topic, status(9, 1, 1)).await;
    let asked: Remind = decode(&device.receive("down/remind").await).unwrap();
    assert_eq!(asked.known_version, 1);
    // It says nothing, and a person what it shall hold: with a number that it accepts.
    assert_eq!(server.assign("line-3", "turbine", "turbine/1").json()["version"], 10);
    device.publish(topic, status(20, 1, 1)).await;
    let asked: Remind = decode(&device.receive("down/remind").await).unwrap();
    assert_eq!(asked.known_version, 10);
    assert_eq!(server.assign("line-3", "spare", "turbine/1").json()["version"], 21);

    // A number that no server counts to is a lie, and is not followed.
    device.publish(topic, status(u64::MAX, 1, 1)).await;
    let shown = server.wait_for("/api/v1/devices/line-3", |shown| {
        shown["assignment_accepted"].as_u64() > Some(1 << 40)
    });
    let attention = shown["attention"].to_string();
    assert!(attention.contains("restored from a copy"), "{attention}");
    assert_eq!(server.assign("line-3", "spare", "turbine/1").json()["version"], 22);
}

#[test]
fn after_the_release_keys_were_replaced_the_list_is_given_and_signed_anew() {
    let data = tempfile::tempdir().unwrap();
    let server = Running::start(data.path());
    let mut signers = Signers::enrolled(&server);
    let first = signers.release(&server, "1");
    server.add_device("line-3");
    server.assign("line-3", "turbine", "turbine/1");
    let before = Root::pin(&signers.root_bytes()).unwrap();
    let list = server.get("/api/v1/releases").body;

    signers.release = key();
    signers.spec.version = 2;
    signers.spec.releases = (vec![signers.release.public()], 1);
    assert_eq!(server.put_root(&signers.root_bytes()).status, 200);
    assert_eq!(server.get("/api/v1/releases").body, list, "byte for byte as it was signed");
    let error = server.assign("line-3", "turbine", "turbine/1").error(422);
    assert!(error.contains("not signed"), "{error}");
    let page = server.page("/releases");
    assert!(page.contains("install nothing new") && page.contains("lineside release"), "{page}");

    // Who saw the list before begins with it.
    let trusted = verify_releases(&before, &list, None, OffsetDateTime::now_utc()).unwrap();
    let second = artifact("turbine", "2");
    second.push(&server);
    let mut draft = ReleasesDraft::after(Some(&trusted));
    draft.add(second.id.clone(), None).unwrap();
    let anew = draft.sign(in_a_year(), &[&signers.release]);
    assert_eq!(server.put("/api/v1/releases", &anew).json()["version"], 2);
    for release in ["turbine/1", "turbine/2"] {
        assert_eq!(server.assign("line-3", "turbine", release).status, 200, "{release}");
    }
    let page = server.page("/releases");
    assert!(page.contains(&first.to_string()) && !page.contains("install nothing new"), "{page}");
}

#[test]
fn an_assignment_of_what_is_no_longer_released_ends_and_hinders_no_other() {
    let data = tempfile::tempdir().unwrap();
    let server = Running::start(data.path());
    let signers = Signers::enrolled(&server);
    let unassign = |slot: &str| {
        let path = format!("/api/v1/devices/line-3/slots/{slot}");
        server.ask("DELETE", &path, As::Administrator, b"")
    };
    server.add_device("line-3");
    signers.release(&server, "1");
    let second = signers.release(&server, "2");
    server.assign("line-3", "a", "turbine/1");
    server.assign("line-3", "b", "turbine/1");
    server.assign("line-3", "c", "turbine/2");
    assert_eq!(unassign("c").json()["release"], serde_json::Value::Null);
    assert!(unassign("c").error(404).contains("slot c"));
    assert_eq!(server.assign("line-3", "c", "turbine/2").json()["version"], 5);

    // The next list has the second release only.
    let root = Root::pin(&signers.root_bytes()).unwrap();
    let list = server.get("/api/v1/releases").body;
    let now = OffsetDateTime::now_utc();
    let version = verify_releases(&root, &list, None, now).unwrap().seen().version;
    let empty = ReleasesDraft::after(None).sign(in_a_year(), &[&signers.release]);
    let mut trusted = verify_releases(&root, &empty, None, now).unwrap();
    while trusted.seen().version < version {
        let next = ReleasesDraft::after(Some(&trusted)).sign(in_a_year(), &[&signers.release]);
        trusted = verify_releases(&root, &next, None, now).unwrap();
    }
    let mut draft = ReleasesDraft::after(Some(&trusted));
    draft.add(second, None).unwrap();
    let next = draft.sign(in_a_year(), &[&signers.release]);
    assert_eq!(server.put("/api/v1/releases", &next).status, 200);

    let gone = server.assign("line-3", "c", "turbine/1").error(404);
    assert!(gone.contains("turbine/1") && gone.contains("turbine/2"), "{gone}");
    let assigned = server.assign("line-3", "d", "turbine/2").json();
    let expected = serde_json::json!({ "a": "turbine/1", "b": "turbine/1" });
    assert_eq!((&assigned["version"], &assigned["withdrawn"]), (&6.into(), &expected));
    let slots = server.get("/api/v1/devices/line-3").json()["slots"].clone();
    let slots: Vec<&String> = slots.as_object().unwrap().keys().collect();
    assert_eq!(slots, ["c", "d"]);
    assert_eq!(server.get("/api/v1/devices/line-3/documents").status, 200);
    for slot in ["c", "d"] {
        assert_eq!(unassign(slot).status, 200);
    }
    assert_eq!(server.get("/api/v1/devices/line-3").json()["slots"], serde_json::json!({}));
}

#[test]
fn a_list_past_its_date_is_shown_and_assigns_nothing() {
    let data = tempfile::tempdir().unwrap();
    let server = Running::start(data.path());
    let signers = Signers::enrolled(&server);
    let bundle = artifact("turbine", "1");
    bundle.push(&server);
    server.add_device("line-3");
    let mut draft = ReleasesDraft::after(None);
    draft.add(bundle.id, None).unwrap();
    let expired = draft.sign(OffsetDateTime::now_utc() - Duration::days(1), &[&signers.release]);
    assert!(server.put("/api/v1/releases", &expired).error(422).contains("expired"));
    // A list that is good when it comes and not for long; on a slow machine a little longer.
    let accepted = [2, 10, 60].into_iter().find_map(|seconds| {
        let soon = OffsetDateTime::now_utc() + Duration::seconds(seconds);
        let list = draft.sign(soon, &[&signers.release]);
        (server.put("/api/v1/releases", &list).status == 200).then_some((list, soon))
    });
    let (list, soon) = accepted.unwrap();
    while OffsetDateTime::now_utc() <= soon {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    assert!(server.assign("line-3", "turbine", "turbine/1").error(422).contains("expired"));
    assert_eq!(server.get("/api/v1/releases").body, list);
    let page = server.page("/releases");
    assert!(page.contains("turbine v1") && page.contains("install nothing new"), "{page}");
}

#[tokio::test]
async fn an_assignment_is_signed_anew_a_week_before_it_expires() {
    let data = tempfile::tempdir().unwrap();
    let mut server = Running::start(data.path());
    let signers = Signers::enrolled(&server);
    signers.release(&server, "1");
    server.add_device("line-3");
    server.assign("line-3", "turbine", "turbine/1");
    for (days_left, version) in [(8, 1), (6, 2)] {
        server.kill();
        let expires = OffsetDateTime::now_utc() + Duration::days(days_left);
        let update =
            format!("UPDATE assignment SET expires_unix_ms = {}", expires.unix_timestamp() * 1_000);
        change(data.path(), &update).await;
        server = Running::start(data.path());
        assert_eq!(server.get("/api/v1/devices/line-3/documents").status, 200);
        let shown = server.get("/api/v1/devices/line-3").json();
        assert_eq!(shown["assignment_version"], version, "{days_left} days before it expires");
        assert_eq!(shown["slots"]["turbine"]["assigned"], "turbine/1");
    }
}

#[tokio::test]
async fn an_approval_is_signed_for_what_is_assigned_and_ends_with_it() {
    let data = tempfile::tempdir().unwrap();
    let server = Running::start(data.path());
    let signers = Signers::enrolled(&server);
    signers.release(&server, "1");
    signers.release(&server, "2");
    server.add_device("line-3");
    let path = "/api/v1/devices/line-3/slots/turbine/approve";
    let approve = |release: &str| {
        let body = serde_json::json!({ "release": release }).to_string();
        server.ask("POST", path, As::Administrator, body.as_bytes())
    };
    let is_approved = || {
        let shown = server.get("/api/v1/devices/line-3/documents").json();
        let assignment: serde_json::Value =
            serde_json::from_str(shown["assignment"].as_str().unwrap()).unwrap();
        let targets = assignment["signed"]["targets"].as_object().unwrap();
        targets.values().any(|target| target["custom"]["approved"][0] == "turbine")
    };
    assert!(approve("turbine/1").error(409).contains("nothing is assigned"));
    server.assign("line-3", "turbine", "turbine/1");
    assert!(!is_approved());
    let other = approve("turbine/2").error(409);
    assert!(other.contains("turbine/1 is assigned to slot turbine"), "{other}");
    assert_eq!(approve("turbine/1").json()["version"], 2);
    assert!(is_approved());
    // The same again is no other release; and what happens in another slot does not matter.
    server.assign("line-3", "turbine", "turbine/1");
    server.assign("line-3", "spare", "turbine/2");
    assert!(is_approved());
    server.assign("line-3", "turbine", "turbine/2");
    assert!(!is_approved());
    server.assign("line-3", "turbine", "turbine/1");
    assert!(!is_approved(), "an approval does not come back");
}

#[tokio::test]
async fn that_a_release_be_tried_again_is_signed_with_a_number_that_no_other_wish_has() {
    let data = tempfile::tempdir().unwrap();
    let server = Running::start(data.path());
    let signers = Signers::enrolled(&server);
    signers.release(&server, "1");
    signers.release(&server, "2");
    server.add_device("line-3");
    let again = |slot: &str, release: &str| {
        let body = serde_json::json!({ "release": release, "again": true }).to_string();
        let path = format!("/api/v1/devices/line-3/slots/{slot}");
        assert_eq!(server.put(&path, body.as_bytes()).status, 200);
    };
    let signed = |release: &str| {
        let shown = server.get("/api/v1/devices/line-3/documents").json();
        let assignment: serde_json::Value =
            serde_json::from_str(shown["assignment"].as_str().unwrap()).unwrap();
        let custom = &assignment["signed"]["targets"][release]["custom"];
        (custom["again"]["turbine"].as_u64(), custom["approved"][0] == "turbine")
    };
    server.assign("line-3", "turbine", "turbine/1");
    let approved = serde_json::json!({ "release": "turbine/1" }).to_string();
    let path = "/api/v1/devices/line-3/slots/turbine/approve";
    assert_eq!(server.ask("POST", path, As::Administrator, approved.as_bytes()).status, 200);
    assert_eq!(signed("turbine/1"), (None, true));
    // Whoever has approved it did not know what would become of it.
    again("turbine", "turbine/1");
    let (Some(wish), false) = signed("turbine/1") else { panic!("{:?}", signed("turbine/1")) };
    // Repeated with whatever is signed after it, and not said anew by that.
    server.assign("line-3", "turbine", "turbine/1");
    server.assign("line-3", "spare", "turbine/2");
    assert_eq!(signed("turbine/1"), (Some(wish), false));
    again("turbine", "turbine/1");
    let (Some(another), false) = signed("turbine/1") else { panic!("{:?}", signed("turbine/1")) };
    // Nor has one under a new server, which counts assignments from the beginning.
    let versions = 1..1000;
    assert!(wish != another && !versions.contains(&wish) && !versions.contains(&another));
    // It is about one release in one slot.
    server.assign("line-3", "turbine", "turbine/2");
    assert_eq!(signed("turbine/2"), (None, false));
    server.assign("line-3", "turbine", "turbine/1");
    assert_eq!(signed("turbine/1"), (None, false));
    // Who approves says nothing of the kind.
    let both = serde_json::json!({ "release": "turbine/1", "again": true }).to_string();
    assert_eq!(server.ask("POST", path, As::Administrator, both.as_bytes()).status, 400);
}
