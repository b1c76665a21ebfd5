//! What becomes of a slot, told as stories: one line an event, with what the slot then holds
//! (`active/previous`), what is going on, and what is to be done.

#![allow(clippy::unwrap_used)] // A test stops at what does not hold.

mod people;
mod shadow;
mod stand_in;
mod telling;
mod updates;
mod way_back;
