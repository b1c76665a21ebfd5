//! Who a device is: its key, the token it joins with, its certificate, and what follows from them.
//!
//! A device's way: `JoinToken + CertificateRequest -> Pending -> Accepted -> certificate -> Peer`.
//! An [`Authority`] makes certificates, [`Roots`] verify them.
//!
//! Values and decisions only, the same for agent and server: opens no socket and no file, reads no clock.
//! Times are handed in, and so is randomness, as ring's `SecureRandom`: every function that draws any takes
//! it by name. Keys are of P-256, because TPMs, tokens and plants' authorities know that curve, and few of
//! them Ed25519.

mod authority;
mod claim;
mod key;
mod peer;
mod redeem;
mod request;
mod token;
mod validity;

pub use authority::{Authority, AuthorityError, Issued, SERVER_NAMES_MAX, ServerName};
pub use claim::{Claim, HardwareSerial, HardwareSerialError, Preauthorised};
pub use key::{DeviceKey, Fingerprint, FingerprintError, KeyError, PublicKey};
pub use peer::{CHAIN_MAX, CertificateError, Peer, Roots, Serial};
pub use redeem::{Redeemed, Spent, TokenRecord, TokenRefusal, redeem};
pub use request::{CertificateRequest, REQUEST_BYTES_MAX, RequestError};
pub use token::{JoinToken, TokenError, TokenHash};
pub use validity::{Lifetime, LifetimeError, Phase, Validity, ValidityError};
