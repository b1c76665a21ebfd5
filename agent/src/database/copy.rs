//! A second copy of the little that a device must not forget: what its slots hold, what it has
//! accepted, what people hold back.
//!
//! `state.redb` has everything, also what is written with each reading, and a medium that wears out
//! damages what is written most. So what changes rarely is written a second time, into two small files
//! of which each is whole or as it was before: after the database, and before anything rests on the
//! change. Where the database cannot be read any more, a new one is begun from them.

use super::Database;
use crate::failpoint;
use crate::lock::lock;
use crate::update::disk::{Disk, RealDisk};
use lineside_bundle::Digest;
use redb::{ReadTransaction, ReadableTable, TableDefinition, TableError, WriteTransaction};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

/// The tables that are copied whole; each has texts as keys and bytes as values.
const TABLES: [&str; 2] = ["journal", "holds"];
/// The files.
const FILES: [&str; 2] = ["state.copy.1", "state.copy.2"];
/// How a file begins; the digest of the rest follows, and a line's end.
const BEGINNING: &str = "lineside second copy 1 ";
/// Largest file that is read: a journal is far smaller.
const BYTES_MAX: u64 = 64 << 20;
/// Numbers that belong to the copies, by their names below.
const NUMBERS: TableDefinition<&str, u64> = TableDefinition::new("copied");
const CHANGES: &str = "changes";
const FIRST: &str = "first";

type Copied = TableDefinition<'static, &'static str, &'static [u8]>;

/// What is in a copy.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// Changes before it. Of two copies the one with more is the newer.
    pub changes: u64,
    /// Where findings, readings and the like begin to be numbered.
    pub first: u64,
    tables: BTreeMap<String, BTreeMap<String, Vec<u8>>>,
}

impl Kept {
    /// What `database` has to be copied.
    ///
    /// # Errors
    /// The database's.
    pub fn of(database: &ReadTransaction) -> Result<Kept, redb::Error> {
        let mut tables = BTreeMap::new();
        for name in TABLES {
            let table = match database.open_table(Copied::new(name)) {
                Ok(table) => table,
                Err(TableError::TableDoesNotExist(_)) => continue,
                Err(error) => return Err(error.into()),
            };
            let mut entries = BTreeMap::new();
            for entry in table.iter()? {
                let (key, value) = entry?;
                entries.insert(key.value().to_owned(), value.value().to_vec());
            }
            tables.insert(name.to_owned(), entries);
        }
        let (changes, first) = (number(database, CHANGES)?, number(database, FIRST)?);
        Ok(Kept { changes, first, tables })
    }

    /// The same for a database in which numbers begin after `first`.
    pub fn numbered_from(self, first: u64) -> Kept {
        Kept { first, ..self }
    }

    /// Writes it into a database, in the place of what that has of it. That is a change as well.
    ///
    /// # Errors
    /// The database's.
    pub fn restore(&self, database: &WriteTransaction) -> Result<(), redb::Error> {
        for (name, entries) in &self.tables {
            // What a newer agent copies besides is not for this one.
            let Some(name) = TABLES.into_iter().find(|known| known == name) else { continue };
            database.delete_table(Copied::new(name))?;
            let mut table = database.open_table(Copied::new(name))?;
            for (key, value) in entries {
                table.insert(key.as_str(), value.as_slice())?;
            }
        }
        let mut numbers = database.open_table(NUMBERS)?;
        numbers.insert(CHANGES, self.changes + 1)?;
        numbers.insert(FIRST, self.first)?;
        Ok(())
    }

    fn to_bytes(&self) -> Vec<u8> {
        let body = postcard::to_stdvec(self)
            .expect("a copy has numbers, texts and bytes, which postcard can write");
        let digest = Digest::of(&body);
        [format!("{BEGINNING}{digest}\n").into_bytes(), body].concat()
    }

    fn from_bytes(bytes: &[u8]) -> Option<Kept> {
        let end = bytes.iter().position(|byte| *byte == b'\n')?;
        let (line, body) = (std::str::from_utf8(&bytes[..end]).ok()?, &bytes[end + 1..]);
        let digest: Digest = line.strip_prefix(BEGINNING)?.parse().ok()?;
        (Digest::of(body) == digest).then(|| postcard::from_bytes(body).ok())?
    }
}

