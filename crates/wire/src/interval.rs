//! What a slot did in a span of time, and two of these as one.

use crate::v1::ReleaseRef;
use lineside_sketch::{
    DecodeError, Edges, Histogram, MergeError, NumberColumn, Sketch, TextColumn,
};
use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::marker::PhantomData;

/// Inputs and outputs that an interval has summaries of: with 4 KiB each a record has room for them.
/// More than this of either are not read.
pub const COLUMNS_MAX: usize = 112;
/// Reasons that are told apart; further ones are counted as `other`.
pub const REASONS_MAX: usize = 32;
/// Ranges of numbers that an interval may say it stands for.
pub const STANDS_FOR_MAX: usize = 1024;

/// How often something happened, by reason.
pub type Counts = Vec<(String, u64)>;

/// What a slot did in a span of its readings' own time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// The slot.
    pub slot: String,
    /// The release that answered.
    pub release: ReleaseRef,
    /// First moment, milliseconds since 1970 by the readings' own time.
    pub start_unix_ms: i64,
    /// Moment after the last.
    pub end_unix_ms: i64,
    /// Readings accounted for.
    pub readings: u64,
    /// Those of them that came after a later interval had begun.
    pub late_readings: u64,
    /// Frames.
    pub frames: u64,
    /// Findings.
    pub findings: u64,
    /// Frames with an alarm.
    pub alarms: u64,
    /// Frames answered by more than one active release.
    pub doubled: u64,
    /// Frames without an answer, by reason.
    #[serde(deserialize_with = "at_most::<_, _, { REASONS_MAX + 1 }>")]
    pub errors: Counts,
    /// Readings dropped, by reason.
    #[serde(deserialize_with = "at_most::<_, _, { REASONS_MAX + 1 }>")]
    pub dropped: Counts,
    /// Time a frame took, in microseconds.
    #[serde(with = "sketch")]
    pub latency_us: Histogram,
    /// The port's fields.
    #[serde(deserialize_with = "at_most::<_, _, COLUMNS_MAX>")]
    pub inputs: Vec<Summary>,
    /// The bundle's outputs.
    #[serde(deserialize_with = "at_most::<_, _, COLUMNS_MAX>")]
    pub outputs: Vec<Summary>,
    /// Fields and outputs beyond [`COLUMNS_MAX`], of which there is no summary.
    pub left_out: u64,
    /// Frames that a release beside the route has answered too or failed on.
    pub shadow_frames: u64,
    /// Of these, those in which every output agreed.
    pub shadow_agreed: u64,
    /// Intervals that this one is made of: more than one where they were merged to save space.
    pub intervals: u64,
    /// The numbers of the others, in rising order; the oldest are left out where they are too many.
    #[serde(deserialize_with = "at_most::<_, _, STANDS_FOR_MAX>")]
    pub stands_for: Vec<StandsFor>,
    /// What it cost.
    pub resources: Resources,
}

/// Numbers of records that will never come, because another one stands for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct StandsFor {
    /// The start of the device they were made in.
    pub boot: u64,
    /// The first.
    pub first: u64,
    /// The last.
    pub last: u64,
}

/// The values of one field or output.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Its name.
    pub name: String,
    /// What is kept of its values, and how many are missing.
    pub column: Column,
    /// Values outside of the range that the bundle states.
    pub out_of_range: u64,
}

/// A sketch of a column, written as [`Sketch::encode`] writes it.
#[derive(Debug, Clone, PartialEq)]
pub enum Column {
    /// Of numbers.
    Numbers(Box<NumberColumn>),
    /// Of categories: texts, or `true` and `false`.
    Texts(TextColumn),
}

/// What the device had left at the end of an interval.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Resources {
    /// Processor time of agent and workers since their start, in milliseconds.
    pub cpu_ms: u64,
    /// Resident memory of agent and workers, in KiB.
    pub resident_kib: u64,
    /// Free space of the state folder's disk, in MiB.
    pub disk_free_mib: u64,
    /// Temperature of the processor, where the machine tells it.
    pub temperature_c: Option<f32>,
    /// What agent and workers have had written to storage since their start, in KiB.
    pub written_kib: u64,
    /// What the whole machine has written since its start to the medium below the state folder, in
    /// KiB: what wears flash. None where it does not tell.
    pub device_written_kib: Option<u64>,
    /// Charge of the battery, where there is one.
    pub battery_percent: Option<u8>,
}

