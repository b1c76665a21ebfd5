//! A life of a small fleet, as data: what its releases are like, and what happens, one thing after
//! the other. A life that breaks a promise can so be made shorter by leaving things out.

use crate::dice::Dice;
use lineside_bundle::{Digest, ReleaseId};
use lineside_rules::{Decide, ShadowLimits};
use lineside_update::{FAILURES_MAX, Target};

/// Devices of a fleet.
pub const DEVICES: usize = 2;
/// Things that happen in a life.
const HAPPENINGS: u64 = 320;

/// What a release is like, whoever says what of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nature {
    /// It does what it should.
    Good,
    /// Its checks fail on this device.
    WrongAnswers,
    /// No worker of it ever starts.
    DoesNotStart,
    /// Its worker dies on trial again and again.
    Misbehaves,
    /// Readings come, and it never accounts for a frame.
    Mute,
    /// It answers, and otherwise than the active release.
    Differs,
    /// The device starts over soon after it has been begun with, wherever it runs.
    Deadly,
    /// Whoever gives it out gives out other bytes.
    Corrupt,
    /// Its download would never end, and is refused for its size.
    Endless,
    /// It does what it should on a device that has grown, and would not run on another.
    Large,
}

/// A release as its publisher has made it.
#[derive(Debug, Clone)]
pub struct Published {
    pub target: Target,
    pub nature: Nature,
    /// How its author wants it to be compared.
    pub shadow: ShadowLimits,
}

/// What goes wrong with one effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    Nothing,
    /// An I/O error, no memory, no process: it may pass.
    Elsewhere,
    /// A blob rots.
    Rot,
}

/// One thing that happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Happening {
    /// The director names a release for a device, in a document of its own; perhaps because a person
    /// wants it tried again.
    Assign {
        device: usize,
        release: usize,
        approved: bool,
        floor: u64,
        again: bool,
    },
    /// The newest document reaches the device, or an older one: late, doubled, replayed.
    Deliver {
        device: usize,
        back: usize,
    },
    /// A list of releases reaches the device that names this one no longer, or names it again; or what
    /// was accepted last.
    List {
        device: usize,
        release: Option<usize>,
        named: bool,
    },
    /// Nothing is assigned to the slot any more.
    Unassign {
        device: usize,
    },
    /// The same assignment is told to the slot once more.
    Retell {
        device: usize,
    },
    /// The next effect is carried out.
    Carry {
        device: usize,
        fault: Fault,
    },
    /// One of the answers under way arrives.
    Answer {
        device: usize,
        which: usize,
    },
    /// Time passes, and frames come in.
    Run {
        device: usize,
        seconds: u64,
        frames: u64,
    },
    /// A release is assigned, approved and delivered, and for a while one thing follows the other as it
    /// should: much has been committed before something goes wrong.
    Update {
        device: usize,
        release: usize,
    },
    /// The worker on the route dies, or one that is long gone; perhaps again and again.
    Die {
        device: usize,
        release: Option<usize>,
        times: u32,
    },
    /// The power goes, and comes back.
    Cut {
        device: usize,
    },
    /// The power goes when the next state is to be written.
    CutAtWrite {
        device: usize,
    },
    /// The device gets what `Large` releases need, or loses it.
    Grow {
        device: usize,
        grown: bool,
    },
    /// Somebody stops the agent and starts it again.
    Restart {
        device: usize,
    },
    Disk {
        device: usize,
        full: bool,
    },
    Network {
        device: usize,
        up: bool,
    },
    /// What lies on the disk rots, whether anybody looks at it or not: this release, or what the slot
    /// would go back to.
    Rot {
        device: usize,
        release: Option<usize>,
    },
    /// The site wants releases to be compared otherwise than before.
    Policy {
        device: usize,
        frames: Option<u64>,
        asks: bool,
    },
    /// What the site says when it is asked for its consent: a reason against it, and whether it is late.
    Site {
        device: usize,
        against: Option<u8>,
        late: bool,
    },
}

/// All of it.
#[derive(Debug, Clone)]
pub struct Life {
    pub releases: Vec<Published>,
    /// How each device's site wants releases compared.
    pub policies: [ShadowLimits; DEVICES],
    pub happenings: Vec<Happening>,
}

