//! `TrustedTarget -> Blob`: fetches what a release lacks, in the manner of OCI distribution.
//!
//! `GET /v2/{bundle}/manifests/{digest}` gives the OCI manifest, `GET /v2/{bundle}/blobs/{digest}`
//! each blob it names. What is on disk, whole, is not fetched; what is there in part is gone on with
//! (RFC 9110, section 14); what can be made of an older blob is made of it. Blocks; belongs on a
//! thread of its own.

use crate::config::{Credentials, DownloadConfig};
use crate::error::chain;
use crate::fleet::{Device, Proof};
use crate::update::blobs::{BlobError, Blobs};
use crate::update::deltas::{self, BaseFile, Misfits, Offer, Offers};
use crate::update::limits::Limits;
use crate::update::preflight::Objection;
use crate::update::server::{Server, Shown};
use crate::update::stage::{self, DOCUMENT_BYTES_MAX, StageError};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use lineside_bundle::{
    BundleName, BundleVersion, Descriptor, Digest, Manifest, OciManifest, ReleaseId,
};
use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use ureq::tls::{Certificate, PemItem, parse_pem};

/// Why a download has ended.
#[derive(Debug, thiserror::Error)]
pub enum DownloadError {
    /// The server did not answer, or stopped in the middle. Worth trying again.
    #[error("the server at {http} cannot be reached")]
    Unreachable {
        /// Its base URL.
        http: String,
        /// Why.
        source: Box<ureq::Error>,
    },
    /// The server answered something else. Worth trying again: it may be repaired.
    #[error("the server answered {status} to {path}")]
    Status {
        /// HTTP status.
        status: u16,
        /// What was asked for.
        path: String,
    },
    /// The server gave a small document that has no end. Worth trying again.
    #[error("the server's answer to {path} has more than {bytes_max} bytes")]
    TooLarge {
        /// What was asked for.
        path: String,
        /// Bytes that are read.
        bytes_max: u64,
    },
    /// The server pointed elsewhere, and not to a place that may be followed. Worth trying again.
    #[error("the server pointed from {path} to {target}, where nothing is fetched from")]
    Redirected {
        /// What was asked for.
        path: String,
        /// Where it pointed.
        target: String,
    },
    /// The registry wants a token, and there is none. Worth trying again.
    #[error("the token service at {realm}, which the registry names, gives no token: {why}")]
    Token {
        /// The token service.
        realm: String,
        /// Why.
        why: String,
    },
    /// The blob did not get onto the disk. Worth trying again.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// What is on disk is no release.
    #[error(transparent)]
    Release(StageError),
    /// It would not run here.
    #[error("would not run here: {}", sentences(.0))]
    Unfit(Vec<Objection>),
    /// The budget of a link that is paid by the byte. Passes.
    #[error("the download budget of {mib} MiB for 24 hours of running time is used up")]
    UsedUp {
        /// The budget.
        mib: u64,
    },
    /// There is nowhere to fetch it from.
    #[error("{0}")]
    Off(String),
}

impl DownloadError {
    /// Whether only another release helps.
    pub fn is_final(&self) -> bool {
        match self {
            DownloadError::Release(error) => match error {
                StageError::Oci { .. } | StageError::Manifest { .. } => true,
                StageError::Blob { .. } | StageError::File { .. } => false,
            },
            DownloadError::Unfit(objections) => objections.iter().any(|it| !it.passes()),
            DownloadError::Unreachable { .. }
            | DownloadError::Status { .. }
            | DownloadError::TooLarge { .. }
            | DownloadError::Redirected { .. }
            | DownloadError::Token { .. }
            | DownloadError::Blob(_)
            | DownloadError::UsedUp { .. }
            | DownloadError::Off(_) => false,
        }
    }

    /// Whether it says nothing of what was to be fetched.
    pub(super) fn is_not_now(&self) -> bool {
        matches!(self, DownloadError::UsedUp { .. } | DownloadError::Blob(BlobError::Cancelled))
    }
}

