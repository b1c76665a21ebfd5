//! The storage of a device whose power is cut: a medium for the database and a disk for blobs, which
//! keep after a cut what the rules of file systems allow, and no more.
//!
//! What was synced is kept. Of what was written since, any sectors of 512 bytes of the database's file
//! may be there and others not, as they were last or before; a file that was appended to may have any
//! part of it, and zeros in its last sector; a name may stand for what it stood for at any time since
//! its folder was synced. A call that fails has done nothing, or half. A sync that fails may have lost
//! for good what it was to bring to the medium: the system shows it as written, and the next sync,
//! which succeeds, does not try again (<https://lwn.net/Articles/752063>).

use lineside_agent::database::Medium;
use lineside_agent::update::disk::{Disk, DiskFile};
use redb::{BackendError, DatabaseError, StorageBackend};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, Cursor, Read, Write};
use std::ops::{Bound, Range};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

/// What a medium writes whole or not at all, and what a system holds in memory together.
const SECTOR_BYTES: usize = 512;
const PAGE_BYTES: usize = 4096;
/// Input/output error, and no space left.
const ERRORS: [i32; 2] = [5, 28];

/// Numbers that follow from a seed (xorshift64, Marsaglia 2003).
#[derive(Debug, Clone)]
pub struct Chance(u64);

impl Chance {
    pub fn new(seed: u64) -> Chance {
        Chance(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// A number from 0 to `below`, which is not 0.
    pub fn draw(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) as usize % below
    }
}

/// What this storage does wrong on purpose, to show that the test notices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flaw {
    None,
    /// A sync of the database's file is left out now and then.
    SyncLeftOut,
    /// A sync of a folder does nothing.
    FolderNotSynced,
    /// What is in memory is kept when the database is opened again, what a failed sync has lost as well.
    MemoryKept,
}

/// Which calls fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    Any,
    /// Those that have something on the medium, of the database's file or of others.
    Syncs,
}

/// The storage, shared by everybody who uses it.
#[derive(Debug, Clone)]
pub struct Storage(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    flaw: Flaw,
    chance: Chance,
    /// What has happened, for people.
    events: Vec<String>,
    /// What fails, how many such calls succeed before that, and how many do not.
    faults: Option<(Fault, usize, usize)>,
    /// The database's file: as on the medium, as seen, and what was written and is not there yet, in
    /// pieces that cross no page.
    medium: Vec<u8>,
    seen: Vec<u8>,
    unsynced: Vec<(usize, Vec<u8>)>,
    /// Who has the database open, and how many have tried.
    holder: Option<u64>,
    openers: u64,
    /// Syncs of the database's file that have failed.
    failed_syncs: u64,
    files: Vec<FileState>,
    names: BTreeMap<PathBuf, usize>,
    /// What names stood for since their folder was synced, first of all what is on the medium.
    renamed: BTreeMap<PathBuf, Vec<Option<usize>>>,
    /// How often the power was cut: whoever wrote before that is gone.
    cuts: u64,
    /// Calls until it is cut.
    cut_after: Option<usize>,
}

/// A file that grows.
#[derive(Debug, Default)]
struct FileState {
    bytes: Vec<u8>,
    /// Bytes that are on the medium, but for those that a failed sync has lost.
    durable: usize,
    lost: Vec<Range<usize>>,
}

impl Storage {
    pub fn new(seed: u64, flaw: Flaw) -> Storage {
        Storage(Arc::new(Mutex::new(State {
            flaw,
            chance: Chance::new(seed),
            events: Vec::new(),
            faults: None,
            medium: Vec::new(),
            seen: Vec::new(),
            unsynced: Vec::new(),
            holder: None,
            openers: 0,
            failed_syncs: 0,
            files: Vec::new(),
            names: BTreeMap::new(),
            renamed: BTreeMap::new(),
            cuts: 0,
            cut_after: None,
        })))
    }

    /// Notes what happens beside the storage.
    pub fn note(&self, event: String) {
        self.state().events.push(event);
    }

    /// What has happened, in its order.
    pub fn events(&self) -> Vec<String> {
        self.state().events.clone()
    }

    /// Has `count` calls fail after `first` that succeed.
    pub fn fail(&self, fault: Fault, first: usize, count: usize) {
        let mut state = self.state();
        state.events.push(format!("{count} calls ({fault:?}) will fail after {first}"));
        state.faults = Some((fault, first, count));
    }

