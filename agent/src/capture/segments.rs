//! The segments of one slot: written one after the other, removed from the oldest on.

use super::record::{Answer, BATCH_BYTES_MAX, Entry, decode, encode, first};
use super::recorder::BATCH_BYTES;
use lineside_bundle::Digest;
use lineside_runtime::Reading;
use lineside_wire::name::SlotName;
use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// Segments that a ring is made of at least: what gives way at once is one of them.
const SEGMENTS: u64 = 8;
/// Largest segment in bytes, however large the ring may be: each is read whole.
const SEGMENT_BYTES_MAX: u64 = 4 << 20;
/// Longest that one is read: a batch is begun while there is room for it.
const SEGMENT_BYTES_LONGEST: u64 = SEGMENT_BYTES_MAX + 2 * BATCH_BYTES_MAX as u64;
/// Segments that may be smaller than they could be, because what is too old must not lie in one with
/// what is fresh.
const SMALL_MAX: u64 = 64;

/// Bounds of a ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Bytes on disk.
    pub bytes_max: u64,
    /// How long a reading is kept, by the wall clock.
    pub age_max: Duration,
}

impl Bounds {
    /// Bytes after which a segment is full.
    pub(super) fn segment_bytes(&self) -> u64 {
        (self.bytes_max / SEGMENTS).clamp(1, SEGMENT_BYTES_MAX)
    }

    /// Whether a segment is fresh enough.
    pub(super) fn holds(&self, segment: &Path, now: SystemTime) -> bool {
        let changed = fs::metadata(segment).and_then(|metadata| metadata.modified());
        let age = changed.ok().and_then(|changed| now.duration_since(changed).ok());
        // A clock that went back says nothing of its age.
        age.is_none_or(|age| age <= self.age_max)
    }
}

/// Where the ring of a slot lies.
pub fn folder(state_dir: &Path, slot: &SlotName) -> PathBuf {
    state_dir.join("capture").join(slot.as_str())
}

/// A ring that is written.
pub struct Ring {
    folder: PathBuf,
    bounds: Bounds,
    /// Segments by number, with their sizes.
    segments: VecDeque<(u64, u64)>,
    /// The last segment, while it is written.
    open: Option<File>,
    /// The release whose readings it has, so that none has those of two. What comes while nothing has the route is
    /// of the fields of the one before.
    release: Option<Digest>,
    /// When it was begun.
    begun: SystemTime,
    /// The number of the next one.
    next: u64,
}

