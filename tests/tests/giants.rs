//! Models without a bound at the desk: whatever is asked of them there ends, within the time and the memory that
//! it may have, with an error that names the model, or the check or recording that was answered.

#![allow(clippy::unwrap_used)] // A test stops at what does not hold.

#[path = "../hostile/src/giants.rs"]
mod giants;

use lineside_tests::child::wait;
use lineside_tests::{complaint, program};
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// What each step may take, in seconds.
const SECONDS: &str = "3";
/// Memory in KiB that each command may have, beside other tests.
const MEMORY_KIB: &str = "1500000";
/// A command that is bounded takes a few steps; each engine may need its time, and other tests run, too.
const BOUNDED: Duration = Duration::from_secs(100);

fn bounded(folder: &Path, arguments: &[&str]) -> Output {
    let mut shell = Command::new("sh");
    shell.args(["-c", "ulimit -d $0 && exec \"$@\"", MEMORY_KIB]).arg(program("lineside"));
    shell.args(arguments).args(["--seconds", SECONDS]).current_dir(folder);
    let began = Instant::now();
    let output = shell.output().unwrap();
    let took = began.elapsed();
    assert!(took < BOUNDED, "{arguments:?} took {took:?}: {}", complaint(&output));
    output
}

/// A folder with a bundle that asks this model about each reading, and is checked by one of them.
fn lay(folder: &Path, model: &[u8]) {
    let description = "format = 1\nname = 'strange'\nversion = '1'\n\
         inputs.p = { rate_hz = 1.0, fields = [{ name = 'x' }] }\n\
         stages.w = { kind = 'window', input = 'p', rows = 1, stride = 1 }\n\
         stages.judge = { kind = 'model', file = 'giant.onnx', inputs = { x = 'w' } }\n\
         outputs.y.from = 'judge.y'\n\
         [[checks]]\nname = 'own'\ninput = 'in.csv'\nexpected = 'out.jsonl'\n";
    for (name, bytes) in [
        ("bundle.toml", description.as_bytes()),
        ("giant.onnx", model),
        ("in.csv", b"x\n1.5\n"),
        ("out.jsonl", b"{\"frame\":0,\"outputs\":{\"y\":1.5}}\n"),
    ] {
        fs::write(folder.join(name), bytes).unwrap();
    }
}

/// `x`, one number, as numpy.savez would write it.
const X: &[u8] = include_bytes!("giants.npz");

#[test]
fn whatever_is_asked_of_a_model_without_a_bound_ends_with_an_error_that_says_over_what() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    fs::write(here.join("x.npz"), X).unwrap();
    for (name, model) in giants::giants() {
        lay(here, &model);
        for arguments in [
            &["bundle", "check", "."][..],
            &["bundle", "build", ".", "-o", "out.lsb", "--record-checks"],
            &["bundle", "run", ".", "--input", "in.csv"],
            &["model", "run", "giant.onnx", "--input", "x.npz", "-o", "y.npz"],
        ] {
            let output = bounded(here, arguments);
            // A recording's answers are told where they are asked for, those that there are not among them.
            let said = String::from_utf8_lossy(&output.stdout).into_owned() + &complaint(&output);
            assert_eq!(output.status.code(), Some(1), "{name}: {arguments:?}: {said}");
            let is_named = ["giant.onnx", "check own", "stage judge", "in.csv"];
            assert!(is_named.iter().any(|it| said.contains(it)), "{name}: {arguments:?}: {said}");
            assert!(!said.contains("panicked"), "{name}: {arguments:?}: {said}");
        }
        let output = bounded(here, &["--json", "model", "inspect", "giant.onnx"]);
        if output.status.success() {
            let said: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
            let engines = said["engines"].as_object().unwrap();
            let runs = engines.values().any(|outcome| outcome == "ok");
            assert!(!runs, "{name}: {engines:?}");
        } else {
            let said = complaint(&output);
            assert_eq!(output.status.code(), Some(1), "{name}: {said}");
            assert!(said.contains("giant.onnx") && !said.contains("panicked"), "{name}: {said}");
        }
    }
}

#[test]
fn what_takes_too_long_or_too_much_at_the_desk_is_named_with_what_helps() {
    let folder = tempfile::tempdir().unwrap();
    let giants = giants::giants();
    let said = |name: &str| {
        let (_, model) = giants.iter().find(|(giant, _)| *giant == name).unwrap();
        lay(folder.path(), model);
        complaint(&bounded(folder.path(), &["bundle", "check", "."]))
    };
    let late = said("Conv");
    assert!(late.contains("takes longer than 3 s: --seconds allows more"), "{late}");
    assert!(late.contains("`lineside model inspect`"), "{late}");
    let large = said("ConstantOfShape");
    assert!(
        large.contains("while loading giant.onnx: a model or a plugin needs more than"),
        "{large}"
    );
}

#[test]
fn a_model_is_not_blamed_for_what_somebody_else_has_ended() {
    let folder = tempfile::tempdir().unwrap();
    let giants = giants::giants();
    let (_, model) = giants.iter().find(|(giant, _)| *giant == "Conv").unwrap();
    lay(folder.path(), model);
    for (signal, name) in [(Signal::TERM, "SIGTERM"), (Signal::KILL, "SIGKILL")] {
        let mut command = Command::new(program("lineside"));
        command.args(["bundle", "check", ".", "--seconds", "3000"]).current_dir(folder.path());
        let child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        // Its only child does the work, and would for hours.
        let children = format!("/proc/{0}/task/{0}/children", child.id());
        let own = wait("its child", || {
            fs::read_to_string(&children).ok()?.split_whitespace().next()?.parse::<i32>().ok()
        });
        let own = own.unwrap();
        kill_process(Pid::from_raw(own).unwrap(), signal).unwrap();
        let output = child.wait_with_output().unwrap();
        let said = complaint(&output);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(&format!("ended by {name}")), "{said}");
        assert!(said.contains("from outside"), "{said}");
        assert!(!said.contains("a model or a plugin needs more"), "{said}");
    }
}
