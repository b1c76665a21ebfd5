//! Ending what devices have under way at the broker.

use lineside_wire::name::DeviceId;
use rmqtt::context::ServerContext;
use rmqtt::types::{ClientId, Id};

/// The sessions of a broker.
#[derive(Clone)]
pub(crate) struct Sessions {
    context: ServerContext,
}

impl Sessions {
    /// The sessions of the broker with this context.
    pub fn of(context: ServerContext) -> Sessions {
        Sessions { context }
    }

    /// Whether a device is connected.
    pub async fn is_connected(&self, device: &DeviceId) -> bool {
        self.context.extends.shared().await.entry(self.id(device)).is_connected().await
    }

    fn id(&self, device: &DeviceId) -> Id {
        // The guard lets nobody in whose client id is not his name.
        Id::from(self.context.node.id(), ClientId::from(device.to_string()))
    }

    /// Ends a device's connection and session, if it has one: who was let in by a password that
    /// holds no longer does not stay.
    pub async fn end(&self, device: &DeviceId) {
        let id = self.id(device);
        let shared = self.context.extends.shared().await;
        if let Err(error) = shared.entry(id).kick(true, true, true).await {
            tracing::warn!("{device}: its connection was not ended: {error:#}");
        }
    }
}
