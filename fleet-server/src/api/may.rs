//! Who of the people and programs calls, and what he may do: asked of each request.

use crate::access::{ADMINISTRATOR, Grants, Right, SERVICE_PREFIX, SESSION_PREFIX, SessionOf};
use crate::api::caller::{basic, bearer, holder};
use crate::audit::By;
use crate::error::Error;
use crate::fleet::{Fleet, beyond};
use crate::registry::Device;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use lineside_wire::name::DeviceId;
use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::sync::Arc;
use time::OffsetDateTime;

/// Somebody who is known here, with all that he may do.
pub(crate) struct Caller {
    pub by: By,
    pub grants: Grants,
    /// The session by which he comes; a token is its own proof.
    pub session: Option<SessionOf>,
}

/// A right, as a type.
pub(crate) trait IsRight: Send + Sync {
    const RIGHT: Right;
    /// Whether the password must have been shown just now, and no program may do it.
    const FRESH: bool = false;
}

macro_rules! rights {
    ($($name:ident $fresh:literal),*) => {
        $(pub(crate) enum $name {}
        impl IsRight for $name {
            const RIGHT: Right = Right::$name;
            const FRESH: bool = $fresh;
        })*
    };
}
rights!(Look false, Operate false, Enrol false, Approve true, Release false, Administer true);

/// Somebody who has the right `R` somewhere: what it is about is for the route to [check](May::device).
pub(crate) struct May<R> {
    pub by: By,
    grants: Grants,
    right: PhantomData<R>,
}

/// Somebody who has the right `R` everywhere.
pub(crate) struct Throughout<R> {
    pub by: By,
    right: PhantomData<R>,
}

impl<R: IsRight> May<R> {
    /// A device, if it is one of those that he has to do with. Of others he is told that there are none.
    ///
    /// # Errors
    /// [`Error::Missing`], [`Error::Database`].
    pub async fn device(&self, fleet: &Fleet, name: &str) -> Result<Device, Error> {
        if name.parse::<DeviceId>().is_err() {
            return Err(crate::registry::missing(name));
        }
        let device = fleet.registry.get(name).await?;
        match self.covers(&device) {
            true => Ok(device),
            false => Err(crate::registry::missing(name)),
        }
    }

    /// Whether he has to do with a device.
    pub fn covers(&self, device: &Device) -> bool {
        self.covers_place(&device.row.site, &device.labels)
    }

    /// Whether he has to do with devices of a site that have these labels.
    pub fn covers_place(&self, site: &str, labels: &BTreeMap<String, String>) -> bool {
        self.grants.at(R::RIGHT, site, labels)
    }

    /// Whether he has to do with all that is at a site.
    pub fn covers_site(&self, site: &str) -> bool {
        self.grants.at_site(R::RIGHT, site)
    }

    /// Whether he has to do with everything.
    pub fn is_everywhere(&self) -> bool {
        self.grants.everywhere(R::RIGHT)
    }

    /// Refuses who has the right at some places only.
    ///
    /// # Errors
    /// [`Error::Forbidden`].
    pub fn everywhere(&self) -> Result<(), Error> {
        self.is_everywhere().then_some(()).ok_or_else(|| only_somewhere(R::RIGHT))
    }
}

impl Caller {
    /// By what name he does something: people by their own. Who has the administrator's token says who he is, as
    /// long as there are no people here who could be asked to log in.
    ///
    /// # Errors
    /// [`Error::Forbidden`].
    pub async fn name(&self, fleet: &Fleet, said: &str) -> Result<String, Error> {
        name(&self.by, fleet, said).await
    }

    /// Refuses who has a right at some places only.
    ///
    /// # Errors
    /// [`Error::Forbidden`].
    pub fn everywhere<R: IsRight>(&self) -> Result<(), Error> {
        let is = self.grants.everywhere(R::RIGHT);
        is.then_some(()).ok_or_else(|| only_somewhere(R::RIGHT))
    }

    /// Whether he has a right somewhere, and has shown just now who he is where that is needed.
    ///
    /// # Errors
    /// [`Error::Forbidden`]; [`Error::Stranger`] if the password has to be shown once more.
    pub fn check<R: IsRight>(&self, now: OffsetDateTime) -> Result<(), Error> {
        if let Some(session) = self.session.as_ref().filter(|session| session.must_set_password) {
            return Err(Error::Forbidden(format!(
                "{} has to set a password of his own first: `lineside login`",
                session.name
            )));
        }
        if !self.grants.anywhere(R::RIGHT) {
            return Err(Error::Forbidden(format!(
                "this needs the right to {}, which {} does not have",
                R::RIGHT.name(),
                self.by.who().id
            )));
        }
        if R::FRESH && matches!(self.by, By::Program(_)) {
            return Err(Error::Forbidden(format!("to {} is for people", R::RIGHT.name())));
        }
        if R::FRESH && self.session.as_ref().is_some_and(|session| !session.is_fresh(now)) {
            return Err(Error::Stranger(format!(
                "to {} needs the password to be shown once more: `lineside login --again`",
                R::RIGHT.name()
            )));
        }
        Ok(())
    }
}

