//! Alerts in the books: one for each time that a rule fires, however often it is told.

use crate::audit::{By, did};
use crate::bounds::{
    self, ALERTS_MAX, EVIDENCES_MAX, NAME_CHARS_MAX, RULE_CHARS_MAX, TEXT_CHARS_MAX, sentence,
    short,
};
use crate::error::Error;
use crate::ingest::{Taken, View};
use crate::monitor::channel::Channels;
use crate::monitor::outbox::What;
use crate::monitor::policy::Policy;
use crate::monitor::{evidence, judge, outbox, proposals};
use crate::registry::slot_shown;
use crate::rollout;
use crate::store::tables::alert;
use crate::store::{Store, to_row, unix_ms};
use lineside_audit::Action;
use lineside_bundle::Digest;
use lineside_drift::Profile;
use lineside_rules::Scope;
use lineside_wire::name::DeviceId;
use lineside_wire::v1::{Alert, Interval};
use sea_orm::ActiveValue::{NotSet, Set, Unchanged};
use sea_orm::sea_query::{Expr, ExprTrait};
use sea_orm::{
    ActiveModelTrait, ColumnTrait, Condition, DatabaseTransaction, EntityTrait, Order,
    PaginatorTrait, QueryFilter, QueryOrder, QuerySelect,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use time::OffsetDateTime;

/// Who is said to have acknowledged what is acknowledged without a name.
pub(super) const ADMINISTRATOR: &str = "the administrator";

/// What a rule looks at as one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    Device(DeviceId),
    Site(String),
    /// By a rule of this site's policy.
    Fleet(String),
}

impl Place {
    /// As the books have it.
    pub fn scope(&self) -> &'static str {
        match self {
            Place::Device(_) => "device",
            Place::Site(_) => "site",
            Place::Fleet(_) => "fleet",
        }
    }

    /// Its name; of the fleet that of the site whose policy has the rule.
    pub fn name(&self) -> &str {
        match self {
            Place::Device(device) => device.as_str(),
            Place::Site(site) | Place::Fleet(site) => site,
        }
    }

    /// The scope of rules that look at it.
    fn judged_as(&self) -> Scope {
        match self {
            Place::Device(_) => Scope::Device,
            Place::Site(_) => Scope::Site,
            Place::Fleet(_) => Scope::Fleet,
        }
    }

    pub(super) fn of_rows(&self) -> Condition {
        Condition::all()
            .add(alert::Column::Scope.eq(self.scope()))
            .add(alert::Column::Place.eq(self.name()))
    }
}

/// What was new of an alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum News {
    /// It fires.
    Fired(i64),
    /// It has fired, and was over before that was told.
    Passed(i64),
    /// It is over.
    Over(i64),
}

/// The alerts.
#[derive(Debug, Clone)]
pub(crate) struct Alerts {
    pub(super) store: Arc<Store>,
}

/// What is known where records are taken.
#[derive(Debug, Clone, Default)]
pub(crate) struct Context {
    pub channels: Arc<Channels>,
    /// What sites have signed.
    pub policies: Arc<BTreeMap<String, Policy>>,
    /// Where the device stands.
    pub site: String,
    /// Manifests that are or were assigned to the device.
    pub given: Arc<BTreeSet<Digest>>,
    /// Profiles of the releases that intervals are of, where rules are judged here.
    pub profiles: Arc<BTreeMap<[u8; 32], Arc<Profile>>>,
    pub now_unix_ms: i64,
}

/// Takes what records of a device say of alerts, and what its intervals have to do with those. Gives what
/// is to be done now.
///
/// # Errors
/// [`Error::Database`].
pub(crate) async fn take(
    on: &DatabaseTransaction,
    device: &DeviceId,
    records: &[Taken],
    context: &Context,
) -> Result<Errands, Error> {
    // Before alerts of the same message: these look for their intervals themselves.
    evidence::gather(on, device, records).await?;
    let place = Place::Device(device.clone());
    let mut errands = Errands::default();
    for record in records {
        if let View::Alert(alert) = &record.view
            && let Some(news) = put(on, &place, alert, None).await?
        {
            follow(on, news, alert, &place, &context.site, context, &mut errands).await?;
        }
    }
    judge::judge(on, records, context, &mut errands).await?;
    Ok(errands)
}

