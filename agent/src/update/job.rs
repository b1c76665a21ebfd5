//! What a slot has done in the background, one thing at a time: blobs are fetched, checks replayed.

use crate::backoff;
use crate::error::chain;
use crate::update::blobs::Blobs;
use crate::update::download::{DownloadError, Registry};
use crate::update::hands::{Failure, Hands};
use crate::update::stage::{self, StageError, StagedRelease};
use crate::update::surroundings::Preflight;
use lineside_bundle::{Digest, ReleaseId};
use lineside_rules::{Budget, ShadowLimits, TrialLimits, judge_replay};
use lineside_update::Event;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, spawn_blocking};
use tokio::time::sleep;

/// First and longest pause between two downloads.
const DOWNLOAD_PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(600));
/// First and longest pause before checks that were interrupted are replayed again.
const CHECKS_PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// Answers that wait for the driver.
const ANSWERS_MAX: usize = 16;

/// The job of one slot, and what came of it.
pub(super) struct Jobs {
    current: Option<Job>,
    /// What is done beside it.
    aside: Option<Job>,
    count: u64,
    /// Where answers are sent, and where they are taken.
    answers: (mpsc::Sender<Answer>, mpsc::Receiver<Answer>),
}

/// What came of a job, with the job's number.
type Answer = (u64, Event);

struct Job {
    number: u64,
    release: Digest,
    cancelled: Arc<AtomicBool>,
    task: AbortHandle,
}

impl Drop for Job {
    fn drop(&mut self) {
        self.cancelled.store(true, Ordering::Relaxed);
        self.task.abort();
    }
}

impl Jobs {
    pub(super) fn new() -> Jobs {
        Jobs { current: None, aside: None, count: 0, answers: mpsc::channel(ANSWERS_MAX) }
    }

    /// Starts to work on `release` in place of any other job. `cancelled` is set when nobody wants the
    /// answer any more. Work that breaks down has the answer `broken`.
    pub(super) fn start(
        &mut self,
        release: Digest,
        cancelled: Arc<AtomicBool>,
        broken: Event,
        work: impl Future<Output = Option<Event>> + Send + 'static,
    ) {
        self.current = Some(self.begin(release, cancelled, Some(broken), work));
    }

    /// Has something done with `release` beside whatever else is; nothing where that is being done.
    pub(super) fn start_aside(
        &mut self,
        release: Digest,
        work: impl Future<Output = Option<Event>> + Send + 'static,
    ) {
        if self.aside.as_ref().is_none_or(|job| job.release != release || job.task.is_finished()) {
            self.aside = Some(self.begin(release, Arc::default(), None, work));
        }
    }

    fn begin(
        &mut self,
        release: Digest,
        cancelled: Arc<AtomicBool>,
        broken: Option<Event>,
        work: impl Future<Output = Option<Event>> + Send + 'static,
    ) -> Job {
        self.count += 1;
        let (number, answers) = (self.count, self.answers.0.clone());
        let work = tokio::spawn(work);
        let task = work.abort_handle();
        tokio::spawn(async move {
            let answer = match work.await {
                Ok(answer) => answer,
                // A panic has been told where it happened. Without an answer the release would be waited
                // for until the agent starts again.
                Err(ended) => broken.filter(|_| ended.is_panic()),
            };
            if let Some(answer) = answer {
                // The driver is gone only when the agent stops.
                let _ = answers.send((number, answer)).await;
            }
        });
        Job { number, release, cancelled, task }
    }

    /// Whether something is being done with `release`.
    pub(super) fn is_about(&self, release: Digest) -> bool {
        self.current.as_ref().is_some_and(|job| job.release == release)
    }

    /// Cancels the job unless it is about `wanted`.
    pub(super) fn keep(&mut self, wanted: Option<Digest>) {
        if self.current.as_ref().is_some_and(|job| Some(job.release) != wanted) {
            self.current = None;
        }
    }

    /// What came of the job. A job that was cancelled may have answered already; that is passed over.
    pub(super) async fn answer(&mut self) -> Event {
        loop {
            let answer = self.answers.1.recv().await;
            let (number, answer) = answer.expect("this end keeps a sender");
            for job in [&mut self.current, &mut self.aside] {
                if job.as_ref().is_some_and(|job| job.number == number) {
                    *job = None;
                    return answer;
                }
            }
        }
    }
}

/// Fetches what `release` lacks; after `attempts` failures not before a pause, unless `online` has been
/// rung since it was last looked at, or is.
pub(super) async fn download(
    release: ReleaseId,
    attempts: u32,
    blobs: Blobs,
    registry: Registry,
    preflight: Preflight,
    online: watch::Receiver<()>,
    cancelled: Arc<AtomicBool>,
) -> Option<Event> {
    let digest = release.digest;
    if let Some(failed) = attempts.checked_sub(1) {
        wait_to_fetch(failed, online).await;
    }
    let fetched = spawn_blocking(move || {
        // Looked at first: what changes meanwhile is then judged again.
        let facts = (preflight.facts)();
        (registry.fetch(&release, &blobs, &*preflight.judge, &cancelled), facts)
    });
    Some(match fetched.await {
        Ok((Ok(fetched), _)) => Event::Downloaded { release: digest, how: fetched.to_string() },
        Ok((Err(error @ DownloadError::Unfit(_)), facts)) if error.is_final() => {
            Event::Unfit { release: digest, reason: chain(error), facts }
        }
        Ok((Err(error), _)) if error.is_final() => {
            Event::Refused { release: digest, reason: chain(error) }
        }
        Ok((Err(error), _)) => Event::DownloadFailed { release: digest, reason: chain(error) },
        Err(_) => {
            let reason = "the download was cut off".into();
            Event::DownloadFailed { release: digest, reason }
        }
    })
}

