//! What a device takes for true next: documents are verified in the order of trust, and new roots followed.

use super::{AcceptError, Acceptance, LIST, RestoreError, vouched};
use crate::update::journal::{Accepted, Good, JournalError};
use crate::update::shelf::JournalShelf;
use lineside_trust::repository::{Carried, Client};
use lineside_trust::{Listed, Root, TrustError, agree, signed_at, verify_assignment};
use lineside_update::Target;
use lineside_wire::name::SlotName;
use lineside_wire::v1::Documents;
use std::collections::{BTreeMap, BTreeSet};
use time::OffsetDateTime;

/// What a new root forgets if it replaces the keys of snapshot and timestamp.
const FRESHNESS: [&str; 2] = ["timestamp.json", "snapshot.json"];

/// Documents that were verified and not yet written down. Only [`Acceptance::verify`] makes them.
pub struct Verified {
    pub(super) accepted: Accepted,
    pub(super) assignment: Vec<u8>,
}

impl Verified {
    /// What both documents agree on, by slot.
    pub fn targets(&self) -> &BTreeMap<SlotName, Target> {
        &self.accepted.targets
    }
}

impl Acceptance {
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
        let shelf = JournalShelf { journal: self.journal.clone(), root: self.root.clone() };
        let mut repository = Client::new(self.root.bytes(), carried, shelf)?;
        // What the timestamp says of the time is not written down: whoever stole the key that signs it
        // could otherwise set this clock forward for good. It goes when that key is replaced.
        let mut now = self.signed_at()?.map_or(now, |told| now.max(told));
        repository.refresh(now)?;
        self.take_list()?;
        if let Some(told) = self.signed_at()?.filter(|told| *told > now) {
            now = told;
            repository.refresh(now)?;
        }
        self.clear_shelf()?;
        if let Some(site) = self.site.clone() {
            self.take_policy(&site, &mut repository, &documents.files, now)?;
            repository.refresh(now)?;
        }
        self.ask_for_held(&mut repository, now)?;
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
            releases: self.accepted.releases,
            assignment: Some(assignment.seen()),
            withdrawn: vouched::unassigned(&self.accepted, &targets),
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

    /// Remembers the list of releases that has come, whatever becomes of the rest: no older one counts from
    /// now on, not even under a new online key, with which TUF forgets what the snapshot said.
    fn take_list(&mut self) -> Result<(), AcceptError> {
        let Some(list) = self.list()? else { return Ok(()) };
        let releases = Some(list.seen().after(LIST, self.accepted.releases.as_ref())?);
        if releases != self.accepted.releases {
            let owner = Some(self.owner.clone());
            let accepted = Accepted { owner, releases, ..self.accepted.clone() };
            self.write(self.root.clone(), accepted, &[], &[])?;
        }
        Ok(())
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

    /// When the newest timestamp was signed.
    fn signed_at(&self) -> Result<Option<OffsetDateTime>, JournalError> {
        Ok(self.journal.shelved("timestamp.json")?.and_then(|bytes| signed_at(&bytes)))
    }

    /// The newest list of releases.
    fn list(&self) -> Result<Option<Listed>, JournalError> {
        self.shelved("targets.json")
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

/// The newer of two roots, if one was signed as the successor of the other.
///
/// A folder that was made after the last root was followed has a newer one than the journal; one that
/// was made in between, an older one.
pub(super) fn together(
    kept: Root,
    pinned: Root,
    accepted: &mut Accepted,
) -> Result<Root, RestoreError> {
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
