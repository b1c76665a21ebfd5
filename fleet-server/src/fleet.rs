//! All rooms of one server together, as its interface and its ingest use them.

use crate::access::Administrator;
use crate::artifact::Artifacts;
use crate::broker::{Guard, Link, Sessions};
use crate::error::{Error, chain};
use crate::ingest::{Ear, Pace, Telemetry};
use crate::registry::{Credentials, Registry, SlotReported};
use crate::release::{
    Assigned, Clock, Director, FILE_BYTES_MAX, Questions, Released, Repository, ServerKeys,
    SignedDocuments,
};
use crate::store::Store;
use lineside_bundle::{Digest, MANIFEST_BYTES_MAX, OciManifest};
use lineside_wire::envelope::encode;
use lineside_wire::name::{DeviceId, SlotName};
use lineside_wire::topic::Down;
use lineside_wire::v1::{Ask, Documents, ReleaseRef, SlotAnswer};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};
use time::OffsetDateTime;
use tokio::sync::Notify;

/// Devices that are read at once to be told something.
const TOLD_AT_ONCE: u64 = 100;
/// How often the server looks whether something is wrong with itself.
const LOOKED_EVERY: Duration = Duration::from_secs(60);
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
    pub clock: Arc<Clock>,
    pub telemetry: Telemetry,
    pub guard: Guard,
    pub ear: Ear,
    pub link: Link,
    /// How often documents are sent.
    pub pace: Pace,
    /// How often a device is believed that it holds a newer assignment than was signed here.
    pub catching_up: Pace,
    pub sessions: Sessions,
    /// What devices have been asked.
    pub questions: Questions,
    /// Told when people have signed something that every device should hear of.
    pub news: Notify,
}

impl Fleet {
    /// Assigns a release to a slot of a device, and tells the device.
    ///
    /// # Errors
    /// [`Error::Conflict`] if the device would refuse to go back so far; otherwise as for
    /// [`Director::assign`].
    pub async fn assign(
        &self,
        device: &DeviceId,
        slot: SlotName,
        release: &str,
        now: OffsetDateTime,
    ) -> Result<Assigned, Error> {
        self.check_floor(device, release, now).await?;
        let assigned = self.director.assign(device, slot, release, now).await?;
        self.tell(device, now).await;
        Ok(assigned)
    }

