//! What is to be done.

use crate::gate::Breach;
use crate::rollout::{Asked, Cause, RolloutId};
use serde::{Deserialize, Serialize};

/// Something to be done. Each names an end, so doing it twice does no harm; the events that it follows
/// from are written down before it is done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Effect {
    /// The slot shall run this release, whatever it was assigned before.
    Assign(Assign),
    /// People shall know.
    Tell {
        /// The rollout.
        rollout: RolloutId,
        /// What.
        news: News,
    },
}

/// What a slot shall run.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Assign {
    /// The rollout that wants it.
    pub rollout: RolloutId,
    /// The device.
    pub device: String,
    /// The slot.
    pub slot: String,
    /// The release; none takes the assignment away.
    pub release: Option<String>,
    /// Counts how often it is to be tried again, so that the device hears it as a new wish.
    pub attempt: u8,
    /// Why.
    pub why: Why,
}

/// Why a slot is assigned something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Why {
    /// It is its turn, in this wave.
    Turn(u8),
    /// It had this before.
    Return,
}

/// What people shall know of a rollout.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum News {
    /// A wave begins.
    Began {
        /// Its number.
        wave: u8,
    },
    /// The gate of a wave holds.
    Passed {
        /// Its number.
        wave: u8,
    },
    /// Somebody is asked.
    Asks {
        /// After this wave.
        wave: u8,
        /// Why.
        asked: Asked,
    },
    /// It does nothing more for now.
    Paused {
        /// Why.
        cause: Cause,
    },
    /// Devices are given what they had before.
    RollingBack {
        /// The wave whose gate is broken, and how; none where a person wants it.
        broken: Option<(u8, Breach)>,
    },
    /// They have been, except so many.
    RolledBack {
        /// Devices that do not run what they had before.
        not_returned: u32,
    },
    /// All waves are through; newcomers follow.
    Standing,
    /// It was given up.
    Aborted,
    /// It is over.
    Done,
}
