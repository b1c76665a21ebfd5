//! Messages over MQTT: a broker in between may send anything.

use lineside_wire::envelope::{Message, decode, encode};
use lineside_wire::topic::Topic;
use lineside_wire::v1::{
    Ack, AskLog, Body, Documents, Event, LogLine, LogLines, Record, Remind, Reminder, Status,
    Telemetry, event,
};

/// Reads a message. What was read can be sent again, and says the same.
pub fn envelope(input: &[u8]) -> bool {
    if let Ok(text) = std::str::from_utf8(input)
        && let Some(topic) = Topic::parse(text)
    {
        assert_eq!(topic.to_string(), text);
        return true;
    }
    if let Ok(telemetry) = decode::<Telemetry>(input) {
        for record in &telemetry.records {
            if let Ok(body) = record.read() {
                let _ = body.encode();
            }
        }
    }
    again::<Status>(input)
        || again::<Telemetry>(input)
        || again::<Documents>(input)
        || again::<Ack>(input)
        || again::<Remind>(input)
        || again::<Reminder>(input)
        || again::<AskLog>(input)
        || again::<LogLines>(input)
}

fn again<M: Message>(input: &[u8]) -> bool {
    let Ok(message) = decode::<M>(input) else { return false };
    let bytes = encode(&message).expect("what was read can be sent");
    let read = decode::<M>(&bytes).expect("what was sent can be read");
    // Compared as bytes: some numbers are not equal to themselves.
    assert_eq!(encode(&read).expect("what was read can be sent"), bytes);
    true
}

pub(crate) fn messages() -> Vec<Vec<u8>> {
    let told = Body::Event(Event {
        slot: "turbine".into(),
        kind: event::COMMITTED,
        release: None,
        text: "it stays".into(),
        at_unix_ms: 1,
    });
    let (code, body) = told.encode().expect("an event can be written");
    let record = Record { boot: 1, sequence: 2, backfill: false, code, body };
    let telemetry = encode(&Telemetry { records: vec![record] });
    let ack = encode(&Ack { boot: 7, ranges: vec![(0, 3), (9, 9)] });
    let remind = encode(&Remind { known_version: 7 });
    let reminder = encode(&Reminder { assignment: b"{}".to_vec() });
    let asked = encode(&AskLog { request: b"{}".to_vec() });
    let line = LogLine {
        at_unix_ms: 1,
        level: 3,
        target: "lineside_agent".into(),
        message: "told to stop".into(),
        fields: vec![("slot".into(), "turbine".into())],
    };
    let log = LogLines {
        request: 1,
        boot: 2,
        lines: vec![line],
        dropped: 3,
        left_seconds: 4,
        ended: String::new(),
    };
    let messages = [telemetry, ack, remind, reminder, asked, encode(&log)]
        .map(|message| message.expect("it can be sent"));
    messages.into_iter().chain([b"lineside/v1/line-3/down/ack".to_vec()]).collect()
}
