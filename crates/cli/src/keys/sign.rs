//! `lineside keys show`, `keys sign` and `keys join`: a draft from signer to signer, without a server.

use super::draft::root_at;
use super::folder::{ROOT, read, root_file};
use super::signer::{self, Pin, Signer};
use super::words;
use crate::new_files;
use crate::output::{Output, Usage};
use anyhow::{Context, bail};
use clap::Args;
use lineside_trust::{DRAFT_BYTES_MAX, Draft, PublicKey, Quorum, Root};
use std::io::{BufRead, IsTerminal, Write};
use std::path::{Path, PathBuf};
use time::OffsetDateTime;

#[derive(Args)]
pub struct Show {
    /// A draft, or a root.
    file: PathBuf,
    /// The root that is trusted here, to find out whether the draft rests on it.
    #[arg(long, value_name = "ROOT")]
    root: Option<PathBuf>,
}

#[derive(Args)]
pub struct Sign {
    /// The draft; the signature is put into it.
    file: PathBuf,
    /// The secret key, as `keys generate` or `keys new` made it, or the file that says in which token
    /// it lies.
    #[arg(long, value_name = "KEY")]
    key: PathBuf,
    /// The root that is trusted here [default: root.json beside the key, if there is one].
    #[arg(long, value_name = "ROOT")]
    root: Option<PathBuf>,
    /// Do not ask: what is signed has been read with `keys show`.
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    pin: Pin,
}

#[derive(Args)]
pub struct Join {
    /// Drafts of one document that were signed apart.
    #[arg(required = true, num_args = 2..)]
    files: Vec<PathBuf>,
    /// Where to put the draft with the signatures of all; nothing is written over.
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
}

pub fn show(show: &Show, output: &Output) -> anyhow::Result<()> {
    let Show { file, root } = show;
    if let Ok(published) = Root::pin(&read(file, DRAFT_BYTES_MAX as u64)?) {
        let (text, json) = words::root(&published.spec()?);
        return output.print(text.trim_end(), &json);
    }
    let draft = open(file)?;
    let (mut text, mut json) = words::draft(&draft);
    if let Some(root) = root {
        rests_on(&draft, file, root)?;
        text = format!("{text}\nit rests on {}", root.display());
    }
    json["root_compared"] = root.is_some().into();
    output.print(text, &json)
}

pub fn sign(sign: &Sign, output: &Output) -> anyhow::Result<()> {
    let Sign { file, key, root, yes, pin } = sign;
    let mut draft = open(file)?;
    let beside = key.with_file_name(ROOT);
    let root = root.as_deref().or_else(|| beside.exists().then_some(beside.as_path()));
    if let Some(root) = root {
        rests_on(&draft, file, root)?;
    }
    let signer = Signer::open(key)?;
    let public = signer.public();
    let now = OffsetDateTime::now_utc();
    let name = file.display();
    draft.may_sign(&public, now).with_context(|| format!("{name} is not signed"))?;
    if !yes {
        agree(&draft, &public, output)?;
    }
    for signature in signer::sign(&[signer], draft.payload(), pin, output.json)? {
        draft.sign(&public, signature, now)?;
    }
    new_files::replace(file, &draft.to_bytes())?;
    told(&draft, file, &format!("{name} is signed with key {public}"), output)
}

pub fn join(join: &Join, output: &Output) -> anyhow::Result<()> {
    let Join { files, output: target } = join;
    let mut drafts = Vec::new();
    for file in files {
        drafts.push((file, open(file)?));
    }
    let mut drafts = drafts.into_iter();
    let (first, mut joined) = drafts.next().context("there is nothing to join")?;
    for (file, draft) in drafts {
        let both = || format!("{} and {} cannot be joined", first.display(), file.display());
        joined.join(&draft).with_context(both)?;
    }
    new_files::make(target, &joined.to_bytes())?;
    told(&joined, target, &format!("{} has the signatures of all", target.display()), output)
}

/// Opens a draft; its signatures fit.
///
/// # Errors
/// It is none, or is not what it was when it was signed.
pub fn open(file: &Path) -> anyhow::Result<Draft> {
    Draft::parse(&read(file, DRAFT_BYTES_MAX as u64)?)
        .with_context(|| format!("{} cannot be used", file.display()))
}

/// Says what was done, and what is still to do.
fn told(draft: &Draft, file: &Path, done: &str, output: &Output) -> anyhow::Result<()> {
    let (_, json) = words::draft(draft);
    let lacking: Vec<String> = draft
        .quorums()
        .iter()
        .filter(|quorum| !quorum.is_met())
        .map(|Quorum { by, threshold, signed, .. }| {
            format!("{by} wants {threshold} signatures, has {}", signed.len())
        })
        .collect();
    let next = match lacking.is_empty() {
        true => format!("enough have signed; next: lineside keys publish {}", file.display()),
        false => lacking.join("; "),
    };
    output.print(format!("{done}\n{next}"), &json)
}

/// Refuses a draft that rests on another root than the one that is trusted here.
fn rests_on(draft: &Draft, file: &Path, root: &Path) -> anyhow::Result<()> {
    let ours = root_at(root)?;
    let (file, root) = (file.display(), root.display());
    let Some(theirs) = draft.root_before() else {
        bail!("{file} holds a first root, and {root} is trusted here: it would begin anew");
    };
    if theirs.agrees_with(&ours) || ours.update(theirs.bytes()).is_ok() {
        return Ok(());
    }
    if theirs.version() > ours.version() + 1 {
        bail!(
            "{file} rests on root {}, and {root} is root {}: of the roots between nobody has told this \
             machine. Bring the folder of keys that they were published from, or its files {} to \
             {ROOT}, and run `lineside keys follow DIR --root {root}`",
            theirs.version(),
            ours.version(),
            root_file(ours.version() + 1)
        );
    }
    bail!(
        "{file} rests on root {}, which is not {root} (root {}) and does not follow it: it was drafted \
         for other devices, or by somebody who wants it signed by mistake",
        theirs.version(),
        ours.version()
    );
}

/// Shows what is signed, and asks.
fn agree(draft: &Draft, key: &PublicKey, output: &Output) -> anyhow::Result<()> {
    if output.json || !std::io::stdin().is_terminal() {
        let problem =
            "nobody can be asked here: read the draft with `lineside keys show`, and say --yes";
        return Err(Usage(problem.into()).into());
    }
    let (text, _) = words::draft(draft);
    let mut err = std::io::stderr().lock();
    write!(err, "{text}\n\nSign this with key {key}? Type yes: ")?;
    err.flush()?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    if answer.trim() != "yes" {
        bail!("not signed");
    }
    Ok(())
}
