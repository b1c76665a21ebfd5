//! The streams of a slot: each has a place, which it keeps, so that what is counted for every reading need
//! not be looked up by name.

use super::StreamState;
use lineside_runtime::is_same_key;
use std::collections::{BTreeMap, VecDeque};

/// A stream.
#[derive(Debug, Clone, Default)]
pub(super) struct Stream {
    /// Its name.
    pub key: String,
    pub state: StreamState,
    pub time_unix_ns: i64,
    /// Sequence number and place in the slot's order, of the readings kept.
    pub kept: VecDeque<(u64, u64)>,
    pub touched: bool,
    /// The number after the last reading, where what its end brings has been settled.
    pub ended_at: Option<u64>,
}

/// The streams of a slot; none ever goes.
#[derive(Debug, Clone, Default)]
pub(super) struct Streams {
    places: BTreeMap<String, usize>,
    all: Vec<Stream>,
    /// The place of the stream that was looked for last: readings often come many of one in a row.
    last: usize,
}

impl Streams {
    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// The place of a stream.
    pub(super) fn place(&self, key: &str) -> Option<usize> {
        match self.all.get(self.last) {
            Some(stream) if is_same_key(&stream.key, key) => Some(self.last),
            _ => self.places.get(key).copied(),
        }
    }

    /// As [`Streams::place`], of a stream that will soon be looked for again.
    pub(super) fn place_again(&mut self, key: &str) -> Option<usize> {
        let place = self.place(key)?;
        self.last = place;
        Some(place)
    }

    /// Takes a stream, or has it in place of the one of its name. Gives its place.
    pub(super) fn open(&mut self, stream: Stream) -> usize {
        match self.places.get(&stream.key) {
            Some(place) => {
                self.all[*place] = stream;
                *place
            }
            None => {
                let place = self.all.len();
                self.places.insert(stream.key.clone(), place);
                self.all.push(stream);
                place
            }
        }
    }

    /// The stream of this name.
    pub(super) fn get(&self, key: &str) -> Option<&Stream> {
        self.place(key).map(|place| &self.all[place])
    }

    /// The stream of this name, to be changed.
    pub(super) fn get_mut(&mut self, key: &str) -> Option<&mut Stream> {
        self.place(key).map(|place| &mut self.all[place])
    }

    /// The stream at a place that was given.
    pub(super) fn at(&self, place: usize) -> &Stream {
        &self.all[place]
    }

    /// The stream at a place that was given, to be changed.
    pub(super) fn at_mut(&mut self, place: usize) -> &mut Stream {
        &mut self.all[place]
    }

    /// All of them, by name.
    pub(super) fn by_name(&self) -> impl Iterator<Item = &Stream> {
        self.places.values().map(|place| &self.all[*place])
    }

    /// All of them by name, each to be changed.
    pub(super) fn each_by_name(&mut self, mut each: impl FnMut(&mut Stream)) {
        self.places.values().for_each(|place| each(&mut self.all[*place]));
    }
}
