//! Manifests, by the OCI distribution specification 1.1.

use crate::access::Publisher;
use crate::api::Problem;
use crate::api::blobs::parse;
use crate::api::caller::Reader;
use crate::api::extract::{Bytes, Json, Path, Query};
use crate::api::may::{Look, Release, Throughout};
use crate::bounds::{DELTA_ASK_AGAIN_SECONDS, TAGS_MAX};
use crate::error::Error;
use crate::fleet::Fleet;
use axum::body::Body;
use axum::extract::State;
use axum::http::header::{CONTENT_TYPE, LINK, LOCATION};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use lineside_bundle::referrer::{DELTA_TYPE, INDEX_TYPE};
use lineside_bundle::{BundleName, Digest, MANIFEST_TYPE};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use utoipa::{IntoParams, ToSchema};

/// The header in which the specification wants a digest.
pub(crate) const DIGEST_HEADER: &str = "docker-content-digest";
/// The header in which the specification wants what a pushed manifest refers to.
const SUBJECT_HEADER: &str = "oci-subject";

/// Whether this is an OCI registry, and the caller may read it.
#[utoipa::path(get, path = "/v2/", security(("person" = ["look"]), ("device" = []), ("role" = [])),
    responses((status = 200, description = "it is")))]
pub(crate) async fn version(_: Reader) -> impl IntoResponse {
    ([("docker-distribution-api-version", "registry/2.0")], Json(serde_json::json!({})))
}

/// A manifest by tag (the bundle's version) or digest.
#[utoipa::path(method(get, head), path = "/v2/{name}/manifests/{reference}",
    params(("name" = String, Path), ("reference" = String, Path)),
    security(("person" = ["look"]), ("device" = []), ("role" = [])),
    responses((status = 200, description = "OCI image manifest"), (status = 403, body = Problem),
        (status = 404, body = Problem)))]
pub(crate) async fn get(
    reader: Reader,
    State(fleet): State<Arc<Fleet>>,
    Path((name, reference)): Path<(String, String)>,
) -> Result<impl IntoResponse, Error> {
    let stored = fleet.artifacts.get(&name, &reference).await;
    let stored = stored.map_err(|error| reader.told(error))?;
    reader.check(&fleet, &name, &stored.digest).await?;
    let headers =
        [(CONTENT_TYPE.as_str(), stored.media_type), (DIGEST_HEADER, stored.digest.to_string())];
    Ok((headers, stored.bytes))
}

/// Takes a manifest whose blobs are here. The version of a release as a tag means what was signed.
#[utoipa::path(put, path = "/v2/{name}/manifests/{reference}",
    params(("name" = String, Path), ("reference" = String, Path)),
    security(("person" = ["release"]), ("role" = [])),
    request_body(content = Object, content_type = "application/vnd.oci.image.manifest.v1+json"),
    responses((status = 201, description = "stored"), (status = 409, body = Problem),
        (status = 422, body = Problem)))]
pub(crate) async fn put(
    publisher: Publisher,
    State(fleet): State<Arc<Fleet>>,
    Path((name, reference)): Path<(String, String)>,
    headers: HeaderMap,
    Bytes(bytes): Bytes,
) -> Result<Response, Error> {
    let name: BundleName = name.parse().map_err(|error| Error::Malformed(format!("{error}")))?;
    fleet.check_push(&publisher, &name, &reference, &bytes).await?;
    let media_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    if media_type.is_some_and(|media_type| media_type != MANIFEST_TYPE) {
        return Err(Error::Malformed(format!("Content-Type: a manifest is {MANIFEST_TYPE}")));
    }
    // Where keys have been replaced and nothing was signed anew, nothing is released.
    let released = fleet.documents.released_when_accepted().await.ok().flatten();
    let mut releases = released.iter().flat_map(|released| released.iter());
    let release = releases.find(|one| one.id.name == name && one.id.version.as_str() == reference);
    let signed = release.map(|release| release.id.digest);
    let accepted = fleet.artifacts.put(&publisher, &name, &reference, signed, bytes).await?;
    let digest = accepted.digest;
    let mut response = Response::builder()
        .status(StatusCode::CREATED)
        .header(LOCATION, format!("/v2/{name}/manifests/{digest}"))
        .header(DIGEST_HEADER, digest.to_string());
    if let Some(subject) = accepted.subject {
        // By it a client knows that this registry lists referrers by itself.
        response = response.header(SUBJECT_HEADER, subject.to_string());
    }
    response.body(Body::empty()).map_err(|error| Error::Malformed(error.to_string()))
}

/// Which of the referrers are wanted.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Wanted {
    /// Only those of this type.
    artifact_type: Option<String>,
}

