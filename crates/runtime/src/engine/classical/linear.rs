//! Linear models.

use super::forest::single;
use super::label::Labels;
use super::node::{Made, Node, Operation};
use super::real::floats;
use super::score::Transform;
use crate::tensor::{Data, Element};

/// Several sums of products of the columns.
pub(super) struct Planes {
    coefficients: Vec<f32>,
    intercepts: Vec<f32>,
    columns: usize,
}

impl Planes {
    /// Those of a node for rows of `columns` numbers; `count` of them, or as many as there are.
    fn read(node: &Node<'_>, columns: usize, count: Option<usize>) -> Result<Planes, String> {
        let coefficients = node.floats("coefficients")?;
        let count = count.unwrap_or(coefficients.len() / columns);
        if count == 0 || Some(coefficients.len()) != count.checked_mul(columns) {
            let there = coefficients.len();
            return Err(format!("it has {there} coefficients for {columns} columns"));
        }
        let intercepts = match node.floats("intercepts")? {
            [] => vec![0.0; count],
            intercepts if intercepts.len() == count => intercepts.to_vec(),
            other => return Err(format!("it has {} intercepts for {count} scores", other.len())),
        };
        Ok(Planes { coefficients: coefficients.to_vec(), intercepts, columns })
    }

    fn count(&self) -> usize {
        self.intercepts.len()
    }

    /// The scores of every row.
    fn scores(&self, numbers: &[f32]) -> Vec<f32> {
        let mut scores = Vec::with_capacity(numbers.len() / self.columns * self.count());
        for row in numbers.chunks_exact(self.columns) {
            for (plane, intercept) in
                self.coefficients.chunks_exact(self.columns).zip(&self.intercepts)
            {
                scores.push((product(row, plane) + f64::from(*intercept)) as f32);
            }
        }
        scores
    }
}

/// The sum of the products of two rows, in 64 bits: where large terms cancel each other, the order of a
/// sum in 32 would be seen in the answer.
pub(super) fn product(one: &[f32], other: &[f32]) -> f64 {
    let terms = one.iter().zip(other).map(|(one, other)| f64::from(*one) * f64::from(*other));
    terms.sum()
}

struct Classifier {
    planes: Planes,
    labels: Labels,
    transform: Transform,
}

/// `LinearClassifier`.
pub(super) fn classifier(node: &Node<'_>) -> Result<Made, String> {
    node.knows(&[
        "classlabels_ints",
        "classlabels_strings",
        "coefficients",
        "intercepts",
        // Whether classes were told from each other in pairs or from all the others: the answer is no
        // other for it.
        "multi_class",
        "post_transform",
    ])?;
    let input = node.input(0)?;
    input.numeric()?;
    let (rows, columns) = input.table()?;
    let labels = Labels::read(node, "classlabels_ints", rows)?;
    let planes = Planes::read(node, columns, None)?;
    let transform = Transform::read(node)?;
    match (planes.count(), labels.len()) {
        (1, 2) if transform == Transform::Probit => {
            return Err("its post_transform PROBIT has no meaning for a single score".to_owned());
        }
        (1, 2) => {}
        (count, labels) if count == labels => {}
        (count, labels) => return Err(format!("it has {count} scores for {labels} classes")),
    }
    let outputs = vec![(labels.element(), vec![rows]), (Element::F32, vec![rows, labels.len()])];
    Ok(Made::Computed(outputs, Box::new(Classifier { planes, labels, transform })))
}

impl Operation for Classifier {
    fn run(&self, inputs: &[&Data]) -> Result<Vec<Data>, String> {
        let scores = self.planes.scores(&floats(inputs[0])?);
        // Whatever it is called then, it is no class.
        if scores.iter().any(|score| score.is_nan()) {
            return Err("a score is not finite".to_owned());
        }
        let classes = self.labels.len();
        let (chosen, written) = if self.planes.count() < classes {
            let chosen = scores.iter().map(|score| usize::from(*score > 0.0)).collect();
            (chosen, scores.iter().flat_map(|score| self.both(*score)).collect())
        } else {
            let chosen: Vec<usize> = scores.chunks_exact(classes).map(largest).collect();
            let mut written = scores;
            written.chunks_exact_mut(classes).for_each(|row| self.transform.apply(row));
            (chosen, written)
        };
        Ok(vec![self.labels.of(&chosen), Data::F32(written)])
    }
}

impl Classifier {
    /// The scores of both classes from that of the second.
    fn both(&self, score: f32) -> [f32; 2] {
        match self.transform {
            Transform::Logistic => {
                let mut both = [-score, score];
                self.transform.apply(&mut both);
                both
            }
            _ => [1.0 - score, score],
        }
    }
}

/// The place of the largest, the first of them.
pub(super) fn largest(scores: &[f32]) -> usize {
    let mut largest = 0;
    for (place, score) in scores.iter().enumerate() {
        if *score > scores[largest] {
            largest = place;
        }
    }
    largest
}

struct Regressor {
    planes: Planes,
    transform: Transform,
}

/// `LinearRegressor`.
pub(super) fn regressor(node: &Node<'_>) -> Result<Made, String> {
    node.knows(&["coefficients", "intercepts", "post_transform", "targets"])?;
    let input = node.input(0)?;
    input.numeric()?;
    let (rows, columns) = input.table()?;
    let targets = usize::try_from(node.int("targets")?.unwrap_or(1));
    let targets = targets.map_err(|_| "its targets is no number of targets")?;
    let planes = Planes::read(node, columns, Some(targets))?;
    let transform = single(Transform::read(node)?, targets)?;
    Ok(Made::one(Element::F32, vec![rows, targets], Regressor { planes, transform }))
}

impl Operation for Regressor {
    fn run(&self, inputs: &[&Data]) -> Result<Vec<Data>, String> {
        let mut scores = self.planes.scores(&floats(inputs[0])?);
        scores.chunks_exact_mut(self.planes.count()).for_each(|row| self.transform.apply(row));
        Ok(vec![Data::F32(scores)])
    }
}
