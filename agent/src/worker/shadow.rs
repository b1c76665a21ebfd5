//! A release beside the route: it sees what the release on the route has answered, its own answers
//! are compared and go nowhere. Whatever becomes of its worker, the route does not notice.

use crate::backoff;
use crate::lock::lock;
use crate::update::StagedRelease;
use crate::worker::beside::{Beside, failure};
use crate::worker::candidate::{Candidate, WARM_UP_MAX};
use crate::worker::compare::Comparison;
use crate::worker::follower::{Follower, Shown};
use crate::worker::intake::places;
use crate::worker::message::{FromWorker, ToWorker};
use crate::worker::placed::GRACE;
use crate::worker::route::{Settled, Shape};
use crate::worker::running::{Running, Stage, WorkerEvent};
use crate::worker::slot::SwapError;
use crate::worker::task::{IN_FLIGHT_MAX, SEND_READINGS, Task};
use lineside_bundle::{BundleFile, Cut, Port};
use lineside_rules::{ShadowLimits, Since};
use std::time::{Duration, Instant};
use tokio::sync::{oneshot, watch};

/// How many times as long as another worker one may take that gets what the others leave.
const PATIENCE: u32 = 3;
/// First and longest pause before its worker is started again.
const RESTART_PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// A release beside the route.
pub(super) struct Shadow {
    release: StagedRelease,
    shape: Shape,
    /// Where the fields of its port stand in the readings of the route; none where they are the same.
    places: Option<Vec<usize>>,
    from: Since,
    /// None while its worker is dead.
    pub(super) beside: Option<Beside>,
    /// When the next worker is to be started, and how many died.
    restart_at: Instant,
    deaths: u32,
    /// Who waits for its first worker.
    reply: Option<oneshot::Sender<Result<(), SwapError>>>,
}

impl Shadow {
    fn worker(&self) -> Option<&Running> {
        self.beside.as_ref().map(|beside| &beside.worker)
    }

    fn is_of(&self, release: &StagedRelease) -> bool {
        self.release.release.digest == release.release.digest
    }
}

impl Task {
    /// Starts a worker beside the route, in place of the shadow that there may be.
    pub(super) fn begin_shadow(
        &mut self,
        release: StagedRelease,
        limits: ShadowLimits,
        reply: oneshot::Sender<Result<(), SwapError>>,
    ) {
        if let Some(shadow) = self.shadow.as_mut().filter(|shadow| shadow.is_of(&release)) {
            if let Some((_, comparison)) = lock(&self.shared.shadow).as_mut() {
                comparison.set_limits(limits);
            }
            // Who asked before is answered by what this one is answered by.
            let before = match shadow.worker().map(|worker| worker.stage) {
                Some(Stage::Loading) => shadow.reply.replace(reply),
                _ => Some(reply),
            };
            if let Some(before) = before {
                let _ = before.send(Ok(()));
            }
            return;
        }
        self.drop_shadow();
        match self.shadow_of(&release, limits.from()) {
            Ok(mut shadow) => {
                shadow.reply = Some(reply);
                let comparison = Comparison::new(limits, self.route.shape(), shadow.shape);
                let digest = shadow.release.release.digest;
                *lock(&self.shared.shadow) = Some((digest, comparison));
                self.shadow = Some(shadow);
            }
            Err(error) => {
                let _ = reply.send(Err(error));
            }
        }
    }

    /// A shadow of `release`, with a worker that loads.
    fn shadow_of(&mut self, release: &StagedRelease, from: Since) -> Result<Shadow, SwapError> {
        let placed = self.placed.as_ref().ok_or(SwapError::Vacant)?;
        let places =
            within(&release.manifest.bundle, &placed.release.manifest.bundle, &self.record.fields)
                .map_err(|problem| SwapError::Beside {
                    active: placed.release.release.clone(),
                    problem,
                })?;
        let beside = Beside::new(self.start_beside(release));
        Ok(Shadow {
            shape: Shape::of(&release.manifest.bundle),
            release: release.clone(),
            places,
            from,
            restart_at: beside.since,
            beside: Some(beside),
            deaths: 0,
            reply: None,
        })
    }

    pub(super) fn shadow_worker(&self) -> Option<&Running> {
        self.shadow.as_ref().and_then(Shadow::worker)
    }

    /// Whether `release` answers beside the route.
    pub(super) fn is_shadow(&self, release: &StagedRelease) -> bool {
        self.shadow.as_ref().filter(|shadow| shadow.is_of(release)).is_some_and(|shadow| {
            shadow.beside.as_ref().is_some_and(|beside| beside.follower.is_some())
        })
    }

    /// Ends the shadow, if there is one, and tells what was seen of it.
    pub(super) fn drop_shadow(&mut self) {
        let Some(shadow) = self.shadow.take() else { return };
        self.tell_shadow(&shadow);
        if let Some(reply) = shadow.reply {
            let _ = reply.send(Err(SwapError::Superseded));
        }
    }

