//! A topic of the plant's broker.
//!
//! What is promised: a message is acknowledged to the broker once its readings are on disk, so
//! neither an outage of the broker nor the end of this process loses one (QoS 1, a session that
//! does not expire). The broker may send a message twice; a copy that is marked as one, with the
//! identifier and payload of one of the last [`RECENT_PACKETS_MAX`] accepted, is recognised and
//! not taken again. A broker that sends copies otherwise makes readings double.

use crate::config::MqttEnd;
use crate::fleet::backoff;
use crate::ledger::RECENT_PACKETS_MAX;
use crate::source::{Arrival, Step, json};
use lineside_bundle::{Digest, Port};
use rumqttc::mqttbytes::v5::{Packet, Publish, RetainForwardRule};
use rumqttc::{
    AckMode, AsyncClient, Event, EventLoop, MqttOptions, PersistedAckMode, PersistedSession, QoS,
    SessionStore, SessionStoreError, SessionStoreKey, SubscribeFilterInput,
};
use std::collections::{BTreeMap, VecDeque};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use time::OffsetDateTime;
use tokio::sync::{mpsc, watch};
use tokio::time::sleep;

/// Messages that the broker may send before the first of them is acknowledged.
const UNACKNOWLEDGED_MAX: u16 = 128;
/// Largest message in bytes.
const MESSAGE_BYTES_MAX: u32 = 1 << 20;
/// First and longest pause before the broker is tried again.
const RECONNECT_PAUSE: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(30));
/// Requests that wait for the connection: acknowledgements and a subscription.
const REQUESTS_MAX: usize = 2 * UNACKNOWLEDGED_MAX as usize + 8;

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
}

/// What is known of a message that was accepted.
struct Accepted {
    identifier: u16,
    digest: u64,
    /// Its number, until it is on disk.
    receipt: Option<u64>,
}

enum Heard {
    Connected,
    Message(Box<Publish>),
}

impl Topic {
    /// Reads messages for as long as somebody wants rows.
    pub async fn read(mut self) {
        let mut accepted: VecDeque<Accepted> = std::mem::take(&mut self.recent)
            .into_iter()
            .map(|(identifier, digest)| Accepted { identifier, digest, receipt: None })
            .collect();
        let mut number = 0;
        while let Some(port) = self.wait_for_port().await {
            // Without a port nothing can be read, so the broker keeps it.
            if !self.session(port, &mut accepted, &mut number).await {
                return;
            }
        }
    }

    async fn wait_for_port(&mut self) -> Option<Arc<Port>> {
        let port = self.port.wait_for(Option::is_some).await.ok()?;
        port.clone()
    }

