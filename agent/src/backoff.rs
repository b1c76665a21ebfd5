//! Pauses between attempts: doubled each time, capped, and where others try the same with jitter, so
//! that a thousand devices that lost the same server do not all come back in the same second.

use ring::rand::{SecureRandom, SystemRandom};
use std::time::Duration;

/// The pause before attempt number `attempts` (0 for the first retry): between half of what
/// [`doubled`] says and all of it.
pub fn pause(first: Duration, longest: Duration, attempts: u32) -> Duration {
    let whole = doubled(first, longest, attempts);
    whole / 2 + (whole / 2).mul_f64(share())
}

/// `first` × 2^`attempts`, never above `longest`: for who waits for nobody else.
pub fn doubled(first: Duration, longest: Duration, attempts: u32) -> Duration {
    first.saturating_mul(1u32 << attempts.min(20)).min(longest)
}

/// A random share, 0 to 1.
pub fn share() -> f64 {
    let mut bytes = [0; 4];
    // Without randomness every device waits equally long: unfortunate, not wrong.
    if SystemRandom::new().fill(&mut bytes).is_err() {
        return 1.0;
    }
    f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_stay_below_the_cap() {
        let (first, longest) = (Duration::from_secs(1), Duration::from_secs(60));
        for attempts in 0..100 {
            let whole = first.saturating_mul(1 << attempts.min(10)).min(longest);
            let pause = pause(first, longest, attempts);
            assert!(whole / 2 <= pause && pause <= whole, "{attempts}: {pause:?}");
        }
    }
}
