//! `Assignment -> TrustedTarget`: what this device believes, and what it takes for true next.
//!
//! The root is pinned by the folder that the device was installed with; the journal keeps what was
//! accepted since, so that neither an older document nor an earlier time is ever believed. Documents
//! come as a mirror that nobody has to trust; the device follows them as any TUF client does.

use crate::fleet::Device;
use crate::update::journal::{
    Accepted, Document, Good, Journal, JournalError, Owner, SiteRules, Withdrawn,
};
use crate::update::shelf::JournalShelf;
use lineside_bundle::{Digest, ReleaseId};
use lineside_rules::SitePolicy;
use lineside_trust::repository::{Carried, Client, RepositoryError};
use lineside_trust::{
    AgreeError, Listed, Root, TrustError, TrustedReceipt, TrustedReleases, agree, recall_delegated,
    signed_at, verify_assignment, verify_receipt, verify_releases,
};
use lineside_update::Target;
use lineside_wire::name::{DeviceId, SiteName, SlotName};
use lineside_wire::v1::Documents;
use std::collections::{BTreeMap, BTreeSet};
use time::OffsetDateTime;
use tokio::sync::watch;

/// Slots of which it is remembered what they were to hold.
const WITHDRAWN_MAX: usize = 64;
/// What a new root forgets if it replaces the keys of snapshot and timestamp.
const FRESHNESS: [&str; 2] = ["timestamp.json", "snapshot.json"];
/// What the list of releases is called to people.
const LIST: &str = "list of releases";

/// Why documents were not accepted. What was accepted before goes on.
#[derive(Debug, thiserror::Error)]
pub enum AcceptError {
    /// They are not to be trusted, or no longer.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// The repository that they make cannot be followed.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    /// The clock has no date that a calendar knows.
    #[error("the clock shows a time that cannot be: {0} ms since 1970")]
    Clock(i64),
    /// Where a site's policy is to hold, nothing is taken before it is known.
    #[error(
        "this device stands at site {0}, and the policy of that site has never come; the server sends \
         it to devices that stand there by its own list"
    )]
    NoPolicy(SiteName),
    /// They could not be written down.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

impl AcceptError {
    /// Whether there is nothing wrong with the documents but that newer ones were accepted before.
    pub fn is_older(&self) -> bool {
        match self {
            AcceptError::Trust(error) => matches!(error, TrustError::Older { .. }),
            AcceptError::Repository(error) => matches!(error, RepositoryError::Older { .. }),
            AcceptError::Clock(_) | AcceptError::NoPolicy(_) | AcceptError::Journal(_) => false,
        }
    }
}

impl From<AgreeError> for AcceptError {
    fn from(error: AgreeError) -> AcceptError {
        match error {
            AgreeError::Repository(error) => error.into(),
            AgreeError::Trust(error) => error.into(),
        }
    }
}

/// Why the trust that the journal keeps cannot be taken up again.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The root of the device's folder.
    #[error(
        "root.json of the device's folder cannot be trusted; copy it again from the folder that \
         `lineside keys new` made"
    )]
    Pinned(#[source] TrustError),
    /// The root that the journal keeps.
    #[error("the root kept in state.redb cannot be used")]
    Kept(#[source] TrustError),
    /// The state folder came from another device, or the device's folder did.
    #[error(
        "state_dir is that of device {was}, and the device's folder that of {is}; a device that gets \
         another name starts with a fresh state_dir"
    )]
    OtherDevice {
        /// Whose journal it is.
        was: DeviceId,
        /// Who this is.
        is: DeviceId,
    },
    /// Somebody exchanged the folder of a device that has a history.
    #[error(
        "root.json of the device's folder has nothing to do with the root that this device trusts; put \
         the one back that it was installed with, or, where it changes hands, start with a fresh \
         state_dir"
    )]
    OtherRoot,
    /// The journal.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

/// Versions of what was accepted, 0 for none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Versions {
    /// Of the root.
    pub root: u64,
    /// Of the timestamp.
    pub timestamp: u64,
    /// Of the list of releases.
    pub releases: u64,
    /// Of the assignment.
    pub assignment: u64,
}

