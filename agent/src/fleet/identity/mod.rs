//! Who this device is to its server: a key of its own, the certificate for it, and how both are shown.
//!
//! A device's way: `Token + Key -> Answer -> Certificate -> ClientConfig`. What is decided on the way is
//! decided by `lineside_identity`; here are the files, the sockets and the clock. Whatever fails here keeps the
//! device from its server, and nothing else.

mod asking;
mod certificate_file;
pub mod https;
mod key_file;
mod renewal;
mod report;
mod shared;
mod token_file;
mod trusted;
mod whole_file;

pub use renewal::{News, Renewal};
pub use report::{IdentityReport, Standing};
pub use shared::{Certificate, Identity, IdentityError, NotShown, Shows};
pub use trusted::{is_unbelieved, tls_error};
