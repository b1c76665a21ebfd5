//! The tool `lineside` on good and bad bundles, through the real program and the real skopeo.

#![allow(clippy::unwrap_used)] // A test stops at what does not hold.

use lineside_tests::{build, complaint, lineside, root};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn turbine() -> PathBuf {
    root().join("examples/turbine")
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A folder with what the turbine bundle is made of, its plugin built, for a test to change.
fn turbine_to_change() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for sub in ["models", "checks", "plugins"] {
        std::fs::create_dir(folder.path().join(sub)).unwrap();
    }
    for path in
        ["models/turbine-v1.onnx", "checks/january.csv", "checks/january-v1.jsonl", "bundle.toml"]
    {
        std::fs::copy(turbine().join(path), folder.path().join(path)).unwrap();
    }
    let (source, plugin) =
        (root().join("plugins/lost-power"), folder.path().join("plugins/lost-power.wasm"));
    assert!(lineside(&["plugin", "build", text(&source), "-o", text(&plugin)]).status.success());
    folder
}

const BUILT_PLUGIN: [&str; 1] = ["stages.lost.plugin=plugins/lost-power.wasm"];

const V3: [&str; 4] = [
    "version=3",
    "stages.judge.file=models/turbine-v3-wrong-unit.onnx",
    "stages.alarm.above=4.61235",
    "checks.0.expected=checks/january-v2.jsonl",
];

#[test]
fn a_model_that_answers_wrongly_is_refused_by_its_checks() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("v3.lsb");
    build(&turbine(), &V3, &file);
    let output = lineside(&["bundle", "check", text(&file)]);
    assert_eq!(output.status.code(), Some(1));
    let complaint = complaint(&output);
    assert!(
        complaint.starts_with("lineside: turbine v3 does not pass: check january: "),
        "{complaint}"
    );
    assert!(complaint.contains("of frame 0 of \"R80711\" is"), "{complaint}");
}

#[test]
fn checks_recorded_from_a_wrong_model_pass_which_is_why_there_are_trials() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("v4.lsb");
    let source = turbine();
    let mut arguments =
        vec!["bundle", "build", text(&source), "-o", text(&file), "--record-checks"];
    arguments.push("--without-profile");
    for change in &V3 {
        arguments.extend(["--set", change]);
    }
    assert!(lineside(&arguments).status.success());
    assert!(lineside(&["bundle", "check", text(&file)]).status.success());
}

#[test]
fn a_damaged_or_truncated_bundle_is_refused_with_a_reason() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("v1.lsb");
    build(&turbine(), &[], &file);
    let bytes = std::fs::read(&file).unwrap();
    std::fs::write(&file, &bytes[..bytes.len() / 2]).unwrap();
    let output = lineside(&["bundle", "check", text(&file)]);
    assert_eq!(output.status.code(), Some(1));
    let said = complaint(&output);
    assert!(said.contains("v1.lsb is no bundle: the archive is cut short or damaged"), "{said}");

    let mut damaged = bytes.clone();
    let middle = bytes.len() / 2;
    damaged[middle] ^= 1;
    std::fs::write(&file, damaged).unwrap();
    let said = complaint(&lineside(&["bundle", "check", text(&file)]));
    assert!(said.contains("is damaged: its bytes are sha256:"), "{said}");
}

