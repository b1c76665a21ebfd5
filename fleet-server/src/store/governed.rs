//! What is not to change without an entry in the audit log, and whether a transaction has changed it.
//!
//! The statements are looked at that go to the database, and not the code which makes them: whoever writes a
//! new change and forgets its entry finds out with the first commit.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

/// Tables that people and devices change. Of those with names of columns, the change of these and rows that
/// come or go count, as far as `Rows` says; the rest is what devices report.
const GOVERNED: &[(&str, Rows, &[&str])] = &[
    ("device", Rows::Counted, &["site", "labels", "password_hash", "report_key"]),
    ("document", Rows::Counted, &[]),
    ("assignment", Rows::Counted, &[]),
    ("manifest", Rows::Counted, &[]),
    ("role_token", Rows::Counted, &[]),
    ("identity", Rows::Counted, &["identity"]),
    ("join_token", Rows::Counted, &[]),
    ("preauthorised", Rows::Counted, &[]),
    ("person", Rows::Counted, &["password_hash", "totp", "grants"]),
    ("service_token", Rows::Counted, &[]),
    ("site", Rows::Counted, &[]),
    ("alert", Rows::Free, &["acknowledged_by"]),
    ("proposal", Rows::Free, &["decided_by"]),
    // The log itself: only its own door adds to it, and nothing takes from it.
    ("audit_entry", Rows::Counted, &[]),
    ("audit_hash", Rows::Counted, &[]),
];

/// Whether rows that are added and removed are changes of somebody's.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rows {
    Counted,
    /// They come with telemetry, and go with their bounds.
    Free,
}

/// What the transaction under way has changed.
#[derive(Debug, Default)]
pub(super) struct Watch {
    changed: Mutex<BTreeSet<&'static str>>,
}

impl Watch {
    /// Another transaction begins.
    pub fn begin(&self) {
        self.changed.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Takes notice of a statement.
    pub fn see(&self, sql: &str) {
        if let Some(table) = changed_by(sql) {
            self.changed.lock().unwrap_or_else(PoisonError::into_inner).insert(table);
        }
    }

    /// The tables that were changed.
    pub fn changed(&self) -> BTreeSet<&'static str> {
        self.changed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The governed table that a statement changes.
fn changed_by(sql: &str) -> Option<&'static str> {
    let (verb, rest) = ["INSERT INTO ", "DELETE FROM ", "UPDATE "]
        .iter()
        .find_map(|verb| Some((*verb, sql.strip_prefix(verb)?)))?;
    let rest = rest.trim_start_matches('"');
    let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
    let (name, rest) = rest.split_at(end);
    let (table, rows, columns) = GOVERNED.iter().find(|(table, ..)| *table == name)?;
    let counts = match verb {
        "UPDATE " if !columns.is_empty() => {
            // Up to the condition, which may look at any column.
            let set = rest.split(" WHERE ").next().unwrap_or(rest);
            columns.iter().any(|column| set.contains(&format!("\"{column}\" =")))
        }
        _ => *rows == Rows::Counted || columns.is_empty(),
    };
    counts.then_some(*table)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_change_is_told_from_what_devices_report() {
        for (sql, changed) in [
            (r#"INSERT INTO "device" ("name") VALUES (?)"#, Some("device")),
            (r#"DELETE FROM "device" WHERE "device"."name" = ?"#, Some("device")),
            (r#"UPDATE "device" SET "boot" = ? WHERE "password_hash" = ?"#, None),
            (
                r#"UPDATE "device" SET "boot" = ?, "password_hash" = ? WHERE "x" = ?"#,
                Some("device"),
            ),
            (r#"UPDATE "device" SET "boot" = ? WHERE "name" = ? RETURNING "site", "labels""#, None),
            (r#"UPDATE "assignment" SET "bytes" = ?"#, Some("assignment")),
            (r#"INSERT INTO "assignment" ("device") VALUES ($1) ON CONFLICT"#, Some("assignment")),
            (r#"INSERT INTO "alert" ("acknowledged_by") VALUES (?)"#, None),
            (r#"UPDATE "alert" SET "acknowledged_by" = ? WHERE "id" = ?"#, Some("alert")),
            (r#"DELETE FROM "alert" WHERE "id" = ?"#, None),
            (r#"SELECT "name" FROM "device""#, None),
            (r#"INSERT INTO "interval" ("device") VALUES (?)"#, None),
            (r#"UPDATE audit_entry SET entry = ?"#, Some("audit_entry")),
        ] {
            assert_eq!(changed_by(sql), changed, "{sql}");
        }
    }
}
