//! What the broker refuses of a device that knows its password and nothing of manners.

use crate::mqtt::Client;
use crate::raw::{Hello, Message, Raw, V5, V311};
use crate::running::Running;

const OWN: &str = "lineside/v1/line-3/up/status";
const FOREIGN: &str = "lineside/v1/line-4/up/status";

fn hello(password: &str) -> Hello<'_> {
    let (client_id, user) = ("line-3", "line-3");
    Hello { version: V5, client_id, user, password, will_topic: None }
}

fn message(topic: &str) -> Message<'_> {
    Message { topic, qos: 1, retain: false, topic_alias: None }
}

#[test]
fn a_device_can_be_nobody_else_and_leaves_no_will() {
    let data = tempfile::tempdir().unwrap();
    let server = Running::start(data.path());
    let password = server.add_device("line-3");
    server.add_device("line-4");
    for version in [V5, V311] {
        let refused = [
            Hello { version, client_id: "lineside.server", ..hello(&password) },
            Hello { version, client_id: "line-4", ..hello(&password) },
            Hello { version, client_id: "", ..hello(&password) },
            Hello { version, user: "line-4", ..hello(&password) },
            Hello { version, user: "lineside.server", ..hello(&password) },
            Hello { version, password: "x", ..hello(&password) },
            Hello { version, will_topic: Some(FOREIGN), ..hello(&password) },
            Hello { version, will_topic: Some("lineside/v1/line-4/down/ack"), ..hello(&password) },
            Hello { version, will_topic: Some(OWN), ..hello(&password) },
        ];
        for hello in refused {
            let Hello { client_id, user, will_topic, .. } = hello;
            let connected = Raw::connect(&server, &hello);
            assert!(connected.is_err(), "{version} {client_id} {user} {will_topic:?}");
        }
        Raw::admitted(&server, &Hello { version, ..hello(&password) });
    }
    assert_eq!(server.get("/api/v1/devices/line-4").json()["last_seen"], serde_json::Value::Null);
}

#[test]
fn no_filter_however_it_is_written_hears_what_is_for_others() {
    let data = tempfile::tempdir().unwrap();
    let server = Running::start(data.path());
    let password = server.add_device("line-3");
    for version in [V5, V311] {
        for filter in [
            "#",
            "+/#",
            "$SYS/#",
            "lineside/v1/+/down/#",
            "lineside/v1/line-3/#",
            "$share/g/#",
            "$share/g/lineside/v1/line-4/down/#",
            "$limit/1/lineside/v1/line-4/down/#",
            "$exclusive/lineside/v1/line-4/down/#",
            "$delayed/1/lineside/v1/line-4/down/#",
        ] {
            // One connection each, because the broker hangs up on some.
            let mut device = Raw::admitted(&server, &Hello { version, ..hello(&password) });
            assert!(!device.subscribe(filter), "{version} {filter}");
        }
        let mut device = Raw::admitted(&server, &Hello { version, ..hello(&password) });
        assert!(device.subscribe("lineside/v1/line-3/down/#"));
    }
}

#[tokio::test]
async fn no_message_however_it_is_sent_speaks_for_another() {
    let data = tempfile::tempdir().unwrap();
    let server = Running::start(data.path());
    let password = server.add_device("line-3");
    let other = server.add_device("line-4");
    let alias = |topic, alias| Message { topic_alias: Some(alias), ..message(topic) };
    for (refused, what) in [
        (vec![message(FOREIGN)], "another's topic"),
        (vec![Message { qos: 2, ..message(FOREIGN) }], "QoS 2"),
        (vec![Message { retain: true, ..message(OWN) }], "a retained message"),
        (vec![Message { retain: true, ..message(FOREIGN) }], "a retained message of another"),
        (vec![alias(FOREIGN, 1)], "a topic alias"),
        (vec![alias(FOREIGN, 1), alias("", 1)], "an alias of what was refused"),
        (vec![message("lineside/v1/line-4/down/assignment")], "what the server says"),
        (vec![message("$SYS/x")], "the broker's topics"),
    ] {
        let mut device = Raw::admitted(&server, &hello(&password));
        for message in refused {
            assert!(!device.publish(&message), "{what}");
        }
    }
    // MQTT 3.1.1 answers as if all were well, so what counts is what has come of it.
    let old = Hello { version: V311, ..hello(&password) };
    let mut device = Raw::admitted(&server, &old);
    device.publish(&message(FOREIGN));
    let mut device = Raw::admitted(&server, &hello(&password));
    assert!(device.publish(&message(OWN)));

    // It was the last of all, and what was sent before it was read before it.
    server.wait_for("/api/v1/devices/line-3", |device| device["unreadable_messages"] == 1);
    assert_eq!(server.get("/api/v1/devices/line-4").json()["unreadable_messages"], 0);
    // Nothing waits for the other device either, retained or not: the first it hears is its own.
    let mut other = Client::device(&server, "line-4", &other).await;
    assert!(other.messages_until_own_answer().await.is_empty());
}

#[test]
fn a_packet_that_is_too_large_ends_the_connection_and_nothing_else() {
    let data = tempfile::tempdir().unwrap();
    let server = Running::start(data.path());
    let password = server.add_device("line-3");
    let mut device = Raw::admitted(&server, &hello(&password));
    device.send(0x32, &vec![0; 3 << 20]);
    assert!(device.is_ended());
    let mut device = Raw::admitted(&server, &hello(&password));
    assert!(device.publish(&message(OWN)));
}