/// Documents that were verified and not yet written down. Only [`Acceptance::verify`] makes them.
pub struct Verified {
    accepted: Accepted,
    assignment: Vec<u8>,
}

impl Verified {
    /// What both documents agree on, by slot.
    pub fn targets(&self) -> &BTreeMap<SlotName, Target> {
        &self.accepted.targets
    }
}

/// What this device believes.
pub struct Acceptance {
    owner: Owner,
    journal: Journal,
    root: Root,
    accepted: Accepted,
    versions: watch::Sender<Versions>,
    good: watch::Sender<Option<Good>>,
    /// Where this device stands; none where no site's policy holds.
    site: Option<SiteName>,
    policy: watch::Sender<SitePolicy>,
    /// Why the newest policy of the site was not taken.
    policy_trouble: Option<String>,
}

impl Acceptance {
    /// Takes up what the device was installed with and what the journal has kept since.
    ///
    /// # Errors
    /// [`RestoreError`].
    pub fn restore(device: &Device, journal: Journal) -> Result<Acceptance, RestoreError> {
        let mut accepted = journal.accepted()?;
        let owner = Owner { device: device.id.clone(), pinned: Digest::of(&device.root) };
        if let Some(was) = &accepted.owner
            && was.device != owner.device
        {
            return Err(RestoreError::OtherDevice { was: was.device.clone(), is: owner.device });
        }
        let pinned = Root::pin(&device.root).map_err(RestoreError::Pinned)?;
        let root = match journal.document(Document::Root)? {
            None => pinned,
            Some(bytes) => {
                let kept = Root::pin(&bytes).map_err(RestoreError::Kept)?;
                let is_known =
                    accepted.owner.as_ref().is_some_and(|was| was.pinned == owner.pinned);
                if is_known { kept } else { together(kept, pinned, &mut accepted)? }
            }
        };
        let good = watch::Sender::new(accepted.good.clone());
        let versions = watch::Sender::default();
        let acceptance = Acceptance {
            owner,
            journal,
            root,
            accepted,
            versions,
            good,
            site: None,
            policy: watch::Sender::default(),
            policy_trouble: None,
        };
        acceptance.tell()?;
        Ok(acceptance)
    }

    /// The same, for a device that stands at a site, whose policy then holds.
    pub fn at(self, site: Option<SiteName>) -> Acceptance {
        let acceptance = Acceptance { site, ..self };
        acceptance.tell_policy();
        acceptance
    }

    /// What the site has signed that holds here, and when that changes.
    pub fn policy(&self) -> watch::Receiver<SitePolicy> {
        self.policy.subscribe()
    }

    /// Why the newest policy of the site was not taken; the one before holds.
    pub fn policy_trouble(&self) -> Option<&str> {
        self.policy_trouble.as_deref()
    }

    /// Whose trust this is.
    pub fn device(&self) -> &DeviceId {
        &self.owner.device
    }

    /// Versions of what was accepted, and when they change.
    pub fn versions(&self) -> watch::Receiver<Versions> {
        self.versions.subscribe()
    }

    /// What each slot is to hold.
    pub fn targets(&self) -> &BTreeMap<SlotName, Target> {
        &self.accepted.targets
    }

    /// What slots were to hold that have no target any more.
    pub fn withdrawn(&self) -> &BTreeMap<SlotName, Withdrawn> {
        &self.accepted.withdrawn
    }

    /// Slots for which the director says that a person has approved what is assigned to them.
    pub fn approved(&self) -> &BTreeSet<SlotName> {
        &self.accepted.approved
    }

    /// Slots of which the director says that a person wants the target tried again, and with which version
    /// of the assignment that was said.
    pub fn again(&self) -> &BTreeMap<SlotName, u64> {
        &self.accepted.again
    }

    /// How long what was accepted last is good, and when that changes.
    pub fn good(&self) -> watch::Receiver<Option<Good>> {
        self.good.subscribe()
    }

