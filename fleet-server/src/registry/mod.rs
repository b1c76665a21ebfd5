//! The devices of the fleet: names, sites, labels, credentials.

mod carried;
mod credentials;
mod device;
mod names;
mod reported;

pub(crate) use carried::imported_before;
pub(crate) use credentials::Credentials;
pub(crate) use device::{Device, NewDevice, Place, Registry, missing};
pub(crate) use names::{Names, OTHER_SLOTS, slot_shown};
pub(crate) use reported::{ReleaseShown, SlotReported, release_of};
