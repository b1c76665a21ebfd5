//! Those to whom the release keys delegate: who may be one, how what they sign travels from signer to
//! signer, and what is refused.

#![allow(clippy::unwrap_used)] // A test stops at what does not hold.

use lineside_bundle::{Digest, ReleaseId};
use lineside_trust::{
    Contents, Delegation, Draft, DraftError, FLOOR_MAX, KeyPair, Others, ReleasesDraft, RoleDraft,
    Root, RootSpec, SignedRelease, TrustedReleases, TrustedTargets, VERSION_MAX, recall_delegated,
    sign_root, verify_delegated, verify_releases,
};
use ring::rand::SystemRandom;
use serde_json::Value;
use sigstore_tuf::canonical_json::to_canonical_bytes;
use std::collections::BTreeMap;
use time::OffsetDateTime;
use time::macros::datetime;

const NOW: OffsetDateTime = datetime!(2026-11-24 12:00 UTC);
const LATER: OffsetDateTime = datetime!(2027-11-24 12:00 UTC);
const POLICY: &str = "{\"slots\":{}}";
const POLICY_PATH: &str = "site/mill/policy.json";

fn key() -> KeyPair {
    KeyPair::generate(&SystemRandom::new()).unwrap()
}

/// A root, and a list of releases that lets two of three keys of acme sign `pump/*`, and one of the
/// mill's what holds there.
struct Scene {
    root: Root,
    releaser: KeyPair,
    director: KeyPair,
    acme: [KeyPair; 3],
    mill: KeyPair,
    list: Vec<u8>,
}

impl Scene {
    fn new() -> Scene {
        let (root_key, releaser, director) = (key(), key(), key());
        let spec = RootSpec {
            version: 1,
            expires: LATER,
            root: (vec![root_key.public()], 1),
            releases: (vec![releaser.public()], 1),
            online: key().public(),
            director: director.public(),
        };
        let root = Root::pin(&sign_root(&spec, &[&root_key])).unwrap();
        let (acme, mill) = ([key(), key(), key()], key());
        let mut scene = Scene { root, releaser, director, acme, mill, list: Vec::new() };
        scene.list = scene.delegate(&[scene.acme(), scene.mill()]);
        scene
    }

    fn acme(&self) -> Delegation {
        let keys = self.acme.iter().map(KeyPair::public).collect();
        Delegation {
            name: "vendor-acme".into(),
            keys,
            threshold: 2,
            paths: vec!["pump/*".into()],
            terminating: false,
        }
    }

    fn mill(&self) -> Delegation {
        let (keys, paths) = (vec![self.mill.public()], vec!["site/mill/*".into()]);
        Delegation { name: "site-mill".into(), keys, threshold: 1, paths, terminating: false }
    }

    fn delegate(&self, roles: &[Delegation]) -> Vec<u8> {
        let mut draft = ReleasesDraft::after(None);
        draft.delegate(roles);
        draft.sign(LATER, &[&self.releaser])
    }

    fn trusted(&self) -> TrustedReleases {
        verify_releases(&self.root, &self.list, None, NOW).unwrap()
    }

    fn verify(&self, role: &str, bytes: &[u8]) -> TrustedTargets {
        verify_delegated(&self.trusted(), role, bytes, None, NOW).unwrap()
    }

    /// A draft of acme's list with these versions of a bundle, to follow `before`.
    fn drafted(
        &self,
        bundle: &str,
        versions: &[&str],
        before: Option<&[u8]>,
    ) -> Result<Draft, DraftError> {
        let trusted = before.map(|bytes| self.verify("vendor-acme", bytes));
        let mut draft = RoleDraft::after(trusted.as_ref(), Others::default());
        for version in versions {
            draft.add(id(bundle, version), None).unwrap();
        }
        let unsigned = draft.sign(LATER, &[]);
        Draft::role(&unsigned, &self.root, "vendor-acme", &self.list, before, BTreeMap::new())
    }

