//! What is kept of firings: how much, for how long, and over restarts.

use super::super::segments::{Ring, read, segment};
use super::super::{Permit, Recorder};
use super::*;
use lineside_rules::{CaptureLimits, SitePolicy, SlotPolicy};
use std::time::Instant;
use tokio::sync::watch;

const BOUNDS: Bounds = Bounds { bytes_max: 32 * 1024, age_max: Duration::from_secs(24 * 3600) };
/// Of the field that is not to be kept, where that is said.
const SECRET: f64 = 1234.567;
const MINUTE: Duration = Duration::from_secs(60);

fn keep(rule: &str, minutes: u32) -> Keep {
    Keep {
        rule: rule.into(),
        release: "turbine/2".into(),
        digest: Digest::of(b"2"),
        fired_unix_ms: 1_400_000_000_000,
        why: "median of score is above 1".into(),
        minutes,
        redact: vec![],
    }
}

/// A ring, and what is kept beside it.
struct Slot {
    parent: tempfile::TempDir,
    ring: Ring,
    firings: Firings,
    wanted: Vec<Keep>,
    next: u64,
}

impl Slot {
    fn new() -> Slot {
        let parent = tempfile::tempdir().unwrap();
        let ring = Ring::open(parent.path(), BOUNDS).unwrap();
        let firings = Firings::open(parent.path()).unwrap();
        Slot { parent, ring, firings, wanted: vec![], next: 0 }
    }

    fn folder(&self) -> &Path {
        self.parent.path()
    }

    fn fires(&mut self, keep: Keep) {
        self.wanted.push(keep);
        self.firings.begin(&self.wanted).unwrap();
        self.firings.take(BOUNDS).unwrap();
        self.gives_way();
    }

    fn gives_way(&mut self) {
        self.firings.give_way(BOUNDS, Some(&self.wanted), SystemTime::now()).unwrap();
    }

    fn writes(&mut self, readings: u64) {
        self.writes_of(b"2", readings);
    }

    /// Readings of the release with this digest.
    fn writes_of(&mut self, release: &[u8], readings: u64) {
        let release = Digest::of(release);
        // As the recorder does: what the disk does not take is tried again.
        let _ = self.firings.of_release(release, BOUNDS);
        self.settles();
        for sequence in self.next..self.next + readings {
            let fields = vec!["secret".into(), "x".into()];
            let head = Head { fields, release: Some(release) };
            let values = vec![SECRET, 0.5];
            let reading = Reading { key: "k".into(), sequence, time_unix_ns: 0, values };
            let batch = [Entry::Head(head), Entry::Reading(reading)];
            assert!(self.ring.write(&batch, SystemTime::now()).unwrap());
            if self.firings.follow(self.ring.newest(), BOUNDS).unwrap() {
                self.gives_way();
            }
        }
        self.next += readings;
    }

    fn ran(&mut self, ran: Duration) {
        self.firings.ran(ran, BOUNDS).unwrap();
        self.settles();
    }

    fn settles(&mut self) {
        if self.ring.newest().is_some_and(|newest| self.firings.has_ended_with(newest)) {
            self.ring.cut();
        }
    }

    /// The agent is killed and started.
    fn restarts(&mut self) {
        self.firings = Firings::open(self.parent.path()).unwrap();
        self.ring = Ring::open(self.parent.path(), BOUNDS).unwrap();
        self.ring.number_from(self.firings.free());
        self.firings.begin(&self.wanted).unwrap();
        self.ran(Duration::ZERO);
    }

    fn kept(&self, number: u64) -> Vec<u64> {
        let past = read(&firing(self.folder(), number), usize::MAX).unwrap();
        past.readings.iter().map(|(reading, _)| reading.sequence).collect()
    }

    fn lies(&self) -> u64 {
        let mut files = BTreeMap::new();
        for number in numbers(self.folder()).unwrap() {
            let folder = firing(self.folder(), number);
            for (number, _) in list(&folder).unwrap() {
                let metadata = fs::metadata(folder.join(name(number))).unwrap();
                files.insert(metadata.ino(), metadata.len());
            }
        }
        files.values().sum()
    }
}

