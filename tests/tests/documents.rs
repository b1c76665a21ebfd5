//! What the documents say is what the programs do: the reference of all keys is read by the programs
//! themselves, and the README's commands are run as they are printed.

#![allow(clippy::unwrap_used)] // A test stops at what does not hold.

use lineside_bundle::stages::{
    Argmax, Between, BoxForm, Cast, Colour, Constant, Crop, Difference, Filter, Gives,
    Interpolation, Mel, MelScale, Method, NonMaximumSuppression, Normalise, OneHot, Resample,
    Resize, Scale, Select, Softmax, Spectrum, Taper, Threshold, TopK, Transpose, Unknown, Window,
};
use lineside_bundle::{
    BundleFile, Capturing, Check, Field, Join, Judged, Limits, Monitored, OnTrap, Output, Port,
    Requires, Stage, Tolerance, Value as Declared,
};
use lineside_rules::{
    Actions, AlertRule, CaptureLimits, EVERY_OUTPUT, LogLimits, Scope, ShadowLimits, SitePolicy,
    SlotPolicy, TrialLimits,
};
use lineside_tests::child::Program;
use lineside_tests::{complaint, program, root};
use rustix::process::{Pid, Signal, kill_process_group};
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use toml::{Table, Value};

/// Longest that the README's commands may take; they may have to compile the plugins.
const BY_HAND_MAX: Duration = Duration::from_secs(420);

fn document(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap()
}

/// Checks that all limits of a trial are there. A new one does not compile here before it is looked
/// for, which is the point of naming each.
fn check_trial(trial: TrialLimits) {
    let TrialLimits {
        frames,
        judge_after,
        error_share_max,
        trap_share_max,
        traps_max,
        latency_p95_ms_max,
        latency_ratio_max,
        rate_ratio,
        alarm_difference_max,
        distribution_max,
        alarm_share,
        outputs,
        hours_max,
        crashes_max,
    } = trial;
    assert_eq!(trap_share_max, Some(TrialLimits::default().trap_share_max()));
    assert_eq!(traps_max, Some(TrialLimits::default().traps_max()));
    assert!(latency_ratio_max.is_some() && rate_ratio.is_some() && alarm_difference_max.is_some());
    assert!(distribution_max.of("any").is_some());
    assert!(frames.is_some() && judge_after.is_some());
    assert!(hours_max.is_some() && crashes_max.is_some());
    assert!(error_share_max.is_some() && latency_p95_ms_max.is_some() && alarm_share.is_some());
    assert!(!outputs.is_empty());
}

/// As [`check_trial`], of a shadow.
fn check_shadow(shadow: ShadowLimits) {
    let unset = ShadowLimits::default();
    assert_eq!(
        (shadow.error_share_max(), shadow.crashes_max(), shadow.time_max()),
        (unset.error_share_max(), unset.crashes_max(), unset.time_max())
    );
    assert_eq!((shadow.decide(), shadow.from()), (unset.decide(), unset.from()));
    let ShadowLimits {
        frames,
        agreement_min,
        tolerance,
        latency_ratio_max,
        alarm_difference_max,
        distribution_max,
        error_share_max,
        crashes_max,
        hours_max,
        decide,
        from,
    } = shadow;
    assert!(frames.is_some() && agreement_min.is_some() && latency_ratio_max.is_some());
    assert!(error_share_max.is_some() && crashes_max.is_some());
    assert!(hours_max.is_some() && decide.is_some() && from.is_some());
    assert!(tolerance.contains_key(EVERY_OUTPUT) && distribution_max.of("any").is_some());
    assert!(alarm_difference_max.is_some());
}

