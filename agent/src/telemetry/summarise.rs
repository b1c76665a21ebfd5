//! Summaries of what a slot did, interval by interval. Pure: it is told of frames and gives intervals.

use crate::fleet::status::release_ref;
use crate::worker::route::Settled;
use lineside_bundle::{BundleFile, Field, ReleaseId};
use lineside_drift::{Marks, Profile, Role};
use lineside_rules::Range;
use lineside_runtime::{Span, Value};
use lineside_sketch::{Edges, TextColumn};
use lineside_wire::v1::{COLUMNS_MAX, Column, Counts, Interval, ReleaseRef, Summary, count};
use std::collections::BTreeMap;

/// Readings whose values are counted column by column.
const TOGETHER: usize = 64;

/// A field or an output, and the values that are plausible for it.
#[derive(Debug, Clone, PartialEq)]
struct Named {
    name: String,
    range: Option<Range>,
    /// The edges of its profile.
    edges: Option<Edges>,
    /// Where its summary stood when it was looked for last: most often it still does.
    place: usize,
}

/// What the values of a release are called.
#[derive(Debug, Clone, PartialEq)]
struct Columns {
    release: ReleaseId,
    /// By port.
    inputs: BTreeMap<String, Vec<Named>>,
    outputs: Vec<Named>,
    /// Those beyond what an interval has summaries of.
    left_out: u64,
}

