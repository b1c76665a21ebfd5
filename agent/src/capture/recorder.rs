//! The way into the ring and out of it: a thread that writes and reads. Nobody waits for it.

use super::firings::Firings;
use super::note::Keep;
use super::permit::Permit;
use super::record::{Answer, Entry, Head};
use super::segments::{Bounds, Past, Ring, forget, read};
use crate::error::chain;
use lineside_bundle::Digest;
use lineside_runtime::Reading;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::{oneshot, watch};

/// How long entries wait for company.
const BATCH_EVERY: Duration = Duration::from_secs(1);
/// Entries after which a batch is written earlier.
const BATCH_ENTRIES: usize = 2048;
/// Bytes after which it is, too: rows may be wide, and a batch has to fit into the smallest segment.
pub(super) const BATCH_BYTES: usize = 64 << 10;
/// Requests that wait for the disk; what comes then is dropped.
const REQUESTS_MAX: usize = 4;
/// How long a disk that takes nothing is left alone.
const RETRY_AFTER: Duration = Duration::from_secs(10);

/// How often what lies there is looked at where nothing comes.
const KEEP_EVERY: Duration = Duration::from_secs(60);

/// The file beside the segments that names the release that was compared with them last.
const COMPARED: &str = "compared";

enum Request {
    /// From here on this much may be kept, or nothing.
    Bound(Option<Bounds>),
    /// Rules have fired that want what comes in to be kept.
    Keep(Option<Vec<Keep>>),
    Write(Vec<Entry>),
    Read {
        readings_max: usize,
        compared: Option<Digest>,
        reply: oneshot::Sender<Past>,
    },
}

/// Takes what a slot accepts and answers. Dropping it writes what waits, if the disk takes it.
pub struct Recorder {
    requests: SyncSender<Request>,
    batch: Vec<Entry>,
    /// About how many bytes it has.
    batch_bytes: usize,
    since: Instant,
    head: Head,
    dropped: Arc<AtomicU64>,
    keeps: watch::Receiver<Option<Vec<Keep>>>,
    permit: Permit,
    /// What the thread knows of the permit.
    bounds: Option<Bounds>,
}

impl Recorder {
    /// Starts a thread that writes into the ring in `folder`, and has no more lie there than may. What `keeps`
    /// names is kept beyond the ring: the last firings, none while they are not known.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub fn start(
        folder: &Path,
        permit: Permit,
        mut keeps: watch::Receiver<Option<Vec<Keep>>>,
    ) -> io::Result<Recorder> {
        let bounds = permit.bounds();
        let (requests, inbox) = sync_channel(REQUESTS_MAX);
        let dropped = Arc::new(AtomicU64::new(0));
        let writer = Writer {
            folder: folder.to_owned(),
            bounds,
            dropped: dropped.clone(),
            ring: None,
            failed: None,
            firings: None,
            wanted: keeps.borrow_and_update().clone(),
            looked: Instant::now(),
            told: None,
        };
        std::thread::Builder::new().name("capture".into()).spawn(move || writer.serve(&inbox))?;
        let head = Head { fields: Vec::new(), release: None };
        let (batch, batch_bytes, since) = (Vec::new(), 0, Instant::now());
        Ok(Recorder { requests, batch, batch_bytes, since, head, dropped, keeps, permit, bounds })
    }

    /// What the entries from here on mean.
    pub fn head(&mut self, head: Head) {
        if self.head != head {
            // A batch has readings of one release alone: what a bundle lets be kept is of its own.
            self.hand_over();
            self.head = head;
        }
    }

    /// A reading was accepted.
    pub fn reading(&mut self, reading: Reading) {
        self.take(Entry::Reading(reading));
    }

    /// A frame was answered.
    pub fn answer(&mut self, answer: Answer) {
        self.take(Entry::Answer(answer));
    }

    /// Hands over what has waited long enough, and sees whether as much may still be kept.
    pub fn look(&mut self, now: Instant) {
        let bounds = self.permit.bounds();
        // Where the thread is busy it is told the next time.
        if bounds != self.bounds && self.requests.try_send(Request::Bound(bounds)).is_ok() {
            self.bounds = bounds;
        }
        // Only when the thread knows whether anything may be kept.
        if bounds == self.bounds && self.keeps.has_changed().unwrap_or(false) {
            // What came before belongs to what is in the ring.
            self.hand_over();
            let keeps = self.keeps.borrow_and_update().clone();
            if self.requests.try_send(Request::Keep(keeps)).is_err() {
                self.keeps.mark_changed();
            }
        }
        if bounds.is_none() {
            self.batch.clear();
            self.batch_bytes = 0;
            return;
        }
        if now.saturating_duration_since(self.since) >= BATCH_EVERY {
            self.hand_over();
        }
    }

    /// The newest readings, everything so far among them; with the answers that were given then, where
    /// they are to be `compared` with a release, and never were. Nothing comes where the thread is
    /// busy with a disk that hangs.
    pub fn past(
        &mut self,
        readings_max: usize,
        compared: Option<Digest>,
    ) -> oneshot::Receiver<Past> {
        self.hand_over();
        let (reply, past) = oneshot::channel();
        // Where there is no room for it, the receiver hears that nothing will come.
        let _ = self.requests.try_send(Request::Read { readings_max, compared, reply });
        past
    }

    /// Entries that the disk did not take since this was asked last.
    pub fn take_dropped(&self) -> u64 {
        self.dropped.swap(0, Ordering::Relaxed)
    }

    fn take(&mut self, entry: Entry) {
        // What may not be kept is not dropped either: nobody wants it.
        if self.bounds.is_none() {
            return;
        }
        if self.batch.is_empty() {
            self.since = Instant::now();
            // Whoever reads a batch need not have read the one before.
            self.push(Entry::Head(self.head.clone()));
        }
        self.push(entry);
        if self.batch.len() >= BATCH_ENTRIES || self.batch_bytes >= BATCH_BYTES {
            self.hand_over();
        }
    }

    fn push(&mut self, entry: Entry) {
        self.batch_bytes = self.batch_bytes.saturating_add(entry.bytes());
        self.batch.push(entry);
    }

    fn hand_over(&mut self) {
        let batch = std::mem::take(&mut self.batch);
        self.batch_bytes = 0;
        if batch.is_empty() {
            return;
        }
        let entries = entries(&batch);
        if self.requests.try_send(Request::Write(batch)).is_err() {
            self.dropped.fetch_add(entries, Ordering::Relaxed);
        }
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.hand_over();
    }
}