/// Waits before the next attempt, after as many that have `failed` since the first did.
async fn wait_to_fetch(failed: u32, mut online: watch::Receiver<()>) {
    let (first, longest) = DOWNLOAD_PAUSE;
    tokio::select! {
        () = sleep(backoff::pause(first, longest, failed)) => {}
        Ok(()) = online.changed() => {}
    }
}

/// What others ask of a candidate, besides itself.
pub(super) struct Asked {
    /// Of its trial: the active release and the site.
    pub(super) trial: TrialLimits,
    /// Of its shadow: the site.
    pub(super) shadow: ShadowLimits,
}

/// Replays the checks of `release`; after `attempts` interruptions not before a pause. Where it could
/// not keep to the limits of its trial, it is refused.
pub(super) async fn check<H: Hands>(
    release: ReleaseId,
    attempts: u32,
    asked: Asked,
    blobs: Blobs,
    hands: Arc<H>,
) -> Option<Event> {
    if let Some(interrupted) = attempts.checked_sub(1) {
        let (first, longest) = CHECKS_PAUSE;
        sleep(backoff::pause(first, longest, interrupted)).await;
    }
    let digest = release.digest;
    let checked = match load(&release, &blobs).await {
        Err(failure) => Err(failure),
        Ok(staged) => hands.self_test(&staged).await.map(|took| (staged, took)),
    };
    match checked {
        Ok((staged, took)) => {
            let bundle = &staged.manifest.bundle;
            let strictest = TrialLimits::strictest([&bundle.trial, &asked.trial]);
            let budget = Budget {
                latency_p95_ms_max: strictest.latency_p95_ms_max,
                frame_ms: f64::from(bundle.limits.frame_ms),
                memory_mib: f64::from(bundle.limits.memory_mib),
            };
            Some(match judge_replay(&budget, &took) {
                Err(breach) => Event::Refused { release: digest, reason: breach.to_string() },
                Ok(()) => {
                    let limits = Box::new(bundle.trial.clone());
                    let shadow = Box::new(bundle.shadow.clone());
                    let (policy, took) = (asked.shadow, took.to_string());
                    Event::Staged { release: digest, limits, shadow, policy, took }
                }
            })
        }
        Err(failure) => failure.event(digest, |release, reason| Event::Refused { release, reason }),
    }
}

/// Compares the blobs of `release` with what was signed.
pub(super) async fn verify(release: ReleaseId, blobs: Blobs) -> Option<Event> {
    let digest = release.digest;
    match load(&release, &blobs).await {
        Ok(_) => Some(Event::Whole { release: digest }),
        // It was read once: whatever is wrong with it now is the disk's.
        Err(Failure::Damaged(reason) | Failure::Release(reason)) => {
            Some(Event::Damaged { release: digest, reason })
        }
        // It is asked for again.
        Err(Failure::Elsewhere(_) | Failure::GivenUp | Failure::Stopping) => None,
    }
}

/// Reads a release from the store, off the runtime's threads: it takes digests of whole files.
pub(super) async fn load(release: &ReleaseId, blobs: &Blobs) -> Result<StagedRelease, Failure> {
    let (release, blobs) = (release.clone(), blobs.clone());
    match spawn_blocking(move || stage::load(&release, &blobs)).await {
        Ok(Ok(staged)) => Ok(staged),
        Ok(Err(error @ (StageError::Blob { .. } | StageError::File { .. }))) => {
            Err(Failure::Damaged(chain(error)))
        }
        Ok(Err(error @ (StageError::Oci { .. } | StageError::Manifest { .. }))) => {
            Err(Failure::Release(chain(error)))
        }
        Err(_) => Err(Failure::Elsewhere("reading it from disk was cut off".into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::timeout;

    /// Longest that anything here may take.
    const PATIENCE: Duration = Duration::from_secs(30);

    fn failed(release: Digest) -> Event {
        Event::DownloadFailed { release, reason: "it was cut off".into() }
    }

    #[tokio::test]
    async fn work_that_breaks_down_has_an_answer_and_can_be_done_again() {
        let (mut jobs, release) = (Jobs::new(), Digest::of(b"a release"));
        jobs.start(release, Arc::default(), failed(release), async { panic!("a job of a test") });
        assert!(jobs.is_about(release));
        let answer = timeout(PATIENCE, jobs.answer()).await.expect("it is waited for for ever");
        assert_eq!((answer, jobs.is_about(release)), (failed(release), false));
        // What nobody wants any more has none.
        let broken = Event::Whole { release };
        jobs.start(release, Arc::default(), broken, std::future::pending());
        let done = failed(release);
        jobs.start(release, Arc::default(), Event::Whole { release }, async { Some(done) });
        assert_eq!(timeout(PATIENCE, jobs.answer()).await.unwrap(), failed(release));
    }

    #[tokio::test]
    async fn a_download_that_fails_after_the_network_is_back_is_tried_again_at_once() {
        let online = watch::Sender::new(());
        let mut seen = online.subscribe();
        // The attempt began without the network, and fails when that is there.
        seen.mark_unchanged();
        online.send_replace(());
        // Without the bell it would be five minutes at the least.
        timeout(PATIENCE, wait_to_fetch(20, seen)).await.expect("it waits for its pause");
    }
}
