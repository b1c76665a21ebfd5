//! A log as the server keeps it, exported, and whatever may be done to the file.

#![allow(clippy::unwrap_used)] // A test stops at what does not hold.

use lineside_audit::*;
use std::collections::BTreeMap;
use std::sync::LazyLock;

const ORIGIN: &str = "fleet.example/audit";
const SALT: [u8; 32] = [7; 32];

fn signer() -> LocalSigner {
    LocalSigner::from_seed(ORIGIN, &[3; 32]).unwrap()
}

fn key() -> VerifierKey {
    signer().key().clone()
}

#[derive(Default, Clone)]
struct Store(BTreeMap<(u8, u64), Hash>);

impl Hashes for Store {
    type Error = String;

    fn hash(&self, level: u8, index: u64) -> Result<Hash, String> {
        self.0.get(&(level, index)).copied().ok_or_else(|| format!("no hash ({level}, {index})"))
    }
}

/// A log in memory.
#[derive(Default, Clone)]
struct Log {
    entries: Vec<Vec<u8>>,
    store: Store,
    frontier: Frontier,
    notes: BTreeMap<u64, (Checkpoint, Note)>,
    sealed: BTreeMap<u64, Sealed>,
    /// Entries that were erased, and by which.
    erased: BTreeMap<u64, u64>,
}

impl Log {
    /// Of so many entries, signed after every `every`.
    fn of(size: u64, every: u64) -> Log {
        let mut log = Log::default();
        for seq in 0..size {
            log.append(seq * 1000, change(seq));
            if (seq + 1) % every == 0 || seq + 1 == size {
                log.sign();
            }
        }
        log
    }

    fn size(&self) -> u64 {
        self.frontier.size()
    }

    fn append(&mut self, at: u64, change: Change) -> u64 {
        let seq = self.size();
        self.push(Entry::new(seq, at, Clock::Synced, change).unwrap().to_bytes());
        seq
    }

    fn push(&mut self, bytes: Vec<u8>) {
        let stored = self.frontier.append(Hash::leaf(&bytes)).unwrap();
        self.store.0.extend(stored.iter().map(|one| ((one.level, one.index), one.hash)));
        self.entries.push(bytes);
    }

    fn append_sealed(&mut self, text: &str) -> u64 {
        let sealed = Sealed::new(text.into(), SALT).unwrap();
        let new = Some(Value::Sealed(sealed.seal()));
        let seq = self.append(0, Change { new, ..change(0) });
        self.sealed.insert(seq, sealed);
        seq
    }

    fn erase(&mut self, action: Action, entries: &[u64]) -> u64 {
        let leaves = entries.iter().map(|seq| (*seq, Hash::leaf(&self.entries[*seq as usize])));
        let new = Some(Erasure::of(leaves).unwrap().to_value());
        let by = self.append(0, Change { action: action.into(), new, ..change(0) });
        for seq in entries {
            if action == Action::ValuesErased {
                self.sealed.remove(seq);
            } else {
                self.erased.insert(*seq, by);
            }
        }
        by
    }

    fn sign(&mut self) {
        let last = self.notes.last_key_value().map(|(_, (checkpoint, _))| checkpoint);
        let next = sign_next(last, &self.store, self.size(), &signer()).unwrap();
        self.notes.insert(self.size(), next);
    }

    fn checkpoint(&self, size: u64) -> Checkpoint {
        self.notes[&size].0.clone()
    }

    fn header(&self, from: u64) -> Header {
        let before = Frontier::load(&self.store, from).unwrap();
        Header { key: key(), before, size: self.size() }
    }

    /// The lines of its file from an entry on.
    fn lines(&self, from: u64) -> Vec<String> {
        let mut lines = vec![self.header(from).to_line()];
        for seq in from..self.size() {
            lines.extend(self.lines_of(seq));
        }
        lines
    }

    fn lines_of(&self, seq: u64) -> Vec<String> {
        let bytes = &self.entries[seq as usize];
        let mut lines = match self.erased.get(&seq) {
            Some(by) => vec![erased_line(Hash::leaf(bytes), *by)],
            None => vec![entry_line(bytes).unwrap()],
        };
        lines.extend(self.sealed.get(&seq).map(|sealed| value_line(Side::New, seq, sealed)));
        lines.extend(self.notes.get(&(seq + 1)).map(|(_, note)| checkpoint_line(note)));
        lines
    }
}

