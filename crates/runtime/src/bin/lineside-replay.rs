//! `lineside-replay`: replays a bundle's checks, or a whole recording with the answers expected of
//! it, and says how far off the answers were. Small enough to be built for every target and run
//! there; plugins are interpreted where there is no compiler for the processor, or everywhere if asked.

use lineside_bundle::{BuiltBundle, archive};
use lineside_runtime::{CheckReport, Files, FilesError, LoadOptions, MemoryFiles, run_checks};
use std::error::Error;
use std::fs::File;
use std::io::BufReader;
use std::process::ExitCode;

const USAGE: &str = "usage: lineside-replay [--interpret] BUNDLE [RECORDING EXPECTED]";
/// What the recording and its expected answers are called within the bundle.
const RECORDING: &str = "recording.csv";
const EXPECTED: &str = "expected.jsonl";

fn main() -> ExitCode {
    let mut words: Vec<String> = std::env::args().skip(1).collect();
    let interpret_plugins = words.first().is_some_and(|word| word == "--interpret");
    words.drain(..usize::from(interpret_plugins));
    let options = LoadOptions { interpret_plugins, ..LoadOptions::default() };
    let replayed = match words.as_slice() {
        [bundle] => checks(bundle, &options),
        [bundle, recording, expected] => whole(bundle, recording, expected, &options),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match replayed {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprint!("{}: {error}", words.join(" "));
            let mut cause = error.source();
            while let Some(error) = cause {
                eprint!(": {error}");
                cause = error.source();
            }
            eprintln!();
            ExitCode::FAILURE
        }
    }
}

fn checks(bundle: &str, options: &LoadOptions) -> Result<(), Box<dyn Error>> {
    let bundle = read(bundle)?;
    tell(&bundle, run_checks(&bundle.manifest, &MemoryFiles(&bundle), options)?, options)
}

/// Compares a whole recording with its answers, as far off as the bundle's first check allows.
fn whole(
    bundle: &str,
    recording: &str,
    expected: &str,
    options: &LoadOptions,
) -> Result<(), Box<dyn Error>> {
    let bundle = read(bundle)?;
    let mut manifest = bundle.manifest.clone();
    manifest.bundle.checks.truncate(1);
    let check = manifest.bundle.checks.first_mut();
    let check = check.ok_or("without a check nobody knows how far off an answer may be")?;
    check.name = recording.to_owned();
    (check.input, check.expected) = (RECORDING.into(), EXPECTED.into());
    let files = WithRecording {
        bundle: MemoryFiles(&bundle),
        recording: std::fs::read(recording)?,
        expected: std::fs::read(expected)?,
    };
    tell(&bundle, run_checks(&manifest, &files, options)?, options)
}

fn read(path: &str) -> Result<BuiltBundle, Box<dyn Error>> {
    Ok(archive::read(BufReader::new(File::open(path)?))?)
}

fn tell(
    bundle: &BuiltBundle,
    report: CheckReport,
    options: &LoadOptions,
) -> Result<(), Box<dyn Error>> {
    // What does not compare anything must not look as if all were well.
    if report.checks.is_empty() || report.checks.iter().any(|check| check.worst.is_empty()) {
        return Err("nothing was compared".into());
    }
    let how = if options.interpret_plugins { "interpreted" } else { "as usual" };
    for check in report.checks {
        println!(
            "{} on {}, {how}, {}: {} findings, {:?}",
            bundle.release_id(),
            std::env::consts::ARCH,
            check.name,
            check.findings,
            check.worst
        );
    }
    Ok(())
}

/// A bundle's files, and a recording that is none of them.
struct WithRecording<'a> {
    bundle: MemoryFiles<'a>,
    recording: Vec<u8>,
    expected: Vec<u8>,
}

impl Files for WithRecording<'_> {
    fn read(&self, path: &str) -> Result<Vec<u8>, FilesError> {
        match path {
            RECORDING => Ok(self.recording.clone()),
            EXPECTED => Ok(self.expected.clone()),
            path => self.bundle.read(path),
        }
    }
}
