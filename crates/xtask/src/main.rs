//! `cargo xtask`: what is done to the whole project. Each command does its own set-up.

mod bench;
mod check;
mod demo;
mod foreign;
mod fuzz;
mod mutants;
mod postgres;
mod setup;
mod shell;
mod test;
mod test_programs;

use std::process::ExitCode;

const HELP: &str = "\
usage: cargo xtask COMMAND

  check   format, lints, documentation, the agent for ARM, dependencies and their licences
  test    everything: unit and system tests here, the examples under emulated ARM
  demo    a server, three devices and a plant; a good release stays, bad ones go [--once]
  bench   api | crash | delta | drift | footprint | inference | plugin | sketch | start | swap | telemetry: measured, not
          tested
  fuzz    TARGET [SECONDS]: tries bytes of strangers until a promise breaks or time is up
  mutants changes what is ours in the verifier here and there: does a test notice?
";

fn main() -> ExitCode {
    let command = std::env::args().nth(1).unwrap_or_default();
    let rest: Vec<String> = std::env::args().skip(2).collect();
    let done = match command.as_str() {
        "check" => check::run(),
        "test" => test::run(),
        "demo" => demo::run(&rest),
        "bench" => bench::run(&rest),
        "fuzz" => fuzz::run(&rest),
        "mutants" => mutants::run(),
        _ => {
            eprint!("{HELP}");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask {command}: {error:#}");
            ExitCode::FAILURE
        }
    }
}
