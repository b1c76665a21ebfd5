//! The rules of a slot, judged by its intervals, and what they want of the slot while they fire.

use crate::capture::Keep;
use crate::clock::now_unix_ms;
use crate::database::Database;
use crate::telemetry::spool::{SpoolError, judged};
use crate::update::StagedRelease;
use lineside_bundle::{BundleFile, Capturing, Digest, ReleaseId};
use lineside_drift::Profile;
use lineside_rules::{Actions, Firing, Monitor, Rules, Scope, SitePolicy, rules_of};
use lineside_wire::name::SlotName;
use lineside_wire::v1::{Alert, Interval};
use tokio::sync::watch;

/// Releases of which is known what their bundles say: an interval may be of the one before.
const KNOWN_MAX: usize = 2;
/// How monitors are written. Another number where that changes: what is read by another form may look whole.
const FORM: u8 = 1;
/// The last firings that want what comes in to be kept.
const KEEPS_MAX: usize = 64;

/// What the rules of a slot want of it that fire.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Fires {
    /// Their names.
    pub rules: Vec<String>,
    /// The digest of the release that they were judged of.
    pub release: Option<Digest>,
    /// The first of them that wants the fail-safe values to be given.
    pub fail_safe: Option<String>,
    /// How long intervals are to last, in milliseconds; none where that is as the settings say.
    pub interval_ms: Option<i64>,
}

impl Fires {
    /// The rule that wants the slot to give its fail-safe values instead of what `release` answers.
    pub fn instead_of(&self, release: &ReleaseId) -> Option<&str> {
        let rule = self.fail_safe.as_deref()?;
        (self.release == Some(release.digest)).then_some(rule)
    }
}

/// What a judge works with.
pub(super) struct JudgeParts {
    /// The slot.
    pub slot: SlotName,
    /// What the site has signed.
    pub policy: watch::Receiver<SitePolicy>,
    /// Whether the settings of the slot have fail-safe values.
    pub has_values: bool,
    /// Whether they let readings be captured.
    pub captures: bool,
    /// How long intervals last unless a rule wants them shorter, in milliseconds.
    pub interval_ms: i64,
    /// How far the rules were, as it was written.
    pub written: Option<Vec<u8>>,
}

/// What a bundle says that is on the route, or was.
struct Known {
    release: Digest,
    profile: Option<Profile>,
    /// The rules that it brings.
    rules: Rules,
    has_values: bool,
    /// What may be kept of what comes in.
    capture: Capturing,
}

/// Judges a slot.
pub(super) struct Judge {
    slot: SlotName,
    policy: watch::Receiver<SitePolicy>,
    has_values: bool,
    captures: bool,
    interval_ms: i64,
    /// The newest last.
    known: Vec<Known>,
    /// None while there are no rules.
    monitor: Option<Monitor>,
    /// Nothing had the route at some time: what is committed later of a release from before is judged no more.
    was_vacated: bool,
    is_written: bool,
    /// What is wanted by now, and what was when that was handed out to be written.
    wanted: Fires,
    handed_out: Fires,
    fires: watch::Sender<Fires>,
    /// The last firings that want what comes in to be kept, by now and as they were handed out.
    keeps: Vec<Keep>,
    keeps_handed_out: Option<Vec<Keep>>,
    tell_keeps: watch::Sender<Option<Vec<Keep>>>,
}

impl Judge {
    /// Goes on with what was written. Also says what is wrong with that; it begins anew then.
    pub(super) fn new(parts: JudgeParts) -> (Judge, Option<String>) {
        let JudgeParts { slot, policy, has_values, captures, interval_ms, written } = parts;
        let (monitor, trouble) = match written.as_deref().map(read) {
            None => (None, None),
            Some(Ok(monitor)) => (Some(monitor), None),
            Some(Err(why)) => {
                let text = format!("how far the rules of slot {slot} were cannot be read: {why}");
                (None, Some(format!("{text}; they begin anew, and what fired is taken for over")))
            }
        };
        let (known, is_written) = (vec![], trouble.is_none());
        let (wanted, handed_out, fires) = Default::default();
        let (keeps, keeps_handed_out, tell_keeps) = Default::default();
        let mut judge = Judge {
            slot,
            policy,
            has_values,
            captures,
            interval_ms,
            known,
            monitor,
            was_vacated: false,
            is_written,
            wanted,
            handed_out,
            fires,
            keeps,
            keeps_handed_out,
            tell_keeps,
        };
        judge.want();
        judge.hand_out();
        judge.tell();
        (judge, trouble)
    }

    /// What the rules want that fire.
    pub(super) fn fires(&self) -> watch::Receiver<Fires> {
        self.fires.subscribe()
    }

    /// The last firings that want what comes in to be kept; none while that is not known after a start.
    pub(super) fn keeps(&self) -> watch::Receiver<Option<Vec<Keep>>> {
        self.tell_keeps.subscribe()
    }

