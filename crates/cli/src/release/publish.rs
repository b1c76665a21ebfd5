//! `lineside release BUNDLE`: a bundle that passes its checks is pushed, signed and listed.

use super::LIST_LIFE;
use super::signed::Desk;
use crate::bundle;
use crate::connection::Connection;
use crate::keys::folder::{Freshness, KnownList, tell_unsigned};
use crate::keys::publish::lacking;
use crate::keys::signer::{self, Pin};
use crate::keys::{KEYS, words};
use crate::new_files;
use crate::output::{Output, Usage};
use crate::role::{self, Role};
use crate::server::{Kind, Server};
use crate::watch::Patience;
use anyhow::{Context, anyhow, bail};
use clap::Args;
use lineside_bundle::{BuiltBundle, Digest, ReleaseId};
use lineside_trust::{Draft, Others, ReleasesDraft, RoleDraft, SignedRelease};
use lineside_wire::name::RoleName;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use time::OffsetDateTime;

#[derive(Args)]
pub struct Publish {
    /// The bundle: a file, an OCI image layout, or a folder with a bundle.toml.
    #[arg(required = true)]
    bundle: Option<PathBuf>,
    /// The folder with the root.json that is trusted here, and as many release keys as must sign.
    #[arg(long, value_name = "DIR", default_value = KEYS)]
    keys: PathBuf,
    /// Sign for this vendor, to whom the release keys have delegated the bundle, instead of with
    /// release keys.
    #[arg(long, value_name = "ROLE")]
    role: Option<RoleName>,
    /// A secret key of the role, or the file that says in which token it lies; as many as must sign.
    #[arg(long = "key", value_name = "KEY", requires = "role")]
    role_keys: Vec<PathBuf>,
    /// Never let a device that has this release go back below this number.
    #[arg(long, value_name = "NUMBER")]
    floor: Option<u64>,
    /// Push the bundle, and put the list to be signed into this file: its signers sign it each on a
    /// machine of his own with `keys sign`, then comes `keys publish`.
    #[arg(long, value_name = "FILE")]
    draft: Option<PathBuf>,
    /// Do not replay the bundle's checks here, where they may take long; each device does anyway.
    #[arg(long)]
    unchecked: bool,
    #[command(flatten)]
    patience: Patience,
    #[command(flatten)]
    pin: Pin,
}

/// What is to be signed, if anything is.
struct Plan<D> {
    release: SignedRelease,
    /// The list to sign; none if the server's says all of it already.
    draft: Option<D>,
    is_new: bool,
    /// What the server has of replaced keys, which is not signed anew.
    unsigned: Vec<String>,
}

impl<D> Plan<D> {
    /// What the server is to be asked: it has had a release before, and may have lost or damaged it.
    fn asked(&self) -> Asked {
        if self.is_new { Asked::WhatItHas } else { Asked::WhatItGives }
    }
}

/// How a server is asked for what is about to be pushed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Asked {
    /// By name: it verified the bytes when they came.
    WhatItHas,
    /// For the bytes: its disk may have given way since.
    WhatItGives,
}

pub fn run(release: &Publish, connection: &Connection, output: &Output) -> anyhow::Result<()> {
    match &release.role {
        Some(role) => by_role(release, role, connection, output),
        None => by_release_keys(release, connection, output),
    }
}

fn by_release_keys(
    release: &Publish,
    connection: &Connection,
    output: &Output,
) -> anyhow::Result<()> {
    let desk = Desk::open(&release.keys, release.draft.as_deref(), connection)?;
    let Desk { folder, server, known, now, keys } = desk;
    let built = built(release, output)?;
    let id = built.release_id();
    let others = match &known {
        Some(known) => role::others(&server, &folder, &known.releases, &path(&id), None, now)?,
        None => Others::default(),
    };
    let plan = plan(id, known.as_ref(), others, release.floor)?;
    let pushed = push(&built, &server, plan.asked(), output)?;
    // A server that was lost or set back takes a list only when all bundles in it are there again.
    let forgotten = known.as_ref().filter(|known| known.is_forgotten);
    let lacking = match forgotten {
        Some(known) => lacking(&server, &known.releases)?,
        None => Vec::new(),
    };
    if !lacking.is_empty() {
        return tell_lacking(&plan, &lacking, &pushed, output);
    }
    let draft = plan.draft.as_ref().map(|draft| {
        let before = known.as_ref().map(|known| known.bytes.as_slice());
        Draft::releases(&draft.sign(now + LIST_LIFE, &[]), folder.root(), before)
    });
    let draft = draft.transpose()?;
    if let (Some(draft), Some(file)) = (&draft, &release.draft) {
        let (text, json) = put_draft(draft, file)?;
        return tell_draft(&plan, &text, json, output);
    }
    let also = draft.as_ref().map(|draft| words::besides(draft, &plan.release.path()));
    let bytes = match (draft, &known) {
        (Some(draft), _) => {
            let bytes = signer::finish(draft, &keys, &release.pin, now, output.json)?;
            server.put_releases(&bytes)?;
            bytes
        }
        (None, Some(known)) => {
            if known.is_forgotten {
                server.put_releases(&known.bytes)?;
            }
            known.bytes.clone()
        }
        (None, None) => bail!("a release is listed in a list that does not exist"),
    };
    folder.keep_releases(&bytes).context("released, but the list is not kept beside the keys")?;
    tell(release, &plan, &also.unwrap_or_default(), keys.len(), &pushed, output)
}