impl Ring {
    /// Takes up the ring in `folder`, making what is missing. What a power cut left of the last
    /// batch is cut off.
    ///
    /// # Errors
    /// What the disk says.
    pub fn open(folder: &Path, bounds: Bounds) -> io::Result<Ring> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let segments: VecDeque<(u64, u64)> = list(folder)?.into();
        let (begun, next) = (SystemTime::now(), segments.back().map_or(0, |(last, _)| last + 1));
        let (folder, release) = (folder.to_owned(), None);
        let mut ring = Ring { folder, bounds, segments, open: None, release, begun, next };
        if let Some((number, size)) = ring.segments.back_mut() {
            let path = ring.folder.join(name(*number));
            let (entries, whole) = decode(&read_segment(&path)?);
            if (whole as u64) < *size {
                OpenOptions::new().write(true).open(&path)?.set_len(whole as u64)?;
                *size = whole as u64;
            }
            let file = OpenOptions::new().append(true).open(&path)?;
            let metadata = file.metadata()?;
            ring.begun = metadata.created().or_else(|_| metadata.modified())?;
            ring.release = entries.iter().rev().find_map(said);
            ring.open = Some(file);
        }
        ring.give_way(SystemTime::now())?;
        Ok(ring)
    }

    /// Writes a batch, which begins with its head. The system has it then; the medium gets it when the
    /// system likes. False where it is larger than a segment may be: nothing of it is kept, so that the
    /// ring stays within its bounds.
    ///
    /// # Errors
    /// What the disk says. Nothing of the batch is then read again.
    pub fn write(&mut self, batch: &[Entry], now: SystemTime) -> io::Result<bool> {
        let Some(bytes) = encode(batch).filter(|it| it.len() as u64 <= self.segment_bytes()) else {
            return Ok(false);
        };
        self.give_way(now)?;
        let full = self.segments.back().is_none_or(|(_, size)| *size >= self.segment_bytes());
        // However little comes, what is too old must not lie in one segment with what is fresh.
        let age = now.duration_since(self.begun).unwrap_or_default();
        let release = batch.first().and_then(said);
        let is_other = self.release.zip(release).is_some_and(|(old, new)| old != new);
        if full || is_other || age >= self.bounds.age_max / SEGMENTS as u32 || self.open.is_none() {
            self.begin(now)?;
        }
        self.append(&bytes)?;
        self.release = release.or(self.release);
        Ok(true)
    }

    /// The number of the newest segment.
    pub(super) fn newest(&self) -> Option<u64> {
        self.segments.back().map(|(number, _)| *number)
    }

    /// Gives no segment a smaller number from here on.
    pub(super) fn number_from(&mut self, number: u64) {
        self.next = self.next.max(number);
    }

    /// Writes nothing more into the segment that is open.
    pub(super) fn cut(&mut self) {
        self.open = None;
    }

    fn begin(&mut self, now: SystemTime) -> io::Result<()> {
        let number = self.next;
        let path = self.folder.join(name(number));
        let file = OpenOptions::new().create_new(true).append(true).mode(0o600).open(path)?;
        self.open = Some(file);
        (self.begun, self.release) = (now, None);
        self.next += 1;
        self.segments.push_back((number, 0));
        Ok(())
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let (Some(file), Some((_, size))) = (&mut self.open, self.segments.back_mut()) else {
            return Err(io::Error::other("no segment is open"));
        };
        let written = file.write_all(bytes);
        match written {
            Ok(()) => *size += bytes.len() as u64,
            Err(_) => {
                // Half a batch may be there. What comes later must not stand behind it.
                let _ = file.set_len(*size);
                self.open = None;
            }
        }
        written
    }

    /// Removes what is too much or too old, from the oldest on.
    ///
    /// # Errors
    /// What the disk says.
    pub fn give_way(&mut self, now: SystemTime) -> io::Result<()> {
        while let Some((oldest, _)) = self.segments.front().copied() {
            let total: u64 = self.segments.iter().map(|(_, size)| size).sum();
            let path = self.folder.join(name(oldest));
            let room = total + self.segment_bytes() <= self.bounds.bytes_max;
            let is_fresh = || self.bounds.holds(&path, now);
            if room && self.segments.len() as u64 <= self.files_max() && is_fresh() {
                break;
            }
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => self.segments.pop_front(),
            };
            if self.segments.is_empty() {
                self.open = None;
            }
        }
        Ok(())
    }

    fn segment_bytes(&self) -> u64 {
        self.bounds.segment_bytes()
    }

    /// Files of the ring, however small they are.
    fn files_max(&self) -> u64 {
        self.bounds.bytes_max / self.segment_bytes() + SMALL_MAX
    }
}

/// What a slot has seen lately.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Past {
    /// Readings in the order in which they came, with the names of their values.
    pub readings: Vec<(Reading, Arc<[String]>)>,
    /// Answers in the order in which they came, with the release that gave them.
    pub answers: Vec<(Answer, Digest)>,
}

/// The newest readings of the ring in `folder`, at most `readings_max`, with the answers from then
/// on; nothing where there is no ring. A segment is read as far as it is whole.
///
/// # Errors
/// What the disk says.
pub fn read(folder: &Path, readings_max: usize) -> io::Result<Past> {
    let mut past = Past::default();
    let segments = match list(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(past),
        segments => segments?,
    };
    // From the newest on, so that no more is held than is wanted.
    for (number, _) in segments.into_iter().rev() {
        let bytes = match read_segment(&folder.join(name(number))) {
            // It gave way meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => break,
            bytes => bytes?,
        };
        let mut segment = Past::default();
        let (mut fields, mut release): (Arc<[String]>, _) = (Arc::new([]), None);
        for entry in decode(&bytes).0 {
            match entry {
                Entry::Head(head) => {
                    release = head.release;
                    if *fields != *head.fields {
                        fields = head.fields.into();
                    }
                }
                Entry::Reading(reading) => segment.readings.push((reading, fields.clone())),
                Entry::Answer(answer) => {
                    segment.answers.extend(release.map(|release| (answer, release)));
                }
            }
        }
        segment.readings.append(&mut past.readings);
        segment.answers.append(&mut past.answers);
        past = segment;
        if past.readings.len() >= readings_max {
            break;
        }
    }
    let over = past.readings.len().saturating_sub(readings_max);
    past.readings.drain(..over);
    Ok(past)
}

