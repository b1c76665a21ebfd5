//! The tree over the entries (RFC 6962, 2.1): appended to in logarithmic time, its root of any size, and
//! proofs that an entry is in it or that one tree is the beginning of another.
//!
//! A complete subtree is named by its level and index: `(level, index)` stands over the leaves from
//! `index << level` up to `(index + 1) << level`. Complete subtrees never change, so a store keeps each
//! hash once, in a table with this key or in tiles (tlog-tiles: tile `L` has the levels `8 * L`).

use crate::hash::Hash;

/// Most entries of a log: what other readers of JSON still count exactly.
pub const LOG_SIZE_MAX: u64 = 1 << 53;
/// Most hashes in a proof of a tree of that size.
pub const PROOF_HASHES_MAX: usize = 54;

/// The hash of a complete subtree, to be kept for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stored {
    /// 0 for a leaf.
    pub level: u8,
    /// Which one of its level, from 0.
    pub index: u64,
    /// Its hash.
    pub hash: Hash,
}

/// Where stored hashes are: a table of a database, files, or memory.
pub trait Hashes {
    /// Why a hash cannot be had.
    type Error;

    /// The hash of the complete subtree at this level and index.
    ///
    /// # Errors
    /// Whatever keeps the store from giving it. It is asked for those alone that appending has given it.
    fn hash(&self, level: u8, index: u64) -> Result<Hash, Self::Error>;
}

/// What is wrong with a tree or a proof.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TreeError {
    /// There is no such leaf.
    #[error("entry {index} is not in a log of {size}")]
    Index {
        /// Asked for.
        index: u64,
        /// Entries there are.
        size: u64,
    },
    /// The sizes do not follow each other.
    #[error("a log of {old} entries is not the beginning of one of {new}")]
    Sizes {
        /// The size that should be the smaller one.
        old: u64,
        /// The size that should be the larger one.
        new: u64,
    },
    /// The proof has another number of hashes than one for these sizes has.
    #[error("the proof has {found} hashes instead of {needed}")]
    Length {
        /// Hashes in it.
        found: usize,
        /// Hashes that it takes.
        needed: usize,
    },
    /// The proof leads elsewhere.
    #[error("the proof does not lead to the root of the log")]
    Root,
    /// More entries than a log may have.
    #[error("a log ends at {LOG_SIZE_MAX} entries: begin another one")]
    Full,
    /// Not the hashes that a tree of this size ends with.
    #[error("a log of {size} entries ends in {needed} subtrees, not in {found}")]
    Peaks {
        /// Entries.
        size: u64,
        /// Hashes given.
        found: usize,
        /// Hashes needed.
        needed: usize,
    },
}

/// The right edge of a tree: all that appending needs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Frontier {
    size: u64,
    /// Hashes of the complete subtrees from left to right: one for each bit of the size.
    peaks: Vec<Hash>,
}

impl Frontier {
    /// A tree without entries.
    pub fn new() -> Frontier {
        Frontier::default()
    }

    /// A tree whose right edge was kept.
    ///
    /// # Errors
    /// [`TreeError::Full`], or [`TreeError::Peaks`] unless there is one hash for each bit of the size.
    pub fn of(size: u64, peaks: Vec<Hash>) -> Result<Frontier, TreeError> {
        if size > LOG_SIZE_MAX {
            return Err(TreeError::Full);
        }
        let (found, needed) = (peaks.len(), size.count_ones() as usize);
        if found != needed {
            return Err(TreeError::Peaks { size, found, needed });
        }
        Ok(Frontier { size, peaks })
    }

    /// The right edge of a tree of `size` entries whose hashes are stored.
    ///
    /// # Errors
    /// Those of the store.
    pub fn load<H: Hashes>(hashes: &H, size: u64) -> Result<Frontier, H::Error> {
        let peaks: Result<Vec<Hash>, _> =
            peaks(size).map(|(level, index)| hashes.hash(level, index)).collect();
        Ok(Frontier { size, peaks: peaks? })
    }

