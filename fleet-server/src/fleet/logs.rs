//! Lines of devices' logs: asked for for a while, kept in memory, shown. What is lost with the server is asked
//! for again.

use crate::audit::{By, did, text};
use crate::bounds::{LOG_BYTES_KEPT, LOG_DEVICES_KEPT, LOG_LINES_KEPT, TEXT_CHARS_MAX, short};
use crate::error::Error;
use crate::fleet::Fleet;
use lineside_audit::{Action, Change};
use lineside_trust::{LOG_MINUTES_MAX, LogRequest, check_log_targets, sign_log_request};
use lineside_wire::name::DeviceId;
use lineside_wire::topic::Down;
use lineside_wire::v1::{AskLog, LogLevel, LogLine, LogLines};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use time::OffsetDateTime;

/// How far ahead a device's clock may be and still take what is asked.
const CLOCKS_APART: Duration = Duration::from_secs(300);
/// Characters of a line's message that are kept.
const MESSAGE_CHARS_MAX: usize = 2_000;
/// What a line takes besides its texts, in bytes.
const LINE_BYTES: usize = 64;

/// What is asked of a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// How much lines have to matter, at least.
    pub level: LogLevel,
    /// Parts of the agent; all if none is named.
    pub targets: Vec<String>,
    /// For how long, in minutes.
    pub minutes: u32,
}

/// A line, with its number here, which rises by one each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Kept {
    pub number: u64,
    pub line: LogLine,
}

/// What is known of the log of a device.
#[derive(Debug, Clone)]
pub(crate) struct Known {
    /// The number of the request.
    pub request: u64,
    pub wanted: Wanted,
    /// When the time is over for which it was asked.
    pub until: OffsetDateTime,
    /// Whether the device has said anything to it.
    pub is_heard: bool,
    /// Why it sends none (any longer); empty while it does.
    pub ended: String,
    /// Lines that the device left out because there were too many.
    pub dropped: u64,
    /// Lines that were kept here and gave way to newer ones.
    pub gave_way: u64,
    /// Number of the last line, 0 for none.
    pub last: u64,
    /// Lines after the one that was asked for.
    pub lines: Vec<Kept>,
}

/// Logs of devices that were asked for them.
#[derive(Debug, Default)]
pub(crate) struct Logs(Mutex<All>);

#[derive(Debug, Default)]
struct All {
    last_request: u64,
    devices: BTreeMap<DeviceId, Log>,
}

#[derive(Debug)]
struct Log {
    request: u64,
    wanted: Wanted,
    until: OffsetDateTime,
    /// The start in which the device has said something to the request.
    boot: Option<u64>,
    ended: String,
    dropped: u64,
    gave_way: u64,
    last: u64,
    lines: VecDeque<LogLine>,
    bytes: usize,
}

impl Logs {
    /// Notes what is asked of a device now, in the place of what was asked before. Its lines stay. Returns
    /// the number of the request.
    fn begin(&self, device: &DeviceId, wanted: Wanted, now: OffsetDateTime) -> u64 {
        let mut all = self.lock();
        // By the clock, so that it rises over starts of this server.
        let clock = u64::try_from(now.unix_timestamp_nanos() / 1_000_000).unwrap_or(0);
        all.last_request = clock.max(all.last_request + 1);
        let request = all.last_request;
        let until = now + Duration::from_secs(60 * u64::from(wanted.minutes));
        if all.devices.len() >= LOG_DEVICES_KEPT && !all.devices.contains_key(device) {
            let oldest = all.devices.iter().min_by_key(|(_, log)| log.request);
            if let Some(oldest) = oldest.map(|(device, _)| device.clone()) {
                all.devices.remove(&oldest);
            }
        }
        let before = all.devices.remove(device);
        let (lines, bytes, last) =
            before.map(|log| (log.lines, log.bytes, log.last)).unwrap_or_default();
        let log = Log {
            request,
            wanted,
            until,
            boot: None,
            ended: String::new(),
            dropped: 0,
            gave_way: 0,
            last,
            lines,
            bytes,
        };
        all.devices.insert(device.clone(), log);
        request
    }

    /// What a device in its start `boot` has still to be asked.
    fn owed(&self, device: &DeviceId, boot: u64, now: OffsetDateTime) -> Option<(u64, Wanted)> {
        let all = self.lock();
        let log = all.devices.get(device)?;
        let left = u64::try_from((log.until - now).whole_seconds()).unwrap_or(0);
        if log.boot == Some(boot) || left == 0 {
            return None;
        }
        let minutes = u32::try_from(left.div_ceil(60)).unwrap_or(LOG_MINUTES_MAX);
        Some((log.request, Wanted { minutes, ..log.wanted.clone() }))
    }

    /// Takes what a device says. What nobody asked of it, or asks no more, is left.
    pub fn take(&self, device: &DeviceId, said: LogLines) {
        let mut all = self.lock();
        let Some(log) = all.devices.get_mut(device) else { return };
        // Without a number it could not read what it was asked.
        if said.request != log.request && said.request != 0 {
            return;
        }
        log.boot = Some(said.boot);
        log.dropped = log.dropped.saturating_add(said.dropped);
        log.ended = short(&said.ended, TEXT_CHARS_MAX);
        said.lines.into_iter().for_each(|line| log.keep(line));
    }

