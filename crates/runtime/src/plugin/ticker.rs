//! The clock that plugins are interrupted by: one thread a process, asleep while no plugin runs.

use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;
use wasmtime::{Engine, EngineWeak};

/// Time between two ticks.
const TICK: Duration = Duration::from_millis(5);

#[derive(Default)]
struct Ticker {
    state: Mutex<State>,
    wake: Condvar,
}

#[derive(Default)]
struct State {
    engines: Vec<EngineWeak>,
    running: usize,
    started: bool,
}

/// Lets the ticks reach this engine as long as somebody holds it.
///
/// # Errors
/// If there is no clock yet and its thread cannot be started.
pub fn register(engine: &Engine) -> std::io::Result<()> {
    let ticker = ticker();
    let mut state = ticker.state();
    if !state.started {
        std::thread::Builder::new().name("plugin clock".into()).spawn(|| ticker.run())?;
        state.started = true;
    }
    state.engines.retain(|engine| engine.upgrade().is_some());
    state.engines.push(engine.weak());
    Ok(())
}

/// Keeps the clock ticking until the answer is dropped.
#[must_use]
pub fn ticking() -> Ticking {
    let ticker = ticker();
    ticker.state().running += 1;
    ticker.wake.notify_one();
    Ticking
}

/// The number of ticks after which `span` is surely over.
pub fn ticks(span: Duration) -> u64 {
    (span.as_micros().div_ceil(TICK.as_micros()) as u64).max(1) + 1
}

/// Somebody is running a plugin.
pub struct Ticking;

impl Drop for Ticking {
    fn drop(&mut self) {
        ticker().state().running -= 1;
    }
}

impl Ticker {
    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing is ever left half done under the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self) {
        loop {
            let mut state = self.state();
            while state.running == 0 {
                state = self.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            for engine in state.engines.iter().filter_map(EngineWeak::upgrade) {
                engine.increment_epoch();
            }
            drop(state);
            std::thread::sleep(TICK);
        }
    }
}

fn ticker() -> &'static Ticker {
    static TICKER: OnceLock<Ticker> = OnceLock::new();
    TICKER.get_or_init(Ticker::default)
}
