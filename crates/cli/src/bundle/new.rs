//! `lineside bundle new`: a bundle begun from a model, and from a recording where there is one.

mod columns;
mod plan;
mod written;

use super::replayed;
use super::source::{self, Answers, BundleProfile};
use crate::model::facts::Trial;
use crate::model::inspect::{Inspect, Inspected};
use crate::model::probe::Shape;
use crate::new_files::make;
use crate::output::Output;
use crate::watch::{Patience, Watch};
use anyhow::{Context, bail};
use clap::Args;
use columns::columns;
use lineside_bundle::{BundleFile, BundleName};
use lineside_runtime::{CheckReport, Table};
use plan::{Plan, Wishes};
use serde_json::json;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::path::{Path, PathBuf};
use written::Written;

pub const EXAMPLES: &str = "\
Examples:
  lineside bundle new pump --model pump.onnx --data january.csv
  lineside bundle new ecg --model ecg.onnx --data ecg.csv --fields mlii_mv --key record
  lineside bundle new reader --model text.onnx --shape x=1,3,48,320

Then:
  lineside bundle build pump -o pump.lsb
  lineside bundle check pump.lsb
  lineside release pump.lsb";

/// Rows of a recording that are looked at.
const ROWS_MAX: usize = 100_000;
/// Windows, and readings, that a check is made of: long enough for times to mean something, and small
/// enough to go with every release.
const WINDOWS: usize = 60;
const READINGS_MIN: usize = 600;
const READINGS_MAX: usize = 20_000;
/// What the check is called.
const CHECK: &str = "recorded";

#[derive(Args)]
pub struct New {
    /// The folder; it is made.
    folder: PathBuf,
    /// The model, an ONNX file.
    #[arg(long, value_name = "FILE.onnx")]
    model: PathBuf,
    /// A recording of what the model will see: CSV with a line of names, or a JSON object a line.
    #[arg(long, value_name = "FILE.csv")]
    data: Option<PathBuf>,
    /// What the bundle is called; as the folder unless set.
    #[arg(long)]
    name: Option<BundleName>,
    /// The columns that the model takes, in the order in which it was trained.
    #[arg(long, value_name = "COLUMN,…", value_delimiter = ',')]
    fields: Vec<String>,
    /// The column that tells streams apart (machines, patients).
    #[arg(long, value_name = "COLUMN")]
    key: Option<String>,
    /// The column with the time, RFC 3339.
    #[arg(long, value_name = "COLUMN")]
    time: Option<String>,
    /// The sizes of an input where the model leaves some free.
    #[arg(long = "shape", value_name = "INPUT=SIZES")]
    shapes: Vec<Shape>,
    #[command(flatten)]
    patience: Patience,
}

pub fn run(new: &New, output: &Output) -> anyhow::Result<()> {
    let folder = new.folder.display();
    if new.folder.join("bundle.toml").exists() {
        bail!(
            "{folder} has a bundle.toml already, which is never written over: name another folder"
        );
    }
    let name = name(new)?;
    let table = new.data.as_deref().map(table).transpose()?;
    let inspect = Inspect::with(new.model.clone(), new.shapes.clone());
    let first = Inspected::of(&inspect, output)?;
    let columns = table.as_ref().map(columns);
    let wishes = Wishes {
        key: new.key.clone(),
        time: new.time.clone(),
        fields: new.fields.clone(),
        shapes: new.shapes.iter().map(|it| (it.input.clone(), it.sizes.clone())).collect(),
    };
    let model = new.model.display();
    let plan =
        Plan::of(&first.facts, columns.as_deref(), &wishes).with_context(|| model.to_string())?;
    let inspected = settled(new, &plan, first, output)?;
    let trial = ran(new, &inspected)?;
    let made = {
        let _working = output.working(format!("checking {folder}"));
        let watch = Watch::over_checks(&name, &new.patience, output);
        write(new, &name, &plan, trial, table.as_ref(), &watch)?
    };
    let json = json!({ "folder": new.folder, "bundle": name, "guessed": made.guessed,
        "fields": plan.fields.iter().map(|field| &field.name).collect::<Vec<_>>(),
        "rows": plan.rows, "checks": made.report.as_ref().map(|report| &report.checks) });
    output.print(shown(new, &name, &made), &json)
}

