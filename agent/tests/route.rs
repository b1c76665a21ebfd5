//! A slot's numbers under every disorder there is: workers die, routes change, commits fail and the
//! power goes, in any order; every reading is accounted for by exactly one frame all the same.

#![allow(clippy::unwrap_used)] // A test stops at what does not hold.

use lineside_agent::worker::follower::Follower;
use lineside_agent::worker::route::{Feed, JournalStep, Route, Settled, Shape, StreamState};
use lineside_bundle::{BundleFile, Cut, build};
use lineside_runtime::{FrameOutcome, LoadOptions, MemoryFiles, Pipeline, Reading, Unused, Value};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// Numbers that only look random: the same seed gives the same story.
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

/// A bundle without a model: its one output is the last value of each window.
fn pipeline(shape: Shape) -> Pipeline {
    if shape.time.is_some() {
        return loaded(PAIR);
    }
    let Shape { rows, stride, .. } = shape;
    let last = rows - 1;
    loaded(&format!(
        "format = 1\nname = 'echo'\nversion = '1'\n\
         [inputs.p]\nkey = 'k'\nrate_hz = 1.0\nfields = [{{ name = 'x' }}]\n\
         [stages.w]\nkind = 'window'\ninput = 'p'\nrows = {rows}\nstride = {stride}\n\
         [stages.last]\nkind = 'select'\ninput = 'w'\nindex = {last}\n\
         [outputs]\nx = {{ from = 'last' }}\n"
    ))
}

/// Two ports that are joined by time: frames begin every 4 s and span 8; `x` is what one says in the last of
/// these seconds, `y` what the other one says in the last but one.
const PAIR: &str = "format = 1\nname = 'pair'\nversion = '1'\n\
     [inputs.a]\nkey = 'k'\ntime = 't'\nfields = [{ name = 'x' }]\n\
     [inputs.b]\nkey = 'k'\ntime = 't'\nfields = [{ name = 'y' }]\n\
     [stages.seconds]\nkind = 'resample'\ninput = 'a'\nrate_hz = 1\ngap_seconds = 1\n\
     [stages.pairs]\nkind = 'resample'\ninput = 'b'\nrate_hz = 0.5\ngap_seconds = 1\n\
     [stages.short]\nkind = 'window'\ninput = 'seconds'\nseconds = 4\nstride_seconds = 4\n\
     [stages.long]\nkind = 'window'\ninput = 'pairs'\nseconds = 8\nstride_seconds = 4\n\
     [stages.last_x]\nkind = 'select'\ninput = 'short'\nindex = 3\n\
     [stages.last_y]\nkind = 'select'\ninput = 'long'\nindex = 3\n\
     [outputs]\nx = { from = 'last_x' }\ny = { from = 'last_y' }\n";

fn loaded(text: &str) -> Pipeline {
    let built = build(BundleFile::parse(text).unwrap(), BTreeMap::new()).unwrap();
    Pipeline::load(&built.manifest, &MemoryFiles(&built), &LoadOptions::default()).unwrap()
}

#[allow(clippy::large_enum_variant)] // There are few of them.
enum Said {
    Outcome(FrameOutcome),
    Done,
}

struct Worker {
    pipeline: Pipeline,
    feed: Feed,
    sent: VecDeque<Arc<Reading>>,
    said: VecDeque<Said>,
}

impl Worker {
    fn new(shape: Shape, feed: Feed) -> Worker {
        let pipeline = pipeline(shape);
        Worker { pipeline, feed, sent: VecDeque::new(), said: VecDeque::new() }
    }

    fn work(&mut self) {
        if let Some(reading) = self.sent.pop_front() {
            self.said.extend(self.pipeline.push(&*reading).into_iter().map(Said::Outcome));
            self.said.push_back(Said::Done);
        }
    }
}