/// Readings and answers of a batch.
fn entries(batch: &[Entry]) -> u64 {
    batch.iter().filter(|entry| !matches!(entry, Entry::Head(_))).count() as u64
}

struct Writer {
    folder: PathBuf,
    /// None where nothing may be kept.
    bounds: Option<Bounds>,
    dropped: Arc<AtomicU64>,
    /// None until it could be opened.
    ring: Option<Ring>,
    failed: Option<Instant>,
    /// None until what is kept because rules have fired could be looked at.
    firings: Option<Firings>,
    /// The last firings; none while they are not known.
    wanted: Option<Vec<Keep>>,
    /// When the time was counted last for which the device is running.
    looked: Instant,
    /// When it was told last that the disk does not take what rules want to be kept.
    told: Option<Instant>,
}

impl Writer {
    fn serve(mut self, inbox: &Receiver<Request>) {
        self.keep();
        loop {
            let left = self.firings.as_ref().and_then(Firings::left);
            let wait = left.map_or(KEEP_EVERY, |left| left.min(KEEP_EVERY));
            let request = inbox.recv_timeout(wait);
            self.count_time();
            let request = match request {
                Ok(request) => request,
                Err(RecvTimeoutError::Timeout) => {
                    self.keep();
                    continue;
                }
                Err(RecvTimeoutError::Disconnected) => {
                    self.of_firings(|firings, _| firings.write());
                    return;
                }
            };
            match request {
                Request::Bound(bounds) => {
                    (self.bounds, self.ring) = (bounds, None);
                    self.keep();
                }
                // What has fired while nothing may be kept does not begin when it may.
                Request::Keep(_) if self.bounds.is_none() => {}
                Request::Keep(wanted) => {
                    self.wanted = wanted;
                    self.keep();
                }
                Request::Write(batch) => self.write(&batch),
                Request::Read { readings_max, compared, reply } => {
                    let past = self.read(readings_max, compared).unwrap_or_else(|error| {
                        tracing::warn!("{} is not read: {}", self.folder.display(), chain(error));
                        Past::default()
                    });
                    // Whoever asked may have ended meanwhile.
                    let _ = reply.send(past);
                }
            }
        }
    }

