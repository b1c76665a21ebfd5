//! Messages of version 1. None of these types may change once devices speak them: a new field is a
//! new version, and the bytes in the tests below stay readable for ever.

use crate::envelope::{EnvelopeError, Message, whole};
use crate::quality::SeveralRead;
use serde::{Deserialize, Serialize};

pub use crate::alert::{ALERT_VALUES_MAX, Alert, EXPLAINED_MAX};
pub use crate::interval::{
    COLUMNS_MAX, Column, Counts, Interval, REASONS_MAX, Resources, STANDS_FOR_MAX, StandsFor,
    Summary, Unmergeable, count,
};
pub use crate::log::{AskLog, LOG_FIELDS_MAX, LOG_LINES_MAX, LogLevel, LogLine, LogLines};
pub use crate::quality::{MET_MAX, Met, OUTCOME_CHARS_MAX, Quality, SCORED_MAX, Scored};

/// A release as messages name it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleaseRef {
    /// The bundle's name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// SHA-256 of its OCI manifest.
    pub digest: [u8; 32],
}

/// What a device holds. Sent at each connection and whenever it changes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Counts the device's starts.
    pub boot: u64,
    /// Version of the agent.
    pub agent_version: String,
    /// Its slots.
    pub slots: Vec<SlotStatus>,
    /// Version of the assignment accepted last, 0 for none.
    pub assignment_version: u64,
    /// Version of the list of releases accepted last, 0 for none.
    pub releases_version: u64,
    /// Version of the root it trusts.
    pub root_version: u64,
    /// Version of the timestamp accepted last, 0 for none.
    pub timestamp_version: u64,
    /// What the device takes for the time, milliseconds since 1970-01-01 UTC.
    pub wall_clock_unix_ms: i64,
}

/// What a slot holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SlotStatus {
    /// The slot.
    pub slot: String,
    /// The release that answers; none if the slot is vacant.
    pub active: Option<ReleaseRef>,
    /// The release kept beside it.
    pub previous: Option<ReleaseRef>,
    /// The release on its way in.
    pub candidate: Option<ReleaseRef>,
    /// One of [`phase`].
    pub phase: u16,
    /// What people should know, as in `rolled back: …`.
    pub note: String,
    /// What is wrong with it though no release is at fault, as that its source brings no readings;
    /// empty if nothing is.
    pub trouble: String,
    /// The number below which it may not go.
    pub floor: u64,
    /// Why people on the device hold its updates back, who, and for how long; none where nobody does.
    pub hold: Option<String>,
    /// Running time in seconds after which that ends by itself; none where it does not.
    pub hold_left_seconds: Option<u64>,
    /// Running time in seconds after which the candidate has waited as long as its site wants it to,
    /// below zero since it has; none where nothing is held back, or for as long as it takes.
    pub deadline_left_seconds: Option<i64>,
}

/// Phases of a slot, as numbers that may be added to.
pub mod phase {
    /// Nothing is under way.
    pub const IDLE: u16 = 0;
    /// Blobs are being fetched.
    pub const DOWNLOADING: u16 = 1;
    /// Checks are being replayed.
    pub const STAGING: u16 = 2;
    /// The candidate is on probation.
    pub const TRIAL: u16 = 3;
    /// The candidate answers beside the active release, and both are compared.
    pub const SHADOW: u16 = 4;
    /// The candidate waits for people: for an approval, or until the site lets the route be changed.
    pub const HELD: u16 = 5;
}

/// Records of the spool, in the order of their sequence numbers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Telemetry {
    /// The records.
    pub records: Vec<Record>,
}

/// One record of the spool, numbered so that a repeat is known as one.
///
/// Its body is coded, so that a record of a kind that a server does not know can still be stored
/// and acknowledged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The start of the device it was made in.
    pub boot: u64,
    /// Counts the records of that start.
    pub sequence: u64,
    /// Whether it waited out an interruption.
    pub backfill: bool,
    /// One of [`record`].
    pub code: u16,
    /// Postcard of that kind.
    pub body: Vec<u8>,
}

