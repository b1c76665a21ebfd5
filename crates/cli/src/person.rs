//! `lineside person` and `lineside program`: who may do what at the server.

use crate::connection::Connection;
use crate::device::label;
use crate::new_files::{self, NewFiles, Readers};
use crate::output::Output;
use crate::server::Server;
use anyhow::Context;
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::PathBuf;
use time::OffsetDateTime;
use time::macros::format_description;

#[derive(Subcommand)]
pub enum PersonCommand {
    /// Add somebody. The password that he enters with the first time is told this once.
    Add(Granted),
    /// List people, and what each may do.
    List,
    /// Grant somebody other roles, in the place of those that he has.
    Grant(Granted),
    /// Make a new password for somebody who has lost his. Whoever is in by his name is out.
    Password {
        /// Who.
        name: String,
        /// He has lost his authenticator app as well: none is asked for until he sets up another.
        #[arg(long)]
        authenticator: bool,
    },
    /// Forget somebody. Whoever is in by his name is out.
    Remove {
        /// Who.
        name: String,
    },
}

#[derive(Subcommand)]
pub enum ProgramCommand {
    /// Make the token of a program, in the place of the one that it has.
    Token(NewToken),
    /// List programs, what each may do, and until when.
    List,
    /// Take the token of a program back: it opens nothing from now on.
    Remove {
        /// Which.
        name: String,
    },
}

#[derive(Args)]
pub struct Granted {
    /// The name: 1 to 63 of a-z, 0-9, '.', '-' and '_'.
    name: String,
    #[command(flatten)]
    roles: Roles,
}

#[derive(Args)]
pub struct Roles {
    /// viewer, operator, approver, release-manager or admin; as many as you like. --site and --label hold for all
    /// of them.
    #[arg(long = "role", value_name = "ROLE", required = true)]
    roles: Vec<String>,
    /// A site at which they hold; as many as you like, at all where none is named.
    #[arg(long = "site", value_name = "SITE")]
    sites: Vec<String>,
    /// A mark that a device must have, as in --label line=3; as many as you like.
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = label)]
    labels: Vec<(String, String)>,
}

#[derive(Args)]
pub struct NewToken {
    #[command(flatten)]
    granted: Granted,
    /// Days for which it is good: 1 to 730.
    #[arg(long, value_name = "DAYS", default_value_t = 90)]
    days: u16,
    /// The file to put it in, for the program alone; it is never written over.
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
}

impl Roles {
    fn grants(&self) -> Value {
        let labels: BTreeMap<_, _> = self.labels.iter().cloned().collect();
        let grant = |role: &String| json!({ "role": role, "sites": self.sites, "labels": labels });
        self.roles.iter().map(grant).collect()
    }
}

pub fn run(command: PersonCommand, connection: &Connection, output: &Output) -> anyhow::Result<()> {
    let server = Server::at(connection)?;
    match command {
        PersonCommand::Add(Granted { name, roles }) => {
            let made = server.add_person(&json!({ "name": name, "grants": roles.grants() }))?;
            output.print(told(&made), &made)
        }
        PersonCommand::List => {
            let people = server.people()?;
            let text = match people.is_empty() {
                true => "nobody but the administrator; next: lineside person add NAME --role ROLE"
                    .into(),
                false => people.iter().map(person).collect::<Vec<_>>().join("\n"),
            };
            output.print(text, &people)
        }
        PersonCommand::Grant(Granted { name, roles }) => {
            let shown = server.grant(&name, &json!({ "grants": roles.grants() }))?;
            output.print(person(&shown), &shown)
        }
        PersonCommand::Password { name, authenticator } => {
            let made = server.new_password_of(&name, &json!({ "authenticator": authenticator }))?;
            output.print(told(&made), &made)
        }
        PersonCommand::Remove { name } => {
            server.remove_person(&name)?;
            let text = format!("{name} is let in no longer");
            output.print(text, &json!({ "name": name, "removed": true }))
        }
    }
}