fn change(seq: u64) -> Change {
    let subject = Subject {
        kind: "slot".parse().unwrap(),
        id: format!("press-{}/main", seq % 7).parse().unwrap(),
    };
    let who = Who {
        kind: WhoKind::Person,
        id: "ada".parse().unwrap(),
        name: Some("Ada Größe".parse().unwrap()),
        of: None,
    };
    Change {
        who,
        action: Action::SlotAssigned.into(),
        subject,
        old: Some(Value::Text(format!("press@1.{seq}.0").parse().unwrap())),
        new: Some(Value::Digest(Hash::leaf(&seq.to_be_bytes()))),
        why: Some("drift on line 4".parse().unwrap()),
        request: None,
        signed: None,
        because: seq.checked_sub(1).into_iter().collect(),
    }
}

fn verified(lines: &[String]) -> Result<Report, Fault> {
    verified_with(lines, &[])
}

fn verified_with(lines: &[String], known: &[Checkpoint]) -> Result<Report, Fault> {
    match verify(lines.concat().as_bytes(), &key(), known, |_| {}) {
        Ok(report) => Ok(report),
        Err(VerifyError::Fault(fault)) => Err(fault),
        Err(error) => panic!("{error}"),
    }
}

/// The words and the first bad entry of what does not hold.
fn told(lines: &[String]) -> (String, Option<u64>) {
    let fault = verified(lines).unwrap_err();
    (fault.problem.to_string(), fault.entry)
}

static LOG: LazyLock<Log> = LazyLock::new(|| Log::of(40, 10));

#[test]
fn a_log_holds_and_its_entries_are_shown_in_their_order() {
    let mut seen = Vec::new();
    let file = LOG.lines(0).concat();
    let report = verify(file.as_bytes(), &key(), &[], |entry| seen.push(entry.seq)).unwrap();
    assert_eq!(seen, (0..40).collect::<Vec<_>>());
    assert_eq!((report.entries, report.checkpoints, report.from), (40, 4, 0));
    assert_eq!(report.checkpoint, LOG.checkpoint(40));
    let root = LOG.checkpoint(40).root();
    assert_eq!(
        report.to_string(),
        format!("The log fleet.example/audit holds: 40 entries, root {root}.\n")
    );
    // And so does every log, with any number of entries between checkpoints.
    for size in 1..34 {
        for every in [1, 2, 3, 50] {
            let log = Log::of(size, every);
            assert_eq!(verified(&log.lines(0)).unwrap().entries, size);
        }
    }
}

#[test]
fn a_file_may_begin_anywhere_in_the_log() {
    let known: Vec<Checkpoint> = [10, 20, 30, 40].map(|size| LOG.checkpoint(size)).into();
    for from in 0..40 {
        let report = verified_with(&LOG.lines(from), &known).unwrap();
        assert_eq!((report.from, report.entries), (from, 40 - from));
        assert_eq!(report.unchecked, known.iter().filter(|known| known.size() < from).count());
        assert_eq!(report.checkpoint.root(), LOG.checkpoint(40).root());
    }
    // With another beginning it is another log.
    let mut lines = LOG.lines(13);
    let other = Frontier::of(13, vec![Hash::empty(); 3]).unwrap();
    lines[0] = Header { before: other, ..LOG.header(13) }.to_line();
    let fault = verified(&lines).unwrap_err();
    assert_eq!(fault.problem, Problem::Root { first: 13, last: 19 });
}

