//! From the tables of one version to those of the next. A database in the field has years of a fleet in it:
//! a newer server takes it as it is, step by step, and leaves a copy of it as it was.
//!
//! Who changes a table raises [`TABLES_VERSION`] and adds a step, in words of SQL and not by way of
//! `tables`, which goes on changing while a step stays as it is for ever.

use crate::error::Error;
use crate::store::Store;
use crate::store::folder::{closed_file, free_bytes};
use lineside_wire::name::SlotName;
use sea_orm::{ConnectionTrait, DatabaseTransaction, Statement};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

/// Version of the tables that this server has.
pub(super) const TABLES_VERSION: i64 = 14;
/// The first version that can be taken over.
const OLDEST: i64 = 6;
/// Bytes of the disk that are left besides what the copy and the steps need.
const RESERVE_BYTES: u64 = 64 << 20;

/// Makes of the tables of version `from` those of the next.
async fn step(from: i64, on: &DatabaseTransaction) -> Result<(), Error> {
    match from {
        6 => approvals_beside_assignments(on).await,
        7 => tokens_of_roles(on).await,
        8 => keys_of_tokens(on).await,
        9 => alerts(on).await,
        10 => deliveries_of_alerts(on).await,
        11 => proposals(on).await,
        12 => monitors(on).await,
        13 => quality_of_answers(on).await,
        other => unreachable!("no database of version {other} is begun with"),
    }
}

impl Store {
    /// Takes the tables to the version of this server: each step all of it or nothing, so that whatever
    /// interrupts it, the next start goes on. A database without tables is left to be filled.
    ///
    /// # Errors
    /// [`Error::Conflict`] if they are of a version that this server cannot take over; [`Error::TooLarge`]
    /// if the disk has no room for a copy; [`Error::File`].
    pub(super) async fn migrate(&self) -> Result<(), Error> {
        let version = self.query_pragma("user_version").await?;
        if version == 0 || version == TABLES_VERSION {
            return Ok(());
        }
        check(&self.path, version)?;
        let copy = self.copy_as_it_is(version).await?;
        for from in version..TABLES_VERSION {
            self.take_step(from).await?;
        }
        tracing::warn!(
            "the database had tables of version {version} and has those of version {TABLES_VERSION} now; \
             as it was, it is in {}: remove that when you need no way back",
            copy.display()
        );
        Ok(())
    }

    async fn take_step(&self, from: i64) -> Result<(), Error> {
        let writing = self.write().await?;
        step(from, &writing.transaction).await?;
        let version = format!("PRAGMA user_version = {}", from + 1);
        writing.transaction.execute_unprepared(&version).await?;
        writing.commit().await
    }

    /// Copies the database beside itself, whole and on disk, before anything in it is changed.
    async fn copy_as_it_is(&self, version: i64) -> Result<PathBuf, Error> {
        let copy = copy_of(&self.path, version);
        let part = room_for(&copy, || check_room(&self.path, version, free_bytes(&self.path)?))?;
        let doing = || format!("copy the database to {}", copy.display());
        let failed = |error: io::Error| Error::file(doing())(error);
        // SQLite fills a file that is there if it is empty: one that nobody else may read.
        closed_file(&part).map_err(failed)?;
        let name = part.to_str().ok_or_else(|| failed(io::Error::other("its name is no text")))?;
        let writer = self.writer.lock().await;
        let backend = writer.get_database_backend();
        let vacuum = Statement::from_sql_and_values(backend, "VACUUM INTO ?", [name.into()]);
        writer.execute_raw(vacuum).await?;
        let finish = || {
            File::open(&part)?.sync_all()?;
            fs::rename(&part, &copy)?;
            File::open(copy.parent().unwrap_or(Path::new(".")))?.sync_all()
        };
        finish().map_err(failed)?;
        Ok(copy)
    }
}

fn copy_of(path: &Path, version: i64) -> PathBuf {
    path.with_added_extension(format!("version-{version}"))
}

/// Where a copy is written until it is whole, once `check` has found room for it. What an interrupted one has
/// left there goes first: it would take the room that is looked for.
fn room_for(copy: &Path, check: impl FnOnce() -> Result<(), Error>) -> Result<PathBuf, Error> {
    let part = copy.with_added_extension("part");
    match fs::remove_file(&part) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Error::file(format!("remove {}", part.display()))(error))
        }
        _ => check().map(|()| part),
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

