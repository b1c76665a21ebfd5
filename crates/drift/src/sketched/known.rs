//! What a sketch knows of a distribution for certain: at some places, how many values lie below.

use lineside_sketch::{Edges, NumberColumn};

/// A figure, and between what the exact one lies.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Estimate {
    /// The figure.
    pub value: f64,
    /// The exact one is not below this.
    pub low: f64,
    /// Nor above this.
    pub high: f64,
}

impl Estimate {
    /// A figure that is exact.
    pub fn exact(value: f64) -> Estimate {
        Estimate { value, low: value, high: value }
    }
}

/// Places, from the smallest on, with how many values lie below each: ends of buckets, edges of bins, the
/// least value and the number behind the greatest.
pub(super) struct Known {
    places: Vec<(f64, u64)>,
    count: u64,
}

impl Known {
    /// What is known of a column; of bins only with their edges. None without values.
    pub fn of(column: &NumberColumn, edges: Option<&Edges>) -> Option<Known> {
        let (least, greatest) = column.moments().range()?;
        let count = column.moments().count();
        let mut places = vec![(least, 0), (greatest.next_up(), count)];
        let mut passed = 0u64;
        for (from, to, inside) in column.histogram().ranges() {
            places.push((from, passed));
            passed = passed.saturating_add(inside);
            places.push((to, passed));
        }
        if let (Some(bins), Some(edges)) = (column.bins(), edges)
            && bins.edges() == edges.id()
        {
            let mut passed = bins.below();
            let inner = edges.edges().iter().zip(bins.counts());
            for (edge, inside) in inner {
                places.push((*edge, passed));
                passed = passed.saturating_add(*inside);
            }
            // The last bin holds its upper edge.
            places.extend(edges.edges().last().map(|last| (last.next_up(), passed)));
        }
        places.retain(|(at, _)| (least..=greatest.next_up()).contains(at));
        places.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        places.dedup_by_key(|(at, _)| *at);
        // Parts that contradict each other, in bytes from elsewhere, shall not make counts fall.
        let mut most = 0;
        for (_, below) in &mut places {
            most = most.max(*below).min(count);
            *below = most;
        }
        Some(Known { places, count })
    }

    /// The share of values below `at`: at least, and at most.
    fn below(&self, at: f64) -> (f64, f64) {
        let share = |count: u64| count as f64 / self.count as f64;
        match self.places.binary_search_by(|(place, _)| place.total_cmp(&at)) {
            Ok(found) => (share(self.places[found].1), share(self.places[found].1)),
            Err(0) => (0.0, 0.0),
            Err(behind) => {
                let before = self.places[behind - 1].1;
                (share(before), share(self.places.get(behind).map_or(before, |(_, it)| *it)))
            }
        }
    }

    /// The value of this rank, from 1.
    fn ranked(&self, rank: u64) -> Option<Estimate> {
        let behind = self.places.iter().position(|(_, below)| *below >= rank)?;
        let (low, _) = *self.places.get(behind.checked_sub(1)?)?;
        // It is below that place, so at most the number before.
        let high = self.places[behind].0.next_down().max(low);
        Some(Estimate { value: low + (high - low) / 2.0, low, high })
    }
}

/// The median: the value below or at which half of the values lie, of an even number the lower of the two in
/// the middle. None without values.
///
/// Half as far off at most as bucket and bin that it lies in reach together.
pub fn median(column: &NumberColumn, edges: Option<&Edges>) -> Option<Estimate> {
    Known::of(column, edges)?.ranked(column.moments().count().div_ceil(2))
}

/// Two distributions side by side: at every place that either knows, the shares below.
pub(super) struct Pair {
    places: Vec<Place>,
}

/// A place, and the share below it of the reference and of the current values: at least, and at most.
type Place = (f64, (f64, f64), (f64, f64));

impl Pair {
    pub fn new(reference: &Known, current: &Known) -> Pair {
        let all = reference.places.iter().chain(&current.places);
        let mut places: Vec<f64> = all.map(|(at, _)| *at).collect();
        places.sort_by(f64::total_cmp);
        places.dedup();
        let each = places.into_iter();
        Pair { places: each.map(|at| (at, reference.below(at), current.below(at))).collect() }
    }

    /// The largest distance of the two cumulative distributions (0 to 1). The figure is the lower bound: what
    /// is certainly there.
    pub fn distance(&self) -> Estimate {
        let apart = |(_, r, c): &Place| (r.0 - c.1).max(c.0 - r.1);
        let low = self.places.iter().map(apart).fold(0.0, f64::max);
        let between = self.places.windows(2).map(|pair| {
            let [(_, r, c), (_, more_r, more_c)] = pair else { return 0.0 };
            (more_r.1 - c.0).max(more_c.1 - r.0)
        });
        let high = between.fold(low, f64::max);
        Estimate { value: low, low, high: high.min(1.0) }
    }

    /// The area between the two cumulative distributions, in the column's unit. The figure takes values to lie
    /// evenly between two places.
    pub fn area(&self) -> Estimate {
        let mut area = Estimate::exact(0.0);
        for pair in self.places.windows(2) {
            let [(from, r, c), (to, more_r, more_c)] = pair else { continue };
            let width = to.min(f64::MAX) - from;
            area.low += width * (r.0 - more_c.1).max(c.0 - more_r.1).max(0.0);
            area.high += width * (more_r.1 - c.0).max(more_c.1 - r.0).max(0.0);
            let middle = |(low, high): (f64, f64)| (low + high) / 2.0;
            let (first, last) = (middle(*r) - middle(*c), middle(*more_r) - middle(*more_c));
            let both = first.abs() + last.abs();
            area.value += width
                * match first * last < 0.0 {
                    // A line that crosses nought bounds two triangles.
                    true => (first * first + last * last) / (2.0 * both),
                    false => both / 2.0,
                };
        }
        area.value = area.value.clamp(area.low, area.high.max(area.low));
        area
    }
}
