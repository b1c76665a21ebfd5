//! A log as one file that proves itself: JSON, a line each.
//!
//! ```text
//! {"log":"fleet.example/audit","form":1,"key":"fleet.example/audit+…","from":0,"size":3,"frontier":[]}
//! {"leaf":"…","entry":{"v":1,"seq":0,…}}
//! {"leaf":"…","entry":{"v":1,"seq":1,…}}
//! {"value":"new","of":1,"salt":"…","text":"what entry 1 has sealed"}
//! {"checkpoint":"fleet.example/audit\n2\n…"}
//! {"leaf":"…","erased":9}
//! {"checkpoint":"fleet.example/audit\n3\n…"}
//! ```
//!
//! A checkpoint stands where the log had its size, and the last line is one. Values stand behind their entry,
//! the old one first. Of an entry that was erased its leaf is left, and the number of the later entry that
//! says so. A file may begin later in the log: then `frontier` has the hashes of the complete subtrees before.
//! There is one way to write each line, and whoever reads refuses others.

use crate::entry::Sealed;
use crate::hash::Hash;
use crate::note::{Note, VerifierKey};
use crate::tree::{Frontier, LOG_SIZE_MAX, TreeError};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// Longest line of a file in bytes: a value of the largest size with every character escaped.
pub const LINE_BYTES_MAX: usize = 512 * 1024;
const FORM: u8 = 1;

/// The first line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// The log's key. Its name is the log's origin.
    pub key: VerifierKey,
    /// The tree before the first entry of the file: empty where the file has the whole log.
    pub before: Frontier,
    /// The size of the log where the file ends.
    pub size: u64,
}

/// Which value of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// [`Entry::old`](crate::Entry::old).
    Old,
    /// [`Entry::new`](crate::Entry::new).
    New,
}

