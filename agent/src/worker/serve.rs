//! The worker's own main loop: one thread, one bundle, readings in, frames out.

use crate::error::chain;
use crate::worker::memory::{own_badness, own_kib_max, set_own_badness};
use crate::worker::message::{Bundle, Checked, FromWorker, ToWorker, read, write};
use crate::worker::serving::answering::answer;
use lineside_bundle::Manifest;
use lineside_runtime::{
    FrameOutcome, LoadOptions, Models, Pipeline, PluginCache, Reading, ServingBounds, StoreFiles,
    in_engine_thread, run_checks_patiently, time,
};
use rustix::process::{Resource, Rlimit, Signal, nice, set_parent_process_death_signal, setrlimit};
use std::io::{self, BufReader, BufWriter, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::panic::resume_unwind;

/// How much nicer a worker is while it is beside the route: it gets about a tenth of a processor that
/// the worker on the route wants too.
const FOLLOWING_NICE: i32 = 10;
/// How much rather a worker beside the route is to be ended where the system has no memory left: by as
/// much as if it had half of all memory.
const BESIDE_BADNESS: i32 = 500;
/// The stack of a worker's threads: as much as the first thread of a process has.
pub const STACK_BYTES: usize = 8 << 20;
/// Threads that a worker may have, but for the first one: it is beside the route in one, engines have
/// two, and one counts the time of plugins.
const THREADS: u64 = 4;
/// Memory of a worker that tries a library out, in MiB; one that wants more before there is any model
/// leaves too little to those that are to use it.
const TRY_OUT_MEMORY_MIB: u32 = 128;
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
pub trait Answers: Send {
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
    let stream = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    serve(stream, Confinement::Process, &mut load)
}

/// Loads a bundle.
pub type Load<'a> = &'a mut (dyn FnMut(&Bundle) -> Loaded + Send);

/// Serves the supervisor until it closes the socket.
///
/// # Errors
/// What the socket says.
pub fn serve(stream: UnixStream, confinement: Confinement, load: Load<'_>) -> io::Result<()> {
    let input = BufReader::new(stream.try_clone()?);
    let output = BufWriter::new(stream);
    let place = Place::default();
    let mut server = Server { input, output, confinement, load, answers: None, place };
    let mut next = Next::Lead;
    loop {
        next = match next {
            Next::Lead => {
                server.place.take_route(confinement);
                in_engine_thread(|| server.serve())?
            }
            Next::Follow => {
                server.place.leave_route(confinement);
                follow(&mut server)?
            }
            Next::Close => return Ok(()),
        };
    }
}

/// Serves at lower priority for as long as the worker is beside the route.
///
/// Everybody may lower the priority of a thread, and only a privileged process may raise it again.
/// So work beside the route has a thread of its own, which ends when the worker gets the route.
fn follow(server: &mut Server<'_>) -> io::Result<Next> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(STACK_BYTES);
        let following = thread.spawn_scoped(scope, || {
            if server.confinement == Confinement::Process {
                nice(FOLLOWING_NICE)?;
            }
            in_engine_thread(|| server.serve())
        })?;
        // A panic is the worker's end, as it is on the way.
        following.join().unwrap_or_else(|panic| resume_unwind(panic))
    })
}

/// Why a worker stops to serve in the way it does.
enum Next {
    /// The supervisor has closed the socket.
    Close,
    /// It is to work beside the route.
    Follow,
    /// It has the route.
    Lead,
}

struct Server<'a> {
    input: BufReader<UnixStream>,
    output: BufWriter<UnixStream>,
    confinement: Confinement,
    load: Load<'a>,
    answers: Option<Box<dyn Answers>>,
    place: Place,
}

/// Whom a system without memory ends first: whoever does not answer on the route.
#[derive(Default)]
struct Place {
    /// What the system thought of the worker when it had the route; none while it has.
    before: Option<i32>,
}

impl Place {
    fn leave_route(&mut self, confinement: Confinement) {
        if confinement == Confinement::Process && self.before.is_none() {
            self.before = own_badness();
            self.before.into_iter().for_each(|before| set_own_badness(before + BESIDE_BADNESS));
        }
    }

    fn take_route(&mut self, confinement: Confinement) {
        if confinement == Confinement::Process {
            self.before.take().into_iter().for_each(set_own_badness);
        }
    }
}

