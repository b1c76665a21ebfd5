//! What becomes of a frame in which a plugin breaks, as its bundle wants it, and what a plugin says.

#![allow(clippy::unwrap_used)] // A test stops at what does not hold.

use lineside_runtime::{
    FrameOutcome, LoadOptions, MemoryFiles, Pipeline, Reading, Sandbox, StandIn,
};
use lineside_tests::evil::{self, description, plugin};
use lineside_tests::{complaint, lineside};

/// Good deeds have time on any machine.
const LIMITS: &str = "plugin_memory_mib = 128, frame_ms = 30000";

/// A pipeline of a bundle whose plugin does `deed`.
fn pipeline(deed: &str, limits: &str, more: &str, rest: &str) -> Pipeline {
    let bundle = evil::bundle(&description(deed, limits, more, rest), plugin());
    Pipeline::load(&bundle.manifest, &MemoryFiles(&bundle), &LoadOptions::default()).unwrap()
}

fn push(pipeline: &mut Pipeline, key: &str, frame: u64, x: f64) -> FrameOutcome {
    let readings = [frame * 2, frame * 2 + 1].map(|sequence| Reading {
        key: key.into(),
        sequence,
        time_unix_ns: 0,
        values: vec![x],
    });
    let mut outcomes: Vec<_> = readings.iter().flat_map(|reading| pipeline.push(reading)).collect();
    assert_eq!(outcomes.len(), 1);
    outcomes.remove(0)
}

/// What was answered, or the reason why nothing was and what is told instead.
fn told(outcome: &FrameOutcome) -> (String, Option<(StandIn, f64)>) {
    let y = |parts: &[lineside_runtime::Part]| parts[0].outputs["y"].as_f64();
    let instead = outcome.instead.as_ref().map(|instead| (instead.by, y(&instead.parts)));
    match &outcome.result {
        Ok(parts) => (format!("{}", y(parts)), instead),
        Err(error) => (error.reason().to_owned(), instead),
    }
}

#[test]
fn a_plugin_that_breaks_is_replaced_and_counted_by_reason_whatever_the_policy() {
    for (deed, reason) in [
        ("trap", "plugin_trap"),
        ("deep", "plugin_trap"),
        ("loop", "plugin_time"),
        ("hoard", "plugin_memory"),
        ("heap", "plugin_output"),
        ("much", "plugin_output"),
        ("flood", "plugin_answer"),
        ("shape", "plugin_answer"),
        ("nan", "plugin_answer"),
    ] {
        let limits = match deed {
            "loop" => "frame_ms = 500",
            "hoard" => "plugin_memory_mib = 4, frame_ms = 30000",
            _ => LIMITS,
        };
        let values = if deed == "much" {
            // Of an image nobody writes every pixel.
            "on_trap = 'hold-last'"
        } else {
            "on_trap = 'fail-safe'\nfail_safe.y = [42]"
        };
        let given = if deed == "much" { (StandIn::Held, 1.0) } else { (StandIn::FailSafe, 42.0) };
        let mut pipeline = pipeline(deed, limits, values, "");
        assert_eq!(told(&push(&mut pipeline, "a", 0, 1.0)), ("1".into(), None), "{deed}");
        let broken = push(&mut pipeline, "a", 1, -1.0);
        assert_eq!(told(&broken), (reason.into(), Some(given)), "{deed}");
        assert!(broken.result.unwrap_err().is_broken_plugin(), "{deed}");
        assert_eq!(told(&push(&mut pipeline, "a", 2, 1.0)), ("1".into(), None), "{deed}");
        assert_eq!(pipeline.plugin_restarts(), 1, "{deed}");
    }
}

