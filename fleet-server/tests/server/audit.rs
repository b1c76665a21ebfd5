//! The log of who has done what: every change leaves its entry, and nobody changes an entry unseen.

use crate::books::{change, is_no_file};
use crate::mqtt::Client;
use crate::openapi::House;
use crate::running::{As, Running};
use crate::signers::{Signers, artifact};
use lineside_audit::{
    Checkpoint, Entry, Hash, Note, Proof, SlotHistory, VerifierKey, VerifyError, verify,
    verify_consistency,
};
use lineside_wire::envelope::encode;
use lineside_wire::v1;
use serde_json::json;

/// What each route that is no question leaves in the log, of who calls it as `House` does. A route that is not
/// here is one that nobody has thought about.
const LEAVES: &[(&str, &[&str])] = &[
    ("DELETE /api/v1/devices/{device}", &["device.retire"]),
    ("DELETE /api/v1/devices/{device}/slots/{slot}", &["slot.assign"]),
    ("DELETE /api/v1/tokens/{role}", &["token.revoke"]),
    // Bytes are nothing yet: the manifest that names them is what is stored.
    ("DELETE /v2/{name}/blobs/uploads/{upload}", &[]),
    ("PATCH /v2/{name}/blobs/uploads/{upload}", &[]),
    ("POST /v2/{name}/blobs/uploads/", &[]),
    ("PUT /v2/{name}/blobs/uploads/{upload}", &[]),
    ("DELETE /v2/{name}/manifests/{reference}", &["artifact.remove"]),
    ("PUT /v2/{name}/manifests/{reference}", &["artifact.put"]),
    ("POST /api/v1/alerts/{id}/acknowledge", &["alert.acknowledge"]),
    ("POST /api/v1/alerts/{id}/approve", &["proposal.approve"]),
    ("POST /api/v1/alerts/{id}/decline", &["proposal.decline"]),
    ("POST /api/v1/devices", &["device.enrol"]),
    ("PUT /api/v1/devices/{device}/place", &["device.label"]),
    ("POST /api/v1/devices/{device}/log", &["device.command"]),
    ("POST /api/v1/devices/{device}/password", &["device.key"]),
    ("POST /api/v1/devices/{device}/slots/{slot}/approve", &["slot.approve", "slot.assign"]),
    ("PUT /api/v1/devices/{device}/slots/{slot}", &["slot.assign"]),
    ("PUT /api/v1/devices/{device}/report-key", &["device.key"]),
    ("POST /api/v1/tokens/{role}", &["token.issue"]),
    // A question that devices answer, and telemetry.
    ("POST /api/v1/releases/{name}/{version}/ask", &[]),
    ("POST /api/v1/reports", &[]),
    ("POST /api/v1/rollouts", &["rollout.create"]),
    ("POST /api/v1/rollouts/{rollout}/wishes", &["rollout.approve"]),
    ("DELETE /api/v1/rollouts/{rollout}", &["rollout.move"]),
    ("POST /api/v1/rollouts/preflight", &[]),
    ("PUT /api/v1/sites/{site}", &["setting.set"]),
    ("DELETE /api/v1/sites/{site}", &["setting.set"]),
    ("POST /api/v1/people", &["person.add"]),
    ("PUT /api/v1/people/{person}", &["person.set"]),
    ("DELETE /api/v1/people/{person}", &["person.remove"]),
    ("POST /api/v1/people/{person}/password", &["person.password"]),
    ("POST /api/v1/programs/{program}", &["token.issue"]),
    ("DELETE /api/v1/programs/{program}", &["token.revoke"]),
    ("POST /api/v1/session", &["session.begin"]),
    ("DELETE /api/v1/session", &[]),
    ("POST /api/v1/session/again", &[]),
    ("PUT /api/v1/session/password", &["person.password"]),
    ("POST /api/v1/session/authenticator", &[]),
    ("PUT /api/v1/session/authenticator", &["person.password"]),
    // They are brought again here; what new ones leave is looked at below.
    ("PUT /api/v1/releases", &[]),
    ("PUT /api/v1/roots", &[]),
    ("PUT /api/v1/targets/{role}", &[]),
];

fn key(server: &Running) -> VerifierKey {
    server.get("/api/v1/audit/key").text().trim().parse().unwrap()
}

