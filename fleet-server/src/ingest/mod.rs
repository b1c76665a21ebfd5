//! Bytes from devices become facts: what they hold, what they measured, what happened.

mod keep;
mod link;
mod pace;
mod ranges;
mod record;
mod session;
mod stored;
mod telemetry;

pub(crate) use link::Link;
pub(crate) use pace::Pace;
pub(crate) use session::connect;
pub(crate) use stored::{EventShown, IntervalShown, Totals, time_shown};
pub(crate) use telemetry::Telemetry;
