//! What waits for the disk, and what is done while the disk takes nothing.

use crate::ledger::{Addressed, Answer, Batch, Committed, Span};
use crate::worker::route::{JournalStep, Settled};
use crate::worker::task::Task;
use lineside_bundle::ReleaseId;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// Frames that may wait for a commit before the source has to wait with them.
pub(super) const BATCH_FRAMES_MAX: usize = 4096;
/// How long a commit may take before the slot takes the disk for full and goes on without it.
const COMMIT_SLOW: Duration = Duration::from_secs(5);

/// What waits for the next commit.
#[derive(Default)]
pub(super) struct Pending {
    pub(super) spans: Vec<Span>,
    pub(super) findings: Vec<Addressed>,
    pub(super) frames: Vec<(ReleaseId, Settled)>,
    pub(super) receipts: Vec<u64>,
    pub(super) dirty: bool,
}

/// A commit that is under way.
pub(super) struct Committing {
    pub(super) answer: oneshot::Receiver<Answer>,
    pub(super) step: JournalStep,
    pub(super) frames: Vec<(ReleaseId, Settled)>,
    pub(super) receipts: Vec<u64>,
    pub(super) since: Instant,
}

impl Task {
    pub(super) fn disk_is_stuck(&self) -> bool {
        self.commit.as_ref().is_some_and(|commit| commit.since.elapsed() > COMMIT_SLOW)
    }

    pub(super) async fn commit_if_due(&mut self) {
        if self.commit.is_some() {
            self.shed_while_stuck();
            return;
        }
        let due = self.last_commit.elapsed() >= self.parts.commit_every
            || self.pending.spans.len() >= self.parts.commit_frames
            || self.draining.is_some();
        if !self.pending.dirty || !due {
            return;
        }
        let step = self.route.journal();
        let Pending { spans, findings, frames, receipts, .. } = std::mem::take(&mut self.pending);
        let batch = Batch {
            slot: self.parts.slot.clone(),
            record: self.record.clone(),
            journal: step.clone(),
            spans,
            findings,
        };
        let answer = self.parts.ledger.commit(Box::new(batch)).await;
        let since = Instant::now();
        self.last_commit = since;
        self.commit = Some(Committing { answer, step, frames, receipts, since });
    }

    /// The disk takes nothing: what waits stays bounded, and the source is not kept waiting.
    pub(super) fn shed_while_stuck(&mut self) {
        if !self.disk_is_stuck() {
            return;
        }
        let over = self.pending.findings.len().saturating_sub(BATCH_FRAMES_MAX);
        if over > 0 {
            self.pending.findings.drain(..over);
            self.dropped("disk", over as u64);
        }
        merge(&mut self.pending.spans);
        for (release, settled) in self.pending.frames.drain(..) {
            self.parts.witness.frame(&self.parts.slot, &release, &settled);
        }
        // Accepted in memory only; a power cut while the disk is full loses them.
        for receipt in self.pending.receipts.drain(..) {
            let _ = self.parts.receipts.send(receipt);
        }
    }

    pub(super) fn committed(&mut self, answer: Option<Answer>) {
        let Some(commit) = self.commit.take() else { return };
        let Committing { step, frames, receipts, .. } = commit;
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
                for (release, settled) in frames {
                    self.parts.witness.frame(&self.parts.slot, &release, &settled);
                }
                for receipt in receipts {
                    // A source that is gone hears it again from its broker.
                    let _ = self.parts.receipts.send(receipt);
                }
            }
            Some(Err(batch)) => {
                self.route.unwritten(step);
                let pending = std::mem::take(&mut self.pending);
                self.pending = Pending {
                    spans: [batch.spans, pending.spans].concat(),
                    findings: [batch.findings, pending.findings].concat(),
                    frames: [frames, pending.frames].concat(),
                    receipts: [receipts, pending.receipts].concat(),
                    dirty: true,
                };
                self.shed_if_failing();
            }
            // The ledger is gone: the agent stops.
            None => {}
        }
    }

    /// As [`Task::shed_while_stuck`], where the database says no instead of nothing.
    pub(super) fn shed_if_failing(&mut self) {
        if self.pending.findings.len() > BATCH_FRAMES_MAX {
            let over = self.pending.findings.len() - BATCH_FRAMES_MAX;
            self.pending.findings.drain(..over);
            self.dropped("disk", over as u64);
        }
        merge(&mut self.pending.spans);
        let over = self.pending.frames.len().saturating_sub(BATCH_FRAMES_MAX);
        self.pending.frames.drain(..over);
    }
}

/// Joins neighboring spans of a stream, so that waiting for the disk takes no more room.
fn merge(spans: &mut Vec<Span>) {
    // The source waits from this number on, so it must not be kept.
    if spans.len() < BATCH_FRAMES_MAX {
        return;
    }
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

pub(super) async fn answered(commit: &mut Option<Committing>) -> Option<Answer> {
    match commit {
        Some(commit) => (&mut commit.answer).await.ok(),
        None => std::future::pending().await,
    }
}
