//! `lineside audit`: whether an audit log holds, in a file or at a server, and what it says.

use crate::connection::Connection;
use crate::new_files;
use crate::output::{Output, Usage};
use crate::server::Server;
use anyhow::{Context, anyhow, bail};
use clap::{Args, Subcommand};
use lineside_audit::{
    AsOf, Checkpoint, Entry, Header, LINE_BYTES_MAX, Note, Report, SlotHistory, Step, Verifier,
    VerifierKey, VerifyError, verify,
};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

pub const EXAMPLES: &str = "\
Examples:
  lineside audit export -o log.jsonl --key log.key
  lineside audit verify --key log.key --checkpoint kept-in-march.txt
  lineside audit as-of press-4 2026-03-01T12:00:00Z
  lineside audit verify log.jsonl --key fleet.example/audit+4bca47d7+Ae1JKM...
  lineside audit verify log.jsonl --key log.key --checkpoint kept-in-march.txt
  lineside audit slot log.jsonl press-4/main --at 2026-03-01T12:00:00Z --key log.key";

/// Longest file with a key or a checkpoint, in bytes.
const SMALL_FILE_BYTES_MAX: u64 = 256 * 1024;

#[derive(Subcommand)]
pub enum AuditCommand {
    /// Say whether a log is as it was recorded and signed, and if not, from which entry on: the server's, or the
    /// one in a file, which needs no server.
    #[command(after_help = EXAMPLES)]
    Verify(Verify),
    /// Write the server's log into a file, verified. Where the file is there already, what has come since is
    /// added, and only if it continues what the file had.
    #[command(after_help = EXAMPLES)]
    Export(Export),
    /// Say which releases the slots of a device were assigned and ran at some time, and who gave leave.
    #[command(name = "as-of", after_help = EXAMPLES)]
    AsOf(OfDevice),
    /// Say which release a slot was assigned and ran at some time, and who gave leave.
    #[command(after_help = EXAMPLES)]
    Slot(Slot),
}

#[derive(Args)]
pub struct Verify {
    /// The exported log: JSON, a line each [default: the server's].
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    #[command(flatten)]
    trust: Trust,
}

#[derive(Args)]
pub struct Export {
    /// The file.
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    #[command(flatten)]
    trust: Trust,
}

#[derive(Args)]
pub struct Slot {
    /// The exported log: JSON, a line each.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Which slot.
    #[arg(value_name = "DEVICE/SLOT")]
    slot: String,
    /// When, for example 2026-03-01T12:00:00Z.
    #[arg(long, value_name = "TIME", value_parser = milliseconds)]
    at: u64,
    #[command(flatten)]
    trust: Trust,
}

#[derive(Args)]
pub struct OfDevice {
    /// Which device.
    #[arg(value_name = "DEVICE")]
    device: String,
    /// When, for example 2026-03-01T12:00:00Z.
    #[arg(value_name = "TIME", value_parser = milliseconds)]
    at: u64,
    /// The exported log: JSON, a line each [default: the server's].
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    #[command(flatten)]
    trust: Trust,
}

/// What a log is compared with.
#[derive(Args)]
struct Trust {
    /// The log's key, as its owner gave it to you and not as it stands in the file: name+id+base64, or a file
    /// with that. A server is asked for its own where none is given, and believed.
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    /// A checkpoint that you have kept: it shows that nothing of what was there then was cut off or replaced.
    /// May be given several times.
    #[arg(long = "checkpoint", value_name = "FILE")]
    checkpoints: Vec<PathBuf>,
}

/// Where a log is read.
enum Log {
    File(PathBuf),
    Server(Server),
}

pub fn run(command: AuditCommand, connection: &Connection, output: &Output) -> anyhow::Result<()> {
    match command {
        AuditCommand::Verify(Verify { file, trust }) => {
            let report = Log::of(file, connection)?.verify(&trust, output, |_| {})?;
            output.print(report.to_string().trim_end(), &told(&report))
        }
        AuditCommand::Export(Export { output: file, trust }) => {
            export(&Server::at(connection)?, &file, &trust, output)
        }
        AuditCommand::Slot(Slot { file, slot, at, trust }) => {
            let mut history = SlotHistory::new(&slot);
            let log = Log::File(file);
            let report = log.verify(&trust, output, |entry| history.take(entry))?;
            let as_of = history.as_of(at);
            output.print(shown(&report, &slot, &as_of), &slot_told(&report, &slot, &as_of))
        }
        AuditCommand::AsOf(OfDevice { device, at, file, trust }) => {
            as_of(&Log::of(file, connection)?, &device, at, &trust, output)
        }
    }
}

