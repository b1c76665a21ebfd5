//! A topic of the plant's broker on which it says what became of what findings are about.
//!
//! A message is acknowledged once it is counted. The end of this process may lose what was counted in the five
//! seconds before it; a message that comes twice counts once.

use super::mqtt::{REQUESTS_MAX, acknowledge, options, subscribe};
use crate::config::MqttEnd;
use crate::log::OF_READINGS;
use crate::plant::{Connection, News};
use crate::telemetry::TelemetryHandle;
use crate::telemetry::outcomes::read;
use lineside_wire::name::SlotName;
use rumqttc::AsyncClient;

/// Bad messages that are told one by one for each connection.
const BAD_TOLD: u64 = 5;

/// Hears of outcomes for ever; the broker keeps a session for `client_id` meanwhile.
pub async fn hear(slot: SlotName, end: MqttEnd, client_id: String, telemetry: TelemetryHandle) {
    let (client, events) =
        AsyncClient::builder(options(&end, &client_id)).capacity(REQUESTS_MAX).build();
    let mut connection = Connection::new(events, end.to_string());
    let mut bad = 0;
    loop {
        match connection.next().await {
            News::Connected { .. } => {
                subscribe(&client, &end);
                bad = 0;
            }
            // Both have been told.
            News::Lost(_) | News::Subscribed(_) => {}
            News::Message(publish) => {
                match read(&publish.payload) {
                    Ok(outcomes) => {
                        let heard = telemetry.outcomes(outcomes).await;
                        tracing::debug!(target: OF_READINGS, %slot, "outcomes: {heard:?}");
                    }
                    Err(error) => {
                        bad += 1;
                        if bad <= BAD_TOLD {
                            tracing::warn!(target: OF_READINGS, %slot, "{end}: an outcome: {error}");
                        }
                    }
                }
                // The broker would send one that is none again and again.
                acknowledge(&client, &publish);
            }
        }
    }
}
