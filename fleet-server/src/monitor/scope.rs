//! Which intervals somebody asks about.

use crate::error::Error;
use crate::store::Store;
use crate::store::tables::device;
use lineside_bundle::spoken;
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QuerySelect};
use serde::Deserialize;
use std::collections::BTreeMap;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use utoipa::IntoParams;

/// Longest step, in seconds: a hundred years.
const STEP_SECONDS_MAX: u64 = 100 * 366 * 86_400;

/// Which intervals to look at. Of device, site and label one at most; without any, the whole fleet's.
#[derive(Debug, Default, Deserialize, IntoParams)]
pub(crate) struct AskedScope {
    /// The slot.
    slot: String,
    /// What this release answered, as in `turbine/2`; all releases unless told.
    release: Option<String>,
    /// Of this device.
    device: Option<String>,
    /// Of all devices of this site.
    site: Option<String>,
    /// Of all devices with this label, as in `line=3`.
    label: Option<String>,
    /// From this moment on, by the readings' own time: RFC 3339, or a day such as `2026-02-01`, UTC. An
    /// interval belongs to where it begins.
    from: Option<String>,
    /// Before this moment.
    to: Option<String>,
    /// A series of spans so long, in seconds, counted from 1970 on; without it there is none.
    step: Option<u64>,
}

/// Whose intervals.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Of all devices.
    Fleet,
    /// Of one.
    Device(String),
    /// Of those that stand there.
    Site(String),
    /// Of those that have this label of this value.
    Label(String, String),
}

/// What somebody asks.
#[derive(Debug, Clone)]
pub(crate) struct Question {
    pub slot: String,
    /// As rows have it, as in `turbine v2`.
    pub release: Option<String>,
    pub scope: Scope,
    pub from_unix_ms: i64,
    pub to_unix_ms: i64,
    /// Length of the spans of a series.
    pub step_ms: Option<i64>,
}

impl AskedScope {
    /// What is asked.
    ///
    /// # Errors
    /// [`Error::Malformed`], with how to write it.
    pub fn question(&self) -> Result<Question, Error> {
        let scope = match (&self.device, &self.site, &self.label) {
            (None, None, None) => Scope::Fleet,
            (Some(device), None, None) => Scope::Device(device.clone()),
            (None, Some(site), None) => Scope::Site(site.clone()),
            (None, None, Some(label)) => {
                let (key, value) = label.split_once('=').ok_or_else(|| {
                    Error::Malformed("label: write its name and value, as in line=3".into())
                })?;
                Scope::Label(key.to_owned(), value.to_owned())
            }
            _ => {
                return Err(Error::Malformed(
                    "device, site and label: name one of them, or none for the whole fleet".into(),
                ));
            }
        };
        let step_ms = match self.step {
            None => None,
            Some(seconds @ 1..=STEP_SECONDS_MAX) => Some(seconds as i64 * 1_000),
            Some(_) => {
                return Err(Error::Malformed(format!("step: 1 to {STEP_SECONDS_MAX} seconds")));
            }
        };
        let (from_unix_ms, to_unix_ms) = span(self.from.as_deref(), self.to.as_deref())?;
        let (slot, release) = (self.slot.clone(), named(self.release.as_deref())?);
        Ok(Question { slot, release, scope, from_unix_ms, to_unix_ms, step_ms })
    }
}

/// A release as rows have it, from `turbine/2`.
///
/// # Errors
/// [`Error::Malformed`], with how to write it.
pub(crate) fn named(release: Option<&str>) -> Result<Option<String>, Error> {
    let Some(release) = release else { return Ok(None) };
    let parts = release.split_once('/').filter(|(name, version)| {
        !name.is_empty() && !version.is_empty() && !version.contains('/')
    });
    let (name, version) = parts.ok_or_else(|| {
        Error::Malformed("release: write bundle and version, as in turbine/2".into())
    })?;
    Ok(Some(spoken(name, version)))
}

/// Milliseconds since 1970 from which on and before which, all there is unless told.
///
/// # Errors
/// [`Error::Malformed`], with how to write it.
pub(crate) fn span(from: Option<&str>, to: Option<&str>) -> Result<(i64, i64), Error> {
    let from_unix_ms = moment("from", from)?.unwrap_or(i64::MIN);
    let to_unix_ms = moment("to", to)?.unwrap_or(i64::MAX);
    if from_unix_ms >= to_unix_ms {
        return Err(Error::Malformed("from has to be before to".into()));
    }
    Ok((from_unix_ms, to_unix_ms))
}