#[test]
fn the_ring_as_it_stood_and_what_comes_for_so_many_minutes_is_kept_and_nothing_after() {
    let mut slot = Slot::new();
    slot.writes(10);
    slot.fires(keep("frost", 2));
    slot.writes(10);
    slot.ran(MINUTE);
    slot.writes(10);
    assert_eq!(slot.firings.left(), Some(MINUTE));
    slot.ran(MINUTE);
    assert!(!slot.firings.is_running());
    slot.writes(10);
    // Also not by another start, which goes on with the ring's last segment.
    slot.restarts();
    slot.writes(10);
    assert!(slot.kept(1).into_iter().eq(0..30), "{:?}", slot.kept(1));
    // The ring has gone on, and what is kept is beyond it.
    slot.writes(5000);
    assert!(slot.kept(1).into_iter().eq(0..30));
    let ring = read(slot.folder(), usize::MAX).unwrap();
    assert!(ring.readings[0].0.sequence > 30);
    let note = Note::read(&firing(slot.folder(), 1)).unwrap().unwrap();
    assert_eq!((note.keep, note.left_seconds), (keep("frost", 2), 0));
    assert!(note.until.is_some());
}

#[test]
fn a_restart_goes_on_with_what_is_left_of_the_minutes() {
    let mut slot = Slot::new();
    slot.writes(10);
    slot.fires(keep("frost", 3));
    slot.ran(MINUTE);
    slot.writes(10);
    slot.restarts();
    assert_eq!(slot.firings.left(), Some(2 * MINUTE));
    slot.writes(10);
    slot.ran(MINUTE);
    slot.restarts();
    slot.writes(10);
    slot.ran(MINUTE);
    slot.restarts();
    slot.writes(10);
    assert_eq!(slot.firings.left(), None);
    assert!(slot.kept(1).into_iter().eq(0..40), "{:?}", slot.kept(1));
    assert_eq!(numbers(slot.folder()).unwrap(), [1], "a firing is kept once");
}

#[test]
fn where_its_bound_is_full_the_oldest_readings_give_way_and_never_the_ring() {
    let mut slot = Slot::new();
    slot.writes(100);
    slot.fires(keep("frost", 60));
    slot.writes(100);
    slot.ran(60 * MINUTE);
    slot.fires(keep("heat", 60));
    // Both have the ring, and that is counted once.
    assert!(slot.kept(1).into_iter().eq(0..200) && slot.kept(2).into_iter().eq(0..200));
    let mut without = Slot::new();
    without.writes(200);
    while !slot.kept(1).is_empty() {
        assert!(slot.kept(2).contains(&(slot.next - 1)), "the newer one goes on");
        slot.writes(10);
        without.writes(10);
        assert!(slot.lies() <= BOUNDS.bytes_max, "{}", slot.lies());
    }
    slot.writes(2000);
    without.writes(2000);
    assert!(slot.lies() <= BOUNDS.bytes_max, "{}", slot.lies());
    // Of the only one what came first gives way, and it goes on.
    let kept = slot.kept(2);
    assert!(kept[0] > 0 && kept.last() >= Some(&(slot.next - 1)), "{:?}", kept.last());
    // The ring holds what it would without, but for a segment that ended early.
    let now = read(slot.folder(), usize::MAX).unwrap().readings.len();
    let alone = read(without.folder(), usize::MAX).unwrap().readings.len();
    assert!(now.abs_diff(alone) <= alone / 8, "{now} {alone}");
}

#[test]
fn what_comes_of_another_release_is_not_kept_and_ends_what_is() {
    let mut slot = Slot::new();
    slot.writes_of(b"1", 10);
    slot.writes_of(b"2", 10);
    slot.fires(keep("frost", 60));
    slot.writes_of(b"2", 10);
    assert!(slot.kept(1).into_iter().eq(10..30), "{:?}", slot.kept(1));
    slot.writes_of(b"3", 10);
    assert!(!slot.firings.is_running());
    // Nor does it go on when the release comes back.
    slot.writes_of(b"2", 10);
    slot.restarts();
    slot.writes_of(b"2", 10);
    slot.gives_way();
    assert!(slot.kept(1).into_iter().eq(10..30), "{:?}", slot.kept(1));
    // A firing of a release that has gone has what came of it, and nothing else.
    let late = Keep { fired_unix_ms: 1, digest: Digest::of(b"3"), ..keep("frost", 60) };
    slot.fires(late);
    slot.writes_of(b"2", 10);
    assert!(slot.kept(2).into_iter().eq(30..40), "{:?}", slot.kept(2));
}

