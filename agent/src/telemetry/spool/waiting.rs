//! `Record -> message`: what waits, as it is at one moment, in messages that the server takes.
//!
//! The database shows who reads it what was committed when he began, so nobody who writes is kept
//! waiting, however much there is to read.

use super::merging::{self, AHEAD, SENT};
use super::{ALERTS, EVENTS, INTERVALS, Key, SUMMARIES, SpoolError, size};
use crate::database::Database;
use crate::error::chain;
use lineside_wire::envelope::encode;
use lineside_wire::v1::{Body, Record, Telemetry, record};
use redb::{ReadTransaction, ReadableTable};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, TryLockError};

/// Records that one message may carry.
const BATCH_RECORDS_MAX: usize = 200;
/// Bytes of bodies that one message may carry.
const BATCH_BYTES_MAX: usize = 256 << 10;
/// How often what waits is read again because it was merged meanwhile.
const READ_AGAIN_MAX: usize = 3;
/// Intervals that are looked at for the newest of each slot.
const NEWEST_LOOKED_AT_MAX: usize = 64;

/// Alerts that are looked at for one message, the oldest: those behind them wait.
const ALERTS_LOOKED_AT_MAX: usize = 1024;

/// When a record is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// Not now: it is on its way.
    Wait,
    /// With others.
    Company,
    /// With others, as what waited: it went unanswered.
    Again,
    /// By itself: it went unanswered more than once, and may be what the server cannot read.
    Alone,
}

/// What may be sent now.
#[derive(Clone, Copy)]
pub struct Allowed<'a> {
    /// Records of earlier starts, and those below this number, waited out an interruption.
    pub fresh: u64,
    /// Of these, intervals that go before the others.
    pub first: &'a [Key],
    /// Bytes of what waited, or went unanswered, that may go; one record may be larger.
    pub room: u64,
    /// When a record is sent.
    pub pace: &'a dyn Fn(&Key) -> Pace,
}

impl<'a> Allowed<'a> {
    /// Everything at once, as what waited.
    pub fn all(pace: &'a dyn Fn(&Key) -> Pace) -> Allowed<'a> {
        Allowed { fresh: u64::MAX, first: &[], room: u64::MAX, pace }
    }
}

/// A message that is to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// The message.
    pub message: Vec<u8>,
    /// The records in it.
    pub keys: Vec<Key>,
    /// Bytes in it of what waited out an interruption.
    pub waited_bytes: u64,
}

/// What waits in a spool.
#[derive(Clone)]
pub struct Waiting {
    pub(super) database: Arc<Database>,
    pub(super) boot: u64,
    /// Bytes of intervals that may have been sent and wait on: the rest of the room is for those that
    /// can be merged, should the server never answer.
    pub(super) sent_bytes_max: u64,
    /// Held by whoever notes what is sent. A disk may hang, and nobody else is to hang with it.
    pub(super) marking: Arc<Mutex<()>>,
}

/// Which intervals may be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Which {
    All,
    /// Those of which it is noted that they may have been.
    Noted,
}

/// Whether intervals are noted as sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Noted {
    Yes,
    /// They were merged meanwhile.
    Merged,
    /// The disk is busy with the ones before.
    NotNow,
}

impl Waiting {
    /// The next records to be sent, as one message; none if there are none. Alerts go first, and a new one at once
    /// unless one of the same rule waits; then events, in their order; then intervals that have not waited, then
    /// those that waited, the oldest first.
    ///
    /// It is on disk which intervals are in it, so that these are merged with no other from now on.
    /// Where the disk does not take that, the others of the message go without them.
    ///
    /// # Errors
    /// [`SpoolError`].
    pub fn batch(&self, allowed: Allowed<'_>) -> Result<Option<Batch>, SpoolError> {
        for _ in 0..READ_AGAIN_MAX {
            let look = self.look(allowed, Which::All)?;
            match self.note(&look) {
                Ok(Noted::Yes) => return look.batch(),
                Ok(Noted::Merged) => {}
                Ok(Noted::NotNow) => break,
                Err(error) => {
                    tracing::debug!(
                        "intervals wait because it cannot be noted that they are sent: {}",
                        chain(error)
                    );
                    break;
                }
            }
        }
        self.look(allowed, Which::Noted)?.batch()
    }

    /// The newest interval of each slot that waited out an interruption when the records from `fresh` on had not:
    /// what people want to see first.
    ///
    /// # Errors
    /// [`SpoolError`].
    pub fn newest(&self, fresh: u64) -> Result<Vec<Key>, SpoolError> {
        let intervals = self.database.begin_read()?.open_table(INTERVALS)?;
        let (mut slots, mut keys) = (BTreeSet::new(), Vec::new());
        for entry in intervals.range(..(self.boot, fresh))?.rev().take(NEWEST_LOOKED_AT_MAX) {
            let (key, value) = entry?;
            let (code, body) = value.value();
            let interval = (code == record::INTERVAL).then(|| merging::read(body)).flatten();
            if interval.is_some_and(|interval| slots.insert(interval.slot)) {
                keys.push(key.value());
            }
        }
        Ok(keys)
    }

