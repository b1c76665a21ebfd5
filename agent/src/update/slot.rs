//! The driver of one slot: journals what the engine decides, carries it out, and tells the engine
//! what came of it.

use crate::error::chain;
use crate::fleet::backoff;
use crate::update::blobs::Blobs;
use crate::update::download::Registry;
use crate::update::hands::Hands;
use crate::update::journal::Journal;
use crate::update::stage::{self, StageError, StagedRelease};
use crate::update::states::States;
use lineside_bundle::{Digest, ReleaseId};
use lineside_rules::{TrialLimits, Verdict, judge};
use lineside_update::{Effect, Event, Installed, Phase, SlotState, Tally, Target, step};
use lineside_wire::name::SlotName;
use std::collections::VecDeque;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::{Notify, mpsc};
use tokio::task::{AbortHandle, spawn_blocking};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

/// How often a trial is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// How often running time is counted.
const TICK_EVERY: Duration = Duration::from_secs(1);
/// How often a trial's progress is journaled when nothing else is: what a power cut may cost.
const PROGRESS_EVERY: Duration = Duration::from_secs(15);
/// First and longest pause between two downloads.
const DOWNLOAD_PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(600));
/// Answers and assignments that wait for the driver.
pub const QUEUE_MAX: usize = 16;

/// What a slot's driver works with.
pub struct SlotParts<H> {
    /// The slot's name.
    pub slot: SlotName,
    /// The site's own limits for trials in this slot.
    pub policy: TrialLimits,
    /// Where its state is kept.
    pub journal: Journal,
    /// Where blobs are kept.
    pub blobs: Blobs,
    /// Where blobs come from.
    pub registry: Registry,
    /// Its worker and the telemetry.
    pub hands: H,
    /// What others may know of all slots.
    pub states: Arc<States>,
    /// Rung when the network is back, to try at once what had been put off.
    pub online: Arc<Notify>,
}

/// What jobs answer, with the number of the job: where they send it, and where it is taken.
type Answers = (mpsc::Sender<(u64, Event)>, mpsc::Receiver<(u64, Event)>);

/// A download or a replay of checks that is under way.
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

/// The driver of one slot.
pub struct SlotDriver<H: Hands> {
    slot: SlotName,
    policy: TrialLimits,
    journal: Journal,
    blobs: Blobs,
    registry: Registry,
    hands: Arc<H>,
    states: Arc<States>,
    online: Arc<Notify>,
    state: SlotState,
    /// What is on the route.
    routed: Option<Digest>,
    /// The limits of the trial of this candidate.
    limits: Option<(Digest, TrialLimits)>,
    job: Option<Job>,
    jobs: u64,
    /// What came of jobs, by their number.
    answers: Answers,
    /// Effects of a state that the journal has not taken yet.
    owed: VecDeque<Effect>,
    journal_fails: bool,
    stepped: Instant,
    written: Instant,
}

impl<H: Hands> SlotDriver<H> {
    /// A driver for a slot as the journal knows it. Nothing runs until [`SlotDriver::drive`].
    ///
    /// # Errors
    /// What the journal says.
    pub fn new(parts: SlotParts<H>) -> Result<Self, crate::update::journal::JournalError> {
        let state = parts.journal.slot(&parts.slot)?;
        parts.states.set(&parts.slot, state.clone(), true);
        Ok(SlotDriver {
            slot: parts.slot,
            policy: parts.policy,
            journal: parts.journal,
            blobs: parts.blobs,
            registry: parts.registry,
            hands: Arc::new(parts.hands),
            states: parts.states,
            online: parts.online,
            state,
            routed: None,
            limits: None,
            job: None,
            jobs: 0,
            answers: mpsc::channel(QUEUE_MAX),
            owed: VecDeque::new(),
            journal_fails: false,
            stepped: Instant::now(),
            written: Instant::now(),
        })
    }

