//! Limits that chunks of known-good data teach, and what is held against them.

use super::ColumnProfile;
use super::written::Number;
use crate::sketched::{ColumnSketch, Estimate, Marks, median, score};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Standard deviations from the mean at which a limit is, where nobody says otherwise.
pub const SIGMAS: f64 = 3.0;
/// Fewest chunks that teach a limit.
const CHUNKS_MIN: usize = 2;

/// What is looked at in every interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Statistic {
    /// The median of the numbers, in the column's unit.
    Median,
    /// The share of rows without a value (0 to 1).
    Missing,
    /// The share of rows outside of the plausible range (0 to 1).
    OutOfRange,
    /// The score against all of the training data, by the column's method.
    Drift,
}

impl Statistic {
    /// Its name in a profile.
    pub fn name(self) -> &'static str {
        match self {
            Statistic::Median => "median",
            Statistic::Missing => "missing",
            Statistic::OutOfRange => "out_of_range",
            Statistic::Drift => "drift",
        }
    }

    /// Only the median may be too low: less missing than ever is no fault.
    fn has_lower_limit(self) -> bool {
        self == Statistic::Median
    }
}

/// The statistics of an interval that there are enough values for.
pub type Statistics = BTreeMap<Statistic, Estimate>;

/// Where a statistic stays while all is well: mean ± sigmas × standard deviation of its values in the chunks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    /// Its mean over the chunks.
    pub mean: f64,
    /// Its standard deviation over the chunks (divided by their number less one).
    pub sigma: f64,
    /// Below is outside.
    pub lower: Option<f64>,
    /// Above is outside.
    pub upper: Option<f64>,
}

/// What chunks of known-good data have taught of a column.
#[derive(Debug, Clone, PartialEq)]
pub struct Learnt {
    /// Chunks with enough values.
    pub chunks: u32,
    /// Standard deviations between mean and limit.
    pub sigmas: f64,
    /// By statistic.
    pub limits: BTreeMap<Statistic, Limits>,
}

/// What was counted of a column in an interval.
#[derive(Debug, Clone, PartialEq)]
pub struct Observed {
    /// The values.
    pub sketch: ColumnSketch,
    /// Those outside of the plausible range; none where the column has no such range.
    pub out_of_range: Option<u64>,
}

/// A statistic of an interval beside its limits.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Judged {
    /// Which.
    pub statistic: Statistic,
    /// Its value, and between what the exact one lies.
    pub estimate: Estimate,
    /// Where it should be.
    pub limits: Limits,
    /// Whether it is outside of its limits for certain, whatever the sketch does not know.
    pub is_outside: bool,
}

impl ColumnProfile {
    /// The statistics of an interval; those for which it has less than `values_min` values or rows are left
    /// out, and so is a score that cannot be computed.
    pub fn statistics(&self, observed: &Observed, values_min: u64) -> Statistics {
        let Observed { sketch, out_of_range } = observed;
        let mut statistics = Statistics::new();
        let rows = sketch.rows();
        if rows >= values_min.max(1) {
            let missing = Estimate::exact(sketch.missing_share());
            statistics.insert(Statistic::Missing, missing);
            if let Some(outside) = out_of_range {
                let share = (*outside as f64 / rows as f64).min(1.0);
                statistics.insert(Statistic::OutOfRange, Estimate::exact(share));
            }
        }
        if let (ColumnSketch::Numbers(numbers), Marks::Edges(edges)) = (sketch, &self.marks)
            && sketch.values() >= values_min.max(1)
        {
            statistics.extend(median(numbers, Some(edges)).map(|it| (Statistic::Median, it)));
        }
        let score = score(&self.reference, sketch, &self.marks, self.method, None, values_min);
        statistics.extend(score.ok().map(|it| (Statistic::Drift, it.score)));
        statistics
    }

    /// Holds an interval against what was learnt. Nothing where nothing was.
    pub fn judge(&self, observed: &Observed, values_min: u64) -> Vec<Judged> {
        let Some(learnt) = &self.learnt else { return vec![] };
        let statistics = self.statistics(observed, values_min).into_iter();
        let judged = statistics.filter_map(|(statistic, estimate)| {
            let limits = *learnt.limits.get(&statistic)?;
            // The bucket of noughts reaches to the smallest number, and its middle is in limits that were learnt.
            let is_more = |more: f64, less: f64| more > less && more - less > f64::MIN_POSITIVE;
            let is_outside = limits.upper.is_some_and(|upper| is_more(estimate.low, upper))
                || limits.lower.is_some_and(|lower| is_more(lower, estimate.high));
            Some(Judged { statistic, estimate, limits, is_outside })
        });
        judged.collect()
    }
}

/// Learns limits from the statistics of chunks of known-good data, `sigmas` standard deviations from their
/// mean. None from less than two chunks.
pub fn learn(chunks: &[Statistics], sigmas: f64) -> Option<Learnt> {
    let mut values: BTreeMap<Statistic, Vec<f64>> = BTreeMap::new();
    for (statistic, estimate) in chunks.iter().flatten() {
        values.entry(*statistic).or_default().push(estimate.value);
    }
    values.retain(|_, values| {
        values.len() >= CHUNKS_MIN && values.iter().all(|value| value.is_finite())
    });
    let chunks = values.values().map(Vec::len).max()? as u32;
    let limits = values.into_iter().filter_map(|(statistic, values)| {
        let count = values.len() as f64;
        let mean = values.iter().sum::<f64>() / count;
        let squares = values.iter().map(|value| (value - mean) * (value - mean)).sum::<f64>();
        let sigma = (squares / (count - 1.0)).sqrt();
        let (low, high) = (mean - sigmas * sigma, mean + sigmas * sigma);
        let lower = statistic.has_lower_limit().then_some(low);
        let limits = Limits { mean, sigma, lower, upper: Some(high) };
        (low.is_finite() && high.is_finite()).then_some((statistic, limits))
    });
    Some(Learnt { chunks, sigmas, limits: limits.collect() })
}

impl Learnt {
    pub(super) fn check(&self) -> Result<(), String> {
        if !self.sigmas.is_finite() || self.sigmas <= 0.0 {
            return Err(format!("sigmas {} must be above zero", self.sigmas));
        }
        for (statistic, limits) in &self.limits {
            let Limits { mean, sigma, lower, upper } = *limits;
            let ends = (lower.unwrap_or(mean), upper.unwrap_or(mean));
            let is_sound = sigma >= 0.0 && ends.0 <= mean && mean <= ends.1;
            let is_finite = [mean, sigma, ends.0, ends.1].iter().all(|it| it.is_finite());
            if !is_sound || !is_finite {
                return Err(format!("the limits of {} do not hold its mean", statistic.name()));
            }
        }
        Ok(())
    }
}

/// Limits as they are written.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenLimits {
    mean: Number,
    sigma: Number,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lower: Option<Number>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    upper: Option<Number>,
}

impl Serialize for Limits {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Limits { mean, sigma, lower, upper } = *self;
        let (lower, upper) = (lower.map(Number), upper.map(Number));
        WrittenLimits { mean: Number(mean), sigma: Number(sigma), lower, upper }
            .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Limits {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Limits, D::Error> {
        let WrittenLimits { mean, sigma, lower, upper } = WrittenLimits::deserialize(deserializer)?;
        let number = |it: Option<Number>| it.map(|Number(number)| number);
        let (lower, upper) = (number(lower), number(upper));
        Ok(Limits { mean: mean.0, sigma: sigma.0, lower, upper })
    }
}
