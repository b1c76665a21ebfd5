//! Several guesses of one bit made into one: logistic mixing as in PAQ (M. Mahoney, "Adaptive
//! weighing of context models for lossless data compression", 2005), in whole numbers.
//!
//! Which surroundings say most of a change differs from tensor to tensor, and small ones are too
//! short to find out by trial. So every bit is guessed from all of them, and weights that follow the
//! outcome learn whom to believe.

use crate::coder::{Bit, CERTAIN, Coder};

/// `ln(p / (1 - p))` is kept in 256ths, and lies between these.
const UNIT: i32 = 256;
const STRETCHED_MAX: i32 = 8 * UNIT - 1;
/// Weights are kept in 65,536ths.
const WEIGHT_BITS: u32 = 16;
/// All guesses together begin with this weight: those that know nothing yet say nothing.
const WEIGHTS_AT_FIRST: i32 = 5 << (WEIGHT_BITS - 2);
/// No guess counts more than sixteen times, for or against.
const WEIGHT_MAX: i32 = 16 << WEIGHT_BITS;
/// How fast weights follow, at first and later, in 2^-19ths of error times guess; kept in 256ths.
const PACE_AT_FIRST: i32 = 96 << PACE_BITS;
const PACE_LATER: i32 = 12 << PACE_BITS;
const PACE_BITS: u32 = 8;
const CHANGE_BITS: u32 = 19;

/// `CERTAIN / (1 + e^-x)`, rounded, for x in halves from -8 to 8. Between them lie straight lines.
const LOGISTIC: [i32; 33] = [
    11, 18, 30, 49, 81, 133, 219, 360, 589, 961, 1554, 2486, 3906, 5978, 8813, 12371, 16384, 20397,
    23955, 26790, 28862, 30282, 31214, 31807, 32179, 32408, 32549, 32635, 32687, 32719, 32738,
    32750, 32757,
];

/// Its inverse, for probabilities in 4096ths: the first place whose value is as large.
static STRETCHED: [i16; 4096] = {
    let mut table = [0; 4096];
    let (mut at, mut probability) = (-STRETCHED_MAX, 0);
    while probability < 4096 {
        while at < STRETCHED_MAX && squash(at) < 8 * probability + 4 {
            at += 1;
        }
        table[probability as usize] = at as i16;
        probability += 1;
    }
    table
};

/// A probability, of [`CERTAIN`].
const fn squash(stretched: i32) -> i32 {
    const STEP: i32 = UNIT / 2;
    let from_least = stretched + 8 * UNIT;
    let (at, beyond) = ((from_least / STEP) as usize, from_least % STEP);
    LOGISTIC[at] + (LOGISTIC[at + 1] - LOGISTIC[at]) * beyond / STEP
}

/// Whom to believe, of `N`.
#[derive(Clone)]
pub(crate) struct Mixer<const N: usize> {
    weights: [i32; N],
    pace: i32,
}

impl<const N: usize> Default for Mixer<N> {
    fn default() -> Mixer<N> {
        Mixer { weights: [WEIGHTS_AT_FIRST / N as i32; N], pace: PACE_AT_FIRST }
    }
}

impl<const N: usize> Mixer<N> {
    /// Codes one bit that all of `guesses` have a probability for; they and the weights learn from it.
    pub(crate) fn bit(
        &mut self,
        coder: &mut impl Coder,
        guesses: [&mut Bit; N],
        bit: bool,
    ) -> bool {
        let stretched =
            guesses.each_ref().map(|guess| i32::from(STRETCHED[guess.zero() as usize >> 3]));
        let weighed = stretched.iter().zip(self.weights);
        // 2,047 times a weight of at most 2^20, times N, is far from 2^63.
        let sum: i64 = weighed.map(|(s, weight)| i64::from(*s) * i64::from(weight)).sum();
        let most = i64::from(STRETCHED_MAX);
        let zero = squash((sum >> WEIGHT_BITS).clamp(-most, most) as i32);
        let bit = coder.likely(zero as u32, bit);
        let error = if bit { -zero } else { CERTAIN as i32 - zero };
        let pace = i64::from(self.pace >> PACE_BITS);
        for (weight, stretched) in self.weights.iter_mut().zip(stretched) {
            let change = i64::from(stretched) * i64::from(error) * pace;
            *weight = (*weight + (change >> CHANGE_BITS) as i32).clamp(-WEIGHT_MAX, WEIGHT_MAX);
        }
        self.pace -= (self.pace - PACE_LATER) / 64;
        guesses.into_iter().for_each(|guess| guess.learn(bit));
        bit
    }
}
