//! Devices that somebody has looked at before they come.

use crate::connection::Connection;
use crate::output::Output;
use crate::server::Server;
use anyhow::{Context, bail};
use clap::Args;
use serde_json::{Value, json};
use std::path::PathBuf;

/// Largest list that is read, in bytes: it may name 10,000 devices.
const LIST_BYTES_MAX: u64 = 4 << 20;

#[derive(Args)]
pub struct Preauthorise {
    /// A line for each device: NAME,KEY,SERIAL, of which key (64 hex digits) and serial number may be left out. An
    /// empty file lists nobody.
    file: PathBuf,
}

/// Gives the server the list.
pub fn run(listed: &Preauthorise, connection: &Connection, output: &Output) -> anyhow::Result<()> {
    let name = listed.file.display();
    let size =
        std::fs::metadata(&listed.file).with_context(|| format!("cannot read {name}"))?.len();
    if size > LIST_BYTES_MAX {
        bail!("{name} has {size} bytes, at most {LIST_BYTES_MAX} are read");
    }
    let text =
        std::fs::read_to_string(&listed.file).with_context(|| format!("cannot read {name}"))?;
    let entries = entries(&text).with_context(|| format!("{name} cannot be used"))?;
    Server::at(connection)?.preauthorise(&entries)?;
    let text = match entries.len() {
        0 => "every device waits for a person".into(),
        count => format!("{count} devices need not wait when they come with a token"),
    };
    output.print(text, &json!({ "devices": entries.len() }))
}

fn entries(text: &str) -> anyhow::Result<Vec<Value>> {
    let mut entries = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let parts: Vec<&str> = line.split(',').map(str::trim).collect();
        let told = |at: usize| parts.get(at).filter(|part| !part.is_empty());
        match parts.as_slice() {
            [""] => {}
            [name, ..] if parts.len() <= 3 && !name.is_empty() => {
                entries.push(json!({ "device": name, "key": told(1), "serial": told(2) }));
            }
            _ => bail!("line {} is not NAME,KEY,SERIAL", number + 1),
        }
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_names_a_device_and_what_is_known_of_it() {
        let read = entries("mill-1\n\nmill-2, ab ,\nbed-3,,A-1\n").unwrap();
        assert_eq!(
            read,
            [
                json!({ "device": "mill-1", "key": null, "serial": null }),
                json!({ "device": "mill-2", "key": "ab", "serial": null }),
                json!({ "device": "bed-3", "key": null, "serial": "A-1" }),
            ]
        );
        assert_eq!(entries("").unwrap(), Vec::<Value>::new());
        for odd in ["a,b,c,d", ",b"] {
            let said = entries(&format!("good\n{odd}")).unwrap_err().to_string();
            assert!(said.contains("line 2"), "{said}");
        }
    }
}