/// Refuses to begin where the disk, of which so much is `free`, has no room for a copy, and as much again for
/// what is written.
fn check_room(path: &Path, version: i64, free: u64) -> Result<(), Error> {
    let size = |path: &Path| fs::metadata(path).map_or(0, |metadata| metadata.len());
    // What was written last may be there still, and not in the file.
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    let bytes = size(path) + size(Path::new(&log));
    let needed = bytes.saturating_mul(2).saturating_add(RESERVE_BYTES);
    if needed <= free {
        return Ok(());
    }
    Err(Error::TooLarge(format!(
        "{} has tables of version {version}; to take them to version {TABLES_VERSION}, and keep a copy, \
         needs {} MiB, and its disk has {} MiB left: make room",
        path.display(),
        needed.div_ceil(1 << 20),
        free >> 20
    )))
}

/// 6 to 7: approvals lie beside the assignment and not only in it, where what waits for a vendor's list is
/// not named.
async fn approvals_beside_assignments(on: &DatabaseTransaction) -> Result<(), Error> {
    /// An assignment as it was signed, as far as it says who has approved what.
    #[derive(Deserialize)]
    struct Envelope {
        signed: Signed,
    }
    #[derive(Deserialize)]
    struct Signed {
        targets: BTreeMap<String, Target>,
    }
    #[derive(Deserialize)]
    struct Target {
        #[serde(default)]
        custom: Custom,
    }
    #[derive(Default, Deserialize)]
    struct Custom {
        #[serde(default)]
        approved: BTreeSet<SlotName>,
    }

    let column = "ALTER TABLE assignment ADD COLUMN approved varchar NOT NULL DEFAULT '[]'";
    on.execute_unprepared(column).await?;
    let backend = on.get_database_backend();
    let every = Statement::from_string(backend, "SELECT device, bytes FROM assignment");
    for row in on.query_all_raw(every).await? {
        let (device, bytes): (String, Vec<u8>) =
            (row.try_get_by_index(0)?, row.try_get_by_index(1)?);
        // Signed by the server itself, so it is of this form; anything else approves nothing.
        let Ok(envelope) = serde_json::from_slice::<Envelope>(&bytes) else { continue };
        let targets = envelope.signed.targets.into_values();
        let approved: BTreeSet<SlotName> =
            targets.flat_map(|target| target.custom.approved).collect();
        let approved = serde_json::to_string(&approved).expect("names have a JSON form");
        let update = "UPDATE assignment SET approved = ? WHERE device = ?";
        let values = [approved.into(), device.into()];
        on.execute_raw(Statement::from_sql_and_values(backend, update, values)).await?;
    }
    Ok(())
}

/// 7 to 8: tokens of those to whom the release keys have delegated.
async fn tokens_of_roles(on: &DatabaseTransaction) -> Result<(), Error> {
    on.execute_unprepared(
        "CREATE TABLE IF NOT EXISTS role_token (role varchar NOT NULL PRIMARY KEY, token_hash varchar NOT NULL, \
         made_unix_ms integer NOT NULL)",
    )
    .await?;
    Ok(())
}

/// 8 to 9: a token is of the keys that its role had when it was made. Of those that are there already, these
/// are the ones of the newest list; where none can be read, it ends with the next.
async fn keys_of_tokens(on: &DatabaseTransaction) -> Result<(), Error> {
    /// A list of releases as it was signed, as far as it says which keys sign for whom.
    #[derive(Deserialize)]
    struct Envelope {
        signed: Signed,
    }
    #[derive(Deserialize)]
    struct Signed {
        delegations: Delegations,
    }
    #[derive(Deserialize)]
    struct Delegations {
        roles: Vec<Role>,
    }
    #[derive(Deserialize)]
    struct Role {
        name: String,
        keyids: BTreeSet<String>,
    }

    let column = "ALTER TABLE role_token ADD COLUMN keys varchar NOT NULL DEFAULT '[]'";
    on.execute_unprepared(column).await?;
    let backend = on.get_database_backend();
    let newest = "SELECT bytes FROM document WHERE kind = 'releases' ORDER BY version DESC LIMIT 1";
    let Some(row) = on.query_one_raw(Statement::from_string(backend, newest)).await? else {
        return Ok(());
    };
    let bytes: Vec<u8> = row.try_get_by_index(0)?;
    let Ok(envelope) = serde_json::from_slice::<Envelope>(&bytes) else { return Ok(()) };
    for Role { name, keyids } in envelope.signed.delegations.roles {
        let keys = serde_json::to_string(&keyids).expect("texts have a JSON form");
        let update = "UPDATE role_token SET keys = ? WHERE role = ?";
        let values = [keys.into(), name.into()];
        on.execute_raw(Statement::from_sql_and_values(backend, update, values)).await?;
    }
    Ok(())
}