#[test]
fn the_last_result_of_the_same_stream_is_held_and_nothing_where_there_is_none() {
    let mut pipeline = pipeline("trap", LIMITS, "on_trap = 'hold-last'", "");
    let mut say = |key, frame, x| told(&push(&mut pipeline, key, frame, x));
    assert_eq!(say("b", 0, -1.0), ("plugin_trap".into(), None));
    assert_eq!(say("a", 0, 1.0), ("1".into(), None));
    assert_eq!(say("a", 1, 1.0), ("2".into(), None));
    let held = ("plugin_trap".into(), Some((StandIn::Held, 2.0)));
    assert_eq!(say("a", 2, -1.0), held);
    // A second one in a row holds what was answered, not what was held.
    assert_eq!(say("a", 3, -1.0), held);
    assert_eq!(say("b", 1, -1.0), ("plugin_trap".into(), None));
    assert_eq!(say("a", 4, 1.0), ("1".into(), None));
    // Who refuses has answered: nothing is held.
    let mut pipeline = self::pipeline("say", LIMITS, "on_trap = 'hold-last'", "");
    let mut say = |frame, x| told(&push(&mut pipeline, "a", frame, x));
    assert_eq!(say(0, 1.0), ("1".into(), None));
    assert_eq!(say(1, -1.0), ("plugin_refused".into(), None));
}

#[test]
fn unless_the_bundle_says_otherwise_the_frame_has_no_answer() {
    let mut pipeline = pipeline("trap", LIMITS, "", "");
    assert_eq!(told(&push(&mut pipeline, "a", 0, 1.0)), ("1".into(), None));
    assert_eq!(told(&push(&mut pipeline, "a", 1, -1.0)), ("plugin_trap".into(), None));
}

#[test]
fn a_plugin_that_breaks_too_often_is_not_run_any_more_and_its_policy_goes_on() {
    for (policy, given) in
        [("on_trap = 'fail-safe'\nfail_safe.y = [42]", Some((StandIn::FailSafe, 42.0))), ("", None)]
    {
        let mut pipeline = pipeline("trap", LIMITS, policy, "[trial]\ntraps_max = 2\n");
        for frame in 0..3 {
            let outcome = push(&mut pipeline, "a", frame, -1.0);
            assert_eq!(told(&outcome), ("plugin_trap".into(), given));
        }
        for frame in 3..6 {
            let outcome = push(&mut pipeline, "a", frame, 1.0);
            assert_eq!(told(&outcome), ("plugin_quarantined".into(), given));
            let error = outcome.result.unwrap_err();
            assert!(error.is_quarantine() && error.is_broken_plugin());
            assert_eq!(
                error.to_string(),
                "stage evil: the plugin broke 3 times, 2 are allowed: it is in quarantine and not run \
                 any more"
            );
        }
        assert_eq!(pipeline.plugin_restarts(), 3);
    }
    // Whoever else has a say may only be stricter.
    let description = description("trap", LIMITS, "", "[trial]\ntraps_max = 1\n");
    let bundle = evil::bundle(&description, plugin());
    for (others, breaks) in [(Some(0), 1), (Some(9), 2), (None, 2)] {
        let options = LoadOptions { plugin_traps_max: others, ..LoadOptions::default() };
        let mut pipeline =
            Pipeline::load(&bundle.manifest, &MemoryFiles(&bundle), &options).unwrap();
        let reasons = (0..4).map(|frame| told(&push(&mut pipeline, "a", frame, -1.0)).0);
        assert_eq!(reasons.filter(|reason| reason == "plugin_trap").count(), breaks, "{others:?}");
    }
}

