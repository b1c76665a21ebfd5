//! Who a device is: its key, the token it joins with, its certificate, and what follows from them.
//!
//! A device's way: `JoinToken + CertificateRequest -> Pending -> Accepted -> certificate -> Peer`.
//! [`step`] decides on joining, renewing, revoking and copies, [`admit`] whether somebody may connect,
//! [`may`] what a device may do at a broker. An [`Authority`] makes certificates, [`Roots`] verify them.
//!
//! Values and decisions only, the same for agent and server: opens no socket and no file, reads no clock.
//! Times are handed in, and so is randomness, as ring's `SecureRandom`: every function that draws any takes
//! it by name. Keys are of P-256, because TPMs, tokens and plants' authorities know that curve, and few of
//! them Ed25519.

mod access;
mod authority;
mod claim;
mod errand;
mod exchange;
mod key;
mod peer;
mod redeem;
mod request;
mod standing;
mod start;
mod token;
mod validity;

pub use access::{Action, may, mosquitto_acl};
pub use authority::{Authority, AuthorityError, Issued, SERVER_NAMES_MAX, ServerName};
pub use claim::{Claim, HardwareSerial, HardwareSerialError, Preauthorised};
pub use errand::{AGAIN, Deed, Errand, Occasion, Stage, TokenUse, errand};
pub use exchange::{
    Answer, EXCHANGE_ANSWER_BYTES_MAX, EXCHANGE_REQUEST_BYTES_MAX, JoinRequest, RenewRequest,
};
pub use key::{DeviceKey, Fingerprint, FingerprintError, KeyError, PublicKey};
pub use peer::{CHAIN_MAX, CertificateError, Peer, Roots, Serial, read_chain};
pub use redeem::{Redeemed, Spent, TokenRecord, TokenRefusal, redeem};
pub use request::{CertificateRequest, REQUEST_BYTES_MAX, RequestError};
pub use standing::{
    Ask, BARRED_MAX, Effect, Event, Held, Identity, Listed, Refusal, Seen, Standing, Verdict, Way,
    admit, step,
};
pub use start::{Mark, STARTS_MAX, Sighting, Starts, sight};
pub use token::{JoinToken, TokenError, TokenHash};
pub use validity::{Lifetime, LifetimeError, Phase, Validity, ValidityError};