/// What all slots of a device had. The log is read twice: which slots there are has to be known before an
/// approval is met that is about one of them.
fn as_of(log: &Log, device: &str, at: u64, trust: &Trust, output: &Output) -> anyhow::Result<()> {
    let mut slots: BTreeMap<String, SlotHistory> = BTreeMap::new();
    let is_of_device = |entry: &Entry| {
        let of = entry.subject.id.as_str().split_once('/');
        entry.subject.kind.as_str() == "slot" && of.is_some_and(|(name, _)| name == device)
    };
    log.verify(trust, output, |entry| {
        if is_of_device(entry) {
            let slot = entry.subject.id.as_str();
            slots.entry(slot.to_owned()).or_insert_with(|| SlotHistory::new(slot));
        }
    })?;
    let report = log.verify(trust, output, |entry| {
        slots.values_mut().for_each(|history| history.take(entry));
    })?;
    let histories = || slots.iter().map(|(slot, history)| (slot, history.as_of(at)));
    let lines: Vec<String> =
        histories().map(|(slot, as_of)| shown(&report, slot, &as_of)).collect();
    let text = match lines.is_empty() {
        true => format!("The log says nothing of a slot of {device}."),
        false => lines.join("\n"),
    };
    let told: Vec<Value> =
        histories().map(|(slot, as_of)| slot_told(&report, slot, &as_of)).collect();
    output.print(text, &json!({ "device": device, "slots": told }))
}

/// Writes the log, or what has come since, and nothing unless all of it holds together.
fn export(server: &Server, file: &Path, trust: &Trust, output: &Output) -> anyhow::Result<()> {
    let key = trust.key(Some(server))?;
    let mut known = trust.known(&key)?;
    let name = file.display();
    let (mut kept, mut from) = (None, 0);
    if file.exists() {
        let log = Log::File(file.to_owned());
        let report = log.verify_with(&key, &known, output, |_| {}).with_context(|| {
            format!(
                "{name} is left as it is; name another file, and keep this one: it may be evidence"
            )
        })?;
        from = report.checkpoint.size();
        known.push(report.checkpoint);
        kept = Some(BufReader::new(File::open(file)?));
    }
    let _working = output.working(format!("fetching the log of {}", server.url()));
    let mut news = server.audit_log(from)?;
    let mut verifier = Verifier::new(key.clone(), &known);
    new_files::replace_with(file, |out| {
        let mut put = |line: &[u8]| -> io::Result<()> {
            verifier.line(line).map_err(io::Error::other)?;
            out.write_all(line)
        };
        let mut line = Vec::new();
        if read_line(&mut news, &mut line)? == 0 {
            return Err(io::Error::other("the server gives no log"));
        }
        let header = Header::parse(&line).map_err(io::Error::other)?;
        match &mut kept {
            None => put(&line)?,
            Some(kept) => {
                // The file begins where it began, and ends where the news end.
                read_line(kept, &mut line)?;
                let before = Header::parse(&line).map_err(io::Error::other)?;
                put(Header { size: header.size, ..before }.to_line().as_bytes())?;
                // With nothing new both end with the same checkpoint.
                let has_news = header.size > from;
                let mut held: Vec<u8> = Vec::new();
                while read_line(kept, &mut line)? > 0 {
                    if !held.is_empty() {
                        put(&held)?;
                    }
                    held.clone_from(&line);
                }
                if has_news {
                    put(&held)?;
                }
            }
        }
        while read_line(&mut news, &mut line)? > 0 {
            put(&line)?;
        }
        Ok(())
    })
    .with_context(|| format!("the log of {} is not kept", server.url()))?;
    let report = verifier.finish().map_err(|fault| anyhow!(fault))?;
    let (size, new) = (report.checkpoint.size(), report.checkpoint.size() - from);
    let text =
        format!("{name} has the log of {size} entries, {new} of them new; it holds (key {key})");
    output.print(
        text,
        &json!({ "file": file, "new": new, "key": key.to_string(), "log": told(&report) }),
    )
}

