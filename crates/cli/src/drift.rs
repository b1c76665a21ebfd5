//! `lineside drift`: compares the columns of two files.

mod sketched;

use crate::output::{Output, Usage};
use crate::table_file::TableFile;
use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use lineside_drift::{
    Choice, Column, ColumnDrift, DRIFT_SHARE, DatasetDrift, Kind, Method, compare,
};
use lineside_runtime::Table;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::str::FromStr;

pub const EXAMPLES: &str = "\
Examples:
  lineside drift reference.csv current.csv
  lineside drift reference.csv current.csv --method speed=psi --kind gear=categorical
  lineside drift reference.csv current.csv --mode sketch      files of any length, in constant memory
  lineside drift january.parquet february.parquet
  lineside drift reference.csv current.csv --json | jq .dataset_drift";

#[derive(Args)]
pub struct Drift {
    /// What is known to be good: CSV with the names of its columns in the first line, JSON objects, a line
    /// each, or Parquet.
    #[arg(value_name = "REFERENCE.csv")]
    reference: PathBuf,
    /// What is compared with it, in the same form.
    #[arg(value_name = "CURRENT.csv")]
    current: PathBuf,
    /// How exact.
    #[arg(long, value_enum, default_value_t = Mode::Exact)]
    mode: Mode,
    /// The method for a column, instead of the one that its kind and length suggest; may be given several
    /// times.
    #[arg(long = "method", value_name = "COLUMN=NAME")]
    methods: Vec<Named<String>>,
    /// What a column holds, instead of what it looks like; may be given several times.
    #[arg(long = "kind", value_name = "COLUMN=numerical|categorical")]
    kinds: Vec<Named<Wanted>>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Mode {
    /// From all values, as Evidently 0.7.23 does.
    Exact,
    /// From what is counted of them, in constant memory, between stated bounds.
    Sketch,
}

/// What is wanted for a column.
#[derive(Debug, Clone)]
struct Named<T> {
    column: String,
    value: T,
}

impl<T: FromStr<Err: ToString>> FromStr for Named<T> {
    type Err = String;

    fn from_str(text: &str) -> Result<Named<T>, String> {
        // Names of columns may have the sign in them.
        let Some((column, value)) = text.rsplit_once('=') else {
            return Err("it is not COLUMN=NAME".into());
        };
        let value = value.parse().map_err(|error: T::Err| error.to_string())?;
        Ok(Named { column: column.to_owned(), value })
    }
}

/// A kind that a person may choose: methods are for these two.
#[derive(Debug, Clone, Copy)]
struct Wanted(Kind);

impl FromStr for Wanted {
    type Err = String;

    fn from_str(text: &str) -> Result<Wanted, String> {
        let kinds = [Kind::Numerical, Kind::Categorical];
        let kind = kinds.into_iter().find(|kind| kind.name() == text);
        kind.map(Wanted).ok_or_else(|| "a kind is numerical or categorical".into())
    }
}

/// Two files that were compared.
struct Compared {
    /// The columns of both, in the order of the reference.
    columns: Vec<(String, ColumnDrift)>,
    /// Columns that only the reference has, and those that only the current data has.
    alone: [Vec<String>; 2],
    /// Rows that cannot be read.
    unreadable: [u64; 2],
}

pub fn run(drift: &Drift, output: &Output) -> anyhow::Result<()> {
    if drift.mode == Mode::Sketch {
        return sketched::run(drift, output);
    }
    let working = output.working(format!("reading {}", drift.reference.display()));
    let reference = read(&drift.reference)?;
    working.tell(format!("reading {}", drift.current.display()));
    let current = read(&drift.current)?;
    working.tell("comparing the columns".into());
    let compared = Compared::of(&reference, &current, drift)?;
    drop(working);
    output.print(compared.shown(), &compared.document())
}

fn read(path: &Path) -> anyhow::Result<Table> {
    let name = path.display();
    let form = "a CSV file with the names of its columns in the first line is needed";
    let file = TableFile::open(path)?;
    Table::read(file, usize::MAX).with_context(|| format!("{name} is no table: {form}"))
}

impl Compared {
    fn of(reference: &Table, current: &Table, drift: &Drift) -> anyhow::Result<Compared> {
        for (what, table) in [("the reference", reference), ("the current data", current)] {
            let mut names = BTreeSet::new();
            if let Some(twice) = table.names.iter().find(|name| !names.insert(*name)) {
                bail!("{what} has two columns called {twice}: give each a name of its own");
            }
        }
        let (common, only): (Vec<&String>, Vec<&String>) =
            reference.names.iter().partition(|name| current.names.contains(name));
        if common.is_empty() {
            bail!(
                "the files have no column in common: the reference has [{}], the current data [{}]; give \
                 both the same names in their first line",
                reference.names.join(", "),
                current.names.join(", ")
            );
        }
        let methods = drift.methods.iter().map(|it| &it.column);
        let wanted = methods.chain(drift.kinds.iter().map(|it| &it.column));
        all_known(wanted, &common)?;
        let methods = named::<Method>(&drift.methods)?;
        let columns = common.into_iter().map(|name| {
            let choice = Choice {
                kind: last(&drift.kinds, name).map(|Wanted(kind)| *kind),
                method: last(&methods, name).copied(),
                threshold: None,
            };
            (name.clone(), compare(&column(reference, name), &column(current, name), &choice))
        });
        let lacks = |name: &&String| !reference.names.contains(name);
        Ok(Compared {
            columns: columns.collect(),
            alone: [
                only.into_iter().cloned().collect(),
                current.names.iter().filter(lacks).cloned().collect(),
            ],
            unreadable: [reference.unreadable, current.unreadable],
        })
    }

