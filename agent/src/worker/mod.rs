//! `Reading -> Finding`: runs each release in a process of its own and routes readings to it.
//!
//! A slot has one worker on its route; during a swap a second one warms up beside it, or has been
//! there for long as a shadow whose answers are only compared. A reading is kept until a frame has
//! accounted for it, so a worker may die at any moment: the next one gets what is still owed, and
//! answers that were given already are not given again.

mod anew;
mod answers;
mod beside;
mod candidate;
mod captured;
mod commit;
pub mod compare;
mod flow;
pub mod follower;
mod intake;
pub mod library;
mod memory;
pub mod message;
mod outage;
mod packed;
mod placed;
pub mod process;
pub mod route;
pub mod running;
pub mod seen;
pub mod selftest;
pub mod serve;
pub mod serving;
mod shadow;
pub mod slot;
pub mod task;
pub mod trials;
pub mod witness;

pub use anew::{Anew, Failed, check_anew, has_other_engines, listed};
pub use selftest::{PluginTraps, SelfTestError, WorkerLimits};
pub use slot::{SlotError, SlotEvent, SlotHandle, SlotView, SwapError};
pub use trials::{keep, self_test, self_test_in};
pub use witness::Witness;
