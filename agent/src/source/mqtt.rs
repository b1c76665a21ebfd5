//! A topic of the plant's broker.
//!
//! What is promised of messages at QoS 1: one is acknowledged to the broker once its readings are on
//! disk, so neither an outage of the broker nor the end of this process loses it (the session does
//! not expire). While the disk takes nothing for seconds, inference goes on without it, and messages
//! are acknowledged that are in memory only: the end of this process then loses them. Messages at
//! QoS 0 are taken as they come and never acknowledged.
//!
//! The broker may send a message twice. After an acknowledgement its identifier stands for a new
//! message, whatever the DUP flag says (MQTT 5, 4.3.2); but an acknowledgement may have been lost
//! with its connection, and then the copy is marked and all that tells it. So a marked message with
//! the payload of the last one that was accepted under its identifier, among the last
//! [`RECENT_PACKETS_MAX`], is taken for a copy and counted. That is wrong for a new message that
//! repeats the payload of that last one, got its identifier, and was sent for the first time into a
//! connection that died; it is right for every copy. A broker that sends copies without the mark
//! makes readings double.

use crate::config::MqttEnd;
use crate::failpoint;
use crate::ledger::RECENT_PACKETS_MAX;
use crate::log::OF_READINGS;
use crate::plant::{self, Connection, News};
use crate::source::{Arrival, Row, Step, json};
use lineside_bundle::{Digest, Port};
use rumqttc::mqttbytes::v5::{Publish, RetainForwardRule};
use rumqttc::{
    AckMode, AsyncClient, MqttOptions, PersistedAckMode, PersistedSession, QoS, SessionStore,
    SessionStoreError, SessionStoreKey, SubscribeFilterInput,
};
use std::collections::{BTreeMap, VecDeque};
use std::pin::Pin;
use std::sync::Arc;
use time::OffsetDateTime;
use tokio::sync::{mpsc, watch};

/// Messages that the broker may send before the first of them is acknowledged.
const UNACKNOWLEDGED_MAX: u16 = 128;
/// Largest message in bytes.
const MESSAGE_BYTES_MAX: u32 = 1 << 20;
/// Requests that wait for the connection: acknowledgements and a subscription.
pub(super) const REQUESTS_MAX: usize = 2 * UNACKNOWLEDGED_MAX as usize + 8;
/// Bad rows that are told one by one, per reason and connection; the others are only counted.
const BAD_ROWS_TOLD: u64 = 5;

/// The topic of one slot.
pub struct Topic {
    /// Broker and topic.
    pub end: MqttEnd,
    /// Names the session at the broker; the same at every start.
    pub client_id: String,
    /// The port to read for; none while the slot takes no readings.
    pub port: watch::Receiver<Option<Arc<Port>>>,
    /// Where rows go.
    pub arrivals: mpsc::Sender<Arrival>,
    /// What is on disk, by the numbers given with the rows.
    pub receipts: mpsc::UnboundedReceiver<u64>,
    /// Identifier and digest of the messages accepted last, before the agent started.
    pub recent: VecDeque<(u16, u64)>,
    /// Why no readings come, for people.
    pub problem: watch::Sender<Option<String>>,
}

/// What is known of a message that was accepted.
struct Accepted {
    identifier: u16,
    digest: u64,
    /// Its number, until it is on disk.
    receipt: Option<u64>,
}

enum Heard {
    Connected { session_kept: bool },
    Lost(String),
    Refused(String),
    Message(Box<Publish>),
}

/// What a stay at the broker remembers beyond connections.
struct Stay {
    accepted: VecDeque<Accepted>,
    /// Number of the last message.
    number: u64,
    /// The broker has had a session for us.
    known: bool,
    /// Bad rows of this connection, by reason.
    bad: BTreeMap<&'static str, u64>,
}

impl Topic {
    /// Reads messages for as long as somebody wants rows.
    pub async fn read(mut self) {
        let accepted: VecDeque<Accepted> = std::mem::take(&mut self.recent)
            .into_iter()
            .map(|(identifier, digest)| Accepted { identifier, digest, receipt: None })
            .collect();
        let known = !accepted.is_empty();
        let mut stay = Stay { accepted, number: 0, known, bad: BTreeMap::new() };
        while let Some(port) = self.wait_for_port().await {
            // Without a port nothing can be read, so the broker keeps it.
            if !self.session(port, &mut stay).await {
                return;
            }
        }
    }

    async fn wait_for_port(&mut self) -> Option<Arc<Port>> {
        let port = self.port.wait_for(Option::is_some).await.ok()?;
        port.clone()
    }

