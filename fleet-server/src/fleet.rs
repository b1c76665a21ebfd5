//! All rooms of one server together, as its interface and its ingest use them.

mod asking;
mod logs;
mod opening;
mod telling;

pub(crate) use logs::{Kept, Known, Logs, Wanted};
pub(crate) use opening::beyond;

use crate::access::{Administrator, People, RoleTokens};
use crate::artifact::Artifacts;
use crate::audit::{By, Log};
use crate::broker::{Guard, Link, Sessions};
use crate::error::{Error, chain};
use crate::identity::Identities;
use crate::ingest::{Ear, Pace, Telemetry, Turns};
use crate::monitor::{Alerts, Outbox, Overview, Policies};
use crate::registry::{Credentials, Registry};
use crate::release::{
    Assigned, Clock, Director, Questions, Repository, ServerKeys, SignedDocuments, Tried,
};
use crate::rollout::Rollouts;
use crate::store::Store;
use crate::strangers::Strangers;
use lineside_identity::{Mark, Peer, Sighting};
use lineside_trace::Tracer;
use lineside_wire::name::{DeviceId, SlotName};
use std::future::pending;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::time::Duration;
use time::OffsetDateTime;
use tokio::sync::{Mutex, Notify};

/// How often the server looks whether something is wrong with itself.
const LOOKED_EVERY: Duration = Duration::from_secs(60);

/// Does something to its end, though who asked for it may be gone before: what was decided and not carried out would
/// leave somebody connected.
pub(crate) async fn to_its_end<T: Send + 'static>(
    work: impl Future<Output = T> + Send + 'static,
) -> T {
    match tokio::spawn(work).await {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => resume_unwind(panic),
            // The server ends.
            Err(_) => pending().await,
        },
    }
}

/// All rooms of one server.
pub(crate) struct Fleet {
    pub store: Arc<Store>,
    /// Who has done what here.
    pub audit: Arc<Log>,
    pub administrator: Administrator,
    /// Who logs in here.
    pub people: People,
    /// How often they try to.
    pub strangers: Strangers,
    pub tokens: RoleTokens,
    pub registry: Registry,
    /// Who devices are that have joined by their keys.
    pub identities: Identities,
    pub artifacts: Artifacts,
    pub keys: Arc<ServerKeys>,
    pub documents: SignedDocuments,
    pub repository: Repository,
    pub director: Director,
    pub clock: Arc<Clock>,
    pub telemetry: Telemetry,
    pub overview: Overview,
    pub alerts: Alerts,
    pub outbox: Outbox,
    pub policies: Policies,
    /// Says that something is to be assigned because a rule has fired.
    pub due: Notify,
    /// Held while that is done.
    pub acting: Mutex<()>,
    pub guard: Guard,
    pub ear: Ear,
    pub link: Link,
    /// How often documents are sent.
    pub pace: Pace,
    /// How often a device is asked for the assignment that it holds.
    pub reminding: Turns,
    /// How often what it then shows is looked at.
    pub reminded: Turns,
    pub sessions: Sessions,
    /// What devices have been asked.
    pub questions: Questions,
    /// Lines of logs that devices were asked for.
    pub logs: Logs,
    pub rollouts: Arc<Rollouts>,
    pub traces: Tracer,
}

impl Fleet {
    /// Assigns a release to a slot of a device, and tells the device.
    ///
    /// # Errors
    /// [`Error::Conflict`] if the device would refuse to go back so far; otherwise as for
    /// [`Director::assign`].
    pub async fn assign(
        &self,
        by: &By,
        device: &DeviceId,
        slot: SlotName,
        release: &str,
        tried: Tried,
        now: OffsetDateTime,
    ) -> Result<Assigned, Error> {
        self.check_floor(device, release, now).await?;
        self.director.check(device, &slot, release, None, now).await?;
        let _taken = self.take_over(device, &slot).await?;
        let assigned = self.director.assign(by, device, slot, release, tried, now).await?;
        self.tell(device, now).await;
        Ok(assigned)
    }

    /// Assigns a release to a slot of a device as long as `seen` is still assigned to it, and tells the device.
    ///
    /// # Errors
    /// [`Error::Conflict`] if it is not; otherwise as for [`Fleet::assign`].
    pub async fn assign_instead_of(
        &self,
        by: &By,
        device: &DeviceId,
        slot: SlotName,
        release: &str,
        seen: Option<&str>,
        now: OffsetDateTime,
    ) -> Result<Assigned, Error> {
        self.check_floor(device, release, now).await?;
        self.director.check(device, &slot, release, Some(seen), now).await?;
        let _taken = self.take_over(device, &slot).await?;
        let assigned =
            self.director.assign_instead_of(by, device, slot, release, seen, now).await?;
        self.tell(device, now).await;
        Ok(assigned)
    }

