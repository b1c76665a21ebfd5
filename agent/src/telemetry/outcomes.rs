//! Outcomes that are heard of hours later, joined with what was answered. Pure: it is told of frames and of
//! outcomes, and gives sums.

mod brought;
mod kept;

pub use brought::{NoOutcome, OUTCOMES_MAX, Outcome, Truth, read};
pub use kept::{Changes, Row};

use crate::fleet::status::release_ref;
use crate::sink::finding::id;
use crate::worker::route::Settled;
use lineside_bundle::{BundleFile, Judged, ReleaseId};
use lineside_runtime::Value;
use lineside_wire::name::SlotName;
use lineside_wire::v1::{Quality, ReleaseRef};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Sums that are open at the same time; beyond it all of them are told.
const OPEN_MAX: usize = 16;
/// Sums that stay open where there is no room for them; beyond it they are handed out all the same.
const STAY_MAX: usize = OUTCOMES_MAX;

/// Whole numbers below it are exact, and so is telling them apart.
const WHOLE_END: f64 = (1_u64 << 53) as f64;

/// How much of a slot's answers is remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AnswersKept {
    /// Answers; the oldest give way.
    pub number_max: usize,
    /// How far they may lie behind the newest, by the readings' own time.
    pub age_max: Duration,
}

impl Default for AnswersKept {
    fn default() -> AnswersKept {
        AnswersKept { number_max: 20_000, age_max: Duration::from_secs(7 * 86_400) }
    }
}

/// What has become of outcomes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Heard {
    /// Those that are counted.
    pub counted: u64,
    /// Those of findings of which an outcome is counted already.
    pub again: u64,
    /// Findings that are not known here (any longer).
    pub unknown: Vec<String>,
    /// Findings whose answer is of another kind than the outcome.
    pub unfit: Vec<String>,
}

/// What outcomes of a release are about.
#[derive(Debug)]
struct Asked {
    /// Its number among those of the slot.
    number: u64,
    release: ReleaseId,
    told: ReleaseRef,
    judged: Judged,
}

/// What was answered.
#[derive(Debug)]
struct Answer {
    /// Its number among those of the slot.
    number: u64,
    asked: Arc<Asked>,
    value: Option<Value>,
    score: Option<f64>,
    time_ms: i64,
    /// Whether an outcome of it is counted.
    is_counted: bool,
}

/// The answers of one slot, and the sums of those whose outcome is known.
#[derive(Debug)]
pub struct Joining {
    slot: SlotName,
    interval_ms: i64,
    kept: AnswersKept,
    /// None where the bundle of the release on the route names no output.
    asked: Option<Arc<Asked>>,
    /// Of the release that had the route before: answers of it may wait for their commit.
    asked_before: Option<Arc<Asked>>,
    /// All that answers are remembered of, and these.
    known: Vec<Arc<Asked>>,
    is_asked_changed: bool,
    answers: BTreeMap<String, Answer>,
    /// Their ids, the oldest first.
    order: VecDeque<String>,
    /// The number of the first of them, now and when changes were handed out last.
    first: u64,
    first_handed: u64,
    /// Numbers of answers that have changed since.
    changed: BTreeSet<u64>,
    /// The earlier of the last two frames' times: a reading ahead of its time moves nothing alone, and a clock that
    /// comes back leads back.
    newest_ms: i64,
    last_ms: i64,
    /// By start of the interval and release; none for findings that are not known.
    open: BTreeMap<(i64, Option<[u8; 32]>), Quality>,
    /// When the first of the open ones was begun.
    began: Option<Instant>,
}

impl Joining {
    /// A slot whose intervals last `interval_ms` milliseconds.
    pub fn new(slot: &SlotName, interval_ms: i64, kept: AnswersKept) -> Joining {
        Joining {
            slot: slot.clone(),
            interval_ms: interval_ms.max(1),
            kept,
            asked: None,
            asked_before: None,
            known: Vec::new(),
            is_asked_changed: false,
            answers: BTreeMap::new(),
            order: VecDeque::new(),
            first: 0,
            first_handed: 0,
            changed: BTreeSet::new(),
            newest_ms: i64::MIN,
            last_ms: i64::MIN,
            open: BTreeMap::new(),
            began: None,
        }
    }

