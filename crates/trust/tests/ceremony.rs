//! Documents on their way from signer to signer: who has to sign, what is refused, what a device
//! makes of what comes out.

#![allow(clippy::unwrap_used)] // A test stops at what does not hold.

use lineside_bundle::{Digest, ReleaseId};
use lineside_trust::{
    Contents, Draft, DraftError, KeyPair, ReleasesDraft, Root, RootSpec, TrustError, VERSION_MAX,
    sign_root, verify_releases,
};
use ring::rand::SystemRandom;
use serde_json::{Value, json};
use std::sync::OnceLock;
use time::macros::datetime;
use time::{Duration, OffsetDateTime};

const NOW: OffsetDateTime = datetime!(2026-11-24 12:00 UTC);
const LATER: OffsetDateTime = datetime!(2027-11-24 12:00 UTC);

/// Keys of people: the first letters sign roots, the last ones releases.
struct Keys {
    anna: KeyPair,
    ben: KeyPair,
    cleo: KeyPair,
    dora: KeyPair,
    emil: KeyPair,
    xenia: KeyPair,
    yuri: KeyPair,
    zoe: KeyPair,
    online: KeyPair,
    director: KeyPair,
}

fn keys() -> &'static Keys {
    static KEYS: OnceLock<Keys> = OnceLock::new();
    KEYS.get_or_init(|| {
        let random = SystemRandom::new();
        let key = || KeyPair::generate(&random).unwrap();
        Keys {
            anna: key(),
            ben: key(),
            cleo: key(),
            dora: key(),
            emil: key(),
            xenia: key(),
            yuri: key(),
            zoe: key(),
            online: key(),
            director: key(),
        }
    })
}

fn two_of(keys: [&KeyPair; 3]) -> (Vec<lineside_trust::PublicKey>, usize) {
    (keys.iter().map(|key| key.public()).collect(), 2)
}

fn spec() -> RootSpec {
    let Keys { anna, ben, cleo, xenia, yuri, zoe, online, director, .. } = keys();
    RootSpec {
        version: 1,
        expires: LATER,
        root: two_of([anna, ben, cleo]),
        releases: two_of([xenia, yuri, zoe]),
        online: online.public(),
        director: director.public(),
    }
}

fn first_root() -> Root {
    Root::pin(&sign_root(&spec(), &[&keys().anna, &keys().ben])).unwrap()
}

/// Anna and Ben have gone, Dora and Emil have come.
fn rotated() -> RootSpec {
    let Keys { cleo, dora, emil, .. } = keys();
    RootSpec { version: 2, root: two_of([cleo, dora, emil]), ..spec() }
}

fn sign(draft: &mut Draft, key: &KeyPair) -> Result<(), DraftError> {
    let signature = key.sign(draft.payload());
    draft.sign(&key.public(), signature, NOW)
}

/// A copy that lies on a machine of its own until it is signed there.
fn signed_apart(draft: &Draft, key: &KeyPair) -> Draft {
    let mut copy = Draft::parse(&draft.to_bytes()).unwrap();
    sign(&mut copy, key).unwrap();
    Draft::parse(&copy.to_bytes()).unwrap()
}

fn finished(draft: &Draft, signers: &[&KeyPair]) -> Result<Vec<u8>, DraftError> {
    let mut joined = draft.clone();
    for signer in signers {
        joined.join(&signed_apart(draft, signer)).unwrap();
    }
    joined.finish(NOW)
}

fn said<T>(result: Result<T, DraftError>) -> String {
    result.err().map_or("accepted".into(), |error| error.to_string())
}

/// What is said of a root that is to follow `before`.
fn refused_after(before: &Root, spec: &RootSpec) -> String {
    said(Draft::root(spec, Some(before)))
}

fn release(version: &str) -> ReleaseId {
    ReleaseId {
        name: "turbine".parse().unwrap(),
        version: version.parse().unwrap(),
        digest: Digest::of(version.as_bytes()),
        size: 700,
    }
}

/// The first list, or the one after `before`, with `version` added.
fn list(root: &Root, before: Option<&[u8]>, version: &str) -> Draft {
    let trusted = before.map(|bytes| verify_releases(root, bytes, None, NOW).unwrap());
    let mut list = ReleasesDraft::after(trusted.as_ref());
    list.add(release(version), None).unwrap();
    Draft::releases(&list.sign(LATER, &[]), root, before).unwrap()
}

/// The draft's file after `change`.
fn changed(draft: &Draft, change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let mut file: Value = serde_json::from_slice(&draft.to_bytes()).unwrap();
    change(&mut file);
    file.to_string().into_bytes()
}

