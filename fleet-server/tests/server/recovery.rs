//! What a server does after keys were replaced, a vendor lapsed, or its disk was lost or set back.

use crate::backup::copied;
use crate::mqtt::Client;
use crate::running::{As, Running};
use crate::signers::{Signers, artifact, in_a_year, key};
use crate::tuf::delegate;
use lineside_bundle::ReleaseId;
use lineside_trust::{
    AssignmentSpec, KeyPair, PublicKey, ReleasesDraft, Root, RootSpec, TargetsSpec,
    TrustedAssignment, VERSION_MAX, sign_assignment, sign_root, sign_targets, verify_assignment,
    verify_releases,
};
use lineside_wire::envelope::{decode, encode};
use lineside_wire::v1::{Documents, ReleaseRef, Reminder, SlotStatus, Status, phase};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use time::{Duration, OffsetDateTime};

const STATUS: &str = "lineside/v1/line-3/up/status";

/// What is assigned to line-3 as it is handed out, if a device with this root would believe it.
fn handed_out(server: &Running, root: &[u8]) -> TrustedAssignment {
    let reply = server.get("/api/v1/devices/line-3/documents");
    assert_eq!(reply.status, 200, "{}", reply.text());
    let root = Root::pin(root).unwrap();
    let assignment = reply.json()["assignment"].as_str().unwrap().to_owned();
    let (device, now) = ("line-3".parse().unwrap(), OffsetDateTime::now_utc());
    verify_assignment(&root, assignment.as_bytes(), &device, None, now).unwrap()
}

/// The slots of line-3 with what is assigned to each.
fn assigned(server: &Running) -> Value {
    let shown = server.get("/api/v1/devices/line-3").json();
    let slots = shown["slots"].as_object().unwrap().clone().into_iter();
    slots.map(|(slot, shown)| (slot, shown["assigned"].clone())).collect()
}

fn status(assignment_version: u64, slots: Vec<SlotStatus>) -> Vec<u8> {
    let status = Status {
        boot: 1,
        agent_version: "0.1.0".into(),
        slots,
        assignment_version,
        releases_version: 1,
        root_version: 1,
        timestamp_version: VERSION_MAX,
        wall_clock_unix_ms: 0,
    };
    encode(&status).unwrap()
}

/// Server keys made anew, as after those before were stolen or lost.
fn with_new_keys(server: Running, data: &Path, signers: &mut Signers) -> Running {
    server.kill();
    std::fs::remove_file(data.join("keys/director.pem")).unwrap();
    std::fs::remove_file(data.join("keys/online.pem")).unwrap();
    let server = Running::start(data);
    name_keys(&server, signers);
    server
}

/// The next root, with the keys that this server has.
fn name_keys(server: &Running, signers: &mut Signers) {
    let keys = server.get("/api/v1/online-keys").json();
    let public = |name: &str| serde_json::from_value::<PublicKey>(keys[name].clone()).unwrap();
    signers.spec.version += 1;
    signers.spec.online = public("online");
    signers.spec.director = public("director");
}

#[test]
fn what_was_assigned_to_a_device_it_may_fetch_again_and_nothing_else() {
    let data = tempfile::tempdir().unwrap();
    let server = Running::start(data.path());
    let signers = Signers::enrolled(&server);
    let releases: Vec<_> = ["1", "2", "3"].map(|one| signers.release(&server, one)).into();
    let password = server.add_device("line-3");
    let reads = |at: usize| {
        let digest = releases[at].digest;
        let model = lineside_bundle::Digest::of(&artifact("turbine", ["1", "2", "3"][at]).blobs[1]);
        let get = |path: String| server.ask("GET", &path, As::Device("line-3", &password), b"");
        let manifest = get(format!("/v2/turbine/manifests/{digest}")).status;
        (manifest, get(format!("/v2/turbine/blobs/{model}")).status)
    };
    assert_eq!(reads(0), (403, 403));
    server.assign("line-3", "turbine", "turbine/1");
    server.assign("line-3", "turbine", "turbine/2");
    // The second is assigned, and may be held; the first runs, and a file of it rots.
    assert_eq!((reads(0), reads(1), reads(2)), ((200, 200), (200, 200), (403, 403)));
    server.ask("DELETE", "/api/v1/devices/line-3/slots/turbine", As::Administrator, b"");
    assert_eq!((reads(0), reads(1), reads(2)), ((200, 200), (200, 200), (403, 403)));
}

