//! One folder, one database, one server.

mod database;
mod folder;
mod migrations;
pub(crate) mod tables;

pub(crate) use database::{Store, Writing, from_row, is_full, to_row, unix_ms};
pub(crate) use folder::{DataFolder, Readers, free_bytes};
