use super::*;
use crate::Comparison;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

/// The golden numbers were told by Evidently 0.7.23 with scipy 1.17.1; those of A were derived by hand as well.
fn a() -> (Column, Column) {
    let from = |first: i32| Column::numbers((first..first + 100).map(f64::from).collect());
    (from(1), from(21))
}

fn b() -> (Column, Column) {
    let letters = |counts: &[(&str, usize)]| {
        let each = counts.iter().flat_map(|(text, count)| vec![Some((*text).to_owned()); *count]);
        Column::texts(each.collect())
    };
    (letters(&[("a", 50), ("b", 30), ("c", 20)]), letters(&[("a", 30), ("b", 30), ("d", 40)]))
}

fn by(method: Method, (reference, current): &(Column, Column)) -> Result<f64, NotComputable> {
    let choice = Choice { method: Some(method), ..Choice::default() };
    compare(reference, current, &choice).score.map(|score| score.score)
}

fn near(score: f64, expected: f64) -> bool {
    (score - expected).abs() <= 1e-13 * expected
}

#[test]
fn scores_are_the_golden_numbers() {
    let (a, b) = (a(), b());
    let golden = [
        (Method::Psi, &a, 2.1012195638745648),
        (Method::JensenShannon, &a, 0.3258538224165169),
        (Method::KullbackLeibler, &a, 1.050504731464136),
        (Method::Wasserstein, &a, 0.6928549666419952),
        (Method::Hellinger, &a, 0.39376519109957164),
        (Method::Ks, &a, 0.03638428787491733),
        (Method::Energy, &a, 2.7327641683833606),
        (Method::Psi, &b, 4.938375977492462),
        (Method::JensenShannon, &b, 0.4696570356427857),
        (Method::KullbackLeibler, &b, 1.7745864401833833),
        (Method::Hellinger, &b, 0.5591973402827112),
        (Method::ChiSquare, &b, 0.0),
    ];
    for (method, columns, expected) in golden {
        let score = by(method, columns).unwrap();
        assert!(near(score, expected), "{method}: {score}, not {expected}");
    }
}

#[test]
fn two_shares_are_compared_by_z_and_a_constant_is_the_same_as_itself() {
    let shares = |zeros: usize| Column::integers((0..100).map(|at| i64::from(at >= zeros)));
    let z = compare(&shares(60), &shares(45), &Choice::default()).score.unwrap();
    assert!(near(z.score, 0.03367206885634566), "{}", z.score);
    assert_eq!((z.method, z.drifted), (Method::Z, true));
    let constant = |rows: usize| Column::numbers(vec![7.5; rows]);
    let verdict = |rows| {
        let score = compare(&constant(rows), &constant(10), &Choice::default()).score.unwrap();
        (score.method, score.score, score.drifted)
    };
    assert_eq!(verdict(1000), (Method::Z, 1.0, false));
    assert_eq!(verdict(1001), (Method::JensenShannon, 0.0, false));
}

#[test]
fn missing_values_and_infinities_are_left_out_and_what_is_missing_is_told_apart() {
    let ((whole, current), none) = (a(), Choice::default());
    let Some((mut values, _)) = whole.finite() else { panic!("numbers") };
    values.extend([f64::NAN, f64::NAN, f64::INFINITY, f64::NEG_INFINITY]);
    let holed = Column::numbers(values);
    let (with, without) = (compare(&holed, &current, &none), compare(&whole, &current, &none));
    assert_eq!(with.score, without.score);
    assert_eq!(without.missing, Missing { reference: 0.0, current: 0.0, drifted: false });
    assert_eq!(with.missing, Missing { reference: 2.0 / 104.0, current: 0.0, drifted: true });

    let missing = |missing: usize| {
        let gap = |at: usize| if at < missing { None } else { Some(at.is_multiple_of(2)) };
        Column::booleans((0..1000).map(gap).collect())
    };
    let drifted = |current: usize| compare(&missing(100), &missing(current), &none).missing.drifted;
    assert_eq!(
        [89, 90, 110, 111].map(drifted),
        [true, false, false, true],
        "a tenth off is not drift"
    );
}

