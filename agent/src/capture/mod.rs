//! The ring of recent readings: what a slot accepted and what the release on its route answered, on
//! disk within bounds, for warm-up and for shadows that begin with the past.
//!
//! It is a convenience and never in the way: it is written by a thread of its own, without waiting
//! for the medium, and what it cannot take is counted and gone. A power cut costs the last seconds.
//! Off unless the device's settings turn it on, because readings are the site's; the site's signed
//! policy may narrow it or forbid it, and then what lies there goes.
//!
//! ```text
//! state_dir/capture/SLOT/0000000000000007   a segment: records of [length u32][checksum 8 bytes][batch]
//! ```

mod kept;
mod permit;
mod record;
mod recorder;
mod segments;

pub use kept::{CaptureReport, Permitted, Place};
pub use permit::Permit;
pub use record::{Answer, Entry, Head};
pub use recorder::Recorder;
pub use segments::{Bounds, Past, Ring, forget, read};
