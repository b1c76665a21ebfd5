//! Roots and lists of releases: verified when they come, kept as they came.

use crate::access::{Publisher, RoleTokens};
use crate::artifact::Artifacts;
use crate::audit::{By, did, digest};
use crate::error::Error;
use crate::release::kept::{Kept, Kind};
use crate::release::listed::record_list;
use crate::release::memo::Memo;
use crate::release::{Released, ServerKeys};
use crate::store::tables::document;
use crate::store::{Store, from_row};
use lineside_audit::{Action, Change, Reason, Value};
use lineside_bundle::Digest;
use lineside_trust::{
    ROLE_FILE_BYTES_MAX, Root, Seen, TrustError, TrustedReleases, TrustedTargets, verify_delegated,
    verify_releases,
};
use lineside_wire::name::RoleName;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use time::OffsetDateTime;
use time::macros::datetime;
use tokio::sync::Notify;

/// Largest list of releases in bytes. A device gets it with its assignment in one message.
pub(crate) const RELEASES_BYTES_MAX: usize = 512 << 10;
/// Largest root in bytes.
pub(crate) const ROOT_BYTES_MAX: usize = 64 << 10;
/// Largest document of a delegated role in bytes. A device gets those that speak of what is assigned
/// to it, with all else in one message.
pub(crate) const ROLE_BYTES_MAX: usize = 32 << 10;
/// Roles that a list of releases may name besides the release keys.
const ROLES_MAX: usize = 24;
/// Largest file of a delegated role that is no release, in bytes: one that a draft can carry.
pub(crate) const FILE_BYTES_MAX: u64 = ROLE_FILE_BYTES_MAX as u64;

/// What does not depend on the time holds always.
const ALWAYS: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;
const FOR_EVER: OffsetDateTime = datetime!(9999-12-31 0:00 UTC);

/// What people have signed.
#[derive(Clone)]
pub(crate) struct SignedDocuments {
    store: Arc<Store>,
    pub(super) kept: Kept,
    pub(super) artifacts: Artifacts,
    keys: Arc<ServerKeys>,
    /// Told when people have signed something that every device should hear of.
    pub news: Arc<Notify>,
    /// What was verified last: the root, the list as it was judged when it came, with what hangs on it and
    /// without, and what is released now.
    verified_root: Memo<Root>,
    accepted: Memo<Arc<TrustedReleases>>,
    accepted_whole: Memo<Released>,
    verified: Memo<Released>,
}

/// A list of releases that may be accepted.
enum Judged {
    /// The one that is here, of this version.
    Known(u64),
    /// A newer one.
    New(TrustedReleases),
}

impl SignedDocuments {
    /// The documents in `store`, about what is in `artifacts`.
    pub fn new(store: Arc<Store>, artifacts: Artifacts, keys: Arc<ServerKeys>) -> SignedDocuments {
        let kept = Kept::new(store.clone());
        SignedDocuments {
            store,
            kept,
            artifacts,
            keys,
            news: Arc::default(),
            verified_root: Memo::default(),
            accepted: Memo::default(),
            accepted_whole: Memo::default(),
            verified: Memo::default(),
        }
    }