#[test]
fn after_the_servers_keys_were_replaced_assignments_are_handed_out_that_devices_believe() {
    let data = tempfile::tempdir().unwrap();
    let server = Running::start(data.path());
    let mut signers = Signers::enrolled(&server);
    signers.release(&server, "1");
    server.add_device("line-3");
    server.assign("line-3", "turbine", "turbine/1");
    let server = with_new_keys(server, data.path(), &mut signers);
    let reply = server.put_root(&signers.root_bytes());
    assert_eq!(reply.status, 200, "{}", reply.text());
    let trusted = handed_out(&server, &signers.root_bytes());
    assert_eq!(trusted.seen().version, 2);
    assert_eq!(handed_out(&server, &signers.root_bytes()).seen().version, 2, "once is enough");
}

#[test]
fn who_stole_the_release_keys_does_not_have_the_last_word() {
    let data = tempfile::tempdir().unwrap();
    let server = Running::start(data.path());
    let mut signers = Signers::enrolled(&server);
    let first = signers.release(&server, "1");
    server.add_device("line-3");
    server.assign("line-3", "turbine", "turbine/1");
    let kept = server.get("/api/v1/releases").body;
    let before = Root::pin(&signers.root_bytes()).unwrap();
    let kept = verify_releases(&before, &kept, None, OffsetDateTime::now_utc()).unwrap();
    // The thief's list has the highest number there is.
    let spec = TargetsSpec {
        version: VERSION_MAX,
        expires: in_a_year(),
        files: BTreeMap::new(),
        delegations: Vec::new(),
    };
    let list = sign_targets(&spec, &[&signers.release]);
    assert_eq!(server.put("/api/v1/releases", &list).json()["version"], VERSION_MAX);

    signers.release = key();
    signers.spec.version = 2;
    signers.spec.releases = (vec![signers.release.public()], 1);
    assert_eq!(server.put_root(&signers.root_bytes()).status, 200);
    let mut draft = ReleasesDraft::after(Some(&kept));
    let second = artifact("turbine", "2");
    second.push(&server);
    draft.add(second.id, None).unwrap();
    let next = draft.sign(in_a_year(), &[&signers.release]);
    assert_eq!(server.put("/api/v1/releases", &next).json()["version"], 2);
    assert_eq!(server.get("/api/v1/releases").body, next);
    assert_eq!(server.assign("line-3", "turbine", "turbine/2").status, 200);
    assert_eq!(server.assign("line-3", "turbine", "turbine/1").status, 200, "{first}");
}

