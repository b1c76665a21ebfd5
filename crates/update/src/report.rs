//! What a slot tells people, kept in its state until somebody else keeps it.

use lineside_bundle::ReleaseId;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// Reports that wait at most; the oldest give way, and the numbers show the gap.
const WAITING_MAX: usize = 32;

/// What kind of thing happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReportKind {
    /// A release was assigned and is being fetched.
    Assigned,
    /// A download failed; it is tried again.
    DownloadFailed,
    /// All blobs are on disk.
    Downloaded,
    /// The release will not run here.
    Refused,
    /// Its checks have passed on this device.
    Staged,
    /// It answered beside the active release as it should.
    ShadowPassed,
    /// It waits for people.
    Held,
    /// It waits longer than the site wants any to wait.
    Overdue,
    /// A person has approved it.
    Approved,
    /// It is on the route, on trial.
    TrialStarted,
    /// It was given up before its trial, because another assignment came.
    Cancelled,
    /// The trial was ended by another assignment.
    TrialCancelled,
    /// The candidate is the active release now.
    Committed,
    /// The slot is back on its earlier release.
    RolledBack,
    /// The slot has no release and gives its fail-safe output.
    Vacant,
    /// A worker died or could not be started.
    WorkerFailed,
}

/// One thing that happened to a slot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Rises by one with each report of the slot, for ever.
    pub number: u64,
    /// What kind.
    pub kind: ReportKind,
    /// The release that it is about.
    pub release: Option<ReleaseId>,
    /// One sentence for people.
    pub text: String,
}

/// Reports not yet handed over.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Reports {
    next: u64,
    waiting: VecDeque<Report>,
}

impl Reports {
    pub(crate) fn add(
        &mut self,
        kind: ReportKind,
        release: Option<&ReleaseId>,
        text: String,
    ) -> Report {
        let report = Report { number: self.next, kind, release: release.cloned(), text };
        self.next += 1;
        if self.waiting.len() == WAITING_MAX {
            self.waiting.pop_front();
        }
        self.waiting.push_back(report.clone());
        report
    }

    pub(crate) fn done(&mut self, through: u64) {
        self.waiting.retain(|report| report.number > through);
    }

    pub(crate) fn waiting(&self) -> impl Iterator<Item = &Report> {
        self.waiting.iter()
    }
}
