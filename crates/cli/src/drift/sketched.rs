//! `lineside drift --mode sketch`: counts both files row by row, and compares what was counted.

use super::{Drift, Wanted, all_known, last, named, short, table, verdict};
use crate::counted::{Counted, FileSource, Read, Source, surveyed};
use crate::output::{Output, Usage};
use lineside_drift::{
    ColumnSketch, DRIFT_SHARE, DatasetDrift, Kind, Marks, Method, Missing, NoMarks, NoScore,
    SketchMethod, SketchScore, Survey, UnknownMethod, VALUES_MIN, score,
};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::str::FromStr;

/// A method by the name that a sketch has for it, or by that of the exact one, which it stands for.
struct Named(SketchMethod);

impl FromStr for Named {
    type Err = UnknownMethod;

    fn from_str(name: &str) -> Result<Named, UnknownMethod> {
        let exact = name.parse::<Method>().ok().and_then(SketchMethod::of);
        exact.map_or_else(|| name.parse(), Ok).map(Named)
    }
}

/// Why two sketches were not compared.
#[derive(Debug, thiserror::Error)]
enum Why {
    #[error(transparent)]
    Marks(#[from] NoMarks),
    #[error(transparent)]
    Score(#[from] NoScore),
    #[error("the {side} holds what is no number: take the column as categorical, or mend the data")]
    NotNumbers { side: &'static str },
}

/// What is said of a column.
struct Compared {
    kind: Kind,
    score: Result<SketchScore, Why>,
    missing: Option<Missing>,
}

pub fn run(drift: &Drift, output: &Output) -> anyhow::Result<()> {
    let working = output.working(format!("reading {}", drift.reference.display()));
    let reference = FileSource::open(&drift.reference, None)?;
    let current = FileSource::open(&drift.current, None)?;
    let (columns, alone) = common(&reference, &current, drift)?;
    let methods = named::<Named>(&drift.methods)?;
    let (surveys, _) = surveyed(&reference)?;
    let marks: Vec<Result<Marks, NoMarks>> = columns
        .iter()
        .map(|(name, at, _)| surveys[*at].marks(last(&drift.kinds, name).map(|Wanted(kind)| *kind)))
        .collect();
    let places = |side: fn(&(String, usize, usize)) -> usize| columns.iter().map(side).collect();
    let good = counted(&reference, places(|it| it.1), &marks)?;
    working.tell(format!("reading {}", drift.current.display()));
    let new = counted(&current, places(|it| it.2), &marks)?;
    drop(working);
    let mut all = Vec::new();
    for (((name, at, _), marks), (good, new)) in
        columns.iter().zip(marks).zip(good.0.iter().zip(&new.0))
    {
        let method = last(&methods, name).map(|Named(method)| *method);
        all.push((name.clone(), compared(marks, &surveys[*at], good, new, method)));
    }
    let reads = [good.1, new.1];
    output.print(shown(&all, &alone, &reads), &document(&all, &alone, &reads))
}

/// A column with its places in both files.
type Common = Vec<(String, usize, usize)>;

/// The columns of both files, and those that one of them has alone.
fn common(
    reference: &FileSource,
    current: &FileSource,
    drift: &Drift,
) -> anyhow::Result<(Common, [Vec<String>; 2])> {
    let names = |source: &FileSource| -> Vec<String> {
        source.columns().iter().map(|column| column.name.clone()).collect()
    };
    let (ours, theirs) = (names(reference), names(current));
    let both = ours.iter().enumerate().filter_map(|(at, name)| {
        Some((name.clone(), at, theirs.iter().position(|other| other == name)?))
    });
    let both: Common = both.collect();
    if both.is_empty() {
        return Err(Usage(format!(
            "the files have no column in common: the reference has [{}], the current data [{}]; give both \
             the same names in their first line",
            ours.join(", "),
            theirs.join(", ")
        ))
        .into());
    }
    let methods = drift.methods.iter().map(|it| &it.column);
    let known: Vec<&String> = both.iter().map(|(name, ..)| name).collect();
    all_known(methods.chain(drift.kinds.iter().map(|it| &it.column)), &known)?;
    let alone = |of: &[String], others: &[String]| -> Vec<String> {
        of.iter().filter(|name| !others.contains(name)).cloned().collect()
    };
    let alone = [alone(&ours, &theirs), alone(&theirs, &ours)];
    Ok((both, alone))
}

/// Counts the columns at these places of a file, each over its marks.
fn counted(
    source: &FileSource,
    places: Vec<usize>,
    marks: &[Result<Marks, NoMarks>],
) -> anyhow::Result<(Vec<Option<Counted>>, Read)> {
    let mut all: Vec<Option<Counted>> = marks
        .iter()
        .map(|marks| marks.as_ref().ok().map(|marks| Counted::new(marks, None)))
        .collect();
    let mut of = vec![None; source.columns().len()];
    places.into_iter().enumerate().for_each(|(column, place)| of[place] = Some(column));
    let mut waiting = vec![Vec::new(); marks.len()];
    let read = source.read(&mut |at, _, cell| {
        if let Some(column) = of[at]
            && let (Ok(marks), Some(counted)) = (&marks[column], &mut all[column])
        {
            counted.take_later(marks, None, cell, &mut waiting[column]);
        }
    })?;
    for (marks, (counted, waiting)) in marks.iter().zip(all.iter_mut().zip(&mut waiting)) {
        if let (Ok(marks), Some(counted)) = (marks, counted) {
            counted.take_waiting(marks, waiting);
        }
    }
    Ok((all, read))
}

fn compared(
    marks: Result<Marks, NoMarks>,
    survey: &Survey,
    good: &Option<Counted>,
    new: &Option<Counted>,
    method: Option<SketchMethod>,
) -> Compared {
    let (marks, good, new) = match (marks, good, new) {
        (Ok(marks), Some(good), Some(new)) => (marks, good, new),
        (marks, ..) => {
            let why = marks.err().unwrap_or(NoMarks::Empty);
            return Compared { kind: survey.kind(), score: Err(why.into()), missing: None };
        }
    };
    let (reference, current) = (&good.observed.sketch, &new.observed.sketch);
    let missing = Some(Missing::of_shares(reference.missing_share(), current.missing_share()));
    let kind = marks.kind();
    if let Some((_, side)) =
        [(good, "reference"), (new, "current data")].into_iter().find(|(it, _)| it.foreign > 0)
    {
        return Compared { kind, score: Err(Why::NotNumbers { side }), missing };
    }
    let distinct = match (reference, current) {
        (ColumnSketch::Numbers(one), ColumnSketch::Numbers(other)) => {
            let mut both = one.distinct().clone();
            both.merge(other.distinct());
            both.estimate()
        }
        (ColumnSketch::Categories(one), ColumnSketch::Categories(other)) => {
            let mut both = one.texts().distinct().clone();
            both.merge(other.texts().distinct());
            both.estimate()
        }
        _ => 0.0,
    };
    let default = SketchMethod::default_for(kind, reference.values(), distinct as usize);
    let method = method.or(default).unwrap_or(SketchMethod::PROFILE);
    let score = score(reference, current, &marks, method, None, VALUES_MIN).map_err(Why::from);
    Compared { kind, score, missing }
}

fn dataset(all: &[(String, Compared)]) -> DatasetDrift {
    let scores = all.iter().filter_map(|(_, column)| column.score.as_ref().ok());
    let drifted = scores.clone().filter(|score| score.drifted).count();
    DatasetDrift { columns: scores.count(), drifted }
}

fn document(
    all: &[(String, Compared)],
    alone: &[Vec<String>; 2],
    [good, new]: &[Read; 2],
) -> Value {
    let columns = all.iter().map(|(name, column)| {
        let mut told = match &column.score {
            Ok(score) => json!({
                "method": score.method.name(),
                "score": score.score.value,
                "score_low": score.score.low,
                "score_high": score.score.high,
                "threshold": score.threshold,
                "comparison": score.method.comparison().sign(),
                "drifted": score.drifted,
            }),
            Err(why) => json!({ "not_computable": why.to_string() }),
        };
        told["kind"] = column.kind.name().into();
        if let Some(Missing { reference, current, drifted }) = column.missing {
            told["missing"] =
                json!({ "reference": reference, "current": current, "drifted": drifted });
        }
        (name.clone(), told)
    });
    let dataset = dataset(all);
    json!({
        "mode": "sketch",
        "columns": columns.collect::<Map<_, _>>(),
        "drifted_share": dataset.share(),
        "dataset_drift": dataset.is_drift(DRIFT_SHARE),
        "only_in": { "reference": alone[0], "current": alone[1] },
        "unreadable_rows": { "reference": good.unreadable, "current": new.unreadable },
    })
}

fn shown(all: &[(String, Compared)], alone: &[Vec<String>; 2], reads: &[Read; 2]) -> String {
    let rows = all.iter().map(|(name, column)| {
        let kind = column.kind.name().to_owned();
        let (method, score, mut said) = match &column.score {
            Err(why) => ("-".into(), "-".into(), format!("not computable: {why}")),
            Ok(score) => {
                let (sign, estimate) = (score.method.comparison().sign(), score.score);
                let verdict = if score.drifted { "drift" } else { "no drift" };
                let mut said = format!("{verdict} (drift is {sign} {})", score.threshold);
                if estimate.low < estimate.high {
                    let (low, high) = (short(estimate.low), short(estimate.high));
                    let _ = write!(said, "; the exact score is between {low} and {high}");
                }
                (score.method.name().to_owned(), short(estimate.value), said)
            }
        };
        if let Some(missing) = column.missing.filter(|missing| missing.drifted) {
            let percent = |share: f64| short(share * 100.0);
            let (new, good) = (percent(missing.current), percent(missing.reference));
            let _ = write!(said, "; {new} % are missing (reference: {good} %)");
        }
        [name.clone(), kind, method, score, said]
    });
    let mut text = table(rows.collect());
    let sides: BTreeMap<usize, &str> = BTreeMap::from([(0, "reference"), (1, "current data")]);
    for (at, side) in sides {
        if !alone[at].is_empty() {
            let _ = writeln!(text, "only in the {side}: {}", alone[at].join(", "));
        }
        if reads[at].unreadable > 0 {
            let rows = reads[at].unreadable;
            let _ = writeln!(text, "rows of the {side} that cannot be read, left out: {rows}");
        }
    }
    let _ = write!(text, "{}", verdict(dataset(all)));
    text
}
