//! What waits for the disk, and what is done while the disk takes nothing.
//!
//! A slot commits in batches. The source is told what is on the medium, and the witness hears of
//! frames that are. No full disk may stop inference, so that ends when the disk has taken nothing
//! for [`DISK_WAIT_MAX`], whether it refuses or does not answer. From then on
//!
//! - the source hears at once that its readings were taken. They are in memory only, and a power cut
//!   would lose them, which the log says. To hold receipts back instead would stop every slot behind
//!   a broker after as many messages as it may leave unacknowledged;
//! - the witness hears of frames at once, so that telemetry misses none;
//! - the newest findings wait, and the oldest give way and are counted;
//! - what was accounted for is remembered a stream at a time.
//!
//! The first commit that succeeds ends it.

use crate::ledger::{Addressed, Answer, Batch, Committed, SlotRecord, Span};
use crate::worker::route::{JournalStep, Settled};
use crate::worker::slot::SlotError;
use crate::worker::task::Task;
use lineside_bundle::ReleaseId;
use lineside_wire::name::SlotName;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;

/// Frames that may wait for a commit before the source has to wait with them.
pub(super) const BATCH_FRAMES_MAX: usize = 4096;
/// Findings that wait while the disk takes nothing.
const FINDINGS_MAX: usize = 4096;
/// How long the disk may take nothing before the slot goes on without it.
const DISK_WAIT_MAX: Duration = Duration::from_secs(5);

/// A frame, and the release that had the route.
pub(super) type Answered = (Arc<ReleaseId>, Settled);

/// What waits for the next commit.
#[derive(Default)]
struct Pending {
    spans: Vec<Span>,
    findings: Vec<Addressed>,
    frames: Vec<Answered>,
    receipts: Vec<u64>,
    dirty: bool,
}

/// A commit that is under way.
struct Writing {
    frames: Vec<Answered>,
    receipts: Vec<u64>,
    since: Instant,
}

/// What others hear once they need not wait for the disk any more.
#[derive(Default)]
pub(super) struct Released {
    pub(super) frames: Vec<Answered>,
    pub(super) receipts: Vec<u64>,
    /// Findings that gave way.
    pub(super) findings_dropped: u64,
}

/// The batches of one slot, and how the disk takes them.
pub(super) struct Commits {
    pending: Pending,
    writing: Option<Writing>,
    /// When the last commit began.
    began: Instant,
    /// When the first of the commits began that failed in a row.
    failing_since: Option<Instant>,
    /// People have been told that the slot goes on without the disk.
    told: bool,
}

impl Commits {
    pub(super) fn new(now: Instant) -> Commits {
        Commits {
            pending: Pending::default(),
            writing: None,
            began: now,
            failing_since: None,
            told: false,
        }
    }

    /// Something has changed that is to be written.
    pub(super) fn touch(&mut self) {
        self.pending.dirty = true;
    }

    /// Takes what a frame accounts for, and the frame itself where a release had the route.
    pub(super) fn account(&mut self, span: Span, frame: Option<Answered>) {
        self.pending.spans.push(span);
        self.pending.frames.extend(frame);
        self.touch();
    }

    pub(super) fn find(&mut self, finding: Addressed) {
        self.pending.findings.push(finding);
        self.touch();
    }

    /// Takes what the source wants to hear once everything so far is written.
    pub(super) fn receipt(&mut self, receipt: u64) {
        self.pending.receipts.push(receipt);
        self.touch();
    }

    /// Frames that wait for the next commit.
    pub(super) fn frames(&self) -> usize {
        self.pending.spans.len()
    }

    pub(super) fn is_under_way(&self) -> bool {
        self.writing.is_some()
    }

    /// Whether everything is on the medium.
    pub(super) fn is_clean(&self) -> bool {
        self.writing.is_none() && !self.pending.dirty
    }

    /// Whether the disk has taken nothing for so long that the slot goes on without it.
    pub(super) fn has_no_disk(&self, now: Instant) -> bool {
        let writing = self.writing.as_ref().map(|writing| writing.since);
        let since = self.failing_since.or(writing);
        since.is_some_and(|since| now.saturating_duration_since(since) > DISK_WAIT_MAX)
    }

    /// Whether a commit should begin: `every` so long, or where so many frames wait.
    pub(super) fn is_due(&self, now: Instant, every: Duration, frames: usize) -> bool {
        let waited = now.saturating_duration_since(self.began) >= every;
        !self.is_under_way() && self.pending.dirty && (waited || self.frames() >= frames)
    }

    /// Begins a commit of all that waits.
    pub(super) fn begin(
        &mut self,
        now: Instant,
        slot: SlotName,
        record: SlotRecord,
        step: JournalStep,
    ) -> Batch {
        let Pending { spans, findings, frames, receipts, .. } = std::mem::take(&mut self.pending);
        self.writing = Some(Writing { frames, receipts, since: now });
        self.began = now;
        Batch { slot, record, journal: step, spans, findings }
    }

