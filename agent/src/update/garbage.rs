//! Which blobs no slot needs any more.

use crate::update::blobs::Blobs;
use crate::update::journal::{Journal, JournalError};
use crate::update::stage;
use anyhow::Context;
use lineside_bundle::{Digest, ReleaseId};
use std::collections::BTreeSet;

/// Removes every blob that no slot's active, previous or candidate release needs. Returns how many.
///
/// # Errors
/// What the journal or the disk says. If the journal cannot be read, nothing is removed.
pub fn collect(journal: &Journal, blobs: &Blobs) -> anyhow::Result<usize> {
    let mut unread = None;
    let removed = blobs.collect(|| match needed(journal, blobs) {
        Ok(needed) => Some(needed),
        Err(error) => {
            unread = Some(error);
            None
        }
    });
    match unread {
        Some(error) => Err(error).context("cannot tell which blobs are needed"),
        None => removed.context("cannot remove blobs that no slot needs"),
    }
}

/// The digests that a slot needs, or will need as soon as it has heard of its assignment.
fn needed(journal: &Journal, blobs: &Blobs) -> Result<BTreeSet<Digest>, JournalError> {
    let slots = journal.slots()?;
    let mut releases: Vec<ReleaseId> =
        slots.values().flat_map(|slot| slot.kept().cloned()).collect();
    for (slot, target) in journal.accepted()?.targets {
        let given_up = slots.get(slot.as_str()).is_some_and(|state| {
            state.blocked().any(|blocked| blocked.release.digest == target.release.digest)
        });
        if !given_up {
            releases.push(target.release);
        }
    }
    let mut needed = BTreeSet::new();
    for release in releases {
        needed.insert(release.digest);
        // Without its OCI manifest nothing of the release has been fetched yet.
        if let Ok(oci) = stage::oci_manifest(&release, blobs) {
            needed.extend(oci.blobs().map(|blob| blob.digest));
        }
    }
    Ok(needed)
}
