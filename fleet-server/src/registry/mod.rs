//! The devices of the fleet: names, sites, labels, credentials.

mod device;
mod reported;

pub(crate) use device::{Credentials, Device, NewDevice, Registry, imported_before, unix_ms};
pub(crate) use reported::{ReleaseShown, SlotReported};