fn exported(server: &Running, from: u64) -> Vec<u8> {
    let reply = server.get(&format!("/api/v1/audit/entries?from={from}"));
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply.body
}

/// The entries from one on, verified.
fn entries(server: &Running, from: u64) -> Vec<Entry> {
    let mut entries = Vec::new();
    let file = exported(server, from);
    verify(file.as_slice(), &key(server), &[], |entry| entries.push(entry.clone()))
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&file)));
    entries
}

fn codes(server: &Running, from: u64) -> Vec<String> {
    entries(server, from).iter().map(|entry| entry.action.to_string()).collect()
}

fn size(server: &Running) -> u64 {
    checkpoint(server).1.size()
}

fn checkpoint(server: &Running) -> (String, Checkpoint) {
    let reply = server.get("/api/v1/audit/checkpoint");
    assert_eq!(reply.status, 200, "{}", reply.text());
    let note = Note::parse(&reply.body).unwrap();
    (reply.text(), Checkpoint::verify(&note, &key(server)).unwrap())
}

#[test]
fn every_route_leaves_the_entries_that_it_should_and_no_others() {
    let house = House::new();
    for (method, path, _) in house.routes() {
        let what = format!("{method} {path}");
        let expected = match method.as_str() {
            "GET" | "HEAD" => &[][..],
            _ => {
                let found = LEAVES.iter().find(|(route, _)| *route == what);
                found.unwrap_or_else(|| panic!("what does {what} leave in the audit log?")).1
            }
        };
        house.make_whole();
        let (place, body) = house.good(&method, &path);
        let before = size(&house.server);
        let reply = house.ask(&method, &place, &body);
        assert!((200..300).contains(&reply.status), "{what}: {} {}", reply.status, reply.text());
        assert_eq!(codes(&house.server, before), expected, "{what}");
        // What is refused has not happened. Who logs in shows no token.
        if what == "POST /api/v1/session" {
            continue;
        }
        let before = size(&house.server);
        let refused = house.ask_as(&method, &place, As::Header("authorization", "Bearer x"), &body);
        assert!(refused.status >= 400 || path == "/metrics" || expected.is_empty(), "{what}");
        assert_eq!(size(&house.server), before, "{what}");
    }
    let routes: Vec<String> =
        house.routes().iter().map(|(method, path, _)| format!("{method} {path}")).collect();
    for (route, _) in LEAVES {
        assert!(routes.iter().any(|there| there == route), "there is no {route} any more");
    }
}

