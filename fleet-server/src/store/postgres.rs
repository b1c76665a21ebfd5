//! PostgreSQL from version 15 on: a database, or a schema in one, of its own for each fleet.

use crate::config::is_loopback;
use crate::error::Error;
use sea_orm::{ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbErr, Statement};
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPoolOptions, PgSslMode};
use sqlx::{AssertSqlSafe, ConnectOptions, query, query_scalar};
use std::fmt;
use std::io;
use std::time::Duration;

/// How long a connection is waited for.
const CONNECT_PATIENCE: Duration = Duration::from_secs(5);
/// The lock that a server holds for as long as it lives: one for each schema.
const LOCK: &str =
    "SELECT pg_try_advisory_lock(hashtextextended('lineside-server in ' || current_schema(), 0))";
/// Which tables there are, and how many servers have used them, one after the other.
const STATE: &str = "CREATE TABLE IF NOT EXISTS lineside_state (only_row boolean PRIMARY KEY DEFAULT true \
     CHECK (only_row), tables_version bigint NOT NULL DEFAULT 0, servers bigint NOT NULL DEFAULT 0)";
/// A machine that lost its power holds the lock no longer than this: half a minute.
const KEEP_ALIVE: &str = "SELECT set_config('tcp_keepalives_idle', '15', false), \
     set_config('tcp_keepalives_interval', '5', false), set_config('tcp_keepalives_count', '3', false)";
const STATE_ROW: &str = "INSERT INTO lineside_state DEFAULT VALUES ON CONFLICT DO NOTHING";
/// A commit that the disk has not seen yet is none: devices throw away what we tell them is stored.
const DURABLE: &str = "SELECT set_config('synchronous_commit', 'on', false) \
     WHERE current_setting('synchronous_commit') = 'off'";

/// Where a PostgreSQL database is, and who we are there.
#[derive(Clone)]
pub(crate) struct PostgresAt(PgConnectOptions);

impl PostgresAt {
    /// Reads an address such as `postgres://lineside:password@db.plant.example/lineside?sslmode=verify-full`.
    ///
    /// # Errors
    /// What is wrong with it, and the cure. Nothing of it is quoted: a password may stand in it.
    pub fn parse(url: &str) -> Result<PostgresAt, String> {
        if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
            return Err("it does not begin with postgres://".into());
        }
        let options = url.parse::<PgConnectOptions>();
        let options =
            options.map_err(|error| format!("it is no address of PostgreSQL: {error}"))?;
        let is_here = options.get_socket().is_some() || is_loopback(options.get_host());
        let is_vouched_for = matches!(options.get_ssl_mode(), PgSslMode::VerifyFull);
        if !is_here && !is_vouched_for {
            return Err(format!(
                "{} is another machine: add `?sslmode=verify-full`, so that it is spoken to by TLS and \
                 shows who it is (and `&sslrootcert=FILE` where an authority of your own vouches for it)",
                options.get_host()
            ));
        }
        Ok(PostgresAt(options.application_name("lineside-server").disable_statement_logging()))
    }

    /// A pool of at most so many connections, each made when it is needed.
    pub(super) fn connect(&self, connections_max: u32) -> DatabaseConnection {
        let pool = PgPoolOptions::new()
            .max_connections(connections_max)
            .acquire_timeout(CONNECT_PATIENCE)
            .after_connect(|connection, _| {
                Box::pin(async move {
                    query_scalar::<_, String>(DURABLE).fetch_optional(connection).await?;
                    Ok(())
                })
            });
        pool.connect_lazy_with(self.0.clone()).into()
    }
}

impl fmt::Debug for PostgresAt {
    /// Without the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let database = self.0.get_database().unwrap_or(self.0.get_username());
        write!(f, "{database} at {}:{}", self.0.get_host(), self.0.get_port())
    }
}

/// Keeps a database to one server. Two things do: a lock that lives as long as the connection which holds
/// it, so that a second server does not start; and a number that the next server raises, which each writing
/// transaction looks at. Where the network breaks that connection unseen, the number keeps the first from
/// writing beside the second.
pub(super) struct Fence {
    number: i64,
    /// Holds the lock.
    _connection: PgConnection,
}

impl fmt::Debug for Fence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fence").field("number", &self.number).finish_non_exhaustive()
    }
}

