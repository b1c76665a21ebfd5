//! The driver of one slot: journals what the engine decides, carries it out, and tells the engine
//! what came of it.

mod looks;
#[cfg(test)]
mod tests;

use crate::update::StagedRelease;
use crate::update::acceptance::Disowned;
use crate::update::blobs::Blobs;
use crate::update::download::Registry;
use crate::update::garbage;
use crate::update::hands::{Failure, Hands};
use crate::update::job::{self, Asked, Jobs, load};
use crate::update::journal::{Journal, JournalError, Withdrawn};
use crate::update::states::States;
use crate::update::surroundings::Preflight;
use lineside_bundle::{Digest, ReleaseId};
use lineside_rules::{ShadowLimits, SitePolicy, TrialLimits};
use lineside_update::{Effect, Event, Installed, Phase, SlotState, Target, step};
use lineside_wire::name::SlotName;
use std::collections::VecDeque;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

/// How often a shadow and a trial are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// How often a site is asked while a candidate that it has let go gets ready to take the route.
const ASK_AGAIN_EVERY: Duration = Duration::from_millis(200);
/// How often it is looked whether the device has become one on which a release would run that was
/// refused: it may have to look at first lines of recordings for that.
const RECONSIDER_EVERY: Duration = Duration::from_secs(10);
/// How often running time is counted.
const TICK_EVERY: Duration = Duration::from_secs(1);
/// How often the progress of a shadow or a trial is journaled when nothing else is: what a power cut may cost.
const PROGRESS_EVERY: Duration = Duration::from_secs(15);
/// Orders that wait for the driver.
pub const QUEUE_MAX: usize = 16;

/// What a slot is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// What it shall hold.
    Assigned(Assigned),
    /// A release that it was to hold is nobody's any more.
    Withdrawn(Withdrawn),
    /// Of all releases that it holds, those for which nobody vouches.
    Disowned(Disowned),
}

/// What the director says of a slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assigned {
    /// The release that it shall hold.
    pub target: Target,
    /// Whether a person has approved that release for this slot.
    pub approved: bool,
    /// A newer assignment names it, be it the same as before: what it was refused for by its documents
    /// is judged again.
    pub newer: bool,
    /// The number of the wish with which a person has said last that it be tried again, whatever it was given
    /// up for; 0 for none.
    pub again: u64,
}

/// What a slot's driver works with.
pub struct DriverParts<H> {
    /// The slot's name.
    pub slot: SlotName,
    /// What it is told.
    pub orders: mpsc::Receiver<Order>,
    /// The limits for trials in this slot that this device's settings name.
    pub policy: TrialLimits,
    /// The limits for shadows beside this slot's route that this device's settings name.
    pub shadow: ShadowLimits,
    /// What the site has signed.
    pub site: watch::Receiver<SitePolicy>,
    /// Where its state is kept.
    pub journal: Journal,
    /// Where blobs are kept.
    pub blobs: Blobs,
    /// Where blobs come from.
    pub registry: Registry,
    /// Whether a release would run here.
    pub preflight: Preflight,
    /// Its worker and the telemetry.
    pub hands: H,
    /// What others may know of all slots.
    pub states: Arc<States>,
    /// Rung when the network is back, to try at once what had been put off.
    pub online: watch::Receiver<()>,
}

/// The driver of one slot.
pub struct SlotDriver<H: Hands> {
    slot: SlotName,
    policy: TrialLimits,
    shadow: ShadowLimits,
    site: watch::Receiver<SitePolicy>,
    journal: Journal,
    blobs: Blobs,
    registry: Registry,
    preflight: Preflight,
    hands: Arc<H>,
    states: Arc<States>,
    online: watch::Receiver<()>,
    state: SlotState,
    /// The state as the journal has it.
    journaled: SlotState,
    /// What it is told.
    orders: mpsc::Receiver<Order>,
    /// What is on the route.
    routed: Option<Digest>,
    /// What answers beside it.
    beside: Option<Digest>,
    jobs: Jobs,
    /// Effects of a state that the journal has not taken yet.
    owed: VecDeque<Effect>,
    journal_fails: bool,
    /// When the site was asked last.
    asked: Option<Instant>,
    /// What the director said last, and when it was last looked whether it may be judged anew.
    ordered: Option<(Assigned, Instant)>,
    stepped: Instant,
    written: Instant,
}

