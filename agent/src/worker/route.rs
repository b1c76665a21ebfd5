//! What a slot owes: which readings it has accepted, which of them frames have accounted for, and
//! which a worker has still to see. Pure; the slot's task does what it says.

mod timed;

use lineside_bundle::{BundleFile, Cut, TimeCut};
use lineside_runtime::{
    FrameError, FrameOutcome, Instead, KEYS_MAX, Part, Reading, Span, StandIn, Unused,
};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

/// Accepted readings that are kept for warm-up, over all streams.
pub const WARM_UP_READINGS_MAX: u64 = 200_000;

/// Longest sentence about a frame, in bytes.
const TEXT_BYTES_MAX: usize = 500;

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

/// Whether what kept a frame from an answer says nothing about the release: readings of it are missing, or
/// its clock was set back.
pub(super) fn says_nothing(reason: &str) -> bool {
    matches!(reason, "incomplete" | "clock")
}

/// Why a frame has no answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Failure {
    /// One word, for counting.
    pub reason: String,
    /// A sentence for people.
    pub text: String,
    /// A plugin broke.
    pub is_broken_plugin: bool,
    /// What the bundle wants to be told all the same.
    pub instead: Option<Instead>,
}

impl Failure {
    /// Of which nothing else is to be told.
    pub fn new(reason: &str, text: &str) -> Failure {
        let (reason, text) = (reason.to_owned(), text.to_owned());
        Failure { reason, text, is_broken_plugin: false, instead: None }
    }

    /// As the pipeline says it. Frames of which something else is told are counted by a word of their own.
    fn of(error: &FrameError, instead: Option<Instead>) -> Failure {
        let text = text_of(error);
        let told = match instead.as_ref().map(|instead| instead.by) {
            None => "",
            Some(StandIn::Held) => "_held",
            Some(StandIn::FailSafe) => "_fail_safe",
        };
        let reason = format!("{}{told}", error.reason());
        Failure { reason, text, is_broken_plugin: error.is_broken_plugin(), instead }
    }
}

/// A frame that has been accounted for: the first answer that came for it, and the only one.
#[derive(Debug, Clone, PartialEq)]
pub struct Settled {
    /// The stream.
    pub key: String,
    /// The frame's number.
    pub frame: u64,
    /// First reading that it accounts for.
    pub first: u64,
    /// Last reading that it accounts for; before `first` where there is none.
    pub last: u64,
    /// Time of the window's last reading, nanoseconds since 1970.
    pub time_unix_ns: i64,
    /// How long the stages took; nothing where no worker answered.
    pub elapsed: Duration,
    /// The findings, or why there are none.
    pub result: Result<Vec<Part>, Failure>,
    /// Values of the readings that it accounts for, as far as they are kept.
    pub inputs: Vec<Vec<f64>>,
    /// What there is of a frame by time besides.
    pub more: More,
}

impl Settled {
    /// The stream of the readings that it accounts for; the first, where several ports are joined.
    pub fn stream(&self) -> &str {
        self.more.stream.as_deref().unwrap_or(&self.key)
    }
}

/// What there is of a frame by time, besides what there is of any.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct More {
    /// The stream that the readings are of, where that is not the key.
    pub stream: Option<String>,
    /// What it accounts for in the streams of other ports, with the values of these readings.
    pub others: Vec<(String, Span, Vec<Vec<f64>>)>,
    /// Readings that it accounts for and that were not used.
    pub unused: Unused,
}

/// A stream's numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StreamState {
    /// Readings accepted: the next one gets this number.
    pub next: u64,
    /// Readings accounted for: the first one owed has this number.
    pub accounted: u64,
}

#[derive(Debug, Clone, Default)]
struct Stream {
    state: StreamState,
    time_unix_ns: i64,
    /// Sequence number and place in the slot's order, of the readings kept.
    kept: VecDeque<(u64, u64)>,
    touched: bool,
    /// The number after the last reading, where what its end brings has been settled.
    ended_at: Option<u64>,
}

/// A reading that is kept.
#[derive(Debug, Clone)]
struct Kept {
    reading: Reading,
    /// The chunk of the journal that holds it.
    chunk: Option<u64>,
}

