//! Who may do what: people by password and session, programs and vendors by tokens, devices by password, and
//! whoever has the administrator's token.

mod administrator;
mod lockout;
mod password;
mod people;
mod rights;
mod role;
mod secret;
mod services;
mod sessions;
mod totp;

pub(crate) use administrator::{ADMINISTRATOR, Administrator, TOKEN_FILE};
pub(crate) use people::{People, PersonShown};
pub(crate) use rights::{Grant, Grants, Right};
pub(crate) use role::{Holder, Publisher, RoleTokens};
pub(crate) use secret::{random_hex, random_number, random_uuid, same};
pub(crate) use services::{DAYS, SERVICE_PREFIX, ServiceShown};
pub(crate) use sessions::{SESSION_PREFIX, SessionBegun, SessionOf};
