//! A plugin that means harm, contained.

#![allow(clippy::unwrap_used)] // A test stops at what does not hold.

use lineside_bundle::{BuiltBundle, Digest};
use lineside_runtime::{
    FrameOutcome, LoadError, LoadOptions, MemoryFiles, Pipeline, PluginCache, Reading,
};
use lineside_tests::evil::{self, description, plugin};

/// A bundle whose plugin does `deed`; behind it, where there is a `next`, the same plugin again.
fn bundle_of(deed: &str, next: Option<&str>, wasm: &[u8]) -> BuiltBundle {
    // Only who waits for a limit has a narrow one: good deeds must have time on any machine.
    let frame_ms = if deed.contains("loop") || next.is_some() { 1000 } else { 30_000 };
    let memory_mib = if deed.contains("hoard") { 4 } else { 128 };
    let next = next.map_or(String::new(), |next| {
        format!(
            "[stages.next]\nkind = 'plugin'\nplugin = 'plugins/evil.wasm'\n\
             inputs.x = 'window'\nconfig.deed = '{next}'\n"
        )
    });
    let limits = format!("plugin_memory_mib = {memory_mib}, frame_ms = {frame_ms}");
    let described = description(deed, &limits, "", &next);
    let described = match next.is_empty() {
        true => described,
        false => described.replace("from = 'evil.y'", "from = 'next.y'"),
    };
    evil::bundle(&described, wasm)
}

fn bundle(deed: &str, wasm: &[u8]) -> BuiltBundle {
    bundle_of(deed, None, wasm)
}

fn load(bundle: &BuiltBundle, options: &LoadOptions) -> Result<Pipeline, LoadError> {
    Pipeline::load(&bundle.manifest, &MemoryFiles(bundle), options)
}

fn push(pipeline: &mut Pipeline, key: &str, frame: u64, x: f64) -> FrameOutcome {
    let mut outcomes = Vec::new();
    for sequence in [frame * 2, frame * 2 + 1] {
        let reading = Reading { key: key.into(), sequence, time_unix_ns: 0, values: vec![x] };
        outcomes.extend(pipeline.push(&reading));
    }
    let [outcome] = outcomes.try_into().unwrap();
    outcome
}

/// Feeds frame number `frame` of one stream with `x`; what became of it, as text.
fn frame(pipeline: &mut Pipeline, frame: u64, x: f64) -> String {
    match push(pipeline, "a", frame, x).result {
        Ok(parts) => {
            let values: Vec<f64> = parts.iter().map(|part| part.outputs["y"].as_f64()).collect();
            format!("{values:?}")
        }
        Err(error) => error.to_string(),
    }
}

#[test]
fn a_trap_a_loop_and_a_hoard_cost_one_frame_and_the_instance() {
    for (deed, words) in [
        ("trap", "stage evil: the plugin trapped"),
        ("deep", "stage evil: the plugin trapped: wasm trap: call stack exhausted"),
        ("loop", "stage evil: the frame took longer than 1000 ms"),
        (
            "hoard",
            "stage evil: the plugin wanted more than the 4096 KiB of memory that it may have",
        ),
        ("heap", "stage evil: the plugin's answer is more than the 16384 KiB that it may be"),
        ("much", "stage evil: the plugin's answer is more than the 16384 KiB that it may be"),
        ("flood", "stage evil: the plugin's answer cannot be used: 2000 results, 1024 are allowed"),
        ("shape", "stage evil: the plugin's answer cannot be used: y is not f32 [1]"),
        ("lie", "stage evil: the plugin's answer cannot be used: y is not f32 [1]"),
        ("nan", "stage evil: the plugin's answer cannot be used: y is not finite"),
    ] {
        let bundle = bundle(deed, plugin());
        for interpret_plugins in [false, true] {
            let options = LoadOptions { interpret_plugins, ..LoadOptions::default() };
            let mut pipeline = load(&bundle, &options).unwrap();
            assert_eq!(frame(&mut pipeline, 0, 1.0), "[1.0]", "{deed}");
            assert_eq!(frame(&mut pipeline, 1, 1.0), "[2.0]", "{deed}");
            let said = frame(&mut pipeline, 2, -1.0);
            assert!(said.starts_with(words), "{deed}: {said}");
            assert_eq!(frame(&mut pipeline, 3, 1.0), "[1.0]", "{deed}: a fresh instance goes on");
            assert_eq!(pipeline.plugin_restarts(), 1, "{deed}");
        }
    }
}

