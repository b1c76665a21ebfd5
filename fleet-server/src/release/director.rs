//! The director: says which release each slot of a device shall hold, and signs it.

use crate::access::random_number;
use crate::audit::{By, digest, of_slot};
use crate::bounds::SLOTS_MAX;
use crate::error::{Error, chain};
use crate::registry::{Names, SlotReported};
use crate::release::listed::targets;
use crate::release::{Released, Repository, ServerKeys, SignedDocuments};
use crate::store::recording::approvals;
use crate::store::tables::{assignment, device};
use crate::store::{Store, Writing, from_row, to_row, unix_ms};
use crate::traces::within;
use lineside_audit::{Action, Change as Recorded};
use lineside_bundle::{Digest, ReleaseId};
use lineside_trace::{Kind, Tracer};
use lineside_trust::{
    AssignmentSpec, Root, SignedRelease, agree, recall_assignment, sign_assignment,
    verify_assignment,
};
use lineside_wire::name::{DeviceId, SlotName};
use sea_orm::sea_query::OnConflict;
use sea_orm::{ActiveValue::Set, ColumnTrait, EntityTrait, QueryFilter};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use time::{Duration, OffsetDateTime};

/// How long an assignment may be accepted. What is installed stays installed.
const VALID: Duration = Duration::days(30);
/// An assignment that is asked for with less time left is signed anew.
const RENEW: Duration = Duration::days(7);
/// Manifests that were assigned to a device before and that it may still fetch.
const BEFORE_MAX: usize = 64;
/// How far a device's assignment may be ahead of the last one signed here to be believed. Beyond it
/// the device is broken, and would use up all versions there are.
const AHEAD_MAX: u64 = 1 << 32;

/// What is assigned to a device.
#[derive(Debug, Clone)]
pub(crate) struct Assigned {
    pub version: u64,
    pub slots: BTreeMap<SlotName, String>,
    /// Slots for which a person has approved what is assigned to them.
    pub approved: BTreeSet<SlotName>,
    pub bytes: Vec<u8>,
    /// Slots whose assignment ended with this version, because their release left the list.
    pub withdrawn: BTreeMap<SlotName, String>,
    /// Bundles and manifests that were assigned before, the latest first.
    before: Vec<(String, Digest)>,
    expires_unix_ms: i64,
}

impl Assigned {
    /// Digests of the manifests that the device may read of this bundle: what is assigned to it, and
    /// what was. It may still hold that, have to go back to it, and need it again where its disk rots.
    pub fn manifests(&self, bundle: &str) -> BTreeSet<Digest> {
        let named = self.named().into_iter().chain(self.before.iter().cloned());
        named.filter(|(name, _)| name == bundle).map(|(_, digest)| digest).collect()
    }

    /// Digests of all manifests that are or were assigned to the device.
    pub fn given(&self) -> BTreeSet<Digest> {
        let named = self.named().into_iter().chain(self.before.iter().cloned());
        named.map(|(_, digest)| digest).collect()
    }

    /// The latest release of a bundle that was assigned before the one of this digest, and is earlier by its
    /// number; as in `turbine/1`.
    pub fn before_of(
        &self,
        bundle: &str,
        active: Option<Digest>,
        released: &Released,
    ) -> Option<String> {
        let find = |digest: Digest| {
            let mut all = released.iter();
            all.find(|one| one.id.name.as_str() == bundle && one.id.digest == digest)
        };
        let number = find(active?)?.number;
        let before = self.before.iter().filter(|(name, _)| name == bundle);
        let mut earlier = before.filter_map(|(_, digest)| find(*digest));
        Some(earlier.find(|one| one.number < number)?.path())
    }

    /// Bundles and manifests that it names.
    fn named(&self) -> Vec<(String, Digest)> {
        // Signed here, so it is of this form; anything else names nothing.
        let named =
            |(path, digest): (String, Digest)| Some((path.split_once('/')?.0.to_owned(), digest));
        targets(&self.bytes).into_iter().filter_map(named).collect()
    }

