//! The driver of updates: takes documents from the server and from files, and tells each slot what
//! it shall hold. One task, so that two deliveries are taken one after the other.

mod door;
mod listener;

pub use door::{
    ApproveError, Broken, InstallError, Installed, LogRequestError, ReceiptError, Updates,
};

use crate::clock::now_unix_ms;
use crate::error::chain;
use crate::update::acceptance::{Acceptance, Disowned, Versions};
use crate::update::blobs::{Blobs, ByHand};
use crate::update::garbage;
use crate::update::journal::Journal;
use crate::update::parcel::{self, ParcelError};
use crate::update::slot::Order;
use crate::update::stage::StageError;
use door::Request;
use lineside_bundle::parcel::Papers;
use lineside_bundle::{Digest, ReleaseId};
use lineside_trust::{TrustedLogRequest, TrustedReceipt};
use lineside_wire::name::{DeviceId, SlotName};
use lineside_wire::v1::Documents;
use listener::{Listener, Word};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use time::OffsetDateTime;
use tokio::sync::{mpsc, watch};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

/// Deliveries that wait for the driver.
const REQUESTS_MAX: usize = 4;
/// How soon a slot that was too busy to be told is told again.
const TELL_EVERY: Duration = Duration::from_secs(1);

/// What the driver of updates works with.
pub struct Parts {
    /// What this device believes.
    pub acceptance: Acceptance,
    /// What all slots hold.
    pub journal: Journal,
    /// Where blobs are kept.
    pub blobs: Blobs,
    /// The drivers of the slots.
    pub slots: BTreeMap<SlotName, mpsc::Sender<Order>>,
    /// Told, for people, when documents were refused.
    pub refused: Box<dyn Fn(&str) + Send + Sync>,
}

impl Updates {
    /// Starts the driver. Must be called within a tokio runtime.
    pub fn start(parts: Parts) -> Updates {
        let (requests, inbox) = mpsc::channel(REQUESTS_MAX);
        let (trouble, shown) = watch::channel(None);
        let (versions, good) = (parts.acceptance.versions(), parts.acceptance.good());
        let version = versions.borrow().assignment;
        let Parts { acceptance, journal, blobs, slots, refused: tell_refused } = parts;
        let believed = Believed::of(&acceptance, None);
        let slots = slots.into_iter();
        let listeners = slots.map(|(slot, way)| (slot, Listener::new(Some(way), version)));
        let kept = Some(journal.clone());
        let mut driver = Driver {
            device: acceptance.device().clone(),
            acceptance: Arc::new(Mutex::new(acceptance)),
            believed,
            journal,
            blobs,
            listeners: listeners.collect(),
            tell_refused,
            refused: None,
            trouble,
        };
        driver.learn(|_| true);
        tokio::spawn(driver.drive(inbox));
        Updates { requests, versions, trouble: shown, good, journal: kept }
    }

    /// Takes nothing and says `why`. What runs goes on, and what was begun: the drivers of the `slots`
    /// would end if nobody could tell them anything any more. Must be called within a tokio runtime.
    pub fn off(why: &str, slots: BTreeMap<SlotName, mpsc::Sender<Order>>) -> Updates {
        let why = format!("updates are off: {why}");
        let (requests, mut inbox) = mpsc::channel(REQUESTS_MAX);
        let (_, versions) = watch::channel(Versions::default());
        let (_, trouble) = watch::channel(Some(why.clone()));
        let (_, good) = watch::channel(None);
        tokio::spawn(async move {
            while let Some(request) = inbox.recv().await {
                // Whoever asked may have gone.
                match request {
                    Request::Documents(_) => {}
                    Request::Install { reply, .. } => {
                        let _ = reply.send(Err(InstallError::Off(why.clone())));
                    }
                    Request::Receipt { reply, .. } => {
                        let _ = reply.send(Err(ReceiptError::Off(why.clone())));
                    }
                    Request::Log { reply, .. } => {
                        let _ = reply.send(Err(LogRequestError::Off(why.clone())));
                    }
                    Request::Approve { reply, .. } => {
                        let _ = reply.send(Err(ApproveError::Off(why.clone())));
                    }
                }
            }
            std::future::pending::<()>().await;
            drop(slots);
        });
        Updates { requests, versions, trouble, good, journal: None }
    }
}

