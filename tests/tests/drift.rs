//! Exact drift against Evidently itself, installed for the test: on columns around every edge both say the
//! same of every method.

#![allow(clippy::unwrap_used)] // A test stops at what does not hold.

#[path = "../tuf-client/tests/python/mod.rs"]
mod python;

use lineside_drift::{Choice, Column, Comparison, Kind, Method, NotComputable, Score, compare};
use lineside_tests::{complaint, lineside, root};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

/// Evidently, what it stands on, and what these need.
const EVIDENTLY: &[u8] = include_bytes!("drift.txt");
/// Of a score; sums are not added in the same order.
const RELATIVE: f64 = 1e-9;
/// Of a p-value besides; below this it says no more than that it is small.
const ABSOLUTE: f64 = 1e-12;
/// Of the square of a distance that is a root of a difference: where nothing differs, rounding is left of it.
const OF_SQUARE: f64 = 1e-14;

/// Has Evidently say something.
fn evidently(arguments: &[&str]) {
    let mut python = Command::new(python::python("drift", EVIDENTLY));
    python.arg(root().join("tests/tests/drift.py")).args(arguments);
    // Sets of texts have one order for all runs, and nobody is told of them.
    python.env("PYTHONDONTWRITEBYTECODE", "1").env("PYTHONHASHSEED", "0").env("DO_NOT_TRACK", "1");
    python::run("drift.py", &mut python);
}

fn double(cell: &Value) -> f64 {
    f64::from_bits(cell.as_i64().unwrap() as u64)
}

fn column(told: &Value) -> Column {
    let (form, cells) = told.as_object().unwrap().iter().next().unwrap();
    let cells = cells.as_array().unwrap();
    match form.as_str() {
        "numbers" => Column::numbers(cells.iter().map(double).collect()),
        "integers" => Column::integers(cells.iter().map(|cell| cell.as_i64().unwrap())),
        "booleans" => Column::booleans(cells.iter().map(Value::as_bool).collect()),
        "texts" => Column::texts(cells.iter().map(|it| it.as_str().map(str::to_owned)).collect()),
        other => panic!("no form {other}"),
    }
}

fn kind(told: &Value) -> Kind {
    match told.as_str().unwrap() {
        "num" => Kind::Numerical,
        "cat" => Kind::Categorical,
        "text" => Kind::Text,
        other => panic!("no kind {other}"),
    }
}

/// Where Evidently's own answer is an accident: of rounding, where covariances have no inverse; or of the
/// order of a set, where Fisher's test is given three values.
fn is_accident(
    method: Option<Method>,
    got: &Result<Score, NotComputable>,
    distinct: usize,
) -> bool {
    match method {
        Some(Method::EppsSingleton) => distinct <= 4,
        Some(Method::FisherExact) => matches!(got, Err(NotComputable::NotBinary { .. })),
        _ => false,
    }
}

/// What differs between the two, if anything does.
fn difference(got: &Result<Score, NotComputable>, told: &Value) -> Option<String> {
    if let Some(refused) = told.get("refused").and_then(Value::as_str) {
        // numpy 2 refuses what Evidently does to count small samples, which can be counted.
        let can_be_counted = refused.starts_with("UFuncTypeError: Cannot cast ufunc 'add' output");
        return match got {
            Ok(score) if !can_be_counted => Some(format!("{score:?}, where it refuses: {refused}")),
            _ => None,
        };
    }
    let expected = double(&told["score"]);
    let score = match got {
        Err(_) if expected.is_nan() => return None,
        Err(why) => return Some(format!("{why}, where it says {expected}")),
        Ok(score) => score,
    };
    let apart = (score.score - expected).abs();
    let is_near = match (score.method, score.method.comparison()) {
        _ if score.score == expected || apart <= RELATIVE * expected.abs() => true,
        (_, Comparison::AtOrBelow | Comparison::Below) => apart <= ABSOLUTE,
        (Method::Hellinger | Method::JensenShannon, _) => {
            (score.score.powi(2) - expected.powi(2)).abs() <= OF_SQUARE
        }
        _ => false,
    };
    let verdict = (score.method.name(), score.threshold, score.drifted);
    let wanted = (
        told["method"].as_str().unwrap(),
        told["threshold"].as_f64().unwrap(),
        told["drifted"].as_bool().unwrap(),
    );
    (!is_near || verdict != wanted).then(|| format!("{score:?}, where it says {told}"))
}