#[test]
fn what_is_missing_or_misspelt_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("x.lsb");
    let source = turbine();
    for (change, words) in [
        ("stages.judge.file=models/none.onnx", "cannot read"),
        ("stages.judge.fil=x", "stage judge: unknown key `fil`"),
        ("stages.judge.inputs.window=windw", "stage judge: input window: there is no stage windw"),
        ("stages.lost.plugin=nobody", "there is no plugin nobody: no folder plugins/nobody"),
        ("stages.window.stride=7", "stage window: stride = 7 must be 1 to rows = 6"),
        ("trial.outputs.score=[0.0, inf]", "trial.outputs.score: 0 to inf is no range"),
        ("fail_safe.score=nan", "fail_safe.score: NaN is not finite"),
        (
            "fail_safe.score=true",
            "output score: fail_safe.score: true is no number, and judge.score is f32",
        ),
        (
            "alarm_output=score",
            "output score: alarm_output names it, and judge.score is f32: an alarm is",
        ),
        ("stages.judge.engine=tensorrt", "stage judge: there is no engine tensorrt, only tract, "),
        ("stages.judge.engine=classical", "stage judge: engine classical lacks "),
        ("stages.window.rows=3.5", "stage window: rows = 3.5 must be a whole number from 0 to"),
        ("warm_up_readings=4294967295", "warm_up_readings: 4294967295 must be at most 16777216"),
    ] {
        let output =
            lineside(&["bundle", "build", text(&source), "-o", text(&file), "--set", change]);
        assert_eq!(output.status.code(), Some(1), "{change}");
        let said = complaint(&output);
        assert!(said.contains(words), "{change}: {said}");
        // Lines are counted in a file that somebody can look at, or not at all.
        assert!(!said.contains("line "), "{change}: {said}");
        assert!(!file.exists());
    }
}

#[test]
fn operators_that_no_engine_has_are_named_with_stage_and_file() {
    let folder = turbine_to_change();
    let model = std::fs::read(turbine().join("models/turbine-v1.onnx")).unwrap();
    let changed = lineside_tests::with_unknown_operators(&model);
    std::fs::write(folder.path().join("models/turbine-v1.onnx"), changed).unwrap();
    let file = folder.path().join("x.lsb");
    build(folder.path(), &BUILT_PLUGIN, &file);
    let output = lineside(&["bundle", "check", text(&file)]);
    assert_eq!(output.status.code(), Some(1));
    let wanted = "lineside: turbine v1 does not pass: the bundle cannot run here: \
                  stage judge: models/turbine-v1.onnx: no engine here runs it: \
                  tract lacks Gemx, lacks Tanx";
    let said = complaint(&output);
    assert!(said.starts_with(wanted), "{said}");
}

#[test]
fn a_folder_that_is_no_bundle_is_not_read_whatever_lies_there() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    // A folder in itself, and a file that gives nothing and never ends.
    std::os::unix::fs::symlink("..", path("up")).unwrap();
    assert!(Command::new("mkfifo").arg(path("pipe")).status().unwrap().success());
    for command in ["check", "show"] {
        let output = lineside(&["bundle", command, text(folder.path())]);
        assert_eq!(output.status.code(), Some(1));
        let said = complaint(&output);
        assert!(said.contains("neither bundle.toml nor oci-layout is in "), "{said}");
    }
    // A layout that is good but for what lies beside it, and then among its blobs.
    let file = path("turbine.lsb");
    build(&turbine(), &[], &file);
    assert!(
        Command::new("tar")
            .arg("xf")
            .arg(&file)
            .current_dir(folder.path())
            .status()
            .unwrap()
            .success()
    );
    let output = lineside(&["bundle", "show", text(folder.path())]);
    assert!(output.status.success(), "{}", complaint(&output));
    let pipe = path("blobs/sha256").join("0".repeat(64));
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let said = complaint(&lineside(&["bundle", "show", text(folder.path())]));
    assert!(said.ends_with(&format!("{} is no file", text(&pipe))), "{said}");
}

#[test]
fn origin_and_licence_travel_with_the_data() {
    let folder = tempfile::tempdir().unwrap();
    for (example, source, licence) in [
        ("turbine", "ENGIE", "https://www.etalab.gouv.fr/licence-ouverte-open-licence/"),
        ("ecg", "MIT-BIH", "https://opendatacommons.org/licenses/by/1-0/"),
    ] {
        let source_folder = root().join("examples").join(example);
        let built = build(&source_folder, &[], &folder.path().join(example));
        let read = |path: &str| String::from_utf8(built.file(path).unwrap().to_vec()).unwrap();
        let origin = read("ORIGIN.md");
        for text in [&read("card.md"), &origin] {
            assert!(text.contains(source) && text.contains(licence), "{example}: {text}");
        }
        // Each file has a row, or its folder has one.
        for sub in ["checks", "expected", "models", "recordings"] {
            for entry in std::fs::read_dir(source_folder.join(sub)).unwrap() {
                let name = format!("{sub}/{}", entry.unwrap().file_name().to_string_lossy());
                let extension = name.rsplit('.').next().unwrap();
                let all = format!("`{sub}/*.{extension}`");
                let told = origin.contains(&format!("`{name}`")) || origin.contains(&all);
                assert!(told, "examples/{example}/ORIGIN.md does not say where {name} is from");
            }
        }
    }
}

