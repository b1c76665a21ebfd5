//! Scores of two sketches.

use super::column::{ColumnSketch, Marks};
use super::known::{Estimate, Known, Pair};
use crate::column::Kind;
use crate::method::{Comparison, Method, UnknownMethod, counts, distance, ks, shares};
use crate::pair::Tally;
use crate::verdict::Side;
use lineside_sketch::{Edges, NumberColumn};
use std::fmt;
use std::str::FromStr;

/// Values on each side below which there is no score, where nobody says otherwise.
pub const VALUES_MIN: u64 = 30;
/// Deviations of values rounded to steps of 2^-23 are off by no more than half a step.
const DEVIATION_ERROR: f64 = 1.0 / 16_777_216.0;
/// The smallest standard deviation that a distance is divided by.
const DEVIATION_MIN: f64 = 0.001;
/// What is left of rounding, as a share of a figure.
const ROUNDING: f64 = 1e-12;

/// A way to compare two sketches: that of the exact method, as far as sketches know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SketchMethod(Method);

use Method::{ChiSquare, Hellinger, JensenShannon, Ks, KullbackLeibler, Psi, Wasserstein, Z};

impl SketchMethod {
    /// All of them.
    pub const ALL: [SketchMethod; 8] = [
        SketchMethod(Ks),
        SketchMethod(Wasserstein),
        SketchMethod(ChiSquare),
        SketchMethod(Z),
        SketchMethod(JensenShannon),
        SketchMethod(Psi),
        SketchMethod(KullbackLeibler),
        SketchMethod(Hellinger),
    ];
    /// The one that profiles have unless they say otherwise: bounded, symmetric, and not moved far by a single
    /// value however large.
    pub const PROFILE: SketchMethod = SketchMethod(JensenShannon);

    /// The one that stands for an exact method; none where sketches do not know enough.
    pub fn of(exact: Method) -> Option<SketchMethod> {
        SketchMethod::ALL.into_iter().find(|SketchMethod(method)| *method == exact)
    }

    /// The exact one.
    pub fn exact(self) -> Method {
        self.0
    }

    /// Its name, never that of the exact one.
    pub fn name(self) -> &'static str {
        match self.0 {
            Ks => "sketch:ks",
            Wasserstein => "sketch:wasserstein",
            ChiSquare => "sketch:chisquare",
            Z => "sketch:z",
            JensenShannon => "sketch:jensenshannon",
            Psi => "sketch:psi",
            KullbackLeibler => "sketch:kl_div",
            // There is none but those of the list.
            _ => "sketch:hellinger",
        }
    }

    /// As [`Method::default_threshold`].
    pub fn default_threshold(self) -> f64 {
        self.0.default_threshold()
    }

    /// As [`Method::comparison`].
    pub fn comparison(self) -> Comparison {
        self.0.comparison()
    }

    /// Whether it compares columns of this kind. Bins are categories, too.
    pub fn applies_to(self, kind: Kind) -> bool {
        match self.0 {
            Ks | Wasserstein => kind == Kind::Numerical,
            _ => kind != Kind::Text,
        }
    }

    /// The one that is taken where none is named: as [`Method::default_for`].
    pub fn default_for(kind: Kind, reference: u64, distinct: usize) -> Option<SketchMethod> {
        SketchMethod::of(Method::default_for(kind, reference, distinct)?)
    }
}

impl fmt::Display for SketchMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for SketchMethod {
    type Err = UnknownMethod;

    fn from_str(name: &str) -> Result<SketchMethod, UnknownMethod> {
        let found = SketchMethod::ALL.into_iter().find(|method| method.name() == name);
        found.ok_or_else(|| UnknownMethod::among(name, SketchMethod::ALL.map(SketchMethod::name)))
    }
}

/// A score of two sketches.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SketchScore {
    /// The method that gave it.
    pub method: SketchMethod,
    /// As [`Score::score`](crate::Score::score), and between what the exact one of the same values lies: over the
    /// same bins where the method is about bins.
    pub score: Estimate,
    /// What it is held against.
    pub threshold: f64,
    /// Whether it is drift, by the method's comparison.
    pub drifted: bool,
}

/// Why two sketches have no score.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum NoScore {
    /// Too few values for any method to say something.
    #[error("the {side} has {values} values, and {needed} are needed: collect more")]
    TooFew {
        /// Where.
        side: Side,
        /// Those that are there.
        values: u64,
        /// Fewest that there have to be.
        needed: u64,
    },
    /// Not for this kind of column.
    #[error("{method} is not for {} columns: choose sketch:jensenshannon", .kind.name())]
    Applies {
        /// The method.
        method: SketchMethod,
        /// The column's kind.
        kind: Kind,
    },
    /// The sketch was not counted over the profile's edges or categories.
    #[error(
        "the {side} was counted over other edges or categories: count it with the same profile"
    )]
    OtherMarks {
        /// Where.
        side: Side,
    },
    /// More than two values.
    #[error("{method} is for two values, and there are {values}: choose sketch:chisquare")]
    NotBinary {
        /// The method.
        method: SketchMethod,
        /// Those that are there.
        values: usize,
    },
    /// Values so large that their deviation or distance is not known.
    #[error(
        "{method} has no value for numbers as large as these: choose sketch:ks, or a larger unit"
    )]
    TooLarge {
        /// The method.
        method: SketchMethod,
    },
    /// The formula divides nought by nought.
    #[error("{method} has no value for these data: choose sketch:jensenshannon")]
    Undefined {
        /// The method.
        method: SketchMethod,
    },
}

