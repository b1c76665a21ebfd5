//! `Answer -> row`: what is remembered of answers, so that a start of the agent goes on with it. Only what has
//! changed is written.

use super::{Answer, Asked, Joining};
use crate::fleet::status::release_ref;
use lineside_bundle::{Judged, ReleaseId};
use lineside_runtime::Value;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// The form of what is written.
const FORM: u32 = 1;

/// The number of an answer, and what is written of it.
pub type Row = (u64, Vec<u8>);

/// What has changed of a slot's answers since that was handed out last.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// Answers below this number are forgotten.
    pub first: u64,
    /// Answers that are new, or whose outcome is counted now.
    pub rows: Vec<Row>,
    /// What outcomes are about, in place of what was written of it; none where that stays.
    pub asked: Option<Vec<u8>>,
}

/// What is written of an answer.
#[derive(Serialize, Deserialize)]
struct AnswerRow<'a> {
    finding: &'a str,
    /// Number of what its outcome is about.
    asked: u64,
    value: Option<Value>,
    score: Option<f64>,
    time_ms: i64,
    is_counted: bool,
}

/// What is written of all that outcomes are about.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct AskedFile {
    form: u32,
    asked: Vec<AskedOf>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct AskedOf {
    number: u64,
    release: ReleaseId,
    judged: Judged,
}

impl Joining {
    /// Goes on with what was written: what outcomes are about, and the answers in their order. False where that
    /// cannot be read; it is forgotten then. How late it is the next two frames tell: the last one may have been
    /// ahead of its time.
    #[must_use]
    pub fn restore(&mut self, asked: Option<&[u8]>, rows: &[Row]) -> bool {
        let end = rows.last().map_or(0, |(number, _)| number.saturating_add(1));
        let Some(restored) = read(asked, rows) else {
            (self.first, self.is_asked_changed) = (end, true);
            return false;
        };
        self.first = rows.first().map_or(0, |(number, _)| *number);
        self.first_handed = self.first;
        (self.known, self.answers, self.order) = restored;
        self.forget();
        true
    }

    /// What has changed since this was asked last; none where nothing has.
    pub fn changes(&mut self) -> Option<Changes> {
        // Nobody else holds what no answer and no release on the route is about.
        let known = self.known.len();
        self.known.retain(|asked| Arc::strong_count(asked) > 1);
        self.is_asked_changed |= self.known.len() < known;
        let has_changed = self.is_asked_changed || !self.changed.is_empty();
        if !has_changed && self.first == self.first_handed {
            return None;
        }
        self.first_handed = self.first;
        let changed = std::mem::take(&mut self.changed);
        let rows = changed.into_iter().filter_map(|number| Some((number, self.row(number)?)));
        let rows = rows.collect();
        let asked = std::mem::take(&mut self.is_asked_changed).then(|| {
            let asked = self.known.iter().map(|asked| AskedOf {
                number: asked.number,
                release: asked.release.clone(),
                judged: asked.judged.clone(),
            });
            let file = AskedFile { form: FORM, asked: asked.collect() };
            // What was read from a bundle can be written; else its answers are forgotten at the next start.
            serde_json::to_vec(&file).unwrap_or_default()
        });
        Some(Changes { first: self.first, rows, asked })
    }

    /// Takes back changes that could not be written.
    pub fn unwritten(&mut self, changes: &Changes) {
        let numbers = changes.rows.iter().map(|(number, _)| *number);
        self.changed.extend(numbers.filter(|number| *number >= self.first));
        self.is_asked_changed |= changes.asked.is_some();
        // Nothing is below it, so that it is handed out again.
        self.first_handed = 0;
    }

