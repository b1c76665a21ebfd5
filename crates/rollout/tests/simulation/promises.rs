//! What the engine promises, one by one.

use std::fmt;

/// A promise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Promise {
    /// No device is given the release beyond what its wave allows.
    Wave,
    /// No more devices are on trial, or fetch at a site, than may be.
    Limits,
    /// No wave begins before the gate of the one before holds, or a person says so.
    Gate,
    /// A rollout that pauses, is over or has not begun gives nobody anything.
    Still,
    /// Nothing begins while a site's window is closed.
    Window,
    /// Nobody who was left out, has left or came too late is given anything.
    Belongs,
    /// A device is on trial in one rollout only.
    One,
    /// Every device settles, and every rollout ends.
    Settles,
    /// What is known of a device at the end is what it does.
    Truth,
    /// After a roll back nobody who was given the release has it.
    Back,
    /// What was given out reaches the director, also where the server died before it was done.
    Repeats,
    /// What was written down and is replayed, and what was written and is read, is the same state.
    Replays,
    /// What is refused has changed nothing.
    Refused,
}

#[derive(Debug)]
pub struct Broken {
    pub promise: Promise,
    pub how: String,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.promise, self.how)
    }
}

pub type Kept = Result<(), Broken>;

/// Complains unless a promise is kept.
pub fn keep(kept: bool, promise: Promise, how: impl FnOnce() -> String) -> Kept {
    match kept {
        true => Ok(()),
        false => Err(Broken { promise, how: how() }),
    }
}
