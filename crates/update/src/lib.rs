//! The update engine: what a slot holds, what may happen to it, and what is to be done then.
//!
//! [`step`] takes a slot's state one event further and names the effects. It opens no file and no
//! socket, reads no clock and draws no random number; a driver journals the state, then carries the
//! effects out. Every effect names an end, so repeating one after a power cut does no harm.
//!
//! The way of a release: `Downloading -> Staging -> Shadow -> Held -> Trial`, then committed; it may
//! leave the way anywhere. A shadow runs only beside an active release, and only if somebody asks
//! for one; every candidate passes through `Held`, where the site's consent is asked for. Only the way
//! back to a release that was committed here before leads from the checks to the trial at once.
//!
//! What holds after any power cut: the slot runs its active release, or the candidate of a trial,
//! or what stands in after a first trial was ended, or is vacant because it never had a committed
//! release. Floors never fall. A release that was refused or rolled back is not tried again until another
//! one has been assigned, or a person says so; one that only would not run on a device like this one,
//! until the device is another one, too. One that this device has failed, and not the release itself, is
//! tried again by itself, a bounded number of times.

mod ahead;
mod effect;
mod event;
mod held;
mod moves;
mod report;
mod retry;
mod route;
mod shadow;
mod slot;
mod spare;
mod stand_in;
mod starts;
mod step;
mod trial;

pub use effect::Effect;
pub use event::Event;
pub use held::{Held, Withheld};
pub use moves::{BUNDLES_MAX, FAILURES_MAX, PROVEN_MAX};
pub use report::{Report, ReportKind};
pub use shadow::ShadowRun;
pub use slot::{Blocked, Installed, Phase, SlotState, Target};
pub use starts::{BOOTS_MAX, QUIET, Starts};
pub use step::{ATTEMPTS_MAX, step};
pub use trial::{Tally, Trial};