    /// The storage as whoever is switched on now sees it. It fails for everybody from before a cut.
    pub fn powered(&self) -> Powered {
        Powered { storage: self.clone(), cuts: self.state().cuts }
    }

    /// Cuts the power in the middle of so many calls.
    pub fn cut_after(&self, calls: usize) {
        self.state().cut_after = Some(calls);
    }

    /// Cuts the power of whoever was switched on as `powered`, if that has not happened yet;
    /// nothing fails any more.
    pub fn cut(&self, powered: &Powered) {
        let mut state = self.state();
        if state.cuts == powered.cuts {
            state.cut();
        }
        (state.faults, state.cut_after) = (None, None);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }
}

impl FileState {
    fn cut(&mut self, chance: &mut Chance) {
        for lost in self.lost.drain(..) {
            self.bytes[lost].fill(0);
        }
        let length = self.durable + chance.draw(self.bytes.len() - self.durable + 1);
        if length > self.durable && chance.draw(2) == 0 {
            let sector = (length - 1) / SECTOR_BYTES * SECTOR_BYTES;
            self.bytes[sector.max(self.durable)..length].fill(0);
        }
        self.bytes.truncate(length);
        self.durable = length;
    }

    fn shorten(&mut self, length: usize) {
        self.bytes.truncate(length);
        self.durable = self.durable.min(length);
        self.lost.retain_mut(|lost| {
            lost.end = lost.end.min(length);
            lost.start < lost.end
        });
    }
}

impl State {
    fn cut(&mut self) {
        // Nothing of what was not synced, all of it, or some.
        let kept = [0, 4, self.chance.draw(5)][self.chance.draw(3)];
        let (mut there, mut gone) = (0, 0);
        for (offset, bytes) in std::mem::take(&mut self.unsynced) {
            let mut at = 0;
            while at < bytes.len() {
                let end = bytes.len().min(at + SECTOR_BYTES - (offset + at) % SECTOR_BYTES);
                if self.chance.draw(4) < kept {
                    self.medium[offset + at..offset + end].copy_from_slice(&bytes[at..end]);
                    there += 1;
                } else {
                    gone += 1;
                }
                at = end;
            }
        }
        self.seen.clone_from(&self.medium);
        for file in &mut self.files {
            file.cut(&mut self.chance);
        }
        for (name, stood) in std::mem::take(&mut self.renamed) {
            match stood[self.chance.draw(stood.len())] {
                Some(file) => self.names.insert(name, file),
                None => self.names.remove(&name),
            };
        }
        self.cuts += 1;
        (self.faults, self.cut_after) = (None, None);
        self.holder = None;
        self.events.push(format!("CUT: {there} sectors of the database arrived, {gone} did not"));
    }

