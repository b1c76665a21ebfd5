//! What is to be told of alerts: written down before it is told, told until it is heard or too old.

use crate::access::random_uuid;
use crate::bounds::{DELIVERY_AGE_MAX, DELIVERY_PAUSE_MAX, OUTBOX_MAX, TEXT_CHARS_MAX, short};
use crate::error::{Error, chain};
use crate::fleet::Fleet;
use crate::ingest::time_shown;
use crate::monitor::channel::{Channels, Way};
use crate::monitor::{mail, webhook};
use crate::quiet::Quiet;
use crate::store::tables::delivery;
use crate::store::{Store, from_row, unix_ms};
use sea_orm::ActiveValue::{Set, Unchanged};
use sea_orm::{
    ActiveModelTrait, ColumnTrait, DatabaseTransaction, EntityTrait, PaginatorTrait, QueryFilter,
    QueryOrder, QuerySelect, QueryTrait, Select,
};
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::sync::Notify;
use utoipa::ToSchema;

/// Pause after the first attempt that failed; each further one is twice as long.
const PAUSE_MS: i64 = 1_000;
/// How long the body of what begins a training waits for the intervals that the alert is about: alerts come
/// before them.
const EVIDENCE_WAIT_MS: i64 = 60_000;
/// Pause while the database fails.
const TROUBLE_PAUSE: Duration = Duration::from_secs(5);
/// Attempts that failed after which people are told of a channel.
const TOLD_AFTER: i64 = 3;

/// What somebody is told of an alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    Fired,
    Over,
    Retrain,
}

impl What {
    /// As the books and the message have it.
    pub fn word(self) -> &'static str {
        match self {
            What::Fired => "fired",
            What::Over => "over",
            What::Retrain => "retrain",
        }
    }
}

/// A message on its way.
#[derive(Debug, Clone)]
pub(super) struct Letter {
    /// Stays the same over all attempts.
    pub id: String,
    /// JSON, for programs.
    pub body: String,
    /// For people.
    pub subject: String,
    pub text: String,
}

/// A message, and what has become of it.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct DeliveryShown {
    /// Its number, by which a receiver knows it again.
    pub id: String,
    /// The channel, by its name in the settings.
    pub channel: String,
    /// `fired`, `over` or `retrain`.
    pub what: String,
    /// Since when it was to be told, RFC 3339.
    pub made: String,
    /// How often that failed.
    pub failures: u64,
    /// When it was heard; null while it was not.
    pub delivered: Option<String>,
    /// When it is tried again; null where nothing is to be done any longer.
    pub next: Option<String>,
    /// Why it was not heard; empty if it was.
    pub trouble: String,
}

/// What is to be told, and by which channels.
pub(crate) struct Outbox {
    store: Arc<Store>,
    pub channels: Arc<Channels>,
    news: BTreeMap<String, Notify>,
    quiet: Quiet,
}

impl Outbox {
    /// What `store` has to be told by these channels.
    pub fn new(store: Arc<Store>, channels: Arc<Channels>) -> Outbox {
        let news = channels.keys().map(|name| (name.clone(), Notify::new())).collect();
        Outbox { store, channels, news, quiet: Quiet::default() }
    }

    /// Says that there may be something to be told.
    pub fn wake(&self) {
        self.news.values().for_each(Notify::notify_one);
    }

    /// What has become of what was to be told of an alert, in its order.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn of_alert(&self, alert: i64) -> Result<Vec<DeliveryShown>, Error> {
        let rows = delivery::Entity::find()
            .filter(delivery::Column::Alert.eq(alert))
            .order_by_asc(delivery::Column::MadeUnixMs)
            .order_by_asc(delivery::Column::Channel)
            .all(self.store.read())
            .await?;
        Ok(rows.into_iter().map(shown).collect())
    }

    /// Which channels do not take what they are to be told, a sentence each.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn trouble(&self) -> Result<Vec<String>, Error> {
        use delivery::Column::{Alert, Attempts, Channel, Ended, Id, MadeUnixMs};
        let waiting = || {
            let all = delivery::Entity::find().select_only();
            all.filter(Ended.eq(false)).filter(Attempts.gte(TOLD_AFTER))
        };
        let counts = waiting()
            .column(Channel)
            .column_as(Id.count(), "waiting")
            .group_by(Channel)
            .order_by_asc(Channel)
            .into_tuple::<(String, i64)>()
            .all(self.store.read())
            .await?;
        let mut sentences = Vec::new();
        for (name, count) in counts {
            let first = waiting().columns([Alert, MadeUnixMs]).filter(Channel.eq(&name));
            let first = first.order_by_asc(MadeUnixMs).into_tuple::<(i64, i64)>();
            // It may have been heard since.
            let Some((alert, made)) = first.one(self.store.read()).await? else { continue };
            sentences.push(format!(
                "channel {name} does not take what it is told: {count} messages wait, the first since {}; \
                 `lineside alerts show {alert}` says why",
                time_shown(made),
            ));
        }
        Ok(sentences)
    }
}

