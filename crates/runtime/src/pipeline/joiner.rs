//! Frames by time of one key: the readings of its ports, each cut into windows on boundaries that
//! everybody agrees on.
//!
//! A frame is told when each port has given a reading at its end or later. A port that is silent holds it
//! up no longer than [`TimeCut::wait_ns`], by the time of the others. What comes for a frame that was told
//! is late, and so is what is older than a stride before its own port's newest: it is not used, and
//! counted. Whoever is given the same readings in the same order tells the same frames, wherever he starts.

use super::frame::{FrameError, Span, Unused};
use super::lane::Lane;
use super::reading::ReadingRef;
use lineside_bundle::{TimeCut, TimeWindow};
use std::collections::BTreeMap;

/// Late readings of a port in a row from which on its clock counts as set back: until then they are taken
/// for stragglers behind one whose time was right.
const LATE_MAX: u32 = 32;

/// A frame that is over.
#[derive(Debug, PartialEq)]
pub(super) struct Joined {
    /// Its number: its beginning in strides since 1970.
    pub frame: u64,
    /// What it accounts for, by port; a port without a reading is not there.
    pub spans: Vec<(usize, Span)>,
    /// When it ended, nanoseconds since 1970.
    pub time_unix_ns: i64,
    /// Readings since the frame before that were not used.
    pub unused: Unused,
    /// Its windows by stage, or why it has no answer.
    pub windows: Result<Vec<Vec<f32>>, FrameError>,
}

/// The open frames of one key.
#[derive(Debug)]
pub(super) struct Joiner {
    cut: TimeCut,
    ports: Vec<Port>,
    lanes: Vec<Lane>,
    /// Frames before it are over.
    open_from: u64,
    unused: Unused,
}

#[derive(Debug, Default)]
struct Port {
    fields: usize,
    /// The number after the last reading; none before one has come.
    next: Option<u64>,
    /// The first reading that no frame accounts for.
    accounted: u64,
    /// Time of its newest reading.
    newest_ns: Option<u64>,
    /// Its first reading of each open frame.
    own: BTreeMap<u64, u64>,
    late: u32,
}

impl Joiner {
    /// Of ports with so many fields each, by name.
    pub(super) fn new(cut: TimeCut, windows: &[TimeWindow], fields: &[usize]) -> Joiner {
        let port = |fields: &usize| Port { fields: *fields, ..Port::default() };
        Joiner {
            cut,
            ports: fields.iter().map(port).collect(),
            lanes: windows.iter().map(|window| Lane::new(cut, window.clone())).collect(),
            open_from: 0,
            unused: Unused::default(),
        }
    }

