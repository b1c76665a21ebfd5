//! Keys in tokens: made, adopted and signing by PKCS #11, by the real tool with SoftHSM.

#![allow(clippy::unwrap_used)] // A test stops at what does not hold.

use lineside_tests::fleet::Fleet;
use lineside_tests::{complaint, examples, program, root};
use serde_json::Value;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use tempfile::TempDir;

const MODULE: &str = "/usr/lib/softhsm/libsofthsm2.so";
/// Writes down each call and hands it on; it lies where the system keeps its libraries.
const SPY: &str = "pkcs11-spy.so";
const PIN: &str = "2718281828";

/// A desk with a folder of its own, and tokens that only it sees.
struct Desk {
    folder: TempDir,
}

impl Desk {
    /// A desk with tokens of these labels, all of one PIN, and that PIN in the file `pin`.
    fn with(tokens: &[&str]) -> Desk {
        let desk = Desk { folder: tempfile::tempdir().unwrap() };
        fs::create_dir(desk.path("tokens")).unwrap();
        let tokens_at = format!("directories.tokendir = {}\n", desk.path("tokens").display());
        fs::write(desk.path("softhsm2.conf"), tokens_at).unwrap();
        desk.secret("pin", PIN);
        for label in tokens {
            let officer = ["--so-pin", "31415926535"];
            let arguments = ["--init-token", "--free", "--label", label, "--pin", PIN];
            let made =
                desk.command("softhsm2-util").args(arguments).args(officer).output().unwrap();
            assert!(made.status.success(), "{}", complaint(&made));
        }
        desk
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn secret(&self, name: &str, text: &str) {
        fs::write(self.path(name), format!("{text}\n")).unwrap();
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(0o600)).unwrap();
    }

    fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command.current_dir(self.folder.path()).env("SOFTHSM2_CONF", self.path("softhsm2.conf"));
        command.env("PKCS11SPY", MODULE).env("PKCS11SPY_OUTPUT", self.path("calls"));
        command
    }

    fn lineside(&self, arguments: &[&str]) -> Output {
        let mut command = self.command(program("lineside"));
        let output = command.args(["--json", "--data", "server"]).args(arguments).output().unwrap();
        let said = [output.stdout.as_slice(), &output.stderr].concat();
        assert!(!String::from_utf8_lossy(&said).contains(PIN), "a PIN was shown");
        output
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let output = self.lineside(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", complaint(&output));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// The tool's words where it refuses.
    fn refused(&self, arguments: &[&str], words: &[&str]) {
        let output = self.lineside(arguments);
        let said = complaint(&output);
        assert!(!output.status.success(), "{arguments:?}");
        for word in words {
            assert!(said.contains(word), "{word}: {said}");
        }
    }

    /// Makes a key in a token; it is described in `{name}.token`.
    fn generate(&self, name: &str, more: &[&str]) -> Value {
        self.json(&generate(&format!("{name}.token"), more))
    }

    /// Lets another program work in the token `safe`.
    fn other_tool(&self, arguments: &[&str]) {
        let mut command = self.command("pkcs11-tool");
        command.args(["--module", MODULE, "--token-label", "safe", "--login", "--pin", PIN]);
        let done = command.args(arguments).output().unwrap();
        assert!(done.status.success(), "{}", complaint(&done));
    }

    /// A draft of a first root that `key` may sign, and nobody else.
    fn draft(&self, draft: &str, key: &str) {
        let public = format!("{key}.pub.json");
        if !self.path("online.json").exists() {
            let keys = ["director", "online"].map(|role| {
                self.json(&["keys", "generate", "-o", &format!("{role}.pem")])["public"].clone()
            });
            let [director, online] = keys;
            let both = serde_json::json!({ "director": director, "online": online });
            fs::write(self.path("online.json"), both.to_string()).unwrap();
            self.json(&["keys", "generate", "-o", "other.pem"]);
        }
        let first = ["keys", "draft", "-o", draft, "--online-keys", "online.json"];
        let keys = ["--root-key", &public, "--release-key", "other.pub.json"];
        self.json(&[first.as_slice(), &keys].concat());
    }
}

/// The command that makes a key in a token, by SoftHSM's module or the one that `more` names.
fn generate<'a>(file: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let generate = ["keys", "generate", "-o", file, "--pin-file", "pin"];
    let module: &[&str] = if more.contains(&"--pkcs11") { &[] } else { &["--pkcs11", MODULE] };
    [&generate, module, more].concat()
}

