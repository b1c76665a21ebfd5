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
        match rest {
            "up/status" => Some(Topic::Up(device, Up::Status)),
            "up/telemetry" => Some(Topic::Up(device, Up::Telemetry)),
            "up/answer" => Some(Topic::Up(device, Up::Answer)),
            "up/reminder" => Some(Topic::Up(device, Up::Reminder)),
            "down/assignment" => Some(Topic::Down(device, Down::Assignment)),
            "down/ack" => Some(Topic::Down(device, Down::Ack)),
            "down/ask" => Some(Topic::Down(device, Down::Ask)),
            "down/remind" => Some(Topic::Down(device, Down::Remind)),
            _ => None,
        }
    }

    /// What a device subscribes to: everything the server tells it.
    pub fn all_down(device: &DeviceId) -> String {
        format!("{PREFIX}/{device}/down/#")
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Topic::Up(device, Up::Status) => write!(f, "{PREFIX}/{device}/up/status"),
            Topic::Up(device, Up::Telemetry) => write!(f, "{PREFIX}/{device}/up/telemetry"),
            Topic::Up(device, Up::Answer) => write!(f, "{PREFIX}/{device}/up/answer"),
            Topic::Up(device, Up::Reminder) => write!(f, "{PREFIX}/{device}/up/reminder"),
            Topic::Down(device, Down::Assignment) => write!(f, "{PREFIX}/{device}/down/assignment"),
            Topic::Down(device, Down::Ack) => write!(f, "{PREFIX}/{device}/down/ack"),
            Topic::Down(device, Down::Ask) => write!(f, "{PREFIX}/{device}/down/ask"),
            Topic::Down(device, Down::Remind) => write!(f, "{PREFIX}/{device}/down/remind"),
        }
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
            Topic::Down(device.clone(), Down::Assignment),
            Topic::Down(device.clone(), Down::Ack),
            Topic::Down(device.clone(), Down::Ask),
            Topic::Down(device, Down::Remind),
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
