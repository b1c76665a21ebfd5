//! The way to the telemetry: takes frames and events from everywhere, and writes them when there is
//! something to write. Nobody waits for it but the update engine, whose reports must not be lost.

use crate::capture::Keep;
use crate::clock::now_unix_ms;
use crate::database::{Database, Trouble};
use crate::error::chain;
use crate::fleet::status::release_ref;
use crate::lock::lock;
use crate::telemetry::counting::{Counter, Counting, Counts, Told};
use crate::telemetry::judging::{Fires, Judge, JudgeParts, over};
use crate::telemetry::outcomes::{AnswersKept, Heard, Joining, Outcome};
use crate::telemetry::resources;
use crate::telemetry::sending::Sending;
use crate::telemetry::spool::{Allowed, Batch, Key, Load, Open, Pace, Spool, SpoolError, Waiting};
use crate::telemetry::summarise::Summariser;
use crate::update::StagedRelease;
use crate::worker::Witness;
use crate::worker::route::Settled;
use lineside_bundle::ReleaseId;
use lineside_rules::{ShadowObservation, SitePolicy};
use lineside_trust::TrustedReceipt;
use lineside_update::{Report, ReportKind};
use lineside_wire::name::SlotName;
use lineside_wire::v1::{Ack, Body, Event, event};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, watch};
use tokio::task::spawn_blocking;
use tokio::time::timeout_at;

/// How often the open intervals are written: what a power cut may cost of a summary.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(5);
/// Longest text of an event, in characters.
const TEXT_CHARS_MAX: usize = 1000;

/// What is told where answers cannot be read.
const ANSWERS_LOST: &str =
    "what was answered before this start cannot be read: outcomes of it find nothing";

/// What the telemetry works with.
pub struct TelemetryParts {
    /// Where records wait.
    pub database: Arc<Database>,
    /// The folder whose disk is watched.
    pub state_dir: PathBuf,
    /// The device's start.
    pub boot: u64,
    /// Span of an interval.
    pub interval: Duration,
    /// Bytes that may wait.
    pub spool_bytes_max: u64,
    /// Days of running that a record may wait.
    pub spool_days_max: u64,
    /// Bytes of what waited out an interruption that go in a second.
    pub backfill_bytes_per_second: u64,
    /// How much of the answers is remembered until their outcomes are heard of.
    pub answers: AnswersKept,
    /// The slots, and whether the settings of each have fail-safe values.
    pub slots: BTreeMap<SlotName, bool>,
    /// Those whose settings let readings be captured.
    pub capturing: BTreeSet<SlotName>,
    /// What the site has signed.
    pub policy: watch::Receiver<SitePolicy>,
}

/// The way to the telemetry.
#[derive(Clone)]
pub struct TelemetryHandle {
    shared: Arc<Shared>,
}

struct Shared {
    state_dir: PathBuf,
    /// Held while something is written, and never while something is read: a slot's driver has its
    /// reports written.
    spool: Mutex<Spool>,
    waiting: Waiting,
    counting: Counting,
    /// Rung when there is something to count, and perhaps to write.
    told: Notify,
    /// Rung when there is something to send.
    records: Notify,
    sending: Mutex<Sending>,
    trouble: Mutex<Trouble>,
    /// The number that the next record gets. Beside the spool, which belongs to whoever writes: a disk
    /// that hangs must not stop the session with the server.
    next: AtomicU64,
}