/// A worker beside the route: a shadow, or what is to take the route.
struct Beside {
    pipeline: Pipeline,
    follower: Follower,
    sent: VecDeque<Arc<Reading>>,
    said: VecDeque<Said>,
    takes_over: bool,
}

impl Beside {
    fn new(slot: &Slot, takes_over: bool) -> Beside {
        Beside {
            pipeline: pipeline(slot.shape),
            follower: Follower::new(&slot.route, slot.shape, None),
            sent: VecDeque::new(),
            said: VecDeque::new(),
            takes_over,
        }
    }

    fn work(&mut self) {
        if let Some(reading) = self.sent.pop_front() {
            self.said.extend(self.pipeline.push(&*reading).into_iter().map(Said::Outcome));
            self.said.push_back(Said::Done);
        }
    }

    /// Everything that it says is about what it was sent, and has been accounted for.
    fn listen(&mut self, route: &Route) {
        match self.said.pop_front() {
            Some(Said::Outcome(outcome)) => {
                assert!(self.follower.may_answer(&outcome), "{outcome:?}");
                for (stream, last) in lasts(&outcome) {
                    let accounted = route.stream(&stream).unwrap().accounted;
                    assert!(last < accounted, "{outcome:?}, {accounted} are accounted for");
                }
            }
            Some(Said::Done) => assert!(self.follower.done(1)),
            None => {}
        }
    }
}

/// The streams that a frame accounts for, each with the last reading.
fn lasts(outcome: &FrameOutcome) -> Vec<(String, u64)> {
    match outcome.spans.is_empty() {
        true => vec![(outcome.key.clone(), outcome.last)],
        false => outcome.spans.iter().map(|(stream, span)| (stream.clone(), span.last)).collect(),
    }
}

/// What a power cut leaves.
#[derive(Default)]
struct Disk {
    accepted: u64,
    streams: BTreeMap<String, StreamState>,
    chunks: BTreeMap<u64, Vec<(u64, Arc<Reading>)>>,
    frames: Vec<Settled>,
}

struct Slot {
    shape: Shape,
    route: Route,
    accepted: u64,
    worker: Option<Worker>,
    beside: Option<Beside>,
    pending: Vec<Settled>,
    disk: Disk,
    /// Readings that may wait before the oldest give way; none gives way without.
    queue: Option<usize>,
    gave_way: u64,
}

const KEYS: u64 = 3;

impl Slot {
    fn new(shape: Shape, queue: Option<usize>) -> Slot {
        Slot {
            shape,
            route: route_of(Route::new(shape)),
            accepted: 0,
            worker: None,
            beside: None,
            pending: Vec::new(),
            disk: Disk::default(),
            queue,
            gave_way: 0,
        }
    }

    fn accept(&mut self) {
        let (stream, second) = match self.shape.time {
            None => (format!("k{}", self.accepted % KEYS), self.accepted / KEYS),
            // The second port is a second behind the first.
            Some(_) if self.accepted % (2 * KEYS) < KEYS => {
                (format!("a/k{}", self.accepted % KEYS), self.accepted / (2 * KEYS))
            }
            Some(_) => {
                let second = (self.accepted / (2 * KEYS)).saturating_sub(1);
                (format!("b/k{}", self.accepted % KEYS), second)
            }
        };
        self.accepted += 1;
        let time_ns = second as i64 * 1_000_000_000;
        self.route.accept(&stream, time_ns, vec![second as f64]).unwrap();
        if let Some(worker) = &mut self.worker {
            worker.feed.accepted();
        }
        let waiting = match &self.worker {
            Some(worker) => worker.feed.backlog(),
            None => self.route.waiting(),
        };
        if self.queue.is_some_and(|max| waiting > max) {
            assert!(self.route.drop_oldest(self.worker.as_mut().map(|worker| &mut worker.feed)));
            self.gave_way += 1;
        }
    }