#[test]
fn a_column_that_cannot_be_compared_says_why_and_what_to_do() {
    let numbers = |values: &[f64]| Column::numbers(values.to_vec());
    let texts =
        |texts: &[&str]| Column::texts(texts.iter().map(|it| Some((*it).to_owned())).collect());
    let why = |reference: &Column, current: &Column, method: Option<Method>| {
        let choice = Choice { method, ..Choice::default() };
        compare(reference, current, &choice).score.unwrap_err().to_string()
    };
    let (some, same) = (numbers(&[1.0, 2.0, 3.5]), numbers(&[0.5; 6]));
    let table = [
        (why(&numbers(&[f64::NAN]), &some, None), "the reference has no valid value: look at what"),
        (why(&some, &numbers(&[f64::INFINITY]), None), "the current data has no valid value"),
        (
            why(&some, &texts(&["a", "b"]), None),
            "it holds text, more than half of which is distinct",
        ),
        (
            why(&texts(&["a"]), &some, None),
            "the reference holds what is no number: take the column as",
        ),
        (
            why(&some, &some, Some(Method::Z)),
            "z is not for numerical columns: choose among ks, cramer",
        ),
        (
            why(&some, &some, Some(Method::EppsSingleton)),
            "es needs at least 5 values on each side, and",
        ),
        (
            why(&same, &same, Some(Method::EppsSingleton)),
            "es needs values that differ, and the middle",
        ),
        (why(&same, &same, Some(Method::TTest)), "t_test has no value for these data"),
        (
            why(&numbers(&[1.0]), &some, Some(Method::CramerVonMises)),
            "cramer_von_mises needs at least 2",
        ),
        (why(&same, &same, Some(Method::Anderson)), "anderson needs values that differ"),
    ];
    for (said, expected) in table {
        assert!(said.starts_with(expected), "{said}");
    }
}

#[test]
fn a_dataset_drifts_with_half_of_the_columns_that_could_be_compared() {
    let ((same, moved), none) = (a(), Choice::default());
    let empty = Column::numbers(vec![f64::NAN]);
    let columns = |drifted: usize, still: usize, empty_ones: usize| {
        let column = |current: &Column, times| vec![compare(&same, current, &none); times];
        let all =
            [column(&moved, drifted), column(&same, still), column(&empty, empty_ones)].concat();
        let dataset = DatasetDrift::of(&all);
        (dataset.share(), dataset.is_drift(DRIFT_SHARE))
    };
    assert_eq!(columns(1, 1, 0), (Some(0.5), true));
    assert_eq!(columns(1, 2, 0), (Some(1.0 / 3.0), false));
    assert_eq!(columns(1, 1, 5), (Some(0.5), true), "what has no score does not count");
    assert_eq!(columns(0, 0, 2), (None, false));
}

#[test]
fn a_kind_a_method_and_a_threshold_may_be_chosen() {
    let values = |step: i64| Column::integers((0..60).map(|at| at % 4 * step));
    let (reference, current) = (values(1), values(2));
    assert_eq!(compare(&reference, &current, &Choice::default()).kind, Kind::Categorical);
    let choice = Choice {
        kind: Some(Kind::Numerical),
        method: Some(Method::Wasserstein),
        threshold: Some(2.0),
    };
    let drift = compare(&reference, &current, &choice);
    let Score { method, score, threshold, drifted } = drift.score.unwrap();
    assert_eq!(
        (drift.kind, method, threshold, drifted),
        (choice.kind.unwrap(), Method::Wasserstein, 2.0, false)
    );
    assert!(score > 1.0, "{score}");
}

/// Numbers of every size, some of them equal, missing or infinite.
fn any_column() -> impl Strategy<Value = Column> {
    let odd =
        [0.0, -0.0, 1.0, 1.0 + f64::EPSILON, 5e-324, f64::MAX, -f64::MAX, f64::NAN, f64::INFINITY];
    let number = prop_oneof![any::<f64>(), (-5i32..5).prop_map(f64::from), select(odd.to_vec())];
    let texts = vec(proptest::option::of("[a-c]?"), 0..60);
    prop_oneof![
        4 => vec(number, 0..60).prop_map(Column::numbers),
        2 => vec(any::<i64>(), 0..60).prop_map(Column::integers),
        2 => vec(-9i64..9, 0..60).prop_map(Column::integers),
        1 => vec(any::<Option<bool>>(), 0..60).prop_map(Column::booleans),
        2 => texts.prop_map(Column::texts),
    ]
}

proptest! {
    #[test]
    fn whatever_is_compared_there_is_a_score_in_range_or_a_reason(
        reference in any_column(),
        current in any_column(),
        kind in proptest::option::of(select(vec![Kind::Numerical, Kind::Categorical, Kind::Text])),
    ) {
        for method in std::iter::once(None).chain(Method::ALL.map(Some)) {
            let choice = Choice { kind, method, threshold: None };
            if let Ok(score) = compare(&reference, &current, &choice).score {
                let greatest = match score.method.comparison() {
                    Comparison::AtOrBelow | Comparison::Below => 1.0,
                    Comparison::AtOrAbove | Comparison::Above => f64::INFINITY,
                };
                // Rounding of sums may leave a little less than nought of a divergence.
                prop_assert!((-1e-15..=greatest).contains(&score.score), "{score:?}");
            }
        }
    }
}
