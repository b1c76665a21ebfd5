//! The folder in which the agent keeps what must survive a power cut, and the database in it.
//!
//! ```text
//! state_dir/
//!   agent.lock     held by the one agent that may use the folder
//!   agent.sock     where `lineside-agent status` and `install` reach it
//!   state.redb     positions, readings not accounted for, findings not delivered, journal, spool
//!   device.key     authenticates compiled plugins; mode 0600
//!   blobs/sha256/  releases
//!   cache/         compiled plugins
//!   capture/       readings of the slots whose settings want them kept
//! ```

use crate::database::{Database, open_on};
use crate::failpoint;
use redb::DatabaseError;
use ring::rand::{SecureRandom, SystemRandom};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long an agent that is there may hold the folder before another one is refused: it may just be
/// ending.
const LOCK_PATIENCE: Duration = Duration::from_secs(1);
/// How long the folder may be held by what is no agent and will let go: `status`, or a child of an agent
/// that was killed just when it started a worker. Either takes its time on a busy machine.
const LET_GO_MAX: Duration = Duration::from_secs(30);
/// How often somebody who waits looks.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Who opens the folder.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Visitor {
    /// An agent, which is named to others.
    Stays,
    /// Somebody who looks, and is in nobody's way.
    Looks,
}

/// Why the state folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another agent has it.
    #[error("another agent (process {holder}) uses {}; stop it, or give this one a state_dir of its own", folder.display())]
    InUse {
        /// The folder.
        folder: PathBuf,
        /// What the other one wrote into the lock: its process number.
        holder: String,
    },
    /// A file of it.
    #[error("cannot use {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The database.
    #[error("cannot open the database {}", path.display())]
    Database {
        /// Its file.
        path: PathBuf,
        /// Why.
        source: Box<redb::Error>,
    },
    /// A key that is not as it was written.
    #[error("{} has {size} bytes instead of 32; remove it, compiled plugins are then made anew", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// Its size.
        size: usize,
    },
}

/// The state folder, held by this process alone.
pub struct Store {
    folder: PathBuf,
    database: Arc<Database>,
    /// Keeps others out while it is open; the kernel lets go of it however the process ends.
    _lock: File,
}

impl Store {
    /// Opens the folder, making what is missing.
    ///
    /// # Errors
    /// [`StoreError`]; a second agent on the same folder is refused.
    pub fn open(folder: &Path) -> Result<Store, StoreError> {
        Store::open_as(folder, Visitor::Stays)
    }

    /// As [`Store::open`], for who looks at what is there while no agent runs, and leaves. One that
    /// starts meanwhile waits for him.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn look_into(folder: &Path) -> Result<Store, StoreError> {
        Store::open_as(folder, Visitor::Looks)
    }

    fn open_as(folder: &Path, visitor: Visitor) -> Result<Store, StoreError> {
        let make = |path: &Path| {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed(path))
        };
        make(folder)?;
        let lock = lock(folder, visitor)?;
        make(&folder.join("blobs").join("sha256"))?;
        make(&folder.join("cache"))?;
        let path = folder.join("state.redb");
        make_database(&path)?;
        let file = path.clone();
        let open = move || open_on(OpenOptions::new().read(true).write(true).open(&file)?);
        let database = patiently(open).map_err(|error| StoreError::Database {
            path,
            source: Box::new(redb::Error::from(error)),
        })?;
        Ok(Store { folder: folder.to_owned(), database: Arc::new(database), _lock: lock })
    }

    /// The database. Each module owns its tables.
    pub fn database(&self) -> Arc<Database> {
        self.database.clone()
    }

    /// The folder itself.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The folder of compiled plugins.
    pub fn cache(&self) -> PathBuf {
        self.folder.join("cache")
    }

    /// The key that authenticates compiled plugins, made at the first call. It never leaves the device.
    ///
    /// # Errors
    /// [`StoreError::File`], [`StoreError::Key`].
    pub fn device_key(&self) -> Result<[u8; 32], StoreError> {
        let path = self.folder.join("device.key");
        match fs::read(&path) {
            Ok(bytes) => {
                let size = bytes.len();
                bytes.try_into().map_err(|_| StoreError::Key { path, size })
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => make_key(&path),
            Err(error) => Err(failed(&path)(error)),
        }
    }
}

/// Makes the database where there is none, and gives it its name once it is on the medium: one that a
/// power cut has left half made could never be opened.
fn make_database(path: &Path) -> Result<(), StoreError> {
    if path.exists() {
        return Ok(());
    }
    let part = path.with_extension("redb.part");
    // What is left of an earlier attempt; there mostly is nothing.
    let _ = fs::remove_file(&part);
    redb::Builder::new().create(&part).map_err(|error| StoreError::Database {
        path: part.clone(),
        source: Box::new(redb::Error::from(error)),
    })?;
    let name = || {
        failpoint::pass("store.database")?;
        File::open(&part)?.sync_all()?;
        fs::rename(&part, path)?;
        File::open(path.parent().unwrap_or(Path::new("/")))?.sync_all()
    };
    name().map_err(failed(path))
}

/// Opens a database that whoever had the folder before may not have let go of yet.
fn patiently(
    open: impl Fn() -> Result<redb::Database, DatabaseError> + Clone + Send + Sync + 'static,
) -> Result<Database, DatabaseError> {
    let began = Instant::now();
    loop {
        match Database::open(open.clone()) {
            Err(DatabaseError::DatabaseAlreadyOpen) if began.elapsed() < LET_GO_MAX => {
                std::thread::sleep(LOOK_EVERY);
            }
            opened => return opened,
        }
    }
}

