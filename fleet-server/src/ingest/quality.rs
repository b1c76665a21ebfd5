//! How good answers were: what devices told of a span of time, as one, and what follows from it.

use crate::error::Error;
use crate::ingest::Telemetry;
use crate::ingest::record::release_shown;
use crate::ingest::stored::time_shown;
use crate::registry::slot_shown;
use crate::store::tables::quality;
use lineside_drift::quality::{Confusion, area, errors};
use lineside_wire::name::DeviceId;
use lineside_wire::v1::{Body, Quality, Record, record};
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect};
use serde::Serialize;
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// What yes and no are called among answers and outcomes.
const YES: &str = "true";
const NO: &str = "false";

/// How good the answers of a span of the findings' own time were.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct QualityShown {
    /// The slot.
    pub slot: String,
    /// The release that answered, as in `turbine v2`; none for outcomes of findings that the device did not
    /// know.
    pub release: Option<String>,
    /// The output that outcomes are about.
    pub output: String,
    /// First moment, RFC 3339.
    pub start: String,
    /// Moment after the last.
    pub end: String,
    /// Outcomes that met an answer of their kind.
    pub outcomes: u64,
    /// Outcomes of findings that the device did not know (any longer).
    pub unknown: u64,
    /// Outcomes of another kind than the answer.
    pub unfit: u64,
    /// Outcomes whose pair is not among `confusion`, because there were too many.
    pub left_out: u64,
    /// How often each answer met each outcome.
    pub confusion: Vec<MetShown>,
    /// The share of answers that were so.
    pub accuracy: Option<f64>,
    /// The mean of F1 over all categories.
    pub f1_macro: Option<f64>,
    /// Where answers are yes and no: the share of yeses that were so.
    pub precision: Option<f64>,
    /// The share of those that were so that was answered.
    pub recall: Option<f64>,
    /// The harmonic mean of both.
    pub f1: Option<f64>,
    /// The area under the receiver operating characteristic.
    pub area: Option<AreaShown>,
    /// Scores by outcome, in ranges that hold their first number and not their end.
    pub scores: Vec<ScoresShown>,
    /// Where answers are numbers: how far off they were.
    pub errors: Option<ErrorsShown>,
}

/// How often an answer met an outcome.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct MetShown {
    /// What was answered; `true` is yes.
    pub answered: String,
    /// How it was.
    pub outcome: String,
    /// How often.
    pub count: u64,
}

/// An area under the receiver operating characteristic, from histograms.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, ToSchema)]
pub(crate) struct AreaShown {
    /// Where scores of one bucket are taken as equal.
    pub area: f64,
    /// That of the scores themselves is no less …
    pub low: f64,
    /// … and no more.
    pub high: f64,
}

/// The scores of answers that met an outcome.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct ScoresShown {
    /// How it was.
    pub outcome: String,
    /// First number, end, and how many scores are between; an end that is infinite is none.
    pub ranges: Vec<(f64, Option<f64>, u64)>,
    /// Scores that are no finite numbers.
    pub not_finite: u64,
}

/// Answer less outcome.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, ToSchema)]
pub(crate) struct ErrorsShown {
    /// Pairs.
    pub count: u64,
    /// Mean.
    pub bias: f64,
    /// Mean without the sign.
    pub mean_absolute: f64,
    /// Root of the mean square.
    pub root_mean_square: f64,
}

/// Which spans are asked for.
#[derive(Debug, Clone)]
pub(crate) struct WhichQuality {
    /// Of this slot.
    pub slot: Option<String>,
    /// Of this release, as in `turbine v2`.
    pub release: Option<String>,
    /// Those that begin from this moment on …
    pub from_unix_ms: i64,
    /// … and before this one.
    pub to_unix_ms: i64,
    /// At most so many.
    pub limit: u64,
}

impl Telemetry {
    /// How good answers were, by slot, release, output and span, the newest span first. Of the newest 10,000
    /// records, which is as many as are kept.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn quality(
        &self,
        device: &DeviceId,
        which: &WhichQuality,
    ) -> Result<Vec<QualityShown>, Error> {
        let mut query = quality::Entity::find()
            .select_only()
            .column(quality::Column::Body)
            .filter(quality::Column::Device.eq(device.as_str()))
            .filter(quality::Column::StartUnixMs.gte(which.from_unix_ms))
            .filter(quality::Column::StartUnixMs.lt(which.to_unix_ms))
            .order_by_asc(quality::Column::Id);
        if let Some(slot) = &which.slot {
            query = query.filter(quality::Column::Slot.eq(slot));
        }
        let bodies = query.into_tuple::<Vec<u8>>().all(self.store.read()).await?;
        let is_meant = |one: &Quality| match &which.release {
            Some(release) => one.release.as_ref().map(release_shown).as_ref() == Some(release),
            None => true,
        };
        let whole = merged(bodies.into_iter().filter_map(read).filter(is_meant));
        Ok(whole
            .iter()
            .rev()
            .take(usize::try_from(which.limit).unwrap_or(usize::MAX))
            .map(shown)
            .collect())
    }
}

