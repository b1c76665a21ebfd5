//! A device in a rollout, and what a report makes of it.
//!
//! What is known of a device is what it reports, never what was sent to it: each report moves a member to
//! where the device says that it is, also backwards.

use crate::fleet::ReleaseKey;
use crate::gate::{Gate, Tally};
use crate::rollout::Status;
use serde::{Deserialize, Serialize};

/// What a device does with a release that is on its way in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Blobs are being fetched.
    Downloading,
    /// Checks are being replayed.
    Staging,
    /// It answers beside the active release.
    Shadow,
    /// It waits for people on the device.
    Held,
    /// It answers, on probation.
    Trial,
}

/// Where a device is in a rollout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum State {
    /// It is selected, and has not been given the release; in a wave where it is to be tried again.
    Waiting,
    /// It ran the release before the rollout came to it.
    Had,
    /// It was given the release, and has not said that it knows.
    Assigned,
    /// It is working on it.
    Working(Phase),
    /// It has not decided in time. It may still do so.
    Stuck,
    /// The release stays on it.
    Committed,
    /// It refused the release before it answered.
    Refused,
    /// It took the release back.
    RolledBack,
    /// It is to be given what it had before.
    ToReturn,
    /// It was given what it had before, and has not said that it runs that.
    Returning,
    /// It runs what it had before.
    Returned,
    /// It does not, in time, or nobody knows what that was.
    NotReturned,
    /// Somebody else has given its slot something else.
    Taken,
    /// It has left the fleet.
    Left,
}

/// Measures of how a device runs the release, in numbers of a few bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Seen {
    pub(crate) frames: u32,
    /// The 95th percentile, in microseconds; [`u32::MAX`] where nobody knows.
    pub(crate) latency_us: u32,
    pub(crate) errors: Parts,
    pub(crate) drift: Parts,
    pub(crate) agreement: Parts,
}

impl Seen {
    pub(crate) const NOTHING: Seen = Seen {
        frames: 0,
        latency_us: u32::MAX,
        errors: Parts::UNKNOWN,
        drift: Parts::UNKNOWN,
        agreement: Parts::UNKNOWN,
    };
}

/// A share in parts of 50,000, rounded away from what is good by whoever makes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Parts(u16);

impl Parts {
    pub(crate) const UNKNOWN: Parts = Parts(u16::MAX);
    const WHOLE: f64 = 50_000.0;

    /// From a share that is bad if it is large. NaN counts as the whole.
    pub(crate) fn up(share: f64) -> Parts {
        if share.is_nan() {
            return Parts(Parts::WHOLE as u16);
        }
        Parts((share.clamp(0.0, 1.0) * Parts::WHOLE - 1e-6).ceil() as u16)
    }

    /// From a share that is bad if it is small. NaN counts as nothing.
    pub(crate) fn down(share: f64) -> Parts {
        if share.is_nan() {
            return Parts(0);
        }
        Parts((share.clamp(0.0, 1.0) * Parts::WHOLE + 1e-6).floor() as u16)
    }

    fn share(self) -> Option<f64> {
        (self != Parts::UNKNOWN).then(|| f64::from(self.0) / Parts::WHOLE)
    }

    fn is_above(self, max: Option<f64>) -> bool {
        matches!((self.share(), max), (Some(share), Some(max)) if share > max + 1e-9)
    }

    fn is_below(self, min: Option<f64>) -> bool {
        matches!((self.share(), min), (Some(share), Some(min)) if share + 1e-9 < min)
    }
}

/// A device in a rollout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Member {
    pub(crate) state: State,
    /// The wave it is in, from 1; 0 before it is in any.
    pub(crate) wave: u8,
    /// Counts how often it was to be tried again.
    pub(crate) attempt: u8,
    /// Whether the rollout has ever given it the release, so that going back means something.
    pub(crate) given: bool,
    /// Whether people have taken it out.
    pub(crate) excluded: bool,
    /// What it ran when it was given the release.
    pub(crate) before: ReleaseKey,
    /// When it was given what it is to decide on, in seconds of running.
    pub(crate) since: u32,
    pub(crate) seen: Seen,
}

/// What a report says, with numbers in place of names.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Heard {
    pub(crate) active: ReleaseKey,
    pub(crate) way: HeardWay,
}

/// What a slot is doing.
#[derive(Debug, Clone, Copy)]
pub(crate) enum HeardWay {
    Idle,
    Working(ReleaseKey, Phase),
    Refused(ReleaseKey, u8),
    RolledBack(ReleaseKey, u8),
}

