//! A bundle's checks: recorded readings through the pipeline, answers compared with those expected.

use crate::cost::{Counting, ReplayCost};
use crate::files::{Files, FilesError};
use crate::pipeline::{
    FrameError, FrameOutcome, LoadError, LoadOptions, Part, Pipeline, Seen, Value,
};
use crate::replay::{Replay, finish};
use lineside_bundle::{BundleFile, Check, Manifest, Tolerance};
use serde::de::Error as _;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// The reasons of frames that took too long.
const LATE: [&str; 2] = ["frame_time", "plugin_time"];

/// One line of a check's expected answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExpectedFinding {
    /// The stream; empty where the port has no key.
    #[serde(default)]
    pub key: String,
    /// The frame's number within the stream.
    pub frame: u64,
    /// Which of the frame's findings, from 0.
    #[serde(default)]
    pub part: u64,
    /// The outputs, by name. An output that is not named is not compared.
    pub outputs: BTreeMap<String, Value>,
}

/// What the checks showed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CheckReport {
    /// One a check.
    pub checks: Vec<CheckOutcome>,
    /// What all of them took here.
    pub cost: ReplayCost,
    /// The engine that each model was in, by stage.
    pub engines: BTreeMap<String, String>,
}

/// What one check showed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CheckOutcome {
    /// The check's name.
    pub name: String,
    /// Readings replayed.
    pub readings: u64,
    /// Findings compared.
    pub findings: u64,
    /// Largest absolute difference seen, by output.
    pub worst: BTreeMap<String, f64>,
}