/// Kinds of records, as numbers that may be added to.
pub mod record {
    /// An [`Interval`](super::Interval).
    pub const INTERVAL: u16 = 1;
    /// An [`Event`](super::Event).
    pub const EVENT: u16 = 2;
    /// An [`Alert`](super::Alert).
    pub const ALERT: u16 = 3;
    /// A [`Quality`](super::Quality).
    pub const QUALITY: u16 = 4;
    /// A [`Quality`](super::Quality) that stands for several; then how many, and their numbers.
    pub const QUALITY_MERGED: u16 = 5;
}

/// What a record holds.
#[derive(Debug, Clone, PartialEq)]
pub enum Body {
    /// What a slot did in a span of time.
    Interval(Box<Interval>),
    /// Something that happened once.
    Event(Event),
    /// What has become of a rule.
    Alert(Box<Alert>),
    /// How good answers were.
    Quality(Box<Quality>),
    /// A kind that is not known here.
    Unknown(u16),
}

impl Body {
    /// Code and bytes, as a [`Record`] has them. Nothing for what is not known here.
    ///
    /// # Errors
    /// [`EnvelopeError::Payload`].
    pub fn encode(&self) -> Result<(u16, Vec<u8>), EnvelopeError> {
        let coded = match self {
            Body::Interval(interval) => (record::INTERVAL, postcard::to_stdvec(interval)),
            Body::Event(event) => (record::EVENT, postcard::to_stdvec(event)),
            Body::Alert(alert) => (record::ALERT, postcard::to_stdvec(alert)),
            Body::Quality(quality) => match quality.several() {
                None => (record::QUALITY, postcard::to_stdvec(quality)),
                Some(several) => (record::QUALITY_MERGED, postcard::to_stdvec(&several)),
            },
            Body::Unknown(code) => (*code, Ok(Vec::new())),
        };
        let bytes = coded.1.map_err(|error| EnvelopeError::Payload(error.to_string()))?;
        Ok((coded.0, bytes))
    }
}

impl Record {
    /// Reads the body, to the last byte.
    ///
    /// # Errors
    /// [`EnvelopeError::Payload`] if it is not what its code says.
    pub fn read(&self) -> Result<Body, EnvelopeError> {
        match self.code {
            record::INTERVAL => Ok(Body::Interval(Box::new(whole(&self.body)?))),
            record::EVENT => Ok(Body::Event(whole(&self.body)?)),
            record::ALERT => Ok(Body::Alert(Box::new(whole(&self.body)?))),
            record::QUALITY => Ok(Body::Quality(Box::new(whole(&self.body)?))),
            record::QUALITY_MERGED => {
                let several: SeveralRead = whole(&self.body)?;
                Ok(Body::Quality(Box::new(several.into())))
            }
            code => Ok(Body::Unknown(code)),
        }
    }
}

/// Something that happened once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// The slot, empty where it concerns the whole device.
    pub slot: String,
    /// One of [`event`].
    pub kind: u16,
    /// The release it is about.
    pub release: Option<ReleaseRef>,
    /// For people.
    pub text: String,
    /// What the device took for the time, milliseconds since 1970.
    pub at_unix_ms: i64,
}

