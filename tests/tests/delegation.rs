//! Vendors and sites that sign by keys of their own, within what the release keys gave them: by the
//! real tool at the desk, on machines without a network, and on a device.

#![allow(clippy::unwrap_used)] // A test stops at what does not hold.

use lineside_bundle::archive;
use lineside_bundle::parcel::{self, Papers};
use lineside_tests::child::wait;
use lineside_tests::fleet::Fleet;
use lineside_tests::{complaint, examples, lineside_in, root};
use lineside_trust::{
    AssignmentSpec, KeyPair, Listed, Others, RoleDraft, SnapshotSpec, TimestampSpec,
    sign_assignment, sign_snapshot, sign_timestamp,
};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use tempfile::TempDir;
use time::{Duration, OffsetDateTime};

/// A fleet whose release keys are at the desk, and others with machines of their own: a folder each.
struct Desk {
    folder: TempDir,
    fleet: Fleet,
}

impl Desk {
    fn with(others: &[&str]) -> Desk {
        let folder = tempfile::tempdir().unwrap();
        let fleet = Fleet::start(folder.path()).unwrap();
        let desk = Desk { folder, fleet };
        for other in others {
            fs::create_dir(desk.path(other)).unwrap();
            desk.at(other, &["keys", "generate", "-o", "key.pem", "--owner", other]).unwrap();
        }
        desk
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs the tool at the desk.
    fn desk(&self, arguments: &[&str]) -> Result<Value, String> {
        self.fleet.json(arguments).map_err(|error| format!("{error:#}"))
    }

    /// Runs the tool on somebody's machine, where there is no server.
    fn at(&self, person: &str, arguments: &[&str]) -> Result<Value, String> {
        let output = lineside_in(&self.path(person), &[&["--json"], arguments].concat());
        match output.status.success() {
            true => Ok(serde_json::from_slice(&output.stdout).unwrap()),
            false => Err(complaint(&output)),
        }
    }

    /// Takes a draft to somebody's machine, has it signed there with the root beside his key, and
    /// brings it back.
    fn sign(&self, draft: &str, person: &str) -> Result<String, String> {
        let back = format!("{draft}.{person}");
        fs::copy(self.path("keys/root.json"), self.path(person).join("root.json")).unwrap();
        fs::copy(self.path(draft), self.path(person).join(draft)).unwrap();
        self.at(person, &["keys", "sign", draft, "--key", "key.pem", "--yes"])?;
        fs::copy(self.path(person).join(draft), self.path(&back)).unwrap();
        Ok(back)
    }

    /// Writes a file that has a bundle installed in a slot of a device, with the keys that lie on the
    /// server and Anna's, to whom the release keys have given other paths.
    fn forge(&self, device: &str, slot: &str, bundle: &str, file: &str) {
        let read = |name: &str| fs::read(self.path(name)).unwrap();
        let key = |name: &str| KeyPair::from_pem(&String::from_utf8(read(name)).unwrap()).unwrap();
        let bundle = archive::read(&read(bundle)[..]).unwrap();
        let now = OffsetDateTime::now_utc();
        let (expires, id) = (now + Duration::days(9), bundle.release_id());
        let mut beyond = RoleDraft::after(None, Others::default());
        beyond.add(id.clone(), None).unwrap();
        let beyond = beyond.sign(expires, &[&key("anna/key.pem")]);
        let list = read("keys/releases.json");
        let listed = |bytes: &[u8]| Listed::of("list", bytes).unwrap();
        // The server numbers what it signs by the milliseconds; the thief's is newer.
        let version = (now.unix_timestamp_nanos() / 1_000_000) as u64 + 99_000;
        let online = key("server/keys/online.pem");
        let documents =
            [("targets".to_owned(), listed(&list)), ("vendor-acme".to_owned(), listed(&beyond))];
        let documents = BTreeMap::from(documents);
        let snapshot = sign_snapshot(&SnapshotSpec { version, expires, documents }, &online);
        let timestamp = sign_timestamp(
            &TimestampSpec { version, signed_at: now, expires, snapshot: listed(&snapshot) },
            &online,
        );
        let assignment = AssignmentSpec {
            device: device.parse().unwrap(),
            version: 99,
            expires,
            slots: BTreeMap::from([(slot.parse().unwrap(), id)]),
            approved: BTreeSet::new(),
            again: BTreeMap::new(),
        };
        let papers = Papers {
            metadata: vec![
                ("timestamp.json".into(), timestamp),
                (format!("{version}.snapshot.json"), snapshot),
                (format!("{}.targets.json", listed(&list).version()), list),
                ("1.vendor-acme.json".into(), beyond),
            ],
            assignment: sign_assignment(&assignment, &key("server/keys/director.pem")),
            receipt: None,
            files: Vec::new(),
        };
        let mut bytes = Vec::new();
        let papers = BTreeMap::from([(device.to_owned(), papers)]);
        parcel::write_built(&papers, &[bundle], &mut bytes).unwrap();
        fs::write(self.path(file), bytes).unwrap();
    }

    fn built(&self, example: &str, version: &str) -> String {
        let file = examples::build(example, version, self.folder.path()).unwrap();
        file.to_str().unwrap().to_owned()
    }
}

/// Settings of a device in whose slot `turbine` a recording is played, and captured.
fn turbine() -> String {
    let recording = root().join("examples/turbine/recordings/reference.csv");
    format!(
        "[slots.turbine]\nsource = 'scada'\nsinks = ['log']\n[slots.turbine.capture]\n\
         [sources.scada]\nkind = 'file'\npaths = ['{}']\npace = 12000.0\n\
         [sinks.log]\nkind = 'file'\npath = 'findings.jsonl'\n",
        recording.display()
    )
}

fn contains(refused: Result<Value, String>, words: &[&str]) {
    let said = refused.unwrap_err();
    for word in words {
        assert!(said.contains(word), "{word}: {said}");
    }
}

#[test]
fn a_vendor_releases_his_own_bundles_by_his_own_keys_and_a_device_runs_them() {
    let mut desk = Desk::with(&["anna", "zeno"]);
    let (ecg, turbine) = (desk.built("ecg", "1"), desk.built("turbine", "1"));
    let release = |bundle: &str, key: &str| {
        desk.desk(&["release", bundle, "--role", "vendor-acme", "--key", key])
    };
    let delegate =
        |more: &[&str]| desk.desk(&[&["release", "delegate", "vendor-acme"], more].concat());
    contains(
        release(&ecg, "anna/key.pem"),
        &[
            "delegated nothing to vendor-acme, but to nobody",
            "lineside release delegate vendor-acme",
        ],
    );
    contains(delegate(&[]), &["what may vendor-acme sign? --path"]);
    contains(delegate(&["--path", "ecg/*"]), &["needs a key of its own: --key FILE"]);
    let anna = ["--key", "anna/key.pub.json"];
    contains(delegate(&[&["--path", "ecg"][..], &anna].concat()), &["leads nowhere", "pump/*"]);
    let both = [&["--path", "ecg/*", "--key", "zeno/key.pub.json"][..], &anna].concat();
    contains(delegate(&both), &["of 2 keys, how many must sign? --threshold M"]);

    let said = delegate(&[&["--path", "ecg/*"][..], &anna].concat()).unwrap();
    assert_eq!(said["delegation"]["paths"], json!(["ecg/*"]));
    assert_eq!(said["delegation"]["keys"][0]["owner"], "anna");
    contains(delegate(&anna), &["is a key of vendor-acme already"]);

    contains(
        release(&turbine, "anna/key.pem"),
        &["turbine/1 is not among the paths that vendor-acme may sign, which are: ecg/*"],
    );
    contains(release(&ecg, "zeno/key.pem"), &["is no key of vendor-acme", "(anna)"]);
    contains(
        desk.desk(&["release", &ecg, "--role", "vendor-acme"]),
        &["--key KEY", "--draft FILE"],
    );
    let released = release(&ecg, "anna/key.pem").unwrap();
    assert_eq!((&released["number"], &released["role"]), (&json!(1), &json!("vendor-acme")));
    assert_eq!(release(&ecg, "anna/key.pem").unwrap()["new"], false);
    // What the vendor has released is his: a version names one bundle, whoever signs it.
    contains(desk.desk(&["release", &ecg]), &["released already by others who may sign it"]);

    let recording = root().join("examples/ecg/recordings/excerpt.csv");
    let settings = format!(
        "[slots.ward]\nsource = 'monitor'\nsinks = ['log']\n\
         [sources.monitor]\nkind = 'file'\npaths = ['{}']\npace = 20.0\n\
         [sinks.log]\nkind = 'file'\npath = 'findings.jsonl'\n",
        recording.display()
    );
    desk.fleet.add_device("bed-7", &settings).unwrap();
    desk.fleet.start_agent("bed-7").unwrap();
    desk.fleet.assign("bed-7", "ward", "ecg/1").unwrap();
    let holds = |status: &Value| {
        let slot = &status["slots"]["ward"];
        ["active", "candidate"].iter().any(|place| slot[*place] == "ecg v1")
    };
    desk.fleet.wait_until_says("bed-7", "ecg v1 is here", holds).unwrap();

    // Whoever stole the server gives the device what the vendor has signed beyond his paths.
    desk.forge("bed-7", "ward", &turbine, "stolen.lsd");
    let refused = desk.fleet.on_device("bed-7", &["install", "../stolen.lsd"]).unwrap();
    let said = complaint(&refused);
    let wanted = "turbine/1 is assigned, and the release keys have not signed it";
    assert!(!refused.status.success() && said.contains(wanted), "{said}");
}

#[test]
fn a_vendor_publishes_from_his_own_machine_by_a_token_that_opens_nothing_else() {
    let desk = Desk::with(&["anna", "ben"]);
    let [first, second, turbine] = [("ecg", "1"), ("ecg", "2"), ("turbine", "1")]
        .map(|(name, version)| desk.built(name, version));
    desk.desk(&["release", &turbine]).unwrap();
    contains(
        desk.desk(&["token", "new", "vendor-acme", "-o", "anna/acme.token"]),
        &["delegated nothing to vendor-acme"],
    );
    assert!(!desk.path("anna/acme.token").exists());
    let delegate = ["release", "delegate", "vendor-acme", "--path", "ecg/*", "--key"];
    desk.desk(&[&delegate[..], &["anna/key.pub.json"]].concat()).unwrap();
    desk.desk(&["token", "new", "vendor-acme", "-o", "anna/acme.token"]).unwrap();
    let listed = desk.desk(&["token", "list"]).unwrap();
    assert_eq!(listed[0]["role"], "vendor-acme");
    let token = fs::read_to_string(desk.path("anna/acme.token")).unwrap();
    assert!(!listed.to_string().contains(token.trim()));
    contains(
        desk.desk(&["token", "new", "vendor-acme", "-o", "ben/acme.token"]),
        &["has a token already", "--replace"],
    );

    // All that she has: her key, the root, and the token.
    fs::create_dir(desk.path("anna/fleet")).unwrap();
    fs::copy(desk.path("keys/root.json"), desk.path("anna/fleet/root.json")).unwrap();
    let url = desk.fleet.url();
    let by_token = |arguments: &[&str]| {
        let who = ["--server", &url, "--token-file", "acme.token"];
        desk.at("anna", &[&who, arguments].concat())
    };
    let signed = ["--role", "vendor-acme", "--key", "key.pem", "--keys", "fleet"];
    let release = |bundle: &str| by_token(&[&["release", bundle], &signed[..]].concat());
    let released = release(&first).unwrap();
    assert_eq!((&released["release"], &released["new"]), (&json!("ecg/1"), &json!(true)));
    assert_eq!(release(&first).unwrap()["new"], false);
    contains(release(&turbine), &["turbine/1 is not among the paths that vendor-acme may sign"]);
    // Signed apart, it goes the same way.
    let drafted = ["--role", "vendor-acme", "--keys", "fleet", "--draft", "acme-2"];
    by_token(&[&["release", &second], &drafted[..]].concat()).unwrap();
    desk.at(
        "anna",
        &["keys", "sign", "acme-2", "--key", "key.pem", "--root", "fleet/root.json", "--yes"],
    )
    .unwrap();
    by_token(&["keys", "publish", "acme-2", "--keys", "fleet"]).unwrap();
    by_token(&[&["release", "withdraw", "ecg/1"], &signed[..]].concat()).unwrap();

    for arguments in [
        &["device", "list"][..],
        &["device", "remove", "bed-7"],
        &["assign", "bed-7", "ward", "ecg/2"],
        &["approve", "bed-7", "ward"],
        &["token", "list"],
        &["token", "new", "vendor-acme", "-o", "next.token", "--replace"],
        &["release", "ask", "ecg/2"],
        &["keys", "online", "-o", "online.json"],
    ] {
        contains(by_token(arguments), &["the token of vendor-acme opens", "nothing else"]);
    }
    desk.fleet.add_device("bed-7", "").unwrap();
    desk.fleet.assign("bed-7", "ward", "ecg/2").unwrap();

    desk.desk(&["token", "remove", "vendor-acme"]).unwrap();
    contains(release(&second), &["does not accept the token of acme.token"]);
    contains(desk.desk(&["token", "remove", "vendor-acme"]), &["vendor-acme has no token"]);
}

#[test]
fn two_of_a_vendors_people_sign_apart_and_his_keys_and_rights_are_changed_and_taken_back() {
    let desk = Desk::with(&["anna", "ben", "cleo", "rita"]);
    // Rita alone has the release key, on her machine.
    fs::rename(desk.path("keys/release-1.pem"), desk.path("rita/key.pem")).unwrap();
    let ecg = desk.built("ecg", "1");
    let drafted = desk
        .desk(&[
            "release",
            "delegate",
            "vendor-acme",
            "--path",
            "ecg/*",
            "--key",
            "anna/key.pub.json",
            "--key",
            "ben/key.pub.json",
            "--threshold",
            "2",
            "--draft",
            "list-1",
        ])
        .unwrap();
    let lets = drafted["changes"][0].as_str().unwrap();
    assert!(lets.starts_with("lets vendor-acme sign ecg/* with 2 of "), "{lets}");
    let shown = desk.at("rita", &["keys", "show", "../list-1", "--root", "../keys/root.json"]);
    assert_eq!(shown.unwrap()["delegations"][0]["threshold"], 2);
    let by_rita = desk.sign("list-1", "rita").unwrap();
    desk.desk(&["keys", "publish", &by_rita]).unwrap();

    let release = |draft: &str, version: &str| {
        let bundle = desk.built("ecg", version);
        desk.desk(&["release", &bundle, "--role", "vendor-acme", "--draft", draft])
    };
    let one = ["release", &ecg, "--role", "vendor-acme", "--key", "anna/key.pem"];
    contains(desk.desk(&one), &["signs with 2 of its keys, and 1 is named", "--draft FILE"]);
    let drafted = release("acme-1", "1").unwrap();
    assert_eq!(
        (&drafted["document"], &drafted["number"]),
        (&json!("list 1 of vendor-acme"), &json!(1))
    );
    let shown = desk.fleet.lineside(&["keys", "show", "acme-1"]);
    let shown = String::from_utf8(shown.stdout).unwrap();
    for words in ["the release keys let vendor-acme sign ecg/*", "adds ecg/1: number 1"] {
        assert!(shown.contains(words), "{words}: {shown}");
    }
    let (by_anna, by_ben) =
        (desk.sign("acme-1", "anna").unwrap(), desk.sign("acme-1", "ben").unwrap());
    contains(
        desk.desk(&["keys", "publish", &by_anna]),
        &["role vendor-acme wants 2 signatures and has 1", "(ben)"],
    );
    contains(
        desk.sign("acme-1", "rita").map(Value::from),
        &["has no say in list 1 of vendor-acme"],
    );
    desk.desk(&["keys", "join", &by_anna, &by_ben, "-o", "acme-1.both"]).unwrap();
    desk.desk(&["keys", "publish", "acme-1.both"]).unwrap();
    assert_eq!(release("acme-again", "1").unwrap()["new"], false);
    desk.fleet.add_device("bed-7", "").unwrap();
    desk.fleet.assign("bed-7", "ward", "ecg/1").unwrap();

    // Ben's key is stolen; Cleo comes in his place. What both had signed holds no longer, and Anna and
    // Cleo go on from it.
    let change = [
        "release",
        "delegate",
        "vendor-acme",
        "--remove",
        "ben/key.pub.json",
        "--key",
        "cleo/key.pub.json",
        "--draft",
        "list-2",
    ];
    let changes = desk.desk(&change).unwrap()["changes"].to_string();
    assert!(changes.contains("(cleo); before: vendor-acme sign"), "{changes}");
    assert!(
        changes.contains("never gives again of ecg") && changes.contains("up to 1"),
        "{changes}"
    );
    let by_rita = desk.sign("list-2", "rita").unwrap();
    desk.desk(&["keys", "publish", &by_rita]).unwrap();
    let drafted = release("acme-2", "2").unwrap();
    let changes = drafted["changes"].to_string();
    for words in ["adds ecg/1: number 1", "adds ecg/2: number 2"] {
        assert!(changes.contains(words), "{words}: {changes}");
    }
    contains(desk.sign("acme-2", "ben").map(Value::from), &["has no say in list 2 of vendor-acme"]);
    let (by_anna, by_cleo) =
        (desk.sign("acme-2", "anna").unwrap(), desk.sign("acme-2", "cleo").unwrap());
    desk.desk(&["keys", "join", &by_anna, &by_cleo, "-o", "acme-2.both"]).unwrap();
    desk.desk(&["keys", "publish", "acme-2.both"]).unwrap();
    desk.fleet.assign("bed-7", "ward", "ecg/2").unwrap();

    // What they withdraw nobody is given, and neither its version nor its number comes again.
    let withdraw =
        ["release", "withdraw", "ecg/2", "--role", "vendor-acme", "--draft", "acme-withdraws"];
    let changes = desk.desk(&withdraw).unwrap()["changes"].to_string();
    assert!(changes.contains("removes ecg/2"), "{changes}");
    for person in ["anna", "cleo"] {
        let signed = desk.sign("acme-withdraws", person).unwrap();
        fs::rename(desk.path(&signed), desk.path("acme-withdraws")).unwrap();
    }
    desk.desk(&["keys", "publish", "acme-withdraws"]).unwrap();
    contains(desk.desk(&["assign", "bed-7", "ward", "ecg/2"]), &["there is no release \"ecg/2\""]);
    contains(release("acme-2-again", "2"), &["ecg v2 was withdrawn", "a new version"]);

    // Nothing of his is taken any longer.
    desk.desk(&["release", "undelegate", "vendor-acme", "--draft", "list-3"]).unwrap();
    let by_rita = desk.sign("list-3", "rita").unwrap();
    desk.desk(&["keys", "publish", &by_rita]).unwrap();
    // Devices hold what he has released: the bundle goes on above its numbers, whoever signs it next.
    let source = root().join("examples/ecg").to_str().unwrap().to_owned();
    desk.desk(&["bundle", "build", &source, "-o", "ecg-9.lsb", "--set", "version=9"]).unwrap();
    let next = desk.desk(&["release", "ecg-9.lsb", "--draft", "list-9"]).unwrap();
    assert_eq!(next["number"], 3);
    contains(release("acme-3", "2"), &["delegated nothing to vendor-acme"]);
    contains(desk.desk(&["keys", "publish", "acme-2.both"]), &["delegated nothing to vendor-acme"]);
    contains(desk.desk(&["assign", "bed-7", "ward", "ecg/2"]), &["there is no release \"ecg/2\""]);
    let again = ["release", "undelegate", "vendor-acme", "--draft", "list-4"];
    contains(desk.desk(&again), &["nothing is delegated to vendor-acme"]);
}

#[test]
fn a_policy_that_a_site_signs_has_its_devices_run_shadows_and_keep_no_readings() {
    let mut desk = Desk::with(&["smith", "zeno"]);
    desk.fleet.release("turbine", "1").unwrap();
    desk.fleet.release("turbine", "2").unwrap();
    let folder = desk.folder.path().to_owned();
    let write = |name: &str, text: &str| fs::write(folder.join(name), text).unwrap();
    write("shadows.toml", "[slots.\"*\".shadow]\nframes = 900000\n");
    let sign = |file: &str, key: &str| {
        desk.desk(&["site", "policy", "sign", file, "--site", "mill", "--key", key])
    };
    contains(sign("shadows.toml", "smith/key.pem"), &["lineside release delegate site-mill"]);
    // A site signs what holds there unless it is told otherwise.
    let said = desk.desk(&["release", "delegate", "site-mill", "--key", "smith/key.pub.json"]);
    assert_eq!(said.unwrap()["delegation"]["paths"], json!(["site/mill/*"]));
    contains(
        desk.desk(&["site", "policy", "show", "mill"]),
        &["site mill has signed no policy that holds", "lineside site policy sign"],
    );
    write("odd.toml", "[slots.turbine.shadow]\nagreement_min = 95\n");
    contains(sign("odd.toml", "smith/key.pem"), &["slots.turbine.shadow.agreement_min"]);
    contains(sign("shadows.toml", "zeno/key.pem"), &["is no key of site-mill", "(smith)"]);
    let other =
        ["site", "policy", "sign", "shadows.toml", "--site", "dale", "--key", "smith/key.pem"];
    contains(desk.desk(&other), &["delegated nothing to site-dale, but to site-mill"]);
    let signed = sign("shadows.toml", "smith/key.pem").unwrap();
    let policy = signed["files"]["site/mill/policy.json"].as_str().unwrap();
    assert!(policy.contains("\"frames\": 900000"), "{policy}");
    assert_eq!(sign("shadows.toml", "smith/key.pem").unwrap()["new"], false);
    let shown = desk.desk(&["site", "policy", "show", "mill"]).unwrap();
    assert_eq!(
        (&shown["list"], &shown["policy"]["slots"]["*"]["shadow"]["frames"]),
        (&json!(1), &json!(900000))
    );

    // Two devices that differ in where they stand.
    for (device, site) in [("mill-7", "mill"), ("dale-1", "dale")] {
        let folder = format!("{device}/device");
        desk.desk(&["device", "add", device, "-o", &folder, "--site", site]).unwrap();
        let site = if site == "mill" { "site = 'mill'\n" } else { "" };
        desk.fleet.set(device, &format!("{site}{}", turbine())).unwrap();
        desk.fleet.start_agent(device).unwrap();
        desk.fleet.assign(device, "turbine", "turbine/1").unwrap();
    }
    let idle = |release: &'static str| {
        move |status: &Value| {
            let slot = &status["slots"]["turbine"];
            slot["active"] == release && slot["phase"] == "idle"
        }
    };
    for device in ["mill-7", "dale-1"] {
        desk.fleet.wait_until_says(device, "v1 stays", idle("turbine v1")).unwrap();
        desk.fleet.assign(device, "turbine", "turbine/2").unwrap();
    }
    let in_shadow = |status: &Value| {
        let slot = &status["slots"]["turbine"];
        slot["phase"] == "shadow" && slot["active"] == "turbine v1"
    };
    desk.fleet.wait_until_says("mill-7", "v2 answers in the shadow", in_shadow).unwrap();
    desk.fleet.wait_until_says("dale-1", "v2 stays", idle("turbine v2")).unwrap();
    assert!(in_shadow(&desk.fleet.status("mill-7").unwrap()));

