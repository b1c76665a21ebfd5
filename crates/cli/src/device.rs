//! `lineside device`: adds and removes devices, says how they are, packs what one is to install,
//! shows lines of its log.

mod add;
pub mod export;
mod folder;
mod import;
mod joining;
mod logs;
mod preauthorise;
mod shown;

pub use add::label;

use crate::connection::Connection;
use crate::output::Output;
use crate::server::Server;
use clap::Subcommand;
use lineside_wire::name::DeviceId;
use serde_json::Value;
use time::OffsetDateTime;

#[derive(Subcommand)]
pub enum DeviceCommand {
    /// Make what a device is installed with: its name, its password, the server's address, the root.
    Add(add::Add),
    /// Make the folder of a device again, with a new password; the old one is let in no longer.
    Reissue(add::Reissue),
    /// Forget a device and all it told; it is let in no longer, and its name is free.
    Remove {
        /// The device.
        device: DeviceId,
    },
    /// List the devices.
    List,
    /// Tell how one device is: what it holds, what is assigned to it, what happened lately.
    Show {
        /// The device.
        device: DeviceId,
    },
    /// Show lines of a device's log, and ask it for them for a while.
    Logs(logs::Logs),
    /// Make what a device is installed with that joins by a key of its own, or only its token, which is told
    /// this once; the server needs TLS for that.
    Token(joining::Token),
    /// Say which devices need not wait for a person when they come with a token, instead of those that were said
    /// before.
    Preauthorise(preauthorise::Preauthorise),
    /// Say where a device stands and by what it is selected, instead of what was said before.
    Place(joining::Placed),
    /// List who has joined by a key, or wants to, and how each stands.
    Joined,
    /// Accept a device that waits, having compared its key.
    Accept(joining::Judged),
    /// Decline a device that waits.
    Decline(joining::Judged),
    /// Revoke the key of a device: it is let in nowhere with that any more, and joins again by another.
    Revoke(joining::Judged),
    /// Let a device in again of which there was a copy, once that is dealt with.
    Reset(joining::Judged),
    /// Pack what devices are to install into one file, for `lineside-agent install` on each of them.
    Export(export::Export),
    /// Give the server what `lineside-agent report` has written on devices without a network.
    Import(import::Import),
}

pub fn run(command: DeviceCommand, connection: &Connection, output: &Output) -> anyhow::Result<()> {
    match command {
        DeviceCommand::Add(add) => add::run(&add, connection, output),
        DeviceCommand::Reissue(reissue) => add::again(&reissue, connection, output),
        DeviceCommand::Remove { device } => {
            Server::at(connection)?.remove_device(device.as_str())?;
            let text = format!("{device} is removed: what it runs goes on, but nobody hears of it");
            output.print(text, &serde_json::json!({ "device": device, "removed": true }))
        }
        DeviceCommand::List => {
            let server = Server::at(connection)?;
            let devices = Value::Array(server.devices()?);
            let table = shown::table(&devices, OffsetDateTime::now_utc())?;
            output.print(beside(&server, &table), &devices)
        }
        DeviceCommand::Show { device } => {
            let server = Server::at(connection)?;
            let device = server.device(device.as_str())?;
            let paragraph = shown::paragraph(&device, OffsetDateTime::now_utc())?;
            output.print(beside(&server, &paragraph), &device)
        }
        DeviceCommand::Logs(logs) => logs::run(&logs, connection, output),
        DeviceCommand::Token(token) => joining::token(&token, connection, output),
        DeviceCommand::Preauthorise(listed) => preauthorise::run(&listed, connection, output),
        DeviceCommand::Place(placed) => joining::place(&placed, connection, output),
        DeviceCommand::Joined => joining::list(connection, output),
        DeviceCommand::Accept(judged) => joining::judge(&judged, "accept", connection, output),
        DeviceCommand::Decline(judged) => joining::judge(&judged, "decline", connection, output),
        DeviceCommand::Revoke(judged) => joining::judge(&judged, "revoke", connection, output),
        DeviceCommand::Reset(judged) => joining::judge(&judged, "reset", connection, output),
        DeviceCommand::Export(export) => export::run(&export, connection, output),
        DeviceCommand::Import(import) => import::run(&import, connection, output),
    }
}

/// What is told of devices, below what is wrong with their server.
fn beside(server: &Server, text: &str) -> String {
    let troubles = server.attention();
    troubles.iter().map(|sentence| format!("! {sentence}\n")).collect::<String>() + text
}
