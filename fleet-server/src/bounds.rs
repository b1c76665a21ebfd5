//! What may grow here, how far, and what gives way. Bounds of what people bring are beside the
//! code that takes it: devices and labels in `registry`, documents in `release`, bodies in `api`.

use std::time::Duration;

/// Connections of devices at a time, if the machine lets a program have so many open files.
/// Further ones are refused.
pub(crate) const DEVICE_CONNECTIONS_MAX: usize = 11_000;
/// Connections of browsers, of `lineside` and of devices that fetch blobs, at a time. Further ones
/// wait.
pub(crate) const HTTP_CONNECTIONS_MAX: usize = 512;
/// How long an HTTP connection may be silent in both directions. Then it is closed.
pub(crate) const HTTP_SILENCE_MAX: Duration = Duration::from_secs(120);
/// How many bytes a second somebody takes of an answer, or sends of a body, at least: on an average over
/// [`HTTP_SILENCE_MAX`], while there is something to be taken or sent. Who is slower keeps a place from others
/// for months.
pub(crate) const HTTP_BYTES_PER_SECOND_MIN: u64 = 1 << 10;
/// How long an HTTP connection may take to the end of its next request's headers. Until then nobody
/// knows who it is, and it takes the place of somebody who is known.
pub(crate) const HTTP_HEADERS_MAX: Duration = Duration::from_secs(30);
/// How long a connection may take until it is encrypted, and one to the broker then until it says whose it is.
pub(crate) const HANDSHAKE_MAX: Duration = Duration::from_secs(10);
/// How long who is done with has to take the last that was said to him.
pub(crate) const LEAVING_MAX: Duration = Duration::from_secs(5);
/// Largest packet by which somebody connects to the broker, in bytes.
pub(crate) const CONNECT_BYTES_MAX: u32 = 4 << 10;
/// How long is waited for the rest of a request that was refused, and for the token that somebody enters:
/// he has not shown yet who he is, and takes the place of somebody who has.
pub(crate) const HTTP_STRANGER_MAX: Duration = Duration::from_secs(10);
/// Open files besides connections: database, blobs, what the system needs.
pub(crate) const OTHER_FILES: usize = 128;

/// Largest MQTT packet in bytes: our largest payload, and room for its topic and properties.
pub(crate) const PACKET_BYTES_MAX: u32 = 2 << 20;
/// Bytes of messages that have been received and wait for their turn. Beyond it the broker refuses
/// messages, which is counted; devices send them again.
pub(crate) const WAITING_BYTES_MAX: usize = 256 << 20;
/// Messages that wait for one device, and as many that are on their way to it. Beyond it they are dropped
/// and counted: documents come again when the device says what it has, acknowledgements when it sends
/// its records again. Each may be as large as a packet, so that whoever lets them pile up keeps no more
/// than 64 MiB of this machine's memory.
pub(crate) const DEVICE_QUEUE_MESSAGES_MAX: u16 = 16;
/// How long messages wait for a device that is away. It says what it has when it returns.
pub(crate) const MESSAGE_EXPIRY: Duration = Duration::from_secs(300);