    /// The commit under way is on the medium.
    pub(super) fn written(&mut self) -> Released {
        self.failing_since = None;
        let Some(Writing { frames, receipts, .. }) = self.writing.take() else {
            return Released::default();
        };
        Released { frames, receipts, findings_dropped: 0 }
    }

    /// The commit under way could not be written: it waits again, before what came since. Gives
    /// the step to take back.
    pub(super) fn unwritten(&mut self, batch: Batch) -> JournalStep {
        let Batch { journal, spans, findings, .. } = batch;
        let Some(writing) = self.writing.take() else { return journal };
        let Writing { frames, receipts, since } = writing;
        self.failing_since.get_or_insert(since);
        let newer = std::mem::replace(
            &mut self.pending,
            Pending { spans, findings, frames, receipts, dirty: true },
        );
        self.pending.spans.extend(newer.spans);
        self.pending.findings.extend(newer.findings);
        self.pending.frames.extend(newer.frames);
        self.pending.receipts.extend(newer.receipts);
        journal
    }

    /// What goes on without the disk; none while the disk is waited for.
    pub(super) fn shed(&mut self, now: Instant) -> Option<Released> {
        if !self.has_no_disk(now) {
            return None;
        }
        let mut released = Released::default();
        // Also of a commit that is under way: it may never end.
        if let Some(writing) = &mut self.writing {
            released.frames.append(&mut writing.frames);
            released.receipts.append(&mut writing.receipts);
        }
        released.frames.append(&mut self.pending.frames);
        released.receipts.append(&mut self.pending.receipts);
        let over = self.pending.findings.len().saturating_sub(FINDINGS_MAX);
        self.pending.findings.drain(..over);
        released.findings_dropped = over as u64;
        if self.pending.spans.len() >= BATCH_FRAMES_MAX {
            merge(&mut self.pending.spans);
        }
        Some(released)
    }
}

impl Task {
    /// Begins a commit where one is due. The answer comes by [`answered`].
    pub(super) fn commit_if_due(&mut self) {
        let now = Instant::now();
        if let Some(released) = self.commits.shed(now) {
            if !std::mem::replace(&mut self.commits.told, true) {
                tracing::error!(slot = %self.parts.slot, "the disk has taken nothing for {} s: readings are taken into memory only, and a power cut would lose them", DISK_WAIT_MAX.as_secs());
            }
            self.release(released);
        }
        let every = match self.draining {
            Some(_) => Duration::ZERO,
            None => self.parts.commit_every,
        };
        if !self.commits.is_due(now, every, self.parts.commit_frames) {
            return;
        }
        let step = self.route.journal();
        let batch = self.commits.begin(now, self.parts.slot.clone(), self.record.clone(), step);
        let ledger = self.parts.ledger.clone();
        // Beside the task: a ledger whose disk hangs may not even take the batch.
        let commit = async move { ledger.commit(Box::new(batch)).await.await.ok() };
        self.answer = Some(tokio::spawn(commit));
    }

    /// Takes what came of the commit under way.
    ///
    /// # Errors
    /// [`SlotError::Ledger`] if nothing can be committed any more.
    pub(super) fn committed(&mut self, answer: Option<Answer>) -> Result<(), SlotError> {
        match answer {
            Some(Ok(Committed { lost, doubled })) => {
                self.record.counts.lost += lost;
                self.record.counts.doubled += doubled;
                if lost > 0 {
                    self.parts.witness.dropped(&self.parts.slot, "lost", lost);
                }
                if doubled > 0 {
                    self.parts.witness.doubled(&self.parts.slot, doubled);
                }
                if lost + doubled > 0 {
                    tracing::error!(slot = %self.parts.slot, "{lost} readings lost, {doubled} frames doubled");
                }
                let released = self.commits.written();
                self.release(released);
                if std::mem::take(&mut self.commits.told) {
                    tracing::info!(slot = %self.parts.slot, "what was taken into memory is on the disk");
                }
                Ok(())
            }
            Some(Err(batch)) => {
                let step = self.commits.unwritten(*batch);
                self.route.unwritten(step);
                Ok(())
            }
            None => Err(SlotError::Ledger),
        }
    }

    fn release(&mut self, released: Released) {
        let Released { frames, receipts, findings_dropped } = released;
        if !frames.is_empty() {
            self.parts.witness.frames(&self.parts.slot, frames);
        }
        for receipt in receipts {
            // A source that is gone hears it again from its broker.
            let _ = self.parts.receipts.send(receipt);
        }
        if findings_dropped > 0 {
            self.record.counts.findings_dropped += findings_dropped;
            self.commits.touch();
        }
    }
}

