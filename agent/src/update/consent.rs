//! Whether the route of a slot may be changed now, as far as the site says: maintenance windows, and
//! "not while in use" by a lock file, a topic of the plant, or people on the device.
//!
//! What is not known counts as in use. Only people hold back the first release of a vacant slot: it takes
//! the route from nothing. Nothing holds back a way back, about which the engine asks nobody.

pub mod holds;
pub mod topic;

use crate::clock::now_unix_ms;
use crate::config::{Then, UpdatesConfig};
use crate::update::hands::{Consent, Route};
use crate::update::journal::Journal;
use holds::{Hold, Holds};
use lineside_wire::name::SlotName;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::sync::{Semaphore, watch};
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use topic::Used;

/// How long a lock file may take to be there or not. Who is asked waits for it every second.
const LOOK_MAX: Duration = Duration::from_secs(1);

/// What decides for one slot.
#[derive(Clone)]
pub struct Site {
    slot: SlotName,
    config: UpdatesConfig,
    /// What the topic says, where there is one.
    in_use: Option<watch::Receiver<Used>>,
    holds: Holds,
    journal: Journal,
    /// Taken by who looks at what may never answer.
    looking: Arc<Semaphore>,
}

/// What is the case when somebody asks.
#[derive(Debug, Clone)]
struct Facts {
    now: OffsetDateTime,
    /// No time before this can be right.
    latest_known: OffsetDateTime,
    locked: Locked,
    /// Why the topic does not say that the slot is free; none where it does, or where there is none.
    in_use: Option<String>,
    hold: Option<Hold>,
}

/// What a lock file says.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Locked {
    No,
    Yes,
    /// Nobody can tell.
    Unknown(String),
}

impl Site {
    /// What decides for `slot`.
    pub fn new(
        slot: SlotName,
        config: UpdatesConfig,
        in_use: Option<watch::Receiver<Used>>,
        holds: Holds,
        journal: Journal,
    ) -> Site {
        Site { slot, config, in_use, holds, journal, looking: Arc::new(Semaphore::new(1)) }
    }

    /// Whether the route may be changed now, for an update that has `waited` so long, in running time.
    /// Looks at a file and into the database; where they do not answer, the slot is perhaps in use.
    pub async fn consent(&self, route: Route, waited: Duration) -> Consent {
        decide(&self.config, &self.facts().await, route, waited)
    }

    /// The leave of an update that gets ready: what the site has answered last, and none while people hold the
    /// slot back.
    pub fn leave(&self, given: bool) -> watch::Receiver<bool> {
        self.holds.leave(&self.slot, given)
    }

    /// Why the route may not be changed now; empty if it may. Looks as [`Site::consent`] does.
    pub async fn reasons(&self) -> Vec<String> {
        let facts = self.facts().await;
        let hold = facts.hold.as_ref().map(Hold::told);
        reasons(&self.config, &facts).into_iter().chain(hold).collect()
    }

    async fn facts(&self) -> Facts {
        let (locked, latest_known) = self.look().await.unwrap_or_else(|| {
            (Locked::Unknown("it does not answer".into()), OffsetDateTime::UNIX_EPOCH)
        });
        Facts {
            now: moment(now_unix_ms()),
            latest_known,
            locked,
            in_use: self.in_use.as_ref().and_then(|used| used.borrow().reason()),
            hold: self.holds.of(&self.slot),
        }
    }

    /// Looks at the lock file and into the journal, in a thread that may wait for ever: the file may be
    /// on a share of the network. Nothing if there is no answer in time: who asks next does not look as well.
    async fn look(&self) -> Option<(Locked, OffsetDateTime)> {
        let place = self.looking.clone().acquire_owned();
        let place = timeout(LOOK_MAX, place).await.ok()?.ok()?;
        let (file, journal) = (self.config.lock_file.clone(), self.journal.clone());
        let looked = spawn_blocking(move || {
            // A journal that cannot be read stops updates by itself.
            let accepted = journal.accepted().unwrap_or_default();
            let looked = (locked(file.as_deref()), moment(accepted.latest_known_unix_ms));
            drop(place);
            looked
        });
        timeout(LOOK_MAX, looked).await.ok()?.ok()
    }
}

