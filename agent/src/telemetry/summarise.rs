//! Summaries of what a slot did, interval by interval. Pure: it is told of frames and gives intervals.

use crate::fleet::status::release_ref;
use crate::worker::route::Settled;
use lineside_bundle::{BundleFile, Field, ReleaseId};
use lineside_rules::Range;
use lineside_runtime::Span;
use lineside_sketch::{Histogram, Moments};
use lineside_wire::v1::{Counts, Interval, ReleaseRef, Resources, Summary};
use std::collections::BTreeMap;

/// Reasons that are told apart in an interval; further ones are counted as `other`.
const REASONS_MAX: usize = 32;

/// A field or an output, and the values that are plausible for it.
#[derive(Debug, Clone, PartialEq)]
struct Column {
    name: String,
    range: Option<Range>,
    /// Where its summary stood when it was looked for last: most often it still does.
    place: usize,
}

/// What the values of a release are called.
#[derive(Debug, Clone, PartialEq)]
struct Columns {
    release: ReleaseId,
    /// By port.
    inputs: BTreeMap<String, Vec<Column>>,
    outputs: Vec<Column>,
}

/// Summarises one slot.
#[derive(Debug)]
pub struct Summariser {
    slot: String,
    interval_ms: i64,
    columns: Option<Columns>,
    /// The release that answered last, and how it is told.
    answering: Option<(ReleaseId, ReleaseRef)>,
    open: Option<Interval>,
    /// Readings that were dropped before any interval was open, and frames doubled.
    dropped: Counts,
    doubled: u64,
    /// The first interval of readings that were earlier than the open one by more than its length.
    behind: Option<i64>,
}

impl Summariser {
    /// A slot whose intervals last `interval_ms` milliseconds of its readings' own time, going on
    /// with `open` where an earlier start of the agent left it.
    pub fn new(slot: &str, interval_ms: i64, open: Option<Interval>) -> Summariser {
        let slot = slot.to_owned();
        let interval_ms = interval_ms.max(1);
        Summariser {
            slot,
            interval_ms,
            columns: None,
            answering: None,
            open,
            dropped: vec![],
            doubled: 0,
            behind: None,
        }
    }

    /// The interval that is open, with all that was counted since.
    pub fn open(&self) -> Option<&Interval> {
        self.open.as_ref()
    }

    /// Learns what the values of a release are called that takes the route.
    pub fn placed(&mut self, release: &ReleaseId, bundle: &BundleFile) {
        let is_joined = bundle.inputs.len() > 1;
        let inputs = bundle.inputs.iter().map(|(port, it)| {
            let name = |field: &str| match is_joined {
                true => format!("{port}.{field}"),
                false => field.to_owned(),
            };
            let column = |f: &Field| Column { name: name(&f.name), range: f.range, place: 0 };
            (port.clone(), it.fields.iter().map(column).collect())
        });
        let inputs = inputs.collect();
        let range = |name: &String| bundle.trial.outputs.get(name).copied();
        let outputs = bundle.outputs.keys();
        let outputs = outputs
            .map(|name| Column { name: name.clone(), range: range(name), place: 0 })
            .collect();
        self.columns = Some(Columns { release: release.clone(), inputs, outputs });
    }

