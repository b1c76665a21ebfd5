//! The end of an agent that only runs recordings: all of them are read, and all findings delivered.

use super::House;
use crate::config::{Config, SourceKind};
use crate::database::Trouble;
use crate::error::chain;
use crate::fleet::status::Sources;
use crate::worker::SlotHandle;
use anyhow::{Context, bail};
use lineside_wire::name::SlotName;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::task::spawn_blocking;
use tokio::time::sleep;

/// How often it is looked whether everything is drained.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Finds that there will be an end.
///
/// # Errors
/// Which source has none.
pub(super) fn check_drainable(config: &Config) -> anyhow::Result<()> {
    for (name, slot) in &config.slots {
        for source in slot.sources.each() {
            if matches!(source.kind, SourceKind::Mqtt(_)) {
                bail!(
                    "--until-drained needs recordings, and source {} of slot {name} is a topic",
                    source.name
                );
            }
        }
    }
    Ok(())
}

impl House {
    /// Waits until all recordings are at their end and all findings are delivered.
    ///
    /// # Errors
    /// A recording that cannot be read.
    pub(super) async fn drained(
        &self,
        slots: &BTreeMap<SlotName, SlotHandle>,
        mut sources: Sources,
    ) -> anyhow::Result<()> {
        for (name, slot) in slots {
            let mut view = slot.view();
            let source = sources.get_mut(name).context("every slot has a source")?;
            tokio::select! {
                // A slot that is gone is told of by who watches it.
                _ = view.wait_for(|view| view.ended) => {}
                Ok(problem) = source.wait_for(Option::is_some) => {
                    let problem = problem.clone().unwrap_or_default();
                    bail!("the recording of slot {name} cannot be read: {problem}");
                }
            }
        }
        let mut trouble = Trouble::default();
        loop {
            let ledger = self.ledger.clone();
            match spawn_blocking(move || ledger.outbox()).await? {
                Ok(outbox) => {
                    let wanted = |sink: &String| self.config.sinks.contains_key(sink);
                    if outbox.iter().all(|(sink, findings)| !wanted(sink) || findings.waiting == 0)
                    {
                        return Ok(());
                    }
                }
                Err(error) if trouble.failed() => tracing::error!("{}", chain(error)),
                Err(_) => {}
            }
            sleep(LOOK_EVERY).await;
        }
    }
}
