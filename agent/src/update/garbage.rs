//! Which blobs no slot needs any more.

use crate::error::chain;
use crate::update::blobs::{BlobError, Blobs};
use crate::update::journal::Journal;
use crate::update::stage::{self, StageError};
use anyhow::Context;
use lineside_bundle::{Digest, ReleaseId};
use lineside_update::Phase;
use std::collections::{BTreeMap, BTreeSet};
use std::io;

/// Removes every blob that no slot's active, previous or candidate release needs. Returns how many.
///
/// # Errors
/// What the journal or the disk says. If it cannot be told what is needed, nothing is removed.
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

/// As [`collect`], for a slot that has no reason of its own. A device to which nothing was ever assigned
/// has lost what it knew, if it has any blobs: what will be assigned to it again need not be fetched again.
///
/// # Errors
/// As for [`collect`].
pub fn collect_what_is_known(journal: &Journal, blobs: &Blobs) -> anyhow::Result<usize> {
    if journal.slots()?.is_empty() && journal.accepted()?.targets.is_empty() {
        return Ok(0);
    }
    collect(journal, blobs)
}

/// The digests that a slot needs, or will need as soon as it has heard of its assignment.
///
/// A release that is on disk names its blobs in its OCI manifest. What it names is written to the
/// journal as well, for the day on which that one small file cannot be read: every blob might be one
/// of them, and nothing would ever be removed again.
fn needed(journal: &Journal, blobs: &Blobs) -> anyhow::Result<BTreeSet<Digest>> {
    let slots = journal.slots()?;
    let mut on_disk: BTreeSet<ReleaseId> = BTreeSet::new();
    let mut wanted: BTreeSet<ReleaseId> = BTreeSet::new();
    for slot in slots.values() {
        let held = slot.active().into_iter().chain(slot.previous()).chain(slot.stand_in());
        on_disk.extend(held.map(|held| held.release.clone()));
        let candidate = slot.candidate().cloned();
        match slot.phase() {
            Phase::Idle | Phase::Downloading { .. } => wanted.extend(candidate),
            Phase::Staging { .. } | Phase::Shadow(_) | Phase::Held(_) | Phase::Trial(_) => {
                on_disk.extend(candidate);
            }
        }
    }
    for (slot, target) in journal.accepted()?.targets {
        let given_up = slots.get(slot.as_str()).is_some_and(|state| {
            state.blocked().any(|blocked| blocked.release.digest == target.release.digest)
        });
        if !given_up {
            wanted.insert(target.release);
        }
    }
    let written = journal.contents()?;
    let (mut needed, mut contents) = (BTreeSet::new(), BTreeMap::new());
    for release in on_disk.union(&wanted) {
        needed.insert(release.digest);
        let blobs = match (stage::oci_manifest(release, blobs), written.get(&release.digest)) {
            (Ok(oci), _) => oci.blobs().map(|blob| blob.digest).collect(),
            (Err(_), Some(written)) => written.clone(),
            (Err(error), None) if !on_disk.contains(release) && is_not_there(&error) => continue,
            (Err(error), None) => return Err(error.into()),
        };
        needed.extend(&blobs);
        if on_disk.contains(release) {
            contents.insert(release.digest, blobs);
        }
    }
    if contents != written
        && let Err(error) = journal.write_contents(&contents)
    {
        // It is of use on another day, and written with the next collection.
        tracing::debug!("what is on disk cannot be written down: {}", chain(error));
    }
    Ok(needed)
}

