//! The engine that answers is one in which the release has passed its checks on this device, whatever
//! settings and files say.

#![allow(clippy::unwrap_used)] // A test stops at what does not hold.
#![cfg(target_pointer_width = "64")] // Elsewhere there is one engine for such models.

mod kit;
#[path = "../../tests/tests/library/mod.rs"]
mod library;

use kit::{Device, Vendor, wait};
use lineside_bundle::{BuiltBundle, BundleFile, build_with_operators};
use lineside_runtime::OnnxModel;
use lineside_wire::v1::event;
use redb::ReadableTable;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

/// A bundle that answers with what it is given, by way of its square: in an engine that computes in halves,
/// as its model says, there is no answer beyond 255. Its check shows it these values.
fn halves(values: &[u32]) -> BuiltBundle {
    by_square(MODEL.to_vec(), values, "")
}

/// The same by way of doubles, which one engine has not.
fn doubles(values: &[u32]) -> BuiltBundle {
    // The attribute of a cast that says to which type, by ONNX's numbers of halves and of doubles.
    let to = |element: u8| [3 << 3, element, 0xa0, 0x01, 2];
    let at = MODEL.windows(5).position(|bytes| bytes == to(10)).unwrap();
    let mut model = MODEL.to_vec();
    model[at..at + 5].copy_from_slice(&to(11));
    by_square(model, values, "")
}

const MODEL: &[u8] = include_bytes!("../../tests/models/halves.onnx");

/// A bundle that answers with what it is given, by this model, of which it says `more`.
fn by_square(model: Vec<u8>, values: &[u32], more: &str) -> BuiltBundle {
    let bundle = BundleFile::parse(&format!(
        "format = 1\nname = 'echo'\nversion = '1'\n\
         inputs.p = {{ key = 'k', time = 't', fields = [{{ name = 'x' }}] }}\n\
         stages.w = {{ kind = 'window', input = 'p', rows = 1, stride = 1 }}\n\
         stages.judge = {{ kind = 'model', file = 'm.onnx', inputs = {{ x = 'w' }}{more} }}\n\
         outputs.y.from = 'judge.y'\nfail_safe.y = -1.0\n\
         [trial]\nframes = 5\njudge_after = 2\n\
         [[checks]]\nname = 'own'\ninput = 'in.csv'\nexpected = 'out.jsonl'\n"
    ));
    let operators = OnnxModel::read(&model).unwrap().facts().operators.clone();
    let operators = operators.keys().map(ToString::to_string).collect();
    let mut input = "t,k,x\n".to_owned();
    let mut expected = String::new();
    for (place, value) in values.iter().enumerate() {
        input += &format!("2014-01-18T00:00:0{place}Z,a,{value}\n");
        expected += &format!(
            "{{\"key\":\"a\",\"frame\":{place},\"part\":0,\"outputs\":{{\"y\":{value}.0}}}}\n"
        );
    }
    let files = BTreeMap::from([
        ("m.onnx".to_owned(), model),
        ("in.csv".to_owned(), input.into_bytes()),
        ("out.jsonl".to_owned(), expected.into_bytes()),
    ]);
    let operators = BTreeMap::from([("m.onnx".to_owned(), operators)]);
    build_with_operators(bundle.unwrap(), files, operators).unwrap()
}

/// A device whose slot has this setting.
fn device(vendor: &Vendor, engine: Option<&str>) -> Device {
    let device = Device::new(vendor, 60_000);
    set_engine(&device, engine);
    device
}

fn set_engine(device: &Device, engine: Option<&str>) {
    let path = device.folder.path().join("agent.toml");
    let text = fs::read_to_string(&path).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with("engine = "));
    let mut text = lines.collect::<Vec<_>>().join("\n") + "\n";
    if let Some(engine) = engine {
        let line = format!("[slots.echo]\nengine = '{engine}'");
        text = text.replace("[slots.echo]", &line);
    }
    fs::write(path, text).unwrap();
}

fn commit(device: &mut Device, vendor: &Vendor, bundle: &BuiltBundle) {
    device.start();
    let papers = vendor.papers(std::slice::from_ref(bundle), bundle, 1, "line-3");
    let output = device.install(&papers, std::slice::from_ref(bundle));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    wait("it is committed", || (device.slot()["active"] == "echo v1").then_some(()));
}

/// Waits for an answer to a value that is beyond this, and beyond all that were answered before.
fn answers_beyond(device: &Device, least: f64) {
    let greatest = |device: &Device| {
        let found = device.findings().into_iter();
        found.filter_map(|finding| finding["outputs"]["y"].as_f64()).fold(0.0, f64::max)
    };
    let before = greatest(device).max(least);
    wait("it answers", || (greatest(device) > before).then_some(()));
}

