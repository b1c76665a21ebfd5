//! The operator's commands against a real server: what they do, and what they say when it cannot be.

#![allow(clippy::unwrap_used)] // A test stops at what does not hold.

use lineside_tests::child::wait;
use lineside_tests::fleet::Fleet;
use lineside_tests::{complaint, examples, lineside_in, root};
use lineside_trust::{KeyPair, PublicKey, RootSpec, sign_root};
use serde_json::Value;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Output;
use tempfile::TempDir;
use time::{Duration, OffsetDateTime};

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// What a command that fails says.
fn refused(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{}", complaint(output));
    complaint(output)
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &target),
            false => drop(fs::copy(entry.path(), target).unwrap()),
        }
    }
}

#[test]
fn a_bundle_is_released_once_and_assigned_by_name() {
    let folder = folder();
    let fleet = Fleet::start(folder.path()).unwrap();
    let first = fleet.release("turbine", "1").unwrap();
    assert_eq!((&first["number"], &first["new"]), (&1.into(), &true.into()));
    let again = fleet.release("turbine", "1").unwrap();
    assert_eq!((&again["number"], &again["new"]), (&1.into(), &false.into()));
    assert_eq!(again["blobs_pushed"], 0);
    let second = fleet.release("turbine", "2").unwrap();
    assert_eq!(second["number"], 2);
    // The plugin, the recording and the card are the same in both.
    assert!(second["blobs_pushed"].as_u64() < first["blobs_pushed"].as_u64(), "{second}");

    fleet.add_device("mill-7", "").unwrap();
    let assigned = fleet.assign("mill-7", "turbine", "turbine/2").unwrap();
    assert_eq!(assigned["release"], "turbine/2");
    assert_eq!(fleet.show("mill-7").unwrap()["slots"]["turbine"]["assigned"], "turbine/2");
    let list = fleet.json(&["device", "list"]).unwrap();
    assert_eq!(list.as_array().map(Vec::len), Some(1));
    let table = fleet.lineside(&["device", "list"]);
    let table = String::from_utf8(table.stdout).unwrap();
    let row = table.lines().nth(1).unwrap().split_whitespace().collect::<Vec<_>>();
    assert_eq!(row, ["mill-7", "-", "never", "1", "turbine", "turbine/2", "-", "-"]);
    let paragraph = fleet.lineside(&["device", "show", "mill-7"]);
    let paragraph = String::from_utf8(paragraph.stdout).unwrap();
    assert!(paragraph.contains("the device has not told of this slot"), "{paragraph}");
    assert!(paragraph.contains("! assignment 1 is signed and not accepted yet"), "{paragraph}");

    for (arguments, words) in [
        (["assign", "mill-7", "turbine", "turbine/9"], "turbine/9"),
        (["assign", "mill-8", "turbine", "turbine/1"], "lineside device add"),
    ] {
        let said = refused(&fleet.lineside(&arguments));
        assert!(said.contains(words), "{said}");
    }

    let unassign = ["unassign", "mill-7", "turbine"];
    assert_eq!(fleet.json(&unassign).unwrap()["release"], Value::Null);
    assert_eq!(fleet.show("mill-7").unwrap()["slots"], serde_json::json!({}));
    let said = refused(&fleet.lineside(&unassign));
    assert!(said.contains("nothing is assigned to slot turbine of mill-7"), "{said}");
}