/// Writes down what follows from what is new: who is told, and what is proposed. `site` is the one whose policy
/// has the rule.
pub(super) async fn follow(
    on: &DatabaseTransaction,
    news: News,
    said: &Alert,
    place: &Place,
    site: &str,
    context: &Context,
    errands: &mut Errands,
) -> Result<(), Error> {
    let Context { channels, now_unix_ms, .. } = context;
    errands.tell = true;
    let id = match news {
        News::Fired(id) | News::Passed(id) => id,
        News::Over(id) => {
            // Whoever was told that it fires.
            for channel in outbox::told_of(on, id).await? {
                outbox::put(on, channels, id, &channel, What::Over, *now_unix_ms).await?;
            }
            return Ok(());
        }
    };
    let policy = context.policies.get(site);
    // What is judged here is nothing that a device could say.
    let rule = policy.and_then(|policy| policy.rule(&said.slot, &said.rule));
    let rule = rule.filter(|rule| rule.scope == place.judged_as());
    let named = rule.as_ref().and_then(|rule| rule.then.notify.clone());
    let all = || channels.iter().filter(|(_, channel)| !channel.retrain);
    let names = named.unwrap_or_else(|| all().map(|(name, _)| name.clone()).collect());
    for name in names {
        outbox::put(on, channels, id, &name, What::Fired, *now_unix_ms).await?;
        if let News::Passed(_) = news {
            outbox::put(on, channels, id, &name, What::Over, *now_unix_ms).await?;
        }
    }
    let (Some(policy), Some(rule)) = (policy, rule) else { return Ok(()) };
    if rule.then.retrain {
        for (name, _) in channels.iter().filter(|(_, channel)| channel.retrain) {
            outbox::put(on, channels, id, name, What::Retrain, *now_unix_ms).await?;
        }
    }
    if rule.then.pause_rollout && is_believed(on, place, said).await? {
        let by = format!("rule {} of site {site}", said.rule);
        let by = short(&by, TEXT_CHARS_MAX);
        rollout::put_pause(on, &said.slot, &said.release, by).await?;
        errands.roll = true;
    }
    if rule.then.assigns() {
        errands.act |= proposals::put(on, id, &said.rule, &rule, place, (site, policy)).await?;
    }
    Ok(())
}

/// Whether what a rule says of a release may pause its rollout: a device speaks of what it was given.
async fn is_believed(on: &DatabaseTransaction, place: &Place, said: &Alert) -> Result<bool, Error> {
    match place {
        Place::Device(device) => rollout::was_given(on, device, &said.slot, &said.release).await,
        Place::Site(_) | Place::Fleet(_) => Ok(true),
    }
}

/// What is to be done once what was taken is on disk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Errands {
    /// Somebody is to be told of something.
    pub tell: bool,
    /// Something is to be assigned.
    pub act: bool,
    /// A rollout is to pause.
    pub roll: bool,
}

/// Forgets the alerts of a device.
///
/// # Errors
/// [`Error::Database`].
pub(crate) async fn forget(on: &DatabaseTransaction, device: &DeviceId) -> Result<(), Error> {
    let place = Place::Device(device.clone());
    let gone = alert::Entity::find()
        .select_only()
        .column(alert::Column::Id)
        .filter(place.of_rows())
        .into_tuple::<i64>()
        .all(on)
        .await?;
    remove(on, gone).await
}

