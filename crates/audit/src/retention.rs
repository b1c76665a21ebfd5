//! How long what was recorded is kept: what may be erased, when, and what a legal hold forbids.
//!
//! Erasing takes the bytes of an entry, or a sealed value beside it, and never its leaf: the tree stays what
//! was signed. It is itself recorded (see [`Erasure`](crate::Erasure)), and this entry stays for ever.

use crate::Action;
use crate::entry::{Entry, Subject, Value, WhoKind};
use crate::text::Code;

/// Milliseconds of a day.
pub const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// How long entries are kept. The first rule that is about an entry holds; what no rule is about is kept.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Retention {
    /// In their order.
    pub rules: Vec<RetentionRule>,
}

/// How long some entries are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetentionRule {
    /// Actions that it is about: this one, or all that begin with it and a dot; none for every one.
    pub action: Option<Code>,
    /// What may be erased.
    pub erase: Erasable,
    /// After how many milliseconds since the entry.
    pub after_ms: u64,
}

/// What of an entry may be erased.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Erasable {
    /// The values that it has sealed. The entry says for ever that there was one.
    Values,
    /// The entry whole. Its leaf stays.
    Entry,
}

/// Something that is looked into, and must be there until that has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    /// Its name, for people.
    pub name: String,
    /// What it is about.
    pub scope: HoldScope,
}

/// What a hold is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HoldScope {
    /// Everything.
    All,
    /// Entries with these numbers, from the first to the last.
    Entries(u64, u64),
    /// Whatever was done to this subject, and to what belongs to it: for a device its slots, too.
    Subject(Subject),
    /// Whatever this person, token or device has done.
    Who(WhoKind, String),
}

/// What may be done to an entry now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision<'a> {
    /// It is kept for ever: others are proved by it, or no rule is about it.
    Keep,
    /// It has nothing that the rule would let go.
    Nothing,
    /// It is kept until then at least, in milliseconds since 1970.
    Until(u64),
    /// A hold is on it.
    Held(&'a Hold),
    /// This may be erased.
    May(Erasable),
}

impl Retention {
    /// Decides on one entry at `now`, in milliseconds since 1970.
    ///
    /// A clock that stands before the entry's time erases nothing.
    pub fn decide<'a>(&self, entry: &Entry, holds: &'a [Hold], now: u64) -> Decision<'a> {
        if Action::of(&entry.action).is_some_and(Action::is_evidence) {
            return Decision::Keep;
        }
        let Some(rule) = self.rules.iter().find(|rule| rule.is_about(&entry.action)) else {
            return Decision::Keep;
        };
        let is_sealed = |value: &Option<Value>| matches!(value, Some(Value::Sealed(_)));
        if rule.erase == Erasable::Values && !is_sealed(&entry.old) && !is_sealed(&entry.new) {
            return Decision::Nothing;
        }
        // Said before the time is: whoever looks wants to know that nothing will go.
        if let Some(hold) = holds.iter().find(|hold| hold.is_on(entry)) {
            return Decision::Held(hold);
        }
        let until = entry.at.saturating_add(rule.after_ms);
        if now < until { Decision::Until(until) } else { Decision::May(rule.erase) }
    }
}

impl RetentionRule {
    fn is_about(&self, action: &Code) -> bool {
        let Some(begin) = &self.action else { return true };
        let rest = action.as_str().strip_prefix(begin.as_str());
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    }
}

