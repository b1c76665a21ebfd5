//! Signed documents. What is mutated is what is signed: a stranger without keys gets no further than
//! the signature, and a thief of some of them must not get much further.

use crate::signer::Signer;
use lineside_bundle::{BundleFile, Digest, ReleaseId, build};
use lineside_trust::repository::{Client, Fault, Mirror, Shelf};
use lineside_trust::{
    AssignmentSpec, Delegation, Listed, Root, RootSpec, SnapshotSpec, TargetsSpec, TimestampSpec,
    sign_assignment, sign_root, sign_snapshot, sign_targets, sign_timestamp, verify_assignment,
};
use serde_json::Value;
use sigstore_tuf::canonical_json::to_canonical_bytes;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use time::OffsetDateTime;
use time::macros::datetime;

const NOW: OffsetDateTime = datetime!(2026-11-24 12:00 UTC);
const LATER: OffsetDateTime = datetime!(2027-11-24 12:00 UTC);
/// Between the documents of an input: no JSON has it.
const BETWEEN: u8 = 0xff;
/// Names of a mirror, and who signs what is served there.
const SERVED: [(&str, Signer); 10] = [
    ("timestamp.json", Signer::Online),
    ("1.snapshot.json", Signer::Online),
    ("2.snapshot.json", Signer::Online),
    ("1.targets.json", Signer::People),
    ("2.targets.json", Signer::People),
    ("1.vendor%2Facme.json", Signer::Vendor),
    ("2.vendor%2Facme.json", Signer::Vendor),
    ("2.root.json", Signer::People),
    ("3.root.json", Signer::People),
    ("snapshot.json", Signer::Online),
];
const FILES: [&str; 3] = ["turbine/1", "vendor/acme/pump", "vendor/acme/../x"];

fn root() -> Vec<u8> {
    let people = Signer::People.key();
    let spec = RootSpec {
        version: 1,
        expires: LATER,
        root: (vec![people.public()], 1),
        releases: (vec![people.public()], 1),
        online: Signer::Online.key().public(),
        director: Signer::Director.key().public(),
    };
    sign_root(&spec, &[&people])
}

/// A mirror, or a shelf.
#[derive(Clone, Default)]
struct Documents(Arc<Mutex<BTreeMap<String, Vec<u8>>>>);

impl Documents {
    fn all(&self) -> MutexGuard<'_, BTreeMap<String, Vec<u8>>> {
        self.0.lock().expect("nobody panics with it")
    }
}

impl Mirror for Documents {
    fn fetch(&self, name: &str, _: u64) -> Result<Option<Vec<u8>>, Fault> {
        Ok(self.all().get(name).cloned())
    }
}

impl Shelf for Documents {
    fn load(&self, name: &str) -> Result<Option<Vec<u8>>, Fault> {
        Ok(self.all().get(name).cloned())
    }

    fn keep(&self, name: &str, bytes: &[u8]) -> Result<(), Fault> {
        self.all().insert(name.to_owned(), bytes.to_vec());
        Ok(())
    }
}

/// Follows a repository. The input has a byte for each document, naming its place in `SERVED`, and
/// whether it is served as it is or signed by who may: then what is signed.
///
/// What one refresh has kept another one finds again, and no version ever falls.
pub fn metadata(input: &[u8]) -> bool {
    let (mirror, shelf) = (Documents::default(), Documents::default());
    for document in input.split(|byte| *byte == BETWEEN) {
        let Some((place, body)) = document.split_first() else { continue };
        let (name, signer) = SERVED[usize::from(place & 0x7f) % SERVED.len()];
        let bytes = if place & 0x80 == 0 { signer.sign(body) } else { None };
        let bytes = bytes.unwrap_or_else(|| body.to_vec());
        mirror.all().insert(name.to_owned(), bytes);
    }
    let mut client = Client::new(&root(), mirror.clone(), shelf.clone()).expect("the root is ours");
    let first = client.refresh(NOW);
    let found: Vec<_> = FILES.iter().map(|path| client.target(path, NOW).ok()).collect();
    let mut again = Client::new(&root(), mirror.clone(), shelf.clone()).expect("the root is ours");
    let second = again.refresh(NOW);
    match (&first, &second) {
        (Ok(first), Ok(second)) => {
            assert_eq!(first, second, "the same repository says something else");
            let found_again = FILES.iter().map(|path| again.target(path, NOW).ok());
            assert!(found_again.eq(found), "the same repository says something else of a file");
        }
        (Ok(_), Err(error)) => panic!("what was trusted is trusted no more: {error}"),
        // What the first kept may let the second go further.
        (Err(_), _) => {}
    }
    // The mirror forgets everything: what is kept goes on or is expired, and is not forgotten.
    let kept = shelf.all().clone();
    mirror.all().clear();
    let _ = Client::new(&root(), mirror, shelf.clone()).expect("the root is ours").refresh(NOW);
    for (name, before) in kept {
        let now = shelf.all().get(&name).cloned();
        let now = now.unwrap_or_else(|| panic!("{name} is forgotten"));
        assert!(version(&now) >= version(&before), "{name} has gone back");
    }
    first.is_ok()
}

fn version(bytes: &[u8]) -> Option<u64> {
    serde_json::from_slice::<Value>(bytes).ok()?["signed"]["version"].as_u64()
}

