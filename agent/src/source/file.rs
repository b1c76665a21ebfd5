//! Recorded CSV files, one after the other, at the pace they were recorded, faster, or flat out.

use crate::config::Pace;
use crate::ledger::Position;
use crate::log::OF_READINGS;
use crate::source::{Arrival, Row, Step};
use lineside_bundle::Port;
use lineside_runtime::{Recording, RowError};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};

/// Rows that are handed over at once, where nobody wants them one by one.
pub const ROWS_AT_ONCE: usize = 64;
/// How often a thread that waits looks whether it is still wanted.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How long a file that cannot be read is left alone before it is tried again.
const RETRY_AFTER: Duration = Duration::from_secs(5);
/// Bad rows of a file that are told one by one; the others are only counted.
const BAD_ROWS_TOLD: u64 = 5;

/// The files of one slot.
pub struct Files {
    /// The files.
    pub paths: Vec<PathBuf>,
    /// How fast.
    pub pace: Pace,
    /// Rows that are handed over at once.
    pub at_once: usize,
    /// The port to read for; none while the slot takes no readings.
    pub port: watch::Receiver<Option<Arc<Port>>>,
    /// Where rows go.
    pub arrivals: mpsc::Sender<Arrival>,
    /// Why no readings come, for people.
    pub problem: watch::Sender<Option<String>>,
}

/// Why reading stopped before the end.
enum Stop {
    /// The port has changed: go on for the new one.
    Port,
    /// Nobody wants rows any more.
    Closed,
    /// The file cannot be read now.
    File(String),
}

impl Files {
    /// Reads from `position` on until the end of the last file, and says so. Blocks its thread.
    ///
    /// Ends early when nobody wants rows any more.
    pub fn read(mut self, position: &Position) {
        let mut at = At {
            file: position.file,
            row: position.row,
            rows_before: position.rows_before,
            clock: None,
        };
        let mut told = String::new();
        loop {
            let Some(port) = self.wait_for_port() else { return };
            let stop = match self.read_for(&port, &mut at) {
                Ok(()) => {
                    let end = Some(Step::End);
                    let _ = self.hand_over(&port, Vec::new(), BTreeMap::new(), end);
                    return;
                }
                Err(stop) => stop,
            };
            match stop {
                Stop::Port => {}
                Stop::Closed => return,
                Stop::File(problem) => {
                    if told != problem {
                        tracing::error!(
                            "{problem}; trying again every {} s",
                            RETRY_AFTER.as_secs()
                        );
                        told.clone_from(&problem);
                    }
                    self.problem.send_replace(Some(problem));
                    if !self.sleep(Instant::now() + RETRY_AFTER) {
                        return;
                    }
                }
            }
        }
    }

