//! Why a device is where it is, for people who ask.

use crate::fill::NotNow;
use crate::member::{Phase, State};
use crate::rollout::{RolloutId, Status};
use crate::rollouts::Rollouts;
use crate::site::SiteBusy;

impl Rollouts {
    /// What becomes of a device in a rollout and why, as a sentence for people; none if it is not in it.
    pub fn explain(&self, id: RolloutId, device: &str) -> Option<String> {
        let rollout = self.rollouts.get(&id)?;
        let key = self.fleet.number(device)?;
        let member = rollout.members.get(&key)?;
        let deadline = u64::from(member.since) + u64::from(rollout.plan.deadline_minutes) * 60;
        let left = deadline.saturating_sub(u64::from(self.now()));
        let wave = member.wave;
        let text = match member.state {
            State::Waiting if member.excluded => "is left out".to_owned(),
            State::Waiting if !rollout.status.brings() => {
                format!("waits: the rollout is {}", rollout.status)
            }
            State::Waiting => match self.not_now(id, rollout, key) {
                Some(why) => format!("waits: {}", self.told(why)),
                None if wave > 0 => "is tried again at once".to_owned(),
                None if rollout.status == Status::Standing => "is next".to_owned(),
                None => format!("waits for its turn: wave {} is going on", rollout.wave),
            },
            State::Had => "had the release before".to_owned(),
            State::Assigned => format!(
                "was given the release in wave {wave} and has not said that it knows; it is stuck in {}",
                span(left)
            ),
            State::Working(phase) => {
                let doing = match phase {
                    Phase::Downloading => "fetches the release",
                    Phase::Staging => "replays its checks",
                    Phase::Shadow => "compares it with the one before",
                    Phase::Held => "holds it for its people",
                    Phase::Trial => "has it on trial",
                };
                format!("{doing} in wave {wave}; it is stuck in {}", span(left))
            }
            State::Stuck => format!("has not decided in time in wave {wave}; it may still do so"),
            State::Committed => format!("runs the release since wave {wave}"),
            State::Refused => format!("refused the release in wave {wave}"),
            State::RolledBack => format!("took the release back in wave {wave}"),
            State::ToReturn => "is to be given what it had before".to_owned(),
            State::Returning => "was given what it had before and has not said so".to_owned(),
            State::Returned => "runs what it had before".to_owned(),
            State::NotReturned => "does not run what it had before".to_owned(),
            State::Taken => "was given something else by somebody else".to_owned(),
            State::Left => "has left the fleet".to_owned(),
        };
        Some(format!("{device} {text}"))
    }

    fn told(&self, why: NotNow) -> String {
        match why {
            NotNow::NoSlot => "it has not said that it has the slot".to_owned(),
            NotNow::Claimed(other) => format!("rollout {other} has its slot"),
            NotNow::OnTrial(max) => format!("{max} devices are on trial, as many as may be"),
            NotNow::Downloads(max) => format!("{max} devices fetch, as many as may"),
            NotNow::Site(SiteBusy::Frozen) => "its site lets nothing begin".to_owned(),
            NotNow::Site(SiteBusy::Closed(None)) => {
                "its site has windows, and the time is not known".to_owned()
            }
            NotNow::Site(SiteBusy::Closed(Some(minutes))) => {
                format!("its site's window opens in {}", span(u64::from(minutes) * 60))
            }
            NotNow::Site(SiteBusy::Downloads(count)) => {
                format!("{count} devices of its site fetch, as many as may")
            }
            NotNow::Site(SiteBusy::Line(seconds)) => {
                format!("its site's line is busy for {}", span(seconds))
            }
        }
    }
}

/// A span as people say it, rounded up to minutes.
fn span(seconds: u64) -> String {
    let minutes = seconds.div_ceil(60);
    match (minutes / 1440, minutes / 60 % 24, minutes % 60) {
        (0, 0, minutes) => format!("{minutes} min"),
        (0, hours, minutes) => format!("{hours} h {minutes} min"),
        (days, hours, _) => format!("{days} d {hours} h"),
    }
}
