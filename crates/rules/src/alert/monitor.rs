//! The rules of a slot over the intervals of a release, one after the other.

use super::actions::Actions;
use super::measure::{furthest, measure};
use super::rule::{AlertRule, Band, Scope, Signal};
use super::span::{Length, Spans};
use super::watch::{Change, Watch};
use lineside_drift::{Chunk, Profile, Role, Statistic};
use lineside_wire::v1::{ALERT_VALUES_MAX, Alert, EXPLAINED_MAX, Interval, ReleaseRef};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Rules by their names.
pub type Rules = BTreeMap<String, AlertRule>;

/// How far the rules of a slot are, over the intervals of a release. Written down after each interval, so that
/// a restart goes on with it; postcard does. Its size is that of one interval for each length of span that the
/// rules name, of two where it is of many devices.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Monitor {
    of_many: bool,
    release: Option<ReleaseRef>,
    spans: Vec<Spans>,
    watches: BTreeMap<String, Watched>,
}

/// A rule that was judged by, and how far it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Watched {
    /// The rule as JSON, which leaves out what is not said: one that has changed begins anew.
    rule: String,
    watch: Watch,
    signal: String,
    low: f64,
    high: f64,
    end_unix_ms: i64,
}

/// What has become of a rule.
#[derive(Debug, Clone, PartialEq)]
pub struct Firing {
    /// Its name.
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
    /// Its value in each span that fired it, of many the newest; in the last one where it is over. None where
    /// nothing is judged by the rule any longer.
    pub values: Vec<f64>,
    /// Below is outside; minus infinity where nothing is.
    pub low: f64,
    /// Above is outside; infinity where nothing is.
    pub high: f64,
    /// Inputs that lay furthest from the training data in the last span, with their scores.
    pub explained: Vec<(String, f64)>,
    /// What is to be done. Nothing where the rule is gone.
    pub then: Actions,
    /// The last span, whole.
    pub evidence: Option<Box<Interval>>,
}

impl Firing {
    /// As a device tells it; `done` is what the device has done.
    pub fn alert(&self, slot: &str, done: Vec<String>, at_unix_ms: i64) -> Alert {
        Alert {
            slot: slot.to_owned(),
            rule: self.rule.clone(),
            release: self.release.clone(),
            fired: self.fired,
            start_unix_ms: self.start_unix_ms,
            end_unix_ms: self.end_unix_ms,
            signal: self.signal.clone(),
            values: self.values.clone(),
            low: self.low,
            high: self.high,
            explained: self.explained.clone(),
            done,
            at_unix_ms,
        }
    }
}

/// The rules that a bundle brings: the median of each of these outputs, or of all, should stay within the limits
/// that were learnt for it, two spans in a row. Robust against single standstills; what comes in moves with the
/// weather and is no fault by itself, so it explains and does not ring.
pub fn rules_of(profile: &Profile, outputs: Option<&[String]>) -> Rules {
    let columns = profile.columns().iter().filter(|column| column.role == Role::Output);
    let learnt = columns.filter(|column| {
        let learnt = column.learnt.as_ref();
        let is_watched = outputs.is_none_or(|outputs| outputs.contains(&column.name));
        is_watched && learnt.is_some_and(|learnt| learnt.limits.contains_key(&Statistic::Median))
    });
    let rule = |output: &str| AlertRule {
        signal: Signal::Median,
        input: None,
        output: Some(output.to_owned()),
        within: None,
        learnt: true,
        clear_within: None,
        hours: None,
        intervals: None,
        values_min: None,
        quiet_hours: None,
        scope: Scope::Device,
        then: Actions::default(),
    };
    learnt.map(|column| (format!("profile.{}", column.name), rule(&column.name))).collect()
}

impl Monitor {
    /// Of intervals of one device, in their order.
    pub fn of_device() -> Monitor {
        Monitor { of_many: false, release: None, spans: vec![], watches: BTreeMap::new() }
    }

    /// Of intervals of many devices, as they come.
    pub fn of_many() -> Monitor {
        Monitor { of_many: true, ..Monitor::of_device() }
    }

    /// The release whose intervals it took last.
    pub fn release(&self) -> Option<&ReleaseRef> {
        self.release.as_ref()
    }

    /// The rules that fire.
    pub fn firing(&self) -> impl Iterator<Item = &str> {
        let firing = self.watches.iter().filter(|(_, watched)| watched.watch.is_firing());
        firing.map(|(name, _)| name.as_str())
    }

    /// Whether the last span of some rule had too few values to be judged by: longer intervals may have enough.
    pub fn is_starved(&self) -> bool {
        self.watches.values().any(|watched| watched.watch.is_starved())
    }

    /// When a rule has fired that fires, milliseconds since 1970 by the readings' own time, and why: what it looks
    /// at, and where that should lie.
    pub fn fired(&self, rule: &str) -> Option<(i64, String)> {
        let watched = self.watches.get(rule).filter(|watched| watched.watch.is_firing())?;
        let Watched { signal, low, high, .. } = watched;
        let why = match (low.is_finite(), high.is_finite()) {
            (true, true) => format!("{signal} is not within {low} to {high}"),
            (true, false) => format!("{signal} is below {low}"),
            _ => format!("{signal} is above {high}"),
        };
        Some((watched.watch.fired_unix_ms()?, why))
    }

