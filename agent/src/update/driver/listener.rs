//! One slot as the driver of updates speaks to it: what it is to know, and what of that it was told.

use crate::update::acceptance::{Acceptance, Disowned};
use crate::update::journal::Withdrawn;
use crate::update::slot::{Assigned, Order};
use lineside_bundle::ReleaseId;
use lineside_update::Target;
use lineside_wire::name::SlotName;
use std::collections::BTreeMap;
use tokio::sync::mpsc;

/// What a slot is to hold, or to leave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Word {
    Assigned {
        target: Target,
        /// Whether a person has approved the target, here or at the desk.
        approved: bool,
        /// The number of the wish with which a person has said last that it be tried again; 0 for none.
        again: u64,
        /// Version of the assignment that names it.
        version: u64,
    },
    Withdrawn(Withdrawn),
}

impl Word {
    /// What was accepted for each slot.
    pub(super) fn of_all(acceptance: &Acceptance) -> BTreeMap<SlotName, Word> {
        let version = acceptance.versions().borrow().assignment;
        let assigned = acceptance.targets().iter().map(|(slot, target)| {
            let approved = acceptance.approved().contains(slot);
            let again = acceptance.again().get(slot).copied().unwrap_or(0);
            let word = Word::Assigned { target: target.clone(), approved, again, version };
            (slot.clone(), word)
        });
        let withdrawn = acceptance.withdrawn().iter();
        let withdrawn = withdrawn.map(|(slot, it)| (slot.clone(), Word::Withdrawn(it.clone())));
        assigned.chain(withdrawn).collect()
    }

    /// The same after `before`: an approval is said once, and goes on.
    ///
    /// It ends with its release, and does not come back with it. It ends as well where somebody wants the
    /// release tried again: who gave it did not know what would come of it.
    fn after(mut self, before: Option<&Word>) -> Word {
        if let Word::Assigned { target, approved, again, .. } = &mut self
            && let Some(Word::Assigned { target: held, approved: true, again: last, .. }) = before
        {
            let is_tried_again = *again > 0 && again != last;
            *approved |= held.release.digest == target.release.digest && !is_tried_again;
        }
        self
    }
}

/// All that a slot is told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Told {
    /// Nothing where it was never assigned anything.
    word: Option<Word>,
    /// Of the releases that it holds, those for which nobody vouches; nothing where that is not known.
    disowned: Option<Disowned>,
}

/// A slot that is told what it shall hold.
pub(super) struct Listener {
    /// The way to its driver; none where this device has no such slot.
    way: Option<mpsc::Sender<Order>>,
    /// What it is to know.
    known: Told,
    /// What it was told of that. Whatever differs is told, and what is to be told again is taken out.
    told: Told,
    /// Version of the assignment that it was told of last, or that was accepted before there was it.
    version: u64,
}

impl Listener {
    /// A slot that was told of the assignment `version` by an earlier start of the agent.
    pub(super) fn new(way: Option<mpsc::Sender<Order>>, version: u64) -> Listener {
        Listener { way, known: Told::default(), told: Told::default(), version }
    }

    /// Whether this device has the slot.
    pub(super) fn is_here(&self) -> bool {
        self.way.is_some()
    }

    /// The release that the slot shall hold.
    pub(super) fn assigned(&self) -> Option<&ReleaseId> {
        match &self.known.word {
            Some(Word::Assigned { target, .. }) => Some(&target.release),
            Some(Word::Withdrawn(_)) | None => None,
        }
    }

    /// Notes what the slot is to hold or to leave. Returns whether that is news.
    pub(super) fn learn(&mut self, word: Word) -> bool {
        let word = word.after(self.known.word.as_ref());
        if let (Word::Assigned { target, .. }, Some(disowned)) = (&word, &mut self.known.disowned) {
            // Nothing is accepted for which nobody vouches.
            disowned.remove(&target.release.digest);
        }
        let is_news = self.known.word.as_ref() != Some(&word);
        self.known.word = Some(word);
        is_news
    }

