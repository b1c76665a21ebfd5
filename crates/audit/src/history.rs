//! Which release a slot was assigned and had on its route at some time, and who gave leave: read from entries
//! alone.
//!
//! Entries say so in this way: [`Action::SlotAssigned`] and [`Action::SlotRan`] are about the slot
//! `device/slot`, and their new value is the release, as `name@version` or as the digest of its manifest;
//! without one the slot is vacant. Leave is an entry of whichever approval, on the way of the numbers that
//! entries give as their reasons (`because`), or about that release before it was assigned.

use crate::Action;
use crate::entry::{Entry, Reason, Value, Who};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Entries that are looked at on the ways back from one assignment.
const REASONS_MAX: usize = 1024;

/// What one slot was assigned and has run, folded from entries in their order.
#[derive(Debug, Clone)]
pub struct SlotHistory {
    slot: String,
    assigned: Vec<Step>,
    ran: Vec<Step>,
    approvals: BTreeMap<u64, Approval>,
    /// Approvals about a release, by its name.
    of_release: BTreeMap<String, Vec<u64>>,
    reasons: BTreeMap<u64, Vec<u64>>,
}

/// From when on a slot had a release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The number of the entry.
    pub seq: u64,
    /// Milliseconds since 1970, by the server's clock.
    pub at: u64,
    /// Which release; none for a vacant slot.
    pub release: Option<Release>,
    /// Who has assigned it, or has said that it runs.
    pub who: Who,
    because: Vec<u64>,
}

/// A release as an entry names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Release {
    /// By `name@version`.
    Named(String),
    /// By the digest of its manifest.
    Digest(crate::Hash),
    /// By a seal: which one it was is beside the log, or was erased.
    Sealed,
}

/// A person's leave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Approval {
    /// The number of the entry.
    pub seq: u64,
    /// Milliseconds since 1970, by the server's clock.
    pub at: u64,
    /// Whose.
    pub who: Who,
    /// For what.
    pub action: Action,
    /// What it means, in his words.
    pub why: Option<Reason>,
}

/// What is known of a slot at some time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AsOf<'a> {
    /// What it was last assigned.
    pub assigned: Option<&'a Step>,
    /// What it last said that it runs.
    pub ran: Option<&'a Step>,
    /// The leave for what it was assigned, from the first to the last.
    pub approvals: Vec<&'a Approval>,
}

impl SlotHistory {
    /// The history of the slot `device/slot`, before the first entry.
    pub fn new(slot: &str) -> SlotHistory {
        SlotHistory {
            slot: slot.into(),
            assigned: Vec::new(),
            ran: Vec::new(),
            approvals: BTreeMap::new(),
            of_release: BTreeMap::new(),
            reasons: BTreeMap::new(),
        }
    }

    /// Takes the next entry.
    pub fn take(&mut self, entry: &Entry) {
        let Entry { seq, at, .. } = *entry;
        let because = entry.because.clone();
        if !because.is_empty() {
            self.reasons.insert(seq, because.clone());
        }
        let Some(action) = Action::of(&entry.action) else { return };
        let id = entry.subject.id.as_str();
        if action.is_approval() {
            let (who, why) = (entry.who.clone(), entry.why.clone());
            self.approvals.insert(seq, Approval { seq, at, who, action, why });
            if action == Action::ReleaseApproved {
                self.of_release.entry(id.into()).or_default().push(seq);
            }
        }
        if &entry.subject.kind != "slot" || id != self.slot {
            return;
        }
        let release = entry.new.as_ref().map(|value| match value {
            Value::Text(text) => Release::Named(text.as_str().into()),
            Value::Digest(digest) => Release::Digest(*digest),
            Value::Sealed(_) => Release::Sealed,
        });
        let step = Step { seq, at, release, who: entry.who.clone(), because };
        match action {
            Action::SlotAssigned => self.assigned.push(step),
            Action::SlotRan => self.ran.push(step),
            _ => {}
        }
    }