/// What refers to a manifest, such as deltas to it: an OCI image index, empty where nothing does.
#[utoipa::path(get, path = "/v2/{name}/referrers/{digest}",
    params(("name" = String, Path), ("digest" = String, Path), Wanted),
    security(("person" = ["look"]), ("device" = []), ("role" = [])),
    responses((status = 200, description = "OCI image index"), (status = 403, body = Problem),
        (status = 503, body = Problem, description = "deltas are being made")))]
pub(crate) async fn referrers(
    reader: Reader,
    State(fleet): State<Arc<Fleet>>,
    Path((name, digest)): Path<(String, String)>,
    Query(wanted): Query<Wanted>,
) -> Result<Response, Error> {
    let digest = parse(&digest)?;
    match &reader {
        // What refers to a manifest may have come before it.
        Reader::Role(holder) => fleet.check_bundle(holder, &name).await?,
        _ => reader.check(&fleet, &name, &digest).await?,
    }
    let kind = wanted.artifact_type.as_deref();
    if matches!(reader, Reader::Device(_))
        && kind == Some(DELTA_TYPE)
        && !fleet.artifacts.deltas.are_made(&digest).await
    {
        let (what, seconds) = ("deltas", DELTA_ASK_AGAIN_SECONDS);
        return Err(Error::NotYet { what, seconds });
    }
    let mut referrers = fleet.artifacts.referrers(&name, &digest, kind).await?;
    reader.keep_open(&fleet, &name, &mut referrers.manifests).await?;
    let mut response = Response::builder().header(CONTENT_TYPE, INDEX_TYPE);
    if kind.is_some() {
        response = response.header("oci-filters-applied", "artifactType");
    }
    let index = serde_json::to_vec(&referrers).expect("texts and numbers have a JSON form");
    response.body(Body::from(index)).map_err(|error| Error::Malformed(error.to_string()))
}

/// Which tags are wanted.
#[derive(Debug, Deserialize, IntoParams)]
pub(crate) struct TagsWanted {
    /// At most so many.
    n: Option<u64>,
    /// Those after this one.
    last: Option<String>,
}

/// Tags of a bundle.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Tags {
    name: String,
    tags: Vec<String>,
}

/// The tags of a bundle, which are its versions, in the order of their letters; where there are more,
/// the header `Link` says where.
#[utoipa::path(get, path = "/v2/{name}/tags/list",
    params(("name" = String, Path), TagsWanted), security(("person" = ["look"])),
    responses((status = 200, body = Tags), (status = 404, body = Problem)))]
pub(crate) async fn tags(
    _: Throughout<Look>,
    State(fleet): State<Arc<Fleet>>,
    Path(name): Path<String>,
    Query(wanted): Query<TagsWanted>,
) -> Result<Response, Error> {
    let count = wanted.n.unwrap_or(TAGS_MAX).min(TAGS_MAX);
    // One more, to see whether there is one.
    let mut tags = fleet.artifacts.tags(&name, count + 1, wanted.last.as_deref()).await?;
    let more = tags.len() as u64 > count;
    tags.truncate(usize::try_from(count).unwrap_or(usize::MAX));
    let link = tags
        .last()
        .filter(|_| more)
        .map(|last| format!("</v2/{name}/tags/list?n={count}&last={last}>; rel=\"next\""));
    let mut response = Json(Tags { name, tags }).into_response();
    let link = link.and_then(|link| HeaderValue::from_str(&link).ok());
    response.headers_mut().extend(link.map(|link| (LINK, link)));
    Ok(response)
}

/// Takes away a tag, or a manifest by its digest; not one that is released.
#[utoipa::path(delete, path = "/v2/{name}/manifests/{reference}",
    params(("name" = String, Path), ("reference" = String, Path)),
    security(("person" = ["release"])),
    responses((status = 202, description = "gone"), (status = 404, body = Problem),
        (status = 409, body = Problem)))]
pub(crate) async fn remove(
    who: Throughout<Release>,
    State(fleet): State<Arc<Fleet>>,
    Path((name, reference)): Path<(String, String)>,
) -> Result<StatusCode, Error> {
    if let Ok(digest) = reference.parse::<Digest>()
        && let Some(released) = fleet.documents.released_when_accepted().await?
        && let Some(release) = released.iter().find(|one| one.id.digest == digest)
    {
        let path = release.path();
        let problem = format!(
            "{path} is released: withdraw it first, with `lineside release withdraw {path}`"
        );
        return Err(Error::Conflict(problem));
    }
    fleet.artifacts.remove(&who.by, &name, &reference).await?;
    Ok(StatusCode::ACCEPTED)
}
