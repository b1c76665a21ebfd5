//! Bounds of time for what models and plugins compute in this process. Nothing but its end ends one that computes
//! for ever, so it ends, and says over what.

use crate::confined::{SECONDS, note};
use crate::output::Output;
use anyhow::anyhow;
use clap::Args;
use lineside_bundle::Check;
use lineside_runtime::{Files, FilesError};
use std::num::NonZeroU32;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Longest that all checks of a bundle may take, whatever each step of them does. A device gives them five
/// minutes unless it is told otherwise.
const CHECKS_TIME_MAX: Duration = Duration::from_secs(1800);
/// What helps where checks take too long together.
const CHECKS_CURE: &str = "a device gives them 300 s unless it is told otherwise: make their recordings shorter, or \
                           look into the models by `lineside model inspect`";
/// What helps where a step takes too long.
const STEP_CURE: &str =
    "--seconds allows more; `lineside model inspect` says what each engine makes of a model";

/// What helps where compiling takes too long.
const COMPILING_CURE: &str = "--seconds allows more";

/// How long checks may take.
#[derive(Args)]
pub struct Patience {
    /// How long loading a model or a plugin, or answering one reading of a check, may take, in seconds.
    #[arg(long, value_name = "N", default_value_t = SECONDS)]
    seconds: NonZeroU32,
}

/// Ends this process with an error when something takes too long, until it is dropped.
pub struct Watch {
    thread: Option<(Sender<Sign>, JoinHandle<()>)>,
    /// What is being done.
    step: Mutex<String>,
}

enum Sign {
    /// The next step begins, and is another.
    Step(String),
    /// The next step begins.
    Again,
    /// All of them begin anew.
    Anew,
}

/// What all steps together may take.
struct Whole {
    what: String,
    time_max: Duration,
}

impl Watch {
    /// Begins to wait for the checks of a bundle. What comes before the first step, such as building its plugins,
    /// is bounded by what all may take.
    pub fn over_checks(bundle: &str, patience: &Patience, output: &Output) -> Watch {
        let what = format!("what the checks of {bundle} need");
        let whole = Whole { what, time_max: CHECKS_TIME_MAX };
        Watch::over(None, (patience.seconds, STEP_CURE), Some(whole), output)
    }

    /// Begins to wait for a model to be loaded, or to answer.
    pub fn over_answers(of: &str, seconds: NonZeroU32, output: &Output) -> Watch {
        let first = format!("loading {of}, or one answer of it,");
        Watch::over(Some(first), (seconds, STEP_CURE), None, output)
    }

    /// Begins to wait for a plugin to be looked into and compiled.
    pub fn over_compiling(plugin: &str, seconds: NonZeroU32, output: &Output) -> Watch {
        Watch::over(Some(format!("compiling {plugin}")), (seconds, COMPILING_CURE), None, output)
    }

    /// Begins with the first step, of those that may take so many seconds each and what helps where one takes longer.
    fn over(
        first: Option<String>,
        (seconds, cure): (NonZeroU32, &'static str),
        whole: Option<Whole>,
        output: &Output,
    ) -> Watch {
        let (sender, signs) = mpsc::channel();
        let output = Output { json: output.json };
        let step_max = Duration::from_secs(u64::from(seconds.get()));
        let step = Mutex::new(first.clone().unwrap_or_default());
        let thread = thread::Builder::new().spawn(move || {
            let (mut step, mut began) = (first, Instant::now());
            let late = |what: &str, time_max: Duration, cure: &str| {
                let seconds = time_max.as_secs();
                output.fail(&anyhow!("{what} takes longer than {seconds} s: {cure}"));
                std::process::exit(1);
            };
            loop {
                let left = whole.as_ref().map(|it| it.time_max.saturating_sub(began.elapsed()));
                if let Some(whole) = whole.as_ref().filter(|_| left == Some(Duration::ZERO)) {
                    late(&whole.what, whole.time_max, CHECKS_CURE);
                }
                let step_left = step.is_some().then_some(step_max);
                let patience = left.into_iter().chain(step_left).min().unwrap_or(step_max);
                match signs.recv_timeout(patience) {
                    Ok(Sign::Step(next)) => step = Some(next),
                    Ok(Sign::Again) => {}
                    Ok(Sign::Anew) => began = Instant::now(),
                    Err(RecvTimeoutError::Disconnected) => return,
                    Err(RecvTimeoutError::Timeout) => match &step {
                        Some(step) if patience == step_max => late(step, step_max, cure),
                        _ => {}
                    },
                }
            }
        });
        // Without a thread nobody watches, and the work is done all the same.
        Watch { thread: thread.ok().map(|thread| (sender, thread)), step }
    }

    /// The next step, which may take as long as any, and is told if it takes longer, or this process dies over it.
    pub fn step(&self, next: String) {
        let mut step = self.step.lock().unwrap_or_else(PoisonError::into_inner);
        if *step == next {
            return self.again();
        }
        note(&next);
        step.clone_from(&next);
        self.sign(Sign::Step(next));
    }

    /// The next step is as the one before, and may take as long again.
    pub fn again(&self) {
        self.sign(Sign::Again);
    }

    /// The checks are replayed from the beginning, and may take as long again.
    pub fn anew(&self) {
        self.sign(Sign::Anew);
    }

    /// One more reading of a check is replayed.
    pub fn reading(&self, check: &Check) {
        self.step(format!("answering check {}", check.name));
    }

    fn sign(&self, sign: Sign) {
        if let Some((sender, _)) = &self.thread {
            // It listens as long as we are there.
            let _ = sender.send(sign);
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if let Some((sender, thread)) = self.thread.take() {
            drop(sender);
            let _ = thread.join();
        }
    }
}

/// Files of a bundle of which it is watched how long each takes to be loaded: until the next is read, or an
/// answer is wanted.
pub struct WatchedFiles<'a> {
    /// The files.
    pub files: &'a dyn Files,
    /// Who watches.
    pub watch: &'a Watch,
}

impl Files for WatchedFiles<'_> {
    fn read(&self, path: &str) -> Result<Vec<u8>, FilesError> {
        self.watch.step(format!("loading {path}"));
        self.files.read(path)
    }
}
