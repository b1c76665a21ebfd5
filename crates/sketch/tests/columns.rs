//! What holds of everything that is kept of a column: how it merges, and how large it gets.

#![allow(clippy::unwrap_used)] // A test stops at what does not hold.

use lineside_sketch::{
    BINS_MAX, BUCKETS_MAX, CATEGORIES_MAX, COLUMN_BYTES_MAX, Categories, CategoryColumn,
    DecodeError, ENCODED_BYTES_MAX, Edges, MergeError, NumberColumn, Sketch, TextColumn, VERSION,
};
use proptest::prelude::*;

fn edges() -> Edges {
    Edges::new((0..=10).map(|edge| f64::from(edge) * 10.0 - 50.0).collect()).unwrap()
}

fn numbers(values: &[Option<f64>]) -> NumberColumn {
    let edges = edges();
    let mut column = NumberColumn::new(Some(&edges));
    for value in values {
        match value {
            Some(value) => column.add(Some(&edges), *value).unwrap(),
            None => column.add_missing(),
        }
    }
    column
}

fn texts(values: &[Option<u8>]) -> TextColumn {
    let mut column = TextColumn::default();
    for value in values {
        match value {
            Some(value) => column.add(&format!("{value}")),
            None => column.add_missing(),
        }
    }
    column
}

/// Joins two neighbours, or any two, until one is left.
fn joined<T>(mut parts: Vec<T>, choices: &[(usize, usize)], merge: impl Fn(&mut T, &T)) -> T {
    for (one, other) in choices.iter().cycle() {
        if parts.len() == 1 {
            break;
        }
        let part = parts.remove(one % parts.len());
        let at = other % parts.len();
        merge(&mut parts[at], &part);
    }
    parts.remove(0)
}

fn number() -> impl Strategy<Value = Option<f64>> {
    prop_oneof![
        4 => (-60f64..60.0).prop_map(Some),
        2 => (-5i32..5).prop_map(|whole| Some(f64::from(whole) * 10.0)),
        1 => (-300f64..300.0).prop_map(|exponent| Some(10f64.powf(exponent))),
        1 => Just(Some(f64::NAN)),
        1 => Just(None),
    ]
}

#[test]
fn a_text_that_came_so_often_is_so_many_texts() {
    let categories = Categories::new(vec!["0".into(), "1".into()]).unwrap();
    let [mut often, mut one_by_one] = [(); 2].map(|()| CategoryColumn::new(&categories));
    for at in 0..40 {
        let (text, times) = (at.to_string(), at % 7);
        often.add_times(&categories, &text, times).unwrap();
        (0..times).for_each(|_| one_by_one.add(&categories, &text).unwrap());
    }
    often.add_missing_rows(3);
    (0..3).for_each(|_| one_by_one.add_missing());
    assert_eq!(often, one_by_one);
    assert_eq!(CategoryColumn::decode(&often.encode()), Ok(often));
}