/// Writes down that a channel is to be told of an alert. Where too much waits for it already, it is written
/// down that it was not.
pub(super) async fn put(
    on: &DatabaseTransaction,
    channels: &Channels,
    alert: i64,
    channel: &str,
    what: What,
    now_unix_ms: i64,
) -> Result<(), Error> {
    let waiting = delivery::Entity::find()
        .filter(delivery::Column::Channel.eq(channel))
        .filter(delivery::Column::Ended.eq(false))
        .count(on)
        .await?;
    let said = if !channels.contains_key(channel) {
        "the server's settings have no channel of this name".to_owned()
    } else if waiting >= OUTBOX_MAX {
        format!("{waiting} messages wait for this channel already")
    } else {
        String::new()
    };
    let row = delivery::ActiveModel {
        id: Set(random_uuid()?),
        alert: Set(alert),
        channel: Set(short(channel, TEXT_CHARS_MAX)),
        what: Set(what.word().into()),
        body: Set(None),
        made_unix_ms: Set(now_unix_ms),
        next_unix_ms: Set(now_unix_ms),
        attempts: Set(0),
        delivered_unix_ms: Set(None),
        ended: Set(!said.is_empty()),
        said: Set(said),
    };
    delivery::Entity::insert(row).exec_without_returning(on).await?;
    Ok(())
}

/// Channels that were to be told that an alert fires.
pub(super) async fn told_of(on: &DatabaseTransaction, alert: i64) -> Result<Vec<String>, Error> {
    let told = delivery::Entity::find()
        .select_only()
        .column(delivery::Column::Channel)
        .filter(delivery::Column::Alert.eq(alert))
        .filter(delivery::Column::What.eq(What::Fired.word()))
        .order_by_asc(delivery::Column::Channel);
    Ok(told.into_tuple().all(on).await?)
}

/// Forgets what was to be told of these alerts.
pub(super) async fn forget(on: &DatabaseTransaction, alerts: &[i64]) -> Result<(), Error> {
    let of_them = delivery::Column::Alert.is_in(alerts.iter().copied());
    delivery::Entity::delete_many().filter(of_them).exec(on).await?;
    Ok(())
}

fn shown(row: delivery::Model) -> DeliveryShown {
    DeliveryShown {
        id: row.id,
        channel: row.channel,
        what: row.what,
        made: time_shown(row.made_unix_ms),
        failures: from_row(row.attempts),
        delivered: row.delivered_unix_ms.map(time_shown),
        next: (!row.ended).then(|| time_shown(row.next_unix_ms)),
        trouble: row.said,
    }
}

/// What a channel is to be told, the next one first. That an alert is over waits until it was told that it fires,
/// or that was given up.
fn next_of(channel: &str) -> Select<delivery::Entity> {
    use delivery::Column::{Alert, Channel, Ended, MadeUnixMs, NextUnixMs, What as OfWhat};
    use sea_orm::sea_query::ExprTrait;
    let waiting = || delivery::Entity::find().filter(Channel.eq(channel)).filter(Ended.eq(false));
    let fires = waiting().filter(OfWhat.eq(What::Fired.word())).select_only().column(Alert);
    let is_first = OfWhat.ne(What::Over.word()).or(Alert.not_in_subquery(fires.into_query()));
    waiting().filter(is_first).order_by_asc(NextUnixMs).order_by_asc(MadeUnixMs)
}

/// Pause after so many attempts that failed.
fn pause_ms(attempts: i64) -> i64 {
    let longest = i64::try_from(DELIVERY_PAUSE_MAX.as_millis()).unwrap_or(i64::MAX);
    // Twenty times doubled it is longer than the longest.
    (PAUSE_MS << (attempts - 1).clamp(0, 20)).min(longest)
}

