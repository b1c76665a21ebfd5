//! A recording on its way through a pipeline, the same for checks, for the desk and for tests.

use crate::pipeline::{FrameError, FrameOutcome, Pipeline, Unused};
use crate::recording::{Recording, RecordingError, RowError, Sequencer};
use lineside_bundle::BundleFile;
use std::io::Read;

/// A recording, as readings of a bundle's ports.
pub struct Replay<R> {
    recording: Recording<R>,
    sequencer: Sequencer,
    readings: u64,
    unused: Counted,
}

impl<R: Read> Replay<R> {
    /// A recording, CSV or a JSON object a line, from its beginning.
    ///
    /// # Errors
    /// [`RecordingError`].
    pub fn open(bundle: &BundleFile, source: R) -> Result<Replay<R>, RecordingError> {
        let recording = Recording::open_all(bundle, source)?;
        Ok(Replay {
            recording,
            sequencer: Sequencer::default(),
            readings: 0,
            unused: Counted::default(),
        })
    }

    /// Pushes the next reading into the pipeline, and gives the frames that it completes; none when the
    /// recording is over.
    ///
    /// # Errors
    /// [`RowError`] for a row that is no reading. The next one may be.
    pub fn push(&mut self, pipeline: &mut Pipeline) -> Option<Result<Vec<FrameOutcome>, RowError>> {
        let row = match self.recording.next()? {
            Ok(row) => row,
            Err(error) => return Some(Err(error)),
        };
        let line = row.line;
        let Some(reading) = self.sequencer.accept(row) else {
            let problem = "too many streams".to_owned();
            return Some(Err(RowError { line, reason: "key", problem }));
        };
        self.readings += 1;
        let outcomes = pipeline.push(&reading).into_iter().filter(|it| self.unused.count(it));
        Some(Ok(outcomes.collect()))
    }

    /// Readings that no window was made of, in what was pushed so far.
    pub fn unused(&self) -> Unused {
        self.unused.0
    }

    /// Readings that were pushed.
    pub fn readings(&self) -> u64 {
        self.readings
    }
}

/// Readings that were not used.
#[derive(Default)]
struct Counted(Unused);

impl Counted {
    /// Counts what a frame did not use. False of one in which the recording begins: that is no fault of
    /// anybody.
    fn count(&mut self, outcome: &FrameOutcome) -> bool {
        self.0.late = self.0.late.saturating_add(outcome.unused.late);
        self.0.twice = self.0.twice.saturating_add(outcome.unused.twice);
        !matches!(outcome.result, Err(FrameError::Begins { .. }))
    }
}

/// Ends one stream after the other. Gives what plugins held back of each; a recording may end in the middle of
/// a window, which is no fault of anybody.
pub fn finish(pipeline: &mut Pipeline) -> impl Iterator<Item = Vec<FrameOutcome>> {
    let is_cut = |outcome: &FrameOutcome| matches!(&outcome.result, Err(error) if error.reason() == "incomplete");
    std::iter::from_fn(move || {
        let mut outcomes = pipeline.finish_one()?;
        outcomes.retain(|outcome| !is_cut(outcome));
        Some(outcomes)
    })
}
