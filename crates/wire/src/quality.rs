//! How good answers were, by the outcomes that a device heard of later: sums alone.

use crate::interval::{StandsFor, Unmergeable, at_most, joined, sketch};
use crate::v1::{ReleaseRef, STANDS_FOR_MAX};
use lineside_sketch::{Histogram, Moments};
use serde::{Deserialize, Serialize};

/// Pairs of an answer and an outcome that are told apart.
pub const MET_MAX: usize = 256;
/// Outcomes of which scores are told.
pub const SCORED_MAX: usize = 4;
/// Longest text of an answer or an outcome, in characters.
pub const OUTCOME_CHARS_MAX: usize = 64;

/// What has become of the answers of a span of time, of one release or of none that is known.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Quality {
    /// The slot.
    pub slot: String,
    /// The release that answered; none for outcomes of findings that the device does not know (any longer).
    pub release: Option<ReleaseRef>,
    /// The output that outcomes are about; empty where the release is not known.
    pub output: String,
    /// First moment, milliseconds since 1970: the findings' own time; where they are not known, the
    /// device's clock when it heard of them.
    pub start_unix_ms: i64,
    /// Moment after the last.
    pub end_unix_ms: i64,
    /// Outcomes that met an answer of their kind, each finding's first.
    pub outcomes: u64,
    /// Outcomes of findings that are not known.
    pub unknown: u64,
    /// Outcomes of another kind than the answer, or of findings without one.
    pub unfit: u64,
    /// How often each answer met each outcome, where they are categories, or yes and no as `true` and
    /// `false`.
    #[serde(deserialize_with = "at_most::<_, _, MET_MAX>")]
    pub met: Vec<Met>,
    /// Those of `outcomes` whose pair had no place among them.
    pub left_out: u64,
    /// The scores of the answers, by outcome.
    #[serde(deserialize_with = "at_most::<_, _, SCORED_MAX>")]
    pub scores: Vec<Scored>,
    /// Answer less outcome, where they are numbers.
    pub error: Moments,
    /// The same without its sign.
    pub absolute_error: Moments,
    /// Records that became this one, itself among them. It and the next are told where several have,
    /// by a code of their own.
    #[serde(skip, default = "one")]
    pub records: u64,
    /// The numbers of the others, which will not come any more.
    #[serde(skip)]
    pub stands_for: Vec<StandsFor>,
}

/// One that stands for several, as it is coded.
#[derive(Serialize)]
pub(crate) struct Several<'a> {
    quality: &'a Quality,
    records: u64,
    stands_for: &'a [StandsFor],
}

/// The same, read.
#[derive(Deserialize)]
pub(crate) struct SeveralRead {
    quality: Quality,
    records: u64,
    #[serde(deserialize_with = "at_most::<_, _, STANDS_FOR_MAX>")]
    stands_for: Vec<StandsFor>,
}

fn one() -> u64 {
    1
}

/// How often an answer met an outcome.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Met {
    /// What was answered.
    pub answered: String,
    /// How it was.
    pub outcome: String,
    /// How often.
    pub count: u64,
}

/// The scores of answers that met an outcome.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Scored {
    /// How it was.
    pub outcome: String,
    /// The values of the output that the bundle names as the score.
    #[serde(with = "sketch")]
    pub scores: Histogram,
}

impl Quality {
    /// Of a span in which nothing is counted yet.
    pub fn of(slot: &str, release: Option<ReleaseRef>, output: &str, span: (i64, i64)) -> Quality {
        let (start_unix_ms, end_unix_ms) = span;
        Quality {
            slot: slot.to_owned(),
            release,
            output: output.to_owned(),
            start_unix_ms,
            end_unix_ms,
            outcomes: 0,
            unknown: 0,
            unfit: 0,
            met: vec![],
            left_out: 0,
            scores: vec![],
            error: Moments::default(),
            absolute_error: Moments::default(),
            records: 1,
            stands_for: vec![],
        }
    }

    /// Counts an answer that met an outcome of its kind, with its score where it has one.
    pub fn meet(&mut self, answered: &str, outcome: &str, score: Option<f64>) {
        self.outcomes = self.outcomes.saturating_add(1);
        self.count(answered, outcome, 1);
        if let Some(score) = score {
            let mut scores = Histogram::default();
            scores.add(score);
            self.score(outcome, &scores);
        }
    }

    /// Counts a number that was answered and what it should have been.
    pub fn measure(&mut self, answered: f64, outcome: f64) {
        self.outcomes = self.outcomes.saturating_add(1);
        self.error.add(answered - outcome);
        self.absolute_error.add((answered - outcome).abs());
    }

