//! Blobs, by the OCI distribution specification 1.1: in one piece, in pieces, and by range.

use crate::access::Publisher;
use crate::api::Problem;
use crate::api::caller::Reader;
use crate::api::extract::{Path, Query};
use crate::api::manifests::DIGEST_HEADER;
use crate::api::problem::upload_range;
use crate::artifact::OpenBlob;
use crate::error::Error;
use crate::fleet::Fleet;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header::{
    ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, LOCATION, RANGE,
};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use futures::stream;
use lineside_bundle::{BundleName, Digest};
use lineside_wire::name::RoleName;
use serde::Deserialize;
use std::io::SeekFrom;
use std::sync::Arc;
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use utoipa::IntoParams;

/// Bytes that are read from disk at once.
const PIECE_BYTES: u64 = 64 << 10;

/// Which blob an upload shall become.
#[derive(Debug, Deserialize, IntoParams)]
pub(crate) struct Expected {
    /// `sha256:…`.
    digest: Option<String>,
}

/// A blob, or the part of it that `Range: bytes=FIRST-LAST` asks for.
#[utoipa::path(method(get, head), path = "/v2/{name}/blobs/{digest}",
    params(("name" = String, Path), ("digest" = String, Path)),
    security(("person" = ["look"]), ("device" = []), ("role" = [])),
    responses((status = 200, description = "all of it"), (status = 206, description = "a part"),
        (status = 403, body = Problem), (status = 404, body = Problem),
        (status = 416, body = Problem)))]
pub(crate) async fn get(
    reader: Reader,
    State(fleet): State<Arc<Fleet>>,
    Path((name, digest)): Path<(String, String)>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Error> {
    let digest = parse(&digest)?;
    reader.check(&fleet, &name, &digest).await?;
    let Some(OpenBlob { mut file, size }) = fleet.artifacts.blobs.get(&digest).await? else {
        return Err(Error::Missing(format!("there is no blob {digest}")));
    };
    if matches!(reader, Reader::House | Reader::Role(_)) && method == Method::HEAD {
        // Who asks for it so may count on it, and push a manifest that names it.
        fleet.artifacts.blobs.is_wanted(&digest).await;
    }
    let asked = headers.get(RANGE).and_then(|value| value.to_str().ok());
    let part = asked.map(|text| range(text, size)).transpose()?.flatten();
    let (first, length) = part.unwrap_or((0, size));
    let mut response = Response::builder()
        .status(if part.is_some() { StatusCode::PARTIAL_CONTENT } else { StatusCode::OK })
        .header(CONTENT_TYPE, "application/octet-stream")
        .header(CONTENT_LENGTH, length)
        .header(ACCEPT_RANGES, "bytes")
        .header(DIGEST_HEADER, digest.to_string());
    if part.is_some() {
        let last = first + length - 1;
        response = response.header(CONTENT_RANGE, format!("bytes {first}-{last}/{size}"));
    }
    let body = if method == Method::HEAD {
        Body::empty()
    } else {
        let seek = file.seek(SeekFrom::Start(first)).await;
        seek.map_err(Error::file(format!("read blob {digest}")))?;
        Body::from_stream(pieces(file, length))
    };
    response.body(body).map_err(|error| Error::Malformed(error.to_string()))
}

fn pieces(file: File, length: u64) -> impl futures::Stream<Item = std::io::Result<Bytes>> {
    stream::try_unfold((file, length), |(mut file, left)| async move {
        if left == 0 {
            return Ok(None);
        }
        let mut piece = vec![0; left.min(PIECE_BYTES) as usize];
        file.read_exact(&mut piece).await?;
        let left = left - piece.len() as u64;
        Ok(Some((Bytes::from(piece), (file, left))))
    })
}

/// First byte and length that one range of RFC 9110, 14.1.2, asks for. Several ranges, or what
/// cannot be read, count as none: then all of it is sent, as the RFC allows.
fn range(text: &str, size: u64) -> Result<Option<(u64, u64)>, Error> {
    let Some((first, last)) = text.strip_prefix("bytes=").and_then(|text| text.split_once('-'))
    else {
        return Ok(None);
    };
    let (first, last) = match (first.trim().parse::<u64>(), last.trim()) {
        (Ok(first), "") => (first, size.saturating_sub(1)),
        (Ok(first), last) => match last.parse::<u64>() {
            Ok(last) if last >= first => (first, last.min(size.saturating_sub(1))),
            _ => return Ok(None),
        },
        (Err(_), last) if first.trim().is_empty() => match last.parse::<u64>() {
            Ok(0) => return Err(Error::Range { size }),
            Ok(length) => (size.saturating_sub(length), size.saturating_sub(1)),
            Err(_) => return Ok(None),
        },
        _ => return Ok(None),
    };
    if first >= size {
        return Err(Error::Range { size });
    }
    Ok(Some((first, last - first + 1)))
}

/// What an upload may begin with.
#[derive(Debug, Deserialize, IntoParams)]
pub(crate) struct Beginning {
    /// `sha256:…` of the whole blob, which is the body.
    digest: Option<String>,
    /// `sha256:…` of a blob that may be here already.
    mount: Option<String>,
    /// The name under which it is said to be here. All names share their blobs, so any will do.
    #[serde(rename = "from")]
    _from: Option<String>,
}

/// Begins an upload; with `digest` takes the whole blob at once, with `mount` none at all if it is
/// here.
#[utoipa::path(post, path = "/v2/{name}/blobs/uploads/",
    params(("name" = String, Path), Beginning), security(("person" = ["release"]), ("role" = [])),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses((status = 201, description = "stored"), (status = 202, description = "begun"),
        (status = 422, body = Problem)))]