    /// A draft of the mill's list, which speaks of `policy`, and brings `files`.
    fn policy(&self, files: &[(&str, &str)]) -> Result<Draft, DraftError> {
        let mut draft = RoleDraft::after(None, Others::default());
        draft.put(POLICY_PATH, POLICY.as_bytes());
        let files = files.iter().map(|(path, text)| ((*path).into(), (*text).into())).collect();
        let unsigned = draft.sign(LATER, &[]);
        Draft::role(&unsigned, &self.root, "site-mill", &self.list, None, files)
    }
}

fn id(bundle: &str, version: &str) -> ReleaseId {
    ReleaseId {
        name: bundle.parse().unwrap(),
        version: version.parse().unwrap(),
        digest: Digest::of(version.as_bytes()),
        size: 700,
    }
}

fn sign(draft: &Draft, keys: &[&KeyPair]) -> Draft {
    let mut signed = Draft::parse(&draft.to_bytes()).unwrap();
    for key in keys {
        signed.sign(&key.public(), key.sign(draft.payload()), NOW).unwrap();
    }
    Draft::parse(&signed.to_bytes()).unwrap()
}

fn said<T>(result: Result<T, DraftError>) -> String {
    result.err().map_or("accepted".into(), |error| error.to_string())
}

#[test]
fn nobody_is_delegated_to_who_could_not_sign_or_whose_paths_lead_nowhere() {
    let scene = Scene::new();
    let acme = scene.acme();
    let with = |change: &dyn Fn(&mut Delegation)| {
        let mut role = acme.clone();
        change(&mut role);
        role.check(&scene.root).err().unwrap_or_default()
    };
    assert_eq!(with(&|_| {}), "");
    let path = |path: &'static str| with(&move |role| role.paths = vec![path.into()]);
    for good in ["pump/*", "pump/1.*", "*/*", "site/mill/*", "site/*/policy.json"] {
        assert_eq!(path(good), "", "{good}");
    }
    for odd in [
        "",
        "pump",
        "pump/",
        "/1",
        "*",
        "site/mill",
        "site//x",
        "site/mill/",
        "a/b/c",
        "pump/[1]",
        "pump/\u{1b}",
    ] {
        assert!(path(odd).contains("leads nowhere"), "{odd}: {}", path(odd));
    }
    let (released, served) = (scene.releaser.public(), scene.director.public());
    for (change, wanted) in [
        (&(|role: &mut Delegation| role.paths.clear()) as &dyn Fn(&mut Delegation), "has no path"),
        (&|role| role.threshold = 4, "4 of 3 keys can never sign"),
        (&|role| role.threshold = 0, "0 of 3 keys can never sign"),
        (&|role| role.keys.push(role.keys[0].clone()), "one key twice"),
        (&|role| role.keys.push(released.clone()), "signs releases itself"),
        (&|role| role.keys.push(served.clone()), "is the server's"),
        (&|role| role.name = "snapshot".into(), "is a role of the root"),
        (&|role| role.name = "vendor/acme".into(), "role name"),
    ] {
        assert!(with(change).contains(wanted), "{wanted}: {}", with(change));
    }
}

#[test]
fn those_who_may_sign_are_told_for_one_of_them_to_be_changed() {
    let scene = Scene::new();
    assert_eq!(scene.trusted().delegations().unwrap(), [scene.acme(), scene.mill()]);
    // What cannot be shown would be lost, so nobody goes on from it.
    let mut odd: Value = serde_json::from_slice(&scene.list).unwrap();
    odd["signed"]["delegations"]["roles"][0]["x-more"] = 1.into();
    let canonical = to_canonical_bytes(&odd["signed"]).unwrap();
    odd["signatures"][0]["sig"] = scene.releaser.sign(&canonical).into();
    let odd = verify_releases(&scene.root, odd.to_string().as_bytes(), None, NOW).unwrap();
    let error = odd.delegations().unwrap_err().to_string();
    assert!(error.contains("more of its roles than this version of lineside can show"), "{error}");
}