    /// What is known of the log of a device; nothing if it was not asked for it. Of the lines the first
    /// `lines_max` after number `after`.
    pub fn known(&self, device: &DeviceId, after: u64, lines_max: usize) -> Option<Known> {
        let all = self.lock();
        let log = all.devices.get(device)?;
        let first = log.last + 1 - log.lines.len() as u64;
        let numbered = (first..).zip(&log.lines).skip_while(|(number, _)| *number <= after);
        let lines = numbered.map(|(number, line)| Kept { number, line: line.clone() });
        Some(Known {
            request: log.request,
            wanted: log.wanted.clone(),
            until: log.until,
            is_heard: log.boot.is_some(),
            ended: log.ended.clone(),
            dropped: log.dropped,
            gave_way: log.gave_way,
            last: log.last,
            lines: lines.take(lines_max).collect(),
        })
    }

    /// Forgets a device.
    pub fn forget(&self, device: &DeviceId) {
        self.lock().devices.remove(device);
    }

    fn lock(&self) -> MutexGuard<'_, All> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Log {
    fn keep(&mut self, line: LogLine) {
        let name = |text: &str| short(text, TEXT_CHARS_MAX);
        let line = LogLine {
            target: name(&line.target),
            message: short(&line.message, MESSAGE_CHARS_MAX),
            fields: line.fields.iter().map(|(field, text)| (name(field), name(text))).collect(),
            ..line
        };
        self.bytes += size(&line);
        self.lines.push_back(line);
        self.last += 1;
        while self.lines.len() > LOG_LINES_KEPT || self.bytes > LOG_BYTES_KEPT {
            let Some(oldest) = self.lines.pop_front() else { return };
            self.bytes -= size(&oldest);
            self.gave_way += 1;
        }
    }
}

/// What a line takes in memory, in bytes.
fn size(line: &LogLine) -> usize {
    let fields = line.fields.iter().map(|(name, text)| LINE_BYTES + name.len() + text.len());
    LINE_BYTES + line.target.len() + line.message.len() + fields.sum::<usize>()
}

impl Fleet {
    /// Asks a device for lines of its log: at once if it is connected, and otherwise as soon as it is, as long
    /// as the time is not over. Returns the number of the request, and whether the device is connected.
    ///
    /// # Errors
    /// [`Error::Malformed`] names what is out of bounds; [`Error::Conflict`] if no device would believe it.
    pub async fn ask_log(
        &self,
        by: &By,
        device: &DeviceId,
        wanted: Wanted,
        now: OffsetDateTime,
    ) -> Result<(u64, bool), Error> {
        if !(1..=LOG_MINUTES_MAX).contains(&wanted.minutes) {
            let problem =
                format!("minutes is {}, 1 to {LOG_MINUTES_MAX} are possible", wanted.minutes);
            return Err(Error::Malformed(problem));
        }
        check_log_targets(&wanted.targets).map_err(Error::Malformed)?;
        if let Some(trouble) = self.documents.keys_trouble().await? {
            return Err(Error::Conflict(trouble));
        }
        let writing = self.store.write().await?;
        let change = did(by, Action::DeviceCommanded, "device", device.as_str());
        let command = format!("log level {} for {} minutes", wanted.level, wanted.minutes);
        writing.record(Change { new: text(&command), ..change });
        writing.commit().await?;
        let request = self.logs.begin(device, wanted.clone(), now);
        tracing::info!(
            "{device}: its log is asked for, {} and above, for {} minutes",
            wanted.level,
            wanted.minutes
        );
        self.send_log_request(device, request, wanted, now).await;
        Ok((request, self.sessions.is_connected(device).await))
    }

    /// Asks a device that has started as `boot` what it has not been asked yet in this start.
    pub async fn ask_log_again(&self, device: &DeviceId, boot: u64, now: OffsetDateTime) {
        if let Some((request, wanted)) = self.logs.owed(device, boot, now) {
            self.send_log_request(device, request, wanted, now).await;
        }
    }

