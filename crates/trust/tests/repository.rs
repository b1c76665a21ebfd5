//! What a thief of a mirror or of the online keys can try with a whole repository, and what comes of it.

#![allow(clippy::unwrap_used)] // A test stops at what does not hold.

use lineside_bundle::Digest;
use lineside_trust::repository::{Client, Fault, Mirror, RepositoryError, Shelf, Versions};
use lineside_trust::{
    Delegation, KeyPair, Listed, PublicKey, RootSpec, SnapshotSpec, TargetsSpec, TimestampSpec,
    sign_root, sign_snapshot, sign_targets, sign_timestamp,
};
use ring::rand::SystemRandom;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, OnceLock};
use time::macros::datetime;
use time::{Duration, OffsetDateTime};

const NOW: OffsetDateTime = datetime!(2026-11-24 12:00 UTC);
const LATER: OffsetDateTime = datetime!(2027-11-24 12:00 UTC);
const MODEL: &[u8] = b"a model";

/// Everybody's keys. Targets need two of three people.
struct Keys {
    root: KeyPair,
    people: Vec<KeyPair>,
    online: KeyPair,
    next_online: KeyPair,
    director: KeyPair,
    vendor: KeyPair,
    stranger: KeyPair,
}

fn keys() -> &'static Keys {
    static KEYS: OnceLock<Keys> = OnceLock::new();
    KEYS.get_or_init(|| {
        let random = SystemRandom::new();
        let key = || KeyPair::generate(&random).unwrap();
        Keys {
            root: key(),
            people: vec![key(), key(), key()],
            online: key(),
            next_online: key(),
            director: key(),
            vendor: key(),
            stranger: key(),
        }
    })
}

type Documents = Arc<Mutex<BTreeMap<String, Vec<u8>>>>;

/// A mirror in memory, which notes what it was asked for.
#[derive(Clone, Default)]
struct Served {
    documents: Documents,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Mirror for Served {
    fn fetch(&self, name: &str, _: u64) -> Result<Option<Vec<u8>>, Fault> {
        self.asked.lock().unwrap().push(name.to_owned());
        Ok(self.documents.lock().unwrap().get(name).cloned())
    }
}

/// A shelf in memory, with names that it cannot read or write.
#[derive(Clone, Default)]
struct Kept {
    documents: Documents,
    unreadable: Arc<Mutex<BTreeSet<&'static str>>>,
    full: Arc<Mutex<BTreeSet<&'static str>>>,
    written: Arc<Mutex<Vec<String>>>,
}

impl Kept {
    fn names(&self) -> Vec<String> {
        self.documents.lock().unwrap().keys().cloned().collect()
    }
}

impl Shelf for Kept {
    fn load(&self, name: &str) -> Result<Option<Vec<u8>>, Fault> {
        if self.unreadable.lock().unwrap().contains(name) {
            return Err("input/output error".into());
        }
        Ok(self.documents.lock().unwrap().get(name).cloned())
    }

    fn keep(&self, name: &str, bytes: &[u8]) -> Result<(), Fault> {
        if self.full.lock().unwrap().contains(name) {
            return Err("no space left".into());
        }
        self.written.lock().unwrap().push(name.to_owned());
        self.documents.lock().unwrap().insert(name.to_owned(), bytes.to_vec());
        Ok(())
    }
}

/// A repository, a device that follows it, and what each of the documents shall say next.
struct Scene {
    mirror: Served,
    shelf: Kept,
    first_root: Vec<u8>,
    root: RootSpec,
    targets: TargetsSpec,
    vendor: TargetsSpec,
    snapshot: u64,
    timestamp: u64,
    expires: OffsetDateTime,
    /// The online key in use.
    online: &'static KeyPair,
}

fn enough() -> Vec<&'static KeyPair> {
    vec![&keys().people[0], &keys().people[2]]
}

fn file(bytes: &[u8]) -> (Digest, u64) {
    (Digest::of(bytes), bytes.len() as u64)
}