    /// Entries.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The hashes of the complete subtrees, from left to right.
    pub fn peaks(&self) -> &[Hash] {
        &self.peaks
    }

    /// Takes one more leaf. Gives what is to be stored: the leaf, and each subtree that it completes.
    ///
    /// # Errors
    /// [`TreeError::Full`].
    pub fn append(&mut self, leaf: Hash) -> Result<Vec<Stored>, TreeError> {
        if self.size >= LOG_SIZE_MAX {
            return Err(TreeError::Full);
        }
        let mut last = Stored { level: 0, index: self.size, hash: leaf };
        let mut stored = vec![last];
        // Each trailing one of the size is a subtree that this one makes a pair with.
        for _ in 0..self.size.trailing_ones() {
            let left = self.peaks.pop().expect("there is a peak for each bit of the size");
            let hash = Hash::node(&left, &last.hash);
            last = Stored { level: last.level + 1, index: last.index >> 1, hash };
            stored.push(last);
        }
        self.peaks.push(last.hash);
        self.size += 1;
        Ok(stored)
    }

    /// The root.
    pub fn root(&self) -> Hash {
        let mut peaks = self.peaks.iter().rev();
        let Some(last) = peaks.next() else { return Hash::empty() };
        peaks.fold(*last, |right, left| Hash::node(left, &right))
    }
}

/// The complete subtrees that a tree of this size consists of, from left to right: level and index of each.
pub fn peaks(size: u64) -> impl Iterator<Item = (u8, u64)> {
    let mut begin = 0;
    (0..64).rev().filter(move |level| size >> level & 1 == 1).map(move |level| {
        let index = begin >> level;
        begin += 1 << level;
        (level, index)
    })
}

/// The root of the first `size` entries, of stored hashes.
///
/// # Errors
/// Those of the store.
pub fn root<H: Hashes>(hashes: &H, size: u64) -> Result<Hash, H::Error> {
    Ok(Frontier::load(hashes, size)?.root())
}

/// The root of the leaves from `begin` up to `end`, where this is a subtree of some tree.
fn subtree<H: Hashes>(hashes: &H, begin: u64, end: u64) -> Result<Hash, H::Error> {
    // `begin` is a multiple of the largest of these, so each of them is a complete subtree of the whole.
    let parts: Result<Vec<Hash>, _> = peaks(end - begin)
        .map(|(level, index)| hashes.hash(level, (begin >> level) + index))
        .collect();
    let peaks = parts?;
    Ok(Frontier { size: end - begin, peaks }.root())
}

/// The largest power of two below `size`, which is at least 2.
fn split(size: u64) -> u64 {
    1 << (63 - (size - 1).leading_zeros())
}

/// Why a proof cannot be given.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProveError<E> {
    /// There is none for these numbers.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// The store does not give a hash.
    #[error("cannot read a stored hash: {0}")]
    Store(E),
}

/// The proof that entry `index` is in the tree of `size` entries (RFC 9162, 2.1.3.1): the hashes beside
/// the way from the leaf to the root, from below.
///
/// # Errors
/// [`TreeError::Index`], and those of the store.
pub fn prove_inclusion<H: Hashes>(
    hashes: &H,
    index: u64,
    size: u64,
) -> Result<Vec<Hash>, ProveError<H::Error>> {
    if index >= size {
        return Err(TreeError::Index { index, size }.into());
    }
    let (mut begin, mut end) = (0, size);
    let mut proof = Vec::new();
    while end - begin > 1 {
        let middle = begin + split(end - begin);
        let beside = if index < middle { (middle, end) } else { (begin, middle) };
        proof.push(subtree(hashes, beside.0, beside.1).map_err(ProveError::Store)?);
        (begin, end) = if index < middle { (begin, middle) } else { (middle, end) };
    }
    proof.reverse();
    Ok(proof)
}