    /// Takes the next reading of a port; gives the frames that are over by it.
    pub(super) fn push<'a>(
        &mut self,
        port: usize,
        reading: impl Into<ReadingRef<'a>>,
    ) -> Vec<Joined> {
        let reading = reading.into();
        let sequence = reading.sequence;
        let Some(state) = self.ports.get_mut(port) else { return vec![] };
        let Some(after) = sequence.checked_add(1) else { return vec![] };
        if state.next.is_some_and(|next| sequence < next) {
            return vec![];
        }
        if state.next.is_none() {
            state.accounted = sequence;
        }
        let Some(frame) = self.cut.frame(reading.time_unix_ns) else {
            state.next = Some(after);
            self.unused.late += 1;
            return vec![];
        };
        let newest = state.newest_ns.map_or(0, |newest_ns| newest_ns / self.cut.stride_ns);
        let mut joined = Vec::new();
        if frame < self.open_from.max(newest) {
            state.late += 1;
            if state.late < LATE_MAX {
                state.next = Some(after);
                self.unused.late += 1;
                return vec![];
            }
            joined = self.set_back();
        }
        let time_ns = reading.time_unix_ns.unsigned_abs();
        let Some(state) = self.ports.get_mut(port) else { return joined };
        let values = reading.values(state.fields);
        state.next = Some(after);
        state.late = 0;
        state.own.entry(frame).or_insert(sequence);
        state.newest_ns = state.newest_ns.max(Some(time_ns));
        let mut is_first = true;
        for lane in self.lanes.iter_mut().filter(|lane| lane.port() == port) {
            is_first &= lane.insert(time_ns, &values);
        }
        self.unused.twice += u32::from(!is_first);
        while let Some(frame) = self.oldest().filter(|frame| self.is_over(*frame)) {
            let windows = self.windows(frame);
            joined.push(self.close(frame, windows));
        }
        joined
    }

    /// The stream ends: what can be answered of what is open is.
    pub(super) fn end(&mut self) -> Vec<Joined> {
        let mut joined = Vec::new();
        while let Some(frame) = self.oldest() {
            let windows = self.windows(frame);
            joined.push(self.close(frame, windows));
        }
        joined
    }

    /// The number after the last frame's, and for each port with readings that after the last reading's.
    pub(super) fn position(&self) -> (u64, Vec<(usize, u64)>) {
        let next = |(at, port): (usize, &Port)| Some((at, port.next?));
        (self.open_from, self.ports.iter().enumerate().filter_map(next).collect())
    }

    /// A clock was set back, or a reading came whose time lay far ahead: what is open has no answer, and
    /// the time begins anew.
    fn set_back(&mut self) -> Vec<Joined> {
        let mut joined = Vec::new();
        while let Some(frame) = self.oldest() {
            joined.push(self.close(frame, Err(FrameError::Clock)));
        }
        self.open_from = 0;
        self.ports.iter_mut().for_each(|port| port.newest_ns = None);
        self.lanes.iter_mut().for_each(Lane::clear);
        joined
    }

    fn oldest(&self) -> Option<u64> {
        self.ports.iter().filter_map(|port| Some(*port.own.first_key_value()?.0)).min()
    }

    fn is_over(&self, frame: u64) -> bool {
        let end = self.cut.end(frame);
        let newest = || self.ports.iter().map(|port| port.newest_ns);
        let passed = |by: u64| move |newest: Option<u64>| newest.is_some_and(|newest| newest >= by);
        newest().all(passed(end)) || newest().any(passed(end.saturating_add(self.cut.wait_ns)))
    }

    fn windows(&self, frame: u64) -> Result<Vec<Vec<f32>>, FrameError> {
        self.lanes.iter().map(|lane| lane.rows(frame)).collect()
    }

    fn close(&mut self, frame: u64, windows: Result<Vec<Vec<f32>>, FrameError>) -> Joined {
        self.open_from = frame.saturating_add(1);
        let mut spans = Vec::new();
        for (at, port) in self.ports.iter_mut().enumerate() {
            port.own = port.own.split_off(&self.open_from);
            let Some(next) = port.next else { continue };
            let until = port.own.first_key_value().map_or(next, |(_, first)| *first);
            if until > port.accounted {
                spans.push((at, Span { first: port.accounted, last: until - 1 }));
                port.accounted = until;
            }
        }
        self.lanes.iter_mut().for_each(|lane| lane.forget_before(self.open_from));
        Joined {
            frame,
            spans,
            time_unix_ns: i64::try_from(self.cut.end(frame)).unwrap_or(i64::MAX),
            unused: std::mem::take(&mut self.unused),
            windows,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::Reading;
    use lineside_bundle::stages::Between;

    const SECOND: i64 = 1_000_000_000;

    /// Windows of so many seconds, each second a row of the last reading.
    fn joiner(ports: usize, span: u64, stride: u64, wait: u64) -> Joiner {
        let second = SECOND as u64;
        let cut =
            TimeCut { stride_ns: stride * second, span_ns: span * second, wait_ns: wait * second };
        let window = |port| TimeWindow {
            stage: format!("w{port}"),
            port,
            stride,
            offset: 0,
            rows: span,
            between: Between::Hold,
            gap_ns: 2 * second,
        };
        let windows: Vec<_> = (0..ports).map(window).collect();
        Joiner::new(cut, &windows, &vec![1; ports])
    }

    /// Pushes readings `port second`, whose value is their second and whose number counts per port.
    struct Story {
        joiner: Joiner,
        numbers: Vec<u64>,
    }

    impl Story {
        fn new(joiner: Joiner) -> Story {
            let numbers = vec![0; joiner.ports.len()];
            Story { joiner, numbers }
        }

        fn push(&mut self, port: usize, second: i64) -> Vec<String> {
            let sequence = self.numbers[port];
            self.numbers[port] += 1;
            let reading = Reading {
                key: String::new(),
                sequence,
                time_unix_ns: second * SECOND,
                values: vec![second as f64],
            };
            self.joiner.push(port, &reading).iter().map(told).collect()
        }

        fn all(&mut self, readings: &[(usize, i64)]) -> Vec<String> {
            readings.iter().flat_map(|(port, second)| self.push(*port, *second)).collect()
        }

        fn end(&mut self) -> Vec<String> {
            self.joiner.end().iter().map(told).collect()
        }
    }

    fn told(joined: &Joined) -> String {
        let spans: Vec<String> = joined
            .spans
            .iter()
            .map(|(port, it)| format!("{port}:{}-{}", it.first, it.last))
            .collect();
        let windows = match &joined.windows {
            Ok(windows) => format!("{windows:?}"),
            Err(FrameError::Sparse { stage, have, rows }) => {
                format!("{stage} has {have} of {rows}")
            }
            Err(FrameError::Begins { stage }) => format!("{stage} begins"),
            Err(error) => error.reason().to_owned(),
        };
        let unused = match (joined.unused.late, joined.unused.twice) {
            (0, 0) => String::new(),
            (late, twice) => format!(" late {late} twice {twice}"),
        };
        format!("{} {} {windows}{unused}", joined.frame, spans.join(" "))
    }

    fn one(from: i64, to: i64) -> Vec<(usize, i64)> {
        (from..to).map(|second| (0, second)).collect()
    }

    #[test]
    fn frames_are_numbered_by_their_time_whoever_starts_where() {
        let mut story = Story::new(joiner(1, 2, 2, 0));
        let all = story.all(&one(10, 17));
        assert_eq!(
            all,
            ["5 0:0-1 [[10.0, 11.0]]", "6 0:2-3 [[12.0, 13.0]]", "7 0:4-5 [[14.0, 15.0]]"]
        );
        assert_eq!(story.end(), ["8 0:6-6 [[16.0, 16.0]]"], "it holds what came last");
        let mut later = Story::new(joiner(1, 2, 2, 0));
        later.numbers[0] = 1;
        assert_eq!(later.all(&one(11, 17))[1..], all[1..]);
        // Windows that overlap.
        let mut story = Story::new(joiner(1, 4, 2, 0));
        assert_eq!(
            story.all(&one(10, 17)),
            ["5 0:0-1 [[10.0, 11.0, 12.0, 13.0]]", "6 0:2-3 [[12.0, 13.0, 14.0, 15.0]]"]
        );
    }

    #[test]
    fn what_is_missing_is_told_and_costs_no_other_frame() {
        let mut story = Story::new(joiner(1, 4, 4, 0));
        let readings: Vec<_> =
            [0, 1, 2, 3, 7, 8, 9, 10, 11, 21, 22, 23, 24].map(|second| (0, second)).into();
        assert_eq!(
            story.all(&readings),
            [
                "0 0:0-3 [[0.0, 1.0, 2.0, 3.0]]",
                "1 0:4-4 w0 has 3 of 4",
                "2 0:5-8 [[8.0, 9.0, 10.0, 11.0]]",
                "5 0:9-11 w0 has 3 of 4",
            ]
        );
        let mut middle = Story::new(joiner(1, 4, 4, 0));
        assert_eq!(middle.all(&one(2, 9)), ["0 0:0-1 w0 begins", "1 0:2-5 [[4.0, 5.0, 6.0, 7.0]]"]);
    }

    #[test]
    fn late_readings_and_those_that_come_twice_are_counted_and_not_used() {
        let mut story = Story::new(joiner(1, 2, 2, 0));
        let order = [0, 1, 1, 3, 2, 0, 4, 6, 3, 7, 8];
        let readings: Vec<_> = order.map(|second| (0, second)).into();
        assert_eq!(
            story.all(&readings),
            [
                "0 0:0-2 [[0.0, 1.0]] late 0 twice 1",
                "1 0:3-5 [[2.0, 3.0]] late 1 twice 0",
                "2 0:6-6 [[4.0, 4.0]]",
                "3 0:7-9 [[6.0, 7.0]] late 1 twice 0",
            ]
        );
    }

    #[test]
    fn a_clock_that_is_set_back_costs_some_readings_and_no_more() {
        let mut story = Story::new(joiner(1, 2, 2, 0));
        let mut told = story.all(&one(1000, 1005));
        // One reading far ahead ends what is open; then the clock is right again, and what it says late.
        told.extend(story.push(0, 9001));
        told.extend(story.all(&one(1005, 1050)));
        assert_eq!(
            told[..5],
            [
                "500 0:0-1 [[1000.0, 1001.0]]",
                "501 0:2-3 [[1002.0, 1003.0]]",
                "502 0:4-4 [[1004.0, 1004.0]]",
                "4500 0:5-36 clock late 31 twice 0",
                "518 0:37-38 [[1036.0, 1037.0]]",
            ]
        );
    }

    #[test]
    fn ports_are_joined_whatever_order_they_come_in() {
        let wanted =
            ["0 0:0-1 1:0-1 [[0.0, 1.0], [0.0, 1.0]]", "1 0:2-3 1:2-3 [[2.0, 3.0], [2.0, 3.0]]"];
        let mut even = Story::new(joiner(2, 2, 2, 5));
        let readings: Vec<_> = (0..5).flat_map(|second| [(0, second), (1, second)]).collect();
        assert_eq!(even.all(&readings), wanted);
        let mut ahead = Story::new(joiner(2, 2, 2, 5));
        let first: Vec<_> = (0..7).map(|second| (0, second)).collect();
        assert_eq!(ahead.all(&first), Vec::<String>::new(), "it waits for the other");
        let second: Vec<_> = (0..5).map(|second| (1, second)).collect();
        assert_eq!(ahead.all(&second), wanted);
    }

    #[test]
    fn a_port_that_falls_silent_holds_the_others_up_no_longer_than_was_said() {
        let mut story = Story::new(joiner(2, 2, 2, 3));
        assert_eq!(
            story.all(&[(0, 0), (1, 0), (0, 1), (0, 2), (0, 3), (0, 4)]),
            Vec::<String>::new()
        );
        assert_eq!(story.push(0, 5), ["0 0:0-1 1:0-0 [[0.0, 1.0], [0.0, 0.0]]"]);
        // It is there again; what belongs to the frame that was told is late.
        assert_eq!(story.push(1, 1), Vec::<String>::new());
        assert_eq!(
            story.all(&[(1, 2), (1, 3), (1, 4)]),
            ["1 0:2-3 1:1-3 [[2.0, 3.0], [2.0, 3.0]] late 1 twice 0"]
        );
        let mut never = Story::new(joiner(2, 2, 2, 3));
        assert_eq!(never.all(&one(0, 6)), ["0 0:0-1 w1 begins"]);
    }

    #[test]
    fn a_reading_before_1970_or_at_the_end_of_time_or_of_numbers_ends_nothing() {
        let mut story = Story::new(joiner(1, 2, 2, 0));
        assert_eq!(story.push(0, -1), Vec::<String>::new());
        let reading = |sequence, time_unix_ns| Reading {
            key: String::new(),
            sequence,
            time_unix_ns,
            values: vec![0.0],
        };
        story.joiner.push(0, &reading(1, i64::MAX));
        story.joiner.push(0, &reading(u64::MAX, 0));
        let ended = story.end();
        assert_eq!(ended.len(), 1, "{ended:?}");
    }
}