    // What was captured goes when the site says so: drafted at the desk, signed where there is no
    // network.
    let captured = desk.fleet.device_folder("mill-7").join("state/capture/turbine");
    wait("readings are captured", || captured.exists().then_some(())).unwrap();
    // People beside the device see what is kept, and what may be.
    let told = |what: &str| {
        wait(what, || {
            let said = desk.fleet.on_device("mill-7", &["capture"]).ok()?;
            String::from_utf8_lossy(&said.stdout).contains(what).then_some(())
        })
        .unwrap();
    };
    told("of at most 16384, for 168 hours; readings of 20");
    write(
        "never.toml",
        "[slots.\"*\".shadow]\nframes = 900000\n[slots.turbine.capture]\nallowed = false\n",
    );
    let draft = ["site", "policy", "sign", "never.toml", "--site", "mill", "--draft", "policy-2"];
    let drafted = desk.desk(&draft).unwrap();
    assert_eq!(drafted["document"], "list 2 of site-mill");
    let shown = desk.at("smith", &["keys", "show", "../policy-2"]).unwrap();
    let policy = shown["files"]["site/mill/policy.json"].as_str().unwrap();
    assert!(policy.contains("\"allowed\": false"), "{policy}");
    contains(
        desk.sign("policy-2", "zeno").map(Value::from),
        &["has no say in list 2 of site-mill"],
    );
    let signed = desk.sign("policy-2", "smith").unwrap();
    desk.desk(&["keys", "publish", &signed]).unwrap();
    wait("what was captured is gone", || (!captured.exists()).then_some(())).unwrap();
    told("slot turbine: nothing is captured: the policy that the site has signed forbids it");
    let others = desk.fleet.device_folder("dale-1").join("state/capture/turbine");
    assert!(others.exists());
}
