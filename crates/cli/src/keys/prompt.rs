//! A line that is typed and not shown.

use anyhow::bail;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};

const CONTROL_C: u8 = 3;
const CONTROL_D: u8 = 4;
const CONTROL_U: u8 = 21;
const BACKSPACE: u8 = 8;
const DELETE: u8 = 127;

/// The terminal, silent until this is dropped.
struct Silent {
    terminal: File,
    before: Termios,
}

impl Silent {
    fn open() -> anyhow::Result<Silent> {
        let terminal = OpenOptions::new().read(true).write(true).open("/dev/tty")?;
        let before = tcgetattr(&terminal)?;
        let mut silent = before.clone();
        // Keys that would end us come as bytes instead, or the terminal stayed silent after us.
        silent.local_modes -= LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG;
        // What was typed before, and shown, is thrown away.
        tcsetattr(&terminal, OptionalActions::Flush, &silent)?;
        Ok(Silent { terminal, before })
    }
}

impl Drop for Silent {
    fn drop(&mut self) {
        let _ = self.terminal.write_all(b"\n");
        let _ = tcsetattr(&self.terminal, OptionalActions::Flush, &self.before);
    }
}

/// Shows `question` and gives the line that is typed after it.
///
/// # Errors
/// There is no terminal, or whoever sits there leaves.
pub fn ask(question: &str) -> anyhow::Result<String> {
    let mut silent = Silent::open()?;
    silent.terminal.write_all(question.as_bytes())?;
    line(&silent.terminal)
}

// Byte by byte: what is typed after the line is for whoever asks next.
fn line(mut typed: impl Read) -> anyhow::Result<String> {
    let mut line = String::new();
    let mut rest = Vec::new();
    let mut byte = [0];
    while typed.read(&mut byte)? == 1 {
        match byte[0] {
            b'\n' | b'\r' if rest.is_empty() => return Ok(line),
            CONTROL_C | CONTROL_D => bail!("nothing was typed"),
            CONTROL_U => line.clear(),
            BACKSPACE | DELETE => drop(line.pop()),
            byte => {
                // A letter may come in several bytes.
                rest.push(byte);
                if let Ok(letter) = std::str::from_utf8(&rest) {
                    line.push_str(letter);
                    rest.clear();
                }
            }
        }
    }
    bail!("the terminal was closed")
}

#[cfg(test)]
mod tests {
    use super::line;

    #[test]
    fn a_line_is_what_is_left_of_what_was_typed() {
        let typed = |bytes: &[u8]| line(bytes).ok();
        assert_eq!(typed(b"1234\r"), Some("1234".into()));
        assert_eq!(typed("zwölf\nmore".as_bytes()), Some("zwölf".into()));
        assert_eq!(typed("zwö\u{7f}\u{8}ei\n".as_bytes()), Some("zei".into()));
        assert_eq!(typed(b"wrong\x151234\n"), Some("1234".into()));
        assert_eq!(typed(b"12\x0334\n"), None);
        assert_eq!(typed(b"12"), None);
    }
}
