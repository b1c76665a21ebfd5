//! What is released, by the release keys and by those to whom they have delegated.

use lineside_bundle::Digest;
use lineside_trust::{SignedRelease, TrustedReleases, TrustedTargets};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use time::OffsetDateTime;

/// The list of releases that holds, and what holds of those whom it names. Whoever has it shares it.
#[derive(Clone)]
pub(crate) struct Released {
    pub releases: Arc<TrustedReleases>,
    pub(super) delegated: Arc<BTreeMap<String, TrustedTargets>>,
    /// Roles whose lists do not hold, or are not here.
    pub(super) lapsed: Arc<BTreeSet<String>>,
}

impl Released {
    /// When something in it is past its date.
    pub(super) fn good_until(&self) -> OffsetDateTime {
        let delegated = self.delegated.values().map(TrustedTargets::good_until);
        delegated.fold(self.releases.good_until(), OffsetDateTime::min)
    }

    /// The release at `path`, by the release keys or the first role that may sign it. Where a role in
    /// the way says nothing that holds, nobody after it is asked: a device does not either.
    pub fn get(&self, path: &str) -> Option<&SignedRelease> {
        if let Some(release) = self.releases.get(path) {
            return Some(release);
        }
        for role in self.releases.delegates_for(path) {
            let release = self.delegated.get(role)?.releases().get(path);
            if release.is_some() {
                return release;
            }
        }
        None
    }

    /// Whether a role that may sign what is at `path` has no list that holds now: its date is past, its
    /// keys were replaced, or it was lost with this server's disk, until somebody signs it anew.
    pub fn awaits(&self, path: &str) -> bool {
        let roles = self.releases.delegates_for(path);
        self.get(path).is_none() && roles.into_iter().any(|role| self.lapsed.contains(role))
    }

    /// Whether nobody's list is waited for.
    pub fn is_whole(&self) -> bool {
        self.lapsed.is_empty()
    }

    /// All releases: those of the release keys, then those of the roles.
    pub fn iter(&self) -> impl Iterator<Item = &SignedRelease> {
        let delegated = self.delegated.values().flat_map(|targets| targets.releases().values());
        self.releases.iter().chain(delegated)
    }

    /// The policies of sites that have one, by site.
    pub fn policies(&self) -> BTreeMap<String, Digest> {
        let files = self.delegated.values().flat_map(|targets| targets.files().keys());
        let policy = |path: &String| {
            let site = path.strip_prefix("site/")?.strip_suffix("/policy.json")?;
            // Several roles may sign at a path: the first of them counts.
            Some((site.to_owned(), self.file(path)?.0))
        };
        files.filter_map(policy).collect()
    }

    /// Digest and size of a file that is no release, from the first of the roles that may sign it.
    pub fn file(&self, path: &str) -> Option<(Digest, u64)> {
        let roles = self.releases.delegates_for(path);
        let signed = roles.into_iter().filter_map(|role| self.delegated.get(role));
        signed.filter_map(|targets| targets.files().get(path)).next().copied()
    }
}