#[test]
fn no_value_is_kept_of_a_field_that_the_bundle_names() {
    let mut slot = Slot::new();
    slot.writes(100);
    let redact = vec!["secret".to_owned()];
    slot.fires(Keep { redact, ..keep("frost", 3) });
    for _ in 0..2 {
        slot.writes(20);
        slot.ran(MINUTE);
        slot.restarts();
    }
    slot.writes(20);
    slot.ran(MINUTE);
    slot.writes(20);
    assert!(slot.kept(1).into_iter().eq(0..160), "{:?}", slot.kept(1));
    let folder = firing(slot.folder(), 1);
    for (reading, fields) in read(&folder, usize::MAX).unwrap().readings {
        assert_eq!((&*fields, &*reading.values), (&["x".to_owned()][..], &[0.5][..]));
    }
    let holds_it = |folder: &Path| {
        let files = list(folder).unwrap().into_iter();
        let read = |(number, _)| fs::read(folder.join(name(number))).unwrap();
        let secret = SECRET.to_le_bytes();
        files.map(read).any(|bytes| bytes.windows(8).any(|window| window == secret))
    };
    assert!(holds_it(slot.folder()) && !holds_it(&folder));
    // As many bytes as may lie there, also of copies.
    for _ in 0..200 {
        slot.writes(20);
        assert!(slot.lies() <= BOUNDS.bytes_max, "{}", slot.lies());
    }
}

#[test]
fn on_a_disk_that_takes_nothing_a_firing_ends_in_its_time_and_what_is_too_old_goes() {
    let mut slot = Slot::new();
    slot.writes(10);
    slot.fires(keep("frost", 2));
    // Where the note would be made there is something else.
    let in_the_way = firing(slot.folder(), 1).join("firing.json.part");
    fs::create_dir(&in_the_way).unwrap();
    for _ in 0..2 {
        assert!(slot.firings.is_running());
        assert!(slot.firings.ran(MINUTE, BOUNDS).is_err());
    }
    assert!(!slot.firings.is_running());
    slot.settles();
    slot.writes(10);
    assert!(slot.kept(1).into_iter().eq(0..10), "{:?}", slot.kept(1));
    // When the disk takes it, it is written down.
    fs::remove_dir(&in_the_way).unwrap();
    slot.ran(Duration::ZERO);
    let note = Note::read(&firing(slot.folder(), 1)).unwrap().unwrap();
    assert!(note.until.is_some() && note.left_seconds == 0);
    fs::create_dir(&in_the_way).unwrap();
    let later = SystemTime::now() + 2 * BOUNDS.age_max;
    slot.firings.give_way(BOUNDS, Some(&[]), later).unwrap();
    assert!(numbers(slot.folder()).unwrap().is_empty());
}

#[test]
fn a_copy_that_a_kill_cut_off_is_made_anew() {
    let mut slot = Slot::new();
    slot.writes(10);
    slot.fires(Keep { redact: vec!["secret".into()], ..keep("frost", 60) });
    fs::write(firing(slot.folder(), 1).join(PART), [1; 1000]).unwrap();
    slot.writes(10);
    slot.restarts();
    assert!(!firing(slot.folder(), 1).join(PART).exists());
    slot.firings.take(BOUNDS).unwrap();
    assert!(slot.kept(1).into_iter().eq(0..20), "{:?}", slot.kept(1));
}

#[test]
fn what_is_too_old_goes_and_a_firing_that_held_it_does_not_begin_anew() {
    let mut slot = Slot::new();
    slot.writes(10);
    slot.fires(keep("frost", 1));
    slot.ran(MINUTE);
    let later = SystemTime::now() + 2 * BOUNDS.age_max;
    let wanted = slot.wanted.clone();
    slot.firings.give_way(BOUNDS, Some(&wanted), later).unwrap();
    assert!(slot.kept(1).is_empty());
    // Also while it is not known yet what is wanted.
    slot.firings = Firings::open(slot.folder()).unwrap();
    slot.firings.give_way(BOUNDS, None, later).unwrap();
    slot.restarts();
    slot.writes(10);
    assert!(slot.kept(1).is_empty() && !slot.firings.is_running());
    // The rule is over, and another firing has come.
    slot.wanted.clear();
    slot.gives_way();
    assert!(numbers(slot.folder()).unwrap().is_empty());
}

#[test]
fn no_segment_takes_the_number_of_one_that_is_kept() {
    let mut slot = Slot::new();
    slot.writes(100);
    slot.fires(keep("frost", 60));
    let kept = slot.kept(1);
    // The ring is gone, by hand.
    for (number, _) in list(slot.folder()).unwrap() {
        fs::remove_file(slot.folder().join(name(number))).unwrap();
    }
    slot.restarts();
    slot.writes(10);
    assert!(slot.kept(1).into_iter().eq(kept.into_iter().chain(100..110)));
}