fn sentences(objections: &[Objection]) -> String {
    objections.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// Where releases are fetched from.
#[derive(Clone)]
pub struct Registry {
    /// Or why there is none.
    server: Result<Server, String>,
    /// Shared by all slots.
    misfits: Arc<Misfits>,
}

impl Registry {
    /// The registry that the settings name, or else the fleet server of `device`, with the device's own
    /// password or certificate.
    pub fn of(device: &Device, settings: &DownloadConfig, limits: Limits) -> Registry {
        let basic = |user: &str, password: &str| {
            format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
        };
        let server = match &settings.registry {
            None => {
                let base = device.server_http.clone();
                Ok(match &device.proof {
                    Proof::Password { user, password } => {
                        let shown = Shown::Always(basic(user, password.reveal()));
                        Server::new(base, shown, Vec::new(), limits)
                    }
                    Proof::Key(identity) => Server::by_key(base, identity.clone(), limits),
                })
            }
            Some(registry) => {
                let shown = match &registry.credentials {
                    None => Shown::OrToken(None),
                    Some(Credentials::User(user, password)) => {
                        Shown::OrToken(Some(basic(user, password.reveal())))
                    }
                    Some(Credentials::Token(token)) => {
                        Shown::Always(format!("Bearer {}", token.reveal()))
                    }
                };
                let roots = registry.ca.as_deref().map_or(Ok(Vec::new()), certificates);
                roots.map(|roots| Server::new(registry.url.clone(), shown, roots, limits))
            }
        };
        Registry { server, misfits: Arc::default() }
    }

    /// No server at all.
    pub fn none() -> Registry {
        let server = Err("updates are off, `lineside-agent status` says why".to_owned());
        Registry { server, misfits: Arc::default() }
    }

    /// Has every blob of `release` on disk, verified, or says why not. Its two documents come first:
    /// where `preflight` objects to what they say, nothing else is fetched.
    ///
    /// A blob is made of one that is here where the server offers a recipe for that, and fetched
    /// otherwise. A server that stops in the middle is asked again at once as long as each answer
    /// brings enough to be worth it.
    ///
    /// # Errors
    /// [`DownloadError`]; what arrived is kept for the next attempt.
    pub fn fetch(
        &self,
        release: &ReleaseId,
        blobs: &Blobs,
        preflight: &dyn Fn(&OciManifest, &Manifest) -> Vec<Objection>,
        cancelled: &AtomicBool,
    ) -> Result<Fetched, DownloadError> {
        let bundle = &release.name;
        if release.size <= DOCUMENT_BYTES_MAX && !blobs.holds(&release.digest, release.size) {
            let path = format!("/v2/{bundle}/manifests/{}", release.digest);
            self.blob(&path, &release.digest, release.size, blobs, cancelled)?;
        }
        let oci = stage::oci_manifest(release, blobs).map_err(DownloadError::Release)?;
        let config = &oci.config;
        if !blobs.holds(&config.digest, config.size) {
            let path = format!("/v2/{bundle}/blobs/{}", config.digest);
            self.blob(&path, &config.digest, config.size, blobs, cancelled)?;
        }
        let manifest = stage::manifest(release, &oci, blobs).map_err(DownloadError::Release)?;
        let objections = preflight(&oci, &manifest);
        if !objections.is_empty() {
            return Err(DownloadError::Unfit(objections));
        }
        let is_cancelled = || cancelled.load(Ordering::Relaxed);
        let (mut seen, mut lacking) = (BTreeSet::new(), Vec::new());
        for blob in oci.blobs().filter(|blob| seen.insert(blob.digest)) {
            if !blobs.holds(&blob.digest, blob.size)
                && !blobs.claim(&blob.digest, &is_cancelled)?.holds(blob.size)
            {
                lacking.push(blob);
            }
        }
        let missing = lacking
            .iter()
            .map(|blob| blob.size.saturating_sub(blobs.partial_bytes(&blob.digest)))
            .fold(0, u64::saturating_add);
        blobs.check_space(missing)?;
        let offers = self.offers(release, &lacking, blobs, cancelled)?;
        let mut failures = Failures::of(release);
        let mut fetched = Fetched::default();
        for blob in lacking {
            fetched.needed = fetched.needed.saturating_add(blob.size);
            match self.by_delta(blob, &offers, &mut failures, blobs, cancelled)? {
                Some(offer) => {
                    fetched.saved += blob.size.saturating_sub(offer.size);
                    fetched.from.extend(offer.from.clone());
                }
                None => {
                    let path = format!("/v2/{bundle}/blobs/{}", blob.digest);
                    self.blob(&path, &blob.digest, blob.size, blobs, cancelled)?;
                }
            }
        }
        if let Err(error) = blobs.recipes().keep_only(&BTreeSet::new()) {
            // They are in nobody's way, and the next download tries again.
            tracing::debug!("recipes are still there: {}", chain(error));
        }
        Ok(fetched)
    }

    /// What the server offers for blobs that are lacking.
    fn offers(
        &self,
        release: &ReleaseId,
        lacking: &[&Descriptor],
        blobs: &Blobs,
        cancelled: &AtomicBool,
    ) -> Result<Offers, DownloadError> {
        let worth = lacking.iter().any(|blob| blob.size >= deltas::WORTH_BYTES_MIN);
        let server = match &self.server {
            Ok(server) if worth && !self.misfits.has(&release.digest) => server,
            _ => return Ok(Offers::new()),
        };
        match deltas::offers(server, release, &|| cancelled.load(Ordering::Relaxed)) {
            Ok(mut offers) => {
                offers.retain(|target, _| lacking.iter().any(|blob| blob.digest == *target));
                for offers in offers.values_mut() {
                    offers.retain(|offer| blobs.is_there(&offer.base));
                    offers.truncate(deltas::OFFERS_MAX);
                }
                let recipes = offers.values().flatten().map(|offer| offer.recipe).collect();
                blobs.recipes().keep_only(&recipes)?;
                Ok(offers)
            }
            Err(error) if error.is_not_now() => Err(error),
            Err(error) if self.misfits.note(&release.digest, &error) => Err(error),
            Err(_) => Ok(Offers::new()),
        }
    }

    /// Makes a blob of one that is here, by the smallest recipe that fits. Returns which one did; none
    /// if none did.
    fn by_delta<'a>(
        &self,
        blob: &Descriptor,
        offers: &'a Offers,
        failures: &mut Failures<'_>,
        blobs: &Blobs,
        cancelled: &AtomicBool,
    ) -> Result<Option<&'a Offer>, DownloadError> {
        for offer in offers.get(&blob.digest).into_iter().flatten() {
            let left = blob.size.saturating_sub(blobs.partial_bytes(&blob.digest));
            let fits = !failures.are_too_many()
                && offer.size < left
                && !self.misfits.has(&offer.recipe)
                && blobs.check_space(blob.size.saturating_add(offer.size)).is_ok();
            if !fits {
                continue;
            }
            let Some(base) = BaseFile::open(blobs, &offer.base) else { continue };
            match self.make(&failures.release.name, blob, offer, &base, blobs, cancelled) {
                Ok(()) => return Ok(Some(offer)),
                Err(error) if error.is_not_now() => return Err(error),
                Err(error) if self.misfits.note(&offer.recipe, &error) => return Err(error),
                Err(error) => {
                    failures.note(error);
                    if failures.are_too_many() {
                        self.misfits.give_up(&failures.release.digest);
                    }
                }
            }
        }
        Ok(None)
    }

    /// Fetches a recipe and makes a blob by it.
    fn make(
        &self,
        bundle: &BundleName,
        blob: &Descriptor,
        offer: &Offer,
        base: &BaseFile,
        blobs: &Blobs,
        cancelled: &AtomicBool,
    ) -> Result<(), DownloadError> {
        let is_cancelled = || cancelled.load(Ordering::Relaxed);
        let stands_aside = || is_cancelled() || blobs.is_by_hand();
        let recipes = blobs.recipes();
        let path = format!("/v2/{bundle}/blobs/{}", offer.recipe);
        loop {
            self.blob(&path, &offer.recipe, offer.size, &recipes, cancelled)?;
            // In this order: who puts the blob in by hand waits for the second, and the second waits
            // for him.
            let _recipe = recipes.claim(&offer.recipe, &is_cancelled)?;
            let claim = blobs.claim(&blob.digest, &is_cancelled)?;
            if claim.holds(blob.size) {
                return Ok(());
            }
            let Some((recipe, _)) = recipes.open_verified(&offer.recipe) else {
                // Another download has thought that nobody needs it.
                let (got, size) = (0, offer.size);
                let cut = BlobError::Cut { digest: offer.recipe, got, size, source: None };
                return Err(cut.into());
            };
            let base = (&offer.base, base);
            match blobs.make(&blob.digest, blob.size, base, recipe, &stands_aside) {
                Err(BlobError::Cancelled) if !is_cancelled() => {}
                made => return Ok(made?),
            }
        }
    }

    fn blob(
        &self,
        path: &str,
        digest: &Digest,
        size: u64,
        blobs: &Blobs,
        cancelled: &AtomicBool,
    ) -> Result<(), DownloadError> {
        let server = self.server.as_ref().map_err(|why| DownloadError::Off(why.clone()))?;
        let is_cancelled = || cancelled.load(Ordering::Relaxed);
        loop {
            let claim = blobs.claim(digest, &is_cancelled)?;
            if claim.holds(size) {
                return Ok(());
            }
            let stands_aside = || is_cancelled() || blobs.is_by_hand();
            match server.whole(path, digest, size, blobs, &stands_aside) {
                // Somebody has it at hand, perhaps. What they do not bring is gone on with.
                Err(DownloadError::Blob(BlobError::Cancelled)) if !is_cancelled() => {}
                fetched => return fetched,
            }
        }
    }
}