/// What a report says of a member.
enum Evidence {
    /// The slot runs the release.
    Runs,
    /// The release is on its way in.
    OnWay(Phase),
    /// It was refused.
    Refused,
    /// It was rolled back.
    RolledBack,
    /// What the slot had before was refused.
    BeforeRefused,
    /// The slot runs what it had before, and nothing else is on its way.
    Before,
    /// The slot runs something else.
    Elsewhere(ReleaseKey),
}

impl Member {
    pub(crate) const WAITING: Member = Member {
        state: State::Waiting,
        wave: 0,
        attempt: 0,
        given: false,
        excluded: false,
        before: ReleaseKey::VACANT,
        since: 0,
        seen: Seen::NOTHING,
    };

    /// Whether the percentages of waves are of it, too.
    pub(crate) fn is_selected(&self) -> bool {
        !self.excluded && !matches!(self.state, State::Had | State::Left | State::Taken)
    }

    /// Whether it has to decide within a time: it was given something, or is to be tried again.
    pub(crate) fn is_undecided(&self) -> bool {
        matches!(self.state, State::Assigned | State::Working(_) | State::Returning)
            || (self.state == State::Waiting && self.wave > 0)
    }

    /// Whether it was given the release, and has not decided.
    pub(crate) fn is_on_trial(&self) -> bool {
        matches!(self.state, State::Assigned | State::Working(_))
    }

    /// Whether it fetches, or will do so at once.
    pub(crate) fn is_loading(&self) -> bool {
        matches!(self.state, State::Assigned | State::Working(Phase::Downloading))
    }

    /// Whether it is to be given what it had before when the whole rollout goes back.
    pub(crate) fn goes_back(&self) -> bool {
        use State::*;
        let is_elsewhere =
            matches!(self.state, ToReturn | Returning | Returned | NotReturned | Taken | Left);
        self.given && !self.excluded && !is_elsewhere
    }

    /// What it counts for in its wave.
    pub(crate) fn tally(&self, gate: &Gate) -> Tally {
        let is = u32::from;
        let counted = self.is_selected() && self.wave > 0;
        if !counted {
            return Tally::default();
        }
        let runs = matches!(self.state, State::Working(_) | State::Stuck | State::Committed);
        let measured = runs && self.seen.frames >= gate.frames_min.max(1);
        let slow = gate.latency_p95_ms_max.is_some_and(|max| {
            let latency = self.seen.latency_us;
            latency != u32::MAX && f64::from(latency) > max * 1000.0 + 1e-6
        });
        Tally {
            entered: 1,
            undecided: is(self.is_on_trial() || self.state == State::Waiting),
            on_trial: is(self.is_on_trial()),
            loading: is(self.is_loading()),
            committed: is(self.state == State::Committed),
            refused: is(self.state == State::Refused),
            rolled_back: is(self.state == State::RolledBack),
            stuck: is(self.state == State::Stuck),
            measured: is(measured),
            beyond_errors: is(measured && self.seen.errors.is_above(gate.error_share_max)),
            beyond_latency: is(measured && slow),
            beyond_drift: is(measured && self.seen.drift.is_above(gate.drift_max)),
            beyond_agreement: is(measured && self.seen.agreement.is_below(gate.agreement_min)),
        }
    }

    fn evidence(&self, heard: &Heard, release: ReleaseKey) -> Evidence {
        let Heard { active, way } = *heard;
        if self.state == State::Returning
            && active != self.before
            && matches!(way, HeardWay::Refused(one, _) | HeardWay::RolledBack(one, _) if one == self.before)
        {
            return Evidence::BeforeRefused;
        }
        if active == release {
            return Evidence::Runs;
        }
        match way {
            HeardWay::Working(candidate, phase) if candidate == release => Evidence::OnWay(phase),
            // What it said of an earlier attempt is no news.
            HeardWay::Refused(one, attempt) if one == release && attempt >= self.attempt => {
                Evidence::Refused
            }
            HeardWay::RolledBack(one, attempt) if one == release && attempt >= self.attempt => {
                Evidence::RolledBack
            }
            HeardWay::Refused(one, _) | HeardWay::RolledBack(one, _)
                if one == self.before && active != self.before =>
            {
                Evidence::BeforeRefused
            }
            HeardWay::Idle
            | HeardWay::Working(..)
            | HeardWay::Refused(..)
            | HeardWay::RolledBack(..)
                if active == self.before =>
            {
                Evidence::Before
            }
            HeardWay::Idle
            | HeardWay::Working(..)
            | HeardWay::Refused(..)
            | HeardWay::RolledBack(..) => Evidence::Elsewhere(active),
        }
    }

