//! One folder, one database, one server.

mod database;
mod folder;
pub(crate) mod tables;

pub(crate) use database::{Store, Trouble, Writing, from_row, to_row};
pub(crate) use folder::{DataFolder, Readers};