pub(crate) async fn begin(
    publisher: Publisher,
    State(fleet): State<Arc<Fleet>>,
    Path(name): Path<String>,
    Query(beginning): Query<Beginning>,
    body: Body,
) -> Result<Response, Error> {
    check_name(&fleet, &publisher, &name).await?;
    if let Some(digest) = beginning.mount {
        let digest = parse(&digest)?;
        // A digest that he has only heard of gives a vendor nothing: he is told to push it, here or not.
        let is_his = match &publisher {
            Publisher::House(_) => true,
            Publisher::Role(holder) => fleet.is_of(holder, &name, &digest).await?,
        };
        if is_his && fleet.artifacts.blobs.is_wanted(&digest).await {
            return Ok(stored(&name, &digest));
        }
    }
    match beginning.digest {
        Some(digest) => {
            let digest = parse(&digest)?;
            fleet.artifacts.blobs.put_by(&publisher, &digest, body).await?;
            Ok(stored(&name, &digest))
        }
        None => {
            let id = fleet.artifacts.blobs.begin(&publisher).await?;
            Ok(progressed(StatusCode::ACCEPTED, &name, &id, 0))
        }
    }
}

/// How far an upload has come: the header `Range` says it.
#[utoipa::path(get, path = "/v2/{name}/blobs/uploads/{upload}",
    params(("name" = String, Path), ("upload" = String, Path)), security(("person" = ["release"]), ("role" = [])),
    responses((status = 204, description = "as far as that"), (status = 404, body = Problem)))]
pub(crate) async fn progress(
    publisher: Publisher,
    State(fleet): State<Arc<Fleet>>,
    Path((name, upload)): Path<(String, String)>,
) -> Result<Response, Error> {
    check_name(&fleet, &publisher, &name).await?;
    let size = fleet.artifacts.blobs.append(&upload, &publisher, None, Body::empty()).await?;
    Ok(progressed(StatusCode::NO_CONTENT, &name, &upload, size))
}

/// Adds a piece to an upload; with `Content-Range: FIRST-LAST` only if the piece belongs there, so
/// that one that is sent twice is not added twice.
#[utoipa::path(patch, path = "/v2/{name}/blobs/uploads/{upload}",
    params(("name" = String, Path), ("upload" = String, Path)), security(("person" = ["release"]), ("role" = [])),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses((status = 202, description = "added"), (status = 404, body = Problem),
        (status = 416, body = Problem)))]