#[test]
fn an_entry_that_was_changed_removed_inserted_or_moved_is_named() {
    let lines = LOG.lines(0);
    // Lines and their entries: a header first, a checkpoint after every tenth.
    let at = |seq: usize| 1 + seq + seq / 10;
    for seq in 0..40 {
        let line = at(seq);
        let mut changed = lines.clone();
        changed[line] = changed[line].replace("Ada", "Eve");
        let words = format!("entry {seq} was changed: its bytes have another hash than its leaf");
        assert_eq!(told(&changed), (words, Some(seq as u64)));

        let mut removed = lines.clone();
        removed.remove(line);
        let fault = verified(&removed).unwrap_err();
        assert_eq!(fault.entry, Some(seq as u64), "{fault}");
        let size = Problem::Size { found: seq as u64, signed: seq as u64 + 1 };
        let missing = Problem::Missing { first: seq as u64, last: seq as u64 };
        assert_eq!(fault.problem, if seq % 10 == 9 { size } else { missing });

        let mut twice = lines.clone();
        twice.insert(line, twice[line].clone());
        let fault = verified(&twice).unwrap_err();
        let problem = Problem::Moved { index: seq as u64 + 1, found: seq as u64 };
        assert_eq!((fault.problem, fault.entry), (problem, Some(seq as u64 + 1)));

        if seq % 10 != 9 {
            let mut swapped = lines.clone();
            swapped.swap(line, line + 1);
            let fault = verified(&swapped).unwrap_err();
            assert_eq!(fault.entry, Some(seq as u64));
            assert_eq!(fault.line, line as u64 + 1);
        }
    }
    let mut gone = lines.clone();
    gone.drain(at(3)..at(7));
    assert_eq!(told(&gone), ("entries 3 to 6 are missing".into(), Some(3)));
}

#[test]
fn an_entry_that_was_changed_with_its_hash_is_found_by_the_next_checkpoint() {
    for seq in 0..40u64 {
        let mut lines = LOG.lines(0);
        let bytes = String::from_utf8(LOG.entries[seq as usize].clone()).unwrap();
        let line = 1 + seq as usize + seq as usize / 10;
        lines[line] = entry_line(bytes.replace("Ada", "Eve").as_bytes()).unwrap();
        let fault = verified(&lines).unwrap_err();
        let first = seq / 10 * 10;
        assert_eq!(fault.problem, Problem::Root { first, last: first + 9 });
        assert_eq!(fault.entry, Some(first));
    }
}

#[test]
fn a_log_that_was_cut_short_is_told_by_its_header_or_by_a_known_checkpoint() {
    let lines = LOG.lines(0);
    for cut in 1..lines.len() {
        let fault = verified(&lines[..cut]).unwrap_err();
        // Entries that fill the log, without the last checkpoint.
        let known = if cut + 1 == lines.len() { "nobody has signed" } else { "were cut off" };
        assert!(fault.to_string().contains(known), "{cut}: {fault}");
    }
    let mut older = lines[..1 + 20 + 2].to_vec();
    older[0] = Header { size: 20, ..LOG.header(0) }.to_line();
    assert_eq!(verified(&older).unwrap().checkpoint.size(), 20);
    let fault = verified_with(&older, &[LOG.checkpoint(30)]).unwrap_err();
    assert_eq!(fault.problem, Problem::Truncated { found: 20, signed: 30 });
    assert_eq!(fault.entry, Some(20));
    let mut longer = lines.clone();
    longer[0] = Header { size: 39, ..LOG.header(0) }.to_line();
    assert!(told(&longer).0.contains("more entries than its first line says"));
    assert!(told(&[]).0.contains("empty"));
    assert!(told(&lines[1..]).0.contains("does not begin with a header"));
    assert!(told(&[lines.clone(), lines.clone()].concat()).0.contains("a second header"));
}

#[test]
fn a_log_that_was_forked_by_whoever_has_the_key_is_proved_to_be() {
    // The same until entry 12, and signed by the same key.
    let mut other = Log::of(12, 10);
    for seq in 12..40 {
        other.append(1, Change { why: None, ..change(seq) });
        if (seq + 1) % 10 == 0 {
            other.sign();
        }
    }
    assert!(verified(&other.lines(0)).is_ok());
    assert!(verified_with(&other.lines(0), &[LOG.checkpoint(10)]).is_ok());
    for known in [20, 30, 40] {
        let fault = verified_with(&other.lines(0), &[LOG.checkpoint(known)]).unwrap_err();
        assert_eq!(fault.problem, Problem::Forked { size: known });
    }
    // Also where the file begins just there.
    let fault = verified_with(&other.lines(20), &[LOG.checkpoint(20)]).unwrap_err();
    assert_eq!(fault.problem, Problem::Forked { size: 20 });
    // What was changed without the key is not called a fork.
    let mut lines = other.lines(0);
    let last = lines.len() - 1;
    lines[last] = checkpoint_line(&LOG.notes[&40].1);
    let fault = verified_with(&lines, &[LOG.checkpoint(40)]).unwrap_err();
    assert_eq!(fault.problem, Problem::Root { first: 30, last: 39 });
}