    /// What would be sent next.
    fn look<'a>(&'a self, allowed: Allowed<'a>, which: Which) -> Result<Look<'a>, SpoolError> {
        let transaction = self.database.begin_read()?;
        let mut look = Look {
            waiting: self,
            allowed,
            which,
            sent: Sent::read(&transaction)?,
            sent_bytes: 0,
            message: Message::default(),
            alone: None,
            waited_bytes: 0,
        };
        let mut held = BTreeSet::new();
        for entry in transaction.open_table(ALERTS)?.iter()?.take(ALERTS_LOOKED_AT_MAX) {
            let (key, value) = entry?;
            look.take_alert(key.value(), value.value(), &mut held);
        }
        for entry in transaction.open_table(EVENTS)?.iter()? {
            let (key, value) = entry?;
            if !look.take(key.value(), value.value()) {
                break;
            }
        }
        let intervals = transaction.open_table(INTERVALS)?;
        if let Some(last) = look.sent.to {
            for entry in intervals.range(..=last)? {
                look.sent_bytes += size(entry?.1.value().1);
            }
        }
        for key in &look.sent.ahead {
            look.sent_bytes += intervals.get(key)?.map_or(0, |value| size(value.value().1));
        }
        let fresh = (self.boot, allowed.fresh)..=(self.boot, u64::MAX);
        for entry in intervals.range(fresh.clone())? {
            let (key, value) = entry?;
            if !look.take_interval(key.value(), value.value()) {
                break;
            }
        }
        let is_done = |key: &Key| fresh.contains(key) || allowed.first.contains(key);
        let ahead = look.sent.ahead.clone();
        let again = ahead.iter().copied().filter(|key| !is_done(key));
        // What may have been sent goes again before anything is sent that has not been.
        for key in allowed.first.iter().copied().chain(again) {
            if let Some(value) = intervals.get(key)?
                && !look.take_interval(key, value.value())
            {
                break;
            }
        }
        for entry in intervals.iter()? {
            let (key, value) = entry?;
            let (key, value) = (key.value(), value.value());
            let is_done = is_done(&key) || ahead.contains(&key);
            if !is_done && !look.take_interval(key, value) {
                break;
            }
        }
        look.end();
        Ok(look)
    }

    /// Notes that the intervals of a message may have been sent, if they are still what they were.
    fn note(&self, look: &Look<'_>) -> Result<Noted, SpoolError> {
        let records = look.message.records.iter();
        let is_summary = |it: &&Record| SUMMARIES.contains(&it.code);
        let unsent = records.filter(is_summary).filter(|it| !look.sent.has(&key(it)));
        let unsent: Vec<_> = unsent.collect();
        if unsent.is_empty() {
            return Ok(Noted::Yes);
        }
        let _marking = match self.marking.try_lock() {
            Ok(marking) => marking,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return Ok(Noted::NotNow),
        };
        let transaction = self.database.begin_write()?;
        {
            let intervals = transaction.open_table(INTERVALS)?;
            for record in &unsent {
                let stored = intervals.get(key(record))?;
                if stored.is_none_or(|stored| stored.value().1 != record.body) {
                    return Ok(Noted::Merged);
                }
            }
            let mut sent = transaction.open_table(SENT)?;
            let mut ahead = transaction.open_table(AHEAD)?;
            let before = sent.get(())?.map(|key| key.value());
            for record in unsent {
                ahead.insert(key(record), ())?;
            }
            // What stands in a row needs no note of its own.
            let mut to = before;
            let from = before.map_or((0, 0), |(boot, sequence)| (boot, sequence.saturating_add(1)));
            for entry in intervals.range(from..)? {
                let key = entry?.0.value();
                if ahead.get(key)?.is_none() {
                    break;
                }
                to = to.max(Some(key));
            }
            if let Some(to) = to.filter(|_| to > before) {
                sent.insert((), to)?;
                ahead.retain_in(..=to, |_, ()| false)?;
            }
            // Nor what is gone.
            ahead.retain(|key, ()| intervals.get(key).is_ok_and(|interval| interval.is_some()))?;
        }
        transaction.commit()?;
        Ok(Noted::Yes)
    }

    /// Notes that all intervals that wait may be with somebody else soon; gives the last of them. One
    /// that is written later may be merged.
    ///
    /// # Errors
    /// [`SpoolError`].
    pub(super) fn note_all(&self) -> Result<Option<Key>, SpoolError> {
        let transaction = self.database.begin_write()?;
        let noted;
        {
            let last = transaction.open_table(INTERVALS)?.last()?.map(|(key, _)| key.value());
            let Some(last) = last.max(merging::sent(&transaction)?) else { return Ok(None) };
            transaction.open_table(SENT)?.insert((), last)?;
            transaction.open_table(AHEAD)?.retain(|_, ()| false)?;
            noted = last;
        }
        transaction.commit()?;
        Ok(Some(noted))
    }
}

/// Which intervals may have been sent.
struct Sent {
    /// All up to this one.
    to: Option<Key>,
    /// And these, before older ones.
    ahead: BTreeSet<Key>,
}

