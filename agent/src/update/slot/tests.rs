//! The driver of a slot, with a real journal, real blobs, and hands that are played.

mod assignments;
mod behaviour;
mod bench;
mod beside;
mod disk;
mod faults;
mod people;
mod unfit;
