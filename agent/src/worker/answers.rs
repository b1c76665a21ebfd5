//! What a slot says: a finding for each frame, and the fail-safe output where there is none.

use crate::ledger::{Addressed, Span};
use crate::lock::lock;
use crate::sink::finding::{self, Author};
use crate::worker::route::Settled;
use crate::worker::task::Task;
use lineside_bundle::{BundleFile, FailSafe, ReleaseId};
use lineside_runtime::Unused;
use std::collections::BTreeMap;

impl Task {
    /// Takes a frame into the next commit.
    pub(super) fn account(&mut self, settled: Settled) {
        self.show_beside(&settled);
        self.capture_answer(&settled);
        if let Some((_, seen)) = lock(&self.shared.seen).as_mut() {
            seen.settled(&settled);
        }
        let release = self.placed.as_ref().map(|placed| placed.id.clone());
        let author = Author {
            device: &self.parts.device,
            slot: &self.parts.slot,
            release: release.as_deref(),
        };
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
                if let Some(placed) = &mut self.placed {
                    placed.outage.end();
                }
            }
            Err(failure) => {
                *counts.errors.entry(failure.reason.clone()).or_insert(0) += 1;
                if let Some(instead) = &failure.instead {
                    let parts = instead.parts.iter().enumerate();
                    found.extend(parts.map(|(number, part)| {
                        finding::instead(author, &settled, failure, instead.by, (number, part))
                    }));
                // That a recording ends is no failure.
                } else if let Some(placed) = self.placed.as_ref().filter(|placed| !placed.finishing)
                {
                    let outputs = &placed.release.manifest.bundle.fail_safe;
                    if !outputs.is_empty() {
                        let reason = &failure.text;
                        found.push(finding::fail_safe_frame(author, &settled, reason, outputs));
                    }
                }
            }
        }
        if let Some(instead) = self.instead(author, &settled) {
            found = vec![instead];
        }
        for json in found {
            self.commits.find(Addressed { sinks: self.sinks.clone(), json });
        }
        self.parts.witness.answered(&self.parts.slot, &settled);
        let Unused { late, twice } = settled.more.unused;
        for (reason, count) in [("late", late), ("twice", twice)] {
            if count > 0 {
                self.dropped(reason, u64::from(count));
            }
        }
        for (stream, span, _) in &settled.more.others {
            let span = Span { key: stream.clone(), first: span.first, last: span.last };
            self.commits.account(span, None);
        }
        let key = settled.stream().to_owned();
        let span = Span { key, first: settled.first, last: settled.last };
        self.commits.account(span, release.map(|release| (release, settled)));
    }

    /// What the plant is told of a frame while a rule fires that wants the fail-safe values given: those of the
    /// bundle, or else of the settings. None where it is to have the answer, or nothing.
    fn instead(&self, author: Author<'_>, settled: &Settled) -> Option<String> {
        let placed = self.placed.as_ref()?;
        let fires = self.parts.fires.borrow();
        let rule = fires.instead_of(&placed.id)?;
        let is_told = settled.result.as_ref().map_or(!placed.finishing, |parts| !parts.is_empty());
        let outputs = self.values_beside(&placed.release.manifest.bundle);
        let reason = format!("rule {rule}");
        (is_told && !outputs.is_empty())
            .then(|| finding::fail_safe_frame(author, settled, &reason, outputs))
    }

    /// The fail-safe values of a bundle that has the route, or else of the settings.
    fn values_beside<'a>(&'a self, bundle: &'a BundleFile) -> &'a BTreeMap<String, FailSafe> {
        match bundle.fail_safe.is_empty() {
            true => &self.parts.config.fail_safe,
            false => &bundle.fail_safe,
        }
    }

    /// Remembers what a bundle says when there is no answer. A bundle speaks for the slot that it
    /// has run in last, and for one that has nothing yet as soon as it is verified: also one that
    /// cannot be started here knows what is safe.
    pub(super) fn remember(&mut self, bundle: &BundleFile) {
        if self.record.fail_safe != bundle.fail_safe {
            self.record.fail_safe.clone_from(&bundle.fail_safe);
            self.commits.touch();
        }
    }

    /// Says the fail-safe output of a vacant slot, as the settings want it or else the last bundle:
    /// once until a release has had the route again, or until something else is to be said.
    pub(super) fn tell_vacant(&mut self, reason: &str) {
        let settings = &self.parts.config.fail_safe;
        let outputs = if settings.is_empty() { &self.record.fail_safe } else { settings }.clone();
        if self.told_vacant.as_ref() == Some(&outputs) {
            tracing::info!(slot = %self.parts.slot, "the slot is still vacant: {reason}");
            return;
        }
        tracing::warn!(slot = %self.parts.slot, "the slot is vacant and gives its fail-safe output: {reason}");
        self.give_fail_safe(None, reason, &outputs);
        self.told_vacant = Some(outputs);
    }

    /// Says the fail-safe output of a release that has the route and does not answer, as it would
    /// say for each frame.
    pub(super) fn tell_outage(&mut self, reason: &str) {
        let Some(placed) = &self.placed else { return };
        let release = placed.id.clone();
        let outputs = self.values_beside(&placed.release.manifest.bundle).clone();
        tracing::warn!(slot = %self.parts.slot, "{release} does not answer, and the slot gives its fail-safe output: {reason}");
        let reason = format!("the release does not answer: {reason}");
        self.give_fail_safe(Some(&release), &reason, &outputs);
    }

    fn give_fail_safe(
        &mut self,
        release: Option<&ReleaseId>,
        reason: &str,
        outputs: &BTreeMap<String, FailSafe>,
    ) {
        self.record.fail_safe_given += 1;
        let number = self.record.fail_safe_given;
        let author = Author { device: &self.parts.device, slot: &self.parts.slot, release };
        let json = finding::fail_safe(author, number, reason, outputs);
        self.commits.find(Addressed { sinks: self.sinks.clone(), json });
    }
}
