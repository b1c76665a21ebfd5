//! Channels over TLS: who has a certificate of an authority that the settings name is told, and nobody else hears
//! a word.

use crate::alerts::fired;
use crate::channels::{SECRET, Told, hear, listener, start};
use crate::mqtt::Client;
use crate::running::{PATIENCE, Running};
use crate::telemetry::tell;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::thread;

type Tls = StreamOwned<ServerConnection, TcpStream>;

/// Who signs certificates of servers.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    fn new(name: &str) -> Authority {
        let key = KeyPair::generate().unwrap();
        let mut parameters = CertificateParams::default();
        parameters.distinguished_name.push(DnType::CommonName, name);
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let pem = parameters.self_signed(&key).unwrap().pem();
        Authority { issuer: Issuer::new(parameters, key), pem }
    }

    /// A server of this name or address.
    fn server(&self, name: &str) -> Arc<ServerConfig> {
        let key = KeyPair::generate().unwrap();
        let parameters = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let certificate = parameters.signed_by(&key, &self.issuer).unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider);
        let builder = builder.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
        Arc::new(builder.with_single_cert(vec![certificate.der().clone()], key).unwrap())
    }
}

/// Greets as a server of TLS; none where the other side does not believe it.
fn greeted(stream: TcpStream, server: Arc<ServerConfig>) -> Option<Tls> {
    let mut tls = StreamOwned::new(ServerConnection::new(server).unwrap(), stream);
    while tls.conn.is_handshaking() {
        tls.conn.complete_io(&mut tls.sock).ok()?;
    }
    Some(tls)
}

/// Listens as a webhook, and says what it was told.
fn hook(listener: TcpListener, server: Arc<ServerConfig>) -> Receiver<Told> {
    let (sender, told) = channel();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Some(tls) = greeted(stream.unwrap(), server.clone()) else { continue };
            let mut reader = BufReader::new(tls);
            let heard = hear(&mut reader);
            let answer =
                "HTTP/1.1 204 No Content\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
            reader.get_mut().write_all(answer.as_bytes()).unwrap();
            reader.get_mut().conn.send_close_notify();
            let _ = reader.get_mut().flush();
            if sender.send(heard).is_err() {
                return;
            }
        }
    });
    told
}

/// A conversation of mail up to its end, or to the word that TLS begins; gives what came in, line by line.
fn converse(stream: &mut (impl Read + Write), offers: &str) -> (Vec<String>, bool) {
    let mut reader = BufReader::new(stream);
    let (mut lines, mut is_data): (Vec<String>, bool) = (Vec::new(), false);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) == 0 {
            return (lines, false);
        }
        let line = line.trim_end().to_owned();
        let answer = match line.split(' ').next().unwrap() {
            "." if is_data => {
                is_data = false;
                "250 taken"
            }
            _ if is_data => "",
            "EHLO" => offers,
            "AUTH" => "235 welcome",
            "STARTTLS" => "220 go on",
            "DATA" => {
                is_data = true;
                "354 go on"
            }
            "QUIT" => "221 bye",
            _ => "250 ok",
        };
        lines.push(line);
        if !answer.is_empty() {
            let answer = format!("{}\r\n", answer.replace('\n', "\r\n"));
            if reader.get_mut().write_all(answer.as_bytes()).is_err() {
                return (lines, false);
            }
            let _ = reader.get_mut().flush();
        }
        match answer {
            "220 go on" => return (lines, true),
            "221 bye" => return (lines, false),
            _ => {}
        }
    }
}

/// Listens as a server of mail; gives what came in the clear, and what came encrypted.
fn mail(
    listener: TcpListener,
    server: Arc<ServerConfig>,
    offers: &'static str,
) -> Receiver<(Vec<String>, Vec<String>)> {
    let (sender, heard) = channel();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            stream.write_all(b"220 here\r\n").unwrap();
            let (clear, is_tls) = converse(&mut stream, offers);
            let tls = if is_tls { greeted(stream, server.clone()) } else { None };
            let hidden = tls.map(|mut tls| converse(&mut tls, "250-here\n250 AUTH PLAIN").0);
            if sender.send((clear, hidden.unwrap_or_default())).is_err() {
                return;
            }
        }
    });
    heard
}

fn file(data: &Path, name: &str, text: &str) {
    let folder = data.join("settings");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join(name), text).unwrap();
    fs::set_permissions(folder.join(name), fs::Permissions::from_mode(0o600)).unwrap();
}

/// Has a device tell the server that a rule fires.
async fn fire(server: &Running) {
    let password = server.add_device("line-3");
    let mut device = Client::device(server, "line-3", &password).await;
    tell(&mut device, "line-3", vec![fired(1, 0, "high", 10)]).await;
}

