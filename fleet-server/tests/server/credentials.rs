//! Who is let in, and how far.

use crate::mqtt::Client;
use crate::running::{As, Running};
use rumqttc::mqttbytes::v5::{ConnectReturnCode, PubAckReason, SubscribeReasonCode};

#[test]
fn a_wrong_password_or_token_opens_nothing() {
    let data = tempfile::tempdir().unwrap();
    let server = Running::start(data.path());
    let password = server.add_device("line-3");
    for who in [
        As::Nobody,
        As::Header("authorization", "Bearer x"),
        As::Header("authorization", "Bearer "),
        As::Header("authorization", "Basic !!!"),
        As::Device("line-3", &password),
        As::Device("admin", &password),
    ] {
        for path in
            ["/api/v1/devices", "/api/v1/devices/line-3", "/api/v1/root", "/api/v1/releases"]
        {
            let error = server.ask("GET", path, who, b"").error(401);
            assert!(error.contains("admin.token"), "{error}");
        }
    }
    assert_eq!(server.ask("GET", "/v2/", As::Device("line-3", &password), b"").status, 200);
    assert_eq!(server.ask("GET", "/v2/", As::Device("admin", &server.token), b"").status, 200);
    for (user, wrong) in [("line-3", "x"), ("line-3", ""), ("line-4", &password), ("", "")] {
        let reply = server.ask("GET", "/v2/", As::Device(user, wrong), b"");
        assert_eq!(reply.status, 401);
        assert_eq!(reply.header("www-authenticate"), "Basic realm=\"lineside\"");
    }
    let put = server.ask("PUT", "/v2/x/manifests/1", As::Device("line-3", &password), b"{}");
    assert_eq!(put.status, 401, "devices read artifacts and write none");
}

#[test]
fn a_password_is_shown_once_and_is_nowhere_in_the_data_folder() {
    let data = tempfile::tempdir().unwrap();
    let server = Running::start(data.path());
    let password = server.add_device("line-3");
    assert_eq!(password.len(), 64);
    assert!(!server.get("/api/v1/devices/line-3").text().contains(&password));
    let again = server.ask("POST", "/api/v1/devices", As::Administrator, b"{\"name\":\"line-3\"}");
    assert!(again.error(409).contains("exists already"));
    for name in ["lineside.db", "lineside.db-wal"] {
        let bytes = std::fs::read(data.path().join(name)).unwrap_or_default();
        assert!(!bytes.windows(64).any(|part| part == password.as_bytes()), "{name}");
    }
}

#[test]
fn a_device_is_named_as_topics_and_files_allow() {
    let data = tempfile::tempdir().unwrap();
    let server = Running::start(data.path());
    for body in [
        r#"{"name":"Line 3"}"#,
        r#"{"name":"../x"}"#,
        r#"{"name":"+"}"#,
        r#"{"name":"admin"}"#,
        r#"{"name":"a","colour":1}"#,
        r#"{"name":"a","site":"x\ny"}"#,
        "{",
    ] {
        let reply = server.ask("POST", "/api/v1/devices", As::Administrator, body.as_bytes());
        assert!(!reply.error(400).is_empty(), "{body}");
    }
    assert_eq!(server.get("/api/v1/devices").json().as_array().unwrap().len(), 0);
}

#[tokio::test]
async fn the_broker_knows_devices_by_their_passwords() {
    let data = tempfile::tempdir().unwrap();
    let server = Running::start(data.path());
    let password = server.add_device("line-3");
    let other = server.add_device("line-4");
    for (id, user, password) in [
        ("line-3", "line-3", "x"),
        ("line-3", "line-3", &other),
        ("line-5", "line-5", &password),
        ("lineside.server", "lineside.server", &password),
    ] {
        let refused = Client::connect(&server, id, user, password).await.err();
        assert_eq!(refused, Some(ConnectReturnCode::BadUserNamePassword), "{user}");
    }
    // Under the other's client id it would end the other's session.
    let refused = Client::connect(&server, "line-4", "line-3", &password).await.err();
    assert_eq!(refused, Some(ConnectReturnCode::NotAuthorized));
    assert!(Client::connect(&server, "line-3", "line-3", &password).await.is_ok());
}

#[tokio::test]
async fn a_device_neither_speaks_nor_listens_outside_of_its_branch() {
    let data = tempfile::tempdir().unwrap();
    let server = Running::start(data.path());
    let password = server.add_device("line-3");
    server.add_device("line-4");
    let mut device = Client::device(&server, "line-3", &password).await;
    for filter in ["#", "lineside/v1/+/down/#", "lineside/v1/line-4/down/#", "lineside/v1/#"] {
        let refused = device.subscribe(filter).await;
        assert_eq!(refused, Err(SubscribeReasonCode::NotAuthorized), "{filter}");
    }
    for topic in ["lineside/v1/line-4/up/status", "lineside/v1/line-3/down/ack", "plant/x"] {
        let answer = device.publish(topic, b"x".to_vec()).await;
        assert_eq!(answer, PubAckReason::NotAuthorized, "{topic}");
    }
    let own = device.publish("lineside/v1/line-3/up/status", b"x".to_vec()).await;
    assert_eq!(own, PubAckReason::Success);
    let seen =
        server.wait_for("/api/v1/devices/line-3", |device| device["unreadable_messages"] == 1);
    assert_eq!(seen["name"], "line-3");
    assert_eq!(server.get("/api/v1/devices/line-4").json()["unreadable_messages"], 0);
}