    fn feed(&mut self) {
        if let Some(worker) = &mut self.worker {
            worker.sent.extend(worker.feed.take(&self.route, 4, 8));
        }
        let Some(beside) = &mut self.beside else { return };
        beside.sent.extend(beside.follower.take(&self.route, 4, 8));
        if beside.takes_over && beside.follower.is_level() {
            let Some(Beside { pipeline, follower, sent, said, .. }) = self.beside.take() else {
                return;
            };
            let feed = follower.lead(&self.route);
            self.worker = Some(Worker { pipeline, feed, sent, said });
        }
    }

    fn listen(&mut self) {
        if let Some(beside) = &mut self.beside {
            beside.listen(&self.route);
        }
        let Some(worker) = &mut self.worker else { return };
        match worker.said.pop_front() {
            Some(Said::Outcome(outcome)) => {
                let streams = lasts(&outcome);
                let settled = self.route.settle(&worker.feed, outcome).unwrap();
                if let Some(beside) = &mut self.beside {
                    for settled in &settled {
                        beside.follower.settled(&self.route, settled);
                    }
                }
                self.pending.extend(settled);
                if self.beside.as_ref().is_none_or(|beside| !beside.follower.needs_kept()) {
                    for (stream, _) in streams {
                        self.route.trim(&stream, Some(&worker.feed));
                    }
                }
            }
            Some(Said::Done) => assert!(worker.feed.done(1)),
            None => {}
        }
    }

    /// The streams that there are.
    fn streams(&self) -> Vec<String> {
        let keys = (0..KEYS).map(|key| format!("k{key}"));
        match self.shape.time {
            None => keys.collect(),
            Some(_) => keys.flat_map(|key| [format!("a/{key}"), format!("b/{key}")]).collect(),
        }
    }

    fn commit(&mut self, works: bool) {
        let step = self.route.journal();
        if !works {
            self.route.unwritten(step);
            return;
        }
        let JournalStep { chunk, gone, streams, begun } = step;
        assert_eq!(begun, BTreeMap::new(), "streams begin at reading 0");
        self.disk.streams.extend(streams);
        gone.iter().for_each(|chunk| {
            self.disk.chunks.remove(chunk);
        });
        self.disk.chunks.extend(chunk);
        self.disk.frames.append(&mut self.pending);
        self.disk.accepted = self.accepted;
    }

    fn power_cut(&mut self) {
        let chunks = self.disk.chunks.clone().into_iter().collect();
        self.route = route_of(Route::restore(self.shape, self.disk.streams.clone(), chunks));
        self.accepted = self.disk.accepted;
        self.pending.clear();
        self.beside = None;
        self.worker = None;
    }

    fn start(&mut self, careful: bool) {
        self.worker = Some(Worker::new(self.shape, Feed::again(&self.route, careful)));
    }
}

/// A route whose streams are those of two ports where it goes by time.
fn route_of(mut route: Route) -> Route {
    let is_joined = route.shape().time.is_some();
    route.set_joined(is_joined);
    route
}