/// What was made of it.
struct Made {
    guessed: Vec<String>,
    report: Option<CheckReport>,
}

/// The model, tried with the shapes that the plan gives it.
fn settled(new: &New, plan: &Plan, first: Inspected, output: &Output) -> anyhow::Result<Inspected> {
    let said: Vec<&str> = new.shapes.iter().map(|shape| &*shape.input).collect();
    if plan.shapes.keys().all(|input| said.contains(&&**input)) {
        return Ok(first);
    }
    let shape = |(input, sizes): (&String, &Vec<usize>)| Shape {
        input: input.clone(),
        sizes: sizes.clone(),
    };
    let shapes = plan.shapes.iter().map(shape).collect();
    Inspected::of(&Inspect::with(new.model.clone(), shapes), output)
}

/// What the model did in the first engine that ran it.
fn ran<'a>(new: &New, inspected: &'a Inspected) -> anyhow::Result<&'a Trial> {
    let tried = &inspected.tried;
    let first = lineside_runtime::ENGINES.iter().find_map(|it| tried.get(it.name())?.as_ref().ok());
    first.with_context(|| {
        let why = tried.iter().map(|(engine, outcome)| {
            let reason = outcome.as_ref().err().map_or("", String::as_str);
            format!("{engine} {reason}")
        });
        format!(
            "no engine runs {}: {}; `lineside model inspect` says what helps",
            new.model.display(),
            why.collect::<Vec<_>>().join("; ")
        )
    })
}

fn name(new: &New) -> anyhow::Result<String> {
    if let Some(name) = &new.name {
        return Ok(name.as_str().to_owned());
    }
    let folder = std::path::absolute(&new.folder)?;
    let last = folder.file_name().map(|name| name.to_string_lossy().to_lowercase());
    let plain: String = last
        .unwrap_or_default()
        .chars()
        .map(|it| if it.is_ascii_alphanumeric() { it } else { '-' })
        .collect();
    let name: BundleName = plain.trim_matches('-').parse().with_context(|| {
        format!("{} makes no name for a bundle: say one by --name", new.folder.display())
    })?;
    Ok(name.as_str().to_owned())
}

fn table(data: &Path) -> anyhow::Result<Table> {
    let name = data.display();
    let file = File::open(data).with_context(|| format!("cannot open {name}"))?;
    let table = Table::read(file, ROWS_MAX).with_context(|| name.to_string())?;
    if table.rows.is_empty() {
        bail!("{name} has no rows");
    }
    Ok(table)
}

/// Writes the folder, and has the bundle checked that it makes.
fn write(
    new: &New,
    name: &str,
    plan: &Plan,
    trial: &Trial,
    table: Option<&Table>,
    watch: &Watch,
) -> anyhow::Result<Made> {
    let file_name = new.model.file_name().context("the model's file has no name")?;
    let model = format!("models/{}", file_name.to_string_lossy());
    let (input, expected) = (format!("checks/{CHECK}.csv"), format!("checks/{CHECK}.jsonl"));
    let summary = format!("Begun from {}", file_name.to_string_lossy());
    let recording = table.map(|table| recording(table, plan)).transpose()?;
    let written = Written {
        name,
        summary: &summary,
        model: &model,
        plan,
        outputs: &trial.outputs,
        memory_mib: trial.memory_mib(),
        check: recording.as_ref().map(|_| (CHECK, &*input, &*expected)),
    };
    let (text, outputs) = written.text();
    BundleFile::parse(&text).context("what was guessed does not hold together")?;
    let bytes = std::fs::read(&new.model)
        .with_context(|| format!("cannot read {}", new.model.display()))?;
    let mut files: Vec<(&str, &[u8])> = vec![("bundle.toml", text.as_bytes()), (&model, &bytes)];
    if let Some((recording, _)) = &recording {
        files.push((&input, recording.as_bytes()));
    }
    for (path, bytes) in files {
        put(&new.folder, path, bytes)?;
    }
    let folder = new.folder.display();
    let report =
        checked(new, recording.is_some().then_some(&*expected), watch).with_context(|| {
            format!(
                "{folder} is begun, but what was guessed does not run: mend {folder}/bundle.toml"
            )
        })?;
    let told = &plan.told;
    let guessed = [&told.port, &told.window, &told.model, &outputs].into_iter().flatten();
    let left_out = table.zip(recording).map(|(table, (_, others))| left_out(table, others));
    Ok(Made { guessed: guessed.cloned().chain(left_out.into_iter().flatten()).collect(), report })
}

