//! Between which numbers the answers of each operator lie, given what it takes.

use super::range::Range;
use super::weights::{Sums, Weights};
use crate::engine::classical::constant;
use crate::engine::nodes::{LOGICAL, attribute, gives, input, int};
use crate::engine::operator::ML_DOMAIN;
use crate::tensor::Element;
use tract_onnx::pb::NodeProto;

/// Numbers that may go into one, where nothing says how many: more than a tensor may have.
const MANY: f64 = 1e9;
/// Operators that give elements of their first input, wherever they put them.
pub(super) const MOVING: [&str; 22] = [
    "Compress",
    "DepthToSpace",
    "Dropout",
    "Expand",
    "Flatten",
    "Gather",
    "GatherElements",
    "GatherND",
    "GlobalMaxPool",
    "Identity",
    "MaxPool",
    "ReduceMax",
    "ReduceMin",
    "Reshape",
    "ReverseSequence",
    "Slice",
    "SpaceToDepth",
    "Split",
    "Squeeze",
    "TopK",
    "Transpose",
    "Unsqueeze",
];

/// A node, what is known of what it takes, and of the constants of its model.
pub(super) struct Taken<'n, 'a> {
    pub(super) node: &'a NodeProto,
    pub(super) weights: &'n Weights<'a>,
    /// Of each of its inputs; nought where there is none.
    pub(super) ranges: &'n [Range],
    /// What is larger may be infinity.
    pub(super) ceiling: f64,
}

/// What each of a node's outputs may be; nothing if the operator is not known here.
pub(super) fn bounds(taken: &Taken<'_, '_>) -> Option<Vec<Range>> {
    let node = taken.node;
    if (&*node.domain, &*node.op_type) == (ML_DOMAIN, "ArrayFeatureExtractor") {
        return Some(vec![taken.range(0)]);
    }
    if !matches!(node.domain.as_str(), "" | "ai.onnx") {
        return None;
    }
    let first = taken.range(0);
    let count = Range::new(-MANY, MANY);
    let further = match node.op_type.as_str() {
        "Split" => vec![first; node.output.len()],
        "Dropout" => vec![first, Range::PART],
        "LSTM" | "GRU" | "RNN" => taken.recurrent()?,
        "LayerNormalization" => {
            let normal = taken.normalised()?;
            let epsilon = attribute(node, "epsilon").map_or(1e-5, |it| f64::from(it.f));
            vec![normal, first, Range::new(0.0, 1.0 / epsilon.sqrt())]
        }
        "BatchNormalization" if node.output.len() > 1 => return None,
        "DynamicQuantizeLinear" => {
            let scale = Range::new(0.0, first.size());
            vec![Range::within(255.0).or_nan(!first.is_finite()), scale, Range::within(255.0)]
        }
        name if MOVING.contains(&name) => vec![first, count],
        _ => vec![single(taken)?],
    };
    let given = (0..node.output.len()).map(|place| {
        let range = further.get(place).copied().unwrap_or(Range::ANY);
        // Of what is not given nothing can be lost.
        if gives(node, place) { range.rounded(taken.ceiling) } else { Range::within(0.0) }
    });
    Some(given.collect())
}