/// Checks that all keys of a built-in stage are there, and gives its name, or which of its forms it is.
fn check_built_in(stage: Stage) -> &'static str {
    match stage {
        Stage::Window(_) | Stage::Resample(_) | Stage::Model { .. } | Stage::Plugin { .. } => {
            panic!("{stage:?} is not built in")
        }
        Stage::Select(Select { input: _, index: _ }) => "select",
        Stage::Threshold(Threshold { input: _, above, below, until, after, hold, input_unit }) => {
            let all = until.is_some() && after > 1 && hold > 0 && input_unit.is_some();
            assert!(all || above.is_none());
            if below.is_some() { "below" } else { "above" }
        }
        Stage::Scale(Scale { input: _, gain, offset, input_unit, unit }) => {
            assert!(gain.is_some() && offset.is_some() && input_unit.is_some() && unit.is_some());
            "scale"
        }
        Stage::Normalise(Normalise { input: _, method, mean, std, min, max, input_unit }) => {
            match method {
                Method::ZScore => {
                    assert!(mean.is_some() && std.is_some() && input_unit.is_some());
                    "z-score"
                }
                Method::MinMax => {
                    assert!(min.is_some() && max.is_some());
                    "min-max"
                }
            }
        }
        Stage::Difference(Difference { input: _, lag: 1 }) => "difference",
        Stage::Difference(Difference { lag, .. }) => panic!("{lag} is not the default"),
        Stage::OneHot(OneHot { input: _, classes: _, unknown }) => {
            assert_eq!(unknown, Unknown::default());
            "one-hot"
        }
        Stage::Softmax(Softmax { input: _ }) => "softmax",
        Stage::Argmax(Argmax { input: _ }) => "argmax",
        Stage::TopK(TopK { input: _, k: _ }) => "top-k",
        Stage::Filter(Filter { input: _, fir, biquads: _ }) => {
            if fir.is_some() {
                "fir"
            } else {
                "biquads"
            }
        }
        Stage::Spectrum(Spectrum { input: _, size, hop, taper, gives }) => {
            assert!(size.is_some() && hop.is_some());
            assert!(taper != Taper::default() && gives != Gives::default());
            "spectrum"
        }
        Stage::Mel(Mel {
            input: _,
            size: _,
            rate_hz: _,
            bands: _,
            low_hz,
            high_hz,
            scale,
            log_floor,
        }) => {
            assert!(low_hz > 0.0 && high_hz.is_some() && log_floor.is_some());
            assert_eq!(scale, MelScale::default());
            "mel"
        }
        Stage::Constant(Constant { element: _, shape, values: _ }) => {
            assert!(shape.is_some());
            "constant"
        }
        Stage::NonMaximumSuppression(NonMaximumSuppression {
            boxes: _,
            scores: _,
            form,
            score_min: _,
            overlap_max: _,
            max: _,
        }) => {
            assert_eq!(form, BoxForm::default());
            "non-maximum-suppression"
        }
        Stage::Resize(Resize { input: _, height: _, width: _, interpolation }) => {
            assert_eq!(interpolation, Interpolation::default());
            "resize"
        }
        Stage::Crop(Crop { input: _, height: _, width: _, top, left }) => {
            assert!(top.is_some() && left.is_some());
            "crop"
        }
        Stage::Transpose(Transpose { input: _, axes: _ }) => "transpose",
        Stage::Cast(Cast { input: _, element: _ }) => "cast",
        Stage::Colour(Colour { input: _, from: _, to: _, planes }) => {
            assert!(planes);
            "colour"
        }
    }
}

#[test]
fn every_stage_that_is_built_in_is_explained_with_each_of_its_keys() {
    let reference: Table = document("docs/bundle.toml").parse().unwrap();
    let bundle = BundleFile::parse(&document("docs/bundle.toml")).unwrap();
    let page = document("docs/bundles.md");
    let mut told = BTreeSet::new();
    for name in bundle.stages.iter().filter(|(_, it)| it.built_in().is_some()).map(|(name, _)| name)
    {
        let stage = reference["stages"][name].as_table().unwrap();
        let heading = format!("### `{}`\n", stage["kind"].as_str().unwrap());
        let section =
            page.split_once(&heading).unwrap_or_else(|| panic!("there is no {heading}")).1;
        let section = section.split("\n#").next().unwrap();
        for key in stage.keys().filter(|key| *key != "kind") {
            let is_told =
                section.contains(&format!("`{key}`")) || section.contains(&format!("`{key} ="));
            assert!(is_told, "{heading} says nothing of {key}");
        }
        told.insert(heading);
    }
    assert_eq!(page.matches("### `").count(), told.len(), "a stage that there is not is explained");
}

