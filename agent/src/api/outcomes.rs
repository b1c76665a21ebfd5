//! `POST /v1/outcomes`.

use super::Api;
use super::answer::{JSON, Refusal, Whole, typed};
use super::body::Rest;
use crate::heavy::heavily;
use crate::telemetry::outcomes::{NoOutcome, read};
use hyper::Response;
use hyper::header::HeaderMap;

impl Api {
    /// Takes outcomes, all or none, and says what has become of them.
    pub(super) async fn outcomes(
        &self,
        head: &HeaderMap,
        body: &mut Rest,
    ) -> Result<Response<Whole>, Refusal> {
        let body = self.body(head, body).await?;
        let brought = heavily(body.bytes.len(), || read(&body.bytes)).map_err(|error| {
            let status = if let NoOutcome::Many { .. } = error { 413 } else { 400 };
            Refusal::of(status, error.to_string())
        })?;
        drop(body);
        let heard = self.telemetry.outcomes(brought).await;
        match serde_json::to_vec(&heard) {
            Ok(bytes) => Ok(typed(200, JSON, bytes.into())),
            Err(error) => Err(Refusal::of(500, error.to_string())),
        }
    }
}