#[test]
fn checkpoints_of_another_key_another_log_or_another_place_are_refused() {
    let other = LocalSigner::from_seed(ORIGIN, &[4; 32]).unwrap();
    let lines = LOG.lines(0);
    let last = lines.len() - 1;
    let mut forged = lines.clone();
    forged[last] = checkpoint_line(&LOG.checkpoint(40).sign(&other).unwrap());
    assert_eq!(
        told(&forged),
        ("the checkpoint behind entry 39: fleet.example/audit has not signed it".into(), Some(30))
    );
    let mut elsewhere = lines.clone();
    elsewhere[last] = lines[11].clone();
    let fault = verified(&elsewhere).unwrap_err();
    assert_eq!(fault.problem, Problem::Size { found: 40, signed: 10 });
    let mut with_other_key = lines.clone();
    with_other_key[0] = Header::whole(other.key().clone(), 40).to_line();
    assert!(matches!(verified(&with_other_key).unwrap_err().problem, Problem::Key { .. }));
    let mut renamed = lines.clone();
    let text = format!("other.example\n40\n{}\n", LOG.checkpoint(40).root().to_base64());
    renamed[last] = checkpoint_line(&Note::sign(&text, &signer()).unwrap());
    assert!(told(&renamed).0.contains("a checkpoint of the log \"other.example\""));
    // Witnesses may add theirs.
    let mut witnessed = LOG.notes[&40].1.clone();
    let witness = LocalSigner::from_seed("witness.example/w1", &[5; 32]).unwrap();
    witnessed.cosign(&witness, 1_764_240_000).unwrap();
    let mut lines = lines;
    lines[last] = checkpoint_line(&witnessed);
    assert_eq!(verified(&lines).unwrap().note, witnessed);
}

/// The whole file with each byte changed in turn. Judging a file takes as long as the file is, so each change
/// is judged from the state before its line; what comes after a line that nobody complains about is read on.
#[test]
fn every_single_byte_of_a_log_of_a_thousand_entries_is_guarded() {
    let mut log = Log::of(997, 100);
    log.append_sealed("ada@example.com");
    log.append(0, change(998));
    log.append(0, change(999));
    log.sign();
    assert_eq!(log.size(), 1000);
    let lines = log.lines(0);
    let (mut before, mut tried) = (Verifier::new(key(), &[]), 0u64);
    for (at, line) in lines.iter().enumerate() {
        for byte in 0..line.len() {
            // Every bit of some lines, one bit of all others: the lowest turns a digit into another one, the
            // sixth a letter into a small or large one.
            let bits = if at % 100 < 2 { 0..8 } else { [0, 5][byte % 2]..[1, 6][byte % 2] };
            for bit in bits {
                let mut changed = line.as_bytes().to_vec();
                changed[byte] ^= 1 << bit;
                tried += 1;
                assert!(
                    !holds(before.clone(), &changed, &lines[at + 1..]),
                    "line {} byte {byte} bit {bit} was changed, and the log holds",
                    at + 1
                );
            }
        }
        before.line(line.as_bytes()).unwrap();
    }
    assert!(before.finish().is_ok());
    assert!(tried > 400_000, "{tried}");
}

/// Whether the rest of a file holds, of which the first line may have become two, or one with the next.
fn holds(mut verifier: Verifier, first: &[u8], rest: &[String]) -> bool {
    let mut pending: Vec<u8> = Vec::new();
    let lines = std::iter::once(first).chain(rest.iter().map(|line| line.as_bytes()));
    for bytes in lines {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            pending.extend_from_slice(piece);
            if pending.ends_with(b"\n") {
                if verifier.line(&pending).is_err() {
                    return false;
                }
                pending.clear();
            }
        }
    }
    (pending.is_empty() || verifier.line(&pending).is_ok()) && verifier.finish().is_ok()
}