    /// One stay at the broker, through any number of connections. False if nobody wants rows.
    async fn session(&mut self, mut port: Arc<Port>, stay: &mut Stay) -> bool {
        let options = options(&self.end, &self.client_id);
        let (client, events) = AsyncClient::builder(options).capacity(REQUESTS_MAX).build();
        let (tell, mut heard) = mpsc::channel(REQUESTS_MAX);
        let connection = Connection::new(events, self.end.to_string());
        let polling = tokio::spawn(poll(connection, tell));
        // Messages of this connection that are to be acknowledged, by number.
        let mut open: BTreeMap<u64, Box<Publish>> = BTreeMap::new();
        let wanted = loop {
            tokio::select! {
                changed = self.port.changed() => {
                    if changed.is_err() {
                        break false;
                    }
                    match self.port.borrow_and_update().clone() {
                        Some(changed) => port = changed,
                        None => break true,
                    }
                }
                receipt = self.receipts.recv() => {
                    let Some(receipt) = receipt else { break false };
                    for one in stay.accepted.iter_mut().filter(|one| one.receipt == Some(receipt)) {
                        one.receipt = None;
                    }
                    if let Some(publish) = open.remove(&receipt) {
                        acknowledge(&client, &publish);
                    }
                }
                news = heard.recv() => match news {
                    None => break true,
                    Some(Heard::Connected { session_kept }) => {
                        // What the last connection left open is sent again on this one.
                        open.clear();
                        subscribe(&client, &self.end);
                        self.problem.send_replace(None);
                        stay.bad.clear();
                        if !session_kept && stay.known {
                            tracing::error!(
                                "{}: the broker has forgotten the session; messages that it \
                                 took while this device was away are lost",
                                self.end
                            );
                        }
                        stay.known = true;
                    }
                    Some(Heard::Lost(problem) | Heard::Refused(problem)) => {
                        self.problem.send_replace(Some(problem));
                    }
                    Some(Heard::Message(publish)) => {
                        match known(&stay.accepted, &publish) {
                            Some(receipt) => {
                                match receipt {
                                    None => acknowledge(&client, &publish),
                                    Some(receipt) => {
                                        open.insert(receipt, publish);
                                    }
                                }
                                if !self.give(&port, vec![], vec![("copy", 1)], None, None).await {
                                    break false;
                                }
                            }
                            None => {
                                let Some(receipt) = self.accept(&port, &publish, stay).await else {
                                    break false;
                                };
                                if let Some(receipt) = receipt {
                                    open.insert(receipt, publish);
                                }
                            }
                        }
                    }
                }
            }
        };
        polling.abort();
        wanted
    }

    /// Hands the rows of a message over. Gives the number by which the source hears that they are on
    /// disk, where it is to hear it; nothing if nobody wants rows.
    async fn accept(
        &self,
        port: &Arc<Port>,
        publish: &Publish,
        stay: &mut Stay,
    ) -> Option<Option<u64>> {
        let now = OffsetDateTime::now_utc().unix_timestamp_nanos();
        let json::Rows { rows, dropped } =
            json::rows(port, &publish.payload, i64::try_from(now).unwrap_or(i64::MAX));
        for (reason, (count, problem)) in &dropped {
            let bad = stay.bad.entry(reason).or_insert(0);
            if *bad < BAD_ROWS_TOLD {
                let topic = String::from_utf8_lossy(&publish.topic);
                let end = &self.end;
                tracing::warn!(target: OF_READINGS, "{end}: a message on {topic:?}: {problem}");
            }
            *bad += count;
        }
        let (mut step, mut receipt) = (None, None);
        if publish.qos != QoS::AtMostOnce {
            stay.number += 1;
            let (identifier, digest) = (publish.pkid, digest(publish));
            step = Some(Step::Packet { identifier, digest });
            receipt = Some(stay.number);
            if stay.accepted.len() == RECENT_PACKETS_MAX {
                stay.accepted.pop_front();
            }
            stay.accepted.push_back(Accepted { identifier, digest, receipt });
        }
        let dropped = dropped.into_iter().map(|(reason, (count, _))| (reason, count)).collect();
        self.give(port, rows, dropped, step, receipt).await.then_some(receipt)
    }