#[test]
fn while_a_vendors_list_is_past_its_date_his_releases_wait_and_no_others() {
    let data = tempfile::tempdir().unwrap();
    let server = Running::start(data.path());
    let signers = Signers::enrolled(&server);
    signers.release(&server, "1");
    let vendor = key();
    delegate(&server, &signers, &[("acme", &vendor, "pump/*")]);
    let pump = artifact("pump", "1");
    pump.push(&server);
    server.add_device("line-3");
    let list = |draft: &ReleasesDraft, expires: OffsetDateTime, key: &KeyPair| {
        server.put("/api/v1/targets/acme", &draft.sign(expires, &[key])).status
    };
    let mut draft = ReleasesDraft::after(None);
    draft.add(pump.id, None).unwrap();
    // Good when it comes and not for long; on a slow machine a little longer.
    let soon = [3, 10, 60].into_iter().find_map(|seconds| {
        let soon = OffsetDateTime::now_utc() + Duration::seconds(seconds);
        let assign = || server.assign("line-3", "pump", "pump/1").status == 200;
        (list(&draft, soon, &vendor) == 200 && assign()).then_some(soon)
    });
    server.assign("line-3", "turbine", "turbine/1");
    while OffsetDateTime::now_utc() <= soon.unwrap() {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }

    let root = signers.root_bytes();
    let paths = || {
        let reply = server.get("/api/v1/devices/line-3/documents").json();
        let assignment: Value =
            serde_json::from_str(reply["assignment"].as_str().unwrap()).unwrap();
        let targets = assignment["signed"]["targets"].as_object().unwrap().clone();
        targets.into_iter().map(|(path, _)| path).collect::<Vec<_>>()
    };
    handed_out(&server, &root);
    assert_eq!(paths(), ["turbine/1"]);
    let expected = serde_json::json!({ "pump": "pump/1", "turbine": "turbine/1" });
    assert_eq!(assigned(&server), expected, "it waits, and is not forgotten");
    // Nobody can be given anew what does not hold.
    assert!(server.assign("line-3", "spare", "pump/1").error(404).contains("pump/1"));

    // The next version of his list brings it back. For the draft of it he stands in for the release keys.
    let spec = RootSpec { releases: (vec![vendor.public()], 1), ..signers.spec.clone() };
    let vendors = Root::pin(&sign_root(&spec, &[&signers.root])).unwrap();
    let first = draft.sign(in_a_year(), &[&vendor]);
    let first = verify_releases(&vendors, &first, None, OffsetDateTime::now_utc()).unwrap();
    assert_eq!(list(&ReleasesDraft::after(Some(&first)), in_a_year(), &vendor), 200);
    assert_eq!(paths(), ["pump/1", "turbine/1"]);
}

/// A slot as a device tells of it.
fn slot(slot: &str, active: Option<ReleaseRef>, candidate: Option<ReleaseRef>) -> SlotStatus {
    SlotStatus {
        slot: slot.into(),
        active,
        previous: None,
        candidate,
        phase: phase::IDLE,
        note: String::new(),
        trouble: String::new(),
        floor: 0,
        hold: None,
        hold_left_seconds: None,
        deadline_left_seconds: None,
    }
}

fn named(release: &ReleaseId) -> ReleaseRef {
    ReleaseRef {
        name: release.name.to_string(),
        version: release.version.to_string(),
        digest: release.digest.bytes(),
    }
}

/// The assignment of line-3 as it is signed now.
fn signed(server: &Running) -> Vec<u8> {
    let documents = server.get("/api/v1/devices/line-3/documents").json();
    documents["assignment"].as_str().unwrap().as_bytes().to_vec()
}

/// Tells the server that line-3 holds this assignment, and shows that when it is asked.
async fn show(device: &mut Client, version: u64, slots: Vec<SlotStatus>, assignment: Vec<u8>) {
    device.publish(STATUS, status(version, slots)).await;
    device.receive("down/remind").await;
    let reminder = encode(&Reminder { assignment }).unwrap();
    device.publish("lineside/v1/line-3/up/reminder", reminder).await;
}

