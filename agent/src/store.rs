//! The folder in which the agent keeps what must survive a power cut, and the database in it.
//!
//! ```text
//! state_dir/
//!   agent.lock     held by the one agent that may use the folder
//!   agent.sock     where `lineside-agent status`, `install`, `hold`, `approve` and `report` reach it
//!   state.redb     positions, readings not accounted for, findings not delivered, journal, spool
//!   state.copy.1   the journal and what people hold back, a second time; state.copy.2 once more
//!   device.key     authenticates compiled plugins; mode 0600
//!   blobs/sha256/  releases
//!   blobs/recipes/ of a delta, while it is applied
//!   cache/         compiled plugins
//!   capture/       readings of the slots whose settings want them kept
//! ```
//!
//! What runs goes on running whatever has become of the folder. A database that is damaged is begun anew
//! from its second copy; where nothing can be written, the copy is taken into memory.

mod key;
mod lock;
mod state;

use crate::database::Database;
use lock::Visitor;
use state::Opened;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

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
    /// Nothing can be written, and there is nothing to go on from.
    #[error(
        "{} cannot be used ({why}), and there is no second copy beside it from which to go on; see that \
         the disk can be written, or replace it", path.display()
    )]
    Unwritable {
        /// The database.
        path: PathBuf,
        /// Why.
        why: String,
    },
}

/// The state folder, held by this process alone.
pub struct Store {
    folder: PathBuf,
    database: Arc<Database>,
    device_key: [u8; 32],
    lost: Vec<String>,
    unwritable: Option<String>,
    /// Keeps others out while it is open; the kernel lets go of it however the process ends.
    _lock: File,
}

/// What is in the state folder of an agent that does not run.
pub struct Glance {
    database: Arc<Database>,
    told: Option<String>,
    /// Has an agent that starts meanwhile wait.
    _lock: Option<File>,
}

impl Store {
    /// Opens the folder, making what is missing.
    ///
    /// # Errors
    /// [`StoreError`]; a second agent on the same folder is refused.
    pub fn open(folder: &Path) -> Result<Store, StoreError> {
        make(folder)?;
        let lock = lock::lock(folder, Visitor::Stays)?;
        let Opened { database, unwritable } = state::open(folder)?;
        let path = folder.join(key::NAME);
        let (device_key, key_lost) = key::device_key(folder).map_err(failed(&path))?;
        for part in [folder.join("blobs").join("sha256"), folder.join("cache")] {
            match make(&part) {
                Err(_) if unwritable.is_some() => {}
                made => made?,
            }
        }
        let lost = state::lost(&database).map_err(|error| StoreError::Database {
            path: folder.join(state::NAME),
            source: Box::new(error),
        })?;
        let unwritable = unwritable.map(|why| {
            format!(
                "what is in {} cannot be written ({why}): what is committed runs, from the second copy and \
                 in memory, and findings go out; what no sink and no server has when the agent ends is \
                 lost. See that the disk can be written, or replace it, and start the agent again",
                folder.display()
            )
        });
        Ok(Store {
            folder: folder.to_owned(),
            database: Arc::new(database),
            device_key,
            lost: lost.into_iter().chain(key_lost).collect(),
            unwritable,
            _lock: lock,
        })
    }

    /// Looks at the folder of an agent that does not run, and makes and changes nothing there. One that
    /// starts meanwhile waits for him who looks.
    ///
    /// # Errors
    /// [`StoreError`]; while an agent holds the folder, and can be asked there, that.
    pub fn look_into(folder: &Path) -> Result<Glance, StoreError> {
        let lock = match lock::lock(folder, Visitor::Looks) {
            Ok(lock) => Some(lock),
            // There is nothing yet.
            Err(StoreError::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                None
            }
            // An agent that cannot write there cannot be asked there, and has changed nothing.
            Err(StoreError::InUse { .. }) if lock::is_read_only(folder) => None,
            Err(error) => return Err(error),
        };
        let (database, told) = state::look(folder)?;
        Ok(Glance { database: Arc::new(database), told, _lock: lock })
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

    /// The key that authenticates compiled plugins. It never leaves the device.
    pub fn device_key(&self) -> [u8; 32] {
        self.device_key
    }

    /// What the device had written down and has no more, for people; until [`Store::told`] says that
    /// it is known.
    pub fn lost(&self) -> &[String] {
        &self.lost
    }

    /// What was lost is told, and need not be told again after the next start.
    ///
    /// # Errors
    /// The database's.
    pub fn told(&self) -> Result<(), redb::Error> {
        state::told(&self.database)
    }

    /// Why all that is written is kept in memory alone; none where it is on the disk.
    pub fn unwritable(&self) -> Option<&str> {
        self.unwritable.as_deref()
    }
}

impl Glance {
    /// The database, or what would be in it.
    pub fn database(&self) -> Arc<Database> {
        self.database.clone()
    }

