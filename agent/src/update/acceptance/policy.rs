//! What the site where a device stands has signed, and what of it holds here.

use super::{AcceptError, Acceptance};
use crate::error::chain;
use crate::update::journal::{Accepted, SiteRules};
use crate::update::shelf::JournalShelf;
use lineside_bundle::Digest;
use lineside_rules::SitePolicy;
use lineside_trust::repository::{Carried, Client, RepositoryError};
use lineside_wire::name::SiteName;
use time::OffsetDateTime;
use tokio::sync::watch;

impl Acceptance {
    /// The same, for a device that stands at a site, whose policy then holds.
    pub fn at(self, site: Option<SiteName>) -> Acceptance {
        let acceptance = Acceptance { site, ..self };
        acceptance.tell_policy();
        acceptance
    }

    /// What the site has signed that holds here, and when that changes.
    pub fn policy(&self) -> watch::Receiver<SitePolicy> {
        self.policy.subscribe()
    }

    /// Why the newest policy of the site was not taken; the one before holds.
    pub fn policy_trouble(&self) -> Option<&str> {
        self.policy_trouble.as_deref()
    }

    /// Takes what the site has signed, and writes it down at once, whatever comes of the rest: what is
    /// stricter must not wait. Where it cannot be had, the one before goes on to hold, so that nobody
    /// loosens it by holding it back.
    pub(super) fn take_policy(
        &mut self,
        site: &SiteName,
        repository: &mut Client<Carried, JournalShelf>,
        files: &[(String, Vec<u8>)],
        now: OffsetDateTime,
    ) -> Result<(), AcceptError> {
        let held = self.rules().map(|rules| rules.digest);
        match find_policy(site, held, repository, files, now) {
            Ok(Some((digest, policy))) => {
                let rules = SiteRules { site: site.clone(), digest, policy };
                // Whose journal this is was written with the list of releases.
                let accepted = Accepted { site: Some(rules), ..self.accepted.clone() };
                self.write(self.root.clone(), accepted, &[], &[])?;
                self.tell_policy();
                self.policy_trouble = None;
            }
            Ok(None) => self.policy_trouble = None,
            Err(why) => {
                let trouble = format!("the policy of site {site} is not taken: {why}");
                tracing::warn!("{trouble}");
                self.policy_trouble = Some(trouble);
            }
        }
        match self.rules() {
            Some(_) => Ok(()),
            None => Err(AcceptError::NoPolicy(site.clone())),
        }
    }

    /// What holds at the site where this device stands.
    fn rules(&self) -> Option<&SiteRules> {
        let rules = self.accepted.site.as_ref()?;
        (Some(&rules.site) == self.site.as_ref()).then_some(rules)
    }

    fn tell_policy(&self) {
        let policy = self.rules().map(|rules| rules.policy.clone()).unwrap_or_default();
        self.policy.send_if_modified(|held| {
            let is_new = *held != policy;
            *held = policy;
            is_new
        });
    }
}

/// The policy of a site, if it is another than the one `held`: signed by who may, within its paths,
/// and every limit of it understood.
fn find_policy(
    site: &SiteName,
    held: Option<Digest>,
    repository: &mut Client<Carried, JournalShelf>,
    files: &[(String, Vec<u8>)],
    now: OffsetDateTime,
) -> Result<Option<(Digest, SitePolicy)>, String> {
    let told = |error: RepositoryError| chain(error);
    let path = format!("site/{site}/policy.json");
    let file = repository.target(&path, now).map_err(told)?;
    let file = file.ok_or_else(|| format!("nobody who may has signed {path}"))?;
    let digest = file.sha256().and_then(|hex| format!("sha256:{hex}").parse().ok());
    let digest: Digest = digest.ok_or_else(|| format!("{path} has no sha256"))?;
    if held == Some(digest) {
        return Ok(None);
    }
    let bytes = files.iter().find(|(name, _)| name == file.name()).map(|(_, bytes)| bytes);
    let bytes = bytes.ok_or_else(|| format!("{} did not come with it", file.name()))?;
    let mut check = file.check();
    check.update(bytes).map_err(told)?;
    check.finish().map_err(told)?;
    let policy: SitePolicy =
        serde_json::from_slice(bytes).map_err(|error| format!("{path}: {error}"))?;
    policy.check().map_err(|(field, problem)| format!("{path}: {field}: {problem}"))?;
    Ok(Some((digest, policy)))
}