/// Builds what was written, with its own answers where it has a check, and replays that.
fn checked(
    new: &New,
    expected: Option<&str>,
    watch: &Watch,
) -> anyhow::Result<Option<CheckReport>> {
    let Some(expected) = expected else {
        source::build(&new.folder, &[], Answers::Needed, &BundleProfile::None)?;
        return Ok(None);
    };
    let built = source::build(&new.folder, &[], Answers::Recorded(watch), &BundleProfile::None)?;
    let answers = built.file(expected).context("the check has no answers")?;
    put(&new.folder, expected, answers)?;
    Ok(Some(replayed(&built, watch)?))
}

fn put(folder: &Path, path: &str, bytes: &[u8]) -> anyhow::Result<()> {
    let file = folder.join(path);
    let within = file.parent().unwrap_or(folder);
    std::fs::create_dir_all(within).with_context(|| format!("cannot make {}", within.display()))?;
    make(&file, bytes)
}

/// Which rows of the recording are not in the check, and why; `others` of those that can be read are no readings.
fn left_out(table: &Table, others: usize) -> Vec<String> {
    let unreadable = table.problem.as_ref().map(|problem| {
        let rows = table.unreadable;
        format!("{rows} rows of the recording cannot be read and are left out; {problem}")
    });
    let others = (others > 0).then(|| {
        format!(
            "{others} rows of the recording are left out of the check: a cell of them that the port needs is \
             empty, or no number of 32 bits"
        )
    });
    unreadable.into_iter().chain(others).collect()
}

/// The first rows of the recording, those columns of them that the port has; and how many between them are
/// no readings.
///
/// A check is for answers; what a device makes of rows that are no readings is not what it asks.
fn recording(table: &Table, plan: &Plan) -> anyhow::Result<(String, usize)> {
    let names = plan.key.iter().chain(&plan.time).chain(plan.fields.iter().map(|it| &it.name));
    let names: Vec<&String> = names.collect();
    let place = |name: &&String| table.names.iter().position(|other| other == *name);
    let places: Option<Vec<usize>> = names.iter().map(place).collect();
    let places = places.context("the recording has not all columns of the port")?;
    let marks = usize::from(plan.key.is_some()) + usize::from(plan.time.is_some());
    let is_reading = |row: &&Vec<String>| {
        let mark = |place: &usize| !row[*place].is_empty();
        // A window has numbers of 32 bits.
        let number =
            |place: &usize| row[*place].parse::<f64>().is_ok_and(|it| (it as f32).is_finite());
        places[..marks].iter().all(mark) && places[marks..].iter().all(number)
    };
    let wanted = (plan.rows * WINDOWS).clamp(READINGS_MIN, READINGS_MAX);
    let key = plan.key.as_ref().and(places.first());
    let mut rows = Vec::new();
    let mut streams: BTreeMap<&str, usize> = BTreeMap::new();
    // A window is of one stream.
    let (mut longest, mut others) = (0, 0);
    for row in &table.rows {
        if !is_reading(&row) {
            others += 1;
            continue;
        }
        let readings = streams.entry(key.map_or("", |place| &*row[*place])).or_default();
        *readings += 1;
        longest = longest.max(*readings);
        rows.push(row);
        if rows.len() >= wanted && longest >= plan.rows {
            break;
        }
    }
    if longest < plan.rows {
        let of = plan.key.as_ref().map_or(String::new(), |key| format!(" of one {key}"));
        bail!(
            "the recording has {longest} rows{of} with all of their numbers, one window needs {}",
            plan.rows
        );
    }
    let line = |cells: Vec<&str>| cells.into_iter().map(cell).collect::<Vec<_>>().join(",") + "\n";
    let mut text = line(names.iter().map(|name| name.as_str()).collect());
    for row in rows {
        text += &line(places.iter().map(|place| &*row[*place]).collect());
    }
    Ok((text, others))
}

