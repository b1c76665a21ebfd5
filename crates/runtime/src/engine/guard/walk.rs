//! Goes through a graph from its inputs on, and keeps what each tensor may be and which are to be looked at.

use super::bounds::{MOVING, Taken, bounds};
use super::range::Range;
use super::weights::Weights;
use super::{Habits, of_declared};
use crate::engine::nodes::{int, is};
use crate::engine::order::order;
use crate::tensor::{Data, Element};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use tract_onnx::pb::{GraphProto, NodeProto};

/// The size beyond which nothing is let into an operator of which nothing is known.
const UNKNOWN_LIMIT: f64 = 1e12;
/// The largest number of 32 bits, whole or not, that a whole number of 32 bits can be: the next one is 2^31.
const NARROW: f64 = 2_147_483_520.0;
/// Operators that take or give whole numbers of 64 bits by way of 32.
const NARROWING: [&str; 2] = ["Cast", "OneHot"];
/// Of these operators, what comes out is all that went in, perhaps in another shape.
const RESHAPING: [&str; 6] =
    ["Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze"];

/// Operators of which some inputs are infinitely small on purpose.
const MASKED: [&str; 2] = ["LogSoftmax", "Softmax"];

/// Operators of many steps, which could make NaN by themselves of what is too large, and lose it.
const MAKING: [&str; 6] =
    ["DynamicQuantizeLinear", "GRU", "InstanceNormalization", "LSTM", "LayerNormalization", "RNN"];

/// A walk through a graph.
pub(super) struct Walk<'w, 'a> {
    habits: &'w Habits,
    weights: &'w Weights<'a>,
    /// Sizes to which numbers are held that could become too large.
    limit: f64,
    ceiling: f64,
    seen: Seen<'a>,
    /// Tensors that can be looked at: those of the outermost graph.
    outer: HashSet<&'a str>,
    /// In how many nodes the graph lies.
    within: usize,
}

/// What a walk has seen.
#[derive(Clone, Default)]
struct Seen<'a> {
    ranges: HashMap<&'a str, Range>,
    /// Tensors that hold what others do, in another shape.
    same: HashMap<&'a str, &'a str>,
    watched: BTreeMap<&'a str, Option<f64>>,
    /// An operator that takes what would have to be looked at and cannot.
    blocked: Option<&'a str>,
}

impl<'w, 'a> Walk<'w, 'a> {
    pub(super) fn new(
        habits: &'w Habits,
        weights: &'w Weights<'a>,
        limit: f64,
        ceiling: f64,
    ) -> Walk<'w, 'a> {
        let (seen, outer) = (Seen::default(), HashSet::new());
        Walk { habits, weights, limit, ceiling, seen, outer, within: 0 }
    }