/// What an operator with one output gives.
fn single(taken: &Taken<'_, '_>) -> Option<Range> {
    let (first, second) = (taken.range(0), taken.range(1));
    let all = || taken.ranges.iter().copied();
    Some(match taken.node.op_type.as_str() {
        name if LOGICAL.contains(&name) => Range::PART,
        "ArgMax" | "ArgMin" | "NonZero" | "Shape" | "Size" => Range::new(0.0, MANY),
        "MatMulInteger" | "ConvInteger" => Range::within(4e9),
        "QuantizeLinear" => Range::within(65535.0),
        "DequantizeLinear" => {
            // Whole numbers of at most 32 bits, less one of them.
            let whole = first.cut(4e9).add(taken.range(2).cut(4e9).negated());
            whole.mul(second)
        }
        "Constant" => Range::ANY,
        "ConstantOfShape" => match attribute(taken.node, "value").and_then(|it| it.t.as_ref()) {
            Some(value) => match constant(value).ok().and_then(|value| value.data().number(0)) {
                Some(value) => Range::new(value, value).or_nan(value.is_nan()),
                None => Range::ANY,
            },
            None => Range::within(0.0),
        },
        // From the first to the second.
        "Range" => {
            let is_finite = all().all(Range::is_finite);
            Range::within(first.size().max(second.size())).or_nan(!is_finite)
        }
        "Cast" if int(taken.node, "to") == Some(i64::from(Element::Bool.onnx())) => Range::PART,
        "Cast" | "CastLike" | "Ceil" | "Floor" | "Round" => {
            Range { low: first.low.floor(), high: first.high.ceil(), ..first }
        }
        "Trilu" | "EyeLike" | "AveragePool" if first.is_finite() => {
            first.join(Range::within(0.0)).or_nan(taken.averages_overflow(first))
        }
        "GlobalAveragePool" | "ReduceMean" => first.or_nan(taken.averages_overflow(first)),
        "Upsample" | "Resize" => {
            let extrapolated = attribute(taken.node, "extrapolation_value").map_or(0.0, |it| it.f);
            // Cubic interpolation goes beyond what lies around it.
            let size = 4.0 * first.size() + f64::from(extrapolated).abs();
            Range::within(size).or_nan(!first.is_finite())
        }
        "Pad" => {
            let value = attribute(taken.node, "value").map_or(0.0, |it| f64::from(it.f));
            first.join(taken.range(2)).join(Range::new(value, value))
        }
        "Concat" => all().reduce(Range::join)?,
        "Where" => second.join(taken.range(2)),
        "OneHot" => taken.range(2),
        "Max" => all().reduce(|one, two| Range {
            low: one.low.max(two.low),
            high: one.high.max(two.high),
            nan: one.nan || two.nan,
        })?,
        "Min" => all().reduce(|one, two| Range {
            low: one.low.min(two.low),
            high: one.high.min(two.high),
            nan: one.nan || two.nan,
        })?,
        "Relu" => first.map(|it| it.max(0.0)),
        "Clip" => taken.clipped(first),
        "Sigmoid" | "HardSigmoid" => Range::PART.or_nan(first.nan),
        "Softmax" | "Hardmax" => Range::PART.or_nan(!first.is_finite()),
        "Tanh" | "Erf" => Range::within(1.0).or_nan(first.nan),
        "Softsign" | "Sin" | "Cos" => Range::within(1.0).or_nan(!first.is_finite()),
        "Sign" => Range::within(1.0).or_nan(first.nan),
        "Atan" => Range::within(2.0).or_nan(first.nan),
        // What lies more than 1e3 below the largest is nought in 32 bits, and its logarithm infinity.
        "LogSoftmax" => Range::new(2.0 * first.low - 2.0 * first.high.abs() - 100.0, 0.0)
            .or_nan(!first.is_finite()),
        "HardSwish" | "Swish" | "Gelu" | "Mish" | "Softplus" | "Elu" | "Selu" | "Celu"
        | "LeakyRelu" | "ThresholdedRelu" | "Shrink" => {
            let share = ["alpha", "beta", "gamma", "lambd", "bias"]
                .map(|name| attribute(taken.node, name).map_or(0.0, |it| f64::from(it.f).abs()));
            let share = share.iter().fold(2.0, |share, more| share * (1.0 + more));
            first.about(share, share)
        }
        "PRelu" => first.join(first.mul(second)),
        "Abs" => Range::new(0.0, first.size()).or_nan(first.nan),
        "Neg" => first.negated(),
        "Reciprocal" => Range::new(1.0, 1.0).div(first),
        "Sqrt" => first.map(|it| it.max(0.0).sqrt()).or_nan(first.low < 0.0),
        "Exp" => first.map(f64::exp),
        "Log" => first.map(|it| it.max(0.0).ln()).or_nan(first.low < 0.0),
        "Add" => first.add(second),
        "Sub" => first.add(second.negated()),
        "Mul" if input(taken.node, 0) == input(taken.node, 1) => first.square(),
        "Mul" => first.mul(second),
        "Div" => first.div(second),
        "Sum" => all().reduce(Range::add)?,
        "Pow" => taken.power(first, second)?,
        "MatMul" => taken.product(Sums::Columns),
        "Gemm" => {
            let factor = |name| attribute(taken.node, name).map_or(1.0, |it| f64::from(it.f));
            let is_turned = int(taken.node, "transB") == Some(1);
            let sums = if is_turned { Sums::Rows } else { Sums::Columns };
            let product = taken.product(sums);
            let (alpha, beta) = (factor("alpha"), factor("beta"));
            let scaled = product.mul(Range::new(alpha, alpha));
            scaled.add(taken.range(2).mul(Range::new(beta, beta)))
        }
        "Conv" => taken.product(Sums::Rows).add(taken.range(2)),
        "ConvTranspose" => taken.product(Sums::All).add(taken.range(2)),
        "BatchNormalization" => {
            let epsilon = attribute(taken.node, "epsilon").map_or(1e-5, |it| f64::from(it.f));
            let [scale, bias, mean, variance] = [1, 2, 3, 4].map(|place| taken.range(place));
            let variance = variance.add(Range::new(epsilon, epsilon)).rounded(taken.ceiling);
            if variance.low <= 0.0 {
                return Some(Range::ANY);
            }
            let spread = variance.map(f64::sqrt);
            first.add(mean.negated()).mul(scale.div(spread)).add(bias)
        }
        "InstanceNormalization" => taken.normalised()?,
        "ReduceSum" | "CumSum" => Range::within(MANY * first.size()).or_nan(!first.is_finite()),
        "ReduceL1" => Range::new(0.0, MANY * first.size()).or_nan(first.nan),
        "ReduceSumSquare" => Range::new(0.0, MANY * first.size().powi(2)).or_nan(first.nan),
        "ReduceL2" => {
            let squares = Range::new(0.0, MANY * first.size().powi(2)).rounded(taken.ceiling);
            squares.map(f64::sqrt).or_nan(first.nan)
        }
        _ => return None,
    })
}

