//! What is kept because rules have fired: the ring as it stood then, and what comes for so many minutes of
//! running. Segments are the ring's own, under a second name: kept longer, and written once. Where the bundle names
//! fields that must not be kept they are copies without those.

use super::note::{Keep, Note};
use super::record::{Entry, Head, encode, first};
use super::segments::{Bounds, list, name, read_segment, release_of};
use crate::clock::{now_unix_ms, written};
use lineside_bundle::Digest;
use lineside_runtime::Reading;
use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// The folder in that of the ring.
const FOLDER: &str = "kept";
/// A copy that is being made, in the folder of a firing.
const PART: &str = "part";
/// Firings that are kept.
const FIRINGS_MAX: usize = 128;
/// Names of segments in all of them.
const SEGMENTS_MAX: usize = 4096;
/// How often the time that is left is written down: a kill has so much more be kept.
const NOTE_EVERY: Duration = Duration::from_secs(30);

/// What is kept of a slot, the oldest first.
pub(super) struct Firings {
    folder: PathBuf,
    all: Vec<Firing>,
    /// The ring's newest segment that was looked at.
    taken: Option<u64>,
}

struct Firing {
    folder: PathBuf,
    note: Note,
    left: Duration,
    /// As it was written down, and whether the end was.
    noted: Duration,
    is_noted: bool,
    /// Segments from this one on may still come, or grow.
    next: u64,
    /// The last segment that was copied without what must not be kept, and the bytes it had.
    copied: Option<(u64, u64)>,
}

/// Where what is kept lies beside the ring in `folder`: of the firing `number`.
pub fn firing(folder: &Path, number: u64) -> PathBuf {
    folder.join(FOLDER).join(number.to_string())
}