#[test]
fn two_of_a_vendors_people_sign_his_list_apart() {
    let scene = Scene::new();
    let draft = scene.drafted("pump", &["1"], None).unwrap();
    assert_eq!(draft.name(), "list 1 of vendor-acme");
    let [anna, ben, cleo] = &scene.acme;
    let (by_anna, by_cleo) = (sign(&draft, &[anna]), sign(&draft, &[cleo]));
    let lacking = said(by_anna.finish(NOW));
    assert!(lacking.contains("role vendor-acme wants 2 signatures and has 1"), "{lacking}");
    assert!(lacking.contains(&ben.public().to_string()), "{lacking}");
    let mut joined = by_anna.clone();
    joined.join(&by_cleo).unwrap();
    let first = joined.finish(NOW).unwrap();
    assert_eq!(scene.verify("vendor-acme", &first).releases()["pump/1"].number, 1);
    // Those who sign releases, or for others, have no say in it.
    for stranger in [&scene.releaser, &scene.mill] {
        let error = draft.may_sign(&stranger.public(), NOW).unwrap_err().to_string();
        assert!(error.contains("has no say in list 1 of vendor-acme"), "{error}");
    }

    let second = scene.drafted("pump", &["2"], Some(&first)).unwrap();
    let Contents::Role { role, spec, before, files } = second.contents() else { panic!() };
    assert_eq!((role.as_ref(), files.len()), (&scene.acme(), 0));
    assert_eq!((spec.version, spec.releases["pump/2"].number), (2, 2));
    assert_eq!(before.as_ref().unwrap().version, 1);
    let skipped = scene.drafted("pump", &["2"], Some(&first)).unwrap();
    let skipped = Draft::role(
        &sign(&skipped, &[anna, ben]).finish(NOW).unwrap(),
        &scene.root,
        "vendor-acme",
        &scene.list,
        None,
        BTreeMap::new(),
    );
    assert!(said(skipped).contains("list 2 to follow list 0"));
    let late = sign(&second, &[anna, ben]).finish(LATER);
    assert!(said(late).contains("expired"));
}

#[test]
fn a_draft_beyond_the_paths_of_a_role_or_for_a_stranger_is_not_even_read() {
    let scene = Scene::new();
    let beyond = said(scene.drafted("turbine", &["1"], None));
    assert!(
        beyond.contains("turbine/1 is not among the paths that vendor-acme may sign"),
        "{beyond}"
    );
    let draft = scene.drafted("pump", &["1"], None).unwrap();
    let changed = |change: &dyn Fn(&mut Value)| {
        let mut file: Value = serde_json::from_slice(&draft.to_bytes()).unwrap();
        change(&mut file);
        said(Draft::parse(file.to_string().as_bytes()))
    };
    let stranger = changed(&|file| file["role"]["name"] = "vendor-zeta".into());
    assert!(stranger.contains("delegates nothing to role vendor-zeta"), "{stranger}");
    let other = Scene::new();
    let list = String::from_utf8(other.list.clone()).unwrap();
    let forged = changed(&|file| file["role"]["list"] = list.clone().into());
    assert!(forged.contains("not signed by enough"), "{forged}");
    let both = changed(&|file| file["releases"] = file["role"]["list"].clone());
    assert!(both.contains("follows no list of releases"), "{both}");
    let orphan = changed(&|file| {
        file.as_object_mut().unwrap().remove("root");
    });
    assert!(orphan.contains("without the root"), "{orphan}");
}

