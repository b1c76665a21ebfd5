//! Telling people by mail.

use crate::error::chain;
use crate::monitor::channel::{Mail, Roots};
use crate::monitor::outbox::Letter;
use lettre::message::header::ContentType;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, CertificateStore, Tls, TlsParameters};
use lettre::{Message, SmtpTransport, Transport};
use std::time::Duration;

/// Longest silence of the other side.
const SILENCE_MAX: Duration = Duration::from_secs(20);

/// Hands a letter to a server of mail. Its number stays the same however often it is tried, so that one
/// that was taken twice is known as one.
///
/// # Errors
/// A sentence: what it answered, or why it did not.
pub(super) fn tell(mail: &Mail, letter: &Letter) -> Result<(), String> {
    let mut message = Message::builder()
        .from(mail.from.clone())
        .subject(&letter.subject)
        .message_id(Some(format!("<{}@lineside>", letter.id)))
        .header(ContentType::TEXT_PLAIN);
    for to in &mail.to {
        message = message.to(to.clone());
    }
    let message = message.body(letter.text.clone()).map_err(|error| chain(&error))?;
    let mut transport =
        SmtpTransport::builder_dangerous(&mail.host).port(mail.port).timeout(Some(SILENCE_MAX));
    if let Some(roots) = &mail.tls {
        let mut tls = TlsParameters::builder(mail.host.clone());
        if let Roots::These(roots) = roots {
            tls = tls.certificate_store(CertificateStore::None);
            for root in roots.iter() {
                let root = Certificate::from_der(root.to_vec()).map_err(|error| chain(&error))?;
                tls = tls.add_root_certificate(root);
            }
        }
        let tls = tls.build_rustls().map_err(|error| chain(&error))?;
        transport = transport.tls(Tls::Required(tls));
    }
    if let Some((user, password)) = &mail.login {
        let credentials = Credentials::new(user.clone(), password.0.clone());
        transport = transport.credentials(credentials);
    }
    transport.build().send(&message).map(drop).map_err(|error| chain(&error))
}
