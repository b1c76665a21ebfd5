//! What a slot owes: which readings it has accepted, which of them frames have accounted for, and
//! which a worker has still to see. Pure; the slot's task does what it says.

mod feed;
mod kept;
mod settled;
mod streams;
mod timed;

pub use feed::Feed;
pub(super) use settled::says_nothing;
pub use settled::{Failure, More, Settled};

use kept::{Kept, KeptReadings};
use lineside_bundle::{BundleFile, Cut, TimeCut};
use lineside_runtime::{FrameOutcome, KEYS_MAX, Reading};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use streams::{Stream, Streams};

/// Accepted readings that are kept for warm-up, over all streams.
pub const WARM_UP_READINGS_MAX: u64 = 200_000;

/// How a bundle cuts readings into frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Readings in a frame.
    pub rows: u64,
    /// Readings from one frame's first to the next one's.
    pub stride: u64,
    /// Readings per stream that a fresh worker is shown before it answers.
    pub warm_up: u64,
    /// Where readings are cut by their time, how; then `rows` and `stride` say nothing.
    pub time: Option<TimeCut>,
}

impl Shape {
    /// How `bundle` cuts readings.
    ///
    /// A fresh worker is shown what it wants, and in any case one whole window: what only its first
    /// frame costs, it costs while nobody waits for the answer.
    pub fn of(bundle: &BundleFile) -> Shape {
        match bundle.cut() {
            Cut::Count { rows, stride } => {
                let (rows, stride) = (u64::from(rows), u64::from(stride));
                let warm_up = bundle.warm_up_readings.max(rows + stride - 1);
                Shape { rows, stride, warm_up, time: None }
            }
            Cut::Time(cut) => {
                // At the port's rate where it says one, else at the rate of the rows.
                let readings = bundle.time_windows().into_iter().map(|window| {
                    let strides = cut.span_ns.div_ceil(cut.stride_ns) + 1;
                    let port = bundle.inputs.values().nth(window.port);
                    let rate = port.and_then(|port| port.rate_hz).unwrap_or(0.0);
                    let read = rate * cut.stride_ns as f64 / 1e9;
                    strides.saturating_mul(window.stride.max(read.ceil() as u64))
                });
                let whole = readings.max().unwrap_or(0).min(WARM_UP_READINGS_MAX);
                // The last reading before a frame may be half of its first row.
                let warm_up = bundle.warm_up_readings.max(whole).max(2);
                Shape { rows: 1, stride: 1, warm_up, time: Some(cut) }
            }
        }
    }

    /// Where a frame ends: the last reading of its window; none beyond all numbers. By time, nanoseconds
    /// since 1970.
    pub fn end(&self, frame: u64) -> Option<u64> {
        match self.time {
            Some(cut) => Some(cut.end(frame)),
            None => frame.checked_mul(self.stride)?.checked_add(self.rows.saturating_sub(1)),
        }
    }
}

/// A stream's numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StreamState {
    /// Readings accepted: the next one gets this number.
    pub next: u64,
    /// Readings accounted for: the first one owed has this number.
    pub accounted: u64,
}

/// Readings that are written together, each with its place in the slot's order.
pub type Chunk = Vec<(u64, Arc<Reading>)>;

/// What is to be written so that a restart finds the readings that are kept.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct JournalStep {
    /// A new chunk, and its number.
    pub chunk: Option<(u64, Chunk)>,
    /// Chunks of which nothing is kept any more.
    pub gone: Vec<u64>,
    /// Streams whose numbers changed.
    pub streams: Vec<(String, StreamState)>,
    /// Streams that are new and do not begin at reading 0, with their first.
    pub begun: BTreeMap<String, u64>,
}

/// An answer that no worker of ours would give.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("frame {frame} of {key:?} accounts for readings {first} to {last}, which it cannot")]
pub struct WrongOutcome {
    key: String,
    frame: u64,
    first: u64,
    last: u64,
}

/// Chunks that may hold a reading that is still kept; beyond it they are written together.
const CHUNKS_MAX: usize = 32;

/// The readings of one slot.
#[derive(Debug, Clone)]
pub struct Route {
    shape: Shape,
    /// Several ports are joined: streams are called `port/key`.
    is_joined: bool,
    streams: Streams,
    kept: KeptReadings,
    next_order: u64,
    owed: u64,
    /// Readings owed that are kept. The others have been dropped.
    waiting: usize,
    /// Nothing before this place is owed.
    settled_before: u64,
    /// All readings before this place are in chunks.
    fresh_from: u64,
    /// Readings that are still kept, by the chunk that holds them.
    chunks: BTreeMap<u64, u64>,
    next_chunk: u64,
    gone: Vec<u64>,
    skipped: BTreeSet<(String, u64)>,
    /// Where new streams begin to be numbered.
    first: u64,
    begun: BTreeMap<String, u64>,
}

