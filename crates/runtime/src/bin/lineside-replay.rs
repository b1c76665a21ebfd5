//! `lineside-replay BUNDLE...`: replays the checks of bundles and says how far off the answers were.
//! Small enough to be built for every target and run there; plugins are interpreted where there is
//! no compiler for the processor.

use lineside_bundle::archive;
use lineside_runtime::{LoadOptions, MemoryFiles, run_checks};
use std::error::Error;
use std::fs::File;
use std::io::BufReader;
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut failed = false;
    for path in std::env::args().skip(1) {
        if let Err(error) = replay(&path) {
            failed = true;
            eprint!("{path}: {error}");
            let mut cause = error.source();
            while let Some(error) = cause {
                eprint!(": {error}");
                cause = error.source();
            }
            eprintln!();
        }
    }
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn replay(path: &str) -> Result<(), Box<dyn Error>> {
    let bundle = archive::read(BufReader::new(File::open(path)?))?;
    let report = run_checks(&bundle.manifest, &MemoryFiles(&bundle), &LoadOptions::default())?;
    for check in report.checks {
        let (name, arch) = (check.name, std::env::consts::ARCH);
        println!(
            "{} {name} on {arch}: {} findings, {:?}",
            bundle.release_id(),
            check.findings,
            check.worst
        );
    }
    Ok(())
}
