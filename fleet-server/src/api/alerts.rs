//! Alerts: what rules have seen, and who knows of it.

use crate::api::Problem;
use crate::api::extract::{Json, Path, Query};
use crate::api::may::{Approve, IsRight, Look, May, Operate, name};
use crate::error::Error;
use crate::fleet::Fleet;
use crate::monitor::{AlertShown, Decision, Selection, no_alert};
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
    /// Who has the administrator's token says here who he is, which is written down; people who have logged in are
    /// known.
    #[serde(default)]
    by: String,
}

/// Alerts, newest first.
#[utoipa::path(get, path = "/api/v1/alerts", params(Selection), security(("person" = ["look"])),
    responses((status = 200, body = Vec<AlertShown>)))]
pub(crate) async fn list(
    who: May<Look>,
    State(fleet): State<Arc<Fleet>>,
    Query(selection): Query<Selection>,
) -> Result<Json<Vec<AlertShown>>, Error> {
    let limit = usize::try_from(selection.limit()).unwrap_or(usize::MAX);
    let (mut alerts, mut selection) = (Vec::new(), selection);
    let mut is_last = false;
    while alerts.len() < limit && !is_last {
        let page = fleet.alerts.list(&selection).await?;
        is_last = page.len() < limit;
        selection.before = page.last().map(|last| last.id);
        for alert in page {
            if alerts.len() < limit && concerns(&who, &fleet, &alert).await? {
                alerts.push(alert);
            }
        }
    }
    Ok(Json(alerts))
}

/// Whether somebody has to do with what an alert is about.
async fn concerns<R: IsRight>(
    who: &May<R>,
    fleet: &Fleet,
    alert: &AlertShown,
) -> Result<bool, Error> {
    if who.is_everywhere() {
        return Ok(true);
    }
    match (&*alert.scope, &alert.device, &alert.site) {
        (_, Some(device), _) => match who.device(fleet, device).await {
            Ok(_) => Ok(true),
            Err(Error::Missing(_)) => Ok(false),
            Err(error) => Err(error),
        },
        ("site", None, Some(site)) => Ok(who.covers_site(site)),
        _ => Ok(false),
    }
}

/// One alert, with what was measured in its time.
#[utoipa::path(get, path = "/api/v1/alerts/{id}", params(("id" = u64, Path)),
    security(("person" = ["look"])),
    responses((status = 200, body = AlertShown), (status = 404, body = Problem)))]
pub(crate) async fn show(
    who: May<Look>,
    State(fleet): State<Arc<Fleet>>,
    Path(id): Path<u64>,
) -> Result<Json<AlertShown>, Error> {
    Ok(Json(one(&who, &fleet, id).await?))
}

/// An alert, if somebody has to do with it. Of others he is told that there are none.
async fn one<R: IsRight>(who: &May<R>, fleet: &Fleet, id: u64) -> Result<AlertShown, Error> {
    let alert = fleet.alerts.get(id).await?;
    if !concerns(who, fleet, &alert).await? {
        return Err(no_alert(id));
    }
    let deliveries = fleet.outbox.of_alert(to_row(id)).await?;
    Ok(AlertShown { deliveries, ..alert })
}

/// Says that somebody knows of an alert. It is not shown among what is to be looked at any longer; the first
/// who has said so stays written down.
#[utoipa::path(post, path = "/api/v1/alerts/{id}/acknowledge", params(("id" = u64, Path)),
    security(("person" = ["operate"])),
    responses((status = 200, body = AlertShown), (status = 404, body = Problem)))]
pub(crate) async fn acknowledge(
    who: May<Operate>,
    State(fleet): State<Arc<Fleet>>,
    Path(id): Path<u64>,
    Json(person): Json<Person>,
) -> Result<Json<AlertShown>, Error> {
    one(&who, &fleet, id).await?;
    let by = name(&who.by, &fleet, &person.by).await?;
    fleet.alerts.acknowledge(id, &by, OffsetDateTime::now_utc()).await?;
    Ok(Json(one(&who, &fleet, id).await?))
}

/// Approves what a rule has proposed: it is assigned, as if the one who approves had done so.
#[utoipa::path(post, path = "/api/v1/alerts/{id}/approve", params(("id" = u64, Path)),
    security(("person" = ["approve"])),
    responses((status = 200, body = AlertShown), (status = 404, body = Problem),
        (status = 409, body = Problem)))]
pub(crate) async fn approve(
    who: May<Approve>,
    State(fleet): State<Arc<Fleet>>,
    Path(id): Path<u64>,
    Json(person): Json<Person>,
) -> Result<Json<AlertShown>, Error> {
    one(&who, &fleet, id).await?;
    let by = name(&who.by, &fleet, &person.by).await?;
    fleet.decide(id, Decision::Approve, &by, OffsetDateTime::now_utc()).await?;
    Ok(Json(one(&who, &fleet, id).await?))
}

/// Declines what a rule has proposed.
#[utoipa::path(post, path = "/api/v1/alerts/{id}/decline", params(("id" = u64, Path)),
    security(("person" = ["approve"])),
    responses((status = 200, body = AlertShown), (status = 404, body = Problem),
        (status = 409, body = Problem)))]
pub(crate) async fn decline(
    who: May<Approve>,
    State(fleet): State<Arc<Fleet>>,
    Path(id): Path<u64>,
    Json(person): Json<Person>,
) -> Result<Json<AlertShown>, Error> {
    one(&who, &fleet, id).await?;
    let by = name(&who.by, &fleet, &person.by).await?;
    fleet.decide(id, Decision::Decline, &by, OffsetDateTime::now_utc()).await?;
    Ok(Json(one(&who, &fleet, id).await?))
}
