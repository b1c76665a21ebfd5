//! Copies of a running server, and servers that go on from them.

use crate::books::address_file;
use crate::mqtt::Client;
use crate::running::{As, Running, command};
use crate::signers::Signers;
use crate::telemetry::{event, tell, turbine_interval};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

/// `lineside-server backup` or `restore`, with these words before the database's.
fn ask(data: &Path, words: &[&Path]) -> Output {
    let mut asked = Command::new(env!("CARGO_BIN_EXE_lineside-server"));
    asked.args(words);
    if let Some(file) = address_file(data) {
        asked.arg("--database").arg(file);
    }
    asked.output().unwrap()
}

fn back_up(data: &Path, to: &Path) -> Output {
    ask(data, &["backup".as_ref(), "--data".as_ref(), data, "--output".as_ref(), to])
}

fn restore(from: &Path, data: &Path) -> Output {
    ask(data, &["restore".as_ref(), from, "--data".as_ref(), data])
}

fn content(output: &Output) {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn refused(output: &Output, words: &str) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains(words), "{words}: {said}");
}

/// A data folder for a server that goes on from what another has now.
pub fn copied(data: &Path, place: &Path) -> std::path::PathBuf {
    let (copy, other) = (place.join("copy"), place.join("data"));
    content(&back_up(data, &copy));
    content(&restore(&copy, &other));
    other
}

#[tokio::test]
async fn a_copy_of_a_running_server_goes_on_as_it_was_when_the_copy_was_taken() {
    let data = tempfile::tempdir().unwrap();
    let server = Running::start(data.path());
    Signers::enrolled(&server).release(&server, "1");
    let password = server.add_device("line-3");
    assert_eq!(server.assign("line-3", "turbine", "turbine/1").status, 200);
    let mut device = Client::device(&server, "line-3", &password).await;
    // More than a page of rows.
    let records = (0..100).map(|at| event(1, at, "before")).chain([turbine_interval(1, 100)]);
    let ack = tell(&mut device, "line-3", records.collect()).await;
    assert_eq!(ack.ranges, [(0, 100)]);

    let place = tempfile::tempdir().unwrap();
    let other = copied(data.path(), place.path());
    let of_all = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o077;
    for path in ["copy", "copy/keys/director.pem", "copy/admin.token", "copy/lineside.db", "data"] {
        assert_eq!(of_all(&place.path().join(path)), 0, "{path}");
    }
    tell(&mut device, "line-3", vec![event(1, 101, "after")]).await;

    let restored = Running::start(&other);
    assert_eq!(restored.token, server.token);
    for path in ["/api/v1/releases", "/api/v1/devices/line-3/documents"] {
        assert_eq!(restored.get(path).body, server.get(path).body, "{path}");
    }
    let texts = |server: &Running| {
        let events = server.get("/api/v1/devices/line-3/events?limit=1000").json();
        events.as_array().unwrap().len()
    };
    assert_eq!((texts(&server), texts(&restored)), (101, 100));
    let intervals = |server: &Running| server.get("/api/v1/devices/line-3/intervals").json();
    assert_eq!(intervals(&server), intervals(&restored));
    let manifest = server.ask("GET", "/v2/turbine/manifests/1", As::Administrator, b"").body;
    let again = restored.ask("GET", "/v2/turbine/manifests/1", As::Administrator, b"");
    assert_eq!((again.status, again.body), (200, manifest));
    // It goes on: what comes again is known, and what is new gets a number of its own.
    let mut device = Client::device(&restored, "line-3", &password).await;
    let ack = tell(&mut device, "line-3", vec![event(1, 99, "before"), event(1, 101, "after")]);
    assert_eq!(ack.await.ranges, [(99, 99), (101, 101)]);
    assert_eq!(texts(&restored), 101);
}

#[test]
fn a_copy_that_is_taken_while_devices_are_added_is_whole() {
    let data = tempfile::tempdir().unwrap();
    let server = Running::start(data.path());
    let place = tempfile::tempdir().unwrap();
    let added = std::sync::atomic::AtomicUsize::new(0);
    let (done, wait) = std::sync::mpsc::channel::<()>();
    std::thread::scope(|scope| {
        let (server, added) = (&server, &added);
        scope.spawn(move || {
            while wait.try_recv() == Err(std::sync::mpsc::TryRecvError::Empty) {
                let at = added.load(std::sync::atomic::Ordering::SeqCst);
                server.add_device(&format!("line-{at}"));
                added.store(at + 1, std::sync::atomic::Ordering::SeqCst);
            }
        });
        let before = added.load(std::sync::atomic::Ordering::SeqCst);
        let other = copied(data.path(), place.path());
        drop(done);
        let restored = Running::start(&other);
        let names = restored.get("/api/v1/devices").json().as_array().unwrap().len();
        assert!(names >= before, "{names} of {before}");
    });
}

#[test]
fn what_is_there_is_not_written_over_and_what_is_no_copy_is_named() {
    let data = tempfile::tempdir().unwrap();
    let place = tempfile::tempdir().unwrap();
    let at = |name: &str| place.path().join(name);
    refused(&back_up(&at("nowhere"), &at("copy")), "no data folder of a server");
    let server = Running::start(data.path());
    server.add_device("line-3");
    content(&back_up(data.path(), &at("copy")));
    refused(&back_up(data.path(), &at("copy")), "is there already");
    refused(&restore(&at("nothing"), &at("data")), "is no copy");
    refused(&restore(&at("copy"), data.path()), "has something in it");
    assert!(!at("data").exists() && !at("data.part").exists());

    // A database that is used, where there is one.
    let file = address_file(data.path());
    if let Some(file) = file {
        server.kill();
        let mut filling = command(&at("data"));
        filling = Command::new(filling.get_program());
        filling.arg("restore").arg(at("copy")).arg("--data").arg(at("data"));
        refused(
            &filling.arg("--database").arg(file).output().unwrap(),
            "devices or documents in it",
        );
        assert!(!at("data").exists());
    }
}
