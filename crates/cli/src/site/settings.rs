//! When and how fast rollouts may come to a site.

use crate::connection::Connection;
use crate::output::Output;
use crate::server::Server;
use crate::window;
use anyhow::Context;
use clap::Args;
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Args)]
pub struct Settings {
    /// The site.
    site: String,
    /// Its time zone, as in Europe/Berlin [default: UTC].
    #[arg(long, value_name = "ZONE", default_value = "UTC", hide_default_value = true)]
    time_zone: String,
    /// When a release may begin there, in its own time, as in "Mon 22:00 - Tue 05:00"; may be said several times.
    /// Always, unless it is said.
    #[arg(long, value_name = "WINDOW")]
    window: Vec<String>,
    /// How many of its devices may fetch at once; 0 lets nothing begin.
    #[arg(long, value_name = "N")]
    downloads: Option<u32>,
    /// What rollouts may ask of its line, in KiB a second.
    #[arg(long, value_name = "N")]
    kib_per_second: Option<u64>,
}

pub fn set(settings: &Settings, connection: &Connection, output: &Output) -> anyhow::Result<()> {
    let Settings { site, time_zone, window, downloads, kib_per_second } = settings;
    let windows: Vec<Value> =
        window.iter().map(|said| window::read(said)).collect::<Result<_, _>>()?;
    let wanted = json!({
        "time_zone": time_zone,
        "windows": windows,
        "downloads_max": downloads,
        "bytes_per_second_max": kib_per_second.map(|kib| kib.saturating_mul(1_024)),
    });
    let shown = Server::at(connection)?.set_site(site, &wanted)?;
    output.print(line(&shown)?, &shown)
}

pub fn unset(site: &str, connection: &Connection, output: &Output) -> anyhow::Result<()> {
    Server::at(connection)?.unset_site(site)?;
    output.print(format!("nothing is said of {site} any longer"), &json!({ "unset": site }))
}

pub fn list(connection: &Connection, output: &Output) -> anyhow::Result<()> {
    let sites = Server::at(connection)?.sites()?;
    let each = sites.as_array().map(Vec::as_slice).unwrap_or_default();
    let lines: Vec<String> = each.iter().map(line).collect::<Result<_, _>>()?;
    let told =
        if lines.is_empty() { "nothing is said of any site".into() } else { lines.join("\n") };
    output.print(told, &sites)
}

#[derive(Deserialize)]
struct Shown {
    site: String,
    time_zone: String,
    windows: Vec<window::Window>,
    downloads_max: Option<u32>,
    bytes_per_second_max: Option<u64>,
}

fn line(shown: &Value) -> anyhow::Result<String> {
    let shown = Shown::deserialize(shown).context(
        "the server describes sites in another form; are server and tool of one version?",
    )?;
    let Shown { site, time_zone, windows, downloads_max, bytes_per_second_max } = shown;
    let windows: Vec<String> = windows.iter().map(ToString::to_string).collect();
    let mut told = match windows.is_empty() {
        true => format!("{site}: {time_zone}, at any time"),
        false => format!("{site}: {time_zone}, {}", windows.join(", ")),
    };
    match downloads_max {
        Some(0) => told.push_str(", nothing begins"),
        Some(max) => told.push_str(&format!(", {max} downloads at once")),
        None => {}
    }
    if let Some(max) = bytes_per_second_max {
        told.push_str(&format!(", {} KiB a second", max / 1_024));
    }
    Ok(told)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_site_is_told_in_a_line() {
        let shown = json!({
            "site": "hill", "time_zone": "Europe/Berlin", "windows": [{ "from": 1320, "to": 1740 }],
            "downloads_max": 5, "bytes_per_second_max": 512_000,
        });
        let told =
            "hill: Europe/Berlin, Mon 22:00 - Tue 05:00, 5 downloads at once, 500 KiB a second";
        assert_eq!(line(&shown).unwrap(), told);
        let shown = json!({
            "site": "dock", "time_zone": "UTC", "windows": [], "downloads_max": 0,
            "bytes_per_second_max": null,
        });
        assert_eq!(line(&shown).unwrap(), "dock: UTC, at any time, nothing begins");
    }
}
