//! Replays a release's checks in the engines that may run its models, and keeps in which they pass.
//!
//! Each engine is tried in a worker of its own, one after the other: what it does to its worker, it
//! does to no other engine, and it has the time and the memory that it would have by itself.

use crate::error::chain;
use crate::update::StagedRelease;
use crate::update::engines::Kept;
use crate::worker::message::{Checked, FromWorker, ToWorker};
use crate::worker::process::Starter;
use crate::worker::selftest::{SelfTestError, WorkerLimits, asked};
use lineside_rules::Replayed;
use lineside_runtime::{Choice, Figure, Measured, ReplayCost, are_engines, choices, faster};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tokio::task::spawn_blocking;

/// How often each engine is timed, each time in a fresh process and after all others: no moment in which
/// the machine is busy decides.
const TURNS: usize = 2;

/// An engine each, by stage.
pub type ByStage = BTreeMap<String, String>;
/// What was seen of engines, by stage and engine.
type Figures = BTreeMap<String, BTreeMap<String, Figure>>;

/// Replays the checks of `release`, and where several engines may run a model finds the one that is to:
/// the first, unless its answers are not right, or another is clearly faster whose answers are. In which
/// engines the checks have passed is kept. Gives what replaying them in these took.
///
/// # Errors
/// [`SelfTestError`]. [`SelfTestError::Start`], [`SelfTestError::Killed`] and [`SelfTestError::Keep`] say
/// nothing about the release.
pub async fn self_test(
    release: &StagedRelease,
    limits: &WorkerLimits,
    starter: Arc<dyn Starter>,
) -> Result<Replayed, SelfTestError> {
    let limits = &limits.now();
    let trials = Trials { release, limits, starter };
    let open = choices(&release.manifest, &limits.bundle_in(release, ByStage::new()).engines);
    let (mut checked, mut figures) = trials.first_that_passes(&open).await?;
    trials.time(&open, &checked.engines, &mut figures).await;
    for stage in open.keys() {
        let Some(seen) = figures.get_mut(stage) else { continue };
        for other in faster(&checked.engines[stage], seen) {
            let mut changed = checked.engines.clone();
            changed.insert(stage.clone(), other.clone());
            match trials.check(changed).await {
                Ok(passed) => {
                    checked = passed;
                    break;
                }
                Err(error) => drop(seen.insert(other, Figure::refused(&error.to_string()))),
            }
        }
    }
    let measured = |stage: &String| {
        let figures = figures.remove(stage).unwrap_or_default();
        (stage.clone(), Measured { engine: checked.engines[stage].clone(), figures })
    };
    let choice = Choice { models: open.keys().map(measured).collect() };
    let told = choice.to_string();
    let passed = checked.engines.clone();
    keep(release, limits, Kept::of(passed, limits.library.now().digest, choice)).await?;
    Ok(replayed(checked, told))
}

/// Replays the checks of `release` with its models in just these engines, and keeps that they pass.
///
/// # Errors
/// [`SelfTestError`]; then what is kept is as it was.
pub async fn self_test_in(
    engines: BTreeMap<String, String>,
    release: &StagedRelease,
    limits: &WorkerLimits,
    starter: Arc<dyn Starter>,
) -> Result<(), SelfTestError> {
    let limits = &limits.now();
    let passed = Trials { release, limits, starter }.check(engines).await?.engines;
    let before = limits.choices.of(&release.release.digest).unwrap_or_default();
    keep(release, limits, Kept::of(passed, limits.library.now().digest, before.choice)).await
}

/// Keeps this of a release.
///
/// # Errors
/// [`SelfTestError::Keep`].
pub async fn keep(
    release: &StagedRelease,
    limits: &WorkerLimits,
    kept: Kept,
) -> Result<(), SelfTestError> {
    let (choices, digest) = (limits.choices.clone(), release.release.digest);
    match spawn_blocking(move || choices.keep(digest, kept)).await {
        Ok(kept) => kept.map_err(|error| SelfTestError::Keep(chain(error))),
        Err(_) => Err(SelfTestError::Keep("the write was cut off".into())),
    }
}

/// What engines are tried with.
pub(super) struct Trials<'a> {
    pub(super) release: &'a StagedRelease,
    pub(super) limits: &'a WorkerLimits,
    pub(super) starter: Arc<dyn Starter>,
}

