//! The rollout engine: brings a release to the devices that a selector matches, in waves with gates, and
//! stops by itself.
//!
//! [`Rollouts::step`] takes the fleet and its rollouts one event further and names the effects. It opens
//! no file and no socket, reads no clock and draws no random number; a driver writes the event down, then
//! carries the effects out. Every effect names an end, so repeating one does no harm. What was written
//! down and is replayed gives the same state, and so does a state that was written and read.
//!
//! The way of a rollout: `Draft -> Running -> Standing | Done`, from wave to wave; it may pause, ask, be
//! rolled back or aborted anywhere. The way of a device in it: `Waiting -> Assigned -> Working -> Committed
//! | Refused | RolledBack | Stuck`, and back by `ToReturn -> Returning -> Returned`.
//!
//! What holds whatever happens: no device is given the release beyond what its wave allows, and no wave
//! begins before the gate of the one before holds or a person says so; a rollout that pauses or is over
//! gives nobody anything; what a device reports counts, and never what it was sent; a device that does
//! not answer counts as stuck after a while, and holds nobody.

mod advance;
mod conflict;
mod devices;
mod effect;
mod event;
mod fill;
mod fleet;
mod gate;
mod member;
mod names;
mod people;
mod plan;
mod preflight;
mod rollout;
mod rollouts;
mod selector;
mod site;
mod standing;
mod window;

pub use conflict::Conflict;
pub use effect::{Assign, Effect, News, Why};
pub use event::{Conflicts, Event, Measured, Person, Report, Ticked, Way, Wish};
pub use fleet::{DeviceFacts, Order};
pub use gate::{Breach, Fill, Gate, Otherwise, Short, Signal, Tally, Verdict, Waiting, judge};
pub use member::{Phase, State};
pub use plan::{LIST_MAX, Plan, PlanError, Size, Then, WAVES_MAX, Wave};
pub use preflight::{EXAMPLES_MAX, Preflight, Refusing, WavePlan};
pub use rollout::{Asked, Cause, Rollout, RolloutId, Status};
pub use rollouts::{ROLLOUTS_MAX, Refused, Rollouts, STATE_VERSION};
pub use selector::{Membership, Selector, VACANT};
pub use site::SiteFacts;
pub use window::{WEEK_MINUTES, WINDOWS_MAX, Window, local_minute, opens_in};
