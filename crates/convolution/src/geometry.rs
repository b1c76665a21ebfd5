//! Where the numbers of a convolution lie.

/// Where the numbers of a convolution lie: down (rows) and across (within a row). ONNX's `Conv` with two
/// spatial axes; with one, there is one row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Geometry {
    /// Sizes of a plane that goes in.
    pub input: [usize; 2],
    /// Sizes of a plane that comes out.
    pub output: [usize; 2],
    /// Taps of the kernel.
    pub kernel: [usize; 2],
    /// Places from one that comes out to the next, among those that go in.
    pub strides: [usize; 2],
    /// Places from one tap to the next.
    pub dilations: [usize; 2],
    /// Zeros before the first row, and before the first number of a row; behind, there are as many as are
    /// needed.
    pub before: [usize; 2],
}

/// How much may lie beside a plane in each direction, besides as much as the plane itself.
const BESIDE_MAX: usize = 64;

impl Geometry {
    /// Whether something comes out, and what lies beside a plane is not much more than the plane: files may
    /// claim anything.
    pub(crate) fn is_sound(&self) -> bool {
        (0..2).all(|way| {
            let most = self.input[way].saturating_add(BESIDE_MAX);
            let steps = |count: usize, step: usize| count.checked_sub(1)?.checked_mul(step);
            let reach = steps(self.kernel[way], self.dilations[way]);
            let last = steps(self.output[way], self.strides[way]);
            self.before[way] <= most
                && reach.is_some_and(|reach| reach <= most)
                && last.is_some_and(|last| last <= 2 * most)
        })
    }

    /// Sizes of a plane with all zeros that belong to it.
    pub(crate) fn padded(&self) -> [usize; 2] {
        [0, 1].map(|way| {
            let last = (self.output[way] - 1) * self.strides[way];
            let needed = last + (self.kernel[way] - 1) * self.dilations[way] + 1;
            needed.max(self.before[way] + self.input[way])
        })
    }
}
