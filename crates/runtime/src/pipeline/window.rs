//! Groups the readings of one stream into windows on boundaries that everybody agrees on.

use super::frame::FrameError;
use super::reading::ReadingRef;

/// A full window, ready for the stages.
#[derive(Debug, PartialEq)]
pub struct Window {
    /// Sequence number of its first reading.
    pub first: u64,
    /// Time of its last reading.
    pub time_unix_ns: i64,
    /// Values row by row: `rows * fields`.
    pub values: Vec<f32>,
    /// It begins right behind a time without readings, longer than the bundle allows within a window.
    pub is_behind_gap: bool,
}

/// A frame that will never have a window, and the readings that it accounts for all the same.
#[derive(Debug, PartialEq)]
pub struct Broken {
    /// First reading of its stride.
    pub first: u64,
    /// Last reading of its stride.
    pub last: u64,
    /// Time of the stream's last reading.
    pub time_unix_ns: i64,
    /// Why.
    pub error: FrameError,
}

/// What a reading completes.
#[derive(Debug, PartialEq)]
pub enum Cut {
    /// A window.
    Whole(Window),
    /// A frame that cannot be answered.
    Broken(Broken),
}

/// The open windows of one stream. Windows begin at multiples of the stride, so two windowers
/// given the same readings cut them alike, whenever they started.
#[derive(Debug)]
pub struct Windower {
    rows: u32,
    stride: u64,
    fields: usize,
    /// First boundary at or after the first reading seen: what lies before is another windower's.
    from: Option<u64>,
    next: u64,
    time_unix_ns: i64,
    /// Sequence number of the first reading that is kept.
    first: u64,
    /// The values of the readings that are kept, row by row: of each in a row from the first on.
    values: Vec<f32>,
    /// How many readings are kept.
    kept: u64,
    /// Longest time between two readings of a window, in nanoseconds.
    gap_ns: Option<u64>,
    /// The last reading that came behind a longer one.
    behind_gap: Option<u64>,
    /// A stride whose window cannot become whole, until its last reading has passed.
    spoilt: Option<Spoilt>,
}

#[derive(Debug)]
struct Spoilt {
    first: u64,
    have: u32,
    fault: Option<FrameError>,
}

impl Windower {
    /// Windows of `rows` readings of `fields` values, each beginning `stride` after the one before.
    pub fn new(rows: u32, stride: u32, fields: usize) -> Windower {
        Windower {
            rows,
            stride: u64::from(stride),
            fields,
            from: None,
            next: 0,
            time_unix_ns: 0,
            first: 0,
            values: Vec::new(),
            kept: 0,
            gap_ns: None,
            behind_gap: None,
            spoilt: None,
        }
    }

    /// The same, with so many nanoseconds between two readings of a window at the most.
    pub fn with_gap(self, gap_ns: Option<u64>) -> Windower {
        Windower { gap_ns, ..self }
    }