    fn dataset(&self) -> DatasetDrift {
        DatasetDrift::of(self.columns.iter().map(|(_, column)| column))
    }

    fn document(&self) -> Value {
        let columns = self.columns.iter().map(|(name, column)| (name.clone(), told(column)));
        let dataset = self.dataset();
        json!({
            "mode": "exact",
            "columns": columns.collect::<Map<_, _>>(),
            "drifted_share": dataset.share(),
            "dataset_drift": dataset.is_drift(DRIFT_SHARE),
            "only_in": { "reference": self.alone[0], "current": self.alone[1] },
            "unreadable_rows": { "reference": self.unreadable[0], "current": self.unreadable[1] },
        })
    }

    fn shown(&self) -> String {
        let mut text = table(self.columns.iter().map(|(name, column)| row(name, column)).collect());
        for (side, names) in ["reference", "current data"].iter().zip(&self.alone) {
            if !names.is_empty() {
                let _ = writeln!(text, "only in the {side}: {}", names.join(", "));
            }
        }
        for (side, rows) in ["reference", "current data"].iter().zip(self.unreadable) {
            if rows > 0 {
                let _ = writeln!(text, "rows of the {side} that cannot be read, left out: {rows}");
            }
        }
        let _ = write!(text, "{}", verdict(self.dataset()));
        text
    }
}

/// Lines of what is said of columns, one below the other.
fn table(rows: Vec<[String; 5]>) -> String {
    let width = |at: usize| rows.iter().map(|row| row[at].chars().count()).max().unwrap_or(0);
    let (name, kind, method, score) = (width(0), width(1), width(2), width(3));
    let mut text = String::new();
    for [first, second, third, fourth, fifth] in &rows {
        let _ = writeln!(
            text,
            "{first:name$}  {second:kind$}  {third:method$}  {fourth:score$}  {fifth}"
        );
    }
    text
}

/// What is said of all columns together.
fn verdict(dataset: DatasetDrift) -> String {
    match (dataset.share(), dataset.is_drift(DRIFT_SHARE)) {
        (None, _) => "no column can be compared".into(),
        (Some(_), is_drift) => format!(
            "{} of {} columns that can be compared have drifted: the data {} (from a share of {} on)",
            dataset.drifted,
            dataset.columns,
            if is_drift { "drift" } else { "do not drift" },
            DRIFT_SHARE,
        ),
    }
}

/// Whether each column of which something is wanted is in both files.
fn all_known<'a>(
    wanted: impl IntoIterator<Item = &'a String>,
    common: &[&String],
) -> anyhow::Result<()> {
    match wanted.into_iter().find(|column| !common.contains(column)) {
        None => Ok(()),
        Some(unknown) => {
            let names: Vec<&str> = common.iter().map(|name| name.as_str()).collect();
            let names = names.join(", ");
            let problem =
                format!("there is no column {unknown} in both files: choose among {names}");
            Err(Usage(problem).into())
        }
    }
}

