//! `lineside profile build`: reads the reference twice, first to see what its columns hold, then to count.

use super::chunk;
use super::pipeline::PipelineSource;
use crate::bundle::{models, open_for_profile};
use crate::confined::SECONDS;
use crate::counted::{Counted, FileSource, Read, Source, surveyed};
use crate::new_files::replace;
use crate::output::{Output, Usage};
use anyhow::{Context, bail};
use clap::Args;
use lineside_bundle::PROFILE;
use lineside_drift::{
    Chunk, ColumnProfile, Marks, Profile, SIGMAS, SketchMethod, Statistic, VALUES_MIN, learn,
};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

/// Chunks that are kept side by side at most.
const CHUNKS_MAX: usize = 1000;

#[derive(Args)]
pub struct Build {
    /// What is known to be good: CSV with the names of its columns in the first line, JSON objects, a line
    /// each, or Parquet.
    #[arg(value_name = "REFERENCE.csv")]
    reference: PathBuf,
    /// The folder of a bundle: its ports say what the columns are, and its pipeline gives the outputs. The
    /// profile becomes a part of it.
    #[arg(long, value_name = "DIR")]
    bundle: Option<PathBuf>,
    /// Change a key of bundle.toml, as `lineside bundle build` does.
    #[arg(long = "set", value_name = "KEY=VALUE", requires = "bundle")]
    set: Vec<String>,
    /// Where the profile is written [default: profile.json, in the bundle's folder if there is one].
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Intervals that limits are learnt from and are for: a time by the rows' own (1d, 6h, 30m, 90s), or a
    /// number of rows.
    #[arg(long, value_name = "LENGTH", default_value = "1d", value_parser = chunk::parse)]
    chunk: Chunk,
    /// Standard deviations between the mean of the chunks and a limit.
    #[arg(short = 'k', long = "sigmas", value_name = "NUMBER", default_value_t = SIGMAS)]
    sigmas: f64,
    /// Values that there have to be for a score.
    #[arg(long, value_name = "N", default_value_t = VALUES_MIN)]
    values_min: u64,
    /// The column with the time of a row (RFC 3339), where no bundle says so [default: time, if there is one].
    #[arg(long, value_name = "COLUMN", conflicts_with = "bundle")]
    time: Option<String>,
    /// How long loading the bundle, or one frame, may take, in seconds.
    #[arg(long, value_name = "N", default_value_t = SECONDS, requires = "bundle")]
    seconds: NonZeroU32,
}

/// A profile in the making.
struct Built {
    profile: Profile,
    read: Read,
    /// Columns that it does not have, and why.
    left_out: BTreeMap<String, String>,
}

pub fn run(build: &Build, output: &Output) -> anyhow::Result<()> {
    if !build.sigmas.is_finite() || build.sigmas <= 0.0 {
        return Err(Usage(format!("-k {} must be above zero", build.sigmas)).into());
    }
    let name = build.reference.display();
    let built = match &build.bundle {
        Some(folder) => {
            let bundle = open_for_profile(folder, &build.set, output)?;
            let _working = output.working(format!("running {name} twice"));
            let reference = build.reference.clone();
            let source = PipelineSource::new(&bundle, reference, build.seconds, output);
            let Built { profile, read, left_out } = built(&source, build)?;
            Built { profile: profile.of_models(models(&bundle.manifest)), read, left_out }
        }
        None => {
            let _working = output.working(format!("reading {name} twice"));
            let source = match &build.time {
                Some(time) => FileSource::open(&build.reference, Some(time))?,
                // There may be none, and then no time.
                None => FileSource::open(&build.reference, Some("time"))
                    .or_else(|_| FileSource::open(&build.reference, None))?,
            };
            if source.time().is_none() && matches!(build.chunk, Chunk::Milliseconds(_)) {
                bail!(
                    "{name} has no column time, so it has no days: name the column with the time by --time, or \
                     a number of rows by --chunk"
                );
            }
            built(&source, build)?
        }
    };
    let file = build.output.clone().unwrap_or_else(|| match &build.bundle {
        Some(folder) => folder.join(PROFILE),
        None => Path::new(PROFILE).to_owned(),
    });
    replace(&file, &built.profile.to_json())?;
    output.print(shown(&file, &built, build), &document(&file, &built))
}