/// The pieces of code in a page, in order, each without its fences.
fn fences(page: &str) -> Vec<&str> {
    let inside = page.split("```").skip(1).step_by(2);
    inside.map(|fence| fence.split_once('\n').unwrap().1).collect()
}

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[test]
fn the_plugin_of_the_sdk_s_readme_is_built_as_it_says_and_answers() {
    let readme = std::fs::read_to_string(root().join("plugins/sdk/README.md")).unwrap();
    let [manifest, source, _, stage, ..] = fences(&readme)[..] else {
        panic!("the page has lost its example");
    };
    // A workspace with the rules of this one, and its plugins alone.
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("plugin-of-the-readme");
    if folder.exists() {
        std::fs::remove_dir_all(&folder).unwrap();
    }
    for part in ["plugins/sdk", "plugins/wit"] {
        copy_folder(&root().join(part), &folder.join(part));
    }
    let workspace = std::fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let mut workspace: toml::Table = workspace.parse().unwrap();
    let members = workspace["workspace"]["members"].as_array_mut().unwrap();
    members.retain(|member| member.as_str().unwrap().starts_with("plugins/"));
    std::fs::write(folder.join("Cargo.toml"), workspace.to_string()).unwrap();
    std::fs::copy(root().join("Cargo.lock"), folder.join("Cargo.lock")).unwrap();

    std::fs::create_dir_all(folder.join("plugins/mean/src")).unwrap();
    std::fs::write(folder.join("plugins/mean/Cargo.toml"), manifest).unwrap();
    std::fs::write(folder.join("plugins/mean/src/lib.rs"), source).unwrap();
    let bundle = folder.join("average");
    std::fs::create_dir(&bundle).unwrap();
    let description = format!(
        "format = 1\nname = 'average'\nversion = '1'\n\
         inputs.row = {{ rate_hz = 1.0, fields = [{{ name = 'x' }}] }}\n\
         stages.window = {{ kind = 'window', input = 'row', rows = 6, stride = 6 }}\n\
         checks = [{{ name = 'six', input = 'six.csv', expected = 'six.jsonl' }}]\n{stage}"
    );
    std::fs::write(bundle.join("bundle.toml"), description).unwrap();
    std::fs::write(bundle.join("six.csv"), "x\n1\n2\n3\n4\n5\n6\n").unwrap();
    std::fs::write(bundle.join("six.jsonl"), r#"{"frame":0,"outputs":{"mean":3.5}}"#).unwrap();

    let this = std::env::current_exe().unwrap();
    let output = Command::new(lineside_tests::program("lineside"))
        .args(["bundle", "check", text(&bundle)])
        // What this workspace's plugins were built of serves here as well.
        .env("CARGO_TARGET_DIR", this.ancestors().nth(3).unwrap())
        .env("CARGO_NET_OFFLINE", "true")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", complaint(&output));
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("check six: 6 readings, 1 findings as expected"), "{said}");
}

