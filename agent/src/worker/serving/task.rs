//! Serves the models of one release: feeds a worker with the requests that wait, and replaces one that
//! dies.

use crate::backoff;
use crate::worker::message::Bundle;
use crate::worker::process::Starter;
use crate::worker::serving::link::{Heard, Link};
use crate::worker::serving::message::{FromServing, ToServing};
use crate::worker::serving::queue::{Job, Queue, Rule};
use crate::worker::serving::served::{AskError, Counts};
use lineside_runtime::{Offered, ServeError};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

/// Batches that a worker has: while it runs one, the next is on its way.
const BATCHES_MAX: usize = 2;
/// First and longest pause before a worker is started again.
const RESTART_PAUSE: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(30));
/// How long a worker lives before earlier deaths no longer make it wait.
const SETTLED_AFTER: Duration = Duration::from_secs(60);
/// Workers that may have died over a request, or as they loaded the models, before that is given up.
const DEATHS_MAX: u32 = 2;

/// What a release is served with.
pub(super) struct TaskParts {
    pub slot: String,
    pub starter: Arc<dyn Starter>,
    pub bundle: Bundle,
    pub rule: Rule,
    /// Longest that loading may take, and a batch: a model may have to be loaded for its shapes.
    pub patience: Duration,
    pub counts: Arc<Counts>,
}

/// Whether the models are ready: told once.
pub(super) type Ready = oneshot::Sender<Result<Vec<Offered>, String>>;

struct Task {
    parts: TaskParts,
    queue: Queue,
    /// None while it is dead.
    worker: Option<Worker>,
    restart_at: Instant,
    deaths: u32,
    /// Deaths before the models were ready.
    unready_deaths: u32,
    batches: u64,
    ready: Option<Ready>,
    has_failed: bool,
}

struct Worker {
    link: Link,
    is_ready: bool,
    /// When it was last given work after it had none, or said something.
    heard: Instant,
    on_their_way: VecDeque<(u64, Vec<Job>)>,
}