#[test]
fn what_a_site_signs_comes_with_what_stands_in_it() {
    let scene = Scene::new();
    let draft = scene.policy(&[(POLICY_PATH, POLICY)]).unwrap();
    let signed = sign(&draft, &[&scene.mill]).finish(NOW).unwrap();
    let digest = (Digest::of(POLICY.as_bytes()), POLICY.len() as u64);
    assert_eq!(scene.verify("site-mill", &signed).files()[POLICY_PATH], digest);
    for files in [vec![], vec![(POLICY_PATH, "{\"slots\":{} }")], vec![("site/mill/x", POLICY)]] {
        let unseen = said(scene.policy(&files));
        assert!(unseen.contains("site/mill/policy.json does not come with it"), "{unseen}");
    }
    let more = said(scene.policy(&[(POLICY_PATH, POLICY), ("site/mill/more", "x")]));
    assert!(more.contains("it brings site/mill/more, which it does not list"), "{more}");
}

#[test]
fn a_bundle_counts_its_releases_whoever_signs_them() {
    let other =
        |version: &str, number, floor| SignedRelease { id: id("pump", version), number, floor };
    let signed = |release| Others { releases: vec![release], ..Others::default() };
    let mut draft = RoleDraft::after(None, signed(other("1", 4, 3)));
    let added = draft.add(id("pump", "2"), None).unwrap();
    assert_eq!((added.number, added.floor), (5, 3));
    assert_eq!(draft.add(id("valve", "1"), None).unwrap().number, 1);
    let taken = draft.add(id("pump", "1"), None).unwrap_err();
    assert!(taken.contains("released already by others"), "{taken}");
    let mut list = ReleasesDraft::after(None).beside(signed(added));
    assert_eq!(list.add(id("pump", "3"), None).unwrap().number, 6);
    let mut used_up = RoleDraft::after(None, signed(other("1", u64::MAX, 0)));
    assert!(used_up.add(id("pump", "2"), None).unwrap_err().contains("used up its numbers"));
}

#[test]
fn what_a_role_has_withdrawn_counts_for_whoever_signs_the_bundle_next() {
    let scene = Scene::new();
    let [anna, ben, _] = &scene.acme;
    let mut draft = RoleDraft::after(None, Others::default());
    draft.add(id("pump", "1"), None).unwrap();
    draft.add(id("pump", "2"), Some(2)).unwrap();
    draft.withdraw("pump/2").unwrap();
    assert!(draft.withdraw("pump/2").unwrap_err().contains("not on the list, which has pump/1"));
    let signed = scene.verify("vendor-acme", &draft.sign(LATER, &[anna, ben]));
    assert_eq!(signed.releases().keys().collect::<Vec<_>>(), ["pump/1"]);

    let mut next = RoleDraft::after(Some(&signed), Others::default());
    assert!(next.add(id("pump", "2"), None).unwrap_err().contains("was withdrawn"));
    let added = next.add(id("pump", "3"), None).unwrap();
    assert_eq!((added.number, added.floor), (3, 2));
    let others = Others { releases: Vec::new(), withdrawn: vec![signed.withdrawn().clone()] };
    let mut list = ReleasesDraft::after(None).beside(others);
    assert!(list.add(id("pump", "2"), None).unwrap_err().contains("was withdrawn"));
    let added = list.add(id("pump", "3"), None).unwrap();
    assert_eq!((added.number, added.floor), (3, 2));
    assert_eq!(list.add(id("valve", "2"), None).unwrap().number, 1);
}

