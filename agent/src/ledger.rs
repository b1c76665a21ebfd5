//! What has been accounted for, on disk: one transaction a batch holds findings, positions and the
//! readings still owed, so that no power cut can separate them.
//!
//! One thread writes. Sources are told only what is committed, and sinks see only that. While the
//! disk is full the thread waits for space and slots go on in memory.

use crate::database::Database;
use crate::failpoint;
use crate::store::Store;
use crate::worker::route::{JournalStep, StreamState};
use lineside_bundle::FailSafe;
use lineside_runtime::Reading;
use lineside_wire::name::SlotName;
use redb::{ReadableTable, TableDefinition, TableHandle};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::mpsc::error::TryRecvError;
use tokio::sync::{Notify, mpsc, oneshot};

/// Slot: position of its source, what it has counted.
const SLOTS: TableDefinition<&str, &[u8]> = TableDefinition::new("slots");
/// Slot and stream: readings accepted, readings accounted for.
const STREAMS: TableDefinition<(&str, &str), (u64, u64)> = TableDefinition::new("streams");
/// Slot and chunk: readings that are kept.
const READINGS: TableDefinition<(&str, u64), &[u8]> = TableDefinition::new("readings");
/// Sink and number: a finding as JSON.
const OUTBOX: TableDefinition<(&str, u64), &str> = TableDefinition::new("outbox");
/// Sink: findings that wait, findings that had to give way, the next number.
const SINKS: TableDefinition<&str, (u64, u64, u64)> = TableDefinition::new("sinks");
/// Requests that wait for the writing thread. Each slot and each sink has one at a time.
const REQUESTS_MAX: usize = 1024;
/// How long a disk that takes nothing is left alone.
const RETRY_AFTER: Duration = Duration::from_millis(200);
/// How long the disk must have taken everything before that is told: small transactions find room
/// now and then while it is full.
const AGAIN_AFTER: Duration = Duration::from_secs(5);
/// Packets of a broker that are remembered, to know them when they are sent again.
pub const RECENT_PACKETS_MAX: usize = 256;

/// Why the ledger does not answer.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The database.
    #[error("the ledger in state.redb cannot be used")]
    Database(#[source] Box<redb::Error>),
    /// What is written there.
    #[error(
        "the ledger's entry for slot {slot} cannot be understood; was it written by a newer agent?"
    )]
    Entry {
        /// The slot.
        slot: String,
    },
    /// The writing thread is gone.
    #[error("the ledger is closed")]
    Closed,
}

impl<E: Into<redb::Error>> From<E> for LedgerError {
    fn from(error: E) -> LedgerError {
        LedgerError::Database(Box::new(error.into()))
    }
}

/// How far a source has been read.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// The source that it was: a mark for each file, in order, or one for a topic.
    pub source: Vec<String>,
    /// File, from 0.
    pub file: u32,
    /// Rows of that file that have been taken, good or bad.
    pub row: u64,
    /// Rows of all files before it.
    pub rows_before: u64,
    /// The recording has ended, and its last frames are accounted for.
    pub ended: bool,
    /// The last packets of a broker that were accepted: identifier, and digest of the payload.
    pub recent: VecDeque<(u16, u64)>,
}

/// What a position means for the source that the settings name now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Continuation {
    /// It is the same source, or files have been added behind those that were read.
    Goes,
    /// It is another source, which is read from its beginning.
    Anew,
}

impl Position {
    /// Goes on with `source`: from here if it is what was read before, else from its beginning.
    pub fn follow(&mut self, source: Vec<String>) -> Continuation {
        let was = std::mem::replace(&mut self.source, source);
        if self.source == was {
            return Continuation::Goes;
        }
        // Only what has been read so far must be the same. One that was never read has no marks.
        let read = was.get(..=self.file as usize).unwrap_or(&was);
        if !was.is_empty() && self.source.starts_with(read) {
            self.ended &= self.source.len() <= read.len();
            return Continuation::Goes;
        }
        let read = (self.file, self.row) != (0, 0) || self.ended || !self.recent.is_empty();
        *self = Position { source: std::mem::take(&mut self.source), ..Position::default() };
        if read { Continuation::Anew } else { Continuation::Goes }
    }
}

