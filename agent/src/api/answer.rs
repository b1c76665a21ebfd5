//! `Request -> Response`: what there is, where, and what is said of what there is not.

use super::body::{Rest, Sender};
use super::packed::Coding;
use super::room::Taken;
use super::{Api, Found, Missing, openapi};
use crate::heavy::heavily;
use http_body_util::BodyExt;
use hyper::body::{Bytes, Incoming};
use hyper::header::{
    ACCEPT_ENCODING, ALLOW, AUTHORIZATION, CONNECTION, CONTENT_ENCODING, CONTENT_TYPE, HOST,
    HeaderValue, ORIGIN, RETRY_AFTER, WWW_AUTHENTICATE,
};
use hyper::http::uri::Authority;
use hyper::{Method, Request, Response, StatusCode};
use lineside_oip::{
    BINARY_EXTENSION, Datatype, Failure, Live, ModelMetadata, Ready, ServerMetadata, TensorMetadata,
};
use lineside_runtime::Offer;
use percent_encoding::percent_decode_str;
use serde::Serialize;
use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;

/// What the server calls itself.
pub(super) const SERVER_NAME: &str = "lineside-agent";
/// What kind of model each one is.
const PLATFORM: &str = "onnx_onnxv1";
/// Smallest body that is packed, in bytes.
const PACKED_BYTES_MIN: usize = 1024;
pub(super) const JSON: &str = "application/json";

/// A body, as it goes out.
pub(super) type Whole = http_body_util::Full<Bytes>;

/// Why a request has no other answer.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) status: u16,
    pub(super) reason: String,
    again_after_seconds: Option<u32>,
    allow: Option<&'static str>,
}

impl Refusal {
    pub(super) fn of(status: u16, reason: impl Into<String>) -> Refusal {
        Refusal { status, reason: reason.into(), again_after_seconds: None, allow: None }
    }

    /// The same would be answered after a while.
    pub(super) fn again_after(self, seconds: u32) -> Refusal {
        Refusal { again_after_seconds: Some(seconds), ..self }
    }

