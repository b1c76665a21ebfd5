//! The steps from one version of the tables to the next, in words of SQL and not by way of `tables`, which
//! goes on changing while a step stays as it is for ever. Up to version 14 there was SQLite alone.

use crate::error::Error;
use lineside_wire::name::SlotName;
use sea_orm::{ConnectionTrait, DatabaseTransaction, Statement};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};

/// Makes of the tables of version `from` those of the next.
pub(super) async fn step(from: i64, on: &DatabaseTransaction) -> Result<(), Error> {
    match from {
        6 => approvals_beside_assignments(on).await,
        7 => tokens_of_roles(on).await,
        8 => keys_of_tokens(on).await,
        9 => alerts(on).await,
        10 => deliveries_of_alerts(on).await,
        11 => proposals(on).await,
        12 => monitors(on).await,
        13 => quality_of_answers(on).await,
        // Rollouts have tables of their own, and those are made wherever they are missing.
        14 => Ok(()),
        // So has the audit log.
        15 => Ok(()),
        // And so have identities.
        16 => Ok(()),
        other => unreachable!("no database of version {other} is begun with"),
    }
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