    /// Takes roots that follow each other: the first there is on the administrator's word, and each next
    /// one by the last. Those that are here already are no error. Returns the version of the last.
    ///
    /// # Errors
    /// [`Error::Untrusted`]; [`Error::Refused`] if the last does not name this server's keys.
    pub async fn accept_roots(
        &self,
        by: &By,
        roots: Vec<Vec<u8>>,
        now: OffsetDateTime,
    ) -> Result<u64, Error> {
        let writing = self.store.write().await?;
        let kept: Vec<Vec<u8>> =
            self.kept.roots().await?.into_iter().map(|row| row.bytes).collect();
        let mut last = kept.last().map(|bytes| Root::pin(bytes)).transpose()?;
        let mut is_new = false;
        for bytes in roots {
            if kept.contains(&bytes) {
                continue;
            }
            let root = match &last {
                Some(last) => last.update(&bytes)?,
                None => Root::pin(&bytes)?,
            };
            let change = did(by, Action::RootSet, "root", &root.version().to_string());
            let signed = digest(&bytes);
            let new = Some(Value::Digest(signed));
            writing.record(Change { new, signed: Some(signed), ..change });
            Kept::put(&writing, Kind::Root, root.version(), bytes, now).await?;
            last = Some(root);
            is_new = true;
        }
        let last = last.ok_or_else(no_root)?;
        // What was named once and is here is no reason to refuse the same again.
        if !is_new {
            return Ok(last.version());
        }
        let (director, online) = (self.keys.director.id(), self.keys.online.id());
        for (name, id, is_named) in [
            ("director", &director, last.names_director(&director)),
            ("online", &online, last.names_online(&online)),
        ] {
            if !is_named {
                return Err(Error::Refused(format!(
                    "root {} does not name this server's {name} key {}: \
                     take its keys with `lineside keys online -o FILE`, and draft the next root with \
                     `lineside keys draft --from keys/root.json --online-keys FILE`",
                    last.version(),
                    &id[..12]
                )));
            }
        }
        // With the key that says what is the newest, devices forget what was: now, and at no other time, may a
        // role begin anew whose keys were stolen and whose numbers a thief has used up.
        let before = kept.last().map(|bytes| Root::pin(bytes)).transpose()?;
        if let Some(before) = before.filter(|before| !last.honours_timestamps_of(before)) {
            for role in self.disowned(&before).await? {
                Kept::forget(&writing, Kind::Role(&role)).await?;
                let change = did(&By::Server("root"), Action::TargetsSet, "list", &role);
                let why =
                    Reason::lossy("the new root begins anew, and none of the role's keys signs");
                writing.record(Change { why, ..change });
            }
        }
        let news = self.news.clone();
        writing.commit_then(move || news.notify_one()).await?;
        Ok(last.version())
    }

    /// Roles whose lists are signed by none of the keys that the list of releases gives them.
    async fn disowned(&self, root: &Root) -> Result<Vec<String>, Error> {
        let Some(row) = self.kept.newest(Kind::Releases).await? else { return Ok(vec![]) };
        let Ok(list) = verify_releases(root, &row.bytes, None, taken_at(&row)) else {
            return Ok(vec![]);
        };
        let roles = self.kept.roles().await?.into_iter();
        let roles = roles.filter(|(role, row)| is_disowned(&list, role, row));
        Ok(roles.map(|(role, _)| role).collect())
    }

    /// Takes a list of releases that enough release keys have signed and whose artifacts are here.
    ///
    /// # Errors
    /// [`Error::Untrusted`]; [`Error::Refused`] names each blob that is missing.
    pub async fn accept_releases(
        &self,
        by: &By,
        bytes: Vec<u8>,
        now: OffsetDateTime,
    ) -> Result<u64, Error> {
        // Looking at every artifact takes a while, and the database is not held meanwhile.
        let releases = match self.judge(&bytes, now).await? {
            Judged::Known(version) => return Ok(version),
            Judged::New(releases) => releases,
        };
        for release in releases.iter() {
            self.artifacts.complete(&release.id).await?;
        }
        check_roles(&releases)?;
        let writing = self.store.write().await?;
        // Judged again: another root or list may have come. Artifacts do not go.
        let releases = match self.judge(&bytes, now).await? {
            Judged::Known(version) => return Ok(version),
            Judged::New(releases) => releases,
        };
        let version = releases.seen().version;
        let last = self.kept.newest(Kind::Releases).await?.map(|row| row.bytes);
        record_list(&writing, by, "releases", last.as_deref(), &bytes);
        if self.counting(&self.root().await?).await?.is_none() {
            Kept::forget(&writing, Kind::Releases).await?;
        }
        Kept::put(&writing, Kind::Releases, version, bytes, now).await?;
        for release in releases.iter() {
            self.artifacts.tag(&writing, &release.id).await?;
        }
        RoleTokens::keep(&writing, |role| releases.keys_of(role)).await?;
        writing.commit_then(self.list_came()).await?;
        Ok(version)
    }

