//! MQTT byte by byte, for what no well-behaved client would send.

use crate::running::{PATIENCE, Running};
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// A connection to the broker.
pub struct Raw {
    stream: TcpStream,
    version: u8,
}

/// MQTT 5.
pub const V5: u8 = 5;
/// MQTT 3.1.1.
pub const V311: u8 = 4;

const CONNACK: u8 = 2;
const PUBACK: u8 = 4;
const PUBREC: u8 = 5;
const SUBACK: u8 = 9;
const DISCONNECT: u8 = 14;

/// What a client says of itself when it connects.
pub struct Hello<'a> {
    pub version: u8,
    pub client_id: &'a str,
    pub user: &'a str,
    pub password: &'a str,
    pub will_topic: Option<&'a str>,
}

/// A message.
pub struct Message<'a> {
    pub topic: &'a str,
    pub qos: u8,
    pub retain: bool,
    pub topic_alias: Option<u16>,
}

fn text(bytes: &mut Vec<u8>, text: &str) {
    bytes.extend((text.len() as u16).to_be_bytes());
    bytes.extend(text.as_bytes());
}

/// A number as MQTT writes lengths: seven bits a byte, the lowest first.
fn length(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let byte = (number % 128) as u8;
        number /= 128;
        bytes.push(if number > 0 { byte | 0x80 } else { byte });
        if number == 0 {
            return bytes;
        }
    }
}

impl Raw {
    /// Connects; or gives the code by which it was refused, none if the connection just ended.
    pub fn connect(server: &Running, hello: &Hello<'_>) -> Result<Raw, Option<u8>> {
        let stream = TcpStream::connect(&server.mqtt).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut raw = Raw { stream, version: hello.version };
        let mut body = Vec::new();
        text(&mut body, "MQTT");
        let will = if hello.will_topic.is_some() { 0b0000_1100 } else { 0 };
        // User, password and a clean start.
        body.extend([hello.version, 0b1100_0010 | will, 0, 60]);
        raw.no_properties(&mut body);
        text(&mut body, hello.client_id);
        if let Some(topic) = hello.will_topic {
            raw.no_properties(&mut body);
            text(&mut body, topic);
            text(&mut body, "gone");
        }
        text(&mut body, hello.user);
        text(&mut body, hello.password);
        raw.send(0x10, &body);
        match raw.next() {
            Some((CONNACK, body)) if body[1] == 0 => Ok(raw),
            Some((CONNACK, body)) => Err(Some(body[1])),
            Some(other) => panic!("{other:?}"),
            None => Err(None),
        }
    }

    /// Connects as somebody who is let in. The broker turns away who comes while it still clears up
    /// after his last connection; like any client he comes again.
    pub fn admitted(server: &Running, hello: &Hello<'_>) -> Raw {
        let since = Instant::now();
        loop {
            match Raw::connect(server, hello) {
                Ok(raw) => return raw,
                Err(code) => assert!(since.elapsed() < PATIENCE, "still refused: {code:?}"),
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Subscribes with QoS 1; whether it was allowed.
    pub fn subscribe(&mut self, filter: &str) -> bool {
        let mut body = vec![0, 7];
        self.no_properties(&mut body);
        text(&mut body, filter);
        body.push(1);
        self.send(0x82, &body);
        self.answer(SUBACK).and_then(|body| body.last().copied()).is_some_and(|code| code < 0x80)
    }

    /// Publishes with QoS 1 or 2; whether it was allowed. MQTT 3.1.1 has no word for no.
    pub fn publish(&mut self, message: &Message<'_>) -> bool {
        let mut body = Vec::new();
        text(&mut body, message.topic);
        body.extend([0, 9]);
        match message.topic_alias {
            Some(alias) => {
                let [high, low] = alias.to_be_bytes();
                body.extend([3, 0x23, high, low]);
            }
            None => self.no_properties(&mut body),
        }
        body.push(b'x');
        self.send(0x30 | message.qos << 1 | u8::from(message.retain), &body);
        let answer = self.answer(if message.qos == 2 { PUBREC } else { PUBACK });
        // Two bytes are the number of the message; without a third all is well.
        answer.is_some_and(|body| body.get(2).is_none_or(|code| *code < 0x80))
    }

    /// Sends a packet as a whole. That the other end has hung up shows when it is read from.
    pub fn send(&mut self, kind: u8, body: &[u8]) {
        let packet = [&[kind][..], &length(body.len()), body].concat();
        let _ = self.stream.write_all(&packet);
    }

    /// Whether the broker ends the connection, now that it was told so much.
    pub fn is_ended(&mut self) -> bool {
        loop {
            match self.next() {
                Some((DISCONNECT, _)) | None => return true,
                Some(_) => {}
            }
        }
    }

    fn no_properties(&self, body: &mut Vec<u8>) {
        if self.version == V5 {
            body.push(0);
        }
    }

    fn answer(&mut self, wanted: u8) -> Option<Vec<u8>> {
        loop {
            match self.next()? {
                (DISCONNECT, _) => return None,
                (kind, body) if kind == wanted => return Some(body),
                _ => {}
            }
        }
    }

    /// The next packet; none once the other end has hung up.
    fn next(&mut self) -> Option<(u8, Vec<u8>)> {
        let kind = self.byte()? >> 4;
        let (mut size, mut shift) = (0, 0);
        loop {
            let byte = self.byte()?;
            size |= usize::from(byte & 0x7f) << shift;
            shift += 7;
            if byte < 0x80 {
                break;
            }
        }
        let mut body = vec![0; size];
        self.stream.read_exact(&mut body).ok()?;
        Some((kind, body))
    }

    fn byte(&mut self) -> Option<u8> {
        let mut byte = [0];
        match self.stream.read_exact(&mut byte) {
            Ok(()) => Some(byte[0]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                panic!("the broker neither answers nor hangs up")
            }
            Err(_) => None,
        }
    }
}
