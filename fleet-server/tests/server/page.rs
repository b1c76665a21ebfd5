//! The pages.

use crate::mqtt::Client;
use crate::running::{As, Running};
use crate::signers::Signers;
use lineside_wire::envelope::encode;
use lineside_wire::v1::{Body, Interval, Record, ReleaseRef, SlotStatus, Status, Telemetry};

#[test]
fn a_page_is_shown_to_who_has_the_token() {
    let data = tempfile::tempdir().unwrap();
    let server = Running::start(data.path());
    server.add_device("line-3");
    for path in ["/", "/devices/line-3", "/rollouts", "/releases", "/?token=wrong"] {
        for cookie in ["", "lineside=", "lineside=x", "other=x"] {
            let reply = server.ask("GET", path, As::Header("cookie", cookie), b"");
            assert_eq!(reply.status, 401, "{path} {cookie}");
            assert!(!reply.text().contains("line-3"), "{path} {cookie}");
        }
    }
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let body = format!("token={}", server.token);
    let reply = server.ask_with("POST", "/login", As::Nobody, &form, body.as_bytes());
    assert_eq!(reply.status, 303);
    let wrong = server.ask_with("POST", "/login", As::Nobody, &form, b"token=x");
    assert_eq!((wrong.status, wrong.header("set-cookie")), (401, ""));

    let cookie = server.log_in();
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite"), "{cookie}");
    assert!(!cookie.contains(&server.token));
    let cookie = cookie.split(';').next().unwrap();
    let page = server.ask("GET", "/", As::Header("cookie", cookie), b"");
    assert!(page.status == 200 && page.text().contains("line-3"), "{}", page.text());
    assert!(page.header("content-security-policy").contains("default-src 'none'"));
    let api = server.ask("GET", "/api/v1/devices", As::Header("cookie", cookie), b"");
    assert_eq!(api.status, 401, "the cookie opens pages only");
    let none = server.ask("GET", "/devices/none", As::Header("cookie", cookie), b"");
    assert_eq!(none.status, 404);
}

#[tokio::test]
async fn what_a_device_says_is_shown_and_never_becomes_markup() {
    let data = tempfile::tempdir().unwrap();
    let server = Running::start(data.path());
    let signers = Signers::enrolled(&server);
    signers.release(&server, "1");
    let password = server.add_device("line-3");
    server.assign("line-3", "turbine", "turbine/1");
    let mut device = Client::device(&server, "line-3", &password).await;
    let evil = "<script>alert(1)</script>";
    let release =
        ReleaseRef { name: format!("{evil}a"), version: format!("{evil}b"), digest: [1; 32] };
    let slot = SlotStatus {
        slot: format!("{evil}c"),
        active: Some(release.clone()),
        previous: Some(release),
        candidate: None,
        phase: 99,
        note: format!("{evil}d\"'&"),
        trouble: format!("{evil}f"),
        floor: 0,
        hold: Some(format!("{evil}e")),
        hold_left_seconds: None,
        deadline_left_seconds: None,
    };
    let status = Status {
        boot: 1,
        agent_version: format!("{evil}e"),
        slots: vec![slot],
        assignment_version: 1,
        releases_version: 1,
        root_version: 1,
        timestamp_version: 0,
        wall_clock_unix_ms: 0,
    };
    device.publish("lineside/v1/line-3/up/status", encode(&status).unwrap()).await;
    server.wait_for("/api/v1/devices/line-3", |shown| shown["boot"] == 1);
    for path in ["/", "/devices/line-3", "/rollouts", "/releases"] {
        let page = server.page(path);
        assert!(!page.contains("<script"), "{path}: {page}");
    }
    let page = server.page("/devices/line-3");
    for shown in ["updates are &lt;script&gt;", "phase 99", "turbine/1", "hill", "line=3"] {
        assert!(page.contains(shown), "{shown}: {page}");
    }
    assert!(server.page("/releases").contains("turbine v1"));
}

#[test]
fn two_servers_of_one_machine_keep_a_browser_logged_in_at_both() {
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (one, other) = (Running::start(one.path()), Running::start(other.path()));
    // A browser sends the cookies of a host to each of its ports.
    let cookies: Vec<String> = [&one, &other]
        .map(|server| server.log_in().split(';').next().unwrap().to_owned())
        .into_iter()
        .collect();
    let names: Vec<&str> = cookies.iter().map(|one| one.split('=').next().unwrap()).collect();
    assert_ne!(names[0], names[1]);
    let both = cookies.join("; ");
    for server in [&one, &other] {
        assert_eq!(server.ask("GET", "/", As::Header("cookie", &both), b"").status, 200);
    }
}

#[tokio::test]
async fn what_a_device_drops_or_does_twice_is_seen_at_a_glance() {
    let data = tempfile::tempdir().unwrap();
    let server = Running::start(data.path());
    let signers = Signers::enrolled(&server);
    signers.release(&server, "1");
    let password = server.add_device("line-3");
    let mut device = Client::device(&server, "line-3", &password).await;
    server.assign("line-3", "turbine", "turbine/1");
    let interval = Interval {
        readings: 2_400,
        frames: 40,
        findings: 30,
        alarms: 2,
        doubled: 113,
        errors: vec![("model".into(), 114)],
        dropped: vec![("full".into(), 115)],
        ..Interval::of(
            "turbine",
            ReleaseRef { name: "turbine".into(), version: "1".into(), digest: [7; 32] },
            (1_000_000, 4_600_000),
        )
    };
    let (code, body) = Body::Interval(Box::new(interval)).encode().unwrap();
    let record = Record { boot: 1, sequence: 4, backfill: true, code, body };
    let telemetry = encode(&Telemetry { records: vec![record] }).unwrap();
    device.publish("lineside/v1/line-3/up/telemetry", telemetry).await;
    device.receive("down/ack").await;

    let page = server.page("/devices/line-3");
    for shown in [
        "115 readings were dropped on the device",
        "113 frames were answered by more than one release",
        "114 frames got no answer",
        "4 telemetry records are missing",
        "assignment 1 is signed and not accepted yet",
        "sent later",
        "the broker has dropped no message since its start",
    ] {
        assert!(page.contains(shown), "{shown}: {page}");
    }
    // Once in the sums and once in the interval.
    for count in ["113", "114", "115"] {
        let stands_out = format!("<td class=\"n some\">{count}</td>");
        assert_eq!(page.matches(&stands_out).count(), 2, "{count}: {page}");
    }
    assert!(server.page("/").contains("5 to look at"), "{}", server.page("/"));
}