impl TelemetryHandle {
    /// Takes up the spool. What comes is written by [`TelemetryHandle::keep_writing`].
    ///
    /// # Errors
    /// [`SpoolError`].
    pub fn open(parts: TelemetryParts) -> Result<TelemetryHandle, SpoolError> {
        let spool = Spool::open(parts.database, parts.boot, parts.spool_bytes_max)?;
        let mut spool = spool.for_days(parts.spool_days_max);
        let interval_ms = i64::try_from(parts.interval.as_millis()).unwrap_or(i64::MAX);
        let (mut slots, mut joinings, mut troubles) = (BTreeMap::new(), BTreeMap::new(), vec![]);
        for (slot, &has_values) in &parts.slots {
            let mut joining = Joining::new(slot, interval_ms, parts.answers);
            let (asked, rows) = spool.answers(slot.as_str())?;
            if !joining.restore(asked.as_deref(), &rows) {
                troubles.push((slot.clone(), ANSWERS_LOST.to_owned()));
            }
            joinings.insert(slot.clone(), joining);
            let open = spool.open_interval(slot.as_str())?;
            let summariser = Summariser::new(slot.as_str(), interval_ms, open);
            let (judge, trouble) = Judge::new(JudgeParts {
                slot: slot.clone(),
                policy: parts.policy.clone(),
                has_values,
                captures: parts.capturing.contains(slot),
                interval_ms,
                written: spool.judged(slot.as_str())?,
            });
            troubles.extend(trouble.map(|trouble| (slot.clone(), trouble)));
            slots.insert(slot.clone(), Counter::new(summariser, judge));
        }
        // Last: nothing can be read, for a while, from a disk that has not taken it.
        let unwritten = end_what_is_over(&mut spool, &parts.slots, &parts.state_dir)?;
        let next = AtomicU64::new(spool.next());
        let shared = Shared {
            state_dir: parts.state_dir,
            waiting: spool.waiting(),
            spool: Mutex::new(spool),
            counting: Counting::new(slots, joinings),
            told: Notify::new(),
            records: Notify::new(),
            sending: Mutex::new(Sending::new(parts.backfill_bytes_per_second)),
            trouble: Mutex::default(),
            next,
        };
        if !unwritten.is_empty() {
            shared.counting.unwritten(unwritten, &BTreeMap::new(), 0);
        }
        let handle = TelemetryHandle { shared: Arc::new(shared) };
        for (slot, trouble) in troubles {
            tracing::warn!("{trouble}");
            handle.event(slot.as_str(), event::STATE_LOST, &trouble);
        }
        Ok(handle)
    }

    /// What the rules of a slot want that fire; nothing of one that this does not know.
    pub fn fires(&self, slot: &SlotName) -> watch::Receiver<Fires> {
        let fires = self.shared.counting.fires(slot);
        fires.unwrap_or_else(|| watch::channel(Fires::default()).1)
    }

    /// The last firings of a slot that want what comes in to be kept; none of one that this does not know.
    pub fn keeps(&self, slot: &SlotName) -> watch::Receiver<Option<Vec<Keep>>> {
        let keeps = self.shared.counting.keeps(slot);
        keeps.unwrap_or_else(|| watch::channel(Some(vec![])).1)
    }

    /// Takes an event.
    pub fn event(&self, slot: &str, kind: u16, text: &str) {
        self.tell(Told::Body(Body::Event(Event {
            slot: slot.to_owned(),
            kind,
            release: None,
            text: text.chars().take(TEXT_CHARS_MAX).collect(),
            at_unix_ms: now_unix_ms(),
        })));
    }

    /// Takes a report of the update engine and has it on disk, once, however often it is handed
    /// over. False if the disk does not take it.
    pub async fn report(&self, slot: &SlotName, report: &Report) -> bool {
        let (shared, slot, report) = (self.shared.clone(), slot.clone(), report.clone());
        let written = spawn_blocking(move || {
            let body = Body::Event(Event {
                slot: slot.to_string(),
                kind: kind(report.kind),
                release: report.release.as_ref().map(release_ref),
                text: report.text.chars().take(TEXT_CHARS_MAX).collect(),
                at_unix_ms: now_unix_ms(),
            });
            let mut spool = lock(&shared.spool);
            let written = spool.report(slot.as_str(), &report, &body);
            shared.next.store(spool.next(), Ordering::Relaxed);
            written
        });
        let written = matches!(written.await, Ok(Ok(_)));
        self.shared.records.notify_one();
        written
    }

    /// Takes outcomes of findings, each finding's first; says what has become of them.
    pub async fn outcomes(&self, outcomes: Vec<Outcome>) -> Heard {
        let shared = self.shared.clone();
        let now = (now_unix_ms(), Instant::now());
        let heard = spawn_blocking(move || shared.counting.outcomes(outcomes, now)).await;
        // A panic has been told where it happened.
        heard.unwrap_or_default()
    }

    /// The connection is new: what was sent before may have been lost with the old one.
    pub fn connected(&self) {
        let next = self.shared.next.load(Ordering::Relaxed);
        lock(&self.shared.sending).begin_anew(next);
        self.shared.records.notify_one();
    }

