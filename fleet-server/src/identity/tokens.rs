//! Tokens with which devices join: made for a person, kept as a hash, spent once.

use crate::audit::{By, did, text};
use crate::bounds::JOIN_TOKENS_MAX;
use crate::error::Error;
use crate::identity::Identities;
use crate::registry::Place;
use crate::store::tables::join_token;
use crate::store::unix_ms;
use lineside_audit::{Action, Change};
use lineside_identity::{
    Claim, Fingerprint, HardwareSerial, JoinToken, Redeemed, Spent, TokenHash, TokenRecord,
    TokenRefusal, redeem,
};
use lineside_wire::name::DeviceId;
use ring::rand::SystemRandom;
use sea_orm::sea_query::Condition;
use sea_orm::{
    ActiveValue::Set, ActiveValue::Unchanged, ColumnTrait, ConnectionTrait, DatabaseTransaction,
    EntityTrait, PaginatorTrait, QueryFilter, QueryOrder, QuerySelect,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io;
use time::{Duration, OffsetDateTime};
use utoipa::ToSchema;

/// Hours for which a token is good unless told, and the most.
const HOURS: u16 = 24;
const HOURS_MAX: u16 = 30 * 24;

/// A token to be made.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewToken {
    /// The only device that may join with it; any may where none is named.
    #[serde(default)]
    pub device: Option<String>,
    /// The only serial number that may join with it.
    #[serde(default)]
    pub serial: Option<String>,
    /// Hours for which it is good: 24 unless told, 720 at most.
    #[serde(default)]
    pub hours: Option<u16>,
    /// Where the device will stand.
    #[serde(default)]
    pub site: String,
    /// Marks for selecting it.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

/// A token that was made. It is told this once; the server keeps a hash.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct TokenMade {
    /// The token.
    pub token: String,
    /// By which it is called here.
    pub hash: String,
    /// From when on it is not taken any more: milliseconds since 1970.
    pub expires_unix_ms: i64,
    /// Where the device finds the HTTP interface.
    pub https: String,
    /// Where it finds the broker: host and port.
    pub mqtts: String,
    /// The certificate by which it knows both, as PEM.
    pub authority: String,
}

/// A token as it is known here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct TokenKept {
    /// SHA-256 of its secret in hex.
    pub hash: String,
    /// The only device that may join with it; null where any may.
    pub device: Option<String>,
    /// The only serial number that may join with it; null where any may.
    pub serial: Option<String>,
    /// Where the device will stand.
    pub site: String,
    /// Marks for selecting it.
    pub labels: BTreeMap<String, String>,
    /// When it was made: milliseconds since 1970.
    pub made_unix_ms: i64,
    /// From when on it is not taken any more.
    pub expires_unix_ms: i64,
    /// The device that has joined with it.
    pub spent_by: Option<String>,
}

impl Identities {
    /// Makes a token. Where there is no room, those that nobody can join with any more give way.
    ///
    /// # Errors
    /// [`Error::Malformed`]; [`Error::Conflict`] if there are too many that are still good.
    pub async fn make_token(
        &self,
        by: &By,
        new: &NewToken,
        now: OffsetDateTime,
    ) -> Result<TokenMade, Error> {
        let issuing = self.issuing()?;
        let hours = new.hours.unwrap_or(HOURS);
        if !(1..=HOURS_MAX).contains(&hours) {
            return Err(Error::Malformed(format!("hours: 1 to {HOURS_MAX}, not {hours}")));
        }
        let device = new.device.as_deref().map(super::devices::name).transpose()?;
        let serial: Option<HardwareSerial> =
            new.serial.as_deref().map(super::listed::serial).transpose()?;
        let place = Place { site: new.site.clone(), labels: new.labels.clone() };
        place.check()?;
        let token = JoinToken::draw(&SystemRandom::new()).ok_or_else(|| Error::File {
            doing: "make a token".into(),
            source: io::Error::other("the system gave no random bytes"),
        })?;
        let hash = token.hash().to_string();
        let expires_unix_ms =
            (now + Duration::hours(hours.into())).unix_timestamp().saturating_mul(1_000);
        let row = join_token::ActiveModel {
            hash: Set(hash.clone()),
            device: Set(device.map(|device| device.to_string())),
            serial: Set(serial.map(|serial| serial.to_string())),
            labels: Set(place.labels_json()),
            site: Set(place.site),
            made_unix_ms: Set(unix_ms(now)),
            expires_unix_ms: Set(expires_unix_ms),
            spent_device: Set(None),
            spent_key: Set(None),
        };
        let writing = self.store.write().await?;
        let on = &writing.transaction;
        if join_token::Entity::find().count(on).await? >= JOIN_TOKENS_MAX {
            let is_over = Condition::any()
                .add(join_token::Column::ExpiresUnixMs.lte(unix_ms(now)))
                .add(join_token::Column::SpentDevice.is_not_null());
            let gone = join_token::Entity::delete_many().filter(is_over).exec(on).await?;
            if gone.rows_affected == 0 {
                return Err(Error::Conflict(format!(
                    "{JOIN_TOKENS_MAX} tokens are waiting for devices: take some back first"
                )));
            }
        }
        join_token::Entity::insert(row).exec_without_returning(on).await?;
        let whose = new.device.as_deref().unwrap_or("any device");
        let issued = did(by, Action::TokenIssued, "token", &hash);
        writing.record(Change { new: text(&format!("to join with, for {whose}")), ..issued });
        writing.commit().await?;
        Ok(TokenMade {
            token: token.reveal().to_string(),
            hash,
            expires_unix_ms,
            https: issuing.reached.https.clone(),
            mqtts: issuing.reached.mqtts.clone(),
            authority: issuing.authority.pem().to_owned(),
        })
    }

