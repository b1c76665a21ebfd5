//! Alerts: what rules have seen, and who knows of it.

use crate::api::Problem;
use crate::api::caller::Administrator;
use crate::api::extract::{Json, Path, Query};
use crate::error::Error;
use crate::fleet::Fleet;
use crate::monitor::{AlertShown, Decision, Selection};
use crate::store::to_row;
use axum::extract::State;
use serde::Deserialize;
use std::sync::Arc;
use time::OffsetDateTime;
use utoipa::ToSchema;

/// Who decides.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Person {
    /// His name, which is written down; empty for the administrator.
    #[serde(default)]
    by: String,
}

/// Alerts, newest first.
#[utoipa::path(get, path = "/api/v1/alerts", params(Selection), security(("administrator" = [])),
    responses((status = 200, body = Vec<AlertShown>)))]
pub(crate) async fn list(
    _: Administrator,
    State(fleet): State<Arc<Fleet>>,
    Query(selection): Query<Selection>,
) -> Result<Json<Vec<AlertShown>>, Error> {
    Ok(Json(fleet.alerts.list(&selection).await?))
}

/// One alert, with what was measured in its time.
#[utoipa::path(get, path = "/api/v1/alerts/{id}", params(("id" = u64, Path)),
    security(("administrator" = [])),
    responses((status = 200, body = AlertShown), (status = 404, body = Problem)))]
pub(crate) async fn show(
    _: Administrator,
    State(fleet): State<Arc<Fleet>>,
    Path(id): Path<u64>,
) -> Result<Json<AlertShown>, Error> {
    Ok(Json(one(&fleet, id).await?))
}

async fn one(fleet: &Fleet, id: u64) -> Result<AlertShown, Error> {
    let alert = fleet.alerts.get(id).await?;
    let deliveries = fleet.outbox.of_alert(to_row(id)).await?;
    Ok(AlertShown { deliveries, ..alert })
}

/// Says that somebody knows of an alert. It is not shown among what is to be looked at any longer; the first
/// who has said so stays written down.
#[utoipa::path(post, path = "/api/v1/alerts/{id}/acknowledge", params(("id" = u64, Path)),
    security(("administrator" = [])),
    responses((status = 200, body = AlertShown), (status = 404, body = Problem)))]
pub(crate) async fn acknowledge(
    _: Administrator,
    State(fleet): State<Arc<Fleet>>,
    Path(id): Path<u64>,
    Json(person): Json<Person>,
) -> Result<Json<AlertShown>, Error> {
    fleet.alerts.acknowledge(id, &person.by, OffsetDateTime::now_utc()).await?;
    Ok(Json(one(&fleet, id).await?))
}

/// Approves what a rule has proposed: it is assigned, as if the one who approves had done so.
#[utoipa::path(post, path = "/api/v1/alerts/{id}/approve", params(("id" = u64, Path)),
    security(("administrator" = [])),
    responses((status = 200, body = AlertShown), (status = 404, body = Problem),
        (status = 409, body = Problem)))]
pub(crate) async fn approve(
    _: Administrator,
    State(fleet): State<Arc<Fleet>>,
    Path(id): Path<u64>,
    Json(person): Json<Person>,
) -> Result<Json<AlertShown>, Error> {
    fleet.decide(id, Decision::Approve, &person.by, OffsetDateTime::now_utc()).await?;
    Ok(Json(one(&fleet, id).await?))
}

/// Declines what a rule has proposed.
#[utoipa::path(post, path = "/api/v1/alerts/{id}/decline", params(("id" = u64, Path)),
    security(("administrator" = [])),
    responses((status = 200, body = AlertShown), (status = 404, body = Problem),
        (status = 409, body = Problem)))]
pub(crate) async fn decline(
    _: Administrator,
    State(fleet): State<Arc<Fleet>>,
    Path(id): Path<u64>,
    Json(person): Json<Person>,
) -> Result<Json<AlertShown>, Error> {
    fleet.decide(id, Decision::Decline, &person.by, OffsetDateTime::now_utc()).await?;
    Ok(Json(one(&fleet, id).await?))
}
