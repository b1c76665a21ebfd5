//! What one worker has been sent of the readings that a route keeps.

use super::{Reading, Route};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// How far one worker has been fed.
#[derive(Debug, Clone)]
pub struct Feed {
    cursor: u64,
    sent: Sent,
    /// Readings owed from the cursor on.
    waiting: usize,
    /// Sent, and not yet taken as far as the worker has said.
    in_flight: VecDeque<InFlight>,
    /// How many of these were owed.
    owed_in_flight: usize,
    /// Only what is accounted for already, so that nothing the worker answers counts.
    warming: bool,
    /// Readings before this place are sent one at a time, to see which one kills the worker.
    careful_until: u64,
}

#[derive(Debug, Clone, Copy)]
struct InFlight {
    /// The place of its stream among those sent.
    stream: usize,
    sequence: u64,
    owed: bool,
}

/// How far each stream has been sent. Of some the route knows nothing: they were captured before. So each
/// has a place of its own here.
#[derive(Debug, Clone, Default)]
struct Sent {
    places: BTreeMap<String, usize>,
    /// The name, and the next reading that the worker has not been sent.
    streams: Vec<(String, u64)>,
    /// The places here of the route's streams, by their places there; none of what was not sent yet.
    of_route: Vec<Option<usize>>,
}

impl Sent {
    fn place(&mut self, key: &str) -> usize {
        match self.places.get(key) {
            Some(place) => *place,
            None => {
                let place = self.streams.len();
                self.places.insert(key.to_owned(), place);
                self.streams.push((key.to_owned(), 0));
                place
            }
        }
    }

    /// The place of a stream that the route has at the place `there`.
    fn place_of(&mut self, route: &Route, there: usize) -> usize {
        match self.of_route.get(there) {
            Some(Some(place)) => *place,
            _ => {
                let place = self.place(&route.streams.at(there).key);
                self.of_route.resize(self.of_route.len().max(there + 1), None);
                self.of_route[there] = Some(place);
                place
            }
        }
    }
}

impl Feed {
    /// For a worker that is to see only what has been accounted for, until [`Feed::go_live`].
    pub fn warming(route: &Route) -> Feed {
        Feed {
            cursor: 0,
            sent: Sent::default(),
            waiting: route.waiting,
            in_flight: VecDeque::new(),
            owed_in_flight: 0,
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

    /// A reading that waited has been dropped.
    pub(super) fn dropped(&mut self) {
        self.waiting = self.waiting.saturating_sub(1);
    }

    /// The place in the slot's order before which the worker has been sent all that is for it.
    pub(super) fn cursor(&self) -> u64 {
        self.cursor
    }

    /// Readings owed that the worker on the route has not taken yet. Those that only warm it up
    /// again take nobody's room.
    pub fn backlog(&self) -> usize {
        self.waiting + self.owed_in_flight
    }

    /// Readings sent that the worker has not said it has taken.
    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// Whether the worker has taken everything that there is for it.
    pub fn has_taken_all(&self, route: &Route) -> bool {
        self.in_flight.is_empty() && route.kept.range(self.cursor).next().is_none()
    }

    /// The next readings for the worker, at most `count`, with never more than `in_flight_max` on
    /// their way.
    pub fn take(&mut self, route: &Route, count: usize, in_flight_max: usize) -> Vec<Arc<Reading>> {
        let careful = self.cursor < self.careful_until;
        let in_flight_max = if careful { 1 } else { in_flight_max };
        let room = in_flight_max.saturating_sub(self.in_flight.len());
        let count = count.min(room).min(if careful { 1 } else { usize::MAX });
        let mut readings = Vec::new();
        if count == 0 {
            return readings;
        }
        let mut rest = route.kept.range(self.cursor);
        loop {
            let Some((order, kept)) = rest.next() else {
                self.waiting = 0;
                break;
            };
            let Reading { key, sequence, .. } = &*kept.reading;
            self.cursor = order + 1;
            let stream = self.sent.place_of(route, kept.stream);
            let owed = *sequence >= route.streams.at(kept.stream).state.accounted;
            self.waiting = self.waiting.saturating_sub(usize::from(owed));
            let skipped =
                !route.skipped.is_empty() && route.skipped.contains(&(key.clone(), *sequence));
            let next = &mut self.sent.streams[stream].1;
            if *sequence < *next || (self.warming && owed) || skipped {
                continue;
            }
            *next = sequence + 1;
            self.in_flight.push_back(InFlight { stream, sequence: *sequence, owed });
            self.owed_in_flight += usize::from(owed);
            readings.push(kept.reading.clone());
            if readings.len() == count {
                break;
            }
        }
        readings
    }

    /// The next reading of a stream that the worker has not been sent.
    pub fn next(&self, key: &str) -> u64 {
        self.sent.places.get(key).map_or(0, |place| self.sent.streams[*place].1)
    }

    /// The worker is sent a reading that is accounted for, and that [`Feed::take`] need not give.
    pub fn sent(&mut self, reading: &Reading) {
        let Reading { key, sequence, .. } = reading;
        let stream = self.sent.place(key);
        self.sent.streams[stream].1 = sequence + 1;
        self.in_flight.push_back(InFlight { stream, sequence: *sequence, owed: false });
    }

    /// The worker has taken so many more. False if it was not sent as many.
    pub fn done(&mut self, count: u32) -> bool {
        let count = count as usize;
        let sent = count <= self.in_flight.len();
        let taken = self.in_flight.drain(..count.min(self.in_flight.len()));
        self.owed_in_flight -= taken.filter(|reading| reading.owed).count();
        sent
    }

    /// The readings on their way: stream and number.
    pub fn on_their_way(&self) -> Vec<(String, u64)> {
        self.in_flight.iter().map(|reading| self.named(reading)).collect()
    }

    /// The reading over which the worker died, where that is known: the only one on its way.
    pub fn suspect(&self) -> Option<(String, u64)> {
        match self.in_flight.len() {
            1 => self.in_flight.front().map(|reading| self.named(reading)),
            _ => None,
        }
    }

    fn named(&self, reading: &InFlight) -> (String, u64) {
        (self.sent.streams[reading.stream].0.clone(), reading.sequence)
    }
}