    /// Takes what a role has signed that the list of releases names, if all of it is here, and is his who
    /// brings it.
    ///
    /// # Errors
    /// [`Error::Untrusted`]; [`Error::Refused`] names what is missing; [`Error::Missing`] if nothing
    /// is released yet.
    pub async fn accept_delegated(
        &self,
        by: &Publisher,
        role: &RoleName,
        bytes: Vec<u8>,
        now: OffsetDateTime,
    ) -> Result<u64, Error> {
        let (targets, _) = self.judge_delegated(role, &bytes, now).await?;
        self.check_releases(by, role, &targets).await?;
        self.check_files(by, role, &targets).await?;
        let writing = self.store.write().await?;
        // Judged again: another list may have come.
        let (targets, is_new) = self.judge_delegated(role, &bytes, now).await?;
        let version = targets.seen().version;
        if is_new {
            let kind = Kind::Role(role.as_str());
            let last = self.kept.newest(kind).await?.map(|row| row.bytes);
            record_list(&writing, &By::from(by), role.as_str(), last.as_deref(), &bytes);
            Kept::put(&writing, kind, version, bytes, now).await?;
            for release in targets.releases().values() {
                self.artifacts.tag(&writing, &release.id).await?;
            }
            writing.commit_then(self.list_came()).await?;
        }
        Ok(version)
    }

    /// Refuses releases that are not here whole, and the manifest of a version of others by a path of the
    /// role's: its token would open what that one names, whoever publishes the list.
    async fn check_releases(
        &self,
        by: &Publisher,
        role: &RoleName,
        targets: &TrustedTargets,
    ) -> Result<(), Error> {
        let list = self.naming(role).await?;
        let mut own = BTreeMap::new();
        for release in targets.releases().values().map(|release| &release.id) {
            self.artifacts.complete(release).await?;
            if let Publisher::Role(holder) = by {
                if !own.contains_key(&release.name) {
                    let of_it = self.own(holder, release.name.as_str()).await?;
                    own.insert(&release.name, of_it);
                }
                let blobs = self.artifacts.named_by(&release.digest).await?;
                own[&release.name].check(&release.name, &blobs)?;
            }
            let path = |version: &str| format!("{}/{version}", release.name);
            let may_sign =
                |version: &str| list.delegates_for(&path(version)).contains(&role.as_str());
            if let Some(other) = self.artifacts.foreign_version(release, may_sign).await? {
                return Err(Error::Refused(format!(
                    "{}: its manifest is that of {}, which {role} may not sign",
                    path(release.version.as_str()),
                    path(&other)
                )));
            }
        }
        Ok(())
    }

    /// Refuses files that are too large, are not here, or are not the role's: what it lists its token reads
    /// afterwards, and a digest alone gives it nobody else's. The administrator brings files for a role, yet
    /// nothing that is part of a bundle; that another role has signed the same file, as sites may, is no matter.
    /// What its list names already it reads already: whoever makes that a part of a bundle hinders nobody.
    async fn check_files(
        &self,
        by: &Publisher,
        role: &RoleName,
        targets: &TrustedTargets,
    ) -> Result<(), Error> {
        if targets.files().is_empty() {
            return Ok(());
        }
        let own = match by {
            Publisher::House(_) => None,
            Publisher::Role(holder) => Some(self.own(holder, role.as_str()).await?),
        };
        let signed = self.signed(role).await?;
        let is_signed = |digest: &Digest| {
            signed.iter().flat_map(|signed| signed.files().values()).any(|(held, _)| held == digest)
        };
        for (path, (digest, bytes)) in targets.files() {
            if *bytes > FILE_BYTES_MAX {
                let problem = format!("{path} has {bytes} bytes, {FILE_BYTES_MAX} are allowed");
                return Err(Error::Refused(problem));
            }
            let is_his = match &own {
                Some(own) => own.contains(digest),
                None if is_signed(digest) => true,
                None if self.artifacts.is_of_an_artifact(digest).await? => {
                    return Err(Error::Refused(format!(
                        "{path}: {digest} is part of a bundle, and no file of {role}"
                    )));
                }
                None => true,
            };
            if !is_his || self.artifacts.blobs.size(digest).await != Some(*bytes) {
                return Err(Error::Refused(format!(
                    "{path}: {digest} is not on this server: push it first"
                )));
            }
        }
        Ok(())
    }

