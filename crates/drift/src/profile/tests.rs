use super::*;
use crate::sketched::{VALUES_MIN, quantile_edges};
use lineside_sketch::Categories;
use proptest::prelude::*;

fn of(marks: &Marks, values: impl IntoIterator<Item = f64>) -> ColumnSketch {
    let mut sketch = marks.empty();
    values.into_iter().for_each(|value| sketch.add_number(marks, value).unwrap());
    sketch
}

/// Day `day` of a sensor: a hundred values around ten, a little higher each day.
fn day(day: u32) -> impl Iterator<Item = f64> {
    (0..100).map(move |at| 10.0 + f64::from(at % 20) / 10.0 + f64::from(day) / 20.0)
}

fn profile() -> Profile {
    let all: Vec<f64> = (0..7).flat_map(day).collect();
    let marks = Marks::Edges(quantile_edges(all.clone(), (10.0, 12.2)).unwrap());
    let mut number = ColumnProfile {
        name: "level".into(),
        role: Role::Output,
        reference: of(&marks, all),
        marks,
        method: SketchMethod::PROFILE,
        threshold: 0.1,
        learnt: None,
    };
    let chunks: Vec<Statistics> = (0..7)
        .map(|at| {
            let sketch = of(&number.marks, day(at));
            number.statistics(&Observed { sketch, out_of_range: Some(0) }, VALUES_MIN)
        })
        .collect();
    number.learnt = learn(&chunks, SIGMAS);
    let names = Marks::Categories(Categories::new(vec!["false".into(), "true".into()]).unwrap());
    let mut alarm = names.empty();
    for text in ["true", "false", "false"] {
        alarm.add_text(&names, text).unwrap();
    }
    let text = ColumnProfile {
        name: "alarm".into(),
        marks: names,
        reference: alarm,
        learnt: None,
        ..number.clone()
    };
    Profile::new(Some(Chunk::Milliseconds(86_400_000)), VALUES_MIN, vec![text, number]).unwrap()
}

fn judged(values: impl IntoIterator<Item = f64>) -> Vec<(Statistic, bool)> {
    let profile = profile();
    let level = profile.column(Role::Output, "level").unwrap();
    let observed = Observed { sketch: of(&level.marks, values), out_of_range: Some(0) };
    let judged = level.judge(&observed, profile.values_min());
    judged.iter().map(|it| (it.statistic, it.is_outside)).collect()
}

#[test]
fn limits_are_the_mean_and_three_deviations_of_the_chunks() {
    let profile = profile();
    let learnt = profile.column(Role::Output, "level").unwrap().learnt.clone().unwrap();
    let median = learnt.limits[&Statistic::Median];
    assert_eq!((learnt.chunks, learnt.sigmas), (7, 3.0));
    // Medians 10.9, 10.95, ... 11.2: mean 11.05, deviation 0.108; buckets there are a quarter wide.
    assert!((median.mean - 11.05).abs() < 0.06, "{median:?}");
    assert_eq!(median.upper, Some(median.mean + 3.0 * median.sigma));
    assert_eq!(median.lower, Some(median.mean - 3.0 * median.sigma));
    let missing = learnt.limits[&Statistic::Missing];
    assert_eq!((missing.lower, missing.upper), (None, Some(0.0)));
    assert_eq!(learn(&[Statistics::new(), Statistics::new()], 3.0), None);
}

#[test]
fn an_interval_is_held_against_what_was_learnt() {
    use Statistic::{Drift, Median, Missing, OutOfRange};
    let good = judged(day(3));
    assert_eq!(good, [(Median, false), (Missing, false), (OutOfRange, false), (Drift, false)]);
    let high = judged(day(3).map(|value| value + 4.0));
    assert_eq!(high, [(Median, true), (Missing, false), (OutOfRange, false), (Drift, true)]);
    let gaps = judged(day(3).chain([f64::NAN; 5]));
    assert!(gaps.contains(&(Missing, true)) && gaps.contains(&(Median, false)));
    // Three values say nothing, and neither does a minute without any.
    assert_eq!(judged([99.0; 3]), []);
    assert_eq!(judged([]), []);
}

