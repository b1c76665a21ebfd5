//! What a slot captures of itself, and what it shows of that to a worker beside the route.

use crate::capture::{Answer, Head, Past};
use crate::worker::intake::places;
use crate::worker::route::{Settled, WARM_UP_READINGS_MAX};
use crate::worker::running::WorkerEvent;
use crate::worker::task::Task;
use lineside_bundle::Digest;
use lineside_runtime::Reading;
use std::sync::Arc;
use std::time::Instant;

impl Task {
    /// What readings and answers mean from here on.
    pub(super) fn capture_head(&mut self) {
        let release = self.placed.as_ref().map(|placed| placed.release.release.digest);
        if let Some(capture) = &mut self.parts.capture {
            capture.head(Head { fields: self.record.fields.clone(), release });
        }
    }

    pub(super) fn capture_answer(&mut self, settled: &Settled) {
        let Some(capture) = &mut self.parts.capture else { return };
        if let Some(answer) = Answer::of(settled, self.route.shape()) {
            capture.answer(answer);
        }
    }

    pub(super) fn look_at_capture(&mut self) {
        let Some(capture) = &mut self.parts.capture else { return };
        capture.look(Instant::now());
        let dropped = capture.take_dropped();
        if dropped > 0 {
            self.record.counts.capture_dropped += dropped;
            self.commits.touch();
        }
    }

    /// Asks for what was captured; it comes as an event of `worker`. With answers, where they are to be
    /// `compared` with a release. False where nothing is captured.
    pub(super) fn ask_for_past(&mut self, worker: u64, compared: Option<Digest>) -> bool {
        let Some(capture) = &mut self.parts.capture else { return false };
        let past = capture.past(WARM_UP_READINGS_MAX as usize, compared);
        let events = self.events.clone();
        tokio::spawn(async move {
            let past = past.await.unwrap_or_default();
            // The slot is gone only when the agent stops.
            let _ = events.send((worker, WorkerEvent::Past(Box::new(past)))).await;
        });
        true
    }

    /// Captured readings that are accounted for, the last `warm_up` of each stream, with their values
    /// where the slot has them now. Those that lack one are left out.
    pub(super) fn readings_of(&self, past: &mut Past, warm_up: u64) -> Vec<Reading> {
        let fields = &self.record.fields;
        // Where the fields stand among the names of the reading before.
        let mut known: Arc<[String]> = Arc::new([]);
        let mut found = places(&known, fields);
        let mut readings = Vec::new();
        for (mut reading, names) in std::mem::take(&mut past.readings) {
            let accounted = self.route.stream(&reading.key).map_or(0, |stream| stream.accounted);
            if reading.sequence >= accounted || accounted - reading.sequence > warm_up {
                continue;
            }
            // A file may say so many names and have another number of values.
            if names.len() != reading.values.len() {
                continue;
            }
            if *names != **fields {
                if known != names {
                    found = places(&names, fields);
                    known = names.clone();
                }
                let Some(places) = &found else { continue };
                reading.values = places.iter().map(|at| reading.values[*at]).collect();
            }
            readings.push(reading);
        }
        readings
    }
}