impl Route {
    /// A slot that has accepted nothing yet.
    pub fn new(shape: Shape) -> Route {
        Route {
            shape,
            is_joined: false,
            streams: Streams::default(),
            kept: KeptReadings::default(),
            next_order: 0,
            owed: 0,
            waiting: 0,
            settled_before: 0,
            fresh_from: 0,
            chunks: BTreeMap::new(),
            next_chunk: 0,
            gone: Vec::new(),
            skipped: BTreeSet::new(),
            first: 0,
            begun: BTreeMap::new(),
        }
    }

    /// The same, of a slot whose new streams begin with this number, or with the next at which the
    /// release on the route cuts: those below it may have been given before the slot was forgotten.
    pub fn numbered_from(self, first: u64) -> Route {
        Route { first, ..self }
    }

    /// A slot as the journal has it: streams, and chunks by number.
    pub fn restore(
        shape: Shape,
        streams: BTreeMap<String, StreamState>,
        chunks: Vec<(u64, Chunk)>,
    ) -> Route {
        let mut route = Route::new(shape);
        for (key, state) in streams {
            route.owed += state.next - state.accounted.min(state.next);
            route.streams.open(Stream { key, state, ..Stream::default() });
        }
        let mut all = BTreeMap::new();
        for (chunk, readings) in chunks {
            route.next_chunk = route.next_chunk.max(chunk + 1);
            route.chunks.insert(chunk, readings.len() as u64);
            for (order, reading) in readings {
                route.next_order = route.next_order.max(order + 1);
                let stream = route.streams.place_again(&reading.key).unwrap_or_else(|| {
                    route.streams.open(Stream { key: reading.key.clone(), ..Stream::default() })
                });
                all.insert(order, Kept { reading, stream, chunk: Some(chunk) });
            }
        }
        for (order, kept) in &all {
            let stream = route.streams.at_mut(kept.stream);
            stream.kept.push_back((kept.reading.sequence, *order));
            stream.time_unix_ns = kept.reading.time_unix_ns;
            route.waiting += usize::from(kept.reading.sequence >= stream.state.accounted);
        }
        route.kept = KeptReadings::of(all);
        route.fresh_from = route.next_order;
        route
    }

    /// How the release on the route cuts readings.
    pub fn set_shape(&mut self, shape: Shape) {
        self.shape = shape;
    }

    /// Whether the release on the route joins several ports.
    pub fn is_joined(&self) -> bool {
        self.is_joined
    }

    /// Whether the release on the route joins several ports.
    pub fn set_joined(&mut self, is_joined: bool) {
        self.is_joined = is_joined;
    }

    /// How the release on the route cuts readings.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// The readings that are kept of streams, each from a number to before another, in the slot's order and
    /// without those that are given up.
    pub fn kept_between<'a>(
        &self,
        streams: impl IntoIterator<Item = (&'a str, u64, u64)>,
    ) -> Vec<Arc<Reading>> {
        let mut orders = Vec::new();
        for (stream, from, until) in streams {
            orders.extend(self.orders_between(stream, from, until));
        }
        self.readings_at(orders)
    }

    /// What is accounted for and has not been sent to the worker that `feed` feeds, in the slot's
    /// order.
    pub fn unsent(&self, feed: &Feed) -> Vec<Arc<Reading>> {
        let mut orders: Vec<u64> = Vec::new();
        for Stream { key, state, .. } in self.streams.by_name() {
            orders.extend(self.orders_between(key, feed.next(key), state.accounted));
        }
        self.readings_at(orders)
    }

    fn readings_at(&self, mut orders: Vec<u64>) -> Vec<Arc<Reading>> {
        orders.sort_unstable();
        let kept = orders.into_iter().filter_map(|order| self.kept.get(order));
        kept.map(|kept| kept.reading.clone()).collect()
    }

    fn orders_between(&self, key: &str, from: u64, until: u64) -> impl Iterator<Item = u64> {
        let kept = self.streams.get(key).map(|stream| &stream.kept);
        let from = kept.map_or(0, |kept| kept.partition_point(|(sequence, _)| *sequence < from));
        let skipped = |sequence: u64| {
            !self.skipped.is_empty() && self.skipped.contains(&(key.to_owned(), sequence))
        };
        let readings = kept.into_iter().flat_map(move |kept| kept.range(from..));
        readings
            .take_while(move |(sequence, _)| *sequence < until)
            .filter(move |(sequence, _)| !skipped(*sequence))
            .map(|(_, order)| *order)
    }