/// Gives how many readings gave way.
fn story(seed: u64, shape: Shape, readings: u64, queue: Option<usize>) -> u64 {
    let mut chance = Chance(seed * 2 + 1);
    for _ in 0..8 {
        // The first numbers of neighboring seeds are alike.
        chance.below(2);
    }
    let mut slot = Slot::new(shape, queue);
    for _ in 0..readings * 8 {
        match chance.below(100) {
            0 => slot.worker = None,
            1 if chance.below(3) == 0 => slot.beside = None,
            2 => match &mut slot.beside {
                None => slot.beside = Some(Beside::new(&slot, chance.below(2) == 0)),
                // A shadow is to take the route; not always is there time to wait for a moment.
                Some(beside) => {
                    beside.takes_over = true;
                    if chance.below(2) == 0 {
                        beside.follower.end(&slot.route);
                    }
                }
            },
            3 if chance.below(4) == 0 => slot.power_cut(),
            4..8 => slot.commit(chance.below(4) > 0),
            8..30 if slot.accepted < readings => slot.accept(),
            30..50 => slot.feed(),
            50..75 => {
                slot.worker.iter_mut().for_each(Worker::work);
                slot.beside.iter_mut().for_each(Beside::work);
            }
            75..98 => slot.listen(),
            98.. if slot.worker.is_none() => slot.start(chance.below(2) == 0),
            _ => {}
        }
        let kept = slot.route.kept() as u64;
        assert!(slot.route.waiting() as u64 <= slot.route.owed().min(kept), "seed {seed}");
    }
    // The rest of the recording, without disorder.
    slot.power_cut();
    slot.start(false);
    for _ in 0..readings * 20 {
        if slot.accepted < readings {
            slot.accept();
        }
        slot.feed();
        slot.worker.as_mut().unwrap().work();
        slot.listen();
        slot.listen();
        let Worker { feed, said, .. } = slot.worker.as_ref().unwrap();
        if slot.accepted == readings && feed.has_taken_all(&slot.route) && said.is_empty() {
            break;
        }
    }
    let mut worker = slot.worker.take().unwrap();
    assert_eq!(worker.feed.backlog(), 0, "seed {seed}");
    for stream in slot.streams() {
        slot.route.trim(&stream, Some(&worker.feed));
    }
    // What a fresh worker would be shown, and what is not whole yet; a queue is empty by now.
    let kept = slot.route.kept() as u64;
    let needed = slot.streams().len() as u64 * shape.warm_up + slot.route.owed();
    assert!(kept <= needed, "seed {seed}: {kept} are kept, {needed} are needed");
    for outcome in worker.pipeline.finish() {
        slot.pending.extend(slot.route.settle(&worker.feed, outcome).unwrap());
    }
    slot.pending.extend(slot.route.settle_rest("incomplete", "the recording ended in it"));
    slot.commit(true);
    assert_eq!(slot.route.owed(), 0);

    if shape.time.is_some() {
        check_joined(&slot, seed, readings);
        return slot.gave_way;
    }
    for key in 0..KEYS {
        let key = format!("k{key}");
        let mut owed = 0;
        let frames: Vec<_> = slot.disk.frames.iter().filter(|frame| frame.key == key).collect();
        for frame in frames {
            assert_eq!(frame.first, owed, "seed {seed}: {frame:?} of {key} lost or doubled");
            owed = frame.last + 1;
            match &frame.result {
                Ok(parts) => {
                    assert_eq!(frame.frame, frame.first / shape.stride);
                    let expected = (frame.first + shape.rows - 1) as f64;
                    assert_eq!(parts[0].outputs["x"], Value::Number(expected), "seed {seed}");
                    assert_eq!(frame.inputs.len() as u64, shape.stride, "seed {seed}: {frame:?}");
                }
                Err(failure) if queue.is_some() => {
                    assert!(["incomplete", "gap"].contains(&failure.reason.as_str()), "{frame:?}");
                }
                Err(failure) => {
                    assert_eq!(failure.reason, "incomplete");
                    assert!(frame.first + shape.rows > readings / KEYS, "seed {seed}: {frame:?}");
                }
            }
        }
        assert_eq!(owed, readings / KEYS, "seed {seed}: {key}");
    }
    slot.gave_way
}

