//! Who vouches for what was accepted: what is taken back, what was withdrawn, and what slots hold for
//! which nobody vouches any more.

use super::{AcceptError, Acceptance};
use crate::update::journal::{Accepted, JournalError, Withdrawn};
use crate::update::shelf::JournalShelf;
use lineside_bundle::{Digest, ReleaseId};
use lineside_trust::repository::{Carried, Client};
use lineside_trust::{TrustError, TrustedReleases, recall_delegated, verify_releases};
use lineside_update::{SlotState, Target};
use lineside_wire::name::SlotName;
use std::collections::{BTreeMap, BTreeSet};
use time::OffsetDateTime;

/// Slots of which it is remembered what they were to hold.
const WITHDRAWN_MAX: usize = 64;

/// What slots hold and nobody vouches for: which releases, and why, for people.
pub type Disowned = BTreeMap<Digest, String>;

impl Acceptance {
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
        let path = path(release);
        if let Some(listed) = list.get(&path) {
            return Ok(if listed.id == *release { Doubt::None } else { unlisted });
        }
        let mut outcome = unlisted;
        for role in list.delegates_for(&path) {
            // A list that never came has vouched for nothing here, whoever holds it back.
            let Some(bytes) = self.journal.shelved(&format!("{role}.json"))? else { continue };
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

    /// Asks the repository for what slots hold, too, whether it is assigned or not: what its signers say of
    /// it by now comes on the shelf only where somebody asks. What cannot be had ends nothing: what was
    /// taken before goes on to count.
    pub(super) fn ask_for_held(
        &self,
        repository: &mut Client<Carried, JournalShelf>,
        now: OffsetDateTime,
    ) -> Result<(), AcceptError> {
        let slots = self.journal.slots()?;
        let paths: BTreeSet<String> = slots.values().flat_map(SlotState::kept).map(path).collect();
        for path in paths {
            if let Err(error) = repository.target(&path, now) {
                tracing::debug!(
                    "what is said of {path}, which a slot holds, is not known: {error}"
                );
                // After an error it answers nothing before that.
                repository.refresh(now)?;
            }
        }
        Ok(())
    }

    /// The newest list of releases that this device has taken, as the root of today has it.
    fn lists(&self) -> Result<Lists, AcceptError> {
        let nobody_has = self.accepted.owner.is_some() && self.accepted.releases.is_none();
        let Some(bytes) = self.journal.shelved("targets.json")? else {
            return Ok(if nobody_has { Lists::None } else { Lists::Unknown });
        };
        // An older one comes on the shelf where a new online key is in the wrong hands.
        let seen = self.accepted.releases.as_ref();
        Ok(match verify_releases(&self.root, &bytes, seen, OffsetDateTime::UNIX_EPOCH) {
            Ok(list) => Lists::Known(Box::new(list)),
            Err(TrustError::Signature { .. }) => Lists::None,
            Err(_) => Lists::Unknown,
        })
    }
}

/// What vouches for releases. No date counts here.
enum Lists {
    /// The newest list that was taken; what the roles have signed to which it delegates lies beside it.
    Known(Box<TrustedReleases>),
    /// Who may sign one has been replaced, and his successor has signed none yet.
    None,
    /// There is none, or none that can be read, or one that is older than what was taken before.
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

/// Where lists name a release.
fn path(release: &ReleaseId) -> String {
    format!("{}/{}", release.name, release.version)
}

/// What was withdrawn from slots, once these are the `targets`.
pub(super) fn unassigned(
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
