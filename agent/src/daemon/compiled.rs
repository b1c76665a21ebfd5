//! Removes what was compiled for releases that no slot holds any more.
//!
//! Only the supervisor knows which are held. A worker that compiles would make the code give way that is
//! oldest, and that is the code of whatever has run longest.

use crate::update::states::States;
use crate::worker::WorkerLimits;
use lineside_bundle::Digest;
use std::collections::BTreeSet;
use std::sync::Arc;
use tokio::task::spawn_blocking;

/// Does so for ever, whenever the slots hold others than before.
pub(super) async fn keep_compiled(states: Arc<States>, limits: WorkerLimits) {
    let (mut changed, mut known) = (states.changed(), None);
    loop {
        let held = held(&states);
        if known.as_ref() != Some(&held) {
            let (limits, wanted) = (limits.clone(), held.clone());
            match spawn_blocking(move || limits.keep_compiled(&wanted)).await {
                Ok(Err(error)) => tracing::warn!("compiled plugins are not removed: {error}"),
                Ok(Ok(count)) if count > 0 => {
                    tracing::debug!("{count} compiled plugins removed that no slot needs");
                }
                // A panic has been told where it happened.
                Ok(Ok(_)) | Err(_) => {}
            }
            known = Some(held);
        }
        // The bell is as old as the slots.
        let _ = changed.changed().await;
    }
}

fn held(states: &States) -> BTreeSet<Digest> {
    let mut held = BTreeSet::new();
    for state in states.all().values() {
        let installed = state.active().into_iter().chain(state.previous()).chain(state.stand_in());
        held.extend(installed.map(|installed| installed.release.digest));
        held.extend(state.candidate().map(|release| release.digest));
    }
    held
}

#[cfg(test)]
mod tests {
    use super::*;
    use lineside_bundle::ReleaseId;
    use lineside_update::{Event, SlotState, Target, step};
    use std::time::Duration;
    use tokio::time::{sleep, timeout};

    #[tokio::test]
    async fn nothing_stays_compiled_that_no_slot_holds() {
        let folder = tempfile::tempdir().unwrap();
        let cache = folder.path().to_owned();
        let limits = WorkerLimits {
            memory_mib_max: 64,
            load: Duration::from_secs(1),
            self_test: Duration::from_secs(1),
            cache: cache.clone(),
            cache_key: [7; 32],
            engine: None,
            choices: Default::default(),
            library: Default::default(),
            plugin_traps: Default::default(),
        };
        let states = Arc::new(States::default());
        let keeping = tokio::spawn(keep_compiled(states.clone(), limits));
        let digest = Digest::of(b"a release");
        let (name, version) = ("echo".parse().unwrap(), "1".parse().unwrap());
        let release = ReleaseId { name, version, digest, size: 1 };
        let target = Target { release, number: 1, floor: 0 };
        let assigned = Event::Assigned { target, floor: 0 };
        let (state, _) = step(SlotState::default(), assigned, Duration::ZERO);
        std::fs::write(cache.join("plugin-compiler-others.cwasm"), "code").unwrap();
        states.set(&"line".parse().unwrap(), state, true);
        assert_eq!(held(&states), BTreeSet::from([digest]));
        let gone = async {
            while std::fs::read_dir(&cache).unwrap().count() > 0 {
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(Duration::from_secs(30), gone).await.expect("it is kept");
        keeping.abort();
    }
}