#[test]
fn the_reference_of_a_bundle_has_every_key_and_says_the_defaults() {
    let bundle = BundleFile::parse(&document("docs/bundle.toml")).unwrap();
    let BundleFile {
        format: _,
        name: _,
        version: _,
        summary,
        requires,
        warm_up_readings,
        alarm_output,
        quality,
        inputs,
        join,
        stages,
        outputs,
        limits,
        trial,
        shadow,
        fail_safe,
        monitor,
        capture,
        checks,
        value,
    } = bundle;
    let declared = serde_json::to_value(&value).unwrap();
    let Declared {
        currency: _,
        precision: _,
        alarms_per_event: _,
        finding_worth: _,
        stop_minutes_avoided: _,
        stop_minute_cost: _,
        gigabyte_cost: _,
        false_alarm_cost: _,
        inference_energy_j: _,
        kilowatt_hour_cost: _,
        rollout_cost: _,
        device_month_cost: _,
    } = value;
    assert_eq!(declared.as_object().unwrap().len(), 12, "each is in the reference");
    assert!(!summary.is_empty() && alarm_output.is_some() && !fail_safe.is_empty());
    let Capturing { allowed, redact } = capture;
    assert!(allowed && !redact.is_empty() && !Capturing::default().allowed, "default");
    let Monitored { outputs: watched } = monitor;
    assert!(watched.is_some());
    let Judged { output: _, score, calibrated_above } = quality.unwrap();
    assert!(score.is_some() && calibrated_above.is_some());
    assert!(warm_up_readings > 0);
    assert!(join.is_none(), "docs/joined.toml has it");
    assert_eq!(limits, Limits::default());
    let Requires { agent, platforms, licences } = requires;
    assert!(agent.is_some() && !platforms.is_empty() && !licences.is_empty());
    let unset = TrialLimits::default();
    assert_eq!(
        (trial.frames(), trial.judge_after(), trial.crashes_max()),
        (unset.frames(), unset.judge_after(), unset.crashes_max())
    );
    check_trial(trial);
    check_shadow(shadow);
    for Port { key, time, rate_hz, fields } in inputs.into_values() {
        assert!(key.is_some() && time.is_some() && rate_hz.is_some());
        for Field { name: _, unit, range } in fields {
            assert!(!unit.is_empty() && range.is_some());
        }
    }
    let mut seen = BTreeSet::new();
    for stage in stages.into_values() {
        match stage {
            Stage::Window(window) => {
                assert!(
                    window.rows.is_some()
                        && window.stride.is_some()
                        && window.gap_seconds.is_some()
                );
                seen.insert("window")
            }
            Stage::Model { file: _, inputs: _, units, shapes, state, engine } => {
                assert!(
                    !units.is_empty()
                        && !shapes.is_empty()
                        && !state.is_empty()
                        && engine.is_some()
                );
                seen.insert("model")
            }
            Stage::Plugin { plugin: _, inputs: _, units, config, on_trap, fail_safe } => {
                assert!(!units.is_empty() && !config.is_empty());
                assert!(on_trap == OnTrap::FailSafe && !fail_safe.is_empty());
                seen.insert("plugin")
            }
            built_in => seen.insert(check_built_in(built_in)),
        };
    }
    let all = [
        "above",
        "non-maximum-suppression",
        "resize",
        "crop",
        "colour",
        "argmax",
        "cast",
        "transpose",
        "below",
        "biquads",
        "constant",
        "difference",
        "fir",
        "mel",
        "min-max",
        "model",
        "one-hot",
        "plugin",
        "scale",
        "select",
        "softmax",
        "spectrum",
        "top-k",
        "window",
        "z-score",
    ];
    assert_eq!(seen, BTreeSet::from(all), "a stage of each kind");
    assert!(outputs.values().any(|Output { from: _, unit }| !unit.is_empty()));
    for Check { name: _, input: _, expected: _, tolerance } in checks {
        let known =
            |Tolerance { absolute, relative }: &Tolerance| *absolute > 0.0 && *relative > 0.0;
        assert!(tolerance.values().any(known));
    }
}