    /// What was assigned up to and with this, the latest first, without what `next` names.
    fn before(&self, next: &[(String, Digest)]) -> Vec<(String, Digest)> {
        let mut before = self.named();
        before.extend(self.before.iter().cloned());
        let mut seen: BTreeSet<_> = next.iter().cloned().collect();
        before.retain(|one| seen.insert(one.clone()));
        before.truncate(BEFORE_MAX);
        before
    }

    /// Whether it names just those of its slots' releases that are released, as they are released.
    fn agrees_with(&self, released: &Released) -> bool {
        let mut wanted = BTreeSet::new();
        for release in self.slots.values().filter_map(|path| released.get(path)) {
            wanted.insert((release.id.name.to_string(), release.id.digest));
        }
        self.named().into_iter().collect::<BTreeSet<_>>() == wanted
    }
}

/// Whether a release that a device may have given up is to be tried again there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tried {
    /// Where it has given it up, that stays so.
    Once,
    /// A person says so.
    Again,
}

/// What a release is assigned instead of.
enum Instead<'a> {
    OfAny,
    /// Of this one alone, or of none.
    Of(Option<&'a str>),
}

/// What is to be different in the next assignment.
enum Change<'a> {
    Assign(SlotName, &'a str, Tried, Instead<'a>),
    Approve(SlotName, &'a str),
    Clear(SlotName),
    /// Nothing but its version and its date.
    Renew,
}

impl Change<'_> {
    /// As traces have it.
    fn word(&self) -> &'static str {
        match self {
            Change::Assign(..) => "assign",
            Change::Approve(..) => "approve",
            Change::Clear(_) => "unassign",
            Change::Renew => "renew",
        }
    }

    fn slot(&self) -> Option<&SlotName> {
        match self {
            Change::Assign(slot, ..) | Change::Approve(slot, _) | Change::Clear(slot) => Some(slot),
            Change::Renew => None,
        }
    }
}

/// Signs assignments. One at a time, so that versions rise.
#[derive(Clone)]
pub(crate) struct Director {
    store: Arc<Store>,
    documents: SignedDocuments,
    repository: Repository,
    keys: Arc<ServerKeys>,
    traces: Tracer,
}

impl Director {
    /// A director with the server's key.
    pub fn new(
        store: Arc<Store>,
        documents: SignedDocuments,
        repository: Repository,
        keys: Arc<ServerKeys>,
    ) -> Director {
        Director { store, documents, repository, keys, traces: Tracer::off() }
    }

    /// The same, with its decisions traced.
    pub fn traced(self, traces: Tracer) -> Director {
        Director { traces, ..self }
    }

    /// Assigns the release at `path` (`turbine/2`) to a slot of a device.
    ///
    /// # Errors
    /// [`Error::Missing`] names the device or the release; [`Error::Untrusted`] if the list of
    /// releases has expired.
    pub async fn assign(
        &self,
        by: &By,
        device: &DeviceId,
        slot: SlotName,
        path: &str,
        tried: Tried,
        now: OffsetDateTime,
    ) -> Result<Assigned, Error> {
        let released = self.documents.released(now).await?;
        let change = Change::Assign(slot, path, tried, Instead::OfAny);
        self.sign(by, device, change, Some(&released), now).await
    }

    /// Assigns the release at `path` to a slot of a device as long as `seen` is still what is assigned to it: what a
    /// person assigns meanwhile stays.
    ///
    /// # Errors
    /// [`Error::Conflict`] if it is not; otherwise as for [`Director::assign`].
    pub async fn assign_instead_of(
        &self,
        by: &By,
        device: &DeviceId,
        slot: SlotName,
        path: &str,
        seen: Option<&str>,
        now: OffsetDateTime,
    ) -> Result<Assigned, Error> {
        let released = self.documents.released(now).await?;
        let change = Change::Assign(slot, path, Tried::Once, Instead::Of(seen));
        self.sign(by, device, change, Some(&released), now).await
    }