/// Records of one message; a message with more is not read. With those known already, their
/// numbers always find room in a set of ranges.
pub(crate) const MESSAGE_RECORDS_MAX: usize = 1_000;
/// Largest number of a start or a record. No device counts so far, and sums of such numbers cannot
/// overflow soon.
pub(crate) const NUMBER_MAX: u64 = 1 << 53;
/// Ranges of received numbers of a device. Beyond it the oldest gap is given up: counted as missing
/// for good.
pub(crate) const RANGES_MAX: usize = 1_024;
/// Intervals of a device, and as many events. The oldest give way, which is counted.
pub(crate) const RECORDS_MAX: u64 = 10_000;
/// Bytes of intervals of a device. The oldest give way, which is counted.
pub(crate) const INTERVAL_BYTES_MAX: u64 = 64 << 20;
/// Bytes of events of a device. The oldest give way, which is counted.
pub(crate) const EVENT_BYTES_MAX: u64 = 16 << 20;
/// Bytes of intervals and events of all devices: each has an equal share of it, if that is less.
pub(crate) const TELEMETRY_BYTES_MAX: u64 = 32 << 30;
/// Intervals that are merged for one question; of more than these nobody is told.
pub(crate) const MERGED_ROWS_MAX: u64 = 100_000;
/// Spans of a series.
pub(crate) const MERGED_SPANS_MAX: usize = 400;
/// Releases that are looked at at once: of each, all there is and a span are in memory.
pub(crate) const MERGED_RELEASES_MAX: usize = 16;
/// Questions for which intervals are merged at a time; further ones wait.
pub(crate) const MERGED_AT_A_TIME: usize = 2;
/// Profiles of releases that are kept in memory, and bytes of their JSON; the least asked for give way.
pub(crate) const PROFILES_KEPT: usize = 32;
pub(crate) const PROFILE_BYTES_KEPT: usize = 16 << 20;
/// Alerts of a device, of a site or of the fleet. The oldest that are over give way first.
pub(crate) const ALERTS_MAX: u64 = 256;
/// Bytes of the intervals that are kept with an alert, as one. Beyond it there are none.
pub(crate) const EVIDENCE_BYTES_MAX: usize = 256 << 10;
/// Alerts of one place that keep their intervals: the newest.
pub(crate) const EVIDENCES_MAX: u64 = 16;
/// Intervals that are put together for an alert, those that came first.
pub(crate) const EVIDENCE_INTERVALS_MAX: u64 = 1_000;
/// Characters of what a rule is called, of what it looks at, and of what a device says that it has done.
pub(crate) const RULE_CHARS_MAX: usize = 200;
/// Messages that wait for a channel. Of further ones it is written down that they were not told.
pub(crate) const OUTBOX_MAX: u64 = 1_000;
/// How long a channel is tried to be told of something. Then it is given up.
pub(crate) const DELIVERY_AGE_MAX: Duration = Duration::from_secs(3 * 24 * 3_600);
/// Longest pause between two attempts.
pub(crate) const DELIVERY_PAUSE_MAX: Duration = Duration::from_secs(3_600);
/// Releases of a site, and as many of the fleet, of which rules are judged here. Those of which nothing was heard
/// for longest give way.
pub(crate) const MONITORS_MAX: u64 = 64;
/// How long nothing may have been heard of a release at a site, or in the fleet, until its rules are over there.
pub(crate) const MONITOR_SILENCE_MS: i64 = 7 * 86_400_000;
/// Devices that are looked at at once where a rule concerns several.
pub(crate) const DEVICES_AT_ONCE: u64 = 200;
/// Slots of a device with sums of their own, and slots that are remembered of what it says.
pub(crate) const SLOTS_MAX: usize = 32;
/// Characters of a text for people that are kept; all of it stays in the record's body.
pub(crate) const TEXT_CHARS_MAX: usize = 500;
/// Digits of a digest in a sentence.
const DIGEST_DIGITS: usize = 12;
/// Characters of a bundle's name or version.
pub(crate) const NAME_CHARS_MAX: usize = 63;

/// Devices of one server.
pub(crate) const DEVICES_MAX: u64 = 10_000;
/// Tokens that devices may join with. Those that nobody can join with any more give way.
pub(crate) const JOIN_TOKENS_MAX: u64 = 10_000;
/// Devices that are listed as such that need not wait for a person.
pub(crate) const PREAUTHORISED_MAX: usize = 10_000;
/// Questions to devices that may be open at a time; further ones are refused.
pub(crate) const QUESTIONS_MAX: usize = 8;
/// Bytes of all answers to one question. Devices that answer beyond it are told of as silent.
pub(crate) const ANSWERS_BYTES_MAX: usize = 64 << 20;

/// Lines of a device's log that are kept in memory, and their bytes. The oldest give way, which is counted.
pub(crate) const LOG_LINES_KEPT: usize = 2_000;
pub(crate) const LOG_BYTES_KEPT: usize = 1 << 20;
/// Devices whose lines are kept. The one that was asked first gives way.
pub(crate) const LOG_DEVICES_KEPT: usize = 64;

