//! `lineside release withdraw`: what nobody is to be given any longer.

use super::LIST_LIFE;
use super::publish::put_draft;
use super::signed::{Desk, Signed};
use crate::connection::Connection;
use crate::keys::signer;
use crate::output::{Output, Usage};
use crate::role::Role;
use crate::server::Server;
use anyhow::{Context, anyhow};
use clap::Args;
use lineside_trust::RoleDraft;
use lineside_wire::name::RoleName;
use serde_json::json;
use std::path::PathBuf;
use time::OffsetDateTime;

#[derive(Args)]
pub struct Withdraw {
    /// What is withdrawn, as in turbine/2. Devices to which it is on its way leave it at once; where it
    /// is committed it goes on, and the device says so. Its number and its version are never given
    /// again.
    #[arg(value_name = "RELEASE", required = true)]
    releases: Vec<String>,
    /// Withdraw what this vendor has signed, instead of what the release keys have.
    #[arg(long, value_name = "ROLE")]
    role: Option<RoleName>,
    /// A secret key of the role, or the file that says in which token it lies; as many as must sign.
    #[arg(long = "key", value_name = "KEY", requires = "role")]
    role_keys: Vec<PathBuf>,
    #[command(flatten)]
    signed: Signed,
}

pub fn run(withdraw: &Withdraw, connection: &Connection, output: &Output) -> anyhow::Result<()> {
    match &withdraw.role {
        Some(role) => by_role(withdraw, role, connection, output),
        None => by_release_keys(withdraw, connection, output),
    }
}

fn by_release_keys(
    withdraw: &Withdraw,
    connection: &Connection,
    output: &Output,
) -> anyhow::Result<()> {
    let Signed { keys, draft, .. } = &withdraw.signed;
    let desk = Desk::open(keys, draft.as_deref(), connection)?;
    let mut next = desk.next();
    for path in &withdraw.releases {
        next.withdraw(path).map_err(|problem| anyhow!(problem))?;
    }
    match desk.sign(&next, &withdraw.signed, output)? {
        Some(_) => tell(withdraw, &desk.tell_unsigned(), output),
        None => Ok(()),
    }
}

fn by_role(
    withdraw: &Withdraw,
    role: &RoleName,
    connection: &Connection,
    output: &Output,
) -> anyhow::Result<()> {
    let Withdraw { releases, role_keys, signed, .. } = withdraw;
    if signed.draft.is_none() && role_keys.is_empty() {
        let problem = format!(
            "who signs for {role}? Name his secret key with --key KEY, or write the list for him with \
             --draft FILE"
        );
        return Err(Usage(problem).into());
    }
    let server = Server::at(connection)?;
    let role = Role::of(role, &signed.keys, &server)?;
    let keys = match signed.draft {
        Some(_) => Vec::new(),
        None => role.signers(role_keys)?,
    };
    let first = releases.first().context("name the release to be withdrawn")?;
    let mut next: RoleDraft = role.next(first)?;
    for path in releases {
        next.withdraw(path).map_err(|problem| anyhow!(problem))?;
    }
    let files = role.files(&next, &[])?;
    let now = OffsetDateTime::now_utc();
    let draft = role.draft(&next, now + LIST_LIFE, files.clone())?;
    if let Some(file) = &signed.draft {
        let (text, json) = put_draft(&draft, file)?;
        return output.print(text, &json);
    }
    role.publish(&signer::finish(draft, &keys, &signed.pin, now, output.json)?, &files)?;
    tell(withdraw, "", output)
}

fn tell(withdraw: &Withdraw, unsigned: &str, output: &Output) -> anyhow::Result<()> {
    let Withdraw { releases, role, .. } = withdraw;
    let by = role.as_ref().map(|role| format!(" by {role}")).unwrap_or_default();
    let (named, verb) = (releases.join(", "), if releases.len() == 1 { "is" } else { "are" });
    let text = format!(
        "{named} {verb} withdrawn{by}: devices leave what is on its way to them, and go on with what is \
         committed; to replace that: lineside assign DEVICE SLOT RELEASE{unsigned}"
    );
    output.print(text, &json!({ "withdrawn": releases, "role": role }))
}
