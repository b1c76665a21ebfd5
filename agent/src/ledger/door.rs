//! The door to the ledger: whoever writes hands over and waits, whoever reads reads for himself.

use super::batch::{Answer, Batch, Restored};
use super::tables::{OUTBOX, READINGS, SINKS, SLOTS, STREAMS};
use super::writer::{Request, Writer};
use crate::database::{self, Database, Trouble};
use crate::lock::lock;
use crate::store::Store;
use crate::worker::route::StreamState;
use lineside_runtime::Reading;
use lineside_wire::name::SlotName;
use redb::{ReadableTable, TableHandle};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use tokio::sync::{Notify, mpsc, oneshot};

/// Requests that wait for the writing thread. Each slot and each sink has one at a time.
const REQUESTS_MAX: usize = 1024;

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
        let first = database::first_number(&database.begin_read()?)?;
        let (requests, inbox) = mpsc::channel(REQUESTS_MAX);
        let (news, full) = (Arc::new(Notify::new()), Arc::default());
        let writer = Writer {
            database: database.clone(),
            limits,
            first,
            news: news.clone(),
            full: Arc::clone(&full),
            trouble: Trouble::default(),
            read_only_since: None,
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
        let first = database::first_number(&transaction)?;
        let mut restored = Restored { first, ..Restored::default() };
        match transaction.open_table(SLOTS)?.get(name)? {
            Some(bytes) => {
                restored.record = serde_json::from_slice(bytes.value()).map_err(|_| entry())?;
            }
            None => restored.record.fail_safe_given = first,
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
            let readings: Vec<(u64, Reading)> =
                postcard::from_bytes(value.value()).map_err(|_| entry())?;
            let readings = readings.into_iter().map(|(order, it)| (order, Arc::new(it))).collect();
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
        let full = lock(&self.full);
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
