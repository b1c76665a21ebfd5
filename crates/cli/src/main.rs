//! lineside-cli
fn main() {}
