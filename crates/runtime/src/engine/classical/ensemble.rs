//! Tree ensembles as the attributes of a node describe them, checked and laid out for walking.

use super::node::Node;
use super::real::Real;
use super::walk::{self, Mode, Rule, Trees, Weight};
use crate::tensor::{Data, Element};

/// Nodes that an ensemble may have: a quarter of a gigabyte while it is read.
const NODES_MAX: usize = 4 << 20;

/// What the weights of leaves are for: the attributes of a classifier begin with `class`, those of a
/// regressor with `target`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Purpose {
    trees: &'static str,
    nodes: &'static str,
    targets: &'static str,
    weights: &'static str,
    weights_tensor: &'static str,
}

pub(super) const CLASSES: Purpose = Purpose {
    trees: "class_treeids",
    nodes: "class_nodeids",
    targets: "class_ids",
    weights: "class_weights",
    weights_tensor: "class_weights_as_tensor",
};

pub(super) const TARGETS: Purpose = Purpose {
    trees: "target_treeids",
    nodes: "target_nodeids",
    targets: "target_ids",
    weights: "target_weights",
    weights_tensor: "target_weights_as_tensor",
};

/// The names of an ensemble's attributes that do not depend on its purpose.
pub(super) const ATTRIBUTES: [&str; 14] = [
    "base_values",
    "base_values_as_tensor",
    "nodes_falsenodeids",
    "nodes_featureids",
    "nodes_hitrates",
    "nodes_hitrates_as_tensor",
    "nodes_missing_value_tracks_true",
    "nodes_modes",
    "nodes_nodeids",
    "nodes_treeids",
    "nodes_truenodeids",
    "nodes_values",
    "nodes_values_as_tensor",
    "post_transform",
];

impl Purpose {
    /// The names of the attributes for it.
    pub(super) fn attributes(&self) -> [&'static str; 5] {
        [self.trees, self.nodes, self.targets, self.weights, self.weights_tensor]
    }
}

/// Reads the trees of a node that gives `targets` scores for rows of `columns` numbers.
///
/// Every way through a tree that was read ends at a leaf.
pub(super) fn read<T: Real>(
    node: &Node<'_>,
    purpose: Purpose,
    columns: usize,
    targets: usize,
) -> Result<Trees<T>, String> {
    let listed = Listed::read(node)?;
    let values: Vec<T> = reals(node, "nodes_values", "nodes_values_as_tensor")?;
    listed.same_length("nodes_values", values.len())?;
    let index = Index::new(&listed)?;
    let ordered = Ordered::new(&listed, &index)?;

    let (spans, weights) = weights(node, purpose, targets, &listed, &index)?;
    let mut nodes = Vec::with_capacity(listed.len());
    for (at, value) in values.iter().enumerate() {
        let Some(mode) = listed.modes[at] else {
            nodes.push(walk::Node::Leaf { weights: spans[at]..spans[at + 1] });
            continue;
        };
        let feature = usize::try_from(listed.features[at]).ok();
        let feature = feature.filter(|feature| *feature < columns).ok_or_else(|| {
            let (feature, node) = (listed.features[at], listed.told(at));
            format!("{node} asks for column {feature} of {columns}")
        })?;
        nodes.push(walk::Node::Inner {
            value: *value,
            feature: feature as u32,
            rule: Rule { mode, missing_is_yes: listed.missing_is_yes(at) },
            children: ordered.children[at],
        });
    }
    Ok(Trees::new(&nodes, &index.roots(), weights))
}

/// The numbers of an attribute, which may be a list or, in later versions, a tensor.
pub(super) fn reals<T: Real>(node: &Node<'_>, list: &str, tensor: &str) -> Result<Vec<T>, String> {
    let Some(found) = node.tensor(tensor)? else {
        return Ok(node.floats(list)?.iter().map(|value| T::from(*value)).collect());
    };
    if node.has(list) {
        return Err(format!("it has both {list} and {tensor}"));
    }
    match found.data() {
        Data::F32(values) => Ok(values.iter().map(|value| T::from(*value)).collect()),
        // What was trained in 64 bits is not cut to 32.
        Data::F64(values) if std::mem::size_of::<T>() == 8 => {
            Ok(values.iter().map(|value| T::from_f64(*value)).collect())
        }
        other => Err(format!("its {tensor} is {}, not as its input", other.element())),
    }
}

/// Whether an ensemble for this input computes in 64 bits.
pub(super) fn is_double(element: Element) -> bool {
    element == Element::F64
}

/// The lists that describe the nodes, all of one length.
struct Listed<'a> {
    trees: &'a [i64],
    nodes: &'a [i64],
    features: &'a [i64],
    yes: &'a [i64],
    no: &'a [i64],
    /// Empty where no value can be missing.
    tracks: &'a [i64],
    /// None for leaves.
    modes: Vec<Option<Mode>>,
}