pub fn run_program(
    command: ProgramCommand,
    connection: &Connection,
    output: &Output,
) -> anyhow::Result<()> {
    let server = Server::at(connection)?;
    match command {
        ProgramCommand::Token(new) => make(&new, &server, output),
        ProgramCommand::List => {
            let programs = server.programs()?;
            let text = match programs.is_empty() {
                true => {
                    "no program has a token; next: lineside program token NAME --role ROLE -o FILE"
                        .into()
                }
                false => programs.iter().map(program).collect::<Vec<_>>().join("\n"),
            };
            output.print(text, &programs)
        }
        ProgramCommand::Remove { name } => {
            server.remove_program(&name)?;
            let text = format!("the token of {name} opens nothing any longer");
            output.print(text, &json!({ "name": name, "removed": true }))
        }
    }
}

fn make(new: &NewToken, server: &Server, output: &Output) -> anyhow::Result<()> {
    let NewToken { granted: Granted { name, roles }, days, output: file } = new;
    // It is told once: whether it can be written down is found out before.
    let (folder, file_name) = new_files::split(file)?;
    let files = NewFiles::reserve(folder, &[(file_name.clone(), Readers::Owner)])?;
    let made = server.make_program(name, &json!({ "grants": roles.grants(), "days": days }))?;
    let token = made["token"].as_str().context("the server gave no token")?;
    files.fill(&file_name, format!("{token}\n").as_bytes()).with_context(|| {
        format!("{name} has a new token that is written nowhere: make another one")
    })?;
    files.keep();
    let text = format!("{}: the token of {name}, for {days} days", file.display());
    output.print(text, &json!({ "name": name, "file": file, "days": days }))
}

fn told(made: &Value) -> String {
    let text = |key: &str| made[key].as_str().unwrap_or_default();
    let (name, password) = (text("name"), text("password"));
    format!("{password}\n{name} enters with it once: lineside login {name} -o FILE")
}

fn person(shown: &Value) -> String {
    let name = shown["name"].as_str().unwrap_or_default();
    let also = [
        ("must_set_password", "has not entered yet"),
        ("has_authenticator", "with an authenticator app"),
    ];
    let also = also.iter().filter(|(key, _)| shown[*key] == true);
    let also: String = also.map(|(_, words)| format!("  {words}")).collect();
    format!("{name}  {}{also}", grants(shown))
}

fn program(shown: &Value) -> String {
    let name = shown["name"].as_str().unwrap_or_default();
    let ends = shown["expires_unix_ms"].as_i64().unwrap_or(0) / 1_000;
    let day = format_description!("[year]-[month]-[day]");
    let ends = OffsetDateTime::from_unix_timestamp(ends).ok();
    let ends = ends.and_then(|at| at.format(day).ok()).unwrap_or_default();
    format!("{name}  {}  until {ends}", grants(shown))
}

/// What somebody is granted, as in `operator at hall-2 line=3, viewer`.
fn grants(shown: &Value) -> String {
    let grants = shown["grants"].as_array().map(Vec::as_slice).unwrap_or_default();
    let one = |grant: &Value| {
        let role = grant["role"].as_str().unwrap_or_default();
        let sites: Vec<&str> =
            grant["sites"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let sites =
            if sites.is_empty() { String::new() } else { format!(" at {}", sites.join(" ")) };
        let labels = grant["labels"].as_object().into_iter().flatten();
        let labels: String = labels
            .map(|(key, value)| format!(" {key}={}", value.as_str().unwrap_or_default()))
            .collect();
        format!("{role}{sites}{labels}")
    };
    match grants.is_empty() {
        true => "nothing".into(),
        false => grants.iter().map(one).collect::<Vec<_>>().join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn somebody_is_told_in_a_line_with_what_he_may_do() {
        let anna = json!({ "name": "anna", "has_authenticator": true, "must_set_password": false, "grants":
            [{ "role": "operator", "sites": ["hall-2"], "labels": { "line": "3" } }, { "role": "viewer" }] });
        assert_eq!(
            person(&anna),
            "anna  operator at hall-2 line=3, viewer  with an authenticator app"
        );
        let new = json!({ "name": "ben", "must_set_password": true, "grants": [] });
        assert_eq!(person(&new), "ben  nothing  has not entered yet");
        let robot = json!({ "name": "ci", "grants": [{ "role": "release-manager" }], "expires_unix_ms": 86_400_000 });
        assert_eq!(program(&robot), "ci  release-manager  until 1970-01-02");
    }
}
