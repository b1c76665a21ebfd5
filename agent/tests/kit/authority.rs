//! A server of a fleet whose devices come by keys: it says by TLS what the test tells it.

#![allow(clippy::unwrap_used)] // A test stops at what does not hold.
#![allow(dead_code)] // Not every test needs all of it.

use lineside_identity::{
    Answer, Authority, CertificateRequest, DeviceKey, JoinRequest, Lifetime, RenewRequest,
    ServerName, read_chain,
};
use ring::rand::SystemRandom;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};
use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;
use time::OffsetDateTime;

pub const DAY: i64 = 24 * 3_600;
/// Longer than an answer takes to come.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a device asked.
#[derive(Debug)]
pub struct Asked {
    pub path: String,
    pub body: Vec<u8>,
    /// Whether it has shown a certificate.
    pub shows: bool,
}

impl Asked {
    pub fn join(&self) -> JoinRequest {
        assert_eq!(self.path, "/api/v1/identity/join");
        serde_json::from_slice(&self.body).unwrap()
    }

    pub fn renew(&self) -> RenewRequest {
        assert_eq!(self.path, "/api/v1/identity/renew");
        serde_json::from_slice(&self.body).unwrap()
    }
}

/// A server that answers as it is told, by TLS.
pub struct Server {
    pub authority: Arc<Authority>,
    pub url: String,
    asked: mpsc::Receiver<Asked>,
    says: Arc<Mutex<Says>>,
}

/// What it says next.
#[derive(Clone)]
enum Says {
    /// This status and body.
    Bytes(u16, Vec<u8>),
    /// Whoever comes is accepted, and has a certificate for as long.
    Accepts,
}

impl Server {
    pub fn start() -> Server {
        let authority = Arc::new(authority());
        Server::of(authority.clone(), &authority)
    }

    /// Of a fleet with this authority, which believes the certificates of `clients`.
    pub fn of(authority: Arc<Authority>, clients: &Authority) -> Server {
        let random = SystemRandom::new();
        let now = OffsetDateTime::now_utc();
        let key = DeviceKey::generate(&random).unwrap();
        let names: [ServerName; 1] = ["127.0.0.1".parse().unwrap()];
        let own = authority.issue_server(&names, key.public(), now, &random).unwrap();
        let config = Arc::new(config(clients, &own.pem, &key));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        let (tell, asked) = mpsc::channel();
        let says = Arc::new(Mutex::new(Says::Bytes(500, Vec::new())));
        let (said, issuer) = (says.clone(), authority.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let connection = ServerConnection::new(config.clone()).unwrap();
                // Who does not believe the server goes away.
                let stream = StreamOwned::new(connection, stream.unwrap());
                let Some(asked) = answer(stream, &said, &issuer) else { continue };
                if tell.send(asked).is_err() {
                    return;
                }
            }
        });
        Server { authority, url, asked, says }
    }

    pub fn says(&self, answer: &Answer) {
        self.says_bytes(200, &serde_json::to_vec(answer).unwrap());
    }

    pub fn says_bytes(&self, status: u16, body: &[u8]) {
        *self.says.lock().unwrap() = Says::Bytes(status, body.to_vec());
    }

    /// Has a certificate for this request.
    pub fn issues(&self, request: &str) {
        self.says(&issued(&self.authority, request));
    }

    /// Accepts whoever comes.
    pub fn accepts(&self) {
        *self.says.lock().unwrap() = Says::Accepts;
    }

    pub fn asked(&self) -> Asked {
        self.asked.recv_timeout(PATIENCE).unwrap()
    }

    pub fn nobody_asked(&self) {
        assert!(self.asked.try_recv().is_err());
    }

    /// A device with what `lineside device token -o` has written for it.
    pub fn device(&self) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("root.json"), "{}").unwrap();
        self.install(folder.path());
        folder
    }

    /// Writes that, but for the root.
    pub fn install(&self, folder: &Path) {
        let file = format!(
            "device = 'line-3'\nserver_http = '{}'\nmqtt_host = '127.0.0.1'\nmqtt_port = 1\n\
             mqtt_tls = true\nserial = 'A-1'\n",
            self.url
        );
        for (name, text, mode) in [
            ("device.toml", file.as_str(), 0o600),
            ("authority.pem", self.authority.pem(), 0o644),
            ("join-token", "lsjoin_x\n", 0o600),
        ] {
            let path = folder.join(name);
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        }
    }
}

fn issued(authority: &Authority, request: &str) -> Answer {
    let now = OffsetDateTime::now_utc();
    let request = CertificateRequest::parse(request).unwrap();
    let lifetime = Lifetime::of_days(14).unwrap();
    let issued = authority.issue(&request, lifetime, now, &SystemRandom::new()).unwrap();
    let now = now.unix_timestamp();
    Answer::Issued { certificates: issued.pem, renew_at: now + 9 * DAY, now }
}

/// A new authority.
pub fn authority() -> Authority {
    Authority::make("plant", &[], OffsetDateTime::now_utc(), &SystemRandom::new()).unwrap()
}

fn config(clients: &Authority, own: &str, key: &DeviceKey) -> ServerConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let der = |pem: &str| -> Vec<CertificateDer<'static>> {
        read_chain(pem).unwrap().into_iter().map(CertificateDer::from).collect()
    };
    let mut roots = RootCertStore::empty();
    for root in der(clients.pem()) {
        roots.add(root).unwrap();
    }
    let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .allow_unauthenticated()
        .build()
        .unwrap();
    ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(clients)
        .with_single_cert(der(own), PrivatePkcs8KeyDer::from(key.pkcs8().to_vec()).into())
        .unwrap()
}

/// Reads one request, and says what is to be said.
fn answer(
    mut stream: StreamOwned<ServerConnection, TcpStream>,
    says: &Mutex<Says>,
    authority: &Authority,
) -> Option<Asked> {
    let mut reader = BufReader::new(&mut stream);
    let (mut first, mut length) = (String::new(), 0);
    reader.read_line(&mut first).ok()?;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let line = line.trim().to_ascii_lowercase();
        if let Some(bytes) = line.strip_prefix("content-length:") {
            length = bytes.trim().parse().unwrap();
        }
        if line.is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    drop(reader);
    let path = first.split(' ').nth(1)?.to_owned();
    let shows = stream.conn.peer_certificates().is_some_and(|chain| !chain.is_empty());
    let (status, said) = match says.lock().unwrap().clone() {
        Says::Bytes(status, said) => (status, said),
        Says::Accepts => {
            let asked: Value = serde_json::from_slice(&body).unwrap();
            let answer = issued(authority, asked["request"].as_str().unwrap());
            (200, serde_json::to_vec(&answer).unwrap())
        }
    };
    let head = format!(
        "HTTP/1.1 {status} x\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        said.len()
    );
    // It may have heard enough.
    let _ = stream.write_all(&[head.as_bytes(), &said].concat()).and_then(|()| stream.flush());
    stream.conn.send_close_notify();
    let _ = stream.flush();
    Some(Asked { path, body, shows })
}
