//! Everything that a fuzzer would begin from, what it once found, and simple mutations of both.

#![allow(clippy::unwrap_used)] // A test stops at what does not hold.

use lineside_hostile::{TARGETS, Target};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Mutations of each input; there are as many of a large one as of a small one.
const MUTATIONS: u64 = 300;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus")
}

/// What is kept for a target: `corpus/TARGET/*`, only ever added to.
fn kept(target: &Target) -> Vec<Vec<u8>> {
    let Ok(entries) = fs::read_dir(folder().join(target.name)) else { return Vec::new() };
    entries.map(|entry| fs::read(entry.unwrap().path()).unwrap()).collect()
}

/// A number that follows from `state` (xorshift64, Marsaglia 2003): the same in every run.
fn next(state: &mut u64) -> usize {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    (*state >> 16) as usize
}

/// The input with a byte changed, a piece cut out, doubled, or put elsewhere.
fn mutated(input: &[u8], state: &mut u64) -> Vec<u8> {
    let mut bytes = input.to_vec();
    for _ in 0..=next(state) % 3 {
        if bytes.is_empty() {
            break;
        }
        let (a, b) = (next(state) % bytes.len(), next(state) % bytes.len());
        let piece = a.min(b)..(a.max(b) + 1).min(a.min(b) + 64);
        match next(state) % 5 {
            0 => bytes[a] = next(state) as u8,
            1 => bytes[a] ^= 1 << (next(state) % 8),
            2 => drop(bytes.drain(piece)),
            3 => {
                let piece = bytes[piece].to_vec();
                bytes.splice(b..b, piece);
            }
            _ => bytes.truncate(a),
        }
    }
    bytes
}

#[test]
fn nothing_that_was_found_or_follows_from_what_is_good_breaks_a_promise() {
    for target in TARGETS {
        let seeds = (target.seeds)();
        assert!(!seeds.is_empty(), "{}", target.name);
        for (number, seed) in seeds.iter().enumerate() {
            assert!((target.attempt)(seed), "{}: seed {number} is not good", target.name);
        }
        let inputs = seeds.into_iter().chain(kept(target)).chain([vec![]]);
        for (number, input) in inputs.enumerate() {
            (target.attempt)(&input);
            let mut state = number as u64 + 1;
            for _ in 0..MUTATIONS {
                (target.attempt)(&mutated(&input, &mut state));
            }
        }
    }
}

#[test]
fn every_kind_of_bytes_is_fuzzed_and_nothing_else_is_kept() {
    let names: BTreeSet<String> = TARGETS.iter().map(|target| target.name.to_owned()).collect();
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz");
    let targets = fs::read_dir(fuzz.join("fuzz_targets")).unwrap();
    let stem = |path: PathBuf| path.file_stem().unwrap().to_str().unwrap().to_owned();
    let files: BTreeSet<String> = targets.map(|entry| stem(entry.unwrap().path())).collect();
    assert_eq!(files, names);
    for name in &names {
        let text =
            fs::read_to_string(fuzz.join("fuzz_targets").join(format!("{name}.rs"))).unwrap();
        assert!(
            text.contains(&format!("lineside_hostile::{name}(")),
            "{name}.rs tries another one"
        );
        let manifest = fs::read_to_string(fuzz.join("Cargo.toml")).unwrap();
        assert!(manifest.contains(&format!("name = \"{name}\"")), "{name} is not built");
    }
    for entry in fs::read_dir(folder()).into_iter().flatten() {
        let name = entry.unwrap().file_name().to_str().unwrap().to_owned();
        assert!(names.contains(&name), "corpus/{name} is for nothing");
    }
}
