//! What slots tell, counted: by a thread of the telemetry and not by theirs, which have frames to answer.

use crate::capture::Keep;
use crate::error::chain;
use crate::lock::lock;
use crate::telemetry::judging::{Fires, Judge};
use crate::telemetry::outcomes::{Changes, Heard, Joining, Outcome};
use crate::telemetry::summarise::Summariser;
use crate::update::StagedRelease;
use crate::worker::route::Settled;
use lineside_bundle::ReleaseId;
use lineside_drift::Profile;
use lineside_runtime::StoreFiles;
use lineside_wire::name::SlotName;
use lineside_wire::v1::{Alert, Body, Interval, Quality};
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::time::Instant;
use tokio::sync::watch;

/// Records that wait for the disk; beyond it they give way, and are counted.
const PENDING_MAX: usize = 1000;
/// Frames, and other things told, that wait to be counted, and values in them; who tells more counts them himself.
const WAITING_MAX: usize = 1024;
const WAITING_VALUES_MAX: usize = 1 << 18;
/// As many values as a reading takes place for beside its own, or an output that has a name.
const VALUES_BESIDE: usize = 16;

/// Something that a slot tells, or somebody of it.
pub(super) enum Told {
    /// A release takes the route.
    Placed(SlotName, Box<StagedRelease>),
    /// Nothing has the route any more.
    Vacated(SlotName),
    /// Frames were accounted for.
    Frames(SlotName, Vec<(Arc<ReleaseId>, Settled)>),
    /// Readings were dropped for a reason.
    Dropped(SlotName, String, u64),
    /// Frames were compared with those of a release beside the route, and so many agreed.
    Compared(SlotName, u64, u64),
    /// Frames were committed twice.
    Doubled(SlotName, u64),
    /// Something that becomes a record as it is.
    Body(Body),
}

/// What is to be written.
pub(super) struct Counts {
    /// Records.
    pub bodies: Vec<Body>,
    /// The interval of each slot that is open.
    pub open: BTreeMap<String, Option<Interval>>,
    /// How far the rules of each slot are where that has changed; none where nothing is to be kept.
    pub judged: BTreeMap<String, Option<Vec<u8>>>,
    /// What outcomes say that are not told yet.
    pub qualities: Vec<Quality>,
    /// What has changed of the answers of each slot where something has.
    pub answers: BTreeMap<String, Option<Changes>>,
    /// Records that found no place.
    pub gave_way: u64,
}

/// Counts what is told, in the order in which it was told.
pub(super) struct Counting {
    waiting: Mutex<Waiting>,
    /// Locked before `waiting`, where both are.
    counted: Mutex<Counted>,
}

#[derive(Default)]
struct Waiting {
    told: Vec<Told>,
    count: usize,
    values: usize,
}

/// What counts a slot, and what judges it by that.
pub(super) struct Counter {
    summariser: Summariser,
    judge: Judge,
}

impl Counter {
    /// Intervals last as the judge wants them.
    pub(super) fn new(mut summariser: Summariser, judge: Judge) -> Counter {
        summariser.set_interval(judge.interval_ms());
        Counter { summariser, judge }
    }

    /// Has an interval judged that has ended.
    fn judge(&mut self, ended: &Interval) -> Vec<Alert> {
        let alerts = self.judge.take(ended);
        self.summariser.set_interval(self.judge.interval_ms());
        alerts
    }
}

struct Counted {
    slots: BTreeMap<SlotName, Counter>,
    joinings: BTreeMap<SlotName, Joining>,
    pending: Vec<Body>,
    gave_way: u64,
    changed: bool,
}

impl Counting {
    /// Of these slots.
    pub(super) fn new(
        slots: BTreeMap<SlotName, Counter>,
        joinings: BTreeMap<SlotName, Joining>,
    ) -> Counting {
        let counted = Counted { slots, joinings, pending: vec![], gave_way: 0, changed: false };
        Counting { waiting: Mutex::default(), counted: Mutex::new(counted) }
    }