/// What the driver goes by between two deliveries.
struct Believed {
    words: BTreeMap<SlotName, Word>,
    /// What slots hold and nobody vouches for; none where that is not known.
    disowned: Option<BTreeMap<SlotName, Disowned>>,
    policy_trouble: Option<String>,
}

impl Believed {
    fn of(acceptance: &Acceptance, disowned: Option<BTreeMap<SlotName, Disowned>>) -> Believed {
        Believed {
            words: Word::of_all(acceptance),
            disowned,
            policy_trouble: acceptance.policy_trouble().map(str::to_owned),
        }
    }
}

struct Driver {
    device: DeviceId,
    /// What this device believes. Only threads that may wait for the disk lock it.
    acceptance: Arc<Mutex<Acceptance>>,
    believed: Believed,
    journal: Journal,
    blobs: Blobs,
    /// The slots that this device has, and those that it was assigned something for.
    listeners: BTreeMap<SlotName, Listener>,
    tell_refused: Box<dyn Fn(&str) + Send + Sync>,
    /// The documents that were refused last, and why: a server that repeats them is not news.
    refused: Option<(Digest, String)>,
    trouble: watch::Sender<Option<String>>,
}

impl Driver {
    async fn drive(mut self, mut inbox: mpsc::Receiver<Request>) {
        // A power cut may have come between a new root and what follows from it.
        self.take_back().await;
        loop {
            self.tell();
            self.show_trouble();
            let request = match self.listeners.values().all(Listener::has_heard) {
                true => inbox.recv().await,
                false => match timeout(TELL_EVERY, inbox.recv()).await {
                    Ok(request) => request,
                    Err(_) => continue,
                },
            };
            match request {
                None => return,
                Some(Request::Documents(documents)) => self.documents(*documents).await,
                Some(Request::Install { path, reply }) => {
                    let installed = self.install(path).await;
                    // Whoever asked may have gone.
                    let _ = reply.send(installed);
                }
                Some(Request::Receipt { path, reply }) => {
                    let receipt = self.receipt(path).await;
                    // Whoever asked may have gone.
                    let _ = reply.send(receipt);
                }
                Some(Request::Log { bytes, reply }) => {
                    let asked = self.log_request(bytes).await;
                    // Whoever asked may have gone.
                    let _ = reply.send(asked);
                }
                // Who has given up waiting takes it for not approved.
                Some(Request::Approve { reply, .. }) if reply.is_closed() => {}
                Some(Request::Approve { slot, release, reply }) => {
                    let approved = self.approve(slot, release);
                    self.tell();
                    // Whoever asked may have gone.
                    let _ = reply.send(approved);
                }
            }
        }
    }

