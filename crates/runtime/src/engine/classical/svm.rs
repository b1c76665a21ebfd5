//! Support vector machines, as libsvm has them.

use super::label::Labels;
use super::linear::product;
use super::node::{Made, Node, Operation};
use super::real::floats;
use super::score::{Transform, logistic};
use crate::tensor::{Data, Element};

/// Classes that a machine may have: every pair of them has a score.
const CLASSES_MAX: usize = 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Linear,
    Poly,
    Rbf,
    Sigmoid,
}

/// Support vectors, and what a row has in common with each.
struct Kernel {
    kind: Kind,
    gamma: f32,
    constant: f32,
    degree: f32,
    vectors: Vec<f32>,
    columns: usize,
}

impl Kernel {
    /// That of a node with `count` support vectors.
    fn read(node: &Node<'_>, columns: usize, count: usize) -> Result<Kernel, String> {
        let kind = node.word(
            "kernel_type",
            &[
                ("LINEAR", Kind::Linear),
                ("POLY", Kind::Poly),
                ("RBF", Kind::Rbf),
                ("SIGMOID", Kind::Sigmoid),
            ],
        )?;
        let [gamma, constant, degree] = match *node.floats("kernel_params")? {
            [gamma, constant, degree] => [gamma, constant, degree],
            [] if kind == Kind::Linear => [0.0; 3],
            _ => return Err("its kernel_params are not three".to_owned()),
        };
        let vectors = node.floats("support_vectors")?;
        if count == 0 || Some(vectors.len()) != count.checked_mul(columns) {
            let there = vectors.len();
            return Err(format!(
                "{count} support vectors of {columns} columns have {there} numbers"
            ));
        }
        Ok(Kernel { kind, gamma, constant, degree, vectors: vectors.to_vec(), columns })
    }

    fn write(&self, row: &[f32], values: &mut Vec<f32>) {
        values.clear();
        values.extend(self.vectors.chunks_exact(self.columns).map(|vector| {
            let inner = || self.gamma * product(row, vector) as f32 + self.constant;
            match self.kind {
                Kind::Linear => product(row, vector) as f32,
                Kind::Poly => inner().powf(self.degree),
                Kind::Sigmoid => inner().tanh(),
                Kind::Rbf => {
                    let squares = row.iter().zip(vector).map(|(one, other)| {
                        let apart = f64::from(*one) - f64::from(*other);
                        apart * apart
                    });
                    (-self.gamma * squares.sum::<f64>() as f32).exp()
                }
            }
        }));
    }
}

struct Classifier {
    kernel: Kernel,
    /// Where the support vectors of each class begin, and last where they end.
    starts: Vec<usize>,
    /// A row for each class but one, a column for each support vector.
    coefficients: Vec<f32>,
    /// For each pair of classes.
    rho: Vec<f32>,
    /// For each pair of classes, how its score becomes a probability; empty where it does not.
    probabilities: Vec<(f32, f32)>,
    labels: Labels,
    transform: Transform,
    /// Scores that a row gets.
    width: usize,
}

