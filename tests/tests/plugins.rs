//! From nothing to a plugin that answers, in each language, and what is no plugin.

#![allow(clippy::unwrap_used)] // A test stops at what does not hold.

use lineside_tests::{complaint, evil, program, root};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A folder that is empty, for what one test makes.
fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("plugins").join(name);
    if folder.exists() {
        std::fs::remove_dir_all(&folder).unwrap();
    }
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// Runs the tool in a folder. Crates are built of what this workspace's plugins were built of.
fn lineside(folder: &Path, arguments: &[&str]) -> Output {
    let this = std::env::current_exe().unwrap();
    Command::new(program("lineside"))
        .args(arguments)
        .current_dir(folder)
        .env("CARGO_TARGET_DIR", this.ancestors().nth(3).unwrap())
        .env("CARGO_NET_OFFLINE", "true")
        .output()
        .unwrap()
}

fn json(folder: &Path, arguments: &[&str]) -> Value {
    let output = lineside(folder, &[&["--json"], arguments].concat());
    assert!(output.status.success(), "{arguments:?}: {}", complaint(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn refused(folder: &Path, arguments: &[&str]) -> String {
    let output = lineside(folder, arguments);
    assert_eq!(output.status.code(), Some(1), "{arguments:?}");
    complaint(&output)
}

/// Frames for the evil plugin, in `folder`.
fn deed(folder: &Path, deed: &str) {
    let lines = [
        json!({ "settings": { "deed": deed } }),
        json!({ "inputs": { "x": [1, 0] }, "expected": [{ "y": 1 }] }),
        json!({ "inputs": { "x": [-1, 0] }, "expected": [{ "y": 2 }] }),
        // A fresh instance goes on.
        json!({ "inputs": { "x": [1, 0] }, "expected": [{ "y": 1 }] }),
    ];
    let text: Vec<String> = lines.iter().map(Value::to_string).collect();
    std::fs::write(folder.join("deed.jsonl"), text.join("\n")).unwrap();
}

/// Begins a plugin called `mean` in a folder of its own, where the tool then works.
fn begun(language: &str) -> PathBuf {
    let folder = folder(language);
    let said = json(&folder, &["plugin", "new", "--lang", language, "mean"]);
    assert_eq!(said["plugin"], "mean");
    // What was tried here serves there as well, without a network.
    if language == "rust" {
        std::fs::copy(root().join("Cargo.lock"), folder.join("mean/Cargo.lock")).unwrap();
    }
    folder
}

/// What holds for the example in every language. Nothing is tried that asks for something from outside.
fn answers(folder: &Path) {
    let said = json(folder, &["plugin", "test", "mean"]);
    assert_eq!((&said["frames"], &said["agreed"]), (&json!(4), &json!(4)), "{said}");
    assert_eq!(said["interpreted_alike"], true);
    assert!(said["fuel"]["p50"].as_u64().unwrap() > 100, "{said}");
    assert!(said["time_us"]["p50"].as_f64() <= said["time_us"]["p99"].as_f64(), "{said}");
    assert!(said["memory_bytes"].as_u64().unwrap() >= 1 << 16, "{said}");
}

#[test]
fn a_plugin_in_rust_is_begun_built_tried_checked_and_used_in_a_bundle() {
    let folder = begun("rust");
    answers(&folder);
    let said = json(&folder, &["plugin", "build", "mean", "-o", "mean.wasm"]);
    assert!(said["bytes"].as_u64().unwrap() < 200_000, "{said}");

    let said = json(&folder, &["plugin", "check", "mean.wasm", "--set", "rows=5"]);
    assert_eq!(said["imports"], json!([]));
    assert_eq!(said["world"], "lineside:plugin/processor@1.0.0");
    assert_eq!(said["refused"], json!([]));
    let started = &said["started"];
    assert!(started["process_bytes"].as_u64().unwrap() < 100 << 20, "{started}");
    assert_eq!(started["inputs"], json!([{ "name": "x", "type": "f32", "shape": [5] }]));
    assert_eq!(started["outputs"], json!([{ "name": "mean", "type": "f32", "shape": [1] }]));

    let said = refused(&folder, &["plugin", "check", "mean.wasm", "--set", "rows=some"]);
    assert!(said.contains("it refuses its settings: rows = "), "{said}");
    // With what a bundle gives where it says nothing.
    json(&folder, &["plugin", "check", "mean.wasm", "--memory-mib", "16"]);

    let recording = folder.join("mean/frames/example.jsonl");
    let right = std::fs::read_to_string(&recording).unwrap();
    std::fs::write(&recording, right.replace("\"mean\":0.25", "\"mean\":0.26")).unwrap();
    let test = ["plugin", "test", "mean.wasm", "--frames", "mean/frames"];
    let output = lineside(&folder, &test);
    let told = String::from_utf8_lossy(&output.stdout);
    let line = "mean/frames/example.jsonl line 4: mean is 0.25, 0.26 was expected";
    assert!(told.contains(line) && told.contains("\nfuel: "), "{told}");
    assert_eq!(complaint(&output), "lineside: 1 of 4 calls are not as expected");
    json(&folder, &[&test[..], &["--tolerance", "0.01"]].concat());
    json(&folder, &[&test[..], &["--record"]].concat());
    let recorded = std::fs::read_to_string(&recording).unwrap();
    assert_eq!(recorded.replace(".0}", "}"), right);
    json(&folder, &[&test[..], &["--tolerance", "0"]].concat());

    let bundle = folder.join("average");
    std::fs::create_dir_all(&bundle).unwrap();
    std::fs::create_dir_all(folder.join("plugins")).unwrap();
    std::fs::rename(folder.join("mean"), folder.join("plugins/mean")).unwrap();
    let description = "format = 1\nname = 'average'\nversion = '1'\n\
         inputs.row = { rate_hz = 1.0, fields = [{ name = 'v' }] }\n\
         stages.window = { kind = 'window', input = 'row', rows = 3, stride = 3 }\n\
         stages.mean = { kind = 'plugin', plugin = 'mean', inputs = { x = 'window' }, config = { rows = '3' } }\n\
         outputs.mean.from = 'mean.mean'\n";
    std::fs::write(bundle.join("bundle.toml"), description).unwrap();
    std::fs::write(folder.join("v.csv"), "v\n1\n2\n6\n").unwrap();
    std::fs::write(folder.join("v.jsonl"), r#"{"frame":0,"outputs":{"mean":3.0}}"#).unwrap();
    let said =
        json(&folder, &["bundle", "run", "average", "--input", "v.csv", "--expect", "v.jsonl"]);
    assert_eq!(said["agreement"]["agreed"], 1, "{said}");
}

#[test]
fn what_a_plugin_does_that_means_harm_is_told_by_line_and_goes_no_further() {
    let folder = folder("evil");
    let source = root().join("tests/evil-plugin");
    let build = ["plugin", "build", source.to_str().unwrap(), "-o", "evil.wasm"];
    json(&folder, &build);
    let cases = [
        ("trap", "line 3: the plugin trapped"),
        ("loop", "line 3: the plugin took longer than 300 ms"),
        ("hoard", "line 3: the plugin wanted more than the 4096 KiB of memory"),
        ("nan", "line 3: the plugin's answer cannot be used: y is not finite"),
    ];
    for (deed, words) in cases {
        self::deed(&folder, deed);
        let limits = ["--memory-mib", "4", "--frame-ms", "300"];
        let test = ["--json", "plugin", "test", "evil.wasm", "--frames", "deed.jsonl"];
        let output = lineside(&folder, &[&test[..], &limits].concat());
        assert_eq!(output.status.code(), Some(1), "{deed}");
        let said: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(said["agreed"], 2, "{deed}: {said}");
        let told = said["disagreements"][0].as_str().unwrap();
        assert!(told.contains(words), "{deed}: {told}");
        // What has no answer is nothing to be expected.
        let before = std::fs::read_to_string(folder.join("deed.jsonl")).unwrap();
        let record = [&test[1..], &limits, &["--record"]].concat();
        let said = refused(&folder, &record);
        assert!(said.contains("1 of 3 calls have no answer, so nothing was recorded"), "{said}");
        assert_eq!(std::fs::read_to_string(folder.join("deed.jsonl")).unwrap(), before);
    }
    // It says what it refuses, and that may be what was to be.
    std::fs::write(
        folder.join("deed.jsonl"),
        "{\"settings\":{\"deed\":\"say\"}}\n{\"inputs\":{\"x\":[-1,0]},\"refused\":\"reason\"}\n",
    )
    .unwrap();
    json(&folder, &["plugin", "test", "evil.wasm", "--frames", "deed.jsonl"]);
    let said = refused(&folder, &["plugin", "check", "evil.wasm", "--set", "deed=configure-loop"]);
    assert!(said.contains("it failed while being configured: the plugin took longer"), "{said}");
    let hoard = ["plugin", "check", "evil.wasm", "--set", "deed=configure-hoard"];
    let said = refused(&folder, &[&hoard[..], &["--memory-mib", "8"]].concat());
    assert!(said.contains("it failed while being configured: the plugin wanted more"), "{said}");
}

#[test]
fn a_plugin_over_the_compiler_s_head_ends_with_an_error_and_in_a_process_of_its_own() {
    let folder = folder("endless");
    std::fs::write(folder.join("endless.wasm"), evil::with(&evil::endless())).unwrap();
    deed(&folder, "");
    let test = ["plugin", "test", "endless.wasm", "--frames", "deed.jsonl"];
    let check = ["plugin", "check", "endless.wasm"];
    let second = ["--seconds", "1"];
    assert_eq!(
        refused(&folder, &[&test[..], &second].concat()),
        "lineside: compiling endless.wasm takes longer than 1 s: --seconds allows more"
    );
    assert_eq!(
        refused(&folder, &[&check[..], &second].concat()),
        "lineside: endless.wasm: it takes longer than 1 s: --seconds allows more"
    );
    // With less memory, so that nobody has to wait until it is full.
    let narrow = |arguments: &[&str]| {
        let output = Command::new("sh")
            .args(["-c", "ulimit -d 196608 && exec \"$0\" \"$@\""])
            .arg(program("lineside"))
            .args(arguments)
            .current_dir(&folder)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        complaint(&output)
    };
    let said = narrow(&test);
    let last = said.lines().last().unwrap();
    assert!(
        last.starts_with(
            "lineside: ended by SIGABRT: to be compiled and run, the plugin needs more than 192 MiB"
        ),
        "{said}"
    );
    assert_eq!(narrow(&check), "lineside: endless.wasm: it needs more than 192 MiB of memory");
}

#[test]
fn what_a_plugin_says_is_told_by_line_and_what_is_more_is_counted() {
    let folder = folder("said");
    std::fs::write(folder.join("evil.wasm"), evil::plugin()).unwrap();
    let test = ["plugin", "test", "evil.wasm", "--frames", "deed.jsonl"];
    deed(&folder, "last-words");
    let output = lineside(&folder, &test);
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(told.contains("\n  log, deed.jsonl line 3: I see it coming\n"), "{told}");
    deed(&folder, "chatter");
    let frames = std::fs::read_to_string(folder.join("deed.jsonl")).unwrap();
    std::fs::write(folder.join("deed.jsonl"), frames.replace("\"y\":1", "\"y\":3")).unwrap();
    let output = lineside(&folder, &test);
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(told.contains(" line 3: line 15\n") && !told.contains("line 16"), "{told}");
    assert!(told.contains("\nlog: … and 84 lines more, of which 84 were dropped"), "{told}");
    let output = lineside(&folder, &[&["--json"], &test[..]].concat());
    let said: Value = serde_json::from_slice(&output.stdout).unwrap();
    let lines = said["lines"].as_array().unwrap();
    assert_eq!((lines.len(), &said["lines_dropped"]), (16, &json!(84)), "{said}");
    assert_eq!(lines[0], json!({ "file": "deed.jsonl", "line": 3, "text": "line 0" }));
}

#[test]
fn what_a_stage_is_given_in_a_bundle_is_what_its_plugin_is_then_tested_on() {
    let folder = folder("recorded");
    let limits = "plugin_memory_mib = 128, frame_ms = 30000";
    let bundle = folder.join("bundle");
    evil::lay(&bundle, &evil::description("say", limits, "", ""), evil::plugin());
    let rows =
        "key,x\nmill 1,1\nmill 1,2\nmill 2,5\nmill 1,-3\nmill 1,4\nmill 2,6\nmill 1,7\nmill 1,8\n";
    std::fs::write(folder.join("rows.csv"), rows).unwrap();
    let run = ["bundle", "run", "bundle", "--input", "rows.csv", "--record-stage"];
    // A frame that is refused is recorded as well, and the run fails for want of its answer.
    let output = lineside(&folder, &[&["--json"], &run[..], &["evil", "frames"]].concat());
    assert_eq!(output.status.code(), Some(1), "{}", complaint(&output));
    let said: Value = serde_json::from_slice(&output.stdout).unwrap();
    let files = ["frames/evil-mill_1.jsonl", "frames/evil-mill_2.jsonl"];
    assert_eq!(
        said["recorded_stage"],
        json!({ "stage": "evil", "folder": "frames", "files": files, "calls": 6, "left_out": 0 })
    );
    let recorded = std::fs::read_to_string(folder.join(files[0])).unwrap();
    assert_eq!(
        recorded,
        "{\"settings\":{\"deed\":\"say\"}}\n\
         {\"time_ns\":1000000000,\"inputs\":{\"x\":[1.0,2.0]},\"expected\":[{\"y\":1.0}]}\n\
         {\"first_sequence\":2,\"time_ns\":4000000000,\"inputs\":{\"x\":[-3.0,4.0]},\"refused\":\"a reason\"}\n\
         {\"first_sequence\":4,\"time_ns\":7000000000,\"inputs\":{\"x\":[7.0,8.0]},\"expected\":[{\"y\":3.0}]}\n\
         {\"finish\":true,\"expected\":[{\"y\":3.0}]}\n"
    );
    let test = ["plugin", "test", "bundle/plugins/evil.wasm", "--frames", "frames"];
    let said = json(&folder, &test);
    assert_eq!((&said["frames"], &said["agreed"]), (&json!(6), &json!(6)), "{said}");
    // What is recorded is what the test compares with.
    std::fs::write(folder.join(files[0]), recorded.replace("\"y\":1.0", "\"y\":2.0")).unwrap();
    let said = refused(&folder, &test);
    assert_eq!(said, "lineside: 1 of 6 calls are not as expected");
    let said = refused(&folder, &[&run[..], &["evil", "frames"]].concat());
    assert!(said.contains("frames is not empty") && said.contains("name a new folder"), "{said}");
    let said = refused(&folder, &[&run[..], &["window", "others"]].concat());
    assert!(said.ends_with("no plugin is called window in it, only [evil]"), "{said}");
}

#[test]
fn what_is_no_plugin_is_refused_with_what_makes_one() {
    let folder = folder("none");
    let write = |name: &str, bytes: &[u8]| std::fs::write(folder.join(name), bytes).unwrap();
    write("text.wasm", b"no plugin at all");
    write("module.wasm", b"\0asm\x01\0\0\0");
    write("cut.wasm", b"\0asm\x0d\0\x01\0\x01\x7f");
    // The smallest component there is, and one that imports an instance of an interface.
    let nothing = b"\0asm\x0d\0\x01\0";
    write("nothing.wasm", nothing);
    let asks = |name: &[u8]| {
        let mut component = nothing.to_vec();
        component.extend(b"\x07\x03\x01\x42\0\x0a");
        component.extend([name.len() as u8 + 5, 1, 0, name.len() as u8]);
        component.extend(name);
        component.extend(b"\x05\0");
        component
    };
    write("clock.wasm", &asks(b"test:plugin/clock"));
    write("wasi.wasm", &asks(b"wasi:clocks/monotonic-clock@0.2.0"));
    write("relaxed.wasm", &evil::with(&evil::relaxed()));
    for (name, words) in [
        ("text.wasm", "text.wasm: it is no WebAssembly: `lineside plugin build` makes a plugin"),
        ("module.wasm", "it is a module, not a component: `lineside plugin build` makes a comp"),
        ("cut.wasm", "cut.wasm: it is broken: "),
        ("nothing.wasm", "it does not export lineside:plugin/processor@1.0.0"),
        (
            "clock.wasm",
            "it asks for test:plugin/clock from outside, and a plugin gets its settings",
        ),
        ("wasi.wasm", "a plugin has no WASI: `lineside plugin build` builds without"),
        (
            "relaxed.wasm",
            "relaxed.wasm: it uses relaxed SIMD: its answers differ from processor to processor: build without \
             -C target-feature=+relaxed-simd",
        ),
        ("missing.wasm", "cannot read missing.wasm"),
        (".", "is no file"),
    ] {
        let said = refused(&folder, &["plugin", "check", name]);
        assert!(said.contains(words) && !said.contains('\n'), "{name}: {said}");
        let output = lineside(&folder, &["--json", "plugin", "check", name]);
        let error: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert!(error["error"].is_string(), "{name}: {error}");
    }
    let said = refused(&folder, &["plugin", "build", "."]);
    assert!(said.contains("it has none of Cargo.toml, package.json, requirements.txt"), "{said}");
    let said = refused(&folder, &["plugin", "test", "."]);
    assert!(said.contains("there is no ./frames: recorded frames lie there"), "{said}");
    let said = refused(&folder, &["plugin", "new", "--lang", "rust", "."]);
    assert!(said.contains(". is there already and is never written over"), "{said}");
}

#[test]
fn a_plugin_in_javascript_is_begun_built_and_tried() {
    answers(&begun("js"));
}

#[test]
fn a_plugin_in_python_is_begun_built_and_tried() {
    answers(&begun("python"));
}