    /// Notes which of the releases that the slot holds nobody vouches for. It is told so whatever it was
    /// told before: what it holds changes.
    pub(super) fn disown(&mut self, releases: Disowned) {
        self.known.disowned = Some(releases);
        self.told.disowned = None;
    }

    /// Notes that a person approves what the slot is to hold. It is told so whatever it was told before,
    /// and then once more what nobody vouches for: a slot takes for vouched for what it is told to hold.
    pub(super) fn approve(&mut self) {
        if let Some(Word::Assigned { approved, .. }) = &mut self.known.word {
            *approved = true;
            self.told = Told::default();
        }
    }

    /// Whether the slot was told all that it is to know.
    pub(super) fn has_heard(&self) -> bool {
        self.told == self.known
    }

    /// Tells the slot what it has not heard, as far as it listens.
    pub(super) fn tell(&mut self) {
        if self.told.word != self.known.word {
            let Some(word) = self.known.word.clone() else { return };
            if !self.hears(self.order(word.clone())) {
                return;
            }
            if let Word::Assigned { version, .. } = word {
                self.version = version;
            }
            self.told.word = Some(word);
        }
        // After what it shall hold, which it takes for vouched for.
        if self.told.disowned != self.known.disowned {
            let Some(releases) = self.known.disowned.clone() else { return };
            if self.hears(Order::Disowned(releases.clone())) {
                self.told.disowned = Some(releases);
            }
        }
    }

    fn order(&self, word: Word) -> Order {
        match word {
            Word::Assigned { target, approved, again, version } => {
                let newer = version > self.version;
                Order::Assigned(Assigned { target, approved, newer, again })
            }
            Word::Withdrawn(withdrawn) => Order::Withdrawn(withdrawn),
        }
    }