    /// How long intervals are to last, in milliseconds.
    pub(super) fn interval_ms(&self) -> i64 {
        self.wanted.interval_ms.map_or(self.interval_ms, |it| it.min(self.interval_ms))
    }

    /// Learns what a release says that takes the route.
    pub(super) fn placed(&mut self, placed: &StagedRelease, profile: Option<Profile>) {
        self.knows(placed.release.digest, &placed.manifest.bundle, profile);
    }

    fn knows(&mut self, release: Digest, bundle: &BundleFile, profile: Option<Profile>) {
        self.known.retain(|known| known.release != release);
        let has_values = !bundle.fail_safe.is_empty();
        let watched = bundle.monitor.outputs.as_deref();
        let rules = profile.as_ref().map(|profile| rules_of(profile, watched)).unwrap_or_default();
        let capture = bundle.capture.clone();
        self.known.push(Known { release, profile, rules, has_values, capture });
        let surplus = self.known.len().saturating_sub(KNOWN_MAX);
        self.known.drain(..surplus);
        // A rule may have fired before a start, and what its bundle lets be kept is known only now.
        self.want();
    }

    /// Takes an interval that has ended, once, and gives what is told because of it.
    pub(super) fn take(&mut self, interval: &Interval) -> Vec<Alert> {
        let known = self.known.iter().find(|it| it.release.bytes() == interval.release.digest);
        if self.was_vacated && known.is_none() {
            return vec![];
        }
        let profile = known.and_then(|known| known.profile.as_ref());
        let mut rules = known.map(|known| known.rules.clone()).unwrap_or_default();
        rules.extend(of_site(&self.policy.borrow(), &self.slot));
        if rules.is_empty() && self.monitor.is_none() {
            return vec![];
        }
        let monitor = self.monitor.get_or_insert_with(Monitor::of_device);
        self.is_written = false;
        let firings = monitor.take(interval, &rules, profile);
        if rules.is_empty() {
            self.monitor = None;
        }
        let has_values = self.has_values || known.is_some_and(|known| known.has_values);
        let capture = known.map(|known| known.capture.clone());
        self.told(firings, has_values, capture.as_ref())
    }

    /// Nothing has the route any more: what fired is over.
    pub(super) fn vacated(&mut self) -> Vec<Alert> {
        self.was_vacated = true;
        self.known.clear();
        let Some(mut monitor) = self.monitor.take() else { return vec![] };
        self.is_written = false;
        self.told(monitor.end(), false, None)
    }

    /// Sees whether what the site has signed wants something else by now.
    pub(super) fn look(&mut self) -> bool {
        let has_changed = self.policy.has_changed().unwrap_or(false);
        if has_changed {
            self.policy.mark_unchanged();
            self.want();
        }
        has_changed
    }

    /// How far the rules are, to be written where that has changed since; none where nothing is to be kept.
    pub(super) fn unwritten_bytes(&mut self) -> Option<Option<Vec<u8>>> {
        self.hand_out();
        if std::mem::replace(&mut self.is_written, true) {
            return None;
        }
        Some(self.monitor.as_ref().and_then(|monitor| match write(monitor) {
            Ok(bytes) => Some(bytes),
            Err(error) => {
                let slot = &self.slot;
                tracing::error!(%slot, "how far the rules are cannot be written: {error}");
                None
            }
        }))
    }

    /// The disk has not taken it.
    pub(super) fn unwritten(&mut self) {
        self.is_written = false;
    }

    fn told(
        &mut self,
        firings: Vec<Firing>,
        has_values: bool,
        capture: Option<&Capturing>,
    ) -> Vec<Alert> {
        self.want();
        let alerts = firings.iter().map(|firing| {
            let done = match firing.fired {
                true => self.done(&firing.then, has_values, capture),
                false => vec![],
            };
            firing.alert(self.slot.as_str(), done, now_unix_ms())
        });
        alerts.collect()
    }

    /// What the device does because of a rule that fires, or why not.
    fn done(&self, then: &Actions, has_values: bool, capture: Option<&Capturing>) -> Vec<String> {
        let mut done = vec![];
        if then.fail_safe {
            let none = "fail_safe: no values are given for it";
            done.push(if has_values { "fail_safe" } else { none }.to_owned());
        }
        if let Some(seconds) = then.interval_seconds {
            let own = self.interval_ms / 1000;
            done.push(match i64::from(seconds) >= own {
                true => format!("interval_seconds: intervals last {own} s anyway"),
                false => format!("interval_seconds {seconds}"),
            });
        }
        if let Some(minutes) = then.capture_minutes {
            done.push(if !self.captures {
                "capture_minutes: this device captures nothing".to_owned()
            } else if !self.may_capture() {
                "capture_minutes: the site forbids it".to_owned()
            } else if !capture.is_some_and(|capture| capture.allowed) {
                "capture_minutes: the bundle does not allow it".to_owned()
            } else {
                format!("capture_minutes {minutes}")
            });
        }
        done
    }