    /// Verifies documents in the order of trust: roots one after the other, timestamp, snapshot, list
    /// of releases, assignment, and that repository and assignment agree.
    ///
    /// New roots are written down at once, whatever comes of the rest (TUF 5.3.8): a key that was
    /// stolen must not be trusted any longer than it takes to hear so. So is each other document of
    /// the repository, before the next is looked at. What shall be installed does not change.
    ///
    /// `clock_unix_ms` is what the clock shows, in milliseconds since 1970; where a document was
    /// accepted or the newest timestamp was signed at a later time, that time counts.
    ///
    /// # Errors
    /// [`AcceptError`].
    pub fn verify(
        &mut self,
        documents: &Documents,
        clock_unix_ms: i64,
    ) -> Result<Verified, AcceptError> {
        let known_unix_ms = clock_unix_ms.max(self.accepted.latest_known_unix_ms);
        let now = OffsetDateTime::from_unix_timestamp_nanos(i128::from(known_unix_ms) * 1_000_000)
            .map_err(|_| AcceptError::Clock(known_unix_ms))?;
        self.follow(&documents.metadata)?;
        let carried: Carried = documents.metadata.iter().cloned().collect();
        let shelf = JournalShelf(self.journal.clone());
        let mut repository = Client::new(self.root.bytes(), carried, shelf)?;
        // What the timestamp says of the time is not written down: whoever stole the key that signs it
        // could otherwise set this clock forward for good. It goes when that key is replaced.
        let mut now = self.signed_at()?.map_or(now, |told| now.max(told));
        repository.refresh(now)?;
        if let Some(told) = self.signed_at()?.filter(|told| *told > now) {
            now = told;
            repository.refresh(now)?;
        }
        self.clear_shelf()?;
        let list = self.list()?;
        let releases = match &list {
            Some(list) => Some(list.seen().after(LIST, self.accepted.releases.as_ref())?),
            None => None,
        };
        if let Some(site) = self.site.clone() {
            self.take_policy(&site, &mut repository, &documents.files, now)?;
            repository.refresh(now)?;
        }
        let (device, bytes) = (&self.owner.device, &documents.assignment);
        let seen = self.accepted.assignment.as_ref();
        let assignment = verify_assignment(&self.root, bytes, device, seen, now)?;
        let trusted = agree(&mut repository, &assignment, now)?;
        let approved = trusted.iter().filter(|trusted| trusted.is_approved());
        let approved = approved.map(|trusted| trusted.slot().clone()).collect();
        let again = trusted.iter().filter(|trusted| trusted.again() > 0);
        let again = again.map(|trusted| (trusted.slot().clone(), trusted.again())).collect();
        let targets = trusted
            .into_iter()
            .map(|trusted| {
                let target = Target {
                    release: trusted.release().clone(),
                    number: trusted.number(),
                    floor: trusted.floor(),
                };
                (trusted.slot().clone(), target)
            })
            .collect();
        let accepted = Accepted {
            owner: Some(self.owner.clone()),
            releases,
            assignment: Some(assignment.seen()),
            withdrawn: unassigned(&self.accepted, &targets),
            targets,
            approved,
            again,
            good: self.good_until(bytes)?,
            site: self.accepted.site.clone(),
            latest_known_unix_ms: known_unix_ms,
        };
        // The versions of the repository are told whatever becomes of the rest.
        self.tell()?;
        Ok(Verified { accepted, assignment: bytes.clone() })
    }

    /// Writes down what was verified; from now on it is what the device believes.
    ///
    /// # Errors
    /// [`AcceptError::Journal`]; what was accepted before still holds.
    pub fn accept(&mut self, verified: Verified) -> Result<(), AcceptError> {
        let Verified { accepted, assignment } = verified;
        let root = self.root.clone();
        self.write(root, accepted, &[(Document::Assignment, &*assignment)], &[])
    }

