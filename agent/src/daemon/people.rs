//! What people on the device are told, and the door at which they ask.

use super::House;
use super::watched::Watched;
use crate::capture::CaptureReport;
use crate::fleet::carry::Carrier;
use crate::fleet::identity::{Identity, IdentityReport};
use crate::fleet::status::Sources;
use crate::ledger::Ledger;
use crate::local;
use crate::status::{DeviceStatus, SlotReport, by_sink};
use crate::store::Store;
use crate::telemetry::Fires;
use crate::update::consent::Site;
use crate::update::driver::Updates;
use crate::update::states::States;
use crate::worker::SlotView;
use lineside_wire::name::{DeviceId, SlotName};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::block_in_place;

/// What is known of a slot beside what the journal says.
pub(super) struct Shown {
    /// How its readings and answers go.
    pub(super) view: watch::Receiver<SlotView>,
    /// What its rules want that fire.
    pub(super) fires: watch::Receiver<Fires>,
    /// Whether its route may be changed.
    pub(super) site: Site,
}

/// How the device is known to its server.
pub(super) struct Known {
    /// By which key; none where it comes by a password, or not at all.
    pub(super) identity: Option<Identity>,
    /// Whether it is connected.
    pub(super) connected: watch::Receiver<bool>,
}

/// Where a status of the device comes from.
struct Told {
    device: DeviceId,
    /// What has become of what the device had written down.
    state: Vec<String>,
    states: Arc<States>,
    shown: BTreeMap<SlotName, Shown>,
    sources: Sources,
    ledger: Ledger,
    updates: Updates,
    known: Known,
}

impl Told {
    fn status(&self) -> DeviceStatus {
        let reports = self.states.all().into_iter().filter_map(|(name, state)| {
            let Shown { view, fires, site } = self.shown.get(&name)?;
            let source = self.sources.get(&name).and_then(|problem| problem.borrow().clone());
            let held = block_in_place(|| Handle::current().block_on(site.reasons()));
            let report = SlotReport::of(&state, view.borrow().clone(), source, held);
            Some((name, SlotReport { rules: fires.borrow().rules.clone(), ..report }))
        });
        // A disk that gives no numbers must not hide the rest.
        let outbox = block_in_place(|| self.ledger.outbox()).unwrap_or_default();
        let versions = *self.updates.versions().borrow();
        DeviceStatus {
            device: self.device.clone(),
            running: true,
            connected: *self.known.connected.borrow(),
            identity: self.known.identity.as_ref().map(IdentityReport::of),
            trouble: self.updates.trouble(),
            state: self.state.clone(),
            assignment: versions.assignment,
            releases: versions.releases,
            slots: reports.collect(),
            waiting: by_sink(&outbox, |findings| findings.waiting),
            gave_way: by_sink(&outbox, |findings| findings.gave_way),
        }
    }
}

impl House {
    /// Opens the door for people on the device. Without it the device works as before; only people have to
    /// look elsewhere.
    pub(super) fn open_door(
        &self,
        store: &Store,
        shown: BTreeMap<SlotName, Shown>,
        sources: &Sources,
        updates: Updates,
        known: Known,
        watched: &mut Watched,
    ) {
        let state = store.lost().iter().map(String::as_str).chain(store.unwritable());
        let told = Told {
            device: self.name.clone(),
            state: state.map(str::to_owned).collect(),
            states: self.states.clone(),
            shown,
            sources: sources.clone(),
            ledger: self.ledger.clone(),
            updates: updates.clone(),
            known,
        };
        let places = self.captures();
        let captured = move || {
            let told = places.iter().map(|(slot, place)| (slot.clone(), CaptureReport::of(place)));
            told.collect()
        };
        let carrier = Carrier {
            device_dir: self.config.device_dir.clone(),
            reporter: self.reporter(sources),
            updates: updates.clone(),
            telemetry: self.telemetry.clone(),
        };
        let (status, holds) = (move || told.status(), self.holds.clone());
        match local::serve(store.folder(), status, captured, updates, holds, carrier) {
            Ok(serving) => watched.task("the door for people", serving),
            Err(error) => tracing::warn!(
                "`lineside-agent status`, `install`, `hold` and `report` will not work: {error}"
            ),
        }
    }
}
