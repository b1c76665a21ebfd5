//! What may happen to a slot.

use crate::{Tally, Target};
use lineside_bundle::Digest;
use lineside_rules::{ShadowLimits, ShadowObservation, TrialLimits, Verdict};
use std::collections::BTreeMap;

/// Something that happened. Answers to effects carry the digest of the release that they are about,
/// because another one may have been assigned meanwhile.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The device has started; nothing runs yet.
    Booted,
    /// The agent has been told to stop: whatever ends now says nothing about a release.
    Stopped,
    /// A trusted assignment names this release for the slot.
    Assigned {
        /// The release.
        target: Target,
        /// The number below which no slot of this device accepts a release of the target's bundle.
        floor: u64,
    },
    /// Nobody wants the release in this slot any more, which was to hold it: it was unassigned, or what
    /// was assigned is not vouched for. Takes no way back away. May be told again.
    Withdrawn {
        /// Which release.
        release: Digest,
        /// Why, for people: what follows "because".
        reason: String,
    },
    /// Of all that the slot holds, nobody vouches for these releases: they were taken off the list of
    /// releases, or its keys were replaced. In the place of whatever was told of that before.
    Disowned {
        /// Which releases, and why, for people: what follows "because".
        releases: BTreeMap<Digest, String>,
    },
    /// All blobs of the release are on disk, verified.
    Downloaded {
        /// Which release.
        release: Digest,
        /// How they came, for people; may be empty.
        how: String,
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
        /// What it allows itself while it is on trial.
        limits: Box<TrialLimits>,
        /// How it wants to be compared with the active release.
        shadow: Box<ShadowLimits>,
        /// How the site wants any release to be compared.
        policy: ShadowLimits,
        /// What they took, for people; may be empty.
        took: String,
    },
    /// What the candidate has done beside the active release, and what the limits say of it.
    Shadowed {
        /// Which release.
        release: Digest,
        /// Counts over the whole shadow, earlier boots included.
        seen: ShadowObservation,
        /// By the strictest limits that hold.
        verdict: Verdict,
    },
    /// The site wants any release to be compared in this way now. Told before anything else is said of
    /// a candidate that is compared or held.
    Policy {
        /// The site's limits for shadows.
        policy: ShadowLimits,
    },
    /// What the active release has done on the route so far: its successor is compared with that.
    Remembered {
        /// Which release.
        release: Digest,
        /// Counts since it has had the route.
        done: Tally,
    },
    /// The site lets the candidate take the route.
    Consented {
        /// Which release.
        release: Digest,
    },
    /// The site does not let the route be changed now. Also of a candidate that it has let take the route
    /// and that has not had it yet.
    Withheld {
        /// Which release waits.
        release: Digest,
        /// Why, for people.
        reason: String,
        /// Whether that takes longer than the site wants any update to wait.
        overdue: bool,
    },
    /// A person has approved the release for this slot, and no other.
    Approved {
        /// Which release.
        release: Digest,
    },
    /// A floor has risen in another slot above the release, which is on its way here.
    BelowFloor {
        /// Which release.
        release: Digest,
        /// Why, for people.
        reason: String,
    },
    /// The release cannot run here: its manifest, or its checks.
    Refused {
        /// Which release.
        release: Digest,
        /// Why, for people.
        reason: String,
    },
    /// The release would not run here as long as the device is as it is: what it needs, and what there
    /// is, by its two small documents.
    Unfit {
        /// Which release.
        release: Digest,
        /// Why, for people.
        reason: String,
        /// What the device was like, as a digest.
        facts: Digest,
    },
    /// What a release was found unfit for may have passed: the device is another one now, or a person
    /// has asked again. Its assignment follows.
    Reconsidered {
        /// Which release.
        release: Digest,
    },
    /// A person has said that a release shall be tried again, though the slot may have given it up. Its
    /// assignment follows.
    TryAgain {
        /// Which release.
        release: Digest,
        /// The number of the wish with which that was said last: such a number never comes again for another
        /// one, and every later assignment of the release repeats it.
        wish: u64,
    },
    /// The candidate has the route: whatever it does from now on is tried.
    Placed {
        /// Which release.
        release: Digest,
    },
    /// The release could not be put on the slot's route.
    RunFailed {
        /// Which release.
        release: Digest,
        /// Why, for people.
        reason: String,
    },
    /// Its checks could not be replayed, or it could not be put on the route, for a reason that lies
    /// with this device and may pass.
    Interrupted {
        /// Which release.
        release: Digest,
        /// Why, for people.
        reason: String,
    },
    /// A blob of the release is no longer on disk as it was signed.
    Damaged {
        /// Which release.
        release: Digest,
        /// Which one, for people.
        reason: String,
    },
    /// The blobs of the release are on disk as they were signed.
    Whole {
        /// Which release.
        release: Digest,
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
