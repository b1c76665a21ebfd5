//! How rten treats what is no number (0.27).

use crate::engine::guard::{Habits, Passing};

/// What is no number comes out of these as such; out of others, it may come as the lesser or larger of two
/// numbers. Whole numbers of 64 bits are those of 32 there.
pub(super) const HABITS: Habits = Habits {
    engine: "rten",
    passing: Passing::Only(&[
        "Abs",
        "Add",
        "AveragePool",
        "BatchNormalization",
        "Concat",
        "Constant",
        "Conv",
        "DepthToSpace",
        "Div",
        "Expand",
        "Flatten",
        "Gather",
        "GatherElements",
        "GatherND",
        "Gemm",
        "GlobalAveragePool",
        "Identity",
        "IsInf",
        "IsNaN",
        "MatMul",
        "Mul",
        "Neg",
        "Pad",
        "ReduceMean",
        "ReduceSum",
        "Reshape",
        "Shape",
        "Slice",
        "Split",
        "Sqrt",
        "Squeeze",
        "Sub",
        "Sum",
        "Transpose",
        "Unsqueeze",
        "Where",
    ]),
    narrow: true,
    widens: true,
};
