//! Rollouts: planning, looking ahead, beginning, and what becomes of them.

use crate::api::Problem;
use crate::api::extract::{Json, Path, Query};
use crate::api::may::{Approve, Caller, Look, Operate, Throughout, name};
use crate::audit::By;
use crate::error::Error;
use crate::fleet::Fleet;
use crate::rollout::{MemberShown, NewRollout, RolloutShown};
use axum::extract::State;
use axum::http::StatusCode;
use lineside_rollout::{Preflight, RolloutId, Wish};
use serde::Deserialize;
use std::sync::Arc;
use time::OffsetDateTime;
use utoipa::{IntoParams, ToSchema};

/// Devices of a page unless told.
const MEMBERS: usize = 200;
/// Devices of a page at most.
const MEMBERS_MAX: usize = 1_000;

/// What somebody wants of a rollout.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wanted {
    /// What.
    wish: Wish,
    /// Who has the administrator's token says here who he is, which is written down; people who have logged in are
    /// known.
    #[serde(default)]
    by: String,
}

/// Which devices of a rollout.
#[derive(Debug, Deserialize, IntoParams)]
pub(crate) struct Members {
    /// Those that come after this one: the last of the page before.
    after: Option<String>,
    /// Those in this state.
    state: Option<String>,
    /// At most so many; 200 unless told, 1000 at most. A page with fewer is the last.
    limit: Option<usize>,
}

/// All rollouts that are kept, the newest first.
#[utoipa::path(get, path = "/api/v1/rollouts", security(("person" = ["look"])),
    responses((status = 200, body = Vec<RolloutShown>)))]
pub(crate) async fn list(
    _: Throughout<Look>,
    State(fleet): State<Arc<Fleet>>,
) -> Result<Json<Vec<RolloutShown>>, Error> {
    Ok(Json(fleet.rollouts_shown(OffsetDateTime::now_utc()).await?))
}

/// Plans a rollout: it is a draft, and does nothing until somebody has it begin.
#[utoipa::path(post, path = "/api/v1/rollouts", security(("person" = ["operate"])),
    responses((status = 201, body = RolloutShown), (status = 404, body = Problem),
        (status = 409, body = Problem), (status = 422, body = Problem)))]
pub(crate) async fn plan(
    who: Throughout<Operate>,
    State(fleet): State<Arc<Fleet>>,
    Json(new): Json<NewRollout>,
) -> Result<(StatusCode, Json<RolloutShown>), Error> {
    let now = OffsetDateTime::now_utc();
    let new = NewRollout { by: name(&who.by, &fleet, &new.by).await?, ..new };
    let id = fleet.plan_rollout(new, now).await?;
    Ok((StatusCode::CREATED, Json(fleet.rollout_shown(id, now).await?)))
}

/// What a rollout would do if it began now, device by device and wave by wave. Nothing is made.
#[utoipa::path(post, path = "/api/v1/rollouts/preflight", security(("person" = ["operate"])),
    responses((status = 200, body = Preflight), (status = 404, body = Problem),
        (status = 422, body = Problem)))]
pub(crate) async fn preflight(
    _: Throughout<Operate>,
    State(fleet): State<Arc<Fleet>>,
    Json(new): Json<NewRollout>,
) -> Result<Json<Preflight>, Error> {
    Ok(Json(fleet.preflight(new, OffsetDateTime::now_utc()).await?))
}

/// One rollout, with what people were told of it.
#[utoipa::path(get, path = "/api/v1/rollouts/{rollout}", params(("rollout" = u32, Path)),
    security(("person" = ["look"])),
    responses((status = 200, body = RolloutShown), (status = 404, body = Problem)))]
pub(crate) async fn show(
    _: Throughout<Look>,
    State(fleet): State<Arc<Fleet>>,
    Path(id): Path<RolloutId>,
) -> Result<Json<RolloutShown>, Error> {
    Ok(Json(fleet.rollout_shown(id, OffsetDateTime::now_utc()).await?))
}

/// The devices of a rollout, page by page, in the order in which the fleet got to know them.
#[utoipa::path(get, path = "/api/v1/rollouts/{rollout}/devices", params(("rollout" = u32, Path), Members),
    security(("person" = ["look"])),
    responses((status = 200, body = Vec<MemberShown>), (status = 404, body = Problem)))]
pub(crate) async fn members(
    _: Throughout<Look>,
    State(fleet): State<Arc<Fleet>>,
    Path(id): Path<RolloutId>,
    Query(Members { after, state, limit }): Query<Members>,
) -> Result<Json<Vec<MemberShown>>, Error> {
    let limit = limit.unwrap_or(MEMBERS).min(MEMBERS_MAX);
    Ok(Json(fleet.members_shown(id, after.as_deref(), state.as_deref(), limit).await?))
}

/// Does with a rollout what somebody wants: approve, begin, pause, resume, proceed, retry, exclude, roll back,
/// abort, close.
#[utoipa::path(post, path = "/api/v1/rollouts/{rollout}/wishes", params(("rollout" = u32, Path)),
    security(("person" = ["operate"])),
    responses((status = 200, body = RolloutShown), (status = 404, body = Problem),
        (status = 409, body = Problem)))]
pub(crate) async fn wish(
    who: Caller,
    State(fleet): State<Arc<Fleet>>,
    Path(id): Path<RolloutId>,
    Json(Wanted { wish, by }): Json<Wanted>,
) -> Result<Json<RolloutShown>, Error> {
    match wish {
        Wish::Approve => {
            who.check::<Approve>(OffsetDateTime::now_utc())?;
            who.everywhere::<Approve>()?;
            if matches!(who.by, By::Administrator(_)) && fleet.people.are_known().await? {
                return Err(Error::Forbidden(
                    "people have names of their own here: one of them logs in, and approves it"
                        .into(),
                ));
            }
        }
        _ => {
            who.check::<Operate>(OffsetDateTime::now_utc())?;
            who.everywhere::<Operate>()?;
        }
    }
    let by = who.name(&fleet, &by).await?;
    fleet.wish(id, &by, wish).await?;
    Ok(Json(fleet.rollout_shown(id, OffsetDateTime::now_utc()).await?))
}

/// Forgets a rollout that is over.
#[utoipa::path(delete, path = "/api/v1/rollouts/{rollout}", params(("rollout" = u32, Path)),
    security(("person" = ["operate"])),
    responses((status = 204, description = "gone"), (status = 404, body = Problem),
        (status = 409, body = Problem)))]
pub(crate) async fn forget(
    who: Throughout<Operate>,
    State(fleet): State<Arc<Fleet>>,
    Path(id): Path<RolloutId>,
) -> Result<StatusCode, Error> {
    let by = name(&who.by, &fleet, "").await?;
    fleet.wish(id, &by, Wish::Forget).await?;
    Ok(StatusCode::NO_CONTENT)
}
