//! Finds the engines of a release that is to answer, and of which it is not known any more that it passes
//! its checks: another agent or another library is here, or what it has passed in does not load.
//!
//! What it has passed in comes first, then what settings and bundle allow. The first that passes is
//! taken: somebody waits for the answers, so nothing is measured here.

use crate::update::StagedRelease;
use crate::update::engines::Kept;
use crate::worker::process::Starter;
use crate::worker::selftest::{SelfTestError, WorkerLimits};
use crate::worker::trials::{ByStage, Trials, keep, replayed};
use lineside_rules::Replayed;
use lineside_runtime::{Choice, Engines, Figure, Loader, Onnxruntime, models, runners};
use std::collections::BTreeSet;
use std::sync::Arc;

/// What came of it.
#[derive(Debug)]
pub struct Anew {
    /// The engine of each model in which the checks have passed, by stage.
    pub engines: ByStage,
    /// What replaying them took, with these engines.
    pub took: Replayed,
    /// In which engines they have not passed before, and why, for people.
    pub failed: Vec<String>,
}

/// Engines of which it is known that a release does not run in them, and why, for people.
#[derive(Debug, Clone)]
pub struct Failed {
    /// By stage.
    pub engines: ByStage,
    /// Why not.
    pub why: String,
}

/// What did not pass, and why.
type Errors = Vec<(ByStage, SelfTestError)>;

/// Replays the checks of `release` in the engines in which it has passed them before, and where they do
/// not pass any more in the others that may run it, each time in a worker of its own that has the time of
/// a self-test. Keeps the first in which they pass. What `failed` without them is not tried.
///
/// # Errors
/// [`SelfTestError`]; then what is kept is as it was. [`SelfTestError::Waits`] where none passes and the
/// library of an engine has not loaded yet.
pub async fn check_anew(
    release: &StagedRelease,
    limits: &WorkerLimits,
    failed: Option<Failed>,
    starter: Arc<dyn Starter>,
) -> Result<Anew, SelfTestError> {
    let wanted = limits.now();
    let any = WorkerLimits { engine: None, ..wanted.clone() };
    let known = failed.map(|Failed { engines, why }| (engines, SelfTestError::Refused(why)));
    let mut errors: Errors = known.into_iter().collect();
    let failed = errors.first().map(|(engines, _)| engines);
    for Way { by_settings, chosen, engines } in ways(release, &wanted, failed) {
        let limits = if by_settings { &wanted } else { &any };
        let trials = Trials { release, limits, starter: starter.clone() };
        match trials.check_twice(chosen).await {
            Ok(checked) => {
                let engines = checked.engines.clone();
                keep(release, limits, kept(release, limits, engines.clone(), &errors)).await?;
                let took = replayed(checked, listed(&engines));
                return Ok(Anew { engines, took, failed: told(&errors) });
            }
            Err(error @ SelfTestError::Start(_)) => return Err(error),
            Err(error) => errors.push((engines, error)),
        }
    }
    Err(none_passes(errors, wanted.library.now().waits))
}

/// Whether `release` may run in others than these engines.
pub fn has_other_engines(
    release: &StagedRelease,
    limits: &WorkerLimits,
    engines: &ByStage,
) -> bool {
    !ways(release, &limits.now(), Some(engines)).is_empty()
}

/// Engines by stage, for people.
pub fn listed(engines: &ByStage) -> String {
    let listed = engines.iter().map(|(stage, engine)| format!("{stage} in {engine}"));
    listed.collect::<Vec<_>>().join(", ")
}

/// Engines to try.
struct Way {
    /// Models that are not in `chosen` are where the slot's settings want them; otherwise where the bundle
    /// does.
    by_settings: bool,
    chosen: ByStage,
    /// The engine of each model that this comes to, by stage, as far as the manifest tells.
    engines: ByStage,
}

/// What there is to try, in its order, none twice.
fn ways(release: &StagedRelease, limits: &WorkerLimits, failed: Option<&ByStage>) -> Vec<Way> {
    let manifest = &release.manifest;
    let here = Engines { onnxruntime: limits.library.now().onnxruntime, ..Engines::default() };
    let runners = runners(manifest, &here);
    let come_to = |by_settings: bool, chosen: &ByStage| -> ByStage {
        let site = limits.engine.as_deref().filter(|_| by_settings);
        let engine = |(stage, described): (&str, Option<&str>)| {
            let first = runners.get(stage).and_then(|engines| engines.first().copied());
            let chosen = chosen.get(stage).map(String::as_str);
            let named = chosen.or(site).or(described).or(first).unwrap_or("no engine");
            (stage.to_owned(), named.to_owned())
        };
        models(manifest).map(engine).collect()
    };
    let known = limits.kept_here(release).map(|kept| kept.passed);
    let base = known.clone().unwrap_or_default();
    let mut wanted: Vec<(bool, ByStage)> = known.into_iter().map(|known| (true, known)).collect();
    wanted.push((true, ByStage::new()));
    // What runs does not end because settings want an engine in which it does not pass.
    wanted.push((false, ByStage::new()));
    for (stage, engines) in &runners {
        for engine in engines {
            let mut changed = base.clone();
            changed.insert(stage.clone(), (*engine).to_owned());
            wanted.push((false, changed));
        }
    }
    let mut tried: BTreeSet<ByStage> = failed.cloned().into_iter().collect();
    let mut ways = Vec::new();
    for (by_settings, chosen) in wanted {
        let engines = come_to(by_settings, &chosen);
        if tried.insert(engines.clone()) {
            ways.push(Way { by_settings, chosen, engines });
        }
    }
    ways
}

/// What is kept of a release that has passed in these engines after those `errors`. What was measured is
/// of the library that there was then, and of no use where its engine answers otherwise now.
fn kept(release: &StagedRelease, limits: &WorkerLimits, passed: ByStage, errors: &Errors) -> Kept {
    let before = limits.choices.of(&release.release.digest).unwrap_or_default();
    let library = limits.library.now().digest;
    let mut choice: Choice = before.choice;
    if library.is_some() && library != before.library {
        choice.models.retain(|_, measured| measured.engine != Onnxruntime::Absent.name());
    }
    let is_own =
        |error: &SelfTestError| matches!(error, SelfTestError::Refused(_) | SelfTestError::Died(_));
    for (engines, error) in errors.iter().filter(|(_, error)| is_own(error)) {
        for (stage, measured) in &mut choice.models {
            let (Some(failed), Some(now)) = (engines.get(stage), passed.get(stage)) else {
                continue;
            };
            if *failed == measured.engine && failed != now {
                measured.figures.insert(failed.clone(), Figure::refused(&error.to_string()));
                measured.engine.clone_from(now);
            }
        }
    }
    Kept::of(passed, library, choice)
}

fn told(errors: &Errors) -> Vec<String> {
    errors.iter().map(|(engines, error)| format!("{}: {error}", listed(engines))).collect()
}

/// Why none passes. Whose fault it is the first one tells, in which it should have.
fn none_passes(errors: Errors, library_waits: bool) -> SelfTestError {
    let why = told(&errors).join("; ");
    if library_waits {
        return SelfTestError::Waits(format!(
            "its engine may be one that has not loaded yet: {why}"
        ));
    }
    match errors.into_iter().next() {
        Some((_, SelfTestError::Killed(_))) => SelfTestError::Killed(why),
        _ => SelfTestError::Refused(format!("it passes its checks in no engine here: {why}")),
    }
}
