//! What this engine promises, on small models made for it.

mod hostile;
mod models;
mod plain;
mod rest;
mod sample;
mod trees;