#[test]
fn a_first_root_holds_when_enough_of_its_own_keys_have_signed_it_apart() {
    let Keys { anna, cleo, .. } = keys();
    let draft = Draft::root(&spec(), None).unwrap();
    let bytes = finished(&draft, &[cleo, anna]).unwrap();
    assert_eq!(Root::pin(&bytes).unwrap().spec().unwrap(), spec());
    for signers in [vec![], vec![anna], vec![anna, anna]] {
        let said = said(finished(&draft, &signers));
        let has = usize::from(!signers.is_empty());
        assert!(said.contains(&format!("root 1 wants 2 signatures and has {has}")), "{said}");
        assert!(said.contains(&cleo.public().to_string()), "{said}");
    }
}

#[test]
fn the_next_root_is_signed_by_enough_of_the_old_keys_and_of_the_new() {
    let Keys { anna, ben, cleo, dora, emil, .. } = keys();
    let draft = Draft::root(&rotated(), Some(&first_root())).unwrap();
    for (signers, lacks) in [
        (vec![dora, emil], "root 1 wants 2 signatures and has 0, lacking 2"),
        (vec![cleo, dora, emil], "root 1 wants 2 signatures and has 1, lacking 1"),
        (vec![anna, ben], "root 2 wants 2 signatures and has 0, lacking 2"),
        (vec![anna, ben, cleo], "root 2 wants 2 signatures and has 1, lacking 1"),
    ] {
        let said = said(finished(&draft, &signers));
        assert!(said.contains(lacks), "{said}");
    }
    for signers in [vec![anna, ben, dora, emil], vec![anna, cleo, dora]] {
        let next = first_root().update(&finished(&draft, &signers).unwrap()).unwrap();
        assert_eq!(next.spec().unwrap(), rotated());
        // From here on the old keys count no longer.
        let third = RootSpec { version: 3, ..spec() };
        let third = sign_root(&third, &[anna, ben]);
        assert!(matches!(next.update(&third), Err(TrustError::Signature { .. })));
    }
}

#[test]
fn a_root_that_does_not_follow_is_not_even_drafted() {
    let first = first_root();
    for version in [1, 3] {
        let said = said(Draft::root(&RootSpec { version, ..rotated() }, Some(&first)));
        assert!(said.contains("the next one after 1 is needed"), "{said}");
    }
    let said = said(Draft::root(&rotated(), None));
    assert!(said.contains("root 2 without the one before"), "{said}");
    let never = RootSpec { root: (vec![keys().cleo.public()], 2), ..rotated() };
    let said = refused_after(&first, &never);
    assert!(said.contains("role root needs 2 signatures and has 1 keys"), "{said}");
}

#[test]
fn a_key_of_the_server_is_no_key_of_people() {
    let Keys { online, director, yuri, zoe, .. } = keys();
    for (key, role) in [(online, "snapshot"), (director, "director")] {
        let releases = two_of([yuri, zoe, key]);
        let said = refused_after(&first_root(), &RootSpec { releases, ..rotated() });
        assert!(said.contains(&format!("is both of role {role}")), "{said}");
    }
}

#[test]
fn nobody_signs_what_does_not_ask_for_him_nor_signs_twice() {
    let Keys { anna, ben, xenia, yuri, .. } = keys();
    let mut root = Draft::root(&spec(), None).unwrap();
    sign(&mut root, anna).unwrap();
    assert_eq!(sign(&mut root, anna), Err(DraftError::Signed(anna.public().to_string())));
    let refused = said(sign(&mut root, xenia));
    assert!(refused.contains("has no say in root 1; the keys that have:"), "{refused}");
    assert!(refused.contains(&ben.public().to_string()), "{refused}");

    let mut list = list(&first_root(), None, "1");
    let refused = said(sign(&mut list, anna));
    assert!(refused.contains("has no say in list of releases 1"), "{refused}");
    // A signature of something else, or somebody else's under his name.
    for signature in [yuri.sign(b"another document"), xenia.sign(list.payload()), "00".into()] {
        let refused = list.sign(&yuri.public(), signature, NOW);
        assert_eq!(refused, Err(DraftError::Tampered(yuri.public().to_string())));
    }
}