#[test]
fn values_for_the_worst_that_do_not_fit_are_refused_when_the_bundle_is_built() {
    for (more, words) in [
        ("on_trap = 'fail-safe'", "stage evil: on_trap = \"fail-safe\" needs fail_safe"),
        ("fail_safe.y = [1]", "stage evil: fail_safe is given without on_trap = \"fail-safe\""),
        (
            "on_trap = 'fail-safe'\nfail_safe.y = [1, 2]",
            "stage evil: fail_safe.y: it is f32 [1], that is 1 values, and 2 are given",
        ),
        (
            "on_trap = 'fail-safe'\nfail_safe.y = [true]",
            "stage evil: fail_safe.y: true is no number",
        ),
        (
            "on_trap = 'fail-safe'\nfail_safe.z = [1]",
            "stage evil: fail_safe: it has no output z, only [y]",
        ),
    ] {
        let folder = tempfile::tempdir().unwrap();
        evil::lay(folder.path(), &description("trap", LIMITS, more, ""), plugin());
        let (from, to) = (folder.path().to_str().unwrap(), folder.path().join("evil.lsb"));
        let output = lineside(&["bundle", "build", from, "-o", to.to_str().unwrap()]);
        let said = complaint(&output);
        assert!(!output.status.success() && said.contains(words), "{more}: {said}");
    }
}

#[test]
fn instructions_whose_answers_differ_are_refused_by_name_where_a_bundle_is_built_and_on_a_device() {
    let relaxed = evil::with(&evil::relaxed());
    let cure = "it uses relaxed SIMD: its answers differ from processor to processor: build without \
                -C target-feature=+relaxed-simd";
    let described = description("", LIMITS, "", "");
    let folder = tempfile::tempdir().unwrap();
    evil::lay(folder.path(), &described, &relaxed);
    let (from, to) = (folder.path().to_str().unwrap(), folder.path().join("evil.lsb"));
    let output = lineside(&["bundle", "build", from, "-o", to.to_str().unwrap()]);
    let said = complaint(&output);
    assert!(!output.status.success() && said.contains(cure), "{said}");
    assert!(said.contains("plugins/evil.wasm: "), "{said}");
    // Whoever has built a bundle all the same brings it into no device.
    let built = evil::bundle(&described, &relaxed);
    let loaded = Pipeline::load(&built.manifest, &MemoryFiles(&built), &LoadOptions::default());
    let said = format!("{:#}", anyhow::Error::from(loaded.err().unwrap()));
    assert!(said.contains(cure) && said.contains("stage evil"), "{said}");
    for sandbox in [Sandbox::native(None), Sandbox::interpreting(None)] {
        let sandbox = sandbox.unwrap();
        let said = sandbox.compile(&relaxed).err().unwrap().to_string();
        assert_eq!(said, format!("it is no plugin: {cure}"));
        // It is for that alone.
        sandbox.compile(&evil::with(b"\0asm\x01\0\0\0")).unwrap();
    }
}

#[test]
fn what_a_plugin_says_is_told_within_bounds_also_where_it_breaks() {
    let mut pipeline = pipeline("chatter", LIMITS, "", "");
    let first = push(&mut pipeline, "a", 0, -1.0).said;
    assert_eq!((first.lines.len(), first.dropped), (16, 84));
    assert_eq!(first.lines[15], ("evil".to_owned(), "line 15".to_owned()));
    // Another stream has no second of its own. Where the machine is slow it is the next one already.
    let second = push(&mut pipeline, "b", 0, -1.0).said;
    assert!([4, 16].contains(&second.lines.len()), "{second:?}");
    assert_eq!(second.lines.len() as u64 + second.dropped, 100);
    assert!(push(&mut pipeline, "a", 1, 1.0).said.is_empty());

    let mut pipeline = self::pipeline("babble", LIMITS, "", "");
    let said = push(&mut pipeline, "a", 0, -1.0).said;
    assert_eq!(said.lines[0].1.chars().count(), 501);

    let mut pipeline = self::pipeline("last-words", LIMITS, "", "");
    let outcome = push(&mut pipeline, "a", 0, -1.0);
    assert_eq!(told(&outcome), ("plugin_trap".into(), None));
    assert_eq!(outcome.said.lines, [("evil".to_owned(), "I see it coming".to_owned())]);

    let limits = format!("{LIMITS}, plugin_lines_per_call = 0");
    let mut pipeline = self::pipeline("chatter", &limits, "", "");
    let said = push(&mut pipeline, "a", 0, -1.0).said;
    assert_eq!((said.lines.len(), said.dropped), (0, 100));
}
