//! What brings releases, and what the server is told.

use super::House;
use crate::config::SlotConfig;
use crate::fleet::session::Session;
use crate::fleet::status::{Reporter, Sources};
use crate::fleet::{Device, asked};
use crate::log::Tap;
use crate::update::acceptance::Acceptance;
use crate::update::driver::{Parts, Updates};
use crate::update::slot::Order;
use lineside_wire::name::SlotName;
use lineside_wire::v1::event;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::{mpsc, watch};

impl House {
    /// Starts the driver of updates, with what was `accepted` last or why nothing is. It hands to each slot
    /// what is assigned to it.
    pub(super) fn updates(
        &self,
        accepted: Result<Acceptance, String>,
        slots: BTreeMap<SlotName, mpsc::Sender<Order>>,
    ) -> Updates {
        let telemetry = self.telemetry.clone();
        let updates = match accepted {
            Ok(acceptance) => {
                let refused = move |reason: &str| {
                    telemetry.event("", event::DOCUMENTS_REFUSED, reason);
                };
                Updates::start(Parts {
                    acceptance,
                    journal: self.journal.clone(),
                    blobs: self.blobs.clone(),
                    slots,
                    refused: Box::new(refused),
                })
            }
            Err(why) => Updates::off(&why, slots),
        };
        if let Some(trouble) = updates.trouble() {
            tracing::error!("{trouble}; what runs goes on");
            self.telemetry.event("", event::DOCUMENTS_REFUSED, &trouble);
        }
        updates
    }

    /// The session of `device` with its server, which has still to be run. It says through `connected`
    /// whether there is a connection, and tells what of the `log` it is asked for.
    pub(super) fn session(
        &self,
        device: Device,
        sources: &Sources,
        updates: &Updates,
        connected: watch::Sender<bool>,
        log: Tap,
    ) -> Session {
        let surroundings = self.surroundings.clone();
        Session {
            device,
            reporter: self.reporter(sources),
            updates: updates.clone(),
            answerer: Arc::new(move |ask| asked::answer(ask, &surroundings)),
            telemetry: self.telemetry.clone(),
            online: self.online.clone(),
            connected,
            log,
            boot: self.boot,
            policy: self.site.clone(),
        }
    }

    /// What makes a status of what the slots hold.
    pub(super) fn reporter(&self, sources: &Sources) -> Reporter {
        let slots = self.config.slots.iter();
        let deadline = |(name, slot): (&SlotName, &SlotConfig)| {
            slot.updates.deadline.map(|deadline| (name.clone(), deadline))
        };
        Reporter::new(
            self.states.clone(),
            sources.clone(),
            slots.filter_map(deadline).collect(),
            self.boot,
        )
    }
}