impl Columns {
    /// Whether what an interval has counted is counted over the edges of these.
    fn go_on_with(&self, open: &Interval) -> bool {
        let inputs = self.inputs.values().flatten().map(|named| (named, &open.inputs));
        let mut all = inputs.chain(self.outputs.iter().map(|named| (named, &open.outputs)));
        all.all(|(named, summaries)| {
            summaries.iter().filter(|it| it.name == named.name).all(|it| match &it.column {
                Column::Numbers(column) => {
                    it.column.is_bare() || column.has_edges(named.edges.as_ref())
                }
                Column::Texts(_) => true,
            })
        })
    }
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
    /// Frames compared with a release beside the route before any interval was open, and agreed.
    compared: (u64, u64),
    /// The first interval of readings that were earlier than the open one by more than its length.
    behind: Option<i64>,
    /// When the last interval ended.
    ended_unix_ms: Option<i64>,
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
            compared: (0, 0),
            behind: None,
            ended_unix_ms: None,
        }
    }

    /// The interval that is open, with all that was counted since.
    pub fn open(&self) -> Option<&Interval> {
        self.open.as_ref()
    }

    /// Learns what the values of a release are called that takes the route.
    /// `profile` is what they looked like in its training data.
    ///
    /// Gives the interval that it ends: one of this release whose values were counted over other edges,
    /// as where the profile could not be read when an earlier start of the agent began it.
    pub fn placed(
        &mut self,
        release: &ReleaseId,
        bundle: &BundleFile,
        profile: Option<&Profile>,
    ) -> Option<Interval> {
        let edges = |role, name: &str| match &profile?.column(role, name)?.marks {
            Marks::Edges(edges) => Some(edges.clone()),
            Marks::Categories(_) => None,
        };
        let inputs = bundle.inputs.iter().map(|(port, it)| {
            let named = |f: &Field| {
                let name = bundle.input_column(port, &f.name);
                let edges = edges(Role::Input, &name);
                Named { name, range: f.range, edges, place: 0 }
            };
            (port.clone(), it.fields.iter().map(named).collect::<Vec<_>>())
        });
        let mut inputs: BTreeMap<String, Vec<Named>> = inputs.collect();
        let range = |name: &String| bundle.trial.outputs.get(name).copied();
        let outputs = bundle.outputs.keys();
        let named = |name: &String| {
            let edges = edges(Role::Output, name);
            Named { name: name.clone(), range: range(name), edges, place: 0 }
        };
        let mut outputs: Vec<_> = outputs.map(named).collect();
        // Outputs first: there are few, and it is they that are judged.
        let (mut room, mut left_out) = (COLUMNS_MAX, 0);
        for columns in [&mut outputs].into_iter().chain(inputs.values_mut()) {
            left_out += columns.len().saturating_sub(room) as u64;
            columns.truncate(room);
            room -= columns.len();
        }
        let columns = Columns { release: release.clone(), inputs, outputs, left_out };
        let is_other =
            |open: &Interval| open.release == release_ref(release) && !columns.go_on_with(open);
        let ended = if self.open.as_ref().is_some_and(is_other) { self.open.take() } else { None };
        if ended.is_some() {
            self.behind = None;
        }
        self.columns = Some(columns);
        ended
    }

    /// From the next interval on they last so long, in milliseconds.
    pub fn set_interval(&mut self, interval_ms: i64) {
        self.interval_ms = interval_ms.max(1);
    }

    /// Hands out the interval that a frame ends, if any, because it belongs to a later one, or another release has
    /// answered it. Asked before the frame is taken: should that panic, that frame alone is lost.
    ///
    /// A frame of an earlier interval counts into the open one, and its readings as late. But a
    /// reading may be years ahead of its time, and nothing would come after it: so where readings
    /// stay behind and their own time enters another interval, the open one ends too.
    pub fn ends(&mut self, release: &ReleaseId, settled: &Settled) -> Option<Interval> {
        let (time_ms, start) = self.start_of(settled);
        let answering = match &mut self.answering {
            Some((known, answering)) if known == release => answering,
            other => &mut other.insert((release.clone(), release_ref(release))).1,
        };
        let ended = match &self.open {
            Some(open) if time_ms >= open.end_unix_ms || open.release != *answering => {
                self.open.take()
            }
            Some(open) if start.saturating_add(self.interval_ms) < open.start_unix_ms => {
                let behind = *self.behind.get_or_insert(start);
                if start > behind { self.open.take() } else { None }
            }
            _ => None,
        };
        if let Some(ended) = &ended {
            (self.behind, self.ended_unix_ms) = (None, Some(ended.end_unix_ms));
        }
        ended
    }

    /// When the interval of a frame begins, after its own time.
    fn start_of(&self, settled: &Settled) -> (i64, i64) {
        let time_ms = settled.time_unix_ns.div_euclid(1_000_000);
        (time_ms, time_ms - time_ms.rem_euclid(self.interval_ms))
    }

    /// Takes a frame that was accounted for, into the interval that is open or begins.
    pub fn frame(&mut self, release: &ReleaseId, settled: &Settled) {
        let (time_ms, start) = self.start_of(settled);
        let end_unix_ms = start.saturating_add(self.interval_ms);
        // Where intervals have become longer, shorter ones have counted its beginning.
        let counted = self.ended_unix_ms.filter(|ended| (start..=time_ms).contains(ended));
        let mut readings = settled.last.wrapping_add(1).saturating_sub(settled.first);
        let others = settled.more.others.iter();
        readings += others.map(|(_, span, _)| span.count()).sum::<u64>();
        let open = self.open.get_or_insert_with(|| {
            let span = (counted.unwrap_or(start), end_unix_ms);
            Interval::of(&self.slot, release_ref(release), span)
        });
        open.readings += readings;
        if time_ms < open.start_unix_ms {
            open.late_readings += readings;
        }
        open.frames += 1;
        open.doubled += std::mem::take(&mut self.doubled);
        for (reason, number) in std::mem::take(&mut self.dropped) {
            count(&mut open.dropped, &reason, number);
        }
        let mut columns = self.columns.as_mut().filter(|columns| columns.release == *release);
        let (compared, agreed) = std::mem::take(&mut self.compared);
        open.shadow_frames += compared;
        open.shadow_agreed += agreed;
        if let Some(columns) = &mut columns {
            open.left_out = columns.left_out;
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
                    for named in columns.iter_mut().flat_map(|columns| columns.iter_mut()) {
                        match part.outputs.get(&named.name) {
                            Some(value) => named.add(&mut open.outputs, *value),
                            None => named.add_missing(&mut open.outputs, 1),
                        }
                    }
                }
            }
        }
    }

    /// Counts readings that were dropped. They belong to the interval that is open, or to the next.
    pub fn dropped(&mut self, reason: &str, number: u64) {
        let counts = self.open.as_mut().map_or(&mut self.dropped, |open| &mut open.dropped);
        count(counts, reason, number);
    }

    /// Counts frames that a release beside the route has answered too, and those in which it agreed.
    pub fn compared(&mut self, frames: u64, agreed: u64) {
        let (counted, counted_agreed) = match &mut self.open {
            Some(open) => (&mut open.shadow_frames, &mut open.shadow_agreed),
            None => (&mut self.compared.0, &mut self.compared.1),
        };
        *counted += frames;
        *counted_agreed += agreed;
    }

    /// Counts frames that more than one active release answered.
    pub fn doubled(&mut self, number: u64) {
        *self.open.as_mut().map_or(&mut self.doubled, |open| &mut open.doubled) += number;
    }
}

