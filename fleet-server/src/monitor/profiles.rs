//! Profiles of releases, from the artifacts.

use crate::artifact::Artifacts;
use crate::bounds::{PROFILE_BYTES_KEPT, PROFILES_KEPT};
use crate::error::{Error, chain};
use lineside_bundle::{Digest, OciManifest, PROFILE_TYPE};
use lineside_drift::{PROFILE_BYTES_MAX, Profile};
use lineside_wire::v1::ReleaseRef;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

/// A profile, or why there is none, for people.
pub(crate) type Found = Result<Arc<Profile>, String>;

/// Profiles, those asked for last in memory.
pub(crate) struct Profiles {
    artifacts: Artifacts,
    /// The last one asked for first.
    kept: Mutex<VecDeque<Kept>>,
}

struct Kept {
    manifest: [u8; 32],
    found: Found,
    bytes: usize,
}

impl Profiles {
    /// The profiles of releases that are among `artifacts`.
    pub fn new(artifacts: Artifacts) -> Profiles {
        Profiles { artifacts, kept: Mutex::default() }
    }

    /// The profile of a release.
    ///
    /// # Errors
    /// [`Error::Database`] or [`Error::File`]; that there is none is no error.
    pub async fn of(&self, release: &ReleaseRef) -> Result<Found, Error> {
        if let Some(found) = self.known(&release.digest) {
            return Ok(found);
        }
        let (name, version) = (&release.name, &release.version);
        let digest = Digest::from(release.digest);
        let manifest = match self.artifacts.get(name, &digest.to_string()).await {
            Ok(manifest) => manifest,
            // It may be pushed again: not for long is this so.
            Err(Error::Missing(_)) => {
                return Ok(Err(format!("{name}/{version} is not on this server any more")));
            }
            Err(error) => return Err(error),
        };
        let found = match OciManifest::parse(&manifest.bytes) {
            Err(problem) => Err(format!("{name}/{version}: {problem}")),
            Ok(parsed) => {
                match parsed.layers.iter().find(|layer| layer.media_type == PROFILE_TYPE) {
                    None => Err(format!(
                        "{name}/{version} has no profile: make one of known-good data with `lineside profile \
                         build`, and release it with the next version"
                    )),
                    Some(layer) if layer.size > PROFILE_BYTES_MAX as u64 => {
                        Err(format!("the profile of {name}/{version} has {} bytes", layer.size))
                    }
                    Some(layer) => {
                        let bytes = self.artifacts.blobs.read(&layer.digest, layer.size).await?;
                        let Some(bytes) = bytes else {
                            let lost = format!("the profile of {name}/{version} is not here");
                            return Ok(Err(lost));
                        };
                        let size = bytes.len();
                        let found = Profile::parse(&bytes).map(Arc::new).map_err(|error| {
                            format!("the profile of {name}/{version}: {}", chain(&error))
                        });
                        self.keep(release.digest, found.clone(), size);
                        return Ok(found);
                    }
                }
            }
        };
        self.keep(release.digest, found.clone(), 0);
        Ok(found)
    }

    fn known(&self, manifest: &[u8; 32]) -> Option<Found> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let at = kept.iter().position(|one| one.manifest == *manifest)?;
        let one = kept.remove(at)?;
        let found = one.found.clone();
        kept.push_front(one);
        Some(found)
    }

    fn keep(&self, manifest: [u8; 32], found: Found, bytes: usize) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|one| one.manifest != manifest);
        kept.push_front(Kept { manifest, found, bytes });
        let too_many = |kept: &VecDeque<Kept>| {
            let bytes = kept.iter().map(|one| one.bytes).sum::<usize>();
            kept.len() > 1 && (kept.len() > PROFILES_KEPT || bytes > PROFILE_BYTES_KEPT)
        };
        while too_many(&kept) {
            kept.pop_back();
        }
    }
}
