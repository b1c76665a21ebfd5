//! `lineside token`: by what vendors and sites are let in at the server, to publish what they sign.

use crate::connection::Connection;
use crate::new_files::{self, NewFiles, Readers};
use crate::output::{Output, Usage};
use crate::server::Server;
use anyhow::Context;
use clap::{Args, Subcommand};
use lineside_wire::name::RoleName;
use serde_json::json;
use std::path::PathBuf;
use time::OffsetDateTime;
use time::macros::format_description;

#[derive(Subcommand)]
pub enum TokenCommand {
    /// Make the token of a vendor or a site. It opens what he needs to publish what he may sign, and
    /// nothing else, and ends when the release keys delegate to him no longer.
    New(New),
    /// List who has a token.
    List,
    /// Take a token back: it opens nothing from now on. What its holder has published stays.
    Remove {
        /// Whose it is, as in vendor-acme.
        role: RoleName,
    },
}

#[derive(Args)]
pub struct New {
    /// For whom, as in vendor-acme or site-mill, whom the release keys have named with `release delegate`.
    role: RoleName,
    /// The file to put it in, for him alone; it is never written over.
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Make another one where he has one already, which opens nothing from then on.
    #[arg(long)]
    replace: bool,
}

pub fn run(command: TokenCommand, connection: &Connection, output: &Output) -> anyhow::Result<()> {
    match command {
        TokenCommand::New(new) => make(&new, connection, output),
        TokenCommand::List => list(connection, output),
        TokenCommand::Remove { role } => {
            Server::at(connection)?.remove_token(&role)?;
            let text = format!("the token of {role} opens nothing any longer");
            output.print(text, &json!({ "role": role, "removed": true }))
        }
    }
}

fn make(new: &New, connection: &Connection, output: &Output) -> anyhow::Result<()> {
    let New { role, output: file, replace } = new;
    let server = Server::at(connection)?;
    if !replace && server.tokens()?.iter().any(|token| token.role == role.as_str()) {
        let problem = format!(
            "{role} has a token already, which cannot be shown again: make another one, which takes its \
             place, with --replace"
        );
        return Err(Usage(problem).into());
    }
    // It is told once: whether it can be written down is found out before.
    let (folder, name) = new_files::split(file)?;
    let files = NewFiles::reserve(folder, &[(name.clone(), Readers::Owner)])?;
    let token = server.new_token(role)?;
    files.fill(&name, format!("{token}\n").as_bytes()).with_context(|| {
        format!("{role} has a new token that is written nowhere: make another one with --replace")
    })?;
    files.keep();
    let (shown, url) = (file.display(), server.url());
    let text = format!(
        "{shown}: the token of {role}; give it to him alone, with the root.json of your keys. He then says: \
         lineside --server {url} --token-file {shown} release BUNDLE --role {role} --key KEY --keys DIR"
    );
    output.print(text, &json!({ "role": role, "file": file }))
}

fn list(connection: &Connection, output: &Output) -> anyhow::Result<()> {
    let tokens = Server::at(connection)?.tokens()?;
    let day = format_description!("[year]-[month]-[day]");
    let line = |token: &crate::server::TokenShown| {
        let made = OffsetDateTime::from_unix_timestamp(token.made_unix_ms / 1000).ok();
        let made = made.and_then(|made| made.format(day).ok()).unwrap_or_default();
        format!("{}  since {made}", token.role)
    };
    let lines: Vec<String> = tokens.iter().map(line).collect();
    let text = match lines.is_empty() {
        true => {
            "nobody has a token but the administrator; next: lineside token new ROLE -o FILE".into()
        }
        false => lines.join("\n"),
    };
    output.print(text, &tokens)
}
