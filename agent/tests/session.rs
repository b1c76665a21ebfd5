//! The session with a server that behaves badly: a small broker that does as the test tells it.

#![allow(clippy::unwrap_used)] // A test stops at what does not hold.

mod kit;

use kit::{PATIENCE, Vendor};
use lineside_agent::fleet;
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
use lineside_rules::{LogLimits, SitePolicy};
use lineside_trust::{KeyPair, LogRequest, sign_log_request};
use lineside_wire::envelope::{decode, encode};
use lineside_wire::v1::{Answer, AskLog, LogLevel, LogLines};
use ring::rand::SystemRandom;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::timeout;

// MQTT 5 (OASIS standard), section 2.1.2: types of packets.
const CONNECT: u8 = 1;
const PUBLISH: u8 = 3;
const PUBACK: u8 = 4;
const SUBSCRIBE: u8 = 8;

/// A connection of the device, seen from the broker.
struct Visit(TcpStream);

impl Visit {
    /// Takes the next connection, and accepts it with nothing more to say.
    async fn accept(listener: &TcpListener) -> Visit {
        let (stream, _) = timeout(PATIENCE, listener.accept()).await.unwrap().unwrap();
        let mut visit = Visit(stream);
        assert_eq!(visit.next().await.unwrap().0, CONNECT);
        visit.0.write_all(&[0x20, 3, 0, 0, 0]).await.unwrap();
        visit
    }

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
        let device = kit::Device::new(vendor, 0);
        let identity = fleet::Device::read(&device.folder.path().join("device")).unwrap();
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
            device: fleet::Device { mqtt_port: port, ..identity },
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
