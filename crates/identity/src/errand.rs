//! What a device has to do about its certificate, and when.
//!
//! It counts running time, as told by the server: a wall clock may lie, and a device be switched off for
//! months. Then the server does not believe its certificate any more, which is an occasion of its own.

use crate::exchange::Answer;
use crate::standing::Way;
use std::time::Duration;

/// How long a device lets a server alone that said no, and the longest for one that did not answer.
pub const AGAIN: Duration = Duration::from_secs(3_600);
/// How long it lets one alone that did not answer once.
const SOON: Duration = Duration::from_secs(30);
/// The longest that an answer can make it wait: the longest life of a certificate.
const WAIT_MAX: Duration = Duration::from_secs(30 * 24 * 3_600);

/// What a device has to do next. It is in memory alone: after a restart it follows from the files that are there,
/// and from what the server says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Errand {
    /// How far it has come.
    pub stage: Stage,
    /// Running time until it is to be done.
    pub left: Duration,
    /// Tries in a row that nobody answered.
    pub unanswered: u32,
}

/// How far a device has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// It has no certificate yet.
    Joins(TokenUse),
    /// It has one, and renews it in this way.
    Renews(Way),
}

/// Whether a token is shown when joining.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenUse {
    /// It is needed.
    Shown,
    /// The server knows the device by its key: the token may be forgotten.
    Over,
}

/// What may happen on an errand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Occasion {
    /// Time went by.
    Ran,
    /// The server answered.
    Answered(Answer),
    /// It did not, or could not be reached.
    Unanswered,
    /// It does not take the certificate, at this errand or wherever else it is shown.
    Unbelieved,
    /// There is no certificate in the file any more.
    Lost,
}

/// What is to be done now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deed {
    /// Ask to join.
    Join(TokenUse),
    /// Ask for another certificate.
    Renew(Way),
}

impl Errand {
    /// Of a device that was just installed.
    pub const FIRST: Errand =
        Errand { stage: Stage::Joins(TokenUse::Shown), left: Duration::ZERO, unanswered: 0 };

    /// What is to be done now; none while there is time left.
    pub fn due(&self) -> Option<Deed> {
        match self.stage {
            _ if self.left > Duration::ZERO => None,
            Stage::Joins(token) => Some(Deed::Join(token)),
            Stage::Renews(way) => Some(Deed::Renew(way)),
        }
    }
}

/// Takes an errand one occasion further. Reads no clock.
///
/// `ran` is how long the device has been running since the last occasion. A certificate that comes is verified
/// and written down before [`Answer::Issued`] is told here; one that is not good counts as no answer.
pub fn errand(before: Errand, occasion: &Occasion, ran: Duration) -> Errand {
    use Answer::*;
    use Occasion::*;
    use Stage::*;

    let Errand { stage, left, unanswered } = before;
    let next = |stage, left: Duration| Errand { stage, left: left.min(WAIT_MAX), unanswered: 0 };
    match (stage, occasion) {
        (stage, Ran) => Errand { stage, left: left.saturating_sub(ran), unanswered },
        (_, Answered(Issued { renew_at, now, .. } | TooEarly { renew_at, now })) => {
            next(Renews(Way::Session), between(*now, *renew_at))
        }
        (Joins(_), Answered(Wait { after })) => next(Joins(TokenUse::Over), seconds(*after)),
        // It is by its key alone that it hears of being accepted again.
        (Renews(_), Answered(Wait { after })) => next(Renews(Way::Request), seconds(*after)),
        (stage, Answered(Refused { .. })) => next(stage, AGAIN),
        (stage, Unanswered) | (stage @ (Joins(_) | Renews(Way::Request)), Unbelieved) => {
            let left = SOON.saturating_mul(1 << unanswered.min(16)).min(AGAIN);
            Errand { stage, left, unanswered: unanswered.saturating_add(1) }
        }
        (Renews(Way::Session), Unbelieved | Lost) => next(Renews(Way::Request), Duration::ZERO),
        // It is on its way to another one.
        (Joins(_) | Renews(Way::Request), Lost) => {
            Errand { stage, left: left.saturating_sub(ran), unanswered }
        }
    }
}

/// From one time of the server's to another; never nothing, or a server whose answers make no sense would be
/// asked without end.
fn between(now: i64, then: i64) -> Duration {
    let left = u64::try_from(then.saturating_sub(now)).unwrap_or(0);
    Duration::from_secs(left).max(SOON)
}

