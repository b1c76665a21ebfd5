//! What a worker gets, and what one of its own answers that replays a release's checks.

use crate::update::StagedRelease;
use crate::update::engines::{AGENT, EngineChoices, Kept};
use crate::update::library::{Known, Library};
use crate::worker::message::{Bundle, FromWorker, ToWorker};
use crate::worker::process::{End, Starter};
use crate::worker::running::{Running, WorkerEvent};
use lineside_bundle::Digest;
use lineside_rules::{SitePolicy, TrialLimits};
use lineside_runtime::{Engines, Loader, PluginCache, are_engines, models};
use lineside_wire::name::SlotName;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
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
    /// In which engines the slot's releases have passed their checks.
    pub choices: EngineChoices,
    /// The engine that is no part of the agent, as far as is known of it.
    pub library: Library,
    /// Breaks of plugins that are allowed in the slot.
    pub plugin_traps: PluginTraps,
}

/// Breaks of a plugin that a slot's settings and its site's policy allow, whatever a bundle says.
#[derive(Clone, Default)]
pub struct PluginTraps(Option<(SlotName, TrialLimits, watch::Receiver<SitePolicy>)>);

impl PluginTraps {
    /// Of a slot with these settings, at a site whose policy may change.
    pub fn of(
        slot: SlotName,
        settings: TrialLimits,
        site: watch::Receiver<SitePolicy>,
    ) -> PluginTraps {
        PluginTraps(Some((slot, settings, site)))
    }

    /// As many as are allowed now; none where nobody says.
    fn max(&self) -> Option<u32> {
        let (slot, settings, site) = self.0.as_ref()?;
        let site = site.borrow().trial(slot.as_str());
        TrialLimits::strictest([settings, &site]).traps_max
    }
}

impl WorkerLimits {
    /// The same with what is known now of the library: it holds for whatever is done with these.
    #[must_use]
    pub fn now(&self) -> WorkerLimits {
        WorkerLimits { library: Library::of(self.library.now()), ..self.clone() }
    }

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

    /// What a worker is to be told about `release`, whose models are to be in the engines in which it has
    /// passed its checks.
    pub fn bundle(&self, release: &StagedRelease) -> Bundle {
        let kept = self.choices.of(&release.release.digest).unwrap_or_default();
        self.bundle_in(release, kept.passed)
    }

    /// The same with the models of some stages in the engines `chosen`, and all others as settings and
    /// bundle want them.
    pub(super) fn bundle_in(
        &self,
        release: &StagedRelease,
        chosen: BTreeMap<String, String>,
    ) -> Bundle {
        Bundle {
            manifest: release.manifest.to_bytes(),
            blobs: release.blobs.clone(),
            memory_mib: release.manifest.bundle.limits.memory_mib.min(self.memory_mib_max),
            engines: Engines {
                site: self.engine.clone(),
                chosen,
                onnxruntime: self.library.now().onnxruntime,
            },
            plugin_traps_max: self.plugin_traps.max(),
            cache: self.cache.clone(),
            cache_key: PluginCache::release_key(&self.cache_key, &release.release.digest),
        }
    }

    /// Whether it is known of engines that this device has that `release` passes its checks in them: it
    /// did with this agent, and with the library that is here.
    pub fn has_passed(&self, release: &StagedRelease) -> bool {
        if models(&release.manifest).next().is_none() {
            return true;
        }
        let Some(kept) = self.kept_here(release) else { return false };
        kept.agent == AGENT && !self.is_another_library(&kept)
    }

    /// What is kept of `release`, where this device has the engines in which it has passed its checks.
    pub(super) fn kept_here(&self, release: &StagedRelease) -> Option<Kept> {
        let kept = self.choices.of(&release.release.digest)?;
        let onnxruntime = self.library.now().onnxruntime;
        let engines = Engines { site: None, chosen: kept.passed.clone(), onnxruntime };
        are_engines(&kept.passed, &release.manifest, &engines).then_some(kept)
    }

    /// Whether the library that a release has passed its checks in was another than the one that is here.
    fn is_another_library(&self, kept: &Kept) -> bool {
        let Known { onnxruntime, digest, .. } = self.library.now();
        let is_used = kept.passed.values().any(|engine| engine == onnxruntime.name());
        is_used && digest.is_some() && digest != kept.library
    }

    /// The engines in which `release` is to run by the settings, by itself or by what was measured, where
    /// these are not those in which it has passed its checks.
    pub fn untested(&self, release: &StagedRelease) -> Option<BTreeMap<String, String>> {
        let kept = self.choices.of(&release.release.digest)?;
        let mut wanted = kept.passed.clone();
        for (stage, described) in models(&release.manifest) {
            let measured = kept.choice.models.get(stage).map(|measured| measured.engine.as_str());
            let named = self.engine.as_deref().or(described).or(measured);
            wanted.extend(named.map(|engine| (stage.to_owned(), engine.to_owned())));
        }
        (wanted != kept.passed).then_some(wanted)
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
    /// An engine that it may need has not loaded yet.
    #[error("{0}")]
    Waits(String),
    /// In which engines it has passed cannot be written down.
    #[error("the engines in which it has passed its checks cannot be written down: {0}")]
    Keep(String),
}

/// What a worker of its own answers to the one message that it gets, if it does within `patience`.
///
/// # Errors
/// Every [`SelfTestError`] but `Waits` and `Keep`.
pub(super) async fn asked(
    message: ToWorker,
    patience: Duration,
    starter: Arc<dyn Starter>,
) -> Result<FromWorker, SelfTestError> {
    let (events, mut heard) = mpsc::channel(4);
    let _running = Running::start(0, starter, message, events);
    match timeout(patience, heard.recv()).await {
        Err(_) => Err(SelfTestError::Slow(patience)),
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