fn locked(file: Option<&Path>) -> Locked {
    match file.map(Path::try_exists) {
        None | Some(Ok(false)) => Locked::No,
        Some(Ok(true)) => Locked::Yes,
        Some(Err(error)) => Locked::Unknown(error.to_string()),
    }
}

/// A time of the clock; the calendar's first for what no calendar knows.
fn moment(unix_ms: i64) -> OffsetDateTime {
    let nanos = i128::from(unix_ms) * 1_000_000;
    OffsetDateTime::from_unix_timestamp_nanos(nanos).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

/// Why the route may not be changed, by the rules of a slot. What people hold back is not among it.
fn reasons(config: &UpdatesConfig, facts: &Facts) -> Vec<String> {
    let mut reasons = Vec::new();
    let windows = &config.windows;
    if !windows.windows.is_empty() {
        if facts.now < facts.latest_known {
            let time = |time: OffsetDateTime| time.format(&Rfc3339).unwrap_or_default();
            // Without what it shows: a reason that changes every second would be news every second.
            reasons.push(format!(
                "the clock cannot be right, so no maintenance window opens: it shows a time before {}, \
                 which has passed",
                time(facts.latest_known)
            ));
        } else if !windows.is_open(facts.now) {
            let next = windows.next(facts.now).unwrap_or_default();
            reasons.push(format!("outside of the maintenance windows, the next opens {next}"));
        }
    }
    let file =
        config.lock_file.as_ref().map_or("the disk".into(), |file| file.display().to_string());
    match &facts.locked {
        Locked::No => {}
        Locked::Yes => reasons.push(format!("in use: {file} is there")),
        Locked::Unknown(why) => {
            reasons.push(format!("perhaps in use: {file}: {why}"));
        }
    }
    reasons.extend(facts.in_use.clone());
    reasons
}

/// What follows for an update that has `waited` so long.
///
/// A deadline may overrule windows and what machines say. What a person holds back it does not: that
/// ends by a person, or by the end that the person has named.
fn decide(config: &UpdatesConfig, facts: &Facts, route: Route, waited: Duration) -> Consent {
    let mut reasons = match route {
        Route::Taken => reasons(config, facts),
        Route::Vacant => Vec::new(),
    };
    let overdue = config.deadline.is_some_and(|deadline| waited >= deadline);
    if overdue && config.then == Then::Go {
        reasons.clear();
    }
    reasons.extend(facts.hold.as_ref().map(Hold::told));
    if reasons.is_empty() {
        return Consent::Given;
    }
    reasons.extend(config.deadline.map(|deadline| {
        let hours = deadline.as_secs_f64() / 3600.0;
        let late = format!("overdue: it has waited for more than {hours} hours");
        match (overdue, config.then) {
            (true, Then::Wait) => late,
            (true, Then::Go) => format!("{late}, and goes when it is let go"),
            (false, Then::Wait) => format!("overdue after {hours} hours of waiting"),
            (false, Then::Go) => format!("it goes after {hours} hours of waiting"),
        }
    }));
    Consent::Withheld { reason: reasons.join("; "), overdue }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Windows;
    use time::macros::datetime;

    const HOUR: Duration = Duration::from_secs(3600);

    fn config(windows: &[&str], deadline: Option<Duration>, then: Then) -> UpdatesConfig {
        let windows = windows.iter().map(|text| text.parse().unwrap()).collect();
        UpdatesConfig {
            windows: Windows { windows, ..Windows::default() },
            lock_file: Some("/run/busy".into()),
            in_use: None,
            deadline,
            then,
        }
    }

    /// A Wednesday noon on which nothing holds an update back.
    fn facts() -> Facts {
        Facts {
            now: datetime!(2026-11-25 12:00 UTC),
            latest_known: datetime!(2026-11-25 12:00 UTC),
            locked: Locked::No,
            in_use: None,
            hold: None,
        }
    }

    fn held(reason: &str, minutes: Option<u64>) -> Hold {
        Hold { reason: reason.into(), by: "anna".into(), minutes, seconds_left: None }
    }

    fn said(facts: &Facts, windows: &[&str]) -> String {
        match decide(&config(windows, None, Then::Wait), facts, Route::Taken, HOUR) {
            Consent::Given => "given".into(),
            Consent::Withheld { reason, overdue } => {
                assert!(!overdue, "there is no deadline");
                reason
            }
        }
    }

    #[test]
    fn consent_is_given_where_nothing_is_against_it() {
        assert_eq!(said(&facts(), &[]), "given");
        assert_eq!(said(&facts(), &["Wed 12:00-13:00"]), "given");
        let early = Facts { now: datetime!(2000-01-01 00:00 UTC), ..facts() };
        assert_eq!(said(&early, &[]), "given", "without windows the clock does not matter");
    }

    #[test]
    fn whatever_is_against_it_is_said_at_once() {
        assert_eq!(
            said(&facts(), &["Thu 12:00-13:00"]),
            "outside of the maintenance windows, the next opens Thu 12:00 (+00:00)"
        );
        let hold = held("changing the belt", Some(2));
        let busy = Facts {
            locked: Locked::Yes,
            in_use: Some("in use: topic line says busy".into()),
            hold: Some(hold),
            ..facts()
        };
        assert_eq!(
            said(&busy, &[]),
            "in use: /run/busy is there; in use: topic line says busy; held back by hand (anna) for 2 minutes: \
             changing the belt"
        );
        let unknown = Facts { locked: Locked::Unknown("permission denied".into()), ..facts() };
        assert_eq!(said(&unknown, &[]), "perhaps in use: /run/busy: permission denied");
    }

    #[test]
    fn a_clock_that_cannot_be_right_opens_no_window_and_says_why() {
        let late = Facts { latest_known: datetime!(2026-11-25 12:00:01 UTC), ..facts() };
        let said = said(&late, &["Mon-Sun 00:00-24:00"]);
        assert!(said.contains("the clock cannot be right"), "{said}");
        assert!(said.contains("shows a time before 2026-11-25T12:00:01Z"), "{said}");
    }

    #[test]
    fn after_its_deadline_an_update_goes_or_says_that_it_is_overdue() {
        let busy = Facts { locked: Locked::Yes, ..facts() };
        let after = |then, waited| {
            let config = config(&["Thu 12:00-13:00"], Some(72 * HOUR), then);
            decide(&config, &busy, Route::Taken, waited)
        };
        let almost = 72 * HOUR - Duration::from_secs(1);
        let Consent::Withheld { reason, overdue: false } = after(Then::Go, almost) else {
            panic!()
        };
        assert!(reason.ends_with("is there; it goes after 72 hours of waiting"), "{reason}");
        assert_eq!(after(Then::Go, 72 * HOUR), Consent::Given);
        let Consent::Withheld { reason, overdue: false } = after(Then::Wait, almost) else {
            panic!()
        };
        assert!(reason.ends_with("is there; overdue after 72 hours of waiting"), "{reason}");
        let Consent::Withheld { reason, overdue: true } = after(Then::Wait, 72 * HOUR) else {
            panic!()
        };
        assert!(reason.ends_with("overdue: it has waited for more than 72 hours"), "{reason}");
    }

    #[test]
    fn no_deadline_overrules_what_a_person_holds_back() {
        let hold = held("surgery", None);
        let held = Facts { locked: Locked::Yes, hold: Some(hold), ..facts() };
        let config = config(&[], Some(72 * HOUR), Then::Go);
        let Consent::Withheld { reason, overdue: true } =
            decide(&config, &held, Route::Taken, 73 * HOUR)
        else {
            panic!("a person is overruled");
        };
        assert_eq!(
            reason,
            "held back by hand (anna) until it is released: surgery; overdue: it has waited for more than 72 \
             hours, and goes when it is let go"
        );
        let released = Facts { hold: None, ..held };
        assert_eq!(decide(&config, &released, Route::Taken, 73 * HOUR), Consent::Given);
    }

    #[test]
    fn only_people_hold_back_the_first_release_of_a_slot() {
        let in_use = Some("in use: topic line says busy".into());
        let busy = Facts { locked: Locked::Yes, in_use, ..facts() };
        let closed = config(&["Thu 12:00-13:00"], None, Then::Wait);
        assert_eq!(decide(&closed, &busy, Route::Vacant, HOUR), Consent::Given);
        let held = Facts { hold: Some(held("surgery", None)), ..busy };
        let Consent::Withheld { reason, overdue: false } =
            decide(&closed, &held, Route::Vacant, HOUR)
        else {
            panic!("a person is overruled");
        };
        assert_eq!(reason, "held back by hand (anna) until it is released: surgery");
    }
}