/// Kinds of events, as numbers that may be added to.
pub mod event {
    /// The director assigned a release.
    pub const ASSIGNED: u16 = 1;
    /// Its blobs are here.
    pub const DOWNLOADED: u16 = 2;
    /// Its checks have passed here.
    pub const STAGED: u16 = 3;
    /// It was refused before it answered.
    pub const REFUSED: u16 = 4;
    /// It answers, on probation.
    pub const TRIAL_STARTED: u16 = 5;
    /// It stays.
    pub const COMMITTED: u16 = 6;
    /// It was taken back.
    pub const ROLLED_BACK: u16 = 7;
    /// The slot has no release that answers.
    pub const VACANT: u16 = 8;
    /// A worker died.
    pub const WORKER_FAILED: u16 = 9;
    /// Documents were refused.
    pub const DOCUMENTS_REFUSED: u16 = 10;
    /// Its blobs could not be fetched; it is tried again.
    pub const DOWNLOAD_FAILED: u16 = 11;
    /// Its trial was ended by another assignment.
    pub const TRIAL_CANCELLED: u16 = 12;
    /// A finding with an alarm.
    pub const ALARM: u16 = 13;
    /// A file that came by hand was not installed.
    pub const INSTALL_FAILED: u16 = 14;
    /// Records had to give way because the spool was full.
    pub const RECORDS_DROPPED: u16 = 15;
    /// Findings had to give way because a sink took none.
    pub const FINDINGS_DROPPED: u16 = 16;
    /// It does not answer beside the route any more; the text has what was seen of it.
    pub const SHADOW_ENDED: u16 = 17;
    /// It answered beside the active release as it should.
    pub const SHADOW_PASSED: u16 = 18;
    /// It waits for people.
    pub const HELD: u16 = 19;
    /// It waits longer than the site wants any to wait.
    pub const OVERDUE: u16 = 20;
    /// A person has approved it.
    pub const APPROVED: u16 = 21;
    /// It was given up before its trial, because another assignment came.
    pub const CANCELLED: u16 = 22;
    /// Somebody else has ended a worker, and not the release that it ran.
    pub const WORKER_KILLED: u16 = 23;
    /// Part of what the device had written down is lost; the text has what, and what it went on from.
    pub const STATE_LOST: u16 = 24;
    /// What the device writes down is in memory alone: its disk takes nothing.
    pub const STATE_UNWRITABLE: u16 = 25;
    /// The models of a release run in other engines than before, or do not although they were to.
    pub const ENGINE: u16 = 26;
    /// A plugin of the release on the route broke too often and is not run any more; its bundle's values
    /// are given instead, or none.
    pub const QUARANTINED: u16 = 27;
    /// A rule of the site, or of the bundle's profile, fires.
    pub const RULE_FIRED: u16 = 30;
    /// It fires no longer.
    pub const RULE_OVER: u16 = 31;
    /// Somebody beside the device holds the updates of a slot back.
    pub const HOLD_BEGAN: u16 = 40;
    /// They are held back no longer.
    pub const HOLD_ENDED: u16 = 41;
}

/// The signed documents, byte for byte as they were signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Documents {
    /// TUF metadata by its names on a mirror with consistent snapshots (`2.root.json`,
    /// `timestamp.json`, `7.snapshot.json`, `3.targets.json`, `1.site-mill.json`): roots after the one
    /// the device trusts, and what speaks of what is assigned to it.
    pub metadata: Vec<(String, Vec<u8>)>,
    /// The assignment.
    pub assignment: Vec<u8>,
    /// Small files that the metadata speaks of, by their names on a mirror: its site's policy.
    pub files: Vec<(String, Vec<u8>)>,
}

/// Records that the server has stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ack {
    /// The start of the device they were made in.
    pub boot: u64,
    /// Their sequence numbers, first and last of each range.
    pub ranges: Vec<(u64, u64)>,
}

/// Asks a device whether a release would run on it. Nothing follows from it on the device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ask {
    /// Which question; the answer names it.
    pub id: u64,
    /// The release.
    pub release: ReleaseRef,
    /// The slot in which it would run; each where none is named.
    pub slot: Option<String>,
    /// The release's OCI manifest, byte for byte.
    pub oci_manifest: Vec<u8>,
    /// The bundle's manifest, byte for byte.
    pub manifest: Vec<u8>,
}

/// What a device answers to [`Ask`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// Which question.
    pub id: u64,
    /// By slot.
    pub slots: Vec<SlotAnswer>,
}

/// Whether a release would run in a slot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotAnswer {
    /// The slot, empty for the whole device.
    pub slot: String,
    /// Why not; empty if it would run.
    pub objections: Vec<Objection>,
}