/// Waits until the agent has said this in its log, so often.
fn said(device: &Device, text: &str, times: usize) {
    let log = device.folder.path().join("agent.log");
    wait(text, || {
        let log = fs::read_to_string(&log).unwrap_or_default();
        (log.matches(text).count() >= times).then_some(())
    });
}

fn stop(device: &mut Device) {
    device.stop(rustix::process::Signal::TERM);
}

#[test]
fn what_settings_want_later_and_the_checks_do_not_is_told_and_what_answers_goes_on() {
    let vendor = Vendor::new();
    let mut device = device(&vendor, None);
    commit(&mut device, &vendor, &halves(&[3, 300]));
    answers_beyond(&device, 256.0);
    let kept = "echo v1 goes on with judge in rten, and not with judge in ";
    for (start, wrong) in ["tract", "classical"].into_iter().enumerate() {
        stop(&mut device);
        set_engine(&device, Some(wrong));
        device.start();
        answers_beyond(&device, 256.0);
        said(&device, kept, start + 1);
    }
    stop(&mut device);
    let told_now = device.to_tell(event::ENGINE);
    let starts = |wrong: &str| format!("{kept}{wrong}: ");
    assert!(told_now[0].starts_with(&starts("tract")), "{told_now:?}");
    assert!(told_now[0].contains("frame 1 of \"a\" has no answer"), "{told_now:?}");
    assert!(told_now[1].starts_with(&starts("classical")), "{told_now:?}");
    // Nobody wants another one any more, and there is nothing to tell.
    set_engine(&device, None);
    device.start();
    answers_beyond(&device, 256.0);
    stop(&mut device);
    assert_eq!(device.to_tell(event::ENGINE).len(), 2);
}

#[test]
fn what_settings_wanted_when_it_came_stays_where_nobody_says_so_any_more() {
    let vendor = Vendor::new();
    let mut device = device(&vendor, Some("rten"));
    commit(&mut device, &vendor, &halves(&[3, 300]));
    stop(&mut device);
    set_engine(&device, None);
    device.start();
    answers_beyond(&device, 256.0);
    stop(&mut device);
    assert_eq!(device.to_tell(event::ENGINE), Vec::<String>::new());
}

#[test]
fn an_engine_that_settings_want_later_takes_over_when_the_checks_have_passed_in_it() {
    let vendor = Vendor::new();
    let mut device = device(&vendor, Some("rten"));
    commit(&mut device, &vendor, &halves(&[3]));
    stop(&mut device);
    set_engine(&device, Some("tract"));
    device.start();
    let passed = "echo v1 has passed its checks and answers with judge in tract";
    said(&device, passed, 1);
    // Only in it there is no answer beyond 255.
    wait("tract answers", || {
        let errors = device.status()?["slots"]["echo"]["counts"]["errors"].clone();
        errors["not_finite"].as_u64().filter(|count| *count > 0)
    });
    stop(&mut device);
    assert_eq!(device.to_tell(event::ENGINE), [passed]);
}

#[test]
fn what_is_known_of_no_engine_is_checked_before_it_answers_whatever_settings_want() {
    let vendor = Vendor::new();
    let mut device = device(&vendor, None);
    commit(&mut device, &vendor, &halves(&[3, 300]));
    answers_beyond(&device, 0.0);
    for (start, wanted) in [None, Some("tract")].into_iter().enumerate() {
        stop(&mut device);
        forget_engines(&device);
        set_engine(&device, wanted);
        device.start();
        said(&device, "was checked anew, before it answers", start + 1);
        answers_beyond(&device, 256.0);
    }
    said(&device, "goes on with judge in rten, and not with judge in tract", 1);
    stop(&mut device);
    let told = device.to_tell(event::ENGINE);
    assert_eq!(told.len(), 3, "{told:?}");
    for anew in &told[..2] {
        let start = "echo v1 was checked anew, before it answers: ";
        assert!(anew.starts_with(start) && anew.contains("; judge in rten"), "{told:?}");
    }
}

