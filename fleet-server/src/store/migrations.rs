//! From the tables of one version to those of the next. A database in the field has years of a fleet in it:
//! a newer server takes it as it is, step by step, and leaves a copy of it as it was.
//!
//! Who changes a table raises [`TABLES_VERSION`] and adds a step to `steps`.

use crate::error::Error;
use crate::store::Store;
use crate::store::copy::{copy_as_it_is, copy_of};
use crate::store::database::Kind;
use crate::store::steps::step;
use std::path::Path;

/// Version of the tables that this server has.
pub(super) const TABLES_VERSION: i64 = 17;
/// The first version that can be taken over.
const OLDEST: i64 = 6;
/// The first that there was in PostgreSQL.
const OLDEST_IN_POSTGRES: i64 = 14;

impl Store {
    /// Takes the tables to the version of this server: each step all of it or nothing, so that whatever
    /// interrupts it, the next start goes on. A database without tables is left to be filled.
    ///
    /// # Errors
    /// [`Error::Conflict`] if they are of a version that this server cannot take over; [`Error::TooLarge`]
    /// if the disk has no room for a copy; [`Error::File`].
    pub(super) async fn migrate(&self) -> Result<(), Error> {
        let version = self.version().await?;
        if version == 0 || version == TABLES_VERSION {
            return Ok(());
        }
        let had = format!(
            "the database had tables of version {version} and has those of version {TABLES_VERSION} now"
        );
        match &self.kind {
            Kind::Sqlite(path) => {
                check(path, version)?;
                let copy = copy_as_it_is(&*self.writer.lock().await, path, version).await?;
                self.take_steps(version).await?;
                tracing::warn!(
                    "{had}; as it was, it is in {}: remove that when you need no way back",
                    copy.display()
                );
            }
            Kind::Postgres(_) => {
                check_in_postgres(version)?;
                self.take_steps(version).await?;
                tracing::warn!("{had}; the way back is the copy of it that you have made");
            }
        }
        Ok(())
    }

    async fn take_steps(&self, version: i64) -> Result<(), Error> {
        for from in version..TABLES_VERSION {
            self.take_step(from).await?;
        }
        Ok(())
    }

    async fn take_step(&self, from: i64) -> Result<(), Error> {
        let writing = self.write().await?;
        writing.changes_without_entry("the tables of a newer server, with what was in them");
        step(from, &writing.transaction).await?;
        self.write_version(&writing.transaction, from + 1).await?;
        writing.commit().await
    }
}

/// Refuses tables of a version from which no step leads on.
fn check(path: &Path, version: i64) -> Result<(), Error> {
    let shown = path.display();
    if version > TABLES_VERSION {
        return Err(Error::Conflict(format!(
            "{shown} has tables of version {version}, and this server has version {TABLES_VERSION}: a later \
             server has written it, so start that one. To go back to this one, put the copy that the later \
             one has made in its place while no server runs ({}), and lose what has come since",
            copy_of(path, TABLES_VERSION).display()
        )));
    }
    if version < OLDEST {
        return Err(Error::Conflict(format!(
            "{shown} has tables of version {version}, and this server has version {TABLES_VERSION} and takes \
             over those from {OLDEST} on: start a server between the two first, or use another data folder"
        )));
    }
    Ok(())
}