/// Each stream's readings are accounted for once and in order; each frame is answered once at most, and rightly.
fn check_joined(slot: &Slot, seed: u64, readings: u64) {
    let mut owed: BTreeMap<String, u64> = BTreeMap::new();
    let mut answered = BTreeSet::new();
    for frame in &slot.disk.frames {
        let own = (frame.stream().to_owned(), frame.first, frame.last);
        let others = frame.more.others.iter();
        let others = others.map(|(stream, span, _)| (stream.clone(), span.first, span.last));
        for (stream, first, last) in others.chain([own]) {
            let owed = owed.entry(stream).or_default();
            assert_eq!(first, *owed, "seed {seed}: {frame:?} lost or doubled");
            *owed = last + 1;
        }
        match &frame.result {
            Ok(parts) => {
                let outputs = &parts[0].outputs;
                let (x, y) = ((4 * frame.frame + 7) as f64, (4 * frame.frame + 6) as f64);
                assert_eq!(outputs["x"], Value::Number(x), "seed {seed}: {frame:?}");
                assert_eq!(outputs["y"], Value::Number(y), "seed {seed}: {frame:?}");
                assert!(answered.insert((&frame.key, frame.frame)), "seed {seed}: {frame:?} again");
            }
            Err(failure) => {
                let known = ["incomplete", "gap"].contains(&failure.reason.as_str());
                assert!(known, "seed {seed}: {frame:?}");
            }
        }
    }
    assert!(owed.values().all(|owed| *owed == readings / (2 * KEYS)), "seed {seed}: {owed:?}");
    if slot.queue.is_none() {
        // The last stride is half of a frame.
        let whole = readings / (2 * KEYS) / 4 - 1;
        assert_eq!(answered.len() as u64, KEYS * whole, "seed {seed}");
    }
}

#[test]
fn no_disorder_loses_or_doubles_a_reading_of_ports_that_are_joined() {
    let Cut::Time(cut) = BundleFile::parse(PAIR).unwrap().cut() else { panic!("not by time") };
    let mut gave_way = 0;
    for seed in 0..300 {
        let shape = Shape { rows: 1, stride: 1, warm_up: 2 + seed % 3 * 10, time: Some(cut) };
        story(seed, shape, 480, None);
        gave_way += story(seed, shape, 480, Some(12));
    }
    assert!(gave_way > 1000, "{gave_way}");
}

#[test]
fn no_disorder_loses_or_doubles_a_reading() {
    let shapes = [(1, 1, 0), (6, 6, 0), (6, 2, 10), (3, 3, 20), (5, 4, 7)];
    for seed in 0..300 {
        let (rows, stride, warm_up) = shapes[seed as usize % shapes.len()];
        assert_eq!(story(seed, Shape { rows, stride, warm_up, time: None }, 240, None), 0);
    }
}

#[test]
fn whatever_gives_way_in_any_disorder_each_reading_has_one_frame_and_every_answer_is_right() {
    let shapes = [(1, 1, 0), (6, 6, 0), (6, 2, 10), (3, 3, 20), (5, 4, 7)];
    let mut gave_way = 0;
    for seed in 0..300 {
        let (rows, stride, warm_up) = shapes[seed as usize % shapes.len()];
        gave_way += story(seed, Shape { rows, stride, warm_up, time: None }, 240, Some(12));
    }
    assert!(gave_way > 1000, "{gave_way}");
}

#[test]
fn a_candidate_warms_up_though_readings_give_way_before_it_has_seen_them() {
    let shape = Shape { rows: 2, stride: 2, warm_up: 100, time: None };
    let mut slot = Slot::new(shape, Some(4));
    slot.start(false);
    let answer = |slot: &mut Slot| {
        slot.feed();
        let worker = slot.worker.as_mut().unwrap();
        (0..8).for_each(|_| worker.work());
        (0..16).for_each(|_| slot.listen());
    };
    for _ in 0..60 {
        slot.accept();
        answer(&mut slot);
    }
    slot.beside = Some(Beside::new(&slot, true));
    slot.feed();
    assert!(slot.beside.is_some(), "there is more than fits on its way");
    // The worker is overloaded meanwhile: it is sent nothing, and readings give way.
    (0..20).for_each(|_| slot.accept());
    assert!(slot.gave_way >= 10, "{}", slot.gave_way);
    for _ in 0..100 {
        answer(&mut slot);
        slot.beside.iter_mut().for_each(Beside::work);
    }
    assert!(slot.beside.is_none(), "it is never warm");
}

