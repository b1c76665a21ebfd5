use super::*;
use crate::{Choice, Column, Kind, Method, compare};
use lineside_sketch::{Categories, Edges};
use proptest::prelude::*;

fn sketch(marks: &Marks, values: &[f64]) -> ColumnSketch {
    let mut sketch = marks.empty();
    values.iter().for_each(|value| sketch.add_number(marks, *value).unwrap());
    sketch
}

fn range(values: &[f64]) -> (f64, f64) {
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    (least, values.iter().copied().fold(f64::NEG_INFINITY, f64::max))
}

fn marks(reference: &[f64]) -> Marks {
    Marks::Edges(quantile_edges(reference.to_vec(), range(reference)).unwrap())
}

fn sketched(
    reference: &[f64],
    current: &[f64],
    method: SketchMethod,
) -> Result<SketchScore, NoScore> {
    let marks = marks(reference);
    score(&sketch(&marks, reference), &sketch(&marks, current), &marks, method, None, 1)
}

fn exact(reference: Column, current: Column, kind: Kind, method: Method) -> f64 {
    let choice = Choice { kind: Some(kind), method: Some(method), threshold: None };
    compare(&reference, &current, &choice).score.unwrap().score
}

/// Values as the names of the profile's bins.
fn in_bins(marks: &Marks, values: &[f64]) -> Column {
    let Marks::Edges(edges) = marks else { panic!("{marks:?}") };
    let edges = edges.edges();
    let bin = |value: &f64| match edges.iter().filter(|edge| **edge <= *value).count() {
        passed if passed == edges.len() && *value == edges[passed - 1] => passed - 1,
        passed => passed,
    };
    Column::texts(values.iter().map(|value| Some(format!("{:03}", bin(value)))).collect())
}

/// Numbers of all kinds: spread, around a far number, on few places, of both signs and many sizes.
fn numbers() -> impl Strategy<Value = Vec<f64>> {
    prop_oneof![
        prop::collection::vec(-3f64..3.0, 2..120),
        prop::collection::vec(990f64..1030.0, 2..120),
        prop::collection::vec((0u8..6).prop_map(f64::from), 2..120),
        prop::collection::vec(
            (-6f64..6.0, any::<bool>()).prop_map(|(exponent, negative)| {
                10f64.powf(exponent) * if negative { -1.0 } else { 1.0 }
            }),
            2..120
        ),
    ]
}

fn holds(score: Estimate, exact: f64) -> bool {
    let slack = 1e-9 * exact.abs() + 1e-12;
    score.low <= score.value
        && score.value <= score.high
        && score.low - slack <= exact
        && exact <= score.high + slack
}