#[test]
fn a_vendor_whose_numbers_a_thief_has_used_up_begins_anew_with_a_new_online_key() {
    let data = tempfile::tempdir().unwrap();
    let server = Running::start(data.path());
    let mut signers = Signers::enrolled(&server);
    signers.release(&server, "1");
    let list = |version: u64, key: &KeyPair| {
        let (files, delegations) = (BTreeMap::new(), Vec::new());
        sign_targets(&TargetsSpec { version, expires: in_a_year(), files, delegations }, &[key])
    };
    let put = |server: &Running, role: &str, list: &[u8]| {
        server.put(&format!("/api/v1/targets/{role}"), list)
    };
    let (stolen, other, new) = (key(), key(), key());
    delegate(&server, &signers, &[("acme", &stolen, "pump/*"), ("other", &other, "valve/*")]);
    assert_eq!(put(&server, "acme", &list(VERSION_MAX, &stolen)).status, 200);
    assert_eq!(put(&server, "other", &list(7, &other)).status, 200);
    delegate(&server, &signers, &[("acme", &new, "pump/*"), ("other", &other, "valve/*")]);
    // Devices that have seen the thief's would follow no repository any more that lists this one.
    let refused = put(&server, "acme", &list(1, &new)).error(422);
    assert!(refused.contains("a new online key of the server"), "{refused}");

    let server = with_new_keys(server, data.path(), &mut signers);
    assert_eq!(server.put_root(&signers.root_bytes()).status, 200);
    let begun = put(&server, "acme", &list(1, &new));
    assert_eq!(begun.status, 200, "{}", begun.text());
    let older = put(&server, "other", &list(6, &other)).error(422);
    assert!(older.contains("older"), "{older}");
}

#[tokio::test]
async fn a_server_that_was_set_back_goes_on_from_what_devices_show() {
    let data = tempfile::tempdir().unwrap();
    let server = Running::start(data.path());
    let signers = Signers::enrolled(&server);
    for version in ["1", "2", "3"] {
        signers.release(&server, version);
    }
    let password = server.add_device("line-3");
    for slot in ["a", "b", "c"] {
        server.assign("line-3", slot, "turbine/1");
    }
    let approve = |server: &Running, release: &str| {
        let body = format!("{{\"release\":{release:?}}}");
        let path = "/api/v1/devices/line-3/slots/a/approve";
        server.ask("POST", path, As::Administrator, body.as_bytes()).status
    };
    assert_eq!(approve(&server, "turbine/1"), 200);
    let place = tempfile::tempdir().unwrap();
    let copy = copied(data.path(), place.path());
    server.assign("line-3", "a", "turbine/2");
    server.assign("line-3", "b", "turbine/3");
    server.ask("DELETE", "/api/v1/devices/line-3/slots/c", As::Administrator, b"");
    let held = signed(&server);
    server.kill();

    let server = Running::start(&copy);
    let before = serde_json::json!({ "a": "turbine/1", "b": "turbine/1", "c": "turbine/1" });
    assert_eq!(assigned(&server), before);
    let mut device = Client::device(&server, "line-3", &password).await;
    show(&mut device, 7, vec![], held.clone()).await;
    let sent: Documents = decode(&device.receive("down/assignment").await).unwrap();
    assert_eq!(sent.assignment, held, "byte for byte");
    assert_eq!(assigned(&server), serde_json::json!({ "a": "turbine/2", "b": "turbine/3" }));
    // Nobody has looked at what is assigned to it by now.
    assert!(!String::from_utf8_lossy(&signed(&server)).contains("approved"));
    assert_eq!(approve(&server, "turbine/2"), 200);
    assert_eq!(handed_out(&server, &signers.root_bytes()).seen().version, 8);
}

