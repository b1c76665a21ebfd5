//! What people are told of rollouts, as sentences.

use crate::error::Error;
use crate::fleet::Fleet;
use crate::ingest::time_shown;
use crate::rollout::Rollouts;
use crate::store::tables::rollout_news;
use crate::store::{from_row, unix_ms};
use lineside_rollout::{Asked, Cause, Effect, News, RolloutId};
use sea_orm::ActiveValue::{NotSet, Set};
use sea_orm::{
    ColumnTrait, DatabaseTransaction, EntityTrait, QueryFilter, QueryOrder, QuerySelect,
};
use serde::Serialize;
use time::OffsetDateTime;
use utoipa::ToSchema;

/// News of a rollout that are shown at once.
const SHOWN_MAX: u64 = 100;

/// Something that people were told of a rollout.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct NewsShown {
    /// Its number; later ones are larger.
    pub id: u64,
    /// When, RFC 3339.
    pub at: String,
    /// A sentence for people.
    pub text: String,
}

/// Writes down what people are told.
pub(super) async fn put(
    on: &DatabaseTransaction,
    effects: &[Effect],
    now_unix_ms: i64,
) -> Result<(), Error> {
    for effect in effects {
        let Effect::Tell { rollout, news } = effect else { continue };
        say(on, *rollout, &words(news), now_unix_ms).await?;
    }
    Ok(())
}

/// Writes a sentence down.
async fn say(
    on: &DatabaseTransaction,
    rollout: RolloutId,
    text: &str,
    now_unix_ms: i64,
) -> Result<(), Error> {
    tracing::info!("rollout {rollout}: {text}");
    let row = rollout_news::ActiveModel {
        id: NotSet,
        rollout: Set(i64::from(rollout)),
        at_unix_ms: Set(now_unix_ms),
        text: Set(text.to_owned()),
    };
    rollout_news::Entity::insert(row).exec_without_returning(on).await?;
    Ok(())
}

impl Fleet {
    /// Tells people something of a rollout.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub(super) async fn say(&self, rollout: RolloutId, text: &str) -> Result<(), Error> {
        let writing = self.store.write().await?;
        say(&writing.transaction, rollout, text, unix_ms(OffsetDateTime::now_utc())).await?;
        writing.commit().await
    }
}

impl Rollouts {
    /// What people were told of a rollout, the newest first.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn news(&self, rollout: RolloutId) -> Result<Vec<NewsShown>, Error> {
        let rows = rollout_news::Entity::find()
            .filter(rollout_news::Column::Rollout.eq(i64::from(rollout)))
            .order_by_desc(rollout_news::Column::Id)
            .limit(SHOWN_MAX)
            .all(self.store.read())
            .await?;
        let shown = |row: rollout_news::Model| NewsShown {
            id: from_row(row.id),
            at: time_shown(row.at_unix_ms),
            text: row.text,
        };
        Ok(rows.into_iter().map(shown).collect())
    }
}

fn words(news: &News) -> String {
    match news {
        News::Began { wave } => format!("wave {wave} begins"),
        News::Passed { wave } => format!("wave {wave} is through: its gate holds"),
        News::Asks { wave, asked: Asked::Plan } => {
            format!("wave {wave} is through; go on with `lineside rollout proceed`")
        }
        News::Asks { wave, asked: Asked::Short(short) } => format!(
            "wave {wave} does not get through by itself: {short}; go on with `lineside rollout proceed`"
        ),
        News::Paused { cause: Cause::Person } => "paused".into(),
        News::Paused { cause: Cause::Plan } => {
            "pauses after its wave, as planned; go on with `lineside rollout resume`".into()
        }
        News::Paused { cause: Cause::Broken(wave, breach) } => format!(
            "stopped, because wave {wave} breaks its gate: {breach}; `lineside rollout resume` puts up with \
             that, `lineside rollout roll-back` takes it back"
        ),
        News::RollingBack { broken: None } => {
            "rolls back: devices are given what they had before".into()
        }
        News::RollingBack { broken: Some((wave, breach)) } => format!(
            "rolls back, because wave {wave} breaks its gate: {breach}; devices are given what they had before"
        ),
        News::RolledBack { not_returned: 0 } => "rolled back".into(),
        News::RolledBack { not_returned } => {
            format!(
                "rolled back, except {not_returned} devices that do not run what they had before"
            )
        }
        News::Standing => "all waves are through; newcomers are given the release".into(),
        News::Aborted => "given up; devices keep what they have".into(),
        News::Done => "done".into(),
    }
}