fn built(source: &dyn Source, build: &Build) -> anyhow::Result<Built> {
    let (surveys, read) = surveyed(source)?;
    if read.rows == 0 {
        bail!("{} has no row that can be read", build.reference.display());
    }
    if read.untimed == read.rows && matches!(build.chunk, Chunk::Milliseconds(_)) {
        bail!(
            "no row of {} has a time as in 2014-01-18T00:00Z: name the column with the time by --time, or a \
             number of rows by --chunk",
            build.reference.display()
        );
    }
    let mut left_out = BTreeMap::new();
    let mut marks: Vec<Option<Marks>> = Vec::new();
    for (column, survey) in source.columns().iter().zip(&surveys) {
        let found = survey.marks(column.kind);
        if let (Err(why), true) = (&found, survey.rows() > 0) {
            left_out.insert(column.name.clone(), why.to_string());
        }
        marks.push(found.ok());
    }
    let fresh = || -> Vec<Option<Counted>> {
        let each = marks.iter().zip(source.columns());
        each.map(|(marks, it)| marks.as_ref().map(|marks| Counted::new(marks, it.range))).collect()
    };
    let mut whole = fresh();
    let mut chunks: BTreeMap<i64, Vec<Option<Counted>>> = BTreeMap::new();
    let mut is_full = false;
    let mut waiting = vec![Vec::new(); marks.len()];
    source.read(&mut |at, moment, cell| {
        let (Some(marks), range) = (&marks[at], source.columns()[at].range) else { return };
        if let Some(counted) = &mut whole[at] {
            counted.take_later(marks, range, cell, &mut waiting[at]);
        }
        let number = match (build.chunk, moment.time_ms) {
            (Chunk::Milliseconds(length), Some(time)) => time.div_euclid(length),
            (Chunk::Milliseconds(_), None) => return,
            (Chunk::Rows(rows), _) => (moment.number / rows) as i64,
        };
        if chunks.len() >= CHUNKS_MAX && !chunks.contains_key(&number) {
            is_full = true;
            return;
        }
        if let Some(counted) = &mut chunks.entry(number).or_insert_with(&fresh)[at] {
            counted.take(marks, range, cell);
        }
    })?;
    for (marks, (counted, waiting)) in marks.iter().zip(whole.iter_mut().zip(&mut waiting)) {
        if let (Some(marks), Some(counted)) = (marks, counted) {
            counted.take_waiting(marks, waiting);
        }
    }
    if is_full {
        bail!("the reference has more than {CHUNKS_MAX} chunks: choose a longer --chunk");
    }
    let mut columns = Vec::new();
    for (at, column) in source.columns().iter().enumerate() {
        let (Some(marks), Some(counted)) = (&marks[at], &whole[at]) else { continue };
        let mut profile = ColumnProfile {
            name: column.name.clone(),
            role: column.role,
            marks: marks.clone(),
            reference: counted.observed.sketch.clone(),
            method: SketchMethod::PROFILE,
            threshold: SketchMethod::PROFILE.default_threshold(),
            learnt: None,
        };
        let observed = chunks.values().filter_map(|chunk| chunk[at].as_ref());
        let statistics: Vec<_> =
            observed.map(|it| profile.statistics(&it.observed, build.values_min)).collect();
        profile.learnt = learn(&statistics, build.sigmas);
        columns.push(profile);
    }
    if columns.is_empty() {
        let whys = left_out.iter().map(|(name, why)| format!("{name}: {why}"));
        bail!("no column can be profiled: {}", whys.collect::<Vec<_>>().join("; "));
    }
    columns.sort_by(|a, b| (a.role, &a.name).cmp(&(b.role, &b.name)));
    let profile = Profile::new(Some(build.chunk), build.values_min, columns);
    let profile = profile.context("the profile cannot be made")?;
    Ok(Built { profile, read, left_out })
}

fn document(file: &Path, built: &Built) -> Value {
    let columns = built.profile.columns().iter().map(|column| {
        let learnt = column.learnt.as_ref().map(|learnt| {
            let limits = learnt.limits.iter().map(|(statistic, limits)| {
                (statistic.name().to_owned(), serde_json::to_value(limits).unwrap_or_default())
            });
            json!({ "chunks": learnt.chunks, "sigmas": learnt.sigmas,
                "limits": limits.collect::<Map<_, _>>() })
        });
        json!({ "name": column.name, "role": column.role, "kind": column.marks.kind().name(),
            "values": column.reference.values(), "method": column.method.name(),
            "threshold": column.threshold, "learnt": learnt })
    });
    json!({ "profile": file, "rows": built.read.rows, "unreadable": built.read.unreadable,
        "untimed": built.read.untimed, "columns": columns.collect::<Vec<_>>(), "left_out": built.left_out })
}

fn shown(file: &Path, built: &Built, build: &Build) -> String {
    let columns = built.profile.columns();
    let mut text = format!(
        "{}: {} columns of {} rows, limits from chunks of {}",
        file.display(),
        columns.len(),
        built.read.rows,
        chunk::told(build.chunk)
    );
    for column in columns {
        let kind = column.marks.kind().name();
        let _ = write!(text, "\n{}  {kind}, {} values", column.name, column.reference.values());
        let Some(learnt) = &column.learnt else {
            text.push_str(", no limits: fewer than two chunks have enough values");
            continue;
        };
        let drift = learnt.limits.get(&Statistic::Drift).and_then(|limits| limits.upper);
        let median = learnt.limits.get(&Statistic::Median).and_then(|it| it.lower.zip(it.upper));
        if let Some((low, high)) = median {
            let _ = write!(text, ", median {low:.4} to {high:.4}");
        }
        if let Some(upper) = drift {
            let _ = write!(text, ", {} up to {upper:.3}", column.method);
        }
        let _ = write!(text, " ({} chunks)", learnt.chunks);
    }
    for (name, why) in &built.left_out {
        let _ = write!(text, "\n{name}  left out: {why}");
    }
    for (what, count) in [
        ("rows that cannot be read, or frames without an answer, left out", built.read.unreadable),
        ("rows without a time, in no chunk", built.read.untimed),
    ] {
        if count > 0 {
            let _ = write!(text, "\n{what}: {count}");
        }
    }
    text
}
