//! `lineside device import`: what devices without a network have written down goes to the server.

use crate::connection::Connection;
use crate::keys::folder::read;
use crate::output::Output;
use crate::server::Server;
use anyhow::{Context, bail};
use clap::Args;
use lineside_trust::REPORT_BYTES_MAX;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// How files are called that `lineside-agent report` names itself.
const SUFFIX: &str = "lsr";

#[derive(Args)]
pub struct Import {
    /// Files that `lineside-agent report` wrote; of a folder, all that end in .lsr.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}

pub fn run(import: &Import, connection: &Connection, output: &Output) -> anyhow::Result<()> {
    let mut files = Vec::new();
    for path in &import.files {
        match path.is_dir() {
            true => files.extend(reports_in(path)?),
            false => files.push(path.clone()),
        }
    }
    let server = Server::at(connection)?;
    if let [file] = &files[..] {
        let imported = one(file, &server)?;
        return output.print(told(&imported), &imported);
    }
    // One that is refused keeps no other one back: they are of devices that know nothing of each other.
    let (mut lines, mut all, mut failed) = (Vec::new(), Vec::new(), 0);
    for file in &files {
        match one(file, &server) {
            Ok(imported) => {
                lines.push(told(&imported));
                all.push(imported);
            }
            Err(error) => {
                failed += 1;
                lines.push(format!("{} is not imported: {error:#}", file.display()));
                let said = format!("{error:#}");
                all.push(serde_json::json!({ "file": file, "error": said }));
            }
        }
    }
    output.print(lines.join("\n"), &Value::Array(all))?;
    if failed > 0 {
        bail!("{failed} of {} reports are not imported", files.len());
    }
    Ok(())
}

/// The reports in a folder, by name.
fn reports_in(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let cannot = || format!("cannot read {}", folder.display());
    let mut files = Vec::new();
    for entry in folder.read_dir().with_context(cannot)? {
        let path = entry.with_context(cannot)?.path();
        if path.extension().is_some_and(|suffix| suffix == SUFFIX) {
            files.push(path);
        }
    }
    if files.is_empty() {
        bail!("{} has no report: no file in it ends in .{SUFFIX}", folder.display());
    }
    files.sort();
    Ok(files)
}

/// Gives the server a report. It verifies it: it knows the key of the device.
fn one(file: &Path, server: &Server) -> anyhow::Result<Value> {
    server.put_report(&read(file, REPORT_BYTES_MAX as u64)?)
}

fn told(imported: &Value) -> String {
    let device = imported["device"].as_str().unwrap_or_default();
    format!(
        "report {} of {device} is imported, {} events and intervals of it are new; \
         what it tells: lineside device show {device}",
        imported["number"], imported["new_records"]
    )
}
