//! Several sources of one slot, a port each: what they bring becomes one sequence, in the order of its times
//! as far as others need not wait for it ([`turns`]).
//!
//! Of each source one arrival waits here, and the others with the source: a broker keeps its messages.

use crate::source::turns::{self, Feed, Gives};
use crate::source::{Arrival, Ports, Step};
use lineside_bundle::Port;
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};
use tokio::time::{MissedTickBehavior, interval};

/// How often it is looked whether a source is silent for too long.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// One of the sources.
pub struct Source {
    /// The port that it feeds.
    pub name: Arc<str>,
    /// Whether it is a recording.
    pub gives: Gives,
    /// What it brings.
    pub arrivals: mpsc::Receiver<Arrival>,
    /// Where it hears what is committed.
    pub receipts: mpsc::UnboundedSender<u64>,
    /// The port that it is to read for.
    pub port: watch::Sender<Option<Arc<Port>>>,
    /// Why it brings nothing, for people.
    pub problem: watch::Receiver<Option<String>>,
}

/// The sources of one slot.
pub struct Joined {
    sources: Vec<Source>,
    feeds: Vec<Feed>,
    waiting: Vec<Option<Arrival>>,
    ports: watch::Receiver<Option<Arc<Ports>>>,
    arrivals: mpsc::Sender<Arrival>,
    receipts: mpsc::UnboundedReceiver<u64>,
    problem: watch::Sender<Option<String>>,
    /// Whose receipt each is that was passed on.
    open: BTreeMap<u64, (usize, u64)>,
    number: u64,
    ended: bool,
}

impl Joined {
    /// Of a slot that takes readings of `ports`, from these sources to `arrivals`; `receipts` are the slot's,
    /// and `problem` is what it tells people.
    pub fn new(
        sources: Vec<Source>,
        ports: watch::Receiver<Option<Arc<Ports>>>,
        arrivals: mpsc::Sender<Arrival>,
        receipts: mpsc::UnboundedReceiver<u64>,
        problem: watch::Sender<Option<String>>,
    ) -> Joined {
        let now = Instant::now();
        Joined {
            feeds: sources.iter().map(|source| Feed::new(source.gives, now)).collect(),
            waiting: sources.iter().map(|_| None).collect(),
            sources,
            ports,
            arrivals,
            receipts,
            problem,
            open: BTreeMap::new(),
            number: 0,
            ended: false,
        }
    }

    /// Passes on what comes for as long as somebody wants it.
    pub async fn read(mut self) {
        let mut look = interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.want();
        loop {
            tokio::select! {
                changed = self.ports.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    self.want();
                }
                receipt = self.receipts.recv() => {
                    let Some(receipt) = receipt else { return };
                    if let Some((at, receipt)) = self.open.remove(&receipt)
                        && let Some(source) = self.sources.get(at)
                    {
                        // One that is gone hears it again from its broker.
                        let _ = source.receipts.send(receipt);
                    }
                }
                (at, arrival) = come(&mut self.sources, &self.waiting) => self.came(at, arrival),
                _ = look.tick() => self.tell_problem(),
            }
            if !self.give().await {
                return;
            }
        }
    }

    /// Has each source read for the port that the release has for it.
    fn want(&mut self) {
        let ports = self.ports.borrow_and_update().clone();
        let now = Instant::now();
        for (source, feed) in self.sources.iter().zip(&mut self.feeds) {
            let port = ports.as_ref().and_then(|ports| ports.ports.get(&*source.name)).cloned();
            feed.want(port.is_some(), now);
            source.port.send_if_modified(|now| std::mem::replace(now, port.clone()) != port);
        }
    }

    fn came(&mut self, at: usize, arrival: Arrival) {
        let newest = arrival.rows.iter().map(|row| row.time_unix_ns).max();
        if let (Some(feed), Some(waiting)) = (self.feeds.get_mut(at), self.waiting.get_mut(at)) {
            feed.offers(Some(newest.unwrap_or(turns::NO_TIME)), Instant::now());
            *waiting = Some(arrival);
        }
    }

    /// Passes on whatever has its turn. False if nobody wants it.
    async fn give(&mut self) -> bool {
        loop {
            let now = Instant::now();
            let wait = self.ports.borrow().as_ref().map_or(Duration::ZERO, |ports| ports.wait);
            let Some(at) = turns::next(&self.feeds, wait, now) else { break };
            let Some(mut arrival) = self.waiting[at].take() else { break };
            self.feeds[at].offers(None, now);
            if let Some(newest) = arrival.rows.iter().map(|row| row.time_unix_ns).max() {
                self.feeds[at].taken(newest);
            }
            if arrival.step == Some(Step::End) {
                // That of one is not that of all.
                self.feeds[at].end();
                arrival.step = None;
            }
            arrival.feed = Some(self.sources[at].name.clone());
            if let Some(receipt) = arrival.receipt {
                self.number += 1;
                self.open.insert(self.number, (at, receipt));
                arrival.receipt = Some(self.number);
            }
            let port = arrival.port.clone();
            if self.arrivals.send(arrival).await.is_err() {
                return false;
            }
            let is_over = self.feeds.iter().all(Feed::is_over);
            if is_over && self.feeds.iter().any(Feed::has_ended) && !self.ended {
                self.ended = true;
                let (rows, dropped, step) = (vec![], vec![], Some(Step::End));
                let feed = Some(self.sources[at].name.clone());
                let end = Arrival { port, feed, rows, dropped, step, receipt: None };
                if self.arrivals.send(end).await.is_err() {
                    return false;
                }
            }
        }
        true
    }

    fn tell_problem(&self) {
        let problem = self.sources.iter().find_map(|source| {
            let problem = source.problem.borrow().clone()?;
            Some(format!("port {}: {problem}", source.name))
        });
        self.problem.send_if_modified(|now| std::mem::replace(now, problem.clone()) != problem);
    }
}

/// What the next source brings that has nothing waiting here.
async fn come(sources: &mut [Source], waiting: &[Option<Arrival>]) -> (usize, Arrival) {
    poll_fn(|context| {
        for (at, source) in sources.iter_mut().enumerate() {
            if waiting.get(at).is_some_and(Option::is_none)
                && let Poll::Ready(Some(arrival)) = source.arrivals.poll_recv(context)
            {
                return Poll::Ready((at, arrival));
            }
        }
        Poll::Pending
    })
    .await
}