    /// The worker beside the route is the one that is to take it.
    pub(super) fn promote(
        &mut self,
        may: watch::Receiver<bool>,
        reply: oneshot::Sender<Result<(), SwapError>>,
    ) {
        let Some(mut shadow) = self.shadow.take() else { return };
        self.tell_shadow(&shadow);
        if let Some(mut beside) = shadow.beside.take() {
            beside.worker.send(ToWorker::Lead);
            beside.since = Instant::now();
            let release = shadow.release;
            self.candidate = Some(Candidate::new(release, beside, may, reply));
        }
    }

    fn tell_shadow(&mut self, shadow: &Shadow) {
        // Of one that never loaded nothing was seen.
        if let Some((_, comparison)) = lock(&self.shared.shadow).take()
            && shadow.reply.is_none()
        {
            let release = &shadow.release.release;
            self.parts.witness.shadowed(&self.parts.slot, release, &comparison.observation());
        }
    }

    pub(super) fn shadow_said(&mut self, event: WorkerEvent) {
        let Some(shadow) = &mut self.shadow else { return };
        let Some(beside) = &mut shadow.beside else { return };
        beside.worker.heard = Instant::now();
        let taken = match event {
            WorkerEvent::Said(FromWorker::Loaded) if beside.worker.stage == Stage::Loading => {
                beside.loaded();
                let mut follower = Follower::new(&self.route, shadow.shape, shadow.places.clone());
                let (number, warm_up) = (beside.worker.number, shadow.shape.warm_up);
                let compared = (shadow.from == Since::Capture && shadow.deaths == 0)
                    .then_some(shadow.release.release.digest);
                let wanted = compared.is_some() || warm_up > self.route.shape().warm_up;
                if wanted && self.ask_for_past(number, compared) {
                    follower.wait_for_past();
                }
                let Some(Shadow { beside: Some(beside), reply, .. }) = &mut self.shadow else {
                    return;
                };
                beside.follower = Some(follower);
                if let Some(reply) = reply.take() {
                    let _ = reply.send(Ok(()));
                }
                Ok(())
            }
            WorkerEvent::Said(FromWorker::Done(count)) => beside.done(count),
            WorkerEvent::Said(FromWorker::Outcome(outcome)) => {
                let follower = beside.follower.as_mut();
                let honest = follower.is_some_and(|follower| follower.may_answer(&outcome));
                if let Some((_, comparison)) = lock(&self.shared.shadow).as_mut().filter(|_| honest)
                {
                    let (frames, agreed) = comparison.agreement();
                    comparison.shadow(&outcome);
                    let after = comparison.agreement();
                    if after.0 > frames {
                        let (more, more_agreed) = (after.0 - frames, after.1 - agreed);
                        self.parts.witness.compared(&self.parts.slot, more, more_agreed);
                    }
                }
                match honest {
                    true => Ok(()),
                    false => Err(SwapError::Died("it answers what it was not sent".into())),
                }
            }
            WorkerEvent::Past(mut past) => {
                // One that is compared with the past sees all of it.
                let warm_up = match past.answers.is_empty() {
                    true => shadow.shape.warm_up,
                    false => u64::MAX,
                };
                let readings = self.readings_of(&mut past, warm_up);
                let active = self.placed.as_ref().map(|placed| placed.release.release.digest);
                if let Some((_, comparison)) = lock(&self.shared.shadow).as_mut() {
                    let of = |(answer, by)| (Some(by) == active).then_some(answer);
                    comparison.past(past.answers.into_iter().filter_map(of).collect());
                }
                if let Some(Shadow { beside: Some(beside), .. }) = &mut self.shadow {
                    beside.past(readings);
                }
                Ok(())
            }
            other @ (WorkerEvent::Said(_) | WorkerEvent::Ended(_) | WorkerEvent::Unstarted(_)) => {
                Err(failure(other))
            }
        };
        if let Err(error) = taken {
            self.shadow_died(error);
        }
    }

    /// The worker beside the route is gone or has to go. The first one that does not even load ends
    /// the shadow; any other is started again after a while.
    fn shadow_died(&mut self, error: SwapError) {
        let Some(shadow) = &mut self.shadow else { return };
        shadow.beside = None;
        if let Some(reply) = shadow.reply.take() {
            self.shadow = None;
            *lock(&self.shared.shadow) = None;
            let _ = reply.send(Err(error));
            return;
        }
        let (first, longest) = RESTART_PAUSE;
        shadow.restart_at = Instant::now() + backoff::doubled(first, longest, shadow.deaths);
        shadow.deaths += 1;
        tracing::warn!(slot = %self.parts.slot, "the worker of {} beside the route is gone: {error}", shadow.release.release);
        if let Some((_, comparison)) = lock(&self.shared.shadow).as_mut() {
            comparison.restart();
            // Who was ended from outside has not crashed, nor who was never there.
            if !matches!(error, SwapError::Killed(_) | SwapError::Start(_)) {
                comparison.crashed();
            }
        }
    }

