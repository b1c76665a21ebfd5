//! Bytes from devices become facts: what they hold, what they measured, what happened.

mod across;
mod carried;
mod ear;
mod keep;
mod pace;
mod quality;
mod ranges;
mod record;
mod repeats;
mod stored;
mod telemetry;
mod twins;

pub(crate) use carried::{Imported, import};
pub(crate) use ear::{Ear, Heard};
pub(crate) use pace::{Pace, Turns};
pub(crate) use quality::{QualityShown, WhichQuality};
pub(crate) use record::{Taken, View};
pub(crate) use stored::{EventShown, IntervalShown, Totals, time_shown};
pub(crate) use telemetry::Telemetry;