proptest! {
    #[test]
    fn values_taken_at_once_are_those_taken_one_by_one(
        values in prop::collection::vec(
            prop_oneof![
                2 => -60f64..60.0,
                1 => (-60i32..60).prop_map(f64::from),
                1 => (-300f64..300.0).prop_map(|exponent| 10f64.powf(exponent)),
            ],
            0..700,
        ),
        odd in prop::collection::vec((any::<prop::sample::Index>(), any::<u64>()), 0..3),
        split in any::<prop::sample::Index>(),
        has_edges: bool,
    ) {
        let mut values = values;
        for (at, bits) in odd {
            if !values.is_empty() {
                let at = at.index(values.len());
                values[at] = f64::from_bits(bits);
            }
        }
        let edges = has_edges.then(edges);
        let mut one_by_one = NumberColumn::new(edges.as_ref());
        values.iter().for_each(|value| one_by_one.add(edges.as_ref(), *value).unwrap());
        let mut at_once = NumberColumn::new(edges.as_ref());
        let (first, second) = values.split_at(split.index(values.len() + 1));
        at_once.add_all(edges.as_ref(), first).unwrap();
        at_once.add_all(edges.as_ref(), second).unwrap();
        prop_assert_eq!(at_once, one_by_one);
    }

    #[test]
    fn any_split_order_and_grouping_gives_the_same_bytes(
        values in prop::collection::vec(number(), 0..160),
        cuts in prop::collection::vec(0usize..160, 1..6),
        choices in prop::collection::vec((0usize..9, 0usize..9), 1..9),
    ) {
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (values.len() + 1)).collect();
        cuts.extend([0, values.len()]);
        cuts.sort_unstable();
        let parts = cuts.windows(2).map(|cut| numbers(&values[cut[0]..cut[1]])).collect();
        let merged = joined(parts, &choices, |part, other| part.merge(other).unwrap());
        let whole = numbers(&values);
        prop_assert_eq!(&merged, &whole);
        prop_assert_eq!(merged.encode(), whole.encode());
        prop_assert_eq!(NumberColumn::decode(&whole.encode()), Ok(whole));

        let classes: Vec<Option<u8>> =
            values.iter().map(|value| value.map(|value| value as i8 as u8)).collect();
        let parts = cuts.windows(2).map(|cut| texts(&classes[cut[0]..cut[1]])).collect();
        let merged = joined(parts, &choices, TextColumn::merge);
        let whole = texts(&classes);
        prop_assert_eq!(&merged, &whole);
        prop_assert_eq!(merged.encode(), whole.encode());
        prop_assert_eq!(TextColumn::decode(&whole.encode()), Ok(whole));
    }

    #[test]
    fn what_is_read_would_be_written_alike(
        values in prop::collection::vec(number(), 0..60),
        at in any::<prop::sample::Index>(),
        byte: u8,
    ) {
        let mut bytes = numbers(&values).encode();
        // Behind its version: what is read of one before is written in the newest.
        let at = 2 + at.index(bytes.len() - 2);
        bytes[at] = byte;
        if let Ok(column) = NumberColumn::decode(&bytes) {
            prop_assert_eq!(column.encode(), bytes);
        }
    }
}

#[test]
fn columns_with_and_without_edges_do_not_merge() {
    let edges = edges();
    let (mut with, mut without) = (NumberColumn::new(Some(&edges)), NumberColumn::new(None));
    assert_eq!(with.merge(&without), Err(MergeError::OneHasNoEdges));
    assert_eq!(without.add(Some(&edges), 1.0), Err(MergeError::OneHasNoEdges));
    assert_eq!(with.add(None, 1.0), Err(MergeError::OneHasNoEdges));
    assert_eq!(with.add_all(None, &[1.0]), Err(MergeError::OneHasNoEdges));
    assert_eq!(without.add_all(Some(&edges), &[1.0]), Err(MergeError::OneHasNoEdges));
    let others = Edges::new(vec![0.0, 1.0]).unwrap();
    assert!(matches!(with.add(Some(&others), 1.0), Err(MergeError::OtherEdges(_))));
    assert!(matches!(with.add_all(Some(&others), &[1.0]), Err(MergeError::OtherEdges(_))));
    assert_eq!((with, without), (NumberColumn::new(Some(&edges)), NumberColumn::new(None)));
}

#[test]
fn what_a_later_program_wrote_and_what_is_too_long_is_said_to_be_so() {
    let mut bytes = numbers(&[Some(1.0)]).encode();
    assert!(matches!(
        TextColumn::decode(&bytes),
        Err(DecodeError::OtherKind { wanted: 8, found: 7 })
    ));
    bytes.push(0);
    assert!(matches!(NumberColumn::decode(&bytes), Err(DecodeError::NotCanonical(_))));
    bytes.truncate(bytes.len() - 2);
    assert_eq!(NumberColumn::decode(&bytes), Err(DecodeError::CutShort));
    bytes[1] = VERSION + 1;
    assert_eq!(
        NumberColumn::decode(&bytes),
        Err(DecodeError::UnknownVersion { found: 3, known: 2 })
    );
    let long = vec![7; ENCODED_BYTES_MAX + 1];
    assert_eq!(NumberColumn::decode(&long), Err(DecodeError::TooLong(ENCODED_BYTES_MAX + 1)));
}

/// The value in the middle of a bucket, the `at`-th of the positive ones.
fn in_bucket(at: u64) -> f64 {
    f64::from_bits((at + 32) << 47 | 1 << 46)
}

