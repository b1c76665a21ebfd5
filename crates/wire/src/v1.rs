//! Messages of version 1. None of these types may change once devices speak them: a new field is a
//! new version, and the bytes in the tests below stay readable for ever.

use crate::envelope::Message;
use lineside_sketch::{Histogram, Moments};
use serde::{Deserialize, Serialize};

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
    /// The number below which it may not go.
    pub floor: u64,
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
}

/// Records of the spool, in the order of their sequence numbers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Telemetry {
    /// The records.
    pub records: Vec<Record>,
}

/// One record: an interval or an event, numbered so that a repeat is known as one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// The start of the device it was made in.
    pub boot: u64,
    /// Counts the records of that start.
    pub sequence: u64,
    /// Whether it waited out an interruption.
    pub backfill: bool,
    /// The interval, if it is one.
    pub interval: Option<Interval>,
    /// The event, if it is one.
    pub event: Option<Event>,
}

/// How often something happened, by reason.
pub type Counts = Vec<(String, u64)>;

/// What a slot did in a span of its readings' own time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// The slot.
    pub slot: String,
    /// The release that answered.
    pub release: ReleaseRef,
    /// First moment, milliseconds since 1970 by the readings' own time.
    pub start_unix_ms: i64,
    /// Moment after the last.
    pub end_unix_ms: i64,
    /// Readings accounted for.
    pub readings: u64,
    /// Frames.
    pub frames: u64,
    /// Findings.
    pub findings: u64,
    /// Frames with an alarm.
    pub alarms: u64,
    /// Frames answered by more than one active release.
    pub doubled: u64,
    /// Frames without an answer, by reason.
    pub errors: Counts,
    /// Readings dropped, by reason.
    pub dropped: Counts,
    /// Time a frame took, in microseconds.
    pub latency_us: Histogram,
    /// The port's fields.
    pub inputs: Vec<Summary>,
    /// The bundle's outputs.
    pub outputs: Vec<Summary>,
    /// What it cost.
    pub resources: Resources,
}

/// The values of one field or output.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Its name.
    pub name: String,
    /// Count, extremes, mean and spread.
    pub moments: Moments,
    /// Quantiles.
    pub histogram: Histogram,
    /// Values outside of the range that the bundle states.
    pub out_of_range: u64,
}

/// What the device had left at the end of an interval.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Resources {
    /// Processor time of agent and workers since their start, in milliseconds.
    pub cpu_ms: u64,
    /// Resident memory of agent and workers, in KiB.
    pub resident_kib: u64,
    /// Free space of the state folder's disk, in MiB.
    pub disk_free_mib: u64,
    /// Temperature of the processor, where the machine tells it.
    pub temperature_c: Option<f32>,
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
}

/// The signed documents, byte for byte as they were signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Documents {
    /// Roots after the one the device trusts, in order.
    pub roots: Vec<Vec<u8>>,
    /// The list of releases.
    pub releases: Vec<u8>,
    /// The assignment.
    pub assignment: Vec<u8>,
}

/// Records that the server has stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ack {
    /// The start of the device they were made in.
    pub boot: u64,
    /// Their sequence numbers, first and last of each range.
    pub ranges: Vec<(u64, u64)>,
}

macro_rules! message {
    ($type:ty, $kind:literal) => {
        impl Message for $type {
            const KIND: u16 = $kind;
            const VERSION: u16 = 1;
        }
    };
}

