//! The engine and its log. Each event is on disk before anything follows from it.

use crate::audit::{By, did, digest, text};
use crate::error::{Error, chain};
use crate::rollout::news;
use crate::store::tables::{rollout_event, rollout_state};
use crate::store::{Store, from_row, unix_ms};
use lineside_audit::{Action, Change, Reason, Value};
use lineside_rollout::{
    Assign, Effect, Event, Measured, Order, Person, Refused, Report, STATE_VERSION, Status, Way,
    Wish,
};
use sea_orm::ActiveValue::Set;
use sea_orm::sea_query::OnConflict;
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, MutexGuard, PoisonError};
use time::OffsetDateTime;
use tokio::sync::{Mutex, Notify};

/// Events after which the state is written, so that a start need not follow more than these.
const EVENTS_MAX: i64 = 5_000;
/// Events that are read at once at a start.
const EVENTS_AT_ONCE: u64 = 1_000;
/// The one row of the state.
const STATE: i64 = 1;

/// The rollouts of a server.
pub(crate) struct Rollouts {
    pub(super) store: Arc<Store>,
    /// None until it was read, and after something could not be written: it is read anew then.
    engine: Mutex<Option<Engine>>,
    /// What is to be assigned.
    due: std::sync::Mutex<BTreeSet<Assign>>,
    pub(super) is_due: Notify,
    /// Held while something is assigned to a slot, by a rollout or by somebody else: who comes second sees what
    /// the first has done.
    pub(super) giving: Mutex<()>,
    /// Held from the reading of what a device says until the engine has it.
    pub(super) hearing: Mutex<()>,
    /// Says that the registry has changed.
    pub(crate) is_stale: Notify,
    /// Events after which the state is written.
    events_max: i64,
}

/// The state in memory, and how far the log was followed.
pub(super) struct Engine {
    pub state: lineside_rollout::Rollouts,
    /// The last event that is in it.
    last: i64,
    /// The last event that is in the state on disk.
    written: i64,
    /// What was reported of slots last, since the start: who says the same again says nothing new.
    told: BTreeMap<(String, String), (Option<String>, Way)>,
    /// How slots run what rollouts gave them, as it was measured last.
    measured: BTreeMap<(String, String), Measured>,
    /// Whether something has happened since the last tick.
    pub has_news: bool,
}

/// Who wants what is done with a rollout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanting {
    Person,
    /// A rule of a site's policy, which the event names where it would name a person.
    Rule,
}

/// What people do with rollouts, for the audit log: a plan by the digest of its JSON, which is in the log of
/// rollouts until it is forgotten.
fn recorded(event: &Event, wanting: Wanting) -> Option<Change> {
    let (action, rollout, by, new) = match event {
        Event::Created { rollout, plan, by } => {
            let plan = serde_json::to_vec(plan).expect("a plan has a JSON form");
            (Action::RolloutCreated, rollout, by, Some(Value::Digest(digest(&plan))))
        }
        Event::Person(Person { rollout, by, wish }) => {
            let action = match wish {
                Wish::Approve => Action::RolloutApproved,
                _ => Action::RolloutMoved,
            };
            let wish = serde_json::to_string(wish).expect("a wish has a JSON form");
            (action, rollout, by, text(&wish))
        }
        // What follows of it for slots is recorded there, and what devices say is where that is heard.
        Event::Started
        | Event::Ticked(_)
        | Event::Device(_)
        | Event::Left { .. }
        | Event::Site(_)
        | Event::Reported(_)
        | Event::Measured(_)
        | Event::TakenOver { .. } => return None,
    };
    let (who, why) = match wanting {
        Wanting::Person => (By::named(by), None),
        Wanting::Rule => (By::Server("policy"), Reason::lossy(by)),
    };
    Some(Change { new, why, ..did(&who, action, "rollout", &rollout.to_string()) })
}

impl Rollouts {
    /// The rollouts in `store`.
    pub fn new(store: Arc<Store>) -> Rollouts {
        Rollouts {
            store,
            engine: Mutex::default(),
            due: std::sync::Mutex::default(),
            is_due: Notify::new(),
            giving: Mutex::default(),
            hearing: Mutex::default(),
            is_stale: Notify::new(),
            events_max: EVENTS_MAX,
        }
    }

    /// Looks at the state.
    ///
    /// # Errors
    /// [`Error::Database`]; [`Error::Conflict`] if it was written by another server.
    pub async fn read<T>(
        &self,
        look: impl FnOnce(&lineside_rollout::Rollouts) -> T,
    ) -> Result<T, Error> {
        let mut engine = self.engine.lock().await;
        Ok(look(&self.loaded(&mut engine).await?.state))
    }