    /// This one and a `later` one as one, in which everything is counted that was counted in either.
    /// `number` is this one's start of the device and number within it: the whole goes by the later one's.
    ///
    /// # Errors
    /// [`Unmergeable`] if they are of different slots, releases or outputs, or if pairs or scores of one of
    /// them would have no place in the whole.
    pub fn merged(&self, number: (u64, u64), later: &Quality) -> Result<Quality, Unmergeable> {
        let of = |it: &Quality| (it.slot.clone(), it.release.clone(), it.output.clone());
        if of(self) != of(later) {
            return Err(Unmergeable::Other);
        }
        let mut whole = self.clone();
        whole.merge(later);
        let left_out = self.left_out.saturating_add(later.left_out);
        let scored = |it: &Quality| it.scores.iter().map(|it| it.scores.count()).sum::<u64>();
        if whole.left_out != left_out || scored(&whole) != scored(self) + scored(later) {
            return Err(Unmergeable::Outcomes);
        }
        whole.records = self.records.saturating_add(later.records);
        let (boot, own) = number;
        whole.stands_for.push(StandsFor { boot, first: own, last: own });
        whole.stands_for.extend(&later.stands_for);
        whole.stands_for = joined(std::mem::take(&mut whole.stands_for));
        Ok(whole)
    }

    /// Whether it stands for others, and is told so.
    pub(crate) fn several(&self) -> Option<Several<'_>> {
        let (records, stands_for) = (self.records, &*self.stands_for);
        let is_alone = records == 1 && stands_for.is_empty();
        (!is_alone).then_some(Several { quality: self, records, stands_for })
    }

    /// Takes what another has counted of the same slot, release and output.
    pub fn merge(&mut self, other: &Quality) {
        self.start_unix_ms = self.start_unix_ms.min(other.start_unix_ms);
        self.end_unix_ms = self.end_unix_ms.max(other.end_unix_ms);
        for (counted, more) in [
            (&mut self.outcomes, other.outcomes),
            (&mut self.unknown, other.unknown),
            (&mut self.unfit, other.unfit),
            (&mut self.left_out, other.left_out),
        ] {
            *counted = counted.saturating_add(more);
        }
        other.met.iter().for_each(|met| self.count(&met.answered, &met.outcome, met.count));
        other.scores.iter().for_each(|it| self.score(&it.outcome, &it.scores));
        self.error.merge(&other.error);
        self.absolute_error.merge(&other.absolute_error);
    }

    fn count(&mut self, answered: &str, outcome: &str, count: u64) {
        let is_full = self.met.len() >= MET_MAX;
        let known = self.met.iter_mut().find(|it| it.answered == answered && it.outcome == outcome);
        match known {
            Some(met) => met.count = met.count.saturating_add(count),
            None if is_full => self.left_out = self.left_out.saturating_add(count),
            None => {
                let (answered, outcome) = (answered.to_owned(), outcome.to_owned());
                self.met.push(Met { answered, outcome, count });
            }
        }
    }

    /// Those of further outcomes have no place.
    fn score(&mut self, outcome: &str, scores: &Histogram) {
        let is_full = self.scores.len() >= SCORED_MAX;
        match self.scores.iter_mut().find(|it| it.outcome == outcome) {
            Some(scored) => scored.scores.merge(scores),
            None if is_full => {}
            None => {
                self.scores.push(Scored { outcome: outcome.to_owned(), scores: scores.clone() });
            }
        }
    }
}

impl From<SeveralRead> for Quality {
    fn from(read: SeveralRead) -> Quality {
        let SeveralRead { quality, records, stands_for } = read;
        Quality { records, stands_for, ..quality }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::v1::{Body, Record, record};

    fn quality() -> Quality {
        let release = ReleaseRef { name: "turbine".into(), version: "1".into(), digest: [4; 32] };
        let mut quality = Quality::of("line", Some(release), "alarm", (1000, 3000));
        quality.meet("true", "true", Some(0.75));
        quality.meet("true", "false", Some(0.5));
        quality.meet("false", "false", None);
        quality.measure(2.5, 3.0);
        (quality.unknown, quality.unfit, quality.left_out) = (7, 8, 9);
        quality
    }

    fn read(body: Vec<u8>) -> Option<Quality> {
        let record = Record { boot: 0, sequence: 0, backfill: false, code: record::QUALITY, body };
        match record.read() {
            Ok(Body::Quality(quality)) => Some(*quality),
            _ => None,
        }
    }

    fn bytes(quality: &Quality) -> Vec<u8> {
        Body::Quality(Box::new(quality.clone())).encode().unwrap().1
    }

    #[test]
    fn quality_of_version_1_is_written_alike_and_stays_readable() {
        let hex: String = bytes(&quality()).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, QUALITY.replace(' ', ""));
        assert_eq!(read(bytes(&quality())), Some(quality()));
    }

