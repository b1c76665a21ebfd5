//! What a slot says: a finding for each frame, and the fail-safe output where there is none.

use crate::ledger::{Addressed, Span};
use crate::sink::finding::{self, Author};
use crate::worker::route::Settled;
use crate::worker::slot::lock;
use crate::worker::task::Task;
use lineside_bundle::{BundleFile, ReleaseId};

impl Task {
    /// Takes a frame into the next commit.
    pub(super) fn account(&mut self, settled: Settled, release: Option<&ReleaseId>) {
        self.seen.settled(&settled);
        self.show_observation();
        let author = Author { device: &self.parts.device, slot: &self.parts.slot, release };
        let counts = &mut self.record.counts;
        counts.frames += 1;
        let mut found = Vec::new();
        match &settled.result {
            Ok(parts) => {
                for (number, part) in parts.iter().enumerate() {
                    counts.alarms += u64::from(part.alarm == Some(true));
                    found.push(finding::answer(author, &settled, number, part));
                }
                counts.findings += parts.len() as u64;
            }
            Err(failure) => {
                *counts.errors.entry(failure.reason.clone()).or_insert(0) += 1;
                // That a recording ends is no failure.
                if let Some(placed) = self.placed.as_ref().filter(|placed| !placed.finishing) {
                    let outputs = &placed.release.manifest.bundle.fail_safe;
                    if !outputs.is_empty() {
                        found.push(finding::failed_frame(author, &settled, failure, outputs));
                    }
                }
            }
        }
        let sinks = &self.sinks;
        self.pending
            .findings
            .extend(found.into_iter().map(|json| Addressed { sinks: sinks.clone(), json }));
        let Settled { key, first, last, .. } = &settled;
        self.pending.spans.push(Span { key: key.clone(), first: *first, last: *last });
        if let Some(release) = release {
            self.pending.frames.push((release.clone(), settled));
        }
        self.pending.dirty = true;
    }

    /// Says the fail-safe output, once until a release has had the route again.
    pub(super) fn tell_vacant(&mut self, reason: &str, bundle: Option<&BundleFile>) {
        if std::mem::replace(&mut self.told_vacant, true) {
            return;
        }
        let outputs = match bundle {
            Some(bundle) if self.parts.config.fail_safe.is_empty() => &bundle.fail_safe,
            _ => &self.parts.config.fail_safe,
        };
        let author = Author { device: &self.parts.device, slot: &self.parts.slot, release: None };
        let json = finding::vacant(author, reason, outputs);
        tracing::warn!(slot = %self.parts.slot, "the slot is vacant and gives its fail-safe output: {reason}");
        self.pending.findings.push(Addressed { sinks: self.sinks.clone(), json });
        self.pending.dirty = true;
    }

    /// Lets others see what was seen of the release on the route.
    pub(super) fn show_observation(&self) {
        let release = self.placed.as_ref().map(|placed| placed.release.release.digest);
        *lock(&self.shared.observation) = release.map(|of| (of, self.seen.observation()));
    }
}
