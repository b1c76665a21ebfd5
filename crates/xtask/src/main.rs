//! lineside-xtask
fn main() {}
