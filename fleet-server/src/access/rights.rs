//! What people and programs may do here, and where: roles, each at some sites, on devices with some labels, or
//! everywhere. Decisions only.

use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use utoipa::ToSchema;

/// Grants of one account at most, and sites and labels of one grant.
const GRANTS_MAX: usize = 32;
const PLACES_MAX: usize = 64;
/// Longest name of a site or label, in bytes.
const TEXT_BYTES_MAX: usize = 200;

/// What somebody may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Right {
    /// See devices, telemetry, alerts, rollouts, and the audit log.
    Look,
    /// Assign releases, roll them out, ask devices, take note of alerts.
    Operate,
    /// Add and remove devices, and decide about their keys.
    Enrol,
    /// Approve what others want to do.
    Approve,
    /// Bring artifacts, signed lists and roots, and give vendors their tokens.
    Release,
    /// Decide who may do what, and what holds at sites.
    Administer,
}

impl Right {
    /// Every one.
    #[cfg(test)]
    pub const ALL: [Right; 6] = [
        Right::Look,
        Right::Operate,
        Right::Enrol,
        Right::Approve,
        Right::Release,
        Right::Administer,
    ];

    /// As the interface's document names it.
    pub fn name(self) -> &'static str {
        match self {
            Right::Look => "look",
            Right::Operate => "operate",
            Right::Enrol => "enrol",
            Right::Approve => "approve",
            Right::Release => "release",
            Right::Administer => "administer",
        }
    }
}

/// What somebody is here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Role {
    /// Sees.
    Viewer,
    /// Sees, operates devices, and enrols them.
    Operator,
    /// Sees, and approves.
    Approver,
    /// Sees, and brings releases.
    ReleaseManager,
    /// Does everything.
    Admin,
}

impl Role {
    /// What it may do.
    pub fn rights(self) -> &'static [Right] {
        use Right::{Administer, Approve, Enrol, Look, Operate, Release};
        match self {
            Role::Viewer => &[Look],
            Role::Operator => &[Look, Operate, Enrol],
            Role::Approver => &[Look, Approve],
            Role::ReleaseManager => &[Look, Release],
            Role::Admin => &[Look, Operate, Enrol, Approve, Release, Administer],
        }
    }
}

/// A role, and where it holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Grant {
    /// The role.
    pub role: Role,
    /// Sites at which it holds; at all where none is named.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub sites: BTreeSet<String>,
    /// Labels that a device must have; it may have others.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

impl Grant {
    /// A role that holds everywhere.
    pub fn everywhere(role: Role) -> Grant {
        Grant { role, sites: BTreeSet::new(), labels: BTreeMap::new() }
    }

    fn is_everywhere(&self) -> bool {
        self.sites.is_empty() && self.labels.is_empty()
    }

    fn covers_site(&self, site: &str) -> bool {
        self.labels.is_empty() && (self.sites.is_empty() || self.sites.contains(site))
    }

    fn covers(&self, site: &str, labels: &BTreeMap<String, String>) -> bool {
        (self.sites.is_empty() || self.sites.contains(site))
            && self.labels.iter().all(|(key, value)| labels.get(key) == Some(value))
    }
}

/// All that an account may do.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Grants(Vec<Grant>);

impl Grants {
    /// Grants as somebody has written them.
    ///
    /// # Errors
    /// A sentence.
    pub fn checked(grants: Vec<Grant>) -> Result<Grants, String> {
        if grants.len() > GRANTS_MAX {
            return Err(format!("grants: at most {GRANTS_MAX}"));
        }
        for grant in &grants {
            if grant.sites.len() > PLACES_MAX || grant.labels.len() > PLACES_MAX {
                return Err(format!("grants: at most {PLACES_MAX} sites, and as many labels"));
            }
            let labels = grant.labels.iter().flat_map(|(key, value)| [key, value]);
            let mut texts = grant.sites.iter().chain(labels);
            if texts.any(|text| text.len() > TEXT_BYTES_MAX || text.chars().any(char::is_control)) {
                return Err(format!(
                    "grants: sites and labels have at most {TEXT_BYTES_MAX} bytes, and no control characters"
                ));
            }
        }
        Ok(Grants(grants))
    }