    /// The next records to be sent; none while all are on their way or stored. They are on their way
    /// only when [`TelemetryHandle::sent`] says so.
    pub async fn next_batch(&self) -> Option<Batch> {
        let shared = self.shared.clone();
        let batch = spawn_blocking(move || {
            let mut sending = lock(&shared.sending);
            let now = Instant::now();
            sending.give_up(now);
            let (paces, fresh, room) = (sending.paces(), sending.fresh(), sending.room(now));
            let first = sending.first();
            drop(sending);
            let first = match first {
                Some(first) => first,
                None => {
                    let first = shared.waiting.newest(fresh)?;
                    lock(&shared.sending).set_first(first.clone(), fresh);
                    first
                }
            };
            let pace = |key: &Key| paces.get(key).copied().unwrap_or(Pace::Company);
            shared.waiting.batch(Allowed { fresh, first: &first, room, pace: &pace })
        });
        match batch.await {
            Ok(Ok(batch)) => batch,
            Ok(Err(error)) => {
                self.shared.failed(error);
                None
            }
            Err(_) => None,
        }
    }

    /// What waits, for a file of at most so many bytes, as messages. It waits on: whoever carries the
    /// file may lose it.
    ///
    /// # Errors
    /// [`SpoolError`].
    pub async fn load(&self, bytes_max: usize) -> Result<(Load, Vec<Vec<u8>>), SpoolError> {
        self.flush().await;
        let shared = self.shared.clone();
        let load = spawn_blocking(move || {
            let mut messages = Vec::new();
            let take = |message| messages.push(message);
            let load = shared.waiting.load(bytes_max, now_unix_ms(), take)?;
            Ok((load, messages))
        });
        load.await.unwrap_or_else(|error| Err(SpoolError::Record(error.to_string())))
    }

    /// These records are on their way.
    pub fn sent(&self, batch: &Batch) {
        lock(&self.shared.sending).sent(batch, Instant::now());
    }

    /// Waits until there may be something to send.
    pub async fn wait_for_records(&self) {
        let records = self.shared.records.notified();
        let room_at = lock(&self.shared.sending).room_at(Instant::now());
        match room_at {
            Some(room_at) => {
                // An elapsed wait has made room for what waited.
                let _ = timeout_at(room_at.into(), records).await;
            }
            None => records.await,
        }
    }

    /// Takes the server's word that records are stored.
    pub fn acked(&self, ack: Ack) {
        let shared = self.shared.clone();
        spawn_blocking(move || {
            if let Err(error) = lock(&shared.spool).acked(&ack) {
                // They are sent again, and acknowledged again.
                tracing::debug!("{}", chain(error));
            }
            lock(&shared.sending).stored(&ack);
            shared.records.notify_one();
        });
    }

    /// Takes the server's receipt for a report that was carried to it; gives how many records the spool
    /// has let go of.
    ///
    /// # Errors
    /// [`SpoolError`]; they wait on.
    pub async fn received(&self, receipt: TrustedReceipt) -> Result<usize, SpoolError> {
        let shared = self.shared.clone();
        let received = spawn_blocking(move || {
            let records = lock(&shared.spool).received(receipt.number(), receipt.stored())?;
            let mut sending = lock(&shared.sending);
            receipt.stored().iter().for_each(|ack| sending.stored(ack));
            Ok(records)
        });
        received.await.unwrap_or_else(|error| Err(SpoolError::Record(error.to_string())))
    }

    /// Has everything on disk that was counted so far. False if the disk does not take it: nothing is
    /// lost then but what a power cut would cost.
    pub async fn flush(&self) -> bool {
        let shared = self.shared.clone();
        spawn_blocking(move || shared.write()).await.unwrap_or(false)
    }

    /// Counts what comes, and writes it, for ever.
    pub async fn keep_writing(self) {
        let mut checkpoint = Instant::now() + CHECKPOINT_EVERY;
        loop {
            // An elapsed wait is a checkpoint.
            let told = timeout_at(checkpoint.into(), self.shared.told.notified()).await.is_ok();
            let shared = self.shared.clone();
            let write = move || {
                let is_due = shared.counting.count() || !told;
                if is_due {
                    shared.write();
                }
                is_due
            };
            // A panic has been told where it happened. What comes later is written all the same.
            if spawn_blocking(write).await.unwrap_or(true) {
                checkpoint = Instant::now() + CHECKPOINT_EVERY;
            }
        }
    }

    /// Whether nothing is being done for it.
    #[cfg(test)]
    pub(super) fn is_idle(&self) -> bool {
        Arc::strong_count(&self.shared) == 1
    }

