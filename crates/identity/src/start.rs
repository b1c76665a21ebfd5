//! Copies of a device: two machines with one key, which take turns.

use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::fmt;

/// Starts that are remembered of a device besides the last one.
pub const STARTS_MAX: usize = 16;

/// What a device says of itself when it connects: the agent's journal numbers its starts, each higher than
/// the one before, and the session counts its connections since then.
///
/// It is of the packet that opens a connection, and to be looked at once whoever sent it has answered
/// something on this connection. Messages are no witness: they are sent again, and wait in queues, while
/// another start has come. Nor is a connection that was left before it was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Mark {
    /// Number of the agent's start.
    pub boot: u64,
    /// Which connection since then it is, from 1.
    pub session: u64,
}

impl Mark {
    /// The user property of CONNECT (MQTT 5, 3.1.2.11.8) that has it, as text: `<boot>.<session>`.
    pub const PROPERTY: &str = "lineside-start";

    /// What a text says; none if it is no mark.
    pub fn read(text: &str) -> Option<Mark> {
        let (boot, session) = text.split_once('.')?;
        Some(Mark { boot: boot.parse().ok()?, session: session.parse().ok()? })
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.boot, self.session)
    }
}

/// What is remembered of a device's starts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Starts {
    /// The connection that came last.
    last: Option<Mark>,
    /// Starts that others have come after, the latest last; the oldest gives way.
    over: VecDeque<u64>,
}

/// What a connection tells of a device's starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sighting {
    /// It goes on: the first start that is heard of, the same as before, or a later one.
    Goes,
    /// Another start, with a lower number than the last and never seen: the agent's state was lost or set
    /// back while its clock was wrong, or this is one of two that has not been heard before. If it is, the
    /// other one comes back.
    SetBack,
    /// A start that was over is back, or a connection that was: there are two machines with this key.
    Copied,
}

/// Takes note of a connection. What is remembered is the same after a copy was seen, so it is seen again.
///
/// A copy that lies about its starts is found as well, as long as the machine itself is running and it says no more
/// than [`STARTS_MAX`] others: that one's number stays what it was. A thief who is alone with a key is not found.
pub fn sight(mut starts: Starts, mark: Mark) -> (Starts, Sighting) {
    let Some(last) = starts.last else {
        return (Starts { last: Some(mark), ..starts }, Sighting::Goes);
    };
    if mark.boot == last.boot {
        return match mark.session > last.session {
            true => (Starts { last: Some(mark), ..starts }, Sighting::Goes),
            false => (starts, Sighting::Copied),
        };
    }
    if starts.over.contains(&mark.boot) {
        return (starts, Sighting::Copied);
    }
    if starts.over.len() >= STARTS_MAX {
        starts.over.pop_front();
    }
    starts.over.push_back(last.boot);
    let sighting = if mark.boot > last.boot { Sighting::Goes } else { Sighting::SetBack };
    (Starts { last: Some(mark), ..starts }, sighting)
}

#[cfg(test)]
mod tests {
    use super::*;
    use Sighting::{Copied, Goes, SetBack};
    use proptest::prelude::*;

    fn sighted(marks: &[(u64, u64)]) -> Vec<Sighting> {
        let mut starts = Starts::default();
        let sight = |&(boot, session): &(u64, u64)| {
            let (next, sighting) = sight(std::mem::take(&mut starts), Mark { boot, session });
            starts = next;
            sighting
        };
        marks.iter().map(sight).collect()
    }

    #[test]
    fn a_mark_is_said_and_read_in_one_form() {
        let mark = Mark { boot: 1_700_000_000, session: 4 };
        assert_eq!(mark.to_string(), "1700000000.4");
        assert_eq!(Mark::read("1700000000.4"), Some(mark));
        for none in ["", "1", "1.", ".1", "1.2.3", "-1.1", "1.99999999999999999999"] {
            assert_eq!(Mark::read(none), None, "{none}");
        }
    }

    #[test]
    fn a_device_that_starts_over_and_connects_again_is_one() {
        assert_eq!(sighted(&[(1, 1), (1, 2), (1, 9), (5, 1), (9, 1), (9, 2)]), [Goes; 6]);
    }

    #[test]
    fn a_start_that_is_back_is_a_copy_and_stays_one() {
        // The machine runs as start 5 when its copy starts as 6.
        assert_eq!(sighted(&[(5, 1), (6, 1), (5, 2)]), [Goes, Goes, Copied]);
        assert_eq!(sighted(&[(5, 1), (6, 1), (5, 2), (5, 3), (6, 2)])[3..], [Copied, Goes]);
        // The machine was away when its copy came.
        assert_eq!(sighted(&[(6, 1), (5, 1), (6, 2)]), [Goes, SetBack, Copied]);
        // Both start over, and one of them says a number once more.
        assert_eq!(sighted(&[(5, 1), (6, 1), (7, 1), (6, 2)]), [Goes, Goes, Goes, Copied]);
        // The copy says the machine's own start: their connections are not counted together.
        assert_eq!(sighted(&[(5, 1), (5, 7), (5, 2)]), [Goes, Goes, Copied]);
        assert_eq!(sighted(&[(5, 1), (5, 1)]), [Goes, Copied]);
    }

    #[test]
    fn a_state_that_was_lost_under_a_wrong_clock_is_no_copy() {
        assert_eq!(sighted(&[(1_700_000_000, 4), (77, 1), (78, 1)]), [Goes, SetBack, Goes]);
        // The clock is right again.
        assert_eq!(
            sighted(&[(1_700_000_000, 4), (77, 1), (1_700_000_900, 1)]),
            [Goes, SetBack, Goes]
        );
    }

    proptest! {
        /// One machine, however it starts and connects, is never taken for two.
        #[test]
        fn one_machine_is_one(steps in proptest::collection::vec((0_u64..3, 1_u64..3), 1..200)) {
            let (mut boot, mut session) = (1, 0);
            let marks: Vec<(u64, u64)> = steps.iter().map(|&(later, more)| {
                session = if later > 0 { more } else { session + more };
                boot += later;
                (boot, session)
            }).collect();
            prop_assert!(sighted(&marks).iter().all(|sighting| *sighting == Goes));
        }

        /// Two machines that both run are found as soon as each has come after the other.
        #[test]
        fn two_machines_are_two(
            first in 1_u64..9, second in 1_u64..9, turns in proptest::collection::vec(0_usize..2, 1..30),
        ) {
            let mut sessions = [0, 0];
            let marks: Vec<(u64, u64)> = turns.iter().map(|&who| {
                sessions[who] += 1;
                ([first, second][who], sessions[who])
            }).collect();
            let changes = turns.windows(2).filter(|pair| pair[0] != pair[1]).count();
            let found = sighted(&marks).contains(&Copied);
            if first != second {
                prop_assert_eq!(found, changes >= 2);
            }
            // Of one number each, they are found when one of them is not ahead.
            let (a, b) = (turns.contains(&0), turns.contains(&1));
            prop_assert!(!found || (a && b));
        }

        #[test]
        fn what_is_remembered_is_bounded(
            marks in proptest::collection::vec((0_u64..99, 0_u64..99), 0..300),
        ) {
            let mut starts = Starts::default();
            for (boot, session) in marks {
                starts = sight(starts, Mark { boot, session }).0;
                prop_assert!(starts.over.len() <= STARTS_MAX);
                let kept = serde_json::to_string(&starts).unwrap();
                prop_assert_eq!(&serde_json::from_str::<Starts>(&kept).unwrap(), &starts);
            }
        }
    }
}
