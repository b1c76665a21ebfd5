//! The examples and their versions, as `examples/versions.toml` lists them.

use crate::{lineside_in, root};
use anyhow::{Context, bail};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// One version of an example.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Version {
    /// The bundle's version.
    pub version: String,
    /// Whether it is there to be refused or taken back.
    #[serde(default)]
    pub faulty: bool,
    /// Whether its checks are recorded from itself.
    #[serde(default)]
    pub record_checks: bool,
    /// What differs from `bundle.toml`, as `--set` wants it.
    #[serde(default)]
    pub set: Vec<String>,
}

/// All versions, by example.
///
/// # Panics
/// If the list cannot be read: it is part of the project.
pub fn versions() -> BTreeMap<String, Vec<Version>> {
    let path = root().join("examples/versions.toml");
    let text = fs::read_to_string(path).expect("examples/versions.toml lies in the project");
    toml::from_str(&text).expect("examples/versions.toml holds lists of versions")
}

/// A version of an example.
///
/// # Errors
/// There is none of that name.
pub fn version(example: &str, version: &str) -> anyhow::Result<Version> {
    let all = versions().remove(example).unwrap_or_default();
    let found = all.into_iter().find(|one| one.version == version);
    found.with_context(|| format!("there is no {example} v{version}"))
}

/// Builds a version of an example into `folder`. Returns the file.
///
/// # Errors
/// What the tool says.
pub fn build(example: &str, version: &str, folder: &Path) -> anyhow::Result<PathBuf> {
    let found = self::version(example, version)?;
    // The folder's profile is of the first version's model.
    let is_other = found.set.iter().any(|change| change.contains(".onnx"));
    let profile: &[&str] = if is_other { &["--without-profile"] } else { &[] };
    build_with(example, &found, profile, folder)
}

/// As [`build`], with a profile of its own, made of what it answers to `reference`.
///
/// # Errors
/// What the tool says.
pub fn build_profiled(
    example: &str,
    version: &str,
    reference: &Path,
    folder: &Path,
) -> anyhow::Result<PathBuf> {
    let found = self::version(example, version)?;
    let source = root().join("examples").join(example);
    let profile = folder.join(format!("{example}-v{version}.profile.json"));
    let [reference, source, profile] =
        [reference, &source, &profile].map(|path| path.display().to_string());
    let mut arguments = vec!["profile", "build", &reference, "--bundle", &source, "-o", &profile];
    for change in &found.set {
        arguments.extend(["--set", change]);
    }
    let output = lineside_in(&root(), &arguments);
    if !output.status.success() {
        bail!("{example} v{version} has no profile: {}", crate::complaint(&output));
    }
    build_with(example, &found, &["--profile", &profile], folder)
}

fn build_with(
    example: &str,
    found: &Version,
    profile: &[&str],
    folder: &Path,
) -> anyhow::Result<PathBuf> {
    let version = &found.version;
    let file = folder.join(format!("{example}-v{version}.lsb"));
    let source = root().join("examples").join(example);
    let [source, output] = [&source, &file].map(|path| path.display().to_string());
    let numbered = format!("version={version}");
    let mut arguments = vec!["bundle", "build", &source, "--output", &output, "--set", &numbered];
    arguments.extend(profile);
    for change in &found.set {
        arguments.extend(["--set", change]);
    }
    if found.record_checks {
        arguments.push("--record-checks");
    }
    let output = lineside_in(&root(), &arguments);
    if !output.status.success() {
        bail!("{example} v{version} is not built: {}", crate::complaint(&output));
    }
    Ok(file)
}

/// Rows of a recording of turbines as a file of its own in `folder`; the four are read in turn.
///
/// # Errors
/// The recording cannot be read, or the file not be written.
pub fn turbine_rows(recording: &str, rows: Range<usize>, folder: &Path) -> anyhow::Result<PathBuf> {
    let source = root().join(format!("examples/turbine/recordings/{recording}.csv"));
    let text =
        fs::read_to_string(&source).with_context(|| format!("cannot read {}", source.display()))?;
    let mut lines = text.lines();
    let head = lines.next().unwrap_or_default();
    let file = folder.join(format!("{recording}-{}-{}.csv", rows.start, rows.end));
    let part: Vec<&str> =
        [head].into_iter().chain(lines.skip(rows.start).take(rows.len())).collect();
    if part.len() != rows.len() + 1 {
        bail!("{} has no rows {} to {}", source.display(), rows.start, rows.end);
    }
    fs::write(&file, part.join("\n") + "\n")
        .with_context(|| format!("cannot write {}", file.display()))?;
    Ok(file)
}

/// Beats in the recording of heart beats.
pub const BEATS: usize = 502;

/// Compares what `ecg v1` found in the whole recording, in the order of the beats, with what the
/// reference runtime found.
///
/// # Errors
/// Names the first finding that differs.
pub fn check_beats_found(findings: &[Value]) -> anyhow::Result<()> {
    let expected = expected("ecg/expected/excerpt.jsonl")?;
    if (findings.len(), expected.len()) != (BEATS, BEATS) {
        bail!("{} findings, {} beats were expected", findings.len(), expected.len());
    }
    for (finding, expected) in findings.iter().zip(&expected) {
        let number = |value: &Value| value.as_f64().context("no number");
        let (sample, probability) = (number(&expected["sample"])?, number(&expected["v1"])?);
        let outputs = &finding["outputs"];
        let right = finding["release"] == "ecg v1"
            && outputs["sample"].as_f64() == Some(sample)
            && is_close(outputs["probability"].as_f64(), probability)
            && finding["alarm"] == (probability > 0.5);
        if !right {
            bail!("{expected} was expected, not {finding}");
        }
    }
    Ok(())
}

/// Compares what `turbine v1` found in the first rows of the recording `reference` with what the
/// reference runtime found. The findings may come in any order.
///
/// # Errors
/// Names the first finding that differs.
pub fn check_windows_found(findings: &[Value]) -> anyhow::Result<()> {
    let expected = expected("turbine/expected/reference.jsonl")?;
    let key = |line: &Value| Some((line["key"].as_str()?.to_owned(), line["frame"].as_u64()?));
    let expected: BTreeMap<_, _> =
        expected.iter().filter_map(|line| Some((key(line)?, line))).collect();
    for finding in findings {
        let expected = key(finding).and_then(|key| expected.get(&key));
        let expected = expected.with_context(|| format!("nobody expected {finding}"))?;
        let score = expected["v1"][0].as_f64().context("no number")?;
        if !is_close(finding["outputs"]["score"].as_f64(), score) {
            bail!("{expected} was expected, not {finding}");
        }
    }
    Ok(())
}

/// Whether a number is as close as the examples state: 1e-4, absolute and relative.
fn is_close(found: Option<f64>, expected: f64) -> bool {
    found.is_some_and(|found| (found - expected).abs() <= 1e-4 + 1e-4 * expected.abs())
}

fn expected(path: &str) -> anyhow::Result<Vec<Value>> {
    let file = root().join("examples").join(path);
    let text =
        fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
    let parse = |line| serde_json::from_str(line).with_context(|| format!("no JSON: {line}"));
    text.lines().map(parse).collect()
}
