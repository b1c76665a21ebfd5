//! What a device may do at a broker: what is named here, and nothing else.

use lineside_wire::name::DeviceId;
use lineside_wire::topic::{Down, Topic, Up};
use std::fmt::Write;

/// What a device does with a topic, or wants to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Publish, to be passed on and forgotten.
    Publish,
    /// Publish what the broker keeps for whoever subscribes later.
    Retain,
    /// Leave a message that the broker publishes when the connection breaks.
    Will,
    /// Subscribe to topics that match.
    Subscribe,
}

/// Whether a device may do this with a topic, or a filter where it subscribes (MQTT 5, 4.7).
///
/// It publishes the messages that there are below `up/` of its own branch, of which the broker keeps at
/// most its status; its will is one of them. It subscribes to the messages that there are below `down/` of
/// its own branch, or to all of them. Wildcards elsewhere, shared subscriptions (`$share/…`), the broker's
/// own topics (`$SYS/…`) and those of plants are none of these.
///
/// `device` is of the certificate, never of the client id. A broker that takes a will without asking what it
/// says passes a message on that nobody has looked at, which a server has to be ready for.
pub fn may(device: &DeviceId, action: Action, topic: &str) -> bool {
    let own = match Topic::parse(topic) {
        Some(Topic::Up(of, up)) if of == *device => Some(Ok(up)),
        Some(Topic::Down(of, down)) if of == *device => Some(Err(down)),
        Some(Topic::Up(..) | Topic::Down(..)) | None => None,
    };
    match (action, own) {
        (
            Action::Publish | Action::Will,
            Some(Ok(Up::Status | Up::Telemetry | Up::Answer | Up::Reminder | Up::Log)),
        ) => true,
        (Action::Retain, Some(Ok(Up::Status))) => true,
        (Action::Retain, Some(Ok(Up::Telemetry | Up::Answer | Up::Reminder | Up::Log))) => false,
        (
            Action::Subscribe,
            Some(Err(Down::Assignment | Down::Ack | Down::Ask | Down::Remind | Down::AskLog)),
        ) => true,
        (Action::Subscribe, None) => topic == Topic::all_down(device),
        (Action::Subscribe, Some(Ok(_))) => false,
        (Action::Publish | Action::Will | Action::Retain, Some(Err(_)) | None) => false,
    }
}

