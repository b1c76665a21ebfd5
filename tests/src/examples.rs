//! The examples and their versions, as `examples/versions.toml` lists them.

use crate::{lineside_in, root};
use anyhow::{Context, bail};
use serde::Deserialize;
use std::collections::BTreeMap;
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
    let text = std::fs::read_to_string(path).expect("examples/versions.toml lies in the project");
    toml::from_str(&text).expect("examples/versions.toml holds lists of versions")
}

/// Builds a version of an example into `folder`. Returns the file.
///
/// # Errors
/// What the tool says.
pub fn build(example: &str, version: &str, folder: &Path) -> anyhow::Result<PathBuf> {
    let versions = versions();
    let found = versions.get(example).and_then(|all| all.iter().find(|v| v.version == version));
    let found = found.with_context(|| format!("there is no {example} v{version}"))?;
    let file = folder.join(format!("{example}-v{version}.lsb"));
    let source = root().join("examples").join(example);
    let mut arguments = vec!["bundle".into(), "build".into()];
    arguments.extend([source.display().to_string(), "--output".into(), file.display().to_string()]);
    arguments.extend(["--set".into(), format!("version={version}")]);
    for change in &found.set {
        arguments.extend(["--set".into(), change.clone()]);
    }
    if found.record_checks {
        arguments.push("--record-checks".into());
    }
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let output = lineside_in(&root(), &arguments);
    if !output.status.success() {
        bail!("{example} v{version} is not built: {}", crate::complaint(&output));
    }
    Ok(file)
}