/// Counts a change of what is copied, in the transaction that makes it.
///
/// # Errors
/// The database's.
pub fn count(transaction: &WriteTransaction) -> Result<(), redb::Error> {
    let mut numbers = transaction.open_table(NUMBERS)?;
    let changes = numbers.get(CHANGES)?.map_or(0, |number| number.value());
    numbers.insert(CHANGES, changes + 1)?;
    Ok(())
}

/// Where findings, readings and the like begin to be numbered in a database.
///
/// # Errors
/// The database's.
pub fn first_number(database: &ReadTransaction) -> Result<u64, redb::Error> {
    number(database, FIRST)
}

fn number(database: &ReadTransaction, name: &str) -> Result<u64, redb::Error> {
    match database.open_table(NUMBERS) {
        Ok(numbers) => Ok(numbers.get(name)?.map_or(0, |number| number.value())),
        Err(TableError::TableDoesNotExist(_)) => Ok(0),
        Err(error) => Err(error.into()),
    }
}

/// The two files.
pub struct SecondCopy {
    folder: PathBuf,
    disk: Arc<dyn Disk>,
    /// The changes that both files have; none where that is not known.
    written: Mutex<Option<u64>>,
}

impl SecondCopy {
    /// The files in `folder`.
    pub fn in_folder(folder: &Path) -> SecondCopy {
        SecondCopy::on(folder, Arc::new(RealDisk))
    }

    /// As [`SecondCopy::in_folder`], on a disk of one's own.
    pub fn on(folder: &Path, disk: Arc<dyn Disk>) -> SecondCopy {
        SecondCopy { folder: folder.to_owned(), disk, written: Mutex::default() }
    }

    /// The newer of the files that are whole; none where there is no file.
    ///
    /// # Errors
    /// There are files, and none of them is whole: a sentence for people.
    pub fn read(&self) -> Result<Option<Kept>, String> {
        let (mut newest, mut damaged): (Option<Kept>, Option<String>) = (None, None);
        for name in FILES {
            match self.read_file(name) {
                Ok(Some(kept)) if newest.as_ref().is_some_and(|it| it.changes >= kept.changes) => {}
                Ok(Some(kept)) => newest = Some(kept),
                Ok(None) => {}
                Err(error) => damaged = Some(format!("{name}: {error}")),
            }
        }
        match (newest, damaged) {
            (None, Some(damaged)) => Err(damaged),
            (newest, None) => Ok(newest),
            (newest, Some(damaged)) => {
                tracing::warn!("one of the two second copies cannot be used: {damaged}");
                Ok(newest)
            }
        }
    }

    /// Whether there is one of the files, be it whole or not.
    pub fn is_there(&self) -> bool {
        let is_there = |name: &&str| self.disk.length(&self.folder.join(name)).is_ok();
        FILES.iter().any(is_there)
    }

