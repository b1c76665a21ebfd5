//! What plugins say on their way, for people, and how much of it is passed on.

use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};

/// What the plugins of a bundle have said.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Said {
    /// Stage and line, in the order in which they came.
    pub lines: Vec<(String, String)>,
    /// Lines that were dropped because they were too many.
    pub dropped: u64,
}

impl Said {
    /// Whether nothing was said.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty() && self.dropped == 0
    }
}

/// What a plugin has said and nobody has taken yet: as much as it may say in a second.
pub(super) struct Lines {
    per_second: usize,
    second: Option<Instant>,
    in_second: usize,
    waiting: Vec<String>,
    dropped: u64,
}

impl Lines {
    pub(super) fn new(per_second: usize) -> Lines {
        Lines { per_second, second: None, in_second: 0, waiting: Vec::new(), dropped: 0 }
    }

    /// Takes what a call has said, `now`, and how many lines of it were dropped already.
    pub(super) fn add(&mut self, (lines, dropped): (Vec<String>, u64), now: impl Fn() -> Instant) {
        self.dropped = self.dropped.saturating_add(dropped);
        if lines.is_empty() {
            return;
        }
        let now = now();
        if self.second.is_none_or(|second| now.duration_since(second) >= Duration::from_secs(1)) {
            (self.second, self.in_second) = (Some(now), 0);
        }
        let taken = lines.len().min(self.per_second.saturating_sub(self.in_second));
        self.in_second += taken;
        self.dropped = self.dropped.saturating_add((lines.len() - taken) as u64);
        self.waiting.extend(lines.into_iter().take(taken));
    }

    /// Moves what waits to what the plugins of the bundle have said, under the name of the stage.
    pub(super) fn tell(&mut self, stage: &str, said: &mut Said) {
        said.dropped = said.dropped.saturating_add(std::mem::take(&mut self.dropped));
        said.lines.extend(self.waiting.drain(..).map(|line| (stage.to_owned(), line)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_has_so_many_lines_and_what_is_more_is_counted() {
        let start = Instant::now();
        let mut lines = Lines::new(3);
        let mut told = |millis: u64, count: usize, dropped: u64| {
            let said = (vec!["x".to_owned(); count], dropped);
            lines.add(said, || start + Duration::from_millis(millis));
            let mut said = Said::default();
            lines.tell("judge", &mut said);
            (said.lines.len(), said.dropped)
        };
        assert_eq!(told(0, 2, 0), (2, 0));
        assert_eq!(told(900, 2, 7), (1, 8));
        assert_eq!(told(999, 1, 0), (0, 1));
        assert_eq!(told(1000, 4, 0), (3, 1));
        assert_eq!(told(1500, 0, 0), (0, 0));
        assert_eq!(told(9000, 1, 0), (1, 0));
    }
}