    fn may_capture(&self) -> bool {
        self.captures && self.policy.borrow().capture(self.slot.as_str()).is_allowed()
    }

    fn hand_out(&mut self) {
        self.handed_out = self.wanted.clone();
        // What fired before a start may still be among them.
        let is_known = !self.known.is_empty() || self.was_vacated || self.monitor.is_none();
        self.keeps_handed_out = is_known.then(|| self.keeps.clone());
    }

    /// Tells the slot what the rules want, as it was handed out last. On the disk first, so that a slot that has
    /// been safe is so after a kill; where the disk takes nothing it is told all the same.
    pub(super) fn tell(&self) {
        self.fires.send_if_modified(|now| {
            let is_new = *now != self.handed_out;
            now.clone_from(&self.handed_out);
            is_new
        });
        self.tell_keeps.send_if_modified(|now| {
            let is_new = *now != self.keeps_handed_out;
            now.clone_from(&self.keeps_handed_out);
            is_new
        });
    }

    /// Sees what the rules want that fire.
    fn want(&mut self) {
        let mut fires = Fires::default();
        let may_capture = self.may_capture();
        if let Some(monitor) = &self.monitor {
            let rules = of_site(&self.policy.borrow(), &self.slot);
            fires.release = monitor.release().map(|release| Digest::from(release.digest));
            for rule in monitor.firing() {
                fires.rules.push(rule.to_owned());
                let Some(then) = rules.get(rule).map(|rule| &rule.then) else { continue };
                if then.fail_safe && fires.fail_safe.is_none() {
                    fires.fail_safe = Some(rule.to_owned());
                }
                let wanted = then.interval_seconds.map(|seconds| i64::from(seconds) * 1000);
                fires.interval_ms = [fires.interval_ms, wanted].into_iter().flatten().min();
                let minutes = then.capture_minutes.filter(|_| may_capture);
                let keep = minutes.and_then(|minutes| keep(monitor, rule, minutes, &self.known));
                let is_known = |keep: &Keep| self.keeps.iter().any(|known| known.is_same(keep));
                self.keeps.extend(keep.filter(|keep| !is_known(keep)));
            }
            if monitor.is_starved() {
                // Short intervals that say too little would never end what fires.
                fires.interval_ms = None;
            }
        }
        if !may_capture {
            self.keeps.clear();
        }
        let surplus = self.keeps.len().saturating_sub(KEEPS_MAX);
        self.keeps.drain(..surplus);
        self.wanted = fires;
    }
}

/// That for which what comes in is kept because `rule` fires; none where the bundle does not allow it.
fn keep(monitor: &Monitor, rule: &str, minutes: u32, known: &[Known]) -> Option<Keep> {
    let release = monitor.release()?;
    let known = known.iter().find(|known| known.release.bytes() == release.digest)?;
    let redact = known.capture.allowed.then(|| known.capture.redact.clone())?;
    let (fired_unix_ms, why) = monitor.fired(rule)?;
    Some(Keep {
        rule: rule.to_owned(),
        release: format!("{}/{}", release.name, release.version),
        digest: release.digest.into(),
        fired_unix_ms,
        why,
        minutes,
        redact,
    })
}

/// The rules that the site has signed for a slot and that are judged here.
fn of_site(policy: &SitePolicy, slot: &SlotName) -> Rules {
    let mut rules = policy.rules(slot.as_str());
    rules.retain(|_, rule| rule.scope == Scope::Device);
    rules
}

/// The rules of a slot that fire, by what an agent has written that does not run.
///
/// # Errors
/// [`SpoolError`].
pub fn firing(database: &Database, slot: &SlotName) -> Result<Vec<String>, SpoolError> {
    let monitor = judged(database, slot.as_str())?.and_then(|written| read(&written).ok());
    Ok(monitor.iter().flat_map(Monitor::firing).map(str::to_owned).collect())
}

/// What is told of the rules of a slot that is judged no more, by what was written of them: what fired is over.
pub(super) fn over(slot: &str, written: &[u8]) -> Vec<Alert> {
    let firings = read(written).map(|mut monitor| monitor.end()).unwrap_or_default();
    firings.iter().map(|firing| firing.alert(slot, vec![], now_unix_ms())).collect()
}

fn write(monitor: &Monitor) -> postcard::Result<Vec<u8>> {
    postcard::to_extend(monitor, vec![FORM])
}

fn read(written: &[u8]) -> Result<Monitor, String> {
    let (form, monitor) = written.split_first().ok_or("there is nothing")?;
    if *form != FORM {
        return Err(format!("it is written in form {form}, and this agent knows {FORM}"));
    }
    match postcard::take_from_bytes(monitor) {
        Ok((monitor, [])) => Ok(monitor),
        Ok((_, more)) => Err(format!("{} bytes are too many", more.len())),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests;