    fn tell(&self, told: Told) {
        self.shared.counting.tell(told);
        self.shared.told.notify_one();
    }
}

impl Shared {
    /// Writes what waits, and the intervals that are open. What the disk does not take waits on,
    /// within its bound; false then.
    fn write(&self) -> bool {
        // First of all, so that what another one has counted is on disk before this says so, and in its order.
        let mut spool = lock(&self.spool);
        let Some(counts) = self.counting.counts() else { return true };
        let Counts { mut bodies, open, judged, qualities, answers, gave_way: in_memory } = counts;
        let (intervals, qualities) = (&open, Some(&*qualities));
        let open = Open { intervals, judged: &judged, qualities, answers: &answers };
        let in_spool = spool.gave_way();
        let gave_way = in_spool.saturating_add(in_memory);
        if bodies.iter().any(|body| matches!(body, Body::Interval(_))) {
            let resources = resources::read(&self.state_dir);
            for body in &mut bodies {
                if let Body::Interval(interval) = body {
                    interval.resources = resources;
                }
            }
        }
        if gave_way > 0 {
            let text = format!(
                "{gave_way} records gave way: the spool was full, or they had waited for too long"
            );
            let (slot, kind) = (String::new(), event::RECORDS_DROPPED);
            let at_unix_ms = now_unix_ms();
            bodies.push(Body::Event(Event { slot, kind, release: None, text, at_unix_ms }));
        }
        let written = spool.write_with(&bodies, open, in_spool);
        self.counting.tell_slots();
        self.next.store(spool.next(), Ordering::Relaxed);
        drop(spool);
        let works = written.is_ok();
        if works && lock(&self.trouble).worked() {
            tracing::info!("telemetry is written again");
        }
        if let Err(error) = written {
            self.failed(error);
            if gave_way > 0 {
                bodies.pop();
            }
            self.counting.unwritten(bodies, &answers, in_memory);
        }
        self.records.notify_one();
        works
    }

    /// Says that the disk takes or gives nothing, where people have not heard so.
    fn failed(&self, error: SpoolError) {
        if lock(&self.trouble).failed() {
            tracing::error!("telemetry waits in memory: {}", chain(error));
        }
    }
}

impl Witness for TelemetryHandle {
    fn placed(&self, slot: &SlotName, release: &StagedRelease) {
        self.tell(Told::Placed(slot.clone(), Box::new(release.clone())));
    }

    fn vacated(&self, slot: &SlotName) {
        self.tell(Told::Vacated(slot.clone()));
    }

    fn frames(&self, slot: &SlotName, frames: Vec<(Arc<ReleaseId>, Settled)>) {
        self.tell(Told::Frames(slot.clone(), frames));
    }

    fn shadowed(&self, slot: &SlotName, release: &ReleaseId, seen: &ShadowObservation) {
        let ShadowObservation { frames, agreed, errors, crashes, gaps, .. } = seen;
        let ms = |p95: Option<f64>| p95.map_or("-".to_owned(), |p95| format!("{p95:.1}"));
        let text = format!(
            "{frames} frames compared: {agreed} agreed, {errors} without an answer; {} alarms beside {}; \
             {gaps} frames skipped; {crashes} crashes; p95 {} ms beside {} ms",
            seen.alarms,
            seen.active_alarms,
            ms(seen.latency_ms_p95),
            ms(seen.active_latency_ms_p95),
        );
        let furthest = seen.values.furthest(&seen.active_values);
        let text = furthest.map_or(text.clone(), |(output, distance)| {
            format!("{text}; furthest from its distribution: {output}, by {distance:.3}")
        });
        self.tell(Told::Body(Body::Event(Event {
            slot: slot.to_string(),
            kind: event::SHADOW_ENDED,
            release: Some(release_ref(release)),
            text,
            at_unix_ms: now_unix_ms(),
        })));
    }

    fn compared(&self, slot: &SlotName, frames: u64, agreed: u64) {
        self.tell(Told::Compared(slot.clone(), frames, agreed));
    }

    fn dropped(&self, slot: &SlotName, reason: &str, count: u64) {
        self.tell(Told::Dropped(slot.clone(), reason.to_owned(), count));
    }

    fn doubled(&self, slot: &SlotName, count: u64) {
        self.tell(Told::Doubled(slot.clone(), count));
    }
}