#[test]
fn the_fullest_column_of_numbers_keeps_to_its_bytes() {
    // As many buckets as there may be, as far apart as they can be, with gaps that are written longest.
    let mut at = 0;
    let mut values = Vec::new();
    for i in 0..BUCKETS_MAX as u64 {
        // A third of them holds twice as much, so that each count needs all its digits and one more.
        for _ in 0..=u64::from(i % 3 == 0) {
            values.extend([in_bucket(at), -in_bucket(at)]);
        }
        at += if i < 125 { 257 } else { 129 };
    }
    assert!(in_bucket(at - 129).is_finite());
    // Bins that hold as much each: one edge behind so many values.
    values.sort_by(f64::total_cmp);
    let every = values.len() / BINS_MAX;
    let edges: Vec<f64> = values.iter().step_by(every).copied().take(BINS_MAX).collect();
    let edges = Edges::new([edges, vec![f64::MAX]].concat()).unwrap();
    let mut once = NumberColumn::new(Some(&edges));
    for value in values {
        once.add(Some(&edges), value).unwrap();
    }
    once.add(Some(&edges), f64::NAN).unwrap();
    once.add_missing();
    let mut column = once.clone();
    for _ in 0..22 {
        column.merge(&column.clone()).unwrap();
    }
    column.merge(&once).unwrap();
    assert!(column.moments().count() > 1 << 32 && column.moments().clamped() > 0);
    let bytes = column.encode();
    assert!((3600..=COLUMN_BYTES_MAX).contains(&bytes.len()), "{}", bytes.len());
    assert_eq!(NumberColumn::decode(&bytes), Ok(column));
}

#[test]
fn the_fullest_column_of_texts_keeps_to_its_bytes() {
    let mut once = TextColumn::default();
    for i in 0..2_000 {
        once.add(&format!("a text of which no more than its beginning is kept, {i}"));
    }
    once.add_missing();
    let mut column = once.clone();
    for _ in 0..21 {
        column.merge(&column.clone());
    }
    column.merge(&once);
    assert!(column.frequent().count_all() > 1 << 31 && !column.distinct().is_exact());
    let bytes = column.encode();
    assert!((3100..=COLUMN_BYTES_MAX).contains(&bytes.len()), "{}", bytes.len());
    assert_eq!(TextColumn::decode(&bytes), Ok(column));
}

#[test]
fn the_fullest_column_of_categories_keeps_to_its_bytes() {
    let text = |i| format!("a text of which no more than its beginning is kept, {i:04}");
    let categories = Categories::new((0..CATEGORIES_MAX).map(text).collect()).unwrap();
    let mut once = CategoryColumn::new(&categories);
    for i in 0..2_000 {
        // Each category as often as the others, and they fill half of the column.
        for _ in 0..if i < CATEGORIES_MAX { 32 } else { 1 } {
            once.add(&categories, &text(i)).unwrap();
        }
    }
    once.add_missing();
    let mut column = once.clone();
    for _ in 0..20 {
        column.merge(&column.clone()).unwrap();
    }
    assert!(column.texts().frequent().count_all() > 1 << 31);
    let bytes = column.encode();
    assert!((3300..=COLUMN_BYTES_MAX).contains(&bytes.len()), "{}", bytes.len());
    assert_eq!(CategoryColumn::decode(&bytes), Ok(column));
}

#[test]
fn columns_of_other_categories_do_not_merge() {
    let of = |name: &str| Categories::new(vec![name.to_owned()]).unwrap();
    let mut column = CategoryColumn::new(&of("ok"));
    assert!(column.merge(&CategoryColumn::new(&of("worn"))).is_err());
    assert!(column.add(&of("worn"), "worn").is_err());
    assert_eq!(column, CategoryColumn::new(&of("ok")));
}

#[test]
fn an_hour_of_an_ordinary_sensor_takes_a_few_hundred_bytes() {
    let values: Vec<Option<f64>> = (0..3_600)
        .map(|i| Some(20.0 + (f64::from(i) / 600.0).sin() * 3.0 + f64::from(i % 7)))
        .collect();
    let bytes = numbers(&values).encode();
    assert!(bytes.len() < 600, "{}", bytes.len());
    assert!(NumberColumn::new(None).encode().len() <= 12);
    assert!(TextColumn::default().encode().len() <= 8);
}
