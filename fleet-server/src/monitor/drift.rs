//! How far columns are from the training data of the release that answered.

use crate::ingest::time_shown;
use crate::monitor::profiles::Found;
use lineside_drift::{
    Chunk, ColumnProfile, ColumnSketch, DRIFT_SHARE, DatasetDrift, Estimate, Judged, Marks,
    Missing, Observed, Profile, Role, SketchScore, median,
};
use lineside_rules::sketched;
use lineside_sketch::{Edges, NumberColumn};
use lineside_wire::v1::{Column, Interval, Summary};
use serde::Serialize;
use utoipa::ToSchema;

/// The output that says how sure the model is, by its name.
const CONFIDENCE: &str = "confidence";

/// What the profile of a release is about.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct ProfileShown {
    /// Length of the chunks that limits were learnt from, in seconds of the rows' own time.
    pub chunk_seconds: Option<f64>,
    /// The same in rows.
    pub chunk_rows: Option<u64>,
    /// Values below which there is no score.
    pub values_min: u64,
}

/// A column of a release over a time.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct ColumnDriftShown {
    /// Its name, as in telemetry and profiles.
    pub name: String,
    /// `input` or `output`.
    pub role: &'static str,
    /// Whether it says how sure the model is: an output called `confidence`.
    pub is_confidence: bool,
    /// `numerical` or `categorical`.
    pub kind: &'static str,
    /// Values counted.
    pub values: u64,
    /// Rows, those without a value among them.
    pub rows: u64,
    /// How far it is from the training data.
    #[serde(flatten)]
    pub score: ScoreShown,
    /// The share of rows without a value (0 to 1).
    pub missing: MissingShown,
    /// The share of rows outside of the plausible range (0 to 1).
    pub out_of_range_share: f64,
    /// The median of numbers, and between what the exact one lies.
    pub median: Option<EstimateShown>,
    /// Mean of numbers.
    pub mean: Option<f64>,
    /// Standard deviation of numbers.
    pub deviation: Option<f64>,
    /// What was learnt from known-good data, and whether this is outside of it.
    pub limits: Vec<LimitShown>,
    /// Whether one of the limits is left; null where nothing was learnt, or where less than half of one of
    /// the chunks was seen that limits were learnt from: so little strays further by itself.
    pub outside: Option<bool>,
    /// How often what came, beside the training data.
    pub distribution: Option<DistributionShown>,
}

/// A score, or why there is none. The fields are those of `lineside drift --json`.
#[derive(Debug, Clone, Default, Serialize, ToSchema)]
pub(crate) struct ScoreShown {
    /// The method, as in `sketch:jensenshannon`.
    pub method: Option<&'static str>,
    /// The score; null where it is infinite.
    pub score: Option<f64>,
    /// The exact one is not below.
    pub score_low: Option<f64>,
    /// Nor above.
    pub score_high: Option<f64>,
    /// What it is held against: a constant.
    pub threshold: Option<f64>,
    /// How: `>=`, `>`, `<=` or `<` is drift.
    pub comparison: Option<&'static str>,
    /// Whether that is drift.
    pub drifted: Option<bool>,
    /// Why there is no score.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_computable: Option<String>,
}

/// Rows without a value.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct MissingShown {
    /// Their share in the training data (0 to 1).
    pub reference: Option<f64>,
    /// Their share here.
    pub current: f64,
    /// Whether it is off the reference's by more than a tenth of that.
    pub drifted: Option<bool>,
}

/// A figure, and between what the exact one lies.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
pub(crate) struct EstimateShown {
    /// The figure.
    pub value: f64,
    /// The exact one is not below.
    pub low: f64,
    /// Nor above.
    pub high: f64,
}

/// A statistic beside its limits.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct LimitShown {
    /// `median`, `missing`, `out_of_range` or `drift`.
    pub statistic: &'static str,
    /// Its value.
    pub value: EstimateShown,
    /// Its mean over the chunks of known-good data.
    pub mean: f64,
    /// Below is outside.
    pub lower: Option<f64>,
    /// Above is outside.
    pub upper: Option<f64>,
    /// Whether it is outside for certain, whatever the sketch does not know.
    pub outside: bool,
}

/// Counts over the profile's bins or categories.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct DistributionShown {
    /// Of numbers: edges of the bins, one more than there are. Counts are those below the first edge, those
    /// of each bin, those above the last edge.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub edges: Option<Vec<f64>>,
    /// Of categories: their names. Counts are those of each, and at last of all others together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub categories: Option<Vec<String>>,
    /// Counts in the training data.
    pub reference: Vec<u64>,
    /// Counts here.
    pub current: Vec<u64>,
}

/// A column over a span of a series.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct PointShown {
    /// Its name.
    pub name: String,
    /// `input` or `output`.
    pub role: &'static str,
    /// Values counted.
    pub values: u64,
    /// As of the whole.
    pub score: Option<f64>,
    /// As of the whole.
    pub drifted: Option<bool>,
    /// As of the whole.
    pub median: Option<EstimateShown>,
    /// The share of rows without a value (0 to 1).
    pub missing_share: f64,
    /// The share of rows outside of the plausible range (0 to 1).
    pub out_of_range_share: f64,
    /// As of the whole.
    pub outside: Option<bool>,
}