#[test]
fn shapes_that_do_not_fit_are_refused_by_stage_and_input_when_the_bundle_is_built() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("x.lsb");
    let source = turbine();
    for (changes, words) in [
        (
            &["stages.window.rows=5", "stages.window.stride=5"][..],
            "input window is f32 [1, 6, 5]: a tensor of the shape [5, 5] does not fit",
        ),
        (
            &["stages.alarm.input=judge.scor"],
            "stage alarm: there is no judge.scor, only [judge.expected_power_kw, judge.score]",
        ),
        (
            &["outputs.score.from=window"],
            "output score: window is f32 [6, 5], one number is needed",
        ),
        (
            &[
                "stages.wind.kind=select",
                "stages.wind.input=window",
                "stages.wind.index=0",
                "outputs.score={ from = \"wind\", unit = \"km/h\" }",
            ],
            "output score: wind is in m/s, not in km/h",
        ),
        (
            &["stages.judge.units={ window = [\"km/h\", \"kW\", \"deg\", \"deg\", \"degC\"] }"],
            "stage judge: input window: window is f32 [6, 5], column 0 in m/s: km/h is needed",
        ),
    ] {
        let mut arguments = vec!["bundle", "build", text(&source), "-o", text(&file)];
        changes.iter().for_each(|change| arguments.extend(["--set", change]));
        let said = complaint(&lineside(&arguments));
        assert!(said.contains(words), "{changes:?}: {said}");
        assert!(!file.exists(), "{changes:?}");
    }
}

#[test]
fn what_only_a_plugin_knows_is_refused_when_the_bundle_is_checked() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("x.lsb");
    for (change, words) in [
        (
            "stages.lost.inputs.alarm=judge.score",
            "stage lost: input alarm takes bool [1], judge.score is f32 [1]",
        ),
        (
            "stages.lost.config.power_column=9",
            "it refuses its settings: power_column = \"9\" must be 0 to 4",
        ),
    ] {
        build(&turbine(), &[change], &file);
        let said = complaint(&lineside(&["bundle", "check", text(&file)]));
        assert!(said.contains(words), "{change}: {said}");
    }
}

#[test]
fn a_check_with_a_bad_row_names_file_line_and_column() {
    let folder = turbine_to_change();
    let recording = std::fs::read_to_string(turbine().join("checks/january.csv")).unwrap();
    let good: Vec<&str> = recording.lines().collect();
    let check = |row: &str| {
        let mut rows = good.clone();
        rows[3] = row;
        std::fs::write(folder.path().join("checks/january.csv"), rows.join("\n")).unwrap();
        let file = folder.path().join("x.lsb");
        let build = ["bundle", "build", text(folder.path()), "-o", text(&file), "--set"];
        complaint(&lineside(&[&build[..], &BUILT_PLUGIN].concat()))
    };
    for (row, words) in [
        (
            "R80736,2014-01-18T00:00Z,x,1,1,1,1",
            "checks/january.csv: line 4: column wind_speed_m_s: \"x\" is no number",
        ),
        (
            "R80736,2014-01-18T00:00Z,inf,1,1,1,1",
            "line 4: column wind_speed_m_s: inf is not finite",
        ),
        ("R80736,2014-01-18T00:00Z,1,,,,", "line 4: column power_kw is empty"),
        ("R80736,2014-01-18T00:00Z,1", "line 4: it has 3 cells, the first line has 7"),
    ] {
        let said = check(row);
        assert!(said.contains(words), "{said}");
    }
}

#[test]
fn skopeo_inspects_and_copies_a_bundle_and_the_copy_still_passes() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("turbine.lsb");
    let built = build(&turbine(), &[], &file);
    let skopeo = |arguments: &[&str]| {
        let output = Command::new("skopeo").args(arguments).output();
        let output = output.expect("skopeo is installed by cargo xtask test");
        assert!(output.status.success(), "{}", complaint(&output));
        output.stdout
    };
    let archive = format!("oci-archive:{}", text(&file));
    assert_eq!(skopeo(&["inspect", "--raw", &archive]), built.oci_manifest);
    let copy = folder.path().join("copy");
    skopeo(&["copy", "--quiet", &archive, &format!("oci:{}:1", text(&copy))]);
    let output = lineside(&["bundle", "check", text(&copy)]);
    assert!(output.status.success(), "{}", complaint(&output));
}