#[test]
fn every_score_and_verdict_is_that_of_evidently() {
    let cases = python::folder("drift").join("cases.jsonl");
    evidently(&["columns", cases.to_str().unwrap(), "1"]);

    let mut compared: BTreeMap<&str, usize> = BTreeMap::new();
    let mut differences = Vec::new();
    for case in std::fs::read_to_string(&cases).unwrap().lines() {
        let case: Value = serde_json::from_str(case).unwrap();
        let (reference, current) = (column(&case["reference"]), column(&case["current"]));
        assert_eq!(current.kind(), kind(&case["kind"]), "{}", case["name"]);
        let cells = [&case["reference"], &case["current"]].into_iter().flat_map(|side| {
            side.as_object().unwrap().values().flat_map(|cells| cells.as_array().unwrap())
        });
        let distinct = cells.map(Value::to_string).collect::<BTreeSet<_>>().len();
        for told in case["asked"].as_array().unwrap() {
            let method = told["named"].as_str().map(|name| name.parse::<Method>().unwrap());
            let choice = Choice { kind: Some(kind(&told["kind"])), method, threshold: None };
            let got = compare(&reference, &current, &choice).score;
            if is_accident(method, &got, distinct) {
                continue;
            }
            if told.get("refused").is_none() {
                *compared.entry(method.map_or("default", Method::name)).or_default() += 1;
            }
            if let Some(difference) = difference(&got, told) {
                differences.push(format!("{}: {difference}", case["name"]));
            }
        }
    }
    std::fs::remove_file(&cases).unwrap();
    assert!(differences.is_empty(), "{} differ:\n{}", differences.len(), differences.join("\n"));
    let few = Method::ALL.into_iter().find(|it| compared.get(it.name()).is_none_or(|n| *n < 50));
    assert_eq!(few, None, "{compared:?}");
}

#[test]
fn the_command_says_of_files_what_the_report_says() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: String| folder.path().join(name).to_str().unwrap().to_owned();
    evidently(&["files", folder.path().to_str().unwrap()]);
    let mut verdicts = BTreeSet::new();
    for rows in [300, 1000, 1001, 2000] {
        let [reference, current] =
            ["reference", "current"].map(|side| path(format!("{side}-{rows}.csv")));
        let output = lineside(&["--json", "drift", &reference, &current]);
        assert!(output.status.success(), "{}", complaint(&output));
        let said: Value = serde_json::from_slice(&output.stdout).unwrap();
        let packed = [&reference, &current].map(|name| name.replace(".csv", ".parquet"));
        for mode in ["exact", "sketch"] {
            let of = |[reference, current]: [&String; 2]| {
                let output = lineside(&["--json", "drift", reference, current, "--mode", mode]);
                assert!(output.status.success(), "{}", complaint(&output));
                serde_json::from_slice::<Value>(&output.stdout).unwrap()
            };
            assert_eq!(of(packed.each_ref()), of([&reference, &current]), "{rows} {mode}");
        }
        let told = std::fs::read_to_string(path(format!("told-{rows}.json"))).unwrap();
        let told: Value = serde_json::from_str(&told).unwrap();
        let columns = told["columns"].as_object().unwrap();
        assert_eq!(said["columns"].as_object().unwrap().len(), columns.len());
        for (name, expected) in columns {
            let column = &said["columns"][name];
            let [score, wanted] = [column, expected].map(|it| it["score"].as_f64().unwrap());
            let apart = (score - wanted).abs();
            assert!(
                apart <= RELATIVE * wanted || apart <= ABSOLUTE,
                "{rows} {name}: {score} {wanted}"
            );
            for key in ["threshold", "drifted"] {
                assert_eq!(column[key], expected[key], "{rows} {name} {key}");
            }
        }
        assert_eq!(said["drifted_share"], told["dataset"]["share"], "{rows}");
        assert_eq!(said["dataset_drift"], told["dataset"]["drift"], "{rows}");
        verdicts.insert(told["dataset"]["drift"].as_bool());
    }
    assert_eq!(verdicts.len(), 2, "some drift, others do not");
}
