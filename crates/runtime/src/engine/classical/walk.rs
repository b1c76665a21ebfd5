//! Trees laid out for walking: one row of numbers leads through each tree to a leaf.

use super::real::Real;
use std::collections::VecDeque;
use std::ops::Range;

/// Trees through which a row is led at a time. Each waits for the memory of its next node, and the
/// processor goes on with the others meanwhile; with twice as many it runs out of registers.
const LANES: usize = 8;
/// No place: more nodes than there can be.
const NOWHERE: u32 = u32::MAX;

/// A node of a tree as the file has it.
#[derive(Debug, Clone)]
pub(super) enum Node<T> {
    /// A row that comes here gets these of the weights.
    Leaf { weights: Range<u32> },
    /// A row goes on to one of two nodes, no and yes.
    Inner {
        /// What the row's number is compared with.
        value: T,
        /// The column of the row's number.
        feature: u32,
        rule: Rule,
        children: [u32; 2],
    },
}

/// A node laid out for walking: of 12 bytes where it compares in 32 bits.
#[derive(Debug, Clone, Copy)]
struct Split<T> {
    /// What the row's number is compared with. A leaf compares with what is no number, and says no.
    value: T,
    /// The column of the row's number.
    feature: u32,
    /// The node for no; that for yes lies behind it, so that no branch of the processor depends on the
    /// answer. A leaf leads to itself.
    no: u32,
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
    /// Of each of the splits, from where to where its weights lie.
    spans: Vec<[u32; 2]>,
    way: Way,
    roots: Vec<u32>,
    weights: Vec<Weight<T>>,
}

/// What is known of all rules together. Nearly all trainers write the first or the second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Way {
    /// All compare with [`Mode::LessOrEqual`], and say no to what is missing.
    LessOrEqual,
    /// All compare with [`Mode::LessOrEqual`].
    LessOrEqualOrMissing,
    /// Each as it does.
    Own,
}

impl Way {
    fn of(rule: Rule) -> Way {
        match rule {
            Rule { mode: Mode::LessOrEqual, missing_is_yes: false } => Way::LessOrEqual,
            Rule { mode: Mode::LessOrEqual, missing_is_yes: true } => Way::LessOrEqualOrMissing,
            _ => Way::Own,
        }
    }
}

impl<T: Real> Trees<T> {
    /// Lays out the trees that begin at these `roots`. A node to which several lead lies at several places.
    pub(super) fn new(nodes: &[Node<T>], roots: &[u32], weights: Vec<Weight<T>>) -> Trees<T> {
        let mut trees = Trees {
            splits: vec![],
            rules: vec![],
            spans: vec![],
            way: Way::LessOrEqual,
            roots: vec![],
            weights,
        };
        // Where the children of each node lie: once, however many lead to it.
        let mut laid = vec![NOWHERE; nodes.len()];
        let mut next = VecDeque::new();
        for root in roots {
            let place = trees.free(1);
            trees.roots.push(place);
            next.push_back((*root, place));
            while let Some((node, place)) = next.pop_front() {
                let at = place as usize;
                match &nodes[node as usize] {
                    Node::Leaf { weights } => {
                        trees.splits[at].no = place;
                        trees.spans[at] = [weights.start, weights.end];
                    }
                    Node::Inner { value, feature, rule, children } => {
                        let no = &mut laid[node as usize];
                        if *no == NOWHERE {
                            *no = trees.free(2);
                            next.extend(children.iter().copied().zip(*no..));
                        }
                        trees.splits[at] = Split { value: *value, feature: *feature, no: *no };
                        trees.rules[at] = *rule;
                        trees.way = trees.way.max(Way::of(*rule));
                    }
                }
            }
        }
        trees
    }

    /// Places for so many nodes, all of them leaves; gives the first.
    fn free(&mut self, count: usize) -> u32 {
        let first = self.splits.len();
        let leaf = Split { value: T::from(f32::NAN), feature: 0, no: 0 };
        let rule = Rule { mode: Mode::LessOrEqual, missing_is_yes: false };
        self.splits.resize(first + count, leaf);
        self.rules.resize(first + count, rule);
        self.spans.resize(first + count, [0; 2]);
        first as u32
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
        for roots in self.roots.chunks(LANES) {
            // Lanes to which there is no tree follow the first.
            let mut lanes = [roots[0]; LANES];
            lanes[..roots.len()].copy_from_slice(roots);
            loop {
                let mut moved = 0;
                for lane in &mut lanes {
                    let at = *lane as usize;
                    let split = &self.splits[at];
                    let yes = holds(at, row[split.feature as usize], split.value);
                    let next = split.no + u32::from(yes);
                    moved |= next ^ *lane;
                    *lane = next;
                }
                if moved == 0 {
                    break;
                }
            }
            for lane in &lanes[..roots.len()] {
                let [start, end] = self.spans[*lane as usize];
                leaf(&self.weights[start as usize..end as usize]);
            }
        }
    }
}