/// Why a bundle does not pass its own checks here.
#[derive(Debug, thiserror::Error)]
#[allow(clippy::large_enum_variant)] // Made at most once a bundle.
pub enum CheckError {
    /// It does not even load.
    #[error("the bundle cannot run here")]
    Load(#[from] LoadError),
    /// A file of the check cannot be had.
    #[error("check {check}")]
    File {
        /// The check.
        check: String,
        /// Why.
        source: FilesError,
    },
    /// A file of the check cannot be read.
    #[error("check {check}: {file}: {problem}")]
    Format {
        /// The check.
        check: String,
        /// The file.
        file: String,
        /// What is wrong, with the line.
        problem: String,
    },
    /// A frame without an answer.
    #[error("check {check}: frame {frame} of {key:?} has no answer: {problem}")]
    Frame {
        /// The check.
        check: String,
        /// The stream.
        key: String,
        /// The frame.
        frame: u64,
        /// Why.
        problem: String,
        /// It took too long, and that alone is the matter.
        late: bool,
    },
    /// Another answer than expected.
    #[error("check {check}: {output} of frame {frame} of {key:?} is {got}, expected {expected}")]
    Answer {
        /// The check.
        check: String,
        /// The stream.
        key: String,
        /// The frame.
        frame: u64,
        /// The output.
        output: String,
        /// The answer.
        got: f64,
        /// The answer expected.
        expected: f64,
    },
    /// More or fewer findings than expected, or others.
    #[error("check {check}: finding {number} is {got}, expected {expected}")]
    Findings {
        /// The check.
        check: String,
        /// Which finding, from 1.
        number: usize,
        /// What came.
        got: String,
        /// What was expected.
        expected: String,
    },
}

impl CheckError {
    /// Whether a frame took too long, which the machine may have been to blame for.
    pub fn is_late(&self) -> bool {
        matches!(self, CheckError::Frame { late: true, .. })
    }
}

/// Replays every check of the bundle, each in a fresh pipeline, all with their models in the same engines.
///
/// # Errors
/// [`CheckError`] at the first thing that is not as expected.
pub fn run_checks(
    manifest: &Manifest,
    files: &dyn Files,
    options: &LoadOptions,
) -> Result<CheckReport, CheckError> {
    run_checks_watched(manifest, files, options, &|_| {})
}

/// The same; `begins` hears of each reading of a check before it is replayed, for whoever bounds the time that
/// one may take.
///
/// # Errors
/// As [`run_checks`].
pub fn run_checks_watched(
    manifest: &Manifest,
    files: &dyn Files,
    options: &LoadOptions,
    begins: &dyn Fn(&Check),
) -> Result<CheckReport, CheckError> {
    let mut checks = Vec::new();
    let mut counting = Counting::default();
    let mut options = options.clone();
    for check in &manifest.bundle.checks {
        let (mut pipeline, took) = timed(|| Pipeline::load(manifest, files, &options))?;
        counting.begin(took);
        options.engines.chosen = engines(&pipeline);
        let mut recorder = Recorder { pipeline: &mut pipeline, counting: &mut counting, begins };
        let (got, readings) = replay(&manifest.bundle, &mut recorder, check, files)?;
        counting.end();
        let expected = expected(check, files)?;
        let worst = compare(check, &got, &expected)?;
        checks.push(CheckOutcome {
            name: check.name.clone(),
            readings,
            findings: got.len() as u64,
            worst,
        });
    }
    if checks.is_empty() {
        // Without checks there is still the question whether it loads.
        let (pipeline, took) = timed(|| Pipeline::load(manifest, files, &options))?;
        counting.begin(took);
        options.engines.chosen = engines(&pipeline);
    }
    Ok(CheckReport { checks, cost: counting.cost(), engines: options.engines.chosen })
}

fn engines(pipeline: &Pipeline) -> BTreeMap<String, String> {
    pipeline.engines().into_iter().map(|(stage, engine)| (stage, engine.to_owned())).collect()
}

/// The same, once more where a frame took too long: a machine that is busy for a moment is no fault of
/// an engine that answers rightly.
///
/// # Errors
/// As [`run_checks`].
pub fn run_checks_patiently(
    manifest: &Manifest,
    files: &dyn Files,
    options: &LoadOptions,
) -> Result<CheckReport, CheckError> {
    patiently(|| run_checks(manifest, files, options))
}

fn patiently<T>(mut run: impl FnMut() -> Result<T, CheckError>) -> Result<T, CheckError> {
    run().or_else(|error| if error.is_late() { run() } else { Err(error) })
}

fn timed<T, E>(work: impl FnOnce() -> Result<T, E>) -> Result<(T, Duration), E> {
    let started = Instant::now();
    work().map(|done| (done, started.elapsed()))
}

/// Makes the expected answers of a check by running the bundle itself: a record, not a proof.
///
/// # Errors
/// [`CheckError`].
pub fn record(
    manifest: &Manifest,
    files: &dyn Files,
    check: &Check,
    options: &LoadOptions,
) -> Result<String, CheckError> {
    record_watched(manifest, files, check, options, &|_| {})
}

/// The same; `begins` hears of each reading before it is replayed.
///
/// # Errors
/// [`CheckError`].
pub fn record_watched(
    manifest: &Manifest,
    files: &dyn Files,
    check: &Check,
    options: &LoadOptions,
    begins: &dyn Fn(&Check),
) -> Result<String, CheckError> {
    let mut pipeline = Pipeline::load(manifest, files, options)?;
    let mut unused = Counting::default();
    let mut recorder = Recorder { pipeline: &mut pipeline, counting: &mut unused, begins };
    let (findings, _) = replay(&manifest.bundle, &mut recorder, check, files)?;
    Ok(findings.iter().map(ExpectedFinding::line).collect())
}

/// The models as the checks show them, with so many frames at the most. What the checks say of the
/// answers is not looked at here.
///
/// # Errors
/// [`CheckError::Load`].
pub(crate) fn watch_models(
    manifest: &Manifest,
    files: &dyn Files,
    options: &LoadOptions,
    frames_max: usize,
) -> Result<BTreeMap<String, Seen>, CheckError> {
    let mut seen = Pipeline::load(manifest, files, options)?.models();
    for check in &manifest.bundle.checks {
        if seen.values().all(|seen| seen.frames.len() == frames_max) {
            break;
        }
        let mut pipeline = Pipeline::load(manifest, files, options)?;
        pipeline.record_models(frames_max);
        // An error ends it, and is found by whoever compares.
        let _ = show(&manifest.bundle, &mut pipeline, check, files);
        for (stage, model) in pipeline.models() {
            if let Some(seen) = seen.get_mut(&stage) {
                let more = frames_max - seen.frames.len();
                seen.frames.extend(model.frames.into_iter().take(more));
            }
        }
    }
    Ok(seen)
}

/// Shows the models of a pipeline a check, until they have kept as many frames as they are to keep.
fn show(
    bundle: &BundleFile,
    pipeline: &mut Pipeline,
    check: &Check,
    files: &dyn Files,
) -> Result<(), CheckError> {
    let bytes = file(check, &check.input, files)?;
    let mut replay = opened(bundle, check, &bytes)?;
    while let Some(outcomes) = replay.push(pipeline) {
        for outcome in outcomes.map_err(|error| wrong(check, error.to_string()))? {
            answered(check, outcome)?;
        }
        if pipeline.has_recorded() {
            break;
        }
    }
    Ok(())
}

fn opened<'a>(
    bundle: &BundleFile,
    check: &Check,
    bytes: &'a [u8],
) -> Result<Replay<&'a [u8]>, CheckError> {
    Replay::open(bundle, bytes).map_err(|error| wrong(check, error.to_string()))
}

pub(crate) fn wrong(check: &Check, problem: String) -> CheckError {
    CheckError::Format { check: check.name.clone(), file: check.input.clone(), problem }
}