    fn read_file(&self, name: &str) -> io::Result<Option<Kept>> {
        let file = match self.disk.read(&self.folder.join(name)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut bytes = Vec::new();
        file.take(BYTES_MAX).read_to_end(&mut bytes)?;
        let kept = Kept::from_bytes(&bytes);
        kept.map(Some).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "it is damaged"))
    }

    /// Brings both files to what `database` has, where they have something else.
    pub(super) fn renew(&self, database: &Database) -> Result<(), redb::Error> {
        let mut written = lock(&self.written);
        let transaction = database.begin_read()?;
        let changes = number(&transaction, CHANGES)?;
        if *written == Some(changes) {
            return Ok(());
        }
        let kept = Kept::of(&transaction)?;
        drop(transaction);
        *written = None;
        let bytes = kept.to_bytes();
        for name in FILES {
            self.write(name, &bytes).map_err(redb::Error::Io)?;
        }
        *written = Some(changes);
        Ok(())
    }

    /// Puts `bytes` in the place of a file, whole, and has that on the medium.
    fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let (path, part) = (self.folder.join(name), self.folder.join(format!("{name}.part")));
        // What is left of an earlier attempt; there mostly is nothing.
        let _ = self.disk.remove(&part);
        failpoint::pass("copy.write")?;
        let mut file = self.disk.append(&part)?;
        file.write_all(bytes)?;
        file.sync()?;
        drop(file);
        failpoint::pass("copy.rename")?;
        self.disk.rename(&part, &path)?;
        self.disk.sync_folder(&self.folder)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::database::tests::in_memory_with;
    use std::fs;

    fn change(database: &Database, key: &str, value: &[u8]) {
        let transaction = database.begin_write().unwrap();
        transaction.open_table(Copied::new("journal")).unwrap().insert(key, value).unwrap();
        count(&transaction).unwrap();
        transaction.commit().unwrap();
    }

    #[test]
    fn both_files_have_every_change_and_one_of_them_is_enough() {
        let folder = tempfile::tempdir().unwrap();
        let database = in_memory_with(SecondCopy::in_folder(folder.path()));
        let copy = SecondCopy::in_folder(folder.path());
        assert_eq!(copy.read(), Ok(None));
        database.renew_copy().unwrap();
        assert_eq!(copy.read(), Ok(Some(Kept::default())));
        for number in 0..3_u8 {
            change(&database, "slot/a", &[number]);
            database.renew_copy().unwrap();
            let [one, two] = FILES.map(|name| fs::read(folder.path().join(name)).unwrap());
            assert_eq!(one, two);
            let kept = copy.read().unwrap().unwrap();
            assert_eq!(kept.changes, u64::from(number) + 1);
            assert_eq!(kept.tables["journal"]["slot/a"], [number]);
        }
        for name in FILES {
            let whole = fs::read(folder.path().join(name)).unwrap();
            for harm in 0..whole.len() {
                let mut harmed = whole.clone();
                harmed[harm] ^= 1;
                fs::write(folder.path().join(name), harmed).unwrap();
                assert_eq!(copy.read().unwrap().unwrap().changes, 3, "byte {harm}");
            }
            fs::write(folder.path().join(name), whole).unwrap();
        }
    }

    #[test]
    fn copies_of_which_none_is_whole_are_not_taken_for_none() {
        let folder = tempfile::tempdir().unwrap();
        let copy = SecondCopy::in_folder(folder.path());
        fs::write(folder.path().join(FILES[0]), b"").unwrap();
        assert!(copy.read().unwrap_err().contains("state.copy.1"));
        fs::write(folder.path().join(FILES[1]), b"lineside second copy 2 \n").unwrap();
        assert!(copy.read().unwrap_err().contains("state.copy.2"));
    }

    #[test]
    fn of_two_copies_the_newer_one_counts_whichever_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let copy = SecondCopy::in_folder(folder.path());
        for (newer, older) in [(0, 1), (1, 0)] {
            let kept = |changes| Kept { changes, ..Kept::default() }.to_bytes();
            fs::write(folder.path().join(FILES[newer]), kept(8)).unwrap();
            fs::write(folder.path().join(FILES[older]), kept(7)).unwrap();
            assert_eq!(copy.read().unwrap().unwrap().changes, 8);
        }
    }

    #[test]
    fn what_is_restored_is_what_was_copied_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let database = in_memory_with(SecondCopy::in_folder(folder.path()));
        change(&database, "slot/a", b"1");
        database.renew_copy().unwrap();
        let kept = SecondCopy::in_folder(folder.path()).read().unwrap().unwrap();
        let other = crate::database::tests::in_memory();
        change(&other, "slot/b", b"2");
        let transaction = other.begin_write().unwrap();
        let restored = Kept { first: 9, ..kept };
        restored.restore(&transaction).unwrap();
        transaction.commit().unwrap();
        let changed = Kept { changes: restored.changes + 1, ..restored };
        assert_eq!(Kept::of(&other.begin_read().unwrap()).unwrap(), changed);
        assert_eq!(first_number(&other.begin_read().unwrap()).unwrap(), 9);
    }
}
