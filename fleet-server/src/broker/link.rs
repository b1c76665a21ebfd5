//! The way down to devices.

use lineside_wire::envelope::{Message, encode};
use lineside_wire::name::DeviceId;
use lineside_wire::topic::{Down, Topic};
use rmqtt::codec::v5::PublishProperties;
use rmqtt::context::ServerContext;
use rmqtt::session::SessionState;
use rmqtt::types::{CodecPublish, From as Origin, Id, Publish, QoS};
use rmqtt::utils::timestamp_millis;

/// What the server is called where a message says who sent it. No device can have this name:
/// devices have no dots.
const SERVER: &str = "lineside.server";

/// Hands messages for devices to the broker.
#[derive(Clone)]
pub(crate) struct Link {
    context: ServerContext,
}

impl Link {
    /// A link through the broker of `context`.
    pub fn new(context: ServerContext) -> Link {
        Link { context }
    }

    /// Publishes to whoever listens on a topic that is no device's.
    ///
    /// # Errors
    /// A sentence, if nobody listens or the broker takes it from nobody.
    pub async fn publish(&self, topic: &str, bytes: Vec<u8>) -> Result<(), String> {
        let id = Id::new(self.context.node.id(), 0, None, None, SERVER.into(), None);
        let listeners = {
            let router = self.context.extends.router().await;
            router.matches(id.clone(), &topic.into()).await
        };
        match listeners {
            Ok(listeners) if listeners.values().all(|of_node| of_node.is_empty()) => {
                return Err(format!("nobody is subscribed to {topic}"));
            }
            Ok(_) => {}
            Err(error) => return Err(format!("{error:#}")),
        }
        self.forward(id, topic.to_owned(), bytes).await.map_err(|error| format!("{error:#}"))
    }

    /// Sends a message to a device that is connected. Waits for nobody. If it gets lost nothing is:
    /// documents are sent again when the device says what it has, and telemetry that is not
    /// acknowledged comes again.
    pub async fn send<M: Message>(&self, device: &DeviceId, down: Down, message: &M) {
        let bytes = match encode(message) {
            Ok(bytes) => bytes,
            Err(error) => return tracing::error!("{device}: cannot send {down:?}: {error}"),
        };
        let id = Id::new(self.context.node.id(), 0, None, None, SERVER.into(), None);
        let topic = Topic::Down(device.clone(), down).to_string();
        if let Err(error) = self.forward(id, topic, bytes).await {
            tracing::warn!("{device}: {down:?} was not sent: {error:#}");
        }
    }

    async fn forward(&self, from: Id, topic: String, bytes: Vec<u8>) -> rmqtt::Result<()> {
        let packet = CodecPublish {
            dup: false,
            retain: false,
            qos: QoS::AtLeastOnce,
            topic: topic.into(),
            packet_id: None,
            payload: bytes.into(),
            properties: Some(PublishProperties::default()),
        };
        let publish = Publish::from(packet).create_time(timestamp_millis());
        let origin = Origin::from_system(from);
        SessionState::forwards(&self.context, origin, publish, false, None).await
    }
}
