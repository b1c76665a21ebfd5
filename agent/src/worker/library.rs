//! Whether an engine that lies in a shared library can be used: tried out in a worker of its own, for
//! what is in the file is native code, and may end whoever loads it.

use crate::worker::message::{FromWorker, ToWorker};
use crate::worker::process::Starter;
use crate::worker::selftest::{SelfTestError, asked};
use lineside_bundle::Digest;
use lineside_runtime::{Onnxruntime, SharedLibrary};
use std::sync::Arc;
use std::time::Duration;

/// Longest that a library may take to load. Slots wait for it, because what they run may need it.
const TRY_OUT_MAX: Duration = Duration::from_secs(15);

/// The engine of the `library` that the device's settings name, as far as it can be used; and what the
/// file is, as far as that is known.
pub async fn tried_out(
    library: Option<SharedLibrary>,
    starter: Arc<dyn Starter>,
) -> (Onnxruntime, Option<Digest>) {
    let Some(library) = library else { return (Onnxruntime::Absent, None) };
    let path = library.path.display();
    let why = match asked(ToWorker::TryOut(library.clone()), TRY_OUT_MAX, starter).await {
        Ok(FromWorker::TriedOut(digest)) => {
            tracing::info!("onnxruntime is one of the engines: {path}, {digest}");
            return (Onnxruntime::At(library), Some(digest));
        }
        Ok(_) => format!("{path}: the worker that loads it says something else"),
        Err(SelfTestError::Refused(why)) => why,
        Err(SelfTestError::Slow(limit)) => {
            format!("{path}: it does not load within {} s", limit.as_secs())
        }
        Err(SelfTestError::Died(how)) => {
            format!("{path}: the worker that loads it does not live: {how}")
        }
        Err(SelfTestError::Start(how) | SelfTestError::Killed(how)) => {
            // That says nothing about the library, and what was chosen for it is to go on: those who
            // load it are workers, too.
            tracing::warn!("{path} could not be tried out: {how}");
            return (Onnxruntime::At(library), None);
        }
        Err(error) => format!("{path}: {error}"),
    };
    tracing::warn!("onnxruntime is none of the engines: {why}");
    (Onnxruntime::Unusable(why), None)
}