#[test]
fn readings_that_only_warm_a_worker_up_take_nobodys_room() {
    let shape = Shape { rows: 2, stride: 2, warm_up: 100, time: None };
    let mut slot = Slot::new(shape, Some(4));
    slot.start(false);
    for _ in 0..60 {
        slot.accept();
        slot.feed();
        let worker = slot.worker.as_mut().unwrap();
        (0..4).for_each(|_| worker.work());
        (0..8).for_each(|_| slot.listen());
    }
    assert_eq!(slot.gave_way, 0);
    // Another worker: it is shown sixty readings again, of which none is owed.
    slot.start(false);
    slot.feed();
    assert_eq!(slot.worker.as_ref().unwrap().feed.backlog(), 0);
    (0..4).for_each(|_| slot.accept());
    assert_eq!(slot.gave_way, 0, "there was room for four");
    slot.accept();
    assert_eq!(slot.gave_way, 1);
}

#[test]
fn what_is_kept_stays_bounded_though_one_stream_falls_silent() {
    let shape = Shape { rows: 6, stride: 6, warm_up: 0, time: None };
    let mut route = Route::new(shape);
    let mut feed = Feed::again(&route, false);
    let mut worker = pipeline(shape);
    let mut chunks = BTreeMap::new();
    for number in 0..5000u64 {
        let key = if number < 3 { "silent" } else { "busy" };
        route.accept(key, 0, vec![0.0]).unwrap();
        feed.accepted();
        for reading in feed.take(&route, 64, 64) {
            for outcome in worker.push(&*reading) {
                route.settle(&feed, outcome).unwrap();
            }
            feed.done(1);
        }
        route.trim("busy", Some(&feed));
        let step = route.journal();
        step.gone.iter().for_each(|chunk| {
            chunks.remove(chunk);
        });
        chunks.extend(step.chunk);
        assert!(route.kept() < 12, "{} readings are kept", route.kept());
        assert!(chunks.len() <= 34, "{} chunks are kept", chunks.len());
    }
    let restored = Route::restore(
        shape,
        BTreeMap::from([("silent".into(), StreamState { next: 3, accounted: 0 })]),
        chunks.into_iter().collect(),
    );
    assert_eq!(restored.kept(), route.kept());
}

#[test]
fn a_restart_after_a_change_of_the_port_finds_values_and_names_of_one_kind() {
    let shape = Shape { rows: 4, stride: 4, warm_up: 0, time: None };
    let mut route = Route::new(shape);
    let mut disk = BTreeMap::new();
    let values = |route: &Route| {
        let mut feed = Feed::again(route, false);
        let readings = feed.take(route, 64, 64);
        readings.into_iter().map(|reading| reading.values.clone()).collect::<Vec<_>>()
    };
    let write = |disk: &mut BTreeMap<_, _>, step: JournalStep| {
        step.gone.iter().for_each(|chunk| {
            disk.remove(chunk);
        });
        disk.extend(step.chunk);
    };
    let restored = |disk: &BTreeMap<_, _>| {
        let state = StreamState { next: 3, accounted: 0 };
        let chunks = disk.clone().into_iter().collect();
        Route::restore(shape, BTreeMap::from([(String::new(), state)]), chunks)
    };
    for number in 0..3 {
        route.accept("", 0, vec![f64::from(number), 100.0]).unwrap();
        write(&mut disk, route.journal());
    }
    let before = [[0.0, 100.0], [1.0, 100.0], [2.0, 100.0]];
    assert_eq!(values(&restored(&disk)), before);
    // The port changes while a commit with the old order is under way.
    route.accept("other", 0, vec![3.0, 100.0]).unwrap();
    let under_way = route.journal();
    route.map_values(|values| vec![values[1], values[0]]);
    route.unwritten(under_way);
    assert_eq!(values(&restored(&disk)), before, "names and values change together");
    // The first attempt to write the new order fails.
    let failed = route.journal();
    route.unwritten(failed);
    write(&mut disk, route.journal());
    assert_eq!(disk.len(), 1, "nothing of the old order is left");
    assert_eq!(values(&restored(&disk)), [[100.0, 0.0], [100.0, 1.0], [100.0, 2.0], [100.0, 3.0]]);
}

