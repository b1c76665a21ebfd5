//! The table `[api]`: requests of programs beside the agent to its models, over HTTP.

use super::{Wrong, within, wrong};
use serde::Deserialize;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The local API.
#[derive(Debug, Clone)]
pub struct ApiConfig {
    /// Where it listens; beyond this machine only with a token or with certificates of clients.
    pub address: SocketAddr,
    /// The file with the token that clients have to show.
    pub token_file: Option<PathBuf>,
    /// What it is reached by TLS with.
    pub tls: Option<TlsFiles>,
    /// How long a request may wait for others to be run with.
    pub max_wait: Duration,
    /// How long a request may take until it is answered.
    pub deadline: Duration,
    /// Rows that may wait or be run, for each model.
    pub rows_max: usize,
    /// Rows that are run at once.
    pub batch_rows_max: usize,
    /// Largest body of a request in bytes, packed and unpacked.
    pub body_bytes_max: usize,
}

/// Files in PEM.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsFiles {
    /// The agent's certificate, with those in between.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// The certificates that those of clients are signed by. Without it clients show none.
    pub clients: Option<PathBuf>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ApiFile {
    address: SocketAddr,
    token_file: Option<PathBuf>,
    tls: Option<TlsFiles>,
    max_wait_ms: u64,
    deadline_ms: u64,
    rows_max: usize,
    batch_rows_max: usize,
    body_mib_max: usize,
}

impl Default for ApiFile {
    fn default() -> ApiFile {
        ApiFile {
            address: SocketAddr::from(([127, 0, 0, 1], 8000)),
            token_file: None,
            tls: None,
            max_wait_ms: 0,
            deadline_ms: 5000,
            rows_max: 256,
            batch_rows_max: 16,
            body_mib_max: 8,
        }
    }
}

impl ApiFile {
    /// Checks what was written; paths are relative to `folder`.
    pub(super) fn check(self, folder: &Path) -> Result<ApiConfig, Wrong> {
        let field = |key: &str| format!("api.{key}");
        let shows_certificates = self.tls.as_ref().is_some_and(|tls| tls.clients.is_some());
        let is_here = self.address.ip().to_canonical().is_loopback();
        if !is_here && self.token_file.is_none() && !shows_certificates {
            return wrong(
                field("address"),
                format!(
                    "{} can be reached from other machines, and whoever reaches it could use the models: \
                     add token_file, or tls with clients; or listen at 127.0.0.1",
                    self.address
                ),
            );
        }
        let deadline_ms = within(field("deadline_ms"), self.deadline_ms, 1..=600_000)?;
        let max_wait_ms = within(field("max_wait_ms"), self.max_wait_ms, 0..=60_000)?;
        if max_wait_ms >= deadline_ms {
            let problem = format!("{max_wait_ms} is not below deadline_ms, which is {deadline_ms}");
            return wrong(field("max_wait_ms"), problem);
        }
        let body_mib_max = within(field("body_mib_max"), self.body_mib_max, 1..=64)?;
        Ok(ApiConfig {
            address: self.address,
            token_file: self.token_file.map(|file| folder.join(file)),
            tls: self.tls.map(|tls| TlsFiles {
                certificate: folder.join(tls.certificate),
                key: folder.join(tls.key),
                clients: tls.clients.map(|file| folder.join(file)),
            }),
            max_wait: Duration::from_millis(max_wait_ms),
            deadline: Duration::from_millis(deadline_ms),
            rows_max: within(field("rows_max"), self.rows_max, 1..=65_536)?,
            batch_rows_max: within(field("batch_rows_max"), self.batch_rows_max, 1..=64)?,
            body_bytes_max: body_mib_max << 20,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(lines: &str) -> Result<ApiConfig, Wrong> {
        toml::from_str::<ApiFile>(lines).unwrap().check(Path::new("/etc/lineside"))
    }

    #[test]
    fn nobody_beyond_this_machine_gets_in_without_showing_something() {
        for open in [
            "",
            "address = '127.0.0.1:0'",
            "address = '[::1]:8000'",
            "address = '[::ffff:127.0.0.1]:8000'",
            "address = '0.0.0.0:8000'\ntoken_file = 'token'",
            "address = '10.0.0.1:80'\ntls = { certificate = 'c', key = 'k', clients = 'ca' }",
        ] {
            assert!(read(open).is_ok(), "{open}");
        }
        for shut in [
            "address = '0.0.0.0:8000'",
            "address = '[::]:8000'",
            "address = '10.0.0.1:8000'\ntls = { certificate = 'c', key = 'k' }",
        ] {
            let Wrong { field, problem } = read(shut).unwrap_err();
            assert_eq!(field, "api.address", "{shut}");
            assert!(problem.contains("token_file"), "{problem}");
        }
    }

    #[test]
    fn bounds_that_make_no_sense_are_named() {
        for (line, field) in [
            ("deadline_ms = 0", "deadline_ms"),
            ("max_wait_ms = 5000", "max_wait_ms"),
            ("rows_max = 0", "rows_max"),
            ("batch_rows_max = 65", "batch_rows_max"),
            ("body_mib_max = 65", "body_mib_max"),
        ] {
            assert_eq!(read(line).unwrap_err().field, format!("api.{field}"));
        }
        let api = read("token_file = 'token'\ntls = { certificate = 'c', key = '/k' }").unwrap();
        assert_eq!(api.token_file.as_deref(), Some(Path::new("/etc/lineside/token")));
        let tls = api.tls.unwrap();
        assert_eq!(
            (tls.certificate.as_path(), tls.key.as_path()),
            (Path::new("/etc/lineside/c"), Path::new("/k"),)
        );
    }
}