/// How many columns have drifted.
#[derive(Debug, Clone, Default, Serialize, ToSchema)]
pub(crate) struct DriftedShown {
    /// The share of drifted ones among those that have a score (0 to 1).
    pub drifted_share: Option<f64>,
    /// Whether that is 0.5 or more.
    pub dataset_drift: bool,
    /// Outputs that have drifted.
    pub outputs_drifted: Vec<String>,
    /// Whether `confidence` has, if there is such an output and it has a score.
    pub confidence_drifted: Option<bool>,
}

impl ProfileShown {
    pub(super) fn of(profile: &Profile) -> ProfileShown {
        let (chunk_seconds, chunk_rows) = match profile.chunk() {
            Some(Chunk::Milliseconds(ms)) => (Some(ms as f64 / 1_000.0), None),
            Some(Chunk::Rows(rows)) => (None, Some(rows)),
            None => (None, None),
        };
        ProfileShown { chunk_seconds, chunk_rows, values_min: profile.values_min() }
    }
}

impl From<Estimate> for EstimateShown {
    fn from(Estimate { value, low, high }: Estimate) -> EstimateShown {
        EstimateShown { value, low, high }
    }
}

impl From<SketchScore> for ScoreShown {
    fn from(score: SketchScore) -> ScoreShown {
        ScoreShown {
            method: Some(score.method.name()),
            score: Some(score.score.value),
            score_low: Some(score.score.low),
            score_high: Some(score.score.high),
            threshold: Some(score.threshold),
            comparison: Some(score.method.comparison().sign()),
            drifted: Some(score.drifted),
            not_computable: None,
        }
    }
}

impl From<&Judged> for LimitShown {
    fn from(judged: &Judged) -> LimitShown {
        LimitShown {
            statistic: judged.statistic.name(),
            value: judged.estimate.into(),
            mean: judged.limits.mean,
            lower: judged.limits.lower,
            upper: judged.limits.upper,
            outside: judged.is_outside,
        }
    }
}

impl ColumnDriftShown {
    /// As much of it as a series has.
    pub(super) fn point(self) -> PointShown {
        PointShown {
            name: self.name,
            role: self.role,
            values: self.values,
            score: self.score.score,
            drifted: self.score.drifted,
            median: self.median,
            missing_share: self.missing.current,
            out_of_range_share: self.out_of_range_share,
            outside: self.outside,
        }
    }
}

impl DriftedShown {
    pub(super) fn of(columns: &[ColumnDriftShown]) -> DriftedShown {
        let scored: Vec<&ColumnDriftShown> =
            columns.iter().filter(|column| column.score.drifted.is_some()).collect();
        let is_drifted = |column: &&&ColumnDriftShown| column.score.drifted == Some(true);
        let drifted = scored.iter().filter(is_drifted).count();
        let dataset = DatasetDrift { columns: scored.len(), drifted };
        let outputs = scored.iter().filter(is_drifted).filter(|it| it.role == OUTPUT);
        let confidence = scored.iter().find(|column| column.is_confidence);
        DriftedShown {
            drifted_share: dataset.share(),
            dataset_drift: dataset.is_drift(DRIFT_SHARE),
            outputs_drifted: outputs.map(|column| column.name.clone()).collect(),
            confidence_drifted: confidence.and_then(|column| column.score.drifted),
        }
    }
}

const OUTPUT: &str = "output";

fn role_word(role: Role) -> &'static str {
    match role {
        Role::Input => "input",
        Role::Output => OUTPUT,
    }
}

/// Why there is no profile, if there is none.
pub(super) fn no_profile(found: &Found) -> Option<String> {
    found.as_ref().err().cloned()
}

/// All columns of an interval, outputs first, beside their profile. What the profile has and the interval does
/// not is told as well.
pub(super) fn columns(interval: &Interval, profile: Option<&Profile>) -> Vec<ColumnDriftShown> {
    let mut shown = Vec::new();
    for (role, summaries) in [(Role::Output, &interval.outputs), (Role::Input, &interval.inputs)] {
        let mut names: Vec<&str> = summaries.iter().map(|it| it.name.as_str()).collect();
        let known = profile.into_iter().flat_map(Profile::columns).filter(|it| it.role == role);
        names.extend(known.map(|it| it.name.as_str()));
        let mut seen = Vec::new();
        for name in names {
            if !seen.contains(&name) {
                seen.push(name);
                shown.push(column(interval, (role, name), summaries, profile));
            }
        }
    }
    shown
}