/// A line of a file, read and not verified.
#[derive(Debug)]
pub(crate) enum Line<'a> {
    Header(Header),
    Entry { leaf: Hash, bytes: &'a [u8] },
    Erased { leaf: Hash, by: u64 },
    Value { side: Side, of: u64, sealed: Sealed },
    Checkpoint(Note),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct HeaderLine {
    log: String,
    form: u8,
    key: String,
    from: u64,
    size: u64,
    frontier: Vec<Hash>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct EntryLine<'a> {
    leaf: Hash,
    #[serde(borrow)]
    entry: &'a RawValue,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ErasedLine {
    leaf: Hash,
    erased: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ValueLine {
    value: Side,
    of: u64,
    salt: Hash,
    text: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct CheckpointLine {
    checkpoint: String,
}

impl Header {
    /// The header of a file with a whole log of this size.
    pub fn whole(key: VerifierKey, size: u64) -> Header {
        Header { key, before: Frontier::new(), size }
    }

    /// The line, with its end.
    pub fn to_line(&self) -> String {
        let Header { key, before, size } = self;
        line(&HeaderLine {
            log: key.name().into(),
            form: FORM,
            key: key.to_string(),
            from: before.size(),
            size: *size,
            frontier: before.peaks().to_vec(),
        })
    }

    /// Reads the first line of a file, with its end.
    ///
    /// # Errors
    /// Why it is none, in words.
    pub fn parse(line: &[u8]) -> Result<Header, String> {
        match read(line)? {
            Line::Header(header) => Ok(header),
            _ => Err("it does not begin with the log's name and key".into()),
        }
    }

    fn read(read: HeaderLine) -> Result<Header, String> {
        let HeaderLine { log, form, key, from, size, frontier } = read;
        if form != FORM {
            return Err("the file is of another form than this program knows".into());
        }
        let key: VerifierKey = key.parse().map_err(|error| format!("its key: {error}"))?;
        if log != key.name() {
            return Err("the log has another name than its key".into());
        }
        if size > LOG_SIZE_MAX || size < from {
            return Err("no log has such a size".into());
        }
        let before = Frontier::of(from, frontier).map_err(|error: TreeError| error.to_string())?;
        Ok(Header { key, before, size })
    }
}

/// The line of an entry, of the bytes as they were recorded.
pub fn entry_line(entry: &[u8]) -> Result<String, serde_json::Error> {
    let read: &RawValue = serde_json::from_slice(entry)?;
    Ok(line(&EntryLine { leaf: Hash::leaf(entry), entry: read }))
}

/// The line of an entry as a store has it: its leaf, and the bytes that should give it. Where somebody has
/// changed one of the two, the line says so to whoever verifies it.
pub fn stored_line(leaf: Hash, entry: &[u8]) -> String {
    let text = String::from_utf8_lossy(entry);
    match serde_json::from_str::<&RawValue>(&text) {
        Ok(entry) => line(&EntryLine { leaf, entry }),
        // No JSON any more: a line nevertheless, which names the entry by its place.
        Err(_) => {
            let text: String = text.chars().map(|c| if c == '\n' { ' ' } else { c }).collect();
            format!("{{\"leaf\":\"{leaf}\",\"entry\":{text}}}\n")
        }
    }
}

/// The line of an entry that was erased, as the later entry `by` says.
pub fn erased_line(leaf: Hash, by: u64) -> String {
    line(&ErasedLine { leaf, erased: by })
}

/// The line of a value that entry `of` has sealed.
pub fn value_line(side: Side, of: u64, sealed: &Sealed) -> String {
    let Sealed { text, salt } = sealed;
    line(&ValueLine { value: side, of, salt: Hash(*salt), text: text.clone() })
}

/// The line of a checkpoint.
pub fn checkpoint_line(note: &Note) -> String {
    line(&CheckpointLine { checkpoint: note.to_string() })
}

fn line(line: &impl Serialize) -> String {
    let text = serde_json::to_string(line).expect("a line holds only texts and numbers");
    text + "\n"
}

/// Reads a line with its end, and only if it is written as they are written here.
pub(crate) fn read(bytes: &[u8]) -> Result<Line<'_>, String> {
    if bytes.len() > LINE_BYTES_MAX {
        return Err(format!("it is longer than {LINE_BYTES_MAX} bytes"));
    }
    let text = std::str::from_utf8(bytes).map_err(|_| "it is no UTF-8")?;
    let begins = |begin: &str| text.starts_with(begin);
    if begins(r#"{"leaf":"#) {
        // What an entry's line goes on with stands behind a hash of a known length.
        if text.get(74..).is_some_and(|rest| rest.starts_with(r#","entry":"#)) {
            let read: EntryLine = written(text)?;
            return Ok(Line::Entry { leaf: read.leaf, bytes: read.entry.get().as_bytes() });
        }
        let read: ErasedLine = written(text)?;
        Ok(Line::Erased { leaf: read.leaf, by: read.erased })
    } else if begins(r#"{"value":"#) {
        let ValueLine { value: side, of, salt, text } = written(text)?;
        let sealed = Sealed::new(text, salt.0).map_err(|error| error.to_string())?;
        Ok(Line::Value { side, of, sealed })
    } else if begins(r#"{"checkpoint":"#) {
        let read: CheckpointLine = written(text)?;
        let note = Note::parse(read.checkpoint.as_bytes()).map_err(|error| error.to_string())?;
        Ok(Line::Checkpoint(note))
    } else if begins(r#"{"log":"#) {
        Ok(Line::Header(Header::read(written(text)?)?))
    } else {
        Err("it begins as none does".into())
    }
}

/// A line of this kind, if it is the one that would be written.
fn written<'a, L: Serialize + Deserialize<'a>>(text: &'a str) -> Result<L, String> {
    let read: L = serde_json::from_str(text).map_err(|error| error.to_string())?;
    if line(&read) == text { Ok(read) } else { Err("it is not written as lines are".into()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::note::{LocalSigner, Signer};

    #[test]
    fn lines_are_written_as_they_were_in_the_first_version() {
        let signer = LocalSigner::from_seed("fleet.example/audit", &[3; 32]).unwrap();
        let hash = Hash::leaf(b"");
        let frontier = Frontier::of(5, vec![hash, hash]).unwrap();
        let header = Header { key: signer.key().clone(), before: frontier, size: 9 };
        let sealed = Sealed::new("a \"b\"\n".into(), [7; 32]).unwrap();
        let lines = [
            header.to_line(),
            entry_line(br#"{"v":1}"#).unwrap(),
            erased_line(hash, 9),
            value_line(Side::Old, 4, &sealed),
        ];
        let key = signer.key();
        let known = [
            format!(
                "{{\"log\":\"fleet.example/audit\",\"form\":1,\"key\":\"{key}\",\"from\":5,\"size\":9,\"frontier\":[\"{hash}\",\"{hash}\"]}}\n"
            ),
            format!("{{\"leaf\":\"{}\",\"entry\":{{\"v\":1}}}}\n", Hash::leaf(br#"{"v":1}"#)),
            format!("{{\"leaf\":\"{hash}\",\"erased\":9}}\n"),
            format!(
                "{{\"value\":\"old\",\"of\":4,\"salt\":\"{}\",\"text\":\"a \\\"b\\\"\\n\"}}\n",
                "07".repeat(32)
            ),
        ];
        assert_eq!(lines, known);
        for line in &lines {
            assert!(read(line.as_bytes()).is_ok(), "{line}");
            assert!(read(line.trim_end().as_bytes()).is_err(), "without its end");
            assert!(read(format!(" {line}").as_bytes()).is_err());
            assert!(read(line.replacen(':', ": ", 1).as_bytes()).is_err());
        }
        let Ok(Line::Header(again)) = read(lines[0].as_bytes()) else { panic!("no header") };
        assert_eq!(again, header);
        for (from, to) in [
            ("\"from\":5", "\"from\":7"),
            ("\"from\":5", "\"from\":10"),
            ("\"form\":1", "\"form\":2"),
            ("\"size\":9", "\"size\":4"),
            ("\"size\":9", "\"size\":18446744073709551615"),
            ("\"log\":\"f", "\"log\":\"F"),
        ] {
            assert!(read(lines[0].replace(from, to).as_bytes()).is_err(), "{to}");
        }
        assert!(entry_line(b"{} {}").is_err());
    }
}
