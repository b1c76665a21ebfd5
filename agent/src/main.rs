//! lineside-agent
fn main() {}
