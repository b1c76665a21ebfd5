//! The TUF repository that this server serves: what people have signed, with the snapshot and the
//! timestamp over it that are signed here (The Update Framework specification 1.0, sections 4.4, 4.6).

use crate::error::Error;
use crate::release::documents::taken_at;
use crate::release::kept::{Kept, Kind};
use crate::release::memo::Memo;
use crate::release::{Clock, Released, ServerKeys};
use crate::store::tables::document;
use crate::store::{Store, from_row};
use lineside_trust::repository::{Carried, Client, InMemory};
use lineside_trust::{
    Listed, Root, SignedRelease, SnapshotSpec, TimestampSpec, VERSION_MAX, sign_snapshot,
    sign_timestamp,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use time::{Duration, OffsetDateTime};

/// How long snapshot and timestamp are good. A file that was carried to a device by hand brings them
/// too, and may be under way for a while.
const VALID: Duration = Duration::days(14);
/// They are signed anew with less time left, so that who asks has a week at least.
const RENEW: Duration = Duration::days(7);
/// How soon after they were signed anew because of what a device says that is done again.
const ANEW_EVERY: Duration = Duration::hours(1);
/// How long a timestamp that was found to hold is not looked at again, if nothing new is signed.
const LOOKED_EVERY: Duration = Duration::minutes(1);

/// The repository.
#[derive(Clone)]
pub(crate) struct Repository {
    store: Arc<Store>,
    kept: Kept,
    keys: Arc<ServerKeys>,
    clock: Arc<Clock>,
    /// Version of the timestamp that holds, as it was found last: it is not looked at anew for each device
    /// that reports and each that is sent something.
    fresh: Memo<u64>,
    /// When they were last signed anew because of what a device said, since this server started: one that
    /// was just restored has to follow the first that knows more.
    followed: Arc<Mutex<Option<OffsetDateTime>>>,
}

/// A document to be put in place.
struct New {
    kind: Kind<'static>,
    version: u64,
    bytes: Vec<u8>,
}

impl Repository {
    /// The repository of the documents in `store`.
    pub fn new(store: Arc<Store>, keys: Arc<ServerKeys>, clock: Arc<Clock>) -> Repository {
        let kept = Kept::new(store.clone());
        Repository { kept, store, keys, clock, fresh: Memo::default(), followed: Arc::default() }
    }

    /// A document by its name in a repository with consistent snapshots: `timestamp.json`,
    /// `2.root.json`, `7.snapshot.json`, `3.targets.json`, `1.site-mill.json`. None if there is none.
    ///
    /// The timestamp is always one that holds for a while.
    ///
    /// # Errors
    /// As for [`Repository::renew`].
    pub async fn document(
        &self,
        name: &str,
        now: OffsetDateTime,
    ) -> Result<Option<Vec<u8>>, Error> {
        if name == "timestamp.json" {
            self.timestamp_version(now).await?;
            return Ok(self.kept.newest(Kind::Timestamp).await?.map(|row| row.bytes));
        }
        let parts = name.strip_suffix(".json").and_then(|name| name.split_once('.'));
        let Some((version, role)) = parts else { return Ok(None) };
        let Ok(version) = version.parse() else { return Ok(None) };
        let kind = match role {
            "root" => Kind::Root,
            "snapshot" => Kind::Snapshot,
            "targets" => Kind::Releases,
            role => Kind::Role(role),
        };
        self.kept.version(kind, version).await
    }

    /// What a device needs to follow the repository from its root of version `root`, and to find what
    /// is at `paths`: by the names of a mirror. Roots that do not fit `roots_bytes_max` are left for the
    /// next time. Where no list of releases holds, nobody else's is there to be found.
    ///
    /// # Errors
    /// As for [`Repository::renew`].
    pub async fn metadata(
        &self,
        released: Option<&Released>,
        paths: &[String],
        root: u64,
        roots_bytes_max: usize,
        now: OffsetDateTime,
    ) -> Result<Vec<(String, Vec<u8>)>, Error> {
        self.renew(now).await?;
        let mut metadata = Vec::new();
        let mut bytes_left = roots_bytes_max;
        for row in self.kept.roots().await? {
            let version = from_row(row.version);
            if version <= root {
                continue;
            }
            // Roots are followed in their order, so a gap would be worth nothing.
            let Some(left) = bytes_left.checked_sub(row.bytes.len()) else { break };
            bytes_left = left;
            metadata.push((format!("{version}.root.json"), row.bytes));
        }
        let delegates = |path| released.map(|released| released.releases.delegates_for(path));
        let roles: BTreeSet<&str> =
            paths.iter().filter_map(|path| delegates(path)).flatten().collect();
        let mut kinds = vec![
            ("timestamp", Kind::Timestamp),
            ("snapshot", Kind::Snapshot),
            ("targets", Kind::Releases),
        ];
        kinds.extend(roles.into_iter().map(|role| (role, Kind::Role(role))));
        for (name, kind) in kinds {
            // A role that has signed nothing yet has no document.
            let Some(row) = self.kept.newest(kind).await? else { continue };
            let name = match kind {
                Kind::Timestamp => format!("{name}.json"),
                _ => format!("{}.{name}.json", row.version),
            };
            metadata.push((name, row.bytes));
        }
        Ok(metadata)
    }

    /// Why nothing is signed by this machine's clock, if so.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn clock_trouble(&self, now: OffsetDateTime) -> Result<Option<String>, Error> {
        let signed = self.kept.newest(Kind::Timestamp).await?;
        let ahead = signed.and_then(|row| self.clock.ahead(taken_at(&row), now));
        Ok(ahead.map(|ahead| {
            format!(
                "the server's clock says {}, {} days after it last signed anything, and no device that \
                 was heard says the same: nothing is signed by it, for devices would take what is signed \
                 later for expired. Set the clock; if it is right, start the server with --clock-is-right",
                now.date(),
                ahead.whole_days()
            )
        }))
    }

    /// A client that has followed the repository from the newest root, as a device does.
    ///
    /// # Errors
    /// [`Error::Conflict`] while the clock is not believed; [`Error::Repository`] says why a device
    /// would not follow it.
    pub async fn follow(
        &self,
        released: &Released,
        now: OffsetDateTime,
    ) -> Result<Client<Carried, InMemory>, Error> {
        let root = self.kept.newest(Kind::Root).await?;
        let root = root.ok_or_else(|| Error::Missing("there is no root".into()))?;
        if let Some(why) = self.clock_trouble(now).await? {
            return Err(Error::Conflict(why));
        }
        let paths: Vec<String> = released.iter().map(SignedRelease::path).collect();
        let metadata =
            self.metadata(Some(released), &paths, from_row(root.version), 0, now).await?;
        let metadata: Carried = metadata.into_iter().collect();
        let mut client = Client::new(&root.bytes, metadata, InMemory::default())?;
        client.refresh(now)?;
        Ok(client)
    }

    /// Signs snapshot and timestamp anew where they do not say what is here, or not for long any
    /// more. Until something is released there is nothing to be signed.
    ///
    /// # Errors
    /// [`Error::Database`]; [`Error::Conflict`] if the root does not name this server's key, or if
    /// something new is to be signed by a clock that is not believed.
    pub async fn renew(&self, now: OffsetDateTime) -> Result<(), Error> {
        self.timestamp_version(now).await.map(drop)
    }

    /// Signs snapshot and timestamp anew where a device has seen a newer timestamp than is here, as after
    /// this server was restored from a copy: it would follow none of these. Versions follow the clock, so
    /// one that lies ahead of it was never signed here. All devices are sent what is signed anew, so
    /// nobody brings it about more often than once an hour.
    ///
    /// # Errors
    /// As for [`Repository::renew`].
    pub async fn renew_after(&self, told: u64, now: OffsetDateTime) -> Result<(), Error> {
        let Some(newest) = self.kept.newest(Kind::Timestamp).await? else { return Ok(()) };
        let is_behind = from_row(newest.version) < told && told < milliseconds(now);
        let followed = || self.followed.lock().unwrap_or_else(PoisonError::into_inner);
        let is_early = followed().is_some_and(|last| (now - last).abs() < ANEW_EVERY);
        if !is_behind || is_early {
            return Ok(());
        }
        self.renew_from(told.saturating_add(1), now).await?;
        *followed() = Some(now);
        Ok(())
    }

    /// As [`Repository::renew`]; documents below the version `lowest` do not hold.
    async fn renew_from(&self, lowest: u64, now: OffsetDateTime) -> Result<(), Error> {
        self.fresh.forget();
        if self.due(lowest, now).await?.is_empty() {
            return Ok(());
        }
        let writing = self.store.write().await?;
        writing.changes_without_entry("snapshot and timestamp say what was signed by others");
        // Asked again: somebody else may have signed them meanwhile.
        for New { kind, version, bytes } in self.due(lowest, now).await? {
            Kept::put(&writing, kind, version, bytes, now).await?;
        }
        writing.commit().await
    }

    /// Version of a timestamp that holds for a while, 0 if there is nothing to be fresh.
    ///
    /// # Errors
    /// As for [`Repository::renew`].
    pub async fn timestamp_version(&self, now: OffsetDateTime) -> Result<u64, Error> {
        if let Some(version) = self.fresh.get(&self.store, now) {
            return Ok(version);
        }
        // Asked for before anything is read: what comes meanwhile is to be looked at by whoever brings it.
        let state = self.store.documents_state();
        self.renew_from(0, now).await?;
        let version = self.kept.newest_version(Kind::Timestamp).await?;
        // What was left as it is because the clock is not believed is looked at again as soon as it is.
        if self.clock_trouble(now).await?.is_none() {
            self.fresh.put(state, now, now + LOOKED_EVERY, version);
        }
        Ok(version)
    }

    /// What has to be signed anew.
    async fn due(&self, lowest: u64, now: OffsetDateTime) -> Result<Vec<New>, Error> {
        let list = self.kept.newest(Kind::Releases).await?;
        let root = self.kept.newest(Kind::Root).await?;
        let (Some(list), Some(root)) = (list, root) else { return Ok(vec![]) };
        if !Root::pin(&root.bytes)?.names_online(&self.keys.online.id()) {
            return Err(Error::Conflict(
                "the root does not name this server's online key, so nothing that it signs would be \
                 trusted: put keys/online.pem back, or sign a root that names the new one"
                    .into(),
            ));
        }
        let mut documents =
            BTreeMap::from([("targets".to_owned(), Listed::of("list of releases", &list.bytes)?)]);
        for (role, row) in self.kept.roles().await? {
            documents.insert(role, Listed::of("role's list", &row.bytes)?);
        }
        let sign = |version: u64, at: OffsetDateTime| {
            let spec = SnapshotSpec { version, expires: at + VALID, documents: documents.clone() };
            sign_snapshot(&spec, &self.keys.online)
        };
        let (snapshot, snapshot_is_new) = self.holding(Kind::Snapshot, lowest, sign, now).await?;
        let snapshot_listed = Listed::of("snapshot", &snapshot.bytes)?;
        let sign = |version: u64, at: OffsetDateTime| {
            let spec = TimestampSpec {
                version,
                signed_at: at,
                expires: at + VALID,
                snapshot: snapshot_listed,
            };
            sign_timestamp(&spec, &self.keys.online)
        };
        let (timestamp, timestamp_is_new) =
            self.holding(Kind::Timestamp, lowest, sign, now).await?;
        let new = [(snapshot, snapshot_is_new), (timestamp, timestamp_is_new)];
        if (snapshot_is_new || timestamp_is_new)
            && let Some(why) = self.clock_trouble(now).await?
        {
            // What is only to be fresher can wait: devices judge by clocks of their own.
            let is_said = self.says_what_is_here(&documents).await?;
            return if is_said { Ok(vec![]) } else { Err(Error::Conflict(why)) };
        }
        Ok(new.into_iter().filter_map(|(document, is_new)| is_new.then_some(document)).collect())
    }

    /// Whether the newest snapshot lists these documents.
    async fn says_what_is_here(&self, documents: &BTreeMap<String, Listed>) -> Result<bool, Error> {
        let Some(snapshot) = self.kept.newest(Kind::Snapshot).await? else { return Ok(false) };
        let (version, expires) = (from_row(snapshot.version), taken_at(&snapshot) + VALID);
        let spec = SnapshotSpec { version, expires, documents: documents.clone() };
        Ok(sign_snapshot(&spec, &self.keys.online) == snapshot.bytes)
    }

    /// The newest document of this kind if it holds, or a new one; and which of them it is.
    ///
    /// Signing is the same each time, so one holds if it would be signed like this again. One of a time
    /// that has not come yet does not: devices that have not seen it are spared by the next.
    async fn holding(
        &self,
        kind: Kind<'static>,
        lowest: u64,
        sign: impl Fn(u64, OffsetDateTime) -> Vec<u8>,
        now: OffsetDateTime,
    ) -> Result<(New, bool), Error> {
        let last = self.kept.newest(kind).await?;
        if let Some(document::Model { version, bytes, .. }) = &last {
            let (version, at) = (from_row(*version), last.as_ref().map_or(now, taken_at));
            let is_fresh = at <= now && now < at + VALID - RENEW && lowest <= version;
            if is_fresh && *bytes == sign(version, at) {
                return Ok((New { kind, version, bytes: bytes.clone() }, false));
            }
        }
        let version = next_version(last.map_or(0, |last| from_row(last.version)), now);
        Ok((New { kind, version, bytes: sign(version, now) }, true))
    }
}

