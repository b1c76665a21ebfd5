//! `lineside device export`: the signed documents of devices and the bundles they speak of, in one file.

use crate::connection::Connection;
use crate::keys::folder::KeyFolder;
use crate::new_files::replace_with;
use crate::output::Output;
use crate::server::{Kind, Server};
use anyhow::{Context, bail};
use clap::Args;
use lineside_bundle::parcel::{self, DEVICES_MAX, Packed, Papers};
use lineside_bundle::{BundleName, Digest, ReleaseId};
use lineside_trust::repository::{Carried, Client, InMemory};
use lineside_trust::{Root, TrustedTarget, agree, verify_assignment, verify_receipt};
use lineside_wire::name::DeviceId;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::io;
use std::path::PathBuf;
use time::OffsetDateTime;

#[derive(Args)]
pub struct Export {
    /// The devices: each takes its own from the file.
    #[arg(required = true, value_name = "DEVICE")]
    devices: Vec<DeviceId>,
    /// Where to put the file.
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Put it in the place of a file that is there already.
    #[arg(long)]
    replace: bool,
    /// Verify against the root.json in this folder, as the devices will against their own.
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

/// What is packed for a device.
struct Share {
    papers: Papers,
    targets: Vec<TrustedTarget>,
    /// The number of the report for which there is a receipt.
    receipt_for: Option<u64>,
}

/// What is told of a device's share.
#[derive(Serialize)]
struct Told<'a> {
    slots: BTreeMap<&'a str, &'a ReleaseId>,
    receipt_for: Option<u64>,
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
    let Export { devices, output: file, replace, keys } = export;
    let names: BTreeSet<&DeviceId> = devices.iter().collect();
    if names.len() > DEVICES_MAX {
        bail!("a file is for {DEVICES_MAX} devices at most, {} are named", names.len());
    }
    if file.exists() && !replace {
        bail!("{} is there already: name another file, or say --replace", file.display());
    }
    let server = Server::at(connection)?;
    let keys = keys.as_deref().map(KeyFolder::open).transpose()?;
    let mut shares = BTreeMap::new();
    for device in names {
        shares.insert(device, share(device, &server, keys.as_ref())?);
    }
    let targets = shares.values().flat_map(|share| &share.targets);
    let releases: BTreeSet<&ReleaseId> = targets.map(TrustedTarget::release).collect();
    let working = output.working(format!("fetching what {} is to install", told_of(&shares)));
    let mut packed = Vec::new();
    for release in releases {
        let manifest = server.blob(&release.name, Kind::Manifest, &release.digest)?;
        let release_packed = Packed::of(release.clone(), manifest);
        packed.push(
            release_packed.map_err(|why| anyhow::anyhow!("{release} cannot be read: {why}"))?,
        );
    }
    let mut failed = None;
    let blob = |bundle: &BundleName, digest: &Digest| {
        working.tell(format!("fetching {bundle} {digest}"));
        server.blob(bundle, Kind::Blob, digest).map_err(|error| {
            failed = Some(error);
            io::ErrorKind::Other.into()
        })
    };
    let papers = shares.iter().map(|(device, share)| (device.to_string(), share.papers.clone()));
    let papers: BTreeMap<String, Papers> = papers.collect();
    let written = replace_with(file, |out| parcel::write(&papers, &packed, blob, out));
    drop(working);
    // What the server says is the cause, and not that the file could not be written.
    let bytes = match failed {
        Some(error) => return Err(error),
        None => written?,
    };

    let mut text = format!("{}: {}", file.display(), crate::bundle::size(bytes));
    for (device, share) in &shares {
        let slots = share.targets.iter();
        let slots: Vec<String> =
            slots.map(|it| format!("{} in slot {}", it.release(), it.slot())).collect();
        let _ = write!(text, "\n  {device}: {}", slots.join(", "));
        if let Some(number) = share.receipt_for {
            let _ = write!(text, "; the receipt for its report {number}");
        }
    }
    let _ = write!(
        text,
        "\nTake it to {} and run there: lineside-agent install --config agent.toml {}",
        told_of(&shares),
        file.file_name().unwrap_or_default().to_string_lossy()
    );
    let told = shares.iter().map(|(device, share)| (device.as_str(), share.told()));
    let told: BTreeMap<&str, Told<'_>> = told.collect();
    output.print(text, &json!({ "file": file, "bytes": bytes, "devices": told }))
}

/// For whom a file is.
fn told_of(shares: &BTreeMap<&DeviceId, Share>) -> String {
    match shares.first_key_value() {
        Some((device, _)) if shares.len() == 1 => device.to_string(),
        _ => format!("each of the {} devices", shares.len()),
    }
}

/// What the server has for a device, as the device will find it.
fn share(device: &DeviceId, server: &Server, keys: Option<&KeyFolder>) -> anyhow::Result<Share> {
    let documents: Documents = server.documents(device.as_str())?;
    let newest = documents.newest_root().context("the server sends no root")?;
    let root = match keys {
        Some(keys) => {
            keys.compare(server.url(), Some(newest.as_bytes()))?;
            keys.root().clone()
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
    let receipt_for = receipt.transpose()?.map(|receipt| receipt.number());
    let papers = Papers {
        metadata: bytes(documents.metadata),
        assignment: documents.assignment.into_bytes(),
        files: bytes(documents.files),
        receipt: documents.receipt.map(String::into_bytes),
    };
    Ok(Share { papers, targets, receipt_for })
}

impl Share {
    fn told(&self) -> Told<'_> {
        let slots = self.targets.iter().map(|target| (target.slot().as_str(), target.release()));
        Told { slots: slots.collect(), receipt_for: self.receipt_for }
    }
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