    /// Lets go of the documents of roles to which the list of releases delegates no more: the shelf has
    /// room for so many, and vendors and sites come and go.
    fn clear_shelf(&self) -> Result<(), JournalError> {
        let Some(list) = self.journal.shelved("targets.json")? else { return Ok(()) };
        // It was verified before it was kept.
        let list: serde_json::Value = serde_json::from_slice(&list).unwrap_or_default();
        let roles = list["signed"]["delegations"]["roles"].as_array();
        let names = roles.into_iter().flatten().filter_map(|role| role["name"].as_str());
        let wanted: BTreeSet<String> = names
            .chain(["timestamp", "snapshot", "targets"])
            .map(|name| format!("{name}.json"))
            .collect();
        let shelf = self.journal.shelf()?;
        let left: Vec<&str> =
            shelf.iter().map(String::as_str).filter(|name| !wanted.contains(*name)).collect();
        match left.is_empty() {
            true => Ok(()),
            false => self.journal.accept(&self.accepted, &[], &left),
        }
    }

    /// Takes back what was accepted as far as nobody vouches for it any more: by a root or a list that
    /// was taken while the rest of its delivery was refused. Nothing expires here: a date that passes
    /// ends nothing that was begun.
    ///
    /// # Errors
    /// [`AcceptError::Journal`]; what was accepted before still holds.
    pub fn take_back(&mut self) -> Result<(), AcceptError> {
        let mut accepted = self.accepted.clone();
        let lists = self.lists()?;
        for (slot, target) in &self.accepted.targets {
            if let Doubt::Because(reason) = self.doubt(&lists, &target.release)? {
                accepted.targets.remove(slot);
                accepted.approved.remove(slot);
                accepted.again.remove(slot);
                let (release, reason) = (target.release.clone(), reason.to_owned());
                withdraw(&mut accepted.withdrawn, slot, Withdrawn { release, reason });
            }
        }
        if accepted.targets.len() < self.accepted.targets.len() {
            self.write(self.root.clone(), accepted, &[], &[])?;
        }
        Ok(())
    }

    /// The releases for which nobody vouches any more, among all that the journal says slots hold, and
    /// why: what is kept to go back to as well as what runs. Of what was never committed the director
    /// has to be trusted, too; what was, he may no longer take away by being replaced. Where it is not known
    /// of a release, what the slot was told of it before still holds: whoever holds a list back must not
    /// have anything vouched for by that.
    ///
    /// # Errors
    /// [`AcceptError`]: nothing is known, and all that was known before still holds.
    pub fn disowned(&self) -> Result<BTreeMap<SlotName, Disowned>, AcceptError> {
        let lists = self.lists()?;
        let mut disowned = BTreeMap::new();
        for (slot, state) in self.journal.slots()? {
            let Ok(slot) = slot.parse::<SlotName>() else { continue };
            let committed: BTreeSet<Digest> = state
                .active()
                .into_iter()
                .chain(state.previous())
                .map(|it| it.release.digest)
                .collect();
            let mut releases = Disowned::new();
            for release in state.kept() {
                let doubt = match committed.contains(&release.digest) {
                    true => self.unlisted(&lists, release)?,
                    false => self.doubt(&lists, release)?,
                };
                let why = match doubt {
                    Doubt::None => None,
                    Doubt::Because(why) => Some(why),
                    Doubt::Unknown => state.disowned(&release.digest),
                };
                releases.extend(why.map(|why| (release.digest, why.to_owned())));
            }
            if !releases.is_empty() {
                disowned.insert(slot, releases);
            }
        }
        Ok(disowned)
    }

    /// Whether a release that was accepted and not committed is to be left.
    fn doubt(&self, lists: &Lists, release: &ReleaseId) -> Result<Doubt, JournalError> {
        match self.accepted.assignment {
            None => Ok(Doubt::Because("the director who assigned it is trusted no longer")),
            Some(_) => self.unlisted(lists, release),
        }
    }

