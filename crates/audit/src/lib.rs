//! What was done to a fleet, by whom and why, and the proof that nobody has changed the record since.
//!
//! `Change -> Entry -> leaf -> Frontier -> Checkpoint -> export -> Report, SlotHistory`
//!
//! An [`Entry`] is written once, as bytes. The hash of these bytes is a leaf of a Merkle tree (RFC 6962), whose
//! root and size the log's key signs as a [`Checkpoint`] in the forms of C2SP (signed-note, tlog-checkpoint,
//! tlog-proof), so that any tool for such logs can verify ours. A file with the log proves itself
//! ([`verify()`]), without a network and without the server. Devices keep logs of their own, which are chains
//! of hashes ([`device`]) that are anchored in the fleet's.
//!
//! This crate opens no file and no socket, reads no clock and draws no random number: bytes, readers, times,
//! salts and signers are handed in.
//!
//! # How the server records
//!
//! There is one door. Whatever changes something calls `audited(change, |transaction| …)`, and no other code
//! has a transaction that may write what is audited:
//!
//! 1. It begins a transaction and takes the lock of the log: entries have one order.
//! 2. It runs what was handed in, which makes the change and may fill in the old and the new value.
//! 3. It makes the entry with the next number ([`Entry::new`]), appends its leaf ([`Frontier::append`]), and
//!    writes into the same transaction: the entry's bytes, each [`Stored`] hash (level, index, hash), and the
//!    frontier. Sealed values go into a table of their own with their salts, from which alone they may be
//!    erased.
//! 4. It commits. So there is no change without an entry and no entry without its change, whatever kills the
//!    server between two steps.
//! 5. Outside of the transaction, at most a second later and at the latest before an answer is given that
//!    shows the entry as signed, it calls [`sign_next`] with the last checkpoint that was ever signed, and
//!    stores the note. The signer is a key that does not lie in the database. Where the log does not continue
//!    what was signed, because somebody put back an older copy, nothing is signed and the server says so.
//!
//! When it starts, it loads the [`Frontier`] of the stored hashes and compares its root with the last
//! checkpoint. Checkpoints go to whoever keeps them beyond the server's reach: a folder that can only be
//! written to once, a witness, the devices.
//!
//! # What it shows, and what it does not
//!
//! Whoever changes, removes, inserts or moves entries without the log's key is found out by [`verify()`], which
//! names the first entry where the bytes alone tell, and otherwise the entries between two checkpoints. Whoever
//! has the key can write another log; it contradicts every checkpoint that anybody else has kept, and
//! [`Problem::Forked`] is the proof. A file that was cut at an earlier checkpoint is an earlier log: only a
//! later checkpoint from elsewhere shows that it went on.

mod action;
mod checkpoint;
pub mod device;
mod entry;
mod erasure;
mod export;
mod hash;
mod history;
mod note;
mod proof;
mod retention;
mod text;
mod tree;
mod verify;

pub use action::Action;
pub use checkpoint::{Checkpoint, CheckpointError, sign_next};
pub use entry::{
    BECAUSE_MAX, Change, Clock, ENTRY_BYTES_MAX, Entry, EntryError, Name, Reason, SALT_BYTES,
    SMALL_BYTES_MAX, Sealed, Small, Subject, VALUE_BYTES_MAX, Value, Who, WhoKind,
};
pub use erasure::{Erasure, ErasureError, RANGES_MAX, Ranges};
pub use export::{
    Header, LINE_BYTES_MAX, Side, checkpoint_line, entry_line, erased_line, stored_line, value_line,
};
pub use hash::{HASH_BYTES, Hash, HashError};
pub use history::{Approval, AsOf, Release, SlotHistory, Step};
pub use note::{
    Algorithm, KEY_NAME_BYTES_MAX, LocalSigner, NOTE_BYTES_MAX, Note, NoteError, SIGNATURES_MAX,
    Signer, VerifierKey,
};
pub use proof::{PROOF_BYTES_MAX, Proof, ProofError};
pub use retention::{DAY_MS, Decision, Erasable, Hold, HoldScope, Retention, RetentionRule};
pub use text::{CODE_BYTES_MAX, Code, CodeError, Text, TextError};
pub use tree::{
    Frontier, Hashes, LOG_SIZE_MAX, PROOF_HASHES_MAX, ProveError, Stored, TreeError, peaks,
    prove_consistency, prove_inclusion, root, verify_consistency, verify_inclusion,
};
pub use verify::{Fault, Problem, RANGES_FOLLOWED_MAX, Report, Verifier, VerifyError, verify};
