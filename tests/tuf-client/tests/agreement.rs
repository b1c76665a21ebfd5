//! Agreement with python-tuf, the reference implementation, on repositories forged with it.

#![allow(clippy::unwrap_used)] // A test stops at what does not hold.

mod python;

use lineside_trust::repository::{Client, Fault, Mirror, Shelf};
use python::{folder, python, run};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use time::OffsetDateTime;

/// What python-tuf is, and what it needs.
const PYTHON_TUF: &[u8] = include_bytes!("agreement/requirements.txt");
/// How many repositories are forged by chance, from which seed on.
const FORGED: (u64, usize) = (20_261_124, 2_100);

/// A first root, then states of the repository that the device meets one after another.
#[derive(Deserialize)]
struct Case {
    name: String,
    root: String,
    paths: Vec<String>,
    steps: Vec<Step>,
    /// For named attacks, how each state has to end.
    must: Option<Vec<String>>,
    /// For named attacks that python-tuf does not withstand, why.
    #[serde(default)]
    reference_errs: String,
}

/// A state of the repository, and what python-tuf made of it.
#[derive(Deserialize)]
struct Step {
    now: i64,
    files: BTreeMap<String, String>,
    /// Whether a document that is kept is listed now with its version and another digest.
    relisted: bool,
    #[serde(flatten)]
    theirs: Opinion,
}

/// How a refresh ended, what is trusted after it, and which files were found.
#[derive(Debug, Clone, Deserialize)]
struct Opinion {
    ok: bool,
    why: String,
    versions: BTreeMap<String, Value>,
    #[serde(default)]
    found: BTreeMap<String, Option<Value>>,
}

impl Opinion {
    /// Whether everything that was asked for was had.
    fn accepts(&self) -> bool {
        self.ok && !self.found.values().any(|file| *file == Some("refused".into()))
    }

    /// The same where it matters: reasons and the order of digests do not.
    fn agrees(&self, other: &Opinion) -> bool {
        (self.ok, &self.versions, &self.found) == (other.ok, &other.versions, &other.found)
    }
}

struct Served(BTreeMap<String, Vec<u8>>);

impl Mirror for Served {
    fn fetch(&self, name: &str, _: u64) -> Result<Option<Vec<u8>>, Fault> {
        Ok(self.0.get(name).cloned())
    }
}

#[derive(Clone, Default)]
struct Kept(Arc<Mutex<BTreeMap<String, Vec<u8>>>>);

impl Shelf for Kept {
    fn load(&self, name: &str) -> Result<Option<Vec<u8>>, Fault> {
        Ok(self.0.lock().unwrap().get(name).cloned())
    }

    fn keep(&self, name: &str, bytes: &[u8]) -> Result<(), Fault> {
        self.0.lock().unwrap().insert(name.to_owned(), bytes.to_vec());
        Ok(())
    }
}

impl Kept {
    fn versions(&self) -> BTreeMap<String, Value> {
        let mut versions = BTreeMap::new();
        for role in ["root", "timestamp", "snapshot", "targets"] {
            if let Some(bytes) = self.0.lock().unwrap().get(&format!("{role}.json")) {
                let document: Value = serde_json::from_slice(bytes).unwrap();
                versions.insert(role.to_owned(), document["signed"]["version"].clone());
            }
        }
        versions
    }
}

fn latin1(text: &str) -> Vec<u8> {
    text.chars().map(|character| u8::try_from(character).unwrap()).collect()
}

/// What our client, started anew, makes of a state.
fn ours(root: &[u8], step: &Step, shelf: &Kept, paths: &[String]) -> Opinion {
    let files = step.files.iter().map(|(name, text)| (name.clone(), latin1(text))).collect();
    let now = OffsetDateTime::from_unix_timestamp(step.now).unwrap();
    let mut found = BTreeMap::new();
    let (mut ok, mut why) = (false, String::new());
    match Client::new(root, Served(files), shelf.clone()) {
        Err(error) => why = error.to_string(),
        Ok(mut client) => match client.refresh(now) {
            Err(error) => why = error.to_string(),
            Ok(_) => {
                ok = true;
                for path in paths {
                    match client.target(path, now) {
                        Ok(file) => {
                            let file =
                                file.map(|file| serde_json::json!([file.length(), file.sha256()]));
                            found.insert(path.clone(), file);
                        }
                        Err(error) => {
                            why = error.to_string();
                            found.insert(path.clone(), Some("refused".into()));
                            break;
                        }
                    }
                }
            }
        },
    }
    Opinion { ok, why, versions: shelf.versions(), found }
}

impl Step {
    /// python-tuf's opinion, with files written as ours are.
    fn theirs(&self) -> Opinion {
        let mut theirs = self.theirs.clone();
        for file in theirs.found.values_mut().flatten().filter(|file| file.is_object()) {
            let digest = file["hashes"]["sha256"].as_str().map(str::to_ascii_lowercase);
            *file = serde_json::json!([file["length"], digest]);
        }
        theirs
    }
}

