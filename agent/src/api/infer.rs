//! `POST /v2/models/{model}/infer`.

use super::answer::{JSON, Refusal, Whole, metadata, typed};
use super::body::{Rest, no_room};
use super::{Api, Found};
use crate::heavy::heavily;
use crate::worker::serving::{AskError, ServedModel, bytes_of};
use hyper::Response;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use lineside_oip::{
    Body, Datatype, Form, InferRequest, InferResponse, RequestError, RequestedOutput,
    ResponseError, Tensor,
};
use lineside_runtime::{Element, ServeError};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How many bytes of a body are JSON, where the rest are tensors.
const HEADER_LENGTH: HeaderName = HeaderName::from_static("inference-header-content-length");

impl Api {
    /// Answers a request to a model, and counts it.
    pub(super) async fn infer(
        &self,
        (name, version): (&str, Option<&str>),
        head: &HeaderMap,
        body: &mut Rest,
    ) -> Result<Response<Whole>, Refusal> {
        let began = Instant::now();
        let found = self.served(name);
        // A name of nothing that is served may be made up, and whoever makes some up makes no rows here.
        let known = if found.is_ok() { name } else { "" };
        let answer = match found.map_err(Refusal::from) {
            Ok(found) => match found.of_version(name, version) {
                Ok(found) => self.inferred(name, found, head, body).await,
                Err(refusal) => Err(refusal),
            },
            Err(refusal) => Err(refusal),
        };
        let status =
            answer.as_ref().map_or_else(|refusal| refusal.status, |it| it.status().as_u16());
        self.metrics.answered(known, status, began.elapsed());
        answer
    }

    async fn inferred(
        &self,
        name: &str,
        Found { serving, model }: Found,
        head: &HeaderMap,
        body: &mut Rest,
    ) -> Result<Response<Whole>, Refusal> {
        let arrived = Instant::now();
        let header_length = header_length(head)?;
        let super::body::Body { bytes, mut taken } = self.body(head, body).await?;
        let wanted = heavily(bytes.len(), || {
            let request = InferRequest::read(&bytes, header_length).map_err(malformed)?;
            Wanted::of(request, &model)
        })?;
        drop(bytes);
        let patience = wanted.timeout.unwrap_or(Duration::MAX).min(self.config.deadline);
        let answer = serving.ask(&model, wanted.tensors, arrived + patience).await;
        let answer = answer.map_err(refused)?;
        let version = serving.release.version.to_string();
        let body = heavily(answer.iter().map(bytes_of).sum(), || {
            let mut outputs = Vec::with_capacity(wanted.outputs.len());
            for (place, form) in wanted.outputs {
                let known = model.offered.outputs.get(place).zip(answer.get(place));
                let (offer, tensor) = known.ok_or_else(|| {
                    Refusal::of(500, "the model has other outputs than it offers")
                })?;
                outputs.push((told(&offer.name, tensor)?, form));
            }
            let id = wanted.id.as_deref();
            let response = InferResponse { model_name: name, model_version: &version, id, outputs };
            response.write().map_err(|error| match error {
                ResponseError::Json { .. } => Refusal::of(400, error.to_string()),
                ResponseError::Write(_) => Refusal::of(500, error.to_string()),
            })
        })?;
        // Until it has been taken, which its reader may put off.
        if !taken.become_answer(body.bytes.len()) {
            return Err(no_room());
        }
        let mut response = whole(body);
        response.extensions_mut().insert(Arc::new(taken));
        Ok(response)
    }
}

/// A request, as the model takes it.
struct Wanted {
    id: Option<String>,
    timeout: Option<Duration>,
    tensors: Vec<lineside_runtime::Tensor>,
    /// The outputs that are wanted, by their places, each in its form.
    outputs: Vec<(usize, Form)>,
}