impl Life {
    pub fn of(seed: u64) -> Life {
        let mut dice = Dice(seed);
        // In the gentle half of all lives updates come far; in the rough half little is left alone.
        let rough = dice.one_in(2);
        let mut releases = Vec::new();
        for (bundle, count) in [("pump", 5), ("fan", 2)] {
            let mut floor = 0;
            for number in 1..=count {
                floor += dice.below(number - floor + 1) * dice.below(2);
                let shadow = limits(&mut dice);
                let nature = if rough || dice.one_in(3) { nature(&mut dice) } else { Nature::Good };
                releases.push(published(bundle, number, floor, nature, shadow));
            }
        }
        let policies = [limits(&mut dice), limits(&mut dice)];
        let mut one = || {
            let happening = happening(&mut dice, releases.len());
            if rough { happening } else { softened(happening, &mut dice) }
        };
        let happenings = (0..HAPPENINGS).map(|_| one()).collect();
        Life { releases, policies, happenings }
    }
}

pub fn published(
    bundle: &str,
    number: u64,
    floor: u64,
    nature: Nature,
    shadow: ShadowLimits,
) -> Published {
    let release = ReleaseId {
        name: bundle.parse().unwrap(),
        version: number.to_string().parse().unwrap(),
        digest: Digest::of(format!("{bundle} {number}").as_bytes()),
        size: 1,
    };
    Published { target: Target { release, number, floor }, nature, shadow }
}

fn nature(dice: &mut Dice) -> Nature {
    use Nature::*;
    match dice.below(2) {
        0 => Good,
        _ => dice.any(&[
            WrongAnswers,
            DoesNotStart,
            Misbehaves,
            Mute,
            Differs,
            Deadly,
            Corrupt,
            Endless,
            Large,
        ]),
    }
}

fn limits(dice: &mut Dice) -> ShadowLimits {
    let asked = dice.one_in(4);
    ShadowLimits {
        frames: asked.then_some(10),
        agreement_min: asked.then_some(0.9),
        decide: dice.one_in(8).then_some(Decide::Ask),
        ..ShadowLimits::default()
    }
}

/// The same, or in most cases where it would be in the way of an update, something that is not.
fn softened(happening: Happening, dice: &mut Dice) -> Happening {
    use Happening::*;
    let device = match happening {
        // To and fro between a few.
        Assign { device, release, approved, floor, again } => {
            return Assign { device, release: release % 3, approved, floor, again };
        }
        Update { device, release } => return Update { device, release: release % 3 },
        Cut { device }
        | CutAtWrite { device }
        | Restart { device }
        | Disk { device, full: true }
        | Network { device, up: false }
        | Site { device, against: Some(_), .. }
        | Die { device, .. }
        | List { device, .. }
        | Unassign { device }
        | Rot { device, .. }
        | Carry { device, .. } => device,
        other => return other,
    };
    if dice.one_in(6) { happening } else { Carry { device, fault: Fault::Nothing } }
}

fn happening(dice: &mut Dice, releases: usize) -> Happening {
    use Happening::*;
    let device = dice.below(DEVICES as u64) as usize;
    let release = dice.below(releases as u64) as usize;
    match dice.below(47) {
        0 => {
            let (approved, floor) = (dice.one_in(3), dice.below(4) * dice.below(2));
            Assign { device, release, approved, floor, again: dice.one_in(3) }
        }
        1 | 2 => Deliver { device, back: (dice.below(4) * dice.below(2)) as usize },
        3 => Retell { device },
        4 => Cut { device },
        5 => CutAtWrite { device },
        6 => Restart { device },
        7 => Disk { device, full: dice.one_in(3) },
        8 => Network { device, up: !dice.one_in(3) },
        9 => {
            let against = dice.one_in(2).then(|| dice.below(3) as u8);
            Site { device, against, late: dice.one_in(4) }
        }
        10 => {
            let times = if dice.one_in(3) { FAILURES_MAX } else { 1 };
            Die { device, release: dice.one_in(3).then_some(release), times }
        }
        11..=18 => {
            // A device that was asleep for years has one long second.
            let seconds = dice.any(&[0, 1, 1, 5, 60, 700, 4000, u64::MAX]);
            Run { device, seconds, frames: dice.any(&[0, 1, 8, 30]) }
        }
        43 => Rot { device, release: dice.one_in(2).then_some(release) },
        42 => {
            let frames = dice.one_in(2).then(|| 10 * (1 + dice.below(2)));
            Policy { device, frames, asks: dice.one_in(4) }
        }
        45 | 46 => Update { device, release },
        44 => Unassign { device },
        41 => {
            let release = dice.one_in(2).then_some(release);
            List { device, release, named: dice.one_in(4) }
        }
        40 => Grow { device, grown: dice.one_in(2) },
        19..=27 => Answer { device, which: dice.below(4) as usize },
        _ => {
            let fault = match dice.below(10) {
                0 | 1 => Fault::Elsewhere,
                2 => Fault::Rot,
                _ => Fault::Nothing,
            };
            Carry { device, fault }
        }
    }
}