fn read_line(from: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<usize> {
    line.clear();
    from.by_ref().take(LINE_BYTES_MAX as u64 + 1).read_until(b'\n', line)
}

impl Log {
    fn of(file: Option<PathBuf>, connection: &Connection) -> anyhow::Result<Log> {
        Ok(match file {
            Some(file) => Log::File(file),
            None => Log::Server(Server::at(connection)?),
        })
    }

    fn verify(
        &self,
        trust: &Trust,
        output: &Output,
        each: impl FnMut(&Entry),
    ) -> anyhow::Result<Report> {
        let server = match self {
            Log::File(_) => None,
            Log::Server(server) => Some(server),
        };
        let key = trust.key(server)?;
        self.verify_with(&key, &trust.known(&key)?, output, each)
    }

    fn verify_with(
        &self,
        key: &VerifierKey,
        known: &[Checkpoint],
        output: &Output,
        each: impl FnMut(&Entry),
    ) -> anyhow::Result<Report> {
        let (name, lines): (String, Box<dyn BufRead>) = match self {
            Log::File(path) => {
                let name = path.display().to_string();
                let file = File::open(path).with_context(|| format!("cannot read {name}"))?;
                (name, Box::new(BufReader::new(file)))
            }
            Log::Server(server) => {
                (format!("the log of {}", server.url()), Box::new(server.audit_log(0)?))
            }
        };
        let _working = output.working(format!("verifying {name}"));
        verify(lines, key, known, each).map_err(|error| match error {
            VerifyError::Read(error) => {
                anyhow::Error::new(error).context(format!("cannot read {name}"))
            }
            VerifyError::Fault(fault) => {
                let entry = fault.entry.map(|entry| format!(" from entry {entry} on"));
                anyhow!(fault).context(format!("{name} does not hold{}", entry.unwrap_or_default()))
            }
        })
    }
}

impl Trust {
    fn known(&self, key: &VerifierKey) -> anyhow::Result<Vec<Checkpoint>> {
        self.checkpoints.iter().map(|path| checkpoint(path, key)).collect()
    }

    /// The key that was given, or else the server's own.
    fn key(&self, server: Option<&Server>) -> anyhow::Result<VerifierKey> {
        let Some(given) = &self.key else {
            let Some(server) = server else {
                bail!(Usage("--key: give the log's key, which its owner gave you".into()));
            };
            let text = server.audit_key()?;
            return text.trim().parse().context("the server's key for its audit log");
        };
        if let Ok(key) = given.parse() {
            return Ok(key);
        }
        let path = Path::new(given);
        // Where there is no such file, it was meant as a key.
        let text = if path.is_file() { small_file(path)? } else { given.clone() };
        text.trim().parse().map_err(|error| Usage(format!("--key: {error}")).into())
    }
}

fn checkpoint(path: &Path, key: &VerifierKey) -> anyhow::Result<Checkpoint> {
    let text = small_file(path)?;
    let read = Note::parse(text.as_bytes()).map_err(anyhow::Error::new);
    let read = read.and_then(|note| Ok(Checkpoint::verify(&note, key)?));
    read.with_context(|| format!("{} is no checkpoint to compare with", path.display()))
}

fn small_file(path: &Path) -> anyhow::Result<String> {
    let cannot = || format!("cannot read {}", path.display());
    let mut text = String::new();
    let mut file = File::open(path).with_context(cannot)?.take(SMALL_FILE_BYTES_MAX);
    file.read_to_string(&mut text).with_context(cannot)?;
    Ok(text)
}

fn milliseconds(text: &str) -> Result<u64, String> {
    let time = OffsetDateTime::parse(text, &Rfc3339).ok();
    let milliseconds =
        time.and_then(|time| u64::try_from(time.unix_timestamp_nanos() / 1_000_000).ok());
    milliseconds.ok_or_else(|| "it is no time such as 2026-03-01T12:00:00Z".into())
}

fn time(milliseconds: u64) -> String {
    let time = OffsetDateTime::from_unix_timestamp_nanos(i128::from(milliseconds) * 1_000_000).ok();
    let text = time.and_then(|time| time.format(&Rfc3339).ok());
    text.unwrap_or_else(|| format!("{milliseconds} ms after 1970"))
}

fn told(report: &Report) -> Value {
    json!({
        "log": report.checkpoint.origin(),
        "size": report.checkpoint.size(),
        "root": report.checkpoint.root(),
        "from": report.from,
        "entries": report.entries,
        "unread": report.unread,
        "erased": report.erased,
        "opened": report.opened,
        "values_erased": report.values_erased.count(),
        "withheld": report.withheld.count(),
        "kept": report.kept,
        "checkpoints": report.checkpoints,
        "unchecked": report.unchecked,
        "clock_steps_back": report.clock_steps_back,
    })
}

fn shown(report: &Report, slot: &str, as_of: &AsOf) -> String {
    let step = |step: Option<&Step>, what: &str| match step {
        None => format!("{slot}: nothing says what it {what}."),
        Some(Step { seq, at, release, who, .. }) => {
            let release = release.as_ref().map_or("nothing".into(), |release| release.to_string());
            format!("{slot} {what} {release} since {} (entry {seq}, by {who}).", time(*at))
        }
    };
    let mut lines = vec![step(as_of.assigned, "was assigned"), step(as_of.ran, "ran")];
    lines.extend(as_of.approvals.iter().map(|approval| {
        let why = approval.why.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
        let (who, action, at) = (&approval.who, approval.action.words(), time(approval.at));
        format!("{who}: {action}, {at} (entry {}){why}", approval.seq)
    }));
    if as_of.assigned.is_some() && as_of.approvals.is_empty() {
        lines.push("No entry says who gave leave.".into());
    }
    // What is not there may have said something else.
    if report.from > 0 {
        lines.push(format!(
            "The file begins with entry {}: what was before is not in it.",
            report.from
        ));
    }
    let silent = report.erased + report.unread;
    if silent > 0 {
        lines.push(format!("Entries that say nothing here, erased or of a later form: {silent}"));
    }
    lines.join("\n")
}

fn slot_told(report: &Report, slot: &str, as_of: &AsOf) -> Value {
    let step = |step: Option<&Step>| {
        step.map(|Step { seq, at, release, who, .. }| {
            let release = release.as_ref().map(ToString::to_string);
            json!({ "entry": seq, "at": time(*at), "release": release, "who": who })
        })
    };
    let approvals: Vec<Value> = as_of
        .approvals
        .iter()
        .map(|approval| {
            json!({ "entry": approval.seq, "at": time(approval.at), "who": approval.who,
                "action": approval.action.code(), "why": approval.why })
        })
        .collect();
    json!({ "log": told(report), "slot": slot, "assigned": step(as_of.assigned), "ran": step(as_of.ran),
        "approvals": approvals })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A log that is kept for ever where logs are verified, and its key.
    const LOG: &str = include_str!("../../audit/tests/log-v1.jsonl");
    const KEY: &str = "fleet.example/audit+4bca47d7+Ae1JKMYo0cLG6ukDOJBZlWEpWSc6XGP5NjbBRhSshzfR";

    fn folder(log: &str) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("log.jsonl");
        std::fs::write(&file, log).unwrap();
        (folder, file)
    }

    fn verified(log: &str, key: &str, checkpoints: Vec<PathBuf>) -> Result<String, String> {
        let (_folder, file) = folder(log);
        let trust = Trust { key: Some(key.into()), checkpoints };
        let done = Log::File(file.clone()).verify(&trust, &Output { json: true }, |_| {});
        let name = file.display().to_string();
        done.map(|report| report.to_string())
            .map_err(|error| format!("{error:#}").replace(&name, "LOG"))
    }

    #[test]
    fn a_log_holds_or_it_is_said_what_does_not_and_from_where_on() {
        let said = verified(LOG, KEY, vec![]).unwrap();
        assert!(said.starts_with("The log fleet.example/audit holds: 14 entries, root "), "{said}");
        let changed = verified(&LOG.replacen("Ada", "Eve", 1), KEY, vec![]).unwrap_err();
        assert_eq!(
            changed,
            "LOG does not hold from entry 0 on: line 2: entry 0 was changed: its bytes have another hash than \
             its leaf"
        );
        let (_folder, key) = folder(&format!("{KEY}\n"));
        assert!(verified(LOG, &key.display().to_string(), vec![]).is_ok());
        let wrong = verified(LOG, &KEY.replace("4bca", "4bcb"), vec![]).unwrap_err();
        assert!(wrong.starts_with("--key: it is no key"), "{wrong}");
    }

    #[test]
    fn a_checkpoint_that_was_kept_is_compared_and_has_to_be_one() {
        let line = LOG.lines().find(|line| line.starts_with("{\"checkpoint\"")).unwrap();
        let read: Value = serde_json::from_str(line).unwrap();
        let (_folder, kept) = folder(read["checkpoint"].as_str().unwrap());
        assert!(verified(LOG, KEY, vec![kept.clone()]).is_ok());
        std::fs::write(&kept, "nothing").unwrap();
        let wrong = verified(LOG, KEY, vec![kept]).unwrap_err();
        assert!(
            wrong.contains("is no checkpoint to compare with: it is no signed note"),
            "{wrong}"
        );
    }

    #[test]
    fn which_release_a_slot_had_is_said_with_who_and_when() {
        let mut history = SlotHistory::new("press-1/main");
        let report =
            verify(LOG.as_bytes(), &KEY.parse().unwrap(), &[], |entry| history.take(entry))
                .unwrap();
        let at = |time: &str| {
            shown(&report, "press-1/main", &history.as_of(milliseconds(time).unwrap()))
        };
        let said = at("1970-01-01T00:00:01Z");
        let digest = "sha256:2ae1c19c0cbd378e46c927a9f3611923ec07cc1ae357502a09536d455275cf21";
        assert_eq!(
            said,
            format!(
                "press-1/main was assigned {digest} since 1970-01-01T00:00:01Z (entry 1, by ada (Ada Größe)).\n\
                 press-1/main: nothing says what it ran.\nNo entry says who gave leave.\n\
                 Entries that say nothing here, erased or of a later form: 4"
            )
        );
        assert!(at("1970-01-01T00:00:00Z").contains("nothing says what it was assigned"));
        assert!(
            milliseconds("yesterday").is_err() && milliseconds("1969-01-01T00:00:00Z").is_err()
        );
    }
}
