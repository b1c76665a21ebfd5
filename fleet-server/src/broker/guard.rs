//! Who may connect, publish and subscribe.

use crate::error::chain;
use crate::quiet::Quiet;
use crate::registry::Registry;
use lineside_wire::name::DeviceId;
use lineside_wire::topic::{Topic, Up};
use rmqtt::types::{AuthResult, ConnectInfo};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// Decides on connections, publications and subscriptions.
#[derive(Clone)]
pub(crate) struct Guard {
    registry: Registry,
    /// Messages that were refused, that found a queue full, or whose receiver was gone.
    dropped: Arc<AtomicU64>,
    quiet: Arc<Quiet>,
}

impl Guard {
    /// A guard that knows the devices of `registry`.
    pub fn new(registry: Registry) -> Guard {
        Guard { registry, dropped: Arc::default(), quiet: Arc::default() }
    }

    /// Messages that the broker has dropped since its start.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Counts a message that the broker dropped.
    pub(super) fn count_dropped(&self) {
        self.dropped.fetch_add(1, Ordering::Relaxed);
    }

    /// Says what a device was refused, if it was not said a moment ago.
    pub(super) fn say(&self, user: &str, refused: &str) {
        if let Some(more) = self.quiet.may_say(user, Instant::now()) {
            tracing::warn!("{user}: {refused}{more}");
        }
    }

    /// Whether who connects is a device that is known here.
    pub(super) async fn admit(&self, connect: &ConnectInfo) -> AuthResult {
        let user: &str = connect.username().map(AsRef::as_ref).unwrap_or_default();
        let password = connect.password().map(|bytes| String::from_utf8_lossy(bytes).into_owned());
        let device = match self.registry.knows(user, &password.unwrap_or_default()).await {
            Ok(Some(device)) => device,
            Ok(None) => return AuthResult::BadUsernameOrPassword,
            Err(error) => {
                if let Some(more) = self.quiet.may_say("", Instant::now()) {
                    tracing::error!("a device cannot be admitted: {}{more}", chain(&error));
                }
                return AuthResult::NotAuthorized;
            }
        };
        // Who connects under another's client id would end the other's session.
        if <str as AsRef<str>>::as_ref(connect.client_id()) != user {
            self.say(device.as_str(), "refused, because its client id is not its name");
            return AuthResult::NotAuthorized;
        }
        // A will is published without being asked about, and to whomever it is addressed.
        if connect.last_will().is_some() {
            self.say(device.as_str(), "refused, because devices have no last will here");
            return AuthResult::NotAuthorized;
        }
        AuthResult::Allow(false, None)
    }
}

/// Who says what, if `user` may: a device publishes below `up/` of its own branch, and nothing else.
pub(super) fn may_publish(user: &str, topic: &str) -> Option<(DeviceId, Up)> {
    match Topic::parse(topic)? {
        Topic::Up(device, up @ (Up::Status | Up::Telemetry | Up::Answer | Up::Reminder))
            if device.as_str() == user =>
        {
            Some((device, up))
        }
        Topic::Up(..) | Topic::Down(..) => None,
    }
}

/// A device subscribes to anything below `down/` of its own branch.
pub(super) fn may_subscribe(user: &str, filter: &str) -> bool {
    user.parse().is_ok_and(|device| {
        let all = Topic::all_down(&device);
        filter.starts_with(all.trim_end_matches('#'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_has_its_own_branch_and_no_other() {
        assert!(may_publish("line-3", "lineside/v1/line-3/up/status").is_some());
        assert!(may_publish("line-3", "lineside/v1/line-3/up/telemetry").is_some());
        assert!(may_publish("line-3", "lineside/v1/line-3/up/answer").is_some());
        for foreign in [
            "lineside/v1/line-33/up/status",
            "lineside/v1/line-33/up/answer",
            "lineside/v1/line-3/down/ack",
            "lineside/v1/line-3/down/ask",
            "lineside/v1/line-3/down/remind",
            "lineside/v1/line-33/up/reminder",
            "lineside/v1/line-3/up/other",
            "$SYS/x",
            "plant/x",
        ] {
            assert!(may_publish("line-3", foreign).is_none(), "{foreign}");
        }
        assert!(may_subscribe("line-3", "lineside/v1/line-3/down/#"));
        assert!(may_subscribe("line-3", "lineside/v1/line-3/down/ack"));
        for foreign in [
            "#",
            "lineside/v1/+/down/#",
            "lineside/v1/line-33/down/#",
            "lineside/v1/line-3/#",
            "lineside/v1/line-3/down",
            "lineside/v1/line-3/up/#",
        ] {
            assert!(!may_subscribe("line-3", foreign), "{foreign}");
        }
        assert!(!may_subscribe("lineside.server", "lineside/v1/lineside.server/down/#"));
    }
}
