//! A device's own log: a chain of hashes that is bounded, goes on without a network, and is anchored in the
//! fleet's log whenever the server hears of it.
//!
//! Each entry holds the hash of the one before it. So whoever has the hash of the last one can prove all that
//! are kept, and where the oldest were let go, the oldest kept one still carries the hash of what was before
//! it. An *anchor* in the fleet's log says how many entries there were and with which hash they ended: from
//! then on not even the device can tell another story of what came before.

use crate::Action;
use crate::entry::{Clock, Entry, Small, Value};
use crate::hash::Hash;
use crate::text::{Code, Text};
use crate::tree::LOG_SIZE_MAX;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::fmt;
use std::str::FromStr;

/// Longest detail of an entry in bytes.
pub const DETAIL_BYTES_MAX: usize = 1024;
/// Largest entry in bytes.
pub const DEVICE_ENTRY_BYTES_MAX: usize = 4 * 1024;
const VERSION: u8 = 1;
const BEGIN: &[u8] = b"lineside-device-log/v1\n";

/// What happened on a device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeviceEntry {
    v: u8,
    /// Its number, from 0.
    pub n: u64,
    /// The hash of the entry before; of the first one, that of the device's name.
    pub prev: Hash,
    /// When, in milliseconds since 1970 by the device's clock.
    pub at: u64,
    /// What is known of that clock.
    pub clock: Clock,
    /// How often the device had started when it happened.
    pub boot: u64,
    /// Milliseconds that it had run since: what to trust where the clock lies.
    pub ran: u64,
    /// What: a code of the agent's.
    pub event: Code,
    /// On what, with which numbers.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub detail: Option<Text<DETAIL_BYTES_MAX>>,
}

/// What happened, without its place in the chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceEvent {
    /// See [`DeviceEntry::at`].
    pub at: u64,
    /// See [`DeviceEntry::clock`].
    pub clock: Clock,
    /// See [`DeviceEntry::boot`].
    pub boot: u64,
    /// See [`DeviceEntry::ran`].
    pub ran: u64,
    /// See [`DeviceEntry::event`].
    pub event: Code,
    /// See [`DeviceEntry::detail`].
    pub detail: Option<Text<DETAIL_BYTES_MAX>>,
}

/// How far a chain goes, and with which hash it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Anchor {
    /// Entries that there have ever been.
    pub length: u64,
    /// The hash of the last one; of an empty chain, that of the device's name.
    pub head: Hash,
}

/// What of a chain does not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChainError {
    /// No entry of a device's log.
    #[error("entry {n} of the device's log cannot be read: {problem}")]
    Format {
        /// The number that belongs there.
        n: u64,
        /// Why not.
        problem: String,
    },
    /// Another number than follows.
    #[error(
        "entry {found} of the device's log stands where {expected} belongs: entries are missing or were moved"
    )]
    Number {
        /// The number that follows.
        expected: u64,
        /// The number that it has.
        found: u64,
    },
    /// It does not follow from the one before.
    #[error(
        "entry {n} of the device's log does not follow from what was before it: that was changed, or this is of another log"
    )]
    Link {
        /// The entry that says what was before.
        n: u64,
    },
    /// It does not end as the fleet's log says it did.
    #[error(
        "the device's log of {length} entries is not the one that was anchored: it was written anew"
    )]
    Anchor {
        /// Entries at the anchor.
        length: u64,
    },
    /// Fewer entries than there were.
    #[error(
        "the device's log ends after {found} entries, and {anchored} were anchored: the last ones are missing"
    )]
    Short {
        /// Entries there are.
        found: u64,
        /// Entries that there were.
        anchored: u64,
    },
    /// Anchors that do not follow each other.
    #[error(
        "the device's log has been anchored with {later} entries after {earlier}: it was begun anew"
    )]
    Back {
        /// Entries at the anchor before.
        earlier: u64,
        /// Entries at the later one.
        later: u64,
    },
    /// A chain cannot be longer.
    #[error("the device's log is full")]
    Full,
}

/// A text that is no anchor.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("it is no anchor: a number of entries and a hash")]
pub struct AnchorError;