impl Fence {
    /// Takes the database for this server.
    ///
    /// # Errors
    /// [`Error::Conflict`] if another server has it; [`Error::Database`].
    pub async fn take(at: &PostgresAt) -> Result<Fence, Error> {
        let failed = |error| Error::Database(DbErr::Conn(sea_orm::RuntimeErr::SqlxError(error)));
        let mut connection = at.0.connect().await.map_err(|error| failed(error.into()))?;
        make_schema(&mut connection).await.map_err(|error| failed(error.into()))?;
        let is_ours = query_scalar::<_, bool>(LOCK).fetch_one(&mut connection).await;
        if !is_ours.map_err(|error| failed(error.into()))? {
            return Err(Error::Conflict(format!(
                "another server uses the database {at:?}: stop it, or give this one another database (or \
                 another schema: `?options=-c%20search_path%3DNAME`)"
            )));
        }
        for statement in [KEEP_ALIVE, STATE, STATE_ROW] {
            let done = query(statement).execute(&mut connection).await;
            done.map_err(|error| failed(error.into()))?;
        }
        let next = "UPDATE lineside_state SET servers = servers + 1 RETURNING servers";
        let number = query_scalar::<_, i64>(next).fetch_one(&mut connection).await;
        Ok(Fence { number: number.map_err(|error| failed(error.into()))?, _connection: connection })
    }

    /// Lets a transaction write if no other server has begun since.
    ///
    /// # Errors
    /// If one has.
    pub async fn pass(&self, on: &DatabaseTransaction) -> Result<(), DbErr> {
        let sql = "SELECT servers FROM lineside_state FOR UPDATE";
        let row = on.query_one_raw(Statement::from_string(on.get_database_backend(), sql)).await?;
        let number = row.map(|row| row.try_get_by_index::<i64>(0)).transpose()?;
        match number {
            Some(number) if number == self.number => Ok(()),
            _ => Err(DbErr::Custom(
                "another server has begun to use this database, and this one writes nothing any more: \
                 stop one of the two"
                    .into(),
            )),
        }
    }
}

/// Makes the schema that the address names (`options=-c search_path=NAME`), if it is missing.
async fn make_schema(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    let missing = "SELECT current_setting('search_path') WHERE current_schema() IS NULL";
    let named: Option<String> = query_scalar(missing).fetch_optional(&mut *connection).await?;
    let is_plain = |name: &str| {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        !name.is_empty() && name.bytes().all(plain)
    };
    if let Some(name) = named.filter(|name| is_plain(name)) {
        let make = AssertSqlSafe(format!("CREATE SCHEMA IF NOT EXISTS \"{name}\""));
        query(make).execute(connection).await?;
    }
    Ok(())
}

/// Version of the tables; 0 for none.
pub(super) async fn version(on: &DatabaseConnection) -> Result<i64, DbErr> {
    let sql = "SELECT tables_version FROM lineside_state";
    let row = on.query_one_raw(Statement::from_string(on.get_database_backend(), sql)).await?;
    Ok(row.map(|row| row.try_get_by_index::<i64>(0)).transpose()?.unwrap_or(0))
}

/// Notes it.
pub(super) async fn write_version(on: &DatabaseTransaction, version: i64) -> Result<(), DbErr> {
    let sql = format!("UPDATE lineside_state SET tables_version = {version}");
    on.execute_unprepared(&sql).await?;
    Ok(())
}