#[test]
fn whole_lines_that_are_left_out_repeated_or_exchanged_are_noticed() {
    let mut log = Log::of(20, 7);
    log.append_sealed("a");
    log.append_sealed("b");
    log.sign();
    let lines = log.lines(0);
    assert!(verified(&lines).is_ok());
    for at in 0..lines.len() {
        let mut without = lines.clone();
        let line = without.remove(at);
        match verified(&without) {
            // What is left is true, and says less: a value is withheld, a checkpoint between others is gone.
            Ok(report) if line.starts_with("{\"value\"") => assert_eq!(report.withheld.count(), 1),
            Ok(_) => assert!(line.starts_with("{\"checkpoint\"") && at + 1 < lines.len(), "{line}"),
            Err(_) => {}
        }
        for to in 0..lines.len() {
            let mut exchanged = lines.clone();
            exchanged.swap(at, to);
            assert_eq!(verified(&exchanged).is_ok(), at == to, "{at} and {to}");
            let mut repeated = lines.clone();
            repeated.insert(to, lines[at].clone());
            let is_checkpoint_twice =
                lines[at].starts_with("{\"checkpoint\"") && (to == at || to == at + 1);
            assert_eq!(verified(&repeated).is_ok(), is_checkpoint_twice, "{at} again at {to}");
        }
    }
}

#[test]
fn entries_that_were_erased_keep_their_hashes_and_a_later_entry_says_so() {
    let mut log = Log::of(30, 10);
    log.erase(Action::EntriesErased, &[3, 4, 5, 17]);
    log.append(0, change(31));
    log.erase(Action::EntriesErased, &[6, 20]);
    log.sign();
    let report = verified(&log.lines(0)).unwrap();
    assert_eq!((report.erased, report.entries, report.kept), (6, 27, 0));
    assert_eq!(report.checkpoint.root(), log.checkpoint(33).root());
    // A file from the middle on proves its part.
    assert_eq!(verified(&log.lines(5)).unwrap().erased, 4);
    assert_eq!(verified(&log.lines(18)).unwrap().erased, 1);
    // What should be erased and is there is said.
    let mut kept = log.clone();
    kept.erased.remove(&17);
    assert_eq!(verified(&kept.lines(0)).unwrap().kept, 1);
    kept.erased.clear();
    let report = verified(&kept.lines(0)).unwrap();
    assert_eq!((report.erased, report.kept), (0, 6));
    // Nothing else may be missing, nor by another entry, nor by one that says nothing.
    for (seq, by) in [(7, 30), (3, 32), (3, 31), (3, 3), (3, 2), (3, 99), (29, 28)] {
        let mut taken = log.clone();
        taken.erased.insert(seq, by);
        let fault = verified(&taken.lines(0)).unwrap_err();
        assert!(matches!(fault.problem, Problem::Erased { .. }), "{seq} by {by}: {fault}");
    }
    let mut taken = log.clone();
    taken.erased.insert(7, 30);
    assert_eq!(
        told(&taken.lines(0)),
        ("entry 7 is missing, and entry 30 does not say that it was erased".into(), Some(7))
    );
}

#[test]
fn another_leaf_cannot_be_put_in_the_place_of_what_was_erased() {
    let mut log = Log::of(10, 10);
    log.erase(Action::EntriesErased, &[3, 4]);
    log.sign();
    // Before any checkpoint covers them: the entry with the erasure says which leaves there were.
    let mut lines = log.lines(0);
    lines.retain(|line| !line.starts_with("{\"checkpoint\""));
    lines[4] = erased_line(Hash::empty(), 10);
    let fault = verified(&lines).unwrap_err();
    assert_eq!(fault.problem, Problem::Erased { index: 3, by: 10 });
}

#[test]
fn values_may_be_erased_and_withheld_and_never_exchanged() {
    let mut log = Log::of(3, 10);
    let (a, b, c) = (log.append_sealed("a"), log.append_sealed("b"), log.append_sealed("c"));
    log.sign();
    let report = verified(&log.lines(0)).unwrap();
    assert_eq!((report.opened, report.withheld.count()), (3, 0));
    log.erase(Action::ValuesErased, &[a, c]);
    log.sign();
    let report = verified(&log.lines(0)).unwrap();
    assert_eq!((report.opened, report.withheld.count(), report.kept), (1, 0, 0));
    assert_eq!(report.values_erased.to_string(), "3-3,5-5");
    let sealed = log.sealed.remove(&b).unwrap();
    assert_eq!(verified(&log.lines(0)).unwrap().withheld.to_string(), "4-4");
    log.sealed.insert(a, Sealed::new("a".into(), SALT).unwrap());
    assert_eq!(verified(&log.lines(0)).unwrap().kept, 1);
    for other in [Sealed { text: "B".into(), ..sealed.clone() }, Sealed { salt: [8; 32], ..sealed }]
    {
        log.sealed.insert(b, other);
        assert_eq!(
            told(&log.lines(0)),
            ("the new value of entry 4 is not the one that was sealed".into(), Some(4))
        );
    }
}

