//! Sketches: what a device sends, and what an earlier program kept.

use lineside_sketch::{
    Bins, Categories, CategoryColumn, CoMoments, Distinct, Edges, Frequent, Histogram, Moments,
    NumberColumn, Sketch, TextColumn,
};

/// Reads a sketch of any kind. What was read would be written alike, takes no order of merging, and
/// has figures.
pub fn sketch(input: &[u8]) -> bool {
    let edges = edges();
    read(input, |moments: &mut Moments, other| {
        moments.merge(other);
        assert!(moments.deviation().is_none_or(f64::is_finite) && moments.mean() <= Some(f64::MAX));
    }) || read(input, |histogram: &mut Histogram, other| {
        histogram.merge(other);
        assert!(histogram.quantile(0.5).is_none_or(f64::is_finite));
        assert!(histogram.distance(other).is_none_or(|distance| distance <= 1.0));
    }) || read(input, |bins: &mut Bins, other| {
        assert_eq!(bins.merge(other), Ok(()));
        // It has got edges of its own, or these.
        assert_eq!(bins.add(&edges, 1.0).is_ok(), bins.edges() == edges.id());
    }) || read(input, |frequent: &mut Frequent, other| {
        frequent.merge(other);
        let bounds = frequent.estimate("worn");
        assert!(bounds.low <= bounds.high && bounds.high <= frequent.count_all());
        assert!(frequent.rest_most() <= frequent.rest());
    }) || read(input, |distinct: &mut Distinct, other| {
        let before = distinct.clone();
        distinct.merge(other);
        assert_eq!(*distinct, before, "it has seen nothing new");
        assert!(distinct.estimate() >= 0.0);
    }) || read(input, |moments: &mut CoMoments, other| {
        moments.merge(other);
        assert!(moments.covariance().is_none_or(f64::is_finite));
        assert!(moments.correlation().is_none_or(|correlation| correlation.abs() <= 1.0));
    }) || read(input, |column: &mut NumberColumn, other| {
        assert_eq!(column.merge(other), Ok(()));
    }) || read(input, |column: &mut TextColumn, other| column.merge(other))
        || read(input, |column: &mut CategoryColumn, other| {
            assert_eq!(column.merge(other), Ok(()));
        })
}

/// Reads a sketch of one kind, and merges it with what has taken a little more, either way around.
fn read<T>(input: &[u8], merge: impl Fn(&mut T, &T)) -> bool
where
    T: Sketch + Clone + PartialEq + std::fmt::Debug,
{
    let Ok(sketch) = T::decode(input) else { return false };
    match input[1] {
        1 => assert_eq!(T::decode(&sketch.encode()).as_ref(), Ok(&sketch)),
        _ => assert_eq!(sketch.encode(), input, "it could be written otherwise"),
    }
    let (mut once, mut twice) = (sketch.clone(), sketch.clone());
    merge(&mut once, &sketch);
    merge(&mut twice, &once);
    merge(&mut once, &sketch);
    assert_eq!(once, twice, "an order of merging shows");
    true
}

fn edges() -> Edges {
    Edges::new(vec![0.0, 1.0, 10.0]).expect("edges")
}

pub(crate) fn sketches() -> Vec<Vec<u8>> {
    let edges = edges();
    let (mut bins, mut together) = (Bins::new(&edges), CoMoments::default());
    let (mut numbers, mut texts) = (NumberColumn::new(Some(&edges)), TextColumn::default());
    let categories = Categories::new(vec!["part 1".into(), "part 2".into()]).expect("in order");
    let mut named = CategoryColumn::new(&categories);
    let mut sketches = vec![numbers.encode(), texts.encode()];
    for i in 0..100 {
        let value = f64::from(i % 60) * 0.25 - 1.0;
        bins.add(&edges, value).expect("its own edges");
        numbers.add(Some(&edges), value).expect("its own edges");
        together.add(value, f64::from(i % 7));
        texts.add(&format!("part {}", i % 40));
        named.add(&categories, &format!("part {}", i % 40)).expect("its own categories");
        // Few values, which are kept otherwise than many, and then these.
        if [5, 99].contains(&i) {
            sketches.extend([bins.encode(), together.encode(), numbers.encode(), texts.encode()]);
            sketches.extend([numbers.moments().encode(), numbers.histogram().encode()]);
            sketches.push(named.encode());
            sketches.extend([texts.frequent().encode(), texts.distinct().encode()]);
        }
    }
    sketches
}