/// `SVMClassifier` with support vectors. Without them it is a linear model in another form, for which
/// onnxruntime's answers with two classes are not those of the scores.
pub(super) fn classifier(node: &Node<'_>) -> Result<Made, String> {
    node.knows(&[
        "classlabels_ints",
        "classlabels_strings",
        "coefficients",
        "kernel_params",
        "kernel_type",
        "post_transform",
        "prob_a",
        "prob_b",
        "rho",
        "support_vectors",
        "vectors_per_class",
    ])?;
    let input = node.input(0)?;
    input.numeric()?;
    let (rows, columns) = input.table()?;
    let labels = Labels::read(node, "classlabels_ints", rows)?;
    let classes = labels.len();
    if classes > CLASSES_MAX {
        return Err(format!("it has more than {CLASSES_MAX} classes"));
    }
    let per_class = node.ints("vectors_per_class")?;
    if per_class.is_empty() {
        return Err("it has no vectors_per_class: export it as LinearClassifier".to_owned());
    }
    if per_class.len() != classes {
        return Err(format!("it has {} vectors_per_class, {classes} classes", per_class.len()));
    }
    let mut starts = vec![0usize];
    for count in per_class {
        let next =
            usize::try_from(*count).ok().and_then(|it| starts[starts.len() - 1].checked_add(it));
        starts.push(next.ok_or("its vectors_per_class are no numbers of vectors")?);
    }
    let count = starts[classes];
    let kernel = Kernel::read(node, columns, count)?;
    let pairs = classes * (classes - 1) / 2;
    let list = |name: &str, length: Option<usize>| {
        let list = node.floats(name)?;
        match Some(list.len()) == length {
            true => Ok(list),
            false => Err(format!("it has {} {name} for {classes} classes", list.len())),
        }
    };
    let coefficients = list("coefficients", (classes - 1).checked_mul(count))?.to_vec();
    let rho = list("rho", Some(pairs))?.to_vec();
    let probabilities = match node.floats("prob_a")? {
        [] if node.floats("prob_b")?.is_empty() => vec![],
        _ => {
            let pair = list("prob_a", Some(pairs))?.iter().zip(list("prob_b", Some(pairs))?);
            pair.map(|(a, b)| (*a, *b)).collect()
        }
    };
    let transform = Transform::read(node)?;
    if classes == 2 && probabilities.is_empty() && transform != Transform::None {
        return Err(format!("its post_transform {transform:?} has no meaning for a single score"));
    }
    let width = if probabilities.is_empty() { pairs.max(2) } else { classes };
    let outputs = vec![(labels.element(), vec![rows]), (Element::F32, vec![rows, width])];
    let classifier =
        Classifier { kernel, starts, coefficients, rho, probabilities, labels, transform, width };
    Ok(Made::Computed(outputs, Box::new(classifier)))
}

impl Operation for Classifier {
    fn run(&self, inputs: &[&Data]) -> Result<Vec<Data>, String> {
        let numbers = floats(inputs[0])?;
        let classes = self.labels.len();
        let (mut chosen, mut written) = (Vec::new(), Vec::new());
        let (mut common, mut scores, mut votes) = (Vec::new(), Vec::new(), vec![0; classes]);
        for row in numbers.chunks_exact(self.kernel.columns) {
            self.kernel.write(row, &mut common);
            self.judge(&common, &mut scores, &mut votes);
            // Whatever it is called then, it is no class.
            if scores.iter().any(|score: &f32| score.is_nan()) {
                return Err("a score is not finite".to_owned());
            }
            // The first of those with the most votes.
            chosen.push(
                (1..classes).fold(0, |best, it| if votes[it] > votes[best] { it } else { best }),
            );
            let first = written.len();
            if !self.probabilities.is_empty() {
                written.extend(coupled(&self.pairwise(&scores), classes));
            } else if let [score] = *scores.as_slice() {
                written.extend([-score, score]);
            } else {
                written.extend_from_slice(&scores);
            }
            self.transform.apply(&mut written[first..first + self.width]);
        }
        Ok(vec![self.labels.of(&chosen), Data::F32(written)])
    }
}

impl Classifier {
    /// The score of every pair of classes, and how many of its pairs each class wins.
    fn judge(&self, common: &[f32], scores: &mut Vec<f32>, votes: &mut [u32]) {
        scores.clear();
        votes.fill(0);
        let (classes, count) = (votes.len(), common.len());
        // The coefficients of the vectors of one class are in the row of the other; a class has no row
        // for itself, so that those of later ones move up by one.
        let part = |class: usize, row: usize| {
            let range = self.starts[class]..self.starts[class + 1];
            let coefficients = &self.coefficients[row * count..(row + 1) * count];
            product(&coefficients[range.clone()], &common[range])
        };
        for one in 0..classes - 1 {
            for other in one + 1..classes {
                let rho = f64::from(self.rho[scores.len()]);
                let score = part(one, other - 1) + part(other, one) + rho;
                scores.push(score as f32);
                votes[if score > 0.0 { one } else { other }] += 1;
            }
        }
    }

    /// The probability of the first class of every pair against the second.
    fn pairwise(&self, scores: &[f32]) -> Vec<f32> {
        let pairs = scores.iter().zip(&self.probabilities);
        let probability = |(score, (a, b)): (&f32, &(f32, f32))| {
            (1.0 - logistic(score * a + b)).clamp(1e-7, 1.0 - 1e-7)
        };
        pairs.map(probability).collect()
    }
}