    /// What follows when a list is on disk, though he who brought it may have hung up: deltas are made, and
    /// devices are told.
    fn list_came(&self) -> impl FnOnce() + Send + 'static {
        let (deltas, news) = (self.artifacts.deltas.clone(), self.news.clone());
        move || {
            deltas.list_came();
            news.notify_one();
        }
    }

    /// Verifies what a role has signed, against what is here of it. Whether that is another.
    async fn judge_delegated(
        &self,
        role: &RoleName,
        bytes: &[u8],
        now: OffsetDateTime,
    ) -> Result<(TrustedTargets, bool), Error> {
        let list = self.list(now).await?.ok_or_else(nothing_released)?;
        let row = self.kept.newest(Kind::Role(role.as_str())).await?;
        let seen = row.as_ref().map(seen);
        let targets = verify_delegated(&list, role.as_str(), bytes, seen.as_ref(), now);
        let targets = targets.map_err(|error| match (error, &row) {
            (TrustError::Older { version, seen, .. }, Some(row)) if is_disowned(&list, role.as_str(), row) => {
                Error::Refused(format!(
                    "list {version} of {role} is older than {seen}, which keys of his signed that have \
                     been replaced since, and devices that have seen that one would follow no older one: \
                     number it above {seen}; or, where somebody who stole them has used the numbers up, \
                     have the next root name a new online key of the server, with which devices forget it"
                ))
            }
            (error, _) => error.into(),
        })?;
        let is_new = seen.is_none_or(|seen| seen.version != targets.seen().version);
        Ok((targets, is_new))
    }

    /// Verifies a list of releases by the root that holds, against the list that is here.
    async fn judge(&self, bytes: &[u8], now: OffsetDateTime) -> Result<Judged, Error> {
        let root = self.root().await?;
        let seen = self.counting(&root).await?;
        let releases = verify_releases(&root, bytes, seen.as_ref(), now)?;
        let version = releases.seen().version;
        Ok(match seen {
            Some(seen) if seen.version == version => Judged::Known(version),
            _ => Judged::New(releases),
        })
    }

    /// The list that is here, if a next one has to follow it: its keys are still those of the root. Who
    /// stole the keys before may have signed the highest version there is, and is not to have the last
    /// word (TUF 5.3.11).
    async fn counting(&self, root: &Root) -> Result<Option<Seen>, Error> {
        let kept = self.kept.newest(Kind::Releases).await?;
        let counts =
            |row: &document::Model| verify_releases(root, &row.bytes, None, taken_at(row)).is_ok();
        Ok(kept.filter(counts).as_ref().map(seen))
    }

    /// The root that holds.
    ///
    /// # Errors
    /// [`Error::Conflict`] if there is none yet.
    pub async fn root(&self) -> Result<Root, Error> {
        if let Some(root) = self.verified_root.get(&self.store, ALWAYS) {
            return Ok(root);
        }
        let state = self.store.documents_state();
        let newest = self.kept.newest(Kind::Root).await?.ok_or_else(no_root)?;
        let root = Root::pin(&newest.bytes)?;
        self.verified_root.put(state, ALWAYS, FOR_EVER, root.clone());
        Ok(root)
    }

    /// Why devices believe nothing that is signed with this server's keys, if so.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn keys_trouble(&self) -> Result<Option<String>, Error> {
        let root = match self.root().await {
            Ok(root) => root,
            Err(Error::Conflict(_)) => return Ok(None),
            Err(error) => return Err(error),
        };
        let (director, online) = (self.keys.director.id(), self.keys.online.id());
        let unnamed: Vec<String> = [
            ("director", &director, root.names_director(&director)),
            ("online", &online, root.names_online(&online)),
        ]
        .into_iter()
        .filter(|(_, _, is_named)| !is_named)
        .map(|(name, id, _)| format!("keys/{name}.pem ({})", &id[..12]))
        .collect();
        Ok((!unnamed.is_empty()).then(|| {
            format!(
                "root {} does not name this server's {}: devices believe nothing that it signs. Put the \
                 keys back that it had; or have the next root signed, which names these: lineside keys \
                 online -o FILE, then lineside keys draft --from keys/root.json --online-keys FILE",
                root.version(),
                unnamed.join(" and ")
            )
        }))
    }

    /// All roots in their order, as they came.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn roots(&self) -> Result<Vec<(u64, Vec<u8>)>, Error> {
        let rows = self.kept.roots().await?;
        Ok(rows.into_iter().map(|row| (from_row(row.version), row.bytes)).collect())
    }

    /// Version of the newest root, 0 if there is none.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn root_version(&self) -> Result<u64, Error> {
        self.kept.newest_version(Kind::Root).await
    }

    /// All roots in their order.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn parsed_roots(&self) -> Result<Vec<Root>, Error> {
        let roots = self.roots().await?;
        Ok(roots.iter().map(|(_, bytes)| Root::pin(bytes)).collect::<Result<_, _>>()?)
    }

    /// The list of releases, verified again at `now`, with what holds then of those whom it names.
    ///
    /// # Errors
    /// [`Error::Missing`] if there is none yet; [`Error::Untrusted`] if it has expired.
    pub async fn released(&self, now: OffsetDateTime) -> Result<Released, Error> {
        if let Some(released) = self.verified.get(&self.store, now) {
            return Ok(released);
        }
        let state = self.store.documents_state();
        let releases = self.list(now).await?.ok_or_else(nothing_released)?;
        let released = self.with_delegated(releases, now).await?;
        self.verified.put(state, now, released.good_until(), released.clone());
        Ok(released)
    }

    /// As [`SignedDocuments::released`]; none where no list holds, because it has expired, its keys were
    /// replaced, or none has come.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn released_if_any(&self, now: OffsetDateTime) -> Result<Option<Released>, Error> {
        match self.released(now).await {
            Ok(released) => Ok(Some(released)),
            Err(Error::Untrusted(_) | Error::Missing(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// What a delegated role has signed, as it came, for who verifies it himself; none if there is
    /// nothing.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn role(&self, role: &RoleName) -> Result<Option<Vec<u8>>, Error> {
        Ok(self.kept.newest(Kind::Role(role.as_str())).await?.map(|row| row.bytes))
    }

    /// The list of releases as it was judged when it came, if it names this role: until then the role's
    /// token opens something.
    ///
    /// # Errors
    /// [`Error::Forbidden`] if it does not, or holds no longer.
    pub async fn naming(&self, role: &RoleName) -> Result<Arc<TrustedReleases>, Error> {
        let list = match self.list_when_accepted().await {
            Ok(list) => list,
            Err(Error::Untrusted(_)) => None,
            Err(error) => return Err(error),
        };
        let list = list.filter(|list| list.delegates().any(|named| named == role.as_str()));
        list.ok_or_else(|| {
            Error::Forbidden(format!(
                "no list of releases that holds names role {role}, so its token opens nothing"
            ))
        })
    }

    /// The list of releases, if it names this role.
    ///
    /// # Errors
    /// [`Error::Missing`] if it does not; [`Error::Untrusted`] if no list holds.
    pub async fn delegating_to(
        &self,
        role: &RoleName,
        now: OffsetDateTime,
    ) -> Result<TrustedReleases, Error> {
        let list = self.list(now).await?.ok_or_else(nothing_released)?;
        if list.delegates().any(|named| named == role.as_str()) {
            return Ok(list);
        }
        Err(Error::Missing(format!(
            "the release keys have delegated nothing to {role}: they do with `lineside release delegate \
             {role} --path PATH --key PUBLIC-KEY`"
        )))
    }

    /// What a role has signed last, as far as that is signed by its keys and within its paths.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub(super) async fn signed(&self, role: &RoleName) -> Result<Option<TrustedTargets>, Error> {
        let Ok(list) = self.naming(role).await else { return Ok(None) };
        let row = self.kept.newest(Kind::Role(role.as_str())).await?;
        Ok(row.and_then(|row| {
            verify_delegated(&list, role.as_str(), &row.bytes, None, taken_at(&row)).ok()
        }))
    }

    async fn list_when_accepted(&self) -> Result<Option<Arc<TrustedReleases>>, Error> {
        if let Some(list) = self.accepted.get(&self.store, ALWAYS) {
            return Ok(Some(list));
        }
        let state = self.store.documents_state();
        let Some(row) = self.kept.newest(Kind::Releases).await? else { return Ok(None) };
        let list = verify_releases(&self.root().await?, &row.bytes, None, taken_at(&row))?;
        let list = Arc::new(list);
        self.accepted.put(state, ALWAYS, FOR_EVER, list.clone());
        Ok(Some(list))
    }

    async fn list(&self, now: OffsetDateTime) -> Result<Option<TrustedReleases>, Error> {
        let root = self.root().await?;
        let Some(row) = self.kept.newest(Kind::Releases).await? else { return Ok(None) };
        Ok(Some(verify_releases(&root, &row.bytes, None, now)?))
    }

    /// A list with what the roles that it names have signed, as far as that holds. Where the keys of
    /// one were replaced, or its date is past, only what hangs on it does not hold.
    async fn with_delegated(
        &self,
        releases: TrustedReleases,
        now: OffsetDateTime,
    ) -> Result<Released, Error> {
        let mut delegated = BTreeMap::new();
        let mut lapsed = BTreeSet::new();
        for role in releases.delegates() {
            let row = self.kept.newest(Kind::Role(role)).await?;
            let holds = |row: document::Model| {
                verify_delegated(&releases, role, &row.bytes, None, now).ok()
            };
            match row.and_then(holds) {
                Some(targets) => drop(delegated.insert(role.to_owned(), targets)),
                None => drop(lapsed.insert(role.to_owned())),
            }
        }
        let (releases, delegated, lapsed) =
            (Arc::new(releases), Arc::new(delegated), Arc::new(lapsed));
        Ok(Released { releases, delegated, lapsed })
    }

    /// The list of releases as it came, for who verifies it himself; none if there is none.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn releases(&self) -> Result<Option<Vec<u8>>, Error> {
        Ok(self.kept.newest(Kind::Releases).await?.map(|row| row.bytes))
    }

    /// The list of releases as it was judged when it came, with what hangs on it, for what goes on past its
    /// date: showing it, and rules. None if there is none.
    ///
    /// # Errors
    /// [`Error::Untrusted`] if its keys have been replaced since and it was not signed anew.
    pub async fn released_when_accepted(&self) -> Result<Option<Released>, Error> {
        if let Some(released) = self.accepted_whole.get(&self.store, ALWAYS) {
            return Ok(Some(released));
        }
        let state = self.store.documents_state();
        let Some(row) = self.kept.newest(Kind::Releases).await? else { return Ok(None) };
        let then = taken_at(&row);
        let releases = verify_releases(&self.root().await?, &row.bytes, None, then)?;
        let released = self.with_delegated(releases, then).await?;
        self.accepted_whole.put(state, ALWAYS, FOR_EVER, released.clone());
        Ok(Some(released))
    }

    /// Version of the list of releases, 0 if there is none.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn releases_version(&self) -> Result<u64, Error> {
        self.kept.newest_version(Kind::Releases).await
    }
}

