//! What rules want to be assigned: written down when they fire, and done at once or when a person approves it.

use crate::audit::{By, did, release_name, text};
use crate::bounds::{DEVICES_AT_ONCE, RULE_CHARS_MAX, TEXT_CHARS_MAX, short};
use crate::error::{Error, chain};
use crate::fleet::Fleet;
use crate::ingest::time_shown;
use crate::monitor::alerts::{ADMINISTRATOR, Place, missing};
use crate::monitor::policy::Policy;
use crate::registry::Device;
use crate::release::Released;
use crate::store::tables::{alert, proposal};
use crate::store::{from_row, to_row, unix_ms};
use lineside_audit::{Action, Change, Reason};
use lineside_bundle::Digest;
use lineside_rules::AlertRule;
use lineside_wire::name::SlotName;
use sea_orm::ActiveValue::{Set, Unchanged};
use sea_orm::{
    ActiveModelTrait, ColumnTrait, DatabaseTransaction, EntityTrait, QueryFilter, QueryOrder,
};
use serde::Serialize;
use std::sync::Arc;
use std::time::Duration;
use time::OffsetDateTime;
use utoipa::ToSchema;

/// A person is asked.
const ASKED: &str = "asked";
/// It is to be done.
const DUE: &str = "due";
const DONE: &str = "done";
const DECLINED: &str = "declined";
/// Nothing came of it.
const FAILED: &str = "failed";

/// Pause while the database fails, or no list of releases holds.
const TROUBLE_PAUSE: Duration = Duration::from_secs(5);
/// How often is looked for what is due, whoever has said so.
const LOOKED_EVERY: Duration = Duration::from_secs(60);

/// What a person decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Decision {
    Approve,
    Decline,
}

/// What a rule wants to be assigned, and what has come of it.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct ProposalShown {
    /// The release, as in `turbine/2`; null for what ran before.
    pub release: Option<String>,
    /// Which rule of which policy says so.
    pub policy: String,
    /// `asked` while a person is to decide; `due`, `done`, `failed`, `declined`.
    pub state: String,
    /// Who has decided; null where nobody was asked, or has yet.
    pub decided_by: Option<String>,
    /// When.
    pub decided: Option<String>,
    /// What has come of it, for people.
    pub text: String,
}

impl From<proposal::Model> for ProposalShown {
    fn from(row: proposal::Model) -> ProposalShown {
        ProposalShown {
            release: (!row.target.is_empty()).then_some(row.target),
            policy: row.policy,
            state: row.state,
            decided_by: row.decided_by,
            decided: row.decided_unix_ms.map(time_shown),
            text: row.said,
        }
    }
}

/// What a device is to be assigned.
struct Target {
    path: String,
    /// What was assigned there when that was looked up.
    seen: Option<String>,
}

/// Whether a person is asked before what a rule of this place wants is done. A site has no say over the devices of
/// others: what its rules want for the fleet waits for a person always.
fn asks(rule: &AlertRule, place: &Place) -> bool {
    rule.then.asks() || matches!(place, Place::Fleet(_))
}

/// Writes down what a rule of the policy of `site` that has fired at `place` wants to be assigned. Gives whether it is
/// to be done at once.
pub(super) async fn put(
    on: &DatabaseTransaction,
    alert: i64,
    name: &str,
    rule: &AlertRule,
    place: &Place,
    (site, policy): (&str, &Policy),
) -> Result<bool, Error> {
    let digest = policy.digest.hex();
    let said_by = format!("rule {name} of the policy of site {site}, sha256:{}…", &digest[..12]);
    let state = if asks(rule, place) { ASKED } else { DUE };
    let row = proposal::ActiveModel {
        alert: Set(alert),
        target: Set(rule.then.assign.clone().unwrap_or_default()),
        policy: Set(short(&said_by, TEXT_CHARS_MAX)),
        state: Set(state.into()),
        decided_by: Set(None),
        decided_unix_ms: Set(None),
        said: Set(String::new()),
    };
    proposal::Entity::insert(row).exec_without_returning(on).await?;
    Ok(state == DUE)
}

/// Forgets what was proposed because of these alerts.
pub(super) async fn forget(on: &DatabaseTransaction, alerts: &[i64]) -> Result<(), Error> {
    let of_them = proposal::Column::Alert.is_in(alerts.iter().copied());
    proposal::Entity::delete_many().filter(of_them).exec(on).await?;
    Ok(())
}