/// Ends the intervals that were open in slots which the device has no longer, what fired of their rules, what was
/// answered there, and what outcomes said: nothing will be counted into them. Where the disk does not take that, the
/// next start does it. What outcomes said is handed back then: the next write takes its place on disk, and has to
/// tell it.
fn end_what_is_over(
    spool: &mut Spool,
    slots: &BTreeMap<SlotName, bool>,
    state_dir: &Path,
) -> Result<Vec<Body>, SpoolError> {
    let (mut ended, mut open, mut judged) = (Vec::new(), BTreeMap::new(), BTreeMap::new());
    let has_left = |slot: &String| !slots.keys().any(|known| known.as_str() == slot);
    for slot in spool.open_slots()?.into_iter().filter(has_left) {
        if let Some(mut interval) = spool.open_interval(&slot)? {
            interval.resources = resources::read(state_dir);
            ended.push(Body::Interval(Box::new(interval)));
        }
        open.insert(slot, None);
    }
    for slot in spool.judged_slots()?.into_iter().filter(has_left) {
        let written = spool.judged(&slot)?.unwrap_or_default();
        ended.extend(over(&slot, &written).into_iter().map(|it| Body::Alert(Box::new(it))));
        judged.insert(slot, None);
    }
    let others = ended.len();
    ended.extend(spool.qualities()?.into_iter().map(|it| Body::Quality(Box::new(it))));
    let answers = spool.answer_slots()?.into_iter().filter(has_left).map(|slot| (slot, None));
    let answers: BTreeMap<_, _> = answers.collect();
    let is_needed =
        !(ended.is_empty() && open.is_empty() && judged.is_empty() && answers.is_empty());
    let (intervals, judged, qualities) = (&open, &judged, Some(&[][..]));
    let open = Open { intervals, judged, qualities, answers: &answers };
    if is_needed && let Err(error) = spool.write_with(&ended, open, 0) {
        tracing::warn!("what was counted before this start waits: {}", chain(error));
        return Ok(ended.split_off(others));
    }
    Ok(vec![])
}