impl Anchor {
    /// The chain of a device before its first entry.
    pub fn begin(device: &str) -> Anchor {
        Anchor { length: 0, head: Hash::of(&[BEGIN, device.as_bytes()]) }
    }

    /// As the new value of an entry whose action is [`Action::DeviceAnchored`].
    pub fn to_value(&self) -> Value {
        let text = self.to_string().parse::<Small>();
        Value::Text(text.expect("a number and a hash fit a short text"))
    }

    /// The anchor that an entry of the fleet's log holds, and for which device, if that is what it is about.
    ///
    /// # Errors
    /// [`AnchorError`]: it is about one and has none.
    pub fn read(entry: &Entry) -> Option<Result<(&str, Anchor), AnchorError>> {
        if Action::of(&entry.action) != Some(Action::DeviceAnchored) {
            return None;
        }
        let anchor = match &entry.new {
            Some(Value::Text(text)) => text.as_str().parse(),
            _ => Err(AnchorError),
        };
        Some(anchor.map(|anchor| (entry.subject.id.as_str(), anchor)))
    }

    /// The bytes of the next entry, and the chain with it.
    ///
    /// # Errors
    /// [`ChainError::Full`].
    pub fn append(&self, event: DeviceEvent) -> Result<(Vec<u8>, Anchor), ChainError> {
        let DeviceEvent { at, clock, boot, ran, event, detail } = event;
        let Anchor { length: n, head: prev } = *self;
        if n >= LOG_SIZE_MAX {
            return Err(ChainError::Full);
        }
        let entry = DeviceEntry { v: VERSION, n, prev, at, clock, boot, ran, event, detail };
        let bytes = serde_json::to_vec(&entry).expect("an entry holds only texts and numbers");
        let anchor = Anchor { length: n + 1, head: chained(&bytes) };
        Ok((bytes, anchor))
    }

    /// Reads the bytes of the next entry, and goes on with the chain.
    ///
    /// # Errors
    /// [`ChainError`]: no entry, not the next one, or one that does not follow.
    pub fn follow(&self, bytes: &[u8]) -> Result<(DeviceEntry, Anchor), ChainError> {
        let entry = DeviceEntry::parse(bytes, self.length)?;
        let (expected, found) = (self.length, entry.n);
        if found != expected {
            return Err(ChainError::Number { expected, found });
        }
        if entry.prev != self.head {
            return Err(ChainError::Link { n: found });
        }
        Ok((entry, Anchor { length: found.saturating_add(1), head: chained(bytes) }))
    }
}

/// The hash of an entry in the chain. It is kept apart from leaves by what it begins with.
fn chained(bytes: &[u8]) -> Hash {
    Hash::of(&[BEGIN, bytes])
}

impl DeviceEntry {
    /// Reads the bytes of an entry and no others that say the same; `n` is the number that belongs there.
    fn parse(bytes: &[u8], n: u64) -> Result<DeviceEntry, ChainError> {
        let fail = |problem: String| ChainError::Format { n, problem };
        if bytes.len() > DEVICE_ENTRY_BYTES_MAX {
            return Err(fail(format!("it is longer than {DEVICE_ENTRY_BYTES_MAX} bytes")));
        }
        let entry: DeviceEntry =
            serde_json::from_slice(bytes).map_err(|error| fail(error.to_string()))?;
        let written = serde_json::to_vec(&entry).ok();
        if entry.v != VERSION || written.as_deref() != Some(bytes) {
            return Err(fail("it is not written as entries are".into()));
        }
        Ok(entry)
    }
}

/// The part of a chain that a device keeps: the newest entries within bounds. The oldest give way.
#[derive(Debug, Clone)]
pub struct Kept {
    entries: VecDeque<Vec<u8>>,
    bytes: usize,
    entries_max: usize,
    bytes_max: usize,
    /// The chain before the oldest kept entry.
    before: Anchor,
    end: Anchor,
}

impl Kept {
    /// An empty log of this device, which keeps so many entries and so many bytes of them at most, and the
    /// newest entry whatever its size.
    pub fn new(device: &str, entries_max: usize, bytes_max: usize) -> Kept {
        let begin = Anchor::begin(device);
        let entries = VecDeque::new();
        Kept { entries, bytes: 0, entries_max, bytes_max, before: begin, end: begin }
    }

