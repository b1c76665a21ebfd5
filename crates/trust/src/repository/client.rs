//! Follows a repository, and says which of its files are trusted.

use super::error::RepositoryError;
use super::file::{TrustedFile, trusted_file};
use super::link::{Errand, Link, Mirror, Shelf};
use super::rules::{first_unlisted, sound};
use crate::document::timestamp;
use crate::provider;
use sigstore_tuf::{TrustedMetadataSet, Updater, UpdaterConfig};
use std::pin::pin;
use std::str::FromStr;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use time::macros::datetime;
use time::{Duration, OffsetDateTime};

/// A client of one repository.
///
/// What it trusts is what lies on its shelf: every refresh begins there, and one that could not
/// write down what it had verified ends in an error and leaves nothing behind in memory.
pub struct Client<M, S> {
    pinned: Vec<u8>,
    errand: Arc<Errand<M, S>>,
    /// There only from a refresh that succeeded until one that did not.
    fresh: Option<Updater>,
}

/// The versions of the four roles that a refresh ended with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Versions {
    /// Of the root.
    pub root: u64,
    /// Of the timestamp.
    pub timestamp: u64,
    /// Of the snapshot.
    pub snapshot: u64,
    /// Of the top-level targets.
    pub targets: u64,
}

impl<M: Mirror, S: Shelf> Client<M, S> {
    /// A client that trusts `root` on a person's word: it must be signed by its own keys. It may be
    /// older than roots on the shelf, which are followed from it.
    ///
    /// # Errors
    /// [`RepositoryError`] if it is not such a root.
    pub fn new(root: &[u8], mirror: M, shelf: S) -> Result<Client<M, S>, RepositoryError> {
        provider::install();
        let failed = |error| RepositoryError::of("root.json", error);
        TrustedMetadataSet::from_root(root).map_err(failed)?;
        sound("root.json", root)?;
        Ok(Client { pinned: root.to_vec(), errand: Errand::new(mirror, shelf), fresh: None })
    }

    /// Brings root, timestamp, snapshot and targets up to date, each verified and written down
    /// before the next is fetched.
    ///
    /// `now` is one time for the whole refresh, so that a slow mirror gains nothing.
    ///
    /// # Errors
    /// [`RepositoryError`]; what had been verified and written down before it stays.
    pub fn refresh(&mut self, now: OffsetDateTime) -> Result<Versions, RepositoryError> {
        self.fresh = None;
        let link = || Link(Arc::clone(&self.errand));
        let failed = |error| RepositoryError::of("root.json", error);
        let mut updater = Updater::new(link(), &self.pinned)
            .map_err(failed)?
            .with_config(bounds())
            .with_store(link());
        let outcome = at_once(updater.refresh(moment(now)));
        self.errand.settle(outcome)?;
        let trusted = updater.trusted();
        let (Some(timestamp), Some(snapshot), Some(targets)) =
            (trusted.timestamp(), trusted.snapshot(), trusted.targets_role("targets"))
        else {
            return Err(RepositoryError::NotFresh);
        };
        let versions = Versions {
            root: trusted.root().version,
            timestamp: timestamp.version,
            snapshot: snapshot.version,
            targets: targets.version,
        };
        self.fresh = Some(updater);
        Ok(versions)
    }

    /// What the repository says of the file `path`, asking delegated roles in the specification's
    /// order (5.6.7). `None` if nobody who may has signed it.
    ///
    /// # Errors
    /// [`RepositoryError`]; [`RepositoryError::NotFresh`] unless the last refresh succeeded.
    pub fn target(
        &mut self,
        path: &str,
        now: OffsetDateTime,
    ) -> Result<Option<TrustedFile>, RepositoryError> {
        // Away while it is asked: after an error it may hold what could not be written down.
        let mut updater = self.fresh.take().ok_or(RepositoryError::NotFresh)?;
        let outcome = at_once(updater.get_target_info(path, moment(now)));
        let found = self.errand.settle(outcome)?;
        if let Some(role) = first_unlisted(updater.trusted(), path) {
            let problem = format!("it does not list {role}.json, to which {path} is delegated");
            return Err(RepositoryError::Format { document: "snapshot.json".into(), problem });
        }
        let consistent = updater.trusted().root().consistent_snapshot;
        let file = found.map(|file| trusted_file(path, &file, consistent)).transpose()?;
        self.fresh = Some(updater);
        Ok(file)
    }
}

/// How much is read of each role: what the reference implementation of TUF allows.
fn bounds() -> UpdaterConfig {
    let mut bounds = UpdaterConfig::default();
    // A device may have lain on a shelf for years.
    bounds.max_root_rotations = 256;
    bounds
}

/// The end of a future that never waits, because its sources answer at once.
fn at_once<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => unreachable!("mirror and shelf answer when they are asked"),
    }
}

/// `now` as the core counts time.
///
/// The core calls a document good in the very second in which it expires, and the specification
/// does not (5.3.10, 5.4.4, 5.5.6, 5.6.6): so it is told the next second.
fn moment<T: FromStr<Err: std::fmt::Debug>>(now: OffsetDateTime) -> T {
    // Nothing was signed before, and nobody will ask after.
    let now = now.clamp(OffsetDateTime::UNIX_EPOCH, datetime!(9999-12-30 00:00 UTC));
    timestamp(now + Duration::SECOND).parse().expect("this is how TUF writes times")
}
