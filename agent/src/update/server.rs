//! A server as a download asks it: by the pull half of OCI distribution 1.1, with ranges.

use crate::fleet::identity::{Identity, Shows, https};
use crate::update::bearer::{Challenge, Tokens};
use crate::update::blobs::{BlobError, Blobs};
use crate::update::download::DownloadError;
use crate::update::limits::{Limits, wait};
use lineside_bundle::{Digest, MANIFEST_TYPE};
use std::io::{self, Read};
use std::sync::Arc;
use std::time::{Duration, Instant};
use ureq::Body;
use ureq::config::ConfigBuilder;
use ureq::http::header::{AUTHORIZATION, CONTENT_RANGE, LOCATION, RETRY_AFTER};
use ureq::http::{Response, Uri};
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::typestate::AgentScope;

/// Longest silence of a server in the middle of an answer.
const SILENCE_MAX: Duration = Duration::from_secs(20);
/// What a server has to give, on the whole, from the time on that it may take to come into its stride.
/// Otherwise its answer is given up, and the next one goes on where it ended.
const BYTES_PER_SECOND_MIN: u64 = 256;
pub(super) const SLOW_MAX: Duration = Duration::from_secs(60);
/// Longest wait for a connection.
const CONNECT_MAX: Duration = Duration::from_secs(10);
/// Bytes that an answer must bring for the next one to be asked for at once. A server that gives less
/// is left alone for a while, or it would be asked a million times for one model.
const PIECE_BYTES_MIN: u64 = 16 << 10;
/// How often a server that asks for patience is asked again for the same thing.
const PATIENCE_TIMES: u32 = 3;
/// Longest patience that a server gets at once.
const PATIENCE_MAX: Duration = Duration::from_secs(600);
/// Redirections that are followed for one request.
const REDIRECTIONS_MAX: usize = 5;

/// A server of OCI distribution.
#[derive(Clone)]
pub(super) struct Server {
    base: String,
    shown: Shown,
    tokens: Arc<Tokens>,
    limits: Limits,
    agent: ureq::Agent,
}

/// What a server is shown, as it stands in `Authorization`.
#[derive(Clone)]
pub(super) enum Shown {
    /// Nothing: the certificate of the connection says who asks.
    Nothing,
    /// This, and nobody else is shown it.
    Always(String),
    /// This if anything; or a token, where the server names a service which gives some for it.
    OrToken(Option<String>),
}

impl Shown {
    fn itself(&self) -> Option<&str> {
        match self {
            Shown::Nothing => None,
            Shown::Always(authorization) => Some(authorization),
            Shown::OrToken(authorization) => authorization.as_deref(),
        }
    }
}

impl Server {
    /// The server at `base`, a URL without a slash at its end. What it says of itself in TLS, and
    /// whoever it points to, must be signed by one of `roots`.
    pub(super) fn new(
        base: String,
        shown: Shown,
        roots: Vec<Certificate<'static>>,
        limits: Limits,
    ) -> Server {
        let tls = TlsConfig::builder()
            .root_certs(RootCerts::Specific(Arc::new(roots)))
            .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .build();
        let agent = patience_with_servers().tls_config(tls).build().new_agent();
        Server { base, shown, tokens: Arc::default(), limits, agent }
    }

    /// The fleet server at `base`, which is shown the device's certificate.
    pub(super) fn by_key(base: String, identity: Identity, limits: Limits) -> Server {
        let agent = https::client(patience_with_servers().build(), identity, Shows::Certificate);
        Server { base, shown: Shown::Nothing, tokens: Arc::default(), limits, agent }
    }