fn by_role(
    release: &Publish,
    role: &RoleName,
    connection: &Connection,
    output: &Output,
) -> anyhow::Result<()> {
    if release.draft.is_none() && release.role_keys.is_empty() {
        let problem = format!(
            "who signs for {role}? Name his secret key with --key KEY, or write the list for him with \
             --draft FILE"
        );
        return Err(Usage(problem).into());
    }
    let server = Server::at(connection)?;
    let role = Role::of(role, &release.keys, &server)?;
    let keys = match release.draft {
        Some(_) => Vec::new(),
        None => role.signers(&release.role_keys)?,
    };
    let built = built(release, output)?;
    let id = built.release_id();
    role.check_path(&path(&id))?;
    let plan = plan_of_role(id, &role, release.floor)?;
    let pushed = push(&built, &server, plan.asked(), output)?;
    let mut also = Vec::new();
    if let Some(next) = &plan.draft {
        let files = role.files(next, &[])?;
        let draft = role.draft(next, OffsetDateTime::now_utc() + LIST_LIFE, files.clone())?;
        if let Some(file) = &release.draft {
            let (text, json) = put_draft(&draft, file)?;
            return tell_draft(&plan, &text, json, output);
        }
        also = words::besides(&draft, &plan.release.path());
        let now = OffsetDateTime::now_utc();
        role.publish(&signer::finish(draft, &keys, &release.pin, now, output.json)?, &files)?;
    } else {
        role.give_back()?;
    }
    tell(release, &plan, &also, keys.len(), &pushed, output)
}

fn built(release: &Publish, output: &Output) -> anyhow::Result<BuiltBundle> {
    let bundle = release.bundle.as_ref().context("name the bundle to be released")?;
    match release.unchecked {
        true => bundle::open(bundle, output),
        false => Ok(bundle::checked(bundle, &release.patience, output)?.0),
    }
}

fn tell<D>(
    release: &Publish,
    plan: &Plan<D>,
    also: &[String],
    signatures: usize,
    pushed: &Pushed,
    output: &Output,
) -> anyhow::Result<()> {
    let Plan { release: signed, is_new, unsigned, .. } = plan;
    let (path, number) = (signed.path(), signed.number);
    let by = release.role.as_ref().map(|role| format!(" by {role}")).unwrap_or_default();
    let mut text = if *is_new {
        format!("{path} released{by} as number {number}; next: lineside assign DEVICE SLOT {path}")
    } else {
        let repaired = match pushed.blobs + usize::from(pushed.manifest) {
            0 => String::new(),
            count => format!("; files that the server lacked or had damaged, sent again: {count}"),
        };
        format!("{path} is released already{by}, as number {number}{repaired}")
    };
    // What is signed without having been read is said at least.
    for change in also {
        text = format!("{text}\nits list also {change}");
    }
    text += &tell_unsigned(unsigned);
    let json = json!({ "release": path, "number": number, "floor": signed.floor, "new": is_new,
        "also": also, "unsigned": unsigned, "role": release.role, "digest": signed.id.digest, "size": signed.id.size,
        "signatures": signatures, "blobs_pushed": pushed.blobs, "bytes_pushed": pushed.bytes });
    output.print(text, &json)
}