fn public(keys: &[KeyPair]) -> Vec<PublicKey> {
    keys.iter().map(KeyPair::public).collect()
}

/// A repository of one file of ours and one of a vendor, with everything at version 1.
fn scene() -> Scene {
    let keys = keys();
    let root = RootSpec {
        version: 1,
        expires: LATER,
        root: (vec![keys.root.public()], 1),
        releases: (public(&keys.people), 2),
        online: keys.online.public(),
        director: keys.director.public(),
    };
    let acme = Delegation {
        name: "vendor/acme".into(),
        keys: vec![keys.vendor.public()],
        threshold: 1,
        paths: vec!["vendor/acme/*".into()],
        terminating: true,
    };
    let targets = |files: &[(&str, &[u8])], delegations| TargetsSpec {
        version: 1,
        expires: LATER,
        files: files.iter().map(|(path, bytes)| ((*path).to_owned(), file(bytes))).collect(),
        delegations,
    };
    let scene = Scene {
        mirror: Served::default(),
        shelf: Kept::default(),
        first_root: sign_root(&root, &[&keys.root]),
        root,
        targets: targets(&[("turbine/1", MODEL)], vec![acme]),
        vendor: targets(&[("vendor/acme/pump", b"a pump"), ("turbine/2", b"evil")], vec![]),
        snapshot: 1,
        timestamp: 1,
        expires: LATER,
        online: &keys.online,
    };
    scene.publish();
    scene
}

impl Scene {
    fn serve(&self, name: &str, bytes: Vec<u8>) {
        self.mirror.documents.lock().unwrap().insert(name.to_owned(), bytes);
    }

    fn withhold(&self, name: &str) -> Vec<u8> {
        self.mirror.documents.lock().unwrap().remove(name).unwrap()
    }

    fn served(&self, name: &str) -> Vec<u8> {
        self.mirror.documents.lock().unwrap()[name].clone()
    }

    /// Serves all documents as they shall be next, rightly signed.
    fn publish(&self) {
        self.publish_signed_by(&enough(), &keys().vendor);
    }

    fn publish_signed_by(&self, people: &[&KeyPair], vendor: &KeyPair) {
        let targets = sign_targets(&self.targets, people);
        let acme = sign_targets(&self.vendor, &[vendor]);
        self.list(&[("targets", &targets), ("vendor/acme", &acme)]);
        self.serve(&format!("{}.targets.json", self.targets.version), targets);
        self.serve(&format!("{}.vendor%2Facme.json", self.vendor.version), acme);
    }

    /// Serves a snapshot that lists `documents`, and a timestamp.
    fn list(&self, documents: &[(&str, &[u8])]) {
        let listed = |(role, bytes): &(&str, &[u8])| {
            ((*role).to_owned(), Listed::of("targets", bytes).unwrap())
        };
        let documents = documents.iter().map(listed).collect();
        let snapshot = SnapshotSpec { version: self.snapshot, expires: self.expires, documents };
        self.stamp(sign_snapshot(&snapshot, self.online));
    }

    fn stamp(&self, snapshot: Vec<u8>) {
        let timestamp = TimestampSpec {
            signed_at: NOW,
            version: self.timestamp,
            expires: self.expires,
            snapshot: Listed::of("snapshot", &snapshot).unwrap(),
        };
        self.serve("timestamp.json", sign_timestamp(&timestamp, self.online));
        self.serve(&format!("{}.snapshot.json", self.snapshot), snapshot);
    }

    /// All versions but the root's one higher.
    fn raise(&mut self) {
        self.timestamp += 1;
        self.snapshot += 1;
        self.targets.version += 1;
        self.vendor.version += 1;
    }

    /// The program, started anew.
    fn client(&self) -> Client<Served, Kept> {
        Client::new(&self.first_root, self.mirror.clone(), self.shelf.clone()).unwrap()
    }

    fn refresh_at(&self, now: OffsetDateTime) -> Result<Versions, RepositoryError> {
        self.client().refresh(now)
    }

