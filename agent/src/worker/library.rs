//! Whether an engine that lies in a shared library can be used: tried out in a worker of its own, for
//! what is in the file is native code, and may end whoever loads it.

use crate::worker::message::{FromWorker, ToWorker};
use crate::worker::process::Starter;
use crate::worker::selftest::{SelfTestError, asked};
use lineside_runtime::{Onnxruntime, SharedLibrary};
use std::sync::Arc;
use std::time::Duration;

/// Longest that a library may take to load. Slots wait for it, because what they run may need it.
const TRY_OUT_MAX: Duration = Duration::from_secs(15);

/// The engine of the `library` that the device's settings name, as far as it can be used.
pub async fn tried_out(library: Option<SharedLibrary>, starter: Arc<dyn Starter>) -> Onnxruntime {
    let Some(library) = library else { return Onnxruntime::Absent };
    let path = library.path.display();
    let why = match asked(ToWorker::TryOut(library.clone()), TRY_OUT_MAX, starter).await {
        Ok(FromWorker::TriedOut) => {
            tracing::info!("onnxruntime is one of the engines: {path}");
            return Onnxruntime::At(library);
        }
        Ok(_) => format!("{path}: the worker that loads it says something else"),
        Err(SelfTestError::Refused(why)) => why,
        Err(SelfTestError::Slow(limit)) => {
            format!("{path}: it does not load within {} s", limit.as_secs())
        }
        Err(SelfTestError::Died(how) | SelfTestError::Killed(how)) => {
            format!("{path}: the worker that loads it does not live: {how}")
        }
        Err(error) => format!("{path}: {error}"),
    };
    tracing::warn!("onnxruntime is none of the engines: {why}");
    Onnxruntime::Unusable(why)
}