message!(Status, 1);
message!(Telemetry, 2);
message!(Documents, 3);
message!(Ack, 4);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::envelope::{EnvelopeError, decode, encode};
    use proptest::prelude::*;

    fn release() -> ReleaseRef {
        ReleaseRef { name: "turbine".into(), version: "2".into(), digest: [7; 32] }
    }

    fn status() -> Status {
        let slot = SlotStatus {
            slot: "turbine".into(),
            active: Some(release()),
            previous: None,
            candidate: None,
            phase: phase::TRIAL,
            note: "x".into(),
            floor: 1,
        };
        Status {
            boot: 3,
            agent_version: "0.1.0".into(),
            slots: vec![slot],
            assignment_version: 4,
            releases_version: 5,
            root_version: 1,
            wall_clock_unix_ms: 1_000,
        }
    }

    fn telemetry() -> Telemetry {
        let mut moments = Moments::default();
        let mut histogram = Histogram::default();
        for value in [1.0, -2.5] {
            moments.add(value);
            histogram.add(value);
        }
        let summary = Summary {
            name: "score".into(),
            moments,
            histogram: histogram.clone(),
            out_of_range: 1,
        };
        let interval = Interval {
            slot: "turbine".into(),
            release: release(),
            start_unix_ms: 0,
            end_unix_ms: 3_600_000,
            readings: 24,
            frames: 4,
            findings: 4,
            alarms: 1,
            doubled: 0,
            errors: vec![("stage".into(), 1)],
            dropped: vec![],
            latency_us: histogram,
            inputs: vec![],
            outputs: vec![summary],
            resources: Resources::default(),
        };
        let event = Event {
            slot: "turbine".into(),
            kind: event::COMMITTED,
            release: Some(release()),
            text: "committed".into(),
            at_unix_ms: 5,
        };
        let record = |sequence, interval, event| Record {
            boot: 3,
            sequence,
            backfill: false,
            interval,
            event,
        };
        Telemetry { records: vec![record(0, Some(interval), None), record(1, None, Some(event))] }
    }

    fn ack() -> Ack {
        Ack { boot: 3, ranges: vec![(0, 1), (5, 300)] }
    }

    fn documents() -> Documents {
        Documents { roots: vec![], releases: b"{}".to_vec(), assignment: b"[]".to_vec() }
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
        assert_eq!(decode::<Documents>(&bytes(DOCUMENTS)), Ok(documents()));
        assert_eq!(decode::<Status>(&bytes(STATUS)), Ok(status()));
        assert_eq!(decode::<Telemetry>(&bytes(TELEMETRY)), Ok(telemetry()));
    }

    #[test]
    fn messages_of_version_1_are_still_written_alike() {
        assert_eq!(encode(&ack()), Ok(bytes(ACK)));
        assert_eq!(encode(&documents()), Ok(bytes(DOCUMENTS)));
        assert_eq!(encode(&status()), Ok(bytes(STATUS)));
        assert_eq!(encode(&telemetry()), Ok(bytes(TELEMETRY)));
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
        let huge = Documents { releases: vec![0; 2 << 20], ..documents() };
        assert!(matches!(encode(&huge), Err(EnvelopeError::Size(_))));
    }

    proptest! {
        #[test]
        fn no_damage_makes_it_panic_or_grow(at in 0usize..400, value: u8, keep in 0usize..400) {
            let mut damaged = bytes(TELEMETRY);
            let at = at % damaged.len();
            damaged[at] = value;
            let _ = decode::<Telemetry>(&damaged);
            let keep = keep % bytes(TELEMETRY).len();
            prop_assert!(decode::<Telemetry>(&bytes(TELEMETRY)[..keep]).is_err());
        }
    }

    const ACK: &str = "4c530104000100070000000302000105ac02";
    const DOCUMENTS: &str = "4c5301030001000700000000027b7d025b5d";
    const STATUS: &str = "4c530101000100460000000305302e312e30010774757262696e65010774757262696e6501320707 \
         070707070707070707070707070707070707070707070707070707070707000003017801040501d0 \
         0f";
    const TELEMETRY: &str = "4c530102000100cd00000002030000010774757262696e650774757262696e650132070707070707 \
         07070707070707070707070707070707070707070707070707070080bab703180404010001057374 \
         6167650100028f800401c0ff03010000010573636f72650200000000000004c0000000000000f03f \
         ffffffff2f8080808080d003028f800401c0ff03010001000000000003010000010774757262696e \
         6506010774757262696e650132070707070707070707070707070707070707070707070707070707 \
         070707070709636f6d6d69747465640a";
}