    /// The member after a report about its slot, at `now` seconds of running.
    pub(crate) fn heard(self, heard: &Heard, release: ReleaseKey, now: u32) -> Member {
        use State::*;

        let to = |state| Member { state, ..self };
        let begin = |state| Member { state, since: now, ..self };
        match (self.state, self.evidence(heard, release)) {
            (Waiting, Evidence::Runs) if self.wave == 0 => to(Had),
            (Waiting, Evidence::Runs) => to(Committed),
            (
                Waiting,
                Evidence::OnWay(_)
                | Evidence::Refused
                | Evidence::RolledBack
                | Evidence::BeforeRefused
                | Evidence::Before
                | Evidence::Elsewhere(_),
            ) => self,
            (Had, Evidence::Runs | Evidence::OnWay(_)) => self,
            (
                Had,
                Evidence::Refused
                | Evidence::RolledBack
                | Evidence::BeforeRefused
                | Evidence::Before
                | Evidence::Elsewhere(_),
            ) => to(Waiting),

            (Assigned | Working(_) | Stuck | Refused | RolledBack, Evidence::Runs) => to(Committed),
            (Committed, Evidence::Runs) => self,
            (Assigned | Working(_), Evidence::OnWay(phase)) => to(Working(phase)),
            // It is still late, whatever it does, until it decides.
            (Stuck, Evidence::OnWay(_)) => self,
            (Committed | Refused | RolledBack, Evidence::OnWay(phase)) => begin(Working(phase)),
            (
                Assigned | Working(_) | Stuck | Committed | Refused | RolledBack,
                Evidence::Refused,
            ) => to(Refused),
            (
                Assigned | Working(_) | Stuck | Committed | Refused | RolledBack,
                Evidence::RolledBack,
            ) => to(RolledBack),
            // It does not know yet, or it has forgotten.
            (Assigned | Working(_), Evidence::Before | Evidence::BeforeRefused) => to(Assigned),
            (Assigned | Working(_), Evidence::Elsewhere(before)) => {
                Member { before, ..to(Assigned) }
            }
            (Stuck, Evidence::Before | Evidence::BeforeRefused) => self,
            (Stuck, Evidence::Elsewhere(before)) => Member { before, ..self },
            // It went back after the release had stayed, and what it said of that was lost.
            (Committed, Evidence::Before | Evidence::BeforeRefused) => to(RolledBack),
            (Committed, Evidence::Elsewhere(_)) => to(Taken),
            (
                Refused | RolledBack,
                Evidence::Before | Evidence::BeforeRefused | Evidence::Elsewhere(_),
            ) => self,

            (Returning, Evidence::Before) => to(Returned),
            (Returning, Evidence::BeforeRefused) => to(NotReturned),
            (
                ToReturn | Returning,
                Evidence::Runs
                | Evidence::OnWay(_)
                | Evidence::Refused
                | Evidence::RolledBack
                | Evidence::Elsewhere(_),
            ) if self.state == Returning && self.has_returned(heard) => to(Returned),
            (
                ToReturn | Returning,
                Evidence::Runs
                | Evidence::OnWay(_)
                | Evidence::Refused
                | Evidence::RolledBack
                | Evidence::Elsewhere(_),
            ) => self,
            (ToReturn, Evidence::Before | Evidence::BeforeRefused) => self,
            // What it said before it knew came first.
            (Returned, Evidence::Runs | Evidence::OnWay(_)) => to(ToReturn),
            (
                Returned,
                Evidence::Refused
                | Evidence::RolledBack
                | Evidence::BeforeRefused
                | Evidence::Before,
            ) => self,
            (Returned, Evidence::Elsewhere(_)) => to(Taken),
            (NotReturned, Evidence::Before) => to(Returned),
            (
                NotReturned,
                Evidence::Runs
                | Evidence::OnWay(_)
                | Evidence::Refused
                | Evidence::RolledBack
                | Evidence::BeforeRefused
                | Evidence::Elsewhere(_),
            ) => {
                if self.has_returned(heard) {
                    return to(Returned);
                }
                self
            }
            (
                Taken | Left,
                Evidence::Runs
                | Evidence::OnWay(_)
                | Evidence::Refused
                | Evidence::RolledBack
                | Evidence::BeforeRefused
                | Evidence::Before
                | Evidence::Elsewhere(_),
            ) => self,
        }
    }

    /// Whether the slot runs what it had before, also where it still says that the release has failed.
    fn has_returned(&self, heard: &Heard) -> bool {
        heard.active == self.before
            && matches!(heard.way, HeardWay::Refused(..) | HeardWay::RolledBack(..))
    }