fn sign<'a>(draft: &'a str, key: &'a str, pin: &'a str) -> [&'a str; 8] {
    ["keys", "sign", draft, "--yes", "--key", key, "--pin-file", pin]
}

#[test]
fn a_fleet_runs_what_keys_have_signed_that_never_left_their_tokens() {
    let desk = Desk::with(&["safe"]);
    let mut fleet = Fleet::without_keys(desk.folder.path()).unwrap();
    fs::create_dir(desk.path("keys")).unwrap();
    let safe = ["--token", "safe"];
    let owned = |kind: &'static str, owner: &'static str| {
        [safe.as_slice(), &["--kind", kind, "--owner", owner]].concat()
    };
    let made = desk.generate("keys/root", &owned("p256", "safe of the plant"));
    assert_eq!(made["public"]["scheme"], "ecdsa-sha2-nistp256");
    assert_eq!(made["public"]["x-lineside-owner"], "safe of the plant");
    desk.generate("keys/release-1", &owned("ed25519", "anna"));
    desk.generate("keys/release-2", &owned("p256", "ben"));

    desk.json(&["keys", "online", "-o", "online.json"]);
    let draft = ["keys", "draft", "-o", "root-1", "--online-keys", "online.json"];
    let keys = [
        "--root-key",
        "keys/root.pub.json",
        "--release-key",
        "keys/release-1.pub.json",
        "--release-key",
        "keys/release-2.pub.json",
        "--release-threshold",
        "2",
    ];
    desk.json(&[draft.as_slice(), &keys].concat());
    desk.json(&sign("root-1", "keys/root.token", "pin"));
    desk.json(&["keys", "publish", "root-1"]);

    let bundle = examples::build("turbine", "1", desk.folder.path()).unwrap();
    let release = ["release", bundle.to_str().unwrap(), "--pin-file", "pin"];
    assert_eq!(desk.json(&release)["signatures"], 2);
    let recording = root().join("examples/turbine/recordings/reference.csv");
    let settings = format!(
        "[slots.turbine]\nsource = 'scada'\nsinks = ['log']\n\
         [sources.scada]\nkind = 'file'\npaths = ['{}']\npace = 12000.0\n\
         [sinks.log]\nkind = 'file'\npath = 'findings.jsonl'\n",
        recording.display()
    );
    fleet.add_device("mill-7", &settings).unwrap();
    fleet.start_agent("mill-7").unwrap();
    fleet.assign("mill-7", "turbine", "turbine/1").unwrap();
    let holds = |status: &Value| {
        let slot = &status["slots"]["turbine"];
        ["active", "candidate"].iter().any(|place| slot[*place] == "turbine v1")
    };
    fleet.wait_until_says("mill-7", "turbine v1 is here", holds).unwrap();
}

#[test]
fn a_wrong_pin_is_tried_once_and_nothing_is_signed() {
    let desk = Desk::with(&["safe"]);
    desk.generate("anna", &["--token", "safe", "--pkcs11", SPY]);
    desk.draft("root-1", "anna");
    desk.secret("wrong", "1111111111");
    let before = fs::read(desk.path("root-1")).unwrap();
    // The module wrote down what was asked of the token.
    let tries = || fs::read_to_string(desk.path("calls")).unwrap().matches("C_Login\n").count();
    assert_eq!(tries(), 1);
    let words = ["token \"safe\" (serial ", "does not take this PIN", "tried once"];
    desk.refused(&sign("root-1", "anna.token", "wrong"), &words);
    assert_eq!(tries(), 2);
    assert_eq!(fs::read(desk.path("root-1")).unwrap(), before);
    desk.json(&sign("root-1", "anna.token", "pin"));
    assert_eq!(tries(), 3);
}

