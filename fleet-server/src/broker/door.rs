//! Where the broker asks us: about connections, publications and subscriptions.

use crate::broker::Guard;
use crate::broker::guard::{may_publish, may_subscribe};
use crate::fleet::Fleet;
use crate::ingest::Heard;
use async_trait::async_trait;
use rmqtt::codec::v5::{PublishAckReason, SubscribeAckReason};
use rmqtt::hook::{Handler, HookResult, Parameter, ReturnType};
use rmqtt::types::{Publish, PublishAclResult, PublishResult, SubscribeAclResult};
use std::sync::Weak;

/// Answers the broker.
#[derive(Clone)]
pub(crate) struct Door {
    guard: Guard,
    // Weak, because the fleet's way down to devices holds the broker, which holds this.
    fleet: Weak<Fleet>,
}

impl Door {
    /// A door to `fleet`, watched by `guard`.
    pub fn new(guard: Guard, fleet: Weak<Fleet>) -> Door {
        Door { guard, fleet }
    }

    /// Takes a message. The broker answers the device only after this, and reads nothing more of it
    /// until then.
    async fn take(&self, user: &str, publish: &Publish) -> PublishAclResult {
        let said = may_publish(user, &publish.topic).filter(|_| !publish.retain);
        let Some((device, up)) = said else {
            let topic: String = publish.topic.chars().take(200).collect();
            self.guard.say(user, &format!("may not publish to {topic:?}"));
            // Refused with a reason; the connection stays, since the rest of it is fine.
            return PublishAclResult::rejected(false, None);
        };
        let Some(fleet) = self.fleet.upgrade() else { return not_now("the server is stopping") };
        match fleet.ear.hear(&fleet, &device, up, &publish.payload).await {
            Heard::Taken => PublishAclResult::allow(),
            Heard::NotNow(reason) => {
                self.guard.say(user, reason);
                not_now(reason)
            }
        }
    }
}

/// A refusal after which the device tries again.
fn not_now(reason: &'static str) -> PublishAclResult {
    let code = PublishAckReason::QuotaExceeded;
    PublishAclResult(PublishResult::reason_code(code, Some(reason.into()), false))
}

#[async_trait]
impl Handler for Door {
    async fn hook(&self, parameter: &Parameter, before: Option<HookResult>) -> ReturnType {
        let result = match parameter {
            Parameter::ClientAuthenticate(connect) => {
                HookResult::AuthResult(self.guard.admit(connect).await)
            }
            Parameter::MessagePublishCheckAcl(session, publish) => {
                HookResult::PublishAclResult(self.take(session.id.username_ref(), publish).await)
            }
            Parameter::ClientSubscribeCheckAcl(session, subscribe) => {
                let user = session.id.username_ref();
                let filter: &str = &subscribe.topic_filter;
                HookResult::SubscribeAclResult(if may_subscribe(user, filter) {
                    SubscribeAclResult::new_success(subscribe.opts.qos(), None)
                } else {
                    self.guard.say(user, &format!("may not subscribe to {filter:?}"));
                    SubscribeAclResult::new_failure(SubscribeAckReason::NotAuthorized)
                })
            }
            Parameter::MessageDropped(_, _, publish, reason) => {
                self.guard.count_dropped();
                tracing::debug!("a message to {} was dropped: {reason:?}", publish.topic);
                return (true, before);
            }
            _ => return (true, before),
        };
        (false, Some(result))
    }
}