    /// All that there is, everywhere.
    pub fn all() -> Grants {
        Grants(vec![Grant::everywhere(Role::Admin)])
    }

    /// One by one.
    pub fn list(&self) -> &[Grant] {
        &self.0
    }

    fn of(&self, right: Right) -> impl Iterator<Item = &Grant> {
        self.0.iter().filter(move |grant| grant.role.rights().contains(&right))
    }

    /// Whether they hold a right anywhere.
    pub fn anywhere(&self, right: Right) -> bool {
        self.of(right).next().is_some()
    }

    /// Whether they hold a right everywhere, devices that there are not yet among it.
    pub fn everywhere(&self, right: Right) -> bool {
        self.of(right).any(Grant::is_everywhere)
    }

    /// Whether they hold a right on all that is at a site.
    pub fn at_site(&self, right: Right, site: &str) -> bool {
        self.of(right).any(|grant| grant.covers_site(site))
    }

    /// Whether they hold a right on a device with these labels at this site.
    pub fn at(&self, right: Right, site: &str, labels: &BTreeMap<String, String>) -> bool {
        self.of(right).any(|grant| grant.covers(site, labels))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect()
    }

    fn grants(json: &str) -> Grants {
        Grants::checked(serde_json::from_str(json).unwrap()).unwrap()
    }

    #[test]
    fn only_the_admin_does_everything_and_nobody_approves_what_he_operates() {
        for right in Right::ALL {
            let who =
                [Role::Viewer, Role::Operator, Role::Approver, Role::ReleaseManager, Role::Admin]
                    .into_iter()
                    .filter(|role| role.rights().contains(&right));
            let who: Vec<Role> = who.collect();
            match right {
                Right::Look => assert_eq!(who.len(), 5),
                Right::Operate | Right::Enrol => assert_eq!(who, [Role::Operator, Role::Admin]),
                Right::Approve => assert_eq!(who, [Role::Approver, Role::Admin]),
                Right::Release => assert_eq!(who, [Role::ReleaseManager, Role::Admin]),
                Right::Administer => assert_eq!(who, [Role::Admin]),
            }
            assert!(Grants::all().everywhere(right));
            assert!(!Grants::default().anywhere(right));
        }
    }

    #[test]
    fn a_role_holds_where_it_was_given_and_nowhere_else() {
        let hill = grants(
            r#"[{"role":"operator","sites":["hill","dale"],"labels":{"line":"3"}},{"role":"viewer"}]"#,
        );
        let (of_line, other) = (labels(&[("line", "3"), ("x", "y")]), labels(&[("line", "4")]));
        assert!(hill.at(Right::Operate, "hill", &of_line));
        assert!(!hill.at(Right::Operate, "hill", &other));
        assert!(!hill.at(Right::Operate, "shore", &of_line));
        assert!(hill.at(Right::Look, "shore", &other) && hill.everywhere(Right::Look));
        assert!(hill.anywhere(Right::Operate) && !hill.everywhere(Right::Operate));
        // A site has devices without the label.
        assert!(!hill.at_site(Right::Operate, "hill") && hill.at_site(Right::Look, "hill"));
        let dale = grants(r#"[{"role":"approver","sites":["dale"]}]"#);
        assert!(dale.at_site(Right::Approve, "dale") && !dale.at_site(Right::Approve, "hill"));
        assert!(!dale.anywhere(Right::Operate));
    }

    #[test]
    fn grants_are_bounded_and_read_strictly() {
        let many = vec![Grant::everywhere(Role::Viewer); GRANTS_MAX + 1];
        assert!(Grants::checked(many).is_err());
        let odd = Grant { sites: ["a\nb".into()].into(), ..Grant::everywhere(Role::Viewer) };
        assert!(Grants::checked(vec![odd]).is_err());
        assert!(serde_json::from_str::<Grant>(r#"{"role":"root"}"#).is_err());
        assert!(serde_json::from_str::<Grant>(r#"{"role":"viewer","site":"x"}"#).is_err());
        let all = grants(r#"[{"role":"release-manager"}]"#);
        assert_eq!(serde_json::to_string(&all).unwrap(), r#"[{"role":"release-manager"}]"#);
    }
}