    /// A small document; none if the server has none.
    pub(super) fn document(
        &self,
        path: &str,
        accept: &str,
        bytes_max: u64,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<Option<Vec<u8>>, DownloadError> {
        let response = self.ask(path, accept, 0, cancelled)?;
        match response.status().as_u16() {
            200 => {}
            404 => return Ok(None),
            status => return Err(DownloadError::Status { status, path: path.to_owned() }),
        }
        let mut bytes = Vec::new();
        let mut body = self.body(response, cancelled);
        let mut piece = [0; 4 << 10];
        loop {
            if cancelled() {
                return Err(BlobError::Cancelled.into());
            }
            match body.read(&mut piece) {
                Ok(0) => return Ok(Some(bytes)),
                Ok(read) => bytes.extend_from_slice(&piece[..read]),
                Err(source) => return Err(self.unreachable(ureq::Error::Io(source))),
            }
            if bytes.len() as u64 > bytes_max {
                return Err(DownloadError::TooLarge { path: path.to_owned(), bytes_max });
            }
        }
    }

    /// What an answer brings, within the limits.
    fn body<'a>(
        &'a self,
        response: Response<Body>,
        cancelled: &'a dyn Fn() -> bool,
    ) -> impl Read + use<'a> {
        let steady = Steady::new(response.into_body().into_reader(), SLOW_MAX);
        self.limits.within(steady, cancelled)
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
                // It cannot go on from there: with another blob than it had, or a disk of its own.
                Err(DownloadError::Status { status: 416, .. }) if before > 0 && !begun_anew => {
                    begun_anew = true;
                    blobs.forget_partial(digest)?;
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
            return Ok(blobs.receive(digest, size, io::empty(), cancelled)?);
        }
        if have > size {
            blobs.forget_partial(digest)?;
            have = 0;
        }
        let accept = format!("{MANIFEST_TYPE}, application/octet-stream");
        let response = self.ask(path, &accept, have, cancelled)?;
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
        let body = self.body(response, cancelled);
        Ok(blobs.receive(digest, size, body, cancelled)?)
    }

    /// Asks from the byte `from` on; again where the server says when.
    fn ask(
        &self,
        path: &str,
        accept: &str,
        from: u64,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<Response<Body>, DownloadError> {
        for _ in 0..PATIENCE_TIMES {
            let response = self.follow(path, accept, from)?;
            let Some(pause) = patience(&response) else { return Ok(response) };
            if !wait(Instant::now() + pause, cancelled) {
                return Err(BlobError::Cancelled.into());
            }
        }
        self.follow(path, accept, from)
    }

    /// Asks once; again where the server wants a token, and there is one.
    fn follow(&self, path: &str, accept: &str, from: u64) -> Result<Response<Body>, DownloadError> {
        let Shown::OrToken(authorization) = &self.shown else {
            return Ok(self.follow_with(self.shown.itself(), path, accept, from)?.0);
        };
        let token = self.tokens.header(path);
        let shown = token.as_deref().or(authorization.as_deref());
        let (response, is_its_own) = self.follow_with(shown, path, accept, from)?;
        let wants_token = response.status() == 401 && is_its_own;
        let challenge =
            wants_token.then(|| Challenge::of(response.headers(), &self.base)).flatten();
        let Some(challenge) = challenge else { return Ok(response) };
        self.tokens.keep(path, challenge.meet(&self.agent, authorization.as_deref())?);
        Ok(self.follow_with(self.tokens.header(path).as_deref(), path, accept, from)?.0)
    }

    /// Asks once, and follows where the server points: a registry may keep its blobs elsewhere.
    /// Whoever that is does not see what the server is shown. Says whether the answer is the server's own.
    fn follow_with(
        &self,
        shown: Option<&str>,
        path: &str,
        accept: &str,
        from: u64,
    ) -> Result<(Response<Body>, bool), DownloadError> {
        if let Some(bytes) = self.limits.used_up() {
            return Err(DownloadError::UsedUp { mib: bytes >> 20 });
        }
        let mut url = format!("{}{path}", self.base);
        for _ in 0..=REDIRECTIONS_MAX {
            let mut request = self.agent.get(&url).header("accept", accept);
            let is_the_server = origin(&url).is_some() && origin(&url) == origin(&self.base);
            if let Some(shown) = shown.filter(|_| is_the_server) {
                request = request.header(AUTHORIZATION, shown);
            }
            if from > 0 {
                request = request.header("range", format!("bytes={from}-"));
            }
            let response = request.call().map_err(|source| self.unreachable(source))?;
            if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
                return Ok((response, is_the_server));
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

/// How long servers may take, and what of them is seen to here.
fn patience_with_servers() -> ConfigBuilder<AgentScope> {
    ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_connect(Some(CONNECT_MAX))
        .timeout_recv_response(Some(SILENCE_MAX))
        .timeout_per_read(Some(SILENCE_MAX))
        .accept_encoding("identity")
        // Followed here, where it is known whom the credentials belong to.
        .max_redirects(0)
        .max_redirects_will_error(false)
}

/// A reader that gives up a source which drips: a byte now and then is no silence, and would keep its
/// reader for months.
pub(super) struct Steady<R> {
    source: R,
    slow_max: Duration,
    /// Time that was spent waiting for the source, and not by whoever reads.
    waited: Duration,
    bytes: u64,
}

impl<R> Steady<R> {
    pub(super) fn new(source: R, slow_max: Duration) -> Steady<R> {
        Steady { source, slow_max, waited: Duration::ZERO, bytes: 0 }
    }
}

impl<R: Read> Read for Steady<R> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let earned = Duration::from_secs(self.bytes / BYTES_PER_SECOND_MIN);
        if self.waited > self.slow_max.saturating_add(earned) {
            let slow = format!("it gives less than {BYTES_PER_SECOND_MIN} bytes a second");
            return Err(io::Error::new(io::ErrorKind::TimedOut, slow));
        }
        let begun = Instant::now();
        let read = self.source.read(bytes);
        self.waited += begun.elapsed();
        let read = read?;
        self.bytes += read as u64;
        Ok(read)
    }
}

/// How long a server asks to be left alone; none if it does not, or does not say how long.
fn patience(response: &Response<Body>) -> Option<Duration> {
    matches!(response.status().as_u16(), 429 | 503).then_some(())?;
    // The other form, a date, needs a clock that can be believed.
    let seconds = response.headers().get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds).min(PATIENCE_MAX))
}

/// Scheme, host and port of a URL: who is talked to, and whether others can listen.
pub(super) fn origin(url: &str) -> Option<(String, String, u16)> {
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

    /// Gives so many bytes at a time, and takes its time for it.
    struct Dripping(usize);

    impl Read for Dripping {
        fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
            std::thread::sleep(Duration::from_millis(5));
            Ok(self.0.min(bytes.len()))
        }
    }

    #[test]
    fn an_answer_that_drips_is_given_up_and_a_slow_one_is_not() {
        let slow_max = Duration::from_millis(20);
        let mut bytes = [0; 4096];
        let mut dripping = Steady::new(Dripping(1), slow_max);
        let error = loop {
            if let Err(error) = dripping.read(&mut bytes) {
                break error;
            }
            assert!(dripping.bytes <= 4, "{} bytes", dripping.bytes);
        };
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        // As long as it gives enough it may take as long as it likes.
        let mut slow = Steady::new(Dripping(4096), slow_max);
        while slow.waited < 5 * slow_max {
            assert_eq!(slow.read(&mut bytes).unwrap(), bytes.len());
        }
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