    async fn send_log_request(
        &self,
        device: &DeviceId,
        number: u64,
        wanted: Wanted,
        now: OffsetDateTime,
    ) {
        let Wanted { level, targets, minutes } = wanted;
        let expires = now + Duration::from_secs(60 * u64::from(minutes)) + CLOCKS_APART;
        let request =
            LogRequest { device: device.clone(), number, expires, level, targets, minutes };
        let request = sign_log_request(&request, &self.keys.director);
        self.link.send(device, Down::AskLog, &AskLog { request }).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;

    fn device(name: &str) -> DeviceId {
        name.parse().unwrap()
    }

    fn wanted() -> Wanted {
        Wanted { level: LogLevel::Info, targets: Vec::new(), minutes: 10 }
    }

    fn line(message: &str) -> LogLine {
        let (target, message) = ("lineside_agent".to_owned(), message.to_owned());
        LogLine { at_unix_ms: 1, level: 3, target, message, fields: Vec::new() }
    }

    fn said(request: u64, boot: u64, lines: &[&str]) -> LogLines {
        LogLines {
            request,
            boot,
            lines: lines.iter().map(|text| line(text)).collect(),
            dropped: 0,
            left_seconds: 60,
            ended: String::new(),
        }
    }

    fn texts(logs: &Logs, device: &DeviceId, after: u64) -> Vec<(u64, String)> {
        let known = logs.known(device, after, usize::MAX).unwrap();
        known.lines.into_iter().map(|kept| (kept.number, kept.line.message)).collect()
    }

    #[test]
    fn only_what_was_asked_of_a_device_is_kept_and_the_lines_before_stay() {
        let (logs, mill) = (Logs::default(), device("mill"));
        logs.take(&mill, said(0, 1, &["unasked"]));
        assert!(logs.known(&mill, 0, 9).is_none());
        let first = logs.begin(&mill, wanted(), NOW);
        assert!(!logs.known(&mill, 0, 9).unwrap().is_heard);
        logs.take(&mill, said(first, 1, &["a", "b"]));
        logs.take(&device("stranger"), said(first, 1, &["x"]));
        let second = logs.begin(&mill, wanted(), NOW);
        assert!(second > first);
        logs.take(&mill, said(first, 1, &["late"]));
        logs.take(&mill, said(second, 1, &["c\n\u{1b}[2J"]));
        let all = ["a", "b", "c  [2J"].map(str::to_owned);
        assert_eq!(texts(&logs, &mill, 0), (1..).zip(all.clone()).collect::<Vec<_>>());
        assert_eq!(texts(&logs, &mill, 2), [(3, all[2].clone())]);
        assert_eq!(logs.known(&mill, 0, 1).unwrap().lines.len(), 1);
        logs.forget(&mill);
        assert!(logs.known(&mill, 0, 9).is_none());
    }

    #[test]
    fn the_newest_lines_are_kept_and_those_that_give_way_are_counted() {
        let (logs, mill) = (Logs::default(), device("mill"));
        let request = logs.begin(&mill, wanted(), NOW);
        for _ in 0..LOG_LINES_KEPT + 7 {
            logs.take(&mill, LogLines { dropped: 2, ..said(request, 1, &["x"]) });
        }
        let known = logs.known(&mill, 0, usize::MAX).unwrap();
        assert_eq!(
            (known.lines.len(), known.gave_way, known.lines[0].number),
            (LOG_LINES_KEPT, 7, 8)
        );
        assert_eq!(known.dropped, 2 * (LOG_LINES_KEPT as u64 + 7));
        let long = "x".repeat(MESSAGE_CHARS_MAX + 1);
        for _ in 0..LOG_LINES_KEPT {
            logs.take(&mill, said(request, 1, &[&long]));
        }
        let kept = logs.known(&mill, 0, usize::MAX).unwrap().lines;
        assert!(kept.iter().map(|kept| size(&kept.line)).sum::<usize>() <= LOG_BYTES_KEPT);
        assert!(kept.iter().all(|kept| kept.line.message.len() == MESSAGE_CHARS_MAX));
    }

    #[test]
    fn of_too_many_devices_the_one_that_was_asked_first_gives_way() {
        let logs = Logs::default();
        for number in 0..=LOG_DEVICES_KEPT {
            logs.begin(&device(&format!("mill-{number}")), wanted(), NOW);
        }
        assert!(logs.known(&device("mill-0"), 0, 1).is_none());
        assert!(logs.known(&device("mill-1"), 0, 1).is_some());
        assert_eq!(logs.lock().devices.len(), LOG_DEVICES_KEPT);
    }

    #[test]
    fn a_device_is_asked_again_in_each_start_for_the_time_that_is_left() {
        let (logs, mill) = (Logs::default(), device("mill"));
        let request = logs.begin(&mill, wanted(), NOW);
        let owed = |boot, seconds| {
            let owed = logs.owed(&mill, boot, NOW + Duration::from_secs(seconds));
            owed.map(|(number, wanted)| {
                assert_eq!(number, request);
                wanted.minutes
            })
        };
        assert_eq!(owed(1, 0), Some(10));
        logs.take(&mill, said(request, 1, &[]));
        assert_eq!(owed(1, 1), None);
        assert_eq!((owed(2, 1), owed(2, 541), owed(2, 540)), (Some(10), Some(1), Some(1)));
        assert_eq!((owed(2, 599), owed(2, 600), owed(2, 6000)), (Some(1), None, None));
        // A start that could not read what it was asked is not asked again.
        logs.take(&mill, LogLines { ended: "expired".into(), ..said(0, 2, &[]) });
        assert_eq!(owed(2, 1), None);
        assert_eq!(logs.known(&mill, 0, 1).unwrap().ended, "expired");
    }
}
