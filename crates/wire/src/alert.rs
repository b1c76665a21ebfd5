//! What has become of a rule on a device.

use crate::interval::at_most;
use crate::v1::{Event, ReleaseRef, event};
use serde::{Deserialize, Serialize};

/// Values that an alert names; of more spans the newest.
pub const ALERT_VALUES_MAX: usize = 64;
/// Inputs that an alert names.
pub const EXPLAINED_MAX: usize = 8;
/// Things that a device can have done because of one.
const DONE_MAX: usize = 16;

/// What has become of a rule that the device judges by: it fires, or is over.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Alert {
    /// The slot.
    pub slot: String,
    /// The rule's name in the site's policy, or `profile.` and the output whose learnt limits it is about.
    pub rule: String,
    /// The release that it was judged of.
    pub release: ReleaseRef,
    /// Whether it fires; else it is over.
    pub fired: bool,
    /// First moment of what was looked at, milliseconds since 1970 by the readings' own time.
    pub start_unix_ms: i64,
    /// Moment after the last.
    pub end_unix_ms: i64,
    /// What was looked at, as in `median of score`.
    pub signal: String,
    /// Its value in each span that fired it, in their order, in the unit of the column, [`ALERT_VALUES_MAX`] at
    /// most; in the last one where it is over. None where nothing is judged by the rule any longer.
    #[serde(deserialize_with = "at_most::<_, _, ALERT_VALUES_MAX>")]
    pub values: Vec<f64>,
    /// Below is outside; minus infinity where nothing is too low.
    pub low: f64,
    /// Above is outside; infinity where nothing is too high.
    pub high: f64,
    /// Inputs that lay furthest from the training data meanwhile, with their scores; [`EXPLAINED_MAX`] at most.
    #[serde(deserialize_with = "at_most::<_, _, EXPLAINED_MAX>")]
    pub explained: Vec<(String, f64)>,
    /// What the device has done, as in `fail_safe`.
    #[serde(deserialize_with = "at_most::<_, _, DONE_MAX>")]
    pub done: Vec<String>,
    /// What the device took for the time, milliseconds since 1970.
    pub at_unix_ms: i64,
}

impl Alert {
    /// What people are told of it, where events are told.
    pub fn event(&self) -> Event {
        let kind = if self.fired { event::RULE_FIRED } else { event::RULE_OVER };
        let release = Some(self.release.clone());
        Event {
            slot: self.slot.clone(),
            kind,
            release,
            text: self.sentence(),
            at_unix_ms: self.at_unix_ms,
        }
    }

    /// What was seen, in a sentence.
    pub fn sentence(&self) -> String {
        let range = match (self.low.is_finite(), self.high.is_finite()) {
            (true, true) => format!("{} to {}", shown(self.low), shown(self.high)),
            (true, false) => format!("at least {}", shown(self.low)),
            (false, _) => format!("at most {}", shown(self.high)),
        };
        let values: Vec<String> = self.values.iter().map(|value| shown(*value)).collect();
        let values = values.join(", ");
        match (self.fired, values.is_empty()) {
            (true, _) => {}
            (false, false) => {
                return format!(
                    "{}: {} is {values} again, and {range} is well",
                    self.rule, self.signal
                );
            }
            (false, true) => {
                return format!(
                    "{}: nothing is judged by it any longer: another release answers, or none, or the rule is \
                     another",
                    self.rule
                );
            }
        }
        let mut text =
            format!("{}: {} is {}, where {range} is well", self.rule, self.signal, values);
        if !self.explained.is_empty() {
            let each =
                self.explained.iter().map(|(name, score)| format!("{name} {}", shown(*score)));
            text += "; inputs furthest from the training data: ";
            text += &each.collect::<Vec<_>>().join(", ");
        }
        if !self.done.is_empty() {
            text += "; done: ";
            text += &self.done.join(", ");
        }
        text
    }
}

/// Four digits that count.
fn shown(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return value.to_string();
    }
    let digits = 3 - value.abs().log10().floor() as i32;
    if !(0..=9).contains(&digits) {
        return format!("{value:.3e}");
    }
    let text = format!("{value:.*}", digits as usize);
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').into() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::v1::{Body, Record, record};

    fn alert() -> Alert {
        Alert {
            slot: "line".into(),
            rule: "profile.score".into(),
            release: ReleaseRef { name: "turbine".into(), version: "1".into(), digest: [4; 32] },
            fired: true,
            start_unix_ms: 1000,
            end_unix_ms: 3000,
            signal: "median of score".into(),
            values: vec![1.25, 1.5],
            low: f64::NEG_INFINITY,
            high: 1.0625,
            explained: vec![("wind".into(), 0.5)],
            done: vec!["fail_safe".into()],
            at_unix_ms: 61,
        }
    }

    fn read(body: Vec<u8>) -> Option<Alert> {
        let record = Record { boot: 0, sequence: 0, backfill: false, code: record::ALERT, body };
        match record.read() {
            Ok(Body::Alert(alert)) => Some(*alert),
            _ => None,
        }
    }

    fn bytes(alert: &Alert) -> Vec<u8> {
        Body::Alert(Box::new(alert.clone())).encode().unwrap().1
    }

    #[test]
    fn alerts_of_version_1_are_written_alike_and_stay_readable() {
        let hex: String = bytes(&alert()).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, ALERT.replace(' ', ""));
        assert_eq!(read(bytes(&alert())), Some(alert()));
    }

    #[test]
    fn more_than_a_device_tells_is_not_read() {
        let of = |count| Alert { values: vec![1.0; count], ..alert() };
        assert!(read(bytes(&of(ALERT_VALUES_MAX))).is_some());
        assert!(read(bytes(&of(ALERT_VALUES_MAX + 1))).is_none());
        let explained = vec![("x".to_owned(), 1.0); EXPLAINED_MAX + 1];
        assert!(read(bytes(&Alert { explained, ..alert() })).is_none());
    }

    #[test]
    fn people_read_what_was_seen_and_where_it_should_be() {
        assert_eq!(
            alert().sentence(),
            "profile.score: median of score is 1.25, 1.5, where at most 1.062 is well; inputs furthest from \
             the training data: wind 0.5; done: fail_safe"
        );
        let over = Alert { fired: false, low: 0.0, values: vec![0.5], ..alert() };
        assert_eq!(
            over.event().text,
            "profile.score: median of score is 0.5 again, and 0 to 1.062 is well"
        );
        let ended = Alert { values: vec![], ..over.clone() };
        assert!(ended.sentence().contains("nothing is judged by it any longer"), "{ended:?}");
        assert_eq!(
            (over.event().kind, alert().event().kind),
            (event::RULE_OVER, event::RULE_FIRED)
        );
        for (value, text) in [(0.000123456, "0.0001235"), (-12.0, "-12"), (1e12, "1.000e12")] {
            assert_eq!(shown(value), text);
        }
    }

    const ALERT: &str = "046c696e650d70726f66696c652e73636f72650774757262696e6501310404040404040404040404 \
         04040404040404040404040404040404040404040401d00ff02e0f6d656469616e206f662073636f \
         726502000000000000f43f000000000000f83f000000000000f0ff000000000000f13f010477696e \
         64000000000000e03f01096661696c5f736166657a";
}