pub(crate) async fn append(
    publisher: Publisher,
    State(fleet): State<Arc<Fleet>>,
    Path((name, upload)): Path<(String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Error> {
    check_name(&fleet, &publisher, &name).await?;
    let size = fleet.artifacts.blobs.append(&upload, &publisher, first(&headers)?, body).await?;
    Ok(progressed(StatusCode::ACCEPTED, &name, &upload, size))
}

/// Refuses what names neither a bundle nor a role that signs files: it would stand in answers, and
/// nobody could ever ask for it. And what is not for who publishes.
async fn check_name(fleet: &Fleet, publisher: &Publisher, name: &str) -> Result<(), Error> {
    let is_bundle = name.parse::<BundleName>();
    if let (Err(problem), Err(_)) = (is_bundle, name.parse::<RoleName>()) {
        return Err(Error::Malformed(problem.to_string()));
    }
    match publisher {
        Publisher::House(_) => Ok(()),
        Publisher::Role(holder) => fleet.check_name(holder, name).await,
    }
}

/// Ends an upload, with a last piece if there is one.
#[utoipa::path(put, path = "/v2/{name}/blobs/uploads/{upload}",
    params(("name" = String, Path), ("upload" = String, Path), Expected),
    security(("person" = ["release"]), ("role" = [])),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses((status = 201, description = "stored"), (status = 404, body = Problem),
        (status = 416, body = Problem), (status = 422, body = Problem)))]
pub(crate) async fn finish(
    publisher: Publisher,
    State(fleet): State<Arc<Fleet>>,
    Path((name, upload)): Path<(String, String)>,
    Query(expected): Query<Expected>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Error> {
    check_name(&fleet, &publisher, &name).await?;
    let digest = expected.digest.ok_or_else(|| Error::Malformed("digest= is missing".into()))?;
    let digest = parse(&digest)?;
    fleet.artifacts.blobs.append(&upload, &publisher, first(&headers)?, body).await?;
    fleet.artifacts.blobs.finish(&upload, &publisher, &digest).await?;
    Ok(stored(&name, &digest))
}

/// Gives an upload up.
#[utoipa::path(delete, path = "/v2/{name}/blobs/uploads/{upload}",
    params(("name" = String, Path), ("upload" = String, Path)), security(("person" = ["release"]), ("role" = [])),
    responses((status = 204, description = "gone"), (status = 404, body = Problem)))]
pub(crate) async fn cancel(
    publisher: Publisher,
    State(fleet): State<Arc<Fleet>>,
    Path((_name, upload)): Path<(String, String)>,
) -> Result<StatusCode, Error> {
    fleet.artifacts.blobs.cancel(&upload, &publisher).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A digest as a path or a query has it.
pub(crate) fn parse(text: &str) -> Result<Digest, Error> {
    text.parse().map_err(|error| Error::Malformed(format!("digest: {error}")))
}

fn stored(name: &str, digest: &Digest) -> Response {
    let headers = [
        (LOCATION.as_str(), format!("/v2/{name}/blobs/{digest}")),
        (DIGEST_HEADER, digest.to_string()),
    ];
    (StatusCode::CREATED, headers).into_response()
}

/// Where a piece begins, if its sender says.
fn first(headers: &HeaderMap) -> Result<Option<u64>, Error> {
    let Some(value) = headers.get(CONTENT_RANGE) else { return Ok(None) };
    let (first, _) = value
        .to_str()
        .ok()
        .and_then(|text| text.split_once('-'))
        .and_then(|(first, last)| Some((first.parse::<u64>().ok()?, last.parse::<u64>().ok()?)))
        .filter(|(first, last)| first <= last)
        .ok_or_else(|| Error::Malformed("Content-Range: write FIRST-LAST, as in 0-1023".into()))?;
    Ok(Some(first))
}

fn progressed(status: StatusCode, name: &str, upload: &str, size: u64) -> Response {
    let headers = [
        (LOCATION.as_str(), format!("/v2/{name}/blobs/uploads/{upload}")),
        (RANGE.as_str(), upload_range(size)),
    ];
    (status, headers).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_read_as_the_standard_says() {
        for (text, expected) in [
            ("bytes=0-3", Some((0, 4))),
            ("bytes=4-", Some((4, 6))),
            ("bytes=-3", Some((7, 3))),
            ("bytes=8-99", Some((8, 2))),
            ("bytes=-99", Some((0, 10))),
            ("bytes=5-4", None),
            ("bytes=0-1,3-4", None),
            ("lines=1-2", None),
            ("bytes=x-y", None),
        ] {
            assert_eq!(range(text, 10).unwrap(), expected, "{text}");
        }
        for beyond in ["bytes=10-", "bytes=10-11", "bytes=-0"] {
            assert!(matches!(range(beyond, 10), Err(Error::Range { size: 10 })), "{beyond}");
        }
        assert!(matches!(range("bytes=0-", 0), Err(Error::Range { size: 0 })));
    }
}
