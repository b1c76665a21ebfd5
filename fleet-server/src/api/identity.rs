//! Who devices are: they join and renew by their keys, over TLS; people give them tokens and decide about them.

use crate::api::Problem;
use crate::api::devices::DEVICES;
use crate::api::extract::{Json, OfStranger, Path, Query};
use crate::api::may::{Caller, Enrol, Look, Throughout};
use crate::error::Error;
use crate::fleet::{Fleet, to_its_end};
use crate::http::{Connection, Way};
use crate::identity::{
    Entry, Judgement, Known, NewToken, TokenKept, TokenMade, held_of, key_of, word,
};
use axum::Extension;
use axum::extract::State;
use axum::http::StatusCode;
use lineside_identity::{Answer, Held, JoinRequest, Peer, RenewRequest};
use lineside_wire::name::DeviceId;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use time::OffsetDateTime;
use utoipa::{IntoParams, ToSchema};

/// Rows of a page at most.
const ROWS_MAX: u64 = 1_000;

/// Which part of a list.
#[derive(Debug, Deserialize, IntoParams)]
pub(crate) struct Page {
    /// What comes after this: the last of the page before.
    after: Option<String>,
    /// At most so many; 200 unless told, 1000 at most. A page with fewer is the last.
    limit: Option<u64>,
}

impl Page {
    fn bounds(&self) -> (&str, u64) {
        (self.after.as_deref().unwrap_or_default(), self.limit.unwrap_or(DEVICES).min(ROWS_MAX))
    }
}

/// A device that has joined, or wants to.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct IdentityShown {
    /// Its name.
    device: String,
    /// `pending`, `accepted`, `declined`, `revoked` or `quarantined`.
    standing: &'static str,
    /// Fingerprint of its key: SHA-256 of its SubjectPublicKeyInfo in hex. Null where it was revoked.
    key: Option<String>,
    /// The serial number that it says it has.
    serial: Option<String>,
    /// When its certificate ends or has ended: milliseconds since 1970. Null where it has none.
    certificate_ends_unix_ms: Option<i64>,
    /// Fingerprints of its keys that were revoked.
    revoked_keys: Vec<String>,
    /// When any of this changed last: milliseconds since 1970.
    changed_unix_ms: i64,
}

/// A decision about a device.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewJudgement {
    /// What is decided.
    judgement: Judgement,
    /// Fingerprint of its key, as the person has seen it: compare it with what the device itself shows.
    key: String,
}

/// Joins, or asks what became of that: by a certificate request (PKCS#10, P-256) that names the device and is
/// signed by its key. It needs a token, once. The answer says whether to wait, or brings the certificate.
#[utoipa::path(post, path = "/api/v1/identity/join",
    request_body(content = Object, content_type = "application/json"),
    responses((status = 200, body = Object), (status = 409, body = Problem),
        (status = 429, body = Problem)))]
pub(crate) async fn join(
    State(fleet): State<Arc<Fleet>>,
    Extension(connection): Extension<Connection>,
    OfStranger(asked): OfStranger<JoinRequest>,
) -> Result<Json<Answer>, Error> {
    shown_to(&connection)?;
    fleet.identities.hear(connection.address.ip())?;
    let answer = fleet.identities.join(&asked, OffsetDateTime::now_utc()).await?;
    told(&fleet, &answer);
    Ok(Json(answer))
}

/// Makes another certificate for a device that was accepted, by a certificate request that its key has signed:
/// on a connection on which it shows the one that it has, or on one without where that has ended or is lost.
#[utoipa::path(post, path = "/api/v1/identity/renew",
    request_body(content = Object, content_type = "application/json"),
    responses((status = 200, body = Object), (status = 409, body = Problem),
        (status = 429, body = Problem)))]
pub(crate) async fn renew(
    State(fleet): State<Arc<Fleet>>,
    Extension(connection): Extension<Connection>,
    OfStranger(asked): OfStranger<RenewRequest>,
) -> Result<Json<Answer>, Error> {
    let peer = shown_to(&connection)?;
    fleet.identities.hear(connection.address.ip())?;
    let now = OffsetDateTime::now_utc();
    let answer = fleet.identities.renew(&asked.request, peer, now).await?;
    told(&fleet, &answer);
    Ok(Json(answer))
}

/// Why there is nothing of this where there is no TLS.
pub(crate) async fn closed(
    _: Caller,
    State(fleet): State<Arc<Fleet>>,
) -> Result<StatusCode, Error> {
    fleet.identities.issuing().map(|_| StatusCode::NO_CONTENT)
}

/// Who has shown a certificate on this connection, which is by TLS.
fn shown_to(connection: &Connection) -> Result<Option<&Peer>, Error> {
    match &connection.way {
        Way::Tls(peer) => Ok(peer.as_deref()),
        Way::Plain => Err(Error::Conflict(
            "devices join and renew over TLS alone: at the address below [tls] in the server's settings".into(),
        )),
    }
}

fn told(fleet: &Fleet, answer: &Answer) {
    if matches!(answer, Answer::Issued { .. }) {
        // There may be a device more.
        fleet.rollouts.is_stale.notify_one();
    }
}

/// Tokens with which devices join, by their hashes, page by page.
#[utoipa::path(get, path = "/api/v1/identity/tokens", params(Page),
    security(("person" = ["enrol"])), responses((status = 200, body = Vec<TokenKept>)))]
pub(crate) async fn tokens(
    _: Throughout<Enrol>,
    State(fleet): State<Arc<Fleet>>,
    Query(page): Query<Page>,
) -> Result<Json<Vec<TokenKept>>, Error> {
    let (after, limit) = page.bounds();
    Ok(Json(fleet.identities.tokens_after(after, limit).await?))
}

