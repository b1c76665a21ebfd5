//! What there is to choose from where several engines run a model, and how fast each of them is.
//!
//! The engine that comes first stays unless another is clearly faster than the noise of the
//! measurement. Each is measured in a process of its own: what one does to it is no other's fault.

use crate::check::{CheckError, watch_models};
use crate::engine::{Engine, EngineError, Engines, OnnxModel, Operator, fit};
use crate::files::Files;
use crate::pipeline::{LoadError, LoadOptions};
use crate::tensor::{Port, Tensor};
use lineside_bundle::{Manifest, Stage};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

/// Frames of the checks on which engines are timed.
const FRAMES_MAX: usize = 16;
/// Rounds, in each of which the engine runs every frame.
const ROUNDS_MAX: usize = 15;
/// Rounds after which a slow model has been timed enough when its time is over.
const ROUNDS_MIN: usize = 5;
/// Longest that the rounds of one model may take, beyond the least.
const TIME_MAX: Duration = Duration::from_secs(1);
/// Longest that a round is to take: fewer frames of a slow model are as good.
const ROUND_MAX: Duration = Duration::from_millis(200);
/// Characters of the reason why an engine does not run a model.
const REASON_MAX: usize = 200;
/// How much of the other's time an engine may need at the most to be chosen in its place. The same
/// model in the same engine was seen to differ by a third from one start to the next.
const CLEARLY: f64 = 0.8;

/// Which engine was chosen for each model that several may run, by stage.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Choice {
    /// By stage.
    pub models: BTreeMap<String, Measured>,
}

/// The engine of one model, and what was seen of each.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Measured {
    /// The engine that was chosen.
    pub engine: String,
    /// What was seen, by engine.
    pub figures: BTreeMap<String, Figure>,
}

/// What was seen of an engine with a model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Figure {
    /// How long a frame takes: quartiles of the rounds' medians.
    Timed {
        /// A quarter of the rounds were at most so long.
        low: Duration,
        /// Half of them.
        median: Duration,
        /// Three quarters of them.
        high: Duration,
    },
    /// It does not run the model as the checks want.
    Refused(String),
}

impl Figure {
    /// It does not run the model, for this reason, of which so much is told as is fit for people.
    pub fn refused(reason: &str) -> Figure {
        Figure::Refused(reason.chars().take(REASON_MAX).collect())
    }

    /// What counts of two: that the engine does not run the model, or else the shorter time, which the
    /// machine has disturbed less.
    #[must_use]
    pub fn joined(self, other: Figure) -> Figure {
        match (&self, &other) {
            (Figure::Refused(_), _) => self,
            (_, Figure::Refused(_)) => other,
            (Figure::Timed { median: one, .. }, Figure::Timed { median: two, .. }) => {
                if one <= two { self } else { other }
            }
        }
    }
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, (stage, measured)) in self.models.iter().enumerate() {
            f.write_str(if place > 0 { "; " } else { "" })?;
            write!(f, "{stage} runs in {}", measured.engine)?;
            for (place, (engine, figure)) in measured.figures.iter().enumerate() {
                f.write_str(if place > 0 { ", " } else { ": " })?;
                match figure {
                    Figure::Timed { median, .. } => {
                        write!(f, "{engine} {:.3} ms a frame", median.as_secs_f64() * 1e3)?;
                    }
                    Figure::Refused(reason) => write!(f, "{engine} not: {reason}")?,
                }
            }
        }
        Ok(())
    }
}

/// The models that several engines may run, by stage, as far as the manifest tells: the names of these
/// engines, the one to be preferred first.
pub fn choices(manifest: &Manifest, engines: &Engines) -> BTreeMap<String, Vec<&'static str>> {
    let several = |(name, stage): (&String, &Stage)| {
        let Stage::Model { file, .. } = stage else { return None };
        let engines = may_run(manifest, engines, name, stage);
        let is_known = manifest.operators.contains_key(file);
        (is_known && engines.len() > 1).then(|| (name.clone(), engines))
    };
    manifest.bundle.stages.iter().filter_map(several).collect()
}

/// The engines that may run each model, by stage, as far as the manifest tells, the one to be preferred
/// first.
pub fn runners(manifest: &Manifest, engines: &Engines) -> BTreeMap<String, Vec<&'static str>> {
    let stages = manifest.bundle.stages.iter();
    let models = stages.filter(|(_, stage)| matches!(stage, Stage::Model { .. }));
    models.map(|(name, stage)| (name.clone(), may_run(manifest, engines, name, stage))).collect()
}