/// What is wanted by name, by the names of this mode.
fn named<T: FromStr<Err: ToString>>(wanted: &[Named<String>]) -> anyhow::Result<Vec<Named<T>>> {
    let read = |it: &Named<String>| {
        let value = it.value.parse().map_err(|error: T::Err| Usage(error.to_string()))?;
        Ok(Named { column: it.column.clone(), value })
    };
    wanted.iter().map(read).collect()
}

/// The last that was said of a column.
fn last<'a, T>(wanted: &'a [Named<T>], column: &str) -> Option<&'a T> {
    wanted.iter().rfind(|it| it.column == column).map(|it| &it.value)
}

fn column(table: &Table, name: &str) -> Column {
    let place = table.names.iter().position(|other| other == name);
    let texts = table.rows.iter().map(|row| place.and_then(|at| row.get(at)));
    Column::parse(texts.map(|text| text.map_or("", String::as_str)))
}

fn told(column: &ColumnDrift) -> Value {
    let mut told = match &column.score {
        Ok(score) => json!({
            "method": score.method.name(),
            "score": score.score,
            "threshold": score.threshold,
            "comparison": score.method.comparison().sign(),
            "drifted": score.drifted,
        }),
        Err(why) => json!({ "not_computable": why.to_string() }),
    };
    let missing = &column.missing;
    told["kind"] = column.kind.name().into();
    told["missing"] = json!({
        "reference": missing.reference,
        "current": missing.current,
        "drifted": missing.drifted,
    });
    told
}

/// Name, kind, method, score, and what is said of it.
fn row(name: &str, column: &ColumnDrift) -> [String; 5] {
    let (method, score, mut said) = match &column.score {
        Ok(score) => {
            let sign = score.method.comparison().sign();
            let verdict = if score.drifted { "drift" } else { "no drift" };
            let said = format!("{verdict} (drift is {sign} {})", score.threshold);
            (score.method.name().to_owned(), short(score.score), said)
        }
        Err(why) => ("-".into(), "-".into(), format!("not computable: {why}")),
    };
    let missing = &column.missing;
    if missing.drifted {
        let percent = |share: f64| short(share * 100.0);
        let _ = write!(
            said,
            "; {} % are missing (reference: {} %)",
            percent(missing.current),
            percent(missing.reference)
        );
    }
    [name.to_owned(), column.kind.name().to_owned(), method, score, said]
}

