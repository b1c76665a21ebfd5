//! How a device is, for the people beside it.

use crate::config::Config;
use crate::fleet::Device;
use crate::fleet::identity::IdentityReport;
use crate::ledger::{Ledger, Outbox, OutboxLimits, SlotCounts};
use crate::store::Store;
use crate::telemetry;
use crate::update::journal::{Accepted, Journal};
use crate::worker::SlotView;
use lineside_bundle::Digest;
use lineside_update::SlotState;
use lineside_wire::name::{DeviceId, SlotName};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// How a device is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeviceStatus {
    /// The device.
    pub device: DeviceId,
    /// Whether its agent runs.
    pub running: bool,
    /// Whether the server is connected.
    pub connected: bool,
    /// By which key the server knows it; nothing where it comes by a password, or does not run.
    #[serde(default)]
    pub identity: Option<IdentityReport>,
    /// What keeps updates from coming; nothing while they come.
    pub trouble: Option<String>,
    /// What has become of what the device had written down: what is lost, and why nothing can be written.
    #[serde(default)]
    pub state: Vec<String>,
    /// Version of the assignment that it follows, 0 for none.
    pub assignment: u64,
    /// Version of the list of releases that it knows, 0 for none.
    pub releases: u64,
    /// Its slots.
    pub slots: BTreeMap<SlotName, SlotReport>,
    /// Findings that wait, by sink.
    pub waiting: BTreeMap<String, u64>,
    /// Findings that had to give way because too many waited, by sink.
    pub gave_way: BTreeMap<String, u64>,
}

/// How a slot is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SlotReport {
    /// The committed release; none if the slot is vacant.
    pub active: Option<String>,
    /// The release kept beside it.
    pub previous: Option<String>,
    /// The release on its way in.
    pub candidate: Option<String>,
    /// Its digest, by which it is approved: names may be used twice.
    pub candidate_digest: Option<Digest>,
    /// `idle`, `downloading`, `staging`, `shadow`, `held` or `trial`.
    pub phase: String,
    /// What people should know.
    pub note: String,
    /// Why its source brings no readings; nothing while it does.
    pub source: Option<String>,
    /// Why its route may not be changed now; empty if it may.
    pub held: Vec<String>,
    /// Whether a worker is ready to answer.
    pub answering: bool,
    /// Which plugin of the active release broke too often and is not run any more; nothing if each is run.
    #[serde(default)]
    pub quarantined: Option<String>,
    /// The rules on what it tells that fire.
    #[serde(default)]
    pub rules: Vec<String>,
    /// Readings accepted that no frame has accounted for yet.
    pub owed: u64,
    /// What it has counted since it exists.
    pub counts: SlotCounts,
}

impl SlotReport {
    /// Of what the journal, the data way and its source say.
    pub fn of(
        state: &SlotState,
        view: SlotView,
        source: Option<String>,
        held: Vec<String>,
    ) -> SlotReport {
        SlotReport {
            active: state.active().map(|held| held.release.to_string()),
            previous: state.previous().map(|held| held.release.to_string()),
            candidate: state.candidate().map(ToString::to_string),
            candidate_digest: state.candidate().map(|release| release.digest),
            phase: state.phase().name().to_owned(),
            note: state.note(),
            source,
            held,
            answering: view.answering,
            quarantined: view.quarantined,
            rules: Vec::new(),
            owed: view.owed,
            counts: view.counts,
        }
    }

    /// The release that a person may approve here: the one on its way in, and no other than the one
    /// `looked_at`, where he says which.
    ///
    /// # Errors
    /// What there is instead, for people.
    pub fn to_approve(&self, looked_at: Option<&str>) -> Result<Digest, String> {
        let (Some(candidate), Some(digest)) = (&self.candidate, self.candidate_digest) else {
            let active = self.active.as_deref().unwrap_or("no release");
            let note = match self.note.as_str() {
                "" => String::new(),
                note => format!("; {note}"),
            };
            return Err(format!("nothing waits for an approval: {active} is active{note}"));
        };
        match looked_at {
            Some(other) if other != candidate => Err(format!(
                "{other} does not wait for an approval, but {candidate} may: {}",
                self.note
            )),
            _ if self.phase == "trial" => Err(format!("{candidate} is on trial already")),
            _ => Ok(digest),
        }
    }
}

/// One number of each sink.
pub fn by_sink(
    outbox: &BTreeMap<String, Outbox>,
    number: impl Fn(&Outbox) -> u64,
) -> BTreeMap<String, u64> {
    outbox.iter().map(|(sink, findings)| (sink.clone(), number(findings))).collect()
}

impl DeviceStatus {
    /// What the disk says of an agent that does not run.
    ///
    /// # Errors
    /// The state folder cannot be read, or an agent that does not answer holds it.
    pub fn at_rest(config: &Config) -> anyhow::Result<DeviceStatus> {
        let store = Store::look_into(&config.state_dir)?;
        let journal = Journal::open(store.database())?;
        let device = name(config, &journal)?;
        let ledger = Ledger::of(store.database(), OutboxLimits { findings_max: 1, block: true })?;
        let accepted = journal.accepted()?;
        let version = |seen: Option<lineside_trust::Seen>| seen.map_or(0, |seen| seen.version);
        let mut slots = BTreeMap::new();
        for name in config.slots.keys() {
            let counts = ledger.restore(name)?.record.counts;
            let view = SlotView { counts, ..SlotView::default() };
            let report = SlotReport::of(&journal.slot(name)?, view, None, Vec::new());
            let rules = telemetry::firing(&store.database(), name)?;
            slots.insert(name.clone(), SlotReport { rules, ..report });
        }
        let outbox = ledger.outbox()?;
        Ok(DeviceStatus {
            device,
            running: false,
            connected: false,
            identity: None,
            trouble: None,
            state: store.told().map(str::to_owned).into_iter().collect(),
            assignment: version(accepted.assignment),
            releases: version(accepted.releases),
            slots,
            waiting: by_sink(&outbox, |findings| findings.waiting),
            gave_way: by_sink(&outbox, |findings| findings.gave_way),
        })
    }
}