/// What a slot has counted since it exists.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotCounts {
    /// Readings accepted.
    pub accepted: u64,
    /// Rows and messages that were no readings, and readings that gave way, by reason.
    pub dropped: BTreeMap<String, u64>,
    /// Frames accounted for.
    pub frames: u64,
    /// Frames without an answer, by reason.
    pub errors: BTreeMap<String, u64>,
    /// Findings given.
    pub findings: u64,
    /// Findings with an alarm.
    pub alarms: u64,
    /// Findings that gave way while the disk took nothing.
    pub findings_dropped: u64,
    /// Deaths of workers.
    pub worker_deaths: u64,
    /// Readings and answers that could not be captured.
    #[serde(default)]
    pub capture_dropped: u64,
    /// Readings between two committed frames that no frame accounts for: nought.
    pub lost: u64,
    /// Frames that were committed twice: nought.
    pub doubled: u64,
}

/// What is known of a slot beside its streams.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct SlotRecord {
    /// How far its source has been read.
    pub position: Position,
    /// What it has counted.
    pub counts: SlotCounts,
    /// Names of the values of the readings that are kept.
    pub fields: Vec<String>,
    /// How often the slot has given its fail-safe output beside those of frames.
    pub fail_safe_given: u64,
    /// What the last bundle says when there is no answer.
    pub fail_safe: BTreeMap<String, FailSafe>,
    /// Batches of the slot that were written; only the writing thread counts them.
    #[serde(default)]
    pub batches: u64,
}

/// The readings that one committed frame accounts for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// The stream.
    pub key: String,
    /// First reading.
    pub first: u64,
    /// Last reading; before `first` where there is none.
    pub last: u64,
}

/// A finding on its way to sinks.
#[derive(Debug, Clone)]
pub struct Addressed {
    /// The sinks.
    pub sinks: Arc<[String]>,
    /// A JSON object, without the number that the outbox gives it.
    pub json: String,
}

/// One batch of a slot.
#[derive(Debug, Clone)]
pub struct Batch {
    /// The slot.
    pub slot: SlotName,
    /// What is known of it.
    pub record: SlotRecord,
    /// Readings that are kept, and streams.
    pub journal: JournalStep,
    /// Frames that are accounted for.
    pub spans: Vec<Span>,
    /// What they found.
    pub findings: Vec<Addressed>,
}

/// A slot as it was last committed.
#[derive(Debug, Default)]
pub struct Restored {
    /// What was known of it.
    pub record: SlotRecord,
    /// Its streams.
    pub streams: BTreeMap<String, StreamState>,
    /// The readings that were kept, by chunk.
    pub chunks: Vec<(u64, Vec<(u64, Reading)>)>,
}

/// What a commit found out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Committed {
    /// Readings lost, by this batch.
    pub lost: u64,
    /// Frames doubled, by this batch.
    pub doubled: u64,
}

/// What a commit answers: what it found out, or the batch again.
pub type Answer = Result<Committed, Box<Batch>>;

enum Request {
    Commit(Box<Batch>, oneshot::Sender<Answer>),
    Delivered { sink: String, numbers: Vec<u64>, done: oneshot::Sender<()> },
}

/// Findings of one sink.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Outbox {
    /// Those that wait.
    pub waiting: u64,
    /// Those that had to give way, since the sink exists.
    pub gave_way: u64,
}

/// Bounds of the outbox.
#[derive(Debug, Clone, Copy)]
pub struct OutboxLimits {
    /// Findings that may wait for one sink.
    pub findings_max: u64,
    /// Whether slots wait when there are as many. Otherwise the oldest are dropped and counted.
    pub block: bool,
}

/// The door to the ledger.
#[derive(Clone)]
pub struct Ledger {
    database: Arc<Database>,
    requests: mpsc::Sender<Request>,
    news: Arc<Notify>,
    full: Arc<Mutex<BTreeSet<String>>>,
}

