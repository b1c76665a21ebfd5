//! Two agents under one name: a folder or a card was copied. They take each other's connection, and each
//! says of itself what the other is not.

use lineside_wire::name::DeviceId;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long it is remembered that one was heard.
const REMEMBERED: Duration = Duration::from_secs(15 * 60);

/// What devices have said of their starts: an entry a device, so it is as bounded as they are.
#[derive(Debug, Default)]
pub(crate) struct Twins(Mutex<BTreeMap<DeviceId, Heard>>);

#[derive(Debug)]
struct Heard {
    /// The start that spoke last.
    boot: u64,
    /// The one that spoke before it.
    before: Option<u64>,
    /// When one spoke again that another one had come after.
    returned: Option<Instant>,
}

impl Twins {
    /// Takes note of a device's start that speaks. One that is over never speaks again.
    pub fn hear(&self, device: &DeviceId, boot: u64, now: Instant) {
        let mut heard = self.lock();
        if let Some(known) = heard.get_mut(device) {
            if known.boot == boot {
                return;
            }
            if known.before == Some(boot) {
                known.returned = Some(now);
            }
            (known.before, known.boot) = (Some(known.boot), boot);
        } else {
            heard.insert(device.clone(), Heard { boot, before: None, returned: None });
        }
    }

    /// Whether two agents speak under this name.
    pub fn are(&self, device: &DeviceId, now: Instant) -> bool {
        let heard = self.lock();
        let returned = heard.get(device).and_then(|heard| heard.returned);
        returned.is_some_and(|at| now.saturating_duration_since(at) < REMEMBERED)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<DeviceId, Heard>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_that_starts_over_is_one_and_starts_that_take_turns_are_two() {
        let twins = Twins::default();
        let (device, other): (DeviceId, DeviceId) =
            ("line-3".parse().unwrap(), "line-4".parse().unwrap());
        let now = Instant::now();
        for boot in [1, 1, 5, 9, 9] {
            twins.hear(&device, boot, now);
            assert!(!twins.are(&device, now));
        }
        twins.hear(&device, 5, now);
        assert!(twins.are(&device, now) && !twins.are(&other, now));
        // The copy was taken away.
        twins.hear(&device, 10, now + REMEMBERED / 2);
        assert!(!twins.are(&device, now + REMEMBERED));
    }
}
