//! A device as it behaves: it hears assignments late or never, and what it says is lost, late and
//! doubled on the way. It does nothing that its real engine would not do.

use crate::dice::Dice;
use lineside_rollout::{Assign, Measured, Order, Phase, Report, Way};

/// What a release does on a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nature {
    Good,
    /// It is refused before it answers.
    Refuses,
    /// It is taken back during its trial.
    RollsBack,
    /// It stays, and drifts.
    Drifts,
    /// Its download never ends.
    Hangs,
}

#[derive(Debug, Clone)]
pub struct Device {
    pub name: String,
    pub site: usize,
    pub here: bool,
    pub online: bool,
    pub nature: Nature,
    pub active: Option<String>,
    /// What the director has signed for it last, which it fetches whenever it is online.
    pub assigned: Option<Assign>,
    /// What of that it has accepted.
    accepted: Option<Assign>,
    candidate: Option<(String, Phase)>,
    /// The release that it holds against itself, whether it was rolled back, and the attempt it was in.
    blocked: Option<(String, bool, u8)>,
    previous: Option<String>,
    frames: u64,
    boot: u32,
    sequence: u32,
}

impl Device {
    pub fn new(name: String, site: usize, nature: Nature) -> Device {
        Device {
            name,
            site,
            here: true,
            online: true,
            nature,
            active: Some("r1".into()),
            assigned: None,
            accepted: None,
            candidate: None,
            blocked: None,
            previous: None,
            frames: 0,
            boot: 1,
            sequence: 0,
        }
    }

    fn has_decided(&self, assigned: &Assign) -> bool {
        let is_blocked = self.blocked.as_ref().is_some_and(|(release, _, attempt)| {
            Some(release) == assigned.release.as_ref() && *attempt >= assigned.attempt
        });
        self.active == assigned.release || is_blocked
    }

    /// Does one thing of what is due, and says so.
    pub fn live(&mut self, dice: &mut Dice) -> Option<Report> {
        if !self.online || !self.here {
            return None;
        }
        if self.assigned != self.accepted {
            self.accepted = self.assigned.clone();
            let release = self.assigned.as_ref().and_then(|assigned| assigned.release.clone());
            self.candidate = None;
            let decided = self.accepted.as_ref().is_some_and(|one| self.has_decided(one));
            match release {
                _ if decided => {}
                // What was committed here before is there already.
                Some(release) if self.previous.as_ref() == Some(&release) => {
                    self.previous = self.active.replace(release);
                    self.blocked = None;
                }
                Some(release) => {
                    self.blocked = None;
                    self.candidate = Some((release, Phase::Downloading));
                }
                None => {}
            }
            return Some(self.report());
        }
        let (release, phase) = self.candidate.clone()?;
        let attempt = self.accepted.as_ref().map_or(0, |accepted| accepted.attempt);
        let is_new = release != "r1";
        match (phase, self.nature) {
            (Phase::Downloading, Nature::Hangs) if is_new => return None,
            (Phase::Staging, Nature::Refuses) if is_new => {
                self.candidate = None;
                self.blocked = Some((release, false, attempt));
            }
            (Phase::Trial, Nature::RollsBack) if is_new => {
                self.candidate = None;
                self.blocked = Some((release, true, attempt));
            }
            (Phase::Downloading, _) => self.candidate = Some((release, Phase::Staging)),
            (Phase::Staging | Phase::Shadow | Phase::Held, _) => {
                self.candidate = Some((release, Phase::Trial));
            }
            (Phase::Trial, _) => {
                self.candidate = None;
                self.frames = 0;
                self.previous = self.active.replace(release);
            }
        }
        dice.one_in(2);
        Some(self.report())
    }

    /// It has started again; what it did not write down begins anew.
    pub fn start(&mut self) -> Report {
        self.boot += 1;
        self.sequence = 0;
        if let Some((_, phase)) = &mut self.candidate {
            *phase = (*phase).min(Phase::Staging);
        }
        self.report()
    }

    /// It has lost what it was about to do, and fetches it anew.
    pub fn forget(&mut self) -> Report {
        self.candidate = None;
        self.accepted = None;
        self.report()
    }

    pub fn report(&mut self) -> Report {
        self.sequence += 1;
        let way = match (&self.candidate, &self.blocked) {
            (Some((release, phase)), _) => Way::Working { release: release.clone(), phase: *phase },
            (None, Some((release, true, attempt))) => {
                Way::RolledBack { release: release.clone(), attempt: *attempt }
            }
            (None, Some((release, false, attempt))) => {
                Way::Refused { release: release.clone(), attempt: *attempt }
            }
            (None, None) => Way::Idle,
        };
        Report {
            device: self.name.clone(),
            slot: "line".into(),
            order: Order { boot: self.boot, sequence: self.sequence },
            active: self.active.clone(),
            way,
        }
    }

    pub fn measured(&mut self) -> Option<Measured> {
        let release = self.active.clone().filter(|release| release != "r1")?;
        self.frames += 50;
        let drift = if self.nature == Nature::Drifts { 0.9 } else { 0.01 };
        Some(Measured {
            device: self.name.clone(),
            slot: "line".into(),
            release,
            frames: self.frames,
            error_share: Some(0.0),
            latency_p95_ms: Some(5.0),
            drift: Some(drift),
            agreement: None,
        })
    }
}