impl Taken<'_, '_> {
    /// Of the input at this place; nought where there is none.
    pub(super) fn range(&self, place: usize) -> Range {
        self.ranges.get(place).copied().unwrap_or(Range::within(0.0))
    }

    /// Whether the sum of which a mean is made may be more than the engine's numbers hold.
    fn averages_overflow(&self, range: Range) -> bool {
        range.size() * MANY > self.ceiling
    }

    /// Products of the first input with the second, added up.
    fn product(&self, sums: Sums) -> Range {
        let [data, weights] = [0, 1].map(|place| self.range(place));
        let sum = |place, sums| input(self.node, place).and_then(|it| self.weights.sum(it, sums));
        let size = match (sum(1, sums), sum(0, Sums::All)) {
            (Some(sum), _) => sum * data.size(),
            (None, Some(sum)) => sum * weights.size(),
            (None, None) => MANY * data.size() * weights.size(),
        };
        // Of infinity and nought, and of infinity and its opposite, no number comes; nor of sums that are too
        // large on the way.
        let is_certain = data.is_finite() && weights.is_finite() && size <= self.ceiling;
        let size = if size.is_nan() { f64::INFINITY } else { size };
        Range::within(size).or_nan(!is_certain)
    }

    fn clipped(&self, first: Range) -> Range {
        let limit = |place, name, none: f64| {
            let given = input(self.node, place).map(|_| self.range(place));
            let listed = attribute(self.node, name).map(|it| f64::from(it.f));
            let listed = listed.map(|it| Range::new(it, it));
            given.or(listed).unwrap_or(Range::new(none, none))
        };
        let low = limit(1, "min", f64::NEG_INFINITY);
        let high = limit(2, "max", f64::INFINITY);
        let nan = first.nan || low.nan || high.nan;
        Range {
            low: first.low.max(low.low).min(high.low),
            high: first.high.max(low.high).min(high.high),
            nan,
        }
    }

    fn power(&self, first: Range, second: Range) -> Option<Range> {
        if second.low != second.high || second.nan {
            return None;
        }
        let power = second.low;
        Some(match power {
            2.0 => first.square(),
            0.5 => first.map(|it| it.max(0.0).sqrt()).or_nan(first.low < 0.0),
            power if power > 0.0 && first.low >= 0.0 => first.map(|it| it.powf(power)),
            power if power > 0.0 && power.fract() == 0.0 => {
                Range::within(first.size().powf(power)).or_nan(first.nan)
            }
            power if power < 0.0 && first.low > 0.0 && !first.holds_nought() => {
                Range { low: first.high.powf(power), high: first.low.powf(power), nan: first.nan }
            }
            _ => return None,
        })
    }

    /// Numbers less their mean, by their spread, scaled and moved by the second and third input.
    fn normalised(&self) -> Option<Range> {
        let first = self.range(0);
        let epsilon = attribute(self.node, "epsilon").map_or(1e-5, |it| f64::from(it.f));
        if epsilon < 1e-30 {
            return None;
        }
        let is_certain = first.is_finite() && 4.0 * MANY * first.size().powi(2) < self.ceiling;
        // None of so many can be further from the mean than by the root of their number.
        let normal = Range::within(MANY.sqrt()).or_nan(!is_certain);
        Some(normal.mul(self.range(1)).add(self.range(2)))
    }

    /// What a recurrent operator with the functions that it has by default gives.
    fn recurrent(&self) -> Option<Vec<Range>> {
        if attribute(self.node, "activations").is_some() {
            return None;
        }
        let sum = |place| {
            let known = input(self.node, place).and_then(|it| self.weights.sum(it, Sums::All));
            known.unwrap_or(MANY * self.range(place).size())
        };
        let [hidden, cell] = [self.range(5), self.range(6)];
        let state = hidden.size().max(1.0);
        let cells = cell.size() + MANY;
        let gates = self.range(0).size() * sum(1)
            + state * sum(2)
            + 2.0 * self.range(3).size()
            + cells * self.range(7).size();
        let is_certain = gates.is_finite() && gates <= self.ceiling && cells <= self.ceiling;
        let nan = !is_certain || self.ranges.iter().any(|range| range.nan);
        let steps = Range::within(state).or_nan(nan);
        Some(vec![steps, steps, Range::within(cells).or_nan(nan)])
    }
}