#[test]
fn results_of_results_are_bounded_and_so_is_the_time_of_all_of_them() {
    for (next, words) in [
        ("swarm", "stage next: plugins made more than 4096 results of one frame"),
        ("dawdle", "stage next: the frame took longer than 1000 ms"),
    ] {
        let mut pipeline =
            load(&bundle_of("swarm", Some(next), plugin()), &LoadOptions::default()).unwrap();
        let said = frame(&mut pipeline, 0, -1.0);
        assert!(said.starts_with(words), "{next}: {said}");
    }
}

#[test]
fn what_a_plugin_does_at_the_end_of_a_recording_costs_its_own_stream_alone() {
    for (deed, words) in [
        ("finish-trap", "stage evil: the plugin trapped"),
        ("finish-loop", "stage evil: the plugin took longer than 1000 ms"),
        ("finish-hoard", "stage evil: the plugin wanted more than the 4096 KiB of memory"),
        ("finish-flood", "stage evil: the plugin's answer cannot be used: 2000 results"),
    ] {
        let mut pipeline = load(&bundle(deed, plugin()), &LoadOptions::default()).unwrap();
        // In the stream whose first value is negative it does what it is told.
        assert!(push(&mut pipeline, "a", 0, -1.0).result.is_ok());
        assert!(push(&mut pipeline, "b", 0, 1.0).result.is_ok());
        let ends: Vec<FrameOutcome> = pipeline.finish();
        let [a, b] = &ends[..] else { panic!("{deed}: {ends:?}") };
        let said = a.result.as_ref().unwrap_err().to_string();
        assert!(a.key == "a" && said.starts_with(words), "{deed}: {said}");
        assert_eq!(b.result.as_ref().unwrap()[0].outputs["y"].as_f64(), 1.0, "{deed}");
        assert_eq!(pipeline.plugin_restarts(), 1, "{deed}");
    }
}

#[test]
fn streams_do_not_mix_and_one_stream_s_trap_is_not_another_s() {
    let mut pipeline = load(&bundle("trap", plugin()), &LoadOptions::default()).unwrap();
    let mut said = |key, frame, x| match push(&mut pipeline, key, frame, x).result {
        Ok(parts) => parts[0].outputs["y"].as_f64(),
        Err(error) => {
            assert_eq!(error.reason(), "plugin_trap");
            -1.0
        }
    };
    assert_eq!([said("a", 0, 1.0), said("a", 1, 1.0), said("b", 0, 1.0)], [1.0, 2.0, 1.0]);
    assert_eq!([said("b", 1, -1.0), said("a", 2, 1.0), said("b", 2, 1.0)], [-1.0, 3.0, 1.0]);
}

#[test]
fn one_stream_too_many_is_an_error_of_its_frames_and_the_others_go_on() {
    let mut pipeline = load(&bundle("x", plugin()), &LoadOptions::default()).unwrap();
    for stream in 0..256 {
        assert!(push(&mut pipeline, &format!("s{stream}"), 0, 1.0).result.is_ok());
    }
    let refused = push(&mut pipeline, "another", 3, 1.0);
    assert_eq!((refused.frame, refused.first, refused.last), (3, 6, 7));
    assert_eq!(refused.result.unwrap_err().to_string(), "there are more than 256 streams");
    assert!(push(&mut pipeline, "s255", 1, 1.0).result.is_ok());
}

#[test]
fn a_plugin_that_refuses_a_frame_keeps_its_state() {
    let mut pipeline = load(&bundle("say", plugin()), &LoadOptions::default()).unwrap();
    assert_eq!(frame(&mut pipeline, 0, 1.0), "[1.0]");
    assert_eq!(frame(&mut pipeline, 1, -1.0), "stage evil: the plugin refuses: a reason");
    assert_eq!(frame(&mut pipeline, 2, 1.0), "[3.0]");
    assert_eq!(pipeline.plugin_restarts(), 0);
}

