//! Tree ensembles as operators: what the leaves of a row's trees come to together.

use super::ensemble::{ATTRIBUTES, CLASSES, Purpose, TARGETS, is_double, read, reals};
use super::label::Labels;
use super::node::{Made, Node, Operation};
use super::real::Real;
use super::score::Transform;
use super::walk::Trees;
use crate::tensor::{Data, Element};

/// `TreeEnsembleClassifier`.
pub(super) fn classifier(node: &Node<'_>) -> Result<Made, String> {
    knows(node, CLASSES, &["classlabels_int64s", "classlabels_strings"])?;
    match is_double(node.input(0)?.element) {
        true => classifier_of::<f64>(node),
        false => classifier_of::<f32>(node),
    }
}

/// `TreeEnsembleRegressor`.
pub(super) fn regressor(node: &Node<'_>) -> Result<Made, String> {
    knows(node, TARGETS, &["n_targets", "aggregate_function"])?;
    match is_double(node.input(0)?.element) {
        true => regressor_of::<f64>(node),
        false => regressor_of::<f32>(node),
    }
}

fn knows(node: &Node<'_>, purpose: Purpose, own: &[&str]) -> Result<(), String> {
    node.knows(&[&ATTRIBUTES[..], &purpose.attributes(), own].concat())
}

fn base_values<T: Real>(node: &Node<'_>) -> Result<Vec<T>, String> {
    reals(node, "base_values", "base_values_as_tensor")
}

/// How a row's class is chosen from its scores.
#[derive(Debug, Clone, Copy)]
enum Verdict {
    /// The largest score, the first of them; a class that no leaf spoke for has none.
    Largest,
    /// Of two classes, whether the one score is above the threshold. Leaves speak for class `of` only.
    Above { threshold: f32, of: usize },
}

struct Classifier<T> {
    trees: Trees<T>,
    columns: usize,
    labels: Labels,
    base: Vec<T>,
    verdict: Verdict,
    transform: Transform,
}

fn classifier_of<T: Real>(node: &Node<'_>) -> Result<Made, String> {
    let input = node.input(0)?;
    input.numeric()?;
    let (rows, columns) = input.table()?;
    let labels = Labels::read(node, "classlabels_int64s", rows)?;
    let classes = labels.len();
    let trees = read::<T>(node, CLASSES, columns, classes)?;
    let base = base_values::<T>(node)?;
    let transform = Transform::read(node)?;

    let first = trees.weights().first().map_or(0, |weight| weight.target);
    let is_one = trees.weights().iter().all(|weight| weight.target == first);
    let verdict = match classes == 2 && is_one && !trees.weights().is_empty() {
        // As onnxruntime does: the weights are probabilities where none is below nought.
        true => {
            let is_mixed = trees.weights().iter().any(|weight| weight.value < T::from(0.0));
            let threshold = if is_mixed { 0.0 } else { 0.5 };
            Verdict::Above { threshold, of: first as usize }
        }
        false => Verdict::Largest,
    };
    let bases = match verdict {
        Verdict::Above { of: 0, .. } => 1,
        Verdict::Above { .. } => 0,
        Verdict::Largest => classes,
    };
    if !base.is_empty() && base.len() != bases {
        return Err(format!("it has {} base_values, {bases} would have a meaning", base.len()));
    }
    if transform == Transform::Probit && matches!(verdict, Verdict::Above { .. }) {
        return Err("its post_transform PROBIT has no meaning for a single score".to_owned());
    }
    let outputs = vec![(labels.element(), vec![rows]), (Element::F32, vec![rows, classes])];
    let classifier = Classifier { trees, columns, labels, base, verdict, transform };
    Ok(Made::Computed(outputs, Box::new(classifier)))
}

impl<T: Real> Operation for Classifier<T> {
    fn run(&self, inputs: &[&Data]) -> Result<Vec<Data>, String> {
        let numbers = T::numbers(inputs[0]).ok_or("it takes numbers, text came")?;
        let classes = self.labels.len();
        let rows = numbers.len() / self.columns;
        let mut chosen = Vec::with_capacity(rows);
        let mut written = vec![0.0; rows * classes];
        let mut scores: Vec<Option<T>> = vec![None; classes];
        for (row, written) in
            numbers.chunks_exact(self.columns).zip(written.chunks_exact_mut(classes))
        {
            scores.fill(None);
            self.trees.walk(row, |weights| add(&mut scores, weights));
            for (score, base) in scores.iter_mut().zip(&self.base) {
                *score = Some(score.map_or(*base, |score| score + *base));
            }
            chosen.push(self.judge(&scores, written));
        }
        Ok(vec![self.labels.of(&chosen), Data::F32(written)])
    }
}