impl<'a> Listed<'a> {
    fn read(node: &Node<'a>) -> Result<Listed<'a>, String> {
        let modes = node.texts("nodes_modes")?;
        let listed = Listed {
            trees: node.ints("nodes_treeids")?,
            nodes: node.ints("nodes_nodeids")?,
            features: node.ints("nodes_featureids")?,
            yes: node.ints("nodes_truenodeids")?,
            no: node.ints("nodes_falsenodeids")?,
            tracks: node.ints("nodes_missing_value_tracks_true")?,
            modes: modes.iter().map(|text| mode(text)).collect::<Result<_, _>>()?,
        };
        if listed.len() == 0 {
            return Err("it has no trees".to_owned());
        }
        if listed.len() > NODES_MAX {
            return Err(format!("it has more than {NODES_MAX} nodes"));
        }
        for (name, length) in [
            ("nodes_treeids", listed.trees.len()),
            ("nodes_featureids", listed.features.len()),
            ("nodes_truenodeids", listed.yes.len()),
            ("nodes_falsenodeids", listed.no.len()),
            ("nodes_modes", listed.modes.len()),
        ] {
            listed.same_length(name, length)?;
        }
        if !listed.tracks.is_empty() {
            listed.same_length("nodes_missing_value_tracks_true", listed.tracks.len())?;
        }
        Ok(listed)
    }

    fn len(&self) -> usize {
        self.nodes.len()
    }

    fn same_length(&self, name: &str, length: usize) -> Result<(), String> {
        match length == self.len() {
            true => Ok(()),
            false => Err(format!("it has {} nodes and {length} {name}", self.len())),
        }
    }

    fn missing_is_yes(&self, at: usize) -> bool {
        self.tracks.get(at).is_some_and(|track| *track == 1)
    }

    /// A node, for people.
    fn told(&self, at: usize) -> String {
        format!("node {} of tree {}", self.nodes[at], self.trees[at])
    }
}

fn mode(text: &[u8]) -> Result<Option<Mode>, String> {
    Ok(match text {
        b"LEAF" => None,
        b"BRANCH_LEQ" => Some(Mode::LessOrEqual),
        b"BRANCH_LT" => Some(Mode::Less),
        b"BRANCH_GTE" => Some(Mode::GreaterOrEqual),
        b"BRANCH_GT" => Some(Mode::Greater),
        b"BRANCH_EQ" => Some(Mode::Equal),
        b"BRANCH_NEQ" => Some(Mode::NotEqual),
        other => {
            return Err(format!("its node mode {:?} is unknown", String::from_utf8_lossy(other)));
        }
    })
}

/// Where each node lies, found by the number of its tree and its own.
struct Index {
    /// Number and place of every node, sorted by number within each tree.
    nodes: Vec<(i64, u32)>,
    /// Number of each tree, and where its nodes lie; sorted by number.
    trees: Vec<(i64, std::ops::Range<usize>)>,
}

impl Index {
    fn new(listed: &Listed<'_>) -> Result<Index, String> {
        let places = listed.nodes.iter().zip(0u32..);
        let mut nodes: Vec<(i64, u32)> = places.map(|(node, at)| (*node, at)).collect();
        let mut trees = Vec::new();
        let mut start = 0;
        for nodes in listed.trees.chunk_by(|one, other| one == other) {
            trees.push((nodes[0], start..start + nodes.len()));
            start += nodes.len();
        }
        for (tree, range) in &trees {
            let nodes = &mut nodes[range.clone()];
            nodes.sort_unstable();
            if let Some(twice) = nodes.windows(2).find(|pair| pair[0].0 == pair[1].0) {
                return Err(format!("node {} of tree {tree} is there twice", twice[0].0));
            }
        }
        trees.sort_unstable_by_key(|(tree, _)| *tree);
        if let Some(apart) = trees.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return Err(format!("the nodes of tree {} lie apart", apart[0].0));
        }
        Ok(Index { nodes, trees })
    }

    fn place(&self, tree: i64, node: i64) -> Option<usize> {
        let found = self.trees.binary_search_by_key(&tree, |(tree, _)| *tree).ok()?;
        let nodes = &self.nodes[self.trees[found].1.clone()];
        let found = nodes.binary_search_by_key(&node, |(node, _)| *node).ok()?;
        Some(nodes[found].1 as usize)
    }

    /// The places of the roots, in the file's order: scores are added in it.
    fn roots(&self) -> Vec<u32> {
        let mut roots: Vec<u32> = self.trees.iter().map(|(_, range)| range.start as u32).collect();
        roots.sort_unstable();
        roots
    }
}

/// The children of each node, no and yes, of trees that are known to have no cycle.
struct Ordered {
    children: Vec<[u32; 2]>,
}