impl Ledger {
    /// Opens the ledger of `store` and starts its writing thread.
    ///
    /// # Errors
    /// [`LedgerError::Database`].
    pub fn open(store: &Store, limits: OutboxLimits) -> Result<Ledger, LedgerError> {
        Ledger::of(store.database(), limits)
    }

    /// Opens the ledger in `database` and starts its writing thread.
    ///
    /// # Errors
    /// [`LedgerError::Database`].
    pub fn of(database: Arc<Database>, limits: OutboxLimits) -> Result<Ledger, LedgerError> {
        let tables = [SLOTS.name(), STREAMS.name(), READINGS.name(), OUTBOX.name(), SINKS.name()];
        database.have_tables(&tables, |transaction| {
            transaction.open_table(SLOTS)?;
            transaction.open_table(STREAMS)?;
            transaction.open_table(READINGS)?;
            transaction.open_table(OUTBOX)?;
            transaction.open_table(SINKS)?;
            Ok(())
        })?;
        let (requests, inbox) = mpsc::channel(REQUESTS_MAX);
        let (news, full) = (Arc::new(Notify::new()), Arc::default());
        let writer = Writer {
            database: database.clone(),
            limits,
            news: news.clone(),
            full: Arc::clone(&full),
            trouble: None,
        };
        std::thread::Builder::new()
            .name("ledger".into())
            .spawn(move || writer.write(inbox))
            .map_err(redb::Error::Io)?;
        Ok(Ledger { database, requests, news, full })
    }

    /// A slot as it was last committed; a new one where it never was.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub fn restore(&self, slot: &SlotName) -> Result<Restored, LedgerError> {
        let entry = || LedgerError::Entry { slot: slot.to_string() };
        let transaction = self.database.begin_read()?;
        let name = slot.as_str();
        let mut restored = Restored::default();
        if let Some(bytes) = transaction.open_table(SLOTS)?.get(name)? {
            restored.record = serde_json::from_slice(bytes.value()).map_err(|_| entry())?;
        }
        for stream in transaction.open_table(STREAMS)?.range((name, "")..)? {
            let (key, value) = stream?;
            let (owner, stream) = key.value();
            if owner != name {
                break;
            }
            let (next, accounted) = value.value();
            restored.streams.insert(stream.to_owned(), StreamState { next, accounted });
        }
        for chunk in transaction.open_table(READINGS)?.range((name, 0)..=(name, u64::MAX))? {
            let (key, value) = chunk?;
            let readings = postcard::from_bytes(value.value()).map_err(|_| entry())?;
            restored.chunks.push((key.value().1, readings));
        }
        Ok(restored)
    }

    /// Hands a batch to the writing thread. The answer comes when it is on the medium, or with the
    /// batch when it could not be written.
    pub async fn commit(&self, batch: Box<Batch>) -> oneshot::Receiver<Answer> {
        let (answer, answered) = oneshot::channel();
        // Closed only when the agent stops; the caller then hears nothing.
        let _ = self.requests.send(Request::Commit(batch, answer)).await;
        answered
    }

    /// Findings for `sink` with a number from `from` on, in order, at most `count`.
    ///
    /// # Errors
    /// [`LedgerError::Database`].
    pub fn findings(
        &self,
        sink: &str,
        from: u64,
        count: usize,
    ) -> Result<Vec<(u64, String)>, LedgerError> {
        let table = self.database.begin_read()?.open_table(OUTBOX)?;
        let mut findings = Vec::new();
        for finding in table.range((sink, from)..=(sink, u64::MAX))?.take(count) {
            let (key, value) = finding?;
            findings.push((key.value().1, value.value().to_owned()));
        }
        Ok(findings)
    }

    /// Says that `sink` has these findings for good, and waits until they have left the outbox:
    /// while the disk takes nothing, for as long.
    pub async fn delivered(&self, sink: &str, numbers: Vec<u64>) {
        if numbers.is_empty() {
            return;
        }
        let (done, left) = oneshot::channel();
        let request = Request::Delivered { sink: sink.to_owned(), numbers, done };
        // Closed only when the agent stops; what is delivered again then has the same number.
        if self.requests.send(request).await.is_ok() {
            let _ = left.await;
        }
    }

    /// Waits until the writing thread is gone, which it never is while the agent runs.
    pub async fn closed(&self) {
        self.requests.closed().await;
    }

    /// Rings when there may be new findings.
    pub fn news(&self) -> Arc<Notify> {
        self.news.clone()
    }

    /// Whether one of `sinks` has taken nothing for so long that slots that tell it have to wait.
    pub fn is_full(&self, sinks: &[String]) -> bool {
        let full = self.full.lock().unwrap_or_else(PoisonError::into_inner);
        !full.is_empty() && sinks.iter().any(|sink| full.contains(sink))
    }

    /// Findings by sink, those of sinks included that the settings no longer name.
    ///
    /// # Errors
    /// [`LedgerError::Database`].
    pub fn outbox(&self) -> Result<BTreeMap<String, Outbox>, LedgerError> {
        let table = self.database.begin_read()?.open_table(SINKS)?;
        let mut sinks = BTreeMap::new();
        for sink in table.iter()? {
            let (key, value) = sink?;
            let (waiting, gave_way, _) = value.value();
            sinks.insert(key.value().to_owned(), Outbox { waiting, gave_way });
        }
        Ok(sinks)
    }
}