/// What a signed document says.
fn signed(document: &[u8]) -> Vec<u8> {
    let envelope: Value = serde_json::from_slice(document).expect("a document of ours");
    serde_json::to_vec(&envelope["signed"]).expect("a value")
}

pub(crate) fn repositories() -> Vec<Vec<u8>> {
    let file = |bytes: &[u8]| (Digest::of(bytes), bytes.len() as u64);
    let acme = Delegation {
        name: "vendor/acme".into(),
        keys: vec![Signer::Vendor.key().public()],
        threshold: 1,
        paths: vec!["vendor/acme/*".into()],
        terminating: true,
    };
    let targets = |path: &str, delegations: Vec<Delegation>| TargetsSpec {
        version: 1,
        expires: LATER,
        files: BTreeMap::from([(path.to_owned(), file(path.as_bytes()))]),
        delegations,
    };
    let online = Signer::Online.key();
    let repository = |delegated: bool| {
        let people = Signer::People.key();
        let delegations = if delegated { vec![acme.clone()] } else { vec![] };
        let top = sign_targets(&targets(FILES[0], delegations), &[&people]);
        let vendor = sign_targets(&targets(FILES[1], vec![]), &[&Signer::Vendor.key()]);
        let listed = |bytes: &[u8]| Listed::of("targets", bytes).expect("a document of ours");
        let mut documents = BTreeMap::from([("targets".to_owned(), listed(&top))]);
        if delegated {
            documents.insert("vendor/acme".to_owned(), listed(&vendor));
        }
        let spec = SnapshotSpec { version: 1, expires: LATER, documents };
        let snapshot = sign_snapshot(&spec, &online);
        let listed = Listed::of("snapshot", &snapshot).expect("a document of ours");
        let spec = TimestampSpec { version: 1, signed_at: NOW, expires: LATER, snapshot: listed };
        let timestamp = sign_timestamp(&spec, &online);
        // As they are, because a digest names each but the first.
        let mut input = [vec![0], signed(&timestamp)].concat();
        for (place, bytes) in [(1, &snapshot), (3, &top), (5, &vendor)] {
            input.extend([BETWEEN, 0x80 | place]);
            input.extend(bytes);
        }
        input
    };
    vec![repository(false), repository(true)]
}

/// Verifies what the director signs. One that is accepted is for this device and not expired.
pub fn assignment(input: &[u8]) -> bool {
    let root = Root::pin(&root()).expect("the root is ours");
    let device = "line-3".parse().expect("a name");
    let raw = verify_assignment(&root, input, &device, None, NOW);
    assert!(raw.is_err() || input.len() > 200, "nobody has signed it");
    let Some(document) = Signer::Director.sign(input) else { return false };
    let Ok(first) = verify_assignment(&root, &document, &device, None, NOW) else { return false };
    let said: Value = serde_json::from_slice(input).expect("it was read before");
    assert_eq!(said["x-lineside-device"], "line-3", "it is for another device");
    let seen = first.seen();
    assert_eq!(Some(seen.version), said["version"].as_u64());
    let again = verify_assignment(&root, &document, &device, Some(&seen), NOW);
    assert!(again.is_ok(), "the same again is refused");
    let expired =
        verify_assignment(&root, &document, &device, None, datetime!(9999-12-30 0:00 UTC));
    assert!(expired.is_err() || said["expires"].as_str() > Some("9999-12-30"), "it never expires");
    true
}

pub(crate) fn assignments() -> Vec<Vec<u8>> {
    let release = release();
    let spec = AssignmentSpec {
        device: "line-3".parse().expect("a name"),
        version: 7,
        expires: LATER,
        approved: Default::default(),
        again: BTreeMap::new(),
        slots: BTreeMap::from([("turbine".parse().expect("a name"), release)]),
    };
    vec![signed(&sign_assignment(&spec, &Signer::Director.key()))]
}

fn release() -> ReleaseId {
    let text = "format = 1\nname = 'x'\nversion = '1'\noutputs.y.from = 'w'\n\
        stages.w = { kind = 'window', input = 'p', rows = 1, stride = 1 }\n\
        [inputs.p]\nrate_hz = 1.0\nfields = [{ name = 'x' }]\n";
    let bundle = build(BundleFile::parse(text).expect("a bundle of ours"), BTreeMap::new());
    bundle.expect("a bundle of ours").release_id()
}

/// Writes JSON in its canonical form, which says the same and is its own canonical form.
pub fn canonical(input: &[u8]) -> bool {
    let Ok(value) = serde_json::from_slice::<Value>(input) else { return false };
    let Ok(bytes) = to_canonical_bytes(&value) else { return false };
    // Canonical JSON writes control characters as they are, which JSON does not allow.
    let Ok(again) = serde_json::from_slice::<Value>(&bytes) else {
        assert!(bytes.iter().any(|byte| *byte < 0x20), "the canonical form is no JSON");
        return true;
    };
    assert_eq!(again, value, "the canonical form says something else");
    assert_eq!(to_canonical_bytes(&again).ok().as_ref(), Some(&bytes));
    true
}

pub(crate) fn values() -> Vec<Vec<u8>> {
    let more =
        [&br#"{"b":[1,-2,{"a":null,"\u00e4":"\"\\ \u20ac"}],"a":true}"#[..], b"[]", b"\"\\n\""];
    let documents = assignments().into_iter().chain([signed(&root())]);
    documents.chain(more.map(<[u8]>::to_vec)).collect()
}