impl Sent {
    fn read(transaction: &ReadTransaction) -> Result<Sent, SpoolError> {
        let to = transaction.open_table(SENT)?.get(())?.map(|key| key.value());
        let ahead = transaction.open_table(AHEAD)?;
        let ahead = ahead.iter()?.map(|entry| Ok(entry?.0.value()));
        Ok(Sent { to, ahead: ahead.collect::<Result<_, SpoolError>>()? })
    }

    fn has(&self, key: &Key) -> bool {
        Some(*key) <= self.to || self.ahead.contains(key)
    }
}

/// What would be sent, as far as it was looked for.
struct Look<'a> {
    waiting: &'a Waiting,
    allowed: Allowed<'a>,
    which: Which,
    sent: Sent,
    /// Bytes of intervals that may have been sent, and of those that are to be now.
    sent_bytes: u64,
    message: Message,
    /// The first record that goes by itself.
    alone: Option<(Record, u64)>,
    waited_bytes: u64,
}

impl Look<'_> {
    /// Takes a record if it may be sent; false where no other of its kind can be.
    fn take(&mut self, key: Key, (code, body): (u16, &[u8])) -> bool {
        let (boot, sequence) = key;
        let pace = (self.allowed.pace)(&key);
        let has_waited = boot != self.waiting.boot || sequence < self.allowed.fresh;
        let backfill = has_waited || matches!(pace, Pace::Again | Pace::Alone);
        let bytes = if backfill { size(body) } else { 0 };
        let room = self.allowed.room.saturating_sub(self.waited_bytes);
        let has_room = !backfill || room >= bytes || self.waited_bytes == 0 && room > 0;
        let record = || Record { boot, sequence, backfill, code, body: body.to_vec() };
        match pace {
            Pace::Wait => true,
            Pace::Alone => {
                if self.alone.is_none() && has_room {
                    self.alone = Some((record(), bytes));
                }
                true
            }
            Pace::Company | Pace::Again => {
                let goes = has_room && self.message.has_room_for(body);
                if goes {
                    self.message.push(record());
                    self.waited_bytes += bytes;
                }
                goes
            }
        }
    }

    /// The same of an alert, where none of the same rule is `held`: a rule's end is not to be told before its
    /// beginning, nor a new firing before the end of the last.
    fn take_alert(&mut self, key: Key, value: (u16, &[u8]), held: &mut BTreeSet<Rule>) {
        let rule = rule(value);
        let is_on_its_way = (self.allowed.pace)(&key) == Pace::Wait;
        if held.contains(&rule) || is_on_its_way || !self.take(key, value) {
            held.insert(rule);
        }
    }

    /// The same of an interval, within what may be sent and wait on.
    fn take_interval(&mut self, key: Key, value: (u16, &[u8])) -> bool {
        if self.sent.has(&key) {
            return self.take(key, value);
        }
        if self.which == Which::Noted {
            return false;
        }
        let (sent_bytes, bytes) = (self.sent_bytes, size(value.1));
        if sent_bytes > 0 && sent_bytes + bytes > self.waiting.sent_bytes_max {
            return false;
        }
        self.sent_bytes += bytes;
        self.take(key, value)
    }

    /// Where nothing else goes, what goes by itself does.
    fn end(&mut self) {
        if self.message.is_empty()
            && let Some((record, bytes)) = self.alone.take()
        {
            self.message.push(record);
            self.waited_bytes = bytes;
        }
    }

    fn batch(self) -> Result<Option<Batch>, SpoolError> {
        if self.message.is_empty() {
            return Ok(None);
        }
        let keys = self.message.records.iter().map(key).collect();
        let message = self.message.encode()?;
        Ok(Some(Batch { message, keys, waited_bytes: self.waited_bytes }))
    }
}

/// Slot and name of a rule; none where an alert cannot be read here.
type Rule = Option<(String, String)>;

fn rule((code, body): (u16, &[u8])) -> Rule {
    let body = body.to_vec();
    match (Record { boot: 0, sequence: 0, backfill: false, code, body }).read() {
        Ok(Body::Alert(alert)) => Some((alert.slot, alert.rule)),
        _ => None,
    }
}

fn key(record: &Record) -> Key {
    (record.boot, record.sequence)
}

/// Records that go together.
#[derive(Default)]
pub(super) struct Message {
    pub(super) records: Vec<Record>,
    bytes: usize,
}

impl Message {
    pub(super) fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Whether a record of this body goes with the others. There is room for one, whatever its size.
    pub(super) fn has_room_for(&self, body: &[u8]) -> bool {
        self.is_empty()
            || self.records.len() < BATCH_RECORDS_MAX && self.bytes + body.len() <= BATCH_BYTES_MAX
    }

    pub(super) fn push(&mut self, record: Record) {
        self.bytes += record.body.len();
        self.records.push(record);
    }

    pub(super) fn encode(self) -> Result<Vec<u8>, SpoolError> {
        encode(&Telemetry { records: self.records })
            .map_err(|error| SpoolError::Record(error.to_string()))
    }
}