    /// Whether a release would be assigned now, as long as `seen` is what is assigned there, if that matters.
    ///
    /// # Errors
    /// Why it would not be, as for [`Director::assign_instead_of`].
    pub async fn check(
        &self,
        device: &DeviceId,
        slot: &SlotName,
        path: &str,
        seen: Option<Option<&str>>,
        now: OffsetDateTime,
    ) -> Result<(), Error> {
        let released = self.documents.released(now).await?;
        released.get(path).ok_or_else(|| not_released(path, slot, &released))?;
        self.repository.follow(&released, now).await?;
        let assigned = self.assigned(device).await?;
        let there = assigned.as_ref().and_then(|assigned| assigned.slots.get(slot));
        match (seen, there.map(String::as_str)) {
            (Some(seen), there) if seen != there => Err(assigned_since(there.unwrap_or("nothing"))),
            _ => Ok(()),
        }
    }

    /// Says that a person approves the release at `path` for a slot to which it is assigned. It holds
    /// until another one is assigned to it.
    ///
    /// # Errors
    /// [`Error::Conflict`] if another release is assigned to the slot, or none; otherwise as for
    /// [`Director::assign`].
    pub async fn approve(
        &self,
        by: &By,
        device: &DeviceId,
        slot: SlotName,
        path: &str,
        now: OffsetDateTime,
    ) -> Result<Assigned, Error> {
        let released = self.documents.released(now).await?;
        self.sign(by, device, Change::Approve(slot, path), Some(&released), now).await
    }

    /// Ends the assignment of a slot. What the device runs there stays. It needs no list of releases that
    /// holds: what is taken away must be possible above all when that was signed by thieves.
    ///
    /// # Errors
    /// [`Error::Missing`] if nothing is assigned to it; otherwise as for [`Director::assign`].
    pub async fn clear(
        &self,
        by: &By,
        device: &DeviceId,
        slot: SlotName,
        now: OffsetDateTime,
    ) -> Result<Assigned, Error> {
        let released = self.documents.released_if_any(now).await?;
        self.sign(by, device, Change::Clear(slot), released.as_ref(), now).await
    }