    /// What a refresh by a program started anew ends with: versions, or the complaint.
    fn refresh(&self) -> String {
        said(self.refresh_at(NOW))
    }
}

fn said(outcome: Result<Versions, RepositoryError>) -> String {
    match outcome {
        Ok(at) => {
            format!(
                "root {} time {} snap {} targets {}",
                at.root, at.timestamp, at.snapshot, at.targets
            )
        }
        Err(error) => complaint(&error),
    }
}

fn complaint(error: &RepositoryError) -> String {
    let cause = std::error::Error::source(error);
    cause.map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"))
}

#[test]
fn a_repository_is_followed_and_each_file_has_the_digest_that_was_signed() {
    let mut scene = scene();
    assert_eq!(scene.refresh(), "root 1 time 1 snap 1 targets 1");
    scene.raise();
    scene.publish();
    let mut client = scene.client();
    assert_eq!(said(client.refresh(NOW)), "root 1 time 2 snap 2 targets 2");
    let model = client.target("turbine/1", NOW).unwrap().unwrap();
    let digest = Digest::of(MODEL).hex();
    assert_eq!(model.name(), format!("turbine/{digest}.1"));
    assert_eq!((model.length(), model.sha256()), (MODEL.len() as u64, Some(&*digest)));
    let pump = client.target("vendor/acme/pump", NOW).unwrap().unwrap();
    assert_eq!(pump.sha256(), Some(&*Digest::of(b"a pump").hex()));
    assert_eq!(client.target("turbine/9", NOW).unwrap(), None);
    assert_eq!(
        scene.shelf.names(),
        [
            "root.json",
            "root_history/1.root.json",
            "snapshot.json",
            "targets.json",
            "timestamp.json",
            "vendor%2Facme.json"
        ]
    );
}

#[test]
fn a_file_is_believed_by_its_length_and_digest_alone() {
    let scene = scene();
    let mut client = scene.client();
    client.refresh(NOW).unwrap();
    let model = client.target("turbine/1", NOW).unwrap().unwrap();
    let check = |pieces: &[&[u8]]| {
        let mut check = model.check();
        for piece in pieces {
            check.update(piece)?;
        }
        check.finish()
    };
    check(&[b"a mo", b"", b"del"]).unwrap();
    for (wrong, problem) in [
        (&[MODEL, b"!"] as &[&[u8]], "it has more bytes than were promised"),
        (&[b"a mo"], "3 bytes are missing"),
        (&[b"A model"], "it has another digest than was promised"),
    ] {
        let error = check(wrong).unwrap_err().to_string();
        assert!(error.ends_with(problem), "{error}");
    }
}

#[test]
fn a_document_of_the_largest_size_is_read_and_no_larger_one() {
    let scene = scene();
    let timestamp = scene.served("timestamp.json");
    let padded = |length: usize| {
        let padding = vec![b' '; length - timestamp.len()];
        scene.serve("timestamp.json", [&timestamp[..], &padding].concat());
        scene.refresh_at(NOW)
    };
    let error = padded(1 << 20).unwrap_err();
    let RepositoryError::Size { max, .. } = error else { panic!("{error}") };
    let max = usize::try_from(max).unwrap();
    assert!(matches!(padded(max + 1), Err(RepositoryError::Size { .. })));
    padded(max).unwrap();
}

#[test]
fn a_signature_of_the_right_key_that_does_not_fit_counts_for_nothing() {
    let scene = scene();
    let text = String::from_utf8(scene.served("timestamp.json")).unwrap();
    let at = text.find("\"sig\":\"").unwrap() + 7;
    let other = if &text[at..=at] == "0" { "1" } else { "0" };
    let changed = [&text[..at], other, &text[at + 1..]].concat();
    scene.serve("timestamp.json", changed.into_bytes());
    let error = scene.refresh();
    assert!(error.starts_with("timestamp.json"), "{error}");
}