/// Whether these can be the engines of all models of a bundle here, by stage: what another version of
/// this program has written down need not be so any more, and a worker that was taken over by what it
/// ran may say anything.
pub fn are_engines(
    named: &BTreeMap<String, String>,
    manifest: &Manifest,
    engines: &Engines,
) -> bool {
    let stages = manifest.bundle.stages.iter();
    let mut models = stages.filter(|(_, stage)| matches!(stage, Stage::Model { .. }));
    models.clone().count() == named.len()
        && models.all(|(name, stage)| {
            let named = named.get(name).map(String::as_str);
            named.is_some_and(|it| may_run(manifest, engines, name, stage).contains(&it))
        })
}

/// The engines that may run the model of a stage, as far as the manifest tells.
fn may_run(manifest: &Manifest, engines: &Engines, name: &str, stage: &Stage) -> Vec<&'static str> {
    let Stage::Model { file, engine, .. } = stage else { return vec![] };
    let Ok(engines) = engines.of(name, engine.as_deref()) else { return vec![] };
    let used = manifest.operators.get(file).into_iter().flatten();
    let used: Vec<Operator> = used.map(|text| Operator::parse(text)).collect();
    let fit = fit(&engines, &used).unwrap_or_default();
    fit.iter().map(|engine| engine.name()).collect()
}

/// The models of a bundle, by stage, with the engine that the bundle says.
pub fn models(manifest: &Manifest) -> impl Iterator<Item = (&str, Option<&str>)> {
    manifest.bundle.stages.iter().filter_map(|(name, stage)| match stage {
        Stage::Model { engine, .. } => Some((name.as_str(), engine.as_deref())),
        _ => None,
    })
}

/// Times one engine with each model that others may run as well, on frames of the checks. `options` name
/// engines in which the bundle passes them. Of a model that the checks do not reach there is no figure.
///
/// # Errors
/// [`CheckError::Load`].
pub fn time(
    manifest: &Manifest,
    files: &dyn Files,
    options: &LoadOptions,
    engine: &str,
) -> Result<BTreeMap<String, Figure>, CheckError> {
    let open = Engines { chosen: BTreeMap::new(), ..options.engines.clone() };
    let open = choices(manifest, &open);
    let mut figures = BTreeMap::new();
    for (stage, seen) in watch_models(manifest, files, options, FRAMES_MAX)? {
        if !open.get(&stage).is_some_and(|engines| engines.contains(&engine)) {
            continue;
        }
        let figure = match loaded(manifest, files, options, &stage, engine, &seen.ports)? {
            Ok(mut loaded) => time_frames(&mut *loaded, &seen.frames),
            Err(error) => Some(Figure::refused(&error.to_string())),
        };
        figures.extend(figure.map(|figure| (stage, figure)));
    }
    Ok(figures)
}

/// The model of a stage in the engine of that name, or why it is not.
fn loaded(
    manifest: &Manifest,
    files: &dyn Files,
    options: &LoadOptions,
    stage: &str,
    engine: &str,
    ports: &[Port],
) -> Result<Result<Box<dyn Engine>, EngineError>, CheckError> {
    let Some(Stage::Model { file, .. }) = manifest.bundle.stages.get(stage) else {
        return Ok(Err(EngineError::Load(format!("{stage} is no model"))));
    };
    let bytes = files
        .read(file)
        .map_err(|source| CheckError::Load(LoadError::File { stage: stage.to_owned(), source }))?;
    let chosen = BTreeMap::from([(stage.to_owned(), engine.to_owned())]);
    let engines = Engines { chosen, ..options.engines.clone() };
    let load = || {
        let model = OnnxModel::read(&bytes)?;
        model.load(&engines.of(stage, None)?, ports).map(|(_, loaded)| loaded)
    };
    Ok(load())
}

/// Times an engine on the frames, again and again.
fn time_frames(engine: &mut dyn Engine, frames: &[Vec<Tensor>]) -> Option<Figure> {
    let frames: Vec<Vec<&Tensor>> = frames.iter().map(|frame| frame.iter().collect()).collect();
    let started = Instant::now();
    let (mut medians, mut count) = (Vec::new(), frames.len());
    for round in 0..ROUNDS_MAX {
        if round >= ROUNDS_MIN && started.elapsed() > TIME_MAX {
            break;
        }
        let mut times = Vec::with_capacity(count);
        for frame in &frames[..count] {
            let begun = Instant::now();
            if let Err(error) = engine.run(frame) {
                return Some(Figure::refused(&error.to_string()));
            }
            times.push(begun.elapsed());
        }
        times.sort_unstable();
        let median = *times.get(times.len() / 2)?;
        // The first round is cold.
        if round > 0 {
            medians.push(median);
        }
        let as_good = ROUND_MAX.as_nanos().checked_div(median.as_nanos()).unwrap_or(u128::MAX);
        count = count.min(usize::try_from(as_good.max(1)).unwrap_or(usize::MAX));
    }
    medians.sort_unstable();
    let quartile = |quarters: usize| medians[(medians.len() - 1) * quarters / 4];
    Some(Figure::Timed { low: quartile(1), median: quartile(2), high: quartile(3) })
}

