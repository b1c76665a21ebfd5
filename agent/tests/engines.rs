//! The engine that answers is one in which the release has passed its checks on this device, whatever
//! settings and files say.

#![allow(clippy::unwrap_used)] // A test stops at what does not hold.
#![cfg(target_pointer_width = "64")] // Elsewhere there is one engine for such models.

mod kit;
#[path = "../../tests/tests/library/mod.rs"]
mod library;

use kit::{Device, Vendor, wait};
use lineside_agent::store::Store;
use lineside_agent::telemetry::spool::{Pace, Spool};
use lineside_bundle::{BuiltBundle, BundleFile, build_with_operators};
use lineside_runtime::OnnxModel;
use lineside_wire::envelope::decode;
use lineside_wire::v1::{Body, Telemetry, event};
use std::collections::BTreeMap;
use std::fs;

/// A bundle that answers with what it is given, by way of its square: in an engine that computes in halves,
/// as its model says, there is no answer beyond 255. Its check shows it these values.
fn halves(values: &[u32]) -> BuiltBundle {
    let model = include_bytes!("../../tests/models/halves.onnx").to_vec();
    let bundle = BundleFile::parse(
        "format = 1\nname = 'echo'\nversion = '1'\n\
         inputs.p = { key = 'k', time = 't', fields = [{ name = 'x' }] }\n\
         stages.w = { kind = 'window', input = 'p', rows = 1, stride = 1 }\n\
         stages.judge = { kind = 'model', file = 'm.onnx', inputs = { x = 'w' } }\n\
         outputs.y.from = 'judge.y'\nfail_safe.y = -1.0\n\
         [trial]\nframes = 5\njudge_after = 2\n\
         [[checks]]\nname = 'own'\ninput = 'in.csv'\nexpected = 'out.jsonl'\n",
    );
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

/// What the device has told of engines, which it need not have done before.
fn told(device: &Device) -> Vec<String> {
    let store = Store::look_into(&device.folder.path().join("state")).unwrap();
    let spool = Spool::open(store.database(), u64::MAX, u64::MAX).unwrap();
    let Some((message, _)) = spool.waiting().batch(0, |_| Pace::Company).unwrap() else {
        return Vec::new();
    };
    let records = decode::<Telemetry>(&message).unwrap().records.into_iter();
    let events = records.filter_map(|record| match record.read().unwrap() {
        Body::Event(event) if event.kind == event::ENGINE => Some(event.text),
        _ => None,
    });
    events.collect()
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
    let told_now = told(&device);
    let starts = |wrong: &str| format!("{kept}{wrong}: ");
    assert!(told_now[0].starts_with(&starts("tract")), "{told_now:?}");
    assert!(told_now[0].contains("frame 1 of \"a\" has no answer"), "{told_now:?}");
    assert!(told_now[1].starts_with(&starts("classical")), "{told_now:?}");
    // Nobody wants another one any more, and there is nothing to tell.
    set_engine(&device, None);
    device.start();
    answers_beyond(&device, 256.0);
    stop(&mut device);
    assert_eq!(told(&device).len(), 2);
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
    assert_eq!(told(&device), Vec::<String>::new());
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
    assert_eq!(told(&device), [passed]);
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
    let told = told(&device);
    assert_eq!(told.len(), 3, "{told:?}");
    for anew in &told[..2] {
        let start = "echo v1 was checked anew, before it answers: ";
        assert!(anew.starts_with(start) && anew.contains("judge runs in rten"), "{told:?}");
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
    assert_eq!(told(&device), Vec::<String>::new(), "it is the same");

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
    let told = told(&device);
    assert_eq!(told.len(), 3, "{told:?}");
    assert!(told[2].contains("cannot be used here: "), "{told:?}");
}

/// Has the state be as another agent may have left it.
fn forget_engines(device: &Device) {
    let path = device.folder.path().join("state/state.redb");
    let database = redb::Database::open(&path).unwrap();
    let transaction = database.begin_write().unwrap();
    {
        let journal = redb::TableDefinition::<&str, &[u8]>::new("journal");
        let mut table = transaction.open_table(journal).unwrap();
        table.insert("engines", &b"{\"echo\":7}"[..]).unwrap();
    }
    transaction.commit().unwrap();
}
