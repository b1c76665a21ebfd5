//! A recording on its way through a pipeline, the same for checks, for the desk and for tests.

use crate::pipeline::{FrameOutcome, Pipeline};
use crate::recording::{Recording, RecordingError, RowError, Sequencer};
use lineside_bundle::BundleFile;
use std::io::Read;

/// A recording, as readings of a bundle's port.
pub struct Replay<R> {
    recording: Recording<R>,
    sequencer: Sequencer,
    readings: u64,
}

impl<R: Read> Replay<R> {
    /// A recording, CSV or a JSON object a line, from its beginning.
    ///
    /// # Errors
    /// [`RecordingError`].
    pub fn open(bundle: &BundleFile, source: R) -> Result<Replay<R>, RecordingError> {
        let recording = Recording::open(bundle.port().1, source)?;
        Ok(Replay { recording, sequencer: Sequencer::default(), readings: 0 })
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
        Some(Ok(pipeline.push(&reading)))
    }

    /// Readings that were pushed.
    pub fn readings(&self) -> u64 {
        self.readings
    }
}

/// Ends every stream. Gives what plugins held back; a recording may end in the middle of a window, which
/// is no fault of anybody.
pub fn finish(pipeline: &mut Pipeline) -> impl Iterator<Item = FrameOutcome> + use<> {
    let is_cut = |outcome: &FrameOutcome| matches!(&outcome.result, Err(error) if error.reason() == "incomplete");
    pipeline.finish().into_iter().filter(move |outcome| !is_cut(outcome))
}