#[test]
fn nothing_is_installed_that_too_few_or_others_have_signed() {
    let [first, second] = [&keys().people[0], &keys().stranger];
    for signers in [vec![first], vec![first, first], vec![first, second], vec![&keys().online; 2]] {
        let mut scene = scene();
        assert_eq!(scene.refresh(), "root 1 time 1 snap 1 targets 1");
        scene.raise();
        scene.publish_signed_by(&signers, &keys().vendor);
        let error = scene.refresh();
        assert!(error.starts_with("2.targets.json"), "{error}");
    }
}

#[test]
fn a_thief_of_the_online_key_cannot_bring_old_targets_back() {
    let mut scene = scene();
    let [old, acme] = ["1.targets.json", "1.vendor%2Facme.json"].map(|name| scene.served(name));
    scene.raise();
    scene.publish();
    assert_eq!(scene.refresh(), "root 1 time 2 snap 2 targets 2");
    (scene.timestamp, scene.snapshot) = (3, 3);
    scene.list(&[("targets", &old), ("vendor/acme", &acme)]);
    let error = scene.refresh();
    assert!(error.contains("targets.json") && error.contains("version 1"), "{error}");
    // In a new run of the program nothing is left in memory of the snapshot that this new timestamp
    // replaces; nor when its own snapshot was withheld at first.
    let snapshot = scene.withhold("3.snapshot.json");
    scene.timestamp = 4;
    scene.stamp(snapshot);
    let snapshot = scene.withhold("3.snapshot.json");
    assert_eq!(scene.refresh(), "the repository has no 3.snapshot.json");
    scene.serve("3.snapshot.json", snapshot);
    assert_eq!(
        scene.refresh(),
        "snapshot.json goes back: targets.json has version 1, version 2 was accepted"
    );
    assert_eq!(scene.refresh().split(':').next(), Some("snapshot.json goes back"));
}

#[test]
fn a_document_once_listed_cannot_be_left_out() {
    let mut scene = scene();
    assert_eq!(scene.refresh(), "root 1 time 1 snap 1 targets 1");
    (scene.timestamp, scene.snapshot) = (2, 2);
    scene.list(&[("targets", &scene.served("1.targets.json"))]);
    let snapshot = scene.withhold("2.snapshot.json");
    assert_eq!(scene.refresh(), "the repository has no 2.snapshot.json");
    scene.serve("2.snapshot.json", snapshot);
    assert_eq!(
        scene.refresh(),
        "snapshot.json cannot be used: it does not list vendor/acme.json any more"
    );
}

#[test]
fn an_old_timestamp_or_one_with_an_old_snapshot_is_refused() {
    let mut scene = scene();
    let old = scene.served("timestamp.json");
    scene.raise();
    scene.publish();
    assert_eq!(scene.refresh(), "root 1 time 2 snap 2 targets 2");
    let current = scene.served("timestamp.json");
    scene.serve("timestamp.json", old);
    assert_eq!(
        scene.refresh(),
        "timestamp.json goes back: timestamp has version 1, version 2 was accepted"
    );
    scene.timestamp = 3;
    scene.snapshot = 1;
    scene.stamp(scene.served("1.snapshot.json"));
    assert_eq!(
        scene.refresh(),
        "timestamp.json goes back: snapshot (via timestamp) has version 1, version 2 was accepted"
    );
    scene.serve("timestamp.json", current);
    assert_eq!(scene.refresh(), "root 1 time 2 snap 2 targets 2");
}

#[test]
fn documents_of_different_days_do_not_mix() {
    let mut scene = scene();
    scene.raise();
    scene.publish();
    for (name, other) in
        [("2.snapshot.json", "1.snapshot.json"), ("2.targets.json", "1.targets.json")]
    {
        let right = scene.served(name);
        scene.serve(name, scene.served(other));
        let error = scene.refresh();
        assert!(error.starts_with(&format!("{name} cannot be used: integrity")), "{error}");
        scene.serve(name, right);
    }
    assert_eq!(scene.refresh(), "root 1 time 2 snap 2 targets 2");
}

