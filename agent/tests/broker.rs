//! A plant's broker that refuses, forgets, repeats and drops, played packet by packet (MQTT 5).

#![allow(clippy::unwrap_used)] // A test stops at what does not hold.

#[path = "kit/medium.rs"]
mod medium;

use lineside_agent::config::MqttEnd;
use lineside_agent::ledger::{Addressed, Batch, Ledger, OutboxLimits, SlotRecord};
use lineside_agent::sink;
use lineside_agent::source::joined::{self, Joined};
use lineside_agent::source::mqtt::Topic;
use lineside_agent::source::turns::Gives;
use lineside_agent::source::{Arrival, Ports, Step};
use lineside_agent::worker::route::JournalStep;
use lineside_bundle::{BundleFile, Port};
use medium::Disk;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};

/// Longest that anything here may take.
const PATIENCE: Duration = Duration::from_secs(60);

const CONNECT: u8 = 1;
const PUBLISH: u8 = 3;
const PUBACK: u8 = 4;
const SUBSCRIBE: u8 = 8;
const PINGREQ: u8 = 12;
const NOT_AUTHORIZED: u8 = 0x87;
const SESSION_TAKEN_OVER: u8 = 0x8e;

/// Whether a broker has kept a session, marks a message as a copy.
const YES: u8 = 1;
const NO: u8 = 0;

/// The broker's side of a connection.
struct Client(TcpStream);

impl Client {
    /// Waits for the next connection and takes it.
    async fn accept(broker: &TcpListener, session_kept: u8) -> Client {
        let (stream, _) = timeout(PATIENCE, broker.accept()).await.unwrap().unwrap();
        let mut client = Client(stream);
        client.next(CONNECT).await;
        client.send(&[0x20, 3, session_kept, 0, 0]).await;
        client
    }

    /// The body of the next packet but pings; it must be of this kind.
    async fn next(&mut self, kind: u8) -> Vec<u8> {
        loop {
            let (found, body) = timeout(PATIENCE, self.read()).await.unwrap();
            if found == PINGREQ {
                self.send(&[0xd0, 0]).await;
                continue;
            }
            assert_eq!(found, kind);
            return body;
        }
    }

    async fn read(&mut self) -> (u8, Vec<u8>) {
        let kind = self.0.read_u8().await.unwrap() >> 4;
        let (mut length, mut shift) = (0, 0);
        loop {
            let byte = usize::from(self.0.read_u8().await.unwrap());
            length |= (byte & 0x7f) << shift;
            shift += 7;
            if byte < 0x80 {
                break;
            }
        }
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).await.unwrap();
        (kind, body)
    }

    async fn send(&mut self, packet: &[u8]) {
        self.0.write_all(packet).await.unwrap();
    }

    /// Answers a subscription.
    async fn subscribed(&mut self) {
        let body = self.next(SUBSCRIBE).await;
        self.send(&[0x90, 4, body[0], body[1], 0, 1]).await;
    }

    /// The identifier of the next message, and its payload.
    async fn message(&mut self) -> ([u8; 2], String) {
        let body = self.next(PUBLISH).await;
        let topic = usize::from(u16::from_be_bytes([body[0], body[1]]));
        let rest = &body[2 + topic..];
        assert_eq!(rest[2], 0, "no properties");
        ([rest[0], rest[1]], String::from_utf8(rest[3..].to_vec()).unwrap())
    }

    async fn acknowledge(&mut self, [high, low]: [u8; 2], reason: u8) {
        self.send(&[0x40, 4, high, low, reason, 0]).await;
    }

    /// Publishes on `scada`; at QoS 0 without an identifier.
    async fn publish(&mut self, identifier: Option<u8>, copy: u8, payload: &str) {
        let mut packet = vec![0x30 | copy << 3 | u8::from(identifier.is_some()) << 1, 0];
        packet.extend([0, 5]);
        packet.extend(b"scada");
        packet.extend(identifier.into_iter().flat_map(|identifier| [0, identifier]));
        packet.push(0);
        packet.extend(payload.as_bytes());
        packet[1] = u8::try_from(packet.len() - 2).unwrap();
        self.send(&packet).await;
    }

    /// The identifier of the next acknowledgement.
    async fn acknowledged(&mut self) -> u8 {
        self.next(PUBACK).await[1]
    }
}

