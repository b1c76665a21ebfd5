//! How many different values there were.

mod encoded;

use crate::hash::{hash, hash_of_eight};
use std::collections::BTreeSet;

/// Different values that are counted exactly.
pub const DISTINCT_EXACT_MAX: usize = 48;
/// Standard error of the count beyond, relative: 1.04 divided by the root of 512.
pub const DISTINCT_RELATIVE_ERROR: f64 = 0.046;
/// Binary digits of a hash that choose its register.
const INDEX_BITS: u32 = 9;
const REGISTERS: usize = 1 << INDEX_BITS;
/// Largest register: no digit of the rest of a hash is set.
const REGISTER_MAX: u8 = (64 - INDEX_BITS + 1) as u8;
/// Highest digits of a hash that are kept of one of few.
const TOP_BITS: u32 = 21;
/// Digits of a rank.
const RANK_BITS: u32 = 6;

/// The number of different values: exact for the first [`DISTINCT_EXACT_MAX`], then estimated.
///
/// Up to there what is needed of their hashes is kept: the register, the rank, and the 21 highest
/// digits of each, 32 digits on average. Two values are taken for one with a probability of 3.1e-10, so
/// that of 48 different ones any two are has one of 3.5e-7: against an error of 4.6 percent from the
/// 49th on. Beyond, a HyperLogLog of 512 registers (P. Flajolet et al., 2007), each the largest rank of
/// the hashes that it was shown: which form it has and what is in it follows from the set of values
/// alone. The estimate is the one of O. Ertl (New cardinality estimation algorithms for HyperLogLog
/// sketches, 2017, algorithm 6), which is unbiased over the whole range and takes no logarithm, so it
/// too is the same on every processor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Distinct(State);

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    /// What is kept of each hash, as [`key`] has it.
    Few(BTreeSet<u64>),
    Many(Box<[u8; REGISTERS]>),
}

impl Default for Distinct {
    fn default() -> Distinct {
        Distinct(State::Few(BTreeSet::new()))
    }
}

impl Distinct {
    /// Takes a number. The two noughts are one value; what is no finite number is none.
    #[inline]
    pub fn add(&mut self, value: f64) {
        if value.is_finite() {
            self.add_hash(hash_of_eight((value + 0.0).to_bits()));
        }
    }

    /// Takes numbers, as [`Distinct::add`] takes each.
    pub fn add_all(&mut self, values: &[f64]) {
        match values.iter().all(|value| value.is_finite()) {
            true => self.add_finite(values),
            false => values.iter().for_each(|value| self.add(*value)),
        }
    }

    /// Takes finite numbers.
    pub(crate) fn add_finite(&mut self, values: &[f64]) {
        let mut values = values.iter();
        while !matches!(self.0, State::Many(_)) {
            let Some(value) = values.next() else { return };
            self.add(*value);
        }
        values.for_each(|value| self.add_hash(hash_of_eight((value + 0.0).to_bits())));
    }

    /// Takes a text.
    pub fn add_text(&mut self, text: &str) {
        self.add_hash(hash(text.as_bytes()));
    }

    /// Takes what another has seen.
    pub fn merge(&mut self, other: &Distinct) {
        match &other.0 {
            State::Few(keys) => keys.iter().for_each(|key| self.add_key(*key)),
            State::Many(theirs) => {
                let ours = self.registers();
                ours.iter_mut()
                    .zip(theirs.iter())
                    .for_each(|(our, their)| *our = (*our).max(*their));
            }
        }
    }

    /// The number of different values; exact, or with a standard error of
    /// [`DISTINCT_RELATIVE_ERROR`].
    pub fn estimate(&self) -> f64 {
        match &self.0 {
            State::Few(keys) => keys.len() as f64,
            State::Many(registers) => estimate(registers),
        }
    }

    /// Whether the number is exact.
    pub fn is_exact(&self) -> bool {
        matches!(self.0, State::Few(_))
    }

    #[inline]
    pub(crate) fn add_hash(&mut self, hash: u64) {
        match &mut self.0 {
            State::Few(_) => self.add_key(key(hash)),
            State::Many(registers) => {
                let (register, rank) = place(hash);
                if rank > registers[register] {
                    registers[register] = rank;
                }
            }
        }
    }

    fn add_key(&mut self, key: u64) {
        match &mut self.0 {
            State::Few(keys) => {
                keys.insert(key);
                if keys.len() > DISTINCT_EXACT_MAX {
                    self.registers();
                }
            }
            State::Many(registers) => show(registers, key),
        }
    }

    /// The registers, which it has from now on.
    fn registers(&mut self) -> &mut [u8; REGISTERS] {
        if let State::Few(keys) = &self.0 {
            let mut registers = Box::new([0; REGISTERS]);
            keys.iter().for_each(|key| show(&mut registers, *key));
            self.0 = State::Many(registers);
        }
        match &mut self.0 {
            State::Many(registers) => registers,
            State::Few(_) => unreachable!("it has just been given registers"),
        }
    }
}

/// The register of a hash, and the rank that it shows: 1 to [`REGISTER_MAX`].
#[inline]
fn place(hash: u64) -> (usize, u8) {
    // A digit beyond the last one, so that there is a first one.
    let rank = (hash >> INDEX_BITS | 1 << (64 - INDEX_BITS)).trailing_zeros() as u8 + 1;
    (hash as usize % REGISTERS, rank)
}

