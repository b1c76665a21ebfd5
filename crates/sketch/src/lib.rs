//! Mergeable statistics: the same values give the same bits on every processor, in any order and
//! grouping, because everything is counted in integers. Opens no file and reads no clock.

mod histogram;
mod moments;
mod wide;

pub use histogram::{BUCKETS_MAX, Histogram, RELATIVE_ERROR};
pub use moments::Moments;
