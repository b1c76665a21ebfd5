//! A file with one finding a line. Each is written once: whoever opens the file goes on after its
//! last line, if that is what the outbox has under the same number.
//!
//! At its bound the file becomes `NAME.1`, in place of the one before, and a new one is begun. What
//! is moved away or cut short by others is begun anew as well.

use crate::config::set_aside;
use crate::error::chain;
use crate::failpoint;
use crate::ledger::{Ledger, LedgerError};
use crate::medium;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};

/// Findings that are written and synced together.
const LINES_AT_ONCE: usize = 512;
/// Bytes at the end of the file that are searched for its last line, at first and at most.
const TAIL_BYTES: (u64, u64) = (64 << 10, 16 << 20);
/// How every line begins.
const BEGINNING: &[u8] = b"{\"number\":";
/// How long a file that cannot be written is left alone.
const RETRY_AFTER: Duration = Duration::from_secs(2);
/// How long to wait for news before looking anyway.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Why findings are not in the file.
#[derive(Debug, thiserror::Error)]
pub enum FileSinkError {
    /// The file.
    #[error("cannot write {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Its last line is none of ours.
    #[error("the last line of {} has no number; is it another program's file? move it away", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// The outbox.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

/// The file, open at its end.
pub struct Lines {
    path: PathBuf,
    bytes_max: u64,
    file: File,
    /// Tells the file from others that get its name.
    inode: u64,
    /// Bytes up to the end of the last whole line.
    length: u64,
    /// The last line when it was opened, and its number.
    last: Option<(u64, String)>,
}

impl Lines {
    /// Opens the file, making it where it is missing. Half a line that a power cut left at its end
    /// is cut off. It is kept to `bytes_max`.
    ///
    /// # Errors
    /// [`FileSinkError`].
    pub fn open(path: &Path, bytes_max: u64) -> Result<Lines, FileSinkError> {
        let failed = |source| FileSinkError::Write { path: path.to_owned(), source };
        let (file, size, inode) = open(path).map_err(failed)?;
        // What is there may not have reached the medium when the last writer was ended.
        failpoint::pass("sink.file.open").and_then(|()| medium::settle(&file)).map_err(failed)?;
        let foreign = || FileSinkError::Foreign { path: path.to_owned() };
        let mut step = TAIL_BYTES.0;
        let (end, tail) = loop {
            let from = size.saturating_sub(step);
            let mut tail = Vec::new();
            (&file).seek(SeekFrom::Start(from)).map_err(failed)?;
            (&file).take(step).read_to_end(&mut tail).map_err(failed)?;
            match last_line(&tail, from > 0) {
                End::Before if step < TAIL_BYTES.1 => step *= 2,
                End::Before | End::Foreign => return Err(foreign()),
                End::Line { newline, number, text } => {
                    break (Some((from + newline as u64 + 1, number, text)), tail);
                }
                End::Nothing => break (None, tail),
            }
        };
        let length = end.as_ref().map_or(0, |(length, ..)| *length);
        if length < size {
            // Also a whole file of another program has no line of ours: leave it alone.
            let ours = BEGINNING.starts_with(&tail) || tail.starts_with(BEGINNING);
            if length == 0 && !tail.contains(&0) && !ours {
                return Err(foreign());
            }
            tracing::warn!("{}: half a line at its end is cut off", path.display());
            failpoint::pass("sink.file.cut").map_err(failed)?;
            file.set_len(length).and_then(|()| file.sync_all()).map_err(failed)?;
        }
        let last = end.map(|(_, number, text)| (number, text));
        Ok(Lines { path: path.to_owned(), bytes_max, file, inode, length, last })
    }

    /// The last line that was there when the file was opened, and its number.
    pub fn last(&self) -> Option<(u64, &str)> {
        self.last.as_ref().map(|(number, text)| (*number, &**text))
    }

    /// Appends findings and has them on the medium.
    ///
    /// # Errors
    /// [`FileSinkError::Write`]; none of them then stands in the file.
    pub fn append(&mut self, findings: &[(u64, String)]) -> Result<(), FileSinkError> {
        if findings.is_empty() {
            return Ok(());
        }
        let mut text = String::new();
        for (_, finding) in findings {
            text.push_str(finding);
            text.push('\n');
        }
        if self.is_another()? {
            tracing::info!("{} was moved away or changed; it is opened anew", self.path.display());
            self.begin_anew()?;
        } else if self.length > 0 && self.length + text.len() as u64 > self.bytes_max {
            failpoint::pass("sink.file.rename")
                .and_then(|()| fs::rename(&self.path, set_aside(&self.path)))
                .map_err(|error| self.failed(error))?;
            self.begin_anew()?;
        }
        let written = self
            .file
            .seek(SeekFrom::Start(self.length))
            .and_then(|_| failpoint::pass("sink.file.write"))
            .and_then(|()| self.file.write_all(text.as_bytes()))
            .and_then(|()| failpoint::pass("sink.file.sync"))
            .and_then(|()| self.file.sync_data())
            .and_then(|()| failpoint::pass("sink.file.synced"));
        if let Err(source) = written {
            // Whatever part of it was written is cut off now or at the next start.
            let _ = self.file.set_len(self.length);
            return Err(self.failed(source));
        }
        self.length += text.len() as u64;
        Ok(())
    }