#[test]
fn whoever_only_repeats_old_documents_is_found_out_when_they_expire() {
    let mut scene = scene();
    scene.expires = NOW + Duration::HOUR;
    scene.raise();
    scene.publish();
    assert_eq!(scene.refresh(), "root 1 time 2 snap 2 targets 2");
    let last = NOW + Duration::HOUR - Duration::NANOSECOND;
    assert_eq!(said(scene.refresh_at(last)), "root 1 time 2 snap 2 targets 2");
    let error = said(scene.refresh_at(NOW + Duration::HOUR));
    assert_eq!(error, "timestamp.json: role timestamp expired at 2026-11-24T13:00:00Z");
    let mut client = scene.client();
    client.refresh(last).unwrap();
    client.target("turbine/1", last).unwrap().unwrap();
    let error = client.target("turbine/1", NOW + Duration::HOUR).unwrap_err();
    assert!(matches!(error, RepositoryError::Expired { .. }), "{error}");
}

#[test]
fn each_role_expires() {
    for role in ["root", "targets", "vendor"] {
        let mut scene = scene();
        let soon = NOW + Duration::HOUR;
        match role {
            "root" => scene.root.expires = soon,
            "targets" => scene.targets.expires = soon,
            _ => scene.vendor.expires = soon,
        }
        scene.first_root = sign_root(&scene.root, &[&keys().root]);
        scene.publish();
        assert_eq!(scene.refresh(), "root 1 time 1 snap 1 targets 1");
        let mut client = scene.client();
        let refreshed = client.refresh(soon);
        match role {
            "vendor" => {
                refreshed.unwrap();
                let error = client.target("vendor/acme/pump", soon).unwrap_err().to_string();
                assert!(error.contains("vendor/acme expired"), "{error}");
            }
            role => {
                let error = said(refreshed);
                assert!(error.contains(&format!("role {role} expired")), "{error}");
            }
        }
    }
}

#[test]
fn what_expired_here_still_keeps_older_documents_out() {
    let mut scene = scene();
    let old = ["timestamp.json", "1.snapshot.json"].map(|name| scene.served(name));
    scene.expires = NOW + Duration::HOUR;
    scene.raise();
    scene.publish();
    assert_eq!(scene.refresh(), "root 1 time 2 snap 2 targets 2");
    scene.serve("timestamp.json", old[0].clone());
    let error = said(scene.refresh_at(NOW + Duration::DAY));
    assert!(error.contains("version 1, version 2 was accepted"), "{error}");
}

#[test]
fn new_online_keys_end_what_a_thief_of_the_old_ones_has_fast_forwarded() {
    let mut scene = scene();
    let forward = 1u64 << 40;
    (scene.timestamp, scene.snapshot, scene.targets.version) = (forward, forward, forward);
    scene.publish();
    let all = format!("root 1 time {forward} snap {forward} targets {forward}");
    assert_eq!(scene.refresh(), all);
    (scene.timestamp, scene.snapshot, scene.targets.version) = (2, 2, 2);
    scene.publish();
    assert!(scene.refresh().contains("goes back"));
    scene.root.version = 2;
    scene.root.online = keys().next_online.public();
    scene.serve("2.root.json", sign_root(&scene.root, &[&keys().root]));
    // Still signed with the stolen key.
    assert!(scene.refresh().contains("timestamp.json is not signed by enough of its keys: 0 of"));
    scene.online = &keys().next_online;
    scene.publish();
    assert_eq!(scene.refresh(), "root 2 time 2 snap 2 targets 2");
    assert_eq!(scene.refresh(), "root 2 time 2 snap 2 targets 2");
}