#[test]
fn of_two_sealed_values_each_may_be_in_the_file_and_the_old_one_comes_first() {
    let [old, new] = ["old", "new"].map(|text| Sealed::new(text.into(), SALT).unwrap());
    let mut log = Log::of(2, 10);
    let seal = |sealed: &Sealed| Some(Value::Sealed(sealed.seal()));
    log.append(0, Change { old: seal(&old), new: seal(&new), ..change(0) });
    log.append(0, change(3));
    log.sign();
    let line = |side| match side {
        Side::Old => value_line(side, 2, &old),
        Side::New => value_line(side, 2, &new),
    };
    let with = |sides: &[Side]| {
        let mut lines = log.lines(0);
        // Behind the header, two entries, a checkpoint and the entry itself.
        assert!(lines[3].starts_with("{\"checkpoint\"") && lines[4].contains("\"sealed\""));
        lines.splice(5..5, sides.iter().map(|side| line(*side)));
        verified(&lines).map(|report| (report.opened, report.withheld.count()))
    };
    assert_eq!(with(&[Side::Old, Side::New]), Ok((2, 0)));
    assert_eq!(with(&[Side::Old]), Ok((1, 1)));
    assert_eq!(with(&[Side::New]), Ok((1, 1)));
    assert_eq!(with(&[]), Ok((0, 1)));
    for wrong in [[Side::New, Side::Old], [Side::Old, Side::Old], [Side::New, Side::New]] {
        let fault = with(&wrong).unwrap_err();
        assert!(matches!(fault.problem, Problem::Value { index: 2, .. }), "{fault}");
    }
    // And not behind another entry.
    let mut lines = log.lines(0);
    lines.insert(6, line(Side::Old));
    assert!(told(&lines).0.contains("does not stand behind its entry"));
}