    fn row(&self, number: u64) -> Option<Vec<u8>> {
        let at = usize::try_from(number.checked_sub(self.first)?).ok()?;
        let finding = self.order.get(at)?;
        let Answer { asked, value, score, time_ms, is_counted, .. } = self.answers.get(finding)?;
        let (asked, value, score) = (asked.number, *value, *score);
        let (time_ms, is_counted) = (*time_ms, *is_counted);
        let row = AnswerRow { finding, asked, value, score, time_ms, is_counted };
        postcard::to_stdvec(&row).ok()
    }
}

type Restored = (Vec<Arc<Asked>>, BTreeMap<String, Answer>, VecDeque<String>);

fn read(asked: Option<&[u8]>, rows: &[Row]) -> Option<Restored> {
    let Some(asked) = asked else { return rows.is_empty().then(Restored::default) };
    let file: AskedFile =
        serde_json::from_slice(asked).ok().filter(|it: &AskedFile| it.form == FORM)?;
    let known = file.asked.into_iter().map(|AskedOf { number, release, judged }| {
        let told = release_ref(&release);
        Arc::new(Asked { number, release, told, judged })
    });
    let known: Vec<_> = known.collect();
    let (mut answers, mut order) = (BTreeMap::new(), VecDeque::new());
    let first = rows.first().map_or(0, |(number, _)| *number);
    for (at, (number, row)) in (first..).zip(rows) {
        let row: AnswerRow<'_> = postcard::from_bytes(row).ok()?;
        let asked = known.iter().find(|asked| asked.number == row.asked)?.clone();
        let AnswerRow { value, score, time_ms, is_counted, .. } = row;
        let answer = Answer { number: *number, asked, value, score, time_ms, is_counted };
        let is_new = answers.insert(row.finding.to_owned(), answer).is_none();
        if at != *number || !is_new {
            return None;
        }
        order.push_back(row.finding.to_owned());
    }
    Some((known, answers, order))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{bundle, frame, hear, joining, release, unknown};
    use super::*;

    const QUALITY: &str = "[quality]\noutput = 'alarm'\nscore = 'level'\n";

    /// The rows that changes make of what was there.
    #[derive(Default)]
    struct Written {
        asked: Option<Vec<u8>>,
        rows: BTreeMap<u64, Vec<u8>>,
    }

    impl Written {
        fn take(&mut self, changes: Changes) {
            self.rows.retain(|number, _| *number >= changes.first);
            self.rows.extend(changes.rows);
            self.asked = changes.asked.or(self.asked.take());
        }

        fn start(&self) -> (Joining, bool) {
            let mut joining = joining("");
            let rows: Vec<Row> = self.rows.clone().into_iter().collect();
            let is_restored = joining.restore(self.asked.as_deref(), &rows);
            (joining, is_restored)
        }
    }

    fn answer(joining: &mut Joining, version: &str, number: u64) {
        let outputs = [("level", Value::Number(9.0)), ("alarm", Value::Bool(true))];
        joining.frame(&release(version), &frame(number, &outputs));
    }

    #[test]
    fn a_start_goes_on_with_the_answers_and_with_what_is_counted_of_them() {
        let (mut joining, mut written) = (joining(QUALITY), Written::default());
        (0..4).for_each(|number| answer(&mut joining, "1", number));
        assert_eq!(hear(&mut joining, &[(0, "true")]).counted, 1);
        written.take(joining.changes().unwrap());
        assert_eq!(joining.changes(), None, "nothing is written twice");
        assert_eq!(hear(&mut joining, &[(1, "false")]).counted, 1);
        let changes = joining.changes().unwrap();
        assert_eq!((changes.rows.len(), changes.rows[0].0, &changes.asked), (1, 1, &None));
        // The disk takes it the second time.
        joining.unwritten(&changes);
        joining.placed(&release("2"), &bundle(QUALITY));
        answer(&mut joining, "2", 4);
        written.take(joining.changes().unwrap());

        let (mut again, is_restored) = written.start();
        assert!(is_restored);
        assert_eq!(again.changes(), None);
        let outcomes = [(0, "true"), (1, "true"), (2, "true"), (4, "false"), (5, "true")];
        let heard = hear(&mut again, &outcomes);
        assert_eq!((heard.counted, heard.again, heard.unknown), (2, 2, vec![unknown(5)]));
        let open: Vec<_> = again.open().filter_map(|it| it.release.as_ref()).collect();
        assert_eq!(open.iter().map(|it| &*it.version).collect::<Vec<_>>(), ["1", "2"]);
        let scores = again.open().flat_map(|it| &it.scores).map(|it| it.scores.count());
        assert_eq!(scores.sum::<u64>(), 2);
        // The release that is placed then is the one that is known.
        again.placed(&release("2"), &bundle(QUALITY));
        answer(&mut again, "2", 6);
        let changes = again.changes().unwrap();
        assert_eq!((changes.rows.len(), changes.asked), (3, None));
    }

    #[test]
    fn what_is_forgotten_leaves_the_disk() {
        let (mut joining, mut written) = (joining(QUALITY), Written::default());
        for number in 0..60 {
            let mut frame = frame(number, &[("alarm", Value::Bool(true))]);
            frame.time_unix_ns = 1_000_000_000 + number as i64;
            joining.frame(&release("1"), &frame);
            if number % 7 == 0 {
                written.take(joining.changes().unwrap());
            }
        }
        written.take(joining.changes().unwrap());
        assert_eq!(written.rows.len(), 50);
        let (mut again, _) = written.start();
        assert_eq!(hear(&mut again, &[(9, "true"), (10, "true")]).unknown, [unknown(9)]);
        // All of these are too old then, and with them goes the release that they are of.
        again.placed(&release("2"), &bundle(QUALITY));
        (90..92).for_each(|number| answer(&mut again, "2", number));
        written.take(again.changes().unwrap());
        assert_eq!(written.rows.keys().copied().collect::<Vec<_>>(), [60, 61]);
        let asked = String::from_utf8(written.asked.clone().unwrap()).unwrap();
        assert_eq!(asked.matches(r#""number""#).count(), 1, "{asked}");
        // One that keeps fewer forgets the rest.
        let mut few = joining_of(1);
        let rows: Vec<Row> = written.rows.clone().into_iter().collect();
        assert!(few.restore(written.asked.as_deref(), &rows));
        written.take(few.changes().unwrap());
        assert_eq!(written.rows.len(), 1);
    }

    fn joining_of(number_max: usize) -> Joining {
        let mut joining = joining("");
        joining.kept.number_max = number_max;
        joining
    }

    #[test]
    fn what_cannot_be_read_is_begun_anew() {
        let (mut joining, mut whole) = (joining(QUALITY), Written::default());
        (0..4).for_each(|number| answer(&mut joining, "1", number));
        whole.take(joining.changes().unwrap());
        let spoil: [fn(&mut Written); 6] = [
            |it| it.asked = None,
            |it| it.asked = Some(b"{}".to_vec()),
            |it| it.asked = Some(br#"{"form":2,"asked":[]}"#.to_vec()),
            |it| it.asked = Some(br#"{"form":1,"asked":[]}"#.to_vec()),
            |it| drop(it.rows.remove(&2)),
            |it| drop(it.rows.insert(2, vec![0xff; 9])),
        ];
        for spoil in spoil {
            let (asked, rows) = (whole.asked.clone(), whole.rows.clone());
            let mut written = Written { asked, rows };
            spoil(&mut written);
            let (mut again, is_restored) = written.start();
            assert!(!is_restored);
            again.placed(&release("1"), &bundle(QUALITY));
            answer(&mut again, "1", 9);
            written.take(again.changes().unwrap());
            assert_eq!(written.rows.keys().copied().collect::<Vec<_>>(), [4]);
            let (mut again, is_restored) = written.start();
            assert!(is_restored);
            assert_eq!(hear(&mut again, &[(9, "true"), (1, "true")]).counted, 1);
        }
        assert!(Written::default().start().1);
    }
}