    /// Takes what is told. It is counted later, unless too much waits already.
    pub(super) fn tell(&self, told: Told) {
        let mut waiting = lock(&self.waiting);
        let is_full = waiting.count >= WAITING_MAX || waiting.values >= WAITING_VALUES_MAX;
        let (count, values) = size(&told);
        waiting.count += count;
        waiting.values += values;
        waiting.told.push(told);
        drop(waiting);
        if is_full {
            self.count();
        }
    }

    /// Counts what was told. True if something is to be written soon.
    pub(super) fn count(&self) -> bool {
        let mut counted = lock(&self.counted);
        let told = self.told();
        counted.take(told);
        !counted.pending.is_empty()
    }

    /// Counts outcomes, heard at `now` by the device's clock and since, after what was told before them.
    pub(super) fn outcomes(&self, outcomes: Vec<Outcome>, now: (i64, Instant)) -> Heard {
        let mut counted = lock(&self.counted);
        let told = self.told();
        counted.take(told);
        let mut heard = Heard::default();
        for outcome in outcomes {
            match outcome.slot().and_then(|slot| counted.joinings.get_mut(&slot)) {
                Some(joining) => joining.outcome(outcome, now, &mut heard),
                None => heard.unknown.push(outcome.finding),
            }
            counted.changed = true;
        }
        heard
    }

    /// What waits to be counted. Nobody who tells more waits until it is.
    fn told(&self) -> Vec<Told> {
        std::mem::take(&mut *lock(&self.waiting)).told
    }

    /// What is to be written, with all that was told; none where nothing has changed.
    pub(super) fn counts(&self) -> Option<Counts> {
        let mut counted = lock(&self.counted);
        let told = self.told();
        counted.take(told);
        counted.look();
        let now = Instant::now();
        counted.push_due(now);
        if !counted.changed && counted.pending.is_empty() {
            return None;
        }
        counted.changed = false;
        let open = counted.slots.iter();
        let open = open.map(|(slot, of)| (slot.to_string(), of.summariser.open().cloned()));
        let open = open.collect();
        let judged = counted.slots.iter_mut();
        let judged =
            judged.filter_map(|(slot, of)| Some((slot.to_string(), of.judge.unwritten_bytes()?)));
        let judged = judged.collect();
        let qualities = counted.joinings.values().flat_map(Joining::open).cloned().collect();
        let answers = counted.joinings.iter_mut();
        let answers =
            answers.filter_map(|(slot, of)| Some((slot.to_string(), Some(of.changes()?))));
        let answers = answers.collect();
        let bodies = std::mem::take(&mut counted.pending);
        let gave_way = std::mem::take(&mut counted.gave_way);
        Some(Counts { bodies, open, judged, qualities, answers, gave_way })
    }

    /// Tells the slots what their rules wanted when that was handed out last, once the disk was asked to take it.
    pub(super) fn tell_slots(&self) {
        lock(&self.counted).slots.values().for_each(|of| of.judge.tell());
    }

    /// What the rules of a slot want that fire.
    pub(super) fn fires(&self, slot: &SlotName) -> Option<watch::Receiver<Fires>> {
        lock(&self.counted).slots.get(slot).map(|of| of.judge.fires())
    }

    /// Has a release on the route of which outcomes are heard.
    #[cfg(test)]
    pub(super) fn ask(
        &self,
        slot: &SlotName,
        release: &ReleaseId,
        bundle: &lineside_bundle::BundleFile,
    ) {
        lock(&self.counted).joinings.get_mut(slot).unwrap().placed(release, bundle);
    }

    /// The last firings of a slot that want what comes in to be kept.
    pub(super) fn keeps(&self, slot: &SlotName) -> Option<watch::Receiver<Option<Vec<Keep>>>> {
        lock(&self.counted).slots.get(slot).map(|of| of.judge.keeps())
    }

