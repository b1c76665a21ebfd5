//! Replays a release's checks in a worker of their own.

use crate::error::chain;
use crate::update::StagedRelease;
use crate::update::engines::EngineChoices;
use crate::worker::message::{Bundle, Checked, FromWorker, ToWorker};
use crate::worker::process::{End, Starter};
use crate::worker::running::{Running, WorkerEvent};
use lineside_bundle::Digest;
use lineside_rules::Replayed;
use lineside_runtime::{ENGINES, Engines, PluginCache, ReplayCost, is_choice};
use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::timeout;

/// What every worker of this device gets, whatever its bundle asks for.
#[derive(Clone)]
pub struct WorkerLimits {
    /// Memory that a bundle may have, in MiB.
    pub memory_mib_max: u32,
    /// Longest that loading may take.
    pub load: Duration,
    /// Longest that replaying all checks may take.
    pub self_test: Duration,
    /// Folder of compiled plugins.
    pub cache: PathBuf,
    /// The device's key, from which the one is made that authenticates a release's.
    pub cache_key: [u8; 32],
    /// The engine that the slot's settings want, where they say one.
    pub engine: Option<String>,
    /// The engines that were chosen for releases.
    pub choices: EngineChoices,
}

impl WorkerLimits {
    /// Removes what was compiled for others than the releases that are `held`.
    ///
    /// # Errors
    /// The disk's.
    pub fn keep_compiled(&self, held: &BTreeSet<Digest>) -> io::Result<usize> {
        let cache = |release| {
            let key = PluginCache::release_key(&self.cache_key, release);
            PluginCache::new(self.cache.clone(), &key)
        };
        PluginCache::keep(&self.cache, &held.iter().map(cache).collect::<Vec<_>>())
    }

    /// What a worker is to be told about `release`.
    pub fn bundle(&self, release: &StagedRelease) -> Bundle {
        Bundle {
            manifest: release.manifest.to_bytes(),
            blobs: release.blobs.clone(),
            memory_mib: release.manifest.bundle.limits.memory_mib.min(self.memory_mib_max),
            engines: Engines {
                site: self.engine.clone(),
                chosen: self.choices.of(&release.release.digest).engines(),
            },
            cache: self.cache.clone(),
            cache_key: PluginCache::release_key(&self.cache_key, &release.release.digest),
        }
    }
}

/// Why a release does not pass its own checks on this device.
#[derive(Debug, thiserror::Error)]
pub enum SelfTestError {
    /// The checks say so.
    #[error("{0}")]
    Refused(String),
    /// The worker died over it.
    #[error("the worker died over the checks: {0}")]
    Died(String),
    /// Somebody else has ended the worker.
    #[error("the worker that replays the checks was ended from outside: {0}")]
    Killed(String),
    /// They take too long.
    #[error("the checks took longer than {} s", .0.as_secs())]
    Slow(Duration),
    /// No worker can be started now.
    #[error("no worker can be started: {0}")]
    Start(String),
    /// What was chosen cannot be written down.
    #[error("the engines that were chosen for it cannot be written down: {0}")]
    Keep(String),
}

/// Has the engines of `release`'s models chosen, in a process of its own, and keeps the choice. Nothing
/// is done where there is none.
///
/// An engine that dies or hangs over a model takes no other with it: then nothing is chosen, and the
/// first that loads the model runs it.
///
/// # Errors
/// [`SelfTestError`], but for `Slow`; `Died` only where the worker says what it was not asked.
pub async fn choose_engines(
    release: &StagedRelease,
    limits: &WorkerLimits,
    starter: Arc<dyn Starter>,
) -> Result<(), SelfTestError> {
    let site = Engines { site: limits.engine.clone(), ..Engines::default() };
    if !is_choice(&release.manifest, &site) {
        return Ok(());
    }
    let mut bundle = limits.bundle(release);
    bundle.engines = site;
    // Each engine holds the model, to be timed beside the others.
    let engines = u32::try_from(ENGINES.len()).unwrap_or(u32::MAX);
    bundle.memory_mib = bundle.memory_mib.saturating_mul(engines).min(limits.memory_mib_max);
    let digest = release.release.digest;
    match asked(ToWorker::Choose(bundle), limits, starter).await {
        Ok(FromWorker::Chosen(choice)) if choice.is_for(&release.manifest) => {
            let kept = limits.choices.keep(digest, choice);
            kept.map_err(|error| SelfTestError::Keep(chain(error)))
        }
        Ok(_) => Err(SelfTestError::Died("it said what it was not asked".into())),
        Err(error @ (SelfTestError::Died(_) | SelfTestError::Slow(_))) => {
            tracing::warn!("no engine is chosen for {}: {error}", release.release);
            Ok(())
        }
        Err(error) => Err(error),
    }
}

/// Replays the checks of `release` in a process of its own. Gives what that took.
///
/// # Errors
/// [`SelfTestError`]. [`SelfTestError::Start`] and [`SelfTestError::Killed`] say nothing about the
/// release.
pub async fn self_test(
    release: &StagedRelease,
    limits: &WorkerLimits,
    starter: Arc<dyn Starter>,
) -> Result<Replayed, SelfTestError> {
    match asked(ToWorker::Check(limits.bundle(release)), limits, starter).await? {
        FromWorker::Checked(checked) => {
            // What was chosen says nothing where the device's settings say which.
            let engines = match limits.engine {
                None => limits.choices.of(&release.release.digest).to_string(),
                Some(_) => String::new(),
            };
            Ok(replayed(checked, engines))
        }
        _ => Err(SelfTestError::Died("it said what it was not asked".into())),
    }
}

/// What a worker of its own answers to the one message that it gets.
async fn asked(
    message: ToWorker,
    limits: &WorkerLimits,
    starter: Arc<dyn Starter>,
) -> Result<FromWorker, SelfTestError> {
    let (events, mut heard) = mpsc::channel(4);
    let _running = Running::start(0, starter, message, events);
    match timeout(limits.self_test, heard.recv()).await {
        Err(_) => Err(SelfTestError::Slow(limits.self_test)),
        Ok(Some((_, WorkerEvent::Said(FromWorker::Failed(reason))))) => {
            Err(SelfTestError::Refused(reason))
        }
        Ok(Some((_, WorkerEvent::Said(said)))) => Ok(said),
        Ok(Some((_, WorkerEvent::Unstarted(reason)))) => Err(SelfTestError::Start(reason)),
        Ok(Some((_, WorkerEvent::Ended(End::Itself(how))))) => Err(SelfTestError::Died(how)),
        Ok(Some((_, WorkerEvent::Ended(End::Killed(how))))) => Err(SelfTestError::Killed(how)),
        Ok(Some((_, WorkerEvent::Past(_))) | None) => {
            Err(SelfTestError::Died("it said what it was not asked".into()))
        }
    }
}

fn replayed(checked: Checked, engines: String) -> Replayed {
    let Checked { cost, memory_kib } = checked;
    let ReplayCost { load, first, frames, p50, p95, longest, processor } = cost;
    let memory_mib = memory_kib.map(|kib| kib as f64 / 1024.0);
    Replayed { load, first, frames, p50, p95, longest, processor, memory_mib, engines }
}
