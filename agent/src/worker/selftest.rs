//! Replays a release's checks in a worker of their own.

use crate::update::StagedRelease;
use crate::worker::message::{Bundle, Checked, FromWorker, ToWorker};
use crate::worker::process::{End, Starter};
use crate::worker::running::{Running, WorkerEvent};
use lineside_bundle::Digest;
use lineside_rules::Replayed;
use lineside_runtime::{PluginCache, ReplayCost};
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
    let (events, mut heard) = mpsc::channel(4);
    let first = ToWorker::Check(limits.bundle(release));
    let _running = Running::start(0, starter, first, events);
    match timeout(limits.self_test, heard.recv()).await {
        Err(_) => Err(SelfTestError::Slow(limits.self_test)),
        Ok(Some((_, WorkerEvent::Said(FromWorker::Checked(checked))))) => Ok(replayed(checked)),
        Ok(Some((_, WorkerEvent::Said(FromWorker::Failed(reason))))) => {
            Err(SelfTestError::Refused(reason))
        }
        Ok(Some((_, WorkerEvent::Unstarted(reason)))) => Err(SelfTestError::Start(reason)),
        Ok(Some((_, WorkerEvent::Ended(End::Itself(how))))) => Err(SelfTestError::Died(how)),
        Ok(Some((_, WorkerEvent::Ended(End::Killed(how))))) => Err(SelfTestError::Killed(how)),
        Ok(Some((_, WorkerEvent::Said(_) | WorkerEvent::Past(_))) | None) => {
            Err(SelfTestError::Died("it said what it was not asked".into()))
        }
    }
}

fn replayed(checked: Checked) -> Replayed {
    let Checked { cost, memory_kib } = checked;
    let ReplayCost { load, first, frames, p50, p95, longest, processor } = cost;
    let memory_mib = memory_kib.map(|kib| kib as f64 / 1024.0);
    Replayed { load, first, frames, p50, p95, longest, processor, memory_mib }
}
