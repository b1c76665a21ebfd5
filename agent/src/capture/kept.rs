//! What lies in a slot's ring, and what may: for people beside the device.

use super::firings::{firing, numbers};
use super::note::{Keep, Note};
use super::permit::Permit;
use super::record::Entry;
use super::segments::{Bounds, list, name, segment};
use crate::clock::written;
use crate::error::chain;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// The capture of a slot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CaptureReport {
    /// What may lie there.
    pub permit: Permitted,
    /// Bytes on disk.
    pub bytes: u64,
    /// Time of the oldest reading that lies there, by the readings themselves: nanoseconds since 1970;
    /// none where none lies there.
    pub from_unix_ns: Option<i64>,
    /// Time of the newest.
    pub to_unix_ns: Option<i64>,
    /// Why it cannot be read; nothing where it can.
    pub problem: Option<String>,
    /// What is kept beyond it because rules have fired, the oldest first.
    #[serde(default)]
    pub firings: Vec<FiringReport>,
}

/// What is kept because a rule has fired.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FiringReport {
    /// Its number in the slot.
    pub number: u64,
    /// The firing.
    #[serde(flatten)]
    pub keep: Keep,
    /// Since when, by the device's clock, as RFC 3339 writes it.
    pub begun_at: String,
    /// Seconds of running for which it goes on.
    pub left_seconds: u64,
    /// When it has ended, by the device's clock; none while it goes on.
    pub until: Option<String>,
    /// Bytes of it, also where the ring has them too.
    pub bytes: u64,
    /// Time of the oldest reading, by the readings themselves: nanoseconds since 1970.
    pub from_unix_ns: Option<i64>,
    /// Time of the newest.
    pub to_unix_ns: Option<i64>,
}

/// What may be captured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Permitted {
    /// The device's settings do not want it.
    NotWanted,
    /// The policy that the site has signed forbids it.
    Forbidden,
    /// So much, the strictest of both.
    UpTo {
        /// Bytes on disk.
        bytes: u64,
        /// How long a reading is kept.
        hours: u64,
    },
}

/// Where the ring of a slot lies, and what may.
pub struct Place {
    /// Its folder.
    pub folder: PathBuf,
    /// None where the device's settings do not want it.
    pub permit: Option<Permit>,
}

impl CaptureReport {
    /// Looks at what lies there now. Reads its oldest and its newest segment.
    pub fn of(place: &Place) -> CaptureReport {
        let permit = match place.permit.as_ref().map(Permit::bounds) {
            None => Permitted::NotWanted,
            Some(None) => Permitted::Forbidden,
            Some(Some(Bounds { bytes_max, age_max })) => {
                Permitted::UpTo { bytes: bytes_max, hours: age_max.as_secs() / 3600 }
            }
        };
        let (bytes, ends, problem) = match look(&place.folder) {
            Ok((bytes, ends)) => (bytes, ends, None),
            Err(error) => (0, None, Some(chain(error))),
        };
        let (from_unix_ns, to_unix_ns) = ends.unzip();
        let (firings, problem) = match of_firings(&place.folder) {
            Ok(firings) => (firings, problem),
            Err(error) => (vec![], problem.or_else(|| Some(chain(error)))),
        };
        CaptureReport { permit, bytes, from_unix_ns, to_unix_ns, problem, firings }
    }
}

fn of_firings(folder: &Path) -> io::Result<Vec<FiringReport>> {
    let mut firings = vec![];
    for number in numbers(folder)? {
        let folder = firing(folder, number);
        let Some(note) = Note::read(&folder)? else { continue };
        let Note { keep, begun_at, left_seconds, until } = note;
        let (bytes, ends) = look(&folder)?;
        let (from_unix_ns, to_unix_ns) = ends.unzip();
        firings.push(FiringReport {
            number,
            keep,
            begun_at,
            left_seconds,
            until,
            bytes,
            from_unix_ns,
            to_unix_ns,
        });
    }
    Ok(firings)
}

/// Bytes in a folder, and the times of the first and of the last reading.
fn look(folder: &Path) -> io::Result<(u64, Option<(i64, i64)>)> {
    let segments = match list(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((0, None)),
        segments => segments?,
    };
    let bytes = segments.iter().map(|(_, size)| size).sum();
    let times = |number: u64| -> io::Result<Vec<i64>> {
        let entries = match segment(&folder.join(name(number))) {
            // It gave way meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let time = |entry| match entry {
            Entry::Reading(reading) => Some(reading.time_unix_ns),
            Entry::Head(_) | Entry::Answer(_) => None,
        };
        Ok(entries.into_iter().filter_map(time).collect())
    };
    let (Some((oldest, _)), Some((newest, _))) = (segments.first(), segments.last()) else {
        return Ok((bytes, None));
    };
    let (first, last) = (times(*oldest)?, times(*newest)?);
    let ends = first.first().or(last.first()).zip(last.last().or(first.last()));
    Ok((bytes, ends.map(|(first, last)| (*first, *last))))
}