#[test]
fn an_interval_of_noughts_is_within_limits_that_noughts_have_taught() {
    let marks = Marks::Edges(quantile_edges(vec![0.0, 1.0, 5.0], (0.0, 5.0)).unwrap());
    let mut lost = ColumnProfile {
        name: "lost".into(),
        role: Role::Output,
        reference: marks.empty(),
        marks,
        method: SketchMethod::PROFILE,
        threshold: 0.1,
        learnt: None,
    };
    let chunk = |large: usize| {
        let values = (0..50).map(move |at| if at < large { 5.0 } else { 0.0 });
        Observed { sketch: of(&lost.marks, values), out_of_range: None }
    };
    // Of noughts beside larger values the sketch knows that they are below the smallest number, of noughts
    // alone that they are none.
    let statistics: Vec<_> = (1..8).map(|large| lost.statistics(&chunk(large), 30)).collect();
    let only = chunk(0);
    lost.learnt = learn(&statistics, 3.0);
    assert!(lost.learnt.as_ref().unwrap().limits[&Statistic::Median].lower > Some(0.0));
    let judged = lost.judge(&only, 30);
    let median = judged.iter().find(|judged| judged.statistic == Statistic::Median).unwrap();
    assert!(!median.is_outside, "{median:?}");
}

#[test]
fn a_profile_is_written_in_one_way_and_comes_back() {
    let profile = profile();
    let bytes = profile.to_json();
    let read = Profile::parse(&bytes).unwrap();
    assert_eq!(read, profile);
    assert_eq!(read.to_json(), bytes);
    let text = String::from_utf8(bytes).unwrap();
    assert!(
        text.starts_with(r#"{"format":1,"chunk":{"milliseconds":86400000},"values_min":30,"#),
        "{text}"
    );
}

/// What is said of the profile with one text in place of another.
fn refused(what: &str, instead: &str) -> String {
    let text = String::from_utf8(profile().to_json()).unwrap();
    assert!(text.contains(what), "{what} is not in {text}");
    let error = Profile::parse(text.replacen(what, instead, 1).as_bytes()).unwrap_err();
    std::error::Error::source(&error)
        .map_or(error.to_string(), |source| format!("{error}: {source}"))
}

#[test]
fn what_is_no_profile_is_refused_and_the_cure_is_named() {
    for (what, instead, said) in [
        ("\"format\":1", "\"format\":2", "format 2 is not known here: update this program"),
        ("\"values_min\"", "\"values_mim\"", "unknown field `values_mim`"),
        ("86400000", "0", "chunks of no length"),
        ("\"alarm\"", "\"zebra\"", "level is not behind the one before it"),
        ("\"alarm\"", "\"\"", "a name has 1 to 512 bytes"),
        (
            "[\"false\",\"true\"]",
            "[\"true\",\"false\"]",
            "\"false\" is not behind the one before it",
        ),
        ("[\"false\",\"true\"]", "[\"false\",\"tru\"]", "counted over other edges or categories"),
        ("\"categories\":", "\"edges\":", "is no finite number"),
        ("\"edges\":[10.0,", "\"edges\":[10.0,1e999,", "1e999 is no finite number"),
        ("\"edges\":[10.0,", "\"edges\":[9.0,", "counted over other edges or categories"),
        ("\"reference\":\"", "\"reference\":\"g0", "hexadecimal"),
        ("\"reference\":\"0a", "\"reference\":\"07", "a sketch of kind 7"),
        (
            "sketch:jensenshannon",
            "jensenshannon",
            "there is no method jensenshannon: use one of sketch:ks",
        ),
        ("sketch:jensenshannon", "sketch:ks", "sketch:ks is not for its kind"),
        ("\"threshold\":0.1", "\"threshold\":-0.1", "must be finite and not negative"),
        ("\"sigmas\":3.0", "\"sigmas\":0", "sigmas 0 must be above zero"),
        ("\"upper\":0.0", "\"upper\":-1.0", "limits of missing do not hold its mean"),
    ] {
        let refused = refused(what, instead);
        assert!(refused.contains(said), "{what}: {refused}");
        let cure = ["build it anew by `lineside profile build`", "build the profile anew"];
        assert!(cure.iter().any(|cure| refused.contains(cure)), "{refused}");
    }
    let long = vec![b' '; PROFILE_BYTES_MAX + 1];
    assert!(matches!(Profile::parse(&long), Err(ProfileError::Size(_))));
}

proptest! {
    #[test]
    fn bytes_that_were_changed_are_refused_or_a_profile(at: prop::sample::Index, byte: u8) {
        let mut bytes = profile().to_json();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(profile) = Profile::parse(&bytes) {
            prop_assert_eq!(Profile::parse(&profile.to_json()).unwrap(), profile);
        }
    }
}
