//! `lineside device import`: what a device without a network has written down goes to the server.

use crate::connection::Connection;
use crate::keys::folder::read;
use crate::output::Output;
use crate::server::Server;
use clap::Args;
use lineside_trust::REPORT_BYTES_MAX;
use std::path::PathBuf;

#[derive(Args)]
pub struct Import {
    /// The file that `lineside-agent report` wrote.
    file: PathBuf,
}

pub fn run(import: &Import, connection: &Connection, output: &Output) -> anyhow::Result<()> {
    // The server verifies it: it knows the key of the device.
    let report = read(&import.file, REPORT_BYTES_MAX as u64)?;
    let imported = Server::at(connection)?.put_report(&report)?;
    let device = imported["device"].as_str().unwrap_or_default();
    let text = format!(
        "report {} of {device} is imported, {} events and intervals of it are new; \
         what it tells: lineside device show {device}",
        imported["number"], imported["new_records"]
    );
    output.print(text, &imported)
}
