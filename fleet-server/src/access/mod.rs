//! Who may do what: the administrator by token, a device by its password, a vendor by a token of his own.

mod administrator;
mod role;
mod secret;

pub(crate) use administrator::{ADMINISTRATOR, Administrator, TOKEN_FILE};
pub(crate) use role::{Holder, Publisher, RoleTokens};
pub(crate) use secret::{random_hex, random_number, random_uuid, same};