/// The same for a Mosquitto broker, as an `acl_file`. `server` is the name in the server's certificate.
///
/// Mosquitto puts the user's name in place of `%u`, which is the certificate's where its listener has
/// `use_identity_as_username true`. It refuses nothing by retain flag, and takes any subscription but
/// passes on only what may be read.
pub fn mosquitto_acl(server: &DeviceId) -> String {
    let mut text = String::from(
        "# The listener needs: allow_anonymous false,\n\
         # require_certificate true, use_identity_as_username true.\n",
    );
    for up in Up::ALL {
        let topic = up.topic_of("%u");
        writeln!(text, "pattern write {topic}").expect("a text takes what is written");
    }
    for down in Down::ALL {
        let topic = down.topic_of("%u");
        writeln!(text, "pattern read {topic}").expect("a text takes what is written");
    }
    writeln!(text, "\nuser {server}").expect("a text takes what is written");
    for up in Up::ALL {
        let topic = up.topic_of("+");
        writeln!(text, "topic read {topic}").expect("a text takes what is written");
    }
    for down in Down::ALL {
        let topic = down.topic_of("+");
        writeln!(text, "topic write {topic}").expect("a text takes what is written");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use Action::{Publish, Retain, Subscribe, Will};
    use proptest::prelude::*;

    fn device() -> DeviceId {
        "line-3".parse().unwrap()
    }

    /// What a device may do with a topic, in letters: publish, retain, will, subscribe.
    fn allowed(topic: &str) -> String {
        let all = [(Publish, 'p'), (Retain, 'r'), (Will, 'w'), (Subscribe, 's')];
        all.iter().filter(|(action, _)| may(&device(), *action, topic)).map(|(_, it)| it).collect()
    }

    #[test]
    fn a_device_may_what_is_listed_here() {
        for (topic, what) in [
            ("lineside/v1/line-3/up/status", "prw"),
            ("lineside/v1/line-3/up/telemetry", "pw"),
            ("lineside/v1/line-3/up/answer", "pw"),
            ("lineside/v1/line-3/up/reminder", "pw"),
            ("lineside/v1/line-3/up/log", "pw"),
            ("lineside/v1/line-3/down/assignment", "s"),
            ("lineside/v1/line-3/down/ack", "s"),
            ("lineside/v1/line-3/down/ask", "s"),
            ("lineside/v1/line-3/down/remind", "s"),
            ("lineside/v1/line-3/down/log", "s"),
            ("lineside/v1/line-3/down/#", "s"),
        ] {
            assert_eq!(allowed(topic), what, "{topic}");
        }
    }

    #[test]
    fn nothing_else_is_allowed() {
        for topic in [
            "",
            "#",
            "+",
            "+/+/+/+/+",
            "lineside/#",
            "lineside/v1/#",
            "lineside/v1/+/down/#",
            "lineside/v1/+/down/ack",
            "lineside/+/line-3/down/ack",
            "lineside/v1/line-3/#",
            "lineside/v1/line-3/+/ack",
            "lineside/v1/line-3/up/#",
            "lineside/v1/line-3/down",
            "lineside/v1/line-3/down/",
            "lineside/v1/line-3/down/other",
            "lineside/v1/line-3/down/+/x",
            "lineside/v1/line-3/down/#/x",
            "lineside/v1/line-3/up",
            "lineside/v1/line-3/up/other",
            "lineside/v1/line-3/up/status/x",
            "lineside/v1/line-3/up/status\0",
            "/lineside/v1/line-3/up/status",
            "lineside/v1//up/status",
            "lineside/v2/line-3/up/status",
            "lineside/v1/line-33/up/status",
            "lineside/v1/line-33/down/#",
            "lineside/v1/line/down/#",
            "lineside/v1/LINE-3/up/status",
            "lineside/alerts/#",
            "$share/group/lineside/v1/line-3/down/#",
            "$share/group/lineside/v1/line-3/down/ack",
            "$queue/lineside/v1/line-3/down/#",
            "$exclusive/lineside/v1/line-3/down/#",
            "$SYS/#",
            "$SYS/broker/clients/total",
            "spBv1.0/plant/NDATA/line-3",
            "plant/line-3",
        ] {
            assert_eq!(allowed(topic), "", "{topic}");
        }
    }

    /// Whether a filter matches a topic (MQTT 5, 4.7.1 and 4.7.2).
    fn matches(filter: &str, topic: &str) -> bool {
        let (mut filter_levels, mut levels) = (filter.split('/'), topic.split('/'));
        if topic.starts_with('$') && (filter.starts_with('+') || filter.starts_with('#')) {
            return false;
        }
        loop {
            match (filter_levels.next(), levels.next()) {
                (Some("#"), _) | (None, None) => return true,
                (Some("+"), Some(_)) => {}
                (Some(level), Some(other)) if level == other => {}
                _ => return false,
            }
        }
    }

    /// What a Mosquitto broker lets `user` do with a topic by this list.
    fn mosquitto_lets(list: &str, user: &str, action: &str, topic: &str) -> bool {
        let mut of = None;
        list.lines().any(|line| {
            let words: Vec<&str> = line.split(' ').collect();
            match words.as_slice() {
                ["user", name] => {
                    of = Some(*name);
                    false
                }
                ["pattern", may, filter] => {
                    *may == action && matches(&filter.replace("%u", user), topic)
                }
                ["topic", may, filter] => {
                    of == Some(user) && *may == action && matches(filter, topic)
                }
                _ => false,
            }
        })
    }

    fn topics() -> impl Strategy<Value = String> {
        let level = prop_oneof![
            Just("lineside"),
            Just("v1"),
            Just("line-3"),
            Just("line-4"),
            Just("up"),
            Just("down"),
            Just("status"),
            Just("telemetry"),
            Just("ack"),
            Just("ask"),
            Just("remind"),
            Just("+"),
            Just("#"),
            Just("$share"),
            Just("$SYS"),
            Just(""),
        ];
        let close = (0_usize..2, 0_usize..2, 0_usize..5).prop_map(|(device, way, last)| {
            let (device, way) = (["line-3", "line-4"][device], ["up", "down"][way]);
            format!(
                "lineside/v1/{device}/{way}/{}",
                ["status", "ack", "remind", "reminder", "#"][last]
            )
        });
        prop_oneof![close, proptest::collection::vec(level, 1..7).prop_map(|all| all.join("/"))]
    }

    #[test]
    fn mosquitto_is_told_this() {
        let server = "lineside-server".parse().unwrap();
        let expected = "\
# The listener needs: allow_anonymous false,
# require_certificate true, use_identity_as_username true.
pattern write lineside/v1/%u/up/status
pattern write lineside/v1/%u/up/telemetry
pattern write lineside/v1/%u/up/answer
pattern write lineside/v1/%u/up/reminder
pattern write lineside/v1/%u/up/log
pattern read lineside/v1/%u/down/assignment
pattern read lineside/v1/%u/down/ack
pattern read lineside/v1/%u/down/ask
pattern read lineside/v1/%u/down/remind
pattern read lineside/v1/%u/down/log

user lineside-server
topic read lineside/v1/+/up/status
topic read lineside/v1/+/up/telemetry
topic read lineside/v1/+/up/answer
topic read lineside/v1/+/up/reminder
topic read lineside/v1/+/up/log
topic write lineside/v1/+/down/assignment
topic write lineside/v1/+/down/ack
topic write lineside/v1/+/down/ask
topic write lineside/v1/+/down/remind
topic write lineside/v1/+/down/log
";
        assert_eq!(mosquitto_acl(&server), expected);
    }

    proptest! {
        /// Whatever it subscribes to, it hears nothing but what the server tells it.
        #[test]
        fn no_subscription_hears_of_another(filter in topics(), topic in topics()) {
            if may(&device(), Subscribe, &filter) && matches(&filter, &topic) {
                prop_assert!(topic.starts_with("lineside/v1/line-3/down/"), "{filter} hears {topic}");
            }
        }

        #[test]
        fn it_says_nothing_outside_its_branch(topic in topics()) {
            for action in [Publish, Retain, Will] {
                if may(&device(), action, &topic) {
                    prop_assert!(topic.starts_with("lineside/v1/line-3/up/"), "{topic}");
                    prop_assert!(!topic.contains(['+', '#']));
                }
            }
            prop_assert!(!may(&device(), Retain, &topic) || may(&device(), Publish, &topic));
        }

        /// Mosquitto lets a device publish and read exactly what we do.
        #[test]
        fn mosquitto_decides_alike(topic in topics()) {
            prop_assume!(!topic.contains(['+', '#']));
            let list = mosquitto_acl(&"lineside-server".parse().unwrap());
            let (write, read) = (may(&device(), Publish, &topic), may(&device(), Subscribe, &topic));
            prop_assert_eq!(mosquitto_lets(&list, "line-3", "write", &topic), write, "{}", topic);
            prop_assert_eq!(mosquitto_lets(&list, "line-3", "read", &topic), read, "{}", topic);
            let server = mosquitto_lets(&list, "lineside-server", "read", &topic);
            prop_assert!(!write || server);
        }
    }
}
