//! The program: its addresses, its folder, its end.

use crate::books::is_no_file;
use crate::running::{Running, command};
use crate::signers::Signers;
use serde_json::Value;
use std::fs::{self, File};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Starts a server that must not start, and gives what it says.
fn refusal(mut command: Command) -> String {
    let output = command.stderr(Stdio::piped()).output().unwrap();
    assert!(!output.status.success());
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn a_second_server_on_the_same_folder_is_refused() {
    let data = tempfile::tempdir().unwrap();
    let _server = Running::start(data.path());
    let said = refusal(command(data.path()));
    assert!(said.contains("another server") && said.contains("--data"), "{said}");
}

/// A line of the log as programs read it: its message.
fn message(line: &str) -> String {
    let said: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}"));
    let text = |name: &str| said[name].as_str().unwrap_or_else(|| panic!("no {name}: {line}"));
    OffsetDateTime::parse(text("timestamp"), &Rfc3339).unwrap();
    assert!(text("timestamp").ends_with('Z'), "{line}");
    assert!(["ERROR", "WARN", "INFO"].contains(&text("level")), "{line}");
    assert!(!text("target").is_empty(), "{line}");
    text("message").to_owned()
}

#[test]
fn the_log_is_for_people_or_one_json_object_a_line_to_the_last_one() {
    let data = tempfile::tempdir().unwrap();
    let file = data.path().join("said");
    let launch = |more: &[&str]| {
        let mut command = command(data.path());
        command.args(more).stderr(File::create(&file).unwrap());
        let server = Running::launch(command, data.path());
        let mut second = self::command(data.path());
        second.args(more);
        let refused = refusal(second);
        let process = server.process_id().to_string();
        assert!(Command::new("kill").args(["-TERM", &process]).status().unwrap().success());
        assert!(server.wait());
        (fs::read_to_string(&file).unwrap(), refused)
    };
    let (said, refused) = launch(&["--log-format", "json"]);
    let messages: Vec<String> = said.lines().map(message).collect();
    assert!(messages.iter().any(|it| it.contains("the administrator's token is in")), "{said}");
    assert!(messages.iter().any(|it| it == "stopping"), "{said}");
    let refused: Vec<String> = refused.lines().map(message).collect();
    assert!(refused.last().unwrap().contains("another server"), "{refused:?}");
    let (said, refused) = launch(&[]);
    assert!(said.contains(" INFO ") && !said.contains('{'), "{said}");
    assert!(refused.contains("lineside-server: "), "{refused}");
}

#[test]
fn a_port_in_use_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    for setting in ["--http", "--mqtt"] {
        let data = tempfile::tempdir().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_lineside-server"));
        command.args(["run", "--data"]).arg(data.path());
        for name in ["--http", "--mqtt"] {
            let port = if name == setting { port } else { 0 };
            command.args([name, &format!("127.0.0.1:{port}")]);
        }
        let said = refusal(command);
        assert!(said.contains(&format!("port {port}")) && said.contains(setting), "{said}");
    }
}

#[test]
fn other_machines_are_not_served_without_tls() {
    let data = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_lineside-server"));
    command.args(["run", "--http", "0.0.0.0:0", "--data"]).arg(data.path().join("new"));
    let said = refusal(command);
    assert!(said.contains("TLS") && said.contains("--http"), "{said}");
    assert!(!data.path().join("new").exists());
}

#[test]
fn asked_to_stop_it_stops_content_and_keeps_everything() {
    let data = tempfile::tempdir().unwrap();
    let server = Running::start(data.path());
    let signers = Signers::enrolled(&server);
    signers.release(&server, "1");
    server.add_device("line-3");
    server.assign("line-3", "turbine", "turbine/1");
    let what = |server: &Running| {
        let paths = [
            "/api/v1/root",
            "/api/v1/releases",
            "/api/v1/online-keys",
            "/api/v1/devices/line-3/documents",
            "/v2/turbine/manifests/1",
        ];
        paths.map(|path| server.get(path).body)
    };
    let (before, token) = (what(&server), server.token.clone());
    let process = server.process_id().to_string();
    assert!(Command::new("kill").args(["-TERM", &process]).status().unwrap().success());
    assert!(server.wait(), "it ends with exit code 0");

    let server = Running::start(data.path());
    assert_eq!(what(&server), before);
    assert_eq!(server.token, token);
    // It is killed, and once more.
    server.kill();
    let server = Running::start(data.path());
    assert_eq!(what(&server), before);
}

#[test]
fn its_secrets_are_for_its_owner_and_its_addresses_are_in_a_file() {
    use std::os::unix::fs::PermissionsExt;
    let data = tempfile::tempdir().unwrap();
    let folder = data.path().join("data");
    let server = Running::start(&folder);
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&folder), 0o700);
    for secret in ["admin.token", "keys/director.pem", "keys/online.pem"] {
        assert_eq!(mode(&folder.join(secret)), 0o600, "{secret}");
    }
    if !is_no_file() {
        assert_eq!(mode(&folder.join("lineside.db")), 0o600);
    }
    let text = std::fs::read_to_string(folder.join("endpoints.json")).unwrap();
    let endpoints: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(endpoints["http"], server.http);
    assert_eq!(endpoints["mqtt"], server.mqtt);
}