#[test]
fn a_pin_that_is_typed_is_not_seen() {
    let desk = Desk::with(&["safe"]);
    desk.generate("anna", &["--token", "safe"]);
    desk.draft("root-1", "anna");
    let no_terminal = ["keys", "sign", "root-1", "--yes", "--key", "anna.token"];
    desk.refused(&no_terminal, &["nobody can be asked", "--pin-file"]);

    let lineside = program("lineside");
    let line = format!("'{}' keys sign root-1 --yes --key anna.token", lineside.display());
    let mut terminal = desk.command("script");
    terminal.args(["--quiet", "--return", "--flush", "--command", &line, "/dev/null"]);
    let mut terminal = terminal.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let (mut keyboard, mut screen) =
        (terminal.stdin.take().unwrap(), terminal.stdout.take().unwrap());
    let mut seen = Vec::new();
    while !String::from_utf8_lossy(&seen).contains("PIN of token \"safe\"") {
        let mut byte = [0];
        assert_eq!(screen.read(&mut byte).unwrap(), 1, "{}", String::from_utf8_lossy(&seen));
        seen.push(byte[0]);
    }
    keyboard.write_all(format!("{PIN}\n").as_bytes()).unwrap();
    screen.read_to_end(&mut seen).unwrap();
    let seen = String::from_utf8_lossy(&seen);
    assert!(terminal.wait().unwrap().success() && seen.contains("is signed with key"), "{seen}");
    assert!(!seen.contains(PIN), "{seen}");
}

#[test]
fn what_is_wrong_with_a_module_or_a_token_is_said_and_leaves_nothing_behind() {
    let desk = Desk::with(&["safe", "double", "double"]);
    let safe = ["--token", "safe"];
    let with = |module: &'static str| [safe.as_slice(), &["--pkcs11", module]].concat();
    let refused = |more: &[&str], words: &[&str]| {
        desk.refused(&generate("anna.token", more), words);
        assert!(!desk.path("anna.token").exists() && !desk.path("anna.pub.json").exists());
    };
    refused(&with("/nowhere/token.so"), &["/nowhere/token.so cannot be loaded"]);
    refused(
        &with("./softhsm2.conf"),
        &["softhsm2.conf cannot be loaded: is it the PKCS#11 module"],
    );
    // A library, but of something else.
    refused(&with("libc.so.6"), &["libc.so.6 cannot be loaded", "C_GetFunctionList"]);
    refused(&["--token", "vault"], &["token \"vault\" is not there; there is", "\"safe\" with"]);
    refused(&["--token", "double"], &["2 tokens are called \"double\"", "--serial"]);
    refused(&["--token", "double", "--serial", "1"], &["\"double\" with serial 1 is not there"]);
    refused(&["--token", "safe", "--adopt", "anna"], &["has no key \"anna\" that signs"]);
    fs::set_permissions(desk.path("pin"), fs::Permissions::from_mode(0o644)).unwrap();
    refused(&safe, &["pin may be read by others (mode 644)"]);
    fs::set_permissions(desk.path("pin"), fs::Permissions::from_mode(0o600)).unwrap();

    let made = desk.generate("anna", &safe);
    assert_eq!(made["public"]["keytype"], "ed25519");
    let again = generate("ben.token", &["--token", "safe", "--label", "anna"]);
    desk.refused(&again, &["has a key \"anna\" already", "--adopt"]);
    assert!(!desk.path("ben.token").exists());
}

#[test]
fn a_key_signs_as_long_as_it_lies_in_the_very_token_that_it_was_made_in() {
    let desk = Desk::with(&["safe", "double", "double"]);
    desk.generate("anna", &["--token", "safe"]);
    desk.draft("root-1", "anna");
    // Of two tokens of one label, the file says which: it was chosen when the key was made.
    let listed = desk.lineside(&generate("cleo.token", &["--token", "double"]));
    let listed = complaint(&listed);
    let serial = listed.split("with serial ").nth(1).unwrap();
    let serial = serial.split([',', ';']).next().unwrap();
    desk.generate("cleo", &["--token", "double", "--serial", serial]);
    desk.draft("root-2", "cleo");
    desk.json(&sign("root-2", "cleo.token", "pin"));

    let text = fs::read_to_string(desk.path("anna.token")).unwrap();
    let description: Value = serde_json::from_str(&text).unwrap();
    let with = |field: &str, value: &str| {
        let mut other = description.clone();
        other[field] = value.into();
        fs::write(desk.path("odd.token"), other.to_string()).unwrap();
        desk.lineside(&sign("root-1", "odd.token", "pin"))
    };
    let said = complaint(&with("serial", serial));
    assert!(said.contains("is not there; there is"), "{said}");
    let said = complaint(&with("id", "0a0b"));
    assert!(said.contains("(id 0a0b) any longer"), "{said}");

    // One file for the key of another: what it signs is not of the key that it promises.
    let ben = desk.generate("ben", &["--token", "safe"]);
    let said = complaint(&with("id", ben["id_in_token"].as_str().unwrap()));
    assert!(said.contains("is not of key"), "{said}");

    let id = description["id"].as_str().unwrap();
    desk.other_tool(&["--delete-object", "--type", "privkey", "--id", id]);
    desk.refused(&sign("root-1", "anna.token", "pin"), &["has no key \"anna\"", "any longer"]);
}

