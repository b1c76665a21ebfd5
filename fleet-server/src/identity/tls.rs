//! Connections that others than this machine make: encrypted, and with a certificate where somebody has one.

use crate::error::Error;
use crate::identity::ServerCertificate;
use lineside_identity::{Authority, Peer, Roots, read_chain};
use rustls::pki_types::CertificateDer;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use std::io;
use std::sync::Arc;
use time::OffsetDateTime;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// What connections begin with.
pub(crate) struct Tls {
    acceptor: TlsAcceptor,
    roots: Roots,
}

impl Tls {
    /// Connections on which this certificate is shown, and those of this authority are believed.
    ///
    /// # Errors
    /// [`Error::Conflict`] if the authority's certificate is of no use for that.
    pub fn new(authority: &Authority, shown: Arc<ServerCertificate>) -> Result<Tls, Error> {
        let unusable = |error: &dyn std::fmt::Display| {
            Error::Conflict(format!("the authority's certificate cannot be used: {error}"))
        };
        let mut store = RootCertStore::empty();
        for root in read_chain(authority.pem()).map_err(|error| unusable(&error))? {
            store.add(CertificateDer::from(root)).map_err(|error| unusable(&error))?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        // Who has no certificate yet, or one that has lapsed, comes without. Which of those that are shown
        // counts, is for `Roots` to say after the handshake.
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(store), provider.clone())
                .allow_unauthenticated()
                .build()
                .map_err(|error| unusable(&error))?;
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| unusable(&error))?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(shown);
        let roots = Roots::of_fleet(authority.pem()).map_err(|error| unusable(&error))?;
        Ok(Tls { acceptor: TlsAcceptor::from(Arc::new(config)), roots })
    }

    /// Takes a connection, and says who has shown a certificate on it.
    ///
    /// # Errors
    /// Why it is not taken.
    pub async fn accept<S>(&self, stream: S) -> io::Result<(TlsStream<S>, Option<Peer>)>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let stream = self.acceptor.accept(stream).await?;
        let shown = stream.get_ref().1.peer_certificates().unwrap_or_default();
        let chain: Vec<&[u8]> = shown.iter().map(AsRef::as_ref).collect();
        if chain.is_empty() {
            return Ok((stream, None));
        }
        let peer =
            self.roots.verify(&chain, OffsetDateTime::now_utc()).map_err(io::Error::other)?;
        Ok((stream, Some(peer)))
    }
}
