//! What a command tells: text for people, or one JSON document for programs.

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use std::fmt::Display;
use std::io::{ErrorKind, IsTerminal, Write, stderr, stdout};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::Duration;

/// What takes longer is told.
const PATIENCE: Duration = Duration::from_secs(1);

/// Whom a command talks to.
pub struct Output {
    /// One JSON document on standard output instead of text.
    pub json: bool,
}

/// A command line that makes no sense, in a way that only the command itself can tell. Exit code 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Usage(pub String);

/// What is wrong, where the result that was printed says so already: JSON is one document. Exit code 1.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Told(pub String);

impl Output {
    /// Prints the result of a command.
    ///
    /// # Errors
    /// If it cannot be written. Whoever has read enough (`| head`) closes standard output, and that is
    /// no error: the command did what it was told.
    pub fn print(&self, human: impl Display, json: &impl Serialize) -> anyhow::Result<()> {
        let text =
            if self.json { serde_json::to_string_pretty(json)? } else { shown(&human.to_string()) };
        write_out(text).map(drop)
    }

    /// Prints one of many results, in one line. Whether anybody still reads.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn line(&self, human: impl Display, json: &impl Serialize) -> anyhow::Result<bool> {
        write_out(match self.json {
            true => serde_json::to_string(json)?,
            false => shown(&human.to_string()),
        })
    }

    /// Prints an error with its causes: on standard error, and as JSON on standard output if asked.
    pub fn fail(&self, error: &anyhow::Error) {
        let said = in_a_line(&format!("{error:#}"));
        if !error.is::<Told>() {
            self.fail_json(&said);
        }
        let _ = writeln!(stderr(), "lineside: {}", shown(&said));
    }

    /// Prints an error as JSON on standard output, if JSON was asked for.
    pub fn fail_json(&self, problem: &str) {
        if self.json {
            let _ = writeln!(stdout(), "{}", serde_json::json!({ "error": problem }));
        }
    }

    /// Shows that something goes on, until the result is dropped: a moving line on a terminal, a
    /// line for each thing that takes over a second in a log, nothing beside JSON.
    pub fn working(&self, what: String) -> Working {
        if self.json {
            return Working::Silent;
        }
        if !stderr().is_terminal() {
            return Working::Log(Log::start(what, PATIENCE, stderr()));
        }
        let bar = ProgressBar::new_spinner();
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} ({elapsed})") {
            bar.set_style(style);
        }
        bar.set_message(what);
        bar.enable_steady_tick(Duration::from_millis(120));
        Working::Bar(bar)
    }

    /// As [`Output::working`], of something of which it is known how much there is: on a terminal a bar
    /// shows how far it is.
    pub fn progress(&self, what: String, length: u64) -> Working {
        let working = self.working(what);
        if let Working::Bar(bar) = &working {
            bar.set_length(length);
            if let Ok(style) =
                ProgressStyle::with_template("{spinner} {msg} {wide_bar} {percent} % ({eta})")
            {
                bar.set_style(style);
            }
        }
        working
    }
}

/// Writes to standard output; false if it was closed.
fn write_out(mut text: String) -> anyhow::Result<bool> {
    text.push('\n');
    let mut out = stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        written => Ok(written.map(|()| true)?),
    }
}

/// An error in one line: a parser's picture of where it stopped is left out, for it names line and column.
fn in_a_line(text: &str) -> String {
    let is_picture = |line: &str| {
        let rest = line.trim_start_matches(|char: char| char.is_ascii_digit() || char == ' ');
        rest.starts_with('|')
    };
    let lines = text.lines().filter(|line| !is_picture(line)).map(str::trim);
    let lines: Vec<&str> = lines.filter(|line| !line.is_empty()).collect();
    lines.join(": ")
}