    /// A call: fails where one shall.
    fn call(&mut self, what: impl FnOnce() -> String) -> io::Result<()> {
        let what = what();
        match &mut self.cut_after {
            Some(0) => {
                self.cut();
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            Some(left) => *left -= 1,
            None => {}
        }
        let fails = match &mut self.faults {
            Some((Fault::Syncs, ..)) if !what.starts_with("sync") => false,
            Some((_, 0, failing)) => {
                let fails = *failing > 0;
                *failing = failing.saturating_sub(1);
                fails
            }
            Some((_, first, _)) => {
                *first -= 1;
                false
            }
            None => false,
        };
        if fails {
            self.events.push(format!("{what} FAILS"));
            return Err(io::Error::from_raw_os_error(ERRORS[self.chance.draw(2)]));
        }
        self.events.push(what);
        Ok(())
    }

    /// Notes what a name stands for before it is changed.
    fn rename(&mut self, name: &Path, file: Option<usize>) {
        let before = self.names.get(name).copied();
        let stood = self.renamed.entry(name.to_owned()).or_insert_with(|| vec![before]);
        stood.push(file);
        match file {
            Some(file) => self.names.insert(name.to_owned(), file),
            None => self.names.remove(name),
        };
    }

    fn file(&self, name: &Path) -> io::Result<usize> {
        self.names.get(name).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Brings to the medium what is seen of the pieces that `which` chooses; of others nothing.
    fn write_back(&mut self, mut which: impl FnMut(usize) -> bool) {
        for (offset, bytes) in &self.unsynced {
            if which(offset / PAGE_BYTES) {
                let piece = *offset..offset + bytes.len();
                self.medium[piece.clone()].copy_from_slice(&self.seen[piece]);
            }
        }
    }

    /// A sync of the database's file that fails: some pages are on the medium, some will never be
    /// though nothing shows it, others are tried again.
    fn lose(&mut self) {
        let mut fates: BTreeMap<usize, usize> = BTreeMap::new();
        let all = self.chance.draw(4);
        for (offset, _) in &self.unsynced {
            let fate = if all < 3 { all } else { self.chance.draw(3) };
            fates.entry(offset / PAGE_BYTES).or_insert(fate);
        }
        self.write_back(|page| fates[&page] == 0);
        self.unsynced.retain(|(offset, _)| fates[&(offset / PAGE_BYTES)] == 1);
        let lost = fates.values().filter(|fate| **fate == 2).count();
        self.events.push(format!("  of {} pages {lost} are lost", fates.len()));
    }
}

/// The storage since it was switched on last.
#[derive(Debug, Clone)]
pub struct Powered {
    storage: Storage,
    cuts: u64,
}

impl Powered {
    /// The state for a call, unless the power was cut since.
    fn state(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = self.storage.state();
        if state.cuts == self.cuts { Ok(state) } else { Err(io::ErrorKind::BrokenPipe.into()) }
    }

    fn call(&self, what: impl FnOnce() -> String) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.state()?;
        state.call(what)?;
        Ok(state)
    }

    /// As [`Powered::call`], for what does something even where it fails; nothing once the power is cut.
    fn attempt(
        &self,
        what: impl FnOnce() -> String,
    ) -> io::Result<(MutexGuard<'_, State>, io::Result<()>)> {
        let mut state = self.state()?;
        let done = state.call(what);
        if state.cuts == self.cuts {
            Ok((state, done))
        } else {
            Err(io::ErrorKind::BrokenPipe.into())
        }
    }

    /// The database's file, as one more has opened it.
    pub fn medium(&self) -> io::Result<PoweredMedium> {
        let mut state = self.state()?;
        state.openers += 1;
        let (opener, told) = (state.openers, state.failed_syncs.into());
        Ok(PoweredMedium { powered: self.clone(), opener, told })
    }
}

/// The database's file, opened.
#[derive(Debug)]
pub struct PoweredMedium {
    powered: Powered,
    opener: u64,
    /// Of the syncs that have failed, those that this opener has heard of: each is told of all of them.
    told: AtomicU64,
}

impl Medium for PoweredMedium {
    fn settle(&self) -> io::Result<()> {
        self.sync_data()?;
        let mut state = self.powered.call(|| "forget what is in memory".into())?;
        if state.flaw != Flaw::MemoryKept {
            // Nothing waits any more, so what is seen is what is there.
            state.seen = state.medium.clone();
        }
        Ok(())
    }