    /// Takes back what could not be written; it waits before what came since.
    pub(super) fn unwritten(
        &self,
        bodies: Vec<Body>,
        answers: &BTreeMap<String, Option<Changes>>,
        gave_way: u64,
    ) {
        let mut counted = lock(&self.counted);
        for (slot, joining) in &mut counted.joinings {
            if let Some(Some(changes)) = answers.get(slot.as_str()) {
                joining.unwritten(changes);
            }
        }
        counted.changed = true;
        // As it was when this was counted, or newer, and then with what has come since.
        counted.slots.values_mut().for_each(|of| of.judge.unwritten());
        counted.gave_way += gave_way;
        let newer = std::mem::take(&mut counted.pending);
        bodies.into_iter().chain(newer).for_each(|body| counted.push(body));
    }
}

/// Reads what the training data of a release looked like. Read here, because a slot has frames to answer.
fn profile(slot: &SlotName, placed: &StagedRelease) -> Option<Profile> {
    let manifest = placed.manifest.clone();
    let files = StoreFiles { folder: placed.blobs.clone(), manifest };
    lineside_runtime::profile(&placed.manifest, &files).unwrap_or_else(|error| {
        let (release, error) = (&placed.release, chain(error));
        tracing::warn!(%slot, "{release} is counted without its profile: {error}");
        None
    })
}

fn size(told: &Told) -> (usize, usize) {
    let Told::Frames(_, frames) = told else { return (1, 0) };
    let values = |settled: &Settled| {
        let others = settled.more.others.iter().map(|(.., inputs)| inputs);
        let inputs = others.chain([&settled.inputs]);
        let inputs = inputs.flatten().map(|reading| VALUES_BESIDE + reading.values.len());
        let parts = settled.result.iter().flatten();
        inputs.chain(parts.map(|part| VALUES_BESIDE * (1 + part.outputs.len()))).sum::<usize>()
    };
    (frames.len(), frames.iter().map(|(_, settled)| values(settled)).sum())
}

impl Counted {
    fn take(&mut self, told: Vec<Told>) {
        for told in told {
            self.changed |= !matches!(told, Told::Body(_));
            match told {
                Told::Placed(slot, placed) => {
                    let profile = profile(&slot, &placed);
                    let (release, bundle) = (&placed.release, &placed.manifest.bundle);
                    if let Some(joining) = self.joinings.get_mut(&slot) {
                        joining.placed(release, bundle);
                    }
                    // It may be the profile of the interval that this ends.
                    self.count(&slot, |of| of.judge.placed(&placed, profile.clone()));
                    let summarise =
                        |of: &mut Counter| of.summariser.placed(release, bundle, profile.as_ref());
                    if let Some(ended) = self.count(&slot, summarise).flatten() {
                        self.ended(&slot, ended);
                    }
                }
                Told::Vacated(slot) => {
                    let alerts = self.count(&slot, |of| of.judge.vacated());
                    self.push_alerts(alerts);
                }
                Told::Frames(slot, frames) => {
                    for (release, settled) in frames {
                        if let Some(joining) = self.joinings.get_mut(&slot) {
                            joining.frame(&release, &settled);
                        }
                        let ended = self.count(&slot, |of| of.summariser.ends(&release, &settled));
                        if let Some(ended) = ended.flatten() {
                            self.ended(&slot, ended);
                        }
                        self.count(&slot, |of| of.summariser.frame(&release, &settled));
                    }
                }
                Told::Dropped(slot, reason, count) => {
                    self.count(&slot, |of| of.summariser.dropped(&reason, count));
                }
                Told::Compared(slot, frames, agreed) => {
                    self.count(&slot, |of| of.summariser.compared(frames, agreed));
                }
                Told::Doubled(slot, count) => {
                    self.count(&slot, |of| of.summariser.doubled(count));
                }
                Told::Body(body) => self.push(body),
            }
        }
    }

    /// Takes an interval that has ended, and what is told because of it.
    fn ended(&mut self, slot: &SlotName, ended: Interval) {
        let alerts = self.count(slot, |of| of.judge(&ended));
        self.push(Body::Interval(Box::new(ended)));
        self.push_alerts(alerts);
    }

    /// Sees whether what the sites have signed wants something else by now.
    fn look(&mut self) {
        for of in self.slots.values_mut() {
            self.changed |= of.judge.look();
            of.summariser.set_interval(of.judge.interval_ms());
        }
    }