#[test]
fn a_library_that_was_replaced_answers_only_once_the_checks_have_passed_in_it() {
    let vendor = Vendor::new();
    let mut device = device(&vendor, Some("onnxruntime"));
    let library = device.folder.path().join("libonnxruntime.so");
    fs::copy(library::library().path, &library).unwrap();
    let settings = device.folder.path().join("agent.toml");
    let text = fs::read_to_string(&settings).unwrap();
    fs::write(&settings, text + "[onnxruntime]\nlibrary = 'libonnxruntime.so'\n").unwrap();
    commit(&mut device, &vendor, &halves(&[3]));
    answers_beyond(&device, 0.0);
    stop(&mut device);
    device.start();
    answers_beyond(&device, 0.0);
    stop(&mut device);
    assert_eq!(device.to_tell(event::ENGINE), Vec::<String>::new(), "it is the same");

    // What is behind the last section of a library changes nothing but what file it is.
    let another = [fs::read(&library).unwrap(), b"another".to_vec()].concat();
    fs::write(&library, another).unwrap();
    device.start();
    said(&device, "was checked anew, before it answers", 1);
    answers_beyond(&device, 0.0);
    stop(&mut device);

    fs::remove_file(&library).unwrap();
    device.start();
    said(&device, "was checked anew, before it answers", 2);
    answers_beyond(&device, 0.0);
    said(&device, "and not with judge in onnxruntime: ", 1);
    stop(&mut device);
    let told = device.to_tell(event::ENGINE);
    assert_eq!(told.len(), 3, "{told:?}");
    assert!(told[2].contains("cannot be used here: "), "{told:?}");
}

/// Has the state be as another agent may have left it.
fn forget_engines(device: &Device) {
    change_engines(device, |_| b"{\"echo\":7}".to_vec());
}

/// Has it be as an agent has left it of which this was kept of what the slot runs.
fn keep(device: &Device, key: &str, value: &Value) {
    change_engines(device, |kept| {
        let mut kept: Value = serde_json::from_slice(kept).unwrap();
        let releases = kept["echo"].as_object_mut().unwrap();
        releases.values_mut().for_each(|release| release[key] = value.clone());
        kept.to_string().into_bytes()
    });
}

fn change_engines(device: &Device, change: impl Fn(&[u8]) -> Vec<u8>) {
    let path = device.folder.path().join("state/state.redb");
    let database = redb::Database::open(&path).unwrap();
    let transaction = database.begin_write().unwrap();
    {
        let journal = redb::TableDefinition::<&str, &[u8]>::new("journal");
        let mut table = transaction.open_table(journal).unwrap();
        let before = table.get("engines").unwrap().unwrap().value().to_vec();
        table.insert("engines", change(&before).as_slice()).unwrap();
    }
    transaction.commit().unwrap();
}

#[test]
fn an_engine_that_does_not_load_what_it_ran_leaves_it_to_another_that_passes_the_checks() {
    let vendor = Vendor::new();
    let mut device = device(&vendor, None);
    commit(&mut device, &vendor, &doubles(&[3, 300]));
    answers_beyond(&device, 0.0);
    stop(&mut device);
    // As if an agent before this one had had an engine of that name that has doubles.
    keep(&device, "passed", &json!({ "judge": "rten" }));
    device.start();
    answers_beyond(&device, 256.0);
    said(&device, "echo v1 was checked anew, before it answers: ", 1);
    stop(&mut device);
    let told = device.to_tell(event::ENGINE);
    let [anew] = told.as_slice() else { panic!("{told:?}") };
    assert!(anew.contains("; judge in tract; not judge in rten: "), "{anew}");
    // From then on it is in that one, without a word.
    device.start();
    answers_beyond(&device, 0.0);
    assert_eq!(device.slot()["active"], "echo v1");
    stop(&mut device);
    assert_eq!(device.to_tell(event::ENGINE).len(), 1);
}

#[test]
fn another_agent_replays_the_checks_in_the_engine_that_ran_and_in_the_next_where_they_fail() {
    let vendor = Vendor::new();
    let mut device = device(&vendor, None);
    commit(&mut device, &vendor, &halves(&[3, 300]));
    answers_beyond(&device, 0.0);
    for (kept, failed) in [("rten", ""), ("tract", "; not judge in tract: check own: ")] {
        stop(&mut device);
        let before = device.to_tell(event::ENGINE).len();
        keep(&device, "agent", &json!("0.0.1"));
        keep(&device, "passed", &json!({ "judge": kept }));
        device.start();
        answers_beyond(&device, 256.0);
        stop(&mut device);
        let told = device.to_tell(event::ENGINE);
        let [anew] = &told[before..] else { panic!("{told:?}") };
        let start = "echo v1 was checked anew, before it answers: ";
        assert!(anew.starts_with(start) && anew.contains("; judge in rten"), "{anew}");
        assert!(!anew.contains("a frame"), "nothing is measured at a start: {anew}");
        assert_eq!(anew.contains("; not "), !failed.is_empty(), "{anew}");
        assert!(anew.contains(failed), "{anew}");
        device.start();
    }
}