fn add_inputs(
    inputs: &mut Vec<Summary>,
    ports: &mut BTreeMap<String, Vec<Named>>,
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
        let Some(columns) = columns else { continue };
        // A few readings at a time, so that they are still at hand for the next column.
        for known in known.chunks(TOGETHER) {
            for (place, named) in columns.iter_mut().enumerate() {
                let mut values = [0.0; TOGETHER];
                let there = known.iter().filter_map(|reading| reading.values.get(place));
                let count = values.iter_mut().zip(there).map(|(to, from)| *to = *from).count();
                named.add_numbers(inputs, &values[..count]);
            }
        }
        for (place, named) in columns.iter_mut().enumerate() {
            let missing = known.iter().filter(|reading| reading.values.len() <= place).count();
            let missing = unknown + missing as u64;
            if missing > 0 {
                named.add_missing(inputs, missing);
            }
        }
    }
}

/// What is to be counted of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Number,
    Text,
    /// That there is none.
    Missing,
}

impl Named {
    fn is_of(&self, summary: &Summary, kind: Kind) -> bool {
        summary.name == self.name
            && match (&summary.column, kind) {
                (_, Kind::Missing) | (Column::Texts(_), Kind::Text) => true,
                (Column::Numbers(column), Kind::Number) => column.has_edges(self.edges.as_ref()),
                (Column::Numbers(_), Kind::Text) | (Column::Texts(_), Kind::Number) => false,
            }
    }

