//! How often somebody may ask before it is known who he is. To join and to renew costs a signature, and a request
//! that was seen can be sent again by anybody; to look at a password costs more.

use lineside_identity::Fingerprint;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Requests in [`SPAN`] from one address: all devices of a site may come from one, each once a minute.
const OF_ADDRESS_MAX: u32 = 1_200;
/// Requests in [`SPAN`] by one key.
const OF_KEY_MAX: u32 = 20;
/// Passwords in [`SPAN`] from one address.
const PASSWORDS_MAX: u32 = 120;
/// Addresses and keys that are counted in [`SPAN`]. Nobody else is heard then.
const COUNTED_MAX: usize = 50_000;
const SPAN: Duration = Duration::from_secs(60);

/// Who has asked, and how often.
#[derive(Debug, Default)]
pub(crate) struct Strangers {
    counted: Mutex<Counted>,
}

#[derive(Debug, Default)]
struct Counted {
    since: Option<Instant>,
    times: BTreeMap<Who, u32>,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Who {
    Address(IpAddr),
    Password(IpAddr),
    Key(Fingerprint),
}

impl Strangers {
    /// Whether somebody at this address may ask `now`; if so, he has.
    pub fn allows_address(&self, address: IpAddr, now: Instant) -> bool {
        self.allows(Who::Address(network(address)), OF_ADDRESS_MAX, now)
    }

    /// Whether a password from this address is looked at `now`; if so, it has been.
    pub fn allows_password(&self, address: IpAddr, now: Instant) -> bool {
        self.allows(Who::Password(network(address)), PASSWORDS_MAX, now)
    }

    /// Whether who holds this key may ask `now`; if so, he has.
    pub fn allows_key(&self, key: Fingerprint, now: Instant) -> bool {
        self.allows(Who::Key(key), OF_KEY_MAX, now)
    }

    fn allows(&self, who: Who, times_max: u32, now: Instant) -> bool {
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        if counted.since.is_none_or(|since| now.saturating_duration_since(since) >= SPAN) {
            *counted = Counted { since: Some(now), times: BTreeMap::new() };
        }
        if counted.times.len() >= COUNTED_MAX && !counted.times.contains_key(&who) {
            return false;
        }
        let times = counted.times.entry(who).or_default();
        if *times >= times_max {
            return false;
        }
        *times += 1;
        true
    }
}

/// Whoever has one address of version 6 has 2^64 of them.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6((u128::from(address) >> 64 << 64).into()),
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_too_often_waits_and_keeps_nobody_else_from_asking() {
        let (asking, start) = (Strangers::default(), Instant::now());
        let [one, other]: [IpAddr; 2] = [[10, 0, 0, 1].into(), [10, 0, 0, 2].into()];
        let mapped: IpAddr = "::ffff:10.0.0.1".parse().unwrap();
        for _ in 0..OF_ADDRESS_MAX {
            assert!(asking.allows_address(one, start));
        }
        assert!(!asking.allows_address(one, start) && !asking.allows_address(mapped, start));
        assert!(asking.allows_address(other, start));
        let [near, far]: [IpAddr; 2] =
            ["fd00::1".parse().unwrap(), "fd00::2:1:1:1".parse().unwrap()];
        for _ in 0..OF_ADDRESS_MAX {
            assert!(asking.allows_address(near, start));
        }
        assert!(!asking.allows_address(far, start));
        let key = "0".repeat(64).parse().unwrap();
        for _ in 0..OF_KEY_MAX {
            assert!(asking.allows_key(key, start));
        }
        assert!(!asking.allows_key(key, start + SPAN / 2));
        assert!(asking.allows_key(key, start + SPAN) && asking.allows_address(one, start + SPAN));
    }
}
