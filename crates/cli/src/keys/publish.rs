//! `lineside keys publish`: what people have signed goes to the server.

use super::folder::{Freshness, KeyFolder, ROOT};
use super::sign;
use crate::connection::Connection;
use crate::new_files::{NewFiles, Readers};
use crate::output::Output;
use crate::role::Role;
use crate::server::Server;
use anyhow::{Context, bail};
use clap::Args;
use lineside_trust::{Contents, Draft, Root, TrustedReleases};
use lineside_wire::name::RoleName;
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
    let left = rest(keys, &server, &mut published)?;
    let mut text = if !published.is_empty() {
        let published = published.join(" and the ");
        format!("the server at {} has the {published} now", server.url())
    } else if left.advice.is_empty() {
        format!("the server at {} has all of it", server.url())
    } else {
        format!("nothing is published: the server at {} has the root", server.url())
    };
    for advice in &left.advice {
        text = format!("{text}\n{advice}");
    }
    output.print(text, &json!({ "published": published, "lacking": left.lacking }))
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
    let mut roots = match &here {
        Some(folder) => folder.roots()?,
        None => draft.root_before().cloned().into_iter().collect(),
    };
    if roots.last().is_none_or(|last| !last.agrees_with(&new)) {
        roots.push(new);
    }
    lead(server, &roots)?;
    if let Some(folder) = here {
        return folder.follow(signed);
    }
    let files = NewFiles::reserve(keys, &[(ROOT.to_owned(), Readers::All)])?;
    files.fill(ROOT, signed)?;
    files.keep();
    Ok(())
}

/// Gives the server those of `roots`, each the way to the next, that come after its own: all of them
/// where it has none. Whether there were any.
fn lead(server: &Server, roots: &[Root]) -> anyhow::Result<bool> {
    let theirs = server.root()?.map(|root| Root::pin(&root)).transpose();
    let theirs = theirs.with_context(|| format!("{} sends no root", server.url()))?;
    let known = match &theirs {
        None => Some(0),
        Some(theirs) => match roots.iter().rposition(|root| root.agrees_with(theirs)) {
            Some(place) => Some(place + 1),
            None => roots.iter().position(|root| theirs.update(root.bytes()).is_ok()),
        },
    };
    let (Some(known), Some(newest)) = (known, roots.last()) else {
        bail!(
            "the server at {} has root {}, and root {} does not follow it",
            server.url(),
            theirs.map_or(0, |root| root.version()),
            roots.last().map_or(0, Root::version)
        );
    };
    if known == roots.len() {
        return Ok(false);
    }
    server.put_roots(&roots[known..]).with_context(|| {
        format!("the server at {} does not take root {}", server.url(), newest.version())
    })?;
    Ok(true)
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

/// What the server could not be given, and why.
#[derive(Default)]
struct Left {
    /// A sentence for each thing that is to be done.
    advice: Vec<String>,
    /// Releases whose bundles the server lacks.
    lacking: Vec<String>,
}

/// Gives the server what lies in the folder and it lacks.
fn rest(keys: &Path, server: &Server, published: &mut Vec<String>) -> anyhow::Result<Left> {
    let folder = KeyFolder::open(keys)?;
    folder.keep_root()?;
    let mut left = Left::default();
    let theirs = server.root()?;
    let roots = folder.roots()?;
    let is_behind = match &theirs {
        None => true,
        Some(theirs) => folder.follows(&Root::pin(theirs)?)?,
    };
    if !is_behind {
        folder.compare(server.url(), theirs.as_deref())?;
    } else if lead(server, &roots)? {
        published.push("root".into());
    }
    let first = roots.first().map_or(1, Root::version);
    if theirs.is_none() && first > 1 {
        left.advice.push(format!(
            "The roots before root {first} are not in {keys}: a device that has not come as far as root \
             {before} cannot follow this server. If you have them elsewhere, put them there by their \
             versions, as {before}.{ROOT}, and begin with a new server once more",
            keys = keys.display(),
            before = first - 1
        ));
    }
    let known = folder.verify(server.releases()?.as_deref(), OffsetDateTime::now_utc())?;
    let Some(known) = known else { return Ok(left) };
    if known.is_forgotten {
        left.lacking = lacking(server, &known.releases)?;
    }
    if !left.lacking.is_empty() {
        left.advice.push(format!(
            "It lacks {}, and takes no list of releases without their bundles; next, for each of them: \
             lineside release BUNDLE",
            left.lacking.join(", ")
        ));
    } else if known.freshness != Freshness::Fresh {
        let draft = if folder.release_keys().is_err() { " --draft FILE" } else { "" };
        left.advice.push(format!(
            "Its list of releases no longer holds: sign it anew with `lineside release BUNDLE{draft}`; \
             a bundle that is released already will do{}",
            known.tell_unsigned()
        ));
    } else {
        if known.is_forgotten {
            server.put_releases(&known.bytes)?;
            published.push("list of releases".into());
        }
        give_back_roles(keys, &known.releases, server, published, &mut left)?;
    }
    Ok(left)
}

/// Gives the server what vendors and sites have signed, as far as it lies here and the server lost it.
fn give_back_roles(
    keys: &Path,
    releases: &TrustedReleases,
    server: &Server,
    published: &mut Vec<String>,
    left: &mut Left,
) -> anyhow::Result<()> {
    let now = OffsetDateTime::now_utc();
    for name in releases.delegates() {
        let (name, folder): (RoleName, _) = (name.parse()?, KeyFolder::open(keys)?);
        if folder.kept_role(&name)?.is_none() {
            continue;
        }
        let given = Role::with(folder, server, &name, now).and_then(|role| role.give_back());
        match given {
            Ok(true) => published.push(format!("list of {name}")),
            Ok(false) => {}
            Err(error) => left.advice.push(format!(
                "It lacks what {name} has signed last, and does not take it: {error:#}"
            )),
        }
    }
    Ok(())
}

/// Releases in a list whose bundles the server has not.
///
/// # Errors
/// What the server says.
pub fn lacking(server: &Server, releases: &TrustedReleases) -> anyhow::Result<Vec<String>> {
    let mut lacking = Vec::new();
    for release in releases.iter() {
        if !server.has_manifest(&release.id.name, &release.id.digest)? {
            lacking.push(release.path());
        }
    }
    Ok(lacking)
}