#[test]
fn json_is_printed_for_programs() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("turbine.lsb");
    let built = build(&turbine(), &[], &file);
    let json = |arguments: &[&str]| -> serde_json::Value {
        let output = lineside(&[&["--json"], arguments].concat());
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let digest = built.release_id().digest.to_string();
    for command in ["check", "show"] {
        assert_eq!(json(&["bundle", command, text(&file)])["digest"], digest, "{command}");
    }
    let source = turbine();
    let again = json(&["bundle", "build", text(&source), "-o", text(&file)]);
    assert_eq!((&again["digest"], &again["bundle"]), (&digest.into(), &"turbine".into()));
    let (source, wasm) = (root().join("plugins/lost-power"), folder.path().join("lost.wasm"));
    let plugin = json(&["plugin", "build", text(&source), "-o", text(&wasm)]);
    assert_eq!(plugin["bytes"], std::fs::metadata(&wasm).unwrap().len());
    let none = json(&["bundle", "check", "nowhere.lsb"]);
    assert_eq!(none["error"], "there is no nowhere.lsb");
    let misspelt = json(&["bundle", "chekc"]);
    assert!(misspelt["error"].as_str().unwrap().contains("unrecognized subcommand 'chekc'"));
}

/// What version 2 of the examples changes, for the command line.
const TURBINE_V2: [&str; 4] = [
    "version=2",
    "stages.judge.file=models/turbine-v2.onnx",
    "stages.alarm.above=4.61235",
    "checks.0.expected=checks/january-v2.jsonl",
];
const ECG_V2: [&str; 3] = [
    "version=2",
    "stages.judge.file=models/ecg-v2.onnx",
    "checks.0.expected=checks/thirty-seconds-v2.jsonl",
];

/// Version 1 of an example, and what building version 2 rounded towards it says.
fn rounded(example: &str, changes: &[&str], more: &[&str]) -> (tempfile::TempDir, Output) {
    let folder = tempfile::tempdir().unwrap();
    let source = root().join("examples").join(example);
    let (old, new) = (folder.path().join("v1.lsb"), folder.path().join("v2.lsb"));
    build(&source, &[], &old);
    let mut arguments = vec![
        "bundle",
        "build",
        text(&source),
        "-o",
        text(&new),
        "--snap-from",
        text(&old),
        "--without-profile",
        "--json",
    ];
    for change in changes {
        arguments.extend(["--set", change]);
    }
    arguments.extend(more);
    let output = lineside(&arguments);
    assert_eq!(new.exists(), output.status.success(), "{}", complaint(&output));
    (folder, output)
}

#[test]
fn a_rounded_release_needs_few_bytes_passes_its_checks_and_says_what_it_is() {
    let cases: [(&str, &[&str], &[&str], u64); 2] = [
        ("ecg", &ECG_V2, &["--snap-within", "probability=0.05"], 8),
        (
            "turbine",
            &TURBINE_V2,
            &[
                "--snap-within=score=0.1",
                "--snap-within=expected_power_kw=20",
                "--snap-within=lost_kw=20",
                "--snap-data=examples/turbine/recordings/reference.csv",
            ],
            2,
        ),
    ];
    for (example, changes, more, times) in cases {
        let (folder, output) = rounded(example, changes, &[more, &["--record-checks"]].concat());
        assert!(output.status.success(), "{}", complaint(&output));
        let said: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let snapped = &said["snapped"];
        let old = std::fs::File::open(folder.path().join("v1.lsb")).unwrap();
        let old = lineside_bundle::archive::read(old).unwrap().release_id();
        assert_eq!(snapped["from"], old.digest.to_string());
        let (compared, agreed) =
            (snapped["compared"].as_u64().unwrap(), snapped["agreed"].as_u64().unwrap());
        assert!(compared >= 50 && agreed as f64 >= 0.995 * compared as f64, "{snapped}");
        let model = &snapped["models"][format!("models/{example}-v2.onnx")];
        let bytes = |key: &str| model[key].as_u64().unwrap();
        assert!(times * bytes("recipe_bytes") < bytes("exact_recipe_bytes"), "{model}");

        let new = folder.path().join("v2.lsb");
        let check = lineside(&["bundle", "check", text(&new)]);
        assert!(check.status.success(), "{}", complaint(&check));
        let show = lineside(&["bundle", "show", text(&new)]);
        let shown = String::from_utf8_lossy(&show.stdout).into_owned();
        let told = format!("rounded towards {}, to ", old.digest.short());
        assert!(shown.contains(&told), "{shown}");
        assert!(shown.contains(&format!("{agreed} of {compared} findings are alike")), "{shown}");
    }
}