    /// Whether the lists that were taken name a release no longer.
    ///
    /// Those that lie on the shelf count, by the keys of today, and no date does. A newer one that is
    /// announced and withheld neither gives nor takes anything.
    fn unlisted(&self, lists: &Lists, release: &ReleaseId) -> Result<Doubt, JournalError> {
        let unlisted = Doubt::Because("no list of releases that is trusted names it any more");
        let list = match lists {
            Lists::Known(list) => list,
            Lists::None => return Ok(unlisted),
            Lists::Unknown => return Ok(Doubt::Unknown),
        };
        let path = format!("{}/{}", release.name, release.version);
        if let Some(listed) = list.get(&path) {
            return Ok(if listed.id == *release { Doubt::None } else { unlisted });
        }
        let mut outcome = unlisted;
        for role in list.delegates_for(&path) {
            let Some(bytes) = self.journal.shelved(&format!("{role}.json"))? else {
                outcome = Doubt::Unknown;
                continue;
            };
            match recall_delegated(list, role, &bytes, &path) {
                Ok(Some((digest, size))) if digest == release.digest && size == release.size => {
                    return Ok(Doubt::None);
                }
                // Whoever is asked first decides what is at a path.
                Ok(Some(_)) => return Ok(outcome),
                Ok(None) | Err(TrustError::Signature { .. }) => {}
                Err(_) => outcome = Doubt::Unknown,
            }
        }
        Ok(outcome)
    }

    /// The newest list of releases that this device has taken, as the root of today has it.
    fn lists(&self) -> Result<Lists, AcceptError> {
        let nobody_has = self.accepted.owner.is_some() && self.accepted.releases.is_none();
        let Some(bytes) = self.journal.shelved("targets.json")? else {
            return Ok(if nobody_has { Lists::None } else { Lists::Unknown });
        };
        Ok(match verify_releases(&self.root, &bytes, None, OffsetDateTime::UNIX_EPOCH) {
            Ok(list) => Lists::Known(Box::new(list)),
            Err(TrustError::Signature { .. }) => Lists::None,
            Err(_) => Lists::Unknown,
        })
    }

    /// Verifies the server's receipt for a report, by the newest root that was followed.
    ///
    /// # Errors
    /// [`TrustError`].
    pub fn receipt(&self, bytes: &[u8]) -> Result<TrustedReceipt, TrustError> {
        verify_receipt(&self.root, bytes, &self.owner.device)
    }

    /// Follows the roots that this device does not know yet, as far as they lead: it may have been
    /// switched off for years, and a message has room for so many only. The first that does not follow
    /// from the one before ends it.
    fn follow(&mut self, metadata: &[(String, Vec<u8>)]) -> Result<(), AcceptError> {
        let version = |name: &str| name.strip_suffix(".root.json")?.parse::<u64>().ok();
        let roots = metadata.iter().filter_map(|(name, bytes)| Some((version(name)?, bytes)));
        let mut roots: Vec<(u64, &Vec<u8>)> = roots.collect();
        roots.sort_by_key(|(version, _)| *version);
        let (mut root, mut accepted) = (self.root.clone(), self.accepted.clone());
        let followed = roots.into_iter().try_for_each(|(_, bytes)| {
            // One that is known already says nothing new, whoever sends it.
            if Root::pin(bytes)?.version() > root.version() {
                let next = root.update(bytes)?;
                succeed(&next, &root, &mut accepted);
                root = next;
            }
            Ok::<_, TrustError>(())
        });
        if root.version() > self.root.version() {
            accepted.owner = Some(self.owner.clone());
            let forgotten: &[&str] = match root.honours_timestamps_of(&self.root) {
                true => &[],
                false => &FRESHNESS,
            };
            self.write(root, accepted, &[], forgotten)?;
        }
        Ok(followed?)
    }

    fn write(
        &mut self,
        root: Root,
        accepted: Accepted,
        documents: &[(Document, &[u8])],
        forgotten: &[&str],
    ) -> Result<(), AcceptError> {
        let documents = [&[(Document::Root, root.bytes())], documents].concat();
        self.journal.accept(&accepted, &documents, forgotten)?;
        self.root = root;
        self.accepted = accepted;
        Ok(self.tell()?)
    }