/// Why a release would not run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Objection {
    /// What it needs, and what there is, for people.
    pub text: String,
    /// Whether waiting may help, as with a full disk.
    pub passes: bool,
}

/// Asks a device for the assignment that it holds: it says that this is a newer one than any that is
/// known here, as after the server was restored from a copy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remind {
    /// Version of the last one that is known here, 0 for none.
    pub known_version: u64,
}

/// The assignment that a device holds, for a server that has forgotten it. The server believes its own
/// signature and nothing else of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reminder {
    /// Byte for byte as it was signed.
    pub assignment: Vec<u8>,
}

impl Message for Status {
    const KIND: u16 = 1;
    const VERSION: u16 = 1;
}

impl Message for Telemetry {
    const KIND: u16 = 2;
    const VERSION: u16 = 1;
}

impl Message for Documents {
    const KIND: u16 = 3;
    const VERSION: u16 = 1;
    // A list of releases grows with the years.
    const BYTES_MAX: usize = crate::envelope::PAYLOAD_BYTES_MAX;
}

impl Message for Ack {
    const KIND: u16 = 4;
    const VERSION: u16 = 1;
}

impl Message for Ask {
    const KIND: u16 = 5;
    const VERSION: u16 = 1;
    // Two manifests.
    const BYTES_MAX: usize = crate::envelope::PAYLOAD_BYTES_MAX;
}

impl Message for Answer {
    const KIND: u16 = 6;
    const VERSION: u16 = 1;
    const BYTES_MAX: usize = 64 << 10;
}

impl Message for Remind {
    const KIND: u16 = 7;
    const VERSION: u16 = 1;
}

impl Message for Reminder {
    const KIND: u16 = 8;
    const VERSION: u16 = 1;
    const BYTES_MAX: usize = 64 << 10;
}

impl Message for AskLog {
    const KIND: u16 = 9;
    const VERSION: u16 = 1;
    const BYTES_MAX: usize = 64 << 10;
}

impl Message for LogLines {
    const KIND: u16 = 10;
    const VERSION: u16 = 1;
    const BYTES_MAX: usize = 128 << 10;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::envelope::{EnvelopeError, decode, encode};
    use lineside_sketch::{Edges, Histogram, NumberColumn, TextColumn};
    use proptest::prelude::*;

    // Every field has a value of its own, so that two that change places are found out.
    fn release(number: u8) -> ReleaseRef {
        let name = format!("turbine-{number}");
        ReleaseRef { name, version: number.to_string(), digest: [number; 32] }
    }

    fn status() -> Status {
        let slot = SlotStatus {
            slot: "line".into(),
            active: Some(release(1)),
            previous: Some(release(2)),
            candidate: Some(release(3)),
            phase: phase::TRIAL,
            note: "on trial".into(),
            trouble: "no wind".into(),
            floor: 11,
            hold: Some("the belt".into()),
            hold_left_seconds: Some(17),
            deadline_left_seconds: Some(-18),
        };
        Status {
            boot: 12,
            agent_version: "0.1.0".into(),
            slots: vec![slot],
            assignment_version: 13,
            releases_version: 14,
            root_version: 15,
            timestamp_version: 16,
            wall_clock_unix_ms: 1_000_001,
        }
    }

    fn summary(name: &str, values: &[f64], (out_of_range, missing): (u64, u64)) -> Summary {
        let edges = Edges::new(vec![0.0, 0.5, 1.0]).unwrap();
        let mut column = NumberColumn::new(Some(&edges));
        values.iter().for_each(|value| column.add(Some(&edges), *value).unwrap());
        column.add_missing_rows(missing);
        Summary { name: name.into(), column: Column::Numbers(Box::new(column)), out_of_range }
    }

    fn verdicts(name: &str, texts: &[&str], (out_of_range, missing): (u64, u64)) -> Summary {
        let mut column = TextColumn::default();
        texts.iter().for_each(|text| column.add(text));
        column.add_missing_rows(missing);
        Summary { name: name.into(), column: Column::Texts(column), out_of_range }
    }

