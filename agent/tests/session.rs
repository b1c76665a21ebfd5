//! The session with a server that behaves badly: a small broker that does as the test tells it.

#![allow(clippy::unwrap_used)] // A test stops at what does not hold.

#[path = "kit/authority.rs"]
mod asked;
mod kit;

use kit::{PATIENCE, Vendor};
use lineside_agent::fleet;
use lineside_agent::fleet::identity::Renewal;
use lineside_agent::fleet::session::Session;
use lineside_agent::fleet::status::Reporter;
use lineside_agent::log::{self, Format, Tap};
use lineside_agent::store::Store;
use lineside_agent::telemetry::{TelemetryHandle, TelemetryParts};
use lineside_agent::update::acceptance::Acceptance;
use lineside_agent::update::blobs::Blobs;
use lineside_agent::update::driver::{Parts, Updates};
use lineside_agent::update::journal::Journal;
use lineside_agent::update::states::States;
use lineside_identity::{
    Authority, CertificateRequest, DeviceKey, Lifetime, ServerName, read_chain,
};
use lineside_rules::{LogLimits, SitePolicy};
use lineside_trust::{KeyPair, LogRequest, sign_log_request};
use lineside_wire::envelope::{decode, encode};
use lineside_wire::v1::{Answer, AskLog, LogLevel, LogLines};
use ring::rand::SystemRandom;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use time::OffsetDateTime;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

// MQTT 5 (OASIS standard), section 2.1.2: types of packets.
const CONNECT: u8 = 1;
const PUBLISH: u8 = 3;
const PUBACK: u8 = 4;
const SUBSCRIBE: u8 = 8;

/// A connection of the device, seen from the broker.
struct Visit<S = TcpStream>(S);

impl Visit {
    /// Takes the next connection, and accepts it with nothing more to say.
    async fn accept(listener: &TcpListener) -> Visit {
        let mut visit = Visit(connected(listener).await);
        assert_eq!(visit.next().await.unwrap().0, CONNECT);
        visit.0.write_all(&[0x20, 3, 0, 0, 0]).await.unwrap();
        visit
    }
}

async fn connected(listener: &TcpListener) -> TcpStream {
    timeout(PATIENCE, listener.accept()).await.unwrap().unwrap().0
}

impl<S: AsyncRead + AsyncWrite + Unpin> Visit<S> {
    /// The next packet: its type and its body. None when the device has gone.
    async fn next(&mut self) -> Option<(u8, Vec<u8>)> {
        let read = async {
            let first = self.0.read_u8().await.ok()?;
            let (mut size, mut shift) = (0, 0);
            loop {
                let byte = self.0.read_u8().await.ok()?;
                size |= usize::from(byte & 0x7f) << shift;
                shift += 7;
                if byte & 0x80 == 0 {
                    break;
                }
            }
            let mut body = vec![0; size];
            self.0.read_exact(&mut body).await.ok()?;
            Some((first >> 4, body))
        };
        timeout(PATIENCE, read).await.unwrap()
    }

    /// Acknowledges a packet whose number is at `at`.
    async fn acknowledge(&mut self, kind: u8, body: &[u8]) {
        let number = match kind {
            PUBLISH => {
                let topic = usize::from(u16::from_be_bytes([body[0], body[1]]));
                [body[topic + 2], body[topic + 3]]
            }
            _ => [body[0], body[1]],
        };
        let [high, low] = number;
        let answer: &[u8] = match kind {
            PUBLISH => &[0x40, 2, high, low],
            _ => &[0x90, 4, high, low, 0, 1],
        };
        self.0.write_all(answer).await.unwrap();
    }

    /// Asks for lines of the log.
    async fn ask_log(&mut self, request: Vec<u8>) {
        let topic = b"lineside/v1/line-3/down/log";
        let message = encode(&AskLog { request }).unwrap();
        let body = [&[0, topic.len() as u8], &topic[..], b"\x00", &message].concat();
        // A remaining length of two bytes: seven bits each, the lowest first.
        let length = [0x80 | (body.len() % 128) as u8, (body.len() / 128) as u8];
        self.0.write_all(&[&[0x30], &length[..], &body[..]].concat()).await.unwrap();
    }