#[test]
fn a_release_that_is_withdrawn_is_given_to_nobody_and_its_number_is_gone() {
    let folder = folder();
    let fleet = Fleet::start(folder.path()).unwrap();
    fleet.release("turbine", "1").unwrap();
    let second = fleet.release("turbine", "2").unwrap();
    fleet.add_device("mill-7", "").unwrap();
    fleet.assign("mill-7", "turbine", "turbine/2").unwrap();
    let manifest =
        format!("{}/v2/turbine/manifests/{}", fleet.url(), second["digest"].as_str().unwrap());
    let agent: ureq::Agent =
        ureq::Agent::config_builder().proxy(None).http_status_as_error(false).build().into();
    let bearer = format!("Bearer {}", fleet.token().unwrap());
    let remove = || {
        let mut answer = agent.delete(&manifest).header("authorization", &bearer).call().unwrap();
        (answer.status().as_u16(), answer.body_mut().read_to_string().unwrap())
    };
    let (status, said) = remove();
    assert_eq!(status, 409);
    assert!(said.contains("lineside release withdraw turbine/2"), "{said}");

    let unlisted = refused(&fleet.lineside(&["release", "withdraw", "turbine/9"]));
    assert!(unlisted.contains("turbine/9 is not on the list"), "{unlisted}");
    let said = fleet.json(&["release", "withdraw", "turbine/2", "--draft", "list"]).unwrap();
    let changes = said["changes"].to_string();
    for words in ["removes turbine/2", "never gives again of turbine", "numbers up to 2"] {
        assert!(changes.contains(words), "{words}: {changes}");
    }
    let said = fleet.json(&["release", "withdraw", "turbine/2"]).unwrap();
    assert_eq!(said["withdrawn"], serde_json::json!(["turbine/2"]));
    let said = refused(&fleet.lineside(&["assign", "mill-7", "turbine", "turbine/2"]));
    assert!(said.contains("there is no release \"turbine/2\""), "{said}");
    assert_eq!(remove().0, 202);

    let again = examples::build("turbine", "2", folder.path()).unwrap();
    let said = refused(&fleet.lineside(&["release", again.to_str().unwrap()]));
    assert!(said.contains("turbine v2 was withdrawn"), "{said}");
    let third = fleet.release("turbine", "4").unwrap();
    assert_eq!((&third["number"], &third["also"]), (&3.into(), &serde_json::json!([])));
    fleet.assign("mill-7", "turbine", "turbine/4").unwrap();
}

#[test]
fn a_version_names_one_bundle_for_ever_and_a_bundle_that_fails_its_checks_none() {
    let folder = folder();
    let fleet = Fleet::start(folder.path()).unwrap();
    let wrong = examples::build("turbine", "3", folder.path()).unwrap();
    let said = refused(&fleet.lineside(&["release", wrong.to_str().unwrap()]));
    assert!(said.contains("turbine v3 does not pass: check january"), "{said}");
    assert!(fleet.get("/api/v1/releases").is_err());

    fleet.release("turbine", "1").unwrap();
    let other = examples::build("turbine", "2", folder.path()).unwrap();
    let source = lineside_tests::root().join("examples/turbine");
    let arguments = ["bundle", "build", source.to_str().unwrap(), "-o", other.to_str().unwrap()];
    let changed = lineside_in(
        folder.path(),
        &[&arguments[..], &["--set", "summary=Another", "--set", "version=1"]].concat(),
    );
    assert!(changed.status.success(), "{}", complaint(&changed));
    let said = refused(&fleet.lineside(&["release", other.to_str().unwrap()]));
    assert!(said.contains("turbine/1 is released already with other contents"), "{said}");
    assert!(said.contains("--set version=NEW"), "{said}");
}