/// A library of onnxruntime that does not load while there is a file `busy` in the device's folder. One
/// that loads becomes busy where there is a file `armed`.
fn busy_library(device: &Device) -> PathBuf {
    let folder = device.folder.path();
    let (source, library) = (folder.join("busy.c"), folder.join("libonnxruntime.so"));
    let real = library::library().path;
    let code = format!(
        "#include <dlfcn.h>\n#include <stdio.h>\n#include <unistd.h>\n\
         const void *OrtGetApiBase(void) {{\n\
           if (rename(\"{armed}\", \"{busy}\") != 0)\n\
             while (access(\"{busy}\", F_OK) == 0) usleep(10000);\n\
           void *real = dlopen(\"{real}\", RTLD_NOW);\n\
           return ((const void *(*)(void))dlsym(real, \"OrtGetApiBase\"))();\n\
         }}\n",
        armed = folder.join("armed").display(),
        busy = folder.join("busy").display(),
        real = real.display()
    );
    fs::write(&source, code).unwrap();
    let mut compile = Command::new("cc");
    compile.args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source).arg("-ldl");
    assert!(compile.status().expect("cc (Debian: apt-get install gcc)").success());
    library
}

/// A device that has such a library, and has committed what needs it.
fn with_busy_library(vendor: &Vendor) -> Device {
    let mut device = device(vendor, None);
    busy_library(&device);
    let settings = device.folder.path().join("agent.toml");
    let text = fs::read_to_string(&settings).unwrap();
    fs::write(&settings, text + "[onnxruntime]\nlibrary = 'libonnxruntime.so'\n").unwrap();
    let needs_it = by_square(MODEL.to_vec(), &[3], ", engine = 'onnxruntime'");
    commit(&mut device, vendor, &needs_it);
    answers_beyond(&device, 0.0);
    stop(&mut device);
    device
}

/// Waits until the plant has been told the fail-safe output for this reason.
fn told_the_plant(device: &Device, reason: &str) {
    wait(reason, || {
        let found = device.findings().into_iter();
        let mut reasons = found.filter_map(|finding| finding["reason"].as_str().map(str::to_owned));
        reasons.any(|told| told.contains(reason)).then_some(())
    });
}

#[test]
fn what_needs_a_library_that_is_slow_waits_for_it_and_is_not_given_up() {
    let vendor = Vendor::new();
    let mut device = with_busy_library(&vendor);
    let busy = device.folder.path().join("busy");
    fs::write(&busy, "").unwrap();
    device.start();
    said(&device, "has not loaded within 15 s; it is tried again", 1);
    told_the_plant(&device, "the checks of echo v1 are replayed first");
    said(&device, "cannot be started now: its engine may be one that has not loaded yet: ", 1);
    fs::remove_file(&busy).unwrap();
    answers_beyond(&device, 0.0);
    let slot = device.slot();
    assert_eq!((&slot["active"], &slot["phase"]), (&json!("echo v1"), &json!("idle")), "{slot}");
    assert_eq!(slot["counts"]["lost"], 0);
    stop(&mut device);
}

/// Tells the agent to stop, and finds that it ends in time and its workers with it.
fn stops_in_time(device: &mut Device) {
    let workers = device.workers();
    assert!(!workers.is_empty(), "nothing was tried");
    let told = Instant::now();
    stop(device);
    assert!(told.elapsed() < Duration::from_secs(6), "{:?}", told.elapsed());
    for worker in workers {
        let gone = || (!PathBuf::from(format!("/proc/{worker}")).exists()).then_some(());
        wait("the worker is gone", gone);
    }
}

#[test]
fn an_agent_that_is_told_to_stop_while_an_engine_is_tried_ends_and_leaves_no_worker() {
    let vendor = Vendor::new();
    let mut device = with_busy_library(&vendor);
    let path = |name: &str| device.folder.path().join(name);
    let (armed, busy) = (path("armed"), path("busy"));
    // While the library is tried out.
    fs::write(&busy, "").unwrap();
    device.spawn();
    wait("the library is tried out", || device.workers().first().copied());
    stops_in_time(&mut device);
    // While checks are replayed before a release answers, of which the plant is told.
    fs::remove_file(&busy).unwrap();
    fs::write(&armed, "").unwrap();
    keep(&device, "agent", &json!("0.0.1"));
    device.start();
    wait("checks are replayed", || (busy.exists() && !device.workers().is_empty()).then_some(()));
    told_the_plant(&device, "the checks of echo v1 are replayed first");
    stops_in_time(&mut device);
    fs::remove_file(&busy).unwrap();
    device.start();
    answers_beyond(&device, 0.0);
    stop(&mut device);
}
