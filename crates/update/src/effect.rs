//! What is to be done. Each effect names an end and may be repeated.

use crate::{Installed, Report, Target};

/// Something for the driver to do after the state has been journaled.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Have all blobs of the release on disk, verified. Answered by `Downloaded`,
    /// `DownloadFailed`, `Unfit` or `Refused`. Replaces the download of any other release for this slot; one of the same
    /// release that is under way goes on.
    Download {
        /// The release.
        target: Target,
        /// How many times it has failed so far: the longer the pause before.
        attempts: u32,
    },
    /// Have the release's checks replayed on this device. Answered by `Staged`, `Refused`,
    /// `Interrupted`, or `Damaged`.
    Stage {
        /// The release.
        target: Target,
        /// How many times it was interrupted so far: the longer the pause before.
        attempts: u32,
    },
    /// Have this release answer beside the route, without acting, compared with what the route answers;
    /// nothing to do where it already does, nor where what it is to be compared with is not on the route:
    /// that follows. Answered by `Refused`, `Interrupted` or `Damaged` if it cannot.
    StartShadow(Installed),
    /// Have nothing answer beside the route.
    EndShadow,
    /// Have this release on the slot's route; nothing to do where it already is. Answered by
    /// `Placed` where it is a candidate that [waited](crate::SlotState::about_to_take_route), by
    /// `RunFailed`, `Interrupted` or `Damaged` if it cannot be, and by `Withheld` where the site is to be
    /// [asked once more](crate::SlotState::about_to_take_route) and says no.
    Run(Installed),
    /// Have this release on the slot's route as long as nothing else is: what shall be there cannot be now.
    /// Not answered; where it cannot be, that is asked for again.
    RunMeanwhile(Installed),
    /// Have the blobs of this release compared with what was signed, beside whatever else is done.
    /// Answered by `Whole` or `Damaged`.
    Verify(Installed),
    /// Have nothing on the route but the release that shall be there now; where it is not, the slot
    /// gives its fail-safe output.
    Vacate {
        /// Why, for people.
        reason: String,
    },
    /// Have no blob on disk that no slot needs.
    Collect,
    /// Have this report in the telemetry's hands, after all before it. Answered by `Reported`.
    Report(Report),
}
