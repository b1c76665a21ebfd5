//! The connection to the fleet server: status and telemetry up, documents and acknowledgements down.
//!
//! One task owns it. It may be away for weeks; nothing waits for it but what it carries.

use crate::fleet::status::Reporter;
use crate::fleet::{Device, backoff};
use crate::telemetry::TelemetryHandle;
use crate::telemetry::spool::Batch;
use crate::update::driver::Updates;
use lineside_wire::envelope::{self, Message};
use lineside_wire::topic::{Down, Topic, Up};
use lineside_wire::v1::{Ack, Documents};
use rumqttc::mqttbytes::v5::{Packet, Publish};
use rumqttc::{AsyncClient, Event, EventLoop, MqttOptions, PublishOptions, QoS};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until};

/// First and longest pause before the server is tried again.
const RECONNECT_PAUSE: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(60));
/// Messages on their way to the server.
const IN_FLIGHT_MAX: u16 = 8;
/// Largest message from the server, in bytes.
const MESSAGE_BYTES_MAX: u32 = 3 << 20;
/// How often a status is sent when nothing has changed.
const STATUS_EVERY: Duration = Duration::from_secs(300);
/// Longest wait before the telemetry is looked at again: what was not acknowledged is sent again.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// What the session works with.
pub struct Session {
    /// Who this is, and where the server is.
    pub device: Device,
    /// Makes a status of what the slots hold.
    pub reporter: Reporter,
    /// Where documents go.
    pub updates: Updates,
    /// What is to be told, and what has been stored.
    pub telemetry: TelemetryHandle,
    /// Rung when the network is back.
    pub online: Arc<Notify>,
    /// Whether the server is connected.
    pub connected: watch::Sender<bool>,
}

enum Heard {
    Connected,
    Lost,
    Message(Box<Publish>),
}

impl Session {
    /// Keeps the connection for ever.
    pub async fn run(self) {
        let (client, events) =
            AsyncClient::builder(self.options()).capacity(4 * usize::from(IN_FLIGHT_MAX)).build();
        let (tell, mut heard) = mpsc::channel(4 * usize::from(IN_FLIGHT_MAX));
        let polling = tokio::spawn(poll(events, tell, self.device.mqtt_end()));
        let mut changed = self.reporter.changed();
        let mut versions = self.updates.versions();
        let mut status_due = Instant::now();
        loop {
            let connected = *self.connected.borrow();
            tokio::select! {
                news = heard.recv() => match news {
                    None => break,
                    Some(Heard::Lost) => {
                        self.connected.send_replace(false);
                    }
                    Some(Heard::Connected) => {
                        let filter = Topic::all_down(&self.device.id);
                        if let Err(error) = client.try_subscribe(filter, QoS::AtLeastOnce) {
                            tracing::error!("cannot subscribe at the server: {error}");
                        }
                        self.connected.send_replace(true);
                        self.online.notify_waiters();
                        self.telemetry.connected();
                        // The subscription goes first on the same connection, so the answer to the
                        // status finds it in place.
                        status_due = Instant::now();
                    }
                    Some(Heard::Message(publish)) => self.hear(&publish),
                },
                () = sleep_until(status_due), if connected => {
                    status_due = Instant::now() + STATUS_EVERY;
                    self.say_status(&client).await;
                }
                Ok(()) = changed.changed() => status_due = Instant::now(),
                Ok(()) = versions.changed() => status_due = Instant::now(),
                batch = self.next_batch(), if connected => {
                    let (message, keys) = batch;
                    // Only now: until here this branch may have been dropped for another one.
                    self.telemetry.sent(keys);
                    self.say(&client, Up::Telemetry, message).await;
                }
            }
        }
        polling.abort();
    }

    /// The next records to be sent, once there are any.
    async fn next_batch(&self) -> Batch {
        loop {
            if let Some(batch) = self.telemetry.next_batch().await {
                return batch;
            }
            tokio::select! {
                () = self.telemetry.wait_for_records() => {}
                () = sleep(LOOK_EVERY) => {}
            }
        }
    }

    async fn say_status(&self, client: &AsyncClient) {
        let versions = *self.updates.versions().borrow();
        match envelope::encode(&self.reporter.status(versions)) {
            Ok(bytes) => self.say(client, Up::Status, bytes).await,
            Err(error) => tracing::error!("the status cannot be sent: {error}"),
        }
    }

    async fn say(&self, client: &AsyncClient, up: Up, bytes: Vec<u8>) {
        let topic = Topic::Up(self.device.id.clone(), up).to_string();
        let options = PublishOptions::new(QoS::AtLeastOnce);
        if let Err(error) = client.publish(topic, bytes, options).await {
            tracing::warn!("nothing can be sent to the server: {error}");
        }
    }

    fn hear(&self, publish: &Publish) {
        let topic = String::from_utf8_lossy(&publish.topic);
        match Topic::parse(&topic) {
            Some(Topic::Down(device, Down::Assignment)) if device == self.device.id => {
                if let Some(documents) = read::<Documents>(&publish.payload)
                    && !self.updates.deliver(documents)
                {
                    tracing::debug!("documents came faster than they are verified");
                }
            }
            Some(Topic::Down(device, Down::Ack)) if device == self.device.id => {
                if let Some(ack) = read::<Ack>(&publish.payload) {
                    self.telemetry.acked(ack);
                }
            }
            _ => tracing::warn!("the server sent something on {topic}"),
        }
    }

    fn options(&self) -> MqttOptions {
        let device = &self.device;
        let client = device.id.to_string();
        let mut options = MqttOptions::new(client, (device.mqtt_host.clone(), device.mqtt_port));
        options
            .set_keep_alive(20)
            // Spool and journal are what lasts; a session of the broker's would only double them.
            .set_clean_start(true)
            .set_max_packet_size(Some(MESSAGE_BYTES_MAX))
            .set_connect_timeout(Duration::from_secs(10))
            .set_outgoing_inflight_upper_limit(IN_FLIGHT_MAX)
            .set_credentials(device.user.clone(), device.password.reveal().as_bytes().to_vec());
        options
    }
}

fn read<M: Message>(payload: &[u8]) -> Option<M> {
    envelope::decode(payload)
        .inspect_err(|error| tracing::warn!("a message of the server cannot be read: {error}"))
        .ok()
}

/// Keeps the connection going for ever.
async fn poll(mut events: EventLoop, tell: mpsc::Sender<Heard>, name: String) {
    let mut attempts = 0;
    let mut away = false;
    loop {
        let heard = match events.poll().await {
            Ok(Event::Incoming(Packet::ConnAck(_))) => {
                attempts = 0;
                away = false;
                tracing::info!("connected to the server at {name}");
                Heard::Connected
            }
            Ok(Event::Incoming(Packet::Publish(publish))) => Heard::Message(Box::new(publish)),
            Ok(_) => continue,
            Err(error) => {
                if !std::mem::replace(&mut away, true) {
                    tracing::warn!(
                        "the server at {name} is away ({error}); all goes on without it"
                    );
                    if tell.send(Heard::Lost).await.is_err() {
                        return;
                    }
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
