//! Trees laid out for walking: one row of numbers leads through each tree to a leaf.

use super::real::Real;

/// The feature of what is a leaf.
pub(super) const LEAF: u32 = u32::MAX;

/// A node: of 16 bytes where it compares in 32 bits, so that four lie in a line of the cache.
#[derive(Debug, Clone, Copy)]
pub(super) struct Split<T> {
    /// What the row's number is compared with.
    pub(super) value: T,
    /// The column of the row's number, or [`LEAF`].
    pub(super) feature: u32,
    /// The node for no and the node for yes, so that no branch of the processor depends on the answer.
    /// The weights of a leaf from the first up to the second.
    pub(super) next: [u32; 2],
}

/// What a leaf adds to a class or target.
#[derive(Debug, Clone, Copy)]
pub(super) struct Weight<T> {
    pub(super) target: u32,
    pub(super) value: T,
}

/// How a node compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    LessOrEqual,
    Less,
    GreaterOrEqual,
    Greater,
    Equal,
    NotEqual,
}

/// How a node compares, and whether it says yes to a value that is missing, which is no number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) mode: Mode,
    pub(super) missing_is_yes: bool,
}

impl Rule {
    fn holds<T: Real>(self, number: T, value: T) -> bool {
        let holds = match self.mode {
            Mode::LessOrEqual => number <= value,
            Mode::Less => number < value,
            Mode::GreaterOrEqual => number >= value,
            Mode::Greater => number > value,
            Mode::Equal => number == value,
            Mode::NotEqual => number != value,
        };
        holds || (self.missing_is_yes && number.is_nan())
    }
}

/// Trees of which every way from a root ends at a leaf.
#[derive(Debug)]
pub(super) struct Trees<T> {
    splits: Vec<Split<T>>,
    /// Of each of the splits.
    rules: Vec<Rule>,
    way: Way,
    roots: Vec<u32>,
    weights: Vec<Weight<T>>,
}

/// What is known of all rules together. Nearly all trainers write the first or the second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// All compare with [`Mode::LessOrEqual`], and say no to what is missing.
    LessOrEqual,
    /// All compare with [`Mode::LessOrEqual`].
    LessOrEqualOrMissing,
    /// Each as it does.
    Own,
}

impl<T: Real> Trees<T> {
    /// `rules` has one for each of `splits`.
    pub(super) fn new(
        splits: Vec<Split<T>>,
        rules: Vec<Rule>,
        roots: Vec<u32>,
        weights: Vec<Weight<T>>,
    ) -> Trees<T> {
        let mut inner = splits.iter().zip(&rules).filter(|(split, _)| split.feature != LEAF);
        let way = inner.try_fold(Way::LessOrEqual, |way, (_, rule)| match rule {
            Rule { mode: Mode::LessOrEqual, missing_is_yes: false } => Some(way),
            Rule { mode: Mode::LessOrEqual, missing_is_yes: true } => {
                Some(Way::LessOrEqualOrMissing)
            }
            _ => None,
        });
        Trees { splits, rules, way: way.unwrap_or(Way::Own), roots, weights }
    }

    /// How many trees there are.
    pub(super) fn len(&self) -> usize {
        self.roots.len()
    }

    /// All weights of all leaves.
    pub(super) fn weights(&self) -> &[Weight<T>] {
        &self.weights
    }

    /// Gives `leaf` the weights of the leaf to which `row` leads, of one tree after the other.
    pub(super) fn walk(&self, row: &[T], leaf: impl FnMut(&[Weight<T>])) {
        match self.way {
            Way::LessOrEqual => self.walk_by(row, |_, number, value| number <= value, leaf),
            Way::LessOrEqualOrMissing => {
                let holds = |at: usize, number: T, value| match number.is_nan() {
                    true => self.rules[at].missing_is_yes,
                    false => number <= value,
                };
                self.walk_by(row, holds, leaf);
            }
            Way::Own => {
                self.walk_by(row, |at, number, value| self.rules[at].holds(number, value), leaf);
            }
        }
    }

    fn walk_by(
        &self,
        row: &[T],
        holds: impl Fn(usize, T, T) -> bool,
        mut leaf: impl FnMut(&[Weight<T>]),
    ) {
        for root in &self.roots {
            let mut at = *root as usize;
            let [start, end] = loop {
                let split = &self.splits[at];
                if split.feature == LEAF {
                    break split.next;
                }
                let yes = holds(at, row[split.feature as usize], split.value);
                at = split.next[usize::from(yes)] as usize;
            };
            leaf(&self.weights[start as usize..end as usize]);
        }
    }
}