    fn interval() -> Interval {
        let mut latency_us = Histogram::default();
        latency_us.add(250.0);
        latency_us.add(f64::NAN);
        Interval {
            slot: "line".into(),
            release: release(4),
            start_unix_ms: 3_600_000,
            end_unix_ms: 7_200_000,
            readings: 21,
            late_readings: 22,
            frames: 23,
            findings: 24,
            alarms: 25,
            doubled: 26,
            errors: vec![("stage".into(), 27)],
            dropped: vec![("missing".into(), 28), ("overflow".into(), 29)],
            latency_us,
            inputs: vec![summary("wind", &[1.0, -2.5, 1e300], (31, 32))],
            outputs: vec![
                summary("score", &[0.0], (33, 34)),
                verdicts("worn", &["true"], (35, 36)),
            ],
            left_out: 37,
            shadow_frames: 39,
            shadow_agreed: 38,
            intervals: 5,
            stands_for: vec![
                StandsFor { boot: 60, first: 7, last: 8 },
                StandsFor { boot: 61, first: 10, last: 10 },
            ],
            resources: Resources {
                cpu_ms: 41,
                resident_kib: 42,
                disk_free_mib: 43,
                temperature_c: Some(44.5),
                written_kib: 45,
                device_written_kib: Some(46),
                battery_percent: Some(47),
            },
        }
    }

    fn event() -> Event {
        Event {
            slot: "line".into(),
            kind: event::COMMITTED,
            release: Some(release(5)),
            text: "it stays".into(),
            at_unix_ms: 51,
        }
    }

    fn telemetry() -> Telemetry {
        let record = |boot, sequence, backfill, body: Body| {
            let (code, body) = body.encode().unwrap();
            Record { boot, sequence, backfill, code, body }
        };
        Telemetry {
            records: vec![
                record(61, 62, false, Body::Interval(Box::new(interval()))),
                record(63, 64, true, Body::Event(event())),
            ],
        }
    }

    fn ack() -> Ack {
        Ack { boot: 3, ranges: vec![(0, 1), (5, 300)] }
    }

    fn documents() -> Documents {
        Documents {
            metadata: vec![("2.root.json".into(), b"{1}".to_vec()), ("a".into(), b"{2}".to_vec())],
            assignment: b"{3}".to_vec(),
            files: vec![("b".into(), b"{4}".to_vec())],
        }
    }

    fn ask() -> Ask {
        Ask {
            id: 300,
            release: release(6),
            slot: Some("line".into()),
            oci_manifest: b"{7}".to_vec(),
            manifest: b"{8}".to_vec(),
        }
    }

    fn answer() -> Answer {
        let objections = vec![Objection { text: "no room".into(), passes: true }];
        Answer { id: 300, slots: vec![SlotAnswer { slot: "line".into(), objections }] }
    }

    fn remind() -> Remind {
        Remind { known_version: 301 }
    }

    fn reminder() -> Reminder {
        Reminder { assignment: b"{9}".to_vec() }
    }

    fn ask_log() -> AskLog {
        AskLog { request: b"{10}".to_vec() }
    }

    fn log_lines() -> LogLines {
        let line = LogLine {
            at_unix_ms: 302,
            level: LogLevel::Warn.code(),
            target: "lineside_agent::plant".into(),
            message: "it is away".into(),
            fields: vec![("slot".into(), "line".into())],
        };
        LogLines {
            request: 303,
            boot: 304,
            lines: vec![line],
            dropped: 305,
            left_seconds: 306,
            ended: "the time is over".into(),
        }
    }

    fn bytes(hex: &str) -> Vec<u8> {
        let digits: Vec<char> = hex.chars().filter(|c| c.is_ascii_hexdigit()).collect();
        let byte =
            |pair: &[char]| u8::from_str_radix(&pair.iter().collect::<String>(), 16).unwrap();
        digits.chunks(2).map(byte).collect()
    }