    /// Whether the slot takes an order now. One that this device does not have takes any.
    fn hears(&self, order: Order) -> bool {
        self.way.as_ref().is_none_or(|way| way.try_send(order).is_ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lineside_bundle::Digest;
    use mpsc::Receiver;

    fn release(version: &str) -> ReleaseId {
        ReleaseId {
            name: "echo".parse().unwrap(),
            version: version.parse().unwrap(),
            digest: Digest::of(version.as_bytes()),
            size: 4,
        }
    }

    fn assigned(name: &str, approved: bool, again: u64, version: u64) -> Word {
        let target = Target { release: release(name), number: 1, floor: 0 };
        Word::Assigned { target, approved, again, version }
    }

    fn withdrawn(name: &str) -> Word {
        Word::Withdrawn(Withdrawn { release: release(name), reason: "why".into() })
    }

    fn disowned(names: &[&str]) -> Disowned {
        names.iter().map(|name| (release(name).digest, "why".to_owned())).collect()
    }

    /// A slot that has room for so many orders and was told of assignment 5 before.
    fn slot(room: usize) -> (Listener, Receiver<Order>) {
        let (way, orders) = mpsc::channel(room);
        (Listener::new(Some(way), 5), orders)
    }

    /// What a slot hears when it is told what it has not heard.
    fn heard(listener: &mut Listener, orders: &mut Receiver<Order>) -> Vec<String> {
        listener.tell();
        let told = std::iter::from_fn(|| orders.try_recv().ok()).map(|order| match order {
            Order::Assigned(Assigned { target, approved, newer, again }) => {
                let mark = |is: bool, mark| if is { mark } else { "" };
                let (approved, newer) = (mark(approved, " approved"), mark(newer, " newer"));
                format!("{}{approved}{newer} again {again}", target.release)
            }
            Order::Withdrawn(withdrawn) => format!("not {}", withdrawn.release),
            Order::Disowned(releases) => format!("{} disowned", releases.len()),
        });
        told.collect()
    }

    #[test]
    fn a_slot_is_told_once_what_changes_and_that_a_newer_assignment_names_the_same() {
        let (mut slot, mut orders) = slot(4);
        assert!(slot.has_heard());
        for (word, told) in [
            (assigned("1", false, 0, 5), &["echo v1 again 0"][..]),
            (assigned("1", false, 0, 5), &[]),
            (assigned("1", false, 0, 6), &["echo v1 newer again 0"]),
            (withdrawn("1"), &["not echo v1"]),
            (withdrawn("1"), &[]),
            (assigned("2", false, 0, 7), &["echo v2 newer again 0"]),
            // Another director begins anew.
            (assigned("2", false, 1, 1), &["echo v2 again 1"]),
            (assigned("2", false, 1, 2), &["echo v2 newer again 1"]),
        ] {
            assert_eq!(slot.learn(word), !told.is_empty());
            assert_eq!(slot.has_heard(), told.is_empty());
            assert_eq!(heard(&mut slot, &mut orders), told);
            assert!(slot.has_heard());
        }
    }

    #[test]
    fn a_slot_that_was_busy_hears_the_last_word_and_that_it_is_newer_and_then_what_is_disowned() {
        let (mut slot, mut orders) = slot(1);
        slot.learn(assigned("1", false, 0, 5));
        slot.tell();
        slot.learn(assigned("2", false, 0, 6));
        slot.disown(disowned(&["1"]));
        slot.learn(assigned("3", true, 0, 6));
        slot.tell();
        assert_eq!(heard(&mut slot, &mut orders), ["echo v1 again 0"]);
        assert!(!slot.has_heard());
        assert_eq!(heard(&mut slot, &mut orders), ["echo v3 approved newer again 0"]);
        assert!(!slot.has_heard());
        assert_eq!(heard(&mut slot, &mut orders), ["1 disowned"]);
        assert!(slot.has_heard());
        assert_eq!(heard(&mut slot, &mut orders), [""; 0]);
    }

    #[test]
    fn an_approval_is_for_one_release_until_it_is_left_or_somebody_wants_it_tried_again() {
        let (mut slot, mut orders) = slot(4);
        let mut version = 5;
        for (name, approved, again, is_approved) in [
            ("1", false, 0, false),
            ("1", true, 0, true),
            ("1", false, 0, true),
            ("2", false, 0, false),
            ("1", false, 0, false),
            ("1", true, 3, true),
            ("1", false, 3, true),
            ("1", false, 4, false),
            ("1", true, 4, true),
            ("1", false, 0, true),
        ] {
            version += 1;
            slot.learn(assigned(name, approved, again, version));
            let mark = if is_approved { " approved" } else { "" };
            let told = format!("echo v{name}{mark} newer again {again}");
            assert_eq!(heard(&mut slot, &mut orders), [told]);
        }
        slot.learn(withdrawn("1"));
        slot.learn(assigned("1", false, 0, version));
        assert_eq!(heard(&mut slot, &mut orders), ["echo v1 again 0"]);
    }

    #[test]
    fn what_nobody_vouches_for_is_told_again_after_whatever_a_person_approves() {
        let (mut slot, mut orders) = slot(4);
        slot.approve();
        assert_eq!(heard(&mut slot, &mut orders), [""; 0], "there is nothing to approve");
        slot.learn(assigned("1", false, 0, 5));
        slot.disown(disowned(&["1", "2"]));
        assert_eq!(heard(&mut slot, &mut orders), ["echo v1 again 0", "2 disowned"]);
        for _ in 0..2 {
            slot.approve();
            assert_eq!(heard(&mut slot, &mut orders), ["echo v1 approved again 0", "2 disowned"]);
        }
        slot.disown(disowned(&["1", "2"]));
        assert_eq!(heard(&mut slot, &mut orders), ["2 disowned"], "it may hold others by now");
        // Where it is not known what nobody vouches for, what is assigned anew is vouched for.
        slot.learn(assigned("1", false, 0, 6));
        assert_eq!(heard(&mut slot, &mut orders), ["echo v1 approved newer again 0", "1 disowned"]);
    }

    #[test]
    fn nobody_waits_for_a_slot_that_the_device_does_not_have() {
        let mut slot = Listener::new(None, 5);
        assert!(slot.learn(assigned("1", false, 0, 6)), "it is news that it is named");
        slot.disown(Disowned::new());
        slot.tell();
        assert!(slot.has_heard() && !slot.is_here());
    }
}