/// Recipes for a release that were of no use: said once, and borne a few times. Each costs a blob that
/// is written and thrown away, and whoever offers them need not be trusted.
struct Failures<'a> {
    release: &'a ReleaseId,
    count: u32,
}

impl Failures<'_> {
    fn of(release: &ReleaseId) -> Failures<'_> {
        Failures { release, count: 0 }
    }

    fn note(&mut self, error: DownloadError) {
        if self.count == 0 {
            let release = self.release;
            tracing::warn!(
                "{release}: a delta is of no use, what it is for is fetched whole: {}",
                chain(error)
            );
        }
        self.count += 1;
    }

    fn are_too_many(&self) -> bool {
        self.count >= deltas::FAILURES_MAX
    }
}

/// The certificates in a file.
fn certificates(path: &Path) -> Result<Vec<Certificate<'static>>, String> {
    let unusable = |why: String| format!("download.ca: cannot use {}: {why}", path.display());
    let text = fs::read(path).map_err(|error| unusable(error.to_string()))?;
    let mut certificates = Vec::new();
    for item in parse_pem(&text) {
        if let PemItem::Certificate(certificate) =
            item.map_err(|error| unusable(error.to_string()))?
        {
            certificates.push(certificate);
        }
    }
    match certificates.is_empty() {
        true => Err(unusable("there is no certificate in it".to_owned())),
        false => Ok(certificates),
    }
}

