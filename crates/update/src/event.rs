//! What may happen to a slot.

use crate::{Tally, Target};
use lineside_bundle::Digest;
use lineside_rules::Verdict;

/// Something that happened. Answers to effects carry the digest of the release that they are about,
/// because another one may have been assigned meanwhile.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The device has started; nothing runs yet.
    Booted,
    /// A trusted assignment names this release for the slot.
    Assigned(Target),
    /// All blobs of the release are on disk, verified.
    Downloaded {
        /// Which release.
        release: Digest,
    },
    /// The blobs could not be fetched this time.
    DownloadFailed {
        /// Which release.
        release: Digest,
        /// Why, for people.
        reason: String,
    },
    /// The release's checks passed on this device.
    Staged {
        /// Which release.
        release: Digest,
    },
    /// The release cannot run here, or answers wrongly: its manifest, its checks.
    Refused {
        /// Which release.
        release: Digest,
        /// Why, for people.
        reason: String,
    },
    /// The release could not be put on the slot's route.
    RunFailed {
        /// Which release.
        release: Digest,
        /// Why, for people.
        reason: String,
    },
    /// What the candidate has done since its trial began, and what the limits say of it.
    Observed {
        /// Which release.
        release: Digest,
        /// Counts over the whole trial, earlier boots included.
        seen: Tally,
        /// By the strictest limits that hold.
        verdict: Verdict,
    },
    /// The release's worker died. It is started again by itself.
    WorkerFailed {
        /// Which release.
        release: Digest,
        /// Why, for people.
        reason: String,
    },
    /// Reports up to this number are in the telemetry's hands.
    Reported {
        /// Number of the last one.
        through: u64,
    },
    /// Time has passed.
    Ticked,
}