    #[test]
    fn messages_of_version_1_stay_readable() {
        assert_eq!(decode::<Ack>(&bytes(ACK)), Ok(ack()));
        assert_eq!(decode::<Ask>(&bytes(ASK)), Ok(ask()));
        assert_eq!(decode::<Answer>(&bytes(ANSWER)), Ok(answer()));
        assert_eq!(decode::<Documents>(&bytes(DOCUMENTS)), Ok(documents()));
        assert_eq!(decode::<AskLog>(&bytes(ASK_LOG)), Ok(ask_log()));
        assert_eq!(decode::<LogLines>(&bytes(LOG_LINES)), Ok(log_lines()));
        assert_eq!(decode::<Remind>(&bytes(REMIND)), Ok(remind()));
        assert_eq!(decode::<Reminder>(&bytes(REMINDER)), Ok(reminder()));
        assert_eq!(decode::<Status>(&bytes(STATUS)), Ok(status()));
        for written in [TELEMETRY, TELEMETRY_OF_SKETCHES_2] {
            let read: Telemetry = decode(&bytes(written)).unwrap();
            let said: Vec<_> = read.records.iter().map(Record::read).collect();
            assert_eq!(said, telemetry().records.iter().map(Record::read).collect::<Vec<_>>());
        }
    }

    #[test]
    fn messages_of_version_1_are_still_written_alike() {
        assert_eq!(encode(&ack()), Ok(bytes(ACK)));
        assert_eq!(encode(&ask()), Ok(bytes(ASK)));
        assert_eq!(encode(&answer()), Ok(bytes(ANSWER)));
        assert_eq!(encode(&documents()), Ok(bytes(DOCUMENTS)));
        assert_eq!(encode(&ask_log()), Ok(bytes(ASK_LOG)));
        assert_eq!(encode(&log_lines()), Ok(bytes(LOG_LINES)));
        assert_eq!(encode(&remind()), Ok(bytes(REMIND)));
        assert_eq!(encode(&reminder()), Ok(bytes(REMINDER)));
        assert_eq!(encode(&status()), Ok(bytes(STATUS)));
        assert_eq!(encode(&telemetry()), Ok(bytes(TELEMETRY_OF_SKETCHES_2)));
    }

    #[test]
    fn a_message_is_never_taken_for_another() {
        assert!(matches!(decode::<Status>(&bytes(ACK)), Err(EnvelopeError::Kind { kind: 4, .. })));
        let mut long = bytes(ACK);
        long.push(0);
        assert_eq!(decode::<Ack>(&long), Err(EnvelopeError::Length { expected: 18, found: 19 }));
        long[7] += 1;
        assert_eq!(decode::<Ack>(&long), Err(EnvelopeError::Payload("1 bytes too many".into())));
        assert_eq!(decode::<Ack>(b"hello, world"), Err(EnvelopeError::Foreign));
        let mut future = bytes(ACK);
        future[2] = 9;
        assert_eq!(decode::<Ack>(&future), Err(EnvelopeError::Version(9)));
        let huge = Documents { assignment: vec![0; 2 << 20], ..documents() };
        assert!(matches!(encode(&huge), Err(EnvelopeError::Size { .. })));
    }

    #[test]
    fn records_of_every_kind_are_read_back_and_unknown_ones_are_kept() {
        let records = telemetry().records;
        assert_eq!(records[0].read(), Ok(Body::Interval(Box::new(interval()))));
        assert_eq!(records[1].read(), Ok(Body::Event(event())));
        let future = Record { code: 99, ..records[0].clone() };
        assert_eq!(future.read(), Ok(Body::Unknown(99)));
        let mistaken = Record { code: record::EVENT, ..records[0].clone() };
        assert!(matches!(mistaken.read(), Err(EnvelopeError::Payload(_))));
    }

