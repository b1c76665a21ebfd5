//! Rules that look at a site or at the fleet as one, judged here by the code that devices judge by: each interval
//! once, in the transaction that counts it.

use crate::bounds::MONITORS_MAX;
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
use lineside_wire::v1::Interval;
use sea_orm::ActiveValue::Set;
use sea_orm::sea_query::OnConflict;
use sea_orm::{ColumnTrait, DatabaseTransaction, EntityTrait, QueryFilter, QueryOrder};
use std::collections::BTreeMap;
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

/// Gives new intervals of a device to the rules of its site and of the fleet, and writes down what follows.
pub(super) async fn judge(
    on: &DatabaseTransaction,
    records: &[Taken],
    context: &Context,
    errands: &mut Errands,
) -> Result<(), Error> {
    // Two things may happen to one rule in a moment, and are told apart by their times.
    let mut at_unix_ms = context.now_unix_ms;
    for record in records {
        let View::Interval(interval) = &record.view else { continue };
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
                let firings = take(on, &place, interval, &rules, context).await?;
                for firing in firings {
                    at_unix_ms = at_unix_ms.saturating_add(1);
                    tell(on, &place, &interval.slot, firing, at_unix_ms, context, errands).await?;
                }
            }
        }
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

/// What follows from an interval for the rules of a place.
async fn take(
    on: &DatabaseTransaction,
    place: &Place,
    interval: &Interval,
    rules: &Rules,
    context: &Context,
) -> Result<Vec<Firing>, Error> {
    let key = (
        place.scope().to_owned(),
        place.name().to_owned(),
        slot_shown(&interval.slot),
        Digest::from(interval.release.digest).hex(),
    );
    let known = monitor::Entity::find_by_id(key.clone()).one(on).await?;
    if rules.is_empty() {
        // What fired of rules that are gone is over.
        let Some(known) = known else { return Ok(vec![]) };
        monitor::Entity::delete_by_id(key).exec(on).await?;
        return Ok(read(&known.state).end());
    }
    let profile = context.profiles.get(&interval.release.digest);
    let begun = known.is_none();
    let mut state = known.map_or_else(Monitor::of_many, |known| read(&known.state));
    let mut firings = state.take(interval, rules, profile.map(Arc::as_ref));
    let (scope, site, slot, digest) = key;
    let row = monitor::ActiveModel {
        scope: Set(scope),
        place: Set(site),
        slot: Set(slot),
        digest: Set(digest),
        state: Set(write(&state)),
        heard_unix_ms: Set(context.now_unix_ms),
    };
    use monitor::Column::{Digest as OfRelease, HeardUnixMs, Place as OfPlace, Scope, Slot, State};
    let again = OnConflict::columns([Scope, OfPlace, Slot, OfRelease])
        .update_columns([State, HeardUnixMs])
        .to_owned();
    monitor::Entity::insert(row).on_conflict(again).exec_without_returning(on).await?;
    if begun {
        firings.extend(keep(on, place).await?);
    }
    Ok(firings)
}

/// Lets go of releases of which nothing was heard for longest; what fired of them is over.
async fn keep(on: &DatabaseTransaction, place: &Place) -> Result<Vec<Firing>, Error> {
    let rows = monitor::Entity::find()
        .filter(monitor::Column::Scope.eq(place.scope()))
        .filter(monitor::Column::Place.eq(place.name()))
        .order_by_desc(monitor::Column::HeardUnixMs)
        .all(on)
        .await?;
    let mut over = Vec::new();
    for row in rows.into_iter().skip(MONITORS_MAX) {
        over.extend(read(&row.state).end());
        let key = (row.scope, row.place, row.slot, row.digest);
        monitor::Entity::delete_by_id(key).exec(on).await?;
    }
    Ok(over)
}

/// As far as it was written; what another server has written begins anew.
fn read(state: &[u8]) -> Monitor {
    postcard::from_bytes(state).unwrap_or_else(|_| Monitor::of_many())
}

fn write(state: &Monitor) -> Vec<u8> {
    // Where it has no form, it begins anew with the next interval.
    postcard::to_stdvec(state).unwrap_or_default()
}

impl Fleet {
    /// Profiles of the releases that intervals are of, as far as rules are judged here.
    pub(super) async fn profiles(
        &self,
        records: &[Taken],
        policies: &BTreeMap<String, Policy>,
    ) -> Result<BTreeMap<[u8; 32], Arc<Profile>>, Error> {
        let mut profiles = BTreeMap::new();
        if !policies.values().any(Policy::judges) {
            return Ok(profiles);
        }
        for record in records {
            let View::Interval(interval) = &record.view else { continue };
            let found = self.overview.profiles.of(&interval.release).await;
            if let Some(profile) = available(found.map(Result::ok))? {
                profiles.insert(interval.release.digest, profile);
            }
        }
        Ok(profiles)
    }
}
