//! Disks that are full and files that are damaged.

use crate::books::{change, is_no_file};
use crate::mqtt::Client;
use crate::running::{As, Running, command};
use crate::signers::Signers;
use crate::telemetry::{event, message, tell};
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
use std::path::Path;
use std::process::Command;

/// A server that is told of a file that may not grow, as of a full disk, instead of being killed.
fn command_that_outlives_a_full_disk(data: &Path) -> Command {
    let plain = command(data);
    let mut shell = Command::new("sh");
    shell.args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""]).arg(plain.get_program());
    shell.args(plain.get_args()).env_remove("RUST_LOG");
    shell.stdin(std::process::Stdio::null()).stderr(std::process::Stdio::null());
    shell
}

/// Sets how far the files of a server may grow: nothing is as a full disk.
fn limit_files(server: &Running, bytes: Option<u64>) {
    let process = Pid::from_raw(server.process_id() as i32);
    // The hard limit is as for this process, which has started it.
    let maximum = getrlimit(Resource::Fsize).maximum;
    let current = bytes.or(maximum);
    prlimit(process, Resource::Fsize, Rlimit { current, maximum }).unwrap();
}

#[tokio::test]
async fn a_full_disk_is_said_and_what_was_acknowledged_before_and_after_it_is_there() {
    if is_no_file() {
        return;
    }
    let data = tempfile::tempdir().unwrap();
    let command = command_that_outlives_a_full_disk(data.path());
    let server = Running::launch(command, data.path());
    let password = server.add_device("line-3");
    let mut device = Client::device(&server, "line-3", &password).await;
    tell(&mut device, "line-3", vec![event(1, 0, "before")]).await;
    assert_eq!(server.get("/api/v1/health").json()["status"], "ok");

    limit_files(&server, Some(0));
    let topic = "lineside/v1/line-3/up/telemetry";
    device.publish(topic, message(vec![event(1, 1, "meanwhile")])).await;
    let health = server.get("/api/v1/health");
    assert_eq!((health.status, &health.json()["status"]), (503, &"nothing can be stored".into()));
    assert!(health.json()["attention"][0].as_str().unwrap().contains("can store nothing"));
    let page = server.page("/");
    assert!(page.contains("the server can store nothing"), "{page}");
    assert!(health.json()["writes_failed"].as_u64().unwrap() >= 1);
    let new = server.ask("POST", "/api/v1/devices", As::Administrator, b"{\"name\":\"line-4\"}");
    assert!(new.error(500).contains("log"), "{}", new.text());

    limit_files(&server, None);
    server.wait_for("/api/v1/health", |health| health["status"] == "ok");
    // Writing that is given up, on every connection to the database.
    for _ in 0..8 {
        let new = b"{\"name\":\"line-3\"}";
        let again = server.ask("POST", "/api/v1/devices", As::Administrator, new);
        assert!(again.error(409).contains("exists already"));
    }
    // The first answer there is: what came meanwhile was not acknowledged.
    let ack = tell(&mut device, "line-3", vec![event(1, 2, "after")]).await;
    assert_eq!(ack.ranges, [(2, 2)]);
    server.add_device("line-5");

    server.kill();
    let server = Running::start(data.path());
    let shown = server.get("/api/v1/devices/line-3").json();
    let texts: Vec<&str> = shown["events"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| event["text"].as_str().unwrap())
        .collect();
    assert_eq!(texts, ["after", "before"]);
    assert_eq!(shown["missing_records"], 1);
    assert_eq!(server.get("/api/v1/devices/line-5").status, 200);
}

#[test]
fn a_damaged_database_is_named_with_what_to_do() {
    if is_no_file() {
        return;
    }
    let data = tempfile::tempdir().unwrap();
    Running::start(data.path()).kill();
    let path = data.path().join("lineside.db");
    for name in ["lineside.db-wal", "lineside.db-shm"] {
        let _ = std::fs::remove_file(data.path().join(name));
    }
    std::fs::write(&path, "this was a database before its disk failed").unwrap();
    let output = command(data.path()).stderr(std::process::Stdio::piped()).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success());
    assert!(said.contains(&path.display().to_string()), "{said}");
    assert!(said.contains("restore it from a copy"), "{said}");
}

#[tokio::test]
async fn a_fleet_of_an_earlier_server_goes_on_under_this_one_and_a_later_ones_is_left_alone() {
    if is_no_file() {
        return;
    }
    let data = tempfile::tempdir().unwrap();
    let server = Running::start(data.path());
    let password = server.add_device("line-3");
    Signers::enrolled(&server).release(&server, "1");
    assert_eq!(server.assign("line-3", "turbine", "turbine/1").status, 200);
    let documents = server.get("/api/v1/devices/line-3/documents").json();
    server.kill();
    change(
        data.path(),
        "ALTER TABLE assignment DROP COLUMN approved; DROP TABLE role_token; PRAGMA user_version = 6",
    )
    .await;

    let server = Running::start(data.path());
    assert_eq!(server.ask("GET", "/v2/", As::Device("line-3", &password), b"").status, 200);
    let now = server.get("/api/v1/devices/line-3/documents").json();
    assert_eq!(now["assignment"], documents["assignment"]);
    assert_eq!(server.assign("line-3", "other", "turbine/1").status, 200);
    assert_eq!(server.get("/api/v1/tokens").status, 200);
    assert!(data.path().join("lineside.db.version-6").exists());
    server.kill();

    change(data.path(), "PRAGMA user_version = 1000").await;
    let output = command(data.path()).stderr(std::process::Stdio::piped()).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success());
    for words in ["tables of version 1000", "a later server has written it", "version-"] {
        assert!(said.contains(words), "{words}: {said}");
    }
}