/// The probabilities of the classes that agree best with those of all pairs (Wu, Lin and Weng 2004,
/// "Probability estimates for multi-class classification by pairwise coupling", algorithm 2, with the
/// bounds on steps and error that libsvm has).
fn coupled(pairwise: &[f32], classes: usize) -> Vec<f32> {
    let mut against = vec![0.0f32; classes * classes];
    let mut pairs = pairwise.iter();
    for one in 0..classes {
        for (other, probability) in (one + 1..classes).zip(&mut pairs) {
            against[one * classes + other] = *probability;
            against[other * classes + one] = 1.0 - probability;
        }
    }
    let at = |one: usize, other: usize| against[one * classes + other];
    let mut matrix = vec![0.0f32; classes * classes];
    for one in 0..classes {
        for other in (0..classes).filter(|other| *other != one) {
            matrix[one * classes + one] += at(other, one) * at(other, one);
            matrix[one * classes + other] = -at(other, one) * at(one, other);
        }
    }
    let mut found = vec![1.0 / classes as f32; classes];
    let mut products = vec![0.0f32; classes];
    for _ in 0..100 {
        for (product, row) in products.iter_mut().zip(matrix.chunks_exact(classes)) {
            *product = row.iter().zip(&found).map(|(one, other)| one * other).sum();
        }
        let mut total: f32 = found.iter().zip(&products).map(|(one, other)| one * other).sum();
        let apart = products.iter().map(|product| (product - total).abs());
        if apart.fold(0.0, f32::max) < 0.005 / classes as f32 {
            break;
        }
        for class in 0..classes {
            let own = matrix[class * classes + class];
            let step = (total - products[class]) / own;
            found[class] += step;
            let scale = 1.0 + step;
            total = (total + step * (step * own + 2.0 * products[class])) / scale / scale;
            for other in 0..classes {
                let shared = matrix[class * classes + other];
                products[other] = (products[other] + step * shared) / scale;
                found[other] /= scale;
            }
        }
    }
    found
}

struct Regressor {
    kernel: Kernel,
    coefficients: Vec<f32>,
    rho: f32,
    /// Whether it tells only on which side a row is.
    one_class: bool,
}

/// `SVMRegressor` with support vectors.
pub(super) fn regressor(node: &Node<'_>) -> Result<Made, String> {
    node.knows(&[
        "coefficients",
        "kernel_params",
        "kernel_type",
        "n_supports",
        "one_class",
        "post_transform",
        "rho",
        "support_vectors",
    ])?;
    let input = node.input(0)?;
    input.numeric()?;
    let (rows, columns) = input.table()?;
    let count = usize::try_from(node.int("n_supports")?.unwrap_or(0));
    let count = count.ok().filter(|count| *count > 0);
    let count = count.ok_or("it has no support vectors: export it as LinearRegressor")?;
    let kernel = Kernel::read(node, columns, count)?;
    let coefficients = node.floats("coefficients")?.to_vec();
    if coefficients.len() != count {
        return Err(format!("it has {} coefficients for {count} vectors", coefficients.len()));
    }
    let [rho] = *node.floats("rho")? else { return Err("its rho is not one number".to_owned()) };
    if Transform::read(node)? != Transform::None {
        return Err("its post_transform is not applied by others: use NONE".to_owned());
    }
    let one_class = node.int("one_class")?.unwrap_or(0) != 0;
    let regressor = Regressor { kernel, coefficients, rho, one_class };
    Ok(Made::one(Element::F32, vec![rows, 1], regressor))
}

impl Operation for Regressor {
    fn run(&self, inputs: &[&Data]) -> Result<Vec<Data>, String> {
        let numbers = floats(inputs[0])?;
        let (mut written, mut common) = (Vec::new(), Vec::new());
        for row in numbers.chunks_exact(self.kernel.columns) {
            self.kernel.write(row, &mut common);
            let score = (product(&self.coefficients, &common) + f64::from(self.rho)) as f32;
            written.push(match self.one_class {
                true if score > 0.0 => 1.0,
                true => -1.0,
                false => score,
            });
        }
        Ok(vec![Data::F32(written)])
    }
}
