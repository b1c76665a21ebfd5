//! People and programs: who there is, and what they may do.

use crate::access::{DAYS, Grant, PersonShown, ServiceShown};
use crate::api::Problem;
use crate::api::extract::{Json, Path};
use crate::api::may::{Administer, Throughout};
use crate::error::Error;
use crate::fleet::Fleet;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use time::OffsetDateTime;
use utoipa::ToSchema;

/// Somebody to be added.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewPerson {
    /// The name: 1 to 63 of a-z, 0-9, '.', '-' and '_'.
    name: String,
    /// What he may do, and where; nothing until he is granted something.
    #[serde(default)]
    grants: Vec<Grant>,
}

/// What somebody may do.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewGrants {
    /// All of it: what was granted before and does not stand here is gone.
    grants: Vec<Grant>,
}

/// Whether the authenticator app is lost as well.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Lost {
    /// If so, none is asked for until another is set up.
    #[serde(default)]
    authenticator: bool,
}

/// A password that was made. It is told this once, and is good for entering once.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PasswordMade {
    /// Whose.
    name: String,
    /// The password.
    password: String,
}

/// The token of a program to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewService {
    /// What it may do, and where. A program approves and administers nothing, whatever is granted.
    grants: Vec<Grant>,
    /// Days for which it is good: 90 unless told, 730 at most.
    #[serde(default)]
    days: Option<u16>,
}

/// The token of a program that was made. It is told this once.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ServiceMade {
    /// The program.
    name: String,
    /// `Authorization: Bearer` with this.
    token: String,
}

/// All people, by name.
#[utoipa::path(get, path = "/api/v1/people", security(("person" = ["administer"])),
    responses((status = 200, body = Vec<PersonShown>)))]
pub(crate) async fn list(
    _: Throughout<Administer>,
    State(fleet): State<Arc<Fleet>>,
) -> Result<Json<Vec<PersonShown>>, Error> {
    Ok(Json(fleet.people.all().await?))
}

/// Adds somebody. The password with which he enters the first time is told this once.
#[utoipa::path(post, path = "/api/v1/people", security(("person" = ["administer"])),
    responses((status = 201, body = PasswordMade), (status = 409, body = Problem)))]
pub(crate) async fn add(
    who: Throughout<Administer>,
    State(fleet): State<Arc<Fleet>>,
    Json(NewPerson { name, grants }): Json<NewPerson>,
) -> Result<(StatusCode, Json<PasswordMade>), Error> {
    let password = fleet.people.add(&who.by, &name, grants, OffsetDateTime::now_utc()).await?;
    tracing::info!("{name} is one of the people here");
    Ok((StatusCode::CREATED, Json(PasswordMade { name, password })))
}

/// One of the people.
#[utoipa::path(get, path = "/api/v1/people/{person}", params(("person" = String, Path)),
    security(("person" = ["administer"])),
    responses((status = 200, body = PersonShown), (status = 404, body = Problem)))]
pub(crate) async fn show(
    _: Throughout<Administer>,
    State(fleet): State<Arc<Fleet>>,
    Path(person): Path<String>,
) -> Result<Json<PersonShown>, Error> {
    Ok(Json(fleet.people.get(&person).await?))
}

/// Grants somebody this, in the place of what he was granted before.
#[utoipa::path(put, path = "/api/v1/people/{person}", params(("person" = String, Path)),
    security(("person" = ["administer"])),
    responses((status = 200, body = PersonShown), (status = 404, body = Problem)))]
pub(crate) async fn grant(
    who: Throughout<Administer>,
    State(fleet): State<Arc<Fleet>>,
    Path(person): Path<String>,
    Json(NewGrants { grants }): Json<NewGrants>,
) -> Result<Json<PersonShown>, Error> {
    fleet.people.grant(&who.by, &person, grants).await?;
    tracing::info!("{person} is granted other rights");
    Ok(Json(fleet.people.get(&person).await?))
}

/// Forgets somebody. Whoever is in by his name is out.
#[utoipa::path(delete, path = "/api/v1/people/{person}", params(("person" = String, Path)),
    security(("person" = ["administer"])),
    responses((status = 204, description = "gone"), (status = 404, body = Problem)))]
pub(crate) async fn remove(
    who: Throughout<Administer>,
    State(fleet): State<Arc<Fleet>>,
    Path(person): Path<String>,
) -> Result<StatusCode, Error> {
    fleet.people.remove(&who.by, &person).await?;
    tracing::info!("{person} is none of the people here any more");
    Ok(StatusCode::NO_CONTENT)
}

/// Makes a new password for somebody who has lost his. Whoever is in by his name is out.
#[utoipa::path(post, path = "/api/v1/people/{person}/password", params(("person" = String, Path)),
    security(("person" = ["administer"])),
    responses((status = 200, body = PasswordMade), (status = 404, body = Problem)))]
pub(crate) async fn new_password(
    who: Throughout<Administer>,
    State(fleet): State<Arc<Fleet>>,
    Path(person): Path<String>,
    Json(Lost { authenticator }): Json<Lost>,
) -> Result<Json<PasswordMade>, Error> {
    let password = fleet.people.new_password(&who.by, &person, authenticator).await?;
    tracing::info!("{person} has a new password");
    Ok(Json(PasswordMade { name: person, password }))
}

/// Programs that have a token, by name.
#[utoipa::path(get, path = "/api/v1/programs", security(("person" = ["administer"])),
    responses((status = 200, body = Vec<ServiceShown>)))]
pub(crate) async fn services(
    _: Throughout<Administer>,
    State(fleet): State<Arc<Fleet>>,
) -> Result<Json<Vec<ServiceShown>>, Error> {
    Ok(Json(fleet.people.services().await?))
}

/// Makes the token of a program, in the place of the one that it had. It is told this once.
#[utoipa::path(post, path = "/api/v1/programs/{program}", params(("program" = String, Path)),
    security(("person" = ["administer"])),
    responses((status = 201, body = ServiceMade), (status = 409, body = Problem)))]
pub(crate) async fn make_service(
    who: Throughout<Administer>,
    State(fleet): State<Arc<Fleet>>,
    Path(name): Path<String>,
    Json(NewService { grants, days }): Json<NewService>,
) -> Result<(StatusCode, Json<ServiceMade>), Error> {
    let (days, now) = (days.unwrap_or(DAYS), OffsetDateTime::now_utc());
    let token = fleet.people.make_service(&who.by, &name, grants, days, now).await?;
    tracing::info!("the program {name} has a new token");
    Ok((StatusCode::CREATED, Json(ServiceMade { name, token })))
}

/// Takes the token of a program back.
#[utoipa::path(delete, path = "/api/v1/programs/{program}", params(("program" = String, Path)),
    security(("person" = ["administer"])),
    responses((status = 204, description = "gone"), (status = 404, body = Problem)))]
pub(crate) async fn remove_service(
    who: Throughout<Administer>,
    State(fleet): State<Arc<Fleet>>,
    Path(name): Path<String>,
) -> Result<StatusCode, Error> {
    fleet.people.remove_service(&who.by, &name).await?;
    tracing::info!("the token of the program {name} is taken back");
    Ok(StatusCode::NO_CONTENT)
}
