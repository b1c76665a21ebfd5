//! The fleet as a whole: drift and sums by scope, over any time.

use crate::api::Problem;
use crate::api::extract::{Json, Query};
use crate::api::may::{Look, May};
use crate::error::Error;
use crate::fleet::Fleet;
use crate::monitor::{AskedScope, DriftShown, Scope, SummariesShown};
use axum::extract::State;
use std::sync::Arc;

/// How far what a slot reads and answers is from the training data of each release that answered, from sketches
/// of all devices that are asked about, merged; with `step` as a series as well.
#[utoipa::path(get, path = "/api/v1/drift", params(AskedScope), security(("person" = ["look"])),
    responses((status = 200, body = DriftShown), (status = 404, body = Problem),
        (status = 413, body = Problem)))]
pub(crate) async fn drift(
    who: May<Look>,
    State(fleet): State<Arc<Fleet>>,
    Query(selection): Query<AskedScope>,
) -> Result<Json<DriftShown>, Error> {
    let question = selection.question()?;
    check(&who, &fleet, &question.scope).await?;
    Ok(Json(fleet.overview.drift(&question).await?))
}

/// What a slot did, by release: counts, errors, time a frame took, what it cost.
#[utoipa::path(get, path = "/api/v1/summary", params(AskedScope), security(("person" = ["look"])),
    responses((status = 200, body = SummariesShown), (status = 404, body = Problem),
        (status = 413, body = Problem)))]
pub(crate) async fn summary(
    who: May<Look>,
    State(fleet): State<Arc<Fleet>>,
    Query(selection): Query<AskedScope>,
) -> Result<Json<SummariesShown>, Error> {
    let question = selection.question()?;
    check(&who, &fleet, &question.scope).await?;
    Ok(Json(fleet.overview.summary(&question).await?))
}

/// Refuses who asks for more than he has to do with.
async fn check(who: &May<Look>, fleet: &Fleet, scope: &Scope) -> Result<(), Error> {
    match scope {
        Scope::Device(device) => who.device(fleet, device).await.map(drop),
        Scope::Site(site) if who.covers_site(site) => Ok(()),
        // A label may be found anywhere.
        Scope::Fleet | Scope::Site(_) | Scope::Label(..) => who.everywhere(),
    }
}
