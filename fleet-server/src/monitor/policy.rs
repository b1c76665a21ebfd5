//! The rules that sites have signed, as far as the server judges by them or acts on them.

use crate::error::Error;
use crate::fleet::Fleet;
use crate::ingest::Taken;
use crate::monitor::Context;
use crate::release::FILE_BYTES_MAX;
use crate::store::unix_ms;
use lineside_bundle::Digest;
use lineside_rules::{AlertRule, SitePolicy};
use lineside_wire::name::DeviceId;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use time::OffsetDateTime;

/// What a site has signed.
#[derive(Debug, Clone)]
pub(crate) struct Policy {
    pub digest: Digest,
    pub policy: Arc<SitePolicy>,
}

impl Policy {
    /// A rule of a slot.
    pub fn rule(&self, slot: &str, name: &str) -> Option<AlertRule> {
        self.policy.rules(slot).remove(name)
    }
}

/// Policies by site, as they were read last.
#[derive(Debug, Default)]
pub(crate) struct Policies {
    read: Mutex<BTreeMap<String, Policy>>,
}

impl Fleet {
    /// What is to be known where records of a device are taken.
    ///
    /// # Errors
    /// [`Error::Database`] or [`Error::File`].
    pub async fn monitoring(
        &self,
        device: &DeviceId,
        records: &[Taken],
        now: OffsetDateTime,
    ) -> Result<Context, Error> {
        let site = match self.registry.get(device.as_str()).await {
            Ok(device) => device.row.site,
            // It is not let in any longer, and what it said is not stored.
            Err(Error::Missing(_)) => String::new(),
            Err(error) => return Err(error),
        };
        let policies = self.policies().await?;
        let given = self.given(device, records, &policies).await?;
        let profiles = self.profiles(records, &policies, &given).await?;
        Ok(Context {
            channels: self.outbox.channels.clone(),
            policies,
            given: Arc::new(given),
            profiles: Arc::new(profiles),
            site,
            now_unix_ms: unix_ms(now),
        })
    }

    /// The policies, by site. A list that is past its date vouches for them as it does on devices, which have
    /// judged its date when it came. One that cannot be read here holds on the devices all the same.
    async fn policies(&self) -> Result<Arc<BTreeMap<String, Policy>>, Error> {
        let released = available(self.documents.released_when_accepted().await)?;
        let signed = released.map(|released| released.policies()).unwrap_or_default();
        let known = self.policies.read.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut policies = BTreeMap::new();
        for (site, digest) in signed {
            let policy = match known.get(&site).filter(|known| known.digest == digest) {
                Some(known) => known.clone(),
                None => {
                    match available(self.artifacts.blobs.read(&digest, FILE_BYTES_MAX).await)? {
                        Some(bytes) => {
                            let read = serde_json::from_slice::<SitePolicy>(&bytes).ok();
                            let read = read.filter(|policy| policy.check().is_ok());
                            let policy = Arc::new(read.unwrap_or_else(|| {
                            tracing::warn!(
                                "the policy of site {site} cannot be read here: none of its rules is acted on"
                            );
                            SitePolicy::default()
                        }));
                            Policy { digest, policy }
                        }
                        None => continue,
                    }
                }
            };
            policies.insert(site, policy);
        }
        *self.policies.read.lock().unwrap_or_else(PoisonError::into_inner) = policies.clone();
        Ok(Arc::new(policies))
    }
}

/// What is there, or nothing: whatever is wrong with documents and artifacts, what devices have measured is stored.
///
/// # Errors
/// [`Error::Database`], for then it is not.
pub(super) fn available<T>(found: Result<Option<T>, Error>) -> Result<Option<T>, Error> {
    match found {
        Err(error @ Error::Database(_)) => Err(error),
        found => Ok(found.unwrap_or_default()),
    }
}