#[test]
fn keys_are_their_owners_and_nothing_is_written_over() {
    let folder = folder();
    let fleet = Fleet::start(folder.path()).unwrap();
    let keys = folder.path().join("keys");
    for key in ["root.pem", "release-1.pem"] {
        assert_eq!(mode(&keys.join(key)), 0o600, "{key}");
    }
    assert_eq!(mode(&keys), 0o700);
    let root = fs::read(keys.join("root.json")).unwrap();
    assert_eq!(fleet.get("/api/v1/root").unwrap(), serde_json::from_slice::<Value>(&root).unwrap());
    let said = refused(&fleet.lineside(&["keys", "new", "-o", "more-keys"]));
    assert!(said.contains("follows a root already"), "{said}");
    assert!(!folder.path().join("more-keys").exists());
    fleet.json(&["keys", "online", "-o", "online.json"]).unwrap();
    let again = ["keys", "new", "-o", "keys", "--online-keys", "online.json"];
    let said = refused(&fleet.lineside(&again));
    assert!(said.contains("is there already and is never written over"), "{said}");
    assert_eq!(fs::read(keys.join("root.json")).unwrap(), root);

    // No private key has reached the server.
    let secrets: Vec<Vec<u8>> =
        ["root.pem", "release-1.pem"].iter().map(|key| fs::read(keys.join(key)).unwrap()).collect();
    let mut waiting = vec![folder.path().join("server")];
    while let Some(path) = waiting.pop() {
        if path.is_dir() {
            waiting.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else if let Ok(bytes) = fs::read(&path) {
            for secret in &secrets {
                let secret = secret.split(|byte| *byte == b'\n').nth(1).unwrap();
                let found = bytes.windows(secret.len()).any(|window| window == secret);
                assert!(!found, "{}", path.display());
            }
        }
    }
}

#[test]
fn keys_that_were_made_offline_are_published_later() {
    let folder = folder();
    let fleet = Fleet::without_keys(folder.path()).unwrap();
    fleet.json(&["keys", "online", "-o", "online.json"]).unwrap();
    let made = ["keys", "new", "-o", "keys", "--online-keys", "online.json"];
    let made = fleet.json(&[&made[..], &["--release-keys", "3", "--threshold", "2"]].concat());
    assert_eq!(made.unwrap()["published"], false);
    let bundle = examples::build("turbine", "1", folder.path()).unwrap();
    let release = ["release", bundle.to_str().unwrap()];
    let said = refused(&fleet.lineside(&release));
    assert!(said.contains("lineside keys publish --keys keys"), "{said}");
    let published = fleet.json(&["keys", "publish"]).unwrap();
    assert_eq!(published["published"], serde_json::json!(["root"]));

    // Two of three people are enough, one is not.
    fs::remove_file(folder.path().join("keys/release-1.pem")).unwrap();
    assert_eq!(fleet.json(&release).unwrap()["signatures"], 2);
    fs::remove_file(folder.path().join("keys/release-2.pem")).unwrap();
    let said = refused(&fleet.lineside(&release));
    assert!(said.contains("a release needs 2 signatures; keys has 1 of"), "{said}");
}

#[test]
fn a_device_gets_a_folder_of_its_own_and_its_password_once() {
    let folder = folder();
    let fleet = Fleet::start(folder.path()).unwrap();
    let add = ["device", "add", "mill-7", "-o", "mill-7", "--site", "Bremen", "--label", "line=3"];
    let said = fleet.json(&add).unwrap();
    let text = fs::read_to_string(folder.path().join("mill-7/device.toml")).unwrap();
    assert_eq!(mode(&folder.path().join("mill-7/device.toml")), 0o600);
    let device: toml::Table = text.parse().unwrap();
    let password = device["password"].as_str().unwrap();
    assert!(!said.to_string().contains(password));
    assert_eq!(device["server_http"].as_str(), Some(fleet.url().as_str()));
    let mqtt = format!("{}:{}", device["mqtt_host"].as_str().unwrap(), device["mqtt_port"]);
    assert_eq!(said["mqtt"], mqtt);
    let read = |path: &str| fs::read(folder.path().join(path)).unwrap();
    assert_eq!(read("mill-7/root.json"), read("keys/root.json"));
    let shown = fleet.show("mill-7").unwrap();
    assert_eq!((&shown["site"], &shown["labels"]["line"]), (&"Bremen".into(), &"3".into()));

    let said = refused(&fleet.lineside(&add));
    assert!(said.contains("device.toml is there already"), "{said}");
    let said = refused(&fleet.lineside(&["device", "add", "mill-7", "-o", "another"]));
    assert!(said.contains("mill-7 exists already"), "{said}");
    assert!(!folder.path().join("another/device.toml").exists());
    assert_eq!(fs::read_to_string(folder.path().join("mill-7/device.toml")).unwrap(), text);
}

#[test]
fn a_device_gets_a_new_password_or_is_removed() {
    let folder = folder();
    let fleet = Fleet::start(folder.path()).unwrap();
    fleet.add_device("mill-7", "").unwrap();
    let password = |place: &str| {
        let text = fs::read_to_string(folder.path().join(place).join("device.toml")).unwrap();
        text.parse::<toml::Table>().unwrap()["password"].clone()
    };
    let reissue = ["device", "reissue", "mill-7", "-o", "again"];
    fleet.json(&reissue).unwrap();
    assert_ne!(password("mill-7/device"), password("again"));
    assert_eq!(mode(&folder.path().join("again/device.toml")), 0o600);
    let said = refused(&fleet.lineside(&reissue));
    assert!(said.contains("device.toml is there already"), "{said}");
    let said = refused(&fleet.lineside(&["device", "reissue", "mill-8", "-o", "other"]));
    assert!(said.contains("there is no device \"mill-8\""), "{said}");
    assert!(!folder.path().join("other/device.toml").exists());

    let remove = ["device", "remove", "mill-7"];
    fleet.json(&remove).unwrap();
    assert_eq!(fleet.json(&["device", "list"]).unwrap(), serde_json::json!([]));
    let said = refused(&fleet.lineside(&remove));
    assert!(said.contains("there is no device \"mill-7\""), "{said}");
    fleet.json(&["device", "add", "mill-7", "-o", "third"]).unwrap();
}

#[test]
fn a_list_of_devices_is_whole_however_many_pages_it_takes() {
    let folder = folder();
    let fleet = Fleet::start(folder.path()).unwrap();
    let agent: ureq::Agent = ureq::Agent::config_builder().proxy(None).build().into();
    let bearer = format!("Bearer {}", fleet.token().unwrap());
    let names: Vec<String> = (0..401).map(|number| format!("mill-{number:03}")).collect();
    for name in &names {
        let request = agent.post(format!("{}/api/v1/devices", fleet.url()));
        let device = serde_json::json!({ "name": name }).to_string();
        request.header("authorization", &bearer).send(device).unwrap();
    }
    let listed = fleet.json(&["device", "list"]).unwrap();
    let listed: Vec<&str> =
        listed.as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
    assert_eq!(listed, names);
}

#[test]
fn after_the_release_keys_were_replaced_releasing_goes_on() {
    let folder = folder();
    let fleet = Fleet::start(folder.path()).unwrap();
    fleet.release("turbine", "1").unwrap();
    fleet.json(&["keys", "online", "-o", "online.json"]).unwrap();
    fleet.json(&["keys", "new", "-o", "next", "--online-keys", "online.json"]).unwrap();
    let key = |path: &str| {
        KeyPair::from_pem(&fs::read_to_string(folder.path().join(path)).unwrap()).unwrap()
    };
    let online: Value =
        serde_json::from_slice(&fs::read(folder.path().join("online.json")).unwrap()).unwrap();
    let public = |name: &str| serde_json::from_value::<PublicKey>(online[name].clone()).unwrap();
    let (root_key, release_key) = (key("keys/root.pem"), key("next/release-1.pem"));
    let spec = RootSpec {
        version: 2,
        expires: OffsetDateTime::now_utc() + Duration::days(365),
        root: (vec![root_key.public()], 1),
        releases: (vec![release_key.public()], 1),
        online: public("online"),
        director: public("director"),
    };
    fs::write(folder.path().join("keys/root.json"), sign_root(&spec, &[&root_key])).unwrap();
    let here = |path: &str| folder.path().join(path);
    fs::copy(here("next/release-1.pem"), here("keys/release-1.pem")).unwrap();

    let error = format!("{:#}", fleet.release("turbine", "2").unwrap_err());
    assert!(error.contains("keys has root version 2"), "{error}");
    assert!(error.contains("lineside keys publish"), "{error}");
    let published = fleet.lineside(&["keys", "publish"]);
    let said = String::from_utf8(published.stdout).unwrap();
    assert!(said.contains("has the root now") && said.contains("sign it anew"), "{said}");

    // The same bundle again is enough; then all goes on as before.
    let again = fleet.release("turbine", "1").unwrap();
    assert_eq!((&again["number"], &again["new"]), (&1.into(), &false.into()));
    let second = fleet.release("turbine", "2").unwrap();
    assert_eq!((&second["number"], &second["new"]), (&2.into(), &true.into()));
    fleet.add_device("mill-7", "").unwrap();
    fleet.assign("mill-7", "turbine", "turbine/1").unwrap();
    assert_eq!(fleet.json(&["keys", "publish"]).unwrap()["published"], serde_json::json!([]));
}

#[test]
fn a_server_that_follows_another_root_is_not_believed() {
    let (one, other) = (folder(), folder());
    let fleet = Fleet::start(one.path()).unwrap();
    let stranger = Fleet::start(other.path()).unwrap();
    let keys = stranger.folder().join("keys");
    let keys = keys.to_str().unwrap();
    let bundle = examples::build("turbine", "1", one.path()).unwrap();
    for arguments in [
        ["release", bundle.to_str().unwrap(), "--keys", keys].as_slice(),
        &["device", "add", "mill-7", "-o", "mill-7", "--keys", keys],
        &["keys", "publish", "--keys", keys],
    ] {
        let said = refused(&fleet.lineside(arguments));
        assert!(said.contains("follows another root"), "{said}");
    }
    assert!(!one.path().join("mill-7/device.toml").exists());
}

#[test]
fn a_server_that_was_restored_from_a_copy_gets_back_what_it_forgot() {
    let folder = folder();
    let mut fleet = Fleet::start(folder.path()).unwrap();
    fleet.release("turbine", "1").unwrap();
    let recording = root().join("examples/turbine/recordings/reference.csv");
    let settings = format!(
        "[slots.turbine]\nsource = \"scada\"\n\
         [sources.scada]\nkind = \"file\"\npaths = [{recording:?}]\npace = 6000.0\n"
    );
    fleet.add_device("mill-7", &settings).unwrap();
    fleet.assign("mill-7", "turbine", "turbine/1").unwrap();
    fleet.start_agent("mill-7").unwrap();
    let accepts = |fleet: &Fleet, version: u64| {
        let told = |device: &Value| (device["assignment_accepted"] == version).then_some(());
        fleet.wait_for("mill-7", "the device holds what is assigned to it", told).unwrap();
    };
    accepts(&fleet, 1);
    fleet.stop_server().unwrap();
    let (server, kept) = (folder.path().join("server"), folder.path().join("copy"));
    copy(&server, &kept);
    fleet.start_server().unwrap();
    fleet.release("turbine", "2").unwrap();
    fleet.assign("mill-7", "turbine", "turbine/2").unwrap();
    accepts(&fleet, 2);
    fleet.stop_server().unwrap();
    fs::remove_dir_all(&server).unwrap();
    fs::rename(&kept, &server).unwrap();
    fs::set_permissions(&server, fs::Permissions::from_mode(0o700)).unwrap();
    fleet.start_server().unwrap();

    let said = String::from_utf8(fleet.lineside(&["keys", "publish"]).stdout).unwrap();
    assert!(said.starts_with("nothing is published"), "{said}");
    assert!(said.contains("It lacks turbine/2,") && said.contains("lineside release"), "{said}");
    let again = fleet.release("turbine", "2").unwrap();
    assert_eq!((&again["number"], &again["new"]), (&2.into(), &false.into()));
    let published = fleet.json(&["keys", "publish"]).unwrap();
    assert_eq!(published["published"], serde_json::json!([]), "releasing it again was enough");
    // The device shows what is assigned to it, and the server goes on from there.
    let shown = fleet.wait_for("mill-7", "what the device holds is assigned to it", |device| {
        let is_taken_up = device["slots"]["turbine"]["assigned"] == "turbine/2";
        is_taken_up.then(|| device.clone())
    });
    assert_eq!(shown.unwrap()["assignment_version"], 2);
    assert_eq!(fleet.assign("mill-7", "turbine", "turbine/1").unwrap()["version"], 3);
    accepts(&fleet, 3);
}

#[test]
fn who_cannot_be_let_in_or_reach_the_server_is_told_why() {
    let folder = folder();
    let mut fleet = Fleet::start(folder.path()).unwrap();
    let url = fleet.url();
    fs::write(folder.path().join("old.token"), "of-another-server\n").unwrap();
    let list = ["device", "list", "--server", &url];
    let wrong = lineside_in(folder.path(), &[&list[..], &["--token-file", "old.token"]].concat());
    let said = refused(&wrong);
    assert!(said.contains("does not accept the token of old.token"), "{said}");
    assert!(said.contains("admin.token"), "{said}");

    // Whoever listens at its port after its end is not sent its token, be it stopped or killed.
    fleet.stop_server().unwrap();
    let said = refused(&fleet.lineside(&["device", "list"]));
    assert!(said.contains("no server is running with --data server"), "{said}");
    fleet.start_server().unwrap();
    fleet.json(&["device", "list"]).unwrap();
    fleet.kill_server();
    let said = refused(&fleet.lineside(&["device", "list"]));
    assert!(said.contains("no server is running with --data server"), "{said}");
    let right = ["--token-file", "server/admin.token"];
    let said = refused(&lineside_in(folder.path(), &[&list[..], &right].concat()));
    assert!(said.contains(&format!("cannot reach the server at {url}; is it running?")), "{said}");
    let said = refused(&lineside_in(folder.path(), &["--data", "nowhere", "device", "list"]));
    assert!(said.contains("nowhere/endpoints.json"), "{said}");

    for usage in [
        ["device", "show", "Mill 7"].as_slice(),
        &["assign", "mill-7", "turbine", "turbine"],
        &["keys", "new", "-o", "k", "--release-keys", "1", "--threshold", "2"],
        &["device", "add", "mill-7", "-o", "d", "--label", "line"],
    ] {
        let output = fleet.lineside(usage);
        assert_eq!(output.status.code(), Some(2), "{usage:?}: {}", complaint(&output));
    }
    let output = fleet.lineside(&["--json", "device", "list"]);
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(told["error"].as_str().unwrap().contains("no server is running"), "{told}");
}

#[test]
fn the_servers_keys_are_replaced_by_the_commands_that_each_message_names() {
    let folder = folder();
    let mut fleet = Fleet::start(folder.path()).unwrap();
    fleet.release("turbine", "1").unwrap();
    fleet.stop_server().unwrap();
    fs::remove_file(folder.path().join("server/keys/online.pem")).unwrap();
    fleet.start_server().unwrap();
    let listed = String::from_utf8(fleet.lineside(&["device", "list"]).stdout).unwrap();
    let first = listed.lines().next().unwrap();
    assert!(first.starts_with("! root 1 does not name this server's keys/online.pem"), "{listed}");
    assert!(
        first.contains("keys online -o FILE") && first.contains("--online-keys FILE"),
        "{first}"
    );

    // A draft that would be refused after all have signed it says so before.
    let draft = |file: &str, more: &[&str]| {
        let draft = ["keys", "draft", "--from", "keys/root.json", "-o", file];
        String::from_utf8(fleet.lineside(&[&draft, more].concat()).stdout).unwrap()
    };
    let said = draft("in-vain", &[]);
    assert!(said.contains("has other keys now") && said.contains("--online-keys FILE"), "{said}");
    fleet.json(&["keys", "sign", "in-vain", "--key", "keys/root.pem", "--yes"]).unwrap();
    let said = refused(&fleet.lineside(&["keys", "publish", "in-vain"]));
    assert!(said.contains("does not name this server's online key"), "{said}");
    assert!(said.contains("keys online -o FILE"), "{said}");

    fleet.json(&["keys", "online", "-o", "online.json"]).unwrap();
    let said = draft("root-2", &["--online-keys", "online.json"]);
    assert!(!said.contains("has other keys now"), "{said}");
    fleet.json(&["keys", "sign", "root-2", "--key", "keys/root.pem", "--yes"]).unwrap();
    let published = fleet.json(&["keys", "publish", "root-2"]).unwrap();
    assert_eq!(published["published"], serde_json::json!(["root 2"]));
    let listed = String::from_utf8(fleet.lineside(&["device", "list"]).stdout).unwrap();
    assert!(!listed.contains('!'), "{listed}");
}

#[test]
fn a_device_that_is_not_let_in_or_whose_source_is_dead_says_what_to_do() {
    let folder = folder();
    let mut fleet = Fleet::start(folder.path()).unwrap();
    fleet.release("turbine", "1").unwrap();
    let settings = "[slots.turbine]\nsource = 'scada'\nsinks = ['log']\n\
         [sources.scada]\nkind = 'file'\npaths = ['there-is-none.csv']\npace = 'flat-out'\n\
         [sinks.log]\nkind = 'file'\npath = 'findings.jsonl'\n";
    fleet.add_device("mill-7", settings).unwrap();
    fleet.start_agent("mill-7").unwrap();
    fleet.assign("mill-7", "turbine", "turbine/1").unwrap();
    let words = "slot turbine: its source brings no readings";
    let said = |shown: &Value| {
        let attention = shown["attention"].as_array()?;
        attention.iter().find_map(|said| said.as_str()?.contains(words).then_some(()))
    };
    fleet.wait_for("mill-7", "the desk hears of a dead source", said).unwrap();

    fleet.json(&["device", "reissue", "mill-7", "-o", "again"]).unwrap();
    wait("the agent says that it is not let in", || {
        let log = fleet.agent("mill-7")?.log();
        log.contains("does not let this device in").then_some(())
    })
    .unwrap();
}