    #[test]
    fn two_as_one_have_counted_what_both_have() {
        let mut whole = Quality { start_unix_ms: 0, end_unix_ms: 1, ..quality() };
        whole.merge(&quality());
        assert_eq!((whole.start_unix_ms, whole.end_unix_ms), (0, 3000));
        assert_eq!((whole.outcomes, whole.unknown, whole.unfit, whole.left_out), (8, 14, 16, 18));
        assert!(whole.met.len() == 3 && whole.met.iter().all(|met| met.count == 2));
        assert!(whole.scores.len() == 2 && whole.scores.iter().all(|it| it.scores.count() == 2));
        assert_eq!((whole.error.count(), whole.error.mean()), (2, Some(-0.5)));
        assert_eq!(whole.absolute_error.mean(), Some(0.5));
    }

    #[test]
    fn one_that_stands_for_several_is_told_by_a_code_of_its_own() {
        let whole = quality().merged((7, 3), &quality()).unwrap();
        let whole = whole.merged((7, 5), &quality()).unwrap();
        let stands_for: Vec<_> =
            whole.stands_for.iter().map(|it| (it.boot, it.first, it.last)).collect();
        assert_eq!((whole.records, stands_for), (3, vec![(7, 3, 3), (7, 5, 5)]));
        assert_eq!((whole.outcomes, whole.left_out), (12, 27));
        let (code, body) = Body::Quality(Box::new(whole.clone())).encode().unwrap();
        assert_eq!(code, record::QUALITY_MERGED);
        let alone = Quality { records: 1, stands_for: vec![], ..whole.clone() };
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        assert_eq!(hex(&body), format!("{}0302070303070505", hex(&bytes(&alone))));
        let record =
            |code| Record { boot: 0, sequence: 0, backfill: false, code, body: body.clone() };
        assert_eq!(record(code).read().unwrap(), Body::Quality(Box::new(whole)));
        assert!(record(record::QUALITY).read().is_err(), "neither is taken for the other");
        assert!(Record { body: bytes(&quality()), ..record(code) }.read().is_err());
        let ranges = vec![StandsFor { boot: 1, first: 2, last: 2 }; STANDS_FOR_MAX + 1];
        let more = Quality { stands_for: ranges, ..quality() };
        let (code, body) = Body::Quality(Box::new(more)).encode().unwrap();
        assert!(Record { code, body, ..record(code) }.read().is_err());
    }

    #[test]
    fn two_of_which_something_would_have_no_place_stay_two() {
        let other = Quality { output: "level".into(), ..quality() };
        assert_eq!(quality().merged((1, 0), &other), Err(Unmergeable::Other));
        let (mut pairs, mut scores) = (quality(), quality());
        (0..MET_MAX - 3).for_each(|number| pairs.meet(&number.to_string(), "x", None));
        ["a", "b"].iter().for_each(|outcome| scores.meet("true", outcome, Some(1.0)));
        assert!(pairs.merged((1, 0), &quality()).is_ok());
        assert!(scores.merged((1, 0), &quality()).is_ok());
        let mut further = quality();
        further.meet("c", "c", Some(1.0));
        assert_eq!(pairs.merged((1, 0), &further), Err(Unmergeable::Outcomes));
        assert_eq!(scores.merged((1, 0), &further), Err(Unmergeable::Outcomes));
    }

    #[test]
    fn more_than_a_device_tells_is_not_read_and_what_has_no_place_is_counted() {
        let mut quality = quality();
        for number in 0..2 * MET_MAX {
            quality.meet(&number.to_string(), &number.to_string(), Some(1.0));
        }
        assert_eq!((quality.met.len(), quality.scores.len()), (MET_MAX, SCORED_MAX));
        assert_eq!(quality.left_out, 9 + 3 + MET_MAX as u64);
        assert_eq!(read(bytes(&quality)), Some(quality.clone()));
        let more =
            Quality { met: [&quality.met[..], &quality.met[..1]].concat(), ..quality.clone() };
        assert_eq!(read(bytes(&more)), None);
        let more =
            Quality { scores: [&quality.scores[..], &quality.scores[..1]].concat(), ..quality };
        assert_eq!(read(bytes(&more)), None);
    }

    const QUALITY: &str = "046c696e65010774757262696e650131040404040404040404040404040404040404040404040404 \
         040404040404040405616c61726dd00ff02e04070803047472756504747275650104747275650566 \
         616c7365010566616c73650566616c736501090204747275650c020100000001b0ff010000000566 \
         616c73650c020100000001a0ff010000000100000000000000e0bf000000000000e0bfffffff0300 \
         808080808080040100000000000000e03f000000000000e03f808080040080808080808004";
}