    /// Whether any rollout may have something to do.
    ///
    /// # Errors
    /// As for [`Rollouts::read`].
    pub async fn are_idle(&self) -> Result<bool, Error> {
        let is_idle = |status| matches!(status, Status::Draft | Status::Aborted | Status::Done);
        self.read(|state| state.rollouts().all(|(_, rollout)| is_idle(rollout.status()))).await
    }

    /// Writes an event down and follows it. What it has people told is written with it; what it has devices
    /// given is put in the row. Whoever wants it may hang up: what is begun goes on to its end.
    ///
    /// # Errors
    /// [`Error::Missing`], [`Error::Malformed`], [`Error::Conflict`] where the engine refuses it, and nothing
    /// has changed; [`Error::Database`].
    pub async fn apply(self: &Arc<Self>, event: Event) -> Result<(), Error> {
        self.apply_made(|_| Some((event, ()))).await.map(|_| ())
    }

    /// The same of what a rule wants, and no person.
    ///
    /// # Errors
    /// As for [`Rollouts::apply`].
    pub(super) async fn apply_by_rule(self: &Arc<Self>, event: Event) -> Result<(), Error> {
        self.begin(|_| Some((event, ())), Wanting::Rule).await.map(|_| ())
    }

    /// The same of what `make` makes of the state, and gives what it makes besides; nothing happens where it makes
    /// nothing.
    ///
    /// # Errors
    /// As for [`Rollouts::apply`].
    pub async fn apply_made<T: Send + 'static>(
        self: &Arc<Self>,
        make: impl FnOnce(&lineside_rollout::Rollouts) -> Option<(Event, T)> + Send + 'static,
    ) -> Result<Option<T>, Error> {
        self.begin(make, Wanting::Person).await
    }

    async fn begin<T: Send + 'static>(
        self: &Arc<Self>,
        make: impl FnOnce(&lineside_rollout::Rollouts) -> Option<(Event, T)> + Send + 'static,
        wanting: Wanting,
    ) -> Result<Option<T>, Error> {
        let rollouts = self.clone();
        let applying = tokio::spawn(async move { rollouts.apply_now(make, wanting).await });
        let cut_off = |error| sea_orm::DbErr::Custom(format!("it was cut off: {error}"));
        applying.await.map_err(cut_off)?
    }

    async fn apply_now<T: Send>(
        &self,
        make: impl FnOnce(&lineside_rollout::Rollouts) -> Option<(Event, T)> + Send,
        wanting: Wanting,
    ) -> Result<Option<T>, Error> {
        let mut held = self.engine.lock().await;
        let engine = self.loaded(&mut held).await?;
        let Some((mut event, made)) = make(&engine.state) else { return Ok(None) };
        let id = engine.last + 1;
        let mut said = None;
        if let Event::Reported(report) = &mut event {
            let slot = (report.device.clone(), report.slot.clone());
            let says = (report.active.clone(), report.way.clone());
            if engine.told.get(&slot) == Some(&says) {
                return Ok(Some(made));
            }
            report.order = order(id);
            said = Some((slot, says));
        }
        let mut has_measured = None;
        if let Event::Measured(measured) = &event {
            let slot = (measured.device.clone(), measured.slot.clone());
            if engine.measured.get(&slot) == Some(measured) {
                return Ok(Some(made));
            }
            has_measured = Some((slot, measured.clone()));
        }
        let now = OffsetDateTime::now_utc();
        let writing = self.store.write().await?;
        let row = rollout_event::ActiveModel {
            id: Set(id),
            body: Set(serde_json::to_string(&event).expect("an event has a JSON form")),
        };
        rollout_event::Entity::insert(row).exec_without_returning(&writing.transaction).await?;
        let effects = engine.state.step(&event).map_err(refused)?;
        if let Some(change) = recorded(&event, wanting) {
            writing.record(change);
        }
        let told = news::put(&writing.transaction, &effects, unix_ms(now)).await;
        let committed = match told {
            Ok(()) => writing.commit().await,
            Err(error) => Err(error),
        };
        if let Err(error) = committed {
            // What is in memory is ahead of what is on disk.
            *held = None;
            return Err(error);
        }
        engine.last = id;
        engine.told.extend(said);
        if let Event::Left { device } = &event {
            // One of the same name that comes later is another.
            engine.told.retain(|(told, _), _| told != device);
            engine.measured.retain(|(told, _), _| told != device);
        }
        engine.measured.extend(has_measured);
        engine.has_news |= !matches!(event, Event::Ticked(_)) || !effects.is_empty();
        self.put_due(effects.into_iter().filter_map(assign));
        if engine.last - engine.written >= self.events_max {
            // The event stands; the log is longer until it can be written.
            if let Err(error) = self.write_state(engine).await {
                tracing::warn!("the state of the rollouts is written later: {}", chain(&error));
            }
        }
        Ok(Some(made))
    }

    /// What a slot says next is news, though it may be what it said last: it was given something else.
    pub(super) async fn ask_anew(&self, device: &str, slot: &str) {
        if let Some(engine) = self.engine.lock().await.as_mut() {
            let slot = (device.to_owned(), slot.to_owned());
            engine.told.remove(&slot);
            engine.measured.remove(&slot);
        }
    }

    /// Whether something has happened since this was asked last.
    pub(super) async fn take_news(&self) -> bool {
        let mut engine = self.engine.lock().await;
        engine.as_mut().is_some_and(|engine| std::mem::take(&mut engine.has_news))
    }

    /// Puts what is to be assigned in the row.
    pub(super) fn put_due(&self, assigns: impl IntoIterator<Item = Assign>) {
        let mut due = self.due();
        due.extend(assigns);
        if !due.is_empty() {
            self.is_due.notify_one();
        }
    }

    /// What is to be assigned next.
    pub(super) fn next_due(&self) -> Option<Assign> {
        self.due().pop_first()
    }

    fn due(&self) -> MutexGuard<'_, BTreeSet<Assign>> {
        self.due.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The engine, read from disk where it is not in memory.
    async fn loaded<'a>(&self, held: &'a mut Option<Engine>) -> Result<&'a mut Engine, Error> {
        if held.is_none() {
            let mut engine = self.load().await?;
            // What was given out may not have been carried out: the power went, or nobody heard of the commit.
            let effects = engine.state.step(&Event::Started).map_err(refused)?;
            self.put_due(effects.into_iter().filter_map(assign));
            *held = Some(engine);
        }
        Ok(held.as_mut().expect("it was just put there"))
    }

    async fn load(&self) -> Result<Engine, Error> {
        let on = self.store.read();
        let row = rollout_state::Entity::find_by_id(STATE).one(on).await?;
        let (mut state, written) = match row {
            None => (lineside_rollout::Rollouts::default(), 0),
            Some(row) => (read_state(&row)?, row.after),
        };
        let mut last = written;
        loop {
            let rows = rollout_event::Entity::find()
                .filter(rollout_event::Column::Id.gt(last))
                .order_by_asc(rollout_event::Column::Id)
                .limit(EVENTS_AT_ONCE)
                .all(on)
                .await?;
            let Some(newest) = rows.last() else { break };
            last = newest.id;
            for row in rows {
                let event: Event = serde_json::from_str(&row.body).map_err(|error| {
                    let id = row.id;
                    Error::Conflict(format!("event {id} of the rollouts cannot be read: {error}"))
                })?;
                // What follows from it was done, or is asked for again after the start.
                state.step(&event).map_err(refused)?;
            }
        }
        Ok(Engine {
            state,
            last,
            written,
            told: BTreeMap::new(),
            measured: BTreeMap::new(),
            has_news: true,
        })
    }

    /// Writes the state, and forgets the events that are in it.
    async fn write_state(&self, engine: &mut Engine) -> Result<(), Error> {
        let body = postcard::to_stdvec(&engine.state)
            .map_err(|error| Error::Conflict(format!("rollouts cannot be written: {error}")))?;
        let row = rollout_state::ActiveModel {
            id: Set(STATE),
            after: Set(engine.last),
            version: Set(i64::from(STATE_VERSION)),
            body: Set(body),
        };
        use rollout_state::Column::{After, Body, Id, Version};
        let writing = self.store.write().await?;
        rollout_state::Entity::insert(row)
            .on_conflict(OnConflict::column(Id).update_columns([After, Version, Body]).to_owned())
            .exec_without_returning(&writing.transaction)
            .await?;
        rollout_event::Entity::delete_many()
            .filter(rollout_event::Column::Id.lte(engine.last))
            .exec(&writing.transaction)
            .await?;
        writing.commit().await?;
        engine.written = engine.last;
        Ok(())
    }
}