struct Writer {
    database: Arc<Database>,
    limits: OutboxLimits,
    news: Arc<Notify>,
    full: Arc<Mutex<BTreeSet<String>>>,
    trouble: Option<Trouble>,
}

/// The disk takes nothing, or not for long enough.
struct Trouble {
    /// Since when it has taken everything.
    over_since: Option<Instant>,
}

/// A transaction that may be on the medium.
#[derive(Default)]
struct Open {
    /// What its batches found out.
    outcomes: Vec<Committed>,
    /// The number that its last batch of each slot gives the slot.
    batches: BTreeMap<String, u64>,
}

/// Why a transaction has failed.
struct Failed {
    error: LedgerError,
    /// The transaction, if it may be on the medium all the same.
    open: Option<Open>,
}

impl<E: Into<LedgerError>> From<E> for Failed {
    fn from(error: E) -> Failed {
        Failed { error: error.into(), open: None }
    }
}

impl Writer {
    fn write(mut self, mut inbox: mpsc::Receiver<Request>) {
        // A sink waits until what it has delivered has left, so these stay few.
        let mut delivered: BTreeMap<String, BTreeSet<u64>> = BTreeMap::new();
        let mut delivering = Vec::new();
        while let Some(first) = self.next(&mut inbox, !delivering.is_empty()) {
            let mut batches = Vec::new();
            let mut request = first;
            while let Some(one) = request {
                match one {
                    Request::Commit(batch, answer) => batches.push((batch, answer)),
                    Request::Delivered { sink, numbers, done } => {
                        delivered.entry(sink).or_default().extend(numbers);
                        delivering.push(done);
                    }
                }
                request = inbox.try_recv().ok();
            }
            let written = match self.transact(&batches, &delivered) {
                Err(Failed { error, open: Some(written) }) => self.find_out(error, written, &inbox),
                Err(Failed { error, open: None }) => Err(error),
                Ok(outcomes) => Ok(outcomes),
            };
            match written {
                Ok(outcomes) => {
                    delivered.clear();
                    self.worked();
                    for ((_, answer), outcome) in batches.into_iter().zip(outcomes) {
                        let _ = answer.send(Ok(outcome));
                    }
                    for done in delivering.drain(..) {
                        let _ = done.send(());
                    }
                }
                Err(error) => {
                    self.failed(error);
                    for (batch, answer) in batches {
                        let _ = answer.send(Err(batch));
                    }
                    // Slots try again at once; the disk needs a moment.
                    std::thread::sleep(RETRY_AFTER);
                }
            }
            self.news.notify_waiters();
        }
    }

