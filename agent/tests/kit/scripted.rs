//! Workers that do what a test says, and what is kept of the engine of a release's only model.

use crate::bench::worker_limits;
use lineside_agent::update::StagedRelease;
use lineside_agent::update::engines::Kept;
use lineside_agent::worker::WorkerLimits;
use lineside_agent::worker::message::{Checked, FromWorker, ToWorker, read, write};
use lineside_agent::worker::process::{End, Life, Started, Starter};
use lineside_runtime::Figure;
use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::oneshot;

/// The only model of these releases in this engine.
pub fn judge(engine: &str) -> BTreeMap<String, String> {
    BTreeMap::from([("judge".to_owned(), engine.to_owned())])
}

pub fn kept(limits: &WorkerLimits, release: &StagedRelease) -> Option<Kept> {
    limits.choices.of(&release.release.digest)
}

/// What a worker does.
pub enum Does {
    Says(FromWorker),
    Ends(End),
    Hangs,
}

/// What a worker does that was asked this, of a model in the engine of that name.
pub type Script = dyn Fn(&str, &ToWorker) -> Does + Send + Sync;

/// Starts workers that do what a test says, and keeps what they were asked.
pub struct Scripted {
    script: Arc<Script>,
    asked: Arc<Mutex<Vec<String>>>,
    pub memory_mib: Arc<Mutex<BTreeSet<u32>>>,
}

impl Scripted {
    pub fn new(script: impl Fn(&str, &ToWorker) -> Does + Send + Sync + 'static) -> Arc<Scripted> {
        let (asked, memory_mib) = Default::default();
        Arc::new(Scripted { script: Arc::new(script), asked, memory_mib })
    }

    /// What they were asked since this was asked last.
    pub fn asked(&self) -> String {
        std::mem::take(&mut *self.asked.lock().unwrap()).join(", ")
    }
}

/// What a worker is asked, of which engine, with what memory. Where none is named it is the first.
fn about(message: &ToWorker) -> (&'static str, String, u32) {
    let (what, bundle, engine) = match message {
        ToWorker::Check(bundle) => ("check", bundle, bundle.engines.chosen.get("judge")),
        ToWorker::Time(bundle, engine) => ("time", bundle, Some(engine)),
        other => panic!("{other:?}"),
    };
    (what, engine.cloned().unwrap_or_else(|| "tract".into()), bundle.memory_mib)
}

impl Starter for Scripted {
    fn start(&self) -> std::io::Result<Started> {
        let (stream, mut theirs) = UnixStream::pair()?;
        let (tell, ended) = oneshot::channel();
        let (script, asked, all) =
            (self.script.clone(), self.asked.clone(), self.memory_mib.clone());
        std::thread::spawn(move || {
            let message = read::<ToWorker>(&mut theirs).unwrap().unwrap();
            let (what, engine, memory_mib) = about(&message);
            asked.lock().unwrap().push(format!("{what} {engine}"));
            all.lock().unwrap().insert(memory_mib);
            match script(&engine, &message) {
                Does::Says(said) => write(&mut theirs, &said).unwrap(),
                Does::Hangs => {}
                Does::Ends(end) => return drop(tell.send(end)),
            }
            // It goes on until nobody listens any more.
            let _ = std::io::copy(&mut theirs, &mut std::io::sink());
            let _ = tell.send(End::Itself("it was let go".into()));
        });
        Ok(Started { stream, ended, life: Life { _end: oneshot::channel().0 } })
    }
}

/// What a worker says of an engine in which all is well, and which takes so many microseconds.
pub fn well(engine: &str, message: &ToWorker, micros: u64) -> Does {
    let time = Duration::from_micros(micros);
    let timed = Figure::Timed { low: time, median: time, high: time };
    Does::Says(match message {
        ToWorker::Check(_) => {
            FromWorker::Checked(Checked { engines: judge(engine), ..Checked::default() })
        }
        _ => FromWorker::Timed(BTreeMap::from([("judge".to_owned(), timed)])),
    })
}

pub fn killed() -> Does {
    Does::Ends(End::Killed("it was killed".into()))
}

/// Limits of workers of which none is waited for in vain for long.
pub fn impatient(folder: &Path) -> WorkerLimits {
    let self_test = Duration::from_millis(500);
    WorkerLimits { memory_mib_max: 4096, self_test, ..worker_limits(folder) }
}