/// Why two intervals, or two records of what outcomes say, do not become one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unmergeable {
    /// They tell of different slots or releases.
    #[error("they are of different slots or releases")]
    Other,
    /// A column was counted over other edges.
    #[error("{0} was counted otherwise in one of them")]
    Column(String, #[source] MergeError),
    /// Together they have too many columns.
    #[error("together they have more columns than are kept")]
    Columns,
    /// Together they have too many answers and outcomes that are told apart.
    #[error(
        "together they have more pairs of answer and outcome, or outcomes with scores, than are kept"
    )]
    Outcomes,
}

impl Interval {
    /// Of a span in which nothing is counted yet: its first moment and the one after the last, milliseconds since
    /// 1970 by the readings' own time.
    pub fn of(slot: &str, release: ReleaseRef, span: (i64, i64)) -> Interval {
        let (start_unix_ms, end_unix_ms) = span;
        Interval {
            slot: slot.to_owned(),
            release,
            start_unix_ms,
            end_unix_ms,
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
            left_out: 0,
            shadow_frames: 0,
            shadow_agreed: 0,
            intervals: 1,
            stands_for: vec![],
            resources: Resources::default(),
        }
    }

    /// This one and a `later` one as one, in which everything is counted that was counted in either;
    /// what it cost is what it had cost by the later one's end. `number` is this one's start of the
    /// device and number within it: the whole goes by the later one's.
    ///
    /// # Errors
    /// [`Unmergeable`].
    pub fn merged(&self, number: (u64, u64), later: &Interval) -> Result<Interval, Unmergeable> {
        let mut whole = self.clone();
        whole.absorb(later)?;
        let (boot, own) = number;
        whole.stands_for.push(StandsFor { boot, first: own, last: own });
        whole.stands_for.extend(&later.stands_for);
        whole.stands_for = joined(std::mem::take(&mut whole.stands_for));
        Ok(whole)
    }

    /// Counts in what another one has counted, of this device or of another; what it cost is what the other
    /// one says. Numbers that the other stands for are not taken over: the whole is for looking at, and
    /// [`Interval::merged`] is for sending.
    ///
    /// # Errors
    /// [`Unmergeable`]; then nothing was counted.
    pub fn absorb(&mut self, other: &Interval) -> Result<(), Unmergeable> {
        if (&self.slot, &self.release) != (&other.slot, &other.release) {
            return Err(Unmergeable::Other);
        }
        let (mut inputs, mut outputs) = (self.inputs.clone(), self.outputs.clone());
        for (ours, theirs) in [(&mut inputs, &other.inputs), (&mut outputs, &other.outputs)] {
            for summary in theirs {
                take(ours, summary)?;
            }
        }
        if inputs.len() + outputs.len() > COLUMNS_MAX {
            return Err(Unmergeable::Columns);
        }
        (self.inputs, self.outputs) = (inputs, outputs);
        self.start_unix_ms = self.start_unix_ms.min(other.start_unix_ms);
        self.end_unix_ms = self.end_unix_ms.max(other.end_unix_ms);
        for (counted, more) in [
            (&mut self.readings, other.readings),
            (&mut self.late_readings, other.late_readings),
            (&mut self.frames, other.frames),
            (&mut self.findings, other.findings),
            (&mut self.alarms, other.alarms),
            (&mut self.doubled, other.doubled),
            (&mut self.shadow_frames, other.shadow_frames),
            (&mut self.shadow_agreed, other.shadow_agreed),
            (&mut self.intervals, other.intervals),
        ] {
            *counted = counted.saturating_add(more);
        }
        self.left_out = self.left_out.max(other.left_out);
        for (counts, more) in
            [(&mut self.errors, &other.errors), (&mut self.dropped, &other.dropped)]
        {
            more.iter().for_each(|(reason, number)| count(counts, reason, *number));
        }
        self.latency_us.merge(&other.latency_us);
        self.resources = other.resources;
        Ok(())
    }
}

