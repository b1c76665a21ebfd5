//! Which engine runs each model on this machine: measured once, where a release is staged.
//!
//! The engine that comes first stays unless another is clearly faster than the noise of the
//! measurement, and passes the bundle's checks.

use crate::check::{CheckError, run_checks, watch_models};
use crate::engine::{Engine, EngineError, Engines, OnnxModel, Operator, engine, fit};
use crate::files::Files;
use crate::pipeline::{LoadError, LoadOptions, Seen};
use crate::tensor::{Port, Tensor};
use lineside_bundle::{Manifest, Stage};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::iter::successors;
use std::time::{Duration, Instant};

/// Frames of the checks on which engines are timed.
const FRAMES_MAX: usize = 16;
/// Rounds, in each of which every engine runs every frame.
const ROUNDS_MAX: usize = 15;
/// Rounds after which a slow model has been timed enough when its time is over.
const ROUNDS_MIN: usize = 5;
/// Longest that the rounds of one model may take, beyond the least.
const TIME_MAX: Duration = Duration::from_secs(3);
/// Longest that an engine's turn in a round is to take: fewer frames of a slow model are as good.
const TURN_MAX: Duration = Duration::from_millis(200);
/// Characters of the reason why an engine does not run a model.
const REASON_MAX: usize = 200;
/// How much of the other's time an engine may need at the most to be chosen in its place. The same
/// model in the same engine was seen to differ by a third from one start to the next.
const CLEARLY: f64 = 0.8;

/// Which engine was chosen for each model, by stage.
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

impl Choice {
    /// The engines chosen, by stage.
    pub fn engines(&self) -> BTreeMap<String, String> {
        let models = self.models.iter();
        models.map(|(stage, measured)| (stage.clone(), measured.engine.clone())).collect()
    }