    /// Has no more lie there than may, also where nothing comes.
    fn keep(&mut self) {
        let kept = match (self.bounds, &mut self.ring) {
            (None, _) => self.forget(),
            (Some(_), Some(ring)) => ring.give_way(SystemTime::now()),
            (Some(bounds), None) if self.folder.exists() => {
                self.opened(bounds).map(|ring| self.ring = Some(ring))
            }
            (Some(_), None) => Ok(()),
        };
        if let Err(error) = kept {
            self.ring = None;
            let folder = self.folder.display();
            tracing::warn!("what was captured in {folder} is not made to fit: {}", chain(error));
        }
        let wanted = self.wanted.clone();
        self.of_firings(|firings, bounds| {
            let now = SystemTime::now();
            // Whatever the disk says to what is to be kept, what lies there too long goes.
            let gave_way = firings.give_way(bounds, wanted.as_deref(), now);
            firings.begin(wanted.as_deref().unwrap_or_default())?;
            firings.take(bounds)?;
            gave_way?;
            firings.give_way(bounds, wanted.as_deref(), now)
        });
    }

    /// Takes up the ring. It gives no segment the number of one that is kept because a rule has fired.
    fn opened(&mut self, bounds: Bounds) -> io::Result<Ring> {
        let mut ring = Ring::open(&self.folder, bounds)?;
        self.of_firings(|firings, _| {
            ring.number_from(firings.free());
            settle(firings, &mut ring);
            Ok(())
        });
        Ok(ring)
    }

    /// Counts the time for which what comes in is kept because rules have fired.
    fn count_time(&mut self) {
        let now = Instant::now();
        let ran = now.saturating_duration_since(std::mem::replace(&mut self.looked, now));
        self.settled(|firings, bounds| firings.ran(ran, bounds));
    }

    /// As [`Writer::of_firings`]. What ends by it has nothing more written into its last segment.
    fn settled(&mut self, change: impl FnOnce(&mut Firings, Bounds) -> io::Result<()>) {
        let mut ring = self.ring.take();
        self.of_firings(|firings, bounds| {
            let changed = change(firings, bounds);
            ring.iter_mut().for_each(|ring| settle(firings, ring));
            changed
        });
        self.ring = ring;
    }

    /// Does something for what is kept because rules have fired, where anything may be. The ring does without it
    /// where the disk does not take it; what could not be done is tried again.
    fn of_firings(&mut self, change: impl FnOnce(&mut Firings, Bounds) -> io::Result<()>) {
        let Some(bounds) = self.bounds else { return };
        let changed = match &mut self.firings {
            Some(firings) => change(firings, bounds),
            None => Firings::open(&self.folder)
                .and_then(|firings| change(self.firings.insert(firings), bounds)),
        };
        let Err(error) = changed else { return };
        if self.told.is_none_or(|told| told.elapsed() >= KEEP_EVERY) {
            let folder = self.folder.display();
            tracing::warn!("what rules want to be kept of {folder} is not: {}", chain(error));
            self.told = Some(Instant::now());
        }
    }

    /// Removes what was captured.
    fn forget(&mut self) -> io::Result<()> {
        (self.ring, self.firings) = (None, None);
        self.wanted = Some(vec![]);
        if forget(&self.folder)? {
            let folder = self.folder.display();
            tracing::info!("{folder} is removed: the site's policy forbids to capture");
        }
        Ok(())
    }

    /// What was compared is counted, and would be counted again after a restart. So that is noted
    /// before, whatever becomes of it.
    fn read(&self, readings_max: usize, compared: Option<Digest>) -> io::Result<Past> {
        let mut past = read(&self.folder, readings_max)?;
        let note = self.folder.join(COMPARED);
        let fresh = compared.filter(|release| {
            let before = fs::read_to_string(&note).unwrap_or_default();
            before != release.to_string() && fs::write(&note, release.to_string()).is_ok()
        });
        if fresh.is_none() {
            past.answers.clear();
        }
        Ok(past)
    }

    fn write(&mut self, batch: &[Entry]) {
        if self.failed.is_some_and(|failed| failed.elapsed() < RETRY_AFTER) {
            self.dropped.fetch_add(entries(batch), Ordering::Relaxed);
            return;
        }
        // What was kept of another release ends: it is no firing of this one's.
        if let Some(Entry::Head(Head { release: Some(release), .. })) = batch.first() {
            self.settled(|firings, bounds| firings.of_release(*release, bounds));
        }
        let written = self.try_write(batch);
        if !matches!(written, Ok(true)) {
            self.dropped.fetch_add(entries(batch), Ordering::Relaxed);
        }
        if let Err(error) = written {
            if self.failed.is_none() {
                let folder = self.folder.display();
                tracing::warn!("readings are not captured in {folder}: {}", chain(error));
            }
            // What is there is looked at anew: it may be another disk.
            self.ring = None;
            self.failed = Some(Instant::now());
        } else {
            self.failed = None;
            let newest = self.ring.as_ref().and_then(Ring::newest);
            let wanted = self.wanted.clone();
            self.of_firings(|firings, bounds| match firings.follow(newest, bounds) {
                Ok(false) => Ok(()),
                followed => {
                    let now = SystemTime::now();
                    firings.give_way(bounds, wanted.as_deref(), now)?;
                    followed.map(|_| ())
                }
            });
        }
    }