    /// False if nobody wants rows.
    async fn give(
        &self,
        port: &Arc<Port>,
        rows: Vec<Row>,
        dropped: Vec<(&'static str, u64)>,
        step: Option<Step>,
        receipt: Option<u64>,
    ) -> bool {
        let (port, feed) = (port.clone(), None);
        let arrival = Arrival { port, feed, rows, dropped, step, receipt };
        self.arrivals.send(arrival).await.is_ok()
    }
}

/// A session that the broker keeps while nobody is here.
pub(super) fn options(end: &MqttEnd, client_id: &str) -> MqttOptions {
    let mut options = plant::options(end, client_id);
    options
        .set_clean_start(false)
        .set_session_expiry_interval(Some(u32::MAX))
        .set_receive_maximum(Some(UNACKNOWLEDGED_MAX))
        .set_max_packet_size(Some(MESSAGE_BYTES_MAX))
        .set_ack_mode(AckMode::Manual)
        .set_session_store(NothingSent { client_id: client_id.to_owned() });
    options
}

pub(super) fn subscribe(client: &AsyncClient, end: &MqttEnd) {
    let filter = SubscribeFilterInput::new(end.topic.clone(), QoS::AtLeastOnce)
        .retain_forward_rule(RetainForwardRule::Never);
    if let Err(error) = client.try_subscribe_many([filter]) {
        tracing::error!("{end}: cannot subscribe: {error}");
    }
}

/// Whether a message is a copy of one that was accepted, and its number if that is not on disk yet.
fn known(accepted: &VecDeque<Accepted>, publish: &Publish) -> Option<Option<u64>> {
    if !publish.dup || publish.qos == QoS::AtMostOnce {
        return None;
    }
    // An older one had been acknowledged before its identifier was used again.
    let last = accepted.iter().rev().find(|one| one.identifier == publish.pkid)?;
    (last.digest == digest(publish)).then_some(last.receipt)
}

fn digest(publish: &Publish) -> u64 {
    let digest = Digest::of(&publish.payload);
    let bytes = digest.bytes().first_chunk().copied().unwrap_or_default();
    u64::from_le_bytes(bytes)
}

pub(super) fn acknowledge(client: &AsyncClient, publish: &Publish) {
    if failpoint::pass("source.mqtt.acknowledge").is_err() {
        return;
    }
    if let Some(ack) = client.prepare_ack(publish)
        && let Err(error) = client.try_manual_ack(ack)
    {
        // The broker sends the message again, and it is recognised then.
        tracing::debug!("an acknowledgement was not sent: {error}");
    }
}

/// Keeps the connection going for as long as somebody listens.
async fn poll(mut connection: Connection, tell: mpsc::Sender<Heard>) {
    loop {
        let heard = match connection.next().await {
            News::Connected { session_kept } => Heard::Connected { session_kept },
            News::Lost(problem) => Heard::Lost(problem),
            News::Message(publish) => Heard::Message(publish),
            News::Subscribed(Ok(())) => continue,
            News::Subscribed(Err(problem)) => Heard::Refused(problem),
        };
        if tell.send(heard).await.is_err() {
            return;
        }
    }
}

/// Tells the client that its side of the session is empty, which is so: it sends nothing but
/// subscriptions, which are repeated at each connection. Only then does it take up the session that
/// the broker has kept.
#[derive(Debug)]
struct NothingSent {
    client_id: String,
}

type StoreFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, SessionStoreError>> + Send + 'a>>;

impl SessionStore for NothingSent {
    fn load<'a>(&'a self, _key: &'a SessionStoreKey) -> StoreFuture<'a, Option<PersistedSession>> {
        let session = PersistedSession {
            format_version: 1,
            client_id: self.client_id.clone(),
            clean_start: false,
            session_expiry_interval: Some(u32::MAX),
            outgoing_inflight_upper_limit: None,
            ack_mode: PersistedAckMode::Manual,
            last_pkid: 0,
            last_puback: 0,
            replay: Vec::new(),
            incoming_qos2: Vec::new(),
        };
        Box::pin(async move { Ok(Some(session)) })
    }

    fn save<'a>(
        &'a self,
        _key: &'a SessionStoreKey,
        _session: &'a PersistedSession,
    ) -> StoreFuture<'a, ()> {
        Box::pin(async { Ok(()) })
    }

    fn clear<'a>(&'a self, _key: &'a SessionStoreKey) -> StoreFuture<'a, ()> {
        Box::pin(async { Ok(()) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn publish(identifier: u16, payload: &str, dup: bool) -> Publish {
        let mut publish = Publish::new("scada", QoS::AtLeastOnce, payload.to_owned(), None);
        (publish.pkid, publish.dup) = (identifier, dup);
        publish
    }

    #[test]
    fn only_the_last_message_under_an_identifier_makes_a_marked_one_a_copy() {
        let accepted = |identifier, payload, receipt| Accepted {
            identifier,
            digest: digest(&publish(identifier, payload, false)),
            receipt,
        };
        let recent = VecDeque::from([
            accepted(1, "a", None),
            accepted(2, "b", None),
            accepted(1, "c", Some(3)),
        ]);
        for (identifier, payload, dup, wanted) in [
            (1, "c", true, Some(Some(3))),
            (2, "b", true, Some(None)),
            // It was acknowledged before "c" came under the same identifier: this one is new.
            (1, "a", true, None),
            (1, "c", false, None),
            (2, "c", true, None),
            (3, "a", true, None),
        ] {
            let known = known(&recent, &publish(identifier, payload, dup));
            assert_eq!(known, wanted, "{identifier} {payload} {dup}");
        }
    }
}
