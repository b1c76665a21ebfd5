//! Spans as OTLP has them in JSON (`ExportTraceServiceRequest`, opentelemetry-proto 1.x): identifiers in hexadecimal
//! digits, whole numbers of 64 bits as texts, kinds and states as numbers.

use crate::context::hex;
use crate::span::{Ended, Value};
use serde_json::{Value as Json, json};

/// `STATUS_CODE_ERROR`.
const FAILED: u8 = 2;

/// A message with these spans of a program that says this of itself.
pub(crate) fn message(resource: &[(&'static str, String)], spans: &[Ended]) -> Vec<u8> {
    let resource: Vec<Json> =
        resource.iter().map(|(key, text)| attribute(key, &Value::Text(text.clone()))).collect();
    let spans: Vec<Json> = spans.iter().map(span).collect();
    let scope = json!({ "name": env!("CARGO_PKG_NAME"), "version": env!("CARGO_PKG_VERSION") });
    json!({ "resourceSpans": [{
        "resource": { "attributes": resource },
        "scopeSpans": [{ "scope": scope, "spans": spans }],
    }]})
    .to_string()
    .into_bytes()
}

fn span(span: &Ended) -> Json {
    let attributes = span.attributes.iter().map(|(key, value)| attribute(key, value));
    let mut told = json!({
        "traceId": hex(&span.context.trace),
        "spanId": hex(&span.context.span),
        "name": span.name,
        "kind": span.kind as u8,
        "startTimeUnixNano": span.start_unix_ns.to_string(),
        "endTimeUnixNano": span.end_unix_ns.to_string(),
        "attributes": attributes.collect::<Vec<_>>(),
        "status": {},
    });
    if let Some(parent) = &span.parent {
        told["parentSpanId"] = hex(parent).into();
    }
    if let Some(why) = &span.failed {
        told["status"] = json!({ "code": FAILED, "message": why });
    }
    told
}

fn attribute(key: &str, value: &Value) -> Json {
    let value = match value {
        Value::Text(text) => json!({ "stringValue": text }),
        Value::Integer(number) => json!({ "intValue": number.to_string() }),
    };
    json!({ "key": key, "value": value })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::Context;
    use crate::span::Kind;

    #[test]
    fn a_span_is_told_as_the_protocol_has_it() {
        // The identifiers and times of the example that comes with opentelemetry-proto.
        let context = Context::parse("00-5b8efff798038103d269b633813fc60c-eee19b7ec3c1b174-01");
        let span = Ended {
            context: context.unwrap(),
            parent: Some([0xee, 0xe1, 0x9b, 0x7e, 0xc3, 0xc1, 0xb1, 0x73]),
            name: "I'm a server span".into(),
            kind: Kind::Server,
            start_unix_ns: 1_544_712_660_000_000_000,
            end_unix_ns: 1_544_712_661_000_000_000,
            attributes: vec![("my.span.attr", "some value".into()), ("number", (-3).into())],
            failed: None,
        };
        let failed = Ended { parent: None, failed: Some("no".into()), ..span.clone() };
        let message = message(&[("service.name", "my.service".into())], &[span, failed]);
        let message: Json = serde_json::from_slice(&message).unwrap();
        let told = &message["resourceSpans"][0];
        let name = json!({ "key": "service.name", "value": { "stringValue": "my.service" } });
        assert_eq!(told["resource"]["attributes"], json!([name]));
        let spans = &told["scopeSpans"][0]["spans"];
        let wanted = json!({
            "traceId": "5b8efff798038103d269b633813fc60c",
            "spanId": "eee19b7ec3c1b174",
            "parentSpanId": "eee19b7ec3c1b173",
            "name": "I'm a server span",
            "startTimeUnixNano": "1544712660000000000",
            "endTimeUnixNano": "1544712661000000000",
            "kind": 2,
            "attributes": [
                { "key": "my.span.attr", "value": { "stringValue": "some value" } },
                { "key": "number", "value": { "intValue": "-3" } },
            ],
            "status": {},
        });
        assert_eq!(spans[0], wanted);
        assert_eq!(spans[1]["status"], json!({ "code": 2, "message": "no" }));
        assert_eq!(spans[1].get("parentSpanId"), None);
    }
}