    /// False where there is no room for it. Where nothing may be kept, nothing is missing.
    fn try_write(&mut self, batch: &[Entry]) -> io::Result<bool> {
        let ring = match self.ring.take() {
            Some(ring) => ring,
            None => match self.bounds {
                Some(bounds) => self.opened(bounds)?,
                None => return Ok(true),
            },
        };
        self.ring.insert(ring).write(batch, SystemTime::now())
    }
}

/// Has nothing more written into a segment that belongs to what has ended.
fn settle(firings: &Firings, ring: &mut Ring) {
    if ring.newest().is_some_and(|newest| firings.has_ended_with(newest)) {
        ring.cut();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lineside_rules::{CaptureLimits, SitePolicy, SlotPolicy};
    use std::collections::BTreeMap;
    use tokio::sync::watch;

    const BOUNDS: Bounds = Bounds { bytes_max: 1 << 20, age_max: Duration::from_secs(3600) };

    fn permit(policy: &watch::Sender<SitePolicy>) -> Permit {
        Permit::new(BOUNDS, "line".parse().unwrap(), policy.subscribe())
    }

    /// A site that has signed nothing.
    fn allowed() -> watch::Sender<SitePolicy> {
        watch::Sender::default()
    }

    fn start(folder: &Path, permit: Permit) -> io::Result<Recorder> {
        Recorder::start(folder, permit, watch::Sender::default().subscribe())
    }

    fn policy(capture: CaptureLimits) -> SitePolicy {
        let slot = SlotPolicy { capture, ..SlotPolicy::default() };
        SitePolicy { slots: BTreeMap::from([("*".to_owned(), slot)]), ..SitePolicy::default() }
    }

    fn wait(what: &str, mut holds: impl FnMut() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while !holds() {
            assert!(Instant::now() < deadline, "in vain: {what}");
            std::thread::yield_now();
        }
    }

    /// A ring in a folder of `parent`, of some 3 MiB.
    fn filled(parent: &Path) -> PathBuf {
        let folder = parent.join("ring");
        let large = Bounds { bytes_max: 16 << 20, ..BOUNDS };
        let mut ring = Ring::open(&folder, large).unwrap();
        for sequence in 0..300 {
            let values = vec![0.5; 1200];
            let reading = Reading { key: "k".into(), sequence, time_unix_ns: 0, values };
            ring.write(&[Entry::Reading(reading)], SystemTime::now()).unwrap();
        }
        assert!(size(&folder) > 2 << 20);
        folder
    }

    fn size(folder: &Path) -> u64 {
        let files = fs::read_dir(folder).into_iter().flatten().flatten();
        files.filter_map(|file| Some(file.metadata().ok()?.len())).sum()
    }

    #[test]
    fn a_ring_that_lies_there_is_removed_where_the_site_forbids_it_and_nothing_is_kept_any_longer()
    {
        let parent = tempfile::tempdir().unwrap();
        let folder = filled(parent.path());
        let site = allowed();
        let never = CaptureLimits { allowed: Some(false), ..CaptureLimits::default() };
        site.send_replace(policy(never.clone()));
        let mut recorder = start(&folder, permit(&site)).unwrap();
        wait("it is removed at the start", || !folder.exists());
        recorder.reading(reading(0));
        recorder.look(Instant::now() + BATCH_EVERY);
        assert_eq!(recorder.past(100, None).blocking_recv().unwrap(), Past::default());
        assert!(!folder.exists());

        // The site allows it, and forbids it again while it is written.
        site.send_replace(SitePolicy::default());
        recorder.look(Instant::now());
        recorder.reading(reading(1));
        assert_eq!(recorder.past(100, None).blocking_recv().unwrap().readings.len(), 1);
        recorder.reading(reading(2));
        site.send_replace(policy(never));
        wait("it is removed", || {
            recorder.look(Instant::now());
            recorder.reading(reading(3));
            !folder.exists()
        });
        assert_eq!(recorder.take_dropped(), 0);
        drop(recorder);
        assert!(!folder.exists());
    }

    #[test]
    fn a_ring_that_lies_there_is_shrunk_to_what_the_site_allows_also_where_nothing_comes() {
        let parent = tempfile::tempdir().unwrap();
        let folder = filled(parent.path());
        let own = Bounds { bytes_max: 16 << 20, ..BOUNDS };
        let site = allowed();
        let permit = Permit::new(own, "line".parse().unwrap(), site.subscribe());
        let mut recorder = start(&folder, permit).unwrap();
        let past = recorder.past(1000, None).blocking_recv().unwrap();
        assert_eq!(past.readings.len(), 300);
        let limits = CaptureLimits { mib_max: Some(1), ..CaptureLimits::default() };
        site.send_replace(policy(limits));
        recorder.look(Instant::now());
        wait("it is shrunk", || size(&folder) <= 1 << 20);
    }

    fn reading(sequence: u64) -> Reading {
        Reading { key: "k".into(), sequence, time_unix_ns: 0, values: vec![1.0] }
    }

    fn head(field: &str) -> Head {
        Head { fields: vec![field.into()], release: None }
    }

    #[test]
    fn wide_rows_are_captured_and_never_take_more_than_the_site_has_signed() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("ring");
        let mut recorder = start(&folder, permit(&allowed())).unwrap();
        for sequence in 0..400 {
            let values = vec![0.5; 1024];
            recorder.reading(Reading { key: "k".into(), sequence, time_unix_ns: 0, values });
            // A disk that keeps up.
            if sequence % 8 == 0 {
                let past = recorder.past(1, None).blocking_recv().unwrap();
                assert_eq!(past.readings[0].0.sequence, sequence);
                assert!(size(&folder) <= BOUNDS.bytes_max, "{}", size(&folder));
            }
        }
        assert_eq!(recorder.take_dropped(), 0);
    }

    #[test]
    fn what_was_taken_is_in_the_past_with_the_names_that_held_then() {
        let folder = tempfile::tempdir().unwrap();
        let mut recorder = start(folder.path(), permit(&allowed())).unwrap();
        recorder.head(head("a"));
        recorder.reading(reading(0));
        recorder.head(head("b"));
        recorder.reading(reading(1));
        let past = recorder.past(100, None).blocking_recv().unwrap();
        let seen: Vec<_> =
            past.readings.iter().map(|(r, names)| (r.sequence, &*names[0])).collect();
        assert_eq!(seen, [(0, "a"), (1, "b")]);
        recorder.reading(reading(2));
        drop(recorder);
        // Another agent on the same ring, after the thread of this one is done.
        let deadline = Instant::now() + Duration::from_secs(60);
        while read(folder.path(), 100).unwrap().readings.len() < 3 {
            assert!(Instant::now() < deadline);
            std::thread::yield_now();
        }
    }

    #[test]
    fn answers_are_given_once_for_a_release_that_is_compared_with_them() {
        let folder = tempfile::tempdir().unwrap();
        let mut recorder = start(folder.path(), permit(&allowed())).unwrap();
        let (active, next) = (Digest::of(b"active"), Digest::of(b"next"));
        recorder.head(Head { fields: vec![], release: Some(active) });
        let elapsed = Duration::ZERO;
        recorder.answer(Answer { key: "k".into(), end: 3, parts: vec![], elapsed });
        let mut answers = |compared| {
            let past = recorder.past(100, compared).blocking_recv().unwrap();
            past.answers.iter().map(|(answer, by)| (answer.end, *by)).collect::<Vec<_>>()
        };
        assert!(answers(None).is_empty());
        assert_eq!(answers(Some(next)), [(3, active)]);
        assert!(answers(Some(next)).is_empty());
    }

    #[test]
    fn a_disk_that_takes_nothing_costs_what_was_captured_and_is_counted() {
        let folder = tempfile::tempdir().unwrap();
        // A file stands where the folder should be.
        let path = folder.path().join("ring");
        std::fs::write(&path, "").unwrap();
        let mut recorder = start(&path, permit(&allowed())).unwrap();
        for sequence in 0..10 {
            recorder.reading(reading(sequence));
        }
        assert_eq!(recorder.past(100, None).blocking_recv().unwrap_or_default(), Past::default());
        assert_eq!(recorder.take_dropped(), 10);
        assert_eq!(recorder.take_dropped(), 0);
    }
}