/// What is told of a database that cannot be used.
pub(super) fn not_usable(at: &PostgresAt, error: DbErr) -> Error {
    Error::File {
        doing: format!(
            "use the database {at:?}; look whether PostgreSQL runs there and takes this user, and whether the \
             user may make tables in the first schema of his search_path (NAME in `?options=-c%20search_path%3DNAME`: a-z, 0-9 and '_')"
        ),
        source: io::Error::other(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::chain;
    use crate::store::migrations::TABLES_VERSION;
    use crate::store::{Store, testing};

    #[test]
    fn another_machine_is_spoken_to_by_tls_alone_and_no_password_is_printed() {
        for good in [
            "postgres://lineside:secret@127.0.0.1/lineside",
            "postgresql://lineside@localhost:5433/x",
            "postgres://lineside@[::1]/x",
            "postgres:///x?host=/run/postgresql&user=lineside",
            "postgres://lineside:secret@db.plant.example/lineside?sslmode=verify-full",
        ] {
            let at = PostgresAt::parse(good).unwrap_or_else(|why| panic!("{good}: {why}"));
            assert!(!format!("{at:?}").contains("secret"), "{at:?}");
        }
        for (wrong, words) in [
            ("mysql://a/b", "postgres://"),
            ("postgres://u:secret@db.example/x", "sslmode=verify-full"),
            ("postgres://u:secret@db.example/x?sslmode=require", "sslmode=verify-full"),
            ("postgres://u:secret@127.0.0.1:port/x", "no address"),
            ("postgres://u:secret@127.0.0.1/x?sslmode=perhaps", "no address"),
        ] {
            let why = PostgresAt::parse(wrong).unwrap_err();
            assert!(why.contains(words) && !why.contains("secret"), "{wrong}: {why}");
        }
    }

    /// A folder whose database is in PostgreSQL; none, and said so, where no server is named.
    fn folder() -> Option<tempfile::TempDir> {
        if std::env::var_os("LINESIDE_TEST_POSTGRES").is_none() {
            println!("no PostgreSQL is named: this was not tried");
            return None;
        }
        Some(tempfile::tempdir().unwrap())
    }

    #[tokio::test]
    async fn a_database_has_one_server_also_where_the_first_one_lost_its_lock_unseen() {
        let Some(folder) = folder() else { return };
        let at = testing::postgres(folder.path()).unwrap();
        let first = Store::open_postgres(&at).await.unwrap();
        let said = Store::open_postgres(&at).await.unwrap_err().to_string();
        assert!(said.contains("another server uses the database"), "{said}");
        first.write().await.unwrap().commit().await.unwrap();

        // As when the network between them breaks.
        let held = "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND \
             (classid::bigint << 32) | objid::bigint = \
             hashtextextended('lineside-server in ' || current_schema(), 0)";
        let row = Statement::from_string(first.read().get_database_backend(), held);
        assert!(first.read().query_one_raw(row).await.unwrap().is_some());
        let mut second = Store::open_postgres(&at).await;
        for _ in 0..100 {
            if second.is_ok() {
                break;
            }
            // It takes the server there a moment to see that it is gone.
            tokio::time::sleep(Duration::from_millis(50)).await;
            second = Store::open_postgres(&at).await;
        }
        let second = second.unwrap();
        second.write().await.unwrap().commit().await.unwrap();
        let said = first.write().await.err().unwrap().to_string();
        assert!(said.contains("see the server's log"), "{said}");
        assert!(first.trouble().last.unwrap().contains("another server has begun"));
        assert!(second.trouble().last.is_none());
    }

    #[tokio::test]
    async fn a_lost_connection_is_made_again() {
        let Some(folder) = folder() else { return };
        let store = testing::store(folder.path()).await;
        let ask = async |on: &DatabaseConnection, sql: String| {
            let row = Statement::from_string(on.get_database_backend(), sql);
            on.query_one_raw(row).await.unwrap().unwrap()
        };
        let writer = store.writer.lock().await.clone();
        for (cut, by) in [(&writer, store.read()), (store.read(), &writer)] {
            let pid: i32 =
                ask(cut, "SELECT pg_backend_pid()".into()).await.try_get_by_index(0).unwrap();
            let end = format!("SELECT pg_terminate_backend({pid}, 10000)");
            assert!(ask(by, end).await.try_get_by_index::<bool>(0).unwrap());
            store.write().await.unwrap().commit().await.unwrap();
            assert_eq!(store.version().await.unwrap(), TABLES_VERSION);
        }
    }

    #[tokio::test]
    async fn tables_of_a_later_server_are_left_alone() {
        let Some(folder) = folder() else { return };
        let at = testing::postgres(folder.path()).unwrap();
        let store = Store::open_postgres(&at).await.unwrap();
        let writing = store.write().await.unwrap();
        write_version(&writing.transaction, TABLES_VERSION + 1).await.unwrap();
        writing.commit().await.unwrap();
        store.close().await;
        drop(store);
        let error = Store::open_postgres(&at).await.unwrap_err();
        assert!(matches!(error, Error::Conflict(_)), "{error}");
    }

    #[tokio::test]
    async fn one_that_does_not_answer_is_named_with_what_to_look_for() {
        let at = PostgresAt::parse("postgres://lineside:secret@127.0.0.1:1/lineside").unwrap();
        let error = chain(&Store::open_postgres(&at).await.unwrap_err());
        assert!(
            error.contains("lineside at 127.0.0.1:1") && error.contains("runs there"),
            "{error}"
        );
        assert!(!error.contains("secret"), "{error}");
    }
}
