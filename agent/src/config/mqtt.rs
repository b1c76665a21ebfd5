//! A topic of the plant's broker, wherever the settings name one.

use super::{Wrong, wrong};
use lineside_bundle::Digest;
use std::fmt;

/// A topic of a broker. Written, it is for people and without its password.
#[derive(Clone)]
pub struct MqttEnd {
    /// Host of the broker.
    pub host: String,
    /// Port of the broker.
    pub port: u16,
    /// Topic, or topic filter where readings come from it.
    pub topic: String,
    /// User name and password.
    pub credentials: Option<(String, String)>,
}

impl MqttEnd {
    /// What tells it from another topic or broker for as long as devices live: sessions that brokers
    /// keep are named by it, and positions that the journal keeps.
    pub fn mark(&self) -> String {
        let MqttEnd { host, port, topic, credentials: _ } = self;
        Digest::of(format!("mqtt {host}:{port} {topic}").as_bytes()).short()
    }
}

impl fmt::Display for MqttEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "mqtt {}:{} {}", self.host, self.port, self.topic)
    }
}

impl fmt::Debug for MqttEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

pub(super) fn mqtt_end(
    field: &str,
    host: String,
    port: u16,
    topic: String,
    user: Option<String>,
    password: Option<String>,
) -> Result<MqttEnd, Wrong> {
    if topic.is_empty() || topic.len() > 1024 || topic.contains('\0') {
        return wrong(format!("{field}.topic"), "must be 1 to 1024 bytes");
    }
    let credentials = match (user, password) {
        (None, None) => None,
        (Some(user), Some(password)) => Some((user, password)),
        _ => return wrong(format!("{field}.user"), "user and password belong together"),
    };
    Ok(MqttEnd { host, port, topic, credentials })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_that_brokers_keep_are_found_again_by_every_later_agent() {
        let end = MqttEnd {
            host: "broker.plant".into(),
            port: 1883,
            topic: "line/7".into(),
            credentials: None,
        };
        assert_eq!(end.mark(), "1f55f5967147");
        let user = Some(("agent".into(), "another password".into()));
        assert_eq!(MqttEnd { credentials: user, ..end }.mark(), "1f55f5967147");
    }
}
