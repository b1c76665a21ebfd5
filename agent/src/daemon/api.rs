//! The local API: which release of each slot it serves, and what it knows of them.

use super::House;
use super::watched::Watched;
use crate::api::{Access, ApiSlot, serve};
use crate::config::ApiConfig;
use crate::error::chain;
use crate::update::StagedRelease;
use crate::update::blobs::Blobs;
use crate::update::stage::load;
use crate::update::states::States;
use crate::worker::serving::{Counts, Means, Rule, Seat, Wanted, keep};
use crate::worker::{SlotHandle, SlotView, WorkerLimits};
use lineside_bundle::{Digest, ReleaseId};
use lineside_wire::name::SlotName;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::{oneshot, watch};
use tokio::task::spawn_blocking;

/// What a slot's models are served by.
pub(super) struct Served {
    pub(super) slot: SlotHandle,
    pub(super) limits: WorkerLimits,
}

impl House {
    /// Opens the local API for the slots. `ended` hears when nothing is under way there any more.
    pub(super) fn open_api(
        &self,
        config: &ApiConfig,
        access: Access,
        slots: BTreeMap<SlotName, Served>,
        watched: &mut Watched,
    ) -> oneshot::Receiver<()> {
        let rule = Rule { max_wait: config.max_wait, rows_max: config.batch_rows_max };
        let means = Means {
            starter: self.starter.clone(),
            patience: self.config.limits.load,
            rule,
            rows_max: config.rows_max,
        };
        let mut known = BTreeMap::new();
        for (name, Served { slot, limits }) in slots {
            let (want, wanted) = watch::channel(None);
            let vacant = Seat::Vacant("its release is not ready yet".to_owned());
            let (tell, seat) = watch::channel(vacant);
            let counts = Arc::new(Counts::default());
            let following = Following {
                slot: name.clone(),
                states: self.states.clone(),
                blobs: self.blobs.clone(),
                limits,
                view: slot.view(),
                want,
            };
            watched.task(format!("what is served of slot {name}"), following.follow());
            let keeping = keep(name.to_string(), means.clone(), wanted, tell, counts.clone());
            watched.task(format!("the models of slot {name}"), keeping);
            known.insert(name, ApiSlot { seat, counts, view: slot.view() });
        }
        let (end, ended) = oneshot::channel();
        let (telemetry, stop) = (self.telemetry.clone(), self.stop.clone());
        let serving = serve(config.clone(), access, known, telemetry, stop, end);
        watched.task("the local API", serving);
        ended
    }
}

/// Follows which release is a slot's active one.
struct Following {
    slot: SlotName,
    states: Arc<States>,
    blobs: Blobs,
    limits: WorkerLimits,
    view: watch::Receiver<SlotView>,
    want: watch::Sender<Option<Wanted>>,
}

impl Following {
    /// Has the active release served, for ever: a candidate is not before it is committed.
    async fn follow(mut self) {
        let (mut changed, mut chosen) = (self.states.changed(), self.limits.choices.changed());
        let mut served = None;
        loop {
            let active = self.active();
            let now = active.as_ref().map(|release| self.engines(release.digest));
            if now != served {
                let wanted = match active {
                    Some(release) => self.wanted(&release).await,
                    None => Ok(None),
                };
                let is_same =
                    |(release, _): &(Digest, _)| served.as_ref().is_some_and(|it| it.0 == *release);
                match wanted {
                    Ok(Some(wanted)) => {
                        served = now;
                        self.want.send_replace(Some(wanted));
                    }
                    // What was served of it is in engines in which it may not answer any more.
                    Ok(None) if now.as_ref().is_none_or(is_same) => {
                        served = None;
                        self.want.send_replace(None);
                    }
                    // Until it may be served, the release before it is.
                    Ok(None) | Err(Unread) => {}
                }
            }
            let seen = shown(&self.view.borrow());
            let is_gone = tokio::select! {
                // These bells are as old as the slots.
                _ = changed.changed() => false,
                _ = chosen.changed() => false,
                // What the slot has placed has passed its checks by then.
                placed = self.view.wait_for(|view| shown(view) != seen) => placed.is_err(),
            };
            if is_gone {
                return std::future::pending().await;
            }
        }
    }

    /// A release, and the engines in which it has passed its checks, by stage: where these change it is served
    /// anew.
    fn engines(&self, release: Digest) -> (Digest, BTreeMap<String, String>) {
        (release, self.limits.choices.of(&release).unwrap_or_default().passed)
    }

    fn active(&self) -> Option<ReleaseId> {
        let states = self.states.all();
        Some(states.get(&self.slot)?.active()?.release.clone())
    }

