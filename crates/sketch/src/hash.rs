//! XXH64, as its specification has it (Y. Collet, xxHash fast digest algorithm, version 0.2.0) with the
//! seed 0: the same number on every processor, in every version of the standard library.

const PRIMES: [u64; 5] = [
    0x9E37_79B1_85EB_CA87,
    0xC2B2_AE3D_27D4_EB4F,
    0x1656_67B1_9E37_79F9,
    0x85EB_CA77_C2B2_AE63,
    0x27D4_EB2F_1656_67C5,
];

/// The hash of some bytes.
pub(crate) fn hash(bytes: &[u8]) -> u64 {
    let (stripes, rest) = bytes.as_chunks::<32>();
    let mut mixed = PRIMES[4];
    if !stripes.is_empty() {
        let mut lanes = [PRIMES[0].wrapping_add(PRIMES[1]), PRIMES[1], 0, PRIMES[0].wrapping_neg()];
        for stripe in stripes {
            for (lane, word) in lanes.iter_mut().zip(stripe.as_chunks::<8>().0) {
                *lane = round(*lane, u64::from_le_bytes(*word));
            }
        }
        let [a, b, c, d] = lanes;
        mixed = a.rotate_left(1).wrapping_add(b.rotate_left(7));
        mixed = mixed.wrapping_add(c.rotate_left(12)).wrapping_add(d.rotate_left(18));
        for lane in lanes {
            mixed = (mixed ^ round(0, lane)).wrapping_mul(PRIMES[0]).wrapping_add(PRIMES[3]);
        }
    }
    mixed = mixed.wrapping_add(bytes.len() as u64);
    let (words, mut rest) = rest.as_chunks::<8>();
    for word in words {
        mixed ^= round(0, u64::from_le_bytes(*word));
        mixed = mixed.rotate_left(27).wrapping_mul(PRIMES[0]).wrapping_add(PRIMES[3]);
    }
    if let Some((half, left)) = rest.split_first_chunk::<4>() {
        mixed ^= u64::from(u32::from_le_bytes(*half)).wrapping_mul(PRIMES[0]);
        mixed = mixed.rotate_left(23).wrapping_mul(PRIMES[1]).wrapping_add(PRIMES[2]);
        rest = left;
    }
    for byte in rest {
        mixed ^= u64::from(*byte).wrapping_mul(PRIMES[4]);
        mixed = mixed.rotate_left(11).wrapping_mul(PRIMES[0]);
    }
    finished(mixed)
}

/// The hash of eight bytes, those of a number from the lowest on.
#[inline]
pub(crate) fn hash_of_eight(word: u64) -> u64 {
    let mixed = (PRIMES[4].wrapping_add(8)) ^ round(0, word);
    finished(mixed.rotate_left(27).wrapping_mul(PRIMES[0]).wrapping_add(PRIMES[3]))
}

#[inline]
fn finished(mut mixed: u64) -> u64 {
    mixed = (mixed ^ mixed >> 33).wrapping_mul(PRIMES[1]);
    mixed = (mixed ^ mixed >> 29).wrapping_mul(PRIMES[2]);
    mixed ^ mixed >> 32
}

#[inline]
fn round(lane: u64, word: u64) -> u64 {
    lane.wrapping_add(word.wrapping_mul(PRIMES[1])).rotate_left(31).wrapping_mul(PRIMES[0])
}

#[cfg(test)]
mod tests {
    use super::{hash, hash_of_eight};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn eight_bytes_are_hashed_like_any(word: u64) {
            prop_assert_eq!(hash_of_eight(word), hash(&word.to_le_bytes()));
        }
    }

    #[test]
    fn it_is_what_the_reference_implementation_gives() {
        for (text, wanted) in [
            ("", 0xEF46_DB37_51D8_E999),
            ("a", 0xD24E_C4F1_A98C_6E5B),
            ("abc", 0x44BC_2CF5_AD77_0999),
            ("Nobody inspects the spammish repetition", 0xFBCE_A83C_8A37_8BF1),
        ] {
            assert_eq!(hash(text.as_bytes()), wanted, "{text}");
        }
    }
}