impl Ordered {
    fn new(listed: &Listed<'_>, index: &Index) -> Result<Ordered, String> {
        let mut children = vec![[0; 2]; listed.len()];
        let mut parents = vec![0u32; listed.len()];
        for (at, children) in children.iter_mut().enumerate() {
            if listed.modes[at].is_none() {
                continue;
            }
            for (child, node) in [listed.no[at], listed.yes[at]].into_iter().enumerate() {
                let place = index.place(listed.trees[at], node).ok_or_else(|| {
                    format!("{} leads to node {node}, which is not there", listed.told(at))
                })?;
                children[child] = place as u32;
                parents[place] += 1;
            }
        }
        // A node is passed once all nodes that lead to it were: those of a cycle never are, nor is a
        // node to which the root does not lead. Several may lead to one, as in tests of membership.
        for (tree, range) in &index.trees {
            let root = range.start;
            let mut next = vec![root as u32];
            let mut passed = 0;
            while let Some(at) = next.pop().filter(|_| parents[root] == 0) {
                passed += 1;
                if listed.modes[at as usize].is_none() {
                    continue;
                }
                for child in children[at as usize] {
                    parents[child as usize] -= 1;
                    if parents[child as usize] == 0 {
                        next.push(child);
                    }
                }
            }
            if passed != range.len() {
                return Err(format!(
                    "tree {tree} goes round in a circle, or has nodes that its first does not lead to"
                ));
            }
        }
        Ok(Ordered { children })
    }
}

/// The weights of all leaves, and where those of each node begin; one number more says where the last
/// ends.
fn weights<T: Real>(
    node: &Node<'_>,
    purpose: Purpose,
    targets: usize,
    listed: &Listed<'_>,
    index: &Index,
) -> Result<(Vec<u32>, Vec<Weight<T>>), String> {
    let (trees, nodes) = (node.ints(purpose.trees)?, node.ints(purpose.nodes)?);
    let ids = node.ints(purpose.targets)?;
    let values: Vec<T> = reals(node, purpose.weights, purpose.weights_tensor)?;
    if [trees.len(), nodes.len(), values.len()] != [ids.len(); 3] || ids.len() > NODES_MAX {
        let (targets, weights) = (purpose.targets, purpose.weights);
        return Err(format!("its {targets} and {weights} are not of one length"));
    }
    let mut places = Vec::with_capacity(ids.len());
    let mut starts = vec![0u32; index.nodes.len() + 1];
    for (tree, node) in trees.iter().zip(nodes) {
        let place = index.place(*tree, *node);
        let place = place.ok_or_else(|| {
            format!("a weight belongs to node {node} of tree {tree}, which is not there")
        })?;
        starts[place + 1] += 1;
        places.push(place);
    }
    for at in 1..starts.len() {
        starts[at] += starts[at - 1];
    }
    let mut free = starts.clone();
    let mut weights = vec![Weight { target: 0, value: T::from(0.0) }; ids.len()];
    for ((place, id), value) in places.iter().zip(ids).zip(values) {
        let target = usize::try_from(*id).ok().filter(|id| *id < targets);
        let target = target.ok_or_else(|| format!("a weight is for number {id} of {targets}"))?;
        weights[free[*place] as usize] = Weight { target: target as u32, value };
        free[*place] += 1;
    }
    once(starts, weights, targets, listed)
}

/// The same weights, each leaf with one for a target.
///
/// ONNX does not say what several are. skl2onnx writes the number of a leaf once for each class, all alike: it
/// counts once, as in onnxruntime.
fn once<T: Real>(
    starts: Vec<u32>,
    weights: Vec<Weight<T>>,
    targets: usize,
    listed: &Listed<'_>,
) -> Result<(Vec<u32>, Vec<Weight<T>>), String> {
    let leaf = |at: usize| &weights[starts[at] as usize..starts[at + 1] as usize];
    let mut sorted = Vec::new();
    let mut has_several = false;
    for at in 0..listed.len() {
        sorted.clear();
        sorted.extend(leaf(at).iter().map(|weight| weight.target));
        sorted.sort_unstable();
        let Some(several) = sorted.windows(2).find(|pair| pair[0] == pair[1]) else { continue };
        has_several = true;
        if targets > 1 || leaf(at).iter().any(|weight| weight.value != leaf(at)[0].value) {
            let (node, target) = (listed.told(at), several[0]);
            return Err(format!(
                "{node} has several weights for number {target}, of which ONNX does not say what holds: \
                 write one"
            ));
        }
    }
    if !has_several {
        return Ok((starts, weights));
    }
    let firsts = (0..listed.len()).map(|at| leaf(at).first().copied());
    let mut ones = Vec::new();
    let mut begins = vec![0];
    for first in firsts {
        ones.extend(first);
        begins.push(ones.len() as u32);
    }
    Ok((begins, ones))
}