/// The proof that the tree of `old` entries is the beginning of that of `new` (RFC 9162, 2.1.4.1). Empty
/// where both are the same or the old one has no entries.
///
/// # Errors
/// [`TreeError::Sizes`], and those of the store.
pub fn prove_consistency<H: Hashes>(
    hashes: &H,
    old: u64,
    new: u64,
) -> Result<Vec<Hash>, ProveError<H::Error>> {
    if old > new {
        return Err(TreeError::Sizes { old, new }.into());
    }
    if old == 0 || old == new {
        return Ok(Vec::new());
    }
    let (mut begin, mut end) = (0, new);
    let mut proof = Vec::new();
    // Down to the subtree that ends where the old tree ends.
    while end != old {
        let middle = begin + split(end - begin);
        let beside = if old <= middle { (middle, end) } else { (begin, middle) };
        proof.push(subtree(hashes, beside.0, beside.1).map_err(ProveError::Store)?);
        (begin, end) = if old <= middle { (begin, middle) } else { (middle, end) };
    }
    // Where it is the old tree itself, its root is known to whoever verifies.
    if begin != 0 {
        proof.push(subtree(hashes, begin, end).map_err(ProveError::Store)?);
    }
    proof.reverse();
    Ok(proof)
}

/// Whether `leaf` is entry `index` of the log of `size` entries with this `root` (RFC 9162, 2.1.3.2).
///
/// # Errors
/// [`TreeError`]: which part does not hold.
pub fn verify_inclusion(
    leaf: Hash,
    index: u64,
    size: u64,
    root: Hash,
    proof: &[Hash],
) -> Result<(), TreeError> {
    if index >= size {
        return Err(TreeError::Index { index, size });
    }
    // Beside the way: a subtree at each level up to where the ways to this leaf and to the last one meet,
    // and from there each that lies to the left.
    let inner = 64 - (index ^ (size - 1)).leading_zeros();
    let border = index.checked_shr(inner).unwrap_or(0).count_ones();
    let (found, needed) = (proof.len(), (inner + border) as usize);
    if found != needed {
        return Err(TreeError::Length { found, needed });
    }
    let (inside, outside) = proof.split_at(inner as usize);
    let below = inside.iter().enumerate().fold(leaf, |hash, (level, beside)| {
        if index >> level & 1 == 0 { Hash::node(&hash, beside) } else { Hash::node(beside, &hash) }
    });
    let whole = outside.iter().fold(below, |hash, left| Hash::node(left, &hash));
    if whole == root { Ok(()) } else { Err(TreeError::Root) }
}