    /// Learns what outcomes are about of a release that takes the route.
    pub fn placed(&mut self, release: &ReleaseId, bundle: &BundleFile) {
        if self.asked.as_ref().is_some_and(|asked| asked.release != *release) {
            self.asked_before = self.asked.take();
        }
        self.asked = bundle.quality.clone().map(|judged| self.ask(release, judged));
    }

    fn ask(&mut self, release: &ReleaseId, judged: Judged) -> Arc<Asked> {
        let mut known = self.known.iter();
        if let Some(asked) = known.find(|it| it.release == *release && it.judged == judged) {
            return asked.clone();
        }
        let number = self.known.iter().map(|asked| asked.number + 1).max().unwrap_or(0);
        let told = release_ref(release);
        let asked = Arc::new(Asked { number, release: release.clone(), told, judged });
        self.known.push(asked.clone());
        self.is_asked_changed = true;
        asked
    }

    /// Remembers what a release has answered.
    pub fn frame(&mut self, release: &ReleaseId, settled: &Settled) {
        let mut known = self.asked.iter().chain(&self.asked_before);
        let Some(asked) = known.find(|asked| asked.release == *release).cloned() else { return };
        let Ok(parts) = &settled.result else { return };
        let time_ms = settled.time_unix_ns.div_euclid(1_000_000);
        self.newest_ms = self.last_ms.min(time_ms);
        self.last_ms = time_ms;
        for (number, part) in parts.iter().enumerate() {
            let id = id(&self.slot, settled, number);
            let score = asked.judged.score.as_ref().and_then(|name| part.outputs.get(name));
            let next = self.first + self.order.len() as u64;
            let answer = Answer {
                number: next,
                value: part.outputs.get(&asked.judged.output).copied(),
                score: score.map(|score| score.as_f64()),
                asked: asked.clone(),
                time_ms,
                is_counted: false,
            };
            // One that is told again after a start of the worker is the same finding.
            if !self.answers.contains_key(&id) {
                self.order.push_back(id.clone());
                self.changed.insert(next);
                self.answers.insert(id, answer);
            }
        }
        self.forget();
    }

    fn forget(&mut self) {
        let age_max = i64::try_from(self.kept.age_max.as_millis()).unwrap_or(i64::MAX);
        let oldest_ms = self.newest_ms.saturating_sub(age_max);
        while let Some(id) = self.order.front() {
            let is_old = self.answers.get(id).is_none_or(|answer| answer.time_ms < oldest_ms);
            if !is_old && self.order.len() <= self.kept.number_max {
                break;
            }
            self.answers.remove(id);
            self.changed.remove(&self.first);
            self.order.pop_front();
            self.first += 1;
        }
    }

    /// Takes an outcome, heard at `now_ms` by the device's clock.
    pub fn outcome(&mut self, outcome: Outcome, (now_ms, now): (i64, Instant), heard: &mut Heard) {
        let Outcome { finding, outcome } = outcome;
        let Some(answer) = self.answers.get_mut(&finding) else {
            self.sums(now_ms, None, now).unknown += 1;
            heard.unknown.push(finding);
            return;
        };
        if answer.is_counted {
            heard.again += 1;
            return;
        }
        let (value, score, asked) = (answer.value, answer.score, answer.asked.clone());
        let time_ms = answer.time_ms;
        let met = met(value, &outcome);
        answer.is_counted = met.is_some();
        if answer.is_counted {
            self.changed.insert(answer.number);
        }
        let sums = self.sums(time_ms, Some(&asked), now);
        match met {
            Some(Met::Category { answered, outcome }) => sums.meet(&answered, &outcome, score),
            Some(Met::Numbers { answered, outcome }) => sums.measure(answered, outcome),
            None => {
                sums.unfit += 1;
                heard.unfit.push(finding);
                return;
            }
        }
        heard.counted += 1;
    }