    /// What is known of the slot at this time, in milliseconds since 1970: of all entries that were written
    /// up to then by the clock, the last one in the order of the log.
    pub fn as_of(&self, at: u64) -> AsOf<'_> {
        fn last(steps: &[Step], at: u64) -> Option<&Step> {
            steps.iter().rev().find(|step| step.at <= at)
        }
        let assigned = last(&self.assigned, at);
        let approvals = assigned.map(|step| self.leave(step)).unwrap_or_default();
        AsOf { assigned, ran: last(&self.ran, at), approvals }
    }

    /// What the slot was assigned and has run at any time between `from` and `until` (exclusive): what held
    /// at the beginning, and each entry between, in the order of the log.
    pub fn during(&self, from: u64, until: u64) -> (Vec<&Step>, Vec<&Step>) {
        fn between(steps: &[Step], from: u64, until: u64) -> Vec<&Step> {
            let begin = steps.iter().rposition(|step| step.at <= from);
            let is_in =
                |at: usize, step: &Step| Some(at) == begin || (from < step.at && step.at < until);
            let steps = steps.iter().enumerate();
            steps.filter(|(at, step)| is_in(*at, step)).map(|(_, step)| step).collect()
        }
        (between(&self.assigned, from, until), between(&self.ran, from, until))
    }

    /// Who gave leave for this assignment.
    pub fn leave(&self, step: &Step) -> Vec<&Approval> {
        let mut found = BTreeSet::new();
        let mut seen = BTreeSet::new();
        let mut left = step.because.clone();
        while let Some(seq) = left.pop() {
            if seen.len() >= REASONS_MAX || !seen.insert(seq) {
                continue;
            }
            found.extend(self.approvals.contains_key(&seq).then_some(seq));
            left.extend(self.reasons.get(&seq).into_iter().flatten());
        }
        let name = match &step.release {
            Some(Release::Named(name)) => Some(name),
            _ => None,
        };
        let of_release = name.and_then(|name| self.of_release.get(name)).into_iter().flatten();
        found.extend(of_release.copied().filter(|seq| *seq < step.seq));
        found.iter().filter_map(|seq| self.approvals.get(seq)).collect()
    }
}

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Release::Named(name) => f.write_str(name),
            Release::Digest(digest) => write!(f, "sha256:{digest}"),
            Release::Sealed => f.write_str("a release whose name is sealed"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::{Change, Clock, Subject, WhoKind};

    fn entry(
        seq: u64,
        at: u64,
        who: &str,
        action: Action,
        subject: &str,
        new: &str,
        because: &[u64],
    ) -> Entry {
        let (kind, id) = subject.split_once(' ').unwrap();
        let change = Change {
            who: Who { kind: WhoKind::Person, id: who.parse().unwrap(), name: None, of: None },
            action: action.into(),
            subject: Subject { kind: kind.parse().unwrap(), id: id.parse().unwrap() },
            old: None,
            new: new.parse().ok().map(Value::Text),
            why: None,
            request: None,
            signed: None,
            because: because.to_vec(),
        };
        Entry::new(seq, at, Clock::Synced, change).unwrap()
    }

    fn history() -> SlotHistory {
        use Action::*;
        let slot = "slot press-4/main";
        let mut history = SlotHistory::new("press-4/main");
        for entry in [
            entry(0, 10, "ada", ReleaseApproved, "release press@1.0.0", "", &[]),
            entry(1, 20, "eve", SlotAssigned, slot, "press@1.0.0", &[]),
            entry(2, 30, "press-4", SlotRan, slot, "press@1.0.0", &[]),
            entry(3, 40, "ada", ReleaseApproved, "release press@1.1.0", "", &[]),
            entry(4, 41, "bob", ReleaseApproved, "release press@1.1.0", "", &[]),
            entry(5, 42, "bob", ReleaseApproved, "release other@9.0.0", "", &[]),
            entry(6, 43, "eve", RolloutCreated, "rollout r-1", "press@1.1.0", &[]),
            entry(7, 44, "cleo", RolloutApproved, "rollout r-1", "", &[6]),
            entry(8, 45, "server", RolloutMoved, "rollout r-1", "", &[7]),
            entry(9, 50, "server", SlotAssigned, slot, "press@1.1.0", &[8]),
            entry(10, 51, "server", SlotAssigned, "slot press-5/main", "press@1.1.0", &[8]),
            entry(11, 60, "press-4", SlotRan, slot, "press@1.1.0", &[9]),
            entry(12, 61, "dora", ReleaseApproved, "release press@1.1.0", "", &[]),
            entry(13, 70, "press-4", SlotRan, slot, "press@1.0.0", &[]),
            // The clock was set back, and then the slot was emptied.
            entry(14, 35, "eve", SlotAssigned, slot, "", &[]),
        ] {
            history.take(&entry);
        }
        history
    }

    fn told(history: &SlotHistory, at: u64) -> String {
        let AsOf { assigned, ran, approvals } = history.as_of(at);
        let release = |step: Option<&Step>| {
            let release = step.map(|step| {
                step.release.as_ref().map_or("vacant".into(), |release| release.to_string())
            });
            release.unwrap_or_else(|| "-".into())
        };
        let who: Vec<String> = approvals.iter().map(|approval| approval.who.to_string()).collect();
        format!("{} {} {}", release(assigned), release(ran), who.join("+"))
    }

    #[test]
    fn which_release_a_slot_had_on_a_day_and_who_gave_leave_is_read_from_entries() {
        let history = history();
        assert_eq!(told(&history, 9), "- - ");
        assert_eq!(told(&history, 20), "press@1.0.0 - ada");
        assert_eq!(told(&history, 34), "press@1.0.0 press@1.0.0 ada");
        // Of entries whose clock says no more than this, the last in the log counts.
        assert_eq!(told(&history, 49), "vacant press@1.0.0 ");
        let assigned = history.assigned.iter().find(|step| step.seq == 9).unwrap();
        let leave: Vec<u64> = history.leave(assigned).iter().map(|approval| approval.seq).collect();
        assert_eq!(leave, [3, 4, 7], "by the release and by the rollout, before it was assigned");
    }

    #[test]
    fn what_ran_on_a_day_is_what_ran_at_its_beginning_and_whatever_came_then() {
        let history = history();
        let seqs = |steps: Vec<&Step>| steps.iter().map(|step| step.seq).collect::<Vec<_>>();
        let (_, ran) = history.during(31, 65);
        assert_eq!(seqs(ran), [2, 11]);
        let (assigned, ran) = history.during(0, 15);
        assert_eq!((seqs(assigned), seqs(ran)), (vec![], vec![]));
        let (assigned, _) = history.during(0, 1000);
        assert_eq!(seqs(assigned), [1, 9, 14]);
        let (_, ran) = history.during(60, 70);
        assert_eq!(seqs(ran), [11]);
    }

    #[test]
    fn long_ways_of_reasons_end() {
        let mut history = SlotHistory::new("a/b");
        history.take(&entry(0, 0, "ada", Action::SlotApproved, "slot a/b", "", &[]));
        for seq in 1..5000u64 {
            let because: Vec<u64> = (seq.saturating_sub(16)..seq).collect();
            history.take(&entry(seq, seq, "x", Action::RolloutMoved, "rollout r", "", &because));
        }
        history.take(&entry(5000, 5000, "x", Action::SlotAssigned, "slot a/b", "p@1", &[4999]));
        assert!(history.as_of(6000).approvals.len() <= 1);
    }
}
