//! Asking devices whether a release would run on them.

use crate::error::Error;
use crate::fleet::Fleet;
use lineside_bundle::{MANIFEST_BYTES_MAX, OciManifest};
use lineside_wire::envelope::encode;
use lineside_wire::name::{DeviceId, SlotName};
use lineside_wire::topic::Down;
use lineside_wire::v1::{Ask, ReleaseRef, SlotAnswer};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use time::OffsetDateTime;

impl Fleet {
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
}