    /// What is assigned to a device; none if nothing is.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn assigned(&self, device: &DeviceId) -> Result<Option<Assigned>, Error> {
        let id = device.to_string();
        Ok(assignment::Entity::find_by_id(id).one(self.store.read()).await?.map(read))
    }

    /// What is assigned to each of these devices, by name.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn assigned_across(
        &self,
        names: Names<'_>,
    ) -> Result<BTreeMap<String, Assigned>, Error> {
        let rows = assignment::Entity::find()
            .filter(assignment::Column::Device.between(names.first, names.last))
            .all(self.store.read())
            .await?;
        Ok(rows.into_iter().map(|row| (row.device.clone(), read(row))).collect())
    }

    /// What is assigned to a device, fit to be sent: signed anew if it is about to expire, is older
    /// than what the device has accepted before, is signed by a director whom the root names no
    /// longer, or names what is no longer released. A device would refuse each of these, and with it
    /// what is assigned to its other slots.
    ///
    /// # Errors
    /// [`Error::Conflict`] while the device holds an assignment that was forgotten here; otherwise as for
    /// [`Director::assign`].
    pub async fn current(
        &self,
        device: &DeviceId,
        released: &Released,
        now: OffsetDateTime,
    ) -> Result<Option<Assigned>, Error> {
        let Some(assigned) = self.assigned(device).await? else { return Ok(None) };
        let known = device::Entity::find_by_id(device.to_string()).one(self.store.read()).await?;
        let held = known.map_or(0, |known| from_row(known.assignment_version));
        let expires_soon = assigned.expires_unix_ms < unix_ms(now + RENEW);
        let root = self.documents.root().await?;
        let is_good = verify_assignment(&root, &assigned.bytes, device, None, now).is_ok()
            && assigned.agrees_with(released);
        if expires_soon || !is_good || is_behind(assigned.version, held) {
            let by = By::Server("director");
            return Ok(Some(self.sign(&by, device, Change::Renew, Some(released), now).await?));
        }
        Ok(Some(assigned))
    }

    /// Takes up the assignment that a device holds and this server has forgotten, as after it was
    /// restored from a copy. What the device says of itself is not believed, for then its password would
    /// be enough to be given any release: only what the director has signed for it counts, and no director
    /// who was replaced before the last one that is known here was signed. None if it is no newer one.
    ///
    /// # Errors
    /// [`Error::Refused`] if no director that counts has signed it for this device.
    pub async fn take_up(
        &self,
        device: &DeviceId,
        bytes: Vec<u8>,
        released: Option<&Released>,
    ) -> Result<Option<Assigned>, Error> {
        let roots = self.documents.parsed_roots().await?;
        let writing = self.store.write().await?;
        let last = last(&writing, device).await?;
        let by = |bytes: &[u8]| recall(&roots, bytes, device);
        let oldest = last.as_ref().and_then(|last| by(&last.bytes)).map(|(root, _)| root);
        let oldest = oldest.unwrap_or(roots.len().saturating_sub(1));
        let (_, spec) = by(&bytes).filter(|(root, _)| oldest <= *root).ok_or_else(|| {
            Error::Refused(format!(
                "no director that counts has signed this assignment for {device}"
            ))
        })?;
        if spec.version <= last.as_ref().map_or(0, |last| last.version) {
            return Ok(None);
        }
        let mut slots: BTreeMap<SlotName, String> = spec
            .slots
            .into_iter()
            .map(|(slot, release)| (slot, format!("{}/{}", release.name, release.version)))
            .collect();
        let mut approved = spec.approved;
        // What waits for a vendor's list is named in no assignment, and was not ended by this one.
        for (slot, path) in last.iter().flat_map(|last| &last.slots) {
            let waits = released.is_some_and(|released| released.awaits(path));
            if waits && slots.len() < SLOTS_MAX && !slots.contains_key(slot) {
                slots.insert(slot.clone(), path.clone());
                if last.iter().any(|last| last.approved.contains(slot)) {
                    approved.insert(slot.clone());
                }
            }
        }
        let mut assigned = Assigned {
            version: spec.version,
            slots,
            approved,
            bytes,
            withdrawn: BTreeMap::new(),
            before: vec![],
            expires_unix_ms: unix_ms(spec.expires),
        };
        let before = last.as_ref().map(|last| last.slots.clone()).unwrap_or_default();
        if let Some(last) = last {
            assigned.before = last.before(&assigned.named());
        }
        put(&writing, device, &assigned).await?;
        record(&writing, |_| By::Device(device.clone()), device, &before, &assigned, &[]);
        writing.commit().await?;
        Ok(Some(assigned))
    }

    async fn sign(
        &self,
        by: &By,
        device: &DeviceId,
        change: Change<'_>,
        released: Option<&Released>,
        now: OffsetDateTime,
    ) -> Result<Assigned, Error> {
        let mut span = self.traces.begin(change.word(), Kind::Internal, within());
        span.set("lineside.device", device.as_str());
        if let Some(slot) = change.slot() {
            span.set("lineside.slot", slot.as_str());
        }
        if let Change::Assign(_, path, ..) | Change::Approve(_, path) = &change {
            span.set("lineside.release", *path);
        }
        let signed = self.sign_within(by, device, change, released, now).await;
        match &signed {
            Ok(assigned) => span.set("lineside.assignment", to_row(assigned.version)),
            Err(error) => span.fail(&chain(error)),
        }
        signed
    }

    async fn sign_within(
        &self,
        by: &By,
        device: &DeviceId,
        change: Change<'_>,
        released: Option<&Released>,
        now: OffsetDateTime,
    ) -> Result<Assigned, Error> {
        // Before the database is held: snapshot and timestamp may have to be signed.
        let mut repository = match released {
            Some(released) => Some(self.repository.follow(released, now).await?),
            None => None,
        };
        let roots = self.documents.parsed_roots().await?;
        let writing = self.store.write().await?;
        let id = device.to_string();
        let known = device::Entity::find_by_id(id).one(&writing.transaction).await?;
        let known = known.ok_or_else(|| {
            Error::Missing(format!(
                "there is no device {device}: add it with `lineside device add`"
            ))
        })?;
        let last = last(&writing, device).await?;
        let (last_version, held) =
            (last.as_ref().map_or(0, |last| last.version), from_row(known.assignment_version));
        let version = next_version(last_version, held);
        let mut approved = last.as_ref().map(|last| last.approved.clone()).unwrap_or_default();
        let mut slots = last.as_ref().map(|last| last.slots.clone()).unwrap_or_default();
        // What was said of it last goes on to be said, as far as the release was named by then.
        let signed = last.as_ref().and_then(|last| recall(&roots, &last.bytes, device));
        let mut again = signed.map(|(_, spec)| spec.again).unwrap_or_default();
        if is_behind(last_version, held) {
            if matches!(change, Change::Approve(..) | Change::Renew) {
                return Err(Error::Conflict(format!(
                    "{device} holds assignment {held}, and the last one known here is {last_version}: was \
                     the server restored from a copy? It takes up what the device holds as soon as that is \
                     connected; or assign what it shall hold"
                )));
            }
            keep_what_both_say(&mut slots, &known.slots);
        }
        // What only waits for a vendor to sign his list anew stays assigned, and is not named until then.
        let (mut slots, withdrawn): (BTreeMap<_, _>, BTreeMap<_, _>) =
            slots.into_iter().partition(|(_, path)| {
                released.is_none_or(|list| list.get(path).is_some() || list.awaits(path))
            });
        let said = match &change {
            Change::Assign(slot, ..) | Change::Clear(slot) => {
                Some((Action::SlotAssigned, slot.clone()))
            }
            Change::Approve(slot, _) => Some((Action::SlotApproved, slot.clone())),
            Change::Renew => None,
        };
        match change {
            Change::Assign(slot, path, tried, instead) => {
                let there = last.as_ref().and_then(|last| last.slots.get(&slot));
                let there = there.map(String::as_str);
                if let Instead::Of(seen) = instead
                    && there != seen
                {
                    return Err(assigned_since(there.unwrap_or("nothing")));
                }
                if let Some(released) = released {
                    let release = released.get(path);
                    release.ok_or_else(|| not_released(path, &slot, released))?;
                }
                let before = slots.insert(slot.clone(), path.to_owned());
                if tried == Tried::Again || before.is_none_or(|before| before != path) {
                    // Who approved it did not know what has become of it since.
                    approved.remove(&slot);
                    again.remove(&slot);
                }
                if tried == Tried::Again {
                    again.insert(slot, random_number()?);
                }
            }
            Change::Approve(slot, path) => match slots.get(&slot) {
                Some(assigned) if assigned == path => {
                    approved.insert(slot);
                }
                Some(assigned) => {
                    return Err(Error::Conflict(format!(
                        "{assigned} is assigned to slot {slot} of {device}, not {path}: what was not \
                         looked at is not approved"
                    )));
                }
                None => {
                    let problem = format!("nothing is assigned to slot {slot} of {device}");
                    return Err(Error::Conflict(problem));
                }
            },
            Change::Clear(slot) => {
                if slots.remove(&slot).is_none() && !withdrawn.contains_key(&slot) {
                    let problem = format!("nothing is assigned to slot {slot} of {device}");
                    return Err(Error::Missing(problem));
                }
            }
            Change::Renew => {}
        }
        if slots.len() > SLOTS_MAX {
            return Err(Error::Malformed(format!("a device has at most {SLOTS_MAX} slots")));
        }
        // Of a slot that has lost its release nothing is left to approve.
        approved.retain(|slot| slots.contains_key(slot));
        let named = match released {
            Some(released) => resolve(&slots, released),
            // As it was named last: of a list that does not hold nothing is taken.
            None => {
                let named = last.as_ref().and_then(|last| recall(&roots, &last.bytes, device));
                let mut named = named.map(|(_, spec)| spec.slots).unwrap_or_default();
                named.retain(|slot, _| slots.contains_key(slot));
                named
            }
        };
        let expires = now + VALID;
        let spec = AssignmentSpec {
            device: device.clone(),
            version,
            expires,
            slots: named,
            approved: approved.clone(),
            again,
        };
        let bytes = sign_assignment(&spec, &self.keys.director);
        // What the device will check, so that nobody is told of a success that it would refuse. Where there
        // is no list that holds, it takes nothing before there is one; and then this is signed anew.
        if let Some(repository) = &mut repository {
            let root = self.documents.root().await?;
            let trusted = verify_assignment(&root, &bytes, device, None, now)?;
            agree(repository, &trusted, now)?;
        }
        let expires_unix_ms = unix_ms(expires);
        let mut assigned = Assigned {
            version,
            slots,
            approved,
            bytes,
            withdrawn,
            before: vec![],
            expires_unix_ms,
        };
        let before = last.as_ref().map(|last| last.slots.clone()).unwrap_or_default();
        if let Some(last) = last {
            assigned.before = last.before(&assigned.named());
        }
        put(&writing, device, &assigned).await?;
        let whose = |slot: &SlotName| match said.as_ref().is_some_and(|(_, meant)| meant == slot) {
            true => by.clone(),
            // It follows from the list of releases, or from what a restored copy lacks.
            false => By::Server("director"),
        };
        let because = match by.cause() {
            Some(subject) => approvals(&writing.transaction, &subject).await?,
            None => Vec::new(),
        };
        record(&writing, whose, device, &before, &assigned, &because);
        if let Some((action, slot)) = &said {
            let path = assigned.slots.get(slot).map(String::as_str);
            let is_new = before.get(slot) != assigned.slots.get(slot);
            let change = |action| slot_change(by, action, (device, slot), (path, path), &assigned);
            if *action == Action::SlotApproved {
                // What was assigned is assigned from now on with this leave.
                writing.record(change(Action::SlotApproved));
                writing.record_therefore(change(Action::SlotAssigned));
            } else if !is_new {
                // Tried again, or only said once more: that, too, is somebody's doing.
                writing.record(change(Action::SlotAssigned));
            }
        }
        writing.commit().await?;
        for (slot, path) in &assigned.withdrawn {
            tracing::warn!(
                "{device}: {path} is no longer released, and no longer assigned to {slot}"
            );
        }
        Ok(assigned)
    }
}

