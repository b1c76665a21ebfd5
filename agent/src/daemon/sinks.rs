//! What brings findings to the plant, and what is told of those that it does not take.

use super::House;
use super::watched::Watched;
use crate::config::SinkKind;
use crate::ledger::{Ledger, Outbox};
use crate::sink;
use crate::telemetry::TelemetryHandle;
use lineside_wire::v1::event;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::task::spawn_blocking;
use tokio::time::sleep;

/// How often people are told of findings that gave way.
const GAVE_WAY_EVERY: Duration = Duration::from_secs(60);

impl House {
    pub(super) fn start_sinks(&self, watched: &mut Watched) -> anyhow::Result<()> {
        for (name, kind) in &self.config.sinks {
            let (sink, ledger) = (name.clone(), self.ledger.clone());
            let named = format!("sink {name}");
            match kind.clone() {
                SinkKind::File { path, bytes_max } => {
                    watched.task(named, sink::file::run(sink, path, bytes_max, ledger));
                }
                SinkKind::Mqtt(end) => {
                    let client = format!("lineside-{}-sink-{name}", self.name);
                    watched.task(named, sink::mqtt::run(sink, end, client, ledger));
                }
            }
        }
        let outbox = self.ledger.outbox()?;
        for (sink, findings) in &outbox {
            if findings.waiting > 0 && !self.config.sinks.contains_key(sink) {
                tracing::warn!(
                    "{} findings wait for sink {sink}, which the settings no longer name",
                    findings.waiting
                );
            }
        }
        let (ledger, telemetry) = (self.ledger.clone(), self.telemetry.clone());
        let telling = tell_what_gives_way(ledger, telemetry, outbox);
        watched.task("the count of findings that give way", telling);
        Ok(())
    }
}

/// Tells of findings that give way because a sink takes none, from what they were on.
async fn tell_what_gives_way(
    ledger: Ledger,
    telemetry: TelemetryHandle,
    mut told: BTreeMap<String, Outbox>,
) {
    loop {
        sleep(GAVE_WAY_EVERY).await;
        let ledger = ledger.clone();
        // While the disk gives no numbers, they wait.
        let Ok(Ok(outbox)) = spawn_blocking(move || ledger.outbox()).await else { continue };
        for (sink, findings) in &outbox {
            let before = told.get(sink).map_or(0, |findings| findings.gave_way);
            let count = findings.gave_way.saturating_sub(before);
            if count > 0 {
                let text = format!("{count} findings gave way: too many waited for sink {sink}");
                tracing::warn!("{text}");
                telemetry.event("", event::FINDINGS_DROPPED, &text);
            }
        }
        told = outbox;
    }
}