    fn response(self) -> Response<Whole> {
        let mut response = json(self.status, &Failure { error: self.reason });
        let head = response.headers_mut();
        if let Some(seconds) = self.again_after_seconds {
            head.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if let Some(allow) = self.allow {
            head.insert(ALLOW, HeaderValue::from_static(allow));
        }
        if self.status == 401 {
            head.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl From<Missing> for Refusal {
    fn from(missing: Missing) -> Refusal {
        match missing {
            Missing::Unknown(reason) => Refusal::of(404, reason),
            Missing::Unready(reason) => Refusal::of(503, reason).again_after(5),
        }
    }
}

type Answer = Result<Response<Whole>, Refusal>;

/// What comes before the body of a request.
type Head = Request<()>;

impl Api {
    /// Answers a request.
    pub(super) async fn answer(&self, request: Request<Incoming>) -> Response<Whole> {
        let accepted = request.headers().get(ACCEPT_ENCODING);
        let accepted = accepted.and_then(|field| Coding::accepted(field.to_str().ok()?));
        let (head, body) = request.into_parts();
        let mut body = Rest::of(&head.headers, body);
        let head = Request::from_parts(head, ());
        let access = self.access_of(&head);
        let sender = if access.is_ok() { Sender::Known } else { Sender::Stranger };
        let answer = match self.admitted(&head, access, &mut body).await {
            Ok(answer) => answer,
            Err(refusal) => {
                // What has not come in time is not waited for once more.
                let is_over = refusal.status == 408
                    || body.pass_over(sender, self.config.body_bytes_max).await;
                let mut response = refusal.response();
                if !is_over {
                    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
                }
                response
            }
        };
        let mut answer = match accepted {
            Some(coding) => packed(answer, coding).await,
            None => answer,
        };
        match answer.extensions_mut().remove() {
            Some(taken) => held(answer, taken).await,
            None => answer,
        }
    }

    /// Whether its sender may ask for more than whether there is a service.
    fn access_of(&self, request: &Head) -> Result<(), Refusal> {
        let shown = request.headers().get(AUTHORIZATION).map(HeaderValue::as_bytes);
        if !self.access.admits(shown) {
            let reason = "show the token of this device: authorization: Bearer TOKEN";
            return Err(Refusal::of(401, reason));
        }
        // Where nobody has to show anything, a page in a browser of this machine could ask as well.
        if !self.access.asks() {
            if request.headers().contains_key(ORIGIN) {
                return Err(Refusal::of(403, "web pages may not ask; see api.token_file"));
            }
            // Its name may lead here, and then it needs no origin to read.
            if self.access.tls.is_none() && !is_own_name(request) {
                let reason = "ask by an address or as localhost, other names may be a web page's; or see \
                              api.token_file";
                return Err(Refusal::of(403, reason));
            }
        }
        Ok(())
    }

    async fn admitted(
        &self,
        request: &Head,
        access: Result<(), Refusal>,
        body: &mut Rest,
    ) -> Answer {
        let path = request.uri().path().trim_end_matches('/').to_owned();
        let segments: Result<Vec<Cow<'_, str>>, _> =
            path.split('/').skip(1).map(|part| percent_decode_str(part).decode_utf8()).collect();
        let segments = segments.map_err(|_| Refusal::of(404, "the path is no text in UTF-8"))?;
        let segments: Vec<&str> = segments.iter().map(|part| &**part).collect();
        // What watches whether a service runs has no secrets, and hears nothing but that.
        match segments[..] {
            ["livez"] => return reading(request, || Ok(plain(200, "live\n"))),
            ["readyz"] => return reading(request, || Ok(self.readyz())),
            _ => {}
        }
        access?;
        match segments[..] {
            ["v2"] => reading(request, || Ok(json(200, &server()))),
            ["v2", "health", "live"] => reading(request, || Ok(json(200, &Live { live: true }))),
            ["v2", "health", "ready"] => reading(request, || Ok(self.ready())),
            ["v1", "outcomes"] if request.method() == Method::POST => {
                self.outcomes(request.headers(), body).await
            }
            ["v1", "outcomes"] => Err(only("POST")),
            ["metrics"] => reading(request, || {
                let text = self.metrics.text(self);
                Ok(typed(200, lineside_exposition::CONTENT_TYPE, text.into()))
            }),
            ["openapi.json"] => reading(request, || Ok(json(200, &openapi::document(self)))),
            ["v2", "models", model, ref rest @ ..] => {
                let (version, what) = match rest {
                    ["versions", version, what @ ..] => (Some(*version), what),
                    what => (None, what),
                };
                match what {
                    [] => reading(request, || self.metadata(model, version)),
                    ["ready"] => reading(request, || self.model_ready(model, version)),
                    ["infer"] if request.method() == Method::POST => {
                        self.infer((model, version), request.headers(), body).await
                    }
                    ["infer"] => Err(only("POST")),
                    _ => Err(nothing(&path)),
                }
            }
            _ => Err(nothing(&path)),
        }
    }

    fn readyz(&self) -> Response<Whole> {
        match self.waiting().is_empty() {
            true => plain(200, "ready\n"),
            false => plain(503, "not ready\n"),
        }
    }

    fn ready(&self) -> Response<Whole> {
        let waiting = self.waiting();
        let ready = waiting.is_empty();
        let status = if ready { 200 } else { 503 };
        json(status, &Ready { name: None, ready, live: Some(ready), waiting })
    }

    fn metadata(&self, name: &str, version: Option<&str>) -> Answer {
        let Found { serving, model } = self.served(name)?.of_version(name, version)?;
        let metadata = ModelMetadata {
            name: name.to_owned(),
            versions: vec![serving.release.version.to_string()],
            platform: PLATFORM.to_owned(),
            inputs: model.offered.inputs.iter().filter_map(metadata).collect(),
            outputs: model.offered.outputs.iter().filter_map(metadata).collect(),
        };
        Ok(json(200, &metadata))
    }

    fn model_ready(&self, name: &str, version: Option<&str>) -> Answer {
        let named = Some(name.to_owned());
        let found = self.served(name).map_err(Refusal::from);
        let (ready, waiting) = match found.and_then(|found| found.of_version(name, version)) {
            Ok(_) => (true, vec![]),
            Err(refusal) if refusal.status == 503 => (false, vec![refusal.reason]),
            Err(refusal) => return Err(refusal),
        };
        let status = if ready { 200 } else { 503 };
        Ok(json(status, &Ready { name: named, ready, live: None, waiting }))
    }
}

impl Found {
    /// The same, where it is the version that is asked for, if any is.
    pub(super) fn of_version(self, name: &str, version: Option<&str>) -> Result<Found, Refusal> {
        let own = self.serving.release.version.to_string();
        match version {
            Some(other) if other != own => {
                let reason = format!("{name} is here in version {own}, not in {other:?}");
                Err(Refusal::of(404, reason))
            }
            _ => Ok(self),
        }
    }
}

fn server() -> ServerMetadata {
    ServerMetadata {
        name: SERVER_NAME.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        extensions: vec![BINARY_EXTENSION.to_owned()],
    }
}

/// What is offered, in the words of the protocol.
pub(super) fn metadata(offer: &Offer) -> Option<TensorMetadata> {
    let size = |size: &Option<usize>| size.and_then(|size| i64::try_from(size).ok()).unwrap_or(-1);
    Some(TensorMetadata {
        name: offer.name.clone(),
        datatype: Datatype::parse(&offer.datatype)?,
        shape: offer.shape.iter().map(size).collect(),
    })
}

/// Whether whom a request is meant for cannot be a name that somebody else has given this machine: it is an
/// address, `localhost`, or nothing.
fn is_own_name<B>(request: &Request<B>) -> bool {
    let said = request.headers().get_all(HOST).iter().map(|field| field.to_str().ok());
    let host = |said: Option<&str>| said.and_then(|it| it.parse::<Authority>().ok());
    let hosts = said.map(host).chain(request.uri().authority().cloned().map(Some));
    hosts.into_iter().all(|authority| {
        authority.is_some_and(|authority| {
            let host = authority.host();
            let address = host.strip_prefix('[').and_then(|it| it.strip_suffix(']'));
            let is_address = address.unwrap_or(host).parse::<IpAddr>().is_ok();
            is_address || host.eq_ignore_ascii_case("localhost")
        })
    })
}

fn reading(request: &Head, answer: impl FnOnce() -> Answer) -> Answer {
    match *request.method() {
        Method::GET | Method::HEAD => answer(),
        _ => Err(only("GET, HEAD")),
    }
}

fn only(allow: &'static str) -> Refusal {
    Refusal { allow: Some(allow), ..Refusal::of(405, format!("{allow} is possible here")) }
}

fn nothing(path: &str) -> Refusal {
    Refusal::of(404, format!("there is nothing at {path:?}; /openapi.json tells what there is"))
}

fn plain(status: u16, text: &'static str) -> Response<Whole> {
    typed(status, "text/plain; charset=utf-8", Bytes::from_static(text.as_bytes()))
}

fn json(status: u16, value: &impl Serialize) -> Response<Whole> {
    match serde_json::to_vec(value) {
        Ok(bytes) => typed(status, JSON, bytes.into()),
        Err(error) => plain_error(&error),
    }
}

fn plain_error(error: &serde_json::Error) -> Response<Whole> {
    typed(500, "text/plain; charset=utf-8", error.to_string().into())
}

/// A response with a body of this kind.
pub(super) fn typed(status: u16, kind: &'static str, body: Bytes) -> Response<Whole> {
    let mut response = Response::new(Whole::new(body));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or_default();
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

/// The same, packed if it is large enough.
async fn packed(response: Response<Whole>, coding: Coding) -> Response<Whole> {
    let (mut head, body) = response.into_parts();
    let Ok(body) = body.collect().await;
    let body = body.to_bytes();
    if body.len() < PACKED_BYTES_MIN {
        return Response::from_parts(head, Whole::new(body));
    }
    let bytes = match heavily(body.len(), || coding.pack(&body)) {
        Ok(packed) => {
            let name = HeaderValue::from_static(coding.name());
            head.headers.insert(CONTENT_ENCODING, name);
            packed.into()
        }
        Err(_) => body,
    };
    Response::from_parts(head, Whole::new(bytes))
}

/// A body that takes room until it has been sent.
struct Held {
    bytes: Bytes,
    _taken: Arc<Taken>,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// The same, which takes room until it has been sent.
async fn held(response: Response<Whole>, taken: Arc<Taken>) -> Response<Whole> {
    let (head, body) = response.into_parts();
    let Ok(body) = body.collect().await;
    let bytes = Bytes::from_owner(Held { bytes: body.to_bytes(), _taken: taken });
    Response::from_parts(head, Whole::new(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_leads_here_is_not_taken_for_this_machine() {
        let is_own = |host: &str| {
            let request = Request::builder().uri("/v2").header(HOST, host);
            is_own_name(&request.body(()).unwrap())
        };
        for own in ["127.0.0.1:8000", "127.0.0.1", "[::1]:8000", "localhost:8000", "LocalHost"] {
            assert!(is_own(own), "{own}");
        }
        for other in ["page.example:8000", "localhost.page.example", "127.0.0.1.nip.io", "[x]", ""]
        {
            assert!(!is_own(other), "{other}");
        }
        // Before HTTP/1.1 nobody said it, but a browser does.
        assert!(is_own_name(&Request::builder().uri("/v2").body(()).unwrap()));
        let absolute = Request::builder().uri("http://page.example/v2").header(HOST, "localhost");
        assert!(!is_own_name(&absolute.body(()).unwrap()));
    }
}