#[tokio::test]
async fn who_only_says_that_he_holds_more_is_given_nothing_for_it() {
    let data = tempfile::tempdir().unwrap();
    let server = Running::start(data.path());
    let signers = Signers::enrolled(&server);
    let releases = ["1", "2"].map(|one| signers.release(&server, one));
    let password = server.add_device("line-3");
    server.add_device("line-4");
    server.assign("line-3", "a", "turbine/1");
    server.assign("line-3", "b", "turbine/1");
    for _ in 0..3 {
        server.assign("line-4", "a", "turbine/2");
    }
    let of_another = server.get("/api/v1/devices/line-4/documents").json()["assignment"].clone();
    let of_another = of_another.as_str().unwrap().as_bytes().to_vec();
    let forged = |director: &KeyPair| {
        let spec = AssignmentSpec {
            device: "line-3".parse().unwrap(),
            version: 3,
            expires: in_a_year(),
            slots: BTreeMap::from([("a".parse().unwrap(), releases[1].clone())]),
            approved: BTreeSet::new(),
            again: BTreeMap::new(),
        };
        sign_assignment(&spec, director)
    };
    let older = signed(&server);
    let slots = || {
        vec![slot("a", Some(named(&releases[1])), None), slot("x", None, Some(named(&releases[1])))]
    };
    let mut device = Client::device(&server, "line-3", &password).await;
    for shown in [of_another, forged(&signers.release), older, b"{}".to_vec()] {
        show(&mut device, 3, slots(), shown).await;
    }
    // What was said before it has been heard by now.
    device.publish(STATUS, status(3, slots())).await;
    let model = format!("/v2/turbine/manifests/{}", releases[1].digest);
    let fetched = server.ask("GET", &model, As::Device("line-3", &password), b"");
    assert_ne!(fetched.status, 200);
    let as_it_was = serde_json::json!({ "a": "turbine/1", "b": "turbine/1", "x": null });
    assert_eq!(assigned(&server), as_it_was);
    let shown = server.get("/api/v1/devices/line-3").json();
    assert_eq!(shown["assignment_version"], 2);
    assert!(shown["attention"].to_string().contains("assign what it shall hold"), "{shown}");
    assert!(server.get("/api/v1/devices/line-3/documents").error(409).contains("restored"));

    // A person says what it shall hold. What else was assigned to it is left where it says another.
    assert_eq!(server.assign("line-3", "y", "turbine/1").status, 200);
    let expected = serde_json::json!({ "a": null, "x": null, "y": "turbine/1" });
    assert_eq!(assigned(&server), expected);
    assert_eq!(handed_out(&server, &signers.root_bytes()).seen().version, 4);
}

#[tokio::test]
async fn what_a_director_signed_who_was_replaced_since_is_not_taken_up() {
    let data = tempfile::tempdir().unwrap();
    let server = Running::start(data.path());
    let mut signers = Signers::enrolled(&server);
    let releases = ["1", "2"].map(|one| signers.release(&server, one));
    let password = server.add_device("line-3");
    server.assign("line-3", "a", "turbine/1");
    let stolen = std::fs::read_to_string(data.path().join("keys/director.pem")).unwrap();
    let stolen = KeyPair::from_pem(&stolen).unwrap();
    let server = with_new_keys(server, data.path(), &mut signers);
    assert_eq!(server.put_root(&signers.root_bytes()).status, 200);
    assert_eq!(handed_out(&server, &signers.root_bytes()).seen().version, 2);
    let spec = AssignmentSpec {
        device: "line-3".parse().unwrap(),
        version: 9,
        expires: in_a_year(),
        slots: BTreeMap::from([("a".parse().unwrap(), releases[1].clone())]),
        approved: BTreeSet::new(),
        again: BTreeMap::new(),
    };
    let mut device = Client::device(&server, "line-3", &password).await;
    show(&mut device, 9, vec![], sign_assignment(&spec, &stolen)).await;
    device.publish(STATUS, status(9, vec![])).await;
    assert_eq!(assigned(&server), serde_json::json!({ "a": "turbine/1" }));
}

