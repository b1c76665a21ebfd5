//! Kinds of numbers that tensors are made of, as whole numbers in the order of their values.

/// What a tensor is made of. Little-endian, as ONNX keeps raw data (onnx.proto, `TensorProto`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Element {
    /// IEEE 754 binary32.
    F32 = 0,
    /// IEEE 754 binary16.
    F16 = 1,
    /// The upper half of a binary32.
    Bf16 = 2,
    /// IEEE 754 binary64.
    F64 = 3,
    /// Whole numbers of 8 bits, with or without sign.
    I8 = 4,
    /// Whole numbers of 16 bits.
    I16 = 5,
    /// Whole numbers of 32 bits.
    I32 = 6,
    /// Whole numbers of 64 bits.
    I64 = 7,
}

impl Element {
    /// All of them, by their number in a recipe.
    pub(crate) const ALL: [Element; 8] = {
        use Element::*;
        [F32, F16, Bf16, F64, I8, I16, I32, I64]
    };

    /// Bits of one.
    pub(crate) fn bits(self) -> u32 {
        match self {
            Element::I8 => 8,
            Element::F16 | Element::Bf16 | Element::I16 => 16,
            Element::F32 | Element::I32 => 32,
            Element::F64 | Element::I64 => 64,
        }
    }

    /// Bytes of one.
    pub(crate) fn bytes(self) -> usize {
        self.bits() as usize / 8
    }

    /// Ones in all its bits.
    pub(crate) fn mask(self) -> u64 {
        u64::MAX >> (64 - self.bits())
    }

    /// The element that these bytes are, as bits.
    pub(crate) fn read(self, bytes: &[u8]) -> u64 {
        let mut all = [0; 8];
        all[..bytes.len()].copy_from_slice(bytes);
        u64::from_le_bytes(all)
    }

    /// Writes the bits of an element.
    pub(crate) fn write(self, bits: u64, bytes: &mut [u8]) {
        bytes.copy_from_slice(&bits.to_le_bytes()[..self.bytes()]);
    }

    /// Bits of the exponent, and of the mantissa below it; none for whole numbers.
    pub(crate) fn float(self) -> Option<(u32, u32)> {
        match self {
            Element::F32 => Some((8, 23)),
            Element::F16 => Some((5, 10)),
            Element::Bf16 => Some((8, 7)),
            Element::F64 => Some((11, 52)),
            Element::I8 | Element::I16 | Element::I32 | Element::I64 => None,
        }
    }

    /// The exponent as it is stored; 0 for whole numbers.
    pub(crate) fn exponent(self, bits: u64) -> u32 {
        match self.float() {
            Some((exponent, mantissa)) => (bits >> mantissa) as u32 & ((1 << exponent) - 1),
            None => 0,
        }
    }

    /// One of at most 256 classes of elements whose changes are alike: by exponent, or by the upper
    /// four digits of a whole number.
    pub(crate) fn class(self, bits: u64) -> usize {
        match self.float() {
            Some((exponent, _)) => self.exponent(bits) as usize >> exponent.saturating_sub(8),
            None => (self.ordered(bits) >> (self.bits() - 4)) as usize,
        }
    }

    /// How many classes there are.
    pub(crate) fn classes(self) -> usize {
        self.float().map_or(16, |(exponent, _)| 1 << exponent.min(8))
    }

    /// The element as a whole number that rises with its value; as many bits.
    ///
    /// A float with sign and magnitude becomes a two's complement one, moved so that all are
    /// positive. It has an inverse for every pattern of bits, NaN among them.
    pub(crate) fn ordered(self, bits: u64) -> u64 {
        let sign = 1 << (self.bits() - 1);
        match self.float() {
            Some(_) if bits & sign != 0 => !bits & self.mask(),
            Some(_) => bits | sign,
            None => bits ^ sign,
        }
    }

    /// The inverse of [`Element::ordered`].
    pub(crate) fn of_ordered(self, ordered: u64) -> u64 {
        let sign = 1 << (self.bits() - 1);
        match self.float() {
            Some(_) if ordered & sign == 0 => !ordered & self.mask(),
            Some(_) | None => ordered ^ sign,
        }
    }

    /// Whether it lies in the lower half of the order.
    pub(crate) fn is_negative(self, bits: u64) -> bool {
        self.ordered(bits) >> (self.bits() - 1) == 0
    }

    /// `bits`, of as many bits as the element has, as a number with a sign.
    pub(crate) fn signed(self, bits: u64) -> i64 {
        let above = 64 - self.bits();
        (bits << above) as i64 >> above
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_order_is_that_of_the_values(a: f32, b: f32) {
            let ordered = |value: f32| Element::F32.ordered(u64::from(value.to_bits()));
            prop_assert_eq!(ordered(a).cmp(&ordered(b)), a.total_cmp(&b));
        }

        #[test]
        fn every_pattern_of_bits_comes_back(bits: u64) {
            for element in Element::ALL {
                let bits = bits & element.mask();
                prop_assert_eq!(element.of_ordered(element.ordered(bits)), bits);
                prop_assert!(element.class(bits) < element.classes());
            }
        }
    }
}