#[test]
fn readings_that_gave_way_belong_to_frames_without_an_answer() {
    let shape = Shape { rows: 4, stride: 4, warm_up: 0, time: None };
    let mut route = Route::new(shape);
    let mut feed = Feed::again(&route, false);
    for number in 0..20 {
        route.accept("", 0, vec![f64::from(number)]).unwrap();
        feed.accepted();
    }
    // The first reading was sent before the queue was full.
    let mut sent = feed.take(&route, 1, 64);
    (0..9).for_each(|_| assert!(route.drop_oldest(Some(&mut feed))));
    sent.extend(feed.take(&route, 64, 64));
    let mut worker = pipeline(shape);
    let mut said = Vec::new();
    for reading in sent {
        for outcome in worker.push(&*reading) {
            for settled in route.settle(&feed, outcome).unwrap() {
                let result = settled.result.map(|_| ()).map_err(|failure| failure.reason);
                said.push((settled.frame, settled.first, settled.last, result));
            }
        }
    }
    let failed = |reason: &str| Err(reason.to_owned());
    assert_eq!(
        said,
        [
            (0, 0, 3, failed("incomplete")),
            (1, 4, 7, failed("gap")),
            (2, 8, 11, failed("incomplete")),
            (3, 12, 15, Ok(())),
            (4, 16, 19, Ok(())),
        ]
    );
    assert_eq!(route.owed(), 0);
}

#[test]
fn a_reading_over_which_workers_die_costs_its_frame_and_no_other() {
    let shape = Shape { rows: 2, stride: 2, warm_up: 0, time: None };
    let mut route = Route::new(shape);
    (0..6).for_each(|n| assert_eq!(route.accept("", 0, vec![n as f64]), Some(n)));
    let mut feed = Feed::again(&route, true);
    let mut sent = Vec::new();
    let mut worker = pipeline(shape);
    loop {
        let readings = feed.take(&route, 64, 64);
        assert!(readings.len() <= 1, "a careful feed sends one at a time");
        let Some(reading) = readings.into_iter().next() else { break };
        sent.push(reading.sequence);
        if reading.sequence == 3 {
            assert_eq!(feed.suspect(), Some((String::new(), 3)));
            break;
        }
        for outcome in worker.push(&*reading) {
            assert_eq!(route.settle(&feed, outcome).unwrap().len(), 1);
        }
        feed.done(1);
    }
    assert_eq!(sent, [0, 1, 2, 3]);
    let given_up = route.skip("", 3);
    assert_eq!((given_up.len(), given_up[0].frame), (1, 1));
    assert_eq!(given_up[0].result.as_ref().unwrap_err().reason, "worker_died");
    let mut worker = pipeline(shape);
    let mut feed = Feed::again(&route, false);
    let mut settled = Vec::new();
    for reading in feed.take(&route, 64, 64) {
        assert_ne!(reading.sequence, 3);
        for outcome in worker.push(&*reading) {
            settled.extend(route.settle(&feed, outcome).unwrap());
        }
    }
    assert_eq!(settled.len(), 1);
    assert_eq!((settled[0].frame, settled[0].result.is_ok()), (2, true));
}

fn outcome(key: &str, frame: u64, first: u64, last: u64) -> FrameOutcome {
    FrameOutcome {
        key: key.into(),
        frame,
        first,
        last,
        spans: vec![],
        unused: Unused::default(),
        time_unix_ns: 0,
        result: Ok(vec![]),
        instead: None,
        said: Default::default(),
        elapsed: std::time::Duration::ZERO,
    }
}

