//! The server's own stay at the broker: it reads what devices say.

use crate::broker::{INTERNAL_USER, MESSAGE_BYTES_MAX};
use crate::error::Error;
use crate::fleet::Fleet;
use lineside_wire::envelope::decode;
use lineside_wire::name::DeviceId;
use lineside_wire::topic::{Topic, Up};
use lineside_wire::v1::Status;
use rumqttc::mqttbytes::v5::{Packet, Publish};
use rumqttc::{AsyncClient, Event, EventLoop, MqttOptions, QoS};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use time::OffsetDateTime;
use tokio::sync::{mpsc, watch};
use tokio::time::sleep;

/// Messages to devices that wait to be sent.
const REQUESTS_MAX: usize = 2_048;
/// Messages from devices that wait to be read; beyond it the broker keeps them.
const MESSAGES_MAX: usize = 64;
/// Pause before the broker is tried again.
const RECONNECT_PAUSE: Duration = Duration::from_millis(200);

/// A stay at the broker that is not yet under way.
pub(crate) struct Session {
    client: AsyncClient,
    events: EventLoop,
}

/// Prepares a stay at the broker.
pub(crate) fn connect(broker: SocketAddr, password: &str) -> Session {
    let mut options = MqttOptions::new(INTERNAL_USER, (broker.ip().to_string(), broker.port()));
    options
        .set_keep_alive(15)
        .set_clean_start(true)
        .set_max_packet_size(Some(MESSAGE_BYTES_MAX))
        .set_connect_timeout(Duration::from_secs(10))
        .set_credentials(INTERNAL_USER, password.to_owned().into_bytes());
    let (client, events) = AsyncClient::builder(options).capacity(REQUESTS_MAX).build();
    Session { client, events }
}

impl Session {
    /// The client of the stay.
    pub fn client(&self) -> AsyncClient {
        self.client.clone()
    }

    /// Reads what devices say for as long as it is polled; `listening` becomes true once nothing
    /// that a device says is missed.
    pub async fn read(self, fleet: Arc<Fleet>, listening: watch::Sender<bool>) {
        let (tell, mut heard) = mpsc::channel(MESSAGES_MAX);
        let polling = poll(self.events, self.client, tell, listening);
        let reading = async {
            while let Some(publish) = heard.recv().await {
                take(&fleet, &publish).await;
            }
        };
        tokio::join!(polling, reading);
    }
}

async fn poll(
    mut events: EventLoop,
    client: AsyncClient,
    tell: mpsc::Sender<Publish>,
    listening: watch::Sender<bool>,
) {
    loop {
        match events.poll().await {
            Ok(Event::Incoming(Packet::ConnAck(_))) => {
                if let Err(error) = client.try_subscribe(Topic::all_up(), QoS::AtLeastOnce) {
                    tracing::error!("cannot subscribe to what devices say: {error}");
                }
            }
            Ok(Event::Incoming(Packet::SubAck(_))) => {
                listening.send_replace(true);
            }
            Ok(Event::Incoming(Packet::Publish(publish))) => {
                if tell.send(publish).await.is_err() {
                    return;
                }
            }
            Ok(_) => {}
            Err(error) => {
                tracing::warn!("the server's own connection to its broker failed: {error}");
                sleep(RECONNECT_PAUSE).await;
            }
        }
    }
}

/// Takes one message. Whatever is wrong with it, the next one is read.
async fn take(fleet: &Fleet, publish: &Publish) {
    let topic = String::from_utf8_lossy(&publish.topic);
    let Some(Topic::Up(device, up)) = Topic::parse(&topic) else { return };
    let now = OffsetDateTime::now_utc();
    let taken = match up {
        Up::Status => take_status(fleet, &device, &publish.payload, now).await,
        Up::Telemetry => fleet.telemetry.take(fleet, &device, &publish.payload, now).await,
    };
    if let Err(error) = taken {
        let chain = crate::error::chain(&error);
        tracing::error!("{device}: {up:?} was not taken: {chain}");
    }
}

async fn take_status(
    fleet: &Fleet,
    device: &DeviceId,
    payload: &[u8],
    now: OffsetDateTime,
) -> Result<(), Error> {
    let status: Status = match decode(payload) {
        Ok(status) => status,
        Err(error) => return unreadable(fleet, device, "status", &error.to_string()).await,
    };
    fleet.registry.heard(device, &status, now).await?;
    if fleet.lacks_documents(device).await? {
        fleet.send_documents(device, now).await?;
    }
    Ok(())
}

/// Counts a message that cannot be read, and says so the first time.
pub(super) async fn unreadable(
    fleet: &Fleet,
    device: &DeviceId,
    what: &str,
    problem: &str,
) -> Result<(), Error> {
    if fleet.registry.unreadable(device).await? == 1 {
        tracing::warn!("{device}: {what} cannot be read: {problem}; further ones are counted only");
    }
    Ok(())
}
