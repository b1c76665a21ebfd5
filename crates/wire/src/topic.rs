//! Topics: `lineside/v1/{device}/up/…` and `lineside/v1/{device}/down/…`. A device has its own
//! branch and no other.

use crate::name::DeviceId;
use std::fmt;

const PREFIX: &str = "lineside/v1";

/// What a device tells the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Up {
    /// What its slots hold.
    Status,
    /// Intervals and events.
    Telemetry,
    /// Whether a release would run, where it was asked.
    Answer,
    /// The assignment that it holds, where the server has forgotten it.
    Reminder,
    /// Lines of its log, where it was asked.
    Log,
}

impl Up {
    /// All that there are.
    pub const ALL: [Up; 5] = [Up::Status, Up::Telemetry, Up::Answer, Up::Reminder, Up::Log];

    /// Its topic, with whatever stands for the device where a broker is told what many of them may do.
    pub fn topic_of(self, device: &str) -> String {
        format!("{PREFIX}/{device}/{}", self.tail())
    }

    fn tail(self) -> &'static str {
        match self {
            Up::Status => "up/status",
            Up::Telemetry => "up/telemetry",
            Up::Answer => "up/answer",
            Up::Reminder => "up/reminder",
            Up::Log => "up/log",
        }
    }
}

/// What the server tells a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Down {
    /// Signed documents.
    Assignment,
    /// Telemetry that is stored and need not be kept.
    Ack,
    /// A question whether a release would run.
    Ask,
    /// A request for the assignment that it holds, which the server has forgotten.
    Remind,
    /// A signed request for lines of its log.
    AskLog,
}

impl Down {
    /// All that there are.
    pub const ALL: [Down; 5] = [Down::Assignment, Down::Ack, Down::Ask, Down::Remind, Down::AskLog];

    /// Its topic, with whatever stands for the device where a broker is told what many of them may do.
    pub fn topic_of(self, device: &str) -> String {
        format!("{PREFIX}/{device}/{}", self.tail())
    }

    fn tail(self) -> &'static str {
        match self {
            Down::Assignment => "down/assignment",
            Down::Ack => "down/ack",
            Down::Ask => "down/ask",
            Down::Remind => "down/remind",
            Down::AskLog => "down/log",
        }
    }
}

/// A topic of the control branch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Topic {
    /// From a device.
    Up(DeviceId, Up),
    /// To a device.
    Down(DeviceId, Down),
}

impl Topic {
    /// Reads a topic; none if it is not one of ours.
    pub fn parse(text: &str) -> Option<Topic> {
        let rest = text.strip_prefix(PREFIX)?.strip_prefix('/')?;
        let (device, rest) = rest.split_once('/')?;
        let device: DeviceId = device.parse().ok()?;
        let up = || Up::ALL.into_iter().find(|up| up.tail() == rest);
        let down = || Down::ALL.into_iter().find(|down| down.tail() == rest);
        match (up(), down()) {
            (Some(up), _) => Some(Topic::Up(device, up)),
            (None, down) => Some(Topic::Down(device, down?)),
        }
    }

    /// What a device subscribes to: everything the server tells it.
    pub fn all_down(device: &DeviceId) -> String {
        format!("{PREFIX}/{device}/down/#")
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&match self {
            Topic::Up(device, up) => up.topic_of(device.as_str()),
            Topic::Down(device, down) => down.topic_of(device.as_str()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_topic_is_read_back_and_no_other() {
        let device: DeviceId = "line-3".parse().unwrap();
        for topic in [
            Topic::Up(device.clone(), Up::Status),
            Topic::Up(device.clone(), Up::Telemetry),
            Topic::Up(device.clone(), Up::Answer),
            Topic::Up(device.clone(), Up::Reminder),
            Topic::Up(device.clone(), Up::Log),
            Topic::Down(device.clone(), Down::Assignment),
            Topic::Down(device.clone(), Down::Ack),
            Topic::Down(device.clone(), Down::Ask),
            Topic::Down(device.clone(), Down::Remind),
            Topic::Down(device, Down::AskLog),
        ] {
            assert_eq!(Topic::parse(&topic.to_string()), Some(topic));
        }
        for text in [
            "lineside/v1/+/up/status",
            "lineside/v1/#",
            "lineside/v1/../up/status",
            "lineside/v2/line-3/up/status",
            "lineside/v1/line-3/up/status/x",
            "$SYS/lineside/v1/line-3/up/status",
            "lineside/v1/line-3/up",
        ] {
            assert_eq!(Topic::parse(text), None, "{text}");
        }
    }
}
