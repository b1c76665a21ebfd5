//! What a device promises, one by one.

use std::fmt;

/// A promise, by the name under which it is known (updates.md, 2.1; the rest is DESIGN.md's).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Promise {
    /// P1: after any loss of power the slot runs the old or the new release, whole and checked; never
    /// neither, once it had one.
    OldOrNew,
    /// P2: a release that does not load, answers wrongly or misbehaves on trial never stays, and goes
    /// back without a network.
    BadGoesBack,
    /// P3: a release is tried a bounded number of times, and then not until another one was named, or a
    /// person has said so anew; one that would not run on such a device, not until the device is another
    /// one.
    Bounded,
    /// Whatever is stuck: what is assigned is what the slot is heading for at once.
    Next,
    /// P4: floors never fall, and nothing is committed below one of any slot of the device.
    Floors,
    /// P5: a download that is wanted is left to go on; what it has fetched is the store's to keep.
    DownloadGoesOn,
    /// P6: what answers goes on answering while another release is fetched, checked, compared or held
    /// back; where it is damaged on disk it is fetched before anything else is.
    GoesOnAnswering,
    /// P7: a disk that takes nothing leaves the committed release running, and nothing new begins.
    FullDisk,
    /// P8: each change is a report, in its order.
    Told,
    /// No candidate takes the route while the site says no.
    Consent,
    /// A release that a person has to approve waits for a person, and for an approval of this one.
    Approval,
    /// What nobody vouches for is left at once, wherever it is on its way, and does not come back by
    /// itself; only what is active by then goes on running.
    Vouched,
    /// Whoever goes back to a release that was committed here waits for nobody.
    WayBack,
    /// What somebody wants compared is compared, with the release that is active.
    Compared,
    /// Whatever answers beside the route is the candidate, and does not act.
    Beside,
    /// Everything that can grow has a bound.
    NothingGrows,
    /// A trial and a comparison have their time with readings: a line that stands still is held against
    /// no release.
    Fair,
    /// When all is well again the slot comes to rest, on the release that is wanted if that is good.
    Rest,
    /// The table takes every event in every state.
    NeverPanics,
}

/// A promise that was not kept.
#[derive(Debug, Clone)]
pub struct Broken {
    pub promise: Promise,
    pub how: String,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.promise, self.how)
    }
}

pub type Kept = Result<(), Broken>;

/// Says that `promise` is broken unless it `holds`.
pub fn keep(promise: Promise, holds: bool, how: impl FnOnce() -> String) -> Kept {
    if holds { Ok(()) } else { Err(Broken { promise, how: how() }) }
}