    fn wait_for_port(&mut self) -> Option<Arc<Port>> {
        loop {
            if let Some(port) = self.port.borrow_and_update().clone() {
                return Some(port);
            }
            if self.arrivals.is_closed() {
                return None;
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// Whether there is still somebody who wants rows when `until` has come, for the same port.
    fn sleep(&self, until: Instant) -> bool {
        loop {
            let now = Instant::now();
            if now >= until {
                return true;
            }
            if self.arrivals.is_closed() {
                return false;
            }
            if self.port.has_changed().unwrap_or(true) {
                return true;
            }
            std::thread::sleep((until - now).min(LOOK_EVERY));
        }
    }

    fn read_for(&self, port: &Arc<Port>, at: &mut At) -> Result<(), Stop> {
        while let Some(path) = self.paths.get(at.file as usize) {
            let file = File::open(path)
                .map_err(|error| Stop::File(format!("{}: {error}", path.display())))?;
            self.read_file(port, at, path, file)?;
            *at = At {
                file: at.file + 1,
                row: 0,
                rows_before: at.rows_before.saturating_add(at.row),
                clock: None,
            };
        }
        Ok(())
    }

    /// Reads the file at `path` from its row `at.row` to its end.
    fn read_file(
        &self,
        port: &Arc<Port>,
        at: &mut At,
        path: &Path,
        file: impl Read,
    ) -> Result<(), Stop> {
        let cannot = |problem: String| Stop::File(format!("{}: {problem}", path.display()));
        let mut recording = Recording::open(port, BufReader::with_capacity(1 << 16, file))
            .map_err(|error| cannot(error.to_string()))?;
        // After an error of the medium the file is opened again and read from the row in hand, which
        // is neither good nor bad: what is there now may be another medium.
        let mut next = || match recording.next() {
            Some(Err(error)) if error.reason == RowError::IO => Err(cannot(error.to_string())),
            next => Ok(next),
        };
        // Where rows have no time of their own they are numbered over all files.
        let offset_ns = match (&port.time, port.rate_hz) {
            (None, Some(rate)) => (at.rows_before as f64 * 1e9 / rate) as i64,
            _ => 0,
        };
        for row in 0..at.row {
            if next()?.is_none() {
                tracing::warn!(
                    "{}: it has {row} rows, and {} had been read; a recording that was exchanged \
                     needs a new name to be read",
                    path.display(),
                    at.row
                );
                break;
            }
        }
        let mut bad = 0;
        let mut rows = Vec::new();
        let mut dropped = BTreeMap::new();
        loop {
            let next = match next() {
                Ok(next) => next,
                Err(stop) => {
                    self.give(port, at, &mut rows, &mut dropped)?;
                    return Err(stop);
                }
            };
            let next = next.map(|row| {
                row.map(|row| Row {
                    key: row.key,
                    time_unix_ns: row.time_unix_ns.saturating_add(offset_ns),
                    values: row.values,
                })
            });
            if let Some(Ok(row)) = &next {
                let due = at.due(self.pace, row.time_unix_ns);
                if due.is_some_and(|due| due > Instant::now()) {
                    self.give(port, at, &mut rows, &mut dropped)?;
                    if !due.is_none_or(|due| self.sleep(due)) {
                        return Err(Stop::Closed);
                    }
                    if self.port.has_changed().unwrap_or(true) {
                        // The row in hand is read again for the new port.
                        return Err(Stop::Port);
                    }
                }
            }
            match next {
                None => break,
                Some(Ok(row)) => rows.push(row),
                Some(Err(error)) => {
                    bad += 1;
                    if bad <= BAD_ROWS_TOLD {
                        tracing::warn!(target: OF_READINGS, "{}: {error}", path.display());
                    }
                    *dropped.entry(error.reason).or_insert(0) += 1;
                }
            }
            at.row += 1;
            if rows.len() >= self.at_once || dropped.values().sum::<u64>() >= 1000 {
                self.give(port, at, &mut rows, &mut dropped)?;
                if self.port.has_changed().unwrap_or(true) {
                    return Err(Stop::Port);
                }
            }
        }
        if bad > BAD_ROWS_TOLD {
            tracing::warn!("{}: {bad} rows were no readings", path.display());
        }
        self.give(port, at, &mut rows, &mut dropped)
    }

    fn give(
        &self,
        port: &Arc<Port>,
        at: &At,
        rows: &mut Vec<Row>,
        dropped: &mut BTreeMap<&'static str, u64>,
    ) -> Result<(), Stop> {
        if rows.is_empty() && dropped.is_empty() {
            return Ok(());
        }
        let step = Step::File { file: at.file, row: at.row, rows_before: at.rows_before };
        self.hand_over(port, std::mem::take(rows), std::mem::take(dropped), Some(step))
    }

    fn hand_over(
        &self,
        port: &Arc<Port>,
        rows: Vec<Row>,
        dropped: BTreeMap<&'static str, u64>,
        step: Option<Step>,
    ) -> Result<(), Stop> {
        self.problem.send_if_modified(|problem| problem.take().is_some());
        let dropped = dropped.into_iter().collect();
        let (port, feed) = (port.clone(), None);
        let arrival = Arrival { port, feed, rows, dropped, step, receipt: None };
        self.arrivals.blocking_send(arrival).map_err(|_| Stop::Closed)
    }
}

/// Where the source is.
struct At {
    file: u32,
    row: u64,
    rows_before: u64,
    /// When the first row of this file was due, and its time.
    clock: Option<(Instant, i64)>,
}

impl At {
    /// When a row of this time is due; none if at once.
    fn due(&mut self, pace: Pace, time_unix_ns: i64) -> Option<Instant> {
        let Pace::Times(times) = pace else { return None };
        let (began, first) = *self.clock.get_or_insert((Instant::now(), time_unix_ns));
        let since_ns = time_unix_ns.saturating_sub(first).max(0) as f64 / times;
        // Beyond a century nobody waits for it; the sum must only not overflow.
        began.checked_add(Duration::from_nanos(since_ns.min(3e18) as u64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::tests::port;
    use std::io;

    type PortSender = watch::Sender<Option<Arc<Port>>>;

    fn source(paths: &[PathBuf]) -> (Files, mpsc::Receiver<Arrival>, PortSender) {
        let (arrivals, inbox) = mpsc::channel(1000);
        let text = "key = 'turbine'\nrate_hz = 1.0\nfields = [{ name = 'wind' }]";
        let (keep, port) = watch::channel(Some(port(text)));
        let problem = watch::Sender::new(None);
        let (paths, pace, at_once) = (paths.to_vec(), Pace::FlatOut, ROWS_AT_ONCE);
        let files = Files { paths, pace, at_once, port, arrivals, problem };
        (files, inbox, keep)
    }

    fn read(paths: &[PathBuf], position: &Position) -> (Vec<f64>, Vec<Step>, Vec<(String, u64)>) {
        let (files, mut inbox, _port) = source(paths);
        files.read(position);
        let (mut values, mut steps, mut dropped) = (vec![], vec![], vec![]);
        while let Some(arrival) = inbox.blocking_recv() {
            values.extend(arrival.rows.iter().map(|row| row.values[0]));
            for row in &arrival.rows {
                assert_eq!(row.time_unix_ns, row.values[0] as i64 * 1_000_000_000);
            }
            steps.extend(arrival.step);
            dropped.extend(arrival.dropped.iter().map(|(reason, n)| ((*reason).to_owned(), *n)));
        }
        (values, steps, dropped)
    }

    fn files(folder: &tempfile::TempDir) -> Vec<PathBuf> {
        let texts = ["turbine,wind\nA,0\nB,1\nA,x\nA,3\n", "wind,turbine\n4,A\n5,B\n"];
        let write = |(number, text): (usize, &str)| {
            let path = folder.path().join(format!("{number}.csv"));
            std::fs::write(&path, text).unwrap();
            path
        };
        texts.into_iter().enumerate().map(write).collect()
    }

    #[test]
    fn files_follow_each_other_and_bad_rows_are_counted() {
        let folder = tempfile::tempdir().unwrap();
        let (values, steps, dropped) = read(&files(&folder), &Position::default());
        assert_eq!(values, [0.0, 1.0, 3.0, 4.0, 5.0]);
        assert_eq!(dropped, [("malformed".to_owned(), 1)]);
        assert_eq!(
            steps,
            [
                Step::File { file: 0, row: 4, rows_before: 0 },
                Step::File { file: 1, row: 2, rows_before: 4 },
                Step::End
            ]
        );
    }

    #[test]
    fn a_restart_goes_on_after_the_last_row_that_was_taken() {
        let folder = tempfile::tempdir().unwrap();
        let paths = files(&folder);
        for (file, row, rows_before, rest) in [
            (0, 1, 0, &[1.0, 3.0, 4.0, 5.0][..]),
            (0, 4, 0, &[4.0, 5.0]),
            (1, 1, 4, &[5.0]),
            (2, 0, 6, &[]),
        ] {
            let position = Position { file, row, rows_before, ..Position::default() };
            assert_eq!(read(&paths, &position).0, rest);
        }
    }

    /// A medium that fails once, behind so many bytes.
    struct Hiccup<'a>(&'a [u8], usize);

    impl Read for Hiccup<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            if self.1 == 0 {
                self.1 = usize::MAX;
                return Err(io::Error::other("the stick was pulled out"));
            }
            let count = buffer.len().min(self.0.len()).min(self.1);
            buffer[..count].copy_from_slice(&self.0[..count]);
            (self.0, self.1) = (&self.0[count..], self.1 - count);
            Ok(count)
        }
    }

    #[test]
    fn a_medium_that_fails_costs_no_row_and_is_not_taken_for_the_end() {
        let text: String = (0..200).map(|row| format!("A,{row}\n")).collect();
        let text = format!("turbine,wind\n{text}");
        let path = Path::new("/mnt/stick/rows.csv");
        for fails_at in 0..text.len() {
            let (files, mut inbox, _port) = source(&[]);
            let port = files.port.borrow().clone().unwrap();
            let mut at = At { file: 0, row: 0, rows_before: 0, clock: None };
            let stop = files.read_file(&port, &mut at, path, Hiccup(text.as_bytes(), fails_at));
            let Err(Stop::File(problem)) = stop else { panic!("taken for the end at {fails_at}") };
            assert!(problem.starts_with("/mnt/stick/rows.csv: "), "{problem}");
            assert!(problem.ends_with(": the stick was pulled out"), "{problem}");
            assert!(files.read_file(&port, &mut at, path, text.as_bytes()).is_ok());
            drop(files);
            let mut values = Vec::new();
            while let Some(arrival) = inbox.blocking_recv() {
                assert_eq!(arrival.dropped, []);
                values.extend(arrival.rows.iter().map(|row| row.values[0]));
            }
            assert_eq!(values, (0..200).map(f64::from).collect::<Vec<_>>(), "{fails_at}");
        }
    }

    #[test]
    fn a_row_beyond_all_time_is_no_end_of_the_source() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows.csv");
        std::fs::write(&path, "turbine,wind\nA,0\n").unwrap();
        let (files, mut inbox, _port) = source(&[path]);
        files.read(&Position { rows_before: u64::MAX, ..Position::default() });
        assert_eq!(inbox.blocking_recv().unwrap().rows[0].time_unix_ns, i64::MAX);
    }

    #[test]
    fn rows_come_no_earlier_than_their_pace_allows() {
        let mut at = At { file: 0, row: 0, rows_before: 0, clock: None };
        let first = at.due(Pace::Times(10.0), 1_000_000_000).unwrap();
        let second = at.due(Pace::Times(10.0), 6_000_000_000).unwrap();
        assert_eq!(second - first, Duration::from_millis(500));
        assert_eq!(at.due(Pace::Times(10.0), 0).unwrap(), first);
        assert!(at.due(Pace::Times(1e-9), i64::MAX).is_some());
        assert!(at.due(Pace::FlatOut, 0).is_none());
    }
}