    /// What it says of its log next. All else that it says is acknowledged.
    async fn log(&mut self) -> LogLines {
        loop {
            let (kind, body) = self.next().await.expect("the device stays");
            if kind != PUBLISH {
                continue;
            }
            let length = usize::from(u16::from_be_bytes([body[0], body[1]]));
            if &body[2..2 + length] != b"lineside/v1/line-3/up/log" {
                self.acknowledge(PUBLISH, &body).await;
                continue;
            }
            // Without a number, because nobody waits for it to be acknowledged; with no properties.
            assert_eq!(body[2 + length], 0);
            return decode(&body[3 + length..]).unwrap();
        }
    }

    /// Publishes rubbish on the device's branch, so many times.
    async fn rubbish(&mut self, first: u8, number: &[u8], count: usize) {
        let topic = b"lineside/v1/line-3/down/assignment";
        let rest = [&[0, topic.len() as u8], &topic[..], number, b"\x00???"].concat();
        let packet = [&[first, rest.len() as u8], &rest[..]].concat();
        self.0.write_all(&packet.repeat(count)).await.unwrap();
    }

    /// Publishes rubbish on the device's branch, so many times, and waits until all of it was taken:
    /// the last is to be acknowledged.
    async fn flood(&mut self, count: usize) {
        self.rubbish(0x30, &[], count).await;
        self.rubbish(0x32, &[0, 1], 1).await;
        while self.next().await.expect("the device listens").0 != PUBACK {}
    }
}

/// A session of device line-3 with much to tell.
struct Device {
    telemetry: TelemetryHandle,
    _device: kit::Device,
    _store: Store,
    connected: watch::Receiver<bool>,
    site: watch::Sender<SitePolicy>,
}

impl Device {
    async fn start(port: u16) -> Device {
        Device::of(&Vendor::new(), port, Tap::default()).await
    }

    async fn of(vendor: &Vendor, port: u16, log: Tap) -> Device {
        let read = |folder: &Path| fleet::Device {
            mqtt_port: port,
            ..fleet::Device::read(folder).unwrap()
        };
        Device::installed(vendor, log, read).await
    }

    /// What `read` makes of the folder that it was installed with.
    async fn installed(
        vendor: &Vendor,
        log: Tap,
        read: impl FnOnce(&Path) -> fleet::Device,
    ) -> Device {
        let device = kit::Device::new(vendor, 0);
        let identity = read(&device.folder.path().join("device"));
        let state_dir = device.folder.path().join("state");
        let store = Store::open(&state_dir).unwrap();
        let journal = Journal::open(store.database()).unwrap();
        let updates = Updates::start(Parts {
            acceptance: Acceptance::restore(&identity, journal.clone()).unwrap(),
            journal,
            blobs: Blobs::open(&state_dir).unwrap(),
            slots: BTreeMap::new(),
            refused: Box::new(|_| ()),
        });
        let site = watch::Sender::new(SitePolicy::default());
        let telemetry = TelemetryHandle::open(TelemetryParts {
            database: store.database(),
            state_dir,
            boot: 1,
            interval: Duration::from_secs(60),
            spool_bytes_max: 64 << 20,
            spool_days_max: 800,
            backfill_bytes_per_second: 1 << 30,
            answers: Default::default(),
            slots: Default::default(),
            capturing: Default::default(),
            policy: tokio::sync::watch::Sender::default().subscribe(),
        })
        .unwrap();
        telemetry.event("", 0, "something has happened");
        telemetry.flush().await;
        let (connected, is_connected) = watch::channel(false);
        let session = Session {
            device: identity,
            reporter: Reporter::new(
                Arc::new(States::default()),
                BTreeMap::new(),
                BTreeMap::new(),
                1,
            ),
            updates,
            answerer: Arc::new(|ask| Answer { id: ask.id, slots: Vec::new() }),
            telemetry: telemetry.clone(),
            online: watch::Sender::new(()),
            connected,
            log,
            boot: 1,
            policy: site.subscribe(),
        };
        tokio::spawn(session.run());
        Device { telemetry, _device: device, _store: store, connected: is_connected, site }
    }

    /// Has more to say than may be under way and wait together.
    async fn says_much(&self) {
        for _ in 0..60 {
            for _ in 0..200 {
                self.telemetry.event("", 0, "something has happened");
            }
            self.telemetry.flush().await;
        }
    }
}