fn read_state(row: &rollout_state::Model) -> Result<lineside_rollout::Rollouts, Error> {
    if row.version != i64::from(STATE_VERSION) {
        return Err(Error::Conflict(format!(
            "the rollouts were written in version {}, and this server reads {STATE_VERSION}: start the \
             server that has written them",
            row.version
        )));
    }
    postcard::from_bytes(&row.body)
        .map_err(|error| Error::Conflict(format!("the rollouts cannot be read: {error}")))
}

fn assign(effect: Effect) -> Option<Assign> {
    match effect {
        Effect::Assign(assign) => Some(assign),
        Effect::Tell { .. } => None,
    }
}

/// Of two reports the one that came later is the newer one.
fn order(id: i64) -> Order {
    let id = from_row(id);
    Order { boot: (id >> 32) as u32, sequence: id as u32 }
}

fn refused(refused: Refused) -> Error {
    let told = chain(&refused);
    match refused {
        Refused::NoDevice { .. } | Refused::NoRollout { .. } | Refused::NotIn { .. } => {
            Error::Missing(told)
        }
        Refused::Plan(_) | Refused::NoRoom { .. } => Error::Malformed(told),
        Refused::Number { .. }
        | Refused::TooMany
        | Refused::Approvals { .. }
        | Refused::OwnApproval { .. }
        | Refused::Conflicts { .. }
        | Refused::Status { .. } => Error::Conflict(told),
    }
}