    /// One stay at the broker, through any number of connections. False if nobody wants rows.
    async fn session(
        &mut self,
        mut port: Arc<Port>,
        accepted: &mut VecDeque<Accepted>,
        number: &mut u64,
    ) -> bool {
        let (client, events) = AsyncClient::builder(self.options()).capacity(REQUESTS_MAX).build();
        let (tell, mut heard) = mpsc::channel(REQUESTS_MAX);
        let name = format!("{:?}", self.end);
        let polling = tokio::spawn(poll(events, tell, name));
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
                    for one in accepted.iter_mut().filter(|one| one.receipt == Some(receipt)) {
                        one.receipt = None;
                    }
                    if let Some(publish) = open.remove(&receipt) {
                        acknowledge(&client, &publish);
                    }
                }
                news = heard.recv() => match news {
                    None => break true,
                    Some(Heard::Connected) => {
                        // What the last connection left open is sent again on this one.
                        open.clear();
                        self.subscribe(&client);
                    }
                    Some(Heard::Message(publish)) => {
                        match known(accepted, &publish) {
                            Some(None) => acknowledge(&client, &publish),
                            Some(Some(receipt)) => {
                                open.insert(receipt, publish);
                            }
                            None => {
                                *number += 1;
                                if !self.accept(&port, &publish, *number, accepted).await {
                                    break false;
                                }
                                if publish.qos != QoS::AtMostOnce {
                                    open.insert(*number, publish);
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

    async fn accept(
        &self,
        port: &Arc<Port>,
        publish: &Publish,
        number: u64,
        accepted: &mut VecDeque<Accepted>,
    ) -> bool {
        let now = OffsetDateTime::now_utc().unix_timestamp_nanos();
        let (rows, dropped) =
            json::rows(port, &publish.payload, i64::try_from(now).unwrap_or(i64::MAX));
        let (identifier, digest) = (publish.pkid, digest(publish));
        let step = (publish.qos != QoS::AtMostOnce).then_some(Step::Packet { identifier, digest });
        if step.is_some() {
            if accepted.len() == RECENT_PACKETS_MAX {
                accepted.pop_front();
            }
            accepted.push_back(Accepted { identifier, digest, receipt: Some(number) });
        }
        let dropped = dropped.into_iter().collect();
        let arrival = Arrival { port: port.clone(), rows, dropped, step, receipt: Some(number) };
        self.arrivals.send(arrival).await.is_ok()
    }

    fn options(&self) -> MqttOptions {
        let MqttEnd { host, port, credentials, .. } = &self.end;
        let mut options = MqttOptions::new(self.client_id.clone(), (host.clone(), *port));
        options
            .set_keep_alive(15)
            .set_clean_start(false)
            .set_session_expiry_interval(Some(u32::MAX))
            .set_receive_maximum(Some(UNACKNOWLEDGED_MAX))
            .set_max_packet_size(Some(MESSAGE_BYTES_MAX))
            .set_ack_mode(AckMode::Manual)
            .set_connect_timeout(Duration::from_secs(10))
            .set_session_store(NothingSent { client_id: self.client_id.clone() });
        if let Some((user, password)) = credentials {
            options.set_credentials(user.clone(), password.clone().into_bytes());
        }
        options
    }

    fn subscribe(&self, client: &AsyncClient) {
        let filter = SubscribeFilterInput::new(self.end.topic.clone(), QoS::AtLeastOnce)
            .retain_forward_rule(RetainForwardRule::Never);
        if let Err(error) = client.try_subscribe_many([filter]) {
            tracing::error!("{:?}: cannot subscribe: {error}", self.end);
        }
    }
}

/// Whether a message is a copy of one that was accepted, and its number if that is not on disk yet.
fn known(accepted: &VecDeque<Accepted>, publish: &Publish) -> Option<Option<u64>> {
    if !publish.dup || publish.qos == QoS::AtMostOnce {
        return None;
    }
    let digest = digest(publish);
    let same = |one: &&Accepted| one.identifier == publish.pkid && one.digest == digest;
    accepted.iter().rev().find(same).map(|one| one.receipt)
}

fn digest(publish: &Publish) -> u64 {
    let digest = Digest::of(&publish.payload);
    let bytes = digest.bytes().first_chunk().copied().unwrap_or_default();
    u64::from_le_bytes(bytes)
}

fn acknowledge(client: &AsyncClient, publish: &Publish) {
    if let Some(ack) = client.prepare_ack(publish)
        && let Err(error) = client.try_manual_ack(ack)
    {
        // The broker sends the message again, and it is recognised then.
        tracing::debug!("an acknowledgement was not sent: {error}");
    }
}

/// Keeps the connection going for ever.
async fn poll(mut events: EventLoop, tell: mpsc::Sender<Heard>, name: String) {
    let mut attempts = 0;
    let mut away = false;
    loop {
        let heard = match events.poll().await {
            Ok(Event::Incoming(Packet::ConnAck(_))) => {
                attempts = 0;
                if std::mem::take(&mut away) {
                    tracing::info!("{name}: connected again");
                }
                Heard::Connected
            }
            Ok(Event::Incoming(Packet::Publish(publish))) => Heard::Message(Box::new(publish)),
            Ok(Event::Incoming(Packet::SubAck(ack))) => {
                if ack.return_codes.iter().any(|code| format!("{code:?}").contains("Success")) {
                    continue;
                }
                tracing::error!(
                    "{name}: the broker refuses the subscription: {:?}",
                    ack.return_codes
                );
                continue;
            }
            Ok(_) => continue,
            Err(error) => {
                if !std::mem::replace(&mut away, true) {
                    tracing::warn!("{name}: {error}; trying again for ever");
                }
                let (first, longest) = RECONNECT_PAUSE;
                sleep(backoff::pause(first, longest, attempts)).await;
                attempts = attempts.saturating_add(1);
                continue;
            }
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
