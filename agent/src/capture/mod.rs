//! The ring of recent readings: what a slot accepted and what the release on its route answered, on
//! disk within bounds, for warm-up and for shadows that begin with the past.
//!
//! It is a convenience and never in the way: it is written by a thread of its own, without waiting
//! for the medium, and what it cannot take is counted and gone. A power cut costs the last seconds.
//! Off unless the device's settings turn it on, because readings are the site's; the site's signed
//! policy may narrow it or forbid it, and then what lies there goes.
//!
//! When a rule fires that wants it, the ring as it stands and what comes then are kept beyond the ring.
//!
//! ```text
//! state_dir/capture/SLOT/0000000000000007   a segment: records of [length u32][checksum 8 bytes][batch]
//! state_dir/capture/SLOT/kept/3/            segments of a firing, beside firing.json, which says of which
//! ```

mod export;
mod firings;
mod kept;
mod note;
mod permit;
mod record;
mod recorder;
mod segments;

pub use export::{ExportError, Names, export};
pub use firings::firing;
pub use kept::{CaptureReport, FiringReport, Permitted, Place};
pub use note::Keep;
pub use permit::Permit;
pub use record::{Answer, Entry, Head};
pub use recorder::Recorder;
pub use segments::{Bounds, Past, Ring, folder, forget, read};
