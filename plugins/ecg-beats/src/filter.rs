//! Band-pass, slope and energy of the signal, sample by sample, in whole numbers.
//!
//! `h[n] = 73 * sum(u[n-4..=n+4]) - 9 * sum(u[n-36..=n+36])`, about 2 to 18 Hz at 360 samples a
//! second; `d[n] = (h[n+4] - h[n-4]) >> 6`; `e[n] = sum(d[n-27..=n+27]^2)`, over 150 ms.

use std::collections::VecDeque;

const NARROW: usize = 4;
const WIDE: usize = 36;
const ENERGY: usize = 27;
/// Samples by which the answer for a sample lags behind it.
pub const DELAY: usize = WIDE + NARROW + ENERGY;

/// Energy and band-passed signal of one sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Filtered {
    /// Energy of the slope over 150 ms.
    pub energy: i64,
    /// The band-passed signal.
    pub band: i64,
}

/// The filter's memory: bounded, whatever the length of the signal.
#[derive(Debug, Default)]
pub struct Filter {
    signal: VecDeque<i64>,
    wide_sum: i64,
    band: VecDeque<i64>,
    squares: VecDeque<i64>,
    energy: i64,
}

impl Filter {
    /// Takes the next sample. Answers, once it has seen enough, for the sample [`DELAY`] before it.
    pub fn push(&mut self, sample: i64) -> Option<Filtered> {
        self.signal.push_back(sample);
        self.wide_sum += sample;
        if self.signal.len() <= 2 * WIDE {
            return None;
        }
        let narrow: i64 = self.signal.range(WIDE - NARROW..=WIDE + NARROW).sum();
        self.band.push_back(73 * narrow - 9 * self.wide_sum);
        self.wide_sum -= self.signal.pop_front().unwrap_or(0);

        let newest = self.band.len().checked_sub(1)?;
        let slope = (self.band[newest] - self.band[newest.checked_sub(2 * NARROW)?]) >> 6;
        self.squares.push_back(slope * slope);
        self.energy += slope * slope;
        if self.squares.len() <= 2 * ENERGY {
            return None;
        }
        let energy = self.energy;
        self.energy -= self.squares.pop_front().unwrap_or(0);
        let band = self.band[newest - NARROW - ENERGY];
        while self.band.len() > NARROW + ENERGY + 1 {
            self.band.pop_front();
        }
        Some(Filtered { energy, band })
    }
}
