//! The rules of a device that is started, killed and told otherwise.

use super::*;
use crate::database::tests::in_memory;
use crate::telemetry::counting::tests::{frame, slot};
use crate::telemetry::counting::{Counter, Counting, Counts, Told};
use crate::telemetry::spool::{Open, Spool};
use crate::telemetry::summarise::Summariser;
use crate::telemetry::{TelemetryHandle, TelemetryParts};
use lineside_rules::SlotPolicy;
use lineside_wire::envelope::decode;
use lineside_wire::v1::{Body, Record, Telemetry};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Frames of an interval.
const FRAMES: u64 = 10;

/// More than half of the frames without an answer, in two intervals.
fn policy(then: Actions) -> SitePolicy {
    let rule = r#"{"signal": "error_share", "within": [0, 0.5], "values_min": 4}"#;
    let mut rule: lineside_rules::AlertRule = serde_json::from_str(rule).unwrap();
    rule.then = then;
    let rules = BTreeMap::from([("errors".to_owned(), rule)]);
    let slot = SlotPolicy { rules, ..SlotPolicy::default() };
    SitePolicy { slots: BTreeMap::from([("*".to_owned(), slot)]), ..SitePolicy::default() }
}

fn all() -> Actions {
    Actions {
        fail_safe: true,
        interval_seconds: Some(5),
        capture_minutes: Some(1),
        ..Actions::default()
    }
}

/// The telemetry of a device, started on what its disk has.
struct Device {
    spool: Spool,
    counting: Counting,
    fires: watch::Receiver<Fires>,
    keeps: watch::Receiver<Option<Vec<Keep>>>,
}

/// A bundle that lets what comes in be kept, or says nothing.
fn bundle(allows: bool) -> BundleFile {
    let capture = if allows { "[capture]\nallowed = true\nredact = ['x']\n" } else { "" };
    BundleFile::parse(&format!(
        "format = 1\nname = 'echo'\nversion = '1'\n\
         [inputs.p]\nrate_hz = 1.0\nfields = [{{ name = 'x' }}]\n\
         [stages.w]\nkind = 'window'\ninput = 'p'\nrows = 1\nstride = 1\n\
         [stages.last]\nkind = 'select'\ninput = 'w'\nindex = 0\n\
         [outputs]\nlevel = {{ from = 'last' }}\n{capture}"
    ))
    .unwrap()
}

impl Device {
    fn start(database: &Arc<Database>, boot: u64, policy: &watch::Sender<SitePolicy>) -> Device {
        let spool = Spool::open(database.clone(), boot, 1 << 20).unwrap();
        let interval_ms = FRAMES as i64 * 1000;
        let open = spool.open_interval("line").unwrap();
        let (mut judge, trouble) = Judge::new(JudgeParts {
            slot: slot(),
            policy: policy.subscribe(),
            has_values: true,
            captures: true,
            interval_ms,
            written: spool.judged("line").unwrap(),
        });
        assert_eq!(trouble, None);
        let (fires, keeps) = (judge.fires(), judge.keeps());
        let waits = keeps.borrow().is_none();
        assert_eq!(waits, judge.monitor.is_some(), "the bundle is not known yet");
        judge.knows(Digest::of(b"1"), &bundle(true), None);
        judge.hand_out();
        judge.tell();
        let counter = Counter::new(Summariser::new("line", interval_ms, open), judge);
        let counting = Counting::new(BTreeMap::from([(slot(), counter)]), BTreeMap::new());
        Device { spool, counting, fires, keeps }
    }

    /// A frame of this second, with an answer or without.
    fn takes(&self, number: u64, is_answered: bool) {
        let (release, mut settled) = frame(number, 1);
        if is_answered {
            settled.result = Ok(vec![]);
        }
        self.counting.tell(Told::Frames(slot(), vec![(release, settled)]));
        self.counting.count();
    }

    fn writes(&mut self) {
        let Some(Counts { bodies, open, judged, .. }) = self.counting.counts() else { return };
        let (intervals, answers) = (&open, &BTreeMap::new());
        let open = Open { intervals, judged: &judged, qualities: None, answers };
        self.spool.write_with(&bodies, open, 0).unwrap();
        self.counting.tell_slots();
    }

    fn rules(&mut self) -> Vec<String> {
        self.writes();
        self.fires.borrow().rules.clone()
    }

    fn instead_of(&mut self, release: &ReleaseId) -> Option<String> {
        self.writes();
        self.fires.borrow().instead_of(release).map(str::to_owned)
    }
}

/// What the disk has to tell of the rules, in its order.
fn told(database: &Arc<Database>) -> Vec<Alert> {
    let waiting = Spool::open(database.clone(), 99, 1 << 20).unwrap().waiting();
    let mut alerts = vec![];
    let take = |message: Vec<u8>| {
        let records = decode::<Telemetry>(&message).unwrap().records;
        alerts.extend(records.iter().filter_map(|record: &Record| match record.read() {
            Ok(Body::Alert(alert)) => Some(*alert),
            _ => None,
        }));
    };
    waiting.load(1 << 20, 1, take).unwrap();
    alerts
}

