//! The proof that one entry is in the log, for whoever does not have the log (c2sp.org/tlog-proof).

use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::hash::Hash;
use crate::note::{NOTE_BYTES_MAX, Note, NoteError, VerifierKey};
use crate::tree::{
    Hashes, PROOF_HASHES_MAX, ProveError, TreeError, prove_inclusion, verify_inclusion,
};
use std::fmt;

const BEGIN: &str = "c2sp.org/tlog-proof@v1";
/// Largest proof in bytes.
pub const PROOF_BYTES_MAX: usize = NOTE_BYTES_MAX + 8 * 1024;

/// That an entry was in the log when it had a checkpoint's size. Kept beside the entry's bytes, in a file that
/// ends in `.tlog-proof`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    index: u64,
    hashes: Vec<Hash>,
    note: Note,
}

/// Why a proof proves nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// It is none.
    #[error("it is no proof: {0}")]
    Format(&'static str),
    /// Its checkpoint is not to be believed.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// It does not lead from the entry to the checkpoint.
    #[error("the entry is not the one that was signed: {0}")]
    Tree(#[from] TreeError),
}

impl Proof {
    /// The proof for entry `index` in the log of this checkpoint, of stored hashes.
    ///
    /// # Errors
    /// [`ProveError`].
    pub fn new<H: Hashes>(
        hashes: &H,
        index: u64,
        checkpoint: &Checkpoint,
        note: Note,
    ) -> Result<Proof, ProveError<H::Error>> {
        Ok(Proof { index, hashes: prove_inclusion(hashes, index, checkpoint.size())?, note })
    }

    /// Reads a proof, strictly and within bounds, without believing any of it.
    ///
    /// # Errors
    /// [`ProofError::Format`].
    pub fn parse(bytes: &[u8]) -> Result<Proof, ProofError> {
        use ProofError::Format;

        if bytes.len() > PROOF_BYTES_MAX {
            return Err(Format("it is too long"));
        }
        let text = std::str::from_utf8(bytes).map_err(|_| Format("it is no UTF-8"))?;
        let (head, note) = text.split_once("\n\n").ok_or(Format("it has no checkpoint"))?;
        let mut lines = head.split('\n');
        if lines.next() != Some(BEGIN) {
            return Err(Format("it begins as none does"));
        }
        let mut line = lines.next().unwrap_or_default();
        // Nobody has signed what stands here, and nothing of ours needs it.
        if line.starts_with("extra ") {
            line = lines.next().unwrap_or_default();
        }
        let number = line
            .strip_prefix("index ")
            .and_then(|text| text.parse().ok().filter(|number: &u64| number.to_string() == text));
        let index = number.ok_or(Format("it names no entry"))?;
        let mut hashes = Vec::new();
        for line in lines {
            if hashes.len() >= PROOF_HASHES_MAX {
                return Err(Format("it has too many hashes"));
            }
            hashes.push(Hash::from_base64(line).ok_or(Format("a line of it is no hash"))?);
        }
        let note = Note::parse(note.as_bytes()).map_err(CheckpointError::from)?;
        Ok(Proof { index, hashes, note })
    }

    /// Whether these are the bytes of the entry that the log with this key had signed; gives its number and
    /// the checkpoint.
    ///
    /// # Errors
    /// [`ProofError`].
    pub fn verify(&self, entry: &[u8], key: &VerifierKey) -> Result<(u64, Checkpoint), ProofError> {
        let checkpoint = Checkpoint::verify(&self.note, key)?;
        let (size, root) = (checkpoint.size(), checkpoint.root());
        verify_inclusion(Hash::leaf(entry), self.index, size, root, &self.hashes)?;
        Ok((self.index, checkpoint))
    }

    /// The checkpoint as it was signed, in which witnesses can be looked for.
    pub fn note(&self) -> &Note {
        &self.note
    }
}

impl From<NoteError> for ProofError {
    fn from(error: NoteError) -> ProofError {
        ProofError::Checkpoint(error.into())
    }
}

/// The proof as it travels.
impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{BEGIN}\nindex {}", self.index)?;
        self.hashes.iter().try_for_each(|hash| writeln!(f, "{}", hash.to_base64()))?;
        write!(f, "\n{}", self.note)
    }
}
