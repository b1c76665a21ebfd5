//! Which blobs the holder of a role's token has brought himself. A blob is kept once whoever brings it, so
//! that it is here gives nobody a right to it: whoever names a digest that he has learnt from a list or a
//! manifest would be given somebody else's model. He has to bring it, which only who has it can.

use lineside_bundle::Digest;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

/// Blobs that are remembered of a token, several bundles of the largest number of files. The oldest give
/// way: they are brought again where no manifest names them yet.
const BLOBS_MAX: usize = 8 << 10;
/// Tokens of which they are remembered: more than there can be roles. Beyond it there are some that were
/// taken back.
const TOKENS_MAX: usize = 64;

/// What was brought by whom since the start, by the digest of his token. It is not kept on disk: what was
/// brought before is brought again, or is named in a manifest by now.
#[derive(Debug, Clone, Default)]
pub(crate) struct Brought {
    by: Arc<Mutex<BTreeMap<Digest, VecDeque<Digest>>>>,
}

impl Brought {
    /// Remembers that the holder of `token` has brought all of a blob.
    pub fn add(&self, token: Digest, blob: Digest) {
        let mut by = self.by.lock().unwrap_or_else(PoisonError::into_inner);
        if by.len() >= TOKENS_MAX && !by.contains_key(&token) {
            by.clear();
        }
        let blobs = by.entry(token).or_default();
        if blobs.contains(&blob) {
            return;
        }
        if blobs.len() >= BLOBS_MAX {
            blobs.pop_front();
        }
        blobs.push_back(blob);
    }

    /// Whether the holder of `token` has brought it.
    pub fn has(&self, token: &Digest, blob: &Digest) -> bool {
        let by = self.by.lock().unwrap_or_else(PoisonError::into_inner);
        by.get(token).is_some_and(|blobs| blobs.contains(blob))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_has_brought_another_has_not_and_it_is_remembered_within_bounds() {
        let brought = Brought::default();
        let digest = |number: usize| Digest::of(&number.to_be_bytes());
        brought.add(digest(0), digest(1));
        assert!(brought.has(&digest(0), &digest(1)));
        assert!(!brought.has(&digest(0), &digest(2)) && !brought.has(&digest(2), &digest(1)));
        for blob in 0..BLOBS_MAX {
            brought.add(digest(0), digest(10 + blob));
        }
        assert!(!brought.has(&digest(0), &digest(1)), "the oldest gives way");
        assert!(brought.has(&digest(0), &digest(10)));
        for token in 1..TOKENS_MAX {
            brought.add(digest(token), digest(1));
        }
        assert!(brought.has(&digest(0), &digest(10)));
        brought.add(digest(TOKENS_MAX), digest(1));
        assert!(brought.has(&digest(TOKENS_MAX), &digest(1)));
        assert!(!brought.has(&digest(0), &digest(10)));
    }
}