/// 9 to 10: alerts.
async fn alerts(on: &DatabaseTransaction) -> Result<(), Error> {
    on.execute_unprepared(
        "CREATE TABLE IF NOT EXISTS alert (id integer NOT NULL PRIMARY KEY AUTOINCREMENT, scope varchar NOT NULL, \
         place varchar NOT NULL, slot varchar NOT NULL, rule varchar NOT NULL, bundle varchar NOT NULL, \
         version varchar NOT NULL, digest varchar NOT NULL, fired_unix_ms integer, over_unix_ms integer, start_unix_ms integer NOT NULL, \
         end_unix_ms integer NOT NULL, signal varchar NOT NULL, seen varchar NOT NULL, low double, high double, \
         explained varchar NOT NULL, text varchar NOT NULL, done varchar NOT NULL, evidence varbinary_blob, acknowledged_by varchar, acknowledged_unix_ms integer)",
    )
    .await?;
    Ok(())
}

/// 10 to 11: what channels are told of alerts.
async fn deliveries_of_alerts(on: &DatabaseTransaction) -> Result<(), Error> {
    on.execute_unprepared(
        "CREATE TABLE IF NOT EXISTS delivery (id varchar NOT NULL PRIMARY KEY, alert integer NOT NULL, \
         channel varchar NOT NULL, what varchar NOT NULL, body varchar, made_unix_ms integer NOT NULL, \
         next_unix_ms integer NOT NULL, attempts integer NOT NULL, delivered_unix_ms integer, \
         ended boolean NOT NULL, said varchar NOT NULL)",
    )
    .await?;
    Ok(())
}

/// 11 to 12: what rules want to be assigned.
async fn proposals(on: &DatabaseTransaction) -> Result<(), Error> {
    on.execute_unprepared(
        "CREATE TABLE IF NOT EXISTS proposal (alert integer NOT NULL PRIMARY KEY, target varchar NOT NULL, \
         policy varchar NOT NULL, state varchar NOT NULL, decided_by varchar, decided_unix_ms integer, \
         said varchar NOT NULL)",
    )
    .await?;
    Ok(())
}

/// 12 to 13: how far rules of sites and of the fleet are.
async fn monitors(on: &DatabaseTransaction) -> Result<(), Error> {
    on.execute_unprepared(
        "CREATE TABLE IF NOT EXISTS monitor (scope varchar NOT NULL, place varchar NOT NULL, slot varchar NOT NULL, \
         digest varchar NOT NULL, state varbinary_blob NOT NULL, heard_unix_ms integer NOT NULL, \
         CONSTRAINT \"pk-monitor\" PRIMARY KEY (scope, place, slot, digest))",
    )
    .await?;
    Ok(())
}

/// 13 to 14: how good answers were.
async fn quality_of_answers(on: &DatabaseTransaction) -> Result<(), Error> {
    on.execute_unprepared(
        "CREATE TABLE IF NOT EXISTS quality (id integer NOT NULL PRIMARY KEY AUTOINCREMENT, \
         device varchar NOT NULL, boot integer NOT NULL, sequence integer NOT NULL, slot varchar NOT NULL, \
         start_unix_ms integer NOT NULL, body varbinary_blob NOT NULL)",
    )
    .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tables::{assignment, device, role_token};
    use sea_orm::{Database, EntityTrait, PaginatorTrait};
    use std::os::unix::fs::PermissionsExt;
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
        assert_eq!(store.query_pragma("user_version").await.unwrap(), TABLES_VERSION);

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
        assert_eq!(store.query_pragma("user_version").await.unwrap(), 6);
        // The power goes after the first step.
        store.take_step(6).await.unwrap();
        assert_eq!(store.query_pragma("user_version").await.unwrap(), 7);
        store.close().await;

        let store = Store::open(&path).await.unwrap();
        assert_eq!(store.query_pragma("user_version").await.unwrap(), TABLES_VERSION);
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
        assert_eq!(store.query_pragma("user_version").await.unwrap(), 6);
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