/// The version after `last`, or the clock's milliseconds where those are more: a server that was restored
/// from a copy must not give versions again that devices have seen already. Seconds would not do: of what
/// is signed twice in one, the second would be ahead of the clock, and of what a copy of it signs next.
fn next_version(last: u64, now: OffsetDateTime) -> u64 {
    last.saturating_add(1).max(milliseconds(now)).min(VERSION_MAX)
}

/// Milliseconds since 1970.
fn milliseconds(now: OffsetDateTime) -> u64 {
    u64::try_from(now.unix_timestamp_nanos() / 1_000_000).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::DataFolder;
    use lineside_trust::{KeyPair, RootSpec, TargetsSpec, sign_root, sign_targets};
    use ring::rand::SystemRandom;
    use time::macros::datetime;

    /// The repository of a server in `folder` that has a root and an empty list of releases.
    async fn repository(folder: &DataFolder, now: OffsetDateTime) -> Repository {
        let store = Arc::new(crate::store::testing::store(&folder.join("")).await);
        let keys = Arc::new(ServerKeys::open(folder).unwrap());
        let people = KeyPair::generate(&SystemRandom::new()).unwrap();
        let root = sign_root(
            &RootSpec {
                version: 1,
                expires: now + Duration::days(3_650),
                root: (vec![people.public()], 1),
                releases: (vec![people.public()], 1),
                online: keys.online.public(),
                director: keys.director.public(),
            },
            &[&people],
        );
        let list = |version: u64| {
            let spec = TargetsSpec {
                version,
                expires: now + Duration::days(3_650),
                files: BTreeMap::new(),
                delegations: Vec::new(),
            };
            sign_targets(&spec, &[&people])
        };
        let repository = Repository::new(store.clone(), keys, Arc::default());
        let writing = store.write().await.unwrap();
        writing.changes_without_entry("a test");
        Kept::put(&writing, Kind::Root, 1, root, now).await.unwrap();
        Kept::put(&writing, Kind::Releases, 1, list(1), now).await.unwrap();
        writing.commit().await.unwrap();
        repository.renew(now).await.unwrap();
        repository
    }

    /// When what devices are given was signed.
    async fn signed(repository: &Repository) -> OffsetDateTime {
        taken_at(&repository.kept.newest(Kind::Timestamp).await.unwrap().unwrap())
    }

    #[tokio::test]
    async fn nothing_is_signed_by_a_clock_that_jumped_ahead_and_what_was_is_signed_anew() {
        let place = tempfile::tempdir().unwrap();
        let folder = DataFolder::open(place.path()).unwrap();
        let now = datetime!(2026-11-24 12:00 UTC);
        let repository = repository(&folder, now).await;
        let ahead = now + Duration::days(700);
        repository.renew(ahead).await.unwrap();
        assert_eq!(signed(&repository).await, now, "freshness can wait");
        let why = repository.clock_trouble(ahead).await.unwrap().unwrap();
        assert!(
            why.contains("2028-10-24, 700 days after") && why.contains("--clock-is-right"),
            "{why}"
        );
        assert_eq!(repository.clock_trouble(now).await.unwrap(), None);

        // What is new has to be signed, and is not.
        let writing = repository.store.write().await.unwrap();
        writing.changes_without_entry("a test");
        Kept::forget(&writing, Kind::Snapshot).await.unwrap();
        writing.commit().await.unwrap();
        assert!(matches!(repository.renew(ahead).await, Err(Error::Conflict(_))));

        // A person says that it is right; later it turns out that it was not.
        repository.clock.confirm(ahead);
        repository.renew(ahead).await.unwrap();
        assert_eq!(signed(&repository).await, ahead);
        let version = repository.timestamp_version(ahead).await.unwrap();
        repository.renew(now).await.unwrap();
        assert_eq!(signed(&repository).await, now);
        assert_eq!(repository.timestamp_version(now).await.unwrap(), version + 1);
    }

    #[tokio::test]
    async fn a_server_that_was_set_back_signs_a_newer_timestamp_than_devices_have_seen() {
        let place = tempfile::tempdir().unwrap();
        let folder = DataFolder::open(place.path()).unwrap();
        let then = datetime!(2026-11-24 12:00 UTC);
        let repository = repository(&folder, then).await;
        let version = async |now| repository.timestamp_version(now).await.unwrap();
        // However soon after that was signed which is in the copy.
        let (first, now) = (version(then).await, then + Duration::minutes(2));
        // Nobody who says less or the same, nor what never was signed, brings a new one about.
        for told in [0, first, milliseconds(now), milliseconds(now) + 1, VERSION_MAX, u64::MAX] {
            repository.renew_after(told, now).await.unwrap();
            assert_eq!(version(now).await, first, "{told}");
        }
        repository.renew_after(first + 1, now).await.unwrap();
        assert_eq!(version(now).await, milliseconds(now));
        // Once is enough: all devices are sent it.
        let soon = now + Duration::minutes(59);
        repository.renew_after(milliseconds(now) + 1, soon).await.unwrap();
        assert_eq!(version(soon).await, milliseconds(now));
        let later = now + Duration::hours(2);
        repository.renew_after(milliseconds(now) + 1, later).await.unwrap();
        assert_eq!(version(later).await, milliseconds(later));
    }

    #[test]
    fn versions_rise_and_a_server_that_forgot_some_does_not_give_them_again() {
        let now = datetime!(2026-11-24 12:00 UTC);
        let clock = 1_795_521_600_000;
        assert_eq!(next_version(0, now), clock);
        assert_eq!(next_version(clock, now), clock + 1);
        // A copy that was made before both: what it signs in the same second is still newer.
        let twice = next_version(next_version(0, now), now);
        assert!(next_version(0, now + Duration::milliseconds(400)) > twice);
        assert_eq!(next_version(clock + 9, OffsetDateTime::UNIX_EPOCH), clock + 10);
    }
}
