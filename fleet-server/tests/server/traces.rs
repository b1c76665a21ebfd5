//! A collector on the same machine hears what takes how long, and what was a part of what.

use crate::alerts::fired;
use crate::channels::{listener, start};
use crate::mqtt::Client;
use crate::running::{As, PATIENCE};
use crate::signers::Signers;
use crate::telemetry::tell;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::mpsc::{Receiver, channel};
use std::thread;

/// Listens as a collector, and hands on the spans that it is told.
fn collect(listener: TcpListener) -> Receiver<Value> {
    let (sender, told) = channel();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let stream = stream.unwrap();
            let mut reader = BufReader::new(&stream);
            // It may say several things over one connection.
            'told: loop {
                let mut length = 0;
                loop {
                    let mut line = String::new();
                    if reader.read_line(&mut line).unwrap_or(0) == 0 {
                        break 'told;
                    }
                    match line.trim().to_lowercase().split_once(": ") {
                        Some(("content-length", value)) => length = value.parse().unwrap(),
                        None if line.trim().is_empty() => break,
                        _ => {}
                    }
                }
                let mut body = vec![0; length];
                reader.read_exact(&mut body).unwrap();
                (&stream).write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}").unwrap();
                let told: Value = serde_json::from_slice(&body).unwrap();
                let resource = &told["resourceSpans"][0];
                let name = &resource["resource"]["attributes"][0];
                assert_eq!(name["value"]["stringValue"], "lineside-server");
                for span in resource["scopeSpans"][0]["spans"].as_array().unwrap() {
                    if sender.send(span.clone()).is_err() {
                        return;
                    }
                }
            }
        }
    });
    told
}

fn attribute<'a>(span: &'a Value, name: &str) -> &'a Value {
    let mut all = span["attributes"].as_array().unwrap().iter();
    let value = all.find(|one| one["key"] == name).map(|one| &one["value"]);
    value.map_or(&Value::Null, |value| {
        value.get("stringValue").or(value.get("intValue")).unwrap_or(&Value::Null)
    })
}

#[tokio::test]
async fn a_decision_is_a_part_of_the_request_that_asked_for_it_and_a_message_is_a_trace() {
    let data = tempfile::tempdir().unwrap();
    let (listener, port) = listener();
    let told = collect(listener);
    let settings = format!("[traces]\nendpoint = \"http://127.0.0.1:{port}\"\n");
    let server = start(data.path(), &settings);
    let signers = Signers::enrolled(&server);
    signers.release(&server, "1");
    let password = server.add_device("line-3");
    let mut device = Client::device(&server, "line-3", &password).await;
    tell(&mut device, "line-3", vec![fired(1, 0, "high", 10)]).await;
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let parent = format!("00-{trace}-00f067aa0ba902b7-01");
    for (release, status) in [("turbine/1", 200), ("turbine/9", 404)] {
        let reply = server.ask_with(
            "PUT",
            "/api/v1/devices/line-3/slots/turbine",
            As::Administrator,
            &[("traceparent", &parent)],
            json!({ "release": release }).to_string().as_bytes(),
        );
        assert_eq!(reply.status, status, "{}", reply.text());
    }
    let (mut assigns, mut requests, mut messages) = (vec![], vec![], vec![]);
    while assigns.is_empty() || requests.len() < 2 || messages.is_empty() {
        let span = told.recv_timeout(PATIENCE).unwrap();
        let is_asked = span["traceId"] == trace;
        match span["name"].as_str().unwrap() {
            "assign" => assigns.push(span),
            "PUT /api/v1/devices" if is_asked => requests.push(span),
            "message" if attribute(&span, "lineside.topic") == "telemetry" => messages.push(span),
            _ => assert!(!is_asked, "{span}"),
        }
    }
    assert_eq!(attribute(&messages[0], "lineside.device"), "line-3");
    assert_eq!((&messages[0]["kind"], messages[0].get("parentSpanId")), (&5.into(), None));
    for (request, status) in requests.iter().zip(["200", "404"]) {
        assert_eq!(
            (&request["parentSpanId"], &request["kind"]),
            (&"00f067aa0ba902b7".into(), &2.into())
        );
        assert_eq!(attribute(request, "http.response.status_code"), status);
    }
    // What makes no sense is refused before anything is decided.
    assert_eq!(assigns.len(), 1);
    let assign = &assigns[0];
    assert_eq!(
        (&assign["traceId"], &assign["parentSpanId"]),
        (&trace.into(), &requests[0]["spanId"])
    );
    assert_eq!(attribute(assign, "lineside.slot"), "turbine");
    assert_eq!(assign["status"].get("code").unwrap_or(&Value::Null), &Value::Null, "{assign}");
    assert_eq!(attribute(&assigns[0], "lineside.release"), "turbine/1");
    assert_eq!(attribute(&assigns[0], "lineside.assignment"), "1");
}