impl Fleet {
    /// Decides on what a rule has proposed, and does it where that is approved.
    ///
    /// # Errors
    /// [`Error::Missing`]; [`Error::Conflict`] where nobody is asked.
    pub async fn decide(
        &self,
        id: u64,
        decision: Decision,
        by: &str,
        now: OffsetDateTime,
    ) -> Result<(), Error> {
        let writing = self.store.write().await?;
        let on = &writing.transaction;
        if alert::Entity::find_by_id(to_row(id)).one(on).await?.is_none() {
            return Err(missing(id));
        }
        let known = proposal::Entity::find_by_id(to_row(id)).one(on).await?;
        let asked = known.filter(|proposal| proposal.state == ASKED);
        let asked = asked.ok_or_else(|| {
            Error::Conflict(format!(
                "nobody is asked about alert {id}: `lineside alerts show {id}`"
            ))
        })?;
        let who = By::named(by);
        let by = if by.trim().is_empty() { ADMINISTRATOR } else { by };
        let state = match decision {
            Decision::Approve => DUE,
            Decision::Decline => DECLINED,
        };
        let row = proposal::ActiveModel {
            alert: Unchanged(asked.alert),
            state: Set(state.into()),
            decided_by: Set(Some(short(by, RULE_CHARS_MAX))),
            decided_unix_ms: Set(Some(unix_ms(now))),
            ..Default::default()
        };
        row.update(on).await?;
        let action = match decision {
            Decision::Approve => Action::ProposalApproved,
            Decision::Decline => Action::ProposalDeclined,
        };
        let change = did(&who, action, "alert", &id.to_string());
        let target = if asked.target.is_empty() { "what ran before" } else { &asked.target };
        let new = text(&release_name(target));
        writing.record(Change { new, why: Reason::lossy(&asked.policy), ..change });
        writing.commit().await?;
        if decision == Decision::Approve
            && let Err(error) = self.act().await
        {
            // What is decided stands; where it is not done now, it is later.
            tracing::warn!("what is approved is assigned later: {}", chain(&error));
            self.due.notify_one();
        }
        Ok(())
    }

