//! What a window by time is made of: the readings of its port, as far as its rows need them.
//!
//! Rows lie on a grid, at whole multiples of the period since 1970. Of the readings between two rows only
//! the first and the last can matter to any of them, so no more are kept, however many come.

use super::frame::FrameError;
use lineside_bundle::stages::Between;
use lineside_bundle::{TimeCut, TimeWindow};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

/// The readings of one stream for one window.
#[derive(Debug)]
pub(super) struct Lane {
    cut: TimeCut,
    window: TimeWindow,
    /// By the row at which they lie, or after which.
    cells: BTreeMap<u64, Cell>,
}

#[derive(Debug)]
struct Cell {
    first: Row,
    /// None where there is one reading.
    last: Option<Row>,
    /// A reading that does not fit the port.
    fault: Option<FrameError>,
}

#[derive(Debug, Clone)]
struct Row {
    time_ns: u64,
    /// None of a reading that does not fit the port.
    values: Option<Vec<f32>>,
}

impl Lane {
    pub(super) fn new(cut: TimeCut, window: TimeWindow) -> Lane {
        Lane { cut, window, cells: BTreeMap::new() }
    }

    /// Takes a reading. False if there is one of this time already.
    pub(super) fn insert(&mut self, time_ns: u64, values: &Result<Vec<f32>, FrameError>) -> bool {
        let row = Row { time_ns, values: values.as_ref().ok().cloned() };
        let fault = values.as_ref().err();
        let cell = match self.cells.entry(self.row_before(time_ns)) {
            Entry::Vacant(entry) => {
                entry.insert(Cell { first: row, last: None, fault: fault.cloned() });
                return true;
            }
            Entry::Occupied(entry) => entry.into_mut(),
        };
        let last_ns = cell.last.as_ref().map_or(cell.first.time_ns, |last| last.time_ns);
        if time_ns == cell.first.time_ns || time_ns == last_ns {
            return false;
        }
        if cell.fault.is_none() {
            cell.fault = fault.cloned();
        }
        if time_ns < cell.first.time_ns {
            let first = std::mem::replace(&mut cell.first, row);
            cell.last.get_or_insert(first);
        } else if time_ns > last_ns {
            cell.last = Some(row);
        }
        true
    }

    /// The window of a frame, row by row.
    ///
    /// # Errors
    /// [`FrameError::Sparse`], [`FrameError::Begins`], or what is wrong with a reading of it.
    pub(super) fn rows(&self, frame: u64) -> Result<Vec<f32>, FrameError> {
        let TimeWindow { stage, rows, .. } = &self.window;
        let begin = self.begin(frame);
        let end = begin.saturating_add(*rows);
        if let Some(fault) = self.cells.range(begin..end).find_map(|(_, cell)| cell.fault.as_ref())
        {
            return Err(fault.clone());
        }
        let begins = self.left(begin).is_none();
        let mut values = Vec::new();
        let mut have: u32 = 0;
        for row in begin..end {
            have += u32::from(self.row(row, &mut values).is_some());
        }
        match (u64::from(have) == *rows, begins) {
            (true, _) => Ok(values),
            (false, true) => Err(FrameError::Begins { stage: stage.clone() }),
            (false, false) => {
                let rows = u32::try_from(*rows).unwrap_or(u32::MAX);
                Err(FrameError::Sparse { stage: stage.clone(), have, rows })
            }
        }
    }

    /// Lets go of what no window needs of this frame or of later ones.
    pub(super) fn forget_before(&mut self, frame: u64) {
        let begin = self.begin(frame);
        // The last reading before it is half of its first row, unless one lies right there.
        let is_there = self.left(begin).is_some_and(|left| left.time_ns == self.time(begin));
        let before = self.cells.range(..begin).next_back().map(|(row, _)| *row);
        let lead = before.filter(|_| !is_there).unwrap_or(begin);
        self.cells = self.cells.split_off(&lead);
    }

    /// Lets go of everything.
    pub(super) fn clear(&mut self) {
        self.cells.clear();
    }

    /// Place of the port among the ports by name.
    pub(super) fn port(&self) -> usize {
        self.window.port
    }

    fn begin(&self, frame: u64) -> u64 {
        frame.saturating_mul(self.window.stride).saturating_add(self.window.offset)
    }

    /// Puts the values of a row behind these; none if there are none.
    fn row(&self, row: u64, values: &mut Vec<f32>) -> Option<()> {
        let time_ns = self.time(row);
        let left = self.left(row)?;
        let before = left.values.as_ref()?;
        let gap_ns = self.window.gap_ns;
        if left.time_ns == time_ns {
            values.extend(before);
            return Some(());
        }
        match self.window.between {
            Between::Hold => (time_ns - left.time_ns <= gap_ns).then(|| values.extend(before)),
            Between::Linear => {
                let (_, cell) = self.cells.range(row..).next()?;
                let right = &cell.first;
                let after = right.values.as_ref()?;
                let gap = right.time_ns - left.time_ns;
                if gap > gap_ns {
                    return None;
                }
                let share = (time_ns - left.time_ns) as f64 / gap as f64;
                let between = |(before, after): (&f32, &f32)| {
                    let (before, after) = (f64::from(*before), f64::from(*after));
                    (before + (after - before) * share) as f32
                };
                values.extend(before.iter().zip(after).map(between));
                Some(())
            }
        }
    }

    /// The last reading at a row or before it.
    fn left(&self, row: u64) -> Option<&Row> {
        let at = self.cells.get(&row).map(|cell| &cell.first);
        if let Some(at) = at.filter(|at| at.time_ns == self.time(row)) {
            return Some(at);
        }
        let (_, cell) = self.cells.range(..row).next_back()?;
        Some(cell.last.as_ref().unwrap_or(&cell.first))
    }

