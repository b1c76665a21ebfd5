//! Telling devices what is signed: documents that they lack, as soon as they can be told.

use crate::error::{Error, chain};
use crate::fleet::Fleet;
use crate::release::{Assigned, FILE_BYTES_MAX, Released, is_behind};
use lineside_wire::name::DeviceId;
use lineside_wire::topic::Down;
use lineside_wire::v1::{Documents, Remind, Reminder};
use std::sync::Arc;
use std::time::Instant;
use time::OffsetDateTime;

/// Devices that are read at once to be told something.
const TOLD_AT_ONCE: u64 = 100;
/// Bytes of roots in one message; the rest follows when the device has taken these.
const ROOTS_BYTES_MAX: usize = 384 << 10;

/// What a device needs of us, by what it says that it has.
enum Need {
    Nothing,
    Documents,
    /// It holds a newer assignment than this one, the last that is known here.
    Reminder {
        known_version: u64,
    },
}

impl Fleet {
    /// Sends what people have signed to the devices that are connected, each time they have.
    pub async fn keep_telling(self: Arc<Fleet>) {
        loop {
            self.documents.news.notified().await;
            // He who brought it waits for this as well, and may have hung up.
            if let Err(error) = self.repository.renew(OffsetDateTime::now_utc()).await {
                tracing::warn!("snapshot and timestamp are signed later: {}", chain(&error));
            }
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
                if !self.sessions.is_connected(&device.id).await {
                    continue;
                }
                let attended = self.attend(&device.id, OffsetDateTime::now_utc()).await;
                match attended {
                    Err(error @ Error::Database(_)) => return Err(error),
                    // Others are told all the same.
                    Err(error) => not_sent(&device.id, &error),
                    Ok(()) => {}
                }
            }
        }
    }

    pub(crate) async fn tell(&self, device: &DeviceId, now: OffsetDateTime) {
        // The assignment stands; a device that cannot be told now is told when it returns.
        if let Err(error) = self.send_documents(device, now).await {
            not_sent(device, &error);
        }
    }

    /// Sends a device what it lacks by what it has said, or asks it for what was forgotten here.
    ///
    /// # Errors
    /// As for [`Fleet::send_documents`].
    pub async fn attend(&self, device: &DeviceId, now: OffsetDateTime) -> Result<(), Error> {
        match self.need(device, now).await? {
            Need::Nothing => Ok(()),
            Need::Documents => self.send_documents(device, now).await,
            Need::Reminder { known_version } => {
                self.link.send(device, Down::Remind, &Remind { known_version }).await;
                Ok(())
            }
        }
    }

    /// Takes up the assignment that a device shows, if it says that it holds a newer one than is known
    /// here, and sends what follows from it.
    ///
    /// # Errors
    /// As for [`Director::take_up`](crate::release::Director::take_up).
    pub async fn take_reminder(
        &self,
        device: &DeviceId,
        reminder: Reminder,
        now: OffsetDateTime,
    ) -> Result<(), Error> {
        let known_version = self.known_version(device).await?;
        let held = self.registry.get(device.as_str()).await?.assignment_version();
        if !is_behind(known_version, held) || !self.reminded.allows(device, Instant::now()) {
            return Ok(());
        }
        let released = self.documents.released_if_any(now).await?;
        let taken = self.director.take_up(device, reminder.assignment, released.as_ref()).await?;
        let Some(assigned) = taken else { return Ok(()) };
        tracing::warn!(
            "{device}: it showed assignment {}, and the last one known here was {known_version}, as after \
             a restore from a copy: it goes on from there",
            assigned.version
        );
        self.attend(device, now).await
    }

    /// Sends a device its documents, if anything is assigned to it. Where no list of releases holds, it
    /// is sent the roots all the same, with what was assigned last: whoever stole release keys must not
    /// be believed until a list is signed anew.
    ///
    /// # Errors
    /// As for [`Director::current`](crate::release::Director::current) and [`Fleet::documents_for`].
    pub async fn send_documents(
        &self,
        device: &DeviceId,
        now: OffsetDateTime,
    ) -> Result<(), Error> {
        let Some(last) = self.director.assigned(device).await? else { return Ok(()) };
        let released = self.documents.released_if_any(now).await?;
        let assigned = match &released {
            Some(released) => self.director.current(device, released, now).await?,
            None => Some(last),
        };
        let Some(assigned) = assigned else { return Ok(()) };
        // A device is installed with the first root at least.
        let root = self.registry.get(device.as_str()).await?.root_version().max(1);
        let released = released.as_ref();
        let documents =
            self.documents_for(device, released, assigned, root, ROOTS_BYTES_MAX, now).await?;
        self.link.send(device, Down::Assignment, &documents).await;
        Ok(())
    }

    /// The documents of a device for a file that is carried to it, all roots among them. Where no list of
    /// releases holds, they bring a root that the device has not told of, or are refused.
    ///
    /// # Errors
    /// [`Error::Missing`] if nothing is assigned to it; [`Error::Untrusted`] if no list holds and the file
    /// would bring nothing; otherwise as for [`Fleet::send_documents`].
    pub async fn documents_by_hand(
        &self,
        device: &DeviceId,
        now: OffsetDateTime,
    ) -> Result<Documents, Error> {
        let nothing = || {
            Error::Missing(format!(
                "nothing is assigned to {device}: assign a release with `lineside assign`"
            ))
        };
        let last = self.director.assigned(device).await?.ok_or_else(nothing)?;
        let told = self.registry.get(device.as_str()).await?.root_version();
        let released = match self.documents.released(now).await {
            Ok(released) => Some(released),
            Err(Error::Untrusted(_)) if told < self.documents.root_version().await? => None,
            Err(error) => return Err(error),
        };
        let assigned = match &released {
            Some(released) => self.director.current(device, released, now).await?,
            None => Some(last),
        };
        let assigned = assigned.ok_or_else(nothing)?;
        self.documents_for(device, released.as_ref(), assigned, 0, usize::MAX, now).await
    }

    /// All that a device needs, from its root of version `root`, to believe an assignment, what holds at its
    /// site, and who still vouches for what it says that it holds; of what the list of releases speaks of
    /// nothing where none holds.
    ///
    /// # Errors
    /// As for [`Repository::renew`]; [`Error::File`].
    pub async fn documents_for(
        &self,
        device: &DeviceId,
        released: Option<&Released>,
        assigned: Assigned,
        root: u64,
        roots_bytes_max: usize,
        now: OffsetDateTime,
    ) -> Result<Documents, Error> {
        let told = self.registry.get(device.as_str()).await?;
        let site = &told.row.site;
        let policy = format!("site/{site}/policy.json");
        let mut files = Vec::new();
        if let Some((digest, _)) = released.and_then(|released| released.file(&policy))
            && let Some(bytes) = self.artifacts.blobs.read(&digest, FILE_BYTES_MAX).await?
        {
            files.push((format!("site/{site}/{}.policy.json", digest.hex()), bytes));
        }
        // What it holds besides may be its way back: that a vendor has withdrawn it, it hears of him alone.
        let held = told.slots.iter().flat_map(|slot| [&slot.active, &slot.previous]).flatten();
        let held = held.map(|release| format!("{}/{}", release.name, release.version));
        let paths: Vec<String> =
            assigned.slots.values().cloned().chain(held).chain([policy]).collect();
        let metadata =
            self.repository.metadata(released, &paths, root, roots_bytes_max, now).await?;
        Ok(Documents { metadata, assignment: assigned.bytes, files })
    }

    /// What a device needs, by what it says that it has.
    async fn need(&self, device: &DeviceId, now: OffsetDateTime) -> Result<Need, Error> {
        // Said elsewhere, and none of what this server signs would be believed.
        if self.documents.keys_trouble().await?.is_some() {
            return Ok(Need::Nothing);
        }
        let device = self.registry.get(device.as_str()).await?;
        let known_version = self.known_version(&device.id).await?;
        let releases = self.documents.releases_version().await?;
        let root = self.documents.root_version().await?;
        let held = device.assignment_version();
        if is_behind(known_version, held) {
            // What it holds may be released by a list that people have still to bring back.
            let knows_more = device.root_version() >= root && device.releases_version() > releases;
            let asks = !knows_more && self.reminding.allows(&device.id, Instant::now());
            return Ok(if asks { Need::Reminder { known_version } } else { Need::Nothing });
        }
        if known_version == 0 {
            return Ok(Need::Nothing);
        }
        self.repository.renew_after(device.timestamp_version(), now).await?;
        let timestamp = self.repository.timestamp_version(now).await?;
        let lacks = held < known_version
            || device.releases_version() < releases
            || device.root_version() < root
            || device.timestamp_version() < timestamp;
        let versions = [root, releases, timestamp, known_version];
        let sends = lacks && self.pace.allows(&device.id, device.boot(), versions, Instant::now());
        Ok(if sends { Need::Documents } else { Need::Nothing })
    }

    /// Version of the last assignment of a device that is known here, 0 for none.
    async fn known_version(&self, device: &DeviceId) -> Result<u64, Error> {
        Ok(self.director.assigned(device).await?.map_or(0, |assigned| assigned.version))
    }
}

fn not_sent(device: &DeviceId, error: &Error) {
    tracing::warn!("{device}: what it shall hold was not sent yet: {}", chain(error));
}
