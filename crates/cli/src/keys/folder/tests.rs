//! One folder of keys in the hands of people and thieves.

use super::*;
use lineside_bundle::{Digest, ReleaseId};
use lineside_trust::{KeyPair, ReleasesDraft, RootSpec, sign_root, verify_releases};
use ring::rand::SystemRandom;
use time::macros::datetime;
use time::{Duration, OffsetDateTime};

const NOW: OffsetDateTime = datetime!(2026-11-24 12:00 UTC);
const LATER: OffsetDateTime = datetime!(2027-11-24 12:00 UTC);

fn secret(path: &Path, key: &KeyPair) {
    std::fs::write(path, key.to_pem()).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

/// A folder with a root that wants two of three release keys, of which two lie in it.
struct Desk {
    folder: tempfile::TempDir,
    root_key: KeyPair,
    people: Vec<KeyPair>,
    spec: RootSpec,
}

impl Desk {
    fn new() -> Desk {
        let random = SystemRandom::new();
        let key = || KeyPair::generate(&random).unwrap();
        let (root_key, people) = (key(), vec![key(), key(), key()]);
        let spec = RootSpec {
            version: 1,
            expires: LATER,
            root: (vec![root_key.public()], 1),
            releases: (people.iter().map(KeyPair::public).collect(), 2),
            online: key().public(),
            director: key().public(),
        };
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        std::fs::write(path.join(ROOT), sign_root(&spec, &[&root_key])).unwrap();
        secret(&path.join(release_key(1)), &key());
        secret(&path.join(release_key(2)), &people[1]);
        secret(&path.join(release_key(3)), &people[2]);
        Desk { folder, root_key, people, spec }
    }

    fn open(&self) -> KeyFolder {
        KeyFolder::open(self.folder.path()).unwrap()
    }

    /// A list of releases of this version, good until `expires`.
    fn list(&self, version: usize, expires: OffsetDateTime) -> Vec<u8> {
        let keys = [&self.people[0], &self.people[1]];
        let folder = self.open();
        let mut bytes = Vec::new();
        for number in 1..=version {
            let trusted = verify_releases(folder.root(), &bytes, None, NOW).ok();
            let mut draft = ReleasesDraft::after(trusted.as_ref());
            let id = ReleaseId {
                name: "turbine".parse().unwrap(),
                version: number.to_string().parse().unwrap(),
                digest: Digest::of(&[0]),
                size: 1,
            };
            draft.add(id, None).unwrap();
            let until = if number == version { expires } else { LATER };
            bytes = draft.sign(until, &keys);
        }
        bytes
    }
}

#[test]
fn as_many_keys_sign_as_the_root_wants_and_only_those_it_names() {
    let desk = Desk::new();
    let ids: Vec<String> =
        desk.open().release_keys().unwrap().iter().map(|key| key.public().id()).collect();
    assert_eq!(ids, [desk.people[1].id(), desk.people[2].id()]);
    std::fs::remove_file(desk.folder.path().join(release_key(3))).unwrap();
    let error = desk.open().release_keys().err().unwrap().to_string();
    assert!(error.contains("needs 2 signatures") && error.contains("has 1 of"), "{error}");
}

#[test]
fn a_release_key_that_others_may_read_signs_nothing() {
    let desk = Desk::new();
    let path = desk.folder.path().join(release_key(2));
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
    let error = desk.open().release_keys().err().unwrap().to_string();
    assert!(error.ends_with(&format!("(mode 640); run: chmod 600 {}", path.display())), "{error}");
}

#[test]
fn a_server_that_went_back_is_noticed() {
    let desk = Desk::new();
    let (old, new) = (desk.list(1, LATER), desk.list(2, LATER));
    assert!(desk.open().verify(Some(&old), NOW).is_ok());
    desk.open().keep_releases(&new).unwrap();
    for forgotten in [Some(old.as_slice()), None] {
        let known = desk.open().verify(forgotten, NOW).unwrap().unwrap();
        assert!(known.is_forgotten && known.bytes == new);
    }
    assert!(!desk.open().verify(Some(&new), NOW).unwrap().unwrap().is_forgotten);
}

#[test]
fn every_root_that_was_trusted_stays_and_leads_to_the_next() {
    let desk = Desk::new();
    let versions = |folder: &KeyFolder| -> Vec<u64> {
        folder.roots().unwrap().iter().map(Root::version).collect()
    };
    assert_eq!(versions(&desk.open()), [1]);
    let first = desk.open().root().clone();
    for version in [2, 3] {
        let next = RootSpec { version, ..desk.spec.clone() };
        desk.open().follow(&sign_root(&next, &[&desk.root_key])).unwrap();
    }
    assert_eq!(versions(&desk.open()), [1, 2, 3]);
    assert!(desk.open().follows(&first).unwrap());
    let here = desk.open().root().clone();
    assert!(!desk.open().follows(&here).unwrap());

    // A root that somebody else made does not lead here.
    let path = desk.folder.path().join(root_file(2));
    std::fs::write(&path, Desk::new().open().root().bytes()).unwrap();
    let error = format!("{:#}", desk.open().roots().unwrap_err());
    assert!(error.contains("2.root.json does not lead to root 3"), "{error}");
    std::fs::remove_file(path).unwrap();
    assert_eq!(versions(&desk.open()), [3]);
}

#[test]
fn a_list_past_its_date_is_told_apart_from_one_that_nobody_signed() {
    let desk = Desk::new();
    let expired = desk.list(1, NOW - Duration::days(1));
    let known = desk.open().verify(Some(&expired), NOW).unwrap().unwrap();
    assert!(known.releases.get("turbine/1").is_some());
    assert_eq!(known.freshness, Freshness::Expired);
    let forged = String::from_utf8(desk.list(1, LATER)).unwrap().replace("turbine", "turbina");
    let error = format!("{:#}", desk.open().verify(Some(forged.as_bytes()), NOW).unwrap_err());
    assert!(error.contains("is not trusted"), "{error}");
}

#[test]
fn a_list_of_replaced_keys_is_the_base_of_the_next_if_it_was_verified_here_before() {
    let mut desk = Desk::new();
    let (seen_here, other) = (desk.list(2, LATER), desk.list(3, LATER));
    desk.open().keep_releases(&seen_here).unwrap();
    let random = SystemRandom::new();
    desk.people = (0..3).map(|_| KeyPair::generate(&random).unwrap()).collect();
    desk.spec.version = 2;
    desk.spec.releases = (desk.people.iter().map(KeyPair::public).collect(), 2);
    let before = desk.open().root().clone();
    let root = sign_root(&desk.spec, &[&desk.root_key]);
    std::fs::write(desk.folder.path().join(ROOT), root).unwrap();
    assert!(desk.open().follows(&before).unwrap());
    let error = desk.open().compare("URL", Some(before.bytes())).unwrap_err().to_string();
    assert!(error.contains("keys publish"), "{error}");

    let known = desk.open().verify(Some(&seen_here), NOW).unwrap().unwrap();
    assert_eq!(known.freshness, Freshness::KeysReplaced);
    assert!(known.releases.get("turbine/2").is_some());
    assert!(known.unsigned_anew().is_empty() && known.tell_unsigned().is_empty());
    // Whoever has a key that was replaced may have signed this one: it is not gone on from.
    let known = desk.open().verify(Some(&other), NOW).unwrap().unwrap();
    assert_eq!((known.freshness, known.is_forgotten), (Freshness::KeysReplaced, false));
    assert!(known.bytes == seen_here && known.releases.get("turbine/3").is_none());
    assert_eq!(known.unsigned_anew(), ["turbine/3"]);
    assert!(known.tell_unsigned().contains("not signed anew, and given to no device: turbine/3."));
    let next = known.next().sign(LATER, &[&desk.people[0], &desk.people[1]]);
    let next = verify_releases(desk.open().root(), &next, None, NOW).unwrap();
    assert_eq!(next.seen().version, 4);
    // One of keys that nobody here has ever trusted is refused as before.
    let stranger = Desk::new().list(3, LATER);
    let error = format!("{:#}", desk.open().verify(Some(&stranger), NOW).unwrap_err());
    assert!(error.contains("is not trusted") && error.contains("sign it anew"), "{error}");

    // Signed anew it holds by the root itself.
    let anew = desk.list(3, LATER);
    desk.open().keep_releases(&anew).unwrap();
    let known = desk.open().verify(Some(&anew), NOW).unwrap().unwrap();
    assert_eq!(known.freshness, Freshness::Fresh);
    let known = desk.open().verify(Some(&seen_here), NOW).unwrap().unwrap();
    assert!(known.is_forgotten && known.bytes == anew);
}

#[test]
fn another_root_is_refused_and_a_newer_one_is_not_taken_from_the_server() {
    let desk = Desk::new();
    let folder = desk.open();
    let compare = |root: Option<&[u8]>| folder.compare("URL", root).map_err(|e| e.to_string());
    assert!(compare(Some(folder.root().bytes())).is_ok());
    assert!(compare(None).unwrap_err().contains("has no root yet"));
    let other = Desk::new();
    let stranger = compare(Some(other.open().root().bytes())).unwrap_err();
    assert!(stranger.contains("follows another root"), "{stranger}");
    let next = RootSpec { version: 2, ..desk.spec.clone() };
    let newer = compare(Some(&sign_root(&next, &[&desk.root_key]))).unwrap_err();
    assert!(newer.contains("root version 2") && newer.contains("not from the server"), "{newer}");
}