/// Joins neighboring spans of a stream, so that waiting for the disk takes no more room.
fn merge(spans: &mut Vec<Span>) {
    let mut merged: BTreeMap<String, Vec<Span>> = BTreeMap::new();
    for span in spans.drain(..) {
        let stream = merged.entry(span.key.clone()).or_default();
        match stream.last_mut() {
            Some(last) if last.last.wrapping_add(1) == span.first => last.last = span.last,
            _ => stream.push(span),
        }
    }
    spans.extend(merged.into_values().flatten());
}

/// What comes of the commit under way, if there is one: none if the ledger is gone.
pub(super) async fn answered(answer: &mut Option<JoinHandle<Option<Answer>>>) -> Option<Answer> {
    let Some(commit) = answer else { return std::future::pending().await };
    let said = commit.await;
    *answer = None;
    said.ok().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A source like a broker's: it goes on when what it gave before is acknowledged.
    struct Source {
        given: u64,
        acknowledged: u64,
    }

    const UNACKNOWLEDGED_MAX: u64 = 128;

    impl Source {
        fn give(&mut self, commits: &mut Commits) {
            if self.given - self.acknowledged < UNACKNOWLEDGED_MAX {
                let first = self.given;
                self.given += 1;
                commits.receipt(first);
                commits.account(Span { key: "a".into(), first, last: first }, Some(frame(first)));
                let json = format!("{{\"n\":{first}}}");
                commits.find(Addressed { sinks: Arc::new([]), json });
            }
        }
    }

    fn frame(first: u64) -> Answered {
        let digest = lineside_bundle::Digest::of(b"x");
        let release = ReleaseId {
            name: "echo".parse().unwrap(),
            version: "1".parse().unwrap(),
            digest,
            size: 1,
        };
        let settled = Settled {
            key: "a".into(),
            frame: first,
            first,
            last: first,
            time_unix_ns: 0,
            elapsed: Duration::ZERO,
            result: Ok(vec![]),
            inputs: vec![],
            more: Default::default(),
        };
        (Arc::new(release), settled)
    }

    fn begin(commits: &mut Commits, now: Instant) -> Batch {
        commits.begin(now, "s".parse().unwrap(), SlotRecord::default(), JournalStep::default())
    }

    /// What the source and the witness heard in `seconds` of a disk that refuses, or hangs.
    fn without_disk(seconds: u64, refuses: bool) -> (Source, Vec<u64>, u64, Commits) {
        let start = Instant::now();
        let mut commits = Commits::new(start);
        let mut source = Source { given: 0, acknowledged: 0 };
        let (mut frames, mut dropped) = (Vec::new(), 0);
        let mut batch = None;
        for ms in 0..seconds * 1000 {
            let now = start + Duration::from_millis(ms);
            source.give(&mut commits);
            if ms % 200 == 199
                && refuses
                && let Some(batch) = batch.take()
            {
                commits.unwritten(batch);
            }
            if let Some(released) = commits.shed(now) {
                assert!(ms > 5000);
                source.acknowledged += released.receipts.len() as u64;
                frames.extend(released.frames.iter().map(|(_, settled)| settled.first));
                dropped += released.findings_dropped;
            }
            assert!(commits.frames() <= BATCH_FRAMES_MAX);
            if commits.is_due(now, Duration::from_millis(10), 64) {
                batch = Some(begin(&mut commits, now));
            }
        }
        if let Some(batch) = batch {
            commits.unwritten(batch);
        }
        (source, frames, dropped, commits)
    }

    #[test]
    fn a_disk_that_refuses_or_hangs_stops_no_broker_and_no_frame_goes_untold() {
        for refuses in [true, false] {
            let (source, frames, dropped, mut commits) = without_disk(20, refuses);
            // One message each millisecond, but for the time in which the disk was waited for.
            assert!(source.given > 14_000, "refuses {refuses}: {} were taken", source.given);
            assert!(frames.iter().copied().eq(0..frames.len() as u64), "each once and in order");
            assert!(frames.len() as u64 > source.given - UNACKNOWLEDGED_MAX);
            // The disk is there again: what was accounted for is one span, and no finding of those
            // that waited is missing without being counted.
            let batch = begin(&mut commits, Instant::now());
            assert_eq!(batch.findings.len() as u64 + dropped, source.given);
            assert!(batch.findings.last().unwrap().json.contains(&(source.given - 1).to_string()));
            let mut owed = 0;
            for span in &batch.spans {
                assert_eq!(span.first, owed);
                owed = span.last + 1;
            }
            assert_eq!(owed, source.given);
            let released = commits.written();
            assert_eq!(source.acknowledged + released.receipts.len() as u64, source.given);
            assert!(commits.is_clean());
        }
    }

    #[test]
    fn nothing_is_acknowledged_before_it_is_written_while_the_disk_is_waited_for() {
        let (source, frames, dropped, _) = without_disk(5, true);
        assert_eq!((source.given, source.acknowledged), (UNACKNOWLEDGED_MAX, 0));
        assert_eq!((frames.len(), dropped), (0, 0));
    }
}
