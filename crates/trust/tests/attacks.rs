//! What a thief of the server, a rogue signer and a noisy line can try, and what comes of it.

#![allow(clippy::unwrap_used)] // A test stops at what does not hold.

use lineside_bundle::{Digest, ReleaseId};
use lineside_trust::repository::{Carried, Client, InMemory};
use lineside_trust::{
    AssignmentSpec, DOCUMENT_BYTES_MAX, Delegation, FLOOR_MAX, KeyPair, Listed, PublicKey,
    ReleasesDraft, Root, RootSpec, Seen, SignedRelease, SnapshotSpec, TimestampSpec, TrustError,
    TrustedAssignment, TrustedReleases, VERSION_MAX, agree, sign_assignment, sign_root,
    sign_snapshot, sign_timestamp, verify_assignment, verify_releases,
};
use lineside_wire::name::DeviceId;
use proptest::prelude::*;
use ring::rand::SystemRandom;
use sigstore_tuf::canonical_json::to_canonical_bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;
use time::macros::datetime;
use time::{Duration, OffsetDateTime};

const NOW: OffsetDateTime = datetime!(2026-11-24 12:00 UTC);
const LATER: OffsetDateTime = datetime!(2027-11-24 12:00 UTC);

/// Everybody's keys. Releases need two of three people.
struct Keys {
    roots: Vec<KeyPair>,
    people: Vec<KeyPair>,
    online: KeyPair,
    director: KeyPair,
    stranger: KeyPair,
}

fn keys() -> &'static Keys {
    static KEYS: OnceLock<Keys> = OnceLock::new();
    KEYS.get_or_init(|| {
        let random = SystemRandom::new();
        let key = || KeyPair::generate(&random).unwrap();
        Keys {
            roots: vec![key(), key()],
            people: vec![key(), key(), key()],
            online: key(),
            director: key(),
            stranger: key(),
        }
    })
}

fn spec() -> RootSpec {
    let keys = keys();
    RootSpec {
        version: 1,
        expires: LATER,
        root: (vec![keys.roots[0].public()], 1),
        releases: (keys.people.iter().map(KeyPair::public).collect(), 2),
        online: keys.online.public(),
        director: keys.director.public(),
    }
}

fn root() -> Root {
    Root::pin(&sign_root(&spec(), &[&keys().roots[0]])).unwrap()
}

fn release(version: &str) -> ReleaseId {
    let digest = Digest::of(version.as_bytes());
    ReleaseId {
        name: "turbine".parse().unwrap(),
        version: version.parse().unwrap(),
        digest,
        size: 700,
    }
}

fn draft(versions: &[&str]) -> ReleasesDraft {
    let mut draft = ReleasesDraft::after(None);
    for version in versions {
        draft.add(release(version), None).unwrap();
    }
    draft
}

fn releases(signers: &[&KeyPair]) -> Vec<u8> {
    draft(&["1", "2"]).sign(LATER, signers)
}

fn enough() -> [&'static KeyPair; 2] {
    [&keys().people[0], &keys().people[2]]
}

fn device() -> DeviceId {
    "line-3".parse().unwrap()
}

fn assigned(version: u64, release: ReleaseId) -> AssignmentSpec {
    let slots = BTreeMap::from([("turbine".parse().unwrap(), release)]);
    AssignmentSpec {
        device: device(),
        version,
        expires: LATER,
        slots,
        approved: BTreeSet::new(),
        again: BTreeMap::new(),
    }
}

fn accept_releases(bytes: &[u8]) -> Result<TrustedReleases, TrustError> {
    verify_releases(&root(), bytes, None, NOW)
}

fn accept_assignment(bytes: &[u8]) -> Result<TrustedAssignment, TrustError> {
    verify_assignment(&root(), bytes, &device(), None, NOW)
}

/// Follows a repository with this list of releases.
fn follow(list: &[u8]) -> Client<Carried, InMemory> {
    let (online, listed) = (&keys().online, Listed::of("targets", list).unwrap());
    let documents = BTreeMap::from([("targets".to_owned(), listed)]);
    let snapshot = sign_snapshot(&SnapshotSpec { version: 1, expires: LATER, documents }, online);
    let listed = Listed::of("snapshot", &snapshot).unwrap();
    let spec = TimestampSpec { version: 1, signed_at: NOW, expires: LATER, snapshot: listed };
    let carried = Carried::from_iter([
        ("timestamp.json".to_owned(), sign_timestamp(&spec, online)),
        ("1.snapshot.json".to_owned(), snapshot),
        ("1.targets.json".to_owned(), list.to_vec()),
    ]);
    let mut client = Client::new(root().bytes(), carried, InMemory::default()).unwrap();
    client.refresh(NOW).unwrap();
    client
}