/// Says that a bundle is there, and that the list waits for others.
fn tell_lacking<D>(
    plan: &Plan<D>,
    lacking: &[String],
    pushed: &Pushed,
    output: &Output,
) -> anyhow::Result<()> {
    let path = plan.release.path();
    let others = lacking.join(", ");
    if plan.is_new {
        bail!(
            "{path} is pushed and not released: the server has lost its list of releases, and takes it \
             back when it has {others} as well; next, for each of them, and then for {path}: \
             lineside release BUNDLE"
        );
    }
    let text = format!(
        "{path} is on the server; it has lost its list of releases, and takes it back when it has \
         {others} as well; next, for each of them: lineside release BUNDLE"
    );
    let json = json!({ "release": path, "number": plan.release.number, "new": false,
        "lacking": lacking, "blobs_pushed": pushed.blobs, "bytes_pushed": pushed.bytes });
    output.print(text, &json)
}

fn tell_draft<D>(
    plan: &Plan<D>,
    text: &str,
    mut json: Value,
    output: &Output,
) -> anyhow::Result<()> {
    let (path, number) = (plan.release.path(), plan.release.number);
    json["unsigned"] = plan.unsigned.clone().into();
    json["release"] = path.clone().into();
    json["number"] = number.into();
    let unsigned = tell_unsigned(&plan.unsigned);
    output.print(format!("{text}\n{path} will be number {number}{unsigned}"), &json)
}

fn plan(
    id: ReleaseId,
    known: Option<&KnownList>,
    others: Others,
    floor: Option<u64>,
) -> anyhow::Result<Plan<ReleasesDraft>> {
    let next = known.map_or_else(|| ReleasesDraft::after(None), KnownList::next);
    let mut draft = next.beside(others);
    let unsigned = known.map(KnownList::unsigned_anew).unwrap_or_default();
    if let Some((known, old)) =
        known.and_then(|known| Some((known, known.releases.get(&path(&id))?)))
    {
        same(old, &id, floor)?;
        let draft = (known.freshness != Freshness::Fresh).then_some(draft);
        return Ok(Plan { release: old.clone(), draft, is_new: false, unsigned });
    }
    let release = draft.add(id, floor).map_err(|problem| anyhow!(problem))?;
    Ok(Plan { release, draft: Some(draft), is_new: true, unsigned })
}

fn plan_of_role(id: ReleaseId, role: &Role, floor: Option<u64>) -> anyhow::Result<Plan<RoleDraft>> {
    let path = path(&id);
    let mut draft = role.next(&path)?;
    if let Some(old) = draft.get(&path).cloned() {
        same(&old, &id, floor)?;
        let draft = role.is_stale().then_some(draft);
        return Ok(Plan { release: old, draft, is_new: false, unsigned: Vec::new() });
    }
    let release = draft.add(id, floor).map_err(|problem| anyhow!(problem))?;
    Ok(Plan { release, draft: Some(draft), is_new: true, unsigned: Vec::new() })
}

/// Refuses a version that names another bundle than it did.
fn same(old: &SignedRelease, id: &ReleaseId, floor: Option<u64>) -> anyhow::Result<()> {
    let path = old.path();
    if old.id != *id {
        bail!(
            "{path} is released already with other contents, as number {}: a version names one bundle \
             for ever. Give this one another, as in: lineside bundle build FOLDER -o FILE --set version=NEW",
            old.number
        );
    }
    if floor.is_some_and(|floor| floor != old.floor) {
        bail!(
            "{path} is released already with floor {}, which cannot be changed: \
             raise the floor with the next release",
            old.floor
        );
    }
    Ok(())
}

fn path(id: &ReleaseId) -> String {
    format!("{}/{}", id.name, id.version)
}

/// Puts a draft of a list into a file that goes from signer to signer. Returns what it says.
pub fn put_draft(draft: &Draft, file: &Path) -> anyhow::Result<(String, Value)> {
    new_files::make(file, &draft.to_bytes())?;
    let (text, json) = words::draft(draft);
    let file = file.display();
    let text = format!(
        "{text}\n{file} is to be signed; each signer: lineside keys show {file}, \
         then lineside keys sign {file} --key KEY; then here: lineside keys publish {file}"
    );
    Ok((text, json))
}

struct Pushed {
    blobs: usize,
    bytes: usize,
    /// Whether the manifest, too.
    manifest: bool,
}