    /// Takes an interval, once, and gives what follows from it. Of another release it begins anew, and what
    /// fired is over.
    pub fn take(
        &mut self,
        interval: &Interval,
        rules: &Rules,
        profile: Option<&Profile>,
    ) -> Vec<Firing> {
        let mut firings = vec![];
        if self.release.as_ref() != Some(&interval.release) {
            firings = self.end();
            self.release = Some(interval.release.clone());
        }
        firings.extend(self.keep(rules));
        let lengths: BTreeSet<Length> = rules.values().map(|rule| length(rule, profile)).collect();
        self.spans.retain(|spans| lengths.contains(&spans.length()));
        for wanted in lengths {
            let known = self.spans.iter().position(|spans| spans.length() == wanted);
            let at = known.unwrap_or_else(|| {
                self.spans.push(Spans::new(wanted, self.of_many));
                self.spans.len() - 1
            });
            for span in self.spans[at].take(interval) {
                let of_length = rules.iter().filter(|(_, rule)| length(rule, profile) == wanted);
                for (name, rule) in of_length {
                    firings.extend(self.judge(name, rule, &span, profile));
                }
            }
        }
        firings
    }

    /// Ends all that fires, as nothing more comes of this release.
    pub fn end(&mut self) -> Vec<Firing> {
        self.spans.clear();
        let over = std::mem::take(&mut self.watches).into_iter();
        let Some(release) = self.release.take() else { return vec![] };
        let over = over.filter(|(_, watched)| watched.watch.is_firing());
        over.map(|(name, watched)| watched.over(name, release.clone(), Actions::default()))
            .collect()
    }

    /// Lets go of rules that are gone or say something else by now; what fired of them is over.
    fn keep(&mut self, rules: &Rules) -> Vec<Firing> {
        let Some(release) = &self.release else { return vec![] };
        let gone = self.watches.extract_if(.., |name, watched| {
            rules.get(name).is_none_or(|rule| as_json(rule) != watched.rule)
        });
        let over = gone.filter(|(_, watched)| watched.watch.is_firing());
        over.map(|(name, watched)| watched.over(name, release.clone(), Actions::default()))
            .collect()
    }

    fn judge(
        &mut self,
        name: &str,
        rule: &AlertRule,
        span: &Interval,
        profile: Option<&Profile>,
    ) -> Option<Firing> {
        let (seen, limits) = measure(span, rule, profile)?;
        let begun = || Watched {
            rule: as_json(rule),
            watch: Watch::default(),
            signal: rule.told(),
            low: limits.low,
            high: limits.high,
            end_unix_ms: span.end_unix_ms,
        };
        let watched = self.watches.entry(name.to_owned()).or_insert_with(begun);
        let Band { low, high } = limits;
        (watched.low, watched.high, watched.end_unix_ms) = (low, high, span.end_unix_ms);
        let change = watched.watch.step(rule, limits, &seen)?;
        let over = watched.clone().over(name.to_owned(), span.release.clone(), rule.then.clone());
        Some(match change {
            Change::Over { .. } => Firing {
                values: seen.estimate.map(|estimate| estimate.value).into_iter().collect(),
                evidence: Some(Box::new(span.clone())),
                ..over
            },
            Change::Fired(evidence) => {
                let surplus = evidence.values.len().saturating_sub(ALERT_VALUES_MAX);
                let furthest = profile.map(|profile| furthest(span, profile, EXPLAINED_MAX));
                Firing {
                    fired: true,
                    start_unix_ms: evidence.start_unix_ms,
                    values: evidence.values[surplus..].to_vec(),
                    explained: furthest.unwrap_or_default(),
                    evidence: Some(Box::new(span.clone())),
                    ..over
                }
            }
        })
    }
}

impl Watched {
    fn over(self, rule: String, release: ReleaseRef, then: Actions) -> Firing {
        Firing {
            rule,
            release,
            fired: false,
            start_unix_ms: self.end_unix_ms,
            end_unix_ms: self.end_unix_ms,
            signal: self.signal,
            values: vec![],
            low: self.low,
            high: self.high,
            explained: vec![],
            then,
            evidence: None,
        }
    }
}

/// What a rule looks at as one: as it says; else, where it is about what was learnt, what that was learnt from.
fn length(rule: &AlertRule, profile: Option<&Profile>) -> Length {
    let learnt = profile.filter(|_| rule.learnt).and_then(Profile::chunk);
    match (rule.span_ms(), learnt) {
        (Some(span_ms), _) => Length::Milliseconds(span_ms),
        (None, Some(Chunk::Milliseconds(span_ms))) => Length::Milliseconds(span_ms),
        (None, Some(Chunk::Rows(rows))) => Length::Readings(rows),
        (None, None) => Length::Each,
    }
}

fn as_json(rule: &AlertRule) -> String {
    // A rule is texts and finite numbers; one that was not checked would be taken for another each time.
    serde_json::to_string(rule).unwrap_or_default()
}