/// Four digits.
fn short(value: f64) -> String {
    match value.abs() {
        0.0 => "0".into(),
        size if !(1e-3..1e6).contains(&size) => format!("{value:.3e}"),
        size => {
            let after = (3.0 - size.log10().floor()).max(0.0) as usize;
            format!("{value:.after$}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        drift: Drift,
    }

    /// What a command line says of two files.
    fn compared(reference: &str, current: &str, options: &[&str]) -> Result<Compared, String> {
        let line = [&["drift", "reference.csv", "current.csv"], options].concat();
        let line = Line::try_parse_from(line).map_err(|error| error.to_string())?;
        let table = |text: &str| Table::read(text.as_bytes(), usize::MAX).unwrap();
        Compared::of(&table(reference), &table(current), &line.drift)
            .map_err(|error| format!("{error:#}"))
    }

    fn refused(reference: &str, current: &str, options: &[&str]) -> String {
        match compared(reference, current, options) {
            Ok(_) => panic!("it was compared"),
            Err(said) => said,
        }
    }

    /// A hundred rows: what is the same, what moves by a fifth, two shares, letters, gaps, texts.
    fn rows(moved: bool) -> String {
        let mut text = String::from("same,moved,share,letter,gaps,note\n");
        for at in 0..100 {
            let value = at + if moved { 21 } else { 1 };
            let share = i32::from(at >= if moved { 45 } else { 60 });
            let letter = ["a", "b", "c"][if moved { at % 2 } else { at % 3 }];
            let gap = if moved && at % 4 == 0 { String::new() } else { format!("{at}.5") };
            let _ = writeln!(text, "{at}.0,{value},{share},{letter},{gap},\"note, {at}\"");
        }
        text
    }

    #[test]
    fn two_columns_of_one_name_are_not_compared() {
        let said = refused("x,y\n1,2\n", "x,y,x\n1,2,3\n", &[]);
        assert_eq!(said, "the current data has two columns called x: give each a name of its own");
    }

    #[test]
    fn columns_are_shown_with_kind_method_score_and_verdict() {
        let text = compared(&rows(false), &rows(true), &["--method", "moved=psi"]).unwrap().shown();
        insta::assert_snapshot!(text, @r"
        same    numerical    ks         1.000      no drift (drift is <= 0.05)
        moved   numerical    psi        2.101      drift (drift is >= 0.1)
        share   categorical  z          0.03367    drift (drift is < 0.05)
        letter  categorical  chisquare  1.984e-11  drift (drift is < 0.05)
        gaps    numerical    ks         1.000      no drift (drift is <= 0.05); 25.00 % are missing (reference: 0 %)
        note    text         -          -          not computable: it holds text, more than half of which is distinct: take it as categorical, or leave it out
        3 of 5 columns that can be compared have drifted: the data drift (from a share of 0.5 on)
        ");
    }

    #[test]
    fn programs_are_told_the_same_with_all_digits() {
        let document = compared(&rows(false), &rows(true), &[]).unwrap().document();
        let moved = &document["columns"]["moved"];
        assert_eq!(moved["kind"], "numerical");
        assert_eq!((&moved["method"], &moved["comparison"]), (&json!("ks"), &json!("<=")));
        let score = moved["score"].as_f64().unwrap();
        assert!((score / 0.03638428787491733 - 1.0).abs() < 1e-13, "{score}");
        assert_eq!((&moved["threshold"], &moved["drifted"]), (&json!(0.05), &json!(true)));
        assert!(moved.get("not_computable").is_none());
        let note = &document["columns"]["note"];
        assert_eq!(note["kind"], "text");
        assert!(note["not_computable"].as_str().unwrap().starts_with("it holds text"));
        assert!(note.get("drifted").is_none() && note.get("score").is_none());
        let gaps = json!({ "reference": 0.0, "current": 0.25, "drifted": true });
        assert_eq!(document["columns"]["gaps"]["missing"], gaps);
        assert_eq!(
            (&document["drifted_share"], &document["dataset_drift"]),
            (&json!(0.6), &json!(true))
        );
    }

    #[test]
    fn a_kind_may_be_named_and_the_last_word_holds() {
        let options = ["--kind", "share=numerical", "--method", "share=z", "--method", "share=ks"];
        let document = compared(&rows(false), &rows(true), &options).unwrap().document();
        let share = &document["columns"]["share"];
        assert_eq!((&share["kind"], &share["method"]), (&json!("numerical"), &json!("ks")));
        // A sign of equality may be part of a name.
        let odd = "a=b,c\n1,2\n3,4\n";
        let document = compared(odd, odd, &["--method", "a=b=psi"]).unwrap().document();
        assert_eq!(document["columns"]["a=b"]["method"], "psi");
    }

    #[test]
    fn columns_and_rows_that_are_left_out_are_told() {
        let compared = compared("a,b\n1,2\n", "c,a\n1,2\n", &[]).unwrap();
        let document = compared.document();
        assert_eq!(document["only_in"], json!({ "reference": ["b"], "current": ["c"] }));
        let text = compared.shown();
        assert!(
            text.contains("\nonly in the reference: b\nonly in the current data: c\n"),
            "{text}"
        );
    }

    #[test]
    fn errors_say_what_to_do() {
        let table = "a,b\n1,2\n";
        assert_eq!(
            refused(table, table, &["--method", "c=ks"]),
            "there is no column c in both files: choose among a, b"
        );
        let said = refused(table, table, &["--method", "a=chi2"]);
        assert!(
            said.contains("there is no method chi2: use one of ks, cramer_von_mises,"),
            "{said}"
        );
        let said = refused(table, table, &["--kind", "a=text"]);
        assert!(said.contains("a kind is numerical or categorical"), "{said}");
        let said = refused(table, "c\n1\n", &[]);
        assert!(said.ends_with("give both the same names in their first line"), "{said}");
        let said = format!("{:#}", read(Path::new("/nowhere/a.csv")).unwrap_err());
        assert!(
            said.starts_with("cannot read /nowhere/a.csv: a CSV file with the names"),
            "{said}"
        );
    }
}