/// Numbers of what is kept beside the ring in `folder`, the oldest first.
pub(super) fn numbers(folder: &Path) -> io::Result<Vec<u64>> {
    let files = match fs::read_dir(folder.join(FOLDER)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(vec![]),
        files => files?,
    };
    let mut numbers = vec![];
    for file in files {
        let name = file?.file_name();
        let number = name.to_str().and_then(|name| name.parse::<u64>().ok());
        numbers.extend(number.filter(|number| *number.to_string() == *name));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

impl Firings {
    /// Takes up what is kept beside the ring in `folder`.
    pub(super) fn open(folder: &Path) -> io::Result<Firings> {
        let mut firings = Firings { folder: folder.to_owned(), all: vec![], taken: None };
        for number in numbers(folder)? {
            let folder = firing(folder, number);
            let Some(note) = Note::read(&folder)? else {
                tracing::warn!("{} is removed: it does not say what it is", folder.display());
                fs::remove_dir_all(&folder)?;
                continue;
            };
            discard(&folder.join(PART))?;
            let left = Duration::from_secs(note.left_seconds);
            let next = list(&folder)?.last().map_or(0, |(number, _)| *number);
            let (noted, is_noted) = (left, true);
            firings.all.push(Firing { folder, note, left, noted, is_noted, next, copied: None });
        }
        Ok(firings)
    }

    /// Begins to keep for what is wanted and was not begun yet.
    pub(super) fn begin(&mut self, wanted: &[Keep]) -> io::Result<()> {
        for keep in wanted {
            if self.all.iter().any(|firing| firing.note.keep.is_same(keep)) {
                continue;
            }
            let number = numbers(&self.folder)?.last().map_or(1, |last| last + 1);
            let folder = firing(&self.folder, number);
            let left = Duration::from_secs(60 * u64::from(keep.minutes));
            let keep = keep.clone();
            let mut note = Note { keep, begun_at: now(), left_seconds: 0, until: None };
            fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
            if let Err(error) = note.write(&folder, left) {
                // A folder that does not say what it is would be another one each time this is tried.
                let _ = fs::remove_dir_all(&folder);
                return Err(error);
            }
            tracing::info!(
                "what comes in is kept in {} for {} min of running: rule {} fires",
                folder.display(),
                note.keep.minutes,
                note.keep.rule
            );
            let (noted, is_noted) = (left, true);
            let firing = Firing { folder, note, left, noted, is_noted, next: 0, copied: None };
            self.all.push(firing);
            self.taken = None;
        }
        Ok(())
    }

    /// Whether anything goes on to be kept.
    pub(super) fn is_running(&self) -> bool {
        self.all.iter().any(Firing::is_running)
    }

    /// How long until the first of them has ended.
    pub(super) fn left(&self) -> Option<Duration> {
        self.all.iter().filter(|it| it.is_running()).map(|firing| firing.left).min()
    }

    /// Has the segments of the ring that came, or grew, since; all of them of what has just begun. None is of another
    /// release.
    pub(super) fn take(&mut self, bounds: Bounds) -> io::Result<()> {
        self.taken = self.take_where(bounds, |_| true)?;
        Ok(())
    }

    /// Gives the newest segment of the ring.
    fn take_where(
        &mut self,
        bounds: Bounds,
        is_meant: impl Fn(&Firing) -> bool,
    ) -> io::Result<Option<u64>> {
        let ring = match list(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            ring => ring?,
        };
        let folders: Vec<_> = self.all.iter().map(|firing| firing.folder.clone()).collect();
        let room = |bytes| make_room(&folders, bounds, bytes, SystemTime::now());
        let mut taken = Ok(());
        for firing in self.all.iter_mut().filter(|firing| firing.is_running() && is_meant(firing)) {
            taken = taken.and(firing.take(&self.folder, &ring, room));
        }
        taken.map(|()| ring.last().map(|(number, _)| *number))
    }

    /// As [`Firings::take`], if the ring has begun a segment since; whether it has.
    pub(super) fn follow(&mut self, newest: Option<u64>, bounds: Bounds) -> io::Result<bool> {
        let has_begun = self.is_running() && newest != self.taken;
        if has_begun {
            self.take(bounds)?;
        }
        Ok(has_begun)
    }

    /// The device has been running for so long. What has come until now belongs to what ends by it, whatever the
    /// disk says.
    pub(super) fn ran(&mut self, ran: Duration, bounds: Bounds) -> io::Result<()> {
        for firing in self.all.iter_mut().filter(|firing| firing.is_running()) {
            firing.left = firing.left.saturating_sub(ran);
        }
        self.end(bounds, |firing| firing.left.is_zero())
    }

    /// Readings of `release` come from here on: what is kept of another one ends.
    pub(super) fn of_release(&mut self, release: Digest, bounds: Bounds) -> io::Result<()> {
        self.end(bounds, |firing| firing.note.keep.digest != release)
    }

    fn end(&mut self, bounds: Bounds, ends: impl Fn(&Firing) -> bool) -> io::Result<()> {
        let mut done = Ok(());
        if self.all.iter().any(|firing| firing.is_running() && ends(firing)) {
            done = self.take_where(bounds, &ends).map(|_| ());
        }
        for firing in &mut self.all {
            if firing.is_running() && ends(firing) {
                firing.note.until = Some(now());
                firing.is_noted = false;
            }
            if !firing.is_noted || firing.noted.saturating_sub(firing.left) >= NOTE_EVERY {
                done = done.and(firing.write());
            }
        }
        done
    }

    /// Writes down what is left, before a stop.
    pub(super) fn write(&mut self) -> io::Result<()> {
        self.all.iter_mut().filter(|firing| firing.is_running()).try_for_each(Firing::write)
    }

    /// Whether one that has ended has this segment of the ring: nothing more may be written into it.
    pub(super) fn has_ended_with(&self, segment: u64) -> bool {
        self.all.iter().any(|firing| !firing.is_running() && firing.next == segment)
    }

    /// A number beyond those of all segments here: the ring must not take one twice.
    pub(super) fn free(&self) -> u64 {
        self.all.iter().map(|firing| firing.next + 1).max().unwrap_or_default()
    }

    /// Removes what is too old, and what is too much from the oldest readings on; and firings that have ended and
    /// hold nothing. Those are still known while they are among the last ones, `wanted`, or those are not known: so
    /// that none begins anew.
    pub(super) fn give_way(
        &mut self,
        bounds: Bounds,
        wanted: Option<&[Keep]>,
        now: SystemTime,
    ) -> io::Result<()> {
        let folders: Vec<_> = self.all.iter().map(|firing| firing.folder.clone()).collect();
        let mut gave_way = make_room(&folders, bounds, 0, now);
        let mut surplus = self.all.len().saturating_sub(FIRINGS_MAX);
        self.all.retain(|firing| {
            // Removed by hand: where it is still wanted it begins anew.
            let Ok(segments) = list(&firing.folder) else { return firing.folder.exists() };
            let is_wanted = |wanted: &[Keep]| wanted.iter().any(|it| it.is_same(&firing.note.keep));
            let holds = firing.is_running() || !segments.is_empty();
            if wanted.is_none_or(is_wanted) || (holds && surplus == 0) {
                return true;
            }
            surplus = surplus.saturating_sub(1);
            let removed = fs::remove_dir_all(&firing.folder);
            let is_there = removed.is_err();
            if gave_way.is_ok() {
                gave_way = removed;
            }
            is_there
        });
        gave_way
    }
}

impl Firing {
    fn is_running(&self) -> bool {
        self.note.until.is_none()
    }

    /// Has the segments of `ring` that came, or grew, since. `room` makes room for a copy of so many bytes.
    fn take(
        &mut self,
        folder: &Path,
        ring: &[(u64, u64)],
        room: impl Fn(u64) -> io::Result<()>,
    ) -> io::Result<()> {
        let has = list(&self.folder)?;
        let from = self.next;
        for (number, size) in ring.iter().filter(|(number, _)| *number >= from) {
            let old = has.iter().find(|(old, _)| old == number).map(|(_, old)| *old);
            let (from, to) = (folder.join(name(*number)), self.folder.join(name(*number)));
            let keep = &self.note.keep;
            if keep.redact.is_empty() {
                // One name of two grows as the other does: where it has not, this is a copy.
                if old.is_none_or(|old| old < *size) && is_of(&from, keep.digest)? {
                    let linked = old.is_none() && fs::hard_link(&from, &to).is_ok();
                    if !linked {
                        room(*size)?;
                        copied(&from, &to, whole)?;
                    }
                }
            } else if self.copied != Some((*number, *size)) && is_of(&from, keep.digest)? {
                room(*size)?;
                copied(&from, &to, |from| without(from, &keep.redact))?;
                self.copied = Some((*number, *size));
            }
            self.next = *number;
        }
        Ok(())
    }

    fn write(&mut self) -> io::Result<()> {
        self.note.write(&self.folder, self.left)?;
        (self.noted, self.is_noted) = (self.left, true);
        Ok(())
    }
}

/// Removes what is too old in `folders`, and then from the oldest readings on until there is room for `bytes` more,
/// beside a segment. What two firings have of one file is counted once, and given up by both.
fn make_room(folders: &[PathBuf], bounds: Bounds, bytes: u64, now: SystemTime) -> io::Result<()> {
    /// Where a segment lies, and which file that is: inode and bytes.
    type Copies = Vec<(PathBuf, (u64, u64))>;
    let mut segments: BTreeMap<u64, Copies> = BTreeMap::new();
    for folder in folders {
        let found = match list(folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            found => found?,
        };
        for (number, _) in found {
            let path = folder.join(name(number));
            let metadata = fs::metadata(&path)?;
            if bounds.holds(&path, now) {
                let file = (metadata.ino(), metadata.len());
                segments.entry(number).or_default().push((path, file));
            } else {
                fs::remove_file(path)?;
            }
        }
    }
    let size = |names: &Vec<(PathBuf, (u64, u64))>| -> u64 {
        let files: BTreeMap<u64, u64> = names.iter().map(|(_, file)| *file).collect();
        files.values().sum()
    };
    let mut held: u64 = segments.values().map(size).sum();
    let mut count: usize = segments.values().map(Vec::len).sum();
    for names in segments.values() {
        let is_room = held + bytes + bounds.segment_bytes() <= bounds.bytes_max;
        if is_room && count <= SEGMENTS_MAX {
            break;
        }
        for (path, _) in names {
            fs::remove_file(path)?;
        }
        held -= size(names);
        count -= names.len();
    }
    Ok(())
}

fn now() -> String {
    written(now_unix_ms().saturating_mul(1_000_000))
}

/// Whether a segment of the ring has readings of `release`. One that gave way meanwhile has none.
fn is_of(segment: &Path, release: Digest) -> io::Result<bool> {
    match release_of(segment) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        of => Ok(of? == Some(release)),
    }
}

/// Makes a copy of a segment, by what `read` gives of it. None where it gave way meanwhile.
fn copied(
    from: &Path,
    to: &Path,
    read: impl FnOnce(&Path) -> io::Result<Vec<u8>>,
) -> io::Result<()> {
    let (bytes, modified) = match read(from) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        bytes => (bytes?, fs::metadata(from).and_then(|metadata| metadata.modified())),
    };
    let part = to.with_file_name(PART);
    let write = || {
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&part)?;
        file.write_all(&bytes)?;
        // A copy is as old as what it was made of.
        if let Ok(modified) = modified {
            file.set_modified(modified)?;
        }
        fs::rename(&part, to)
    };
    write().inspect_err(|_| {
        // Also a disk that takes nothing gives back.
        let _ = fs::remove_file(&part);
    })
}

