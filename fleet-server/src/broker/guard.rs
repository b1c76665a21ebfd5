//! Who may connect, publish and subscribe.

use crate::access::{ADMINISTRATOR, Administrator};
use crate::broker::Tickets;
use crate::error::{Error, chain};
use crate::identity::Identities;
use crate::monitor::ALERTS_TOPIC;
use crate::quiet::Quiet;
use crate::registry::Registry;
use lineside_identity::{Action, Peer, may};
use lineside_wire::name::DeviceId;
use lineside_wire::topic::{Topic, Up};
use rmqtt::types::{AuthResult, ConnectInfo};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;
use time::OffsetDateTime;

/// Decides on connections, publications and subscriptions.
#[derive(Clone)]
pub(crate) struct Guard {
    registry: Registry,
    identities: Identities,
    /// Of those who have shown a certificate at the gate.
    tickets: Tickets,
    administrator: Administrator,
    /// Messages that were refused, that found a queue full, or whose receiver was gone.
    dropped: Arc<AtomicU64>,
    quiet: Arc<Quiet>,
}

impl Guard {
    /// A guard that knows devices by their passwords and by their keys, and the administrator.
    pub fn new(
        registry: Registry,
        identities: Identities,
        tickets: Tickets,
        administrator: Administrator,
    ) -> Guard {
        let (dropped, quiet) = (Arc::default(), Arc::default());
        Guard { registry, identities, tickets, administrator, dropped, quiet }
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

    /// Whether who connects is a device that is known here, or the administrator, who hears of alerts.
    pub(super) async fn admit(&self, connect: &ConnectInfo) -> AuthResult {
        let user: &str = connect.username().map(AsRef::as_ref).unwrap_or_default();
        let password = connect.password().map(|bytes| String::from_utf8_lossy(bytes).into_owned());
        let (password, client) = (password.unwrap_or_default(), connect.client_id());
        if user == ADMINISTRATOR {
            return match self.administrator.is_token(&password) {
                // Several may listen; none of their names is a device's.
                true if is_administrators(client) && connect.last_will().is_none() => {
                    AuthResult::Allow(false, None)
                }
                true => {
                    let wanted = "refused: its client id is `admin` or begins with `admin.`, and it has \
                                  no last will";
                    self.say(user, wanted);
                    AuthResult::NotAuthorized
                }
                false => AuthResult::BadUsernameOrPassword,
            };
        }
        let known = match self.tickets.take(&password) {
            Some(peer) => self.knows_by_key(&peer).await,
            None => self.registry.knows(user, &password).await,
        };
        let device = match known {
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
        if <str as AsRef<str>>::as_ref(client) != user {
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

    /// Who has shown a certificate, if he is one of the fleet now.
    async fn knows_by_key(&self, peer: &Peer) -> Result<Option<DeviceId>, Error> {
        let admitted = self.identities.admits(peer, OffsetDateTime::now_utc()).await?;
        if let Err(refusal) = &admitted {
            self.say(peer.device().as_str(), &format!("not let in by its certificate: {refusal}"));
        }
        Ok(admitted.is_ok().then(|| peer.device().clone()))
    }
}

/// Who says what, if `user` may. Nobody retains anything here.
pub(super) fn may_publish(user: &str, topic: &str) -> Option<(DeviceId, Up)> {
    let device: DeviceId = user.parse().ok().filter(|_| user != ADMINISTRATOR)?;
    match Topic::parse(topic)? {
        Topic::Up(_, up) if may(&device, Action::Publish, topic) => Some((device, up)),
        Topic::Up(..) | Topic::Down(..) => None,
    }
}

/// Whether a client id is one of the administrator's.
fn is_administrators(client: &str) -> bool {
    client.strip_prefix(ADMINISTRATOR).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// A device subscribes to what it may, the administrator to alerts.
pub(super) fn may_subscribe(user: &str, filter: &str) -> bool {
    if user == ADMINISTRATOR {
        return filter.starts_with(ALERTS_TOPIC);
    }
    user.parse().is_ok_and(|device| may(&device, Action::Subscribe, filter))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_has_its_own_branch_and_no_other() {
        assert!(may_publish("line-3", "lineside/v1/line-3/up/status").is_some());
        assert!(may_publish("line-3", "lineside/v1/line-3/up/telemetry").is_some());
        assert!(may_publish("line-3", "lineside/v1/line-3/up/answer").is_some());
        assert!(may_publish("line-3", "lineside/v1/line-3/up/log").is_some());
        for foreign in [
            "lineside/v1/line-33/up/status",
            "lineside/v1/line-33/up/answer",
            "lineside/v1/line-33/up/log",
            "lineside/v1/line-3/down/log",
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
            "lineside/v1/line-3/down/+",
            "$share/all/lineside/v1/line-3/down/#",
            "lineside/v1/line-3/up/#",
        ] {
            assert!(!may_subscribe("line-3", foreign), "{foreign}");
        }
        for heard in ["lineside/alerts/#", "lineside/alerts/hall-2", "lineside/alerts/+"] {
            assert!(may_subscribe(ADMINISTRATOR, heard), "{heard}");
            assert!(!may_subscribe("line-3", heard), "{heard}");
        }
        for foreign in ["#", "lineside/#", "lineside/v1/admin/down/#", "lineside/v1/line-3/up/#"] {
            assert!(!may_subscribe(ADMINISTRATOR, foreign), "{foreign}");
        }
        for said in ["lineside/v1/admin/up/status", "lineside/alerts/hall-2"] {
            assert!(may_publish(ADMINISTRATOR, said).is_none(), "{said}");
        }
        assert!(is_administrators("admin") && is_administrators("admin.desk"));
        assert!(!is_administrators("admin-2") && !is_administrators("line-3"));
        assert!(!may_subscribe("lineside.server", "lineside/v1/lineside.server/down/#"));
    }
}