#[test]
fn a_draft_that_was_changed_after_somebody_signed_it_is_noticed() {
    let Keys { anna, dora, .. } = keys();
    let draft = Draft::root(&spec(), None).unwrap();
    let signed = signed_apart(&draft, anna);
    let changed_file = changed(&signed, |file| {
        file["document"]["signed"]["expires"] = "2099-01-01T00:00:00Z".into();
    });
    let refused = said(Draft::parse(&changed_file));
    assert!(refused.contains(&anna.public().to_string()), "{refused}");
    assert!(refused.contains("somebody has changed one of the two"), "{refused}");

    // Before anybody has signed it only the digest tells, and it does not join the others.
    let mut other = Draft::parse(&changed(&draft, |file| {
        file["document"]["signed"]["expires"] = "2099-01-01T00:00:00Z".into();
    }))
    .unwrap();
    assert_ne!(other.digest(), draft.digest());
    assert!(said(other.join(&signed)).contains("they are not one document"));

    let stranger = changed(&draft, |file| {
        let signature = dora.sign(draft.payload());
        let entry = serde_json::json!([{ "keyid": dora.id(), "sig": signature }]);
        file["document"]["signatures"] = entry;
    });
    assert!(said(Draft::parse(&stranger)).contains("which has no say in it"));
}

#[test]
fn what_could_not_be_shown_to_a_signer_is_no_draft() {
    let root = Draft::root(&rotated(), Some(&first_root())).unwrap();
    let list = list(&first_root(), None, "1");
    type Change = fn(&mut Value);
    let cases: [(&Draft, Change, &str); 13] = [
        (&root, |file| file["document"]["signed"]["x-hidden"] = 1.into(), "more than"),
        (
            &root,
            |file| file["document"]["signed"]["consistent_snapshot"] = false.into(),
            "more than",
        ),
        (
            &root,
            |file| {
                let signed = &mut file["document"]["signed"];
                let key = signed["roles"]["timestamp"]["keyids"][0].clone();
                let others = signed["x-lineside-director"]["keyids"].as_array_mut().unwrap();
                others.push(key);
            },
            "more than",
        ),
        (
            &list,
            |file| file["document"]["signed"]["targets"]["turbine/1"]["x-hidden"] = 1.into(),
            "more than",
        ),
        (
            &list,
            |file| {
                let entry = json!({ "number": 3, "floor": 0, "versions": ["3"], "x-hidden": 1 });
                file["document"]["signed"]["withdrawn"] = json!({ "turbine": entry });
            },
            "x-hidden",
        ),
        (
            &list,
            |file| {
                let entry = json!({ "number": 3, "floor": 0, "versions": ["1"] });
                file["document"]["signed"]["withdrawn"] = json!({ "turbine": entry });
            },
            "turbine/1 is listed and withdrawn",
        ),
        (
            &list,
            |file| {
                let entry = json!({ "number": 3, "floor": 4, "versions": [] });
                file["document"]["signed"]["withdrawn"] = json!({ "pump": entry });
            },
            "pump: floor 4 is above 3",
        ),
        (
            &list,
            |file| {
                let entry = json!({ "number": VERSION_MAX + 1, "floor": 0, "versions": [] });
                file["document"]["signed"]["withdrawn"] = json!({ "pump": entry });
            },
            "the highest there is",
        ),
        (&list, |file| file["document"]["signed"]["withdrawn"] = json!({}), "more than"),
        (&list, |file| file["document"]["signed"]["version"] = 2.into(), "to follow list 0"),
        (&list, |file| drop(file.as_object_mut().unwrap().remove("root")), "without the root"),
        (&root, |file| file["format"] = 2.into(), "format 2"),
        (&root, |file| file["document"]["signed"]["_type"] = "snapshot".into(), "neither"),
    ];
    for (draft, change, words) in cases {
        let refused = said(Draft::parse(&changed(draft, change)));
        assert!(refused.contains(words), "{words}: {refused}");
    }
    for bytes in [b"".as_slice(), b"{}", &list.to_bytes()[..700]] {
        assert!(said(Draft::parse(bytes)).starts_with("it is no draft"));
    }
}

#[test]
fn a_list_is_shown_against_the_one_before_and_only_if_that_one_was_signed() {
    let Keys { xenia, yuri, zoe, .. } = keys();
    let root = first_root();
    let first = finished(&list(&root, None, "1"), &[xenia, zoe]).unwrap();
    let second = list(&root, Some(&first), "2");
    let Contents::Releases { spec, before } = second.contents() else { panic!("a list") };
    assert_eq!(spec.releases.len(), 2);
    assert!(before.as_ref().unwrap().releases.contains_key("turbine/1"));
    let bytes = finished(&second, &[yuri, zoe]).unwrap();
    let seen = verify_releases(&root, &first, None, NOW).unwrap().seen();
    verify_releases(&root, &bytes, Some(&seen), NOW).unwrap();

    // Who forges what was before, so that nothing seems to change, has forged nothing.
    let forged = changed(&second, |file| {
        let mut list: Value = serde_json::from_slice(&first).unwrap();
        let targets = file["document"]["signed"]["targets"].clone();
        list["signed"]["targets"] = targets;
        file["releases"] = list.to_string().into();
    });
    let draft = Draft::parse(&forged).unwrap();
    assert!(matches!(draft.contents(), Contents::Releases { before: None, .. }));
}

