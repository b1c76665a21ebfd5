//! The session with the fleet server. Being without one is normal and may last for ever.

pub mod asked;
pub mod carry;
pub mod device;
pub mod identity;
pub mod pace;
pub mod session;
pub mod status;

pub use device::{Device, Proof};