/// Puts what a rule says into the books. What they have already changes nothing: devices tell everything
/// at least once. A rule's end may be told before its beginning, and is kept until that comes. `seen` is what
/// was seen, where that is known.
pub(super) async fn put(
    on: &DatabaseTransaction,
    place: &Place,
    said: &Alert,
    seen: Option<Interval>,
) -> Result<Option<News>, Error> {
    use alert::Column::{Digest, EndUnixMs, FiredUnixMs, OverUnixMs, Rule, Slot};
    let row = row(place, said);
    let of_rule = || {
        let known = alert::Entity::find().filter(place.of_rows());
        let known = known.filter(Slot.eq(row.slot.clone().unwrap()));
        let known = known.filter(Rule.eq(row.rule.clone().unwrap()));
        known.filter(Digest.eq(row.digest.clone().unwrap())).order_by_desc(alert::Column::Id)
    };
    let at = said.at_unix_ms;
    let is_told = match said.fired {
        true => FiredUnixMs.eq(at).and(EndUnixMs.eq(said.end_unix_ms)),
        false => OverUnixMs.eq(at),
    };
    if of_rule().filter(is_told).count(on).await? > 0 {
        return Ok(None);
    }
    let open = of_rule().filter(OverUnixMs.is_null()).one(on).await?;
    let news = match (open, said.fired) {
        (Some(_), true) => return Ok(None),
        (Some(open), false) if is_end_of(said, &open) => {
            let end = alert::ActiveModel {
                id: Unchanged(open.id),
                over_unix_ms: Set(Some(at)),
                ..Default::default()
            };
            end.update(on).await?;
            return Ok(Some(News::Over(open.id)));
        }
        (_, false) => {
            row.insert(on).await?;
            None
        }
        (None, true) => {
            let ended = of_rule().filter(FiredUnixMs.is_null()).filter(OverUnixMs.gte(at));
            let (id, news) = match ended.order_by_asc(OverUnixMs).one(on).await? {
                Some(ended) => {
                    let id = Unchanged(ended.id);
                    // Who has acknowledged its end has acknowledged it.
                    let whole = alert::ActiveModel {
                        id,
                        over_unix_ms: NotSet,
                        acknowledged_by: NotSet,
                        acknowledged_unix_ms: NotSet,
                        ..row
                    };
                    (whole.update(on).await?.id, News::Passed(ended.id))
                }
                None => {
                    let id = row.insert(on).await?.id;
                    (id, News::Fired(id))
                }
            };
            match seen {
                Some(seen) => evidence::keep(on, id, seen).await?,
                None => evidence::look_up(on, place, id, said).await?,
            }
            Some(news)
        }
    };
    keep(on, place).await?;
    Ok(news)
}

/// Whether what is over is this alert. Of clocks that are set back the readings' own time is believed.
fn is_end_of(over: &Alert, open: &alert::Model) -> bool {
    open.end_unix_ms <= over.end_unix_ms
        || open.fired_unix_ms.is_some_and(|fired| fired <= over.at_unix_ms)
}

fn row(place: &Place, said: &Alert) -> alert::ActiveModel {
    let json = |value: serde_json::Value| value.to_string();
    let limit = |limit: f64| Some(limit).filter(|limit| limit.is_finite());
    let short = |text: &str| short(text, RULE_CHARS_MAX);
    let name = |text: &str| bounds::short(text, NAME_CHARS_MAX);
    let explained = said.explained.iter().map(|(name, score)| (short(name), score));
    let (fired, over) =
        if said.fired { (Some(said.at_unix_ms), None) } else { (None, Some(said.at_unix_ms)) };
    alert::ActiveModel {
        id: NotSet,
        scope: Set(place.scope().into()),
        place: Set(place.name().into()),
        slot: Set(slot_shown(&said.slot)),
        rule: Set(short(&said.rule)),
        bundle: Set(name(&said.release.name)),
        version: Set(name(&said.release.version)),
        digest: Set(Digest::from(said.release.digest).hex()),
        fired_unix_ms: Set(fired),
        over_unix_ms: Set(over),
        start_unix_ms: Set(said.start_unix_ms),
        end_unix_ms: Set(said.end_unix_ms),
        signal: Set(short(&said.signal)),
        // What has no JSON form becomes null.
        seen: Set(json(serde_json::json!(said.values))),
        low: Set(limit(said.low)),
        high: Set(limit(said.high)),
        explained: Set(json(serde_json::json!(explained.collect::<Vec<_>>()))),
        text: Set(sentence(&said.sentence(), TEXT_CHARS_MAX)),
        done: Set(json(said.done.iter().map(|done| short(done)).collect())),
        evidence: Set(None),
        acknowledged_by: Set(None),
        acknowledged_unix_ms: Set(None),
    }
}

