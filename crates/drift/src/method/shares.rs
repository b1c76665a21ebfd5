//! Columns in bins: numpy's equal-width bins by Sturges' rule, or one for each distinct value.

use crate::pair::{Numbers, Tally};
use crate::verdict::NotComputable;

/// A numerical reference with no more distinct values than these has a bin for each.
const DISTINCT_MAX: usize = 20;

/// The share of each side's values in each bin: shape `[n_bins]` each.
pub(crate) struct Shares {
    pub reference: Vec<f64>,
    pub current: Vec<f64>,
}

/// The shares of both sides.
///
/// Numbers of which the reference has more than [`DISTINCT_MAX`] distinct values lie in equal-width bins
/// between the smallest and the largest of both sides.
///
/// # Errors
/// [`NotComputable::Bins`].
pub(super) fn shares(numbers: Option<&Numbers>, tally: &Tally) -> Result<Shares, NotComputable> {
    let distinct = tally.counts.iter().filter(|(reference, _)| *reference > 0).count();
    let counts = match numbers {
        Some(numbers) if distinct > DISTINCT_MAX => {
            let size = numbers.reference.count() + numbers.current.count();
            let edges = edges(numbers, size)?;
            let reference = counts(&numbers.reference.sorted, &edges);
            reference.into_iter().zip(counts(&numbers.current.sorted, &edges)).collect()
        }
        _ => tally.counts.clone(),
    };
    Ok(Shares::in_bins(&counts, tally.rows))
}

impl Shares {
    /// One bin for each value.
    pub(crate) fn of(tally: &Tally) -> Shares {
        Shares::in_bins(&tally.counts, tally.rows)
    }

    fn in_bins(counts: &[(u64, u64)], rows: (u64, u64)) -> Shares {
        let (rows, current) = (rows.0 as f64, rows.1 as f64);
        Shares {
            reference: counts.iter().map(|(count, _)| *count as f64 / rows).collect(),
            current: counts.iter().map(|(_, count)| *count as f64 / current).collect(),
        }
    }

    /// With something in every bin: on each side, noughts become 1e-4, or a millionth of the smallest share
    /// where that is no larger than 1e-4. The sum is not mended.
    pub(super) fn filled(&self) -> Shares {
        let fill = |shares: &[f64]| {
            let least =
                shares.iter().copied().filter(|share| *share != 0.0).fold(f64::INFINITY, f64::min);
            let nought = if least <= 1e-4 { least / 1e6 } else { 1e-4 };
            shares.iter().map(|share| if *share == 0.0 { nought } else { *share }).collect()
        };
        Shares { reference: fill(&self.reference), current: fill(&self.current) }
    }
}

/// The edges of numpy's bins by Sturges' rule for `size` values between the smallest and the largest of both
/// sides (`numpy.histogram_bin_edges(…, bins="sturges")`): shape `[n_bins + 1]`. Integers have bins no narrower
/// than 1.
///
/// # Errors
/// [`NotComputable::Bins`] if the range overflows, or has less doubles than bins.
pub(super) fn edges(numbers: &Numbers, size: f64) -> Result<Vec<f64>, NotComputable> {
    let (least, greatest) = (numbers.least(), numbers.greatest());
    let failure = Err(NotComputable::Bins { least, greatest });
    let range = greatest - least;
    let mut width = range / (size.log2() + 1.0);
    if numbers.whole && width < 1.0 && width > 0.0 {
        width = 1.0;
    }
    if !range.is_finite() || (range > 0.0 && width == 0.0) {
        return failure;
    }
    let (first, last) = if range == 0.0 { (least - 0.5, least + 0.5) } else { (least, greatest) };
    let bins = if range == 0.0 { 1 } else { (range / width).ceil() as usize };
    let step = (last - first) / bins as f64;
    let mut edges: Vec<f64> = (0..=bins).map(|at| at as f64 * step + first).collect();
    edges[bins] = last;
    if edges.windows(2).any(|pair| pair[0] >= pair[1]) {
        return failure;
    }
    Ok(edges)
}

/// How many values lie in each bin: from its lower edge on and below its upper one, which belongs to the last
/// bin alone.
pub(super) fn counts(sorted: &[f64], edges: &[f64]) -> Vec<u64> {
    let (last, lower) =
        edges.split_last().map_or((f64::NAN, [].as_slice()), |(last, lower)| (*last, lower));
    let mut places: Vec<usize> =
        lower.iter().map(|edge| sorted.partition_point(|value| value < edge)).collect();
    places.push(sorted.partition_point(|value| *value <= last));
    places.windows(2).map(|pair| (pair[1] - pair[0]) as u64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pair::Sample;

    fn numbers(values: &[f64], whole: bool) -> Numbers {
        Numbers {
            reference: Sample::new(values.to_vec()),
            current: Sample::new(values.to_vec()),
            whole,
        }
    }

    #[test]
    fn edges_are_those_of_numpy() {
        let values: Vec<f64> = (0..30).map(|at| f64::from(at) / 10.0).collect();
        // numpy.histogram_bin_edges(values, "sturges") of numpy 2.4: ceil(log2(30) + 1) bins.
        let edges_of = |whole, values: &[f64]| edges(&numbers(values, whole), values.len() as f64);
        assert_eq!(edges_of(false, &values).unwrap().len(), 7);
        let integers: Vec<f64> = (0..4).map(f64::from).collect();
        assert_eq!(edges_of(true, &integers).unwrap(), [0.0, 1.0, 2.0, 3.0]);
        assert_eq!(edges_of(false, &[7.5; 9]).unwrap(), [7.0, 8.0]);
        assert!(edges_of(false, &[-1e308, 1e308]).is_err());
        assert!(edges_of(false, &[1.0, 1.0 + f64::EPSILON]).is_err(), "no double lies between");
    }

    #[test]
    fn an_edge_belongs_to_the_bin_above_and_the_last_one_to_the_last_bin() {
        assert_eq!(counts(&[0.0, 1.0, 1.0, 1.5, 2.0], &[0.0, 1.0, 2.0]), [1, 4]);
        assert_eq!(counts(&[], &[0.0, 1.0]), [0]);
    }

    #[test]
    fn noughts_become_small_shares_on_each_side_by_itself() {
        let shares = Shares { reference: vec![0.0, 0.5, 0.5], current: vec![0.0, 1e-4, 0.9999] };
        let filled = shares.filled();
        assert_eq!(filled.reference, [1e-4, 0.5, 0.5]);
        assert_eq!(filled.current, [1e-4 / 1e6, 1e-4, 0.9999]);
    }
}