    /// Takes what the site has signed, and writes it down at once, whatever comes of the rest: what is
    /// stricter must not wait. Where it cannot be had, the one before goes on to hold, so that nobody
    /// loosens it by holding it back.
    fn take_policy(
        &mut self,
        site: &SiteName,
        repository: &mut Client<Carried, JournalShelf>,
        files: &[(String, Vec<u8>)],
        now: OffsetDateTime,
    ) -> Result<(), AcceptError> {
        let held = self.rules().map(|rules| rules.digest);
        match find_policy(site, held, repository, files, now) {
            Ok(Some((digest, policy))) => {
                let rules = SiteRules { site: site.clone(), digest, policy };
                let accepted = Accepted {
                    owner: Some(self.owner.clone()),
                    site: Some(rules),
                    ..self.accepted.clone()
                };
                self.write(self.root.clone(), accepted, &[], &[])?;
                self.tell_policy();
                self.policy_trouble = None;
            }
            Ok(None) => self.policy_trouble = None,
            Err(why) => {
                let trouble = format!("the policy of site {site} is not taken: {why}");
                tracing::warn!("{trouble}");
                self.policy_trouble = Some(trouble);
            }
        }
        match self.rules() {
            Some(_) => Ok(()),
            None => Err(AcceptError::NoPolicy(site.clone())),
        }
    }

    /// What holds at the site where this device stands.
    fn rules(&self) -> Option<&SiteRules> {
        let rules = self.accepted.site.as_ref()?;
        (Some(&rules.site) == self.site.as_ref()).then_some(rules)
    }

    fn tell_policy(&self) {
        let policy = self.rules().map(|rules| rules.policy.clone()).unwrap_or_default();
        self.policy.send_if_modified(|held| {
            let is_new = *held != policy;
            *held = policy;
            is_new
        });
    }

    /// Tells who listens what was accepted.
    fn tell(&self) -> Result<(), JournalError> {
        let timestamp = self.shelved("timestamp.json")?;
        let now = Versions {
            root: self.root.version(),
            timestamp: timestamp.map_or(0, |listed| listed.version()),
            releases: self.accepted.releases.map_or(0, |seen| seen.version),
            assignment: self.accepted.assignment.map_or(0, |seen| seen.version),
        };
        self.versions.send_if_modified(|versions| std::mem::replace(versions, now) != now);
        self.good.send_replace(self.accepted.good.clone());
        Ok(())
    }

    /// When the newest timestamp was signed.
    fn signed_at(&self) -> Result<Option<OffsetDateTime>, JournalError> {
        Ok(self.journal.shelved("timestamp.json")?.and_then(|bytes| signed_at(&bytes)))
    }

    /// The newest list of releases.
    fn list(&self) -> Result<Option<Listed>, JournalError> {
        self.shelved("targets.json")
    }

    /// A document of the repository as it is kept.
    fn shelved(&self, name: &str) -> Result<Option<Listed>, JournalError> {
        // It was verified before it was kept.
        Ok(self.journal.shelved(name)?.and_then(|bytes| Listed::of(LIST, &bytes).ok()))
    }

    /// Which document expires first, with this assignment.
    fn good_until(&self, assignment: &[u8]) -> Result<Option<Good>, JournalError> {
        let root = Listed::of("root", self.root.bytes()).ok();
        let assignment = Listed::of("assignment", assignment).ok();
        let documents = [
            ("root", root),
            ("timestamp", self.shelved("timestamp.json")?),
            ("snapshot", self.shelved("snapshot.json")?),
            (LIST, self.list()?),
            ("assignment", assignment),
        ];
        let dated = documents.into_iter().filter_map(|(name, listed)| {
            let until_unix_ms = listed?.expires().unix_timestamp().saturating_mul(1000);
            Some(Good { document: name.to_owned(), until_unix_ms })
        });
        Ok(dated.min_by_key(|good| good.until_unix_ms))
    }
}

/// What slots hold and nobody vouches for: which releases, and why, for people.
pub type Disowned = BTreeMap<Digest, String>;

/// What vouches for releases. No date counts here.
enum Lists {
    /// The newest list that was taken; what the roles have signed to which it delegates lies beside it.
    Known(Box<TrustedReleases>),
    /// Who may sign one has been replaced, and his successor has signed none yet.
    None,
    /// There is none, or none that can be read.
    Unknown,
}

