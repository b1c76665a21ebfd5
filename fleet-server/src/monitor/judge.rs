//! Rules that look at a site or at the fleet as one, judged here by the code that devices judge by: each interval
//! once, in the transaction that counts it.

use crate::bounds::{MESSAGE_RECORDS_MAX, MONITOR_SILENCE_MS, MONITORS_MAX};
use crate::error::Error;
use crate::fleet::Fleet;
use crate::ingest::{Taken, View};
use crate::monitor::alerts::{Context, Errands, Place, follow, put};
use crate::monitor::policy::{Policy, available};
use crate::registry::slot_shown;
use crate::store::tables::monitor;
use lineside_bundle::Digest;
use lineside_drift::Profile;
use lineside_rules::{Firing, Monitor, Rules, Scope};
use lineside_wire::name::DeviceId;
use lineside_wire::v1::Interval;
use sea_orm::ActiveValue::Set;
use sea_orm::sea_query::{ExprTrait, OnConflict};
use sea_orm::{
    ColumnTrait, DatabaseTransaction, EntityTrait, QueryFilter, QueryOrder, QuerySelect,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

impl Policy {
    /// The rules of a slot that are judged here at this scope.
    fn judged(&self, slot: &str, scope: Scope) -> Rules {
        let mut rules = self.policy.rules(slot);
        rules.retain(|_, rule| rule.scope == scope);
        rules
    }

    /// Whether some rule is judged here.
    fn judges(&self) -> bool {
        let rules = self.policy.slots.values().flat_map(|slot| slot.rules.values());
        rules.into_iter().any(|rule| rule.scope != Scope::Device)
    }
}

/// Gives new intervals of a device to the rules of its site and of the fleet, and writes down what follows. Of
/// releases that were never assigned to the device nothing is judged: whoever has its password could say anything
/// of what nobody else runs.
pub(super) async fn judge(
    on: &DatabaseTransaction,
    records: &[Taken],
    context: &Context,
    errands: &mut Errands,
) -> Result<(), Error> {
    let intervals: Vec<&Interval> = records
        .iter()
        .filter_map(|record| match &record.view {
            View::Interval(interval) => Some(&**interval),
            _ => None,
        })
        .filter(|interval| context.given.contains(&Digest::from(interval.release.digest)))
        .collect();
    if intervals.is_empty() || context.policies.is_empty() {
        return Ok(());
    }
    let mut judging = Judging::new(on, context).await?;
    // Two things may happen to one rule in a moment, and are told apart by their times.
    let mut at_unix_ms = context.now_unix_ms;
    for interval in intervals {
        for (site, policy) in context.policies.iter() {
            let scopes = [
                (Scope::Site, Place::Site(site.clone()), *site == context.site),
                (Scope::Fleet, Place::Fleet(site.clone()), true),
            ];
            for (scope, place, is_concerned) in scopes {
                if !is_concerned {
                    continue;
                }
                let rules = policy.judged(&interval.slot, scope);
                for firing in judging.take(&place, interval, &rules).await? {
                    at_unix_ms = at_unix_ms.saturating_add(1);
                    tell(on, &place, &interval.slot, firing, at_unix_ms, context, errands).await?;
                }
            }
        }
    }
    for (place, slot, firing) in judging.end().await? {
        at_unix_ms = at_unix_ms.saturating_add(1);
        tell(on, &place, &slot, firing, at_unix_ms, context, errands).await?;
    }
    Ok(())
}

async fn tell(
    on: &DatabaseTransaction,
    place: &Place,
    slot: &str,
    firing: Firing,
    at_unix_ms: i64,
    context: &Context,
    errands: &mut Errands,
) -> Result<(), Error> {
    let said = firing.alert(slot, vec![], at_unix_ms);
    match put(on, place, &said, firing.evidence.map(|whole| *whole)).await? {
        Some(news) => follow(on, news, &said, place, place.name(), context, errands).await,
        None => Ok(()),
    }
}

/// Scope, place, slot and digest, as the books have them.
type Key = (String, String, String, String);

/// Monitors over a message: each is read once, and written once at the end.
struct Judging<'a> {
    on: &'a DatabaseTransaction,
    context: &'a Context,
    /// Those there are.
    known: BTreeSet<Key>,
    /// Those that were looked at.
    open: BTreeMap<Key, Monitor>,
}

