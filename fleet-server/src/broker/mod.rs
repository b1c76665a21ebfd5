//! The embedded MQTT broker: known devices only, each on its own branch. What a device says is
//! handed in before the broker answers for it, so a device that says more than can be taken waits.

mod door;
mod gate;
mod guard;
mod link;
mod listen;
mod sessions;
mod tickets;

pub(crate) use door::Door;
pub(crate) use gate::Gate;
pub(crate) use guard::Guard;
pub(crate) use link::Link;
pub(crate) use listen::{Broker, context, not_bound};
pub(crate) use sessions::Sessions;
pub(crate) use tickets::{Ticket, Tickets};
