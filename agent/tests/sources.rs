//! Recordings that are exchanged, lack a column or are at their end: what the program does and says.

#![allow(clippy::unwrap_used)] // A test stops at what does not hold.

mod kit;

use kit::{Device, Vendor, echo, wait};
use std::fs;
use std::path::Path;
use std::process::{Output, Stdio};

/// A device whose recording has been read to its end by a committed release.
fn device(rows: usize) -> Device {
    let vendor = Vendor::new();
    let mut device = Device::new(&vendor, rows);
    edit(device.folder.path(), "pace = 'real'", "pace = 'flat-out'");
    device.start();
    let bundle = echo("1", "[trial]\nframes = 5\njudge_after = 2\n");
    let bundles = std::slice::from_ref(&bundle);
    let output = device.install(&vendor.papers(bundles, &bundle, 1, "line-3"), bundles);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    wait("it is committed", || (device.slot()["active"] == "echo v1").then_some(()));
    device.kill();
    let output = drain(&device);
    assert!(output.status.success(), "{}", said(&output));
    device
}

fn edit(folder: &Path, from: &str, to: &str) {
    let path = folder.join("agent.toml");
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains(from), "{text}");
    fs::write(path, text.replace(from, to)).unwrap();
}

/// Runs the agent until everything is read and delivered, or that fails.
fn drain(device: &Device) -> Output {
    let mut program = device.program();
    let program = program.args(["run", "--until-drained"]).stderr(Stdio::piped());
    program.spawn().unwrap().wait_with_output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn accepted(device: &Device) -> u64 {
    device.slot()["counts"]["accepted"].as_u64().unwrap()
}

#[test]
fn another_recording_is_read_from_its_beginning_and_more_of_one_from_where_it_was() {
    let device = device(300);
    assert_eq!(accepted(&device), 300);
    let output = drain(&device);
    assert!(said(&output).contains("source rows is at its end"), "{}", said(&output));
    assert_eq!(accepted(&device), 300);

    let rows = fs::read_to_string(device.folder.path().join("rows.csv")).unwrap();
    let more: String = rows.lines().take(101).map(|line| format!("{line}\n")).collect();
    fs::write(device.folder.path().join("more.csv"), &more).unwrap();
    edit(device.folder.path(), "paths = ['rows.csv']", "paths = ['rows.csv', 'more.csv']");
    let output = drain(&device);
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(accepted(&device), 400);

    fs::write(device.folder.path().join("other.csv"), &more).unwrap();
    edit(device.folder.path(), "paths = ['rows.csv', 'more.csv']", "paths = ['other.csv']");
    let output = drain(&device);
    assert!(output.status.success(), "{}", said(&output));
    assert!(said(&output).contains("another source than before"), "{}", said(&output));
    assert_eq!(accepted(&device), 500);
}

#[test]
fn a_recording_that_cannot_be_read_is_an_error_and_stands_in_the_status() {
    let mut device = device(30);
    let path = device.folder.path().join("other.csv");
    fs::write(&path, "t,k,y\n2014-01-18T00:00:00Z,k0,1\n").unwrap();
    edit(device.folder.path(), "paths = ['rows.csv']", "paths = ['other.csv']");
    let problem = "there is no column x, only [t, k, y]";
    let output = drain(&device);
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains(problem) && said(&output).contains("slot echo"), "{output:?}");

    device.start();
    wait("the status tells", || {
        let source = device.slot()["source"].as_str().map(str::to_owned);
        source.filter(|source| source.contains("other.csv") && source.contains(problem))
    });
    fs::write(&path, "t,k,x\n2014-01-18T00:00:00Z,k0,1\n").unwrap();
    wait("it is read", || (accepted(&device) == 31).then_some(()));
    assert_eq!(device.slot()["source"], serde_json::Value::Null);
    device.kill();
}

#[test]
fn findings_for_a_sink_that_is_no_more_hold_up_nothing_and_are_told() {
    let mut device = device(30);
    // Nobody listens at port 1, so what it is to get waits.
    edit(device.folder.path(), "sinks = ['log']", "sinks = ['log', 'plant']");
    edit(
        device.folder.path(),
        "[sinks.log]",
        "[sinks.plant]\nkind = 'mqtt'\nhost = '127.0.0.1'\nport = 1\ntopic = 'f'\n[sinks.log]",
    );
    edit(device.folder.path(), "paths = ['rows.csv']", "paths = ['rows.csv', 'more.csv']");
    let rows = fs::read_to_string(device.folder.path().join("rows.csv")).unwrap();
    fs::write(device.folder.path().join("more.csv"), rows).unwrap();
    device.start();
    wait("findings wait", || (device.status()?["waiting"]["plant"].as_u64()? > 0).then_some(()));
    wait("it is read", || (accepted(&device) == 60).then_some(()));
    device.kill();
    edit(device.folder.path(), "sinks = ['log', 'plant']", "sinks = ['log']");
    edit(
        device.folder.path(),
        "[sinks.plant]\nkind = 'mqtt'\nhost = '127.0.0.1'\nport = 1\ntopic = 'f'\n",
        "",
    );
    let output = drain(&device);
    assert!(output.status.success(), "{}", said(&output));
    assert!(said(&output).contains("findings wait for sink plant, which"), "{}", said(&output));
    assert!(device.status().unwrap()["waiting"]["plant"].as_u64().unwrap() > 0);
}