#[tokio::test]
async fn a_root_without_stolen_release_keys_is_sent_at_once_and_what_they_signed_can_be_taken_away()
{
    let data = tempfile::tempdir().unwrap();
    let server = Running::start(data.path());
    let mut signers = Signers::enrolled(&server);
    signers.release(&server, "1");
    let password = server.add_device("line-3");
    let mut device = Client::device(&server, "line-3", &password).await;
    server.assign("line-3", "a", "turbine/1");
    server.assign("line-3", "b", "turbine/1");
    for _ in 0..2 {
        device.receive("down/assignment").await;
    }
    signers.release = key();
    signers.spec.version = 2;
    signers.spec.releases = (vec![signers.release.public()], 1);
    assert_eq!(server.put_root(&signers.root_bytes()).status, 200);
    // It says nothing meanwhile, and the list is not signed anew.
    let sent: Documents = decode(&device.receive("down/assignment").await).unwrap();
    assert!(sent.metadata.iter().any(|(name, _)| name == "2.root.json"));
    let health = server.get("/api/v1/health").json();
    assert!(health["attention"].to_string().contains("list of releases"), "{health}");

    let taken = server.ask("DELETE", "/api/v1/devices/line-3/slots/a", As::Administrator, b"");
    assert_eq!(taken.status, 200, "{}", taken.text());
    assert_eq!(assigned(&server), serde_json::json!({ "b": "turbine/1" }));
    assert_eq!(server.assign("line-3", "a", "turbine/1").status, 422);
    // A file that is carried brings that root, too, as long as the device has not told of it.
    let carried = server.get("/api/v1/devices/line-3/documents").json();
    assert!(carried["metadata"]["2.root.json"].is_string(), "{carried}");

    // The next list brings the rest back.
    let mut draft = ReleasesDraft::after(None);
    draft.add(artifact("turbine", "1").id, None).unwrap();
    let list = draft.sign(in_a_year(), &[&signers.release]);
    assert_eq!(server.put("/api/v1/releases", &list).status, 200);
    assert_eq!(assigned(&server), serde_json::json!({ "b": "turbine/1" }));
    handed_out(&server, &signers.root_bytes());
}

#[test]
fn a_server_in_the_place_of_a_lost_one_takes_the_roots_up_to_the_one_that_names_its_keys() {
    let data = tempfile::tempdir().unwrap();
    let lost = Running::start(data.path());
    let mut signers = Signers::enrolled(&lost);
    let first = signers.root_bytes();
    lost.kill();

    let data = tempfile::tempdir().unwrap();
    let server = Running::start(data.path());
    name_keys(&server, &mut signers);
    let second = signers.root_bytes();
    let put = |roots: &[&[u8]]| {
        let roots: Vec<_> = roots.iter().map(|root| String::from_utf8_lossy(root)).collect();
        server.put("/api/v1/roots", serde_json::to_string(&roots).unwrap().as_bytes())
    };
    assert!(put(&[&first]).error(422).contains("root 1 does not name this server's director key"));
    assert!(put(&[]).error(409).contains("no root yet"));
    signers.root = key();
    let forged = signers.root_bytes();
    assert!(put(&[&first, &forged]).error(422).contains("root"));
    assert_eq!(server.get("/api/v1/root").status, 404, "nothing of it stayed");
    assert_eq!(put(&[&first, &second]).json()["version"], 2);
    assert_eq!(put(&[&first, &second]).json()["version"], 2, "the same again");
    assert_eq!(server.get("/api/v1/root?version=1").body, first);
}

#[tokio::test]
async fn who_is_connected_hears_at_once_what_people_have_signed() {
    let data = tempfile::tempdir().unwrap();
    let server = Running::start(data.path());
    let mut signers = Signers::enrolled(&server);
    signers.release(&server, "1");
    let password = server.add_device("line-3");
    let mut device = Client::device(&server, "line-3", &password).await;
    server.assign("line-3", "turbine", "turbine/1");
    device.receive("down/assignment").await;
    // It says nothing meanwhile, and is told all the same.
    let mut told = async |wanted: &str| {
        loop {
            let sent: Documents = decode(&device.receive("down/assignment").await).unwrap();
            if sent.metadata.iter().any(|(name, _)| name == wanted) {
                return;
            }
        }
    };
    signers.spec.version = 2;
    server.put_root(&signers.root_bytes());
    told("2.root.json").await;
    signers.release(&server, "2");
    told("2.targets.json").await;
}
