//! People and programs at the server, by the command line: they are added, log in, do what they may, and leave.

#![allow(clippy::unwrap_used)] // A test stops at what does not hold.

use lineside_tests::fleet::Fleet;
use lineside_tests::{complaint, lineside_in};
use serde_json::Value;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Output;

const TLS: &str =
    "[tls]\nhttp = \"127.0.0.1:0\"\nmqtt = \"127.0.0.1:0\"\nnames = [\"127.0.0.1\"]\n";

fn https(folder: &Path) -> String {
    let endpoints = fs::read(folder.join("server/endpoints.json")).unwrap();
    let endpoints: Value = serde_json::from_slice(&endpoints).unwrap();
    endpoints["https"].as_str().unwrap().to_owned()
}

fn refused(output: &Output) -> String {
    assert!(!output.status.success());
    complaint(output)
}

#[test]
fn people_log_in_from_elsewhere_and_do_what_they_may_under_their_own_names() {
    let folder = tempfile::tempdir().unwrap();
    let fleet = Fleet::start_set(folder.path(), TLS).unwrap();
    let url = https(folder.path());
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    fs::copy(folder.path().join("server/authority.pem"), folder.path().join("authority.pem"))
        .unwrap();
    // From another machine: by TLS, without the data folder.
    let elsewhere = |arguments: &[&str]| {
        let whole = [&["--server", &url, "--authority", "authority.pem"], arguments].concat();
        lineside_in(folder.path(), &whole)
    };
    let made = fleet.json(&["person", "add", "anna", "--role", "approver"]).unwrap();
    write("first", made["password"].as_str().unwrap());
    write("own", "a password of my own\n");
    write("wrong", "a password of others\n");
    let log_in = |password: &str| {
        elsewhere(&[
            "login",
            "anna",
            "-o",
            "anna.token",
            "--password-file",
            password,
            "--new-password-file",
            "own",
        ])
    };
    let said = refused(&log_in("wrong"));
    assert!(said.contains("name or password is wrong"), "{said}");
    assert!(log_in("first").status.success());
    let mode = fs::metadata(folder.path().join("anna.token")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    // The first password is good once.
    refused(&log_in("first"));
    assert!(log_in("own").status.success());

    let as_anna =
        |arguments: &[&str]| elsewhere(&[&["--token-file", "anna.token"], arguments].concat());
    assert!(as_anna(&["device", "list"]).status.success());
    let said = refused(&as_anna(&["person", "list"]));
    assert!(said.contains("the right to administer, which anna does not have"), "{said}");
    let said = refused(&as_anna(&["device", "remove", "mill"]));
    assert!(said.contains("the right to enrol"), "{said}");
    let again = as_anna(&["login", "--again", "--password-file", "own"]);
    assert!(again.status.success(), "{}", complaint(&again));
    let said = refused(&as_anna(&["login", "--again", "--password-file", "wrong"]));
    assert!(said.contains("name or password is wrong"), "{said}");

    // Who is not known by the authority's certificate is not told a password.
    fs::copy(folder.path().join("own"), folder.path().join("authority.pem")).unwrap();
    let said = refused(&as_anna(&["device", "list"]));
    assert!(said.contains("no certificate in it"), "{said}");
    fs::copy(folder.path().join("server/authority.pem"), folder.path().join("authority.pem"))
        .unwrap();

    let list = fleet.json(&["person", "list"]).unwrap();
    assert_eq!(list[0]["grants"][0]["role"], "approver", "{list}");
    fleet.json(&["person", "grant", "anna", "--role", "viewer", "--site", "hall-2"]).unwrap();
    let said = refused(&as_anna(&["audit", "export", "-o", "log"]));
    assert!(said.contains("everywhere"), "{said}");
    assert!(as_anna(&["logout"]).status.success());
    let said = refused(&as_anna(&["device", "list"]));
    assert!(said.contains("does not accept the token of anna.token"), "{said}");
    fleet.json(&["person", "remove", "anna"]).unwrap();
    refused(&log_in("own"));
}

#[test]
fn a_program_does_what_it_may_until_its_token_is_taken_back() {
    let folder = tempfile::tempdir().unwrap();
    let fleet = Fleet::start(folder.path()).unwrap();
    let token = ["program", "token", "ci", "--role", "viewer", "-o", "ci.token", "--days", "7"];
    fleet.json(&token).unwrap();
    let said = refused(&fleet.lineside(&token));
    assert!(said.contains("never written over"), "{said}");
    let url = fleet.url();
    let list = ["--server", &url, "--token-file", "ci.token", "device", "list"];
    assert!(lineside_in(folder.path(), &list).status.success());
    let listed = fleet.lineside(&["program", "list"]);
    let listed = String::from_utf8(listed.stdout).unwrap();
    assert!(listed.starts_with("ci  viewer  until 2"), "{listed}");
    let new =
        ["--server", &url, "--token-file", "ci.token", "person", "add", "x", "--role", "admin"];
    let said = refused(&lineside_in(folder.path(), &new));
    assert!(said.contains("the right to administer"), "{said}");
    fleet.json(&["program", "remove", "ci"]).unwrap();
    let said = refused(&lineside_in(folder.path(), &list));
    assert!(said.contains("does not accept the token of ci.token"), "{said}");
}
