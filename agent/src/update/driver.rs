//! The driver of updates: takes documents from the server and from files, and tells each slot what
//! it shall hold. One task, so that two deliveries are taken one after the other.

use crate::clock::now_unix_ms;
use crate::error::chain;
use crate::update::acceptance::{AcceptError, Acceptance, Disowned, Versions};
use crate::update::blobs::{Blobs, ByHand};
use crate::update::garbage;
use crate::update::journal::{Document, Good, Journal, JournalError, Withdrawn};
use crate::update::parcel::{self, ParcelError};
use crate::update::slot::{Assigned, Order};
use crate::update::stage::StageError;
use lineside_bundle::parcel::Papers;
use lineside_bundle::{Digest, ReleaseId};
use lineside_trust::{TrustError, TrustedReceipt};
use lineside_update::Target;
use lineside_wire::name::{DeviceId, SlotName};
use lineside_wire::v1::Documents;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::sync::{mpsc, oneshot, watch};
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

/// What a file brought.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Installed {
    /// The release of each slot that the assignment names.
    pub slots: BTreeMap<SlotName, String>,
    /// Releases that the file does not hold whole: the rest has to come from the server.
    pub incomplete: Vec<String>,
    /// Releases that cannot be used here, and why: another one has to be assigned.
    pub unusable: BTreeMap<String, String>,
    /// Slots that the assignment names and this device does not have.
    pub unknown: Vec<SlotName>,
}

