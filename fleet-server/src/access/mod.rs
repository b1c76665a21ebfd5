//! Who may do what: the administrator by token, a device by its password.

mod administrator;
mod secret;

pub(crate) use administrator::{ADMINISTRATOR, Administrator, TOKEN_FILE};
pub(crate) use secret::{random_hex, same};
