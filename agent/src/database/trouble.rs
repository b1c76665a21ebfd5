//! A disk that takes nothing, said once when it begins and once when it is over.

use std::time::{Duration, Instant};

/// How long the disk must have taken everything before that is told: small transactions find room
/// now and then while it is full.
const AGAIN_AFTER: Duration = Duration::from_secs(5);

/// Whether a disk fails, as one who writes to it sees it.
#[derive(Debug, Default)]
pub struct Trouble {
    fails: bool,
    /// Since when it has taken everything again.
    over_since: Option<Instant>,
}

impl Trouble {
    /// The disk has failed. True if people have still to hear of it.
    pub fn failed(&mut self) -> bool {
        self.over_since = None;
        !std::mem::replace(&mut self.fails, true)
    }

    /// The disk has worked. True if people have still to hear that the trouble is over.
    pub fn worked(&mut self) -> bool {
        self.worked_at(Instant::now())
    }

    fn worked_at(&mut self, now: Instant) -> bool {
        let since = *self.over_since.get_or_insert(now);
        let is_over = self.fails && now.saturating_duration_since(since) >= AGAIN_AFTER;
        if is_over {
            *self = Trouble::default();
        }
        is_over
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trouble_is_said_once_and_its_end_when_it_has_lasted() {
        let (mut trouble, began) = (Trouble::default(), Instant::now());
        assert!(!trouble.worked_at(began));
        assert!(!trouble.worked_at(began + AGAIN_AFTER), "nothing has failed");
        assert!(trouble.failed());
        for second in 0..100 {
            let now = began + Duration::from_secs(second);
            assert!(!trouble.worked_at(now) && !trouble.failed(), "it found room in between");
        }
        let again = began + Duration::from_secs(100);
        assert!(!trouble.worked_at(again));
        assert!(trouble.worked_at(again + AGAIN_AFTER));
        assert!(!trouble.worked_at(again + 2 * AGAIN_AFTER));
        assert!(trouble.failed(), "the next one is news");
    }
}
