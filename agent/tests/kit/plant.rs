//! A broker with one sensor and one listener, and the fleet server beside it (MQTT 5): it keeps the
//! sensor's messages until they are acknowledged, through any number of connections.

#![allow(clippy::unwrap_used)] // A test stops at what does not hold.
#![allow(dead_code)] // Not every test needs all of it.

use lineside_wire::envelope::{decode, encode};
use lineside_wire::v1::{Ack, Record, Telemetry};
use std::collections::{BTreeMap, VecDeque};
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

/// The topic of the sensor, and that of the findings.
pub const SENSOR: &str = "sensor";
pub const FINDINGS: &str = "findings";
/// Messages that the sensor may have on their way.
const UNACKNOWLEDGED_MAX: usize = 8;
/// How often a connection looks for something to send.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// What the broker has.
#[derive(Default)]
pub struct Kept {
    /// Messages of the sensor that were not sent yet.
    waiting: VecDeque<String>,
    /// Those that were sent and not acknowledged, by identifier.
    under_way: BTreeMap<u16, String>,
    next: u16,
    /// The client that reads them, once it has subscribed.
    reader: Option<String>,
    /// Findings as they came.
    pub findings: Vec<String>,
    /// Records that the server has stored, by start and number.
    pub stored: BTreeMap<(u64, u64), Record>,
    /// How often all connections were cut.
    cuts: u64,
}

/// The broker.
#[derive(Clone)]
pub struct Plant {
    kept: Arc<Mutex<Kept>>,
    /// Where it listens.
    pub port: u16,
}

impl Plant {
    /// A broker whose sensor has these messages to tell.
    pub fn new(messages: impl IntoIterator<Item = String>) -> Plant {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let kept = Kept { waiting: messages.into_iter().collect(), ..Kept::default() };
        let plant = Plant { kept: Arc::new(Mutex::new(kept)), port };
        let broker = plant.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let broker = broker.clone();
                // A connection ends with its client.
                std::thread::spawn(move || broker.serve(stream.unwrap()).unwrap_err());
            }
        });
        plant
    }

    pub fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap()
    }

    /// Has the sensor say nothing new any more.
    pub fn hush(&self) {
        self.kept().waiting.clear();
    }

    /// Cuts all connections.
    pub fn cut(&self) {
        self.kept().cuts += 1;
    }

    /// Whether every message of the sensor has been acknowledged.
    pub fn is_read(&self) -> bool {
        let kept = self.kept();
        kept.waiting.is_empty() && kept.under_way.is_empty()
    }

    fn serve(&self, stream: TcpStream) -> io::Result<()> {
        let mut reading = stream.try_clone()?;
        let mut writing = Writing(stream);
        let (_, connect) = packet(&mut reading)?;
        // Protocol name and level, flags, keep alive, properties, then the client's name.
        let properties = usize::from(connect[10]);
        let (client, _) = text(&connect[11 + properties..]);
        let known = self.kept().reader.as_ref() == Some(&client);
        writing.send(0x20, &[u8::from(known), 0, 0])?;
        if known {
            // What its last connection left open, marked as copies.
            let under_way = self.kept().under_way.clone();
            for (identifier, message) in under_way {
                writing.publish(SENSOR, 0x0a, identifier, message.as_bytes())?;
            }
        }
        let (tell, heard) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            while let Ok(packet) = packet(&mut reading) {
                if tell.send(packet).is_err() {
                    return;
                }
            }
        });
        let cuts = self.kept().cuts;
        while self.kept().cuts == cuts {
            match heard.recv_timeout(LOOK_EVERY) {
                Ok((kind, body)) => self.hear(&client, kind, &body, &mut writing)?,
                Err(std::sync::mpsc::RecvTimeoutError::Timeout) => {}
                Err(_) => return Err(io::ErrorKind::ConnectionAborted.into()),
            }
            self.speak(&client, &mut writing)?;
        }
        writing.0.shutdown(std::net::Shutdown::Both)?;
        Err(io::ErrorKind::ConnectionAborted.into())
    }

    /// Sends what the sensor says.
    fn speak(&self, client: &String, writing: &mut Writing) -> io::Result<()> {
        let mut kept = self.kept();
        if kept.reader.as_ref() != Some(client) || kept.under_way.len() >= UNACKNOWLEDGED_MAX {
            return Ok(());
        }
        let Some(message) = kept.waiting.pop_front() else { return Ok(()) };
        kept.next = kept.next % 1000 + 1;
        let identifier = kept.next;
        kept.under_way.insert(identifier, message.clone());
        writing.publish(SENSOR, 2, identifier, message.as_bytes())
    }

    fn hear(&self, client: &str, kind: u8, body: &[u8], writing: &mut Writing) -> io::Result<()> {
        match kind >> 4 {
            // A message: acknowledged when it is kept.
            3 => {
                let (topic, rest) = text(body);
                let identifier = u16::from_be_bytes([rest[0], rest[1]]);
                let payload = &rest[3 + usize::from(rest[2])..];
                let ack = self.take(&topic, payload);
                writing.send(0x40, &[rest[0], rest[1], 0, 0])?;
                if let Some(ack) = ack {
                    let topic = topic.replace("/up/telemetry", "/down/ack");
                    writing.publish(&topic, 2, identifier, &ack)?;
                }
                Ok(())
            }
            4 => {
                let identifier = u16::from_be_bytes([body[0], body[1]]);
                self.kept().under_way.remove(&identifier);
                Ok(())
            }
            8 => {
                let (topic, _) = text(&body[3 + usize::from(body[2])..]);
                if topic == SENSOR {
                    self.kept().reader = Some(client.to_owned());
                }
                writing.send(0x90, &[body[0], body[1], 0, 1])
            }
            12 => writing.send(0xd0, &[]),
            _ => Ok(()),
        }
    }

    /// Keeps a message; gives what the server says to it.
    fn take(&self, topic: &str, payload: &[u8]) -> Option<Vec<u8>> {
        if topic == FINDINGS {
            self.kept().findings.push(String::from_utf8(payload.to_vec()).unwrap());
        }
        if !topic.ends_with("/up/telemetry") {
            return None;
        }
        let records = decode::<Telemetry>(payload).unwrap().records;
        let boot = records.first()?.boot;
        let here = records.iter().filter(|record| record.boot == boot);
        let ranges = here.map(|record| (record.sequence, record.sequence)).collect();
        let ack = Ack { boot, ranges };
        let stored = records.into_iter().map(|record| ((record.boot, record.sequence), record));
        // What comes again is known already.
        for (key, record) in stored {
            self.kept().stored.entry(key).or_insert(record);
        }
        Some(encode(&ack).unwrap())
    }
}