impl Judging<'_> {
    async fn new<'a>(
        on: &'a DatabaseTransaction,
        context: &'a Context,
    ) -> Result<Judging<'a>, Error> {
        use monitor::Column::{Digest, Place as OfPlace, Scope, Slot};
        let of_site = Scope.eq("site").and(OfPlace.eq(&context.site));
        let known = monitor::Entity::find()
            .select_only()
            .columns([Scope, OfPlace, Slot, Digest])
            .filter(Scope.eq("fleet").or(of_site))
            .into_tuple::<Key>()
            .all(on)
            .await?;
        let known = known.into_iter().collect();
        Ok(Judging { on, context, known, open: BTreeMap::new() })
    }

    /// What follows from an interval for the rules of a place.
    async fn take(
        &mut self,
        place: &Place,
        interval: &Interval,
        rules: &Rules,
    ) -> Result<Vec<Firing>, Error> {
        let key = (
            place.scope().to_owned(),
            place.name().to_owned(),
            slot_shown(&interval.slot),
            Digest::from(interval.release.digest).hex(),
        );
        let is_known = self.known.contains(&key);
        if rules.is_empty() && !is_known {
            return Ok(vec![]);
        }
        let mut state = match self.open.remove(&key) {
            Some(state) => state,
            None if is_known => {
                let row = monitor::Entity::find_by_id(key.clone()).one(self.on).await?;
                row.map_or_else(Monitor::of_many, |row| read(&row.state))
            }
            None => Monitor::of_many(),
        };
        if rules.is_empty() {
            // What fired of rules that are gone is over.
            self.known.remove(&key);
            monitor::Entity::delete_by_id(key).exec(self.on).await?;
            return Ok(state.end());
        }
        self.known.insert(key.clone());
        let profile = self.context.profiles.get(&interval.release.digest);
        let firings = state.take(interval, rules, profile.map(Arc::as_ref));
        self.open.insert(key, state);
        Ok(firings)
    }

    /// Writes down what was looked at. Gives what is over because it gives way.
    async fn end(self) -> Result<Vec<(Place, String, Firing)>, Error> {
        let mut places = BTreeSet::new();
        for ((scope, place, slot, digest), state) in self.open {
            places.insert((scope.clone(), place.clone()));
            let row = monitor::ActiveModel {
                scope: Set(scope),
                place: Set(place),
                slot: Set(slot),
                digest: Set(digest),
                state: Set(write(&state)),
                heard_unix_ms: Set(self.context.now_unix_ms),
            };
            use monitor::Column::{Digest, HeardUnixMs, Place, Scope, Slot, State};
            let again = OnConflict::columns([Scope, Place, Slot, Digest])
                .update_columns([State, HeardUnixMs])
                .to_owned();
            monitor::Entity::insert(row).on_conflict(again).exec_without_returning(self.on).await?;
        }
        let mut over = Vec::new();
        for (scope, name) in places {
            let place = if scope == "site" { Place::Site(name) } else { Place::Fleet(name) };
            let gone = keep(self.on, &place, self.context.now_unix_ms).await?;
            over.extend(gone.into_iter().map(|(slot, firing)| (place.clone(), slot, firing)));
        }
        Ok(over)
    }
}

/// Lets go of releases that nobody seems to run any more, and of those of which nothing was heard for longest
/// where there are too many. What fired of them is over, in which slot.
async fn keep(
    on: &DatabaseTransaction,
    place: &Place,
    now_unix_ms: i64,
) -> Result<Vec<(String, Firing)>, Error> {
    let of_place = monitor::Entity::find()
        .filter(monitor::Column::Scope.eq(place.scope()))
        .filter(monitor::Column::Place.eq(place.name()))
        .order_by_desc(monitor::Column::HeardUnixMs)
        .limit(MESSAGE_RECORDS_MAX as u64);
    let since = now_unix_ms.saturating_sub(MONITOR_SILENCE_MS);
    let silent = of_place.clone().filter(monitor::Column::HeardUnixMs.lt(since)).all(on).await?;
    let excess = of_place.offset(MONITORS_MAX).all(on).await?;
    let mut over = Vec::new();
    let rows: BTreeMap<_, _> = [silent, excess]
        .concat()
        .into_iter()
        .map(|row| ((row.slot.clone(), row.digest.clone()), row))
        .collect();
    for row in rows.into_values() {
        let firings = read(&row.state).end();
        over.extend(firings.into_iter().map(|firing| (row.slot.clone(), firing)));
        let key = (row.scope, row.place, row.slot, row.digest);
        monitor::Entity::delete_by_id(key).exec(on).await?;
    }
    Ok(over)
}

/// The form in which it is written, before the rest. Whoever changes what a monitor keeps raises it.
const FORM: u8 = 2;

/// As far as it was written; what was written in another form begins anew.
fn read(state: &[u8]) -> Monitor {
    let written = match state {
        [FORM, written @ ..] => postcard::from_bytes(written).ok(),
        _ => None,
    };
    written.unwrap_or_else(Monitor::of_many)
}

fn write(state: &Monitor) -> Vec<u8> {
    // Where it has no form, it begins anew with the next interval.
    postcard::to_extend(state, vec![FORM]).unwrap_or_default()
}

impl Fleet {
    /// Digests of what is and was assigned to a device, as far as something of it may be judged here.
    pub(super) async fn given(
        &self,
        device: &DeviceId,
        records: &[Taken],
        policies: &BTreeMap<String, Policy>,
    ) -> Result<BTreeSet<Digest>, Error> {
        let is_interval = |record: &Taken| matches!(record.view, View::Interval(_));
        if policies.is_empty() || !records.iter().any(is_interval) {
            return Ok(BTreeSet::new());
        }
        let assigned = self.director.assigned(device).await?;
        Ok(assigned.map(|assigned| assigned.given()).unwrap_or_default())
    }

    /// Profiles of the releases that intervals are of, as far as they were given to the device and rules are judged
    /// here.
    pub(super) async fn profiles(
        &self,
        records: &[Taken],
        policies: &BTreeMap<String, Policy>,
        given: &BTreeSet<Digest>,
    ) -> Result<BTreeMap<[u8; 32], Arc<Profile>>, Error> {
        let mut profiles = BTreeMap::new();
        if !policies.values().any(Policy::judges) {
            return Ok(profiles);
        }
        for record in records {
            let View::Interval(interval) = &record.view else { continue };
            if !given.contains(&Digest::from(interval.release.digest)) {
                continue;
            }
            let found = self.overview.profiles.of(&interval.release).await;
            if let Some(profile) = available(found.map(Result::ok))? {
                profiles.insert(interval.release.digest, profile);
            }
        }
        Ok(profiles)
    }
}