/// Whether what a role has signed is signed by none of its present keys.
fn is_disowned(list: &TrustedReleases, role: &str, row: &document::Model) -> bool {
    verify_delegated(list, role, &row.bytes, None, taken_at(row)).is_err()
}

/// Refuses a list that names roles which cannot be carried from here to a device.
fn check_roles(list: &TrustedReleases) -> Result<(), Error> {
    let roles: Vec<&str> = list.delegates().collect();
    if roles.len() > ROLES_MAX {
        let problem =
            format!("the list names {} roles, at most {ROLES_MAX} are carried", roles.len());
        return Err(Error::Refused(problem));
    }
    for role in roles {
        let name: Result<RoleName, _> = role.parse();
        name.map_err(|error| Error::Refused(error.to_string()))?;
    }
    Ok(())
}

/// The time at which a document was taken.
pub(crate) fn taken_at(row: &document::Model) -> OffsetDateTime {
    let nanos = i128::from(row.accepted_unix_ms) * 1_000_000;
    OffsetDateTime::from_unix_timestamp_nanos(nanos).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

fn seen(row: &document::Model) -> Seen {
    Seen { version: from_row(row.version), digest: Digest::of(&row.bytes) }
}

fn nothing_released() -> Error {
    Error::Missing("nothing is released yet: sign a bundle with `lineside release`".into())
}

fn no_root() -> Error {
    Error::Conflict("this server has no root yet: make one with `lineside keys new`".into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artifact::Blobs;
    use crate::store::DataFolder;
    use futures::FutureExt;
    use lineside_trust::{KeyPair, RootSpec, TargetsSpec, sign_root, sign_targets};
    use ring::rand::SystemRandom;
    use std::future::poll_fn;
    use std::task::Poll;
    use time::Duration;

    #[tokio::test]
    async fn what_is_on_disk_is_told_wherever_he_who_brought_it_hung_up() {
        let place = tempfile::tempdir().unwrap();
        let folder = DataFolder::open(place.path()).unwrap();
        let store = Arc::new(crate::store::testing::store(&folder.join("")).await);
        let keys = Arc::new(ServerKeys::open(&folder).unwrap());
        let artifacts = Artifacts::new(Blobs::open(&folder).await.unwrap(), store.clone());
        let documents = SignedDocuments::new(store.clone(), artifacts.clone(), keys.clone());
        let now = OffsetDateTime::now_utc();
        let expires = now + Duration::days(365);
        let people = KeyPair::generate(&SystemRandom::new()).unwrap();
        let root = RootSpec {
            version: 1,
            expires,
            root: (vec![people.public()], 1),
            releases: (vec![people.public()], 1),
            online: keys.online.public(),
            director: keys.director.public(),
        };
        documents
            .accept_roots(&By::ADMINISTRATOR, vec![sign_root(&root, &[&people])], now)
            .await
            .unwrap();
        assert!(documents.news.notified().now_or_never().is_some());
        let look = artifacts.deltas.next().await;
        artifacts.deltas.are_to(BTreeSet::new(), look);

        for polls in 1.. {
            let version = documents.releases_version().await.unwrap() + 1;
            let (files, delegations) = (BTreeMap::new(), Vec::new());
            let spec = TargetsSpec { version, expires, files, delegations };
            let mut left = polls;
            let accepted = {
                let list = sign_targets(&spec, &[&people]);
                let mut accepting =
                    Box::pin(documents.accept_releases(&By::ADMINISTRATOR, list, now));
                poll_fn(|context| {
                    left -= 1;
                    match accepting.as_mut().poll(context) {
                        Poll::Pending if left == 0 => Poll::Ready(None),
                        polled => polled.map(Some),
                    }
                })
                .await
            };
            // A commit that has begun ends before anybody else may write.
            drop(store.write().await.unwrap());
            let is_here = documents.releases_version().await.unwrap() == version;
            let told = documents.news.notified().now_or_never().is_some();
            let look = artifacts.deltas.next().now_or_never();
            assert_eq!((told, look.is_some()), (is_here, is_here), "hung up at {polls}");
            if let Some(look) = look {
                artifacts.deltas.are_to(BTreeSet::new(), look);
            }
            if let Some(accepted) = accepted {
                assert_eq!(accepted.unwrap(), version);
                assert!(polls > 2, "nobody could hang up");
                return;
            }
        }
    }
}