/// Why a file was not installed.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// The file.
    #[error(transparent)]
    Parcel(#[from] ParcelError),
    /// The documents in it.
    #[error("the documents in the file are not accepted{}", cure(.0))]
    Accept(#[from] AcceptError),
    /// The documents in it, which this agent cannot read.
    #[error("the documents in the file are not accepted")]
    Broken(#[from] Broken),
    /// This device takes no updates.
    #[error("{0}")]
    Off(String),
    /// The agent stops.
    #[error("the agent stops")]
    Stopping,
}

/// What a person can do about documents that came in a file, if that is known.
fn cure(error: &AcceptError) -> &'static str {
    match error.is_older() {
        true => {
            " (something newer was accepted before: have it packed again with `lineside device export`)"
        }
        false => "",
    }
}

/// A mistake of ours, over documents that somebody made for it or by chance. What was accepted before
/// holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the agent broke down over them, which its log tells of")]
pub struct Broken;

/// Why a receipt was not found.
#[derive(Debug, thiserror::Error)]
pub enum ReceiptError {
    /// The file.
    #[error(transparent)]
    Parcel(#[from] ParcelError),
    /// It is not to be trusted.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// It is none that this agent can read.
    #[error(transparent)]
    Broken(#[from] Broken),
    /// This device takes no updates.
    #[error("{0}")]
    Off(String),
    /// The agent stops.
    #[error("the agent stops")]
    Stopping,
}

/// Why an approval was not taken.
#[derive(Debug, thiserror::Error)]
pub enum ApproveError {
    /// There is nothing to approve.
    #[error("nothing is assigned to slot {0}")]
    Nothing(SlotName),
    /// It is not what a person has looked at.
    #[error("{assigned} is assigned to slot {slot} by now; look at that one first")]
    Another {
        /// The slot.
        slot: SlotName,
        /// The release that it shall hold.
        assigned: ReleaseId,
    },
    /// This device takes no updates.
    #[error("{0}")]
    Off(String),
    /// The agent stops.
    #[error("the agent stops")]
    Stopping,
}

enum Request {
    Documents(Box<Documents>),
    Install {
        path: PathBuf,
        reply: oneshot::Sender<Result<Installed, InstallError>>,
    },
    Receipt {
        path: PathBuf,
        reply: oneshot::Sender<Result<Option<TrustedReceipt>, ReceiptError>>,
    },
    Approve {
        slot: SlotName,
        release: Digest,
        reply: oneshot::Sender<Result<String, ApproveError>>,
    },
}

/// The way to the driver.
#[derive(Clone)]
pub struct Updates {
    requests: mpsc::Sender<Request>,
    versions: watch::Receiver<Versions>,
    trouble: watch::Receiver<Option<String>>,
    good: watch::Receiver<Option<Good>>,
    /// Where what was accepted is kept; none where updates are off.
    journal: Option<Journal>,
}

impl Updates {
    /// Starts the driver. Must be called within a tokio runtime.
    pub fn start(parts: Parts) -> Updates {
        let (requests, inbox) = mpsc::channel(REQUESTS_MAX);
        let (trouble, shown) = watch::channel(None);
        let (versions, good) = (parts.acceptance.versions(), parts.acceptance.good());
        let assigned = parts.acceptance.targets();
        let mut untold: BTreeMap<SlotName, Word> = assigned
            .iter()
            .map(|(slot, held)| (slot.clone(), Word::Assigned(held.clone())))
            .collect();
        let withdrawn = parts.acceptance.withdrawn().iter();
        untold.extend(withdrawn.map(|(slot, it)| (slot.clone(), Word::Withdrawn(it.clone()))));
        let marked =
            assigned.iter().filter(|(slot, _)| parts.acceptance.approved().contains(*slot));
        let approved = marked.map(|(slot, held)| (slot.clone(), held.release.digest)).collect();
        let (told, newer, version) =
            (BTreeMap::new(), BTreeSet::new(), versions.borrow().assignment);
        let believed = Believed::of(&parts.acceptance, None);
        let again = believed.again.clone();
        let Parts { acceptance, journal, blobs, slots, refused: tell_refused } = parts;
        let kept = Some(journal.clone());
        let device = acceptance.device().clone();
        let driver = Driver {
            device,
            acceptance: Arc::new(Mutex::new(acceptance)),
            believed,
            journal,
            blobs,
            slots,
            tell_refused,
            untold,
            told,
            undisowned: BTreeSet::new(),
            newer,
            version,
            approved,
            again,
            refused: None,
            trouble,
        };
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

    /// Takes documents from the server. False if too many wait already; the server sends them again.
    pub fn deliver(&self, documents: Documents) -> bool {
        self.requests.try_send(Request::Documents(Box::new(documents))).is_ok()
    }

    /// Takes documents and bundles from a file. Answers when the slots have been told.
    ///
    /// # Errors
    /// [`InstallError`].
    pub async fn install(&self, path: PathBuf) -> Result<Installed, InstallError> {
        let (reply, replied) = oneshot::channel();
        let request = Request::Install { path, reply };
        self.requests.send(request).await.map_err(|_| InstallError::Stopping)?;
        replied.await.unwrap_or(Err(InstallError::Stopping))
    }

    /// The server's receipt for a report, from a file, if it has one.
    ///
    /// # Errors
    /// [`ReceiptError`].
    pub async fn receipt(&self, path: PathBuf) -> Result<Option<TrustedReceipt>, ReceiptError> {
        let (reply, replied) = oneshot::channel();
        let request = Request::Receipt { path, reply };
        self.requests.send(request).await.map_err(|_| ReceiptError::Stopping)?;
        replied.await.unwrap_or(Err(ReceiptError::Stopping))
    }

    /// Approves a release that is assigned to a slot, as a person beside the device. Gives its name.
    /// Where nobody waits for the answer any more when its turn comes, nothing is approved.
    ///
    /// # Errors
    /// [`ApproveError`].
    pub async fn approve(&self, slot: SlotName, release: Digest) -> Result<String, ApproveError> {
        let (reply, replied) = oneshot::channel();
        let request = Request::Approve { slot, release, reply };
        self.requests.send(request).await.map_err(|_| ApproveError::Stopping)?;
        replied.await.unwrap_or(Err(ApproveError::Stopping))
    }

    /// Versions of what was accepted, and when they change.
    pub fn versions(&self) -> watch::Receiver<Versions> {
        self.versions.clone()
    }

    /// The assignment that this device holds, byte for byte, for a server that has forgotten it; none if
    /// it holds none. Reads the journal.
    ///
    /// # Errors
    /// [`JournalError`].
    pub fn assignment(&self) -> Result<Option<Vec<u8>>, JournalError> {
        // One whose director is trusted no longer is still written there, and is not held.
        let holds_one = self.versions.borrow().assignment > 0;
        match self.journal.as_ref().filter(|_| holds_one) {
            Some(journal) => journal.document(Document::Assignment),
            None => Ok(None),
        }
    }

    /// What keeps updates from coming, for people; nothing while they come.
    pub fn trouble(&self) -> Option<String> {
        let refused = self.trouble.borrow().clone();
        refused.or_else(|| stale(self.good.borrow().as_ref()?, now_unix_ms()))
    }
}

/// What a slot is told, but for the approval that may go with it.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Word {
    Assigned(Target),
    Withdrawn(Withdrawn),
}

/// What the driver goes by between two deliveries.
struct Believed {
    targets: BTreeMap<SlotName, Target>,
    withdrawn: BTreeMap<SlotName, Withdrawn>,
    /// What slots hold and nobody vouches for; none where that is not known.
    disowned: Option<BTreeMap<SlotName, Disowned>>,
    /// Slots for which the director says that a person has approved the target.
    marks: BTreeSet<SlotName>,
    /// Slots of which he says that a person wants the target tried again, and since when.
    again: BTreeMap<SlotName, u64>,
    /// Version of the assignment.
    version: u64,
    policy_trouble: Option<String>,
}

impl Believed {
    fn of(acceptance: &Acceptance, disowned: Option<BTreeMap<SlotName, Disowned>>) -> Believed {
        Believed {
            targets: acceptance.targets().clone(),
            withdrawn: acceptance.withdrawn().clone(),
            disowned,
            marks: acceptance.approved().clone(),
            again: acceptance.again().clone(),
            version: acceptance.versions().borrow().assignment,
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
    slots: BTreeMap<SlotName, mpsc::Sender<Order>>,
    tell_refused: Box<dyn Fn(&str) + Send + Sync>,
    /// What slots have still to be told.
    untold: BTreeMap<SlotName, Word>,
    /// What each slot was told last.
    told: BTreeMap<SlotName, Word>,
    /// Slots that have still to be told which of the releases that they hold nobody vouches for.
    undisowned: BTreeSet<SlotName>,
    /// Slots that a newer assignment names than they were told of last.
    newer: BTreeSet<SlotName>,
    /// Version of the assignment that the slots have been told of.
    version: u64,
    /// The release that a person has approved for each slot, here or at the desk.
    approved: BTreeMap<SlotName, Digest>,
    /// With which assignment somebody has last wanted the target of each slot tried again; 0 for never.
    again: BTreeMap<SlotName, u64>,
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
            let request = match self.untold.is_empty() && self.undisowned.is_empty() {
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
        self.withdraw();
        self.disown();
    }

    /// Notes that slots are to hear which of the releases that they hold nobody vouches for: those that
    /// are no target of theirs, such as what they would go back to, are not told of by what is assigned.
    /// Told each time as a whole, none included: a list may name again what another one did not. Where it
    /// is not known, what slots were told before holds.
    fn disown(&mut self) {
        if self.believed.disowned.is_some() {
            self.undisowned = self.slots.keys().cloned().collect();
        }
    }

    /// Notes which slots are to hold nothing any more.
    fn withdraw(&mut self) {
        for (slot, withdrawn) in &self.believed.withdrawn {
            let word = Word::Withdrawn(withdrawn.clone());
            if self.untold.get(slot).or_else(|| self.told.get(slot)) != Some(&word) {
                self.approved.remove(slot);
                self.untold.insert(slot.clone(), word);
            }
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
            .partition(|(slot, _)| self.slots.contains_key(slot));
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
        let word = self.untold.get(&slot).or_else(|| self.told.get(&slot)).cloned();
        let Some(Word::Assigned(target)) = word.filter(|_| self.slots.contains_key(&slot)) else {
            return Err(ApproveError::Nothing(slot));
        };
        if target.release.digest != release {
            return Err(ApproveError::Another { slot, assigned: target.release });
        }
        self.approved.insert(slot.clone(), release);
        let name = target.release.to_string();
        self.untold.insert(slot, Word::Assigned(target));
        Ok(name)
    }

    /// Notes what has changed for the slots. The same is told again with a newer assignment alone: who
    /// assigns a release once more may want to know whether it would run here by now.
    fn assign(&mut self) {
        self.refused = None;
        let version = self.believed.version;
        let is_newer = version > std::mem::replace(&mut self.version, version);
        for (slot, target) in &self.believed.targets {
            let release = target.release.digest;
            // An approval ends with its release, and does not come back with it; it ends as well where
            // somebody wants the release tried again: who gave it did not know what would come of it.
            let again = self.believed.again.get(slot).copied().unwrap_or(0);
            let is_tried_again = self.again.insert(slot.clone(), again) != Some(again) && again > 0;
            self.approved.retain(|approved, digest| {
                approved != slot || *digest == release && !is_tried_again
            });
            let is_new = self.believed.marks.contains(slot)
                && self.approved.insert(slot.clone(), release) != Some(release);
            let word = Word::Assigned(target.clone());
            let current = self.untold.get(slot).or_else(|| self.told.get(slot));
            if current == Some(&word) && !is_new && !is_newer {
                continue;
            }
            if self.slots.contains_key(slot) {
                self.untold.insert(slot.clone(), word);
                if is_newer {
                    self.newer.insert(slot.clone());
                }
            } else {
                let release = &target.release;
                tracing::warn!(
                    "{release} is assigned to slot {slot}, which agent.toml does not have"
                );
                self.told.insert(slot.clone(), word);
            }
        }
        self.withdraw();
        self.disown();
    }

    /// Tells the slots, as far as they listen.
    fn tell(&mut self) {
        for (slot, word) in std::mem::take(&mut self.untold) {
            let way = self.slots.get(&slot);
            let order = match word.clone() {
                Word::Assigned(target) => {
                    let approved = self.approved.get(&slot) == Some(&target.release.digest);
                    let newer = self.newer.contains(&slot);
                    let again = self.believed.again.get(&slot).copied().unwrap_or(0);
                    Order::Assigned(Assigned { target, approved, newer, again })
                }
                Word::Withdrawn(withdrawn) => Order::Withdrawn(withdrawn),
            };
            let heard = way.is_none_or(|way| way.try_send(order).is_ok());
            if heard {
                self.newer.remove(&slot);
            }
            let list = if heard { &mut self.told } else { &mut self.untold };
            list.insert(slot, word);
        }
        // After what is assigned: a slot takes for vouched for what it is told to hold.
        let Some(disowned) = &self.believed.disowned else { return };
        self.undisowned.retain(|slot| {
            let releases = disowned.get(slot).cloned().unwrap_or_default();
            let heard = |way: &mpsc::Sender<_>| way.try_send(Order::Disowned(releases)).is_ok();
            self.untold.contains_key(slot) || !self.slots.get(slot).is_none_or(heard)
        });
    }

    /// Says what people should know.
    fn show_trouble(&self) {
        let refused = self.refused.as_ref().map(|(_, reason)| reason.as_str());
        let trouble = refused.or(self.believed.policy_trouble.as_deref());
        self.trouble.send_replace(trouble.map(str::to_owned));
    }
}

/// Says that the documents which were accepted last are past their date, if they are.
fn stale(good: &Good, now_unix_ms: i64) -> Option<String> {
    if now_unix_ms < good.until_unix_ms {
        return None;
    }
    let until = OffsetDateTime::from_unix_timestamp(good.until_unix_ms / 1000).ok()?;
    let until = until.format(&Rfc3339).ok()?;
    Some(format!(
        "the {} expired at {until} and no newer one has come: nothing new is installed, what runs goes \
         on",
        good.document
    ))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_past_their_date_are_told_by_name_and_date() {
        let good = Good { document: "timestamp".into(), until_unix_ms: 1_764_072_000_000 };
        assert_eq!(stale(&good, good.until_unix_ms - 1), None);
        assert_eq!(
            stale(&good, good.until_unix_ms).unwrap(),
            "the timestamp expired at 2025-11-25T12:00:00Z and no newer one has come: nothing new is \
             installed, what runs goes on"
        );
    }
}