/// Makes a token with which one device joins. It is told this once.
#[utoipa::path(post, path = "/api/v1/identity/tokens", security(("person" = ["enrol"])),
    responses((status = 201, body = TokenMade), (status = 409, body = Problem)))]
pub(crate) async fn make_token(
    who: Throughout<Enrol>,
    State(fleet): State<Arc<Fleet>>,
    Json(new): Json<NewToken>,
) -> Result<(StatusCode, Json<TokenMade>), Error> {
    let made = fleet.identities.make_token(&who.by, &new, OffsetDateTime::now_utc()).await?;
    tracing::info!("a device may join with token {}", made.hash);
    Ok((StatusCode::CREATED, Json(made)))
}

/// Takes a token back: nobody joins with it any more.
#[utoipa::path(delete, path = "/api/v1/identity/tokens/{hash}", params(("hash" = String, Path)),
    security(("person" = ["enrol"])),
    responses((status = 204, description = "gone"), (status = 404, body = Problem)))]
pub(crate) async fn take_token_back(
    who: Throughout<Enrol>,
    State(fleet): State<Arc<Fleet>>,
    Path(hash): Path<String>,
) -> Result<StatusCode, Error> {
    fleet.identities.take_token_back(&who.by, &hash).await?;
    tracing::info!("token {hash} is taken back");
    Ok(StatusCode::NO_CONTENT)
}

/// Devices that need not wait for a person when they join with a token.
#[utoipa::path(get, path = "/api/v1/identity/preauthorised", security(("person" = ["enrol"])),
    responses((status = 200, body = Vec<Entry>)))]
pub(crate) async fn listed(
    _: Throughout<Enrol>,
    State(fleet): State<Arc<Fleet>>,
) -> Result<Json<Vec<Entry>>, Error> {
    Ok(Json(fleet.identities.listed().await?))
}

/// Lists these devices, in the place of those that were listed.
#[utoipa::path(put, path = "/api/v1/identity/preauthorised", security(("person" = ["enrol"])),
    responses((status = 204, description = "listed")))]
pub(crate) async fn list(
    who: Throughout<Enrol>,
    State(fleet): State<Arc<Fleet>>,
    Json(entries): Json<Vec<Entry>>,
) -> Result<StatusCode, Error> {
    let count = entries.len();
    fleet.identities.list(&who.by, entries).await?;
    tracing::info!("{count} devices need not wait when they join");
    Ok(StatusCode::NO_CONTENT)
}

/// Devices that have joined, or want to, by name, page by page.
#[utoipa::path(get, path = "/api/v1/identity/devices", params(Page),
    security(("person" = ["look"])), responses((status = 200, body = Vec<IdentityShown>)))]
pub(crate) async fn devices(
    _: Throughout<Look>,
    State(fleet): State<Arc<Fleet>>,
    Query(page): Query<Page>,
) -> Result<Json<Vec<IdentityShown>>, Error> {
    let (after, limit) = page.bounds();
    Ok(Json(fleet.identities.after(after, limit).await?.into_iter().map(shown).collect()))
}

/// How one device stands.
#[utoipa::path(get, path = "/api/v1/identity/devices/{device}", params(("device" = String, Path)),
    security(("person" = ["look"])),
    responses((status = 200, body = IdentityShown), (status = 404, body = Problem)))]
pub(crate) async fn show(
    _: Throughout<Look>,
    State(fleet): State<Arc<Fleet>>,
    Path(device): Path<String>,
) -> Result<Json<IdentityShown>, Error> {
    Ok(Json(shown(fleet.identities.get(&device).await?)))
}

/// Decides about a device of which a person has seen the key. Who is revoked is not let in any longer, by any
/// connection.
#[utoipa::path(post, path = "/api/v1/identity/devices/{device}", params(("device" = String, Path)),
    security(("person" = ["enrol"])),
    responses((status = 200, body = IdentityShown), (status = 404, body = Problem),
        (status = 409, body = Problem)))]
pub(crate) async fn judge(
    who: Throughout<Enrol>,
    State(fleet): State<Arc<Fleet>>,
    Path(device): Path<String>,
    Json(NewJudgement { judgement, key }): Json<NewJudgement>,
) -> Result<Json<IdentityShown>, Error> {
    let now = OffsetDateTime::now_utc();
    let device: DeviceId = fleet.identities.get(&device).await?.device;
    let (house, by, of, seen) = (fleet.clone(), who.by, device.clone(), key.clone());
    to_its_end(async move {
        if house.identities.judge(&by, &of, judgement, &seen, now).await? {
            house.sessions.end(&of).await;
        }
        Ok::<(), Error>(())
    })
    .await?;
    fleet.rollouts.is_stale.notify_one();
    tracing::info!("{device}: {judgement:?} by key {key}");
    Ok(Json(shown(fleet.identities.get(device.as_str()).await?)))
}

fn shown(known: Known) -> IdentityShown {
    let Known { device, identity, serial, changed_unix_ms } = known;
    let ends = |held: &Held| held.validity.not_after().unix_timestamp().saturating_mul(1_000);
    IdentityShown {
        device: device.to_string(),
        standing: word(&identity.standing),
        key: key_of(&identity.standing).map(|key| key.to_string()),
        serial: serial.map(|serial| serial.to_string()),
        certificate_ends_unix_ms: held_of(&identity.standing).map(ends),
        revoked_keys: identity.barred.iter().map(ToString::to_string).collect(),
        changed_unix_ms,
    }
}