fn lock(folder: &Path, visitor: Visitor) -> Result<File, StoreError> {
    let path = folder.join("agent.lock");
    let mut lock = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(failed(&path))?;
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
    if visitor == Visitor::Looks {
        return Ok(lock);
    }
    let written = failpoint::pass("store.lock").and_then(|()| lock.set_len(0));
    let written = written.and_then(|()| writeln!(lock, "{}", std::process::id()));
    if let Err(error) = written {
        // A full disk must not keep the agent from starting: the lock itself holds.
        tracing::warn!("cannot write {}: {error}", path.display());
    }
    Ok(lock)
}

/// The agent that had the lock last, by what it wrote: its process number. Empty if none has.
fn holder(lock: &File) -> String {
    let mut bytes = [0; 20];
    // Without it the folder is waited for longer, and people are told less.
    let read = lock.read_at(&mut bytes, 0).unwrap_or_default();
    String::from_utf8_lossy(&bytes[..read]).trim().to_owned()
}

/// How long whoever has the lock is waited for: an agent that was killed does not hold it any more.
fn patience(holder: &str) -> Duration {
    let is_there =
        holder.parse::<u32>().is_ok_and(|process| Path::new(&format!("/proc/{process}")).exists());
    if is_there { LOCK_PATIENCE } else { LET_GO_MAX }
}

fn make_key(path: &Path) -> Result<[u8; 32], StoreError> {
    let mut key = [0; 32];
    SystemRandom::new()
        .fill(&mut key)
        .map_err(|_| failed(path)(io::Error::other("the system gives no random bytes")))?;
    let temporary = path.with_extension("key.part");
    let write = || {
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&temporary)?;
        failpoint::pass("store.key.write")?;
        file.write_all(&key)?;
        failpoint::pass("store.key.sync")?;
        file.sync_all()?;
        failpoint::pass("store.key.rename")?;
        fs::rename(&temporary, path)
    };
    write().map_err(failed(path))?;
    Ok(key)
}

fn failed(path: &Path) -> impl Fn(io::Error) -> StoreError {
    move |source| StoreError::File { path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_second_agent_on_the_same_folder_is_refused_and_told_by_whom() {
        let folder = tempfile::tempdir().unwrap();
        let first = Store::open(folder.path()).unwrap();
        let error = Store::open(folder.path()).err().unwrap().to_string();
        assert!(error.contains(&format!("process {}", std::process::id())), "{error}");
        drop(first);
        Store::open(folder.path()).unwrap();
    }

    #[test]
    fn who_only_looks_and_what_an_agent_leaves_behind_are_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        drop(Store::open(folder.path()).unwrap());
        let lock = File::open(folder.path().join("agent.lock")).unwrap();
        let this = std::process::id().to_string();
        assert_eq!((holder(&lock), patience(&this)), (this.clone(), LOCK_PATIENCE));
        let mut gone = std::process::Command::new("true").spawn().unwrap();
        gone.wait().unwrap();
        for holder in [&*gone.id().to_string(), "", "nonsense"] {
            assert_eq!(patience(holder), LET_GO_MAX, "{holder}");
        }
        fs::write(folder.path().join("agent.lock"), gone.id().to_string()).unwrap();
        let looking = Store::look_into(folder.path()).unwrap();
        assert_eq!(holder(&lock), gone.id().to_string(), "who looks is not called an agent");
        let starting = std::thread::spawn({
            let path = folder.path().to_owned();
            move || Store::open(&path).map(drop)
        });
        drop(looking);
        starting.join().unwrap().unwrap();
        assert_eq!(holder(&lock), this);
    }

    #[test]
    fn a_database_that_is_still_being_closed_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let closing = Store::open(folder.path()).unwrap().database();
        let opening = std::thread::spawn({
            let path = folder.path().to_owned();
            move || Store::open(&path).map(drop)
        });
        // The other one has the lock by now, or will find the database closed.
        while File::open(folder.path().join("agent.lock")).unwrap().try_lock().is_ok() {
            std::thread::yield_now();
        }
        drop(closing);
        opening.join().unwrap().unwrap();
    }

    #[test]
    fn the_device_key_is_made_once_and_only_its_owner_may_read_it() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let key = store.device_key().unwrap();
        assert_eq!(store.device_key().unwrap(), key);
        assert_ne!(key, [0; 32]);
        let mode = fs::metadata(folder.path().join("device.key")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        fs::write(folder.path().join("device.key"), b"short").unwrap();
        assert!(store.device_key().unwrap_err().to_string().contains("5 bytes"));
    }

    #[test]
    fn who_had_the_folder_before_may_let_go_of_the_database_a_little_later() {
        let folder = tempfile::tempdir().unwrap();
        let before = Store::open(folder.path()).unwrap();
        let database = before.database();
        drop(before);
        let letting_go = std::thread::spawn(move || {
            std::thread::sleep(LOCK_PATIENCE / 10);
            drop(database);
        });
        Store::open(folder.path()).unwrap();
        letting_go.join().unwrap();
    }

    #[test]
    fn what_a_power_cut_left_of_a_database_in_the_making_keeps_no_device_from_starting() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("state.redb.part"), vec![0; 4096]).unwrap();
        Store::open(folder.path()).unwrap();
        assert!(!folder.path().join("state.redb.part").exists());
    }

    #[test]
    fn a_damaged_database_is_named() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("state.redb"), vec![7; 100_000]).unwrap();
        let error = Store::open(folder.path()).err().unwrap().to_string();
        assert!(error.contains("state.redb"), "{error}");
    }
}
