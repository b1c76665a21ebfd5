//! The worker's own main loop: one thread, one bundle, readings in, frames out.

use crate::error::chain;
use crate::worker::memory::{own_badness, own_kib_max, set_own_badness};
use crate::worker::message::{
    Bundle, Checked, FromWorker, ToWorkerWith as ToWorker, read_in, write,
};
use crate::worker::packed::Came;
use crate::worker::serving::answering::answer;
use lineside_bundle::Manifest;
use lineside_runtime::{
    FrameOutcome, LoadOptions, Models, Pipeline, PluginCache, ReadingRef, ServingBounds,
    StoreFiles, in_engine_thread, run_checks_patiently, time,
};
use rustix::net::{RecvFlags, recv};
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
/// Readings that are taken before the supervisor hears so, where more wait: to be told of each message would take
/// it longer than to write the next.
const UNTOLD_MAX: u32 = 256;
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
    fn push(&mut self, reading: ReadingRef<'_>) -> Vec<FrameOutcome>;
    /// Ends one of the streams that are open; gives what that brings. None if there is none.
    fn finish_one(&mut self) -> Option<Vec<FrameOutcome>>;
}

/// A bundle that is ready for readings, or why it is not, for people.
pub type Loaded = Result<Box<dyn Answers>, String>;

impl Answers for Pipeline {
    fn push(&mut self, reading: ReadingRef<'_>) -> Vec<FrameOutcome> {
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
        let mut room = Vec::new();
        let mut untold = 0;
        while let Some(message) = read_in::<ToWorker<Came<'_>>>(input, &mut room)? {
            if untold > 0 && !matches!(message, ToWorker::Readings(_)) {
                write(output, &FromWorker::Done(std::mem::take(&mut untold)))?;
                output.flush()?;
            }
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
                    let mut answered = false;
                    for (place, reading) in readings.iter().enumerate() {
                        let outcomes = answers.push(*reading);
                        let is_news = !outcomes.is_empty();
                        answered |= is_news;
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
                    untold += readings.len() as u32;
                    if !answered && untold < UNTOLD_MAX && more_waits(input) {
                        continue;
                    }
                    write(output, &FromWorker::Done(std::mem::take(&mut untold)))?;
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

/// Whether the supervisor has sent more already.
fn more_waits(input: &BufReader<UnixStream>) -> bool {
    let peek = RecvFlags::PEEK | RecvFlags::DONTWAIT;
    let peeked = || recv(input.get_ref(), &mut [0; 1][..], peek).map(|(_, bytes)| bytes);
    !input.buffer().is_empty() || matches!(peeked(), Ok(1..))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worker::message::{ToWorker, frame_in, read};
    use lineside_runtime::{Reading, Values};
    use std::path::PathBuf;
    use std::sync::Arc;
    use std::time::Duration;

    /// Answers the readings whose value is 1.
    struct Ones;

    impl Answers for Ones {
        fn push(&mut self, reading: ReadingRef<'_>) -> Vec<FrameOutcome> {
            let ReadingRef { key, sequence, time_unix_ns, values } = reading;
            assert!(matches!(values, Values::Singles(_)), "it lies where it has come");
            let outcome = FrameOutcome {
                key: key.to_owned(),
                frame: sequence,
                first: sequence,
                last: sequence,
                spans: vec![],
                unused: Default::default(),
                time_unix_ns,
                result: Ok(vec![]),
                instead: None,
                said: Default::default(),
                elapsed: Duration::ZERO,
            };
            (values.get(0) == Some(1.0)).then_some(outcome).into_iter().collect()
        }

        fn finish_one(&mut self) -> Option<Vec<FrameOutcome>> {
            None
        }
    }

    fn bundle() -> Bundle {
        Bundle {
            manifest: vec![],
            blobs: PathBuf::new(),
            memory_mib: 1,
            engines: Default::default(),
            plugin_traps_max: None,
            cache: PathBuf::new(),
            cache_key: [0; 32],
        }
    }

    /// What a worker says that finds all of this when it starts: numbers are readings taken.
    fn said(messages: &[ToWorker]) -> Vec<String> {
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        for message in [ToWorker::Load(bundle())].iter().chain(messages) {
            ours.write_all(&frame_in(message, vec![]).unwrap()).unwrap();
        }
        ours.shutdown(std::net::Shutdown::Write).unwrap();
        let mut load = |_: &Bundle| Ok(Box::new(Ones) as Box<dyn Answers>);
        serve(theirs, Confinement::Nothing, &mut load).unwrap();
        let said = std::iter::from_fn(|| read::<FromWorker>(&mut ours).unwrap());
        said.map(|said| match said {
            FromWorker::Outcome(outcome) => format!("frame {}", outcome.frame),
            FromWorker::Done(count) => count.to_string(),
            other => format!("{other:?}"),
        })
        .collect()
    }

    fn readings(numbers: std::ops::Range<u64>, answered: u64) -> ToWorker {
        let reading = |sequence| {
            let values = vec![f64::from(u8::from(sequence == answered)); 3];
            Arc::new(Reading { key: "a".into(), sequence, time_unix_ns: 0, values })
        };
        ToWorker::Readings(numbers.map(reading).collect())
    }

    #[test]
    fn what_waits_is_taken_before_it_is_told_and_an_answer_never_waits() {
        let messages: Vec<ToWorker> =
            (0..10).map(|at| readings(64 * at..64 * (at + 1), 100)).collect();
        assert_eq!(said(&messages), ["Loaded", "frame 100", "128", "256", "256"]);
    }

    #[test]
    fn what_was_taken_is_told_before_the_worker_goes_to_another_place() {
        let messages = [readings(0..3, 9), ToWorker::Lead, readings(3..5, 9), ToWorker::Follow];
        assert_eq!(said(&messages), ["Loaded", "3", "2"]);
        assert_eq!(said(&[readings(0..3, 9), ToWorker::Finish]), ["Loaded", "3", "Finished"]);
    }
}