    /// What there is to say of the folder, for people.
    pub fn told(&self) -> Option<&str> {
        self.told.as_deref()
    }
}

fn make(folder: &Path) -> Result<(), StoreError> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed(folder))
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
        assert_eq!((lock::holder(&lock), lock::patience(&this)), (this.clone(), lock::PATIENCE));
        let mut gone = std::process::Command::new("true").spawn().unwrap();
        gone.wait().unwrap();
        for holder in [&*gone.id().to_string(), "", "nonsense"] {
            assert_eq!(lock::patience(holder), lock::LET_GO_MAX, "{holder}");
        }
        fs::write(folder.path().join("agent.lock"), gone.id().to_string()).unwrap();
        let looking = Store::look_into(folder.path()).unwrap();
        assert_eq!(lock::holder(&lock), gone.id().to_string(), "who looks is not called an agent");
        let starting = std::thread::spawn({
            let path = folder.path().to_owned();
            move || Store::open(&path).map(drop)
        });
        drop(looking);
        starting.join().unwrap().unwrap();
        assert_eq!(lock::holder(&lock), this);
    }

    /// What is in a folder, by the name of each file.
    fn files(folder: &Path) -> std::collections::BTreeMap<PathBuf, Vec<u8>> {
        let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let files = entries.filter(|path| path.is_file());
        files.map(|path| (path.clone(), fs::read(path).unwrap())).collect()
    }

    #[test]
    fn who_only_looks_makes_nothing_and_leaves_all_as_it_is() {
        const TABLE: redb::TableDefinition<u64, &str> = redb::TableDefinition::new("of a test");
        let folder = tempfile::tempdir().unwrap();
        let (running, stopped) = (folder.path().join("running"), folder.path().join("stopped"));
        let look = |told| {
            let glance = Store::look_into(&stopped).unwrap();
            assert_eq!(glance.told(), told);
            glance.database()
        };
        let never = Some("this agent has never run");
        look(never);
        assert!(!stopped.exists(), "nobody has asked for the folder");
        fs::create_dir(&stopped).unwrap();
        look(never);
        assert_eq!(fs::read_dir(&stopped).unwrap().count(), 0);

        let agent = Store::open(&running).unwrap();
        let transaction = agent.database().begin_write().unwrap();
        transaction.open_table(TABLE).unwrap().insert(1, "kept").unwrap();
        transaction.commit().unwrap();
        // As a power cut leaves it: nobody has closed the database.
        for (path, bytes) in files(&running) {
            fs::write(stopped.join(path.file_name().unwrap()), bytes).unwrap();
        }
        let before = files(&stopped);
        let seen = look(None).begin_read().unwrap().open_table(TABLE).unwrap();
        assert_eq!(redb::ReadableTable::get(&seen, 1).unwrap().unwrap().value(), "kept");
        drop(seen);
        assert_eq!(files(&stopped), before);
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
        let path = folder.path().join("device.key");
        let open = || Store::open(folder.path()).unwrap();
        let key = open().device_key();
        assert_eq!(open().device_key(), key);
        assert_ne!(key, [0; 32]);
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(open().lost(), [""; 0]);
        // One that is no key costs nothing but what was compiled with it, and is told.
        fs::write(&path, b"short").unwrap();
        let store = open();
        assert!(store.lost()[0].contains("device.key has 5 bytes"), "{:?}", store.lost());
        assert_ne!(store.device_key(), key);
        let key = store.device_key();
        drop(store);
        let store = open();
        assert_eq!((store.device_key(), store.lost().len()), (key, 0));
        drop(store);
        // One that is gone is news where something was compiled with it.
        fs::remove_file(&path).unwrap();
        assert_eq!(open().lost(), [""; 0]);
        fs::remove_file(&path).unwrap();
        fs::write(folder.path().join("cache/x.cwasm"), b"code").unwrap();
        assert!(open().lost()[0].contains("device.key is gone"));
    }

    #[test]
    fn who_had_the_folder_before_may_let_go_of_the_database_a_little_later() {
        let folder = tempfile::tempdir().unwrap();
        let before = Store::open(folder.path()).unwrap();
        let database = before.database();
        drop(before);
        let letting_go = std::thread::spawn(move || {
            std::thread::sleep(lock::PATIENCE / 10);
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
}
