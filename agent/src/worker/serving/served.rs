//! The handle to the models of one release, as long as they are served.

use crate::worker::serving::queue::Job;
use lineside_bundle::ReleaseId;
use lineside_runtime::{Offered, ServeError, Tensor};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::Instant;

/// The models of a release. While somebody holds it they are served, also when another release has taken
/// its place: nobody who was let in is turned away.
#[derive(Debug, Clone)]
pub struct Serving {
    /// Which release.
    pub release: Arc<ReleaseId>,
    /// Its models, by the stages that they are.
    pub models: Arc<BTreeMap<String, Arc<ServedModel>>>,
    pub(super) jobs: mpsc::UnboundedSender<Job>,
}

/// A model that is served.
#[derive(Debug)]
pub struct ServedModel {
    /// What it takes and gives.
    pub offered: Offered,
    /// Rows that may still come.
    pub(super) room: Arc<Semaphore>,
    /// Rows that may wait or be run.
    pub rows_max: usize,
}

/// What a slot has counted of the requests to its models.
#[derive(Debug, Default)]
pub struct Counts {
    /// Batches that were run.
    pub batches: AtomicU64,
    /// Rows in these.
    pub rows: AtomicU64,
    /// Workers that died.
    pub deaths: AtomicU64,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// More at once than ever may wait.
    #[error("{rows} rows are more than may wait for this model at all ({max})")]
    TooMany {
        /// Rows of the request.
        rows: usize,
        /// Rows that may wait.
        max: usize,
    },
    /// Others wait already.
    #[error("{waiting} of {max} rows wait for this model already: ask again later")]
    Full {
        /// Rows that wait or are run.
        waiting: usize,
        /// Rows that may.
        max: usize,
    },
    /// Longer than it may take.
    #[error("it was not answered in time: others waited before it, or the model is too slow")]
    Late,
    /// The worker died over it, twice.
    #[error("the worker died over it: {0}")]
    Died(String),
    /// The models are no longer served.
    #[error("the models are no longer served")]
    Gone,
    /// The model says why.
    #[error(transparent)]
    Model(#[from] ServeError),
}

impl ServedModel {
    /// Rows that wait or are run.
    pub fn waiting(&self) -> usize {
        self.rows_max - self.room.available_permits().min(self.rows_max)
    }

    /// How many rows a request has, those of the input with the most; one, where the model does not take
    /// rows.
    fn rows(&self, tensors: &[Tensor]) -> usize {
        let rows = tensors.iter().filter_map(|tensor| tensor.shape().first().copied()).max();
        rows.filter(|_| self.offered.has_rows).unwrap_or(1).max(1)
    }
}

impl Serving {
    /// Asks one of its models, with a tensor for each of its inputs in order. Who drops what waits for
    /// the answer asks no more.
    ///
    /// # Errors
    /// [`AskError`].
    pub async fn ask(
        &self,
        model: &ServedModel,
        tensors: Vec<Tensor>,
        deadline: Instant,
    ) -> Result<Vec<Tensor>, AskError> {
        let (rows, max) = (model.rows(&tensors), model.rows_max);
        if rows > max {
            return Err(AskError::TooMany { rows, max });
        }
        // Both are at most 65536.
        let room = model.room.clone().try_acquire_many_owned(rows as u32);
        let room = room.map_err(|_| AskError::Full { waiting: model.waiting(), max })?;
        let (reply, replied) = oneshot::channel();
        let (stage, joins) = (&model.offered.stage, model.offered.has_rows);
        let job = Job::new(stage, tensors, (rows, joins), (Instant::now(), deadline), reply, room);
        self.jobs.send(job).map_err(|_| AskError::Gone)?;
        match tokio::time::timeout_at(deadline, replied).await {
            Ok(Ok(answer)) => answer,
            // Whoever runs it has seen first that it is late.
            Ok(Err(_)) if Instant::now() >= deadline => Err(AskError::Late),
            Ok(Err(_)) => Err(AskError::Gone),
            Err(_) => Err(AskError::Late),
        }
    }
}
