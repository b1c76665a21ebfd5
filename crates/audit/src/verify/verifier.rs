//! A file judged line by line.

use super::fault::{Fault, Problem, VerifyError};
use super::report::Report;
use crate::Action;
use crate::checkpoint::Checkpoint;
use crate::entry::{Entry, EntryError, Value};
use crate::erasure::{Erasure, LeafSum, Ranges};
use crate::export::{self, Header, LINE_BYTES_MAX, Line, Side};
use crate::hash::Hash;
use crate::note::{Note, VerifierKey};
use crate::tree::Frontier;
use std::collections::BTreeMap;
use std::io::{BufRead, Read};

/// Most ranges of erased or withheld entries that are followed at once.
pub const RANGES_FOLLOWED_MAX: usize = 65_536;

/// Verifies a file whole. `each` is shown every entry that can be read, in order.
///
/// `known` are checkpoints of the same log that whoever verifies has from elsewhere: from an earlier file, a
/// witness, a device; [`Checkpoint::verify`] has given each. They alone show that a log was cut short or was replaced by another one that the same key has
/// signed.
///
/// What `each` was shown is to be believed when this has returned a report, and not before.
///
/// # Errors
/// [`VerifyError`]: what does not hold, and from which entry on.
pub fn verify(
    mut file: impl BufRead,
    key: &VerifierKey,
    known: &[Checkpoint],
    mut each: impl FnMut(&Entry),
) -> Result<Report, VerifyError> {
    let mut verifier = Verifier::new(key.clone(), known);
    let mut line = Vec::new();
    loop {
        line.clear();
        // One byte more than any line has, so that a line without an end is noticed.
        let mut bounded = file.by_ref().take(LINE_BYTES_MAX as u64 + 1);
        if bounded.read_until(b'\n', &mut line)? == 0 {
            return Ok(verifier.finish()?);
        }
        if let Some(entry) = verifier.line(&line)? {
            each(&entry);
        }
    }
}

/// Verifies a file line by line.
#[derive(Clone)]
pub struct Verifier {
    key: VerifierKey,
    /// From the smallest to the largest.
    known: Vec<Checkpoint>,
    known_next: usize,
    /// The size of a known checkpoint that this log is not the continuation of.
    conflict: Option<u64>,
    line: u64,
    header: Option<Header>,
    frontier: Frontier,
    last: Option<(Checkpoint, Note)>,
    /// Sealed values of the entry before, which may stand in the next lines.
    sealed: Vec<(Side, Hash)>,
    has_withheld: bool,
    /// Whether the entry before is of a form that is not known here, so that its values cannot be judged.
    is_unread: bool,
    /// What later entries have to say was erased.
    erased: BTreeMap<u64, (Ranges, LeafSum)>,
    runs: usize,
    values_erased: Vec<(u64, u64)>,
    withheld: Ranges,
    at_last: u64,
    opened_of: Ranges,
    counts: Counts,
}

#[derive(Clone, Default)]
struct Counts {
    entries: u64,
    unread: u64,
    erased: u64,
    opened: u64,
    kept: u64,
    checkpoints: u64,
    unchecked: usize,
    clock_steps_back: u64,
}

impl Verifier {
    /// Begins with the key of the log and checkpoints that are known from elsewhere.
    pub fn new(key: VerifierKey, known: &[Checkpoint]) -> Verifier {
        let mut known = known.to_vec();
        known.sort_by_key(Checkpoint::size);
        Verifier {
            key,
            known,
            known_next: 0,
            conflict: None,
            line: 0,
            header: None,
            frontier: Frontier::new(),
            last: None,
            sealed: Vec::new(),
            has_withheld: false,
            is_unread: false,
            erased: BTreeMap::new(),
            runs: 0,
            values_erased: Vec::new(),
            withheld: Ranges::default(),
            at_last: 0,
            opened_of: Ranges::default(),
            counts: Counts::default(),
        }
    }

    /// Takes the next line, with its end. Gives the entry on it, if there is one that can be read.
    ///
    /// # Errors
    /// [`Fault`]. Nothing after it can be judged.
    pub fn line(&mut self, bytes: &[u8]) -> Result<Option<Entry>, Fault> {
        self.line += 1;
        let next = self.frontier.size();
        let read = export::read(bytes).map_err(|problem| {
            let entry = self.header.is_some().then_some(next);
            self.fault(entry, Problem::Line(problem))
        })?;
        let begun = self.header.is_some();
        match read {
            Line::Header(header) if !begun => self.header(header).map(|()| None),
            Line::Header(_) => Err(self.line_fault("a second header")),
            _ if !begun => Err(self.line_fault("the file does not begin with a header")),
            Line::Entry { leaf, bytes } => self.entry(leaf, bytes),
            Line::Erased { leaf, by } => self.erased(leaf, by).map(|()| None),
            Line::Value { side, of, sealed } => self.value(side, of, sealed.seal()).map(|()| None),
            Line::Checkpoint(note) => self.checkpoint(note).map(|()| None),
        }
    }

