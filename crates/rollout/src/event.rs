//! What happens: to devices, to time, and by people.

use crate::fleet::{DeviceFacts, Order};
use crate::member::Phase;
use crate::plan::Plan;
use crate::rollout::RolloutId;
use crate::site::SiteFacts;
use serde::{Deserialize, Serialize};

/// Something that happened. What is written down in this order and replayed gives the same state.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Event {
    /// The server has started: what was given out is given out again.
    Started,
    /// Time has passed. Rollouts move on here and nowhere else.
    Ticked(Ticked),

    /// A device was enrolled, or something of it has changed.
    Device(DeviceFacts),
    /// A device has left the fleet.
    Left {
        /// Its name.
        device: String,
    },
    /// What holds at a site.
    Site(SiteFacts),
    /// A device says what its slot runs.
    Reported(Report),
    /// A device was measured while it ran the release.
    Measured(Measured),
    /// Somebody has assigned something to a slot by hand: no rollout touches it from now on.
    TakenOver {
        /// The device.
        device: String,
        /// Its slot.
        slot: String,
    },

    /// Somebody has made a rollout.
    Created {
        /// Its number, larger than any before.
        rollout: RolloutId,
        /// Its plan.
        plan: Box<Plan>,
        /// Who.
        by: String,
    },
    /// Somebody does something with a rollout.
    Person(Person),
}

/// Time that has passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ticked {
    /// Milliseconds that the server has run since the last one; the driver keeps their sum.
    pub ran_ms: u64,
    /// The minute of the week in UTC, 0 being Monday 00:00; none where the clock is not to be trusted.
    pub utc_minute: Option<u16>,
}

/// What a device says of a slot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The device.
    pub device: String,
    /// The slot.
    pub slot: String,
    /// Which of its reports of this slot is the newest.
    pub order: Order,
    /// The release that answers; none if the slot is vacant. Some 30,000 are told apart over all that
    /// devices ever say; it helps to hand in one and the same text for all that the registry does not know.
    pub active: Option<String>,
    /// What goes on.
    pub way: Way,
}

/// What goes on in a slot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Way {
    /// Nothing.
    Idle,
    /// A release is on its way in.
    Working {
        /// Which.
        release: String,
        /// How far it is.
        phase: Phase,
    },
    /// It refused a release before that answered, and nothing else goes on.
    Refused {
        /// Which.
        release: String,
        /// The attempt of the last assignment that it had accepted by then.
        attempt: u8,
    },
    /// It took a release back.
    RolledBack {
        /// Which.
        release: String,
        /// The attempt of the last assignment that it had accepted by then.
        attempt: u8,
    },
}

/// How a device runs a release, of late since it got it; the driver hands the newest in last.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// The device.
    pub device: String,
    /// The slot.
    pub slot: String,
    /// The release.
    pub release: String,
    /// Frames that it is of.
    pub frames: u64,
    /// Share of them that ended in an error, 0 to 1.
    pub error_share: Option<f64>,
    /// Their 95th percentile of latency in milliseconds.
    pub latency_p95_ms: Option<f64>,
    /// Their drift, 0 to 1.
    pub drift: Option<f64>,
    /// Their agreement with the release before, 0 to 1.
    pub agreement: Option<f64>,
}

/// What somebody does with a rollout. Who may is known to whoever hands it in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Person {
    /// The rollout.
    pub rollout: RolloutId,
    /// Who.
    pub by: String,
    /// What.
    pub wish: Wish,
}

/// What people may want of a rollout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Wish {
    /// To approve it.
    Approve,
    /// That it begins.
    Begin {
        /// What becomes of conflicts with other rollouts.
        conflicts: Conflicts,
    },
    /// That it does nothing more for now. Devices that were given the release go on.
    Pause,
    /// That it goes on. What has broken a gate so far is put up with.
    Resume,
    /// That it goes on after this wave, where it asks.
    Proceed {
        /// The wave that was judged.
        wave: u8,
    },
    /// That devices that failed or are stuck are tried again.
    Retry {
        /// Which; all of them where none is named.
        devices: Vec<String>,
    },
    /// That a device is left out. One that has not decided is given what it had before, at the next
    /// tick at which the rollout does not pause; one on which the release stays keeps it.
    Exclude {
        /// Which.
        device: String,
    },
    /// That all devices are given what they had before.
    RollBack,
    /// That it is given up, and devices keep what they have.
    Abort,
    /// That it ends well, and newcomers are not given the release any more.
    Close,
    /// That it is forgotten; it has to be over.
    Forget,
}

/// What becomes of conflicts with rollouts that want the same slot of the same devices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Conflicts {
    /// The rollout does not begin.
    Refuse,
    /// Their priorities decide.
    ByPriority,
}