    /// Does what reads signatures or waits for the disk off the runtime's threads: while the disk hangs,
    /// everything else goes on. What breaks down over a document is a refusal of it.
    async fn with_acceptance<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut Acceptance) -> T + Send + 'static,
    ) -> Result<T, Broken> {
        let acceptance = self.acceptance.clone();
        let done = spawn_blocking(move || {
            // What a panic leaves in it is what was written down before.
            let mut acceptance = acceptance.lock().unwrap_or_else(PoisonError::into_inner);
            let done = work(&mut acceptance);
            let disowned = acceptance.disowned().inspect_err(|error| {
                tracing::error!("whether nobody vouches for what slots hold is not known: {error}");
            });
            (done, Believed::of(&acceptance, disowned.ok()))
        });
        let (done, believed) = done.await.map_err(|_| Broken)?;
        self.believed = believed;
        Ok(done)
    }

    async fn documents(&mut self, documents: Documents) {
        let these = what_is_said(&documents);
        let accepted = self.with_acceptance(move |acceptance| {
            let verified = acceptance.verify(&documents, now_unix_ms())?;
            acceptance.accept(verified)
        });
        let refused = match accepted.await {
            Ok(Ok(())) => return self.assign(),
            Ok(Err(error)) => chain(error),
            Err(broken) => broken.to_string(),
        };
        if self.refused.as_ref().is_none_or(|(last, _)| *last != these) {
            let reason = format!("documents of the server are not accepted: {refused}");
            tracing::warn!("{reason}");
            self.refused = Some((these, reason.clone()));
            self.show_trouble();
            (self.tell_refused)(&reason);
        }
        self.take_back().await;
    }

    /// Has the slots leave what nobody vouches for any more, where documents were taken as far as that.
    async fn take_back(&mut self) {
        match self.with_acceptance(Acceptance::take_back).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::error!("what is withdrawn cannot be written down: {}", chain(error));
            }
            Err(broken) => tracing::error!("what is withdrawn is not known: {broken}"),
        }
        self.learn(|word| matches!(word, Word::Withdrawn(_)));
        self.disown();
    }

    /// Notes what slots are to hold and to leave, as far as it is `wanted`.
    fn learn(&mut self, wanted: impl Fn(&Word) -> bool) {
        for (slot, word) in self.believed.words.iter().filter(|(_, word)| wanted(word)) {
            let listener = self.listeners.entry(slot.clone());
            let listener = listener.or_insert_with(|| Listener::new(None, 0));
            let is_news = listener.learn(word.clone());
            if let Some(release) = listener.assigned().filter(|_| is_news && !listener.is_here()) {
                tracing::warn!(
                    "{release} is assigned to slot {slot}, which agent.toml does not have"
                );
            }
        }
    }

    /// Notes which of the releases that slots hold nobody vouches for: those that are no target of theirs,
    /// such as what they would go back to, are not told of by what is assigned. Each time as a whole,
    /// none included: a list may name again what another one did not. Where it is not known, what was
    /// known before holds.
    fn disown(&mut self) {
        let Some(disowned) = &self.believed.disowned else { return };
        for (slot, listener) in &mut self.listeners {
            listener.disown(disowned.get(slot).cloned().unwrap_or_default());
        }
    }

    async fn install(&mut self, path: PathBuf) -> Result<Installed, InstallError> {
        let (file, device) = (path.clone(), self.device.clone());
        let papers = blocking(move || parcel::papers(&file, &device)).await??;
        let Papers { metadata, assignment, files, .. } = papers;
        let documents = Documents { metadata, assignment, files };
        let verified = self
            .with_acceptance(move |acceptance| acceptance.verify(&documents, now_unix_ms()))
            .await;
        let verified = match verified {
            Ok(Ok(verified)) => verified,
            Ok(Err(error)) => {
                self.take_back().await;
                return Err(error.into());
            }
            Err(broken) => return Err(broken.into()),
        };
        let (known, unknown): (BTreeMap<_, _>, BTreeMap<_, _>) = verified
            .targets()
            .clone()
            .into_iter()
            .partition(|(slot, _)| self.listeners.get(slot).is_some_and(Listener::is_here));
        let releases: BTreeSet<ReleaseId> =
            known.values().map(|target| target.release.clone()).collect();
        // The journal names the releases only after their blobs are there: a file that breaks off
        // changes nothing of what the device holds. Until then nobody may collect them.
        let blobs = self.blobs.clone();
        let by_hand = Arc::new(blocking(move || blobs.by_hand()).await?);
        let accepted = match self.unpack(path, releases, by_hand.clone()).await {
            Ok(lacking) => match self.with_acceptance(|it| it.accept(verified)).await {
                Ok(Ok(())) => Ok(lacking),
                Ok(Err(error)) => Err(error.into()),
                Err(broken) => Err(broken.into()),
            },
            Err(error) => Err(error),
        };
        drop(by_hand);
        let lacking = match accepted {
            Ok(lacking) => lacking,
            Err(error) => {
                self.take_back().await;
                self.collect().await;
                return Err(error);
            }
        };
        self.assign();
        self.tell();
        let slots = known.iter().map(|(slot, held)| (slot.clone(), held.release.to_string()));
        let (mut incomplete, mut unusable) = (Vec::new(), BTreeMap::new());
        for (release, error) in lacking {
            match error {
                StageError::Blob { .. } | StageError::File { .. } => incomplete.push(release),
                StageError::Oci { .. } | StageError::Manifest { .. } => {
                    unusable.insert(release, chain(error));
                }
            }
        }
        let unknown = unknown.into_keys().collect();
        Ok(Installed { slots: slots.collect(), incomplete, unusable, unknown })
    }

    async fn receipt(&mut self, path: PathBuf) -> Result<Option<TrustedReceipt>, ReceiptError> {
        let device = self.device.clone();
        let papers = blocking(move || parcel::papers(&path, &device)).await;
        let papers = papers.map_err(|_| ReceiptError::Stopping)??;
        let Some(bytes) = papers.receipt else { return Ok(None) };
        let receipt = self.with_acceptance(move |acceptance| acceptance.receipt(&bytes)).await?;
        Ok(Some(receipt?))
    }

    async fn log_request(&mut self, bytes: Vec<u8>) -> Result<TrustedLogRequest, LogRequestError> {
        let now = OffsetDateTime::now_utc();
        let asked = self.with_acceptance(move |acceptance| acceptance.log_request(&bytes, now));
        Ok(asked.await??)
    }

    /// Takes blobs out of a file. Returns the releases that are not whole then, and why.
    async fn unpack(
        &self,
        path: PathBuf,
        releases: BTreeSet<ReleaseId>,
        by_hand: Arc<ByHand>,
    ) -> Result<Vec<(String, StageError)>, InstallError> {
        let blobs = self.blobs.clone();
        let lacking = blocking(move || {
            let lacking = parcel::unpack(&path, &releases, &blobs, &by_hand)?;
            let named = lacking.into_iter().map(|(release, error)| (release.to_string(), error));
            Ok::<_, ParcelError>(named.collect())
        });
        Ok(lacking.await??)
    }

    /// Removes what a file has left that was not installed.
    async fn collect(&self) {
        let (journal, blobs) = (self.journal.clone(), self.blobs.clone());
        let collected = blocking(move || garbage::collect(&journal, &blobs)).await;
        if let Ok(Err(error)) = collected {
            tracing::warn!("{error:#}");
        }
    }

    /// Notes that a person approves what a slot is to hold. What he has not looked at is not approved.
    fn approve(&mut self, slot: SlotName, release: Digest) -> Result<String, ApproveError> {
        let listener = self.listeners.get_mut(&slot).filter(|listener| listener.is_here());
        let listener = listener.ok_or_else(|| ApproveError::Nothing(slot.clone()))?;
        let assigned = listener.assigned().ok_or_else(|| ApproveError::Nothing(slot.clone()))?;
        if assigned.digest != release {
            return Err(ApproveError::Another { slot, assigned: assigned.clone() });
        }
        let name = assigned.to_string();
        listener.approve();
        Ok(name)
    }

    /// Notes what documents say that were accepted. Who assigns a release once more may want to know
    /// whether it would run here by now, so a newer assignment is news even where it names the same.
    fn assign(&mut self) {
        self.refused = None;
        self.learn(|_| true);
        self.disown();
    }

    /// Tells the slots what they have not heard, as far as they listen.
    fn tell(&mut self) {
        self.listeners.values_mut().for_each(Listener::tell);
    }

    /// Says what people should know.
    fn show_trouble(&self) {
        let refused = self.refused.as_ref().map(|(_, reason)| reason.as_str());
        let trouble = refused.or(self.believed.policy_trouble.as_deref());
        self.trouble.send_replace(trouble.map(str::to_owned));
    }
}

/// What tells documents from others. Timestamp and snapshot are signed anew every few days, and do not
/// make news of what they speak of.
fn what_is_said(documents: &Documents) -> Digest {
    let is_old_news = |name: &str| name == "timestamp.json" || name.ends_with(".snapshot.json");
    let said = documents.metadata.iter().filter(|(name, _)| !is_old_news(name));
    let said: Vec<&[u8]> = said.map(|(_, bytes)| &**bytes).collect();
    Digest::of(&[said.concat(), documents.assignment.clone()].concat())
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, InstallError> {
    spawn_blocking(work).await.map_err(|_| InstallError::Stopping)
}
