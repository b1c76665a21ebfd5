//! `TrustedTarget -> Blob`: fetches what a release lacks, in the manner of OCI distribution.
//!
//! `GET /v2/{bundle}/manifests/{digest}` gives the OCI manifest, `GET /v2/{bundle}/blobs/{digest}`
//! each blob it names. What is on disk, whole, is not fetched; what is there in part is gone on with
//! (RFC 9110, section 14). Blocks; belongs on a thread of its own.

use crate::fleet::Device;
use crate::update::blobs::{BlobError, Blobs};
use crate::update::preflight::Objection;
use crate::update::stage::{self, DOCUMENT_BYTES_MAX, StageError};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use lineside_bundle::{Digest, MANIFEST_TYPE, Manifest, OciManifest, ReleaseId};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Longest silence of a server in the middle of an answer.
const SILENCE_MAX: Duration = Duration::from_secs(20);
/// Longest wait for a connection.
const CONNECT_MAX: Duration = Duration::from_secs(10);
/// Bytes that an answer must bring for the next one to be asked for at once. A server that gives less
/// is left alone for a while, or it would be asked a million times for one model.
const PIECE_BYTES_MIN: u64 = 16 << 10;

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
    /// The blob did not get onto the disk. Worth trying again.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// What is on disk is no release.
    #[error(transparent)]
    Release(StageError),
    /// It would not run here.
    #[error("would not run here: {}", sentences(.0))]
    Unfit(Vec<Objection>),
    /// There is nowhere to fetch it from.
    #[error("updates are off, `lineside-agent status` says why")]
    Off,
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
            | DownloadError::Blob(_)
            | DownloadError::Off => false,
        }
    }
}

fn sentences(objections: &[Objection]) -> String {
    objections.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// Where releases are fetched from.
#[derive(Debug, Clone)]
pub struct Registry {
    server: Option<Server>,
}

#[derive(Debug, Clone)]
struct Server {
    http: String,
    authorization: String,
    agent: ureq::Agent,
}

impl Registry {
    /// The fleet server of `device`, with the device's own credentials.
    pub fn of(device: &Device) -> Registry {
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_connect(Some(CONNECT_MAX))
            .timeout_recv_response(Some(SILENCE_MAX))
            .timeout_per_read(Some(SILENCE_MAX))
            .accept_encoding("identity")
            .build()
            .new_agent();
        let credentials = format!("{}:{}", device.user, device.password.reveal());
        let authorization = format!("Basic {}", STANDARD.encode(credentials));
        let http = device.server_http.clone();
        Registry { server: Some(Server { http, authorization, agent }) }
    }

    /// No server at all.
    pub fn none() -> Registry {
        Registry { server: None }
    }

    /// Has every blob of `release` on disk, verified, or says why not. Its two documents come first:
    /// where `preflight` objects to what they say, nothing else is fetched.
    ///
    /// A server that stops in the middle is asked again at once as long as each answer brings enough
    /// to be worth it.
    ///
    /// # Errors
    /// [`DownloadError`]; what arrived is kept for the next attempt.
    pub fn fetch(
        &self,
        release: &ReleaseId,
        blobs: &Blobs,
        preflight: &dyn Fn(&OciManifest, &Manifest) -> Vec<Objection>,
        cancelled: &AtomicBool,
    ) -> Result<(), DownloadError> {
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
        let mut lacking: Vec<_> =
            oci.blobs().filter(|blob| !blobs.holds(&blob.digest, blob.size)).collect();
        lacking.dedup_by_key(|blob| blob.digest);
        let missing = lacking
            .iter()
            .map(|blob| blob.size.saturating_sub(blobs.partial_bytes(&blob.digest)))
            .fold(0, u64::saturating_add);
        blobs.check_space(missing)?;
        for blob in lacking {
            let path = format!("/v2/{bundle}/blobs/{}", blob.digest);
            self.blob(&path, &blob.digest, blob.size, blobs, cancelled)?;
        }
        Ok(())
    }

    fn blob(
        &self,
        path: &str,
        digest: &Digest,
        size: u64,
        blobs: &Blobs,
        cancelled: &AtomicBool,
    ) -> Result<(), DownloadError> {
        let server = self.server.as_ref().ok_or(DownloadError::Off)?;
        let is_cancelled = || cancelled.load(Ordering::Relaxed);
        loop {
            let _claim = blobs.claim(digest, &is_cancelled)?;
            if blobs.holds(digest, size) {
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

impl Server {
    /// Asks for a blob until it is complete, as long as the answers are worth it.
    fn whole(
        &self,
        path: &str,
        digest: &Digest,
        size: u64,
        blobs: &Blobs,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<(), DownloadError> {
        let mut begun_anew = false;
        loop {
            if cancelled() {
                return Err(BlobError::Cancelled.into());
            }
            let before = blobs.partial_bytes(digest);
            let error = match self.piece(path, digest, size, blobs, cancelled) {
                Ok(true) => return Ok(()),
                Ok(false) => {
                    let got = blobs.partial_bytes(digest);
                    BlobError::Cut { digest: *digest, got, size, source: None }.into()
                }
                // The part that was on disk may have been what a power cut left: once more, whole.
                Err(DownloadError::Blob(BlobError::Wrong { .. })) if before > 0 && !begun_anew => {
                    begun_anew = true;
                    continue;
                }
                Err(
                    error @ (DownloadError::Unreachable { .. }
                    | DownloadError::Blob(BlobError::Cut { .. })),
                ) => error,
                Err(error) => return Err(error),
            };
            if blobs.partial_bytes(digest) < before.saturating_add(PIECE_BYTES_MIN) {
                return Err(error);
            }
        }
    }

    /// Asks for the rest of a blob once. Returns whether it is complete.
    fn piece(
        &self,
        path: &str,
        digest: &Digest,
        size: u64,
        blobs: &Blobs,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<bool, DownloadError> {
        let mut have = blobs.partial_bytes(digest);
        if have == size {
            // The power went between the last byte and the rename.
            return Ok(blobs.receive(digest, size, std::io::empty(), cancelled)?);
        }
        if have > size {
            blobs.forget_partial(digest)?;
            have = 0;
        }
        let mut request = self
            .agent
            .get(format!("{}{path}", self.http))
            .header("authorization", &self.authorization)
            .header("accept", format!("{MANIFEST_TYPE}, application/octet-stream"));
        if have > 0 {
            request = request.header("range", format!("bytes={have}-"));
        }
        let response = request.call().map_err(|source| DownloadError::Unreachable {
            http: self.http.clone(),
            source: Box::new(source),
        })?;
        let resumed = match response.status().as_u16() {
            200 => false,
            206 => true,
            status => return Err(DownloadError::Status { status, path: path.to_owned() }),
        };
        let start = response.headers().get("content-range").and_then(|range| range.to_str().ok());
        let fits = start.is_some_and(|range| range.starts_with(&format!("bytes {have}-")));
        if !resumed || !fits {
            // The server gives the blob from its beginning, or from somewhere else altogether.
            blobs.forget_partial(digest)?;
            if resumed {
                return Ok(false);
            }
        }
        Ok(blobs.receive(digest, size, response.into_body().into_reader(), cancelled)?)
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