fn scripts() -> PathBuf {
    Path::new(&std::env::var("CARGO_MANIFEST_DIR").unwrap()).join("tests/agreement")
}

/// Every case, forged anew.
fn cases() -> Vec<Case> {
    let file = folder("tuf").join("cases.jsonl");
    let mut forge = Command::new(python("tuf", PYTHON_TUF));
    forge.env("PYTHONDONTWRITEBYTECODE", "1").arg(scripts().join("forge.py")).arg(&file);
    run("forge.py", forge.args([FORGED.0.to_string(), FORGED.1.to_string()]));
    let lines = fs::read_to_string(&file).unwrap();
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Why the two do not agree, where there is a reason that hurts nobody.
fn reason(ours: &Opinion, theirs: &Opinion, step: &Step, relisted: bool) -> Option<&'static str> {
    let stricter = [
        ("names one key twice", "we count a key once, whatever its names"),
        ("invalid type", "we take no texts, fractions or truths for numbers, nor the reverse"),
        ("only supports integers", "there is no canonical form of a fraction"),
    ];
    let milder = [
        ("Unsupported public key", "we pass over keys of kinds that we do not know"),
        (
            "Failed to parse spec_version",
            "we look at the first number of the specification's version",
        ),
        ("Unsupported algorithm", "we pass over digests of kinds that we do not know"),
        (
            "KeyError: 'terminating'",
            "we take a delegation that does not say so for not terminating",
        ),
        ("One of roles and succinct_roles", "we take delegations without roles for none"),
        (
            "KeyError: 'snapshot.json'",
            "we do not look into a timestamp of the version that we have",
        ),
    ];
    let find = |list: &[(&str, &'static str)], why: &str| {
        list.iter().find(|(said, _)| why.contains(said)).map(|(_, reason)| *reason)
    };
    find(&stricter, &ours.why)
        .or_else(|| find(&milder, &theirs.why))
        .or_else(|| {
            (relisted && theirs.ok).then_some(
                "we take a kept document for the one listed by its digest, not by its version",
            )
        })
        .or_else(|| differ_in_case(&theirs.why).then_some("we take hex digits of either case"))
        .or_else(|| {
            let null = step.files.values().any(|text| text.contains(":null"));
            (null && theirs.why.contains("was signed by"))
                .then_some("we verify the bytes as they came, not what was understood of them")
        })
}

/// Whether python-tuf complains of a digest that is written in capitals.
fn differ_in_case(why: &str) -> bool {
    let digests = why
        .split_once("Observed hash ")
        .and_then(|(_, rest)| rest.split(';').next()?.split_once(" does not match expected hash "));
    digests.is_some_and(|(observed, expected)| observed.eq_ignore_ascii_case(expected))
}

/// In how many states there was agreement, by refresh succeeded or not; and where there was none.
#[derive(Default)]
struct Tally {
    accepted: usize,
    refused: usize,
    explained: BTreeMap<&'static str, usize>,
    unexplained: Vec<String>,
}

impl Tally {
    fn count(&mut self, case: &Case) {
        let root = latin1(&case.root);
        let shelf = Kept::default();
        let mut relisted = false;
        for (at, step) in case.steps.iter().enumerate() {
            // What was listed so in one state is on the shelf in the next.
            relisted |= step.relisted;
            let (ours, theirs) = (ours(&root, step, &shelf, &case.paths), step.theirs());
            if let Some(must) = &case.must {
                let must = &must[at];
                assert_eq!(ours.accepts(), must == "accept", "{} {at}: {ours:?}", case.name);
                let errs = theirs.accepts() != (must == "accept");
                assert_eq!(errs, !case.reference_errs.is_empty(), "{} {at}: {theirs:?}", case.name);
                if errs {
                    return;
                }
            }
            if ours.agrees(&theirs) {
                match ours.ok {
                    true => self.accepted += 1,
                    false => self.refused += 1,
                }
                continue;
            }
            match reason(&ours, &theirs, step, relisted) {
                Some(reason) => *self.explained.entry(reason).or_default() += 1,
                None => self.unexplained.push(format!(
                    "{} (state {at})\n  ours   {ours:?}\n  theirs {theirs:?}",
                    case.name
                )),
            }
            // From here on the two trust other things.
            return;
        }
    }
}

#[test]
fn thousands_of_repositories_and_every_known_attack_are_judged_as_by_the_reference() {
    let cases = cases();
    let named = cases.iter().filter(|case| case.must.is_some()).count();
    let mut tally = Tally::default();
    for case in &cases {
        tally.count(case);
    }
    let Tally { accepted, refused, explained, unexplained } = &tally;
    println!(
        "{} repositories, {named} of them named attacks: in {accepted} states both accept, in \
         {refused} both refuse; known differences: {explained:#?}",
        cases.len()
    );
    assert!(
        unexplained.is_empty(),
        "{} disagreements:\n{}",
        unexplained.len(),
        unexplained.join("\n")
    );
    assert!(cases.len() >= FORGED.1 && *accepted >= 1_000 && *refused >= 1_000);
}