    /// The next request; none within a moment if there is something left to write. Nothing at all
    /// when nobody is left to ask.
    fn next(&self, inbox: &mut mpsc::Receiver<Request>, left: bool) -> Option<Option<Request>> {
        if !left {
            return inbox.blocking_recv().map(Some);
        }
        match inbox.try_recv() {
            Ok(request) => Some(Some(request)),
            Err(TryRecvError::Empty) => Some(None),
            Err(TryRecvError::Disconnected) => None,
        }
    }

    fn worked(&mut self) {
        let Some(trouble) = &mut self.trouble else { return };
        let since = *trouble.over_since.get_or_insert_with(Instant::now);
        if since.elapsed() >= AGAIN_AFTER {
            self.trouble = None;
            tracing::info!("state.redb can be written again");
        }
    }

    fn failed(&mut self, error: LedgerError) {
        if self.trouble.replace(Trouble { over_since: None }).is_none() {
            let error = anyhow::Error::from(error);
            tracing::error!("findings and positions wait in memory: {error:#}");
        }
    }

    /// Finds out whether a transaction is on the medium whose commit has failed: the disk may have
    /// taken it and not said so. Given to the slots again it would double their findings. Until the
    /// disk can be asked, the slots wait as for one that hangs.
    fn find_out(
        &mut self,
        error: LedgerError,
        Open { outcomes, batches }: Open,
        inbox: &mpsc::Receiver<Request>,
    ) -> Result<Vec<Committed>, LedgerError> {
        let Some((slot, batch)) = batches.first_key_value() else { return Err(error) };
        loop {
            match self.batches(slot) {
                Ok(written) if written >= *batch => return Ok(outcomes),
                Ok(_) => return Err(error),
                Err(_) if inbox.is_closed() => return Err(error),
                Err(still) => self.failed(still),
            }
            std::thread::sleep(RETRY_AFTER);
        }
    }

    /// How many batches of a slot are on the medium.
    fn batches(&self, slot: &str) -> Result<u64, LedgerError> {
        // One that writes, because only that opens the database again.
        let transaction = self.database.begin_write()?;
        let slots = transaction.open_table(SLOTS)?;
        Ok(slots.get(slot)?.map_or(0, |bytes| record(bytes.value()).batches))
    }

