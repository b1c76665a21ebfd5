//! Who calls where not only people do: devices, and vendors by the tokens of their roles.

use crate::access::{Holder, Publisher};
use crate::api::may::{IsRight, Look, Release, by_token, caller};
use crate::audit::By;
use crate::error::Error;
use crate::fleet::{Fleet, beyond};
use crate::http::{Connection, Way};
use axum::extract::FromRequestParts;
use axum::http::HeaderMap;
use axum::http::header::{AUTHORIZATION, COOKIE};
use axum::http::request::Parts;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use lineside_bundle::Digest;
use lineside_bundle::referrer::Listed;
use lineside_wire::name::DeviceId;
use std::sync::Arc;
use time::OffsetDateTime;

/// Somebody calls who may follow the repository: a device, or who may look at everything here.
pub(crate) enum Follower {
    House,
    Device(DeviceId),
}

/// Somebody calls who may read artifacts: a device, who may look at everything here, or who holds the token of a
/// role, by `Authorization: Bearer TOKEN`, or by Basic as the role is called.
pub(crate) enum Reader {
    House,
    Device(DeviceId),
    Role(Holder),
}

impl Reader {
    /// Why there is nothing for who asks. A device is told the same of what is not here as of what is not
    /// for it: what else lies here is nothing to a device.
    pub fn told(&self, error: Error) -> Error {
        match (self, error) {
            (Reader::Device(device), Error::Missing(_)) => not_for(device),
            (Reader::Role(_), Error::Missing(_)) => not_his(),
            (_, error) => error,
        }
    }

    /// Refuses a device that asks for what is not assigned to it, and a vendor who asks for what is not his.
    ///
    /// # Errors
    /// [`Error::Forbidden`]; to a vendor [`Error::Missing`], as of what is not here: he pushes it then.
    pub async fn check(&self, fleet: &Fleet, bundle: &str, digest: &Digest) -> Result<(), Error> {
        match self {
            Reader::House => Ok(()),
            Reader::Device(device) if is_for(fleet, device, bundle, digest).await? => Ok(()),
            Reader::Device(device) => Err(not_for(device)),
            Reader::Role(holder) if fleet.is_of(holder, bundle, digest).await? => Ok(()),
            Reader::Role(_) => Err(not_his()),
        }
    }

    /// Leaves of what refers to a manifest of a bundle what who asks may read.
    ///
    /// # Errors
    /// [`Error::Database`] or [`Error::File`].
    pub async fn keep_open(
        &self,
        fleet: &Fleet,
        bundle: &str,
        referrers: &mut Vec<Listed>,
    ) -> Result<(), Error> {
        match self {
            Reader::House => {}
            Reader::Device(device) => {
                let opened = fleet.opened_for(device, bundle).await?;
                referrers.retain(|one| opened.contains(&one.digest));
            }
            Reader::Role(holder) => {
                let own = fleet.opened_to(holder, bundle).await?;
                referrers.retain(|one| own.as_ref().is_some_and(|own| own.contains(&one.digest)));
            }
        }
        Ok(())
    }
}

impl Follower {
    /// As [`Reader::check`].
    ///
    /// # Errors
    /// As there.
    pub async fn check(&self, fleet: &Fleet, bundle: &str, digest: &Digest) -> Result<(), Error> {
        match self {
            Follower::Device(device) if !is_for(fleet, device, bundle, digest).await? => {
                Err(not_for(device))
            }
            Follower::House | Follower::Device(_) => Ok(()),
        }
    }
}

async fn is_for(
    fleet: &Fleet,
    device: &DeviceId,
    bundle: &str,
    digest: &Digest,
) -> Result<bool, Error> {
    Ok(fleet.opened_for(device, bundle).await?.contains(digest))
}

/// What is told of what somebody may not know to be here: the same as of what is not.
fn not_his() -> Error {
    Error::Missing("there is nothing here of this digest or name that this token opens".into())
}

fn not_for(device: &DeviceId) -> Error {
    Error::Forbidden(format!("{device} may read what is or was assigned to it, and nothing else"))
}

/// Somebody calls who reads what publishers do: who may look at everything here, or who holds the token of a role.
pub(crate) struct Consults(pub Publisher);

/// Whether a browser is that of somebody who may look at everything here.
pub(crate) struct Browser {
    pub logged_in: bool,
}

impl FromRequestParts<Arc<Fleet>> for Reader {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, fleet: &Arc<Fleet>) -> Result<Self, Error> {
        if of_the_house::<Look>(parts, fleet).await?.is_some() {
            return Ok(Reader::House);
        }
        if let Some(device) = device(parts, fleet).await? {
            return Ok(Reader::Device(device));
        }
        match holder(parts, fleet).await? {
            Some(holder) => Ok(Reader::Role(holder)),
            None => Err(stranger()),
        }
    }
}