    /// Takes a frame that was accounted for. Returns the interval that it ends, if any: the frame
    /// belongs to a later one, or another release has answered it.
    ///
    /// A frame of an earlier interval counts into the open one, and its readings as late. But a
    /// reading may be years ahead of its time, and nothing would come after it: so where readings
    /// stay behind and their own time enters another interval, the open one ends too.
    pub fn frame(&mut self, release: &ReleaseId, settled: &Settled) -> Option<Interval> {
        let time_ms = settled.time_unix_ns.div_euclid(1_000_000);
        let start = time_ms - time_ms.rem_euclid(self.interval_ms);
        let answering = match &mut self.answering {
            Some((known, answering)) if known == release => answering,
            other => &mut other.insert((release.clone(), release_ref(release))).1,
        };
        let ended = match &self.open {
            Some(open) if start > open.start_unix_ms || open.release != *answering => {
                self.open.take()
            }
            Some(open) if start.saturating_add(self.interval_ms) < open.start_unix_ms => {
                let behind = *self.behind.get_or_insert(start);
                if start > behind { self.open.take() } else { None }
            }
            _ => None,
        };
        if ended.is_some() {
            self.behind = None;
        }
        let mut readings = settled.last.wrapping_add(1).saturating_sub(settled.first);
        let others = settled.more.others.iter();
        readings += others.map(|(_, span, _)| span.count()).sum::<u64>();
        let mut open = self.open.take().unwrap_or_else(|| Interval {
            slot: self.slot.clone(),
            release: answering.clone(),
            start_unix_ms: start,
            end_unix_ms: start.saturating_add(self.interval_ms),
            readings: 0,
            late_readings: 0,
            frames: 0,
            findings: 0,
            alarms: 0,
            doubled: 0,
            errors: vec![],
            dropped: vec![],
            latency_us: Histogram::default(),
            inputs: vec![],
            outputs: vec![],
            resources: Resources::default(),
        });
        open.readings += readings;
        if start < open.start_unix_ms {
            open.late_readings += readings;
        }
        open.frames += 1;
        open.doubled += std::mem::take(&mut self.doubled);
        for (reason, number) in std::mem::take(&mut self.dropped) {
            count(&mut open.dropped, &reason, number);
        }
        let mut columns = self.columns.as_mut().filter(|columns| columns.release == *release);
        if let Some(columns) = &mut columns {
            add_inputs(&mut open.inputs, &mut columns.inputs, settled);
        }
        match &settled.result {
            Err(failure) => count(&mut open.errors, &failure.reason, 1),
            Ok(parts) => {
                open.findings += parts.len() as u64;
                open.alarms += u64::from(parts.iter().any(|part| part.alarm == Some(true)));
                open.latency_us.add(settled.elapsed.as_secs_f64() * 1e6);
                let mut columns = columns.map(|columns| &mut columns.outputs);
                for part in parts {
                    for column in columns.iter_mut().flat_map(|columns| columns.iter_mut()) {
                        let summary = summary_of(&mut open.outputs, column);
                        match part.outputs.get(&column.name) {
                            Some(value) => add(summary, value.as_f64(), column.range),
                            None => summary.missing += 1,
                        }
                    }
                }
            }
        }
        self.open = Some(open);
        ended
    }

    /// Counts readings that were dropped. They belong to the interval that is open, or to the next.
    pub fn dropped(&mut self, reason: &str, number: u64) {
        let counts = self.open.as_mut().map_or(&mut self.dropped, |open| &mut open.dropped);
        count(counts, reason, number);
    }

    /// Counts frames that more than one active release answered.
    pub fn doubled(&mut self, number: u64) {
        *self.open.as_mut().map_or(&mut self.doubled, |open| &mut open.doubled) += number;
    }
}

fn add_inputs(
    inputs: &mut Vec<Summary>,
    ports: &mut BTreeMap<String, Vec<Column>>,
    settled: &Settled,
) {
    let own = Span { first: settled.first, last: settled.last };
    let others = settled.more.others.iter();
    let others = others.map(|(stream, span, readings)| (&**stream, span, readings));
    for (stream, span, known) in
        [(settled.stream(), &own, &settled.inputs)].into_iter().chain(others)
    {
        let columns = match ports.len() {
            1 => ports.values_mut().next(),
            _ => stream.split_once('/').and_then(|(port, _)| ports.get_mut(port)),
        };
        let readings = span.count();
        // Readings that had given way are accounted for without their values.
        let unknown = readings.saturating_sub(known.len() as u64);
        for (place, column) in columns.into_iter().flatten().enumerate() {
            let summary = summary_of(inputs, column);
            summary.missing += unknown;
            for reading in known {
                match reading.values.get(place) {
                    Some(value) => add(summary, *value, column.range),
                    None => summary.missing += 1,
                }
            }
        }
    }
}

fn summary_of<'a>(summaries: &'a mut Vec<Summary>, column: &mut Column) -> &'a mut Summary {
    let is_of = |summary: &Summary| summary.name == column.name;
    if summaries.get(column.place).is_some_and(is_of) {
        return &mut summaries[column.place];
    }
    let place = summaries.iter().position(is_of).unwrap_or_else(|| {
        summaries.push(Summary {
            name: column.name.clone(),
            moments: Moments::default(),
            histogram: Histogram::default(),
            out_of_range: 0,
            missing: 0,
        });
        summaries.len() - 1
    });
    column.place = place;
    &mut summaries[place]
}