/// A text of ours with names and sentences of others in it, so that a terminal shows what they say and
/// does nothing else.
fn shown(text: &str) -> String {
    let acts = |char: char| {
        let turns = matches!(char, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        turns || (char.is_control() && char != '\n')
    };
    let mut shown = String::with_capacity(text.len());
    for char in text.chars() {
        match acts(char) {
            true => shown.extend(char.escape_unicode()),
            false => shown.push(char),
        }
    }
    shown
}

/// A sign that something goes on.
pub enum Working {
    /// On a terminal.
    Bar(ProgressBar),
    /// In a log.
    Log(Log),
    /// For nobody.
    Silent,
}

impl Working {
    /// Says what goes on now.
    pub fn tell(&self, what: String) {
        match self {
            Working::Bar(bar) => bar.set_message(what),
            Working::Log(log) => log.tell(what),
            Working::Silent => {}
        }
    }

    /// Says how much of it is done.
    pub fn at(&self, place: u64) {
        if let Working::Bar(bar) = self {
            bar.set_position(place);
        }
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        if let Working::Bar(bar) = self {
            bar.finish_and_clear();
        }
    }
}

/// Writes a line for whatever takes longer than somebody who reads along would wait.
pub struct Log(Option<(Sender<String>, JoinHandle<()>)>);

impl Log {
    fn start(what: String, patience: Duration, mut out: impl Write + Send + 'static) -> Log {
        let (sender, news) = mpsc::channel::<String>();
        let thread = std::thread::Builder::new().spawn(move || {
            let mut what = what;
            loop {
                let next = match news.recv_timeout(patience) {
                    Ok(next) => Ok(next),
                    Err(RecvTimeoutError::Disconnected) => return,
                    Err(RecvTimeoutError::Timeout) => {
                        let _ = writeln!(out, "... {what}");
                        news.recv()
                    }
                };
                match next {
                    Ok(next) => what = next,
                    Err(_) => return,
                }
            }
        });
        // Without a thread there is no sign, and the work is done all the same.
        Log(thread.ok().map(|thread| (sender, thread)))
    }

    fn tell(&self, what: String) {
        if let Some((sender, _)) = &self.0 {
            // It listens as long as we are there.
            let _ = sender.send(what);
        }
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        if let Some((sender, thread)) = self.0.take() {
            drop(sender);
            // So that no line comes after what the command says at its end.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::Receiver;

    /// A log that is watched.
    struct Lines(Sender<String>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            let _ = self.0.send(String::from_utf8_lossy(bytes).into_owned());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// What is written until a line is whole.
    fn line(written: &Receiver<String>) -> String {
        let mut line = String::new();
        while !line.ends_with('\n') {
            line += &written.recv_timeout(Duration::from_secs(60)).unwrap();
        }
        line
    }

    #[test]
    fn what_takes_long_is_told_in_a_log_step_by_step() {
        let (lines, written) = mpsc::channel();
        let log = Log::start("building x".into(), Duration::ZERO, Lines(lines));
        assert_eq!(line(&written), "... building x\n");
        log.tell("pushing x".into());
        assert_eq!(line(&written), "... pushing x\n");
        drop(log);
        assert!(written.recv().is_err());
    }

    #[test]
    fn a_bundle_of_somebody_else_tells_a_terminal_nothing_but_its_text() {
        assert_eq!(
            shown("Zähler\n  a\u{1b}]0;x\u{7}\u{9b}2J"),
            "Zähler\n  a\\u{1b}]0;x\\u{7}\\u{9b}2J"
        );
        assert_eq!(shown("v1\u{202e}2\r3\t"), "v1\\u{202e}2\\u{d}3\\u{9}");
    }

    #[test]
    fn an_error_of_a_parser_is_told_in_one_line() {
        let text = "x/bundle.toml cannot be used: TOML parse error at line 2, column 11\n  |\n2 | version = \n  \
             |           ^\nstring values must be quoted\n";
        let said = "x/bundle.toml cannot be used: TOML parse error at line 2, column 11: string values must be \
             quoted";
        assert_eq!(in_a_line(text), said);
        assert_eq!(in_a_line("one: two"), "one: two");
    }

    #[test]
    fn what_is_done_at_once_is_not() {
        let (lines, written) = mpsc::channel();
        drop(Log::start("building x".into(), Duration::from_secs(3600), Lines(lines)));
        assert!(written.recv().is_err());
    }
}