/// Gives the server every blob it lacks; the manifest last, because it names the others.
fn push(
    built: &BuiltBundle,
    server: &Server,
    asked: Asked,
    output: &Output,
) -> anyhow::Result<Pushed> {
    let ReleaseId { name, version, digest, .. } = built.release_id();
    let working = output.working(format!("asking the server what it has of {name}/{version}"));
    let mut lacking: Vec<(&Digest, &Vec<u8>)> = Vec::new();
    for (digest, bytes) in &built.blobs {
        let has = match asked {
            Asked::WhatItHas => server.has_blob(&name, digest)?,
            Asked::WhatItGives => server.gives(&name, Kind::Blob, digest)?,
        };
        if !has {
            lacking.push((digest, bytes));
        }
    }
    let bytes = lacking.iter().map(|(_, bytes)| bytes.len()).sum();
    for (place, (digest, bytes)) in lacking.iter().enumerate() {
        working.tell(format!(
            "pushing blob {} of {}, {}",
            place + 1,
            lacking.len(),
            bundle::size(bytes.len() as u64)
        ));
        server
            .put_blob(&name, digest, bytes)
            .with_context(|| format!("cannot push blob {digest}"))?;
    }
    let has = match asked {
        Asked::WhatItHas => server.has_manifest(&name, &digest)?,
        Asked::WhatItGives => server.gives(&name, Kind::Manifest, &digest)?,
    };
    if !has {
        let put = server.put_manifest(&name, &digest, &built.oci_manifest);
        put.with_context(|| format!("cannot push the manifest of {name}/{version}"))?;
    }
    Ok(Pushed { blobs: lacking.len(), bytes, manifest: !has })
}

#[cfg(test)]
mod tests {
    use super::*;
    use lineside_trust::{KeyPair, Root, RootSpec, sign_root, verify_releases};
    use ring::rand::SystemRandom;

    const NOW: OffsetDateTime = time::macros::datetime!(2026-11-24 12:00 UTC);

    fn id(version: &str, contents: &str) -> ReleaseId {
        ReleaseId {
            name: "turbine".parse().unwrap(),
            version: version.parse().unwrap(),
            digest: Digest::of(contents.as_bytes()),
            size: 10,
        }
    }

    fn known(freshness: Freshness) -> KnownList {
        let random = SystemRandom::new();
        let key = || KeyPair::generate(&random).unwrap();
        let (root_key, people, online, director) = (key(), key(), key(), key());
        let spec = RootSpec {
            version: 1,
            expires: NOW + LIST_LIFE,
            root: (vec![root_key.public()], 1),
            releases: (vec![people.public()], 1),
            online: online.public(),
            director: director.public(),
        };
        let root = Root::pin(&sign_root(&spec, &[&root_key])).unwrap();
        let mut draft = ReleasesDraft::after(None);
        draft.add(id("1", "one"), None).unwrap();
        let bytes = draft.sign(NOW + LIST_LIFE, &[&people]);
        let releases = verify_releases(&root, &bytes, None, NOW).unwrap();
        KnownList { bytes, releases, freshness, is_forgotten: false, disowned: None }
    }

    fn planned(
        id: ReleaseId,
        freshness: Freshness,
        floor: Option<u64>,
    ) -> Result<Plan<ReleasesDraft>, String> {
        plan(id, Some(&known(freshness)), Others::default(), floor)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn the_next_version_gets_the_next_number() {
        let plan = planned(id("2", "two"), Freshness::Fresh, Some(1)).unwrap();
        assert_eq!((plan.release.number, plan.release.floor, plan.is_new), (2, 1, true));
        let error = planned(id("2", "two"), Freshness::Fresh, Some(3)).err().unwrap();
        assert!(error.contains("floor 3 is above 2"), "{error}");
    }

    #[test]
    fn the_same_bundle_again_is_signed_again_only_when_the_list_does_not_hold_any_longer() {
        let again = planned(id("1", "one"), Freshness::Fresh, None).unwrap();
        assert!(!again.is_new && again.draft.is_none());
        for freshness in [Freshness::Expired, Freshness::KeysReplaced] {
            let anew = planned(id("1", "one"), freshness, None).unwrap();
            assert!(!anew.is_new && anew.draft.is_some());
        }
    }

    #[test]
    fn other_contents_under_an_old_version_are_refused_with_the_remedy() {
        let error = planned(id("1", "other"), Freshness::Fresh, None).err().unwrap();
        assert!(error.contains("--set version=NEW"), "{error}");
        let error = planned(id("1", "one"), Freshness::Fresh, Some(1)).err().unwrap();
        assert!(error.contains("raise the floor with the next release"), "{error}");
    }
}