/// Longer than a device takes to say what it has to say.
const QUIET: Duration = Duration::from_millis(500);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_says_nothing_before_it_hears_what_is_answered() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let _device = Device::start(listener.local_addr().unwrap().port()).await;
    let mut visit = Visit::accept(&listener).await;
    let (kind, subscription) = visit.next().await.unwrap();
    assert_eq!(kind, SUBSCRIBE);
    let early = timeout(QUIET, visit.next()).await;
    assert!(early.is_err(), "before its subscription was confirmed it said {early:?}");
    visit.acknowledge(SUBSCRIBE, &subscription).await;
    let (kind, _) = visit.next().await.unwrap();
    assert_eq!(kind, PUBLISH);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_that_cannot_send_hears_on_and_subscribes_again_after_each_break() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut device = Device::start(listener.local_addr().unwrap().port()).await;
    // The server acknowledges the subscription and nothing else: soon nothing more can be sent.
    let mut visit = Visit::accept(&listener).await;
    let mut published = 0;
    while published < 8 {
        let (kind, body) = visit.next().await.unwrap();
        match kind {
            SUBSCRIBE => visit.acknowledge(kind, &body).await,
            PUBLISH => {
                published += 1;
                // Not before: what waited for the connection goes bit by bit.
                if published == 1 {
                    device.says_much().await;
                }
            }
            _ => {}
        }
    }
    // Now it talks rubbish, and breaks off.
    visit.flood(2000).await;
    drop(visit);
    let went = timeout(PATIENCE, device.connected.wait_for(|connected| !connected)).await;
    went.expect("the break is noticed").unwrap();
    // On the next connection it behaves, and must be listened to again.
    let mut visit = Visit::accept(&listener).await;
    loop {
        let (kind, body) = visit.next().await.expect("the device stays");
        match kind {
            SUBSCRIBE => break,
            PUBLISH => visit.acknowledge(kind, &body).await,
            _ => {}
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lines_of_the_log_are_told_to_the_director_alone_and_as_long_as_the_site_lets_it() {
    let tap = log::install(Format::Text).tap;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let vendor = Vendor::new();
    let device = Device::of(&vendor, listener.local_addr().unwrap().port(), tap.clone()).await;
    let mut visit = Visit::accept(&listener).await;
    let (kind, subscription) = visit.next().await.unwrap();
    assert_eq!(kind, SUBSCRIBE);
    visit.acknowledge(SUBSCRIBE, &subscription).await;

    let request = |number| LogRequest {
        device: "line-3".parse().unwrap(),
        number,
        expires: kit::in_days(1),
        level: LogLevel::Warn,
        targets: vec!["lineside_agent::fleet".into()],
        minutes: 1,
    };
    let stranger = KeyPair::generate(&SystemRandom::new()).unwrap();
    let other = LogRequest { device: "line-4".parse().unwrap(), ..request(1) };
    let old = LogRequest { expires: kit::in_days(-1), ..request(1) };
    for (bytes, wanted) in [
        (br#"{"signatures":[],"signed":{}}"#.to_vec(), "not signed by enough of its keys"),
        (sign_log_request(&request(1), &stranger), "not signed by enough of its keys"),
        (sign_log_request(&other, &vendor.director), "is for device line-4"),
        (sign_log_request(&old, &vendor.director), "expired"),
        (b"{".to_vec(), "cannot be read"),
    ] {
        visit.ask_log(bytes).await;
        let said = visit.log().await;
        assert_eq!((said.request, said.lines.len(), said.left_seconds), (0, 0, 0), "{said:?}");
        assert!(said.ended.contains(wanted), "{said:?}");
        assert_eq!(tap.told(), None);
    }

    visit.ask_log(sign_log_request(&request(2), &vendor.director)).await;
    let said = visit.log().await;
    assert_eq!((said.request, said.boot, said.lines.len()), (2, 1, 0));
    assert!((50..=60).contains(&said.left_seconds) && said.ended.is_empty(), "{said:?}");
    visit.rubbish(0x30, &[], 1).await;
    let said = visit.log().await;
    assert!(said.lines[0].message.contains("cannot be read"), "{said:?}");
    assert_eq!(said.lines[0].target, "lineside_agent::fleet::session");

    let log = LogLimits { allowed: Some(false) };
    device.site.send_replace(SitePolicy { log, ..SitePolicy::default() });
    let said = loop {
        let said = visit.log().await;
        if !said.ended.is_empty() {
            break said;
        }
    };
    assert!(said.request == 2 && said.ended.contains("policy"), "{said:?}");
    visit.ask_log(sign_log_request(&request(3), &vendor.director)).await;
    let said = visit.log().await;
    assert!(said.request == 3 && said.ended.contains("policy"), "{said:?}");
    assert_eq!(tap.told(), None);
}

/// A broker of that authority's fleet on this machine, which wants to see certificates of `clients`.
fn broker(authority: &Authority, clients: &Authority) -> TlsAcceptor {
    let (random, now) = (SystemRandom::new(), OffsetDateTime::now_utc());
    let key = DeviceKey::generate(&random).unwrap();
    let names: [ServerName; 1] = ["127.0.0.1".parse().unwrap()];
    let own = authority.issue_server(&names, key.public(), now, &random).unwrap();
    let der = |pem: &str| CertificateDer::from(read_chain(pem).unwrap().remove(0));
    let mut roots = RootCertStore::empty();
    roots.add(der(clients.pem())).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(clients.build().unwrap())
        .with_single_cert(
            vec![der(&own.pem)],
            PrivatePkcs8KeyDer::from(key.pkcs8().to_vec()).into(),
        )
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}

/// A device of that fleet with a key that it makes, and a certificate for it.
fn by_key(folder: &Path, url: &str, port: u16, authority: &Authority) -> fleet::Device {
    let file = format!(
        "device = 'line-3'\nserver_http = '{url}'\nmqtt_host = '127.0.0.1'\n\
         mqtt_port = {port}\nmqtt_tls = true\n"
    );
    fs::write(folder.join("device.toml"), file).unwrap();
    fs::write(folder.join("authority.pem"), authority.pem()).unwrap();
    let device = fleet::Device::read(folder).unwrap();
    let random = SystemRandom::new();
    let key = fs::read_to_string(folder.join("identity.pem")).unwrap();
    let key = DeviceKey::from_pem(&key, &random).unwrap();
    let request = CertificateRequest::sign(&device.id, &key, &random).unwrap();
    let request = CertificateRequest::parse(&request).unwrap();
    let (lifetime, now) = (Lifetime::of_days(14).unwrap(), OffsetDateTime::now_utc());
    let issued = authority.issue(&request, lifetime, now, &random).unwrap();
    fs::write(folder.join("certificate.pem"), issued.pem).unwrap();
    fleet::Device::read(folder).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_by_key_shows_its_certificate_and_says_which_connection_of_which_start_it_is() {
    let authority = asked::authority();
    let broker = broker(&authority, &authority);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let read = |folder: &Path| by_key(folder, "https://127.0.0.1:1", port, &authority);
    let mut device = Device::installed(&Vendor::new(), Tap::default(), read).await;
    for attempt in 1..=2 {
        let mut visit = Visit(broker.accept(connected(&listener).await).await.unwrap());
        let (kind, connect) = visit.next().await.unwrap();
        assert_eq!(kind, CONNECT);
        // MQTT 5, section 3.1.2.3: neither user name nor password.
        assert_eq!(connect[7] & 0xc0, 0, "{connect:?}");
        let start =
            [&b"\0\x0elineside-start\0\x03"[..], format!("1.{attempt}").as_bytes()].concat();
        assert!(connect.windows(start.len()).any(|bytes| bytes == start), "{connect:?}");
        if attempt == 1 {
            // Not authorized (0x87).
            visit.0.write_all(&[0x20, 3, 0, 0x87, 0]).await.unwrap();
            continue;
        }
        visit.0.write_all(&[0x20, 3, 0, 0, 0]).await.unwrap();
        let (kind, body) = visit.next().await.unwrap();
        assert_eq!(kind, SUBSCRIBE);
        visit.acknowledge(SUBSCRIBE, &body).await;
        timeout(PATIENCE, device.connected.wait_for(|is| *is)).await.unwrap().unwrap();
        assert_eq!(visit.next().await.unwrap().0, PUBLISH);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_whose_certificate_is_not_believed_asks_for_another_by_its_key() {
    let server = asked::Server::start();
    server.accepts();
    // As of one that has lapsed: the handshake is over for the device when it hears of it.
    let broker = broker(&server.authority, &asked::authority());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let read = |folder: &Path| {
        let device = by_key(folder, &server.url, port, &server.authority);
        let fleet::Proof::Key(identity) = &device.proof else { panic!("it has a key") };
        tokio::spawn(Renewal::new(identity.clone(), device.server_http.clone()).run());
        device
    };
    let _device = Device::installed(&Vendor::new(), Tap::default(), read).await;
    assert!(broker.accept(connected(&listener).await).await.is_err());
    // It may have asked by its certificate as well, as at every start.
    let by_key_alone = || while server.asked().shows {};
    tokio::task::block_in_place(by_key_alone);
}
