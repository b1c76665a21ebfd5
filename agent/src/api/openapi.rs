//! What there is, as OpenAPI 3.1: generated from the bundles that are served, with the names, shapes and
//! datatypes of each model.

use super::answer::{SERVER_NAME, metadata};
use super::{Api, Found};
use crate::worker::serving::ServedModel;
use lineside_oip::{Datatype, TENSORS_MAX, TensorMetadata};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Map, Value, json};

/// The document.
pub(super) fn document(api: &Api) -> Value {
    let mut paths = Map::new();
    let mut add = |path: &str, item: Value| paths.insert(path.to_owned(), item);
    let text = |status: &str, told: &str| json!({ status: { "description": told } });
    add("/livez", reading("Whether the agent runs.", text("200", "It does."), true));
    let mut ready = text("200", "Every slot has a release that is served.");
    ready["503"] = json!({ "description": "Some slot has none." });
    add("/readyz", reading("Whether requests are answered.", ready.clone(), true));
    add("/metrics", reading("Counts for Prometheus.", text("200", "Text, 0.0.4."), false));
    add("/openapi.json", reading("This document.", text("200", "OpenAPI 3.1."), false));
    add("/v2", reading("What the server is.", text("200", "Its name and extensions."), false));
    add("/v2/health/live", reading("Whether it lives.", text("200", "It does."), false));
    add("/v2/health/ready", reading("Whether it is ready, and why not.", ready, false));
    add("/v1/outcomes", json!({ "post": outcomes() }));
    for (name, Found { serving, model }) in api.models() {
        let at = utf8_percent_encode(&name, NON_ALPHANUMERIC).to_string();
        // A dot needs no escape, and names have one.
        let at = format!("/v2/models/{}", at.replace("%2E", ".").replace("%2D", "-"));
        let version = serving.release.version.to_string();
        let told = format!("{name} of {}", serving.release);
        let known = json!({ "200": { "description": "Inputs and outputs." } });
        add(&at, reading(&told, known, false));
        let known = json!({ "200": { "description": "It is ready." } });
        add(&format!("{at}/ready"), reading(&format!("Whether {told} is ready."), known, false));
        add(&format!("{at}/infer"), json!({ "post": infer(&told, &model, &version) }));
    }
    let mut document = json!({
        "openapi": "3.1.0",
        "info": {
            "title": SERVER_NAME,
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Open Inference Protocol v2, with the binary tensor data extension.",
        },
        "paths": paths,
    });
    if api.access.asks() {
        document["components"] =
            json!({ "securitySchemes": { "token": { "type": "http", "scheme": "bearer" } } });
        document["security"] = json!([{ "token": [] }]);
    }
    document
}

fn reading(summary: &str, responses: Value, is_open: bool) -> Value {
    let mut operation = json!({ "summary": summary, "responses": responses });
    if is_open {
        operation["security"] = json!([]);
    }
    json!({ "get": operation })
}

/// What became of what findings are about.
fn outcomes() -> Value {
    let outcome = json!({
        "type": "object",
        "required": ["finding", "outcome"],
        "additionalProperties": false,
        "properties": {
            "finding": { "type": "string" },
            "outcome": { "type": ["boolean", "number", "string"] },
        },
    });
    let (number, ids) =
        (json!({ "type": "integer" }), json!({ "type": "array", "items": { "type": "string" } }));
    let heard = json!({
        "type": "object",
        "required": ["counted", "again", "unknown", "unfit"],
        "properties": { "counted": number, "again": number, "unknown": ids, "unfit": ids },
    });
    let request = json!({ "oneOf": [outcome, { "type": "array", "items": outcome }] });
    json!({
        "summary": "Takes what became of what findings are about.",
        "requestBody": { "required": true, "content": { "application/json": { "schema": request } } },
        "responses": {
            "200": {
                "description": "What was counted, and what could not be.",
                "content": { "application/json": { "schema": heard } },
            },
        },
    })
}