impl FromRequestParts<Arc<Fleet>> for Follower {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, fleet: &Arc<Fleet>) -> Result<Self, Error> {
        if of_the_house::<Look>(parts, fleet).await?.is_some() {
            return Ok(Follower::House);
        }
        if let Some(device) = device(parts, fleet).await? {
            return Ok(Follower::Device(device));
        }
        match holder(parts, fleet).await? {
            Some(holder) => Err(beyond(&holder, "the repository as devices follow it")),
            None => Err(stranger()),
        }
    }
}

impl FromRequestParts<Arc<Fleet>> for Publisher {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, fleet: &Arc<Fleet>) -> Result<Self, Error> {
        publisher::<Release>(parts, fleet).await
    }
}

impl FromRequestParts<Arc<Fleet>> for Consults {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, fleet: &Arc<Fleet>) -> Result<Self, Error> {
        Ok(Consults(publisher::<Look>(parts, fleet).await?))
    }
}

async fn publisher<R: IsRight>(parts: &Parts, fleet: &Fleet) -> Result<Publisher, Error> {
    if let Some(by) = of_the_house::<R>(parts, fleet).await? {
        return Ok(Publisher::House(by));
    }
    match holder(parts, fleet).await? {
        Some(holder) => Ok(Publisher::Role(holder)),
        None => Err(Error::Stranger(
            "this needs somebody who is known here, `Authorization: Bearer …` with a token of `lineside login` or the \
             text of admin.token in the server's data folder; or the token of a role"
                .into(),
        )),
    }
}

/// Who of the people and programs calls, if it is one of them; refused if he does not have the right everywhere.
async fn of_the_house<R: IsRight>(parts: &Parts, fleet: &Fleet) -> Result<Option<By>, Error> {
    let Some(caller) = caller(parts, fleet).await? else { return Ok(None) };
    caller.check::<R>(OffsetDateTime::now_utc())?;
    caller.everywhere::<R>()?;
    Ok(Some(caller.by))
}

impl FromRequestParts<Arc<Fleet>> for Browser {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, fleet: &Arc<Fleet>) -> Result<Self, Error> {
        let shown = cookie(&parts.headers, fleet.administrator.cookie_name());
        let Some(value) = shown else { return Ok(Browser { logged_in: false }) };
        if fleet.administrator.is_cookie(value) {
            return Ok(Browser { logged_in: true });
        }
        let caller = by_token(value, fleet).await?.filter(|caller| caller.session.is_some());
        let logged_in = caller.is_some_and(|caller| {
            caller.check::<Look>(OffsetDateTime::now_utc()).is_ok()
                && caller.everywhere::<Look>().is_ok()
        });
        Ok(Browser { logged_in })
    }
}

/// What a browser shows under this name.
pub(super) fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let cookies = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs =
        cookies.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(shown, _)| *shown == name).map(|(_, value)| value)
}

/// The device that calls: by the certificate that it has shown, which is looked at for each request, or by its
/// password.
async fn device(parts: &Parts, fleet: &Fleet) -> Result<Option<DeviceId>, Error> {
    if let Some(Connection { way: Way::Tls(Some(peer)), .. }) = parts.extensions.get() {
        return match fleet.identities.admits(peer, OffsetDateTime::now_utc()).await? {
            Ok(()) => Ok(Some(peer.device().clone())),
            Err(refusal) => Err(Error::Stranger(refusal.to_string())),
        };
    }
    let Some((user, password)) = basic(parts) else { return Ok(None) };
    fleet.registry.knows(&user, &password).await
}

/// Who holds the token that is shown, if the list of releases names the role for which it was made.
pub(super) async fn holder(parts: &Parts, fleet: &Fleet) -> Result<Option<Holder>, Error> {
    let (user, token) = match (bearer(parts), basic(parts)) {
        (Some(token), _) => (None, token.to_owned()),
        (None, Some((user, password))) => (Some(user), password),
        (None, None) => return Ok(None),
    };
    let holder = fleet.tokens.holder(&token).await?;
    let holder = holder.filter(|holder| user.is_none_or(|user| user == holder.role.as_str()));
    if let Some(holder) = &holder {
        fleet.documents.naming(&holder.role).await?;
    }
    Ok(holder)
}

fn stranger() -> Error {
    Error::Stranger(
        "this needs a device's certificate or password, or somebody who is known here".into(),
    )
}

fn authorization<'a>(parts: &'a Parts, scheme: &str) -> Option<&'a str> {
    let (found, rest) = parts.headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    found.eq_ignore_ascii_case(scheme).then_some(rest.trim())
}

pub(super) fn bearer(parts: &Parts) -> Option<&str> {
    authorization(parts, "bearer")
}

pub(super) fn basic(parts: &Parts) -> Option<(String, String)> {
    let bytes = STANDARD.decode(authorization(parts, "basic")?).ok()?;
    let text = String::from_utf8(bytes).ok()?;
    let (user, password) = text.split_once(':')?;
    Some((user.to_owned(), password.to_owned()))
}
