//! What was taken off a list of releases again, as far as the releases after it have to know.

use crate::document::{FLOOR_MAX, VERSION_MAX};
use crate::releases::SignedRelease;
use lineside_bundle::{BundleName, BundleVersion, ReleaseId};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// The field in a document of targets. TUF leaves it to us, and who does not know it passes over it.
const FIELD: &str = "withdrawn";

/// What was withdrawn of one bundle. Devices may hold it: no number of it is given again, no version of
/// it names anything else, and the floor stays where it was.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Withdrawn {
    /// The highest number that was given.
    pub number: u64,
    /// The number below which a device may not go that has a release of this bundle.
    pub floor: u64,
    /// The versions.
    pub versions: BTreeSet<BundleVersion>,
}

/// What was withdrawn of each bundle.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Withdrawals(BTreeMap<BundleName, Withdrawn>);

impl Withdrawals {
    /// What a document of targets says that lists `releases`; `extra` are its fields that TUF does not
    /// know.
    pub(crate) fn of(
        extra: &BTreeMap<String, Value>,
        releases: &BTreeMap<String, SignedRelease>,
    ) -> Result<Withdrawals, String> {
        let Some(value) = extra.get(FIELD) else { return Ok(Withdrawals::default()) };
        let withdrawn: Withdrawals =
            serde_json::from_value(value.clone()).map_err(|error| format!("{FIELD}: {error}"))?;
        for (bundle, Withdrawn { number, floor, .. }) in withdrawn.iter() {
            // As with releases: whoever stole the keys must not be able to use up the numbers.
            if *number > VERSION_MAX {
                let problem = format!("number {number} is above {VERSION_MAX}");
                return Err(format!("{FIELD}: {bundle}: {problem}, the highest there is"));
            }
            if floor > number {
                return Err(format!("{FIELD}: {bundle}: floor {floor} is above {number}"));
            }
            if *floor > FLOOR_MAX {
                let problem = format!("floor {floor} is above {FLOOR_MAX}");
                return Err(format!("{FIELD}: {bundle}: {problem}, the highest there is"));
            }
        }
        match releases.values().find(|release| withdrawn.has(&release.id)) {
            Some(release) => Err(format!("{} is listed and withdrawn", release.path())),
            None => Ok(withdrawn),
        }
    }

    /// Puts it into a document that is to be signed; nothing if nothing was withdrawn.
    pub(crate) fn put_into(&self, signed: &mut Value) {
        if !self.0.is_empty() {
            signed[FIELD] = json!(self);
        }
    }

    /// Takes a release off `releases`.
    pub(crate) fn withdraw(
        &mut self,
        path: &str,
        releases: &mut BTreeMap<String, SignedRelease>,
    ) -> Result<SignedRelease, String> {
        let Some(release) = releases.remove(path) else {
            let listed: Vec<&str> = releases.keys().map(String::as_str).collect();
            let listed = if listed.is_empty() { "nothing".into() } else { listed.join(", ") };
            return Err(format!("{path} is not on the list, which has {listed}"));
        };
        let withdrawn = self.0.entry(release.id.name.clone()).or_default();
        withdrawn.number = withdrawn.number.max(release.number);
        withdrawn.floor = withdrawn.floor.max(release.floor);
        withdrawn.versions.insert(release.id.version.clone());
        Ok(release)
    }

    /// Has the next number of a bundle be above this one, which others have given.
    pub(crate) fn count(&mut self, bundle: &BundleName, number: u64) {
        let withdrawn = self.0.entry(bundle.clone()).or_default();
        withdrawn.number = withdrawn.number.max(number);
    }

    /// Whether a bundle of this name and version was withdrawn.
    pub(crate) fn has(&self, id: &ReleaseId) -> bool {
        self.get(&id.name).is_some_and(|withdrawn| withdrawn.versions.contains(&id.version))
    }

    /// What was withdrawn of a bundle.
    pub fn get(&self, bundle: &BundleName) -> Option<&Withdrawn> {
        self.0.get(bundle)
    }

    /// By bundle.
    pub fn iter(&self) -> impl Iterator<Item = (&BundleName, &Withdrawn)> {
        self.0.iter()
    }
}

/// What others have of the bundles of a list: a bundle counts its releases whoever signs them.
#[derive(Debug, Clone, Default)]
pub struct Others {
    /// The releases that they have signed.
    pub releases: Vec<SignedRelease>,
    /// What they have withdrawn.
    pub withdrawn: Vec<Withdrawals>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_withdrawn_uses_no_number_and_no_floor_up() {
        let read = |number: u64, floor: u64| {
            let extra = json!({ "pump": { "number": number, "floor": floor, "versions": ["2"] } });
            let extra = BTreeMap::from([(FIELD.to_owned(), extra)]);
            Withdrawals::of(&extra, &BTreeMap::new()).map(|_| ())
        };
        assert_eq!(read(VERSION_MAX, FLOOR_MAX), Ok(()));
        assert_eq!(read(7, 7), Ok(()));
        for (number, floor, wanted) in [
            (VERSION_MAX + 1, 1, "the highest there is"),
            (VERSION_MAX, FLOOR_MAX + 1, "the highest there is"),
            (7, 8, "floor 8 is above 7"),
        ] {
            let refused = read(number, floor).unwrap_err();
            assert!(refused.contains(wanted), "{refused}");
        }
    }
}