/// A report of a slot; the log says which is the newest.
pub(super) fn report(device: &str, slot: &str, active: Option<String>, way: Way) -> Report {
    Report {
        device: device.to_owned(),
        slot: slot.to_owned(),
        order: Order::default(),
        active,
        way,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lineside_rollout::{DeviceFacts, Ticked};
    use sea_orm::PaginatorTrait;

    fn facts(number: usize) -> Event {
        let device = format!("mill-{number}");
        Event::Device(DeviceFacts { device, site: "hill".into(), ..DeviceFacts::default() })
    }

    #[tokio::test]
    async fn what_is_in_the_state_is_not_followed_again_and_a_start_finds_what_was() {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(crate::store::testing::store(folder.path()).await);
        let rollouts = Arc::new(Rollouts { events_max: 4, ..Rollouts::new(store.clone()) });
        for number in 0..10 {
            rollouts.apply(facts(number)).await.unwrap();
            let report = report(&format!("mill-{number}"), "line", Some("a@1".into()), Way::Idle);
            rollouts.apply(Event::Reported(report)).await.unwrap();
        }
        rollouts.apply(Event::Ticked(Ticked { ran_ms: 1_000, utc_minute: None })).await.unwrap();
        // Five times four of them are in the state.
        assert_eq!(rollout_event::Entity::find().count(store.read()).await.unwrap(), 1);
        let state = rollouts.read(Clone::clone).await.unwrap();
        let again = Rollouts::new(store);
        assert_eq!(again.read(Clone::clone).await.unwrap(), state);
        assert!(again.read(|state| state.knows("mill-9", "line", Some("a@1"))).await.unwrap());
    }

    #[tokio::test]
    async fn what_is_refused_leaves_nothing_behind_and_what_is_said_twice_is_written_once() {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(crate::store::testing::store(folder.path()).await);
        let rollouts = Arc::new(Rollouts::new(store.clone()));
        let says = || Event::Reported(report("mill-1", "line", None, Way::Idle));
        assert!(matches!(rollouts.apply(says()).await, Err(Error::Missing(_))));
        let written = async || rollout_event::Entity::find().count(store.read()).await.unwrap();
        assert_eq!(written().await, 0);
        rollouts.apply(facts(1)).await.unwrap();
        for _ in 0..3 {
            rollouts.apply(says()).await.unwrap();
        }
        assert_eq!(written().await, 2);
    }

    #[tokio::test]
    async fn what_could_not_be_written_is_not_believed() {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(crate::store::testing::store(folder.path()).await);
        let rollouts = Arc::new(Rollouts::new(store.clone()));
        rollouts.apply(facts(1)).await.unwrap();
        // As another server would write it.
        let row = rollout_event::ActiveModel { id: Set(2), body: Set("{}".into()) };
        let writing = store.write().await.unwrap();
        let insert = rollout_event::Entity::insert(row);
        insert.exec_without_returning(&writing.transaction).await.unwrap();
        writing.commit().await.unwrap();
        assert!(matches!(rollouts.apply(facts(2)).await, Err(Error::Database(_))));
        let knows = |state: &lineside_rollout::Rollouts| state.facts("mill-2").is_some();
        assert!(!rollouts.read(knows).await.unwrap());
    }
}
