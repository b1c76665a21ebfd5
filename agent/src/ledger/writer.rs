//! The thread that writes: what waits goes into one transaction, and nobody is told before that is on
//! the medium.

use super::batch::{Addressed, Answer, Batch, Committed, Span};
use super::door::{LedgerError, OutboxLimits};
use super::record::SlotRecord;
use super::tables::{OUTBOX, READINGS, SINKS, SLOTS, STREAMS};
use crate::database::{self, Database, Trouble};
use crate::error::chain;
use crate::failpoint;
use crate::lock::lock;
use lineside_runtime::Reading;
use redb::ReadableTable;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::mpsc::error::TryRecvError;
use tokio::sync::{Notify, mpsc, oneshot};

/// How long a disk that takes nothing is left alone.
const RETRY_AFTER: Duration = Duration::from_millis(200);

/// How long a disk may only be read before that is more than a person at work on it.
const READ_ONLY_MAX: Duration = Duration::from_secs(5);

/// What the thread is asked for.
pub(super) enum Request {
    Commit(Box<Batch>, oneshot::Sender<Answer>),
    Delivered { sink: String, numbers: Vec<u64>, done: oneshot::Sender<()> },
}

/// What the thread has.
pub(super) struct Writer {
    pub(super) database: Arc<Database>,
    pub(super) limits: OutboxLimits,
    /// The number before the first finding of a sink.
    pub(super) first: u64,
    pub(super) news: Arc<Notify>,
    /// Sinks that have taken nothing for so long that slots have to wait.
    pub(super) full: Arc<Mutex<BTreeSet<String>>>,
    pub(super) trouble: Trouble,
    /// Since when the disk can only be read.
    pub(super) read_only_since: Option<Instant>,
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
    /// Writes until nobody is left to ask.
    pub(super) fn write(mut self, mut inbox: mpsc::Receiver<Request>) {
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
                    if let Some(why) = self.is_beyond_repair(&error) {
                        tracing::error!("{why}, so the agent starts over: {}", chain(error));
                        return;
                    }
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

    /// Why only another start helps, where it does: it begins a damaged database anew, and does without
    /// a disk that can only be read. To wait in memory for what does not come would cost findings.
    fn is_beyond_repair(&mut self, error: &LedgerError) -> Option<&'static str> {
        let LedgerError::Database(cause) = error else { return None };
        if database::is_damaged(cause) {
            return Some("state.redb is damaged");
        }
        if !is_read_only(cause) {
            return None;
        }
        let since = *self.read_only_since.get_or_insert_with(Instant::now);
        (since.elapsed() >= READ_ONLY_MAX).then_some("the disk of state.redb can only be read")
    }

    fn worked(&mut self) {
        self.read_only_since = None;
        if self.trouble.worked() {
            tracing::info!("state.redb can be written again");
        }
    }

    fn failed(&mut self, error: LedgerError) {
        if self.trouble.failed() {
            tracing::error!("findings and positions wait in memory: {}", chain(error));
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
                Err(still) if self.is_beyond_repair(&still).is_some() => return Err(still),
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
        let bytes = slots.get(slot)?;
        bytes.map_or(Ok(0), |bytes| record(slot, bytes.value()).map(|record| record.batches))
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
                        None => streams.get((slot, key.as_str()))?.map_or_else(
                            || batch.journal.begun.get(key).copied().unwrap_or(0),
                            |stream| stream.value().1,
                        ),
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
                    let kept = kept.iter().map(|(order, reading)| (*order, &**reading));
                    let kept: Vec<(u64, &Reading)> = kept.collect();
                    let bytes = postcard::to_stdvec(&kept)
                        .expect("readings have a length and no maps, so postcard can write them");
                    readings.insert((slot, *number), bytes.as_slice())?;
                }
                let mut record = batch.record.clone();
                let before = slots.get(slot)?.map(|bytes| self::record(slot, bytes.value()));
                let before = before.transpose()?.unwrap_or_default();
                record.batches = before.batches + 1;
                open.batches.insert(slot.to_owned(), record.batches);
                record.counts.lost = before.counts.lost + outcome.lost;
                record.counts.doubled = before.counts.doubled + outcome.doubled;
                let bytes = serde_json::to_vec(&record)
                    .expect("a record has string keys and finite numbers");
                slots.insert(slot, bytes.as_slice())?;
                for Addressed { sinks: to, json } in &batch.findings {
                    for sink in to.iter() {
                        let (waiting, dropped, next) = sinks
                            .get(sink.as_str())?
                            .map_or((0, 0, self.first + 1), |counts| counts.value());
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
        *lock(&self.full) = full;
        Ok(open.outcomes)
    }
}

fn is_read_only(error: &redb::Error) -> bool {
    matches!(error, redb::Error::Io(error) if error.kind() == io::ErrorKind::ReadOnlyFilesystem)
}

/// What is written of a slot.
///
/// # Errors
/// [`LedgerError::Entry`]. To take it for a new slot would count its batches anew, and then one that was
/// never written for written.
fn record(slot: &str, bytes: &[u8]) -> Result<SlotRecord, LedgerError> {
    let entry = |_| LedgerError::Entry { slot: slot.to_owned() };
    serde_json::from_slice(bytes).map_err(entry)
}
