//! Requests that wait, and which of them are run together.

use crate::worker::serving::served::AskError;
use lineside_runtime::{Element, Tensor};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::time::Instant;

/// Bytes of tensors that are run at once; a single request may have more.
const BATCH_BYTES_MAX: usize = 8 << 20;

pub(super) type Reply = Result<Vec<Tensor>, AskError>;

/// A request that waits.
#[derive(Debug)]
pub(super) struct Job {
    kind: Kind,
    pub tensors: Vec<Tensor>,
    pub rows: usize,
    bytes: usize,
    /// Whether it may be run together with others.
    joins: bool,
    asked: Instant,
    deadline: Instant,
    /// Workers that died while they had it.
    pub deaths: u32,
    reply: oneshot::Sender<Reply>,
    _room: OwnedSemaphorePermit,
}

/// What can be run together: requests to one model, with the same of everything but rows.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Kind {
    pub stage: String,
    single: Vec<(Element, Vec<usize>)>,
}

impl Job {
    pub(super) fn new(
        stage: &str,
        tensors: Vec<Tensor>,
        (rows, joins): (usize, bool),
        (asked, deadline): (Instant, Instant),
        reply: oneshot::Sender<Reply>,
        room: OwnedSemaphorePermit,
    ) -> Job {
        let single = tensors.iter().map(|tensor| {
            let rest = tensor.shape().iter().skip(usize::from(joins));
            (tensor.element(), rest.copied().collect())
        });
        let kind = Kind { stage: stage.to_owned(), single: single.collect() };
        let bytes = tensors.iter().map(bytes_of).sum();
        Job { kind, tensors, rows, bytes, joins, asked, deadline, deaths: 0, reply, _room: room }
    }

    pub(super) fn answer(self, answer: Reply) {
        // Who no longer waits has been told that it is late.
        let _ = self.reply.send(answer);
    }

    fn is_wanted(&self, now: Instant) -> bool {
        !self.reply.is_closed() && now < self.deadline
    }
}

/// About how many bytes a tensor has.
pub(crate) fn bytes_of(tensor: &Tensor) -> usize {
    tensor.element().size_bytes().unwrap_or(16) * tensor.len()
}

/// How requests are put together.
#[derive(Debug, Clone, Copy)]
pub struct Rule {
    /// How long one may wait for others.
    pub max_wait: Duration,
    /// Rows that are run at once; a single request may have more.
    pub rows_max: usize,
}

/// The requests that wait for a worker. How many there may be is bounded where they are let in.
pub(super) struct Queue {
    rule: Rule,
    waiting: BTreeMap<Kind, VecDeque<Job>>,
}

