//! Rollouts as people see them.

use crate::error::Error;
use crate::fleet::Fleet;
use crate::release::Released;
use crate::rollout::{NewsShown, named};
use lineside_rollout::{Asked, Cause, Phase, Plan, Rollout, RolloutId, State, Status, Tally, Wave};
use serde::Serialize;
use time::OffsetDateTime;
use utoipa::ToSchema;

/// A rollout.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct RolloutShown {
    /// Its number.
    pub id: RolloutId,
    /// The release, as in `turbine/2`; by its digest where it is not signed any more.
    pub release: String,
    /// The slot.
    pub slot: String,
    /// `draft`, `running`, `paused`, `stopped`, `asking`, `standing`, `rolling_back`, `rolled_back`, `aborted` or
    /// `done`.
    pub status: &'static str,
    /// The same for people, with its reason.
    pub text: String,
    /// Who has planned it.
    pub author: String,
    /// Who has approved it.
    pub approved_by: Vec<String>,
    /// The wave it is in, from 1; 0 before it begins.
    pub wave: u8,
    /// Devices that the percentages of its waves are of.
    pub selected: u32,
    /// Devices that were given the release and have not decided.
    pub on_trial: u32,
    /// Its waves.
    pub waves: Vec<WaveShown>,
    /// Its plan.
    pub plan: Plan,
    /// What people were told of it, the newest first; where many are listed, nothing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub news: Vec<NewsShown>,
}

/// A wave, and what has become of its devices.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct WaveShown {
    /// Its number, from 1.
    pub number: u8,
    /// Its plan.
    #[serde(flatten)]
    pub wave: Wave,
    /// Its devices.
    pub devices: Tally,
}

/// A device in a rollout.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct MemberShown {
    /// Its name.
    pub device: String,
    /// `waiting`, `had`, `assigned`, `downloading`, `staging`, `shadow`, `held`, `trial`, `stuck`, `committed`,
    /// `refused`, `rolled_back`, `to_return`, `returning`, `returned`, `not_returned`, `taken` or `left`.
    pub state: &'static str,
    /// The wave it is in, from 1; 0 before it is in any.
    pub wave: u8,
    /// The same for people, with its reason.
    pub text: String,
}

impl Fleet {
    /// The rollouts, the newest first.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn rollouts_shown(&self, now: OffsetDateTime) -> Result<Vec<RolloutShown>, Error> {
        let released = self.documents.released_if_any(now).await?;
        let shown = |state: &lineside_rollout::Rollouts| {
            let all = state.rollouts().map(|(id, rollout)| shown(id, rollout, released.as_ref()));
            all.collect::<Vec<_>>()
        };
        let mut all = self.rollouts.read(shown).await?;
        all.reverse();
        Ok(all)
    }

    /// One rollout, with what people were told of it.
    ///
    /// # Errors
    /// [`Error::Missing`].
    pub async fn rollout_shown(
        &self,
        id: RolloutId,
        now: OffsetDateTime,
    ) -> Result<RolloutShown, Error> {
        let released = self.documents.released_if_any(now).await?;
        let shown = |state: &lineside_rollout::Rollouts| {
            state.rollout(id).map(|rollout| shown(id, rollout, released.as_ref()))
        };
        let shown = self.rollouts.read(shown).await?.ok_or_else(|| missing(id))?;
        Ok(RolloutShown { news: self.rollouts.news(id).await?, ..shown })
    }

    /// What waits for a person, a sentence for each rollout.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn rollouts_trouble(&self) -> Result<Vec<String>, Error> {
        let waits = |state: &lineside_rollout::Rollouts| {
            let waiting = state.rollouts().filter_map(|(id, rollout)| match rollout.status() {
                Status::Paused(Cause::Broken(..)) => Some((id, "has stopped")),
                Status::Asking(_) => Some((id, "asks whether to go on")),
                _ => None,
            });
            waiting
                .map(|(id, what)| format!("rollout {id} {what}: `lineside rollout show {id}`"))
                .collect()
        };
        self.rollouts.read(waits).await
    }

    /// Devices of a rollout that come after `after`, those in one state if it is named.
    ///
    /// # Errors
    /// [`Error::Missing`].
    pub async fn members_shown(
        &self,
        id: RolloutId,
        after: Option<&str>,
        wanted: Option<&str>,
        limit: usize,
    ) -> Result<Vec<MemberShown>, Error> {
        if let Some(wanted) = wanted.filter(|wanted| !STATES.contains(wanted)) {
            let wanted: String = wanted.chars().take(64).collect();
            let known = STATES.join(", ");
            return Err(Error::Malformed(format!("state: {wanted:?} is none: {known}")));
        }
        let look = |state: &lineside_rollout::Rollouts| {
            state.rollout(id)?;
            let members = state
                .members(id, after)
                .filter(|(_, state, _)| wanted.is_none_or(|wanted| state_word(*state) == wanted));
            let shown = |(device, member, wave): (&str, State, u8)| MemberShown {
                device: device.to_owned(),
                state: state_word(member),
                wave,
                text: state.explain(id, device).unwrap_or_default(),
            };
            Some(members.take(limit).map(shown).collect())
        };
        self.rollouts.read(look).await?.ok_or_else(|| missing(id))
    }
}

