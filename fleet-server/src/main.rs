//! lineside-server
fn main() {}