/// Whether somebody vouches for a release.
#[derive(Clone, Copy)]
enum Doubt {
    /// Somebody does.
    None,
    /// Nobody does, and why.
    Because(&'static str),
    /// That cannot be known.
    Unknown,
}

/// The policy of a site, if it is another than the one `held`: signed by who may, within its paths,
/// and every limit of it understood.
fn find_policy(
    site: &SiteName,
    held: Option<Digest>,
    repository: &mut Client<Carried, JournalShelf>,
    files: &[(String, Vec<u8>)],
    now: OffsetDateTime,
) -> Result<Option<(Digest, SitePolicy)>, String> {
    let told = |error: RepositoryError| error.to_string();
    let path = format!("site/{site}/policy.json");
    let file = repository.target(&path, now).map_err(told)?;
    let file = file.ok_or_else(|| format!("nobody who may has signed {path}"))?;
    let digest = file.sha256().and_then(|hex| format!("sha256:{hex}").parse().ok());
    let digest: Digest = digest.ok_or_else(|| format!("{path} has no sha256"))?;
    if held == Some(digest) {
        return Ok(None);
    }
    let bytes = files.iter().find(|(name, _)| name == file.name()).map(|(_, bytes)| bytes);
    let bytes = bytes.ok_or_else(|| format!("{} did not come with it", file.name()))?;
    let mut check = file.check();
    check.update(bytes).map_err(told)?;
    check.finish().map_err(told)?;
    let policy: SitePolicy =
        serde_json::from_slice(bytes).map_err(|error| format!("{path}: {error}"))?;
    policy.check().map_err(|(field, problem)| format!("{path}: {field}: {problem}"))?;
    Ok(Some((digest, policy)))
}

/// What was withdrawn from slots, once these are the `targets`.
fn unassigned(
    before: &Accepted,
    targets: &BTreeMap<SlotName, Target>,
) -> BTreeMap<SlotName, Withdrawn> {
    let mut withdrawn = before.withdrawn.clone();
    withdrawn.retain(|slot, _| !targets.contains_key(slot));
    for (slot, target) in before.targets.iter().filter(|(slot, _)| !targets.contains_key(*slot)) {
        let reason = "nothing is assigned to the slot any more".to_owned();
        let release = target.release.clone();
        withdraw(&mut withdrawn, slot, Withdrawn { release, reason });
    }
    withdrawn
}

/// Remembers what a slot was to hold; of slots whose names nobody uses any more some are forgotten.
fn withdraw(all: &mut BTreeMap<SlotName, Withdrawn>, slot: &SlotName, withdrawn: Withdrawn) {
    all.insert(slot.clone(), withdrawn);
    if all.len() > WITHDRAWN_MAX {
        let other = all.keys().find(|other| *other != slot).cloned();
        other.and_then(|other| all.remove(&other));
    }
}

/// The newer of two roots, if one was signed as the successor of the other.
///
/// A folder that was made after the last root was followed has a newer one than the journal; one that
/// was made in between, an older one.
fn together(kept: Root, pinned: Root, accepted: &mut Accepted) -> Result<Root, RestoreError> {
    if kept.bytes() == pinned.bytes() || pinned.update(kept.bytes()).is_ok() {
        return Ok(kept);
    }
    let next = kept.update(pinned.bytes()).map_err(|_| RestoreError::OtherRoot)?;
    succeed(&next, &kept, accepted);
    Ok(next)
}

/// Forgets versions that keys have signed which are trusted no more.
fn succeed(next: &Root, before: &Root, accepted: &mut Accepted) {
    if !next.honours_releases_of(before) {
        accepted.releases = None;
    }
    if !next.honours_assignments_of(before) {
        accepted.assignment = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_withdrawn_releases_are_remembered_and_always_the_last() {
        let mut all = BTreeMap::new();
        for number in 0..2 * WITHDRAWN_MAX {
            let slot: SlotName = format!("slot-{number}").parse().unwrap();
            let release = ReleaseId {
                name: "echo".parse().unwrap(),
                version: number.to_string().parse().unwrap(),
                digest: Digest::of(b"echo"),
                size: 4,
            };
            withdraw(&mut all, &slot, Withdrawn { release, reason: String::new() });
            assert_eq!(all.len(), WITHDRAWN_MAX.min(number + 1));
            assert!(all.contains_key(&slot));
        }
    }
}