    /// What was kept on disk, from the oldest to the newest, with the chain before it.
    ///
    /// # Errors
    /// [`ChainError`]: the first entry that does not follow.
    pub fn load<'a>(
        before: Anchor,
        entries: impl IntoIterator<Item = &'a [u8]>,
        entries_max: usize,
        bytes_max: usize,
    ) -> Result<Kept, ChainError> {
        let mut kept = Kept {
            entries: VecDeque::new(),
            bytes: 0,
            entries_max,
            bytes_max,
            before,
            end: before,
        };
        for bytes in entries {
            let (_, end) = kept.end.follow(bytes)?;
            kept.push(bytes.to_vec(), end);
        }
        Ok(kept)
    }

    /// Appends what happened. Gives the bytes of the entry, for the disk.
    ///
    /// # Errors
    /// [`ChainError::Full`].
    pub fn append(&mut self, event: DeviceEvent) -> Result<&[u8], ChainError> {
        let (bytes, end) = self.end.append(event)?;
        self.push(bytes, end);
        Ok(self.entries.back().expect("the newest entry is always kept"))
    }

    fn push(&mut self, bytes: Vec<u8>, end: Anchor) {
        self.bytes += bytes.len();
        self.entries.push_back(bytes);
        self.end = end;
        while self.entries.len() > 1
            && (self.entries.len() > self.entries_max || self.bytes > self.bytes_max)
        {
            let oldest = self.entries.pop_front().expect("there is more than one");
            self.bytes -= oldest.len();
            self.before = Anchor { length: self.before.length + 1, head: chained(&oldest) };
        }
    }

    /// The entries, from the oldest to the newest.
    pub fn entries(&self) -> impl Iterator<Item = &[u8]> {
        self.entries.iter().map(Vec::as_slice)
    }

    /// The chain before the oldest kept entry: its length is the number of entries that were let go.
    pub fn before(&self) -> Anchor {
        self.before
    }

    /// The chain with all of them: what is told to the server as an anchor.
    pub fn end(&self) -> Anchor {
        self.end
    }
}

/// What was proved of a device's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    /// The entries, in order.
    pub entries: Vec<DeviceEntry>,
    /// The number of the first one: so many were let go before.
    pub first: u64,
    /// The length at the last anchor that lies in or before them. What is below it, nobody can tell
    /// differently any more; what is above rests on the device's word.
    pub anchored: u64,
    /// Anchors that lie before the oldest kept entry: nothing here can be compared with them.
    pub unchecked: usize,
    /// The chain with all of them.
    pub end: Anchor,
}

/// Verifies the entries of a device's log, from the oldest one kept to the newest, against the anchors that
/// the fleet's log has of it, in the order in which it has them.
///
/// The oldest kept entry says itself what was before it. It is believed as far as the next anchor proves.
///
/// # Errors
/// [`ChainError`]: the first that does not hold.
pub fn verify_chain<'a>(
    device: &str,
    entries: impl IntoIterator<Item = &'a [u8]>,
    anchors: &[Anchor],
) -> Result<Chain, ChainError> {
    for pair in anchors.windows(2) {
        let (earlier, later) = (pair[0].length, pair[1].length);
        if later < earlier {
            return Err(ChainError::Back { earlier, later });
        }
        if later == earlier && pair[0].head != pair[1].head {
            return Err(ChainError::Anchor { length: later });
        }
    }
    let begin = Anchor::begin(device);
    let mut chain: Option<(u64, Anchor)> = None;
    let mut left = anchors.iter().peekable();
    let mut read = Vec::new();
    let (mut anchored, mut unchecked) = (0, 0);
    for bytes in entries {
        let (first, before) = match chain {
            Some(chain) => chain,
            None => {
                let entry = DeviceEntry::parse(bytes, 0)?;
                let before = Anchor { length: entry.n, head: entry.prev };
                // A chain that begins at the beginning begins with the device's name.
                if before.length == 0 && before != begin {
                    return Err(ChainError::Link { n: 0 });
                }
                while left.next_if(|anchor| anchor.length < before.length).is_some() {
                    unchecked += 1;
                }
                meet(&mut left, before, &mut anchored)?;
                (before.length, before)
            }
        };
        let (entry, end) = before.follow(bytes)?;
        meet(&mut left, end, &mut anchored)?;
        read.push(entry);
        chain = Some((first, end));
    }
    let (first, end) = match chain {
        Some(chain) => chain,
        None => {
            meet(&mut left, begin, &mut anchored)?;
            (0, begin)
        }
    };
    if let Some(anchor) = left.last() {
        return Err(ChainError::Short { found: end.length, anchored: anchor.length });
    }
    Ok(Chain { entries: read, first, anchored, unchecked, end })
}