#[test]
fn the_reference_of_windows_by_time_has_every_key_and_says_the_default() {
    let bundle = BundleFile::parse(&document("docs/joined.toml")).unwrap();
    let Join { wait_seconds: _ } = bundle.join.unwrap();
    assert!(bundle.inputs.len() > 1);
    let mut methods = BTreeSet::new();
    for stage in bundle.stages.into_values() {
        match stage {
            Stage::Window(Window {
                input: _,
                rows,
                stride,
                seconds,
                stride_seconds,
                gap_seconds,
            }) => {
                assert!(rows.is_none() && stride.is_none() && gap_seconds.is_none());
                assert!(seconds.is_some() && stride_seconds.is_some());
            }
            Stage::Resample(Resample { input: _, rate_hz: _, method, gap_seconds: _ }) => {
                methods.insert(method == Between::default());
            }
            _ => {}
        }
    }
    assert_eq!(methods.len(), 2, "the default and the other one");
}

#[test]
fn the_settings_of_a_device_name_every_limit_that_a_site_may_set() {
    let settings: Table = document("docs/agent.toml").parse().unwrap();
    let policy = settings["slots"]["turbine"]["policy"].clone();
    check_trial(policy.try_into().unwrap());
    let shadow = settings["slots"]["turbine"]["shadow"].clone();
    check_shadow(shadow.try_into().unwrap());
}

#[test]
fn the_reference_of_a_sites_policy_has_every_key_and_says_the_defaults() {
    let policy: SitePolicy = toml::from_str(&document("docs/site-policy.toml")).unwrap();
    policy.check().unwrap();
    let SitePolicy { slots, log } = &policy;
    assert_eq!(*log, LogLimits { allowed: Some(LogLimits::default().is_allowed()) });
    assert_eq!(slots.keys().collect::<Vec<_>>(), ["*", "turbine"]);
    let SlotPolicy { trial: _, shadow, capture, rules } = slots["turbine"].clone();
    check_trial(policy.trial("turbine"));
    check_shadow(shadow);
    assert_eq!(capture.is_allowed(), CaptureLimits::default().is_allowed());
    let CaptureLimits { allowed, mib_max, hours_max } = capture;
    assert!(allowed.is_some() && mib_max.is_some() && hours_max.is_some());
    check_rules(&slots["*"].rules["errors"], &rules["frost"]);
}

/// Between them the two rules have every key.
fn check_rules(errors: &AlertRule, frost: &AlertRule) {
    let AlertRule {
        signal: _,
        input: _, // in a comment: a signal is of an input or of an output
        output,
        within: _,
        learnt,
        clear_within: _,
        hours,
        intervals: _,
        values_min: _,
        quiet_hours: _,
        scope,
        then,
    } = frost.clone();
    assert!(output.is_some() && learnt && hours.is_some() && errors.within.is_some());
    assert!(errors.clear_within.is_some() && errors.intervals.is_some());
    assert!(errors.values_min.is_some() && errors.quiet_hours.is_some());
    assert_eq!(scope, Scope::default());
    let Actions {
        fail_safe,
        capture_minutes,
        interval_seconds,
        notify,
        assign,
        roll_back,
        ask,
        retrain,
        pause_rollout,
    } = then.clone();
    let defaults = Actions::default();
    assert_eq!(
        (fail_safe, roll_back, retrain, pause_rollout),
        (defaults.fail_safe, defaults.roll_back, defaults.retrain, defaults.pause_rollout)
    );
    assert!(capture_minutes.is_some() && interval_seconds.is_some());
    assert!(notify.is_some() && assign.is_some());
    assert_eq!(ask, Some(defaults.asks()));
}