fn trouble(server: &Running) -> String {
    let failed = |shown: &Value| shown["deliveries"][0]["failures"].as_u64() >= Some(1);
    let shown = server.wait_for("/api/v1/alerts/1", failed);
    assert!(shown["deliveries"][0]["delivered"].is_null(), "{shown}");
    shown["deliveries"][0]["trouble"].as_str().unwrap().to_lowercase()
}

fn is_delivered(shown: &Value) -> bool {
    shown["deliveries"][0]["delivered"].is_string()
}

fn https(port: u16) -> String {
    format!(
        "[channels.plant]\nkind = \"webhook\"\nurl = \"https://127.0.0.1:{port}/hook\"\n\
         secret_file = \"hook.secret\"\nca_file = \"ca.pem\"\n"
    )
}

fn smtp(port: u16) -> String {
    format!(
        "[channels.shift]\nkind = \"mail\"\nhost = \"127.0.0.1\"\nport = {port}\n\
         from = \"lineside@plant.example\"\nto = [\"a@plant.example\"]\n\
         user = \"lineside\"\npassword_file = \"mail.password\"\nca_file = \"ca.pem\"\n"
    )
}

#[tokio::test]
async fn a_webhook_is_told_over_tls_whose_authority_the_settings_name() {
    let (data, ours) = (tempfile::tempdir().unwrap(), Authority::new("plant"));
    file(data.path(), "ca.pem", &ours.pem);
    let (listener, port) = listener();
    let told = hook(listener, ours.server("127.0.0.1"));
    let server = start(data.path(), &https(port));
    fire(&server).await;
    let heard = told.recv_timeout(PATIENCE).unwrap();
    assert!(heard.is_signed_with(SECRET));
    assert_eq!(heard.json()["action"], "fired");
    server.wait_for("/api/v1/alerts/1", is_delivered);
}

#[tokio::test]
async fn who_has_a_foreign_certificate_hears_nothing_and_is_named() {
    let (ours, other) = (Authority::new("plant"), Authority::new("plant"));
    for (server, problem) in
        [(other.server("127.0.0.1"), "certificate"), (ours.server("other.example"), "name")]
    {
        let data = tempfile::tempdir().unwrap();
        file(data.path(), "ca.pem", &ours.pem);
        let (listener, port) = listener();
        let told = hook(listener, server);
        let server = start(data.path(), &https(port));
        fire(&server).await;
        let said = trouble(&server);
        assert!(said.contains(problem), "{said}");
        drop(server);
        assert!(told.try_recv().is_err(), "it was told something");
    }
}

#[tokio::test]
async fn mail_and_its_password_go_over_tls_alone() {
    let (data, ours) = (tempfile::tempdir().unwrap(), Authority::new("plant"));
    file(data.path(), "ca.pem", &ours.pem);
    file(data.path(), "mail.password", "opensesame\n");
    let (listener, port) = listener();
    let heard = mail(listener, ours.server("127.0.0.1"), "250-here\n250 STARTTLS");
    let server = start(data.path(), &smtp(port));
    fire(&server).await;
    let (clear, hidden) = heard.recv_timeout(PATIENCE).unwrap();
    assert_eq!(clear.iter().filter(|line| !line.starts_with("EHLO")).count(), 1, "{clear:?}");
    // What RFC 4616 makes of name and password.
    let login = "AUTH PLAIN AGxpbmVzaWRlAG9wZW5zZXNhbWU=";
    assert!(hidden.iter().any(|line| line == login), "{hidden:?}");
    assert!(
        hidden.iter().any(|line| line.starts_with("Subject: Lineside: high fires")),
        "{hidden:?}"
    );
    server.wait_for("/api/v1/alerts/1", is_delivered);
}

#[tokio::test]
async fn a_server_of_mail_that_offers_no_tls_or_is_another_gets_no_letter() {
    let (ours, other) = (Authority::new("plant"), Authority::new("plant"));
    for (server, offers) in [
        (other.server("127.0.0.1"), "250-here\n250 STARTTLS"),
        (ours.server("127.0.0.1"), "250 here"),
    ] {
        let data = tempfile::tempdir().unwrap();
        file(data.path(), "ca.pem", &ours.pem);
        file(data.path(), "mail.password", "opensesame\n");
        let (listener, port) = listener();
        let heard = mail(listener, server, offers);
        let server = start(data.path(), &smtp(port));
        fire(&server).await;
        let said = trouble(&server);
        assert!(said.contains("certificate") || said.contains("tls"), "{said}");
        let (clear, hidden) = heard.recv_timeout(PATIENCE).unwrap();
        let said = [clear, hidden].concat().join("\n");
        assert!(!said.contains("AUTH") && !said.contains("MAIL"), "{said}");
    }
}
