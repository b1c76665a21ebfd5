//! How good answers should be where no outcome is known yet: an estimate, and marked as one.

use crate::monitor::drift::EstimateShown;
use lineside_bundle::BundleFile;
use lineside_drift::expected;
use lineside_wire::v1::{Column, Interval};
use serde::Serialize;
use utoipa::ToSchema;

/// How good answers of yes and no should be by their own calibrated probabilities. An estimate: it knows of no
/// outcome, and where the process has changed the probabilities may be calibrated no longer.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct EstimatedShown {
    /// The output that answers.
    pub output: String,
    /// The output that is the probability of a yes.
    pub score: String,
    /// The answer is yes above it.
    pub above: f64,
    /// Probabilities that were counted.
    pub values: u64,
    /// The share of answers that should be right.
    pub accuracy: Option<EstimateShown>,
    /// The share of yeses that should be right.
    pub precision: Option<EstimateShown>,
    /// The share of what should be so that was answered with yes.
    pub recall: Option<EstimateShown>,
    /// The harmonic mean of both.
    pub f1: Option<EstimateShown>,
}

impl EstimatedShown {
    /// None where the bundle does not say that a score is a calibrated probability, or where some are none.
    pub(super) fn of(bundle: &BundleFile, interval: &Interval) -> Option<EstimatedShown> {
        let quality = bundle.quality.as_ref()?;
        let (score, above) = (quality.score.clone()?, quality.calibrated_above?);
        let summary = interval.outputs.iter().find(|summary| summary.name == score)?;
        let Column::Numbers(numbers) = &summary.column else { return None };
        let found = expected(numbers.histogram(), above)?;
        Some(EstimatedShown {
            output: quality.output.clone(),
            score,
            above,
            values: numbers.histogram().count(),
            accuracy: found.accuracy().map(EstimateShown::from),
            precision: found.precision().map(EstimateShown::from),
            recall: found.recall().map(EstimateShown::from),
            f1: found.f1().map(EstimateShown::from),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lineside_sketch::NumberColumn;
    use lineside_wire::v1::{ReleaseRef, Summary};

    fn bundle(quality: &str) -> BundleFile {
        BundleFile::parse(&format!(
            "format = 1\nname = 'echo'\nversion = '1'\n\
             [inputs.p]\nrate_hz = 1.0\nfields = [{{ name = 'x' }}]\n\
             [stages.w]\nkind = 'window'\ninput = 'p'\nrows = 1\nstride = 1\n\
             [stages.last]\nkind = 'select'\ninput = 'w'\nindex = 0\n\
             [stages.high]\nkind = 'threshold'\ninput = 'last'\nabove = 0.5\n\
             [outputs]\np = {{ from = 'last' }}\nworn = {{ from = 'high' }}\n{quality}"
        ))
        .unwrap()
    }

    fn interval(values: &[f64]) -> Interval {
        let mut column = NumberColumn::new(None);
        values.iter().for_each(|value| column.add(None, *value).unwrap());
        let column = Column::Numbers(Box::new(column));
        Interval {
            readings: 1,
            frames: 1,
            findings: 1,
            outputs: vec![Summary { name: "p".into(), column, out_of_range: 0 }],
            ..Interval::of(
                "line",
                ReleaseRef { name: "echo".into(), version: "1".into(), digest: [1; 32] },
                (0, 1),
            )
        }
    }

    #[test]
    fn it_is_estimated_where_the_bundle_says_that_the_score_is_calibrated() {
        let calibrated =
            bundle("[quality]\noutput = 'worn'\nscore = 'p'\ncalibrated_above = 0.5\n");
        let found = EstimatedShown::of(&calibrated, &interval(&[0.9, 0.8, 0.3])).unwrap();
        let precision = found.precision.unwrap();
        assert!(precision.low <= 0.85 && 0.85 <= precision.high, "{found:?}");
        assert_eq!((found.values, found.above, &*found.output), (3, 0.5, "worn"));
        let silent = bundle("[quality]\noutput = 'worn'\nscore = 'p'\n");
        assert!(EstimatedShown::of(&silent, &interval(&[0.9])).is_none());
        assert!(EstimatedShown::of(&calibrated, &interval(&[1.9])).is_none());
    }
}