fn moment(name: &str, text: Option<&str>) -> Result<Option<i64>, Error> {
    let Some(text) = text else { return Ok(None) };
    // A plus sign that was not escaped arrives as a blank.
    let text = text.trim().replace(' ', "+");
    let is_day = text.len() == "2026-02-01".len();
    let whole = if is_day { format!("{text}T00:00:00Z") } else { text };
    match OffsetDateTime::parse(&whole, &Rfc3339) {
        Ok(moment) => Ok(Some(crate::store::unix_ms(moment))),
        Err(_) => Err(Error::Malformed(format!(
            "{name}: write a day or a moment, as in 2026-02-01 or 2026-02-01T06:00:00Z"
        ))),
    }
}

impl Scope {
    /// The devices that are meant, by name; none for the whole fleet.
    ///
    /// # Errors
    /// [`Error::Missing`] if there is no such device, or none there.
    pub async fn devices(&self, store: &Store) -> Result<Option<Vec<String>>, Error> {
        let names = || device::Entity::find().select_only().column(device::Column::Name);
        let (found, none): (Vec<String>, _) = match self {
            Scope::Fleet => return Ok(None),
            Scope::Device(name) => {
                let found = names().filter(device::Column::Name.eq(name.as_str()));
                (found.into_tuple().all(store.read()).await?, format!("there is no device {name}"))
            }
            Scope::Site(site) => {
                let found = names().filter(device::Column::Site.eq(site.as_str()));
                let none = format!("no device stands at the site {site}");
                (found.into_tuple().all(store.read()).await?, none)
            }
            Scope::Label(key, value) => {
                let all = names().column(device::Column::Labels);
                let all: Vec<(String, String)> = all.into_tuple().all(store.read()).await?;
                let has = |labels: &str| {
                    let labels: BTreeMap<String, String> =
                        serde_json::from_str(labels).unwrap_or_default();
                    labels.get(key) == Some(value)
                };
                let found = all.into_iter().filter(|(_, labels)| has(labels));
                let none = format!("no device has the label {key}={value}");
                (found.map(|(name, _)| name).collect(), none)
            }
        };
        if found.is_empty() {
            let none: String = none.chars().take(300).collect();
            return Err(Error::Missing(format!("{none}: `lineside device list` has them all")));
        }
        Ok(Some(found))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selection() -> AskedScope {
        AskedScope { slot: "turbine".into(), ..AskedScope::default() }
    }

    #[test]
    fn days_and_moments_are_read_and_whatever_else_is_told_how_to_write() {
        let asked = |from: &str| {
            let selection = AskedScope { from: Some(from.into()), ..selection() };
            selection.question().map(|question| question.from_unix_ms)
        };
        assert_eq!(asked("1970-01-02").unwrap(), 86_400_000);
        assert_eq!(asked("1970-01-01T01:00:00.5Z").unwrap(), 3_600_500);
        assert_eq!(asked("1970-01-01T01:00:00 01:00").unwrap(), 0);
        assert!(asked("yesterday").unwrap_err().to_string().contains("as in 2026-02-01"));
        let whole = selection().question().unwrap();
        assert_eq!((whole.from_unix_ms, whole.to_unix_ms), (i64::MIN, i64::MAX));
    }

    #[test]
    fn one_scope_is_named_or_none() {
        let site = || AskedScope { site: Some("hill".into()), ..selection() };
        assert_eq!(site().question().unwrap().scope, Scope::Site("hill".into()));
        let both = AskedScope { device: Some("a".into()), ..site() };
        assert!(both.question().unwrap_err().to_string().contains("one of them"));
        let label = AskedScope { label: Some("line=3=4".into()), ..selection() };
        let expected = Scope::Label("line".into(), "3=4".into());
        assert_eq!(label.question().unwrap().scope, expected);
        for wrong in [
            AskedScope { label: Some("line".into()), ..selection() },
            AskedScope { release: Some("turbine".into()), ..selection() },
            AskedScope { step: Some(0), ..selection() },
            AskedScope {
                from: Some("2026-02-01".into()),
                to: Some("2026-02-01".into()),
                ..selection()
            },
        ] {
            assert!(matches!(wrong.question(), Err(Error::Malformed(_))), "{wrong:?}");
        }
    }
}