fn whole(segment: &Path) -> io::Result<Vec<u8>> {
    read_segment(segment)
}

/// A segment without the values of these fields.
fn without(segment: &Path, fields: &[String]) -> io::Result<Vec<u8>> {
    let (mut bytes, mut rest) = (vec![], &*read_segment(segment)?);
    let mut kept: Vec<bool> = vec![];
    while let Some((batch, length)) = first(rest) {
        rest = &rest[length..];
        let entries = batch.into_iter().map(|entry| match entry {
            Entry::Head(Head { fields: names, release }) => {
                kept = names.iter().map(|name| !fields.contains(name)).collect();
                Entry::Head(Head { fields: select(names, &kept), release })
            }
            Entry::Reading(reading) => {
                // What no head has named is not known to be anything else.
                let values = select(reading.values, &kept);
                Entry::Reading(Reading { values, ..reading })
            }
            Entry::Answer(answer) => Entry::Answer(answer),
        });
        let entries: Vec<_> = entries.collect();
        bytes.extend(encode(&entries).unwrap_or_default());
    }
    Ok(bytes)
}

fn select<T>(all: Vec<T>, kept: &[bool]) -> Vec<T> {
    all.into_iter().zip(kept).filter_map(|(one, is_kept)| is_kept.then_some(one)).collect()
}

fn discard(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