#[test]
fn what_a_role_has_signed_that_loses_keys_or_paths_takes_its_numbers_for_ever() {
    let scene = Scene::new();
    let [anna, ben, _] = &scene.acme;
    let mut draft = RoleDraft::after(None, Others::default());
    for version in ["1", "2", "3"] {
        draft.add(id("pump", version), None).unwrap();
    }
    draft.withdraw("pump/3").unwrap();
    let lost = scene.verify("vendor-acme", &draft.sign(LATER, &[anna, ben]));
    let mut list = ReleasesDraft::after(None);
    list.count(&lost);
    let added = list.add(id("pump", "4"), None).unwrap();
    assert_eq!((added.number, added.floor), (4, 0));
    assert_eq!(list.add(id("valve", "1"), None).unwrap().number, 1);
    // It is in the list that is signed, so whoever signs the bundle next counts it as well.
    let mut again = ReleasesDraft::after(None);
    again.count(&lost);
    let again = again.sign(LATER, &[&scene.releaser]);
    let again = verify_releases(&scene.root, &again, None, NOW).unwrap();
    let others = Others { releases: Vec::new(), withdrawn: vec![again.withdrawn().clone()] };
    assert_eq!(RoleDraft::after(None, others).add(id("pump", "9"), None).unwrap().number, 4);

    // Whoever stole his keys cannot use the numbers up, and no floor of his is above what is left.
    let thiefs = SignedRelease { id: id("pump", "x"), number: VERSION_MAX - 1, floor: FLOOR_MAX };
    let mut draft = RoleDraft::after(None, Others { releases: vec![thiefs], ..Others::default() });
    draft.add(id("pump", "y"), None).unwrap();
    let lost = scene.verify("vendor-acme", &draft.sign(LATER, &[anna, ben]));
    assert_eq!(lost.releases()["pump/y"].number, VERSION_MAX);
    let mut list = ReleasesDraft::after(None);
    list.count(&lost);
    assert_eq!(list.add(id("pump", "4"), None).unwrap().number, FLOOR_MAX + 1);
}

#[test]
fn a_list_after_the_highest_version_is_drafted_by_nobody() {
    let scene = Scene::new();
    let [anna, ben, _] = &scene.acme;
    let list = |version: u64| {
        let kept = RoleDraft::after(None, Others::default()).sign(LATER, &[]);
        let (list, others) = (scene.trusted(), Others::default());
        let next = RoleDraft::carrying_on(&kept, &list, "vendor-acme", version - 1, others);
        next.unwrap()
    };
    let unsigned = |draft: &RoleDraft| {
        let bytes = draft.sign(LATER, &[]);
        Draft::role(&bytes, &scene.root, "vendor-acme", &scene.list, None, BTreeMap::new())
    };
    let highest = list(VERSION_MAX);
    let highest = scene.verify("vendor-acme", &highest.sign(LATER, &[anna, ben]));
    assert_eq!(highest.seen().version, VERSION_MAX);
    let beyond = said(unsigned(&RoleDraft::after(Some(&highest), Others::default())));
    for words in ["its versions are used up", "the highest there is", "a new online key"] {
        assert!(beyond.contains(words), "{words}: {beyond}");
    }
}

#[test]
fn a_list_of_keys_that_were_replaced_is_carried_on_within_the_paths_of_today() {
    let mut scene = Scene::new();
    let mut role = scene.acme();
    role.paths.push("valve/*".into());
    scene.list = scene.delegate(&[role.clone()]);
    let [anna, ben, _] = &scene.acme;
    let mut draft = RoleDraft::after(None, Others::default());
    draft.add(id("pump", "1"), None).unwrap();
    draft.add(id("valve", "1"), None).unwrap();
    let kept = draft.sign(LATER, &[anna, ben]);

    let fresh = key();
    let role = Delegation { keys: vec![fresh.public()], threshold: 1, ..scene.acme() };
    scene.list = scene.delegate(&[role]);
    assert!(verify_delegated(&scene.trusted(), "vendor-acme", &kept, None, NOW).is_err());
    let list = scene.trusted();
    // Whoever had the old keys may have signed more lists meanwhile: the next comes after them.
    let next = RoleDraft::carrying_on(&kept, &list, "vendor-acme", 7, Others::default()).unwrap();
    let next = scene.verify("vendor-acme", &next.sign(LATER, &[&fresh]));
    assert_eq!(next.seen().version, 8);
    assert_eq!(next.releases().keys().collect::<Vec<_>>(), ["pump/1"]);
}