/// The engines that are clearly faster than `base`, the fastest first.
pub fn faster(base: &str, figures: &BTreeMap<String, Figure>) -> Vec<String> {
    let timed = |figure: &Figure| match figure {
        Figure::Timed { low, median, high } => Some((*low, *median, *high)),
        Figure::Refused(_) => None,
    };
    let mut faster = Vec::new();
    if let Some((base_low, base_median, _)) = figures.get(base).and_then(timed) {
        for (engine, figure) in figures {
            if let Some((_, median, high)) = timed(figure)
                && high < base_low
                && median.as_secs_f64() < base_median.as_secs_f64() * CLEARLY
            {
                faster.push((median, engine.clone()));
            }
        }
    }
    faster.sort_unstable();
    faster.into_iter().map(|(_, engine)| engine).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_pointer_width = "64")]
    use {
        crate::engine::{field, model, node, value},
        crate::files::MemoryFiles,
        crate::tensor::Element,
        lineside_bundle::{BuiltBundle, BundleFile, build_with_operators},
        std::collections::BTreeSet,
    };

    fn timed(quartiles: [u64; 3]) -> Figure {
        let [low, median, high] = quartiles.map(Duration::from_micros);
        Figure::Timed { low, median, high }
    }

    fn chosen(figures: &[(&str, Figure)]) -> String {
        let figures = figures.iter().map(|(name, figure)| ((*name).to_owned(), figure.clone()));
        faster("tract", &figures.collect()).join(" ")
    }

    #[test]
    fn the_first_engine_stays_unless_another_is_beyond_the_noise() {
        let tract = ("tract", timed([90, 100, 120]));
        let against = |other: [u64; 3]| chosen(&[tract.clone(), ("rten", timed(other))]);
        assert_eq!(against([40, 50, 60]), "rten");
        assert_eq!(against([81, 82, 85]), "", "a fifth is not gained");
        assert_eq!(against([40, 50, 95]), "", "the quartiles overlap");
        assert_eq!(against([150, 160, 170]), "");
        let refused = Figure::Refused("wrong".into());
        assert_eq!(chosen(&[tract.clone(), ("rten", refused.clone())]), "");
        assert_eq!(chosen(&[("tract", refused), ("rten", timed([1, 2, 3]))]), "");
        let two = [tract, ("a", timed([20, 30, 40])), ("b", timed([10, 20, 30]))];
        assert_eq!(chosen(&two), "b a");
    }

    #[test]
    fn of_two_times_the_shorter_counts_and_a_refusal_before_both() {
        let (short, long, refused) =
            (timed([1, 2, 3]), timed([2, 3, 4]), Figure::refused(&"ö".repeat(300)));
        for (one, two, joined) in [
            (&short, &long, &short),
            (&long, &short, &short),
            (&short, &refused, &refused),
            (&refused, &long, &refused),
        ] {
            assert_eq!(one.clone().joined(two.clone()), *joined);
        }
        assert_eq!(refused, Figure::Refused("ö".repeat(REASON_MAX)));
    }

    /// A bundle with a model that two engines run, as far as it says nothing more of it, and a check with
    /// two frames.
    #[cfg(target_pointer_width = "64")]
    fn in_halves(more: &str) -> BuiltBundle {
        let bundle = format!(
            "format = 1\nname = 'halves'\nversion = '1'\n\
             inputs.p = {{ key = 'k', rate_hz = 1.0, fields = [{{ name = 'a' }}] }}\n\
             stages.w = {{ kind = 'window', input = 'p', rows = 1, stride = 1 }}\n\
             stages.judge = {{ kind = 'model', file = 'm.onnx', inputs = {{ x = 'w' }}{more} }}\n\
             outputs.y.from = 'judge.y'\n\
             [[checks]]\nname = 'own'\ninput = 'in.csv'\nexpected = 'out.jsonl'\n"
        );
        let used = OnnxModel::read(&halves()).unwrap().facts().operators.clone();
        let used: BTreeSet<String> = used.keys().map(ToString::to_string).collect();
        let files = BTreeMap::from([
            ("m.onnx".to_owned(), halves()),
            ("in.csv".to_owned(), b"k,a\ns,3.0\ns,300.0\n".to_vec()),
            ("out.jsonl".to_owned(), vec![]),
        ]);
        let operators = BTreeMap::from([("m.onnx".to_owned(), used)]);
        build_with_operators(BundleFile::parse(&bundle).unwrap(), files, operators).unwrap()
    }

    /// A model that squares in half precision, and takes the root: beyond 255 an engine that computes in
    /// halves has no answer.
    #[cfg(target_pointer_width = "64")]
    fn halves() -> Vec<u8> {
        let cast = |ports: (&[&str], &[&str]), to: Element| {
            // The attribute `to`, which is a whole number.
            let to = [field(1, b"to"), vec![3 << 3, to.onnx() as u8, 0xa0, 0x01, 2]].concat();
            field(1, &[node("Cast", "", ports), field(5, &to)].concat())
        };
        let graph = [
            cast((&["x"], &["half"]), Element::F16),
            field(1, &node("Mul", "", (&["half", "half"], &["square"]))),
            field(1, &node("Sqrt", "", (&["square"], &["root"]))),
            cast((&["root"], &["y"]), Element::F32),
            value(11, "x", Element::F32, &[1]),
            value(12, "y", Element::F32, &[1]),
        ];
        let model = model(&graph.concat());
        let given = include_bytes!("../../../tests/models/halves.onnx");
        assert_eq!(model, given, "what the tests of the agent are given is made here");
        model
    }

    #[test]
    #[cfg(target_pointer_width = "64")]
    fn there_is_a_choice_where_several_engines_run_a_model_and_nobody_says_which() {
        let open = |more: &str, site: Option<&str>| {
            let engines = Engines { site: site.map(str::to_owned), ..Engines::default() };
            choices(&in_halves(more).manifest, &engines)
        };
        let both = BTreeMap::from([("judge".to_owned(), vec!["tract", "rten"])]);
        assert_eq!(open("", None), both);
        assert_eq!(open("", Some("rten")), BTreeMap::new());
        assert_eq!(open(", engine = 'tract'", None), BTreeMap::new());
    }

    #[test]
    #[cfg(target_pointer_width = "64")]
    fn what_is_said_of_the_engines_is_believed_where_it_can_be_so() {
        let are = |said: &[(&str, &str)], more: &str, site: Option<&str>| {
            let said = said.iter().map(|(stage, engine)| ((*stage).into(), (*engine).into()));
            let engines = Engines { site: site.map(str::to_owned), ..Engines::default() };
            are_engines(&said.collect(), &in_halves(more).manifest, &engines)
        };
        assert!(are(&[("judge", "rten")], "", None));
        assert!(!are(&[("judge", "abacus")], "", None));
        assert!(!are(&[("w", "tract")], "", None), "a window has no engine");
        assert!(!are(&[], "", None));
        assert!(!are(&[("judge", "rten"), ("other", "rten")], "", None));
        assert!(!are(&[("judge", "rten")], "", Some("tract")));
        assert!(!are(&[("judge", "rten")], ", engine = 'tract'", None));
    }

    #[test]
    #[cfg(target_pointer_width = "64")]
    fn each_engine_is_timed_by_itself_and_one_without_an_answer_says_why() {
        let bundle = in_halves("");
        let (manifest, files) = (&bundle.manifest, MemoryFiles(&bundle));
        let chosen = BTreeMap::from([("judge".to_owned(), "rten".to_owned())]);
        let engines = Engines { chosen, ..Engines::default() };
        let options = LoadOptions { engines, ..LoadOptions::default() };
        let of = |engine| time(manifest, &files, &options, engine).unwrap().remove("judge");
        let Some(Figure::Timed { low, median, high }) = of("rten") else { panic!("not timed") };
        assert!(low <= median && median <= high);
        assert_eq!(of("tract"), Some(Figure::refused("output y is not finite")));
        assert_eq!(of("classical"), None, "it has not all operators");
    }

    #[test]
    fn a_choice_is_told_with_its_figures() {
        let figures = BTreeMap::from([
            ("rten".to_owned(), Figure::Refused("output y is not finite".into())),
            ("tract".to_owned(), timed([15, 18, 24])),
        ]);
        let measured = Measured { engine: "tract".into(), figures };
        let choice = Choice { models: BTreeMap::from([("judge".to_owned(), measured)]) };
        assert_eq!(
            choice.to_string(),
            "judge runs in tract: rten not: output y is not finite, tract 0.018 ms a frame"
        );
        let json = serde_json::to_string(&choice).unwrap();
        assert_eq!(serde_json::from_str::<Choice>(&json).unwrap(), choice);
        let bytes = postcard::to_stdvec(&choice).unwrap();
        assert_eq!(postcard::from_bytes::<Choice>(&bytes).unwrap(), choice);
    }
}
