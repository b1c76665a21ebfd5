//! The clock that plugins are interrupted by: one thread a process, asleep while no plugin runs.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{self, Thread};
use std::time::Duration;
use wasmtime::{Engine, EngineWeak};

/// Time between two ticks.
const TICK: Duration = Duration::from_millis(5);
const TICKS_PER_SECOND: u64 = 1_000_000_000 / TICK.as_nanos() as u64;
/// Ticks without a call after which it sleeps: to wake it takes longer than many a call.
const IDLE_TICKS: u32 = 20;

#[derive(Default)]
struct Ticker {
    engines: Mutex<Vec<EngineWeak>>,
    thread: OnceLock<Thread>,
    /// Calls under way.
    running: AtomicUsize,
    /// A call has begun since the last tick.
    is_used: AtomicBool,
    is_asleep: AtomicBool,
}

/// Lets the ticks reach this engine as long as somebody holds it.
///
/// # Errors
/// If there is no clock yet and its thread cannot be started.
pub fn register(engine: &Engine) -> std::io::Result<()> {
    let ticker = ticker();
    let mut engines = ticker.engines();
    if ticker.thread.get().is_none() {
        let thread = thread::Builder::new().name("plugin clock".into());
        let started = thread.spawn(|| ticker.run())?;
        // Whoever registers holds the lock, so nobody else has been here.
        let _ = ticker.thread.set(started.thread().clone());
    }
    engines.retain(|engine| engine.upgrade().is_some());
    engines.push(engine.weak());
    Ok(())
}

/// Keeps the clock ticking until the answer is dropped.
#[must_use]
pub fn ticking() -> Ticking {
    let ticker = ticker();
    ticker.running.fetch_add(1, SeqCst);
    // Another thread's line of the cache is written only where it has to be: once a tick.
    if !ticker.is_used.load(SeqCst) {
        ticker.is_used.store(true, SeqCst);
    }
    // Counted first and asked then: whoever falls asleep says so first and counts then.
    if ticker.is_asleep.load(SeqCst)
        && let Some(thread) = ticker.thread.get()
    {
        thread.unpark();
    }
    Ticking
}

/// The number of ticks after which `span` is surely over.
pub fn ticks(span: Duration) -> u64 {
    // Whole seconds and nanoseconds, each in 64 bits: it is done for every call, and 128 bits take longer.
    let seconds = span.as_secs().saturating_mul(TICKS_PER_SECOND);
    let rest = span.subsec_nanos().div_ceil(TICK.subsec_nanos());
    seconds.saturating_add(u64::from(rest)).max(1).saturating_add(1)
}

/// Somebody is running a plugin.
pub struct Ticking;

impl Drop for Ticking {
    fn drop(&mut self) {
        ticker().running.fetch_sub(1, SeqCst);
    }
}

impl Ticker {
    fn engines(&self) -> MutexGuard<'_, Vec<EngineWeak>> {
        // Nothing is ever left half done under the lock.
        self.engines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self) {
        let mut idle = 0;
        loop {
            thread::sleep(TICK);
            let is_running = self.running.load(SeqCst) > 0;
            if is_running {
                for engine in self.engines().iter().filter_map(EngineWeak::upgrade) {
                    engine.increment_epoch();
                }
            }
            idle = if self.is_used.swap(false, SeqCst) || is_running { 0 } else { idle + 1 };
            if idle < IDLE_TICKS {
                continue;
            }
            self.is_asleep.store(true, SeqCst);
            while self.running.load(SeqCst) == 0 && !self.is_used.load(SeqCst) {
                thread::park();
            }
            self.is_asleep.store(false, SeqCst);
            idle = 0;
        }
    }
}

fn ticker() -> &'static Ticker {
    static TICKER: OnceLock<Ticker> = OnceLock::new();
    TICKER.get_or_init(Ticker::default)
}