impl Queue {
    pub(super) fn new(rule: Rule) -> Queue {
        Queue { rule, waiting: BTreeMap::new() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Whether a worker has died over one that waits.
    pub(super) fn is_careful(&self) -> bool {
        // Such are put back at the front.
        self.waiting.values().any(|jobs| jobs.front().is_some_and(|job| job.deaths > 0))
    }

    pub(super) fn push(&mut self, job: Job) {
        self.waiting.entry(job.kind.clone()).or_default().push_back(job);
    }

    /// Puts one back at the front, to be run by itself.
    pub(super) fn push_back_alone(&mut self, job: Job) {
        self.waiting.entry(job.kind.clone()).or_default().push_front(job);
    }

    /// Takes what is to be run next, of one kind; nothing while all that is there still waits for more.
    pub(super) fn take(&mut self, now: Instant) -> Option<(Kind, Vec<Job>)> {
        self.forget(now);
        let rule = self.rule;
        let due = self.waiting.iter().filter(|(_, jobs)| is_due(jobs, rule, now));
        let (kind, _) = due.min_by_key(|(_, jobs)| jobs.front().map(|job| job.asked))?;
        let kind = kind.clone();
        let jobs = self.waiting.get_mut(&kind)?;
        let mut batch: Vec<Job> = jobs.pop_front().into_iter().collect();
        let (mut rows, mut bytes) = batch.iter().fold((0, 0), |_, job| (job.rows, job.bytes));
        let is_alone = batch.iter().any(|job| !job.joins || job.deaths > 0);
        while let Some(next) = jobs.front().filter(|job| !is_alone && job.deaths == 0) {
            rows += next.rows;
            bytes += next.bytes;
            if rows > rule.rows_max || bytes > BATCH_BYTES_MAX {
                break;
            }
            batch.extend(jobs.pop_front());
        }
        if jobs.is_empty() {
            self.waiting.remove(&kind);
        }
        Some((kind, batch))
    }

    /// When there is something to look at again: a request has waited long enough for others, or at all.
    pub(super) fn next(&self, takes: bool) -> Option<Instant> {
        let waits = |job: &Job| match takes {
            true => job.deadline.min(job.asked + self.rule.max_wait),
            false => job.deadline,
        };
        self.waiting.values().flatten().map(waits).min()
    }

    /// Drops those that nobody waits for any more. Whoever waited has been told.
    pub(super) fn forget(&mut self, now: Instant) {
        self.waiting.retain(|_, jobs| {
            jobs.retain(|job| job.is_wanted(now));
            !jobs.is_empty()
        });
    }
}

fn is_due(jobs: &VecDeque<Job>, rule: Rule, now: Instant) -> bool {
    let Some(first) = jobs.front() else { return false };
    let is_full = || jobs.iter().map(|job| job.rows).sum::<usize>() >= rule.rows_max;
    !first.joins || first.deaths > 0 || now >= first.asked + rule.max_wait || is_full()
}

#[cfg(test)]
mod tests {
    use super::*;
    use lineside_runtime::Data;
    use std::sync::Arc;
    use tokio::sync::Semaphore;

    struct Bench {
        room: Arc<Semaphore>,
        replies: Vec<oneshot::Receiver<Reply>>,
        queue: Queue,
        now: Instant,
    }

    impl Bench {
        fn new(max_wait_ms: u64, rows_max: usize) -> Bench {
            let rule = Rule { max_wait: Duration::from_millis(max_wait_ms), rows_max };
            let room = Arc::new(Semaphore::new(100));
            Bench { room, replies: vec![], queue: Queue::new(rule), now: Instant::now() }
        }

        fn pass(&mut self, ms: u64) {
            self.now += Duration::from_millis(ms);
        }

        /// A request of so many rows, each of so many numbers; the first number tells them apart.
        fn ask(&mut self, stage: &str, mark: f32, shape: [usize; 2], joins: bool) {
            let values = Data::F32(vec![mark; shape[0] * shape[1]]);
            let tensors = vec![Tensor::new(shape.to_vec(), values).unwrap()];
            let room = self.room.clone().try_acquire_many_owned(shape[0] as u32).unwrap();
            let (reply, replied) = oneshot::channel();
            self.replies.push(replied);
            let times = (self.now, self.now + Duration::from_secs(10));
            self.queue.push(Job::new(stage, tensors, (shape[0], joins), times, reply, room));
        }

        fn take(&mut self) -> Vec<f64> {
            let taken = self.queue.take(self.now);
            let marks = taken.iter().flat_map(|(_, jobs)| jobs);
            marks.map(|job| job.tensors[0].data().number(0).unwrap()).collect()
        }
    }

    #[test]
    fn what_goes_together_is_run_together_up_to_the_rows_that_may() {
        let mut bench = Bench::new(0, 4);
        for (mark, stage, shape) in
            [(1.0, "a", [1, 3]), (2.0, "a", [2, 3]), (3.0, "b", [1, 3]), (4.0, "a", [1, 2])]
        {
            bench.ask(stage, mark, shape, true);
            bench.pass(1);
        }
        bench.ask("a", 5.0, [2, 3], true);
        bench.ask("a", 6.0, [9, 3], true);
        assert_eq!(bench.take(), [1.0, 2.0]);
        assert_eq!(bench.take(), [3.0]);
        assert_eq!(bench.take(), [4.0]);
        assert_eq!(bench.take(), [5.0]);
        assert_eq!(bench.take(), [6.0], "more rows than a batch has, by themselves");
        assert!(bench.queue.is_empty() && bench.take().is_empty());
    }

    #[test]
    fn a_request_waits_for_others_until_enough_have_come_or_it_has_waited_long_enough() {
        let mut bench = Bench::new(10, 2);
        bench.ask("a", 1.0, [1, 1], true);
        assert!(bench.take().is_empty());
        assert_eq!(bench.queue.next(true), Some(bench.now + Duration::from_millis(10)));
        assert_eq!(bench.queue.next(false), Some(bench.now + Duration::from_secs(10)));
        bench.ask("a", 2.0, [1, 1], true);
        assert_eq!(bench.take(), [1.0, 2.0]);
        bench.ask("a", 3.0, [1, 1], true);
        bench.pass(10);
        assert_eq!(bench.take(), [3.0]);
        bench.ask("a", 4.0, [1, 1], false);
        bench.ask("a", 5.0, [1, 1], false);
        assert_eq!(bench.take(), [4.0], "what takes no rows waits for nothing");
        assert_eq!(bench.take(), [5.0]);
    }

    #[test]
    fn what_killed_a_worker_is_run_by_itself_and_before_the_others() {
        let mut bench = Bench::new(0, 8);
        bench.ask("a", 1.0, [1, 1], true);
        bench.ask("a", 2.0, [1, 1], true);
        bench.ask("a", 3.0, [1, 1], true);
        let (_, jobs) = bench.queue.take(bench.now).unwrap();
        bench.ask("a", 4.0, [1, 1], true);
        for mut job in jobs.into_iter().rev() {
            job.deaths = 1;
            bench.queue.push_back_alone(job);
        }
        assert_eq!([bench.take(), bench.take(), bench.take()].concat(), [1.0, 2.0, 3.0]);
        assert_eq!(bench.take(), [4.0]);
    }

    #[test]
    fn what_nobody_waits_for_any_more_is_not_run_and_makes_room() {
        let mut bench = Bench::new(0, 8);
        bench.ask("a", 1.0, [60, 1], true);
        bench.ask("a", 2.0, [40, 1], true);
        assert_eq!(bench.room.available_permits(), 0);
        bench.replies.remove(0);
        bench.queue.forget(bench.now);
        assert_eq!(bench.room.available_permits(), 60);
        bench.pass(10_000);
        assert!(bench.take().is_empty());
        assert_eq!(bench.room.available_permits(), 100);
    }
}
