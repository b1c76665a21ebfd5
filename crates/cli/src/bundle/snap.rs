//! `lineside bundle build --snap-from`: models rounded towards those of an older bundle, so that little
//! has to be sent to the devices that hold it, and what shows that they still answer alike.

use super::{open, replayed, size, source};
use crate::engines::options;
use crate::output::Output;
use crate::watch::{Patience, Watch, WatchedFiles};
use anyhow::{Context, bail};
use clap::Args;
use lineside_bundle::{BuiltBundle, Check, Digest, Snapped, SnappedModel, Stage, build_snapped};
use lineside_delta::{make, snap};
use lineside_runtime::{
    CheckError, ExpectedFinding, Files, FilesError, MemoryFiles, record_watched,
};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

/// Tried where no tolerance is given, coarsest first.
const TOLERANCES: [f64; 16] =
    [32.0, 24.0, 16.0, 12.0, 8.0, 6.0, 4.0, 2.0, 1.0, 0.5, 0.25, 0.12, 0.06, 0.03, 0.015, 0.008];

/// What the command line says of rounding.
#[derive(Args)]
pub struct SnapArguments {
    /// Round each model's update from this bundle's, so that devices which have it need few bytes. What
    /// is built, and to be signed, are the rounded models.
    #[arg(long, value_name = "OLD.lsb")]
    snap_from: Option<PathBuf>,
    /// Round to steps of this share of an update's root mean square; else the coarsest that passes the
    /// checks and agrees is looked for.
    #[arg(long, value_name = "SHARE", requires = "snap_from")]
    snap_tolerance: Option<f64>,
    /// Also compare the answers to this recording, a CSV as `lineside-agent run` replays; may be
    /// repeated. The recordings of the checks are compared in any case.
    #[arg(long, value_name = "CSV", requires = "snap_from")]
    snap_data: Vec<PathBuf>,
    /// How far an output may move by rounding, in its unit, as in `--snap-within probability=0.02`;
    /// else as far as the shadow table or a check allows.
    #[arg(long, value_name = "OUTPUT=DISTANCE", requires = "snap_from")]
    snap_within: Vec<String>,
    /// Share of the findings that have to be alike.
    #[arg(long, value_name = "SHARE", default_value_t = 0.995, requires = "snap_from")]
    snap_agreement: f64,
}

impl SnapArguments {
    /// What is wanted, if anything.
    ///
    /// # Errors
    /// A number that is none, or makes no sense.
    pub fn of(self, record_checks: bool) -> anyhow::Result<Option<Snap>> {
        let Some(from) = self.snap_from else { return Ok(None) };
        if !(0.0..=1.0).contains(&self.snap_agreement) {
            bail!("--snap-agreement {}: a share lies between 0 and 1", self.snap_agreement);
        }
        let mut within = BTreeMap::new();
        for text in self.snap_within {
            let parsed = text.split_once('=').and_then(|(output, distance)| {
                let distance: f64 = distance.parse().ok().filter(|distance| *distance >= 0.0)?;
                Some((output.to_owned(), distance))
            });
            let (output, distance) =
                parsed.with_context(|| format!("--snap-within {text}: write OUTPUT=DISTANCE"))?;
            within.insert(output, distance);
        }
        Ok(Some(Snap {
            from,
            tolerance: self.snap_tolerance,
            data: self.snap_data,
            within,
            agreement_min: self.snap_agreement,
            record_checks,
        }))
    }
}

/// How to round.
pub struct Snap {
    from: PathBuf,
    tolerance: Option<f64>,
    data: Vec<PathBuf>,
    within: BTreeMap<String, f64>,
    agreement_min: f64,
    record_checks: bool,
}

/// A model, and the older bundle's that it was trained on from.
struct Pair<'a> {
    path: &'a str,
    old: &'a [u8],
    exact: &'a [u8],
}

/// Bytes of files or recordings, by path or name.
type Named = BTreeMap<String, Vec<u8>>;