    /// When a row lies, in nanoseconds since 1970.
    fn time(&self, row: u64) -> u64 {
        let (frame, within) = (row / self.window.stride, row % self.window.stride);
        let within =
            u128::from(within) * u128::from(self.cut.stride_ns) / u128::from(self.window.stride);
        // It is less than a stride.
        self.cut.begin(frame).saturating_add(within as u64)
    }

    /// The last row at this time or before it.
    fn row_before(&self, time_ns: u64) -> u64 {
        let (stride_ns, stride) = (self.cut.stride_ns, self.window.stride);
        let (frame, within) = (time_ns / stride_ns, time_ns % stride_ns);
        // Of the rows `i` at `i * stride_ns / stride`, rounded down, the last with at most `within`.
        let row = ((u128::from(within) + 1) * u128::from(stride) - 1) / u128::from(stride_ns);
        frame.saturating_mul(stride).saturating_add(row as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: u64 = 1_000_000_000;

    fn lane(rate: u64, seconds: u64, between: Between, gap_seconds: u64) -> Lane {
        let span_ns = seconds * SECOND;
        let cut = TimeCut { stride_ns: span_ns, span_ns, wait_ns: 0 };
        let rows = rate * seconds;
        let window = TimeWindow {
            stage: "w".into(),
            port: 0,
            stride: rows,
            offset: 0,
            rows,
            between,
            gap_ns: gap_seconds * SECOND,
        };
        Lane::new(cut, window)
    }

    fn filled(mut lane: Lane, readings: &[(f64, f32)]) -> Lane {
        for (seconds, value) in readings {
            lane.insert((seconds * 1e9) as u64, &Ok(vec![*value]));
        }
        lane
    }

    #[test]
    fn rows_lie_on_the_line_between_two_readings_or_hold_the_earlier_one() {
        let readings = [(9.5, 0.0), (10.5, 10.0), (11.0, 4.0), (13.0, 8.0), (14.0, 1.0)];
        let line = filled(lane(2, 2, Between::Linear, 2), &readings);
        assert_eq!(line.rows(5).unwrap(), [5.0, 10.0, 4.0, 5.0]);
        assert_eq!(line.rows(6).unwrap(), [6.0, 7.0, 8.0, 4.5]);
        let held = filled(lane(2, 2, Between::Hold, 2), &readings);
        assert_eq!(held.rows(5).unwrap(), [0.0, 10.0, 4.0, 4.0]);
    }

    #[test]
    fn a_gap_that_is_too_long_has_no_rows_and_a_beginning_is_told_from_it() {
        let readings = [(9.5, 0.0), (10.0, 1.0), (12.5, 1.0)];
        let wanted = FrameError::Sparse { stage: "w".into(), have: 1, rows: 4 };
        let line = filled(lane(2, 2, Between::Linear, 2), &readings);
        assert_eq!(line.rows(5).unwrap_err(), wanted);
        assert_eq!(line.rows(4).unwrap_err(), FrameError::Begins { stage: "w".into() });
        let held = filled(lane(2, 2, Between::Hold, 1), &readings);
        let wanted = FrameError::Sparse { stage: "w".into(), have: 3, rows: 4 };
        assert_eq!(held.rows(5).unwrap_err(), wanted);
    }

    #[test]
    fn a_reading_that_does_not_fit_spoils_the_frames_that_it_lies_in() {
        let mut line = filled(lane(1, 2, Between::Hold, 9), &[(2.0, 1.0), (2.5, 1.0)]);
        let fault = FrameError::Reading { sequence: 7, problem: "no".into() };
        assert!(line.insert(2 * SECOND + 200_000_000, &Err(fault.clone())));
        line.insert(4 * SECOND, &Ok(vec![3.0]));
        assert_eq!(line.rows(1), Err(fault));
        assert_eq!(line.rows(2).unwrap(), [3.0, 3.0]);
    }

    proptest! {
        #[test]
        fn what_is_not_kept_is_not_missed(
            rate in 1..12u64,
            times in prop::collection::vec(0..9_000_000_000u64, 1..120),
            hold in any::<bool>(),
        ) {
            let between = if hold { Between::Hold } else { Between::Linear };
            let mut line = lane(rate, 3, between, 100);
            let mut readings = BTreeMap::new();
            for time in times {
                let value = (time % 1009) as f32;
                line.insert(time, &Ok(vec![value]));
                readings.insert(time, value);
            }
            prop_assert!(line.cells.len() as u64 <= 9 * rate);
            for row in 0..9 * rate {
                let at = line.time(row);
                prop_assert_eq!(line.row_before(at), row);
                prop_assert!(row == 0 || line.row_before(at - 1) == row - 1);
                let left = readings.range(..=at).next_back();
                let right = readings.range(at..).next();
                let wanted = match (left, right) {
                    (Some((_, value)), _) if hold => Some(*value),
                    (Some((from, low)), Some((to, high))) if !hold => {
                        let share = if from == to { 0.0 } else { (at - from) as f64 / (to - from) as f64 };
                        Some((f64::from(*low) + f64::from(high - low) * share) as f32)
                    }
                    _ => None,
                };
                let mut values = Vec::new();
                let found = line.row(row, &mut values).map(|()| values[0]);
                prop_assert_eq!(found, wanted);
            }
            let before: Vec<_> = (1..3).map(|frame| line.rows(frame)).collect();
            line.forget_before(1);
            let after: Vec<_> = (1..3).map(|frame| line.rows(frame)).collect();
            prop_assert_eq!(before, after);
        }
    }
}