fn add(summary: &mut Summary, value: f64, range: Option<Range>) {
    summary.moments.add(value);
    summary.histogram.add(value);
    summary.out_of_range += u64::from(range.is_some_and(|range| !range.contains(value)));
}

fn count(counts: &mut Counts, reason: &str, number: u64) {
    let known = counts.iter().position(|(known, _)| known == reason);
    let reason = if known.is_none() && counts.len() >= REASONS_MAX { "other" } else { reason };
    match counts.iter_mut().find(|(known, _)| known == reason) {
        Some((_, counted)) => *counted += number,
        None => counts.push((reason.to_owned(), number)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worker::route::Failure;
    use lineside_bundle::Digest;
    use lineside_runtime::{Part, Reading, Value};
    use std::collections::BTreeMap;
    use std::sync::Arc;
    use std::time::Duration;

    fn release(version: &str) -> ReleaseId {
        let digest = Digest::of(version.as_bytes());
        let (name, version) = ("echo".parse().unwrap(), version.parse().unwrap());
        ReleaseId { name, version, digest, size: 7 }
    }

    fn bundle() -> BundleFile {
        BundleFile::parse(
            "format = 1\nname = 'echo'\nversion = '1'\nalarm_output = 'alarm'\n\
             [inputs.p]\nrate_hz = 1.0\nfields = [{ name = 'x', range = [0.0, 10.0] }, { name = 'y' }]\n\
             [stages.w]\nkind = 'window'\ninput = 'p'\nrows = 2\nstride = 2\n\
             [stages.last]\nkind = 'select'\ninput = 'w'\nindex = 3\n\
             [stages.high]\nkind = 'threshold'\ninput = 'last'\nabove = 5.0\n\
             [outputs]\nlevel = { from = 'last' }\nalarm = { from = 'high' }\n\
             [trial]\noutputs.level = [0.0, 6.0]\n",
        )
        .unwrap()
    }

    fn reading(values: [f64; 2]) -> Arc<Reading> {
        let values = values.to_vec();
        Arc::new(Reading { key: String::new(), sequence: 0, time_unix_ns: 0, values })
    }

    /// Frame `number` of two readings; its last one at this second.
    fn frame(number: u64, second: i64, level: Option<f64>) -> Settled {
        let outputs = |level| {
            let high = Value::Bool(level > 5.0);
            BTreeMap::from([("level".into(), Value::Number(level)), ("alarm".into(), high)])
        };
        Settled {
            key: String::new(),
            frame: number,
            first: 2 * number,
            last: 2 * number + 1,
            time_unix_ns: second * 1_000_000_000,
            elapsed: Duration::from_micros(300),
            result: match level {
                Some(level) => Ok(vec![Part { outputs: outputs(level), alarm: Some(level > 5.0) }]),
                None => Err(Failure::new("stage", "it is NaN")),
            },
            inputs: vec![reading([1.0, 2.0]), reading([11.0, level.unwrap_or(0.0)])],
            more: Default::default(),
        }
    }

    fn summariser() -> Summariser {
        let mut summariser = Summariser::new("line", 10_000, None);
        summariser.placed(&release("1"), &bundle());
        summariser
    }

    #[test]
    fn an_interval_counts_what_fell_into_it_by_the_readings_own_time() {
        let mut summariser = summariser();
        summariser.dropped("missing", 2);
        let first = release("1");
        assert_eq!(summariser.frame(&first, &frame(0, 101, Some(3.0))), None);
        assert_eq!(summariser.frame(&first, &frame(1, 109, Some(7.0))), None);
        assert_eq!(summariser.frame(&first, &frame(2, 109, None)), None);
        summariser.dropped("missing", 1);
        summariser.doubled(4);
        let ended = summariser.frame(&first, &frame(3, 110, Some(1.0))).unwrap();
        assert_eq!((ended.start_unix_ms, ended.end_unix_ms), (100_000, 110_000));
        assert_eq!((ended.readings, ended.frames, ended.findings), (6, 3, 2));
        assert_eq!((ended.alarms, ended.doubled, ended.late_readings), (1, 4, 0));
        assert_eq!(ended.errors, [("stage".to_owned(), 1)]);
        assert_eq!(ended.dropped, [("missing".to_owned(), 3)]);
        assert_eq!((ended.latency_us.count(), ended.inputs.len()), (2, 2));
        let x = &ended.inputs[0];
        assert_eq!((&*x.name, x.out_of_range, x.moments.range()), ("x", 3, Some((1.0, 11.0))));
        let level = ended.outputs.iter().find(|summary| summary.name == "level").unwrap();
        assert_eq!((level.out_of_range, level.moments.mean()), (1, Some(5.0)));
        assert_eq!(summariser.open().unwrap().frames, 1);
    }

    #[test]
    fn late_readings_are_counted_and_flagged_and_a_release_has_intervals_of_its_own() {
        let mut summariser = summariser();
        let (first, second) = (release("1"), release("2"));
        assert_eq!(summariser.frame(&first, &frame(0, 111, Some(3.0))), None);
        assert_eq!(summariser.frame(&first, &frame(1, 95, Some(3.0))), None);
        let ended = summariser.frame(&second, &frame(2, 112, Some(3.0))).unwrap();
        assert_eq!((ended.readings, ended.late_readings), (4, 2));
        assert_eq!(ended.release.version, "1");
        let open = summariser.open().unwrap();
        assert_eq!((&*open.release.version, open.start_unix_ms), ("2", 110_000));
    }

    #[test]
    fn a_reading_of_another_century_does_not_silence_the_slot() {
        let far = 9_000_000_000;
        let mut restarted = Summariser::new("line", 10_000, None);
        let mut summariser = summariser();
        let first = release("1");
        let mut ended = Vec::new();
        for (number, second) in [100, far].into_iter().chain(101..200).enumerate() {
            if number == 5 {
                restarted = Summariser::new("line", 10_000, summariser.open().cloned());
                restarted.placed(&first, &bundle());
            }
            let summariser = if number < 5 { &mut summariser } else { &mut restarted };
            ended.extend(summariser.frame(&first, &frame(number as u64, second, Some(3.0))));
        }
        let starts: Vec<i64> = ended.iter().map(|interval| interval.start_unix_ms / 1000).collect();
        let whole = (110..190).step_by(10);
        assert_eq!(starts, [100, far].into_iter().chain(whole).collect::<Vec<_>>());
        assert_eq!(ended.iter().map(|interval| interval.frames).sum::<u64>(), 91);
        assert_eq!((ended[1].frames, ended[1].late_readings), (10, 18));
        assert!(ended[2..].iter().all(|interval| interval.frames == 10));
    }

    #[test]
    fn readings_that_are_a_little_late_end_nothing() {
        let mut summariser = summariser();
        let first = release("1");
        let seconds = [(125, false), (115, false), (119, false), (120, false), (112, false)];
        for (number, (second, ends)) in seconds.into_iter().enumerate() {
            let ended = summariser.frame(&first, &frame(number as u64, second, Some(3.0)));
            assert_eq!(ended.is_some(), ends, "{second}");
        }
        assert_eq!(summariser.open().unwrap().late_readings, 6);
    }

    #[test]
    fn a_restart_goes_on_where_the_open_interval_was_left() {
        let frames: Vec<Settled> =
            (0..40).map(|n| frame(n, 100 + n as i64, Some(n as f64))).collect();
        let mut whole = summariser();
        let expected: Vec<_> =
            frames.iter().filter_map(|frame| whole.frame(&release("1"), frame)).collect();
        assert_eq!(expected.len(), 3);
        let mut ended = Vec::new();
        let mut open = None;
        for batch in frames.chunks(7) {
            let mut again = Summariser::new("line", 10_000, open.take());
            again.placed(&release("1"), &bundle());
            ended.extend(batch.iter().filter_map(|frame| again.frame(&release("1"), frame)));
            open = again.open().cloned();
        }
        assert_eq!(ended, expected);
        assert_eq!(open.as_ref(), whole.open());
    }

    #[test]
    fn reasons_without_end_do_not_fill_the_memory() {
        let mut summariser = summariser();
        for number in 0..1000 {
            summariser.dropped(&format!("reason {number}"), 1);
        }
        summariser.frame(&release("1"), &frame(0, 101, Some(3.0)));
        let dropped = &summariser.open().unwrap().dropped;
        assert_eq!(dropped.len(), REASONS_MAX + 1);
        assert_eq!(dropped.iter().map(|(_, number)| number).sum::<u64>(), 1000);
    }
}