    /// Ends the file.
    ///
    /// # Errors
    /// [`Fault`].
    pub fn finish(mut self) -> Result<Report, Fault> {
        self.close_values()?;
        let found = self.frontier.size();
        let Some(header) = &self.header else {
            return Err(self.line_fault("the file is empty"));
        };
        let from = header.before.size();
        let known = self.known.last().map_or(0, Checkpoint::size);
        let signed = header.size.max(known);
        let covered = self.last.as_ref().map_or(from, |(last, _)| last.size());
        if found < signed {
            return Err(self.fault(Some(found), Problem::Truncated { found, signed }));
        }
        if covered < found {
            let problem = Problem::Unsigned { first: covered, last: found - 1 };
            return Err(self.fault(Some(covered), problem));
        }
        if let Some((by, (ranges, _))) = self.erased.first_key_value() {
            let index = ranges.as_slice()[0].0;
            return Err(self.fault(Some(index), Problem::Erased { index, by: *by }));
        }
        let Some((checkpoint, note)) = self.last.take() else {
            return Err(self.fault(Some(found), Problem::Line("the file has no checkpoint".into())));
        };
        let mut counts = self.counts;
        let said = Ranges::union(self.values_erased);
        counts.kept += self.opened_of.count() - self.opened_of.without(&said).count();
        let missing = self.withheld;
        let withheld = missing.without(&said);
        let values_erased = missing.without(&withheld);
        let Counts {
            entries,
            unread,
            erased,
            opened,
            kept,
            checkpoints,
            unchecked,
            clock_steps_back,
        } = counts;
        Ok(Report {
            checkpoint,
            note,
            from,
            entries,
            unread,
            erased,
            opened,
            values_erased,
            withheld,
            kept,
            checkpoints,
            unchecked,
            clock_steps_back,
        })
    }

    fn header(&mut self, header: Header) -> Result<(), Fault> {
        if header.key != self.key {
            let (found, meant) = (header.key.to_string(), self.key.to_string());
            return Err(self.fault(None, Problem::Key { found, meant }));
        }
        self.frontier = header.before.clone();
        let from = self.frontier.size();
        self.header = Some(header);
        self.known_next = self.known.partition_point(|known| known.size() < from);
        self.counts.unchecked = self.known_next;
        self.meet_known();
        Ok(())
    }

    fn entry(&mut self, leaf: Hash, bytes: &[u8]) -> Result<Option<Entry>, Fault> {
        self.close_values()?;
        let index = self.frontier.size();
        if Hash::leaf(bytes) != leaf {
            return Err(self.fault(Some(index), Problem::Changed(index)));
        }
        let entry = match Entry::parse(bytes) {
            Ok(entry) => entry,
            Err(EntryError::Version) => {
                self.counts.unread += 1;
                self.append(leaf)?;
                self.is_unread = true;
                return Ok(None);
            }
            Err(problem) => return Err(self.fault(Some(index), Problem::Entry { index, problem })),
        };
        let found = entry.seq;
        if found > index {
            return Err(self.fault(Some(index), Problem::Missing { first: index, last: found - 1 }));
        }
        if found < index {
            return Err(self.fault(Some(index), Problem::Moved { index, found }));
        }
        self.erasure(&entry)?;
        let values = [(Side::Old, &entry.old), (Side::New, &entry.new)];
        self.sealed = values
            .into_iter()
            .filter_map(|(side, value)| match value {
                Some(Value::Sealed(seal)) => Some((side, *seal)),
                _ => None,
            })
            .collect();
        self.counts.entries += 1;
        self.counts.clock_steps_back += u64::from(entry.at < self.at_last);
        self.at_last = entry.at;
        self.append(leaf)?;
        Ok(Some(entry))
    }

    /// What an entry says that was erased has to be what is missing for it.
    fn erasure(&mut self, entry: &Entry) -> Result<(), Fault> {
        let index = entry.seq;
        let Some(erasure) = Erasure::read(entry) else { return Ok(()) };
        let problem =
            |problem: String| Problem::Entry { index, problem: EntryError::Format(problem) };
        let erasure =
            erasure.map_err(|error| self.fault(Some(index), problem(error.to_string())))?;
        if Action::of(&entry.action) == Some(Action::ValuesErased) {
            if self.values_erased.len() >= RANGES_FOLLOWED_MAX {
                return Err(self.fault(Some(index), Problem::Ranges));
            }
            self.values_erased.extend(erasure.ranges.as_slice());
            return Ok(());
        }
        // Of what lies before the file nothing is known here.
        let from = self.header.as_ref().map_or(0, |header| header.before.size());
        let said = erasure.ranges.since(from);
        let Some((ranges, sum)) = self.erased.remove(&index) else {
            // The erasure was not carried out yet.
            self.counts.kept += said.count();
            return Ok(());
        };
        self.runs -= ranges.as_slice().len();
        let stray = ranges.without(&said);
        if let Some((first, _)) = stray.as_slice().first() {
            let problem = Problem::Erased { index: *first, by: index };
            return Err(self.fault(Some(*first), problem));
        }
        let kept = said.without(&ranges);
        let is_whole = erasure.ranges == ranges;
        // Of a part of them, no sum can be taken; their leaves are in the tree all the same.
        if is_whole && sum.finish() != erasure.leaves {
            let first = ranges.as_slice()[0].0;
            return Err(self.fault(Some(first), Problem::Erased { index: first, by: index }));
        }
        self.counts.kept += kept.count();
        Ok(())
    }