/// Removes the oldest alerts of a place beyond the bound, those that are over first, and the intervals of all
/// but the newest.
async fn keep(on: &DatabaseTransaction, place: &Place) -> Result<(), Error> {
    use alert::Column::{Evidence, Id, OverUnixMs};
    let count = alert::Entity::find().filter(place.of_rows()).count(on).await?;
    let excess = count.saturating_sub(ALERTS_MAX);
    if excess > 0 {
        let gone = alert::Entity::find()
            .select_only()
            .column(Id)
            .filter(place.of_rows())
            .order_by(Expr::col(OverUnixMs).is_null(), Order::Asc)
            .order_by_asc(Id)
            .limit(excess);
        remove(on, gone.into_tuple::<i64>().all(on).await?).await?;
    }
    let with = alert::Entity::find().filter(place.of_rows()).filter(Evidence.is_not_null());
    let oldest = with.order_by_desc(Id).select_only().column(Id).offset(EVIDENCES_MAX).limit(1);
    if let Some(id) = oldest.into_tuple::<i64>().one(on).await? {
        alert::Entity::update_many()
            .col_expr(Evidence, Expr::value(None::<Vec<u8>>))
            .filter(place.of_rows())
            .filter(Id.lte(id))
            .exec(on)
            .await?;
    }
    Ok(())
}

/// Removes alerts, with whatever belongs to them.
async fn remove(on: &DatabaseTransaction, ids: Vec<i64>) -> Result<(), Error> {
    if !ids.is_empty() {
        outbox::forget(on, &ids).await?;
        proposals::forget(on, &ids).await?;
        alert::Entity::delete_many().filter(alert::Column::Id.is_in(ids)).exec(on).await?;
    }
    Ok(())
}

impl Alerts {
    /// The alerts in `store`.
    pub fn new(store: Arc<Store>) -> Alerts {
        Alerts { store }
    }

    /// Writes down that somebody knows of an alert: nobody is told of it any longer where people look at
    /// what is wrong. The first who has said so is remembered.
    ///
    /// # Errors
    /// [`Error::Missing`].
    pub async fn acknowledge(&self, id: u64, by: &str, now: OffsetDateTime) -> Result<(), Error> {
        let writing = self.store.write().await?;
        let on = &writing.transaction;
        let known = alert::Entity::find_by_id(to_row(id)).one(on).await?;
        let known = known.ok_or_else(|| missing(id))?;
        if known.acknowledged_unix_ms.is_none() {
            let who = By::named(by);
            writing.record(did(&who, Action::AlertAcknowledged, "alert", &id.to_string()));
            let by = if by.trim().is_empty() { ADMINISTRATOR } else { by };
            let row = alert::ActiveModel {
                id: Unchanged(known.id),
                acknowledged_by: Set(Some(short(by, RULE_CHARS_MAX))),
                acknowledged_unix_ms: Set(Some(unix_ms(now))),
                ..Default::default()
            };
            row.update(on).await?;
        }
        writing.commit().await
    }
}