async fn broker() -> (TcpListener, MqttEnd) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (host, topic) = ("127.0.0.1".to_owned(), "scada".to_owned());
    (listener, MqttEnd { host, port, topic, credentials: None })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_finding_that_the_broker_refuses_stays_in_the_outbox_until_it_is_taken() {
    let limits = OutboxLimits { findings_max: 1000, block: false };
    let ledger = Ledger::of(Disk::of(64 << 20).database(), limits).unwrap();
    let sinks: Arc<[String]> = vec!["plant".to_owned()].into();
    let finding = |says| Addressed { sinks: sinks.clone(), json: format!("{{\"says\":{says}}}") };
    let batch = Batch {
        slot: "line".parse().unwrap(),
        record: SlotRecord::default(),
        journal: JournalStep::default(),
        spans: vec![],
        findings: (1..=3).map(finding).collect(),
    };
    ledger.commit(Box::new(batch)).await.await.unwrap().unwrap();
    let (listener, end) = broker().await;
    let sink = tokio::spawn(sink::mqtt::run("plant".into(), end, "sink".into(), ledger.clone()));
    let mut client = Client::accept(&listener, NO).await;
    for (says, reason) in [(1, 0), (2, NOT_AUTHORIZED), (3, 0)] {
        let (identifier, payload) = client.message().await;
        assert_eq!(payload, format!("{{\"number\":{says},\"says\":{says}}}"));
        client.acknowledge(identifier, reason).await;
    }
    let waiting = || ledger.findings("plant", 0, 10).unwrap();
    let began = Instant::now();
    while waiting().len() > 1 {
        assert!(began.elapsed() < PATIENCE);
        sleep(Duration::from_millis(2)).await;
    }
    assert_eq!(waiting()[0].0, 2);
    // Its permission has been put right.
    let (identifier, payload) = client.message().await;
    assert_eq!(payload, "{\"number\":2,\"says\":2}");
    client.acknowledge(identifier, 0).await;
    while !waiting().is_empty() {
        assert!(began.elapsed() < PATIENCE);
        sleep(Duration::from_millis(2)).await;
    }
    sink.abort();
}

/// A source that reads a field `x`.
struct Source {
    arrivals: mpsc::Receiver<Arrival>,
    receipts: mpsc::UnboundedSender<u64>,
    problem: watch::Receiver<Option<String>>,
    _port: watch::Sender<Option<Arc<Port>>>,
}

impl Source {
    fn start(end: MqttEnd) -> Source {
        let bundle = BundleFile::parse(
            "format = 1\nname = 'x'\nversion = '1'\noutputs.y.from = 'w'\n\
             stages.w = { kind = 'window', input = 'p', rows = 1, stride = 1 }\n\
             [inputs.p]\nrate_hz = 1.0\nfields = [{ name = 'x' }]\n",
        );
        let (port, port_out) = watch::channel(Some(Arc::new(bundle.unwrap().port().1.clone())));
        let (arrived, arrivals) = mpsc::channel(100);
        let (receipts, heard) = mpsc::unbounded_channel();
        let (told, problem) = watch::channel(None);
        let topic = Topic {
            end,
            client_id: "source".into(),
            port: port_out,
            arrivals: arrived,
            receipts: heard,
            recent: VecDeque::new(),
            problem: told,
        };
        tokio::spawn(topic.read());
        Source { arrivals, receipts, problem, _port: port }
    }

