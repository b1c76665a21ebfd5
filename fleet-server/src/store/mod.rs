//! One folder, one database, one server.

mod copy;
mod database;
mod folder;
mod governed;
mod indices;
mod migrations;
mod postgres;
pub(crate) mod recording;
mod sqlite;
mod steps;
pub(crate) mod tables;
#[cfg(test)]
pub(crate) mod testing;
mod transfer;

pub(crate) use database::{Store, Writing, from_row, is_full, to_row, unix_ms};
pub(crate) use folder::{DataFolder, Readers, free_bytes, make_folder};
pub(crate) use postgres::PostgresAt;
