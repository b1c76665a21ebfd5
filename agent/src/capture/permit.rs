//! What a slot may keep of its readings: the device's own bounds, within what its site has signed.

use super::segments::Bounds;
use lineside_rules::{CaptureLimits, SitePolicy};
use lineside_wire::name::SlotName;
use std::time::Duration;
use tokio::sync::watch;

/// What may be kept. The site may change its mind at any time.
pub struct Permit {
    own: Bounds,
    slot: SlotName,
    policy: watch::Receiver<SitePolicy>,
}

impl Permit {
    /// What the device's own settings allow for `slot`, as far as the site's policy does.
    pub fn new(own: Bounds, slot: SlotName, policy: watch::Receiver<SitePolicy>) -> Permit {
        Permit { own, slot, policy }
    }

    /// What may be kept now; none where nothing may be.
    pub fn bounds(&self) -> Option<Bounds> {
        let limits = self.policy.borrow().capture(self.slot.as_str());
        limits.is_allowed().then(|| within(self.own, &limits))
    }
}

/// The strictest of both.
fn within(own: Bounds, limits: &CaptureLimits) -> Bounds {
    let Bounds { bytes_max, age_max } = own;
    let site_bytes = limits.mib_max.map_or(u64::MAX, |mib| mib.saturating_mul(1 << 20));
    let site_age =
        limits.hours_max.map_or(Duration::MAX, |hours| Duration::from_secs(hours * 3600));
    Bounds { bytes_max: bytes_max.min(site_bytes), age_max: age_max.min(site_age) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lineside_rules::SlotPolicy;
    use std::collections::BTreeMap;

    const MIB: u64 = 1 << 20;
    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn the_strictest_of_device_and_site_holds_in_the_slot_that_is_meant() {
        let own = Bounds { bytes_max: 16 * MIB, age_max: 24 * HOUR };
        let (tell, policy) = watch::channel(SitePolicy::default());
        let permit = |slot: &str| Permit::new(own, slot.parse().unwrap(), policy.clone());
        let (line, other) = (permit("line"), permit("other"));
        assert_eq!((line.bounds(), other.bounds()), (Some(own), Some(own)));
        let slot = |allowed, mib_max, hours_max| SlotPolicy {
            capture: CaptureLimits { allowed, mib_max, hours_max },
            ..SlotPolicy::default()
        };
        let slots = [
            ("*".to_owned(), slot(None, Some(4), Some(1000))),
            ("other".to_owned(), slot(Some(false), None, None)),
        ];
        tell.send_replace(SitePolicy { slots: BTreeMap::from(slots), ..SitePolicy::default() });
        assert_eq!(line.bounds(), Some(Bounds { bytes_max: 4 * MIB, age_max: 24 * HOUR }));
        assert_eq!(other.bounds(), None);
    }
}