    /// Has one thing counted that a slot tells, or judged. Over one that cannot be, neither what waits behind it is
    /// lost nor the agent ends, and with it the answers of all slots: telemetry gives way.
    fn count<T>(&mut self, slot: &SlotName, count: impl FnOnce(&mut Counter) -> T) -> Option<T> {
        let counter = self.slots.get_mut(slot)?;
        // Its sums are the best that is known, with that one thing in part or not at all.
        let counted = catch_unwind(AssertUnwindSafe(|| count(counter)));
        if counted.is_err() {
            tracing::error!(%slot, "something that was told could not be counted; telemetry goes on without it");
        }
        counted.ok()
    }

    fn push_alerts(&mut self, alerts: Option<Vec<Alert>>) {
        for alert in alerts.into_iter().flatten() {
            self.push(Body::Alert(Box::new(alert)));
        }
    }

    /// Takes the sums of outcomes that are due, as many as there is room for.
    fn push_due(&mut self, now: Instant) {
        let mut joinings = std::mem::take(&mut self.joinings);
        for joining in joinings.values_mut() {
            let room = PENDING_MAX.saturating_sub(self.pending.len());
            for quality in joining.due(now, room) {
                self.push(Body::Quality(Box::new(quality)));
            }
        }
        self.joinings = joinings;
    }