    /// Whether somebody has moved the file away, or changed it.
    fn is_another(&self) -> Result<bool, FileSinkError> {
        match fs::metadata(&self.path) {
            Ok(now) => Ok(now.ino() != self.inode || now.len() != self.length),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
            Err(error) => Err(self.failed(error)),
        }
    }

    fn begin_anew(&mut self) -> Result<(), FileSinkError> {
        *self = Lines::open(&self.path, self.bytes_max)?;
        Ok(())
    }

    fn failed(&self, source: io::Error) -> FileSinkError {
        FileSinkError::Write { path: self.path.clone(), source }
    }
}

/// Opens a file for reading and writing; gives its size and inode as well. A new one is there after
/// a power cut too.
fn open(path: &Path) -> io::Result<(File, u64, u64)> {
    let parent = path.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(parent)?;
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
    let metadata = file.metadata()?;
    if metadata.len() == 0 {
        failpoint::pass("sink.file.folder")?;
        File::open(parent)?.sync_all()?;
    }
    Ok((file, metadata.len(), metadata.ino()))
}

/// What the end of a file says of its last line.
enum End {
    /// The last line of ours, and where it ends.
    Line { newline: usize, number: u64, text: String },
    /// The file has no whole line.
    Nothing,
    /// It stands before what was read.
    Before,
    /// It is no line of ours.
    Foreign,
}

/// Finds the last line in the last bytes of a file, where there may be `more` before them. A power
/// cut may leave half a line, or zeros where data had not reached the medium.
fn last_line(tail: &[u8], more: bool) -> End {
    let mut end = tail.len();
    loop {
        let Some(newline) = tail[..end].iter().rposition(|byte| *byte == b'\n') else {
            return if more { End::Before } else { End::Nothing };
        };
        let start = match tail[..newline].iter().rposition(|byte| *byte == b'\n') {
            Some(before) => before + 1,
            None if more => return End::Before,
            None => 0,
        };
        let line = &tail[start..newline];
        match number_of(line) {
            Some((number, text)) => return End::Line { newline, number, text },
            None if line.contains(&0) => end = newline,
            None => return End::Foreign,
        }
    }
}

fn number_of(line: &[u8]) -> Option<(u64, String)> {
    #[derive(serde::Deserialize)]
    struct Numbered {
        number: u64,
    }
    let text = std::str::from_utf8(line).ok().filter(|_| line.starts_with(BEGINNING))?;
    let Numbered { number } = serde_json::from_str(text).ok()?;
    Some((number, text.to_owned()))
}

/// Writes findings for ever.
pub async fn run(sink: String, path: PathBuf, bytes_max: u64, ledger: Ledger) {
    let news = ledger.news();
    let mut writing = Writing { sink, path, bytes_max, ledger, open: None };
    let mut fails = false;
    loop {
        let ring = news.notified();
        tokio::pin!(ring);
        ring.as_mut().enable();
        let written = spawn_blocking(move || {
            let written = writing.write();
            (writing, written)
        });
        let numbers = match written.await {
            Ok((kept, Ok(numbers))) => {
                writing = kept;
                if std::mem::take(&mut fails) {
                    tracing::info!("{} can be written again", writing.path.display());
                }
                numbers
            }
            Ok((kept, Err(error))) => {
                writing = kept;
                if !std::mem::replace(&mut fails, true) {
                    tracing::error!("findings wait: {}", chain(error));
                }
                sleep(RETRY_AFTER).await;
                continue;
            }
            Err(_) => return,
        };
        if numbers.is_empty() {
            // An elapsed wait only means that nothing was found for a while.
            let _ = timeout(LOOK_EVERY, ring).await;
        } else {
            // Only then is more written: so what stands in a file that is moved away has left.
            writing.ledger.delivered(&writing.sink, numbers).await;
        }
    }
}

/// What takes findings from the outbox to the file.
struct Writing {
    sink: String,
    path: PathBuf,
    bytes_max: u64,
    ledger: Ledger,
    open: Option<Open>,
}

struct Open {
    lines: Lines,
    /// What the outbox has up to this number stood in the file when it was opened; 0 for nothing.
    there: u64,
    /// The number from which on the outbox has not been looked at.
    next: u64,
}

impl Writing {
    /// Writes what the file lacks. Gives the numbers that it has for good and that are to leave the
    /// outbox.
    fn write(&mut self) -> Result<Vec<u64>, FileSinkError> {
        let mut open = match self.open.take() {
            Some(open) => open,
            None => {
                let lines = Lines::open(&self.path, self.bytes_max)?;
                let there = self.there(&lines)?;
                Open { lines, there, next: 0 }
            }
        };
        let findings = self.ledger.findings(&self.sink, open.next, LINES_AT_ONCE)?;
        let there = findings.partition_point(|(number, _)| *number <= open.there);
        open.lines.append(&findings[there..])?;
        if let Some((last, _)) = findings.last() {
            open.next = last + 1;
        }
        self.open = Some(open);
        Ok(findings.into_iter().map(|(number, _)| number).collect())
    }