#[tokio::test]
async fn who_has_released_and_assigned_what_ran_on_a_device_is_in_the_log() {
    let data = tempfile::tempdir().unwrap();
    let server = Running::start(data.path());
    let signers = Signers::enrolled(&server);
    let release = signers.release(&server, "1");
    let password = server.add_device("line-3");
    server.assign("line-3", "turbine", "turbine/1");
    let approve = "/api/v1/devices/line-3/slots/turbine/approve";
    let approval = json!({ "release": "turbine/1" }).to_string();
    assert_eq!(server.ask("POST", approve, As::Administrator, approval.as_bytes()).status, 200);

    let mut device = Client::device(&server, "line-3", &password).await;
    let active = v1::ReleaseRef {
        name: "turbine".into(),
        version: "1".into(),
        digest: release.digest.bytes(),
    };
    let status = |boot: u64, active: Option<&v1::ReleaseRef>| {
        let slot = v1::SlotStatus {
            slot: "turbine".into(),
            active: active.cloned(),
            previous: None,
            candidate: None,
            phase: v1::phase::IDLE,
            note: String::new(),
            trouble: String::new(),
            floor: 0,
            hold: None,
            hold_left_seconds: None,
            deadline_left_seconds: None,
        };
        let status = v1::Status {
            boot,
            agent_version: "0.1.0".into(),
            slots: vec![slot],
            assignment_version: 2,
            releases_version: 0,
            root_version: 1,
            timestamp_version: 0,
            wall_clock_unix_ms: 0,
        };
        encode(&status).unwrap()
    };
    // Said twice, it is one change.
    for (boot, active) in [(1, None), (2, Some(&active)), (3, Some(&active)), (4, None)] {
        device.publish("lineside/v1/line-3/up/status", status(boot, active)).await;
        server.wait_for("/api/v1/devices/line-3", |device| device["boot"] == boot);
    }
    let (entries, key) = (entries(&server, 0), key(&server));
    let said: Vec<String> = entries
        .iter()
        .map(|entry| format!("{} {} {}", entry.who, entry.action, entry.subject))
        .collect();
    let expected = [
        format!("server start audit.begin log {}", key.name()),
        "admin root.set root 1".into(),
        "admin artifact.put artifact turbine:1".into(),
        "admin targets.set list releases".into(),
        "admin release.publish release turbine@1".into(),
        "admin device.enrol device line-3".into(),
        "admin slot.assign slot line-3/turbine".into(),
        "admin slot.approve slot line-3/turbine".into(),
        // From then on with his leave.
        "admin slot.assign slot line-3/turbine".into(),
        "device line-3 slot.run slot line-3/turbine".into(),
        "device line-3 slot.run slot line-3/turbine".into(),
    ];
    assert_eq!(said, expected);

    let mut history = SlotHistory::new("line-3/turbine");
    entries.iter().for_each(|entry| history.take(entry));
    let then = history.as_of(entries[9].at);
    let name = |step: Option<&lineside_audit::Step>| {
        step.and_then(|step| step.release.as_ref()).map(ToString::to_string)
    };
    assert_eq!(name(then.assigned).as_deref(), Some("turbine@1"));
    let leave: Vec<u64> = then.approvals.iter().map(|approval| approval.seq).collect();
    assert_eq!((then.assigned.map(|step| step.seq), leave), (Some(8), vec![7]));
    assert!(history.as_of(entries[10].at).ran.is_some_and(|step| step.release.is_none()));

    // One entry by itself, for who has nothing else.
    let proof = server.get("/api/v1/audit/entries/6/proof");
    let proof = Proof::parse(&proof.body).unwrap();
    assert_eq!(proof.verify(&entries[6].to_bytes(), &key).unwrap().0, 6);
    assert!(proof.verify(&entries[7].to_bytes(), &key).is_err());
    let missing = server.get("/api/v1/audit/entries/999/proof").error(404);
    assert!(missing.contains("no entry 999"), "{missing}");
}

#[test]
fn a_log_goes_on_from_where_it_was_and_proves_it() {
    let data = tempfile::tempdir().unwrap();
    let server = Running::start(data.path());
    for name in ["a", "b", "c"] {
        server.add_device(name);
    }
    let (text, old) = checkpoint(&server);
    assert_eq!(old.size(), 4);
    let whole = exported(&server, 0);
    server.kill();

    let server = Running::start(data.path());
    assert_eq!(checkpoint(&server).0, text, "nothing has happened");
    assert_eq!(exported(&server, 0), whole);
    for name in ["d", "e"] {
        server.add_device(name);
    }
    let new = checkpoint(&server).1;
    let place = format!("/api/v1/audit/consistency?old={}&new={}", old.size(), new.size());
    let proof = server.get(&place).json();
    let hashes: Vec<Hash> = serde_json::from_value::<Vec<String>>(proof["hashes"].clone())
        .unwrap()
        .iter()
        .map(|hash| Hash::from_base64(hash).unwrap())
        .collect();
    let holds = verify_consistency(old.size(), old.root(), new.size(), new.root(), &hashes);
    assert_eq!(holds, Ok(()));
    // Who has the beginning asks for the rest alone, and who kept a checkpoint finds it again.
    assert_eq!(codes(&server, old.size()), ["device.enrol", "device.enrol"]);
    let whole = exported(&server, 0);
    let report = verify(whole.as_slice(), &key(&server), &[old], |_| {}).unwrap();
    assert_eq!((report.entries, report.unchecked), (6, 0));
    let beyond = server.get("/api/v1/audit/entries?from=7").error(404);
    assert!(beyond.contains("the log has 6 entries"), "{beyond}");
    assert!(server.get("/api/v1/audit/consistency?old=1&new=7").error(404).contains("not 7"));
    assert!(server.get("/api/v1/audit/consistency?old=3&new=2").error(400).contains("beginning"));
}

