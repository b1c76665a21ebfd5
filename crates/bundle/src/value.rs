//! What the work of a bundle is worth to who runs it: declared, never measured.

use serde::{Deserialize, Serialize};

/// Longest name of a currency in bytes.
const CURRENCY_BYTES_MAX: usize = 16;

/// The table `[value]` of `bundle.toml`: assumptions of `lineside report value`, in its currency. What is left out
/// is not counted. Nothing on a device depends on it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Value {
    /// What costs and worths are in, as in `EUR`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub currency: Option<String>,
    /// The share of events told by alarms that are true (0 to 1), until outcomes say it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub precision: Option<f64>,
    /// Frames with an alarm that one event makes, at least 1; 1 unless set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alarms_per_event: Option<f64>,
    /// What a caught event is worth, beside the stop that it avoids.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finding_worth: Option<f64>,
    /// Minutes of stop that a caught event avoids.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_minutes_avoided: Option<f64>,
    /// What a minute of stop costs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_minute_cost: Option<f64>,
    /// What sending a gigabyte (10^9 bytes) away from the site would cost.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gigabyte_cost: Option<f64>,
    /// What it costs to look after a false alarm.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub false_alarm_cost: Option<f64>,
    /// Energy of an inference, in joules.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inference_energy_j: Option<f64>,
    /// What a kilowatt hour costs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kilowatt_hour_cost: Option<f64>,
    /// What it costs people to bring a release to a device.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rollout_cost: Option<f64>,
    /// What a device costs in a month (of 30.44 days).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device_month_cost: Option<f64>,
}

impl Value {
    /// Whether nothing is declared.
    pub fn is_empty(&self) -> bool {
        *self == Value::default()
    }

    /// Checks the numbers, and says which key holds what is wrong.
    pub(crate) fn check(&self) -> Result<(), (&'static str, String)> {
        if let Some(currency) = &self.currency {
            let fits = (1..=CURRENCY_BYTES_MAX).contains(&currency.len());
            if !fits || currency.chars().any(char::is_control) {
                let problem = format!("{currency:?} must be 1 to {CURRENCY_BYTES_MAX} bytes");
                return Err(("currency", problem));
            }
        }
        for (key, number, range, told) in [
            ("precision", self.precision, 0.0..=1.0, "from 0 to 1"),
            ("alarms_per_event", self.alarms_per_event, 1.0..=f64::MAX, "1 or more"),
            ("finding_worth", self.finding_worth, NOT_NEGATIVE, "0 or more"),
            ("stop_minutes_avoided", self.stop_minutes_avoided, NOT_NEGATIVE, "0 or more"),
            ("stop_minute_cost", self.stop_minute_cost, NOT_NEGATIVE, "0 or more"),
            ("gigabyte_cost", self.gigabyte_cost, NOT_NEGATIVE, "0 or more"),
            ("false_alarm_cost", self.false_alarm_cost, NOT_NEGATIVE, "0 or more"),
            ("inference_energy_j", self.inference_energy_j, NOT_NEGATIVE, "0 or more"),
            ("kilowatt_hour_cost", self.kilowatt_hour_cost, NOT_NEGATIVE, "0 or more"),
            ("rollout_cost", self.rollout_cost, NOT_NEGATIVE, "0 or more"),
            ("device_month_cost", self.device_month_cost, NOT_NEGATIVE, "0 or more"),
        ] {
            if let Some(number) = number.filter(|number| !range.contains(number)) {
                return Err((key, format!("{number} must be {told}")));
            }
        }
        Ok(())
    }
}

const NOT_NEGATIVE: std::ops::RangeInclusive<f64> = 0.0..=f64::MAX;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_share_or_cost_is_refused_by_its_key() {
        let refused = |text: &str| {
            let value: Value = toml::from_str(text).unwrap();
            value.check().unwrap_err().0
        };
        assert_eq!(refused("precision = 1.5"), "precision");
        assert_eq!(refused("alarms_per_event = 0.5"), "alarms_per_event");
        assert_eq!(refused("stop_minute_cost = -1.0"), "stop_minute_cost");
        assert_eq!(refused("finding_worth = nan"), "finding_worth");
        assert_eq!(refused("currency = ''"), "currency");
        assert!(toml::from_str::<Value>("worth = 1.0").is_err());
        assert_eq!(Value::default().check(), Ok(()));
    }
}