/// The same of a database that we cannot copy.
fn check_in_postgres(version: i64) -> Result<(), Error> {
    if (OLDEST_IN_POSTGRES..=TABLES_VERSION).contains(&version) {
        return Ok(());
    }
    Err(Error::Conflict(format!(
        "the database has tables of version {version}, and this server takes over those from \
         {OLDEST_IN_POSTGRES} to {TABLES_VERSION}: start the server that has written it, or restore a copy"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::copy::{RESERVE_BYTES, check_room, room_for};
    use crate::store::tables::{assignment, device, role_token};
    use sea_orm::{ConnectionTrait, Database, EntityTrait, PaginatorTrait, Statement};
    use std::collections::BTreeSet;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::path::PathBuf;
    use tempfile::TempDir;

    /// A database as a server of version 6 left it, with what `rows` puts into it.
    async fn version_6(rows: &[String]) -> (TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lineside.db");
        let url = format!("sqlite://{}?mode=rwc", path.display());
        let database = Database::connect(url).await.unwrap();
        database.execute_unprepared(include_str!("version_6.sql")).await.unwrap();
        for row in rows {
            database.execute_unprepared(row).await.unwrap();
        }
        database.close().await.unwrap();
        (folder, path)
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn device_row(name: &str) -> String {
        format!(
            "INSERT INTO device VALUES ('{name}', 'hill', '{{}}', 'hash', 1, 2, '0.1', 3, 4, 5, 6, 7, '[]', \
             8, 9, 10, 11, '', 12, NULL)"
        )
    }

    fn assignment_row(device: &str, signed: &str) -> String {
        format!(
            "INSERT INTO assignment VALUES ('{device}', 4, 99, '{{\"a\":\"turbine/1\"}}', '[]', X'{}')",
            hex(signed.as_bytes())
        )
    }

    /// Each table and index with what it is made of, whatever the order of its columns.
    async fn shape(store: &Store) -> BTreeSet<String> {
        let backend = store.read().get_database_backend();
        let ask = async |sql: &str, columns: usize| -> Vec<String> {
            let rows = store.read().query_all_raw(Statement::from_string(backend, sql));
            let text = |row: sea_orm::QueryResult| {
                let cells = (0..columns).map(|at| {
                    let text: Option<String> = row.try_get_by_index(at).unwrap();
                    text.unwrap_or_default()
                });
                cells.collect::<Vec<_>>().join(" ")
            };
            rows.await.unwrap().into_iter().map(text).collect()
        };
        let mut shape = BTreeSet::new();
        let tables = "SELECT name FROM sqlite_schema WHERE type = 'table'";
        for table in ask(tables, 1).await {
            let columns = format!(
                "SELECT name, type, CAST(\"notnull\" AS text), CAST(pk AS text) FROM pragma_table_info('{table}')"
            );
            shape.extend(
                ask(&columns, 4).await.into_iter().map(|column| format!("{table} {column}")),
            );
        }
        shape.extend(ask("SELECT sql FROM sqlite_schema WHERE type = 'index'", 1).await);
        shape
    }

    #[tokio::test]
    async fn a_database_of_version_6_keeps_what_is_in_it_and_becomes_like_one_that_is_made_now() {
        let approved = r#"{"signed":{"targets":{"turbine/1":{"custom":{"approved":["a","b"]}},
            "pump/1":{"custom":{"slots":["c"]}}}}}"#;
        let rows = [
            device_row("line-1"),
            device_row("line-2"),
            assignment_row("line-1", approved),
            assignment_row("line-2", "no JSON"),
        ];
        let (folder, path) = version_6(&rows).await;
        let store = Store::open(&path).await.unwrap();
        let assigned = |device: &'static str| {
            let found = assignment::Entity::find_by_id(device).one(store.read());
            async { found.await.unwrap().unwrap() }
        };
        let one = assigned("line-1").await;
        assert_eq!((one.version, one.expires_unix_ms), (4, 99));
        assert_eq!(
            (one.slots.as_str(), one.approved.as_str()),
            (r#"{"a":"turbine/1"}"#, r#"["a","b"]"#)
        );
        assert_eq!(one.bytes, approved.as_bytes());
        assert_eq!(assigned("line-2").await.approved, "[]");
        let device = device::Entity::find_by_id("line-2").one(store.read()).await.unwrap().unwrap();
        assert_eq!((device.site.as_str(), device.timestamp_version), ("hill", 7));
        assert_eq!(device.report_unix_ms, None);
        assert_eq!(role_token::Entity::find().count(store.read()).await.unwrap(), 0);
        assert_eq!(store.version().await.unwrap(), TABLES_VERSION);

        let new = folder.path().join("new.db");
        let new = Store::open(&new).await.unwrap();
        assert_eq!(shape(&store).await, shape(&new).await);

        // The copy is what it was, and nobody else's to read.
        let copy = folder.path().join("lineside.db.version-6");
        assert_eq!(fs::metadata(&copy).unwrap().permissions().mode() & 0o777, 0o600);
        let copied =
            Database::connect(format!("sqlite://{}?mode=ro", copy.display())).await.unwrap();
        let backend = copied.get_database_backend();
        let count =
            "SELECT (SELECT user_version FROM pragma_user_version), COUNT(*) FROM assignment";
        let row =
            copied.query_one_raw(Statement::from_string(backend, count)).await.unwrap().unwrap();
        let found: (i64, i64) =
            (row.try_get_by_index(0).unwrap(), row.try_get_by_index(1).unwrap());
        assert_eq!(found, (6, 2));
        assert!(!folder.path().join("lineside.db.version-6.part").exists());
        // Once is enough.
        store.close().await;
        fs::remove_file(&copy).unwrap();
        Store::open(&path).await.unwrap();
        assert!(!copy.exists());
    }

    #[tokio::test]
    async fn a_token_of_version_8_is_of_the_keys_that_its_role_has_then() {
        let releases = |version: i64, keys: &str| {
            let signed = format!(
                r#"{{"signed":{{"delegations":{{"roles":[{{"name":"acme","keyids":[{keys}]}}]}}}}}}"#
            );
            format!(
                "INSERT INTO document (kind, version, bytes, accepted_unix_ms) \
                 VALUES ('releases', {version}, X'{}', 1)",
                hex(signed.as_bytes())
            )
        };
        let (_folder, path) =
            version_6(&[releases(9, r#""old""#), releases(10, r#""new","one""#)]).await;
        let store = Store::connected(&path).await.unwrap();
        store.take_step(6).await.unwrap();
        store.take_step(7).await.unwrap();
        for role in ["acme", "gone"] {
            let row = format!("INSERT INTO role_token VALUES ('{role}', 'hash', 1)");
            store.read().execute_unprepared(&row).await.unwrap();
        }
        store.close().await;

        let store = Store::open(&path).await.unwrap();
        let rows = role_token::Entity::find().all(store.read()).await.unwrap();
        let keys: Vec<_> = rows.iter().map(|row| (row.role.as_str(), row.keys.as_str())).collect();
        assert_eq!(keys, [("acme", r#"["new","one"]"#), ("gone", "[]")]);
    }

    #[tokio::test]
    async fn what_was_interrupted_between_two_steps_or_within_one_is_gone_on_with() {
        let signed = r#"{"signed":{"targets":{"turbine/1":{"custom":{"approved":["a"]}}}}}"#;
        let (folder, path) =
            version_6(&[device_row("line-1"), assignment_row("line-1", signed)]).await;
        // Half a copy is left, and half of a step is not.
        fs::write(folder.path().join("lineside.db.version-6.part"), "half").unwrap();
        let store = Store::connected(&path).await.unwrap();
        let writing = store.write().await.unwrap();
        step(6, &writing.transaction).await.unwrap();
        drop(writing);
        assert_eq!(store.version().await.unwrap(), 6);
        // The power goes after the first step.
        store.take_step(6).await.unwrap();
        assert_eq!(store.version().await.unwrap(), 7);
        store.close().await;

        let store = Store::open(&path).await.unwrap();
        assert_eq!(store.version().await.unwrap(), TABLES_VERSION);
        let row =
            assignment::Entity::find_by_id("line-1").one(store.read()).await.unwrap().unwrap();
        assert_eq!(row.approved, r#"["a"]"#);
        assert!(folder.path().join("lineside.db.version-7").exists());
    }

    #[tokio::test]
    async fn where_there_is_no_room_for_a_copy_nothing_is_begun() {
        let (_folder, path) = version_6(&[device_row("line-1")]).await;
        let size = fs::metadata(&path).unwrap().len();
        let needed = 2 * size + RESERVE_BYTES;
        assert!(check_room(&path, 6, needed).is_ok());
        let Err(Error::TooLarge(said)) = check_room(&path, 6, needed - 1) else {
            panic!("it would fill the disk")
        };
        let version = format!("version {TABLES_VERSION}");
        for words in ["tables of version 6", &version, "keep a copy", "make room"] {
            assert!(said.contains(words), "{words}: {said}");
        }
        // What was written last counts as well.
        fs::write(path.with_file_name("lineside.db-wal"), vec![0; 4096]).unwrap();
        assert!(check_room(&path, 6, needed).is_err());
    }

    #[test]
    fn half_a_copy_gives_its_room_to_the_next_one() {
        let folder = tempfile::tempdir().unwrap();
        let copy = folder.path().join("lineside.db.version-6");
        let left = folder.path().join("lineside.db.version-6.part");
        for is_left in [true, false] {
            if is_left {
                fs::write(&left, "half").unwrap();
            }
            // There is room as soon as it is gone.
            let check = || match left.exists() {
                true => Err(Error::TooLarge("no room".into())),
                false => Ok(()),
            };
            assert_eq!(room_for(&copy, check).unwrap(), left);
        }
    }

    #[tokio::test]
    async fn a_step_that_fails_leaves_the_database_as_it_was() {
        let twice = "ALTER TABLE assignment ADD COLUMN approved varchar".to_owned();
        let (folder, path) = version_6(&[device_row("line-1"), twice]).await;
        let error = Store::open(&path).await.unwrap_err();
        assert!(matches!(error, Error::File { .. }), "{error}");
        let store = Store::connected(&path).await.unwrap();
        assert_eq!(store.version().await.unwrap(), 6);
        assert_eq!(device::Entity::find().count(store.read()).await.unwrap(), 1);
        assert!(folder.path().join("lineside.db.version-6").exists());
    }

    #[tokio::test]
    async fn tables_of_a_later_or_a_forgotten_version_are_not_touched_and_people_are_told_what_to_do()
     {
        let (folder, path) = version_6(&["PRAGMA user_version = 5".to_owned()]).await;
        let refused = async || Store::open(&path).await.unwrap_err().to_string();
        let said = refused().await;
        let ours = format!("this server has version {TABLES_VERSION}");
        for words in ["tables of version 5", &ours, "from 6 on"] {
            assert!(said.contains(words), "{words}: {said}");
        }
        let store = Store::connected(&path).await.unwrap();
        let later = TABLES_VERSION + 1;
        let pragma = format!("PRAGMA user_version = {later}");
        store.read().execute_unprepared(&pragma).await.unwrap();
        store.close().await;
        let before = fs::read(&path).unwrap();
        let said = refused().await;
        for words in [
            &format!("tables of version {later}"),
            &ours,
            "a later server",
            &format!("lineside.db.version-{TABLES_VERSION}"),
        ] {
            assert!(said.contains(words), "{words}: {said}");
        }
        assert_eq!(fs::read(&path).unwrap(), before);
        assert_eq!(
            fs::read_dir(folder.path())
                .unwrap()
                .flatten()
                .filter(|entry| { entry.file_name().to_string_lossy().contains("version-") })
                .count(),
            0
        );
    }
}