impl Wanted {
    fn of(request: InferRequest, model: &ServedModel) -> Result<Wanted, Refusal> {
        let InferRequest { id, timeout, mut inputs, outputs, form } = request;
        let mut tensors = Vec::with_capacity(inputs.len());
        for offer in &model.offered.inputs {
            let place = inputs.iter().position(|input| input.name() == offer.name);
            let Some(place) = place else {
                return Err(Refusal::of(400, format!("input {:?} is missing", offer.name)));
            };
            let input = inputs.swap_remove(place);
            let takes = metadata(offer)
                .is_some_and(|it| it.datatype == input.datatype() && it.takes(input.shape()));
            // No model has an answer of no rows.
            if !takes || input.shape().contains(&0) {
                return Err(Refusal::of(400, unfit(offer, &input)));
            }
            tensors.push(taken(&input)?);
        }
        if let Some(other) = inputs.first() {
            let names: Vec<&str> = model.offered.inputs.iter().map(|it| it.name.as_str()).collect();
            let reason = format!("there is no input {:?}, only {names:?}", other.name());
            return Err(Refusal::of(400, reason));
        }
        let offered = &model.offered.outputs;
        let place = |RequestedOutput { name, form: own }: RequestedOutput| {
            let place = offered.iter().position(|offer| offer.name == name);
            let names: Vec<&str> = offered.iter().map(|it| it.name.as_str()).collect();
            let none = || Refusal::of(400, format!("there is no output {name:?}, only {names:?}"));
            Ok((place.ok_or_else(none)?, own.unwrap_or(form)))
        };
        let outputs = match outputs {
            Some(outputs) => outputs.into_iter().map(place).collect::<Result<_, Refusal>>()?,
            None => (0..offered.len()).map(|place| (place, form)).collect(),
        };
        Ok(Wanted { id, timeout, tensors, outputs })
    }
}

fn unfit(offer: &lineside_runtime::Offer, input: &Tensor) -> String {
    let size = |size: &Option<usize>| size.map_or("-1".to_owned(), |size| size.to_string());
    let sizes: Vec<String> = offer.shape.iter().map(size).collect();
    format!(
        "input {:?} takes {} [{}], {} {:?} came",
        offer.name,
        offer.datatype,
        sizes.join(", "),
        input.datatype(),
        input.shape()
    )
}

/// A tensor of the protocol as engines have it.
fn taken(input: &Tensor) -> Result<lineside_runtime::Tensor, Refusal> {
    let element = Element::from_oip(input.datatype().name())
        .ok_or_else(|| Refusal::of(400, format!("{} is not taken", input.datatype())))?;
    let shape = input.shape().to_vec();
    lineside_runtime::Tensor::from_bytes(element, shape, input.bytes())
        .map_err(|error| Refusal::of(400, format!("input {:?}: {error}", input.name())))
}

/// A tensor of an engine as the protocol has it.
fn told(name: &str, output: &lineside_runtime::Tensor) -> Result<Tensor, Refusal> {
    let element = output.element();
    let datatype = Datatype::parse(element.oip())
        .ok_or_else(|| Refusal::of(500, format!("{element} cannot be told")))?;
    let shape = output.shape().to_vec();
    Tensor::new(name.to_owned(), datatype, shape, output.to_bytes())
        .map_err(|error| Refusal::of(500, error.to_string()))
}

fn header_length(head: &HeaderMap) -> Result<Option<usize>, Refusal> {
    let Some(field) = head.get(HEADER_LENGTH) else { return Ok(None) };
    let length = field.to_str().ok().and_then(|text| text.trim().parse().ok());
    length.map(Some).ok_or_else(|| Refusal::of(400, format!("{HEADER_LENGTH} is no number")))
}

fn malformed(error: RequestError) -> Refusal {
    Refusal::of(400, error.to_string())
}

fn refused(error: AskError) -> Refusal {
    let reason = error.to_string();
    match error {
        AskError::TooMany { .. } => Refusal::of(413, reason),
        AskError::Full { .. } => Refusal::of(429, reason).again_after(1),
        AskError::Late | AskError::Gone => Refusal::of(503, reason).again_after(1),
        AskError::Died(_) | AskError::Model(ServeError::Model(_)) => Refusal::of(500, reason),
        AskError::Model(ServeError::Input(_)) => Refusal::of(400, reason),
    }
}

fn whole(body: Body) -> Response<Whole> {
    let Body { bytes, header_length } = body;
    let Some(length) = header_length else {
        return typed(200, JSON, bytes.into());
    };
    let mut response = typed(200, "application/octet-stream", bytes.into());
    response.headers_mut().insert(HEADER_LENGTH, HeaderValue::from(length));
    response
}
