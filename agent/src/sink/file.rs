//! A file with one finding a line. Each stands there once: a line carries its number in the outbox,
//! and whoever opens the file goes on after the last whole line.

use crate::ledger::{Ledger, LedgerError};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};

/// Findings that are written and synced together.
const LINES_AT_ONCE: usize = 512;
/// Bytes at the end of the file that are searched for its last line.
const TAIL_BYTES: u64 = 16 << 20;
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
    file: File,
    /// Bytes up to the end of the last whole line.
    length: u64,
    /// Number of the last line; 0 before the first.
    number: u64,
}

impl Lines {
    /// Opens the file, making it where it is missing. Half a line that a power cut left at its end
    /// is cut off.
    ///
    /// # Errors
    /// [`FileSinkError`].
    pub fn open(path: &Path) -> Result<Lines, FileSinkError> {
        let failed = |source| FileSinkError::Write { path: path.to_owned(), source };
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(failed)?;
        }
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(failed)?;
        let size = file.metadata().map_err(failed)?.len();
        let from = size.saturating_sub(TAIL_BYTES);
        let mut tail = Vec::new();
        file.seek(SeekFrom::Start(from)).map_err(failed)?;
        (&file).take(TAIL_BYTES).read_to_end(&mut tail).map_err(failed)?;
        // A power cut may leave half a line, or zeros where data had not reached the medium.
        let foreign = || FileSinkError::Foreign { path: path.to_owned() };
        let mut end = tail.len();
        let (length, number) = loop {
            let Some(newline) = tail[..end].iter().rposition(|byte| *byte == b'\n') else {
                if from > 0 {
                    return Err(foreign());
                }
                break (0, 0);
            };
            let start =
                tail[..newline].iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
            match number_of(&tail[start..newline]) {
                Some(number) => break (from + newline as u64 + 1, number),
                None if tail[start..newline].contains(&0) => end = newline,
                None => return Err(foreign()),
            }
        };
        if length < size {
            // Also a whole file of another program has no line of ours: leave it alone.
            let ours = BEGINNING.starts_with(&tail) || tail.starts_with(BEGINNING);
            if length == 0 && !tail.contains(&0) && !ours {
                return Err(foreign());
            }
            tracing::warn!("{}: half a line at its end is cut off", path.display());
            file.set_len(length).and_then(|()| file.sync_all()).map_err(failed)?;
        }
        Ok(Lines { path: path.to_owned(), file, length, number })
    }

    /// Number of the last line; 0 before the first.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Appends findings and has them on the medium.
    ///
    /// # Errors
    /// [`FileSinkError::Write`]; none of them then stands in the file.
    pub fn append(&mut self, findings: &[(u64, String)]) -> Result<(), FileSinkError> {
        let Some((last, _)) = findings.last() else { return Ok(()) };
        let mut text = String::new();
        for (_, finding) in findings {
            text.push_str(finding);
            text.push('\n');
        }
        let written = self
            .file
            .seek(SeekFrom::Start(self.length))
            .and_then(|_| self.file.write_all(text.as_bytes()))
            .and_then(|()| self.file.sync_data());
        if let Err(source) = written {
            // Whatever part of it was written is cut off now or at the next start.
            let _ = self.file.set_len(self.length);
            return Err(FileSinkError::Write { path: self.path.clone(), source });
        }
        self.length += text.len() as u64;
        self.number = *last;
        Ok(())
    }
}

fn number_of(line: &[u8]) -> Option<u64> {
    #[derive(serde::Deserialize)]
    struct Numbered {
        number: u64,
    }
    let ours = line.starts_with(BEGINNING);
    serde_json::from_slice::<Numbered>(line).ok().filter(|_| ours).map(|line| line.number)
}

/// Writes findings for ever.
pub async fn run(sink: String, path: PathBuf, ledger: Ledger) {
    let news = ledger.news();
    let mut lines: Option<Lines> = None;
    let mut fails = false;
    loop {
        let ring = news.notified();
        tokio::pin!(ring);
        ring.as_mut().enable();
        let (name, place, source) = (sink.clone(), path.clone(), ledger.clone());
        let had = lines.take();
        let written = spawn_blocking(move || write(&name, &place, &source, had)).await;
        let numbers = match written {
            Ok((kept, Ok(numbers))) => {
                lines = kept;
                if std::mem::take(&mut fails) {
                    tracing::info!("{} can be written again", path.display());
                }
                numbers
            }
            Ok((kept, Err(error))) => {
                lines = kept;
                if !std::mem::replace(&mut fails, true) {
                    let error = anyhow::Error::from(error);
                    tracing::error!("findings wait: {error:#}");
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
            ledger.delivered(&sink, numbers).await;
        }
    }
}

type Written = (Option<Lines>, Result<Vec<u64>, FileSinkError>);

fn write(sink: &str, path: &Path, ledger: &Ledger, lines: Option<Lines>) -> Written {
    let mut lines = match lines.map_or_else(|| Lines::open(path), Ok) {
        Ok(lines) => lines,
        Err(error) => return (None, Err(error)),
    };
    let take = |lines: &mut Lines| {
        let next = lines.number() + 1;
        // What stands there already only has to leave the outbox.
        let mut numbers: Vec<u64> = ledger
            .findings(sink, 0, LINES_AT_ONCE)?
            .into_iter()
            .map(|(number, _)| number)
            .filter(|number| *number < next)
            .collect();
        let findings = ledger.findings(sink, next, LINES_AT_ONCE)?;
        lines.append(&findings)?;
        numbers.extend(findings.iter().map(|(number, _)| *number));
        Ok(numbers)
    };
    let taken = take(&mut lines);
    (Some(lines), taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(number: u64) -> (u64, String) {
        (number, format!("{{\"number\":{number},\"text\":\"ä\"}}"))
    }

    #[test]
    fn half_a_line_is_cut_off_and_no_line_is_written_twice() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/findings.jsonl");
        let mut lines = Lines::open(&path).unwrap();
        assert_eq!(lines.number(), 0);
        lines.append(&[finding(1), finding(2)]).unwrap();
        drop(lines);
        let whole = fs::read(&path).unwrap();
        for cut in 0..whole.len() {
            fs::write(&path, &whole[..cut]).unwrap();
            let mut lines = Lines::open(&path).unwrap();
            let rest: Vec<_> = (lines.number() + 1..=2).map(finding).collect();
            lines.append(&rest).unwrap();
            assert_eq!(fs::read(&path).unwrap(), whole, "cut at {cut}");
        }
        fs::write(&path, [&whole[..], b"{\"number\":3,\"te\0\0\0\0\n\0\0"].concat()).unwrap();
        assert_eq!(Lines::open(&path).unwrap().number(), 2);
        assert_eq!(fs::read(&path).unwrap(), whole);
    }

    #[test]
    fn another_programs_file_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notes.txt");
        for text in ["buy milk\n", "buy milk", "[1]\n"] {
            fs::write(&path, text).unwrap();
            let error = Lines::open(&path).err().unwrap().to_string();
            assert!(error.contains("notes.txt"), "{error}");
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
    }
}
