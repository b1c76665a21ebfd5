//! Which release of a slot is served, and how it is replaced: by one whose models are ready.

use crate::worker::message::Bundle;
use crate::worker::process::Starter;
use crate::worker::serving::queue::Rule;
use crate::worker::serving::served::{Counts, ServedModel, Serving};
use crate::worker::serving::task::{TaskParts, serve};
use lineside_bundle::{Digest, ReleaseId};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::time::sleep;

/// How long it takes until a release whose models cannot be loaded is tried again.
const AGAIN_AFTER: Duration = Duration::from_secs(60);

/// A release that is to be served.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Which.
    pub release: ReleaseId,
    /// What its worker is told.
    pub bundle: Bundle,
}

/// How a slot's models are served.
#[derive(Debug, Clone)]
pub enum Seat {
    /// They are not, for a reason.
    Vacant(String),
    /// They are.
    Served(Serving),
}

/// What slots are served with.
#[derive(Clone)]
pub struct Means {
    /// What starts workers.
    pub starter: Arc<dyn Starter>,
    /// Longest that a worker may take to load its bundle, or to answer.
    pub patience: Duration,
    /// How requests are put together.
    pub rule: Rule,
    /// Rows that may wait or be run, for each model.
    pub rows_max: usize,
}

/// Serves what is wanted of a slot, for ever. Until the models of another release are ready, those of the
/// one before answer.
pub async fn keep(
    slot: String,
    means: Means,
    mut wanted: watch::Receiver<Option<Wanted>>,
    seat: watch::Sender<Seat>,
    counts: Arc<Counts>,
) {
    loop {
        let now = wanted.borrow_and_update().clone();
        let next = match now {
            None => Err("no committed release of the slot has passed its checks here".to_owned()),
            Some(wanted_now) => {
                let placing = place(&slot, &means, wanted_now, counts.clone());
                tokio::select! {
                    placed = placing => placed,
                    changed = wanted.changed() => match changed {
                        Ok(()) => continue,
                        Err(_) => return std::future::pending().await,
                    },
                }
            }
        };
        let failed = wanted.borrow().as_ref().filter(|_| next.is_err()).map(|it| it.release.digest);
        let has_failed = failed.is_some();
        match next {
            Ok(serving) => {
                tracing::info!(%slot, "requests are answered by {}", serving.release);
                seat.send_replace(Seat::Served(serving));
            }
            // It was to be served in another engine: as it is, it is the active release all the same.
            Err(reason) if is_served(&seat.borrow(), failed) => {
                tracing::warn!(%slot, "requests are answered as before: {reason}");
            }
            Err(reason) => {
                if has_failed {
                    tracing::warn!(%slot, "requests are not answered: {reason}");
                }
                seat.send_replace(Seat::Vacant(reason));
            }
        }
        let again = async {
            match has_failed {
                true => sleep(AGAIN_AFTER).await,
                false => std::future::pending().await,
            }
        };
        tokio::select! {
            changed = wanted.changed() => if changed.is_err() {
                return std::future::pending().await;
            },
            () = again => {}
        }
    }
}

fn is_served(seat: &Seat, release: Option<Digest>) -> bool {
    matches!(seat, Seat::Served(serving) if Some(serving.release.digest) == release)
}

/// Starts to serve a release; ready when its models are.
async fn place(
    slot: &str,
    means: &Means,
    Wanted { release, bundle }: Wanted,
    counts: Arc<Counts>,
) -> Result<Serving, String> {
    let (jobs, inbox) = mpsc::unbounded_channel();
    let (tell, ready) = oneshot::channel();
    let parts = TaskParts {
        slot: slot.to_owned(),
        starter: means.starter.clone(),
        bundle,
        rule: means.rule,
        patience: means.patience,
        counts,
    };
    tokio::spawn(serve(parts, inbox, tell));
    let offered = ready.await.unwrap_or_else(|_| Err("what serves them broke down".to_owned()))?;
    let rows_max = means.rows_max;
    let served = offered.into_iter().map(|offered| {
        let room = Arc::new(Semaphore::new(rows_max));
        (offered.stage.clone(), Arc::new(ServedModel { offered, room, rows_max }))
    });
    Ok(Serving { release: Arc::new(release), models: Arc::new(served.collect()), jobs })
}