fn infer(summary: &str, model: &ServedModel, version: &str) -> Value {
    let inputs: Vec<TensorMetadata> = model.offered.inputs.iter().filter_map(metadata).collect();
    let outputs: Vec<TensorMetadata> = model.offered.outputs.iter().filter_map(metadata).collect();
    let names: Vec<&str> = outputs.iter().map(|output| output.name.as_str()).collect();
    let parameters = json!({ "type": "object" });
    let request = json!({
        "type": "object",
        "required": ["inputs"],
        "properties": {
            "id": { "type": "string" },
            "parameters": parameters,
            "inputs": list(&inputs),
            "outputs": {
                "type": "array",
                "maxItems": TENSORS_MAX,
                "items": {
                    "type": "object",
                    "required": ["name"],
                    "properties": { "name": { "enum": names }, "parameters": parameters },
                },
            },
        },
    });
    let response = json!({
        "type": "object",
        "required": ["model_name", "model_version", "outputs"],
        "properties": {
            "id": { "type": "string" },
            "model_name": { "type": "string" },
            "model_version": { "const": version },
            "outputs": list(&outputs),
        },
    });
    let mut responses = Map::new();
    let both = |schema: Value| {
        json!({
            "application/json": { "schema": schema },
            "application/octet-stream": {},
        })
    };
    responses.insert(
        "200".to_owned(),
        json!({ "description": "The outputs.", "content": both(response) }),
    );
    let error = json!({
        "type": "object",
        "required": ["error"],
        "properties": { "error": { "type": "string" } },
    });
    for (status, told) in [
        ("400", "The request is none, or not one for this model."),
        ("401", "The token is missing."),
        ("403", "A web page asks, or somebody by another name, where no token is wanted."),
        ("404", "There is no such model, or not in this version."),
        ("408", "The body did not arrive in time."),
        ("413", "It is larger than any may be."),
        ("415", "It is packed in a way that is not known."),
        ("429", "Others wait already; see retry-after."),
        ("500", "The model has failed."),
        ("503", "It was not answered before its deadline."),
    ] {
        let content = json!({ "application/json": { "schema": error } });
        responses.insert(status.to_owned(), json!({ "description": told, "content": content }));
    }
    json!({
        "summary": summary,
        "parameters": [{
            "name": "Inference-Header-Content-Length",
            "in": "header",
            "description": "Bytes of the body that are JSON, where tensors follow as bytes.",
            "schema": { "type": "integer" },
        }],
        "requestBody": { "required": true, "content": both(request) },
        "responses": responses,
    })
}

/// A list with a tensor of each of these.
fn list(tensors: &[TensorMetadata]) -> Value {
    let items: Vec<Value> = tensors.iter().map(tensor).collect();
    json!({ "type": "array", "maxItems": tensors.len(), "items": { "oneOf": items } })
}

fn tensor(tensor: &TensorMetadata) -> Value {
    let size = |size: &i64| match size {
        -1 => json!({ "type": "integer", "minimum": 1 }),
        size => json!({ "const": size }),
    };
    let sizes: Vec<Value> = tensor.shape.iter().map(size).collect();
    let dimensions = sizes.len();
    let mut shape = json!({
        "type": "array",
        "minItems": dimensions,
        "maxItems": dimensions,
    });
    if dimensions > 0 {
        shape["prefixItems"] = Value::Array(sizes);
    }
    json!({
        "type": "object",
        "required": ["name", "shape", "datatype"],
        "properties": {
            "name": { "const": tensor.name },
            "datatype": { "const": tensor.datatype },
            "shape": shape,
            "parameters": { "type": "object" },
            "data": data(tensor.datatype),
        },
    })
}

/// The elements of a tensor, flat or nested.
fn data(datatype: Datatype) -> Value {
    let kind = match datatype {
        Datatype::Bool => "boolean",
        Datatype::Bytes => "string",
        Datatype::Fp16 | Datatype::Fp32 | Datatype::Fp64 => "number",
        _ => "integer",
    };
    json!({ "type": "array", "items": { "type": [kind, "array"] } })
}
