//! A topic of the plant's broker, wherever the settings name one.

use super::{Wrong, wrong};
use std::fmt;

/// A topic of a broker.
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

impl fmt::Debug for MqttEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "mqtt {}:{} {}", self.host, self.port, self.topic)
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