#[test]
fn the_settings_of_a_device_hold_with_the_parts_that_are_commented_out() {
    let text = document("docs/agent.toml");
    // A sink and a library are written as comments: lines that begin with a mark.
    let with_sink: String = text
        .lines()
        .map(|line| match line.strip_prefix("# ") {
            Some(code) if code.starts_with('[') || code.contains(" = ") => format!("{code}\n"),
            _ => format!("{line}\n"),
        })
        .collect();
    let with_sink = with_sink.replace("sinks = [\"log\"]", "sinks = [\"log\", \"broker\"]");
    let with_broker = with_sink.replace("source = \"scada\"", "source = \"broker\"");
    assert_ne!(with_broker, with_sink);
    for text in [&text, &with_sink, &with_broker] {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("agent.toml"), text).unwrap();
        let mut agent = Command::new(program("lineside-agent"));
        let output = agent.arg("status").current_dir(folder.path()).output().unwrap();
        // The settings are understood; there is only no device yet.
        let said = complaint(&output);
        assert!(said.contains("lineside device add"), "{said}\n{text}");
    }
    let table: Table = with_broker.parse().unwrap();
    assert_eq!(table["sinks"]["broker"]["kind"], Value::from("mqtt"));
    assert!(table["onnxruntime"]["sha256"].is_str());
}

/// The commands that the README prints, in their order.
fn printed_commands() -> String {
    let readme = document("README.md");
    let blocks = readme.split("\n```sh\n").skip(1);
    blocks.map(|block| block.split("\n```").next().unwrap()).collect::<Vec<_>>().join("\n")
}

/// Makes `folder` look as a clone does after `cargo build`.
fn clone_into(folder: &Path) {
    for part in ["docs", "examples", "plugins"] {
        symlink(root().join(part), folder.join(part)).unwrap();
    }
    fs::create_dir(folder.join("target")).unwrap();
    let built = program("lineside");
    symlink(built.parent().unwrap(), folder.join("target/debug")).unwrap();
}

/// What is built already and tested elsewhere is left out, ports are free ones, for other tests run
/// beside this one, and a file is not installed before the agent is up: people type slower.
const BEFORE: &str = r#"set -euo pipefail
cargo() { case $1 in build | xtask) ;; *) command cargo "$@" ;; esac; }
rustup() { [ "$*" = 'target add wasm32-unknown-unknown' ]; }
lineside-server() { exec lineside-server "$@" --http 127.0.0.1:0 --mqtt 127.0.0.1:0; }
lineside-agent() {
  if [ "$1" = run ]; then exec lineside-agent "$@"; fi
  while lineside device show mill-1 > shown && grep -q 'last seen never' shown; do sleep 0.1; done
  command lineside-agent "$@"
}
"#;

/// What the README promises of it.
const AFTER: &str = r#"
until lineside device show mill-1 > shown && grep -q '  active     turbine/1' shown; do sleep 0.2; done
until [ -s mill-1/findings.jsonl ]; do sleep 0.2; done
until lineside device show mill-2 > shown && grep -q '  active     mill/1' shown; do sleep 0.2; done
until [ -s mill-2/findings.jsonl ]; do sleep 0.2; done
kill $(jobs -p)
wait
echo 'all of it was run'
"#;

/// Ends whatever the README has started, however the test ends.
struct Group(Pid);

impl Drop for Group {
    fn drop(&mut self) {
        // All of it may have ended by itself.
        let _ = kill_process_group(self.0, Signal::KILL);
    }
}

#[test]
fn the_commands_of_the_readme_run_as_they_are_printed() {
    let folder = tempfile::tempdir().unwrap();
    clone_into(folder.path());
    let script = format!("{BEFORE}{}{AFTER}", printed_commands());
    fs::write(folder.path().join("commands.sh"), &script).unwrap();
    let mut bash = Command::new("bash");
    bash.arg("commands.sh").current_dir(folder.path()).process_group(0);
    let mut bash = Program::start("readme", folder.path(), &mut bash).unwrap();
    let _group = Group(Pid::from_raw(i32::try_from(bash.id()).unwrap()).unwrap());
    let status = bash.ends(BY_HAND_MAX).unwrap();
    let said = format!("{}\n{}", bash.output(), bash.log());
    assert!(status.success() && said.contains("all of it was run"), "{status}\n{said}\n{script}");
}