#[test]
fn a_worker_cannot_answer_what_it_has_not_seen() {
    let mut route = Route::new(Shape { rows: 6, stride: 6, warm_up: 0, time: None });
    (0..8).for_each(|n| assert_eq!(route.accept("a", 0, vec![0.0]), Some(n)));
    let mut feed = Feed::again(&route, false);
    assert_eq!(feed.take(&route, 6, 64).len(), 6);
    for (key, frame, first, last) in [
        ("b", 0, 0, 5),
        ("a", 1, 0, 5),
        ("a", 0, 0, 6),
        // Accepted, but not sent to it.
        ("a", 1, 6, 7),
        ("a", 1, 6, 11),
        ("a", 2, 7, 6),
        ("a", 2, 12, 17),
        ("a", 0, 5, 0),
        ("a", u64::MAX / 6, u64::MAX, u64::MAX),
    ] {
        assert!(route.settle(&feed, outcome(key, frame, first, last)).is_err(), "{key} {frame}");
    }
    assert_eq!(route.settle(&feed, outcome("a", 0, 0, 5)).unwrap().len(), 1);
    assert_eq!(route.settle(&feed, outcome("a", 0, 0, 5)).unwrap().len(), 0);
}

#[test]
fn what_the_end_of_a_stream_brings_is_taken_once_wherever_it_ends() {
    let mut route = Route::new(Shape { rows: 6, stride: 6, warm_up: 0, time: None });
    (0..8).for_each(|n| assert_eq!(route.accept("a", 0, vec![0.0]), Some(n)));
    let mut feed = Feed::again(&route, false);
    assert_eq!(feed.take(&route, 64, 64).len(), 8);
    // In the middle of the second frame; the number after that one's is what a pipeline gives it.
    let end = || outcome("a", 2, 8, 7);
    assert_eq!(route.settle(&feed, outcome("a", 0, 0, 5)).unwrap().len(), 1);
    assert_eq!(route.settle(&feed, outcome("a", 1, 6, 7)).unwrap().len(), 1);
    assert_eq!(route.settle(&feed, end()).unwrap().len(), 1);
    assert_eq!(route.owed(), 0);
    // Another worker is told that the recording ends, because the first one died over it.
    let mut feed = Feed::again(&route, false);
    feed.take(&route, 64, 64);
    assert_eq!(route.settle(&feed, end()).unwrap().len(), 0);
}

#[test]
fn streams_of_a_slot_that_was_forgotten_begin_where_no_number_was_given_and_lose_no_reading() {
    let shape = Shape { rows: 6, stride: 3, warm_up: 0, time: None };
    let mut route = Route::new(shape).numbered_from(1 << 40);
    let first = (1_u64 << 40).next_multiple_of(3);
    for reading in 0..6 {
        assert_eq!(route.accept("a", 0, vec![0.0]), Some(first + reading));
    }
    let step = route.journal();
    assert_eq!(step.begun, BTreeMap::from([("a".to_owned(), first)]));
    let begun = step.begun.clone();
    route.unwritten(step);
    assert_eq!(route.journal().begun, begun, "what could not be written is in the next step");
    let mut feed = Feed::again(&route, false);
    assert_eq!(feed.take(&route, 100, 100).len(), 6);
    let outcome = FrameOutcome {
        key: "a".into(),
        frame: first / 3,
        first,
        last: first + 2,
        spans: vec![],
        unused: Unused::default(),
        time_unix_ns: 0,
        elapsed: Duration::ZERO,
        result: Ok(vec![]),
        instead: None,
        said: Default::default(),
    };
    let settled = route.settle(&feed, outcome).unwrap();
    let spans: Vec<_> = settled.iter().map(|it| (it.first, it.last, it.result.is_ok())).collect();
    assert_eq!(spans, [(first, first + 2, true)]);
}