/// A device accepts no assignment that is older than the one it has, so versions go on from what it
/// has, even if this server has forgotten that it signed it.
fn next_version(last: u64, held: u64) -> u64 {
    if is_behind(last, held) { held + 1 } else { last.saturating_add(1) }
}

/// Whether a device holds a newer assignment than the `last` that is known here: one that was signed
/// before this server was restored from a copy. It would refuse any older one.
pub(crate) fn is_behind(last: u64, held: u64) -> bool {
    held.checked_sub(last).is_some_and(|ahead| 0 < ahead && ahead <= AHEAD_MAX)
}

/// Of a device that holds a newer assignment than any known here, as after this server was restored
/// from a copy, and that could not show it, this leaves what was assigned when the copy was made and the
/// device still says that it holds. To assign the rest would take the fleet back, and nobody said so; to
/// assign what the device says would give it whatever it asks for.
fn keep_what_both_say(slots: &mut BTreeMap<SlotName, String>, reported: &str) {
    let reported: Vec<SlotReported> = serde_json::from_str(reported).unwrap_or_default();
    slots.retain(|slot, path| {
        let held = reported.iter().find(|held| held.slot == slot.as_str());
        let holds = held.and_then(|held| held.candidate.as_ref().or(held.active.as_ref()));
        holds.is_some_and(|holds| format!("{}/{}", holds.name, holds.version) == *path)
    });
}