/// A body is kept without its code. What is of one of them is never read as the other: one that stands for
/// several goes on where another ends.
fn read(body: Vec<u8>) -> Option<Quality> {
    let code = record::QUALITY;
    let mut record = Record { boot: 0, sequence: 0, backfill: false, code, body };
    [record::QUALITY, record::QUALITY_MERGED].into_iter().find_map(|code| {
        record.code = code;
        match record.read() {
            Ok(Body::Quality(quality)) => Some(*quality),
            _ => None,
        }
    })
}

/// What several records tell of one span as one; the spans in rising order.
fn merged(records: impl Iterator<Item = Quality>) -> Vec<Quality> {
    let mut whole: BTreeMap<_, Quality> = BTreeMap::new();
    for quality in records {
        let release =
            quality.release.as_ref().map(|it| (it.name.clone(), it.version.clone(), it.digest));
        let span = (quality.start_unix_ms, quality.end_unix_ms);
        let key = (span, quality.slot.clone(), release, quality.output.clone());
        match whole.get_mut(&key) {
            Some(known) => known.merge(&quality),
            None => {
                whole.insert(key, quality);
            }
        }
    }
    whole.into_values().collect()
}

fn shown(quality: &Quality) -> QualityShown {
    let mut confusion = Confusion::default();
    quality.met.iter().for_each(|met| confusion.add(&met.answered, &met.outcome, met.count));
    let is_binary = confusion.categories().iter().all(|it| [YES, NO].contains(it));
    let yes = is_binary.then(|| confusion.of(YES));
    let scores = |outcome| {
        let mut of_outcome = quality.scores.iter().filter(|it| it.outcome == outcome);
        of_outcome.next().map(|it| &it.scores)
    };
    let area = scores(YES).zip(scores(NO)).and_then(|(so, not_so)| area(so, not_so));
    let errors = errors(&quality.error, &quality.absolute_error);
    QualityShown {
        slot: slot_shown(&quality.slot),
        release: quality.release.as_ref().map(release_shown),
        output: quality.output.clone(),
        start: time_shown(quality.start_unix_ms),
        end: time_shown(quality.end_unix_ms),
        outcomes: quality.outcomes,
        unknown: quality.unknown,
        unfit: quality.unfit,
        left_out: quality.left_out,
        confusion: confusion
            .counts()
            .map(|(answered, outcome, count)| MetShown {
                answered: answered.to_owned(),
                outcome: outcome.to_owned(),
                count,
            })
            .collect(),
        accuracy: confusion.accuracy(),
        f1_macro: confusion.f1_macro(),
        precision: yes.and_then(|yes| yes.precision()),
        recall: yes.and_then(|yes| yes.recall()),
        f1: yes.and_then(|yes| yes.f1()),
        area: area.map(|it| AreaShown { area: it.area, low: it.low, high: it.high }),
        scores: quality
            .scores
            .iter()
            .map(|it| ScoresShown {
                outcome: it.outcome.clone(),
                ranges: it
                    .scores
                    .ranges()
                    .map(|(first, end, count)| {
                        (first, Some(end).filter(|end| end.is_finite()), count)
                    })
                    .collect(),
                not_finite: it.scores.not_finite(),
            })
            .collect(),
        errors: errors.map(|it| ErrorsShown {
            count: quality.error.count(),
            bias: it.bias,
            mean_absolute: it.mean_absolute,
            root_mean_square: it.root_mean_square,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lineside_wire::v1::ReleaseRef;

    #[test]
    fn records_of_one_span_are_shown_as_one_with_what_follows_from_them() {
        let release = |version: &str| ReleaseRef {
            name: "turbine".into(),
            version: version.into(),
            digest: [1; 32],
        };
        let of = |version: &str, second: i64| {
            let span = (second * 1000, (second + 10) * 1000);
            Quality::of("line", Some(release(version)), "alarm", span)
        };
        let mut first = of("1", 0);
        first.meet("true", "true", Some(2.0));
        first.meet("true", "false", Some(1.0));
        let mut again = of("1", 0);
        again.meet("false", "false", Some(0.5));
        again.meet("true", "true", Some(4.0));
        let mut later = of("2", 10);
        later.measure(1.5, 1.0);
        let mut unknown = Quality::of("line", None, "", (0, 0));
        unknown.unknown = 3;
        let all: Vec<_> =
            merged([later, first, unknown, again].into_iter()).iter().map(shown).collect();
        let [unknown, whole, later] = &*all else { panic!("{all:?}") };
        assert_eq!((unknown.unknown, &unknown.release, unknown.accuracy), (3, &None, None));
        assert_eq!((whole.outcomes, whole.accuracy, whole.recall), (4, Some(0.75), Some(1.0)));
        assert_eq!((whole.precision, whole.f1), (Some(2.0 / 3.0), Some(0.8)));
        assert_eq!(whole.area, Some(AreaShown { area: 1.0, low: 1.0, high: 1.0 }));
        assert_eq!((whole.start.as_str(), whole.errors), ("1970-01-01T00:00:00Z", None));
        assert_eq!(later.release.as_deref(), Some("turbine v2"));
        let errors = later.errors.unwrap();
        assert_eq!((errors.count, errors.bias, errors.root_mean_square), (1, 0.5, 0.5));
    }
}
