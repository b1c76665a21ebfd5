//! `state.redb`: opened, begun, and begun anew where it is damaged.

use super::lock::{LET_GO_MAX, LOOK_EVERY, PATIENCE};
use super::{StoreError, key};
use crate::clock::now_unix_ms;
use crate::database::{self, Database, Kept, Memory, Overlay, SecondCopy, open_on, open_whole};
use crate::failpoint;
use redb::{DatabaseError, ReadableDatabase, StorageError, TableDefinition, TableError};
use ring::rand::{SecureRandom, SystemRandom};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// The file in the state folder.
pub(super) const NAME: &str = "state.redb";
/// How those begin that were damaged and moved aside; the time follows, in seconds since 1970.
const ASIDE: &str = "state.redb.damaged-";
/// How many of those are kept.
const ASIDE_MAX: usize = 2;
/// Numbers that a device may give before its state is lost for the next time.
const SPAN: u64 = 1 << 40;
/// Where numbers begin that follow the clock, because nobody knows those before: above all others.
const BY_CLOCK: u64 = 1 << 52;
/// Numbers that are given in a second, at most.
const A_SECOND: u64 = 1 << 20;
/// What the server has still to hear of a loss; in the database that was begun after it.
const LOST: TableDefinition<(), &str> = TableDefinition::new("lost");

/// Why the file cannot be used.
enum Trouble {
    /// It is damaged, for good.
    Damaged(String),
    /// The disk takes nothing.
    ReadOnly(String),
    /// A person has to look.
    Other(DatabaseError),
}

impl From<DatabaseError> for Trouble {
    fn from(error: DatabaseError) -> Trouble {
        match database::damage(&error) {
            Some(why) => Trouble::Damaged(why),
            None => match error {
                DatabaseError::Storage(StorageError::Io(error)) => match error.kind() {
                    io::ErrorKind::ReadOnlyFilesystem => Trouble::ReadOnly(error.to_string()),
                    io::ErrorKind::PermissionDenied => Trouble::Other(error.into()),
                    // It was tried for a while: sectors that cannot be read do not heal.
                    _ => Trouble::Damaged(format!("it cannot be read: {error}")),
                },
                error => Trouble::Other(error),
            },
        }
    }
}

/// A database, and why it is in memory alone where it is.
pub(super) struct Opened {
    pub(super) database: Database,
    pub(super) unwritable: Option<String>,
}

/// Opens the database of a state folder that this process holds. What is damaged is moved aside, and
/// begun anew from the second copy.
pub(super) fn open(folder: &Path) -> Result<Opened, StoreError> {
    let path = folder.join(NAME);
    let copy = SecondCopy::in_folder(folder);
    let trouble = match length(&path) {
        Ok(Some(1..)) => match patiently(|| open_whole(writable(&path)?)) {
            Ok(database) => return catch_up(folder, database, copy),
            Err(error) => Trouble::from(error),
        },
        Ok(Some(0)) => Trouble::Damaged("it is empty".into()),
        Ok(None) if has_history(folder) => Trouble::Damaged("it is gone".into()),
        Ok(None) => {
            begin(&path, None).map_err(|error| StoreError::Database {
                path: path.clone(),
                source: Box::new(error),
            })?;
            return opened(folder, copy);
        }
        Err(error) => DatabaseError::from(error).into(),
    };
    match trouble {
        Trouble::Other(error) => Err(not_opened(&path, error)),
        Trouble::ReadOnly(why) => in_memory(&path, &copy, why),
        Trouble::Damaged(why) => mend(folder, copy, &why),
    }
}