/// What the device is called: by its folder, or by the journal where that cannot be read.
///
/// # Errors
/// What the folder says, on a device that has no history.
pub fn name(config: &Config, journal: &Journal) -> anyhow::Result<DeviceId> {
    let error = match Device::name(&config.device_dir) {
        Ok(name) => return Ok(name),
        Err(error) => error,
    };
    match journal.accepted() {
        Ok(Accepted { owner: Some(owner), .. }) => Ok(owner.device),
        _ => Err(error.into()),
    }
}

impl fmt::Display for DeviceStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match (self.running, self.connected) {
            (false, _) => "its agent does not run",
            (true, false) => "running, the server is away",
            (true, true) => "running, connected to the server",
        };
        writeln!(f, "{}: {state}", self.device)?;
        if let Some(identity) = &self.identity {
            let ends = identity.certificate_ends.as_ref();
            let ends = ends.map_or_else(|| "none yet".to_owned(), |day| format!("until {day}"));
            writeln!(f, "  key {}, certificate {ends}", identity.key)?;
            if let Some(trouble) = &identity.trouble {
                writeln!(f, "  {trouble}")?;
            }
        }
        if let Some(trouble) = &self.trouble {
            writeln!(f, "  {trouble}")?;
        }
        for sentence in &self.state {
            writeln!(f, "  {sentence}")?;
        }
        for (name, slot) in &self.slots {
            let none = || "none".to_owned();
            let active = slot.active.clone().unwrap_or_else(|| "vacant".to_owned());
            let answering = match (self.running, slot.answering) {
                (true, true) => ", answering",
                (true, false) => ", not answering",
                (false, _) => "",
            };
            writeln!(f, "  slot {name}: {active}{answering}")?;
            let previous = slot.previous.clone().unwrap_or_else(none);
            let candidate = slot.candidate.clone().unwrap_or_else(none);
            writeln!(f, "    previous {previous}, candidate {candidate}, {}", slot.phase)?;
            if !slot.note.is_empty() {
                writeln!(f, "    {}", slot.note)?;
            }
            if let Some(reason) = &slot.quarantined {
                writeln!(f, "    quarantined: {reason}")?;
            }
            for rule in &slot.rules {
                writeln!(f, "    rule {rule} fires")?;
            }
            for reason in &slot.held {
                writeln!(f, "    no update takes the route now: {reason}")?;
            }
            if let Some(problem) = &slot.source {
                writeln!(f, "    its source brings no readings: {problem}")?;
            }
            let counts = &slot.counts;
            writeln!(
                f,
                "    {} readings, {} frames, {} findings, {} alarms; lost {}, doubled {}",
                counts.accepted,
                counts.frames,
                counts.findings,
                counts.alarms,
                counts.lost,
                counts.doubled
            )?;
            if counts.findings_dropped > 0 {
                let dropped = counts.findings_dropped;
                writeln!(f, "    {dropped} findings gave way while the disk took nothing")?;
            }
            if counts.worker_kills > 0 {
                let kills = counts.worker_kills;
                writeln!(f, "    {kills} workers were ended by somebody else")?;
            }
            if counts.capture_dropped > 0 {
                let dropped = counts.capture_dropped;
                writeln!(f, "    {dropped} readings and answers could not be captured")?;
            }
            for (what, reasons) in [("dropped", &counts.dropped), ("errors", &counts.errors)] {
                for (reason, count) in reasons {
                    writeln!(f, "    {what}: {count} × {reason}")?;
                }
            }
        }
        for (sink, count) in self.waiting.iter().filter(|(_, count)| **count > 0) {
            writeln!(f, "  {count} findings wait for sink {sink}")?;
        }
        for (sink, count) in self.gave_way.iter().filter(|(_, count)| **count > 0) {
            writeln!(f, "  {count} findings gave way: too many waited for sink {sink}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_person_approves_is_what_he_has_looked_at_and_waits() {
        let mut slot = SlotReport::of(&SlotState::default(), SlotView::default(), None, Vec::new());
        slot.active = Some("echo v1".into());
        slot.note = "refused: its checks".into();
        let said = slot.to_approve(None).unwrap_err();
        assert_eq!(said, "nothing waits for an approval: echo v1 is active; refused: its checks");
        let digest = Digest::of(b"echo v2");
        (slot.candidate, slot.candidate_digest) = (Some("echo v2".into()), Some(digest));
        (slot.phase, slot.note) = ("held".into(), "echo v2 waits for a person".into());
        assert_eq!(slot.to_approve(None), Ok(digest));
        assert_eq!(slot.to_approve(Some("echo v2")), Ok(digest));
        let said = slot.to_approve(Some("echo v3")).unwrap_err();
        assert!(said.contains("echo v3 does not wait for an approval, but echo v2 may"), "{said}");
        slot.phase = "trial".into();
        assert_eq!(slot.to_approve(None).unwrap_err(), "echo v2 is on trial already");
    }
}