/// What is kept of a hash: from the highest digit on, its [`TOP_BITS`] highest ones, its register, and its
/// rank less one.
fn key(hash: u64) -> u64 {
    let (register, rank) = place(hash);
    let address = hash >> (64 - TOP_BITS) << INDEX_BITS | register as u64;
    address << RANK_BITS | u64::from(rank - 1)
}

fn show(registers: &mut [u8; REGISTERS], key: u64) {
    let register = &mut registers[(key >> RANK_BITS) as usize % REGISTERS];
    let rank = (key % (1 << RANK_BITS)) as u8 + 1;
    *register = rank.max(*register);
}

fn estimate(registers: &[u8; REGISTERS]) -> f64 {
    /// `1 / (2 ln 2)`.
    const ALPHA: f64 = 0.721_347_520_444_481_7;
    let mut counts = [0u32; REGISTER_MAX as usize + 1];
    registers.iter().for_each(|register| counts[usize::from(*register)] += 1);
    let m = REGISTERS as f64;
    let [empty, between @ .., full] = counts;
    let mut z = m * tau(1.0 - f64::from(full) / m);
    for count in between.iter().rev() {
        z = 0.5 * (z + f64::from(*count));
    }
    z += m * sigma(f64::from(empty) / m);
    ALPHA * m * m / z
}

/// `x + sum over k >= 1 of x^(2^k) 2^(k-1)`, for `x` below 1.
fn sigma(mut x: f64) -> f64 {
    if x >= 1.0 {
        return f64::INFINITY;
    }
    let (mut y, mut z) = (1.0, x);
    loop {
        x *= x;
        let before = z;
        z += x * y;
        y += y;
        if z == before {
            return z;
        }
    }
}

/// `(1 - x - sum over k >= 1 of (1 - x^(2^-k))^2 2^-k) / 3`.
fn tau(mut x: f64) -> f64 {
    if x <= 0.0 || x >= 1.0 {
        return 0.0;
    }
    let (mut y, mut z) = (1.0, 1.0 - x);
    loop {
        x = x.sqrt();
        let before = z;
        y *= 0.5;
        z -= (1.0 - x) * (1.0 - x) * y;
        if z == before {
            return z / 3.0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoding::Sketch;
    use proptest::prelude::*;

    fn of(values: impl IntoIterator<Item = u32>) -> Distinct {
        let mut distinct = Distinct::default();
        values.into_iter().for_each(|value| distinct.add(f64::from(value)));
        distinct
    }

    #[test]
    fn few_values_are_counted_exactly_however_often_they_come() {
        let mut distinct = of((0..48).chain(0..48));
        distinct.add(-0.0);
        distinct.add(f64::NAN);
        assert_eq!((distinct.estimate(), distinct.is_exact()), (48.0, true));
        distinct.add(48.0);
        assert!(!distinct.is_exact());
        assert!((distinct.estimate() - 49.0).abs() < 5.0, "{}", distinct.estimate());
    }

    #[test]
    fn many_are_counted_with_the_error_that_is_stated() {
        let mut worst = 0.0f64;
        for size in [100u32, 500, 1_000, 2_000, 5_000, 20_000, 100_000] {
            // Thirty different sets of each size.
            let sets = if size > 5_000 { 4 } else { 30 };
            let errors: Vec<f64> = (0..sets)
                .map(|set| of(set * size..(set + 1) * size).estimate() / f64::from(size) - 1.0)
                .collect();
            let mean = errors.iter().sum::<f64>() / errors.len() as f64;
            let square =
                errors.iter().map(|error| error * error).sum::<f64>() / errors.len() as f64;
            // The mean of 30 (4) sets is off by less than four standard errors, and so their spread.
            let four = 4.0 * DISTINCT_RELATIVE_ERROR / f64::from(sets).sqrt();
            assert!(mean.abs() < four, "{size}: {mean}");
            assert!(square.sqrt() < DISTINCT_RELATIVE_ERROR + four, "{size}: {}", square.sqrt());
            worst = errors.iter().fold(worst, |worst, error| worst.max(error.abs()));
        }
        assert!(worst < 4.0 * DISTINCT_RELATIVE_ERROR, "{worst}");
    }

    #[test]
    fn nothing_and_everything_have_an_estimate() {
        assert_eq!(Distinct::default().estimate(), 0.0);
        let full = Distinct(State::Many(Box::new([REGISTER_MAX; REGISTERS])));
        assert!(full.estimate() > 1e18);
        let mut empty = of([]);
        empty.registers();
        assert_eq!(empty.estimate(), 0.0);
        assert!(Distinct::decode(&empty.encode()).is_err());
    }

    proptest! {
        #[test]
        fn order_grouping_and_repeats_do_not_show(
            values in prop::collection::vec(0u32..80, 0..140),
            split in 0usize..140,
        ) {
            let (left, right) = values.split_at(split.min(values.len()));
            let mut merged = of(right.iter().rev().copied());
            merged.merge(&of(left.iter().copied()));
            merged.merge(&Distinct::default());
            prop_assert_eq!(&merged, &of(values.iter().copied()));
            prop_assert_eq!(Distinct::decode(&merged.encode()), Ok(merged));
        }
    }
}
