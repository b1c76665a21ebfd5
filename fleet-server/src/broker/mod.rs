//! The embedded MQTT broker: known devices only, each on its own branch.

mod guard;
mod listen;

pub(crate) use guard::{Guard, INTERNAL_USER};
pub(crate) use listen::{Broker, MESSAGE_BYTES_MAX, not_bound};