/// What is to be written so that a restart finds the readings that are kept.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct JournalStep {
    /// A new chunk: its number, and readings with their place in the slot's order.
    pub chunk: Option<(u64, Vec<(u64, Reading)>)>,
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
    streams: BTreeMap<String, Stream>,
    kept: BTreeMap<u64, Kept>,
    next_order: u64,
    owed: u64,
    /// Readings owed that are kept. The others have been dropped.
    waiting: usize,
    /// Nothing before this place is owed.
    settled_before: u64,
    /// Places of the kept readings that no chunk holds.
    fresh: BTreeSet<u64>,
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
            streams: BTreeMap::new(),
            kept: BTreeMap::new(),
            next_order: 0,
            owed: 0,
            waiting: 0,
            settled_before: 0,
            fresh: BTreeSet::new(),
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
        chunks: Vec<(u64, Vec<(u64, Reading)>)>,
    ) -> Route {
        let mut route = Route::new(shape);
        for (key, state) in streams {
            route.owed += state.next - state.accounted.min(state.next);
            route.streams.insert(key, Stream { state, ..Stream::default() });
        }
        for (chunk, readings) in chunks {
            route.next_chunk = route.next_chunk.max(chunk + 1);
            route.chunks.insert(chunk, readings.len() as u64);
            for (order, reading) in readings {
                route.next_order = route.next_order.max(order + 1);
                route.kept.insert(order, Kept { reading, chunk: Some(chunk) });
            }
        }
        for (order, kept) in &route.kept {
            let stream = route.streams.entry(kept.reading.key.clone()).or_default();
            stream.kept.push_back((kept.reading.sequence, *order));
            stream.time_unix_ns = kept.reading.time_unix_ns;
            route.waiting += usize::from(kept.reading.sequence >= stream.state.accounted);
        }
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
    ) -> Vec<Reading> {
        let mut orders = Vec::new();
        for (stream, from, until) in streams {
            orders.extend(self.orders_between(stream, from, until));
        }
        orders.sort_unstable();
        orders.into_iter().map(|order| self.kept[&order].reading.clone()).collect()
    }

    /// What is accounted for and has not been sent to the worker that `feed` feeds, in the slot's
    /// order.
    pub fn unsent(&self, feed: &Feed) -> Vec<Reading> {
        let mut orders: Vec<u64> = Vec::new();
        for (key, stream) in &self.streams {
            orders.extend(self.orders_between(key, feed.next(key), stream.state.accounted));
        }
        orders.sort_unstable();
        orders.into_iter().map(|order| self.kept[&order].reading.clone()).collect()
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
        for (order, kept) in &mut self.kept {
            kept.reading.values = map(&kept.reading.values);
            kept.chunk = None;
            self.fresh.insert(*order);
        }
        self.gone.extend(std::mem::take(&mut self.chunks).into_keys());
    }

    /// Takes a reading and numbers it. None if there are too many streams already.
    pub fn accept(&mut self, key: &str, time_unix_ns: i64, values: Vec<f64>) -> Option<u64> {
        if !self.streams.contains_key(key) && self.streams.len() >= KEYS_MAX {
            return None;
        }
        if !self.streams.contains_key(key) {
            let first = self.first.checked_next_multiple_of(self.shape.stride);
            let first = first.unwrap_or(self.first);
            let state = StreamState { next: first, accounted: first };
            self.streams.insert(key.to_owned(), Stream { state, ..Stream::default() });
            if first > 0 {
                self.begun.insert(key.to_owned(), first);
            }
        }
        let stream = self.streams.entry(key.to_owned()).or_default();
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
        self.kept.insert(order, Kept { reading, chunk: None });
        self.fresh.insert(order);
        Some(sequence)
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
        let sent = feed.sent.get(&key).copied().unwrap_or(0);
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
            self.streams.iter().map(|(key, stream)| (key.clone(), stream.state.next)).collect();
        keys.into_iter().flat_map(|(key, next)| self.gap(&key, next, reason, text)).collect()
    }

    /// Lets go of every reading that is kept.
    pub fn forget(&mut self) {
        let orders: Vec<u64> = self.kept.keys().copied().collect();
        orders.into_iter().for_each(|order| self.remove(order));
    }

    /// Drops the reading that has waited longest for the worker on the route, which is fed by `feed`
    /// if there is one. False if none waits.
    pub fn drop_oldest(&mut self, feed: Option<&mut Feed>) -> bool {
        let cursor = feed.as_ref().map_or(0, |feed| feed.cursor);
        let from = cursor.max(self.settled_before);
        let owed =
            |kept: &Kept| self.streams[&kept.reading.key].state.accounted <= kept.reading.sequence;
        let oldest = self.kept.range(from..).find(|(_, kept)| owed(kept)).map(|(order, _)| *order);
        if from == self.settled_before {
            // So that whoever has to drop many does not pass the same readings every time.
            self.settled_before = oldest.unwrap_or(self.next_order);
        }
        let Some(order) = oldest else { return false };
        self.remove(order);
        if let Some(feed) = feed {
            feed.waiting = feed.waiting.saturating_sub(1);
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
        let unseen = feed.map_or(u64::MAX, |feed| feed.cursor);
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
            for (order, kept) in &mut self.kept {
                if kept.chunk.is_some_and(|chunk| old.contains(&chunk)) {
                    kept.chunk = None;
                    self.fresh.insert(*order);
                }
            }
            for chunk in old {
                self.chunks.remove(&chunk);
                self.gone.push(chunk);
            }
        }
        let number = self.next_chunk;
        let mut readings = Vec::new();
        for order in std::mem::take(&mut self.fresh) {
            if let Some(kept) = self.kept.get_mut(&order) {
                kept.chunk = Some(number);
                readings.push((order, kept.reading.clone()));
            }
        }
        let chunk = (!readings.is_empty()).then(|| {
            self.next_chunk += 1;
            self.chunks.insert(number, readings.len() as u64);
            (number, readings)
        });
        let mut streams = Vec::new();
        for (key, stream) in &mut self.streams {
            if std::mem::take(&mut stream.touched) {
                streams.push((key.clone(), stream.state));
            }
        }
        let (gone, begun) = (std::mem::take(&mut self.gone), std::mem::take(&mut self.begun));
        JournalStep { chunk, gone, streams, begun }
    }

    /// Takes back a step that could not be written; it becomes part of the next one.
    pub fn unwritten(&mut self, step: JournalStep) {
        if let Some((number, readings)) = step.chunk {
            self.chunks.remove(&number);
            for (order, _) in readings {
                if let Some(kept) = self.kept.get_mut(&order)
                    && kept.chunk == Some(number)
                {
                    kept.chunk = None;
                    self.fresh.insert(order);
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

    fn inputs(&self, key: &str, first: u64, last: u64) -> Vec<Vec<f64>> {
        let Some(stream) = self.streams.get(key) else { return vec![] };
        let from = stream.kept.partition_point(|(sequence, _)| *sequence < first);
        let readings = stream.kept.range(from..).take_while(|(sequence, _)| *sequence <= last);
        readings.map(|(_, order)| self.kept[order].reading.values.clone()).collect()
    }

    fn remove(&mut self, order: u64) {
        let Some(kept) = self.kept.remove(&order) else { return };
        self.fresh.remove(&order);
        if !self.skipped.is_empty() {
            self.skipped.remove(&(kept.reading.key.clone(), kept.reading.sequence));
        }
        if let Some(stream) = self.streams.get_mut(&kept.reading.key) {
            self.waiting -= usize::from(kept.reading.sequence >= stream.state.accounted);
            match stream.kept.front() {
                Some((_, front)) if *front == order => {
                    stream.kept.pop_front();
                }
                _ => stream.kept.retain(|(_, other)| *other != order),
            }
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

/// What is wrong with a frame, for people.
fn text_of(error: &FrameError) -> String {
    let mut text = error.to_string();
    text.truncate(text.floor_char_boundary(TEXT_BYTES_MAX));
    text
}

/// How far one worker has been fed.
#[derive(Debug, Clone)]
pub struct Feed {
    cursor: u64,
    /// The next reading of each stream that the worker has not been sent.
    sent: BTreeMap<String, u64>,
    /// Readings owed from the cursor on.
    waiting: usize,
    /// Sent, and not yet taken as far as the worker has said; whether they were owed.
    in_flight: VecDeque<((String, u64), bool)>,
    /// Only what is accounted for already, so that nothing the worker answers counts.
    warming: bool,
    /// Readings before this place are sent one at a time, to see which one kills the worker.
    careful_until: u64,
}

impl Feed {
    /// For a worker that is to see only what has been accounted for, until [`Feed::go_live`].
    pub fn warming(route: &Route) -> Feed {
        Feed {
            cursor: 0,
            sent: BTreeMap::new(),
            waiting: route.waiting,
            in_flight: VecDeque::new(),
            warming: true,
            careful_until: 0,
        }
    }

    /// For a worker in place of one that died: everything that is kept, from the start.
    /// `careful` sends one reading at a time until what is there now has been taken.
    pub fn again(route: &Route, careful: bool) -> Feed {
        let careful_until = if careful { route.next_order } else { 0 };
        Feed { warming: false, careful_until, ..Feed::warming(route) }
    }

    /// The worker has the route from here on: everything owed is for it to answer.
    pub fn go_live(&mut self, route: &Route) {
        self.warming = false;
        self.cursor = 0;
        self.waiting = route.waiting;
    }

    /// Tells the feed of the worker on the route that the route has accepted a reading.
    pub fn accepted(&mut self) {
        self.waiting += 1;
    }

    /// Readings owed that the worker on the route has not taken yet. Those that only warm it up
    /// again take nobody's room.
    pub fn backlog(&self) -> usize {
        self.waiting + self.in_flight.iter().filter(|(_, owed)| *owed).count()
    }

    /// Readings sent that the worker has not said it has taken.
    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// Whether the worker has taken everything that there is for it.
    pub fn has_taken_all(&self, route: &Route) -> bool {
        self.in_flight.is_empty() && route.kept.range(self.cursor..).next().is_none()
    }

    /// The next readings for the worker, at most `count`, with never more than `in_flight_max` on
    /// their way.
    pub fn take(&mut self, route: &Route, count: usize, in_flight_max: usize) -> Vec<Reading> {
        let careful = self.cursor < self.careful_until;
        let in_flight_max = if careful { 1 } else { in_flight_max };
        let room = in_flight_max.saturating_sub(self.in_flight.len());
        let count = count.min(room).min(if careful { 1 } else { usize::MAX });
        let mut readings = Vec::new();
        if count == 0 {
            return readings;
        }
        let mut rest = route.kept.range(self.cursor..);
        loop {
            let Some((order, kept)) = rest.next() else {
                self.waiting = 0;
                break;
            };
            let Reading { key, sequence, .. } = &kept.reading;
            self.cursor = order + 1;
            let sent = self.sent.get(key).copied().unwrap_or(0);
            let accounted = route.streams.get(key).map_or(0, |stream| stream.state.accounted);
            let owed = *sequence >= accounted;
            self.waiting = self.waiting.saturating_sub(usize::from(owed));
            let skipped =
                !route.skipped.is_empty() && route.skipped.contains(&(key.clone(), *sequence));
            if *sequence < sent || (self.warming && owed) || skipped {
                continue;
            }
            self.sent.insert(key.clone(), sequence + 1);
            self.in_flight.push_back(((key.clone(), *sequence), owed));
            readings.push(kept.reading.clone());
            if readings.len() == count {
                break;
            }
        }
        readings
    }

    /// The next reading of a stream that the worker has not been sent.
    pub fn next(&self, key: &str) -> u64 {
        self.sent.get(key).copied().unwrap_or(0)
    }

    /// The worker is sent a reading that is accounted for, and that [`Feed::take`] need not give.
    pub fn sent(&mut self, reading: &Reading) {
        let Reading { key, sequence, .. } = reading;
        self.sent.insert(key.clone(), sequence + 1);
        self.in_flight.push_back(((key.clone(), *sequence), false));
    }

    /// The worker has taken so many more. False if it was not sent as many.
    pub fn done(&mut self, count: u32) -> bool {
        let count = count as usize;
        let sent = count <= self.in_flight.len();
        self.in_flight.drain(..count.min(self.in_flight.len()));
        sent
    }

    /// The readings on their way.
    pub fn on_their_way(&self) -> Vec<&(String, u64)> {
        self.in_flight.iter().map(|(reading, _)| reading).collect()
    }

    /// The reading over which the worker died, where that is known: the only one on its way.
    pub fn suspect(&self) -> Option<(String, u64)> {
        match self.in_flight.len() {
            1 => self.in_flight.front().map(|(reading, _)| reading.clone()),
            _ => None,
        }
    }
}