    /// Whether it is one for this bundle: of its models, among the engines that there are. A worker
    /// that was taken over by what it ran may say anything.
    pub fn is_for(&self, manifest: &Manifest) -> bool {
        self.models.iter().all(|(stage, measured)| {
            matches!(manifest.bundle.stages.get(stage), Some(Stage::Model { .. }))
                && engine(&measured.engine).is_ok()
                && measured.figures.iter().all(|(name, figure)| {
                    let is_told = match figure {
                        Figure::Timed { .. } => true,
                        Figure::Refused(reason) => reason.chars().count() <= REASON_MAX,
                    };
                    is_told && engine(name).is_ok()
                })
        })
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

/// Whether there is anything to choose for a bundle: a model that several engines may run, as far as
/// its manifest tells.
pub fn is_choice(manifest: &Manifest, engines: &Engines) -> bool {
    manifest.bundle.stages.iter().any(|(name, stage)| {
        let Stage::Model { file, engine, .. } = stage else { return false };
        let Some(used) = manifest.operators.get(file) else { return false };
        let used: Vec<Operator> = used.iter().map(|text| Operator::parse(text)).collect();
        let engines = engines.of(name, engine.as_deref());
        engines.is_ok_and(|engines| fit(&engines, &used).is_ok_and(|fit| fit.len() > 1))
    })
}

/// Chooses the engine of each model: loads those that may run it, times them on frames of the checks,
/// and has the checks passed by whatever is chosen in place of the first.
///
/// # Errors
/// [`CheckError`] where the checks are passed in no engine.
pub fn choose(
    manifest: &Manifest,
    files: &dyn Files,
    options: &LoadOptions,
) -> Result<Choice, CheckError> {
    let seen = watch_models(manifest, files, options, FRAMES_MAX)?;
    let Passing { engines: mut chosen, mut wrong } = passing(manifest, files, options, &seen)?;
    let mut choice = Choice::default();
    for (stage, seen) in &seen {
        let mut tried = candidates(manifest, files, options, stage, &seen.ports)?;
        let mut figures = time(&mut tried, &seen.frames);
        figures.extend(wrong.remove(stage).map(|figure| (seen.engine.to_owned(), figure)));
        let engine = settled(&chosen[stage], &mut figures, |other| {
            let mut changed = chosen.clone();
            changed.insert(stage.clone(), other.to_owned());
            run_checks(manifest, files, &with(options, &changed)).map(drop)
        });
        chosen.insert(stage.clone(), engine.clone());
        choice.models.insert(stage.clone(), Measured { engine, figures });
    }
    Ok(choice)
}

/// Engines in which a bundle passes its checks.
struct Passing {
    /// By stage.
    engines: BTreeMap<String, String>,
    /// What is the matter with the engine that comes first, for a stage where it does not pass.
    wrong: BTreeMap<String, Figure>,
}

/// Finds engines in which the bundle passes its checks: those that come first, or the first change to
/// them that helps.
fn passing(
    manifest: &Manifest,
    files: &dyn Files,
    options: &LoadOptions,
    seen: &BTreeMap<String, Seen>,
) -> Result<Passing, CheckError> {
    let engines = seen.iter().map(|(stage, seen)| (stage.clone(), seen.engine.to_owned()));
    let engines: BTreeMap<String, String> = engines.collect();
    let first = match run_checks(manifest, files, &with(options, &engines)) {
        Ok(_) => return Ok(Passing { engines, wrong: BTreeMap::new() }),
        Err(error) => error,
    };
    for (stage, seen) in seen {
        for (other, loaded) in candidates(manifest, files, options, stage, &seen.ports)? {
            if seen.engine == other || loaded.is_err() {
                continue;
            }
            let mut changed = engines.clone();
            changed.insert(stage.clone(), other);
            if run_checks(manifest, files, &with(options, &changed)).is_ok() {
                let wrong = BTreeMap::from([(stage.clone(), refused(&first))]);
                return Ok(Passing { engines: changed, wrong });
            }
        }
    }
    Err(first)
}

fn with(options: &LoadOptions, chosen: &BTreeMap<String, String>) -> LoadOptions {
    let engines = Engines { chosen: chosen.clone(), ..options.engines.clone() };
    LoadOptions { engines, ..options.clone() }
}

/// An engine's name, and the model in it, or why it is not.
type Candidate = (String, Result<Box<dyn Engine>, EngineError>);

/// Each engine that may run the model of a stage, as far as its operators tell: of one that lacks some
/// there is nothing to measure, and nothing to tell.
fn candidates(
    manifest: &Manifest,
    files: &dyn Files,
    options: &LoadOptions,
    stage: &str,
    ports: &[Port],
) -> Result<Vec<Candidate>, CheckError> {
    let Some(Stage::Model { file, engine, .. }) = manifest.bundle.stages.get(stage) else {
        return Ok(vec![]);
    };
    let failed = |source| {
        CheckError::Load(LoadError::Model { stage: stage.to_owned(), file: file.clone(), source })
    };
    let bytes = files
        .read(file)
        .map_err(|source| CheckError::Load(LoadError::File { stage: stage.to_owned(), source }))?;
    let model = OnnxModel::read(&bytes).map_err(failed)?;
    let engines = options.engines.of(stage, engine.as_deref()).map_err(failed)?;
    let engines = fit(&engines, &model.facts().operators)
        .map_err(|refusal| failed(EngineError::Refused(refusal)))?;
    let engines = engines.into_iter().map(|engine| {
        let loaded = model.load(&[engine], ports).map(|(_, loaded)| loaded);
        (engine.name().to_owned(), loaded)
    });
    Ok(engines.collect())
}

/// Times each candidate on the frames, one after the other in every round.
fn time(candidates: &mut [Candidate], frames: &[Vec<Tensor>]) -> BTreeMap<String, Figure> {
    let mut figures = BTreeMap::new();
    let mut rounds: BTreeMap<&str, Vec<Duration>> = BTreeMap::new();
    let mut running: Vec<(&str, &mut Box<dyn Engine>)> = Vec::new();
    for (name, loaded) in candidates {
        match loaded {
            Ok(engine) => running.push((name, engine)),
            Err(error) => drop(figures.insert(name.clone(), refused(&*error))),
        }
    }
    let started = Instant::now();
    let mut count = frames.len();
    for round in 0..ROUNDS_MAX {
        if round >= ROUNDS_MIN && started.elapsed() > TIME_MAX {
            break;
        }
        // Whoever always came second would find the caches full of the other's weights.
        running.reverse();
        let mut slowest = Duration::ZERO;
        running.retain_mut(|(name, engine)| {
            let mut times = Vec::with_capacity(frames.len());
            for frame in &frames[..count] {
                let inputs: Vec<&Tensor> = frame.iter().collect();
                let begun = Instant::now();
                if let Err(error) = engine.run(&inputs) {
                    figures.insert((*name).to_owned(), refused(&error));
                    rounds.remove(name);
                    return false;
                }
                times.push(begun.elapsed());
            }
            times.sort_unstable();
            let median = times.get(times.len() / 2).copied();
            slowest = slowest.max(median.unwrap_or_default());
            // The first round is cold.
            if round > 0 {
                rounds.entry(name).or_default().extend(median);
            }
            true
        });
        let turns = TURN_MAX.as_nanos().checked_div(slowest.as_nanos()).unwrap_or(u128::MAX);
        count = count.min(usize::try_from(turns.max(1)).unwrap_or(usize::MAX));
    }
    // A model that the checks do not reach has no figures.
    for (name, mut medians) in rounds.into_iter().filter(|(_, medians)| !medians.is_empty()) {
        medians.sort_unstable();
        let quartile = |quarters: usize| medians[(medians.len() - 1) * quarters / 4];
        let timed = Figure::Timed { low: quartile(1), median: quartile(2), high: quartile(3) };
        figures.insert(name.to_owned(), timed);
    }
    figures
}

/// With the causes: that a bundle cannot run says nothing without them.
fn refused(error: &(dyn Error + 'static)) -> Figure {
    let causes: Vec<String> =
        successors(Some(error), |&error| error.source()).map(ToString::to_string).collect();
    Figure::Refused(causes.join(": ").chars().take(REASON_MAX).collect())
}

/// The engine for a model: the fastest of those that are clearly faster than `base` and in which the
/// bundle passes its checks, or else `base`.
fn settled(
    base: &str,
    figures: &mut BTreeMap<String, Figure>,
    passes: impl Fn(&str) -> Result<(), CheckError>,
) -> String {
    for other in faster(base, figures) {
        match passes(&other) {
            Ok(()) => return other,
            Err(error) => drop(figures.insert(other, refused(&error))),
        }
    }
    base.to_owned()
}

/// The engines that are clearly faster than `base`, the fastest first.
fn faster(base: &str, figures: &BTreeMap<String, Figure>) -> impl Iterator<Item = String> + use<> {
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
    faster.into_iter().map(|(_, engine)| engine)
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_pointer_width = "64")]
    use {
        crate::engine::{field, model, node, value},
        crate::files::MemoryFiles,
        crate::tensor::Element,
        lineside_bundle::{BuiltBundle, BundleFile, build},
    };

    fn timed(quartiles: [u64; 3]) -> Figure {
        let [low, median, high] = quartiles.map(Duration::from_micros);
        Figure::Timed { low, median, high }
    }

    fn chosen(figures: &[(&str, Figure)]) -> String {
        let figures = figures.iter().map(|(name, figure)| ((*name).to_owned(), figure.clone()));
        faster("tract", &figures.collect()).collect::<Vec<_>>().join(" ")
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
    fn the_fastest_engine_that_passes_the_checks_is_chosen_and_of_the_others_it_is_told_why_not() {
        let settled = |wrong: &[&str]| {
            let mut figures = BTreeMap::from([
                ("tract".to_owned(), timed([90, 100, 120])),
                ("a".to_owned(), timed([20, 30, 40])),
                ("b".to_owned(), timed([10, 20, 30])),
            ]);
            let engine = settled("tract", &mut figures, |engine| {
                let problem = format!("{engine} is not right");
                let (check, file) = ("own".to_owned(), "out.jsonl".to_owned());
                let error = CheckError::Format { check, file, problem };
                if wrong.contains(&engine) { Err(error) } else { Ok(()) }
            });
            let refused = figures.into_values().filter_map(|figure| match figure {
                Figure::Refused(reason) => Some(reason),
                Figure::Timed { .. } => None,
            });
            (engine, refused.collect::<Vec<_>>().join("; "))
        };
        let is = |engine: &str, refused: &str| (engine.to_owned(), refused.to_owned());
        assert_eq!(settled(&[]), is("b", ""));
        assert_eq!(settled(&["a"]), is("b", ""), "slower ones are not tried");
        let b = "check own: out.jsonl: b is not right";
        assert_eq!(settled(&["b"]), is("a", b));
        let both = format!("check own: out.jsonl: a is not right; {b}");
        assert_eq!(settled(&["a", "b"]), is("tract", &both));
    }

    /// A bundle with a model that squares in half precision, and takes the root: beyond 255 an engine
    /// that computes in halves has no answer.
    #[cfg(target_pointer_width = "64")]
    fn in_halves() -> BuiltBundle {
        let bundle = "format = 1\nname = 'halves'\nversion = '1'\n\
             inputs.p = { key = 'k', rate_hz = 1.0, fields = [{ name = 'a' }] }\n\
             stages.w = { kind = 'window', input = 'p', rows = 1, stride = 1 }\n\
             stages.judge = { kind = 'model', file = 'm.onnx', inputs = { x = 'w' } }\n\
             outputs.y.from = 'judge.y'\n\
             [[checks]]\nname = 'own'\ninput = 'in.csv'\nexpected = 'out.jsonl'\n";
        let line = |frame: u32, y: u32| {
            format!("{{\"key\":\"s\",\"frame\":{frame},\"outputs\":{{\"y\":{y}.0}}}}\n")
        };
        let files = BTreeMap::from([
            ("m.onnx".to_owned(), halves()),
            ("in.csv".to_owned(), b"k,a\ns,3.0\ns,300.0\n".to_vec()),
            ("out.jsonl".to_owned(), (line(0, 3) + &line(1, 300)).into_bytes()),
        ]);
        build(BundleFile::parse(bundle).unwrap(), files).unwrap()
    }

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
    fn where_the_first_engine_does_not_pass_the_checks_one_that_does_runs_the_model() {
        let bundle = in_halves();
        let files = MemoryFiles(&bundle);
        let choice = choose(&bundle.manifest, &files, &LoadOptions::default()).unwrap();
        let judge = &choice.models["judge"];
        assert_eq!(judge.engine, "rten");
        assert!(matches!(judge.figures["rten"], Figure::Timed { .. }), "{choice}");
        let told = "tract not: check own: frame 1 of \"s\" has no answer: stage judge: \
                    output y is not finite";
        assert!(choice.to_string().ends_with(told), "{choice}");
        // Where the device's settings say which, no other takes over.
        let engines = Engines { site: Some("tract".into()), ..Engines::default() };
        let options = LoadOptions { engines, ..LoadOptions::default() };
        let error = choose(&bundle.manifest, &files, &options).unwrap_err();
        assert!(matches!(error, CheckError::Frame { .. }), "{error}");
    }

    #[test]
    #[cfg(target_pointer_width = "64")]
    fn a_choice_for_another_bundle_or_among_other_engines_is_none() {
        let manifest = in_halves().manifest;
        let is_for = |stage: &str, engine: &str, figures: &[(&str, Figure)]| {
            let figures = figures.iter().map(|(name, it)| ((*name).to_owned(), it.clone()));
            let measured = Measured { engine: engine.into(), figures: figures.collect() };
            Choice { models: BTreeMap::from([(stage.to_owned(), measured)]) }.is_for(&manifest)
        };
        let refused = |length| Figure::Refused("ö".repeat(length));
        assert!(is_for("judge", "rten", &[("tract", refused(REASON_MAX))]));
        assert!(is_for("judge", "tract", &[("tract", timed([1, 2, 3]))]));
        assert!(!is_for("w", "tract", &[]), "a window has no engine");
        assert!(!is_for("other", "tract", &[]));
        assert!(!is_for("judge", "abacus", &[]));
        assert!(!is_for("judge", "tract", &[("abacus", timed([1, 2, 3]))]));
        assert!(!is_for("judge", "tract", &[("tract", refused(REASON_MAX + 1))]));
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
