//! Ranges of an older file that a newer one has again, wherever they lie.

use std::ops::Range;

/// Bytes by which ranges are found: every range of the old file of twice as many is.
const BLOCK: usize = 16;
/// A shorter range costs as much to name as to send.
const LENGTH_MIN: usize = 24;
/// The same for a range that lies where it is expected.
const STRAIGHT_MIN: usize = 12;
const MULTIPLIER: u64 = 0x9E37_79B9_7F4A_7C15;

/// A range of bytes to be sent, or to be taken from the old file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Piece {
    /// A range of the new file.
    Literal(Range<usize>),
    /// Where it begins in the old file, and its length.
    Copy(usize, usize),
}

/// Where the old file's blocks lie.
pub(crate) struct Index<'a> {
    old: &'a [u8],
    /// By hash: the block that has it, plus one. The first one stays.
    slots: Vec<u32>,
}

impl<'a> Index<'a> {
    pub(crate) fn new(old: &'a [u8]) -> Index<'a> {
        let blocks = old.len() / BLOCK;
        let mut index = Index { old, slots: vec![0; (2 * blocks).next_power_of_two().max(2)] };
        // Files of more blocks than a slot can name are found in part.
        for (block, bytes) in old.chunks_exact(BLOCK).enumerate().take(u32::MAX as usize - 1) {
            let slot = index.slot(hash(bytes));
            if index.slots[slot] == 0 {
                index.slots[slot] = block as u32 + 1;
            }
        }
        index
    }

    /// Splits a range of the new file into what the old one has and what it has not.
    ///
    /// `expected` is where in the old file the range is likely to begin.
    pub(crate) fn split(&self, new: &[u8], range: Range<usize>, expected: usize) -> Vec<Piece> {
        let mut pieces = Vec::new();
        let (mut literal, mut at) = (range.start, range.start);
        let mut aligned = (expected, range.start);
        let mut rolling = None;
        while at + BLOCK <= range.end {
            let hash = match rolling {
                Some(before) => roll(before, new[at - 1], new[at + BLOCK - 1]),
                None => hash(&new[at..at + BLOCK]),
            };
            rolling = Some(hash);
            let within = literal..range.end;
            let straight = aligned.0.saturating_add(at - aligned.1);
            let straight = self.around(new, straight, at, within.clone(), STRAIGHT_MIN);
            let block =
                self.slots[self.slot(hash)].checked_sub(1).map(|block| block as usize * BLOCK);
            let moved = block.and_then(|block| self.around(new, block, at, within, LENGTH_MIN));
            // Of equal ones that which goes on where the last one ended.
            let longest = moved.into_iter().chain(straight).max_by_key(|(_, _, length)| *length);
            if let Some((old, start, length)) = longest {
                if literal < start {
                    pieces.push(Piece::Literal(literal..start));
                }
                pieces.push(Piece::Copy(old, length));
                (literal, at, rolling) = (start + length, start + length, None);
                aligned = (old + length, at);
            } else {
                at += 1;
            }
        }
        if literal < range.end {
            pieces.push(Piece::Literal(literal..range.end));
        }
        pieces
    }

    /// The range that both files have around `old` and `at`, if it is as long as that: where it
    /// begins in the old, in the new, and its length.
    fn around(
        &self,
        new: &[u8],
        old: usize,
        at: usize,
        within: Range<usize>,
        length_min: usize,
    ) -> Option<(usize, usize, usize)> {
        let (before, after) = self.old.split_at_checked(old)?;
        let alike = |(a, b): &(&u8, &u8)| a == b;
        let ahead = after.iter().zip(&new[at..within.end]).take_while(alike).count();
        let behind = new[within.start..at].iter().rev();
        // What begins before `at` was looked at there, unless it is long only with what follows.
        let back = match ahead {
            0 => 0,
            _ => before.iter().rev().zip(behind).take_while(alike).count(),
        };
        (back + ahead >= length_min).then_some((old - back, at - back, back + ahead))
    }

    fn slot(&self, hash: u64) -> usize {
        let bits = self.slots.len().trailing_zeros();
        (hash.wrapping_mul(MULTIPLIER) >> (64 - bits)) as usize
    }
}

/// A polynomial of the bytes of a block, so that the next one's follows from it.
fn hash(block: &[u8]) -> u64 {
    block
        .iter()
        .fold(0, |hash: u64, byte| hash.wrapping_mul(MULTIPLIER).wrapping_add(u64::from(*byte) + 1))
}

fn roll(hash: u64, gone: u8, come: u8) -> u64 {
    const HIGHEST: u64 = MULTIPLIER.wrapping_pow(BLOCK as u32 - 1);
    hash.wrapping_sub((u64::from(gone) + 1).wrapping_mul(HIGHEST))
        .wrapping_mul(MULTIPLIER)
        .wrapping_add(u64::from(come) + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn joined(old: &[u8], new: &[u8], pieces: &[Piece]) -> Vec<u8> {
        let bytes = pieces.iter().flat_map(|piece| match piece {
            Piece::Literal(range) => &new[range.clone()],
            Piece::Copy(at, length) => &old[*at..*at + *length],
        });
        bytes.copied().collect()
    }

    #[test]
    fn what_moved_is_found_and_only_the_rest_is_sent() {
        let old: Vec<u8> = (0..2000u32).map(|i| (i * i / 7) as u8).collect();
        let new = [&old[1003..1900], b"something new", &old[..700]].concat();
        let pieces = Index::new(&old).split(&new, 0..new.len(), 0);
        assert_eq!(joined(&old, &new, &pieces), new);
        let sent: usize = pieces
            .iter()
            .map(|piece| if let Piece::Literal(range) = piece { range.len() } else { 0 })
            .sum();
        assert!(sent < 60, "{sent}: {pieces:?}");
    }

    #[test]
    fn what_repeats_itself_is_one_range_where_it_lies() {
        let old = b"the same sixteen, ".repeat(100);
        let mut new = old.clone();
        new[1000] = b'!';
        let pieces = Index::new(&old).split(&new, 100..new.len(), 100);
        let after = old.len() - 1001;
        let expected =
            [Piece::Copy(100, 900), Piece::Literal(1000..1001), Piece::Copy(1001, after)];
        assert_eq!(pieces, expected);
    }

    proptest! {
        #[test]
        fn pieces_are_the_new_file(
            old in prop::collection::vec(0u8..3, 0..200),
            new in prop::collection::vec(0u8..3, 0..200),
            from in 0usize..100,
            expected in 0usize..300,
        ) {
            let from = from.min(new.len());
            let pieces = Index::new(&old).split(&new, from..new.len(), expected);
            prop_assert_eq!(joined(&old, &new, &pieces), &new[from..]);
        }
    }
}