#[test]
fn a_key_that_another_tool_has_made_is_adopted_if_devices_can_verify_it() {
    let desk = Desk::with(&["safe"]);
    let make = |kind: &str, label: &str, id: &str| {
        let make = ["--keypairgen", "--key-type", kind, "--label", label, "--id", id];
        desk.other_tool(&make);
    };
    make("EC:prime256v1", "anna", "0a");
    make("EC:secp384r1", "large", "0b");
    make("rsa:2048", "old", "0c");
    make("EC:prime256v1", "twice", "0d");
    make("EC:prime256v1", "twice", "0e");
    let adopt = |file: &'static str, name: &'static str| {
        generate(file, &["--token", "safe", "--adopt", name])
    };
    for name in ["large", "old"] {
        desk.refused(&adopt("odd.token", name), &["neither an Ed25519 key nor an ECDSA P-256 key"]);
    }
    let twice = ["has 2 keys \"twice\"", "by its id, of 0d, 0e"];
    desk.refused(&adopt("odd.token", "twice"), &twice);
    assert_eq!(desk.json(&adopt("twice.token", "0e"))["label"], "twice");

    let adopted = desk.json(&adopt("anna.token", "anna"));
    let again = desk.json(&adopt("again.token", "anna"));
    assert_eq!(adopted["key"], again["key"]);
    desk.draft("root-1", "anna");
    desk.json(&sign("root-1", "again.token", "pin"));
    assert_eq!(desk.json(&["keys", "show", "root-1"])["complete"], true);
}

#[test]
fn one_pin_is_not_tried_with_two_tokens() {
    let desk = Desk::with(&["safe", "vault"]);
    fs::create_dir(desk.path("keys")).unwrap();
    let _fleet = Fleet::without_keys(desk.folder.path()).unwrap();
    desk.generate("keys/release-1", &["--token", "safe"]);
    desk.generate("keys/release-2", &["--token", "vault"]);
    desk.json(&["keys", "generate", "-o", "keys/root.pem"]);
    desk.json(&["keys", "online", "-o", "online.json"]);
    let draft = ["keys", "draft", "-o", "root-1", "--online-keys", "online.json"];
    let keys = ["--root-key", "keys/root.pub.json", "--release-threshold", "2"];
    let release = ["keys/release-1.pub.json", "keys/release-2.pub.json"]
        .map(|key| ["--release-key", key])
        .concat();
    desk.json(&[draft.as_slice(), &keys, &release].concat());
    desk.json(&["keys", "sign", "root-1", "--yes", "--key", "keys/root.pem"]);
    desk.json(&["keys", "publish", "root-1"]);
    let bundle = examples::build("turbine", "1", desk.folder.path()).unwrap();
    let bundle = bundle.to_str().unwrap();
    let words = ["lie in 2 tokens (safe, vault)", "--pin-file is for one"];
    desk.refused(&["release", bundle, "--pin-file", "pin"], &words);

    // Apart each token gets its own PIN.
    desk.json(&["release", bundle, "--draft", "list-1"]);
    for key in ["keys/release-1.token", "keys/release-2.token"] {
        desk.json(&sign("list-1", key, "pin"));
    }
    desk.json(&["keys", "publish", "list-1"]);
    assert!(desk.path("keys/releases.json").exists());
}