impl Fleet {
    /// Tells by a channel what is to be told, for as long as the server runs.
    pub async fn keep_delivering(self: Arc<Fleet>, channel: String) {
        let Some(news) = self.outbox.news.get(&channel) else { return };
        loop {
            let pause = match self.deliver(&channel).await {
                Ok(None) => continue,
                Ok(Some(pause)) => pause,
                Err(error) => {
                    if let Some(more) = self.outbox.quiet.may_say("", Instant::now()) {
                        tracing::error!("channel {channel} is told later: {}{more}", chain(&error));
                    }
                    TROUBLE_PAUSE
                }
            };
            tokio::select! {
                () = news.notified() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Tells what is to be told next by a channel, if its time has come; gives how long to wait where it has
    /// not.
    async fn deliver(&self, channel: &str) -> Result<Option<Duration>, Error> {
        let now = OffsetDateTime::now_utc();
        let next = next_of(channel).one(self.store.read()).await?;
        let Some(row) = next else { return Ok(Some(DELIVERY_PAUSE_MAX)) };
        let wait = u64::try_from(row.next_unix_ms.saturating_sub(unix_ms(now))).unwrap_or(0);
        let wait = Duration::from_millis(wait);
        // Longer than any pause: the clock was set back since.
        if !wait.is_zero() && wait <= DELIVERY_PAUSE_MAX {
            return Ok(Some(wait));
        }
        let Some(body) = self.body(&row, now).await? else { return Ok(None) };
        let age_ms = unix_ms(now).saturating_sub(row.made_unix_ms);
        if row.attempts > 0
            && age_ms > i64::try_from(DELIVERY_AGE_MAX.as_millis()).unwrap_or(i64::MAX)
        {
            let said = format!("given up after {} attempts: {}", row.attempts, row.said);
            let end = delivery::ActiveModel { said: Set(said), ..ended(&row) };
            return self.note(end).await.map(|()| None);
        }
        let told = self.tell_channel(channel, letter(&row.id, body), now).await;
        let done = match told {
            Ok(()) => delivery::ActiveModel {
                delivered_unix_ms: Set(Some(unix_ms(OffsetDateTime::now_utc()))),
                said: Set(String::new()),
                ..ended(&row)
            },
            Err(why) => {
                let why = short(&why, TEXT_CHARS_MAX);
                if let Some(more) = self.outbox.quiet.may_say(channel, Instant::now()) {
                    tracing::warn!("channel {channel} did not take a message: {why}{more}");
                }
                let attempts = row.attempts.saturating_add(1);
                delivery::ActiveModel {
                    attempts: Set(attempts),
                    next_unix_ms: Set(unix_ms(now).saturating_add(pause_ms(attempts))),
                    said: Set(why),
                    ..of(&row)
                }
            }
        };
        self.note(done).await.map(|()| None)
    }

    /// The body of a message: made once, and written down before anybody is told. None where there is nothing
    /// to be told yet, or any longer.
    async fn body(
        &self,
        row: &delivery::Model,
        now: OffsetDateTime,
    ) -> Result<Option<String>, Error> {
        if let Some(body) = &row.body {
            return Ok(Some(body.clone()));
        }
        let alert = match self.alerts.get(from_row(row.alert)).await {
            Ok(alert) => alert,
            Err(Error::Missing(_)) => {
                return self.note(ended(row)).await.map(|()| None);
            }
            Err(error) => return Err(error),
        };
        let waited_ms = unix_ms(now).saturating_sub(row.made_unix_ms);
        let trains = row.what == What::Retrain.word();
        if trains && alert.evidence.is_none() && waited_ms < EVIDENCE_WAIT_MS {
            let next = Set(unix_ms(now).saturating_add(PAUSE_MS));
            let later = delivery::ActiveModel { next_unix_ms: next, ..of(row) };
            return self.note(later).await.map(|()| None);
        }
        let timestamp = now.format(&Rfc3339).unwrap_or_default();
        let message = json!({
            "entity": "alert", "action": row.what, "timestamp": timestamp, "data": alert,
        });
        let body = message.to_string();
        self.note(delivery::ActiveModel { body: Set(Some(body.clone())), ..of(row) }).await?;
        Ok(Some(body))
    }

    async fn note(&self, row: delivery::ActiveModel) -> Result<(), Error> {
        let writing = self.store.write().await?;
        match row.update(&writing.transaction).await {
            // With its alert it may be gone by now.
            Err(sea_orm::DbErr::RecordNotUpdated) => return Ok(()),
            done => done?,
        };
        writing.commit().await
    }

    async fn tell_channel(
        &self,
        channel: &str,
        letter: Letter,
        now: OffsetDateTime,
    ) -> Result<(), String> {
        let Some(channel) = self.outbox.channels.get(channel) else {
            return Err("the server's settings have no channel of this name".into());
        };
        let way = channel.way.clone();
        if let Way::Mqtt { topic } = &way {
            return self.link.publish(topic, letter.body.into_bytes()).await;
        }
        let seconds = now.unix_timestamp();
        let telling = tokio::task::spawn_blocking(move || match &way {
            Way::Webhook(hook) => webhook::tell(hook, &letter, seconds),
            Way::Mail(mail) => mail::tell(mail, &letter),
            Way::Mqtt { .. } => unreachable!("it is told by the broker"),
        });
        telling.await.unwrap_or_else(|error| Err(format!("telling it broke down: {error}")))
    }
}

/// Nothing is left to do: nobody is told the body any longer.
fn ended(row: &delivery::Model) -> delivery::ActiveModel {
    delivery::ActiveModel { ended: Set(true), body: Set(None), ..of(row) }
}

fn of(row: &delivery::Model) -> delivery::ActiveModel {
    delivery::ActiveModel { id: Unchanged(row.id.clone()), ..Default::default() }
}

/// A message with what people are told of it.
fn letter(id: &str, body: String) -> Letter {
    // Made here, so it is of this form; a part that is missing is not told.
    let message: Value = serde_json::from_str(&body).unwrap_or_default();
    let alert = &message["data"];
    let word = |name: &str| alert[name].as_str().unwrap_or_default();
    let place = match word("scope") {
        "fleet" => "the fleet".to_owned(),
        "site" => format!("site {}", word("site")),
        _ => word("device").to_owned(),
    };
    let (number, slot, rule, release) = (&alert["id"], word("slot"), word("rule"), word("release"));
    let state = match message["action"].as_str() {
        Some("over") => "is over",
        Some("retrain") => "asks for a training",
        _ => "fires",
    };
    let mut text = format!("{}\n\n{release} in slot {slot} of {place}\n", word("text"));
    for (name, moment) in [("seen", word("start")), ("to", word("end")), ("fired", word("fired"))] {
        text.push_str(&format!("{name:6} {moment}\n"));
    }
    if !word("over").is_empty() {
        text.push_str(&format!("over   {}\n", word("over")));
    }
    text.push_str(&format!("\nlineside alerts show {number}\n"));
    let subject = format!("Lineside: {rule} {state} at {place}, slot {slot} (alert {number})");
    Letter { id: id.to_owned(), body, subject, text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn that_an_alert_is_over_waits_for_that_it_fires_and_what_was_told_takes_no_room() {
        let folder = tempfile::tempdir().unwrap();
        let store = crate::store::testing::store(folder.path()).await;
        let writing = store.write().await.unwrap();
        let none = Channels::default();
        for what in [What::Over, What::Fired] {
            put(&writing.transaction, &none, 1, "people", what, 10).await.unwrap();
        }
        put(&writing.transaction, &none, 2, "people", What::Over, 10).await.unwrap();
        writing.commit().await.unwrap();
        let all = || delivery::Entity::find().order_by_asc(delivery::Column::Alert);
        let rows = all().all(store.read()).await.unwrap();
        let row = |alert: i64, what: &str| {
            rows.iter().find(|row| row.alert == alert && row.what == what).unwrap()
        };
        let change = async |to: delivery::ActiveModel| {
            let writing = store.write().await.unwrap();
            to.update(&writing.transaction).await.unwrap();
            writing.commit().await.unwrap();
        };
        for row in &rows {
            let body = Set(Some("said".into()));
            change(delivery::ActiveModel { ended: Set(false), body, ..of(row) }).await;
        }
        let later = delivery::ActiveModel { next_unix_ms: Set(99), ..of(row(1, "fired")) };
        change(later).await;
        let waiting = async || -> Vec<(i64, String)> {
            let next = next_of("people").all(store.read()).await.unwrap();
            next.into_iter().map(|row| (row.alert, row.what)).collect()
        };
        assert_eq!(waiting().await, [(2, "over".into()), (1, "fired".into())]);
        change(ended(row(1, "fired"))).await;
        let mut left = waiting().await;
        left.sort();
        assert_eq!(left, [(1, "over".into()), (2, "over".into())]);
        let told = all().all(store.read()).await.unwrap();
        let bodies = told.iter().filter(|row| row.body.is_some()).count();
        assert_eq!(bodies, 2);
    }

    #[test]
    fn pauses_double_up_to_an_hour() {
        let pauses: Vec<i64> = [1, 2, 3, 12, 13, 64, 65, i64::MAX].map(pause_ms).to_vec();
        let hour = 3_600_000;
        assert_eq!(pauses, [1_000, 2_000, 4_000, 2_048_000, hour, hour, hour, hour]);
    }

    #[test]
    fn people_read_what_where_and_when() {
        let body = json!({ "action": "over", "data": {
            "id": 7, "device": "line-3", "slot": "turbine", "rule": "high", "release": "turbine v1",
            "text": "high: median of score is 1.25, where at most 1 is well", "start": "A", "end": "B",
            "fired": "C", "over": "D",
        } });
        let letter = letter("x", body.to_string());
        assert_eq!(letter.subject, "Lineside: high is over at line-3, slot turbine (alert 7)");
        assert!(letter.text.starts_with("high: median of score is 1.25"), "{}", letter.text);
        assert!(
            letter.text.contains("fired  C\nover   D\n\nlineside alerts show 7"),
            "{}",
            letter.text
        );
    }
}
