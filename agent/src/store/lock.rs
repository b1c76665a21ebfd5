//! Who may use the state folder: one agent at a time.

use super::{StoreError, failed};
use crate::failpoint;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

/// The file in the state folder.
const NAME: &str = "agent.lock";
/// How long an agent that is there may hold the folder before another one is refused: it may just be
/// ending.
pub(super) const PATIENCE: Duration = Duration::from_secs(1);
/// How long the folder may be held by what is no agent and will let go: `status`, or a child of an agent
/// that was killed just when it started a worker. Either takes its time on a busy machine.
pub(super) const LET_GO_MAX: Duration = Duration::from_secs(30);
/// How often somebody who waits looks.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Who opens the folder.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Visitor {
    /// An agent, which is named to others.
    Stays,
    /// Somebody who looks, makes nothing, and is in nobody's way.
    Looks,
}

/// Takes the folder for this process alone, for as long as the file is open.
pub(super) fn lock(folder: &Path, visitor: Visitor) -> Result<File, StoreError> {
    let path = folder.join(NAME);
    let mut options = OpenOptions::new();
    let stays = visitor == Visitor::Stays;
    options.read(true).write(stays).create(stays).truncate(false).mode(0o600);
    let (lock, is_written) = match options.open(&path) {
        Ok(lock) => (lock, stays),
        // On a disk that can only be read, what is there is locked all the same.
        Err(error) if error.kind() == io::ErrorKind::ReadOnlyFilesystem => {
            let lock = File::open(&path).or_else(|_| File::open(folder));
            (lock.map_err(failed(&path))?, false)
        }
        Err(error) => return Err(failed(&path)(error)),
    };
    let began = Instant::now();
    loop {
        match lock.try_lock() {
            Ok(()) => break,
            Err(TryLockError::WouldBlock) => {
                let holder = holder(&lock);
                if began.elapsed() >= patience(&holder) {
                    return Err(StoreError::InUse { folder: folder.to_owned(), holder });
                }
                std::thread::sleep(LOOK_EVERY);
            }
            Err(TryLockError::Error(error)) => return Err(failed(&path)(error)),
        }
    }
    if is_written {
        write_holder(&lock, &path);
    }
    Ok(lock)
}

/// The agent that had the lock last, by what it wrote: its process number. Empty if none has.
pub(super) fn holder(lock: &File) -> String {
    let mut bytes = [0; 20];
    // Without it the folder is waited for longer, and people are told less.
    let read = lock.read_at(&mut bytes, 0).unwrap_or_default();
    String::from_utf8_lossy(&bytes[..read]).trim().to_owned()
}

/// How long whoever has the lock is waited for: an agent that was killed does not hold it any more.
pub(super) fn patience(holder: &str) -> Duration {
    let is_there =
        holder.parse::<u32>().is_ok_and(|process| Path::new(&format!("/proc/{process}")).exists());
    if is_there { PATIENCE } else { LET_GO_MAX }
}

/// Whether the folder is on a disk that can only be read.
pub(super) fn is_read_only(folder: &Path) -> bool {
    let opened = OpenOptions::new().write(true).open(folder.join(NAME));
    opened.is_err_and(|error| error.kind() == io::ErrorKind::ReadOnlyFilesystem)
}

fn write_holder(mut lock: &File, path: &Path) {
    let written = failpoint::pass("store.lock").and_then(|()| lock.set_len(0));
    let written = written.and_then(|()| writeln!(lock, "{}", std::process::id()));
    if let Err(error) = written {
        // A full disk must not keep the agent from starting: the lock itself holds.
        tracing::warn!("cannot write {}: {error}", path.display());
    }
}