    /// Brings the slot to what the journal says, then follows `assignments` until they end.
    ///
    /// `failures` tells of workers that died: which release, and why.
    pub async fn drive(
        mut self,
        mut assignments: mpsc::Receiver<Target>,
        mut failures: mpsc::Receiver<(Digest, String)>,
    ) {
        self.apply(Event::Booted).await;
        let mut look = interval(LOOK_EVERY);
        let mut tick = interval(TICK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                target = assignments.recv() => match target {
                    Some(target) => self.apply(Event::Assigned(target)).await,
                    None => return,
                },
                Some((number, answer)) = self.answers.1.recv() => {
                    // A job that was cancelled may have answered already.
                    if self.job.as_ref().is_some_and(|job| job.number == number) {
                        self.job = None;
                        self.apply(answer).await;
                    }
                }
                Some((release, reason)) = failures.recv() => {
                    self.look().await;
                    self.apply(Event::WorkerFailed { release, reason }).await;
                }
                _ = look.tick() => self.look().await,
                _ = tick.tick() => self.apply(Event::Ticked).await,
            }
        }
    }

    /// Judges the candidate by what was seen of it.
    async fn look(&mut self) {
        let Phase::Trial(trial) = self.state.phase() else {
            self.limits = None;
            return;
        };
        let release = trial.candidate.release.digest;
        if self.routed != Some(release) {
            return;
        }
        let trial = trial.clone();
        let limits = self.trial_limits(&trial.candidate).await;
        let seen = trial.before.and(&self.hands.observation(&release));
        let verdict = judge(&limits, &seen);
        let seen = Tally::of(&seen);
        if seen != trial.seen || verdict != Verdict::Undecided {
            self.apply(Event::Observed { release, seen, verdict }).await;
        }
    }

    /// The strictest of what candidate, active release and site allow.
    async fn trial_limits(&mut self, candidate: &Installed) -> TrialLimits {
        if let Some((digest, limits)) = &self.limits
            && *digest == candidate.release.digest
        {
            return limits.clone();
        }
        let mut all = vec![self.policy.clone()];
        for held in [Some(candidate), self.state.active()].into_iter().flatten() {
            match load(&held.release, &self.blobs).await {
                Ok(staged) => all.push(staged.manifest.bundle.trial),
                Err(error) => {
                    tracing::warn!(slot = %self.slot, "limits of {}: {error}", held.release)
                }
            }
        }
        let limits = TrialLimits::strictest(&all);
        self.limits = Some((candidate.release.digest, limits.clone()));
        limits
    }

    /// Takes the slot one event further, and on through what follows from the effects at once.
    async fn apply(&mut self, event: Event) {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            let ran = self.stepped.elapsed();
            self.stepped = Instant::now();
            let (state, effects) = step(self.state.clone(), event, ran);
            let only_progress = state.differs_only_in_progress(&self.state);
            self.state = state;
            self.owed.extend(effects);
            self.states.set(&self.slot, self.state.clone(), !only_progress);
            self.drop_stale_job();
            let may_wait = only_progress && self.owed.is_empty() && !self.journal_fails;
            if may_wait && self.written.elapsed() < PROGRESS_EVERY {
                continue;
            }
            let written = self.write().await;
            for effect in std::mem::take(&mut self.owed) {
                if written || self.is_safe_unwritten(&effect) {
                    events.extend(self.carry_out(effect).await);
                } else {
                    self.owed.push_back(effect);
                }
            }
        }
    }

    /// Writes the state to the journal. A full disk must not stop anything that runs, so a failure
    /// is said once, and tried again with the next tick.
    async fn write(&mut self) -> bool {
        let (journal, slot, state) = (self.journal.clone(), self.slot.clone(), self.state.clone());
        let written = spawn_blocking(move || journal.write_slot(&slot, &state)).await;
        self.written = Instant::now();
        match written {
            Ok(Ok(())) => {
                if std::mem::take(&mut self.journal_fails) {
                    tracing::info!(slot = %self.slot, "the journal can be written again");
                }
                true
            }
            failed => {
                if !std::mem::replace(&mut self.journal_fails, true) {
                    let why = match failed {
                        Ok(Err(error)) => format!("{:#}", anyhow::Error::from(error)),
                        _ => "the write was cut off".to_owned(),
                    };
                    tracing::error!(slot = %self.slot, "the update waits: {why}");
                }
                false
            }
        }
    }

    /// Whether an effect may precede its journal entry: only going back to what the journal already
    /// calls active. A power cut then finds the trial still open, and it ends the same way.
    fn is_safe_unwritten(&self, effect: &Effect) -> bool {
        match effect {
            Effect::Run(release) => {
                !matches!(self.state.phase(), Phase::Trial(_))
                    && self.state.active() == Some(release)
            }
            Effect::Vacate { .. } => true,
            Effect::Download { .. } | Effect::Stage(_) | Effect::Collect | Effect::Report(_) => {
                false
            }
        }
    }

    /// Cancels a job whose release nobody wants any more.
    fn drop_stale_job(&mut self) {
        let wanted = self.state.candidate().map(|release| release.digest);
        if self.job.as_ref().is_some_and(|job| Some(job.release) != wanted) {
            self.job = None;
        }
    }

    /// Carries out one effect, unless the state has moved on since. Returns what came of it, where
    /// that is known at once.
    async fn carry_out(&mut self, effect: Effect) -> Option<Event> {
        match effect {
            Effect::Download { target, attempts } => {
                let wanted = matches!(self.state.phase(),
                    Phase::Downloading { target: now, .. } if *now == target);
                if wanted {
                    self.download(target.release, attempts);
                }
                None
            }
            Effect::Stage(target) => {
                let wanted = matches!(self.state.phase(),
                    Phase::Staging { target: now, .. } if *now == target);
                if wanted {
                    self.stage(target.release);
                }
                None
            }
            Effect::Run(release) => {
                if self.state.on_route() == Some(&release) {
                    self.run(release).await
                } else {
                    None
                }
            }
            Effect::Vacate { reason } => {
                let expected = self.state.on_route().map(|held| held.release.digest);
                if expected.is_none() || self.routed != expected {
                    self.hands.vacate(&reason).await;
                    self.routed = None;
                }
                None
            }
            Effect::Collect => {
                self.collect();
                None
            }
            Effect::Report(report) => {
                tracing::info!(slot = %self.slot, "{}", report.text);
                // One that is not on disk stays in the state, and is handed over at the next start.
                let taken = self.hands.report(&report).await;
                taken.then_some(Event::Reported { through: report.number })
            }
        }
    }

    async fn run(&mut self, held: Installed) -> Option<Event> {
        let release = held.release.digest;
        if self.routed == Some(release) {
            return None;
        }
        let ran = match load(&held.release, &self.blobs).await {
            Err(error) => Err(chain(error)),
            Ok(staged) if self.routed.is_some() => self.hands.swap(&staged).await,
            Ok(staged) => self.hands.run(&staged).await,
        };
        match ran {
            Ok(()) => {
                self.routed = Some(release);
                None
            }
            Err(reason) => Some(Event::RunFailed { release, reason }),
        }
    }

    fn download(&mut self, release: ReleaseId, attempts: u32) {
        let (blobs, registry) = (self.blobs.clone(), self.registry.clone());
        let online = self.online.clone();
        let cancelled = Arc::new(AtomicBool::new(false));
        let is_cancelled = cancelled.clone();
        let digest = release.digest;
        self.start(digest, cancelled, async move {
            if attempts > 0 {
                let (first, longest) = DOWNLOAD_PAUSE;
                tokio::select! {
                    () = sleep(backoff::pause(first, longest, attempts - 1)) => {}
                    () = online.notified() => {}
                }
            }
            let fetched =
                spawn_blocking(move || registry.fetch(&release, &blobs, &is_cancelled)).await;
            match fetched {
                Ok(Ok(())) => Event::Downloaded { release: digest },
                Ok(Err(error)) if error.is_final() => {
                    Event::Refused { release: digest, reason: chain(error) }
                }
                Ok(Err(error)) => Event::DownloadFailed { release: digest, reason: chain(error) },
                Err(_) => Event::DownloadFailed {
                    release: digest,
                    reason: "the download was cut off".into(),
                },
            }
        });
    }

    fn stage(&mut self, release: ReleaseId) {
        let (blobs, hands) = (self.blobs.clone(), self.hands.clone());
        let digest = release.digest;
        self.start(digest, Arc::default(), async move {
            match load(&release, &blobs).await {
                Err(error @ (StageError::Blob { .. } | StageError::File { .. })) => {
                    Event::DownloadFailed { release: digest, reason: chain(error) }
                }
                Err(error) => Event::Refused { release: digest, reason: chain(error) },
                Ok(staged) => match hands.self_test(&staged).await {
                    Ok(()) => Event::Staged { release: digest },
                    Err(reason) => Event::Refused { release: digest, reason },
                },
            }
        });
    }

    /// Starts a job in place of any other.
    fn start(
        &mut self,
        release: Digest,
        cancelled: Arc<AtomicBool>,
        work: impl Future<Output = Event> + Send + 'static,
    ) {
        self.jobs += 1;
        let (number, answers) = (self.jobs, self.answers.0.clone());
        let task = tokio::spawn(async move {
            // The driver is gone only when the agent stops.
            let _ = answers.send((number, work.await)).await;
        });
        self.job = Some(Job { number, release, cancelled, task: task.abort_handle() });
    }

    fn collect(&self) {
        let (blobs, journal, slot) = (self.blobs.clone(), self.journal.clone(), self.slot.clone());
        spawn_blocking(move || match crate::update::garbage::collect(&journal, &blobs) {
            Ok(0) => {}
            Ok(count) => tracing::debug!(%slot, "{count} blobs removed that no slot needs"),
            Err(error) => tracing::warn!(%slot, "{error:#}"),
        });
    }
}

/// Reads a release from the store, off the runtime's threads: it takes digests of whole files.
async fn load(release: &ReleaseId, blobs: &Blobs) -> Result<StagedRelease, StageError> {
    let (release, blobs) = (release.clone(), blobs.clone());
    let id = release.clone();
    spawn_blocking(move || stage::load(&release, &blobs)).await.unwrap_or_else(|_| {
        Err(StageError::Oci { release: id, reason: "reading it was cut off".into() })
    })
}
