//! The worker's own main loop: one thread, one bundle, readings in, frames out.

use crate::error::chain;
use crate::worker::message::{Bundle, CheckedOutcome, FromWorker, ToWorker, read, write};
use crate::worker::process::outlive_stop_signals;
use lineside_bundle::Manifest;
use lineside_runtime::{
    FrameOutcome, LoadOptions, Pipeline, PluginCache, Reading, StoreFiles, run_checks,
};
use rustix::process::{Resource, Rlimit, Signal, set_parent_process_death_signal, setrlimit};
use std::io::{self, BufReader, BufWriter, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

/// Files that a worker may have open.
const FILES_MAX: u64 = 64;

/// Whether the process confines itself before it loads a bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Confinement {
    /// Limits of the process. Not for a thread of another program.
    Process,
    /// None.
    Nothing,
}

/// What answers readings.
pub trait Answers {
    /// Takes the stream's next reading; gives the frames that it completes.
    fn push(&mut self, reading: &Reading) -> Vec<FrameOutcome>;
    /// Ends one of the streams that are open; gives what that brings. None if there is none.
    fn finish_one(&mut self) -> Option<Vec<FrameOutcome>>;
}

/// A bundle that is ready for readings, or why it is not, for people.
pub type Loaded = Result<Box<dyn Answers>, String>;

impl Answers for Pipeline {
    fn push(&mut self, reading: &Reading) -> Vec<FrameOutcome> {
        Pipeline::push(self, reading)
    }

    fn finish_one(&mut self) -> Option<Vec<FrameOutcome>> {
        Pipeline::finish_one(self)
    }
}

/// The hidden subcommand `worker`: serves the supervisor on the socket that is its standard input,
/// until that closes.
///
/// # Errors
/// What the socket says.
pub fn main() -> io::Result<()> {
    // The socket closes when the supervisor is gone, but a model that computes does not look.
    set_parent_process_death_signal(Some(Signal::KILL))?;
    outlive_stop_signals()?;
    let stream = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    serve(stream, Confinement::Process, &mut load)
}

/// Serves the supervisor until it closes the socket.
///
/// # Errors
/// What the socket says.
pub fn serve(
    stream: UnixStream,
    confinement: Confinement,
    load: &mut dyn FnMut(&Bundle) -> Loaded,
) -> io::Result<()> {
    let mut input = BufReader::new(stream.try_clone()?);
    let mut output = BufWriter::new(stream);
    let mut answers = None;
    while let Some(message) = read(&mut input)? {
        match message {
            ToWorker::Load(bundle) => {
                let loaded = confine(confinement, &bundle).and_then(|()| load(&bundle));
                let said = match loaded {
                    Ok(loaded) => {
                        answers = Some(loaded);
                        FromWorker::Loaded
                    }
                    Err(reason) => FromWorker::Failed(reason),
                };
                write(&mut output, &said)?;
            }
            ToWorker::Check(bundle) => {
                let checked = confine(confinement, &bundle).and_then(|()| check(&bundle));
                write(&mut output, &checked.unwrap_or_else(FromWorker::Failed))?;
            }
            ToWorker::Readings(readings) => {
                let Some(answers) = &mut answers else { return Err(too_early()) };
                let count = readings.len() as u32;
                for outcome in readings.iter().flat_map(|reading| answers.push(reading)) {
                    write(&mut output, &FromWorker::Outcome(outcome))?;
                    // At once: the supervisor takes a long silence for a model that hangs.
                    output.flush()?;
                }
                write(&mut output, &FromWorker::Done(count))?;
            }
            ToWorker::Finish => {
                let Some(answers) = &mut answers else { return Err(too_early()) };
                // A stream at a time, and a word after each: all of them may take longer than a
                // worker may be silent.
                while let Some(outcomes) = answers.finish_one() {
                    for outcome in outcomes {
                        write(&mut output, &FromWorker::Outcome(outcome))?;
                    }
                    write(&mut output, &FromWorker::Done(0))?;
                    output.flush()?;
                }
                write(&mut output, &FromWorker::Finished)?;
            }
        }
        output.flush()?;
    }
    Ok(())
}

fn too_early() -> io::Error {
    io::Error::other("readings before a bundle was loaded")
}

/// Gives up what the bundle must not have, before any of it is read.
fn confine(confinement: Confinement, bundle: &Bundle) -> Result<(), String> {
    if confinement == Confinement::Nothing {
        return Ok(());
    }
    let limit = |resource, amount: u64| {
        let both = Rlimit { current: Some(amount), maximum: Some(amount) };
        setrlimit(resource, both).map_err(|error| format!("cannot limit the worker: {error}"))
    };
    limit(Resource::Data, u64::from(bundle.memory_mib) << 20)?;
    limit(Resource::Nofile, FILES_MAX)?;
    limit(Resource::Core, 0)
}

/// Loads a bundle into a pipeline.
///
/// # Errors
/// Why it cannot run here, for people.
pub fn load(bundle: &Bundle) -> Loaded {
    let (files, options) = opened(bundle)?;
    let pipeline = Pipeline::load(&files.manifest, &files, &options);
    pipeline.map(|pipeline| Box::new(pipeline) as Box<dyn Answers>).map_err(chain)
}

fn check(bundle: &Bundle) -> Result<FromWorker, String> {
    let (files, options) = opened(bundle)?;
    let report = run_checks(&files.manifest, &files, &options).map_err(chain)?;
    let outcomes = report.checks.into_iter().map(|check| CheckedOutcome {
        name: check.name,
        readings: check.readings,
        findings: check.findings,
        worst: check.worst,
    });
    Ok(FromWorker::Checked(outcomes.collect()))
}

fn opened(bundle: &Bundle) -> Result<(StoreFiles, LoadOptions), String> {
    let manifest = Manifest::parse(&bundle.manifest).map_err(chain)?;
    let cache = PluginCache::new(bundle.cache.clone(), &bundle.cache_key);
    let options = LoadOptions { cache: Some(cache), ..LoadOptions::default() };
    Ok((StoreFiles { folder: bundle.blobs.clone(), manifest }, options))
}