    /// Goes through the outermost graph, whose inputs may be these.
    pub(super) fn model(&mut self, graph: &'a GraphProto, inputs: &[(&'a str, Range)]) {
        for (name, range) in inputs {
            self.seen.ranges.insert(name, *range);
            self.outer.insert(name);
        }
        let outputs = graph.node.iter().flat_map(|node| &node.output);
        self.outer.extend(outputs.map(String::as_str));
        self.graph(graph, HashSet::new());
    }

    /// What is to be looked at; or an operator that takes what cannot.
    pub(super) fn finish(self) -> Result<BTreeMap<&'a str, Option<f64>>, String> {
        match self.seen.blocked {
            Some(operator) => Err(operator.to_owned()),
            None => Ok(self.seen.watched),
        }
    }

    // The depth is bounded by whoever decodes, as elsewhere.
    fn graph(&mut self, graph: &'a GraphProto, outputs: HashSet<&'a str>) {
        let nodes = in_order(graph);
        let matters = self.matters(&nodes, outputs);
        for node in nodes {
            if graphs(node).next().is_some() {
                self.branches(node);
            } else {
                self.node(node, &matters);
            }
        }
    }

    /// The tensors of which it matters whether they are numbers: those from which a way leads to an operator
    /// that does not pass on that one is none.
    fn matters(&self, nodes: &[&'a NodeProto], outputs: HashSet<&'a str>) -> HashSet<&'a str> {
        let mut matters = outputs;
        for node in nodes.iter().rev() {
            let has_graph = graphs(node).next().is_some();
            let leads_on = node.output.iter().any(|output| matters.contains(output.as_str()));
            if leads_on || has_graph || !self.passes(node, leads_on) {
                matters.extend(node.input.iter().map(String::as_str));
            }
        }
        matters
    }

    /// Whether what a node makes of NaN is right. Powers and logarithms are asked only where nothing behind them
    /// loses it: elsewhere engines have one operator for several, which a look within would take apart.
    fn passes(&self, node: &NodeProto, leads_on: bool) -> bool {
        let has_exponents = || {
            let exponents = node.input.get(1).and_then(|name| self.weights.tensor(name));
            let is_one = |at, data: &Data| data.number(at).is_some_and(|it| it != 0.0);
            exponents.is_some_and(|it| (0..it.len()).all(|at| is_one(at, it.data())))
        };
        let keeps = || is(node, "Log") || (is(node, "Pow") && has_exponents());
        self.habits.passes(node) || (self.habits.powers && !leads_on && keeps())
    }

    fn range(&self, name: &'a str) -> Range {
        let known = self.seen.ranges.get(name).copied();
        match name {
            "" => Range::within(0.0),
            name => known.or_else(|| self.weights.range(name)).unwrap_or(Range::ANY),
        }
    }

    fn node(&mut self, node: &'a NodeProto, matters: &HashSet<&'a str>) {
        let leads_on = node.output.iter().any(|output| matters.contains(output.as_str()));
        let passes = self.passes(node, leads_on);
        if !passes {
            for name in taken(node) {
                if self.range(name).nan && !self.watch(name, None) {
                    self.seen.blocked = Some(&node.op_type);
                }
            }
        }
        let is_wide = || int(node, "to").is_none_or(|to| to == i64::from(Element::I64.onnx()));
        let narrows = NARROWING.iter().any(|name| is(node, name)) && is_wide();
        if self.habits.narrow && narrows {
            for name in taken(node).take(1) {
                if self.range(name).size() > NARROW && !self.watch(name, Some(NARROW)) {
                    self.seen.blocked = Some(&node.op_type);
                }
            }
        }
        // Scores that do not count are infinitely small, and where none counts the answer is no number: that
        // comes out of all engines.
        let is_masked = MASKED.iter().any(|name| is(node, name))
            && taken(node).all(|name| self.range(name).high.is_finite());
        let is_hidden = |given: &Option<Vec<Range>>| {
            (!passes || leads_on)
                && given.as_ref().is_none_or(|given| given.iter().any(|range| range.nan))
        };
        let mut given = self.bounds(node, |range| range);
        if is_hidden(&given) && !is_masked {
            let is_known = given.is_some();
            let limit = if is_known { self.limit } else { self.limit.min(UNKNOWN_LIMIT) };
            // Perhaps nothing overflows if what comes in is no larger than it ever should be.
            let narrowed = self.bounds(node, |range| range.cut(limit));
            let is_cured = !is_hidden(&narrowed);
            if is_cured || (!is_known && !passes) {
                let large =
                    |name: &&'a str| self.range(name).size() > limit || self.range(name).nan;
                let large: BTreeSet<&'a str> = taken(node).filter(large).collect();
                for name in large {
                    if !self.watch(name, Some(limit)) && !passes {
                        self.seen.blocked = Some(&node.op_type);
                    }
                }
                given = self.bounds(node, |range| range);
            } else if MAKING.iter().any(|name| is(node, name)) && !passes {
                self.seen.blocked = Some(&node.op_type);
            }
        }
        let given = given.unwrap_or_else(|| vec![Range::ANY; node.output.len()]);
        for (name, range) in node.output.iter().zip(given) {
            // What is constant is known better.
            let range = self.weights.range(name).unwrap_or(range);
            self.seen.ranges.insert(name, range);
        }
        if let (true, Some(from), Some(to)) =
            (RESHAPING.contains(&node.op_type.as_str()), node.input.first(), node.output.first())
        {
            debug_assert!(MOVING.contains(&node.op_type.as_str()));
            let origin = self.origin(from);
            self.seen.same.insert(to, origin);
        }
    }

    /// What a node gives, where each of its inputs is what `cut` leaves of it.
    fn bounds(&self, node: &'a NodeProto, cut: impl Fn(Range) -> Range) -> Option<Vec<Range>> {
        let ranges: Vec<Range> = node.input.iter().map(|name| cut(self.range(name))).collect();
        bounds(&Taken { node, weights: self.weights, ranges: &ranges, ceiling: self.ceiling })
    }

    /// The tensor that holds what this one does, and is not made of another by putting it into another shape.
    fn origin(&self, name: &'a str) -> &'a str {
        let mut origin = name;
        while let Some(same) = self.seen.same.get(origin) {
            origin = same;
        }
        origin
    }

    /// Has a tensor looked at, and says whether it can be.
    fn watch(&mut self, name: &'a str, limit: Option<f64>) -> bool {
        let origin = self.origin(name);
        if !self.outer.contains(origin) {
            return false;
        }
        let watched = self.seen.watched.entry(origin).or_insert(limit);
        let limits = watched.iter().chain(&limit).copied();
        *watched = limits.reduce(f64::min);
        let limit = *watched;
        for name in [origin, name] {
            let range = self.range(name);
            let range = limit.map_or(Range { nan: false, ..range }, |limit| range.cut(limit));
            self.seen.ranges.insert(name, range);
        }
        true
    }

    /// Goes through the graphs within a node.
    fn branches(&mut self, node: &'a NodeProto) {
        // Only once, for what lies within one another would be gone through again and again.
        let before = (self.within == 0).then(|| self.seen.clone());
        let mut given = self.each_branch(node);
        if self.seen.blocked.is_some()
            && let Some(before) = before.filter(|before| before.blocked.is_none())
        {
            // Perhaps nothing within is too large if nothing that is taken from around it is.
            self.seen = before;
            let names: BTreeSet<&'a str> = graphs(node).flat_map(captured).collect();
            for name in names {
                let range = self.range(name);
                if range.nan || range.size() > self.limit {
                    self.watch(name, Some(self.limit));
                }
            }
            given = self.each_branch(node);
        }
        for (at, name) in node.output.iter().enumerate() {
            let range = given.get(at).copied().unwrap_or(Range::ANY);
            self.seen.ranges.insert(name, range);
        }
    }

    /// What the branches of an If give, either of them; nothing of other operators.
    fn each_branch(&mut self, node: &'a NodeProto) -> Vec<Range> {
        let mut given: Option<Vec<Range>> = None;
        self.within += 1;
        for graph in graphs(node) {
            for input in &graph.input {
                self.seen.ranges.insert(&input.name, of_declared(input));
            }
            let outputs = graph.output.iter().map(|output| output.name.as_str());
            self.graph(graph, outputs.clone().collect());
            let ranges = outputs.map(|output| self.range(output));
            given = Some(match given {
                None => ranges.collect(),
                Some(given) => given.into_iter().zip(ranges).map(|(a, b)| a.join(b)).collect(),
            });
        }
        self.within -= 1;
        given.filter(|_| is(node, "If")).unwrap_or_default()
    }
}