/// Answers to recordings, by recording, key, frame and part.
type Answers = BTreeMap<(String, String, u64, u64), BTreeMap<String, f64>>;

/// How far two bundles answer alike.
#[derive(Default)]
struct Agreement {
    compared: u64,
    agreed: u64,
    /// Where they are farthest apart, by how many times what is allowed.
    farthest: Option<(f64, String)>,
    /// How far each output has moved that has moved too far.
    moved: BTreeMap<String, f64>,
}

/// Why a rounded bundle is none to be sent.
enum Refusal {
    Checks(CheckError),
    Agreement(Agreement),
}

impl Snap {
    /// Rounds the models of `exact`, to the tolerance given or the coarsest that will do.
    ///
    /// # Errors
    /// If no tolerance will do: with the figures.
    pub fn round(
        &self,
        exact: BuiltBundle,
        patience: &Patience,
        output: &Output,
    ) -> anyhow::Result<BuiltBundle> {
        let old = open(&self.from, output)?;
        let id = exact.release_id();
        if old.release_id().name != id.name {
            bail!(
                "{} is {}: {id} can only be rounded towards an older {}, which devices hold",
                self.from.display(),
                old.release_id(),
                id.name
            );
        }
        for output in self.within.keys() {
            if !exact.manifest.bundle.outputs.contains_key(output) {
                bail!("--snap-within {output}: {id} has no such output");
            }
        }
        let pairs = pairs(&old, &exact);
        if pairs.is_empty() {
            bail!(
                "{} has no model that differs from this bundle's of the same stage",
                self.from.display()
            );
        }
        let recordings = self.recordings(&exact)?;
        let _working = output.working(format!("rounding {id} towards {}", old.release_id()));
        let watch = Watch::over_checks(&id.to_string(), patience, output);
        let before = answers(&exact, &recordings, &watch)
            .with_context(|| format!("{id} before rounding"))?;
        let given = self.tolerance.map(|tolerance| [tolerance]);
        let tolerances = given.as_ref().map_or(&TOLERANCES[..], |given| given);
        let mut refused = None;
        for tolerance in tolerances {
            watch.anew();
            let share = lineside_delta::Tolerance::new(*tolerance)
                .with_context(|| format!("--snap-tolerance {tolerance}: more than 0 is needed"))?;
            let models: Named = pairs
                .iter()
                .map(|pair| (pair.path.to_owned(), snap(pair.old, pair.exact, share)))
                .collect();
            match self.attempt(&exact, &models, &before, &recordings, &watch)? {
                Ok((files, agreement)) => {
                    let snapped = Snapped {
                        from: old.release_id().digest,
                        tolerance: *tolerance,
                        models: pairs.iter().map(|pair| noted(pair, &models[pair.path])).collect(),
                        compared: agreement.compared,
                        agreed: agreement.agreed,
                    };
                    return Ok(build_snapped(&exact, files, Some(snapped))?);
                }
                Err(refusal) => refused = Some((tolerance, refusal)),
            }
        }
        match refused {
            Some((tolerance, Refusal::Checks(error))) => Err(error).with_context(|| {
                format!(
                    "{id} rounded to {tolerance} of its update does not pass; --record-checks takes \
                     the rounded bundle's own answers"
                )
            }),
            Some((tolerance, Refusal::Agreement(agreement))) => bail!(
                "{id} rounded to {tolerance} of its update answers otherwise: {}, {:.2} % are wanted{}{}",
                agreement.told(),
                100.0 * self.agreement_min,
                agreement.would_do(),
                agreement.farthest.map_or(String::new(), |(_, told)| format!("; {told}"))
            ),
            None => bail!("no tolerance to try"),
        }
    }

    /// The recordings to compare answers to, by name.
    fn recordings(&self, exact: &BuiltBundle) -> anyhow::Result<Named> {
        let mut recordings = BTreeMap::new();
        for check in &exact.manifest.bundle.checks {
            let bytes = exact.file(&check.input).unwrap_or_default();
            recordings.insert(check.input.clone(), bytes.to_vec());
        }
        for path in &self.data {
            let name = path.display().to_string();
            let bytes = std::fs::read(path).with_context(|| format!("cannot read {name}"))?;
            recordings.insert(name, bytes);
        }
        if recordings.is_empty() {
            bail!("nothing shows whether rounding harms: a check or --snap-data CSV is needed");
        }
        Ok(recordings)
    }