impl Hold {
    /// Whether it is about this entry.
    pub fn is_on(&self, entry: &Entry) -> bool {
        match &self.scope {
            HoldScope::All => true,
            HoldScope::Entries(first, last) => (*first..=*last).contains(&entry.seq),
            HoldScope::Subject(subject) => {
                let id = entry.subject.id.as_str();
                let inside = id.strip_prefix(subject.id.as_str());
                entry.subject == *subject
                    || (&subject.kind == "device"
                        && inside.is_some_and(|rest| rest.starts_with('/')))
            }
            HoldScope::Who(kind, id) => {
                let Entry { who, .. } = entry;
                let is_own = who.kind == *kind && who.id.as_str() == id;
                // A person's token acts for the person.
                let is_for =
                    *kind == WhoKind::Person && who.of.as_ref().is_some_and(|of| of.as_str() == id);
                is_own || is_for
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Hash;
    use crate::entry::{Change, Clock, Who};

    fn entry(
        seq: u64,
        at: u64,
        action: Action,
        subject: (&str, &str),
        new: Option<Value>,
    ) -> Entry {
        let who = Who {
            kind: WhoKind::Token,
            id: "t-1".parse().unwrap(),
            name: None,
            of: Some("ada".parse().unwrap()),
        };
        let subject = Subject { kind: subject.0.parse().unwrap(), id: subject.1.parse().unwrap() };
        let change = Change {
            who,
            action: action.into(),
            subject,
            old: None,
            new,
            why: None,
            request: None,
            signed: None,
            because: vec![],
        };
        Entry::new(seq, at, Clock::Synced, change).unwrap()
    }

    fn retention() -> Retention {
        let rule = |action: Option<&str>, erase, days| RetentionRule {
            action: action.map(|action| action.parse().unwrap()),
            erase,
            after_ms: days * DAY_MS,
        };
        Retention {
            rules: vec![
                rule(Some("slot"), Erasable::Values, 3650),
                rule(Some("token.issue"), Erasable::Entry, 365),
                rule(Some("person"), Erasable::Values, 180),
            ],
        }
    }

    #[test]
    fn what_no_rule_is_about_and_what_proves_others_is_kept_for_ever() {
        let retention = retention();
        let of = |action| retention.decide(&entry(5, 0, action, ("x", "y"), None), &[], u64::MAX);
        assert_eq!(of(Action::ReleaseApproved), Decision::Keep);
        assert_eq!(of(Action::TokenIssued), Decision::May(Erasable::Entry));
        assert_eq!(of(Action::TokenRevoked), Decision::Keep);
        let all = RetentionRule { action: None, erase: Erasable::Entry, after_ms: 0 };
        let all = Retention { rules: vec![all] };
        for action in Action::ALL {
            let kept = all.decide(&entry(5, 0, *action, ("x", "y"), None), &[], u64::MAX);
            let known =
                if action.is_evidence() { Decision::Keep } else { Decision::May(Erasable::Entry) };
            assert_eq!(kept, known, "{action:?}");
        }
    }

    #[test]
    fn values_may_go_when_their_time_is_over_and_not_by_a_clock_that_is_behind() {
        let retention = retention();
        let sealed = Some(Value::Sealed(Hash::empty()));
        let person = entry(5, DAY_MS, Action::PersonSet, ("person", "ada"), sealed);
        let at = |now| retention.decide(&person, &[], now);
        assert_eq!(at(181 * DAY_MS - 1), Decision::Until(181 * DAY_MS));
        assert_eq!(at(181 * DAY_MS), Decision::May(Erasable::Values));
        assert_eq!(at(0), Decision::Until(181 * DAY_MS));
        let plain = entry(5, 0, Action::PersonSet, ("person", "ada"), None);
        assert_eq!(retention.decide(&plain, &[], u64::MAX), Decision::Nothing);
        let late = entry(5, u64::MAX, Action::TokenIssued, ("token", "t"), None);
        assert_eq!(retention.decide(&late, &[], u64::MAX - 1), Decision::Until(u64::MAX));
    }

    #[test]
    fn a_hold_keeps_what_it_is_about_and_nothing_else() {
        let retention = retention();
        let hold = |scope| [Hold { name: "case 7".into(), scope }];
        let device = Subject { kind: "device".parse().unwrap(), id: "press-4".parse().unwrap() };
        let sealed = || Some(Value::Sealed(Hash::empty()));
        let slot = |id| entry(5, 0, Action::SlotRan, ("slot", id), sealed());
        for (scope, id, is_held) in [
            (HoldScope::All, "x/y", true),
            (HoldScope::Entries(5, 5), "x/y", true),
            (HoldScope::Entries(6, 9), "x/y", false),
            (HoldScope::Subject(device.clone()), "press-4/main", true),
            (HoldScope::Subject(device.clone()), "press-40/main", false),
            (
                HoldScope::Subject(Subject { kind: "slot".parse().unwrap(), ..device }),
                "press-4/main",
                false,
            ),
            (HoldScope::Who(WhoKind::Person, "ada".into()), "x/y", true),
            (HoldScope::Who(WhoKind::Token, "t-1".into()), "x/y", true),
            (HoldScope::Who(WhoKind::Device, "t-1".into()), "x/y", false),
            (HoldScope::Who(WhoKind::Person, "bob".into()), "x/y", false),
        ] {
            let holds = hold(scope.clone());
            let entry = slot(id);
            let decision = retention.decide(&entry, &holds, u64::MAX);
            let known =
                if is_held { Decision::Held(&holds[0]) } else { Decision::May(Erasable::Values) };
            assert_eq!(decision, known, "{scope:?}");
        }
    }
}