#[test]
fn roots_follow_one_another_signed_by_the_old_keys_and_the_new() {
    let mut scene = scene();
    let (old, new) = (&keys().root, &keys().stranger);
    scene.root.version = 2;
    scene.root.root = (vec![new.public()], 1);
    for (signers, document) in
        [(vec![new], "2.root.json"), (vec![old], "2.root.json"), (vec![], "2.root.json")]
    {
        scene.serve("2.root.json", sign_root(&scene.root, &signers));
        let error = scene.refresh();
        assert!(error.starts_with(&format!("{document} is not signed by enough")), "{error}");
    }
    scene.serve("2.root.json", sign_root(&scene.root, &[old, new]));
    assert_eq!(scene.refresh(), "root 2 time 1 snap 1 targets 1");
    // The next one skips a version.
    scene.root.version = 4;
    scene.serve("3.root.json", sign_root(&scene.root, &[new]));
    assert_eq!(scene.refresh(), "the root has version 4, the next one after 2 is needed");
    // A mirror that hides the new root, from a program that starts from the first one.
    scene.withhold("2.root.json");
    scene.withhold("3.root.json");
    assert_eq!(scene.refresh(), "root 2 time 1 snap 1 targets 1");
}

#[test]
fn a_device_that_lay_on_a_shelf_for_years_follows_every_root_since() {
    let mut scene = scene();
    for version in 2..=100 {
        scene.root.version = version;
        scene.serve(&format!("{version}.root.json"), sign_root(&scene.root, &[&keys().root]));
    }
    assert_eq!(scene.refresh(), "root 100 time 1 snap 1 targets 1");
}

#[test]
fn endless_documents_are_cut_off() {
    let scene = scene();
    for (name, max) in [
        ("2.root.json", 512_000),
        ("timestamp.json", 16_384),
        ("1.snapshot.json", 2_000_000),
        ("1.targets.json", 5_000_000),
    ] {
        let before = scene.mirror.documents.lock().unwrap().get(name).cloned();
        scene.serve(name, vec![b' '; max + 1]);
        let bytes = max + 1;
        assert_eq!(scene.refresh(), format!("{name} has {bytes} bytes or more, {max} are allowed"));
        match before {
            Some(right) => scene.serve(name, right),
            None => drop(scene.withhold(name)),
        }
    }
    assert_eq!(scene.refresh(), "root 1 time 1 snap 1 targets 1");
}

#[test]
fn a_delegated_role_signs_within_its_paths_and_in_its_turn() {
    let mut scene = scene();
    scene.publish();
    let mut client = scene.client();
    client.refresh(NOW).unwrap();
    // The vendor has signed `turbine/2` too.
    assert_eq!(client.target("turbine/2", NOW).unwrap(), None);
    assert_eq!(client.target("vendor/acme/deep/pump", NOW).unwrap(), None);
    scene.raise();
    scene.publish_signed_by(&enough(), &keys().stranger);
    client.refresh(NOW).unwrap();
    let error = client.target("vendor/acme/pump", NOW).unwrap_err().to_string();
    assert!(error.contains("vendor%2Facme.json is not signed by enough"), "{error}");
    let error = client.target("turbine/1", NOW).unwrap_err();
    assert!(matches!(error, RepositoryError::NotFresh), "{error}");
}

#[test]
fn a_delegated_role_that_is_not_listed_is_not_passed_over_for_a_lesser_one() {
    let mut scene = scene();
    let lesser = Delegation {
        name: "vendor/lesser".into(),
        keys: vec![keys().stranger.public()],
        threshold: 1,
        paths: vec!["vendor/acme/*".into(), "turbine/*".into()],
        terminating: false,
    };
    scene.targets.delegations[0].terminating = false;
    scene.targets.delegations.push(lesser);
    let targets = sign_targets(&scene.targets, &enough());
    let forged = sign_targets(&scene.vendor, &[&keys().stranger]);
    scene.list(&[("targets", &targets), ("vendor/lesser", &forged)]);
    scene.serve("1.targets.json", targets);
    scene.serve("1.vendor%2Flesser.json", forged);
    let mut client = scene.client();
    client.refresh(NOW).unwrap();
    assert_eq!(
        client.target("vendor/acme/pump", NOW).unwrap_err().to_string(),
        "snapshot.json cannot be used: it does not list vendor/acme.json, to which \
         vendor/acme/pump is delegated"
    );
    // Whom nobody gets to ask need not be listed.
    scene.raise();
    scene.targets.delegations[0].terminating = true;
    scene.publish();
    scene.shelf = Kept::default();
    let mut client = scene.client();
    client.refresh(NOW).unwrap();
    client.target("turbine/1", NOW).unwrap().unwrap();
    client.target("vendor/acme/pump", NOW).unwrap().unwrap();
    assert_eq!(client.target("vendor/acme/valve", NOW).unwrap(), None);
    client.target("turbine/9", NOW).unwrap_err();
}