/// Whether nothing of a release can be on disk: its OCI manifest has not been fetched, or names
/// nothing.
fn is_not_there(error: &StageError) -> bool {
    match error {
        StageError::Blob { source: BlobError::Read { source, .. }, .. } => {
            source.kind() == io::ErrorKind::NotFound
        }
        StageError::Oci { .. } => true,
        StageError::Blob { .. } | StageError::File { .. } | StageError::Manifest { .. } => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::database::tests::in_memory;
    use crate::update::journal::Accepted;
    use lineside_bundle::{BuiltBundle, BundleFile, build};
    use lineside_rules::{ShadowLimits, Verdict};
    use lineside_update::{Event, SlotState, Tally, Target, step};
    use std::fs;
    use std::time::Duration;

    fn bundle(version: &str) -> BuiltBundle {
        let text = format!(
            "format = 1\nname = 'echo'\nversion = '{version}'\n\
             [inputs.p]\nrate_hz = 1.0\nfields = [{{ name = 'x' }}]\n\
             [stages.w]\nkind = 'window'\ninput = 'p'\nrows = 1\nstride = 1\n\
             [outputs]\nx = {{ from = 'w' }}\n"
        );
        build(BundleFile::parse(&text).unwrap(), BTreeMap::new()).unwrap()
    }

    fn target(bundle: &BuiltBundle) -> Target {
        Target { release: bundle.release_id(), number: 1, floor: 0 }
    }

    /// Puts every blob of `bundle` in, its OCI manifest among them.
    fn put(bundle: &BuiltBundle, blobs: &Blobs) {
        let id = bundle.release_id();
        let manifest = (&id.digest, &bundle.oci_manifest);
        for (digest, bytes) in bundle.blobs.iter().chain([manifest]) {
            let whole = blobs.receive(digest, bytes.len() as u64, &bytes[..], &|| false);
            assert!(whole.unwrap());
        }
    }

    fn after(state: SlotState, events: impl IntoIterator<Item = Event>) -> SlotState {
        events.into_iter().fold(state, |state, event| step(state, event, Duration::ZERO).0)
    }

    fn committed(state: SlotState, bundle: &BuiltBundle) -> SlotState {
        let release = bundle.release_id().digest;
        let (seen, verdict) = (Tally::default(), Verdict::Passed);
        after(
            state,
            [
                Event::Assigned { target: target(bundle), floor: 0 },
                Event::Downloaded { release, how: String::new() },
                Event::Staged {
                    release,
                    limits: Box::default(),
                    shadow: Box::default(),
                    policy: ShadowLimits::default(),
                    took: String::new(),
                },
                Event::Consented { release },
                Event::Observed { release, seen, verdict },
            ],
        )
    }

    #[test]
    fn a_release_on_disk_keeps_every_blob_while_its_manifest_cannot_be_read() {
        let folder = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(folder.path()).unwrap();
        let journal = Journal::open(in_memory()).unwrap();
        let [first, second, third] = ["1", "2", "3"].map(bundle);
        for bundle in [&first, &second, &third] {
            put(bundle, &blobs);
        }
        let count = || fs::read_dir(blobs.folder()).unwrap().count();
        let all = count();
        let slot = "echo".parse().unwrap();
        let both = committed(committed(SlotState::default(), &first), &second);
        journal.write_slot(&slot, &both).unwrap();
        let staging = after(
            both.clone(),
            [
                Event::Assigned { target: target(&third), floor: 0 },
                Event::Downloaded { release: third.release_id().digest, how: String::new() },
            ],
        );
        for (state, unread) in [(&both, &first), (&both, &second), (&staging, &third)] {
            journal.write_slot(&slot, state).unwrap();
            let path = blobs.folder().join(unread.release_id().digest.hex());
            // A folder in its place cannot be read, whoever tries.
            fs::remove_file(&path).unwrap();
            fs::create_dir(&path).unwrap();
            let error = format!("{:#}", collect(&journal, &blobs).unwrap_err());
            assert!(error.contains("cannot tell which blobs are needed"), "{error}");
            assert_eq!(count(), all);
            fs::remove_dir(&path).unwrap();
            // Nor is one that is gone a sign that the others are not needed.
            collect(&journal, &blobs).unwrap_err();
            fs::write(&path, &unread.oci_manifest).unwrap();
        }
        journal.write_slot(&slot, &both).unwrap();
        assert_eq!(
            collect(&journal, &blobs).unwrap(),
            all - needed(&journal, &blobs).unwrap().len()
        );
        assert!(stage::load(&first.release_id(), &blobs).is_ok());
        assert!(stage::load(&second.release_id(), &blobs).is_ok());
        assert!(stage::load(&third.release_id(), &blobs).is_err());
    }

    #[test]
    fn a_manifest_that_has_rotted_keeps_no_garbage_once_it_was_read() {
        let folder = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(folder.path()).unwrap();
        let journal = Journal::open(in_memory()).unwrap();
        let [first, second, third] = ["1", "2", "3"].map(bundle);
        for bundle in [&first, &second] {
            put(bundle, &blobs);
        }
        let slot = "echo".parse().unwrap();
        let both = committed(committed(SlotState::default(), &first), &second);
        journal.write_slot(&slot, &both).unwrap();
        assert_eq!(collect(&journal, &blobs).unwrap(), 0);
        let kept = needed(&journal, &blobs).unwrap();

        let rotten = blobs.folder().join(first.release_id().digest.hex());
        fs::write(&rotten, b"rotten").unwrap();
        put(&third, &blobs);
        assert!(collect(&journal, &blobs).unwrap() > 0);
        assert!(stage::load(&third.release_id(), &blobs).is_err());
        assert_eq!(needed(&journal, &blobs).unwrap(), kept);
        // Nor is anything lost of the release that it names: its one file is fetched again.
        fs::write(&rotten, &first.oci_manifest).unwrap();
        assert!(stage::load(&first.release_id(), &blobs).is_ok());
        assert!(stage::load(&second.release_id(), &blobs).is_ok());
        // What is no longer on disk is written down no more.
        journal.write_slot(&slot, &committed(SlotState::default(), &second)).unwrap();
        collect(&journal, &blobs).unwrap();
        let written: Vec<_> = journal.contents().unwrap().into_keys().collect();
        assert_eq!(written, [second.release_id().digest]);
    }

    #[test]
    fn what_was_accepted_and_not_fetched_yet_keeps_nothing_back() {
        let folder = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(folder.path()).unwrap();
        let journal = Journal::open(in_memory()).unwrap();
        let [first, second] = ["1", "2"].map(bundle);
        put(&first, &blobs);
        let targets = BTreeMap::from([("echo".parse().unwrap(), target(&second))]);
        journal.accept(&Accepted { targets, ..Accepted::default() }, &[], &[]).unwrap();
        let all = fs::read_dir(blobs.folder()).unwrap().count();
        assert_eq!(collect(&journal, &blobs).unwrap(), all);
    }
}
