//! The way down to devices.

use lineside_wire::envelope::{Message, encode};
use lineside_wire::name::DeviceId;
use lineside_wire::topic::{Down, Topic};
use rumqttc::{AsyncClient, PublishOptions};

/// Sends messages to devices through the broker. Never waits: who sends may be the one who reads.
#[derive(Clone)]
pub(crate) struct Link {
    client: AsyncClient,
}

impl Link {
    /// A link through `client`.
    pub fn new(client: AsyncClient) -> Link {
        Link { client }
    }

    /// Sends a message. If it gets lost nothing is: documents are sent again when the device says
    /// what it has, and telemetry that is not acknowledged comes again.
    pub fn send<M: Message>(&self, device: &DeviceId, down: Down, message: &M) {
        let bytes = match encode(message) {
            Ok(bytes) => bytes,
            Err(error) => return tracing::error!("{device}: cannot send {down:?}: {error}"),
        };
        let topic = Topic::Down(device.clone(), down).to_string();
        let sent = self.client.try_publish(topic, bytes, PublishOptions::at_least_once());
        if let Err(error) = sent {
            tracing::warn!("{device}: {down:?} was not sent: {error}");
        }
    }
}
