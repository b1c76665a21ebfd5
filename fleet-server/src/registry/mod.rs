//! The devices of the fleet: names, sites, labels, credentials.

mod device;
mod names;
mod reported;

pub(crate) use device::{Credentials, Device, NewDevice, Registry, imported_before};
pub(crate) use names::{Names, OTHER_SLOTS, slot_shown};
pub(crate) use reported::{ReleaseShown, SlotReported};
