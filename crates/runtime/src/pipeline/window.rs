//! Groups the readings of one stream into windows on boundaries that everybody agrees on.

use super::frame::Reading;
use std::collections::VecDeque;

/// A full window, ready for the stages.
#[derive(Debug, PartialEq)]
pub struct Window {
    /// Sequence number of its first reading.
    pub first: u64,
    /// Time of its last reading.
    pub time_unix_ns: i64,
    /// Values row by row: `rows * fields`.
    pub values: Vec<f32>,
}

/// The open window of one stream. Windows begin at multiples of the stride, so two windowers
/// given the same readings cut them alike, whenever they started.
#[derive(Debug)]
pub struct Windower {
    rows: usize,
    stride: u64,
    readings: VecDeque<Reading>,
    last: Option<(u64, i64)>,
}

impl Windower {
    /// Windows of `rows` readings, each beginning `stride` after the one before.
    pub fn new(rows: u32, stride: u32) -> Windower {
        Windower {
            rows: rows as usize,
            stride: u64::from(stride),
            readings: VecDeque::new(),
            last: None,
        }
    }

    /// Takes the stream's next reading; gives the window that it completes.
    ///
    /// A gap in the sequence (readings that were dropped) starts again at the next boundary.
    pub fn push(&mut self, reading: Reading) -> Option<Window> {
        self.last = Some((reading.sequence, reading.time_unix_ns));
        let follows = self.readings.back().is_none_or(|last| last.sequence + 1 == reading.sequence);
        if !follows {
            self.readings.clear();
        }
        if self.readings.is_empty() && !reading.sequence.is_multiple_of(self.stride) {
            return None;
        }
        self.readings.push_back(reading);
        if self.readings.len() < self.rows {
            return None;
        }
        let window = Window {
            first: self.readings.front()?.sequence,
            time_unix_ns: self.readings.back()?.time_unix_ns,
            values: self.readings.iter().flat_map(|r| &r.values).map(|v| *v as f32).collect(),
        };
        self.readings.drain(..(self.stride as usize).min(self.rows));
        Some(window)
    }

    /// The readings of the window that is still open, as first and last sequence number, and the
    /// time of the stream's last reading. Without open readings the range is empty: it begins after
    /// the last reading and ends with it. None before the first reading.
    pub fn open(&self) -> Option<(u64, u64, i64)> {
        let (last, time_unix_ns) = self.last?;
        let first = self.readings.front().map_or(last + 1, |reading| reading.sequence);
        Some((first, last, time_unix_ns))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn firsts(rows: u32, stride: u32, sequences: impl IntoIterator<Item = u64>) -> Vec<u64> {
        let mut windower = Windower::new(rows, stride);
        let reading = |sequence| Reading {
            key: String::new(),
            sequence,
            time_unix_ns: 0,
            values: vec![sequence as f64],
        };
        sequences
            .into_iter()
            .filter_map(|sequence| windower.push(reading(sequence)))
            .map(|window| {
                let values: Vec<f32> =
                    (0..rows as u64).map(|i| (window.first + i) as f32).collect();
                assert_eq!(window.values, values);
                window.first
            })
            .collect()
    }

    #[test]
    fn whoever_starts_in_the_middle_cuts_the_same_windows() {
        assert_eq!(firsts(6, 6, 0..24), [0, 6, 12, 18]);
        assert_eq!(firsts(6, 6, 8..24), [12, 18]);
        assert_eq!(firsts(6, 3, 0..15), [0, 3, 6, 9]);
        assert_eq!(firsts(6, 3, 4..15), [6, 9]);
    }

    #[test]
    fn no_window_spans_a_gap() {
        assert_eq!(firsts(6, 6, (0..8).chain(10..24)), [0, 12, 18]);
    }
}