/// Compares the chain so far with the anchors of its length.
fn meet(
    anchors: &mut std::iter::Peekable<std::slice::Iter<'_, Anchor>>,
    chain: Anchor,
    anchored: &mut u64,
) -> Result<(), ChainError> {
    while let Some(anchor) = anchors.next_if(|anchor| anchor.length == chain.length) {
        if *anchor != chain {
            return Err(ChainError::Anchor { length: chain.length });
        }
        *anchored = chain.length;
    }
    Ok(())
}

/// What the server makes of entries that a device has sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uploaded {
    /// How many of them it had already, which were the same.
    pub known: usize,
    /// The numbers of entries that were let go on the device before they were sent: from the first to the
    /// last. They are recorded as [`Action::DeviceGap`].
    pub gap: Option<(u64, u64)>,
    /// The chain with the new ones, to be recorded as [`Action::DeviceAnchored`].
    pub end: Anchor,
}

/// Takes entries that a device has sent, in order, to those that the server has up to `have`. Those that it has
/// already are passed over by their number; the last one of them must be the one that it has.
///
/// # Errors
/// [`ChainError`]: they do not follow each other, or not from what the server has: then the device tells
/// another story than before, and the entries are to be kept apart as evidence.
pub fn receive<'a>(
    have: Anchor,
    entries: impl IntoIterator<Item = &'a [u8]>,
) -> Result<Uploaded, ChainError> {
    let mut uploaded = Uploaded { known: 0, gap: None, end: have };
    let mut chain: Option<Anchor> = None;
    for bytes in entries {
        let before = match chain {
            Some(chain) => chain,
            None => {
                let entry = DeviceEntry::parse(bytes, have.length)?;
                if entry.n > have.length {
                    uploaded.gap = Some((have.length, entry.n - 1));
                }
                let before = Anchor { length: entry.n, head: entry.prev };
                if before.length == have.length && before != have {
                    return Err(ChainError::Link { n: entry.n });
                }
                before
            }
        };
        let (_, end) = before.follow(bytes)?;
        if end.length == have.length && end != have {
            return Err(ChainError::Anchor { length: have.length });
        }
        uploaded.known += usize::from(end.length <= have.length);
        chain = Some(end);
    }
    if let Some(end) = chain.filter(|end| end.length > have.length) {
        uploaded.end = end;
    }
    Ok(uploaded)
}

impl fmt::Display for Anchor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.length, self.head)
    }
}

impl FromStr for Anchor {
    type Err = AnchorError;

