//! lineside-agent: runs signed bundles on live data beside the line, with or without a network.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
