//! The pages.

use crate::mqtt::Client;
use crate::running::{As, Running};
use crate::signers::Signers;
use lineside_wire::envelope::encode;
use lineside_wire::v1::{ReleaseRef, SlotStatus, Status};

/// What a browser keeps after it showed the token.
pub fn log_in(server: &Running) -> String {
    let reply = server.ask("GET", &format!("/?token={}", server.token), As::Nobody, b"");
    assert_eq!((reply.status, reply.header("location")), (303, "/"));
    let cookie = reply.header("set-cookie");
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite"), "{cookie}");
    assert!(!cookie.contains(&server.token));
    cookie.split(';').next().unwrap().to_owned()
}

#[test]
fn a_page_is_shown_to_who_has_the_token() {
    let data = tempfile::tempdir().unwrap();
    let server = Running::start(data.path());
    server.add_device("line-3");
    for path in ["/", "/devices/line-3", "/releases", "/?token=wrong"] {
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

    let cookie = log_in(&server);
    let page = server.ask("GET", "/", As::Header("cookie", &cookie), b"");
    assert!(page.status == 200 && page.text().contains("line-3"), "{}", page.text());
    assert!(page.header("content-security-policy").contains("default-src 'none'"));
    let api = server.ask("GET", "/api/v1/devices", As::Header("cookie", &cookie), b"");
    assert_eq!(api.status, 401, "the cookie opens pages only");
    let none = server.ask("GET", "/devices/none", As::Header("cookie", &cookie), b"");
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
        floor: 0,
    };
    let status = Status {
        boot: 1,
        agent_version: format!("{evil}e"),
        slots: vec![slot],
        assignment_version: 1,
        releases_version: 1,
        root_version: 1,
        wall_clock_unix_ms: 0,
    };
    device.publish("lineside/v1/line-3/up/status", encode(&status).unwrap()).await;
    server.wait_for("/api/v1/devices/line-3", |shown| shown["boot"] == 1);
    let cookie = log_in(&server);
    for path in ["/", "/devices/line-3", "/releases"] {
        let page = server.ask("GET", path, As::Header("cookie", &cookie), b"").text();
        assert!(!page.contains("<script"), "{path}: {page}");
    }
    let page = server.ask("GET", "/devices/line-3", As::Header("cookie", &cookie), b"").text();
    for shown in ["&lt;script&gt;", "phase 99", "turbine/1", "hill", "line=3"] {
        assert!(page.contains(shown), "{shown}: {page}");
    }
    let releases = server.ask("GET", "/releases", As::Header("cookie", &cookie), b"").text();
    assert!(releases.contains("turbine v1"), "{releases}");
}
