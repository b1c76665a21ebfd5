//! Lines of a file and their columns, each within bounds.

use csv_core::{ReadRecordResult, Reader, ReaderBuilder, Terminator};
use std::io::{self, BufRead, BufReader, ErrorKind, Read};

/// Longest line in bytes.
pub const LINE_BYTES_MAX: usize = 64 << 10;
/// Columns that a line may have.
const COLUMNS_MAX: usize = 1024;

/// Why a line cannot be looked at.
#[derive(Debug)]
pub enum LineError {
    /// The file cannot be read now. What was read of the line is kept: asking again goes on with it.
    Io(io::Error),
    /// It is longer than [`LINE_BYTES_MAX`]; it has been passed over.
    Long,
}

/// Lines of a file, one at a time.
///
/// A line is a row. RFC 4180 (section 2, rule 6) lets a quoted column hold line breaks; here it may
/// not, so that a stray quotation mark costs its own line and not all that follow.
pub struct Lines<R> {
    source: BufReader<R>,
    bytes: Vec<u8>,
    number: u64,
    is_whole: bool,
    is_long: bool,
}

impl<R: Read> Lines<R> {
    /// The lines of `source`.
    pub fn new(source: R) -> Lines<R> {
        let source = BufReader::new(source);
        Lines { source, bytes: Vec::new(), number: 1, is_whole: false, is_long: false }
    }

    /// Goes on to the next line that is not empty; false at the end of the file.
    ///
    /// # Errors
    /// [`LineError`]. The lines behind it can still be had.
    pub fn advance(&mut self) -> Result<bool, LineError> {
        loop {
            if self.is_whole {
                self.bytes.clear();
                self.number += 1;
                (self.is_whole, self.is_long) = (false, false);
            }
            let piece = match self.source.fill_buf() {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                piece => piece.map_err(LineError::Io)?,
            };
            let end = piece.iter().position(|byte| *byte == b'\n');
            if piece.is_empty() && self.bytes.is_empty() && !self.is_long {
                return Ok(false);
            }
            self.is_whole = end.is_some() || piece.is_empty();
            let length = end.map_or(piece.len(), |end| end + 1);
            if !self.is_long {
                self.bytes.extend(&piece[..length]);
            }
            self.source.consume(length);
            if self.bytes.len() > LINE_BYTES_MAX {
                self.is_long = true;
                self.bytes.clear();
            }
            if self.is_whole && self.is_long {
                return Err(LineError::Long);
            }
            if self.is_whole && !self.bytes().is_empty() {
                return Ok(true);
            }
        }
    }

    /// The line, without its end.
    pub fn bytes(&self) -> &[u8] {
        let line = self.bytes.strip_suffix(b"\n").unwrap_or(&self.bytes);
        line.strip_suffix(b"\r").unwrap_or(line)
    }

    /// Which line of the file it is, from 1.
    pub fn number(&self) -> u64 {
        self.number
    }
}

/// The columns of a line, by place.
pub struct Columns {
    reader: Reader,
    text: Vec<u8>,
    ends: Vec<usize>,
    count: usize,
    /// As many as a line must have, once that is known.
    due: Option<usize>,
}

impl Columns {
    /// No columns yet.
    pub fn new() -> Columns {
        // Lines come without their ends, and a carriage return within one is a character.
        let reader = ReaderBuilder::new().terminator(Terminator::Any(b'\n')).build();
        Columns { reader, text: Vec::new(), ends: vec![0; COLUMNS_MAX], count: 0, due: None }
    }

    /// Takes the first line, which has their names: each further one must have as many, or nobody knows which is
    /// which.
    ///
    /// # Errors
    /// A sentence.
    pub fn name(&mut self, line: &[u8]) -> Result<(), String> {
        self.split(line)?;
        self.due = Some(self.count);
        Ok(())
    }

    /// Takes the columns of a line.
    ///
    /// # Errors
    /// A sentence.
    pub fn split(&mut self, line: &[u8]) -> Result<(), String> {
        self.count = 0;
        if std::str::from_utf8(line).is_err() {
            return Err("it is no UTF-8 text".into());
        }
        self.reader.reset();
        self.text.resize(line.len() + 1, 0);
        let (mut written, mut ended) = (0, 0);
        // The second time without input: that is how the reader learns that the line is over.
        for input in [line, &[]] {
            let (result, _, more_text, more_ends) =
                self.reader.read_record(input, &mut self.text[written..], &mut self.ends[ended..]);
            (written, ended) = (written + more_text, ended + more_ends);
            if result == ReadRecordResult::OutputEndsFull {
                return Err(format!("it has more than {COLUMNS_MAX} columns"));
            }
        }
        match self.due.filter(|due| *due != ended) {
            Some(due) => {
                let cure = match ended > due {
                    true => "put cells that hold a comma in quotation marks",
                    false => "write all commas, also around cells that are empty",
                };
                Err(format!("it has {ended} cells, the first line has {due}: {cure}"))
            }
            None => {
                self.count = ended;
                Ok(())
            }
        }
    }

    /// The column at `place`, from 0, without spaces around it.
    pub fn get(&self, place: usize) -> Option<&str> {
        let end = *self.ends[..self.count].get(place)?;
        let start = if place == 0 { 0 } else { self.ends[place - 1] };
        std::str::from_utf8(&self.text[start..end]).ok().map(str::trim)
    }

    /// All columns, in order.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        (0..self.count).filter_map(|place| self.get(place))
    }
}