/// Compares what was counted of the current data with the reference, both over `marks`.
///
/// `values_min` is the least number of values on each side, usually [`VALUES_MIN`]; one is needed whatever it is.
///
/// # Errors
/// [`NoScore`].
pub fn score(
    reference: &ColumnSketch,
    current: &ColumnSketch,
    marks: &Marks,
    method: SketchMethod,
    threshold: Option<f64>,
    values_min: u64,
) -> Result<SketchScore, NoScore> {
    for (side, sketch) in [(Side::Reference, reference), (Side::Current, current)] {
        if !marks.are_of(sketch) {
            return Err(NoScore::OtherMarks { side });
        }
        let (values, needed) = (sketch.values(), values_min.max(1));
        if values < needed {
            return Err(NoScore::TooFew { side, values, needed });
        }
    }
    let kind = marks.kind();
    let score = match (reference, current, marks) {
        _ if !method.applies_to(kind) => return Err(NoScore::Applies { method, kind }),
        (ColumnSketch::Numbers(reference), ColumnSketch::Numbers(current), Marks::Edges(edges))
            if matches!(method.0, Ks | Wasserstein) =>
        {
            of_order(reference, current, edges, method)?
        }
        _ => Estimate::exact(of_counts(&tally(reference, current), method)?),
    };
    if score.value.is_nan() {
        return Err(NoScore::Undefined { method });
    }
    let threshold = threshold.unwrap_or(method.default_threshold());
    let drifted = method.comparison().is_drift(score.value, threshold);
    Ok(SketchScore { method, score, threshold, drifted })
}

/// How often each bin or category came on each side; those that are empty on both are left out.
fn tally(reference: &ColumnSketch, current: &ColumnSketch) -> Tally {
    let counts: Vec<(u64, u64)> = cells(reference).into_iter().zip(cells(current)).collect();
    let counts: Vec<(u64, u64)> = counts.into_iter().filter(|both| *both != (0, 0)).collect();
    let of = |side: fn(&(u64, u64)) -> u64| counts.iter().map(side).fold(0, u64::saturating_add);
    let rows = (of(|both| both.0), of(|both| both.1));
    Tally { counts, rows, mixed: false }
}

/// Counts in an order that both sides have: what lies outside of the edges, or is no category, at last.
fn cells(sketch: &ColumnSketch) -> Vec<u64> {
    match sketch {
        ColumnSketch::Numbers(numbers) => match numbers.bins() {
            Some(bins) => [&[bins.below()], bins.counts(), &[bins.above()]].concat(),
            None => vec![],
        },
        ColumnSketch::Categories(column) => {
            [column.counts().counts(), &[column.counts().other()]].concat()
        }
    }
}

/// The formulas of the exact methods, over bins and categories. Counts are exact, so these are.
fn of_counts(tally: &Tally, method: SketchMethod) -> Result<f64, NoScore> {
    let values = tally.counts.len();
    Ok(match method.0 {
        ChiSquare => counts::chi_square(tally),
        Z if values > 2 => return Err(NoScore::NotBinary { method, values }),
        Z => counts::z(tally).map_err(|_| NoScore::Undefined { method })?,
        Psi => distance::stability_index(&shares::Shares::of(tally)),
        KullbackLeibler => distance::kullback_leibler(&shares::Shares::of(tally)),
        JensenShannon => distance::jensen_shannon(&shares::Shares::of(tally)),
        _ => distance::hellinger(tally),
    })
}

/// Scores that go by the order of numbers.
fn of_order(
    reference: &NumberColumn,
    current: &NumberColumn,
    edges: &Edges,
    method: SketchMethod,
) -> Result<Estimate, NoScore> {
    let undefined = || NoScore::Undefined { method };
    let known = |column| Known::of(column, Some(edges)).ok_or_else(undefined);
    let pair = Pair::new(&known(reference)?, &known(current)?);
    if method.0 == Ks {
        let distance = pair.distance();
        let sizes = (reference.moments().count(), current.moments().count());
        let p = |distance: f64| ks::p_value_of(sizes.0, sizes.1, distance);
        let value = p(distance.low);
        return Ok(Estimate { value, low: p(distance.high).min(value), high: value });
    }
    let too_large = NoScore::TooLarge { method };
    if reference.moments().clamped() > 0 {
        return Err(too_large);
    }
    let deviation = reference.moments().deviation().ok_or_else(undefined)?;
    let unit = |deviation: f64| deviation.max(DEVIATION_MIN);
    let area = pair.area();
    let off = DEVIATION_ERROR + ROUNDING * deviation;
    let score = Estimate {
        value: area.value / unit(deviation),
        low: area.low * (1.0 - ROUNDING) / unit(deviation + off),
        high: area.high * (1.0 + ROUNDING) / unit(deviation - off),
    };
    if score.high.is_finite() { Ok(score) } else { Err(too_large) }
}