    /// Builds the bundle with rounded models; the files that differ, if its checks pass and it answers
    /// as before.
    fn attempt(
        &self,
        exact: &BuiltBundle,
        models: &Named,
        before: &Answers,
        recordings: &Named,
        watch: &Watch,
    ) -> anyhow::Result<Result<(Named, Agreement), Refusal>> {
        let mut files = models.clone();
        let mut rounded = build_snapped(exact, files.clone(), None)?;
        let after = match answers(&rounded, recordings, watch) {
            Ok(after) => after,
            Err(error) => return Ok(Err(Refusal::Checks(error))),
        };
        let agreement = self.agreement(exact, before, &after);
        if (agreement.agreed as f64) < self.agreement_min * agreement.compared as f64 {
            return Ok(Err(Refusal::Agreement(agreement)));
        }
        if self.record_checks {
            files.extend(source::recorded_checks(&rounded, watch)?);
            rounded = build_snapped(exact, files.clone(), None)?;
        }
        let checked = replayed(&rounded, watch);
        Ok(match checked {
            Ok(_) => Ok((files, agreement)),
            Err(error) => Err(Refusal::Checks(error)),
        })
    }

    fn agreement(&self, exact: &BuiltBundle, before: &Answers, after: &Answers) -> Agreement {
        let mut agreement = Agreement::default();
        let mut places: Vec<_> = before.keys().chain(after.keys()).collect();
        places.sort();
        places.dedup();
        for place in places {
            agreement.compared += 1;
            let (recording, key, frame, part) = place;
            let at = format!("part {part} of frame {frame} of {key:?} in {recording}");
            let (Some(before), Some(after)) = (before.get(place), after.get(place)) else {
                agreement.differ(f64::INFINITY, || format!("{at} is there only once"));
                continue;
            };
            let mut alike = true;
            for (output, was) in before {
                let is = after.get(output).copied().unwrap_or(f64::NAN);
                let allowed = self.allowed(exact, output, *was);
                if (is - was).abs() <= allowed || (is.is_nan() && was.is_nan()) {
                    continue;
                }
                alike = false;
                let moved = agreement.moved.entry(output.clone()).or_default();
                *moved = moved.max((is - was).abs());
                agreement.differ((is - was).abs() / allowed.max(f64::MIN_POSITIVE), || {
                    format!("{output} of {at} is {is:.6}, was {was:.6}, {allowed:.6} is allowed")
                });
            }
            agreement.agreed += u64::from(alike);
        }
        agreement
    }

    /// How far an output may move.
    fn allowed(&self, exact: &BuiltBundle, output: &str, was: f64) -> f64 {
        if let Some(distance) = self.within.get(output) {
            return *distance;
        }
        let bundle = &exact.manifest.bundle;
        let shadow = bundle.shadow.tolerance(output);
        let checks = bundle.checks.iter().filter_map(|check| check.tolerance.get(output));
        let all = checks.copied().chain([shadow]);
        all.map(|each| each.absolute + each.relative * was.abs()).fold(0.0, f64::max)
    }
}

impl Agreement {
    fn differ(&mut self, by: f64, told: impl FnOnce() -> String) {
        if self.farthest.as_ref().is_none_or(|(farthest, _)| by > *farthest) {
            self.farthest = Some((by, told()));
        }
    }

    /// What the command line would have to say for all of it to be near enough, if it can.
    fn would_do(&self) -> String {
        if self.moved.is_empty() || self.moved.values().any(|moved| !moved.is_finite()) {
            return String::new();
        }
        let within = self.moved.iter().map(|(output, moved)| {
            // To two digits, and not below.
            let digit = 10f64.powf(moved.log10().floor() - 1.0);
            let up = (moved / digit).ceil() * digit;
            let decimals = (-digit.log10()).max(0.0).round() as usize;
            format!(" --snap-within {output}={up:.decimals$}")
        });
        format!("; near enough they are with{}", within.collect::<String>())
    }

