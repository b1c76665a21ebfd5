//! lineside-agent: runs signed bundles on live data beside the line, with or without a network.

fn main() {}
