//! How the story is told on a terminal: when, who, what, in columns that fit into 80.

use std::fmt::Write;
use std::io::IsTerminal;
use std::time::Instant;

/// Width of what is said; with time and name before it a line has 79 characters.
const WIDTH: usize = 58;
/// Where it begins.
const INDENT: usize = 21;

/// Who tells, and since when.
pub struct Voice {
    began: Instant,
    in_colour: bool,
}

/// How something sounds.
#[derive(Clone, Copy, PartialEq)]
pub enum Tone {
    Plain,
    Good,
    Bad,
}

impl Voice {
    /// Begins now. There are colours on a terminal whose owner has not set `NO_COLOR`.
    pub fn new() -> Voice {
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Voice { began: Instant::now(), in_colour: wanted && std::io::stdout().is_terminal() }
    }

    /// Begins a chapter.
    pub fn chapter(&self, title: &str) {
        println!("\n{}", self.painted(title, "1"));
    }

    /// Says what somebody did.
    pub fn say(&self, who: &str, what: &str, tone: Tone) {
        let lines = wrapped(what);
        let time = format!("{:.1} s", self.began.elapsed().as_secs_f64());
        for (number, line) in lines.iter().enumerate() {
            let line = match tone {
                Tone::Plain => line.clone(),
                Tone::Good => self.painted(line, "32"),
                Tone::Bad => self.painted(line, "31"),
            };
            match number {
                0 => {
                    let who = self.painted(&format!("{who:<8}"), "36");
                    println!("{time:>9}  {who}  {line}");
                }
                _ => self.add(&line),
            }
        }
    }

    /// Adds a line to what was said last.
    pub fn add(&self, line: &str) {
        println!("{:INDENT$}{line}", "");
    }

    /// Shows a table: its head, then its rows. The first column is text, the others numbers, but
    /// for as many as are named in `texts`.
    pub fn table<const N: usize>(&self, texts: usize, rows: &[[String; N]]) {
        let mut widths = [0; N];
        for row in rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        for (number, row) in rows.iter().enumerate() {
            let mut line = String::from(" ");
            for (column, (cell, width)) in row.iter().zip(widths).enumerate() {
                let _ = match column < texts {
                    true => write!(line, "  {cell:<width$}"),
                    false => write!(line, "  {cell:>width$}"),
                };
            }
            let style = if number == 0 { "2" } else { "0" };
            println!("{}", self.painted(line.trim_end(), style));
        }
    }

    fn painted(&self, text: &str, style: &str) -> String {
        match self.in_colour {
            true => format!("\x1b[{style}m{text}\x1b[0m"),
            false => text.to_owned(),
        }
    }
}

/// Lines of at most [`WIDTH`] characters, broken between words. A word that is longer stays whole.
fn wrapped(text: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let line = lines.last_mut().expect("there is always a line");
        if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > WIDTH {
            lines.push(word.to_owned());
        } else {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_broken_between_words_and_keeps_all_of_them() {
        let text = "word ".repeat(40);
        let lines = wrapped(&text);
        assert!(lines.iter().all(|line| line.len() <= WIDTH), "{lines:?}");
        assert_eq!(lines.join(" "), text.trim());
        let long = "x".repeat(WIDTH + 1);
        assert_eq!(wrapped(&format!("a {long} b")), ["a", &long, "b"]);
        assert_eq!(wrapped(""), [""]);
    }
}
