//! What was counted, in the text format of Prometheus (version 0.0.4).

use super::Api;
use crate::lock::lock;
use lineside_exposition::Family;
use lineside_exposition::Kind::{Counter, Gauge, Histogram};
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

/// Upper ends of the buckets of durations, in seconds.
const BUCKETS: [f64; 12] =
    [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 1.0, 5.0];

/// What was counted of requests.
#[derive(Default)]
pub(super) struct Metrics(Mutex<Known>);

#[derive(Default)]
struct Known {
    /// Answers by model and status.
    answers: BTreeMap<(String, u16), u64>,
    /// Durations by model: how many fell into each bucket, how many there are, and their sum in seconds.
    durations: BTreeMap<String, ([u64; BUCKETS.len()], u64, f64)>,
}

impl Metrics {
    /// Counts an answer of a model that is known; of others without a name.
    pub(super) fn answered(&self, model: &str, status: u16, took: Duration) {
        let mut known = lock(&self.0);
        *known.answers.entry((model.to_owned(), status)).or_default() += 1;
        if !model.is_empty() {
            let seconds = took.as_secs_f64();
            let (buckets, count, sum) = known.durations.entry(model.to_owned()).or_default();
            let bucket = BUCKETS.iter().position(|end| seconds <= *end);
            bucket.into_iter().for_each(|bucket| buckets[bucket] += 1);
            *count += 1;
            *sum += seconds;
        }
    }

    /// All of it, with what `api` knows besides.
    pub(super) fn text(&self, api: &Api) -> String {
        let mut families = self.of_requests();
        let mut waiting = Family::new(
            "lineside_api_rows_waiting",
            Gauge,
            "Rows that wait for a model or are run.",
        );
        for (name, found) in api.models() {
            waiting.sample(&[("model", &name)], found.model.waiting() as f64);
        }
        families.push(waiting);
        let slots = || api.slots.iter();
        for (name, help, of) in [
            ("lineside_api_batches_total", "Batches that were run.", 0),
            ("lineside_api_rows_total", "Rows of these batches.", 1),
            ("lineside_api_worker_deaths_total", "Workers for requests that died.", 2),
        ] {
            let mut family = Family::new(name, Counter, help);
            for (slot, known) in slots() {
                let counts = [&known.counts.batches, &known.counts.rows, &known.counts.deaths];
                family.sample(&[("slot", slot.as_str())], counts[of].load(Relaxed) as f64);
            }
            families.push(family);
        }
        for (name, help, of) in [
            ("lineside_readings_total", "Readings that the slot accepted.", 0),
            ("lineside_frames_total", "Frames that accounted for them.", 1),
            ("lineside_findings_total", "Findings of these frames.", 2),
            ("lineside_lost_total", "Readings that no frame accounts for.", 3),
            ("lineside_doubled_total", "Frames that were answered more than once.", 4),
        ] {
            let mut family = Family::new(name, Counter, help);
            for (slot, known) in slots() {
                let counts = &known.view.borrow().counts;
                let counts =
                    [counts.accepted, counts.frames, counts.findings, counts.lost, counts.doubled];
                family.sample(&[("slot", slot.as_str())], counts[of] as f64);
            }
            families.push(family);
        }
        let help = "Whether a worker answers readings.";
        let mut answering = Family::new("lineside_slot_answering", Gauge, help);
        for (slot, known) in slots() {
            let is_answering = known.view.borrow().answering;
            answering.sample(&[("slot", slot.as_str())], f64::from(u8::from(is_answering)));
        }
        families.push(answering);
        families.iter().map(Family::text).collect()
    }

    fn of_requests(&self) -> Vec<Family> {
        let known = lock(&self.0);
        let help = "Requests for inference answered.";
        let mut requests = Family::new("lineside_api_requests_total", Counter, help);
        for ((model, status), count) in &known.answers {
            requests.sample(&[("model", model), ("code", &status.to_string())], *count as f64);
        }
        let name = "lineside_api_request_duration_seconds";
        let mut durations =
            Family::new(name, Histogram, "From the head of a request to its answer.");
        for (model, (buckets, count, sum)) in &known.durations {
            let mut below = 0;
            for (end, own) in BUCKETS.iter().zip(buckets) {
                below += own;
                let end = end.to_string();
                durations.part("_bucket", &[("model", model), ("le", &end)], below as f64);
            }
            durations.part("_bucket", &[("model", model), ("le", "+Inf")], *count as f64);
            durations.part("_sum", &[("model", model)], *sum);
            durations.part("_count", &[("model", model)], *count as f64);
        }
        vec![requests, durations]
    }
}