#[test]
fn a_draft_on_a_forged_root_does_not_pass_for_one_on_the_root_that_is_trusted() {
    let Keys { xenia, dora, .. } = keys();
    let forged = RootSpec {
        root: (vec![dora.public()], 1),
        releases: (vec![xenia.public(), dora.public()], 2),
        ..spec()
    };
    let forged = Root::pin(&sign_root(&forged, &[dora])).unwrap();
    let draft = list(&forged, None, "1");
    assert!(!draft.root_before().unwrap().agrees_with(&first_root()));
    let bytes = finished(&draft, &[xenia, dora]).unwrap();
    let refused = verify_releases(&first_root(), &bytes, None, NOW);
    assert!(matches!(refused, Err(TrustError::Signature { .. })));
    // Nor do signatures that were got for it join the true one.
    let mut true_one = list(&first_root(), None, "1");
    assert!(said(true_one.join(&draft)).contains("they are not one document"));
}

#[test]
fn a_stolen_release_key_signs_nothing_any_longer_once_a_device_has_the_next_root() {
    let Keys { anna, ben, dora, xenia, yuri, zoe, .. } = keys();
    let device = first_root();
    let first = finished(&list(&device, None, "1"), &[xenia, yuri]).unwrap();
    let seen = verify_releases(&device, &first, None, NOW).unwrap().seen();

    // Xenia's key is stolen, and Yuri's copy of a list was signed by mistake.
    let thief = list(&device, Some(&first), "666");
    let stolen = finished(&thief, &[xenia, yuri]).unwrap();
    verify_releases(&device, &stolen, Some(&seen), NOW).unwrap();
    let next = RootSpec { version: 2, releases: two_of([yuri, zoe, dora]), ..spec() };
    let draft = Draft::root(&next, Some(&device)).unwrap();
    let device = device.update(&finished(&draft, &[anna, ben]).unwrap()).unwrap();

    let refused = verify_releases(&device, &stolen, Some(&seen), NOW);
    assert!(matches!(refused, Err(TrustError::Signature { .. })), "{refused:?}");
    // The list is signed anew by those who are left; what the old one said is its base.
    let mut anew =
        ReleasesDraft::after(Some(&verify_releases(&first_root(), &first, None, NOW).unwrap()));
    anew.add(release("2"), None).unwrap();
    let mut anew = Draft::releases(&anew.sign(LATER, &[]), &device, Some(&first)).unwrap();
    assert!(matches!(anew.contents(), Contents::Releases { before: None, .. }));
    assert!(said(sign(&mut anew, xenia)).contains("has no say"));
    let bytes = finished(&anew, &[dora, zoe]).unwrap();
    let trusted = verify_releases(&device, &bytes, Some(&seen), NOW).unwrap();
    assert!(trusted.get("turbine/2").is_some());
}

#[test]
fn what_has_expired_is_neither_signed_nor_published() {
    let Keys { anna, ben, xenia, yuri, .. } = keys();
    let past = RootSpec { expires: NOW - Duration::days(1), ..spec() };
    let mut draft = Draft::root(&past, None).unwrap();
    let refused = said(sign(&mut draft, anna));
    assert!(refused.contains("the root expired at 2026-11-23T12:00:00Z"), "{refused}");

    let draft = Draft::root(&spec(), None).unwrap();
    let mut signed = signed_apart(&draft, anna);
    sign(&mut signed, ben).unwrap();
    signed.finish(NOW).unwrap();
    assert!(said(signed.finish(LATER)).contains("the root expired"));

    // A list by an expired root is of no use either; a root may follow an expired one.
    let expired = Root::pin(&sign_root(&past, &[anna, ben])).unwrap();
    let mut list = list(&expired, None, "1");
    let refused = said(sign(&mut list, xenia));
    assert!(refused.contains("the root expired"), "{refused}");
    let next = Draft::root(&RootSpec { version: 2, ..spec() }, Some(&expired)).unwrap();
    expired.update(&finished(&next, &[anna, ben]).unwrap()).unwrap();
    let mut list = self::list(&first_root(), None, "1");
    let signature = yuri.sign(list.payload());
    let refused = said(list.sign(&yuri.public(), signature, LATER));
    assert!(refused.contains("expired at 2027-11-24T12:00:00Z"), "{refused}");
}
