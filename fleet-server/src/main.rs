//! `lineside-server`: see `lineside-server --help`.

use clap::Parser;
use lineside_server::cli::Cli;
use lineside_server::log::{self, Format};
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let format = cli.log_format();
    log::install(format);
    match cli.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            match format {
                Format::Text => eprintln!("lineside-server: {error:#}"),
                Format::Json => eprintln!("{}", log::line(&format!("{error:#}"))),
            }
            ExitCode::FAILURE
        }
    }
}