/// What the database of a state folder says that no agent uses now, and what there is to say of it.
/// Nothing in the folder is changed, and nothing mended: where it is damaged, it is what the second copy
/// says.
pub(super) fn look(folder: &Path) -> Result<(Database, Option<String>), StoreError> {
    let path = folder.join(NAME);
    let trouble = match length(&path) {
        Ok(Some(1..)) => match patiently(|| open_whole(Overlay::over(File::open(&path)?)?)) {
            Ok(database) => {
                // What is in memory does not fail as a disk does.
                let path = path.clone();
                let again = move || open_whole(Overlay::over(File::open(&path)?)?);
                return Ok((Database::of(database, again), None));
            }
            Err(error) => Trouble::from(error),
        },
        Ok(_) if has_history(folder) => Trouble::Damaged("it is empty, or gone".into()),
        Ok(_) => return Ok((in_mind(None)?, Some("this agent has never run".to_owned()))),
        Err(error) => DatabaseError::from(error).into(),
    };
    let kept = || SecondCopy::in_folder(folder).read().unwrap_or_default();
    let told = match trouble {
        Trouble::Other(error) => return Err(not_opened(&path, error)),
        Trouble::ReadOnly(why) => format!("the state folder can only be read ({why})"),
        Trouble::Damaged(why) => format!(
            "{NAME} is damaged ({why}); the agent begins it anew when it starts, from its second copy"
        ),
    };
    Ok((in_mind(kept())?, Some(told)))
}