fn kind(kind: ReportKind) -> u16 {
    match kind {
        ReportKind::Assigned => event::ASSIGNED,
        ReportKind::DownloadFailed => event::DOWNLOAD_FAILED,
        ReportKind::Downloaded => event::DOWNLOADED,
        ReportKind::Refused => event::REFUSED,
        ReportKind::Staged => event::STAGED,
        ReportKind::ShadowPassed => event::SHADOW_PASSED,
        ReportKind::Held => event::HELD,
        ReportKind::Overdue => event::OVERDUE,
        ReportKind::Approved => event::APPROVED,
        ReportKind::Cancelled => event::CANCELLED,
        ReportKind::TrialStarted => event::TRIAL_STARTED,
        ReportKind::TrialCancelled => event::TRIAL_CANCELLED,
        ReportKind::Committed => event::COMMITTED,
        ReportKind::RolledBack => event::ROLLED_BACK,
        ReportKind::Vacant => event::VACANT,
        ReportKind::WorkerFailed => event::WORKER_FAILED,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::database::tests::in_memory;
    use crate::test_medium::Disk;
    use lineside_wire::v1::Quality;
    use tokio::time::timeout;

    const PATIENCE: Duration = Duration::from_secs(30);

    /// What a device with these slots works with, and with nothing else to do.
    fn parts(database: &Arc<Database>, folder: &Path, boot: u64, slots: &[&str]) -> TelemetryParts {
        TelemetryParts {
            database: database.clone(),
            state_dir: folder.to_owned(),
            boot,
            interval: Duration::from_secs(3600),
            spool_bytes_max: 1 << 20,
            spool_days_max: 800,
            backfill_bytes_per_second: 1 << 30,
            answers: Default::default(),
            slots: slots.iter().map(|slot| (slot.parse().unwrap(), false)).collect(),
            capturing: Default::default(),
            policy: watch::Sender::default().subscribe(),
        }
    }

    /// Waits until all that was told is on disk: one that has failed is asked once a second.
    async fn written(telemetry: &TelemetryHandle) {
        let began = Instant::now();
        while !telemetry.flush().await {
            assert!(began.elapsed() < PATIENCE, "the disk works, and nothing is written");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Ends it as a kill does, once nobody works for it any more.
    async fn kill(telemetry: TelemetryHandle) {
        let began = Instant::now();
        while !telemetry.is_idle() {
            assert!(began.elapsed() < PATIENCE, "somebody holds on to it");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    #[tokio::test]
    async fn the_open_interval_of_a_slot_that_has_left_is_told_once() {
        let (database, folder) = (in_memory(), tempfile::tempdir().unwrap());
        let open = |boot, slots: &[&str]| {
            TelemetryHandle::open(parts(&database, folder.path(), boot, slots)).unwrap()
        };
        let telemetry = open(1, &["line", "pump"]);
        for slot in ["line", "pump"] {
            let (release, settled) = crate::telemetry::counting::tests::frame(1, 1);
            telemetry.frames(&slot.parse().unwrap(), vec![(release, settled)]);
        }
        assert!(telemetry.flush().await);
        drop(telemetry);
        for boot in [2, 3] {
            let telemetry = open(boot, &["line"]);
            let (load, messages) = telemetry.load(1 << 20).await.unwrap();
            assert_eq!(load.records, 1);
            let message: lineside_wire::v1::Telemetry =
                lineside_wire::envelope::decode(&messages[0]).unwrap();
            let Ok(Body::Interval(told)) = message.records[0].read() else { panic!("{message:?}") };
            assert_eq!((&*told.slot, told.frames, message.records[0].boot), ("pump", 1, 2));
        }
    }

    #[tokio::test]
    async fn after_an_interruption_news_is_not_kept_waiting_by_what_waited() {
        let folder = tempfile::tempdir().unwrap();
        let telemetry = TelemetryHandle::open(TelemetryParts {
            interval: Duration::from_secs(1),
            // A message takes hours.
            backfill_bytes_per_second: 1,
            ..parts(&in_memory(), folder.path(), 1, &["line"])
        })
        .unwrap();
        for number in 0..200 {
            let (release, settled) = crate::telemetry::counting::tests::frame(number, 1);
            telemetry.frames(&"line".parse().unwrap(), vec![(release, settled)]);
        }
        assert!(telemetry.flush().await);
        telemetry.connected();
        let waited = telemetry.next_batch().await.expect("something waits");
        assert_eq!(waited.keys[0], (1, 198), "the newest interval goes first");
        assert_eq!(waited.keys[1..3], [(1, 0), (1, 1)]);
        assert!(waited.waited_bytes <= 16 << 10 && waited.keys.len() < 199);
        telemetry.sent(&waited);
        telemetry.event("line", event::ALARM, "high");
        assert!(telemetry.flush().await);
        let news = telemetry.next_batch().await.expect("there is news");
        assert_eq!((&*news.keys, news.waited_bytes), (&[(1, 199)][..], 0));
        telemetry.sent(&news);
        // A network that comes and goes is not flooded either, and nothing of this is lost.
        telemetry.connected();
        assert_eq!(telemetry.next_batch().await, None);
        assert_eq!(telemetry.load(1 << 20).await.unwrap().0.records, 200);
    }

    #[tokio::test]
    async fn what_outcomes_said_before_a_start_on_a_full_disk_is_told_once_there_is_room() {
        let (disk, folder) = (Disk::of(64 << 20), tempfile::tempdir().unwrap());
        let database = disk.database();
        let open =
            |boot| TelemetryHandle::open(parts(&database, folder.path(), boot, &["line"])).unwrap();
        let (intervals, judged, answers) = (&BTreeMap::new(), &BTreeMap::new(), &BTreeMap::new());
        let qualities = [Quality::of("line", None, "", (0, 1000))];
        let open_now = Open { intervals, judged, qualities: Some(&qualities), answers };
        let mut spool = Spool::open(database.clone(), 1, 1 << 20).unwrap();
        spool.write_with(&[], open_now, 0).unwrap();
        disk.refuse();
        let telemetry = open(2);
        assert!(!telemetry.flush().await);
        disk.resize(64 << 20);
        written(&telemetry).await;
        assert_eq!(spool.qualities().unwrap(), []);
        let (load, messages) = telemetry.load(1 << 20).await.unwrap();
        assert_eq!(load.records, 1);
        let message: lineside_wire::v1::Telemetry =
            lineside_wire::envelope::decode(&messages[0]).unwrap();
        let Ok(Body::Quality(told)) = message.records[0].read() else { panic!("{message:?}") };
        assert_eq!((*told, message.records[0].boot), (qualities[0].clone(), 2));
    }

    #[tokio::test]
    async fn outcomes_are_joined_with_answers_before_a_kill_and_a_full_disk_and_each_counts_once() {
        use crate::telemetry::outcomes::tests as joined;
        use lineside_runtime::Value;

        let (disk, folder) = (Disk::of(64 << 20), tempfile::tempdir().unwrap());
        let database = disk.database();
        let slot: SlotName = "line".parse().unwrap();
        let open = async |boot, slots: &[&str]| {
            let began = Instant::now();
            loop {
                match TelemetryHandle::open(parts(&database, folder.path(), boot, slots)) {
                    Ok(telemetry) => return telemetry,
                    // It is asked once a second.
                    Err(error) => assert!(began.elapsed() < PATIENCE, "{}", chain(error)),
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let answer = |telemetry: &TelemetryHandle, number| {
            let settled = joined::frame(number, &[("alarm", Value::Bool(true))]);
            telemetry.frames(&slot, vec![(Arc::new(joined::release("1")), settled)]);
        };
        let place = |telemetry: &TelemetryHandle| {
            let bundle = joined::bundle("[quality]\noutput = 'alarm'\n");
            telemetry.shared.counting.ask(&slot, &joined::release("1"), &bundle);
        };
        let hear = async |telemetry: &TelemetryHandle, numbers: &[u64]| {
            let outcomes = numbers.iter().map(|number| joined::outcome(*number, "true"));
            let heard = telemetry.outcomes(outcomes.collect()).await;
            (heard.counted, heard.again, heard.unknown.len())
        };
        let telemetry = open(1, &["line"]).await;
        place(&telemetry);
        (0..3).for_each(|number| answer(&telemetry, number));
        written(&telemetry).await;
        kill(telemetry).await;

        let telemetry = open(2, &["line"]).await;
        assert_eq!(hear(&telemetry, &[0, 9]).await, (1, 0, 1));
        disk.refuse();
        place(&telemetry);
        answer(&telemetry, 3);
        assert!(!telemetry.flush().await);
        // Whatever the disk does, it goes on in memory.
        assert_eq!(hear(&telemetry, &[0, 1, 3]).await, (2, 1, 0));
        assert!(!telemetry.flush().await);
        disk.resize(64 << 20);
        written(&telemetry).await;
        kill(telemetry).await;

        // Nothing of it can be written by this start, and it is read all the same.
        disk.refuse();
        let telemetry = open(3, &["line"]).await;
        assert_eq!(hear(&telemetry, &[0, 1, 2, 3]).await, (1, 3, 0));
        kill(telemetry).await;
        disk.resize(64 << 20);
        written(&open(4, &[]).await).await;
        let telemetry = open(5, &["line"]).await;
        assert_eq!(hear(&telemetry, &[0, 1, 2, 3]).await, (0, 0, 4), "the slot had left");
    }

    #[tokio::test]
    async fn a_slot_is_not_held_up_while_a_file_is_written_of_all_that_waits() {
        let slot: SlotName = "line".parse().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let parts = parts(&in_memory(), folder.path(), 1, &["line"]);
        let telemetry = TelemetryHandle::open(parts).unwrap();
        for _ in 0..500 {
            telemetry.event("line", event::ALARM, "high");
        }
        assert!(telemetry.flush().await);
        // Whoever writes the file stands still at each message until the slot has gone on.
        let (at, mut at_message) = tokio::sync::mpsc::channel::<()>(1);
        let (go_on, may_go_on) = std::sync::mpsc::channel::<()>();
        let waiting = telemetry.shared.waiting.clone();
        let file = spawn_blocking(move || {
            let take = |_| {
                at.blocking_send(()).unwrap();
                may_go_on.recv().unwrap();
            };
            waiting.load(1 << 20, 1, take).unwrap()
        });
        let mut number = 0;
        while at_message.recv().await.is_some() {
            let (kind, release, text) = (ReportKind::Committed, None, "it stays".into());
            let report = Report { number, kind, release, text };
            let told = timeout(Duration::from_secs(30), telemetry.report(&slot, &report));
            assert!(told.await.expect("the slot is held up"));
            assert!(telemetry.next_batch().await.is_some());
            go_on.send(()).unwrap();
            number += 1;
        }
        assert_eq!(file.await.unwrap(), Load { number: 1, records: 500, more: false });
        assert_eq!(number, 3, "messages of at most 200 records");
    }
}