#[test]
fn a_list_says_who_may_sign_a_path_and_who_may_release_a_bundle() {
    let mut scene = Scene::new();
    let role = |name: &str, path: &str, terminating| Delegation {
        name: name.into(),
        paths: vec![path.into()],
        terminating,
        ..scene.mill()
    };
    // Whoever is asked after one that ends the search is never asked.
    let roles = [
        role("vendor-any", "*/*", false),
        role("vendor-pump", "pump/1.*", true),
        role("vendor-late", "pump/*", false),
        role("site-mill", "site/mill/*", false),
    ];
    scene.list = scene.delegate(&roles);
    let list = scene.trusted();
    let names = ["vendor-any", "vendor-pump", "vendor-late", "site-mill"];
    assert!(list.delegates().eq(names));
    assert_eq!(list.delegates_for("pump/1.2"), ["vendor-any", "vendor-pump"]);
    assert_eq!(list.delegates_for("pump/2"), ["vendor-any", "vendor-late"]);
    assert_eq!(list.delegates_for("site/mill/policy.json"), ["site-mill"]);
    assert!(list.delegates_for("pump").is_empty());
    assert_eq!(list.keys_of("site-mill"), list.keys_of("vendor-any"));
    assert_eq!((list.keys_of("site-mill").len(), list.keys_of("nobody").len()), (1, 0));
    let may = |name: &str, bundle: &str| list.may_release(name, &bundle.parse().unwrap());
    assert!(may("vendor-any", "fan") && may("vendor-pump", "pump") && may("vendor-late", "pump"));
    assert!(!may("vendor-pump", "fan") && !may("vendor-pump", "pumps") && !may("nobody", "pump"));
    assert!(!may("site-mill", "mill") && !may("site-mill", "site"));
}

#[test]
fn what_lies_on_a_list_is_found_by_its_path_and_nothing_else_is() {
    let scene = Scene::new();
    let mut draft = RoleDraft::after(None, Others::default());
    let signed = draft.add(id("pump", "1"), None).unwrap();
    assert_eq!(draft.get("pump/1"), Some(&signed));
    assert_eq!(draft.get("pump/2"), None);
    assert!(draft.files().is_empty());
    draft.put(POLICY_PATH, POLICY.as_bytes());
    let policy = (Digest::of(POLICY.as_bytes()), POLICY.len() as u64);
    assert_eq!(draft.files().get(POLICY_PATH), Some(&policy));

    let mut draft = RoleDraft::after(None, Others::default());
    draft.add(id("pump", "1"), None).unwrap();
    draft.add(id("valve", "1"), None).unwrap();
    let [anna, ben, _] = &scene.acme;
    let kept = draft.sign(LATER, &[anna, ben]);
    let recall = |path| recall_delegated(&scene.trusted(), "vendor-acme", &kept, path);
    let pump = id("pump", "1");
    assert_eq!(recall("pump/1").unwrap(), Some((pump.digest, pump.size)));
    // What is not on it, and what the role may not sign.
    assert_eq!((recall("pump/2").unwrap(), recall("valve/1").unwrap()), (None, None));
    let kept = draft.sign(LATER, &[anna]);
    assert!(recall_delegated(&scene.trusted(), "vendor-acme", &kept, "pump/1").is_err());
}
#[test]
fn a_list_that_says_more_than_its_signers_are_shown_is_no_draft() {
    let scene = Scene::new();
    let mut draft = RoleDraft::after(None, Others::default());
    draft.add(id("pump", "1"), None).unwrap();
    let unsigned = draft.sign(LATER, &[]);
    let read = |bytes: &[u8]| {
        Draft::role(bytes, &scene.root, "vendor-acme", &scene.list, None, BTreeMap::new())
    };
    assert_eq!(said(read(&unsigned)), "accepted");
    let mut odd: Value = serde_json::from_slice(&unsigned).unwrap();
    odd["signed"]["more"] = "than meets the eye".into();
    let refused = said(read(odd.to_string().as_bytes()));
    assert!(refused.contains("it says more than this version of lineside can show"), "{refused}");
}
