//! `lineside keys follow`: leads the root that is trusted here along those that came after it, without a
//! server.

use super::draft::root_at;
use super::folder::{ROOT, read, root_file};
use super::words;
use crate::new_files;
use crate::output::Output;
use anyhow::{Context, bail};
use clap::Args;
use lineside_trust::{DOCUMENT_BYTES_MAX, Root};
use serde_json::json;
use std::path::{Path, PathBuf};

#[derive(Args)]
pub struct Follow {
    /// Roots that came after it, in any order, or a folder of keys, which has them by their versions.
    #[arg(required = true, value_name = "ROOT")]
    roots: Vec<PathBuf>,
    /// The root that is trusted here; it gives way to the last one, and stays by its version.
    #[arg(long, value_name = "FILE", default_value = ROOT)]
    root: PathBuf,
}

pub fn run(follow: &Follow, output: &Output) -> anyhow::Result<()> {
    let ours = root_at(&follow.root)?;
    let mut candidates = Vec::new();
    for path in &follow.roots {
        match path.is_dir() {
            true => candidates.extend(roots_in(path, ours.version())?),
            false => candidates.push((path.clone(), read(path, DOCUMENT_BYTES_MAX as u64)?)),
        }
    }
    let mut way = vec![ours];
    // Whoever brings them, only what enough keys of the one before have signed comes after it.
    let next = |last: &Root| candidates.iter().find_map(|(_, bytes)| last.update(bytes).ok());
    while let Some(root) = way.last().and_then(next) {
        way.push(root);
    }
    let (last, before) = way.split_last().context("a way begins somewhere")?;
    if let Some(why) = left_over(last, &candidates) {
        bail!("{why}");
    }
    let (mut lines, mut followed) = (Vec::new(), Vec::new());
    for (before, now) in way.iter().zip(way.iter().skip(1)) {
        let changes = words::root_changes(&before.spec()?, &now.spec()?);
        lines.push(format!("root {} follows root {}", now.version(), before.version()));
        lines.extend(changes.iter().map(|change| format!("  {change}")));
        followed.push(json!({ "version": now.version(), "changes": changes }));
    }
    let name = follow.root.display();
    if lines.is_empty() {
        lines.push(format!("none of them comes after {name}, root {}", last.version()));
    } else {
        before.iter().try_for_each(|root| keep(&follow.root, root))?;
        new_files::replace(&follow.root, last.bytes())?;
        lines.push(format!("{name} is root {} now", last.version()));
    }
    output.print(lines.join("\n"), &json!({ "root": last.version(), "followed": followed }))
}

/// Why a root that is newer than where the way ends was not reached.
fn left_over(last: &Root, candidates: &[(PathBuf, Vec<u8>)]) -> Option<String> {
    candidates.iter().find_map(|(path, bytes)| {
        let (file, root) = (path.display(), Root::pin(bytes));
        let version = match &root {
            Err(error) => return Some(format!("{file} cannot be trusted: {error}")),
            Ok(root) => root.version(),
        };
        if version <= last.version() {
            return None;
        }
        let next = last.version() + 1;
        Some(match version == next {
            true => format!(
                "{file} is root {version}, and not signed by enough keys of root {}: it is of another \
                 fleet, or somebody wants it followed by mistake",
                last.version()
            ),
            false => format!("{file} is root {version}, and root {next} is missing: bring {}", root_file(next)),
        })
    })
}

/// The roots in a folder of keys that are newer than `version`.
fn roots_in(folder: &Path, version: u64) -> anyhow::Result<Vec<(PathBuf, Vec<u8>)>> {
    let mut found = Vec::new();
    for next in version.saturating_add(1).. {
        let path = folder.join(root_file(next));
        if !path.exists() {
            break;
        }
        found.push((path.clone(), read(&path, DOCUMENT_BYTES_MAX as u64)?));
    }
    let newest = folder.join(ROOT);
    if newest.exists() {
        found.push((newest.clone(), read(&newest, DOCUMENT_BYTES_MAX as u64)?));
    }
    if found.is_empty() {
        bail!("{} has no {ROOT}", folder.display());
    }
    Ok(found)
}

/// Keeps a root by its version beside the one that is trusted here.
fn keep(root: &Path, kept: &Root) -> anyhow::Result<()> {
    let file = root.with_file_name(root_file(kept.version()));
    match file.exists() {
        true => Ok(()),
        false => new_files::make(&file, kept.bytes()).context("the way to it is not kept"),
    }
}
