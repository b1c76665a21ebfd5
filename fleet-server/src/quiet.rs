//! What others can cause as often as they like is written to the log once a minute.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long nothing is said of the same trouble again.
const SPAN: Duration = Duration::from_secs(60);

/// What was said when. One entry a trouble and a device, so it is as bounded as devices are.
#[derive(Debug, Default)]
pub(crate) struct Quiet {
    said: Mutex<BTreeMap<String, (Instant, u64)>>,
}

impl Quiet {
    /// Whether `trouble` may be said `now`: if so, what to add for those that were not, as in
    /// ` (and 3 more since it was said last)`.
    pub fn may_say(&self, trouble: impl Into<String>, now: Instant) -> Option<String> {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let trouble = trouble.into();
        let Some((last, kept_back)) = said.get_mut(&trouble) else {
            said.insert(trouble, (now, 0));
            return Some(String::new());
        };
        if now.duration_since(*last) < SPAN {
            *kept_back = kept_back.saturating_add(1);
            return None;
        }
        *last = now;
        Some(match std::mem::take(kept_back) {
            0 => String::new(),
            more => format!(" (and {more} more since it was said last)"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trouble_is_said_once_a_minute_with_how_often_it_was_not() {
        let (quiet, start) = (Quiet::default(), Instant::now());
        assert_eq!(quiet.may_say("line-3: unreadable", start).as_deref(), Some(""));
        for _ in 0..3 {
            assert_eq!(quiet.may_say("line-3: unreadable", start), None);
        }
        assert_eq!(quiet.may_say("line-4: unreadable", start).as_deref(), Some(""));
        let said = quiet.may_say("line-3: unreadable", start + SPAN).unwrap();
        assert_eq!(said, " (and 3 more since it was said last)");
        assert_eq!(quiet.may_say("line-3: unreadable", start + SPAN), None);
        assert_eq!(
            quiet.may_say("line-3: unreadable", start + 2 * SPAN).unwrap(),
            " (and 1 more since it was said last)"
        );
    }
}