    /// Says that a person approves what is assigned to a slot, and tells the device.
    ///
    /// # Errors
    /// As for [`Director::approve`].
    pub async fn approve(
        &self,
        by: &By,
        device: &DeviceId,
        slot: SlotName,
        release: &str,
        now: OffsetDateTime,
    ) -> Result<Assigned, Error> {
        let assigned = self.director.approve(by, device, slot, release, now).await?;
        self.tell(device, now).await;
        Ok(assigned)
    }

    /// Ends the assignment of a slot, and tells the device.
    ///
    /// # Errors
    /// As for [`Director::clear`].
    pub async fn clear(
        &self,
        by: &By,
        device: &DeviceId,
        slot: SlotName,
        now: OffsetDateTime,
    ) -> Result<Assigned, Error> {
        let _taken = self.take_over(device, &slot).await?;
        let assigned = self.director.clear(by, device, slot, now).await?;
        self.tell(device, now).await;
        Ok(assigned)
    }

    /// Fails where the device has told of a floor above the release: it would refuse it, whoever
    /// assigns it.
    pub(crate) async fn check_floor(
        &self,
        device: &DeviceId,
        path: &str,
        now: OffsetDateTime,
    ) -> Result<(), Error> {
        let released = self.documents.released(now).await?;
        // What is not released at all is for the director to refuse.
        let Some(release) = released.get(path) else { return Ok(()) };
        let known = self.registry.get(device.as_str()).await?;
        let Some(floor) = known.floor_above(release) else { return Ok(()) };
        let name = &release.id.name;
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
        match self.documents.dates_trouble(now).await {
            Ok(troubles) => sentences.extend(troubles),
            // Until there is a root there is nothing that could hold.
            Err(Error::Conflict(_)) => {}
            Err(error) => sentences.push(error.told()),
        }
        match self.rollouts_trouble().await {
            Ok(troubles) => sentences.extend(troubles),
            Err(error) => sentences.push(error.told()),
        }
        match self.outbox.trouble().await {
            Ok(troubles) => sentences.extend(troubles),
            Err(error) => sentences.push(error.told()),
        }
        match self.identities.attention().await {
            Ok(troubles) => sentences.extend(troubles),
            Err(error) => sentences.push(error.told()),
        }
        sentences.extend(self.audit.trouble());
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

    /// Forgets a device: it is not let in any longer, and what it told is gone.
    ///
    /// # Errors
    /// [`Error::Missing`].
    pub async fn remove(&self, by: &By, device: &DeviceId) -> Result<(), Error> {
        self.registry.remove(by, device).await?;
        let left = lineside_rollout::Event::Left { device: device.to_string() };
        match self.rollouts.apply(left).await {
            // No rollout has heard of it; or none can be read, and it leaves when they can.
            Ok(()) | Err(Error::Missing(_) | Error::Conflict(_)) => {}
            Err(error) => {
                tracing::warn!("rollouts hear later that {device} left: {}", chain(&error))
            }
        }
        self.logs.forget(device);
        self.sessions.end(device).await;
        Ok(())
    }

    /// Whether a device that has connected by its key is one of the fleet now, and not one of two with its key. If it
    /// is, both are out.
    pub async fn is_wanted(&self, peer: &Peer, mark: Option<Mark>, now: OffsetDateTime) -> bool {
        let device = peer.device();
        if !matches!(self.identities.admits(peer, now).await, Ok(Ok(()))) {
            return false;
        }
        match self.identities.sighted(device, mark, now).await {
            Ok(Sighting::Goes) => true,
            Ok(Sighting::SetBack) => {
                tracing::warn!(
                    "{device} counts its starts from a lower number: its state was lost or set back, or it was copied"
                );
                true
            }
            Ok(Sighting::Copied) => {
                tracing::error!(
                    "{device}: two machines have its key, and neither is let in: find the copy, then \
                     `lineside device reset`, or revoke the key"
                );
                self.sessions.end(device).await;
                false
            }
            Err(error @ Error::Forbidden(_)) => {
                tracing::warn!("{device} is not let in: {error}");
                false
            }
            Err(error) => {
                // A copy comes again, and so does who is none.
                tracing::error!("{device}: its start is not taken note of: {}", chain(&error));
                true
            }
        }
    }

    /// Makes a new password for a device. The old one opens nothing from now on.
    ///
    /// # Errors
    /// [`Error::Missing`].
    pub async fn new_password(&self, by: &By, device: &DeviceId) -> Result<Credentials, Error> {
        let credentials = self.registry.new_password(by, device).await?;
        self.sessions.end(device).await;
        Ok(credentials)
    }
}