impl<T: Real> Classifier<T> {
    /// Chooses the class of a row, and writes what its scores become.
    fn judge(&self, scores: &[Option<T>], written: &mut [f32]) -> usize {
        for (score, written) in scores.iter().zip(written.iter_mut()) {
            *written = score.map_or(0.0, T::to_f32);
        }
        let Verdict::Above { threshold, of } = self.verdict else {
            self.transform.apply(written);
            return largest(scores);
        };
        let score = scores[of].unwrap_or(T::from(0.0));
        if of == 0 {
            // The score is that of the second class, and the first has what is left.
            let score = score.to_f32();
            written[0] = if threshold > 0.0 { 1.0 - score } else { -score };
            written[1] = score;
            if self.transform == Transform::Logistic {
                written[0] = -score;
                self.transform.apply(written);
            }
        } else {
            self.transform.apply(written);
        }
        usize::from(score > T::from(threshold))
    }
}

fn add<T: Real>(scores: &mut [Option<T>], weights: &[super::walk::Weight<T>]) {
    for weight in weights {
        let score = &mut scores[weight.target as usize];
        *score = Some(score.map_or(weight.value, |score| score + weight.value));
    }
}

fn largest<T: Real>(scores: &[Option<T>]) -> usize {
    let mut largest: Option<(usize, T)> = None;
    for (class, score) in scores.iter().enumerate() {
        if let Some(score) = *score
            && largest.is_none_or(|(_, before)| score > before)
        {
            largest = Some((class, score));
        }
    }
    largest.map_or(0, |(class, _)| class)
}

/// What the weights of several trees come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Aggregate {
    Sum,
    Average,
    Min,
    Max,
}

struct Regressor<T> {
    trees: Trees<T>,
    columns: usize,
    targets: usize,
    base: Vec<T>,
    aggregate: Aggregate,
    transform: Transform,
}

fn regressor_of<T: Real>(node: &Node<'_>) -> Result<Made, String> {
    let input = node.input(0)?;
    input.numeric()?;
    let (rows, columns) = input.table()?;
    let targets = usize::try_from(node.int("n_targets")?.unwrap_or(1)).ok();
    // Outputs are bounded by whoever asked; this keeps the scores of one row so.
    let targets = targets.filter(|targets| (1..=crate::tensor::ELEMENTS_MAX).contains(targets));
    let targets = targets.ok_or("its n_targets is no number of targets")?;
    let trees = read::<T>(node, TARGETS, columns, targets)?;
    let base = base_values::<T>(node)?;
    if !base.is_empty() && base.len() != targets {
        return Err(format!("it has {} base_values for {targets} targets", base.len()));
    }
    let aggregate = node.word(
        "aggregate_function",
        &[
            ("SUM", Aggregate::Sum),
            ("AVERAGE", Aggregate::Average),
            ("MIN", Aggregate::Min),
            ("MAX", Aggregate::Max),
        ],
    )?;
    let transform = single(Transform::read(node)?, targets)?;
    let regressor = Regressor { trees, columns, targets, base, aggregate, transform };
    Ok(Made::one(Element::F32, vec![rows, targets], regressor))
}

/// The transform, if it has a meaning for so many scores of a row. onnxruntime leaves a single one as it
/// is, whatever was asked for but PROBIT; what was meant is not known.
pub(super) fn single(transform: Transform, scores: usize) -> Result<Transform, String> {
    match (transform, scores) {
        (Transform::None | Transform::Probit, _) | (_, 2..) => Ok(transform),
        _ => Err(format!(
            "its post_transform {transform:?} of a single score is not applied by \
             others: use NONE and an operator of its own"
        )),
    }
}

impl<T: Real> Operation for Regressor<T> {
    fn run(&self, inputs: &[&Data]) -> Result<Vec<Data>, String> {
        let numbers = T::numbers(inputs[0]).ok_or("it takes numbers, text came")?;
        let rows = numbers.len() / self.columns;
        let mut written = vec![0.0; rows * self.targets];
        let mut scores: Vec<Option<T>> = vec![None; self.targets];
        let trees = T::from_f64(self.trees.len() as f64);
        for (row, written) in
            numbers.chunks_exact(self.columns).zip(written.chunks_exact_mut(self.targets))
        {
            scores.fill(None);
            let scores = scores.as_mut_slice();
            match self.aggregate {
                Aggregate::Sum | Aggregate::Average => {
                    self.trees.walk(row, |weights| add(scores, weights));
                }
                Aggregate::Min => {
                    self.trees.walk(row, |weights| keep(scores, weights, |a, b| a < b))
                }
                Aggregate::Max => {
                    self.trees.walk(row, |weights| keep(scores, weights, |a, b| a > b))
                }
            }
            for (target, (score, written)) in scores.iter().zip(written.iter_mut()).enumerate() {
                let mut score = score.unwrap_or(T::from(0.0));
                if self.aggregate == Aggregate::Average {
                    score = score / trees;
                }
                if let Some(base) = self.base.get(target) {
                    score = score + *base;
                }
                *written = score.to_f32();
            }
            self.transform.apply(written);
        }
        Ok(vec![Data::F32(written)])
    }
}

/// Keeps those weights that come before what was there.
fn keep<T: Real>(
    scores: &mut [Option<T>],
    weights: &[super::walk::Weight<T>],
    before: impl Fn(T, T) -> bool,
) {
    for weight in weights {
        let score = &mut scores[weight.target as usize];
        if score.is_none_or(|score| before(weight.value, score)) {
            *score = Some(weight.value);
        }
    }
}
