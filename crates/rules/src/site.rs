//! What holds at a site, whatever a release or its author allows besides.

use crate::alert::Rules;
use crate::capture::CaptureLimits;
use crate::limits::TrialLimits;
use crate::shadow::ShadowLimits;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Rules that a slot may have.
const RULES_MAX: usize = 32;
/// Different lengths of spans that the rules of a slot may look at: the device keeps one span of each.
const SPANS_MAX: usize = 6;
/// Longest name of a rule, in bytes.
const NAME_BYTES_MAX: usize = 64;

/// Stands for every slot.
const EVERY_SLOT: &str = "*";

/// The policy of a site: limits by slot, `*` for every slot. The strictest of all that speak counts, so
/// a policy can forbid and never allow.
///
/// A field that is not known is refused: a limit that an agent does not understand is one that it
/// would not keep.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SitePolicy {
    /// What holds in each slot.
    #[serde(default)]
    pub slots: BTreeMap<String, SlotPolicy>,
    /// What the server may be told of the log.
    #[serde(default, skip_serializing_if = "is_unset")]
    pub log: LogLimits,
}

/// What the server may be told of the log of the devices. No line that may be told has a reading in it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogLimits {
    /// Whether lines may be told where they are asked for (default true).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowed: Option<bool>,
}

impl LogLimits {
    /// Whether lines may be told.
    pub fn is_allowed(&self) -> bool {
        self.allowed.unwrap_or(true)
    }
}

/// What holds in a slot.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SlotPolicy {
    /// Limits of trials.
    #[serde(default, skip_serializing_if = "is_unset")]
    pub trial: TrialLimits,
    /// Limits of shadow runs.
    #[serde(default, skip_serializing_if = "is_unset")]
    pub shadow: ShadowLimits,
    /// Limits of what is captured.
    #[serde(default, skip_serializing_if = "is_unset")]
    pub capture: CaptureLimits,
    /// When somebody is told of how a release behaves, and what is done then, by the rule's name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub rules: Rules,
}

fn is_unset<T: Default + PartialEq>(limits: &T) -> bool {
    *limits == T::default()
}

impl SitePolicy {
    /// What trials in `slot` have to keep to.
    pub fn trial(&self, slot: &str) -> TrialLimits {
        TrialLimits::strictest(self.of(slot).map(|policy| &policy.trial))
    }

    /// What shadow runs in `slot` have to keep to.
    pub fn shadow(&self, slot: &str) -> ShadowLimits {
        ShadowLimits::strictest(self.of(slot).map(|policy| &policy.shadow))
    }

    /// What may be captured in `slot`.
    pub fn capture(&self, slot: &str) -> CaptureLimits {
        CaptureLimits::strictest(self.of(slot).map(|policy| &policy.capture))
    }

    /// The rules of `slot`: those of every slot and its own, which go before others of the same name.
    pub fn rules(&self, slot: &str) -> Rules {
        self.of(slot).flat_map(|policy| policy.rules.clone()).collect()
    }

    /// Whether each limit is one that can be judged by.
    ///
    /// # Errors
    /// The first field that is wrong, with its tables, and what is wrong with it.
    pub fn check(&self) -> Result<(), (String, String)> {
        for (slot, policy) in &self.slots {
            let within = |table: &str, (field, problem): (String, String)| {
                (format!("slots.{slot}.{table}.{field}"), problem)
            };
            policy.trial.check().map_err(|wrong| within("trial", wrong))?;
            policy.shadow.check().map_err(|wrong| within("shadow", wrong))?;
            policy.capture.check().map_err(|wrong| within("capture", wrong))?;
            for (name, rule) in &policy.rules {
                let is_name = |text: &str| {
                    let of_names = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
                    (1..=NAME_BYTES_MAX).contains(&text.len()) && text.chars().all(of_names)
                };
                if !is_name(name) {
                    let problem = format!(
                        "a rule's name has 1 to {NAME_BYTES_MAX} letters, digits, '-', '_' or '.'"
                    );
                    return Err((format!("slots.{slot}.rules.{name}"), problem));
                }
                rule.check().map_err(|wrong| within(&format!("rules.{name}"), wrong))?;
            }
            let rules = self.rules(slot);
            let spans: BTreeSet<_> = rules.values().filter_map(|rule| rule.hours).collect();
            if rules.len() > RULES_MAX || spans.len() > SPANS_MAX {
                let problem = format!(
                    "{} rules of {} different `hours`: {RULES_MAX} and {SPANS_MAX} are kept",
                    rules.len(),
                    spans.len()
                );
                return Err((format!("slots.{slot}.rules"), problem));
            }
        }
        Ok(())
    }

    fn of(&self, slot: &str) -> impl Iterator<Item = &SlotPolicy> {
        [EVERY_SLOT, slot].into_iter().filter_map(|name| self.slots.get(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_strictest_of_what_is_said_of_every_slot_and_of_this_one_holds() {
        let slot = |frames, crashes_max| SlotPolicy {
            trial: TrialLimits { frames, crashes_max, ..TrialLimits::default() },
            shadow: ShadowLimits { frames, ..ShadowLimits::default() },
            capture: CaptureLimits { mib_max: frames, ..CaptureLimits::default() },
            rules: Rules::new(),
        };
        let slots = [("*", slot(Some(500), Some(1))), ("line", slot(Some(200), Some(0)))];
        let slots = slots.map(|(name, policy)| (name.to_owned(), policy));
        let policy = SitePolicy { slots: BTreeMap::from(slots), ..SitePolicy::default() };
        let trial = policy.trial("line");
        assert_eq!((trial.frames, trial.crashes_max), (Some(500), Some(0)));
        assert_eq!(policy.trial("other").crashes_max, Some(1));
        assert_eq!(policy.shadow("line").frames, Some(500));
        assert_eq!(policy.capture("line").mib_max, Some(200));
        assert!(SitePolicy::default().capture("line").is_allowed());
        assert!(!SitePolicy::default().shadow("line").is_wanted());
    }

    #[test]
    fn a_site_may_forbid_that_lines_of_logs_are_told() {
        let policy = |text: &str| serde_json::from_str::<SitePolicy>(text).unwrap();
        assert!(policy("{}").log.is_allowed());
        assert!(policy(r#"{"log": {}}"#).log.is_allowed());
        assert!(!policy(r#"{"log": {"allowed": false}}"#).log.is_allowed());
        assert_eq!(serde_json::to_string(&SitePolicy::default()).unwrap(), r#"{"slots":{}}"#);
    }

    #[test]
    fn only_a_table_that_says_nothing_is_left_out_of_what_is_written() {
        assert!(is_unset(&TrialLimits::default()));
        assert!(!is_unset(&TrialLimits { crashes_max: Some(0), ..TrialLimits::default() }));
    }

    #[test]
    fn limits_that_nothing_can_be_judged_by_are_told_with_their_place() {
        let mut policy = SitePolicy::default();
        let limits = TrialLimits { error_share_max: Some(2.0), ..TrialLimits::default() };
        let slot = SlotPolicy { trial: limits, ..SlotPolicy::default() };
        policy.slots.insert("line".into(), slot);
        let (field, problem) = policy.check().unwrap_err();
        assert_eq!(field, "slots.line.trial.error_share_max");
        assert!(problem.contains("no share"), "{problem}");
    }
}
