//! `lineside login` and `lineside logout`: people at the server, under their own names.

use crate::connection::Connection;
use crate::new_files;
use crate::output::{Output, Usage};
use crate::server::Server;
use anyhow::{Context, bail};
use clap::Args;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Largest file with a password, in bytes.
const PASSWORD_BYTES_MAX: u64 = 4 << 10;

#[derive(Args)]
pub struct Login {
    /// Who; the first time with the password that `lineside person add` has told.
    #[arg(required_unless_present_any = ["again", "authenticator"], conflicts_with_all = ["again", "authenticator"])]
    name: Option<String>,
    /// The file to put the token of the session in, for --token-file of later commands; it may be there.
    #[arg(short, long, value_name = "FILE", requires = "name")]
    output: Option<PathBuf>,
    /// Show the password once more in the session that --token-file has: to approve and to administer, it must
    /// have been shown within five minutes.
    #[arg(long)]
    again: bool,
    /// Set up an authenticator app for who has the session that --token-file has: its code is asked for from then
    /// on.
    #[arg(long, conflicts_with = "again")]
    authenticator: bool,
    /// A file with the password, instead of typing it.
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// A file with the password to be set the first time, instead of typing it.
    #[arg(long, value_name = "FILE", requires = "name")]
    new_password_file: Option<PathBuf>,
    /// The code of the authenticator app, instead of typing it.
    #[arg(long, value_name = "CODE")]
    code: Option<String>,
}

/// Begins a session, shows the password again, or sets up an authenticator app.
pub fn run(login: &Login, connection: &Connection, output: &Output) -> anyhow::Result<()> {
    match &login.name {
        Some(name) => enter(login, name, connection, output),
        None if login.authenticator => authenticator(login, connection, output),
        None => again(login, connection, output),
    }
}

/// Ends the session that the token is of.
pub fn leave(connection: &Connection, output: &Output) -> anyhow::Result<()> {
    Server::at(connection)?.end_session()?;
    output.print(
        "the session has ended; its token opens nothing any longer",
        &json!({ "ended": true }),
    )
}

fn enter(
    login: &Login,
    name: &str,
    connection: &Connection,
    output: &Output,
) -> anyhow::Result<()> {
    let Some(file) = &login.output else {
        let said =
            format!("where is the token of the session to go? lineside login {name} -o FILE");
        return Err(Usage(said).into());
    };
    let server = Server::before_login(connection)?;
    let (password, code) = asked(login, name)?;
    let question = json!({ "name": name, "password": password, "code": code });
    let begun = server.begin_session(&question)?;
    let token = begun["token"].as_str().context("the server gave no token")?;
    new_files::replace_secret(file, format!("{token}\n").as_bytes())?;
    if begun["must_set_password"] == true {
        let new = match &login.new_password_file {
            Some(file) => read(file)?,
            None => twice(name)?,
        };
        let session = Server::with_token(connection, token, file)?;
        session.set_password(&json!({ "old": password, "new": new }))?;
    }
    let until = begun["until_unix_ms"].as_i64().unwrap_or(0) / 1_000;
    let until = OffsetDateTime::from_unix_timestamp(until).ok();
    let until = until.and_then(|at| at.format(&Rfc3339).ok()).unwrap_or_default();
    let shown = file.display();
    let text = format!(
        "{name} is logged in until {until} at most; next: lineside --token-file {shown} ..."
    );
    output.print(text, &json!({ "name": name, "file": file, "until": until }))
}

fn again(login: &Login, connection: &Connection, output: &Output) -> anyhow::Result<()> {
    let server = Server::at(connection)?;
    let who = server.session()?;
    let name = who["name"].as_str().unwrap_or_default().to_owned();
    let (password, code) = asked(login, &name)?;
    server.show_again(&json!({ "password": password, "code": code }))?;
    output.print(format!("{name} may approve for five minutes"), &json!({ "name": name }))
}

fn authenticator(login: &Login, connection: &Connection, output: &Output) -> anyhow::Result<()> {
    let server = Server::at(connection)?;
    if let Some(code) = &login.code {
        server.confirm_code(&json!({ "code": code }))?;
    } else {
        let made: Value = server.new_code()?;
        let address = made["address"].as_str().unwrap_or_default();
        if output.json {
            return output.print("", &made);
        }
        eprintln!("Give this to the app: {address}");
        let code = typed("The code that it shows: ")?;
        server.confirm_code(&json!({ "code": code.trim() }))?;
    }
    let text = "the authenticator app is in use: its code is asked for from now on";
    output.print(text, &json!({ "authenticator": true }))
}

/// Password and code, from where the command line has them or from the keyboard.
fn asked(login: &Login, name: &str) -> anyhow::Result<(String, Option<String>)> {
    let Some(file) = &login.password_file else {
        let password = typed(&format!("Password of {name}: "))?;
        let code = match &login.code {
            Some(code) => code.clone(),
            None => typed("Code of the authenticator app, if there is one: ")?,
        };
        return Ok((password, Some(code).filter(|code| !code.trim().is_empty())));
    };
    Ok((read(file)?, login.code.clone()))
}

fn twice(name: &str) -> anyhow::Result<String> {
    let new = typed(&format!("A password of your own, {name}, of 12 characters or more: "))?;
    if typed("Once more: ")? != new {
        bail!("these are two passwords; log in again");
    }
    Ok(new)
}

fn typed(question: &str) -> anyhow::Result<String> {
    rpassword::prompt_password(question).context(
        "nothing can be typed here: give --password-file FILE, and --new-password-file FILE the first time",
    )
}

fn read(path: &Path) -> anyhow::Result<String> {
    let name = path.display();
    let size = std::fs::metadata(path).with_context(|| format!("cannot read {name}"))?.len();
    if size > PASSWORD_BYTES_MAX {
        bail!("{name} has {size} bytes: that is no password");
    }
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {name}"))?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}