fn said<T: std::fmt::Debug, E: std::fmt::Display>(result: Result<T, E>) -> String {
    match result {
        Ok(accepted) => format!("accepted {accepted:?}"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn what_both_name_may_be_installed() {
    let mut repository = follow(&releases(&enough()));
    let spec = assigned(1, release("2"));
    let assignment = accept_assignment(&sign_assignment(&spec, &keys().director)).unwrap();
    let [target] = agree(&mut repository, &assignment, NOW).unwrap().try_into().unwrap();
    assert_eq!(target.release(), &release("2"));
    assert_eq!((target.slot().as_str(), target.number(), target.floor()), ("turbine", 2, 0));
}

/// A document whose signatures name the right keys and do not fit.
fn badly_signed(document: &[u8]) -> Vec<u8> {
    let mut document: serde_json::Value = serde_json::from_slice(document).unwrap();
    for signature in document["signatures"].as_array_mut().unwrap() {
        let digits = signature["sig"].as_str().unwrap();
        let other = if digits.starts_with('0') { "1" } else { "0" };
        signature["sig"] = format!("{other}{}", &digits[1..]).into();
    }
    serde_json::to_vec(&document).unwrap()
}

#[test]
fn a_signature_of_the_right_key_that_does_not_fit_counts_for_nothing() {
    let keys = keys();
    let not_signed = |said: String| assert!(said.contains("not signed by enough"), "{said}");
    not_signed(said(accept_releases(&badly_signed(&releases(&enough())))));
    let assignment = sign_assignment(&assigned(1, release("2")), &keys.director);
    not_signed(said(accept_assignment(&badly_signed(&assignment))));
    let first = sign_root(&spec(), &[&keys.roots[0]]);
    assert!(Root::pin(&badly_signed(&first)).is_err());
    let next = sign_root(&RootSpec { version: 2, ..spec() }, &[&keys.roots[0]]);
    assert!(root().update(&next).is_ok());
    assert!(root().update(&badly_signed(&next)).is_err());
}

#[test]
fn a_target_brings_the_floor_that_was_signed() {
    let mut draft = draft(&["1"]);
    draft.add(release("2"), Some(2)).unwrap();
    let mut repository = follow(&draft.sign(LATER, &enough()));
    let spec = assigned(1, release("2"));
    let assignment = accept_assignment(&sign_assignment(&spec, &keys().director)).unwrap();
    let [target] = agree(&mut repository, &assignment, NOW).unwrap().try_into().unwrap();
    assert_eq!((target.number(), target.floor()), (2, 2));
}

#[test]
fn fewer_signers_than_needed_release_nothing() {
    let keys = keys();
    let one = &keys.people[0];
    for signers in [vec![], vec![one], vec![one, &keys.stranger], vec![one, &keys.director]] {
        let said = said(accept_releases(&releases(&signers)));
        assert!(
            said.starts_with("the list of releases is not signed by enough of its keys"),
            "{said}"
        );
    }
    // One person signing twice is still one person.
    let twice = said(accept_releases(&releases(&[one, one])));
    assert!(twice.contains("not signed by enough"), "{twice}");
}

#[test]
fn the_servers_keys_cannot_release_and_peoples_keys_cannot_assign() {
    let keys = keys();
    let forged = releases(&[&keys.director, &keys.online]);
    assert!(said(accept_releases(&forged)).contains("0 of the 2 needed"));
    let spec = assigned(1, release("2"));
    for signer in [&keys.people[0], &keys.online, &keys.stranger, &keys.roots[0]] {
        let said = said(accept_assignment(&sign_assignment(&spec, signer)));
        assert!(said.contains("0 of the 1 needed"), "{said}");
    }
    // An assignment is targets metadata as well, and must not pass for a list of releases.
    let assignment = sign_assignment(&spec, &keys.director);
    assert!(accept_releases(&assignment).is_err());
    assert!(accept_assignment(&releases(&enough())).is_err());
}

#[test]
fn an_assignment_of_what_nobody_released_is_not_believed() {
    let try_assign = |id: ReleaseId| {
        let bytes = sign_assignment(&assigned(1, id), &keys().director);
        let mut repository = follow(&releases(&enough()));
        said(agree(&mut repository, &accept_assignment(&bytes).unwrap(), NOW))
    };
    assert_eq!(
        try_assign(release("9")),
        "turbine/9 is assigned, and the release keys have not signed it"
    );
    let words =
        "turbine/2 is assigned with another digest or size than the release keys have signed";
    assert_eq!(try_assign(ReleaseId { digest: Digest::of(b"evil"), ..release("2") }), words);
    assert_eq!(try_assign(ReleaseId { size: 701, ..release("2") }), words);
}

#[test]
fn another_devices_assignment_is_refused() {
    let other = AssignmentSpec { device: "line-4".parse().unwrap(), ..assigned(1, release("2")) };
    assert_eq!(
        said(accept_assignment(&sign_assignment(&other, &keys().director))),
        "the assignment is for device line-4, this is line-3"
    );
}

#[test]
fn nothing_goes_back_to_an_older_version_and_the_same_may_come_again() {
    let sign = |version| sign_assignment(&assigned(version, release("2")), &keys().director);
    let accept =
        |bytes: &[u8], seen: &Seen| verify_assignment(&root(), bytes, &device(), Some(seen), NOW);
    let seen = accept_assignment(&sign(7)).unwrap().seen();
    assert_eq!(
        said(accept(&sign(6), &seen)),
        "the assignment has version 6, older than version 7 accepted before; \
         `lineside assign` has a new one signed"
    );
    assert!(accept(&sign(7), &seen).is_ok());
    assert!(accept(&sign(8), &seen).is_ok());
    let two_faced = sign_assignment(&assigned(7, release("1")), &keys().director);
    assert_eq!(
        said(accept(&two_faced, &seen)),
        "the assignment of version 7 differs from the one accepted before; \
         `lineside assign` has a new one signed"
    );

    let first = accept_releases(&releases(&enough())).unwrap();
    let mut next = ReleasesDraft::after(Some(&first));
    next.add(release("3"), None).unwrap();
    let next = accept_releases(&next.sign(LATER, &enough())).unwrap();
    let back = verify_releases(&root(), &releases(&enough()), Some(&next.seen()), NOW);
    assert!(matches!(back, Err(TrustError::Older { version: 1, seen: 2, .. })));
}

#[test]
fn expired_documents_are_refused_with_their_date_and_the_remedy() {
    let past = NOW - Duration::SECOND;
    let list = draft(&["1"]).sign(past, &enough());
    assert_eq!(
        said(accept_releases(&list)),
        "the list of releases expired at 2026-11-24T11:59:59Z, it is 2026-11-24T12:00:00Z by the \
         clock here; `lineside release` signs a new one"
    );
    let late = AssignmentSpec { expires: past, ..assigned(1, release("1")) };
    let said_of = said(accept_assignment(&sign_assignment(&late, &keys().director)));
    assert_eq!(
        said_of,
        "the assignment expired at 2026-11-24T11:59:59Z, it is 2026-11-24T12:00:00Z by the clock \
         here; `lineside assign` has a new one signed"
    );
    let old = Root::pin(&sign_root(&RootSpec { expires: past, ..spec() }, &[&keys().roots[0]]));
    let refused = verify_releases(&old.unwrap(), &releases(&enough()), None, NOW);
    assert_eq!(
        said(refused),
        "the root expired at 2026-11-24T11:59:59Z, it is 2026-11-24T12:00:00Z by the clock here; \
         people with root keys sign a new one"
    );
}

#[test]
fn a_root_is_followed_one_version_at_a_time_and_signed_by_both() {
    let keys = keys();
    let [old, new] = [&keys.roots[0], &keys.roots[1]];
    let next = |version, signers: &[&KeyPair]| {
        sign_root(&RootSpec { version, root: (vec![new.public()], 1), ..spec() }, signers)
    };
    assert_eq!(root().update(&next(2, &[old, new])).unwrap().version(), 2);
    for (version, signers) in [(2, vec![old]), (2, vec![new]), (2, vec![&keys.stranger])] {
        let said = said(root().update(&next(version, &signers)));
        assert!(said.contains("not signed by enough"), "{said}");
    }
    for version in [0, 1, 3] {
        assert!(matches!(
            root().update(&next(version, &[old, new])),
            Err(TrustError::RootSequence { current: 1, .. })
        ));
    }
    // Whoever held a key that was rotated out can no longer speak.
    let second = root().update(&next(2, &[old, new])).unwrap();
    let third = sign_root(&RootSpec { version: 3, ..spec() }, &[old]);
    assert!(second.update(&third).is_err());
}

#[test]
fn versions_bind_as_long_as_enough_of_the_keys_that_signed_them_still_may() {
    let keys = keys();
    let [one, two, three] = [&keys.people[0], &keys.people[1], &keys.people[2]];
    let with = |people: &[&KeyPair], threshold, director: &KeyPair| {
        let releases = (people.iter().map(|key| key.public()).collect(), threshold);
        let spec = RootSpec { version: 2, releases, director: director.public(), ..spec() };
        root().update(&sign_root(&spec, &[&keys.roots[0]])).unwrap()
    };
    let stranger = &keys.stranger;
    for (next, releases, assignments) in [
        (with(&[one, two, three], 2, &keys.director), true, true),
        (with(&[one, two, three], 2, stranger), true, false),
        // Two of the old keys are still enough to have signed what is old.
        (with(&[one, two, stranger], 2, &keys.director), true, true),
        (with(&[one, stranger], 1, &keys.director), true, true),
        // With one of them alone nothing old can be shown any more.
        (with(&[one, stranger], 2, &keys.director), false, true),
        (with(&[stranger], 1, &keys.director), false, true),
    ] {
        let found = (next.honours_releases_of(&root()), next.honours_assignments_of(&root()));
        assert_eq!(found, (releases, assignments));
    }
}

#[test]
fn a_version_that_nothing_could_follow_is_refused() {
    let sign = |version| sign_assignment(&assigned(version, release("2")), &keys().director);
    let highest = accept_assignment(&sign(VERSION_MAX)).unwrap().seen();
    assert_eq!(highest.version, VERSION_MAX);
    let said = said(accept_assignment(&sign(VERSION_MAX + 1)));
    assert!(said.contains("version 9007199254740993 is above"), "{said}");
    let next = RootSpec { version: VERSION_MAX + 1, ..spec() };
    assert!(Root::pin(&sign_root(&next, &[&keys().roots[0]])).is_err());
}

#[test]
fn a_root_that_could_be_met_by_one_hand_is_refused() {
    let keys = keys();
    let pin = |spec: RootSpec| said(Root::pin(&sign_root(&spec, &[&keys.roots[0]])));
    let none = RootSpec { releases: (vec![keys.people[0].public()], 0), ..spec() };
    assert!(pin(none).contains("role targets needs 0 signatures"));
    let unreachable = RootSpec { releases: (vec![keys.people[0].public()], 2), ..spec() };
    assert!(pin(unreachable).contains("role targets needs 2 signatures and has 1 keys"));
    let shared = RootSpec { releases: (vec![keys.director.public()], 1), ..spec() };
    assert!(
        pin(shared)
            .contains("is both of role director, which is the server's, and of role targets")
    );
    assert!(
        said(Root::pin(&sign_root(&spec(), &[&keys.stranger]))).contains("not signed by enough")
    );
}

#[test]
fn a_key_under_two_names_counts_once() {
    let text = String::from_utf8(sign_root(&spec(), &[&keys().roots[0]])).unwrap();
    let mut value: serde_json::Value = serde_json::from_str(&text).unwrap();
    let id = keys().people[0].id();
    let twin = value["signed"]["keys"][&id].clone();
    value["signed"]["keys"]["feed"] = twin;
    let said = said(Root::pin(&serde_json::to_vec(&value).unwrap()));
    assert!(said.contains("it names one key twice"), "{said}");
}

/// The key in other spellings: large hex digits, and PEM (RFC 8410).
fn respelled(key: &KeyPair) -> [PublicKey; 2] {
    let mut plain = serde_json::to_value(key.public()).unwrap();
    let hex = plain["keyval"]["public"].as_str().unwrap().to_owned();
    let bytes = (0..32).map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap());
    let head = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
    let info: Vec<u8> = head.into_iter().chain(bytes).collect();
    let pem = pem_rfc7468::encode_string("PUBLIC KEY", pem_rfc7468::LineEnding::LF, &info);
    [hex.to_ascii_uppercase(), pem.unwrap()].map(|public| {
        plain["keyval"]["public"] = public.into();
        let other = PublicKey::parse(plain.to_string().as_bytes()).unwrap();
        assert_ne!(other.id(), key.id());
        other
    })
}

#[test]
fn a_key_in_another_spelling_counts_once_and_is_whose_it_was() {
    let keys = keys();
    let pin = |spec: RootSpec| said(Root::pin(&sign_root(&spec, &[&keys.roots[0]])));
    for twin in respelled(&keys.people[0]) {
        // One hand that stands for two.
        let both = (vec![keys.people[0].public(), twin.clone()], 2);
        assert!(pin(RootSpec { releases: both, ..spec() }).contains("names one key twice"));
        let vendor = Delegation {
            name: "vendor".into(),
            keys: vec![twin],
            threshold: 1,
            paths: vec!["pump/*".into()],
            terminating: false,
        };
        assert!(vendor.check(&root()).unwrap_err().contains("signs releases itself"));
        let stranger = keys.stranger.public();
        for twin in respelled(&keys.stranger) {
            let keys = vec![stranger.clone(), twin];
            let twice = Delegation { keys, threshold: 2, ..vendor.clone() };
            assert!(twice.check(&root()).unwrap_err().contains("has one key twice"));
        }
    }
    // The server's own key, that people's signatures are taken from.
    for of_server in [&keys.director, &keys.online] {
        for twin in respelled(of_server) {
            let releases = (vec![twin.clone()], 1);
            assert!(pin(RootSpec { releases, ..spec() }).contains("names one key twice"));
            let vendor = Delegation {
                name: "vendor".into(),
                keys: vec![twin],
                threshold: 1,
                paths: vec!["pump/*".into()],
                terminating: false,
            };
            assert!(vendor.check(&root()).unwrap_err().contains("is the server's"));
        }
    }
    // A root that only writes keys otherwise frees nobody from what they have signed.
    let [director, _] = respelled(&keys.director);
    let next = RootSpec { version: 2, director, ..spec() };
    let next = root().update(&sign_root(&next, &[&keys.roots[0]])).unwrap();
    assert!(next.honours_assignments_of(&root()));
}

#[test]
fn those_who_may_sign_besides_the_release_keys_stay_when_a_list_follows_another() {
    let mut first = draft(&["1"]);
    first.delegate(&[Delegation {
        name: "vendor/acme".into(),
        keys: vec![keys().stranger.public()],
        threshold: 1,
        paths: vec!["vendor/acme/*".into()],
        terminating: true,
    }]);
    let delegations = |bytes: &[u8]| {
        let document: serde_json::Value = serde_json::from_slice(bytes).unwrap();
        document["signed"].get("delegations").cloned()
    };
    let first = first.sign(LATER, &enough());
    let mut next = ReleasesDraft::after(Some(&accept_releases(&first).unwrap()));
    let same = next.sign(LATER, &enough());
    assert!(delegations(&first).is_some());
    assert_eq!(delegations(&same), delegations(&first));
    next.delegate(&[]);
    assert_eq!(delegations(&next.sign(LATER, &enough())), None);
}

#[test]
fn a_floor_rises_and_never_falls() {
    let mut draft = ReleasesDraft::after(None);
    draft.add(release("1"), None).unwrap();
    assert_eq!(draft.add(release("2"), Some(2)).unwrap().floor, 2);
    assert_eq!(draft.add(release("3"), None).unwrap().floor, 2);
    assert_eq!(draft.add(release("4"), Some(1)).unwrap().floor, 2);
    assert!(draft.add(release("5"), Some(9)).is_err());
    let other = ReleaseId { digest: Digest::of(b"x"), ..release("4") };
    assert!(draft.add(other, None).unwrap_err().contains("give the bundle a new version"));
}

#[test]
fn what_is_withdrawn_is_installed_nowhere_and_leaves_its_number_its_version_and_its_floor() {
    let mut list = draft(&["1", "2"]);
    list.add(release("3"), Some(2)).unwrap();
    let unlisted = list.withdraw("turbine/9").unwrap_err();
    assert!(unlisted.contains("has turbine/1, turbine/2, turbine/3"), "{unlisted}");
    for gone in ["turbine/3", "turbine/2"] {
        assert_eq!(list.withdraw(gone).unwrap().path(), gone);
        assert!(list.withdraw(gone).is_err());
    }
    let bytes = list.sign(LATER, &enough());
    let mut trusted = accept_releases(&bytes).unwrap();
    assert_eq!(trusted.iter().map(SignedRelease::path).collect::<Vec<_>>(), ["turbine/1"]);
    // A device reads it as any other list.
    for (version, is_listed) in [("1", true), ("3", false)] {
        let assigned = sign_assignment(&assigned(1, release(version)), &keys().director);
        let assigned = accept_assignment(&assigned).unwrap();
        assert_eq!(agree(&mut follow(&bytes), &assigned, NOW).is_ok(), is_listed);
    }
    // However often a list is made anew, and with nothing of the bundle left on it.
    for (version, number) in [("4", 4), ("5", 5)] {
        let mut next = ReleasesDraft::after(Some(&trusted));
        for gone in ["2", "3"] {
            let other = ReleaseId { digest: Digest::of(b"other"), ..release(gone) };
            for id in [release(gone), other] {
                let refused = next.add(id, None).unwrap_err();
                assert!(refused.contains("was withdrawn") && refused.contains("new version"));
            }
        }
        let added = next.add(release(version), None).unwrap();
        assert_eq!((added.number, added.floor), (number, 2));
        next.withdraw(&added.path()).unwrap();
        let _ = next.withdraw("turbine/1");
        trusted = accept_releases(&next.sign(LATER, &enough())).unwrap();
        assert_eq!(trusted.iter().count(), 0);
    }
}

#[test]
fn the_list_after_a_stolen_one_is_above_whatever_devices_may_have_taken_from_it() {
    let kept = accept_releases(&draft(&["1"]).sign(LATER, &enough())).unwrap();
    let stolen = |version: u64, number: u64| {
        let list = draft(&["1", "9"]).sign(LATER, &enough());
        let mut list: serde_json::Value = serde_json::from_slice(&list).unwrap();
        list["signed"]["version"] = version.into();
        let custom = &mut list["signed"]["targets"]["turbine/9"]["custom"];
        (custom["number"], custom["floor"]) = (number.into(), number.min(FLOOR_MAX).into());
        let payload = to_canonical_bytes(&list["signed"]).unwrap();
        for signature in list["signatures"].as_array_mut().unwrap() {
            let id = signature["keyid"].as_str().unwrap();
            let key = enough().into_iter().find(|key| key.public().id() == id).unwrap();
            signature["sig"] = key.sign(&payload).into();
        }
        accept_releases(&serde_json::to_vec(&list).unwrap()).unwrap()
    };
    for (version, number, next) in
        [(7, 5, (8, 6)), (1, 2, (2, 3)), (VERSION_MAX, VERSION_MAX, (2, FLOOR_MAX + 1))]
    {
        let mut after = ReleasesDraft::after(Some(&kept)).beyond(&stolen(version, number));
        // The thief's floor is not taken over, and neither is the version that he used. No device that
        // has taken the floor refuses what follows.
        let added = after.add(release("9"), None).unwrap();
        let after = accept_releases(&after.sign(LATER, &enough())).unwrap();
        assert_eq!((after.seen().version, added.number), next);
        assert_eq!(added.floor, 0);
        assert_eq!(after.iter().count(), 2);
    }
}

#[test]
fn keys_come_back_from_their_files() {
    let key = &keys().people[0];
    let text = key.to_pem();
    assert!(text.starts_with("-----BEGIN PRIVATE KEY-----"));
    assert_eq!(KeyPair::from_pem(&text).unwrap().id(), key.id());
    for wrong in ["", "-----BEGIN PRIVATE KEY-----", &text.replace("PRIVATE", "PUBLIC")] {
        assert!(KeyPair::from_pem(wrong).is_err());
    }
}

#[test]
fn rubbish_of_any_size_is_refused() {
    for bytes in [&b""[..], b"{}", b"null", b"[[[[", b"{\"signed\":{},\"signatures\":[]}"] {
        assert!(accept_releases(bytes).is_err());
        assert!(Root::pin(bytes).is_err());
    }
    let deep = "[".repeat(100_000);
    assert!(accept_releases(deep.as_bytes()).is_err());
    assert!(matches!(accept_releases(&vec![b' '; 5 << 20]), Err(TrustError::Size { .. })));
    let largest = accept_releases(&vec![b' '; DOCUMENT_BYTES_MAX]);
    assert!(matches!(largest, Err(TrustError::Format { .. })), "it is read");
}

proptest! {
    #[test]
    fn a_changed_byte_never_changes_what_is_trusted(at in 0usize..10_000, flip in 1u8..=255) {
        let original = releases(&enough());
        let trusted = accept_releases(&original).unwrap();
        prop_assert_eq!(trusted.iter().count(), 2);
        let mut bytes = original.clone();
        let at = at % bytes.len();
        bytes[at] ^= flip;
        // A change in a signature's hex digits may keep its value (a to A); the releases must not change.
        if let Ok(changed) = accept_releases(&bytes) {
            prop_assert!(changed.iter().eq(trusted.iter()));
            prop_assert_eq!(changed.seen().version, trusted.seen().version);
        }
    }

    #[test]
    fn a_truncated_document_is_refused(keep in 0usize..10_000) {
        let bytes = releases(&enough());
        prop_assert!(accept_releases(&bytes[..keep % bytes.len()]).is_err());
    }
}

#[test]
fn an_approval_is_for_one_release_in_one_slot_and_only_the_director_gives_it() {
    let slot = |name: &str| name.parse().unwrap();
    let approved = |marks: &[&str]| {
        let slots = BTreeMap::from([(slot("a"), release("2")), (slot("b"), release("2"))]);
        let approved = marks.iter().map(|name| slot(name)).collect();
        AssignmentSpec { slots, approved, ..assigned(1, release("2")) }
    };
    let marks = |bytes: &[u8]| -> Vec<bool> {
        let mut repository = follow(&releases(&enough()));
        let assignment = accept_assignment(bytes).unwrap();
        let targets = agree(&mut repository, &assignment, NOW).unwrap();
        targets.iter().map(|target| target.is_approved()).collect()
    };
    let sign = |spec: &AssignmentSpec| sign_assignment(spec, &keys().director);
    assert_eq!(marks(&sign(&approved(&[]))), [false, false]);
    assert_eq!(marks(&sign(&approved(&["b"]))), [false, true]);
    // Of a slot to which nothing is assigned there is nothing to approve.
    assert_eq!(marks(&sign(&approved(&["c"]))), [false, false]);
    let unmarked = String::from_utf8(sign(&approved(&[]))).unwrap();
    assert!(!unmarked.contains("approved"));
    let forged = unmarked.replace("\"slots\"", "\"approved\":[\"a\"],\"slots\"");
    assert_ne!(forged, unmarked);
    assert!(accept_assignment(forged.as_bytes()).is_err());
}

#[test]
fn that_a_release_be_tried_again_is_for_one_slot() {
    let slot = |name: &str| name.parse().unwrap();
    let spec = |again: &[(&str, u64)]| {
        let slots = BTreeMap::from([(slot("a"), release("2")), (slot("b"), release("2"))]);
        let again = again.iter().map(|(name, wish)| (slot(name), *wish)).collect();
        AssignmentSpec { slots, again, ..assigned(5, release("2")) }
    };
    let sign = |again: &[(&str, u64)]| sign_assignment(&spec(again), &keys().director);
    let said = |bytes: &[u8]| -> Vec<u64> {
        let mut repository = follow(&releases(&enough()));
        let assignment = accept_assignment(bytes).unwrap();
        let targets = agree(&mut repository, &assignment, NOW).unwrap();
        targets.iter().map(|target| target.again()).collect()
    };
    assert_eq!(said(&sign(&[])), [0, 0]);
    assert_eq!(said(&sign(&[("b", 5)])), [0, 5]);
    assert_eq!(said(&sign(&[("a", 3), ("c", 4)])), [3, 0]);
    let silent = String::from_utf8(sign(&[])).unwrap();
    assert!(!silent.contains("again"));
    let forged = silent.replace("\"slots\"", "\"again\":{\"a\":5},\"slots\"");
    assert_ne!(forged, silent);
    assert!(accept_assignment(forged.as_bytes()).is_err());
}