    /// Changes the values of every reading that is kept, where a port has changed. All of them are
    /// written anew with the next step, in one transaction with the names that now belong to them.
    pub fn map_values(&mut self, map: impl Fn(&[f64]) -> Vec<f64>) {
        for (_, kept) in self.kept.range_mut(0) {
            let reading = Arc::make_mut(&mut kept.reading);
            reading.values = map(&reading.values);
            kept.chunk = None;
        }
        self.fresh_from = 0;
        self.gone.extend(std::mem::take(&mut self.chunks).into_keys());
    }

    /// Takes a reading and numbers it. None if there are too many streams already.
    pub fn accept(&mut self, key: &str, time_unix_ns: i64, values: Vec<f64>) -> Option<u64> {
        let place = match self.streams.place_again(key) {
            Some(place) => place,
            None => self.open(key)?,
        };
        let stream = self.streams.at_mut(place);
        let sequence = stream.state.next;
        stream.state.next += 1;
        stream.time_unix_ns = time_unix_ns;
        stream.touched = true;
        let order = self.next_order;
        self.next_order += 1;
        stream.kept.push_back((sequence, order));
        if sequence >= stream.state.accounted {
            self.owed += 1;
            self.waiting += 1;
        }
        let reading = Reading { key: key.to_owned(), sequence, time_unix_ns, values };
        let reading = Arc::new(reading);
        self.kept.push(order, Kept { reading, stream: place, chunk: None });
        Some(sequence)
    }

    /// Takes a stream that is new, and gives its place. None if there are too many already.
    fn open(&mut self, key: &str) -> Option<usize> {
        if self.streams.len() >= KEYS_MAX {
            return None;
        }
        let first = self.first.checked_next_multiple_of(self.shape.stride);
        let first = first.unwrap_or(self.first);
        let state = StreamState { next: first, accounted: first };
        if first > 0 {
            self.begun.insert(key.to_owned(), first);
        }
        Some(self.streams.open(Stream { key: key.to_owned(), state, ..Stream::default() }))
    }

    /// Readings accepted that no frame has accounted for.
    pub fn owed(&self) -> u64 {
        self.owed
    }

    /// Readings owed that wait for a worker; those that were dropped do not.
    pub fn waiting(&self) -> usize {
        self.waiting
    }

    /// Readings kept: those owed, and those for warm-up.
    pub fn kept(&self) -> usize {
        self.kept.len()
    }

    /// The numbers of a stream; none if it was never seen.
    pub fn stream(&self, key: &str) -> Option<StreamState> {
        self.streams.get(key).map(|stream| stream.state)
    }

    /// Takes what the worker on the route, fed by `feed`, says of a frame. Gives the frames that are
    /// now accounted for: none if that frame was before, and more than one where readings before it
    /// had been dropped, which then belong to frames without an answer.
    ///
    /// # Errors
    /// [`WrongOutcome`] if the worker has not been sent what it answers.
    pub fn settle(
        &mut self,
        feed: &Feed,
        outcome: FrameOutcome,
    ) -> Result<Vec<Settled>, WrongOutcome> {
        if let Some(cut) = self.shape.time {
            return self.settle_timed(cut, feed, outcome);
        }
        let FrameOutcome {
            key, frame, first, last, time_unix_ns, elapsed, result, instead, ..
        } = outcome;
        let Shape { rows, stride, .. } = self.shape;
        let wrong = || WrongOutcome { key: key.clone(), frame, first, last };
        let Some(state) = self.stream(&key) else { return Err(wrong()) };
        let sent = feed.next(&key);
        // What the end of a stream brings accounts for no reading: it stands behind the last one.
        let empty = first == last.wrapping_add(1);
        let possible = match empty {
            true => first <= sent && frame == first.div_ceil(stride),
            false => {
                first <= last
                    && last - first < rows.max(stride)
                    && last < sent
                    && frame == first / stride
            }
        };
        if !possible {
            return Err(wrong());
        }
        if empty {
            let ended_at = self.streams.get_mut(&key).map(|stream| &mut stream.ended_at);
            let again = ended_at.is_some_and(|at| at.replace(first) == Some(first));
            if again || first < state.accounted {
                return Ok(vec![]);
            }
        } else if last < state.accounted {
            return Ok(vec![]);
        }
        let mut settled = self.gap(&key, first, "gap", "readings before it had been dropped");
        // The worker has not seen what was dropped at the end of it.
        let last = match &result {
            Err(_) if !empty => last.max(((frame + 1) * stride).min(state.next) - 1),
            _ => last,
        };
        let first = first.max(state.accounted);
        let inputs = self.inputs(&key, first, last);
        let result = result.map_err(|error| Failure::of(&error, instead));
        settled.push(Settled {
            key: key.clone(),
            frame,
            first,
            last,
            time_unix_ns,
            elapsed,
            result,
            inputs,
            more: More::default(),
        });
        if !empty {
            self.account(&key, last + 1);
        }
        Ok(settled)
    }