/// Serves until nobody can ask any more and everybody is answered, or the models cannot be loaded.
pub(super) async fn serve(parts: TaskParts, mut jobs: mpsc::UnboundedReceiver<Job>, ready: Ready) {
    let queue = Queue::new(parts.rule);
    let restart_at = Instant::now();
    let mut task = Task {
        parts,
        queue,
        worker: None,
        restart_at,
        deaths: 0,
        unready_deaths: 0,
        batches: 0,
        ready: Some(ready),
        has_failed: false,
    };
    let mut is_open = true;
    while is_open || task.is_busy() {
        task.start_if_due();
        let due = task.due();
        let due = async move {
            match due {
                Some(due) => sleep_until(due).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            job = jobs.recv(), if is_open => match job {
                Some(job) => task.queue.push(job),
                None => is_open = false,
            },
            heard = heard(&mut task.worker) => match heard {
                Heard::Said(said) => task.said(said),
                Heard::Ended(how) => task.died(&how),
            },
            () = due => {}
        }
        task.look();
        // Before they were ready they failed, or somebody else took their place.
        if task.ready.as_ref().is_some_and(oneshot::Sender::is_closed) || task.has_failed {
            return;
        }
        task.feed();
    }
}

async fn heard(worker: &mut Option<Worker>) -> Heard {
    match worker {
        Some(worker) => worker.link.next().await,
        None => std::future::pending().await,
    }
}

impl Task {
    /// Whether somebody still waits for an answer.
    fn is_busy(&self) -> bool {
        let busy = self.worker.as_ref().is_some_and(|worker| !worker.on_their_way.is_empty());
        busy || !self.queue.is_empty()
    }

    fn start_if_due(&mut self) {
        if self.worker.is_some() || self.restart_at > Instant::now() {
            return;
        }
        let parts = &self.parts;
        let link = Link::start(parts.starter.clone(), parts.bundle.clone(), parts.rule.rows_max);
        let (heard, on_their_way) = (Instant::now(), VecDeque::new());
        self.worker = Some(Worker { link, is_ready: false, heard, on_their_way });
        self.restart_at = Instant::now();
    }

    /// When there is something to do although nothing comes.
    fn due(&self) -> Option<Instant> {
        let patience = self.parts.patience;
        let (takes, silent) = match &self.worker {
            Some(worker) => {
                let waits = !worker.is_ready || !worker.on_their_way.is_empty();
                (worker.takes(&self.queue), waits.then_some(worker.heard + patience))
            }
            None => (false, Some(self.restart_at)),
        };
        silent.into_iter().chain(self.queue.next(takes)).min()
    }

    fn said(&mut self, said: FromServing) {
        let Some(worker) = &mut self.worker else { return };
        worker.heard = Instant::now();
        match said {
            FromServing::Offers(offered) if !worker.is_ready => {
                worker.is_ready = true;
                if let Some(ready) = self.ready.take() {
                    // Who wanted to know may have another release by now.
                    let _ = ready.send(Ok(offered));
                }
            }
            FromServing::Failed(reason) => match self.ready.take() {
                Some(ready) => {
                    self.has_failed = true;
                    let _ = ready.send(Err(reason));
                }
                // It did load before.
                None => self.died(&reason),
            },
            FromServing::Ran { batch, answers } => {
                let front = worker.on_their_way.front();
                let is_right =
                    front.is_some_and(|(of, jobs)| (*of, jobs.len()) == (batch, answers.len()));
                if !is_right {
                    return self.died("it answered what it was not asked");
                }
                let jobs = worker.on_their_way.pop_front().map(|(_, jobs)| jobs);
                for (job, answer) in jobs.into_iter().flatten().zip(answers) {
                    job.answer(answer.map_err(AskError::Model));
                }
            }
            FromServing::Offers(_) => self.died("it said what it was not asked"),
        }
    }

    /// The worker is gone or has to go. What it had is run once more, each request by itself, so that the
    /// one over which it died takes no other with it.
    fn died(&mut self, how: &str) {
        let Some(worker) = self.worker.take() else { return };
        tracing::warn!(slot = %self.parts.slot, "the worker that serves requests is gone: {how}");
        self.parts.counts.deaths.fetch_add(1, Relaxed);
        self.unready_deaths += 1;
        if self.unready_deaths >= DEATHS_MAX
            && let Some(ready) = self.ready.take()
        {
            self.has_failed = true;
            let _ = ready.send(Err(format!(
                "{DEATHS_MAX} workers died as they loaded its models, the last so: {how}"
            )));
            return;
        }
        if self.restart_at.elapsed() > SETTLED_AFTER {
            self.deaths = 0;
        }
        let (first, longest) = RESTART_PAUSE;
        self.restart_at = Instant::now() + backoff::doubled(first, longest, self.deaths);
        self.deaths = self.deaths.saturating_add(1);
        for mut job in worker.on_their_way.into_iter().flat_map(|(_, jobs)| jobs).rev() {
            job.deaths += 1;
            match job.deaths < DEATHS_MAX {
                true => self.queue.push_back_alone(job),
                false => job.answer(Err(AskError::Died(how.to_owned()))),
            }
        }
    }

    /// Ends a worker that is silent for too long, and forgets who waits no more.
    fn look(&mut self) {
        let now = Instant::now();
        self.queue.forget(now);
        let Some(worker) = &self.worker else { return };
        let waits = !worker.is_ready || !worker.on_their_way.is_empty();
        if waits && now >= worker.heard + self.parts.patience {
            let silent = now.duration_since(worker.heard).as_secs_f64();
            self.died(&format!("it gave no answer for {silent:.1} s and was ended"));
        }
    }

    /// Sends what waits and is due.
    fn feed(&mut self) {
        let Some(worker) = &mut self.worker else { return };
        while worker.takes(&self.queue) {
            let Some((kind, mut jobs)) = self.queue.take(Instant::now()) else { return };
            self.batches += 1;
            let (batch, stage) = (self.batches, kind.stage);
            let rows: usize = jobs.iter().map(|job| job.rows).sum();
            // They are kept, in case the worker dies over them.
            let requests = jobs.iter().map(|job| job.tensors.as_slice()).collect();
            if let Err(error) = worker.link.send(&ToServing::Run { batch, stage, requests }) {
                let refused = ServeError::Input(error.to_string());
                jobs.drain(..).for_each(|job| job.answer(Err(refused.clone().into())));
                continue;
            }
            if worker.on_their_way.is_empty() {
                worker.heard = Instant::now();
            }
            self.parts.counts.batches.fetch_add(1, Relaxed);
            self.parts.counts.rows.fetch_add(rows as u64, Relaxed);
            worker.on_their_way.push_back((batch, jobs));
        }
    }
}

impl Worker {
    /// Whether it is to be sent more. Over what a worker died before the next one has nothing else, so that
    /// only that is held against it.
    fn takes(&self, queue: &Queue) -> bool {
        let mut on_their_way = self.on_their_way.iter().flat_map(|(_, jobs)| jobs);
        let is_careful = queue.is_careful() || on_their_way.any(|job| job.deaths > 0);
        let batches_max = if is_careful { 1 } else { BATCHES_MAX };
        self.is_ready && self.on_their_way.len() < batches_max
    }
}
