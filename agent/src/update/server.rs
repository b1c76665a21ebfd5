//! A server as a download asks it: by the pull half of OCI distribution 1.1, with ranges.

use crate::update::blobs::{BlobError, Blobs};
use crate::update::download::DownloadError;
use lineside_bundle::{Digest, MANIFEST_TYPE};
use std::io::Read;
use std::time::Duration;
use ureq::Body;
use ureq::http::header::{AUTHORIZATION, CONTENT_RANGE, LOCATION};
use ureq::http::{Response, Uri};

/// Longest silence of a server in the middle of an answer.
const SILENCE_MAX: Duration = Duration::from_secs(20);
/// Longest wait for a connection.
const CONNECT_MAX: Duration = Duration::from_secs(10);
/// Bytes that an answer must bring for the next one to be asked for at once. A server that gives less
/// is left alone for a while, or it would be asked a million times for one model.
const PIECE_BYTES_MIN: u64 = 16 << 10;
/// Redirections that are followed for one request.
const REDIRECTIONS_MAX: usize = 5;

/// A server of OCI distribution.
#[derive(Debug, Clone)]
pub(super) struct Server {
    base: String,
    authorization: String,
    agent: ureq::Agent,
}

impl Server {
    /// The server at `base`, a URL without a slash at its end, which is shown `authorization`.
    pub(super) fn new(base: String, authorization: String) -> Server {
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_connect(Some(CONNECT_MAX))
            .timeout_recv_response(Some(SILENCE_MAX))
            .timeout_per_read(Some(SILENCE_MAX))
            .accept_encoding("identity")
            // Followed here, where it is known whom the credentials belong to.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .build()
            .new_agent();
        Server { base, authorization, agent }
    }

    /// A small document; none if the server has none.
    pub(super) fn document(
        &self,
        path: &str,
        accept: &str,
        bytes_max: u64,
    ) -> Result<Option<Vec<u8>>, DownloadError> {
        let response = self.ask(path, accept, 0)?;
        match response.status().as_u16() {
            200 => {}
            404 => return Ok(None),
            status => return Err(DownloadError::Status { status, path: path.to_owned() }),
        }
        let mut bytes = Vec::new();
        let mut body = response.into_body().into_reader().take(bytes_max.saturating_add(1));
        let read = body.read_to_end(&mut bytes);
        match read {
            Ok(_) if bytes.len() as u64 > bytes_max => {
                Err(DownloadError::TooLarge { path: path.to_owned(), bytes_max })
            }
            Ok(_) => Ok(Some(bytes)),
            Err(source) => Err(self.unreachable(ureq::Error::Io(source))),
        }
    }

    /// Asks for a blob until it is complete, as long as the answers are worth it.
    pub(super) fn whole(
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
                // The part that was on disk may have been damaged there: once more, whole.
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
            // The disk took the last byte, and then nothing more.
            return Ok(blobs.receive(digest, size, std::io::empty(), cancelled)?);
        }
        if have > size {
            blobs.forget_partial(digest)?;
            have = 0;
        }
        let accept = format!("{MANIFEST_TYPE}, application/octet-stream");
        let response = self.ask(path, &accept, have)?;
        let resumed = match response.status().as_u16() {
            200 => false,
            206 => true,
            status => return Err(DownloadError::Status { status, path: path.to_owned() }),
        };
        let start = response.headers().get(CONTENT_RANGE).and_then(|range| range.to_str().ok());
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

    /// Asks once, from the byte `from` on, and follows where the server points: a registry may keep
    /// its blobs elsewhere. Whoever that is does not see the credentials.
    fn ask(&self, path: &str, accept: &str, from: u64) -> Result<Response<Body>, DownloadError> {
        let mut url = format!("{}{path}", self.base);
        for _ in 0..=REDIRECTIONS_MAX {
            let mut request = self.agent.get(&url).header("accept", accept);
            if origin(&url).is_some() && origin(&url) == origin(&self.base) {
                request = request.header(AUTHORIZATION, &self.authorization);
            }
            if from > 0 {
                request = request.header("range", format!("bytes={from}-"));
            }
            let response = request.call().map_err(|source| self.unreachable(source))?;
            if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
                return Ok(response);
            }
            let target = response.headers().get(LOCATION).and_then(|target| target.to_str().ok());
            url = target.and_then(|target| resolve(&url, target)).ok_or_else(|| {
                let target = target.unwrap_or("nowhere").chars().take(200).collect();
                DownloadError::Redirected { path: path.to_owned(), target }
            })?;
        }
        let target = url.chars().take(200).collect();
        Err(DownloadError::Redirected { path: path.to_owned(), target })
    }

    fn unreachable(&self, source: ureq::Error) -> DownloadError {
        DownloadError::Unreachable { http: self.base.clone(), source: Box::new(source) }
    }
}

/// Scheme, host and port of a URL: who is talked to, and whether others can listen.
fn origin(url: &str) -> Option<(String, String, u16)> {
    let url: Uri = url.parse().ok()?;
    let scheme = url.scheme_str()?.to_ascii_lowercase();
    let port = url.port_u16().or(match scheme.as_str() {
        "http" => Some(80),
        "https" => Some(443),
        _ => None,
    })?;
    Some((scheme, url.host()?.to_ascii_lowercase(), port))
}

/// Where `target` points from `url`: to a whole URL, or to a path of the same server. Never from
/// `https` back to `http`.
fn resolve(url: &str, target: &str) -> Option<String> {
    let (scheme, ..) = origin(url)?;
    if target.starts_with('/') && !target.starts_with("//") {
        let url: Uri = url.parse().ok()?;
        return Some(format!("{scheme}://{}{target}", url.authority()?));
    }
    let (target_scheme, ..) = origin(target)?;
    (target_scheme == "https" || target_scheme == scheme).then(|| target.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirection_leads_to_a_server_or_a_path_and_never_back_to_plain_text() {
        let from = "https://mill:8443/v2/turbine/blobs/x";
        for (target, expected) in [
            ("/cache/x?y", Some("https://mill:8443/cache/x?y")),
            ("https://cdn.example/x", Some("https://cdn.example/x")),
            ("http://cdn.example/x", None),
            ("//cdn.example/x", None),
            ("x", None),
            ("", None),
            ("file:///etc/passwd", None),
        ] {
            assert_eq!(resolve(from, target).as_deref(), expected, "{target}");
        }
        assert!(resolve("http://mill/x", "http://cdn.example/x").is_some());
    }

    #[test]
    fn another_port_or_scheme_is_another_server() {
        let base = origin("https://mill/v2");
        assert_eq!(base, origin("https://MILL:443/other"));
        for other in ["https://mill:8443/", "http://mill:443/", "https://mill.example/", "mill"] {
            assert_ne!(base, origin(other), "{other}");
        }
    }
}
