//! All rooms of one server together, as its interface and its ingest use them.

use crate::access::Administrator;
use crate::artifact::Artifacts;
use crate::broker::{Guard, Link};
use crate::error::{Error, chain};
use crate::ingest::{Ear, Pace, Telemetry};
use crate::registry::Registry;
use crate::release::{Assigned, Director, ServerKeys, SignedDocuments};
use crate::store::Store;
use crate::store::tables::device;
use lineside_wire::name::{DeviceId, SlotName};
use lineside_wire::topic::Down;
use lineside_wire::v1::Documents;
use sea_orm::{EntityTrait, PaginatorTrait};
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
    pub director: Director,
    pub telemetry: Telemetry,
    pub guard: Guard,
    pub ear: Ear,
    pub link: Link,
    pub pace: Pace,
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
        // The assignment stands; a device that cannot be told now is told when it returns.
        if let Err(error) = self.send_documents(device, now).await {
            tracing::warn!("{device}: the assignment was not sent yet: {}", chain(&error));
        }
        Ok(assigned)
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
        let lacks = device.assignment_version() < assigned.version
            || device.releases_version() < releases
            || device.root_version() < root;
        let versions = (root, releases, assigned.version);
        Ok(lacks && self.pace.allows(&device.id, versions, Instant::now()))
    }

    /// How many devices there are.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn devices(&self) -> Result<u64, Error> {
        Ok(device::Entity::find().count(self.store.read()).await?)
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