pub(crate) fn missing(id: u64) -> Error {
    Error::Missing(format!("there is no alert {id}: `lineside alerts --all` lists those there are"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::Selection;
    use lineside_wire::v1::ReleaseRef;

    fn alert(rule: &str, fired: bool, at_unix_ms: i64) -> Alert {
        Alert {
            slot: "turbine".into(),
            rule: rule.into(),
            release: ReleaseRef { name: "turbine".into(), version: "1".into(), digest: [7; 32] },
            fired,
            start_unix_ms: 1_000,
            end_unix_ms: 2_000,
            signal: "median of score".into(),
            values: vec![1.25, f64::NAN],
            low: f64::NEG_INFINITY,
            high: 1.0,
            explained: vec![("wind".into(), 0.5)],
            done: vec!["fail_safe".into()],
            at_unix_ms,
        }
    }

    struct Books {
        alerts: Alerts,
        place: Place,
        _folder: tempfile::TempDir,
    }

    impl Books {
        async fn new() -> Books {
            let folder = tempfile::tempdir().unwrap();
            let store = Arc::new(crate::store::testing::store(folder.path()).await);
            let place = Place::Device("line-3".parse().unwrap());
            Books { alerts: Alerts::new(store), place, _folder: folder }
        }

        /// Puts these down in turn, and gives what was new of each.
        async fn put(&self, said: &[Alert]) -> Vec<Option<News>> {
            let mut news = Vec::new();
            for said in said {
                let writing = self.alerts.store.write().await.unwrap();
                news.push(put(&writing.transaction, &self.place, said, None).await.unwrap());
                writing.commit().await.unwrap();
            }
            news
        }

        /// When each has fired and was over, the newest first.
        async fn spans(&self) -> Vec<(Option<i64>, Option<i64>)> {
            let rows = alert::Entity::find().order_by_desc(alert::Column::Id);
            let rows = rows.all(self.alerts.store.read()).await.unwrap();
            rows.into_iter().map(|row| (row.fired_unix_ms, row.over_unix_ms)).collect()
        }
    }

    #[tokio::test]
    async fn an_alert_is_one_however_often_and_in_which_order_it_is_told() {
        let books = Books::new().await;
        let [fired, over, again] =
            [alert("high", true, 10), alert("high", false, 20), alert("high", true, 30)];
        let told = [&fired, &fired, &over, &over, &fired, &again].map(Clone::clone);
        let news = books.put(&told).await;
        use News::{Fired, Over, Passed};
        assert_eq!(news, [Some(Fired(1)), None, Some(Over(1)), None, None, Some(Fired(2))]);
        assert_eq!(books.spans().await, [(Some(30), None), (Some(10), Some(20))]);
        // Another rule, another release: another alert.
        let mut other = alert("high", true, 40);
        other.release.digest = [8; 32];
        assert_eq!(books.put(&[alert("low", true, 40), other]).await.len(), 2);
        assert_eq!(books.spans().await.len(), 4);

        // Its end comes first, and that of an earlier one after it.
        let books = Books::new().await;
        let news = books.put(&[over.clone(), over, fired.clone(), again, fired]).await;
        assert_eq!(news, [None, None, Some(Passed(1)), Some(Fired(2)), None]);
        assert_eq!(books.spans().await, [(Some(30), None), (Some(10), Some(20))]);
    }

    #[tokio::test]
    async fn the_oldest_that_are_over_give_way_first() {
        let books = Books::new().await;
        books.put(&[alert("stays", true, 1)]).await;
        for at in 0..to_row(ALERTS_MAX) {
            books
                .put(&[alert("comes", true, 10 + 2 * at), alert("comes", false, 11 + 2 * at)])
                .await;
        }
        let spans = books.spans().await;
        assert_eq!(spans.len() as u64, ALERTS_MAX);
        assert_eq!(spans.last(), Some(&(Some(1), None)));
        let second = &spans[spans.len() - 2];
        assert_eq!(second, &(Some(12), Some(13)));
    }

    #[tokio::test]
    async fn who_has_acknowledged_an_alert_is_written_down_once() {
        let books = Books::new().await;
        books.put(&[alert("high", true, 10)]).await;
        let now = OffsetDateTime::UNIX_EPOCH;
        books.alerts.acknowledge(1, "", now).await.unwrap();
        books.alerts.acknowledge(1, "anna", now).await.unwrap();
        let shown = books.alerts.get(1).await.unwrap();
        assert_eq!(shown.acknowledged_by.as_deref(), Some(ADMINISTRATOR));
        assert_eq!(shown.values, [Some(1.25), None]);
        assert_eq!((shown.low, shown.high), (None, Some(1.0)));
        let looked_at = Selection { open: Some(true), ..Selection::default() };
        assert_eq!(books.alerts.list(&looked_at).await.unwrap().len(), 1, "it is not over");
        let missing = books.alerts.acknowledge(9, "", now).await.unwrap_err();
        assert!(missing.to_string().contains("lineside alerts"), "{missing}");
    }
}
