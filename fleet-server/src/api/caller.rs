//! Who calls: the administrator, or a device.

use crate::access::ADMINISTRATOR;
use crate::error::Error;
use crate::fleet::Fleet;
use axum::extract::FromRequestParts;
use axum::http::header::{AUTHORIZATION, COOKIE};
use axum::http::request::Parts;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use lineside_bundle::Digest;
use lineside_wire::name::DeviceId;
use std::sync::Arc;

/// The administrator calls: by `Authorization: Bearer TOKEN`, or by Basic as `admin`.
pub(crate) struct Administrator;

/// Somebody calls who may read artifacts: the administrator, or a device by Basic.
pub(crate) enum Reader {
    Administrator,
    Device(DeviceId),
}

impl Reader {
    /// Why there is nothing for who asks. A device is told the same of what is not here as of what is not
    /// for it: what else lies here is nothing to a device.
    pub fn told(&self, error: Error) -> Error {
        match (self, error) {
            (Reader::Device(device), Error::Missing(_)) => not_for(device),
            (_, error) => error,
        }
    }

    /// Refuses a device that asks for what is not assigned to it.
    ///
    /// # Errors
    /// [`Error::Forbidden`].
    pub async fn check(&self, fleet: &Fleet, bundle: &str, digest: &Digest) -> Result<(), Error> {
        match self {
            Reader::Administrator => Ok(()),
            Reader::Device(device) if fleet.is_for(device, bundle, digest).await? => Ok(()),
            Reader::Device(device) => Err(not_for(device)),
        }
    }
}

fn not_for(device: &DeviceId) -> Error {
    Error::Forbidden(format!("{device} may read what is or was assigned to it, and nothing else"))
}

/// Whether a browser has shown the token.
pub(crate) struct Browser {
    pub logged_in: bool,
}

impl FromRequestParts<Arc<Fleet>> for Administrator {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, fleet: &Arc<Fleet>) -> Result<Self, Error> {
        if is_administrator(parts, fleet) {
            return Ok(Administrator);
        }
        Err(Error::Stranger(
            "this needs the administrator's token: `Authorization: Bearer …`, \
             with the text of admin.token in the server's data folder"
                .into(),
        ))
    }
}

impl FromRequestParts<Arc<Fleet>> for Reader {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, fleet: &Arc<Fleet>) -> Result<Self, Error> {
        if is_administrator(parts, fleet) {
            return Ok(Reader::Administrator);
        }
        if let Some((user, password)) = basic(parts)
            && let Some(device) = fleet.registry.knows(&user, &password).await?
        {
            return Ok(Reader::Device(device));
        }
        Err(Error::Stranger(
            "this needs a device's user and password, or the administrator's token".into(),
        ))
    }
}

impl FromRequestParts<Arc<Fleet>> for Browser {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, fleet: &Arc<Fleet>) -> Result<Self, Error> {
        let cookies = parts.headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
        let logged_in = cookies
            .flat_map(|value| value.split(';'))
            .filter_map(|pair| pair.trim().split_once('='))
            .any(|(name, value)| fleet.administrator.is_cookie(name, value));
        Ok(Browser { logged_in })
    }
}

fn is_administrator(parts: &Parts, fleet: &Fleet) -> bool {
    match bearer(parts) {
        Some(token) => fleet.administrator.is_token(token),
        None => basic(parts).is_some_and(|(user, password)| {
            user == ADMINISTRATOR && fleet.administrator.is_token(&password)
        }),
    }
}

fn authorization<'a>(parts: &'a Parts, scheme: &str) -> Option<&'a str> {
    let (found, rest) = parts.headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    found.eq_ignore_ascii_case(scheme).then_some(rest.trim())
}

fn bearer(parts: &Parts) -> Option<&str> {
    authorization(parts, "bearer")
}

fn basic(parts: &Parts) -> Option<(String, String)> {
    let bytes = STANDARD.decode(authorization(parts, "basic")?).ok()?;
    let text = String::from_utf8(bytes).ok()?;
    let (user, password) = text.split_once(':')?;
    Some((user.to_owned(), password.to_owned()))
}