/// What a download has brought.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fetched {
    /// Bytes of the blobs that were not here.
    pub needed: u64,
    /// Bytes of them that had not to be fetched, because the blobs were made of older ones.
    pub saved: u64,
    /// Versions that had the older ones.
    pub from: BTreeSet<BundleVersion>,
}

impl fmt::Display for Fetched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Fetched { needed, saved, from } = self;
        if *needed == 0 {
            return f.write_str("nothing had to be fetched");
        }
        write!(f, "{} of {needed} bytes fetched", needed.saturating_sub(*saved))?;
        if *saved > 0 {
            f.write_str(", by delta")?;
        }
        for (at, version) in from.iter().enumerate() {
            write!(f, "{}v{version}", if at == 0 { " from " } else { " and " })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    #[test]
    fn only_what_the_release_itself_says_is_final() {
        let release = ReleaseId {
            name: "turbine".parse().unwrap(),
            version: "2".parse().unwrap(),
            digest: Digest::of(b"it"),
            size: 2,
        };
        let unread = BlobError::Read { path: "blobs".into(), source: io::Error::other("EIO") };
        let rotten = BlobError::Wrong { expected: release.digest, found: Digest::of(b"rot") };
        for source in [unread, rotten] {
            let error = StageError::Blob { release: release.clone(), source };
            assert!(!DownloadError::Release(error).is_final());
        }
        let reason = "it is no manifest".to_owned();
        assert!(DownloadError::Release(StageError::Oci { release, reason }).is_final());
    }
}