/// What an assignment says that was signed for a device, and which of the roots, the newest if several
/// do, names the director who signed it.
fn recall(roots: &[Root], bytes: &[u8], device: &DeviceId) -> Option<(usize, AssignmentSpec)> {
    let said = |root| recall_assignment(root, bytes, device).ok();
    roots.iter().enumerate().rev().find_map(|(at, root)| Some((at, said(root)?)))
}

/// What was assigned last to a device.
async fn last(writing: &Writing<'_>, device: &DeviceId) -> Result<Option<Assigned>, Error> {
    let row = assignment::Entity::find_by_id(device.to_string()).one(&writing.transaction).await?;
    Ok(row.map(read))
}

/// Writes down what is assigned to a device, in the place of what was.
async fn put(writing: &Writing<'_>, device: &DeviceId, assigned: &Assigned) -> Result<(), Error> {
    let columns = [
        assignment::Column::Before,
        assignment::Column::Version,
        assignment::Column::ExpiresUnixMs,
        assignment::Column::Slots,
        assignment::Column::Approved,
        assignment::Column::Bytes,
    ];
    assignment::Entity::insert(row(device, assigned))
        .on_conflict(
            OnConflict::column(assignment::Column::Device).update_columns(columns).to_owned(),
        )
        .exec_without_returning(&writing.transaction)
        .await?;
    Ok(())
}

