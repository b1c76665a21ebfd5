//! A plugin that means harm, contained.

#![allow(clippy::unwrap_used)] // A test stops at what does not hold.

use lineside_bundle::{BuiltBundle, Digest};
use lineside_runtime::{
    FrameOutcome, LoadError, LoadOptions, MemoryFiles, Pipeline, PluginCache, Reading,
};
use lineside_tests::{build, complaint, lineside, root};
use std::sync::OnceLock;

/// The evil plugin's component, built once for all tests.
fn plugin() -> &'static [u8] {
    static PLUGIN: OnceLock<Vec<u8>> = OnceLock::new();
    PLUGIN.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("evil.wasm");
        let source = root().join("tests/evil-plugin");
        let output =
            lineside(&["plugin", "build", source.to_str().unwrap(), "-o", file.to_str().unwrap()]);
        assert!(output.status.success(), "{}", complaint(&output));
        std::fs::read(file).unwrap()
    })
}

fn bundle(deed: &str, wasm: &[u8]) -> BuiltBundle {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("plugins")).unwrap();
    std::fs::write(folder.path().join("plugins/evil.wasm"), wasm).unwrap();
    let description = format!(
        "format = 1\nname = 'evil'\nversion = '1'\noutputs.y.from = 'evil.y'\n\
         inputs.row = {{ key = 'key', rate_hz = 1.0, fields = [{{ name = 'x' }}] }}\n\
         stages.window = {{ kind = 'window', input = 'row', rows = 2, stride = 2 }}\n\
         limits = {{ memory_mib = 64, plugin_memory_mib = 4, frame_ms = 100 }}\n\
         [stages.evil]\nkind = 'plugin'\nplugin = 'plugins/evil.wasm'\n\
         inputs.x = 'window'\nconfig.deed = '{deed}'\n"
    );
    std::fs::write(folder.path().join("bundle.toml"), description).unwrap();
    build(folder.path(), &[], &folder.path().join("evil.lsb"))
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
        ("loop", "stage evil: the plugin took longer than 100 ms"),
        ("hoard", "stage evil: the plugin trapped"),
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

#[test]
fn a_plugin_that_refuses_its_settings_or_is_none_is_refused_by_stage() {
    let chain = |error: LoadError| {
        let source = std::error::Error::source(&error).map(ToString::to_string);
        format!("{error}: {}", source.unwrap_or_default())
    };
    let refused = load(&bundle("refuse", plugin()), &LoadOptions::default()).err().unwrap();
    assert_eq!(
        chain(refused),
        "stage evil: plugins/evil.wasm: it refuses its settings: not with me"
    );
    let none = load(&bundle("x", b"\0asm nothing"), &LoadOptions::default()).err().unwrap();
    assert!(chain(none).starts_with("stage evil: plugins/evil.wasm: it is no plugin: "));
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
    assert_ne!(
        std::fs::read(&file).unwrap()[..32],
        original[..32],
        "another device's key was believed"
    );
}
