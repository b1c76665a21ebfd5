//! Keys that never leave their machines: roots and lists of releases signed apart and published, by
//! the real tool against a real server.

#![allow(clippy::unwrap_used)] // A test stops at what does not hold.

use lineside_tests::fleet::Fleet;
use lineside_tests::{complaint, examples, lineside_in, root};
use lineside_trust::{KeyPair, ReleasesDraft, Root, verify_releases};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use tempfile::TempDir;
use time::{Duration, OffsetDateTime};

/// A server that follows no root yet, and people with machines of their own: a folder each.
struct Ceremony {
    folder: TempDir,
    fleet: Fleet,
}

impl Ceremony {
    /// Each of `people` makes a root key and a release key on his machine.
    fn of(people: &[&str]) -> Ceremony {
        let folder = tempfile::tempdir().unwrap();
        let fleet = Fleet::without_keys(folder.path()).unwrap();
        let ceremony = Ceremony { folder, fleet };
        people.iter().for_each(|person| ceremony.joins(person));
        ceremony
    }

    fn joins(&self, person: &str) {
        fs::create_dir(self.path(person)).unwrap();
        for role in ["root", "release"] {
            let secret = format!("{role}.pem");
            self.on(person, &["keys", "generate", "-o", &secret, "--owner", person]).unwrap();
            let (public, sent) = (format!("{role}.pub.json"), format!("{person}-{role}.json"));
            fs::copy(self.path(person).join(public), self.path(&sent)).unwrap();
        }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    /// Runs the tool on somebody's machine, where there is no server.
    fn on(&self, person: &str, arguments: &[&str]) -> Result<Value, String> {
        let output = lineside_in(&self.path(person), &[&["--json"], arguments].concat());
        match output.status.success() {
            true => Ok(serde_json::from_slice(&output.stdout).unwrap()),
            false => Err(complaint(&output)),
        }
    }

    /// Takes a draft to somebody's machine, has it signed there, and brings it back under his name.
    fn sign(&self, draft: &str, person: &str, role: &str) -> Result<String, String> {
        let back = format!("{draft}.{person}");
        fs::copy(self.path(draft), self.path(person).join(draft)).unwrap();
        let key = format!("{role}.pem");
        self.on(person, &["keys", "sign", draft, "--key", &key, "--yes"])?;
        fs::copy(self.path(person).join(draft), self.path(&back)).unwrap();
        Ok(back)
    }

    /// Has a draft signed by each apart, joined, and published.
    fn publish(&self, draft: &str, people: &[&str], role: &str) -> Result<Value, String> {
        let signed: Result<Vec<String>, String> =
            people.iter().map(|person| self.sign(draft, person, role)).collect();
        let (signed, joined) = (signed?, format!("{draft}.joined"));
        let names: Vec<&str> = signed.iter().map(String::as_str).collect();
        let join = [&["keys", "join"], names.as_slice(), &["-o", &joined]].concat();
        self.desk(&join)?;
        self.desk(&["keys", "publish", &joined])
    }

    /// Runs the tool at the desk beside the server.
    fn desk(&self, arguments: &[&str]) -> Result<Value, String> {
        self.fleet.json(arguments).map_err(|error| format!("{error:#}"))
    }

    fn draft_first(&self, people: &[&str]) -> Result<Value, String> {
        self.desk(&["keys", "online", "-o", "online.json"])?;
        let mut arguments: Vec<String> =
            ["keys", "draft", "-o", "root-1", "--online-keys", "online.json"]
                .map(String::from)
                .into();
        for person in people {
            for role in ["root", "release"] {
                arguments.extend([format!("--{role}-key"), format!("{person}-{role}.json")]);
            }
        }
        arguments.extend(["--root-threshold", "2", "--release-threshold", "2"].map(String::from));
        self.desk(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// Pushes a version of the turbine and drafts the list with it.
    fn draft_release(&self, version: &str, draft: &str) -> Result<Value, String> {
        let bundle = examples::build("turbine", version, self.folder.path()).unwrap();
        self.desk(&["release", bundle.to_str().unwrap(), "--draft", draft])
    }

    /// Has a device run the first release, on a recording.
    fn gives_a_device_the_first_release(&mut self) {
        let recording = root().join("examples/turbine/recordings/reference.csv");
        let settings = format!(
            "[slots.turbine]\nsource = 'scada'\nsinks = ['log']\n\
             [sources.scada]\nkind = 'file'\npaths = ['{}']\npace = 12000.0\n\
             [sinks.log]\nkind = 'file'\npath = 'findings.jsonl'\n",
            recording.display()
        );
        self.fleet.add_device("mill-7", &settings).unwrap();
        self.fleet.start_agent("mill-7").unwrap();
        self.fleet.assign("mill-7", "turbine", "turbine/1").unwrap();
        self.waits_until_the_device_holds("turbine v1");
    }

    /// Waits until it has a release, on trial or committed.
    fn waits_until_the_device_holds(&self, release: &str) {
        let holds = |status: &Value| {
            let slot = &status["slots"]["turbine"];
            ["active", "candidate"].iter().any(|place| slot[*place] == release)
        };
        self.fleet.wait_until_says("mill-7", &format!("{release} is here"), holds).unwrap();
    }
}

fn contains(refused: Result<Value, String>, words: &[&str]) {
    let said = refused.unwrap_err();
    for word in words {
        assert!(said.contains(word), "{word}: {said}");
    }
}

#[test]
fn two_of_three_people_begin_a_fleet_whose_keys_have_never_met() {
    let ceremony = Ceremony::of(&["anna", "ben", "cleo"]);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&ceremony.path("anna/root.pem")), 0o600);
    let again = ceremony.on("anna", &["keys", "generate", "-o", "root.pem"]);
    contains(again, &["root.pem is there already"]);

    ceremony.draft_first(&["anna", "ben", "cleo"]).unwrap();
    contains(
        ceremony.desk(&["keys", "publish", "root-1"]),
        &["root 1 wants 2 signatures and has 0", "(anna)", "(cleo)"],
    );
    let shown = ceremony.desk(&["keys", "show", "root-1"]).unwrap();
    assert_eq!((&shown["document"], &shown["root"]["threshold"]), (&"root 1".into(), &2.into()));
    assert_eq!(shown["releases"]["keys"][2]["owner"], "cleo");
    assert_eq!(shown["complete"], false);

    let by_anna = ceremony.sign("root-1", "anna", "root").unwrap();
    contains(
        ceremony.desk(&["keys", "publish", &by_anna]),
        &["root 1 wants 2 signatures and has 1, lacking 1 of", "(ben)", "(cleo)"],
    );
    let twice = ["keys", "sign", "root-1", "--key", "root.pem", "--yes"];
    contains(ceremony.on("anna", &twice), &["(anna) has signed it already"]);
    let other_role = ceremony.sign("root-1", "ben", "release").map(Value::from);
    contains(other_role, &["has no say in root 1"]);
    // Without a terminal nobody can be asked, and nothing is signed unread.
    let unread = ceremony.on("ben", &["keys", "sign", "root-1", "--key", "root.pem"]);
    contains(unread, &["--yes", "keys show"]);

    let published = ceremony.publish("root-1", &["ben", "cleo"], "root").unwrap();
    assert_eq!(published["published"], json!(["root 1"]));
    assert_eq!(published, ceremony.desk(&["keys", "publish", "root-1.joined"]).unwrap());
    let text = ceremony.fleet.lineside(&["keys", "show", "keys/root.json"]);
    let text = String::from_utf8(text.stdout).unwrap();
    assert!(text.contains("2 of 3 keys sign releases") && text.contains("(anna)"), "{text}");

    // Releases, by other keys on the same machines.
    ceremony.draft_release("1", "list-1").unwrap();
    contains(
        ceremony.desk(&["keys", "publish", "list-1"]),
        &["list of releases 1 is not signed by enough keys: root 1 wants 2 signatures and has 0"],
    );
    let shown = ceremony.desk(&["keys", "show", "list-1", "--root", "keys/root.json"]).unwrap();
    assert!(shown["changes"][0].as_str().unwrap().starts_with("adds turbine/1: number 1"));
    ceremony.publish("list-1", &["anna", "cleo"], "release").unwrap();
    ceremony.fleet.add_device("mill-7", "").unwrap();
    ceremony.fleet.assign("mill-7", "turbine", "turbine/1").unwrap();
    contains(
        ceremony.desk(&["keys", "sign", "list-1", "--key", "anna/root.pem", "--yes"]),
        &["has no say in list of releases 1"],
    );
    // The same again needs no signatures.
    assert_eq!(ceremony.draft_release("1", "list-2").unwrap()["new"], false);
    assert!(!ceremony.path("list-2").exists());
}

#[test]
fn a_stolen_key_is_taken_out_and_what_it_signs_is_installed_nowhere() {
    let mut ceremony = Ceremony::of(&["anna", "ben", "cleo"]);
    ceremony.draft_first(&["anna", "ben", "cleo"]).unwrap();
    ceremony.publish("root-1", &["anna", "ben"], "root").unwrap();
    ceremony.draft_release("1", "list-1").unwrap();
    ceremony.publish("list-1", &["anna", "ben"], "release").unwrap();
    ceremony.gives_a_device_the_first_release();

    // Ben's keys are stolen. Dora comes in his place; Anna and Cleo sign.
    ceremony.joins("dora");
    let draft = [
        "keys",
        "draft",
        "-o",
        "root-2",
        "--from",
        "keys/root.json",
        "--remove",
        "ben-root.json",
        "--remove",
        "ben-release.json",
        "--root-key",
        "dora-root.json",
        "--release-key",
        "dora-release.json",
    ];
    let drafted = ceremony.desk(&draft).unwrap();
    let changes = drafted["changes"].to_string();
    for change in ["removes root key", "adds release key", "(ben)", "(dora)"] {
        assert!(changes.contains(change), "{change}: {changes}");
    }
    // His thief can sign neither what takes him out nor his way back.
    contains(
        ceremony.publish("root-2", &["dora", "ben"], "root"),
        &["root 1 wants 2 signatures and has 1", "root 2 wants 2 signatures and has 1"],
    );
    fs::remove_file(ceremony.path("root-2.joined")).unwrap();
    let published = ceremony.publish("root-2", &["anna", "cleo"], "root").unwrap();
    assert_eq!(published["published"], json!(["root 2"]));

    // What was signed for the root before is signed anew, by those who are left.
    ceremony.draft_release("2", "list-2").unwrap();
    let refused = ceremony.sign("list-2", "ben", "release").map(Value::from);
    contains(refused, &["has no say in list of releases 2"]);
    // On Anna's machine still lies the root before, and this one follows it.
    fs::copy(ceremony.path("mill-7/device/root.json"), ceremony.path("anna/root.json")).unwrap();
    ceremony.publish("list-2", &["anna", "dora"], "release").unwrap();
    ceremony.fleet.assign("mill-7", "turbine", "turbine/2").unwrap();
    ceremony.waits_until_the_device_holds("turbine v2");

    // The thief and one who was deceived sign a list of their own. Neither server nor device take it.
    let read = |name: &str| fs::read(ceremony.path(name)).unwrap();
    let key = |name: &str| KeyPair::from_pem(&String::from_utf8(read(name)).unwrap()).unwrap();
    let now = OffsetDateTime::now_utc();
    let holds = Root::pin(&read("keys/root.json")).unwrap();
    let kept = verify_releases(&holds, &read("keys/releases.json"), None, now).unwrap();
    let (ben, anna) = (key("ben/release.pem"), key("anna/release.pem"));
    let forged = ReleasesDraft::after(Some(&kept)).sign(now + Duration::days(9), &[&ben, &anna]);
    assert!(verify_releases(&holds, &forged, None, now).is_err());
    let agent: ureq::Agent =
        ureq::Agent::config_builder().proxy(None).http_status_as_error(false).build().into();
    let request = agent.put(format!("{}/api/v1/releases", ceremony.fleet.url()));
    let bearer = format!("Bearer {}", ceremony.fleet.token().unwrap());
    let answer = request.header("authorization", bearer).send(&forged).unwrap();
    assert_eq!(answer.status(), 422);
}

#[test]
fn after_a_theft_of_enough_release_keys_the_next_list_goes_on_from_what_people_have_signed() {
    let mut ceremony = Ceremony::of(&["anna", "ben", "cleo"]);
    ceremony.draft_first(&["anna", "ben", "cleo"]).unwrap();
    ceremony.publish("root-1", &["anna", "ben"], "root").unwrap();
    ceremony.draft_release("1", "list-1").unwrap();
    ceremony.publish("list-1", &["anna", "ben"], "release").unwrap();
    ceremony.gives_a_device_the_first_release();

    // The thief has Ben's and Cleo's release keys and a folder of his own, and his release is taken.
    fs::create_dir(ceremony.path("stolen")).unwrap();
    fs::copy(ceremony.path("keys/root.json"), ceremony.path("stolen/root.json")).unwrap();
    ceremony.draft_release("4", "theirs").unwrap();
    for person in ["ben", "cleo"] {
        let key = format!("{person}/release.pem");
        ceremony.desk(&["keys", "sign", "theirs", "--key", &key, "--yes"]).unwrap();
    }
    ceremony.desk(&["keys", "publish", "theirs", "--keys", "stolen"]).unwrap();
    ceremony.fleet.assign("mill-7", "turbine", "turbine/4").unwrap();
    ceremony.waits_until_the_device_holds("turbine v4");

    // People take both keys out. The list that they are to sign anew is theirs.
    ceremony.joins("dora");
    let draft = [
        "keys",
        "draft",
        "-o",
        "root-2",
        "--from",
        "keys/root.json",
        "--remove",
        "ben-release.json",
        "--remove",
        "cleo-release.json",
        "--release-key",
        "dora-release.json",
    ];
    ceremony.desk(&draft).unwrap();
    ceremony.publish("root-2", &["anna", "ben"], "root").unwrap();
    let said = ceremony.fleet.lineside(&["keys", "publish"]);
    let said = String::from_utf8(said.stdout).unwrap();
    assert!(said.contains("sign it anew with `lineside release BUNDLE --draft FILE`"), "{said}");
    assert!(said.contains("not signed anew, and given to no device: turbine/4."), "{said}");

    let drafted = ceremony.draft_release("2", "list-2").unwrap();
    assert_eq!(drafted["unsigned"], json!(["turbine/4"]));
    // Above what a device may have taken from the thief.
    assert_eq!((&drafted["version"], &drafted["number"]), (&json!(3), &json!(3)));
    assert_eq!(drafted["releases"], json!(["turbine/1", "turbine/2"]));
    ceremony.publish("list-2", &["anna", "dora"], "release").unwrap();
    let gone = ceremony.desk(&["assign", "mill-7", "turbine", "turbine/4"]);
    contains(gone, &["there is no release \"turbine/4\""]);
    ceremony.fleet.assign("mill-7", "turbine", "turbine/2").unwrap();
    ceremony.waits_until_the_device_holds("turbine v2");
    // From here on it is a list as any other.
    let published = ceremony.desk(&["keys", "publish"]).unwrap();
    assert_eq!((&published["published"], &published["lacking"]), (&json!([]), &json!([])));
}

#[test]
fn what_is_drafted_for_others_or_changed_on_the_way_is_not_signed() {
    let ceremony = Ceremony::of(&["anna", "ben"]);
    ceremony.draft_first(&["anna", "ben"]).unwrap();
    ceremony.publish("root-1", &["anna", "ben"], "root").unwrap();
    ceremony.draft_release("1", "list-1").unwrap();

    // Of another fleet, with Anna's key in it: her own root tells.
    let stranger = Ceremony::of(&["xenia"]);
    let anna = ceremony.path("anna-release.json");
    stranger.desk(&["keys", "online", "-o", "online.json"]).unwrap();
    let draft = [
        "keys",
        "draft",
        "-o",
        "root-1",
        "--online-keys",
        "online.json",
        "--root-key",
        "xenia-root.json",
        "--release-key",
        anna.to_str().unwrap(),
        "--release-key",
        "xenia-release.json",
        "--release-threshold",
        "2",
    ];
    stranger.desk(&draft).unwrap();
    let signed = stranger.sign("root-1", "xenia", "root").unwrap();
    stranger.desk(&["keys", "publish", &signed]).unwrap();
    stranger.draft_release("1", "foreign").unwrap();
    fs::copy(stranger.path("foreign"), ceremony.path("foreign")).unwrap();
    fs::copy(ceremony.path("keys/root.json"), ceremony.path("anna/root.json")).unwrap();
    let refused = ceremony.sign("foreign", "anna", "release").map(Value::from);
    contains(refused, &["rests on root 1, which is not root.json (root 1)", "by mistake"]);
    contains(ceremony.desk(&["keys", "publish", "foreign"]), &["wants 2 signatures and has 0"]);
    // A first root on a machine that trusts one would begin anew.
    fs::copy(stranger.path("root-1"), ceremony.path("begin")).unwrap();
    let refused = ceremony.sign("begin", "anna", "root").map(Value::from);
    contains(refused, &["holds a first root", "begin anew"]);

    // Changed on the way from Anna to Ben.
    let signed = ceremony.sign("list-1", "anna", "release").unwrap();
    let text = fs::read_to_string(ceremony.path(&signed)).unwrap();
    fs::write(ceremony.path("changed"), text.replace("\"floor\": 0", "\"floor\": 1")).unwrap();
    let refused = ceremony.sign("changed", "ben", "release").map(Value::from);
    contains(refused, &["the signature of", "(anna)", "somebody has changed"]);
    fs::write(ceremony.path("half"), &text[..text.len() / 2]).unwrap();
    contains(ceremony.desk(&["keys", "show", "half"]), &["half cannot be used", "no draft"]);

    // Two drafts of one version: what was signed for the one does not count for the other.
    ceremony.draft_release("2", "list-1b").unwrap();
    let other = ceremony.sign("list-1b", "ben", "release").unwrap();
    let join = ["keys", "join", &signed, &other, "-o", "both"];
    contains(ceremony.desk(&join), &["cannot be joined", "they are not one document"]);
}

#[test]
fn a_signer_who_missed_a_change_of_keys_follows_it_without_a_network() {
    let ceremony = Ceremony::of(&["anna", "ben", "cleo"]);
    ceremony.draft_first(&["anna", "ben"]).unwrap();
    ceremony.publish("root-1", &["anna", "ben"], "root").unwrap();
    fs::copy(ceremony.path("keys/root.json"), ceremony.path("anna/root.json")).unwrap();
    for (draft, more) in [
        ("root-2", ["--root-key", "cleo-root.json"]),
        ("root-3", ["--release-key", "cleo-release.json"]),
    ] {
        let draft_next = ["keys", "draft", "--from", "keys/root.json", "-o", draft];
        ceremony.desk(&[&draft_next[..], &more].concat()).unwrap();
        // Anna signs at another machine, and her own hears of nothing.
        for person in ["anna", "ben"] {
            let key = format!("{person}-again/root.pem");
            fs::create_dir_all(ceremony.path(&format!("{person}-again"))).unwrap();
            fs::copy(ceremony.path(&format!("{person}/root.pem")), ceremony.path(&key)).unwrap();
            ceremony.desk(&["keys", "sign", draft, "--key", &key, "--yes"]).unwrap();
        }
        ceremony.desk(&["keys", "publish", draft]).unwrap();
    }
    ceremony.draft_release("1", "list-1").unwrap();
    let refused = ceremony.sign("list-1", "anna", "release").map(Value::from);
    let words =
        ["rests on root 3, and root.json is root 1", "2.root.json", "keys follow DIR --root"];
    contains(refused, &words);

    // Only what was signed by the keys before, and all of it.
    let trusted = || fs::read(ceremony.path("anna/root.json")).unwrap();
    let before = trusted();
    let last = ["keys", "follow", "../keys/root.json"];
    contains(ceremony.on("anna", &last), &["is root 3, and root 2 is missing: bring 2.root.json"]);
    let stranger = Ceremony::of(&["xenia", "yan"]);
    stranger.draft_first(&["xenia", "yan"]).unwrap();
    stranger.publish("root-1", &["xenia", "yan"], "root").unwrap();
    let next = ["keys", "draft", "--from", "keys/root.json", "-o", "root-2"];
    stranger.desk(&[&next[..], &["--root-key", "../nowhere"]].concat()).unwrap_err();
    stranger.desk(&[&next[..], &["--release-threshold", "1"]].concat()).unwrap();
    for person in ["xenia", "yan"] {
        let key = format!("{person}/root.pem");
        stranger.desk(&["keys", "sign", "root-2", "--key", &key, "--yes"]).unwrap();
    }
    stranger.desk(&["keys", "publish", "root-2"]).unwrap();
    let theirs = stranger.path("keys/root.json");
    let refused = ceremony.on("anna", &["keys", "follow", theirs.to_str().unwrap()]);
    contains(refused, &["is root 2, and not signed by enough keys of root 1"]);
    let followed = ceremony.on("anna", &["keys", "follow", "../keys"]).unwrap();
    assert!(followed.to_string().contains("(cleo)"), "{followed}");
    assert_ne!(trusted(), before);
    assert_eq!(trusted(), fs::read(ceremony.path("keys/root.json")).unwrap());
    assert_eq!(fs::read(ceremony.path("anna/1.root.json")).unwrap(), before);
    assert!(ceremony.path("anna/2.root.json").exists(), "the way stays");
    let again = ceremony.on("anna", &["keys", "follow", "../keys"]).unwrap();
    assert_eq!((&again["root"], &again["followed"]), (&3.into(), &json!([])));
    ceremony.sign("list-1", "anna", "release").unwrap();
}

#[test]
fn thresholds_keys_and_dates_are_changed_one_by_one() {
    let ceremony = Ceremony::of(&["anna", "ben", "cleo"]);
    ceremony.draft_first(&["anna", "ben"]).unwrap();
    ceremony.publish("root-1", &["anna", "ben"], "root").unwrap();
    let from = ["keys", "draft", "-o", "root-2", "--from", "keys/root.json"];
    let drafted = |more: &[&str]| {
        let _ = fs::remove_file(ceremony.path("root-2"));
        ceremony.desk(&[from.as_slice(), more].concat())
    };
    for (more, words) in [
        (["--remove", "ben-root.json"].as_slice(), "2 of 1 root keys can never sign"),
        (&["--release-threshold", "3"], "3 of 2 release keys can never sign"),
        (&["--remove", "cleo-root.json"], "root 1 names no such key"),
        (&["--remove", "0123"], "no id of a key of at least 8 digits"),
        (&["--root-key", "ben-root.json"], "is a root key already"),
        (&["--root-key", "ben/root.pem"], "it is no public key"),
        (&["--expires", "2020-01-01"], "a day that has passed"),
    ] {
        contains(drafted(more), &[words]);
        assert!(!ceremony.path("root-2").exists());
    }
    let shown = ceremony.desk(&["keys", "show", "keys/root.json"]).unwrap();
    let ben = shown["root"]["keys"][1]["id"].as_str().unwrap()[..12].to_owned();
    let more = [
        "--remove",
        &ben,
        "--root-key",
        "cleo-root.json",
        "--release-key",
        "cleo-release.json",
        "--release-threshold",
        "3",
        "--expires",
        "2031-01-31",
    ];
    let changes = drafted(&more).unwrap()["changes"].to_string();
    for change in ["3 of 3 release keys must sign, instead of 2 of 2", "good until 2031-01-31"] {
        assert!(changes.contains(change), "{change}: {changes}");
    }
    // Signed on one copy that goes round, which needs no joining.
    for person in ["anna", "ben", "cleo"] {
        let key = format!("{person}/root.pem");
        ceremony.desk(&["keys", "sign", "root-2", "--key", &key, "--yes"]).unwrap();
    }
    ceremony.desk(&["keys", "publish", "root-2"]).unwrap();
    assert_eq!(ceremony.fleet.get("/api/v1/root").unwrap()["signed"]["version"], 2);
    let shown = ceremony.desk(&["keys", "show", "keys/root.json"]).unwrap();
    assert_eq!((&shown["version"], &shown["releases"]["threshold"]), (&2.into(), &3.into()));
    contains(ceremony.desk(&["keys", "publish", "root-1.joined"]), &["root 1 does not follow"]);
}

#[test]
fn a_server_that_is_lost_is_replaced_with_the_keys_of_people_and_devices_go_on() {
    let mut ceremony = Ceremony::of(&["anna", "ben"]);
    ceremony.draft_first(&["anna", "ben"]).unwrap();
    ceremony.publish("root-1", &["anna", "ben"], "root").unwrap();
    ceremony.draft_release("1", "list-1").unwrap();
    ceremony.publish("list-1", &["anna", "ben"], "release").unwrap();
    ceremony.gives_a_device_the_first_release();
    ceremony.fleet.stop_agent("mill-7").unwrap();
    // While the device is away, the next root is signed.
    let next = |file: &str, more: &[&str]| {
        let from = ["keys", "draft", "-o", file, "--from", "keys/root.json"];
        ceremony.desk(&[&from, more].concat()).unwrap();
        ceremony.publish(file, &["anna", "ben"], "root")
    };
    next("root-2", &["--expires", "2031-01-31"]).unwrap();
    assert!(ceremony.path("keys/1.root.json").exists());

    // The server's disk is gone, and nobody has a copy.
    ceremony.fleet.kill_server();
    fs::remove_dir_all(ceremony.path("server")).unwrap();
    ceremony.fleet.start_server().unwrap();
    contains(ceremony.desk(&["keys", "publish"]), &["does not name this server's", "keys online"]);
    let next = |file: &str, more: &[&str]| {
        let from = ["keys", "draft", "-o", file, "--from", "keys/root.json"];
        ceremony.desk(&[&from, more].concat()).unwrap();
        ceremony.publish(file, &["anna", "ben"], "root")
    };
    ceremony.desk(&["keys", "online", "-o", "new.json"]).unwrap();
    let published = next("root-3", &["--online-keys", "new.json"]).unwrap();
    assert_eq!(published["published"], json!(["root 3"]));
    assert_eq!(published["lacking"], json!(["turbine/1"]));
    // A new release waits for the old ones. When their bundles are there again, so is the list, and
    // nobody has to sign it.
    contains(ceremony.draft_release("2", "list-2"), &["turbine/2 is pushed", "turbine/1"]);
    assert_eq!(ceremony.draft_release("1", "list-1-again").unwrap()["new"], false);
    assert!(!ceremony.path("list-1-again").exists());
    let published = ceremony.desk(&["keys", "publish"]).unwrap();
    assert_eq!((&published["published"], &published["lacking"]), (&json!([]), &json!([])));

    // The device gets a new password, and keeps its root and its state.
    ceremony.desk(&["device", "add", "mill-7", "-o", "again"]).unwrap();
    fs::copy(ceremony.path("again/device.toml"), ceremony.path("mill-7/device/device.toml"))
        .unwrap();
    ceremony.draft_release("2", "list-2").unwrap();
    ceremony.publish("list-2", &["anna", "ben"], "release").unwrap();
    ceremony.fleet.start_agent("mill-7").unwrap();
    ceremony.fleet.assign("mill-7", "turbine", "turbine/2").unwrap();
    ceremony.waits_until_the_device_holds("turbine v2");
}

#[test]
fn a_file_that_rots_on_the_server_is_sent_again_with_its_release() {
    let ceremony = Ceremony::of(&["anna", "ben"]);
    ceremony.draft_first(&["anna", "ben"]).unwrap();
    ceremony.publish("root-1", &["anna", "ben"], "root").unwrap();
    ceremony.draft_release("1", "list-1").unwrap();
    ceremony.publish("list-1", &["anna", "ben"], "release").unwrap();
    let blobs = fs::read_dir(ceremony.path("server/blobs/sha256")).unwrap();
    let largest = blobs.map(|entry| entry.unwrap().path()).max_by_key(|path| size(path)).unwrap();
    let whole = fs::read(&largest).unwrap();
    let mut rotten = whole.clone();
    rotten[whole.len() / 2] ^= 1;
    fs::write(&largest, rotten).unwrap();
    let again = ceremony.draft_release("1", "list-2").unwrap();
    assert_eq!((&again["new"], &again["blobs_pushed"]), (&json!(false), &json!(1)));
    assert_eq!(fs::read(&largest).unwrap(), whole);
    assert_eq!(ceremony.draft_release("1", "list-2").unwrap()["blobs_pushed"], 0);
}

fn size(path: &Path) -> u64 {
    fs::metadata(path).unwrap().len()
}