    fn told(&self) -> String {
        alike(self.agreed, self.compared)
    }
}

fn alike(agreed: u64, compared: u64) -> String {
    let share = 100.0 * agreed as f64 / compared.max(1) as f64;
    format!("{agreed} of {compared} findings are alike ({share:.2} %)")
}

/// The models of stages that both bundles have, and that differ.
fn pairs<'a>(old: &'a BuiltBundle, exact: &'a BuiltBundle) -> Vec<Pair<'a>> {
    let file = |stage: &'a Stage| match stage {
        Stage::Model { file, .. } => Some(file.as_str()),
        _ => None,
    };
    let mut pairs: Vec<Pair<'_>> = Vec::new();
    for (name, stage) in &exact.manifest.bundle.stages {
        let Some(path) = file(stage) else { continue };
        let before = old.manifest.bundle.stages.get(name).and_then(file);
        let models = before.and_then(|before| old.file(before)).zip(exact.file(path));
        if let Some((old, exact)) = models
            && old != exact
            && pairs.iter().all(|pair| pair.path != path)
        {
            pairs.push(Pair { path, old, exact });
        }
    }
    pairs
}

/// What the manifest says of a model.
fn noted(pair: &Pair<'_>, rounded: &[u8]) -> (String, SnappedModel) {
    let noted = SnappedModel {
        from: Digest::of(pair.old),
        exact: Digest::of(pair.exact),
        exact_recipe_bytes: make(pair.old, pair.exact).len() as u64,
        recipe_bytes: make(pair.old, rounded).len() as u64,
    };
    (pair.path.to_owned(), noted)
}

/// A bundle's files, and recordings that are none of them.
struct WithRecordings<'a> {
    bundle: &'a BuiltBundle,
    recordings: &'a Named,
}

impl Files for WithRecordings<'_> {
    fn read(&self, path: &str) -> Result<Vec<u8>, FilesError> {
        match self.recordings.get(path) {
            Some(bytes) => Ok(bytes.clone()),
            None => MemoryFiles(self.bundle).read(path),
        }
    }
}

/// What a bundle answers to recordings.
fn answers(bundle: &BuiltBundle, recordings: &Named, watch: &Watch) -> Result<Answers, CheckError> {
    let files = WatchedFiles { files: &WithRecordings { bundle, recordings }, watch };
    let begins = |check: &Check| watch.reading(check);
    let mut answers = Answers::new();
    for name in recordings.keys() {
        let replayed = Check {
            name: name.clone(),
            input: name.clone(),
            expected: String::new(),
            tolerance: BTreeMap::new(),
        };
        let lines = record_watched(&bundle.manifest, &files, &replayed, &options(), &begins)?;
        for (number, line) in lines.lines().enumerate() {
            let finding: ExpectedFinding =
                serde_json::from_str(line).map_err(|error| CheckError::Format {
                    check: name.clone(),
                    file: name.clone(),
                    problem: format!("finding {}: {error}", number + 1),
                })?;
            let outputs = finding.outputs.into_iter();
            let outputs = outputs.map(|(output, value)| (output, value.as_f64())).collect();
            answers.insert((name.clone(), finding.key, finding.frame, finding.part), outputs);
        }
    }
    Ok(answers)
}

/// What was rounded, for people.
pub fn told(snapped: &Snapped) -> String {
    let mut text = format!(
        "rounded towards {}, to {} of each update; {}",
        snapped.from.short(),
        snapped.tolerance,
        alike(snapped.agreed, snapped.compared)
    );
    for (path, model) in &snapped.models {
        let _ = write!(
            text,
            "\n  {path}  {} to send, {} if it were exact",
            size(model.recipe_bytes),
            size(model.exact_recipe_bytes)
        );
    }
    text
}