impl fmt::Display for CaptureReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.permit {
            Permitted::NotWanted => {
                write!(f, "nothing is captured: agent.toml has no table capture for it")?;
            }
            Permitted::Forbidden => {
                write!(f, "nothing is captured: the policy that the site has signed forbids it")?;
            }
            Permitted::UpTo { bytes, hours } => {
                write!(
                    f,
                    "{} kB of at most {}, for {hours} hours",
                    self.bytes / 1024,
                    bytes / 1024
                )?;
            }
        }
        match span(self.from_unix_ns, self.to_unix_ns) {
            Some(span) => write!(f, "; {span}")?,
            None if self.bytes == 0 => write!(f, "; none lies here")?,
            None => {}
        }
        if let Some(problem) = &self.problem {
            write!(f, "; it cannot be read: {problem}")?;
        }
        self.firings.iter().try_for_each(|firing| write!(f, "\n  {firing}"))
    }
}

impl fmt::Display for FiringReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Keep { rule, release, why, .. } = &self.keep;
        let (number, begun_at, bytes) = (self.number, &self.begun_at, self.bytes / 1024);
        write!(f, "{number}: rule {rule} of {release}, {why}: {bytes} kB since {begun_at}, ")?;
        match &self.until {
            Some(until) => write!(f, "until {until}")?,
            None => write!(f, "for {} min more", self.left_seconds.div_ceil(60))?,
        }
        match span(self.from_unix_ns, self.to_unix_ns) {
            Some(span) => write!(f, "; {span}"),
            None => Ok(()),
        }
    }
}

fn span(from_unix_ns: Option<i64>, to_unix_ns: Option<i64>) -> Option<String> {
    // To the second.
    let time = |nanos: i64| written(nanos.div_euclid(1_000_000_000).saturating_mul(1_000_000_000));
    Some(format!("readings of {} to {}", time(from_unix_ns?), time(to_unix_ns?)))
}

#[cfg(test)]
mod tests {
    use super::super::segments::Ring;
    use super::*;
    use lineside_rules::{CaptureLimits, SitePolicy, SlotPolicy};
    use lineside_runtime::Reading;
    use std::collections::BTreeMap;
    use std::time::{Duration, SystemTime};
    use tokio::sync::watch;

    #[test]
    fn people_hear_what_is_kept_from_when_to_when_and_what_may_be() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("line");
        let own = Bounds { bytes_max: 16 << 20, age_max: Duration::from_secs(24 * 3600) };
        let site = watch::Sender::new(SitePolicy::default());
        let permit = Permit::new(own, "line".parse().unwrap(), site.subscribe());
        let mut place = Place { folder: folder.clone(), permit: Some(permit) };
        let said = CaptureReport::of(&place).to_string();
        assert_eq!(said, "0 kB of at most 16384, for 24 hours; none lies here");
        let mut ring = Ring::open(&folder, own).unwrap();
        for second in 0..3 {
            let time_unix_ns = 1_400_000_000_500_000_000 + second * 60_000_000_000;
            let reading =
                Reading { key: "k".into(), sequence: 0, time_unix_ns, values: vec![0.5; 1000] };
            ring.write(&[Entry::Reading(reading)], SystemTime::now()).unwrap();
        }
        let said = CaptureReport::of(&place).to_string();
        let expected = "23 kB of at most 16384, for 24 hours; readings of 2014-05-13T16:53:20Z to \
             2014-05-13T16:55:20Z";
        assert_eq!(said, expected);
        let never = CaptureLimits { allowed: Some(false), ..CaptureLimits::default() };
        let slot = SlotPolicy { capture: never, ..SlotPolicy::default() };
        site.send_replace(SitePolicy {
            slots: BTreeMap::from([("*".to_owned(), slot)]),
            ..SitePolicy::default()
        });
        let said = CaptureReport::of(&place).to_string();
        assert!(said.starts_with("nothing is captured: the policy that the site"), "{said}");
        place.permit = None;
        let said = CaptureReport::of(&place).to_string();
        assert!(said.contains("agent.toml has no table capture"), "{said}");
    }
}