    /// Does what is due, for as long as the server runs.
    pub async fn keep_acting(self: Arc<Fleet>) {
        loop {
            let pause = match self.act().await {
                Ok(()) => LOOKED_EVERY,
                Err(error) => {
                    tracing::warn!("what a rule wants is assigned later: {}", chain(&error));
                    TROUBLE_PAUSE
                }
            };
            tokio::select! {
                () = self.due.notified() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Does what is due. It was written down before; doing it twice does no harm. What cannot be done yet holds
    /// nothing else up.
    ///
    /// # Errors
    /// Why something is done later.
    async fn act(&self) -> Result<(), Error> {
        let _acting = self.acting.lock().await;
        let due = proposal::Entity::find()
            .filter(proposal::Column::State.eq(DUE))
            .order_by_asc(proposal::Column::Alert)
            .all(self.store.read())
            .await?;
        let mut later = Ok(());
        for proposal in due {
            let now = OffsetDateTime::now_utc();
            let Some(alert) =
                alert::Entity::find_by_id(proposal.alert).one(self.store.read()).await?
            else {
                continue;
            };
            let done = match is_late(&proposal, &alert) {
                true => Ok((FAILED, "it was over before it was done".into())),
                false => self.carry_out(&proposal, &alert, now).await,
            };
            let (state, said) = match done {
                Ok(done) => done,
                Err(error) if passes(&error) => {
                    later = Err(error);
                    continue;
                }
                Err(error) => (FAILED, error.told()),
            };
            let who = proposal.decided_by.as_deref().unwrap_or("nobody was asked");
            tracing::info!("alert {}: {said} ({}; {who})", alert.id, proposal.policy);
            let writing = self.store.write().await?;
            let row = proposal::ActiveModel {
                alert: Unchanged(proposal.alert),
                state: Set(state.into()),
                said: Set(short(&said, TEXT_CHARS_MAX)),
                ..Default::default()
            };
            match row.update(&writing.transaction).await {
                Err(sea_orm::DbErr::RecordNotUpdated) => continue,
                done => done?,
            };
            writing.commit().await?;
        }
        later
    }

    /// Assigns what is proposed to the devices of the rule's scope that run the release for which it fired.
    async fn carry_out(
        &self,
        proposal: &proposal::Model,
        alert: &alert::Model,
        now: OffsetDateTime,
    ) -> Result<(&'static str, String), Error> {
        let slot: SlotName =
            alert.slot.parse().map_err(|error| Error::Malformed(format!("slot: {error}")))?;
        let released = self.documents.released(now).await?;
        let (mut assigned, mut refused) = (Vec::new(), Vec::new());
        let mut last = String::new();
        loop {
            let devices = match alert.scope.as_str() {
                "device" => vec![self.registry.get(&alert.place).await?],
                _ => self.registry.after(&last, DEVICES_AT_ONCE).await?,
            };
            let Some(one) = devices.last() else { break };
            last = one.id.to_string();
            let in_scope =
                |device: &&Device| alert.scope != "site" || device.row.site == alert.place;
            for device in devices.iter().filter(in_scope) {
                let Some(found) = self.target(proposal, alert, device, &slot, &released).await?
                else {
                    continue;
                };
                let told = match found {
                    Ok(Target { path, seen }) => {
                        let (slot, seen) = (slot.clone(), seen.as_deref());
                        let by = By::Proposal(from_row(alert.id), proposal.decided_by.clone());
                        let done =
                            self.assign_instead_of(&by, &device.id, slot, &path, seen, now).await;
                        done.map(|_| path).map_err(|error| match error {
                            error if passes(&error) => Err(error),
                            error => Ok(error.told()),
                        })
                    }
                    Err(why) => Err(Ok(why)),
                };
                match told {
                    Ok(path) => assigned.push(format!("{path} to {}", device.id)),
                    Err(Ok(why)) => refused.push(format!("{}: {why}", device.id)),
                    Err(Err(error)) => return Err(error),
                }
            }
            if alert.scope == "device" {
                break;
            }
        }
        if assigned.is_empty() {
            let why = match refused.is_empty() {
                true => format!(
                    "no device of its scope runs {}/{} in slot {slot}",
                    alert.bundle, alert.version
                ),
                false => refused.join("; "),
            };
            return Ok((FAILED, format!("nothing was assigned: {why}")));
        }
        Ok((DONE, told(&assigned, &refused)))
    }

    /// What a device is to be assigned, or why it is not; none where it is not concerned.
    async fn target(
        &self,
        proposal: &proposal::Model,
        alert: &alert::Model,
        device: &Device,
        slot: &SlotName,
        released: &Released,
    ) -> Result<Option<Result<Target, String>>, Error> {
        let told = device.slots.iter().find(|told| told.slot == slot.as_str());
        let Some(active) = told.and_then(|told| told.active.as_ref()) else { return Ok(None) };
        if active.digest != format!("sha256:{}", alert.digest) {
            return Ok(None);
        }
        let assigned = self.director.assigned(&device.id).await?;
        let own = format!("{}/{}", active.name, active.version);
        let by_people = assigned.as_ref().and_then(|assigned| assigned.slots.get(slot));
        let seen = by_people.cloned();
        let wants = |path: &String| *path != own && *path != proposal.target;
        let number = |path: &str| released.get(path).map(|release| release.number);
        if let Some(other) = by_people.filter(|path| wants(path)) {
            // It has been gone back already, and that was not written down yet.
            let is_back = number(other).is_some() && number(other) < number(&own);
            if proposal.target.is_empty() && is_back {
                return Ok(Some(Ok(Target { path: other.clone(), seen })));
            }
            return Ok(Some(Err(format!("{other} is assigned there since"))));
        }
        if !proposal.target.is_empty() {
            return Ok(Some(Ok(Target { path: proposal.target.clone(), seen })));
        }
        let digest: Option<Digest> = active.digest.parse().ok();
        let before = assigned.and_then(|it| it.before_of(&active.name, digest, released));
        let target = before.map(|path| Target { path, seen });
        Ok(Some(target.ok_or_else(|| "nothing of it was assigned there before".into())))
    }
}

/// Whether it may be otherwise later: a list of releases is signed anew, a disk has room again.
fn passes(error: &Error) -> bool {
    matches!(error, Error::Database(_) | Error::File { .. } | Error::Untrusted(_))
}

/// Whether nobody wants it any longer: what was not decided by a person ends with its alert.
fn is_late(proposal: &proposal::Model, alert: &alert::Model) -> bool {
    proposal.decided_by.is_none() && alert.over_unix_ms.is_some()
}

/// What has come of it. What was refused stands first: it is what a person has to look at, and of a large fleet
/// the rest is cut off.
fn told(assigned: &[String], refused: &[String]) -> String {
    let done = format!("assigned {}", assigned.join(", "));
    match refused.is_empty() {
        true => done,
        false => format!("not to {}; {done}", refused.join("; ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_refused_is_told_first() {
        let [one, other] = ["turbine/2 to line-1".to_owned(), "line-2: why".to_owned()];
        assert_eq!(told(std::slice::from_ref(&one), &[]), "assigned turbine/2 to line-1");
        assert_eq!(told(&[one], &[other]), "not to line-2: why; assigned turbine/2 to line-1");
    }

    #[test]
    fn what_a_rule_wants_for_the_fleet_waits_for_a_person_whatever_it_says() {
        let rule = |ask: bool| -> AlertRule {
            let then = serde_json::json!({ "assign": "turbine/2", "ask": ask });
            let rule = serde_json::json!({
                "signal": "median", "output": "score", "within": [0.0, 1.0], "hours": 1, "then": then,
            });
            serde_json::from_value(rule).unwrap()
        };
        let device = Place::Device("line-3".parse().unwrap());
        let [site, fleet] = [Place::Site("hill".into()), Place::Fleet("hill".into())];
        assert!(!asks(&rule(false), &device) && !asks(&rule(false), &site));
        assert!(asks(&rule(false), &fleet));
        assert!(asks(&rule(true), &device) && asks(&rule(true), &site));
    }
}
