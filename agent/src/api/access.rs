//! Who is let in: whoever shows the token, or a certificate.

use crate::config::{ApiConfig, TlsFiles};
use lineside_bundle::Digest;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio_rustls::TlsAcceptor;

/// Shortest token: one that nobody guesses.
const TOKEN_BYTES_MIN: usize = 16;
/// Longest token: it has to fit into the head of a request.
const TOKEN_BYTES_MAX: usize = 4096;

/// What the API lets in.
#[derive(Clone)]
pub struct Access {
    /// The digest of the token that clients have to show.
    token: Option<Digest>,
    /// What connections begin with.
    pub(super) tls: Option<TlsAcceptor>,
}

/// Why nobody can be let in.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// A file cannot be read.
    #[error("{field}: cannot read {}", path.display())]
    Read {
        /// The setting.
        field: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A token that is none.
    #[error(
        "api.token_file: {} has to hold {TOKEN_BYTES_MIN} to {TOKEN_BYTES_MAX} visible characters of ASCII; \
         `openssl rand -hex 32` makes some", path.display()
    )]
    Token {
        /// The file.
        path: PathBuf,
    },
    /// A file in which nothing is of use.
    #[error("{field}: {}: {problem}", path.display())]
    Pem {
        /// The setting.
        field: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// Files that do not belong together.
    #[error("api.tls: {0}")]
    Tls(String),
}

impl Access {
    /// Reads the files that the settings name.
    ///
    /// # Errors
    /// [`AccessError`].
    pub fn read(config: &ApiConfig) -> Result<Access, AccessError> {
        let token = config.token_file.as_deref().map(token).transpose()?;
        let tls = config.tls.as_ref().map(acceptor).transpose()?;
        Ok(Access { token, tls })
    }

    /// Whether whoever shows `authorization` may ask. Digests are compared, all bytes of them: how long it
    /// takes says nothing of the token.
    pub(super) fn admits(&self, authorization: Option<&[u8]>) -> bool {
        let Some(wanted) = &self.token else { return true };
        let shown = authorization.and_then(|field| {
            let (scheme, token) = field.split_at_checked(7)?;
            scheme.eq_ignore_ascii_case(b"bearer ").then_some(token)
        });
        let shown = Digest::of(shown.unwrap_or_default()).bytes();
        wanted.bytes().iter().zip(shown).fold(0, |differs, (a, b)| differs | (a ^ b)) == 0
    }

    /// Whether clients have to show anything.
    pub(super) fn asks(&self) -> bool {
        self.token.is_some()
    }
}

fn token(path: &Path) -> Result<Digest, AccessError> {
    let failed =
        |source| AccessError::Read { field: "api.token_file", path: path.to_owned(), source };
    let text = std::fs::read_to_string(path).map_err(failed)?;
    let token = text.trim();
    let is_token = (TOKEN_BYTES_MIN..=TOKEN_BYTES_MAX).contains(&token.len())
        && token.bytes().all(|byte| byte.is_ascii_graphic());
    match is_token {
        true => Ok(Digest::of(token.as_bytes())),
        false => Err(AccessError::Token { path: path.to_owned() }),
    }
}

fn acceptor(files: &TlsFiles) -> Result<TlsAcceptor, AccessError> {
    let tls = |error: &dyn std::fmt::Display| AccessError::Tls(error.to_string());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| tls(&error))?;
    let builder = match &files.clients {
        Some(path) => {
            let field = "api.tls.clients";
            let mut roots = RootCertStore::empty();
            for certificate in certificates(field, path)? {
                roots.add(certificate).map_err(|error| AccessError::Pem {
                    field,
                    path: path.clone(),
                    problem: error.to_string(),
                })?;
            }
            let verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
            builder.with_client_cert_verifier(verifier.map_err(|error| tls(&error))?)
        }
        None => builder.with_no_client_auth(),
    };
    let own = certificates("api.tls.certificate", &files.certificate)?;
    let key = PrivateKeyDer::from_pem_file(&files.key)
        .map_err(|error| pem("api.tls.key", &files.key, &error))?;
    let config = builder.with_single_cert(own, key).map_err(|error| tls(&error))?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn certificates(
    field: &'static str,
    path: &Path,
) -> Result<Vec<CertificateDer<'static>>, AccessError> {
    let certificates: Result<Vec<_>, _> =
        CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
    match certificates {
        Ok(none) if none.is_empty() => Err(pem(field, path, &"there is no certificate in it")),
        Ok(certificates) => Ok(certificates),
        Err(error) => Err(pem(field, path, &error)),
    }
}

fn pem(field: &'static str, path: &Path, problem: &dyn std::fmt::Display) -> AccessError {
    AccessError::Pem { field, path: path.to_owned(), problem: problem.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_shows_the_token_is_let_in_and_nobody_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        std::fs::write(&path, "0123456789abcdef\n").unwrap();
        let access = Access { token: Some(token(&path).unwrap()), tls: None };
        assert!(access.admits(Some(b"Bearer 0123456789abcdef")));
        assert!(access.admits(Some(b"bearer 0123456789abcdef")));
        for shown in [
            None,
            Some(&b""[..]),
            Some(b"Bearer"),
            Some(b"Bearer "),
            Some(b"Bearer 0123456789abcdeF"),
            Some(b"Bearer 0123456789abcdef0"),
            Some(b"Basic 0123456789abcdef"),
            Some(b"0123456789abcdef"),
        ] {
            assert!(!access.admits(shown), "{shown:?}");
        }
        assert!(Access { token: None, tls: None }.admits(None));
        for short in ["", "short", "0123456789 abcdef", "0123456789abcdeä"] {
            std::fs::write(&path, short).unwrap();
            let said = token(&path).unwrap_err().to_string();
            assert!(said.contains("16 to 4096"), "{said}");
        }
        let said = token(&folder.path().join("none")).unwrap_err().to_string();
        assert!(said.starts_with("api.token_file: cannot read"), "{said}");
    }
}
