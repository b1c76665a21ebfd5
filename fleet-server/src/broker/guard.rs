//! Who may connect, publish and subscribe.

use crate::access::same;
use crate::registry::Registry;
use async_trait::async_trait;
use lineside_wire::name::DeviceId;
use lineside_wire::topic::{Topic, Up};
use rmqtt::codec::v5::SubscribeAckReason;
use rmqtt::hook::{Handler, HookResult, Parameter, ReturnType};
use rmqtt::types::{AuthResult, ConnectInfo, LastWill, PublishAclResult, SubscribeAclResult};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The server's own client. No device can have this name: devices have no dots.
pub(crate) const INTERNAL_USER: &str = "lineside.server";

/// Decides on connections, publications and subscriptions.
#[derive(Clone)]
pub(crate) struct Guard {
    registry: Registry,
    internal_password: Arc<str>,
    /// Messages that found a queue full.
    dropped: Arc<AtomicU64>,
}

impl Guard {
    /// A guard that knows the devices of `registry`, and the server by a password of this run.
    pub fn new(registry: Registry, internal_password: &str) -> Guard {
        Guard { registry, internal_password: internal_password.into(), dropped: Arc::default() }
    }

    /// Messages that the broker has dropped since its start.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    async fn admit(&self, connect: &ConnectInfo) -> AuthResult {
        let user: &str = connect.username().map(AsRef::as_ref).unwrap_or_default();
        let password = connect.password().map(|bytes| String::from_utf8_lossy(bytes).into_owned());
        let password = password.unwrap_or_default();
        // Who connects under another's client id would end the other's session.
        let own_session = <str as AsRef<str>>::as_ref(connect.client_id()) == user;
        if user == INTERNAL_USER {
            return match own_session && same(&self.internal_password, &password) {
                true => AuthResult::Allow(false, None),
                false => AuthResult::BadUsernameOrPassword,
            };
        }
        let device = match self.registry.knows(user, &password).await {
            Ok(Some(device)) => device,
            Ok(None) => return AuthResult::BadUsernameOrPassword,
            Err(error) => {
                tracing::error!("a device cannot be admitted: {error}");
                return AuthResult::NotAuthorized;
            }
        };
        if !own_session {
            tracing::warn!("{device}: refused, because its client id is not its name");
            return AuthResult::NotAuthorized;
        }
        // A last will is published without being asked about again.
        match connect.last_will() {
            Some(will) if !may_publish(&device, will_topic(&will)) => AuthResult::NotAuthorized,
            _ => AuthResult::Allow(false, None),
        }
    }
}

fn will_topic<'a>(will: &'a LastWill<'_>) -> &'a str {
    match will {
        LastWill::V3(will) => &will.topic,
        LastWill::V5(will) => &will.topic,
    }
}

/// A device publishes `up/status` and `up/telemetry` of its own branch, and nothing else.
fn may_publish(device: &DeviceId, topic: &str) -> bool {
    matches!(
        Topic::parse(topic),
        Some(Topic::Up(named, Up::Status | Up::Telemetry)) if named == *device
    )
}

/// A device subscribes to anything below `down/` of its own branch.
fn may_subscribe(device: &DeviceId, filter: &str) -> bool {
    let all = Topic::all_down(device);
    filter.starts_with(all.trim_end_matches('#'))
}

/// The server subscribes to what devices say, and publishes what is for them.
fn server_may_publish(topic: &str) -> bool {
    matches!(Topic::parse(topic), Some(Topic::Down(..)))
}

#[async_trait]
impl Handler for Guard {
    async fn hook(&self, parameter: &Parameter, before: Option<HookResult>) -> ReturnType {
        match parameter {
            Parameter::ClientAuthenticate(connect) => {
                (false, Some(HookResult::AuthResult(self.admit(connect).await)))
            }
            Parameter::MessagePublishCheckAcl(session, publish) => {
                let user = session.id.username_ref();
                let may = match user.parse() {
                    Ok(device) => may_publish(&device, &publish.topic) && !publish.retain,
                    Err(_) => user == INTERNAL_USER && server_may_publish(&publish.topic),
                };
                if may {
                    return (false, Some(HookResult::PublishAclResult(PublishAclResult::allow())));
                }
                tracing::warn!("{user}: may not publish to {}", publish.topic);
                // Refused with a reason; the connection stays, since the rest of it is fine.
                (false, Some(HookResult::PublishAclResult(PublishAclResult::rejected(false, None))))
            }
            Parameter::ClientSubscribeCheckAcl(session, subscribe) => {
                let user = session.id.username_ref();
                let filter: &str = &subscribe.topic_filter;
                let may = match user.parse() {
                    Ok(device) => may_subscribe(&device, filter),
                    Err(_) => user == INTERNAL_USER && filter == Topic::all_up(),
                };
                let result = if may {
                    SubscribeAclResult::new_success(subscribe.opts.qos(), None)
                } else {
                    tracing::warn!("{user}: may not subscribe to {filter}");
                    SubscribeAclResult::new_failure(SubscribeAckReason::NotAuthorized)
                };
                (false, Some(HookResult::SubscribeAclResult(result)))
            }
            Parameter::MessageDropped(_, _, publish, reason) => {
                self.dropped.fetch_add(1, Ordering::Relaxed);
                tracing::debug!("a message to {} was dropped: {reason:?}", publish.topic);
                (true, before)
            }
            _ => (true, before),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_has_its_own_branch_and_no_other() {
        let device: DeviceId = "line-3".parse().unwrap();
        assert!(may_publish(&device, "lineside/v1/line-3/up/status"));
        assert!(may_publish(&device, "lineside/v1/line-3/up/telemetry"));
        for foreign in [
            "lineside/v1/line-33/up/status",
            "lineside/v1/line-3/down/ack",
            "lineside/v1/line-3/up/other",
            "$SYS/x",
            "plant/x",
        ] {
            assert!(!may_publish(&device, foreign), "{foreign}");
        }
        assert!(may_subscribe(&device, "lineside/v1/line-3/down/#"));
        assert!(may_subscribe(&device, "lineside/v1/line-3/down/ack"));
        for foreign in [
            "#",
            "lineside/v1/+/down/#",
            "lineside/v1/line-33/down/#",
            "lineside/v1/line-3/#",
            "lineside/v1/line-3/down",
            "$share/g/lineside/v1/line-3/down/#",
        ] {
            assert!(!may_subscribe(&device, foreign), "{foreign}");
        }
    }
}
