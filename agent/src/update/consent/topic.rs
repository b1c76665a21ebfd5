//! A topic of the plant's broker that says whether a slot is in use.

use crate::config::InUse;
use crate::plant::{self, Connection, News};
use rumqttc::{AsyncClient, MqttOptions, QoS};
use serde_json::Value;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// Largest message in bytes.
const MESSAGE_BYTES_MAX: u32 = 64 << 10;
/// Characters of a payload that are told.
const TEXT_CHARS_TOLD: usize = 40;

/// What the topic has said.
#[derive(Debug, Clone)]
pub struct Used {
    topic: String,
    stale: Duration,
    /// The last message, and when it came.
    heard: Option<(Instant, Said)>,
    /// Why nothing is heard, where that is known.
    problem: Option<String>,
}

/// What a message says.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Said {
    Free,
    /// Anything else, as it was said.
    Busy(String),
}

impl Used {
    /// Nothing was heard yet.
    pub fn unknown(in_use: &InUse) -> Used {
        let topic = in_use.end.topic.clone();
        Used { topic, stale: in_use.stale, heard: None, problem: None }
    }

    /// Why the slot counts as in use now; none if it was said to be free, and that not too long ago.
    pub fn reason(&self) -> Option<String> {
        let topic = &self.topic;
        match &self.heard {
            None => {
                let why = self.problem.as_deref().unwrap_or("nothing was heard of it yet");
                Some(format!("perhaps in use: topic {topic}: {why}"))
            }
            Some((at, _)) if at.elapsed() >= self.stale => {
                let seconds = self.stale.as_secs();
                Some(format!("perhaps in use: topic {topic} said nothing for {seconds} s"))
            }
            Some((_, Said::Busy(said))) => Some(format!("in use: topic {topic} says {said}")),
            Some((_, Said::Free)) => None,
        }
    }
}

/// Listens for ever. A broker that keeps the last message (retained) is heard at once.
pub async fn listen(in_use: InUse, client_id: String, used: watch::Sender<Used>) {
    let (client, events) = AsyncClient::builder(options(&in_use, &client_id)).capacity(4).build();
    let mut connection = Connection::new(events, in_use.end.to_string());
    loop {
        match connection.next().await {
            News::Connected { .. } => {
                if let Err(error) = client.try_subscribe(in_use.end.topic.clone(), QoS::AtLeastOnce)
                {
                    tracing::error!("{}: cannot subscribe: {error}", in_use.end);
                }
            }
            News::Subscribed(taken) => used.send_modify(|used| used.problem = taken.err()),
            News::Lost(problem) => used.send_modify(|used| used.problem = Some(problem)),
            News::Message(publish) => {
                let said = said(&in_use, &publish.payload);
                used.send_modify(|used| used.heard = Some((Instant::now(), said)));
            }
        }
    }
}

fn options(in_use: &InUse, client_id: &str) -> MqttOptions {
    let mut options = plant::options(&in_use.end, client_id);
    options
        // What was said while nobody listened says nothing of now; the retained message does.
        .set_clean_start(true)
        .set_max_packet_size(Some(MESSAGE_BYTES_MAX));
    options
}

/// What a payload says: free only where it is one of the words that stand for it.
fn said(in_use: &InUse, payload: &[u8]) -> Said {
    let whole = String::from_utf8_lossy(payload);
    let text = match &in_use.field {
        None => whole.trim().to_owned(),
        Some(field) => match serde_json::from_slice::<Value>(payload) {
            Ok(Value::Object(members)) => match members.get(field) {
                Some(Value::String(text)) => text.trim().to_owned(),
                Some(other) => other.to_string(),
                None => return Said::Busy(format!("nothing of {field}")),
            },
            _ => return Said::Busy("what is no JSON object".into()),
        },
    };
    if in_use.free.contains(&text) {
        return Said::Free;
    }
    let one_line = |char: char| if char.is_control() { ' ' } else { char };
    Said::Busy(format!(
        "{:?}",
        text.chars().map(one_line).take(TEXT_CHARS_TOLD).collect::<String>()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::MqttEnd;

    fn in_use(field: Option<&str>) -> InUse {
        let end = MqttEnd {
            host: "127.0.0.1".into(),
            port: 1,
            topic: "plant/press".into(),
            credentials: None,
        };
        InUse {
            end,
            field: field.map(str::to_owned),
            free: ["free", "false"].into_iter().map(str::to_owned).collect(),
            stale: Duration::from_secs(300),
        }
    }

    #[test]
    fn only_the_words_for_it_mean_that_a_slot_is_free() {
        let of = |field, payload: &str| said(&in_use(field), payload.as_bytes());
        assert_eq!(of(None, " free\n"), Said::Free);
        assert_eq!(of(Some("running"), r#"{"running":false,"x":1}"#), Said::Free);
        assert_eq!(of(Some("running"), r#"{"running":"free"}"#), Said::Free);
        assert_eq!(of(None, "busy"), Said::Busy("\"busy\"".into()));
        for (field, payload) in [
            (None, ""),
            (None, "FREE"),
            (None, "free beer"),
            (None, "\u{0}"),
            (Some("running"), "false"),
            (Some("running"), r#"{"running":true}"#),
            (Some("running"), r#"{"other":false}"#),
            (Some("running"), r#"{"running":null}"#),
            (Some("running"), "{"),
        ] {
            assert!(matches!(of(field, payload), Said::Busy(_)), "{payload}");
        }
    }

    #[test]
    fn what_is_not_known_or_was_said_too_long_ago_counts_as_in_use() {
        let mut used = Used::unknown(&in_use(None));
        let reason = used.reason().unwrap();
        assert_eq!(reason, "perhaps in use: topic plant/press: nothing was heard of it yet");
        used.problem = Some("connection refused".into());
        assert!(used.reason().unwrap().ends_with("connection refused"));
        used.heard = Some((Instant::now(), Said::Busy("\"busy\"".into())));
        assert_eq!(used.reason().unwrap(), "in use: topic plant/press says \"busy\"");
        used.heard = Some((Instant::now(), Said::Free));
        assert_eq!(used.reason(), None);
        used.stale = Duration::ZERO;
        assert_eq!(
            used.reason().unwrap(),
            "perhaps in use: topic plant/press said nothing for 0 s"
        );
    }
}
