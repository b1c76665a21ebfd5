//! What this engine promises, on small models made for it.

mod hostile;
mod plain;
mod sample;
mod trees;