#[test]
fn a_rounding_that_changes_the_answers_is_refused_with_the_figures() {
    let within = ["--snap-tolerance=32", "--snap-within=expected_power_kw=20"];
    let (_folder, output) =
        rounded("turbine", &TURBINE_V2, &[&within[..], &["--record-checks"]].concat());
    let complaint = String::from_utf8_lossy(&output.stdout).into_owned() + &complaint(&output);
    assert_eq!(output.status.code(), Some(1), "{complaint}");
    for part in [
        "turbine v2 rounded to 32 of its update answers otherwise: ",
        " of 288 findings are alike (",
        "99.50 % are wanted",
        " is allowed",
    ] {
        assert!(complaint.contains(part), "{part} in {complaint}");
    }
    // It says what would do, and that does.
    let (_, would_do) = complaint.split_once("; near enough they are with ").unwrap();
    let (would_do, _) = would_do.split_once(';').unwrap();
    let again: Vec<&str> = would_do.split(' ').chain(["--snap-tolerance=32"]).collect();
    assert!(again.contains(&"--snap-within"), "{would_do}");
    let again = [&["--snap-within=expected_power_kw=20", "--record-checks"], &again[..]].concat();
    let (_folder, output) = rounded("turbine", &TURBINE_V2, &again);
    assert!(output.status.success(), "{}", crate::complaint(&output));
}

#[test]
fn a_bundle_is_not_rounded_towards_one_of_another_name() {
    let folder = tempfile::tempdir().unwrap();
    let (other, new) = (folder.path().join("turbine.lsb"), folder.path().join("ecg.lsb"));
    build(&turbine(), &[], &other);
    let output = lineside(&[
        "bundle",
        "build",
        "examples/ecg",
        "-o",
        text(&new),
        "--snap-from",
        text(&other),
    ]);
    assert_eq!(output.status.code(), Some(1));
    let complaint = complaint(&output);
    assert!(complaint.contains("can only be rounded towards an older ecg"), "{complaint}");
    assert!(!new.exists());
}

#[test]
fn a_rounding_that_the_checks_notice_is_refused_although_the_gate_lets_it_pass() {
    let (_folder, output) = rounded(
        "ecg",
        &ECG_V2,
        &["--snap-tolerance=4", "--snap-within=probability=1", "--snap-agreement=0.5"],
    );
    let complaint = String::from_utf8_lossy(&output.stdout).into_owned() + &complaint(&output);
    assert_eq!(output.status.code(), Some(1), "{complaint}");
    assert!(complaint.contains("ecg v2 rounded to 4 of its update does not pass"), "{complaint}");
    assert!(complaint.contains("check thirty-seconds: probability of frame"), "{complaint}");
}

#[test]
fn rounding_without_something_to_round_towards_is_refused() {
    // The same model again.
    let (_folder, output) = rounded("ecg", &["version=2"], &[]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &complaint(&output);
    assert!(
        said.contains("has no model that differs from this bundle's of the same stage"),
        "{said}"
    );
    let (_folder, output) = rounded("ecg", &ECG_V2, &["--snap-within=pulse=1"]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &complaint(&output);
    assert!(said.contains("--snap-within pulse: ecg v2 has no such output"), "{said}");
    for nonsense in ["--snap-within=probability", "--snap-agreement=2", "--snap-tolerance=0"] {
        let (_folder, output) = rounded("ecg", &ECG_V2, &[nonsense]);
        assert!(!output.status.success(), "{nonsense}");
    }
    let alone = ["bundle", "build", "examples/ecg", "-o", "/dev/null", "--snap-tolerance=1"];
    assert_eq!(lineside(&alone).status.code(), Some(2));
}