impl Trials<'_> {
    /// Replays the checks in the engines that come first, and where they do not pass, in each other engine
    /// of one of the models that are `open`, up to the first that helps. Also gives what is the matter with
    /// the one in whose place it came.
    async fn first_that_passes(
        &self,
        open: &BTreeMap<String, Vec<&'static str>>,
    ) -> Result<(Checked, Figures), SelfTestError> {
        let first = match self.check_twice(ByStage::new()).await {
            Ok(checked) => return Ok((checked, Figures::new())),
            Err(error @ SelfTestError::Start(_)) => return Err(error),
            Err(error) => error,
        };
        for (stage, engines) in open {
            for other in &engines[1..] {
                let chosen = ByStage::from([(stage.clone(), (*other).to_owned())]);
                match self.check_twice(chosen).await {
                    Ok(checked) => {
                        let figure = (engines[0].to_owned(), Figure::refused(&first.to_string()));
                        let figures = Figures::from([(stage.clone(), BTreeMap::from([figure]))]);
                        return Ok((checked, figures));
                    }
                    Err(error @ SelfTestError::Start(_)) => return Err(error),
                    Err(_) => {}
                }
            }
        }
        Err(first)
    }

    /// As [`Trials::check`], once more where somebody else has ended the worker: once may be chance, and
    /// twice is an engine that takes more memory than there is.
    pub(super) async fn check_twice(&self, chosen: ByStage) -> Result<Checked, SelfTestError> {
        match self.check(chosen.clone()).await {
            Err(SelfTestError::Killed(_)) => self.check(chosen).await,
            checked => checked,
        }
    }

    /// Replays the checks in a worker of their own, with some models in the engines `chosen`.
    async fn check(&self, chosen: ByStage) -> Result<Checked, SelfTestError> {
        let bundle = self.limits.bundle_in(self.release, chosen);
        let engines = bundle.engines.clone();
        match self.ask(ToWorker::Check(bundle)).await? {
            FromWorker::Checked(checked)
                if are_engines(&checked.engines, &self.release.manifest, &engines) =>
            {
                Ok(checked)
            }
            _ => Err(SelfTestError::Died("it said what it was not asked".into())),
        }
    }

    /// Has every engine timed with the models that are `open`, as the checks show them in the engines
    /// `passed`. One of which it is known that it does not run a model is not asked.
    async fn time(
        &self,
        open: &BTreeMap<String, Vec<&'static str>>,
        passed: &ByStage,
        figures: &mut Figures,
    ) {
        let engines: BTreeSet<&str> = open.values().flatten().copied().collect();
        for _ in 0..TURNS {
            for engine in &engines {
                let is_known = |stage: &String| {
                    let figure = figures.get(stage).and_then(|seen| seen.get(*engine));
                    matches!(figure, Some(Figure::Refused(_)))
                };
                let may = |(stage, engines): &(&String, &Vec<&str>)| {
                    engines.contains(engine) && !is_known(stage)
                };
                let stages: Vec<&String> =
                    open.iter().filter(may).map(|(stage, _)| stage).collect();
                if stages.is_empty() {
                    continue;
                }
                let timed = self.time_one(engine, passed).await;
                for stage in stages {
                    let figure = match &timed {
                        Ok(timed) => timed.get(stage).cloned(),
                        // The checks have passed in it.
                        Err(_) if passed[stage] == *engine => None,
                        Err(error) => Some(Figure::refused(&error.to_string())),
                    };
                    let Some(figure) = figure else { continue };
                    let seen = figures.entry(stage.clone()).or_default();
                    let joined = match seen.remove(*engine) {
                        Some(before) => before.joined(figure),
                        None => figure,
                    };
                    seen.insert((*engine).to_owned(), joined);
                }
            }
        }
    }

    async fn time_one(
        &self,
        engine: &str,
        passed: &ByStage,
    ) -> Result<BTreeMap<String, Figure>, SelfTestError> {
        let bundle = self.limits.bundle_in(self.release, passed.clone());
        match self.ask(ToWorker::Time(bundle, engine.to_owned())).await? {
            FromWorker::Timed(figures) => Ok(figures.into_iter().map(told_shortly).collect()),
            _ => Err(SelfTestError::Died("it said what it was not asked".into())),
        }
    }

    async fn ask(&self, message: ToWorker) -> Result<FromWorker, SelfTestError> {
        asked(message, self.limits.self_test, self.starter.clone()).await
    }
}

/// A worker that was taken over by what it ran may say as much as it likes.
fn told_shortly((stage, figure): (String, Figure)) -> (String, Figure) {
    let figure = match figure {
        Figure::Refused(reason) => Figure::refused(&reason),
        timed @ Figure::Timed { .. } => timed,
    };
    (stage, figure)
}

pub(super) fn replayed(checked: Checked, engines: String) -> Replayed {
    let Checked { cost, memory_kib, .. } = checked;
    let ReplayCost { load, first, frames, p50, p95, longest, processor } = cost;
    let memory_mib = memory_kib.map(|kib| kib as f64 / 1024.0);
    Replayed { load, first, frames, p50, p95, longest, processor, memory_mib, engines }
}