#[test]
fn a_restart_at_any_moment_goes_on_and_tells_each_alert_once() {
    // Three ill intervals, three that are well, and again.
    let is_answered = |number: u64| (number / FRAMES) % 6 >= 3;
    let alerts = |every: Option<u64>| {
        let (database, policy) = (in_memory(), watch::Sender::new(policy(Actions::default())));
        let mut device = Device::start(&database, 1, &policy);
        for number in 0..24 * FRAMES {
            if every.is_some_and(|every| number % every == 0) {
                device.writes();
                drop(device);
                device = Device::start(&database, 2 + number, &policy);
            }
            device.takes(number, is_answered(number));
        }
        device.writes();
        let mut told = told(&database);
        told.iter_mut().for_each(|alert| alert.at_unix_ms = 0);
        told
    };
    let whole = alerts(None);
    let brief: Vec<_> = whole.iter().map(|it| (it.fired, it.end_unix_ms / 10_000)).collect();
    let wanted = [2, 5, 8, 11, 14, 17, 20, 23];
    assert_eq!(brief.iter().map(|(_, at)| *at).collect::<Vec<_>>(), wanted);
    assert!(brief.iter().enumerate().all(|(number, (fired, _))| *fired == (number % 2 == 0)));
    for every in [1, 3, 7, 10] {
        assert_eq!(alerts(Some(every)), whole, "{every}");
    }
}

#[test]
fn a_kill_leaves_what_fires_and_what_was_told_of_it_alike() {
    let policy = watch::Sender::new(policy(all()));
    for every in [1, 2, 3, 5, 8, 11, 13, 17, 29] {
        let database = in_memory();
        let mut device = Device::start(&database, 1, &policy);
        for number in 0..24 * FRAMES {
            device.takes(number, (number / FRAMES) % 6 >= 3);
            match number % every {
                // Killed: what was counted since it was written is gone.
                0 => {
                    let slot_knew = device.fires.borrow().clone();
                    drop(device);
                    device = Device::start(&database, 2 + number, &policy);
                    assert_eq!(*device.fires.borrow(), slot_knew);
                    let told = told(&database);
                    assert!(told.windows(2).all(|it| it[0].fired != it[1].fired));
                    let fires = told.last().is_some_and(|alert| alert.fired);
                    assert_eq!(!device.fires.borrow().rules.is_empty(), fires);
                    // What is to be kept is known again, and is the same firing.
                    let keeps = device.keeps.borrow().clone().unwrap();
                    assert_eq!(!keeps.is_empty(), fires);
                    let fired = told.last().map(|alert| alert.end_unix_ms);
                    assert!(keeps.iter().all(|keep| Some(keep.fired_unix_ms) == fired));
                }
                1 | 4 => device.writes(),
                _ => {}
            }
        }
    }
}

#[test]
fn while_a_rule_fires_the_slot_does_what_it_wants_and_says_so() {
    let (database, policy) = (in_memory(), watch::Sender::new(policy(all())));
    let mut device = Device::start(&database, 1, &policy);
    let release = frame(0, 1).0;
    (0..=2 * FRAMES).for_each(|number| device.takes(number, false));
    assert_eq!(device.instead_of(&release).as_deref(), Some("errors"));
    let other = ReleaseId { digest: Digest::of(b"2"), ..ReleaseId::clone(&release) };
    assert_eq!(device.instead_of(&other), None, "it was judged of another release");
    // Intervals of five seconds, also after a start, from before the first frame on.
    (21..26).for_each(|number| device.takes(number, false));
    device.writes();
    let done = &told(&database)[0].done;
    assert_eq!(done[..], ["fail_safe", "interval_seconds 5", "capture_minutes 1"]);
    drop(device);
    let mut device = Device::start(&database, 2, &policy);
    assert_eq!(device.fires.borrow().instead_of(&release), Some("errors"));
    (26..35).for_each(|number| device.takes(number, true));
    assert_eq!(device.rules(), ["errors"]);
    device.takes(35, true);
    assert!(device.rules().is_empty());
    device.writes();
    let told = told(&database);
    assert_eq!((told.len(), told[1].fired, &*told[1].done), (2, false, &[][..]));
    assert_eq!(told[1].end_unix_ms, 35_000);
}

#[test]
fn what_the_site_takes_back_holds_no_longer_and_a_slot_that_is_vacant_has_no_rule_that_fires() {
    for is_vacated in [false, true] {
        let (database, policy) = (in_memory(), watch::Sender::new(policy(all())));
        let mut device = Device::start(&database, 1, &policy);
        let release = frame(0, 1).0;
        (0..=2 * FRAMES).for_each(|number| device.takes(number, false));
        device.writes();
        assert!(device.instead_of(&release).is_some());
        if is_vacated {
            device.counting.tell(Told::Vacated(slot()));
        } else {
            // The rule goes on to fire, until its next interval says that it is gone.
            policy.send_replace(SitePolicy::default());
        }
        device.writes();
        assert!(device.instead_of(&release).is_none());
        // Of a slot that is vacant they are committed late, and begin nothing again.
        (21..60).for_each(|number| device.takes(number, false));
        device.writes();
        assert!(device.instead_of(&release).is_none());
        let told = told(&database);
        assert!(!told.last().unwrap().fired, "{told:?}");
        assert_eq!(device.spool.judged("line").unwrap(), None);
    }
}