/// Why the bundle with such a plugin cannot be loaded: the whole chain, in at most a screen of text.
fn refusal(deed: &str, wasm: &[u8]) -> String {
    let error = load(&bundle(deed, wasm), &LoadOptions::default()).err();
    let error = error.unwrap_or_else(|| panic!("{deed} was loaded"));
    let mut chain = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(error) = cause {
        chain += &format!(": {error}");
        cause = error.source();
    }
    assert!(chain.len() < 2000, "{deed} talks for {} bytes", chain.len());
    chain.strip_prefix("stage evil: plugins/evil.wasm: ").unwrap_or(&chain).to_owned()
}

#[test]
fn a_plugin_that_cannot_be_configured_is_refused_by_stage() {
    for (deed, words) in [
        ("refuse", "it refuses its settings: not with me"),
        ("rant", "it refuses its settings: aaaa"),
        ("configure-trap", "it failed while being configured: the plugin trapped"),
        ("configure-loop", "it failed while being configured: the plugin took longer than 1000 ms"),
        (
            "configure-hoard",
            "it failed while being configured: the plugin wanted more than the 4096 KiB",
        ),
        (
            "vast-port",
            "it has ports that cannot be: port z has the shape \
             [4294967295, 4294967295, 4294967295], more than 16777216 elements",
        ),
        (
            "vast-ports",
            "it has ports that cannot be: its outputs have 33554436 bytes together, 16777216 are allowed",
        ),
        ("many-ports", "it has ports that cannot be: 301 of them, 256 are allowed"),
        ("deep-port", "it has ports that cannot be: port z has more than 16 dimensions"),
        ("long-name", "it has ports that cannot be: port \"zzzz"),
    ] {
        let said = refusal(deed, plugin());
        assert!(said.starts_with(words), "{deed}: {said}");
    }
}

#[test]
fn what_is_no_plugin_or_reaches_for_the_host_is_refused() {
    assert!(refusal("x", b"\0asm nothing").starts_with("it is no plugin: "));
    // A plugin that works, and a section behind it (component binary format: import section) by which
    // it wants a resource called `clock` from whoever runs it.
    let reaching = [plugin(), &b"\x0a\x0a\x01\0\x05clock\x03\x01"[..]].concat();
    let said = refusal("x", &reaching);
    assert!(
        said.starts_with("it is no plugin: ") && said.contains("imports resource `clock`"),
        "{said}"
    );
}

#[test]
fn a_reason_that_never_ends_is_cut() {
    let mut pipeline = load(&bundle("long-say", plugin()), &LoadOptions::default()).unwrap();
    let said = frame(&mut pipeline, 0, -1.0);
    assert!(said.starts_with("stage evil: the plugin refuses: aaaa") && said.len() < 600, "{said}");
}

#[test]
fn compiled_code_that_was_touched_or_comes_from_another_device_is_not_loaded() {
    let folder = tempfile::tempdir().unwrap();
    let cache = |key: u8| LoadOptions {
        cache: Some(PluginCache::new(folder.path().to_owned(), &[key; 32])),
        ..LoadOptions::default()
    };
    let bundle = bundle("x", plugin());
    let files = || {
        let files = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path());
        files.collect::<Vec<_>>()
    };
    load(&bundle, &cache(1)).unwrap();
    let [file] = files().try_into().unwrap();
    let original = std::fs::read(&file).unwrap();
    let digest = Digest::of(&original);

    load(&bundle, &cache(1)).unwrap();
    assert_eq!(Digest::of(&std::fs::read(&file).unwrap()), digest);

    // Each of these is noticed: the plugin is compiled anew, works, and the cache is made whole.
    for at in [0, 31, 32, original.len() / 2, original.len() - 1] {
        let mut touched = original.clone();
        touched[at] ^= 1;
        std::fs::write(&file, &touched).unwrap();
        assert_eq!(frame(&mut load(&bundle, &cache(1)).unwrap(), 0, 1.0), "[1.0]");
        assert_ne!(std::fs::read(&file).unwrap(), touched, "byte {at} was believed");
    }
    std::fs::write(&file, &original[..20]).unwrap();
    load(&bundle, &cache(1)).unwrap();
    assert!(std::fs::read(&file).unwrap().len() > 20);

    load(&bundle, &cache(2)).unwrap();
    let other = files().into_iter().find(|other| *other != file).unwrap();
    std::fs::write(&other, &original).unwrap();
    load(&bundle, &cache(2)).unwrap();
    assert_ne!(std::fs::read(&other).unwrap(), original, "another device's key was believed");
}