fn column(
    interval: &Interval,
    (role, name): (Role, &str),
    summaries: &[Summary],
    profile: Option<&Profile>,
) -> ColumnDriftShown {
    let known = profile.and_then(|profile| profile.column(role, name));
    let of_name = || summaries.iter().filter(|it| it.name == name);
    // Where a device has counted in two ways, what compares with the profile is looked at.
    let fits = |it: &&Summary| known.is_some_and(|known| sketched(&it.column, known).is_ok());
    let summary = of_name().find(fits).or_else(|| of_name().next());
    let mut shown = ColumnDriftShown {
        name: name.to_owned(),
        role: role_word(role),
        is_confidence: role == Role::Output && name == CONFIDENCE,
        kind: known.map_or("numerical", |known| known.marks.kind().name()),
        values: 0,
        rows: 0,
        score: ScoreShown::default(),
        missing: MissingShown {
            reference: known.map(|known| known.reference.missing_share()),
            current: 0.0,
            drifted: None,
        },
        out_of_range_share: 0.0,
        median: None,
        mean: None,
        deviation: None,
        limits: vec![],
        outside: None,
        distribution: None,
    };
    let why =
        |text: &str| ScoreShown { not_computable: Some(text.to_owned()), ..ScoreShown::default() };
    let Some(summary) = summary else {
        shown.score = why("no value came in this time");
        return shown;
    };
    count(&mut shown, summary, known);
    let (Some(known), Some(profile)) = (known, profile) else {
        shown.score = why(match profile {
            None => "the release has no profile",
            Some(_) => {
                "the profile of the release does not have it: build it anew with this column"
            }
        });
        return shown;
    };
    let missing = Missing::of_shares(known.reference.missing_share(), shown.missing.current);
    shown.missing.drifted = Some(missing.drifted);
    let sketch = match sketched(&summary.column, known) {
        Ok(sketch) => sketch,
        Err(text) => {
            shown.score = why(text);
            return shown;
        }
    };
    let values_min = profile.values_min();
    shown.score = match known.score(&sketch, values_min) {
        Ok(score) => score.into(),
        Err(error) => why(&error.to_string()),
    };
    shown.distribution = distribution(known, &sketch);
    let out_of_range = Some(summary.out_of_range);
    let judged = known.judge(&Observed { sketch, out_of_range }, values_min);
    let seen_ms = interval.end_unix_ms.saturating_sub(interval.start_unix_ms);
    let is_enough = match profile.chunk() {
        Some(Chunk::Milliseconds(chunk)) => seen_ms.saturating_mul(2) >= chunk,
        Some(Chunk::Rows(chunk)) => shown.rows.saturating_mul(2) >= chunk,
        None => false,
    };
    if !judged.is_empty() && is_enough {
        shown.outside = Some(judged.iter().any(|judged| judged.is_outside));
    }
    shown.limits = judged.iter().map(LimitShown::from).collect();
    shown
}

/// What is counted of a column, whatever its profile.
fn count(shown: &mut ColumnDriftShown, summary: &Summary, known: Option<&ColumnProfile>) {
    match &summary.column {
        Column::Numbers(numbers) => {
            shown.values = numbers.moments().count();
            shown.rows = shown
                .values
                .saturating_add(numbers.histogram().not_finite())
                .saturating_add(numbers.missing());
            shown.mean = numbers.moments().mean();
            shown.deviation = numbers.moments().deviation();
            shown.median = median(numbers, edges_of(numbers, known)).map(EstimateShown::from);
        }
        Column::Texts(texts) => {
            shown.values = texts.frequent().count_all();
            shown.rows = shown.values.saturating_add(texts.missing());
            shown.kind = "categorical";
        }
    }
    let share = |part: u64| part.min(shown.rows) as f64 / shown.rows.max(1) as f64;
    (shown.missing.current, shown.out_of_range_share) =
        (share(summary.column.missing()), share(summary.out_of_range));
}

/// The profile's edges, if these numbers were counted over them.
fn edges_of<'a>(numbers: &NumberColumn, known: Option<&'a ColumnProfile>) -> Option<&'a Edges> {
    match &known?.marks {
        Marks::Edges(edges) if numbers.has_edges(Some(edges)) => Some(edges),
        _ => None,
    }
}

fn distribution(known: &ColumnProfile, current: &ColumnSketch) -> Option<DistributionShown> {
    let counts = |sketch: &ColumnSketch| -> Option<Vec<u64>> {
        match sketch {
            ColumnSketch::Numbers(numbers) => {
                let bins = numbers.bins()?;
                Some([&[bins.below()], bins.counts(), &[bins.above()]].concat())
            }
            ColumnSketch::Categories(column) => {
                Some([column.counts().counts(), &[column.counts().other()]].concat())
            }
        }
    };
    let (edges, categories) = match &known.marks {
        Marks::Edges(edges) => (Some(edges.edges().to_vec()), None),
        Marks::Categories(names) => (None, Some(names.names().to_vec())),
    };
    let (reference, current) = (counts(&known.reference)?, counts(current)?);
    Some(DistributionShown { edges, categories, reference, current })
}

/// First moment and moment after the last, for people and programs.
pub(super) fn times_shown((start, end): (i64, i64)) -> (String, String) {
    (time_shown(start), time_shown(end))
}