struct Writing(TcpStream);

impl Writing {
    fn send(&mut self, kind: u8, body: &[u8]) -> io::Result<()> {
        let mut packet = vec![kind];
        let mut length = body.len();
        loop {
            let more = if length > 0x7f { 0x80 } else { 0 };
            packet.push(u8::try_from(length & 0x7f).unwrap() | more);
            length >>= 7;
            if length == 0 {
                break;
            }
        }
        packet.extend(body);
        self.0.write_all(&packet)
    }

    fn publish(
        &mut self,
        topic: &str,
        flags: u8,
        identifier: u16,
        payload: &[u8],
    ) -> io::Result<()> {
        let mut body = u16::try_from(topic.len()).unwrap().to_be_bytes().to_vec();
        body.extend(topic.as_bytes());
        body.extend(identifier.to_be_bytes());
        body.push(0);
        body.extend(payload);
        self.send(0x30 | flags, &body)
    }
}

/// The next packet: its first byte, and its body.
fn packet(stream: &mut TcpStream) -> io::Result<(u8, Vec<u8>)> {
    let mut byte = [0];
    stream.read_exact(&mut byte)?;
    let kind = byte[0];
    let (mut length, mut shift) = (0, 0);
    loop {
        stream.read_exact(&mut byte)?;
        length |= usize::from(byte[0] & 0x7f) << shift;
        shift += 7;
        if byte[0] < 0x80 {
            break;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    Ok((kind, body))
}

/// A text with its length before it, and what comes after.
fn text(bytes: &[u8]) -> (String, &[u8]) {
    let length = usize::from(u16::from_be_bytes([bytes[0], bytes[1]]));
    let (text, rest) = bytes[2..].split_at(length);
    (String::from_utf8(text.to_vec()).unwrap(), rest)
}