impl<H: Hands> SlotDriver<H> {
    /// A driver for a slot as the journal knows it. Nothing runs until [`SlotDriver::drive`].
    ///
    /// # Errors
    /// What the journal says.
    pub fn new(parts: DriverParts<H>) -> Result<Self, JournalError> {
        let state = parts.journal.slot(&parts.slot)?;
        // Also of slots that agent.toml has no more: renaming one must not make a floor forgotten.
        for kept in parts.journal.slots()?.values() {
            parts.states.raise_floors(kept);
        }
        parts.states.set(&parts.slot, state.clone(), true);
        Ok(SlotDriver {
            slot: parts.slot,
            policy: parts.policy,
            shadow: parts.shadow,
            site: parts.site,
            journal: parts.journal,
            blobs: parts.blobs,
            registry: parts.registry,
            preflight: parts.preflight,
            hands: Arc::new(parts.hands),
            states: parts.states,
            online: parts.online,
            journaled: state.clone(),
            state,
            orders: parts.orders,
            routed: None,
            beside: None,
            jobs: Jobs::new(),
            owed: VecDeque::new(),
            journal_fails: false,
            asked: None,
            ordered: None,
            stepped: Instant::now(),
            written: Instant::now(),
        })
    }

    /// Brings the slot to what the journal says, then follows its orders until they end or `stop` says true.
    ///
    /// `failures` tells of workers that died: which release, and why. Once the agent stops nothing
    /// that ends is held against a release.
    pub async fn drive(
        mut self,
        mut failures: mpsc::Receiver<(Digest, String)>,
        mut stop: watch::Receiver<bool>,
    ) {
        self.apply(Event::Booted).await;
        let mut look = interval(LOOK_EVERY);
        let mut tick = interval(TICK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = told(&mut stop) => break,
                order = self.orders.recv() => match order {
                    Some(order) => self.obey(order).await,
                    None => break,
                },
                answer = self.jobs.answer() => self.apply(answer).await,
                Some((release, reason)) = failures.recv() => {
                    self.look().await;
                    self.apply(Event::WorkerFailed { release, reason }).await;
                }
                _ = look.tick() => self.look().await,
                _ = tick.tick() => {
                    self.apply(Event::Ticked).await;
                    self.reconsider().await;
                }
            }
        }
        self.apply(Event::Stopped).await;
        if self.state != self.journaled {
            // A device that is switched off every day must not wait anew every day.
            self.write().await;
        }
    }

    async fn obey(&mut self, order: Order) {
        match order {
            Order::Assigned(assigned) => {
                self.ordered = Some((assigned.clone(), Instant::now()));
                self.assign(assigned).await;
            }
            Order::Withdrawn(Withdrawn { release, reason }) => {
                let release = release.digest;
                self.ordered.take_if(|(held, _)| held.target.release.digest == release);
                self.apply(Event::Withdrawn { release, reason }).await;
            }
            Order::Disowned(releases) => {
                let disowned = |target: &Target| releases.contains_key(&target.release.digest);
                self.ordered.take_if(|(held, _)| disowned(&held.target));
                self.apply(Event::Disowned { releases }).await;
            }
        }
    }

    async fn assign(&mut self, Assigned { target, approved, newer, again }: Assigned) {
        let floor = self.states.floor(&target.release.name);
        let release = target.release.digest;
        if newer || self.may_run_now(&release).await {
            self.apply(Event::Reconsidered { release }).await;
        }
        if again > 0 {
            self.apply(Event::TryAgain { release, wish: again }).await;
        }
        self.apply(Event::Assigned { target, floor }).await;
        if approved {
            self.apply(Event::Approved { release }).await;
        }
    }

    /// Has a release judged again that was refused on a device such as this one no longer is.
    async fn reconsider(&mut self) {
        let Some((assigned, looked)) = &mut self.ordered else { return };
        if looked.elapsed() < RECONSIDER_EVERY {
            return;
        }
        *looked = Instant::now();
        let assigned = Assigned { newer: false, ..assigned.clone() };
        if self.may_run_now(&assigned.target.release.digest).await {
            self.assign(assigned).await;
        }
    }

    /// Whether a release was refused on a device such as this one no longer is.
    async fn may_run_now(&self, release: &Digest) -> bool {
        let mut blocked = self.state.blocked();
        let refused = blocked.find(|blocked| blocked.release.digest == *release);
        let Some(then) = refused.and_then(|blocked| blocked.facts) else { return false };
        let facts = self.preflight.facts.clone();
        spawn_blocking(move || facts()).await.is_ok_and(|now| now != then)
    }

    fn at_work(&self) -> Option<Digest> {
        self.state.at_work().map(|release| release.digest)
    }

    /// Takes the slot one event further, and on through what follows from the effects at once.
    async fn apply(&mut self, event: Event) {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            let ran = self.stepped.elapsed();
            self.stepped = Instant::now();
            let mut tells = event == Event::Ticked;
            let (state, effects) = step(self.state.clone(), event, ran);
            self.state = state;
            self.owed.extend(effects);
            self.jobs.keep(self.at_work());
            let written = self.write_if_due().await;
            for effect in std::mem::take(&mut self.owed) {
                if written || self.is_safe_unwritten(&effect) {
                    tells |= matches!(effect, Effect::Report(_));
                    events.extend(self.carry_out(effect).await);
                } else {
                    self.owed.push_back(effect);
                }
            }
            if tells && self.owed.is_empty() {
                // First of all, so that none is handed over twice.
                if let Some(reported) = self.hand_reports_over().await {
                    events.push_front(reported);
                }
            }
        }
    }

    /// Has the state in the journal as far as a power cut must not cost it, and tells others of what
    /// is there. Returns whether effects may follow.
    async fn write_if_due(&mut self) -> bool {
        let only_progress = self.state.differs_only_in_progress(&self.journaled);
        let is_due = self.state != self.journaled && self.written.elapsed() >= PROGRESS_EVERY;
        let written = (!only_progress || is_due) && self.write().await;
        if written || only_progress {
            // Not before: a server must not hear of a commit that a power cut could undo.
            self.states.set(&self.slot, self.state.clone(), !only_progress);
        }
        if written {
            self.journaled = self.state.clone();
        }
        written || only_progress
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

    /// Whether an effect may precede its journal entry: only what puts a committed release on the
    /// route, or nothing. A power cut then finds the state before, in which what had to be left runs
    /// once more, and is left again for the same reason.
    fn is_safe_unwritten(&self, effect: &Effect) -> bool {
        match effect {
            Effect::Run(release) => {
                !matches!(self.state.phase(), Phase::Trial(_))
                    && self.state.active() == Some(release)
            }
            Effect::RunMeanwhile(release) => self.state.active() == Some(release),
            // It changes nothing.
            Effect::Verify(_) => true,
            // A power cut ends a shadow too.
            Effect::Vacate { .. } | Effect::EndShadow => true,
            Effect::Download { .. }
            | Effect::Stage { .. }
            | Effect::StartShadow(_)
            | Effect::Collect
            | Effect::Report(_) => false,
        }
    }

    /// Carries out one effect, unless the state has moved on since. Returns what came of it, where
    /// that is known at once.
    async fn carry_out(&mut self, effect: Effect) -> Option<Event> {
        match effect {
            Effect::Download { target, attempts } => {
                let release = target.release;
                let wanted = self.at_work() == Some(release.digest)
                    && !matches!(self.state.phase(), Phase::Staging { .. });
                if wanted && !self.jobs.is_about(release.digest) {
                    self.download(release, attempts);
                }
                None
            }
            Effect::Stage { target, attempts } => {
                let wanted = matches!(self.state.phase(),
                    Phase::Staging { target: now, .. } if *now == target);
                if wanted {
                    self.stage(target.release, attempts);
                }
                None
            }
            Effect::StartShadow(candidate) => match self.state.phase() {
                Phase::Shadow(run) if run.candidate == candidate => {
                    self.start_shadow(candidate).await
                }
                Phase::Idle
                | Phase::Downloading { .. }
                | Phase::Staging { .. }
                | Phase::Shadow(_)
                | Phase::Held(_)
                | Phase::Trial(_) => None,
            },
            Effect::EndShadow => {
                self.end_shadow().await;
                None
            }
            Effect::Run(release) => {
                if self.state.on_route() == Some(&release) {
                    self.run(release).await
                } else {
                    None
                }
            }
            Effect::RunMeanwhile(release) => {
                if self.state.active() == Some(&release) && self.routed.is_none() {
                    self.run_meanwhile(release).await;
                }
                None
            }
            Effect::Verify(held) => {
                let work = job::verify(held.release.clone(), self.blobs.clone());
                self.jobs.start_aside(held.release.digest, work);
                None
            }
            Effect::Vacate { reason } => {
                let expected = self.state.on_route().map(|held| held.release.digest);
                if expected.is_none() || self.routed != expected {
                    self.hands.vacate(&reason).await;
                    self.routed = None;
                    // Nothing answers beside a route that has nothing to be compared with.
                    self.beside = None;
                }
                None
            }
            Effect::Collect => {
                self.collect();
                None
            }
            // Handed over with all others that wait, in their order.
            Effect::Report(report) => {
                tracing::info!(slot = %self.slot, "{}", report.text);
                None
            }
        }
    }

    /// Hands over the reports that wait, oldest first, up to the first that is not taken: it is tried
    /// again with the next tick. One that is taken out of turn would make those before it look old.
    async fn hand_reports_over(&self) -> Option<Event> {
        let mut through = None;
        for report in self.state.reports() {
            if !self.hands.report(report).await {
                break;
            }
            through = Some(report.number);
        }
        through.map(|through| Event::Reported { through })
    }

    async fn run(&mut self, held: Installed) -> Option<Event> {
        let release = held.release.digest;
        if self.routed == Some(release) {
            return self.placed(release);
        }
        match load(&held.release, &self.blobs).await {
            Ok(staged) => self.place(held, &staged).await,
            Err(failure) => failure.event(release, not_started),
        }
    }

    /// Says that a candidate that has waited has the route.
    fn placed(&self, release: Digest) -> Option<Event> {
        self.state.about_to_take_route().map(|_| Event::Placed { release })
    }

    /// Puts a release on the route as soon as it is ready, where the site says nothing against it then: its
    /// worker may take a minute to load and to warm up. What is said of the slot meanwhile is heard first.
    async fn place(&mut self, held: Installed, staged: &StagedRelease) -> Option<Event> {
        let release = held.release.digest;
        let mut withheld = self.ask_again().await;
        if withheld.is_some() {
            return withheld;
        }
        let hands = self.hands.clone();
        let asks = self.state.about_to_take_route().is_some();
        let may = if asks { hands.leave(true) } else { watch::channel(true).1 };
        let mut placing = pin!(hands.place(staged, may));
        let mut is_news = false;
        let placed = loop {
            tokio::select! {
                placed = &mut placing => break placed,
                () = sleep(ASK_AGAIN_EVERY), if !is_news => {
                    withheld = self.ask_again().await;
                    hands.leave(withheld.is_none());
                    is_news = !self.orders.is_empty() || self.policy_changed().is_some();
                    if is_news {
                        hands.give_up().await;
                    }
                }
            }
        };
        match placed {
            Ok(()) => {
                self.routed = Some(release);
                // The slot has dropped what was compared with the release before.
                self.beside = None;
                self.placed(release)
            }
            Err(Failure::GivenUp) if is_news => {
                // If that is still so when it was heard.
                self.owed.push_back(Effect::Run(held));
                None
            }
            Err(Failure::GivenUp) => withheld.or_else(|| {
                let reason = "its leave came too late".to_owned();
                Some(Event::Interrupted { release, reason })
            }),
            Err(failure) => failure.event(release, not_started),
        }
    }

    /// Puts a release on the empty route until the one that shall be there can be.
    async fn run_meanwhile(&mut self, held: Installed) {
        let ran = match load(&held.release, &self.blobs).await {
            Err(failure) => Err(failure),
            Ok(staged) => self.hands.place(&staged, watch::channel(true).1).await,
        };
        match ran {
            Ok(()) => self.routed = Some(held.release.digest),
            Err(failure) => {
                let release = &held.release;
                tracing::warn!(slot = %self.slot, "{release} cannot answer meanwhile: {failure:?}");
            }
        }
    }

    async fn start_shadow(&mut self, candidate: Installed) -> Option<Event> {
        let release = candidate.release.digest;
        let holder = self.state.on_route().map(|held| held.release.digest);
        // Without the release that it is compared with it waits for that one, which is no fault of its
        // own: the engine has it started again with that one.
        if self.beside == Some(release) || self.routed != holder {
            return None;
        }
        let limits = self.state.shadow_limits()?;
        let started = match load(&candidate.release, &self.blobs).await {
            Err(failure) => Err(failure),
            Ok(staged) => self.hands.shadow(&staged, &limits).await,
        };
        match started {
            Ok(()) => {
                self.beside = Some(release);
                None
            }
            Err(failure) => {
                failure.event(release, |release, reason| Event::Refused { release, reason })
            }
        }
    }

    async fn end_shadow(&mut self) {
        if self.beside.take().is_some() {
            self.hands.end_shadow().await;
        }
    }

    fn download(&mut self, release: ReleaseId, attempts: u32) {
        let cancelled = Arc::new(AtomicBool::new(false));
        let digest = release.digest;
        let work = job::download(
            release,
            attempts,
            self.blobs.clone(),
            self.registry.clone(),
            self.preflight.clone(),
            self.online.clone(),
            cancelled.clone(),
        );
        // The next attempt does not wait if the network comes back during this one: an attempt that began
        // without it fails only later.
        self.online.mark_unchanged();
        let reason = "the download was cut off".into();
        self.jobs.start(digest, cancelled, Event::DownloadFailed { release: digest, reason }, work);
    }

    fn stage(&mut self, release: ReleaseId, attempts: u32) {
        let digest = release.digest;
        let asked = Asked { trial: self.asked_of_trial(&digest), shadow: self.shadow_policy() };
        let work = job::check(release, attempts, asked, self.blobs.clone(), self.hands.clone());
        let reason = "the replay of its checks was cut off".into();
        self.jobs.start(
            digest,
            Arc::default(),
            Event::Interrupted { release: digest, reason },
            work,
        );
    }

    fn collect(&self) {
        let (blobs, journal, slot) = (self.blobs.clone(), self.journal.clone(), self.slot.clone());
        spawn_blocking(move || match garbage::collect_what_is_known(&journal, &blobs) {
            Ok(0) => {}
            Ok(count) => tracing::debug!(%slot, "{count} blobs removed that no slot needs"),
            Err(error) => tracing::warn!(%slot, "{error:#}"),
        });
    }
}

fn not_started(release: Digest, reason: String) -> Event {
    Event::RunFailed { release, reason }
}

/// Waits until `stop` says true, or nobody is left to say it.
async fn told(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}