#[test]
fn changes_that_come_at_the_same_time_make_one_log() {
    let data = tempfile::tempdir().unwrap();
    let server = Running::start(data.path());
    let (writers, each) = (4, 8);
    std::thread::scope(|scope| {
        for writer in 0..writers {
            let server = &server;
            scope.spawn(move || {
                for at in 0..each {
                    server.add_device(&format!("line-{writer}-{at}"));
                }
            });
        }
        // What is signed meanwhile is the beginning of what comes.
        let seen: Vec<Checkpoint> = (0..each).map(|_| checkpoint(&server).1).collect();
        scope.spawn(move || drop(seen));
    });
    let entries = entries(&server, 0);
    assert_eq!(entries.len(), 1 + writers * each);
    let numbers: Vec<u64> = entries.iter().map(|entry| entry.seq).collect();
    assert_eq!(numbers, (0..entries.len() as u64).collect::<Vec<_>>());
    // A change that fails leaves nothing.
    let before = size(&server);
    let twice = json!({ "name": "line-0-0" }).to_string();
    let reply = server.ask("POST", "/api/v1/devices", As::Administrator, twice.as_bytes());
    assert_eq!((reply.status, size(&server)), (409, before));
}

#[tokio::test]
async fn a_byte_that_somebody_changes_in_the_database_is_found() {
    if is_no_file() {
        return;
    }
    let data = tempfile::tempdir().unwrap();
    let server = Running::start(data.path());
    for name in ["a", "b", "c"] {
        server.add_device(name);
    }
    let (kept, key) = (checkpoint(&server).1, key(&server));
    server.kill();
    let set = |entry: &str, seq: u64| {
        format!("UPDATE audit_entry SET entry = CAST({entry} AS blob) WHERE seq = {seq}")
    };
    let changed = set("replace(CAST(entry AS text), 'device.enrol', 'device.carol')", 2);
    let back = set("replace(CAST(entry AS text), 'device.carol', 'device.enrol')", 2);
    let fault = |server: &Running| {
        let file = exported(server, 0);
        match verify(file.as_slice(), &key, std::slice::from_ref(&kept), |_| {}) {
            Err(VerifyError::Fault(fault)) => Some(fault.entry),
            Err(error) => panic!("{error}"),
            Ok(_) => None,
        }
    };
    change(data.path(), &changed).await;
    let server = Running::start(data.path());
    assert_eq!(fault(&server), Some(Some(2)));
    server.kill();
    // The same, by somebody who changes the hashes as well: what was signed finds it.
    change(data.path(), &back).await;
    let hash = "UPDATE audit_hash SET hash = (SELECT hash FROM audit_hash WHERE level = 0 AND place = 1) \
                WHERE level = 0 AND place = 2";
    change(data.path(), hash).await;
    let server = Running::start(data.path());
    assert!(fault(&server).is_some());
    server.kill();

    // And a log that was cut is signed no more.
    for cut in ["DELETE FROM audit_entry WHERE seq = 3", "DELETE FROM audit_hash WHERE place = 3"] {
        change(data.path(), cut).await;
    }
    let server = Running::start(data.path());
    let said = server.get("/api/v1/audit/checkpoint").error(409);
    assert!(said.contains("nothing is signed until then"), "{said}");
    assert!(server.page("/").contains("the audit log is not signed"));
}

#[test]
fn another_key_goes_on_with_the_log_and_says_so() {
    let data = tempfile::tempdir().unwrap();
    let server = Running::start(data.path());
    server.add_device("a");
    let (old, kept) = (key(&server), checkpoint(&server).1);
    server.kill();
    std::fs::remove_file(data.path().join("keys/audit.pem")).unwrap();
    for _ in 0..2 {
        let server = Running::start(data.path());
        let new = key(&server);
        assert_eq!(new.name(), old.name());
        assert_ne!(new, old);
        assert_eq!(codes(&server, 2), ["keys.set"]);
        // What the old key has signed is the beginning of it.
        let file = exported(&server, 0);
        verify(file.as_slice(), &new, std::slice::from_ref(&kept), |_| {}).unwrap();
        server.kill();
    }
}

#[test]
fn what_is_pushed_by_digest_is_named_so() {
    let data = tempfile::tempdir().unwrap();
    let server = Running::start(data.path());
    let pushed = artifact("turbine", "1");
    pushed.push(&server);
    let digest = pushed.id.digest.to_string();
    pushed.push_manifest(&server, &digest);
    let last = entries(&server, 0).pop().unwrap();
    assert_eq!(last.subject.id.as_str(), format!("turbine:{digest}"));
    assert_eq!(
        serde_json::to_value(last.new).unwrap(),
        json!({ "digest": pushed.id.digest.hex() })
    );
}
