//! `lineside release`: a bundle that passes its checks is pushed, signed and listed.

use crate::ask::{self, Ask};
use crate::bundle;
use crate::connection::Connection;
use crate::keys::folder::{Freshness, KeyFolder};
use crate::keys::signer::{self, Pin, Signer};
use crate::keys::{KEYS, words};
use crate::new_files;
use crate::output::Output;
use crate::server::Server;
use anyhow::{Context, anyhow, bail};
use clap::{Args, Subcommand};
use lineside_bundle::{BuiltBundle, Digest, ReleaseId};
use lineside_trust::{Draft, ReleasesDraft, SignedRelease, TrustedReleases};
use serde_json::json;
use std::path::{Path, PathBuf};
use time::{Duration, OffsetDateTime};

/// How long a list of releases is good: after that, devices go on and take nothing new.
const LIST_LIFE: Duration = Duration::days(365);

#[derive(Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct Release {
    #[command(subcommand)]
    command: Option<ReleaseCommand>,
    /// The bundle: a file, an OCI image layout, or a folder with a bundle.toml.
    #[arg(required = true)]
    bundle: Option<PathBuf>,
    /// The folder with the root.json that is trusted here, and as many release keys as must sign.
    #[arg(long, value_name = "DIR", default_value = KEYS)]
    keys: PathBuf,
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
    pin: Pin,
}

#[derive(Subcommand)]
enum ReleaseCommand {
    /// Ask devices whether a release would run on them, before it is assigned.
    Ask(Ask),
}

/// What is to be signed, if anything is.
struct Plan {
    release: SignedRelease,
    /// The list to sign; none if the server's says all of it already.
    draft: Option<ReleasesDraft>,
    is_new: bool,
}

pub fn run(release: &Release, connection: &Connection, output: &Output) -> anyhow::Result<()> {
    match &release.command {
        Some(ReleaseCommand::Ask(question)) => ask::run(question, connection, output),
        None => publish(release, connection, output),
    }
}

fn publish(release: &Release, connection: &Connection, output: &Output) -> anyhow::Result<()> {
    let bundle = release.bundle.as_ref().context("name the bundle to be released")?;
    let folder = KeyFolder::open(&release.keys)?;
    let keys = match release.draft {
        Some(_) => Vec::new(),
        None => folder.release_keys()?,
    };
    let server = Server::at(connection)?;
    folder.compare(server.url(), server.root()?.as_deref())?;
    let now = OffsetDateTime::now_utc();
    let listed = server.releases()?;
    let built = match release.unchecked {
        true => bundle::open(bundle, output)?,
        false => bundle::checked(bundle, output)?.0,
    };
    let (trusted, freshness) = match folder.verify(listed.as_deref(), now) {
        Ok(verified) => verified,
        Err(error) => {
            // A server that was restored from a copy lacks the blobs of what it has forgotten, and
            // takes the list back only when they are there.
            push(&built, &server, output)?;
            return Err(error);
        }
    };
    let plan = plan(built.release_id(), trusted.as_ref(), freshness, release.floor)?;
    let pushed = push(&built, &server, output)?;
    let draft = plan.draft.as_ref().map(|draft| {
        let before = trusted.as_ref().and(listed.as_deref());
        Draft::releases(&draft.sign(now + LIST_LIFE, &[]), folder.root(), before)
    });
    let draft = draft.transpose()?;
    if let (Some(draft), Some(file)) = (&draft, &release.draft) {
        return put_draft(draft, file, &plan, output);
    }
    let bytes = match (draft, listed) {
        (Some(draft), _) => {
            let bytes = sign(draft, &keys, release, now, output)?;
            server.put_releases(&bytes)?;
            bytes
        }
        (None, Some(listed)) => listed,
        (None, None) => bail!("a release is listed in a list that does not exist"),
    };
    folder.keep_releases(&bytes).context("released, but the list is not kept beside the keys")?;

    let Plan { release, is_new, .. } = &plan;
    let (path, number) = (release.path(), release.number);
    let text = if *is_new {
        format!("{path} released as number {number}; next: lineside assign DEVICE SLOT {path}")
    } else {
        format!("{path} is released already, as number {number}")
    };
    let json = json!({ "release": path, "number": number, "floor": release.floor, "new": is_new,
        "digest": release.id.digest, "size": release.id.size, "signatures": keys.len(),
        "blobs_pushed": pushed.blobs, "bytes_pushed": pushed.bytes });
    output.print(text, &json)
}

fn plan(
    id: ReleaseId,
    trusted: Option<&TrustedReleases>,
    freshness: Freshness,
    floor: Option<u64>,
) -> anyhow::Result<Plan> {
    let mut draft = ReleasesDraft::after(trusted);
    let path = format!("{}/{}", id.name, id.version);
    if let Some(old) = trusted.and_then(|trusted| trusted.get(&path)) {
        if old.id != id {
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
        let draft = (freshness != Freshness::Fresh).then_some(draft);
        return Ok(Plan { release: old.clone(), draft, is_new: false });
    }
    let release = draft.add(id, floor).map_err(|problem| anyhow!(problem))?;
    Ok(Plan { release, draft: Some(draft), is_new: true })
}

/// Signs, and makes sure that devices will accept what was signed.
fn sign(
    mut draft: Draft,
    keys: &[Signer],
    release: &Release,
    now: OffsetDateTime,
    output: &Output,
) -> anyhow::Result<Vec<u8>> {
    let signatures = signer::sign(keys, draft.payload(), &release.pin, output.json)?;
    for (key, signature) in keys.iter().zip(signatures) {
        draft.sign(&key.public(), signature, now)?;
    }
    draft.finish(now).context("no device would accept this list")
}

/// Puts a list that nobody has signed yet into a file that goes from signer to signer.
fn put_draft(draft: &Draft, file: &Path, plan: &Plan, output: &Output) -> anyhow::Result<()> {
    new_files::make(file, &draft.to_bytes())?;
    let (path, number, file) = (plan.release.path(), plan.release.number, file.display());
    let (text, mut json) = words::draft(draft);
    json["release"] = path.clone().into();
    json["number"] = number.into();
    let text = format!(
        "{text}\n{file} is to be signed, and {path} will be number {number}; each signer: \
         lineside keys show {file}, then lineside keys sign {file} --key KEY"
    );
    output.print(text, &json)
}

struct Pushed {
    blobs: usize,
    bytes: usize,
}

/// Gives the server every blob it lacks; the manifest last, because it names the others.
fn push(built: &BuiltBundle, server: &Server, output: &Output) -> anyhow::Result<Pushed> {
    let ReleaseId { name, version, digest, .. } = built.release_id();
    let working = output.working(format!("asking the server what it has of {name}/{version}"));
    let mut lacking: Vec<(&Digest, &Vec<u8>)> = Vec::new();
    for (digest, bytes) in &built.blobs {
        if !server.has_blob(&name, digest)? {
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
    if !server.has_manifest(&name, &digest)? {
        let put = server.put_manifest(&name, &digest, &built.oci_manifest);
        put.with_context(|| format!("cannot push the manifest of {name}/{version}"))?;
    }
    Ok(Pushed { blobs: lacking.len(), bytes })
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

    fn trusted() -> TrustedReleases {
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
        verify_releases(&root, &draft.sign(NOW + LIST_LIFE, &[&people]), None, NOW).unwrap()
    }

    fn planned(id: ReleaseId, freshness: Freshness, floor: Option<u64>) -> Result<Plan, String> {
        plan(id, Some(&trusted()), freshness, floor).map_err(|error| error.to_string())
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