    /// The sums of the interval that a time lies in.
    fn sums(&mut self, time_ms: i64, asked: Option<&Asked>, now: Instant) -> &mut Quality {
        self.began.get_or_insert(now);
        let start = time_ms - time_ms.rem_euclid(self.interval_ms);
        let key = (start, asked.map(|asked| asked.told.digest));
        self.open.entry(key).or_insert_with(|| {
            let span = (start, start.saturating_add(self.interval_ms));
            let output = asked.map_or("", |asked| &asked.judged.output);
            Quality::of(self.slot.as_str(), asked.map(|asked| asked.told.clone()), output, span)
        })
    }

    /// The sums that are to be told: all, once they are as old as an interval or too many. Where there is no room
    /// for so many the newest stay open, and are due as soon as there is.
    pub fn due(&mut self, now: Instant, room: usize) -> Vec<Quality> {
        let age = self.began.map_or(Duration::ZERO, |began| now.saturating_duration_since(began));
        let interval = Duration::from_millis(self.interval_ms.unsigned_abs());
        if self.open.len() <= OPEN_MAX && age < interval {
            return vec![];
        }
        let count = room.max(self.open.len().saturating_sub(STAY_MAX));
        let due: Vec<Quality> =
            std::iter::from_fn(|| self.open.pop_first()).take(count).map(|(_, it)| it).collect();
        if self.open.is_empty() {
            self.began = None;
        }
        due
    }

    /// The sums that are open.
    pub fn open(&self) -> impl Iterator<Item = &Quality> {
        self.open.values()
    }
}

/// An answer and an outcome that go together.
enum Met {
    Category { answered: String, outcome: String },
    Numbers { answered: f64, outcome: f64 },
}

/// Where they are of one kind: yes and no; categories, whose answers are whole numbers; numbers.
fn met(value: Option<Value>, outcome: &Truth) -> Option<Met> {
    let category = |answered: String, outcome: String| Some(Met::Category { answered, outcome });
    match (value?, outcome) {
        (Value::Bool(answered), Truth::Bool(outcome)) => {
            category(answered.to_string(), outcome.to_string())
        }
        (Value::Integer(answered), Truth::Text(text)) => {
            category(answered.to_string(), text.clone())
        }
        // From there on a number may be another than was meant.
        (Value::Integer(answered), Truth::Number(number))
            if number.fract() == 0.0 && number.abs() < WHOLE_END =>
        {
            category(answered.to_string(), (*number as i64).to_string())
        }
        (Value::Number(answered), Truth::Number(outcome))
            if answered.is_finite() && outcome.is_finite() =>
        {
            Some(Met::Numbers { answered, outcome: *outcome })
        }
        (Value::Bool(_), Truth::Number(_) | Truth::Text(_))
        | (Value::Integer(_), Truth::Bool(_) | Truth::Number(_))
        | (Value::Number(_), Truth::Bool(_) | Truth::Number(_) | Truth::Text(_)) => None,
    }
}

#[cfg(test)]
pub(in crate::telemetry) mod tests {
    use super::*;
    use crate::worker::route::Failure;
    use lineside_bundle::Digest;
    use lineside_runtime::Part;

    pub fn release(version: &str) -> ReleaseId {
        let digest = Digest::of(version.as_bytes());
        let (name, version) = ("echo".parse().unwrap(), version.parse().unwrap());
        ReleaseId { name, version, digest, size: 7 }
    }

    pub fn bundle(quality: &str) -> BundleFile {
        BundleFile::parse(&format!(
            "format = 1\nname = 'echo'\nversion = '1'\n\
             [inputs.p]\nrate_hz = 1.0\nfields = [{{ name = 'x' }}]\n\
             [stages.w]\nkind = 'window'\ninput = 'p'\nrows = 1\nstride = 1\n\
             [stages.last]\nkind = 'select'\ninput = 'w'\nindex = 0\n\
             [stages.high]\nkind = 'threshold'\ninput = 'last'\nabove = 5.0\n\
             [outputs]\nlevel = {{ from = 'last' }}\nalarm = {{ from = 'high' }}\n{quality}"
        ))
        .unwrap()
    }

