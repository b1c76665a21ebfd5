//! Many messages at a time.

use crate::mqtt::Client;
use crate::running::Running;
use crate::telemetry::{event, tell};

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_says_too_much_waits_and_no_other_does() {
    const MESSAGES: usize = 1_000;
    let data = tempfile::tempdir().unwrap();
    let server = Running::start(data.path());
    let loud = server.add_device("line-3");
    let quiet = server.add_device("line-4");
    let loud = Client::device(&server, "line-3", &loud).await;
    let mut quiet = Client::device(&server, "line-4", &quiet).await;
    let taken = |device: &serde_json::Value| device["unreadable_messages"].as_u64().unwrap();
    let flooding = tokio::spawn(async move {
        loud.flood("lineside/v1/line-3/up/status", b"x", MESSAGES).await;
    });
    // Of the flood a message is taken, so the rest of it is under way.
    while taken(&server.get("/api/v1/devices/line-3").json()) == 0 {
        tokio::task::yield_now().await;
    }
    tell(&mut quiet, "line-4", vec![event(1, 0, "x")]).await;
    let before = taken(&server.get("/api/v1/devices/line-3").json());
    assert!(before < MESSAGES as u64, "the other had to wait for all of them");
    flooding.await.unwrap();
    let all = taken(&server.get("/api/v1/devices/line-3").json());
    assert_eq!(all, MESSAGES as u64, "each was answered only when it had been taken");
    assert_eq!(server.get("/api/v1/health").json()["messages_dropped"], 0);
}