proptest! {
    #[test]
    fn exact_scores_of_the_same_rows_lie_within_the_bounds(r in numbers(), c in numbers()) {
        for method in [Method::Ks, Method::Wasserstein] {
            let score = sketched(&r, &c, SketchMethod::of(method).unwrap()).unwrap().score;
            let columns = (Column::numbers(r.clone()), Column::numbers(c.clone()));
            let exact = exact(columns.0, columns.1, Kind::Numerical, method);
            prop_assert!(holds(score, exact), "{}: {:?} does not hold {}", method, score, exact);
        }
    }

    #[test]
    fn scores_over_bins_are_those_of_the_exact_method_over_these_bins(r in numbers(), c in numbers()) {
        let marks = marks(&r);
        for method in [
            Method::Psi,
            Method::JensenShannon,
            Method::KullbackLeibler,
            Method::Hellinger,
            Method::ChiSquare,
        ] {
            let score = sketched(&r, &c, SketchMethod::of(method).unwrap()).unwrap().score;
            let columns = (in_bins(&marks, &r), in_bins(&marks, &c));
            let exact = exact(columns.0, columns.1, Kind::Categorical, method);
            // A root of a difference: where nothing differs, rounding is left of it.
            let near = holds(score, exact) || (score.value.powi(2) - exact.powi(2)).abs() <= 1e-14;
            prop_assert!(near, "{}: {:?} is not {}", method, score, exact);
        }
    }

    #[test]
    fn what_bins_do_not_tell_apart_makes_distances_smaller_and_never_larger(r in numbers(), c in numbers()) {
        for method in [Method::JensenShannon, Method::Hellinger] {
            let score = sketched(&r, &c, SketchMethod::of(method).unwrap()).unwrap().score;
            let columns = (Column::numbers(r.clone()), Column::numbers(c.clone()));
            // A bin for each value.
            let exact = exact(columns.0, columns.1, Kind::Categorical, method);
            prop_assert!(score.value <= exact + 1e-7, "{}: {:?} is above {}", method, score, exact);
        }
    }

    #[test]
    fn scores_over_categories_are_exact(
        r in prop::collection::vec(0u8..5, 1..80),
        c in prop::collection::vec(0u8..6, 1..80),
    ) {
        let names = (0..5).map(|name| name.to_string()).collect();
        let marks = Marks::Categories(Categories::new(names).unwrap());
        let of = |values: &[u8]| sketch(&marks, &values.iter().copied().map(f64::from).collect::<Vec<_>>());
        let texts = |values: &[u8]| Column::texts(values.iter().map(|it| Some(it.to_string())).collect());
        for method in SketchMethod::ALL {
            let score = score(&of(&r), &of(&c), &marks, method, None, 1);
            match score {
                Ok(score) => {
                    let exact = exact(texts(&r), texts(&c), Kind::Categorical, method.exact());
                    let apart = (score.score.value.powi(2) - exact.powi(2)).abs();
                    prop_assert!(holds(score.score, exact) || apart <= 1e-14, "{}", method);
                    let threshold = method.exact().default_threshold();
                    prop_assert_eq!(score.drifted, method.exact().comparison().is_drift(score.score.value, threshold));
                }
                Err(NoScore::NotBinary { values, .. }) => prop_assert!(values > 2),
                Err(NoScore::Applies { .. }) => prop_assert!(!method.applies_to(Kind::Categorical)),
                Err(other) => prop_assert!(false, "{}: {}", method, other),
            }
        }
    }

    #[test]
    fn the_median_lies_within_its_bounds_and_these_are_no_wider_than_bucket_and_bin(mut r in numbers()) {
        let marks = marks(&r);
        let (ColumnSketch::Numbers(column), Marks::Edges(edges)) = (sketch(&marks, &r), &marks) else {
            panic!("{marks:?}")
        };
        let with = median(&column, Some(edges)).unwrap();
        let without = median(&column, None).unwrap();
        r.sort_by(f64::total_cmp);
        let exact = r[r.len().div_ceil(2) - 1];
        prop_assert!(with.low <= exact && exact <= with.high, "{:?} does not hold {}", with, exact);
        prop_assert!(with.high - with.low <= without.high - without.low);
        prop_assert!((with.value - exact).abs() <= exact.abs() / 63.9 + f64::MIN_POSITIVE);
    }
}

#[test]
fn what_cannot_be_scored_says_why_and_names_a_cure() {
    let values: Vec<f64> = (0..40).map(f64::from).collect();
    let numbers = marks(&values);
    let (some, few) = (sketch(&numbers, &values), sketch(&numbers, &values[..3]));
    let ks = "sketch:ks".parse().unwrap();
    let said = |score: Result<SketchScore, NoScore>| score.unwrap_err().to_string();
    let of = |reference: &ColumnSketch, current: &ColumnSketch, method| {
        score(reference, current, &numbers, method, None, VALUES_MIN)
    };
    assert_eq!(
        said(of(&some, &few, ks)),
        "the current data has 3 values, and 30 are needed: collect more"
    );
    let others = sketch(&Marks::Edges(Edges::new(vec![0.0, 1.0]).unwrap()), &values);
    assert!(said(of(&some, &others, ks)).contains("count it with the same profile"));
    let large: Vec<f64> = values.iter().map(|value| value * 1e300).collect();
    let wasserstein = SketchMethod::of(Method::Wasserstein).unwrap();
    assert!(said(sketched(&large, &values, wasserstein)).contains("a larger unit"));
    assert!(
        said(of(&some, &some, "sketch:z".parse().unwrap())).contains("choose sketch:chisquare")
    );
    assert_eq!(SketchMethod::of(Method::Anderson), None);
    assert!("ks".parse::<SketchMethod>().is_err(), "an exact name is none of a sketch");
}

#[test]
fn an_hour_that_has_moved_is_drift_and_one_that_has_not_is_none() {
    let good: Vec<f64> = (0..500).map(|at| 1013.0 + f64::from(at % 97) / 50.0).collect();
    let moved: Vec<f64> = good.iter().map(|value| value + 0.5).collect();
    for method in SketchMethod::ALL.into_iter().filter(|method| method.exact() != Method::Z) {
        let drifted = |current: &[f64]| sketched(&good, current, method).unwrap().drifted;
        assert_eq!((drifted(&good), drifted(&moved)), (false, true), "{method}");
    }
}