fn missing(id: RolloutId) -> Error {
    Error::Missing(format!("there is no rollout {id}: `lineside rollout list`"))
}

fn shown(id: RolloutId, rollout: &Rollout, released: Option<&Released>) -> RolloutShown {
    let plan = rollout.plan();
    let wave = |(number, wave): (u8, &Wave)| WaveShown {
        number,
        wave: wave.clone(),
        devices: rollout.tally(number),
    };
    RolloutShown {
        id,
        release: named::shown(&plan.release, released),
        slot: plan.slot.clone(),
        status: status_word(rollout.status()),
        text: rollout.status().to_string(),
        author: rollout.author().to_owned(),
        approved_by: rollout.approved_by().map(str::to_owned).collect(),
        wave: rollout.wave(),
        selected: rollout.selected(),
        on_trial: rollout.on_trial(),
        waves: (1..).zip(&plan.waves).map(wave).collect(),
        plan: plan.clone(),
        news: vec![],
    }
}

fn status_word(status: Status) -> &'static str {
    match status {
        Status::Draft => "draft",
        Status::Running => "running",
        Status::Paused(Cause::Person | Cause::Plan) => "paused",
        Status::Paused(Cause::Broken(..)) => "stopped",
        Status::Asking(Asked::Plan | Asked::Short(_)) => "asking",
        Status::Standing => "standing",
        Status::RollingBack => "rolling_back",
        Status::RolledBack => "rolled_back",
        Status::Aborted => "aborted",
        Status::Done => "done",
    }
}

/// What a device may be doing.
const STATES: [&str; 18] = [
    "waiting",
    "had",
    "assigned",
    "downloading",
    "staging",
    "shadow",
    "held",
    "trial",
    "stuck",
    "committed",
    "refused",
    "rolled_back",
    "to_return",
    "returning",
    "returned",
    "not_returned",
    "taken",
    "left",
];

fn state_word(state: State) -> &'static str {
    match state {
        State::Waiting => "waiting",
        State::Had => "had",
        State::Assigned => "assigned",
        State::Working(Phase::Downloading) => "downloading",
        State::Working(Phase::Staging) => "staging",
        State::Working(Phase::Shadow) => "shadow",
        State::Working(Phase::Held) => "held",
        State::Working(Phase::Trial) => "trial",
        State::Stuck => "stuck",
        State::Committed => "committed",
        State::Refused => "refused",
        State::RolledBack => "rolled_back",
        State::ToReturn => "to_return",
        State::Returning => "returning",
        State::Returned => "returned",
        State::NotReturned => "not_returned",
        State::Taken => "taken",
        State::Left => "left",
    }
}