/// Counts `number` for `reason`; beyond [`REASONS_MAX`] reasons, for `other`.
pub fn count(counts: &mut Counts, reason: &str, number: u64) {
    let known = counts.iter().position(|(known, _)| known == reason);
    let reason = if known.is_none() && counts.len() >= REASONS_MAX { "other" } else { reason };
    match counts.iter_mut().find(|(known, _)| known == reason) {
        Some((_, counted)) => *counted = counted.saturating_add(number),
        None => counts.push((reason.to_owned(), number)),
    }
}

fn take(summaries: &mut Vec<Summary>, more: &Summary) -> Result<(), Unmergeable> {
    let alike = |summary: &&mut Summary| {
        summary.name == more.name && summary.column.is_texts() == more.column.is_texts()
    };
    let Some(summary) = summaries.iter_mut().find(alike) else {
        summaries.push(more.clone());
        return Ok(());
    };
    match (&mut summary.column, &more.column) {
        (Column::Numbers(ours), Column::Numbers(theirs)) => {
            ours.merge(theirs).map_err(|error| Unmergeable::Column(more.name.clone(), error))?
        }
        (Column::Texts(ours), Column::Texts(theirs)) => ours.merge(theirs),
        (Column::Numbers(_), Column::Texts(_)) | (Column::Texts(_), Column::Numbers(_)) => {}
    }
    summary.out_of_range = summary.out_of_range.saturating_add(more.out_of_range);
    Ok(())
}

/// In rising order, those that touch as one, and the newest if they are too many.
pub(crate) fn joined(mut ranges: Vec<StandsFor>) -> Vec<StandsFor> {
    ranges.sort_unstable();
    let mut whole: Vec<StandsFor> = Vec::with_capacity(ranges.len());
    for range in ranges {
        match whole.last_mut() {
            Some(last) if last.boot == range.boot && range.first <= last.last.saturating_add(1) => {
                last.last = last.last.max(range.last);
            }
            _ => whole.push(range),
        }
    }
    let over = whole.len().saturating_sub(STANDS_FOR_MAX);
    whole.drain(..over);
    whole
}

impl Column {
    /// A column of numbers without values, with counts per bin if there are edges.
    pub fn numbers(edges: Option<&Edges>) -> Column {
        Column::Numbers(Box::new(NumberColumn::new(edges)))
    }

    /// Whether it counts categories.
    pub fn is_texts(&self) -> bool {
        matches!(self, Column::Texts(_))
    }

    /// Whether it has taken no value.
    pub fn is_bare(&self) -> bool {
        match self {
            Column::Numbers(column) => {
                column.histogram().count() == 0 && column.histogram().not_finite() == 0
            }
            Column::Texts(column) => column.frequent().count_all() == 0,
        }
    }

    /// Rows without a value.
    pub fn missing(&self) -> u64 {
        match self {
            Column::Numbers(column) => column.missing(),
            Column::Texts(column) => column.missing(),
        }
    }

    /// Takes so many rows without a value.
    pub fn add_missing_rows(&mut self, rows: u64) {
        match self {
            Column::Numbers(column) => column.add_missing_rows(rows),
            Column::Texts(column) => column.add_missing_rows(rows),
        }
    }
}

impl Sketched for Column {
    fn bytes(&self) -> Vec<u8> {
        match self {
            Column::Numbers(column) => column.encode(),
            Column::Texts(column) => column.encode(),
        }
    }

    fn of(bytes: &[u8]) -> Result<Column, DecodeError> {
        match NumberColumn::decode(bytes) {
            Err(DecodeError::OtherKind { .. }) => TextColumn::decode(bytes).map(Column::Texts),
            column => column.map(|column| Column::Numbers(Box::new(column))),
        }
    }
}

impl Sketched for Histogram {
    fn bytes(&self) -> Vec<u8> {
        self.encode()
    }

    fn of(bytes: &[u8]) -> Result<Histogram, DecodeError> {
        Histogram::decode(bytes)
    }
}

/// What travels as the bytes of a sketch.
pub(crate) trait Sketched: Sized {
    fn bytes(&self) -> Vec<u8>;
    fn of(bytes: &[u8]) -> Result<Self, DecodeError>;
}

impl Serialize for Column {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        sketch::serialize(self, serializer)
    }
}

impl<'de> Deserialize<'de> for Column {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Column, D::Error> {
        sketch::deserialize(deserializer)
    }
}

/// A sketch as its bytes.
pub(crate) mod sketch {
    use super::{Error, PhantomData, Sketched, Visitor, fmt};
    use serde::{Deserializer, Serializer};