/// A cell of a CSV file (RFC 4180, section 2, rules 5 to 7).
fn cell(text: &str) -> String {
    match text.contains([',', '"', '\r', '\n']) {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text.to_owned(),
    }
}

fn shown(new: &New, name: &str, made: &Made) -> String {
    let folder = new.folder.display();
    let mut text = format!("{folder}: the bundle {name}, begun from {}", new.model.display());
    text += "\n\nguessed, each in its place in bundle.toml";
    for sentence in &made.guessed {
        let _ = write!(text, "\n  - {sentence}");
    }
    match made.report.as_ref().and_then(|report| report.checks.first()) {
        Some(check) => {
            let _ = write!(
                text,
                "\n\nchecked: {} readings, {} findings",
                check.readings, check.findings
            );
        }
        None => {
            let _ = write!(
                text,
                "\n\nnot checked: with --data a recording becomes a check, and names the columns"
            );
        }
    }
    let _ = write!(
        text,
        "\n\nnext\n  look into {folder}/bundle.toml\n  lineside bundle build {folder} -o {name}.lsb\n  \
         lineside bundle check {name}.lsb\n  lineside release {name}.lsb"
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use plan::Field;

    /// What of a recording becomes a check, for windows of so many readings.
    fn recorded(csv: &str, key: Option<&str>, rows: usize) -> Result<String, String> {
        let plan = Plan {
            key: key.map(str::to_owned),
            time: None,
            rate_hz: 1.0,
            fields: vec![Field { name: "flow, l/s".into(), range: None }],
            rows,
            inputs: BTreeMap::new(),
            shapes: BTreeMap::new(),
            state: BTreeMap::new(),
            warm_up_readings: 0,
            told: plan::Told::default(),
        };
        let table = Table::read(csv.as_bytes(), ROWS_MAX).unwrap();
        let recorded = recording(&table, &plan).map_err(|error| error.to_string());
        recorded.map(|(text, others)| text + &left_out(&table, others).join("\n"))
    }

    #[test]
    fn a_check_has_the_columns_of_the_port_and_rows_that_are_readings() {
        let csv = "n,\"flow, l/s\",pump\n1,0.5,\"a \"\"1\"\"\"\n2,,b\n3,nan,b\n4,x,b\n5,7,\n6,1e39,b\n6,2,b\n";
        let said = recorded(csv, Some("pump"), 1).unwrap();
        let left_out = "5 rows of the recording are left out of the check: a cell of them that the \
            port needs is empty, or no number of 32 bits";
        let wanted = "pump,\"flow, l/s\"\n\"a \"\"1\"\"\",0.5\nb,2\n";
        assert_eq!(said, format!("{wanted}{left_out}"));
    }

    #[test]
    fn rows_that_cannot_be_read_are_told_of_with_the_first_and_the_cure() {
        let said = recorded("\"flow, l/s\",n\n0.5,1\n0,5,2\n7,3\n0,9,4\n", None, 1).unwrap();
        let wanted = "\"flow, l/s\"\n0.5\n7\n2 rows of the recording cannot be read and are left out; \
            line 3: it has 3 cells, the first line has 2: put cells that hold a comma in quotation marks";
        assert_eq!(said, wanted);
    }

    #[test]
    fn a_check_is_as_long_as_one_stream_needs_for_a_window() {
        let streams = |count: usize, rows: usize| {
            let row = |row: usize| format!("{},{row}\n", row % count);
            "pump,\"flow, l/s\"\n".to_owned() + &(0..rows).map(row).collect::<String>()
        };
        let lines = |text: String| text.lines().count() - 1;
        assert_eq!(recorded(&streams(2, 5000), Some("pump"), 4).map(lines), Ok(READINGS_MIN));
        assert_eq!(recorded(&streams(100, 50_000), Some("pump"), 400).map(lines), Ok(39_901));
        assert_eq!(
            recorded(&streams(100, 5000), Some("pump"), 400),
            Err("the recording has 50 rows of one pump with all of their numbers, one window needs 400".into())
        );
        let said = recorded(&streams(1, 3), None, 4).unwrap_err();
        assert_eq!(said, "the recording has 3 rows with all of their numbers, one window needs 4");
    }
}