/// As [`Caller::name`].
///
/// # Errors
/// As there.
pub(crate) async fn name(by: &By, fleet: &Fleet, said: &str) -> Result<String, Error> {
    let said = said.trim();
    match by {
        By::Administrator(_) if said.is_empty() || said == ADMINISTRATOR => Ok(String::new()),
        By::Administrator(_) if fleet.people.are_known().await? => Err(Error::Forbidden(format!(
            "people have names of their own here: {said} logs in, and does it then"
        ))),
        By::Administrator(_) if !matches!(By::named(said), By::Administrator(_)) => {
            Err(Error::Forbidden(format!("{said} is the name of somebody who has shown who he is")))
        }
        By::Administrator(_) => Ok(said.to_owned()),
        by => Ok(by.name()),
    }
}

/// Whoever has a session, whatever he may do.
pub(crate) struct InSession(pub SessionOf);

impl<R: IsRight> FromRequestParts<Arc<Fleet>> for May<R> {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, fleet: &Arc<Fleet>) -> Result<Self, Error> {
        let caller = known(parts, fleet).await?;
        caller.check::<R>(OffsetDateTime::now_utc())?;
        Ok(May { by: caller.by, grants: caller.grants, right: PhantomData })
    }
}

impl<R: IsRight> FromRequestParts<Arc<Fleet>> for Throughout<R> {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, fleet: &Arc<Fleet>) -> Result<Self, Error> {
        let may = May::<R>::from_request_parts(parts, fleet).await?;
        may.everywhere()?;
        Ok(Throughout { by: may.by, right: PhantomData })
    }
}

impl FromRequestParts<Arc<Fleet>> for Caller {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, fleet: &Arc<Fleet>) -> Result<Self, Error> {
        known(parts, fleet).await
    }
}

impl FromRequestParts<Arc<Fleet>> for InSession {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, fleet: &Arc<Fleet>) -> Result<Self, Error> {
        let session = known(parts, fleet).await?.session;
        session.map(InSession).ok_or_else(|| {
            Error::Forbidden("this is about the session of somebody who has logged in".into())
        })
    }
}

/// Who calls; an error if he is nobody, or one whose token opens other things.
async fn known(parts: &Parts, fleet: &Fleet) -> Result<Caller, Error> {
    if let Some(caller) = caller(parts, fleet).await? {
        return Ok(caller);
    }
    if let Some(holder) = holder(parts, fleet).await? {
        return Err(beyond(&holder, "what people do here"));
    }
    Err(Error::Stranger(
        "this needs somebody who is known here, `Authorization: Bearer …`: with a token of `lineside login`, with \
         one of a program, or with the text of admin.token in the server's data folder"
            .into(),
    ))
}

/// Who of the people and programs calls, if it is one of them: by `Authorization: Bearer TOKEN`, or by Basic with
/// the token as the password.
pub(crate) async fn caller(parts: &Parts, fleet: &Fleet) -> Result<Option<Caller>, Error> {
    let token = match (bearer(parts), basic(parts)) {
        (Some(token), _) => token.to_owned(),
        // Browsers send it for any page that asks them to; clients of registries know nothing else.
        (None, Some(_)) if !takes_basic(parts.uri.path()) => return Ok(None),
        (None, Some((user, password))) => {
            let is_ours =
                [SESSION_PREFIX, SERVICE_PREFIX].iter().any(|of| password.starts_with(of));
            if user != ADMINISTRATOR && !is_ours {
                return Ok(None);
            }
            password
        }
        (None, None) => return Ok(None),
    };
    by_token(&token, fleet).await
}

/// Whether people and programs may come by Basic at a path: at those of registries and of the repository.
pub(super) fn takes_basic(path: &str) -> bool {
    path.starts_with("/v2/") || path.starts_with("/tuf/")
}

/// Whose token this is.
pub(crate) async fn by_token(token: &str, fleet: &Fleet) -> Result<Option<Caller>, Error> {
    let now = OffsetDateTime::now_utc();
    if token.starts_with(SESSION_PREFIX) {
        let session = fleet.people.session(token, now).await?;
        return Ok(session.map(|session| Caller {
            by: By::Person(session.name.clone()),
            grants: session.grants.clone(),
            session: Some(session),
        }));
    }
    if token.starts_with(SERVICE_PREFIX) {
        let service = fleet.people.service(token, now).await?;
        return Ok(service.map(|(name, grants)| Caller {
            by: By::Program(name),
            grants,
            session: None,
        }));
    }
    let is_administrator = fleet.administrator.is_token(token);
    Ok(is_administrator.then(|| Caller {
        by: By::ADMINISTRATOR,
        grants: Grants::all(),
        session: None,
    }))
}

fn only_somewhere(right: Right) -> Error {
    Error::Forbidden(format!(
        "this concerns the whole fleet: it needs the right to {} everywhere, not at some sites or with some labels",
        right.name()
    ))
}
