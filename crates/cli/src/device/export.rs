//! `lineside device export`: the signed documents of a device and the bundles they speak of, in one file.

use crate::connection::Connection;
use crate::keys::folder::KeyFolder;
use crate::new_files::replace_with;
use crate::output::{Output, Working};
use crate::server::{Kind, Server};
use anyhow::{Context, bail};
use clap::Args;
use lineside_bundle::parcel::{self, Papers};
use lineside_bundle::{BuiltBundle, Manifest, OciManifest, ReleaseId};
use lineside_trust::repository::{Carried, Client, InMemory};
use lineside_trust::{Root, TrustedTarget, agree, verify_assignment, verify_receipt};
use lineside_wire::name::DeviceId;
use serde::Deserialize;
use serde_json::json;
use std::collections::BTreeSet;
use std::collections::btree_map::{BTreeMap, Entry};
use std::path::PathBuf;
use time::OffsetDateTime;

#[derive(Args)]
pub struct Export {
    /// The device.
    device: DeviceId,
    /// Where to put the file.
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Verify against the root.json in this folder, as the device will against its own.
    #[arg(long, value_name = "DIR")]
    keys: Option<PathBuf>,
}

/// What the server has for a device, each document as it was signed.
#[derive(Deserialize)]
struct Documents {
    metadata: BTreeMap<String, String>,
    assignment: String,
    files: BTreeMap<String, String>,
    receipt: Option<String>,
}

impl Documents {
    /// The root of the highest version.
    fn newest_root(&self) -> Option<&str> {
        let version = |name: &str| name.strip_suffix(".root.json")?.parse::<u64>().ok();
        let roots = self.metadata.iter().filter_map(|(name, text)| Some((version(name)?, text)));
        roots.max_by_key(|(version, _)| *version).map(|(_, text)| text.as_str())
    }
}

/// Names and bytes of texts.
fn bytes(texts: BTreeMap<String, String>) -> Vec<(String, Vec<u8>)> {
    texts.into_iter().map(|(name, text)| (name, text.into_bytes())).collect()
}

pub fn run(export: &Export, connection: &Connection, output: &Output) -> anyhow::Result<()> {
    let Export { device, output: file, keys } = export;
    let server = Server::at(connection)?;
    let documents: Documents = server.documents(device.as_str())?;
    let newest = documents.newest_root().context("the server sends no root")?;
    let root = match keys {
        Some(keys) => {
            let folder = KeyFolder::open(keys)?;
            folder.compare(server.url(), Some(newest.as_bytes()))?;
            folder.root().clone()
        }
        // The device verifies all of it again, from the root that it was installed with.
        None => Root::pin(newest.as_bytes())?,
    };
    let targets = targets(&root, &documents, device)?;
    if targets.is_empty() {
        bail!("nothing is assigned to {device}; next: lineside assign {device} SLOT NAME/VERSION");
    }
    let receipt = documents.receipt.as_ref().map(|text| {
        verify_receipt(&root, text.as_bytes(), device)
            .with_context(|| format!("{device} would refuse the server's receipt for its report"))
    });
    let receipted = receipt.transpose()?.map(|receipt| receipt.number());
    let releases: BTreeSet<&ReleaseId> = targets.iter().map(TrustedTarget::release).collect();
    let working = output.working(format!("fetching what {device} is to install"));
    let mut bundles = Vec::new();
    for release in releases {
        bundles.push(fetch(release, &server, &working)?);
    }
    let papers = Papers {
        metadata: bytes(documents.metadata),
        assignment: documents.assignment.into_bytes(),
        files: bytes(documents.files),
        receipt: documents.receipt.map(String::into_bytes),
    };
    let bytes = replace_with(file, |out| parcel::write(&papers, &bundles, out))?;
    drop(working);

    let slots: Vec<String> = targets
        .iter()
        .map(|target| format!("{} in slot {}", target.release(), target.slot()))
        .collect();
    let receipt_told = receipted
        .map(|number| format!("\nIt has the receipt for report {number}"))
        .unwrap_or_default();
    let text = format!(
        "{}: {}, {}{receipt_told}\nTake it to {device} and run there: lineside-agent install --config agent.toml {}",
        file.display(),
        slots.join(", "),
        crate::bundle::size(bytes),
        file.file_name().unwrap_or_default().to_string_lossy()
    );
    let slots: BTreeMap<&str, &ReleaseId> =
        targets.iter().map(|target| (target.slot().as_str(), target.release())).collect();
    let json = json!({ "file": file, "device": device, "bytes": bytes, "slots": slots,
        "receipt_for": receipted });
    output.print(text, &json)
}

/// What both documents agree on, as the device will find.
fn targets(
    root: &Root,
    documents: &Documents,
    device: &DeviceId,
) -> anyhow::Result<Vec<TrustedTarget>> {
    let now = OffsetDateTime::now_utc();
    let advice = || format!("{device} would refuse what the server has signed for it");
    let metadata: Carried = bytes(documents.metadata.clone()).into_iter().collect();
    let repository = Client::new(root.bytes(), metadata, InMemory::default());
    let mut repository = repository.with_context(advice)?;
    repository.refresh(now).with_context(advice)?;
    let assignment = documents.assignment.as_bytes();
    let assignment = verify_assignment(root, assignment, device, None, now).with_context(advice)?;
    agree(&mut repository, &assignment, now).with_context(advice)
}

fn fetch(release: &ReleaseId, server: &Server, working: &Working) -> anyhow::Result<BuiltBundle> {
    working.tell(format!("fetching {release}"));
    let oci_manifest = server.blob(&release.name, Kind::Manifest, &release.digest)?;
    let oci = OciManifest::parse(&oci_manifest)
        .map_err(|problem| anyhow::anyhow!("{release} cannot be read: {problem}"))?;
    let mut blobs = BTreeMap::new();
    for blob in oci.blobs() {
        if let Entry::Vacant(place) = blobs.entry(blob.digest) {
            place.insert(server.blob(&release.name, Kind::Blob, &blob.digest)?);
        }
    }
    let config = blobs.get(&oci.config.digest).context("a bundle without a description")?;
    let manifest = Manifest::parse(config).with_context(|| format!("{release} cannot be read"))?;
    Ok(BuiltBundle { manifest, oci_manifest, blobs })
}
