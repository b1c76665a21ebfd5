//! All rooms of one server together, as its interface and its ingest use them.

use crate::access::Administrator;
use crate::artifact::Artifacts;
use crate::broker::{Guard, Link, Sessions};
use crate::error::{Error, chain};
use crate::ingest::{Ear, Pace, Telemetry};
use crate::registry::{Credentials, Registry};
use crate::release::{Assigned, Director, Repository, ServerKeys, SignedDocuments};
use crate::store::Store;
use lineside_bundle::Digest;
use lineside_wire::name::{DeviceId, SlotName};
use lineside_wire::topic::Down;
use lineside_wire::v1::Documents;
use std::sync::Arc;
use std::time::Instant;
use time::OffsetDateTime;

/// Bytes of roots in one message; the rest follows when the device has taken these.
const ROOTS_BYTES_MAX: usize = 384 << 10;

/// All rooms of one server.
pub(crate) struct Fleet {
    pub store: Arc<Store>,
    pub administrator: Administrator,
    pub registry: Registry,
    pub artifacts: Artifacts,
    pub keys: Arc<ServerKeys>,
    pub documents: SignedDocuments,
    pub repository: Repository,
    pub director: Director,
    pub telemetry: Telemetry,
    pub guard: Guard,
    pub ear: Ear,
    pub link: Link,
    /// How often documents are sent.
    pub pace: Pace,
    /// How often a device is believed that it holds a newer assignment than was signed here.
    pub catching_up: Pace,
    pub sessions: Sessions,
}

impl Fleet {
    /// Assigns a release to a slot of a device, and tells the device.
    ///
    /// # Errors
    /// As for [`Director::assign`].
    pub async fn assign(
        &self,
        device: &DeviceId,
        slot: SlotName,
        release: &str,
        now: OffsetDateTime,
    ) -> Result<Assigned, Error> {
        let assigned = self.director.assign(device, slot, release, now).await?;
        self.tell(device, now).await;
        Ok(assigned)
    }

    /// Ends the assignment of a slot, and tells the device.
    ///
    /// # Errors
    /// As for [`Director::clear`].
    pub async fn clear(
        &self,
        device: &DeviceId,
        slot: SlotName,
        now: OffsetDateTime,
    ) -> Result<Assigned, Error> {
        let assigned = self.director.clear(device, slot, now).await?;
        self.tell(device, now).await;
        Ok(assigned)
    }

    async fn tell(&self, device: &DeviceId, now: OffsetDateTime) {
        // The assignment stands; a device that cannot be told now is told when it returns.
        if let Err(error) = self.send_documents(device, now).await {
            tracing::warn!("{device}: the assignment was not sent yet: {}", chain(&error));
        }
    }

    /// Forgets a device: it is not let in any longer, and what it told is gone.
    ///
    /// # Errors
    /// [`Error::Missing`].
    pub async fn remove(&self, device: &DeviceId) -> Result<(), Error> {
        self.registry.remove(device).await?;
        self.sessions.end(device).await;
        Ok(())
    }

    /// Makes a new password for a device. The old one opens nothing from now on.
    ///
    /// # Errors
    /// [`Error::Missing`].
    pub async fn new_password(&self, device: &DeviceId) -> Result<Credentials, Error> {
        let credentials = self.registry.new_password(device).await?;
        self.sessions.end(device).await;
        Ok(credentials)
    }

    /// Sends a device its documents, if anything is assigned to it.
    ///
    /// # Errors
    /// [`Error::Untrusted`] if the list of releases has expired.
    pub async fn send_documents(
        &self,
        device: &DeviceId,
        now: OffsetDateTime,
    ) -> Result<(), Error> {
        if self.director.assigned(device).await?.is_none() {
            return Ok(());
        }
        let released = self.documents.released(now).await?;
        let Some(assigned) = self.director.current(device, &released, now).await? else {
            return Ok(());
        };
        // A device is installed with the first root at least.
        let trusted = self.registry.get(device.as_str()).await?.root_version().max(1);
        let documents = Documents {
            roots: self.roots_after(trusted).await?,
            releases: released.bytes,
            assignment: assigned.bytes,
        };
        self.link.send(device, Down::Assignment, &documents).await;
        Ok(())
    }

    /// Whether a device that says what it has lacks something of ours and is to be sent it now.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn lacks_documents(&self, device: &DeviceId) -> Result<bool, Error> {
        let Some(assigned) = self.director.assigned(device).await? else { return Ok(false) };
        let device = self.registry.get(device.as_str()).await?;
        let releases = self.documents.releases_version().await?;
        let roots = self.documents.roots().await?;
        let root = roots.last().map_or(0, |(version, _)| *version);
        let held = device.assignment_version();
        if assigned.is_behind(held) {
            // Each time it is signed anew, so the versions that were sent say nothing.
            let believed = self.catching_up.allows(&device.id, 0, (0, 0, 0), Instant::now());
            if believed {
                tracing::warn!(
                    "{}: it holds assignment {held}, the last one signed here is {}: it is signed \
                     anew, as after a restore from a copy",
                    device.id,
                    assigned.version
                );
            }
            return Ok(believed);
        }
        let lacks = held < assigned.version
            || device.releases_version() < releases
            || device.root_version() < root;
        let versions = (root, releases, assigned.version);
        Ok(lacks && self.pace.allows(&device.id, device.boot(), versions, Instant::now()))
    }

    /// Whether a manifest or blob belongs to what is assigned to a device. A stolen password opens
    /// no more of the fleet's models than that.
    ///
    /// # Errors
    /// [`Error::Database`] or [`Error::File`].
    pub async fn is_for(
        &self,
        device: &DeviceId,
        bundle: &str,
        digest: &Digest,
    ) -> Result<bool, Error> {
        let Some(assigned) = self.director.assigned(device).await? else { return Ok(false) };
        for manifest in assigned.manifests(bundle) {
            if manifest == *digest || self.artifacts.names(bundle, &manifest, digest).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn roots_after(&self, trusted: u64) -> Result<Vec<Vec<u8>>, Error> {
        let mut bytes_left = ROOTS_BYTES_MAX;
        let mut roots = Vec::new();
        for (version, bytes) in self.documents.roots().await? {
            if version <= trusted {
                continue;
            }
            // Roots are followed in their order, so a gap would be worth nothing.
            let Some(left) = bytes_left.checked_sub(bytes.len()) else { break };
            bytes_left = left;
            roots.push(bytes);
        }
        Ok(roots)
    }
}