/// What a check is replayed with.
struct Recorder<'a> {
    pipeline: &'a mut Pipeline,
    counting: &'a mut Counting,
    begins: &'a dyn Fn(&Check),
}

fn replay(
    bundle: &BundleFile,
    Recorder { pipeline, counting, begins }: &mut Recorder<'_>,
    check: &Check,
    files: &dyn Files,
) -> Result<(Vec<ExpectedFinding>, u64), CheckError> {
    let bytes = file(check, &check.input, files)?;
    let mut replay = opened(bundle, check, &bytes)?;
    let mut findings = Vec::new();
    begins(check);
    while let Some(outcomes) = replay.push(pipeline) {
        begins(check);
        for outcome in outcomes.map_err(|error| wrong(check, error.to_string()))? {
            counting.frame(outcome.elapsed);
            findings.extend(answered(check, outcome)?);
        }
    }
    for outcomes in finish(pipeline) {
        begins(check);
        for outcome in outcomes {
            counting.frame(outcome.elapsed);
            findings.extend(answered(check, outcome)?);
        }
    }
    Ok((findings, replay.readings()))
}

fn answered(check: &Check, outcome: FrameOutcome) -> Result<Vec<ExpectedFinding>, CheckError> {
    let (key, frame) = (outcome.key.clone(), outcome.frame);
    ExpectedFinding::of(outcome).map_err(|error| CheckError::Frame {
        check: check.name.clone(),
        key,
        frame,
        problem: error.to_string(),
        late: LATE.contains(&error.reason()),
    })
}

impl ExpectedFinding {
    /// The findings of a frame, as a check would expect them.
    ///
    /// # Errors
    /// Why the frame has no answer.
    pub fn of(outcome: FrameOutcome) -> Result<Vec<ExpectedFinding>, FrameError> {
        let FrameOutcome { key, frame, result, .. } = outcome;
        let finding = |(part, found): (usize, Part)| ExpectedFinding {
            key: key.clone(),
            frame,
            part: part as u64,
            outputs: found.outputs,
        };
        Ok(result?.into_iter().enumerate().map(finding).collect())
    }

    /// Reads expected answers: a finding a line.
    ///
    /// # Errors
    /// The first line that is none, by number.
    pub fn read(text: &str) -> Result<Vec<ExpectedFinding>, String> {
        let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
        let finding = |(number, line): (usize, &str)| {
            written(line).map_err(|error| format!("line {}: {error}", number + 1))
        };
        lines.map(finding).collect()
    }

    /// The line that says it.
    pub fn line(&self) -> String {
        let line = serde_json::to_string(self);
        line.expect("a finding has string keys and finite numbers") + "\n"
    }
}

/// An [`ExpectedFinding`] whose numbers are still the texts that they are in the file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written<'a> {
    #[serde(default)]
    key: String,
    frame: u64,
    #[serde(default)]
    part: u64,
    #[serde(borrow)]
    outputs: BTreeMap<String, &'a RawValue>,
}

fn written(line: &str) -> serde_json::Result<ExpectedFinding> {
    let Written { key, frame, part, outputs } = serde_json::from_str(line)?;
    let outputs = outputs.into_iter().map(|(name, text)| {
        let value = exactly(text)
            .map_err(|error| serde_json::Error::custom(format!("output {name}: {error}")));
        value.map(|value| (name, value))
    });
    Ok(ExpectedFinding { key, frame, part, outputs: outputs.collect::<serde_json::Result<_>>()? })
}

/// The value that a text says. serde_json reads some numbers as a neighbour of the nearest that there is,
/// and an answer that was recorded would not be the same any more.
fn exactly(text: &RawValue) -> serde_json::Result<Value> {
    Ok(match serde_json::from_str(text.get())? {
        Value::Number(close) => Value::Number(text.get().parse().unwrap_or(close)),
        other => other,
    })
}

/// The answers that a check expects.
///
/// # Errors
/// [`CheckError::Format`], with the line.
pub(crate) fn expected(
    check: &Check,
    files: &dyn Files,
) -> Result<Vec<ExpectedFinding>, CheckError> {
    let bytes = file(check, &check.expected, files)?;
    ExpectedFinding::read(&String::from_utf8_lossy(&bytes)).map_err(|problem| CheckError::Format {
        check: check.name.clone(),
        file: check.expected.clone(),
        problem,
    })
}

pub(crate) fn file(check: &Check, path: &str, files: &dyn Files) -> Result<Vec<u8>, CheckError> {
    files.read(path).map_err(|source| CheckError::File { check: check.name.clone(), source })
}