    /// Gives up a reading over which workers die: it is not shown to any again, and the frame that
    /// it completes has no answer.
    pub fn skip(&mut self, key: &str, sequence: u64) -> Vec<Settled> {
        let Shape { rows, stride, time, .. } = self.shape;
        if let Some(cut) = time {
            return self.skip_timed(cut, key, sequence);
        }
        self.skipped.insert((key.to_owned(), sequence));
        let completes =
            (sequence + 1).checked_sub(rows).filter(|first| first.is_multiple_of(stride));
        match completes {
            Some(first) => {
                self.gap(key, first + stride, "worker_died", "the worker died over it twice")
            }
            // It is settled together with the frame after it.
            None => vec![],
        }
    }

    /// Settles whatever is still owed as frames without an answer.
    pub fn settle_rest(&mut self, reason: &str, text: &str) -> Vec<Settled> {
        let keys: Vec<(String, u64)> =
            self.streams.by_name().map(|it| (it.key.clone(), it.state.next)).collect();
        keys.into_iter().flat_map(|(key, next)| self.gap(&key, next, reason, text)).collect()
    }

    /// Lets go of every reading that is kept.
    pub fn forget(&mut self) {
        let orders: Vec<u64> = self.kept.range(0).map(|(order, _)| order).collect();
        orders.into_iter().for_each(|order| self.remove(order));
    }

    /// Drops the reading that has waited longest for the worker on the route, which is fed by `feed`
    /// if there is one. False if none waits.
    pub fn drop_oldest(&mut self, feed: Option<&mut Feed>) -> bool {
        let cursor = feed.as_ref().map_or(0, |feed| feed.cursor());
        let from = cursor.max(self.settled_before);
        let owed =
            |kept: &Kept| self.streams.at(kept.stream).state.accounted <= kept.reading.sequence;
        let oldest = self.kept.range(from).find(|(_, kept)| owed(kept)).map(|(order, _)| order);
        if from == self.settled_before {
            // So that whoever has to drop many does not pass the same readings every time.
            self.settled_before = oldest.unwrap_or(self.next_order);
        }
        let Some(order) = oldest else { return false };
        self.remove(order);
        if let Some(feed) = feed {
            feed.dropped();
        }
        true
    }

    /// Lets go of readings that nobody needs: accounted for, seen by the worker, and not among the
    /// last ones that a fresh worker would be shown.
    ///
    /// `feed` is what the worker on the route has seen; none while there is no worker.
    pub fn trim(&mut self, key: &str, feed: Option<&Feed>) {
        let Some(stream) = self.streams.get(key) else { return };
        let share = WARM_UP_READINGS_MAX / self.streams.len().max(1) as u64;
        let warm_up = self.shape.warm_up.min(share);
        let keep_from = stream.state.accounted.saturating_sub(warm_up);
        let unseen = feed.map_or(u64::MAX, Feed::cursor);
        let mut orders = Vec::new();
        for (sequence, order) in &stream.kept {
            if *sequence >= keep_from || *order >= unseen {
                break;
            }
            orders.push(*order);
        }
        orders.into_iter().for_each(|order| self.remove(order));
    }

    /// What has to be written now. What it names as written must be, or [`Route::unwritten`] said.
    pub fn journal(&mut self) -> JournalStep {
        if self.chunks.len() > CHUNKS_MAX {
            // A stream that fell silent holds old chunks: what is left of them moves on.
            let old: Vec<u64> = self.chunks.keys().copied().take(CHUNKS_MAX / 2).collect();
            for (order, kept) in self.kept.range_mut(0) {
                if kept.chunk.is_some_and(|chunk| old.contains(&chunk)) {
                    kept.chunk = None;
                    self.fresh_from = self.fresh_from.min(order);
                }
            }
            for chunk in old {
                self.chunks.remove(&chunk);
                self.gone.push(chunk);
            }
        }
        let number = self.next_chunk;
        let mut readings = Vec::new();
        for (order, kept) in self.kept.range_mut(self.fresh_from) {
            if kept.chunk.is_none() {
                kept.chunk = Some(number);
                readings.push((order, kept.reading.clone()));
            }
        }
        self.fresh_from = self.next_order;
        let chunk = (!readings.is_empty()).then(|| {
            self.next_chunk += 1;
            self.chunks.insert(number, readings.len() as u64);
            (number, readings)
        });
        let mut streams = Vec::new();
        self.streams.each_by_name(|stream| {
            if std::mem::take(&mut stream.touched) {
                streams.push((stream.key.clone(), stream.state));
            }
        });
        let (gone, begun) = (std::mem::take(&mut self.gone), std::mem::take(&mut self.begun));
        JournalStep { chunk, gone, streams, begun }
    }