    fn from_str(text: &str) -> Result<Anchor, AnchorError> {
        let (length, head) = text.split_once(' ').ok_or(AnchorError)?;
        let anchor = Anchor {
            length: length.parse().map_err(|_| AnchorError)?,
            head: head.parse().map_err(|_| AnchorError)?,
        };
        if anchor.to_string() == text && anchor.length <= LOG_SIZE_MAX {
            Ok(anchor)
        } else {
            Err(AnchorError)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(at: u64, detail: &str) -> DeviceEvent {
        let event = "slot.committed".parse().unwrap();
        DeviceEvent { at, clock: Clock::Free, boot: 3, ran: at, event, detail: detail.parse().ok() }
    }

    /// A log of so many entries, and the chain after each.
    fn log(count: u64) -> (Vec<Vec<u8>>, Vec<Anchor>) {
        let mut anchors = vec![Anchor::begin("press-4")];
        let mut entries = Vec::new();
        for n in 0..count {
            let (bytes, end) = anchors.last().unwrap().append(event(n, "main")).unwrap();
            entries.push(bytes);
            anchors.push(end);
        }
        (entries, anchors)
    }

    fn verify(entries: &[Vec<u8>], anchors: &[Anchor]) -> Result<Chain, ChainError> {
        verify_chain("press-4", entries.iter().map(Vec::as_slice), anchors)
    }

    #[test]
    fn entries_are_written_as_they_were_in_the_first_version() {
        let (entries, anchors) = log(1);
        let known = concat!(
            r#"{"v":1,"n":0,"prev":"6f4d6f0e4b3e4962c75d93bad968431380e3f522870312c8042201af44c4e0f4","at":0,"clock":"free","#,
            r#""boot":3,"ran":0,"event":"slot.committed","detail":"main"}"#
        );
        assert_eq!(String::from_utf8(entries[0].clone()).unwrap(), known);
        assert_eq!(
            anchors[1].to_string(),
            "1 cb14fe66517891624d4a3da5374b33dedea4c9281ae366b59d6369d05b58c677"
        );
        assert_eq!(
            "1 cb14fe66517891624d4a3da5374b33dedea4c9281ae366b59d6369d05b58c677".parse(),
            Ok(anchors[1])
        );
        for wrong in [
            "",
            "1",
            "01 cb14fe66517891624d4a3da5374b33dedea4c9281ae366b59d6369d05b58c677",
            "x cb14fe66517891624d4a3da5374b33dedea4c9281ae366b59d6369d05b58c677",
            "1  cb14fe66517891624d4a3da5374b33dedea4c9281ae366b59d6369d05b58c677",
            "9007199254740993 cb14fe66517891624d4a3da5374b33dedea4c9281ae366b59d6369d05b58c677",
        ] {
            assert!(wrong.parse::<Anchor>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_log_that_has_wrapped_around_is_proved_from_its_oldest_entry_to_its_newest() {
        let mut kept = Kept::new("press-4", 10, usize::MAX);
        let mut anchors = vec![kept.end()];
        for n in 0..35 {
            kept.append(event(n, "main")).unwrap();
            anchors.push(kept.end());
            assert_eq!(kept.entries().count(), 10.min(n as usize + 1));
        }
        assert_eq!(kept.before(), anchors[25]);
        let chosen = [anchors[7], anchors[25], anchors[30], anchors[30]];
        let chain = verify_chain("press-4", kept.entries(), &chosen).unwrap();
        assert_eq!((chain.first, chain.anchored, chain.unchecked), (25, 30, 1));
        assert_eq!((chain.entries.len(), chain.end), (10, kept.end()));
        // What was kept on disk goes on.
        let mut again = Kept::load(kept.before(), kept.entries(), 10, usize::MAX).unwrap();
        again.append(event(35, "main")).unwrap();
        kept.append(event(35, "main")).unwrap();
        assert_eq!((again.end(), again.before()), (kept.end(), kept.before()));
    }

    #[test]
    fn bytes_are_a_bound_as_well_and_the_newest_entry_is_kept() {
        let mut kept = Kept::new("press-4", 1000, 1000);
        for n in 0..50 {
            kept.append(event(n, &"x".repeat(100))).unwrap();
            assert!(kept.entries().map(<[u8]>::len).sum::<usize>() <= 1000);
        }
        assert!(kept.entries().count() >= 2);
        let mut kept = Kept::new("press-4", 0, 0);
        for n in 0..5 {
            kept.append(event(n, "")).unwrap();
        }
        assert_eq!((kept.entries().count(), kept.before().length), (1, 4));
    }

    #[test]
    fn whatever_is_done_to_a_log_is_found() {
        let (entries, anchors) = log(20);
        let all = [anchors[5], anchors[12], anchors[20]];
        assert_eq!(verify(&entries, &all).unwrap().anchored, 20);
        for n in 0..20usize {
            let mut missing = entries.clone();
            missing.remove(n);
            let found = verify(&missing, &all).map(|chain| chain.first);
            let known = match n as u64 {
                // As it is where the oldest one was let go; `first` says so.
                0 => Ok(1),
                19 => Err(ChainError::Short { found: 19, anchored: 20 }),
                n => Err(ChainError::Number { expected: n, found: n + 1 }),
            };
            assert_eq!(found, known);
            let mut swapped = entries.clone();
            swapped.swap(n, (n + 1) % 20);
            assert!(verify(&swapped, &all).is_err(), "{n}");
            let mut twice = entries.clone();
            twice.insert(n, entries[n].clone());
            assert!(verify(&twice, &all).is_err(), "{n}");
            // Every byte, one bit of it.
            for at in 0..entries[n].len() {
                let mut changed = entries.clone();
                changed[n][at] ^= 1 << (at % 8);
                assert!(verify(&changed, &all).is_err(), "byte {at} of entry {n}");
            }
        }
        // Written anew from entry 8 on, so that the chain itself holds.
        let mut anew = entries[..8].to_vec();
        let mut end = anchors[8];
        for n in 8..20 {
            let (bytes, next) = end.append(event(n, "other")).unwrap();
            anew.push(bytes);
            end = next;
        }
        assert!(verify(&anew, &[anchors[5]]).is_ok());
        assert_eq!(verify(&anew, &all), Err(ChainError::Anchor { length: 12 }));
        let back = verify(&entries, &[anchors[5], anchors[4]]);
        assert_eq!(back, Err(ChainError::Back { earlier: 5, later: 4 }));
        let other = Anchor { length: 5, head: anchors[6].head };
        assert_eq!(verify(&entries, &[anchors[5], other]), Err(ChainError::Anchor { length: 5 }));
    }

    #[test]
    fn the_log_of_one_device_is_not_that_of_another() {
        let (entries, anchors) = log(3);
        let other = verify_chain("press-5", entries.iter().map(Vec::as_slice), &[]);
        assert_eq!(other, Err(ChainError::Link { n: 0 }));
        assert_eq!(verify(&[], &[anchors[0]]).unwrap().end, anchors[0]);
        assert_eq!(verify(&[], &[anchors[2]]), Err(ChainError::Short { found: 0, anchored: 2 }));
    }

    #[test]
    fn the_server_takes_what_follows_says_what_is_missing_and_refuses_another_story() {
        let (entries, anchors) = log(20);
        let send =
            |have: Anchor, entries: &[Vec<u8>]| receive(have, entries.iter().map(Vec::as_slice));
        let begin = anchors[0];
        let all = send(begin, &entries).unwrap();
        assert_eq!(all, Uploaded { known: 0, gap: None, end: anchors[20] });
        // Sent again, with more.
        let more = send(anchors[12], &entries[4..]).unwrap();
        assert_eq!(more, Uploaded { known: 8, gap: None, end: anchors[20] });
        let old = send(anchors[12], &entries[4..9]).unwrap();
        assert_eq!(old, Uploaded { known: 5, gap: None, end: anchors[12] });
        assert_eq!(send(anchors[12], &[]).unwrap().end, anchors[12]);
        let gap = send(anchors[5], &entries[9..]).unwrap();
        assert_eq!(gap, Uploaded { known: 0, gap: Some((5, 8)), end: anchors[20] });
        let other = Anchor { length: 12, head: anchors[3].head };
        assert_eq!(send(other, &entries[12..]), Err(ChainError::Link { n: 12 }));
        assert_eq!(send(other, &entries[4..]), Err(ChainError::Anchor { length: 12 }));
        let holes = [entries[12].clone(), entries[14].clone()];
        assert_eq!(send(anchors[12], &holes), Err(ChainError::Number { expected: 13, found: 14 }));
    }

    #[test]
    fn no_bytes_of_a_device_break_the_server() {
        let (entries, anchors) = log(2);
        let largest = String::from_utf8(entries[0].clone()).unwrap();
        let largest = largest.replace("\"n\":0", "\"n\":18446744073709551615");
        for bytes in [
            b"".as_slice(),
            b"{}",
            b"[]",
            b"\xff",
            &[b'['; 4000],
            &[b' '; 5000],
            largest.as_bytes(),
        ] {
            let _ = receive(anchors[0], [bytes]);
            let _ = verify_chain("press-4", [bytes], &anchors);
        }
        let full = Anchor { length: LOG_SIZE_MAX, head: anchors[0].head };
        assert_eq!(full.append(event(0, "")), Err(ChainError::Full));
    }
}