    /// Frame `number`, a second each, with these outputs.
    pub fn frame(number: u64, outputs: &[(&str, Value)]) -> Settled {
        let outputs = outputs.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect();
        Settled {
            key: "a/b".into(),
            frame: number,
            first: number,
            last: number,
            time_unix_ns: number as i64 * 1_000_000_000,
            elapsed: Duration::ZERO,
            result: Ok(vec![Part { outputs, alarm: None }]),
            inputs: vec![],
            more: Default::default(),
        }
    }

    pub fn outcome(number: u64, outcome: &str) -> Outcome {
        let text = format!(r#"{{"finding":"line/a/b/{number}/0","outcome":{outcome}}}"#);
        serde_json::from_str(&text).unwrap()
    }

    pub fn joining(quality: &str) -> Joining {
        let kept = AnswersKept { number_max: 50, age_max: Duration::from_secs(30) };
        let mut joining = Joining::new(&"line".parse().unwrap(), 10_000, kept);
        joining.placed(&release("1"), &bundle(quality));
        joining
    }

    pub fn hear(joining: &mut Joining, outcomes: &[(u64, &str)]) -> Heard {
        let mut heard = Heard::default();
        for (number, told) in outcomes {
            joining.outcome(outcome(*number, told), (5_000, Instant::now()), &mut heard);
        }
        heard
    }

    pub fn unknown(number: u64) -> String {
        format!("line/a/b/{number}/0")
    }

    #[test]
    fn outcomes_are_counted_once_by_the_time_and_the_release_of_their_findings() {
        let mut joining = joining("[quality]\noutput = 'alarm'\nscore = 'level'\n");
        for number in 0..4 {
            let level = number as f64 * 2.0;
            let outputs = [("level", Value::Number(level)), ("alarm", Value::Bool(level > 5.0))];
            joining.frame(&release("1"), &frame(number, &outputs));
        }
        let yes = [("level", Value::Number(9.0)), ("alarm", Value::Bool(true))];
        joining.frame(&release("1"), &frame(12, &yes));
        joining.frame(&release("2"), &frame(13, &yes));
        let mut failed = frame(14, &yes);
        failed.result = Err(Failure::new("stage", "it is NaN"));
        joining.frame(&release("1"), &failed);
        let heard = hear(
            &mut joining,
            &[
                (3, "true"),
                (2, "true"),
                (12, "false"),
                (3, "true"),
                (3, "false"),
                (0, "1"),
                (0, "false"),
                (13, "true"),
                (14, "true"),
            ],
        );
        assert_eq!((heard.counted, heard.again), (4, 2));
        assert_eq!(
            (heard.unknown, heard.unfit),
            (vec![unknown(13), unknown(14)], vec![unknown(0)])
        );
        let open: Vec<_> = joining.open().cloned().collect();
        let [nobodys, first, second] = &*open else { panic!("{open:?}") };
        assert_eq!((nobodys.unknown, &nobodys.release, nobodys.start_unix_ms), (2, &None, 0));
        assert_eq!((first.outcomes, first.unfit, first.unknown), (3, 1, 0));
        assert_eq!((first.start_unix_ms, first.end_unix_ms), (0, 10_000));
        let met = |it: &Quality, answered: &str, outcome: &str| {
            let mut pairs = it.met.iter();
            pairs.find(|met| met.answered == answered && met.outcome == outcome).map(|it| it.count)
        };
        assert_eq!((met(first, "true", "true"), met(first, "false", "true")), (Some(1), Some(1)));
        assert_eq!((met(first, "false", "false"), met(first, "true", "false")), (Some(1), None));
        assert_eq!(first.scores.iter().map(|it| it.scores.count()).collect::<Vec<_>>(), [2, 1]);
        assert_eq!((met(second, "true", "false"), second.start_unix_ms), (Some(1), 10_000));
        assert_eq!(second.release.as_ref().unwrap().version, "1");
    }

    #[test]
    fn categories_and_numbers_are_told_apart_by_what_was_answered() {
        let mut joining = joining("[quality]\noutput = 'level'\n");
        joining.frame(&release("1"), &frame(0, &[("level", Value::Integer(3))]));
        joining.frame(&release("1"), &frame(1, &[("level", Value::Integer(4))]));
        joining.frame(&release("1"), &frame(2, &[("level", Value::Number(2.5))]));
        joining.frame(&release("1"), &frame(3, &[]));
        let heard = hear(
            &mut joining,
            &[(0, "3"), (1, r#""3""#), (1, "4.5"), (2, "3"), (2, r#""3""#), (3, "3")],
        );
        assert_eq!((heard.counted, heard.again, heard.unfit), (3, 2, vec![unknown(3)]));
        let open: Vec<_> = joining.open().collect();
        let pairs: Vec<_> = open[0].met.iter().map(|it| (&*it.answered, &*it.outcome)).collect();
        assert_eq!(pairs, [("3", "3"), ("4", "3")]);
        assert_eq!((open[0].error.mean(), open[0].outcomes), (Some(-0.5), 3));
        let numbers = ["-0.0", "9007199254740991", "9007199254740993", "-1e300"];
        for (number, told) in (10..).zip(numbers) {
            joining.frame(&release("1"), &frame(number, &[("level", Value::Integer(0))]));
            let heard = hear(&mut joining, &[(number, told)]);
            assert_eq!(heard.counted, u64::from(number < 12), "{told}");
        }
        let outcomes = joining.open().flat_map(|it| &it.met).map(|it| &*it.outcome);
        let outcomes: Vec<_> = outcomes.collect();
        assert!(["0", "9007199254740991"].iter().all(|it| outcomes.contains(it)), "{outcomes:?}");
        assert_eq!(outcomes.len(), 4);
        let long = Outcome { finding: unknown(0), outcome: Truth::Text("x".repeat(65)) };
        assert!(long.check().is_err() && outcome(0, "true").check().is_ok());
        assert_eq!(long.slot(), Some("line".parse().unwrap()));
    }

    #[test]
    fn one_outcome_or_several_are_taken_and_nothing_else() {
        let truths = |text: &str| {
            let read = read(text.as_bytes());
            read.map(|read| read.into_iter().map(|it| it.outcome).collect::<Vec<_>>())
        };
        let one = r#"{"finding":"a/b/0/0","outcome":true}"#;
        assert_eq!(truths(one), Ok(vec![Truth::Bool(true)]));
        let several = r#"[{"finding":"a//0/0","outcome":2},{"finding":"b","outcome":"worn"}]"#;
        assert_eq!(truths(several), Ok(vec![Truth::Number(2.0), Truth::Text("worn".into())]));
        assert_eq!(truths(" \n[]\n"), Ok(vec![]));
        for text in [
            "",
            "{}",
            r#"{"finding":"a","outcome":null}"#,
            r#"{"finding":"a","outcome":1,"more":1}"#,
            r#"{"finding":"a","outcome":[0]}"#,
            r#"{"finding":"a","outcome":{"x":0}}"#,
            r#"{"finding":"a","outcome":1} 2"#,
            r#"[{"finding":"a","outcome":1}] 2"#,
            r#"[{"finding":"a","outcome":1},0]"#,
            "[0,0]",
        ] {
            assert_eq!(truths(text), Err(NoOutcome::Other), "{text}");
        }
        let long = format!(r#"{{"finding":"a","outcome":"{}"}}"#, "x".repeat(65));
        assert_eq!(truths(&long), Err(NoOutcome::Long { finding: "a".into() }));
        let many = format!("[{}]", vec![one; OUTCOMES_MAX + 1].join(","));
        assert_eq!(truths(&many), Err(NoOutcome::Many { count: OUTCOMES_MAX + 1 }));
    }

    #[test]
    fn answers_are_forgotten_by_number_and_by_age_and_nothing_is_kept_unasked() {
        let mut joining = joining("[quality]\noutput = 'alarm'\n");
        let yes = [("alarm", Value::Bool(true))];
        // Sixty within thirty seconds of each other.
        for number in 0..60 {
            let mut frame = frame(number, &yes);
            frame.time_unix_ns = 1_000_000_000 + number as i64;
            joining.frame(&release("1"), &frame);
        }
        assert_eq!(hear(&mut joining, &[(9, "true"), (10, "true")]).unknown, [unknown(9)]);
        joining.frame(&release("1"), &frame(90, &yes));
        joining.frame(&release("1"), &frame(91, &yes));
        assert_eq!(joining.answers.len(), 2);
        assert_eq!(hear(&mut joining, &[(59, "true"), (90, "true")]).unknown, [unknown(59)]);
        joining.placed(&release("1"), &bundle(""));
        joining.frame(&release("1"), &frame(92, &yes));
        assert_eq!(joining.answers.len(), 2);
    }

    #[test]
    fn readings_ahead_of_their_time_do_not_end_the_joining() {
        let mut joining = joining("[quality]\noutput = 'alarm'\n");
        let yes = [("alarm", Value::Bool(true))];
        for number in [0, 1, 1_000_000, 2] {
            joining.frame(&release("1"), &frame(number, &yes));
        }
        assert_eq!(hear(&mut joining, &[(0, "true"), (1, "true"), (2, "true")]).counted, 3);
        // Two in a row are believed, until the clock comes back.
        for number in [2_000_000, 2_000_001, 3, 4] {
            joining.frame(&release("1"), &frame(number, &yes));
        }
        assert_eq!(hear(&mut joining, &[(2, "true"), (3, "true"), (4, "true")]).counted, 2);
    }

    #[test]
    fn answers_that_wait_for_their_commit_at_a_swap_are_remembered() {
        let quality = "[quality]\noutput = 'alarm'\n";
        for next in [quality, ""] {
            let mut joining = joining(quality);
            let yes = [("alarm", Value::Bool(true))];
            joining.placed(&release("2"), &bundle(next));
            joining.frame(&release("1"), &frame(0, &yes));
            joining.frame(&release("2"), &frame(1, &yes));
            joining.frame(&release("3"), &frame(2, &yes));
            assert_eq!(hear(&mut joining, &[(0, "true")]).counted, 1);
            assert_eq!(hear(&mut joining, &[(1, "true")]).counted, u64::from(!next.is_empty()));
            assert_eq!(hear(&mut joining, &[(2, "true")]).counted, 0);
        }
    }

    #[test]
    fn sums_are_told_after_an_interval_or_where_they_are_too_many() {
        let mut joining = joining("[quality]\noutput = 'alarm'\n");
        let now = Instant::now();
        assert_eq!(joining.due(now, 9), []);
        joining.frame(&release("1"), &frame(0, &[("alarm", Value::Bool(true))]));
        hear(&mut joining, &[(0, "true")]);
        assert_eq!(joining.due(now, 9), []);
        let due = joining.due(now + Duration::from_secs(60), 9);
        assert_eq!((due.len(), due[0].outcomes, joining.open().count()), (1, 1, 0));
        let mut heard = Heard::default();
        for number in 0..=OPEN_MAX as i64 {
            joining.outcome(outcome(0, "true"), (0, now), &mut heard);
            joining.outcome(outcome(7, "true"), (number * 10_000, now), &mut heard);
        }
        let [some, none] = [9, 0].map(|room| joining.due(now + Duration::from_secs(60), room));
        assert_eq!((some.len(), none.len(), some[8].start_unix_ms), (9, 0, 80_000));
        let rest = joining.due(now + Duration::from_secs(60), 1000);
        assert_eq!((rest.len(), rest[0].start_unix_ms), (OPEN_MAX + 1 - 9, 90_000));
        assert_eq!((joining.open().count(), joining.began), (0, None));
    }
}
