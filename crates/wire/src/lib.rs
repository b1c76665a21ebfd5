//! What crosses the network between a device and the fleet server: names, topics, the envelope
//! and the messages in it. Opens no socket: it turns values into bytes and bytes into values.

mod alert;
pub mod envelope;
mod interval;
mod log;
pub mod name;
mod quality;
pub mod range_set;
pub mod topic;
pub mod v1;