#[test]
fn entries_of_later_forms_keep_their_place() {
    let mut log = Log::of(5, 10);
    log.push(br#"{"v":2,"what":"nobody here knows"}"#.to_vec());
    log.append(0, change(6));
    log.sign();
    let report = verified(&log.lines(0)).unwrap();
    assert_eq!((report.entries, report.unread), (6, 1));
    assert!(report.to_string().contains("does not know; their hashes hold: 1\n"));
    // Whether a value of it is the one that was sealed, a newer program has to say.
    log.sealed.insert(5, Sealed::new("x".into(), SALT).unwrap());
    let words = "entry 5: it is of a later form than this program knows: use a newer `lineside`";
    assert_eq!(told(&log.lines(0)), (words.into(), Some(5)));
}

#[test]
fn an_erasure_that_makes_no_sense_is_no_entry_of_a_log_that_holds() {
    for new in
        ["0-3", "0-9 00", "5-5 6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"]
    {
        let mut log = Log::of(5, 10);
        let new = Some(Value::Text(new.parse().unwrap()));
        log.append(0, Change { action: Action::EntriesErased.into(), new, ..change(0) });
        log.sign();
        let fault = verified(&log.lines(0)).unwrap_err();
        assert_eq!(fault.entry, Some(5), "{fault}");
    }
}

#[test]
fn a_proof_stands_alone_beside_its_entry() {
    for size in [1, 2, 10, 40] {
        let (checkpoint, note) = sign_next(None, &LOG.store, size, &signer()).unwrap();
        for seq in 0..size {
            let proof = Proof::new(&LOG.store, seq, &checkpoint, note.clone()).unwrap();
            let text = proof.to_string();
            let read = Proof::parse(text.as_bytes()).unwrap();
            let entry = &LOG.entries[seq as usize];
            assert_eq!(read.verify(entry, &key()), Ok((seq, checkpoint.clone())));
            let other = &LOG.entries[(seq as usize + 1) % 40];
            assert_eq!(read.verify(other, &key()), Err(TreeError::Root.into()));
        }
    }
    let (checkpoint, note) = LOG.notes[&40].clone();
    let text = Proof::new(&LOG.store, 17, &checkpoint, note).unwrap().to_string();
    for at in 0..text.len() {
        for bit in 0..8 {
            let mut bytes = text.as_bytes().to_vec();
            bytes[at] ^= 1 << bit;
            let read = Proof::parse(&bytes).and_then(|read| read.verify(&LOG.entries[17], &key()));
            assert!(read.is_err(), "byte {at}, bit {bit}");
        }
        assert!(Proof::parse(&text.as_bytes()[..at]).is_err());
    }
    let extra = text.replacen("index", "extra eHh4\nindex", 1);
    assert!(Proof::parse(extra.as_bytes()).unwrap().verify(&LOG.entries[17], &key()).is_ok());
    let hash = Hash::empty().to_base64() + "\n";
    let many = text.replacen("index 17\n", &format!("index 17\n{}", hash.repeat(60)), 1);
    assert!(Proof::parse(many.as_bytes()).is_err());
}

#[test]
fn logs_of_devices_are_anchored_and_read_back_from_the_export() {
    use lineside_audit::device::{Anchor, DeviceEvent, Kept, verify_chain};
    let event = |at| DeviceEvent {
        at,
        clock: Clock::Free,
        boot: 1,
        ran: at,
        event: "slot.committed".parse().unwrap(),
        detail: None,
    };
    let mut kept = Kept::new("press-4", 20, usize::MAX);
    let mut log = Log::of(3, 10);
    for at in 0..50 {
        kept.append(event(at)).unwrap();
        if at % 9 == 0 {
            let subject =
                Subject { kind: "device".parse().unwrap(), id: "press-4".parse().unwrap() };
            let new = Some(kept.end().to_value());
            let action = Action::DeviceAnchored.into();
            log.append(0, Change { action, subject, new, ..change(0) });
        }
    }
    log.sign();
    let mut anchors = Vec::new();
    let file = log.lines(0).concat();
    verify(file.as_bytes(), &key(), &[], |entry| {
        let anchor = Anchor::read(entry).map(|anchor| anchor.unwrap());
        anchors.extend(anchor.filter(|(device, _)| *device == "press-4").map(|(_, anchor)| anchor));
    })
    .unwrap();
    let lengths: Vec<u64> = anchors.iter().map(|anchor| anchor.length).collect();
    assert_eq!(lengths, [1, 10, 19, 28, 37, 46]);
    let chain = verify_chain("press-4", kept.entries(), &anchors).unwrap();
    assert_eq!((chain.first, chain.anchored, chain.unchecked), (30, 46, 4));
}

/// What a file of the first form looks like: entries, values sealed and withheld, erasures, checkpoints with a
/// witness, an entry of a later form. Files that were handed out once are verified for ever.
#[test]
fn a_file_of_the_first_form_is_verified_for_ever() {
    let mut log = Log::of(9, 4);
    log.append_sealed("{\"email\":\"ada@example.com\"}\n");
    let gone = log.append_sealed("bob@example.com");
    log.erase(Action::EntriesErased, &[2, 3, 6]);
    log.erase(Action::ValuesErased, &[gone]);
    log.push(br#"{"v":2,"what":"nobody here knows"}"#.to_vec());
    log.sign();
    let witness = LocalSigner::from_seed("witness.example/w1", &[5; 32]).unwrap();
    let (_, note) = log.notes.get_mut(&14).unwrap();
    note.cosign(&witness, 1_764_240_000).unwrap();
    let file = log.lines(0).concat();
    assert_eq!(file, include_str!("log-v1.jsonl"), "{file}");
    let report = verify(file.as_bytes(), &key(), &[log.checkpoint(8)], |_| {}).unwrap();
    assert_eq!((report.entries, report.erased, report.unread, report.opened), (10, 3, 1, 1));
    assert_eq!((report.values_erased.count(), report.withheld.count(), report.kept), (1, 0, 0));
}