#[test]
fn a_disk_without_second_names_has_copies_that_grow() {
    let mut slot = Slot::new();
    slot.writes(10);
    slot.fires(keep("frost", 60));
    // As if the segment had been copied.
    let copied = firing(slot.folder(), 1).join(name(0));
    let bytes = fs::read(&copied).unwrap();
    fs::remove_file(&copied).unwrap();
    fs::write(&copied, bytes).unwrap();
    slot.writes(10);
    assert_eq!(segment(&copied).unwrap().len(), 20);
    slot.ran(60 * MINUTE);
    assert!(slot.kept(1).into_iter().eq(0..20));
}

#[test]
fn a_folder_that_says_not_what_it_is_goes_and_many_firings_stay_few_folders() {
    let mut slot = Slot::new();
    fs::create_dir_all(firing(slot.folder(), 7)).unwrap();
    slot.restarts();
    assert!(numbers(slot.folder()).unwrap().is_empty());
    slot.writes(1);
    for number in 0..FIRINGS_MAX + 20 {
        slot.fires(keep(&number.to_string(), 1));
        let recent = slot.wanted.len().saturating_sub(64);
        slot.wanted.drain(..recent);
        slot.ran(MINUTE);
    }
    slot.gives_way();
    let numbers = numbers(slot.folder()).unwrap();
    assert!(numbers.len() <= FIRINGS_MAX && numbers.last() == Some(&(FIRINGS_MAX as u64 + 20)));
}

#[test]
fn a_recorder_keeps_over_a_restart_until_the_site_forbids_it() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("line");
    let (site, keeps) = (watch::Sender::<SitePolicy>::default(), watch::Sender::new(Some(vec![])));
    let start = || {
        let bounds = Bounds { bytes_max: 1 << 20, ..BOUNDS };
        let permit = Permit::new(bounds, "line".parse().unwrap(), site.subscribe());
        let mut recorder = Recorder::start(&folder, permit, keeps.subscribe()).unwrap();
        recorder.head(Head { fields: vec!["x".into()], release: Some(Digest::of(b"2")) });
        recorder
    };
    let writes = |recorder: &mut Recorder, sequences: std::ops::Range<u64>| {
        for sequence in sequences {
            let (key, values) = ("k".into(), vec![0.5]);
            recorder.reading(Reading { key, sequence, time_unix_ns: 0, values });
        }
        recorder.past(1, None).blocking_recv().unwrap();
    };
    let kept = || {
        let past = read(&firing(&folder, 1), usize::MAX).unwrap();
        past.readings.iter().map(|(reading, _)| reading.sequence).collect::<Vec<_>>()
    };
    let mut recorder = start();
    writes(&mut recorder, 0..10);
    keeps.send_replace(Some(vec![keep("frost", 60)]));
    recorder.look(Instant::now());
    writes(&mut recorder, 10..20);
    assert!(kept().into_iter().eq(0..20), "{:?}", kept());
    drop(recorder);
    let mut recorder = start();
    writes(&mut recorder, 20..2000);
    assert_eq!((numbers(&folder).unwrap(), kept().last().copied()), (vec![1], Some(1999)));
    let never = CaptureLimits { allowed: Some(false), ..CaptureLimits::default() };
    let slot = SlotPolicy { capture: never, ..SlotPolicy::default() };
    site.send_replace(SitePolicy {
        slots: BTreeMap::from([("*".to_owned(), slot)]),
        ..SitePolicy::default()
    });
    let deadline = Instant::now() + MINUTE;
    while folder.exists() {
        assert!(Instant::now() < deadline, "what is kept stays although it is forbidden");
        recorder.look(Instant::now());
        std::thread::yield_now();
    }
    // Nor does it begin for what fires then.
    keeps.send_replace(Some(vec![keep("heat", 60)]));
    recorder.look(Instant::now());
    recorder.past(1, None).blocking_recv().unwrap();
    assert!(!folder.exists());
    // When it is allowed again what fired before does not come back, and what fires then is kept.
    site.send_replace(SitePolicy::default());
    recorder.look(Instant::now());
    writes(&mut recorder, 0..10);
    assert!(numbers(&folder).unwrap().is_empty() && folder.exists());
    keeps.send_replace(Some(vec![keep("heat", 60), keep("noise", 60)]));
    recorder.look(Instant::now());
    writes(&mut recorder, 10..20);
    assert!(kept().into_iter().eq(0..20), "{:?}", kept());
}