#[test]
fn what_fires_of_a_slot_that_has_left_is_over() {
    let (database, policy) = (in_memory(), watch::Sender::new(policy(all())));
    let mut device = Device::start(&database, 1, &policy);
    (0..=2 * FRAMES).for_each(|number| device.takes(number, false));
    device.writes();
    let open = BTreeMap::from([("line".to_owned(), None)]);
    device.spool.write(&[], &open).unwrap();
    drop(device);
    let folder = tempfile::tempdir().unwrap();
    for boot in [2, 3] {
        drop(TelemetryHandle::open(TelemetryParts {
            database: database.clone(),
            state_dir: folder.path().to_owned(),
            boot,
            interval: Duration::from_secs(10),
            spool_bytes_max: 1 << 20,
            spool_days_max: 800,
            backfill_bytes_per_second: 1 << 30,
            answers: Default::default(),
            slots: BTreeMap::new(),
            capturing: Default::default(),
            policy: policy.subscribe(),
        }));
        let told: Vec<bool> = told(&database).iter().map(|alert| alert.fired).collect();
        assert_eq!(told, [true, false]);
        assert_eq!(judged(&database, "line").unwrap(), None);
    }
}

#[test]
fn an_alert_says_whether_what_comes_in_is_kept_and_each_firing_is_told_once() {
    let then = Actions { capture_minutes: Some(60), ..Actions::default() };
    let mut forbids = policy(then.clone());
    let slot_policy = forbids.slots.get_mut("*").unwrap();
    slot_policy.capture.allowed = Some(false);
    for (captures, policy, allows, done) in [
        (true, policy(then.clone()), Some(true), "capture_minutes 60"),
        (true, forbids, Some(true), "capture_minutes: the site forbids it"),
        (true, policy(then.clone()), Some(false), "capture_minutes: the bundle does not allow it"),
        (true, policy(then.clone()), None, "capture_minutes: the bundle does not allow it"),
        (false, policy(then), Some(true), "capture_minutes: this device captures nothing"),
    ] {
        let (mut judge, _) = Judge::new(JudgeParts {
            slot: slot(),
            policy: watch::Sender::new(policy).subscribe(),
            has_values: false,
            captures,
            interval_ms: FRAMES as i64 * 1000,
            written: None,
        });
        if let Some(allows) = allows {
            judge.knows(Digest::of(b"1"), &bundle(allows), None);
        }
        let (database, keeps) = (in_memory(), judge.keeps());
        let counter = Counter::new(Summariser::new("line", FRAMES as i64 * 1000, None), judge);
        let counting = Counting::new(BTreeMap::from([(slot(), counter)]), BTreeMap::new());
        let spool = Spool::open(database.clone(), 1, 1 << 20).unwrap();
        let fires = watch::channel(Fires::default()).1;
        let mut device = Device { spool, counting, fires, keeps };
        // Ill, well again, and ill.
        (0..90).for_each(|number| device.takes(number, (number / FRAMES) % 5 >= 2));
        device.writes();
        let told = told(&database);
        let fired: Vec<_> = told.iter().filter(|alert| alert.fired).collect();
        assert!(fired.len() == 2 && fired.iter().all(|alert| alert.done == [done]), "{told:?}");
        let keeps = device.keeps.borrow().clone().unwrap_or_default();
        let ends: Vec<_> = fired.iter().map(|alert| alert.end_unix_ms).collect();
        let kept: Vec<_> = keeps.iter().map(|keep| keep.fired_unix_ms).collect();
        assert_eq!(kept, if done == "capture_minutes 60" { ends } else { vec![] });
        for keep in keeps {
            assert_eq!(
                (&*keep.rule, keep.minutes, &*keep.redact),
                ("errors", 60, &["x".into()][..])
            );
            assert!(keep.why.contains("is not within 0 to 0.5"), "{}", keep.why);
        }
    }
}

#[test]
fn what_was_written_and_cannot_be_read_is_begun_anew_and_said() {
    let written = |bytes: Vec<u8>| {
        let (_, policy) = watch::channel(SitePolicy::default());
        Judge::new(JudgeParts {
            slot: slot(),
            policy,
            has_values: false,
            captures: false,
            interval_ms: 1000,
            written: Some(bytes),
        })
    };
    let whole = write(&Monitor::of_device()).unwrap();
    assert_eq!(written(whole.clone()).1, None);
    let broken =
        [vec![], vec![FORM], [&whole[..], &[0]].concat(), [&[FORM + 1], &whole[1..]].concat()];
    for broken in broken {
        let (mut judge, trouble) = written(broken);
        assert!(trouble.unwrap().contains("they begin anew"));
        assert_eq!(judge.unwritten_bytes(), Some(None), "nobody reads it again");
    }
}
