//! What is trusted when the agent starts.

use crate::error::chain;
use crate::fleet::Device;
use crate::fleet::device::DeviceError;
use crate::update::acceptance::{Acceptance, RestoreError};
use crate::update::journal::Journal;
use lineside_rules::SitePolicy;
use lineside_wire::name::SiteName;
use tokio::sync::watch;

/// What is trusted at the start.
pub(super) struct Trust {
    /// The device's folder; none where there is no server that may be spoken to.
    pub(super) device: Option<Device>,
    /// What was accepted and is still to be told to the slots, or why nothing is taken.
    pub(super) accepted: Result<Acceptance, String>,
    /// What the site has signed: it holds even where nothing more is taken.
    pub(super) policy: watch::Receiver<SitePolicy>,
}

/// What is trusted. Trouble with it turns off updates and stops nothing that runs.
///
/// # Errors
/// The state folder is another device's: its readings, findings and telemetry are not this one's.
pub(super) fn trust(
    journal: &Journal,
    device: Result<Device, DeviceError>,
    site: Option<SiteName>,
) -> Result<Trust, RestoreError> {
    let kept = journal.accepted()?.site.filter(|rules| Some(&rules.site) == site.as_ref());
    let (_, policy) = watch::channel(kept.map(|rules| rules.policy).unwrap_or_default());
    let device = match device {
        Ok(device) => device,
        Err(error) => return Ok(Trust { device: None, accepted: Err(chain(error)), policy }),
    };
    let restored = Acceptance::restore(&device, journal.clone()).map(|it| it.at(site));
    let (device, accepted) = match restored {
        Ok(accepted) => (Some(device), Ok(accepted)),
        Err(error @ RestoreError::OtherDevice { .. }) => return Err(error),
        // What the spool holds is not for whoever the device belongs to now.
        Err(error @ RestoreError::OtherRoot) => (None, Err(chain(error))),
        // The server hears how the device is, and nothing is taken from it.
        Err(error) => (Some(device), Err(chain(error))),
    };
    let policy = accepted.as_ref().map_or(policy, Acceptance::policy);
    Ok(Trust { device, accepted, policy })
}