#[test]
fn after_a_refresh_that_failed_nothing_is_answered_from_the_one_before() {
    let scene = scene();
    let mut client = scene.client();
    let error = client.target("turbine/1", NOW).unwrap_err();
    assert_eq!(error.to_string(), "the repository was not refreshed");
    client.refresh(NOW).unwrap();
    client.target("turbine/1", NOW).unwrap().unwrap();
    scene.withhold("timestamp.json");
    assert_eq!(said(client.refresh(NOW)), "the repository has no timestamp.json");
    assert!(matches!(client.target("turbine/1", NOW), Err(RepositoryError::NotFresh)));
}

#[test]
fn a_delegated_role_cannot_pass_for_one_of_the_root_or_for_another() {
    for name in ["timestamp", "", "vendor/acme"] {
        let mut scene = scene();
        let mut twin = scene.targets.delegations[0].clone();
        twin.name = name.into();
        scene.targets.delegations.push(twin);
        scene.publish();
        let error = scene.refresh();
        assert!(error.contains("delegates to a second role"), "{error}");
        assert!(!scene.shelf.names().contains(&"targets.json".to_owned()));
    }
}

#[test]
fn odd_names_of_delegated_roles_hurt_nothing_that_is_kept() {
    for name in ["1.snapshot", "2.root", "../targets", "root_history/1.root", "?"] {
        let mut scene = scene();
        scene.targets.delegations[0].name = name.into();
        let targets = sign_targets(&scene.targets, &enough());
        let odd = sign_targets(&scene.vendor, &[&keys().vendor]);
        scene.list(&[("targets", &targets), (name, &odd)]);
        scene.serve("1.targets.json", targets);
        let file = name.replace('/', "%2F").replace('?', "%3F") + ".json";
        scene.serve(&format!("1.{file}"), odd);
        let mut client = scene.client();
        client.refresh(NOW).unwrap();
        let before = scene.shelf.documents.lock().unwrap().clone();
        client.target("vendor/acme/pump", NOW).unwrap().unwrap();
        let mut after = scene.shelf.documents.lock().unwrap().clone();
        assert!(after.remove(&file).is_some(), "{file} was not kept");
        assert_eq!(before, after);
        assert_eq!(scene.refresh(), "root 1 time 1 snap 1 targets 1");
    }
}

#[test]
fn what_could_not_be_written_down_is_not_trusted_and_nothing_that_rests_on_it_is_fetched() {
    for (full, last) in [
        ("root.json", None),
        ("root_history/1.root.json", None),
        ("root_history/2.root.json", Some("2.root.json")),
        ("timestamp.json", Some("timestamp.json")),
        ("snapshot.json", Some("1.snapshot.json")),
        ("targets.json", Some("1.targets.json")),
    ] {
        let mut scene = scene();
        scene.root.version = 2;
        scene.serve("2.root.json", sign_root(&scene.root, &[&keys().root]));
        scene.shelf.full.lock().unwrap().insert(full);
        let mut client = scene.client();
        assert_eq!(said(client.refresh(NOW)), format!("cannot keep {full} here: no space left"));
        assert_eq!(scene.mirror.asked.lock().unwrap().last().map(String::as_str), last, "{full}");
        let error = client.target("turbine/1", NOW).unwrap_err();
        assert!(matches!(error, RepositoryError::NotFresh), "{error}");
        scene.shelf.full.lock().unwrap().clear();
        assert_eq!(said(client.refresh(NOW)), "root 2 time 1 snap 1 targets 1");
        client.target("turbine/1", NOW).unwrap().unwrap();
    }
}