fn seconds(after: u32) -> Duration {
    Duration::from_secs(after.into()).max(SOON)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DAY: i64 = 24 * 3_600;

    fn issued(days: i64) -> Occasion {
        let certificates = String::new();
        Occasion::Answered(Answer::Issued { certificates, renew_at: days * DAY + 7, now: 7 })
    }

    fn wait() -> Occasion {
        Occasion::Answered(Answer::Wait { after: 60 })
    }

    fn refused() -> Occasion {
        Occasion::Answered(Answer::Refused { reason: "x".into() })
    }

    /// What is due at the beginning, and in how many seconds of running time what is due after each occasion.
    fn way(occasions: &[Occasion]) -> Vec<(u64, Deed)> {
        let mut now = Errand::FIRST;
        let mut due = vec![(0, now.due().unwrap())];
        for occasion in occasions {
            now = errand(now, occasion, Duration::ZERO);
            let left = now.left;
            now = errand(now, &Occasion::Ran, left);
            due.push((left.as_secs(), now.due().unwrap()));
        }
        due
    }

    #[test]
    fn a_device_joins_waits_is_accepted_and_renews() {
        let (shown, over) = (Deed::Join(TokenUse::Shown), Deed::Join(TokenUse::Over));
        let (session, request) = (Deed::Renew(Way::Session), Deed::Renew(Way::Request));
        let six_days = 6 * DAY as u64;
        assert_eq!(
            way(&[
                Occasion::Unanswered,
                Occasion::Unanswered,
                refused(),
                wait(),
                wait(),
                Occasion::Unanswered,
                issued(6),
                Occasion::Unanswered,
                issued(6),
            ]),
            [
                (0, shown),
                (30, shown),
                (60, shown),
                (3_600, shown),
                (60, over),
                (60, over),
                (30, over),
                (six_days, session),
                (30, session),
                (six_days, session),
            ]
        );
        // It slept for so long that its certificate is over, and so long that a person has to accept it again.
        assert_eq!(
            way(&[
                issued(6),
                Occasion::Unbelieved,
                Occasion::Unbelieved,
                issued(6),
                Occasion::Unbelieved,
                wait(),
                refused(),
                Occasion::Lost,
                issued(6),
                Occasion::Lost
            ])[1..],
            [
                (six_days, session),
                (0, request),
                (30, request),
                (six_days, session),
                (0, request),
                (60, request),
                (3_600, request),
                (0, request),
                (six_days, session),
                (0, request),
            ]
        );
        // Revoked: it goes on asking, once an hour.
        assert_eq!(
            way(&[issued(6), refused(), refused()])[2..],
            [(3_600, session), (3_600, session)]
        );
    }

    fn occasion() -> impl Strategy<Value = Occasion> {
        let answer = prop_oneof![
            (any::<i64>(), any::<i64>()).prop_map(|(renew_at, now)| Answer::Issued {
                certificates: String::new(),
                renew_at,
                now,
            }),
            (any::<i64>(), any::<i64>())
                .prop_map(|(renew_at, now)| Answer::TooEarly { renew_at, now }),
            any::<u32>().prop_map(|after| Answer::Wait { after }),
            Just(Answer::Refused { reason: String::new() }),
        ];
        prop_oneof![
            answer.prop_map(Occasion::Answered),
            Just(Occasion::Ran),
            Just(Occasion::Unanswered),
            Just(Occasion::Unbelieved),
            Just(Occasion::Lost),
        ]
    }

    proptest! {
        /// Whatever a server says, a device asks again within a month of running, and never without end.
        #[test]
        fn no_server_makes_a_device_ask_without_end_or_never(
            steps in proptest::collection::vec((occasion(), any::<u32>()), 1..60),
        ) {
            let mut now = Errand::FIRST;
            let mut at_once = 0;
            for (next, ran) in steps {
                let has_joined = matches!(now.stage, Stage::Renews(_));
                let token = now.stage;
                now = errand(now, &next, Duration::from_secs(ran.into()));
                prop_assert!(now.left <= WAIT_MAX);
                prop_assert!(!has_joined || matches!(now.stage, Stage::Renews(_)), "it joins twice");
                if token == Stage::Joins(TokenUse::Over) {
                    prop_assert_ne!(now.stage, Stage::Joins(TokenUse::Shown));
                }
                // At once only by the other way, which is tried once.
                let asked = matches!(next, Occasion::Answered(_) | Occasion::Unanswered | Occasion::Unbelieved);
                at_once = match (asked, now.left.is_zero()) {
                    (true, true) => at_once + 1,
                    (true, false) => 0,
                    (false, _) => at_once,
                };
                prop_assert!(at_once <= 1);
            }
        }
    }
}
