//! Distances between two distributions.

use super::shares::{Shares, counts, edges};
use crate::pair::{Group, Numbers, Tally};
use crate::sum::{sum, sum_of, variance};
use crate::verdict::NotComputable;

/// The smallest standard deviation that a distance is divided by.
const DEVIATION_MIN: f64 = 0.001;

/// `x ln(x / y)`, with its digits where the two are near each other; infinite where only `y` is nought.
fn relative_entropy(x: f64, y: f64) -> f64 {
    if x == 0.0 {
        return 0.0;
    }
    let ratio = x / y;
    if ratio > 0.5 && ratio < 2.0 { x * ((x - y) / y).ln_1p() } else { x * ratio.ln() }
}

fn normalised(shares: &[f64]) -> Vec<f64> {
    let whole = sum(shares);
    shares.iter().map(|share| share / whole).collect()
}

fn divergence(of: &[f64], from: &[f64]) -> f64 {
    let terms: Vec<f64> = of.iter().zip(from).map(|(x, y)| relative_entropy(*x, *y)).collect();
    sum(&terms)
}

/// The population stability index: Σ (r − c) ln(r / c) over bins without noughts (dimensionless).
pub(crate) fn stability_index(shares: &Shares) -> f64 {
    let Shares { reference, current } = shares.filled();
    let terms: Vec<f64> =
        reference.iter().zip(&current).map(|(r, c)| (r - c) * (r / c).ln()).collect();
    sum(&terms)
}

/// The Kullback-Leibler divergence of the reference from the current data over bins without noughts, both
/// brought to a sum of one (nats).
pub(crate) fn kullback_leibler(shares: &Shares) -> f64 {
    let Shares { reference, current } = shares.filled();
    divergence(&normalised(&reference), &normalised(&current))
}

/// The Jensen-Shannon distance: the root of the divergence in nats, √ln 2 at most.
pub(crate) fn jensen_shannon(shares: &Shares) -> f64 {
    let (reference, current) = (normalised(&shares.reference), normalised(&shares.current));
    let middle: Vec<f64> = reference.iter().zip(&current).map(|(r, c)| (r + c) / 2.0).collect();
    ((divergence(&reference, &middle) + divergence(&current, &middle)) / 2.0).sqrt()
}

/// √(1 − Σ √(r c)) over values (0 to 1).
pub(crate) fn hellinger(tally: &Tally) -> f64 {
    let (rows, current) = (tally.rows.0 as f64, tally.rows.1 as f64);
    let affinity =
        sum_of(&tally.counts, |(r, c)| ((*r as f64 / rows) * (*c as f64 / current)).sqrt());
    (1.0 - affinity.clamp(0.0, 1.0)).sqrt()
}

/// √(1 − Σ √(r c) w) over bins of width w, r and c being densities. The number of bins goes by the number of
/// distinct values.
///
/// # Errors
/// [`NotComputable::Bins`].
pub(super) fn hellinger_of_numbers(numbers: &Numbers) -> Result<f64, NotComputable> {
    let edges = edges(numbers, numbers.groups().len() as f64)?;
    let bins = edges.len() - 1;
    let width = (edges[bins] - edges[0]) / bins as f64;
    let densities = |sorted: &[f64]| -> Vec<f64> {
        let counts = counts(sorted, &edges);
        let rows = counts.iter().sum::<u64>() as f64;
        let each = counts.iter().zip(edges.windows(2));
        each.map(|(count, edge)| *count as f64 / (edge[1] - edge[0]) / rows).collect()
    };
    let (reference, current) =
        (densities(&numbers.reference.sorted), densities(&numbers.current.sorted));
    let affinity: f64 = reference.iter().zip(&current).map(|(r, c)| (r * c).sqrt() * width).sum();
    Ok((1.0 - affinity.clamp(0.0, 1.0)).sqrt())
}

/// The area between the two cumulative distributions, in standard deviations of the reference (divided by
/// n), of which none is below [`DEVIATION_MIN`].
pub(super) fn wasserstein(numbers: &Numbers) -> f64 {
    let deviation = variance(&numbers.reference.values).sqrt();
    between(numbers, f64::abs) / deviation.max(DEVIATION_MIN)
}

/// √2 times the root of the squared area between the two cumulative distributions (in the column's unit to
/// the power of ½).
pub(super) fn energy(numbers: &Numbers) -> f64 {
    2f64.sqrt() * between(numbers, |difference| difference * difference).sqrt()
}

/// The integral of what `of` makes of the difference of the cumulative distributions.
fn between(numbers: &Numbers, of: impl Fn(f64) -> f64) -> f64 {
    let (rows, current) = (numbers.reference.count(), numbers.current.count());
    let groups = numbers.groups();
    let (mut below, mut terms) = ((0, 0), Vec::with_capacity(groups.len()));
    for pair in groups.windows(2) {
        let [Group { value, reference: r, current: c }, next] = pair else { continue };
        below = (below.0 + r, below.1 + c);
        terms.push(of(below.0 as f64 / rows - below.1 as f64 / current) * (next.value - value));
    }
    sum(&terms)
}