/// The inputs that a node has.
fn taken(node: &NodeProto) -> impl Iterator<Item = &str> {
    node.input.iter().map(String::as_str).filter(|name| !name.is_empty())
}

/// The graphs within a node.
fn graphs(node: &NodeProto) -> impl Iterator<Item = &GraphProto> {
    node.attribute.iter().flat_map(|it| it.g.iter().chain(&it.graphs))
}

/// What a graph takes from those around it, and what those within it take.
fn captured(graph: &GraphProto) -> Vec<&str> {
    let own = graph.node.iter().flat_map(|node| &node.output).map(String::as_str);
    let inputs = graph.input.iter().map(|input| input.name.as_str());
    let constants = graph.initializer.iter().map(|tensor| tensor.name.as_str());
    let own: HashSet<&str> = own.chain(inputs).chain(constants).collect();
    let direct = graph.node.iter().flat_map(taken);
    let outputs = graph.output.iter().map(|output| output.name.as_str());
    let within = graph.node.iter().flat_map(graphs).flat_map(captured);
    direct.chain(outputs).chain(within).filter(|name| !own.contains(name)).collect()
}

/// The nodes of a graph, each after those from which it takes something.
fn in_order(graph: &GraphProto) -> Vec<&NodeProto> {
    let makers = graph.node.iter().enumerate();
    let makers = makers.flat_map(|(at, node)| node.output.iter().map(move |name| (name, at)));
    let makers: HashMap<&String, usize> = makers.collect();
    let is_written_so = graph.node.iter().enumerate().all(|(at, node)| {
        node.input.iter().filter_map(|name| makers.get(name)).all(|maker| *maker < at)
    });
    if is_written_so {
        return graph.node.iter().collect();
    }
    // A file whose nodes go in a circle was refused when it was read.
    let order = order(graph).unwrap_or_default();
    order.into_iter().map(|place| &graph.node[place]).collect()
}