fn compare(
    check: &Check,
    got: &[ExpectedFinding],
    expected: &[ExpectedFinding],
) -> Result<BTreeMap<String, f64>, CheckError> {
    let mut worst = BTreeMap::new();
    for number in 0..got.len().max(expected.len()) {
        let name = |finding: Option<&ExpectedFinding>| {
            finding.map_or("missing".to_owned(), |f| {
                format!("frame {} part {} of {:?}", f.frame, f.part, f.key)
            })
        };
        let (found, wanted) = (got.get(number), expected.get(number));
        let (Some(finding), Some(want)) = (found, wanted) else {
            return Err(findings(check, number, name(found), name(wanted)));
        };
        if name(found) != name(wanted) {
            return Err(findings(check, number, name(found), name(wanted)));
        }
        for (output, want_value) in &want.outputs {
            let Some(value) = finding.outputs.get(output) else {
                let got = format!("without {output}");
                return Err(findings(check, number, got, format!("{output} = {want_value}")));
            };
            let tolerance = check.tolerance.get(output).copied().unwrap_or(Tolerance::default());
            let (value, expected) = (value.as_f64(), want_value.as_f64());
            if !tolerance.allows(expected, value) {
                return Err(CheckError::Answer {
                    check: check.name.clone(),
                    key: finding.key.clone(),
                    frame: finding.frame,
                    output: output.clone(),
                    got: value,
                    expected,
                });
            }
            let difference = (value - expected).abs();
            let seen = worst.entry(output.clone()).or_insert(0.0);
            *seen = f64::max(*seen, difference);
        }
    }
    Ok(worst)
}

fn findings(check: &Check, number: usize, got: String, expected: String) -> CheckError {
    CheckError::Findings { check: check.name.clone(), number: number + 1, got, expected }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::Unused;
    use crate::pipeline::{Fault, FrameError};

    #[test]
    fn only_a_frame_that_took_too_long_is_tried_once_more() {
        let runs = |answers: &[Option<bool>]| {
            let mut left = answers.iter();
            let mut count = 0;
            let ran = patiently(|| {
                count += 1;
                left.next().unwrap().map_or(Ok(()), |late| {
                    let (check, key, problem) = ("own".into(), "a".into(), "it has none".into());
                    Err(CheckError::Frame { check, key, frame: 7, problem, late })
                })
            });
            (ran.is_ok(), count)
        };
        assert_eq!(runs(&[None]), (true, 1));
        assert_eq!(runs(&[Some(true), None]), (true, 2));
        assert_eq!(runs(&[Some(true), Some(true)]), (false, 2));
        assert_eq!(runs(&[Some(true), Some(false)]), (false, 2));
        assert_eq!(runs(&[Some(false)]), (false, 1));
    }

    #[test]
    fn a_frame_without_an_answer_in_time_is_late_and_no_other_is() {
        for (reason, is_late) in [
            (Fault::FrameTime, true),
            (Fault::PluginTime, true),
            (Fault::NotFinite, false),
            (Fault::Model, false),
        ] {
            let problem = "it has none".to_owned();
            let error = FrameError::Stage { stage: "judge".into(), fault: reason, problem };
            let outcome = FrameOutcome {
                key: String::new(),
                frame: 0,
                first: 0,
                last: 3,
                spans: vec![],
                unused: Unused::default(),
                time_unix_ns: 0,
                result: Err(error),
                instead: None,
                said: Default::default(),
                elapsed: Duration::ZERO,
            };
            let error = answered(&check(), outcome).unwrap_err();
            assert_eq!(error.is_late(), is_late, "{error}");
        }
    }

    #[test]
    fn what_is_recorded_is_read_bit_for_bit() {
        let numbers = (1..2000).map(|at| Value::Number(f64::from((at as f32).sqrt() / 7.0)));
        let others = [Value::Bool(true), Value::Integer(i64::MIN), Value::Number(-3.0)];
        let outputs = numbers.chain(others).zip(0..).map(|(value, at)| (format!("y{at}"), value));
        let finding =
            ExpectedFinding { key: "ö\n".into(), frame: 7, part: 2, outputs: outputs.collect() };
        let read = ExpectedFinding::read(&format!("\n{}", finding.line())).unwrap();
        assert_eq!(read, [finding]);
        let said = |text: &str| ExpectedFinding::read(text).unwrap_err();
        assert!(said("\n{\"frame\": 1}").starts_with("line 2: missing field `outputs`"));
        assert!(said("{\"frame\": 1, \"outputs\": {\"y\": \"x\"}}").starts_with("line 1: "));
        assert!(said("{\"frame\": 1, \"outputs\": {}, \"x\": 1}").contains("unknown field `x`"));
    }

    fn check() -> Check {
        Check {
            name: "own".into(),
            input: "in.csv".into(),
            expected: "out.jsonl".into(),
            tolerance: BTreeMap::new(),
        }
    }
}
