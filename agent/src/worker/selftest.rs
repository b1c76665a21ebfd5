//! Replays a release's checks in a worker of their own.

use crate::update::StagedRelease;
use lineside_runtime::CheckReport;
use std::path::PathBuf;
use std::time::Duration;

/// What every worker of this device gets, whatever its bundle asks for.
#[derive(Debug, Clone)]
pub struct WorkerLimits {
    /// Memory that a bundle may have, in MiB.
    pub memory_mib_max: u32,
    /// Longest that loading may take.
    pub load: Duration,
    /// Longest that replaying all checks may take.
    pub self_test: Duration,
    /// Folder of compiled plugins.
    pub cache: PathBuf,
    /// The key that authenticates them.
    pub cache_key: [u8; 32],
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
    /// They take too long.
    #[error("the checks took longer than {} s", .0.as_secs())]
    Slow(Duration),
    /// No worker can be started now.
    #[error("no worker can be started: {0}")]
    Start(String),
}

/// Replays the checks of `release` in a process of its own.
///
/// # Errors
/// [`SelfTestError`]. Only [`SelfTestError::Start`] says nothing about the release.
pub async fn self_test(
    release: &StagedRelease,
    limits: &WorkerLimits,
) -> Result<CheckReport, SelfTestError> {
    let _ = (release, limits);
    Err(SelfTestError::Start("not wired".into()))
}
