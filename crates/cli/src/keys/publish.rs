//! `lineside keys publish`: what people have signed goes to the server.

use super::folder::{Freshness, KeyFolder, ROOT};
use super::sign;
use crate::connection::Connection;
use crate::new_files::{self, NewFiles, Readers};
use crate::output::Output;
use crate::role::Role;
use crate::server::Server;
use anyhow::{Context, bail};
use clap::Args;
use lineside_trust::{Contents, Draft, Root};
use serde_json::json;
use std::path::{Path, PathBuf};
use time::OffsetDateTime;

#[derive(Args)]
pub struct Publish {
    /// A draft that enough keys have signed; without one, what lies in the folder of keys.
    draft: Option<PathBuf>,
    /// The folder with the root.json that is trusted here; a root that is published goes there.
    #[arg(long, value_name = "DIR", default_value = super::KEYS)]
    keys: PathBuf,
}

pub fn run(publish: &Publish, connection: &Connection, output: &Output) -> anyhow::Result<()> {
    let Publish { draft: file, keys } = publish;
    let mut published = Vec::new();
    let server = match file {
        Some(file) => {
            let draft = sign::open(file)?;
            let now = OffsetDateTime::now_utc();
            let signed = draft.finish(now);
            let signed = signed.with_context(|| format!("{} is not published", file.display()))?;
            let server = Server::at(connection)?;
            match draft.contents() {
                Contents::Root { .. } => root(&draft, &signed, keys, &server)?,
                Contents::Releases { .. } => list(&draft, &signed, keys, &server, now)?,
                Contents::Role { role, files, .. } => {
                    let role = role.name.parse()?;
                    let folder = same_root(&draft, keys, &server)?;
                    Role::with(folder, &server, &role, now)?.publish(&signed, files)?;
                }
            }
            published.push(draft.name());
            server
        }
        None => {
            KeyFolder::open(keys)?;
            Server::at(connection)?
        }
    };
    let advice = rest(keys, &server, &mut published)?;
    let text = if published.is_empty() {
        format!("the server at {} has all of it{advice}", server.url())
    } else {
        let published = published.join(" and the ");
        format!("the server at {} has the {published} now{advice}", server.url())
    };
    output.print(text, &json!({ "published": published }))
}

/// Gives the server a root that follows its own, and then the folder: the server may have an
/// objection, and a folder with a root that no server follows would be of no use.
fn root(draft: &Draft, signed: &[u8], keys: &Path, server: &Server) -> anyhow::Result<()> {
    let new = Root::pin(signed)?;
    let file = keys.join(ROOT);
    let here = file.exists().then(|| KeyFolder::open(keys)).transpose()?;
    let follows = |root: &Root| {
        root.agrees_with(&new) || draft.root_before().is_some_and(|before| before.agrees_with(root))
    };
    if let Some(folder) = here.as_ref().filter(|folder| !follows(folder.root())) {
        bail!(
            "{} does not follow {}, which is root {}: name the folder of the root before with --keys",
            draft.name(),
            file.display(),
            folder.root().version()
        );
    }
    let theirs = server.root()?.map(|root| Root::pin(&root)).transpose();
    let theirs = theirs.with_context(|| format!("{} sends no root", server.url()))?;
    match &theirs {
        Some(theirs) if theirs.agrees_with(&new) => {}
        Some(theirs) if follows(theirs) => server.put_root(signed)?,
        None if draft.root_before().is_none() => server.put_root(signed)?,
        Some(theirs) => bail!(
            "the server at {} has root {}, and {} does not follow it",
            server.url(),
            theirs.version(),
            draft.name()
        ),
        None => bail!(
            "the server at {} has no root yet, and has to be given those before {} first",
            server.url(),
            draft.name()
        ),
    }
    if here.is_some() {
        return new_files::replace(&file, signed);
    }
    let files = NewFiles::reserve(keys, &[(ROOT.to_owned(), Readers::All)])?;
    files.fill(ROOT, signed)?;
    files.keep();
    Ok(())
}

/// Gives the server a list of releases.
fn list(
    draft: &Draft,
    signed: &[u8],
    keys: &Path,
    server: &Server,
    now: OffsetDateTime,
) -> anyhow::Result<()> {
    let folder = same_root(draft, keys, server)?;
    folder.verify(server.releases()?.as_deref(), now)?;
    server.put_releases(signed)?;
    folder.keep_releases(signed).context("published, but the list is not kept beside the root")
}

/// The folder of keys, if the server, the draft and the folder all rest on one root.
fn same_root(draft: &Draft, keys: &Path, server: &Server) -> anyhow::Result<KeyFolder> {
    let folder = KeyFolder::open(keys)?;
    folder.compare(server.url(), server.root()?.as_deref())?;
    if !draft.root_before().is_some_and(|root| root.agrees_with(folder.root())) {
        bail!(
            "{} was drafted for another root than {} has: draft it anew",
            draft.name(),
            keys.display()
        );
    }
    Ok(folder)
}

/// Gives the server what lies in the folder and it lacks. Returns what is to be done about the rest.
fn rest(keys: &Path, server: &Server, published: &mut Vec<String>) -> anyhow::Result<&'static str> {
    let folder = KeyFolder::open(keys)?;
    let theirs = server.root()?;
    if theirs.as_deref().is_none_or(|theirs| folder.follows(theirs)) {
        server.put_root(folder.root().bytes())?;
        published.push("root".into());
    } else {
        folder.compare(server.url(), theirs.as_deref())?;
    }
    if let Some(kept) = folder.kept_releases()? {
        match folder.verify(server.releases()?.as_deref(), OffsetDateTime::now_utc()) {
            Ok((_, Freshness::Fresh)) => {}
            Ok((_, Freshness::Expired | Freshness::KeysReplaced)) => {
                return Ok("\nIts list of releases no longer holds: sign it anew with \
                           `lineside release BUNDLE`; a bundle that is released already will do");
            }
            Err(_) => {
                server.put_releases(&kept)?;
                published.push("list of releases".into());
            }
        }
    }
    Ok("")
}