    /// Has a record wait. Beyond the bound the oldest summary gives way, as in the spool, and another record only
    /// where there is none.
    fn push(&mut self, body: Body) {
        self.pending.push(body);
        if self.pending.len() > PENDING_MAX {
            let is_summary = |it: &Body| matches!(it, Body::Interval(_) | Body::Quality(_));
            let first = self.pending.iter().position(is_summary).unwrap_or(0);
            self.pending.remove(first);
            self.gave_way += 1;
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::telemetry::judging::JudgeParts;
    use crate::worker::route::Failure;
    use lineside_bundle::Digest;
    use lineside_runtime::{Reading, Span};
    use lineside_wire::v1::Event;
    use std::time::Duration;

    pub fn slot() -> SlotName {
        "line".parse().unwrap()
    }

    fn counting() -> Counting {
        let summariser = Summariser::new("line", 10_000, None);
        let policy = watch::Sender::default().subscribe();
        let parts = JudgeParts {
            slot: slot(),
            policy,
            has_values: false,
            captures: false,
            interval_ms: 10_000,
            written: None,
        };
        let counter = Counter::new(summariser, Judge::new(parts).0);
        Counting::new(BTreeMap::from([(slot(), counter)]), BTreeMap::new())
    }

    /// Frame `number`, in its own second, of a reading with so many values.
    pub(in crate::telemetry) fn frame(number: u64, values: usize) -> (Arc<ReleaseId>, Settled) {
        let (name, version) = ("echo".parse().unwrap(), "1".parse().unwrap());
        let release = ReleaseId { name, version, digest: Digest::of(b"1"), size: 7 };
        let values = vec![0.0; values];
        let reading = Reading { key: String::new(), sequence: number, time_unix_ns: 0, values };
        let settled = Settled {
            key: String::new(),
            frame: number,
            first: number,
            last: number,
            time_unix_ns: number as i64 * 1_000_000_000,
            elapsed: Duration::ZERO,
            result: Err(Failure::new("stage", "it is NaN")),
            inputs: vec![Arc::new(reading)],
            more: Default::default(),
        };
        (Arc::new(release), settled)
    }

    #[test]
    fn what_was_told_is_counted_in_its_order_and_written_once() {
        let counting = counting();
        assert!(counting.counts().is_none());
        counting.tell(Told::Frames(slot(), vec![frame(8, 1), frame(9, 1)]));
        counting.tell(Told::Dropped(slot(), "missing".into(), 3));
        assert!(!counting.count(), "nothing but an open interval");
        counting.tell(Told::Frames(slot(), vec![frame(10, 1)]));
        counting.tell(Told::Doubled(slot(), 2));
        assert!(counting.count(), "an interval has ended");
        let Counts { bodies, open, gave_way, .. } = counting.counts().unwrap();
        let [Body::Interval(ended)] = bodies.as_slice() else { panic!("{bodies:?}") };
        assert_eq!((ended.frames, ended.doubled, gave_way), (2, 0, 0));
        assert_eq!(ended.dropped, [("missing".to_owned(), 3)]);
        let open = open["line"].as_ref().unwrap();
        assert_eq!((open.frames, open.doubled, open.dropped.len()), (1, 2, 0));
        assert!(counting.counts().is_none());
        counting.unwritten(bodies, &BTreeMap::new(), 4);
        let again = counting.counts().unwrap();
        assert_eq!((again.bodies.len(), again.gave_way), (1, 4));
    }

    #[test]
    fn over_what_cannot_be_counted_nothing_else_is_lost() {
        // More readings than there are numbers for.
        let uncountable = |number| {
            let (release, mut settled) = frame(number, 1);
            let span = Span { first: 0, last: u64::MAX - 1 };
            settled.more.others = vec![("a/b".to_owned(), span, vec![]); 2];
            (release, settled)
        };
        let counting = counting();
        counting.tell(Told::Frames(slot(), vec![frame(7, 1), uncountable(8), frame(9, 1)]));
        counting.tell(Told::Doubled(slot(), 2));
        counting.tell(Told::Doubled(slot(), u64::MAX));
        // It ends an interval, which is whole.
        counting.tell(Told::Frames(slot(), vec![uncountable(10), frame(11, 1)]));
        counting.tell(Told::Dropped(slot(), "missing".into(), 3));
        let Counts { bodies, open, .. } = counting.counts().unwrap();
        let [Body::Interval(ended)] = bodies.as_slice() else { panic!("{bodies:?}") };
        assert_eq!((ended.frames, ended.readings, ended.doubled), (2, 2, 2));
        let open = open["line"].as_ref().unwrap();
        assert_eq!((open.frames, open.readings, &*open.dropped[0].0), (1, 1, "missing"));
    }

    #[test]
    fn while_the_disk_takes_nothing_the_oldest_summary_gives_way_first() {
        let counting = counting();
        let event = |number: u64| {
            let (slot, text) = ("line".to_owned(), number.to_string());
            Told::Body(Body::Event(Event { slot, kind: 1, release: None, text, at_unix_ms: 0 }))
        };
        // Three intervals end, and then there is no room but theirs.
        counting.tell(Told::Frames(slot(), (0..4).map(|number| frame(number * 10, 1)).collect()));
        (0..PENDING_MAX as u64 - 1).for_each(|number| counting.tell(event(number)));
        let Counts { bodies, gave_way, .. } = counting.counts().unwrap();
        let [Body::Interval(left), Body::Event(first), ..] = &*bodies else { panic!("{bodies:?}") };
        assert_eq!((bodies.len(), gave_way), (PENDING_MAX, 2));
        assert_eq!((left.start_unix_ms, &*first.text), (20_000, "0"));
        (0..2).for_each(|number| counting.tell(event(5000 + number)));
        counting.unwritten(bodies, &BTreeMap::new(), gave_way);
        let Counts { bodies, gave_way, .. } = counting.counts().unwrap();
        let [Body::Event(first), .., Body::Event(last)] = &*bodies else { panic!("{bodies:?}") };
        assert_eq!((bodies.len(), gave_way), (PENDING_MAX, 4));
        assert_eq!((&*first.text, &*last.text), ("1", "5001"));
    }

    #[test]
    fn where_nobody_counts_who_tells_does() {
        for values in [1, 1 << 10] {
            let counting = counting();
            for number in 0..5000 {
                counting.tell(Told::Frames(slot(), vec![frame(number, values)]));
                let waiting = lock(&counting.waiting);
                assert!(waiting.count <= WAITING_MAX + 1);
                assert!(waiting.values <= WAITING_VALUES_MAX + (1 << 10));
                assert_eq!(waiting.count, waiting.told.len());
            }
            let Counts { bodies, open, .. } = counting.counts().unwrap();
            assert_eq!(bodies.len(), 499);
            assert_eq!(open["line"].as_ref().unwrap().frames, 10);
        }
    }
}