    /// Says that a person approves what is assigned to a slot, and tells the device.
    ///
    /// # Errors
    /// As for [`Director::approve`].
    pub async fn approve(
        &self,
        device: &DeviceId,
        slot: SlotName,
        release: &str,
        now: OffsetDateTime,
    ) -> Result<Assigned, Error> {
        let assigned = self.director.approve(device, slot, release, now).await?;
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

    /// Asks those of `devices` that are connected whether a release would run on them. Returns who is
    /// connected, and who has answered what within `longest`.
    ///
    /// # Errors
    /// [`Error::Missing`] names the release; [`Error::TooLarge`] if its manifests do not fit into one
    /// message.
    pub async fn ask(
        &self,
        release: &str,
        slot: Option<SlotName>,
        devices: &BTreeSet<DeviceId>,
        longest: Duration,
        now: OffsetDateTime,
    ) -> Result<(BTreeSet<DeviceId>, BTreeMap<DeviceId, Vec<SlotAnswer>>), Error> {
        let mut ask = self.question(release, slot, now).await?;
        let mut connected = BTreeSet::new();
        for device in devices {
            if self.sessions.is_connected(device).await {
                connected.insert(device.clone());
            }
        }
        let asking = self.questions.begin(connected.clone(), now)?;
        ask.id = asking.id;
        for device in &connected {
            self.link.send(device, Down::Ask, &ask).await;
        }
        Ok((connected, asking.answers(longest).await))
    }

    /// A question about a release, without its number.
    async fn question(
        &self,
        path: &str,
        slot: Option<SlotName>,
        now: OffsetDateTime,
    ) -> Result<Ask, Error> {
        let released = self.documents.released(now).await?;
        let missing = || {
            let shown: String = path.chars().take(130).collect();
            Error::Missing(format!("there is no release {shown:?}"))
        };
        let id = released.get(path).ok_or_else(missing)?.id.clone();
        let stored = self.artifacts.get(id.name.as_str(), &id.digest.to_string()).await?;
        let oci = OciManifest::parse(&stored.bytes).map_err(Error::Refused)?;
        let manifest = self.artifacts.blobs.read(&oci.config.digest, MANIFEST_BYTES_MAX).await?;
        let ask = Ask {
            id: 0,
            release: ReleaseRef {
                name: id.name.to_string(),
                version: id.version.to_string(),
                digest: id.digest.bytes(),
            },
            slot: slot.map(|slot| slot.to_string()),
            oci_manifest: stored.bytes,
            manifest: manifest.ok_or_else(missing)?,
        };
        // Before anybody is asked: a message that cannot be sent would look like silent devices.
        encode(&ask)
            .map_err(|error| Error::TooLarge(format!("{path} cannot be asked: {error}")))?;
        Ok(ask)
    }

    /// Fails where the device has told of a floor above the release: it would refuse it, whoever
    /// assigns it.
    async fn check_floor(
        &self,
        device: &DeviceId,
        path: &str,
        now: OffsetDateTime,
    ) -> Result<(), Error> {
        let released = self.documents.released(now).await?;
        // What is not released at all is for the director to refuse.
        let Some(release) = released.get(path) else { return Ok(()) };
        let (name, digest) = (release.id.name.as_str(), release.id.digest.to_string());
        let told = self.registry.get(device.as_str()).await?.slots;
        let holds = |slot: &SlotReported| {
            let active = slot.active.as_ref().filter(|active| active.name == name)?;
            Some((slot.floor, active.digest == digest))
        };
        let held: Vec<(u64, bool)> = told.iter().filter_map(holds).collect();
        // A floor holds for the device, in whichever slot it was signed; what runs already may stay.
        let floor = held.iter().map(|(floor, _)| *floor).max().unwrap_or(0);
        if release.number >= floor || held.iter().any(|(_, is_it)| *is_it) {
            return Ok(());
        }
        Err(Error::Conflict(format!(
            "{path} is number {} of {name}, and {device} may not go back below number {floor}: the \
             release keys have signed that with a release that it has kept since. Release what was in \
             {path} again, under a new version, and assign that",
            release.number
        )))
    }

    /// What is wrong with the server itself, a sentence each.
    pub async fn attention(&self, now: OffsetDateTime) -> Vec<String> {
        let mut sentences: Vec<String> = self.store.trouble().words().into_iter().collect();
        let troubles =
            [self.documents.keys_trouble().await, self.repository.clock_trouble(now).await];
        for trouble in troubles {
            match trouble {
                Ok(trouble) => sentences.extend(trouble),
                Err(error) => sentences.push(error.told()),
            }
        }
        sentences.extend(self.artifacts.trouble().await);
        sentences
    }

    /// Says in the log what is wrong with the server itself: now, and each time that changes.
    pub async fn keep_looking(self: Arc<Fleet>) {
        let mut said = Vec::new();
        loop {
            let sentences = self.attention(OffsetDateTime::now_utc()).await;
            for sentence in sentences.iter().filter(|sentence| !said.contains(*sentence)) {
                tracing::error!("{sentence}");
            }
            said = sentences;
            tokio::time::sleep(LOOKED_EVERY).await;
        }
    }

    /// Sends what people have signed to the devices that are connected, each time they have.
    pub async fn keep_telling(self: Arc<Fleet>) {
        loop {
            self.news.notified().await;
            if let Err(error) = self.tell_all().await {
                let error = chain(&error);
                tracing::warn!("what was signed is sent to devices when they report: {error}");
            }
        }
    }

    async fn tell_all(&self) -> Result<(), Error> {
        let mut last = String::new();
        loop {
            let devices = self.registry.after(&last, TOLD_AT_ONCE).await?;
            let Some(one) = devices.last() else { return Ok(()) };
            last = one.id.to_string();
            for device in devices {
                if self.sessions.is_connected(&device.id).await
                    && self.lacks_documents(&device.id).await?
                {
                    self.tell(&device.id, OffsetDateTime::now_utc()).await;
                }
            }
        }
    }

    async fn tell(&self, device: &DeviceId, now: OffsetDateTime) {
        // The assignment stands; a device that cannot be told now is told when it returns.
        if let Err(error) = self.send_documents(device, now).await {
            tracing::warn!("{device}: what it shall hold was not sent yet: {}", chain(&error));
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
        let root = self.registry.get(device.as_str()).await?.root_version().max(1);
        let documents =
            self.documents_for(device, &released, assigned, root, ROOTS_BYTES_MAX, now).await?;
        self.link.send(device, Down::Assignment, &documents).await;
        Ok(())
    }

    /// All that a device needs, from its root of version `root`, to believe an assignment and what
    /// holds at its site.
    ///
    /// # Errors
    /// As for [`Repository::renew`]; [`Error::File`].
    pub async fn documents_for(
        &self,
        device: &DeviceId,
        released: &Released,
        assigned: Assigned,
        root: u64,
        roots_bytes_max: usize,
        now: OffsetDateTime,
    ) -> Result<Documents, Error> {
        let site = self.registry.get(device.as_str()).await?.row.site;
        let policy = format!("site/{site}/policy.json");
        let mut files = Vec::new();
        if let Some((digest, _)) = released.file(&policy)
            && let Some(bytes) = self.artifacts.blobs.read(&digest, FILE_BYTES_MAX).await?
        {
            files.push((format!("site/{site}/{}.policy.json", digest.hex()), bytes));
        }
        let paths = assigned.slots.values().cloned().chain([policy]).collect::<Vec<_>>();
        let metadata =
            self.repository.metadata(released, &paths, root, roots_bytes_max, now).await?;
        Ok(Documents { metadata, assignment: assigned.bytes, files })
    }

    /// Whether a device that says what it has lacks something of ours and is to be sent it now.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn lacks_documents(&self, device: &DeviceId) -> Result<bool, Error> {
        let Some(assigned) = self.director.assigned(device).await? else { return Ok(false) };
        // Said elsewhere, and none of what this server signs would be believed.
        if self.documents.keys_trouble().await?.is_some() {
            return Ok(false);
        }
        let device = self.registry.get(device.as_str()).await?;
        let releases = self.documents.releases_version().await?;
        let roots = self.documents.roots().await?;
        let root = roots.last().map_or(0, |(version, _)| *version);
        let timestamp = self.repository.timestamp_version(OffsetDateTime::now_utc()).await?;
        let held = device.assignment_version();
        if assigned.is_behind(held) {
            // Each time it is signed anew, so the versions that were sent say nothing.
            let believed = self.catching_up.allows(&device.id, 0, (0, 0, 0), Instant::now());
            if believed {
                tracing::warn!(
                    "{}: it holds assignment {held}, the last one signed here is {}, as after a \
                     restore from a copy: what it holds is assigned to it, as far as it is released here",
                    device.id,
                    assigned.version
                );
            }
            return Ok(believed);
        }
        let lacks = held < assigned.version
            || device.releases_version() < releases
            || device.root_version() < root
            || device.timestamp_version() < timestamp;
        let versions = (root, releases.max(timestamp), assigned.version);
        Ok(lacks && self.pace.allows(&device.id, device.boot(), versions, Instant::now()))
    }

    /// Whether a manifest or blob belongs to what is assigned to a device or was. A stolen password
    /// opens no more of the fleet's models than that.
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
}