    /// Takes the stream's next reading; gives the frames that it completes.
    ///
    /// A frame with a reading that is missing from the sequence or does not fit the port is broken, and so is one
    /// over a gap in time, if there is a bound to that.
    /// A frame of which no reading came at all belongs to whoever dropped them. A reading that is
    /// older than the one before is not looked at again.
    pub fn push<'a>(&mut self, reading: impl Into<ReadingRef<'a>>) -> Vec<Cut> {
        let reading = reading.into();
        let sequence = reading.sequence;
        let Some(after) = sequence.checked_add(1) else { return vec![] };
        let before = self.from.map(|_| self.time_unix_ns);
        let from = match self.from {
            Some(from) => from,
            None => {
                let Some(from) = sequence.checked_next_multiple_of(self.stride) else {
                    return vec![];
                };
                self.next = sequence;
                *self.from.insert(from)
            }
        };
        if sequence < self.next {
            return vec![];
        }
        let dropped = sequence > self.next.max(from);
        self.next = after;
        self.time_unix_ns = reading.time_unix_ns;
        if sequence < from {
            return vec![];
        }
        let mut cuts = Vec::new();
        let kept = self.values.len();
        let fault = reading.append_values(self.fields, &mut self.values).err();
        let gap = before.and_then(|before| self.gap(before, reading.time_unix_ns));
        if dropped || fault.is_some() || gap.is_some() {
            let own = self.values.split_off(kept);
            if gap.is_some() {
                self.behind_gap = Some(sequence);
            }
            let begins = fault.is_none() && sequence.is_multiple_of(self.stride);
            let gap = gap.filter(|_| !dropped);
            self.spoil(sequence, begins, fault.as_ref().or(gap.as_ref()), &mut cuts);
            self.values = own;
        }
        if let Some(spoilt) = &mut self.spoilt {
            self.values.clear();
            spoilt.have += 1;
            if sequence == spoilt.first.saturating_add(self.stride - 1) {
                cuts.extend(self.spoilt.take().map(|spoilt| self.broken(spoilt)));
            }
        } else if fault.is_none() {
            if self.kept == 0 {
                self.first = sequence;
            }
            self.kept += 1;
            cuts.extend(self.whole().map(Cut::Whole));
        }
        cuts
    }

    /// The gap between a reading and the one before it, where it is longer than may be.
    fn gap(&self, before_ns: i64, time_unix_ns: i64) -> Option<FrameError> {
        // What is earlier is none: a clock was set back.
        let gap_ns = u64::try_from(time_unix_ns.saturating_sub(before_ns)).ok()?;
        (gap_ns > self.gap_ns?).then_some(FrameError::Gap { gap_ms: gap_ns / 1_000_000 })
    }

    /// Ends the stream: what was open is broken.
    pub fn end(&mut self) -> Vec<Cut> {
        let mut cuts = Vec::new();
        self.give_up(self.next, None, &mut cuts);
        if let Some(spoilt) = self.spoilt.take() {
            let mut broken = self.broken(spoilt);
            if let Cut::Broken(broken) = &mut broken {
                broken.last = self.next - 1;
            }
            cuts.push(broken);
        }
        cuts
    }

    /// Sequence number after the last reading, and that one's time.
    pub fn position(&self) -> (u64, i64) {
        (self.next, self.time_unix_ns)
    }

    fn whole(&mut self) -> Option<Window> {
        if self.kept < u64::from(self.rows) {
            return None;
        }
        let first = self.first;
        let is_behind_gap = self.behind_gap == Some(first);
        self.first += self.stride;
        self.kept -= self.stride;
        let values = if self.kept == 0 {
            let next = Vec::with_capacity(self.values.len());
            std::mem::replace(&mut self.values, next)
        } else {
            let values = self.values.clone();
            self.values.drain(..self.stride as usize * self.fields);
            values
        };
        Some(Window { first, time_unix_ns: self.time_unix_ns, values, is_behind_gap })
    }

    /// Reading `sequence` cannot follow the readings before it: their windows are given up, and so
    /// is the stride that it lies in unless it `begins` one.
    fn spoil(
        &mut self,
        sequence: u64,
        begins: bool,
        fault: Option<&FrameError>,
        cuts: &mut Vec<Cut>,
    ) {
        self.give_up(sequence, fault, cuts);
        if self.spoilt.is_none() && !begins {
            let first = sequence - sequence % self.stride;
            self.spoilt = Some(Spoilt { first, have: 0, fault: fault.cloned() });
        }
    }

    /// Breaks every open stride that ended before `sequence`; the one around it stays spoilt.
    fn give_up(&mut self, sequence: u64, fault: Option<&FrameError>, cuts: &mut Vec<Cut>) {
        let mut strides: Vec<Spoilt> = self.spoilt.take().into_iter().collect();
        self.values.clear();
        for at in self.first..self.first + std::mem::take(&mut self.kept) {
            let first = at - at % self.stride;
            match strides.last_mut() {
                Some(stride) if stride.first == first => stride.have += 1,
                _ => strides.push(Spoilt { first, have: 1, fault: fault.cloned() }),
            }
        }
        for stride in strides {
            if stride.first.saturating_add(self.stride - 1) < sequence {
                let broken = self.broken(stride);
                cuts.push(broken);
            } else {
                self.spoilt = Some(stride);
            }
        }
    }

    fn broken(&self, spoilt: Spoilt) -> Cut {
        let Spoilt { first, have, fault } = spoilt;
        let error = fault.unwrap_or(FrameError::Incomplete { have, rows: self.rows });
        let last = first.saturating_add(self.stride - 1);
        Cut::Broken(Broken { first, last, time_unix_ns: self.time_unix_ns, error })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::Reading;

    fn reading(sequence: u64, value: f64) -> Reading {
        Reading { key: String::new(), sequence, time_unix_ns: 0, values: vec![value] }
    }

    fn told(cut: Cut) -> String {
        match cut {
            Cut::Whole(window) => {
                let expected = (0..window.values.len()).map(|i| (window.first + i as u64) as f32);
                assert_eq!(window.values, expected.collect::<Vec<_>>());
                window.first.to_string()
            }
            Cut::Broken(broken) => {
                let word = match &broken.error {
                    FrameError::Incomplete { have, .. } => format!("has {have}"),
                    error => error.reason().to_owned(),
                };
                format!("{}-{} {word}", broken.first, broken.last)
            }
        }
    }

    /// Pushes readings whose value is their number, then ends the stream.
    fn cut(rows: u32, stride: u32, sequences: impl IntoIterator<Item = u64>) -> Vec<String> {
        let mut windower = Windower::new(rows, stride, 1);
        let mut cuts = Vec::new();
        for sequence in sequences {
            // 1000 stands for a value that is none.
            let value = if sequence >= 1000 { f64::NAN } else { sequence as f64 };
            cuts.extend(windower.push(&reading(sequence % 1000, value)));
        }
        cuts.extend(windower.end());
        cuts.into_iter().map(told).collect()
    }

    #[test]
    fn whoever_starts_in_the_middle_cuts_the_same_windows() {
        assert_eq!(cut(6, 6, 0..24), ["0", "6", "12", "18"]);
        assert_eq!(cut(6, 6, 8..24), ["12", "18"]);
        assert_eq!(cut(6, 3, 0..12), ["0", "3", "6", "9-11 has 3"]);
        assert_eq!(cut(6, 3, 4..12), ["6", "9-11 has 3"]);
    }

    #[test]
    fn no_window_spans_a_gap_and_every_reading_that_came_is_accounted_for() {
        // 8 and 9 dropped: 6 and 7, and 10 and 11 behind the gap, belong to the frame that broke.
        assert_eq!(cut(6, 6, (0..8).chain(10..24)), ["0", "6-11 has 4", "12", "18"]);
        // The gap ends on a boundary; in a frame of its own; swallows whole frames.
        assert_eq!(cut(6, 6, (0..8).chain(12..18)), ["0", "6-11 has 2", "12"]);
        assert_eq!(cut(6, 6, (0..6).chain(8..18)), ["0", "6-11 has 4", "12"]);
        assert_eq!(cut(6, 6, (0..8).chain(32..42)), ["0", "6-11 has 2", "30-35 has 4", "36"]);
        // Windows that overlap break together where they share the reading that is missing.
        assert_eq!(
            cut(6, 3, (0..10).chain(11..21)),
            ["0", "3", "6-8 has 3", "9-11 has 2", "12", "15", "18-20 has 3"]
        );
        // A gap before the first boundary is nobody's frame here.
        assert_eq!(cut(6, 6, [7, 10, 12, 13, 14, 15, 16, 17]), ["12"]);
        assert_eq!(cut(6, 6, [7, 13, 14, 15, 16, 17, 18]), ["12-17 has 5", "18-18 has 1"]);
    }

    #[test]
    fn no_window_spans_a_time_without_readings_that_is_longer_than_it_may_be() {
        // The times of the readings in seconds; up to three may lie between two.
        let cut = |rows, stride, times: &[i64]| {
            let windower = Windower::new(rows, stride, 1).with_gap(Some(3_000_000_000));
            let mut windower = windower;
            let mut told = Vec::new();
            for (sequence, time) in (0..).zip(times) {
                let time_unix_ns = time * 1_000_000_000;
                let reading = Reading { time_unix_ns, ..reading(sequence, sequence as f64) };
                for cut in windower.push(&reading) {
                    told.push(match cut {
                        Cut::Whole(Window { first, is_behind_gap: true, .. }) => {
                            format!("{first} anew")
                        }
                        Cut::Broken(Broken {
                            first, error: FrameError::Gap { gap_ms }, ..
                        }) => {
                            format!("{first} over {gap_ms} ms")
                        }
                        other => self::told(other),
                    });
                }
            }
            told.join(", ")
        };
        assert_eq!(cut(2, 2, &[0, 3, 6, 9]), "0, 2");
        // Within a window; between two; a clock that is set back is none.
        assert_eq!(cut(2, 2, &[0, 1, 2, 6, 7, 8]), "0, 2 over 4000 ms, 4");
        assert_eq!(cut(2, 2, &[0, 1, 5, 6, 7, 8]), "0, 2 anew, 4");
        assert_eq!(cut(2, 2, &[100, 101, 0, 1]), "0, 2");
        // Windows that overlap: those over the gap have no answer.
        assert_eq!(
            cut(3, 1, &[0, 1, 2, 9, 10, 11, 12]),
            "0, 1 over 7000 ms, 2 over 7000 ms, 3 anew, 4"
        );
        assert_eq!(
            cut(4, 2, &[0, 1, 2, 3, 4, 9, 10, 11, 12, 13]),
            "0, 2 over 5000 ms, 4 over 5000 ms, 6"
        );
    }

    #[test]
    fn a_reading_that_is_no_number_breaks_its_frame_and_no_other() {
        assert_eq!(cut(3, 3, [0, 1, 2, 3, 1004, 5, 6, 7, 8]), ["0", "3-5 reading", "6"]);
        assert_eq!(cut(3, 3, [1000, 1, 2, 3, 4, 1005]), ["0-2 reading", "3-5 reading"]);
        assert_eq!(
            cut(2, 1, [0, 1, 1002, 3, 4]),
            ["0", "1-1 reading", "2-2 reading", "3", "4-4 has 1"]
        );
    }

    #[test]
    fn a_reading_that_comes_again_changes_nothing() {
        assert_eq!(cut(3, 3, [0, 1, 1, 0, 2, 2, 3, 4, 5, 0]), ["0", "3"]);
    }

    #[test]
    fn the_end_of_numbers_is_no_end_of_the_program() {
        let mut windower = Windower::new(3, 3, 1);
        for sequence in u64::MAX - 8..=u64::MAX {
            windower.push(&reading(sequence, 0.0));
        }
        windower.end();
        assert!(Windower::new(3, 2, 1).push(&reading(u64::MAX, 0.0)).is_empty());
    }

    #[test]
    fn a_value_beyond_32_bits_is_told_from_a_good_one() {
        let mut windower = Windower::new(1, 1, 1);
        let cuts = windower.push(&reading(0, 1e300));
        let [Cut::Broken(broken)] = cuts.as_slice() else { panic!("it was taken for a number") };
        assert!(broken.error.to_string().ends_with("value 0 is no 32-bit number: 1e300"));
    }
}
