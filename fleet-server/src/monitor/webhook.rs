//! Telling a webhook, signed as MLflow signs what it tells: a receiver of the one understands the other.

use crate::error::chain;
use crate::monitor::channel::Webhook;
use crate::monitor::outbox::Letter;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;
use std::sync::Arc;
use std::time::Duration;
use ureq::Agent;
use ureq::http::Request;
use ureq::tls::{Certificate, RootCerts, TlsConfig};

/// Longest wait for a connection.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// Longest time for all of it.
const WHOLE_MAX: Duration = Duration::from_secs(30);

/// Tells a webhook a letter, at `unix_seconds`.
///
/// # Errors
/// A sentence: what it answered, or why it did not.
pub(super) fn tell(webhook: &Webhook, letter: &Letter, unix_seconds: i64) -> Result<(), String> {
    let Webhook { url, secret, roots } = webhook;
    let timestamp = unix_seconds.to_string();
    let signature = sign(&secret.0, &letter.id, &timestamp, &letter.body);
    let request = Request::builder()
        .method("POST")
        .uri(url)
        .header("content-type", "application/json")
        .header("user-agent", concat!("lineside-server/", env!("CARGO_PKG_VERSION")))
        .header("x-mlflow-delivery-id", &letter.id)
        .header("x-mlflow-timestamp", &timestamp)
        .header("x-mlflow-signature", signature)
        .body(letter.body.as_bytes())
        .map_err(|error| error.to_string())?;
    let mut agent = Agent::config_builder()
        .http_status_as_error(false)
        // The signature is for this address and no other.
        .max_redirects(0)
        .max_redirects_will_error(false)
        .proxy(None)
        .timeout_connect(Some(CONNECT_MAX))
        .timeout_global(Some(WHOLE_MAX));
    if url.starts_with("https") {
        let roots = roots.certificates();
        let roots = roots.iter().map(|root| Certificate::from_der(root).to_owned()).collect();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = TlsConfig::builder()
            .root_certs(RootCerts::Specific(Arc::new(roots)))
            .unversioned_rustls_crypto_provider(provider);
        agent = agent.tls_config(tls.build());
    }
    let answer = agent.build().new_agent().run(request).map_err(|error| chain(&error))?;
    match answer.status() {
        status if status.is_success() => Ok(()),
        status if [401, 403].contains(&status.as_u16()) => {
            Err(format!("it answers {status}: is the secret the same on both sides?"))
        }
        status => Err(format!("it answers {status}")),
    }
}

/// `v1,` and HMAC-SHA256 of identifier, time and body with dots between them, in base64.
fn sign(secret: &str, id: &str, timestamp: &str, body: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let tag = hmac::sign(&key, format!("{id}.{timestamp}.{body}").as_bytes());
    format!("v1,{}", STANDARD.encode(tag))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_what_another_implementation_makes_of_the_same() {
        // Python: base64.b64encode(hmac.new(b"0123456789abcdef", b"id-1.1700000000.{\"a\":1}",
        // hashlib.sha256).digest())
        let signature = sign("0123456789abcdef", "id-1", "1700000000", "{\"a\":1}");
        assert_eq!(signature, "v1,NXIo6Hqv9psVb++1NHddD2YMdQBPEXIwdg+LFCwXLx4=");
    }
}