/// Whether the log of `old` entries with `old_root` is the beginning of that of `new` entries with
/// `new_root` (RFC 9162, 2.1.4.2).
///
/// # Errors
/// [`TreeError`]: which part does not hold.
pub fn verify_consistency(
    old: u64,
    old_root: Hash,
    new: u64,
    new_root: Hash,
    proof: &[Hash],
) -> Result<(), TreeError> {
    if old > new {
        return Err(TreeError::Sizes { old, new });
    }
    let found = proof.len();
    if old == 0 || old == new {
        let is_known = if old == 0 { Hash::empty() } else { new_root };
        return match found {
            0 if old_root == is_known => Ok(()),
            0 => Err(TreeError::Root),
            found => Err(TreeError::Length { found, needed: 0 }),
        };
    }
    // As if the proof were one of inclusion of the last complete subtree of the old tree, which lies at
    // this level.
    let level = old.trailing_zeros();
    let (index, last) = ((old - 1) >> level, (new - 1) >> level);
    let inner = 64 - (index ^ last).leading_zeros();
    let border = index.checked_shr(inner).unwrap_or(0).count_ones();
    let has_seed = !old.is_power_of_two();
    let needed = usize::from(has_seed) + (inner + border) as usize;
    if found != needed {
        return Err(TreeError::Length { found, needed });
    }
    let (seed, rest) = if has_seed { (proof[0], &proof[1..]) } else { (old_root, proof) };
    let (inside, outside) = rest.split_at(inner as usize);
    let (mut old_hash, mut new_hash) = (seed, seed);
    for (level, beside) in inside.iter().enumerate() {
        if index >> level & 1 == 1 {
            old_hash = Hash::node(beside, &old_hash);
            new_hash = Hash::node(beside, &new_hash);
        } else {
            // To the right of where the old tree ends.
            new_hash = Hash::node(&new_hash, beside);
        }
    }
    for left in outside {
        old_hash = Hash::node(left, &old_hash);
        new_hash = Hash::node(left, &new_hash);
    }
    if old_hash == old_root && new_hash == new_root { Ok(()) } else { Err(TreeError::Root) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[derive(Default)]
    struct Memory(BTreeMap<(u8, u64), Hash>);

    impl Hashes for Memory {
        type Error = String;

        fn hash(&self, level: u8, index: u64) -> Result<Hash, String> {
            self.0
                .get(&(level, index))
                .copied()
                .ok_or_else(|| format!("no hash ({level}, {index})"))
        }
    }

    fn leaf(index: u64) -> Hash {
        Hash::leaf(&index.to_be_bytes())
    }

    fn memory(leaves: impl IntoIterator<Item = Hash>) -> (Memory, Frontier) {
        let (mut memory, mut frontier) = (Memory::default(), Frontier::new());
        for leaf in leaves {
            for stored in frontier.append(leaf).unwrap() {
                assert_eq!(memory.0.insert((stored.level, stored.index), stored.hash), None);
            }
        }
        (memory, frontier)
    }

    /// The definitions of RFC 6962, word for word; what was hashed once is remembered.
    struct Naive {
        leaves: Vec<Hash>,
        roots: BTreeMap<(usize, usize), Hash>,
    }

    impl Naive {
        /// MTH(D[begin:end]) of 2.1.
        fn root(&mut self, begin: usize, end: usize) -> Hash {
            if let Some(root) = self.roots.get(&(begin, end)) {
                return *root;
            }
            let root = match end - begin {
                0 => Hash::empty(),
                1 => self.leaves[begin],
                size => {
                    let middle = begin + Naive::half(size);
                    Hash::node(&self.root(begin, middle), &self.root(middle, end))
                }
            };
            self.roots.insert((begin, end), root);
            root
        }

        fn half(size: usize) -> usize {
            let mut half = 1;
            while 2 * half < size {
                half *= 2;
            }
            half
        }

        /// PATH(index, D[begin:end]) of 2.1.1.
        fn path(&mut self, index: usize, begin: usize, end: usize) -> Vec<Hash> {
            if end - begin == 1 {
                return Vec::new();
            }
            let middle = begin + Naive::half(end - begin);
            if index < middle {
                [self.path(index, begin, middle), vec![self.root(middle, end)]].concat()
            } else {
                [self.path(index, middle, end), vec![self.root(begin, middle)]].concat()
            }
        }

        /// SUBPROOF(old, D[begin:end], is_whole) of 2.1.2.
        fn subproof(&mut self, old: usize, begin: usize, end: usize, is_whole: bool) -> Vec<Hash> {
            if old == end {
                return if is_whole { Vec::new() } else { vec![self.root(begin, end)] };
            }
            let middle = begin + Naive::half(end - begin);
            if old <= middle {
                let below = self.subproof(old, begin, middle, is_whole);
                [below, vec![self.root(middle, end)]].concat()
            } else {
                let below = self.subproof(old, middle, end, false);
                [below, vec![self.root(begin, middle)]].concat()
            }
        }
    }

    #[test]
    fn roots_and_proofs_are_those_of_the_definition_for_every_size_up_to_three_hundred() {
        let leaves: Vec<Hash> = (0..300).map(leaf).collect();
        let (memory, _) = memory(leaves.clone());
        let mut naive = Naive { leaves: leaves.clone(), roots: BTreeMap::new() };
        let mut frontier = Frontier::new();
        for (size, leaf) in (1..).zip(&leaves) {
            frontier.append(*leaf).unwrap();
            let known = naive.root(0, size);
            assert_eq!(frontier.root(), known, "{size}");
            assert_eq!(root(&memory, size as u64), Ok(known), "{size}");
            assert_eq!(Frontier::load(&memory, size as u64), Ok(frontier.clone()));
            let again = Frontier::of(size as u64, frontier.peaks().to_vec());
            assert_eq!(again, Ok(frontier.clone()), "{size}");
        }
        for size in 1..=300 {
            let (whole, new) = (naive.root(0, size), size as u64);
            for (index, known) in leaves[..size].iter().enumerate() {
                let proof = prove_inclusion(&memory, index as u64, new).unwrap();
                assert_eq!(proof, naive.path(index, 0, size), "{index} of {size}");
                verify_inclusion(*known, index as u64, new, whole, &proof).unwrap();
                let other = verify_inclusion(leaf(999), index as u64, new, whole, &proof);
                assert_eq!(other, Err(TreeError::Root));
                let beside = verify_inclusion(*known, index as u64 ^ 1, new, whole, &proof);
                assert!(beside.is_err(), "{index} of {size}");
            }
            for old in 1..=size {
                let (old_root, at) = (naive.root(0, old), old as u64);
                let proof = prove_consistency(&memory, at, new).unwrap();
                assert_eq!(proof, naive.subproof(old, 0, size, true), "{old} of {size}");
                verify_consistency(at, old_root, new, whole, &proof).unwrap();
                let forked = verify_consistency(at, leaf(999), new, whole, &proof);
                assert_eq!(forked, Err(TreeError::Root), "{old} of {size}");
                let forked = verify_consistency(at, old_root, new, leaf(999), &proof);
                assert_eq!(forked, Err(TreeError::Root), "{old} of {size}");
            }
        }
    }

    #[test]
    fn no_proof_holds_with_a_hash_changed_left_out_or_added() {
        let (memory, frontier) = memory((0..77).map(leaf));
        let whole = frontier.root();
        for index in 0..77 {
            let proof = prove_inclusion(&memory, index, 77).unwrap();
            spoil(&proof, |proof| verify_inclusion(leaf(index), index, 77, whole, proof));
        }
        for old in 1..77 {
            let proof = prove_consistency(&memory, old, 77).unwrap();
            let old_root = root(&memory, old).unwrap();
            spoil(&proof, |proof| verify_consistency(old, old_root, 77, whole, proof));
        }
    }

    fn spoil(proof: &[Hash], verify: impl Fn(&[Hash]) -> Result<(), TreeError>) {
        assert_eq!(verify(proof), Ok(()));
        for at in 0..proof.len() {
            let mut other = proof.to_vec();
            other[at].0[at % 32] ^= 1;
            assert_eq!(verify(&other), Err(TreeError::Root));
            other.remove(at);
            assert!(matches!(verify(&other), Err(TreeError::Length { .. })));
            let mut other = proof.to_vec();
            other.insert(at, leaf(5));
            assert!(matches!(verify(&other), Err(TreeError::Length { .. })));
        }
    }

    #[test]
    fn numbers_that_fit_no_tree_are_refused() {
        let (memory, _) = memory((0..8).map(leaf));
        let hash = leaf(0);
        let index = TreeError::Index { index: 8, size: 8 };
        assert_eq!(prove_inclusion(&memory, 8, 8), Err(index.into()));
        assert_eq!(verify_inclusion(hash, 8, 8, hash, &[]), Err(index));
        assert!(verify_inclusion(hash, 0, 0, hash, &[]).is_err());
        let sizes = TreeError::Sizes { old: 9, new: 8 };
        assert_eq!(prove_consistency(&memory, 9, 8), Err(sizes.into()));
        assert_eq!(verify_consistency(9, hash, 8, hash, &[]), Err(sizes));
        assert_eq!(verify_consistency(0, Hash::empty(), 8, hash, &[]), Ok(()));
        assert_eq!(verify_consistency(0, hash, 8, hash, &[]), Err(TreeError::Root));
        assert_eq!(verify_consistency(8, hash, 8, leaf(1), &[]), Err(TreeError::Root));
        assert!(verify_consistency(8, hash, 8, hash, &[hash]).is_err());
        for (index, size) in [(u64::MAX - 1, u64::MAX), (0, u64::MAX), (1 << 63, u64::MAX)] {
            assert!(verify_inclusion(hash, index, size, hash, &[hash; 64]).is_err());
            assert!(verify_consistency(index + 1, hash, size, hash, &[hash; 64]).is_err());
        }
        assert_eq!(
            Frontier::of(3, vec![hash]).unwrap_err().to_string(),
            "a log of 3 entries ends in 2 subtrees, not in 1"
        );
        assert_eq!(Frontier::of(LOG_SIZE_MAX + 1, vec![]), Err(TreeError::Full));
        let mut full = Frontier::of(LOG_SIZE_MAX, vec![hash]).unwrap();
        assert_eq!(full.append(hash), Err(TreeError::Full));
        let mut nearly = Frontier::of(LOG_SIZE_MAX - 1, vec![hash; 53]).unwrap();
        assert_eq!(nearly.append(hash).unwrap().len(), 54);
    }

    #[test]
    fn a_store_that_has_lost_a_hash_is_no_proof() {
        let (mut memory, _) = memory((0..7).map(leaf));
        memory.0.remove(&(1, 2));
        let error = prove_inclusion(&memory, 0, 7).unwrap_err();
        assert_eq!(error.to_string(), "cannot read a stored hash: no hash (1, 2)");
    }

    fn unhex(text: &str) -> Vec<u8> {
        let digits = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
        (0..text.len()).step_by(2).map(digits).collect()
    }

    /// The inputs of the reference tests of Certificate Transparency (RFC 6962), and the roots of the
    /// first one, two … of them.
    const LEAVES: [&str; 8] = [
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    ];
    const ROOTS: [&str; 8] = [
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ];
    const P01: &str = "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7";
    const P23: &str = "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e";
    const P47: &str = "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4";
    const P4: &str = "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b";
    const P67: &str = "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0";
    const P45: &str = "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a";

    #[test]
    fn roots_and_proofs_are_those_of_certificate_transparency() {
        let (memory, _) = memory(LEAVES.iter().map(|leaf| Hash::leaf(&unhex(leaf))));
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(root(&memory, 0).unwrap().to_string(), empty);
        for (size, known) in (1..).zip(ROOTS) {
            assert_eq!(root(&memory, size).unwrap().to_string(), known, "{size}");
        }
        let hashes = |hashes: &[&str]| -> Vec<Hash> {
            hashes.iter().map(|hash| hash.parse().unwrap()).collect()
        };
        let inclusion: [(u64, u64, &[&str]); 5] = [
            (0, 1, &[]),
            (0, 8, &[P01, P23, P47]),
            (5, 8, &[P4, P67, ROOTS[3]]),
            (2, 3, &[ROOTS[1]]),
            (1, 5, &[ROOTS[0], P23, P4]),
        ];
        for (index, size, known) in inclusion {
            assert_eq!(prove_inclusion(&memory, index, size).unwrap(), hashes(known));
        }
        let consistency: [(u64, u64, &[&str]); 4] = [
            (1, 1, &[]),
            (1, 8, &[P01, P23, P47]),
            (6, 8, &[P45, P67, ROOTS[3]]),
            (2, 5, &[P23, P4]),
        ];
        for (old, new, known) in consistency {
            assert_eq!(prove_consistency(&memory, old, new).unwrap(), hashes(known));
        }
    }
}