    /// The number up to which `lines` have what waits in the outbox.
    ///
    /// The file may be from another outbox, whose numbers say nothing here: the sink had another
    /// name, or the state folder is new or an older copy. So its last line must be what the outbox
    /// has under that number. If it has nothing there, all that stands in the file has left it.
    fn there(&self, lines: &Lines) -> Result<u64, FileSinkError> {
        let Some((number, text)) = lines.last() else { return Ok(0) };
        let waiting = self.ledger.findings(&self.sink, number, 1)?;
        let same = |(waits, finding): &(u64, String)| *waits == number && finding == text;
        Ok(if waiting.first().is_some_and(same) { number } else { 0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NO_BOUND: u64 = u64::MAX;

    fn finding(number: u64) -> (u64, String) {
        (number, format!("{{\"number\":{number},\"text\":\"ä\"}}"))
    }

    fn number(lines: &Lines) -> u64 {
        lines.last().map_or(0, |(number, _)| number)
    }

    #[test]
    fn half_a_line_is_cut_off_and_no_line_is_written_twice() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/findings.jsonl");
        let mut lines = Lines::open(&path, NO_BOUND).unwrap();
        assert_eq!(lines.last(), None);
        lines.append(&[finding(1), finding(2)]).unwrap();
        drop(lines);
        let whole = fs::read(&path).unwrap();
        for cut in 0..whole.len() {
            fs::write(&path, &whole[..cut]).unwrap();
            let mut lines = Lines::open(&path, NO_BOUND).unwrap();
            let rest: Vec<_> = (number(&lines) + 1..=2).map(finding).collect();
            lines.append(&rest).unwrap();
            assert_eq!(fs::read(&path).unwrap(), whole, "cut at {cut}");
        }
        fs::write(&path, [&whole[..], b"{\"number\":3,\"te\0\0\0\0\n\0\0"].concat()).unwrap();
        assert_eq!(number(&Lines::open(&path, NO_BOUND).unwrap()), 2);
        assert_eq!(fs::read(&path).unwrap(), whole);
    }

    #[test]
    fn the_last_line_is_found_however_long_the_lines_are() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("findings.jsonl");
        for length in [10, 60_000, 65_510, 70_000, 300_000] {
            let long = |number| {
                let text = "x".repeat(length);
                (number, format!("{{\"number\":{number},\"text\":\"{text}\"}}"))
            };
            fs::write(&path, "").unwrap();
            let mut lines = Lines::open(&path, NO_BOUND).unwrap();
            lines.append(&[long(1), long(2), long(3)]).unwrap();
            let lines = Lines::open(&path, NO_BOUND).unwrap();
            let (number, text) = long(3);
            assert_eq!(lines.last(), Some((number, &*text)));
        }
    }

    #[test]
    fn another_programs_file_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notes.txt");
        let long = "buy milk ".repeat(100_000);
        for text in ["buy milk\n", "buy milk", "[1]\n", &*long] {
            fs::write(&path, text).unwrap();
            let error = Lines::open(&path, NO_BOUND).err().unwrap().to_string();
            assert!(error.contains("notes.txt"), "{error}");
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
    }

    #[test]
    fn at_its_bound_the_file_is_set_aside_and_the_numbers_go_on() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("findings.jsonl");
        let bound = 5 * (finding(10).1.len() as u64 + 1);
        let mut lines = Lines::open(&path, bound).unwrap();
        for number in 10..99 {
            lines.append(&[finding(number)]).unwrap();
            assert!(fs::metadata(&path).unwrap().len() <= bound);
        }
        let before = fs::read_to_string(folder.path().join("findings.jsonl.1")).unwrap();
        let both = before + &fs::read_to_string(&path).unwrap();
        let kept: Vec<String> = (90..99).map(|number| finding(number).1).collect();
        assert_eq!(both.lines().collect::<Vec<_>>(), kept);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }

    #[test]
    fn a_file_that_others_move_or_cut_is_begun_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("findings.jsonl");
        let mut lines = Lines::open(&path, NO_BOUND).unwrap();
        let mut written = 0;
        let mut append = || {
            written += 1;
            lines.append(&[finding(written)]).unwrap();
            fs::read_to_string(&path).unwrap()
        };
        append();
        fs::rename(&path, folder.path().join("january.jsonl")).unwrap();
        assert_eq!(append().lines().count(), 1);
        fs::remove_file(&path).unwrap();
        assert_eq!(append().lines().count(), 1);
        File::options().write(true).open(&path).unwrap().set_len(0).unwrap();
        assert_eq!(append().trim(), finding(4).1);
        assert_eq!(append().lines().count(), 2);
    }
}
