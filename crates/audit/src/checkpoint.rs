//! Checkpoints: what a log was when it had so many entries, signed (c2sp.org/tlog-checkpoint).

use crate::hash::Hash;
use crate::note::{Note, NoteError, Signer, VerifierKey, is_key_name};
use crate::tree::{self, Hashes, LOG_SIZE_MAX, ProveError};
use std::fmt;

/// What a log is at one size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    origin: String,
    size: u64,
    root: Hash,
}

/// Why a checkpoint is not to be believed, or is not made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// The note around it.
    #[error(transparent)]
    Note(#[from] NoteError),
    /// The text of the note is no checkpoint.
    #[error("it is no checkpoint: {0}")]
    Format(&'static str),
    /// Of another log.
    #[error("it is a checkpoint of the log {found:?}, not of {origin:?}")]
    Origin {
        /// The log that was meant.
        origin: String,
        /// The log that it names.
        found: String,
    },
    /// What was signed before would not be the beginning of it.
    #[error(
        "the log of {new} entries does not begin with the {old} that were signed before. Where this is your \
         log, put back its newest copy, or begin another one under another name; nothing is signed until then"
    )]
    Fork {
        /// Entries signed before.
        old: u64,
        /// Entries that there are.
        new: u64,
    },
    /// The store does not give its hashes.
    #[error("cannot read the log's hashes: {0}")]
    Store(String),
}

impl Checkpoint {
    /// What a log with this origin is at this size. The origin is the name of its key.
    ///
    /// # Errors
    /// [`NoteError::Name`], or [`CheckpointError::Format`] for a size that no log has.
    pub fn new(origin: &str, size: u64, root: Hash) -> Result<Checkpoint, CheckpointError> {
        if !is_key_name(origin) {
            return Err(NoteError::Name(origin.chars().take(128).collect()).into());
        }
        if size > LOG_SIZE_MAX {
            return Err(CheckpointError::Format("it counts more entries than a log may have"));
        }
        Ok(Checkpoint { origin: origin.into(), size, root })
    }

    /// The log's name.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// Entries in it.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The root of the tree over them.
    pub fn root(&self) -> Hash {
        self.root
    }

    /// Signs it under the name of the log.
    ///
    /// # Errors
    /// [`CheckpointError::Origin`] where the key has another name; those of the signer.
    pub fn sign(&self, signer: &dyn Signer) -> Result<Note, CheckpointError> {
        self.verify_origin(signer.key())?;
        Ok(Note::sign(&self.to_string(), signer)?)
    }

    /// What a note says that the log's key has signed.
    ///
    /// # Errors
    /// [`CheckpointError`]: not signed by the key, not of its log, or no checkpoint.
    pub fn verify(note: &Note, key: &VerifierKey) -> Result<Checkpoint, CheckpointError> {
        // Nothing unverified is parsed.
        note.verify(key)?;
        let checkpoint = Checkpoint::parse(note.text())?;
        checkpoint.verify_origin(key)?;
        Ok(checkpoint)
    }

    /// Reads the text of a note.
    ///
    /// Lines beyond the third, which the format allows and advises against, are none of ours: a log of
    /// Lineside never writes any, and whoever finds some has another log's checkpoint before him.
    ///
    /// # Errors
    /// [`CheckpointError::Format`].
    pub fn parse(text: &str) -> Result<Checkpoint, CheckpointError> {
        use CheckpointError::Format;

        let mut lines = text.split('\n');
        let mut line = || lines.next().unwrap_or_default();
        let (origin, size, root, end) = (line(), line(), line(), line());
        if !end.is_empty() || lines.next().is_some() || !text.ends_with('\n') {
            return Err(Format("it has other lines than three"));
        }
        if origin.is_empty() || origin.len() > 256 || origin.chars().any(char::is_control) {
            return Err(Format("its first line names no log"));
        }
        let number = size.parse().ok().filter(|number: &u64| number.to_string() == size);
        let size = number.ok_or(Format("its second line is no size"))?;
        if size > LOG_SIZE_MAX {
            return Err(Format("it counts more entries than a log may have"));
        }
        let root = Hash::from_base64(root).ok_or(Format("its third line is no hash"))?;
        Ok(Checkpoint { origin: origin.into(), size, root })
    }