    proptest! {
        #[test]
        fn no_damage_makes_it_panic_or_grow(at in 0usize..900, value: u8, keep in 0usize..900) {
            let mut damaged = bytes(TELEMETRY);
            let at = at % damaged.len();
            damaged[at] = value;
            if let Ok(telemetry) = decode::<Telemetry>(&damaged) {
                for record in telemetry.records {
                    let _ = record.read();
                }
            }
            let keep = keep % bytes(TELEMETRY).len();
            prop_assert!(decode::<Telemetry>(&bytes(TELEMETRY)[..keep]).is_err());
        }
    }

    const ACK: &str = "4c530104000100070000000302000105ac02";
    const ASK: &str = "4c5301050001003c000000ac020974757262696e652d360136060606060606060606060606060606 \
         060606060606060606060606060606060601046c696e65037b377d037b387d";
    const ANSWER: &str = "4c53010600010012000000ac0201046c696e6501076e6f20726f6f6d01";
    const DOCUMENTS: &str = "4c53010300010022000000020b322e726f6f742e6a736f6e037b317d0161037b327d037b337d0101 \
         62037b347d";
    const ASK_LOG: &str = "4c53010900010005000000047b31307d";
    const LOG_LINES: &str = "4c53010a00010049000000af02b00201dc0402156c696e65736964655f6167656e743a3a706c616e \
         740a697420697320617761790104736c6f74046c696e65b102b202107468652074696d6520697320 \
         6f766572";
    const REMIND: &str = "4c53010700010002000000ad02";
    const REMINDER: &str = "4c53010800010004000000037b397d";
    const STATUS: &str = "4c530101000100bc0000000c05302e312e3001046c696e65010974757262696e652d310131010101 \
         0101010101010101010101010101010101010101010101010101010101010974757262696e652d32 \
         01320202020202020202020202020202020202020202020202020202020202020202010974757262 \
         696e652d330133030303030303030303030303030303030303030303030303030303030303030303 \
         086f6e20747269616c076e6f2077696e640b01087468652062656c74011101230d0e0f1082897a";
    /// With columns as version 1 of the sketches wrote them: the message is the same, and says the same.
    const TELEMETRY: &str = "4c53010200010092010000023d3e0001c902046c696e650974757262696e652d3401340404040404 \
         04040404040404040404040404040404040404040404040404040480bab70380f4ee061516171819 \
         1a010573746167651b02076d697373696e671c086f766572666c6f771d0c020101000001be810200 \
         0000010477696e646b07012001030100000000000004c09c7500883ce4377e08000080feffffffff \
         100000000000d001000000000000000040000001e8ff0100000002c0ff018ef901bc8e0000033076 \
         4f15b654b25395a3a153f1229594e4f5719c3d7be2988eafa6c406f71eb00101000201401f020573 \
         636f7265330701220101000000000000000000000000000000000000000001000001bb1bdbcacd6a \
         c9348eafa6c406f71eb00000000201802104776f726e1308012401087472756501014a2e144879b9 \
         c9d72325272605023c07083d0a0a292a2b01000032422d012e012f3f4001023d046c696e65060109 \
         74757262696e652d3501350505050505050505050505050505050505050505050505050505050505 \
         05050508697420737461797366";
    const TELEMETRY_OF_SKETCHES_2: &str = "4c53010200010053010000023d3e00018a02046c696e650974757262696e \
         652d340134040404040404040404040404040404040404040404040404040404040404040480bab7 \
         0380f4ee0615161718191a010573746167651b02076d697373696e671c086f766572666c6f771d0c \
         020101000001be8102000000010477696e644e070273200101e8ff0100000002c0ff018ef901bc8e \
         000003d3b250c181c5ab2844d593e01ac0047e37e43c8800759c4640ffffffff7fabd00100000000 \
         00000000408eafa6c406f71eb0010102401f020573636f7265190702492201016992ddd80000008e \
         afa6c406f71eb0000002802104776f726e0b08022401087472756501002325272605023c07083d0a \
         0a292a2b01000032422d012e012f3f4001023d046c696e6506010974757262696e652d3501350505 \
         05050505050505050505050505050505050505050505050505050505050508697420737461797366";
}