    /// The member when its device has come back to the fleet. It waits for its turn again, unless
    /// everybody goes back.
    pub(crate) fn back(self, status: Status) -> Member {
        let goes_back = self.given && !self.excluded;
        match status {
            Status::RollingBack | Status::RolledBack if goes_back => {
                Member { state: State::ToReturn, ..self }
            }
            _ => Member { state: State::Waiting, wave: 0, seen: Seen::NOTHING, ..self },
        }
    }

    /// The member after so much time without a decision.
    pub(crate) fn overdue(self) -> Member {
        use State::*;

        let state = match self.state {
            Assigned | Working(_) => Stuck,
            Waiting if self.wave > 0 => Stuck,
            Returning => NotReturned,
            Waiting | Had | Stuck | Committed | Refused | RolledBack | ToReturn | Returned
            | NotReturned | Taken | Left => self.state,
        };
        Member { state, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::Fleet;

    /// The table of states, as `ARCHITECTURE.md` and reviewers read it: a line a state, a column a report.
    fn table() -> String {
        use State::*;
        let mut fleet = Fleet::default();
        let [new, old, other] = ["new", "old", "other"].map(|name| fleet.release(Some(name)));
        let reports = [
            ("runs it", Heard { active: new, way: HeardWay::Idle }),
            ("on its way", Heard { active: old, way: HeardWay::Working(new, Phase::Trial) }),
            ("refused", Heard { active: old, way: HeardWay::Refused(new, 0) }),
            ("rolled back", Heard { active: old, way: HeardWay::RolledBack(new, 0) }),
            ("runs what was before", Heard { active: old, way: HeardWay::Idle }),
            ("cannot go back", Heard { active: other, way: HeardWay::Refused(old, 0) }),
            ("runs another", Heard { active: other, way: HeardWay::Idle }),
        ];
        let mut lines = vec!["| state".to_owned()];
        reports.iter().for_each(|(name, _)| lines[0] += &format!(" | {name}"));
        lines[0] += " | too late |";
        lines.push(format!("{}|", "|---".repeat(reports.len() + 2)));
        for state in [
            Waiting,
            Had,
            Assigned,
            Working(Phase::Staging),
            Stuck,
            Committed,
            Refused,
            RolledBack,
            ToReturn,
            Returning,
            Returned,
            NotReturned,
            Taken,
            Left,
        ] {
            let wave = u8::from(!matches!(state, Waiting | Had));
            let member = Member { state, wave, before: old, ..Member::WAITING };
            let mut line = format!("| {state:?}");
            let reported = reports.iter().map(|(_, heard)| member.heard(heard, new, 9).state);
            for then in reported.chain([member.overdue().state]) {
                line += &match then == state {
                    true => " |".to_owned(),
                    false => format!(" | {then:?}"),
                };
            }
            lines.push(line + " |");
        }
        lines.join("\n") + "\n"
    }

    #[test]
    fn the_table_of_states_is_the_one_that_was_reviewed() {
        let stored = include_str!("../tests/states.md");
        let table = table();
        assert!(stored.contains(&table), "tests/states.md should have:\n{table}");
    }

    #[test]
    fn what_was_said_of_an_earlier_attempt_is_no_news() {
        let mut fleet = Fleet::default();
        let [new, old] = ["new", "old"].map(|name| fleet.release(Some(name)));
        let member =
            Member { state: State::Assigned, wave: 1, attempt: 1, before: old, ..Member::WAITING };
        let after = |way| member.heard(&Heard { active: old, way }, new, 0).state;
        assert_eq!(after(HeardWay::RolledBack(new, 0)), State::Assigned);
        assert_eq!(after(HeardWay::RolledBack(new, 1)), State::RolledBack);
        assert_eq!(after(HeardWay::Refused(new, 0)), State::Assigned);
        assert_eq!(after(HeardWay::Refused(new, 1)), State::Refused);
    }

    #[test]
    fn measures_are_rounded_away_from_what_is_good() {
        assert_eq!((Parts::up(0.3), Parts::down(0.3)), (Parts(15_000), Parts(15_000)));
        assert_eq!((Parts::up(0.300_01), Parts::down(0.300_01)), (Parts(15_001), Parts(15_000)));
        assert_eq!((Parts::up(f64::NAN), Parts::down(f64::NAN)), (Parts(50_000), Parts(0)));
        assert!(Parts::up(0.300_001).is_above(Some(0.3)) && !Parts::up(0.3).is_above(Some(0.3)));
        assert!(!Parts::UNKNOWN.is_above(Some(0.0)) && !Parts::UNKNOWN.is_below(Some(1.0)));
    }
}