    /// Tokens by their hashes: at most `limit` of those whose hashes come after `after`.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn tokens_after(&self, after: &str, limit: u64) -> Result<Vec<TokenKept>, Error> {
        let rows = join_token::Entity::find()
            .filter(join_token::Column::Hash.gt(after))
            .order_by_asc(join_token::Column::Hash)
            .limit(limit)
            .all(self.store.read())
            .await?;
        let shown = |row: join_token::Model| TokenKept {
            hash: row.hash,
            device: row.device,
            serial: row.serial,
            labels: serde_json::from_str(&row.labels).unwrap_or_default(),
            site: row.site,
            made_unix_ms: row.made_unix_ms,
            expires_unix_ms: row.expires_unix_ms,
            spent_by: row.spent_device,
        };
        Ok(rows.into_iter().map(shown).collect())
    }

    /// Takes a token back: nobody joins with it any more. Who has, has.
    ///
    /// # Errors
    /// [`Error::Missing`].
    pub async fn take_token_back(&self, by: &By, hash: &str) -> Result<(), Error> {
        let writing = self.store.write().await?;
        let gone = join_token::Entity::delete_by_id(hash).exec(&writing.transaction).await?;
        if gone.rows_affected == 0 {
            return Err(Error::Missing("there is no token of this hash".into()));
        }
        writing.record(did(by, Action::TokenRevoked, "token", hash));
        writing.commit().await
    }
}

/// What is to be said of the token that somebody has brought.
pub(super) async fn said_of(
    on: &impl ConnectionTrait,
    token: &JoinToken,
    claim: &Claim,
    now: OffsetDateTime,
) -> Result<Result<Redeemed, TokenRefusal>, Error> {
    let row = join_token::Entity::find_by_id(token.hash().to_string()).one(on).await?;
    let record = row.and_then(|row| record(token.hash(), row));
    Ok(redeem(record.as_ref(), token, claim, now))
}

/// What is kept of a token. Where it cannot be read, it is as if it had never been made.
fn record(hash: TokenHash, row: join_token::Model) -> Option<TokenRecord> {
    let device = |name: String| name.parse::<DeviceId>().ok();
    let spent = match (row.spent_device, row.spent_key) {
        (Some(by), Some(key)) => Some(Spent { device: device(by)?, key: key.parse().ok()? }),
        (None, None) => None,
        _ => return None,
    };
    Some(TokenRecord {
        hash,
        expires: OffsetDateTime::from_unix_timestamp(row.expires_unix_ms / 1_000).ok()?,
        device: match row.device {
            Some(name) => Some(device(name)?),
            None => None,
        },
        serial: match row.serial {
            Some(serial) => Some(serial.parse().ok()?),
            None => None,
        },
        spent,
    })
}

/// Where a device is to stand that has joined by this key: as it was said when its token was made.
pub(super) async fn place_of(
    on: &impl ConnectionTrait,
    device: &DeviceId,
    key: Fingerprint,
) -> Result<Place, Error> {
    let its = join_token::Entity::find()
        .filter(join_token::Column::SpentDevice.eq(device.as_str()))
        .filter(join_token::Column::SpentKey.eq(key.to_string()));
    let row = its.one(on).await?;
    let place = |row: join_token::Model| Place {
        labels: serde_json::from_str(&row.labels).unwrap_or_default(),
        site: row.site,
    };
    Ok(row.map(place).unwrap_or_default())
}

/// Keeps who has joined with a token.
pub(super) async fn spend(on: &DatabaseTransaction, record: &TokenRecord) -> Result<(), Error> {
    let spent = record.spent.as_ref();
    let row = join_token::ActiveModel {
        hash: Unchanged(record.hash.to_string()),
        spent_device: Set(spent.map(|spent| spent.device.to_string())),
        spent_key: Set(spent.map(|spent| spent.key.to_string())),
        ..Default::default()
    };
    join_token::Entity::update(row).exec(on).await?;
    Ok(())
}
