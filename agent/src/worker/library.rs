//! Whether an engine that lies in a shared library can be used: tried out in a worker of its own, for
//! what is in the file is native code, and may end whoever loads it.
//!
//! One that is slow is not one that is broken: the device may have been busy. It is tried again, with
//! more patience each time, until it has loaded or says why not.

use crate::backoff;
use crate::update::library::{Known, Library};
use crate::worker::message::{FromWorker, ToWorker};
use crate::worker::process::Starter;
use crate::worker::selftest::{SelfTestError, asked};
use lineside_runtime::{Onnxruntime, SharedLibrary};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::sleep;

/// Longest that the library of a device may take to load at first: slots wait for it, because what they
/// run may need it.
pub const FIRST_MAX: Duration = Duration::from_secs(15);
/// How many times as long it is waited for later at the most, when nothing but what needs it waits; and
/// how many times as long is paused.
const LATER: u32 = 20;

/// What goes on trying a library that was slow.
pub struct Patience {
    library: SharedLibrary,
    starter: Arc<dyn Starter>,
    first_max: Duration,
    tell: watch::Sender<Known>,
}

/// The engine of the `library` that the device's settings name, as far as it can be used; and what is to
/// [go on](Patience::go_on), where it has not loaded within `first_max`.
pub async fn tried_out(
    library: Option<SharedLibrary>,
    starter: Arc<dyn Starter>,
    first_max: Duration,
) -> (Library, Option<Patience>) {
    let Some(library) = library else { return (Library::default(), None) };
    if let Some(known) = tried_within(first_max, &library, &starter).await {
        return (Library::of(known), None);
    }
    let path = library.path.display();
    tracing::warn!(
        "{path} has not loaded within {} s; it is tried again, and what needs it waits",
        first_max.as_secs()
    );
    // The same however often it is tried: what was refused for it is judged again where this changes.
    let why = format!("{path}: it has not loaded yet, and is tried again");
    let known = Known { onnxruntime: Onnxruntime::Unusable(why), digest: None, waits: true };
    let (tell, told) = watch::channel(known);
    (Library::told_by(told), Some(Patience { library, starter, first_max, tell }))
}

impl Patience {
    /// Tries it until it has loaded or says why not; then does nothing for ever.
    pub async fn go_on(self) {
        let longest = self.first_max * LATER;
        for failed in 1_u32.. {
            sleep(backoff::doubled(self.first_max / LATER, longest, failed)).await;
            let patience = backoff::doubled(self.first_max, longest, failed);
            if let Some(known) = tried_within(patience, &self.library, &self.starter).await {
                self.tell.send_replace(known);
                break;
            }
            let path = self.library.path.display();
            tracing::warn!("{path} has not loaded within {} s either", patience.as_secs());
        }
        // Who tells what is known outlives those who ask.
        std::future::pending().await
    }
}

/// What is known of the library after it was given so much time to load; none if it took longer.
async fn tried_within(
    patience: Duration,
    library: &SharedLibrary,
    starter: &Arc<dyn Starter>,
) -> Option<Known> {
    let path = library.path.display();
    let usable =
        |digest| Known { onnxruntime: Onnxruntime::At(library.clone()), digest, waits: false };
    let why = match asked(ToWorker::TryOut(library.clone()), patience, starter.clone()).await {
        Ok(FromWorker::TriedOut(digest)) => {
            tracing::info!("onnxruntime is one of the engines: {path}, {digest}");
            return Some(usable(Some(digest)));
        }
        Err(SelfTestError::Slow(_)) => return None,
        Ok(_) => format!("{path}: the worker that loads it says something else"),
        Err(SelfTestError::Refused(why)) => why,
        Err(SelfTestError::Died(how)) => {
            format!("{path}: the worker that loads it does not live: {how}")
        }
        Err(SelfTestError::Start(how) | SelfTestError::Killed(how)) => {
            // That says nothing about the library, and what was chosen for it is to go on: those who
            // load it are workers, too.
            tracing::warn!("{path} could not be tried out: {how}");
            return Some(usable(None));
        }
        Err(error) => format!("{path}: {error}"),
    };
    tracing::warn!("onnxruntime is none of the engines: {why}");
    Some(Known { onnxruntime: Onnxruntime::Unusable(why), digest: None, waits: false })
}