    /// The release as it is to be served; none where it is not known of engines that it may answer in them.
    async fn wanted(&self, release: &ReleaseId) -> Result<Option<Wanted>, Unread> {
        let (wanted, blobs, limits) = (release.clone(), self.blobs.clone(), self.limits.clone());
        let read = spawn_blocking(move || {
            let staged: StagedRelease = load(&wanted, &blobs)?;
            let passed = limits.has_passed(&staged);
            Ok::<_, crate::update::stage::StageError>(passed.then(|| limits.bundle(&staged)))
        });
        match read.await {
            Ok(Ok(bundle)) => Ok(bundle.map(|bundle| Wanted { release: release.clone(), bundle })),
            Ok(Err(error)) => {
                tracing::warn!(slot = %self.slot, "requests are not answered: {}", chain(error));
                Err(Unread)
            }
            // A panic has been told where it happened.
            Err(_) => Err(Unread),
        }
    }
}

/// A release could not be read, which has been told.
struct Unread;

fn shown(view: &SlotView) -> (Option<Digest>, bool) {
    (view.release.as_ref().map(|release| release.digest), view.answering)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::update::engines::Kept;
    use lineside_bundle::{BundleFile, build_with_operators};
    use lineside_rules::{ShadowLimits, Verdict};
    use lineside_update::{Event, SlotState, Tally, Target, step};
    use std::time::Duration;
    use tokio::time::timeout;

    /// A release with one model, whose blobs are in the store.
    fn release(blobs: &Blobs) -> ReleaseId {
        let text = "format = 1\nname = 'echo'\nversion = '1'\n\
                    [inputs.row]\nrate_hz = 1.0\nfields = [{ name = 'x' }]\n\
                    [stages.window]\nkind = 'window'\ninput = 'row'\nrows = 1\nstride = 1\n\
                    [stages.judge]\nkind = 'model'\nfile = 'judge.onnx'\ninputs.x = 'window'\n\
                    [outputs.y]\nfrom = 'judge.y'\n";
        let files = BTreeMap::from([("judge.onnx".to_owned(), vec![])]);
        let operators = BTreeMap::from([("judge.onnx".to_owned(), ["Relu".to_owned()].into())]);
        let bundle = BundleFile::parse(text).unwrap();
        let built = build_with_operators(bundle, files, operators).unwrap();
        let id = built.release_id();
        for (digest, bytes) in built.blobs.iter().chain([(&id.digest, &built.oci_manifest)]) {
            assert!(blobs.receive(digest, bytes.len() as u64, &bytes[..], &|| false).unwrap());
        }
        id
    }

    fn committed(id: &ReleaseId) -> SlotState {
        let (release, seen, verdict) = (id.digest, Tally::default(), Verdict::Passed);
        let target = Target { release: id.clone(), number: 1, floor: 0 };
        let staged = Event::Staged {
            release,
            limits: Box::default(),
            shadow: Box::default(),
            policy: ShadowLimits::default(),
            took: String::new(),
        };
        let events = [
            Event::Assigned { target, floor: 0 },
            Event::Downloaded { release, how: String::new() },
            staged,
            Event::Consented { release },
            Event::Observed { release, seen, verdict },
        ];
        events
            .into_iter()
            .fold(SlotState::default(), |state, event| step(state, event, Duration::ZERO).0)
    }

    #[tokio::test]
    async fn a_choice_of_other_engines_is_followed_and_one_of_none_ends_what_is_served() {
        let folder = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(folder.path()).unwrap();
        let id = release(&blobs);
        let slot: SlotName = "line".parse().unwrap();
        let states = Arc::new(States::default());
        states.set(&slot, committed(&id), true);
        let limits = WorkerLimits {
            memory_mib_max: 64,
            load: Duration::from_secs(1),
            self_test: Duration::from_secs(1),
            cache: folder.path().to_owned(),
            cache_key: [7; 32],
            engine: None,
            choices: Default::default(),
            library: Default::default(),
            plugin_traps: Default::default(),
        };
        let choices = limits.choices.clone();
        let (want, mut wanted) = watch::channel(None);
        let (_slot, view) = watch::channel(SlotView::default());
        let following = Following { slot, states, blobs, limits, view, want };
        let following = tokio::spawn(following.follow());
        for (engine, answers) in
            [("tract", true), ("rten", true), ("no engine", false), ("tract", true)]
        {
            let passed = BTreeMap::from([("judge".to_owned(), engine.to_owned())]);
            let kept = Kept::of(passed.clone(), None, Default::default());
            choices.keep(id.digest, kept).unwrap();
            let told = timeout(Duration::from_secs(30), wanted.changed()).await;
            told.unwrap_or_else(|_| panic!("{engine}: nobody heard of it")).unwrap();
            let chosen =
                wanted.borrow_and_update().as_ref().map(|it| it.bundle.engines.chosen.clone());
            assert_eq!(chosen, answers.then_some(passed), "{engine}");
        }
        following.abort();
    }
}
