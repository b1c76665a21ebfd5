//! What the supervisor and a worker that serves requests say to each other, once that has been told to.

use lineside_runtime::{Offered, ServeError, Tensor};
use serde::{Deserialize, Serialize};

/// Largest message in bytes: a request of the largest body that settings allow, unpacked.
pub const SERVING_BYTES_MAX: usize = 160 << 20;

/// From the supervisor, which writes the requests where they lie.
#[derive(Debug, Serialize, Deserialize)]
pub enum ToServing<R = Vec<Vec<Tensor>>> {
    /// Run these requests.
    Run {
        /// Tells it from others on their way.
        batch: u64,
        /// The stage that the model is.
        stage: String,
        /// A tensor for each input of the model, in order, of each request.
        requests: R,
    },
}

/// From the worker.
#[derive(Debug, Serialize, Deserialize)]
pub enum FromServing {
    /// The models are ready.
    Offers(Vec<Offered>),
    /// They cannot be loaded.
    Failed(String),
    /// What became of each request.
    Ran {
        /// Which requests.
        batch: u64,
        /// The model's outputs in order, for each.
        answers: Vec<Result<Vec<Tensor>, ServeError>>,
    },
}