    /// Lets the shadow see what a frame accounts for, and remembers the answer for its own.
    pub(super) fn show_beside(&mut self, settled: &Settled) {
        let candidate = self.candidate.as_mut().map(|candidate| &mut candidate.beside);
        if let Some(follower) = candidate.and_then(|beside| beside.follower.as_mut()) {
            follower.settled(&self.route, settled);
        }
        let shadow = self.shadow.as_mut().and_then(|shadow| shadow.beside.as_mut());
        let Some(follower) = shadow.and_then(|beside| beside.follower.as_mut()) else { return };
        let shown = follower.settled(&self.route, settled);
        if let Some((_, comparison)) = lock(&self.shared.shadow).as_mut() {
            match shown {
                Shown::Yes => comparison.active(settled),
                Shown::Skipped => comparison.gap(),
                Shown::NotNow => {}
            }
        }
    }

    /// Sends the shadow what it can take.
    pub(super) fn feed_shadow(&mut self) {
        let beside = self.shadow.as_mut().and_then(|shadow| shadow.beside.as_mut());
        let Some(Beside { worker, follower: Some(follower), .. }) = beside else { return };
        let readings = follower.take(&self.route, SEND_READINGS, IN_FLIGHT_MAX);
        if !readings.is_empty() && follower.in_flight() == readings.len() {
            // It had nothing to do until now.
            worker.heard = Instant::now();
        }
        worker.send_readings(readings);
    }

    /// Ends a worker beside the route that is silent for too long, and starts one in place of one
    /// that died.
    pub(super) fn look_at_shadow(&mut self) {
        let Some(shadow) = &mut self.shadow else { return };
        if let Some(Beside { follower: Some(follower), since, .. }) = &mut shadow.beside
            && since.elapsed() > WARM_UP_MAX
        {
            // The route must not keep readings for it for ever.
            follower.follow(&self.route);
        }
        let frame = shadow.release.manifest.bundle.limits.frame();
        match &shadow.beside {
            None if shadow.restart_at <= Instant::now() => {
                let release = shadow.release.clone();
                let worker = self.start_beside(&release);
                if let Some(shadow) = &mut self.shadow {
                    shadow.beside = Some(Beside::new(worker));
                }
            }
            None => {}
            Some(Beside { worker, follower, .. }) => {
                let silent = worker.heard.elapsed();
                let busy = follower.as_ref().is_some_and(|follower| follower.in_flight() > 0);
                let slow = match worker.stage {
                    Stage::Loading => {
                        (silent > PATIENCE * self.parts.limits.load).then_some("load")
                    }
                    Stage::Ready => {
                        (busy && silent > PATIENCE * (frame + GRACE)).then_some("answer")
                    }
                };
                if let Some(doing) = slow {
                    self.shadow_died(SwapError::Slow(doing));
                }
            }
        }
    }
}

/// As [`port_within`], of whole bundles.
///
/// # Errors
/// What it would see otherwise than it would on the route, or could not be compared.
fn within(
    shadow: &BundleFile,
    active: &BundleFile,
    fields: &[String],
) -> Result<Option<Vec<usize>>, String> {
    let by_time = |bundle: &BundleFile| matches!(bundle.cut(), Cut::Time(_));
    match (by_time(shadow), by_time(active)) {
        (true, false) => return Err("its windows go by time, and not those of the other".into()),
        (false, true) => return Err("its windows do not go by time, as those of the other".into()),
        _ => {}
    }
    if shadow.inputs.len() == 1 && active.inputs.len() == 1 {
        return port_within(shadow.port().1, active.port().1, fields);
    }
    match shadow.inputs == active.inputs {
        true => Ok(None),
        false => Err("it has other ports, and several are joined".into()),
    }
}

/// Where the fields of a shadow's port stand in readings that were read for the port of the route;
/// none where they are the same.
///
/// # Errors
/// What it would see otherwise than it would on the route.
fn port_within(
    shadow: &Port,
    active: &Port,
    fields: &[String],
) -> Result<Option<Vec<usize>>, String> {
    if shadow.key != active.key {
        return Err("it tells streams apart by another field".into());
    }
    if (&shadow.time, shadow.rate_hz) != (&active.time, active.rate_hz) {
        return Err("it takes the time of readings from elsewhere".into());
    }
    let names: Vec<String> = shadow.fields.iter().map(|field| field.name.clone()).collect();
    if names == fields {
        return Ok(None);
    }
    let missing = names.iter().find(|name| !fields.contains(name));
    match (places(fields, &names), missing) {
        (Some(places), _) => Ok(Some(places)),
        (None, missing) => {
            let missing = missing.map(String::as_str).unwrap_or_default();
            Err(format!("the readings have no field {missing:?}"))
        }
    }
}