    fn transact(
        &self,
        batches: &[(Box<Batch>, oneshot::Sender<Answer>)],
        delivered: &BTreeMap<String, BTreeSet<u64>>,
    ) -> Result<Vec<Committed>, Failed> {
        let transaction = self.database.begin_write()?;
        let mut open = Open::default();
        let mut full = BTreeSet::new();
        {
            let mut slots = transaction.open_table(SLOTS)?;
            let mut streams = transaction.open_table(STREAMS)?;
            let mut readings = transaction.open_table(READINGS)?;
            let mut outbox = transaction.open_table(OUTBOX)?;
            let mut sinks = transaction.open_table(SINKS)?;
            for (batch, _) in batches {
                let slot = batch.slot.as_str();
                let mut accounted: BTreeMap<&str, u64> = BTreeMap::new();
                let mut outcome = Committed::default();
                for Span { key, first, last } in &batch.spans {
                    let owed = match accounted.get(key.as_str()) {
                        Some(owed) => *owed,
                        None => streams.get((slot, key.as_str()))?.map_or(0, |s| s.value().1),
                    };
                    outcome.lost += first.saturating_sub(owed);
                    outcome.doubled += u64::from(*first < owed);
                    accounted.insert(key, owed.max(last.wrapping_add(1)));
                }
                for (key, state) in &batch.journal.streams {
                    streams.insert((slot, key.as_str()), (state.next, state.accounted))?;
                }
                for chunk in &batch.journal.gone {
                    readings.remove((slot, *chunk))?;
                }
                if let Some((number, kept)) = &batch.journal.chunk {
                    let bytes = postcard::to_stdvec(kept)
                        .expect("readings have a length and no maps, so postcard can write them");
                    readings.insert((slot, *number), bytes.as_slice())?;
                }
                let mut record = batch.record.clone();
                let before = slots.get(slot)?.map(|bytes| self::record(bytes.value()));
                let before = before.unwrap_or_default();
                record.batches = before.batches + 1;
                open.batches.insert(slot.to_owned(), record.batches);
                record.counts.lost = before.counts.lost + outcome.lost;
                record.counts.doubled = before.counts.doubled + outcome.doubled;
                let bytes = serde_json::to_vec(&record)
                    .expect("a record has string keys and finite numbers");
                slots.insert(slot, bytes.as_slice())?;
                for Addressed { sinks: to, json } in &batch.findings {
                    for sink in to.iter() {
                        let (waiting, dropped, next) =
                            sinks.get(sink.as_str())?.map_or((0, 0, 1), |counts| counts.value());
                        let json = format!("{{\"number\":{next},{}", &json[1..]);
                        outbox.insert((sink.as_str(), next), json.as_str())?;
                        sinks.insert(sink.as_str(), (waiting + 1, dropped, next + 1))?;
                    }
                }
                open.outcomes.push(outcome);
            }
            for (sink, numbers) in delivered {
                let mut removed = 0;
                for number in numbers {
                    removed += u64::from(outbox.remove((sink.as_str(), *number))?.is_some());
                }
                let counts = sinks.get(sink.as_str())?.map(|counts| counts.value());
                if let Some((waiting, dropped, next)) = counts {
                    sinks.insert(sink.as_str(), (waiting - removed.min(waiting), dropped, next))?;
                }
            }
            let all: Vec<(String, (u64, u64, u64))> = sinks
                .iter()?
                .map(|entry| entry.map(|(key, value)| (key.value().to_owned(), value.value())))
                .collect::<Result<_, _>>()?;
            for (sink, (waiting, dropped, next)) in all {
                let over = waiting.saturating_sub(self.limits.findings_max);
                if self.limits.block {
                    if waiting >= self.limits.findings_max {
                        full.insert(sink);
                    }
                } else if over > 0 {
                    let name = sink.as_str();
                    let oldest: Vec<u64> = outbox
                        .range((name, 0)..=(name, u64::MAX))?
                        .take(over as usize)
                        .map(|entry| entry.map(|(key, _)| key.value().1))
                        .collect::<Result<_, _>>()?;
                    for number in &oldest {
                        outbox.remove((name, *number))?;
                    }
                    let gone = oldest.len() as u64;
                    sinks.insert(name, (waiting - gone, dropped + gone, next))?;
                    tracing::warn!(%sink, "{gone} findings gave way: too many wait for the sink");
                }
            }
        }
        let committed = failpoint::pass("ledger.commit")
            .map_err(redb::Error::Io)
            .and_then(|()| Ok(transaction.commit()?))
            .and_then(|()| failpoint::pass("ledger.committed").map_err(redb::Error::Io));
        if let Err(error) = committed {
            return Err(Failed { error: error.into(), open: Some(open) });
        }
        *self.full.lock().unwrap_or_else(PoisonError::into_inner) = full;
        Ok(open.outcomes)
    }
}

/// What is written of a slot; as of a new one if it cannot be understood.
fn record(bytes: &[u8]) -> SlotRecord {
    serde_json::from_slice(bytes).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_holds_for_the_files_that_were_read_and_for_no_other() {
        let marks = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let at = |file, row, ended| Position {
            source: marks("a b"),
            file,
            row,
            ended,
            ..Position::default()
        };
        let begin = Position::default();
        for (was, now, wanted, then) in [
            (at(1, 5, true), "a b", Continuation::Goes, at(1, 5, true)),
            (at(1, 5, true), "a b c", Continuation::Goes, at(1, 5, false)),
            (at(0, 5, false), "a c", Continuation::Goes, at(0, 5, false)),
            (at(1, 5, true), "a c", Continuation::Anew, begin.clone()),
            (at(1, 5, true), "b", Continuation::Anew, begin.clone()),
            (at(0, 0, false), "b", Continuation::Goes, begin.clone()),
            (begin.clone(), "a", Continuation::Goes, begin.clone()),
        ] {
            let mut position = was.clone();
            assert_eq!(position.follow(marks(now)), wanted, "{was:?} {now}");
            assert_eq!(position, Position { source: marks(now), ..then }, "{was:?} {now}");
        }
    }
}
