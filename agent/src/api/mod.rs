//! `HTTP -> Request -> answer -> HTTP`: the models of the slots' active releases for programs beside the
//! agent, by the Open Inference Protocol v2; and what became of what findings are about.
//!
//! Everything that somebody may send has a bound: connections, heads, bodies packed and unpacked, the bytes
//! of all bodies together, rows that wait. What is over one is refused with a status that says so.

mod access;
mod answer;
mod body;
mod infer;
mod listen;
mod metrics;
mod openapi;
mod outcomes;
mod packed;
mod patient;
mod room;

pub use access::{Access, AccessError};

use crate::config::ApiConfig;
use crate::telemetry::TelemetryHandle;
use crate::worker::SlotView;
use crate::worker::serving::{Counts, Seat, ServedModel, Serving};
use lineside_wire::name::SlotName;
use metrics::Metrics;
use room::Room;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::{Semaphore, oneshot, watch};

/// Bodies of the largest size that may be held at the same time.
const BODIES_MAX: usize = 4;

/// What the API knows of a slot.
pub struct ApiSlot {
    /// How its models are served.
    pub seat: watch::Receiver<Seat>,
    /// What was counted of that.
    pub counts: Arc<Counts>,
    /// How its readings are answered.
    pub view: watch::Receiver<SlotView>,
}

/// What every request is answered from.
struct Api {
    config: ApiConfig,
    access: Access,
    slots: BTreeMap<SlotName, ApiSlot>,
    telemetry: TelemetryHandle,
    metrics: Metrics,
    room: Room,
    /// Bodies that may arrive at the same time.
    arriving: Semaphore,
}

/// Answers until `stop` says true, and then what is under way; `ended` hears of that.
pub async fn serve(
    config: ApiConfig,
    access: Access,
    slots: BTreeMap<SlotName, ApiSlot>,
    telemetry: TelemetryHandle,
    stop: watch::Receiver<bool>,
    ended: oneshot::Sender<()>,
) {
    let room = Room::new(config.body_bytes_max.saturating_mul(BODIES_MAX));
    let metrics = Metrics::default();
    let arriving = Semaphore::new(listen::ARRIVING_MAX);
    let api = Api { config, access, slots, telemetry, metrics, room, arriving };
    listen::listen(Arc::new(api), stop).await;
    // Nobody waits for it unless the agent stops.
    let _ = ended.send(());
    std::future::pending::<()>().await;
}

impl Api {
    /// The model `SLOT.STAGE`, and what serves it; or why nothing does.
    fn served(&self, model: &str) -> Result<Found, Missing> {
        let unknown = || Missing::Unknown(format!("there is no model {model:?} here"));
        let (slot, stage) = model.split_once('.').ok_or_else(unknown)?;
        let slot = slot.parse().ok().and_then(|name: SlotName| self.slots.get(&name));
        match &*slot.ok_or_else(unknown)?.seat.borrow() {
            Seat::Vacant(reason) => Err(Missing::Unready(format!("{model}: {reason}"))),
            Seat::Served(serving) => {
                let model = serving.models.get(stage).cloned().ok_or_else(unknown)?;
                Ok(Found { serving: serving.clone(), model })
            }
        }
    }

    /// Every model that is served, by its name.
    fn models(&self) -> Vec<(String, Found)> {
        let mut models = Vec::new();
        for (slot, known) in &self.slots {
            let Seat::Served(serving) = &*known.seat.borrow() else { continue };
            models.extend(serving.models.iter().map(|(stage, model)| {
                let found = Found { serving: serving.clone(), model: model.clone() };
                (format!("{slot}.{stage}"), found)
            }));
        }
        models
    }

    /// Why some slots have no answers, for people.
    fn waiting(&self) -> Vec<String> {
        let reason = |(slot, known): (&SlotName, &ApiSlot)| match &*known.seat.borrow() {
            Seat::Vacant(reason) => Some(format!("slot {slot}: {reason}")),
            Seat::Served(_) => None,
        };
        self.slots.iter().filter_map(reason).collect()
    }
}

/// Why there is no such model.
enum Missing {
    /// There is none of this name.
    Unknown(String),
    /// There may be one soon.
    Unready(String),
}

/// A model, and what serves it.
struct Found {
    serving: Serving,
    model: Arc<ServedModel>,
}