#[test]
fn a_shelf_that_cannot_be_read_is_not_taken_for_an_empty_one() {
    for unreadable in
        ["root_history/2.root.json", "timestamp.json", "snapshot.json", "targets.json"]
    {
        let scene = scene();
        scene.refresh_at(NOW).unwrap();
        scene.shelf.unreadable.lock().unwrap().insert(unreadable);
        assert_eq!(scene.refresh(), format!("cannot read {unreadable} here: input/output error"));
    }
}

#[test]
fn a_delegated_role_that_cannot_be_written_down_is_not_trusted() {
    let scene = scene();
    scene.shelf.full.lock().unwrap().insert("vendor%2Facme.json");
    let mut client = scene.client();
    client.refresh(NOW).unwrap();
    let error = complaint(&client.target("vendor/acme/pump", NOW).unwrap_err());
    assert_eq!(error, "cannot keep vendor%2Facme.json here: no space left");
    assert!(matches!(client.target("vendor/acme/pump", NOW), Err(RepositoryError::NotFresh)));
}

#[test]
fn a_refresh_that_brings_nothing_new_writes_nothing() {
    let scene = scene();
    scene.refresh_at(NOW).unwrap();
    scene.shelf.written.lock().unwrap().clear();
    scene.refresh_at(NOW).unwrap();
    assert_eq!(*scene.shelf.written.lock().unwrap(), Vec::<String>::new());
}

#[test]
fn what_is_here_already_is_not_fetched_again_even_if_the_mirror_has_lost_it() {
    let mut scene = scene();
    let mut client = scene.client();
    client.refresh(NOW).unwrap();
    client.target("vendor/acme/pump", NOW).unwrap().unwrap();
    (scene.timestamp, scene.snapshot) = (2, 2);
    scene.publish();
    scene.withhold("1.targets.json");
    scene.withhold("1.vendor%2Facme.json");
    scene.mirror.asked.lock().unwrap().clear();
    let mut client = scene.client();
    assert_eq!(said(client.refresh(NOW)), "root 1 time 2 snap 2 targets 1");
    client.target("vendor/acme/pump", NOW).unwrap().unwrap();
    let asked = scene.mirror.asked.lock().unwrap().clone();
    assert_eq!(asked, ["2.root.json", "timestamp.json", "2.snapshot.json"]);
}

#[test]
fn forged_documents_on_the_shelf_count_for_nothing() {
    let mut scene = scene();
    scene.refresh_at(NOW).unwrap();
    let pristine = scene.shelf.documents.lock().unwrap().clone();
    for name in pristine.keys() {
        let mut documents = pristine.clone();
        documents.insert(name.clone(), b"{}".to_vec());
        *scene.shelf.documents.lock().unwrap() = documents;
        assert_eq!(scene.refresh(), "root 1 time 1 snap 1 targets 1", "{name}");
    }
    // Signed by a stranger, to hold the device back for ever.
    scene.online = &keys().stranger;
    (scene.timestamp, scene.snapshot) = (9, 9);
    let right = scene.mirror.documents.lock().unwrap().clone();
    scene.publish();
    for (name, forged) in
        [("timestamp.json", "timestamp.json"), ("snapshot.json", "9.snapshot.json")]
    {
        let forged = scene.served(forged);
        scene.shelf.documents.lock().unwrap().insert(name.into(), forged);
    }
    *scene.mirror.documents.lock().unwrap() = right;
    assert_eq!(scene.refresh(), "root 1 time 1 snap 1 targets 1");
}