/// Largest blob in bytes; a larger one is refused.
pub(crate) const BLOB_BYTES_MAX: u64 = 2 << 30;
/// Bytes of the disk that blobs leave to the database. What would need them is refused.
pub(crate) const DISK_RESERVE_BYTES: u64 = 256 << 20;
/// Tags of a bundle that are listed at once; the next ones are asked for with `last`.
pub(crate) const TAGS_MAX: u64 = 1_000;
/// Manifests and tags of a bundle, those of deltas among them, that are looked at for the token of a role. Where
/// there are more, it opens nothing of the bundle until the administrator has deleted some.
pub(crate) const ROLE_ROWS_MAX: u64 = 4_096;
/// How many there may be for one who publishes by such a token to add to them: he is not to close the bundle to
/// others.
pub(crate) const ROLE_ROWS_PUSHED_MAX: u64 = 2_048;
/// How long a blob stays that no manifest names: whoever pushes one has so long to push the manifest.
pub(crate) const UNNAMED_BLOB_KEPT: Duration = Duration::from_secs(24 * 3_600);
/// How often blobs are looked for that no manifest names.
pub(crate) const SWEEP_EVERY: Duration = Duration::from_secs(3_600);
/// Artifacts that may refer to one manifest. Further ones are refused.
pub(crate) const REFERRERS_MAX: usize = 64;
/// Releases of each bundle, the newest, to which deltas are made.
pub(crate) const DELTA_TARGETS_MAX: usize = 4;
/// Earlier releases from which deltas are made to each of them, the nearest first.
pub(crate) const DELTA_BASES_MAX: usize = 3;
/// How long a device that asks for deltas is kept waiting while some are being made, and in how many
/// seconds it may ask again. It hangs up after 20 seconds of silence.
pub(crate) const DELTA_WAIT_MAX: Duration = Duration::from_secs(10);
pub(crate) const DELTA_ASK_AGAIN_SECONDS: u64 = 30;
/// Devices that are kept waiting at a time: whoever else wants something of the server needs
/// connections, too. Others are told at once to ask again.
pub(crate) const DELTA_WAITING_MAX: usize = 64;
/// Bytes of blobs whose digests are taken anew each time that blobs are swept, and the rest of a blob.
pub(crate) const SCRUBBED_BYTES: u64 = 2 << 30;
/// Bytes of a blob that a delta is made of or to: making one takes several times as much memory.
/// Larger blobs are sent whole.
pub(crate) const DELTA_BLOB_BYTES_MAX: u64 = 64 << 20;
/// Bytes of a blob below which a delta saves nothing that matters.
pub(crate) const DELTA_BLOB_BYTES_MIN: u64 = 4 << 10;
/// A recipe of more than so many hundredths of its blob is not kept.
pub(crate) const RECIPE_PERCENT_MAX: u64 = 90;
/// How often making a delta is begun. One that has taken the server down so often is given up.
pub(crate) const DELTA_ATTEMPTS_MAX: i64 = 3;
/// Uploads of the administrator at a time; the one that was begun first gives way.
pub(crate) const UPLOADS_MAX: usize = 64;
/// Uploads at a time of one who publishes by the token of a role; his first gives way.
pub(crate) const ROLE_UPLOADS_MAX: usize = 16;
/// How long an upload waits for its next piece. Then it is given up.
pub(crate) const UPLOAD_SILENCE_MAX: Duration = Duration::from_secs(3_600);

/// Values that go into one statement; SQLite allows 32,766.
pub(crate) const ROWS_AT_ONCE: usize = 1_000;

/// A text from outside as it is kept and shown: one line, at most so many characters.
pub(crate) fn short(text: &str, chars_max: usize) -> String {
    let one_line = |char: char| if char.is_control() { ' ' } else { char };
    text.chars().take(chars_max).map(one_line).collect()
}

/// A sentence from outside as it is kept and shown: as [`short`], and of a digest in it as much as people
/// compare. All of it stays in the record that brought it.
pub(crate) fn sentence(text: &str, chars_max: usize) -> String {
    const ALGORITHM: &str = "sha256:";
    let mut told = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(ALGORITHM) {
        let (before, digest) = rest.split_at(at + ALGORITHM.len());
        let digits = digest.bytes().take_while(u8::is_ascii_hexdigit).count();
        let shown = if digits == 64 { DIGEST_DIGITS } else { digits };
        told.push_str(before);
        told.push_str(&digest[..shown]);
        if shown < digits {
            told.push('…');
        }
        rest = &digest[digits..];
    }
    told.push_str(rest);
    short(&told, chars_max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_in_a_sentence_is_as_long_as_people_compare() {
        let digest = "0123456789abcdef".repeat(4);
        let said = format!("/v2/turbine/blobs/sha256:{digest}; trying again (sha256:{digest})");
        let told = "/v2/turbine/blobs/sha256:0123456789ab…; trying again (sha256:0123456789ab…)";
        assert_eq!(sentence(&said, 500), told);
        for as_it_is in ["sha256:", "sha256:0123456789abcdef", "größe", "sha256:0ü"] {
            assert_eq!(sentence(as_it_is, 500), as_it_is);
        }
        assert_eq!(sentence(&said, 5), "/v2/t");
    }

    #[test]
    fn a_text_is_one_line_of_so_many_characters() {
        assert_eq!(short("größe\n\u{1b}[2J", 7), "größe  ");
        assert_eq!(short("", 7), "");
    }
}
