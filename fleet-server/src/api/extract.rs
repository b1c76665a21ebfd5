//! What a request brings. Axum's extractors refuse in plain text; these refuse as all else here does.

use crate::bounds::HTTP_STRANGER_MAX;
use crate::error::Error;
use crate::http::{Pace, Progress};
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use futures::StreamExt;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

/// The largest body of a route, in bytes: an extension of its requests.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BodyBytesMax(pub usize);

/// Parts of the path.
pub(crate) struct Path<T>(pub T);

/// What follows the question mark.
pub(crate) struct Query<T>(pub T);

/// The whole body, within the bound of its route.
pub(crate) struct Bytes(pub Vec<u8>);

/// A body in JSON, as question and as answer.
pub(crate) struct Json<T>(pub T);

/// A body in JSON of somebody of whom nothing is known yet: he has it at hand, and keeps his place from others.
pub(crate) struct OfStranger<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Path<T> {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Error> {
        let axum::extract::Path(path) = axum::extract::Path::from_request_parts(parts, state)
            .await
            .map_err(|rejection: PathRejection| Error::Malformed(rejection.body_text()))?;
        Ok(Path(path))
    }
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Error> {
        let axum::extract::Query(query) = axum::extract::Query::from_request_parts(parts, state)
            .await
            .map_err(|rejection: QueryRejection| Error::Malformed(rejection.body_text()))?;
        Ok(Query(query))
    }
}

impl<S: Send + Sync> FromRequest<S> for Bytes {
    type Rejection = Error;

    async fn from_request(request: Request, _: &S) -> Result<Self, Error> {
        let bytes_max = request
            .extensions()
            .get::<BodyBytesMax>()
            .expect("each route that takes a body has its bound")
            .0;
        let mut pieces = request.into_body().into_data_stream();
        let mut bytes = Vec::new();
        let mut progress = Progress::new(Pace::of_connections());
        while let Some(piece) = pieces.next().await {
            let piece = piece
                .map_err(|error| Error::Malformed(format!("the body was cut off: {error}")))?;
            if !progress.keeps_up(piece.len()) {
                return Err(Error::too_slow());
            }
            if piece.len() > bytes_max - bytes.len() {
                let problem =
                    format!("the body is too large: at most {bytes_max} bytes are taken here");
                return Err(Error::TooLarge(problem));
            }
            bytes.extend_from_slice(&piece);
        }
        Ok(Bytes(bytes))
    }
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Json<T> {
    type Rejection = Error;

    async fn from_request(request: Request, state: &S) -> Result<Self, Error> {
        let Bytes(bytes) = Bytes::from_request(request, state).await?;
        let read = serde_json::from_slice(&bytes);
        Ok(Json(read.map_err(|error| Error::Malformed(format!("the body: {error}")))?))
    }
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for OfStranger<T> {
    type Rejection = Error;

    async fn from_request(request: Request, state: &S) -> Result<Self, Error> {
        let read = timeout(HTTP_STRANGER_MAX, Json::from_request(request, state)).await;
        let Json(read) = read.map_err(|_| Error::too_slow())??;
        Ok(OfStranger(read))
    }
}

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        axum::Json(self.0).into_response()
    }
}
