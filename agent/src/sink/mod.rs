//! `Finding -> plant`: takes findings out of the outbox and brings them where they are wanted.

pub mod file;
pub mod finding;
pub mod mqtt;