/// A segment, as far as one of ours can go.
pub(super) fn read_segment(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(SEGMENT_BYTES_LONGEST).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// What a segment holds, as far as it is whole.
pub(super) fn segment(path: &Path) -> io::Result<Vec<Entry>> {
    Ok(decode(&read_segment(path)?).0)
}

/// The release that the readings of a segment are of; none where it does not say.
pub(super) fn release_of(path: &Path) -> io::Result<Option<Digest>> {
    // The first batch nearly always says it.
    for longest in [2 * BATCH_BYTES as u64, SEGMENT_BYTES_LONGEST] {
        let mut bytes = Vec::new();
        File::open(path)?.take(longest).read_to_end(&mut bytes)?;
        let mut rest = &*bytes;
        while let Some((batch, length)) = first(rest) {
            if let Some(release) = batch.iter().find_map(said) {
                return Ok(Some(release));
            }
            rest = &rest[length..];
        }
    }
    Ok(None)
}

/// The release that has the route by what is said here, if that is said.
fn said(entry: &Entry) -> Option<Digest> {
    match entry {
        Entry::Head(head) => head.release,
        Entry::Reading(_) | Entry::Answer(_) => None,
    }
}

/// Removes the ring in `folder`. Whether there was one.
///
/// # Errors
/// What the disk says.
pub fn forget(folder: &Path) -> io::Result<bool> {
    match fs::remove_dir_all(folder) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

pub(super) fn name(number: u64) -> String {
    format!("{number:016x}")
}

/// Numbers and sizes of the segments, from the oldest on. Other files are none of ours.
pub(super) fn list(folder: &Path) -> io::Result<Vec<(u64, u64)>> {
    let mut segments = Vec::new();
    for file in fs::read_dir(folder)? {
        let file = file?;
        let number = file.file_name().to_str().and_then(|n| u64::from_str_radix(n, 16).ok());
        if let Some(number) = number.filter(|number| *name(*number) == *file.file_name()) {
            segments.push((number, file.metadata()?.len()));
        }
    }
    segments.sort_unstable();
    Ok(segments)
}

#[cfg(test)]
mod tests {
    use super::super::record::Head;
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);
    const SMALL: Bounds = Bounds { bytes_max: 8 * 1024, age_max: HOUR };

    fn reading(sequence: u64) -> Entry {
        let values = vec![sequence as f64];
        Entry::Reading(Reading { key: "k".into(), sequence, time_unix_ns: 0, values })
    }

    fn head(field: &str) -> Entry {
        Entry::Head(Head { fields: vec![field.into()], release: None })
    }

    fn numbers(folder: &Path) -> Vec<u64> {
        let past = read(folder, usize::MAX).unwrap();
        past.readings.iter().map(|(reading, _)| reading.sequence).collect()
    }

    fn size(folder: &Path) -> u64 {
        list(folder).unwrap().iter().map(|(_, size)| size).sum()
    }

    #[test]
    fn a_ring_never_takes_more_than_its_bytes_and_what_is_left_is_the_newest() {
        let folder = tempfile::tempdir().unwrap();
        let mut ring = Ring::open(folder.path(), SMALL).unwrap();
        for sequence in 0..2000 {
            ring.write(&[head("x"), reading(sequence)], SystemTime::now()).unwrap();
            assert!(size(folder.path()) <= SMALL.bytes_max + 64);
        }
        let left = numbers(folder.path());
        assert!(left.len() > 100, "{left:?}");
        assert!(left.iter().copied().eq(2000 - left.len() as u64..2000), "{left:?}");
        let past = read(folder.path(), 3).unwrap();
        assert_eq!(past.readings.len(), 3);
        assert_eq!(
            (past.readings[0].0.sequence, &*past.readings[0].1),
            (1997, &["x".to_owned()][..])
        );
    }

    #[test]
    fn a_large_ring_is_made_of_segments_that_fit_into_memory_and_none_breaks_its_bounds() {
        let folder = tempfile::tempdir().unwrap();
        let large = Bounds { bytes_max: 8 << 30, age_max: HOUR };
        let mut ring = Ring::open(folder.path(), large).unwrap();
        let wide = |sequence| {
            let values = vec![0.5; 8 << 10];
            Entry::Reading(Reading { key: "k".into(), sequence, time_unix_ns: 0, values })
        };
        for sequence in 0..160 {
            assert!(ring.write(&[head("x"), wide(sequence)], SystemTime::now()).unwrap());
        }
        let sizes: Vec<u64> = list(folder.path()).unwrap().iter().map(|(_, size)| *size).collect();
        assert!(sizes.len() >= 3 && sizes.iter().all(|size| *size < SEGMENT_BYTES_MAX + (1 << 17)));
        assert!(numbers(folder.path()).into_iter().eq(0..160));
        // In a small one there is no room for such a reading, and the ring goes on without it.
        let folder = tempfile::tempdir().unwrap();
        let mut ring = Ring::open(folder.path(), SMALL).unwrap();
        assert!(!ring.write(&[head("x"), wide(0)], SystemTime::now()).unwrap());
        assert!(ring.write(&[head("x"), reading(1)], SystemTime::now()).unwrap());
        assert_eq!(numbers(folder.path()), [1]);
    }

    #[test]
    fn a_restart_cuts_off_a_torn_end_and_goes_on_behind_it() {
        let folder = tempfile::tempdir().unwrap();
        let mut ring = Ring::open(folder.path(), SMALL).unwrap();
        ring.write(&[head("x"), reading(0)], SystemTime::now()).unwrap();
        drop(ring);
        let last = folder.path().join(name(0));
        let whole = fs::read(&last).unwrap();
        for torn in [&[][..], &[9], &[9, 0, 0, 0, 1, 2, 3]] {
            fs::write(&last, [&whole, torn].concat()).unwrap();
            assert_eq!(numbers(folder.path()), [0]);
            let mut ring = Ring::open(folder.path(), SMALL).unwrap();
            ring.write(&[reading(1)], SystemTime::now()).unwrap();
            assert_eq!(numbers(folder.path()), [0, 1]);
        }
    }

    #[test]
    fn what_is_too_old_goes_and_a_clock_that_goes_back_takes_nothing_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let mut ring = Ring::open(folder.path(), SMALL).unwrap();
        let fill = |ring: &mut Ring, from: u64, now: SystemTime| {
            for sequence in from..from + 60 {
                ring.write(&[reading(sequence)], now).unwrap();
            }
        };
        let now = SystemTime::now();
        fill(&mut ring, 0, now);
        fill(&mut ring, 60, now - 48 * HOUR);
        assert_eq!(numbers(folder.path()).len(), 120);
        ring.write(&[reading(120)], now + 2 * HOUR).unwrap();
        assert_eq!(numbers(folder.path()), [120]);
    }

    #[test]
    fn what_is_too_old_goes_also_where_too_little_comes_to_fill_a_segment() {
        let folder = tempfile::tempdir().unwrap();
        let mut ring = Ring::open(folder.path(), SMALL).unwrap();
        let now = SystemTime::now();
        for quarter in 0..8_u32 {
            let then = now + HOUR / 4 * quarter;
            ring.write(&[reading(quarter.into())], then).unwrap();
            // The disk has a clock of its own, for which no time has passed.
            ring.open.as_ref().unwrap().set_modified(then).unwrap();
        }
        // Each has a segment of its own, however small.
        assert_eq!(list(folder.path()).unwrap().len(), 5);
        assert_eq!(numbers(folder.path()), [3, 4, 5, 6, 7]);
        ring.give_way(now + 3 * HOUR).unwrap();
        assert!(numbers(folder.path()).is_empty());
        ring.write(&[reading(8)], now + 2 * HOUR).unwrap();
        assert_eq!(numbers(folder.path()), [8]);
    }

    #[test]
    fn a_ring_that_was_written_within_larger_bounds_is_shrunk_when_it_is_taken_up() {
        let folder = tempfile::tempdir().unwrap();
        let large = Bounds { bytes_max: 64 * SMALL.bytes_max, age_max: HOUR };
        let mut ring = Ring::open(folder.path(), large).unwrap();
        for sequence in 0..2000 {
            ring.write(&[head("x"), reading(sequence)], SystemTime::now()).unwrap();
        }
        assert!(size(folder.path()) > 8 * SMALL.bytes_max);
        drop(ring);
        let mut ring = Ring::open(folder.path(), SMALL).unwrap();
        assert!(size(folder.path()) <= SMALL.bytes_max, "{}", size(folder.path()));
        ring.write(&[head("x"), reading(2000)], SystemTime::now()).unwrap();
        assert_eq!(numbers(folder.path()).last(), Some(&2000));
    }

    #[test]
    fn a_segment_that_is_rotten_costs_what_stands_behind_the_rot_in_it_alone() {
        let folder = tempfile::tempdir().unwrap();
        let mut ring = Ring::open(folder.path(), SMALL).unwrap();
        for sequence in 0..120 {
            ring.write(&[reading(sequence)], SystemTime::now()).unwrap();
        }
        let before = numbers(folder.path());
        let first = list(folder.path()).unwrap()[0].0;
        let path = folder.path().join(name(first));
        let mut bytes = fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(&path, bytes).unwrap();
        let after = numbers(folder.path());
        assert!(after.len() < before.len() && after.first() == before.first());
        assert_eq!(after.last(), before.last());
    }
}