    /// Takes back a step that could not be written; it becomes part of the next one.
    pub fn unwritten(&mut self, step: JournalStep) {
        if let Some((number, readings)) = step.chunk {
            self.chunks.remove(&number);
            for (order, _) in readings {
                if let Some(kept) = self.kept.get_mut(order)
                    && kept.chunk == Some(number)
                {
                    kept.chunk = None;
                    self.fresh_from = self.fresh_from.min(order);
                }
            }
            self.gone.retain(|chunk| *chunk != number);
        }
        self.gone.extend(step.gone);
        self.begun.extend(step.begun);
        for (key, _) in step.streams {
            if let Some(stream) = self.streams.get_mut(&key) {
                stream.touched = true;
            }
        }
    }

    /// Frames without an answer, for the readings owed before `until`.
    fn gap(&mut self, key: &str, until: u64, reason: &str, text: &str) -> Vec<Settled> {
        if let Some(cut) = self.shape.time {
            return self.gap_timed(cut, key, until, reason, text);
        }
        let stride = self.shape.stride;
        let mut settled = Vec::new();
        let Some(stream) = self.streams.get(key) else { return settled };
        let (mut at, time_unix_ns) = (stream.state.accounted, stream.time_unix_ns);
        while at < until {
            let frame = at / stride;
            let last = ((frame + 1) * stride).min(until) - 1;
            let died = self.skipped.range((key.to_owned(), at)..=(key.to_owned(), last)).next();
            let (reason, text) = match died {
                Some(_) => ("worker_died", "the worker died over it twice"),
                None => (reason, text),
            };
            settled.push(Settled {
                key: key.to_owned(),
                frame,
                first: at,
                last,
                time_unix_ns,
                elapsed: Duration::ZERO,
                result: Err(Failure::new(reason, text)),
                inputs: self.inputs(key, at, last),
                more: More::default(),
            });
            at = last + 1;
        }
        self.account(key, until);
        settled
    }

    fn account(&mut self, key: &str, until: u64) {
        if let Some(stream) = self.streams.get_mut(key)
            && stream.state.accounted < until
        {
            let StreamState { next, accounted } = stream.state;
            self.owed -= until.min(next) - accounted.min(next);
            let before = |number: u64| stream.kept.partition_point(|(kept, _)| *kept < number);
            self.waiting -= before(until) - before(accounted);
            stream.state.accounted = until;
            stream.touched = true;
        }
    }

    fn inputs(&self, key: &str, first: u64, last: u64) -> Vec<Arc<Reading>> {
        let Some(stream) = self.streams.get(key) else { return vec![] };
        let from = stream.kept.partition_point(|(sequence, _)| *sequence < first);
        let until = stream.kept.partition_point(|(sequence, _)| *sequence <= last);
        let readings = stream.kept.range(from..until.max(from));
        let mut inputs = Vec::with_capacity(readings.len());
        let kept = readings.filter_map(|(_, order)| self.kept.get(*order));
        inputs.extend(kept.map(|kept| kept.reading.clone()));
        inputs
    }

    fn remove(&mut self, order: u64) {
        let Some(kept) = self.kept.remove(order) else { return };
        if !self.skipped.is_empty() {
            self.skipped.remove(&(kept.reading.key.clone(), kept.reading.sequence));
        }
        let stream = self.streams.at_mut(kept.stream);
        self.waiting -= usize::from(kept.reading.sequence >= stream.state.accounted);
        match stream.kept.front() {
            Some((_, front)) if *front == order => {
                stream.kept.pop_front();
            }
            _ => stream.kept.retain(|(_, other)| *other != order),
        }
        if let Some(number) = kept.chunk
            && let Some(live) = self.chunks.get_mut(&number)
        {
            *live -= 1;
            if *live == 0 {
                self.chunks.remove(&number);
                self.gone.push(number);
            }
        }
    }
}