    async fn next(&mut self) -> Arrival {
        timeout(PATIENCE, self.arrivals.recv()).await.unwrap().unwrap()
    }

    /// The value of the next arrival's row, and its receipt.
    async fn value(&mut self) -> (f64, Option<u64>) {
        let arrival = self.next().await;
        assert_eq!(arrival.dropped, []);
        (arrival.rows[0].values[0], arrival.receipt)
    }

    async fn copy(&mut self) {
        let arrival = self.next().await;
        assert_eq!((arrival.rows.len(), &*arrival.dropped), (0, &[("copy", 1)][..]));
        assert_eq!((arrival.step, arrival.receipt), (None, None));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_are_acknowledged_when_they_are_committed_and_copies_are_counted() {
    let (listener, end) = broker().await;
    let mut source = Source::start(end);
    let mut client = Client::accept(&listener, NO).await;
    client.subscribed().await;
    client.publish(Some(1), NO, "{\"x\":1}").await;
    client.publish(Some(2), NO, "{\"x\":2}").await;
    client.publish(None, NO, "{\"x\":0}").await;
    let (value, first) = source.value().await;
    assert_eq!((value, first.is_some()), (1.0, true));
    let (value, second) = source.value().await;
    assert_eq!((value, second.is_some()), (2.0, true));
    assert_eq!(source.value().await, (0.0, None), "at QoS 0 nobody waits to hear of it");
    source.receipts.send(first.unwrap()).unwrap();
    assert_eq!(client.acknowledged().await, 1);
    drop(client);

    let mut client = Client::accept(&listener, YES).await;
    client.subscribed().await;
    // The acknowledgement of the first was lost, the second was never committed.
    client.publish(Some(1), YES, "{\"x\":1}").await;
    client.publish(Some(2), YES, "{\"x\":2}").await;
    source.copy().await;
    assert_eq!(client.acknowledged().await, 1);
    source.copy().await;
    // The identifier is free again, and the sensor says the same as before.
    client.publish(Some(1), NO, "{\"x\":1}").await;
    let (value, third) = source.value().await;
    assert_eq!(value, 1.0);
    source.receipts.send(second.unwrap()).unwrap();
    assert_eq!(client.acknowledged().await, 2);
    source.receipts.send(third.unwrap()).unwrap();
    assert_eq!(client.acknowledged().await, 1);
    client.publish(Some(1), NO, "{\"x\":4}").await;
    assert_eq!(source.value().await.0, 4.0);
    // What came under this identifier before the last one was acknowledged long ago.
    client.publish(Some(1), YES, "{\"x\":1}").await;
    assert_eq!(source.value().await.0, 1.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_topics_are_taken_in_the_order_of_their_times_and_each_hears_of_its_own_messages() {
    let bundle = BundleFile::parse(
        "format = 1\nname = 'x'\nversion = '1'\noutputs.y.from = 'w'\n\
         stages.w = { kind = 'window', input = 'p', rows = 1, stride = 1 }\n\
         [inputs.p]\ntime = 't'\nfields = [{ name = 'x' }]\n",
    );
    let port = Arc::new(bundle.unwrap().port().1.clone());
    let names = ["heat", "noise"];
    let ports = names.map(|name| (name.to_owned(), port.clone()));
    let ports = Ports { ports: ports.into(), wait: Duration::from_secs(10) };
    let (_ports, ports) = watch::channel(Some(Arc::new(ports)));
    let (arrived, mut arrivals) = mpsc::channel(100);
    let (receipts, heard) = mpsc::unbounded_channel();
    let (told, _) = watch::channel(None);
    let (mut sources, mut listeners) = (Vec::new(), Vec::new());
    for name in names {
        let (listener, end) = broker().await;
        listeners.push(listener);
        let (arrivals, arriving) = mpsc::channel(4);
        let (committed, receipts) = mpsc::unbounded_channel();
        let (port, read_for) = watch::channel(None);
        let (problem, has) = watch::channel(None);
        let (client_id, recent) = (name.to_owned(), VecDeque::new());
        let topic = Topic { end, client_id, port: read_for, arrivals, receipts, recent, problem };
        tokio::spawn(topic.read());
        sources.push(joined::Source {
            name: name.into(),
            gives: Gives::Live,
            arrivals: arriving,
            receipts: committed,
            port,
            problem: has,
        });
    }
    tokio::spawn(Joined::new(sources, ports, arrived, heard, told).read());
    let mut heat = Client::accept(&listeners[0], NO).await;
    heat.subscribed().await;
    let mut noise = Client::accept(&listeners[1], NO).await;
    noise.subscribed().await;
    let said = |second: u8, x: u8| format!("{{\"t\":\"2026-01-01T00:00:0{second}Z\",\"x\":{x}}}");
    heat.publish(Some(1), NO, &said(0, 1)).await;
    heat.publish(Some(2), NO, &said(2, 2)).await;
    noise.publish(Some(1), NO, &said(1, 3)).await;
    let mut came = Vec::new();
    for _ in 0..3 {
        let arrival = timeout(PATIENCE, arrivals.recv()).await.unwrap().unwrap();
        let feed = arrival.feed.unwrap().to_string();
        came.push((feed, arrival.rows[0].values[0], arrival.receipt.unwrap()));
    }
    let order: Vec<_> = came.iter().map(|(feed, value, _)| (feed.as_str(), *value)).collect();
    assert_eq!(order, [("heat", 1.0), ("noise", 3.0), ("heat", 2.0)]);
    receipts.send(came[1].2).unwrap();
    assert_eq!(noise.acknowledged().await, 1);
    receipts.send(came[0].2).unwrap();
    assert_eq!(heat.acknowledged().await, 1);
    receipts.send(came[2].2).unwrap();
    assert_eq!(heat.acknowledged().await, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_are_no_readings_are_counted_and_acknowledged_like_others() {
    let (listener, end) = broker().await;
    let mut source = Source::start(end);
    let mut client = Client::accept(&listener, NO).await;
    client.subscribed().await;
    client.publish(Some(7), NO, "[{\"X\":1},{\"x\":1},{\"x\":\"?\"},{}]").await;
    let arrival = source.next().await;
    assert_eq!(arrival.rows.len(), 1);
    assert_eq!(arrival.dropped, [("malformed", 1), ("missing", 2)]);
    assert!(matches!(arrival.step, Some(Step::Packet { identifier: 7, .. })));
    source.receipts.send(arrival.receipt.unwrap()).unwrap();
    assert_eq!(client.acknowledged().await, 7);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn why_no_readings_come_can_be_seen_until_they_come_again() {
    let (listener, end) = broker().await;
    let mut source = Source::start(end);
    let mut client = Client::accept(&listener, NO).await;
    client.subscribed().await;
    client.send(&[0xe0, 2, SESSION_TAKEN_OVER, 0]).await;
    let seen = source.problem.wait_for(Option::is_some);
    let problem = timeout(PATIENCE, seen).await.unwrap().unwrap().clone().unwrap();
    assert!(problem.contains("another client has taken over the session"), "{problem}");
    drop(client);
    let mut client = Client::accept(&listener, YES).await;
    let body = client.next(SUBSCRIBE).await;
    client.send(&[0x90, 4, body[0], body[1], 0, NOT_AUTHORIZED]).await;
    let seen = source.problem.wait_for(|problem| {
        problem.as_ref().is_some_and(|problem| problem.contains("refuses the subscription"))
    });
    timeout(PATIENCE, seen).await.unwrap().unwrap();
    drop(client);
    let mut client = Client::accept(&listener, YES).await;
    client.subscribed().await;
    let seen = source.problem.wait_for(Option::is_none);
    timeout(PATIENCE, seen).await.unwrap().unwrap();
}