    /// Whether an earlier checkpoint of the same log is the beginning of this one, as the proof shows. Where it
    /// is not and both are signed, the log was forked, and the two notes are the evidence.
    ///
    /// # Errors
    /// [`CheckpointError::Origin`] for one of another log, [`CheckpointError::Fork`].
    pub fn follows(&self, earlier: &Checkpoint, proof: &[Hash]) -> Result<(), CheckpointError> {
        if earlier.origin != self.origin {
            let (origin, found) = (self.origin.clone(), earlier.origin.clone());
            return Err(CheckpointError::Origin { origin, found });
        }
        let (old, new) = (earlier.size, self.size);
        tree::verify_consistency(old, earlier.root, new, self.root, proof)
            .map_err(|_| CheckpointError::Fork { old, new })
    }

    fn verify_origin(&self, key: &VerifierKey) -> Result<(), CheckpointError> {
        if self.origin == key.name() {
            return Ok(());
        }
        let (origin, found) = (key.name().to_owned(), self.origin.clone());
        Err(CheckpointError::Origin { origin, found })
    }
}

/// The text that is signed.
impl fmt::Display for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Checkpoint { origin, size, root } = self;
        write!(f, "{origin}\n{size}\n{}\n", root.to_base64())
    }
}

/// Signs the checkpoint that follows `last`, of stored hashes, and only if `last` is the beginning of it: a
/// log that was set back to an older copy must not be signed as if nothing had been there.
///
/// # Errors
/// [`CheckpointError::Fork`], [`CheckpointError::Store`], and those of [`Checkpoint::sign`].
pub fn sign_next<H: Hashes<Error: fmt::Display>>(
    last: Option<&Checkpoint>,
    hashes: &H,
    size: u64,
    signer: &dyn Signer,
) -> Result<(Checkpoint, Note), CheckpointError> {
    let store = |error: H::Error| CheckpointError::Store(error.to_string());
    let root = tree::root(hashes, size).map_err(store)?;
    let next = Checkpoint::new(signer.key().name(), size, root)?;
    if let Some(last) = last {
        let (old, new) = (last.size, size);
        let proof = tree::prove_consistency(hashes, old, new).map_err(|error| match error {
            ProveError::Tree(_) => CheckpointError::Fork { old, new },
            ProveError::Store(error) => store(error),
        })?;
        next.follows(last, &proof)?;
    }
    let note = next.sign(signer)?;
    Ok((next, note))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::note::LocalSigner;
    use crate::tree::Frontier;
    use std::collections::BTreeMap;

    /// Heads that the checksum database of Go has published, and its key.
    const SUM_KEY: &str = "sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8";
    const SUM_NOTES: [&str; 2] = [
        "go.sum database tree\n15081221\nBoMMe1wd25Tco0mYGROkyqxHZWx+hcSCtMV315Lu6Lg=\n\n— sum.golang.org Az3grilD7vQqTrv66jRgKM84Y80KTprrSt4bKmiOPxgmS5ZVBTeCl6dUvjYnN13R+C8j0jGY1WnUADGMkok3U0m2Zgo=\n",
        "go.sum database tree\n63096908\n8lHrQPRYe4KT4WQ9/Qk8/taKnD6IRHbFgfN7vQE2Y54=\n\n— sum.golang.org Az3gri/oVBN1jAhNZ/iS+W31psFAWRT20/GyrhpU6taFwulQGetBkH5S7wpGXdS935jiIGiUUAXBVHzT/P6fYhqAmAk=\n",
    ];
    /// One of a log of certificates, with signatures of three kinds and of witnesses.
    const WITNESSED: &str = "arche2025h1.staging.ct.transparency.dev\n1432088532\nU7WM79jrzyhGZ5/GUBTpM7NzwdyfFx61t3RovgcC4Ro=\n\n\
— arche2025h1.staging.ct.transparency.dev zTM8sQAAAZ5W0WdjBAMARjBEAiBjW5IQf9pvsYLfQFX6hoGREPMHbdQ3urbllzalApkptQIgIpwtEroeW2BXaHAI4kJXFbon5Ch9MNL5zRNZ55lvGt0=\n\
— arche2025h1.staging.ct.transparency.dev ui8GwCF1+kWqZrxGdhj4aX3gcw7XUlXQQabg/27lefwhUkzbC3NygNI75MdhL1bfTW9g8Ei59RA23oHP7Ry1k3ZFWwQ=\n\
— transparency.dev/DEV:witness-little-garden 2AQqhwAAAABqEiEgzgFIqqhbUoDwjMWE6UP8nd8/KYTzwZ2rhIgcqoXHAwVkjZr4AscylP3v7sEodkRAErumC2q44vdgJY096st5BQ==\n\
— witness1.smartit.nu/witness1 pIyCDwAAAABqEiEghIp82KWebrw7/oHQwlTAm3g2RKS4+eebl8eO0WH+/iEcxZ75W3u5hNI7TOQtmJbqmNWVuE0tgh0XwzdZsDsUAQ==\n\
— remora.n621.de 2net5wAAAABqEiEgPlfF3V06o0Y+fHM+J5J9s27wgxxcOVSpZ/2g/KSiXCg9DEZI+aVCIobWX9sXTynk5XeU/zZ0WBxtqB0DrAWfBw==\n";
    const WITNESSED_KEY: &str = "arche2025h1.staging.ct.transparency.dev+ba2f06c0+AU0vHmlGCS/PdN8b2OaGmKprLI8HKM+dJ472xgFYh15f";
    const WITNESSES: [&str; 2] = [
        "remora.n621.de+da77ade7+BOvN63jn/bLvkieywe8R6UYAtVtNbZpXh34x7onlmtw2",
        "transparency.dev/DEV:witness-little-garden+d8042a87+BCtusOxINQNUTN5Oj8HObRkh2yHf/MwYaGX4CPdiVEPM",
    ];

    #[test]
    fn checkpoints_that_real_logs_have_published_are_read_and_verified() {
        let key: VerifierKey = SUM_KEY.parse().unwrap();
        for (text, size) in SUM_NOTES.into_iter().zip([15_081_221, 63_096_908]) {
            let note = Note::parse(text.as_bytes()).unwrap();
            assert_eq!(note.verify(&key), Ok(()));
            assert_eq!(note.to_string(), text);
            let checkpoint = Checkpoint::parse(note.text()).unwrap();
            assert_eq!((checkpoint.size(), checkpoint.to_string().as_str()), (size, note.text()));
            // That log's key has another name than the log; ours never has.
            let error = Checkpoint::verify(&note, &key).unwrap_err();
            assert!(matches!(error, CheckpointError::Origin { .. }), "{error}");
        }
    }

    #[test]
    fn cosignatures_that_real_witnesses_have_published_are_verified() {
        let note = Note::parse(WITNESSED.as_bytes()).unwrap();
        assert_eq!(note.to_string(), WITNESSED);
        let checkpoint = Checkpoint::verify(&note, &WITNESSED_KEY.parse().unwrap()).unwrap();
        assert_eq!(checkpoint.size(), 1_432_088_532);
        for witness in WITNESSES {
            let time_s = note.cosigned_s(&witness.parse().unwrap()).unwrap();
            assert_eq!(time_s, 0x6a12_2120);
        }
        let other = WITNESSED.replace("1432088532", "1432088533");
        let other = Note::parse(other.as_bytes()).unwrap();
        assert!(other.cosigned_s(&WITNESSES[0].parse().unwrap()).is_err());
    }

    fn signer(name: &str) -> LocalSigner {
        LocalSigner::from_seed(name, &[3; 32]).unwrap()
    }

    #[test]
    fn a_checkpoint_reads_back_and_only_in_the_form_that_it_was_written() {
        let signer = signer("fleet.example/audit");
        let checkpoint = Checkpoint::new("fleet.example/audit", 7, Hash::empty()).unwrap();
        let text = checkpoint.sign(&signer).unwrap().to_string();
        let note = Note::parse(text.as_bytes()).unwrap();
        assert_eq!(Checkpoint::verify(&note, signer.key()), Ok(checkpoint));
        let root = Hash::empty().to_base64();
        for wrong in [
            "",
            "\n",
            "log\n",
            "log\n7\n",
            "log\n7\nxxxx\n",
            &format!("\n7\n{root}\n"),
            &format!("log\n07\n{root}\n"),
            &format!("log\n+7\n{root}\n"),
            &format!("log\n-7\n{root}\n"),
            &format!("log\n 7\n{root}\n"),
            &format!("log\n7\n{root}"),
            &format!("log\n7\n{root}\nmore\n"),
            &format!("log\n7\n{root}\n\n"),
            &format!("log\n99999999999999999999\n{root}\n"),
            &format!("log\n9007199254740993\n{root}\n"),
            &format!("log\n\n{root}\n"),
            &format!("log\n7\n {root}\n"),
            &format!("{}\n7\n{root}\n", "x".repeat(257)),
        ] {
            assert!(
                matches!(Checkpoint::parse(wrong), Err(CheckpointError::Format(_))),
                "{wrong:?}"
            );
        }
        assert!(Checkpoint::new("two words", 7, Hash::empty()).is_err());
        let other = Checkpoint::new("other.example", 7, Hash::empty()).unwrap().sign(&signer);
        assert!(matches!(other, Err(CheckpointError::Origin { .. })));
    }

    struct Memory(BTreeMap<(u8, u64), Hash>);

    impl Hashes for Memory {
        type Error = String;

        fn hash(&self, level: u8, index: u64) -> Result<Hash, String> {
            self.0.get(&(level, index)).copied().ok_or("lost".into())
        }
    }

    fn memory(leaves: impl IntoIterator<Item = u8>) -> Memory {
        let mut frontier = Frontier::new();
        let stored =
            leaves.into_iter().flat_map(|leaf| frontier.append(Hash::leaf(&[leaf])).unwrap());
        Memory(stored.map(|stored| ((stored.level, stored.index), stored.hash)).collect())
    }

    #[test]
    fn what_was_signed_before_is_never_signed_away() {
        let signer = signer("fleet.example/audit");
        let whole = memory(0..20);
        let mut last: Option<Checkpoint> = None;
        for size in [0, 1, 5, 5, 20] {
            let (next, note) = sign_next(last.as_ref(), &whole, size, &signer).unwrap();
            assert_eq!(Checkpoint::verify(&note, signer.key()).as_ref(), Ok(&next));
            last = Some(next);
        }
        // The log was set back to an older copy, and others wrote into it since.
        let back = sign_next(last.as_ref(), &whole, 19, &signer).unwrap_err();
        assert_eq!(back, CheckpointError::Fork { old: 20, new: 19 });
        let other = memory((0..19).chain([99; 5]));
        for size in [20, 24] {
            let fork = sign_next(last.as_ref(), &other, size, &signer).unwrap_err();
            assert_eq!(fork, CheckpointError::Fork { old: 20, new: size });
        }
        // Two that were signed are compared by a proof that anybody can bring.
        let (whole, other) = (memory(0..30), memory((0..19).chain([99; 11])));
        let at = |log: &Memory, size| sign_next(None, log, size, &signer).unwrap().0;
        for (old, new) in [(0, 30), (7, 20), (19, 30), (20, 20)] {
            let proof = tree::prove_consistency(&whole, old, new).unwrap();
            assert_eq!(at(&whole, new).follows(&at(&whole, old), &proof), Ok(()));
            let fork = at(&other, new).follows(&at(&whole, old), &proof);
            assert_eq!(
                fork,
                if old == 0 { Ok(()) } else { Err(CheckpointError::Fork { old, new }) }
            );
        }
        let stranger = Checkpoint::new("other.example", 0, Hash::empty()).unwrap();
        let named = at(&whole, 30).follows(&stranger, &[]);
        assert!(matches!(named, Err(CheckpointError::Origin { .. })));
        let lost = sign_next(None, &Memory(BTreeMap::new()), 3, &signer).unwrap_err();
        assert_eq!(lost, CheckpointError::Store("lost".into()));
    }
}