    fn erased(&mut self, leaf: Hash, by: u64) -> Result<(), Fault> {
        self.close_values()?;
        let index = self.frontier.size();
        if by <= index {
            return Err(self.fault(Some(index), Problem::Erased { index, by }));
        }
        let (ranges, sum) = self.erased.entry(by).or_default();
        let before = ranges.as_slice().len();
        ranges.push(index);
        sum.add(&leaf);
        self.runs += ranges.as_slice().len() - before;
        if self.runs > RANGES_FOLLOWED_MAX {
            return Err(self.fault(Some(index), Problem::Ranges));
        }
        self.counts.erased += 1;
        self.append(leaf)
    }

    fn value(&mut self, side: Side, of: u64, seal: Hash) -> Result<(), Fault> {
        let index = self.frontier.size().wrapping_sub(1);
        let name = match side {
            Side::Old => "old",
            Side::New => "new",
        };
        if of != index {
            return Err(self.line_fault("a value does not stand behind its entry"));
        }
        if self.is_unread {
            let problem = Problem::Entry { index, problem: EntryError::Version };
            return Err(self.fault(Some(index), problem));
        }
        let Some(at) = self.sealed.iter().position(|(sealed, _)| *sealed == side) else {
            return Err(self.fault(Some(index), Problem::Value { index, side: name }));
        };
        if self.sealed[at].1 != seal {
            return Err(self.fault(Some(index), Problem::Value { index, side: name }));
        }
        // The old one comes first: what is before it is not in the file.
        self.has_withheld |= at > 0;
        self.sealed.drain(..=at);
        self.counts.opened += 1;
        if !self.opened_of.contains(index) {
            self.opened_of.push(index);
            if self.opened_of.as_slice().len() > RANGES_FOLLOWED_MAX {
                return Err(self.fault(Some(index), Problem::Ranges));
            }
        }
        Ok(())
    }

    /// The entry before has no more values in the file.
    fn close_values(&mut self) -> Result<(), Fault> {
        if self.has_withheld || !self.sealed.is_empty() {
            let index = self.frontier.size() - 1;
            self.withheld.push(index);
            if self.withheld.as_slice().len() > RANGES_FOLLOWED_MAX {
                return Err(self.fault(Some(index), Problem::Ranges));
            }
        }
        self.has_withheld = false;
        self.is_unread = false;
        self.sealed.clear();
        Ok(())
    }

    fn append(&mut self, leaf: Hash) -> Result<(), Fault> {
        let index = self.frontier.size();
        let size = self.header.as_ref().map_or(0, |header| header.size);
        if index >= size {
            return Err(self.line_fault("the file has more entries than its first line says"));
        }
        if let Err(error) = self.frontier.append(leaf) {
            return Err(self.fault(Some(index), Problem::Line(error.to_string())));
        }
        self.meet_known();
        Ok(())
    }

    /// Compares the log so far with what is known of it at this size.
    fn meet_known(&mut self) {
        while let Some(known) = self.known.get(self.known_next) {
            if known.size() != self.frontier.size() {
                break;
            }
            self.known_next += 1;
            if known.root() != self.frontier.root() {
                self.conflict.get_or_insert(known.size());
            }
        }
    }

    fn checkpoint(&mut self, note: Note) -> Result<(), Fault> {
        self.close_values()?;
        let found = self.frontier.size();
        let first = self.first_unsigned();
        let checkpoint = Checkpoint::verify(&note, &self.key).map_err(|problem| {
            self.fault(Some(first), Problem::Checkpoint { entries: found, problem })
        })?;
        let signed = checkpoint.size();
        if signed != found {
            return Err(
                self.fault(Some(first.max(found.min(signed))), Problem::Size { found, signed })
            );
        }
        if checkpoint.root() != self.frontier.root() {
            let problem = Problem::Root { first, last: found.saturating_sub(1) };
            return Err(self.fault(Some(first), problem));
        }
        if let Some(size) = self.conflict {
            return Err(self.fault(None, Problem::Forked { size }));
        }
        self.counts.checkpoints += 1;
        self.last = Some((checkpoint, note));
        Ok(())
    }

    fn first_unsigned(&self) -> u64 {
        let from = self.header.as_ref().map_or(0, |header| header.before.size());
        self.last.as_ref().map_or(from, |(last, _)| last.size())
    }

    fn line_fault(&self, problem: &str) -> Fault {
        let entry = self.header.is_some().then_some(self.frontier.size());
        self.fault(entry, Problem::Line(problem.into()))
    }

    fn fault(&self, entry: Option<u64>, problem: Problem) -> Fault {
        Fault { line: self.line, entry, problem }
    }
}