    fn backend(self) -> Result<impl StorageBackend, DatabaseError> {
        Ok(self)
    }
}

impl StorageBackend for PoweredMedium {
    fn len(&self) -> io::Result<u64> {
        Ok(self.powered.state()?.seen.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let offset = usize::try_from(offset).unwrap();
        let state = self.powered.state()?;
        let bytes = state.seen.get(offset..offset + out.len());
        out.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        let mut state = self.powered.call(|| format!("length {length}"))?;
        let length = usize::try_from(length).unwrap();
        state.seen.resize(length, 0);
        // What is cut off is on the medium until it is synced; it may grow at once.
        if length > state.medium.len() {
            state.medium.resize(length, 0);
        }
        state.unsynced.retain(|(offset, bytes)| offset + bytes.len() <= length);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let (mut state, done) = self.powered.attempt(|| "sync".into())?;
        if done.is_err() {
            state.failed_syncs += 1;
            state.lose();
        }
        if self.told.swap(state.failed_syncs, Ordering::Relaxed) < state.failed_syncs {
            return Err(io::Error::from_raw_os_error(ERRORS[0]));
        }
        if state.flaw == Flaw::SyncLeftOut && state.chance.draw(4) == 0 {
            return Ok(());
        }
        let length = state.seen.len();
        state.medium.resize(length, 0);
        state.write_back(|_| true);
        state.unsynced.clear();
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let (mut state, done) =
            self.powered.attempt(|| format!("write {} at {offset}", data.len()))?;
        // Half of it may be there all the same.
        let taken = if done.is_ok() { data.len() } else { data.len() / 2 };
        let (mut offset, mut data) = (usize::try_from(offset).unwrap(), &data[..taken]);
        while !data.is_empty() {
            let (piece, rest) = data.split_at(data.len().min(PAGE_BYTES - offset % PAGE_BYTES));
            state.seen[offset..offset + piece.len()].copy_from_slice(piece);
            state.unsynced.push((offset, piece.to_vec()));
            (offset, data) = (offset + piece.len(), rest);
        }
        done
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        // Of the whole file or not at all, which redb asks for where parts cannot be had.
        if (start, end) != (Bound::Unbounded, Bound::Unbounded) {
            return Err(BackendError::Unsupported);
        }
        let mut state = self.powered.state().map_err(BackendError::Io)?;
        let is_free = state.holder.is_none();
        if is_free {
            state.holder = Some(self.opener);
        }
        state.events.push(format!("opener {} locks: {is_free}", self.opener));
        Ok(is_free)
    }

    fn close(&self) -> io::Result<()> {
        let mut state = self.powered.state()?;
        state.events.push(format!("opener {} closes", self.opener));
        state.holder.take_if(|holder| *holder == self.opener);
        Ok(())
    }
}

/// A file, opened to write at its end.
struct Growing {
    powered: Powered,
    file: usize,
}

impl Write for Growing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let (mut state, done) =
            self.powered.attempt(|| format!("append {} to {}", bytes.len(), self.file))?;
        // Half of it may be there all the same.
        let taken = if done.is_ok() { bytes.len() } else { bytes.len() / 2 };
        state.files[self.file].bytes.extend(&bytes[..taken]);
        done.map(|()| taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl DiskFile for Growing {
    fn sync(&mut self) -> io::Result<()> {
        let (mut state, synced) = self.powered.attempt(|| format!("sync {}", self.file))?;
        let is_lost = synced.is_err() && state.chance.draw(2) == 0;
        let file = &mut state.files[self.file];
        if is_lost {
            file.lost.push(file.durable..file.bytes.len());
        }
        if is_lost || synced.is_ok() {
            file.durable = file.bytes.len();
        }
        synced
    }
}

impl Disk for Powered {
    fn make_folder(&self, folder: &Path) -> io::Result<()> {
        self.call(|| format!("make {}", folder.display())).map(drop)
    }

    fn append(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let mut state = self.call(|| format!("open {}", path.display()))?;
        let file = match state.names.get(path) {
            Some(file) => *file,
            None => {
                state.files.push(FileState::default());
                let file = state.files.len() - 1;
                state.rename(path, Some(file));
                file
            }
        };
        Ok(Box::new(Growing { powered: self.clone(), file }))
    }

    fn read(&self, path: &Path) -> io::Result<Box<dyn Read>> {
        let state = self.call(|| format!("read {}", path.display()))?;
        let file = state.file(path)?;
        Ok(Box::new(Cursor::new(state.files[file].bytes.clone())))
    }

    fn length(&self, path: &Path) -> io::Result<u64> {
        let state = self.call(|| format!("length of {}", path.display()))?;
        let file = state.file(path)?;
        Ok(state.files[file].bytes.len() as u64)
    }

    fn names(&self, folder: &Path) -> io::Result<Vec<OsString>> {
        let state = self.call(|| format!("list {}", folder.display()))?;
        let inside = state.names.keys().filter(|path| path.parent() == Some(folder));
        Ok(inside.filter_map(|path| Some(path.file_name()?.to_owned())).collect())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.call(|| format!("rename {} to {}", from.display(), to.display()))?;
        let file = state.file(from)?;
        state.rename(to, Some(file));
        state.rename(from, None);
        Ok(())
    }

    fn shorten(&self, path: &Path, bytes: u64) -> io::Result<()> {
        let mut state = self.call(|| format!("shorten {} to {bytes}", path.display()))?;
        let file = state.file(path)?;
        state.files[file].shorten(usize::try_from(bytes).unwrap());
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.call(|| format!("remove {}", path.display()))?;
        state.file(path)?;
        state.rename(path, None);
        Ok(())
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        let mut state = self.call(|| format!("sync {}", folder.display()))?;
        if state.flaw != Flaw::FolderNotSynced {
            state.renamed.retain(|path, _| path.parent() != Some(folder));
        }
        Ok(())
    }

    fn free_bytes(&self, _folder: &Path) -> io::Result<u64> {
        Ok(u64::MAX)
    }
}