impl Server<'_> {
    fn serve(&mut self) -> io::Result<Next> {
        let Server { input, output, confinement, load, answers, place } = self;
        while let Some(message) = read(input)? {
            match message {
                ToWorker::Follow => return Ok(Next::Follow),
                ToWorker::Lead => return Ok(Next::Lead),
                ToWorker::Load(bundle) => {
                    let confined = confine(*confinement, bundle.memory_mib);
                    let loaded = confined.and_then(|()| load(&bundle));
                    let said = match loaded {
                        Ok(loaded) => {
                            *answers = Some(loaded);
                            FromWorker::Loaded
                        }
                        Err(reason) => FromWorker::Failed(reason),
                    };
                    write(output, &said)?;
                }
                ToWorker::Time(bundle, engine) => {
                    place.leave_route(*confinement);
                    let confined = confine(*confinement, bundle.memory_mib);
                    let timed = confined.and_then(|()| timed(&bundle, &engine));
                    write(output, &timed.unwrap_or_else(FromWorker::Failed))?;
                }
                ToWorker::Check(bundle) => {
                    place.leave_route(*confinement);
                    let confined = confine(*confinement, bundle.memory_mib);
                    let checked = confined.and_then(|()| check(&bundle));
                    write(output, &checked.unwrap_or_else(FromWorker::Failed))?;
                }
                ToWorker::TryOut(library) => {
                    let confined = confine(*confinement, TRY_OUT_MEMORY_MIB);
                    let tried = confined.and_then(|()| library.try_out().map_err(chain));
                    let said = tried.map_or_else(FromWorker::Failed, FromWorker::TriedOut);
                    write(output, &said)?;
                }
                ToWorker::Serve(bundle, rows_max) => {
                    place.leave_route(*confinement);
                    let confined = confine(*confinement, bundle.memory_mib);
                    let models = confined.and_then(|()| models(*confinement, &bundle, rows_max));
                    return answer(input, output, models).map(|()| Next::Close);
                }
                ToWorker::Readings(readings) => {
                    let Some(answers) = answers else { return Err(too_early()) };
                    for (place, reading) in readings.iter().enumerate() {
                        let outcomes = answers.push(reading);
                        let is_news = !outcomes.is_empty();
                        for outcome in outcomes {
                            write(output, &FromWorker::Outcome(outcome))?;
                        }
                        // At once: the supervisor takes a long silence for a model that hangs. What
                        // the last reading brings goes with the word that all have been taken, so that
                        // it is woken up once.
                        if is_news && place + 1 < readings.len() {
                            output.flush()?;
                        }
                    }
                    write(output, &FromWorker::Done(readings.len() as u32))?;
                }
                ToWorker::Finish => {
                    let Some(answers) = answers else { return Err(too_early()) };
                    // A stream at a time, and a word after each: all of them may take longer than
                    // a worker may be silent.
                    while let Some(outcomes) = answers.finish_one() {
                        for outcome in outcomes {
                            write(output, &FromWorker::Outcome(outcome))?;
                        }
                        write(output, &FromWorker::Done(0))?;
                        output.flush()?;
                    }
                    write(output, &FromWorker::Finished)?;
                }
            }
            output.flush()?;
        }
        Ok(Next::Close)
    }
}

fn too_early() -> io::Error {
    io::Error::other("readings before a bundle was loaded")
}

/// Gives up what the worker must not have, before it reads any of what it is to load.
fn confine(confinement: Confinement, memory_mib: u32) -> Result<(), String> {
    if confinement == Confinement::Nothing {
        return Ok(());
    }
    let limit = |resource, amount: u64| {
        let both = Rlimit { current: Some(amount), maximum: Some(amount) };
        setrlimit(resource, both).map_err(|error| format!("cannot limit the worker: {error}"))
    };
    // The threads have their stacks among the data.
    let stacks = THREADS * STACK_BYTES as u64;
    limit(Resource::Data, (u64::from(memory_mib) << 20) + stacks)?;
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

/// The models of a bundle alone, at lower priority than what answers readings.
fn models(confinement: Confinement, bundle: &Bundle, rows_max: usize) -> Result<Models, String> {
    if confinement == Confinement::Process {
        nice(FOLLOWING_NICE).map_err(|error| format!("cannot give way: {error}"))?;
    }
    let (files, options) = opened(bundle)?;
    let manifest = files.manifest.clone();
    let bounds = ServingBounds { rows_max, memory_bytes: u64::from(bundle.memory_mib) << 20 };
    Models::load(&manifest, Box::new(files), options.engines, bounds).map_err(chain)
}

fn timed(bundle: &Bundle, engine: &str) -> Result<FromWorker, String> {
    let (files, options) = opened(bundle)?;
    time(&files.manifest, &files, &options, engine).map(FromWorker::Timed).map_err(chain)
}

fn check(bundle: &Bundle) -> Result<FromWorker, String> {
    let (files, options) = opened(bundle)?;
    let report = run_checks_patiently(&files.manifest, &files, &options).map_err(chain)?;
    let (cost, engines) = (report.cost, report.engines);
    Ok(FromWorker::Checked(Checked { cost, memory_kib: own_kib_max(), engines }))
}

fn opened(bundle: &Bundle) -> Result<(StoreFiles, LoadOptions), String> {
    let manifest = Manifest::parse(&bundle.manifest).map_err(chain)?;
    let cache = PluginCache::new(bundle.cache.clone(), &bundle.cache_key);
    let engines = bundle.engines.clone();
    let plugin_traps_max = bundle.plugin_traps_max;
    let options =
        LoadOptions { cache: Some(cache), engines, plugin_traps_max, ..LoadOptions::default() };
    Ok((StoreFiles { folder: bundle.blobs.clone(), manifest }, options))
}