/// Records which slots are assigned something else than before, with the digest of what the director has
/// signed. Where none is, only the dates of an assignment are new.
fn record(
    writing: &Writing<'_>,
    whose: impl Fn(&SlotName) -> By,
    device: &DeviceId,
    before: &BTreeMap<SlotName, String>,
    assigned: &Assigned,
    because: &[u64],
) {
    writing.changes_without_entry("an assignment that is signed anew says what it said");
    let slots: BTreeSet<&SlotName> = before.keys().chain(assigned.slots.keys()).collect();
    for slot in slots {
        let (old, new) = (before.get(slot), assigned.slots.get(slot));
        if old == new {
            continue;
        }
        let was_and_is = (old.map(String::as_str), new.map(String::as_str));
        let by = whose(slot);
        let because = if by.cause().is_some() { because.to_vec() } else { Vec::new() };
        let change = slot_change(&by, Action::SlotAssigned, (device, slot), was_and_is, assigned);
        writing.record(Recorded { because, ..change });
    }
}

fn slot_change(
    by: &By,
    action: Action,
    place: (&DeviceId, &SlotName),
    (old, new): (Option<&str>, Option<&str>),
    assigned: &Assigned,
) -> Recorded {
    let signed = Some(digest(&assigned.bytes));
    Recorded { signed, ..of_slot(by, action, place, old, new) }
}

fn resolve(
    slots: &BTreeMap<SlotName, String>,
    released: &Released,
) -> BTreeMap<SlotName, ReleaseId> {
    let find =
        |(slot, path): (&SlotName, &String)| Some((slot.clone(), released.get(path)?.id.clone()));
    slots.iter().filter_map(find).collect()
}

fn assigned_since(there: &str) -> Error {
    Error::Conflict(format!("{there} is assigned there since"))
}

fn not_released(path: &str, slot: &SlotName, released: &Released) -> Error {
    let shown: String = path.chars().take(130).collect();
    let known: Vec<String> = released.iter().map(SignedRelease::path).collect();
    Error::Missing(format!(
        "there is no release {shown:?} for slot {slot}; released are: {}",
        known.join(", ")
    ))
}

fn read(row: assignment::Model) -> Assigned {
    Assigned {
        version: from_row(row.version),
        slots: serde_json::from_str(&row.slots).unwrap_or_default(),
        approved: serde_json::from_str(&row.approved).unwrap_or_default(),
        bytes: row.bytes,
        withdrawn: BTreeMap::new(),
        before: serde_json::from_str(&row.before).unwrap_or_default(),
        expires_unix_ms: row.expires_unix_ms,
    }
}

fn row(device: &DeviceId, assigned: &Assigned) -> assignment::ActiveModel {
    let slots = serde_json::to_string(&assigned.slots).expect("texts by text have a JSON form");
    let approved = serde_json::to_string(&assigned.approved).expect("texts have a JSON form");
    let before = serde_json::to_string(&assigned.before).expect("texts have a JSON form");
    assignment::ActiveModel {
        device: Set(device.to_string()),
        version: Set(to_row(assigned.version)),
        expires_unix_ms: Set(assigned.expires_unix_ms),
        slots: Set(slots),
        approved: Set(approved),
        before: Set(before),
        bytes: Set(assigned.bytes.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_go_on_from_what_the_device_has_as_far_as_that_can_be_believed() {
        for (last, held, next) in [
            (0, 0, 1),
            (3, 2, 4),
            (3, 3, 4),
            (3, 9, 10),
            (0, 1, 2),
            (3, 3 + AHEAD_MAX, 4 + AHEAD_MAX),
            (3, 4 + AHEAD_MAX, 4),
            (3, u64::MAX, 4),
        ] {
            assert_eq!(next_version(last, held), next, "{last} {held}");
        }
    }
}