    /// The summary of what is named so that counts this kind.
    fn summary<'a>(&mut self, summaries: &'a mut Vec<Summary>, kind: Kind) -> &'a mut Summary {
        let known = summaries.get(self.place).is_some_and(|it| self.is_of(it, kind));
        if !known {
            let place = summaries.iter().position(|it| self.is_of(it, kind));
            self.place = place.unwrap_or_else(|| self.begin(summaries, kind));
        }
        &mut summaries[self.place]
    }

    fn begin(&self, summaries: &mut Vec<Summary>, kind: Kind) -> usize {
        let mut column = match kind {
            Kind::Text => Column::Texts(TextColumn::default()),
            Kind::Number | Kind::Missing => Column::numbers(self.edges.as_ref()),
        };
        // As long as none had a value, nobody knew the kind.
        let is_bare = |it: &Summary| it.name == self.name && it.column.is_bare();
        if let Some(place) = summaries.iter().position(is_bare) {
            column.add_missing_rows(summaries[place].column.missing());
            summaries[place].column = column;
            return place;
        }
        summaries.push(Summary { name: self.name.clone(), column, out_of_range: 0 });
        summaries.len() - 1
    }

    fn add(&mut self, summaries: &mut Vec<Summary>, value: Value) {
        let kind = if let Value::Bool(_) = value { Kind::Text } else { Kind::Number };
        let summary = self.summary(summaries, kind);
        match (&mut summary.column, value) {
            (Column::Texts(column), Value::Bool(true)) => column.add("true"),
            (Column::Texts(column), _) => column.add("false"),
            (Column::Numbers(column), value) => {
                let added = column.add(self.edges.as_ref(), value.as_f64());
                debug_assert!(added.is_ok(), "it was looked for by its edges");
            }
        }
        let is_outside = self.range.is_some_and(|range| !range.contains(value.as_f64()));
        summary.out_of_range += u64::from(is_outside);
    }

    fn add_numbers(&mut self, summaries: &mut Vec<Summary>, values: &[f64]) {
        if values.is_empty() {
            return;
        }
        let summary = self.summary(summaries, Kind::Number);
        if let Column::Numbers(column) = &mut summary.column {
            let added = column.add_all(self.edges.as_ref(), values);
            debug_assert!(added.is_ok(), "it was looked for by its edges");
        }
        if let Some(range) = self.range {
            let outside = values.iter().filter(|value| !range.contains(**value)).count();
            summary.out_of_range += outside as u64;
        }
    }

    fn add_missing(&mut self, summaries: &mut Vec<Summary>, rows: u64) {
        self.summary(summaries, Kind::Missing).column.add_missing_rows(rows);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worker::route::Failure;
    use lineside_bundle::Digest;
    use lineside_drift::{ColumnProfile, SketchMethod};
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

    impl Summariser {
        fn ended_by(&mut self, release: &ReleaseId, settled: &Settled) -> Option<Interval> {
            let ended = self.ends(release, settled);
            self.frame(release, settled);
            ended
        }
    }

    fn summariser() -> Summariser {
        let mut summariser = Summariser::new("line", 10_000, None);
        summariser.placed(&release("1"), &bundle(), None);
        summariser
    }

    #[test]
    fn an_interval_counts_what_fell_into_it_by_the_readings_own_time() {
        let mut summariser = summariser();
        summariser.dropped("missing", 2);
        let first = release("1");
        assert_eq!(summariser.ended_by(&first, &frame(0, 101, Some(3.0))), None);
        assert_eq!(summariser.ended_by(&first, &frame(1, 109, Some(7.0))), None);
        assert_eq!(summariser.ended_by(&first, &frame(2, 109, None)), None);
        summariser.dropped("missing", 1);
        summariser.doubled(4);
        let ended = summariser.ended_by(&first, &frame(3, 110, Some(1.0))).unwrap();
        assert_eq!((ended.start_unix_ms, ended.end_unix_ms), (100_000, 110_000));
        assert_eq!((ended.readings, ended.frames, ended.findings), (6, 3, 2));
        assert_eq!((ended.alarms, ended.doubled, ended.late_readings), (1, 4, 0));
        assert_eq!(ended.errors, [("stage".to_owned(), 1)]);
        assert_eq!(ended.dropped, [("missing".to_owned(), 3)]);
        assert_eq!((ended.latency_us.count(), ended.inputs.len()), (2, 2));
        let x = &ended.inputs[0];
        let Column::Numbers(column) = &x.column else { panic!("{x:?}") };
        assert_eq!((&*x.name, x.out_of_range), ("x", 3));
        assert_eq!(column.moments().range(), Some((1.0, 11.0)));
        assert_eq!((column.distinct().estimate(), column.bins()), (2.0, None));
        let level = output(&ended, "level");
        let Column::Numbers(column) = &level.column else { panic!("{level:?}") };
        assert_eq!((level.out_of_range, column.moments().mean()), (1, Some(5.0)));
        let alarm = output(&ended, "alarm");
        let Column::Texts(column) = &alarm.column else { panic!("{alarm:?}") };
        let count = |text| column.frequent().estimate(text).low;
        assert_eq!((count("true"), count("false"), alarm.column.missing()), (1, 1, 0));
        assert_eq!(summariser.open().unwrap().frames, 1);
    }

    fn output<'a>(interval: &'a Interval, name: &str) -> &'a Summary {
        let mut of_name = interval.outputs.iter().filter(|summary| summary.name == name);
        let summary = of_name.next().unwrap();
        assert!(of_name.next().is_none(), "{name} has one summary");
        summary
    }

    #[test]
    fn a_column_that_begins_with_what_is_missing_is_of_the_kind_that_comes() {
        let mut summariser = summariser();
        for (number, level) in [None, Some(1.0), None, Some(9.0)].into_iter().enumerate() {
            let mut frame = frame(number as u64, 101, Some(level.unwrap_or(0.0)));
            if let (None, Ok(parts)) = (level, &mut frame.result) {
                parts[0].outputs.clear();
            }
            summariser.ended_by(&release("1"), &frame);
        }
        let open = summariser.open().unwrap();
        for (name, is_text) in [("level", false), ("alarm", true)] {
            let column = &output(open, name).column;
            assert_eq!((column.is_texts(), column.missing()), (is_text, 2), "{name}");
        }
    }

    #[test]
    fn edges_of_a_profile_that_came_meanwhile_end_the_interval_and_what_is_missing_does_not() {
        let edges = Edges::new(vec![0.0, 5.0, 10.0]).unwrap();
        let marks = Marks::Edges(edges);
        let column = ColumnProfile {
            name: "x".into(),
            role: Role::Input,
            reference: marks.empty(),
            marks,
            method: SketchMethod::PROFILE,
            threshold: 0.1,
            learnt: None,
        };
        let profile = Profile::new(None, 30, vec![column]).unwrap();
        let first = release("1");
        let mut without_values = frame(0, 101, None);
        without_values.inputs.clear();
        let mut before = summariser();
        before.ended_by(&first, &without_values);
        assert_eq!(before.placed(&first, &bundle(), Some(&profile)), None, "none had a value");
        assert_eq!(before.placed(&first, &bundle(), None), None);

        let mut summariser = Summariser::new("line", 10_000, before.open().cloned());
        assert_eq!(summariser.placed(&first, &bundle(), None), None);
        summariser.ended_by(&first, &frame(0, 101, Some(1.0)));
        assert_eq!(summariser.placed(&release("2"), &bundle(), Some(&profile)), None);
        let ended = summariser.placed(&first, &bundle(), Some(&profile)).unwrap();
        assert_eq!((ended.frames, summariser.open()), (2, None));
        assert_eq!(summariser.placed(&first, &bundle(), Some(&profile)), None);
        summariser.ended_by(&first, &frame(1, 102, Some(1.0)));
        assert_eq!(summariser.placed(&first, &bundle(), Some(&profile)), None, "the same");
        let open = summariser.open().unwrap();
        let bins = |interval: &Interval| {
            let mut of_x = interval.inputs.iter().filter(|summary| summary.name == "x");
            let x = of_x.next().unwrap();
            assert_eq!(of_x.next(), None);
            match &x.column {
                Column::Numbers(column) => column.bins().map(|bins| bins.counts().to_vec()),
                Column::Texts(_) => panic!("{x:?}"),
            }
        };
        assert_eq!((bins(&ended), bins(open)), (None, Some(vec![1, 0])), "11 is above");
        assert_eq!((open.start_unix_ms, open.late_readings), (100_000, 0));
        // The other way round as well.
        assert_eq!(summariser.placed(&first, &bundle(), None).map(|ended| ended.frames), Some(1));
    }

    #[test]
    fn an_interval_has_no_more_summaries_than_are_read_whatever_edges_come_meanwhile() {
        let names: Vec<String> = (0..COLUMNS_MAX).map(|n| format!("f{n:03}")).collect();
        let fields: Vec<String> =
            names.iter().map(|name| format!("{{ name = '{name}' }}")).collect();
        let bundle = BundleFile::parse(&format!(
            "format = 1\nname = 'echo'\nversion = '1'\n\
             [inputs.p]\nrate_hz = 1.0\nfields = [{}]\n\
             [stages.w]\nkind = 'window'\ninput = 'p'\nrows = 1\nstride = 1\n\
             [stages.last]\nkind = 'select'\ninput = 'w'\nindex = 3\n\
             [outputs]\nlevel = {{ from = 'last' }}\n",
            fields.join(", ")
        ))
        .unwrap();
        let marks = Marks::Edges(Edges::new(vec![0.0, 5.0]).unwrap());
        let columns = names.iter().map(|name| ColumnProfile {
            name: name.clone(),
            role: Role::Input,
            reference: marks.empty(),
            marks: marks.clone(),
            method: SketchMethod::PROFILE,
            threshold: 0.1,
            learnt: None,
        });
        let profile = Profile::new(None, 30, columns.collect()).unwrap();
        let mut frame = frame(0, 101, Some(1.0));
        let values = vec![1.0; COLUMNS_MAX];
        let reading = Reading { key: String::new(), sequence: 0, time_unix_ns: 0, values };
        frame.inputs = vec![Arc::new(reading.clone()), Arc::new(reading)];
        let mut summariser = Summariser::new("line", 10_000, None);
        for profile in [None, Some(&profile), None] {
            summariser.placed(&release("1"), &bundle, profile);
            summariser.ended_by(&release("1"), &frame);
            let open = summariser.open().unwrap();
            assert_eq!(open.inputs.len() + open.outputs.len(), COLUMNS_MAX);
        }
    }

    #[test]
    fn columns_without_end_do_not_fill_the_memory_and_are_counted() {
        let fields: Vec<String> = (0..250).map(|n| format!("{{ name = 'f{n}' }}")).collect();
        let bundle = BundleFile::parse(&format!(
            "format = 1\nname = 'echo'\nversion = '1'\n\
             [inputs.p]\nrate_hz = 1.0\nfields = [{}]\n\
             [stages.w]\nkind = 'window'\ninput = 'p'\nrows = 2\nstride = 2\n\
             [stages.last]\nkind = 'select'\ninput = 'w'\nindex = 3\n\
             [outputs]\nlevel = {{ from = 'last' }}\n",
            fields.join(", ")
        ));
        let mut summariser = Summariser::new("line", 10_000, None);
        summariser.placed(&release("1"), &bundle.unwrap(), None);
        summariser.compared(3, 2);
        summariser.ended_by(&release("1"), &frame(0, 101, Some(1.0)));
        summariser.compared(1, 1);
        let open = summariser.open().unwrap();
        assert_eq!(
            (open.inputs.len(), open.outputs.len(), open.left_out),
            (COLUMNS_MAX - 1, 1, 139)
        );
        assert_eq!((open.shadow_frames, open.shadow_agreed), (4, 3));
    }

    #[test]
    fn late_readings_are_counted_and_flagged_and_a_release_has_intervals_of_its_own() {
        let mut summariser = summariser();
        let (first, second) = (release("1"), release("2"));
        assert_eq!(summariser.ended_by(&first, &frame(0, 111, Some(3.0))), None);
        assert_eq!(summariser.ended_by(&first, &frame(1, 95, Some(3.0))), None);
        let ended = summariser.ended_by(&second, &frame(2, 112, Some(3.0))).unwrap();
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
                restarted.placed(&first, &bundle(), None);
            }
            let summariser = if number < 5 { &mut summariser } else { &mut restarted };
            ended.extend(summariser.ended_by(&first, &frame(number as u64, second, Some(3.0))));
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
            let ended = summariser.ended_by(&first, &frame(number as u64, second, Some(3.0)));
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
            frames.iter().filter_map(|frame| whole.ended_by(&release("1"), frame)).collect();
        assert_eq!(expected.len(), 3);
        let mut ended = Vec::new();
        let mut open = None;
        for batch in frames.chunks(7) {
            let mut again = Summariser::new("line", 10_000, open.take());
            again.placed(&release("1"), &bundle(), None);
            ended.extend(batch.iter().filter_map(|frame| again.ended_by(&release("1"), frame)));
            open = again.open().cloned();
        }
        assert_eq!(ended, expected);
        assert_eq!(open.as_ref(), whole.open());
    }

    #[test]
    fn intervals_that_become_shorter_and_longer_again_count_each_moment_once() {
        let mut summariser = summariser();
        let mut ended = Vec::new();
        for number in 0..60 {
            let frame = frame(number, 100 + number as i64, Some(1.0));
            let ends = summariser.ends(&release("1"), &frame);
            match ends.as_ref().map(|ends| ends.start_unix_ms) {
                Some(110_000) => summariser.set_interval(4000),
                Some(128_000) => summariser.set_interval(10_000),
                _ => {}
            }
            summariser.frame(&release("1"), &frame);
            ended.extend(ends);
        }
        let spans =
            ended.iter().map(|ended| (ended.start_unix_ms, ended.end_unix_ms, ended.frames));
        let spans: Vec<_> =
            spans.map(|(start, end, frames)| (start / 1000, end / 1000, frames)).collect();
        assert_eq!(
            spans,
            [
                (100, 110, 10),
                (110, 120, 10),
                (120, 124, 4),
                (124, 128, 4),
                (128, 132, 4),
                (132, 140, 8),
                (140, 150, 10)
            ]
        );
    }

    #[test]
    fn reasons_without_end_do_not_fill_the_memory() {
        let mut summariser = summariser();
        for number in 0..1000 {
            summariser.dropped(&format!("reason {number}"), 1);
        }
        summariser.ended_by(&release("1"), &frame(0, 101, Some(3.0)));
        let dropped = &summariser.open().unwrap().dropped;
        assert_eq!(dropped.len(), lineside_wire::v1::REASONS_MAX + 1);
        assert_eq!(dropped.iter().map(|(_, number)| number).sum::<u64>(), 1000);
    }
}
