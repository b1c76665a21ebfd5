//! Lines of devices' logs: asked for by a person, signed, kept for a while, shown to nobody else.

use crate::mqtt::Client;
use crate::running::{As, Running};
use crate::signers::Signers;
use lineside_trust::{Root, TrustError, TrustedLogRequest, verify_log_request};
use lineside_wire::envelope::{decode, encode};
use lineside_wire::v1::{AskLog, LogLevel, LogLine, LogLines, Status};
use rumqttc::mqttbytes::v5::PubAckReason;
use serde_json::{Value, json};
use std::time::Duration;
use time::OffsetDateTime;

const PATH: &str = "/api/v1/devices/good/log";

/// What a device is asked, as one of this name reads it.
fn asked(server: &Running, message: &[u8], name: &str) -> Result<TrustedLogRequest, TrustError> {
    let AskLog { request } = decode(message).unwrap();
    let root = Root::pin(&server.get("/api/v1/root").body).unwrap();
    verify_log_request(&root, &request, &name.parse().unwrap(), OffsetDateTime::now_utc())
}

fn said(request: u64, boot: u64, message: &str) -> Vec<u8> {
    let line = LogLine {
        at_unix_ms: 1_700_000_000_250,
        level: LogLevel::Warn.code(),
        target: "lineside_agent::plant".into(),
        message: message.into(),
        fields: vec![("slot".into(), "line".into())],
    };
    let (lines, ended) = (vec![line], String::new());
    encode(&LogLines { request, boot, lines, dropped: 2, left_seconds: 9, ended }).unwrap()
}

fn status(boot: u64) -> Vec<u8> {
    let status = Status {
        boot,
        agent_version: "0.1.0".into(),
        slots: vec![],
        assignment_version: 0,
        releases_version: 0,
        root_version: 1,
        timestamp_version: 0,
        wall_clock_unix_ms: 0,
    };
    encode(&status).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_is_asked_by_the_director_and_its_lines_are_shown_and_nobody_elses() {
    let data = tempfile::tempdir().unwrap();
    let server = Running::start(data.path());
    Signers::enrolled(&server);
    let password = server.add_device("good");
    let mut good = Client::device(&server, "good", &password).await;
    let mut bad = Client::device(&server, "bad", &server.add_device("bad")).await;
    // Before anybody asks nothing is taken.
    let own = "lineside/v1/good/up/log";
    good.publish(own, said(0, 1, "unasked")).await;
    let none = server.get(PATH).json();
    assert_eq!((&none["request"], &none["lines"]), (&Value::Null, &json!([])));

    let body = json!({ "level": "debug", "targets": ["lineside_agent::plant"], "minutes": 3 });
    let reply = server.ask("POST", PATH, As::Administrator, body.to_string().as_bytes()).json();
    let request = reply["request"].as_u64().unwrap();
    assert_eq!(reply["connected"], true);
    let message = good.receive("down/log").await;
    let trusted = asked(&server, &message, "good").unwrap();
    assert_eq!((trusted.number(), trusted.level()), (request, LogLevel::Debug));
    assert_eq!(trusted.targets(), ["lineside_agent::plant"]);
    assert_eq!(trusted.span(), Duration::from_secs(180));
    let other = asked(&server, &message, "bad").unwrap_err();
    assert!(matches!(other, TrustError::OtherDevice { .. }), "{other}");

    // A device speaks on its own branch, and answers what it was asked.
    let refused = bad.publish(own, said(request, 1, "a lie")).await;
    assert_ne!(refused, PubAckReason::Success);
    bad.publish("lineside/v1/bad/up/log", said(request, 1, "unasked")).await;
    good.publish(own, said(request + 1, 1, "another")).await;
    good.publish(own, b"no lines".to_vec()).await;
    good.publish(own, said(request, 1, "it is away\n")).await;
    let shown = server.wait_for(PATH, |shown| shown["last"] == 1);
    let line = json!({ "number": 1, "time": "2023-11-14T22:13:20.25Z", "level": "warn",
        "target": "lineside_agent::plant", "message": "it is away ", "fields": { "slot": "line" } });
    assert_eq!(shown["lines"], json!([line]));
    assert_eq!(
        (&shown["open"], &shown["heard"], &shown["dropped"]),
        (&true.into(), &true.into(), &2.into())
    );
    assert_eq!(server.get("/api/v1/devices/bad/log").json()["lines"], json!([]));
    assert_eq!(server.get(&format!("{PATH}?after=1")).json()["lines"], json!([]));

    // Who starts over is asked again, once.
    good.publish("lineside/v1/good/up/status", status(1)).await;
    good.publish("lineside/v1/good/up/status", status(2)).await;
    let again = asked(&server, &good.receive("down/log").await, "good").unwrap();
    assert_eq!((again.number(), again.level()), (request, LogLevel::Debug));
    let ended = LogLines {
        request,
        boot: 2,
        lines: Vec::new(),
        dropped: 0,
        left_seconds: 0,
        ended: "the policy forbids it".into(),
    };
    good.publish(own, encode(&ended).unwrap()).await;
    let shown = server.wait_for(PATH, |shown| shown["open"] == false);
    assert_eq!((&shown["ended"], &shown["last"]), (&"the policy forbids it".into(), &1.into()));
    good.publish("lineside/v1/good/up/status", status(2)).await;
    let quiet = good.messages_until_own_answer().await;
    assert!(!quiet.iter().any(|topic| topic.ends_with("down/log")), "{quiet:?}");
    // Who is gone leaves nothing behind.
    server.ask("DELETE", "/api/v1/devices/good", As::Administrator, b"");
    server.add_device("good");
    assert_eq!(server.get(PATH).json()["request"], Value::Null);
}

#[test]
fn nobody_but_the_administrator_asks_and_what_is_out_of_bounds_is_refused() {
    let data = tempfile::tempdir().unwrap();
    let server = Running::start(data.path());
    let signers = Signers::enrolled(&server);
    let password = server.add_device("good");
    signers.release(&server, "1");
    let ask = |who: As<'_>, body: Value| server.ask("POST", PATH, who, body.to_string().as_bytes());
    for who in [As::Nobody, As::Device("good", &password), As::Token("stranger")] {
        assert_eq!(ask(who, json!({})).status, 401);
        assert_eq!(server.ask("GET", PATH, who, b"").status, 401);
    }
    for (body, wanted) in [
        (json!({ "minutes": 0 }), "1 to 60"),
        (json!({ "minutes": 61 }), "1 to 60"),
        (json!({ "level": "trace" }), "error, warn, info or debug"),
        (json!({ "targets": ["a b"] }), "no target"),
        (json!({ "colour": 1 }), "colour"),
    ] {
        let reply = ask(As::Administrator, body);
        assert!((400..500).contains(&reply.status), "{}", reply.text());
        assert!(reply.text().contains(wanted), "{}", reply.text());
    }
    assert_eq!(server.get(PATH).json()["request"], Value::Null, "nothing of it was asked");
    let missing = server.ask("POST", "/api/v1/devices/nobody/log", As::Administrator, b"{}");
    assert_eq!(missing.status, 404);
    let reply = ask(As::Administrator, json!({})).json();
    assert_eq!(reply["connected"], false);
    let shown = server.get(PATH).json();
    assert_eq!((&shown["level"], &shown["heard"]), (&"info".into(), &false.into()));
    assert_eq!(shown["request"], reply["request"]);
}