/// What the server has still to hear of what was lost.
pub(super) fn lost(database: &Database) -> Result<Option<String>, redb::Error> {
    match database.begin_read()?.open_table(LOST) {
        Ok(table) => Ok(redb::ReadableTable::get(&table, ())?.map(|text| text.value().to_owned())),
        Err(TableError::TableDoesNotExist(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// It has been told.
pub(super) fn told(database: &Database) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    transaction.delete_table(LOST)?;
    failpoint::pass("store.told").map_err(redb::Error::Io)?;
    Ok(transaction.commit()?)
}

/// Bytes of a file; none where there is no file.
fn length(path: &Path) -> io::Result<Option<u64>> {
    match fs::metadata(path) {
        Ok(metadata) => Ok(Some(metadata.len())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether this is the folder of a device that has run before.
fn has_history(folder: &Path) -> bool {
    let is_there = |name: &str| folder.join(name).exists();
    let mut blobs = fs::read_dir(folder.join("blobs").join("sha256")).into_iter().flatten();
    SecondCopy::in_folder(folder).is_there() || is_there(key::NAME) || blobs.next().is_some()
}

fn writable(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).open(path)
}

fn reopen(
    path: &Path,
) -> impl Fn() -> Result<redb::Database, DatabaseError> + Send + Sync + 'static {
    let path = path.to_owned();
    move || open_on(writable(&path)?)
}

fn not_opened(path: &Path, error: DatabaseError) -> StoreError {
    StoreError::Database { path: path.to_owned(), source: Box::new(error.into()) }
}

/// Opens a database that whoever had the folder before may not have let go of yet: a thread of
/// `status`, or a child of an agent that was killed just when it started a worker. A disk that gives an
/// error is asked again as well.
fn patiently(
    open: impl Fn() -> Result<redb::Database, DatabaseError>,
) -> Result<redb::Database, DatabaseError> {
    let began = Instant::now();
    loop {
        let error = match open() {
            Ok(database) => return Ok(database),
            Err(error) => error,
        };
        let patience = match &error {
            DatabaseError::DatabaseAlreadyOpen => LET_GO_MAX,
            DatabaseError::Storage(StorageError::Io(io))
                if database::damage(&error).is_none()
                    && !matches!(
                        io.kind(),
                        io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied
                    ) =>
            {
                PATIENCE
            }
            _ => return Err(error),
        };
        if began.elapsed() >= patience {
            return Err(error);
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

/// The database that was just begun or begun anew.
fn opened(folder: &Path, copy: SecondCopy) -> Result<Opened, StoreError> {
    let path = folder.join(NAME);
    let database = patiently(|| open_on(writable(&path)?));
    let database = database.map_err(|error| not_opened(&path, error))?;
    Ok(Opened { database: with_copy(&path, database, copy), unwritable: None })
}

fn with_copy(path: &Path, database: redb::Database, copy: SecondCopy) -> Database {
    let database = Database::of(database, reopen(path)).with_copy(copy);
    if let Err(error) = database.renew_copy() {
        tracing::error!("the second copy of {NAME} cannot be written, so updates wait: {error}");
    }
    database
}

/// Takes a database that is whole. Where it is older than its second copy, the disk has lost what it
/// had said it has, or somebody has put an older one in its place: floors must not fall with it.
fn catch_up(
    folder: &Path,
    database: redb::Database,
    copy: SecondCopy,
) -> Result<Opened, StoreError> {
    let path = folder.join(NAME);
    let failed =
        |error: redb::Error| StoreError::Database { path: path.clone(), source: Box::new(error) };
    let has = || Ok(Kept::of(&database.begin_read()?)?.changes);
    let kept = copy.read().unwrap_or_else(|damaged| {
        tracing::warn!("the second copy of {NAME} is damaged, and written anew: {damaged}");
        None
    });
    if let Some(kept) = kept
        && kept.changes > has().map_err(failed)?
    {
        let text = format!(
            "{NAME} is older than its second copy: the disk has lost what it had taken, or an older one \
             was put in its place. What the slots hold, what was accepted and the floors are taken from \
             the copy; findings and readings that came after it was written may have been numbered twice"
        );
        let restore = || -> Result<(), redb::Error> {
            let transaction = database.begin_write()?;
            kept.restore(&transaction)?;
            transaction.open_table(LOST)?.insert((), text.as_str())?;
            failpoint::pass("store.caught-up").map_err(redb::Error::Io)?;
            Ok(transaction.commit()?)
        };
        if let Err(error) = restore() {
            drop(database);
            return in_memory(
                &path,
                &copy,
                format!("{NAME} is older than its second copy; {error}"),
            );
        }
    }
    Ok(Opened { database: with_copy(&path, database, copy), unwritable: None })
}

/// Begins the database anew, from its second copy. Where that cannot be had, what the slots held and
/// below what they must not go is known to nobody: they are vacant, as those of a device that was just
/// added, and everybody hears of it. To stop instead would only have a person come and do the same.
fn mend(folder: &Path, copy: SecondCopy, why: &str) -> Result<Opened, StoreError> {
    let path = folder.join(NAME);
    let kept = copy.read();
    let aside = match set_aside(folder, &path) {
        Ok(aside) => aside,
        Err(error) => return in_memory(&path, &copy, format!("{NAME}: {why}; {error}")),
    };
    let first = match &kept {
        Ok(Some(kept)) => kept.first.saturating_add(SPAN),
        Ok(None) | Err(_) => by_clock(),
    };
    let aside = aside.map(|aside| {
        format!(" The damaged one is kept as {aside}: remove it when you have looked.")
    });
    let what = match &kept {
        Ok(Some(_)) => {
            "what the slots hold, what was accepted and the floors come from the second copy"
                .to_owned()
        }
        Ok(None) => unknown("there is no second copy"),
        Err(damaged) => unknown(&format!("the second copy is damaged as well ({damaged})")),
    };
    let text = format!(
        "{NAME} was damaged ({why}) and is begun anew: {what}.{} Lost are findings that no sink had \
         taken, telemetry that the server had not, readings that no frame had accounted for, and what the \
         slots had counted; recordings are read from their beginning. Numbers go on from {first}, so \
         that none is given twice",
        aside.unwrap_or_default()
    );
    let kept = kept.unwrap_or_default().unwrap_or_default().numbered_from(first);
    let seed = Seed { kept, text };
    let begun = begin(&path, Some(&seed)).or_else(|_| {
        // The device goes before the evidence.
        remove_aside(folder, 0);
        begin(&path, Some(&seed))
    });
    match begun {
        Ok(()) => opened(folder, copy),
        Err(error) => in_memory(&path, &copy, format!("{NAME}: {why}; {error}")),
    }
}

fn unknown(why: &str) -> String {
    format!(
        "{why}, so nobody knows what the slots held and below which releases they must not go; they are \
         vacant until the server or a file assigns to them, so see that it is what shall run here"
    )
}

/// What a database is begun with.
struct Seed {
    kept: Kept,
    text: String,
}

impl Seed {
    fn put(&self, database: &redb::Database) -> Result<(), redb::Error> {
        let transaction = database.begin_write()?;
        self.kept.restore(&transaction)?;
        transaction.open_table(LOST)?.insert((), self.text.as_str())?;
        failpoint::pass("store.seed").map_err(redb::Error::Io)?;
        Ok(transaction.commit()?)
    }
}

/// Makes the database, and gives it its name once it is on the medium with all that is to be in it: one
/// that a power cut has left half made could never be opened.
fn begin(path: &Path, seed: Option<&Seed>) -> Result<(), redb::Error> {
    let part = path.with_extension("redb.part");
    // What is left of an earlier attempt; there mostly is nothing.
    let _ = fs::remove_file(&part);
    let database = redb::Builder::new().create(&part)?;
    if let Some(seed) = seed {
        seed.put(&database)?;
    }
    drop(database);
    let name = || {
        failpoint::pass("store.database")?;
        File::open(&part)?.sync_all()?;
        fs::rename(&part, path)?;
        File::open(path.parent().unwrap_or(Path::new("/")))?.sync_all()
    };
    name().map_err(redb::Error::Io)
}

/// Gives a damaged database another name; gives that, where there is something to be kept.
fn set_aside(folder: &Path, path: &Path) -> io::Result<Option<String>> {
    match length(path) {
        Ok(None) => return Ok(None),
        Ok(Some(0)) => {
            failpoint::pass("store.empty")?;
            fs::remove_file(path)?;
            return Ok(None);
        }
        // Also what says nothing of itself can have another name.
        Ok(Some(_)) | Err(_) => {}
    }
    remove_aside(folder, ASIDE_MAX - 1);
    let name = format!("{ASIDE}{}", now_unix_ms() / 1000);
    failpoint::pass("store.aside")?;
    fs::rename(path, folder.join(&name))?;
    Ok(Some(name))
}

/// Keeps the newest `count` of the damaged ones.
fn remove_aside(folder: &Path, count: usize) {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let is_one = |path: &PathBuf| {
        path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(ASIDE))
    };
    let mut all: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(is_one).collect();
    all.sort();
    for old in all.iter().rev().skip(count) {
        // One that stays is removed the next time.
        let _ = fs::remove_file(old);
    }
}

/// A number above all that were given so far, as far as the clock and luck can tell: a device that has
/// no clock starts at the same time each time.
fn by_clock() -> u64 {
    let mut bytes = [0; 2];
    // Without randomness the clock alone has to do.
    let _ = SystemRandom::new().fill(&mut bytes);
    let seconds = u64::try_from(now_unix_ms() / 1000).unwrap_or(0);
    let seconds = seconds.saturating_add(u64::from(u16::from_le_bytes(bytes)));
    BY_CLOCK.saturating_add(seconds.saturating_mul(A_SECOND))
}

/// Goes on in memory with what the second copy has: what is committed runs.
fn in_memory(path: &Path, copy: &SecondCopy, why: String) -> Result<Opened, StoreError> {
    let Ok(Some(kept)) = copy.read() else {
        return Err(StoreError::Unwritable { path: path.to_owned(), why });
    };
    let kept = kept.numbered_from(by_clock());
    Ok(Opened { database: in_mind(Some(kept))?, unwritable: Some(why) })
}

fn in_mind(kept: Option<Kept>) -> Result<Database, StoreError> {
    let memory = Memory::default();
    let open = || -> Result<Database, redb::Error> {
        let database = memory.open()?;
        if let Some(kept) = &kept {
            let transaction = database.begin_write()?;
            kept.restore(&transaction)?;
            transaction.commit()?;
        }
        let memory = memory.clone();
        Ok(Database::of(database, move || memory.open()))
    };
    open().map_err(|error| StoreError::Database {
        path: "a database in memory".into(),
        source: Box::new(error),
    })
}