    pub(crate) fn serialize<T: Sketched, S: Serializer>(
        it: &T,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&it.bytes())
    }

    pub(crate) fn deserialize<'de, T: Sketched, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<T, D::Error> {
        struct Bytes<T>(PhantomData<T>);

        impl<T: Sketched> Visitor<'_> for Bytes<T> {
            type Value = T;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("the bytes of a sketch")
            }

            fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<T, E> {
                T::of(bytes).map_err(E::custom)
            }
        }

        deserializer.deserialize_bytes(Bytes(PhantomData))
    }
}

/// Reads a list of at most so many.
pub(crate) fn at_most<'de, D, T, const MAX: usize>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    struct AtMost<T, const MAX: usize>(PhantomData<T>);

    impl<'de, T: Deserialize<'de>, const MAX: usize> Visitor<'de> for AtMost<T, MAX> {
        type Value = Vec<T>;

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(formatter, "a list of at most {MAX}")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<T>, A::Error> {
            let mut taken = Vec::new();
            while let Some(item) = list.next_element()? {
                if taken.len() == MAX {
                    return Err(A::Error::invalid_length(MAX + 1, &self));
                }
                taken.push(item);
            }
            Ok(taken)
        }
    }

    deserializer.deserialize_seq(AtMost::<T, MAX>(PhantomData))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::v1::{Body, Record, record};
    use proptest::prelude::*;

    fn edges() -> Edges {
        Edges::new(vec![0.0, 1.0, 5.0]).unwrap()
    }

    fn release() -> ReleaseRef {
        ReleaseRef { name: "turbine".into(), version: "1".into(), digest: [1; 32] }
    }

    /// What a slot did that answered these values, one a second.
    fn interval(at_second: i64, values: &[f64]) -> Interval {
        let mut latency_us = Histogram::default();
        let (mut numbers, mut texts) = (NumberColumn::new(Some(&edges())), TextColumn::default());
        for value in values {
            latency_us.add(100.0 + value);
            numbers.add(Some(&edges()), *value).unwrap();
            texts.add(if *value > 1.0 { "true" } else { "false" });
        }
        numbers.add_missing_rows(3);
        let frames = values.len() as u64;
        let input = Column::Numbers(Box::new(numbers));
        let summary =
            |name: &str, column| Summary { name: name.into(), column, out_of_range: frames / 2 };
        Interval {
            slot: "line".into(),
            release: release(),
            start_unix_ms: at_second * 1000,
            end_unix_ms: (at_second + values.len() as i64) * 1000,
            readings: 2 * frames,
            late_readings: frames / 3,
            frames,
            findings: frames,
            alarms: frames / 4,
            doubled: 0,
            errors: vec![(format!("reason {}", frames % 3), frames)],
            dropped: vec![("missing".into(), frames + 1)],
            latency_us,
            inputs: vec![summary("wind", input)],
            outputs: vec![summary("worn", Column::Texts(texts))],
            left_out: 0,
            shadow_frames: frames,
            shadow_agreed: frames / 2,
            intervals: 1,
            stands_for: vec![],
            resources: Resources { cpu_ms: at_second as u64, ..Resources::default() },
        }
    }

    fn sum(counts: &Counts) -> u64 {
        counts.iter().map(|(_, number)| number).sum()
    }

    fn read(interval: &Interval) -> Result<Interval, String> {
        let body = Body::Interval(Box::new(interval.clone()));
        let (code, body) = body.encode().unwrap();
        assert_eq!(code, record::INTERVAL);
        match (Record { boot: 0, sequence: 0, backfill: false, code, body }).read() {
            Ok(Body::Interval(interval)) => Ok(*interval),
            other => Err(format!("{other:?}")),
        }
    }

    proptest! {
        #[test]
        fn merged_intervals_count_what_each_has_counted(
            parts in prop::collection::vec(prop::collection::vec(-2f64..9.0, 0..30), 1..8),
        ) {
            let each: Vec<_> =
                parts.iter().enumerate().map(|(at, values)| interval(at as i64, values)).collect();
            let mut whole = each[0].clone();
            for (at, later) in each.iter().enumerate().skip(1) {
                whole = whole.merged((7, 2 * at as u64 - 2), later).unwrap();
            }
            let total = |of: fn(&Interval) -> u64| each.iter().map(of).sum::<u64>();
            let counts: [fn(&Interval) -> u64; 12] = [
                |it| it.readings,
                |it| it.late_readings,
                |it| it.frames,
                |it| it.findings,
                |it| it.alarms,
                |it| it.intervals,
                |it| it.shadow_frames,
                |it| it.shadow_agreed,
                |it| sum(&it.errors),
                |it| sum(&it.dropped),
                |it| it.inputs[0].out_of_range,
                |it| it.latency_us.count(),
            ];
            for (at, of) in counts.into_iter().enumerate() {
                prop_assert_eq!(of(&whole), total(of), "count {}", at);
            }
            let all: Vec<f64> = parts.concat();
            let alone = interval(0, &all);
            prop_assert_eq!(&whole.latency_us, &alone.latency_us);
            prop_assert_eq!(&whole.outputs[0].column, &alone.outputs[0].column);
            prop_assert_eq!(whole.inputs[0].column.missing(), 3 * each.len() as u64);
            let last = each.last().unwrap();
            prop_assert_eq!((whole.start_unix_ms, whole.resources), (0, last.resources));
            prop_assert_eq!(
                whole.end_unix_ms, each.iter().map(|it| it.end_unix_ms).max().unwrap());
            prop_assert_eq!(whole.stands_for.len(), each.len() - 1, "every second number");
            prop_assert_eq!(read(&whole), Ok(whole));
        }
    }

    #[test]
    fn what_was_counted_otherwise_stays_apart() {
        let one = interval(0, &[1.0, 2.0]);
        let mut other = one.clone();
        other.release.version = "2".into();
        assert_eq!(one.merged((1, 1), &other), Err(Unmergeable::Other));
        let mut other = one.clone();
        other.inputs[0].column = Column::numbers(None);
        let error = one.merged((1, 1), &other).unwrap_err();
        assert!(error.to_string().contains("wind"), "{error}");
        let mut other = one.clone();
        other.inputs = (0..COLUMNS_MAX)
            .map(|n| Summary { name: n.to_string(), ..one.outputs[0].clone() })
            .collect();
        assert_eq!(one.merged((1, 1), &other), Err(Unmergeable::Columns));
        let mut whole = one.clone();
        assert_eq!(whole.absorb(&other), Err(Unmergeable::Columns));
        assert_eq!(whole, one, "nothing was counted");
    }

    #[test]
    fn the_numbers_that_one_stands_for_are_joined_and_have_a_bound() {
        let mut whole = interval(0, &[1.0]);
        for number in 0..5 {
            whole = whole.merged((1, number), &interval(0, &[1.0])).unwrap();
        }
        assert_eq!(whole.stands_for, [StandsFor { boot: 1, first: 0, last: 4 }]);
        for boot in 2..STANDS_FOR_MAX as u64 + 9 {
            whole = whole.merged((boot, 3), &interval(0, &[1.0])).unwrap();
        }
        assert_eq!(whole.stands_for.len(), STANDS_FOR_MAX);
        assert_eq!(whole.stands_for[0].boot, 9, "the oldest are left out");
        assert_eq!(whole.intervals, STANDS_FOR_MAX as u64 + 13);
        assert!(read(&whole).is_ok());
    }

    #[test]
    fn more_than_a_device_sends_is_not_read() {
        let whole = interval(0, &[1.0]);
        let summary = whole.outputs[0].clone();
        let inputs = |number| Interval { inputs: vec![summary.clone(); number], ..whole.clone() };
        assert!(read(&inputs(COLUMNS_MAX)).is_ok() && read(&inputs(COLUMNS_MAX + 1)).is_err());
        let reasons = vec![("x".to_owned(), 1); REASONS_MAX + 2];
        assert!(read(&Interval { errors: reasons, ..whole.clone() }).is_err());
        let mut bytes = Body::Interval(Box::new(whole)).encode().unwrap().1;
        // The last column names itself a sketch of another kind.
        let kind = TextColumn::default().encode()[0];
        let at = bytes.iter().rposition(|byte| *byte == kind).unwrap();
        bytes[at] = 99;
        let damaged =
            Record { boot: 0, sequence: 0, backfill: false, code: record::INTERVAL, body: bytes };
        assert!(damaged.read().is_err());
    }
}
