//! The local API: which release of each slot it serves, and what it knows of them.

use super::House;
use super::watched::Watched;
use crate::api::{Access, ApiSlot, serve};
use crate::config::ApiConfig;
use crate::error::chain;
use crate::update::StagedRelease;
use crate::update::blobs::Blobs;
use crate::update::stage::load;
use crate::update::states::States;
use crate::worker::serving::{Counts, Means, Rule, Seat, Wanted, keep};
use crate::worker::{SlotHandle, SlotView, WorkerLimits};
use lineside_bundle::{Digest, ReleaseId};
use lineside_wire::name::SlotName;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::{oneshot, watch};
use tokio::task::spawn_blocking;

/// What a slot's models are served by.
pub(super) struct Served {
    pub(super) slot: SlotHandle,
    pub(super) limits: WorkerLimits,
}

impl House {
    /// Opens the local API for the slots. `ended` hears when nothing is under way there any more.
    pub(super) fn open_api(
        &self,
        config: &ApiConfig,
        access: Access,
        slots: BTreeMap<SlotName, Served>,
        watched: &mut Watched,
    ) -> oneshot::Receiver<()> {
        let rule = Rule { max_wait: config.max_wait, rows_max: config.batch_rows_max };
        let means = Means {
            starter: self.starter.clone(),
            patience: self.config.limits.load,
            rule,
            rows_max: config.rows_max,
        };
        let mut known = BTreeMap::new();
        for (name, Served { slot, limits }) in slots {
            let (want, wanted) = watch::channel(None);
            let vacant = Seat::Vacant("its release is not ready yet".to_owned());
            let (tell, seat) = watch::channel(vacant);
            let counts = Arc::new(Counts::default());
            let following = Following {
                slot: name.clone(),
                states: self.states.clone(),
                blobs: self.blobs.clone(),
                limits,
                view: slot.view(),
                want,
            };
            watched.task(format!("what is served of slot {name}"), following.follow());
            let keeping = keep(name.to_string(), means.clone(), wanted, tell, counts.clone());
            watched.task(format!("the models of slot {name}"), keeping);
            known.insert(name, ApiSlot { seat, counts, view: slot.view() });
        }
        let (end, ended) = oneshot::channel();
        let serving = serve(config.clone(), access, known, self.stop.clone(), end);
        watched.task("the local API", serving);
        ended
    }
}

/// Follows which release is a slot's active one.
struct Following {
    slot: SlotName,
    states: Arc<States>,
    blobs: Blobs,
    limits: WorkerLimits,
    view: watch::Receiver<SlotView>,
    want: watch::Sender<Option<Wanted>>,
}

impl Following {
    /// Has the active release served, for ever: a candidate is not before it is committed.
    async fn follow(mut self) {
        let mut changed = self.states.changed();
        let mut served = None;
        loop {
            let active = self.active();
            let now = active.as_ref().map(|release| self.engines(release.digest));
            if now != served {
                let wanted = match active {
                    Some(release) => self.wanted(&release).await,
                    None => None,
                };
                if wanted.is_some() || now.is_none() {
                    served = now;
                    self.want.send_replace(wanted);
                }
            }
            let seen = shown(&self.view.borrow());
            let is_gone = tokio::select! {
                // The bell is as old as the slots.
                _ = changed.changed() => false,
                // What the slot has placed has passed its checks by then.
                placed = self.view.wait_for(|view| shown(view) != seen) => placed.is_err(),
            };
            if is_gone {
                return std::future::pending().await;
            }
        }
    }

    /// A release, and the engines in which it has passed its checks, by stage: where these change it is served
    /// anew.
    fn engines(&self, release: Digest) -> (Digest, BTreeMap<String, String>) {
        (release, self.limits.choices.of(&release).unwrap_or_default().passed)
    }

    fn active(&self) -> Option<ReleaseId> {
        let states = self.states.all();
        Some(states.get(&self.slot)?.active()?.release.clone())
    }

    /// The release as it is to be served; not yet, where it is not known in which engines it may answer.
    async fn wanted(&self, release: &ReleaseId) -> Option<Wanted> {
        let (wanted, blobs, limits) = (release.clone(), self.blobs.clone(), self.limits.clone());
        let read = spawn_blocking(move || {
            let staged: StagedRelease = load(&wanted, &blobs)?;
            let passed = limits.has_passed(&staged);
            Ok::<_, crate::update::stage::StageError>(passed.then(|| limits.bundle(&staged)))
        });
        match read.await {
            Ok(Ok(bundle)) => bundle.map(|bundle| Wanted { release: release.clone(), bundle }),
            Ok(Err(error)) => {
                tracing::warn!(slot = %self.slot, "requests are not answered: {}", chain(error));
                None
            }
            // A panic has been told where it happened.
            Err(_) => None,
        }
    }
}

fn shown(view: &SlotView) -> (Option<Digest>, bool) {
    (view.release.as_ref().map(|release| release.digest), view.answering)
}
