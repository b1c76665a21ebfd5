//! Names as they are looked for and shown.

use lineside_wire::name::SlotName;

/// Names of devices from the first to the last, both included.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Names<'a> {
    pub first: &'a str,
    pub last: &'a str,
}

/// What is summed up or shown for slots that have no proper name, or are too many. No slot has
/// this name.
pub(crate) const OTHER_SLOTS: &str = "(others)";

/// A slot as it is kept: its name, or [`OTHER_SLOTS`] if it is none.
pub(crate) fn slot_shown(slot: &str) -> String {
    slot.parse::<SlotName>().map_or_else(|_| OTHER_SLOTS.into(), String::from)
}
